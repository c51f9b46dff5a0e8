package records

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/licence"
)

// read returns the licences that where selects from licences l, in the order of their creation, each with its parts:
// one statement, hence one snapshot.
func (db *DB) read(ctx context.Context, where string, args ...any) ([]issuing.Licence, error) {
	rows, err := db.rows(ctx, `SELECT l.id, l.issuer, l.stage, l.epoch, l.status, l.status_at, l.replaced_by, l.park_reason,
		l.number, l.identifier, l.serial, l.type, l.kind, l.business_id, l.replaces, l.status_index, l.issue_time, l.data_key,
		l.data_key_id, l.key_version, l.request_digest,
		c.issuer_name, c.issuer_region, c.type_version, c.request, c.seed, c.clerk, c.approver, c.handle, c.signing_time,
		c.document_key, c.event_key, c.parts, c.format_version, c.specimen, c.warnings, c.created,
		s.credential, s.abandoned, p.part, p.rs, p.sm3, p.size, p.address, p.nonce
		FROM (SELECT * FROM licences l `+where+`) l
		JOIN contents c ON c.licence = l.ordinal
		LEFT JOIN signatures s ON s.licence = l.ordinal
		LEFT JOIN parts p ON p.licence = l.ordinal
		ORDER BY l.ordinal, p.position`, args...)
	if err != nil {
		return nil, say("read licences", err)
	}
	var found []sealedLicence
	err = collect(rows, func(r row) error {
		var one sealedLicence
		if err := one.scan(r); err != nil {
			return err
		}
		if n := len(found); n > 0 && found[n-1].ID == one.ID {
			found[n-1].Signatures.Parts = append(found[n-1].Signatures.Parts, one.Signatures.Parts...)
		} else {
			found = append(found, one)
		}
		return nil
	})
	if err != nil {
		return nil, say("read licences", err)
	}
	opened := make([]issuing.Licence, len(found))
	for i := range found {
		if opened[i], err = db.unseal(ctx, &found[i]); err != nil {
			return nil, fmt.Errorf("licence %s: %w", found[i].Number, err)
		}
	}
	return opened, nil
}

// sealedLicence is a licence as its rows say it.
type sealedLicence struct {
	issuing.Licence
	keyVersion                uint32
	request, seed, credential []byte
}

func (l *sealedLicence) scan(r row) error {
	var serial, statusIndex, statusAt, issueTime, signingTime, created int64
	var requestDigest, handle, documentKey, eventKey, rs, sum, nonce []byte
	var parts, warnings string
	var abandoned, part, address sql.NullString
	var size sql.NullInt64
	err := r.Scan(&l.ID, &l.Issuer, &l.Stage, &l.Epoch, &l.Status, &statusAt, &l.ReplacedBy, &l.ParkReason,
		&l.Number, &l.Identifier, &serial, &l.Type, &l.Kind, &l.BusinessID, &l.Replaces, &statusIndex, &issueTime, &l.DataKey,
		&l.DataKeyID, &l.keyVersion, &requestDigest,
		&l.IssuerName, &l.IssuerRegion, &l.TypeVersion, &l.request, &l.seed, &l.Clerk, &l.Approver, &handle, &signingTime,
		&documentKey, &eventKey, &parts, &l.FormatVersion, &l.Specimen, &warnings, &created,
		&l.credential, &abandoned, &part, &rs, &sum, &size, &address, &nonce)
	if err != nil {
		return err
	}
	l.Serial, l.StatusIndex = uint64(serial), uint64(statusIndex)
	l.StatusAt, l.IssueTime, l.SigningTime, l.Created = fromMicro(statusAt), fromMicro(issueTime), fromMicro(signingTime), fromMicro(created)
	l.Parts, l.Warnings, l.Signatures.Abandoned = unwords(parts), unwords(warnings), unwords(abandoned.String)
	err = errors.Join(digest(&l.RequestDigest, requestDigest), digest(&l.Handle, handle), digest(&l.DocumentKey, documentKey),
		digest(&l.EventKey, eventKey))
	if part.Valid {
		p := issuing.PartSignature{Part: part.String, RS: rs, Size: size.Int64, Address: address.String, Nonce: nonce}
		err = errors.Join(err, digest(&p.SM3, sum))
		l.Signatures.Parts = []issuing.PartSignature{p}
	}
	return err
}

// unseal opens the personal columns; those of an erased licence stay empty.
func (db *DB) unseal(ctx context.Context, l *sealedLicence) (issuing.Licence, error) {
	if len(l.DataKey) == 0 {
		return l.Licence, nil
	}
	k, err := db.dataKey(ctx, l.DataKeyID, l.DataKey)
	if err != nil {
		return issuing.Licence{}, err
	}
	if l.Request, err = open(k, requestPlace(l.ID, l.keyVersion), l.request); err != nil {
		return issuing.Licence{}, err
	}
	seed, err := open(k, seedPlace(l.ID, l.keyVersion), l.seed)
	if err != nil {
		return issuing.Licence{}, err
	}
	if err := digest(&l.Seed, seed); err != nil {
		return issuing.Licence{}, say("read the seed", err)
	}
	if l.credential != nil {
		if l.Signatures.Credential, err = open(k, credentialPlace(l.ID, l.keyVersion), l.credential); err != nil {
			return issuing.Licence{}, err
		}
	}
	return l.Licence, nil
}

func (db *DB) one(ctx context.Context, what, where string, args ...any) (issuing.Licence, error) {
	found, err := db.read(ctx, where, args...)
	if err != nil {
		return issuing.Licence{}, err
	}
	if len(found) == 0 {
		return issuing.Licence{}, fmt.Errorf("%w: %s", licence.ErrNotFound, what)
	}
	return found[0], nil
}

// ByID implements issuing.Lookup.
func (db *DB) ByID(ctx context.Context, id string) (issuing.Licence, error) {
	return db.one(ctx, "licence "+id, `WHERE l.id = $1`, id)
}

// ByNumber implements issuing.Lookup.
func (db *DB) ByNumber(ctx context.Context, number string) (issuing.Licence, error) {
	return db.one(ctx, "licence of this number", `WHERE l.number = $1`, number)
}

// ByIdentifier implements issuing.Lookup.
func (db *DB) ByIdentifier(ctx context.Context, identifier string) (issuing.Licence, error) {
	return db.one(ctx, "licence of this identifier", `WHERE l.identifier = $1`, identifier)
}

// ByBusinessID implements issuing.Lookup; an empty issuer is any.
func (db *DB) ByBusinessID(ctx context.Context, issuer, businessID string) ([]issuing.Licence, error) {
	if issuer == "" {
		return db.read(ctx, `WHERE l.business_id = $1`, businessID)
	}
	return db.read(ctx, `WHERE l.business_id = $1 AND l.issuer = $2`, businessID, issuer)
}

// Search implements issuing.Lookup.
func (db *DB) Search(ctx context.Context, field, value string) ([]issuing.Licence, error) {
	if db.index == nil {
		return nil, fmt.Errorf("%w: no wrapping key was given", ErrSealed)
	}
	tag := db.index.Tag(searchColumn(field), value)
	return db.read(ctx, `WHERE l.ordinal IN (SELECT licence FROM search_tags WHERE field = $1 AND tag = $2)`, field, tag[:])
}

// Hit is a licence that a search has found, and the first of the fields that it was found by.
type Hit struct {
	Field   string
	Licence issuing.Licence
}

// SearchAny is Search in several fields at once: one question, however many there are, and another one only if something was
// found. Hits come in the order of the fields, each licence once.
func (db *DB) SearchAny(ctx context.Context, fields []string, value string) ([]Hit, error) {
	if db.index == nil {
		return nil, fmt.Errorf("%w: no wrapping key was given", ErrSealed)
	}
	if len(fields) == 0 {
		return nil, nil
	}
	args := make([]any, 0, 2*len(fields))
	each, in := make([]string, len(fields)), make([]string, len(fields))
	for n, field := range fields {
		tag := db.index.Tag(searchColumn(field), value)
		args = append(args, field, tag[:])
		where := fmt.Sprintf(`FROM search_tags WHERE field = $%d AND tag = $%d`, 2*n+1, 2*n+2)
		each[n], in[n] = `SELECT field, licence `+where, `SELECT licence `+where
	}
	rows, err := db.rows(ctx, `SELECT t.field, l.id FROM (`+strings.Join(each, " UNION ALL ")+`) t JOIN licences l ON l.ordinal = t.licence`, args...)
	if err != nil {
		return nil, say("search", err)
	}
	by := map[string]int{} // id → place of the first field
	err = collect(rows, func(r row) error {
		var field, id string
		if err := r.Scan(&field, &id); err != nil {
			return err
		}
		if place := slices.Index(fields, field); place >= 0 {
			if first, seen := by[id]; !seen || place < first {
				by[id] = place
			}
		}
		return nil
	})
	if err != nil || len(by) == 0 {
		return nil, say("search", err)
	}
	found, err := db.read(ctx, `WHERE l.ordinal IN (`+strings.Join(in, " UNION ALL ")+`)`, args...)
	if err != nil {
		return nil, err
	}
	var hits []Hit
	for _, l := range found {
		if place, ok := by[l.ID]; ok { // not one that was found in between
			hits = append(hits, Hit{fields[place], l})
		}
	}
	slices.SortStableFunc(hits, func(a, b Hit) int { return by[a.Licence.ID] - by[b.Licence.ID] })
	return hits, nil
}

// List implements issuing.Lookup. licence.ErrNotFound if after names no licence.
func (db *DB) List(ctx context.Context, f issuing.Filter, after string, limit int) ([]issuing.Licence, error) {
	var from int64
	if after != "" {
		if err := db.row(ctx, `SELECT ordinal FROM licences WHERE id = $1`, after).Scan(&from); err != nil {
			return nil, absent(err, "licence "+after)
		}
	}
	where := []string{"l.ordinal > $1"}
	args := []any{from}
	and := func(column string, value any) {
		args = append(args, value)
		where = append(where, fmt.Sprintf("%s = $%d", column, len(args)))
	}
	if f.Issuer != "" {
		and("l.issuer", f.Issuer)
	}
	if f.Kind != "" {
		and("l.kind", f.Kind)
	}
	// What is rare has an index of its own, which the database sees only in words and not in arguments.
	switch f.Stage {
	case issuing.StageIntent, issuing.StageSigned:
		where = append(where, "l.stage IN (1, 2)")
	case issuing.StageParked:
		where = append(where, "l.stage = 4")
	}
	if f.Stage != 0 {
		and("l.stage", int(f.Stage))
	}
	if f.Status != nil {
		and("l.status", int(*f.Status))
		where = append(where, "l.stage = 3") // only what is issued has a status
		if *f.Status != issuing.InForce {
			where = append(where, "l.status <> 0")
		}
	}
	args = append(args, limit)
	return db.read(ctx, fmt.Sprintf("WHERE %s ORDER BY l.ordinal LIMIT $%d", strings.Join(where, " AND "), len(args)), args...)
}

// Counts implements issuing.Lookup.
func (db *DB) Counts(ctx context.Context) (issuing.Counts, error) {
	counts := issuing.Counts{ByStage: map[issuing.Stage]int{}, ByStatus: map[issuing.Status]int{}}
	rows, err := db.rows(ctx, `SELECT stage, status, COUNT(*) FROM licences GROUP BY stage, status`)
	if err != nil {
		return counts, say("count", err)
	}
	err = collect(rows, func(r row) error {
		var stage issuing.Stage
		var status issuing.Status
		var n int
		if err := r.Scan(&stage, &status, &n); err != nil {
			return err
		}
		counts.ByStage[stage] += n
		if stage == issuing.StageIssued {
			counts.ByStatus[status] += n
		}
		return nil
	})
	return counts, say("count", err)
}
