package recordstest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/elicence/elicence/due"
	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/licence"
)

// authority is the receiver of the parts of every licence that the suite issues.
const authority = "registration-authority"

// woken reports which of these lanes were woken since it was asked last.
func (s *scene) woken(lanes ...string) (found []string) {
	for _, lane := range lanes {
		select {
		case <-s.r.Woken(lane):
			found = append(found, lane)
		default:
		}
	}
	return found
}

// commitsWake: whoever works a lane off in this process is told of what becomes due as soon as it is written, and of nothing
// that was not written.
func commitsWake(t *testing.T, e Engine) {
	s := newScene(t, e, 5)
	lanes := []string{"a", "b", authority, "archive", due.UpkeepStatus}
	says := func(what string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, s.woken(lanes...)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	says("nothing is there")
	s.arm("a", 2)
	says("armed", "a")
	l := s.issue("B1")
	says("issued", authority)
	s.must(s.r.Bind(s.ctx(), births(hospital), "A000000003", "B2", s.now, s.who("bind", "")))
	b2 := s.issue("B2")
	says("issued in paper mode")
	if n, err := s.r.Release(s.ctx(), b2.ID, s.now, s.who("paper-given", "")); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	says("the paper was given", authority)
	first := s.last(l)
	st := step(l, first, "handed-over", s.now)
	st.Deliveries = []issuing.Delivery{{Licence: l.ID, Receiver: "archive", Topic: "hand-over", Due: s.now}}
	s.must(s.r.AppendStep(s.ctx(), st))
	says("handed over", "archive")
	stale := step(l, first, "handed-over", s.now)
	stale.Deliveries = st.Deliveries
	wants(t, s.r.AppendStep(s.ctx(), stale), issuing.ErrStale)
	// What a change that failed was about to make due may be looked for in vain, once.
	s.woken(lanes...)
	revoked := issuing.Revoked
	end := step(l, s.last(l), "revoked", s.now)
	end.Status = &revoked
	s.must(s.r.AppendStep(s.ctx(), end))
	says("revoked", due.UpkeepStatus)

	j := s.lease("a", time.Hour, 1)[0]
	s.done(j)
	says("done")
	j = s.lease("a", time.Hour, 1)[0]
	at := s.now.Add(time.Hour)
	s.must(s.r.Settle(s.ctx(), j.ID, j.Epoch, due.Settlement{State: due.Due, Due: at.Add(time.Minute), Attempt: true, At: at, Failure: due.Failure{Code: "internal"}}))
	says("it failed: whoever settles it knows the time")
	j = s.lease("a", 2*time.Hour, 1)[0]
	s.must(s.r.Settle(s.ctx(), j.ID, j.Epoch, due.Settlement{State: due.Due, Due: j.Due, At: s.now.Add(2 * time.Hour), Failure: due.Failure{Code: due.CodeInterrupted}}))
	says("its program was stopped: another may go on", "a")
	if _, err := s.r.Retry(s.ctx(), []int64{j.ID}, s.now, s.who("retry", "")); err != nil {
		t.Fatal(err)
	}
	says("sent again", "a")
	if _, err := s.r.Cancel(s.ctx(), []int64{j.ID}, s.now, s.who("cancel", "")); err != nil {
		t.Fatal(err)
	}
	says("cancelled")
}

// hastened: an upkeep comes before its time if somebody sees that it must, but never more often than its failures allow.
func hastened(t *testing.T, e Engine) {
	s := newScene(t, e, 0)
	const lane = due.UpkeepStatus
	hasten := func(want bool) {
		t.Helper()
		if got, err := s.r.Hasten(s.ctx(), lane, s.now); got != want || err != nil {
			t.Errorf("hastened: %v, %v, want %v", got, err, want)
		}
	}
	hasten(false) // it is not there yet
	tomorrow := s.now.Add(24 * time.Hour)
	if _, err := s.r.Arm(s.ctx(), due.New{Key: due.UpkeepKey(lane), Lane: lane, Topic: "upkeep", Due: tomorrow}, s.now); err != nil {
		t.Fatal(err)
	}
	s.woken(lane)
	hasten(true)
	if got := s.woken(lane); len(got) != 1 {
		t.Error("nobody is told")
	}
	hasten(false) // it is due already
	j := s.lease(lane, 0, 5)
	if len(j) != 1 {
		t.Fatalf("%d jobs", len(j))
	}
	hasten(false) // it is being done
	s.must(s.r.Settle(s.ctx(), j[0].ID, j[0].Epoch, due.Settlement{State: due.Due, Due: s.now.Add(time.Minute), Attempt: true, At: s.now, Wakes: j[0].Wakes, Failure: due.Failure{Code: "key"}}))
	hasten(false) // it failed, and waits
	j = s.lease(lane, time.Minute, 5)
	if len(j) != 1 || j[0].Attempts != 2 {
		t.Fatalf("after its back-off: %+v", j)
	}
	s.must(s.r.Settle(s.ctx(), j[0].ID, j[0].Epoch, due.Settlement{State: due.Due, Due: tomorrow, Attempt: true, At: s.now, Wakes: j[0].Wakes}))
	hasten(true)
}

// pruned: what has ended goes when it was kept long enough, and nothing else does, however it lies among the rest.
func pruned(t *testing.T, e Engine) {
	s := newScene(t, e, 5)
	day := 24 * time.Hour
	l := s.issue("B1")
	s.arm("a", 12)
	ended := s.lease("a", time.Hour, 10) // a-10 and a-11 stay due
	end := func(j due.Job, at time.Time) {
		t.Helper()
		s.must(s.r.Settle(s.ctx(), j.ID, j.Epoch, due.Settlement{State: due.Done, Attempt: true, At: at}))
	}
	// The first one waited for long and ended late; the last of those that ended is a dead letter.
	end(ended[0], s.now.Add(80*day))
	for n, j := range ended[1:9] {
		end(j, s.now.Add(time.Duration(n)*day))
	}
	s.must(s.r.Settle(s.ctx(), ended[9].ID, ended[9].Epoch, due.Settlement{State: due.Dead, Attempt: true, At: s.now, Failure: due.Failure{Code: "refused"}}))
	delivery := s.lease(authority, 0, 1)[0]
	if _, err := s.r.Cancel(s.ctx(), []int64{delivery.ID}, s.now, s.who("cancel", "")); err != nil {
		t.Fatal(err)
	}
	prune := func(before time.Time, limit int) (removed int) {
		t.Helper()
		for _, state := range []due.State{due.Done, due.Cancelled} {
			for after, turn := int64(0), 0; ; turn++ {
				n, next, err := s.r.Prune(s.ctx(), state, before, after, limit)
				s.must(err)
				removed += n
				if next == 0 {
					break
				}
				if next <= after || turn > 100 {
					t.Fatalf("it does not come to an end: after %d comes %d", after, next)
				}
				after = next
			}
		}
		return removed
	}
	if n := prune(s.now, 3); n != 0 {
		t.Errorf("%d removed at once", n)
	}
	if n := prune(s.now.Add(3*day), 2); n != 4 { // those of days 0, 1, 2, and the one that was cancelled
		t.Errorf("%d removed of three days and more, want 4", n)
	}
	if n := prune(s.now.Add(70*day), 2); n != 5 {
		t.Errorf("%d removed later, want 5", n)
	}
	if n := prune(s.now.Add(70*day), 100); n != 0 {
		t.Errorf("%d removed twice", n)
	}
	if got := keys(s.jobs(due.Done, "")); len(got) != 1 || got[0] != "a-0" {
		t.Errorf("of what is done %v is left", got)
	}
	if n := prune(s.now.Add(1000*day), 100); n != 1 {
		t.Errorf("%d removed at last, want 1", n)
	}
	for _, state := range []due.State{due.Due, due.Leased, due.Dead, due.Held} {
		_, _, err := s.r.Prune(s.ctx(), state, s.now.Add(1000*day), 0, 100)
		wants(t, err, licence.ErrState)
	}
	waiting, err := s.r.Waiting(s.ctx())
	s.must(err)
	if diff := cmp.Diff(map[string]map[due.State]int{"a": {due.Due: 2, due.Dead: 1}}, waiting); diff != "" {
		t.Errorf("what waits (-want +got):\n%s", diff)
	}
	// The delivery's row is gone, and its key with it: the step that made it does not make it again.
	again, err := Again(t, s.r, l)
	if err != nil || again.ID != l.ID {
		t.Errorf("the same request again: %+v, %v", again, err)
	}
	if got := s.lease(authority, 1000*day, 5); len(got) != 0 {
		t.Errorf("what was delivered is delivered again: %v", keys(got))
	}
}

// erasedDeliveries: with its personal data everything goes that was still to be delivered of a licence, also what is being
// sent; what was delivered stays delivered, and others' deliveries are untouched.
func erasedDeliveries(t *testing.T, e Engine) {
	s := newScene(t, e, 5)
	s.must(s.r.Bind(s.ctx(), births(hospital), "A000000001", "B1", s.now, s.who("bind", "")))
	l, other := s.issue("B1"), s.issue("B2") // held for its paper; due
	hand := func(receiver string) {
		t.Helper()
		st := step(l, s.last(l), "handed-over", s.now)
		st.Deliveries = []issuing.Delivery{{Licence: l.ID, Receiver: receiver, Topic: "hand-over", Due: s.now}}
		s.must(s.r.AppendStep(s.ctx(), st))
	}
	for _, receiver := range []string{"done", "dead", "leased", "due"} {
		hand(receiver)
	}
	s.done(s.lease("done", 0, 1)[0])
	dead := s.lease("dead", 0, 1)[0]
	s.must(s.r.Settle(s.ctx(), dead.ID, dead.Epoch, due.Settlement{State: due.Dead, Attempt: true, At: s.now, Failure: due.Failure{Code: "refused", Detail: "HTTP 422"}}))
	sending := s.lease("leased", 0, 1)[0]
	who := s.who("erase", l.ID)
	who.Why = "court-decision"
	_, err := s.r.Erase(s.ctx(), l.ID, who)
	s.must(err)
	wants(t, s.r.Renew(s.ctx(), sending.ID, sending.Epoch, s.now.Add(time.Hour)), due.ErrFenced)
	wants(t, s.r.Settle(s.ctx(), sending.ID, sending.Epoch, due.Settlement{State: due.Due, Due: s.now, At: s.now}), due.ErrFenced)
	got := map[string]bool{}
	for _, j := range s.jobs(due.Cancelled, "") {
		got[j.Lane] = true
		if j.Licence != l.ID || j.Failure != (due.Failure{Code: due.CodeErased}) || !j.Ended.Equal(who.At) || !j.FailedAt.Equal(who.At) {
			t.Errorf("cancelled: %+v", j)
		}
	}
	if diff := cmp.Diff(map[string]bool{authority: true, "dead": true, "leased": true, "due": true}, got); diff != "" {
		t.Errorf("cancelled (-want +got):\n%s", diff)
	}
	if done := s.jobs(due.Done, ""); len(done) != 1 || done[0].Lane != "done" {
		t.Errorf("done: %+v", done)
	}
	if n, err := s.r.Release(s.ctx(), l.ID, s.now, s.who("paper-given", "")); n != 0 || err != nil {
		t.Errorf("%d released after the erasure, %v", n, err)
	}
	if jobs := s.lease(authority, 1000*time.Hour, 5); len(jobs) != 1 || jobs[0].Licence != other.ID {
		t.Errorf("another licence's delivery: %+v", jobs)
	}
	rows := func() (n int) {
		trail, err := s.r.OfLicence(s.ctx(), l.ID)
		s.must(err)
		for _, link := range trail {
			if link.Entry.What == "cancel-delivery" && link.Entry.Why == who.Why && link.Entry.Person == who.Person {
				n++
			}
		}
		return n
	}
	if n := rows(); n != 4 {
		t.Errorf("%d rows in the trail, want 4", n)
	}
	// Custody goes on, and there is nothing to deliver of it: nobody tries to.
	s.woken("late")
	hand("late")
	if got := s.jobs(due.Cancelled, "late"); len(got) != 1 || got[0].Failure.Code != due.CodeErased || got[0].Ended.IsZero() || len(s.woken("late")) != 0 {
		t.Errorf("handed over after the erasure: %+v", got)
	}
	_, err = s.r.Erase(s.ctx(), l.ID, who)
	s.must(err)
	if n := rows(); n != 4 {
		t.Errorf("erased again: %d rows in the trail, want 4", n)
	}
}
