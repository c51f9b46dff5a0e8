package fabric_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/elicence/elicence/ledger/fabric/transaction"
	"github.com/elicence/elicence/ledger/ledgertest"
)

// measure submits batches from some callers at once and returns events a second, from the first call until the own log has all.
func measure(b *testing.B, submit func(events [][]byte) error, events [][]byte, callers int) float64 {
	b.Helper()
	batches := make(chan [][]byte, len(events))
	for part := range slices.Chunk(events, transaction.MaxEvents) {
		batches <- part
	}
	close(batches)
	begun := time.Now()
	var wait sync.WaitGroup
	for range callers {
		wait.Go(func() {
			for part := range batches {
				if err := submit(part); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wait.Wait()
	return float64(len(events)) / time.Since(begun).Seconds()
}

// BenchmarkSequenced is the whole way with all rules on: three peers, signatures verified on each and again by the follower.
func BenchmarkSequenced(b *testing.B) {
	l, err := lab()
	if err != nil {
		b.Fatal(err)
	}
	name := l.ledgers[l.dealt.Add(1)-1]
	w := ledgertest.NewWorld(b, "sequenced")
	s := l.open(b, w, name, ledgertest.NewMemory(), ledgertest.NewMemoryTiles())
	if _, err := s.Submit(b.Context(), w.Founding()); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		var issues, offers [][]byte
		for range 6000 {
			licence := w.Issue(w.Hospital)
			issues = append(issues, licence.Last())
			offers = append(offers, licence.HandOver(w.Hospital, w.Archive))
		}
		submit := func(events [][]byte) error {
			_, err := s.Submit(b.Context(), events)
			return err
		}
		b.ReportMetric(measure(b, submit, issues, 3), "issues/s")
		b.ReportMetric(measure(b, submit, offers, 3), "hand-overs/s")
		one := w.Issue(w.Hospital)
		begun := time.Now()
		if err := submit([][]byte{one.Last()}); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(time.Since(begun).Milliseconds()), "ms/single")
	}
}
