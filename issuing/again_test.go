package issuing_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/storage/objects"
	"github.com/elicence/elicence/storage/objects/objectstest"
	"github.com/elicence/elicence/templates"
)

// Sixteen callers with the same approved draft get the same licence, all of them; it is made once.
func TestTheSameDraftSixteenTimes(t *testing.T) {
	h := newHouse(t)
	for round := range 8 {
		a := h.approved(hospital, request(t, round, fmt.Sprint("B", round)))
		var all sync.WaitGroup
		var fresh atomic.Int64
		numbers := make([]string, 16)
		for i := range numbers {
			all.Go(func() {
				done, err := h.service.Issue(t.Context(), a, who("issue"))
				if err != nil {
					t.Errorf("caller %d: %v", i, err)
				}
				if numbers[i] = done.Licence.Number; done.Fresh {
					fresh.Add(1)
				}
			})
		}
		all.Wait()
		if slices.Sort(numbers); numbers[0] != numbers[15] || numbers[0] == "" {
			t.Errorf("numbers %v", slices.Compact(numbers))
		}
		if fresh.Load() != 1 {
			t.Errorf("%d callers were told that they made it", fresh.Load())
		}
	}
	h.balanced(8)
}

// A worker that finishes what was left does not take a licence away from a caller who is just making it.
func TestResumingBesideIssuing(t *testing.T) {
	h := newHouse(t)
	stop, cancel := context.WithCancel(t.Context())
	resumed := make(chan error, 1)
	go func() {
		for stop.Err() == nil {
			if _, err := h.service.ResumeAll(t.Context(), who("resume"), nil); err != nil {
				resumed <- err
				return
			}
		}
		resumed <- nil
	}()
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for k := range 3 {
				if _, err := h.service.Issue(t.Context(), h.approved(hospital, request(t, k, fmt.Sprintf("B%d-%d", i, k))), who("issue")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	cancel()
	if err := <-resumed; err != nil {
		t.Error(err)
	}
	h.balanced(24)
}

// One business id, one kind, other content: a conflict, whatever the stage of what stands.
func TestOtherContentIsAConflict(t *testing.T) {
	h := newHouse(t)
	for i, fault := range []string{"", "commit", "sign", "put"} {
		business := fmt.Sprint("B", i)
		first := h.approved(hospital, request(t, i, business))
		h.faults.set(func(n int, point string) objectstest.Fault {
			if fault != "" && strings.HasPrefix(point, fault) {
				return objectstest.FailedButDone
			}
			return objectstest.None
		})
		_, err := h.service.Issue(t.Context(), first, who("issue"))
		if (err == nil) != (fault == "") {
			t.Fatal(err)
		}
		h.faults.set(nil)
		changed := h.approved(hospital, request(t, i, business, "/child/weightGrams", 3001))
		wants(t, h.untouched(func() error {
			_, err := h.service.Issue(t.Context(), changed, who("issue"))
			return err
		}), licence.ErrConflict)
		h.issue(first)
	}
	l := h.birth(9, "B9")
	x := h.reissue(l, licence.KindExchange, "B9-X")
	h.issue(h.approved(hospital, x))
	_, err := h.service.Issue(t.Context(), h.approved(hospital, with(x, "/child/name", "曹再更")), who("issue"))
	wants(t, err, licence.ErrConflict)
	h.balanced(6)
}

// What fails again and again waits for a person: with its number, out of the way, and the reason in one word.
func TestParking(t *testing.T) {
	h := newHouse(t)
	broken := errors.New("the page does not verify")
	checks := 0
	bad := h.serve(func(n *issuing.Needs) {
		n.SelfCheck = func(context.Context, []byte) error { checks++; return broken }
	})
	a := h.approved(hospital, request(t, 0, "B1"))
	_, err := bad.Issue(t.Context(), a, who("issue"))
	wants(t, err, issuing.ErrEvidence)
	was, _ := h.standing(a)
	if was.Stage != issuing.StageIntent || len(h.stored("")) != 0 {
		t.Errorf("what does not verify is %s, and %d objects are stored", was.Stage, len(h.stored("")))
	}
	checks = 0
	n, err := bad.ResumeAll(t.Context(), who("resume"), nil)
	wants(t, err, broken)
	if n != 0 || checks != h.attempts {
		t.Errorf("%d finished after %d attempts, want %d", n, checks, h.attempts)
	}
	l := h.licence(was.Number)
	if l.Stage != issuing.StageParked || l.ParkReason != "self-check" {
		t.Errorf("it is %s for %q", l.Stage, l.ParkReason)
	}
	// Nobody moves it, not even a program that would succeed.
	if n, err := h.service.ResumeAll(t.Context(), who("resume"), nil); n != 0 || err != nil {
		t.Errorf("a parked licence was resumed: %d, %v", n, err)
	}
	for _, try := range []func() error{
		func() error { _, err := h.service.Issue(t.Context(), a, who("issue")); return err },
		func() error { _, err := h.service.Resume(t.Context(), l.ID, who("resume")); return err },
	} {
		err := try()
		wants(t, err, licence.ErrState)
		if err == nil || !strings.Contains(err.Error(), l.Number) || !strings.Contains(err.Error(), "self-check") || errors.Is(err, issuing.ErrFenced) {
			t.Errorf("the answer names neither licence nor reason: %v", err)
		}
	}
	if next := h.birth(1, "B2"); next.Number == l.Number {
		t.Error("its number was used again")
	}
}

// A person takes a parked licence up again: what still fails is parked again, with the reason of today; what is cured
// keeps number, identifier and signing time, and is issued once. Asking again is no harm.
func TestRetrying(t *testing.T) {
	h := newHouse(t)
	broken := errors.New("the page does not verify")
	bad := h.serve(func(n *issuing.Needs) {
		n.SelfCheck = func(context.Context, []byte) error { return broken }
	})
	a := h.approved(hospital, request(t, 0, "B1"))
	_, err := bad.Issue(t.Context(), a, who("issue"))
	wants(t, err, issuing.ErrEvidence)
	_, err = bad.ResumeAll(t.Context(), who("resume"), nil)
	wants(t, err, issuing.ErrParked)
	was, _ := h.standing(a)
	why := who("resume")
	why.Why = "looked at it"
	l, err := bad.Retry(t.Context(), was.ID, why)
	wants(t, err, issuing.ErrParked)
	wants(t, err, broken)
	if l.Stage != issuing.StageParked || l.ParkReason != "self-check" || h.licence(was.Number).Stage != issuing.StageParked {
		t.Errorf("what still fails is %s for %q", l.Stage, l.ParkReason)
	}
	// A key that is away is no verdict: the licence stays taken up, and the next run finishes it.
	away := h.serve(func(n *issuing.Needs) { n.Keys = without{keyring{h.world, h.faults}, hospital.Code} })
	_, err = away.Retry(t.Context(), was.ID, why)
	wants(t, err, issuing.ErrKey)
	if l := h.licence(was.Number); l.Stage != issuing.StageIntent {
		t.Errorf("while its key is away it is %s", l.Stage)
	}
	for range 2 {
		l, err = h.service.Retry(t.Context(), was.ID, why)
		h.must(err)
		if l.Stage != issuing.StageIssued || l.Number != was.Number || l.Identifier != was.Identifier || !l.SigningTime.Equal(was.SigningTime) {
			t.Errorf("%s, number %s of %s, signed %s of %s", l.Stage, l.Number, was.Number, l.SigningTime, was.SigningTime)
		}
	}
	links, err := h.db.OfLicence(t.Context(), was.ID)
	h.must(err)
	retries := 0
	for _, link := range links {
		if link.Entry.What == "retry" {
			retries++
			if link.Entry.Why != "self-check: looked at it" {
				t.Errorf("the trail says of the retry %q", link.Entry.Why)
			}
		}
	}
	if retries != 2 {
		t.Errorf("%d retries of a parked licence are on record, want 2", retries)
	}
	_, err = h.service.Retry(t.Context(), "none", why)
	wants(t, err, licence.ErrNotFound)
	h.balanced(1)
}

// Keys, stores and records that are away never park a licence, however often somebody tries meanwhile.
func TestAbsenceDoesNotPark(t *testing.T) {
	h := newHouse(t)
	for i, point := range []string{"commit", "key again of documents", "key again of events", "sign credential", "sign cms-attributes", "sign event", "seal", "put keys", "put objects"} {
		a := h.approved(hospital, request(t, i, fmt.Sprint("B", i)))
		begun := false
		h.faults.set(func(n int, p string) objectstest.Fault {
			if point == "commit" && p == point && !begun {
				begun = true // its number is to be taken first
				return objectstest.FailedButDone
			}
			return always(point, objectstest.Failed)(n, p)
		})
		_, err := h.service.Issue(t.Context(), a, who("issue"))
		wants(t, err, errInjected)
		l, ok := h.standing(a)
		if !ok {
			t.Fatalf("%s: nothing stands", point)
		}
		if point != "commit" && !strings.Contains(err.Error(), l.Number) {
			t.Errorf("%s: the error does not name licence %s: %v", point, l.Number, err)
		}
		for range 5 {
			n, err := h.service.ResumeAll(t.Context(), who("resume"), nil)
			wants(t, err, errInjected)
			if !errors.Is(err, issuing.ErrKey) && !errors.Is(err, licence.ErrUnavailable) {
				t.Errorf("%s: %v says neither that a key is away nor that something is not available", point, err)
			}
			if n != 0 {
				t.Errorf("%s: %d finished", point, n)
			}
		}
		if l = h.licence(l.Number); l.Stage == issuing.StageParked {
			t.Errorf("%s away: parked for %q", point, l.ParkReason)
		}
		h.faults.set(nil)
		if n, err := h.service.ResumeAll(t.Context(), who("resume"), nil); n != 1 || err != nil {
			t.Errorf("%s is back: %d finished, %v", point, n, err)
		}
	}
	h.balanced(9)
}

// Licences whose issuer's key is away do not stand in the way of all the others, however many they are.
func TestManyThatWaitForAKey(t *testing.T) {
	h := newHouse(t)
	h.faults.set(always("key again of documents", objectstest.Failed))
	const waiting = 300
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for k := i; k < waiting; k += 8 {
				_, err := h.service.Issue(t.Context(), h.approved(other, request(t, k, fmt.Sprint("W", k))), who("issue"))
				wants(t, err, issuing.ErrKey)
			}
		})
	}
	all.Wait()
	_, err := h.service.Issue(t.Context(), h.approved(hospital, request(t, 0, "B1")), who("issue"))
	wants(t, err, issuing.ErrKey)
	h.faults.set(nil)
	away := h.serve(func(n *issuing.Needs) { n.Keys = without{keyring{h.world, h.faults}, other.Code} })
	var done []string
	n, err := away.ResumeAll(t.Context(), who("resume"), func(l issuing.Licence) { done = append(done, l.BusinessID) })
	wants(t, err, issuing.ErrKey)
	if n != 1 || !slices.Equal(done, []string{"B1"}) {
		t.Errorf("%d finished: %v", n, done)
	}
}

// without is a keyring that lacks one organisation's keys.
type without struct {
	keyring
	organisation string
}

func (w without) ByCertificate(ctx context.Context, organisation string, sm3 [32]byte) (issuing.Signing, error) {
	if organisation == w.organisation {
		return issuing.Signing{}, fmt.Errorf("%w: the keystore of %s is not here", issuing.ErrKey, organisation)
	}
	return w.keyring.ByCertificate(ctx, organisation, sm3)
}

// gate stops a worker at its self-check until it is let through.
type gate struct{ reached, open chan struct{} }

func newGate() *gate { return &gate{make(chan struct{}), make(chan struct{})} }

func (g *gate) check(h *house) issuing.SelfCheck {
	var once sync.Once
	return func(ctx context.Context, file []byte) error {
		once.Do(func() { close(g.reached); <-g.open })
		return h.selfCheck(ctx, file)
	}
}

// Two processes have one licence in hand. The older one's signatures go nowhere: no row, no object.
func TestTheOlderWorkerIsFenced(t *testing.T) {
	h := newHouse(t)
	g := newGate()
	older := h.serve(func(n *issuing.Needs) { n.SelfCheck = g.check(h) })
	a := h.approved(hospital, request(t, 0, "B1"))
	answer := make(chan error, 1)
	var got issuing.Issued
	go func() {
		var err error
		got, err = older.Issue(t.Context(), a, who("issue"))
		answer <- err
	}()
	<-g.reached
	l, _ := h.standing(a)
	done, err := h.service.Resume(t.Context(), l.ID, who("resume"))
	h.must(err)
	stored := h.stored(objects.Content)
	close(g.open)
	// The licence stands: that is what the older worker's caller gets to hear.
	if err := <-answer; err != nil || got.Licence.Number != done.Number || got.Fresh {
		t.Errorf("the older worker's caller got %q, fresh %v, %v", got.Licence.Number, got.Fresh, err)
	}
	if now := h.stored(objects.Content); !slices.Equal(now, stored) {
		t.Errorf("the older worker left objects behind: %d, were %d", len(now), len(stored))
	}
	h.balanced(1)

	// The same between two that resume: there the older one is told.
	h.faults.set(always("put objects", objectstest.Failed))
	b := h.approved(hospital, request(t, 1, "B2"))
	_, err = h.service.Issue(t.Context(), b, who("issue"))
	wants(t, err, errInjected)
	h.faults.set(nil)
	l, _ = h.standing(b)
	late := newLateClaims(h)
	slow := h.serve(func(n *issuing.Needs) { n.Records = late })
	_, err = slow.Resume(t.Context(), l.ID, who("resume"))
	wants(t, err, issuing.ErrFenced)
	h.balanced(2)
}

// lateClaims lets somebody else finish a licence between a worker's claim and its last commit.
type lateClaims struct {
	issuing.Records
	h *house
}

func newLateClaims(h *house) *lateClaims { return &lateClaims{h.db, h} }

func (c *lateClaims) CommitIssued(ctx context.Context, id string, epoch int64, done issuing.Completion) error {
	if _, err := c.h.service.Resume(ctx, id, who("resume")); err != nil {
		return err
	}
	return c.Records.CommitIssued(ctx, id, epoch, done)
}

// otherPages draws what a later version of the program would draw.
type otherPages struct {
	issuing.Renderer
	title string
}

func (o otherPages) Render(p templates.Part) (*templates.Unsigned, error) {
	p.SignerName += o.title
	return o.Renderer.Render(p)
}

// A new program version that would build other bytes signs anew, and notes where the old bytes would stand.
func TestAnotherVersionSignsAnew(t *testing.T) {
	h := newHouse(t)
	for i, put := range []string{"put keys", "put objects", "commit"} {
		a := h.approved(hospital, request(t, i, fmt.Sprint("B", i)))
		seen := 0
		h.faults.set(func(_ int, point string) objectstest.Fault {
			if point == put {
				if seen++; put == "put keys" || put == "put objects" && seen == 2 || seen == 3 {
					return objectstest.Failed
				}
			}
			return objectstest.None
		})
		_, err := h.service.Issue(t.Context(), a, who("issue"))
		wants(t, err, errInjected)
		h.faults.set(nil)
		was, _ := h.standing(a)
		if was.Stage != issuing.StageSigned {
			t.Fatalf("%s: %s", put, was.Stage)
		}
		newer := h.serve(func(n *issuing.Needs) { n.Renderer = otherPages{h.renderer, "（新）"} })
		// Also if the program dies while it signs anew.
		if i == 1 {
			first := true
			h.faults.set(func(_ int, point string) objectstest.Fault {
				if point == "put objects" && first {
					first = false
					return objectstest.Failed
				}
				return objectstest.None
			})
			_, err := newer.Resume(t.Context(), was.ID, who("resume"))
			wants(t, err, errInjected)
		}
		h.faults.set(nil)
		now, err := newer.Resume(t.Context(), was.ID, who("resume"))
		h.must(err)
		if now.Number != was.Number || now.Handle != was.Handle {
			t.Errorf("%s: number %s became %s", put, was.Number, now.Number)
		}
		now = h.licence(now.Number)
		var old []string
		for k, p := range was.Signatures.Parts {
			old = append(old, p.Address)
			if now.Signatures.Parts[k].SM3 == p.SM3 {
				t.Errorf("%s: %s is the old one", put, p.Part)
			}
		}
		if !slices.Equal(now.Signatures.Abandoned, old) {
			t.Errorf("%s: abandoned %v, want %v", put, now.Signatures.Abandoned, old)
		}
	}
	h.balanced(3)
}
