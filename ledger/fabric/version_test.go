package fabric_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/ledger/fabric"
	"github.com/elicence/elicence/ledger/fabric/network"
	"github.com/elicence/elicence/ledger/ledgertest"
)

// TestAnotherContractOnOnePeerIsNamed: one organisation's chaincode accepts what the contract refuses. Nothing comes of it, and
// the error says who runs what.
func TestAnotherContractOnOnePeerIsNamed(t *testing.T) {
	l, name := newLedger(t)
	lenient, err := network.BuildLenient(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w, store := ledgertest.NewWorld(t, "version"), ledgertest.NewMemory()
	s := l.open(t, w, name, store, ledgertest.NewMemoryTiles())
	accepted(t, s, w.Founding()...)
	const process = "chaincode.police"
	if err := l.Kill(process); err != nil {
		t.Fatal(err)
	}
	if err := l.StartAs(process, lenient); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(l.Kill(process), l.Start(process), l.Listening(context.Background(), process)); err != nil {
			t.Error(err)
		}
	}()
	if err := l.Listening(t.Context(), process); err != nil {
		t.Fatal(err)
	}
	licence := w.Issue(w.Hospital)
	stale := licence.Make(w.Hospital, contract.Event{Kind: contract.HandedOver, Part: "counterfoil", Counterparty: w.Archive.Code})
	var differ *fabric.Disagreement
	until(t, "disagreement", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second)
		defer cancel()
		_, err := s.Submit(ctx, [][]byte{stale})
		if !errors.As(err, &differ) {
			return fmt.Errorf("no disagreement: %w", err)
		}
		return nil
	})
	if !errors.Is(differ, fabric.ErrNotEndorsed) || !strings.Contains(differ.Versions["PoliceMSP"], "program another") || strings.Contains(differ.Versions["ArchiveMSP"], "another") {
		t.Fatalf("%v", differ)
	}
	t.Log(differ)
	// What all agree on still goes through.
	accepted(t, s, licence.Last())
	if head, err := store.Head(t.Context()); err != nil || head.Size != 8 {
		t.Fatalf("%d entries, %v", head.Size, err)
	}
}
