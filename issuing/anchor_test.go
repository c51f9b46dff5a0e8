package issuing_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/ledger/embedded"
	"github.com/elicence/elicence/ledger/ledgertest"
	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/signer/purpose"
	"github.com/elicence/elicence/storage/objects/objectstest"
)

// sequencer is issuing's end of the embedded ledger, whose answers may get lost.
type sequencer struct {
	*embedded.Sequencer
	faults *faults
}

func (s sequencer) Submit(ctx context.Context, events [][]byte) (answers []issuing.Answer, err error) {
	err = s.faults.around("submit", func() error {
		outcomes, err := s.Sequencer.Submit(ctx, events)
		for _, o := range outcomes {
			a := issuing.Answer{Hash: o.Hash, Index: o.Index}
			if o.Refusal != nil {
				a.Refusal = o.Refusal.Rule
			}
			answers = append(answers, a)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return answers, nil
}

// faultyTiles let a write of the projection fail.
type faultyTiles struct {
	*ledgertest.MemoryTiles
	faults *faults
}

func (f faultyTiles) Put(ctx context.Context, path string, b []byte) error {
	return f.faults.around("tile", func() error { return f.MemoryTiles.Put(ctx, path, b) })
}

// ledger founds a log in the house's own records: the commission enrols itself and everybody but the stranger and the
// second archive.
func (h *house) ledger(tiles *ledgertest.MemoryTiles) sequencer {
	h.t.Helper()
	checkpoints, err := h.world.signing(commission.Code, purpose.Checkpoints)
	h.must(err)
	s := sequencer{embedded.New(h.db, faultyTiles{tiles, h.faults}, checkpoints.Key, checkpoints.Leaf(), "elicence.test/log", h.clock.Now), h.faults}
	registrar, err := h.world.signing(commission.Code, purpose.Events)
	h.must(err)
	var founding [][]byte
	for _, o := range []licence.Organisation{commission, hospital, other, agency, police, archive} {
		b, err := contract.SignEvent(h.t.Context(), registrar.Key, registrar.Leaf(), contract.Event{
			Version: contract.Version, Kind: contract.Enrolled, Time: begun.UnixMicro(), Actor: commission.Code,
			Enrolment: &contract.Enrolment{Code: o.Code, Kind: contract.OrganisationKind(o.Kind), Certificate: h.world.certs[o.Code][purpose.Events].Raw()},
		})
		h.must(err)
		founding = append(founding, b)
	}
	outcomes, err := s.Sequencer.Submit(h.t.Context(), founding)
	h.must(err)
	for _, o := range outcomes {
		if o.Refusal != nil {
			h.t.Fatal(o.Refusal)
		}
	}
	return s
}

const founders = 6

// day is what happens to a few licences, among it things that only the ledger can refuse.
func (h *house) day() {
	h.t.Helper()
	first := h.birth(0, "B1")
	h.issue(h.approved(stranger, request(h.t, 1, "S1"))) // is not enrolled
	second := h.birth(2, "B2")
	h.take(handOver(first.Number, hospital, archive))
	h.take(handOver(second.Number, hospital, archive2)) // is not enrolled
	h.take(issuing.Move{Kind: contract.Rejected, Number: second.Number, Actor: archive2.Code, Part: counterfoil, Reason: "incomplete"})
	h.take(issuing.Move{Kind: contract.Accepted, Number: first.Number, Actor: archive.Code, Part: counterfoil})
	h.issue(h.approved(hospital, h.reissue(first, licence.KindExchange, "B1-X")))
}

// answered is what the ledger said, in the order in which it happened.
func (h *house) answered() (said []string) {
	h.t.Helper()
	for _, l := range h.all() {
		events, err := h.db.EventsOf(h.t.Context(), l.ID)
		h.must(err)
		for _, e := range events {
			index := "pending"
			if e.Index != nil {
				index = fmt.Sprint(*e.Index - founders)
			}
			said = append(said, l.BusinessID+" "+e.Kind+" "+index)
		}
	}
	return said
}

// What the ledger sequences stands in the order in which it was written; what it refuses is recorded and out of the way.
func TestAnchoring(t *testing.T) {
	h := newHouse(t)
	s := h.ledger(ledgertest.NewMemoryTiles())
	h.day()
	if n, err := h.db.PendingCount(t.Context()); n != 9 || err != nil {
		t.Fatalf("%d events wait, %v", n, err)
	}
	var progress []int
	sequenced, refused, err := h.service.Anchor(t.Context(), s, 2, func(done int) { progress = append(progress, done) })
	if sequenced != 6 || refused != 3 || err != nil {
		t.Errorf("%d sequenced, %d refused, %v", sequenced, refused, err)
	}
	if diff := cmp.Diff([]int{2, 4, 6, 8, 9}, progress); diff != "" {
		t.Error(diff)
	}
	want := []string{"B1 issued 0", "B1 handed-over 2", "B1 accepted 3", "B1 superseded 5", "B2 issued 1", "B1-X issued 4"}
	if diff := cmp.Diff(want, h.answered()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	again, no, err := h.service.Anchor(t.Context(), s, 100, nil)
	if again != 0 || no != 0 || err != nil {
		t.Errorf("again: %d, %d, %v", again, no, err)
	}
	// The licence whose issue was refused moves no more; the one whose hand-over was refused goes on from before it.
	found, err := h.db.ByBusinessID(t.Context(), stranger.Code, "S1")
	h.must(err)
	_, err = h.service.Take(t.Context(), handOver(found[0].Number, stranger, archive), who("hand-over"))
	wants(t, err, licence.ErrState)
	h.refused(h.service, h.approved(stranger, h.reissue(found[0], licence.KindExchange, "S1-X")), licence.ErrState)
	found, err = h.db.ByBusinessID(t.Context(), hospital.Code, "B2")
	h.must(err)
	if e := h.take(handOver(found[0].Number, hospital, archive)); e.Sequence != 1 {
		t.Errorf("the step after the refused ones has sequence %d", e.Sequence)
	}
	if n, no, err := h.service.Anchor(t.Context(), s, 100, nil); n != 1 || no != 0 || err != nil {
		t.Errorf("the step after the refused ones: %d sequenced, %d refused, %v", n, no, err)
	}
}

// The ledger's answer gets lost at every point, with and without effect. Asking again leads to the same answers.
func TestLedgerOfUnknownOutcome(t *testing.T) {
	run := func(n int, fault objectstest.Fault) (said, points []string) {
		h := newHouse(t)
		tiles := ledgertest.NewMemoryTiles()
		s := h.ledger(tiles)
		h.day()
		h.faults.set(one(n, fault))
		_, _, err := h.service.Anchor(t.Context(), s, 4, nil)
		points = h.faults.points()
		if n >= 0 && n < len(points) && err == nil && points[n] != "tile" {
			t.Errorf("%s failed and nobody heard of it", points[n])
		}
		// The births go on meanwhile.
		h.faults.set(nil)
		h.birth(5, "B5")
		if _, _, err := h.service.Anchor(t.Context(), s, 3, nil); err != nil {
			t.Error(err)
		}
		if left, err := h.db.PendingCount(t.Context()); left != 0 || err != nil {
			t.Errorf("%d events wait, %v", left, err)
		}
		head, err := h.db.Head(t.Context())
		if err != nil || head.Size != founders+7 {
			t.Errorf("the log has %d entries, %v", head.Size, err)
		}
		return h.answered(), points
	}
	want, points := run(-1, objectstest.None)
	if count(points, "submit") != 3 || count(points, "commit") < 6 {
		t.Fatalf("points %v", points)
	}
	if !strings.Contains(strings.Join(want, ","), "B5 issued 6") {
		t.Errorf("%v", want)
	}
	for n, point := range points {
		for _, fault := range []objectstest.Fault{objectstest.Failed, objectstest.FailedButDone} {
			said, _ := run(n, fault)
			if diff := cmp.Diff(want, said); diff != "" {
				t.Fatalf("after %q failed (%d) (-straight +got):\n%s", point, fault, diff)
			}
		}
	}
}

// otherLedger changes what a ledger answers.
type otherLedger struct {
	issuing.Sequencer
	change func([]issuing.Answer) []issuing.Answer
}

func (o otherLedger) Submit(ctx context.Context, events [][]byte) ([]issuing.Answer, error) {
	a, err := o.Sequencer.Submit(ctx, events)
	return o.change(a), err
}

// An event that the ledger leaves without an answer waits, and is not asked for again at once; an answer that nobody asked for, or
// that comes twice, is none.
func TestAnswersThatDoNotFit(t *testing.T) {
	h := newHouse(t)
	s := h.ledger(ledgertest.NewMemoryTiles())
	h.birth(0, "B1")
	h.birth(1, "B2")
	for what, change := range map[string]func(a []issuing.Answer) []issuing.Answer{
		"for another event": func(a []issuing.Answer) []issuing.Answer { return []issuing.Answer{a[0], {Hash: [32]byte{1}}} },
		"twice":             func(a []issuing.Answer) []issuing.Answer { return []issuing.Answer{a[0], a[0]} },
		"for none":          func(a []issuing.Answer) []issuing.Answer { return []issuing.Answer{a[0], {}} },
	} {
		if n, _, err := h.service.Anchor(t.Context(), otherLedger{s, change}, 10, nil); n != 0 || err == nil {
			t.Errorf("an answer %s: %d, %v", what, n, err)
		}
	}
	short := otherLedger{s, func(a []issuing.Answer) []issuing.Answer { return a[:len(a)-1] }}
	if n, _, err := h.service.Anchor(t.Context(), short, 10, nil); n != 1 || err != nil {
		t.Errorf("one answer of two: %d, %v", n, err)
	}
	if n, _, err := h.service.Anchor(t.Context(), s, 10, nil); n != 1 || err != nil {
		t.Errorf("the other one: %d, %v", n, err)
	}
}

// refusing is a ledger that refuses what the test says and passes everything else on.
type refusing struct {
	issuing.Sequencer
	kind, rule string
}

func (r refusing) Submit(ctx context.Context, events [][]byte) ([]issuing.Answer, error) {
	var passed [][]byte
	answers := make([]issuing.Answer, len(events))
	var places []int
	for i, b := range events {
		signed, err := contract.ParseEvent(b)
		if err != nil {
			return nil, err
		}
		if string(signed.Event.Kind) == r.kind {
			answers[i] = issuing.Answer{Hash: contract.Hash(b), Refusal: r.rule}
			continue
		}
		passed, places = append(passed, b), append(places, i)
	}
	given, err := r.Sequencer.Submit(ctx, passed)
	for n, a := range given {
		answers[places[n]] = a
	}
	return answers, err
}

// The ledger refuses an end that was recorded here: the licence is in force again for everybody, records, custody and
// status list alike, and the list of what was refused says so. Of a refused succession both licences stand, until a
// person ends one.
func TestRefusedEnds(t *testing.T) {
	h := newHouse(t)
	s := h.ledger(ledgertest.NewMemoryTiles())
	revoked, old := h.birth(0, "B1"), h.birth(1, "B2")
	h.take(issuing.Move{Kind: contract.Revoked, Number: revoked.Number, Actor: commission.Code, Reason: "duplicate"})
	exchange := h.approved(hospital, h.reissue(old, licence.KindExchange, "B2-X"))
	next := h.issue(exchange)
	_, refusals, err := h.service.Anchor(t.Context(), refusing{s, "revoked", contract.RuleStale}, 100, nil)
	if refusals != 1 || err != nil {
		t.Errorf("%d refused, %v", refusals, err)
	}
	h.balanced(3)
	if l := h.licence(revoked.Number); l.Status != issuing.InForce || !l.StatusAt.Equal(revoked.StatusAt) {
		t.Errorf("a refused revocation left it %s since %s", l.Status, l.StatusAt)
	}
	h.take(issuing.Move{Kind: contract.Revoked, Number: revoked.Number, Actor: commission.Code, Reason: "duplicate"})

	third := h.birth(2, "B3")
	succession := h.approved(hospital, h.reissue(third, licence.KindExchange, "B3-X"))
	heir := h.issue(succession)
	_, _, err = h.service.Anchor(t.Context(), refusing{s, "superseded", contract.RuleStale}, 100, nil)
	h.must(err)
	third = h.licence(third.Number)
	if third.Status != issuing.InForce || third.ReplacedBy != "" {
		t.Errorf("a refused succession left it %s, replaced by %q", third.Status, third.ReplacedBy)
	}
	refused, err := h.db.Refused(t.Context(), 10)
	h.must(err)
	if len(refused) != 2 || refused[0].Number != third.Number || refused[0].Successor != heir.Number || refused[0].Status != issuing.InForce ||
		refused[1].Number != revoked.Number || refused[1].Successor != "" || refused[1].Status != issuing.Revoked {
		t.Errorf("the list of what was refused: %+v", refused)
	}
	// Nobody replaces it a second time while its heir stands; the same exchange has the same answer.
	h.refused(h.service, h.approved(hospital, h.reissue(third, licence.KindExchange, "B3-Y")), licence.ErrConflict)
	if again := h.issue(succession); again.Number != heir.Number {
		t.Errorf("the same exchange again: %s, was %s", again.Number, heir.Number)
	}
	// A person ends the old one by itself.
	h.take(issuing.Move{Kind: contract.Revoked, Number: third.Number, Actor: hospital.Code, Reason: "duplicate"})
	if _, no, err := h.service.Anchor(t.Context(), s, 100, nil); no != 0 || err != nil {
		t.Errorf("%d refused, %v", no, err)
	}
	ended, err := h.db.NotInForce(t.Context())
	h.must(err)
	want := map[uint64]issuing.Status{revoked.StatusIndex: issuing.Revoked, old.StatusIndex: issuing.Superseded, third.StatusIndex: issuing.Revoked}
	if diff := cmp.Diff(want, ended); diff != "" {
		t.Errorf("not in force (-want +got)\n%s", diff)
	}
	if l := h.licence(old.Number); l.ReplacedBy != next.Number {
		t.Errorf("the succession that was taken names %q", l.ReplacedBy)
	}
	h.balanced(5)
}
