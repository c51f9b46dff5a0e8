package fabric_test

import (
	"testing"

	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/ledger/fabric/export"
	"github.com/elicence/elicence/ledger/fabric/network"
	"github.com/elicence/elicence/ledger/fabric/replay"
	"github.com/elicence/elicence/ledger/ledgertest"
)

// TestAuditedThroughThisConnector: whichever connector it is, a peer is audited and exported through it, and the export is good.
func TestAuditedThroughThisConnector(t *testing.T) {
	l, name := newLedger(t)
	w, store := ledgertest.NewWorld(t, "audited"), ledgertest.NewMemory()
	s := l.open(t, w, name, store, ledgertest.NewMemoryTiles())
	accepted(t, s, w.Founding()...)
	licence := w.Issue(w.Hospital)
	accepted(t, s, licence.Last(), licence.HandOver(w.Hospital, w.Archive))
	n := ledgertest.Publish(t, w, suiteOf(s), t.TempDir())
	peer := l.connect(t, name)[contract.Commission]
	o := replay.Options{Channel: network.Channel, Chaincode: name, Trust: w.Trust(), Known: [][]byte{n.Encode()}}
	r, err := replay.Online(t.Context(), peer, store, o)
	if err != nil || r.Difference != nil || r.Entries != 9 || r.Cosigned != 9 || len(r.Compared) != 3 {
		t.Fatalf("%+v, %v", r, err)
	}
	dir := t.TempDir()
	if _, err := export.Write(t.Context(), dir, peer, export.Options{Channel: network.Channel, Chaincode: name, Checkpoint: n.Encode()}); err != nil {
		t.Fatal(err)
	}
	if r, err = replay.Export(t.Context(), dir, replay.Options{Trust: w.Trust()}); err != nil || r.Difference != nil || r.Entries != 9 || r.Cosigned != 9 || r.CommitHash == "" {
		t.Fatalf("%+v, %v", r, err)
	}
}
