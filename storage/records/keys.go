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
// called, outside of any transaction, for every licence with a key after its rewrapped form is durable, so that the keys/
// object can be replaced; its error stops the rotation. A rotation that was interrupted is begun again from the start, with
// records opened by envelope.Either(to, former): what to opens already is not wrapped again, and each is called for it all
// the same. Licences may be issued and erased meanwhile. It returns how many data keys it went through.
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
		held, err := db.rewrapSome(ctx, to, keys)
		if err != nil {
			return done, err
		}
		for _, k := range held {
			if err := each(k.licence, k.id, k.wrapped); err != nil {
				return done, err
			}
			done++
		}
		after = last
	}
}

// rewrapSome rewraps a group in one transaction and returns the keys that the records hold now, without those of
// licences that were erased meanwhile.
func (db *DB) rewrapSome(ctx context.Context, to envelope.KEK, keys []wrappedKey) ([]wrappedKey, error) {
	fresh := make([]wrappedKey, len(keys))
	pending := false
	for i, k := range keys {
		fresh[i] = k
		if _, err := envelope.UnwrapKey(ctx, to, k.id, k.wrapped); err == nil {
			continue
		}
		var err error
		if fresh[i].wrapped, err = envelope.Rewrap(ctx, db.options.KEK, to, k.id, k.wrapped); err != nil {
			return nil, fmt.Errorf("%w: licence %s: %w", ErrSealed, k.licence, err)
		}
		pending = true
	}
	if !pending {
		return fresh, nil
	}
	var held []wrappedKey
	err := db.write(ctx, func(ctx context.Context, s *session) error {
		held = held[:0]
		for i, k := range fresh {
			// Compare and set: a licence that was erased meanwhile stays erased.
			n, err := s.exec(ctx, `UPDATE licences SET data_key = $1 WHERE id = $2 AND data_key = $3`, k.wrapped, k.licence, keys[i].wrapped)
			if err != nil {
				return err
			}
			if n == 1 {
				held = append(held, k)
			}
		}
		return nil
	})
	return held, err
}

// KeyCount is how many licences have a data key, which those that were erased have not.
func (db *DB) KeyCount(ctx context.Context) (n int, err error) {
	err = db.row(ctx, `SELECT COUNT(*) FROM licences WHERE LENGTH(data_key) > 0`).Scan(&n)
	return n, say("count data keys", err)
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
	if _, err := envelope.OpenIndex(ctx, to, wrapped); err != nil {
		if wrapped, err = envelope.RewrapIndex(ctx, db.options.KEK, to, wrapped); err != nil {
			return fmt.Errorf("%w: %w", ErrSealed, err)
		}
	}
	return db.write(ctx, func(ctx context.Context, s *session) error {
		if err := s.later(ctx, `UPDATE installation SET value = $1 WHERE name = 'index-key'`, wrapped); err != nil {
			return err
		}
		return record(ctx, s, who)
	})
}
