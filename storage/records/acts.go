package records

import (
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/elicence/elicence/access"
	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/licence"
)

// Act is something that stands in no licence's own objects and in no entry of the log, and must come back when the
// records are lost: organisations, people, stock, words of steps, and what is left of erased licences. It is written in the
// transaction of what it tells of; whoever keeps the objects puts it there soon after.
type Act struct {
	Ordinal int64           `json:"ordinal"`
	Kind    string          `json:"kind"`
	Body    json.RawMessage `json:"body"`
}

// Kinds of acts.
const (
	actOrganisation = "organisation"
	actPerson       = "person"
	actSheets       = "sheets" // a run of numbers as they stand in the books, "issued" apart: licences say that
	actBound        = "bound"
	actSpoiled      = "spoiled"
	actNote         = "note"
	actErased       = "erased"
)

type personAct struct {
	Organisation string   `json:"organisation"`
	ID           string   `json:"id"`
	Roles        []string `json:"roles"`
	Salt         []byte   `json:"salt"`
	Verifier     []byte   `json:"verifier"`
}

type organisationAct struct {
	Code   string `json:"code"`
	Name   string `json:"name"`
	NameEN string `json:"nameEn"`
	Kind   string `json:"kind"`
	Region string `json:"region"`
}

type sheetsAct struct {
	Issuer string `json:"issuer"`
	Type   string `json:"type"`
	First  string `json:"first"`
	Count  int    `json:"count"`
	Drawn  int64  `json:"drawn"` // µs
}

type sheetAct struct {
	Issuer   string `json:"issuer"`
	Number   string `json:"number"`
	Business string `json:"business,omitempty"`
	Reason   string `json:"reason,omitempty"`
	At       int64  `json:"at"`
}

// noteAct is sealed by the licence's own key: erasure takes it along.
type noteAct struct {
	Licence string `json:"licence"`
	Event   []byte `json:"event"`
	Name    string `json:"name"`
	Version uint32 `json:"version"`
	Text    []byte `json:"text"`
}

// erasedAct is a licence without anything personal.
type erasedAct struct {
	Copy   json.RawMessage `json:"copy"`
	At     int64           `json:"at"`
	Reason string          `json:"reason"`
}

func act(ctx context.Context, s *session, issuer, kind string, body any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("records: act: %w", err)
	}
	return s.later(ctx, `INSERT INTO acts (issuer, kind, subject, body, kept) VALUES ($1, $2, $3, $4, 0)`, issuer, kind, subjectOf(body), b)
}

func subjectOf(body any) string {
	if n, ok := body.(noteAct); ok {
		return hex.EncodeToString(n.Event)
	}
	return ""
}

// ActsToKeep are at most limit acts that do not lie among the objects yet, in their order.
func (db *DB) ActsToKeep(ctx context.Context, limit int) ([]Act, error) {
	return db.acts(ctx, `WHERE kept = 0 ORDER BY ordinal LIMIT $1`, limit)
}

func (db *DB) acts(ctx context.Context, where string, args ...any) ([]Act, error) {
	rows, err := db.rows(ctx, `SELECT ordinal, kind, body FROM acts `+where, args...)
	if err != nil {
		return nil, say("read acts", err)
	}
	var found []Act
	err = collect(rows, func(r row) error {
		var a Act
		var body []byte
		if err := r.Scan(&a.Ordinal, &a.Kind, &body); err != nil {
			return err
		}
		a.Body = body
		found = append(found, a)
		return nil
	})
	return found, say("read acts", err)
}

// LastAct is the ordinal of the newest act, 0 for none.
func (db *DB) LastAct(ctx context.Context) (n int64, err error) {
	err = db.row(ctx, `SELECT COALESCE(MAX(ordinal), 0) FROM acts`).Scan(&n)
	return n, say("read acts", err)
}

// ActsKept says that these acts lie among the objects. One with a smaller ordinal may be written later than they: where
// several processes write, ordinals are not the order of commits.
func (db *DB) ActsKept(ctx context.Context, kept []Act) error {
	return db.write(ctx, func(ctx context.Context, s *session) error {
		for _, a := range kept {
			if err := s.later(ctx, `UPDATE acts SET kept = 1 WHERE ordinal = $1`, a.Ordinal); err != nil {
				return err
			}
		}
		return nil
	})
}

const actsTold = "acts-told"

// tellOnce makes acts of what stands in the records of a program that kept none, before anything else is written: what an
// act tells of may rest on it. Sheets are told in runs. New records have nothing to tell.
func (db *DB) tellOnce(ctx context.Context) error {
	var there int
	err := db.row(ctx, `SELECT COUNT(*) FROM installation WHERE name = '`+actsTold+`'`).Scan(&there)
	if err != nil || there > 0 {
		return say("read acts", err)
	}
	return db.write(ctx, func(ctx context.Context, s *session) error {
		if err := setValue(ctx, s, actsTold, []byte{1}); err != nil {
			return err
		}
		if err := tellPeople(ctx, s); err != nil {
			return err
		}
		if err := tellSheets(ctx, s); err != nil {
			return err
		}
		return tellNotes(ctx, s)
	})
}

func tellPeople(ctx context.Context, s *session) error {
	var organisations []organisationAct
	err := s.each(ctx, `SELECT issuer, name, name_en, kind, region FROM organisations ORDER BY issuer`, nil, func(r row) error {
		var o organisationAct
		err := r.Scan(&o.Code, &o.Name, &o.NameEN, &o.Kind, &o.Region)
		organisations = append(organisations, o)
		return err
	})
	for _, o := range organisations {
		err = errors.Join(err, act(ctx, s, o.Code, actOrganisation, o))
	}
	if err != nil {
		return err
	}
	var people []personAct
	err = s.each(ctx, `SELECT issuer, id, roles, salt, verifier FROM people ORDER BY issuer, id`, nil, func(r row) error {
		var p personAct
		var roles string
		err := r.Scan(&p.Organisation, &p.ID, &roles, &p.Salt, &p.Verifier)
		p.Roles = unwords(roles)
		people = append(people, p)
		return err
	})
	for _, p := range people {
		err = errors.Join(err, act(ctx, s, p.Organisation, actPerson, p))
	}
	return err
}

func tellSheets(ctx context.Context, s *session) error {
	var runs []sheetsAct
	var singles []sheetAct
	var kinds []string
	err := s.each(ctx, `SELECT number, issuer, type, state, business_id, reason, drawn_at, COALESCE(used_at, 0) FROM sheets ORDER BY number`, nil,
		func(r row) error {
			one := sheetsAct{Count: 1}
			var state, business, reason string
			var used int64
			if err := r.Scan(&one.First, &one.Issuer, &one.Type, &state, &business, &reason, &one.Drawn, &used); err != nil {
				return err
			}
			if n := len(runs); n > 0 && runs[n-1].Issuer == one.Issuer && runs[n-1].Type == one.Type && runs[n-1].Drawn == one.Drawn &&
				numberAfter(runs[n-1].First, runs[n-1].Count) == one.First {
				runs[n-1].Count++
			} else {
				runs = append(runs, one)
			}
			switch licence.SheetState(state) {
			case licence.SheetBound:
				kinds, singles = append(kinds, actBound), append(singles, sheetAct{Issuer: one.Issuer, Number: one.First, Business: business})
			case licence.SheetSpoiled:
				kinds, singles = append(kinds, actSpoiled), append(singles, sheetAct{Issuer: one.Issuer, Number: one.First, Reason: reason, At: used})
			}
			return nil
		})
	for _, r := range runs {
		err = errors.Join(err, act(ctx, s, r.Issuer, actSheets, r))
	}
	for n, one := range singles {
		err = errors.Join(err, act(ctx, s, one.Issuer, kinds[n], one))
	}
	return err
}

func tellNotes(ctx context.Context, s *session) error {
	var notes []noteAct
	var issuers []string
	err := s.each(ctx, `SELECT l.id, l.issuer, e.hash, n.name, n.key_version, n.text FROM notes n JOIN licences l ON l.ordinal = n.licence
		JOIN events e ON e.ordinal = n.event ORDER BY n.event`, nil, func(r row) error {
		var n noteAct
		var issuer string
		err := r.Scan(&n.Licence, &issuer, &n.Event, &n.Name, &n.Version, &n.Text)
		notes, issuers = append(notes, n), append(issuers, issuer)
		return err
	})
	for k, n := range notes {
		err = errors.Join(err, act(ctx, s, issuers[k], actNote, n))
	}
	return err
}

// numberAfter is the number n places after first, "" if its letter has no such.
func numberAfter(first string, n int) string {
	var at int
	if _, err := fmt.Sscanf(first[1:], "%d", &at); err != nil || at+n > 999_999_999 {
		return ""
	}
	return fmt.Sprintf("%s%09d", first[:1], at+n)
}

// Adopt takes acts in that lie among the objects and not in these records, in their order: what they tell of is made so.
// One that is here already with the same content is passed over; licence.ErrConflict for one with another.
func (db *DB) Adopt(ctx context.Context, acts []Act) (count int, err error) {
	err = db.write(ctx, func(ctx context.Context, s *session) error {
		count = 0
		for _, a := range acts {
			var kind string
			var body []byte
			err := s.scan(ctx, `SELECT kind, body FROM acts WHERE ordinal = $1`, []any{a.Ordinal}, &kind, &body)
			if err == nil {
				if kind != a.Kind || string(body) != string(a.Body) {
					return fmt.Errorf("%w: act %d is another one here", licence.ErrConflict, a.Ordinal)
				}
				continue
			}
			if !errors.Is(err, sql.ErrNoRows) {
				return err
			}
			issuer, subject, err := adopt(ctx, s, a)
			if err != nil {
				return fmt.Errorf("act %d: %w", a.Ordinal, err)
			}
			if err := s.later(ctx, `INSERT INTO acts (ordinal, issuer, kind, subject, body, kept) VALUES ($1, $2, $3, $4, $5, 1)`,
				a.Ordinal, issuer, a.Kind, subject, []byte(a.Body)); err != nil {
				return err
			}
			count++
		}
		if count > 0 && s.sql.actsAdopted != "" {
			return s.later(ctx, s.sql.actsAdopted)
		}
		return nil
	})
	return count, err
}

func adopt(ctx context.Context, s *session, a Act) (issuer, subject string, err error) {
	read := func(v any) error { return json.Unmarshal(a.Body, v) }
	switch a.Kind {
	case actOrganisation:
		var o organisationAct
		if err := read(&o); err != nil {
			return "", "", err
		}
		return o.Code, "", putOrganisation(ctx, s, licence.Organisation{Code: o.Code, Name: o.Name, NameEN: o.NameEN, Kind: o.Kind, Region: o.Region})
	case actPerson:
		var p personAct
		if err := read(&p); err != nil {
			return "", "", err
		}
		person := access.Person{Organisation: p.Organisation, ID: p.ID, Salt: p.Salt, Verifier: p.Verifier}
		for _, r := range p.Roles {
			person.Roles = append(person.Roles, access.Role(r))
		}
		return p.Organisation, "", putPerson(ctx, s, person)
	case actSheets:
		var r sheetsAct
		if err := read(&r); err != nil {
			return "", "", err
		}
		return r.Issuer, "", adoptSheets(ctx, s, r)
	case actBound:
		var b sheetAct
		if err := read(&b); err != nil {
			return "", "", err
		}
		err := s.later(ctx, `UPDATE sheets SET state = 'bound', business_id = $1 WHERE number = $2 AND state = 'allotted'`, b.Business, b.Number)
		return b.Issuer, "", err
	case actSpoiled:
		var b sheetAct
		if err := read(&b); err != nil {
			return "", "", err
		}
		err := s.later(ctx, `UPDATE sheets SET state = 'spoiled', reason = $1, used_at = $2 WHERE number = $3 AND state IN ('allotted', 'bound')`,
			b.Reason, b.At, b.Number)
		return b.Issuer, "", err
	case actNote: // its event may not be back yet: see AdoptEvent
		var n noteAct
		err := read(&n)
		return "", subjectOf(n), err
	case actErased: // its issuer may not be back yet: see AdoptErasures
		return "", "", nil
	}
	return "", "", fmt.Errorf("%w: acts of the kind %q are of a newer program", ErrVersion, a.Kind)
}

func adoptSheets(ctx context.Context, s *session, r sheetsAct) error {
	if len(r.First) != 10 || r.Count < 1 || r.Count > 10*maxAllotment {
		return fmt.Errorf("%w: a run of sheets", licence.ErrRefused)
	}
	rows := make([][]any, 0, 64)
	for n := range r.Count {
		rows = append(rows, []any{numberAfter(r.First, n), r.Issuer, r.Type, string(licence.SheetAllotted), r.Drawn})
		if len(rows) == cap(rows) || n == r.Count-1 {
			if err := s.insert(ctx, `INSERT INTO sheets (number, issuer, type, state, drawn_at)`, ` ON CONFLICT (number) DO NOTHING`, rows); err != nil {
				return err
			}
			rows = rows[:0]
		}
	}
	return nil
}

// FirstFree are the first count numbers of a pile that are free: those that licences under way took when the records were
// lost, if any did.
func (db *DB) FirstFree(ctx context.Context, p issuing.Pile, count int) ([]string, error) {
	return db.numbers(ctx, `SELECT number FROM sheets WHERE issuer = $1 AND type = $2 AND state = 'allotted' ORDER BY number LIMIT $3`, p.Issuer, p.Type, count)
}

// Gaps are the free numbers of a pile that were drawn together with a later one that is used: the books give numbers out in
// their order, so that somebody had these.
func (db *DB) Gaps(ctx context.Context, p issuing.Pile) ([]string, error) {
	return db.numbers(ctx, `SELECT f.number FROM sheets f JOIN (SELECT u.drawn_at, MAX(u.number) AS number FROM sheets u
		WHERE u.issuer = $1 AND u.type = $2 AND u.state = 'issued' AND u.business_id = '' GROUP BY u.drawn_at) last
		ON last.drawn_at = f.drawn_at
		WHERE f.issuer = $1 AND f.type = $2 AND f.state = 'allotted' AND f.number < last.number ORDER BY f.number`, p.Issuer, p.Type)
}

func (db *DB) numbers(ctx context.Context, query string, args ...any) ([]string, error) {
	rows, err := db.rows(ctx, query, args...)
	if err != nil {
		return nil, say("read the stock", err)
	}
	var numbers []string
	err = collect(rows, func(r row) error {
		var n string
		err := r.Scan(&n)
		numbers = append(numbers, n)
		return err
	})
	return numbers, say("read the stock", err)
}
