package issuing

import (
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"time"

	"github.com/elicence/elicence/audit"
	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/signer/credential"
	"github.com/elicence/elicence/signer/purpose"
	"github.com/emmansun/gmsm/sm3"
)

// partSalt is random to everybody without the seed and different for each part, so that the holder of one part cannot
// test guesses about the other.
func partSalt(seed [32]byte, part string) [32]byte {
	m := hmac.New(sm3.New, seed[:])
	m.Write([]byte("elicence/part-salt/1\x00" + part))
	var salt [32]byte
	copy(salt[:], m.Sum(nil))
	return salt
}

func (s *Service) commitment(l Licence, p PartSignature) [32]byte {
	return credential.PartCommitment(partSalt(l.Seed, p.Part), p.SM3, l.Identifier, p.Part)
}

// event signs e with the actor's event key. certificate names the key for an intent's own event; zero means the
// current one.
func (s *Service) event(ctx context.Context, l Licence, e contract.Event, certificate [32]byte, sequence int) (Event, error) {
	var signing Signing
	var err error
	if certificate != ([32]byte{}) {
		signing, err = s.keys.ByCertificate(ctx, e.Actor, certificate)
	} else {
		signing, err = s.keys.Current(ctx, e.Actor, purpose.Events)
	}
	if err != nil {
		return Event{}, err
	}
	b, err := contract.SignEvent(ctx, signing.Key, signing.Leaf(), e)
	if err != nil {
		return Event{}, err
	}
	return Event{
		Licence: l.ID, Sequence: sequence, Kind: string(e.Kind), Hash: contract.Hash(b), Bytes: b,
		At: time.UnixMicro(e.Time), Actor: e.Actor,
	}, nil
}

// View is a licence's custody as its own events tell it, sequenced or not.
func (s *Service) View(ctx context.Context, l Licence) (contract.View, []Event, error) {
	events, err := s.records.EventsOf(ctx, l.ID)
	if err != nil {
		return contract.View{}, nil, err
	}
	raw := make([][]byte, len(events))
	for i := range events {
		raw[i] = events[i].Bytes
	}
	view, err := contract.Replay(raw)
	if err != nil {
		return contract.View{}, nil, fmt.Errorf("licence %s: %w", l.Number, err)
	}
	return view, events, nil
}

// standing returns a licence that may still be moved.
func (s *Service) standing(ctx context.Context, number string) (Licence, contract.View, error) {
	l, err := s.records.ByNumber(ctx, number)
	if err != nil {
		return Licence{}, contract.View{}, err
	}
	if l.Stage != StageIssued {
		return Licence{}, contract.View{}, fmt.Errorf("%w: licence %s is not issued yet", licence.ErrState, number)
	}
	if l.Status != InForce {
		return Licence{}, contract.View{}, fmt.Errorf("%w: licence %s is %s", licence.ErrState, number, l.Status)
	}
	view, _, err := s.View(ctx, l)
	return l, view, err
}

// Move is one step of custody or status, asked for by a person of an organisation.
type Move struct {
	Kind         contract.Kind
	Number       string
	Actor        string // organisation code
	Part         string // for hand-over, accept, reject
	Counterparty string // for hand-over: the receiving organisation
	Reason       string // contract's reason code
	Note         []byte // personal or free words, sealed at rest and never on the ledger
	NoteName     string
}

// Take judges the step by the custody rules on what is known here, signs it with the actor's key and records it.
// The ledger judges it again. ErrRefusedByContract names the rule; ErrStale: read again.
func (s *Service) Take(ctx context.Context, m Move, who audit.Entry) (Event, error) {
	l, err := s.records.ByNumber(ctx, m.Number)
	if err != nil {
		return Event{}, err
	}
	if l.Stage != StageIssued {
		return Event{}, fmt.Errorf("%w: licence %s is not issued yet", licence.ErrState, m.Number)
	}
	step, err := s.step(ctx, l, contract.Event{
		Kind: m.Kind, Part: m.Part, Counterparty: m.Counterparty, Reason: m.Reason, Actor: m.Actor,
	}, who)
	if err != nil {
		return Event{}, err
	}
	step.Note, step.NoteName = m.Note, m.NoteName
	if m.Kind == contract.Revoked {
		revoked := Revoked
		step.Status = &revoked
	}
	if m.Kind == contract.HandedOver {
		step.Deliveries = s.handOver(l, m.Counterparty, step.Event.At)
	}
	if err := s.records.AppendStep(ctx, *step); err != nil {
		return Event{}, err
	}
	return step.Event, nil
}

// judge completes e from the licence's own history and judges it; last is the event that it follows.
func (s *Service) judge(ctx context.Context, l Licence, e *contract.Event) (last Event, err error) {
	view, events, err := s.View(ctx, l)
	if err != nil {
		return last, err
	}
	if len(events) == 0 {
		return last, fmt.Errorf("%w: the ledger has refused the issue of licence %s", licence.ErrState, l.Number)
	}
	actor, err := s.register.Organisation(ctx, e.Actor)
	if err != nil {
		return last, err
	}
	last = events[len(events)-1]
	at := s.now() // read after the last event: others take steps meanwhile
	if at.Before(last.At) {
		return last, fmt.Errorf("%w: the licence's last event was %s: set the clock right", licence.ErrClock, last.At.UTC().Format(time.RFC3339))
	}
	e.Version, e.Handle, e.Previous, e.Time = contract.Version, l.Handle, last.Hash, at.UnixMicro()
	if refusal := view.Judge(*e, contract.OrganisationKind(actor.Kind)); refusal != nil {
		return last, refused(refusal)
	}
	if e.Kind == contract.HandedOver {
		return last, s.judgeReceiver(ctx, e.Counterparty)
	}
	return last, nil
}

// step judges e and signs it.
func (s *Service) step(ctx context.Context, l Licence, e contract.Event, who audit.Entry) (*Step, error) {
	last, err := s.judge(ctx, l, &e)
	if err != nil {
		return nil, err
	}
	event, err := s.event(ctx, l, e, [32]byte{}, last.Sequence+1)
	if err != nil {
		return nil, err
	}
	return &Step{
		Licence: l.ID, Previous: last.Hash, Event: event, Audit: s.entry(who, string(e.Kind), l.ID),
	}, nil
}

func refused(r *contract.Refusal) error { return fmt.Errorf("%w: %w", ErrRefusedByContract, r) }

// judgeReceiver asks of the receiver what the ledger will ask, which alone knows who is enrolled: a part that is offered
// to nobody who can take it must not look handed over until the ledger says no.
func (s *Service) judgeReceiver(ctx context.Context, code string) error {
	rule := contract.RuleReceiverKind
	o, err := s.register.Organisation(ctx, code)
	switch {
	case errors.Is(err, licence.ErrNotFound):
		rule = contract.RuleReceiverNotEnrolled
	case err != nil:
		return err
	case contract.OrganisationKind(o.Kind) == contract.Archive:
		return nil
	}
	for _, r := range contract.Rules() {
		if r.Rule == rule {
			return refused(&r)
		}
	}
	return fmt.Errorf("%w: %s", ErrRefusedByContract, rule)
}

// supersede ends the old licence in the transaction that issues the new one.
func (s *Service) supersede(ctx context.Context, next Licence, who audit.Entry) (*Step, error) {
	old, _, err := s.standing(ctx, next.Replaces)
	if err != nil {
		return nil, err
	}
	step, err := s.step(ctx, old, contract.Event{
		Kind: contract.Superseded, Actor: next.Issuer, Successor: next.Handle, Reason: next.Kind,
	}, who)
	if err != nil {
		return nil, err
	}
	superseded := Superseded
	step.Status, step.ReplacedBy = &superseded, next.Number
	return step, nil
}

// Anchor sends everything that the ledger has not answered, batch by batch and in order, and records the answers.
// It returns how many were sequenced and refused. Safe to run at any time; running twice is harmless.
func (s *Service) Anchor(ctx context.Context, ledger Sequencer, batch int, progress func(done int)) (sequenced, refused int, err error) {
	for {
		pending, err := s.records.Pending(ctx, batch)
		if err != nil {
			return sequenced, refused, err
		}
		if len(pending) == 0 {
			return sequenced, refused, nil
		}
		raw := make([][]byte, len(pending))
		for i := range pending {
			raw[i] = pending[i].Bytes
		}
		answers, err := ledger.Submit(ctx, raw)
		if err != nil {
			return sequenced, refused, err
		}
		asked := make(map[[32]byte]bool, len(pending))
		for i := range pending {
			asked[pending[i].Hash] = true
		}
		for n := range answers {
			if !asked[answers[n].Hash] {
				return sequenced, refused, fmt.Errorf("issuing: the ledger answered for an event that it was not asked about, or twice: %x", answers[n].Hash[:8])
			}
			delete(asked, answers[n].Hash)
			if answers[n].Refusal != "" {
				answers[n].At = s.now()
			}
		}
		if err := s.records.MarkSequenced(ctx, answers); err != nil {
			return sequenced, refused, err
		}
		for _, a := range answers {
			if a.Refusal != "" {
				refused++
			} else {
				sequenced++
			}
		}
		if progress != nil {
			progress(sequenced + refused)
		}
		if len(answers) < len(pending) { // the others were set aside: asking again at once would get the same
			return sequenced, refused, nil
		}
	}
}
