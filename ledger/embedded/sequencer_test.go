package embedded_test

import (
	"testing"

	"github.com/elicence/elicence/ledger/embedded"
	"github.com/elicence/elicence/ledger/ledgertest"
)

func TestSuite(t *testing.T) {
	ledgertest.RunStore(t, func(*testing.T) ledgertest.Backing {
		m := ledgertest.NewMemory()
		return ledgertest.Backing{Open: func() embedded.Store { return m }, Tiles: ledgertest.NewMemoryTiles()}
	})
}
