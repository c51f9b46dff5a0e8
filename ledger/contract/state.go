package contract

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"

	"github.com/elicence/elicence/signer/cose"
)

// State is the contract's memory: what the accepted events so far amount to. Keys are printable ASCII of at most 80
// bytes; values are opaque and of at most 8 KB.
type State interface {
	// Get returns nil when the key was never written. The caller does not change what it gets.
	Get(ctx context.Context, key string) ([]byte, error)
}

// MapState is a State in memory. Reading is safe for concurrent use while nobody writes.
type MapState map[string][]byte

// Get is State.
func (m MapState) Get(_ context.Context, key string) ([]byte, error) { return m[key], nil }

// Apply takes the writes of a judged batch in.
func (m MapState) Apply(writes map[string][]byte) { maps.Copy(m, writes) }

// over lays writes that are not in the base yet over it.
type over struct {
	base   State
	writes map[string][]byte
}

// Over returns a State that answers from writes first, then from base. Neither may change meanwhile.
func Over(base State, writes map[string][]byte) State { return over{base, writes} }

func (o over) Get(ctx context.Context, key string) ([]byte, error) {
	if v, ok := o.writes[key]; ok {
		return v, nil
	}
	return o.base.Get(ctx, key)
}

// ErrState says that a value in the State is not one that this package wrote.
var ErrState = errors.New("contract: damaged state")

const keyRegistrar = "registrar"

// LicenceKey is the State key of a licence.
func LicenceKey(handle [32]byte) string { return keyLicence(handle) }

func keyOrganisation(code string) string    { return "organisation/" + code }
func keyCertificate(sm3 [32]byte) string    { return "certificate/" + hex.EncodeToString(sm3[:]) }
func keyLicence(handle [32]byte) string     { return "licence/" + hex.EncodeToString(handle[:]) }
func keyPredecessor(handle [32]byte) string { return "predecessor/" + hex.EncodeToString(handle[:]) }
func keyAnchor(code string) string          { return "anchor/" + code }

// MaxCertificates is how many certificates one organisation may have had enrolled, withdrawn ones included.
const MaxCertificates = 64

// registrarRecord names who enrols.
type registrarRecord struct {
	_    struct{} `cbor:",toarray"`
	Code string
	Time int64 // of the last enrolment or withdrawal
}

type organisationRecord struct {
	_            struct{} `cbor:",toarray"`
	Kind         string
	Certificates uint64
}

type certificateRecord struct {
	_         struct{} `cbor:",toarray"`
	Code      string
	Kind      string
	DER       []byte
	Withdrawn bool
}

type anchorRecord struct {
	_    struct{} `cbor:",toarray"`
	Last []byte
	Time int64
}

// LastAnchor returns the hash of the actor's last audit anchor in the State: the next one names it. Zero for none.
func LastAnchor(ctx context.Context, s State, actor string) ([32]byte, error) {
	last, err := load[anchorRecord](ctx, newLedger(s), keyAnchor(actor))
	if err != nil || last == nil {
		return [32]byte{}, err
	}
	return array32(last.Last), nil
}

// licenceRecord is one licence as its events left it.
type licenceRecord struct {
	_          struct{} `cbor:",toarray"`
	Last       []byte   // hash of the last event
	Time       int64    // of the last event
	Events     uint64
	Issuer     string
	IssuedAt   int64
	Registered string // code of the police that registered, "" for none
	Inherited  bool   // Registered comes from the licence that this one replaced
	Successor  []byte
	Ended      string // reason of supersession
	Revoked    string // reason of revocation
	Parts      []partRecord
}

type partRecord struct {
	_          struct{} `cbor:",toarray"`
	Part       string
	Commitment []byte
	Custody    string
	Holder     string // organisation code or Family
	Pending    string // code of the archive that was offered the part, "" for none
}

func (l *licenceRecord) part(name string) *partRecord {
	for i := range l.Parts {
		if l.Parts[i].Part == name {
			return &l.Parts[i]
		}
	}
	return nil
}

// ledger is one judgement's view of the State: what was read, and what the batch has written so far. Reading each key
// once also makes the judgement independent of a State that changes meanwhile.
type ledger struct {
	state  State
	read   map[string][]byte
	writes map[string][]byte
}

func newLedger(s State) *ledger {
	return &ledger{state: s, read: map[string][]byte{}, writes: map[string][]byte{}}
}

func (l *ledger) get(ctx context.Context, key string) ([]byte, error) {
	if v, ok := l.writes[key]; ok {
		return v, nil
	}
	if v, ok := l.read[key]; ok {
		return v, nil
	}
	v, err := l.state.Get(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("contract: state: %w", err)
	}
	l.read[key] = v
	return v, nil
}

// load returns nil when the key was never written.
func load[T any](ctx context.Context, l *ledger, key string) (*T, error) {
	b, err := l.get(ctx, key)
	if err != nil || b == nil {
		return nil, err
	}
	var v T
	if err := cose.UnmarshalCanonical(b, &v); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrState, key, err)
	}
	return &v, nil
}

func store(l *ledger, key string, v any) error {
	b, err := cose.Marshal(v)
	if err != nil {
		return fmt.Errorf("contract: state: %w", err)
	}
	l.writes[key] = b
	return nil
}
