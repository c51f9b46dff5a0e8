package s3

import (
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/elicence/elicence/storage/objects"
	"github.com/elicence/elicence/storage/objects/dir"
	"github.com/elicence/elicence/storage/objects/objectstest"
)

// Each benchmark is run on a folder, too: what durable storage costs on this machine. The server and the benchmark share
// the machine's cores.
func stores(b *testing.B, run func(b *testing.B, s objectstest.Store)) {
	b.Run("s3", func(b *testing.B) { run(b, fresh(b)) })
	b.Run("dir", func(b *testing.B) {
		s, err := dir.Open(filepath.Join(b.TempDir(), "objects"))
		must(b, err)
		defer s.Close()
		run(b, s)
	})
}

// part is as large as a signed part, and no two are alike.
func part(n int64) objects.Object {
	content := make([]byte, 60_000)
	copy(content, fmt.Sprint(n))
	return objects.AtAddress(content)
}

// BenchmarkPut is 16 writers of parts, as a batch of births has them.
func BenchmarkPut(b *testing.B) {
	stores(b, func(b *testing.B, s objectstest.Store) {
		var next atomic.Int64
		b.SetParallelism(8)
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := s.PutObject(ctx, part(next.Add(1))); err != nil {
					b.Error(err)
					return
				}
			}
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "objects/s")
	})
}

func BenchmarkGet(b *testing.B) {
	stores(b, func(b *testing.B, s objectstest.Store) {
		const count = 64
		keys := make([]string, count)
		for n := range keys {
			o := part(int64(n))
			must(b, s.PutObject(ctx, o))
			keys[n] = o.Key()
		}
		var next atomic.Int64
		b.SetParallelism(8)
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := s.Get(ctx, keys[next.Add(1)%count]); err != nil {
					b.Error(err)
					return
				}
			}
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "objects/s")
	})
}
