package pki

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
	"time"

	"github.com/emmansun/gmsm/sm3"
	"github.com/emmansun/gmsm/smx509"
	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/elicence/elicence/signer"
	"github.com/elicence/elicence/signer/purpose"
)

// MaxCertificate bounds one certificate in bytes.
const MaxCertificate = 16 << 10

// ErrCertificate says that bytes are not a certificate of the kind that we accept.
var ErrCertificate = errors.New("pki: not an SM2 certificate in DER")

// Object identifiers of the demonstration PKI, under 2.999, the arc that ITU-T X.660 keeps for examples: nothing under
// it can be mistaken for a registered meaning. A production CA has its own; there the trust file says what a
// certificate is for, and Purpose returns "".
var (
	oidDemonstration = asn1.ObjectIdentifier{2, 999, 156, 1, 1}
	oidPurposes      = map[purpose.Purpose]asn1.ObjectIdentifier{
		purpose.Documents:            {2, 999, 156, 2, 1},
		purpose.Events:               {2, 999, 156, 2, 2},
		purpose.Checkpoints:          {2, 999, 156, 2, 3},
		purpose.StatusLists:          {2, 999, 156, 2, 4},
		purpose.TrustFiles:           {2, 999, 156, 2, 5},
		purpose.CertificateAuthority: {2, 999, 156, 2, 6},
	}
	// organizationIdentifier, ITU-T X.520: holds the unified social credit code.
	oidOrganisationIdentifier = asn1.ObjectIdentifier{2, 5, 4, 97}
)

// demonstrationUnit is the mark that people see when they open a demonstration certificate.
const demonstrationUnit = "DEMONSTRATION 样张"

// Certificate is one parsed certificate. It is immutable and safe for concurrent use.
type Certificate struct {
	c             *smx509.Certificate
	sum           [32]byte
	public        *ecdsa.PublicKey
	organisation  string
	purpose       purpose.Purpose
	demonstration bool
}

// ParseCertificate reads one X.509 version 3 certificate with an SM2 key, signed with SM2 and SM3. Anything else, any
// byte behind it and any encoding that is not DER is ErrCertificate. It never panics.
func ParseCertificate(der []byte) (_ *Certificate, err error) {
	if len(der) == 0 || len(der) > MaxCertificate {
		return nil, fmt.Errorf("%w: %d bytes", ErrCertificate, len(der))
	}
	if err := checkDER(der, 0); err != nil {
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
	if spki, err := MarshalPublicKey(pub); err != nil || !bytes.Equal(spki, parsed.RawSubjectPublicKeyInfo) {
		return nil, fmt.Errorf("%w: public key", ErrCertificate)
	}
	if _, err := SignatureRS(parsed.Signature); err != nil {
		return nil, fmt.Errorf("%w: signature value", ErrCertificate)
	}
	if len(parsed.UnhandledCriticalExtensions) > 0 {
		return nil, fmt.Errorf("%w: a critical extension that is not understood", ErrCertificate)
	}
	c := &Certificate{c: parsed, sum: sm3.Sum(der), public: pub}
	for _, n := range parsed.Subject.Names {
		if n.Type.Equal(oidOrganisationIdentifier) {
			s, ok := n.Value.(string)
			if !ok || c.organisation != "" {
				return nil, fmt.Errorf("%w: organizationIdentifier", ErrCertificate)
			}
			c.organisation = s
		}
	}
	for _, id := range parsed.UnknownExtKeyUsage {
		for p, want := range oidPurposes {
			if !id.Equal(want) {
				continue
			}
			if c.purpose != "" {
				return nil, fmt.Errorf("%w: two purposes", ErrCertificate)
			}
			c.purpose = p
		}
	}
	for _, e := range parsed.Extensions {
		c.demonstration = c.demonstration || e.Id.Equal(oidDemonstration)
	}
	return c, nil
}

// checkDER holds every length to the shortest form and every constructed value to its parts; smx509 is more lenient in
// places that a second encoding could hide in.
func checkDER(b []byte, depth int) error {
	if depth > 32 {
		return errors.New("nested too deeply")
	}
	in := cryptobyte.String(b)
	for !in.Empty() {
		var element cryptobyte.String
		var tag cbasn1.Tag
		if !in.ReadAnyASN1Element(&element, &tag) {
			return errors.New("not DER")
		}
		if tag&0x20 == 0 {
			continue
		}
		var inner cryptobyte.String
		if !element.ReadAnyASN1(&inner, &tag) {
			return errors.New("not DER")
		}
		if err := checkDER(inner, depth+1); err != nil {
			return err
		}
	}
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

// Demonstration reports the mark that only a demonstration authority sets.
func (c *Certificate) Demonstration() bool { return c.demonstration }

// IsCA reports whether the certificate may sign certificates.
func (c *Certificate) IsCA() bool {
	return c.c.BasicConstraintsValid && c.c.IsCA && c.c.KeyUsage&smx509.KeyUsageCertSign != 0
}

// NotBefore and NotAfter are the validity, whole seconds, both inclusive (RFC 5280, 4.1.2.5).
func (c *Certificate) NotBefore() time.Time { return c.c.NotBefore }

// NotAfter is the last second of validity.
func (c *Certificate) NotAfter() time.Time { return c.c.NotAfter }

// SerialNumber is a copy.
func (c *Certificate) SerialNumber() *big.Int { return new(big.Int).Set(c.c.SerialNumber) }

// IssuerDN and SubjectDN are the DER names.
func (c *Certificate) IssuerDN() []byte { return c.c.RawIssuer }

// SubjectDN is the DER name of the holder.
func (c *Certificate) SubjectDN() []byte { return c.c.RawSubject }

// VerifySignature checks r‖s over message with the certificate's key; ErrSignature.
func (c *Certificate) VerifySignature(message, rs []byte) error {
	return VerifyRS(c.public, message, rs)
}

// CheckSignedBy checks that parent is a CA of the right name whose key signed c. It does not look at time.
func (c *Certificate) CheckSignedBy(parent *Certificate) error {
	if !bytes.Equal(c.c.RawIssuer, parent.c.RawSubject) || !parent.IsCA() {
		return fmt.Errorf("%w: the issuer is another, or no CA", ErrUntrusted)
	}
	rs, err := SignatureRS(c.c.Signature)
	if err != nil {
		return err
	}
	return parent.VerifySignature(c.c.RawTBSCertificate, rs)
}

// Template is what a certificate is to say.
type Template struct {
	CommonName       string
	Organisation     string
	OrganisationCode string
	Purpose          purpose.Purpose
	CA               bool
	MaxPathLen       int // of a CA: how many CAs may follow
	NotBefore        time.Time
	NotAfter         time.Time
	Demonstration    bool
	SerialNumber     *big.Int // nil: 16 random bytes
}

// keySigner is a signer.Key in the form that smx509 wants. smx509 hands it the whole message, never a digest.
type keySigner struct {
	ctx    context.Context
	key    signer.Key
	form   purpose.Form
	public *ecdsa.PublicKey
}

func (k keySigner) Public() crypto.PublicKey { return k.public }

func (k keySigner) Sign(_ io.Reader, message []byte, _ crypto.SignerOpts) ([]byte, error) {
	rs, err := k.key.Sign(k.ctx, k.form, message)
	if err != nil {
		return nil, err
	}
	return SignatureDER(rs)
}

// SignMessage is crypto.MessageSigner: without it smx509 would digest the message before it asks.
func (k keySigner) SignMessage(random io.Reader, message []byte, o crypto.SignerOpts) ([]byte, error) {
	return k.Sign(random, message, o)
}

// Issue makes a certificate for pub, signed by caKey, whose certificate is ca; ca nil makes it self-signed, and pub must
// be caKey's.
func Issue(ctx context.Context, caKey signer.Key, ca *Certificate, pub *ecdsa.PublicKey, t Template, random io.Reader) (*Certificate, error) {
	serial := t.SerialNumber
	if serial == nil {
		b := make([]byte, 16)
		if _, err := io.ReadFull(random, b); err != nil {
			return nil, fmt.Errorf("pki: serial number: %w", err)
		}
		b[0] = b[0]&0x3f | 0x40 // positive and of constant length
		serial = new(big.Int).SetBytes(b)
	}
	subject := pkix.Name{CommonName: t.CommonName, Country: []string{"CN"}}
	if t.Organisation != "" {
		subject.Organization = []string{t.Organisation}
	}
	if t.Demonstration {
		subject.OrganizationalUnit = []string{demonstrationUnit}
	}
	if t.OrganisationCode != "" {
		subject.ExtraNames = []pkix.AttributeTypeAndValue{{Type: oidOrganisationIdentifier, Value: t.OrganisationCode}}
	}
	spki, err := MarshalPublicKey(pub)
	if err != nil {
		return nil, err
	}
	keyID := sm3.Sum(spki)
	template := &smx509.Certificate{
		SerialNumber: serial, Subject: subject, NotBefore: t.NotBefore.UTC().Truncate(time.Second),
		NotAfter: t.NotAfter.UTC().Truncate(time.Second), BasicConstraintsValid: true, IsCA: t.CA,
		SignatureAlgorithm: smx509.SM2WithSM3, SubjectKeyId: keyID[:20], KeyUsage: smx509.KeyUsageDigitalSignature,
	}
	if t.CA {
		template.MaxPathLen, template.MaxPathLenZero = t.MaxPathLen, t.MaxPathLen == 0
		template.KeyUsage = smx509.KeyUsageCertSign | smx509.KeyUsageCRLSign
	} else if id, ok := oidPurposes[t.Purpose]; ok {
		template.UnknownExtKeyUsage = []asn1.ObjectIdentifier{id}
	} else {
		return nil, fmt.Errorf("pki: no certificates are made for %q", t.Purpose)
	}
	if t.Demonstration {
		template.ExtraExtensions = []pkix.Extension{{Id: oidDemonstration, Value: []byte{0x05, 0x00}}}
	}
	parent, caPublic := template, pub
	if ca != nil {
		parent, caPublic = ca.c, ca.public
	}
	der, err := smx509.CreateCertificate(random, template, parent, pub, keySigner{ctx, caKey, purpose.Certificate, caPublic})
	if err != nil {
		return nil, fmt.Errorf("pki: issue: %w", err)
	}
	return ParseCertificate(der)
}

// String names the certificate for people: common name and the first bytes of its SM3.
func (c *Certificate) String() string {
	return strings.ToValidUTF8(c.CommonName(), "?") + fmt.Sprintf(" %x", c.sum[:8])
}
