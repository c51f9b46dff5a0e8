// Package embedded is the ledger of one installation: a sequencer that puts judged events into an SM3 Merkle log, in the
// records database. Entries, contract state and checkpoint body are one transaction; tiles are a projection that can be
// rebuilt from the entries at any time.
package embedded

import (
	"context"
	"errors"
)

var (
	// ErrFenced says that the log is no longer of the expected size: somebody else appended. Nothing was written.
	ErrFenced = errors.New("embedded: another sequencer has appended meanwhile")
	// ErrNoTile says that a tile was never written.
	ErrNoTile = errors.New("embedded: no such tile")
)

// Head is the log's end. Body is the checkpoint body that the last Append fixed, nil for an empty log.
type Head struct {
	Size uint64
	Body []byte
}

// Entry is one accepted event. Hash is contract.Hash of Bytes.
type Entry struct {
	Index uint64
	Hash  [32]byte
	Bytes []byte
}

// Batch is one transaction: Entries get the indexes ExpectedSize, ExpectedSize+1, …, the log grows to the last of them
// plus one, and Body becomes its head. Writes are contract state, overwritten key by key.
type Batch struct {
	ExpectedSize uint64
	Entries      []Entry
	Writes       map[string][]byte
	Body         []byte
}

// Store keeps the log. Entries and hashes are never altered; the suite in ledgertest says what else holds. All methods
// are safe for concurrent use.
type Store interface {
	// Head reads size and body in one snapshot.
	Head(ctx context.Context) (Head, error)
	// StateGet returns the values of those keys that were ever written, as the last Append left them.
	StateGet(ctx context.Context, keys []string) (map[string][]byte, error)
	// Append commits the whole batch or nothing, and is durable on return. ErrFenced, and nothing written, unless the log
	// has exactly ExpectedSize entries. After any other error the outcome is unknown: the caller reads Head again.
	Append(ctx context.Context, b Batch) error
	// Entries returns the bytes of the entries from … to-1, in order; fewer if one is missing: those before the first gap.
	Entries(ctx context.Context, from, to uint64) ([][]byte, error)
	// IndexOf finds an entry by the hash of its bytes.
	IndexOf(ctx context.Context, hash [32]byte) (index uint64, found bool, err error)
	// PutSigned keeps the signed checkpoint of that size, in place of an earlier one of the same size: its body is the
	// same, its signatures may have become more. Durable on return.
	PutSigned(ctx context.Context, size uint64, note []byte) error
	// Signed returns the signed checkpoint of exactly that size, nil if there is none.
	Signed(ctx context.Context, size uint64) ([]byte, error)
	// LastSigned returns the signed checkpoint of the greatest size, nil if there is none.
	LastSigned(ctx context.Context) ([]byte, error)
	// SignedAfter returns at most limit signed checkpoints of sizes greater than size, smallest first.
	SignedAfter(ctx context.Context, size uint64, limit int) ([][]byte, error)
}

// Tiles keeps the projection: objects named by path that never change once written. Both methods are safe for concurrent
// use.
type Tiles interface {
	// Put creates the object, durable on return. The same bytes again are no error; other bytes are one, and change
	// nothing.
	Put(ctx context.Context, path string, b []byte) error
	// Get returns the object, or an error that wraps ErrNoTile or fs.ErrNotExist if it was never written.
	Get(ctx context.Context, path string) ([]byte, error)
}
