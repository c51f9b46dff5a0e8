// Package contract is what every organisation on the ledger must agree on: what an event is, and which event may follow
// which. It is pure: no clock, no randomness, no store. The embedded sequencer, the chaincode and every auditor run it,
// so that they cannot come to different answers. The format is docs/formats/event.md.
package contract

import (
	"fmt"
	"slices"

	"github.com/elicence/elicence/signer/cose"
)

// Version is the version of events that this package writes and reads.
const Version = 1

// Bounds of one event. They keep a receipt within 6 KB and the work for one event constant.
const (
	MaxEvent       = 2048 // bytes of an event with its signature
	MaxCertificate = 1536 // bytes of a certificate in an enrolment, DER
	MaxParts       = 8    // parts of one licence
	MaxPartName    = 32   // characters of a part's name
)

// Times of events are int64 microseconds since the epoch, within these bounds: from 2020 to the end of 2199. What lies
// outside is a broken clock.
const (
	MinTime int64 = 1577836800000000
	MaxTime int64 = 7258118399999999
)

// Kind is what an event says has happened.
type Kind string

// Kinds of events.
const (
	Enrolled      Kind = "enrolled"       // the registrar vouches for an organisation's certificate
	Withdrawn     Kind = "withdrawn"      // the registrar ends a certificate before its time
	Issued        Kind = "issued"         // 签发: a licence exists, with these parts
	HandedOver    Kind = "handed-over"    // 移交: the holder offers a part to an archive
	Accepted      Kind = "accepted"       // 接收: the archive takes it
	Rejected      Kind = "rejected"       // 退回: the archive does not, and says why
	Registered    Kind = "registered"     // 户口登记: the police registered the household
	Superseded    Kind = "superseded"     // 换发, 补发: another licence stands in this one's place
	Revoked       Kind = "revoked"        // 撤销: it should never have been issued
	AuditAnchored Kind = "audit-anchored" // an organisation anchors the head of its audit trail
)

// Custody words say where a part may go. They travel in the event, so that the ledger needs to know no licence type.
const (
	Family       = "family"       // belongs to the family; also the name of its holder
	Transferable = "transferable" // from the issuer to an archive, and from archive to archive
	Issuer       = "issuer"       // stays with the issuer
)

// OrganisationKind is what an organisation is, as its enrolment says.
type OrganisationKind string

// Kinds of organisations.
const (
	Hospital   OrganisationKind = "hospital"   // 助产机构
	Agency     OrganisationKind = "agency"     // county agency, for births outside institutions
	Commission OrganisationKind = "commission" // 卫健委
	Police     OrganisationKind = "police"     // 公安机关
	Archive    OrganisationKind = "archive"    // 档案馆
	Operator   OrganisationKind = "operator"   // of the scheme; may be the registrar and does nothing else
)

var organisationKinds = []OrganisationKind{Hospital, Agency, Commission, Police, Archive, Operator}

// PartCommitment is one part of a licence at its issue.
type PartCommitment struct {
	Part       string   // name within the licence type, "main"
	Commitment [32]byte // SM3 of CBOR ["elicence/commit/1", salt32, SM3(part), identifier, part]
	Custody    string   // Family, Transferable or Issuer
}

// Enrolment is an organisation's event certificate. One organisation may have several, all of the same kind.
type Enrolment struct {
	Code        string // unified social credit code, GB 32100
	Kind        OrganisationKind
	Certificate []byte // DER, of purpose events
}

// Event is one step. Which fields stand depends on the kind; a field that does not belong must be zero. The table is in
// docs/formats/event.md.
type Event struct {
	Version      int
	Kind         Kind
	Handle       [32]byte // random; the licence's only name on the ledger
	Previous     [32]byte // Hash of the licence's last event; zero for issued. For audit-anchored: of the actor's last anchor
	Time         int64    // microseconds since the epoch
	Actor        string   // code of the organisation that signs
	Parts        []PartCommitment
	Part         string // the part that moves
	Counterparty string // code of the receiving archive
	Reason       string // one of Reasons(Kind), never free text
	Successor    [32]byte
	Enrolment    *Enrolment
	Anchor       [32]byte // head of the actor's audit chain
}

var reasons = map[Kind][]string{
	Rejected:   {"damaged", "duplicate", "incomplete", "not-verified", "unreadable", "wrong-archive", "wrong-part"},
	Superseded: {"exchange", "replacement"},
	Revoked:    {"court-decision", "duplicate", "false-evidence", "wrong-content", "wrongly-issued"},
	Withdrawn:  {"ceased", "key-compromise", "key-replaced"},
}

// Reasons are the reason codes of a kind in alphabetical order, nil for kinds that give none.
func Reasons(k Kind) []string { return slices.Clone(reasons[k]) }

// field is a bit for each field of Event beyond version, kind, time and actor.
type field uint16

const (
	hasHandle field = 1 << iota
	hasPrevious
	hasParts
	hasPart
	hasCounterparty
	hasReason
	hasSuccessor
	hasEnrolment
	hasAnchor
)

type shape struct{ must, may field }

var shapes = map[Kind]shape{
	Enrolled:      {must: hasEnrolment},
	Withdrawn:     {must: hasEnrolment | hasReason},
	Issued:        {must: hasHandle | hasParts},
	HandedOver:    {must: hasHandle | hasPrevious | hasPart | hasCounterparty},
	Accepted:      {must: hasHandle | hasPrevious | hasPart},
	Rejected:      {must: hasHandle | hasPrevious | hasPart | hasReason},
	Registered:    {must: hasHandle | hasPrevious},
	Superseded:    {must: hasHandle | hasPrevious | hasSuccessor | hasReason},
	Revoked:       {must: hasHandle | hasPrevious | hasReason},
	AuditAnchored: {must: hasAnchor, may: hasPrevious},
}

// Kinds are all kinds in the order of a licence's life.
func Kinds() []Kind {
	return []Kind{Enrolled, Withdrawn, Issued, HandedOver, Accepted, Rejected, Registered, Superseded, Revoked, AuditAnchored}
}

func (e *Event) fields() field {
	var f field
	set := func(is bool, bit field) {
		if is {
			f |= bit
		}
	}
	set(e.Handle != [32]byte{}, hasHandle)
	set(e.Previous != [32]byte{}, hasPrevious)
	set(len(e.Parts) > 0, hasParts)
	set(e.Part != "", hasPart)
	set(e.Counterparty != "", hasCounterparty)
	set(e.Reason != "", hasReason)
	set(e.Successor != [32]byte{}, hasSuccessor)
	set(e.Enrolment != nil, hasEnrolment)
	set(e.Anchor != [32]byte{}, hasAnchor)
	return f
}

// check says what is wrong with an event that stands alone; nil if nothing is.
func (e *Event) check() *Refusal {
	if e.Version != Version {
		return refuse(RuleVersion)
	}
	s, known := shapes[e.Kind]
	if !known {
		return refuse(RuleKind)
	}
	if f := e.fields(); f&s.must != s.must || f&^(s.must|s.may) != 0 {
		return refuse(RuleFields)
	}
	if e.Time < MinTime || e.Time > MaxTime {
		return refuse(RuleTimeRange)
	}
	if !isCode(e.Actor) || e.Counterparty != "" && !isCode(e.Counterparty) || e.Part != "" && !isPartName(e.Part) {
		return refuse(RuleFields)
	}
	if e.Reason != "" && !slices.Contains(reasons[e.Kind], e.Reason) {
		return refuse(RuleReason)
	}
	if len(e.Parts) > MaxParts {
		return refuse(RuleParts)
	}
	for i, p := range e.Parts {
		if p.Custody != Family && p.Custody != Transferable && p.Custody != Issuer {
			return refuse(RuleCustody)
		}
		if !isPartName(p.Part) || p.Commitment == [32]byte{} {
			return refuse(RuleParts)
		}
		for _, q := range e.Parts[:i] {
			if p.Part == q.Part || p.Commitment == q.Commitment {
				return refuse(RuleParts)
			}
		}
	}
	if n := e.Enrolment; n != nil {
		if !isCode(n.Code) || len(n.Certificate) == 0 || len(n.Certificate) > MaxCertificate {
			return refuse(RuleFields)
		}
		if !slices.Contains(organisationKinds, n.Kind) {
			return refuse(RuleOrganisationKind)
		}
	}
	return nil
}

// isCode tells whether s has the shape of a unified social credit code (GB 32100): 18 digits and capital letters. Its
// check character is the registrar's business: an organisation that is enrolled exists.
func isCode(s string) bool {
	if len(s) != 18 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return true
}

func isPartName(s string) bool {
	if len(s) == 0 || len(s) > MaxPartName || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// wireEvent is the payload: a CBOR map with small integer keys, core deterministic encoding (RFC 8949, 4.2.1). Fields
// that are zero do not stand.
type wireEvent struct {
	Version      int            `cbor:"1,keyasint"`
	Kind         string         `cbor:"2,keyasint"`
	Handle       []byte         `cbor:"3,keyasint,omitempty"`
	Previous     []byte         `cbor:"4,keyasint,omitempty"`
	Time         int64          `cbor:"5,keyasint"`
	Actor        string         `cbor:"6,keyasint"`
	Parts        []wirePart     `cbor:"7,keyasint,omitempty"`
	Part         string         `cbor:"8,keyasint,omitempty"`
	Counterparty string         `cbor:"9,keyasint,omitempty"`
	Reason       string         `cbor:"10,keyasint,omitempty"`
	Successor    []byte         `cbor:"11,keyasint,omitempty"`
	Enrolment    *wireEnrolment `cbor:"12,keyasint,omitempty"`
	Anchor       []byte         `cbor:"13,keyasint,omitempty"`
}

type wirePart struct {
	_          struct{} `cbor:",toarray"`
	Part       string
	Commitment []byte
	Custody    string
}

type wireEnrolment struct {
	_           struct{} `cbor:",toarray"`
	Code        string
	Kind        string
	Certificate []byte
}

// Encode returns the payload of e: the bytes that its signature covers. The error is a *Refusal when e breaks a rule of
// form.
func Encode(e Event) ([]byte, error) {
	if r := e.check(); r != nil {
		return nil, r
	}
	w := wireEvent{
		Version: e.Version, Kind: string(e.Kind), Handle: bytes32(e.Handle), Previous: bytes32(e.Previous), Time: e.Time,
		Actor: e.Actor, Part: e.Part, Counterparty: e.Counterparty, Reason: e.Reason, Successor: bytes32(e.Successor),
		Anchor: bytes32(e.Anchor),
	}
	for _, p := range e.Parts {
		w.Parts = append(w.Parts, wirePart{Part: p.Part, Commitment: p.Commitment[:], Custody: p.Custody})
	}
	if n := e.Enrolment; n != nil {
		w.Enrolment = &wireEnrolment{Code: n.Code, Kind: string(n.Kind), Certificate: n.Certificate}
	}
	b, err := cose.Marshal(w)
	if err != nil {
		return nil, fmt.Errorf("contract: event: %w", err)
	}
	return b, nil
}

func bytes32(b [32]byte) []byte {
	if b == [32]byte{} {
		return nil
	}
	return b[:]
}

// Parse reads a payload. What it accepts is exactly what Encode writes; the error is a *Refusal.
func Parse(payload []byte) (Event, error) {
	e, r := parse(payload)
	if r != nil {
		return Event{}, r
	}
	return e, nil
}

func parse(payload []byte) (Event, *Refusal) {
	if len(payload) > MaxEvent {
		return Event{}, refuse(RuleTooLarge)
	}
	// Version and kind are read first, alone: a reader must be able to say that an event is newer than itself.
	if version, kind, ok := peek(payload); !ok {
		return Event{}, refuse(RuleMalformed)
	} else if version != Version {
		return Event{}, refuse(RuleVersion)
	} else if _, known := shapes[kind]; !known {
		return Event{}, refuse(RuleKind)
	}
	var w wireEvent
	if err := cose.UnmarshalCanonical(payload, &w); err != nil {
		return Event{}, refuse(RuleMalformed)
	}
	e := Event{
		Version: w.Version, Kind: Kind(w.Kind), Time: w.Time, Actor: w.Actor, Part: w.Part, Counterparty: w.Counterparty,
		Reason: w.Reason,
	}
	for _, f := range []struct {
		to   *[32]byte
		from []byte
	}{{&e.Handle, w.Handle}, {&e.Previous, w.Previous}, {&e.Successor, w.Successor}, {&e.Anchor, w.Anchor}} {
		if f.from == nil {
			continue
		}
		if len(f.from) != 32 {
			return Event{}, refuse(RuleMalformed)
		}
		copy(f.to[:], f.from)
		if *f.to == [32]byte{} { // Encode would leave it out
			return Event{}, refuse(RuleMalformed)
		}
	}
	if len(w.Parts) > MaxParts {
		return Event{}, refuse(RuleParts)
	}
	for _, p := range w.Parts {
		if len(p.Commitment) != 32 {
			return Event{}, refuse(RuleMalformed)
		}
		e.Parts = append(e.Parts, PartCommitment{Part: p.Part, Commitment: [32]byte(p.Commitment), Custody: p.Custody})
	}
	if n := w.Enrolment; n != nil {
		e.Enrolment = &Enrolment{Code: n.Code, Kind: OrganisationKind(n.Kind), Certificate: n.Certificate}
	}
	if r := e.check(); r != nil {
		return Event{}, r
	}
	return e, nil
}

// peek reads version and kind, which every version of the format has as its first two entries: keys 1 and 2, an unsigned
// integer and a text of less than 256 bytes.
func peek(payload []byte) (version uint64, kind Kind, ok bool) {
	b := payload
	if len(b) < 4 || b[0]>>5 != 5 || b[0]&31 > 23 || b[1] != 1 || b[2]>>5 != 0 {
		return 0, "", false
	}
	head := b[2] & 31
	b = b[3:]
	switch {
	case head < 24:
		version = uint64(head)
	case head <= 27 && len(b) >= 1<<(head-24):
		n := 1 << (head - 24)
		for _, c := range b[:n] {
			version = version<<8 | uint64(c)
		}
		b = b[n:]
	default:
		return 0, "", false
	}
	if len(b) < 2 || b[0] != 2 || b[1]>>5 != 3 {
		return 0, "", false
	}
	n := int(b[1] & 31)
	b = b[2:]
	if n >= 24 {
		if n > 24 || len(b) == 0 {
			return 0, "", false
		}
		n, b = int(b[0]), b[1:]
	}
	if len(b) < n {
		return 0, "", false
	}
	return version, Kind(b[:n]), true
}
