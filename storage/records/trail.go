package records

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/emmansun/gmsm/sm3"

	"github.com/elicence/elicence/audit"
)

// record writes one audit row in the transaction of what it tells of: no row, no data. It is chained later.
func record(ctx context.Context, s *session, e audit.Entry) error {
	return s.later(ctx, insertAudit+` VALUES ($1,$2,$3,$4,$5,$6,$7,$8)`, auditArgs(e)...)
}

const insertAudit = `INSERT INTO audit (issuer, at, person, what, why, whence, licence, fields)`

func auditArgs(e audit.Entry) []any {
	return []any{e.Organisation, micro(e.At), e.Person, e.What, e.Why, e.From, e.Licence, strings.Join(e.Fields, "\n")}
}

// Record implements issuing.Trail. Records that were opened for reading put the row into the spool.
func (db *DB) Record(ctx context.Context, e audit.Entry) error { return db.RecordAll(ctx, e) }

// RecordAll is Record of several rows that become durable together, or not at all.
func (db *DB) RecordAll(ctx context.Context, entries ...audit.Entry) error {
	if db.writer == nil {
		return db.recordBeside(ctx, entries)
	}
	return db.write(ctx, func(ctx context.Context, s *session) error {
		for _, e := range entries {
			if err := record(ctx, s, e); err != nil {
				return err
			}
		}
		return nil
	})
}

// recordBeside is RecordAll for who has no writer: beside another process's file rows go to the spool, on a server they are
// written like any other.
func (db *DB) recordBeside(ctx context.Context, entries []audit.Entry) error {
	if !db.shared() {
		return db.spool(ctx, entries)
	}
	const columns = 8
	args := make([]any, 0, columns*len(entries))
	for _, e := range entries {
		args = append(args, auditArgs(e)...)
	}
	_, err := db.readers.ExecContext(ctx, insertAudit+values(len(entries), columns), args...)
	return say("write the audit row", err)
}

const auditColumns = `SELECT ordinal, sequence, hash, issuer, at, person, what, why, whence, licence, fields FROM audit `

// auditRow is one row of the trail, sealed or not.
type auditRow struct {
	audit.Link
	ordinal int64
}

// scanAudit reads auditColumns, and what the statement selects after them into more.
func scanAudit(r row, more ...any) (auditRow, error) {
	var row auditRow
	var sequence sql.NullInt64
	var hash []byte
	var at int64
	var fields string
	e := &row.Entry
	err := r.Scan(append([]any{&row.ordinal, &sequence, &hash, &e.Organisation, &at, &e.Person, &e.What, &e.Why, &e.From, &e.Licence, &fields},
		more...)...)
	if err != nil {
		return row, err
	}
	e.At = fromMicro(at)
	if fields != "" {
		e.Fields = strings.Split(fields, "\n")
	}
	if sequence.Valid {
		row.Sequence = uint64(sequence.Int64)
		err = digest(&row.Hash, hash)
	}
	return row, err
}

// OfLicence implements issuing.Trail.
func (db *DB) OfLicence(ctx context.Context, licenceID string) ([]audit.Link, error) {
	if licenceID == "" {
		return nil, nil
	}
	rows, err := db.rows(ctx, auditColumns+`WHERE licence = $1 AND licence <> '' ORDER BY at, ordinal`, licenceID)
	if err != nil {
		return nil, say("read the trail", err)
	}
	var links []audit.Link
	err = collect(rows, func(r row) error {
		row, err := scanAudit(r)
		links = append(links, row.Link)
		return err
	})
	return links, say("read the trail", err)
}

// chained is SM3(previous ‖ canonical entry): every field with its length before it, time as decimal microseconds.
func chained(previous [32]byte, e audit.Entry) [32]byte {
	b := append([]byte(nil), previous[:]...)
	for _, s := range append([]string{"elicence/audit/1", fmt.Sprint(micro(e.At)), e.Organisation, e.Person, e.What, e.Why, e.From,
		e.Licence}, e.Fields...) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	return sm3.Sum(b)
}

// auditHead is the end of the chain, kept apart from the rows so that cutting rows off at the end shows too.
func parseHead(b []byte) (sequence uint64, hash [32]byte, err error) {
	if len(b) != 8+32 {
		return 0, hash, fmt.Errorf("the head of the audit chain has %d bytes", len(b))
	}
	copy(hash[:], b[8:])
	return binary.BigEndian.Uint64(b), hash, nil
}

const readHead = `SELECT value FROM installation WHERE name = 'audit-head'`

// sealGroup bounds how long one sealing keeps the writer from others.
const sealGroup = 512

// Seal implements issuing.Trail. It takes in first what readers have spooled. One writer seals; it may be called at any
// time.
func (db *DB) Seal(ctx context.Context) (head [32]byte, sealed int, err error) {
	if db.writer == nil {
		return head, 0, ErrReadOnly
	}
	if !db.shared() {
		if err := db.takeSpool(ctx); err != nil {
			return head, 0, err
		}
	}
	for {
		n := 0
		err := db.write(ctx, func(ctx context.Context, s *session) (err error) {
			head, n, err = sealSome(ctx, s)
			return err
		})
		if err != nil {
			return head, sealed, err
		}
		sealed += n
		if n < sealGroup {
			return head, sealed, nil
		}
	}
}

func sealSome(ctx context.Context, s *session) (head [32]byte, n int, err error) {
	var sequence uint64
	var stored []byte
	switch err := s.scan(ctx, readHead+s.sql.lock, nil, &stored); {
	case errors.Is(err, sql.ErrNoRows):
	case err != nil:
		return head, 0, err
	default:
		if sequence, head, err = parseHead(stored); err != nil {
			return head, 0, err
		}
	}
	var unsealed []auditRow
	err = s.each(ctx, auditColumns+`WHERE sequence IS NULL ORDER BY ordinal LIMIT $1`, []any{sealGroup}, func(r row) error {
		row, err := scanAudit(r)
		unsealed = append(unsealed, row)
		return err
	})
	if err != nil || len(unsealed) == 0 {
		return head, 0, err
	}
	for _, row := range unsealed {
		sequence++
		link := chained(head, row.Entry) // a variable of its own: the statement may be sent later
		head = link
		if err := s.later(ctx, `UPDATE audit SET sequence = $1, hash = $2 WHERE ordinal = $3`, int64(sequence), link[:], row.ordinal); err != nil {
			return head, 0, err
		}
	}
	err = s.later(ctx, `INSERT INTO installation (name, issuer, value) VALUES ('audit-head', '', $1)
		ON CONFLICT (name) DO UPDATE SET value = excluded.value`, append(binary.BigEndian.AppendUint64(nil, sequence), head[:]...))
	return head, len(unsealed), err
}

// CheckChain implements issuing.Trail. rows counts the sealed rows that were seen to fit.
func (db *DB) CheckChain(ctx context.Context) (broken uint64, rows int, err error) {
	var stored []byte
	err = db.row(ctx, readHead).Scan(&stored)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, 0, say("check the trail", err)
	}
	var end uint64
	var want [32]byte
	if err == nil {
		if end, want, err = parseHead(stored); err != nil {
			return 0, 0, say("check the trail", err)
		}
	}
	var at uint64
	var hash [32]byte
	stop := errors.New("does not fit")
	found, err := db.rows(ctx, auditColumns+`WHERE sequence IS NOT NULL AND sequence <= $1 ORDER BY sequence`, int64(end))
	if err != nil {
		return 0, 0, say("check the trail", err)
	}
	err = collect(found, func(r row) error {
		row, err := scanAudit(r)
		if err != nil {
			return err
		}
		next := chained(hash, row.Entry)
		if row.Sequence != at+1 || row.Hash != next {
			return stop
		}
		at, hash = row.Sequence, next
		return nil
	})
	switch {
	case errors.Is(err, stop):
		return at + 1, int(at), nil
	case err != nil:
		return 0, int(at), say("check the trail", err)
	case at != end || hash != want:
		return at + 1, int(at), nil
	}
	return 0, int(at), nil
}
