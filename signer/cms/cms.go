// Package cms is the signature value of a part: CMS SignedData (RFC 5652; GM/T 0010 by setting) with SM2 and SM3, in one
// canonical DER form. docs/formats/part.md describes it byte by byte.
//
// The reader is our own and small: what it is given came from outside. It never panics, looks at no more than MaxSize
// bytes, and refuses whatever is not, byte for byte, what Assemble writes from the values it found. All functions are
// safe for concurrent use.
package cms

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/emmansun/gmsm/sm3"

	"github.com/elicence/elicence/signer/pki"
)

// Bounds of one CMS.
const (
	MaxSize = 64 << 10 // bytes of DER
	MaxPath = 8        // certificates
)

var (
	// ErrFormat says that bytes are not a SignedData in our one form.
	ErrFormat = errors.New("cms: not a signature in our form")
	// ErrPath says that certificates are no path from leaf to the CA below the root.
	ErrPath = errors.New("cms: the certificates are no path")
	// ErrAttributes says that signed attributes are not those of this profile and path.
	ErrAttributes = errors.New("cms: these attributes are not for this profile and path")
	// ErrTime says that a signing time cannot be written: before 1950 or after 9999 (RFC 5652, 11.3).
	ErrTime = errors.New("cms: the signing time is out of range")
)

// Profile says by which object identifiers a SignedData names its content and its signature algorithm.
type Profile uint8

// Profiles. PKCS7 is what PDF readers know: content 1.2.840.113549.1.7.x, signature SM2-with-SM3. GMT0010 is GM/T
// 0010-2012: content 1.2.156.10197.6.1.4.2.x (clause 5), signature algorithm SM2 (clause 8.2).
const (
	PKCS7 Profile = iota
	GMT0010
)

// String names the profile as a configuration does.
func (p Profile) String() string {
	switch p {
	case PKCS7:
		return "pkcs7"
	case GMT0010:
		return "gmt0010"
	}
	return "unknown"
}

// oids holds whole OBJECT IDENTIFIER elements, tag and length included.
type oids struct{ signedData, data, signature []byte }

func (p Profile) oids() (oids, error) {
	switch p {
	case PKCS7:
		return oids{[]byte(oidSignedData), []byte(oidData), []byte(oidSM2WithSM3)}, nil
	case GMT0010:
		return oids{[]byte(oidSignedDataGM), []byte(oidDataGM), []byte(oidSM2Sign)}, nil
	}
	return oids{}, fmt.Errorf("%w: profile %d", ErrFormat, p)
}

// SignedData is one parsed CMS. Its slices and certificates must not be changed.
type SignedData struct {
	Profile     Profile
	Digest      [32]byte // messageDigest: SM3 of what was signed; the caller compares it
	SigningTime time.Time
	Path        []*pki.Certificate // leaf first, without root
	Attributes  []byte             // the signed message: DER SET OF Attribute, tag 0x31 (RFC 5652, 5.4)
	RS          []byte             // signature r‖s, 64 bytes
}

// SignedAttributes is the message to be signed for a part in profile PKCS7; see Profile.SignedAttributes.
func SignedAttributes(contentDigest [32]byte, signingTime time.Time, path []*pki.Certificate) ([]byte, error) {
	return PKCS7.SignedAttributes(contentDigest, signingTime, path)
}

// SignedAttributes is the message to be signed: DER SET OF Attribute with contentType, signingTime (cut to seconds),
// messageDigest and signingCertificateV2 (RFC 5035, 3: SM3 of every certificate of the path, leaf first). It fails with
// ErrPath and ErrTime.
func (p Profile) SignedAttributes(contentDigest [32]byte, signingTime time.Time, path []*pki.Certificate) ([]byte, error) {
	o, err := p.oids()
	if err != nil {
		return nil, err
	}
	if err := checkPath(path); err != nil {
		return nil, err
	}
	at, err := encodeTime(signingTime)
	if err != nil {
		return nil, err
	}
	var ids []byte
	for _, c := range path {
		sum := c.SM3()
		ids = append(ids, sequence(sequence([]byte(oidSM3)), element(tagOctetString, sum[:]))...)
	}
	// The order is that of DER (X.690, 11.6): by encoding, hence by length; the test asserts it.
	return element(tagSet,
		attribute(oidContentType, o.data),
		attribute(oidSigningTime, at),
		attribute(oidMessageDigest, element(tagOctetString, contentDigest[:])),
		attribute(oidSigningCertificateV2, sequence(sequence(ids))),
	), nil
}

// Assemble makes the CMS of a signature rs (r‖s, 64 bytes) over attrs, which SignedAttributes of the same profile and
// path must have made: ErrAttributes otherwise. It does not check the signature.
func Assemble(profile Profile, attrs, rs []byte, path []*pki.Certificate) ([]byte, error) {
	a, err := parseAttributes(attrs)
	if err != nil {
		return nil, err
	}
	again, err := profile.SignedAttributes(a.digest, a.time, path)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, attrs) {
		return nil, ErrAttributes
	}
	return assemble(profile, attrs, rs, path)
}

func assemble(profile Profile, attrs, rs []byte, path []*pki.Certificate) ([]byte, error) {
	o, err := profile.oids()
	if err != nil {
		return nil, err
	}
	value, err := pki.SignatureDER(rs)
	if err != nil {
		return nil, err
	}
	sorted := make([][]byte, len(path))
	for i, c := range path {
		sorted[i] = c.Raw()
	}
	slices.SortFunc(sorted, bytes.Compare) // a SET OF (X.690, 11.6); the path's order stands in the attributes
	leaf := path[0]
	digestAlgorithm := sequence([]byte(oidSM3))
	signerInfo := sequence(
		integer(1),
		sequence(leaf.IssuerDN(), bigInteger(leaf.SerialNumber())),
		digestAlgorithm,
		append([]byte{tagContext0}, attrs[1:]...), // [0] IMPLICIT: only the tag differs
		sequence(o.signature),
		element(tagOctetString, value),
	)
	return sequence(
		o.signedData,
		element(tagContext0, sequence(
			integer(1),
			element(tagSet, digestAlgorithm),
			sequence(o.data),
			element(tagContext0, sorted...),
			element(tagSet, signerInfo),
		)),
	), nil
}

// Room is the greatest size in bytes that the CMS of any signature under path can have: a signature takes at most 72
// bytes, all else is fixed.
func Room(profile Profile, path []*pki.Certificate) (int, error) {
	attrs, err := profile.SignedAttributes([32]byte{}, time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), path)
	if err != nil {
		return 0, err
	}
	der, err := assemble(profile, attrs, bytes.Repeat([]byte{0xff}, 64), path)
	return len(der), err
}

// Parse reads one CMS of at most MaxSize bytes. Anything that Assemble would not write wraps ErrFormat. Signature and
// trust are not judged: see Verify.
func Parse(der []byte) (*SignedData, error) { return ParseKnown(der, nil) }

// ParseKnown is Parse for a reader that has seen the certificates before: known returns the certificate with this SM3, or
// nil. What it returns is used instead of parsing the same bytes again, which is most of the cost.
func ParseKnown(der []byte, known func(sm3 [32]byte) *pki.Certificate) (*SignedData, error) {
	if len(der) > MaxSize {
		return nil, fmt.Errorf("%w: %d bytes", ErrFormat, len(der))
	}
	p, err := parse(der)
	if err != nil {
		return nil, err
	}
	s := &SignedData{Profile: p.profile, Digest: p.attributes.digest, SigningTime: p.attributes.time}
	if s.RS, err = pki.SignatureRS(p.signature); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if s.Path, err = path(p, known); err != nil {
		return nil, err
	}
	if s.Attributes, err = p.profile.SignedAttributes(s.Digest, s.SigningTime, s.Path); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	again, err := assemble(p.profile, s.Attributes, s.RS, s.Path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if !bytes.Equal(again, der) {
		return nil, fmt.Errorf("%w: another encoding of the same", ErrFormat)
	}
	return s, nil
}

// path puts the embedded certificates, which DER sorts, into the order that the attributes name.
func path(p parsed, known func(sm3 [32]byte) *pki.Certificate) ([]*pki.Certificate, error) {
	if len(p.certificates) != len(p.attributes.certificates) {
		return nil, fmt.Errorf("%w: other certificates than the attributes name", ErrFormat)
	}
	out := make([]*pki.Certificate, len(p.certificates))
	for _, der := range p.certificates {
		sum := sm3.Sum(der)
		i := slices.Index(p.attributes.certificates, sum)
		if i < 0 || out[i] != nil {
			return nil, fmt.Errorf("%w: other certificates than the attributes name", ErrFormat)
		}
		if known != nil {
			out[i] = known(sum)
		}
		if out[i] == nil {
			c, err := pki.ParseCertificate(der)
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrFormat, err)
			}
			out[i] = c
		}
	}
	return out, nil
}

// Verify checks the signature over the attributes with the leaf's key. Whether the digest is the file's and whether the
// path is to be trusted is for the caller.
func (s *SignedData) Verify() error { return s.Path[0].VerifySignature(s.Attributes, s.RS) }

// checkPath holds the certificates to a path by their names: each issued by the next, and the last by somebody else,
// for the root is not embedded (RFC 5652, 5.1 leaves that open). Signatures are checked by pki.
func checkPath(path []*pki.Certificate) error {
	if len(path) == 0 || len(path) > MaxPath {
		return fmt.Errorf("%w: %d of them", ErrPath, len(path))
	}
	size := len(path[0].IssuerDN()) + 1<<10 // the issuer stands a second time; all the rest is far below a kibibyte
	for i, c := range path {
		if size += len(c.Raw()); size >= MaxSize {
			return fmt.Errorf("%w: too large", ErrPath)
		}
		if bytes.Equal(c.IssuerDN(), c.SubjectDN()) {
			return fmt.Errorf("%w: a root among them", ErrPath)
		}
		if i > 0 && !bytes.Equal(path[i-1].IssuerDN(), c.SubjectDN()) {
			return fmt.Errorf("%w: one was not issued by the next", ErrPath)
		}
	}
	return nil
}
