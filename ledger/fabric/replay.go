package fabric

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/ledger/fabric/transaction"
)

// Rules by which a chain can part from the contract.
const (
	RuleThrough = "written-through" // another chaincode writes the ledger's state
	RuleForeign = "state-of-events" // a function that takes no events writes the contract's state
	RuleAnswer  = "bad-answer"      // the endorsed answer is none
	RuleVerdict = "other-verdict"   // the endorsed answer is not the contract's
	RuleState   = "other-state"     // the endorsed writes are not the contract's
)

// Divergence is where a chain and the contract part. It is an ErrDiverged.
type Divergence struct {
	Block       uint64
	Transaction string
	Position    int
	Event       int      // in the transaction, -1 if it is not about one event
	Hash        [32]byte // of that event
	Key         string   // of the state, for RuleForeign and RuleState
	Rule        string
	Says        string // what the chain says
	Contract    string // what the contract says
	Err         error  // may be nil
}

func (d *Divergence) Error() string {
	at := fmt.Sprintf("%v: block %d, transaction %s", ErrDiverged, d.Block, d.Transaction)
	switch d.Rule {
	case RuleThrough:
		return fmt.Sprintf("%s: the chaincode %s writes the ledger's state", at, d.Says)
	case RuleForeign:
		return fmt.Sprintf("%s: the function %s writes state of events at %q", at, d.Says, d.Key)
	case RuleVerdict:
		return fmt.Sprintf("%s, event %d (%x): the peers say %q, the contract %q", at, d.Event, d.Hash[:8], d.Says, d.Contract)
	case RuleState:
		return fmt.Sprintf("%s: the peers write other state than the contract at %q", at, d.Key)
	default:
		return fmt.Sprintf("%s: %v", at, d.Err)
	}
}

// Unwrap is for errors.Is.
func (d *Divergence) Unwrap() []error { return []error{ErrDiverged, d.Err} }

// Sender says how the sender of a transaction bears on its events: as the chaincode judged it. nil for a transaction whose
// sender may send nothing at all.
type Sender func(t Transaction) contract.Admit

// Replay judges a block's transactions one after the other, each on what the ones before it have left, and holds what the
// peers endorsed and wrote against it. It returns the accepted events in order and all that they change in the state s. It
// changes nothing itself and depends on its arguments alone: followers and auditors run it. sender may be nil: then what the
// peers endorsed about senders is believed. A *Divergence if chain and contract part.
func Replay(ctx context.Context, court *contract.Court, s contract.State, b Block, sender Sender) (accepted []*contract.Signed, writes map[string][]byte, err error) {
	all := map[string][]byte{}
	for _, t := range b.Transactions {
		if err := untouched(b, t); err != nil {
			return nil, nil, err
		}
		if t.Function != transaction.Submit {
			continue
		}
		verdicts, ours, err := replayOne(ctx, court, contract.Over(s, all), b, t, sender)
		if err != nil {
			return nil, nil, err
		}
		for k, v := range ours {
			all[k] = v
		}
		for _, v := range verdicts {
			if v.Refusal == nil {
				accepted = append(accepted, v.Event)
			}
		}
	}
	return accepted, all, nil
}

func replayOne(ctx context.Context, court *contract.Court, s contract.State, b Block, t Transaction, sender Sender) ([]contract.Verdict, map[string][]byte, error) {
	at := divergence(b, t)
	answer, err := endorsedAnswer(b, t)
	if err != nil {
		return nil, nil, err
	}
	admit := believed(answer, t)
	if sender != nil {
		if admit = sender(t); admit == nil {
			at.Rule, at.Err = RuleAnswer, fmt.Errorf("its sender may send nothing")
			return nil, nil, &at
		}
	}
	verdicts, writes, err := court.JudgeAdmitted(ctx, s, t.Args, admit)
	if err != nil {
		return nil, nil, err
	}
	for i, rule := range transaction.AnswerOf(verdicts) {
		if rule != answer[i] {
			at.Rule, at.Event, at.Hash, at.Says, at.Contract = RuleVerdict, i, verdicts[i].Hash, verdict(answer[i]), verdict(rule)
			return nil, nil, &at
		}
	}
	if key, same := sameWrites(writes, t.Writes); !same {
		at.Rule, at.Key = RuleState, key
		return nil, nil, &at
	}
	return verdicts, writes, nil
}

func divergence(b Block, t Transaction) Divergence {
	return Divergence{Block: b.Number, Transaction: t.ID, Position: t.Position, Event: -1}
}

// endorsedAnswer is what the peers endorsed.
func endorsedAnswer(b Block, t Transaction) (transaction.Answer, error) {
	answer, err := transaction.ParseAnswer(t.Answer, len(t.Args))
	if err != nil {
		at := divergence(b, t)
		at.Rule, at.Err = RuleAnswer, err
		return nil, &at
	}
	return answer, nil
}

// untouched makes sure that what is not of the function Submit leaves the contract's state alone.
func untouched(b Block, t Transaction) error {
	at := divergence(b, t)
	if t.Through != "" {
		at.Rule, at.Says = RuleThrough, t.Through
		return &at
	}
	if t.Function == transaction.Submit {
		return nil
	}
	for _, k := range sortedKeys(t.Writes) {
		if !strings.HasPrefix(k, transaction.OwnKeys) {
			at.Rule, at.Key, at.Says = RuleForeign, k, t.Function
			return &at
		}
	}
	return nil
}

func verdict(rule string) string {
	if rule == "" {
		return "accepted"
	}
	return rule
}

// believed takes the peers' word for the events that they did not take from their sender. Who that was a Block does not say.
// An event that is left out so is not lost, because its own sender may send it.
func believed(a transaction.Answer, t Transaction) contract.Admit {
	byAnother := map[[32]byte]bool{}
	for i, rule := range a {
		if rule == contract.RuleSentByAnother {
			byAnother[contract.Hash(t.Args[i])] = true
		}
	}
	return func(s *contract.Signed, _ contract.OrganisationKind) *contract.Refusal {
		if byAnother[s.Hash] {
			return contract.SentByAnother()
		}
		return contract.TooFarAhead(s, t.Time)
	}
}

func sameWrites(ours, theirs map[string][]byte) (key string, same bool) {
	for _, k := range sortedKeys(theirs) {
		if v, ok := ours[k]; !ok || theirs[k] == nil || !bytes.Equal(v, theirs[k]) {
			return k, false
		}
	}
	for _, k := range sortedKeys(ours) {
		if _, ok := theirs[k]; !ok {
			return k, false
		}
	}
	return "", true
}
