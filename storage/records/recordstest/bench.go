package recordstest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/elicence/elicence/issuing"
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
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range callers {
		wg.Go(func() {
			for {
				n := next.Add(1)
				if n > int64(b.N) {
					return
				}
				birth := beginning(b, kek, fmt.Sprint("B", n), start)
				birth.Search = map[string]string{}
				for _, field := range []string{"child.name", "mother.name", "mother.idNumber", "father.name", "father.idNumber", "business"} {
					birth.Search[field] = fmt.Sprint(field, n)
				}
				l, _, err := r.Begin(ctx, birth)
				if err == nil {
					err = r.CommitSigned(ctx, l.ID, l.Epoch, signatures(l, ""))
				}
				if err == nil {
					err = r.CommitIssued(ctx, l.ID, l.Epoch, completion(l, start))
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	if counts, err := r.Counts(ctx); err != nil || counts.ByStage[issuing.StageIssued] != b.N {
		b.Errorf("%d births, %v, %v", b.N, counts.ByStage, err)
	}
}
