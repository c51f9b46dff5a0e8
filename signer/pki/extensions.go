package pki

import (
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/elicence/elicence/signer/purpose"
)

// Object identifiers of the demonstration PKI, under 2.999, the arc that ITU-T X.660 keeps for examples: nothing under
// it can be mistaken for a registered meaning, and no production authority may use it. 156 is China's number under the
// country arcs, .1 are marks and .2 purposes. A production CA has identifiers of its own; there the trust file says
// what a certificate is for, and Purpose returns "".
//
//	2.999.156.1.1  mark: this certificate is for demonstrations (extension, not critical, value NULL)
//	2.999.156.2.N  extended key usage: the key's purpose, N = 1 documents, 2 events, 3 checkpoints, 4 status, 5 trust
var (
	oidDemonstration = asn1.ObjectIdentifier{2, 999, 156, 1, 1}
	oidPurposes      = []struct {
		purpose purpose.Purpose
		id      asn1.ObjectIdentifier
	}{
		{purpose.Documents, asn1.ObjectIdentifier{2, 999, 156, 2, 1}},
		{purpose.Events, asn1.ObjectIdentifier{2, 999, 156, 2, 2}},
		{purpose.Checkpoints, asn1.ObjectIdentifier{2, 999, 156, 2, 3}},
		{purpose.StatusLists, asn1.ObjectIdentifier{2, 999, 156, 2, 4}},
		{purpose.TrustFiles, asn1.ObjectIdentifier{2, 999, 156, 2, 5}},
	}
)

// Object identifiers of X.520 and RFC 5280.
var (
	oidOrganisationIdentifier = asn1.ObjectIdentifier{2, 5, 4, 97} // holds the unified social credit code

	oidSubjectKeyID     = asn1.ObjectIdentifier{2, 5, 29, 14}
	oidKeyUsage         = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidAlternativeName  = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
	oidCRLNumber        = asn1.ObjectIdentifier{2, 5, 29, 20}
	oidReasonCode       = asn1.ObjectIdentifier{2, 5, 29, 21}
	oidInvalidityDate   = asn1.ObjectIdentifier{2, 5, 29, 24}
	oidPolicies         = asn1.ObjectIdentifier{2, 5, 29, 32}
	oidAuthorityKeyID   = asn1.ObjectIdentifier{2, 5, 29, 35}
	oidExtendedKeyUsage = asn1.ObjectIdentifier{2, 5, 29, 37}
)

// purposeOID is the extended key usage of a purpose, nil for those that certificates do not name.
func purposeOID(p purpose.Purpose) asn1.ObjectIdentifier {
	for _, o := range oidPurposes {
		if o.purpose == p {
			return o.id
		}
	}
	return nil
}

// checkCertificateExtensions reads the extensions that this package acts upon to their last byte, and refuses critical
// ones that it does not act upon: name constraints, policy constraints and whatever is not known (RFC 5280, 4.2).
// Others are kept as they are.
func checkCertificateExtensions(extensions []extension) error {
	for _, e := range extensions {
		value, ok := cryptobyte.String(e.value), true
		switch {
		case e.id.Equal(oidBasicConstraints):
			ok = checkBasicConstraints(value)
		case e.id.Equal(oidKeyUsage):
			ok = checkKeyUsage(value)
		case e.id.Equal(oidExtendedKeyUsage):
			ok = checkExtendedKeyUsage(value)
		case e.id.Equal(oidSubjectKeyID):
			ok = value.SkipASN1(cbasn1.OCTET_STRING) && value.Empty()
		case e.id.Equal(oidAuthorityKeyID):
			ok = value.SkipASN1(cbasn1.SEQUENCE) && value.Empty() && checkDER(e.value, 0) == nil
		case e.id.Equal(oidDemonstration):
			ok = value.SkipASN1(cbasn1.NULL) && value.Empty() && checkDER(e.value, 0) == nil
		case e.critical && !e.id.Equal(oidAlternativeName) && !e.id.Equal(oidPolicies):
			return fmt.Errorf("a critical extension that is not understood: %s", e.id)
		}
		if !ok {
			return fmt.Errorf("extension %s", e.id)
		}
	}
	return nil
}

func checkBasicConstraints(in cryptobyte.String) bool {
	var seq cryptobyte.String
	if !in.ReadASN1(&seq, cbasn1.SEQUENCE) || !in.Empty() {
		return false
	}
	var ca bool
	if seq.PeekASN1Tag(cbasn1.BOOLEAN) && (!seq.ReadASN1Boolean(&ca) || !ca) {
		return false // FALSE is the default, which DER does not write
	}
	var length uint8
	if seq.PeekASN1Tag(cbasn1.INTEGER) && (!ca || !seq.ReadASN1Integer(&length)) {
		return false
	}
	return seq.Empty()
}

// checkKeyUsage reads a named bit list: no zero bits at its end (X.690, 11.2.2).
func checkKeyUsage(in cryptobyte.String) bool {
	var bits asn1.BitString
	return in.ReadASN1BitString(&bits) && in.Empty() && bits.BitLength > 0 && bits.BitLength <= 9 && bits.At(bits.BitLength-1) == 1
}

func checkExtendedKeyUsage(in cryptobyte.String) bool {
	var seq cryptobyte.String
	if !in.ReadASN1(&seq, cbasn1.SEQUENCE) || !in.Empty() || seq.Empty() {
		return false
	}
	for !seq.Empty() {
		var id asn1.ObjectIdentifier
		if !seq.ReadASN1ObjectIdentifier(&id) {
			return false
		}
	}
	return true
}

// checkListExtensions: a list that speaks of a part of the certificates (issuingDistributionPoint) or of changes only
// (deltaCRLIndicator) says so by a critical extension, and is not what we look for. A number must be there (RFC 5280, 5.2).
func checkListExtensions(extensions []extension) error {
	numbered := false
	for _, e := range extensions {
		value := cryptobyte.String(e.value)
		var n big.Int
		switch {
		case e.id.Equal(oidCRLNumber):
			if !value.ReadASN1Integer(&n) || !value.Empty() || n.Sign() < 0 || n.BitLen() >= 20*8 {
				return errors.New("the number")
			}
			numbered = true
		case e.id.Equal(oidAuthorityKeyID):
			if checkDER(e.value, 0) != nil || !value.SkipASN1(cbasn1.SEQUENCE) || !value.Empty() {
				return errors.New("the authority's key identifier")
			}
		case e.critical:
			return fmt.Errorf("a critical extension that is not understood: %s", e.id)
		}
	}
	if !numbered {
		return errors.New("no number")
	}
	return nil
}

// checkEntryExtensions: the reason and since when the key was doubtful; a critical extension could say that the entry is
// of another issuer, and is refused.
func checkEntryExtensions(extensions []extension) error {
	for _, e := range extensions {
		value := cryptobyte.String(e.value)
		var n int
		switch {
		case e.id.Equal(oidReasonCode):
			if !canonicalEnum(e.value) || !value.ReadASN1Enum(&n) || !value.Empty() || !Reason(n).known() {
				return errors.New("the reason of an entry")
			}
		case e.id.Equal(oidInvalidityDate):
			if _, err := readInvalidityDate(e.value); err != nil {
				return err
			}
		case e.critical:
			return fmt.Errorf("a critical extension of an entry that is not understood: %s", e.id)
		}
	}
	return nil
}

func canonicalEnum(b []byte) bool { return checkDER(b, 0) == nil }
