package records

import (
	"context"
	"encoding/hex"
	"fmt"

	"github.com/elicence/elicence/storage/envelope"
)

// keyVersion is the version of a licence's data key. Rewrapping does not change it: the data key stays the same.
const keyVersion = 1

// Where personal values belong. row is the licence's id.
func requestPlace(row string, v uint32) envelope.Place {
	return envelope.Place{Table: "contents", Column: "request", Row: row, KeyVersion: v}
}

func seedPlace(row string, v uint32) envelope.Place {
	return envelope.Place{Table: "contents", Column: "seed", Row: row, KeyVersion: v}
}

func credentialPlace(row string, v uint32) envelope.Place {
	return envelope.Place{Table: "signatures", Column: "credential", Row: row, KeyVersion: v}
}

func notePlace(row string, event [32]byte, v uint32) envelope.Place {
	return envelope.Place{Table: "notes", Column: "text", Row: row + "/" + hex.EncodeToString(event[:]), KeyVersion: v}
}

// dataKey unwraps a licence's own key.
func (db *DB) dataKey(ctx context.Context, id string, wrapped []byte) (*envelope.DataKey, error) {
	if db.options.KEK == nil {
		return nil, fmt.Errorf("%w: no wrapping key was given", ErrSealed)
	}
	k, err := envelope.UnwrapKey(ctx, db.options.KEK, id, wrapped)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSealed, err)
	}
	return k, nil
}

// dataKeyOf unwraps the key of a licence that is recorded already.
func (db *DB) dataKeyOf(ctx context.Context, licenceID string) (*envelope.DataKey, uint32, error) {
	var wrapped []byte
	var id string
	var v uint32
	err := db.row(ctx, `SELECT data_key, data_key_id, key_version FROM licences WHERE id = $1`, licenceID).Scan(&wrapped, &id, &v)
	if err != nil {
		return nil, 0, absent(err, "licence "+licenceID)
	}
	if len(wrapped) == 0 {
		return nil, 0, fmt.Errorf("%w: licence %s", ErrErased, licenceID)
	}
	k, err := db.dataKey(ctx, id, wrapped)
	return k, v, err
}

func (db *DB) seal(k *envelope.DataKey, p envelope.Place, plain []byte) ([]byte, error) {
	b, err := envelope.SealColumn(k, db.options.Random, p, plain)
	if err != nil {
		return nil, fmt.Errorf("records: %w", err)
	}
	return b, nil
}

func open(k *envelope.DataKey, p envelope.Place, sealed []byte) ([]byte, error) {
	b, err := envelope.OpenColumn(k, p, sealed)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSealed, err)
	}
	return b, nil
}

// searchColumn is the tag column of a search field.
func searchColumn(field string) string { return "search." + field }
