package fabric_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/elicence/elicence/ledger/fabric/network"
	"github.com/elicence/elicence/ledger/fabric/transaction"
	"github.com/elicence/elicence/ledger/ledgertest"
)

// BenchmarkSequenced is the whole way with all rules on: three peers, signatures verified on each and again by the follower, keys
// with policies of their own; until the own log has the events. They come as the program hands them over.
func BenchmarkSequenced(b *testing.B) {
	for _, orderers := range []int{1, 3} {
		b.Run(fmt.Sprintf("orderers=%d", orderers), func(b *testing.B) {
			l, up := ownNetwork(b, network.Options{Orderers: orderers}, "licence")
			w := ledgertest.NewWorld(b, "sequenced")
			s := l.open(b, w, "licence", ledgertest.NewMemory(), ledgertest.NewMemoryTiles())
			rate := func(events [][]byte) float64 {
				begun := time.Now()
				for part := range slices.Chunk(events, 4*transaction.MaxEvents) {
					accepted(b, s, part...)
				}
				return float64(len(events)) / time.Since(begun).Seconds()
			}
			rate(w.Founding())
			for b.Loop() {
				var issues, offers [][]byte
				for range 8000 {
					licence := w.Issue(w.Hospital)
					issues = append(issues, licence.Last())
					offers = append(offers, licence.HandOver(w.Hospital, w.Archive))
				}
				b.ReportMetric(rate(issues), "issues/s")
				b.ReportMetric(rate(offers), "hand-overs/s")
				var took []time.Duration
				for range 20 {
					begun := time.Now()
					rate([][]byte{w.Issue(w.Hospital).Last()})
					took = append(took, time.Since(begun))
				}
				slices.Sort(took)
				b.ReportMetric(float64(took[len(took)/2].Milliseconds()), "ms-single-p50")
				b.ReportMetric(float64(took[len(took)-1].Milliseconds()), "ms-single-most")
			}
			b.ReportMetric(up.Seconds(), "s-up")
		})
	}
}
