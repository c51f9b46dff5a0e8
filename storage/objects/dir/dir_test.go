package dir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/elicence/elicence/storage/objects"
	"github.com/elicence/elicence/storage/objects/objectstest"
)

func fresh(t testing.TB, d disk) *Store {
	t.Helper()
	s, err := open(filepath.Join(t.TempDir(), "store"), d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestSuite(t *testing.T) {
	objectstest.Run(t,
		func(t *testing.T) objectstest.Store { return fresh(t, realDisk{}) },
		func(t *testing.T, s objectstest.Store) objectstest.Store {
			again, err := Open(s.(*Store).root)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { again.Close() })
			return again
		})
}

// files returns every file below root, relative, without folders.
func files(t *testing.T, root string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(root, path)
			all = append(all, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestLeftoversOfACrashAreSwept(t *testing.T) {
	ctx := context.Background()
	living := fresh(t, realDisk{})
	if err := living.Put(ctx, "tile/0/000", []byte("b")); err != nil {
		t.Fatal(err)
	}
	dead := filepath.Join(living.root, ".tmp", "writer-dead")
	if err := os.MkdirAll(dead, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dead, "7"), []byte("half a par"), 0o600); err != nil {
		t.Fatal(err)
	}
	// The living writer has a file on its way while another process opens the store.
	onItsWay, err := living.writeBeside([]byte("on its way"))
	if err != nil {
		t.Fatal(err)
	}
	second, err := Open(living.root)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if _, err := os.Stat(dead); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the dead writer's folder is still there: %v", err)
	}
	if _, err := os.Stat(onItsWay); err != nil {
		t.Errorf("a living writer's file was swept: %v", err)
	}
	for _, s := range []*Store{living, second} {
		if err := s.Put(ctx, objects.ContentKey([]byte("x")), []byte("x")); err != nil {
			t.Error(err)
		}
	}
	if err := os.Remove(onItsWay); err != nil {
		t.Fatal(err)
	}
	if got := files(t, living.root); len(got) != 2 {
		t.Errorf("files: %v", got)
	}
}

func TestTwoProcessesOpeningAtOnce(t *testing.T) {
	root := filepath.Join(t.TempDir(), "store")
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			s, err := Open(root)
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			b := fmt.Appendf(nil, "%d", i%4)
			if err := s.Put(context.Background(), objects.ContentKey(b), b); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := files(t, root); len(got) != 4 {
		t.Errorf("files: %v", got)
	}
}

// faulty lets one call of the disk fail, with or without effect.
type faulty struct {
	realDisk
	calls  atomic.Int64
	at     int64 // which call; 0 for none
	reason error
	done   bool // it happens and yet fails
}

func (f *faulty) around(call func() error) error {
	if n := f.calls.Add(1); n != f.at {
		return call()
	}
	if f.done {
		if err := call(); err != nil {
			return err
		}
	}
	return f.reason
}

func (f *faulty) Create(name string) (file, error) {
	var made file
	err := f.around(func() (err error) { made, err = f.realDisk.Create(name); return err })
	if err != nil {
		if made != nil {
			made.Close()
		}
		return nil, err
	}
	return faultyFile{made, f}, nil
}
func (f *faulty) Link(from, to string) error {
	return f.around(func() error { return f.realDisk.Link(from, to) })
}
func (f *faulty) Remove(name string) error {
	return f.around(func() error { return f.realDisk.Remove(name) })
}
func (f *faulty) MkdirAll(name string) error {
	return f.around(func() error { return f.realDisk.MkdirAll(name) })
}
func (f *faulty) SyncDir(name string) error {
	return f.around(func() error { return f.realDisk.SyncDir(name) })
}

type faultyFile struct {
	file
	f *faulty
}

func (f faultyFile) Write(b []byte) (n int, err error) {
	err = f.f.around(func() error { n, err = f.file.Write(b); return err })
	return n, err
}
func (f faultyFile) Sync() error { return f.f.around(f.file.Sync) }

// TestEveryDiskCallFails lets each call that a Put makes fail in turn. Whatever happens, a reader sees the whole object
// or none, and after reopening the same Put succeeds.
func TestEveryDiskCallFails(t *testing.T) {
	ctx := context.Background()
	b := bytes.Repeat([]byte("elicence"), 1000)
	key := objects.ContentKey(b)
	for _, reason := range []error{syscall.EIO, syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EACCES} {
		for _, done := range []bool{false, true} {
			failed := 0
			for at := int64(1); ; at++ {
				d := &faulty{reason: reason, done: done}
				s := fresh(t, d)
				d.calls.Store(0)
				d.at = at
				err := s.Put(ctx, key, b)
				if d.calls.Load() < at {
					break
				}
				if err != nil {
					failed++
					if !errors.Is(err, reason) {
						t.Errorf("call %d: the reason %v is lost: %v", at, reason, err)
					}
					want := map[error]error{
						syscall.ENOSPC: objects.ErrFull, syscall.EDQUOT: objects.ErrFull,
						syscall.EROFS: objects.ErrReadOnly, syscall.EACCES: objects.ErrReadOnly,
					}[reason]
					if want != nil && !errors.Is(err, want) {
						t.Errorf("call %d: %v does not say %v", at, err, want)
					}
					if strings.Contains(err.Error(), "elicenceelicence") {
						t.Error("the error tells content")
					}
				}
				if got, err := s.Get(ctx, key); err == nil && !bytes.Equal(got, b) || err != nil && !errors.Is(err, objects.ErrNotFound) {
					t.Errorf("call %d: a reader sees %d bytes, %v", at, len(got), err)
				}
				again, err := Open(s.root)
				if err != nil {
					t.Fatal(err)
				}
				if err := again.Put(ctx, key, b); err != nil {
					t.Errorf("call %d: the same put after reopening: %v", at, err)
				}
				if got, err := again.Get(ctx, key); err != nil || !bytes.Equal(got, b) {
					t.Errorf("call %d: after reopening: %v", at, err)
				}
				again.Close()
			}
			// Everything but the removal of the temporary file matters.
			if failed < 8 {
				t.Errorf("only %d calls of a put were seen to fail with %v", failed, reason)
			}
		}
	}
}

// TestFailedFsyncIsNotForgotten: after EIO the kernel may drop the page and let the next fsync succeed.
func TestFailedFsyncIsNotForgotten(t *testing.T) {
	ctx := context.Background()
	d := &faulty{reason: syscall.EIO}
	s := fresh(t, d)
	if err := s.Put(ctx, "tile/0/000", []byte("a")); err != nil {
		t.Fatal(err)
	}
	before := d.calls.Load()
	if err := s.Put(ctx, "tile/0/001", []byte("a")); err != nil {
		t.Fatal(err)
	}
	d.at = 2*d.calls.Load() - before // the last call of the next put, which fsyncs the folder
	if err := s.Put(ctx, "tile/0/002", []byte("a")); !errors.Is(err, syscall.EIO) {
		t.Fatalf("got %v", err)
	}
	if err := s.Put(ctx, "tile/0/002", []byte("a")); !errors.Is(err, syscall.EIO) {
		t.Errorf("a store whose fsync failed went on: %v", err)
	}
	if err := s.Probe(ctx); !errors.Is(err, syscall.EIO) {
		t.Errorf("a store whose fsync failed calls itself good: %v", err)
	}
}

// TestProbeSaysWhatPutWouldSay: and leaves nothing behind, however often it is asked.
func TestProbeSaysWhatPutWouldSay(t *testing.T) {
	ctx := context.Background()
	d := &faulty{reason: syscall.ENOSPC}
	s := fresh(t, d)
	for range 3 {
		if err := s.Probe(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := filepath.Glob(filepath.Join(s.root, ".tmp", "*", "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
	d.at = d.calls.Load() + 1
	if err := s.Probe(ctx); !errors.Is(err, objects.ErrFull) {
		t.Errorf("a full disk: %v", err)
	}
	if err := s.Probe(ctx); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

func TestDiskFullCostsNothingThatIsThere(t *testing.T) {
	ctx := context.Background()
	d := &faulty{reason: syscall.ENOSPC}
	s := fresh(t, d)
	if err := s.Put(ctx, "tile/0/000", []byte("a")); err != nil {
		t.Fatal(err)
	}
	d.at = d.calls.Load() + 2 // the write of the next put
	if err := s.Put(ctx, "tile/0/001", []byte("b")); !errors.Is(err, objects.ErrFull) {
		t.Fatalf("got %v", err)
	}
	if got := files(t, s.root); len(got) != 1 {
		t.Errorf("a full disk keeps half a file: %v", got)
	}
	if err := s.Put(ctx, "tile/0/001", []byte("b")); err != nil { // room was made
		t.Error(err)
	}
}

func TestFolderThatCannotBeMade(t *testing.T) {
	s, err := Open("/sys/elicence-objects")
	if err == nil {
		s.Close()
		t.Fatal("a store was made in /sys")
	}
	if !errors.Is(err, objects.ErrReadOnly) {
		t.Errorf("got %v", err)
	}
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(name); err == nil || !strings.Contains(err.Error(), name) {
		t.Errorf("a file as store: %v", err)
	}
}

func TestReadOnlyFolderOpensForReading(t *testing.T) {
	// /sys is a folder in which nobody can write, whoever runs the test.
	s, err := Open("/sys/kernel")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Put(context.Background(), "tile/0/000", []byte("b")); !errors.Is(err, objects.ErrReadOnly) {
		t.Errorf("got %v", err)
	}
}

func TestDamageIsFoundAndNeverOverwritten(t *testing.T) {
	ctx := context.Background()
	s := fresh(t, realDisk{})
	b := []byte("a certificate")
	key := objects.ContentKey(b)
	if err := s.Put(ctx, key, b); err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func(string) error{
		"changed":   func(f string) error { return os.WriteFile(f, []byte("A certificate"), 0o600) },
		"truncated": func(f string) error { return os.Truncate(f, 3) },
		"emptied":   func(f string) error { return os.Truncate(f, 0) },
		"blown up":  func(f string) error { return os.Truncate(f, objects.MaxSize+1) },
	} {
		if err := damage(s.file(key)); err != nil {
			t.Fatal(err)
		}
		before, _ := os.Stat(s.file(key))
		if _, err := s.Get(ctx, key); !errors.Is(err, objects.ErrDamaged) {
			t.Errorf("%s: get says %v", name, err)
		}
		if err := s.Put(ctx, key, b); !errors.Is(err, objects.ErrDamaged) {
			t.Errorf("%s: put says %v", name, err)
		}
		if after, _ := os.Stat(s.file(key)); after.Size() != before.Size() || after.ModTime() != before.ModTime() {
			t.Errorf("%s: evidence of the damage was overwritten", name)
		}
	}
}

// TestDirectoryFsyncsAreShared: sixteen writers of one folder must not cost sixteen fsyncs when they come together.
func TestDirectoryFsyncsAreShared(t *testing.T) {
	gate := make(chan struct{})
	d := &slowSync{gate: gate, entered: make(chan struct{}, 64)}
	f := &folder{path: t.TempDir()}
	var wg sync.WaitGroup
	wg.Go(func() { f.sync(d) })
	<-d.entered // one fsync runs; all who come now need another, later one
	for range 16 {
		wg.Go(func() { f.sync(d) })
	}
	// Let the first end only when all sixteen wait for the next.
	for joined := 0; joined < 16; runtime.Gosched() {
		f.mu.Lock()
		if f.next != nil {
			joined = f.next.joined
		}
		f.mu.Unlock()
	}
	close(gate)
	wg.Wait()
	if n := d.count.Load(); n != 2 {
		t.Errorf("%d fsyncs for one change and sixteen more that came meanwhile, want 2", n)
	}
	// The last wave answers before it puts its tools away.
	for busy := true; busy; runtime.Gosched() {
		f.mu.Lock()
		busy = f.running
		if f.next != nil {
			t.Error("a wave was left behind")
		}
		f.mu.Unlock()
	}
}

type slowSync struct {
	realDisk
	gate    chan struct{}
	entered chan struct{}
	count   atomic.Int64
}

func (d *slowSync) SyncDir(string) error {
	d.count.Add(1)
	d.entered <- struct{}{}
	<-d.gate
	return nil
}

// BenchmarkPut is 16 writers of small objects, everything durable: what a batch of births asks for.
func BenchmarkPut(b *testing.B) {
	for _, size := range []int{200, 1_000, 60_000} {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			s := fresh(b, realDisk{})
			ctx := context.Background()
			var next atomic.Int64
			b.SetParallelism(8)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					content := make([]byte, size)
					copy(content, fmt.Sprint(next.Add(1)))
					if err := s.Put(ctx, objects.ContentKey(content), content); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "objects/s")
		})
	}
}
