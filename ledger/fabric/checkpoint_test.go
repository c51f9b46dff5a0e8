package fabric_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/elicence/elicence/ledger"
	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/ledger/embedded"
	"github.com/elicence/elicence/ledger/fabric"
	"github.com/elicence/elicence/ledger/fabric/transaction"
	"github.com/elicence/elicence/ledger/ledgertest"
)

// A member's checkpoint reaches the others' followers through the chain, when they have the entries that it covers, and again
// when they could not take it.
func TestCheckpointsComeThroughTheChain(t *testing.T) {
	w, ch := ledgertest.NewWorld(t, "announced"), newChain(t)
	s := ch.open(w, ledgertest.NewMemory())
	accepted(t, s, w.Founding()...)
	first, err := s.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := fabric.Announce(t.Context(), ch, first); err != nil {
		t.Fatal(err)
	}
	accepted(t, s, w.Issue(w.Hospital).Last())
	second, err := s.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := fabric.Announce(t.Context(), ch, second); err != nil {
		t.Fatal(err)
	}

	log := embedded.NewLog(ledgertest.NewMemory(), ledgertest.NewMemoryTiles(), nil, w.LogCertificate, ledgertest.Origin)
	f := fabric.NewFollower(ch, log)
	came := make(chan []byte, 3)
	var last ledger.Checkpoint
	busy := true
	f.OnCheckpoint(func(ctx context.Context, note []byte) error {
		n, err := ledger.ParseNote(note)
		if err != nil {
			return err
		}
		// What a member states is what this log comes to by itself.
		body, err := log.BodyAt(ctx, n.Checkpoint.Size, last)
		if err != nil || !bytes.Equal(body, n.Body) {
			t.Errorf("checkpoint of %d entries: %v", n.Checkpoint.Size, err)
		}
		if busy {
			busy = false
			return errors.New("not now")
		}
		last = n.Checkpoint
		came <- note
		return nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx, nil) }()
	for _, want := range [][]byte{first, second} {
		select {
		case got := <-came:
			if !bytes.Equal(got, want) {
				t.Errorf("another checkpoint came:\n%s", got)
			}
		case err := <-ended:
			t.Fatal(err)
		}
	}
	cancel()
	<-ended
	if _, err := log.BodyAt(t.Context(), last.Size+1, last); !errors.Is(err, embedded.ErrNotYet) {
		t.Errorf("a checkpoint of more entries than there are: %v", err)
	}
}

// A log that was begun by the embedded sequencer, or on another chain, is not gone on with.
func TestLogOfAnotherOriginIsRefused(t *testing.T) {
	w, ch := ledgertest.NewWorld(t, "switched"), newChain(t)
	store := ledgertest.NewMemory()
	before := embedded.New(store, ledgertest.NewMemoryTiles(), w.LogKey, w.LogCertificate, ledgertest.Origin, w.Now)
	if _, err := before.Submit(t.Context(), w.Founding()); err != nil {
		t.Fatal(err)
	}
	accepted(t, ch.open(w, ledgertest.NewMemory()), append(w.Founding(), w.Issue(w.Agency).Last())...)
	f := fabric.NewFollower(ch, before.Log)
	if err := f.Run(t.Context(), nil); !errors.Is(err, fabric.ErrDiverged) {
		t.Fatal(err)
	}
}

// A follower judges an event's time by the time that its transaction was sent at, as the peers do.
func TestEventOfTomorrowIsRefusedByTheFollower(t *testing.T) {
	w, ch := ledgertest.NewWorld(t, "tomorrow"), newChain(t)
	accepted(t, ch.open(w, ledgertest.NewMemory()), w.Founding()...)
	block := ch.blocks[len(ch.blocks)-1]
	sent := block.Transactions[0]
	if sent.Function != transaction.Submit {
		t.Fatal(sent.Function)
	}
	e, err := contract.ParseEvent(sent.Args[len(sent.Args)-1])
	if err != nil {
		t.Fatal(err)
	}
	follow := func(at time.Time) error {
		again := sent
		again.Time = at
		log := embedded.NewLog(ledgertest.NewMemory(), ledgertest.NewMemoryTiles(), nil, w.LogCertificate, ledgertest.Origin)
		return fabric.NewFollower(ch, log).Take(t.Context(), fabric.Block{Number: block.Number, Transactions: []fabric.Transaction{again}})
	}
	edge := time.UnixMicro(e.Event.Time).Add(-contract.SubmissionTolerance)
	if err := follow(edge); err != nil {
		t.Errorf("at the very edge: %v", err)
	}
	if err := follow(edge.Add(-time.Second)); !errors.Is(err, fabric.ErrDiverged) {
		t.Errorf("peers that took an event of tomorrow are believed: %v", err)
	}
}
