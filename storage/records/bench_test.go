package records

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/elicence/elicence/storage/records/recordstest"
)

// BenchmarkBirth is the three commits of one birth and nothing else, by as many callers at once: what the records cost.
func BenchmarkBirth(b *testing.B) {
	for _, callers := range []int{1, 16, 32} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			var transactions atomic.Int64
			recordstest.Bench(b, func(dir string, o recordstest.Options) recordstest.Records {
				db, err := Open(context.Background(), filepath.Join(dir, "records.db"), Options{KEK: o.KEK, Commit: func(commit func() error) error {
					transactions.Add(1)
					return commit()
				}})
				if err != nil {
					b.Fatal(err)
				}
				return db
			}, callers)
			b.ReportMetric(3*float64(b.N)/b.Elapsed().Seconds(), "commits/s")
			b.ReportMetric(3*float64(b.N)/float64(transactions.Load()), "commits/transaction")
		})
	}
}

// BenchmarkBirthOnPostgres is the same with a server on this machine that waits for the disk.
func BenchmarkBirthOnPostgres(b *testing.B) {
	s := prepared(b, "fsync=on")
	for _, callers := range []int{1, 16, 32} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			var transactions atomic.Int64
			recordstest.Bench(b, func(dir string, o recordstest.Options) recordstest.Records {
				o.Commit = func(commit func() error) error {
					transactions.Add(1)
					return commit()
				}
				r, err := onPostgres(s.Socket()).Open(context.Background(), dir, o)
				if err != nil {
					b.Fatal(err)
				}
				return r
			}, callers)
			b.ReportMetric(3*float64(b.N)/b.Elapsed().Seconds(), "commits/s")
			b.ReportMetric(3*float64(b.N)/float64(transactions.Load()), "commits/transaction")
		})
	}
}
