package contract_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/ledger/ledgertest"
	"github.com/elicence/elicence/signer/cose"
	"github.com/elicence/elicence/signer/purpose"
)

// scene is a World whose ledger has been founded, and what was accepted on it.
type scene struct {
	*ledgertest.World
	t     *testing.T
	state contract.MapState
}

func newScene(t *testing.T) *scene {
	s := &scene{World: ledgertest.NewWorld(t, "contract"), t: t, state: contract.MapState{}}
	s.accept(s.Founding()...)
	return s
}

// accept judges events and fails the test unless all may stand.
func (s *scene) accept(events ...[]byte) {
	s.t.Helper()
	verdicts, writes, err := contract.Judge(s.t.Context(), s.state, events)
	if err != nil {
		s.t.Fatal(err)
	}
	for i, v := range verdicts {
		if v.Refusal != nil {
			s.t.Fatalf("event %d: %v", i, v.Refusal)
		}
	}
	s.state.Apply(writes)
}

// rule judges one event and returns the rule that refuses it, "" for none.
func (s *scene) rule(event []byte) string {
	s.t.Helper()
	verdicts, writes, err := contract.Judge(s.t.Context(), s.state, [][]byte{event})
	if err != nil {
		s.t.Fatal(err)
	}
	r := verdicts[0].Refusal
	if r == nil {
		return ""
	}
	if len(writes) != 0 {
		s.t.Fatalf("a refused event writes %d keys", len(writes))
	}
	if r.ZH == "" || r.EN == "" {
		s.t.Fatalf("rule %q has no words", r.Rule)
	}
	return r.Rule
}

func (s *scene) issued() *ledgertest.Licence {
	l := s.Issue(s.Hospital)
	s.accept(l.Last())
	return l
}

// raw signs a payload that SignEvent would not.
func (s *scene) raw(o ledgertest.Organisation, payload []byte) []byte {
	return s.rawAs(o, contract.Type, purpose.AADEvent, payload)
}

func (s *scene) rawAs(o ledgertest.Organisation, typ, aad string, payload []byte) []byte {
	s.t.Helper()
	p := cose.Protected{Type: typ, Certificate: o.Certificate.SM3()}
	message, err := cose.ToBeSigned(p, aad, payload)
	if err != nil {
		s.t.Fatal(err)
	}
	key := o.Events
	form := purpose.Event
	if aad != purpose.AADEvent {
		key, form = ledgertest.NewKey("documents", purpose.Documents), purpose.Credential
	}
	rs, err := key.Sign(s.t.Context(), form, message)
	if err != nil {
		s.t.Fatal(err)
	}
	b, err := cose.Assemble(p, payload, rs)
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

// fields is an event payload as a map, to be spoilt.
type fields map[int]any

func (s *scene) issue() fields {
	h := s.Handle()
	c := func(n byte) []byte { return bytes.Repeat([]byte{n}, 32) }
	return fields{
		1: 1, 2: "issued", 3: h[:], 5: s.Now().UnixMicro(), 6: s.Hospital.Code,
		7: []any{[]any{"main", c(1), "family"}, []any{"counterfoil", c(2), "transferable"}},
	}
}

func (f fields) with(key int, v any) fields {
	g := maps.Clone(f)
	g[key] = v
	return g
}

func (f fields) without(key int) fields {
	g := maps.Clone(f)
	delete(g, key)
	return g
}

func (f fields) encode(t *testing.T) []byte {
	t.Helper()
	b, err := cose.Marshal(map[int]any(f))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRulesOfForm(t *testing.T) {
	s := newScene(t)
	good := s.issue()
	if r := s.rule(s.raw(s.Hospital, good.encode(t))); r != "" {
		t.Fatalf("a good event: %s", r)
	}
	part := func(name string, commitment []byte, custody string) []any { return []any{name, commitment, custody} }
	c := bytes.Repeat([]byte{7}, 32)
	var nine []any
	for i := range 9 {
		nine = append(nine, part(fmt.Sprint("part", i), bytes.Repeat([]byte{byte(i + 1)}, 32), "family"))
	}
	move := fields{1: 1, 2: "handed-over", 3: c, 4: c, 5: s.Now().UnixMicro(), 6: s.Hospital.Code, 8: "counterfoil", 9: s.Archive.Code}
	for _, x := range []struct {
		name string
		f    fields
		rule string
	}{
		{"version 2", good.with(1, 2), contract.RuleVersion},
		{"version 0", good.with(1, 0), contract.RuleVersion},
		{"huge version", good.with(1, uint64(1)<<60), contract.RuleVersion},
		{"version is text", good.with(1, "1"), contract.RuleMalformed},
		{"no version", good.without(1), contract.RuleMalformed},
		{"unknown kind", good.with(2, "burnt"), contract.RuleKind},
		{"long unknown kind", good.with(2, "burnt to the ground, with all its parts"), contract.RuleKind},
		{"newer version with a new kind", good.with(1, 2).with(2, "burnt").with(99, "new"), contract.RuleVersion},
		{"unknown field", good.with(14, "new"), contract.RuleMalformed},
		{"zero previous", good.with(4, make([]byte, 32)), contract.RuleMalformed},
		{"empty part", good.with(8, ""), contract.RuleMalformed},
		{"no parts but the list", good.with(7, []any{}), contract.RuleMalformed},
		{"short handle", good.with(3, c[:31]), contract.RuleMalformed},
		{"long handle", good.with(3, append(c, 1)), contract.RuleMalformed},
		{"handle is text", good.with(3, string(c)), contract.RuleMalformed},
		{"time is text", good.with(5, "now"), contract.RuleMalformed},
		{"no handle", good.without(3), contract.RuleFields},
		{"no parts", good.without(7), contract.RuleFields},
		{"issued with a predecessor", good.with(4, c), contract.RuleFields},
		{"issued with a part", good.with(8, "main"), contract.RuleFields},
		{"issued with a counterparty", good.with(9, s.Archive.Code), contract.RuleFields},
		{"issued with a reason", good.with(10, "exchange"), contract.RuleFields},
		{"issued with a successor", good.with(11, c), contract.RuleFields},
		{"issued with an enrolment", good.with(12, []any{s.Police.Code, "police", []byte{1}}), contract.RuleFields},
		{"issued with an anchor", good.with(13, c), contract.RuleFields},
		{"hand-over without receiver", move.without(9), contract.RuleFields},
		{"hand-over without part", move.without(8), contract.RuleFields},
		{"hand-over without predecessor", move.without(4), contract.RuleFields},
		{"receiver is no code", move.with(9, "archive"), contract.RuleFields},
		{"part name with a space", move.with(8, "counter foil"), contract.RuleFields},
		{"part name too long", move.with(8, "a234567890123456789012345678901234"), contract.RuleFields},
		{"actor is no code", good.with(6, "hospital"), contract.RuleFields},
		{"actor in small letters", good.with(6, "12310000000000000a"), contract.RuleFields},
		{"time before 2020", good.with(5, contract.MinTime-1), contract.RuleTimeRange},
		{"time after 2199", good.with(5, contract.MaxTime+1), contract.RuleTimeRange},
		{"negative time", good.with(5, -1), contract.RuleTimeRange},
		{"free words as reason", fields{1: 1, 2: "revoked", 3: c, 4: c, 5: s.Now().UnixMicro(), 6: s.Hospital.Code, 10: "曹宸书"}, contract.RuleReason},
		{"reason of another kind", fields{1: 1, 2: "revoked", 3: c, 4: c, 5: s.Now().UnixMicro(), 6: s.Hospital.Code, 10: "incomplete"}, contract.RuleReason},
		{"unknown custody", good.with(7, []any{part("main", c, "everybody")}), contract.RuleCustody},
		{"nine parts", good.with(7, nine), contract.RuleParts},
		{"two parts of one name", good.with(7, []any{part("main", c, "family"), part("main", bytes.Repeat([]byte{8}, 32), "family")}), contract.RuleParts},
		{"two parts of one commitment", good.with(7, []any{part("main", c, "family"), part("counterfoil", c, "family")}), contract.RuleParts},
		{"empty commitment", good.with(7, []any{part("main", make([]byte, 32), "family")}), contract.RuleParts},
		{"short commitment", good.with(7, []any{part("main", c[:31], "family")}), contract.RuleMalformed},
		{"part name in capitals", good.with(7, []any{part("Main", c, "family")}), contract.RuleParts},
		{"unknown kind of organisation", fields{1: 1, 2: "enrolled", 5: s.Now().UnixMicro(), 6: s.Hospital.Code, 12: []any{s.Police.Code, "press", []byte{1}}}, contract.RuleOrganisationKind},
		{"certificate too large", fields{1: 1, 2: "enrolled", 5: s.Now().UnixMicro(), 6: s.Hospital.Code, 12: []any{s.Police.Code, "police", make([]byte, contract.MaxCertificate+1)}}, contract.RuleFields},
	} {
		if r := s.rule(s.raw(s.Hospital, x.f.encode(t))); r != x.rule {
			t.Errorf("%s: rule %q, want %q", x.name, r, x.rule)
		}
	}
	signed := s.raw(s.Hospital, good.encode(t))
	if r := s.rule(make([]byte, contract.MaxEvent+1)); r != contract.RuleTooLarge {
		t.Errorf("large: %q", r)
	}
	for name, b := range map[string][]byte{
		"nothing": nil, "noise": []byte("noise"), "cut": signed[:len(signed)-1], "longer": append(slices.Clone(signed), 0),
		"credential's type":     s.rawAs(s.Hospital, "elicence/credential/1", purpose.AADEvent, good.encode(t)),
		"payload is no map":     s.raw(s.Hospital, []byte{0x80}),
		"payload is empty map":  s.raw(s.Hospital, []byte{0xa0}),
		"payload with a tail":   s.raw(s.Hospital, append(good.encode(t), 0)),
		"version in two bytes":  s.raw(s.Hospital, bytes.Replace(good.encode(t), []byte{0xa6, 1, 1}, []byte{0xa6, 1, 0x18, 1}, 1)),
		"map of unknown length": s.raw(s.Hospital, append(append([]byte{0xbf}, good.encode(t)[1:]...), 0xff)),
	} {
		if r := s.rule(b); r != contract.RuleMalformed {
			t.Errorf("%s: %q", name, r)
		}
	}
}

func TestRulesOfActors(t *testing.T) {
	s := newScene(t)
	stranger := s.Hospital
	stranger.Events = ledgertest.NewKey("stranger", purpose.Events)
	stranger.Certificate = s.Certify(s.Hospital.Code, stranger.Events, purpose.Events, 77)
	good := s.issue()
	check := func(name, want string, event []byte) {
		t.Helper()
		if r := s.rule(event); r != want {
			t.Errorf("%s: rule %q, want %q", name, r, want)
		}
	}
	check("a certificate that nobody enrolled, of an enrolled organisation", contract.RuleNotEnrolled, s.raw(stranger, good.encode(t)))
	check("another hospital's key in this hospital's name", contract.RuleCertificateOfAnother, s.raw(s.OtherHospital, good.encode(t)))
	forged := s.raw(s.Hospital, good.encode(t))
	forged[len(forged)-1] ^= 1
	check("a changed signature", contract.RuleSignature, forged)
	check("signed as something else", contract.RuleSignature, s.rawAs(s.Hospital, contract.Type, purpose.AADCredential, good.encode(t)))
	altered := s.raw(s.Hospital, good.encode(t))
	altered = bytes.Replace(altered, bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{9}, 32), 1)
	check("a changed commitment", contract.RuleSignature, altered)
	at := s.Hospital.Certificate.NotBefore()
	check("before the certificate", contract.RuleCertificateTime, s.raw(s.Hospital, good.with(5, at.UnixMicro()-1).encode(t)))
	check("when it begins", "", s.raw(s.Hospital, good.with(5, at.UnixMicro()).encode(t)))
	check("after the certificate", contract.RuleCertificateTime, s.raw(s.Hospital, good.with(5, s.Hospital.Certificate.NotAfter().UnixMicro()+1).encode(t)))

	for _, o := range []ledgertest.Organisation{s.Police, s.Archive} {
		check(string(o.Kind)+" issues", contract.RuleActorKind, s.raw(o, good.with(6, o.Code).encode(t)))
	}
	for _, o := range []ledgertest.Organisation{s.Agency, s.Registrar} {
		check(string(o.Kind)+" issues", "", s.raw(o, good.with(6, o.Code).encode(t)))
	}
	l := s.issued()
	for _, o := range []ledgertest.Organisation{s.Hospital, s.Agency, s.Registrar, s.Archive} {
		check(string(o.Kind)+" registers", contract.RuleActorKind, l.Make(o, contract.Event{Kind: contract.Registered}))
	}
	s.accept(l.HandOver(s.Hospital, s.Archive))
	for _, o := range []ledgertest.Organisation{s.Hospital, s.Agency, s.Registrar, s.Police} {
		check(string(o.Kind)+" accepts", contract.RuleActorKind, l.Make(o, contract.Event{Kind: contract.Accepted, Part: "counterfoil"}))
		check(string(o.Kind)+" rejects", contract.RuleActorKind, l.Make(o, contract.Event{Kind: contract.Rejected, Part: "counterfoil", Reason: "damaged"}))
	}
}

func TestRulesOfEnrolment(t *testing.T) {
	s := newScene(t)
	check := func(name, want string, event []byte) {
		t.Helper()
		if r := s.rule(event); r != want {
			t.Errorf("%s: rule %q, want %q", name, r, want)
		}
	}
	enrol := func(by ledgertest.Organisation, e contract.Enrolment) []byte {
		return s.Sign(by, contract.Event{Kind: contract.Enrolled, Enrolment: &e})
	}
	withdraw := func(by ledgertest.Organisation, o ledgertest.Organisation) []byte {
		return s.Sign(by, contract.Event{Kind: contract.Withdrawn, Reason: "key-compromise",
			Enrolment: &contract.Enrolment{Code: o.Code, Kind: o.Kind, Certificate: o.Certificate.Raw()}})
	}
	fresh := func(n int64) ledgertest.Organisation {
		o := s.Hospital
		o.Events = ledgertest.NewKey(fmt.Sprint("fresh", n), purpose.Events)
		o.Certificate = s.Certify(o.Code, o.Events, purpose.Events, n)
		return o
	}
	second := fresh(100)
	check("by a hospital", contract.RuleNotRegistrar, enrol(s.Hospital, contract.Enrolment{Code: s.Hospital.Code, Kind: s.Hospital.Kind, Certificate: second.Certificate.Raw()}))
	check("twice", contract.RuleEnrolledAlready, s.Enrol(s.Hospital))
	check("as another kind", contract.RuleKindChanged, enrol(s.Registrar, contract.Enrolment{Code: s.Hospital.Code, Kind: contract.Archive, Certificate: second.Certificate.Raw()}))
	check("another's certificate", contract.RuleEnrolmentCertificate, enrol(s.Registrar, contract.Enrolment{Code: "123100000000000099", Kind: contract.Archive, Certificate: second.Certificate.Raw()}))
	check("no certificate", contract.RuleEnrolmentCertificate, enrol(s.Registrar, contract.Enrolment{Code: s.Hospital.Code, Kind: s.Hospital.Kind, Certificate: []byte("certificate")}))
	check("a certificate for checkpoints", contract.RuleEnrolmentCertificate, enrol(s.Registrar, contract.Enrolment{Code: s.Police.Code, Kind: s.Police.Kind, Certificate: s.Police.Cosigning.Raw()}))
	earlier := s.Sign(s.Registrar, contract.Event{Kind: contract.Enrolled, Time: s.Hospital.Certificate.NotBefore().UnixMicro(),
		Enrolment: &contract.Enrolment{Code: s.Hospital.Code, Kind: s.Hospital.Kind, Certificate: second.Certificate.Raw()}})
	check("earlier than the last enrolment", contract.RuleTimeBack, earlier)

	s.accept(s.Enrol(second))
	check("the second certificate signs", "", s.Issue(second).Last())
	check("the first one still does", "", s.Issue(s.Hospital).Last())

	check("withdrawn by a hospital", contract.RuleNotRegistrar, withdraw(s.Hospital, second))
	check("withdrawn for another", contract.RuleCertificateNotCurrent, s.Sign(s.Registrar, contract.Event{Kind: contract.Withdrawn, Reason: "ceased",
		Enrolment: &contract.Enrolment{Code: s.Police.Code, Kind: s.Police.Kind, Certificate: second.Certificate.Raw()}}))
	check("never enrolled", contract.RuleCertificateNotCurrent, withdraw(s.Registrar, fresh(101)))
	check("the registrar's own", contract.RuleRegistrarCertificate, withdraw(s.Registrar, s.Registrar))
	backdated := s.Issue(second).Last() // signed while the certificate was good, sequenced after
	s.accept(withdraw(s.Registrar, second))
	check("signed with a withdrawn certificate", contract.RuleWithdrawn, s.Issue(second).Last())
	check("backdated with a withdrawn certificate", contract.RuleWithdrawn, backdated)
	check("withdrawn twice", contract.RuleWithdrawn, withdraw(s.Registrar, second))
	check("enrolled again", contract.RuleEnrolledAlready, s.Enrol(second))

	for n := int64(2); n < contract.MaxCertificates; n++ {
		s.accept(s.Enrol(fresh(200 + n)))
	}
	check("too many", contract.RuleTooManyCertificates, s.Enrol(fresh(300)))
}

func TestFirstEntry(t *testing.T) {
	w := ledgertest.NewWorld(t, "first")
	for name, x := range map[string]struct {
		event []byte
		want  string
	}{
		"another's enrolment": {w.Enrol(w.Hospital), contract.RuleFirstEntry},
		"a licence":           {w.Issue(w.Registrar).Last(), contract.RuleFirstEntry},
		"a hospital founds": {w.Sign(w.Hospital, contract.Event{Kind: contract.Enrolled,
			Enrolment: &contract.Enrolment{Code: w.Hospital.Code, Kind: contract.Hospital, Certificate: w.Hospital.Certificate.Raw()}}), contract.RuleFirstEntry},
		"before its certificate": {w.Sign(w.Registrar, contract.Event{Kind: contract.Enrolled, Time: contract.MinTime,
			Enrolment: &contract.Enrolment{Code: w.Registrar.Code, Kind: contract.Commission, Certificate: w.Registrar.Certificate.Raw()}}), contract.RuleCertificateTime},
		"itself": {w.Enrol(w.Registrar), ""},
	} {
		s := &scene{World: w, t: t, state: contract.MapState{}}
		if r := s.rule(x.event); r != x.want {
			t.Errorf("%s: rule %q, want %q", name, r, x.want)
		}
	}
	forged := w.Enrol(w.Registrar)
	forged[len(forged)-1] ^= 1
	s := &scene{World: w, t: t, state: contract.MapState{}}
	if r := s.rule(forged); r != contract.RuleSignature {
		t.Errorf("forged: %q", r)
	}
}

func TestRulesOfCustody(t *testing.T) {
	s := newScene(t)
	check := func(name, want string, event []byte) {
		t.Helper()
		if r := s.rule(event); r != want {
			t.Errorf("%s: rule %q, want %q", name, r, want)
		}
	}
	handOver := func(part string, to string) contract.Event {
		return contract.Event{Kind: contract.HandedOver, Part: part, Counterparty: to}
	}
	accept := contract.Event{Kind: contract.Accepted, Part: "counterfoil"}
	reject := contract.Event{Kind: contract.Rejected, Part: "counterfoil", Reason: "incomplete"}

	l := s.issued()
	check("issued again", contract.RuleHandleTaken, s.Sign(s.Agency, contract.Event{Kind: contract.Issued, Handle: l.Handle, Parts: ledgertest.Parts(l.Handle)}))
	check("a licence nobody issued", contract.RuleUnknownLicence, s.Issue(s.Hospital).Make(s.Police, contract.Event{Kind: contract.Registered}))
	check("accepted before hand-over", contract.RuleNotHandedOver, l.Make(s.Archive, accept))
	check("rejected before hand-over", contract.RuleNotHandedOver, l.Make(s.Archive, reject))
	check("an unknown part", contract.RuleUnknownPart, l.Make(s.Hospital, handOver("cover", s.Archive.Code)))
	check("the family's part", contract.RuleNotTransferable, l.Make(s.Hospital, handOver("main", s.Archive.Code)))
	check("the issuer's part", contract.RuleNotTransferable, l.Make(s.Hospital, handOver("stub", s.Archive.Code)))
	check("by who does not hold it", contract.RuleNotHolder, l.Make(s.OtherHospital, handOver("counterfoil", s.Archive.Code)))
	check("by the archive that wants it", contract.RuleNotHolder, l.Make(s.Archive, handOver("counterfoil", s.OtherArchive.Code)))
	check("to itself", contract.RuleReceiverSelf, l.Make(s.Hospital, handOver("counterfoil", s.Hospital.Code)))
	check("to a stranger", contract.RuleReceiverNotEnrolled, l.Make(s.Hospital, handOver("counterfoil", "123100000000000088")))
	check("to the police", contract.RuleReceiverKind, l.Make(s.Hospital, handOver("counterfoil", s.Police.Code)))
	stale := l.Make(s.Hospital, handOver("counterfoil", s.OtherArchive.Code))
	s.accept(l.HandOver(s.Hospital, s.Archive))
	check("made beside another", contract.RuleStale, stale)
	check("with a hash of nothing", contract.RuleStale, l.Make(s.Archive, contract.Event{Kind: contract.Accepted, Part: "counterfoil", Previous: [32]byte{1}}))
	check("handed over again", contract.RuleHandedOverAlready, l.Make(s.Hospital, handOver("counterfoil", s.OtherArchive.Code)))
	check("accepted by another archive", contract.RuleAnotherReceiver, l.Make(s.OtherArchive, accept))
	check("rejected by another archive", contract.RuleAnotherReceiver, l.Make(s.OtherArchive, reject))
	back, err := contract.ParseEvent(l.Last())
	if err != nil {
		t.Fatal(err)
	}
	earlier := accept
	earlier.Time = back.Event.Time - 1
	check("accepted before it was handed over, says its clock", contract.RuleTimeBack, l.Make(s.Archive, earlier))
	s.accept(l.Accept(s.Archive))
	check("accepted twice", contract.RuleAcceptedAlready, l.Make(s.Archive, accept))
	check("accepted by another after that", contract.RuleNotHandedOver, l.Make(s.OtherArchive, accept))
	check("handed over by the former holder", contract.RuleNotHolder, l.Make(s.Hospital, handOver("counterfoil", s.OtherArchive.Code)))
	s.accept(l.HandOver(s.Archive, s.OtherArchive), l.Reject(s.OtherArchive), l.HandOver(s.Archive, s.OtherArchive), l.Accept(s.OtherArchive))

	s.accept(l.Register(s.Police))
	check("registered twice", contract.RuleRegisteredAlready, l.Make(s.Police, contract.Event{Kind: contract.Registered}))
	check("registered with the first event sent again", contract.RuleStale, l.Last())
}

func TestRulesOfTheEnd(t *testing.T) {
	s := newScene(t)
	check := func(name, want string, event []byte) {
		t.Helper()
		if r := s.rule(event); r != want {
			t.Errorf("%s: rule %q, want %q", name, r, want)
		}
	}
	revoke := contract.Event{Kind: contract.Revoked, Reason: "wrongly-issued"}
	supersede := func(by [32]byte) contract.Event {
		return contract.Event{Kind: contract.Superseded, Reason: "replacement", Successor: by}
	}
	l := s.issued()
	for _, o := range []ledgertest.Organisation{s.OtherHospital, s.Agency, s.Police, s.Archive} {
		check("revoked by "+string(o.Kind), contract.RuleNotIssuer, l.Make(o, revoke))
	}
	check("revoked by the commission", "", l.Make(s.Registrar, revoke))
	s.accept(l.HandOver(s.Hospital, s.Archive), l.Revoke(s.Hospital))
	next := s.issued()
	for name, e := range map[string][]byte{
		"accepted":    l.Make(s.Archive, contract.Event{Kind: contract.Accepted, Part: "counterfoil"}),
		"rejected":    l.Make(s.Archive, contract.Event{Kind: contract.Rejected, Part: "counterfoil", Reason: "damaged"}),
		"handed over": l.Make(s.Hospital, contract.Event{Kind: contract.HandedOver, Part: "counterfoil", Counterparty: s.Archive.Code}),
		"registered":  l.Make(s.Police, contract.Event{Kind: contract.Registered}),
		"superseded":  l.Make(s.Hospital, supersede(next.Handle)),
		"revoked":     l.Make(s.Hospital, revoke),
	} {
		check(name+" after its revocation", contract.RuleRevoked, e)
	}

	old := s.issued()
	check("by itself", contract.RuleSuccessorSelf, old.Make(s.Hospital, supersede(old.Handle)))
	check("by nothing", contract.RuleSuccessorUnknown, old.Make(s.Hospital, supersede(s.Handle())))
	check("by the agency's, says the hospital", contract.RuleSuccessorOfAnother, old.Make(s.Agency, supersede(next.Handle)))
	check("by another hospital", contract.RuleNotIssuer, old.Make(s.OtherHospital, supersede(next.Handle)))
	check("by the police", contract.RuleNotIssuer, old.Make(s.Police, supersede(next.Handle)))
	check("by a revoked one", contract.RuleSuccessorEnded, old.Make(s.Hospital, supersede(l.Handle)))
	s.accept(old.HandOver(s.Hospital, s.Archive), old.Register(s.Police), old.SupersededBy(s.Hospital, next))
	check("superseded twice", contract.RuleSuperseded, old.Make(s.Hospital, supersede(next.Handle)))
	check("registered after it was superseded", contract.RuleSuperseded, old.Make(s.Police, contract.Event{Kind: contract.Registered}))
	check("revoked after it was superseded", contract.RuleSuperseded, old.Make(s.Hospital, revoke))
	check("the child registered again from the new one", contract.RuleRegisteredAlready, next.Make(s.Police, contract.Event{Kind: contract.Registered}))
	other := s.issued()
	check("by one that stands for another", contract.RuleSuccessorTaken, other.Make(s.Hospital, supersede(next.Handle)))
	check("by one that was superseded", contract.RuleSuccessorEnded, other.Make(s.Hospital, supersede(old.Handle)))
	s.accept(old.Accept(s.Archive)) // the old counterfoil still goes where it belongs

	byAgency := s.Issue(s.Agency) // a county's replacement under its own seal
	s.accept(byAgency.Last(), other.SupersededBy(s.Agency, byAgency), byAgency.Register(s.Police))
}

func TestAuditAnchors(t *testing.T) {
	s := newScene(t)
	anchor := func(o ledgertest.Organisation, previous []byte, head byte, at int64) []byte {
		e := contract.Event{Kind: contract.AuditAnchored, Anchor: [32]byte{head}, Time: at}
		if previous != nil {
			e.Previous = contract.Hash(previous)
		}
		return s.Sign(o, e)
	}
	first := anchor(s.Hospital, nil, 1, 0)
	if r := s.rule(anchor(s.Hospital, first, 1, 0)); r != contract.RuleStale {
		t.Errorf("after nothing: %q", r)
	}
	s.accept(first, anchor(s.Police, nil, 1, 0))
	if r := s.rule(first); r != contract.RuleStale {
		t.Errorf("sent again: %q", r)
	}
	parsed, err := contract.ParseEvent(first)
	if err != nil {
		t.Fatal(err)
	}
	if r := s.rule(anchor(s.Hospital, first, 2, parsed.Event.Time-1)); r != contract.RuleTimeBack {
		t.Errorf("earlier: %q", r)
	}
	second := anchor(s.Hospital, first, 2, 0)
	s.accept(second)
	for actor, want := range map[string][32]byte{s.Hospital.Code: contract.Hash(second), s.Archive.Code: {}} {
		if last, err := contract.LastAnchor(t.Context(), s.state, actor); err != nil || last != want {
			t.Errorf("the last anchor is %x, want %x, %v", last, want, err)
		}
	}
}

// TestBatchIsAsOneByOne: a batch is judged on an overlay of its own earlier events, and gives what single events give.
func TestBatchIsAsOneByOne(t *testing.T) {
	w := ledgertest.NewWorld(t, "overlay")
	batch := w.Founding()
	l, next := w.Issue(w.Hospital), w.Issue(w.Hospital)
	first := l.HandOver(w.Hospital, w.Archive)
	batch = append(batch,
		l.Make(w.Archive, contract.Event{Kind: contract.Accepted, Part: "counterfoil"}), // before it is issued
		l.Events[0], first,
		l.Make(w.Hospital, contract.Event{Kind: contract.HandedOver, Part: "counterfoil", Counterparty: w.OtherArchive.Code}),
		l.Accept(w.Archive), l.Last(), []byte("noise"), next.Last(), l.Register(w.Police), l.SupersededBy(w.Hospital, next),
		next.Make(w.Police, contract.Event{Kind: contract.Registered}), next.Revoke(w.Registrar),
	)
	together, writes, err := contract.Judge(t.Context(), contract.MapState{}, batch)
	if err != nil {
		t.Fatal(err)
	}
	state := contract.MapState{}
	for i, e := range batch {
		alone, w, err := contract.Judge(t.Context(), state, [][]byte{e})
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(alone[0].Refusal, together[i].Refusal) || alone[0].Hash != together[i].Hash {
			t.Errorf("event %d: alone %v, in the batch %v", i, alone[0].Refusal, together[i].Refusal)
		}
		state.Apply(w)
	}
	if !reflect.DeepEqual(map[string][]byte(state), writes) {
		t.Error("the states differ")
	}
	var refused []string
	for _, v := range together {
		if v.Refusal != nil {
			refused = append(refused, v.Refusal.Rule)
		}
	}
	want := []string{contract.RuleUnknownLicence, contract.RuleHandedOverAlready, contract.RuleStale, contract.RuleMalformed, contract.RuleRegisteredAlready}
	if !slices.Equal(refused, want) {
		t.Errorf("refused %q, want %q", refused, want)
	}
}

// TestSamePartHandedOverTwiceInOneBatch is the demonstration of it.
func TestSamePartHandedOverTwiceInOneBatch(t *testing.T) {
	s := newScene(t)
	l := s.issued()
	a := l.Make(s.Hospital, contract.Event{Kind: contract.HandedOver, Part: "counterfoil", Counterparty: s.Archive.Code})
	b := l.Make(s.Hospital, contract.Event{Kind: contract.HandedOver, Part: "counterfoil", Counterparty: s.OtherArchive.Code})
	c := l.Make(s.Hospital, contract.Event{Kind: contract.HandedOver, Part: "counterfoil", Counterparty: s.OtherArchive.Code, Previous: contract.Hash(a)})
	verdicts, _, err := contract.Judge(t.Context(), s.state, [][]byte{a, b, c})
	if err != nil {
		t.Fatal(err)
	}
	if verdicts[0].Refusal != nil || verdicts[1].Refusal.Rule != contract.RuleStale || verdicts[2].Refusal.Rule != contract.RuleHandedOverAlready {
		t.Fatalf("%v, %v, %v", verdicts[0].Refusal, verdicts[1].Refusal, verdicts[2].Refusal)
	}
}

// only is a State that has been asked for certain keys and knows no others.
type only struct {
	contract.MapState
	keys []string
}

func (o only) Get(ctx context.Context, key string) ([]byte, error) {
	if !slices.Contains(o.keys, key) {
		return nil, fmt.Errorf("key %s was not announced", key)
	}
	return o.MapState.Get(ctx, key)
}

func TestKeysAnnounceEveryRead(t *testing.T) {
	s := newScene(t)
	l, next := s.issued(), s.issued()
	for _, e := range [][]byte{
		l.HandOver(s.Hospital, s.Archive), l.Accept(s.Archive), l.Register(s.Police), l.SupersededBy(s.Hospital, next),
		next.Revoke(s.Registrar), s.Issue(s.Agency).Last(), []byte("noise"), s.Enrol(s.Hospital),
		s.Sign(s.Police, contract.Event{Kind: contract.AuditAnchored, Anchor: [32]byte{1}}),
	} {
		batch := [][]byte{e}
		verdicts, writes, err := contract.Judge(t.Context(), only{s.state, contract.Keys(batch)}, batch)
		if err != nil {
			t.Fatal(err)
		}
		for k := range writes {
			if !slices.Contains(contract.Keys(batch), k) {
				t.Errorf("writes %s, which it did not announce", k)
			}
		}
		if verdicts[0].Refusal == nil {
			s.state.Apply(writes)
		}
	}
}

func TestStateFaultsDecideNothing(t *testing.T) {
	s := newScene(t)
	l := s.issued()
	event := l.Make(s.Police, contract.Event{Kind: contract.Registered})
	broken := errors.New("disk")
	if _, _, err := contract.Judge(t.Context(), failing{broken}, [][]byte{event}); !errors.Is(err, broken) {
		t.Errorf("an unreadable state: %v", err)
	}
	for k := range s.state {
		damaged := maps.Clone(s.state)
		damaged[k] = []byte("damaged")
		if !slices.Contains(contract.Keys([][]byte{event}), k) {
			continue
		}
		if _, _, err := contract.Judge(t.Context(), damaged, [][]byte{event}); !errors.Is(err, contract.ErrState) {
			t.Errorf("damaged %s: %v", k, err)
		}
	}
}

type failing struct{ err error }

func (f failing) Get(context.Context, string) ([]byte, error) { return nil, f.err }

func TestCourtRemembersWithoutEffect(t *testing.T) {
	s := newScene(t)
	court := contract.NewCourt(2) // smaller than the number of certificates
	var events [][]byte
	for range 3 {
		for _, o := range []ledgertest.Organisation{s.Hospital, s.OtherHospital, s.Agency, s.Registrar, s.Police} {
			h := s.Handle()
			events = append(events, s.Sign(o, contract.Event{Kind: contract.Issued, Handle: h, Parts: ledgertest.Parts(h)}))
		}
	}
	for range 2 {
		a, writesA, err := court.Judge(t.Context(), s.state, events)
		if err != nil {
			t.Fatal(err)
		}
		b, writesB, err := contract.Judge(t.Context(), s.state, events)
		if err != nil {
			t.Fatal(err)
		}
		for i := range a {
			if !reflect.DeepEqual(a[i].Refusal, b[i].Refusal) {
				t.Errorf("event %d: %v and %v", i, a[i].Refusal, b[i].Refusal)
			}
		}
		if !reflect.DeepEqual(writesA, writesB) {
			t.Error("the writes differ")
		}
	}
}

func TestReasonsAreAClosedList(t *testing.T) {
	for _, k := range contract.Kinds() {
		r := contract.Reasons(k)
		if !slices.IsSorted(r) || len(slices.Compact(slices.Clone(r))) != len(r) {
			t.Errorf("%s: %q", k, r)
		}
	}
	if len(contract.Reasons(contract.Rejected)) == 0 || len(contract.Reasons(contract.Issued)) != 0 {
		t.Error("who gives reasons")
	}
	contract.Reasons(contract.Rejected)[0] = "changed"
	if contract.Reasons(contract.Rejected)[0] == "changed" {
		t.Error("the list can be changed from outside")
	}
}

func TestCertificateLimits(t *testing.T) {
	s := newScene(t)
	soon := s.Hospital
	soon.Events = ledgertest.NewKey("soon", purpose.Events)
	from := s.Now()
	soon.Certificate = s.CertifyFor(soon.Code, soon.Events, purpose.Events, 500, from, from.Add(time.Hour))
	s.accept(s.Enrol(soon))
	s.Advance(2 * time.Hour)
	if r := s.rule(s.Issue(soon).Last()); r != contract.RuleCertificateTime {
		t.Errorf("expired: %q", r)
	}
}
