//go:build fabricsdk

package fabric_test

import (
	"strings"
	"testing"

	"github.com/elicence/elicence/ledger/fabric"
	"github.com/elicence/elicence/ledger/fabric/network"
	"github.com/elicence/elicence/ledger/fabric/transaction"
	"github.com/elicence/elicence/ledger/ledgertest"
)

func TestOlderNetworkNeedsItsNodesNamed(t *testing.T) {
	l, name := newLedger(t)
	good := l.Endpoint(network.Organisations()[0], "client", name)
	for _, c := range []struct {
		name  string
		spoil func(e *fabric.Endpoint)
		says  string
	}{
		{"no orderer", func(e *fabric.Endpoint) { e.Orderers = nil }, "no orderer is named"},
		{"a peer's CA", func(e *fabric.Endpoint) { e.Peers[1].ServerCA = "nowhere.pem" }, "nowhere.pem"},
		{"an orderer's CA", func(e *fabric.Endpoint) { e.Orderers[0].ServerCA = e.Key }, "no certificate in"},
		{"two peers of a member", func(e *fabric.Endpoint) { e.Peers[1].Member = e.Peers[0].Member }, "two peers of PoliceMSP"},
		{"two nodes with one address", func(e *fabric.Endpoint) { e.Peers[1].Address = e.Peers[0].Address }, "two nodes"},
	} {
		e := good
		e.Peers, e.Orderers = append([]fabric.Node{}, good.Peers...), append([]fabric.Node{}, good.Orderers...)
		c.spoil(&e)
		if _, err := fabric.Connect(e); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	e := good
	e.Peers = good.Peers[:1] // the policy asks for all three
	alone, err := fabric.Connect(e)
	if err != nil {
		t.Fatal(err)
	}
	defer alone.Close()
	if _, err := alone.Evaluate(t.Context(), good.Peers[1].Member, transaction.ReadVersion); err == nil || !strings.Contains(err.Error(), "no peer of ArchiveMSP is named") {
		t.Errorf("asked a peer that is not named: %v", err)
	}
}

// TestAnotherOrdererIsAsked: of the orderers that are named, one is away.
func TestAnotherOrdererIsAsked(t *testing.T) {
	l, name := newLedger(t)
	w := ledgertest.NewWorld(t, "orderers")
	accepted(t, l.open(t, w, name, ledgertest.NewMemory(), ledgertest.NewMemoryTiles()), w.Founding()...)
	e := l.Endpoint(network.Organisations()[0], "client", name)
	e.Orderers = append(e.Orderers, fabric.Node{Address: "127.0.0.1:1", ServerCA: e.ServerCA})
	c, err := fabric.Connect(e)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 8 { // which one is asked first is left to chance
		var p fabric.Prepared
		until(t, "endorse", func() (err error) {
			p, err = c.Endorse(t.Context(), transaction.Submit, w.Issue(w.Hospital).Last())
			return err
		})
		if err := c.Send(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		if done, err := c.Await(t.Context(), p); err != nil || done.Code != fabric.Valid {
			t.Fatalf("%+v, %v", done, err)
		}
	}
}
