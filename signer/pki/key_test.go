package pki_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math/big"
	"testing"
	"time"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/sm3"

	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
)

const signerID = "1234567812345678"

// epoch is the middle of every certificate's validity unless a test says otherwise.
var epoch = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// key derives from its name and signs deterministically, so that certificates of tests are the same in every run.
type key struct {
	private *sm2.PrivateKey
	purpose purpose.Purpose
}

func newKey(t testing.TB, name string, p purpose.Purpose) key {
	t.Helper()
	d := sm3.Sum([]byte("pki test key " + name))
	d[0] &= 0x7f // below the order of the group
	private, err := sm2.NewPrivateKey(d[:])
	must(t, err)
	return key{private, p}
}

func (k key) Public() *ecdsa.PublicKey { return &k.private.PublicKey }

func (k key) Sign(_ context.Context, form purpose.Form, message []byte) ([]byte, error) {
	if !k.purpose.Allows(form) {
		return nil, errors.New("another purpose")
	}
	if err := purpose.Check(form, message); err != nil {
		return nil, err
	}
	return k.sign(message)
}

func (k key) sign(message []byte) ([]byte, error) {
	der, err := k.private.SignWithSM2(nil, []byte(signerID), message)
	if err != nil {
		return nil, err
	}
	return pki.SignatureRS(der)
}

// scheme is root, issuing CA and one hospital's certificate for documents.
type scheme struct {
	rootKey, caKey, leafKey key
	root, ca, leaf          *pki.Certificate
}

func newScheme(t testing.TB, name string) scheme {
	t.Helper()
	s := scheme{rootKey: newKey(t, name+" root", purpose.CertificateAuthority), caKey: newKey(t, name+" ca", purpose.CertificateAuthority),
		leafKey: newKey(t, name+" leaf", purpose.Documents)}
	s.root = issue(t, s.rootKey, nil, s.rootKey, caTemplate(name+" root", 1, 1))
	s.ca = issue(t, s.rootKey, s.root, s.caKey, caTemplate(name+" issuing", 0, 2))
	s.leaf = issue(t, s.caKey, s.ca, s.leafKey, leafTemplate(purpose.Documents, 3))
	return s
}

func caTemplate(name string, pathLen int, serial int64) pki.Template {
	return pki.Template{CommonName: name, Organisation: "演示机构", CA: true, MaxPathLen: pathLen, NotBefore: epoch.AddDate(-1, 0, 0),
		NotAfter: epoch.AddDate(10, 0, 0), Demonstration: true, SerialNumber: big.NewInt(serial)}
}

func leafTemplate(p purpose.Purpose, serial int64) pki.Template {
	return pki.Template{CommonName: "上海市闵行区妇幼保健院 " + string(p), Organisation: "上海市闵行区妇幼保健院",
		OrganisationCode: "12310112425016528A", Purpose: p, NotBefore: epoch.AddDate(0, 0, -1), NotAfter: epoch.AddDate(3, 0, 0),
		Demonstration: true, SerialNumber: big.NewInt(serial)}
}

func issue(t testing.TB, caKey key, ca *pki.Certificate, of key, template pki.Template) *pki.Certificate {
	t.Helper()
	c, err := pki.Issue(context.Background(), caKey, ca, of.Public(), template, none{})
	must(t, err)
	return c
}

// none is a source of randomness that must not be needed.
type none struct{}

func (none) Read([]byte) (int, error) { return 0, fmt.Errorf("randomness was read where all is given") }

func random() io.Reader { return rand.Reader }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
}

// flipped is b with one bit changed.
func flipped(b []byte, i int) []byte {
	c := bytes.Clone(b)
	c[i] ^= 1
	return c
}
