package pki_test

import (
	"bytes"
	"encoding/asn1"
	"testing"

	"github.com/elicence/elicence/signer/pki"
)

// node is one DER element, taken apart so that tests can build what no honest authority would sign.
type node struct {
	tag   byte
	value []byte // of a primitive
	kids  []*node
	raw   []byte // written instead, if set
}

func parseNodes(t testing.TB, b []byte) []*node {
	t.Helper()
	var out []*node
	for len(b) > 0 {
		var v asn1.RawValue
		rest, err := asn1.Unmarshal(b, &v)
		must(t, err)
		n := &node{tag: b[0]}
		if v.IsCompound {
			n.kids = parseNodes(t, v.Bytes)
		} else {
			n.value = bytes.Clone(v.Bytes) // tests change it in place
		}
		out, b = append(out, n), rest
	}
	return out
}

func (n *node) der() []byte {
	if n.raw != nil {
		return n.raw
	}
	value := n.value
	for _, k := range n.kids {
		value = append(value[:len(value):len(value)], k.der()...)
	}
	return append(header(n.tag, len(value)), value...)
}

func header(tag byte, n int) []byte {
	switch {
	case n < 128:
		return []byte{tag, byte(n)}
	case n < 256:
		return []byte{tag, 0x81, byte(n)}
	}
	return []byte{tag, 0x82, byte(n >> 8), byte(n)}
}

func prim(tag byte, value string) *node { return &node{tag: tag, value: []byte(value)} }

func seq(kids ...*node) *node { return &node{tag: 0x30, kids: kids} }

func (n *node) at(path ...int) *node {
	for _, i := range path {
		n = n.kids[i]
	}
	return n
}

func (n *node) add(k *node) { n.kids = append(n.kids, k) }

// Fields of a TBSCertificate.
const (
	fVersion = iota
	fSerial
	fAlgorithm
	fIssuer
	fValidity
	fSubject
	fKey
	fExtensions
)

// extension finds an extension's SEQUENCE.
func (n *node) extension(t testing.TB, list *node, oid string) *node {
	t.Helper()
	for _, e := range list.kids {
		if string(e.kids[0].value) == oid {
			return e
		}
	}
	t.Fatalf("no extension %x", oid)
	return nil
}

// resigned is a certificate or list whose signed part was changed by whoever has the CA's key; after may change the
// outer structure too.
func resigned(t testing.TB, der []byte, by key, change func(tbs *node), after func(outer *node)) []byte {
	t.Helper()
	outer := parseNodes(t, der)[0]
	if change != nil {
		change(outer.kids[0])
	}
	rs, err := by.sign(outer.kids[0].der())
	must(t, err)
	value, err := pki.SignatureDER(rs)
	must(t, err)
	outer.kids[2] = prim(0x03, "\x00"+string(value))
	if after != nil {
		after(outer)
	}
	return outer.der()
}

const (
	bcOID   = "\x55\x1d\x13"
	kuOID   = "\x55\x1d\x0f"
	ekuOID  = "\x55\x1d\x25"
	skiOID  = "\x55\x1d\x0e"
	akiOID  = "\x55\x1d\x23"
	markOID = "\x88\x37\x81\x1c\x01\x01"
)

func TestCraftingAloneIsHarmless(t *testing.T) {
	s := newScheme(t, "craft")
	c, err := pki.ParseCertificate(resigned(t, s.leaf.Raw(), s.caKey, nil, nil))
	must(t, err)
	must(t, c.CheckSignedBy(s.ca))
	if !bytes.Equal(c.Raw(), s.leaf.Raw()) {
		t.Fatal("the same fields gave other bytes")
	}
}

// Each of these carries a good signature of the CA, and is refused all the same: DER has one encoding for what it says,
// or it says what this package does not act upon. smx509, like crypto/x509, takes many of them.
func TestCertificatesThatNoAuthorityMayWrite(t *testing.T) {
	s := newScheme(t, "craft")
	null := prim(5, "")
	extensions := func(tbs *node) *node { return tbs.at(fExtensions, 0) }
	tbsChanges := map[string]func(tbs *node){
		"something behind the fields":           func(n *node) { n.add(null) },
		"something behind the validity":         func(n *node) { n.at(fValidity).add(null) },
		"something behind the version":          func(n *node) { n.at(fVersion).add(null) },
		"something behind the algorithm":        func(n *node) { n.at(fAlgorithm).add(prim(5, "")); n.at(fAlgorithm).add(null) },
		"something behind the key":              func(n *node) { n.at(fKey).add(null) },
		"something behind the key's algorithm":  func(n *node) { n.at(fKey, 0).add(null) },
		"something behind an attribute":         func(n *node) { n.at(fSubject, 0, 0).add(null) },
		"something behind the extensions":       func(n *node) { n.at(fExtensions).add(null) },
		"something behind an extension":         func(n *node) { extensions(n).at(0).add(null) },
		"something behind basicConstraints":     func(n *node) { v := n.extension(t, extensions(n), bcOID); last(v).value = append(last(v).value, 5, 0) },
		"something behind keyUsage":             func(n *node) { v := n.extension(t, extensions(n), kuOID); last(v).value = append(last(v).value, 5, 0) },
		"something behind extendedKeyUsage":     func(n *node) { v := n.extension(t, extensions(n), ekuOID); last(v).value = append(last(v).value, 5, 0) },
		"something behind subjectKeyIdentifier": func(n *node) { v := n.extension(t, extensions(n), skiOID); last(v).value = append(last(v).value, 5, 0) },
		"something behind authorityKeyId":       func(n *node) { v := n.extension(t, extensions(n), akiOID); last(v).value = append(last(v).value, 5, 0) },
		"something behind the mark":             func(n *node) { v := n.extension(t, extensions(n), markOID); last(v).value = []byte{5, 0, 5, 0} },
		"a mark that says something":            func(n *node) { v := n.extension(t, extensions(n), markOID); last(v).value = []byte{1, 1, 0} },
		"critical FALSE": func(n *node) {
			e := n.extension(t, extensions(n), skiOID)
			e.kids = []*node{e.kids[0], prim(1, "\x00"), e.kids[1]}
		},
		"critical 1":             func(n *node) { n.extension(t, extensions(n), kuOID).kids[1].value = []byte{1} },
		"cA FALSE":               func(n *node) { last(n.extension(t, extensions(n), bcOID)).value = []byte{0x30, 3, 1, 1, 0} },
		"path length without cA": func(n *node) { last(n.extension(t, extensions(n), bcOID)).value = []byte{0x30, 3, 2, 1, 0} },
		"path length -1": func(n *node) {
			last(n.extension(t, extensions(n), bcOID)).value = []byte{0x30, 6, 1, 1, 0xff, 2, 1, 0xff}
		},
		"keyUsage with zeros at its end": func(n *node) { last(n.extension(t, extensions(n), kuOID)).value = []byte{3, 2, 0, 0x80} },
		"keyUsage of nothing":            func(n *node) { last(n.extension(t, extensions(n), kuOID)).value = []byte{3, 1, 0} },
		"extendedKeyUsage of nothing":    func(n *node) { last(n.extension(t, extensions(n), ekuOID)).value = []byte{0x30, 0} },
		"two purposes":                   func(n *node) { last(n.extension(t, extensions(n), ekuOID)).value = eku(1, 2) },
		"one purpose twice":              func(n *node) { last(n.extension(t, extensions(n), ekuOID)).value = eku(1, 1) },
		"an extension twice":             func(n *node) { extensions(n).add(n.extension(t, extensions(n), skiOID)) },
		"no extensions":                  func(n *node) { n.kids = n.kids[:fExtensions] },
		"an empty list of extensions":    func(n *node) { extensions(n).kids = nil },
		"an unknown critical extension":  func(n *node) { extensions(n).add(seq(prim(6, "\x2a\x03"), prim(1, "\xff"), prim(4, "\x05\x00"))) },
		"critical name constraints":      func(n *node) { extensions(n).add(seq(prim(6, "\x55\x1d\x1e"), prim(1, "\xff"), prim(4, "\x30\x00"))) },
		"65 extensions": func(n *node) {
			for i := range 65 {
				extensions(n).add(seq(prim(6, "\x2a"+string(rune(i+1))), prim(4, "")))
			}
		},
		"version 1": func(n *node) { n.kids = n.kids[1:] },
		"version 2": func(n *node) { n.at(fVersion, 0).value = []byte{1} },
		"version 4": func(n *node) { n.at(fVersion, 0).value = []byte{3} },
		"a unique identifier": func(n *node) {
			n.kids = append(n.kids[:fExtensions:fExtensions], prim(0x81, "\x00\x01"), n.kids[fExtensions])
		},
		"serial 0":                               func(n *node) { n.at(fSerial).value = []byte{0} },
		"a negative serial":                      func(n *node) { n.at(fSerial).value = []byte{0x80} },
		"a serial with a zero in front":          func(n *node) { n.at(fSerial).value = []byte{0, 3} },
		"a serial of 21 bytes":                   func(n *node) { n.at(fSerial).value = bytes.Repeat([]byte{1}, 21) },
		"an empty serial":                        func(n *node) { n.at(fSerial).value = nil },
		"ECDSA with SHA-256":                     func(n *node) { n.at(fAlgorithm, 0).value = []byte("\x2a\x86\x48\xce\x3d\x04\x03\x02") },
		"an algorithm unlike the outer one":      func(n *node) { n.at(fAlgorithm).add(null) },
		"a time zone":                            func(n *node) { n.at(fValidity, 0).value = []byte("261031080000+0800") },
		"a time without seconds":                 func(n *node) { n.at(fValidity, 0).value = []byte("2610310000Z") },
		"a month 13":                             func(n *node) { n.at(fValidity, 0).value = []byte("261331000000Z") },
		"2026 in four digits":                    func(n *node) { n.at(fValidity).kids[0] = prim(0x18, "20261031000000Z") },
		"fractions of seconds":                   func(n *node) { n.at(fValidity).kids[1] = prim(0x18, "20601031000000.5Z") },
		"no end":                                 func(n *node) { n.at(fValidity).kids = n.at(fValidity).kids[:1] },
		"an empty subject":                       func(n *node) { n.at(fSubject).kids = nil },
		"an empty issuer":                        func(n *node) { n.at(fIssuer).kids = nil },
		"an empty set in a name":                 func(n *node) { n.at(fSubject, 0).kids = nil },
		"a set out of order":                     func(n *node) { n.at(fSubject, 0).kids = []*node{n.at(fSubject, 1, 0), n.at(fSubject, 0, 0)} },
		"broken UTF-8":                           func(n *node) { n.at(fSubject, 1, 0).kids[1] = prim(0x0c, "\xff") },
		"an @ in a PrintableString":              func(n *node) { n.at(fSubject, 1, 0).kids[1] = prim(0x13, "a@b") },
		"a BMPString":                            func(n *node) { n.at(fSubject, 1, 0).kids[1] = prim(0x1e, "\x4e\x0a") },
		"an empty attribute":                     func(n *node) { n.at(fSubject, 1, 0).kids[1] = prim(0x0c, "") },
		"a name of kilobytes":                    func(n *node) { n.at(fSubject, 1, 0).kids[1] = prim(0x0c, string(make([]byte, 513))) },
		"a string in pieces":                     func(n *node) { n.at(fSubject, 1, 0).kids[1] = &node{tag: 0x2c, kids: []*node{prim(0x0c, "a")}} },
		"two organisation codes":                 func(n *node) { n.at(fSubject).add(n.at(fSubject, len(n.at(fSubject).kids)-1)) },
		"an object identifier with zeros before": func(n *node) { n.at(fSubject, 1, 0).kids[0] = prim(6, "\x55\x80\x04\x0a") },
		"a cut object identifier":                func(n *node) { n.at(fSubject, 1, 0).kids[0] = prim(6, "\x55\x84") },
		"another curve":                          func(n *node) { n.at(fKey, 0, 1).value = []byte("\x2a\x86\x48\xce\x3d\x03\x01\x07") },
		"a compressed point": func(n *node) {
			v := n.at(fKey, 1).value
			n.at(fKey, 1).value = append([]byte{0, 2 + v[65]&1}, v[2:34]...)
		},
		"a hybrid point":              func(n *node) { v := n.at(fKey, 1).value; v[1] = 6 + v[65]&1 },
		"a point off the curve":       func(n *node) { n.at(fKey, 1).value[40] ^= 1 },
		"the point at infinity":       func(n *node) { n.at(fKey, 1).value = []byte{0, 0} },
		"a longer length than needed": func(n *node) { n.at(fSerial).raw = []byte{2, 0x81, 1, 3} },
		"an indefinite length": func(n *node) {
			n.at(fValidity).raw = append([]byte{0x30, 0x80}, append(n.at(fValidity).der()[2:], 0, 0)...)
		},
		"a tag in the long form": func(n *node) { n.at(fSerial).raw = []byte{0x1f, 2, 1, 3} },
	}
	for name, change := range tbsChanges {
		t.Run(name, func(t *testing.T) {
			_, err := pki.ParseCertificate(resigned(t, s.leaf.Raw(), s.caKey, change, nil))
			wantError(t, err, pki.ErrCertificate)
		})
	}
	for name, after := range map[string]func(outer *node){
		"outer: something behind the signature": func(n *node) { n.add(null) },
		"outer: something behind the algorithm": func(n *node) { n.at(1).add(null) },
		"outer: no signature":                   func(n *node) { n.kids = n.kids[:2] },
		"outer: an empty signature":             func(n *node) { n.at(2).value = []byte{0} },
		"outer: unused bits":                    func(n *node) { n.at(2).value[0] = 1 },
		"outer: bits without count":             func(n *node) { n.at(2).value = nil },
		"outer: something behind s":             func(n *node) { v := n.at(2).value; v[2] += 2; n.at(2).value = append(v, 5, 0) },
		"outer: a zero before r": func(n *node) {
			v := n.at(2).value
			v[2]++
			v[4]++
			n.at(2).value = append(append(bytes.Clone(v[:5]), 0), v[5:]...)
		},
		"outer: r = 0":      func(n *node) { n.at(2).value = []byte("\x00\x30\x06\x02\x01\x00\x02\x01\x01") },
		"outer: s negative": func(n *node) { n.at(2).value = []byte("\x00\x30\x06\x02\x01\x01\x02\x01\x80") },
	} {
		t.Run(name, func(t *testing.T) {
			_, err := pki.ParseCertificate(resigned(t, s.leaf.Raw(), s.caKey, nil, after))
			wantError(t, err, pki.ErrCertificate)
		})
	}
}

// What other authorities may write, and we read.
func TestCertificatesOfOtherAuthorities(t *testing.T) {
	s := newScheme(t, "craft")
	for name, change := range map[string]func(tbs *node){
		"valid until 9999":                 func(n *node) { n.at(fValidity).kids[1] = prim(0x18, "99991231235959Z") },
		"an extension that we do not know": func(n *node) { n.at(fExtensions, 0).add(seq(prim(6, "\x2a\x03"), prim(4, "anything"))) },
		"critical policies": func(n *node) {
			n.at(fExtensions, 0).add(seq(prim(6, "\x55\x1d\x20"), prim(1, "\xff"), prim(4, "\x30\x06\x30\x04\x06\x02\x2a\x03")))
		},
		"two values in one set": func(n *node) { n.at(fSubject, 0).add(n.at(fSubject, 1, 0)) },
		"nonRepudiation too":    func(n *node) { last(n.extension(t, n.at(fExtensions, 0), kuOID)).value = []byte{3, 2, 6, 0xc0} },
	} {
		t.Run(name, func(t *testing.T) {
			c, err := pki.ParseCertificate(resigned(t, s.leaf.Raw(), s.caKey, change, nil))
			must(t, err)
			must(t, c.CheckSignedBy(s.ca))
		})
	}
	t.Run("NULL parameters", func(t *testing.T) {
		der := resigned(t, s.leaf.Raw(), s.caKey, func(n *node) { n.at(fAlgorithm).add(prim(5, "")) }, func(n *node) { n.at(1).add(prim(5, "")) })
		c, err := pki.ParseCertificate(der)
		must(t, err)
		must(t, c.CheckSignedBy(s.ca))
	})
	t.Run("no purpose of ours", func(t *testing.T) {
		der := resigned(t, s.leaf.Raw(), s.caKey, func(n *node) {
			last(n.extension(t, n.at(fExtensions, 0), ekuOID)).value = []byte("\x30\x04\x06\x02\x2a\x03")
		}, nil)
		c, err := pki.ParseCertificate(der)
		must(t, err)
		if c.Purpose() != "" {
			t.Fatalf("purpose %q", c.Purpose())
		}
	})
	t.Run("the mark in the name alone", func(t *testing.T) {
		der := resigned(t, s.leaf.Raw(), s.caKey, func(n *node) {
			list := n.at(fExtensions, 0)
			list.kids = list.kids[:len(list.kids)-1]
		}, nil)
		c, err := pki.ParseCertificate(der)
		must(t, err)
		if bytes.Contains(der, []byte(markOID)) || !c.Demonstration() {
			t.Fatal("one of two marks is enough, and was not")
		}
	})
	t.Run("for encryption", func(t *testing.T) {
		der := resigned(t, s.leaf.Raw(), s.caKey, func(n *node) {
			last(n.extension(t, n.at(fExtensions, 0), kuOID)).value = []byte{3, 2, 4, 0x30}
		}, nil)
		c, err := pki.ParseCertificate(der)
		must(t, err)
		if c.MaySign() {
			t.Fatal("a certificate for encryption vouches for signatures")
		}
		_, err = pki.Path(c, []*pki.Certificate{s.ca}, []*pki.Certificate{s.root}, epoch)
		wantError(t, err, pki.ErrUntrusted)
	})
}

func last(extension *node) *node { return extension.kids[len(extension.kids)-1] }

// eku names the purposes under 2.999.156.2.
func eku(purposes ...byte) []byte {
	var ids []*node
	for _, p := range purposes {
		ids = append(ids, prim(6, "\x88\x37\x81\x1c\x02"+string(rune(p))))
	}
	return seq(ids...).der()
}

// The bytes of our object identifiers are what the comment in the code says.
func TestObjectIdentifiers(t *testing.T) {
	for encoded, oid := range map[string]asn1.ObjectIdentifier{
		markOID: {2, 999, 156, 1, 1}, "\x88\x37\x81\x1c\x02\x01": {2, 999, 156, 2, 1},
	} {
		der, err := asn1.Marshal(oid)
		must(t, err)
		if string(der[2:]) != encoded {
			t.Errorf("%v is %x", oid, der[2:])
		}
	}
	s := newScheme(t, "craft")
	if !bytes.Contains(s.leaf.Raw(), []byte(markOID)) || !bytes.Contains(s.leaf.Raw(), []byte("\x88\x37\x81\x1c\x02\x01")) {
		t.Error("mark or purpose is not in the certificate")
	}
}
