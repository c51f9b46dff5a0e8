package records

import (
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/elicence/elicence/audit"
	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/licence"
)

// copyVersion of the format of a licence's copy.
const copyVersion = 1

// licenceCopy is all that the records have of a licence before its first event: what its keys/ object holds, sealed.
// Custody and status come from the log.
type licenceCopy struct {
	Version       int        `json:"v"`
	ID            string     `json:"id"`
	Issuer        string     `json:"issuer"`
	IssuerName    string     `json:"issuerName"`
	IssuerRegion  string     `json:"issuerRegion"`
	Type          string     `json:"type"`
	TypeVersion   int        `json:"typeVersion"`
	Kind          string     `json:"kind"`
	BusinessID    string     `json:"businessId"`
	Replaces      string     `json:"replaces,omitempty"`
	RequestDigest []byte     `json:"requestDigest"`
	Request       []byte     `json:"request,omitempty"`
	Clerk         string     `json:"clerk"`
	Approver      string     `json:"approver"`
	Number        string     `json:"number"`
	Identifier    string     `json:"identifier"`
	Serial        uint64     `json:"serial"`
	Handle        []byte     `json:"handle"`
	Seed          []byte     `json:"seed,omitempty"`
	StatusIndex   uint64     `json:"statusIndex"`
	IssueTime     int64      `json:"issueTime"`
	SigningTime   int64      `json:"signingTime"`
	DocumentKey   []byte     `json:"documentKey"`
	EventKey      []byte     `json:"eventKey"`
	Parts         []string   `json:"parts"`
	FormatVersion int        `json:"formatVersion"`
	Specimen      bool       `json:"specimen"`
	Warnings      []string   `json:"warnings,omitempty"`
	Created       int64      `json:"created"`
	KeyID         string     `json:"keyId"`
	Parked        string     `json:"parked,omitempty"`
	Credential    []byte     `json:"credential,omitempty"`
	Signed        []partCopy `json:"signed,omitempty"`
	Abandoned     []string   `json:"abandoned,omitempty"`
}

type partCopy struct {
	Part    string `json:"part"`
	RS      []byte `json:"rs"`
	SM3     []byte `json:"sm3"`
	Size    int64  `json:"size"`
	Address string `json:"address"`
	Nonce   []byte `json:"nonce"`
}

// EncodeCopy returns what has to be kept of a licence so that the records can be made again. The same licence gives the
// same bytes. They are personal.
func EncodeCopy(l issuing.Licence) ([]byte, error) {
	c := licenceCopy{
		Version: copyVersion, ID: l.ID, Issuer: l.Issuer, IssuerName: l.IssuerName, IssuerRegion: l.IssuerRegion, Type: l.Type,
		TypeVersion: l.TypeVersion, Kind: l.Kind, BusinessID: l.BusinessID, Replaces: l.Replaces, RequestDigest: l.RequestDigest[:],
		Request: l.Request, Clerk: l.Clerk, Approver: l.Approver, Number: l.Number, Identifier: l.Identifier, Serial: l.Serial,
		Handle: l.Handle[:], StatusIndex: l.StatusIndex, IssueTime: micro(l.IssueTime), SigningTime: micro(l.SigningTime),
		DocumentKey: l.DocumentKey[:], EventKey: l.EventKey[:], Parts: l.Parts, FormatVersion: l.FormatVersion, Specimen: l.Specimen,
		Warnings: l.Warnings, Created: micro(l.Created), KeyID: l.DataKeyID, Credential: l.Signatures.Credential,
		Abandoned: l.Signatures.Abandoned,
	}
	if l.Seed != ([32]byte{}) {
		c.Seed = l.Seed[:]
	}
	if l.Stage == issuing.StageParked {
		c.Parked = l.ParkReason
	}
	for _, p := range l.Signatures.Parts {
		c.Signed = append(c.Signed, partCopy{p.Part, p.RS, p.SM3[:], p.Size, p.Address, p.Nonce})
	}
	b, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("records: copy: %w", err)
	}
	return b, nil
}

// DecodeCopy is the way back, to a licence that is signed if its signatures are in the copy, else an intent. ErrVersion for
// a copy of a newer program.
func DecodeCopy(b []byte) (l issuing.Licence, err error) {
	var c licenceCopy
	if err := json.Unmarshal(b, &c); err != nil {
		return l, errors.New("records: this is no copy of a licence")
	}
	if c.Version != copyVersion {
		return l, fmt.Errorf("%w: a copy of version %d", ErrVersion, c.Version)
	}
	l = issuing.Licence{Intent: issuing.Intent{
		ID: c.ID, Issuer: c.Issuer, IssuerName: c.IssuerName, IssuerRegion: c.IssuerRegion, Type: c.Type, TypeVersion: c.TypeVersion,
		Kind: c.Kind, BusinessID: c.BusinessID, Replaces: c.Replaces, Request: c.Request, Clerk: c.Clerk, Approver: c.Approver,
		Number: c.Number, Identifier: c.Identifier, Serial: c.Serial, StatusIndex: c.StatusIndex, IssueTime: fromMicro(c.IssueTime),
		SigningTime: fromMicro(c.SigningTime), Parts: c.Parts, FormatVersion: c.FormatVersion, Specimen: c.Specimen, Warnings: c.Warnings,
	}, Stage: issuing.StageIntent, Epoch: 1, DataKeyID: c.KeyID, Created: fromMicro(c.Created)}
	err = errors.Join(digest(&l.RequestDigest, c.RequestDigest), digest(&l.Handle, c.Handle), digest(&l.DocumentKey, c.DocumentKey),
		digest(&l.EventKey, c.EventKey))
	if len(c.Seed) > 0 {
		err = errors.Join(err, digest(&l.Seed, c.Seed))
	}
	l.Signatures.Credential, l.Signatures.Abandoned = c.Credential, c.Abandoned
	for _, p := range c.Signed {
		one := issuing.PartSignature{Part: p.Part, RS: p.RS, Size: p.Size, Address: p.Address, Nonce: p.Nonce}
		err = errors.Join(err, digest(&one.SM3, p.SM3))
		l.Signatures.Parts = append(l.Signatures.Parts, one)
	}
	if len(l.Signatures.Parts) > 0 {
		l.Stage = issuing.StageSigned
	}
	if c.Parked != "" {
		l.Stage, l.ParkReason = issuing.StageParked, c.Parked
	}
	if err != nil || l.ID == "" || l.Number == "" || l.DataKeyID == "" {
		return l, errors.Join(errors.New("records: a copy of a licence lacks what it must have"), err)
	}
	return l, nil
}

// withoutPersonal is what may be known of an erased licence.
func withoutPersonal(l issuing.Licence) issuing.Licence {
	l.Request, l.Seed, l.Signatures.Credential, l.DataKey = nil, [32]byte{}, nil, nil
	return l
}

// AdoptLicence makes a licence anew from its copy, signed or an intent as that says, with its sheet and the serial counter of its
// issuer. One without a data key is erased. search are its search terms. licence.ErrConflict if a number, identifier or place
// in the status list is another licence's here. false: it is here already.
func (db *DB) AdoptLicence(ctx context.Context, l issuing.Licence, search map[string]string, who audit.Entry) (fresh bool, err error) {
	var sealed sealedContents
	credential := []byte{}
	if len(l.DataKey) > 0 {
		if sealed, err = db.sealContents(ctx, issuing.Beginning{Intent: l.Intent, DataKey: l.DataKey, DataKeyID: l.DataKeyID, Search: search}); err != nil {
			return false, err
		}
		k, err := db.dataKey(ctx, l.DataKeyID, l.DataKey)
		if err != nil {
			return false, err
		}
		if credential, err = db.seal(k, credentialPlace(l.ID, keyVersion), l.Signatures.Credential); err != nil {
			return false, err
		}
	}
	err = db.write(ctx, func(ctx context.Context, s *session) error {
		fresh = false
		var there int
		err := s.scan(ctx, `SELECT COUNT(*) FROM licences WHERE id = $1`, []any{l.ID}, &there)
		if err != nil || there > 0 {
			return err
		}
		err = s.scan(ctx, `SELECT COUNT(*) FROM licences WHERE number = $1 OR identifier = $2 OR status_index = $3`,
			[]any{l.Number, l.Identifier, int64(l.StatusIndex)}, &there)
		if err != nil {
			return err
		}
		if there > 0 {
			return fmt.Errorf("%w: number, identifier or status place of %s is another licence's", licence.ErrConflict, l.Number)
		}
		fresh = true
		return adoptLicence(ctx, s, l, sealed, credential, who)
	})
	return fresh, err
}

func adoptLicence(ctx context.Context, s *session, l issuing.Licence, sealed sealedContents, credential []byte, who audit.Entry) error {
	// A number that was burnt as unknown is the licence's own after all.
	fromStock, err := s.exec(ctx, `UPDATE sheets SET state = 'issued', licence = $1, used_at = $2, reason = '' WHERE number = $3 AND licence = ''`,
		l.ID, micro(l.IssueTime), l.Number)
	if err != nil {
		return err
	}
	err = s.later(ctx, `INSERT INTO counters (issuer, name, value) VALUES ($1, 'serial', $2)
		ON CONFLICT (issuer, name) DO UPDATE SET value = CASE WHEN counters.value < excluded.value THEN excluded.value ELSE counters.value END`,
		l.Issuer, int64(l.Serial))
	if err != nil {
		return err
	}
	var ordinal int64
	err = s.scan(ctx, `INSERT INTO licences (id, issuer, stage, epoch, status, status_at, replaced_by, park_reason, number,
		identifier, serial, type, kind, business_id, replaces, uses_stock, status_index, issue_time, data_key, data_key_id,
		key_version, request_digest, claimed_at)
		VALUES ($1,$2,$3,1,0,0,'',$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,0) RETURNING ordinal`,
		[]any{l.ID, l.Issuer, int(l.Stage), l.ParkReason, l.Number, l.Identifier, int64(l.Serial), l.Type, l.Kind, l.BusinessID,
			l.Replaces, int(min(fromStock, 1)), int64(l.StatusIndex), micro(l.IssueTime), notNil(l.DataKey), l.DataKeyID, keyVersion,
			l.RequestDigest[:]}, &ordinal)
	if err != nil {
		return err
	}
	err = s.later(ctx, `INSERT INTO contents (licence, issuer, issuer_name, issuer_region, type_version, request, seed, clerk,
		approver, handle, signing_time, document_key, event_key, parts, format_version, specimen, warnings, created)
		VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18)`,
		ordinal, l.Issuer, l.IssuerName, l.IssuerRegion, l.TypeVersion, notNil(sealed.request), notNil(sealed.seed), l.Clerk, l.Approver,
		l.Handle[:], micro(l.SigningTime), l.DocumentKey[:], l.EventKey[:], words(l.Parts), l.FormatVersion, bit(l.Specimen),
		words(l.Warnings), micro(l.Created))
	if err != nil {
		return err
	}
	tags := make([][]any, len(sealed.tags))
	for i, t := range sealed.tags {
		tags[i] = []any{t[0], t[1], ordinal, l.Issuer}
	}
	if err := s.insert(ctx, `INSERT INTO search_tags (field, tag, licence, issuer)`, "", tags); err != nil {
		return err
	}
	if len(l.Signatures.Parts) > 0 {
		if err := s.later(ctx, `INSERT INTO signatures (licence, issuer, credential, abandoned) VALUES ($1,$2,$3,$4)`,
			ordinal, l.Issuer, credential, words(l.Signatures.Abandoned)); err != nil {
			return err
		}
		rows := make([][]any, len(l.Signatures.Parts))
		for i, p := range l.Signatures.Parts {
			rows[i] = []any{ordinal, i, l.Issuer, p.Part, p.RS, p.SM3[:], p.Size, p.Address, p.Nonce}
		}
		if err := s.insert(ctx, `INSERT INTO parts (licence, position, issuer, part, rs, sm3, size, address, nonce)`, "", rows); err != nil {
			return err
		}
	}
	return record(ctx, s, who)
}

// LostErasure is an erased licence of which these records have only an act.
type LostErasure struct {
	Licence issuing.Licence // without anything personal; parked until its issue is found in the log
	note    erasedAct
}

// LostErasures are the erased licences that stand in acts and not among the licences.
func (db *DB) LostErasures(ctx context.Context) (lost []LostErasure, err error) {
	for after := int64(0); ; {
		acts, err := db.acts(ctx, `WHERE kind = 'erased' AND ordinal > $1 ORDER BY ordinal LIMIT 256`, after)
		if err != nil || len(acts) == 0 {
			return lost, err
		}
		for _, a := range acts {
			after = a.Ordinal
			var e LostErasure
			if err := json.Unmarshal(a.Body, &e.note); err != nil {
				return nil, fmt.Errorf("records: act %d: %w", a.Ordinal, err)
			}
			if e.Licence, err = DecodeCopy(e.note.Copy); err != nil {
				return nil, err
			}
			// Nobody can finish it any more. Its issue, if the log has it, comes after.
			if e.Licence.Stage != issuing.StageParked {
				e.Licence.Stage, e.Licence.ParkReason = issuing.StageParked, "erased"
			}
			if _, _, found, err := db.Holder(ctx, e.Licence.DataKeyID); err != nil {
				return nil, err
			} else if !found {
				lost = append(lost, e)
			}
		}
	}
}

// AdoptErasure makes an erased licence again, with everything but what was destroyed. Errors as for AdoptLicence.
func (db *DB) AdoptErasure(ctx context.Context, e LostErasure, who audit.Entry) error {
	if _, err := db.AdoptLicence(ctx, e.Licence, nil, who); err != nil {
		return err
	}
	return db.noteErasure(ctx, e.Licence, e.note)
}

func (db *DB) noteErasure(ctx context.Context, l issuing.Licence, e erasedAct) error {
	return db.write(ctx, func(ctx context.Context, s *session) error {
		return s.later(ctx, `INSERT INTO erasures (key_id, issuer, licence, at, reason) VALUES ($1,$2,$3,$4,$5) ON CONFLICT (key_id) DO NOTHING`,
			l.DataKeyID, l.Issuer, l.ID, e.At, e.Reason)
	})
}

// AdoptedEvent is an event of the log that a licence here may lack.
type AdoptedEvent struct {
	Handle   [32]byte
	Kind     contract.Kind
	Hash     [32]byte
	Bytes    []byte
	At       time.Time
	Actor    string
	Index    uint64
	Next     [32]byte // handle of the successor, zero for none
	Receiver string   // of a hand-over
}

// AdoptEvent gives a licence an event that the log has: its place in the licence's history, its effect on stage and status,
// and the words that were kept of it. Events come in the order of the log. known is false if no licence here has the handle;
// fresh says that something was changed.
func (db *DB) AdoptEvent(ctx context.Context, e AdoptedEvent) (known, fresh bool, err error) {
	err = db.writeEvents(ctx, func(ctx context.Context, s *session) (int64, error) {
		known, fresh = false, false
		var ordinal int64
		var issuer, id string
		var key int
		err := s.scan(ctx, `SELECT l.ordinal, l.issuer, l.id, LENGTH(l.data_key) FROM contents c JOIN licences l ON l.ordinal = c.licence WHERE c.handle = $1`,
			[]any{e.Handle[:]}, &ordinal, &issuer, &id, &key)
		if errors.Is(err, sql.ErrNoRows) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		known = true
		var index sql.NullInt64
		err = s.scan(ctx, `SELECT log_index FROM events WHERE hash = $1`, []any{e.Hash[:]}, &index)
		switch {
		case err == nil && index.Valid:
			return 0, nil
		case err == nil:
			fresh = true
			err = s.later(ctx, `UPDATE events SET log_index = $1, refusal = '' WHERE hash = $2`, int64(e.Index), e.Hash[:])
			return 0, err
		case !errors.Is(err, sql.ErrNoRows):
			return 0, err
		}
		fresh = true
		return micro(e.At), adoptEvent(ctx, s, ordinal, issuer, id, key == 0, e)
	})
	return known, fresh, err
}

func adoptEvent(ctx context.Context, s *session, ordinal int64, issuer, id string, erased bool, e AdoptedEvent) error {
	var sequence int
	if err := s.scan(ctx, `SELECT COUNT(*) FROM events WHERE licence = $1 AND refusal = ''`, []any{ordinal}, &sequence); err != nil {
		return err
	}
	event, err := insertEvent(ctx, s, ordinal, issuer, issuing.Event{Sequence: sequence, Kind: string(e.Kind), Hash: e.Hash, Bytes: e.Bytes, At: e.At, Actor: e.Actor})
	if err != nil {
		return err
	}
	if err := s.later(ctx, `UPDATE events SET log_index = $1 WHERE ordinal = $2`, int64(e.Index), event); err != nil {
		return err
	}
	switch e.Kind {
	case contract.Issued:
		err = s.later(ctx, `UPDATE licences SET stage = 3, status_at = $1, park_reason = '' WHERE ordinal = $2`, micro(e.At), ordinal)
	case contract.Revoked:
		err = s.later(ctx, `UPDATE licences SET status = $1, status_at = $2 WHERE ordinal = $3`, int(issuing.Revoked), micro(e.At), ordinal)
	case contract.Superseded:
		err = s.later(ctx, `UPDATE licences SET status = $1, status_at = $2, replaced_by = COALESCE((SELECT l.number FROM contents c
			JOIN licences l ON l.ordinal = c.licence WHERE c.handle = $3), '') WHERE ordinal = $4`,
			int(issuing.Superseded), micro(e.At), e.Next[:], ordinal)
	case contract.HandedOver:
		err = insertDeliveries(ctx, s, ordinal, issuer, issuing.Event{Licence: id, Sequence: sequence}, []issuing.Delivery{{Receiver: e.Receiver, Topic: "hand-over", Due: e.At}}, erased)
	}
	if err != nil {
		return err
	}
	return adoptNote(ctx, s, event, ordinal, issuer, id, e)
}

// adoptNote looks for the words of this very event among the acts.
func adoptNote(ctx context.Context, s *session, event, ordinal int64, issuer, id string, e AdoptedEvent) error {
	var body []byte
	err := s.scan(ctx, `SELECT body FROM acts WHERE subject = $1 AND subject <> '' ORDER BY ordinal DESC LIMIT 1`, []any{hex.EncodeToString(e.Hash[:])}, &body)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	var found noteAct
	if err := json.Unmarshal(body, &found); err != nil || found.Licence != id {
		return err
	}
	return s.later(ctx, `INSERT INTO notes (event, licence, issuer, name, key_version, text)
		SELECT $1, $2, $3, $4, $5, $6 FROM licences WHERE ordinal = $2 AND LENGTH(data_key) > 0`, event, ordinal, issuer, found.Name, found.Version, found.Text)
}

// AdoptTrail takes sealed audit rows in that lie among the objects and not in these records. They must continue the chain:
// licence.ErrConflict otherwise. It returns how many were new.
func (db *DB) AdoptTrail(ctx context.Context, links []audit.Link) (count int, err error) {
	err = db.write(ctx, func(ctx context.Context, s *session) error {
		count = 0
		var sequence uint64
		var head [32]byte
		var stored []byte
		err := s.scan(ctx, readHead, nil, &stored)
		if err == nil {
			sequence, head, err = parseHead(stored)
		}
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		for _, l := range links {
			if l.Sequence <= sequence {
				continue
			}
			if l.Sequence != sequence+1 || chained(head, l.Entry) != l.Hash {
				return fmt.Errorf("%w: row %d of the audit trail among the objects does not continue the chain here", licence.ErrConflict, l.Sequence)
			}
			e := l.Entry
			row := []any{e.Organisation, micro(e.At), e.Person, e.What, e.Why, e.From, e.Licence, strings.Join(e.Fields, "\n"), int64(l.Sequence), l.Hash[:]}
			// The same row may wait here to be sealed.
			n, err := s.exec(ctx, `UPDATE audit SET sequence = $9, hash = $10 WHERE ordinal = (SELECT ordinal FROM audit WHERE sequence IS NULL
				AND issuer = $1 AND at = $2 AND person = $3 AND what = $4 AND why = $5 AND whence = $6 AND licence = $7 AND fields = $8
				ORDER BY ordinal LIMIT 1)`, row...)
			if err == nil && n == 0 {
				err = s.later(ctx, `INSERT INTO audit (issuer, at, person, what, why, whence, licence, fields, sequence, hash)
					VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10)`, row...)
			}
			if err != nil {
				return err
			}
			sequence, head = l.Sequence, l.Hash
			count++
		}
		if count == 0 {
			return nil
		}
		if err := setValue(ctx, s, "audit-kept", binary.BigEndian.AppendUint64(nil, sequence)); err != nil {
			return err
		}
		return setValue(ctx, s, "audit-head", append(binary.BigEndian.AppendUint64(nil, sequence), head[:]...))
	})
	return count, err
}

// TrailKept is the sequence of the last audit row that lies among the objects.
func (db *DB) TrailKept(ctx context.Context) (uint64, error) {
	var b []byte
	err := db.row(ctx, `SELECT value FROM installation WHERE name = 'audit-kept'`).Scan(&b)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	if err == nil && len(b) != 8 {
		err = errors.New("records: the mark of kept audit rows is broken")
	}
	if err != nil {
		return 0, say("read the trail", err)
	}
	return binary.BigEndian.Uint64(b), nil
}

// SetTrailKept moves that mark.
func (db *DB) SetTrailKept(ctx context.Context, sequence uint64) error {
	return db.write(ctx, func(ctx context.Context, s *session) error {
		return setValue(ctx, s, "audit-kept", binary.BigEndian.AppendUint64(nil, sequence))
	})
}

// IndexKey is the wrapped index key, of which the objects hold a copy.
func (db *DB) IndexKey(ctx context.Context) (wrapped []byte, err error) {
	err = db.row(ctx, readIndexKey).Scan(&wrapped)
	return wrapped, say("read the index key", err)
}

// SetIndexKey puts the wrapped index key into records that have none; licence.ErrConflict if they have one.
func (db *DB) SetIndexKey(ctx context.Context, wrapped []byte) error {
	return db.write(ctx, func(ctx context.Context, s *session) error {
		n, err := s.exec(ctx, `INSERT INTO installation (name, issuer, value) VALUES ('index-key', '', $1) ON CONFLICT (name) DO NOTHING`, wrapped)
		if err == nil && n == 0 {
			err = fmt.Errorf("%w: these records have an index key", licence.ErrConflict)
		}
		return err
	})
}

// RaiseStatusNumber sees to it that the next status list has a number above one that readers have seen.
func (db *DB) RaiseStatusNumber(ctx context.Context, seen uint64) error {
	return db.write(ctx, func(ctx context.Context, s *session) error {
		return s.later(ctx, `INSERT INTO counters (issuer, name, value) VALUES ('', 'status-list', $1)
			ON CONFLICT (issuer, name) DO UPDATE SET value = CASE WHEN counters.value < excluded.value THEN excluded.value ELSE counters.value END`,
			int64(seen))
	})
}

func setValue(ctx context.Context, s *session, name string, value []byte) error {
	return s.later(ctx, `INSERT INTO installation (name, issuer, value) VALUES ($1, '', $2)
		ON CONFLICT (name) DO UPDATE SET value = excluded.value`, name, value)
}

// EventAt is where a licence's event stands in the log as the records have it; -1 if they do not have the event, or not yet
// its place.
func (db *DB) EventAt(ctx context.Context, hash [32]byte) (int64, error) {
	var index sql.NullInt64
	err := db.row(ctx, `SELECT log_index FROM events WHERE hash = $1`, hash[:]).Scan(&index)
	if errors.Is(err, sql.ErrNoRows) || err == nil && !index.Valid {
		return -1, nil
	}
	return index.Int64, say("read an event", err)
}

// HandleKnown reports whether a licence here has this name on the ledger.
func (db *DB) HandleKnown(ctx context.Context, handle [32]byte) (bool, error) {
	var n int
	err := db.row(ctx, `SELECT COUNT(*) FROM contents WHERE handle = $1`, handle[:]).Scan(&n)
	return n > 0, say("look for a licence", err)
}
