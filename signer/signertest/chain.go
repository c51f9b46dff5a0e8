// Package signertest is a key in memory and a small chain of certificates for tests of what is signed. Nothing in it
// keeps a secret.
package signertest

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"fmt"
	"math/big"
	"testing"
	"time"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/sm3"

	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
)

// Key is a signer.Key in memory. It holds messages to their form, as every key does, and to its purpose.
type Key struct {
	private *sm2.PrivateKey
	purpose purpose.Purpose
}

// NewKey makes the key that belongs to a name: the same name gives the same key.
func NewKey(tb testing.TB, name string, p purpose.Purpose) *Key {
	tb.Helper()
	sum := sm3.Sum([]byte("elicence test key: " + name))
	sum[0] &= 0x7f // below the order
	private, err := sm2.NewPrivateKey(sum[:])
	if err != nil {
		tb.Fatal(err)
	}
	return &Key{private, p}
}

// Public is the key's public half.
func (k *Key) Public() *ecdsa.PublicKey { return &k.private.PublicKey }

// Sign implements signer.Key. The same message gives the same signature, so that what tests make can be committed.
func (k *Key) Sign(ctx context.Context, form purpose.Form, message []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !k.purpose.Allows(form) {
		return nil, fmt.Errorf("signertest: a key for %s was asked for %s", k.purpose, form)
	}
	if err := purpose.Check(form, message); err != nil {
		return nil, err
	}
	der, err := sm2.SignDeterministic(k.private, message, sm2.DefaultSM2SignerOpts)
	if err != nil {
		return nil, err
	}
	return pki.SignatureRS(der)
}

// Code is the unified social credit code of the hospital in the chain; its check character is right.
const Code = "91350100M000100Y43"

// Chain is a root, an issuing CA below it, and a hospital's certificate for documents below that.
type Chain struct {
	Root, Issuing, Leaf *pki.Certificate
	Key                 *Key // of Leaf
}

// NewChain makes the chain that belongs to a name, the same bytes each time. It is valid from 2026 to 2046.
func NewChain(tb testing.TB, name string) *Chain {
	tb.Helper()
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	ca := func(role string) *Key { return NewKey(tb, name+"/"+role, purpose.CertificateAuthority) }
	root, issuing := ca("root"), ca("issuing")
	c := &Chain{Key: NewKey(tb, name+"/documents", purpose.Documents)}
	issue := func(key *Key, parent *pki.Certificate, public *ecdsa.PublicKey, t pki.Template) *pki.Certificate {
		t.NotBefore, t.NotAfter, t.Demonstration = from, from.AddDate(20, 0, 0), true
		sum := sm3.Sum([]byte(t.CommonName))
		t.SerialNumber = new(big.Int).SetBytes(append([]byte{0x40}, sum[:15]...))
		cert, err := pki.Issue(context.Background(), key, parent, public, t, rand.Reader)
		if err != nil {
			tb.Fatal(err)
		}
		return cert
	}
	c.Root = issue(root, nil, root.Public(), pki.Template{CommonName: name + " root", CA: true, MaxPathLen: 1, Purpose: purpose.CertificateAuthority})
	c.Issuing = issue(root, c.Root, issuing.Public(), pki.Template{CommonName: name + " issuing CA", CA: true, Purpose: purpose.CertificateAuthority})
	c.Leaf = issue(issuing, c.Issuing, c.Key.Public(), pki.Template{CommonName: name + " 医院", Organisation: name + " 医院", OrganisationCode: Code, Purpose: purpose.Documents})
	return c
}

// Path is leaf first, without root.
func (c *Chain) Path() []*pki.Certificate { return []*pki.Certificate{c.Leaf, c.Issuing} }

// SignAnything signs a message without holding it to a form, which no real key does, and returns DER. Vectors need it:
// what is refused shall be refused for its form, not for its signature.
func (k *Key) SignAnything(message []byte) ([]byte, error) {
	return sm2.SignDeterministic(k.private, message, sm2.DefaultSM2SignerOpts)
}
