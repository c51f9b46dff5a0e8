package contract

import "bytes"

// party is an organisation as far as the judgement knows it: a replay of a licence's own events knows no kinds.
type party struct {
	known bool // whether kind is known
	kind  OrganisationKind
}

func (p party) is(kinds ...OrganisationKind) bool {
	if !p.known {
		return true
	}
	for _, k := range kinds {
		if p.kind == k {
			return true
		}
	}
	return false
}

// issue makes the record of a licence from its first event.
func issue(e *Event, hash [32]byte) *licenceRecord {
	l := &licenceRecord{Last: hash[:], Time: e.Time, Events: 1, Issuer: e.Actor, IssuedAt: e.Time}
	for _, p := range e.Parts {
		holder := e.Actor
		if p.Custody == Family {
			holder = Family
		}
		l.Parts = append(l.Parts, partRecord{Part: p.Part, Commitment: p.Commitment[:], Custody: p.Custody, Holder: holder})
	}
	return l
}

// judge applies the rules that need only the licence itself and the kind of the actor. receiver and successor are
// checked by their own functions, because they need other records.
func (l *licenceRecord) judge(e *Event, actor party) *Refusal {
	switch {
	case l.Revoked != "":
		return refuse(RuleRevoked)
	case !bytes.Equal(l.Last, e.Previous[:]):
		return refuse(RuleStale)
	case e.Time < l.Time:
		return refuse(RuleTimeBack)
	}
	switch e.Kind {
	case HandedOver, Accepted, Rejected:
		return l.judgeMove(e, actor)
	case Registered:
		return l.judgeRegistration(actor)
	case Superseded:
		return l.judgeSupersession(e, actor)
	case Revoked:
		return l.judgeRevocation(e, actor)
	default:
		return refuse(RuleKind)
	}
}

// judgeMove: a part goes from its holder to an archive that accepts it. A superseded licence's parts still move: a
// counterfoil may reach the archive years later.
func (l *licenceRecord) judgeMove(e *Event, actor party) *Refusal {
	p := l.part(e.Part)
	switch {
	case p == nil:
		return refuse(RuleUnknownPart)
	case p.Custody != Transferable:
		return refuse(RuleNotTransferable)
	}
	if e.Kind == HandedOver {
		switch {
		case p.Holder != e.Actor:
			return refuse(RuleNotHolder)
		case p.Pending != "":
			return refuse(RuleHandedOverAlready)
		case e.Counterparty == e.Actor:
			return refuse(RuleReceiverSelf)
		}
		return nil
	}
	switch {
	case !actor.is(Archive):
		return refuse(RuleActorKind)
	case p.Pending == "" && p.Holder == e.Actor && l.Issuer != e.Actor:
		return refuse(RuleAcceptedAlready)
	case p.Pending == "":
		return refuse(RuleNotHandedOver)
	case p.Pending != e.Actor:
		return refuse(RuleAnotherReceiver)
	}
	return nil
}

// judgeRegistration: one child, one household registration, whatever certificates were exchanged in between.
func (l *licenceRecord) judgeRegistration(actor party) *Refusal {
	switch {
	case !actor.is(Police):
		return refuse(RuleActorKind)
	case l.Successor != nil:
		return refuse(RuleSuperseded)
	case l.Registered != "":
		return refuse(RuleRegisteredAlready)
	}
	return nil
}

// judgeSupersession: the issuer's exchange or replacement, or one by an agency or commission under its own seal.
func (l *licenceRecord) judgeSupersession(e *Event, actor party) *Refusal {
	switch {
	case l.Issuer != e.Actor && !actor.is(Agency, Commission):
		return refuse(RuleNotIssuer)
	case l.Successor != nil:
		return refuse(RuleSuperseded)
	case e.Successor == e.Handle:
		return refuse(RuleSuccessorSelf)
	}
	return nil
}

// judgeRevocation: a superseded licence is not revoked any more, its successor is.
func (l *licenceRecord) judgeRevocation(e *Event, actor party) *Refusal {
	switch {
	case l.Issuer != e.Actor && !actor.is(Commission):
		return refuse(RuleNotIssuer)
	case l.Successor != nil:
		return refuse(RuleSuperseded)
	}
	return nil
}

// judgeReceiver: only an enrolled archive can be offered a part; enrolled is nil if the receiver is not.
func judgeReceiver(enrolled *organisationRecord) *Refusal {
	switch {
	case enrolled == nil:
		return refuse(RuleReceiverNotEnrolled)
	case OrganisationKind(enrolled.Kind) != Archive:
		return refuse(RuleReceiverKind)
	}
	return nil
}

// judgeSuccessor: a licence ends only in favour of one that is there, made by who says so, and stands for no other.
func judgeSuccessor(e *Event, next *licenceRecord, taken bool) *Refusal {
	switch {
	case next == nil:
		return refuse(RuleSuccessorUnknown)
	case next.Issuer != e.Actor:
		return refuse(RuleSuccessorOfAnother)
	case next.Revoked != "" || next.Successor != nil:
		return refuse(RuleSuccessorEnded)
	case taken:
		return refuse(RuleSuccessorTaken)
	}
	return nil
}

// apply changes the record as an event that was judged says.
func (l *licenceRecord) apply(e *Event, hash [32]byte) {
	l.Last, l.Time = hash[:], e.Time
	l.Events++
	switch e.Kind {
	case HandedOver:
		l.part(e.Part).Pending = e.Counterparty
	case Accepted:
		p := l.part(e.Part)
		p.Holder, p.Pending = e.Actor, ""
	case Rejected:
		l.part(e.Part).Pending = ""
	case Registered:
		l.Registered = e.Actor
	case Superseded:
		l.Successor, l.Ended = e.Successor[:], e.Reason
	case Revoked:
		l.Revoked = e.Reason
	}
}
