package issuing_test

import (
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/storage/objects/dir"
)

// BenchmarkIssue takes births through check, approval and the three commits, everything durable: records and objects
// are on the disk of the temporary folder. One birth is two signed parts.
func BenchmarkIssue(b *testing.B) {
	for _, callers := range []int{1, 16} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			h := newHouse(b)
			store, err := dir.Open(filepath.Join(h.dir, "objects"))
			h.must(err)
			defer func() { h.must(store.Close()) }()
			h.service = h.serve(func(n *issuing.Needs) { n.Objects = shelf{store} })
			h.allot(hospital, birthCertificate, "X000500001", b.N)
			h.faults.set(nil)
			var next atomic.Int64
			one := func() {
				n := int(next.Add(1))
				d, _, err := h.check(hospital, request(b, n, fmt.Sprint("B", n)))
				if err != nil {
					b.Error(err)
					return
				}
				a, err := d.Approve("seal-1", d.Digest())
				if err == nil {
					_, err = h.service.Issue(b.Context(), a, who("issue"))
				}
				if err != nil {
					b.Error(err)
				}
			}
			one() // pages and statements are prepared
			work := make(chan struct{}, callers)
			done := make(chan struct{})
			b.ReportAllocs()
			b.ResetTimer()
			for range callers {
				go func() {
					for range work {
						one()
					}
					done <- struct{}{}
				}()
			}
			for range b.N {
				work <- struct{}{}
			}
			close(work)
			for range callers {
				<-done
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "births/s")
		})
	}
}
