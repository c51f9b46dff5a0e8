package records

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/elicence/elicence/audit"
	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/licence"
)

// sealedContents is what Begin writes of the personal fields, made before the writer is asked: the writer waits for no
// key device.
type sealedContents struct {
	request, seed []byte
	tags          [][]any // field, tag
}

func (db *DB) sealContents(ctx context.Context, b issuing.Beginning) (sealedContents, error) {
	k, err := db.dataKey(ctx, b.DataKeyID, b.DataKey)
	if err != nil {
		return sealedContents{}, err
	}
	var c sealedContents
	if c.request, err = db.seal(k, requestPlace(b.Intent.ID, keyVersion), b.Intent.Request); err != nil {
		return c, err
	}
	if c.seed, err = db.seal(k, seedPlace(b.Intent.ID, keyVersion), b.Intent.Seed[:]); err != nil {
		return c, err
	}
	for field, value := range b.Search {
		tag := db.index.Tag(searchColumn(field), value)
		c.tags = append(c.tags, []any{field, tag[:]})
	}
	return c, nil
}

// Begin implements issuing.Claims.
func (db *DB) Begin(ctx context.Context, b issuing.Beginning) (l issuing.Licence, fresh bool, err error) {
	sealed, err := db.sealContents(ctx, b)
	if err != nil {
		return issuing.Licence{}, false, err
	}
	standing := ""
	err = db.writeFor(ctx, b.Intent.Issuer, func(ctx context.Context, s *session) error {
		l, fresh, standing = issuing.Licence{}, false, ""
		in := b.Intent
		var digest []byte
		err := s.scan(ctx, `SELECT id, request_digest FROM licences
			WHERE business_id = $1 AND issuer = $2 AND kind = $3 AND replaces = $4`,
			[]any{in.BusinessID, in.Issuer, in.Kind, in.Replaces}, &standing, &digest)
		switch {
		case err == nil && !slices.Equal(digest, in.RequestDigest[:]):
			return fmt.Errorf("%w: business id %s has a licence with other content", licence.ErrConflict, in.BusinessID)
		case err == nil:
			return nil
		case !errors.Is(err, sql.ErrNoRows):
			return err
		}
		l, err = begin(ctx, s, b, sealed)
		fresh = err == nil
		return err
	})
	if err != nil {
		return issuing.Licence{}, false, err
	}
	if !fresh {
		l, err = db.ByID(ctx, standing)
	}
	return l, fresh, err
}

// begin chooses what Begin must choose, and writes the new licence.
func begin(ctx context.Context, s *session, b issuing.Beginning, sealed sealedContents) (issuing.Licence, error) {
	in := b.Intent
	if err := noSuccessor(ctx, s, in.Replaces); err != nil {
		return issuing.Licence{}, err
	}
	// What is returned now must be what is read later: times have microseconds.
	in.IssueTime, in.SigningTime = fromMicro(micro(in.IssueTime)), fromMicro(micro(in.SigningTime))
	var serial int64
	err := s.scan(ctx, `INSERT INTO counters (issuer, name, value) VALUES ($1, 'serial', 1)
		ON CONFLICT (issuer, name) DO UPDATE SET value = counters.value + 1 RETURNING value`, []any{in.Issuer}, &serial)
	if err != nil {
		return issuing.Licence{}, err
	}
	in.Serial = uint64(serial)
	if in.Identifier, err = b.MakeIdentifier(in.Serial); err != nil {
		return issuing.Licence{}, fmt.Errorf("%w: identifier: %w", licence.ErrState, err)
	}
	if b.UseStock {
		in.Number, err = takeSheet(ctx, s, in)
	} else {
		err = numberIsFree(ctx, s, in.Number)
	}
	if err != nil {
		return issuing.Licence{}, err
	}
	if in.StatusIndex, err = statusPlace(ctx, s, b); err != nil {
		return issuing.Licence{}, err
	}
	l := issuing.Licence{
		Intent: in, Stage: issuing.StageIntent, Epoch: 1, DataKey: b.DataKey, DataKeyID: b.DataKeyID,
		Created: fromMicro(micro(b.Audit.At)),
	}
	var ordinal int64
	err = s.scan(ctx, `INSERT INTO licences (id, issuer, stage, epoch, status, status_at, replaced_by, park_reason, number,
		identifier, serial, type, kind, business_id, replaces, uses_stock, status_index, issue_time, data_key, data_key_id,
		key_version, request_digest, claimed_at)
		VALUES ($1,$2,$3,1,0,0,'','',$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18) RETURNING ordinal`,
		[]any{in.ID, in.Issuer, int(issuing.StageIntent), in.Number, in.Identifier, serial, in.Type, in.Kind, in.BusinessID,
			in.Replaces, bit(b.UseStock), int64(in.StatusIndex), micro(in.IssueTime), b.DataKey, b.DataKeyID, keyVersion,
			in.RequestDigest[:], micro(b.Audit.At)}, &ordinal)
	if err != nil {
		return issuing.Licence{}, err
	}
	err = s.later(ctx, `INSERT INTO contents (licence, issuer, issuer_name, issuer_region, type_version, request, seed, clerk,
		approver, handle, signing_time, document_key, event_key, parts, format_version, specimen, warnings, created)
		VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18)`,
		ordinal, in.Issuer, in.IssuerName, in.IssuerRegion, in.TypeVersion, sealed.request, sealed.seed, in.Clerk, in.Approver,
		in.Handle[:], micro(in.SigningTime), in.DocumentKey[:], in.EventKey[:], words(in.Parts), in.FormatVersion,
		bit(in.Specimen), words(in.Warnings), micro(b.Audit.At))
	if err != nil {
		return issuing.Licence{}, err
	}
	tags := make([][]any, len(sealed.tags))
	for i, t := range sealed.tags {
		tags[i] = []any{t[0], t[1], ordinal, in.Issuer}
	}
	if err := s.insert(ctx, `INSERT INTO search_tags (field, tag, licence, issuer)`, "", tags); err != nil {
		return issuing.Licence{}, err
	}
	return l, record(ctx, s, b.Audit)
}

// takeSheet ends the life of one sheet as stock: the one of this type that is bound to this business id, else the next
// free one of issuer and type.
func takeSheet(ctx context.Context, s *session, in issuing.Intent) (string, error) {
	var number string
	err := s.scan(ctx, `UPDATE sheets SET state = 'issued', licence = $1, used_at = $2 WHERE number = COALESCE(
		(SELECT number FROM sheets WHERE issuer = $3 AND type = $5 AND business_id = $4 AND state = 'bound' ORDER BY number LIMIT 1`+s.sql.lock+`),
		(SELECT number FROM sheets WHERE issuer = $3 AND type = $5 AND state = 'allotted' ORDER BY number LIMIT 1`+s.sql.lock+`)) RETURNING number`,
		[]any{in.ID, micro(in.IssueTime), in.Issuer, in.BusinessID, in.Type}, &number)
	if errors.Is(err, sql.ErrNoRows) {
		return "", noSheet(issuing.Pile{Issuer: in.Issuer, Type: in.Type})
	}
	return number, err
}

// numberIsFree holds the number of an earlier paper to being nobody else's.
func numberIsFree(ctx context.Context, s *session, number string) error {
	if number == "" {
		return fmt.Errorf("%w: a licence without stock needs the number of its paper", licence.ErrState)
	}
	var there int
	err := s.scan(ctx, `SELECT (SELECT COUNT(*) FROM licences WHERE number = $1) + (SELECT COUNT(*) FROM sheets WHERE number = $1)`,
		[]any{number}, &there)
	if err != nil {
		return err
	}
	if there > 0 {
		return fmt.Errorf("%w: number %s", licence.ErrConflict, number)
	}
	return nil
}

// statusTries bounds the search for a free place; with a list half full a thousand misses do not happen.
const statusTries = 1000

func statusPlace(ctx context.Context, s *session, b issuing.Beginning) (uint64, error) {
	for range statusTries {
		place, err := b.StatusPick()
		if err != nil {
			return 0, fmt.Errorf("%w: status index: %w", licence.ErrUnavailable, err)
		}
		if place >= b.StatusSpace || place > 1<<62 {
			return 0, fmt.Errorf("%w: status index %d outside the list of %d", licence.ErrState, place, b.StatusSpace)
		}
		var there int
		err = s.scan(ctx, `SELECT COUNT(*) FROM licences WHERE status_index = $1`, []any{int64(place)}, &there)
		if err != nil {
			return 0, err
		}
		if there == 0 {
			return place, nil
		}
	}
	return 0, fmt.Errorf("%w: the status list of %d places is full", licence.ErrState, b.StatusSpace)
}

// Claim implements issuing.Claims. A licence that is issued or parked comes back as it stands: there is nothing to take
// over.
func (db *DB) Claim(ctx context.Context, id string, why audit.Entry) (issuing.Licence, error) {
	var mine int64
	err := db.write(ctx, func(ctx context.Context, s *session) error {
		mine = 0
		var stage issuing.Stage
		if err := s.scan(ctx, `SELECT stage FROM licences WHERE id = $1`+s.sql.lock, []any{id}, &stage); err != nil {
			return absent(err, "licence "+id)
		}
		if stage != issuing.StageIntent && stage != issuing.StageSigned {
			return nil
		}
		if err := s.scan(ctx, `UPDATE licences SET epoch = epoch + 1, claimed_at = $2 WHERE id = $1 RETURNING epoch`, []any{id, micro(why.At)}, &mine); err != nil {
			return err
		}
		return record(ctx, s, why)
	})
	if err != nil {
		return issuing.Licence{}, err
	}
	l, err := db.ByID(ctx, id)
	if mine != 0 {
		// What is read may be of a later claim: its epoch is not this caller's, who is fenced off by then.
		l.Epoch = mine
	}
	return l, err
}

// CommitSigned implements issuing.Claims.
func (db *DB) CommitSigned(ctx context.Context, id string, epoch int64, sig issuing.Signatures) error {
	k, v, err := db.dataKeyOf(ctx, id)
	if err != nil {
		return err
	}
	credential, err := db.seal(k, credentialPlace(id, v), sig.Credential)
	if err != nil {
		return err
	}
	return db.write(ctx, func(ctx context.Context, s *session) error {
		ordinal, issuer, err := advance(ctx, s, id, epoch, "stage = 2", "stage IN (1, 2)")
		if err != nil {
			return err
		}
		if err := s.insert(ctx, `INSERT INTO signatures (licence, issuer, credential, abandoned)`,
			` ON CONFLICT (licence) DO UPDATE SET credential = excluded.credential, abandoned = excluded.abandoned`,
			[][]any{{ordinal, issuer, credential, words(sig.Abandoned)}}); err != nil {
			return err
		}
		rows := make([][]any, len(sig.Parts))
		for i, p := range sig.Parts {
			rows[i] = []any{ordinal, i, issuer, p.Part, p.RS, p.SM3[:], p.Size, p.Address, p.Nonce}
		}
		// Signing anew makes the same parts again, so that an upsert leaves none behind.
		return s.insert(ctx, `INSERT INTO parts (licence, position, issuer, part, rs, sm3, size, address, nonce)`,
			` ON CONFLICT (licence, position) DO UPDATE SET part = excluded.part, rs = excluded.rs, sm3 = excluded.sm3,
			size = excluded.size, address = excluded.address, nonce = excluded.nonce`, rows)
	})
}

// advance changes a licence whose epoch is still the caller's. set and from may use $3 and following, which are args.
func advance(ctx context.Context, s *session, id string, epoch int64, set, from string, args ...any) (ordinal int64, issuer string, err error) {
	err = s.scan(ctx, `UPDATE licences SET `+set+` WHERE id = $1 AND epoch = $2 AND `+from+` RETURNING ordinal, issuer`,
		append([]any{id, epoch}, args...), &ordinal, &issuer)
	if errors.Is(err, sql.ErrNoRows) {
		err = fmt.Errorf("%w: licence %s, epoch %d", issuing.ErrFenced, id, epoch)
	}
	return ordinal, issuer, err
}

// CommitIssued implements issuing.Claims.
func (db *DB) CommitIssued(ctx context.Context, id string, epoch int64, c issuing.Completion) error {
	var note *sealedNote
	if c.Supersedes != nil {
		var err error
		if note, err = db.sealNote(ctx, *c.Supersedes); err != nil {
			return err
		}
	}
	return db.writeEvents(ctx, func(ctx context.Context, s *session) (int64, error) {
		ordinal, issuer, err := advance(ctx, s, id, epoch, "stage = 3, status = 0, status_at = $3", "stage = 2", micro(c.At))
		if err != nil {
			return 0, err
		}
		if _, err := insertEvent(ctx, s, ordinal, issuer, c.Event); err != nil {
			return 0, err
		}
		deliveries, err := heldForPaper(ctx, s, ordinal, c.Deliveries)
		if err != nil {
			return 0, err
		}
		if err := insertDeliveries(ctx, s, ordinal, issuer, c.Event, deliveries, false); err != nil {
			return 0, err
		}
		newest := micro(c.Event.At)
		if c.Supersedes != nil {
			if err := appendStep(ctx, s, *c.Supersedes, note); err != nil {
				return 0, err
			}
			newest = max(newest, micro(c.Supersedes.Event.At))
		}
		return newest, record(ctx, s, c.Audit)
	})
}

// Park implements issuing.Claims.
func (db *DB) Park(ctx context.Context, id string, epoch int64, reason string) error {
	return db.write(ctx, func(ctx context.Context, s *session) error {
		_, _, err := advance(ctx, s, id, epoch, "stage = 4, park_reason = $3", "stage IN (1, 2)", reason)
		return err
	})
}

// Unpark implements issuing.Claims. What is recorded of the licence tells how far it had come.
func (db *DB) Unpark(ctx context.Context, id string, why audit.Entry) (issuing.Licence, error) {
	var mine int64
	err := db.write(ctx, func(ctx context.Context, s *session) error {
		mine = 0
		err := s.scan(ctx, `UPDATE licences SET epoch = epoch + 1, claimed_at = $2, park_reason = '', stage =
			CASE WHEN EXISTS (SELECT 1 FROM signatures s WHERE s.licence = licences.ordinal) THEN 2 ELSE 1 END
			WHERE id = $1 AND stage = 4 RETURNING epoch`, []any{id, micro(why.At)}, &mine)
		if errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("%w: licence %s is not parked", licence.ErrState, id)
		}
		if err != nil {
			return err
		}
		return record(ctx, s, why)
	})
	if err != nil {
		return issuing.Licence{}, err
	}
	l, err := db.ByID(ctx, id)
	l.Epoch = mine // as in Claim
	return l, err
}

// Unfinished implements issuing.Claims.
func (db *DB) Unfinished(ctx context.Context, before time.Time, limit int) ([]string, error) {
	latest := int64(math.MaxInt64)
	if !before.IsZero() {
		latest = micro(before)
	}
	rows, err := db.rows(ctx, `SELECT id FROM licences WHERE stage IN (1, 2) AND claimed_at <= $1 ORDER BY ordinal LIMIT $2`, latest, limit)
	if err != nil {
		return nil, say("list", err)
	}
	ids, err := texts(rows)
	return ids, say("list", err)
}

// absent turns "no such row" into the domain's word.
func absent(err error, what string) error {
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("%w: %s", licence.ErrNotFound, what)
	}
	return say("read", err)
}

// Times are microseconds since 1970; the zero time is 0.
func micro(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicro(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}
