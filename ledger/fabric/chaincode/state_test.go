package chaincode_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/elicence/elicence/ledger/fabric/transaction"
	"github.com/elicence/elicence/ledger/ledgertest"
	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"github.com/hyperledger/fabric-protos-go-apiv2/ledger/queryresult"
)

// GetStateByRange is for the function that only reads: what a query has seen must not decide a write.
func (s *stub) GetStateByRange(start, end string) (shim.StateQueryIteratorInterface, error) {
	s.w.t.Helper()
	if string(s.args[0]) != transaction.ReadState || end != "" {
		s.w.t.Errorf("%s asks for a range", s.args[0])
	}
	s.read()
	s.ranges++
	r := &ranged{s: s}
	for _, k := range slices.Sorted(maps.Keys(s.w.state)) {
		if k >= start {
			r.left = append(r.left, &queryresult.KV{Key: k, Value: s.w.state[k]})
		}
	}
	return r, nil
}

type ranged struct {
	s    *stub
	left []*queryresult.KV
}

func (r *ranged) HasNext() bool { return len(r.left) > 0 }
func (r *ranged) Close() error  { r.s.ranges--; return nil }
func (r *ranged) Next() (*queryresult.KV, error) {
	kv := r.left[0]
	r.left = r.left[1:]
	return kv, nil
}

func TestStateIsReadInPages(t *testing.T) {
	w, peer := ledgertest.NewWorld(t, "state"), founded(t)
	peer.submit(by(t, w.Registrar), w.Founding()...)
	for n := range 2500 {
		peer.state[fmt.Sprintf("x/%04d", n)] = bytes.Repeat([]byte{1}, 10)
	}
	peer.state["y"] = bytes.Repeat([]byte{2}, 600<<10) // larger than a page is meant to be
	peer.state["z"] = []byte("last")
	got := map[string][]byte{}
	pages := 0
	for first, more := "", true; more; pages++ {
		r := peer.invoke(by(t, w.Police), transaction.ReadState, []byte(first))
		if r.GetStatus() != shim.OK {
			t.Fatal(r.GetMessage())
		}
		if peer.last.ranges != 0 || len(peer.last.written) != 0 {
			t.Fatalf("%d queries left open, %d keys written", peer.last.ranges, len(peer.last.written))
		}
		p, err := transaction.ParsePage(r.GetPayload(), first)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Entries) > transaction.MaxPage {
			t.Fatalf("%d keys on a page", len(p.Entries))
		}
		for _, e := range p.Entries {
			got[e.Key] = e.Value
		}
		first, more = p.Next, p.Next != ""
	}
	if !maps.EqualFunc(got, peer.state, bytes.Equal) || pages < 4 {
		t.Fatalf("%d keys of %d, on %d pages", len(got), len(peer.state), pages)
	}
	if r := peer.invoke(by(t, w.Police), transaction.ReadState); r.GetStatus() == shim.OK {
		t.Fatal("without a first key")
	}
}
