package fabric

import (
	"context"
	"errors"

	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/ledger/fabric/transaction"
)

// atOnce bounds the transactions that are on their way side by side.
const atOnce = 8

// weightOfStanding is what an event of a licence that stands weighs beside one that issues a new one. The licence's key has a policy
// of its own, and for each such key every peer verifies every endorsement over the whole transaction anew: what a hand-over costs
// grows with the transaction that it is in. With this it is cheapest (docs/performance.md).
const weightOfStanding = 10

// batch is what goes into one transaction.
type batch struct {
	chain         Chain
	events        []*contract.Signed
	weight, bytes int
	licences      [][32]byte // that it touches
	// alone is set if it changes who may sign: nothing is on its way beside it.
	alone bool
}

// takes adds an event if there is room for it; for the first one there is.
func (b *batch) takes(e *contract.Signed, touched [][32]byte) bool {
	weight := weightOf(e)
	if len(b.events) > 0 && (b.weight+weight > transaction.MaxEvents || b.bytes+len(e.Bytes) > transaction.MaxBytes) {
		return false
	}
	b.events, b.licences = append(b.events, e), append(b.licences, touched...)
	b.weight, b.bytes = b.weight+weight, b.bytes+len(e.Bytes)
	b.alone = b.alone || touched == nil
	return true
}

func weightOf(e *contract.Signed) int {
	switch e.Event.Kind {
	case contract.Issued, contract.Enrolled, contract.Withdrawn, contract.AuditAnchored:
		return 1
	default:
		return weightOfStanding
	}
}

// touched are the licences, or the actor's trail, that an event depends on or changes; nil if it changes who may sign.
func touched(e *contract.Signed) [][32]byte {
	switch e.Event.Kind {
	case contract.Enrolled, contract.Withdrawn:
		return nil
	case contract.AuditAnchored:
		return [][32]byte{contract.Hash([]byte(e.Event.Actor))}
	}
	if e.Event.Successor == [32]byte{} {
		return [][32]byte{e.Event.Handle}
	}
	return [][32]byte{e.Event.Handle, e.Event.Successor}
}

// all sequences what waits. Batches are on their way side by side, but never two that touch one licence, and nothing beside one
// that changes who may sign. After an error nothing more is sent, and it returns when what was is done.
func (w *work) all(ctx context.Context, waiting []*contract.Signed) error {
	type end struct {
		batch *batch
		err   error
	}
	ends := make(chan end)
	busy := map[[32]byte]bool{}
	var failed error
	for flying, alone := 0, false; ; {
		for failed == nil && !alone && flying < atOnce {
			var b *batch
			if b, waiting = w.next(waiting, busy, flying > 0); b == nil {
				break
			}
			for _, l := range b.licences {
				busy[l] = true
			}
			flying, alone = flying+1, b.alone
			go func() { ends <- end{b, w.sequence(ctx, b.chain, b.events)} }()
		}
		if flying == 0 {
			return failed
		}
		done := <-ends
		flying, alone, failed = flying-1, false, errors.Join(failed, done.err)
		for _, l := range done.batch.licences {
			delete(busy, l)
		}
	}
}

// next takes one batch off what waits: events of one sender, from the beginning on, that touch no busy licence and none that an
// event before them still waits for. nil if nothing may be sent now. The rest keeps its order.
func (w *work) next(waiting []*contract.Signed, busy map[[32]byte]bool, others bool) (b *batch, left []*contract.Signed) {
	passed := map[[32]byte]bool{} // licences of events that were left
	for n, e := range waiting {
		if w.setAsideBefore(e) {
			continue
		}
		chain := w.s.route(e)
		if chain == nil {
			w.setAside(e, NotOurs)
			continue
		}
		licences := touched(e)
		if licences == nil && (others || len(left) > 0) { // everything after it may depend on it, and it on everything before
			return b, append(left, waiting[n:]...)
		}
		waits := b != nil && b.chain != chain
		for _, l := range licences {
			waits = waits || busy[l] || passed[l]
		}
		if !waits {
			if b == nil {
				b = &batch{chain: chain}
			}
			if !b.takes(e, licences) {
				return b, append(left, waiting[n:]...)
			}
			continue
		}
		if licences == nil || b != nil && b.alone {
			return b, append(left, waiting[n:]...)
		}
		for _, l := range licences {
			passed[l] = true
		}
		left = append(left, e)
	}
	return b, left
}
