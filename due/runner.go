package due

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Clock tells the time and waits; tests inject theirs.
type Clock interface {
	Now() time.Time
	// After is time.After.
	After(d time.Duration) <-chan time.Time
}

// Options of a Runner. The zero value of a field is replaced by the default named beside it.
type Options struct {
	Lease       time.Duration // 2 minutes; a job that runs longer renews it, so it bounds how long a killed worker's job waits
	MaxAttempts int           // 50: about two days with the other defaults
	Backoff     Backoff       // 5 s, 1 hour
	NotYet      time.Duration // 5 s; until the next look at what is still to come, at least; of what lags, at most
	// Wakes is who says that there is something new, nil for nobody. Wait looks all the same: each LookEvery (1 s) while
	// not everything is heard, each LookSeldom (10 s) while it is.
	Wakes                 Wakes
	LookEvery, LookSeldom time.Duration
	// Report is told how each attempt ended, nil for nothing; it must be safe for concurrent use. err is nil for what was done.
	Report func(j Job, s Settlement, err error)
}

func (o Options) complete() Options {
	if o.Lease == 0 {
		o.Lease = 2 * time.Minute
	}
	if o.MaxAttempts == 0 {
		o.MaxAttempts = 50
	}
	if o.Backoff == (Backoff{}) {
		o.Backoff = Backoff{Base: 5 * time.Second, Ceiling: time.Hour}
	}
	if o.NotYet == 0 {
		o.NotYet = 5 * time.Second
	}
	if o.LookEvery == 0 {
		o.LookEvery = time.Second
	}
	if o.LookSeldom == 0 {
		o.LookSeldom = 10 * time.Second
	}
	if o.Report == nil {
		o.Report = func(Job, Settlement, error) {}
	}
	return o
}

// Lane is one receiver, or one upkeep, with who works for it.
type Lane struct {
	Name   string
	Worker Worker
	Upkeep bool // it never becomes a dead letter: what keeps the installation alive is tried for ever
	AtOnce int  // 1 if it is 0: how many of its jobs run at a time; more give up their order
}

// Runner works off lanes. It is safe for concurrent use; several runners, in one process or in several, share a queue.
// What runs at a time is bounded by the lanes and their AtOnce, not by a pool that all share: in a pool,
// a few slow receivers would hold every place.
type Runner struct {
	queue   Queue
	lanes   map[string]Lane
	woken   map[string]<-chan struct{} // nil: nobody wakes
	names   []string
	clock   Clock
	random  func() float64
	options Options
}

// NewRunner makes a Runner. random gives numbers from [0, 1) and must be safe for concurrent use.
func NewRunner(q Queue, c Clock, random func() float64, o Options, lanes ...Lane) (*Runner, error) {
	if q == nil || c == nil || random == nil {
		return nil, errors.New("due: a needed part is missing")
	}
	r := &Runner{queue: q, lanes: map[string]Lane{}, woken: map[string]<-chan struct{}{}, clock: c, random: random, options: o.complete()}
	for _, l := range lanes {
		if _, twice := r.lanes[l.Name]; twice || l.Name == "" || l.Worker == nil {
			return nil, fmt.Errorf("due: lane %q is there twice, or has no worker", l.Name)
		}
		r.lanes[l.Name] = l
		if o.Wakes != nil { // from here on nothing is missed, also while the first look is under way
			r.woken[l.Name] = o.Wakes.Woken(l.Name)
		}
		r.names = append(r.names, l.Name)
	}
	return r, nil
}

// Lanes returns the names of the lanes.
func (r *Runner) Lanes() []string { return slices.Clone(r.names) }

// Summary counts how attempts ended.
type Summary struct {
	Done, Again, Dead int
}

func (s *Summary) add(o Summary) {
	s.Done, s.Again, s.Dead = s.Done+o.Done, s.Again+o.Again, s.Dead+o.Dead
}

// Drain works off what is due now in every lane, all lanes at once, and returns when nothing more can be taken. A lane
// that fails does not stop another; the errors are joined.
func (r *Runner) Drain(ctx context.Context) (Summary, error) {
	var mu sync.Mutex
	var sum Summary
	var errs []error
	var group sync.WaitGroup
	for _, name := range r.names {
		group.Go(func() {
			s, err := r.DrainLane(ctx, name)
			mu.Lock()
			defer mu.Unlock()
			sum.add(s)
			if err != nil {
				errs = append(errs, err)
			}
		})
	}
	group.Wait()
	return sum, errors.Join(errs...)
}

// DrainLane works off what is due now in one lane and returns when nothing more can be taken: it neither waits for what
// is due later nor comes back to what failed. A loop calls it and Wait by turns.
func (r *Runner) DrainLane(ctx context.Context, lane string) (Summary, error) {
	l, known := r.lanes[lane]
	if !known {
		return Summary{}, fmt.Errorf("due: no lane %q", lane)
	}
	var mu sync.Mutex
	var sum Summary
	var errs []error
	var group sync.WaitGroup
	for range max(l.AtOnce, 1) {
		group.Go(func() {
			for {
				s, more, err := r.one(ctx, l)
				mu.Lock()
				sum.add(s)
				if err != nil {
					errs = append(errs, fmt.Errorf("lane %s: %w", lane, err))
				}
				mu.Unlock()
				if err != nil || !more {
					return
				}
			}
		})
	}
	group.Wait()
	return sum, errors.Join(errs...)
}

// gather is how long a waiter that was woken lets further wakes come together.
const gather = 50 * time.Millisecond

// Wait returns when the lane is worth another look: somebody has made work of it due, the time of what is due next has come,
// or it was not looked at for so long that something may have been missed. The error is that of ctx, or says that there is no
// such lane.
func (r *Runner) Wait(ctx context.Context, lane string) error {
	if _, known := r.lanes[lane]; !known {
		return fmt.Errorf("due: no lane %q", lane)
	}
	woken, wait := r.woken[lane], r.options.LookEvery
	if w := r.options.Wakes; w != nil && w.Hears() {
		wait = r.options.LookSeldom
	}
	// An error here is the next look's, too, which says it.
	if next, err := r.queue.NextDue(ctx, lane); err == nil && !next.IsZero() {
		// What is due already and yet was not taken is in another's hands this very moment.
		ahead := next.Sub(r.clock.Now())
		if ahead <= 0 {
			ahead = r.options.LookEvery
		}
		wait = min(wait, ahead)
	}
	select {
	case <-ctx.Done():
	case <-r.clock.After(wait):
	case <-woken:
		// While much becomes due, one look for all of a moment.
		select {
		case <-ctx.Done():
		case <-r.clock.After(gather):
		}
		select {
		case <-woken:
		default:
		}
	}
	return ctx.Err()
}

// one takes and works one job. more is false when there was none to take.
func (r *Runner) one(ctx context.Context, l Lane) (sum Summary, more bool, err error) {
	if err := ctx.Err(); err != nil {
		return sum, false, err
	}
	now := r.clock.Now()
	jobs, err := r.queue.Take(ctx, l.Name, now, now.Add(r.options.Lease), 1)
	if err != nil || len(jobs) == 0 {
		return sum, false, err
	}
	j := jobs[0]
	if !l.Upkeep && j.Attempts > r.options.MaxAttempts {
		// Whoever took it again and again never came back: killed by it, as far as anybody knows.
		s := Settlement{State: Dead, Attempt: true, At: now, Failure: j.Failure}
		if s.Failure == (Failure{}) {
			s.Failure.Code = CodeAbandoned
		}
		sum, err = r.settle(ctx, j, s, errors.New("given up"))
		return sum, true, err
	}
	done, err := r.work(ctx, l, j)
	s, serr := r.judge(ctx, l, j, done, err)
	if serr != nil {
		return sum, false, serr
	}
	// The answer of the world is recorded even if this program is being stopped: else the work is done twice for nothing.
	sum, serr = r.settle(context.WithoutCancel(ctx), j, s, err)
	return sum, serr == nil && ctx.Err() == nil, errors.Join(serr, ctx.Err())
}

// work runs the worker and renews the lease while it runs.
func (r *Runner) work(ctx context.Context, l Lane, j Job) (Worked, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan struct{})
	var renewing sync.WaitGroup
	renewing.Go(func() {
		for {
			select {
			case <-ended:
				return
			case <-r.clock.After(r.options.Lease / 3):
			}
			err := r.queue.Renew(ctx, j.ID, j.Epoch, r.clock.Now().Add(r.options.Lease))
			if errors.Is(err, ErrFenced) {
				stop() // somebody else has it: what this worker still does is for nothing
				return
			}
		}
	})
	done, err := l.Worker(ctx, j)
	close(ended)
	stop()
	renewing.Wait()
	return done, err
}

// judge makes the settlement of an attempt.
func (r *Runner) judge(ctx context.Context, l Lane, j Job, done Worked, err error) (Settlement, error) {
	now := r.clock.Now()
	if err == nil {
		s := Settlement{State: Done, Attempt: true, At: now, Audit: done.Audit, Wakes: j.Wakes}
		if !done.Next.IsZero() {
			s.State, s.Due = Due, done.Next
		}
		return s, nil
	}
	s := Settlement{State: Due, Attempt: true, At: now, Due: j.Due, Wakes: j.Wakes}
	var failed *Failed
	switch {
	case ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)):
		// The program is being stopped: the next one takes the job at once.
		s.Attempt, s.Failure.Code = false, CodeInterrupted
		return s, nil
	case errors.As(err, &failed):
		s.Failure = failed.Failure
	default:
		failed = &Failed{Failure: Failure{Code: CodeInternal}}
		s.Failure = failed.Failure
	}
	switch failed.Verdict {
	case Lags:
		// One job looks, not ten thousand; and the order stays. What became due a moment ago waits for a receipt that comes
		// a moment later; what waits for long waits for something that is away.
		wait := min(max(now.Sub(j.Created)/2, r.options.NotYet/20), r.options.NotYet)
		s.Attempt, s.Lane = false, now.Add(wait)
		return s, nil
	case NotYet:
		wait := min(now.Sub(j.Created)/4, r.options.Backoff.Ceiling)
		s.Attempt, s.Due = false, now.Add(max(wait, r.options.NotYet))
		return s, nil
	case Refused:
		if !l.Upkeep {
			s.State = Dead
			return s, nil
		}
	}
	if !l.Upkeep && j.Attempts >= r.options.MaxAttempts {
		s.State = Dead
	}
	if failed.Verdict == Away {
		_, failures, err := r.queue.Pause(ctx, l.Name)
		if err != nil && ctx.Err() == nil {
			return s, err
		}
		s.Lane = now.Add(r.options.Backoff.Wait(failures+1, r.random(), failed.After))
		return s, nil
	}
	s.Due = now.Add(r.options.Backoff.Wait(j.Attempts, r.random(), failed.After))
	return s, nil
}

func (r *Runner) settle(ctx context.Context, j Job, s Settlement, failed error) (sum Summary, err error) {
	err = r.queue.Settle(ctx, j.ID, j.Epoch, s)
	if errors.Is(err, ErrFenced) {
		return sum, nil // it is somebody else's now, and counted there
	}
	if err != nil {
		return sum, err
	}
	r.options.Report(j, s, failed)
	switch {
	case s.State == Dead:
		sum.Dead++
	case failed == nil:
		sum.Done++
	default:
		sum.Again++
	}
	return sum, nil
}
