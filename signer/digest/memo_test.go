package digest_test

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/elicence/elicence/signer/digest"
	"github.com/emmansun/gmsm/sm3"
)

func noise(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// TestSumIsSM3 holds every digest against SM3 itself: files that begin alike in several ways, in every order, from many
// goroutines, with lengths around the block and the bounds.
func TestSumIsSM3(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var files [][]byte
	for _, length := range []int{0, 1, 63, 64, 65, 4095, 4096, 8191, 8192, 8193, 20_000, 70_000, 120_000} {
		shared := noise(r, length)
		for range 6 {
			files = append(files, append(bytes.Clone(shared), noise(r, int(r.Uint32N(3000)))...))
		}
	}
	var m digest.Memo
	var group sync.WaitGroup
	for w := range 4 {
		group.Add(1)
		go func() {
			defer group.Done()
			r := rand.New(rand.NewPCG(3, uint64(w)))
			for range 400 {
				f := files[r.IntN(len(files))]
				cut := r.IntN(len(f) + 1)
				if got := m.Sum(f[:cut], f[cut:]); got != sm3.Sum(f) {
					t.Errorf("digest of %d bytes, cut at %d, is not SM3", len(f), cut)
					return
				}
				begun, err := m.Begin(f[:cut])
				if err != nil {
					t.Error(err)
					return
				}
				// Finished twice: the first time leaves nothing behind.
				if _, err := begun.Sum(f); err != nil {
					t.Error(err)
				}
				if got, err := begun.Sum(f[cut:]); err != nil || got != sm3.Sum(f) {
					t.Errorf("digest of %d bytes, begun with %d, is not SM3 (%v)", len(f), cut, err)
					return
				}
			}
		}()
	}
	group.Wait()
}

// TestStrangersDoNoHarm: files that share nothing leave digests right and what is kept bounded.
func TestStrangersDoNoHarm(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	var m digest.Memo
	for range 300 {
		f := noise(r, 9000)
		if m.Sum(f) != sm3.Sum(f) || m.Sum(f[:8500], f[8500:]) != sm3.Sum(f) {
			t.Fatal("a digest is not SM3")
		}
	}
}

func BenchmarkSum(b *testing.B) {
	r := rand.New(rand.NewPCG(7, 8))
	shared := noise(r, 48_000)
	var files [][]byte
	for range 16 {
		files = append(files, append(bytes.Clone(shared), noise(r, 20_000)...))
	}
	b.Run("memo", func(b *testing.B) {
		var m digest.Memo
		b.SetBytes(68_000)
		for i := range b.N {
			m.Sum(files[i%16])
		}
	})
	b.Run("plain", func(b *testing.B) {
		b.SetBytes(68_000)
		for i := range b.N {
			sm3.Sum(files[i%16])
		}
	})
}
