package pki

import (
	"bytes"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// smx509 follows crypto/x509 in passing over bytes that stand behind the last field of a structure, in taking an
// explicit FALSE where DER has none, and in reading curves by their parameters. Each of these would give one
// certificate a second encoding, that is another SM3. So certificates and lists are first read here, by their grammar
// and to the last byte of every structure; smx509 then reads what is left to say.

// deepest nesting of a certificate; RFC 5280 needs about ten levels.
const deepest = 32

// checkDER holds every element to DER (X.690, 8 and 11): shortest lengths, no constructed strings, and one encoding for
// each value of the universal types that can occur.
func checkDER(b []byte, depth int) error {
	if depth > deepest {
		return errors.New("nested too deeply")
	}
	in := cryptobyte.String(b)
	for !in.Empty() {
		var value cryptobyte.String
		var tag cbasn1.Tag
		if !in.ReadAnyASN1(&value, &tag) { // refuses longer lengths than needed, indefinite ones and tags above 30
			return errors.New("not DER")
		}
		constructed, universal := tag&0x20 != 0, tag&0xc0 == 0
		switch {
		case constructed && universal && tag != cbasn1.SEQUENCE && tag != cbasn1.SET:
			return errors.New("not DER: a string in pieces")
		case constructed:
			if err := checkDER(value, depth+1); err != nil {
				return err
			}
			if tag == cbasn1.SET && !sorted(value) {
				return errors.New("not DER: a set out of order")
			}
		case universal && !canonical(tag, value):
			return fmt.Errorf("not DER: a value of tag %d", tag)
		}
	}
	return nil
}

// sorted reports whether the elements of a SET OF ascend (X.690, 11.6).
func sorted(set cryptobyte.String) bool {
	var last []byte
	for !set.Empty() {
		var element cryptobyte.String
		var tag cbasn1.Tag
		if !set.ReadAnyASN1Element(&element, &tag) || bytes.Compare(last, element) > 0 {
			return false
		}
		last = element
	}
	return true
}

// canonical reports whether a primitive value of a universal type is encoded as DER does.
func canonical(tag cbasn1.Tag, v []byte) bool {
	switch tag {
	case cbasn1.BOOLEAN:
		return len(v) == 1 && (v[0] == 0 || v[0] == 0xff)
	case cbasn1.INTEGER, cbasn1.ENUM:
		if len(v) < 2 {
			return len(v) == 1
		}
		superfluous := v[0] == 0 && v[1]&0x80 == 0 || v[0] == 0xff && v[1]&0x80 != 0
		return !superfluous
	case cbasn1.BIT_STRING:
		if len(v) == 0 || v[0] > 7 || len(v) == 1 && v[0] != 0 {
			return false
		}
		return len(v) == 1 || v[len(v)-1]&(1<<v[0]-1) == 0
	case cbasn1.OCTET_STRING:
		return true
	case cbasn1.NULL:
		return len(v) == 0
	case cbasn1.OBJECT_IDENTIFIER:
		return canonicalOID(v)
	case cbasn1.UTF8String:
		return utf8.Valid(v)
	case cbasn1.PrintableString:
		return printable(v)
	case cbasn1.IA5String:
		for _, c := range v {
			if c > 127 {
				return false
			}
		}
		return true
	case cbasn1.UTCTime:
		return canonicalTime("060102150405Z", v)
	case cbasn1.GeneralizedTime:
		return canonicalTime("20060102150405Z", v)
	}
	// T61String, BMPString and the like: nothing new is written with them (RFC 5280, 4.1.2.4).
	return false
}

func canonicalOID(v []byte) bool {
	start := true
	for _, c := range v {
		if start && c == 0x80 {
			return false
		}
		start = c&0x80 == 0
	}
	return len(v) > 0 && len(v) <= 64 && start
}

func printable(v []byte) bool {
	for _, c := range v {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', bytes.IndexByte([]byte(" '()+,-./:=?"), c) >= 0:
		default:
			return false
		}
	}
	return true
}

func canonicalTime(layout string, v []byte) bool {
	t, err := time.Parse(layout, string(v))
	return err == nil && t.Format(layout) == string(v)
}

// oidSM2WithSM3 is 1.2.156.10197.1.501 (GM/T 0006-2012, 5), the only signature algorithm here.
var (
	algorithmSM2     = []byte("\x30\x0a\x06\x08\x2a\x81\x1c\xcf\x55\x01\x83\x75")
	algorithmSM2Null = []byte("\x30\x0c\x06\x08\x2a\x81\x1c\xcf\x55\x01\x83\x75\x05\x00") // as some authorities write it
)

// extension as it stands in a certificate, list or list entry.
type extension struct {
	id       asn1.ObjectIdentifier
	critical bool
	value    []byte
}

// readSigned takes SIGNED{…} apart: the signed element's content and the algorithm that must stand in it too. The
// signature value must be a BIT STRING of whole bytes that is SEQUENCE { r, s }.
func readSigned(der []byte) (tbs cryptobyte.String, algorithm []byte, rs []byte, err error) {
	in := cryptobyte.String(der)
	var outer, alg cryptobyte.String
	var value []byte
	if !in.ReadASN1(&outer, cbasn1.SEQUENCE) || !in.Empty() || !outer.ReadASN1(&tbs, cbasn1.SEQUENCE) ||
		!outer.ReadASN1Element(&alg, cbasn1.SEQUENCE) || !outer.ReadASN1BitStringAsBytes(&value) || !outer.Empty() {
		return nil, nil, nil, errors.New("not what is signed, algorithm and signature")
	}
	if !bytes.Equal(alg, algorithmSM2) && !bytes.Equal(alg, algorithmSM2Null) {
		return nil, nil, nil, errors.New("not signed with SM2 and SM3")
	}
	if rs, err = SignatureRS(value); err != nil {
		return nil, nil, nil, errors.New("the signature value") // not ErrSignature: nothing was verified
	}
	return tbs, alg, rs, nil
}

// checkTBSCertificate reads a TBSCertificate of version 3 to its last byte (RFC 5280, 4.1) and returns its extensions.
// The unique identifiers of version 2 are refused: nobody uses them (RFC 5280, 4.1.2.8).
func checkTBSCertificate(tbs cryptobyte.String, algorithm []byte) ([]extension, error) {
	var version, alg, validity cryptobyte.String
	var number int64
	if !tbs.ReadASN1(&version, cbasn1.Tag(0).Constructed().ContextSpecific()) || !version.ReadASN1Integer(&number) ||
		!version.Empty() || number != 2 {
		return nil, errors.New("not of version 3")
	}
	if !readSerial(&tbs, new(big.Int)) {
		return nil, errors.New("serial number")
	}
	if !tbs.ReadASN1Element(&alg, cbasn1.SEQUENCE) || !bytes.Equal(alg, algorithm) {
		return nil, errors.New("two signature algorithms")
	}
	if !checkName(&tbs) {
		return nil, errors.New("issuer")
	}
	if !tbs.ReadASN1(&validity, cbasn1.SEQUENCE) || !checkTime(&validity) || !checkTime(&validity) || !validity.Empty() {
		return nil, errors.New("validity")
	}
	if !checkName(&tbs) {
		return nil, errors.New("subject")
	}
	if !tbs.SkipASN1(cbasn1.SEQUENCE) { // compared with the one encoding of its key later
		return nil, errors.New("public key")
	}
	return readTaggedExtensions(&tbs, 3)
}

// checkTBSCertList reads a TBSCertList of version 2 to its last byte (RFC 5280, 5.1) and returns its extensions.
func checkTBSCertList(tbs cryptobyte.String, algorithm []byte) ([]extension, error) {
	var alg cryptobyte.String
	var number int64
	if !tbs.ReadASN1Integer(&number) || number != 1 {
		return nil, errors.New("not of version 2")
	}
	if !tbs.ReadASN1Element(&alg, cbasn1.SEQUENCE) || !bytes.Equal(alg, algorithm) {
		return nil, errors.New("two signature algorithms")
	}
	if !checkName(&tbs) || !checkTime(&tbs) || !checkTime(&tbs) {
		return nil, errors.New("issuer, thisUpdate or nextUpdate")
	}
	if tbs.PeekASN1Tag(cbasn1.SEQUENCE) {
		var entries cryptobyte.String
		if !tbs.ReadASN1(&entries, cbasn1.SEQUENCE) || entries.Empty() {
			return nil, errors.New("an empty list of entries")
		}
		for !entries.Empty() {
			var entry cryptobyte.String
			if !entries.ReadASN1(&entry, cbasn1.SEQUENCE) || !readSerial(&entry, new(big.Int)) || !checkTime(&entry) {
				return nil, errors.New("an entry")
			}
			if entry.Empty() {
				continue
			}
			extensions, err := readExtensions(&entry)
			if err != nil {
				return nil, err
			}
			if !entry.Empty() {
				return nil, errors.New("something behind an entry")
			}
			if err := checkEntryExtensions(extensions); err != nil {
				return nil, err
			}
		}
	}
	return readTaggedExtensions(&tbs, 0)
}

// readSerial reads a positive number of at most 20 bytes (RFC 5280, 4.1.2.2).
func readSerial(in *cryptobyte.String, n *big.Int) bool {
	return in.ReadASN1Integer(n) && n.Sign() > 0 && n.BitLen() < 20*8
}

// checkTime reads a time; which of the two types stands where is fixed by the year (RFC 5280, 4.1.2.5).
func checkTime(in *cryptobyte.String) bool {
	var t time.Time
	if in.PeekASN1Tag(cbasn1.GeneralizedTime) {
		return in.ReadASN1GeneralizedTime(&t) && t.Year() >= 2050
	}
	return in.ReadASN1UTCTime(&t)
}

// checkName reads a Name that is not empty; its sets are in order already.
func checkName(in *cryptobyte.String) bool {
	var name cryptobyte.String
	if !in.ReadASN1(&name, cbasn1.SEQUENCE) || name.Empty() {
		return false
	}
	for !name.Empty() {
		var set cryptobyte.String
		if !name.ReadASN1(&set, cbasn1.SET) || set.Empty() {
			return false
		}
		for !set.Empty() {
			var attribute, value cryptobyte.String
			var tag cbasn1.Tag
			if !set.ReadASN1(&attribute, cbasn1.SEQUENCE) || !attribute.SkipASN1(cbasn1.OBJECT_IDENTIFIER) ||
				!attribute.ReadAnyASN1(&value, &tag) || !attribute.Empty() || value.Empty() || len(value) > 512 {
				return false
			}
			if tag != cbasn1.UTF8String && tag != cbasn1.PrintableString && tag != cbasn1.IA5String {
				return false
			}
		}
	}
	return true
}

// readTaggedExtensions reads [tag] EXPLICIT Extensions, which must be the last field.
func readTaggedExtensions(in *cryptobyte.String, tag cbasn1.Tag) ([]extension, error) {
	var tagged cryptobyte.String
	if !in.ReadASN1(&tagged, tag.Constructed().ContextSpecific()) || !in.Empty() {
		return nil, errors.New("no extensions, or something behind them")
	}
	extensions, err := readExtensions(&tagged)
	if err == nil && !tagged.Empty() {
		err = errors.New("something behind the extensions")
	}
	return extensions, err
}

func readExtensions(in *cryptobyte.String) ([]extension, error) {
	var list cryptobyte.String
	if !in.ReadASN1(&list, cbasn1.SEQUENCE) || list.Empty() {
		return nil, errors.New("extensions")
	}
	var out []extension
	for !list.Empty() {
		var one, value cryptobyte.String
		var e extension
		if !list.ReadASN1(&one, cbasn1.SEQUENCE) || !one.ReadASN1ObjectIdentifier(&e.id) {
			return nil, errors.New("an extension")
		}
		if one.PeekASN1Tag(cbasn1.BOOLEAN) && (!one.ReadASN1Boolean(&e.critical) || !e.critical) {
			return nil, errors.New("an extension that says FALSE where DER says nothing")
		}
		if !one.ReadASN1(&value, cbasn1.OCTET_STRING) || !one.Empty() {
			return nil, errors.New("an extension")
		}
		e.value = value
		for _, o := range out {
			if o.id.Equal(e.id) {
				return nil, errors.New("an extension twice")
			}
		}
		if out = append(out, e); len(out) > 64 {
			return nil, errors.New("too many extensions")
		}
	}
	return out, nil
}
