package replay_test

import (
	"os"
	"testing"

	"github.com/elicence/elicence/ledger/fabric/replay"
)

// FuzzTake: whatever is called a chain's first and second block, it is judged without a panic, and what is found wrong stays
// wrong. The seeds are the first blocks of a real channel, and what was made of them.
func FuzzTake(f *testing.F) {
	seeds, err := os.ReadDir("testdata/fuzz/FuzzTake")
	if err != nil || len(seeds) == 0 {
		f.Fatal("no seeds", err)
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		a, err := replay.New(replay.Options{Channel: "licence", Chaincode: "licence"})
		if err != nil {
			t.Fatal(err)
		}
		different := false
		for _, b := range [][]byte{first, second} {
			d, err := a.Take(t.Context(), b)
			if err != nil {
				return
			}
			if different && !d {
				t.Fatal("a block after a difference was taken")
			}
			different = d
		}
		if r := a.End(); (r.Difference != nil) != different || r.Blocks > 2 {
			t.Fatalf("%+v", r)
		}
	})
}
