package embedded_test

import (
	"fmt"
	"testing"

	"github.com/elicence/elicence/ledger"
	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/ledger/embedded"
	"github.com/elicence/elicence/ledger/ledgertest"
)

// events makes n issued licences.
func events(b *testing.B, w *ledgertest.World, n int) [][]byte {
	b.Helper()
	batch := make([][]byte, n)
	for i := range batch {
		batch[i] = w.Issue(w.Hospital).Last()
	}
	return batch
}

// BenchmarkSequence is judge and append in memory, per event, in batches as the anchor loop makes them.
func BenchmarkSequence(b *testing.B) {
	for _, size := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			w := ledgertest.NewWorld(b, "bench")
			s := embedded.New(ledgertest.NewMemory(), ledgertest.NewMemoryTiles(), w.LogKey, w.LogCertificate, ledgertest.Origin, w.Now)
			if _, err := s.Submit(b.Context(), w.Founding()); err != nil {
				b.Fatal(err)
			}
			all := events(b, w, b.N)
			b.ReportAllocs()
			b.ResetTimer()
			for from := 0; from < b.N; from += size {
				outcomes, err := s.Submit(b.Context(), all[from:min(from+size, b.N)])
				if err != nil || outcomes[0].Refusal != nil {
					b.Fatal(err, outcomes[0].Refusal)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkLongLog shows that an event costs the same in a long log as in a short one, and what a restart costs.
func BenchmarkLongLog(b *testing.B) {
	for _, size := range []int{1_000, 100_000} {
		w := ledgertest.NewWorld(b, "long")
		store, tiles := ledgertest.NewMemory(), ledgertest.NewMemoryTiles()
		open := func() *embedded.Sequencer {
			return embedded.New(store, tiles, w.LogKey, w.LogCertificate, ledgertest.Origin, w.Now)
		}
		s := open()
		if _, err := s.Submit(b.Context(), append(w.Founding(), events(b, w, size)...)); err != nil {
			b.Fatal(err)
		}
		note, err := s.Checkpoint(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Publish(b.Context(), note); err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("submit/log=%d", size), func(b *testing.B) {
			all := events(b, w, b.N)
			b.ResetTimer()
			for from := 0; from < b.N; from += 1000 {
				if _, err := s.Submit(b.Context(), all[from:min(from+1000, b.N)]); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("receipt/log=%d", size), func(b *testing.B) {
			for i := range b.N {
				if _, err := s.Receipt(b.Context(), uint64(i*7919)%uint64(size)); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("open/log=%d", size), func(b *testing.B) {
			for range b.N {
				if _, err := open().Submit(b.Context(), [][]byte{w.Issue(w.Hospital).Last()}); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("audit/log=%d", size), func(b *testing.B) {
			for range b.N {
				in, err := s.Audited(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				in.Trust = w.Trust()
				r, err := ledger.Audit(b.Context(), in)
				if err != nil || r.Misfit != nil {
					b.Fatal(err, r)
				}
				b.ReportMetric(float64(r.Entries)*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
			}
		})
	}
}

// BenchmarkJudge is the contract alone, one event on one core as the chaincode runs it.
func BenchmarkJudge(b *testing.B) {
	w := ledgertest.NewWorld(b, "judge")
	state, err := contract.Enrolments(b.Context(), w.Founding())
	if err != nil {
		b.Fatal(err)
	}
	court := contract.NewCourt(16)
	event := [][]byte{w.Issue(w.Hospital).Last()}
	b.ReportAllocs()
	for b.Loop() {
		v, _, err := court.Judge(b.Context(), state, event)
		if err != nil || v[0].Refusal != nil {
			b.Fatal(err, v[0].Refusal)
		}
	}
}
