package records

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/elicence/elicence/audit"
	"github.com/elicence/elicence/due"
	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/licence"
)

// takeBack undoes what a refused event had changed beside its own row, in the transaction that marks it: the licence gets
// the status that its remaining events say. The audit row names kind and rule.
func takeBack(ctx context.Context, s *session, a issuing.Answer) error {
	var ordinal int64
	var id, kind, actor string
	err := s.scan(ctx, `SELECT l.ordinal, l.id, e.kind, e.actor FROM events e JOIN licences l ON l.ordinal = e.licence
		WHERE e.hash = $1`+s.sql.lockLicence, []any{a.Hash[:]}, &ordinal, &id, &kind, &actor)
	if err != nil {
		return err
	}
	if statusAfter(kind) != issuing.InForce {
		if err := restoreStatus(ctx, s, ordinal); err != nil {
			return err
		}
		if err := wake(ctx, s, due.UpkeepStatus, a.At); err != nil {
			return err
		}
	}
	return record(ctx, s, audit.Entry{
		At: a.At, Organisation: actor, What: "refused", Why: kind + ": " + a.Refusal, From: "ledger", Licence: id,
	})
}

// statusAfter is the status that an event of this kind gives.
func statusAfter(kind string) issuing.Status {
	switch contract.Kind(kind) {
	case contract.Revoked:
		return issuing.Revoked
	case contract.Superseded:
		return issuing.Superseded
	}
	return issuing.InForce
}

// restoreStatus reads the status off the events that were not refused. Of those that end a licence there is one at most:
// nobody ends what has ended.
func restoreStatus(ctx context.Context, s *session, ordinal int64) error {
	var kind string
	var at int64
	err := s.scan(ctx, `SELECT kind, at FROM events WHERE licence = $1 AND refusal = '' AND kind IN ('revoked', 'superseded')
		ORDER BY sequence DESC LIMIT 1`, []any{ordinal}, &kind, &at)
	if errors.Is(err, sql.ErrNoRows) {
		// In force since its issue, which is its first event, as before.
		kind = string(contract.Issued)
		err = s.scan(ctx, `SELECT at FROM events WHERE licence = $1 AND refusal = '' ORDER BY sequence LIMIT 1`, []any{ordinal}, &at)
	}
	if errors.Is(err, sql.ErrNoRows) { // all of them were refused
		err = s.scan(ctx, `SELECT at FROM events WHERE licence = $1 AND refusal <> '' ORDER BY ordinal LIMIT 1`, []any{ordinal}, &at)
	}
	if err != nil {
		return err
	}
	status := statusAfter(kind)
	return s.later(ctx, `UPDATE licences SET status = $1, status_at = $2,
		replaced_by = CASE WHEN $1 = $3 THEN replaced_by ELSE '' END WHERE ordinal = $4 AND status <> $1`,
		int(status), at, int(issuing.Superseded), ordinal)
}

// standsIssued is a condition on licences n: issued, not revoked, and the ledger has not refused the issue.
const standsIssued = `n.stage = 3 AND n.status <> 1 AND EXISTS (SELECT 1 FROM events x WHERE x.licence = n.ordinal AND x.refusal = '')`

// Refused implements issuing.Journal.
func (db *DB) Refused(ctx context.Context, limit int) ([]issuing.RefusedStep, error) {
	rows, err := db.rows(ctx, `SELECT l.number, l.issuer, l.status, e.kind, e.refusal, e.at, e.actor,
		COALESCE((SELECT n.number FROM licences n WHERE n.replaces = l.number AND n.replaces <> '' AND `+standsIssued+` LIMIT 1), '')
		FROM events e JOIN licences l ON l.ordinal = e.licence WHERE e.refusal <> '' ORDER BY e.ordinal DESC LIMIT $1`, limit)
	if err != nil {
		return nil, say("list what was refused", err)
	}
	var refused []issuing.RefusedStep
	err = collect(rows, func(r row) error {
		var one issuing.RefusedStep
		var at int64
		if err := r.Scan(&one.Number, &one.Issuer, &one.Status, &one.Kind, &one.Rule, &at, &one.Actor, &one.Successor); err != nil {
			return err
		}
		one.At = fromMicro(at)
		refused = append(refused, one)
		return nil
	})
	return refused, say("list what was refused", err)
}

// noSuccessor holds a licence to having one successor: unfinished, parked or issued. One that was revoked, or whose issue
// the ledger refused, stands in nobody's way.
func noSuccessor(ctx context.Context, s *session, replaces string) error {
	if replaces == "" {
		return nil
	}
	// Two successors that begin at once take turns here.
	if s.sql.lock != "" {
		var old int64
		err := s.scan(ctx, `SELECT ordinal FROM licences WHERE number = $1`+s.sql.lock, []any{replaces}, &old)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
	}
	var other string
	err := s.scan(ctx, `SELECT n.number FROM licences n WHERE n.replaces = $1 AND n.replaces <> '' AND (n.stage <> 3 OR `+standsIssued+`) LIMIT 1`,
		[]any{replaces}, &other)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("%w: licence %s is being replaced, or was, by %s: 一份证照只能被代替一次 / a licence is replaced once",
		licence.ErrConflict, replaces, other)
}
