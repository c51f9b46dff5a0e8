package records

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
)

//go:embed migrations
var migrations embed.FS

// version of the tables that this program knows: the number of the last file in migrations/sqlite.
const version = 6

func provider(db *sql.DB) (*goose.Provider, error) {
	files, err := fs.Sub(migrations, "migrations/sqlite")
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectSQLite3, db, files)
}

// migrate brings the tables forward. Each file is one transaction: an interrupted one is made again.
func migrate(ctx context.Context, dsn string) (err error) {
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return fmt.Errorf("records: %w", err)
	}
	db.SetMaxOpenConns(1)
	defer func() { err = errors.Join(err, db.Close()) }()
	p, err := provider(db)
	if err != nil {
		return say("migrate", err)
	}
	at, err := p.GetDBVersion(ctx)
	if err != nil {
		return say("migrate", err)
	}
	if at > version {
		return fmt.Errorf("%w: they have version %d, this program knows %d: use a newer program", ErrVersion, at, version)
	}
	if _, err := p.Up(ctx); err != nil {
		return say("migrate", err)
	}
	return nil
}

// checkVersion is for readers, which change nothing.
func (db *DB) checkVersion(ctx context.Context) error {
	var at int
	err := db.row(ctx, `SELECT COALESCE(MAX(version_id), 0) FROM goose_db_version WHERE is_applied = 1`).Scan(&at)
	if err != nil {
		return say("read the version", err)
	}
	if at != version {
		return fmt.Errorf("%w: they have version %d, this program knows %d", ErrVersion, at, version)
	}
	return nil
}
