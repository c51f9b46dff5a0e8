// Package verifytest is a whole scheme in memory for tests: root, CA, organisations with their keys, trust
// files and status lists. Keys come from names and signatures are deterministic (RFC 6979 with SM3), so
// that the same test makes the same bytes. Nothing here is secret and nothing here may sign a real licence.
package verifytest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/sm3"

	"github.com/elicence/elicence/licence/code"
	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
	"github.com/elicence/elicence/verify/status"
	"github.com/elicence/elicence/verify/trust"
)

// Epoch is the time at which everything of a scheme begins: 2026-11-01 08:00 in Shanghai.
var Epoch = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// Key is an SM2 key in memory that keeps to its purpose as a device would.
type Key struct {
	private *sm2.PrivateKey
	purpose purpose.Purpose
}

// NewKey derives a key from its name.
func NewKey(name string, p purpose.Purpose) *Key {
	d := sm3.Sum([]byte("verifytest key " + name))
	d[0] &= 0x7f // below the order of the group
	private, err := sm2.NewPrivateKey(d[:])
	if err != nil {
		panic(err) // no name gives zero
	}
	return &Key{private, p}
}

// As is the same key under another purpose, as no device would have it.
func (k *Key) As(p purpose.Purpose) *Key { return &Key{k.private, p} }

// Public is the key's public half.
func (k *Key) Public() *ecdsa.PublicKey { return &k.private.PublicKey }

// Sign implements signer.Key.
func (k *Key) Sign(_ context.Context, form purpose.Form, message []byte) ([]byte, error) {
	if !k.purpose.Allows(form) {
		return nil, fmt.Errorf("a key for %s does not sign %s", k.purpose, form)
	}
	if err := purpose.Check(form, message); err != nil {
		return nil, err
	}
	return k.SignAnything(message)
}

// SignAnything is what a thief does with a key.
func (k *Key) SignAnything(message []byte) ([]byte, error) {
	der, err := k.private.SignWithSM2(nil, []byte("1234567812345678"), message)
	if err != nil {
		return nil, err
	}
	return pki.SignatureRS(der)
}

// Identity is a key with its certificate.
type Identity struct {
	Key         *Key
	Certificate *pki.Certificate
}

// Organisation with an identity for each purpose.
type Organisation struct {
	trust.Organisation
	Documents, Events, Checkpoints, StatusLists Identity
}

// Authority is a root and an issuing CA.
type Authority struct {
	t             testing.TB
	name          string
	root, issuing *Key
	Root, CA      *pki.Certificate
	Demonstration bool
	serial        int64
}

// NewAuthority makes a CA named name, valid for ten years from a day before Epoch.
func NewAuthority(t testing.TB, name string, demonstration bool) *Authority {
	t.Helper()
	a := &Authority{t: t, name: name, root: NewKey(name+" root", purpose.CertificateAuthority),
		issuing: NewKey(name+" issuing", purpose.CertificateAuthority), Demonstration: demonstration, serial: 1000}
	from, until := Epoch.AddDate(0, 0, -1), Epoch.AddDate(10, 0, 0)
	var err error
	a.Root, err = pki.Issue(context.Background(), a.root, nil, a.root.Public(), pki.Template{CommonName: name + " root",
		Organisation: name, Purpose: purpose.CertificateAuthority, CA: true, MaxPathLen: 1, NotBefore: from, NotAfter: until,
		Demonstration: demonstration, SerialNumber: big.NewInt(1)}, zeros{})
	must(t, err)
	a.CA, err = pki.Issue(context.Background(), a.root, a.Root, a.issuing.Public(), pki.Template{CommonName: name + " issuing CA",
		Organisation: name, Purpose: purpose.CertificateAuthority, CA: true, NotBefore: from, NotAfter: until,
		Demonstration: demonstration, SerialNumber: big.NewInt(2)}, zeros{})
	must(t, err)
	return a
}

// Certify gives a key a certificate of three years from Epoch; change may alter what it says.
func (a *Authority) Certify(key *Key, o trust.Organisation, p purpose.Purpose, change func(*pki.Template)) Identity {
	a.t.Helper()
	a.serial++
	template := pki.Template{CommonName: o.Name + " " + string(p), Organisation: o.Name, OrganisationCode: o.Code, Purpose: p,
		NotBefore: Epoch, NotAfter: Epoch.AddDate(3, 0, 0), Demonstration: a.Demonstration, SerialNumber: big.NewInt(a.serial)}
	if change != nil {
		change(&template)
	}
	cert, err := pki.Issue(context.Background(), a.issuing, a.CA, key.Public(), template, zeros{})
	must(a.t, err)
	return Identity{key, cert}
}

// Renew gives the issuing CA another certificate of the same name, for the same key or another.
func (a *Authority) Renew(key *Key) *pki.Certificate {
	a.t.Helper()
	if key == nil {
		key = a.issuing
	}
	return a.renew(key, Epoch.AddDate(0, 0, -1))
}

// RenewFrom gives the issuing CA another certificate for its key, valid from a later time.
func (a *Authority) RenewFrom(from time.Time) *pki.Certificate {
	a.t.Helper()
	return a.renew(a.issuing, from)
}

func (a *Authority) renew(key *Key, from time.Time) *pki.Certificate {
	a.t.Helper()
	a.serial++
	cert, err := pki.Issue(context.Background(), a.root, a.Root, key.Public(), pki.Template{CommonName: a.CA.CommonName(),
		Organisation: a.CA.OrganisationName(), Purpose: purpose.CertificateAuthority, CA: true, NotBefore: from,
		NotAfter: from.AddDate(5, 0, 0), Demonstration: a.Demonstration, SerialNumber: big.NewInt(a.serial)}, zeros{})
	must(a.t, err)
	return cert
}

// Organisation makes an organisation with all its keys.
func (a *Authority) Organisation(name, kind string, n int) *Organisation {
	a.t.Helper()
	o := &Organisation{Organisation: trust.Organisation{Code: Code(a.t, n), Kind: kind, Name: name, Region: "310112"}}
	for _, i := range []struct {
		p purpose.Purpose
		*Identity
	}{{purpose.Documents, &o.Documents}, {purpose.Events, &o.Events}, {purpose.Checkpoints, &o.Checkpoints},
		{purpose.StatusLists, &o.StatusLists}} {
		*i.Identity = a.Certify(NewKey(a.name+" "+name+" "+string(i.p), i.p), o.Organisation, i.p, nil)
	}
	return o
}

// CRLs signs the lists of root and issuing CA as of Epoch, for thirty days; revoked stand on the latter.
func (a *Authority) CRLs(revoked ...pki.Revoked) [][]byte {
	a.t.Helper()
	return a.CRLsAt(Epoch, revoked...)
}

// CRLsAt is CRLs as of another time.
func (a *Authority) CRLsAt(at time.Time, revoked ...pki.Revoked) [][]byte {
	a.t.Helper()
	return [][]byte{a.crl(a.root, a.Root, at, nil), a.crl(a.issuing, a.CA, at, revoked)}
}

// CRLsOfBoth is CRLsAt with the same entries on the root's list and the CA's.
func (a *Authority) CRLsOfBoth(at time.Time, revoked ...pki.Revoked) [][]byte {
	a.t.Helper()
	return [][]byte{a.crl(a.root, a.Root, at, revoked), a.crl(a.issuing, a.CA, at, revoked)}
}

func (a *Authority) crl(key *Key, ca *pki.Certificate, at time.Time, revoked []pki.Revoked) []byte {
	a.t.Helper()
	der, err := pki.IssueCRL(context.Background(), key, ca, revoked, big.NewInt(1), at, at.AddDate(0, 0, 30))
	must(a.t, err)
	return der
}

// Scheme is an authority, its organisations and the operator who vouches for them.
type Scheme struct {
	t         testing.TB
	Operator  *Key
	Authority *Authority
	// Two hospitals, the health commission that runs log and status list, two cosigners.
	Hospital, Other, Commission, Police, Archive *Organisation
}

// Origin is the log of every scheme here.
const Origin = "elicence.test/log"

// New makes a scheme. The same name makes the same scheme.
func New(t testing.TB, name string) *Scheme {
	t.Helper()
	a := NewAuthority(t, name, true)
	s := &Scheme{t: t, Operator: NewKey(name+" operator", purpose.TrustFiles), Authority: a}
	s.Hospital = a.Organisation("上海市闵行区妇幼保健院(样张)", "hospital", 1)
	s.Other = a.Organisation("上海市嘉定区中心医院(样张)", "hospital", 2)
	s.Commission = a.Organisation("卫生健康委员会(样张)", "commission", 3)
	s.Police = a.Organisation("公安局(样张)", "police", 4)
	s.Archive = a.Organisation("档案馆(样张)", "archive", 5)
	return s
}

// Organisations in a fixed order.
func (s *Scheme) Organisations() []*Organisation {
	return []*Organisation{s.Hospital, s.Other, s.Commission, s.Police, s.Archive}
}

// CosignerName is the key name on an organisation's cosignatures.
func CosignerName(o *Organisation) string { return "cosigner/" + o.Code }

// Content is the honest trust file's content, issued at Epoch for a year. Both cosigners are needed.
func (s *Scheme) Content() trust.Content {
	c := trust.Content{Name: trust.Name{ZH: "测试信任域(样张)", EN: "test scheme (specimen)"}, Specimen: true, Sequence: 1,
		Issued: Epoch, Expires: Epoch.AddDate(1, 0, 0), CosignaturesNeeded: 2, Roots: [][]byte{s.Authority.Root.Raw()},
		Intermediates: [][]byte{s.Authority.CA.Raw()}, CRLs: s.Authority.CRLs()}
	for _, o := range s.Organisations() {
		c.Organisations = append(c.Organisations, o.Organisation)
		for _, i := range []Identity{o.Documents, o.Events} {
			c.Certificates = append(c.Certificates, trust.Certificate{Certificate: i.Certificate.Raw(), Organisation: o.Code,
				Purpose: string(i.Certificate.Purpose())})
		}
	}
	for _, i := range []Identity{s.Commission.Checkpoints, s.Commission.StatusLists} {
		c.Certificates = append(c.Certificates, trust.Certificate{Certificate: i.Certificate.Raw(), Organisation: s.Commission.Code,
			Purpose: string(i.Certificate.Purpose())})
	}
	c.Logs = []trust.Log{{Certificate: s.Commission.Checkpoints.Certificate.SM3(), Origin: Origin}}
	c.Status = []trust.Status{{Certificate: s.Commission.StatusLists.Certificate.SM3()}}
	for _, o := range []*Organisation{s.Police, s.Archive} {
		c.Cosigners = append(c.Cosigners, trust.Cosigner{Certificate: o.Checkpoints.Certificate.Raw(), Name: CosignerName(o), Organisation: o.Code})
	}
	return c
}

// TrustFile signs the content, which change may alter first.
func (s *Scheme) TrustFile(change func(*trust.Content)) []byte {
	s.t.Helper()
	c := s.Content()
	if change != nil {
		change(&c)
	}
	b, err := trust.Sign(context.Background(), s.Operator, s.Operator.Public(), c)
	must(s.t, err)
	return b
}

// Trust is the parsed TrustFile.
func (s *Scheme) Trust(change func(*trust.Content)) *trust.File {
	s.t.Helper()
	f, err := trust.Parse(s.TrustFile(change))
	must(s.t, err)
	return f
}

// StatusFile signs a list of 1024 indexes by the commission, issued at the given time for a week.
func (s *Scheme) StatusFile(at time.Time, states map[uint64]status.State) []byte {
	s.t.Helper()
	b, err := status.Sign(context.Background(), s.Commission.StatusLists.Key, s.Commission.StatusLists.Certificate,
		status.Content{States: states, Capacity: 1024, Number: 7, Issued: at, Expires: at.AddDate(0, 0, 7)})
	must(s.t, err)
	return b
}

// Status is the parsed StatusFile.
func (s *Scheme) Status(at time.Time, states map[uint64]status.State) *status.List {
	s.t.Helper()
	l, err := status.Parse(s.StatusFile(at, states))
	must(s.t, err)
	return l
}

// Code makes the nth unified social credit code of an invented place.
func Code(t testing.TB, n int) string {
	t.Helper()
	first := fmt.Sprintf("12310100%09d", n)
	check, err := code.SocialCreditCheck(first)
	must(t, err)
	return first + string(check)
}

// Mutations calls with a copy of b for each of its bytes, that byte altered in three ways, and says where.
func Mutations(b []byte, with func(at int, changed []byte)) {
	for at := range b {
		for _, x := range []byte{0x01, 0x20, 0x80} {
			changed := bytes.Clone(b)
			changed[at] ^= x
			with(at, changed)
		}
	}
}

// HasPersonal reports whether text holds one of the values, and which.
func HasPersonal(text string, values ...string) (string, bool) {
	for _, v := range values {
		if strings.Contains(text, v) {
			return v, true
		}
	}
	return "", false
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
