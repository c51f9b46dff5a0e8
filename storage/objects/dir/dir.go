// Package dir keeps objects as files of one folder, for an installation without any server.
//
// A file appears under its name complete and durable or not at all: it is written beside, fsynced, linked to its name
// (which fails if the name is taken) and the folder is fsynced before the caller is answered.
//
// Layout below the root: "objects/ab/cdef…" and all other keys as they are, except "keys/abcd…", which lies in
// "keys/ab/abcd…" so that no folder grows without bound; ".tmp/<owner>/" holds files on their way.
package dir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/elicence/elicence/storage/objects"
)

// Store is a folder of objects. It is safe for concurrent use, also by several processes at a time.
type Store struct {
	root string
	disk disk

	temporary owner
	counter   atomic.Uint64

	folders sync.Map // path → *folder, those known to exist durably
	broken  atomic.Pointer[error]
}

// Open opens the folder, makes it if there is none, and sweeps what crashed writers left behind. A folder that cannot
// be written to opens for reading: only Put and Delete then fail, with objects.ErrReadOnly.
func Open(path string) (*Store, error) { return open(path, realDisk{}) }

func open(path string, d disk) (*Store, error) {
	root, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("objects: %s: %w", path, err)
	}
	switch info, err := os.Stat(root); {
	case errors.Is(err, fs.ErrNotExist):
		if err := d.MkdirAll(root); err != nil {
			return nil, say("make", root, err)
		}
		if err := d.SyncDir(filepath.Dir(root)); err != nil {
			return nil, say("make", root, err)
		}
	case err != nil:
		return nil, say("open", root, err)
	case !info.IsDir():
		return nil, fmt.Errorf("objects: %s is not a folder", root)
	}
	s := &Store{root: root, disk: d}
	s.temporary.parent = filepath.Join(root, ".tmp")
	if err := sweep(s.temporary.parent); err != nil {
		return nil, say("sweep", s.temporary.parent, err)
	}
	return s, nil
}

// Close gives the temporary folder back. The store must not be used afterwards.
func (s *Store) Close() error { return s.temporary.close() }

// Put creates the object and returns once it is durable. The same bytes under the same key are adopted: nil. Errors:
// objects.ErrExists (other bytes stand there), ErrDamaged (the address is taken by bytes that are not its own), ErrKey,
// ErrTooLarge, ErrFull, ErrReadOnly. After any other error the object may or may not be there: put it again.
func (s *Store) Put(ctx context.Context, key string, b []byte) error {
	if err := objects.CheckPut(key, b); err != nil {
		return err
	}
	return s.put(ctx, key, b)
}

// PutObject is Put of an object whose address is known to be its own.
func (s *Store) PutObject(ctx context.Context, o objects.Object) error {
	if err := o.Check(); err != nil {
		return err
	}
	return s.put(ctx, o.Key(), o.Bytes())
}

func (s *Store) put(ctx context.Context, key string, b []byte) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	name := s.file(key)
	in, err := s.folder(filepath.Dir(name))
	if err != nil {
		return say("put", key, err)
	}
	// Looking first saves a file that would be written only to be thrown away.
	if adopted, err := s.adopt(key, name, b); adopted || err != nil {
		return s.settle(key, in, err)
	}
	beside, err := s.writeBeside(b)
	if err != nil {
		return say("put", key, err)
	}
	err = s.disk.Link(beside, name)
	_ = s.disk.Remove(beside) // what stays is swept later, and the object is there all the same
	if errors.Is(err, fs.ErrExist) {
		adopted, reason := s.adopt(key, name, b)
		if reason == nil && !adopted {
			reason = fmt.Errorf("objects: %s vanished while it was put", key)
		}
		return s.settle(key, in, reason)
	}
	if err != nil {
		return say("put", key, err)
	}
	return s.settle(key, in, nil)
}

// settle makes the name durable; an adopted one too, whose writer may not have come that far yet.
func (s *Store) settle(key string, in *folder, err error) error {
	if err != nil {
		return err
	}
	if err := in.sync(s.disk); err != nil {
		s.fail(err)
		return say("put", key, err)
	}
	return nil
}

// adopt reports whether b stands under the name already.
func (s *Store) adopt(key, name string, b []byte) (bool, error) {
	there, err := read(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, say("put", key, err)
	case bytes.Equal(there, b):
		return true, nil
	}
	if err := objects.CheckGet(key, there); err != nil {
		return false, err
	}
	return false, fmt.Errorf("%w: %s", objects.ErrExists, key)
}

// writeBeside returns the name of a durable temporary file holding b.
func (s *Store) writeBeside(b []byte) (string, error) {
	folder, err := s.temporary.folder(s.disk)
	if err != nil {
		return "", err
	}
	name := filepath.Join(folder, fmt.Sprintf("%d", s.counter.Add(1)))
	f, err := s.disk.Create(name)
	if err != nil {
		return "", err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return "", errors.Join(err, s.disk.Remove(name))
	}
	return name, nil
}

// Get returns the object's bytes; objects.ErrNotFound when there is none, ErrDamaged when the bytes are not those of
// their address.
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	if err := objects.CheckKey(key); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b, err := read(s.file(key))
	if err != nil {
		return nil, say("get", key, err)
	}
	if err := objects.CheckGet(key, b); err != nil {
		return nil, err
	}
	return b, nil
}

// Stat tells an object's size without reading it; objects.ErrNotFound when there is none.
func (s *Store) Stat(ctx context.Context, key string) (objects.Info, error) {
	if err := objects.CheckKey(key); err != nil {
		return objects.Info{}, err
	}
	if err := ctx.Err(); err != nil {
		return objects.Info{}, err
	}
	info, err := os.Lstat(s.file(key))
	if err != nil {
		return objects.Info{}, say("stat", key, err)
	}
	if !info.Mode().IsRegular() {
		return objects.Info{}, fmt.Errorf("%w: %s", objects.ErrNotFound, key)
	}
	return objects.Info{Key: key, Size: info.Size()}, nil
}

// List calls each with every object whose key begins with prefix, in the order of the keys, and stops at its first
// error, which it returns. Objects put meanwhile may or may not be seen.
func (s *Store) List(ctx context.Context, prefix string, each func(objects.Info) error) error {
	if err := objects.CheckPrefix(prefix); err != nil {
		return err
	}
	return s.walk(ctx, s.root, "", prefix, each)
}

func (s *Store) walk(ctx context.Context, folder, key, prefix string, each func(objects.Info) error) error {
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return say("list", key, err)
	}
	sortAsKeys(entries)
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		name := e.Name()
		if strings.HasPrefix(name, ".") {
			continue
		}
		below := key + name
		if e.IsDir() {
			below += "/"
			if key == objects.Deletable {
				below = key // the fan-out folder is no part of the key
			}
			if !related(below, prefix) {
				continue
			}
			if err := s.walk(ctx, filepath.Join(folder, name), below, prefix, each); err != nil {
				return err
			}
			continue
		}
		if !strings.HasPrefix(below, prefix) {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return say("list", below, err)
		}
		if err := each(objects.Info{Key: below, Size: info.Size()}); err != nil {
			return err
		}
	}
	return nil
}

// Delete removes a wrapped data key for ever; it is gone durably on return. objects.ErrRetained for anything outside
// keys/, ErrNotFound when there is none.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := objects.CheckDelete(key); err != nil {
		return err
	}
	if err := s.usable(ctx); err != nil {
		return err
	}
	name := s.file(key)
	if err := s.disk.Remove(name); err != nil {
		return say("delete", key, err)
	}
	in, err := s.folder(filepath.Dir(name))
	if err != nil {
		return say("delete", key, err)
	}
	if err := in.sync(s.disk); err != nil {
		s.fail(err)
		return say("delete", key, err)
	}
	return nil
}

// file is where a key lies.
func (s *Store) file(key string) string {
	if id, ok := strings.CutPrefix(key, objects.Deletable); ok {
		return filepath.Join(s.root, "keys", id[:2], id)
	}
	return filepath.Join(s.root, filepath.FromSlash(key))
}

// usable refuses to write after a failed fsync: what the kernel then holds is unknown, and a second fsync that
// succeeds proves nothing about the first. A full disk is not such a case.
func (s *Store) usable(ctx context.Context) error {
	if err := s.broken.Load(); err != nil {
		return fmt.Errorf("objects: the store must be opened anew: %w", *err)
	}
	return ctx.Err()
}

func (s *Store) fail(err error) {
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		s.broken.CompareAndSwap(nil, &err)
	}
}

// read returns a whole file, never more than objects.MaxSize.
func read(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s is not a file", objects.ErrKey, filepath.Base(name))
	}
	if info.Size() > objects.MaxSize {
		return nil, fmt.Errorf("%w: %d bytes where at most %d were put", objects.ErrDamaged, info.Size(), objects.MaxSize)
	}
	b := make([]byte, info.Size())
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, err
	}
	return b, nil
}

// say turns what the system says into what the caller can act on. The system's error stays in the chain.
func say(verb, what string, err error) error {
	var kind error
	switch {
	case errors.Is(err, fs.ErrNotExist) && (verb == "get" || verb == "stat" || verb == "delete"):
		kind = objects.ErrNotFound
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		kind = objects.ErrFull
	case errors.Is(err, syscall.EROFS), errors.Is(err, fs.ErrPermission):
		kind = objects.ErrReadOnly
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EISDIR):
		kind = objects.ErrKey // a key that goes through another object
	default:
		return fmt.Errorf("objects: %s %s: %w", verb, what, err)
	}
	return fmt.Errorf("objects: %s %s: %w: %w", verb, what, kind, err)
}
