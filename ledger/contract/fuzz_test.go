package contract_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"testing"

	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/signer/cose"
)

// seeds are the events of the committed vectors, accepted and refused.
func seeds(tb testing.TB) [][]byte {
	tb.Helper()
	var all [][]byte
	for _, file := range []string{"forms.json", "custody.json"} {
		b, err := os.ReadFile("../../testdata/vectors/event/" + file)
		if err != nil {
			tb.Fatal(err)
		}
		var v struct{ Accepted, Refused, Steps []struct{ Event string } }
		if err := json.Unmarshal(b, &v); err != nil {
			tb.Fatal(err)
		}
		for _, list := range [][]struct{ Event string }{v.Accepted, v.Refused, v.Steps} {
			for _, x := range list {
				e, err := hex.DecodeString(x.Event)
				if err != nil {
					tb.Fatal(err)
				}
				all = append(all, e)
			}
		}
	}
	return all
}

func TestFuzzSeedsExist(t *testing.T) {
	good := 0
	all := seeds(t)
	for _, b := range all {
		if _, err := contract.ParseEvent(b); err == nil {
			good++
		}
	}
	if good < 40 || len(all)-good < 15 {
		t.Errorf("%d seeds parse, %d do not", good, len(all)-good)
	}
}

// FuzzEvent: what parses as a signed event encodes to the same bytes again; what does not is refused by a rule. Judging
// any bytes neither panics nor accepts what nobody signed.
func FuzzEvent(f *testing.F) {
	for _, b := range seeds(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := contract.ParseEvent(b)
		if err != nil {
			var r *contract.Refusal
			if !errors.As(err, &r) || r.ZH == "" || r.EN == "" {
				t.Fatalf("refused without a rule: %v", err)
			}
			return
		}
		m, err := cose.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		payload, err := contract.Encode(s.Event)
		if err != nil {
			t.Fatal(err)
		}
		again, err := cose.Assemble(m.Protected, payload, m.Signature)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("encodes to other bytes: %v", err)
		}
		verdicts, _, err := contract.Judge(t.Context(), contract.MapState{}, [][]byte{b})
		if err != nil {
			t.Fatal(err)
		}
		// On an empty ledger only a self-signed founding can stand, and the fuzzer has none of our keys: whoever gets one
		// through has made a certificate of his own, which is nobody's in a trust file.
		if r := verdicts[0].Refusal; r == nil && s.Event.Kind != contract.Enrolled {
			t.Fatalf("accepted: %+v", s.Event)
		}
	})
}

// FuzzPayload: the same for the part that is signed.
func FuzzPayload(f *testing.F) {
	for _, b := range seeds(f) {
		if m, err := cose.Parse(b); err == nil {
			f.Add(m.Payload)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := contract.Parse(b)
		if err != nil {
			return
		}
		again, err := contract.Encode(e)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("encodes to other bytes: %v", err)
		}
	})
}

// FuzzReplay: no sequence of events makes a replay panic, and a view judges what follows without one.
func FuzzReplay(f *testing.F) {
	all := seeds(f)
	f.Add(all[1], all[2])
	f.Add(all[1], all[1])
	f.Add(all[2], all[3])
	f.Fuzz(func(t *testing.T, a, b []byte) {
		view, err := contract.Replay([][]byte{a, b})
		if err != nil && !errors.Is(err, contract.ErrHistory) {
			t.Fatal(err)
		}
		if s, err := contract.ParseEvent(b); err == nil {
			view.Judge(s.Event, contract.Archive)
		}
	})
}
