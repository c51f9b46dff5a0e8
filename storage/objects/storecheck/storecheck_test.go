package storecheck_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/elicence/elicence/storage/objects"
	"github.com/elicence/elicence/storage/objects/dir"
	"github.com/elicence/elicence/storage/objects/objectstest"
	"github.com/elicence/elicence/storage/objects/storecheck"
)

// liar is a good store that breaks one promise.
type liar struct {
	*objectstest.Memory
	put  func(ctx context.Context, m *objectstest.Memory, key string, b []byte) error
	get  func(ctx context.Context, m *objectstest.Memory, key string) ([]byte, error)
	list func(ctx context.Context, m *objectstest.Memory, prefix string, each func(objects.Info) error) error
	del  func(ctx context.Context, m *objectstest.Memory, key string) error
	raw  []storecheck.Attempt
}

func (l *liar) Put(ctx context.Context, key string, b []byte) error {
	if l.put != nil {
		return l.put(ctx, l.Memory, key, b)
	}
	return l.Memory.Put(ctx, key, b)
}
func (l *liar) Get(ctx context.Context, key string) ([]byte, error) {
	if l.get != nil {
		return l.get(ctx, l.Memory, key)
	}
	return l.Memory.Get(ctx, key)
}
func (l *liar) List(ctx context.Context, prefix string, each func(objects.Info) error) error {
	if l.list != nil {
		return l.list(ctx, l.Memory, prefix, each)
	}
	return l.Memory.List(ctx, prefix, each)
}
func (l *liar) Delete(ctx context.Context, key string) error {
	if l.del != nil {
		return l.del(ctx, l.Memory, key)
	}
	return l.Memory.Delete(ctx, key)
}
func (l *liar) Attempts() []storecheck.Attempt { return l.raw }
func (l *liar) Left() string                   { return "" }

func run(s storecheck.Subject) storecheck.Report {
	return storecheck.Run(context.Background(), s, func(storecheck.Finding) {})
}

// TestLies: each lie is found, and only that.
func TestLies(t *testing.T) {
	var mu sync.Mutex
	for missing, l := range map[string]*liar{
		"": {},
		"reliable writes": {get: func(ctx context.Context, m *objectstest.Memory, key string) ([]byte, error) {
			b, err := m.Get(ctx, key)
			if len(b) > 0 {
				b = b[1:]
			}
			return b, err
		}},
		"create-only writes": {put: func(ctx context.Context, m *objectstest.Memory, key string, b []byte) error {
			if err := m.Put(ctx, key, b); !errors.Is(err, objects.ErrExists) || strings.HasPrefix(key, "keys/b") {
				return err
			}
			return nil
		}},
		"atomic create-only writes": {put: func(ctx context.Context, m *objectstest.Memory, key string, b []byte) error {
			if err := m.Put(ctx, key, b); !errors.Is(err, objects.ErrExists) || !strings.HasPrefix(key, "keys/b") {
				return err
			}
			return nil
		}},
		"lists that are consistent at once": {list: func(ctx context.Context, m *objectstest.Memory, prefix string, each func(objects.Info) error) error {
			first := true
			return m.List(ctx, prefix, func(i objects.Info) error {
				mu.Lock()
				defer mu.Unlock()
				if first {
					first = false
					return nil
				}
				return each(i)
			})
		}},
		"deletion of data keys": {del: func(context.Context, *objectstest.Memory, string) error { return nil }},
		"the raw one": {raw: []storecheck.Attempt{{Needs: storecheck.Words{ZH: "那个", EN: "the raw one"},
			Try: func(context.Context, string, []byte) error { return storecheck.ErrMissing }}}},
	} {
		l.Memory = objectstest.NewMemory(nil)
		r := run(l)
		got := r.Missing().EN
		if missing == "reliable writes" { // then nothing else can be read either
			got, _, _ = strings.Cut(got, ",")
		}
		if got != missing || r.Fit() != (missing == "") {
			t.Errorf("%q is said to be missing, want %q: %+v", r.Missing().EN, missing, r)
		}
	}
}

func TestBucketIsLookedAtFirst(t *testing.T) {
	tried := false
	l := &liar{Memory: objectstest.NewMemory(nil), raw: []storecheck.Attempt{
		{Needs: storecheck.Words{EN: "a lock"}, Bucket: true, Try: func(context.Context, string, []byte) error { return storecheck.ErrMissing }},
		{Try: func(context.Context, string, []byte) error { tried = true; return nil }},
	}, put: func(context.Context, *objectstest.Memory, string, []byte) error { tried = true; return nil }}
	if r := run(l); r.Fit() || tried || r.Missing().EN != "a lock" {
		t.Errorf("%+v, tried %v", r, tried)
	}
}

func TestFolder(t *testing.T) {
	root := filepath.Join(t.TempDir(), "objects")
	s, err := dir.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	trial, err := s.Trial()
	if err != nil {
		t.Fatal(err)
	}
	r := run(trial)
	if !r.Fit() || r.Findings[len(r.Findings)-1].Verdict != storecheck.NotOffered {
		t.Errorf("%+v", r)
	}
	if err := trial.Close(); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(root, ".*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
