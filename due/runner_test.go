package due_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/elicence/elicence/audit"
	"github.com/elicence/elicence/due"
	"github.com/elicence/elicence/storage/records"
)

var start = time.Date(2026, 11, 2, 8, 0, 0, 0, time.UTC)

// clock stands still until it is moved.
type clock struct {
	mu    sync.Mutex
	now   time.Time
	waits []wait
	asked chan struct{} // one value for each After, if it is not nil
}

type wait struct {
	at time.Time
	ch chan time.Time
}

func newClock() *clock { return &clock{now: start} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) After(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	w := wait{c.now.Add(d), make(chan time.Time, 1)}
	c.waits = append(c.waits, w)
	c.mu.Unlock()
	if c.asked != nil {
		c.asked <- struct{}{}
	}
	return w.ch
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	c.waits = slices.DeleteFunc(c.waits, func(w wait) bool {
		if w.at.After(c.now) {
			return false
		}
		w.ch <- c.now
		return true
	})
}

// hall is real records with a clock.
type hall struct {
	t     *testing.T
	db    *records.DB
	clock *clock
	lose  atomic.Bool // commits fail without effect
}

func newHall(t *testing.T) *hall {
	t.Helper()
	h := &hall{t: t, clock: newClock()}
	db, err := records.Open(t.Context(), filepath.Join(t.TempDir(), "records.db"), records.Options{Commit: func(commit func() error) error {
		if h.lose.Load() {
			return errors.New("lost")
		}
		return commit()
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	h.db = db
	return h
}

func (h *hall) arm(lane string, n int) {
	h.t.Helper()
	for i := range n {
		if _, err := h.db.Arm(h.t.Context(), due.New{Key: fmt.Sprintf("%s-%d", lane, i), Lane: lane, Due: start.Add(time.Duration(i))}, start); err != nil {
			h.t.Fatal(err)
		}
	}
}

func (h *hall) runner(o due.Options, lanes ...due.Lane) *due.Runner {
	h.t.Helper()
	return h.runnerBy(h.clock, o, lanes...)
}

func (h *hall) runnerBy(c due.Clock, o due.Options, lanes ...due.Lane) *due.Runner {
	h.t.Helper()
	r, err := due.NewRunner(h.db, c, func() float64 { return 0.5 }, o, lanes...)
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

func (h *hall) drain(r *due.Runner) due.Summary {
	h.t.Helper()
	s, err := r.Drain(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

func (h *hall) jobs(state due.State) []due.Job {
	h.t.Helper()
	jobs, err := h.db.Jobs(h.t.Context(), state, "", 0, 1000)
	if err != nil {
		h.t.Fatal(err)
	}
	return jobs
}

// receiver notes what it was given; say decides the answer, nil for taking everything.
type receiver struct {
	mu   sync.Mutex
	seen []string
	say  func(n int, j due.Job) error
}

func (r *receiver) work(_ context.Context, j due.Job) (due.Worked, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = append(r.seen, j.Key)
	if r.say != nil {
		return due.Worked{}, r.say(len(r.seen), j)
	}
	return due.Worked{}, nil
}

func wanted(lane string, n int) (keys []string) {
	for i := range n {
		keys = append(keys, fmt.Sprintf("%s-%d", lane, i))
	}
	return keys
}

func away(after time.Duration) error {
	return &due.Failed{Failure: due.Failure{Code: "unreachable"}, Verdict: due.Away, After: after}
}

// A receiver that is away is asked less and less often, never while its pause lasts, and with one job only; when it is
// back, it gets everything once and in the order of time.
func TestAReceiverThatWasAwayGetsEverythingOnceInOrder(t *testing.T) {
	h := newHall(t)
	const count = 20
	h.arm("a", count)
	const failures = 8
	rec := &receiver{say: func(n int, _ due.Job) error {
		if n <= failures {
			return away(0)
		}
		return nil
	}}
	r := h.runner(due.Options{Backoff: due.Backoff{Base: time.Second, Ceiling: 10 * time.Second}}, due.Lane{Name: "a", Worker: rec.work})
	h.clock.advance(time.Minute)
	last := time.Duration(0)
	for n := 1; n <= failures; n++ {
		if s := h.drain(r); s != (due.Summary{Again: 1}) {
			t.Fatalf("attempt %d: %+v", n, s)
		}
		until, _, err := h.db.Pause(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		pause := until.Sub(h.clock.Now())
		if pause < last || pause > 10*time.Second || pause <= 0 {
			t.Errorf("pause %d is %s after %s", n, pause, last)
		}
		last = pause
		h.clock.advance(pause - time.Microsecond)
		if s := h.drain(r); s != (due.Summary{}) {
			t.Errorf("asked during the pause: %+v", s)
		}
		h.clock.advance(time.Microsecond)
	}
	if s := h.drain(r); s != (due.Summary{Done: count}) {
		t.Errorf("back again: %+v", s)
	}
	want := append(slices.Repeat([]string{"a-0"}, failures), wanted("a", count)...)
	if diff := cmp.Diff(want, rec.seen); diff != "" {
		t.Errorf("seen (-want +got):\n%s", diff)
	}
}

// While one receiver hangs, another gets everything.
func TestASlowReceiverHoldsUpNobody(t *testing.T) {
	h := newHall(t)
	h.arm("slow", 3)
	h.arm("fast", 10)
	hanging, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	slow := func(ctx context.Context, _ due.Job) (due.Worked, error) {
		once.Do(func() { close(hanging) })
		select {
		case <-release:
		case <-ctx.Done():
		}
		return due.Worked{}, ctx.Err()
	}
	fastDone := make(chan struct{})
	fast := &receiver{say: func(n int, _ due.Job) error {
		<-hanging // the slow one has begun before the fast one gets anything
		if n == 10 {
			close(fastDone)
		}
		return nil
	}}
	h.clock.advance(time.Minute)
	ended := make(chan due.Summary, 1)
	r := h.runner(due.Options{}, due.Lane{Name: "slow", Worker: slow}, due.Lane{Name: "fast", Worker: fast.work})
	go func() {
		s, err := r.Drain(t.Context())
		if err != nil {
			t.Error(err)
		}
		ended <- s
	}()
	<-fastDone // hangs here, and fails by the test's own time limit, if the slow one held it up
	if len(h.jobs(due.Leased)) == 0 {
		t.Error("the slow receiver does not hang: this shows nothing")
	}
	close(release)
	if s := <-ended; s.Done != 13 {
		t.Errorf("%+v", s)
	}
}

// A worker that froze wakes after its lease: another has done the job, and nothing of the first one's answer is kept.
func TestAFrozenWorkerIsFencedOff(t *testing.T) {
	h := newHall(t)
	h.arm("a", 1)
	frozen, wake := make(chan struct{}), make(chan struct{})
	asleep := func(context.Context, due.Job) (due.Worked, error) {
		close(frozen)
		<-wake
		return due.Worked{}, &due.Failed{Failure: due.Failure{Code: "refused"}, Verdict: due.Refused}
	}
	h.clock.advance(time.Minute)
	stopped := &clock{now: h.clock.Now()} // a frozen process has a clock that nobody reads
	first := h.runnerBy(stopped, due.Options{Lease: time.Minute}, due.Lane{Name: "a", Worker: asleep})
	result := make(chan due.Summary, 1)
	go func() {
		s, err := first.Drain(t.Context())
		if err != nil {
			t.Error(err)
		}
		result <- s
	}()
	<-frozen
	rec := &receiver{}
	second := h.runner(due.Options{Lease: time.Minute}, due.Lane{Name: "a", Worker: rec.work})
	if s := h.drain(second); s != (due.Summary{}) {
		t.Errorf("taken under lease: %+v", s)
	}
	h.clock.advance(time.Minute)
	if s := h.drain(second); s.Done != 1 {
		t.Errorf("not taken over: %+v", s)
	}
	close(wake)
	if s := <-result; s != (due.Summary{}) {
		t.Errorf("the frozen one counts %+v", s)
	}
	if got := h.jobs(due.Done); len(got) != 1 || got[0].Epoch != 2 || len(h.jobs(due.Dead)) != 0 {
		t.Errorf("after it woke: %+v", got)
	}
}

// A job that takes long renews its lease, and is told when it has lost it all the same.
func TestALongJobKeepsItsLease(t *testing.T) {
	h := newHall(t)
	h.clock.asked = make(chan struct{}, 100)
	h.arm("a", 1)
	begun, finish := make(chan struct{}), make(chan struct{})
	long := func(ctx context.Context, _ due.Job) (due.Worked, error) {
		close(begun)
		select {
		case <-finish:
			return due.Worked{}, nil
		case <-ctx.Done():
			return due.Worked{}, ctx.Err()
		}
	}
	h.clock.advance(time.Minute)
	r := h.runner(due.Options{Lease: time.Minute}, due.Lane{Name: "a", Worker: long})
	result := make(chan due.Summary, 1)
	go func() {
		s, err := r.Drain(t.Context())
		if err != nil {
			t.Error(err)
		}
		result <- s
	}()
	<-begun
	for range 9 { // three leases long
		<-h.clock.asked // it waits for the next renewal
		h.clock.advance(20 * time.Second)
	}
	<-h.clock.asked
	now := h.clock.Now()
	if got, err := h.db.Take(t.Context(), "a", now, now.Add(time.Minute), 1); err != nil || len(got) != 0 {
		t.Errorf("taken away from a worker that renews: %+v, %v", got, err)
	}
	// A person cancels it: at its next renewal the worker is told.
	id := h.jobs(due.Leased)[0].ID
	if _, err := h.db.Cancel(t.Context(), []int64{id}, now, audit.Entry{What: "cancel"}); err != nil {
		t.Fatal(err)
	}
	h.clock.advance(20 * time.Second)
	if s := <-result; s != (due.Summary{}) {
		t.Errorf("%+v", s)
	}
	if len(h.jobs(due.Cancelled)) != 1 {
		t.Error("it is not cancelled")
	}
	close(finish)
}

// The receiver has it, and the answer is not recorded: it is sent again under the same key.
func TestAnAnswerThatWasNotRecordedIsAskedForAgain(t *testing.T) {
	h := newHall(t)
	h.arm("a", 1)
	rec := &receiver{say: func(n int, _ due.Job) error {
		h.lose.Store(n == 1)
		return nil
	}}
	h.clock.advance(time.Minute)
	r := h.runner(due.Options{Lease: time.Minute}, due.Lane{Name: "a", Worker: rec.work})
	if _, err := r.Drain(t.Context()); err == nil {
		t.Error("a lost commit is no error")
	}
	h.lose.Store(false)
	if s := h.drain(r); s != (due.Summary{}) {
		t.Errorf("taken under lease: %+v", s)
	}
	h.clock.advance(time.Minute)
	if s := h.drain(r); s.Done != 1 {
		t.Errorf("%+v", s)
	}
	if diff := cmp.Diff([]string{"a-0", "a-0"}, rec.seen); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDeadLettersAreSeenAndSentAgain(t *testing.T) {
	h := newHall(t)
	h.arm("a", 3)
	willing := false
	rec := &receiver{say: func(_ int, j due.Job) error {
		if j.Key == "a-1" && !willing {
			return &due.Failed{Failure: due.Failure{Code: "refused", Detail: "HTTP 422"}, Verdict: due.Refused}
		}
		return nil
	}}
	h.clock.advance(time.Minute)
	r := h.runner(due.Options{}, due.Lane{Name: "a", Worker: rec.work})
	if s := h.drain(r); s != (due.Summary{Done: 2, Dead: 1}) {
		t.Errorf("%+v", s)
	}
	dead := h.jobs(due.Dead)
	if len(dead) != 1 || dead[0].Failure != (due.Failure{Code: "refused", Detail: "HTTP 422"}) {
		t.Fatalf("%+v", dead)
	}
	h.clock.advance(1000 * time.Hour)
	if s := h.drain(r); s != (due.Summary{}) {
		t.Errorf("a dead letter was sent: %+v", s)
	}
	willing = true
	if _, err := h.db.Retry(t.Context(), []int64{dead[0].ID}, h.clock.Now(), audit.Entry{What: "retry"}); err != nil {
		t.Fatal(err)
	}
	if s := h.drain(r); s.Done != 1 {
		t.Errorf("%+v", s)
	}
}

// What fails is tried so many times and no more; what keeps the installation alive is tried for ever. In between others
// of the lane go on, and nothing is tried before its time.
func TestAttemptsAreBounded(t *testing.T) {
	h := newHall(t)
	h.arm("a", 2)
	h.arm("u", 1)
	fails := func(_ context.Context, j due.Job) (due.Worked, error) {
		if j.Key == "a-1" {
			return due.Worked{}, nil
		}
		return due.Worked{}, errors.New("no code, no words: perhaps a name")
	}
	r := h.runner(due.Options{MaxAttempts: 3, Backoff: due.Backoff{Base: time.Second, Ceiling: 4 * time.Second}},
		due.Lane{Name: "a", Worker: fails}, due.Lane{Name: "u", Worker: fails, Upkeep: true})
	h.clock.advance(time.Minute)
	var sum due.Summary
	for range 10 {
		s := h.drain(r)
		sum.Done, sum.Again, sum.Dead = sum.Done+s.Done, sum.Again+s.Again, sum.Dead+s.Dead
		if again := h.drain(r); again != (due.Summary{}) {
			t.Errorf("tried before its time: %+v", again)
		}
		h.clock.advance(4 * time.Second)
	}
	if want := (due.Summary{Done: 1, Again: 2 + 10, Dead: 1}); sum != want {
		t.Errorf("%+v, want %+v", sum, want)
	}
	for _, j := range append(h.jobs(due.Dead), h.jobs(due.Due)...) {
		if j.Failure != (due.Failure{Code: due.CodeInternal}) {
			t.Errorf("an error's own words are kept: %+v", j.Failure)
		}
	}
}

// A job that kills whoever takes it is given up like any other.
func TestAJobThatKillsItsWorkersIsGivenUp(t *testing.T) {
	h := newHall(t)
	h.arm("a", 1)
	h.clock.advance(time.Minute)
	for range 3 {
		now := h.clock.Now()
		if got, err := h.db.Take(t.Context(), "a", now, now.Add(time.Minute), 1); err != nil || len(got) != 1 {
			t.Fatal(got, err)
		}
		h.clock.advance(time.Minute)
	}
	rec := &receiver{}
	if s := h.drain(h.runner(due.Options{MaxAttempts: 3}, due.Lane{Name: "a", Worker: rec.work})); s.Dead != 1 || len(rec.seen) != 0 {
		t.Errorf("%+v, sent %v", s, rec.seen)
	}
	if got := h.jobs(due.Dead); len(got) != 1 || got[0].Failure.Code != due.CodeAbandoned {
		t.Errorf("%+v", got)
	}
}

// Stopping the program gives back what it had: the next one takes it at once, and no attempt is lost.
func TestStoppingGivesJobsBack(t *testing.T) {
	h := newHall(t)
	h.arm("a", 2)
	h.clock.advance(time.Minute)
	ctx, stop := context.WithCancel(t.Context())
	r := h.runner(due.Options{}, due.Lane{Name: "a", Worker: func(ctx context.Context, _ due.Job) (due.Worked, error) {
		stop()
		<-ctx.Done()
		return due.Worked{}, &due.Failed{Failure: due.Failure{Code: "timeout"}, Cause: ctx.Err()}
	}})
	if _, err := r.Drain(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped with %v", err)
	}
	rec := &receiver{}
	if s := h.drain(h.runner(due.Options{}, due.Lane{Name: "a", Worker: rec.work})); s.Done != 2 {
		t.Errorf("%+v", s)
	}
	if got := h.jobs(due.Done); got[0].Attempts != 1 || !slices.Equal(rec.seen, wanted("a", 2)) {
		t.Errorf("%+v, %v", got[0], rec.seen)
	}
}

func TestPeriodicWorkArmsItself(t *testing.T) {
	h := newHall(t)
	h.arm("u", 1)
	ran := 0
	r := h.runner(due.Options{}, due.Lane{Name: "u", Upkeep: true, Worker: func(context.Context, due.Job) (due.Worked, error) {
		ran++
		return due.Worked{Next: h.clock.Now().Add(time.Hour)}, nil
	}})
	h.clock.advance(time.Minute)
	for range 5 {
		h.drain(r)
		h.drain(r) // not twice for one hour
		h.clock.advance(time.Hour)
	}
	if ran != 5 || len(h.jobs(due.Due)) != 1 {
		t.Errorf("ran %d times, %d jobs", ran, len(h.jobs(due.Due)))
	}
}

// What needs something that is still to come is looked at again, less and less often, and is no failure; others go on.
func TestNotYetIsNoAttempt(t *testing.T) {
	h := newHall(t)
	h.arm("a", 2)
	looks := 0
	rec := &receiver{say: func(_ int, j due.Job) error {
		if j.Key == "a-0" && h.clock.Now().Before(start.Add(24*time.Hour)) {
			looks++
			return &due.Failed{Failure: due.Failure{Code: "key"}, Verdict: due.NotYet}
		}
		return nil
	}}
	r := h.runner(due.Options{MaxAttempts: 2}, due.Lane{Name: "a", Worker: rec.work})
	h.clock.advance(time.Minute)
	if s := h.drain(r); s != (due.Summary{Done: 1, Again: 1}) {
		t.Errorf("%+v", s)
	}
	for range 26 * 60 {
		h.clock.advance(time.Minute)
		h.drain(r)
	}
	if got := h.jobs(due.Done); len(got) != 2 || got[0].Attempts != 1 {
		t.Errorf("%+v", got)
	}
	if looks < 10 || looks > 60 {
		t.Errorf("looked %d times in a day", looks)
	}
}

// While something lags that all need, one job looks from time to time and the others stay where they are, in their order.
func TestWhatLagsIsLookedAtByOne(t *testing.T) {
	h := newHall(t)
	const count, looks = 20, 10
	h.arm("a", count)
	rec := &receiver{say: func(n int, _ due.Job) error {
		if n <= looks {
			return &due.Failed{Failure: due.Failure{Code: "awaits-receipt"}, Verdict: due.Lags}
		}
		return nil
	}}
	r := h.runner(due.Options{MaxAttempts: 2}, due.Lane{Name: "a", Worker: rec.work})
	h.clock.advance(time.Minute)
	for n := range looks {
		if s := h.drain(r); s != (due.Summary{Again: 1}) {
			t.Fatalf("look %d: %+v", n, s)
		}
		if s := h.drain(r); s != (due.Summary{}) {
			t.Errorf("looked at once again: %+v", s)
		}
		h.clock.advance(5 * time.Second)
	}
	if s := h.drain(r); s.Done != count {
		t.Errorf("%+v", s)
	}
	if diff := cmp.Diff(append(slices.Repeat([]string{"a-0"}, looks), wanted("a", count)...), rec.seen); diff != "" {
		t.Errorf("seen (-want +got):\n%s", diff)
	}
}

// Several programs share one queue: each job is done by one of them.
func TestRunnersShareAQueue(t *testing.T) {
	h := newHall(t)
	h.arm("a", 60)
	h.arm("b", 60)
	h.clock.advance(time.Minute)
	rec := &receiver{}
	var group sync.WaitGroup
	for range 4 {
		r := h.runner(due.Options{}, due.Lane{Name: "a", Worker: rec.work, AtOnce: 2}, due.Lane{Name: "b", Worker: rec.work})
		group.Go(func() {
			if _, err := r.Drain(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	slices.Sort(rec.seen)
	want := append(wanted("a", 60), wanted("b", 60)...)
	slices.Sort(want)
	if diff := cmp.Diff(want, rec.seen); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestBackoff(t *testing.T) {
	b := due.Backoff{Base: 5 * time.Second, Ceiling: time.Hour}
	for n := range 2000 {
		for _, random := range []float64{0, 0.5, 0.999999} {
			full := time.Hour
			if n <= 10 {
				full = min(5*time.Second<<max(n-1, 0), time.Hour)
			}
			if got := b.Wait(n, random, 0); got < full/2 || got > full {
				t.Errorf("wait %d: %s, not between %s and %s", n, got, full/2, full)
			}
		}
	}
	for asked, want := range map[time.Duration]time.Duration{time.Minute: time.Minute, 100 * time.Hour: time.Hour, -time.Hour: 2500 * time.Millisecond} {
		if got := b.Wait(1, 0, asked); got != want {
			t.Errorf("asked to wait %s, waits %s", asked, got)
		}
	}
}

func TestCodesAreInBothLanguages(t *testing.T) {
	if len(due.Codes()) == 0 {
		t.Fatal("no codes")
	}
	for _, code := range due.Codes() {
		w := due.Say(code)
		if !strings.ContainsFunc(w.ZH, func(r rune) bool { return unicode.Is(unicode.Han, r) }) || w.EN == "" || w.EN == code {
			t.Errorf("%s: %+v", code, w)
		}
	}
	if w := due.Say("unheard-of"); w.ZH != "unheard-of" || w.EN != "unheard-of" {
		t.Errorf("%+v", w)
	}
}

func TestLanesAreHeldToSense(t *testing.T) {
	h := newHall(t)
	work := (&receiver{}).work
	for _, lanes := range [][]due.Lane{{{Name: "", Worker: work}}, {{Name: "a"}}, {{Name: "a", Worker: work}, {Name: "a", Worker: work}}} {
		if _, err := due.NewRunner(h.db, h.clock, func() float64 { return 0 }, due.Options{}, lanes...); err == nil {
			t.Errorf("%+v is accepted", lanes)
		}
	}
	if _, err := due.NewRunner(nil, h.clock, func() float64 { return 0 }, due.Options{}); err == nil {
		t.Error("a runner without a queue")
	}
	if _, err := h.runner(due.Options{}).DrainLane(t.Context(), "a"); err == nil {
		t.Error("a lane that nobody works is drained")
	}
}
