package records

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// TablesVersion is the version of the tables that this program works with.
const TablesVersion = version

// Errors of Down.
var (
	// ErrNoWayBack says that the tables never had the wanted version, or are at it or before it.
	ErrNoWayBack = errors.New("数据表退不回这个版本 / the tables cannot be taken back to this version")
	// ErrInUse says that other processes have the database open.
	ErrInUse = errors.New("还有进程连着数据库 / other processes are connected to the database")
)

// Place is where records are: the path of an SQLite file, or the address of a PostgreSQL database.
type Place struct{ Path, URL string }

func (p Place) engine(ctx context.Context) (engine, error) {
	if p.URL != "" {
		e, err := connectPostgres(ctx, p.URL)
		if err != nil {
			return nil, err // not the nil of a pointer, which is no nil engine
		}
		return e, nil
	}
	path, err := filepath.Abs(p.Path)
	if err != nil {
		return nil, fmt.Errorf("records: %s: %w", p.Path, err)
	}
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("records: %w", err)
	}
	return &sqliteFile{path: path}, nil
}

// VersionOfTables reads the version of the tables, also of one that this program does not know. It changes nothing.
func VersionOfTables(ctx context.Context, p Place) (at int, err error) {
	e, err := p.engine(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, e.close()) }()
	db, err := e.readers(ctx)
	if err != nil {
		return 0, say("open", err)
	}
	defer db.Close()
	if err := db.QueryRowContext(ctx, e.dialect().version).Scan(&at); err != nil {
		return 0, say("read the version", err)
	}
	return at, nil
}

// Down takes the tables back to an older version, for a program that knows no newer one, and returns the version that they
// had. Everything that the older tables have room for stays. Each version is one transaction: what was interrupted is
// gone on with by the same call. Nobody else may have the records open; errors: ErrLocked, ErrInUse, ErrNoWayBack,
// ErrVersion (of a newer program).
func Down(ctx context.Context, p Place, to int) (from int, err error) {
	e, err := p.engine(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, e.close()) }()
	db, err := alone(ctx, e)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	provider, err := e.provider(db)
	if err != nil {
		return 0, fmt.Errorf("records: %w", err)
	}
	at, err := provider.GetDBVersion(ctx)
	if err != nil {
		return 0, say("read the version", err)
	}
	from = int(at)
	if from > version {
		return from, fmt.Errorf("%w: they have version %d, this program knows %d: use a newer program", ErrVersion, from, version)
	}
	// Before the first version there is nothing: that would be no way back, but the end of all records.
	if first := int(provider.ListSources()[0].Version); to < first || to >= from {
		return from, fmt.Errorf("%w: %d; they have version %d, the first is %d", ErrNoWayBack, to, from, first)
	}
	if _, err := provider.DownTo(ctx, int64(to)); err != nil {
		return from, say("take the tables back", err)
	}
	return from, nil
}

// alone opens the database for whoever changes its tables, and makes sure that nobody else works with them.
func alone(ctx context.Context, e engine) (*sql.DB, error) {
	switch e := e.(type) {
	case *sqliteFile:
		var err error
		if e.held, err = lockFile(e.path + ".lock"); err != nil {
			return nil, err
		}
		db, err := sql.Open("sqlite", dsn(e.path, "rw"))
		if err != nil {
			return nil, say("open", err)
		}
		db.SetMaxOpenConns(1)
		return db, nil
	case *postgresServer:
		others := 1
		// The server takes a moment to notice that a connection has ended.
		for until := time.Now().Add(2 * time.Second); others > 0; {
			// The names of programs may be seen by every role.
			err := e.db.QueryRowContext(ctx, `SELECT COUNT(*) FROM pg_stat_activity
			WHERE datname = current_database() AND application_name = $1 AND pid <> pg_backend_pid()`, applicationName).Scan(&others)
			if err != nil {
				return nil, say("look for other processes", err)
			}
			if others == 0 {
				break
			}
			if time.Now().After(until) {
				return nil, fmt.Errorf("%w: %d", ErrInUse, others)
			}
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(50 * time.Millisecond):
			}
		}
		return e.db, nil
	}
	return nil, fmt.Errorf("records: no tables can be taken back on %T", e)
}
