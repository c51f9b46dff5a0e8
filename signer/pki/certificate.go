package pki

import (
	"bytes"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/emmansun/gmsm/sm3"
	"github.com/emmansun/gmsm/smx509"

	"github.com/elicence/elicence/signer/purpose"
)

// MaxCertificate bounds one certificate in bytes.
const MaxCertificate = 16 << 10

// ErrCertificate says that bytes are not a certificate of the kind that we accept.
var ErrCertificate = errors.New("pki: not an SM2 certificate in DER")

// demonstrationUnit is the mark that people see when they open a demonstration certificate.
const demonstrationUnit = "DEMONSTRATION 样张"

// Certificate is one parsed certificate. It is immutable and safe for concurrent use. Callers that see the same
// certificate often should keep it, by its SM3: a kept one remembers which CA's signature was good.
type Certificate struct {
	c             *smx509.Certificate
	sum           [32]byte
	public        *ecdsa.PublicKey
	rs            []byte // the CA's signature
	organisation  string
	purpose       purpose.Purpose
	demonstration bool

	signedBy atomic.Pointer[[32]byte] // SM3 of the CA certificate that was last found to have signed this one
}

// ParseCertificate reads one X.509 version 3 certificate with an SM2 key, signed with SM2 and SM3 (GM/T 0015). Anything
// else, any byte that no field accounts for, any encoding that is not DER, and critical extensions that are not acted
// upon are ErrCertificate. It never panics, and looks at MaxCertificate bytes at most.
func ParseCertificate(der []byte) (*Certificate, error) {
	if len(der) == 0 || len(der) > MaxCertificate {
		return nil, fmt.Errorf("%w: %d bytes", ErrCertificate, len(der))
	}
	if err := checkDER(der, 0); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	tbs, algorithm, rs, err := readSigned(der)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	extensions, err := checkTBSCertificate(tbs, algorithm)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	if err := checkCertificateExtensions(extensions); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	parsed, err := smx509.ParseCertificate(bytes.Clone(der))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	pub, ok := parsed.PublicKey.(*ecdsa.PublicKey)
	if !ok || parsed.Version != 3 || parsed.SignatureAlgorithm != smx509.SM2WithSM3 {
		return nil, fmt.Errorf("%w: version, key or signature algorithm", ErrCertificate)
	}
	// Curves named by their parameters and compressed points are read by smx509, but they are second encodings.
	if spki, err := MarshalPublicKey(pub); err != nil || !bytes.Equal(spki, parsed.RawSubjectPublicKeyInfo) {
		return nil, fmt.Errorf("%w: public key", ErrCertificate)
	}
	c := &Certificate{c: parsed, sum: sm3.Sum(der), public: pub, rs: rs}
	if err := c.readMarks(extensions); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	return c, nil
}

// readMarks finds organisation, purpose and the demonstration mark.
func (c *Certificate) readMarks(extensions []extension) error {
	for _, n := range c.c.Subject.Names {
		if n.Type.Equal(oidOrganisationIdentifier) {
			s, ok := n.Value.(string)
			if !ok || s == "" || c.organisation != "" {
				return errors.New("organizationIdentifier is no text, or stands twice")
			}
			c.organisation = s
		}
	}
	for _, id := range c.c.UnknownExtKeyUsage {
		for _, known := range oidPurposes {
			if !id.Equal(known.id) {
				continue
			}
			if c.purpose != "" {
				return errors.New("two purposes")
			}
			c.purpose = known.purpose
		}
	}
	for _, e := range extensions {
		c.demonstration = c.demonstration || e.id.Equal(oidDemonstration)
	}
	// Either mark is enough: nothing that carries one may pass for a production certificate.
	c.demonstration = c.demonstration || slices.Contains(c.c.Subject.OrganizationalUnit, demonstrationUnit)
	return nil
}

// Raw is the DER. Callers must not change it.
func (c *Certificate) Raw() []byte { return c.c.Raw }

// SM3 is the digest of the DER.
func (c *Certificate) SM3() [32]byte { return c.sum }

// PublicKey is the SM2 key.
func (c *Certificate) PublicKey() *ecdsa.PublicKey { return c.public }

// OrganisationCode is the unified social credit code in organizationIdentifier, "" for none.
func (c *Certificate) OrganisationCode() string { return c.organisation }

// OrganisationName is the subject's organization, "" for none.
func (c *Certificate) OrganisationName() string {
	if len(c.c.Subject.Organization) == 0 {
		return ""
	}
	return c.c.Subject.Organization[0]
}

// CommonName is the subject's common name.
func (c *Certificate) CommonName() string { return c.c.Subject.CommonName }

// Purpose is what the certificate says that its key is for, "" when it does not say.
func (c *Certificate) Purpose() purpose.Purpose { return c.purpose }

// Demonstration reports the mark that a demonstration authority sets: the extension, or the organizational unit.
func (c *Certificate) Demonstration() bool { return c.demonstration }

// IsCA reports whether the certificate may sign certificates: basicConstraints and keyUsage both say so.
func (c *Certificate) IsCA() bool {
	return c.c.BasicConstraintsValid && c.c.IsCA && c.c.KeyUsage&smx509.KeyUsageCertSign != 0
}

// NotBefore is the first second of validity, which includes both ends (RFC 5280, 4.1.2.5).
func (c *Certificate) NotBefore() time.Time { return c.c.NotBefore }

// NotAfter is the last second of validity.
func (c *Certificate) NotAfter() time.Time { return c.c.NotAfter }

// SerialNumber is a copy.
func (c *Certificate) SerialNumber() *big.Int { return new(big.Int).Set(c.c.SerialNumber) }

// MaySign reports whether the key may sign messages: keyUsage has digitalSignature or nonRepudiation. Chinese
// authorities issue certificates in pairs (GM/T 0015-2012, annex), and the one for encryption must not vouch for a signature.
func (c *Certificate) MaySign() bool {
	return c.c.KeyUsage&(smx509.KeyUsageDigitalSignature|smx509.KeyUsageContentCommitment) != 0
}

// IssuerDN is the DER name of the CA. Callers must not change it.
func (c *Certificate) IssuerDN() []byte { return c.c.RawIssuer }

// SubjectDN is the DER name of the holder. Callers must not change it.
func (c *Certificate) SubjectDN() []byte { return c.c.RawSubject }

// VerifySignature checks r‖s over message with the certificate's key; ErrSignature.
func (c *Certificate) VerifySignature(message, rs []byte) error {
	return VerifyRS(c.public, message, rs)
}

// CheckSignedBy checks that parent is a CA of the right name whose key signed c: ErrUntrusted, or ErrSignature. It does
// not look at time. A good answer is remembered.
func (c *Certificate) CheckSignedBy(parent *Certificate) error {
	if known := c.signedBy.Load(); known != nil && *known == parent.sum {
		return nil
	}
	if !bytes.Equal(c.c.RawIssuer, parent.c.RawSubject) || !parent.IsCA() {
		return fmt.Errorf("%w: the issuer is another, or no CA", ErrUntrusted)
	}
	// RFC 5280, 4.2.1.1: where both name the key, they must name the same one.
	if a, s := c.c.AuthorityKeyId, parent.c.SubjectKeyId; len(a) > 0 && len(s) > 0 && !bytes.Equal(a, s) {
		return fmt.Errorf("%w: the issuer's key is another", ErrUntrusted)
	}
	if err := parent.VerifySignature(c.c.RawTBSCertificate, c.rs); err != nil {
		return err
	}
	c.signedBy.Store(&parent.sum)
	return nil
}

// String names the certificate for people: common name and the first bytes of its SM3.
func (c *Certificate) String() string {
	return strings.ToValidUTF8(c.CommonName(), "?") + fmt.Sprintf(" %x", c.sum[:8])
}
