package due_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/elicence/elicence/due"
)

// bell wakes by hand.
type bell struct {
	woken chan struct{}
	hears bool
}

func (b *bell) Woken(string) <-chan struct{} { return b.woken }
func (b *bell) Hears() bool                  { return b.hears }

// Whoever waits looks again when it is woken, when the next job's time has come, and from time to time: more often while not
// everything is heard.
func TestWait(t *testing.T) {
	const job = "a"
	for name, c := range map[string]struct {
		bell *bell
		next time.Duration // of the lane's next job; 0 for none
		ring bool
		want time.Duration // after which it returns
	}{
		"nobody wakes":                      {nil, 0, false, time.Second},
		"deaf":                              {&bell{}, 0, false, time.Second},
		"hearing":                           {&bell{hears: true}, 0, false, 10 * time.Second},
		"hearing, next in three seconds":    {&bell{hears: true}, 3 * time.Second, false, 3 * time.Second},
		"hearing, next in a minute":         {&bell{hears: true}, time.Minute, false, 10 * time.Second},
		"hearing, taken from us just now":   {&bell{hears: true}, -time.Second, false, time.Second},
		"woken, what follows is gathered":   {&bell{hears: true}, time.Minute, true, 50 * time.Millisecond},
		"woken, though not all was heard":   {&bell{}, 0, true, 50 * time.Millisecond},
		"deaf, next in a tenth of a second": {&bell{}, 100 * time.Millisecond, false, 100 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHall(t)
			h.clock.asked = make(chan struct{}, 10)
			if c.next != 0 {
				if _, err := h.db.Arm(t.Context(), due.New{Key: job, Lane: "a", Due: start.Add(c.next)}, start); err != nil {
					t.Fatal(err)
				}
			}
			var o due.Options
			if c.bell != nil {
				c.bell.woken = make(chan struct{}, 1)
				o.Wakes = c.bell
			}
			r := h.runner(o, due.Lane{Name: "a", Worker: (&receiver{}).work})
			if c.ring {
				c.bell.woken <- struct{}{}
			}
			ended := make(chan error, 1)
			go func() { ended <- r.Wait(t.Context(), "a") }()
			<-h.clock.asked
			if c.ring {
				<-h.clock.asked // it gathers
				c.bell.woken <- struct{}{}
			}
			h.clock.advance(c.want - time.Microsecond)
			select {
			case err := <-ended:
				t.Fatalf("it returned too early, with %v", err)
			default:
			}
			h.clock.advance(time.Microsecond)
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if c.ring && len(c.bell.woken) != 0 {
				t.Error("what was gathered wakes again")
			}
		})
	}
	h := newHall(t)
	r := h.runner(due.Options{}, due.Lane{Name: "a", Worker: (&receiver{}).work})
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := r.Wait(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
	if err := r.Wait(t.Context(), "b"); err == nil {
		t.Error("a lane that nobody works is waited for")
	}
}

// What became due before anybody waited, or during the first look, wakes the first one who waits.
func TestNothingIsMissedBeforeTheFirstWait(t *testing.T) {
	h := newHall(t)
	h.clock.asked = make(chan struct{}, 10)
	r := h.runner(due.Options{Wakes: h.db, LookSeldom: 1000 * time.Hour, LookEvery: 1000 * time.Hour}, due.Lane{Name: "a", Worker: (&receiver{}).work})
	h.arm("a", 1)
	ended := make(chan error, 1)
	go func() { ended <- r.Wait(t.Context(), "a") }()
	<-h.clock.asked
	<-h.clock.asked // it was woken, and gathers
	h.clock.advance(time.Second)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// What was made due a moment ago looks for its receipt in short steps, what waits for long in long ones.
func TestWhatLagsForLongIsLookedAtLessOften(t *testing.T) {
	h := newHall(t)
	h.arm("a", 1)
	rec := &receiver{say: func(int, due.Job) error {
		return &due.Failed{Failure: due.Failure{Code: "awaits-receipt"}, Verdict: due.Lags}
	}}
	r := h.runner(due.Options{}, due.Lane{Name: "a", Worker: rec.work})
	for _, step := range []struct{ age, pause time.Duration }{
		{0, 250 * time.Millisecond}, {400 * time.Millisecond, 250 * time.Millisecond}, {2 * time.Second, time.Second}, {10 * time.Second, 5 * time.Second}, {time.Hour, 5 * time.Second},
	} {
		h.clock.advance(start.Add(step.age).Sub(h.clock.Now()))
		if s := h.drain(r); s != (due.Summary{Again: 1}) {
			t.Fatalf("after %s: %+v", step.age, s)
		}
		until, _, err := h.db.Pause(t.Context(), "a")
		if err != nil || until.Sub(h.clock.Now()) != step.pause {
			t.Errorf("after %s it pauses for %s, want %s; %v", step.age, until.Sub(h.clock.Now()), step.pause, err)
		}
	}
}
