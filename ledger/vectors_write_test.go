package ledger_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/elicence/elicence/ledger"
	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/ledger/ledgertest"
	"github.com/elicence/elicence/signer/cose"
	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
	"github.com/transparency-dev/merkle/compact"
)

var update = flag.Bool("update", false, "write the vectors anew")

func TestWriteVectors(t *testing.T) {
	if !*update {
		return // the vectors of the repository stay as they are: files once issued must verify for ever
	}
	w := ledgertest.NewWorld(t, "vectors")
	writeEvents(t, w)
	writeCustody(t, w)
	writeReceipts(t)
}

func writeJSON(t *testing.T, path string, v any) {
	t.Helper()
	path = filepath.Join(vectorDir, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

func writeEvents(t *testing.T, w *ledgertest.World) {
	v := eventVectors{About: "Signed events. Accepted: each field as a reader must see it. Refused: the rule that refuses the bytes by themselves, before any state is asked. All binary values are hex."}
	certificates := map[[32]byte]*pki.Certificate{}
	for _, o := range w.Organisations() {
		certificates[o.Certificate.SM3()] = o.Certificate
	}
	add := func(name string, event []byte) {
		s, err := contract.ParseEvent(event)
		if err != nil {
			t.Fatal(err)
		}
		m, err := cose.Parse(event)
		if err != nil {
			t.Fatal(err)
		}
		leaf := ledger.LeafHash(event)
		a := acceptedEvent{Name: name, Kind: string(s.Event.Kind), Actor: s.Event.Actor, Time: s.Event.Time, Payload: m.Payload,
			ToBeSigned: m.ToBeSigned(purpose.AADEvent), Certificate: certificates[s.Certificate].Raw(), Event: event, Hash: s.Hash[:], Leaf: leaf[:]}
		if s.Event.Handle != [32]byte{} {
			a.Handle = s.Event.Handle[:]
		}
		if s.Event.Previous != [32]byte{} {
			a.Previous = s.Event.Previous[:]
		}
		v.Accepted = append(v.Accepted, a)
	}
	add("enrolled", w.Enrol(w.Registrar))
	l, next := w.Issue(w.Hospital), w.Issue(w.Hospital)
	add("issued", l.Last())
	add("handed-over", l.HandOver(w.Hospital, w.Archive))
	add("rejected", l.Reject(w.Archive))
	l.HandOver(w.Hospital, w.Archive)
	add("accepted", l.Accept(w.Archive))
	add("registered", l.Register(w.Police))
	add("superseded", l.SupersededBy(w.Hospital, next))
	add("revoked", next.Revoke(w.Registrar))
	add("withdrawn", w.Sign(w.Registrar, contract.Event{Kind: contract.Withdrawn, Reason: "key-compromise",
		Enrolment: &contract.Enrolment{Code: w.Hospital.Code, Kind: w.Hospital.Kind, Certificate: w.Hospital.Certificate.Raw()}}))
	add("audit-anchored", w.Sign(w.Hospital, contract.Event{Kind: contract.AuditAnchored, Anchor: contract.Hash([]byte("anchor"))}))

	good := v.Accepted[1]
	refuse := func(name string, event []byte) {
		_, err := contract.ParseEvent(event)
		var r *contract.Refusal
		if !errors.As(err, &r) {
			t.Fatalf("%s is accepted", name)
		}
		v.Refused = append(v.Refused, refusedEvent{Name: name, Rule: r.Rule, Event: event})
	}
	payload := func(name string, change func(map[int]any)) {
		m := map[int]any{1: 1, 2: "issued", 3: []byte(good.Handle), 5: good.Time, 6: good.Actor,
			7: []any{[]any{"main", bytes.Repeat([]byte{1}, 32), "family"}}}
		change(m)
		p, err := cose.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		refuse(name, w.SignPayload(w.Hospital, p))
	}
	refuse("empty", nil)
	refuse("one byte too many", append(bytes.Clone(good.Event), 0))
	refuse("one byte too few", good.Event[:len(good.Event)-1])
	refuse("without the COSE tag", good.Event[1:])
	refuse("larger than 2048 bytes", make([]byte, 2049))
	refuse("keys in another order", w.SignPayload(w.Hospital, append([]byte{0xa2, 2, 0x66}, "issued\x01\x01"...)))
	payload("version 2", func(m map[int]any) { m[1] = 2 })
	payload("unknown kind", func(m map[int]any) { m[2] = "lost" })
	payload("unknown key", func(m map[int]any) { m[14] = 1 })
	payload("zero previous", func(m map[int]any) { m[4] = make([]byte, 32) })
	payload("no parts", func(m map[int]any) { delete(m, 7) })
	payload("a part that moves in an issue", func(m map[int]any) { m[8] = "main" })
	payload("handle of 31 bytes", func(m map[int]any) { m[3] = []byte(good.Handle[:31]) })
	payload("actor that is no code", func(m map[int]any) { m[6] = "hospital" })
	payload("time in milliseconds", func(m map[int]any) { m[5] = good.Time / 1000 })
	payload("unknown custody", func(m map[int]any) { m[7] = []any{[]any{"main", bytes.Repeat([]byte{1}, 32), "police"}} })
	payload("one commitment for two parts", func(m map[int]any) {
		m[7] = []any{[]any{"main", bytes.Repeat([]byte{1}, 32), "family"}, []any{"counterfoil", bytes.Repeat([]byte{1}, 32), "issuer"}}
	})
	payload("free words as reason", func(m map[int]any) {
		delete(m, 7)
		m[2], m[4], m[10] = "revoked", bytes.Repeat([]byte{1}, 32), "somebody was careless"
	})
	writeJSON(t, "event/forms.json", v)
}

func writeCustody(t *testing.T, w *ledgertest.World) {
	v := custodyVectors{About: "Events in the order in which an empty ledger gets them, each with the rule that refuses it, empty for those that are accepted; and the checkpoint body of the log of the accepted ones. All binary values are hex."}
	state := contract.MapState{}
	var accepted [][]byte
	var latest int64
	step := func(name string, event []byte) {
		verdicts, writes, err := contract.Judge(t.Context(), state, [][]byte{event})
		if err != nil {
			t.Fatal(err)
		}
		s := custodyStep{Name: name, Event: event}
		if r := verdicts[0].Refusal; r != nil {
			s.Rule = r.Rule
		} else {
			state.Apply(writes)
			accepted = append(accepted, event)
			latest = max(latest, verdicts[0].Event.Event.Time)
		}
		v.Steps = append(v.Steps, s)
	}
	enrolment := func(o ledgertest.Organisation) *contract.Enrolment {
		return &contract.Enrolment{Code: o.Code, Kind: o.Kind, Certificate: o.Certificate.Raw()}
	}
	withdrawn := func(by, o ledgertest.Organisation) []byte {
		return w.Sign(by, contract.Event{Kind: contract.Withdrawn, Reason: "key-compromise", Enrolment: enrolment(o)})
	}
	second := w.Hospital
	second.Events = ledgertest.NewKey("second key", purpose.Events)
	second.Certificate = w.Certify(second.Code, second.Events, purpose.Events, 50)
	stranger := w.Hospital
	stranger.Events = ledgertest.NewKey("stranger", purpose.Events)
	stranger.Certificate = w.Certify(stranger.Code, stranger.Events, purpose.Events, 51)
	to := func(o ledgertest.Organisation) contract.Event {
		return contract.Event{Kind: contract.HandedOver, Part: "counterfoil", Counterparty: o.Code}
	}
	accept := contract.Event{Kind: contract.Accepted, Part: "counterfoil"}
	register := contract.Event{Kind: contract.Registered}
	revoke := contract.Event{Kind: contract.Revoked, Reason: "wrongly-issued"}

	step("a licence before anybody is enrolled", w.Issue(w.Hospital).Last())
	for i, e := range w.Founding() {
		step("enrol "+string(w.Organisations()[i].Kind), e)
	}
	step("enrolled by a hospital", w.Sign(w.Hospital, contract.Event{Kind: contract.Enrolled, Enrolment: enrolment(second)}))
	step("enrolled twice", w.Enrol(w.Police))
	step("enrolled as another kind", w.Sign(w.Registrar, contract.Event{Kind: contract.Enrolled, Enrolment: &contract.Enrolment{Code: second.Code, Kind: contract.Police, Certificate: second.Certificate.Raw()}}))
	step("enrolled with another's certificate", w.Sign(w.Registrar, contract.Event{Kind: contract.Enrolled, Enrolment: &contract.Enrolment{Code: w.Police.Code, Kind: contract.Police, Certificate: second.Certificate.Raw()}}))
	step("a second certificate of the hospital", w.Enrol(second))
	step("the registrar withdraws the certificate it signs with", withdrawn(w.Registrar, w.Registrar))
	step("withdrawn, never enrolled", withdrawn(w.Registrar, stranger))
	step("the second certificate is withdrawn", withdrawn(w.Registrar, second))
	step("signed with a withdrawn certificate", w.Issue(second).Last())
	step("signed with a certificate that was never enrolled", w.Issue(stranger).Last())
	h := w.Handle()
	other, err := contract.Encode(contract.Event{Version: 1, Kind: contract.Issued, Handle: h, Time: w.Now().UnixMicro(), Actor: w.Hospital.Code, Parts: ledgertest.Parts(h)})
	if err != nil {
		t.Fatal(err)
	}
	step("signed with another hospital's certificate", w.SignPayload(w.OtherHospital, other))
	late, err := contract.Encode(contract.Event{Version: 1, Kind: contract.Issued, Handle: h, Time: contract.MaxTime, Actor: w.Hospital.Code, Parts: ledgertest.Parts(h)})
	if err != nil {
		t.Fatal(err)
	}
	step("after the certificate's end", w.SignPayload(w.Hospital, late))
	forged := w.SignPayload(w.Hospital, other)
	forged[len(forged)-1] ^= 1
	step("with a changed signature", forged)
	step("the police issue", w.Issue(w.Police).Last())

	l := w.Issue(w.Hospital)
	step("issued", l.Last())
	step("issued again", w.Sign(w.Agency, contract.Event{Kind: contract.Issued, Handle: l.Handle, Parts: ledgertest.Parts(l.Handle)}))
	step("registered, never issued", w.Issue(w.Hospital).Make(w.Police, register))
	step("accepted before hand-over", l.Make(w.Archive, accept))
	step("an unknown part", l.Make(w.Hospital, contract.Event{Kind: contract.HandedOver, Part: "cover", Counterparty: w.Archive.Code}))
	step("the family's part handed over", l.Make(w.Hospital, contract.Event{Kind: contract.HandedOver, Part: "main", Counterparty: w.Archive.Code}))
	step("handed over by who does not hold it", l.Make(w.OtherHospital, to(w.Archive)))
	step("handed over to itself", l.Make(w.Hospital, to(w.Hospital)))
	step("handed over to a stranger", l.Make(w.Hospital, contract.Event{Kind: contract.HandedOver, Part: "counterfoil", Counterparty: "000000000000000000"}))
	step("handed over to the police", l.Make(w.Hospital, to(w.Police)))
	stale := l.Make(w.Hospital, to(w.OtherArchive))
	step("handed over", l.HandOver(w.Hospital, w.Archive))
	step("handed over beside that", stale)
	step("handed over after that", l.Make(w.Hospital, to(w.OtherArchive)))
	step("accepted by another archive", l.Make(w.OtherArchive, accept))
	step("accepted by the police", l.Make(w.Police, accept))
	early := accept
	early.Time = w.Hospital.Certificate.NotBefore().UnixMicro()
	step("accepted before its hand-over, says the time", l.Make(w.Archive, early))
	step("rejected", l.Reject(w.Archive))
	step("handed over again", l.HandOver(w.Hospital, w.OtherArchive))
	step("accepted", l.Accept(w.OtherArchive))
	step("accepted twice", l.Make(w.OtherArchive, accept))
	step("registered by a hospital", l.Make(w.Hospital, register))
	step("registered", l.Register(w.Police))
	step("registered twice", l.Make(w.Police, register))

	next := w.Issue(w.Hospital)
	supersede := func(by [32]byte) contract.Event {
		return contract.Event{Kind: contract.Superseded, Reason: "exchange", Successor: by}
	}
	step("superseded by one that is not issued", l.Make(w.Hospital, supersede(next.Handle)))
	step("the successor is issued", next.Last())
	step("superseded by itself", l.Make(w.Hospital, supersede(l.Handle)))
	step("superseded by another hospital", l.Make(w.OtherHospital, supersede(next.Handle)))
	step("superseded by the agency with the hospital's licence", l.Make(w.Agency, supersede(next.Handle)))
	step("superseded", l.SupersededBy(w.Hospital, next))
	step("revoked after it was superseded", l.Make(w.Hospital, revoke))
	step("the child registered again from the successor", next.Make(w.Police, register))
	third := w.Issue(w.Hospital)
	step("a third licence", third.Last())
	step("superseded by one that is taken", third.Make(w.Hospital, supersede(next.Handle)))
	step("superseded by one that was superseded", third.Make(w.Hospital, supersede(l.Handle)))
	step("revoked by the police", third.Make(w.Police, revoke))
	step("revoked by the commission", third.Revoke(w.Registrar))
	step("handed over after its revocation", third.Make(w.Hospital, to(w.Archive)))
	step("the superseded licence's counterfoil goes on", l.HandOver(w.OtherArchive, w.Archive))

	root := treeRoot(t, accepted)
	body, err := ledger.Checkpoint{Origin: vectorOrigin, Size: uint64(len(accepted)), Root: root, Time: latest}.Body()
	if err != nil {
		t.Fatal(err)
	}
	v.Checkpoint = string(body)
	writeJSON(t, "event/custody.json", v)
}

func writeReceipts(t *testing.T) {
	l := newLog(t)
	trust := l.Trust()
	about := "Binary values outside the texts are hex. "
	v := receiptVectors{Needed: trust.Needed, About: about + "Receipts, to be checked with the logs, cosigners, number needed and actors' certificates of this file. Results: good; malformed: not in the one canonical form; unknown: another log or an actor that is not trusted; unproven: the path does not lead from the event to the root; signature: the event's or the log's is wrong; cosignatures: too few that count."}
	for _, p := range trust.Logs {
		v.Logs = append(v.Logs, party{p.Name, p.Certificate.Raw()})
	}
	for _, p := range trust.Cosigners {
		v.Cosigners = append(v.Cosigners, party{p.Name, p.Certificate.Raw()})
	}
	for _, o := range l.Organisations() {
		if o.Code != l.Agency.Code { // nobody trusts the agency here
			v.Actors = append(v.Actors, o.Certificate.Raw())
		}
	}
	check := v.trust(t)
	add := func(name, text string) {
		e, err := checkReceiptText(text, check)
		x := textVectors{Name: name, Result: result(err), Text: text}
		if err == nil {
			x.CosignedAt = e.CosignedAt.Unix()
		}
		v.Vectors = append(v.Vectors, x)
	}
	text := func(index uint64, change func(r *ledger.Receipt)) string {
		r := l.receipt(t, index)
		if change != nil {
			change(r)
		}
		b, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	add("issued", text(issuedIndex, nil))
	add("the first entry", text(0, nil))
	add("of an actor that is not trusted", text(issuedIndex+3, nil))
	add("of an event whose actor is one of the two cosigners", text(issuedIndex+2, nil))
	add("another event", text(issuedIndex, func(r *ledger.Receipt) { r.Event = l.licence.Events[1] }))
	add("another index", text(issuedIndex, func(r *ledger.Receipt) { r.Index = 8 }))
	add("a changed path", text(issuedIndex, func(r *ledger.Receipt) { r.Path[0][0] ^= 1 }))
	add("a path too long", text(issuedIndex, func(r *ledger.Receipt) { r.Path = append(r.Path, r.Path[0]) }))
	add("the event's signature changed", text(issuedIndex, func(r *ledger.Receipt) { r.Event[len(r.Event)-1] ^= 1 }))
	add("the log's signature changed", text(issuedIndex, func(r *ledger.Receipt) { r.Note.Lines[0].Value[5] ^= 1 }))
	add("without the log's signature", text(issuedIndex, func(r *ledger.Receipt) { r.Note.Lines = r.Note.Lines[1:] }))
	add("one cosignature changed", text(issuedIndex, func(r *ledger.Receipt) { r.Note.Lines[2].Value[30] ^= 1 }))
	add("one cosignature's time changed", text(issuedIndex, func(r *ledger.Receipt) { r.Note.Lines[2].Value[7] ^= 1 }))
	add("one cosignature only", text(issuedIndex, func(r *ledger.Receipt) { r.Note.Lines = r.Note.Lines[:2] }))
	good := text(issuedIndex, nil)
	add("line ends of another system", strings.ReplaceAll(good, "\n", "\r\n"))
	add("index with a leading zero", strings.Replace(good, "index ", "index 0", 1))
	add("without its last newline", strings.TrimSuffix(good, "\n"))
	add("an empty line more", good+"\n")
	add("another version", strings.Replace(good, "receipt/1", "receipt/2", 1))
	add("base64 without padding", strings.Replace(good, "=\n", "\n", 1))
	writeJSON(t, "receipt/receipts.json", v)

	v.About = about + "Signed checkpoints, to be checked with the log and the cosigners of this file. Results: good: the log and all cosigners have signed; malformed; signature: the log's is wrong; cosignatures: one is wrong or missing."
	v.Vectors, v.Actors, v.Needed = nil, nil, 0
	addNote := func(name, text string) {
		v.Vectors = append(v.Vectors, textVectors{Name: name, Result: result(checkNoteText(text, check)), Text: text})
	}
	note := func(change func(n *ledger.Note)) string {
		n := l.receipt(t, 0).Note
		change(n)
		return string(n.Encode())
	}
	signed := note(func(*ledger.Note) {})
	addNote("signed and cosigned", signed)
	addNote("with a line of an unknown key", note(func(n *ledger.Note) {
		n.Lines = append(n.Lines, ledger.Line{Name: "unknown", KeyID: 1, Value: make([]byte, 64)})
	}))
	addNote("another size", strings.Replace(signed, "\n15\n", "\n16\n", 1))
	addNote("another time", strings.Replace(signed, "\ntime 1", "\ntime 2", 1))
	addNote("another origin", strings.Replace(signed, "example.org", "example.com", 1))
	addNote("the log's line changed", note(func(n *ledger.Note) { n.Lines[0].Value[63] ^= 1 }))
	addNote("a cosigner's line changed", note(func(n *ledger.Note) { n.Lines[1].Value[71] ^= 1 }))
	addNote("a cosigner's line under the other's name", note(func(n *ledger.Note) { n.Lines[1].Name, n.Lines[2].Name = n.Lines[2].Name, n.Lines[1].Name }))
	addNote("a cosigner's line missing", note(func(n *ledger.Note) { n.Lines = n.Lines[:2] }))
	addNote("size 0", strings.Replace(signed, "\n15\n", "\n0\n", 1))
	addNote("size with a leading zero", strings.Replace(signed, "\n15\n", "\n015\n", 1))
	addNote("no time line", strings.Replace(signed, "\ntime ", "\ndate ", 1))
	addNote("a hyphen for the dash", strings.Replace(signed, "\u2014", "-", 1))
	addNote("a line twice", signed+strings.SplitAfter(signed, "\n")[5])
	addNote("no signature", strings.SplitAfter(signed, "\n\n")[0])
	writeJSON(t, "checkpoint/checkpoints.json", v)
}

func treeRoot(t *testing.T, leaves [][]byte) [32]byte {
	t.Helper()
	edge := (&compact.RangeFactory{Hash: ledger.Hasher{}.HashChildren}).NewEmptyRange(0)
	for _, l := range leaves {
		h := ledger.LeafHash(l)
		if err := edge.Append(h[:], nil); err != nil {
			t.Fatal(err)
		}
	}
	root, err := edge.GetRootHash(nil)
	if err != nil {
		t.Fatal(err)
	}
	return [32]byte(root)
}
