package dir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// disk is what the store asks of the system when it writes, so that tests can let each call fail.
type disk interface {
	Create(name string) (file, error) // new file, error if there is one
	Link(from, to string) error       // error if there is a file called to
	Remove(name string) error
	MkdirAll(name string) error
	SyncDir(name string) error
}

type file interface {
	Write(b []byte) (int, error)
	Sync() error
	Close() error
}

type realDisk struct{}

func (realDisk) Create(name string) (file, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return f, nil
}
func (realDisk) Link(from, to string) error { return os.Link(from, to) }
func (realDisk) Remove(name string) error   { return os.Remove(name) }
func (realDisk) MkdirAll(name string) error { return os.MkdirAll(name, 0o700) }
func (realDisk) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// folder coalesces the fsyncs of one directory: everybody who changed it while one fsync was running shares the next.
type folder struct {
	path    string
	mu      sync.Mutex
	running bool
	next    *wave
}

// wave is one fsync that serves all who joined before it began.
type wave struct {
	done   chan struct{}
	joined int // guarded by the folder's mutex
	err    error
}

// sync returns when an fsync that began after the call has ended.
func (f *folder) sync(d disk) error {
	f.mu.Lock()
	if f.next == nil {
		f.next = &wave{done: make(chan struct{})}
	}
	mine := f.next
	mine.joined++
	if f.running {
		f.mu.Unlock()
		<-mine.done
		return mine.err
	}
	f.running = true
	f.next = nil
	f.mu.Unlock()
	f.run(d, mine)
	return mine.err
}

// run ends one wave and hands the following to a goroutine, so that nobody works for others for ever.
func (f *folder) run(d disk, w *wave) {
	w.err = d.SyncDir(f.path)
	close(w.done)
	f.mu.Lock()
	following := f.next
	f.next = nil
	f.running = following != nil
	f.mu.Unlock()
	if following != nil {
		go f.run(d, following)
	}
}

// folder returns the directory, made durable with all its parents.
func (s *Store) folder(path string) (*folder, error) {
	if f, ok := s.folders.Load(path); ok {
		return f.(*folder), nil
	}
	if err := s.disk.MkdirAll(path); err != nil {
		return nil, err
	}
	for p := path; p != s.root; {
		p = filepath.Dir(p)
		if err := s.disk.SyncDir(p); err != nil {
			s.fail(err)
			return nil, err
		}
	}
	f, _ := s.folders.LoadOrStore(path, &folder{path: path})
	return f.(*folder), nil
}

// owner is the folder for files on their way of one open store. Its flock tells the living from the dead: a crashed
// process holds none, so that the next to open may sweep, while a second living process is left in peace.
type owner struct {
	parent string
	mu     sync.Mutex
	path   string
	lock   *os.File
}

func (o *owner) folder(d disk) (string, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.path != "" {
		return o.path, nil
	}
	if err := d.MkdirAll(o.parent); err != nil {
		return "", err
	}
	// A sweeper may take the fresh folder for a dead one before it is locked: then make another.
	for range 16 {
		path, err := os.MkdirTemp(o.parent, "writer-")
		if err != nil {
			return "", err
		}
		lock, err := lockFolder(path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errLocked) {
			continue
		}
		if err != nil {
			return "", err
		}
		if !same(lock, path) {
			lock.Close()
			continue
		}
		o.path, o.lock = path, lock
		return path, nil
	}
	return "", fmt.Errorf("%s is swept again and again", o.parent)
}

func (o *owner) close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.path == "" {
		return nil
	}
	err := os.RemoveAll(o.path)
	o.path = ""
	return errors.Join(err, o.lock.Close())
}

var errLocked = errors.New("locked by a living process")

func lockFolder(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errLocked
		}
		return nil, err
	}
	return f, nil
}

func same(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}

// sweep removes the folders of writers that are dead. Where nothing can be written nothing is swept.
func sweep(parent string) error {
	entries, err := os.ReadDir(parent)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(parent, e.Name())
		lock, err := lockFolder(path)
		if errors.Is(err, errLocked) || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.RemoveAll(path)
			lock.Close()
		}
		if errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sortAsKeys puts entries in the order of the keys below them: a folder "a" stands for "a/…", after a file "a-b".
func sortAsKeys(entries []fs.DirEntry) {
	name := func(e fs.DirEntry) string {
		if e.IsDir() {
			return e.Name() + "/"
		}
		return e.Name()
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(name(a), name(b)) })
}

// related reports whether keys below folder can begin with prefix.
func related(folder, prefix string) bool {
	return strings.HasPrefix(folder, prefix) || strings.HasPrefix(prefix, folder)
}
