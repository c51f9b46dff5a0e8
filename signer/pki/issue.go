package pki

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"time"

	"github.com/emmansun/gmsm/sm3"
	"github.com/emmansun/gmsm/smx509"

	"github.com/elicence/elicence/signer"
	"github.com/elicence/elicence/signer/purpose"
)

// ErrTemplate says that no certificate or list can be made as asked for.
var ErrTemplate = errors.New("pki: this cannot be certified")

// Template is what a certificate is to say.
type Template struct {
	CommonName       string
	Organisation     string
	OrganisationCode string          // unified social credit code; "" for a CA of nobody in particular
	Purpose          purpose.Purpose // of a leaf; a CA's is CertificateAuthority or ""
	CA               bool
	MaxPathLen       int // of a CA: how many CAs may follow; -1 any number
	NotBefore        time.Time
	NotAfter         time.Time
	Demonstration    bool
	SerialNumber     *big.Int // nil: 16 random bytes
}

// check finds what would make a certificate that nobody may rely on.
func (t Template) check(ca *Certificate) error {
	switch {
	case t.CommonName == "":
		return fmt.Errorf("%w: no common name", ErrTemplate)
	case !t.NotAfter.After(t.NotBefore):
		return fmt.Errorf("%w: it would end before it begins", ErrTemplate)
	case t.NotBefore.Year() < 1950 || t.NotAfter.Year() > 9999:
		return fmt.Errorf("%w: a year that certificates cannot hold", ErrTemplate)
	case t.CA && t.Purpose != "" && t.Purpose != purpose.CertificateAuthority:
		return fmt.Errorf("%w: a CA for %s: one key, one purpose", ErrTemplate, t.Purpose)
	case t.CA && t.MaxPathLen < -1:
		return fmt.Errorf("%w: a path length of %d", ErrTemplate, t.MaxPathLen)
	case !t.CA && t.MaxPathLen != 0:
		return fmt.Errorf("%w: a path length on what is no CA", ErrTemplate)
	case !t.CA && purposeOID(t.Purpose) == nil:
		return fmt.Errorf("%w: no certificates are made for purpose %q", ErrTemplate, t.Purpose)
	case ca != nil && !ca.IsCA():
		return fmt.Errorf("%w: the issuer is no CA", ErrTemplate)
	case ca != nil && ca.Demonstration() && !t.Demonstration:
		return fmt.Errorf("%w: a demonstration CA certifies demonstrations only", ErrTemplate)
	case t.SerialNumber != nil && (t.SerialNumber.Sign() <= 0 || t.SerialNumber.BitLen() >= 20*8):
		return fmt.Errorf("%w: serial numbers are positive and of 20 bytes at most", ErrTemplate)
	}
	return nil
}

func (t Template) subject() pkix.Name {
	name := pkix.Name{CommonName: t.CommonName, Country: []string{"CN"}}
	if t.Organisation != "" {
		name.Organization = []string{t.Organisation}
	}
	if t.Demonstration {
		name.OrganizationalUnit = []string{demonstrationUnit}
	}
	if t.OrganisationCode != "" {
		name.ExtraNames = []pkix.AttributeTypeAndValue{{Type: oidOrganisationIdentifier, Value: t.OrganisationCode}}
	}
	return name
}

// keySigner is a signer.Key in the form that smx509 wants.
type keySigner struct {
	ctx    context.Context
	key    signer.Key
	form   purpose.Form
	public *ecdsa.PublicKey
}

func (k keySigner) Public() crypto.PublicKey { return k.public }

// Sign is never asked: smx509 sees SignMessage and hands that the whole message.
func (k keySigner) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("pki: no digest is signed")
}

// SignMessage is crypto.MessageSigner.
func (k keySigner) SignMessage(_ io.Reader, message []byte, _ crypto.SignerOpts) ([]byte, error) {
	rs, err := k.key.Sign(k.ctx, k.form, message)
	if err != nil {
		return nil, err
	}
	return SignatureDER(rs)
}

// Issue makes a certificate for pub, signed by caKey, whose certificate is ca; ca nil makes it self-signed, and pub must
// be caKey's. Times are cut to seconds. random is read for the serial number only. ErrTemplate if t cannot be certified;
// the new signature is checked before the certificate is returned.
func Issue(ctx context.Context, caKey signer.Key, ca *Certificate, pub *ecdsa.PublicKey, t Template, random io.Reader) (*Certificate, error) {
	if err := t.check(ca); err != nil {
		return nil, err
	}
	serial := t.SerialNumber
	if serial == nil {
		b := make([]byte, 16)
		if _, err := io.ReadFull(random, b); err != nil {
			return nil, fmt.Errorf("pki: serial number: %w", err)
		}
		b[0] = b[0]&0x3f | 0x40 // positive and of constant length
		serial = new(big.Int).SetBytes(b)
	}
	spki, err := MarshalPublicKey(pub)
	if err != nil {
		return nil, err
	}
	keyID := sm3.Sum(spki)
	template := &smx509.Certificate{
		SerialNumber: serial, Subject: t.subject(), NotBefore: t.NotBefore.UTC().Truncate(time.Second),
		NotAfter: t.NotAfter.UTC().Truncate(time.Second), BasicConstraintsValid: true, IsCA: t.CA,
		SignatureAlgorithm: smx509.SM2WithSM3, SubjectKeyId: keyID[:20], KeyUsage: smx509.KeyUsageDigitalSignature,
	}
	if t.CA {
		template.MaxPathLen, template.MaxPathLenZero = t.MaxPathLen, t.MaxPathLen == 0
		template.KeyUsage = smx509.KeyUsageCertSign | smx509.KeyUsageCRLSign
	} else {
		template.UnknownExtKeyUsage = []asn1.ObjectIdentifier{purposeOID(t.Purpose)}
	}
	if t.Demonstration {
		template.ExtraExtensions = []pkix.Extension{{Id: oidDemonstration, Value: asn1.NullBytes}}
	}
	parent, caPublic := template, pub
	if ca != nil {
		parent, caPublic = ca.c, ca.public
	}
	der, err := smx509.CreateCertificate(random, template, parent, pub, keySigner{ctx, caKey, purpose.Certificate, caPublic})
	if err != nil {
		return nil, fmt.Errorf("pki: issue: %w", err)
	}
	c, err := ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("pki: issue: %w", err)
	}
	return c, nil
}
