// Package records keeps what an installation knows: licences and their three commits, events, sheets, people, the audit
// trail and the log. It has two engines and one SQL: a SQLite file, for an installation without any server, and
// PostgreSQL, for many processes on many machines.
//
// A goroutine, on PostgreSQL a few of them, takes what many callers want to change, runs it in one transaction, and
// answers all of them after the commit; a change that fails spoils no other. Readers have a pool of their own and see
// what was committed before they asked.
package records

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/elicence/elicence/access"
	"github.com/elicence/elicence/due"
	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/ledger/embedded"
	"github.com/elicence/elicence/storage/envelope"
)

var (
	// ErrLocked says that another process writes to these records. Reading is possible all the same.
	ErrLocked = errors.New("records: 另一个进程正在写入 / another process is writing")
	// ErrReadOnly says that these records were opened for reading.
	ErrReadOnly = errors.New("records: opened for reading only")
	// ErrVersion says that the tables are of another version than this program: open for writing to bring older ones
	// forward; newer ones need a newer program.
	ErrVersion = errors.New("records: the tables are of another version")
	// ErrSealed says that personal columns were asked for without the key that opens them, or with a wrong one.
	ErrSealed = errors.New("records: sealed: the wrapping key does not open them")
	// ErrErased says that the licence's data key was destroyed: its personal data cannot be read or added to, ever again.
	ErrErased = errors.New("records: 该证照的个人数据已销毁 / the personal data of this licence were erased")
	// ErrClosed says that the records were closed.
	ErrClosed = errors.New("records: closed")
)

// Options of Open.
type Options struct {
	// ReadOnly opens for reading beside a writer; audit rows go to a spool that the next writer takes in.
	ReadOnly bool
	// KEK unwraps the data keys of licences, which must have been wrapped by envelope.WrapKey with their id. Nil opens
	// what needs no personal column; licences then give ErrSealed.
	KEK envelope.KEK
	// Random is where nonces come from; crypto/rand.Reader when nil.
	Random io.Reader
	// Commit wraps every commit of the writer, to measure it or to let it fail in tests; nil for none. An error makes
	// all callers of that commit unsure: they ask again.
	Commit func(commit func() error) error
	// Filling opens for writing many rows that nobody would miss: commits are not made durable one by one, and the writer keeps
	// more in memory. Only for measuring.
	Filling bool
	// hear is told of every statement; tests hold them to their plans.
	hear func(query string, args []any)
}

func (o Options) heard(query string, args []any) {
	if o.hear != nil {
		o.hear(query, args)
	}
}

// DB is one installation's records. It is safe for concurrent use.
type DB struct {
	engine  engine
	sql     dialect
	options Options
	index   *envelope.Index // nil without a KEK
	path    string          // of a SQLite file, "" on a server; its spool lies beside it

	readers  *sql.DB
	prepared sync.Map // query → *sql.Stmt on readers

	writer *writer // nil when read-only
	wakes  *wakes

	lastEvent atomic.Int64 // µs; of the newest committed event, where this process is the only writer

	closeOnce sync.Once
	closeErr  error
}

var (
	_ issuing.Records      = (*DB)(nil)
	_ issuing.Stock        = (*DB)(nil)
	_ issuing.StatusSource = (*DB)(nil)
	_ issuing.Directory    = (*DB)(nil)
	_ issuing.Duties       = (*DB)(nil)
	_ access.Directory     = (*DB)(nil)
	_ access.Register      = (*DB)(nil)
	_ embedded.Store       = (*DB)(nil)
	_ due.Queue            = (*DB)(nil)
	_ due.Desk             = (*DB)(nil)
	_ due.Wakes            = (*DB)(nil)
)

// Open opens the records in the file path, for writing unless told otherwise. A writer makes the file if there is none,
// brings older tables forward and takes in what readers have spooled. Errors: ErrLocked (a second writer), ErrVersion,
// ErrSealed (the KEK is not the one that these records were made with).
func Open(ctx context.Context, path string, o Options) (*DB, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("records: %s: %w", path, err)
	}
	return openOn(ctx, &sqliteFile{path: absolute, filling: o.Filling}, absolute, o)
}

func openOn(ctx context.Context, e engine, path string, o Options) (*DB, error) {
	if o.Random == nil {
		o.Random = rand.Reader
	}
	db := &DB{engine: e, sql: e.dialect(), path: path, options: o, wakes: &wakes{lanes: map[string]chan struct{}{}, hears: path != ""}}
	if err := db.open(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func (db *DB) open(ctx context.Context) (err error) {
	if !db.options.ReadOnly {
		if err := db.engine.prepare(ctx); err != nil {
			return say("open", err)
		}
		if db.writer, err = newWriter(ctx, db.engine, db.options, db.wakes.wake); err != nil {
			return err
		}
	}
	if db.readers, err = db.engine.readers(ctx); err != nil {
		return say("open", err)
	}
	if db.options.ReadOnly {
		if err := db.checkVersion(ctx); err != nil {
			return err
		}
		return db.openIndex(ctx)
	}
	if err := db.openIndex(ctx); err != nil {
		return err
	}
	if err := db.tellOnce(ctx); err != nil {
		return err
	}
	if db.shared() {
		return nil
	}
	last, err := db.newestEvent(ctx)
	if err != nil {
		return err
	}
	db.lastEvent.Store(last)
	if err := db.endLeases(ctx); err != nil {
		return err
	}
	return db.takeSpool(ctx)
}

const readIndexKey = `SELECT value FROM installation WHERE name = 'index-key'`

// openIndex unwraps the key of the search tags; the first writer with a KEK makes it.
func (db *DB) openIndex(ctx context.Context) error {
	if db.options.KEK == nil {
		return nil
	}
	var wrapped []byte
	err := db.row(ctx, readIndexKey).Scan(&wrapped)
	if errors.Is(err, sql.ErrNoRows) && db.writer != nil {
		index, fresh, err := envelope.NewIndex(ctx, db.options.KEK, db.options.Random)
		if err != nil {
			return fmt.Errorf("records: %w", err)
		}
		db.index = index
		made := false
		err = db.write(ctx, func(ctx context.Context, s *session) error {
			n, err := s.exec(ctx, `INSERT INTO installation (name, issuer, value) VALUES ('index-key', '', $1)
				ON CONFLICT (name) DO NOTHING`, fresh)
			made = n == 1
			return err
		})
		if err != nil || made {
			return err
		}
		// Another process has made one meanwhile.
		err = db.row(ctx, readIndexKey).Scan(&wrapped)
		if err != nil {
			return say("read the index key", err)
		}
	} else if err != nil {
		return say("read the index key", err)
	}
	if db.index, err = envelope.OpenIndex(ctx, db.options.KEK, wrapped); err != nil {
		return fmt.Errorf("%w: %w", ErrSealed, err)
	}
	return nil
}

// Index makes the keyed tags of this installation; nil when the records were opened without a KEK.
func (db *DB) Index() *envelope.Index { return db.index }

// Close waits for what is being written and closes the file. Calls after it give ErrClosed or an error of the driver.
func (db *DB) Close() error {
	db.closeOnce.Do(func() { db.closeErr = db.close() })
	return db.closeErr
}

func (db *DB) close() error {
	var errs []error
	if db.writer != nil {
		errs = append(errs, db.writer.close())
	}
	if db.readers != nil {
		errs = append(errs, db.readers.Close())
	}
	errs = append(errs, db.engine.close())
	return errors.Join(errs...)
}

// row and rows run a prepared query on the readers' pool.
func (db *DB) row(ctx context.Context, query string, args ...any) *sql.Row {
	db.options.heard(query, args)
	if !db.sql.prepared {
		return db.readers.QueryRowContext(ctx, query, args...)
	}
	stmt, err := db.statement(ctx, query)
	if err != nil {
		return db.readers.QueryRowContext(ctx, query, args...) // says the same error again
	}
	return stmt.QueryRowContext(ctx, args...)
}

func (db *DB) rows(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	db.options.heard(query, args)
	if !db.sql.prepared {
		return db.readers.QueryContext(ctx, query, args...)
	}
	stmt, err := db.statement(ctx, query)
	if err != nil {
		return nil, err
	}
	return stmt.QueryContext(ctx, args...)
}

func (db *DB) statement(ctx context.Context, query string) (*sql.Stmt, error) {
	if stmt, ok := db.prepared.Load(query); ok {
		return stmt.(*sql.Stmt), nil
	}
	stmt, err := db.readers.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	if first, loaded := db.prepared.LoadOrStore(query, stmt); loaded {
		return first.(*sql.Stmt), stmt.Close()
	}
	return stmt, nil
}

// shared says that other processes write too: nothing that they may change is remembered here.
func (db *DB) shared() bool { return db.path == "" }

// write runs change in a transaction of the writer and returns after its commit; change may run again later if the
// commit was lost or another process was quicker, so it must do nothing but SQL and set what it returns.
func (db *DB) write(ctx context.Context, change func(ctx context.Context, s *session) error) error {
	return db.writeFor(ctx, "", change)
}

// writeFor is write of a change that holds the issuer's counters: changes of one transaction take them in one order, so
// that two transactions never wait for each other in a circle.
func (db *DB) writeFor(ctx context.Context, issuer string, change func(ctx context.Context, s *session) error) error {
	if db.writer == nil {
		return ErrReadOnly
	}
	if lease, ok := issuing.LeaseOf(ctx); ok {
		return db.writer.do(ctx, issuer, func(ctx context.Context, s *session) error {
			if err := holds(ctx, s, lease); err != nil {
				return err
			}
			return change(ctx, s)
		})
	}
	return db.writer.do(ctx, issuer, change)
}

func words(s []string) string { return strings.Join(s, " ") }

func unwords(s string) []string { return strings.Fields(s) }
