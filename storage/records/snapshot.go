package records

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"github.com/elicence/elicence/issuing"
)

// ErrServer says that a database server is copied by its own tools, which know how to do that while it works.
var ErrServer = errors.New("records: 数据库服务器须用其自身的工具备份 / a database server is backed up with its own tools")

// Snapshot writes the records as they are at one moment into a new file, while others read and write, and returns when
// that is durable and was checked page by page. What was overwritten or freed is not in it. The write-ahead log grows for
// as long as it takes. to must not be there. ErrServer for records on a server.
func (db *DB) Snapshot(ctx context.Context, to string) (err error) {
	if db.shared() {
		return ErrServer
	}
	// Not one of the readers: these may not even write elsewhere.
	from := (&url.URL{Scheme: "file", Path: db.path, RawQuery: url.Values{"mode": {"ro"}, "_pragma": {"busy_timeout(10000)"}}.Encode()}).String()
	beside, err := sql.Open("sqlite", from)
	if err != nil {
		return fmt.Errorf("records: %w", err)
	}
	defer func() { err = errors.Join(err, beside.Close()) }()
	if _, err := beside.ExecContext(ctx, `VACUUM INTO $1`, to); err != nil {
		return say("copy the records", err)
	}
	f, err := os.OpenFile(to, os.O_RDWR, 0)
	if err != nil {
		return say("copy the records", err)
	}
	if err := errors.Join(f.Chmod(0o600), f.Sync(), f.Close(), syncFolder(filepath.Dir(to))); err != nil {
		return say("copy the records", err)
	}
	return checkFile(ctx, to)
}

// checkFile has the engine look at every page of a file that nobody has open.
func checkFile(ctx context.Context, path string) (err error) {
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: path, RawQuery: "mode=ro"}).String())
	if err != nil {
		return fmt.Errorf("records: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var said string
	if err := db.QueryRowContext(ctx, `PRAGMA integrity_check`).Scan(&said); err != nil {
		return say("check the copy", err)
	}
	if said != "ok" {
		return fmt.Errorf("records: the copy is damaged: %s", said)
	}
	return nil
}

// StoredPart is where one part of a licence lies.
type StoredPart struct {
	LicenceID, Number, Part string
	Address                 string // object key
	Stage                   issuing.Stage
	KeyID                   string
	Erased                  bool
}

// StoredParts calls each with every part that was signed here, in the order of the licences. One statement, hence one
// snapshot; it opens nothing personal.
func (db *DB) StoredParts(ctx context.Context, each func(StoredPart) error) error {
	rows, err := db.rows(ctx, `SELECT l.id, l.number, p.part, p.address, l.stage, l.data_key_id, LENGTH(l.data_key) FROM licences l
		JOIN parts p ON p.licence = l.ordinal ORDER BY l.ordinal, p.position`)
	if err != nil {
		return say("list parts", err)
	}
	var stopped error
	err = collect(rows, func(r row) error {
		var p StoredPart
		var left int
		if err := r.Scan(&p.LicenceID, &p.Number, &p.Part, &p.Address, &p.Stage, &p.KeyID, &left); err != nil {
			return err
		}
		p.Erased = left == 0
		stopped = each(p)
		return stopped
	})
	if stopped != nil {
		return stopped
	}
	return say("list parts", err)
}

const reconcileMark = "reconcile"

// MarkRestored says that these records were put back from a copy: nothing may be written by them until they were
// reconciled. why is words.
func (db *DB) MarkRestored(ctx context.Context, why string) error {
	return db.write(ctx, func(ctx context.Context, s *session) error {
		return setValue(ctx, s, reconcileMark, []byte(why))
	})
}

// Restored returns the words of MarkRestored, "" when the records may be written.
func (db *DB) Restored(ctx context.Context) (string, error) {
	var why []byte
	err := db.row(ctx, `SELECT value FROM installation WHERE name = '`+reconcileMark+`'`).Scan(&why)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return string(why), say("read the mark of a restore", err)
}

// MarkReconciled takes the mark away.
func (db *DB) MarkReconciled(ctx context.Context) error {
	return db.write(ctx, func(ctx context.Context, s *session) error {
		return s.later(ctx, `DELETE FROM installation WHERE name IN ('`+reconcileMark+`', '`+burnMark+`')`)
	})
}

const burnMark = "reconcile-burn"

// BurntPile are numbers of one pile that are to be spoiled because somebody may have them.
type BurntPile struct {
	Issuer  string   `json:"issuer"`
	Type    string   `json:"type"`
	Numbers []string `json:"numbers"`
}

// DecideBurn keeps what is to be burnt, until MarkReconciled.
func (db *DB) DecideBurn(ctx context.Context, list []BurntPile) error {
	b, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("records: %w", err)
	}
	return db.write(ctx, func(ctx context.Context, s *session) error { return setValue(ctx, s, burnMark, b) })
}

// ToBurn is what an earlier run has decided; decided is false if none has.
func (db *DB) ToBurn(ctx context.Context) (list []BurntPile, decided bool, err error) {
	var b []byte
	err = db.row(ctx, `SELECT value FROM installation WHERE name = '`+burnMark+`'`).Scan(&b)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, false, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &list)
	}
	return list, err == nil, say("read what is to be burnt", err)
}
