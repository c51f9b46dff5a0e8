package records

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/elicence/elicence/audit"
)

// Erasure is one licence whose personal data were destroyed.
type Erasure struct {
	Licence string // id
	KeyID   string // of the data key that was destroyed
	Issuer  string
	At      time.Time
	Reason  string
}

// Erase destroys what makes a licence personal: its wrapped data key, the sealed columns, salts and notes, and its search
// tags; and cancels what was still to be delivered of it. Number, digests, events and audit rows stay: they name nobody. who.Why is kept as the reason. The caller deletes
// the keys/ object afterwards, whose id is returned, so that a rotation under way cannot put it back, and erases again after
// any restore. An erased licence is read with empty Request, Seed and Credential. The same again is no error.
// licence.ErrNotFound. If the key's id comes with an error, the key is destroyed and a trace of it may be left in the
// write-ahead log: erase again.
func (db *DB) Erase(ctx context.Context, licenceID string, who audit.Entry) (keyID string, err error) {
	var id string
	l, err := db.ByID(ctx, licenceID)
	if err != nil {
		return "", err
	}
	left, err := EncodeCopy(withoutPersonal(l))
	if err != nil {
		return "", err
	}
	err = db.write(ctx, func(ctx context.Context, s *session) error {
		var ordinal int64
		var issuer string
		var size int
		// A step that is taken just now is finished before, and its delivery seen; a later one sees that there is nothing left.
		err := s.scan(ctx, `SELECT ordinal, issuer, data_key_id, LENGTH(data_key) FROM licences WHERE id = $1`+s.sql.lock, []any{licenceID},
			&ordinal, &issuer, &id, &size)
		if err != nil {
			return absent(err, "licence "+licenceID)
		}
		if err := cancelErased(ctx, s, ordinal, who); err != nil {
			return err
		}
		if size == 0 {
			return nil
		}
		for _, destroy := range []string{
			`UPDATE licences SET data_key = $2 WHERE ordinal = $1`,
			`UPDATE contents SET request = $2, seed = $2 WHERE licence = $1`,
			`UPDATE signatures SET credential = $2 WHERE licence = $1`,
			`DELETE FROM notes WHERE licence = $1 AND text <> $2`,
			`DELETE FROM search_tags WHERE licence = $1 AND tag <> $2`,
		} {
			if err := s.later(ctx, destroy, ordinal, []byte{}); err != nil {
				return err
			}
		}
		err = s.later(ctx, `INSERT INTO erasures (key_id, issuer, licence, at, reason) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (key_id) DO NOTHING`,
			id, issuer, licenceID, micro(who.At), who.Why)
		if err != nil {
			return err
		}
		// What names nobody must come back with the records, its number first of all.
		if err := act(ctx, s, issuer, actErased, erasedAct{Copy: left, At: micro(who.At), Reason: who.Why}); err != nil {
			return err
		}
		return record(ctx, s, who)
	})
	if err != nil {
		return "", err
	}
	return id, say("erase", db.engine.forget(ctx))
}

// ErasureOf returns when and why a licence was erased; found is false if it was not, or by a program that kept no note.
func (db *DB) ErasureOf(ctx context.Context, keyID string) (e Erasure, found bool, err error) {
	var at int64
	err = db.row(ctx, `SELECT key_id, issuer, licence, at, reason FROM erasures WHERE key_id = $1`, keyID).
		Scan(&e.KeyID, &e.Issuer, &e.Licence, &at, &e.Reason)
	if errors.Is(err, sql.ErrNoRows) {
		return e, false, nil
	}
	e.At = fromMicro(at)
	return e, err == nil, say("read an erasure", err)
}

// Holder is the licence that a data key belongs to; found is false if no licence here has a key of this id. erased says
// that the key itself is destroyed here.
func (db *DB) Holder(ctx context.Context, keyID string) (licenceID string, erased, found bool, err error) {
	var left int
	err = db.row(ctx, `SELECT id, LENGTH(data_key) FROM licences WHERE data_key_id = $1`, keyID).Scan(&licenceID, &left)
	if errors.Is(err, sql.ErrNoRows) {
		return "", false, false, nil
	}
	return licenceID, left == 0, err == nil, say("look for a data key", err)
}

// Erased lists the ids of the data keys that were destroyed here, in their order; after is the last one seen.
func (db *DB) Erased(ctx context.Context, after string, limit int) ([]string, error) {
	rows, err := db.rows(ctx, `SELECT key_id FROM erasures WHERE key_id > $1 ORDER BY key_id LIMIT $2`, after, limit)
	if err != nil {
		return nil, say("list erasures", err)
	}
	ids, err := texts(rows)
	return ids, say("list erasures", err)
}
