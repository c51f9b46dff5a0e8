package records

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
)

//go:embed migrations
var migrations embed.FS

// version of the tables that this program knows: the number of the last file in migrations/sqlite and in
// migrations/postgres. The same number means the same tables on both.
const version = 6

// migrate brings the tables forward. Each file is one transaction: an interrupted one is made again.
func migrate(ctx context.Context, e engine, db *sql.DB) error {
	p, err := e.provider(db)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	at, err := p.GetDBVersion(ctx)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if at > version {
		return fmt.Errorf("%w: they have version %d, this program knows %d: use a newer program", ErrVersion, at, version)
	}
	if at == version {
		return nil
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

// checkVersion is for readers, which change nothing.
func (db *DB) checkVersion(ctx context.Context) error {
	var at int
	if err := db.row(ctx, db.sql.version).Scan(&at); err != nil {
		return say("read the version", err)
	}
	if at != version {
		return fmt.Errorf("%w: they have version %d, this program knows %d", ErrVersion, at, version)
	}
	return nil
}
