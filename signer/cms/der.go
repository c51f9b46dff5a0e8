package cms

import (
	"fmt"
	"math/big"
	"time"
)

// Tags (X.690).
const (
	tagInteger         = 0x02
	tagOctetString     = 0x04
	tagUTCTime         = 0x17
	tagGeneralizedTime = 0x18
	tagSequence        = 0x30
	tagSet             = 0x31
	tagContext0        = 0xa0 // constructed [0]
)

// Object identifiers as whole elements. The parameters of all algorithms are absent, as they are where SM2 and SM3 have
// none (GM/T 0006-2012 gives the identifiers; RFC 5754, 2 has the same rule for SHA-2).
const (
	oidData       = "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01"     // 1.2.840.113549.1.7.1
	oidSignedData = "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02"     // 1.2.840.113549.1.7.2
	oidSM2WithSM3 = "\x06\x08\x2a\x81\x1c\xcf\x55\x01\x83\x75"         // 1.2.156.10197.1.501
	oidSM3        = "\x06\x08\x2a\x81\x1c\xcf\x55\x01\x83\x11"         // 1.2.156.10197.1.401
	oidSM2Sign    = "\x06\x09\x2a\x81\x1c\xcf\x55\x01\x82\x2d\x01"     // 1.2.156.10197.1.301.1
	oidDataGM     = "\x06\x0a\x2a\x81\x1c\xcf\x55\x06\x01\x04\x02\x01" // 1.2.156.10197.6.1.4.2.1
	// 1.2.156.10197.6.1.4.2.2
	oidSignedDataGM  = "\x06\x0a\x2a\x81\x1c\xcf\x55\x06\x01\x04\x02\x02"
	oidContentType   = "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x09\x03" // 1.2.840.113549.1.9.3
	oidMessageDigest = "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x09\x04" // 1.2.840.113549.1.9.4
	oidSigningTime   = "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x09\x05" // 1.2.840.113549.1.9.5
	// 1.2.840.113549.1.9.16.2.47
	oidSigningCertificateV2 = "\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x02\x2f"
)

// element writes one element with the shortest length (X.690, 10.1).
func element(tag byte, parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	b := make([]byte, 0, 4+n)
	switch {
	case n < 0x80:
		b = append(b, tag, byte(n))
	case n < 0x100:
		b = append(b, tag, 0x81, byte(n))
	default: // nothing here is as long as 64 KiB by far
		b = append(b, tag, 0x82, byte(n>>8), byte(n))
	}
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

func sequence(parts ...[]byte) []byte { return element(tagSequence, parts...) }

func attribute(oid string, value []byte) []byte {
	return sequence([]byte(oid), element(tagSet, value))
}

func integer(n byte) []byte { return []byte{tagInteger, 1, n} }

func bigInteger(n *big.Int) []byte {
	b := n.Bytes()
	if len(b) == 0 || b[0]&0x80 != 0 {
		b = append([]byte{0}, b...)
	}
	return element(tagInteger, b)
}

// encodeTime writes UTCTime until 2049 and GeneralizedTime from then on (RFC 5652, 11.3).
func encodeTime(t time.Time) ([]byte, error) {
	t = t.UTC()
	switch year := t.Year(); {
	case 1950 <= year && year <= 2049:
		return element(tagUTCTime, []byte(t.Format("060102150405Z"))), nil
	case 2050 <= year && year <= 9999:
		return element(tagGeneralizedTime, []byte(t.Format("20060102150405Z"))), nil
	}
	return nil, ErrTime
}

// decodeTime reads one of the two; the caller's re-encoding finds other spellings.
func decodeTime(tag byte, b []byte) (time.Time, bool) {
	if tag == tagGeneralizedTime {
		t, err := time.Parse("20060102150405Z", string(b))
		return t, err == nil
	}
	t, err := time.Parse("060102150405Z", string(b))
	if t.Year() >= 2050 { // 50 … 99 are the last century's
		t = t.AddDate(-100, 0, 0)
	}
	return t, err == nil && tag == tagUTCTime
}

// reader takes elements off its front. The first that does not fit makes it bad, and it stays so.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fail() []byte {
	r.b, r.bad = nil, true
	return nil
}

// any takes the next element off and returns its tag, its contents and the whole of it.
func (r *reader) any() (tag byte, contents, whole []byte) {
	b := r.b
	if len(b) < 2 || b[0]&0x1f == 0x1f { // tags of more than one byte do not occur
		return 0, r.fail(), nil
	}
	n, head := int(b[1]), 2
	if n >= 0x80 {
		size := n & 0x7f
		if size == 0 || size > 2 || len(b) < 2+size { // indefinite, or beyond MaxSize
			return 0, r.fail(), nil
		}
		n, head = 0, 2+size
		for _, c := range b[2:head] {
			n = n<<8 | int(c)
		}
		if n < 0x80 || size == 2 && n < 0x100 {
			return 0, r.fail(), nil
		}
	}
	if len(b)-head < n {
		return 0, r.fail(), nil
	}
	r.b = b[head+n:]
	return b[0], b[head : head+n], b[:head+n]
}

// take takes an element of this tag off and returns its contents.
func (r *reader) take(tag byte) []byte {
	t, contents, _ := r.any()
	if t != tag {
		return r.fail()
	}
	return contents
}

func (r *reader) in(tag byte) reader {
	contents := r.take(tag)
	return reader{b: contents, bad: r.bad}
}

// want takes these very bytes off.
func (r *reader) want(s string) {
	if len(r.b) < len(s) || string(r.b[:len(s)]) != s {
		r.fail()
		return
	}
	r.b = r.b[len(s):]
}

// done reports whether everything fitted and nothing is left.
func (r *reader) done() bool { return !r.bad && len(r.b) == 0 }

// parsed is what stands in a CMS, before it is held against its re-encoding.
type parsed struct {
	profile      Profile
	certificates [][]byte
	attributes   attributes
	signature    []byte
}

type attributes struct {
	digest       [32]byte
	time         time.Time
	certificates [][32]byte
}

func parse(der []byte) (p parsed, err error) {
	fail := func(what string) (parsed, error) { return parsed{}, fmt.Errorf("%w: %s", ErrFormat, what) }
	r := reader{b: der}
	contentInfo := r.in(tagSequence)
	if !r.done() {
		return fail("ContentInfo")
	}
	_, _, contentType := contentInfo.any()
	switch string(contentType) {
	case oidSignedData:
		p.profile = PKCS7
	case oidSignedDataGM:
		p.profile = GMT0010
	default:
		return fail("content type")
	}
	explicit := contentInfo.in(tagContext0)
	signedData := explicit.in(tagSequence)
	signedData.take(tagInteger)
	signedData.take(tagSet)
	signedData.take(tagSequence)
	certificates := signedData.in(tagContext0)
	for len(certificates.b) > 0 && !certificates.bad {
		_, _, whole := certificates.any()
		if len(p.certificates) == MaxPath {
			return fail("too many certificates")
		}
		p.certificates = append(p.certificates, whole)
	}
	signerInfos := signedData.in(tagSet)
	signerInfo := signerInfos.in(tagSequence)
	if !contentInfo.done() || !explicit.done() || !signedData.done() || !certificates.done() || !signerInfos.done() {
		return fail("SignedData")
	}
	signerInfo.take(tagInteger)
	signerInfo.take(tagSequence)
	signerInfo.take(tagSequence)
	_, _, attrs := signerInfo.any()
	signerInfo.take(tagSequence)
	p.signature = signerInfo.take(tagOctetString)
	if !signerInfo.done() {
		return fail("SignerInfo")
	}
	if attrs[0] != tagContext0 {
		return fail("signed attributes")
	}
	if p.attributes, err = parseAttributes(append([]byte{tagSet}, attrs[1:]...)); err != nil {
		return parsed{}, err
	}
	return p, nil
}

// parseAttributes finds the values in signed attributes; whether all else is as it must be shows in the re-encoding.
func parseAttributes(attrs []byte) (a attributes, err error) {
	fail := func() (attributes, error) { return attributes{}, fmt.Errorf("%w: signed attributes", ErrFormat) }
	outer := reader{b: attrs}
	set := outer.in(tagSet)
	next := func(oid string) reader {
		attribute := set.in(tagSequence)
		attribute.want(oid)
		values := attribute.in(tagSet)
		values.bad = values.bad || attribute.bad || len(attribute.b) != 0
		return values
	}
	contentType := next(oidContentType)
	signingTime := next(oidSigningTime)
	messageDigest := next(oidMessageDigest)
	signingCertificate := next(oidSigningCertificateV2)
	if !outer.done() || !set.done() || contentType.bad {
		return fail()
	}
	tag, when, _ := signingTime.any()
	at, ok := decodeTime(tag, when)
	if !ok || !signingTime.done() {
		return fail()
	}
	a.time = at
	digest := messageDigest.take(tagOctetString)
	if len(digest) != len(a.digest) || !messageDigest.done() {
		return fail()
	}
	a.digest = [32]byte(digest)
	value := signingCertificate.in(tagSequence)
	ids := value.in(tagSequence)
	if !signingCertificate.done() || !value.done() {
		return fail()
	}
	for len(ids.b) > 0 && !ids.bad {
		id := ids.in(tagSequence)
		id.take(tagSequence)
		sum := id.take(tagOctetString)
		if !id.done() || len(sum) != 32 || len(a.certificates) == MaxPath {
			return fail()
		}
		a.certificates = append(a.certificates, [32]byte(sum))
	}
	if !ids.done() || len(a.certificates) == 0 {
		return fail()
	}
	return a, nil
}
