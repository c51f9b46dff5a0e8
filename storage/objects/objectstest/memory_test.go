package objectstest

import (
	"context"
	"errors"
	"testing"

	"github.com/elicence/elicence/storage/objects"
)

func TestMemory(t *testing.T) {
	Run(t, func(*testing.T) Store { return NewMemory(nil) }, func(_ *testing.T, s Store) Store { return s })
}

func TestFaultyWithoutFaultsIsAStore(t *testing.T) {
	none := func(Call) Fault { return None }
	Run(t, func(*testing.T) Store { return Inject(NewMemory(nil), none) }, nil)
}

// court records what a judging store says instead of failing this test.
type court struct {
	testing.TB
	verdicts int
}

func (c *court) Errorf(string, ...any) { c.verdicts++ }

func TestMemoryJudgesItsCaller(t *testing.T) {
	ctx := context.Background()
	c := &court{TB: t}
	m := NewMemory(c)
	content := objects.ContentKey([]byte("a"))
	must(t, m.Put(ctx, content, []byte("a")))
	must(t, m.Put(ctx, content, []byte("a")))
	must(t, m.Put(ctx, "tile/0/000", []byte("a")))
	_, err := m.Get(ctx, "tile/0/001")
	wants(t, err, objects.ErrNotFound)
	if c.verdicts != 0 {
		t.Fatal("an honest caller was judged")
	}
	for i, crime := range []func() error{
		func() error { return m.Put(ctx, "tile/0/000", []byte("b")) },
		func() error { return m.Put(ctx, content, []byte("b")) },
		func() error { return m.Delete(ctx, content) },
		func() error { return m.Put(ctx, "TILE", nil) },
	} {
		before := c.verdicts
		if crime() == nil || c.verdicts != before+1 {
			t.Errorf("crime %d went unnoticed", i)
		}
	}
}

func TestInjectedFailures(t *testing.T) {
	ctx := context.Background()
	fault := None
	m := NewMemory(t)
	f := Inject(m, func(Call) Fault { return fault })
	key := objects.ContentKey([]byte("a"))

	fault = Failed
	wants(t, f.Put(ctx, key, []byte("a")), ErrInjected)
	_, err := m.Get(ctx, key)
	wants(t, err, objects.ErrNotFound)

	fault = FailedButDone
	wants(t, f.Put(ctx, key, []byte("a")), ErrInjected)
	equal(t, m, key, []byte("a"))
	if b, err := f.Get(ctx, key); b != nil || !errors.Is(err, ErrInjected) {
		t.Errorf("a failed get returned %q, %v", b, err)
	}

	fault = None
	must(t, f.Put(ctx, key, []byte("a")))
	if f.Calls() != 4 {
		t.Errorf("%d calls counted, want 4", f.Calls())
	}
	if !m.Damage(key) {
		t.Fatal("nothing to damage")
	}
	_, err = f.Get(ctx, key)
	wants(t, err, objects.ErrDamaged)
}
