package ledger_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/elicence/elicence/ledger"
	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/signer/cose"
	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
	"github.com/transparency-dev/merkle/compact"
)

const vectorDir = "../testdata/vectors"

type hexBytes []byte

func (h hexBytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }

func (h *hexBytes) UnmarshalText(b []byte) (err error) {
	*h, err = hex.DecodeString(string(b))
	return err
}

// eventVectors is testdata/vectors/event/forms.json.
type eventVectors struct {
	About    string          `json:"about"`
	Accepted []acceptedEvent `json:"accepted"`
	Refused  []refusedEvent  `json:"refused"`
}

type acceptedEvent struct {
	Name        string   `json:"name"`
	Kind        string   `json:"kind"`
	Actor       string   `json:"actor"`
	Handle      hexBytes `json:"handle,omitempty"`
	Previous    hexBytes `json:"previous,omitempty"`
	Time        int64    `json:"timeMicroseconds"`
	Payload     hexBytes `json:"payload"`
	ToBeSigned  hexBytes `json:"toBeSigned"`
	Certificate hexBytes `json:"certificate"`
	Event       hexBytes `json:"event"`
	Hash        hexBytes `json:"hash"`
	Leaf        hexBytes `json:"leaf"`
}

type refusedEvent struct {
	Name  string   `json:"name"`
	Rule  string   `json:"rule"`
	Event hexBytes `json:"event"`
}

// custodyVectors is testdata/vectors/event/custody.json: events in the order in which an empty ledger gets them.
type custodyVectors struct {
	About      string        `json:"about"`
	Steps      []custodyStep `json:"steps"`
	Checkpoint string        `json:"checkpoint"`
}

type custodyStep struct {
	Name  string   `json:"name"`
	Rule  string   `json:"rule"` // "" for accepted
	Event hexBytes `json:"event"`
}

type party struct {
	Name        string   `json:"name"`
	Certificate hexBytes `json:"certificate"`
}

// receiptVectors is testdata/vectors/receipt/receipts.json and, with notes, testdata/vectors/checkpoint/checkpoints.json.
type receiptVectors struct {
	About     string        `json:"about"`
	Logs      []party       `json:"logs"`
	Cosigners []party       `json:"cosigners"`
	Needed    int           `json:"needed"`
	Actors    []hexBytes    `json:"actors,omitempty"`
	Vectors   []textVectors `json:"vectors"`
}

type textVectors struct {
	Name       string `json:"name"`
	Result     string `json:"result"`
	CosignedAt int64  `json:"cosignedAtSeconds,omitempty"`
	Text       string `json:"text"`
}

func readJSON(t testing.TB, path string, v any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(vectorDir, path))
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// TestEventVectors reads each accepted event field by field and finds each refused one's rule.
func TestEventVectors(t *testing.T) {
	var v eventVectors
	readJSON(t, "event/forms.json", &v)
	if len(v.Accepted) < len(contract.Kinds()) || len(v.Refused) < 15 {
		t.Fatalf("%d and %d vectors", len(v.Accepted), len(v.Refused))
	}
	for _, a := range v.Accepted {
		s, err := contract.ParseEvent(a.Event)
		if err != nil {
			t.Errorf("%s: %v", a.Name, err)
			continue
		}
		cert, err := pki.ParseCertificate(a.Certificate)
		if err != nil {
			t.Fatalf("%s: %v", a.Name, err)
		}
		if err := s.Verify(cert); err != nil {
			t.Errorf("%s: %v", a.Name, err)
		}
		m, err := cose.Parse(a.Event)
		if err != nil {
			t.Fatal(err)
		}
		payload, err := contract.Encode(s.Event)
		leaf := ledger.LeafHash(a.Event)
		if err != nil || !bytes.Equal(payload, a.Payload) || !bytes.Equal(m.ToBeSigned(purpose.AADEvent), a.ToBeSigned) ||
			!bytes.Equal(s.Hash[:], a.Hash) || !bytes.Equal(leaf[:], a.Leaf) || string(s.Event.Kind) != a.Kind || s.Event.Actor != a.Actor ||
			s.Event.Time != a.Time || cert.OrganisationCode() != a.Actor {
			t.Errorf("%s: read otherwise", a.Name)
		}
	}
	for _, x := range v.Refused {
		_, err := contract.ParseEvent(x.Event)
		var r *contract.Refusal
		if !errors.As(err, &r) || r.Rule != x.Rule {
			t.Errorf("%s: %v, want %s", x.Name, err, x.Rule)
		}
	}
}

// TestCustodyVectors is what a second implementation of the contract must do, event by event, and the tree it must get.
func TestCustodyVectors(t *testing.T) {
	var v custodyVectors
	readJSON(t, "event/custody.json", &v)
	state := contract.MapState{}
	edge := (&compact.RangeFactory{Hash: ledger.Hasher{}.HashChildren}).NewEmptyRange(0)
	var latest int64
	rules := map[string]bool{}
	for _, step := range v.Steps {
		verdicts, writes, err := contract.Judge(t.Context(), state, [][]byte{step.Event})
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if r := verdicts[0].Refusal; r != nil {
			got = r.Rule
		}
		if got != step.Rule {
			t.Errorf("%s: rule %q, want %q", step.Name, got, step.Rule)
		}
		rules[step.Rule] = true
		if got != "" {
			continue
		}
		state.Apply(writes)
		leaf := ledger.LeafHash(step.Event)
		if err := edge.Append(leaf[:], nil); err != nil {
			t.Fatal(err)
		}
		latest = max(latest, verdicts[0].Event.Event.Time)
	}
	root, err := edge.GetRootHash(nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := ledger.Checkpoint{Origin: vectorOrigin, Size: edge.End(), Root: [32]byte(root), Time: latest}.Body()
	if err != nil || string(body) != v.Checkpoint {
		t.Errorf("checkpoint %q, want %q, %v", body, v.Checkpoint, err)
	}
	// Rules of form are in forms.json; of the others only what needs 64 certificates, or who sent an event and
	// when, is left to the unit tests.
	for _, r := range contract.Rules() {
		if formRules[r.Rule] || r.Rule == contract.RuleTooManyCertificates || r.Rule == contract.RuleSentByAnother || r.Rule == contract.RuleTimeAhead {
			continue
		}
		if !rules[r.Rule] {
			t.Errorf("no vector for %s", r.Rule)
		}
	}
}

const vectorOrigin = "example.org/elicence/ledgertest"

var formRules = map[string]bool{
	contract.RuleMalformed: true, contract.RuleTooLarge: true, contract.RuleVersion: true, contract.RuleKind: true, contract.RuleFields: true,
	contract.RuleTimeRange: true, contract.RuleReason: true, contract.RuleCustody: true, contract.RuleParts: true, contract.RuleOrganisationKind: true,
}

func parties(t testing.TB, ps []party) []ledger.Party {
	t.Helper()
	var out []ledger.Party
	for _, p := range ps {
		c, err := pki.ParseCertificate(p.Certificate)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, ledger.Party{Name: p.Name, Certificate: c})
	}
	return out
}

func (v *receiptVectors) trust(t testing.TB) ledger.Trust {
	t.Helper()
	actors := map[[32]byte]*pki.Certificate{}
	for _, der := range v.Actors {
		c, err := pki.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		actors[c.SM3()] = c
	}
	return ledger.Trust{Logs: parties(t, v.Logs), Cosigners: parties(t, v.Cosigners), Needed: v.Needed,
		Actor: func(sm3 [32]byte) *pki.Certificate { return actors[sm3] }}
}

// results are the words of the vectors for what a check can say.
func result(err error) string {
	for _, x := range []struct {
		err  error
		word string
	}{
		{ledger.ErrReceipt, "malformed"}, {ledger.ErrNote, "malformed"}, {ledger.ErrUnknownLog, "unknown"}, {ledger.ErrSignature, "signature"},
		{ledger.ErrCosignatures, "cosignatures"}, {ledger.ErrUnproven, "unproven"},
	} {
		if errors.Is(err, x.err) {
			return x.word
		}
	}
	if err != nil {
		return err.Error()
	}
	return "good"
}

func checkReceiptText(text string, trust ledger.Trust) (*ledger.Evidence, error) {
	r, err := ledger.ParseReceipt([]byte(text))
	if err != nil {
		return nil, err
	}
	return r.Check(trust)
}

func checkNoteText(text string, trust ledger.Trust) error {
	n, err := ledger.ParseNote([]byte(text))
	if err != nil {
		return err
	}
	if err := n.VerifyLog(trust.Logs[0].Certificate); err != nil {
		return err
	}
	for _, c := range trust.Cosigners {
		if _, err := n.VerifyCosignature(c.Name, c.Certificate); err != nil {
			return ledger.ErrCosignatures
		}
	}
	return nil
}

func TestReceiptVectors(t *testing.T) {
	var v receiptVectors
	readJSON(t, "receipt/receipts.json", &v)
	trust, seen := v.trust(t), map[string]int{}
	for _, x := range v.Vectors {
		e, err := checkReceiptText(x.Text, trust)
		if got := result(err); got != x.Result {
			t.Errorf("%s: %s, want %s", x.Name, got, x.Result)
		}
		if err == nil && e.CosignedAt.Unix() != x.CosignedAt {
			t.Errorf("%s: proven at %d, want %d", x.Name, e.CosignedAt.Unix(), x.CosignedAt)
		}
		seen[x.Result]++
	}
	if len(seen) != 6 {
		t.Errorf("results %v", seen)
	}
}

func TestCheckpointVectors(t *testing.T) {
	var v receiptVectors
	readJSON(t, "checkpoint/checkpoints.json", &v)
	trust, seen := v.trust(t), map[string]int{}
	for _, x := range v.Vectors {
		if got := result(checkNoteText(x.Text, trust)); got != x.Result {
			t.Errorf("%s: %s, want %s", x.Name, got, x.Result)
		}
		seen[x.Result]++
	}
	if len(seen) != 4 {
		t.Errorf("results %v", seen)
	}
}
