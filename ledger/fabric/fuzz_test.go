package fabric_test

import (
	"os"
	"testing"

	"github.com/elicence/elicence/ledger/fabric"
	"github.com/elicence/elicence/ledger/fabric/protos"
)

// FuzzBlock: whatever a peer sends, it is read or refused, and what is read is whole.
func FuzzBlock(f *testing.F) {
	seeds, err := os.ReadDir("testdata/fuzz/FuzzBlock")
	if err != nil || len(seeds) == 0 {
		f.Fatal("no seeds", err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var block protos.Block
		if protos.Unmarshal(b, &block) != nil {
			return
		}
		parsed, err := fabric.ParseBlock(&block, "licence")
		if err != nil {
			return
		}
		for _, x := range parsed.Transactions {
			if x.Position >= len(block.GetData().GetData()) || x.Through == "licence" || x.Through != "" && len(x.Writes) == 0 {
				t.Fatalf("%+v", x)
			}
		}
	})
}
