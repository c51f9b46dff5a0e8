package records

import (
	"context"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/elicence/elicence/audit"
	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/licence"
)

// Numbers that somebody may have: free ones that were drawn together with a later one that is used. A sheet that was bound,
// and so used out of turn, makes no gap, nor does another delivery.
func TestGaps(t *testing.T) {
	db, err := Open(t.Context(), filepath.Join(t.TempDir(), "x.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	pile := issuing.Pile{Issuer: "12310101DEMH000016", Type: "birth-certificate"}
	begun := time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC)
	for n, first := range []string{"X000000101", "X000000001"} {
		if err := db.Allot(t.Context(), pile, first, 10, begun.Add(time.Duration(n)*time.Hour), audit.Entry{}); err != nil {
			t.Fatal(err)
		}
	}
	err = db.write(t.Context(), func(ctx context.Context, s *session) error {
		_, err := s.exec(ctx, `UPDATE sheets SET state = 'issued' WHERE number IN ('X000000101', 'X000000102', 'X000000104')`)
		if err == nil {
			_, err = s.exec(ctx, `UPDATE sheets SET state = 'issued', business_id = 'B' WHERE number = 'X000000109'`)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if gaps, err := db.Gaps(t.Context(), pile); err != nil || !slices.Equal(gaps, []string{"X000000103"}) {
		t.Errorf("gaps %v, %v", gaps, err)
	}
	if next, err := db.FirstFree(t.Context(), pile, 2); err != nil || !slices.Equal(next, []string{"X000000001", "X000000002"}) {
		t.Errorf("the next are %v, %v", next, err)
	}
}

// Acts that are adopted make other records the same; the same acts again change nothing; another act under a known ordinal is
// refused and nothing of its bundle is taken.
func TestAdoptedActs(t *testing.T) {
	open := func() *DB {
		db, err := Open(t.Context(), filepath.Join(t.TempDir(), "x.db"), Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		return db
	}
	one, two := open(), open()
	pile := issuing.Pile{Issuer: "12310101DEMH000016", Type: "birth-certificate"}
	at := time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC)
	for _, err := range []error{
		one.PutOrganisation(t.Context(), licence.Organisation{Code: pile.Issuer, Name: "医院", Kind: "hospital", Region: "310101"}),
		one.Allot(t.Context(), pile, "X000000001", 200, at, audit.Entry{}),
		one.Bind(t.Context(), pile, "X000000005", "B-5", at, audit.Entry{}),
		one.Spoil(t.Context(), pile.Issuer, "X000000006", "lost", at, audit.Entry{}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	acts, err := one.ActsToKeep(t.Context(), 100)
	if err != nil || len(acts) != 4 {
		t.Fatalf("%d acts, %v", len(acts), err)
	}
	for _, want := range []int{4, 0} {
		if count, err := two.Adopt(t.Context(), acts); count != want || err != nil {
			t.Errorf("%d acts adopted, want %d, %v", count, want, err)
		}
	}
	for _, number := range []string{"X000000001", "X000000005", "X000000006", "X000000200"} {
		a, errA := one.Sheet(t.Context(), number)
		b, errB := two.Sheet(t.Context(), number)
		if errA != nil || errB != nil || a != b {
			t.Errorf("%s: %+v, %v; adopted %+v, %v", number, a, errA, b, errB)
		}
	}
	if o, err := two.Organisation(t.Context(), pile.Issuer); err != nil || o.Name != "医院" {
		t.Errorf("%+v, %v", o, err)
	}
	if left, err := two.ActsToKeep(t.Context(), 100); err != nil || len(left) != 0 {
		t.Errorf("%d adopted acts are to be kept again, %v", len(left), err)
	}
	other := slices.Clone(acts)
	other[3].Body = []byte(`{"issuer":"x"}`)
	other = append(other, Act{Ordinal: 5, Kind: actSpoiled, Body: []byte(`{"issuer":"12310101DEMH000016","number":"X000000007","reason":"lost","at":1}`)})
	if _, err := two.Adopt(t.Context(), other); err == nil {
		t.Error("another history was taken")
	}
	if sh, err := two.Sheet(t.Context(), "X000000007"); err != nil || sh.State != licence.SheetAllotted {
		t.Errorf("half of a refused bundle stands: %+v, %v", sh, err)
	}
}
