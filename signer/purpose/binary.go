package purpose

import (
	"bytes"
	"encoding/asn1"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// checkSigStructure holds a COSE Sig_structure to ["Signature1", bstr, bstr external_aad, bstr], definite and with
// shortest heads (RFC 9052, 4.4), and its external_aad to the form's.
func checkSigStructure(m []byte, aad string) string {
	head := append([]byte{0x84, 0x6a}, "Signature1"...)
	rest, ok := bytes.CutPrefix(m, head)
	if !ok {
		return "not a COSE Sig_structure for one signature"
	}
	var protected, external []byte
	if protected, rest, ok = byteString(rest); !ok || len(protected) == 0 {
		return "no protected header"
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

// Attribute types that a signed part must carry, and what its content type must be one of.
var (
	oidContentType   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidMessageDigest = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidSigningTime   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 5}
	oidCertificateV2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 47} // RFC 5035
)

func checkAttributes(m []byte) string {
	in := cryptobyte.String(m)
	var set cryptobyte.String
	if !in.ReadASN1(&set, cbasn1.SET) || !in.Empty() {
		return "not one DER SET"
	}
	want := []asn1.ObjectIdentifier{oidContentType, oidMessageDigest, oidSigningTime, oidCertificateV2}
	seen := make([]bool, len(want))
	for !set.Empty() {
		var attribute, values cryptobyte.String
		var id asn1.ObjectIdentifier
		if !set.ReadASN1(&attribute, cbasn1.SEQUENCE) || !attribute.ReadASN1ObjectIdentifier(&id) ||
			!attribute.ReadASN1(&values, cbasn1.SET) || !attribute.Empty() || values.Empty() {
			return "an element is no attribute"
		}
		known := false
		for i, w := range want {
			if id.Equal(w) {
				if seen[i] {
					return "an attribute twice"
				}
				seen[i], known = true, true
			}
		}
		if !known {
			return "an attribute that no part carries"
		}
		if id.Equal(oidMessageDigest) {
			var digest cryptobyte.String
			if !values.ReadASN1(&digest, cbasn1.OCTET_STRING) || len(digest) != 32 || !values.Empty() {
				return "the message digest is not 32 bytes"
			}
		}
	}
	for _, s := range seen {
		if !s {
			return "contentType, messageDigest, signingTime and signingCertificateV2 are needed"
		}
	}
	return ""
}

// checkCertificate tells a TBSCertificate by its explicit version 3 and serial number.
func checkCertificate(m []byte) string {
	in := cryptobyte.String(m)
	var tbs, version cryptobyte.String
	var number int64
	tag := cbasn1.Tag(0).Constructed().ContextSpecific()
	if !in.ReadASN1(&tbs, cbasn1.SEQUENCE) || !in.Empty() || !tbs.ReadASN1(&version, tag) ||
		!version.ReadASN1Integer(&number) || number != 2 || !tbs.SkipASN1(cbasn1.INTEGER) || !tbs.SkipASN1(cbasn1.SEQUENCE) {
		return "not a TBSCertificate of version 3"
	}
	return ""
}

// checkRevocations tells a TBSCertList by its bare version 2, algorithm, issuer and date.
func checkRevocations(m []byte) string {
	in := cryptobyte.String(m)
	var tbs cryptobyte.String
	var number int64
	if !in.ReadASN1(&tbs, cbasn1.SEQUENCE) || !in.Empty() || !tbs.ReadASN1Integer(&number) || number != 1 ||
		!tbs.SkipASN1(cbasn1.SEQUENCE) || !tbs.SkipASN1(cbasn1.SEQUENCE) ||
		!(tbs.PeekASN1Tag(cbasn1.UTCTime) || tbs.PeekASN1Tag(cbasn1.GeneralizedTime)) {
		return "not a TBSCertList of version 2"
	}
	return ""
}
