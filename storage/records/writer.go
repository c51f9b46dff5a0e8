package records

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/elicence/elicence/access"
	"github.com/elicence/elicence/due"
	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/ledger/embedded"
	"github.com/elicence/elicence/licence"
)

// maxGroup bounds how many callers share one transaction, and with it how long the first of them waits.
const maxGroup = 64

// Lives of a job: whoever moves it away from waiting decides whether it runs.
const (
	waiting int32 = iota
	taken
	abandoned
)

type job struct {
	issuer string // whose counters the change takes, "" for none
	change func(ctx context.Context, s *session) error
	state  atomic.Int32
	err    error
	done   chan struct{}
}

// lane is where one goroutine of the writer takes its jobs from: those of its own issuers, and those that any lane may
// take. A channel that is closed becomes nil.
type lane struct {
	own, shared <-chan *job
}

// next waits for a job; nil when there will be none.
func (l *lane) next() *job {
	for l.own != nil || l.shared != nil {
		select {
		case j, open := <-l.own:
			if open {
				return j
			}
			l.own = nil
		case j, open := <-l.shared:
			if open {
				return j
			}
			l.shared = nil
		}
	}
	return nil
}

// waiting returns a job that waits already, nil if none does.
func (l *lane) waiting() *job {
	for {
		select {
		case j, open := <-l.own:
			if open {
				return j
			}
			l.own = nil
		case j, open := <-l.shared:
			if open {
				return j
			}
			l.shared = nil
		default:
			return nil
		}
	}
}

// writer changes the records, in as many lanes as the engine has: each is a goroutine with a connection of its own. What
// takes an issuer's counters goes to one lane, so that lanes do not wait for each other.
type writer struct {
	engine engine
	commit func(commit func() error) error
	hear   func(query string, args []any)
	wake   func(lane string)
	jobs   chan *job   // for any lane
	own    []chan *job // for one lane each
	lanes  sync.WaitGroup

	closing sync.RWMutex // held for reading while a job is handed in
	closed  bool

	mu       sync.Mutex
	closeErr error
}

func newWriter(ctx context.Context, e engine, o Options, wake func(lane string)) (*writer, error) {
	commit := o.Commit
	if commit == nil {
		commit = func(commit func() error) error { return commit() }
	}
	w := &writer{engine: e, commit: commit, hear: o.hear, wake: wake, jobs: make(chan *job, maxGroup)}
	for range e.lanes() {
		s, err := w.connect(ctx)
		if err != nil {
			return nil, errors.Join(err, w.close())
		}
		own := make(chan *job, maxGroup)
		w.own = append(w.own, own)
		w.lanes.Add(1)
		go w.run(s, &lane{own: own, shared: w.jobs})
	}
	return w, nil
}

func (w *writer) connect(ctx context.Context) (*session, error) {
	c, err := w.engine.connect(ctx)
	if err != nil {
		return nil, say("open for writing", err)
	}
	if w.hear != nil {
		c = overheard{c, w.hear}
	}
	return &session{connection: c, sql: w.engine.dialect()}, nil
}

// do hands a change in and waits for its commit. Cancelling ctx gives up a change that has not begun; one that has
// begun is waited for, so that an answer is never lost by impatience.
func (w *writer) do(ctx context.Context, issuer string, change func(ctx context.Context, s *session) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j := &job{issuer: issuer, change: change, done: make(chan struct{})}
	w.closing.RLock()
	if w.closed {
		w.closing.RUnlock()
		return ErrClosed
	}
	jobs := w.jobs
	if issuer != "" {
		jobs = w.own[crc32.ChecksumIEEE([]byte(issuer))%uint32(len(w.own))]
	}
	select {
	case jobs <- j:
		w.closing.RUnlock()
	case <-ctx.Done():
		w.closing.RUnlock()
		return ctx.Err()
	}
	select {
	case <-j.done:
		return j.err
	case <-ctx.Done():
		if j.state.CompareAndSwap(waiting, abandoned) {
			return ctx.Err()
		}
		<-j.done
		return j.err
	}
}

func (w *writer) close() error {
	w.closing.Lock()
	if w.closed {
		w.closing.Unlock()
		return nil
	}
	w.closed = true
	w.closing.Unlock()
	close(w.jobs)
	for _, own := range w.own {
		close(own)
	}
	w.lanes.Wait()
	return w.closeErr
}

func (w *writer) run(s *session, l *lane) {
	defer w.lanes.Done()
	for first := l.next(); first != nil; first = l.next() {
		group := gather(first, l)
		for try := 1; len(group) > 0; try++ {
			// Of several transactions that take the counters of several issuers, all take them in this order.
			slices.SortStableFunc(group, func(a, b *job) int { return strings.Compare(a.issuer, b.issuer) })
			group = w.answer(&s, group, try < maxTries)
		}
	}
	if s != nil {
		err := s.end()
		w.mu.Lock()
		w.closeErr = errors.Join(w.closeErr, err)
		w.mu.Unlock()
	}
}

// maxTries bounds how often a change is begun again because another process was quicker. Each time somebody else has got
// on, so that more than a few in a row do not happen.
const maxTries = 10

// answer runs one group and answers its jobs. Those that another process came before are returned instead if again says
// that they may be begun once more.
func (w *writer) answer(session **session, group []*job, again bool) (later []*job) {
	everybodys := w.transact(session, group)
	for _, j := range group {
		if everybodys != nil {
			j.err = everybodys
		}
		// A commit that failed is everybody's, and its outcome unknown: that is the callers' to ask.
		if again && everybodys == nil && j.err != nil && w.engine.contended(j.err) {
			later = append(later, j)
			continue
		}
		close(j.done)
	}
	return later
}

// gather takes whoever waits already. Nobody is waited for: while one group commits, the next one comes together.
func gather(first *job, l *lane) []*job {
	var group []*job
	for j := first; j != nil; j = l.waiting() {
		if j.state.CompareAndSwap(waiting, taken) {
			group = append(group, j)
		}
		if len(group) == maxGroup {
			break
		}
	}
	return group
}

// transact runs one group and answers every job of it. A job's own error spoils only that job. The error returned is
// everybody's.
func (w *writer) transact(session **session, group []*job) error {
	if *session == nil {
		// The writer's own context: no caller may interrupt a transaction that others share.
		s, err := w.connect(context.Background())
		if err != nil {
			return err
		}
		*session = s
	}
	// Hardly a group has a job that fails, and a savepoint for each costs a copy of every page that the job touches. So
	// the group runs without any; if one fails, nothing stands, and all run again with savepoints.
	clean, err := w.attempt(session, group, plain)
	if err != nil || clean {
		return err
	}
	_, err = w.attempt(session, group, inSavepoint)
	return err
}

// attempt runs the group in one transaction and reports whether it ended in the group's answers: run says what a job's
// failure does to the transaction. Answers that say no are given after the commit, too: they may rest on what an earlier
// job of the group wrote.
func (w *writer) attempt(session **session, group []*job, run func(ctx context.Context, s *session, j *job) (stands bool, err error)) (bool, error) {
	ctx, cancel := context.WithTimeout(context.Background(), transactionTime)
	defer cancel()
	s := *session
	s.woken = nil
	if err := s.later(ctx, s.sql.begin); err != nil {
		return false, w.lost(session, "begin", err)
	}
	for _, j := range group {
		stands, err := run(ctx, s, j)
		if err != nil {
			return false, w.lost(session, "write", err)
		}
		if !stands {
			return false, w.undo(ctx, session, j.err)
		}
	}
	if err := s.notify(ctx); err != nil {
		return false, w.undo(ctx, session, err)
	}
	// What was left for later may still fail. It is no part of the commit, whose failure leaves everything uncertain.
	if err := s.flush(ctx); err != nil {
		return false, w.undo(ctx, session, err)
	}
	err := w.commit(func() error {
		_, err := s.exec(ctx, "COMMIT")
		return err
	})
	// A commit whose answer was lost may have happened.
	for _, lane := range s.woken {
		w.wake(lane)
	}
	if err != nil {
		return false, w.lost(session, "commit", err)
	}
	return true, nil
}

// undo leaves nothing of a transaction that because spoiled. The error returned is that of a connection which cannot be
// trusted any more.
func (w *writer) undo(ctx context.Context, session **session, because error) error {
	(*session).drop()
	if _, err := (*session).exec(ctx, "ROLLBACK"); err != nil {
		return w.lost(session, "write", errors.Join(because, err))
	}
	return nil
}

// transactionTime bounds one transaction. A server that went away without a word must not hold its callers for ever; what
// becomes of the transaction is then unknown, as when its commit is cut.
const transactionTime = 2 * time.Minute

// plain runs a job whose failure takes the transaction with it.
func plain(ctx context.Context, s *session, j *job) (stands bool, err error) {
	j.err = j.change(ctx, s)
	return j.err == nil, nil
}

// inSavepoint runs a job that leaves nothing behind when it fails.
func inSavepoint(ctx context.Context, s *session, j *job) (stands bool, err error) {
	if err := s.later(ctx, "SAVEPOINT one"); err != nil {
		return false, err
	}
	if j.err = j.change(ctx, s); j.err == nil {
		j.err = s.flush(ctx)
	}
	if j.err != nil {
		s.drop()
		// Some failures (disk full, I/O) end the whole transaction; then there is no savepoint to return to.
		if _, err := s.exec(ctx, "ROLLBACK TO one"); err != nil {
			return false, errors.Join(j.err, err)
		}
		j.err = say("write", j.err)
	}
	return true, s.later(ctx, "RELEASE one")
}

// lost ends a transaction whose outcome is no longer certain, and connects anew: a connection after such an error is
// not trusted.
func (w *writer) lost(session **session, verb string, err error) error {
	ctx, cancel := context.WithTimeout(context.Background(), rollbackTime)
	defer cancel()
	(*session).drop()
	if _, rollback := (*session).exec(ctx, "ROLLBACK"); rollback != nil {
		if gone := (*session).end(); gone != nil {
			err = errors.Join(err, gone)
		}
		*session = nil
	}
	return say(verb, err)
}

// rollbackTime is what a connection that may be broken gets to prove that it is not.
const rollbackTime = 5 * time.Second

// own are the errors of the ports: they reach the caller as they are.
func own(err error) bool {
	for _, known := range []error{
		licence.ErrConflict, licence.ErrStockEmpty, licence.ErrNotFound, licence.ErrSpoiled, licence.ErrState, licence.ErrClock,
		licence.ErrUnavailable, issuing.ErrFenced, issuing.ErrStale, issuing.ErrHeld, issuing.ErrLapsed, embedded.ErrFenced, due.ErrFenced, access.ErrUnknownPerson,
		ErrSealed, ErrErased, ErrReadOnly, ErrVersion, ErrLocked, ErrClosed, context.Canceled, context.DeadlineExceeded,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// say tells what failed. Everything that the system or the database refuses is licence.ErrUnavailable; a full disk and
// a folder that cannot be written to are named, because somebody can do something about them.
func say(verb string, err error) error {
	if err == nil || own(err) {
		return err
	}
	hint, sentinel := postgresHint(err)
	hint += sqliteHint(err) + systemHint(err)
	err = fmt.Errorf("%w: records: %s%s: %w", licence.ErrUnavailable, verb, hint, err)
	if sentinel != nil {
		return &serverError{err, sentinel}
	}
	return err
}

// serverError is an error that is a sentinel of the server, too, which its words have said.
type serverError struct {
	error
	sentinel error
}

func (e *serverError) Unwrap() []error { return []error{e.error, e.sentinel} }
