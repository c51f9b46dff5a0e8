package pki

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emmansun/gmsm/smx509"
	"golang.org/x/crypto/cryptobyte"

	"github.com/elicence/elicence/signer"
	"github.com/elicence/elicence/signer/purpose"
)

// MaxCRL bounds a revocation list in bytes.
const MaxCRL = 8 << 20

// ErrCRL says that bytes are not a revocation list of the kind that we accept.
var ErrCRL = errors.New("pki: not a revocation list in DER")

// Reason is a CRL reason code (RFC 5280, 5.3.1).
type Reason int

// Reasons. A revocation for compromise reaches back: what was signed before it, but cannot prove it, is not believed.
const (
	Unspecified          Reason = 0
	KeyCompromise        Reason = 1
	CACompromise         Reason = 2
	AffiliationChanged   Reason = 3
	Replaced             Reason = 4 // "superseded" in RFC 5280
	CessationOfOperation Reason = 5
	CertificateHold      Reason = 6
	PrivilegeWithdrawn   Reason = 9
	AACompromise         Reason = 10
)

// Compromise reports whether somebody else may have had the key.
func (r Reason) Compromise() bool {
	return r == KeyCompromise || r == CACompromise || r == AACompromise
}

// words of RFC 5280, in the order of the codes; "" is no reason, or (removeFromCRL) not one of a full list.
func words() []string {
	return []string{"unspecified", "keyCompromise", "cACompromise", "affiliationChanged", "superseded",
		"cessationOfOperation", "certificateHold", "", "", "privilegeWithdrawn", "aACompromise"}
}

func (r Reason) known() bool {
	w := words()
	return r >= 0 && int(r) < len(w) && w[r] != ""
}

// ParseReason reads the word of RFC 5280; ErrCRL for any other.
func ParseReason(word string) (Reason, error) {
	if r := slices.Index(words(), word); r >= 0 && word != "" {
		return Reason(r), nil
	}
	return 0, fmt.Errorf("%w: a reason is one of %s", ErrCRL, strings.Join(slices.DeleteFunc(words(), func(w string) bool { return w == "" }), ", "))
}

// String is the word of RFC 5280.
func (r Reason) String() string {
	if r.known() {
		return words()[r]
	}
	return "reason " + strconv.Itoa(int(r))
}

// Revoked is one entry: from At on the certificate is not to be believed. On a list that is read, At is the earlier of
// revocation date and invalidity date (RFC 5280, 5.3.2) if the reason is a compromise, else the revocation date.
type Revoked struct {
	Serial *big.Int
	At     time.Time // whole seconds
	Reason Reason
}

// CRL is one parsed list. It is immutable and safe for concurrent use.
type CRL struct {
	list    *smx509.RevocationList
	rs      []byte
	revoked map[string]Revoked // by the bytes of the serial number
}

// IssueCRL makes a full list, signed by caKey, whose certificate is ca. Times are cut to seconds. ErrTemplate if it
// would be a list that ParseCRL refuses.
func IssueCRL(ctx context.Context, caKey signer.Key, ca *Certificate, revoked []Revoked, number *big.Int, thisUpdate, nextUpdate time.Time) ([]byte, error) {
	if number == nil || number.Sign() < 0 || number.BitLen() >= 20*8 || !nextUpdate.After(thisUpdate) {
		return nil, fmt.Errorf("%w: a list with this number and these times", ErrTemplate)
	}
	template := &smx509.RevocationList{Number: number, ThisUpdate: thisUpdate.UTC().Truncate(time.Second),
		NextUpdate: nextUpdate.UTC().Truncate(time.Second), SignatureAlgorithm: smx509.SM2WithSM3}
	seen := make(map[string]bool, len(revoked))
	for _, r := range revoked {
		if r.Serial == nil || r.Serial.Sign() <= 0 || seen[r.Serial.String()] || !r.Reason.known() {
			return nil, fmt.Errorf("%w: an entry without serial number or with an unknown reason, or one twice", ErrTemplate)
		}
		seen[r.Serial.String()] = true
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

// ParseCRL reads one full list of version 2 signed with SM2 and SM3, with a number and a next update. Anything else, any
// byte that no field accounts for, and any encoding that is not DER is ErrCRL. It never panics, and looks at MaxCRL
// bytes at most.
func ParseCRL(der []byte) (*CRL, error) {
	if len(der) == 0 || len(der) > MaxCRL {
		return nil, fmt.Errorf("%w: %d bytes", ErrCRL, len(der))
	}
	if err := checkDER(der, 0); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCRL, err)
	}
	tbs, algorithm, rs, err := readSigned(der)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCRL, err)
	}
	extensions, err := checkTBSCertList(tbs, algorithm)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCRL, err)
	}
	if err := checkListExtensions(extensions); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCRL, err)
	}
	list, err := smx509.ParseRevocationList(bytes.Clone(der))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCRL, err)
	}
	if list.SignatureAlgorithm != smx509.SM2WithSM3 || list.Number == nil || !bytes.Equal(list.Raw, der) ||
		list.NextUpdate.Before(list.ThisUpdate) {
		return nil, fmt.Errorf("%w: algorithm, number or times", ErrCRL)
	}
	c := &CRL{list: list, rs: rs, revoked: make(map[string]Revoked, len(list.RevokedCertificateEntries))}
	for _, e := range list.RevokedCertificateEntries {
		key := string(e.SerialNumber.Bytes())
		if _, twice := c.revoked[key]; twice {
			return nil, fmt.Errorf("%w: a serial number twice", ErrCRL)
		}
		r := Revoked{Serial: e.SerialNumber, At: e.RevocationTime, Reason: Reason(e.ReasonCode)}
		for _, x := range e.Extensions {
			if !x.Id.Equal(oidInvalidityDate) || !r.Reason.Compromise() {
				continue
			}
			since, err := readInvalidityDate(x.Value)
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrCRL, err)
			}
			if since.Before(r.At) {
				r.At = since
			}
		}
		c.revoked[key] = r
	}
	return c, nil
}

// readInvalidityDate reads a GeneralizedTime, also before 2050 (RFC 5280, 5.3.2).
func readInvalidityDate(value []byte) (time.Time, error) {
	in := cryptobyte.String(value)
	var at time.Time
	if checkDER(value, 0) != nil || !in.ReadASN1GeneralizedTime(&at) || !in.Empty() {
		return at, errors.New("the invalidity date of an entry")
	}
	return at, nil
}

// Revoked looks a serial number up.
func (l *CRL) Revoked(serial *big.Int) (Revoked, bool) {
	if serial == nil || serial.Sign() <= 0 {
		return Revoked{}, false
	}
	r, ok := l.revoked[string(serial.Bytes())]
	return r, ok
}

// Len is the number of entries.
func (l *CRL) Len() int { return len(l.revoked) }

// Raw is the DER. Callers must not change it.
func (l *CRL) Raw() []byte { return l.list.Raw }

// IssuerDN is the DER name of the CA. Callers must not change it.
func (l *CRL) IssuerDN() []byte { return l.list.RawIssuer }

// ThisUpdate is when the list was made.
func (l *CRL) ThisUpdate() time.Time { return l.list.ThisUpdate }

// NextUpdate is by when the next list is promised.
func (l *CRL) NextUpdate() time.Time { return l.list.NextUpdate }

// Number grows from list to list.
func (l *CRL) Number() *big.Int { return new(big.Int).Set(l.list.Number) }

// CheckSignedBy checks that ca, which may sign lists, signed this one: ErrUntrusted, or ErrSignature.
func (l *CRL) CheckSignedBy(ca *Certificate) error {
	if !bytes.Equal(l.list.RawIssuer, ca.c.RawSubject) || !ca.IsCA() || ca.c.KeyUsage&smx509.KeyUsageCRLSign == 0 {
		return fmt.Errorf("%w: the revocation list is another CA's", ErrUntrusted)
	}
	return ca.VerifySignature(l.list.RawTBSRevocationList, l.rs)
}
