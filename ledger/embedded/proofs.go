package embedded

import (
	"context"
	"fmt"

	"github.com/elicence/elicence/ledger"
	"github.com/transparency-dev/merkle/proof"
)

// Prove returns the inclusion path (RFC 6962, 2.1.1) of an entry in the tree of that size.
func (l *Log) Prove(ctx context.Context, index, size uint64) ([][]byte, error) {
	if err := l.covers(ctx, size); err != nil {
		return nil, err
	}
	nodes, err := proof.Inclusion(index, size)
	if err != nil {
		return nil, fmt.Errorf("embedded: %w", err)
	}
	return l.tree.prove(ctx, nodes)
}

// Consistency returns the proof (RFC 6962, 2.1.2) that the tree of size to continues that of size from.
func (l *Log) Consistency(ctx context.Context, from, to uint64) ([][]byte, error) {
	if err := l.covers(ctx, to); err != nil {
		return nil, err
	}
	nodes, err := proof.Consistency(from, to)
	if err != nil {
		return nil, fmt.Errorf("embedded: %w", err)
	}
	path, err := l.tree.prove(ctx, nodes)
	if err != nil {
		return nil, err
	}
	// A damaged tile must not look like a fork to a cosigner: where both roots are known, the proof is tried here first.
	a, err := l.rootOf(ctx, from)
	if err != nil {
		return nil, err
	}
	b, err := l.rootOf(ctx, to)
	if err != nil {
		return nil, err
	}
	if a != nil && b != nil && proof.VerifyConsistency(ledger.Hasher{}, from, to, path, a, b) != nil {
		l.tree.onlyEntries()
		return l.tree.prove(ctx, nodes)
	}
	return path, nil
}

// rootOf returns the root that a checkpoint of that size has, nil if there is no such checkpoint.
func (l *Log) rootOf(ctx context.Context, size uint64) ([]byte, error) {
	head, err := l.store.Head(ctx)
	if err != nil {
		return nil, fmt.Errorf("embedded: head: %w", err)
	}
	body := head.Body
	if head.Size != size {
		b, err := l.store.Signed(ctx, size)
		if err != nil || b == nil {
			return nil, err
		}
		n, err := ledger.ParseNote(b)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		body = n.Body
	}
	if body == nil {
		return nil, nil
	}
	c, err := ledger.ParseCheckpoint(body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return c.Root[:], nil
}

func (l *Log) covers(ctx context.Context, size uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	head, err := l.head(ctx)
	if err != nil {
		return err
	}
	if size > head.Size {
		return fmt.Errorf("embedded: the log has %d entries, not %d", head.Size, size)
	}
	return nil
}

// Receipt returns the receipt of an entry from the last published checkpoint. ErrNotPublished if that does not have it.
func (l *Log) Receipt(ctx context.Context, index uint64) ([]byte, error) {
	n, err := l.lastSigned(ctx)
	if err != nil {
		return nil, err
	}
	if n == nil || index >= n.Checkpoint.Size {
		return nil, fmt.Errorf("%w: entry %d", ErrNotPublished, index)
	}
	return l.receipt(ctx, index, n)
}

// firstOf bounds how many checkpoints FirstReceipt looks at.
const firstOf = 64

// FirstReceipt is Receipt from the first published checkpoint that has the entry and is enough; if none of those that came
// soon after it is, from the last one. A later checkpoint proves the entry for a later time only: once a key is revoked, that
// is the difference between a signature that was there before and one that nobody can tell from a forgery.
func (l *Log) FirstReceipt(ctx context.Context, index uint64, enough func(*ledger.Note) bool) ([]byte, error) {
	published, err := l.store.SignedAfter(ctx, index, firstOf)
	if err != nil {
		return nil, fmt.Errorf("embedded: checkpoints: %w", err)
	}
	for _, b := range published {
		n, err := ledger.ParseNote(b)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		if enough(n) {
			return l.receipt(ctx, index, n)
		}
	}
	return l.Receipt(ctx, index)
}

func (l *Log) receipt(ctx context.Context, index uint64, n *ledger.Note) ([]byte, error) {
	entries, err := readEntries(ctx, l.store, index, index+1)
	if err != nil {
		return nil, err
	}
	r := ledger.Receipt{Event: entries[0], Index: index, Note: n}
	path, err := l.Prove(ctx, index, n.Checkpoint.Size)
	if err != nil {
		return nil, err
	}
	if r.Path, err = ledger.Hashes(path); err != nil {
		return nil, err
	}
	if r.Included() != nil { // a tile was damaged
		l.tree.onlyEntries()
		if path, err = l.Prove(ctx, index, n.Checkpoint.Size); err != nil {
			return nil, err
		}
		if r.Path, err = ledger.Hashes(path); err != nil {
			return nil, err
		}
		if err := r.Included(); err != nil {
			return nil, fmt.Errorf("%w: entry %d: %w", ErrDamaged, index, err)
		}
	}
	return r.Encode()
}

// Audited is the log as this log's store and tiles have it, for ledger.Audit. Known, Trust and Progress are the
// caller's to add.
func (l *Log) Audited(ctx context.Context) (ledger.Audited, error) {
	head, err := l.store.Head(ctx)
	if err != nil {
		return ledger.Audited{}, fmt.Errorf("embedded: head: %w", err)
	}
	return ledger.Audited{
		Origin: l.origin, Size: head.Size, Body: head.Body,
		Entries: l.store.Entries, Published: l.store.SignedAfter, Tile: l.tiles.Get,
	}, nil
}
