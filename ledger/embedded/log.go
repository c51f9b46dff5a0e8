package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/elicence/elicence/ledger"
	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/signer"
	"github.com/elicence/elicence/signer/pki"
	"github.com/transparency-dev/merkle/compact"
)

// Log is the Merkle log in a Store: it appends what others have judged, and answers with checkpoints, proofs and receipts. It
// is safe for concurrent use, and several may run on one Store: they fence each other. It keeps nothing that the Store does
// not have, so that a crash at any point leads to the same tree.
type Log struct {
	store  Store
	tiles  Tiles
	key    signer.Key
	cert   *pki.Certificate
	origin string

	mu    sync.Mutex // one append at a time
	tree  *tree
	ready bool // published is known
	edge  *compact.Range
	body  []byte // of the size of edge
}

// NewLog makes the log in store. key and cert sign its checkpoints; origin names it and never changes.
func NewLog(store Store, tiles Tiles, key signer.Key, cert *pki.Certificate, origin string) *Log {
	return &Log{store: store, tiles: tiles, key: key, cert: cert, origin: origin, tree: newTree(store, tiles)}
}

var ranges = &compact.RangeFactory{Hash: ledger.Hasher{}.HashChildren}

// Decide says which events are to be appended, in order, after looking at the state, and what they change in it. It may be
// called again, with a later state, when somebody else has appended meanwhile.
type Decide func(ctx context.Context, s contract.State) (accepted []*contract.Signed, writes map[string][]byte, err error)

// Update appends what decide accepts in one transaction, under one checkpoint body: its time is that of the latest event so
// far. decide sees the state of keys and no other. It returns the index of the first accepted event. Without accepted events
// nothing is written, writes included. After an error of the Store the outcome is unknown.
func (l *Log) Update(ctx context.Context, keys []string, decide Decide) (first uint64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for attempt := 1; ; attempt++ {
		first, err := l.update(ctx, keys, decide)
		if err != nil {
			l.edge = nil // the outcome is unknown: look again next time
			if errors.Is(err, ErrFenced) && attempt < fencedAttempts {
				continue
			}
		}
		return first, err
	}
}

// update is one batch against one head.
func (l *Log) update(ctx context.Context, keys []string, decide Decide) (uint64, error) {
	if err := l.load(ctx); err != nil {
		return 0, err
	}
	values, err := l.store.StateGet(ctx, keys)
	if err != nil {
		return 0, fmt.Errorf("embedded: state: %w", err)
	}
	accepted, writes, err := decide(ctx, newFetched(keys, values))
	first := l.edge.End()
	if err != nil || len(accepted) == 0 {
		return first, err
	}
	next, err := ranges.NewRange(0, first, append([][]byte(nil), l.edge.Hashes()...))
	if err != nil {
		return 0, err
	}
	checkpoint := ledger.Checkpoint{Origin: l.origin}
	if l.body != nil {
		if checkpoint, err = ledger.ParseCheckpoint(l.body); err != nil {
			return 0, err
		}
	}
	batch := Batch{ExpectedSize: first, Writes: writes}
	for _, e := range accepted {
		checkpoint.Time = max(checkpoint.Time, e.Event.Time)
		batch.Entries = append(batch.Entries, Entry{Index: next.End(), Hash: e.Hash, Bytes: e.Bytes})
		leaf := ledger.LeafHash(e.Bytes)
		if err := next.Append(leaf[:], nil); err != nil {
			return 0, err
		}
	}
	if batch.Body, err = seal(checkpoint, next); err != nil {
		return 0, err
	}
	if err := l.store.Append(ctx, batch); err != nil {
		return 0, fmt.Errorf("embedded: append: %w", err)
	}
	l.edge, l.body = next, batch.Body
	return first, nil
}

// Size is how many entries the log has.
func (l *Log) Size(ctx context.Context) (uint64, error) {
	head, err := l.store.Head(ctx)
	if err != nil {
		return 0, fmt.Errorf("embedded: head: %w", err)
	}
	return head.Size, nil
}

// BodyAt returns the checkpoint body that an append fixed when the log had that many entries. It reads the entries since an
// earlier checkpoint of this log, the zero one for none.
func (l *Log) BodyAt(ctx context.Context, size uint64, since ledger.Checkpoint) ([]byte, error) {
	if size < since.Size || size == 0 {
		return nil, fmt.Errorf("embedded: body of size %d since %d", size, since.Size)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	head, err := l.head(ctx)
	if err != nil {
		return nil, err
	}
	if size > head.Size {
		return nil, fmt.Errorf("%w: %d entries of %d", ErrNotYet, head.Size, size)
	}
	at := ledger.Checkpoint{Origin: l.origin, Time: since.Time}
	for from := since.Size; from < size; {
		entries, err := l.store.Entries(ctx, from, min(size, from+readAtOnce))
		if err != nil {
			return nil, fmt.Errorf("embedded: entries: %w", err)
		}
		if len(entries) == 0 {
			return nil, fmt.Errorf("%w: entry %d is missing", ErrDamaged, from)
		}
		for _, b := range entries {
			e, err := contract.ParseEvent(b)
			if err != nil {
				return nil, fmt.Errorf("%w: entry %d: %w", ErrDamaged, from, err)
			}
			at.Time = max(at.Time, e.Event.Time)
		}
		from += uint64(len(entries))
	}
	edge, err := l.tree.compactRange(ctx, ranges, size)
	if err != nil {
		return nil, err
	}
	return seal(at, edge)
}

// readAtOnce bounds the entries that are held at the same time.
const readAtOnce = 1024

// IndexOf finds an entry by the hash of its bytes.
func (l *Log) IndexOf(ctx context.Context, hash [32]byte) (index uint64, found bool, err error) {
	if index, found, err = l.store.IndexOf(ctx, hash); err != nil {
		return 0, false, fmt.Errorf("embedded: index: %w", err)
	}
	return index, found, nil
}

// StateOf reads the state that the last append left.
func (l *Log) StateOf(ctx context.Context, key string) ([]byte, error) {
	values, err := l.store.StateGet(ctx, []string{key})
	if err != nil {
		return nil, fmt.Errorf("embedded: state: %w", err)
	}
	return values[key], nil
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
func (l *Log) load(ctx context.Context) error {
	head, err := l.head(ctx)
	if err != nil {
		return err
	}
	if l.edge != nil && l.edge.End() == head.Size && bytes.Equal(l.body, head.Body) {
		return nil
	}
	edge, err := l.tree.compactRange(ctx, ranges, head.Size)
	if err != nil {
		return err
	}
	if head.Size == 0 {
		l.edge, l.body = edge, nil
		return nil
	}
	if err := matches(edge, head.Body); err != nil {
		// Either tiles or entries are wrong: the entries decide.
		l.tree.onlyEntries()
		if edge, err = l.tree.compactRange(ctx, ranges, head.Size); err != nil {
			return err
		}
		if err := matches(edge, head.Body); err != nil {
			return err
		}
	}
	l.edge, l.body = edge, head.Body
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
func (l *Log) head(ctx context.Context) (Head, error) {
	var published uint64
	if !l.ready {
		var err error
		if published, err = l.published(ctx); err != nil {
			return Head{}, err
		}
	}
	head, err := l.store.Head(ctx)
	if err != nil {
		return Head{}, fmt.Errorf("embedded: head: %w", err)
	}
	if (head.Size == 0) != (head.Body == nil) {
		return Head{}, fmt.Errorf("%w: size %d with a body of %d bytes", ErrDamaged, head.Size, len(head.Body))
	}
	if head.Body != nil {
		c, err := ledger.ParseCheckpoint(head.Body)
		if err != nil || c.Size != head.Size || c.Origin != l.origin {
			return Head{}, fmt.Errorf("%w: the head is not a checkpoint of %s with %d entries", ErrDamaged, l.origin, head.Size)
		}
	}
	if published > head.Size {
		return Head{}, fmt.Errorf("%w: %d entries, and a signed checkpoint of %d", ErrDamaged, head.Size, published)
	}
	if !l.ready {
		l.tree.setPublished(published)
		l.ready = true
	}
	return head, nil
}

func (l *Log) lastSigned(ctx context.Context) (*ledger.Note, error) {
	b, err := l.store.LastSigned(ctx)
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
func (l *Log) Checkpoint(ctx context.Context) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	head, err := l.head(ctx)
	if err != nil || head.Size == 0 {
		return nil, err
	}
	b, err := l.store.Signed(ctx, head.Size)
	if err != nil {
		return nil, err
	}
	if b != nil {
		n, err := ledger.ParseNote(b)
		if err != nil || !bytes.Equal(n.Body, head.Body) {
			return nil, fmt.Errorf("%w: the signed checkpoint of size %d is not the head's", ErrDamaged, head.Size)
		}
		if n.VerifyLog(l.cert) == nil { // else it was signed with an earlier key
			return b, nil
		}
	}
	n, err := ledger.SignCheckpoint(ctx, l.key, l.cert, head.Body)
	if err != nil {
		return nil, err
	}
	return n.Encode(), nil
}

// Publish writes the tiles that the checkpoint's tree has, then keeps the checkpoint with all its signatures: from then on
// receipts come from it. Signatures of an earlier publication of the same size stay. A checkpoint that is not this log's
// is ErrNote. Partial tiles cost up to 8 KB a level, and the bundle of the last entries up to 256 of them, so publish when
// a batch is done or at intervals, not for every event.
func (l *Log) Publish(ctx context.Context, note []byte) error {
	n, err := ledger.ParseNote(note)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNote, err)
	}
	if err := n.VerifyLog(l.cert); err != nil {
		return fmt.Errorf("%w: %w", ErrNote, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.reaches(ctx, n); err != nil {
		return err
	}
	size := n.Checkpoint.Size
	edge, err := l.tree.compactRange(ctx, ranges, size)
	if err != nil {
		return err
	}
	if err := matches(edge, n.Body); err != nil {
		return fmt.Errorf("%w: %w", ErrNote, err)
	}
	if err := l.publishTo(ctx, size); err != nil {
		return err
	}
	earlier, err := l.store.Signed(ctx, size)
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
	if err := put(ctx, l.tiles, checkpointPath(size, b), b); err != nil {
		return err
	}
	if err := l.store.PutSigned(ctx, size, b); err != nil {
		return fmt.Errorf("embedded: signed checkpoint: %w", err)
	}
	return nil
}

// PublishTiles writes the tiles that the checkpoint's tree has, before anybody is asked to cosign it: what a cosigner has
// seen can then always be made again from tiles. ErrNote as for Publish.
func (l *Log) PublishTiles(ctx context.Context, note []byte) error {
	n, err := ledger.ParseNote(note)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNote, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.reaches(ctx, n); err != nil {
		return err
	}
	return l.publishTo(ctx, n.Checkpoint.Size)
}

// reaches tells whether this log has as many entries as the checkpoint, which must name it; ErrNote.
func (l *Log) reaches(ctx context.Context, n *ledger.Note) error {
	head, err := l.head(ctx)
	if err != nil {
		return err
	}
	if c := n.Checkpoint; c.Origin != l.origin || c.Size > head.Size {
		return fmt.Errorf("%w: %s, size %d", ErrNote, c.Origin, c.Size)
	}
	return nil
}

// publishTo writes the tiles that a log of that size has and the last published one has not.
func (l *Log) publishTo(ctx context.Context, size uint64) error {
	published, err := l.published(ctx)
	if err != nil || size <= published {
		return err
	}
	return l.tree.publish(ctx, published, size)
}

// published is the size of the last published checkpoint, 0 for none.
func (l *Log) published(ctx context.Context) (uint64, error) {
	last, err := l.lastSigned(ctx)
	if err != nil || last == nil {
		return 0, err
	}
	return last.Checkpoint.Size, nil
}

// Republish writes again every tile and bundle of the last published checkpoint that is missing: it reads the whole log.
// What is there stays as it is.
func (l *Log) Republish(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.head(ctx); err != nil {
		return err
	}
	last, err := l.lastSigned(ctx)
	if err != nil || last == nil {
		return err
	}
	l.tree.onlyEntries()
	return l.tree.publish(ctx, 0, last.Checkpoint.Size)
}

// MissingTiles returns the paths of tiles and bundles that the last published checkpoint's tree has and that cannot be read.
func (l *Log) MissingTiles(ctx context.Context) ([]string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	last, err := l.lastSigned(ctx)
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
				if _, err := l.tiles.Get(ctx, p); err != nil {
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
