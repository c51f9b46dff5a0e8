package objectstest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/elicence/elicence/storage/objects"
)

// Memory is an object store without a disk. The zero value is empty and ready; it is safe for concurrent use.
type Memory struct {
	mu    sync.Mutex
	m     map[string][]byte
	judge testing.TB
}

// NewMemory returns an empty store that fails the test when its caller tries what a correct program never does: put
// other bytes under a taken key, put bytes under an address that is not theirs, delete what is kept for ever. A nil
// test makes it only return the errors, as a driver does.
func NewMemory(judge testing.TB) *Memory { return &Memory{judge: judge} }

var crimes = []error{objects.ErrExists, objects.ErrKey, objects.ErrRetained, objects.ErrTooLarge}

func (m *Memory) verdict(verb, key string, err error) error {
	if m.judge != nil && err != nil {
		for _, crime := range crimes {
			if errors.Is(err, crime) {
				m.judge.Errorf("the caller tried to %s %s: %v", verb, key, err)
			}
		}
	}
	return err
}

// Put implements Store.
func (m *Memory) Put(ctx context.Context, key string, b []byte) error {
	if err := objects.CheckPut(key, b); err != nil {
		return m.verdict("put", key, err)
	}
	return m.put(ctx, key, b)
}

// PutObject implements Store.
func (m *Memory) PutObject(ctx context.Context, o objects.Object) error {
	if err := o.Check(); err != nil {
		return m.verdict("put", o.Key(), err)
	}
	return m.put(ctx, o.Key(), o.Bytes())
}

func (m *Memory) put(ctx context.Context, key string, b []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if there, ok := m.m[key]; ok {
		if bytes.Equal(there, b) {
			return nil
		}
		return m.verdict("put", key, fmt.Errorf("%w: %s", objects.ErrExists, key))
	}
	if m.m == nil {
		m.m = map[string][]byte{}
	}
	m.m[key] = slices.Clone(b)
	return nil
}

// Get implements Store.
func (m *Memory) Get(ctx context.Context, key string) ([]byte, error) {
	if err := objects.CheckKey(key); err != nil {
		return nil, m.verdict("get", key, err)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.m[key]
	if !ok {
		return nil, fmt.Errorf("%w: %s", objects.ErrNotFound, key)
	}
	if err := objects.CheckGet(key, b); err != nil {
		return nil, err
	}
	return slices.Clone(b), nil
}

// Stat implements Store.
func (m *Memory) Stat(ctx context.Context, key string) (objects.Info, error) {
	if err := objects.CheckKey(key); err != nil {
		return objects.Info{}, m.verdict("stat", key, err)
	}
	if err := ctx.Err(); err != nil {
		return objects.Info{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.m[key]
	if !ok {
		return objects.Info{}, fmt.Errorf("%w: %s", objects.ErrNotFound, key)
	}
	return objects.Info{Key: key, Size: int64(len(b))}, nil
}

// List implements Store.
func (m *Memory) List(ctx context.Context, prefix string, each func(objects.Info) error) error {
	if err := objects.CheckPrefix(prefix); err != nil {
		return m.verdict("list", prefix, err)
	}
	m.mu.Lock()
	var all []objects.Info
	for key, b := range m.m {
		if strings.HasPrefix(key, prefix) {
			all = append(all, objects.Info{Key: key, Size: int64(len(b))})
		}
	}
	m.mu.Unlock()
	slices.SortFunc(all, func(a, b objects.Info) int { return strings.Compare(a.Key, b.Key) })
	for _, i := range all {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := each(i); err != nil {
			return err
		}
	}
	return nil
}

// Delete implements Store.
func (m *Memory) Delete(ctx context.Context, key string) error {
	if err := objects.CheckDelete(key); err != nil {
		return m.verdict("delete", key, err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.m[key]; !ok {
		return fmt.Errorf("%w: %s", objects.ErrNotFound, key)
	}
	delete(m.m, key)
	return nil
}

// Damage flips one bit of a stored object, as a failing disk would; it reports whether there was one.
func (m *Memory) Damage(key string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.m[key]
	if len(b) == 0 {
		return false
	}
	b[len(b)/2] ^= 1
	return true
}

// Fault is what happens to one call.
type Fault int

// Faults. FailedButDone is the one that programs forget: the answer is lost, the effect is there.
const (
	None Fault = iota
	Failed
	FailedButDone
)

// ErrInjected is in the chain of every injected failure.
var ErrInjected = errors.New("objectstest: injected failure")

// Call is one call of a store.
type Call struct {
	Number int    // 0, 1, 2, … of this wrapper
	Verb   string // "put", "get", "stat", "list", "delete"
	Key    string
}

// Faulty wraps a store and lets its calls fail.
type Faulty struct {
	Store
	mu     sync.Mutex
	calls  int
	decide func(Call) Fault
}

// Inject wraps s; decide is asked before each call, one at a time.
func Inject(s Store, decide func(Call) Fault) *Faulty { return &Faulty{Store: s, decide: decide} }

// Calls is how many calls were made so far, so that a test can let each fail in turn.
func (f *Faulty) Calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

func (f *Faulty) around(verb, key string, call func() error) error {
	f.mu.Lock()
	c := Call{Number: f.calls, Verb: verb, Key: key}
	f.calls++
	fault := f.decide(c)
	f.mu.Unlock()
	if fault == Failed {
		return fmt.Errorf("%w: %s %s", ErrInjected, verb, key)
	}
	err := call()
	if fault == FailedButDone {
		return errors.Join(fmt.Errorf("%w, and yet it happened: %s %s", ErrInjected, verb, key), err)
	}
	return err
}

// Put implements Store.
func (f *Faulty) Put(ctx context.Context, key string, b []byte) error {
	return f.around("put", key, func() error { return f.Store.Put(ctx, key, b) })
}

// PutObject implements Store.
func (f *Faulty) PutObject(ctx context.Context, o objects.Object) error {
	return f.around("put", o.Key(), func() error { return f.Store.PutObject(ctx, o) })
}

// Get implements Store.
func (f *Faulty) Get(ctx context.Context, key string) (b []byte, err error) {
	err = f.around("get", key, func() error {
		b, err = f.Store.Get(ctx, key)
		return err
	})
	if err != nil {
		return nil, err
	}
	return b, nil
}

// Stat implements Store.
func (f *Faulty) Stat(ctx context.Context, key string) (i objects.Info, err error) {
	err = f.around("stat", key, func() error {
		i, err = f.Store.Stat(ctx, key)
		return err
	})
	return i, err
}

// List implements Store.
func (f *Faulty) List(ctx context.Context, prefix string, each func(objects.Info) error) error {
	return f.around("list", prefix, func() error { return f.Store.List(ctx, prefix, each) })
}

// Delete implements Store.
func (f *Faulty) Delete(ctx context.Context, key string) error {
	return f.around("delete", key, func() error { return f.Store.Delete(ctx, key) })
}
