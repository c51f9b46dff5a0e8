package records

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/elicence/elicence/ledger/embedded"
	"github.com/elicence/elicence/licence"
)

// Head implements embedded.Store.
func (db *DB) Head(ctx context.Context) (embedded.Head, error) {
	var size int64
	var body []byte
	err := db.row(ctx, `SELECT size, body FROM log_head WHERE issuer = ''`).Scan(&size, &body)
	if errors.Is(err, sql.ErrNoRows) {
		return embedded.Head{}, nil
	}
	return embedded.Head{Size: uint64(size), Body: body}, say("read the log's head", err)
}

// Append implements embedded.Store.
func (db *DB) Append(ctx context.Context, b embedded.Batch) error {
	if b.ExpectedSize > 1<<62 {
		return embedded.ErrFenced
	}
	entries := make([][]any, len(b.Entries))
	for i, e := range b.Entries {
		if e.Index != b.ExpectedSize+uint64(i) {
			return fmt.Errorf("%w: entry %d of a batch at %d", licence.ErrState, e.Index, b.ExpectedSize)
		}
		entries[i] = []any{int64(e.Index), "", e.Hash[:], notNil(e.Bytes)}
	}
	state := make([][]any, 0, len(b.Writes))
	for _, name := range slices.Sorted(maps.Keys(b.Writes)) {
		state = append(state, []any{name, "", notNil(b.Writes[name])})
	}
	size := int64(b.ExpectedSize) + int64(len(b.Entries))
	return db.write(ctx, func(ctx context.Context, s *session) error {
		var n int64
		var err error
		if b.ExpectedSize == 0 {
			n, err = s.exec(ctx, `INSERT INTO log_head (issuer, size, body) VALUES ('', $1, $2)
				ON CONFLICT (issuer) DO UPDATE SET size = excluded.size, body = excluded.body WHERE log_head.size = 0`, size, b.Body)
		} else {
			n, err = s.exec(ctx, `UPDATE log_head SET size = $1, body = $2 WHERE issuer = '' AND size = $3`,
				size, b.Body, int64(b.ExpectedSize))
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("%w: it has not %d entries", embedded.ErrFenced, b.ExpectedSize)
		}
		if err := s.insert(ctx, `INSERT INTO log_entries (idx, issuer, hash, bytes)`, "", entries); err != nil {
			return err
		}
		return s.insert(ctx, `INSERT INTO log_state (name, issuer, value)`,
			` ON CONFLICT (name) DO UPDATE SET value = excluded.value`, state)
	})
}

// StateGet implements embedded.Store.
func (db *DB) StateGet(ctx context.Context, keys []string) (map[string][]byte, error) {
	found := make(map[string][]byte, len(keys))
	for rest := keys; len(rest) > 0; {
		// Two lengths of list only, so that two statements serve all: what is missing of a long one is its last key again.
		n := 1
		if len(rest) > 1 {
			n = 64
		}
		args := make([]any, n)
		for i := range args {
			args[i] = rest[min(i, len(rest)-1)]
		}
		rest = rest[min(n, len(rest)):]
		rows, err := db.rows(ctx, `SELECT name, value FROM log_state WHERE name IN`+values(1, n)[len(" VALUES"):], args...)
		if err != nil {
			return nil, say("read the log's state", err)
		}
		err = collect(rows, func(r row) error {
			var name string
			var value []byte
			if err := r.Scan(&name, &value); err != nil {
				return err
			}
			found[name] = notNil(value)
			return nil
		})
		if err != nil {
			return nil, say("read the log's state", err)
		}
	}
	return found, nil
}

// Entries implements embedded.Store.
func (db *DB) Entries(ctx context.Context, from, to uint64) ([][]byte, error) {
	to = min(to, 1<<62)
	if from >= to {
		return nil, nil
	}
	rows, err := db.rows(ctx, `SELECT idx, bytes FROM log_entries WHERE idx >= $1 AND idx < $2 ORDER BY idx`, int64(from), int64(to))
	if err != nil {
		return nil, say("read the log", err)
	}
	var entries [][]byte
	gap := false
	err = collect(rows, func(r row) error {
		var index int64
		var b []byte
		if err := r.Scan(&index, &b); err != nil {
			return err
		}
		// What follows a gap proves nothing about what is missing.
		if gap = gap || uint64(index) != from+uint64(len(entries)); !gap {
			entries = append(entries, notNil(b))
		}
		return nil
	})
	return entries, say("read the log", err)
}

// IndexOf implements embedded.Store.
func (db *DB) IndexOf(ctx context.Context, hash [32]byte) (index uint64, found bool, err error) {
	var i int64
	err = db.row(ctx, `SELECT idx FROM log_entries WHERE hash = $1`, hash[:]).Scan(&i)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, false, nil
	}
	return uint64(i), err == nil, say("read the log", err)
}

// PutSigned implements embedded.Store.
func (db *DB) PutSigned(ctx context.Context, size uint64, note []byte) error {
	return db.write(ctx, func(ctx context.Context, s *session) error {
		return s.later(ctx, `INSERT INTO log_signed (size, issuer, note) VALUES ($1, '', $2)
			ON CONFLICT (size) DO UPDATE SET note = excluded.note`, int64(size), note)
	})
}

// Signed implements embedded.Store.
func (db *DB) Signed(ctx context.Context, size uint64) ([]byte, error) {
	return db.note(ctx, `SELECT note FROM log_signed WHERE size = $1`, int64(size))
}

// LastSigned implements embedded.Store.
func (db *DB) LastSigned(ctx context.Context) ([]byte, error) {
	return db.note(ctx, `SELECT note FROM log_signed ORDER BY size DESC LIMIT 1`)
}

func (db *DB) note(ctx context.Context, query string, args ...any) ([]byte, error) {
	var note []byte
	err := db.row(ctx, query, args...).Scan(&note)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return note, say("read a checkpoint", err)
}

// SignedAfter implements embedded.Store.
func (db *DB) SignedAfter(ctx context.Context, size uint64, limit int) ([][]byte, error) {
	rows, err := db.rows(ctx, `SELECT note FROM log_signed WHERE size > $1 ORDER BY size LIMIT $2`, int64(size), limit)
	if err != nil {
		return nil, say("read checkpoints", err)
	}
	var notes [][]byte
	err = collect(rows, func(r row) error {
		var note []byte
		if err := r.Scan(&note); err != nil {
			return err
		}
		notes = append(notes, note)
		return nil
	})
	return notes, say("read checkpoints", err)
}
