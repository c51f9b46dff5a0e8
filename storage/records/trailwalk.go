package records

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/elicence/elicence/audit"
)

// TrailRow is one row of the audit trail as a list shows it.
type TrailRow struct {
	audit.Link
	Number string // of the licence, "" when none is concerned
}

// TrailFilter narrows a list of audit rows; empty fields do not.
type TrailFilter struct {
	Licence              string // id
	Organisation, Person string // Person alone is any organisation's person of this id
	What                 string
	Since, Until         time.Time // Until is not included
	Limit                int
}

// Trail lists audit rows by time, the newest Limit of them, oldest first. Rows that readers have spooled come when the
// next writer has taken them in.
func (db *DB) Trail(ctx context.Context, f TrailFilter) ([]TrailRow, error) {
	where, args := "", []any{}
	and := func(condition string, value any) {
		args = append(args, value)
		join := " AND "
		if where == "" {
			join = " WHERE "
		}
		where += join + fmt.Sprintf(condition, len(args))
	}
	if f.Licence != "" {
		and("a.licence <> '' AND a.licence = $%d", f.Licence)
	}
	if f.Person != "" {
		and("a.person = $%d", f.Person)
	}
	if f.Organisation != "" {
		and("a.issuer = $%d", f.Organisation)
	}
	if f.What != "" {
		and("a.what = $%d", f.What)
	}
	if !f.Since.IsZero() {
		and("a.at >= $%d", micro(f.Since))
	}
	if !f.Until.IsZero() {
		and("a.at < $%d", micro(f.Until))
	}
	args = append(args, f.Limit)
	rows, err := db.rows(ctx, `SELECT a.ordinal, a.sequence, a.hash, a.issuer, a.at, a.person, a.what, a.why, a.whence, a.licence, a.fields,
		COALESCE((SELECT l.number FROM licences l WHERE l.id = a.licence), '') FROM audit a`+where+
		fmt.Sprintf(` ORDER BY a.at DESC, a.ordinal DESC LIMIT $%d`, len(args)), args...)
	if err != nil {
		return nil, say("read the trail", err)
	}
	var found []TrailRow
	err = collect(rows, func(r row) error {
		var number string
		row, err := scanAudit(r, &number)
		found = append(found, TrailRow{row.Link, number})
		return err
	})
	for a, b := 0, len(found)-1; a < b; a, b = a+1, b-1 {
		found[a], found[b] = found[b], found[a]
	}
	return found, say("read the trail", err)
}

// Sealed calls each with every row of the chain from sequence from on, in the order of the chain as it is recorded. Its
// error ends the walk and is returned. One statement, hence one snapshot.
func (db *DB) Sealed(ctx context.Context, from uint64, each func(audit.Link) error) error {
	rows, err := db.rows(ctx, auditColumns+`WHERE sequence IS NOT NULL AND sequence >= $1 ORDER BY sequence`, int64(from))
	if err != nil {
		return say("walk the trail", err)
	}
	var stopped error
	err = collect(rows, func(r row) error {
		row, err := scanAudit(r)
		if err == nil {
			stopped = each(row.Link)
			err = stopped
		}
		return err
	})
	if stopped != nil {
		return stopped
	}
	return say("walk the trail", err)
}

// TrailHead is the end of the chain as it is recorded apart from the rows, and how many rows wait to be sealed.
func (db *DB) TrailHead(ctx context.Context) (sequence uint64, hash [32]byte, unsealed int, err error) {
	var stored []byte
	switch err := db.row(ctx, readHead).Scan(&stored); {
	case errors.Is(err, sql.ErrNoRows):
	case err != nil:
		return 0, hash, 0, say("read the trail's head", err)
	default:
		if sequence, hash, err = parseHead(stored); err != nil {
			return 0, hash, 0, say("read the trail's head", err)
		}
	}
	err = db.row(ctx, `SELECT COUNT(*) FROM audit WHERE sequence IS NULL`).Scan(&unsealed)
	return sequence, hash, unsealed, say("read the trail's head", err)
}

// Chained is the hash of the row that follows previous in the chain.
func Chained(previous [32]byte, e audit.Entry) [32]byte { return chained(previous, e) }

// Spooled are the rows of readers that no writer has taken in yet. Lines that are no row are left out.
func (db *DB) Spooled() ([]audit.Entry, error) {
	f, err := os.Open(db.spoolPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, say("read the audit spool", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(make([]byte, 0, 4096), maxSpoolLine)
	var entries []audit.Entry
	for lines.Scan() {
		var one spooled
		if err := json.Unmarshal(lines.Bytes(), &one); err == nil && one.ID != "" {
			entries = append(entries, one.Entry)
		}
	}
	return entries, say("read the audit spool", lines.Err())
}
