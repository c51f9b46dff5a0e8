package pki

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/emmansun/gmsm/smx509"

	"github.com/elicence/elicence/signer"
	"github.com/elicence/elicence/signer/purpose"
)

// MaxCRL bounds a revocation list in bytes.
const MaxCRL = 8 << 20

// ErrCRL says that bytes are not a revocation list of the kind that we accept.
var ErrCRL = errors.New("pki: not a revocation list in DER")

// Reason is a CRL reason code (RFC 5280, 5.3.1).
type Reason int

// Reasons. KeyCompromise is the one that reaches back: what was signed before, but cannot prove it, is not believed.
const (
	Unspecified          Reason = 0
	KeyCompromise        Reason = 1
	CACompromise         Reason = 2
	AffiliationChanged   Reason = 3
	Replaced             Reason = 4
	CessationOfOperation Reason = 5
)

var reasonWords = map[string]Reason{"unspecified": Unspecified, "keyCompromise": KeyCompromise, "cACompromise": CACompromise,
	"affiliationChanged": AffiliationChanged, "superseded": Replaced, "cessationOfOperation": CessationOfOperation}

// ParseReason reads the word of RFC 5280.
func ParseReason(word string) (Reason, error) {
	r, ok := reasonWords[word]
	if !ok {
		return 0, errors.New("pki: a reason is keyCompromise, superseded, cessationOfOperation, affiliationChanged, cACompromise or unspecified")
	}
	return r, nil
}

// String is the word of RFC 5280.
func (r Reason) String() string {
	for word, v := range reasonWords {
		if v == r {
			return word
		}
	}
	return "unspecified"
}

// Revoked is one entry: from At on the certificate is not to be believed.
type Revoked struct {
	Serial *big.Int
	At     time.Time
	Reason Reason
}

// CRL is one parsed list. It is immutable and safe for concurrent use.
type CRL struct {
	list    *smx509.RevocationList
	revoked map[string]Revoked
}

// IssueCRL makes a full list, signed by caKey, whose certificate is ca.
func IssueCRL(ctx context.Context, caKey signer.Key, ca *Certificate, revoked []Revoked, number *big.Int, thisUpdate, nextUpdate time.Time) ([]byte, error) {
	template := &smx509.RevocationList{Number: number, ThisUpdate: thisUpdate.UTC().Truncate(time.Second),
		NextUpdate: nextUpdate.UTC().Truncate(time.Second), SignatureAlgorithm: smx509.SM2WithSM3}
	for _, r := range revoked {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, smx509.RevocationListEntry{
			SerialNumber: r.Serial, RevocationTime: r.At.UTC().Truncate(time.Second), ReasonCode: int(r.Reason)})
	}
	der, err := smx509.CreateRevocationList(nil, template, ca.c, keySigner{ctx, caKey, purpose.Revocations, ca.public})
	if err != nil {
		return nil, fmt.Errorf("pki: issue the revocation list: %w", err)
	}
	if _, err := ParseCRL(der); err != nil {
		return nil, err
	}
	return der, nil
}

// ParseCRL reads one list signed with SM2 and SM3. Anything else is ErrCRL; it never panics.
func ParseCRL(der []byte) (*CRL, error) {
	if len(der) == 0 || len(der) > MaxCRL {
		return nil, fmt.Errorf("%w: %d bytes", ErrCRL, len(der))
	}
	if err := checkDER(der, 0); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCRL, err)
	}
	list, err := smx509.ParseRevocationList(bytes.Clone(der))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCRL, err)
	}
	if list.SignatureAlgorithm != smx509.SM2WithSM3 || !bytes.Equal(list.Raw, der) {
		return nil, fmt.Errorf("%w: signature algorithm, or bytes behind the end", ErrCRL)
	}
	c := &CRL{list: list, revoked: make(map[string]Revoked, len(list.RevokedCertificateEntries))}
	for _, e := range list.RevokedCertificateEntries {
		key := e.SerialNumber.String()
		if _, twice := c.revoked[key]; twice {
			return nil, fmt.Errorf("%w: a serial number twice", ErrCRL)
		}
		c.revoked[key] = Revoked{Serial: e.SerialNumber, At: e.RevocationTime, Reason: Reason(e.ReasonCode)}
	}
	return c, nil
}

// Revoked looks a serial number up.
func (l *CRL) Revoked(serial *big.Int) (Revoked, bool) {
	r, ok := l.revoked[serial.String()]
	return r, ok
}

// IssuerDN is the DER name of the CA.
func (l *CRL) IssuerDN() []byte { return l.list.RawIssuer }

// ThisUpdate is when the list was made.
func (l *CRL) ThisUpdate() time.Time { return l.list.ThisUpdate }

// NextUpdate is by when the next list is promised.
func (l *CRL) NextUpdate() time.Time { return l.list.NextUpdate }

// Number grows from list to list.
func (l *CRL) Number() *big.Int { return new(big.Int).Set(l.list.Number) }

// CheckSignedBy checks that ca signed the list.
func (l *CRL) CheckSignedBy(ca *Certificate) error {
	if !bytes.Equal(l.list.RawIssuer, ca.c.RawSubject) || ca.c.KeyUsage&smx509.KeyUsageCRLSign == 0 {
		return fmt.Errorf("%w: the revocation list is another CA's", ErrUntrusted)
	}
	rs, err := SignatureRS(l.list.Signature)
	if err != nil {
		return err
	}
	return ca.VerifySignature(l.list.RawTBSRevocationList, rs)
}
