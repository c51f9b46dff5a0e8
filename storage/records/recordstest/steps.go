package recordstest

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/licence"
)

func superseding(t *testing.T, e Engine) {
	s := newScene(t, e, 10)
	old := s.issue("B1")
	oldLast := s.last(old)
	b := s.beginning("B1")
	b.Intent.Kind, b.Intent.Replaces = licence.KindExchange, old.Number
	l, _, err := s.r.Begin(s.ctx(), b)
	s.must(err)
	s.must(s.r.CommitSigned(s.ctx(), l.ID, 1, signatures(l, "")))
	superseded := issuing.Superseded
	ends := step(old, oldLast, "superseded", s.now.Add(time.Second))
	ends.Status, ends.ReplacedBy = &superseded, l.Number

	// The old licence moves on meanwhile: then nothing of the third commit happens.
	s.must(s.r.AppendStep(s.ctx(), step(old, oldLast, "handed-over", s.now)))
	c := completion(l, s.now)
	c.Supersedes = &ends
	wants(t, s.r.CommitIssued(s.ctx(), l.ID, 1, c), issuing.ErrStale)
	got, err := s.r.ByID(s.ctx(), l.ID)
	s.must(err)
	if events, err := s.r.EventsOf(s.ctx(), l.ID); got.Stage != issuing.StageSigned || len(events) != 0 || err != nil {
		t.Errorf("half a third commit: %s, %d events, %v", got.Stage, len(events), err)
	}
	ends = step(old, s.last(old), "superseded", s.now.Add(time.Second))
	ends.Status, ends.ReplacedBy = &superseded, l.Number
	s.must(s.r.CommitIssued(s.ctx(), l.ID, 1, c))
	got, err = s.r.ByID(s.ctx(), old.ID)
	s.must(err)
	if got.Status != issuing.Superseded || got.ReplacedBy != l.Number || !got.StatusAt.Equal(s.now.Add(time.Second)) {
		t.Errorf("the old licence is %s, replaced by %q at %s", got.Status, got.ReplacedBy, got.StatusAt)
	}
	if sheet, err := s.r.Sheet(s.ctx(), old.Number); err != nil || sheet.State != licence.SheetIssued {
		t.Errorf("its paper became %s, %v", sheet.State, err)
	}
	s.check(2)
}

func steps(t *testing.T, e Engine) {
	s := newScene(t, e, 10)
	l := s.issue("B1")
	issued := s.last(l)
	one := step(l, issued, "handed-over", s.now.Add(time.Second))
	one.Note, one.NoteName = []byte("移交 "+childName), "hand-over"
	one.Deliveries = []issuing.Delivery{{Licence: l.ID, Receiver: police, Topic: "hand-over", Due: s.now}, {Licence: l.ID, Receiver: agency, Topic: "fields", Due: s.now, Held: true}}
	s.must(s.r.AppendStep(s.ctx(), one))
	wants(t, s.r.AppendStep(s.ctx(), step(l, issued, "handed-over", s.now.Add(2*time.Second))), issuing.ErrStale)
	two := step(l, one.Event, "rejected", s.now.Add(2*time.Second))
	s.must(s.r.AppendStep(s.ctx(), two))
	revoked := issuing.Revoked
	three := step(l, two.Event, "revoked", s.now.Add(3*time.Second))
	three.Status, three.Note, three.NoteName = &revoked, []byte{}, "revocation"
	s.must(s.r.AppendStep(s.ctx(), three))
	elsewhere := step(l, three.Event, "accepted", s.now)
	elsewhere.Licence = "none"
	wants(t, s.r.AppendStep(s.ctx(), elsewhere), licence.ErrNotFound)

	for _, again := range []bool{false, true} {
		if again {
			s.reopen(Options{})
		}
		events, err := s.r.EventsOf(s.ctx(), l.ID)
		s.must(err)
		if diff := cmp.Diff([]issuing.Event{issued, one.Event, two.Event, three.Event}, events); diff != "" {
			t.Errorf("events (-written +read):\n%s", diff)
		}
		notes, err := s.r.Notes(s.ctx(), l.ID)
		s.must(err)
		if len(notes) != 2 || string(notes[1].Text) != "移交 "+childName || notes[1].Name != "hand-over" || notes[3].Name != "revocation" {
			t.Errorf("notes %v", len(notes))
		}
		got, err := s.r.ByID(s.ctx(), l.ID)
		s.must(err)
		if got.Status != issuing.Revoked || !got.StatusAt.Equal(three.Event.At) {
			t.Errorf("%s at %s", got.Status, got.StatusAt)
		}
	}
	if events, err := s.r.EventsOf(s.ctx(), "none"); len(events) != 0 || err != nil {
		t.Errorf("events of no licence: %d, %v", len(events), err)
	}
	s.check(1)
}

func sixteenSteps(t *testing.T, e Engine) {
	s := newScene(t, e, 10)
	l := s.issue("B1")
	for round := range 6 {
		last := s.last(l)
		var won atomic.Int64
		together(16, func(i int) {
			err := s.r.AppendStep(s.ctx(), step(l, last, fmt.Sprintf("step-%d-%d", round, i), s.now))
			switch {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, issuing.ErrStale):
				t.Error(err)
			}
		})
		if won.Load() != 1 {
			t.Errorf("%d of 16 steps upon one event were taken", won.Load())
		}
	}
	s.check(1)
}

func refusedEvent(t *testing.T, e Engine) {
	s := newScene(t, e, 10)
	l := s.issue("B1")
	issued := s.last(l)
	bad := step(l, issued, "accepted", s.now)
	bad.Note, bad.NoteName = []byte("note of what was refused"), "hand-over"
	s.must(s.r.AppendStep(s.ctx(), bad))
	s.must(s.r.MarkSequenced(s.ctx(), []issuing.Answer{{Hash: issued.Hash, Index: 0}, {Hash: bad.Event.Hash, Refusal: "accept-before-hand-over"}}))
	if last := s.last(l); last.Hash != issued.Hash {
		t.Error("a refused event is part of the history")
	}
	if pending, err := s.r.PendingCount(s.ctx()); pending != 0 || err != nil {
		t.Errorf("%d pending, %v", pending, err)
	}
	good := step(l, issued, "handed-over", s.now) // takes the place of the refused one
	s.must(s.r.AppendStep(s.ctx(), good))
	if last := s.last(l); last.Hash != good.Event.Hash || last.Sequence != 1 {
		t.Errorf("after a refusal: sequence %d", last.Sequence)
	}
	if notes, err := s.r.Notes(s.ctx(), l.ID); len(notes) != 0 || err != nil {
		t.Errorf("notes of a refused step are shown: %d, %v", len(notes), err)
	}
	s.check(1)
}

// refusedEnd: a revocation or succession that the ledger refuses has not happened. Status, its time and the successor's
// number go back to what the remaining events say, with a row that names the rule, once, however often the answer comes.
func refusedEnd(t *testing.T, e Engine) {
	s := newScene(t, e, 10)
	later := s.now.Add(time.Minute)
	end := func(l issuing.Licence, kind string, status issuing.Status, by string) issuing.Event {
		t.Helper()
		st := step(l, s.last(l), kind, later)
		st.Status, st.ReplacedBy = &status, by
		s.must(s.r.AppendStep(s.ctx(), st))
		return st.Event
	}
	is := func(l issuing.Licence, status issuing.Status, at time.Time, by string) {
		t.Helper()
		got, err := s.r.ByID(s.ctx(), l.ID)
		s.must(err)
		if got.Status != status || !got.StatusAt.Equal(at) || got.ReplacedBy != by {
			t.Errorf("%s is %s since %s, replaced by %q; want %s since %s, %q", l.BusinessID, got.Status, got.StatusAt, got.ReplacedBy, status, at, by)
		}
	}
	refuse := func(e issuing.Event) { // the answer comes twice
		t.Helper()
		for range 2 {
			s.must(s.r.MarkSequenced(s.ctx(), []issuing.Answer{{Hash: e.Hash, Refusal: "stale-predecessor", At: later}}))
		}
	}
	b1, b2 := s.issue("B1"), s.issue("B2")
	issuedAt := s.now
	first := end(b1, "revoked", issuing.Revoked, "")
	second := end(b2, "superseded", issuing.Superseded, "A000000009")
	moved := step(b2, second, "accepted", later) // its paper moved on meanwhile
	s.must(s.r.AppendStep(s.ctx(), moved))
	is(b1, issuing.Revoked, later, "")
	is(b2, issuing.Superseded, later, "A000000009")
	refuse(moved.Event)
	is(b2, issuing.Superseded, later, "A000000009") // that was no end
	refuse(first)
	refuse(second)
	is(b1, issuing.InForce, issuedAt, "")
	is(b2, issuing.InForce, issuedAt, "")
	if ended, err := s.r.NotInForce(s.ctx()); err != nil || len(ended) != 0 {
		t.Errorf("the status list still has %v, %v", ended, err)
	}
	// The next end stands, and the old refusal, heard once more, does not touch it.
	refusedAt := later
	later = later.Add(time.Minute)
	end(b1, "revoked", issuing.Revoked, "")
	refuse(first)
	is(b1, issuing.Revoked, later, "")
	later = refusedAt
	refused, err := s.r.Refused(s.ctx(), 10)
	s.must(err)
	want := []issuing.RefusedStep{
		{Number: b2.Number, Issuer: hospital, Kind: "accepted", Rule: "stale-predecessor", At: later, Actor: hospital},
		{Number: b2.Number, Issuer: hospital, Kind: "superseded", Rule: "stale-predecessor", At: later, Actor: hospital},
		{Number: b1.Number, Issuer: hospital, Kind: "revoked", Rule: "stale-predecessor", At: later, Actor: hospital, Status: issuing.Revoked},
	}
	if diff := cmp.Diff(want, refused); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}
	for _, l := range []issuing.Licence{b1, b2} {
		links, err := s.r.OfLicence(s.ctx(), l.ID)
		s.must(err)
		rows := 0
		for _, link := range links {
			if link.Entry.What == "refused" && strings.HasSuffix(link.Entry.Why, ": stale-predecessor") && link.Entry.At.Equal(later) {
				rows++
			}
		}
		if want := map[string]int{"B1": 1, "B2": 2}[l.BusinessID]; rows != want {
			t.Errorf("%s: %d audit rows of %d refusals", l.BusinessID, rows, want)
		}
	}
	s.check(2)
}

func answers(t *testing.T, e Engine) {
	s := newScene(t, e, 20)
	var events []issuing.Event
	for i := range 12 {
		events = append(events, s.last(s.issue(fmt.Sprint("B", i))))
	}
	pending, err := s.r.Pending(s.ctx(), 5)
	s.must(err)
	if len(pending) != 5 {
		t.Fatalf("%d pending, want 5", len(pending))
	}
	var answers []issuing.Answer
	for i, p := range pending {
		if p.Hash != events[i].Hash {
			t.Errorf("pending event %d is not the one that was written as such", i)
		}
		answers = append(answers, issuing.Answer{Hash: p.Hash, Index: uint64(100 + i)})
	}
	s.must(s.r.MarkSequenced(s.ctx(), answers))
	s.must(s.r.MarkSequenced(s.ctx(), answers)) // the same again
	if n, err := s.r.PendingCount(s.ctx()); n != 7 || err != nil {
		t.Errorf("%d pending, want 7, %v", n, err)
	}
	got, err := s.r.EventsOf(s.ctx(), events[3].Licence)
	s.must(err)
	if got[0].Index == nil || *got[0].Index != 103 {
		t.Errorf("index %v, want 103", got[0].Index)
	}
	// One bad answer, and none of the batch is taken.
	for _, bad := range []issuing.Answer{{Hash: events[0].Hash, Index: 7}, {Hash: events[0].Hash, Refusal: "rule"}} {
		wants(t, s.r.MarkSequenced(s.ctx(), []issuing.Answer{{Hash: events[6].Hash, Index: 200}, bad}), licence.ErrConflict)
	}
	wants(t, s.r.MarkSequenced(s.ctx(), []issuing.Answer{{Hash: events[6].Hash, Index: 200}, {Hash: [32]byte{9}}}), licence.ErrNotFound)
	if n, err := s.r.PendingCount(s.ctx()); n != 7 || err != nil {
		t.Errorf("a refused batch was taken in part: %d pending, %v", n, err)
	}
	s.check(12)
}

func lastEventTime(t *testing.T, e Engine) {
	s := newScene(t, e, 20)
	newest := func(want time.Time) {
		t.Helper()
		if got, err := s.r.LastEventTime(s.ctx()); err != nil || !got.Equal(want) {
			t.Errorf("newest event %s, want %s, %v", got, want, err)
		}
	}
	newest(time.Time{})
	l := s.issue("B1")
	newest(s.now)
	later := s.now.Add(time.Hour)
	s.must(s.r.AppendStep(s.ctx(), step(l, s.last(l), "handed-over", later)))
	newest(later)
	s.issue("B2") // by a clock that is behind: the newest stays the newest
	newest(later)
	wants(t, s.r.AppendStep(s.ctx(), step(l, issuing.Event{}, "handed-over", later.Add(time.Hour))), issuing.ErrStale)
	newest(later)
	s.reopen(Options{})
	newest(later)
	s.reopen(Options{ReadOnly: true})
	newest(later)
}

func search(t *testing.T, e Engine) {
	s := newScene(t, e, 20)
	for i := range 5 {
		s.issue(fmt.Sprint("B", i))
	}
	for _, c := range []struct {
		field, value string
		want         int
	}{
		{"child.name", childName, 5}, {"mother.idNumber", idNumber, 5}, {"business", "B3", 1},
		{"child.name", childName + " ", 0}, {"child.name", idNumber, 0}, {"mother.idNumber", childName, 0}, {"unknown", "B3", 0}, {"business", "", 0},
	} {
		found, err := s.r.Search(s.ctx(), c.field, c.value)
		if err != nil || len(found) != c.want {
			t.Errorf("%s: %d found, want %d, %v", c.field, len(found), c.want, err)
		}
		for _, l := range found {
			if len(l.Signatures.Parts) != 2 {
				t.Errorf("%s found with %d parts", l.BusinessID, len(l.Signatures.Parts))
			}
		}
	}
}

func list(t *testing.T, e Engine) {
	s := newScene(t, e, 40)
	var made []string
	for i := range 10 {
		made = append(made, s.issue(fmt.Sprint("B", i)).ID)
	}
	open, _, err := s.r.Begin(s.ctx(), s.beginning("open"))
	s.must(err)
	revoked := issuing.Revoked
	inForce := issuing.InForce
	l, err := s.r.ByID(s.ctx(), made[4])
	s.must(err)
	st := step(l, s.last(l), "revoked", s.now)
	st.Status = &revoked
	s.must(s.r.AppendStep(s.ctx(), st))

	for _, c := range []struct {
		name string
		f    issuing.Filter
		want int
	}{
		{"all", issuing.Filter{}, 11}, {"issuer", issuing.Filter{Issuer: hospital}, 11}, {"another issuer", issuing.Filter{Issuer: agency}, 0},
		{"kind", issuing.Filter{Kind: licence.KindFirst}, 11}, {"another kind", issuing.Filter{Kind: licence.KindExchange}, 0},
		{"issued", issuing.Filter{Stage: issuing.StageIssued}, 10}, {"intent", issuing.Filter{Stage: issuing.StageIntent}, 1},
		{"in force", issuing.Filter{Status: &inForce}, 9}, {"revoked", issuing.Filter{Status: &revoked, Stage: issuing.StageIssued}, 1},
	} {
		var walked []string
		after := ""
		for {
			page, err := s.r.List(s.ctx(), c.f, after, 3)
			s.must(err)
			if len(page) == 0 {
				break
			}
			for _, l := range page {
				walked = append(walked, l.ID)
			}
			after = page[len(page)-1].ID
		}
		if len(walked) != c.want {
			t.Errorf("%s: %d listed, want %d", c.name, len(walked), c.want)
		}
		if c.name == "issued" {
			if diff := cmp.Diff(made, walked); diff != "" {
				t.Errorf("the order of creation (-made +listed):\n%s", diff)
			}
		}
	}
	_, err = s.r.List(s.ctx(), issuing.Filter{}, "none", 3)
	wants(t, err, licence.ErrNotFound)
	counts, err := s.r.Counts(s.ctx())
	s.must(err)
	want := issuing.Counts{
		ByStage:  map[issuing.Stage]int{issuing.StageIssued: 10, issuing.StageIntent: 1},
		ByStatus: map[issuing.Status]int{issuing.InForce: 9, issuing.Revoked: 1},
	}
	if diff := cmp.Diff(want, counts); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	if ids, err := s.r.Unfinished(s.ctx(), time.Time{}, 10); err != nil || len(ids) != 1 || ids[0] != open.ID {
		t.Errorf("unfinished %v, %v", ids, err)
	}
}

func statusSource(t *testing.T, e Engine) {
	s := newScene(t, e, 10)
	s.issue("B1")
	l := s.issue("B2")
	revoked := issuing.Revoked
	st := step(l, s.last(l), "revoked", s.now)
	st.Status = &revoked
	s.must(s.r.AppendStep(s.ctx(), st))
	got, err := s.r.NotInForce(s.ctx())
	s.must(err)
	if diff := cmp.Diff(map[uint64]issuing.Status{l.StatusIndex: issuing.Revoked}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var seen atomic.Int64
	together(16, func(int) {
		n, err := s.r.NextStatusNumber(s.ctx())
		if err != nil {
			t.Error(err)
		}
		seen.Add(int64(n))
	})
	if seen.Load() != 16*17/2 {
		t.Error("sixteen lists have not the numbers 1 to 16")
	}
	s.reopen(Options{})
	if n, err := s.r.NextStatusNumber(s.ctx()); n != 17 || err != nil {
		t.Errorf("after reopening number %d, %v", n, err)
	}
}
