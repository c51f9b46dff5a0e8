// Package credential is the small signed statement that a licence stands on, and what travels beside it: the credential
// of the QR code, the salted field tree whose root it signs, and licence.json, which opens that tree to whoever holds a
// part. docs/formats/credential.md describes the bytes.
//
// Everything that is read here came from outside: it is bounded, never panics, and is refused unless it encodes to the
// same bytes again. All functions are safe for concurrent use.
package credential

import (
	"context"
	"errors"
	"fmt"

	"github.com/elicence/elicence/signer"
	"github.com/elicence/elicence/signer/cose"
	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
)

// Type is the typ of the protected header (RFC 9596).
const Type = "elicence-credential"

var (
	// ErrFormat says that bytes are not one credential in its one encoding.
	ErrFormat = errors.New("credential: not a credential")
	// ErrCertificate says that a credential names another certificate than the one it is held against.
	ErrCertificate = errors.New("credential: signed under another certificate")
)

// envelope is how many bytes surround a payload of n bytes: tag, array, protected header, empty unprotected header,
// head of the payload, signature.
func envelope(n int) int {
	protected := 1 + 1 + 5 + 1 + 1 + len(Type) + 5 + 2 + 32
	return 2 + 2 + protected + 1 + len(appendHead(nil, cborBytes, uint64(n))) + 2 + cose.SignatureSize
}

// Credential is a parsed credential. Its signature is not checked until Verify.
type Credential struct {
	Payload     Payload
	Certificate [32]byte // SM3 of the signing certificate's DER

	message *cose.Message
}

// Sign makes the credential of p under key, whose certificate is cert. It fails with ErrPayload or ErrTooLong before
// the key is touched, and with whatever the key says.
func Sign(ctx context.Context, key signer.Key, cert *pki.Certificate, p Payload) ([]byte, error) {
	if _, err := p.Size(); err != nil {
		return nil, err
	}
	payload, err := p.encode()
	if err != nil {
		return nil, err
	}
	header := cose.Protected{Type: Type, Certificate: cert.SM3()}
	message, err := cose.ToBeSigned(header, purpose.AADCredential, payload)
	if err != nil {
		return nil, err
	}
	rs, err := key.Sign(ctx, purpose.Credential, message)
	if err != nil {
		return nil, fmt.Errorf("credential: signing: %w", err)
	}
	return cose.Assemble(header, payload, rs)
}

// Parse reads one credential of at most MaxSize bytes. Whatever Sign would not have written wraps ErrFormat.
func Parse(b []byte) (*Credential, error) {
	if len(b) > MaxSize {
		return nil, fmt.Errorf("%w: %d bytes", ErrFormat, len(b))
	}
	m, err := cose.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if m.Type != Type {
		return nil, fmt.Errorf("%w: of another type", ErrFormat)
	}
	p, err := parsePayload(m.Payload)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return &Credential{Payload: *p, Certificate: m.Certificate, message: m}, nil
}

// Verify checks the signature under cert. It fails with ErrCertificate if the credential names another one, and with
// what cert.VerifySignature says if the signature is not good.
func (c *Credential) Verify(cert *pki.Certificate) error {
	if cert.SM3() != c.Certificate {
		return ErrCertificate
	}
	return cert.VerifySignature(c.message.ToBeSigned(purpose.AADCredential), c.message.Signature)
}
