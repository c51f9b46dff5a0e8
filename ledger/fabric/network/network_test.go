package network_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/elicence/elicence/ledger/fabric"
	"github.com/elicence/elicence/ledger/fabric/network"
	"github.com/elicence/elicence/ledger/fabric/transaction"
)

func TestUpWithThreeOrderers(t *testing.T) {
	tools, err := network.Tools()
	if err != nil {
		t.Fatal(err)
	}
	chaincode, err := network.BuildChaincode(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	n, err := network.Up(t.Context(), t.TempDir(), network.Options{Tools: tools, Chaincode: chaincode, Orderers: 3, BatchTimeout: 50 * time.Millisecond},
		func(step string, after time.Duration) { t.Log(after.Round(time.Millisecond), step) })
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		begun := time.Now()
		if err := n.Down(); err != nil {
			t.Error(err)
		}
		t.Log("down after", time.Since(begun))
	}()
	begun := time.Now()
	var names []string
	for i := range 3 {
		names = append(names, fmt.Sprintf("licence%d", i))
	}
	if err := n.Deploy(t.Context(), names...); err != nil {
		t.Fatal(err)
	}
	t.Log("deployed after", time.Since(begun))
	for _, o := range network.Organisations() {
		c, err := fabric.Connect(n.Endpoint(o, "client", names[1]))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for _, other := range network.Organisations() {
			v, err := c.Evaluate(t.Context(), other.MSP, transaction.ReadVersion)
			if err != nil || !strings.HasPrefix(string(v), "transactions 1, events 1, program ") {
				t.Fatalf("%s asks %s: %q, %v", o.Name, other.Name, v, err)
			}
		}
		b, err := c.Evaluate(t.Context(), "", transaction.ReadRegistry)
		if err != nil {
			t.Fatal(err)
		}
		r, err := transaction.ParseRegistry(b)
		if err != nil || r.Kind(o.MSP) != o.Kind || r.Number != 1 {
			t.Fatalf("registry %+v, %v", r, err)
		}
	}
}
