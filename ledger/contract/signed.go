package contract

import (
	"context"
	"fmt"

	"github.com/elicence/elicence/signer"
	"github.com/elicence/elicence/signer/cose"
	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
	"github.com/emmansun/gmsm/sm3"
)

// Type is the typ header (RFC 9596) of an event's COSE Sign1.
const Type = "elicence/event/1"

// Signed is an event as its actor signed it.
type Signed struct {
	Event       Event
	Certificate [32]byte // SM3 of the actor's certificate; the certificate itself came with the enrolment
	Bytes       []byte   // COSE Sign1, tagged
	Hash        [32]byte // Hash(Bytes)

	message *cose.Message
}

// Hash is an event's name: SM3 of its bytes, signature included. The next event of the licence names it.
func Hash(event []byte) [32]byte { return sm3.Sum(event) }

// SignEvent encodes e and has the actor's event key sign it. cert is that key's certificate; its organisation must be
// the actor. The error is a *Refusal when e breaks a rule of form. The bytes differ from call to call, and with them the
// hash: sign once and keep them.
func SignEvent(ctx context.Context, key signer.Key, cert *pki.Certificate, e Event) ([]byte, error) {
	if cert.OrganisationCode() != e.Actor {
		return nil, refuse(RuleCertificateOfAnother)
	}
	payload, err := Encode(e)
	if err != nil {
		return nil, err
	}
	p := cose.Protected{Type: Type, Certificate: cert.SM3()}
	message, err := cose.ToBeSigned(p, purpose.AADEvent, payload)
	if err != nil {
		return nil, fmt.Errorf("contract: event: %w", err)
	}
	rs, err := key.Sign(ctx, purpose.Event, message)
	if err != nil {
		return nil, fmt.Errorf("contract: event: %w", err)
	}
	b, err := cose.Assemble(p, payload, rs)
	if err != nil {
		return nil, fmt.Errorf("contract: event: %w", err)
	}
	if len(b) > MaxEvent {
		return nil, refuse(RuleTooLarge)
	}
	return b, nil
}

// ParseEvent reads a signed event; the signature is not verified. The error is a *Refusal.
func ParseEvent(b []byte) (*Signed, error) {
	s, r := parseEvent(b)
	if r != nil {
		return nil, r
	}
	return s, nil
}

func parseEvent(b []byte) (*Signed, *Refusal) {
	if len(b) > MaxEvent {
		return nil, refuse(RuleTooLarge)
	}
	m, err := cose.Parse(b)
	if err != nil || m.Type != Type {
		return nil, refuse(RuleMalformed)
	}
	e, r := parse(m.Payload)
	if r != nil {
		return nil, r
	}
	return &Signed{Event: e, Certificate: m.Certificate, Bytes: b, Hash: Hash(b), message: m}, nil
}

// Verify checks the signature with the certificate that the event names. It says nothing about whether that certificate
// is the actor's or was enrolled. The error is a *Refusal.
func (s *Signed) Verify(cert *pki.Certificate) error {
	if r := s.verify(cert); r != nil {
		return r
	}
	return nil
}

func (s *Signed) verify(cert *pki.Certificate) *Refusal {
	if cert.SM3() != s.Certificate {
		return refuse(RuleCertificateOfAnother)
	}
	if cert.VerifySignature(s.message.ToBeSigned(purpose.AADEvent), s.message.Signature) != nil {
		return refuse(RuleSignature)
	}
	return nil
}
