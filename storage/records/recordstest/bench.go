package recordstest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/storage/envelope"
)

// Bench takes b.N births through their three commits with so many callers at once, everything durable.
func Bench(b *testing.B, open func(dir string, o Options) Records, callers int) {
	ctx := context.Background()
	kek := testKEK(1)
	r := open(b.TempDir(), Options{KEK: kek})
	b.Cleanup(func() {
		if err := r.Close(); err != nil {
			b.Error(err)
		}
	})
	if err := r.Allot(ctx, births(hospital), "A000000001", b.N, start, beginning(b, kek, "", start).Audit); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	lives(b, r, kek, b.N, callers)
	b.StopTimer()
	if counts, err := r.Counts(ctx); err != nil || counts.ByStage[issuing.StageIssued] != b.N {
		b.Errorf("%d births, %v, %v", b.N, counts.ByStage, err)
	}
}

// lives takes n births through their three commits, with so many callers at once.
func lives(t testing.TB, r Records, kek envelope.KEK, n, callers int) {
	ctx := context.Background()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for {
				i := next.Add(1)
				if i > int64(n) {
					return
				}
				birth := beginning(t, kek, fmt.Sprint("B", i), start)
				birth.Search = map[string]string{}
				for _, field := range []string{"child.name", "mother.name", "mother.idNumber", "father.name", "father.idNumber", "business"} {
					birth.Search[field] = fmt.Sprint(field, i)
				}
				l, _, err := r.Begin(ctx, birth)
				if err == nil {
					err = r.CommitSigned(ctx, l.ID, l.Epoch, signatures(l, ""))
				}
				if err == nil {
					err = r.CommitIssued(ctx, l.ID, l.Epoch, completion(l, start))
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// Many issues n births in empty records that were opened with KEK, with search tags of their own, and returns one from
// their midst.
func Many(t testing.TB, r Records, n int) issuing.Licence {
	t.Helper()
	ctx := context.Background()
	kek := testKEK(1)
	if err := r.PutOrganisation(ctx, licence.Organisation{Code: hospital, Name: "样张医院", Kind: licence.Hospital, Region: "310101"}); err != nil {
		t.Fatal(err)
	}
	if err := r.Allot(ctx, births(hospital), "A000000001", n+100, start, beginning(t, kek, "", start).Audit); err != nil {
		t.Fatal(err)
	}
	lives(t, r, kek, n, 32)
	for i := 1; i <= n/50; i++ {
		noted, err := r.ByBusinessID(ctx, hospital, fmt.Sprint("B", i))
		if err != nil || len(noted) != 1 {
			t.Fatal(len(noted), err)
		}
		st := step(noted[0], event(noted[0], 0, "issued", start), "handed-over", start)
		st.Note, st.NoteName = []byte("note"), "hand-over"
		if err := r.AppendStep(ctx, st); err != nil {
			t.Fatal(err)
		}
	}
	l, err := r.ByBusinessID(ctx, hospital, fmt.Sprint("B", n/2))
	if err != nil || len(l) != 1 {
		t.Fatal(len(l), err)
	}
	return l[0]
}

// Again asks for a licence that stands once more.
func Again(t testing.TB, r Records, l issuing.Licence) (issuing.Licence, error) {
	t.Helper()
	got, fresh, err := r.Begin(context.Background(), again(l))
	if err == nil && (fresh || got.ID != l.ID) {
		err = fmt.Errorf("the same request gave another licence")
	}
	return got, err
}
