package records

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/elicence/elicence/due"
	"github.com/elicence/elicence/storage/records/recordstest"
)

// Deliveries of an older folder are due work with their place, time and state; going back, the old program finds them.
func TestOldDeliveriesBecomeDueWork(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "records.db")
	old, err := sql.Open("sqlite", dsn(path, "rwc"))
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	p, err := (&sqliteFile{}).provider(old)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.UpTo(ctx, 3); err != nil {
		t.Fatal(err)
	}
	raw(t, path, `INSERT INTO licences (ordinal, id, issuer, stage, epoch, status, status_at, replaced_by, park_reason, number, identifier, serial,
			type, kind, business_id, replaces, uses_stock, status_index, issue_time, data_key, data_key_id, key_version, request_digest)
			VALUES (7, 'l7', 'h', 3, 1, 0, 0, '', '', 'A000000007', 'i7', 1, 'birth-certificate', 'first', 'b7', '', 1, 7, 1790000000000000, x'', '', 1, x'')`,
		`INSERT INTO deliveries (licence, issuer, receiver, topic, due, held, done_at) VALUES (7, 'h', 'police', 'parts', 1790000000000001, 0, NULL)`,
		`INSERT INTO deliveries (licence, issuer, receiver, topic, due, held, done_at) VALUES (7, 'h', 'police', 'parts', 1790000000000002, 1, NULL)`,
		`INSERT INTO deliveries (licence, issuer, receiver, topic, due, held, done_at) VALUES (7, 'h', 'archive', 'hand-over', 1790000000000003, 0, 1790000000000009)`,
	)
	const rows = `SELECT ordinal || ' ' || licence || ' ' || issuer || ' ' || receiver || ' ' || topic || ' ' || due || ' ' || held || ' ' || COALESCE(done_at, '') FROM deliveries ORDER BY ordinal`
	before := column(t, old, rows)
	for range 2 { // forward, back, forward again
		db, err := Open(ctx, path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []due.Job{
			{ID: 1, Issuer: "h", Lane: "police", Topic: "parts", Licence: "l7", Number: "A000000007", Sequence: -1, State: due.Due, Due: time.UnixMicro(1790000000000001).UTC()},
			{ID: 2, Issuer: "h", Lane: "police", Topic: "parts", Licence: "l7", Number: "A000000007", Sequence: -1, State: due.Held, Due: time.UnixMicro(1790000000000002).UTC()},
			{ID: 3, Issuer: "h", Lane: "archive", Topic: "hand-over", Licence: "l7", Number: "A000000007", Sequence: -1, State: due.Done, Due: time.UnixMicro(1790000000000003).UTC(), Ended: time.UnixMicro(1790000000000009).UTC()},
		} {
			got, err := db.Jobs(ctx, want.State, want.Lane, 0, 10)
			if err != nil || len(got) != 1 || len(got[0].Key) != 32 {
				t.Fatalf("%s: %+v, %v", want.State, got, err)
			}
			want.Key, want.Created = got[0].Key, want.Due
			if diff := cmp.Diff(want, got[0]); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
		at := time.UnixMicro(1790000000000001)
		jobs, err := db.Take(ctx, "police", at, at.Add(time.Minute), 5)
		if err != nil || len(jobs) != 1 {
			t.Errorf("the old delivery is not taken: %v, %v", jobs, err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := p.DownTo(ctx, 3); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, column(t, old, rows)); diff != "" {
			t.Errorf("going back (-before +after):\n%s", diff)
		}
	}
}

func column(t *testing.T, db *sql.DB, query string, args ...any) []string {
	t.Helper()
	rows, err := db.Query(query, args...)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	if err := collect(rows, func(r row) error {
		var s string
		err := r.Scan(&s)
		out = append(out, s)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// A process that was killed has left its leases: the next one, which has the lock, takes its jobs at once.
func TestLeasesEndWithTheirProcess(t *testing.T) {
	ctx := context.Background()
	db, path := fresh(t, Options{})
	now := time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC)
	if _, err := db.Arm(ctx, due.New{Key: "k", Lane: "a", Due: now}, now); err != nil {
		t.Fatal(err)
	}
	first, err := db.Take(ctx, "a", now, now.Add(time.Hour), 1)
	if err != nil || len(first) != 1 {
		t.Fatal(first, err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if db, err = Open(ctx, path, Options{}); err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	again, err := db.Take(ctx, "a", now, now.Add(time.Hour), 1)
	if err != nil || len(again) != 1 || again[0].Epoch <= first[0].Epoch || again[0].Attempts != 2 {
		t.Errorf("taken again: %+v, %v", again, err)
	}
}

// What a loop asks each second, and what a person lists, is found by index among ten thousand rows: no walk through all,
// and no sorting.
func TestDueWorkIsFoundByIndex(t *testing.T) {
	ctx := context.Background()
	db, path := fresh(t, Options{KEK: recordstest.KEK()})
	var insert []string
	for i := range 10_000 {
		state := []string{"done", "done", "done", "due", "dead", "held", "leased", "cancelled"}[i%8]
		insert = append(insert, fmt.Sprintf(`('k%d', 'h', 'lane-%d', 't', NULL, 0, '%s', %d, %d, 0, 0, 0, '', '', 0, 0, 0)`, i, i%5, state, i, i))
	}
	raw(t, path, insertDue+` VALUES `+strings.Join(insert, ","), `ANALYZE`)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	reading, err := Open(ctx, path, Options{ReadOnly: true, KEK: recordstest.KEK()})
	if err != nil {
		t.Fatal(err)
	}
	defer reading.Close()
	counts, err := reading.Waiting(ctx)
	if err != nil || counts["lane-1"][due.Dead] == 0 || counts["lane-1"][due.Done] != 0 {
		t.Fatalf("waiting: %v, %v", counts, err)
	}
	for name, q := range map[string]struct {
		text string
		args []any
	}{
		"take":    {takeJobs(db.sql), []any{"lane-1", 5000, 6000, 10}},
		"next":    {nextDue, []any{"lane-1"}},
		"state":   {jobsOfState, []any{"dead", 0, 100}},
		"lane":    {jobsOfLane, []any{"dead", 0, 100, "lane-1"}},
		"waiting": {waitingJobs, nil},
		"leased":  {`SELECT COUNT(*) FROM due_work WHERE state = 'leased'`, nil},
		"held":    {`UPDATE due_work SET state = 'due' WHERE licence = (SELECT ordinal FROM licences WHERE id = $1) AND state = 'held'`, []any{"l"}},
		"late":    {lateUpkeep, []any{"k1", 0}},
		"ended":   {endedJobs, []any{"done", 100, 500}},
		"prune":   {pruneJobs, []any{"done", 100, 600, 5000}},
		"erase":   {eraseJobs, []any{0, 1}},
		"settle":  {`UPDATE due_work SET state = 'done' WHERE ordinal = $1 AND epoch = $2 AND state = 'leased'`, []any{1, 1}},
	} {
		rows, err := reading.readers.QueryContext(ctx, "EXPLAIN QUERY PLAN "+q.text, q.args...)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var plan []string
		if err := collect(rows, func(r row) error {
			var id, parent, unused int
			var detail string
			err := r.Scan(&id, &parent, &unused, &detail)
			plan = append(plan, detail)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		text := strings.Join(plan, "\n")
		// What was picked is walked through: these are the few rows that the limit allows.
		if strings.Contains(strings.ReplaceAll(text, "SCAN picked", ""), "SCAN") || strings.Contains(text, "TEMP B-TREE") || !strings.Contains(text, "due_work") {
			t.Errorf("%s is found like this:\n%s", name, text)
		}
	}
}
