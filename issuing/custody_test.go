package issuing_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/storage/objects/objectstest"
)

func (h *house) take(m issuing.Move) issuing.Event {
	h.t.Helper()
	e, err := h.service.Take(h.t.Context(), m, who(string(m.Kind)))
	h.must(err)
	return e
}

// forbids holds a step to being refused by the named rule, with nothing signed and nothing written.
func (h *house) forbids(m issuing.Move, rule string) {
	h.t.Helper()
	h.faults.set(nil)
	_, err := h.service.Take(h.t.Context(), m, who(string(m.Kind)))
	wants(h.t, err, issuing.ErrRefusedByContract)
	var refusal *contract.Refusal
	if !errors.As(err, &refusal) || refusal.Rule != rule || refusal.ZH == "" || refusal.EN == "" {
		h.t.Errorf("%s by %s: %v, want the rule %s in two languages", m.Kind, m.Actor, err, rule)
	}
	if points := h.faults.points(); len(points) > 0 {
		h.t.Errorf("%s: before it was refused: %v", m.Kind, points)
	}
}

const counterfoil = "counterfoil"

func handOver(number string, by, to licence.Organisation) issuing.Move {
	return issuing.Move{Kind: contract.HandedOver, Number: number, Actor: by.Code, Part: counterfoil, Counterparty: to.Code}
}

func TestCustodyIsJudgedHere(t *testing.T) {
	h := newHouse(t)
	n := h.birth(0, "B1").Number
	move := func(kind contract.Kind, by licence.Organisation, part, reason string) issuing.Move {
		return issuing.Move{Kind: kind, Number: n, Actor: by.Code, Part: part, Reason: reason}
	}
	// Hand-over.
	main := handOver(n, hospital, archive)
	main.Part = "main"
	h.forbids(main, contract.RuleNotTransferable)
	stub := handOver(n, hospital, archive)
	stub.Part = "stub"
	h.forbids(stub, contract.RuleUnknownPart)
	nobody := handOver(n, hospital, archive)
	nobody.Counterparty = organisation("", "", 'W', 1).Code
	h.forbids(nobody, contract.RuleReceiverNotEnrolled)
	h.forbids(handOver(n, other, archive), contract.RuleNotHolder)
	h.forbids(handOver(n, hospital, police), contract.RuleReceiverKind)
	h.forbids(handOver(n, hospital, hospital), contract.RuleReceiverSelf)
	h.forbids(move(contract.HandedOver, hospital, counterfoil, ""), contract.RuleFields)
	h.forbids(move(contract.Accepted, archive, counterfoil, ""), contract.RuleNotHandedOver)
	h.take(handOver(n, hospital, archive))
	h.forbids(handOver(n, hospital, archive2), contract.RuleHandedOverAlready)
	// Rejection, and again to another.
	h.forbids(move(contract.Rejected, archive, counterfoil, "no room"), contract.RuleReason)
	h.forbids(move(contract.Rejected, archive2, counterfoil, "incomplete"), contract.RuleAnotherReceiver)
	h.take(move(contract.Rejected, archive, counterfoil, "incomplete"))
	h.take(handOver(n, hospital, archive2))
	// Acceptance.
	h.forbids(move(contract.Accepted, hospital, counterfoil, ""), contract.RuleActorKind)
	h.forbids(move(contract.Accepted, archive, counterfoil, ""), contract.RuleAnotherReceiver)
	h.take(move(contract.Accepted, archive2, counterfoil, ""))
	h.forbids(move(contract.Accepted, archive2, counterfoil, ""), contract.RuleAcceptedAlready)
	// Registration.
	h.forbids(move(contract.Registered, hospital, "", ""), contract.RuleActorKind)
	h.take(move(contract.Registered, police, "", ""))
	h.forbids(move(contract.Registered, police, "", ""), contract.RuleRegisteredAlready)
	// What is no step of its own.
	h.forbids(move(contract.Superseded, hospital, "", "exchange"), contract.RuleFields)
	h.forbids(move(contract.Issued, hospital, "", ""), contract.RuleFields)
	h.forbids(move("lent", hospital, "", ""), contract.RuleKind)
	// Revocation ends everything.
	h.forbids(move(contract.Revoked, other, "", "wrongly-issued"), contract.RuleNotIssuer)
	h.forbids(move(contract.Revoked, agency, "", "wrongly-issued"), contract.RuleNotIssuer)
	revoke := move(contract.Revoked, commission, "", "court-decision")
	revoke.Note, revoke.NoteName = []byte("判决书"), "revocation"
	e := h.take(revoke)
	h.forbids(move(contract.Revoked, commission, "", "court-decision"), contract.RuleRevoked)
	h.forbids(handOver(n, archive2, archive), contract.RuleRevoked)

	l := h.licence(n)
	view, events, err := h.service.View(t.Context(), l)
	h.must(err)
	if l.Status != issuing.Revoked || view.Revoked != "court-decision" || view.Registered != police.Code || len(events) != 7 {
		t.Errorf("%s, view %+v after %d events", l.Status, view, len(events))
	}
	if p, _ := view.Part(counterfoil); p.Holder != archive2.Code || p.Pending != "" {
		t.Errorf("the counterfoil: %+v", p)
	}
	notes, err := h.db.Notes(t.Context(), l.ID)
	if err != nil || string(notes[e.Sequence].Text) != "判决书" {
		t.Errorf("notes %v, %v", notes, err)
	}
	ended, err := h.db.NotInForce(t.Context())
	if err != nil || len(ended) != 1 || ended[l.StatusIndex] != issuing.Revoked {
		t.Errorf("not in force: %v, %v", ended, err)
	}
	h.refused(h.service, h.approved(hospital, h.reissue(l, licence.KindExchange, "B1-X")), licence.ErrState)
	h.balanced(1)
}

func TestStepsThatCannotBeTaken(t *testing.T) {
	h := newHouse(t)
	try := func(m issuing.Move) error {
		_, err := h.service.Take(t.Context(), m, who("step"))
		return err
	}
	wants(t, try(handOver("X009999999", hospital, archive)), licence.ErrNotFound)
	h.faults.set(always("put objects", objectstest.Failed))
	a := h.approved(hospital, request(t, 0, "B1"))
	_, err := h.service.Issue(t.Context(), a, who("issue"))
	wants(t, err, errInjected)
	h.faults.set(nil)
	l, _ := h.standing(a)
	wants(t, try(handOver(l.Number, hospital, archive)), licence.ErrState)
	h.blind = true
	x := h.reissue(h.birth(1, "B2"), licence.KindExchange, "B1-X", "/replaces", l.Number)
	h.refused(h.service, h.approved(hospital, x), licence.ErrState)
	h.blind = false
	h.issue(a)
	h.clock.add(-time.Minute)
	wants(t, try(handOver(l.Number, hospital, archive)), licence.ErrClock)
	h.clock.add(time.Minute)
	for _, point := range []string{"key of events", "sign event"} {
		h.faults.set(always(point, objectstest.Failed))
		wants(t, try(handOver(l.Number, hospital, archive)), issuing.ErrKey)
	}
	h.faults.set(always("commit", objectstest.Failed))
	wants(t, try(handOver(l.Number, hospital, archive)), licence.ErrUnavailable)
	// The answer is lost: whoever asks again hears that it is done.
	h.faults.set(always("commit", objectstest.FailedButDone))
	wants(t, try(handOver(l.Number, hospital, archive)), licence.ErrUnavailable)
	h.forbids(handOver(l.Number, hospital, archive), contract.RuleHandedOverAlready)
	h.balanced(2)
}

// Of sixteen who take the same step at once, one does; the others are told that it is done, or to read again.
func TestOneOfManyTakesTheStep(t *testing.T) {
	h := newHouse(t)
	l := h.birth(0, "B1")
	var all sync.WaitGroup
	errs := make([]error, 16)
	for i := range errs {
		all.Go(func() {
			_, errs[i] = h.service.Take(t.Context(), handOver(l.Number, hospital, archive), who("hand-over"))
		})
	}
	all.Wait()
	done := 0
	for _, err := range errs {
		switch {
		case err == nil:
			done++
		case !errors.Is(err, issuing.ErrStale) && !errors.Is(err, issuing.ErrRefusedByContract):
			t.Error(err)
		}
	}
	if done != 1 {
		t.Errorf("%d took the step", done)
	}
	// For certain: somebody else comes between reading and writing.
	between := h.serve(func(n *issuing.Needs) {
		n.Records = &between{Records: h.db, before: func() {
			h.take(issuing.Move{Kind: contract.Registered, Number: l.Number, Actor: police.Code})
		}}
	})
	_, err := between.Take(t.Context(), issuing.Move{Kind: contract.Accepted, Number: l.Number, Actor: archive.Code, Part: counterfoil}, who("accept"))
	wants(t, err, issuing.ErrStale)
	h.balanced(1)
}

// between lets something happen once, right before a step is written or a licence issued.
type between struct {
	issuing.Records
	once   sync.Once
	before func()
}

func (b *between) AppendStep(ctx context.Context, s issuing.Step) error {
	b.once.Do(b.before)
	return b.Records.AppendStep(ctx, s)
}

func (b *between) CommitIssued(ctx context.Context, id string, epoch int64, c issuing.Completion) error {
	b.once.Do(b.before)
	return b.Records.CommitIssued(ctx, id, epoch, c)
}

// A new licence ends the old one in its own transaction; what comes between is read anew.
func TestReplacing(t *testing.T) {
	h := newHouse(t)
	old := h.birth(0, "B1")
	a := h.approved(hospital, h.reissue(old, licence.KindExchange, "B1-X"))
	raced := h.serve(func(n *issuing.Needs) {
		n.Records = &between{Records: h.db, before: func() { h.take(handOver(old.Number, hospital, archive)) }}
	})
	_, err := raced.Issue(t.Context(), a, who("issue"))
	wants(t, err, issuing.ErrStale)
	if l := h.licence(old.Number); l.Status != issuing.InForce {
		t.Errorf("the old licence is %s before there is a new one", l.Status)
	}
	next := h.issue(a)
	if old = h.licence(old.Number); old.Status != issuing.Superseded || old.ReplacedBy != next.Number {
		t.Errorf("the old licence is %s by %q", old.Status, old.ReplacedBy)
	}
	view, _, err := h.service.View(t.Context(), old)
	h.must(err)
	if view.Successor != next.Handle || view.Superseded != licence.KindExchange {
		t.Errorf("the ledger will say %+v", view)
	}
	// Its counterfoil may still reach the archive; registered it is no more.
	h.take(issuing.Move{Kind: contract.Accepted, Number: old.Number, Actor: archive.Code, Part: counterfoil})
	h.forbids(issuing.Move{Kind: contract.Registered, Number: old.Number, Actor: police.Code}, contract.RuleSuperseded)
	h.refused(h.service, h.approved(hospital, h.reissue(old, licence.KindExchange, "B1-Y")), licence.ErrState)
	h.balanced(2)
}

// Who may not end the old licence is told before a number is used.
func TestReplacingIsJudgedBeforeTheIntent(t *testing.T) {
	h := newHouse(t)
	old := h.birth(0, "B1")
	err := h.refused(h.service, h.approved(other, h.reissue(old, licence.KindExchange, "B1-X")), issuing.ErrRefusedByContract)
	var refusal *contract.Refusal
	if !errors.As(err, &refusal) || refusal.Rule != contract.RuleNotIssuer {
		t.Errorf("%v", err)
	}
	h.issue(h.approved(agency, h.reissue(old, licence.KindExchange, "B1-X")))
	h.balanced(2)
}

// A replacement repeats the content exactly; it has both parts, or the main page of a child that is registered.
func TestReplacement(t *testing.T) {
	h := newHouse(t)
	old := h.birth(0, "B1")
	h.blind = true // the check knew nothing of the old licence
	wrong := h.approved(hospital, h.reissue(old, licence.KindReplacement, "B1-R", "/child/weightGrams", 3333))
	h.blind = false
	h.refused(h.service, wrong, licence.ErrRefused)
	whole := h.issue(h.approved(hospital, h.reissue(old, licence.KindReplacement, "B1-R")))
	if len(whole.Parts) != 2 {
		t.Errorf("before the registration a replacement has the parts %v", whole.Parts)
	}
	h.take(issuing.Move{Kind: contract.Registered, Number: whole.Number, Actor: police.Code})
	main := h.issue(h.approved(hospital, h.reissue(whole, licence.KindReplacement, "B1-R2")))
	if len(main.Parts) != 1 || main.Parts[0] != "main" {
		t.Errorf("of a registered child a replacement has the parts %v", main.Parts)
	}
	h.forbids(issuing.Move{Kind: contract.HandedOver, Number: main.Number, Actor: hospital.Code, Part: counterfoil, Counterparty: archive.Code},
		contract.RuleUnknownPart)
	h.balanced(3)
}

// Two exchanges of one licence at once, under business ids of their own: one is issued, the other is refused before a
// number is used. The same exchange asked sixteen times at once is one licence.
func TestALicenceIsReplacedOnce(t *testing.T) {
	h := newHouse(t)
	old := h.birth(0, "B1")
	asked := []licence.Approved{h.approved(hospital, h.reissue(old, licence.KindExchange, "B1-X")), h.approved(hospital, h.reissue(old, licence.KindExchange, "B1-Y"))}
	var all sync.WaitGroup
	errs := make([]error, 16)
	got := make([]issuing.Issued, 16)
	for i := range errs {
		all.Go(func() { got[i], errs[i] = h.service.Issue(t.Context(), asked[i%2], who("issue")) })
	}
	all.Wait()
	numbers := map[string]bool{}
	for i, err := range errs {
		switch {
		case err == nil:
			numbers[got[i].Licence.Number] = true
		case !errors.Is(err, licence.ErrConflict) && !errors.Is(err, licence.ErrState):
			t.Error(err)
		}
	}
	if len(numbers) != 1 {
		t.Errorf("one licence was replaced by %d", len(numbers))
	}
	h.balanced(2)

	// For certain: both were judged while the old one stood; the loser comes to Begin while the winner is unfinished.
	old = h.birth(1, "B2")
	winner, loser := h.approved(hospital, h.reissue(old, licence.KindExchange, "B2-X")), h.approved(agency, h.reissue(old, licence.KindExchange, "B2-Y"))
	raced := h.serve(func(n *issuing.Needs) {
		n.Records = &between{Records: h.db, before: func() {
			wants(t, h.untouched(func() error { _, err := h.service.Issue(t.Context(), loser, who("issue")); return err }), licence.ErrConflict)
		}}
	})
	done, err := raced.Issue(t.Context(), winner, who("issue"))
	h.must(err)
	if again := h.issue(winner); again.Number != done.Licence.Number {
		t.Errorf("the same exchange again: %s and %s", done.Licence.Number, again.Number)
	}
	h.refused(h.service, loser, licence.ErrState)
	h.balanced(4)
}
