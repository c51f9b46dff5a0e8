package pki_test

import (
	"bytes"
	"context"
	"fmt"
	"math/big"
	"testing"
	"time"

	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
)

func list(c ...*pki.Certificate) []*pki.Certificate { return c }

func samePath(t testing.TB, got []*pki.Certificate, want ...*pki.Certificate) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("a path of %d certificates, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("place %d: %s, want %s", i, got[i], want[i])
		}
	}
}

func TestPathFromLeafToRoot(t *testing.T) {
	s, other := newScheme(t, "path"), newScheme(t, "path of others")
	for name, pool := range map[string][]*pki.Certificate{
		"just the CA":             list(s.ca),
		"others first":            list(other.ca, other.leaf, s.leaf, s.root, s.ca),
		"the leaf and itself too": list(s.leaf, s.leaf, s.ca),
	} {
		t.Run(name, func(t *testing.T) {
			path, err := pki.Path(s.leaf, pool, list(other.root, s.root), epoch)
			must(t, err)
			samePath(t, path, s.leaf, s.ca)
			must(t, pki.ValidAt(path, epoch))
		})
	}
	path, err := pki.Path(s.leaf, nil, list(s.ca), epoch) // the issuing CA is trusted by itself
	must(t, err)
	samePath(t, path, s.leaf)
	path, err = pki.Path(s.root, nil, list(s.root), epoch)
	must(t, err)
	samePath(t, path, s.root)
	path, err = pki.Path(s.leaf, nil, list(s.leaf), epoch) // pinned
	must(t, err)
	samePath(t, path, s.leaf)
}

func TestNoPath(t *testing.T) {
	s, other := newScheme(t, "path"), newScheme(t, "path of others")
	impostor := newScheme(t, "impostor")
	// A CA of the same name with another key.
	template := caTemplate("path issuing", 0, 2)
	fake := issue(t, impostor.rootKey, impostor.root, impostor.caKey, template)
	for name, c := range map[string]struct {
		leaf        *pki.Certificate
		pool, roots []*pki.Certificate
	}{
		"nothing is trusted":     {s.leaf, list(s.ca), nil},
		"another root":           {s.leaf, list(s.ca), list(other.root)},
		"the CA is missing":      {s.leaf, list(other.ca), list(s.root)},
		"the root is in no list": {s.leaf, list(s.ca, s.root), nil},
		"a CA of the same name":  {s.leaf, list(fake), list(impostor.root)},
		"self-signed":            {impostor.root, list(s.ca), list(s.root)},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := pki.Path(c.leaf, c.pool, c.roots, epoch)
			wantError(t, err, pki.ErrUntrusted)
		})
	}
}

func TestOnlyCAsCertify(t *testing.T) {
	s := newScheme(t, "path")
	// The hospital's own key signs a certificate for somebody else, and a CA that lacks either mark of one does.
	resign := func(change func(tbs *node)) *pki.Certificate {
		c, err := pki.ParseCertificate(resigned(t, s.ca.Raw(), s.rootKey, change, nil))
		must(t, err)
		return c
	}
	forged, err := pki.ParseCertificate(resigned(t, s.leaf.Raw(), s.leafKey, func(tbs *node) { tbs.kids[fIssuer] = tbs.at(fSubject) }, nil))
	must(t, err)
	if forged.VerifySignature(nil, make([]byte, 64)) == nil {
		t.Fatal("zeros are a signature")
	}
	_, err = pki.Path(forged, list(s.leaf, s.ca), list(s.root), epoch)
	wantError(t, err, pki.ErrUntrusted)
	for name, change := range map[string]func(tbs *node){
		"not cA":         func(tbs *node) { last(tbs.extension(t, tbs.at(fExtensions, 0), bcOID)).value = []byte{0x30, 0} },
		"no keyCertSign": func(tbs *node) { last(tbs.extension(t, tbs.at(fExtensions, 0), kuOID)).value = []byte{3, 2, 1, 2} },
	} {
		t.Run(name, func(t *testing.T) {
			ca := resign(change)
			if ca.IsCA() {
				t.Fatal("this is no CA")
			}
			wantError(t, s.leaf.CheckSignedBy(ca), pki.ErrUntrusted)
			_, err := pki.Path(s.leaf, list(ca), list(s.root), epoch)
			wantError(t, err, pki.ErrUntrusted)
		})
	}
	t.Run("another key identifier", func(t *testing.T) {
		ca := resign(func(tbs *node) {
			v := last(tbs.extension(t, tbs.at(fExtensions, 0), skiOID)).value
			v[len(v)-1] ^= 1
		})
		wantError(t, s.leaf.CheckSignedBy(ca), pki.ErrUntrusted)
	})
}

func TestPathLengths(t *testing.T) {
	rootKey := newKey(t, "deep root", purpose.CertificateAuthority)
	// chain makes a root that allows limit CAs and depth CAs below it.
	chain := func(limit, depth int) (leaf *pki.Certificate, pool, roots []*pki.Certificate) {
		parentKey := rootKey
		parent := issue(t, rootKey, nil, rootKey, caTemplate("deep root", limit, 1))
		roots = list(parent)
		for i := range depth {
			k := newKey(t, fmt.Sprint("deep ", i), purpose.CertificateAuthority)
			parent = issue(t, parentKey, parent, k, caTemplate(fmt.Sprint("deep CA ", i), -1, int64(i+2)))
			parentKey, pool = k, append(pool, parent)
		}
		leafKey := newKey(t, "deep leaf", purpose.Documents)
		return issue(t, parentKey, parent, leafKey, leafTemplate(purpose.Documents, 99)), pool, roots
	}
	for _, c := range []struct {
		limit, depth int
		ok           bool
	}{{0, 0, true}, {0, 1, false}, {1, 1, true}, {1, 2, false}, {2, 2, true}, {-1, 4, true}, {-1, 5, true}, {-1, 6, false}} {
		leaf, pool, roots := chain(c.limit, c.depth)
		path, err := pki.Path(leaf, pool, roots, epoch)
		switch {
		case c.ok && err != nil:
			t.Errorf("limit %d, %d CAs: %v", c.limit, c.depth, err)
		case c.ok && len(path) != c.depth+1:
			t.Errorf("limit %d, %d CAs: a path of %d", c.limit, c.depth, len(path))
		case !c.ok:
			wantError(t, err, pki.ErrUntrusted)
		}
	}
}

func TestValidityIncludesBothEnds(t *testing.T) {
	s := newScheme(t, "path")
	find := func(at time.Time) error {
		_, err := pki.Path(s.leaf, list(s.ca), list(s.root), at)
		return err
	}
	must(t, find(s.leaf.NotBefore()))
	must(t, find(s.leaf.NotAfter()))
	wantError(t, find(s.leaf.NotBefore().Add(-time.Nanosecond)), pki.ErrExpired)
	wantError(t, find(s.leaf.NotAfter().Add(time.Nanosecond)), pki.ErrExpired)
	wantError(t, pki.ValidAt(list(s.ca, s.leaf), s.leaf.NotAfter().Add(1)), pki.ErrExpired)
}

// An expired CA certificate does not hide that the CA has a newer one for the same key.
func TestARenewedCA(t *testing.T) {
	s := newScheme(t, "path")
	template := caTemplate("path issuing", 0, 7)
	template.NotAfter = epoch.AddDate(0, 0, -1)
	old := issue(t, s.rootKey, s.root, s.caKey, template)
	for _, pool := range [][]*pki.Certificate{list(old, s.ca), list(s.ca, old)} {
		path, err := pki.Path(s.leaf, pool, list(s.root), epoch)
		must(t, err)
		samePath(t, path, s.leaf, s.ca)
	}
	_, err := pki.Path(s.leaf, list(old), list(s.root), epoch)
	wantError(t, err, pki.ErrExpired)
	// The same for a root.
	template = caTemplate("path root", 1, 8)
	template.NotAfter = epoch.AddDate(0, 0, -1)
	oldRoot := issue(t, s.rootKey, nil, s.rootKey, template)
	_, err = pki.Path(s.leaf, list(s.ca), list(oldRoot), epoch)
	wantError(t, err, pki.ErrExpired)
	_, err = pki.Path(s.leaf, list(s.ca), list(oldRoot, s.root), epoch)
	must(t, err)
}

// A stranger may send a pool of CAs that have all signed each other: the number of paths through it must not be what
// the reader pays.
func TestAPoolOfCrossSignedCAsIsNoTrap(t *testing.T) {
	s := newScheme(t, "path")
	trapKey := newKey(t, "trap", purpose.CertificateAuthority)
	self := issue(t, trapKey, nil, trapKey, caTemplate("trap", -1, 1))
	var pool []*pki.Certificate
	for i := range 40 {
		pool = append(pool, issue(t, trapKey, self, trapKey, caTemplate("trap", -1, int64(i+2))))
	}
	leaf := issue(t, trapKey, self, newKey(t, "trapped", purpose.Documents), leafTemplate(purpose.Documents, 1))
	done := make(chan error, 1)
	go func() {
		_, err := pki.Path(leaf, pool, list(s.root), epoch)
		done <- err
	}()
	select {
	case err := <-done:
		wantError(t, err, pki.ErrUntrusted)
	case <-time.After(20 * time.Second): // 40^5 paths take an hour
		t.Fatal("still looking")
	}
}

func TestARememberedSignatureIsOfThatCAOnly(t *testing.T) {
	s, other := newScheme(t, "path"), newScheme(t, "path of others")
	must(t, s.leaf.CheckSignedBy(s.ca))
	must(t, s.leaf.CheckSignedBy(s.ca))
	wantError(t, s.leaf.CheckSignedBy(other.ca), pki.ErrUntrusted)
	// Same name and key identifier, another certificate: the signature is looked at again, and is bad if the key is another.
	impostor, err := pki.ParseCertificate(resigned(t, s.ca.Raw(), other.rootKey, func(tbs *node) {
		der, err := pki.MarshalPublicKey(other.caKey.Public())
		must(t, err)
		tbs.at(fKey).raw = der
	}, nil))
	must(t, err)
	if !bytes.Equal(impostor.SubjectDN(), s.ca.SubjectDN()) {
		t.Fatal("the test is wrong: another name")
	}
	wantError(t, s.leaf.CheckSignedBy(impostor), pki.ErrSignature)
}

func BenchmarkPath(b *testing.B) {
	s := newScheme(b, "path")
	b.Run("first", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			leaf, err := pki.ParseCertificate(s.leaf.Raw())
			must(b, err)
			_, err = pki.Path(leaf, list(s.ca), list(s.root), epoch)
			must(b, err)
		}
	})
	b.Run("kept", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, err := pki.Path(s.leaf, list(s.ca), list(s.root), epoch)
			must(b, err)
		}
	})
}

func BenchmarkParseCertificate(b *testing.B) {
	der := newScheme(b, "parse").leaf.Raw()
	b.ReportAllocs()
	b.SetBytes(int64(len(der)))
	for b.Loop() {
		_, err := pki.ParseCertificate(der)
		must(b, err)
	}
}

func BenchmarkIssue(b *testing.B) {
	s := newScheme(b, "issue")
	template := leafTemplate(purpose.Documents, 1)
	for b.Loop() {
		template.SerialNumber = big.NewInt(1)
		_, err := pki.Issue(context.Background(), s.caKey, s.ca, s.leafKey.Public(), template, none{})
		must(b, err)
	}
}
