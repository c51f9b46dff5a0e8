package records

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/elicence/elicence/audit"
	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/licence/code"
)

// maxAllotment is the most sheets that come in one delivery.
const maxAllotment = 1_000_000

// Allot implements issuing.Stock. licence.ErrRefused if first is no number or the range leaves its letter.
func (db *DB) Allot(ctx context.Context, p issuing.Pile, first string, count int, at time.Time, a audit.Entry) error {
	if err := code.Number(first); err != nil {
		return fmt.Errorf("%w: first number: %w", licence.ErrRefused, err)
	}
	from, err := strconv.Atoi(first[1:])
	if err != nil {
		return fmt.Errorf("%w: first number: %w", licence.ErrRefused, err)
	}
	last := from + count - 1
	if count < 1 || count > maxAllotment || last > 999_999_999 {
		return fmt.Errorf("%w: %d sheets from %s: a range has 1 to %d and keeps its letter", licence.ErrRefused, count, first, maxAllotment)
	}
	if p.Issuer == "" || p.Type == "" {
		return fmt.Errorf("%w: sheets belong to an issuer and a licence type", licence.ErrRefused)
	}
	number := func(n int) string { return fmt.Sprintf("%s%09d", first[:1], n) }
	return db.write(ctx, func(ctx context.Context, s *session) error {
		var there int
		err := s.scan(ctx, `SELECT (SELECT COUNT(*) FROM sheets WHERE number BETWEEN $1 AND $2) +
			(SELECT COUNT(*) FROM licences WHERE number BETWEEN $1 AND $2)`, []any{first, number(last)}, &there)
		if err != nil {
			return err
		}
		if there > 0 {
			return fmt.Errorf("%w: %d of the numbers %s to %s are there already", licence.ErrConflict, there, first, number(last))
		}
		rows := make([][]any, 0, 64)
		for n := from; n <= last; n++ {
			rows = append(rows, []any{number(n), p.Issuer, p.Type, string(licence.SheetAllotted), micro(at)})
			if len(rows) == cap(rows) || n == last {
				if err := s.insert(ctx, `INSERT INTO sheets (number, issuer, type, state, drawn_at)`, "", rows); err != nil {
					return err
				}
				rows = rows[:0]
			}
		}
		if err := act(ctx, s, p.Issuer, actSheets, sheetsAct{p.Issuer, p.Type, first, count, micro(at)}); err != nil {
			return err
		}
		return record(ctx, s, a)
	})
}

// stockedSheet is what the books say of one sheet.
type stockedSheet struct {
	state                 licence.SheetState
	typ, business, reason string
}

// sheetOf reads one of the issuer's sheets inside the writer's transaction.
func sheetOf(ctx context.Context, s *session, issuer, number string) (stockedSheet, error) {
	var sh stockedSheet
	err := s.scan(ctx, `SELECT state, type, business_id, reason FROM sheets WHERE number = $1 AND issuer = $2`+s.sql.lock,
		[]any{number, issuer}, &sh.state, &sh.typ, &sh.business, &sh.reason)
	if err != nil {
		err = absent(err, "sheet "+number+" of this issuer")
	}
	return sh, err
}

// Bind implements issuing.Stock. The same binding again is no error and no second audit row.
func (db *DB) Bind(ctx context.Context, p issuing.Pile, number, businessID string, at time.Time, a audit.Entry) error {
	if businessID == "" {
		return fmt.Errorf("%w: a sheet is bound to a business id", licence.ErrRefused)
	}
	return db.write(ctx, func(ctx context.Context, s *session) error {
		sh, err := sheetOf(ctx, s, p.Issuer, number)
		if err != nil {
			return err
		}
		if sh.typ != p.Type {
			return fmt.Errorf("%w: sheet %s is one of %s, not of %s", licence.ErrState, number, sh.typ, p.Type)
		}
		if sh.state == licence.SheetBound && sh.business == businessID {
			return nil
		}
		if err := sh.state.Step(licence.SheetBound); err != nil {
			return fmt.Errorf("sheet %s: %w", number, err)
		}
		var other string
		err = s.scan(ctx, `SELECT number FROM sheets WHERE issuer = $1 AND type = $2 AND business_id = $3 AND state = 'bound' LIMIT 1`,
			[]any{p.Issuer, p.Type, businessID}, &other)
		if err == nil {
			return fmt.Errorf("%w: this business id holds sheet %s", licence.ErrConflict, other)
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if err := s.later(ctx, `UPDATE sheets SET state = 'bound', business_id = $1 WHERE number = $2`, businessID, number); err != nil {
			return err
		}
		if err := act(ctx, s, p.Issuer, actBound, sheetAct{Issuer: p.Issuer, Number: number, Business: businessID, At: micro(at)}); err != nil {
			return err
		}
		return record(ctx, s, a)
	})
}

// Spoil implements issuing.Stock. The same again is no error and no second audit row; licence.ErrSpoiled for another
// reason than it was spoiled for.
func (db *DB) Spoil(ctx context.Context, issuer, number, reason string, at time.Time, a audit.Entry) error {
	if _, err := licence.SpoilReason(reason); err != nil {
		return err
	}
	return db.write(ctx, func(ctx context.Context, s *session) error {
		sh, err := sheetOf(ctx, s, issuer, number)
		if err != nil {
			return err
		}
		if sh.state == licence.SheetSpoiled && sh.reason == reason {
			return nil
		}
		if err := sh.state.Step(licence.SheetSpoiled); err != nil {
			return fmt.Errorf("sheet %s: %w", number, err)
		}
		err = s.later(ctx, `UPDATE sheets SET state = 'spoiled', reason = $1, used_at = $2 WHERE number = $3`, reason, micro(at), number)
		if err != nil {
			return err
		}
		if err := act(ctx, s, issuer, actSpoiled, sheetAct{Issuer: issuer, Number: number, Reason: reason, At: micro(at)}); err != nil {
			return err
		}
		return record(ctx, s, a)
	})
}

// Sheet implements issuing.Stock.
func (db *DB) Sheet(ctx context.Context, number string) (issuing.Sheet, error) {
	var sh issuing.Sheet
	var drawn int64
	var used sql.NullInt64
	err := db.row(ctx, `SELECT number, issuer, type, state, business_id, licence, reason, drawn_at, used_at FROM sheets WHERE number = $1`,
		number).Scan(&sh.Number, &sh.Issuer, &sh.Type, &sh.State, &sh.BusinessID, &sh.Licence, &sh.Reason, &drawn, &used)
	if err != nil {
		return issuing.Sheet{}, absent(err, "sheet "+number)
	}
	if sh.State != licence.SheetBound {
		sh.BusinessID = ""
	}
	sh.DrawnAt, sh.UsedAt = fromMicro(drawn), fromMicro(used.Int64)
	return sh, nil
}

// NextFree implements issuing.Stock.
func (db *DB) NextFree(ctx context.Context, p issuing.Pile) (string, error) {
	var number string
	err := db.row(ctx, `SELECT number FROM sheets WHERE issuer = $1 AND type = $2 AND state = 'allotted' ORDER BY number LIMIT 1`,
		p.Issuer, p.Type).Scan(&number)
	if errors.Is(err, sql.ErrNoRows) {
		return "", noSheet(p)
	}
	return number, say("read the stock", err)
}

func noSheet(p issuing.Pile) error {
	return fmt.Errorf("%w: issuer %s, type %s", licence.ErrStockEmpty, p.Issuer, p.Type)
}

// FreeCounts implements issuing.Stock.
func (db *DB) FreeCounts(ctx context.Context) (map[issuing.Pile]int, error) {
	rows, err := db.rows(ctx, `SELECT issuer, type, COUNT(*) FROM sheets WHERE state = 'allotted' GROUP BY issuer, type`)
	if err != nil {
		return nil, say("count the stock", err)
	}
	free := map[issuing.Pile]int{}
	err = collect(rows, func(r row) error {
		var p issuing.Pile
		var n int
		if err := r.Scan(&p.Issuer, &p.Type, &n); err != nil {
			return err
		}
		free[p] = n
		return nil
	})
	return free, say("count the stock", err)
}

// YearTable implements issuing.Stock. Stock and spoiled are counted from the sheets, issues from the licences that took
// one: a sheet without its licence, or a licence without its sheet, shows as a table that does not balance. Licences
// whose intent stands count as issued, because their number never returns. Issues of an organisation of the kind agency
// are those outside institutions.
func (db *DB) YearTable(ctx context.Context, p issuing.Pile, year int, zone *time.Location) (t licence.YearTable, err error) {
	t = licence.YearTable{Issuer: p.Issuer, Type: p.Type, Year: year}
	start := time.Date(year, 1, 1, 0, 0, 0, 0, zone).UnixMicro()
	end := time.Date(year+1, 1, 1, 0, 0, 0, 0, zone).UnixMicro()
	tx, err := db.readers.BeginTx(ctx, &db.sql.snapshot) // all counts of one moment
	if err != nil {
		return t, say("count the year", err)
	}
	defer func() {
		if rollback := tx.Rollback(); err == nil && rollback != nil {
			err = say("count the year", rollback)
		}
	}()
	ask := func(query string, args ...any) (*sql.Rows, error) {
		db.options.heard(query, args)
		return tx.QueryContext(ctx, query, args...)
	}
	one := func(query string, args []any, dest ...any) error {
		rows, err := ask(query, args...)
		if err != nil {
			return err
		}
		return collect(rows, func(r row) error { return r.Scan(dest...) })
	}
	var kind string // stays empty for an issuer that nobody knows
	if err := one(`SELECT kind FROM organisations WHERE issuer = $1`, []any{p.Issuer}, &kind); err != nil {
		return t, say("count the year", err)
	}
	err = one(`SELECT
		COALESCE(SUM(CASE WHEN drawn_at < $2 AND (state NOT IN ('issued', 'spoiled') OR used_at >= $2) THEN 1 ELSE 0 END), 0),
		COALESCE(SUM(CASE WHEN drawn_at >= $2 AND drawn_at < $3 THEN 1 ELSE 0 END), 0),
		COALESCE(SUM(CASE WHEN state = 'spoiled' AND used_at >= $2 AND used_at < $3 THEN 1 ELSE 0 END), 0),
		COALESCE(SUM(CASE WHEN drawn_at < $3 AND (state NOT IN ('issued', 'spoiled') OR used_at >= $3) THEN 1 ELSE 0 END), 0)
		FROM sheets WHERE issuer = $1 AND type = $4`, []any{p.Issuer, start, end, p.Type}, &t.Opening, &t.Drawn, &t.Spoiled, &t.Closing)
	if err != nil {
		return t, say("count the year", err)
	}
	rows, err := ask(`SELECT kind, COUNT(*) FROM licences
		WHERE issuer = $1 AND type = $4 AND uses_stock = 1 AND issue_time >= $2 AND issue_time < $3 GROUP BY kind`,
		p.Issuer, start, end, p.Type)
	if err != nil {
		return t, say("count the year", err)
	}
	issues := &t.Inside
	if kind == licence.Agency {
		issues = &t.Outside
	}
	err = collect(rows, func(r row) error {
		var kind string
		var n int
		if err := r.Scan(&kind, &n); err != nil {
			return err
		}
		switch kind {
		case licence.KindExchange:
			issues.Exchange += n
		case licence.KindReplacement:
			issues.Replacement += n
		default:
			issues.First += n
		}
		return nil
	})
	return t, say("count the year", err)
}

// NotInForce implements issuing.StatusSource.
func (db *DB) NotInForce(ctx context.Context) (map[uint64]issuing.Status, error) {
	rows, err := db.rows(ctx, `SELECT status_index, status FROM licences WHERE status <> 0`)
	if err != nil {
		return nil, say("read statuses", err)
	}
	ended := map[uint64]issuing.Status{}
	err = collect(rows, func(r row) error {
		var index int64
		var status issuing.Status
		if err := r.Scan(&index, &status); err != nil {
			return err
		}
		ended[uint64(index)] = status
		return nil
	})
	return ended, say("read statuses", err)
}

// NextStatusNumber implements issuing.StatusSource. A number whose answer was lost is not handed out again: numbers may
// be left out, never used twice.
func (db *DB) NextStatusNumber(ctx context.Context) (uint64, error) {
	var n int64
	err := db.write(ctx, func(ctx context.Context, s *session) error {
		return s.scan(ctx, `INSERT INTO counters (issuer, name, value) VALUES ('', 'status-list', 1)
			ON CONFLICT (issuer, name) DO UPDATE SET value = counters.value + 1 RETURNING value`, nil, &n)
	})
	return uint64(n), err
}
