package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/elicence/elicence/ledger"
	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/signer"
	"github.com/elicence/elicence/signer/pki"
	"github.com/transparency-dev/merkle/compact"
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
	// ErrNote says that a checkpoint that was to be published is not this log's.
	ErrNote = errors.New("embedded: not a checkpoint of this log")
)

// Outcome is the answer for one event.
type Outcome = ledger.Outcome

// Sequencer puts events in order. It is safe for concurrent use, and several may run on one Store: they fence each other.
// It keeps nothing that the Store does not have, so that a crash at any point leads to the same tree.
type Sequencer struct {
	store  Store
	tiles  Tiles
	key    signer.Key
	cert   *pki.Certificate
	origin string
	clock  func() time.Time
	court  *contract.Court

	mu    sync.Mutex // one append at a time
	tree  *tree
	ready bool // published is known
	edge  *compact.Range
	body  []byte // of the size of edge
}

// New makes a sequencer for the log in store. key and cert sign its checkpoints; origin names it and never changes.
func New(store Store, tiles Tiles, key signer.Key, cert *pki.Certificate, origin string, clock func() time.Time) *Sequencer {
	return &Sequencer{
		store: store, tiles: tiles, key: key, cert: cert, origin: origin, clock: clock,
		court: contract.NewCourt(cachedCertificates), tree: newTree(store, tiles),
	}
}

var ranges = &compact.RangeFactory{Hash: ledger.Hasher{}.HashChildren}

// Submit judges events in order and appends those that may stand. It is idempotent for each event: the same bytes again
// get the same index, whatever happened to the first answer. After an error some events may have been appended: submit
// all again. Outcomes are in the order of the events.
func (s *Sequencer) Submit(ctx context.Context, events [][]byte) ([]Outcome, error) {
	outcomes := make([]Outcome, 0, len(events))
	for from := 0; from < len(events); from += MaxBatch {
		part, err := s.submit(ctx, events[from:min(from+MaxBatch, len(events))])
		if err != nil {
			return nil, err
		}
		outcomes = append(outcomes, part...)
	}
	return outcomes, nil
}

// submit takes the same bytes twice in one batch for one event, and tries again when another sequencer came first.
func (s *Sequencer) submit(ctx context.Context, events [][]byte) ([]Outcome, error) {
	first := map[[32]byte]int{}
	same := make([]int, len(events))
	var distinct [][]byte
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
	s.mu.Lock()
	defer s.mu.Unlock()
	for attempt := 1; ; attempt++ {
		answers, err := s.sequence(ctx, distinct)
		if err != nil {
			s.edge = nil // the outcome is unknown: look again next time
			if errors.Is(err, ErrFenced) && attempt < fencedAttempts {
				continue
			}
			return nil, err
		}
		outcomes := make([]Outcome, len(events))
		for i, n := range same {
			outcomes[i] = answers[n]
		}
		return outcomes, nil
	}
}

// sequence is one batch against one head.
func (s *Sequencer) sequence(ctx context.Context, events [][]byte) ([]Outcome, error) {
	if err := s.load(ctx); err != nil {
		return nil, err
	}
	keys := contract.Keys(events)
	values, err := s.store.StateGet(ctx, keys)
	if err != nil {
		return nil, fmt.Errorf("embedded: state: %w", err)
	}
	verdicts, writes, err := s.court.Judge(ctx, newFetched(keys, values), events)
	if err != nil {
		return nil, err
	}
	batch := Batch{ExpectedSize: s.edge.End(), Writes: writes}
	next, err := ranges.NewRange(0, s.edge.End(), append([][]byte(nil), s.edge.Hashes()...))
	if err != nil {
		return nil, err
	}
	checkpoint := ledger.Checkpoint{Origin: s.origin}
	if s.body != nil {
		if checkpoint, err = ledger.ParseCheckpoint(s.body); err != nil {
			return nil, err
		}
	}
	limit := s.clock().Add(ClockTolerance).UnixMicro()
	outcomes := make([]Outcome, len(verdicts))
	for i, v := range verdicts {
		outcomes[i] = Outcome{Hash: v.Hash, Refusal: v.Refusal}
		if v.Refusal != nil {
			// A judge refuses what is in the log already, as it would refuse any other second event; only then is it worth
			// looking there.
			index, found, err := s.store.IndexOf(ctx, v.Hash)
			if err != nil {
				return nil, fmt.Errorf("embedded: index: %w", err)
			}
			if found {
				outcomes[i] = Outcome{Hash: v.Hash, Index: index}
			}
			continue
		}
		if v.Event.Event.Time > limit {
			return nil, fmt.Errorf("%w: event %x of %s", ErrClock, v.Hash[:8], time.UnixMicro(v.Event.Event.Time).UTC().Format(time.RFC3339))
		}
		checkpoint.Time = max(checkpoint.Time, v.Event.Event.Time)
		outcomes[i].Index = next.End()
		batch.Entries = append(batch.Entries, Entry{Index: next.End(), Hash: v.Hash, Bytes: events[i]})
		leaf := ledger.LeafHash(events[i])
		if err := next.Append(leaf[:], nil); err != nil {
			return nil, err
		}
	}
	if len(batch.Entries) == 0 {
		return outcomes, nil
	}
	if batch.Body, err = seal(checkpoint, next); err != nil {
		return nil, err
	}
	if err := s.store.Append(ctx, batch); err != nil {
		return nil, fmt.Errorf("embedded: append: %w", err)
	}
	s.edge, s.body = next, batch.Body
	return outcomes, nil
}

// seal fixes the checkpoint body of a tree.
func seal(c ledger.Checkpoint, r *compact.Range) ([]byte, error) {
	root, err := r.GetRootHash(nil)
	if err != nil {
		return nil, err
	}
	c.Size, c.Root = r.End(), [32]byte(root)
	return c.Body()
}

// fetched is the State of one batch, read in one go. A key that was not asked for is a fault of this program, and must
// not pass for one that was never written.
type fetched map[string][]byte

func newFetched(keys []string, values map[string][]byte) fetched {
	f := make(fetched, len(keys))
	for _, k := range keys {
		f[k] = values[k]
	}
	return f
}

func (f fetched) Get(_ context.Context, key string) ([]byte, error) {
	v, asked := f[key]
	if !asked {
		return nil, fmt.Errorf("embedded: state key %q was not fetched", key)
	}
	return v, nil
}

// load makes edge and body those of the Store's head.
func (s *Sequencer) load(ctx context.Context) error {
	head, err := s.head(ctx)
	if err != nil {
		return err
	}
	if s.edge != nil && s.edge.End() == head.Size && bytes.Equal(s.body, head.Body) {
		return nil
	}
	edge, err := s.tree.compactRange(ctx, ranges, head.Size)
	if err != nil {
		return err
	}
	if head.Size == 0 {
		s.edge, s.body = edge, nil
		return nil
	}
	if err := matches(edge, head.Body); err != nil {
		// Either tiles or entries are wrong: the entries decide.
		s.tree.onlyEntries()
		if edge, err = s.tree.compactRange(ctx, ranges, head.Size); err != nil {
			return err
		}
		if err := matches(edge, head.Body); err != nil {
			return err
		}
	}
	s.edge, s.body = edge, head.Body
	return nil
}

func matches(edge *compact.Range, body []byte) error {
	c, err := ledger.ParseCheckpoint(body)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	again, err := seal(c, edge)
	if err != nil {
		return err
	}
	if !bytes.Equal(again, body) {
		return fmt.Errorf("%w: the entries do not give the root of the checkpoint of size %d", ErrDamaged, c.Size)
	}
	return nil
}

// head reads the Store's head and, once, up to where tiles were published. What was published is read first: another
// process may append in between, but a log never gets shorter than a checkpoint that was signed.
func (s *Sequencer) head(ctx context.Context) (Head, error) {
	var published uint64
	if !s.ready {
		last, err := s.lastSigned(ctx)
		if err != nil {
			return Head{}, err
		}
		if last != nil {
			published = last.Checkpoint.Size
		}
	}
	head, err := s.store.Head(ctx)
	if err != nil {
		return Head{}, fmt.Errorf("embedded: head: %w", err)
	}
	if (head.Size == 0) != (head.Body == nil) {
		return Head{}, fmt.Errorf("%w: size %d with a body of %d bytes", ErrDamaged, head.Size, len(head.Body))
	}
	if head.Body != nil {
		c, err := ledger.ParseCheckpoint(head.Body)
		if err != nil || c.Size != head.Size || c.Origin != s.origin {
			return Head{}, fmt.Errorf("%w: the head is not a checkpoint of %s with %d entries", ErrDamaged, s.origin, head.Size)
		}
	}
	if published > head.Size {
		return Head{}, fmt.Errorf("%w: %d entries, and a signed checkpoint of %d", ErrDamaged, head.Size, published)
	}
	if !s.ready {
		s.tree.setPublished(published)
		s.ready = true
	}
	return head, nil
}

func (s *Sequencer) lastSigned(ctx context.Context) (*ledger.Note, error) {
	b, err := s.store.LastSigned(ctx)
	if err != nil || b == nil {
		return nil, err
	}
	n, err := ledger.ParseNote(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return n, nil
}

// Checkpoint returns the newest checkpoint, signed by the log: the published one if there is one of the log's present
// size, else one that is signed now. nil for an empty log. The body was fixed when the entries were appended: signing it
// again gives another signature of the same bytes.
func (s *Sequencer) Checkpoint(ctx context.Context) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	head, err := s.head(ctx)
	if err != nil || head.Size == 0 {
		return nil, err
	}
	b, err := s.store.Signed(ctx, head.Size)
	if err != nil {
		return nil, err
	}
	if b != nil {
		n, err := ledger.ParseNote(b)
		if err != nil || !bytes.Equal(n.Body, head.Body) {
			return nil, fmt.Errorf("%w: the signed checkpoint of size %d is not the head's", ErrDamaged, head.Size)
		}
		if n.VerifyLog(s.cert) == nil { // else it was signed with an earlier key
			return b, nil
		}
	}
	n, err := ledger.SignCheckpoint(ctx, s.key, s.cert, head.Body)
	if err != nil {
		return nil, err
	}
	return n.Encode(), nil
}

// Publish writes the tiles that the checkpoint's tree has, then keeps the checkpoint with all its signatures: from then on
// receipts come from it. Signatures of an earlier publication of the same size stay. A checkpoint that is not this log's
// is ErrNote. Partial tiles cost up to 8 KB a level, and the bundle of the last entries up to 256 of them, so publish when
// a batch is done or at intervals, not for every event.
func (s *Sequencer) Publish(ctx context.Context, note []byte) error {
	n, err := ledger.ParseNote(note)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNote, err)
	}
	if err := n.VerifyLog(s.cert); err != nil {
		return fmt.Errorf("%w: %w", ErrNote, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	head, err := s.head(ctx)
	if err != nil {
		return err
	}
	size := n.Checkpoint.Size
	if n.Checkpoint.Origin != s.origin || size > head.Size {
		return fmt.Errorf("%w: %s, size %d", ErrNote, n.Checkpoint.Origin, size)
	}
	edge, err := s.tree.compactRange(ctx, ranges, size)
	if err != nil {
		return err
	}
	if err := matches(edge, n.Body); err != nil {
		return fmt.Errorf("%w: %w", ErrNote, err)
	}
	last, err := s.lastSigned(ctx)
	if err != nil {
		return err
	}
	var published uint64
	if last != nil {
		published = last.Checkpoint.Size
	}
	if size > published {
		if err := s.tree.publish(ctx, published, size); err != nil {
			return err
		}
	}
	earlier, err := s.store.Signed(ctx, size)
	if err != nil {
		return err
	}
	if earlier != nil {
		old, err := ledger.ParseNote(earlier)
		if err != nil || !n.Merge(old) {
			return fmt.Errorf("%w: another checkpoint of size %d was published", ErrNote, size)
		}
		if bytes.Equal(n.Encode(), earlier) {
			return nil
		}
	}
	b := n.Encode()
	if err := put(ctx, s.tiles, checkpointPath(size, b), b); err != nil {
		return err
	}
	if err := s.store.PutSigned(ctx, size, b); err != nil {
		return fmt.Errorf("embedded: signed checkpoint: %w", err)
	}
	return nil
}

// PublishTiles writes the tiles that the checkpoint's tree has, before anybody is asked to cosign it: what a cosigner has
// seen can then always be made again from tiles. ErrNote as for Publish.
func (s *Sequencer) PublishTiles(ctx context.Context, note []byte) error {
	n, err := ledger.ParseNote(note)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNote, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	head, err := s.head(ctx)
	if err != nil {
		return err
	}
	size := n.Checkpoint.Size
	if n.Checkpoint.Origin != s.origin || size > head.Size {
		return fmt.Errorf("%w: %s, size %d", ErrNote, n.Checkpoint.Origin, size)
	}
	last, err := s.lastSigned(ctx)
	if err != nil {
		return err
	}
	var published uint64
	if last != nil {
		published = last.Checkpoint.Size
	}
	if size <= published {
		return nil
	}
	return s.tree.publish(ctx, published, size)
}

// Republish writes again every tile and bundle of the last published checkpoint that is missing: it reads the whole log.
// What is there stays as it is.
func (s *Sequencer) Republish(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.head(ctx); err != nil {
		return err
	}
	last, err := s.lastSigned(ctx)
	if err != nil || last == nil {
		return err
	}
	s.tree.onlyEntries()
	return s.tree.publish(ctx, 0, last.Checkpoint.Size)
}

// MissingTiles returns the paths of tiles and bundles that the last published checkpoint's tree has and that cannot be read.
func (s *Sequencer) MissingTiles(ctx context.Context) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last, err := s.lastSigned(ctx)
	if err != nil || last == nil {
		return nil, err
	}
	size := last.Checkpoint.Size
	var missing []string
	for level := 0; size>>(8*level) > 0; level++ {
		for index := uint64(0); ; index++ {
			width := widthOf(tileID{level, index}, size)
			if width == 0 {
				break
			}
			paths := []string{ledger.TilePath(level, index, width)}
			if level == 0 {
				paths = append(paths, ledger.EntriesPath(index, width))
			}
			for _, p := range paths {
				if _, err := s.tiles.Get(ctx, p); err != nil {
					missing = append(missing, p)
				}
			}
		}
	}
	return missing, nil
}

// checkpointPath is unique for each set of signatures: what was published is never overwritten.
func checkpointPath(size uint64, note []byte) string {
	h := contract.Hash(note)
	return fmt.Sprintf("checkpoint/%020d-%x", size, h[:8])
}
