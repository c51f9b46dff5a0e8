package chaincode_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/ledger/embedded"
	"github.com/elicence/elicence/ledger/fabric/transaction"
	"github.com/elicence/elicence/ledger/ledgertest"
	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"google.golang.org/protobuf/proto"
)

// by is the member that sends for an organisation.
func by(t *testing.T, o ledgertest.Organisation) []byte {
	names := map[contract.OrganisationKind]string{contract.Commission: "CommissionMSP", contract.Police: "PoliceMSP", contract.Archive: "ArchiveMSP"}
	return sender(t, names[transaction.SenderOf(o.Kind)], "client", "")
}

func TestSameVerdictsAndStateAsTheEmbeddedLedger(t *testing.T) {
	w := ledgertest.NewWorld(t, "chaincode")
	store := ledgertest.NewMemory()
	s := embedded.New(store, ledgertest.NewMemoryTiles(), w.LogKey, w.LogCertificate, ledgertest.Origin, w.Now)
	peer := founded(t)
	first, second, third := w.Issue(w.Hospital), w.Issue(w.Agency), w.Issue(w.Hospital)
	batches := []struct {
		by     ledgertest.Organisation
		events [][]byte
	}{
		{w.Registrar, [][]byte{first.Last(), w.Enrol(w.Hospital)}}, // nothing is founded yet
		{w.Registrar, w.Founding()},
		{w.Registrar, [][]byte{first.Last(), second.Last(), []byte("not an event"), first.HandOver(w.Hospital, w.Archive), first.Events[0],
			second.Make(w.Hospital, contract.Event{Kind: contract.HandedOver, Part: "counterfoil", Counterparty: w.Archive.Code})}},
		{w.Archive, [][]byte{first.Accept(w.Archive), first.Make(w.OtherArchive, contract.Event{Kind: contract.Accepted, Part: "counterfoil"})}},
		{w.Police, [][]byte{first.Register(w.Police), second.Register(w.Police)}},
		{w.Registrar, [][]byte{third.Last(), first.SupersededBy(w.Hospital, third), second.Revoke(w.Registrar),
			third.Make(w.Hospital, contract.Event{Kind: contract.HandedOver, Part: "main", Counterparty: w.Archive.Code})}},
		{w.Archive, [][]byte{first.HandOver(w.Archive, w.OtherArchive), first.Reject(w.OtherArchive)}},
	}
	refused := 0
	for n, b := range batches {
		outcomes, err := s.Submit(t.Context(), b.events)
		if err != nil {
			t.Fatal(err)
		}
		for i, rule := range peer.submit(by(t, b.by), b.events...) {
			want := ""
			if outcomes[i].Refusal != nil {
				want = outcomes[i].Refusal.Rule
				refused++
			}
			if rule != want && !slices.ContainsFunc(b.events[:i], func(e []byte) bool { return bytes.Equal(e, b.events[i]) }) {
				t.Errorf("batch %d, event %d: the chaincode says %q, the embedded ledger %q", n, i, rule, want)
			}
		}
		var keys []string
		for k := range peer.state {
			if !strings.HasPrefix(k, "fabric/") {
				keys = append(keys, k)
			}
		}
		ours, err := store.StateGet(t.Context(), keys)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range keys {
			if !bytes.Equal(ours[k], peer.state[k]) {
				t.Errorf("batch %d: other state at %s", n, k)
			}
		}
	}
	if refused < 5 {
		t.Fatalf("only %d refusals: the batches prove little", refused)
	}
}

func TestBatchDoesNotSeeItsOwnWrites(t *testing.T) {
	w, peer := ledgertest.NewWorld(t, "own"), founded(t)
	peer.submit(by(t, w.Registrar), w.Founding()...)
	l := w.Issue(w.Hospital)
	answer := peer.submit(by(t, w.Registrar), l.Last(), l.HandOver(w.Hospital, w.Archive), l.HandOver(w.Hospital, w.OtherArchive))
	if want := (transaction.Answer{"", "", contract.RuleHandedOverAlready}); !slices.Equal(answer, want) {
		t.Fatalf("%q, want %q", answer, want)
	}
	// Sender, registry and state of all events: three calls, whatever the batch holds.
	if peer.last.reads > 3 {
		t.Errorf("%d reads", peer.last.reads)
	}
}

func TestNothingIsWrittenForWhatIsRefused(t *testing.T) {
	w, peer := ledgertest.NewWorld(t, "refused"), founded(t)
	peer.submit(by(t, w.Registrar), w.Founding()...)
	l := w.Issue(w.Hospital)
	l.HandOver(w.Hospital, w.Archive)
	before := len(peer.state)
	if answer := peer.submit(by(t, w.Registrar), l.Last(), []byte{0}); answer.Accepted() != 0 {
		t.Fatalf("%q", answer)
	}
	if len(peer.last.written) != 0 || len(peer.last.policies) != 0 || len(peer.state) != before {
		t.Fatalf("written: %d keys, %d policies", len(peer.last.written), len(peer.last.policies))
	}
}

// An event is taken up to ten minutes before its time, as its transaction states it; the peer's own clock is not asked.
func TestTimeAhead(t *testing.T) {
	w, peer := ledgertest.NewWorld(t, "ahead"), founded(t)
	peer.submit(by(t, w.Registrar), w.Founding()...)
	l, other := w.Issue(w.Hospital), w.Issue(w.Hospital)
	e, err := contract.ParseEvent(l.Last())
	if err != nil {
		t.Fatal(err)
	}
	at := time.UnixMicro(e.Event.Time)
	peer.sent = at.Add(-contract.SubmissionTolerance - time.Second)
	if got := peer.submit(by(t, w.Registrar), l.Last(), other.Last())[0]; got != contract.RuleTimeAhead {
		t.Errorf("an event of tomorrow: %q", got)
	}
	peer.sent = at.Add(-contract.SubmissionTolerance)
	if got := peer.submit(by(t, w.Registrar), l.Last())[0]; got != "" {
		t.Errorf("within the tolerance: %q", got)
	}
}

// A checkpoint goes onto the chain from members alone, and writes nothing.
func TestCheckpointWritesNothing(t *testing.T) {
	w, peer := ledgertest.NewWorld(t, "checkpoint"), founded(t)
	store := ledgertest.NewMemory()
	s := embedded.New(store, ledgertest.NewMemoryTiles(), w.LogKey, w.LogCertificate, ledgertest.Origin, w.Now)
	if _, err := s.Submit(t.Context(), w.Founding()); err != nil {
		t.Fatal(err)
	}
	note, err := s.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		from []byte
		args [][]byte
		ok   bool
	}{
		{"of the police", by(t, w.Police), [][]byte{note}, true},
		{"of a stranger", sender(t, "StrangerMSP", "client", ""), [][]byte{note}, false},
		{"no checkpoint", by(t, w.Police), [][]byte{[]byte("nothing")}, false},
		{"two", by(t, w.Police), [][]byte{note, note}, false},
	} {
		if r := peer.invoke(c.from, transaction.Checkpoint, c.args...); (r.GetStatus() == shim.OK) != c.ok {
			t.Errorf("%s: %d %s", c.name, r.GetStatus(), r.GetMessage())
		}
		if len(peer.last.written) > 0 {
			t.Errorf("%s: it writes", c.name)
		}
	}
}

func TestSentByAnother(t *testing.T) {
	w, peer := ledgertest.NewWorld(t, "another"), founded(t)
	peer.submit(by(t, w.Registrar), w.Founding()...)
	commission, police, archive := by(t, w.Registrar), by(t, w.Police), by(t, w.Archive)
	l := w.Issue(w.Hospital)
	narrowed := sender(t, "CommissionMSP", "client", w.Hospital.Code)
	other := sender(t, "CommissionMSP", "client", w.OtherHospital.Code)
	for _, c := range []struct {
		name  string
		from  []byte
		event []byte
		want  string
	}{
		{"police send a hospital's", police, l.Last(), contract.RuleSentByAnother},
		{"another hospital's client sends it", other, l.Last(), contract.RuleSentByAnother},
		{"its own client sends it", narrowed, l.Last(), ""},
		{"commission sends the police's", commission, l.Make(w.Police, contract.Event{Kind: contract.Registered}), contract.RuleSentByAnother},
		{"the attribute does not widen", sender(t, "CommissionMSP", "client", w.Police.Code), l.Make(w.Police, contract.Event{Kind: contract.Registered}), contract.RuleSentByAnother},
		{"archive sends the police's", archive, l.Make(w.Police, contract.Event{Kind: contract.Registered}), contract.RuleSentByAnother},
		{"police send it", police, l.Register(w.Police), ""},
		{"commission sends the archive's", commission, l.Make(w.Archive, contract.Event{Kind: contract.Accepted, Part: "counterfoil"}), contract.RuleSentByAnother},
		{"a forged signature is named first", police, forged(l.Make(w.Hospital, contract.Event{Kind: contract.Revoked, Reason: "duplicate"})), contract.RuleSignature},
	} {
		if got := peer.submit(c.from, c.event)[0]; got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if r := peer.invoke(sender(t, "StrangerMSP", "client", ""), transaction.Submit, l.Last()); r.GetStatus() == shim.OK || !strings.Contains(r.GetMessage(), "StrangerMSP") {
		t.Errorf("a member that the registry does not have: %d %s", r.GetStatus(), r.GetMessage())
	}
}

// forged changes the last byte of the signature.
func forged(event []byte) []byte {
	b := bytes.Clone(event)
	b[len(b)-1] ^= 1
	return b
}

func TestOneBadEventLeavesTheOthers(t *testing.T) {
	w, peer := ledgertest.NewWorld(t, "bad"), founded(t)
	peer.submit(by(t, w.Registrar), w.Founding()...)
	old := w.Issue(w.Hospital)
	peer.submit(by(t, w.Registrar), old.Last())
	payload, err := contract.Encode(contract.Event{Version: 1, Kind: contract.Issued, Handle: w.Handle(), Time: w.Now().UnixMicro(), Actor: w.Hospital.Code, Parts: ledgertest.Parts(w.Handle())})
	if err != nil {
		t.Fatal(err)
	}
	later := bytes.Clone(payload)
	later[2] = 2 // the version
	kind := bytes.Replace(payload, []byte("issued"), []byte("issuxx"), 1)
	for _, c := range []struct {
		name  string
		event []byte
		want  string
	}{
		{"empty", nil, contract.RuleMalformed},
		{"garbage", []byte("not an event"), contract.RuleMalformed},
		{"too large", make([]byte, contract.MaxEvent+1), contract.RuleTooLarge},
		{"unknown version", w.SignPayload(w.Hospital, later), contract.RuleVersion},
		{"unknown kind", w.SignPayload(w.Hospital, kind), contract.RuleKind},
		{"trailing bytes", append(bytes.Clone(w.Issue(w.Hospital).Last()), 0), contract.RuleMalformed},
		{"forged", forged(w.Issue(w.Hospital).Last()), contract.RuleSignature},
		{"stale", old.Make(w.Hospital, contract.Event{Kind: contract.Revoked, Reason: "duplicate", Previous: [32]byte{1}}), contract.RuleStale},
		{"before its predecessor", old.Make(w.Hospital, contract.Event{Kind: contract.Revoked, Reason: "duplicate", Time: contract.MinTime}), contract.RuleCertificateTime},
		{"issued twice", old.Events[0], contract.RuleHandleTaken},
	} {
		answer := peer.submit(by(t, w.Registrar), w.Issue(w.Hospital).Last(), c.event, w.Issue(w.Agency).Last())
		if want := (transaction.Answer{"", c.want, ""}); !slices.Equal(answer, want) {
			t.Errorf("%s: %q, want %q", c.name, answer, want)
		}
	}
}

func TestBadTransactions(t *testing.T) {
	w, peer := ledgertest.NewWorld(t, "transactions"), founded(t)
	peer.submit(by(t, w.Registrar), w.Founding()...)
	before := len(peer.state)
	commission := by(t, w.Registrar)
	for _, c := range []struct {
		name     string
		from     []byte
		function string
		args     [][]byte
		says     string
	}{
		{"no events", commission, transaction.Submit, nil, "without events"},
		{"too many events", commission, transaction.Submit, make([][]byte, transaction.MaxEvents+1), "1001 events"},
		{"too many bytes", commission, transaction.Submit, [][]byte{make([]byte, transaction.MaxBytes+1)}, "bytes"},
		{"unknown function", commission, "Delete", nil, "unknown function"},
		{"registry with arguments", commission, transaction.ReadRegistry, [][]byte{{1}}, "arguments"},
		{"version with arguments", commission, transaction.ReadVersion, [][]byte{{1}}, "arguments"},
		{"two proposals", commission, transaction.ProposeRegistry, [][]byte{{1}, {1}}, "arguments"},
		{"no sender", []byte("no identity"), transaction.Submit, [][]byte{{1}}, "sender"},
	} {
		r := peer.invoke(c.from, c.function, c.args...)
		if r.GetStatus() == shim.OK || !strings.Contains(r.GetMessage(), c.says) {
			t.Errorf("%s: %d %q", c.name, r.GetStatus(), r.GetMessage())
		}
	}
	if len(peer.state) != before {
		t.Error("something was written")
	}
	if r := peer.chaincode.Invoke(&stub{w: peer}); r.GetStatus() == shim.OK {
		t.Error("a transaction without a function succeeds")
	}
	if r := newWorld(t).invoke(commission, transaction.Submit, w.Enrol(w.Registrar)); r.GetStatus() == shim.OK || !strings.Contains(r.GetMessage(), "no registry") {
		t.Errorf("without a registry: %d %q", r.GetStatus(), r.GetMessage())
	}
}

func TestDamagedStateAndRefusedWritesAreErrors(t *testing.T) {
	w, peer := ledgertest.NewWorld(t, "damaged"), founded(t)
	peer.submit(by(t, w.Registrar), w.Founding()...)
	l := w.Issue(w.Hospital)
	peer.submit(by(t, w.Registrar), l.Last())
	peer.refuseWrites = errors.New("the peer refuses")
	if r := peer.invoke(by(t, w.Registrar), transaction.Submit, w.Issue(w.Hospital).Last()); r.GetStatus() == shim.OK {
		t.Error("a write that failed is a success")
	}
	peer.refuseWrites = nil
	peer.state[contract.LicenceKey(l.Handle)] = []byte("damaged")
	if r := peer.invoke(by(t, w.Registrar), transaction.Submit, l.HandOver(w.Hospital, w.Archive)); r.GetStatus() == shim.OK || !strings.Contains(r.GetMessage(), "damaged state") {
		t.Errorf("%d %q", r.GetStatus(), r.GetMessage())
	}
	peer.state["fabric/registry"] = []byte("damaged")
	if r := peer.invoke(by(t, w.Registrar), transaction.Submit, w.Issue(w.Hospital).Last()); r.GetStatus() == shim.OK {
		t.Error("judged under a damaged registry")
	}
}

func TestLicencesAreEndorsedByAllKinds(t *testing.T) {
	w, peer := ledgertest.NewWorld(t, "policy"), founded(t)
	peer.submit(by(t, w.Registrar), w.Founding()...)
	if len(peer.policies) != 0 {
		t.Fatal("an enrolment has a policy of its own")
	}
	l := w.Issue(w.Hospital)
	peer.submit(by(t, w.Registrar), l.Last(), l.HandOver(w.Hospital, w.Archive))
	b := peer.policies[contract.LicenceKey(l.Handle)]
	var envelope common.SignaturePolicyEnvelope
	if err := proto.Unmarshal(b, &envelope); err != nil || len(b) == 0 {
		t.Fatal(err, len(b))
	}
	if n := envelope.GetRule().GetNOutOf(); n.GetN() != 3 || len(n.GetRules()) != 3 {
		t.Fatalf("%v", envelope.GetRule())
	}
	var members []string
	for _, p := range envelope.GetIdentities() {
		var role msp.MSPRole
		if err := proto.Unmarshal(p.GetPrincipal(), &role); err != nil || role.GetRole() != msp.MSPRole_PEER {
			t.Fatal(err, role.GetRole())
		}
		members = append(members, role.GetMspIdentifier())
	}
	if want := []string{"CommissionMSP", "PoliceMSP", "ArchiveMSP"}; !slices.Equal(members, want) {
		t.Fatalf("%v", members)
	}
}

func TestRegistryNeedsAllKinds(t *testing.T) {
	const c, p, a, second, stranger = "CommissionMSP", "PoliceMSP", "ArchiveMSP", "SecondArchiveMSP", "StrangerMSP"
	one := registry(1)
	other := registry(1, transaction.Member{MSP: second, Kind: contract.Archive})
	next := registry(2, transaction.Member{MSP: second, Kind: contract.Archive})
	after := registry(3)
	type proposal struct {
		by   string
		unit string
		r    transaction.Registry
		says string // "" for a success
	}
	for _, test := range []struct {
		name      string
		proposals []proposal
		number    uint64 // of the registry that stands then, 0 for none
	}{
		{"all", []proposal{{c, "admin", one, ""}, {p, "admin", one, ""}, {a, "admin", one, ""}}, 1},
		{"two of three", []proposal{{c, "admin", one, ""}, {p, "admin", one, ""}, {p, "admin", one, ""}}, 0},
		{"not the same", []proposal{{c, "admin", one, ""}, {p, "admin", other, ""}, {a, "admin", one, ""}}, 0},
		{"a changed mind", []proposal{{c, "admin", one, ""}, {p, "admin", other, ""}, {a, "admin", one, ""}, {p, "admin", one, ""}}, 1},
		{"the first one needs everybody it names", []proposal{{c, "admin", other, ""}, {p, "admin", other, ""}, {a, "admin", other, ""}}, 0},
		{"a client", []proposal{{c, "client", one, "only an admin"}}, 0},
		{"a stranger", []proposal{{stranger, "admin", one, "no say"}}, 0},
		{"a later number first", []proposal{{c, "admin", next, "1 is next"}}, 0},
		{"a change", []proposal{{c, "admin", one, ""}, {p, "admin", one, ""}, {a, "admin", one, ""},
			{c, "admin", next, ""}, {p, "admin", next, ""}, {second, "admin", next, "no say"}, {a, "admin", next, ""}}, 2},
		{"one of each kind changes it", []proposal{{c, "admin", one, ""}, {p, "admin", one, ""}, {a, "admin", one, ""},
			{c, "admin", next, ""}, {p, "admin", next, ""}, {a, "admin", next, ""},
			{second, "admin", after, ""}, {c, "admin", after, ""}, {p, "admin", after, ""}}, 3},
		{"an old proposal never comes back", []proposal{{c, "admin", one, ""}, {p, "admin", one, ""}, {a, "admin", one, ""},
			{c, "admin", one, "2 is next"}}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			for i, v := range test.proposals {
				r := w.invoke(sender(t, v.by, v.unit, ""), transaction.ProposeRegistry, encode(t, v.r))
				if (r.GetStatus() == shim.OK) != (v.says == "") || !strings.Contains(r.GetMessage(), v.says) {
					t.Fatalf("proposal %d: %d %q", i, r.GetStatus(), r.GetMessage())
				}
			}
			r := w.invoke(sender(t, c, "client", ""), transaction.ReadRegistry)
			if test.number == 0 {
				if len(r.GetPayload()) != 0 {
					t.Fatal("a registry stands")
				}
				return
			}
			got, err := transaction.ParseRegistry(r.GetPayload())
			if err != nil || got.Number != test.number {
				t.Fatalf("%+v, %v", got, err)
			}
		})
	}
}

func TestVersionNamesTheProgram(t *testing.T) {
	r := newWorld(t).invoke(sender(t, "PoliceMSP", "client", ""), transaction.ReadVersion)
	if want := fmt.Sprintf("transactions %d, events %d, program test", transaction.Version, contract.Version); string(r.GetPayload()) != want {
		t.Fatalf("%q", r.GetPayload())
	}
}
