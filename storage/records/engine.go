package records

import (
	"context"
	"database/sql"

	"github.com/pressly/goose/v3"
)

// engine is a database with what it does not share with the other one. All SQL outside its file is one text for both.
type engine interface {
	dialect() dialect
	// prepare makes the database ready: its writer's lock, if it has one writer only, and the tables of this version.
	prepare(ctx context.Context) error
	// provider brings the tables of db forward and back.
	provider(db *sql.DB) (*goose.Provider, error)
	// readers opens the pool for reading.
	readers(ctx context.Context) (*sql.DB, error)
	// connect takes a connection for one lane of the writer.
	connect(ctx context.Context) (connection, error)
	// lanes is how many transactions of this process may run side by side.
	lanes() int
	// contended reports whether another writer was quicker: the same change, begun again, sees what that one has written.
	contended(err error) bool
	// forget makes what was overwritten unreadable in the database's own files, as far as the engine can.
	forget(ctx context.Context) error
	// tidy refreshes the planner's statistics.
	tidy(ctx context.Context) error
	// diskUse is the room that the database takes on the disk, in bytes.
	diskUse(ctx context.Context) (int64, error)
	// close gives back what prepare has taken.
	close() error
}

// dialect is the SQL that differs.
type dialect struct {
	begin string
	// version reads the newest migration that was applied.
	version string
	// lock ends a SELECT whose rows nobody else may change before the transaction ends. Empty where there is one writer.
	lock string
	// skipLocked ends a SELECT of rows that somebody else may be changing: those are passed over.
	skipLocked string
	// share ends a SELECT whose rows nobody else may change, though others may share them.
	share string
	// lockLicence is lock for the rows of l alone, in a join.
	lockLicence string
	// actsAdopted makes new acts come after those that brought their ordinals along.
	actsAdopted string
	// now is the database's clock in microseconds: leases of several processes go by one clock.
	now string
	// notify tells other processes, at the commit, that work of the lane $1 became due. Empty where there are none.
	notify string
	// prepared says that statements are kept per connection here; else the driver does it.
	prepared bool
	// snapshot are the options of a reading transaction that sees one moment.
	snapshot sql.TxOptions
}
