package records

import (
	"context"
	"fmt"

	"github.com/elicence/elicence/audit"
	"github.com/elicence/elicence/storage/envelope"
)

// wrappedKey is one licence's data key as it lies in the records. The keys/ object holds the same.
type wrappedKey struct {
	licence string // id
	id      string // names the keys/ object
	wrapped []byte
}

// rewrapGroup is how many data keys one transaction rewraps.
const rewrapGroup = 256

// Rewrap moves every data key and the index key to another key-encryption key; what they encrypt stays as it is. each is
// called, outside of any transaction, for every key after its rewrapped form is durable, so that the keys/ object can be
// replaced; its error stops the rotation. A rotation that was interrupted is begun again from the start, with records
// opened by envelope.Either(to, former). It returns how many data keys it went through.
func (db *DB) Rewrap(ctx context.Context, to envelope.KEK, who audit.Entry, each func(licenceID, keyID string, wrapped []byte) error) (int, error) {
	if db.writer == nil {
		return 0, ErrReadOnly
	}
	if db.options.KEK == nil {
		return 0, fmt.Errorf("%w: no wrapping key was given", ErrSealed)
	}
	done := 0
	for after := int64(0); ; {
		keys, last, err := db.keysAfter(ctx, after)
		if err != nil {
			return done, err
		}
		if len(keys) == 0 {
			return done, db.rewrapIndex(ctx, to, who)
		}
		fresh := make([]wrappedKey, len(keys))
		for i, k := range keys {
			fresh[i] = k
			if fresh[i].wrapped, err = envelope.Rewrap(ctx, db.options.KEK, to, k.id, k.wrapped); err != nil {
				return done, fmt.Errorf("%w: licence %s: %w", ErrSealed, k.licence, err)
			}
		}
		err = db.write(ctx, func(ctx context.Context, s *session) error {
			for i, k := range fresh {
				// Compare and set: a licence that was erased meanwhile stays erased.
				if err := s.later(ctx, `UPDATE licences SET data_key = $1 WHERE id = $2 AND data_key = $3`,
					k.wrapped, k.licence, keys[i].wrapped); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return done, err
		}
		for _, k := range fresh {
			if err := each(k.licence, k.id, k.wrapped); err != nil {
				return done, err
			}
			done++
		}
		after = last
	}
}

func (db *DB) keysAfter(ctx context.Context, after int64) (keys []wrappedKey, last int64, err error) {
	rows, err := db.rows(ctx, `SELECT ordinal, id, data_key_id, data_key FROM licences
		WHERE ordinal > $1 AND LENGTH(data_key) > 0 ORDER BY ordinal LIMIT $2`, after, rewrapGroup)
	if err != nil {
		return nil, 0, say("read data keys", err)
	}
	err = collect(rows, func(r row) error {
		var k wrappedKey
		if err := r.Scan(&last, &k.licence, &k.id, &k.wrapped); err != nil {
			return err
		}
		keys = append(keys, k)
		return nil
	})
	return keys, last, say("read data keys", err)
}

// rewrapIndex comes last: only when it is done do the records open with the new key alone.
func (db *DB) rewrapIndex(ctx context.Context, to envelope.KEK, who audit.Entry) error {
	var wrapped []byte
	if err := db.row(ctx, readIndexKey).Scan(&wrapped); err != nil {
		return say("read the index key", err)
	}
	wrapped, err := envelope.RewrapIndex(ctx, db.options.KEK, to, wrapped)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrSealed, err)
	}
	return db.write(ctx, func(ctx context.Context, s *session) error {
		if err := s.later(ctx, `UPDATE installation SET value = $1 WHERE name = 'index-key'`, wrapped); err != nil {
			return err
		}
		return record(ctx, s, who)
	})
}

// Erase destroys what makes a licence personal: its wrapped data key, the sealed columns, salts and notes, and its search
// tags. Number, digests, events and audit rows stay: they name nobody. The caller deletes the keys/ object first, whose
// id is returned, and erases again after any restore. An erased licence is read with empty Request, Seed and Credential.
// The same again is no error. licence.ErrNotFound.
func (db *DB) Erase(ctx context.Context, licenceID string, who audit.Entry) (keyID string, err error) {
	err = db.write(ctx, func(ctx context.Context, s *session) error {
		var ordinal int64
		var left int
		err := s.scan(ctx, `SELECT ordinal, data_key_id, LENGTH(data_key) FROM licences WHERE id = $1`, []any{licenceID}, &ordinal, &keyID, &left)
		if err != nil {
			return absent(err, "licence "+licenceID)
		}
		if left == 0 {
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
		return record(ctx, s, who)
	})
	if err != nil {
		return "", err
	}
	return keyID, say("erase", db.engine.forget(ctx))
}
