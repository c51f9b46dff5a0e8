// Package objectstest holds the suite that every object store passes, and the fakes that tests of other packages use:
// a memory store that judges its callers, and a wrapper that injects failures with and without effect.
package objectstest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/elicence/elicence/storage/objects"
)

// Store is all that a driver offers. Users declare the one or two methods that they need.
type Store interface {
	Put(ctx context.Context, key string, b []byte) error
	PutObject(ctx context.Context, o objects.Object) error
	Get(ctx context.Context, key string) ([]byte, error)
	Stat(ctx context.Context, key string) (objects.Info, error)
	List(ctx context.Context, prefix string, each func(objects.Info) error) error
	Delete(ctx context.Context, key string) error
}

// Run proves the promises of package objects on a driver. open returns an empty store; reopen, which may be nil,
// returns the same store as another process would see it.
func Run(t *testing.T, open func(t *testing.T) Store, reopen func(t *testing.T, s Store) Store) {
	ctx := context.Background()
	cases := []struct {
		name string
		run  func(t *testing.T, s Store)
	}{
		{"what is put is got", func(t *testing.T, s Store) {
			for _, b := range [][]byte{{}, []byte("one"), bytes.Repeat([]byte{0, 1, 2, 0xff}, 50_000)} {
				key := objects.ContentKey(b)
				must(t, s.Put(ctx, key, b))
				equal(t, s, key, b)
				info, err := s.Stat(ctx, key)
				must(t, err)
				if info != (objects.Info{Key: key, Size: int64(len(b))}) {
					t.Errorf("stat says %+v of %d bytes", info, len(b))
				}
			}
		}},
		{"absent is not found", func(t *testing.T, s Store) {
			key := objects.ContentKey([]byte("never put"))
			_, err := s.Get(ctx, key)
			wants(t, err, objects.ErrNotFound)
			_, err = s.Stat(ctx, key)
			wants(t, err, objects.ErrNotFound)
			wants(t, s.Delete(ctx, "keys/absent"), objects.ErrNotFound)
		}},
		{"the same again is adopted", func(t *testing.T, s Store) {
			for _, key := range []string{objects.ContentKey([]byte("same")), "keys/0011", "tile/0/x001/002"} {
				must(t, s.Put(ctx, key, []byte("same")))
				must(t, s.Put(ctx, key, []byte("same")))
				equal(t, s, key, []byte("same"))
			}
		}},
		{"nothing is overwritten", func(t *testing.T, s Store) {
			must(t, s.Put(ctx, "tile/0/000", []byte("first")))
			wants(t, s.Put(ctx, "tile/0/000", []byte("other")), objects.ErrExists)
			wants(t, s.Put(ctx, "tile/0/000", []byte("first and more")), objects.ErrExists)
			wants(t, s.Put(ctx, "tile/0/000", nil), objects.ErrExists)
			equal(t, s, "tile/0/000", []byte("first"))
		}},
		{"an object stands under its own address only", func(t *testing.T, s Store) {
			key := objects.ContentKey([]byte("these"))
			wants(t, s.Put(ctx, key, []byte("those")), objects.ErrKey)
			_, err := s.Get(ctx, key)
			wants(t, err, objects.ErrNotFound)
		}},
		{"an object with its address is put like any other", func(t *testing.T, s Store) {
			whole := objects.AtAddress([]byte("whole"))
			must(t, s.PutObject(ctx, whole))
			must(t, s.PutObject(ctx, whole))
			must(t, s.Put(ctx, whole.Key(), []byte("whole")))
			equal(t, s, whole.Key(), []byte("whole"))
			wrapped, err := objects.Under("keys/0a0b", []byte("wrapped"))
			must(t, err)
			must(t, s.PutObject(ctx, wrapped))
			equal(t, s, "keys/0a0b", []byte("wrapped"))
			other, err := objects.Under("keys/0a0b", []byte("other"))
			must(t, err)
			wants(t, s.PutObject(ctx, other), objects.ErrExists)
			equal(t, s, "keys/0a0b", []byte("wrapped"))
			_, err = objects.Under(whole.Key(), []byte("foreign bytes"))
			wants(t, err, objects.ErrKey)
			wants(t, s.PutObject(ctx, objects.Object{}), objects.ErrKey)
			wants(t, s.PutObject(ctx, objects.AtAddress(make([]byte, objects.MaxSize+1))), objects.ErrTooLarge)
			cancelled, cancel := context.WithCancel(ctx)
			cancel()
			wants(t, s.PutObject(cancelled, objects.AtAddress([]byte("late"))), context.Canceled)
		}},
		{"keys are checked everywhere", func(t *testing.T, s Store) {
			for _, key := range []string{"", "x", "/etc/passwd", "../up/it", "tile/../../x", "tile/A", "keys/a/b", "objects/zz/0", "tile/.x"} {
				wants(t, s.Put(ctx, key, []byte("b")), objects.ErrKey)
				_, err := s.Get(ctx, key)
				wants(t, err, objects.ErrKey)
				_, err = s.Stat(ctx, key)
				wants(t, err, objects.ErrKey)
				wants(t, s.Delete(ctx, key), objects.ErrKey)
			}
			wants(t, s.List(ctx, "../", func(objects.Info) error { return nil }), objects.ErrKey)
		}},
		{"too large is refused", func(t *testing.T, s Store) {
			wants(t, s.Put(ctx, "tile/0/000", make([]byte, objects.MaxSize+1)), objects.ErrTooLarge)
			_, err := s.Get(ctx, "tile/0/000")
			wants(t, err, objects.ErrNotFound)
		}},
		{"only data keys are deleted", func(t *testing.T, s Store) {
			content := objects.ContentKey([]byte("kept"))
			for _, key := range []string{content, "tile/0/000", "checkpoint/1"} {
				must(t, s.Put(ctx, key, []byte("kept")))
				wants(t, s.Delete(ctx, key), objects.ErrRetained)
				equal(t, s, key, []byte("kept"))
			}
			must(t, s.Put(ctx, "keys/00ff", []byte("wrapped")))
			must(t, s.Delete(ctx, "keys/00ff"))
			_, err := s.Get(ctx, "keys/00ff")
			wants(t, err, objects.ErrNotFound)
			wants(t, s.Delete(ctx, "keys/00ff"), objects.ErrNotFound)
			must(t, s.Put(ctx, "keys/00ff", []byte("wrapped anew"))) // rotation
			equal(t, s, "keys/00ff", []byte("wrapped anew"))
		}},
		{"list", list},
		{"the caller's bytes stay the caller's", func(t *testing.T, s Store) {
			b := []byte("mine")
			must(t, s.Put(ctx, "tile/0/000", b))
			copy(b, "XXXX")
			got, err := s.Get(ctx, "tile/0/000")
			must(t, err)
			copy(got, "YYYY")
			equal(t, s, "tile/0/000", []byte("mine"))
		}},
		{"a cancelled call does nothing", func(t *testing.T, s Store) {
			cancelled, cancel := context.WithCancel(ctx)
			cancel()
			must(t, s.Put(ctx, "keys/0000", []byte("w")))
			wants(t, s.Put(cancelled, "tile/0/000", []byte("b")), context.Canceled)
			wants(t, s.Delete(cancelled, "keys/0000"), context.Canceled)
			_, err := s.Get(cancelled, "keys/0000")
			wants(t, err, context.Canceled)
			_, err = s.Get(ctx, "tile/0/000")
			wants(t, err, objects.ErrNotFound)
			equal(t, s, "keys/0000", []byte("w"))
		}},
		{"sixteen writers of one key: one wins", sixteen},
		{"sixteen writers of many keys", many},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
	if reopen != nil {
		t.Run("what is put is there for the next process", func(t *testing.T) {
			s := open(t)
			key := objects.ContentKey([]byte("kept"))
			must(t, s.Put(ctx, key, []byte("kept")))
			must(t, s.Put(ctx, "keys/0102", []byte("wrapped")))
			must(t, s.Put(ctx, "keys/0103", []byte("erased")))
			must(t, s.Delete(ctx, "keys/0103"))
			again := reopen(t, s)
			equal(t, again, key, []byte("kept"))
			equal(t, again, "keys/0102", []byte("wrapped"))
			_, err := again.Get(ctx, "keys/0103")
			wants(t, err, objects.ErrNotFound)
			must(t, again.Put(ctx, key, []byte("kept")))
			wants(t, again.Put(ctx, "keys/0102", []byte("other")), objects.ErrExists)
		})
	}
}

func list(t *testing.T, s Store) {
	ctx := context.Background()
	want := []string{}
	for i := range 40 {
		b := fmt.Appendf(nil, "%d", i)
		for _, key := range []string{
			objects.ContentKey(b), fmt.Sprintf("keys/%02x%02x", i*7%256, i), fmt.Sprintf("tile/0/%03d", i), fmt.Sprintf("tile/0/%03d.p/8", i),
		} {
			must(t, s.Put(ctx, key, b))
			want = append(want, key)
		}
	}
	slices.Sort(want)
	for _, prefix := range []string{"", "objects/", "objects/0", "keys/", "keys/0", "keys/070", "tile/", "tile/0/00", "tile/0/001.p/", "nothing/"} {
		var got, expected []string
		must(t, s.List(ctx, prefix, func(i objects.Info) error {
			got = append(got, i.Key)
			if i.Size == 0 {
				t.Errorf("%s has no size", i.Key)
			}
			return nil
		}))
		for _, key := range want {
			if strings.HasPrefix(key, prefix) {
				expected = append(expected, key)
			}
		}
		if !slices.Equal(got, expected) {
			t.Errorf("prefix %q lists %d keys, want %d in order:\n%v\n%v", prefix, len(got), len(expected), got, expected)
		}
	}
	enough := errors.New("enough")
	seen := 0
	err := s.List(ctx, "", func(objects.Info) error {
		if seen++; seen == 3 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || seen != 3 {
		t.Errorf("list went on after an error: %v after %d", err, seen)
	}
}

func sixteen(t *testing.T, s Store) {
	ctx := context.Background()
	for round := range 8 {
		key := fmt.Sprintf("tile/1/%03d", round)
		var won atomic.Int64
		winner := make(chan []byte, 16)
		together(16, func(i int) {
			b := fmt.Appendf(nil, "writer %d", i)
			switch err := s.Put(ctx, key, b); {
			case err == nil:
				won.Add(1)
				winner <- b
			case !errors.Is(err, objects.ErrExists):
				t.Errorf("writer %d: %v", i, err)
			}
		})
		if won.Load() != 1 {
			t.Fatalf("%d of 16 writers of other bytes won", won.Load())
		}
		equal(t, s, key, <-winner)

		same := fmt.Appendf(nil, "all the same %d", round)
		together(16, func(i int) {
			if err := s.Put(ctx, objects.ContentKey(same), same); err != nil {
				t.Errorf("writer %d of the same bytes: %v", i, err)
			}
		})
		equal(t, s, objects.ContentKey(same), same)
	}
}

func many(t *testing.T, s Store) {
	ctx := context.Background()
	together(16, func(i int) {
		for k := range 12 {
			b := fmt.Appendf(nil, "writer %d object %d", i, k)
			if err := s.Put(ctx, objects.ContentKey(b), b); err != nil {
				t.Errorf("put: %v", err)
			}
			if got, err := s.Get(ctx, objects.ContentKey(b)); err != nil || !bytes.Equal(got, b) {
				t.Errorf("own object right after put: %v", err)
			}
		}
	})
	count := 0
	must(t, s.List(ctx, objects.Content, func(objects.Info) error { count++; return nil }))
	if count != 16*12 {
		t.Errorf("%d objects, want %d", count, 16*12)
	}
}

// together runs n calls as simultaneously as can be.
func together(n int, call func(i int)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			call(i)
		})
	}
	close(start)
	wg.Wait()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wants(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}

func equal(t *testing.T, s Store, key string, want []byte) {
	t.Helper()
	got, err := s.Get(context.Background(), key)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s holds %d bytes, want %d others", key, len(got), len(want))
	}
}
