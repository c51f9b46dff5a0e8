package records

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/elicence/elicence/issuing"
)

// AcquireDuty implements issuing.Duties.
func (db *DB) AcquireDuty(ctx context.Context, duty, holder string, term time.Duration) (issuing.Lease, error) {
	l := issuing.Lease{Duty: duty, Holder: holder}
	err := db.write(ctx, func(ctx context.Context, s *session) error {
		err := s.scan(ctx, `INSERT INTO leases (name, issuer, holder, epoch, until) VALUES ($1, '', $2, 1, `+s.sql.now+` + $3)
			ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, epoch = leases.epoch + 1, until = excluded.until
			WHERE leases.until <= `+s.sql.now+` RETURNING epoch`, []any{duty, holder, term.Microseconds()}, &l.Epoch)
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		var other string
		if err := s.scan(ctx, `SELECT holder FROM leases WHERE name = $1`, []any{duty}, &other); err != nil {
			return err
		}
		return fmt.Errorf("%w: %s: %s", issuing.ErrHeld, duty, other)
	})
	return l, err
}

// RenewDuty implements issuing.Duties.
func (db *DB) RenewDuty(ctx context.Context, l issuing.Lease, term time.Duration) error {
	return db.write(ctx, func(ctx context.Context, s *session) error {
		n, err := s.exec(ctx, `UPDATE leases SET until = `+s.sql.now+` + $1 WHERE name = $2 AND epoch = $3 AND until > `+s.sql.now,
			term.Microseconds(), l.Duty, l.Epoch)
		if err == nil && n == 0 {
			err = lapsed(l)
		}
		return err
	})
}

// ReleaseDuty implements issuing.Duties.
func (db *DB) ReleaseDuty(ctx context.Context, l issuing.Lease) error {
	return db.write(ctx, func(ctx context.Context, s *session) error {
		return s.later(ctx, `UPDATE leases SET until = 0 WHERE name = $1 AND epoch = $2`, l.Duty, l.Epoch)
	})
}

// endLeases takes the duties of processes that have ended without giving them back: whoever holds the writer's lock knows
// that there is no other process.
func (db *DB) endLeases(ctx context.Context) error {
	return db.write(ctx, func(ctx context.Context, s *session) error {
		if err := endTaken(ctx, s); err != nil {
			return err
		}
		return s.later(ctx, `UPDATE leases SET until = 0 WHERE until <> 0`)
	})
}

// holds lets a transaction go on only while the lease stands, and keeps others from taking it over before the commit.
func holds(ctx context.Context, s *session, l issuing.Lease) error {
	var epoch int64
	err := s.scan(ctx, `SELECT epoch FROM leases WHERE name = $1 AND epoch = $2 AND until > `+s.sql.now+s.sql.share,
		[]any{l.Duty, l.Epoch}, &epoch)
	if errors.Is(err, sql.ErrNoRows) {
		return lapsed(l)
	}
	return err
}

func lapsed(l issuing.Lease) error {
	return fmt.Errorf("%w: %s, epoch %d", issuing.ErrLapsed, l.Duty, l.Epoch)
}
