package records

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// row is one row that a query has found.
type row interface {
	Scan(dest ...any) error
}

// connection is one connection of the writer. Only one goroutine uses it.
type connection interface {
	// exec returns how many rows were changed.
	exec(ctx context.Context, query string, args []any) (int64, error)
	// each calls scan for every row that is found.
	each(ctx context.Context, query string, args []any, scan func(row) error) error
	// later runs a statement before the next one, or with flush, at the latest; then comes its error, too. A server is
	// spared a round trip.
	later(ctx context.Context, query string, args []any) error
	flush(ctx context.Context) error
	// drop forgets what was left for later.
	drop()
	// end gives the connection back; one that may be broken is ended.
	end() error
}

// session is what a change has of the writer: its connection, in a transaction.
type session struct {
	connection
	sql dialect
	// woken are the lanes in which the transaction makes work due. A change that is undone may leave its lanes here: waking
	// for nothing does no harm.
	woken []string
}

// wakes notes that the transaction makes work of the lane due, or may make it due at another time.
func (s *session) wakes(lane string) {
	if !slices.Contains(s.woken, lane) {
		s.woken = append(s.woken, lane)
	}
}

// notify tells the other processes at the commit, once for each lane.
func (s *session) notify(ctx context.Context) error {
	if s.sql.notify == "" {
		return nil
	}
	for _, lane := range s.woken {
		if err := s.later(ctx, s.sql.notify, lane); err != nil {
			return err
		}
	}
	return nil
}

// exec returns how many rows were changed.
func (s *session) exec(ctx context.Context, query string, args ...any) (int64, error) {
	return s.connection.exec(ctx, query, args)
}

// later is exec for a statement that changes the rows it changes, and whose count nobody needs. If it fails, the whole
// change does.
func (s *session) later(ctx context.Context, query string, args ...any) error {
	return s.connection.later(ctx, query, args)
}

// scan reads one row into dest; sql.ErrNoRows when there is none.
func (s *session) scan(ctx context.Context, query string, args []any, dest ...any) error {
	found := false
	err := s.each(ctx, query, args, func(r row) error {
		if found {
			return nil
		}
		found = true
		return r.Scan(dest...)
	})
	if err == nil && !found {
		err = sql.ErrNoRows
	}
	return err
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
		if err := s.later(ctx, head+values(n, len(rows[0]))+tail, args...); err != nil {
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

func collect(rows *sql.Rows, scan func(row) error) error {
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

// texts collects the one column of rows.
func texts(rows *sql.Rows) (all []string, err error) {
	err = collect(rows, func(r row) error {
		var text string
		if err := r.Scan(&text); err != nil {
			return err
		}
		all = append(all, text)
		return nil
	})
	return all, err
}

// overheard tells of every statement.
type overheard struct {
	connection
	hear func(query string, args []any)
}

func (o overheard) exec(ctx context.Context, query string, args []any) (int64, error) {
	o.hear(query, args)
	return o.connection.exec(ctx, query, args)
}

func (o overheard) each(ctx context.Context, query string, args []any, scan func(row) error) error {
	o.hear(query, args)
	return o.connection.each(ctx, query, args, scan)
}

func (o overheard) later(ctx context.Context, query string, args []any) error {
	o.hear(query, args)
	return o.connection.later(ctx, query, args)
}
