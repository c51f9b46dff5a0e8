package fabric

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/elicence/elicence/ledger"
	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/ledger/embedded"
	"github.com/elicence/elicence/ledger/fabric/transaction"
)

const (
	// attempts is how often a batch that the peers invalidated is endorsed anew before it is cut in two.
	attempts = 4
	// lastAttempts is the same for a single event: then it is set aside.
	lastAttempts = 12
	// agreeing is how long peers may differ because some are blocks behind, which is usual right after a block.
	agreeing = 5 * time.Second
	// resolving is how long a transaction of unknown outcome is looked for and sent again.
	resolving = 20 * time.Second
	// resending is how long a commit is waited for before the transaction is looked up.
	resending = 5 * time.Second
)

// Route names the chain through which an event is sent: as a client of the member that its actor belongs to.
type Route func(s *contract.Signed) Chain

// Sequencer submits events and answers from the log that its own follower makes. It is safe for concurrent use; events of one
// licence that are submitted at the same time get in each other's way, others do not.
type Sequencer struct {
	*embedded.Log
	follower *Follower
	route    Route
}

// NewSequencer makes a Sequencer. The follower must write to log and be run by the caller.
func NewSequencer(log *embedded.Log, follower *Follower, route Route) *Sequencer {
	return &Sequencer{Log: log, follower: follower, route: route}
}

// SetAside names events that the contract accepts and the peers invalidate again and again, and events that come after one of
// these on the same licence. They are neither refused nor in the log; all others have their outcome.
type SetAside struct {
	Events []Aside
}

// Aside is an event that was set aside.
type Aside struct {
	Hash [32]byte
	Code Code // of the last attempt; Valid if it only comes after such an event
}

func (s *SetAside) Error() string {
	var text []string
	for _, a := range s.Events {
		if a.Code == Valid {
			text = append(text, fmt.Sprintf("%x (follows one of these)", a.Hash[:8]))
		} else {
			text = append(text, fmt.Sprintf("%x (%s)", a.Hash[:8], a.Code))
		}
	}
	return "fabric: events set aside, because the peers do not take them: " + strings.Join(text, ", ")
}

// Submit has events judged and ordered, and returns when the own follower has those that stand in the log. It is idempotent
// for each event: the same bytes again get the same index, whatever became of an earlier transaction. After an error some
// events may stand: submit all again. With a *SetAside the outcomes are those of all other events.
func (s *Sequencer) Submit(ctx context.Context, events [][]byte) ([]ledger.Outcome, error) {
	distinct, same := embedded.Distinct(events)
	w := &work{s: s, answers: map[[32]byte]ledger.Outcome{}, blocked: map[[32]byte]bool{}}
	var run []*contract.Signed
	var through Chain
	size := 0
	flush := func() error {
		batch := run
		run, size = nil, 0
		return w.sequence(ctx, through, batch)
	}
	for _, e := range distinct {
		parsed, err := contract.ParseEvent(e)
		if err != nil {
			// The chaincode would say the same, at any time: nothing is sent.
			var r *contract.Refusal
			if !errors.As(err, &r) {
				return nil, err
			}
			h := contract.Hash(e)
			w.answers[h] = ledger.Outcome{Hash: h, Refusal: r}
			continue
		}
		chain := s.route(parsed)
		if len(run) > 0 && (chain != through || len(run) == transaction.MaxEvents || size+len(e) > transaction.MaxBytes) {
			if err := flush(); err != nil {
				return nil, err
			}
		}
		through, run, size = chain, append(run, parsed), size+len(e)
	}
	if err := flush(); err != nil {
		return nil, err
	}
	outcomes := make([]ledger.Outcome, len(events))
	for i, n := range same {
		outcomes[i] = w.answers[contract.Hash(distinct[n])]
	}
	if len(w.aside) > 0 {
		return outcomes, &SetAside{Events: w.aside}
	}
	return outcomes, nil
}

// work is one Submit.
type work struct {
	s       *Sequencer
	answers map[[32]byte]ledger.Outcome
	aside   []Aside
	blocked map[[32]byte]bool // licences of which an event was set aside
	stopped bool              // an event that any other may depend on was set aside
}

// sequence gives every event of a batch its answer, or sets it aside.
func (w *work) sequence(ctx context.Context, chain Chain, batch []*contract.Signed) error {
	if batch = w.unblocked(batch); len(batch) == 0 {
		return nil
	}
	most := attempts
	if len(batch) == 1 {
		most = lastAttempts
	}
	var code Code
	for attempt := 1; attempt <= most; attempt++ {
		done, c, err := w.try(ctx, chain, batch)
		if err != nil || done {
			return err
		}
		code = c
	}
	if len(batch) == 1 {
		w.setAside(batch[0], code)
		return nil
	}
	half := len(batch) / 2
	if err := w.sequence(ctx, chain, batch[:half]); err != nil {
		return err
	}
	return w.sequence(ctx, chain, batch[half:])
}

// unblocked leaves out what must not be judged: after an event that was set aside the contract would refuse, for good, what
// only has to wait.
func (w *work) unblocked(batch []*contract.Signed) []*contract.Signed {
	if !w.stopped && len(w.blocked) == 0 {
		return batch
	}
	var left []*contract.Signed
	for _, e := range batch {
		if w.stopped || w.blocked[e.Event.Handle] || w.blocked[e.Event.Successor] {
			w.setAside(e, Valid)
			continue
		}
		left = append(left, e)
	}
	return left
}

func (w *work) setAside(e *contract.Signed, code Code) {
	w.aside = append(w.aside, Aside{Hash: e.Hash, Code: code})
	if e.Event.Handle == [32]byte{} {
		w.stopped = true
		return
	}
	w.blocked[e.Event.Handle] = true
	if e.Event.Successor != [32]byte{} {
		w.blocked[e.Event.Successor] = true
	}
}

// try submits a batch once. done is false if the peers have invalidated the transaction, with their code.
func (w *work) try(ctx context.Context, chain Chain, batch []*contract.Signed) (done bool, code Code, err error) {
	args := make([][]byte, len(batch))
	for i, e := range batch {
		args[i] = e.Bytes
	}
	p, err := endorse(ctx, chain, args)
	if err != nil {
		return false, 0, err
	}
	answer, err := transaction.ParseAnswer(p.Answer, len(args))
	if err != nil {
		return false, 0, fmt.Errorf("%w: %w", ErrNotEndorsed, err)
	}
	if answer.Accepted() > 0 { // else there is nothing to be ordered
		committed, err := deliver(ctx, chain, p)
		if err != nil {
			return false, 0, err
		}
		if err := w.s.follower.Wait(ctx, committed.Block+1); err != nil {
			return false, 0, err
		}
		if committed.Code != Valid {
			return false, committed.Code, nil
		}
	}
	waited := false
	for i, e := range batch {
		index, found, err := w.s.IndexOf(ctx, e.Hash)
		if err != nil {
			return false, 0, err
		}
		if !found && answer[i] != "" && !waited {
			// The contract refuses what stands already as it would any other second event. The peers may know of it from a
			// block that the follower has not read yet.
			height, err := chain.Height(ctx)
			if err != nil {
				return false, 0, err
			}
			if err := w.s.follower.Wait(ctx, height); err != nil {
				return false, 0, err
			}
			waited = true
			if index, found, err = w.s.IndexOf(ctx, e.Hash); err != nil {
				return false, 0, err
			}
		}
		switch {
		case found:
			w.answers[e.Hash] = ledger.Outcome{Hash: e.Hash, Index: index}
		case answer[i] == "":
			return false, 0, fmt.Errorf("%w: event %x was accepted by the chain and is not in the log", ErrDiverged, e.Hash[:8])
		default:
			r, known := contract.RefusalOf(answer[i])
			if !known {
				return false, 0, fmt.Errorf("%w: the peers refuse by a rule %q that this program does not have", ErrDiverged, answer[i])
			}
			w.answers[e.Hash] = ledger.Outcome{Hash: e.Hash, Refusal: r}
		}
	}
	return true, Valid, nil
}

// endorse asks again while peers differ: those of other members may be a block behind the own one.
func endorse(ctx context.Context, chain Chain, args [][]byte) (Prepared, error) {
	deadline := time.Now().Add(agreeing)
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		p, err := chain.Endorse(ctx, transaction.Submit, args...)
		var differ *Disagreement
		if err == nil || !errors.As(err, &differ) || time.Now().After(deadline) {
			return p, err
		}
		select {
		case <-ctx.Done():
			return Prepared{}, ctx.Err()
		case <-time.After(wait):
		}
	}
}

// deliver sends a transaction and returns what became of it. When that cannot be told, the transaction is looked up, and only
// if the peer does not have it the same one is sent again: of two with one id the peers take the first.
func deliver(ctx context.Context, chain Chain, p Prepared) (Commitment, error) {
	deadline := time.Now().Add(resolving)
	var last error
	for {
		err := chain.Send(ctx, p)
		if err == nil {
			var done Commitment
			waiting, cancel := context.WithTimeout(ctx, resending)
			done, err = chain.Await(waiting, p)
			cancel()
			if err == nil && done.Code != DuplicateID {
				return done, nil
			}
		}
		if ctx.Err() != nil {
			return Commitment{}, fmt.Errorf("%w: %s: %w", ErrUnknownOutcome, p.ID, ctx.Err())
		}
		if err != nil {
			last = err
		}
		if _, found, err := chain.Find(ctx, p.ID); err != nil {
			last = err
		} else if found {
			if done, err := chain.Await(ctx, p); err == nil {
				return done, nil
			}
		}
		if time.Now().After(deadline) {
			return Commitment{}, fmt.Errorf("%w: %s: %w", ErrUnknownOutcome, p.ID, last)
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}
