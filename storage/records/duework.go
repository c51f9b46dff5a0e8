package records

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/emmansun/gmsm/sm3"

	"github.com/elicence/elicence/audit"
	"github.com/elicence/elicence/due"
	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/licence"
)

// deliveryKey names one delivery for ever: the same step gives the same receiver the same key, also from records that were
// rebuilt. It tells an outsider nothing: licence ids are random.
func deliveryKey(e issuing.Event, d issuing.Delivery) string {
	sum := sm3.Sum([]byte("elicence/delivery-key/1\x00" + e.Licence + "\x00" + strconv.Itoa(e.Sequence) + "\x00" + d.Receiver + "\x00" + d.Topic))
	return hex.EncodeToString(sum[:16])
}

const insertDue = `INSERT INTO due_work (idempotency_key, issuer, lane, topic, licence, sequence, state, due, ready, epoch, attempts,
	wakes, failure_code, failure_detail, failed_at, created, ended_at)`

// insertDeliveries writes what the event e makes due, in its transaction. erased says that nothing is left to deliver of the
// licence: then the row says so from the beginning.
func insertDeliveries(ctx context.Context, s *session, ordinal int64, issuer string, e issuing.Event, deliveries []issuing.Delivery, erased bool) error {
	rows := make([][]any, len(deliveries))
	for i, d := range deliveries {
		state, why, at := due.Due, "", micro(d.Due)
		ended := int64(0)
		switch {
		case erased:
			state, why, ended = due.Cancelled, due.CodeErased, at
		case d.Held:
			state = due.Held
		default:
			s.wakes(d.Receiver)
		}
		rows[i] = []any{deliveryKey(e, d), issuer, d.Receiver, d.Topic, ordinal, e.Sequence, string(state), at, at, 0, 0, 0, why, "", ended, at, ended}
	}
	return s.insert(ctx, insertDue, "", rows)
}

// heldForPaper holds the deliveries of a licence whose sheet was bound to it before: in paper mode nobody is told of it
// before the claimant has the paper.
func heldForPaper(ctx context.Context, s *session, ordinal int64, deliveries []issuing.Delivery) ([]issuing.Delivery, error) {
	if len(deliveries) == 0 {
		return nil, nil
	}
	var bound int
	err := s.scan(ctx, `SELECT COUNT(*) FROM licences l JOIN sheets b ON b.number = l.number
		WHERE l.ordinal = $1 AND b.licence = l.id AND b.business_id <> ''`, []any{ordinal}, &bound)
	if err != nil || bound == 0 {
		return deliveries, err
	}
	held := slices.Clone(deliveries)
	for i := range held {
		held[i].Held = true
	}
	return held, nil
}

// wake makes an upkeep due at once, in the transaction of the data that it is about. One that is being done just now is done
// again: it may have read what was there before.
func wake(ctx context.Context, s *session, lane string, at time.Time) error {
	us := micro(at)
	s.wakes(lane)
	_, err := s.exec(ctx, insertDue+` VALUES ($1,'',$2,'upkeep',NULL,-1,'due',$3,$3,0,0,1,'','',0,$3,0)
		ON CONFLICT (idempotency_key) DO UPDATE SET wakes = due_work.wakes + 1,
			due = CASE WHEN due_work.state = 'due' AND due_work.due > $3 THEN $3 ELSE due_work.due END,
			ready = CASE WHEN due_work.state = 'due' AND due_work.ready > $3 THEN $3 ELSE due_work.ready END`,
		due.UpkeepKey(lane), lane, us)
	return err
}

// jobColumns are those of due_work with the licence's own; scanJob reads them.
const jobColumns = `ordinal, idempotency_key, issuer, lane, topic, sequence, state, due, epoch, attempts, wakes, failure_code,
	failure_detail, failed_at, created, ended_at, (SELECT l.id FROM licences l WHERE l.ordinal = due_work.licence),
	(SELECT l.number FROM licences l WHERE l.ordinal = due_work.licence)`

func scanJob(r row) (due.Job, error) {
	var j due.Job
	var state string
	var at, failed, created, ended int64
	var id, number sql.NullString
	err := r.Scan(&j.ID, &j.Key, &j.Issuer, &j.Lane, &j.Topic, &j.Sequence, &state, &at, &j.Epoch, &j.Attempts, &j.Wakes,
		&j.Failure.Code, &j.Failure.Detail, &failed, &created, &ended, &id, &number)
	j.State, j.Due, j.FailedAt, j.Created, j.Ended = due.State(state), fromMicro(at), fromMicro(failed), fromMicro(created), fromMicro(ended)
	j.Licence, j.Number = id.String, number.String
	return j, err
}

// takeJobs picks once and for all before it changes anything: picked again for each row, a limit would not hold. Of several
// processes that take, none waits for another.
func takeJobs(d dialect) string {
	return `WITH picked AS MATERIALIZED (SELECT ordinal FROM due_work
		WHERE lane = $1 AND state IN ('due', 'leased') AND ready <= $2
		AND NOT EXISTS (SELECT 1 FROM due_lanes p WHERE p.lane = $1 AND p.paused_until > $2)
		ORDER BY ready, ordinal LIMIT $4` + d.skipLocked + `)
	UPDATE due_work SET state = 'leased', epoch = epoch + 1, attempts = attempts + 1, ready = $3
	WHERE ordinal IN (SELECT ordinal FROM picked) RETURNING ` + jobColumns
}

// Take implements due.Queue.
func (db *DB) Take(ctx context.Context, lane string, now, until time.Time, limit int) ([]due.Job, error) {
	// Most looks find nothing: the writer is asked only when there is something to write.
	next, err := db.NextDue(ctx, lane)
	if err != nil || next.IsZero() || next.After(now) {
		return nil, err
	}
	var jobs []due.Job
	err = db.write(ctx, func(ctx context.Context, s *session) error {
		jobs = nil
		return s.each(ctx, takeJobs(s.sql), []any{lane, micro(now), micro(until), limit}, func(r row) error {
			j, err := scanJob(r)
			jobs = append(jobs, j)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(jobs, func(a, b due.Job) int { return cmp.Or(a.Due.Compare(b.Due), cmp.Compare(a.ID, b.ID)) })
	return jobs, nil
}

// Renew implements due.Queue.
func (db *DB) Renew(ctx context.Context, id, epoch int64, until time.Time) error {
	return db.write(ctx, func(ctx context.Context, s *session) error {
		n, err := s.exec(ctx, `UPDATE due_work SET ready = $3 WHERE ordinal = $1 AND epoch = $2 AND state = 'leased'`, id, epoch, micro(until))
		if err == nil && n == 0 {
			return fmt.Errorf("%w: job %d", due.ErrFenced, id)
		}
		return err
	})
}

// Settle implements due.Queue.
func (db *DB) Settle(ctx context.Context, id, epoch int64, t due.Settlement) error {
	at, failedAt, ended, fresh, uncounted := micro(t.Due), micro(t.At), int64(0), 0, bit(!t.Attempt)
	if t.Failure == (due.Failure{}) {
		failedAt = 0
		fresh = bit(t.State == due.Due) // periodic work that was done begins anew
	}
	if t.State == due.Done {
		ended = micro(t.At)
	}
	return db.write(ctx, func(ctx context.Context, s *session) error {
		var lane string
		err := s.scan(ctx, `UPDATE due_work SET state = $3,
			due = CASE WHEN $3 = 'due' AND $5 = 1 AND wakes <> $11 THEN $12 WHEN $3 = 'due' THEN $4 ELSE due END,
			ready = CASE WHEN $3 = 'due' AND $5 = 1 AND wakes <> $11 THEN $12 WHEN $3 = 'due' THEN $4 ELSE due END,
			attempts = CASE WHEN $5 = 1 THEN 0 ELSE attempts - $6 END, failure_code = $7, failure_detail = $8, failed_at = $9, ended_at = $10
			WHERE ordinal = $1 AND epoch = $2 AND state = 'leased' RETURNING lane`,
			[]any{id, epoch, string(t.State), at, fresh, uncounted, t.Failure.Code, t.Failure.Detail, failedAt, ended, t.Wakes, micro(t.At)}, &lane)
		if errors.Is(err, sql.ErrNoRows) {
			return settledBefore(ctx, s, id, epoch)
		}
		if err != nil {
			return err
		}
		if t.State == due.Due && t.Lane.IsZero() && !t.Due.After(t.At) {
			s.wakes(lane) // it was given back, by a program that is being stopped: others may go on with it
		}
		if err := settleLane(ctx, s, lane, t); err != nil {
			return err
		}
		if t.Audit == nil {
			return nil
		}
		return record(ctx, s, *t.Audit)
	})
}

// settledBefore tells a settlement that stands already, its answer having been lost, from one that comes too late: only the
// holder of an epoch moves a job away from leased under it.
func settledBefore(ctx context.Context, s *session, id, epoch int64) error {
	var same int
	err := s.scan(ctx, `SELECT COUNT(*) FROM due_work WHERE ordinal = $1 AND epoch = $2 AND state <> 'leased'`, []any{id, epoch}, &same)
	if err == nil && same == 0 {
		return fmt.Errorf("%w: job %d", due.ErrFenced, id)
	}
	return err
}

// settleLane pauses a lane whose receiver is away, or whose jobs wait for something that all need, and frees one whose receiver has answered, be it with a refusal.
func settleLane(ctx context.Context, s *session, lane string, t due.Settlement) error {
	var err error
	switch {
	case !t.Lane.IsZero():
		err = s.later(ctx, `INSERT INTO due_lanes (lane, issuer, paused_until, failures) VALUES ($1, '', $2, $3)
			ON CONFLICT (lane) DO UPDATE SET paused_until = excluded.paused_until, failures = due_lanes.failures + excluded.failures`,
			lane, micro(t.Lane), bit(t.Attempt))
	case t.Attempt:
		err = s.later(ctx, `DELETE FROM due_lanes WHERE lane = $1`, lane)
	}
	return err
}

// Pause implements due.Queue.
func (db *DB) Pause(ctx context.Context, lane string) (until time.Time, failures int, err error) {
	var at int64
	err = db.row(ctx, `SELECT paused_until, failures FROM due_lanes WHERE lane = $1`, lane).Scan(&at, &failures)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return fromMicro(at), failures, say("read a lane", err)
}

const nextDue = `SELECT ready FROM due_work WHERE lane = $1 AND state IN ('due', 'leased') ORDER BY ready LIMIT 1`

// NextDue implements due.Queue.
func (db *DB) NextDue(ctx context.Context, lane string) (time.Time, error) {
	var at int64
	err := db.row(ctx, nextDue, lane).Scan(&at)
	if errors.Is(err, sql.ErrNoRows) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, say("read due work", err)
	}
	until, _, err := db.Pause(ctx, lane)
	if next := time.UnixMicro(at).UTC(); next.After(until) { // a time of 0 is a time here
		return next, err
	}
	return until, err
}

// endTaken gives back the jobs that an earlier process had taken: it held the lock of this file and is gone. Where several
// processes write, their leases end by time alone.
func endTaken(ctx context.Context, s *session) error {
	return s.later(ctx, `UPDATE due_work SET state = 'due', epoch = epoch + 1, ready = due WHERE state = 'leased'`)
}

// Arm implements due.Desk.
func (db *DB) Arm(ctx context.Context, n due.New, now time.Time) (fresh bool, err error) {
	err = db.write(ctx, func(ctx context.Context, s *session) error {
		s.wakes(n.Lane)
		at := micro(n.Due)
		rows, err := s.exec(ctx, insertDue+` VALUES ($1,$2,$3,$4,NULL,-1,'due',$5,$5,0,0,0,'','',0,$6,0) ON CONFLICT (idempotency_key) DO NOTHING`,
			n.Key, n.Issuer, n.Lane, n.Topic, at, micro(now))
		fresh = rows == 1
		return err
	})
	return fresh, err
}

const (
	jobsOfState = `SELECT ` + jobColumns + ` FROM due_work WHERE state = $1 AND ordinal > $2 ORDER BY ordinal LIMIT $3`
	jobsOfLane  = `SELECT ` + jobColumns + ` FROM due_work WHERE state = $1 AND lane = $4 AND ordinal > $2 ORDER BY ordinal LIMIT $3`
	waitingJobs = `SELECT lane, state, COUNT(*) FROM due_work WHERE state IN ('held', 'due', 'leased', 'dead') GROUP BY state, lane`
)

// Jobs implements due.Desk.
func (db *DB) Jobs(ctx context.Context, state due.State, lane string, after int64, limit int) ([]due.Job, error) {
	query, args := jobsOfState, []any{string(state), after, limit}
	if lane != "" {
		query, args = jobsOfLane, append(args, lane)
	}
	rows, err := db.rows(ctx, query, args...)
	if err != nil {
		return nil, say("list due work", err)
	}
	var jobs []due.Job
	err = collect(rows, func(r row) error {
		j, err := scanJob(r)
		jobs = append(jobs, j)
		return err
	})
	return jobs, say("list due work", err)
}

// Job implements due.Desk. licence.ErrNotFound when there is none.
func (db *DB) Job(ctx context.Context, id int64) (due.Job, error) {
	rows, err := db.rows(ctx, `SELECT `+jobColumns+` FROM due_work WHERE ordinal = $1`, id)
	if err != nil {
		return due.Job{}, say("read due work", err)
	}
	var found []due.Job
	err = collect(rows, func(r row) error {
		j, err := scanJob(r)
		found = append(found, j)
		return err
	})
	if err != nil {
		return due.Job{}, say("read due work", err)
	}
	if len(found) == 0 {
		return due.Job{}, fmt.Errorf("%w: job %d", licence.ErrNotFound, id)
	}
	return found[0], nil
}

// Waiting implements due.Desk.
func (db *DB) Waiting(ctx context.Context) (map[string]map[due.State]int, error) {
	rows, err := db.rows(ctx, waitingJobs)
	if err != nil {
		return nil, say("count due work", err)
	}
	counts := map[string]map[due.State]int{}
	err = collect(rows, func(r row) error {
		var lane, state string
		var n int
		if err := r.Scan(&lane, &state, &n); err != nil {
			return err
		}
		if counts[lane] == nil {
			counts[lane] = map[due.State]int{}
		}
		counts[lane][due.State(state)] = n
		return nil
	})
	return counts, say("count due work", err)
}

// moved is a job that a person has moved.
type moved struct{ lane, licence string }

// move runs an UPDATE … RETURNING lane and the licence's id; the audit row says what was done with which licence's work.
func move(ctx context.Context, s *session, who audit.Entry, query string, args ...any) (all []moved, err error) {
	err = s.each(ctx, query+` RETURNING lane, (SELECT l.id FROM licences l WHERE l.ordinal = due_work.licence)`, args, func(r row) error {
		var m moved
		var id sql.NullString
		err := r.Scan(&m.lane, &id)
		m.licence = id.String
		all = append(all, m)
		return err
	})
	for i := 0; err == nil && i < len(all); i++ {
		who.Licence = all[i].licence
		err = record(ctx, s, who)
	}
	return all, err
}

// Retry implements due.Desk. licence.ErrNotFound and licence.ErrState name the first job that cannot be sent again.
func (db *DB) Retry(ctx context.Context, ids []int64, at time.Time, who audit.Entry) (count int, err error) {
	err = db.write(ctx, func(ctx context.Context, s *session) error {
		count = 0
		for _, id := range ids {
			all, err := move(ctx, s, who, `UPDATE due_work SET state = 'due', due = $1, ready = $1, attempts = 0
				WHERE ordinal = $2 AND state IN ('due', 'dead')`, micro(at), id)
			if err != nil {
				return err
			}
			if len(all) == 0 {
				return notMoved(ctx, s, id)
			}
			s.wakes(all[0].lane)
			if err := s.later(ctx, `DELETE FROM due_lanes WHERE lane = $1`, all[0].lane); err != nil {
				return err
			}
			count++
		}
		return nil
	})
	return count, err
}

// Cancel implements due.Desk. licence.ErrNotFound and licence.ErrState name the first job that cannot be cancelled.
func (db *DB) Cancel(ctx context.Context, ids []int64, at time.Time, who audit.Entry) (count int, err error) {
	err = db.write(ctx, func(ctx context.Context, s *session) error {
		count = 0
		for _, id := range ids {
			all, err := move(ctx, s, who, `UPDATE due_work SET state = 'cancelled', epoch = epoch + 1, ended_at = $1
				WHERE ordinal = $2 AND state IN ('held', 'due', 'leased', 'dead')`, micro(at), id)
			if err != nil {
				return err
			}
			if len(all) == 0 {
				return notMoved(ctx, s, id)
			}
			count++
		}
		return nil
	})
	return count, err
}

func notMoved(ctx context.Context, s *session, id int64) error {
	var state string
	if err := s.scan(ctx, `SELECT state FROM due_work WHERE ordinal = $1`, []any{id}, &state); err != nil {
		return absent(err, fmt.Sprintf("job %d", id))
	}
	return fmt.Errorf("%w: job %d is %s", licence.ErrState, id, state)
}

// Release implements due.Desk.
func (db *DB) Release(ctx context.Context, licenceID string, at time.Time, who audit.Entry) (count int, err error) {
	err = db.write(ctx, func(ctx context.Context, s *session) error {
		count = 0
		err := s.each(ctx, `UPDATE due_work SET state = 'due', due = $1, ready = $1
			WHERE licence = (SELECT ordinal FROM licences WHERE id = $2) AND state = 'held' RETURNING lane`, []any{micro(at), licenceID}, func(r row) error {
			var lane string
			err := r.Scan(&lane)
			count++
			s.wakes(lane)
			return err
		})
		if err != nil {
			return err
		}
		who.Licence = licenceID
		return record(ctx, s, who)
	})
	return count, err
}

const eraseJobs = `UPDATE due_work SET state = 'cancelled', epoch = epoch + 1, ended_at = $1, failed_at = $1,
	failure_code = '` + due.CodeErased + `', failure_detail = '' WHERE licence = $2 AND state IN ('held', 'due', 'leased', 'dead')`

// cancelErased ends what was still to be delivered of a licence in the transaction that erases it: there is nothing left to
// read, and who is sending it just now is fenced off. It walks through what waits, by the index of states, and through
// nothing that has ended: erasing is rare, and an index by licence would be paid for by every birth.
func cancelErased(ctx context.Context, s *session, ordinal int64, who audit.Entry) error {
	who.What = "cancel-delivery"
	_, err := move(ctx, s, who, eraseJobs, micro(who.At), ordinal)
	return err
}

const lateUpkeep = `SELECT COUNT(*) FROM due_work WHERE idempotency_key = $1 AND state = 'due' AND due > $2 AND failure_code = ''`

// Hasten implements due.Desk.
func (db *DB) Hasten(ctx context.Context, lane string, at time.Time) (bool, error) {
	// Most have nothing to hasten: the writer is asked only when there is something to write.
	var late int
	if err := db.row(ctx, lateUpkeep, due.UpkeepKey(lane), micro(at)).Scan(&late); err != nil || late == 0 {
		return false, say("read due work", err)
	}
	hastened := false
	err := db.write(ctx, func(ctx context.Context, s *session) error {
		n, err := s.exec(ctx, `UPDATE due_work SET due = $2, ready = $2, wakes = wakes + 1
			WHERE idempotency_key = $1 AND state = 'due' AND due > $2 AND failure_code = ''`, due.UpkeepKey(lane), micro(at))
		hastened = n == 1
		return err
	})
	if hastened {
		db.wakes.wake(lane)
	}
	return hastened, err
}

// Rows are in the order in which they were made, and what was made after a time has not ended before it: looking stops there,
// and needs no index by the time of the end.
const (
	endedJobs = `SELECT ordinal, created, ended_at FROM due_work WHERE state = $1 AND ordinal > $2 ORDER BY ordinal LIMIT $3`
	pruneJobs = `DELETE FROM due_work WHERE state = $1 AND ordinal > $2 AND ordinal <= $3 AND ended_at < $4`
)

// Prune implements due.Desk. Nothing makes a row again that was removed: a delivery is written in the transaction of its
// event, which stands in its licence's history for good, and an upkeep never ends.
func (db *DB) Prune(ctx context.Context, state due.State, before time.Time, after int64, limit int) (removed int, next int64, err error) {
	if state != due.Done && state != due.Cancelled {
		return 0, 0, fmt.Errorf("%w: what is %s has not ended", licence.ErrState, state)
	}
	rows, err := db.rows(ctx, endedJobs, string(state), after, limit)
	if err != nil {
		return 0, 0, say("list due work", err)
	}
	var last int64
	seen, old, older := 0, 0, false
	err = collect(rows, func(r row) error {
		var created, ended int64
		err := r.Scan(&last, &created, &ended)
		seen++
		older = older || created < micro(before)
		if ended < micro(before) {
			old++
		}
		return err
	})
	if err != nil {
		return 0, 0, say("list due work", err)
	}
	if seen == limit && older {
		next = last
	}
	if old == 0 {
		return 0, next, nil
	}
	err = db.write(ctx, func(ctx context.Context, s *session) error {
		n, err := s.exec(ctx, pruneJobs, string(state), after, last, micro(before))
		removed = int(n)
		return err
	})
	return removed, next, err
}
