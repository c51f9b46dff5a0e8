package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// SocketName is the socket in a data folder that is served; a lock file beside it is held while its service lives, from
// before it listens until after its last write.
const (
	SocketName = "elicence.sock"
	lockName   = "elicence.sock.lock"
	newPattern = ".elicence.sock-*"
)

// maxSocketPath is the longest path that fits into a socket address on every system that we run on, in bytes.
const maxSocketPath = 100

var (
	// ErrServed says that another process serves this folder.
	ErrServed = errors.New("api: 另一个服务正在使用此目录 / another service runs on this folder")
	// ErrNotServed says that nobody listens in this folder.
	ErrNotServed = errors.New("api: nobody serves this folder")
)

// Socket listens in one data folder. It is a net.Listener.
type Socket struct {
	net.Listener
	dir  string
	lock *os.File
}

// Listen takes the folder and listens in it, for this user alone. What a killed service has left is cleared away. ErrServed
// if a living one has the folder.
func Listen(dir string) (*Socket, error) {
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder := ""
		b := make([]byte, 16)
		if n, _ := lock.ReadAt(b, 0); n > 0 {
			if pid, perr := strconv.Atoi(string(b[:n])); perr == nil {
				holder = fmt.Sprintf(": process %d", pid)
			}
		}
		lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s%s", ErrServed, dir, holder)
		}
		return nil, fmt.Errorf("socket: lock %s: %w", lockName, err)
	}
	// The lock is ours: whatever lies here is of the dead.
	listener, err := listen(dir)
	if err == nil {
		err = lock.Truncate(0)
	}
	if err == nil {
		_, err = lock.WriteAt([]byte(strconv.Itoa(os.Getpid())), 0)
	}
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("socket: %w", err)
	}
	return &Socket{listener, dir, lock}, nil
}

// listen binds beside and moves the socket to its name when only this user can open it: between binding and chmod anybody
// could connect.
func listen(dir string) (net.Listener, error) {
	path := filepath.Join(dir, SocketName)
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case info.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("%s is no socket: move it away", path)
	}
	left, err := filepath.Glob(filepath.Join(dir, newPattern))
	if err != nil {
		return nil, err
	}
	for _, l := range left {
		if err := os.RemoveAll(l); err != nil {
			return nil, err
		}
	}
	beside, err := os.MkdirTemp(dir, newPattern)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(beside)
	address, done, err := addressOf(beside, "s")
	if err != nil {
		return nil, err
	}
	defer done()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: address, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // it moves; Socket.Close removes it
	if err := os.Chmod(filepath.Join(beside, "s"), 0o600); err != nil {
		l.Close()
		return nil, err
	}
	if err := os.Rename(filepath.Join(beside, "s"), path); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// addressOf names a socket for the system, whose addresses are short: a folder with a long path is named by a file
// descriptor, which stays open until done.
func addressOf(dir, name string) (address string, done func(), err error) {
	path := filepath.Join(dir, name)
	if len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), name), func() { d.Close() }, nil
}

// Close stops listening; the folder stays this service's until Release.
func (s *Socket) Close() error {
	err := s.Listener.Close()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return errors.Join(err, os.Remove(filepath.Join(s.dir, SocketName)))
}

// Release gives the folder back, after the last write.
func (s *Socket) Release() error { return s.lock.Close() }

// dial connects to the service of the folder.
func dial(ctx context.Context, dir string) (net.Conn, error) {
	if _, err := os.Lstat(filepath.Join(dir, SocketName)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotServed, err)
	}
	address, done, err := addressOf(dir, SocketName)
	if err != nil {
		return nil, err
	}
	defer done()
	c, err := new(net.Dialer).DialContext(ctx, "unix", address)
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", ErrNotServed, err)
	}
	return c, err
}

// Living reports whether a service has the folder, be it one that does not listen yet or any more.
func Living(dir string) bool {
	f, err := os.Open(filepath.Join(dir, lockName))
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}
