package purpose

import (
	"bytes"
	"encoding/asn1"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// What every Sig_structure of ours begins with: an array of four and the context (RFC 9052, 4.4); and what its protected
// header begins with: a map of three whose first entry is algorithm −65537, SM2 with SM3.
const (
	sigStructureHead = "\x84\x6aSignature1"
	protectedHead    = "\xa3\x01\x3a\x00\x01\x00\x00"
)

// checkSigStructure holds a COSE Sig_structure to ["Signature1", bstr, bstr external_aad, bstr], definite and with
// shortest heads, and its external_aad to the form's.
func checkSigStructure(m []byte, aad string) string {
	rest, ok := bytes.CutPrefix(m, []byte(sigStructureHead))
	if !ok {
		return "not a COSE Sig_structure for one signature"
	}
	var protected, external []byte
	if protected, rest, ok = byteString(rest); !ok || !bytes.HasPrefix(protected, []byte(protectedHead)) {
		return "no protected header with our algorithm"
	}
	if external, rest, ok = byteString(rest); !ok || string(external) != aad {
		return "not the external_aad of this form"
	}
	payload, rest, ok := byteString(rest)
	if !ok || len(payload) == 0 || len(rest) != 0 {
		return "no payload, or bytes behind it"
	}
	return ""
}

// byteString reads one CBOR byte string with the shortest head.
func byteString(b []byte) (s, rest []byte, ok bool) {
	if len(b) == 0 || b[0]>>5 != 2 {
		return nil, nil, false
	}
	n, size := uint64(b[0]&31), 0
	switch {
	case n < 24:
	case n <= 26:
		size = 1 << (n - 24)
		if len(b) < 1+size {
			return nil, nil, false
		}
		n = 0
		for _, c := range b[1 : 1+size] {
			n = n<<8 | uint64(c)
		}
		if n < 24 || (size == 2 && n < 1<<8) || (size == 4 && n < 1<<16) {
			return nil, nil, false
		}
	default:
		return nil, nil, false
	}
	b = b[1+size:]
	if uint64(len(b)) < n {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}

// Object identifiers that a form is told by, as the value bytes of DER: comparing those is strict and costs nothing.
const (
	oidContentType   = "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x03"          // 1.2.840.113549.1.9.3
	oidMessageDigest = "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x04"          // 1.2.840.113549.1.9.4
	oidSigningTime   = "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x05"          // 1.2.840.113549.1.9.5
	oidCertificateV2 = "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x02\x2f"  // 1.2.840.113549.1.9.16.2.47, RFC 5035
	oidSM2WithSM3    = "\x2a\x81\x1c\xcf\x55\x01\x83\x75"              // 1.2.156.10197.1.501, GM/T 0006
	algorithmSM2     = "\x30\x0a\x06\x08" + oidSM2WithSM3              // AlgorithmIdentifier without parameters
	algorithmSM2Null = "\x30\x0c\x06\x08" + oidSM2WithSM3 + "\x05\x00" // and with NULL, as some authorities write it
)

// checkAttributes holds the DER SET OF Attribute of a SignerInfo to exactly the four attributes that a part carries,
// each once and with one value, in the order of DER (X.690, 11.6).
func checkAttributes(m []byte) string {
	in := cryptobyte.String(m)
	var set cryptobyte.String
	if !in.ReadASN1(&set, cbasn1.SET) || !in.Empty() {
		return "not one DER SET"
	}
	var last []byte
	seen := map[string]bool{}
	for !set.Empty() {
		var element, attribute, id, values cryptobyte.String
		if !set.ReadASN1Element(&element, cbasn1.SEQUENCE) || bytes.Compare(last, element) >= 0 {
			return "an element is no attribute, or stands in the wrong place"
		}
		last = element
		if !element.ReadASN1(&attribute, cbasn1.SEQUENCE) || !attribute.ReadASN1(&id, cbasn1.OBJECT_IDENTIFIER) ||
			!attribute.ReadASN1(&values, cbasn1.SET) || !attribute.Empty() || seen[string(id)] {
			return "an element is no attribute, or stands twice"
		}
		seen[string(id)] = true
		if why := checkAttribute(string(id), &values); why != "" {
			return why
		}
		if !values.Empty() {
			return "an attribute with more than one value"
		}
	}
	if len(seen) != 4 {
		return "contentType, messageDigest, signingTime and signingCertificateV2 are needed"
	}
	return ""
}

// checkAttribute reads the first value of one attribute.
func checkAttribute(id string, values *cryptobyte.String) string {
	var value cryptobyte.String
	var oid asn1.ObjectIdentifier
	var at time.Time
	switch id {
	case oidContentType:
		if !values.ReadASN1ObjectIdentifier(&oid) {
			return "contentType is no object identifier"
		}
	case oidMessageDigest:
		if !values.ReadASN1(&value, cbasn1.OCTET_STRING) || len(value) != 32 {
			return "messageDigest is not 32 bytes"
		}
	case oidSigningTime:
		read := values.ReadASN1UTCTime
		if values.PeekASN1Tag(cbasn1.GeneralizedTime) {
			read = values.ReadASN1GeneralizedTime
		}
		if !read(&at) {
			return "signingTime is no time"
		}
	case oidCertificateV2:
		if !values.ReadASN1(&value, cbasn1.SEQUENCE) {
			return "signingCertificateV2 is no sequence"
		}
	default:
		return "an attribute that no part carries"
	}
	return ""
}

// checkCertificate tells a TBSCertificate of version 3 by its fields (RFC 5280, 4.1), all of them and nothing behind.
func checkCertificate(m []byte) string {
	in := cryptobyte.String(m)
	var tbs, version, extensions cryptobyte.String
	var number int64
	first, last := cbasn1.Tag(0).Constructed().ContextSpecific(), cbasn1.Tag(3).Constructed().ContextSpecific()
	if !in.ReadASN1(&tbs, cbasn1.SEQUENCE) || !in.Empty() || !tbs.ReadASN1(&version, first) ||
		!version.ReadASN1Integer(&number) || !version.Empty() || number != 2 {
		return "not a TBSCertificate of version 3"
	}
	if !tbs.SkipASN1(cbasn1.INTEGER) || !skipAlgorithm(&tbs) {
		return "no serial number, or another signature algorithm than SM2 with SM3"
	}
	for range 4 { // issuer, validity, subject, subjectPublicKeyInfo
		if !tbs.SkipASN1(cbasn1.SEQUENCE) {
			return "issuer, validity, subject or public key is missing"
		}
	}
	if !tbs.ReadASN1(&extensions, last) || !tbs.Empty() || !extensions.SkipASN1(cbasn1.SEQUENCE) || !extensions.Empty() {
		return "no extensions, or something behind them"
	}
	return ""
}

// checkRevocations tells a TBSCertList of version 2 by its fields (RFC 5280, 5.1), all of them and nothing behind.
func checkRevocations(m []byte) string {
	in := cryptobyte.String(m)
	var tbs, extensions cryptobyte.String
	var number int64
	last := cbasn1.Tag(0).Constructed().ContextSpecific()
	if !in.ReadASN1(&tbs, cbasn1.SEQUENCE) || !in.Empty() || !tbs.ReadASN1Integer(&number) || number != 1 ||
		!skipAlgorithm(&tbs) || !tbs.SkipASN1(cbasn1.SEQUENCE) {
		return "not a TBSCertList of version 2, signed with SM2 and SM3"
	}
	for range 2 {
		if !skipTime(&tbs) {
			return "thisUpdate and nextUpdate are needed"
		}
	}
	if !tbs.SkipOptionalASN1(cbasn1.SEQUENCE) {
		return "broken entries"
	}
	if !tbs.ReadASN1(&extensions, last) || !tbs.Empty() || !extensions.SkipASN1(cbasn1.SEQUENCE) || !extensions.Empty() {
		return "no extensions, or something behind them"
	}
	return ""
}

// checkRequest tells a CertificationRequestInfo by its fields (RFC 2986, 4.1), all of them and nothing behind.
func checkRequest(m []byte) string {
	in := cryptobyte.String(m)
	var info, attributes cryptobyte.String
	var number int64
	last := cbasn1.Tag(0).Constructed().ContextSpecific()
	if !in.ReadASN1(&info, cbasn1.SEQUENCE) || !in.Empty() || !info.ReadASN1Integer(&number) || number != 0 {
		return "not a CertificationRequestInfo of version 1"
	}
	for range 2 { // subject, subjectPublicKeyInfo
		if !info.SkipASN1(cbasn1.SEQUENCE) {
			return "subject or public key is missing"
		}
	}
	if !info.ReadASN1(&attributes, last) || !info.Empty() {
		return "no attributes, or something behind them"
	}
	for !attributes.Empty() {
		if !attributes.SkipASN1(cbasn1.SEQUENCE) {
			return "broken attributes"
		}
	}
	return ""
}

func skipAlgorithm(in *cryptobyte.String) bool {
	var element cryptobyte.String
	if !in.ReadASN1Element(&element, cbasn1.SEQUENCE) {
		return false
	}
	return string(element) == algorithmSM2 || string(element) == algorithmSM2Null
}

func skipTime(in *cryptobyte.String) bool {
	if in.PeekASN1Tag(cbasn1.GeneralizedTime) {
		return in.SkipASN1(cbasn1.GeneralizedTime)
	}
	return in.SkipASN1(cbasn1.UTCTime)
}
