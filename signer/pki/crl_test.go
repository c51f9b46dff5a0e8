package pki_test

import (
	"bytes"
	"context"
	"math/big"
	"testing"
	"time"

	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
)

// Fields of a TBSCertList with entries.
const (
	lVersion = iota
	lAlgorithm
	lIssuer
	lThis
	lNext
	lEntries
	lExtensions
)

func revokedOnes() []pki.Revoked {
	return []pki.Revoked{
		{Serial: big.NewInt(3), At: epoch.AddDate(0, 0, 2), Reason: pki.KeyCompromise},
		{Serial: new(big.Int).Lsh(big.NewInt(1), 150), At: epoch.AddDate(0, 0, 3), Reason: pki.Unspecified},
		{Serial: big.NewInt(255), At: epoch.AddDate(40, 0, 0), Reason: pki.Replaced},
	}
}

func issueCRL(t testing.TB, s scheme, revoked []pki.Revoked) []byte {
	t.Helper()
	der, err := pki.IssueCRL(context.Background(), s.caKey, s.ca, revoked, big.NewInt(7), epoch, epoch.AddDate(0, 1, 0))
	must(t, err)
	return der
}

func TestAListSaysWhatItWasIssuedWith(t *testing.T) {
	s := newScheme(t, "crl")
	der := issueCRL(t, s, revokedOnes())
	l, err := pki.ParseCRL(der)
	must(t, err)
	must(t, l.CheckSignedBy(s.ca))
	if l.Len() != 3 || l.Number().Int64() != 7 || !l.ThisUpdate().Equal(epoch) || !l.NextUpdate().Equal(epoch.AddDate(0, 1, 0)) ||
		!bytes.Equal(l.IssuerDN(), s.ca.SubjectDN()) || !bytes.Equal(l.Raw(), der) {
		t.Error("number, times, issuer or bytes are wrong")
	}
	for _, want := range revokedOnes() {
		got, ok := l.Revoked(want.Serial)
		if !ok || !got.At.Equal(want.At) || got.Reason != want.Reason || got.Serial.Cmp(want.Serial) != 0 {
			t.Errorf("%v: got %+v", want.Serial, got)
		}
	}
	for _, n := range []int64{0, 1, 2, 4, 254, 256, -3} {
		if _, ok := l.Revoked(big.NewInt(n)); ok {
			t.Errorf("%d is revoked", n)
		}
	}
	if _, ok := l.Revoked(nil); ok {
		t.Error("no serial number is revoked")
	}
}

func TestAnEmptyList(t *testing.T) {
	s := newScheme(t, "crl")
	l, err := pki.ParseCRL(issueCRL(t, s, nil))
	must(t, err)
	must(t, l.CheckSignedBy(s.ca))
	if l.Len() != 0 {
		t.Fatal("entries in an empty list")
	}
}

func TestAListIsOfItsCAOnly(t *testing.T) {
	s, other := newScheme(t, "crl"), newScheme(t, "crl of others")
	l, err := pki.ParseCRL(issueCRL(t, s, revokedOnes()))
	must(t, err)
	wantError(t, l.CheckSignedBy(s.root), pki.ErrUntrusted)
	wantError(t, l.CheckSignedBy(s.leaf), pki.ErrUntrusted)
	wantError(t, l.CheckSignedBy(other.ca), pki.ErrUntrusted)
	_, err = pki.IssueCRL(context.Background(), s.caKey, s.leaf, nil, big.NewInt(1), epoch, epoch.AddDate(0, 1, 0))
	if err == nil {
		t.Error("a hospital's certificate issued a revocation list")
	}
	// The right name, another's key.
	forged, err := pki.ParseCRL(resigned(t, l.Raw(), other.caKey, nil, nil))
	must(t, err)
	wantError(t, forged.CheckSignedBy(s.ca), pki.ErrSignature)
}

func TestListsThatCannotBeIssued(t *testing.T) {
	s := newScheme(t, "crl")
	one := revokedOnes()[:1]
	for name, c := range map[string]struct {
		revoked  []pki.Revoked
		number   *big.Int
		from, to time.Time
	}{
		"no number":         {one, nil, epoch, epoch.AddDate(0, 1, 0)},
		"a negative number": {one, big.NewInt(-1), epoch, epoch.AddDate(0, 1, 0)},
		"a huge number":     {one, new(big.Int).Lsh(big.NewInt(1), 160), epoch, epoch.AddDate(0, 1, 0)},
		"ends first":        {one, big.NewInt(1), epoch, epoch},
		"twice":             {append(one[:1:1], one[0]), big.NewInt(1), epoch, epoch.AddDate(0, 1, 0)},
		"no serial":         {[]pki.Revoked{{At: epoch}}, big.NewInt(1), epoch, epoch.AddDate(0, 1, 0)},
		"no such reason":    {[]pki.Revoked{{Serial: big.NewInt(1), At: epoch, Reason: 7}}, big.NewInt(1), epoch, epoch.AddDate(0, 1, 0)},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := pki.IssueCRL(context.Background(), s.caKey, s.ca, c.revoked, c.number, c.from, c.to)
			wantError(t, err, pki.ErrTemplate)
		})
	}
}

func TestReasons(t *testing.T) {
	for _, word := range []string{"unspecified", "keyCompromise", "cACompromise", "affiliationChanged", "superseded",
		"cessationOfOperation", "certificateHold", "privilegeWithdrawn", "aACompromise"} {
		r, err := pki.ParseReason(word)
		must(t, err)
		if r.String() != word {
			t.Errorf("%s became %s", word, r)
		}
		if want := word == "keyCompromise" || word == "cACompromise" || word == "aACompromise"; r.Compromise() != want {
			t.Errorf("%s: compromise %v", word, r.Compromise())
		}
	}
	for _, word := range []string{"", "removeFromCRL", "KeyCompromise", "reason 7"} {
		_, err := pki.ParseReason(word)
		wantError(t, err, pki.ErrCRL)
	}
	if s := pki.Reason(99).String(); s != "reason 99" {
		t.Error(s)
	}
}

func TestEveryChangedBitOfAListIsSeen(t *testing.T) {
	s := newScheme(t, "crl")
	der := issueCRL(t, s, revokedOnes())
	for i := range der {
		for bit := range 8 {
			b := bytes.Clone(der)
			b[i] ^= 1 << bit
			l, err := pki.ParseCRL(b)
			if err != nil {
				wantError(t, err, pki.ErrCRL)
				continue
			}
			if l.CheckSignedBy(s.ca) == nil {
				t.Fatalf("bit %d of byte %d changed unseen", bit, i)
			}
		}
	}
	for n := range der {
		_, err := pki.ParseCRL(der[:n])
		wantError(t, err, pki.ErrCRL)
	}
	_, err := pki.ParseCRL(append(bytes.Clone(der), 0))
	wantError(t, err, pki.ErrCRL)
	_, err = pki.ParseCRL(make([]byte, pki.MaxCRL+1))
	wantError(t, err, pki.ErrCRL)
}

const reasonOID, invalidityOID, numberOID = "\x55\x1d\x15", "\x55\x1d\x18", "\x55\x1d\x14"

func octets(value string) *node { return prim(4, value) }

// Each carries a good signature of the CA.
func TestListsThatNoAuthorityMayWrite(t *testing.T) {
	s := newScheme(t, "crl")
	der := issueCRL(t, s, revokedOnes())
	null := prim(5, "")
	entry := func(n *node) *node { return n.at(lEntries, 0) }
	extensions := func(n *node) *node { return n.at(lExtensions, 0) }
	for name, change := range map[string]func(n *node){
		"something behind the fields":     func(n *node) { n.add(null) },
		"something behind an entry":       func(n *node) { entry(n).add(null) },
		"something behind the extensions": func(n *node) { n.at(lExtensions).add(null) },
		"something behind the number": func(n *node) {
			e := n.extension(t, extensions(n), numberOID)
			last(e).value = append(last(e).value, 5, 0)
		},
		"something behind the key id":   func(n *node) { e := n.extension(t, extensions(n), akiOID); last(e).value = append(last(e).value, 5, 0) },
		"something behind a reason":     func(n *node) { last(entry(n).at(2, 0)).value = []byte{10, 1, 1, 5, 0} },
		"a reason that is none":         func(n *node) { last(entry(n).at(2, 0)).value = []byte{10, 1, 7} },
		"removeFromCRL in a full list":  func(n *node) { last(entry(n).at(2, 0)).value = []byte{10, 1, 8} },
		"a negative reason":             func(n *node) { last(entry(n).at(2, 0)).value = []byte{10, 1, 0xff} },
		"a reason in two bytes":         func(n *node) { last(entry(n).at(2, 0)).value = []byte{10, 2, 0, 1} },
		"a reason twice":                func(n *node) { entry(n).at(2).add(entry(n).at(2, 0)) },
		"a critical entry extension":    func(n *node) { entry(n).at(2).add(seq(prim(6, "\x55\x1d\x1d"), prim(1, "\xff"), octets("\x30\x00"))) },
		"an invalidity date as UTCTime": func(n *node) { entry(n).at(2).add(seq(prim(6, invalidityOID), octets("\x17\x0d261101000000Z"))) },
		"an empty list of entries":      func(n *node) { n.at(lEntries).kids = nil },
		"an empty list of extensions":   func(n *node) { extensions(n).kids = nil },
		"an entry twice":                func(n *node) { n.at(lEntries).add(entry(n)) },
		"an entry without time":         func(n *node) { entry(n).kids = entry(n).kids[:1] },
		"an entry with serial 0":        func(n *node) { entry(n).kids[0].value = []byte{0} },
		"version 1":                     func(n *node) { n.kids = n.kids[1:] },
		"version 3":                     func(n *node) { n.at(lVersion).value = []byte{2} },
		"no number":                     func(n *node) { extensions(n).kids = extensions(n).kids[:1] },
		"a negative number":             func(n *node) { last(n.extension(t, extensions(n), numberOID)).value = []byte{2, 1, 0x80} },
		"a number of 21 bytes": func(n *node) {
			last(n.extension(t, extensions(n), numberOID)).value = append([]byte{2, 21}, bytes.Repeat([]byte{1}, 21)...)
		},
		"no next update":   func(n *node) { n.kids = append(n.kids[:lNext:lNext], n.kids[lEntries:]...) },
		"next before this": func(n *node) { n.at(lNext).value = []byte("200101000000Z") },
		"no extensions":    func(n *node) { n.kids = n.kids[:lExtensions] },
		"changes only": func(n *node) {
			extensions(n).add(seq(prim(6, "\x55\x1d\x1b"), prim(1, "\xff"), octets("\x02\x01\x01")))
		},
		"part of the certificates only":    func(n *node) { extensions(n).add(seq(prim(6, "\x55\x1d\x1c"), prim(1, "\xff"), octets("\x30\x00"))) },
		"an algorithm unlike the outer":    func(n *node) { n.at(lAlgorithm).add(null) },
		"an empty issuer":                  func(n *node) { n.at(lIssuer).kids = nil },
		"a time with zone":                 func(n *node) { n.at(lThis).value = []byte("261101080000+0800") },
		"an entry extension without value": func(n *node) { entry(n).at(2, 0).kids = entry(n).at(2, 0).kids[:1] },
	} {
		t.Run(name, func(t *testing.T) {
			_, err := pki.ParseCRL(resigned(t, der, s.caKey, change, nil))
			wantError(t, err, pki.ErrCRL)
		})
	}
	t.Run("something behind the signature", func(t *testing.T) {
		_, err := pki.ParseCRL(resigned(t, der, s.caKey, nil, func(outer *node) { outer.add(null) }))
		wantError(t, err, pki.ErrCRL)
	})
}

// A CA may know that a key was in wrong hands before it revoked it; from then on nothing is believed.
func TestInvalidityDates(t *testing.T) {
	s := newScheme(t, "crl")
	add := func(index int, date string) func(n *node) {
		return func(n *node) {
			e := n.at(lEntries, index)
			if len(e.kids) == 2 {
				e.add(seq())
			}
			e.at(2).add(seq(prim(6, invalidityOID), octets("\x18\x0f"+date)))
		}
	}
	read := func(index int, date string) time.Time {
		l, err := pki.ParseCRL(resigned(t, issueCRL(t, s, revokedOnes()), s.caKey, add(index, date), nil))
		must(t, err)
		must(t, l.CheckSignedBy(s.ca))
		r, ok := l.Revoked(revokedOnes()[index].Serial)
		if !ok {
			t.Fatal("the entry is gone")
		}
		return r.At
	}
	if got := read(0, "20261025000000Z"); !got.Equal(time.Date(2026, 10, 25, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("compromised before it was revoked, but believed until %v", got)
	}
	if got := read(0, "20271025000000Z"); !got.Equal(revokedOnes()[0].At) {
		t.Errorf("an invalidity date in the future defers the revocation to %v", got)
	}
	if got := read(1, "20261025000000Z"); !got.Equal(revokedOnes()[1].At) {
		t.Errorf("no compromise, but not believed since %v", got)
	}
}

func BenchmarkParseCRL(b *testing.B) {
	s := newScheme(b, "crl")
	var revoked []pki.Revoked
	for i := range 1000 {
		revoked = append(revoked, pki.Revoked{Serial: new(big.Int).SetInt64(1<<60 + int64(i)), At: epoch, Reason: pki.Replaced})
	}
	der := issueCRL(b, s, revoked)
	b.SetBytes(int64(len(der)))
	b.ReportAllocs()
	for b.Loop() {
		_, err := pki.ParseCRL(der)
		must(b, err)
	}
}

func TestPurposesOfListsAndCertificatesAreTheCAs(t *testing.T) {
	s := newScheme(t, "crl")
	k := newKey(t, "documents key as CA", purpose.Documents)
	if _, err := pki.IssueCRL(context.Background(), k, s.ca, nil, big.NewInt(1), epoch, epoch.AddDate(0, 1, 0)); err == nil {
		t.Error("a key for documents signed a revocation list")
	}
}
