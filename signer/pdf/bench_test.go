package pdf_test

import (
	"testing"

	"github.com/elicence/elicence/signer/cms"
	"github.com/elicence/elicence/signer/credential"
	"github.com/elicence/elicence/signer/pdf"
	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/signertest"
)

func BenchmarkRead(b *testing.B) {
	m := issue(b, load(b), signertest.NewChain(b, "样例"), 0, 0)
	b.SetBytes(int64(len(m.file)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := pdf.Read(m.file); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDigest is the part of BenchmarkRead that no reader can do without.
func BenchmarkDigest(b *testing.B) {
	m := issue(b, load(b), signertest.NewChain(b, "样例"), 0, 0)
	b.SetBytes(int64(len(m.file)))
	for b.Loop() {
		pdf.Digest(m.file, m.contentsAt, 2+2*len(m.der))
	}
}

// BenchmarkVerifyPart is what a verifier does with a file in these packages: structure, digest, CMS, its signature,
// licence.json, credential, its signature, field tree, agreement.
func BenchmarkVerifyPart(b *testing.B) {
	m := issue(b, load(b), signertest.NewChain(b, "样例"), 0, 0)
	known := map[[32]byte]*pki.Certificate{}
	for _, c := range m.chain.Path() {
		known[c.SM3()] = c
	}
	b.ReportAllocs()
	for b.Loop() {
		d, err := pdf.Read(m.file)
		if err != nil {
			b.Fatal(err)
		}
		s, err := cms.ParseKnown(d.CMS, func(sum [32]byte) *pki.Certificate { return known[sum] })
		if err != nil || s.Digest != d.Digest || s.Verify() != nil {
			b.Fatal(err)
		}
		l, err := credential.ParseDisclosure(d.LicenceJSON)
		if err != nil {
			b.Fatal(err)
		}
		c, err := credential.Parse(l.Credential)
		if err != nil || c.Verify(s.Path[0]) != nil || credential.Agree(l, &c.Payload) != nil {
			b.Fatal(err)
		}
		if root, err := l.Root(); err != nil || root != c.Payload.TreeRoot {
			b.Fatal(err)
		}
	}
}
