package records

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/elicence/elicence/access"
	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/ledger/embedded"
	"github.com/elicence/elicence/licence"
)

// maxGroup bounds how many callers share one transaction, and with it how long the first of them waits.
const maxGroup = 64

// session is the writer's connection with its prepared statements. Only the writer's goroutine uses it.
type session struct {
	conn     *sql.Conn
	prepared map[string]*sql.Stmt
}

func (s *session) statement(ctx context.Context, query string) (*sql.Stmt, error) {
	if stmt, ok := s.prepared[query]; ok {
		return stmt, nil
	}
	stmt, err := s.conn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	s.prepared[query] = stmt
	return stmt, nil
}

func (s *session) exec(ctx context.Context, query string, args ...any) (int64, error) {
	stmt, err := s.statement(ctx, query)
	if err != nil {
		return 0, err
	}
	result, err := stmt.ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// scan reads one row into dest; sql.ErrNoRows when there is none.
func (s *session) scan(ctx context.Context, query string, args []any, dest ...any) error {
	stmt, err := s.statement(ctx, query)
	if err != nil {
		return err
	}
	return stmt.QueryRowContext(ctx, args...).Scan(dest...)
}

// each calls scan for every row.
func (s *session) each(ctx context.Context, query string, args []any, scan func(*sql.Rows) error) error {
	stmt, err := s.statement(ctx, query)
	if err != nil {
		return err
	}
	rows, err := stmt.QueryContext(ctx, args...)
	if err != nil {
		return err
	}
	return collect(rows, scan)
}

func collect(rows *sql.Rows, scan func(*sql.Rows) error) error {
	for rows.Next() {
		if err := scan(rows); err != nil {
			return errors.Join(err, rows.Close())
		}
	}
	if err := rows.Err(); err != nil {
		return errors.Join(err, rows.Close())
	}
	return rows.Close()
}

// insert puts many rows with few statements: groups of powers of two, so that few texts need to be prepared. head is
// "INSERT INTO t (a, b)", tail may be an ON CONFLICT clause; all rows have the same length.
func (s *session) insert(ctx context.Context, head, tail string, rows [][]any) error {
	for len(rows) > 0 {
		n := 64
		for n > len(rows) {
			n /= 2
		}
		args := make([]any, 0, n*len(rows[0]))
		for _, r := range rows[:n] {
			args = append(args, r...)
		}
		if _, err := s.exec(ctx, head+values(n, len(rows[0]))+tail, args...); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

func values(rows, columns int) string {
	var b strings.Builder
	b.WriteString(" VALUES ")
	for i := range rows {
		if i > 0 {
			b.WriteString(", ")
		}
		for j := range columns {
			if j == 0 {
				b.WriteByte('(')
			} else {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, "$%d", i*columns+j+1)
		}
		b.WriteByte(')')
	}
	return b.String()
}

// Lives of a job: whoever moves it away from waiting decides whether it runs.
const (
	waiting int32 = iota
	taken
	abandoned
)

type job struct {
	change func(ctx context.Context, s *session) error
	state  atomic.Int32
	err    error
	done   chan struct{}
}

// writer is the one goroutine that changes the records.
type writer struct {
	dsn    string
	commit func(commit func() error) error
	jobs   chan *job
	ended  chan struct{}
	pool   *sql.DB

	closing  sync.RWMutex // held for reading while a job is handed in
	closed   bool
	closeErr error
}

func newWriter(ctx context.Context, dsn string, commit func(func() error) error) (*writer, error) {
	if commit == nil {
		commit = func(commit func() error) error { return commit() }
	}
	w := &writer{dsn: dsn, commit: commit, jobs: make(chan *job, maxGroup), ended: make(chan struct{})}
	s, err := w.connect(ctx)
	if err != nil {
		return nil, err
	}
	go w.run(s)
	return w, nil
}

func (w *writer) connect(ctx context.Context) (*session, error) {
	pool, err := sql.Open("sqlite", w.dsn)
	if err != nil {
		return nil, fmt.Errorf("records: %w", err)
	}
	pool.SetMaxOpenConns(1)
	conn, err := pool.Conn(ctx)
	if err != nil {
		return nil, errors.Join(say("open for writing", err), pool.Close())
	}
	w.pool = pool
	return &session{conn: conn, prepared: map[string]*sql.Stmt{}}, nil
}

func (w *writer) disconnect(s *session) error {
	if s == nil {
		return nil
	}
	// A statement that is left prepared keeps the connection, its files and its locks open behind the driver's back.
	var errs []error
	for _, stmt := range s.prepared {
		errs = append(errs, stmt.Close())
	}
	return errors.Join(append(errs, s.conn.Close(), w.pool.Close())...)
}

// do hands a change in and waits for its commit. Cancelling ctx gives up a change that has not begun; one that has
// begun is waited for, so that an answer is never lost by impatience.
func (w *writer) do(ctx context.Context, change func(ctx context.Context, s *session) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j := &job{change: change, done: make(chan struct{})}
	w.closing.RLock()
	if w.closed {
		w.closing.RUnlock()
		return ErrClosed
	}
	select {
	case w.jobs <- j:
		w.closing.RUnlock()
	case <-ctx.Done():
		w.closing.RUnlock()
		return ctx.Err()
	}
	select {
	case <-j.done:
		return j.err
	case <-ctx.Done():
		if j.state.CompareAndSwap(waiting, abandoned) {
			return ctx.Err()
		}
		<-j.done
		return j.err
	}
}

func (w *writer) close() error {
	w.closing.Lock()
	if w.closed {
		w.closing.Unlock()
		return nil
	}
	w.closed = true
	w.closing.Unlock()
	close(w.jobs)
	<-w.ended
	return w.closeErr
}

func (w *writer) run(s *session) {
	defer close(w.ended)
	for first := range w.jobs {
		group := w.gather(first)
		if len(group) == 0 {
			continue
		}
		err := w.transact(&s, group)
		for _, j := range group {
			if err != nil {
				j.err = err
			}
			close(j.done)
		}
	}
	w.closeErr = w.disconnect(s)
}

// gather takes whoever waits already. Nobody is waited for: while one group commits, the next one comes together.
func (w *writer) gather(first *job) []*job {
	var group []*job
	for j, open := first, true; ; {
		if open && j.state.CompareAndSwap(waiting, taken) {
			group = append(group, j)
		}
		if len(group) == maxGroup {
			return group
		}
		select {
		case j, open = <-w.jobs:
			if !open {
				return group
			}
		default:
			return group
		}
	}
}

// transact runs one group and answers every job of it. A job's own error spoils only that job. The error returned is
// everybody's.
func (w *writer) transact(session **session, group []*job) error {
	if *session == nil {
		// The writer's own context: no caller may interrupt a transaction that others share.
		s, err := w.connect(context.Background())
		if err != nil {
			return err
		}
		*session = s
	}
	// Hardly a group has a job that fails, and a savepoint for each costs a copy of every page that the job touches. So
	// the group runs without any; if one fails, nothing stands, and all run again with savepoints.
	clean, err := w.attempt(session, group, plain)
	if err != nil || clean {
		return err
	}
	_, err = w.attempt(session, group, inSavepoint)
	return err
}

// attempt runs the group in one transaction and reports whether it ended in the group's answers: run says what a job's
// failure does to the transaction. Answers that say no are given after the commit, too: they may rest on what an earlier
// job of the group wrote.
func (w *writer) attempt(session **session, group []*job, run func(ctx context.Context, s *session, j *job) (stands bool, err error)) (bool, error) {
	ctx := context.Background()
	s := *session
	if _, err := s.exec(ctx, "BEGIN IMMEDIATE"); err != nil {
		return false, w.lost(session, "begin", err)
	}
	for _, j := range group {
		stands, err := run(ctx, s, j)
		if err != nil {
			return false, w.lost(session, "write", err)
		}
		if !stands {
			if _, err := s.exec(ctx, "ROLLBACK"); err != nil {
				return false, w.lost(session, "write", errors.Join(j.err, err))
			}
			return false, nil
		}
	}
	err := w.commit(func() error {
		_, err := s.exec(ctx, "COMMIT")
		return err
	})
	if err != nil {
		return false, w.lost(session, "commit", err)
	}
	return true, nil
}

// plain runs a job whose failure takes the transaction with it.
func plain(ctx context.Context, s *session, j *job) (stands bool, err error) {
	j.err = j.change(ctx, s)
	return j.err == nil, nil
}

// inSavepoint runs a job that leaves nothing behind when it fails.
func inSavepoint(ctx context.Context, s *session, j *job) (stands bool, err error) {
	if _, err := s.exec(ctx, "SAVEPOINT one"); err != nil {
		return false, err
	}
	if j.err = j.change(ctx, s); j.err != nil {
		// Some failures (disk full, I/O) end the whole transaction; then there is no savepoint to return to.
		if _, err := s.exec(ctx, "ROLLBACK TO one"); err != nil {
			return false, errors.Join(j.err, err)
		}
		j.err = say("write", j.err)
	}
	_, err = s.exec(ctx, "RELEASE one")
	return true, err
}

// lost ends a transaction whose outcome is no longer certain, and connects anew: a connection after such an error is
// not trusted.
func (w *writer) lost(session **session, verb string, err error) error {
	if _, rollback := (*session).exec(context.Background(), "ROLLBACK"); rollback != nil {
		if gone := w.disconnect(*session); gone != nil {
			err = errors.Join(err, gone)
		}
		*session = nil
	}
	return say(verb, err)
}

// own are the errors of the ports: they reach the caller as they are.
func own(err error) bool {
	for _, known := range []error{
		licence.ErrConflict, licence.ErrStockEmpty, licence.ErrNotFound, licence.ErrSpoiled, licence.ErrState, licence.ErrClock,
		licence.ErrUnavailable, issuing.ErrFenced, issuing.ErrStale, embedded.ErrFenced, access.ErrUnknownPerson,
		ErrSealed, ErrErased, ErrReadOnly, ErrVersion, ErrLocked, ErrClosed, context.Canceled, context.DeadlineExceeded,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// say tells what failed. Everything that the system or the database refuses is licence.ErrUnavailable; a full disk and
// a folder that cannot be written to are named, because somebody can do something about them.
func say(verb string, err error) error {
	if err == nil || own(err) {
		return err
	}
	hint := ""
	var failed *sqlite.Error
	switch {
	case errors.As(err, &failed) && failed.Code()&0xff == sqlite3.SQLITE_FULL, errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		hint = ": 磁盘已满 / the disk is full"
	case errors.As(err, &failed) && failed.Code()&0xff == sqlite3.SQLITE_READONLY, errors.Is(err, os.ErrPermission), errors.Is(err, syscall.EROFS):
		hint = ": 目录不可写 / the folder cannot be written to"
	case errors.As(err, &failed) && (failed.Code()&0xff == sqlite3.SQLITE_CORRUPT || failed.Code()&0xff == sqlite3.SQLITE_NOTADB):
		hint = ": 数据库已损坏 / the database file is damaged"
	}
	return fmt.Errorf("%w: records: %s%s: %w", licence.ErrUnavailable, verb, hint, err)
}
