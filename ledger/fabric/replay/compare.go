package replay

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/elicence/elicence/ledger"
	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/ledger/embedded"
	"github.com/elicence/elicence/ledger/fabric/export"
	"github.com/elicence/elicence/ledger/fabric/transaction"
)

// Export replays an export that lies in a folder, with nothing else. Channel and Chaincode of the Options may be empty: then they
// are the manifest's.
func Export(ctx context.Context, folder string, o Options) (*Report, error) {
	e, err := export.Open(folder)
	if errors.Is(err, export.ErrManifest) {
		a, nerr := New(o)
		if nerr != nil {
			return nil, nerr
		}
		_ = a.differs(Difference{File: export.ManifestName, Rule: RuleManifest, Detail: err.Error()})
		return a.report, nil
	}
	if err != nil {
		return nil, err
	}
	for _, s := range []struct {
		want *string
		has  string
	}{{&o.Channel, e.Channel}, {&o.Chaincode, e.Chaincode}} {
		if *s.want == "" {
			*s.want = s.has
		}
	}
	a, err := New(o)
	if err != nil {
		return nil, err
	}
	if o.Channel != e.Channel || o.Chaincode != e.Chaincode {
		_ = a.differs(Difference{File: export.ManifestName, Rule: RuleManifest, Detail: fmt.Sprintf("it is of channel %s, chaincode %s", e.Channel, e.Chaincode)})
		return a.report, nil
	}
	fault, err := a.exported(e)
	if err != nil {
		return nil, err
	}
	err = e.Blocks(ctx, func(raw []byte) error {
		different, err := a.Take(ctx, raw)
		if different {
			return errDifferent
		}
		return err
	})
	switch {
	case errors.Is(err, errDifferent):
		a.report.Difference.File = fileOf(e, a.report.Difference.Block)
		return a.report, nil
	case errors.As(err, &fault), err == nil && fault != nil:
		d := Difference{File: fault.File, Block: fault.Block, Rule: fault.Rule}
		if fault.Err != nil {
			d.Detail = fault.Err.Error()
		}
		_ = a.differs(d)
		return a.report, nil
	case err != nil:
		return nil, err
	}
	return a.End(), nil
}

// exported takes the checkpoints that lie in the export. What is wrong with one of their files is told after the blocks.
func (a *Auditor) exported(e *export.Export) (*export.Fault, error) {
	notes, err := e.Notes()
	var fault *export.Fault
	if errors.As(err, &fault) {
		return fault, nil
	}
	if err != nil {
		return nil, err
	}
	for _, b := range notes {
		n, err := ledger.ParseNote(b)
		if err != nil {
			return nil, err
		}
		if !a.vouched(n) || a.Origin != "" && n.Checkpoint.Origin != a.Origin {
			a.report.Unvouched++
			continue
		}
		a.Origin = n.Checkpoint.Origin
		a.waiting = append(a.waiting, n)
	}
	slices.SortStableFunc(a.waiting, bySize)
	return nil, nil
}

// fileOf names the file that a block is in.
func fileOf(e *export.Export, block uint64) string {
	for _, f := range e.Files {
		if block >= f.First && block-f.First < f.Blocks {
			return f.Name()
		}
	}
	return ""
}

// ErrNoState says that the peer's chaincode is of a version that does not show its state.
var ErrNoState = errors.New("replay: the chaincode does not show its state")

// Peer is an organisation's own one.
type Peer interface {
	export.Source
	// Evaluate asks a member's peer and orders nothing; member "" is the own one.
	Evaluate(ctx context.Context, member, function string, args ...[]byte) ([]byte, error)
}

// Log is the organisation's own one, as its follower made it: embedded.Store has these methods.
type Log interface {
	Head(ctx context.Context) (embedded.Head, error)
	Entries(ctx context.Context, from, to uint64) ([][]byte, error)
	StateGet(ctx context.Context, keys []string) (map[string][]byte, error)
}

// With what a replay can be compared.
const (
	WithPeerState = "peer-state"
	WithLog       = "log"
	WithLogState  = "log-state"
)

// Online replays a peer's chain from block 0 and compares it with the state that the peer's chaincode answers from, and with the
// organisation's own log. The chain may grow and the log be followed meanwhile. log may be nil. Compared in the report says
// what was compared: a log whose follower is behind is compared as far as it is, its state only if it has come to rest.
func Online(ctx context.Context, p Peer, log Log, o Options) (*Report, error) {
	a, err := New(o)
	if err != nil {
		return nil, err
	}
	c := &comparison{Auditor: a, peer: p, log: log}
	if err := c.run(ctx); err != nil && !errors.Is(err, errDifferent) {
		return nil, err
	}
	return a.report, nil
}

type comparison struct {
	*Auditor
	peer Peer
	log  Log
	head embedded.Head // before the peer's height was asked for: the chain has all of it
}

func (c *comparison) run(ctx context.Context) error {
	var err error
	if c.log != nil {
		if c.head, err = c.log.Head(ctx); err != nil {
			return err
		}
		c.entries = c.sameEntries
		if c.Origin == "" && c.head.Body != nil {
			own, err := ledger.ParseCheckpoint(c.head.Body)
			if err != nil {
				return c.differs(Difference{Rule: RuleLogHead, Detail: err.Error()})
			}
			c.Origin = own.Origin
		}
	}
	if err := c.follow(ctx); err != nil {
		return err
	}
	if c.log != nil {
		if err := c.sameHead(); err != nil {
			return err
		}
		c.report.Compared = append(c.report.Compared, WithLog)
	}
	if err := c.sameState(ctx); err != nil {
		return err
	}
	c.report.Compared = append(c.report.Compared, WithPeerState)
	if c.log != nil {
		if err := c.sameLogState(ctx); err != nil {
			return err
		}
	}
	if c.End().Difference != nil {
		return errDifferent
	}
	return nil
}

// follow takes blocks up to the peer's present height.
func (c *comparison) follow(ctx context.Context) error {
	height, err := c.peer.Height(ctx)
	if err != nil {
		return err
	}
	if c.chain.Next() >= height {
		return nil
	}
	done := errors.New("done")
	err = c.peer.WholeBlocks(ctx, c.chain.Next(), func(raw []byte) error {
		if different, err := c.Take(ctx, raw); err != nil {
			return err
		} else if different {
			return errDifferent
		}
		if c.chain.Next() >= height {
			return done
		}
		return nil
	})
	if errors.Is(err, done) {
		return nil
	}
	return err
}

// sameEntries holds the entries that the log had at the beginning against what the chain gives.
func (c *comparison) sameEntries(ctx context.Context, first uint64, events []*contract.Signed) error {
	if first >= c.head.Size {
		return nil
	}
	events = events[:min(uint64(len(events)), c.head.Size-first)]
	entries, err := c.log.Entries(ctx, first, first+uint64(len(events)))
	if err != nil {
		return err
	}
	for i, e := range events {
		index := first + uint64(i)
		at := Difference{Block: c.chain.Next() - 1, Index: &index, Hash: fmt.Sprintf("%x", e.Hash), Rule: RuleLogEntry}
		if i >= len(entries) {
			at.Detail = "the log has not this entry"
			return c.differs(at)
		}
		if !bytes.Equal(entries[i], e.Bytes) {
			at.Detail = fmt.Sprintf("the log has %x there", contract.Hash(entries[i]))
			return c.differs(at)
		}
	}
	return nil
}

func (c *comparison) sameHead() error {
	if c.head.Size == 0 {
		return nil
	}
	at := Difference{Block: c.report.Blocks - 1, Index: &c.head.Size, Rule: RuleLogHead}
	if c.head.Size > c.edge.End() {
		at.Rule, at.Index, at.Detail = RuleLogEntry, &c.report.Entries, fmt.Sprintf("the log has %d entries, the chain gives %d", c.head.Size, c.edge.End())
		return c.differs(at)
	}
	for _, h := range c.heads {
		if h.size != c.head.Size {
			continue
		}
		body, err := c.body(h)
		if err != nil {
			return err
		}
		if !bytes.Equal(body, c.head.Body) {
			at.Block, at.Detail = h.block, fmt.Sprintf("it is %q and must be %q", c.head.Body, body)
			return c.differs(at)
		}
		return nil
	}
	at.Detail = fmt.Sprintf("%d entries: no block ends there", c.head.Size)
	return c.differs(at)
}

// sum stands for a value; the zero one for none.
type sum [sha256.Size]byte

func sumOf(value []byte) sum {
	if len(value) == 0 {
		return sum{}
	}
	return sha256.Sum256(value)
}

// sameState holds what the peer answers from against the replayed state. While its pages are read the chain may grow: a key that
// was written meanwhile may have any of the values that it had.
func (c *comparison) sameState(ctx context.Context) error {
	theirs := map[string]sum{}
	for first, more := "", true; more; {
		b, err := c.peer.Evaluate(ctx, "", transaction.ReadState, []byte(first))
		if err != nil && strings.Contains(err.Error(), "unknown function") { // the chaincode's own words; a peer hands on no more
			return fmt.Errorf("%w: %w", ErrNoState, err)
		}
		if err != nil {
			return fmt.Errorf("replay: state of the peer: %w", err)
		}
		page, err := transaction.ParsePage(b, first)
		if err != nil {
			return err
		}
		for _, e := range page.Entries {
			theirs[e.Key] = sumOf(e.Value)
		}
		first, more = page.Next, page.Next != ""
	}
	had := map[string][]sum{}
	c.written = func(key string, before, _ []byte) { had[key] = append(had[key], sumOf(before)) }
	defer func() { c.written = nil }()
	if err := c.follow(ctx); err != nil {
		return err
	}
	keys := make(map[string]bool, len(c.state))
	for k := range c.state {
		keys[k] = true
	}
	for k := range theirs {
		keys[k] = true
	}
	for _, k := range sortedKeys(keys) {
		if is := theirs[k]; is != sumOf(c.state[k]) && !slices.Contains(had[k], is) {
			at := Difference{Block: c.report.Blocks - 1, Key: printable(k), Rule: RulePeerState, Detail: "another value"}
			switch {
			case is == sum{}:
				at.Detail = "the peer has no value"
			case c.state[k] == nil:
				at.Detail = "the chain gives no value"
			}
			return c.differs(at)
		}
	}
	return nil
}

// sameLogState holds the contract's state in the records against the replayed one, if the log is where the chain is.
func (c *comparison) sameLogState(ctx context.Context) error {
	rests := func() (bool, error) {
		h, err := c.log.Head(ctx)
		return h.Size == c.edge.End(), err
	}
	if yes, err := rests(); err != nil || !yes {
		return err
	}
	var wrong string
	for keys := range slices.Chunk(sortedKeys(c.state), 1000) {
		keys = slices.DeleteFunc(keys, func(k string) bool { return strings.HasPrefix(k, transaction.OwnKeys) }) // a follower has no use for them
		values, err := c.log.StateGet(ctx, keys)
		if err != nil {
			return err
		}
		for _, k := range keys {
			if !bytes.Equal(values[k], c.state[k]) {
				wrong = k
				break
			}
		}
		if wrong != "" {
			break
		}
	}
	if yes, err := rests(); err != nil || !yes {
		return err // it went on meanwhile: the values that were read are not those of one moment
	}
	if wrong != "" {
		return c.differs(Difference{Block: c.report.Blocks - 1, Key: printable(wrong), Rule: RuleLogState})
	}
	c.report.Compared = append(c.report.Compared, WithLogState)
	return nil
}
