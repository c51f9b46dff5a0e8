package records

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"syscall"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// sqliteFile is the engine of an installation without any server: one file, one process that writes, with one
// connection. Another process may read at any time.
type sqliteFile struct {
	path    string // absolute
	filling bool   // see Options
	held    *os.File
}

func (f *sqliteFile) dialect() dialect {
	return dialect{
		// Immediate takes the write lock at once instead of failing half-way.
		begin:    "BEGIN IMMEDIATE",
		version:  `SELECT COALESCE(MAX(version_id), 0) FROM goose_db_version WHERE is_applied = 1`,
		now:      `CAST(unixepoch('subsec') * 1000000 AS INTEGER)`,
		prepared: true,
		snapshot: sql.TxOptions{ReadOnly: true},
	}
}

func (f *sqliteFile) prepare(ctx context.Context) (err error) {
	if f.held, err = lockFile(f.path + ".lock"); err != nil {
		return err
	}
	db, err := sql.Open("sqlite", dsn(f.path, "rwc"))
	if err != nil {
		return fmt.Errorf("records: %w", err)
	}
	db.SetMaxOpenConns(1)
	return errors.Join(migrate(ctx, f, db), db.Close())
}

func (f *sqliteFile) provider(db *sql.DB) (*goose.Provider, error) {
	files, err := fs.Sub(migrations, "migrations/sqlite")
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectSQLite3, db, files)
}

const readerConnections = 4

func (f *sqliteFile) readers(ctx context.Context) (*sql.DB, error) {
	if _, err := os.Stat(f.path); err != nil {
		return nil, err
	}
	readers, err := sql.Open("sqlite", dsn(f.path, "ro"))
	if err != nil {
		return nil, err
	}
	readers.SetMaxOpenConns(readerConnections)
	readers.SetMaxIdleConns(readerConnections)
	if err := readers.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", filepath.Base(f.path), err), readers.Close())
	}
	return readers, nil
}

func (f *sqliteFile) connect(ctx context.Context) (connection, error) {
	pool, err := sql.Open("sqlite", dsn(f.path, "rw"))
	if err != nil {
		return nil, err
	}
	pool.SetMaxOpenConns(1)
	conn, err := pool.Conn(ctx)
	if err != nil {
		return nil, errors.Join(err, pool.Close())
	}
	if f.filling {
		// Keys at random places touch more pages than the usual cache has, and each would go through the log every time.
		_, err := conn.ExecContext(ctx, `PRAGMA synchronous = OFF; PRAGMA cache_size = -2000000; PRAGMA wal_autocheckpoint = 250000`)
		if err != nil {
			return nil, errors.Join(err, conn.Close(), pool.Close())
		}
	}
	return &sqliteConnection{pool: pool, conn: conn, prepared: map[string]*sql.Stmt{}}, nil
}

// sqliteConnection is the one connection that writes. Nothing is left for later: there is no way to spare.
type sqliteConnection struct {
	pool     *sql.DB
	conn     *sql.Conn
	prepared map[string]*sql.Stmt
}

func (c *sqliteConnection) statement(ctx context.Context, query string) (*sql.Stmt, error) {
	if stmt, ok := c.prepared[query]; ok {
		return stmt, nil
	}
	stmt, err := c.conn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	c.prepared[query] = stmt
	return stmt, nil
}

func (c *sqliteConnection) exec(ctx context.Context, query string, args []any) (int64, error) {
	stmt, err := c.statement(ctx, query)
	if err != nil {
		return 0, err
	}
	result, err := stmt.ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

func (c *sqliteConnection) each(ctx context.Context, query string, args []any, scan func(row) error) error {
	stmt, err := c.statement(ctx, query)
	if err != nil {
		return err
	}
	rows, err := stmt.QueryContext(ctx, args...)
	if err != nil {
		return err
	}
	return collect(rows, scan)
}

func (c *sqliteConnection) later(ctx context.Context, query string, args []any) error {
	_, err := c.exec(ctx, query, args)
	return err
}

func (c *sqliteConnection) flush(context.Context) error { return nil }

func (c *sqliteConnection) drop() {}

// end closes the statements first: one that is left prepared keeps the connection, its files and its locks open behind the
// driver's back.
func (c *sqliteConnection) end() error {
	var errs []error
	for _, stmt := range c.prepared {
		errs = append(errs, stmt.Close())
	}
	return errors.Join(append(errs, c.conn.Close(), c.pool.Close())...)
}

func (f *sqliteFile) lanes() int { return 1 }

// contended: there is nobody else.
func (f *sqliteFile) contended(error) bool { return false }

// sqliteHint names what a person can do something about; "" for all else.
func sqliteHint(err error) string {
	var failed *sqlite.Error
	if !errors.As(err, &failed) {
		return ""
	}
	switch failed.Code() & 0xff {
	case sqlite3.SQLITE_FULL:
		return diskFull
	case sqlite3.SQLITE_READONLY:
		return notWritable
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return ": 数据库已损坏 / the database file is damaged"
	}
	return ""
}

// forget takes what was overwritten out of the write-ahead log too; in the database secure_delete zeroes what is freed.
func (f *sqliteFile) forget(ctx context.Context) (err error) {
	beside, err := sql.Open("sqlite", dsn(f.path, "rw"))
	if err != nil {
		return fmt.Errorf("records: %w", err)
	}
	defer func() { err = errors.Join(err, beside.Close()) }()
	var busy, log, copied int
	err = beside.QueryRowContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`).Scan(&busy, &log, &copied)
	if err == nil && busy != 0 {
		err = errors.New("a reader holds the write-ahead log: erase again")
	}
	return err
}

// tidy leaves SQLite's plans alone: they are made without statistics, which tests hold them to, and a file that was analysed
// once would be planned by what it was like then.
func (f *sqliteFile) tidy(ctx context.Context) error { return f.forget(ctx) }

func (f *sqliteFile) diskUse(context.Context) (int64, error) {
	var n int64
	for _, name := range []string{f.path, f.path + "-wal"} {
		info, err := os.Stat(name)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return 0, err
		}
		if err == nil {
			n += info.Size()
		}
	}
	return n, nil
}

func (f *sqliteFile) close() error {
	if f.held == nil {
		return nil
	}
	return f.held.Close()
}

// dsn names the file for the driver.
func dsn(path, mode string) string {
	q := url.Values{"mode": {mode}}
	pragmas := []string{"busy_timeout(10000)", "foreign_keys(1)"}
	if mode != "ro" {
		q.Set("_txlock", "immediate")
		// FULL: in WAL mode every commit is fsynced before it is answered. Tags, digests and random ids touch pages all over
		// the file: a larger cache (KiB) reads them less often, a longer log (64 MB of pages) moves each of them into the file
		// less often.
		pragmas = append(pragmas, "journal_mode(WAL)", "synchronous(FULL)", "wal_autocheckpoint(16000)", "secure_delete(1)", "cache_size(-64000)")
	} else {
		pragmas = append(pragmas, "query_only(1)", "cache_size(-16000)")
	}
	for _, p := range pragmas {
		q.Add("_pragma", p)
	}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String()
}

const (
	diskFull    = ": 磁盘已满 / the disk is full"
	notWritable = ": 目录不可写 / the folder cannot be written to"
)

// systemHint is sqliteHint for what the operating system refuses.
func systemHint(err error) string {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return diskFull
	case errors.Is(err, os.ErrPermission), errors.Is(err, syscall.EROFS):
		return notWritable
	}
	return ""
}
