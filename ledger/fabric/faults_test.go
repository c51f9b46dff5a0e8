package fabric_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/ledger/embedded"
	"github.com/elicence/elicence/ledger/fabric"
	"github.com/elicence/elicence/ledger/fabric/network"
	"github.com/elicence/elicence/ledger/fabric/transaction"
	"github.com/elicence/elicence/ledger/ledgertest"
)

// until tries again until the network has recovered; it returns how long that took.
func until(t *testing.T, what string, try func() error) time.Duration {
	t.Helper()
	begun := time.Now()
	for {
		err := try()
		if err == nil {
			return time.Since(begun)
		}
		if time.Since(begun) > 60*time.Second {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// everywhere fails the test unless every organisation's follower makes the same log of the ledger.
func everywhere(t *testing.T, l *laboratory, w *ledgertest.World, name string, want []byte) {
	t.Helper()
	for kind, c := range l.connect(t, name) {
		store := ledgertest.NewMemory()
		f := fabric.NewFollower(c, embedded.NewLog(store, ledgertest.NewMemoryTiles(), w.LogKey, w.LogCertificate, ledgertest.Origin))
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		go f.Run(ctx, nil)
		until(t, string(kind), func() error {
			height, err := c.Height(ctx)
			if err != nil {
				return err
			}
			if err := f.Wait(ctx, height); err != nil {
				return err
			}
			head, err := store.Head(ctx)
			if err == nil && string(head.Body) != string(want) {
				err = errors.New("another log: " + string(head.Body))
			}
			return err
		})
		cancel()
	}
}

func TestInvalidatedHandOverHasNoReceipt(t *testing.T) {
	l, name := newLedger(t)
	w, store := ledgertest.NewWorld(t, "invalidated"), ledgertest.NewMemory()
	s := l.open(t, w, name, store, ledgertest.NewMemoryTiles())
	accepted(t, s, w.Founding()...)
	licence := w.Issue(w.Hospital)
	accepted(t, s, licence.Last())
	offer := func(to ledgertest.Organisation) []byte {
		return licence.Make(w.Hospital, contract.Event{Kind: contract.HandedOver, Part: "counterfoil", Counterparty: to.Code})
	}
	one, other := offer(w.Archive), offer(w.OtherArchive)
	// Both are endorsed on the same state, both are ordered: the peers take the first.
	commission := l.connect(t, name)[contract.Commission]
	var prepared []fabric.Prepared
	for _, e := range [][]byte{one, other} {
		until(t, "endorse", func() error {
			p, err := commission.Endorse(t.Context(), transaction.Submit, e)
			if err == nil {
				prepared = append(prepared, p)
			}
			return err
		})
	}
	codes := map[fabric.Code]int{}
	var last uint64
	var lost []byte
	for i, p := range prepared {
		if err := commission.Send(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		done, err := commission.Await(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		codes[done.Code]++
		last = max(last, done.Block)
		if done.Code != fabric.Valid {
			lost = [][]byte{one, other}[i]
		}
		code, found, err := commission.Find(t.Context(), p.ID)
		if err != nil || !found || code != done.Code {
			t.Fatalf("looked up: %v, %t, %v", code, found, err)
		}
	}
	if codes[fabric.Valid] != 1 || codes[fabric.ReadConflict] != 1 {
		t.Fatalf("codes %v", codes)
	}
	outcomes, err := s.Submit(t.Context(), [][]byte{lost}) // and it may not stand later either
	if err != nil || outcomes[0].Refusal == nil || outcomes[0].Refusal.Rule != contract.RuleStale {
		t.Fatalf("%+v, %v", outcomes, err)
	}
	if _, found, err := s.IndexOf(t.Context(), contract.Hash(lost)); found || err != nil {
		t.Fatal("an invalidated hand-over is in the log", err)
	}
	n := ledgertest.Publish(t, w, suiteOf(s), t.TempDir())
	if n.Checkpoint.Size != 9 {
		t.Fatalf("%d entries", n.Checkpoint.Size)
	}
	if _, err := s.Receipt(t.Context(), 9); err == nil {
		t.Fatal("a receipt of what is not there")
	}
	everywhere(t, l, w, name, n.Body)
}

// suiteOf is the sequencer as the suite sees it.
func suiteOf(s *fabric.Sequencer) ledgertest.Sequencer { return s }

func TestClientEndsBetweenSubmitAndCommit(t *testing.T) {
	l, name := newLedger(t)
	w, store := ledgertest.NewWorld(t, "client"), ledgertest.NewMemory()
	s := l.open(t, w, name, store, ledgertest.NewMemoryTiles())
	accepted(t, s, w.Founding()...)
	event := w.Issue(w.Hospital).Last()
	commission, err := fabric.Connect(l.Endpoint(network.Organisations()[0], "client", name))
	if err != nil {
		t.Fatal(err)
	}
	var p fabric.Prepared
	until(t, "endorse", func() (err error) {
		p, err = commission.Endorse(t.Context(), transaction.Submit, event)
		return err
	})
	if err := commission.Send(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if err := commission.Close(); err != nil { // it is gone, and remembers nothing
		t.Fatal(err)
	}
	again := l.open(t, w, name, store, ledgertest.NewMemoryTiles())
	if got := accepted(t, again, event); got[0] != 7 {
		t.Fatalf("index %d", got[0])
	}
	head, err := store.Head(t.Context())
	if err != nil || head.Size != 8 {
		t.Fatalf("%d entries, %v", head.Size, err)
	}
	everywhere(t, l, w, name, head.Body)
}

// TestTheSameTransactionTwice: what Submit does when it does not know what became of a transaction is harmless.
func TestTheSameTransactionTwice(t *testing.T) {
	l, name := newLedger(t)
	w, store := ledgertest.NewWorld(t, "twice"), ledgertest.NewMemory()
	s := l.open(t, w, name, store, ledgertest.NewMemoryTiles())
	accepted(t, s, w.Founding()...)
	event := w.Issue(w.Hospital).Last()
	commission := l.connect(t, name)[contract.Commission]
	var p fabric.Prepared
	until(t, "endorse", func() (err error) {
		p, err = commission.Endorse(t.Context(), transaction.Submit, event)
		return err
	})
	if _, found, err := commission.Find(t.Context(), p.ID); found || err != nil {
		t.Fatalf("found before it was sent: %t, %v", found, err)
	}
	height, err := commission.Height(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := commission.Send(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	done, err := commission.Await(t.Context(), p)
	if err != nil || done.Code != fabric.Valid || done.Block != height {
		t.Fatalf("%+v at height %d, %v", done, height, err)
	}
	if got := accepted(t, s, event); got[0] != 7 {
		t.Fatalf("index %d", got[0])
	}
	if again, err := commission.Await(t.Context(), p); err != nil || again != done {
		t.Fatalf("%+v, then %+v, %v", done, again, err)
	}
	if code, found, err := commission.Find(t.Context(), p.ID); !found || code != fabric.Valid || err != nil {
		t.Fatalf("%v, %t, %v", code, found, err)
	}
	head, err := store.Head(t.Context())
	if err != nil || head.Size != 8 {
		t.Fatalf("%d entries, %v", head.Size, err)
	}
	everywhere(t, l, w, name, head.Body)
}

// TestProcessesAreKilledAndComeBack kills each kind of process in turn. What is submitted meanwhile fails without a trace of
// half a batch; the same events stand once when the process is back.
func TestProcessesAreKilledAndComeBack(t *testing.T) {
	l, name := newLedger(t)
	w, store := ledgertest.NewWorld(t, "killed"), ledgertest.NewMemory()
	s := l.open(t, w, name, store, ledgertest.NewMemoryTiles())
	accepted(t, s, w.Founding()...)
	for _, process := range []string{"chaincode.police", "peer.archive", "peer.commission", "orderer1"} {
		if err := l.Kill(process); err != nil {
			t.Fatal(err)
		}
		licence := w.Issue(w.Hospital)
		events := [][]byte{licence.Last(), licence.HandOver(w.Hospital, w.Archive)}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		_, err := s.Submit(ctx, events)
		cancel()
		if err == nil {
			t.Fatalf("without %s events were ordered", process)
		}
		if err := l.Start(process); err != nil {
			t.Fatal(err)
		}
		if err := l.Listening(t.Context(), process); err != nil {
			t.Fatal(err)
		}
		took := until(t, process, func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			outcomes, err := s.Submit(ctx, events)
			if err == nil && (outcomes[0].Refusal != nil || outcomes[1].Refusal != nil) {
				t.Fatalf("%s: %v, %v", process, outcomes[0].Refusal, outcomes[1].Refusal)
			}
			return err
		})
		t.Logf("%s: events stand %v after it is back", process, took.Round(10*time.Millisecond))
	}
	head, err := store.Head(t.Context())
	if err != nil || head.Size != 7+4*2 {
		t.Fatalf("%d entries, %v", head.Size, err)
	}
	everywhere(t, l, w, name, head.Body)
}

// TestOwnPeerIsKilledWhileSubmitting: what is under way when the peer goes away is neither lost nor there twice.
func TestOwnPeerIsKilledWhileSubmitting(t *testing.T) {
	l, name := newLedger(t)
	w, store := ledgertest.NewWorld(t, "submitting"), ledgertest.NewMemory()
	s := l.open(t, w, name, store, ledgertest.NewMemoryTiles())
	accepted(t, s, w.Founding()...)
	var events [][]byte
	for range 60 {
		events = append(events, w.Issue(w.Hospital).Last())
	}
	const callers = 3
	var done atomic.Int64
	ended := make(chan error, callers)
	for part := range slices.Chunk(events, len(events)/callers) {
		go func() { ended <- submitAll(t.Context(), s, part, &done) }()
	}
	reached := func(n int64) {
		t.Helper()
		until(t, "progress", func() error {
			if got := done.Load(); got < n {
				return fmt.Errorf("%d of %d events stand", got, n)
			}
			return nil
		})
	}
	reached(10)
	if err := l.Kill("peer.commission"); err != nil {
		t.Fatal(err)
	}
	at := done.Load()
	if err := errors.Join(l.Start("peer.commission"), l.Listening(t.Context(), "peer.commission")); err != nil {
		t.Fatal(err)
	}
	for range callers {
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
	if at > int64(len(events)-callers) {
		t.Fatalf("%d of %d events stood when the peer was killed: nothing was under way", at, len(events))
	}
	head, err := store.Head(t.Context())
	if err != nil || head.Size != uint64(7+len(events)) {
		t.Fatalf("%d entries, %v", head.Size, err)
	}
	everywhere(t, l, w, name, head.Body)
}

// submitAll submits each event again until it stands, as the program's loop does.
func submitAll(ctx context.Context, s *fabric.Sequencer, events [][]byte, done *atomic.Int64) error {
	for _, e := range events {
		for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
			outcomes, err := s.Submit(ctx, [][]byte{e})
			if err == nil && outcomes[0].Refusal != nil {
				return outcomes[0].Refusal
			}
			if err == nil {
				done.Add(1)
				break
			}
			if time.Since(begun) > 60*time.Second {
				return err
			}
		}
	}
	return nil
}

func TestConnectNamesWhatIsWrong(t *testing.T) {
	l, name := newLedger(t)
	good := l.Endpoint(network.Organisations()[0], "client", name)
	other := l.Endpoint(network.Organisations()[1], "client", name)
	for _, c := range []struct {
		name  string
		spoil func(e *fabric.Endpoint)
		says  string
	}{
		{"no CA", func(e *fabric.Endpoint) { e.ServerCA = "nowhere.pem" }, "nowhere.pem"},
		{"CA is no certificate", func(e *fabric.Endpoint) { e.ServerCA = e.Key }, "no certificate in"},
		{"no certificate", func(e *fabric.Endpoint) { e.Cert = "nowhere.pem" }, "nowhere.pem"},
		{"no key", func(e *fabric.Endpoint) { e.Key = e.Cert }, "holds no private key"},
	} {
		e := good
		c.spoil(&e)
		if _, err := fabric.Connect(e); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	for _, c := range []struct {
		name  string
		spoil func(e *fabric.Endpoint)
	}{
		{"nobody listens", func(e *fabric.Endpoint) { e.Address = "127.0.0.1:1" }},
		{"another CA", func(e *fabric.Endpoint) { e.ServerCA = other.ServerCA }},
		{"another member", func(e *fabric.Endpoint) { e.Member, e.Peers = other.Member, good.Peers[1:] }},
		{"no such ledger", func(e *fabric.Endpoint) { e.Chaincode = "nothing" }},
	} {
		e := good
		c.spoil(&e)
		conn, err := fabric.Connect(e)
		if err != nil {
			t.Fatal(err)
		}
		_, err = conn.Endorse(t.Context(), transaction.Submit, []byte("event"))
		if !errors.Is(err, fabric.ErrNotEndorsed) {
			t.Errorf("%s: %v", c.name, err)
		}
		t.Logf("%s: %v", c.name, err)
		_ = conn.Close()
	}
}
