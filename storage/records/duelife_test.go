package records

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/elicence/elicence/audit"
	"github.com/elicence/elicence/due"
	"github.com/elicence/elicence/storage/records/recordstest"
)

// An older program erased and left the deliveries: the same erasure again ends them.
func TestDeliveriesThatAnOlderErasureLeft(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "records.db")
	db, err := Open(ctx, path, Options{KEK: recordstest.KEK()})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	l := recordstest.Many(t, db, 2)
	who := audit.Entry{At: l.IssueTime.Add(time.Hour), Organisation: l.Issuer, Person: "p", What: "erase", Why: "request", Licence: l.ID}
	if _, err := db.Erase(ctx, l.ID, who); err != nil {
		t.Fatal(err)
	}
	raw(t, path, insertDue+` SELECT 'k', issuer, 'police', 'parts', ordinal, 0, 'due', 1, 1, 0, 0, 0, '', '', 0, 1, 0 FROM licences WHERE number = '`+l.Number+`'`)
	if _, err := db.Erase(ctx, l.ID, who); err != nil {
		t.Fatal(err)
	}
	jobs, err := db.Jobs(ctx, due.Cancelled, "", 0, 10)
	if err != nil || len(jobs) != 2 || jobs[1].Key != "k" || jobs[1].Failure.Code != due.CodeErased {
		t.Errorf("erased again: %+v, %v", jobs, err)
	}
}
