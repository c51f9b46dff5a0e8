package fabric

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/ledger/embedded"
	"github.com/elicence/elicence/ledger/fabric/transaction"
)

// ErrDiverged says that what the own peer holds for valid is not what the contract makes of it: the peer lies, the chaincode
// on the peers is another version than this program's contract, or the log's records are damaged. Nothing was appended, and
// nothing will be before a person has looked.
var ErrDiverged = errors.New("fabric: the chain and the contract do not agree")

// keyNext is the state key under which the number of the next block stands, beside what the contract keeps. It is written in
// the transaction that appends a block's events: they cannot disagree.
const keyNext = "fabric/next-block"

const (
	cachedCertificates = 4096
	// retryFirst and retryMost bound how long a follower waits before it asks a peer again that has failed.
	retryFirst = 50 * time.Millisecond
	retryMost  = 5 * time.Second
)

// Follower makes the log out of the chain: of each block the transactions that the own peer marked valid, of each of them the
// events that the contract accepts, in order, under one checkpoint body a block. Two followers of one chain make the same
// log, whatever blocks they read again and wherever they crashed. It is safe for concurrent use, and several may run on one
// Log.
type Follower struct {
	chain Chain
	log   *embedded.Log
	court *contract.Court

	checkpoint func(ctx context.Context, note []byte) error
	found      uint64 // entries of the log that are known to be on the chain, if it is read from its first block

	mu      sync.Mutex
	next    uint64 // number of the next block; 0 until it is known, or if nothing was read
	failed  error  // why following does not go on at the moment
	changed chan struct{}
}

// NewFollower makes a follower that writes to log.
func NewFollower(chain Chain, log *embedded.Log) *Follower {
	return &Follower{chain: chain, log: log, court: contract.NewCourt(cachedCertificates), changed: make(chan struct{})}
}

// OnCheckpoint has do called for every checkpoint that a member sent through the chain, in the chain's order and when the log has
// all entries of the blocks before; some come again after a restart. No signature on it has been looked at. An error of do
// stops following as one of the peer would: the block is read again. Call it before Run.
func (f *Follower) OnCheckpoint(do func(ctx context.Context, note []byte) error) { f.checkpoint = do }

// Run follows until ctx ends, or until chain and contract diverge; then the error is ErrDiverged. A peer that is away is asked
// again. logf, if not nil, is told why following has stopped for now.
func (f *Follower) Run(ctx context.Context, logf func(err error)) error {
	wait := retryFirst
	for {
		before := f.progress()
		err := f.follow(ctx)
		if ctx.Err() != nil {
			f.report(ctx.Err())
			return ctx.Err()
		}
		f.report(err)
		if errors.Is(err, ErrDiverged) {
			return err
		}
		if logf != nil {
			logf(err)
		}
		if f.progress() > before {
			wait = retryFirst
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		wait = min(2*wait, retryMost)
	}
}

func (f *Follower) follow(ctx context.Context) error {
	next, err := f.cursor(ctx)
	if err != nil {
		return err
	}
	f.reached(next)
	f.found = 0
	return f.chain.Blocks(ctx, next, func(b Block) error {
		if b.Number != next {
			return fmt.Errorf("%w: block %d where %d must be", ErrBlock, b.Number, next)
		}
		if err := f.Take(ctx, b); err != nil {
			return err
		}
		if err := f.checkpoints(ctx, b); err != nil {
			return err
		}
		next++
		f.reached(next)
		return nil
	})
}

// checkpoints hands a block's checkpoints on.
func (f *Follower) checkpoints(ctx context.Context, b Block) error {
	if f.checkpoint == nil {
		return nil
	}
	for _, t := range b.Transactions {
		if t.Through != "" || t.Function != transaction.Checkpoint || len(t.Args) != 1 {
			continue
		}
		if err := f.checkpoint(ctx, t.Args[0]); err != nil {
			return err
		}
	}
	return nil
}

// cursor is the number of the next block. Blocks after the last one that added entries are read again.
func (f *Follower) cursor(ctx context.Context) (uint64, error) {
	b, err := f.log.StateOf(ctx, keyNext)
	if err != nil {
		return 0, err
	}
	return parseNext(b)
}

// NextBlock is the number of the block after the last one that added entries to the log in a store, 0 for none.
func NextBlock(ctx context.Context, store embedded.Store) (uint64, error) {
	values, err := store.StateGet(ctx, []string{keyNext})
	if err != nil {
		return 0, fmt.Errorf("fabric: state: %w", err)
	}
	return parseNext(values[keyNext])
}

func parseNext(b []byte) (uint64, error) {
	if b == nil {
		return 0, nil
	}
	if len(b) != 8 {
		return 0, fmt.Errorf("%w: cursor of %d bytes", ErrDiverged, len(b))
	}
	return binary.BigEndian.Uint64(b), nil
}

// Take appends what a block adds to the log. A block that was taken before adds nothing.
func (f *Follower) Take(ctx context.Context, b Block) error {
	var all [][]byte
	for _, t := range b.Transactions {
		if err := untouched(b, t); err != nil {
			return err
		}
		if t.Function == transaction.Submit {
			all = append(all, t.Args...)
		}
	}
	if len(all) == 0 {
		return nil
	}
	added := 0
	_, err := f.log.Update(ctx, append(contract.Keys(all), keyNext), func(ctx context.Context, s contract.State) ([]*contract.Signed, map[string][]byte, error) {
		if v, err := s.Get(ctx, keyNext); err != nil {
			return nil, nil, err
		} else if len(v) == 8 && binary.BigEndian.Uint64(v) > b.Number {
			return nil, nil, nil
		}
		accepted, writes, err := f.replay(ctx, s, b)
		added = len(accepted)
		return accepted, writes, err
	})
	if err == nil {
		f.found += uint64(added)
	}
	return err
}

// replay judges a block's transactions one after the other, each on what the ones before it have left.
func (f *Follower) replay(ctx context.Context, s contract.State, b Block) ([]*contract.Signed, map[string][]byte, error) {
	taken, err := f.taken(ctx, b)
	if err != nil || taken {
		return nil, nil, err
	}
	if v, err := s.Get(ctx, keyNext); err != nil {
		return nil, nil, err
	} else if v == nil {
		size, err := f.log.Size(ctx)
		if err != nil {
			return nil, nil, err
		}
		if size != f.found {
			return nil, nil, fmt.Errorf("%w: the log has %d entries, and %d of them are on the chain: it was begun by another sequencer, or on another chain",
				ErrDiverged, size, f.found)
		}
	}
	accepted, all, err := Replay(ctx, f.court, s, b, nil)
	if err != nil {
		return nil, nil, err
	}
	all[keyNext] = binary.BigEndian.AppendUint64(nil, b.Number+1)
	return accepted, all, nil
}

// taken tells whether the log has a block's events already, though the cursor does not say so: it was lost when the records
// were made again from objects.
func (f *Follower) taken(ctx context.Context, b Block) (bool, error) {
	var seen, unseen uint64
	for _, t := range b.Transactions {
		if t.Function != transaction.Submit {
			continue
		}
		answer, err := endorsedAnswer(b, t)
		if err != nil {
			return false, err
		}
		for i, rule := range answer {
			if rule != "" {
				continue
			}
			_, found, err := f.log.IndexOf(ctx, contract.Hash(t.Args[i]))
			if err != nil {
				return false, err
			}
			if found {
				seen++
			} else if unseen++; seen == 0 { // the first is not there: so is none, and nothing more is looked up
				return false, nil
			}
		}
	}
	if seen > 0 && unseen > 0 { // a block is appended whole or not at all
		return false, fmt.Errorf("%w: block %d: %d of its events are in the log, %d are not", ErrDiverged, b.Number, seen, unseen)
	}
	f.found += seen
	return seen > 0, nil
}

func (f *Follower) progress() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.next
}

func (f *Follower) reached(next uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next, f.failed = next, nil
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *Follower) report(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed = err
	close(f.changed)
	f.changed = make(chan struct{})
}

// Wait returns when the blocks before number are in the log. An error if chain and contract diverge or Run has ended; a peer
// that is away is waited for as long as ctx lasts.
func (f *Follower) Wait(ctx context.Context, number uint64) error {
	for {
		f.mu.Lock()
		next, failed, changed := f.next, f.failed, f.changed
		f.mu.Unlock()
		switch {
		case next >= number:
			return nil
		case errors.Is(failed, ErrDiverged), errors.Is(failed, context.Canceled):
			return failed
		}
		select {
		case <-ctx.Done():
			if failed != nil {
				return fmt.Errorf("%w; the follower: %w", ctx.Err(), failed)
			}
			return ctx.Err()
		case <-changed:
		}
	}
}

// Err is why following does not go on at the moment, nil if it does.
func (f *Follower) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failed
}

// Next is the number of the next block to be read: with Chain.Height it tells the lag.
func (f *Follower) Next() uint64 { return f.progress() }
