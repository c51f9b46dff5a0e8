package records

import "context"

// Unsealed counts the audit rows that wait to be chained; those that readers have spooled are not among them yet.
func (db *DB) Unsealed(ctx context.Context) (int, error) {
	var n int
	err := db.row(ctx, `SELECT COUNT(*) FROM audit WHERE sequence IS NULL`).Scan(&n)
	return n, say("count audit rows", err)
}
