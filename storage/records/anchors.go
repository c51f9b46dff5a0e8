package records

import (
	"context"
)

// HeldAnchors walks the chain of the audit trail from its first row and returns how many of heads, in their order, it has
// passed through. Less than all: what was once the head of the chain is no longer in it.
func (db *DB) HeldAnchors(ctx context.Context, heads [][32]byte) (held int, err error) {
	rows, err := db.rows(ctx, `SELECT hash FROM audit WHERE sequence IS NOT NULL ORDER BY sequence`)
	if err != nil {
		return 0, say("walk the trail", err)
	}
	err = collect(rows, func(r row) error {
		var b []byte
		if err := r.Scan(&b); err != nil {
			return err
		}
		for held < len(heads) && string(b) == string(heads[held][:]) {
			held++
		}
		return nil
	})
	return held, say("walk the trail", err)
}
