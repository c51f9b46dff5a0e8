package records

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/elicence/elicence/audit"
	"github.com/elicence/elicence/due"
	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/storage/envelope"
)

// Likeness is a licence that was never issued and stands in the records as if it had been: only for measuring how they bear
// many. It has the rows of the licence that it is like, each of the same size and under a name of its own.
type Likeness struct {
	Of      string          // id of the licence that was issued
	Licence issuing.Licence // issued, with a data key of its own; its status is that of the last event
	Search  map[string]string
	Events  []issuing.Event // in the log already, at their Index
	Notes   map[int][]byte  // by sequence of the event
}

// Multiplier writes likenesses many at a time. Nobody else may write meanwhile: it seals the audit rows that it makes by
// itself, and hands out ordinals. It is not safe for concurrent use.
type Multiplier struct {
	db     *DB
	issued map[string]patterned
}

// patterned is what was written of a real licence beside what a Likeness says of its own.
type patterned struct {
	trail      []audit.Entry
	deliveries []deliveryPattern
}

type deliveryPattern struct {
	receiver, topic string
	sequence        int
}

// Multiplier prepares to write likenesses of licences that were issued and whose events are in the log.
func (db *DB) Multiplier(ctx context.Context, issued []issuing.Licence) (*Multiplier, error) {
	m := &Multiplier{db: db, issued: map[string]patterned{}}
	for _, l := range issued {
		links, err := db.OfLicence(ctx, l.ID)
		if err != nil {
			return nil, err
		}
		var p patterned
		for _, link := range links {
			p.trail = append(p.trail, link.Entry)
		}
		rows, err := db.rows(ctx, `SELECT d.lane, d.topic, d.sequence FROM due_work d JOIN licences l ON l.ordinal = d.licence
			WHERE l.id = $1 ORDER BY d.ordinal`, l.ID)
		if err != nil {
			return nil, say("read deliveries", err)
		}
		err = collect(rows, func(r row) error {
			var d deliveryPattern
			err := r.Scan(&d.receiver, &d.topic, &d.sequence)
			p.deliveries = append(p.deliveries, d)
			return err
		})
		if err != nil {
			return nil, say("read deliveries", err)
		}
		m.issued[l.ID] = p
	}
	return m, nil
}

// likenessRows are the rows of one likeness, without the ordinals that the database gives.
type likenessRows struct {
	sealed     sealedContents
	credential []byte
	notes      map[int][]byte
}

// Add writes likenesses in one transaction. licence.ErrState if audit rows wait to be sealed, or one is like nothing that the
// Multiplier knows.
func (m *Multiplier) Add(ctx context.Context, made []Likeness) error {
	sealed, err := m.seal(ctx, made)
	if err != nil {
		return err
	}
	return m.db.write(ctx, func(ctx context.Context, s *session) error {
		if err := m.insert(ctx, s, made, sealed); err != nil {
			return err
		}
		return m.chain(ctx, s, made)
	})
}

// seal encrypts on all cores.
func (m *Multiplier) seal(ctx context.Context, made []Likeness) ([]likenessRows, error) {
	sealed := make([]likenessRows, len(made))
	failed := make([]error, runtime.GOMAXPROCS(0))
	var all sync.WaitGroup
	for w := range failed {
		all.Go(func() {
			for i := w; i < len(made) && failed[w] == nil; i += len(failed) {
				sealed[i], failed[w] = m.sealOne(ctx, made[i])
			}
		})
	}
	all.Wait()
	return sealed, errors.Join(failed...)
}

func (m *Multiplier) sealOne(ctx context.Context, one Likeness) (r likenessRows, err error) {
	l := one.Licence
	if _, known := m.issued[one.Of]; !known {
		return r, fmt.Errorf("%w: a likeness of %s, which is no pattern", licence.ErrState, one.Of)
	}
	if r.sealed, err = m.db.sealContents(ctx, issuing.Beginning{Intent: l.Intent, DataKey: l.DataKey, DataKeyID: l.DataKeyID, Search: one.Search}); err != nil {
		return r, err
	}
	var k *envelope.DataKey
	if k, err = m.db.dataKey(ctx, l.DataKeyID, l.DataKey); err != nil {
		return r, err
	}
	if r.credential, err = m.db.seal(k, credentialPlace(l.ID, keyVersion), l.Signatures.Credential); err != nil {
		return r, err
	}
	r.notes = map[int][]byte{}
	for _, e := range one.Events {
		if note, ok := one.Notes[e.Sequence]; ok {
			if r.notes[e.Sequence], err = m.db.seal(k, notePlace(l.ID, e.Hash, keyVersion), note); err != nil {
				return r, err
			}
		}
	}
	return r, nil
}

const copiedLicence = `INSERT INTO licences (id, issuer, stage, epoch, status, status_at, replaced_by, park_reason, number,
	identifier, serial, type, kind, business_id, replaces, uses_stock, status_index, issue_time, data_key, data_key_id,
	key_version, request_digest, claimed_at)`

func (m *Multiplier) insert(ctx context.Context, s *session, made []Likeness, sealed []likenessRows) error {
	var licences, contents, signatures, parts, tags, sheets, deliveries [][]any
	serials := map[string]uint64{}
	for _, one := range made {
		l := one.Licence
		serials[l.Issuer] = max(serials[l.Issuer], l.Serial)
		licences = append(licences, []any{l.ID, l.Issuer, int(issuing.StageIssued), l.Epoch, int(l.Status), micro(l.StatusAt), l.ReplacedBy, "",
			l.Number, l.Identifier, int64(l.Serial), l.Type, l.Kind, l.BusinessID, l.Replaces, 1, int64(l.StatusIndex), micro(l.IssueTime),
			l.DataKey, l.DataKeyID, keyVersion, l.RequestDigest[:], micro(l.Created)})
		sheets = append(sheets, []any{l.Number, l.Issuer, l.Type, string(licence.SheetIssued), l.ID, micro(l.Created), micro(l.IssueTime)})
	}
	ordinals, err := insertReturning(ctx, s, copiedLicence, licences)
	if err != nil {
		return err
	}
	var events [][]any
	for i, one := range made {
		l, r, ordinal := one.Licence, sealed[i], ordinals[i]
		contents = append(contents, []any{ordinal, l.Issuer, l.IssuerName, l.IssuerRegion, l.TypeVersion, r.sealed.request, r.sealed.seed, l.Clerk,
			l.Approver, l.Handle[:], micro(l.SigningTime), l.DocumentKey[:], l.EventKey[:], words(l.Parts), l.FormatVersion, bit(l.Specimen),
			words(l.Warnings), micro(l.Created)})
		signatures = append(signatures, []any{ordinal, l.Issuer, r.credential, words(l.Signatures.Abandoned)})
		for n, p := range l.Signatures.Parts {
			parts = append(parts, []any{ordinal, n, l.Issuer, p.Part, p.RS, p.SM3[:], p.Size, p.Address, p.Nonce})
		}
		for _, t := range r.sealed.tags {
			tags = append(tags, []any{t[0], t[1], ordinal, l.Issuer})
		}
		for _, e := range one.Events {
			events = append(events, []any{ordinal, l.Issuer, e.Sequence, e.Kind, e.Hash[:], e.Bytes, micro(e.At), e.Actor, int64(*e.Index), ""})
		}
		for _, d := range m.issued[one.Of].deliveries {
			at := micro(l.Created)
			key := deliveryKey(issuing.Event{Licence: l.ID, Sequence: d.sequence}, issuing.Delivery{Receiver: d.receiver, Topic: d.topic})
			deliveries = append(deliveries, []any{key, l.Issuer, d.receiver, d.topic, ordinal, d.sequence, string(due.Done), at, at, 1, 1, 0, "", "", 0, at, at})
		}
	}
	numbers, err := insertReturning(ctx, s, `INSERT INTO events (licence, issuer, sequence, kind, hash, bytes, at, actor, log_index, refusal)`, events)
	if err != nil {
		return err
	}
	var notes [][]any
	for i, one := range made {
		for _, e := range one.Events {
			if text, ok := sealed[i].notes[e.Sequence]; ok {
				notes = append(notes, []any{numbers[0], ordinals[i], one.Licence.Issuer, e.Kind, keyVersion, text})
			}
			numbers = numbers[1:]
		}
	}
	for _, table := range []struct {
		head string
		rows [][]any
	}{
		{`INSERT INTO sheets (number, issuer, type, state, licence, drawn_at, used_at)`, sheets},
		{`INSERT INTO contents (licence, issuer, issuer_name, issuer_region, type_version, request, seed, clerk,
			approver, handle, signing_time, document_key, event_key, parts, format_version, specimen, warnings, created)`, contents},
		{`INSERT INTO signatures (licence, issuer, credential, abandoned)`, signatures},
		{`INSERT INTO parts (licence, position, issuer, part, rs, sm3, size, address, nonce)`, parts},
		{`INSERT INTO search_tags (field, tag, licence, issuer)`, tags},
		{insertDue, deliveries},
		{`INSERT INTO notes (event, licence, issuer, name, key_version, text)`, notes},
	} {
		if err := s.insert(ctx, table.head, "", table.rows); err != nil {
			return err
		}
	}
	for issuer, serial := range serials {
		err := s.later(ctx, `INSERT INTO counters (issuer, name, value) VALUES ($1, 'serial', $2)
			ON CONFLICT (issuer, name) DO UPDATE SET value = CASE WHEN counters.value < excluded.value THEN excluded.value ELSE counters.value END`,
			issuer, int64(serial))
		if err != nil {
			return err
		}
	}
	return nil
}

// insertReturning is session.insert of rows whose ordinals the database gives; they come back in the order of the rows.
func insertReturning(ctx context.Context, s *session, head string, rows [][]any) ([]int64, error) {
	var ordinals []int64
	for len(rows) > 0 {
		n := 32
		for n > len(rows) {
			n /= 2
		}
		args := make([]any, 0, n*len(rows[0]))
		for _, r := range rows[:n] {
			args = append(args, r...)
		}
		from := len(ordinals)
		err := s.each(ctx, head+values(n, len(rows[0]))+` RETURNING ordinal`, args, func(r row) error {
			var ordinal int64
			err := r.Scan(&ordinal)
			ordinals = append(ordinals, ordinal)
			return err
		})
		if err != nil {
			return nil, err
		}
		// Both engines insert the rows of one statement in their order; neither promises to return them so.
		slices.Sort(ordinals[from:])
		rows = rows[n:]
	}
	return ordinals, nil
}

// chain writes the audit rows where the sealer would have put them.
func (m *Multiplier) chain(ctx context.Context, s *session, made []Likeness) error {
	var waiting int
	if err := s.scan(ctx, `SELECT COUNT(*) FROM audit WHERE sequence IS NULL`, nil, &waiting); err != nil {
		return err
	}
	if waiting > 0 {
		return fmt.Errorf("%w: %d audit rows wait to be sealed", licence.ErrState, waiting)
	}
	var stored []byte
	var sequence uint64
	var hash [32]byte
	err := s.scan(ctx, readHead+s.sql.lock, nil, &stored)
	if err == nil {
		sequence, hash, err = parseHead(stored)
	} else if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	if err != nil {
		return err
	}
	var rows [][]any
	for _, one := range made {
		for _, e := range m.issued[one.Of].trail {
			e.At, e.Organisation, e.Licence = one.Licence.Created, one.Licence.Issuer, one.Licence.ID
			sequence++
			link := chained(hash, e)
			hash = link
			rows = append(rows, append(auditArgs(e), int64(sequence), link[:]))
		}
	}
	if err := s.insert(ctx, `INSERT INTO audit (issuer, at, person, what, why, whence, licence, fields, sequence, hash)`, "", rows); err != nil {
		return err
	}
	// The bundles of these rows among the objects are not made: they are files, and what is measured is the records.
	if err := setValue(ctx, s, "audit-kept", binary.BigEndian.AppendUint64(nil, sequence)); err != nil {
		return err
	}
	return setValue(ctx, s, "audit-head", append(binary.BigEndian.AppendUint64(nil, sequence), hash[:]...))
}

// Tidy does what the operator's manual asks for after many changes: statistics for the planner, and on a server the room of
// dead rows.
func (db *DB) Tidy(ctx context.Context) error { return say("tidy", db.engine.tidy(ctx)) }

// DiskUse is how many bytes the records take on the disk, indexes and the file's own log included.
func (db *DB) DiskUse(ctx context.Context) (int64, error) {
	n, err := db.engine.diskUse(ctx)
	return n, say("measure", err)
}
