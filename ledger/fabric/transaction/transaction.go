// Package transaction is what chaincode, connector and follower must read alike: the names of the chaincode's functions, the
// bounds of a batch, the answer to it and the registry of who sends for whom. The format is docs/formats/fabric.md.
package transaction

import (
	"errors"
	"fmt"
	"slices"

	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/signer/cose"
)

// Functions of the chaincode.
const (
	Submit          = "Submit"          // events …: an Answer
	ProposeRegistry = "ProposeRegistry" // a Registry
	ReadRegistry    = "Registry"        // evaluated only: the Registry that stands
	ReadVersion     = "Version"         // evaluated only: a text that differs where two chaincodes may judge differently
	Checkpoint      = "Checkpoint"      // a signed checkpoint of the log, for the other members' followers; no state changes
	ReadState       = "State"           // evaluated only: the first key, empty for the first of all: a Page
)

// Keys of the chaincode's own state. The contract's keys begin with other words.
const (
	OwnKeys           = "fabric/" // they all begin so
	KeyRegistry       = OwnKeys + "registry"
	keyProposalPrefix = OwnKeys + "proposal/"
)

// KeyProposal is where the last proposal of a member stands.
func KeyProposal(msp string) string { return keyProposalPrefix + msp }

// Version of arguments and answers.
const Version = 1

// Bounds of one transaction. A block of the ordering service holds several.
const (
	MaxEvents = 1000
	MaxBytes  = 1 << 20 // of all events together
)

// OrganisationAttribute is the attribute of a client certificate (as Fabric CA writes them) that narrows its holder to the
// events of one organisation. Without it a client sends for all organisations of its member's kind.
const OrganisationAttribute = "elicence.organisation"

// ErrMalformed says that bytes are no answer or no registry in their one canonical encoding.
var ErrMalformed = errors.New("transaction: malformed")

type wireAnswer struct {
	_       struct{} `cbor:",toarray"`
	Version uint64
	Rules   []string
}

// Answer is the rule that refuses each event of a batch, "" where none does.
type Answer []string

// Accepted is how many events were accepted.
func (a Answer) Accepted() int {
	n := 0
	for _, rule := range a {
		if rule == "" {
			n++
		}
	}
	return n
}

// AnswerOf is the answer that verdicts amount to.
func AnswerOf(verdicts []contract.Verdict) Answer {
	a := make(Answer, len(verdicts))
	for i, v := range verdicts {
		if v.Refusal != nil {
			a[i] = v.Refusal.Rule
		}
	}
	return a
}

// Encode returns the answer's one encoding.
func (a Answer) Encode() ([]byte, error) {
	return cose.Marshal(wireAnswer{Version: Version, Rules: a})
}

// ParseAnswer reads the answer to a batch of n events.
func ParseAnswer(b []byte, n int) (Answer, error) {
	var w wireAnswer
	if err := cose.UnmarshalCanonical(b, &w); err != nil {
		return nil, fmt.Errorf("%w: answer: %w", ErrMalformed, err)
	}
	if w.Version != Version || len(w.Rules) != n {
		return nil, fmt.Errorf("%w: answer of version %d with %d verdicts for %d events", ErrMalformed, w.Version, len(w.Rules), n)
	}
	return w.Rules, nil
}

// Fits says what is wrong with the size of a batch, nil if nothing is.
func Fits(events [][]byte) error {
	switch n := size(events); {
	case len(events) == 0:
		return errors.New("transaction: a batch without events")
	case len(events) > MaxEvents:
		return fmt.Errorf("transaction: %d events in one batch, at most %d are allowed", len(events), MaxEvents)
	case n > MaxBytes:
		return fmt.Errorf("transaction: a batch of %d bytes, at most %d are allowed", n, MaxBytes)
	}
	return nil
}

func size(events [][]byte) int {
	n := 0
	for _, e := range events {
		n += len(e)
	}
	return n
}

// Member is an organisation of the network.
type Member struct {
	_    struct{}                  `cbor:",toarray"`
	MSP  string                    // its name in the channel's configuration
	Kind contract.OrganisationKind // Commission, Police or Archive
}

// Registry says which members of the network are of which kind. It is changed only by all kinds together.
type Registry struct {
	_       struct{} `cbor:",toarray"`
	Number  uint64   // 1 for the first, one more with each change: an old proposal never comes into force
	Members []Member // in the order of MSP
}

// Kinds of members: each must agree to whatever all must agree to.
func Kinds() []contract.OrganisationKind {
	return []contract.OrganisationKind{contract.Commission, contract.Police, contract.Archive}
}

// Bounds of a registry.
const (
	MaxMembers = 256
	maxMSP     = 64
)

// SenderOf is the kind of member that sends events of an organisation of kind k: hospitals and agencies are clients of the
// commission, and so is the scheme's operator.
func SenderOf(k contract.OrganisationKind) contract.OrganisationKind {
	switch k {
	case contract.Hospital, contract.Agency, contract.Operator:
		return contract.Commission
	default:
		return k
	}
}

// MaySend tells whether a client of a member of the kind member, narrowed to the organisation code if that is not empty, may send
// the events of an actor of kind k.
func MaySend(member contract.OrganisationKind, code, actor string, k contract.OrganisationKind) bool {
	return SenderOf(k) == member && (code == "" || code == actor)
}

// NewRegistry puts members in order.
func NewRegistry(number uint64, members ...Member) Registry {
	r := Registry{Number: number, Members: slices.Clone(members)}
	slices.SortFunc(r.Members, func(a, b Member) int {
		if a.MSP < b.MSP {
			return -1
		}
		return 1
	})
	return r
}

// Kind returns the kind of a member, "" for none.
func (r Registry) Kind(msp string) contract.OrganisationKind {
	for _, m := range r.Members {
		if m.MSP == msp {
			return m.Kind
		}
	}
	return ""
}

// Of returns the members of a kind.
func (r Registry) Of(k contract.OrganisationKind) []string {
	var msps []string
	for _, m := range r.Members {
		if m.Kind == k {
			msps = append(msps, m.MSP)
		}
	}
	return msps
}

func (r Registry) check() error {
	if r.Number == 0 || len(r.Members) > MaxMembers {
		return fmt.Errorf("%w: registry: number %d, %d members", ErrMalformed, r.Number, len(r.Members))
	}
	for i, m := range r.Members {
		if !isMSP(m.MSP) || !slices.Contains(Kinds(), m.Kind) {
			return fmt.Errorf("%w: registry: member %d has no proper name or kind", ErrMalformed, i)
		}
		if i > 0 && r.Members[i-1].MSP >= m.MSP {
			return fmt.Errorf("%w: registry: members are not in order, or one stands twice", ErrMalformed)
		}
	}
	for _, k := range Kinds() {
		if len(r.Of(k)) == 0 {
			return fmt.Errorf("%w: registry: no member of kind %s", ErrMalformed, k)
		}
	}
	return nil
}

func isMSP(s string) bool {
	if s == "" || len(s) > maxMSP {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return true
}

// Encode returns the registry's one encoding, or ErrMalformed if it cannot stand.
func (r Registry) Encode() ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	return cose.Marshal(r)
}

// ParseRegistry reads what Encode writes and nothing else.
func ParseRegistry(b []byte) (Registry, error) {
	var r Registry
	if err := cose.UnmarshalCanonical(b, &r); err != nil {
		return Registry{}, fmt.Errorf("%w: registry: %w", ErrMalformed, err)
	}
	if err := r.check(); err != nil {
		return Registry{}, err
	}
	return r, nil
}
