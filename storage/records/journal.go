package records

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/elicence/elicence/due"
	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/licence"
)

// writeEvents is write for changes that append events; change returns the time of the newest in µs.
func (db *DB) writeEvents(ctx context.Context, change func(ctx context.Context, s *session) (int64, error)) error {
	var newest int64
	err := db.write(ctx, func(ctx context.Context, s *session) (err error) {
		newest, err = change(ctx, s)
		return err
	})
	// Also when the commit's answer was lost: a clock held against an event that is not there still is no harm.
	for last := db.lastEvent.Load(); newest > last && !db.lastEvent.CompareAndSwap(last, newest); {
		last = db.lastEvent.Load()
	}
	return err
}

func insertEvent(ctx context.Context, s *session, ordinal int64, issuer string, e issuing.Event) (int64, error) {
	var event int64
	err := s.scan(ctx, `INSERT INTO events (licence, issuer, sequence, kind, hash, bytes, at, actor, refusal)
		VALUES ($1,$2,$3,$4,$5,$6,$7,$8,'') RETURNING ordinal`,
		[]any{ordinal, issuer, e.Sequence, e.Kind, e.Hash[:], e.Bytes, micro(e.At), e.Actor}, &event)
	return event, err
}

// sealedNote is a step's note, sealed before the writer is asked.
type sealedNote struct {
	version uint32
	text    []byte
}

func (db *DB) sealNote(ctx context.Context, st issuing.Step) (*sealedNote, error) {
	if st.Note == nil {
		return nil, nil
	}
	k, v, err := db.dataKeyOf(ctx, st.Licence)
	if err != nil {
		return nil, err
	}
	text, err := db.seal(k, notePlace(st.Licence, st.Event.Hash, v), st.Note)
	return &sealedNote{version: v, text: text}, err
}

// appendStep writes one step if nothing came between.
func appendStep(ctx context.Context, s *session, st issuing.Step, note *sealedNote) error {
	var ordinal int64
	var issuer string
	var last []byte
	var key int
	err := s.scan(ctx, `SELECT l.ordinal, l.issuer, LENGTH(l.data_key), e.hash FROM licences l LEFT JOIN events e
		ON e.licence = l.ordinal AND e.refusal = '' WHERE l.id = $1 ORDER BY e.sequence DESC LIMIT 1`+s.sql.lockLicence,
		[]any{st.Licence}, &ordinal, &issuer, &key, &last)
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("%w: licence %s", licence.ErrNotFound, st.Licence)
	}
	if err != nil {
		return err
	}
	if !slices.Equal(last, st.Previous[:]) {
		return fmt.Errorf("%w: licence %s", issuing.ErrStale, st.Licence)
	}
	event, err := insertEvent(ctx, s, ordinal, issuer, st.Event)
	if err != nil {
		return err
	}
	if note != nil {
		if err := s.later(ctx, `INSERT INTO notes (event, licence, issuer, name, key_version, text) VALUES ($1,$2,$3,$4,$5,$6)`,
			event, ordinal, issuer, st.NoteName, note.version, note.text); err != nil {
			return err
		}
		told := noteAct{Licence: st.Licence, Event: st.Event.Hash[:], Name: st.NoteName, Version: note.version, Text: note.text}
		if err := act(ctx, s, issuer, actNote, told); err != nil {
			return err
		}
	}
	if st.Status != nil {
		if err := s.later(ctx, `UPDATE licences SET status = $1, status_at = $2, replaced_by = $3 WHERE ordinal = $4`,
			int(*st.Status), micro(st.Event.At), st.ReplacedBy, ordinal); err != nil {
			return err
		}
		if err := wake(ctx, s, due.UpkeepStatus, st.Event.At); err != nil {
			return err
		}
	}
	if err := insertDeliveries(ctx, s, ordinal, issuer, st.Event, st.Deliveries, key == 0); err != nil {
		return err
	}
	return record(ctx, s, st.Audit)
}

// AppendStep implements issuing.Journal. licence.ErrNotFound when there is no such licence.
func (db *DB) AppendStep(ctx context.Context, st issuing.Step) error {
	note, err := db.sealNote(ctx, st)
	if err != nil {
		return err
	}
	return db.writeEvents(ctx, func(ctx context.Context, s *session) (int64, error) {
		if err := appendStep(ctx, s, st, note); err != nil {
			return 0, err
		}
		return micro(st.Event.At), nil
	})
}

const eventColumns = `SELECT l.id, e.sequence, e.kind, e.hash, e.bytes, e.at, e.actor, e.log_index, e.refusal
	FROM events e JOIN licences l ON l.ordinal = e.licence `

func (db *DB) events(ctx context.Context, query string, args ...any) ([]issuing.Event, error) {
	rows, err := db.rows(ctx, query, args...)
	if err != nil {
		return nil, say("read events", err)
	}
	var events []issuing.Event
	err = collect(rows, func(r row) error {
		var e issuing.Event
		var hash []byte
		var at int64
		var index sql.NullInt64
		if err := r.Scan(&e.Licence, &e.Sequence, &e.Kind, &hash, &e.Bytes, &at, &e.Actor, &index, &e.Refusal); err != nil {
			return err
		}
		if err := digest(&e.Hash, hash); err != nil {
			return err
		}
		e.At = fromMicro(at)
		if index.Valid {
			i := uint64(index.Int64)
			e.Index = &i
		}
		events = append(events, e)
		return nil
	})
	return events, say("read events", err)
}

// EventsOf implements issuing.Journal.
func (db *DB) EventsOf(ctx context.Context, licenceID string) ([]issuing.Event, error) {
	return db.events(ctx, eventColumns+`WHERE l.id = $1 AND e.refusal = '' ORDER BY e.sequence`, licenceID)
}

// HistoryOf returns every event that was recorded for a licence, in the order of recording, those that the ledger refused included.
func (db *DB) HistoryOf(ctx context.Context, licenceID string) ([]issuing.Event, error) {
	return db.events(ctx, eventColumns+`WHERE l.id = $1 ORDER BY e.ordinal`, licenceID)
}

// Pending implements issuing.Journal.
func (db *DB) Pending(ctx context.Context, limit int) ([]issuing.Event, error) {
	return db.events(ctx, eventColumns+`WHERE e.log_index IS NULL AND e.refusal = '' ORDER BY e.ordinal LIMIT $1`, limit)
}

// PendingCount implements issuing.Journal.
func (db *DB) PendingCount(ctx context.Context) (int, error) {
	var n int
	err := db.row(ctx, `SELECT COUNT(*) FROM events WHERE log_index IS NULL AND refusal = ''`).Scan(&n)
	return n, say("count events", err)
}

// MarkSequenced implements issuing.Journal. licence.ErrConflict if an event was answered otherwise before,
// licence.ErrNotFound for an event that is not recorded here; then nothing is marked.
func (db *DB) MarkSequenced(ctx context.Context, answers []issuing.Answer) error {
	return db.write(ctx, func(ctx context.Context, s *session) error {
		for _, a := range answers {
			var index any = int64(a.Index)
			if a.Refusal != "" {
				index = nil
			}
			n, err := s.exec(ctx, `UPDATE events SET log_index = $1, refusal = $2
				WHERE hash = $3 AND log_index IS NULL AND refusal = ''`, index, a.Refusal, a.Hash[:])
			if err != nil {
				return err
			}
			if n == 1 && a.Refusal == "" {
				continue
			}
			if n == 1 {
				if err := takeBack(ctx, s, a); err != nil {
					return err
				}
				continue
			}
			if err := sameAnswer(ctx, s, a); err != nil {
				return err
			}
		}
		return nil
	})
}

func sameAnswer(ctx context.Context, s *session, a issuing.Answer) error {
	var index sql.NullInt64
	var refusal string
	err := s.scan(ctx, `SELECT log_index, refusal FROM events WHERE hash = $1`, []any{a.Hash[:]}, &index, &refusal)
	if err != nil {
		return absent(err, fmt.Sprintf("event %x", a.Hash[:8]))
	}
	if refusal != a.Refusal || a.Refusal == "" && (!index.Valid || uint64(index.Int64) != a.Index) {
		return fmt.Errorf("%w: event %x was answered otherwise before", licence.ErrConflict, a.Hash[:8])
	}
	return nil
}

// LastEventTime implements issuing.Journal.
func (db *DB) LastEventTime(ctx context.Context) (time.Time, error) {
	if db.writer != nil && !db.shared() {
		return fromMicro(db.lastEvent.Load()), nil
	}
	last, err := db.newestEvent(ctx)
	return fromMicro(last), err
}

func (db *DB) newestEvent(ctx context.Context) (int64, error) {
	var last int64
	err := db.row(ctx, `SELECT COALESCE(MAX(at), 0) FROM events`).Scan(&last)
	return last, say("read the newest event", err)
}

// Notes implements issuing.Journal.
func (db *DB) Notes(ctx context.Context, licenceID string) (map[int]issuing.Note, error) {
	type sealed struct {
		sequence int
		name     string
		hash     [32]byte
		version  uint32
		text     []byte
	}
	rows, err := db.rows(ctx, `SELECT e.sequence, n.name, e.hash, n.key_version, n.text FROM licences l
		JOIN notes n ON n.licence = l.ordinal JOIN events e ON e.ordinal = n.event
		WHERE l.id = $1 AND e.refusal = ''`, licenceID)
	if err != nil {
		return nil, say("read notes", err)
	}
	var all []sealed
	err = collect(rows, func(r row) error {
		var n sealed
		var hash []byte
		if err := r.Scan(&n.sequence, &n.name, &hash, &n.version, &n.text); err != nil {
			return err
		}
		if err := digest(&n.hash, hash); err != nil {
			return err
		}
		all = append(all, n)
		return nil
	})
	if err != nil {
		return nil, say("read notes", err)
	}
	notes := make(map[int]issuing.Note, len(all))
	if len(all) == 0 {
		return notes, nil
	}
	k, _, err := db.dataKeyOf(ctx, licenceID)
	if err != nil {
		return nil, err
	}
	for _, n := range all {
		text, err := open(k, notePlace(licenceID, n.hash, n.version), n.text)
		if err != nil {
			return nil, err
		}
		notes[n.sequence] = issuing.Note{Name: n.name, Text: text}
	}
	return notes, nil
}

// digest reads a column that holds 32 bytes.
func digest(to *[32]byte, b []byte) error {
	if len(b) != len(to) {
		return fmt.Errorf("a digest of %d bytes", len(b))
	}
	copy(to[:], b)
	return nil
}
