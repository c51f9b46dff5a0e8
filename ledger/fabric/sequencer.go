package fabric

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
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
	// gathering is how long the own peer may not know of enough others.
	gathering = 15 * time.Second
	// resolving is how long a transaction of unknown outcome is looked for and sent again.
	resolving = 20 * time.Second
	// resending is how long a commit is waited for before the transaction is looked up.
	resending = 5 * time.Second
)

// Route names the chain through which an event is sent: as a client of the member that its actor belongs to. nil if this
// installation is no client of such a member: the event is set aside, for whoever is one.
type Route func(s *contract.Signed) Chain

// Sequencer submits events and answers from the log that its own follower makes. It is safe for concurrent use; events of one
// licence that are submitted at the same time get in each other's way, others do not.
type Sequencer struct {
	*embedded.Log
	follower *Follower
	route    Route
	now      func() time.Time

	mu    sync.Mutex
	aside map[[32]byte]setAside // by event
}

// setAside is an event that is not sent again before a time.
type setAside struct {
	code  Code
	until time.Time
}

// asideFor is how long an event that the peers do not take is left alone, and with it what comes after it on its licence.
const asideFor = time.Minute

// NewSequencer makes a Sequencer. The follower must write to log and be run by the caller.
func NewSequencer(log *embedded.Log, follower *Follower, route Route, clock func() time.Time) *Sequencer {
	return &Sequencer{Log: log, follower: follower, route: route, now: clock, aside: map[[32]byte]setAside{}}
}

// SetAside names events that the contract accepts and the peers invalidate again and again, events that nobody here may send,
// and events that come after one of these on the same licence. They are neither refused nor in the log; all others have their
// outcome. For a minute they are not sent again, however often they are submitted.
type SetAside struct {
	Events []Aside
}

// Aside is an event that was set aside.
type Aside struct {
	Hash [32]byte
	Code Code // of the last attempt; Valid if it only comes after such an event, NotOurs if nobody here may send it
}

// NotOurs is the Code of an event for which there is no Route.
const NotOurs Code = -1

func (s *SetAside) Error() string {
	var text []string
	for _, a := range s.Events {
		switch a.Code {
		case Valid:
			text = append(text, fmt.Sprintf("%x (follows one of these)", a.Hash[:8]))
		case NotOurs:
			text = append(text, fmt.Sprintf("%x (this installation is no client of its actor's member)", a.Hash[:8]))
		default:
			text = append(text, fmt.Sprintf("%x (%s)", a.Hash[:8], a.Code))
		}
	}
	return "fabric: events set aside, because the peers do not take them: " + strings.Join(text, ", ")
}

// Submit has events judged and ordered, and returns when the own follower has those that stand in the log. Events of one
// licence are ordered as they come here; batches that have no licence in common are sent side by side. It is idempotent
// for each event: the same bytes again get the same index, whatever became of an earlier transaction. After an error some
// events may stand: submit all again. With a *SetAside the outcomes are those of all other events.
func (s *Sequencer) Submit(ctx context.Context, events [][]byte) ([]ledger.Outcome, error) {
	distinct, same := embedded.Distinct(events)
	w := &work{s: s, answers: map[[32]byte]ledger.Outcome{}, blocked: map[[32]byte]bool{}}
	var waiting []*contract.Signed
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
		waiting = append(waiting, parsed)
	}
	if err := w.all(ctx, waiting); err != nil {
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
	s *Sequencer

	mu      sync.Mutex
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
	var left []*contract.Signed
	for _, e := range batch {
		if !w.setAsideBefore(e) {
			left = append(left, e)
		}
	}
	return left
}

// setAsideBefore sets an event aside that was so a short time ago, or that comes after one which is.
func (w *work) setAsideBefore(e *contract.Signed) bool {
	w.mu.Lock()
	after := w.stopped
	for _, k := range touched(e) {
		after = after || w.blocked[k]
	}
	w.mu.Unlock()
	if after {
		w.setAside(e, Valid)
		return true
	}
	w.s.mu.Lock()
	before, is := w.s.aside[e.Hash]
	if is && !w.s.now().Before(before.until) {
		delete(w.s.aside, e.Hash)
		is = false
	}
	w.s.mu.Unlock()
	if is {
		w.setAside(e, before.code)
	}
	return is
}

func (w *work) setAside(e *contract.Signed, code Code) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.aside = append(w.aside, Aside{Hash: e.Hash, Code: code})
	keys := touched(e)
	w.stopped = w.stopped || keys == nil
	for _, k := range keys {
		w.blocked[k] = true
	}
	if code == Valid || code == NotOurs {
		return
	}
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	if _, is := w.s.aside[e.Hash]; !is {
		w.s.aside[e.Hash] = setAside{code, w.s.now().Add(asideFor)}
	}
}

func (w *work) answer(o ledger.Outcome) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answers[o.Hash] = o
}

// try submits a batch once. done is false if the peers have invalidated the transaction, with their code.
func (w *work) try(ctx context.Context, chain Chain, batch []*contract.Signed) (done bool, code Code, err error) {
	args := make([][]byte, len(batch))
	for i, e := range batch {
		args[i] = e.Bytes
	}
	p, err := endorse(ctx, chain, transaction.Submit, args...)
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
			w.answer(ledger.Outcome{Hash: e.Hash, Index: index})
		case answer[i] == "":
			return false, 0, fmt.Errorf("%w: event %x was accepted by the chain and is not in the log", ErrDiverged, e.Hash[:8])
		default:
			r, known := contract.RefusalOf(answer[i])
			if !known {
				return false, 0, fmt.Errorf("%w: the peers refuse by a rule %q that this program does not have", ErrDiverged, answer[i])
			}
			w.answer(ledger.Outcome{Hash: e.Hash, Refusal: r})
		}
	}
	return true, Valid, nil
}

// endorse asks again while peers differ, or while the own one does not know of enough others: those of other members may be a
// block behind it, or just have come up.
func endorse(ctx context.Context, chain Chain, function string, args ...[]byte) (Prepared, error) {
	begun := time.Now()
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		p, err := chain.Endorse(ctx, function, args...)
		var differ *Disagreement
		passing := errors.As(err, &differ) && time.Since(begun) < agreeing || errors.Is(err, ErrTooFewPeers) && time.Since(begun) < gathering
		if !passing {
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

// Announce sends a signed checkpoint through the chain to the other members' followers, and returns when it stands there.
func Announce(ctx context.Context, chain Chain, note []byte) error {
	_, err := Invoke(ctx, chain, transaction.Checkpoint, note)
	return err
}

// Invoke sends one transaction other than of events, and returns what the chaincode answers when it stands. ErrInvalidated if
// the peers do not let it count.
func Invoke(ctx context.Context, chain Chain, function string, args ...[]byte) ([]byte, error) {
	p, err := endorse(ctx, chain, function, args...)
	if err != nil {
		return nil, err
	}
	done, err := deliver(ctx, chain, p)
	if err != nil {
		return nil, err
	}
	if done.Code != Valid {
		return nil, fmt.Errorf("%w: %s: %s", ErrInvalidated, function, done.Code)
	}
	return p.Answer, nil
}
