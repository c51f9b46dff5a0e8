// Package postgrestest starts throw-away PostgreSQL servers for tests: Debian's binaries, a cluster in a folder of its
// own, a socket beside it and no network.
package postgrestest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// ErrMissing says that there is no PostgreSQL on this machine.
var ErrMissing = errors.New("postgrestest: no PostgreSQL 15 or newer: install Debian's postgresql")

// Server is one running cluster. Its methods may be called from several goroutines.
type Server struct {
	dir      string
	bin      string
	settings []string
	owner    *syscall.Credential // nil: this process's own user

	mu      sync.Mutex
	process *exec.Cmd
	log     *os.File
}

// port names the socket; nobody listens on the network.
const port = "5432"

// Start makes a cluster and starts it. settings are lines of postgresql.conf ("fsync=on"); without them the cluster does
// not wait for the disk. PostgreSQL refuses to run as root: a process of root's runs it as the user postgres.
func Start(ctx context.Context, settings ...string) (*Server, error) {
	s, err := prepare(settings)
	if err != nil {
		return nil, err
	}
	made := s.command(ctx, "initdb", "-D", s.data(), "-A", "trust", "-U", superuser, "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions")
	if out, err := made.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("initdb: %w: %s", err, out), os.RemoveAll(s.dir))
	}
	if err := s.Up(ctx); err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.dir))
	}
	return s, nil
}

const superuser = "postgres"

// Standby makes and starts a server that follows this one, under a name that synchronous_standby_names can have. settings
// are as those of Start.
func (s *Server) Standby(ctx context.Context, name string, settings ...string) (*Server, error) {
	follower, err := prepare(settings)
	if err != nil {
		return nil, err
	}
	copied := follower.command(ctx, "pg_basebackup", "-d", s.URL("postgres")+" application_name="+name, "-D", follower.data(), "-R", "-X", "stream", "-c", "fast", "--no-sync")
	if out, err := copied.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("pg_basebackup: %w: %s", err, out), os.RemoveAll(follower.dir))
	}
	if err := follower.Up(ctx); err != nil {
		return nil, errors.Join(err, os.RemoveAll(follower.dir))
	}
	return follower, nil
}

// Backup copies the cluster, while it works, into a folder that Recovered takes.
func (s *Server) Backup(ctx context.Context) (string, error) {
	folder, err := os.MkdirTemp(s.dir, "backup-")
	if err == nil && s.owner != nil {
		err = os.Chown(folder, int(s.owner.Uid), int(s.owner.Gid))
	}
	if err != nil {
		return "", err
	}
	copied := s.command(ctx, "pg_basebackup", "-d", s.URL("postgres"), "-D", folder, "-X", "none", "-c", "fast", "--no-sync")
	if out, err := copied.CombinedOutput(); err != nil {
		return "", fmt.Errorf("pg_basebackup: %w: %s", err, out)
	}
	return folder, nil
}

// Archive is where a server with the settings of Archiving keeps its write-ahead log.
func (s *Server) Archive() string { return filepath.Join(s.dir, "archive") }

// Archiving are the settings of a server that keeps its write-ahead log for recovery.
func Archiving() []string {
	return []string{"archive_mode=on", "wal_level=replica", "archive_timeout=1s", "archive_command=mkdir -p ../archive && cp %p ../archive/%f"}
}

// Recovered starts a server from a backup of this one, with what was committed until that moment and nothing later.
func (s *Server) Recovered(ctx context.Context, backup string, until time.Time) (*Server, error) {
	again, err := prepare(nil)
	if err != nil {
		return nil, err
	}
	settings := fmt.Sprintf("restore_command = 'cp %s/%%f %%p'\nrecovery_target_time = '%s'\nrecovery_target_action = 'promote'\narchive_mode = off\n",
		s.Archive(), until.UTC().Format("2006-01-02 15:04:05.999999+00"))
	out, err := s.command(ctx, "cp", "-a", backup, again.data()).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("copy the backup: %w: %s", err, out)
	}
	conf, err := os.OpenFile(filepath.Join(again.data(), "postgresql.auto.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	_, err = conf.WriteString(settings)
	signal := filepath.Join(again.data(), "recovery.signal")
	err = errors.Join(err, conf.Close(), os.WriteFile(signal, nil, 0o600))
	if err == nil && s.owner != nil {
		err = os.Chown(signal, int(s.owner.Uid), int(s.owner.Gid))
	}
	if err == nil {
		err = again.Up(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(again.dir))
	}
	return again, nil
}

// Promote makes a standby the primary.
func (s *Server) Promote(ctx context.Context) error {
	return Do(ctx, s.URL("postgres"), "SELECT pg_promote()")
}

func prepare(settings []string) (*Server, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "elicence-pg-")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, bin: bin, settings: settings}
	if os.Geteuid() != 0 {
		return s, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, errors.Join(ErrMissing, err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	s.owner = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	if err := errors.Join(os.Chown(dir, int(uid), int(gid)), os.Chmod(dir, 0o755)); err != nil {
		return nil, err
	}
	return s, nil
}

// binaries finds the newest PostgreSQL, 15 at least.
func binaries() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil {
		return "", err
	}
	versionOf := func(path string) int {
		n, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
		if err != nil {
			return 0
		}
		return n
	}
	slices.SortFunc(found, func(a, b string) int { return versionOf(a) - versionOf(b) })
	if len(found) == 0 || versionOf(found[len(found)-1]) < 15 {
		return "", ErrMissing
	}
	return filepath.Dir(found[len(found)-1]), nil
}

func (s *Server) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	if path := filepath.Join(s.bin, name); name != "cp" {
		name = path
	}
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = s.dir
	c.Env = []string{"PATH=" + s.bin + ":/usr/bin:/bin", "LC_ALL=C.UTF-8", "TZ=UTC"}
	// A test that is killed leaves no server behind.
	c.SysProcAttr = &syscall.SysProcAttr{Credential: s.owner, Pdeathsig: syscall.SIGQUIT}
	return c
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// Folder is where the cluster keeps everything, its write-ahead log too.
func (s *Server) Folder() string { return s.data() }

// Socket is the folder of the socket that the server listens on.
func (s *Server) Socket() string { return s.dir }

// URL is the address of a database, for libpq and pgx.
func (s *Server) URL(database string) string { return URL(s.dir, superuser, database) }

// URL is the address of a database behind the socket in a folder, for a role.
func URL(socket, role, database string) string {
	return fmt.Sprintf("host=%s port=%s user=%s dbname=%s sslmode=disable", socket, port, role, database)
}

// Up starts the server, after Kill or Down, and waits until it answers.
func (s *Server) Up(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	log, err := os.OpenFile(filepath.Join(s.dir, "server.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	args := []string{"-D", s.data(), "-p", port, "-c", "listen_addresses=", "-c", "unix_socket_directories=" + s.dir,
		"-c", "fsync=off", "-c", "max_connections=200", "-c", "shared_buffers=128MB", "-c", "log_min_messages=warning"}
	for _, setting := range s.settings {
		args = append(args, "-c", setting)
	}
	s.process, s.log = s.command(context.WithoutCancel(ctx), "postgres", args...), log
	s.process.Stdout, s.process.Stderr = log, log
	if err := s.process.Start(); err != nil {
		return errors.Join(err, log.Close())
	}
	for deadline := time.Now().Add(30 * time.Second); ; {
		conn, err := pgx.Connect(ctx, s.URL("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("postgres does not answer: %w\n%s", err, bytes.TrimSpace(text))
		}
		time.Sleep(10 * time.Millisecond) // the server says nowhere that it is ready
	}
}

// Limit lets sessions that begin from now on write no file beyond so many bytes, which the server meets as it meets a full
// disk; 0 lifts it. It needs no right that the server's own user has not.
func (s *Server) Limit(ctx context.Context, bytes int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return errors.New("postgrestest: the server does not run")
	}
	limit := "unlimited"
	if bytes > 0 {
		limit = strconv.FormatInt(bytes, 10)
	}
	// The soft one alone: whoever may lower it may lift it again.
	c := exec.CommandContext(ctx, "prlimit", "--pid", strconv.Itoa(s.process.Process.Pid), "--fsize="+limit+":")
	c.SysProcAttr = &syscall.SysProcAttr{Credential: s.owner}
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("prlimit: %w: %s", err, out)
	}
	return nil
}

// Ended waits until the server has ended by itself.
func (s *Server) Ended() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		_ = s.process.Wait() // how it ended is no news
		_ = s.log.Close()
		s.process = nil
	}
}

// Down ends the server as an administrator does (fast: sessions are cut, what is committed stays).
func (s *Server) Down() error { return s.signal(syscall.SIGINT) }

// Kill ends the server as a power failure does.
func (s *Server) Kill() error { return s.signal(syscall.SIGQUIT) }

func (s *Server) signal(how os.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return nil
	}
	err := s.process.Process.Signal(how)
	_ = s.process.Wait() // it was told to end: how it ended is no news
	s.process = nil
	return errors.Join(err, s.log.Close())
}

// Stop ends the server and removes the cluster.
func (s *Server) Stop() error {
	return errors.Join(s.Down(), os.RemoveAll(s.dir))
}

// Create makes an empty database; one that is there already is no error.
func (s *Server) Create(ctx context.Context, database string) error {
	return Create(ctx, s.dir, database, "template1")
}

// Create makes a database behind the socket in a folder as a copy of template; one that is there already is no error.
func Create(ctx context.Context, socket, database, template string) error {
	err := Do(ctx, URL(socket, superuser, "postgres"),
		"CREATE DATABASE "+pgx.Identifier{database}.Sanitize()+" TEMPLATE "+pgx.Identifier{template}.Sanitize())
	if err != nil && strings.Contains(err.Error(), "SQLSTATE 42P04") {
		return nil
	}
	return err
}

// Ask reads one value.
func Ask(ctx context.Context, url, query string, into any) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return conn.QueryRow(ctx, query).Scan(into)
}

// Do runs statements, each in a transaction of its own.
func Do(ctx context.Context, url string, statements ...string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}
