package records

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/elicence/elicence/ledger/embedded"
	"github.com/elicence/elicence/ledger/ledgertest"
)

// TestLedgerStore runs the ledger's own suite.
func TestLedgerStore(t *testing.T) {
	ledgertest.RunStore(t, func(t *testing.T) ledgertest.Backing {
		db, err := Open(context.Background(), filepath.Join(t.TempDir(), "records.db"), Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
		return ledgertest.Backing{Open: func() embedded.Store { return db }, Tiles: ledgertest.NewMemoryTiles()}
	})
}
