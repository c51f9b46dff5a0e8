package pki_test

import (
	"bytes"
	"context"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/emmansun/gmsm/sm3"

	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
)

func TestACertificateSaysWhatItWasIssuedWith(t *testing.T) {
	s := newScheme(t, "says")
	c, err := pki.ParseCertificate(s.leaf.Raw())
	must(t, err)
	for what, ok := range map[string]bool{
		"organisation code": c.OrganisationCode() == "12310112425016528A",
		"organisation name": c.OrganisationName() == "上海市闵行区妇幼保健院",
		"common name":       c.CommonName() == "上海市闵行区妇幼保健院 documents",
		"purpose":           c.Purpose() == purpose.Documents,
		"demonstration":     c.Demonstration(),
		"no CA":             !c.IsCA(),
		"signs":             c.MaySign(),
		"serial":            c.SerialNumber().Int64() == 3,
		"from":              c.NotBefore().Equal(epoch.AddDate(0, 0, -1)),
		"until":             c.NotAfter().Equal(epoch.AddDate(3, 0, 0)),
		"key":               c.PublicKey().Equal(s.leafKey.Public()),
		"SM3":               c.SM3() == sm3.Sum(s.leaf.Raw()),
		"issuer":            bytes.Equal(c.IssuerDN(), s.ca.SubjectDN()),
		"CA":                s.ca.IsCA() && !s.ca.MaySign() && s.ca.Purpose() == "",
		"name for people":   strings.HasPrefix(c.String(), "上海市闵行区妇幼保健院 documents "),
	} {
		if !ok {
			t.Errorf("%s is wrong", what)
		}
	}
	if !bytes.Contains(c.Raw(), []byte("DEMONSTRATION 样张")) {
		t.Error("nobody who opens the certificate sees that it is for demonstrations")
	}
	must(t, c.CheckSignedBy(s.ca))
	must(t, s.ca.CheckSignedBy(s.root))
	must(t, s.root.CheckSignedBy(s.root))
}

func TestEveryPurposeHasACertificateButWrapping(t *testing.T) {
	s := newScheme(t, "purposes")
	for _, p := range []purpose.Purpose{purpose.Documents, purpose.Events, purpose.Checkpoints, purpose.StatusLists, purpose.TrustFiles} {
		k := newKey(t, string(p), p)
		if c := issue(t, s.caKey, s.ca, k, leafTemplate(p, 9)); c.Purpose() != p {
			t.Errorf("asked for %s, got %q", p, c.Purpose())
		}
	}
	for _, p := range []purpose.Purpose{purpose.DataWrapping, purpose.CertificateAuthority, "", "lunch"} {
		_, err := pki.Issue(context.Background(), s.caKey, s.ca, s.leafKey.Public(), leafTemplate(p, 9), none{})
		wantError(t, err, pki.ErrTemplate)
	}
}

func TestADemonstrationAuthorityCannotMakeProductionCertificates(t *testing.T) {
	s := newScheme(t, "marks")
	template := leafTemplate(purpose.Documents, 9)
	template.Demonstration = false
	_, err := pki.Issue(context.Background(), s.caKey, s.ca, s.leafKey.Public(), template, none{})
	wantError(t, err, pki.ErrTemplate)
}

func TestProductionCertificatesCarryNoMark(t *testing.T) {
	rootKey, leafKey := newKey(t, "production root", purpose.CertificateAuthority), newKey(t, "production leaf", purpose.Documents)
	template := caTemplate("生产根", 0, 1)
	template.Demonstration = false
	root := issue(t, rootKey, nil, rootKey, template)
	template = leafTemplate(purpose.Documents, 2)
	template.Demonstration = false
	if c := issue(t, rootKey, root, leafKey, template); c.Demonstration() || root.Demonstration() {
		t.Error("a production certificate is taken for a demonstration")
	}
}

func TestWhatCannotBeCertified(t *testing.T) {
	s := newScheme(t, "templates")
	for name, change := range map[string]func(*pki.Template){
		"no name":           func(x *pki.Template) { x.CommonName = "" },
		"ends first":        func(x *pki.Template) { x.NotAfter = x.NotBefore },
		"year 0":            func(x *pki.Template) { x.NotBefore = time.Time{} },
		"year 10000":        func(x *pki.Template) { x.NotAfter = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"CA for documents":  func(x *pki.Template) { x.CA = true },
		"path length -2":    func(x *pki.Template) { x.CA, x.Purpose, x.MaxPathLen = true, "", -2 },
		"path length, leaf": func(x *pki.Template) { x.MaxPathLen = 1 },
		"serial 0":          func(x *pki.Template) { x.SerialNumber = new(big.Int) },
		"serial negative":   func(x *pki.Template) { x.SerialNumber = big.NewInt(-1) },
		"serial 20 bytes":   func(x *pki.Template) { x.SerialNumber = new(big.Int).Lsh(big.NewInt(1), 159) },
	} {
		template := leafTemplate(purpose.Documents, 9)
		change(&template)
		_, err := pki.Issue(context.Background(), s.caKey, s.ca, s.leafKey.Public(), template, none{})
		t.Run(name, func(t *testing.T) { wantError(t, err, pki.ErrTemplate) })
	}
	t.Run("a leaf as CA", func(t *testing.T) {
		_, err := pki.Issue(context.Background(), s.leafKey, s.leaf, s.leafKey.Public(), leafTemplate(purpose.Documents, 9), none{})
		wantError(t, err, pki.ErrTemplate)
	})
	t.Run("another CA's key", func(t *testing.T) {
		if _, err := pki.Issue(context.Background(), s.rootKey, s.ca, s.leafKey.Public(), leafTemplate(purpose.Documents, 9), none{}); err == nil {
			t.Error("a certificate with a signature that does not verify was handed out")
		}
	})
	t.Run("a key that is for events", func(t *testing.T) {
		k := newKey(t, "events", purpose.Events)
		if _, err := pki.Issue(context.Background(), k, nil, k.Public(), caTemplate("x", 0, 1), none{}); err == nil {
			t.Error("a key for events signed a certificate")
		}
	})
	t.Run("no randomness", func(t *testing.T) {
		template := leafTemplate(purpose.Documents, 9)
		template.SerialNumber = nil
		if _, err := pki.Issue(context.Background(), s.caKey, s.ca, s.leafKey.Public(), template, none{}); err == nil {
			t.Error("a certificate without a random serial number was handed out")
		}
	})
}

func TestSerialNumbersAreRandomAndPositive(t *testing.T) {
	s := newScheme(t, "serials")
	template := leafTemplate(purpose.Documents, 0)
	template.SerialNumber = nil
	seen := map[string]bool{}
	for range 20 {
		c, err := pki.Issue(context.Background(), s.caKey, s.ca, s.leafKey.Public(), template, random())
		must(t, err)
		n := c.SerialNumber()
		if n.Sign() <= 0 || len(n.Bytes()) != 16 || seen[n.String()] {
			t.Fatalf("serial number %x", n)
		}
		seen[n.String()] = true
	}
}

// A certificate is the SM3 of its bytes in credentials, so it may have one encoding only.
func TestEveryChangedBitIsRefusedOrBreaksTheSignature(t *testing.T) {
	s := newScheme(t, "bits")
	der := s.leaf.Raw()
	for i := range der {
		for bit := range 8 {
			b := bytes.Clone(der)
			b[i] ^= 1 << bit
			c, err := pki.ParseCertificate(b)
			if err != nil {
				wantError(t, err, pki.ErrCertificate)
				continue
			}
			if c.CheckSignedBy(s.ca) == nil {
				t.Fatalf("bit %d of byte %d changed unseen", bit, i)
			}
		}
	}
}

func TestTruncatedOrLongerIsRefused(t *testing.T) {
	der := newScheme(t, "length").leaf.Raw()
	for n := range der {
		_, err := pki.ParseCertificate(der[:n])
		wantError(t, err, pki.ErrCertificate)
	}
	_, err := pki.ParseCertificate(append(bytes.Clone(der), 0))
	wantError(t, err, pki.ErrCertificate)
	_, err = pki.ParseCertificate(bytes.Repeat([]byte{0x30}, pki.MaxCertificate+1))
	wantError(t, err, pki.ErrCertificate)
}

func TestTheCallerMayReuseItsBuffer(t *testing.T) {
	s := newScheme(t, "buffer")
	b := bytes.Clone(s.leaf.Raw())
	c, err := pki.ParseCertificate(b)
	must(t, err)
	clear(b)
	if !bytes.Equal(c.Raw(), s.leaf.Raw()) || c.SM3() != s.leaf.SM3() {
		t.Error("the certificate changed with the caller's buffer")
	}
	must(t, c.CheckSignedBy(s.ca))
	c.SerialNumber().SetInt64(7)
	if c.SerialNumber().Int64() != 3 {
		t.Error("the caller can change the serial number")
	}
}
