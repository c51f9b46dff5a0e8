package ledgertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/elicence/elicence/ledger"
	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/ledger/embedded"
)

// Memory is a Store in memory.
type Memory struct {
	mu      sync.Mutex
	entries []embedded.Entry
	index   map[[32]byte]uint64
	state   map[string][]byte
	body    []byte
	signed  map[uint64][]byte
}

// NewMemory makes an empty one.
func NewMemory() *Memory {
	return &Memory{index: map[[32]byte]uint64{}, state: map[string][]byte{}, signed: map[uint64][]byte{}}
}

// Head is embedded.Store.
func (m *Memory) Head(ctx context.Context) (embedded.Head, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return embedded.Head{Size: uint64(len(m.entries)), Body: bytes.Clone(m.body)}, ctx.Err()
}

// StateGet is embedded.Store.
func (m *Memory) StateGet(ctx context.Context, keys []string) (map[string][]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	values := map[string][]byte{}
	for _, k := range keys {
		if v, ok := m.state[k]; ok {
			values[k] = bytes.Clone(v)
		}
	}
	return values, ctx.Err()
}

// Append is embedded.Store.
func (m *Memory) Append(ctx context.Context, b embedded.Batch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if b.ExpectedSize != uint64(len(m.entries)) {
		return embedded.ErrFenced
	}
	for _, e := range b.Entries {
		if _, taken := m.index[e.Hash]; taken {
			return fmt.Errorf("entry %d is in the log already", e.Index)
		}
	}
	for _, e := range b.Entries {
		m.index[e.Hash] = e.Index
		m.entries = append(m.entries, embedded.Entry{Index: e.Index, Hash: e.Hash, Bytes: bytes.Clone(e.Bytes)})
	}
	for k, v := range b.Writes {
		m.state[k] = bytes.Clone(v)
	}
	m.body = bytes.Clone(b.Body)
	return nil
}

// Entries is embedded.Store.
func (m *Memory) Entries(ctx context.Context, from, to uint64) ([][]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var entries [][]byte
	for i := from; i < min(to, uint64(len(m.entries))); i++ {
		entries = append(entries, bytes.Clone(m.entries[i].Bytes))
	}
	return entries, ctx.Err()
}

// IndexOf is embedded.Store.
func (m *Memory) IndexOf(ctx context.Context, hash [32]byte) (uint64, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i, found := m.index[hash]
	return i, found, ctx.Err()
}

// PutSigned is embedded.Store.
func (m *Memory) PutSigned(ctx context.Context, size uint64, note []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	m.signed[size] = bytes.Clone(note)
	return nil
}

// Signed is embedded.Store.
func (m *Memory) Signed(ctx context.Context, size uint64) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return bytes.Clone(m.signed[size]), ctx.Err()
}

// LastSigned is embedded.Store.
func (m *Memory) LastSigned(ctx context.Context) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var last uint64
	for size := range m.signed {
		last = max(last, size)
	}
	return bytes.Clone(m.signed[last]), ctx.Err()
}

// SignedAfter is embedded.Store.
func (m *Memory) SignedAfter(ctx context.Context, size uint64, limit int) ([][]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var notes [][]byte
	for _, s := range slices.Sorted(maps.Keys(m.signed)) {
		if s > size && len(notes) < limit {
			notes = append(notes, bytes.Clone(m.signed[s]))
		}
	}
	return notes, ctx.Err()
}

// Tamper gives an attacker with the database in hand what he wants: f changes the entries as he likes.
func (m *Memory) Tamper(f func(entries []embedded.Entry) []embedded.Entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.entries = f(m.entries)
}

// Rewind throws away all entries from size on, with a head made to fit, and the checkpoints of larger sizes: a database
// restored from yesterday. State is left as it is when nil.
func (m *Memory) Rewind(size uint64, body []byte, state map[string][]byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.entries[size:] {
		delete(m.index, e.Hash)
	}
	m.entries, m.body = m.entries[:size], body
	if state != nil {
		m.state = state
	}
	maps.DeleteFunc(m.signed, func(s uint64, _ []byte) bool { return s > size })
}

// State is a copy of the contract state.
func (m *Memory) State() map[string][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.state)
}

// MemoryTiles is Tiles in memory.
type MemoryTiles struct {
	mu      sync.Mutex
	objects map[string][]byte
}

// NewMemoryTiles makes an empty one.
func NewMemoryTiles() *MemoryTiles { return &MemoryTiles{objects: map[string][]byte{}} }

// Put is embedded.Tiles.
func (m *MemoryTiles) Put(ctx context.Context, path string, b []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if old, ok := m.objects[path]; ok && !bytes.Equal(old, b) {
		return fmt.Errorf("other bytes stand at %s", path)
	}
	m.objects[path] = bytes.Clone(b)
	return nil
}

// Get is embedded.Tiles.
func (m *MemoryTiles) Get(ctx context.Context, path string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.objects[path]
	if !ok {
		return nil, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
	}
	return bytes.Clone(b), ctx.Err()
}

// Paths are those of all objects, sorted.
func (m *MemoryTiles) Paths() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.objects))
}

// Damage replaces an object, or removes it if b is nil: bit rot, or an administrator of the storage.
func (m *MemoryTiles) Damage(path string, b []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if b == nil {
		delete(m.objects, path)
		return
	}
	m.objects[path] = b
}

// judge is a Store around another that fails the test when its caller breaks the Store's contract: above all, when
// something that is fixed would be altered.
type judge struct {
	embedded.Store
	t testing.TB

	mu     sync.Mutex
	bodies map[uint64][]byte
}

// Judged puts a judge before a store.
func Judged(t testing.TB, s embedded.Store) embedded.Store {
	return &judge{Store: s, t: t, bodies: map[uint64][]byte{}}
}

func (j *judge) Append(ctx context.Context, b embedded.Batch) error {
	j.t.Helper()
	if len(b.Entries) == 0 {
		j.t.Error("Append: a batch without entries")
	}
	for i, e := range b.Entries {
		if e.Index != b.ExpectedSize+uint64(i) || e.Hash != contract.Hash(e.Bytes) {
			j.t.Errorf("Append: entry %d has index %d or a hash that is not its own", i, e.Index)
		}
	}
	c, err := ledger.ParseCheckpoint(b.Body)
	if err != nil || c.Size != b.ExpectedSize+uint64(len(b.Entries)) {
		j.t.Errorf("Append: the body is not of size %d: %v", b.ExpectedSize+uint64(len(b.Entries)), err)
	}
	for k, v := range b.Writes {
		if len(k) > 80 || len(v) > 8<<10 {
			j.t.Errorf("Append: state %q of %d bytes", k, len(v))
		}
	}
	err = j.Store.Append(ctx, b)
	if err == nil {
		j.fix(c.Size, b.Body, "Append")
	}
	return err
}

func (j *judge) PutSigned(ctx context.Context, size uint64, note []byte) error {
	j.t.Helper()
	n, err := ledger.ParseNote(note)
	if err != nil || n.Checkpoint.Size != size {
		j.t.Errorf("PutSigned: not a checkpoint of size %d: %v", size, err)
		return j.Store.PutSigned(ctx, size, note)
	}
	j.fix(size, n.Body, "PutSigned")
	old, err := j.Signed(ctx, size)
	if err != nil {
		return err
	}
	if old != nil {
		before, err := ledger.ParseNote(old)
		if err != nil {
			j.t.Errorf("PutSigned: the earlier one: %v", err)
			return err
		}
		for _, l := range before.Lines {
			if !slices.ContainsFunc(n.Lines, func(k ledger.Line) bool { return k.Name == l.Name && k.KeyID == l.KeyID }) {
				j.t.Errorf("PutSigned: the signature of %s got lost", l.Name)
			}
		}
	}
	return j.Store.PutSigned(ctx, size, note)
}

func (j *judge) fix(size uint64, body []byte, what string) {
	j.t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	if old, ok := j.bodies[size]; ok && !bytes.Equal(old, body) {
		j.t.Errorf("%s: another body for size %d", what, size)
	}
	j.bodies[size] = bytes.Clone(body)
}

// judgeTiles fails the test when a tile would change.
type judgeTiles struct {
	embedded.Tiles
	t testing.TB

	mu   sync.Mutex
	seen map[string][]byte
}

// JudgedTiles puts a judge before tiles.
func JudgedTiles(t testing.TB, tiles embedded.Tiles) embedded.Tiles {
	return &judgeTiles{Tiles: tiles, t: t, seen: map[string][]byte{}}
}

func (j *judgeTiles) Put(ctx context.Context, path string, b []byte) error {
	j.t.Helper()
	j.mu.Lock()
	if old, ok := j.seen[path]; ok && !bytes.Equal(old, b) {
		j.t.Errorf("Put: %s would change", path)
	}
	j.seen[path] = bytes.Clone(b)
	j.mu.Unlock()
	return j.Tiles.Put(ctx, path, b)
}

// ErrInjected is what a write returns that was told to fail.
var ErrInjected = errors.New("ledgertest: injected failure")

// Faults decide which write fails. The zero value lets all through and counts them.
type Faults struct {
	mu       sync.Mutex
	writes   int
	failAt   int  // counted from 1; 0: never
	happened bool // it takes effect all the same
}

// Arm makes the n-th write from now fail; if happened is set it takes effect and is reported as failed.
func (f *Faults) Arm(n int, happened bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writes, f.failAt, f.happened = 0, n, happened
}

// Writes is how many writes there were since Arm.
func (f *Faults) Writes() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.writes
}

func (f *Faults) write(do func() error) error {
	f.mu.Lock()
	f.writes++
	fail, happened := f.writes == f.failAt, f.happened
	f.mu.Unlock()
	if !fail {
		return do()
	}
	if happened {
		if err := do(); err != nil {
			return err
		}
	}
	return ErrInjected
}

type faultyStore struct {
	embedded.Store
	f *Faults
}

// FaultyStore puts faults before the writes of a store.
func FaultyStore(s embedded.Store, f *Faults) embedded.Store { return faultyStore{s, f} }

func (s faultyStore) Append(ctx context.Context, b embedded.Batch) error {
	return s.f.write(func() error { return s.Store.Append(ctx, b) })
}

func (s faultyStore) PutSigned(ctx context.Context, size uint64, note []byte) error {
	return s.f.write(func() error { return s.Store.PutSigned(ctx, size, note) })
}

type faultyTiles struct {
	embedded.Tiles
	f *Faults
}

// FaultyTiles puts faults before the writes of tiles.
func FaultyTiles(t embedded.Tiles, f *Faults) embedded.Tiles { return faultyTiles{t, f} }

func (t faultyTiles) Put(ctx context.Context, path string, b []byte) error {
	return t.f.write(func() error { return t.Tiles.Put(ctx, path, b) })
}
