package contract

import (
	"context"
	"errors"
	"fmt"

	"github.com/elicence/elicence/signer/cose"
)

// ErrHistory says that events are not one licence's history: the first does not issue it, or one does not follow from
// the one before it.
var ErrHistory = errors.New("contract: not the history of one licence")

// PartView is who holds a part.
type PartView struct {
	Part       string
	Commitment [32]byte
	Custody    string
	Holder     string // organisation code, or Family
	Pending    string // code of the archive that was offered the part and has not answered; "" for none
}

// View is a licence's custody state: what its events amount to. The zero View is that of a licence nobody has issued.
type View struct {
	Handle     [32]byte
	Issuer     string // organisation code
	IssuedAt   int64  // microseconds
	Events     uint64
	Last       [32]byte // hash of the last event: the next one names it
	LastAt     int64    // microseconds
	Parts      []PartView
	Registered string   // code of the police that registered the household, "" for none
	Inherited  bool     // Registered was handed down by the licence that this one replaced
	Successor  [32]byte // zero for none
	Superseded string   // reason: exchange or replacement, "" for not superseded
	Revoked    string   // reason, "" for not revoked
}

// Part returns the part of that name.
func (v View) Part(name string) (PartView, bool) {
	for _, p := range v.Parts {
		if p.Part == name {
			return p, true
		}
	}
	return PartView{}, false
}

// InForce tells whether the licence was issued and neither superseded nor revoked.
func (v View) InForce() bool { return v.Events > 0 && v.Superseded == "" && v.Revoked == "" }

func (l *licenceRecord) view(handle [32]byte) View {
	v := View{
		Handle: handle, Issuer: l.Issuer, IssuedAt: l.IssuedAt, Events: l.Events, Last: array32(l.Last), LastAt: l.Time,
		Registered: l.Registered, Inherited: l.Inherited, Successor: array32(l.Successor), Superseded: l.Ended, Revoked: l.Revoked,
	}
	for _, p := range l.Parts {
		v.Parts = append(v.Parts, PartView{Part: p.Part, Commitment: array32(p.Commitment), Custody: p.Custody, Holder: p.Holder, Pending: p.Pending})
	}
	return v
}

func (v View) record() *licenceRecord {
	l := &licenceRecord{
		Last: v.Last[:], Time: v.LastAt, Events: v.Events, Issuer: v.Issuer, IssuedAt: v.IssuedAt, Registered: v.Registered,
		Inherited: v.Inherited, Successor: bytes32(v.Successor), Ended: v.Superseded, Revoked: v.Revoked,
	}
	for _, p := range v.Parts {
		l.Parts = append(l.Parts, partRecord{Part: p.Part, Commitment: p.Commitment[:], Custody: p.Custody, Holder: p.Holder, Pending: p.Pending})
	}
	return l
}

func array32(b []byte) (a [32]byte) {
	copy(a[:], b)
	return a
}

// Replay tells what a licence's own events, in order and from the first, amount to. It checks that they follow from each
// other by the custody rules, but knows no organisations: signatures and kinds of actors are taken as judged. Use it on
// events of one's own records. ErrHistory names the first event that does not fit.
func Replay(events [][]byte) (View, error) {
	l, handle, err := replay(events)
	if err != nil || l == nil {
		return View{}, err
	}
	return l.view(handle), nil
}

func replay(events [][]byte) (*licenceRecord, [32]byte, error) {
	var l *licenceRecord
	var handle [32]byte
	for i, b := range events {
		s, r := parseEvent(b)
		if r == nil {
			switch {
			case l == nil && s.Event.Kind != Issued, l != nil && s.Event.Handle != handle:
				r = refuse(RuleUnknownLicence)
			case l == nil:
				l, handle = issue(&s.Event, s.Hash), s.Event.Handle
				continue
			case s.Event.Kind == Issued:
				r = refuse(RuleHandleTaken)
			default:
				r = l.judge(&s.Event, party{})
			}
		}
		if r != nil {
			return nil, handle, fmt.Errorf("%w: event %d: %w", ErrHistory, i, r)
		}
		l.apply(&s.Event, s.Hash)
	}
	return l, handle, nil
}

// Judge applies the custody rules to an event that may not be signed yet, as far as the licence's own state and the kind
// of the actor decide: receiver, successor, enrolment and signature are the ledger's to judge. nil means no objection.
func (v View) Judge(e Event, actor OrganisationKind) *Refusal {
	if r := e.check(); r != nil {
		return r
	}
	p := party{known: true, kind: actor}
	switch {
	case e.Kind == Enrolled || e.Kind == Withdrawn || e.Kind == AuditAnchored:
		return refuse(RuleKind)
	case e.Kind == Issued && v.Events > 0:
		return refuse(RuleHandleTaken)
	case e.Kind == Issued && !p.is(Hospital, Agency, Commission):
		return refuse(RuleActorKind)
	case e.Kind == Issued:
		return nil
	case v.Events == 0 || e.Handle != v.Handle:
		return refuse(RuleUnknownLicence)
	}
	return v.record().judge(&e, p)
}

// ViewOf returns a licence's custody state as the State has it; the zero View if the ledger does not know the handle.
func ViewOf(ctx context.Context, s State, handle [32]byte) (View, error) {
	l, err := load[licenceRecord](ctx, newLedger(s), keyLicence(handle))
	if err != nil || l == nil {
		return View{}, err
	}
	return l.view(handle), nil
}

// WithHistories returns a State that knows the given licences as their own events tell, and everything else, above all
// who is enrolled, from base. With it one can Judge a new event against a licence's earlier events without the whole
// ledger. ErrHistory as for Replay. Give the history of a successor too when judging a supersession.
func WithHistories(base State, histories ...[][]byte) (State, error) {
	writes := map[string][]byte{}
	for _, events := range histories {
		l, handle, err := replay(events)
		if err != nil {
			return nil, err
		}
		if l == nil {
			continue
		}
		b, err := cose.Marshal(*l)
		if err != nil {
			return nil, fmt.Errorf("contract: state: %w", err)
		}
		writes[keyLicence(handle)] = b
		if l.Successor != nil {
			writes[keyPredecessor(array32(l.Successor))] = handle[:]
		}
	}
	return Over(base, writes), nil
}

// Enrolments returns the State that enrolments and withdrawals alone, in order, amount to: the base for WithHistories.
// Any event that is refused is an error.
func Enrolments(ctx context.Context, events [][]byte) (MapState, error) {
	verdicts, writes, err := Judge(ctx, MapState{}, events)
	if err != nil {
		return nil, err
	}
	for i, v := range verdicts {
		if v.Refusal != nil {
			return nil, fmt.Errorf("%w: enrolment %d: %w", ErrHistory, i, v.Refusal)
		}
	}
	return MapState(writes), nil
}
