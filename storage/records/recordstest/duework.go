package recordstest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/elicence/elicence/due"
	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/licence"
)

// arm writes n jobs of a lane, a second after each other.
func (s *scene) arm(lane string, n int) {
	s.t.Helper()
	for i := range n {
		fresh, err := s.r.Arm(s.ctx(), due.New{Key: fmt.Sprintf("%s-%d", lane, i), Lane: lane, Topic: "t", Due: s.now.Add(time.Duration(i) * time.Second)}, s.now)
		if err != nil || !fresh {
			s.t.Fatalf("arm: %v, %v", fresh, err)
		}
	}
}

// lease takes at most limit jobs by a clock that stands so far ahead of the scene's, with a lease of a minute.
func (s *scene) lease(lane string, ahead time.Duration, limit int) []due.Job {
	s.t.Helper()
	at := s.now.Add(ahead)
	jobs, err := s.r.Take(s.ctx(), lane, at, at.Add(time.Minute), limit)
	s.must(err)
	return jobs
}

func (s *scene) jobs(state due.State, lane string) []due.Job {
	s.t.Helper()
	jobs, err := s.r.Jobs(s.ctx(), state, lane, 0, 1000)
	s.must(err)
	return jobs
}

func keys(jobs []due.Job) (k []string) {
	for _, j := range jobs {
		k = append(k, j.Key)
	}
	return k
}

func (s *scene) done(j due.Job) {
	s.t.Helper()
	s.must(s.r.Settle(s.ctx(), j.ID, j.Epoch, due.Settlement{State: due.Done, Attempt: true, At: s.now}))
}

func sixteenTakers(t *testing.T, e Engine) {
	s := newScene(t, e, 0)
	const count = 120
	s.arm("a", count)
	s.arm("b", 5)
	var mu sync.Mutex
	seen := map[string]int{}
	together(16, func(int) {
		for {
			at := s.now.Add(time.Hour)
			jobs, err := s.r.Take(s.ctx(), "a", at, at.Add(time.Minute), 3)
			if err != nil {
				t.Error(err)
			}
			if len(jobs) == 0 {
				return
			}
			mu.Lock()
			for _, j := range jobs {
				seen[j.Key]++
				if j.State != due.Leased || j.Epoch != 1 || j.Attempts != 1 || j.Lane != "a" {
					t.Errorf("taken: %+v", j)
				}
			}
			mu.Unlock()
		}
	})
	for k, n := range seen {
		if n != 1 {
			t.Errorf("%s was taken %d times", k, n)
		}
	}
	if len(seen) != count {
		t.Errorf("%d of %d jobs were taken", len(seen), count)
	}
	if got := s.lease("b", time.Hour, 10); len(got) != 5 {
		t.Errorf("another lane has %d jobs left, not 5", len(got))
	}
}

func takenInOrder(t *testing.T, e Engine) {
	s := newScene(t, e, 0)
	s.arm("a", 4)
	if next, err := s.r.NextDue(s.ctx(), "a"); err != nil || !next.Equal(s.now) {
		t.Errorf("next at %s, %v", next, err)
	}
	if next, err := s.r.NextDue(s.ctx(), "none"); err != nil || !next.IsZero() {
		t.Errorf("a lane without work is due at %s, %v", next, err)
	}
	if got := s.lease("a", -time.Second, 10); len(got) != 0 {
		t.Errorf("taken before its time: %v", keys(got))
	}
	if diff := cmp.Diff([]string{"a-0", "a-1"}, keys(s.lease("a", time.Second, 10))); diff != "" {
		t.Errorf("due after a second (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"a-2"}, keys(s.lease("a", time.Hour, 1))); diff != "" {
		t.Errorf("one in the order of time (-want +got):\n%s", diff)
	}
	if fresh, err := s.r.Arm(s.ctx(), due.New{Key: "a-3", Lane: "a", Due: s.now}, s.now); fresh || err != nil {
		t.Errorf("armed twice: %v, %v", fresh, err)
	}
}

func endedLease(t *testing.T, e Engine) {
	s := newScene(t, e, 0)
	s.arm("a", 1)
	frozen := s.lease("a", 0, 1)[0]
	if got := s.lease("a", 59*time.Second, 1); len(got) != 0 {
		t.Error("a job under lease was taken")
	}
	s.must(s.r.Renew(s.ctx(), frozen.ID, frozen.Epoch, s.now.Add(90*time.Second)))
	if got := s.lease("a", 89*time.Second, 1); len(got) != 0 {
		t.Error("a renewed lease did not hold")
	}
	taken := s.lease("a", 90*time.Second, 1)
	if len(taken) != 1 || taken[0].Epoch != frozen.Epoch+1 || taken[0].Attempts != 2 || !taken[0].Due.Equal(s.now) {
		t.Fatalf("an ended lease: %+v", taken)
	}
	// The first holder wakes: it can neither renew nor settle, whatever it says.
	wants(t, s.r.Renew(s.ctx(), frozen.ID, frozen.Epoch, s.now.Add(time.Hour)), due.ErrFenced)
	for _, state := range []due.State{due.Done, due.Due, due.Dead} {
		wants(t, s.r.Settle(s.ctx(), frozen.ID, frozen.Epoch, due.Settlement{State: state, Attempt: true, At: s.now, Due: s.now}), due.ErrFenced)
	}
	s.done(taken[0])
	wants(t, s.r.Settle(s.ctx(), frozen.ID, frozen.Epoch, due.Settlement{State: due.Dead, At: s.now}), due.ErrFenced)
	if got := s.jobs(due.Done, ""); len(got) != 1 || !got[0].Ended.Equal(s.now) {
		t.Errorf("done: %+v", got)
	}
	wants(t, s.r.Settle(s.ctx(), 4711, 1, due.Settlement{State: due.Done, At: s.now}), due.ErrFenced)
}

func settlements(t *testing.T, e Engine) {
	s := newScene(t, e, 0)
	s.arm("a", 3)
	s.arm("b", 1)
	at := s.now.Add(time.Minute)
	failure := due.Failure{Code: "unreachable", Detail: "connection refused"}

	// The receiver is away: the lane is paused, the job keeps its place, and other lanes go on.
	first := s.lease("a", time.Minute, 1)[0]
	for n := 1; n <= 2; n++ {
		s.must(s.r.Settle(s.ctx(), first.ID, first.Epoch, due.Settlement{State: due.Due, Due: first.Due, Attempt: true, At: at, Failure: failure, Lane: at.Add(time.Minute)}))
		if until, failures, err := s.r.Pause(s.ctx(), "a"); err != nil || failures != n || !until.Equal(at.Add(time.Minute)) {
			t.Errorf("paused until %s after %d failures, %v", until, failures, err)
		}
		if next, err := s.r.NextDue(s.ctx(), "a"); err != nil || !next.Equal(at.Add(time.Minute)) {
			t.Errorf("next at %s, %v", next, err)
		}
		if got := s.lease("a", time.Minute+59*time.Second, 5); len(got) != 0 {
			t.Errorf("taken from a paused lane: %v", keys(got))
		}
		at = at.Add(time.Minute)
		first = s.lease("a", at.Sub(s.now), 1)[0]
		if first.Key != "a-0" || first.Attempts != n+1 || first.Failure != failure || first.FailedAt.IsZero() {
			t.Errorf("after a pause: %+v", first)
		}
	}
	if got := s.lease("b", time.Minute, 5); len(got) != 1 {
		t.Error("a paused lane holds up another one")
	}
	// It answers, with a refusal: a dead letter, and the lane is free.
	s.must(s.r.Settle(s.ctx(), first.ID, first.Epoch, due.Settlement{State: due.Dead, Attempt: true, At: at, Failure: due.Failure{Code: "refused", Detail: "HTTP 422"}}))
	if until, failures, err := s.r.Pause(s.ctx(), "a"); err != nil || failures != 0 || !until.IsZero() {
		t.Errorf("an answered lane is paused until %s after %d, %v", until, failures, err)
	}
	// What lags behind pauses the lane, and is no failure of the receiver.
	lagging := s.lease("a", at.Sub(s.now), 1)[0]
	s.must(s.r.Settle(s.ctx(), lagging.ID, lagging.Epoch, due.Settlement{State: due.Due, Due: lagging.Due, At: at, Failure: due.Failure{Code: "awaits-receipt"}, Lane: at.Add(time.Second)}))
	if until, failures, err := s.r.Pause(s.ctx(), "a"); err != nil || failures != 0 || !until.Equal(at.Add(time.Second)) {
		t.Errorf("lagging until %s after %d, %v", until, failures, err)
	}
	at = at.Add(time.Second)
	// What waits for something else has made no attempt.
	second := s.lease("a", at.Sub(s.now), 1)[0]
	s.must(s.r.Settle(s.ctx(), second.ID, second.Epoch, due.Settlement{State: due.Due, Due: at.Add(time.Second), At: at, Failure: due.Failure{Code: "awaits-receipt"}}))
	third := s.lease("a", at.Sub(s.now), 5)
	if diff := cmp.Diff([]string{"a-2"}, keys(third)); diff != "" {
		t.Errorf("the others go on (-want +got):\n%s", diff)
	}
	second = s.lease("a", at.Sub(s.now)+time.Second, 1)[0]
	if second.Attempts != 1 {
		t.Errorf("%d attempts, though the first was none", second.Attempts)
	}
	// Periodic work that is done begins anew, in the transaction that completes it.
	who := s.who("renew", "")
	s.must(s.r.Settle(s.ctx(), second.ID, second.Epoch, due.Settlement{State: due.Due, Due: at.Add(time.Hour), Attempt: true, At: at, Audit: &who}))
	again := s.lease("a", at.Sub(s.now)+time.Hour, 5)
	if len(again) != 2 || again[1].Key != "a-1" || again[1].Attempts != 1 || again[1].Failure != (due.Failure{}) {
		t.Errorf("armed again: %+v", again)
	}
	waiting, err := s.r.Waiting(s.ctx())
	s.must(err)
	want := map[string]map[due.State]int{"a": {due.Dead: 1, due.Leased: 2}, "b": {due.Leased: 1}}
	if diff := cmp.Diff(want, waiting); diff != "" {
		t.Errorf("waiting (-want +got):\n%s", diff)
	}
}

// people's verbs: all or none, and each leaves a row in the trail of the licence that it is about.
func retryAndCancel(t *testing.T, e Engine) {
	s := newScene(t, e, 5)
	l := s.issue("B1")
	s.arm("a", 3)
	const lane = "registration-authority"
	rows := func(what string) (n int) {
		trail, err := s.r.OfLicence(s.ctx(), l.ID)
		s.must(err)
		for _, link := range trail {
			if link.Entry.What == what {
				n++
			}
		}
		return n
	}
	die := func() due.Job {
		t.Helper()
		j := s.lease(lane, 0, 1)[0]
		s.must(s.r.Settle(s.ctx(), j.ID, j.Epoch, due.Settlement{State: due.Dead, Attempt: true, At: s.now, Failure: due.Failure{Code: "refused"}}))
		return j
	}
	dead := die()
	if dead.Licence != l.ID || dead.Number != l.Number || dead.Issuer != hospital || dead.Topic != "parts" || dead.Sequence != 0 || len(dead.Key) != 32 {
		t.Errorf("the delivery of an issue: %+v", dead)
	}
	if got := s.lease(lane, 1000*time.Hour, 5); len(got) != 0 {
		t.Error("a dead letter was taken")
	}
	later := s.now.Add(time.Hour)
	other := s.jobs(due.Due, "a")[0]
	s.done(s.lease("a", 0, 1)[0])
	for _, bad := range []struct {
		id  int64
		err error
	}{{other.ID, licence.ErrState}, {4711, licence.ErrNotFound}} {
		_, err := s.r.Retry(s.ctx(), []int64{dead.ID, bad.id}, later, s.who("retry", ""))
		wants(t, err, bad.err)
		_, err = s.r.Cancel(s.ctx(), []int64{dead.ID, bad.id}, later, s.who("cancel", ""))
		wants(t, err, bad.err)
	}
	if got := s.jobs(due.Dead, lane); len(got) != 1 || rows("retry")+rows("cancel") != 0 {
		t.Errorf("half a retry: %+v", got)
	}
	if n, err := s.r.Retry(s.ctx(), []int64{dead.ID}, later, s.who("retry", "")); n != 1 || err != nil || rows("retry") != 1 {
		t.Errorf("%d sent again, %v; %d rows in the trail", n, err, rows("retry"))
	}
	again := s.lease(lane, time.Hour, 1)
	if len(again) != 1 || again[0].Key != dead.Key || again[0].Attempts != 1 || !again[0].Due.Equal(later) {
		t.Fatalf("sent again: %+v", again)
	}
	s.must(s.r.Settle(s.ctx(), again[0].ID, again[0].Epoch, due.Settlement{State: due.Dead, Attempt: true, At: s.now, Failure: due.Failure{Code: "refused"}}))
	if n, err := s.r.Retry(s.ctx(), []int64{dead.ID}, s.now, s.who("retry", "")); n != 1 || err != nil || rows("retry") != 2 {
		t.Errorf("%d sent again, %v", n, err)
	}
	// Cancelled while a worker has it: the worker is fenced off.
	held := s.lease(lane, 0, 1)[0]
	if n, err := s.r.Cancel(s.ctx(), []int64{held.ID}, later, s.who("cancel", "")); n != 1 || err != nil || rows("cancel") != 1 {
		t.Errorf("%d cancelled, %v", n, err)
	}
	wants(t, s.r.Settle(s.ctx(), held.ID, held.Epoch, due.Settlement{State: due.Done, Attempt: true, At: s.now}), due.ErrFenced)
	_, err := s.r.Retry(s.ctx(), []int64{held.ID}, later, s.who("retry", ""))
	wants(t, err, licence.ErrState)
	if got := s.jobs(due.Cancelled, ""); len(got) != 1 || !got[0].Ended.Equal(later) {
		t.Errorf("cancelled: %+v", got)
	}
	s.reopen(Options{ReadOnly: true})
	if got := s.jobs(due.Cancelled, lane); len(got) != 1 {
		t.Error("a reader does not see it")
	} else if one, err := s.r.Job(s.ctx(), held.ID); err != nil || one != got[0] {
		t.Errorf("one job: %+v, %v", one, err)
	}
	_, err = s.r.Job(s.ctx(), 4711)
	wants(t, err, licence.ErrNotFound)
	_, err = s.r.Retry(s.ctx(), []int64{held.ID}, later, s.who("retry", ""))
	wants(t, err, e.ReadOnly)
}

// heldInPaperMode: what was issued on a sheet that was bound before waits until the claimant has the paper.
func heldInPaperMode(t *testing.T, e Engine) {
	s := newScene(t, e, 5)
	s.must(s.r.Bind(s.ctx(), births(hospital), "A000000003", "B2", s.now, s.who("bind", "")))
	b1, b2 := s.issue("B1"), s.issue("B2")
	const lane = "registration-authority"
	if got := s.lease(lane, 1000*time.Hour, 5); len(got) != 1 || got[0].Licence != b1.ID {
		t.Errorf("taken: %+v", got)
	} else {
		s.done(got[0])
	}
	held := s.jobs(due.Held, "")
	if len(held) != 1 || held[0].Licence != b2.ID {
		t.Fatalf("held: %+v", held)
	}
	_, err := s.r.Retry(s.ctx(), []int64{held[0].ID}, s.now, s.who("retry", ""))
	wants(t, err, licence.ErrState) // nobody sends past the paper
	later := s.now.Add(time.Hour)
	for _, want := range []int{1, 0} {
		if n, err := s.r.Release(s.ctx(), b2.ID, later, s.who("paper-given", "")); n != want || err != nil {
			t.Errorf("%d released, want %d, %v", n, want, err)
		}
	}
	if got := s.lease(lane, 59*time.Minute, 5); len(got) != 0 {
		t.Errorf("taken before its time: %v", keys(got))
	}
	if got := s.lease(lane, time.Hour, 5); len(got) != 1 || got[0].Licence != b2.ID || got[0].Key != held[0].Key {
		t.Errorf("released: %+v", got)
	}
	trail, err := s.r.OfLicence(s.ctx(), b2.ID)
	s.must(err)
	if last := trail[len(trail)-1].Entry; last.What != "paper-given" {
		t.Errorf("the trail ends with %s", last.What)
	}
}

// deliveriesOfSteps are written with their step, and with none that is not taken.
func deliveriesOfSteps(t *testing.T, e Engine) {
	s := newScene(t, e, 5)
	l := s.issue("B1")
	stale := step(l, issuing.Event{}, "handed-over", s.now)
	stale.Deliveries = []issuing.Delivery{{Licence: l.ID, Receiver: "archive", Topic: "hand-over", Due: s.now}}
	wants(t, s.r.AppendStep(s.ctx(), stale), issuing.ErrStale)
	var seen []string
	for range 2 { // handed over, sent back, handed over again: two deliveries, not one twice
		st := step(l, s.last(l), "handed-over", s.now)
		st.Deliveries = stale.Deliveries
		s.must(s.r.AppendStep(s.ctx(), st))
		jobs := s.lease("archive", 0, 5)
		if len(jobs) != 1 || jobs[0].Sequence != st.Event.Sequence || jobs[0].Topic != "hand-over" {
			t.Fatalf("%+v", jobs)
		}
		seen = append(seen, jobs[0].Key)
		s.done(jobs[0])
	}
	if seen[0] == seen[1] {
		t.Error("two deliveries have one key")
	}
}

// wokenStatus: whoever ends a licence, or hears that the ledger refused its end, makes the status list due in the same
// transaction, also while it is being made.
func wokenStatus(t *testing.T, e Engine) {
	s := newScene(t, e, 5)
	l, other := s.issue("B1"), s.issue("B2")
	const lane = due.UpkeepStatus
	tomorrow := s.now.Add(24 * time.Hour)
	publish := func(j due.Job, next time.Time) {
		t.Helper()
		s.must(s.r.Settle(s.ctx(), j.ID, j.Epoch, due.Settlement{State: due.Due, Due: next, Attempt: true, At: s.now, Wakes: j.Wakes}))
	}
	revoked := issuing.Revoked
	end := func(l issuing.Licence) issuing.Event {
		t.Helper()
		st := step(l, s.last(l), "revoked", s.now)
		st.Status = &revoked
		s.must(s.r.AppendStep(s.ctx(), st))
		return st.Event
	}
	if _, err := s.r.Arm(s.ctx(), due.New{Key: due.UpkeepKey(lane), Lane: lane, Topic: "upkeep", Due: tomorrow}, s.now); err != nil {
		t.Fatal(err)
	}
	if got := s.lease(lane, 0, 5); len(got) != 0 {
		t.Fatalf("due before its time: %+v", got)
	}
	s.must(s.r.AppendStep(s.ctx(), step(l, s.last(l), "handed-over", s.now)))
	if got := s.lease(lane, 0, 5); len(got) != 0 {
		t.Errorf("a step that ends nothing makes it due: %+v", got)
	}
	first := end(l)
	making := s.lease(lane, 0, 5)
	if len(making) != 1 {
		t.Fatalf("after a revocation: %+v", making)
	}
	end(other) // while the list is being made
	publish(making[0], tomorrow)
	making = s.lease(lane, 0, 5)
	if len(making) != 1 {
		t.Fatalf("after a revocation while the list was made: %+v", making)
	}
	publish(making[0], tomorrow)
	if next, err := s.r.NextDue(s.ctx(), lane); err != nil || !next.Equal(tomorrow) {
		t.Errorf("next at %s, %v", next, err)
	}
	s.must(s.r.MarkSequenced(s.ctx(), []issuing.Answer{{Hash: first.Hash, Refusal: "stale-predecessor", At: s.now}}))
	if got := s.lease(lane, 0, 5); len(got) != 1 {
		t.Errorf("after a refused revocation: %+v", got)
	}
}

// dueWorkOfFailingCommits: whatever answer is lost, the job is neither lost nor settled otherwise than was said.
func dueWorkOfFailingCommits(t *testing.T, e Engine) {
	for _, withEffect := range []bool{false, true} {
		s := newScene(t, e, 0)
		f := &faults{}
		s.reopen(Options{Commit: f.commit})
		once := func() { f.set(func(n int) (bool, bool) { return n == 0, withEffect }) }
		once()
		s.again("arm", func() error {
			_, err := s.r.Arm(s.ctx(), due.New{Key: "k", Lane: "a", Due: s.now}, s.now)
			return err
		})
		// The taking is lost: nobody holds the job, and its lease ends.
		once()
		_, err := s.r.Take(s.ctx(), "a", s.now, s.now.Add(time.Minute), 1)
		if !errors.Is(err, licence.ErrUnavailable) {
			t.Fatalf("a lost answer gives %v", err)
		}
		j := s.lease("a", time.Minute, 1)[0]
		if want := map[bool]int64{false: 1, true: 2}[withEffect]; j.Epoch != want {
			t.Errorf("epoch %d after a taking that was lost, want %d", j.Epoch, want)
		}
		once()
		s.again("renew", func() error { return s.r.Renew(s.ctx(), j.ID, j.Epoch, s.now.Add(3*time.Minute)) })
		if got := s.lease("a", 2*time.Minute+59*time.Second, 1); len(got) != 0 {
			t.Error("a renewed lease did not hold")
		}
		// The settlement is lost: said again, it stands once.
		once()
		who := s.who("delivered", "")
		s.again("settle", func() error {
			return s.r.Settle(s.ctx(), j.ID, j.Epoch, due.Settlement{State: due.Done, Attempt: true, At: s.now, Audit: &who})
		})
		f.set(nil)
		s.reopen(Options{})
		want := []due.Job{{ID: j.ID, Key: "k", Lane: "a", Sequence: -1, State: due.Done, Epoch: j.Epoch, Attempts: j.Attempts, Due: s.now, Created: s.now, Ended: s.now}}
		if diff := cmp.Diff(want, s.jobs(due.Done, ""), cmpopts.EquateApproxTime(0)); diff != "" {
			t.Errorf("effect %v (-want +got):\n%s", withEffect, diff)
		}
		s.close()
	}
}
