package contract_test

import (
	"errors"
	"reflect"
	"testing"

	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/ledger/ledgertest"
)

// TestViewFollowsALife: what a licence's own events tell is, at each step, what the whole ledger tells.
func TestViewFollowsALife(t *testing.T) {
	s := newScene(t)
	l, next := s.issued(), s.issued()
	steps := []func() []byte{
		func() []byte { return l.HandOver(s.Hospital, s.Archive) },
		func() []byte { return l.Reject(s.Archive) },
		func() []byte { return l.HandOver(s.Hospital, s.OtherArchive) },
		func() []byte { return l.Accept(s.OtherArchive) },
		func() []byte { return l.Register(s.Police) },
		func() []byte { return l.SupersededBy(s.Hospital, next) },
	}
	var views []contract.View
	for {
		view, err := contract.Replay(l.Events)
		if err != nil {
			t.Fatal(err)
		}
		ledger, err := contract.ViewOf(t.Context(), s.state, l.Handle)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(view, ledger) {
			t.Fatalf("after %d events: own %+v, ledger %+v", len(l.Events), view, ledger)
		}
		if view.Last != contract.Hash(l.Last()) || view.Events != uint64(len(l.Events)) {
			t.Fatalf("view %+v", view)
		}
		views = append(views, view)
		if len(steps) == 0 {
			break
		}
		s.accept(steps[0]())
		steps = steps[1:]
	}
	part := func(i int) contract.PartView {
		p, ok := views[i].Part("counterfoil")
		if !ok {
			t.Fatal("no counterfoil")
		}
		return p
	}
	for i, want := range [][2]string{
		{s.Hospital.Code, ""}, {s.Hospital.Code, s.Archive.Code}, {s.Hospital.Code, ""}, {s.Hospital.Code, s.OtherArchive.Code},
		{s.OtherArchive.Code, ""},
	} {
		if p := part(i); p.Holder != want[0] || p.Pending != want[1] {
			t.Errorf("after %d events: %+v, want %v", i+1, p, want)
		}
	}
	if main, _ := views[0].Part("main"); main.Holder != contract.Family {
		t.Errorf("main page: %+v", main)
	}
	if _, ok := views[0].Part("cover"); ok {
		t.Error("a part that is not there")
	}
	if views[4].Registered != "" || views[5].Registered != s.Police.Code {
		t.Error("registered")
	}
	if !views[5].InForce() || views[6].InForce() || views[6].Superseded != "exchange" || views[6].Successor != next.Handle {
		t.Errorf("superseded: %+v", views[6])
	}
	inherited, err := contract.ViewOf(t.Context(), s.state, next.Handle)
	if err != nil || inherited.Registered != s.Police.Code || !inherited.Inherited {
		t.Errorf("the successor: %+v, %v", inherited, err)
	}
	if none, err := contract.ViewOf(t.Context(), s.state, s.Handle()); err != nil || none.Events != 0 || none.InForce() {
		t.Errorf("nothing: %+v, %v", none, err)
	}
}

func TestReplayNamesWhatDoesNotFollow(t *testing.T) {
	s := newScene(t)
	l, other := s.issued(), s.issued()
	l.HandOver(s.Hospital, s.Archive)
	l.Accept(s.Archive)
	for name, events := range map[string][][]byte{
		"does not begin with the issue": l.Events[1:],
		"one left out":                  {l.Events[0], l.Events[2]},
		"another licence's":             {l.Events[0], other.Events[0]},
		"issued twice":                  {l.Events[0], l.Events[0]},
		"noise":                         {l.Events[0], []byte("noise")},
	} {
		if _, err := contract.Replay(events); !errors.Is(err, contract.ErrHistory) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if v, err := contract.Replay(nil); err != nil || v.Events != 0 {
		t.Errorf("nothing: %+v, %v", v, err)
	}
}

// TestViewJudges: issuing asks before it signs, and hears what the ledger will say.
func TestViewJudges(t *testing.T) {
	s := newScene(t)
	l := s.issued()
	l.HandOver(s.Hospital, s.Archive)
	view, err := contract.Replay(l.Events)
	if err != nil {
		t.Fatal(err)
	}
	next := func(o ledgertest.Organisation, e contract.Event) contract.Event {
		e.Version, e.Handle, e.Previous, e.Time, e.Actor = contract.Version, l.Handle, view.Last, s.Now().UnixMicro(), o.Code
		return e
	}
	accept := contract.Event{Kind: contract.Accepted, Part: "counterfoil"}
	if r := view.Judge(next(s.Archive, accept), contract.Archive); r != nil {
		t.Errorf("the archive accepts: %v", r)
	}
	for name, x := range map[string]struct {
		e    contract.Event
		kind contract.OrganisationKind
		want string
	}{
		"another archive": {next(s.OtherArchive, accept), contract.Archive, contract.RuleAnotherReceiver},
		"a hospital":      {next(s.Hospital, accept), contract.Hospital, contract.RuleActorKind},
		"wrong form":      {next(s.Archive, contract.Event{Kind: contract.Accepted}), contract.Archive, contract.RuleFields},
		"not a licence's": {contract.Event{Version: 1, Kind: contract.AuditAnchored, Actor: s.Archive.Code, Time: s.Now().UnixMicro(), Anchor: [32]byte{1}}, contract.Archive, contract.RuleKind},
		"issued again":    {contract.Event{Version: 1, Kind: contract.Issued, Actor: s.Hospital.Code, Handle: l.Handle, Time: s.Now().UnixMicro(), Parts: ledgertest.Parts(l.Handle)}, contract.Hospital, contract.RuleHandleTaken},
	} {
		if r := view.Judge(x.e, x.kind); r == nil || r.Rule != x.want {
			t.Errorf("%s: %v, want %s", name, r, x.want)
		}
	}
	first := contract.Event{Version: 1, Kind: contract.Issued, Actor: s.Hospital.Code, Handle: s.Handle(), Time: s.Now().UnixMicro(), Parts: ledgertest.Parts(s.Handle())}
	if r := (contract.View{}).Judge(first, contract.Hospital); r != nil {
		t.Errorf("a first event: %v", r)
	}
	if r := (contract.View{}).Judge(first, contract.Police); r == nil || r.Rule != contract.RuleActorKind {
		t.Errorf("a first event by the police: %v", r)
	}
}

// TestWithHistories: a new event is judged in full against a licence's own events and the enrolments alone.
func TestWithHistories(t *testing.T) {
	s := newScene(t)
	enrolments, err := contract.Enrolments(t.Context(), s.Founding())
	if err != nil {
		t.Fatal(err)
	}
	old, next := s.issued(), s.issued()
	s.accept(old.HandOver(s.Hospital, s.Archive))
	state, err := contract.WithHistories(enrolments, old.Events, next.Events, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, e := range map[string][]byte{
		"accepted":        old.Make(s.Archive, contract.Event{Kind: contract.Accepted, Part: "counterfoil"}),
		"another archive": old.Make(s.OtherArchive, contract.Event{Kind: contract.Accepted, Part: "counterfoil"}),
		"registered":      old.Make(s.Police, contract.Event{Kind: contract.Registered}),
		"superseded":      old.Make(s.Hospital, contract.Event{Kind: contract.Superseded, Successor: next.Handle, Reason: "exchange"}),
		"by a stranger":   old.Make(s.Hospital, contract.Event{Kind: contract.Superseded, Successor: s.Handle(), Reason: "exchange"}),
		"to a hospital":   next.Make(s.Hospital, contract.Event{Kind: contract.HandedOver, Part: "counterfoil", Counterparty: s.OtherHospital.Code}),
		"noise":           []byte("noise"),
	} {
		own, _, err := contract.Judge(t.Context(), state, [][]byte{e})
		if err != nil {
			t.Fatal(err)
		}
		whole, _, err := contract.Judge(t.Context(), s.state, [][]byte{e})
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(own[0].Refusal, whole[0].Refusal) {
			t.Errorf("%s: own %v, ledger %v", name, own[0].Refusal, whole[0].Refusal)
		}
	}
	s.accept(old.SupersededBy(s.Hospital, next))
	third := s.issued()
	if state, err = contract.WithHistories(enrolments, old.Events, next.Events, third.Events); err != nil {
		t.Fatal(err)
	}
	taken := third.Make(s.Hospital, contract.Event{Kind: contract.Superseded, Successor: next.Handle, Reason: "exchange"})
	v, _, err := contract.Judge(t.Context(), state, [][]byte{taken})
	if err != nil || v[0].Refusal == nil || v[0].Refusal.Rule != contract.RuleSuccessorTaken {
		t.Errorf("a successor that is taken: %v, %v", v, err)
	}
	if _, err := contract.WithHistories(enrolments, old.Events[1:]); !errors.Is(err, contract.ErrHistory) {
		t.Errorf("half a history: %v", err)
	}
	if _, err := contract.Enrolments(t.Context(), s.Founding()[1:]); !errors.Is(err, contract.ErrHistory) {
		t.Errorf("enrolments without their first: %v", err)
	}
}
