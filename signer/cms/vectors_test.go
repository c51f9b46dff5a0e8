package cms_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"slices"
	"testing"
	"time"

	"github.com/emmansun/gmsm/sm3"

	"github.com/elicence/elicence/signer/cms"
	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
	"github.com/elicence/elicence/signer/signertest"
)

// node is one DER element taken apart, so that vectors can change what a signer would never write.
type node struct {
	tag   byte
	value []byte  // of a primitive element
	parts []*node // of a constructed one
}

func open(tb testing.TB, der []byte) *node {
	tb.Helper()
	nodes := openAll(tb, der)
	if len(nodes) != 1 {
		tb.Fatal("not one element")
	}
	return nodes[0]
}

func openAll(tb testing.TB, der []byte) (nodes []*node) {
	tb.Helper()
	for len(der) > 0 {
		n, head := int(der[1]), 2
		if n >= 0x80 {
			head = 2 + n&0x7f
			n = 0
			for _, c := range der[2:head] {
				n = n<<8 | int(c)
			}
		}
		e := &node{tag: der[0], value: der[head : head+n]}
		if e.tag&0x20 != 0 {
			e.parts, e.value = openAll(tb, e.value), nil
		}
		nodes, der = append(nodes, e), der[head+n:]
	}
	return nodes
}

func (n *node) der() []byte {
	value := n.value
	for _, p := range n.parts {
		value = append(value, p.der()...)
	}
	switch l := len(value); {
	case l < 0x80:
		return append([]byte{n.tag, byte(l)}, value...)
	case l < 0x100:
		return append([]byte{n.tag, 0x81, byte(l)}, value...)
	default:
		return append([]byte{n.tag, 0x82, byte(l >> 8), byte(l)}, value...)
	}
}

// at goes down by child numbers.
func (n *node) at(path ...int) *node {
	for _, i := range path {
		n = n.parts[i]
	}
	return n
}

// Where things stand: ContentInfo [1][0] is SignedData; of it 0 version, 1 digest algorithms, 2 content, 3 certificates,
// 4 signer infos; of a signer info 0 version, 1 issuer and serial, 2 digest algorithm, 3 attributes, 4 algorithm, 5 value.
func (n *node) signedData() *node { return n.at(1, 0) }
func (n *node) signerInfo() *node { return n.at(1, 0, 4, 0) }

var null = &node{tag: 0x05}

func oid(b ...byte) *node { return &node{tag: 0x06, value: b} }

func makeVectors(tb testing.TB) (all []vector) {
	c, other := signertest.NewChain(tb, "样例"), signertest.NewChain(tb, "别家")
	add := func(name, expect, why string, der []byte) {
		all = append(all, vector{name, expect, why, base64.StdEncoding.EncodeToString(der)})
	}
	good := sign(tb, cms.PKCS7, c, signedAt, c.Path())
	add("pkcs7", "accepted", "PKCS#7 content OIDs, leaf and issuing CA", good)
	add("gmt0010", "accepted", "GM/T 0010 content OIDs", sign(tb, cms.GMT0010, c, signedAt, c.Path()))
	add("leaf-alone", "accepted", "a leaf directly below the root", sign(tb, cms.PKCS7, c, signedAt, []*pki.Certificate{c.Leaf}))
	add("generalized-time", "accepted", "from 2050 on the signing time is a GeneralizedTime", sign(tb, cms.PKCS7, c, time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC), c.Path()))

	refuse := func(name, why string, der []byte) { add(name, "refused", why, der) }
	change := func(name, why string, f func(n *node)) {
		n := open(tb, good)
		f(n)
		der := n.der()
		if bytes.Equal(der, good) {
			tb.Fatalf("%s changes nothing", name)
		}
		refuse(name, why, der)
	}
	// Attributes signed as they are here: form alone is wrong, the signature is good.
	signedWrong := func(name, why string, f func(attrs *node)) {
		n := open(tb, good)
		attrs := n.signerInfo().parts[3]
		f(attrs)
		message := attrs.der()
		message[0] = 0x31
		rs, err := rawSign(tb, message)
		if err != nil {
			tb.Fatal(err)
		}
		n.signerInfo().parts[5].value = rs
		refuse(name, why, n.der())
	}

	refuse("empty", "nothing", nil)
	refuse("trailing-byte", "a byte behind the end", append(slices.Clone(good), 0))
	refuse("indefinite-length", "BER, not DER", append(append([]byte{0x30, 0x80}, good[4:]...), 0, 0))
	refuse("long-length", "a length in more bytes than it needs", append([]byte{0x30, 0x83, 0x00}, good[2:]...))
	change("version-3", "SignedData version 3", func(n *node) { n.signedData().parts[0].value = []byte{3} })
	change("two-digest-algorithms", "a second digest algorithm", func(n *node) {
		s := n.signedData().parts[1]
		s.parts = append(s.parts, &node{tag: 0x30, parts: []*node{oid(0x60, 0x86, 0x48, 1, 101, 3, 4, 2, 1)}})
	})
	change("sm3-null", "NULL parameters for SM3", func(n *node) { a := n.signedData().at(1, 0); a.parts = append(a.parts, null) })
	change("signature-algorithm-null", "NULL parameters for SM2-with-SM3", func(n *node) { a := n.signerInfo().parts[4]; a.parts = append(a.parts, null) })
	change("mixed-oids", "GM/T 0010 signature algorithm under PKCS#7 content", func(n *node) {
		n.signerInfo().parts[4].parts[0] = oid(0x2a, 0x81, 0x1c, 0xcf, 0x55, 0x01, 0x82, 0x2d, 0x01)
	})
	change("attached-content", "content inside", func(n *node) {
		e := n.signedData().parts[2]
		e.parts = append(e.parts, &node{tag: 0xa0, parts: []*node{{tag: 0x04, value: content}}})
	})
	change("no-certificates", "no certificate embedded", func(n *node) { s := n.signedData(); s.parts = slices.Delete(s.parts, 3, 4) })
	change("certificate-missing", "the issuing CA is not embedded", func(n *node) {
		s := n.signedData().parts[3]
		s.parts = slices.DeleteFunc(s.parts, func(p *node) bool { return bytes.Equal(p.der(), c.Issuing.Raw()) })
	})
	change("root-embedded", "the root is embedded too", func(n *node) { embed(tb, n, c.Root) })
	change("unused-certificate", "a certificate that nobody used", func(n *node) { embed(tb, n, other.Leaf) })
	change("certificate-twice", "the leaf is embedded twice", func(n *node) { embed(tb, n, c.Leaf) })
	change("certificates-unsorted", "a SET OF that is not in order", func(n *node) { slices.Reverse(n.signedData().parts[3].parts) })
	change("crls", "revocation lists embedded", func(n *node) {
		s := n.signedData()
		s.parts = slices.Insert(s.parts, 4, &node{tag: 0xa1, parts: []*node{}})
	})
	change("no-signer", "no signer", func(n *node) { n.signedData().parts[4].parts = nil })
	change("two-signers", "a second signer", func(n *node) {
		s := n.signedData().parts[4]
		s.parts = append(s.parts, s.parts[0])
	})
	change("subject-key-identifier", "the signer is named by key, not by issuer and serial number", func(n *node) {
		n.signerInfo().parts[1] = &node{tag: 0x80, value: make([]byte, 20)}
	})
	change("another-serial-number", "issuer and serial number of another certificate", func(n *node) {
		n.signerInfo().at(1, 1).value = append([]byte{0x01}, n.signerInfo().at(1, 1).value[1:]...)
	})
	change("unsigned-attributes", "attributes that nobody signed", func(n *node) {
		s := n.signerInfo()
		s.parts = append(s.parts, &node{tag: 0xa1, parts: []*node{s.parts[3].parts[0]}})
	})
	change("no-attributes", "the signature is over the content itself", func(n *node) { s := n.signerInfo(); s.parts = slices.Delete(s.parts, 3, 4) })
	change("signature-padded", "r with a zero before it that it does not need", func(n *node) {
		v := n.signerInfo().parts[5]
		s := open(tb, v.value)
		s.parts[0].value = append([]byte{0}, s.parts[0].value...)
		v.value = s.der()
	})
	change("signature-negative", "s without the zero that keeps it positive, or one with bits cleared", func(n *node) {
		v := n.signerInfo().parts[5]
		s := open(tb, v.value)
		s.parts[1].value = []byte{0x80, 1}
		v.value = s.der()
	})
	change("another-digest", "the message digest is that of other content", func(n *node) {
		sum := sm3.Sum([]byte("other content"))
		n.signerInfo().at(3, 2, 1, 0).value = sum[:]
	})
	signedWrong("attributes-unsorted", "signed, but a SET OF that is not in order", func(a *node) { slices.Reverse(a.parts) })
	signedWrong("attribute-missing", "signed, but without signing time", func(a *node) { a.parts = slices.Delete(a.parts, 1, 2) })
	signedWrong("attribute-twice", "signed, but with two content types", func(a *node) { a.parts = slices.Insert(a.parts, 1, a.parts[0]) })
	signedWrong("two-values", "signed, but with two signing times", func(a *node) {
		v := a.parts[1].parts[1]
		v.parts = append(v.parts, v.parts[0])
	})
	signedWrong("generalized-time-2026", "signed, but GeneralizedTime before 2050", func(a *node) {
		a.parts[1].parts[1].parts[0] = &node{tag: 0x18, value: []byte("20261014013001Z")}
	})
	signedWrong("time-without-seconds", "signed, but UTCTime without seconds", func(a *node) {
		a.parts[1].parts[1].parts[0] = &node{tag: 0x17, value: []byte("2610140130Z")}
	})
	signedWrong("certificate-not-named", "signed, but signingCertificateV2 names the leaf alone", func(a *node) {
		ids := a.parts[3].at(1, 0, 0)
		ids.parts = ids.parts[:1]
	})
	signedWrong("another-certificate-named", "signed, but signingCertificateV2 names another leaf", func(a *node) {
		sum := other.Leaf.SM3()
		a.parts[3].at(1, 0, 0, 0, 1).value = sum[:]
	})
	signedWrong("wrong-content-type", "signed, but contentType says signedData", func(a *node) {
		a.parts[0].at(1).parts[0] = oid(0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02)
	})
	refuse("another-key", "signed by another hospital's key", func() []byte {
		attrs, err := cms.SignedAttributes(sm3.Sum(content), signedAt, c.Path())
		if err != nil {
			tb.Fatal(err)
		}
		rs, err := other.Key.Sign(context.Background(), purpose.CMSAttributes, attrs)
		if err != nil {
			tb.Fatal(err)
		}
		der, err := cms.Assemble(cms.PKCS7, attrs, rs, c.Path())
		if err != nil {
			tb.Fatal(err)
		}
		return der
	}())
	return all
}

// embed adds a certificate and keeps the SET OF in order, so that order is not what is wrong.
func embed(tb testing.TB, n *node, c *pki.Certificate) {
	s := n.signedData().parts[3]
	s.parts = append(s.parts, open(tb, c.Raw()))
	slices.SortFunc(s.parts, func(a, b *node) int { return bytes.Compare(a.der(), b.der()) })
}

// rawSign signs a message whose form no key would let pass, with the leaf's key.
func rawSign(tb testing.TB, message []byte) ([]byte, error) {
	return signertest.NewKey(tb, "样例/documents", purpose.Documents).SignAnything(message)
}
