package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/ledger/contract"
)

// refuser is a ledger that refuses every end and takes everything else.
type refuser struct{ *log }

func (r refuser) Submit(ctx context.Context, events [][]byte) ([]issuing.Answer, error) {
	var answers []issuing.Answer
	for _, b := range events {
		signed, err := contract.ParseEvent(b)
		if err != nil {
			return nil, err
		}
		if k := signed.Event.Kind; k == contract.Superseded || k == contract.Revoked {
			answers = append(answers, issuing.Answer{Hash: contract.Hash(b), Refusal: contract.RuleStale})
			continue
		}
		one, err := r.log.Submit(ctx, [][]byte{b})
		if err != nil {
			return nil, err
		}
		answers = append(answers, one...)
	}
	return answers, nil
}

// Two ends are refused by a faulty ledger. Nothing of it is silent: the licences are in force again in every list, status
// names both with what to do, and doing it puts the books in order.
func TestRefusedEndsAreNamed(t *testing.T) {
	t.Parallel()
	data, s := copyOf(t, issued), demonstrationScheme()
	hospital, head := s.hospitals[0].Code, s.commission.Code+"/supervisor-1"
	// The exchange is made while the ledger is away: the key that signs its checkpoints does nothing.
	keystore := filepath.Join(data, "keystores", s.commission.Code+".keystore")
	kept, err := os.ReadFile(keystore)
	if err != nil {
		t.Fatal(err)
	}
	must(t, data, "key", "disable", s.commission.Code, "checkpoints-1")
	says(t, "replace", call(t.Context(), data, systemClock, "replace", "X000000001", "--as", hospital+"/clerk-1", "--approver", "seal-1",
		"--grounds", "lost", "--business", "R-1"), exitYes, "lags behind", "X000000013")
	if err := os.WriteFile(keystore, kept, 0o600); err != nil {
		t.Fatal(err)
	}
	says(t, "list", call(t.Context(), data, systemClock, "list", "--status", "superseded"), exitYes, "X000000001")
	faulty, err := appAt(data, systemClock, io.Discard, io.Discard).openForWriting(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	err = faulty.ledger.open(t.Context())
	if err == nil {
		_, err = faulty.service.Take(t.Context(), issuing.Move{Kind: contract.Revoked, Number: "X000000002", Actor: s.commission.Code, Reason: "duplicate"}, faulty.who(t.Context(), "revoke"))
	}
	if err == nil {
		_, _, err = faulty.service.Anchor(t.Context(), refuser{faulty.ledger}, sequenceBatch, nil)
	}
	faulty.close()
	if err != nil {
		t.Fatal(err)
	}
	c := call(t.Context(), data, systemClock, "list", "--status", "in-force")
	says(t, "list", c, exitYes, "X000000001", "X000000002", "X000000013")
	says(t, "status", call(t.Context(), data, systemClock, "ledger", "status"), exitYes, "refused by the ledger: 2",
		"it and its successor X000000013 are both in force", "revoke it again", "不是该证照的最近事件")
	var status struct {
		Refused []struct {
			Number, Step, Rule, Status, Successor string
			Problem                               *struct{ ZH, EN string }
		}
	}
	open := func() (n int) {
		t.Helper()
		status.Refused = nil // decoding leaves what is not in the answer
		if err := decode(must(t, data, "ledger", "status", "--json"), &status); err != nil {
			t.Fatal(err)
		}
		for _, r := range status.Refused {
			if r.Problem != nil {
				n++
			}
		}
		return n
	}
	if n := open(); n != 2 || len(status.Refused) != 2 || status.Refused[1].Successor != "X000000013" || status.Refused[1].Rule != contract.RuleStale {
		t.Errorf("%d problems: %+v", n, status)
	}
	// The licence's history has the step, and that it has not happened.
	says(t, "history", call(t.Context(), data, systemClock, "ledger", "history", "X000000001"), exitYes, "由新证代替 superseded", "未发生 refused, has not happened", "不是该证照的最近事件")
	// A second successor is refused, the same request stands; what status says is done, and no problem is left.
	says(t, "replace again", call(t.Context(), data, systemClock, "replace", "X000000001", "--as", hospital+"/clerk-1", "--approver", "seal-1",
		"--grounds", "lost", "--business", "R-2"), exitBatch, "X000000013", "a licence is replaced once")
	says(t, "the same", call(t.Context(), data, systemClock, "replace", "X000000001", "--as", hospital+"/clerk-1", "--approver", "seal-1",
		"--grounds", "lost", "--business", "R-1"), exitYes, "X000000013")
	must(t, data, "revoke", "X000000001", "X000000002", "--as", head, "--reason", "duplicate")
	if n := open(); n != 0 || len(status.Refused) != 2 {
		t.Errorf("afterwards %d problems: %+v", n, status)
	}
	must(t, data, "ledger", "audit")
	must(t, data, "number", "reconcile", "--issuer", hospital)
}
