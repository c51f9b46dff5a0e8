package embedded

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/elicence/elicence/ledger"
	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/signer"
	"github.com/elicence/elicence/signer/pki"
)

const (
	// MaxBatch is how many events one transaction takes; Submit cuts longer ones.
	MaxBatch = 2048
	// ClockTolerance is how far an event may be ahead of the sequencer's clock.
	ClockTolerance = 10 * time.Minute

	fencedAttempts     = 8
	cachedCertificates = 4096
)

var (
	// ErrClock says that an event is ahead of the sequencer's clock by more than ClockTolerance: one of the two clocks is
	// wrong. Nothing was written; the same events may be submitted again when it is set right.
	ErrClock = errors.New("embedded: the clock is behind the events")
	// ErrNotPublished says that the entry is not covered by a published checkpoint yet.
	ErrNotPublished = errors.New("embedded: no published checkpoint has this entry yet")
	// ErrNotYet says that the log has fewer entries than it was asked about.
	ErrNotYet = errors.New("embedded: the log has not so many entries")
	// ErrNote says that a checkpoint that was to be published is not this log's.
	ErrNote = errors.New("embedded: not a checkpoint of this log")
)

// Outcome is the answer for one event.
type Outcome = ledger.Outcome

// Sequencer puts events in order, in the Log that it is. It is safe for concurrent use, and several may run on one Store.
type Sequencer struct {
	*Log
	clock func() time.Time
	court *contract.Court
}

// New makes a sequencer for the log in store. key and cert sign its checkpoints; origin names it and never changes.
func New(store Store, tiles Tiles, key signer.Key, cert *pki.Certificate, origin string, clock func() time.Time) *Sequencer {
	return &Sequencer{Log: NewLog(store, tiles, key, cert, origin), clock: clock, court: contract.NewCourt(cachedCertificates)}
}

// Submit judges events in order and appends those that may stand. It is idempotent for each event: the same bytes again
// get the same index, whatever happened to the first answer. After an error some events may have been appended: submit
// all again. Outcomes are in the order of the events.
func (s *Sequencer) Submit(ctx context.Context, events [][]byte) ([]Outcome, error) {
	outcomes := make([]Outcome, 0, len(events))
	for from := 0; from < len(events); from += MaxBatch {
		distinct, same := Distinct(events[from:min(from+MaxBatch, len(events))])
		answers, err := s.sequence(ctx, distinct)
		if err != nil {
			return nil, err
		}
		for _, n := range same {
			outcomes = append(outcomes, answers[n])
		}
	}
	return outcomes, nil
}

// Distinct takes the same bytes twice in a batch for one event. same[i] is the position of events[i] among the distinct ones.
func Distinct(events [][]byte) (distinct [][]byte, same []int) {
	first := map[[32]byte]int{}
	same = make([]int, len(events))
	for i, e := range events {
		h := contract.Hash(e)
		n, seen := first[h]
		if !seen {
			n = len(distinct)
			first[h] = n
			distinct = append(distinct, e)
		}
		same[i] = n
	}
	return distinct, same
}

// sequence is one batch.
func (s *Sequencer) sequence(ctx context.Context, events [][]byte) ([]Outcome, error) {
	var verdicts []contract.Verdict
	limit := s.clock().Add(ClockTolerance).UnixMicro()
	first, err := s.Update(ctx, contract.Keys(events), func(ctx context.Context, state contract.State) ([]*contract.Signed, map[string][]byte, error) {
		var writes map[string][]byte
		var err error
		if verdicts, writes, err = s.court.Judge(ctx, state, events); err != nil {
			return nil, nil, err
		}
		var accepted []*contract.Signed
		for _, v := range verdicts {
			if v.Refusal != nil {
				continue
			}
			if v.Event.Event.Time > limit {
				return nil, nil, fmt.Errorf("%w: event %x of %s", ErrClock, v.Hash[:8], time.UnixMicro(v.Event.Event.Time).UTC().Format(time.RFC3339))
			}
			accepted = append(accepted, v.Event)
		}
		return accepted, writes, nil
	})
	if err != nil {
		return nil, err
	}
	outcomes := make([]Outcome, len(verdicts))
	for i, v := range verdicts {
		outcomes[i] = Outcome{Hash: v.Hash, Refusal: v.Refusal}
		if v.Refusal == nil {
			outcomes[i].Index = first
			first++
			continue
		}
		// A judge refuses what is in the log already, as it would refuse any other second event; only then is it worth
		// looking there.
		index, found, err := s.IndexOf(ctx, v.Hash)
		if err != nil {
			return nil, err
		}
		if found {
			outcomes[i] = Outcome{Hash: v.Hash, Index: index}
		}
	}
	return outcomes, nil
}
