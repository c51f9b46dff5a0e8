package cms_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emmansun/gmsm/pkcs7"
	"github.com/emmansun/gmsm/sm3"

	"github.com/elicence/elicence/signer/cms"
	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
	"github.com/elicence/elicence/signer/signertest"
)

var update = flag.Bool("update", false, "write the vectors anew")

var (
	content  = []byte("what a part is without its Contents")
	signedAt = time.Date(2026, 10, 14, 1, 30, 1, 0, time.UTC)
)

// sign makes a CMS the way issuing does.
func sign(tb testing.TB, p cms.Profile, c *signertest.Chain, at time.Time, path []*pki.Certificate) []byte {
	tb.Helper()
	attrs, err := p.SignedAttributes(sm3.Sum(content), at, path)
	if err != nil {
		tb.Fatal(err)
	}
	rs, err := c.Key.Sign(context.Background(), purpose.CMSAttributes, attrs)
	if err != nil {
		tb.Fatal(err)
	}
	der, err := cms.Assemble(p, attrs, rs, path)
	if err != nil {
		tb.Fatal(err)
	}
	return der
}

// judge is what a reader does with a CMS: form, digest, signature.
func judge(der []byte) error {
	s, err := cms.Parse(der)
	if err != nil {
		return err
	}
	if s.Digest != sm3.Sum(content) {
		return errors.New("the digest is another")
	}
	return s.Verify()
}

var profiles = []cms.Profile{cms.PKCS7, cms.GMT0010}

func TestWhatWasSignedIsRead(t *testing.T) {
	c := signertest.NewChain(t, "样例")
	for _, p := range profiles {
		for _, path := range [][]*pki.Certificate{c.Path(), {c.Leaf}} {
			der := sign(t, p, c, signedAt.Add(700*time.Millisecond), path)
			if err := judge(der); err != nil {
				t.Fatal(p, err)
			}
			s, err := cms.Parse(der)
			if err != nil {
				t.Fatal(err)
			}
			if s.Profile != p || !s.SigningTime.Equal(signedAt) || len(s.Path) != len(path) {
				t.Errorf("%s: profile %s, time %s, %d certificates", p, s.Profile, s.SigningTime, len(s.Path))
			}
			for i := range path {
				if s.Path[i].SM3() != path[i].SM3() {
					t.Errorf("certificate %d is another", i)
				}
			}
		}
	}
}

func TestKnownCertificatesAreNotParsedAgain(t *testing.T) {
	c := signertest.NewChain(t, "样例")
	der := sign(t, cms.PKCS7, c, signedAt, c.Path())
	s, err := cms.ParseKnown(der, func(sum [32]byte) *pki.Certificate {
		if sum == c.Leaf.SM3() {
			return c.Leaf
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if s.Path[0] != c.Leaf || s.Path[1] == c.Issuing || s.Verify() != nil {
		t.Error("the known certificate was not used, or the signature does not verify")
	}
}

func TestSigningTimes(t *testing.T) {
	c := signertest.NewChain(t, "样例")
	for _, at := range []time.Time{
		time.Date(1950, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(1999, 12, 31, 23, 59, 59, 0, time.UTC),
		time.Date(2049, 12, 31, 23, 59, 59, 0, time.UTC), time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		s, err := cms.Parse(sign(t, cms.PKCS7, c, at, c.Path()))
		if err != nil || !s.SigningTime.Equal(at) {
			t.Errorf("%s: %v, %v", at, s, err)
		}
	}
	for _, at := range []time.Time{{}, time.Date(1949, 12, 31, 23, 59, 59, 0, time.UTC), time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)} {
		if _, err := cms.SignedAttributes([32]byte{}, at, c.Path()); !errors.Is(err, cms.ErrTime) {
			t.Errorf("%s: %v", at, err)
		}
	}
}

// The room must hold every signature and not a byte more than the longest.
func TestRoomIsExact(t *testing.T) {
	c := signertest.NewChain(t, "样例")
	for _, p := range profiles {
		room, err := cms.Room(p, c.Path())
		if err != nil {
			t.Fatal(err)
		}
		late := time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC)
		attrs, err := p.SignedAttributes(sm3.Sum(content), late, c.Path())
		if err != nil {
			t.Fatal(err)
		}
		longest, err := cms.Assemble(p, attrs, bytes.Repeat([]byte{0xff}, 64), c.Path())
		if err != nil || len(longest) != room {
			t.Errorf("%s: room %d, longest %d, %v", p, room, len(longest), err)
		}
		for i := range 64 {
			if der := sign(t, p, c, signedAt.Add(time.Duration(i)*time.Second), c.Path()); len(der) > room-2 || len(der) < room-8 {
				t.Errorf("%s: %d bytes in room for %d", p, len(der), room)
			}
		}
	}
}

func TestAssembleRefuses(t *testing.T) {
	c, other := signertest.NewChain(t, "样例"), signertest.NewChain(t, "别家")
	attrs, err := cms.SignedAttributes(sm3.Sum(content), signedAt, c.Path())
	if err != nil {
		t.Fatal(err)
	}
	rs := bytes.Repeat([]byte{1}, 64)
	for name, call := range map[string]struct {
		do   func() ([]byte, error)
		want error
	}{
		"another path":         {func() ([]byte, error) { return cms.Assemble(cms.PKCS7, attrs, rs, other.Path()) }, cms.ErrAttributes},
		"another profile":      {func() ([]byte, error) { return cms.Assemble(cms.GMT0010, attrs, rs, c.Path()) }, cms.ErrAttributes},
		"a byte behind":        {func() ([]byte, error) { return cms.Assemble(cms.PKCS7, append(slices.Clone(attrs), 0), rs, c.Path()) }, cms.ErrFormat},
		"no attributes":        {func() ([]byte, error) { return cms.Assemble(cms.PKCS7, nil, rs, c.Path()) }, cms.ErrFormat},
		"a short signature":    {func() ([]byte, error) { return cms.Assemble(cms.PKCS7, attrs, rs[1:], c.Path()) }, pki.ErrSignature},
		"no path":              {func() ([]byte, error) { return cms.SignedAttributes([32]byte{}, signedAt, nil) }, cms.ErrPath},
		"the root in the path": {func() ([]byte, error) { return cms.SignedAttributes([32]byte{}, signedAt, append(c.Path(), c.Root)) }, cms.ErrPath},
		"the path in disorder": {func() ([]byte, error) {
			return cms.SignedAttributes([32]byte{}, signedAt, []*pki.Certificate{c.Issuing, c.Leaf})
		}, cms.ErrPath},
		"another's CA": {func() ([]byte, error) {
			return cms.SignedAttributes([32]byte{}, signedAt, []*pki.Certificate{c.Leaf, other.Issuing})
		}, cms.ErrPath},
		"a profile that is none": {func() ([]byte, error) { return cms.Profile(9).SignedAttributes([32]byte{}, signedAt, c.Path()) }, cms.ErrFormat},
	} {
		if b, err := call.do(); !errors.Is(err, call.want) || b != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// No byte of a CMS may change unseen, whatever it changes to.
func TestEveryByteCounts(t *testing.T) {
	c := signertest.NewChain(t, "样例")
	for _, p := range profiles {
		der := sign(t, p, c, signedAt, c.Path())
		b := slices.Clone(der)
		for i := range b {
			for bit := range 8 {
				b[i] = der[i] ^ 1<<bit
				if judge(b) == nil {
					t.Errorf("%s: byte %d, bit %d changed, and nobody saw", p, i, bit)
				}
			}
			b[i] = der[i]
		}
		for n := range der {
			if judge(der[:n]) == nil {
				t.Errorf("%s: cut to %d bytes, and nobody saw", p, n)
			}
		}
	}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// OpenSSL cannot verify SM2 in a CMS, but it can read one, and it can verify the attributes that are cut out of it.
func TestOpenSSLAgrees(t *testing.T) {
	c := signertest.NewChain(t, "样例")
	spki, err := pki.MarshalPublicKey(c.Key.Public())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range profiles {
		dir := t.TempDir()
		write := func(name string, b []byte) string {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}
		der := sign(t, p, c, signedAt, c.Path())
		file, public := write("part.cms", der), write("public.der", spki)
		tree := run(t, "openssl", "asn1parse", "-inform", "DER", "-in", file)
		for _, want := range []string{"sm3", ":261014013001Z", "id-smime-aa-signingCertificateV2", "messageDigest", "contentType"} {
			if !strings.Contains(tree, want) {
				t.Errorf("%s: OpenSSL does not show %s", p, want)
			}
		}
		if p == cms.PKCS7 {
			printed := run(t, "openssl", "cms", "-cmsout", "-print", "-noout", "-inform", "DER", "-in", file)
			for _, want := range []string{"pkcs7-signedData", "SM2-with-SM3", "unsignedAttrs:\n          <ABSENT>", "crls:\n      <ABSENT>"} {
				if !strings.Contains(printed, want) {
					t.Errorf("OpenSSL does not print %q in\n%s", want, printed)
				}
			}
		}
		// The attributes as they stand in the CMS, found by OpenSSL's own parser, with the tag that is signed.
		s, err := cms.Parse(der)
		if err != nil {
			t.Fatal(err)
		}
		at := bytes.Index(der, s.Attributes[1:])
		if at < 1 || der[at-1] != 0xa0 {
			t.Fatal("the attributes do not stand in the CMS under [0]")
		}
		value, err := pki.SignatureDER(s.RS)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasSuffix(der, value) {
			t.Error("the CMS does not end with the signature")
		}
		out := run(t, "openssl", "dgst", "-sm3", "-verify", public, "-keyform", "DER", "-sigopt", "distid:1234567812345678",
			"-signature", write("value", value), write("attributes", append([]byte{0x31}, der[at:at+len(s.Attributes)-1]...)))
		if !strings.Contains(out, "Verified OK") {
			t.Errorf("%s: OpenSSL says %s", p, out)
		}
		digest := run(t, "openssl", "dgst", "-sm3", "-r", write("content", content))
		if want, _, _ := strings.Cut(digest, " "); !strings.Contains(strings.ToLower(tree), want) {
			t.Errorf("%s: the message digest is not OpenSSL's", p)
		}
	}
}

// The library's own PKCS#7 reader, which must not see bytes of strangers, accepts ours in the profile that it knows: it
// takes the signature algorithm SM2 that GM/T 0010 has, and not SM2-with-SM3.
func TestAnotherReaderAgrees(t *testing.T) {
	c := signertest.NewChain(t, "样例")
	p7, err := pkcs7.Parse(sign(t, cms.GMT0010, c, signedAt, c.Path()))
	if err != nil {
		t.Fatal(err)
	}
	p7.Content = content
	if err := p7.Verify(); err != nil {
		t.Error(err)
	}
	if len(p7.Certificates) != 2 || len(p7.Signers) != 1 || len(p7.Signers[0].UnauthenticatedAttributes) != 0 {
		t.Errorf("%d certificates, %d signers", len(p7.Certificates), len(p7.Signers))
	}
}

// vector is one CMS and what must happen to it.
type vector struct {
	Name   string `json:"name"`
	Expect string `json:"expect"` // accepted, refused
	Why    string `json:"why"`
	DER    string `json:"der"` // base64
}

var vectorFile = filepath.Join("..", "..", "testdata", "vectors", "cms", "cms.json")

func vectors(tb testing.TB) []vector {
	tb.Helper()
	b, err := os.ReadFile(vectorFile)
	if err != nil {
		tb.Fatal(err)
	}
	var all []vector
	if err := json.Unmarshal(b, &all); err != nil {
		tb.Fatal(err)
	}
	return all
}

func TestVectors(t *testing.T) {
	if *update {
		all := makeVectors(t)
		b, err := json.MarshalIndent(all, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(vectorFile), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(vectorFile, append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	expected := map[string]int{}
	for _, v := range vectors(t) {
		der, err := base64.StdEncoding.DecodeString(v.DER)
		if err != nil {
			t.Fatal(v.Name, err)
		}
		err = judge(der)
		expected[v.Expect]++
		switch {
		case v.Expect == "accepted" && err != nil:
			t.Errorf("%s was refused: %v", v.Name, err)
		case v.Expect == "refused" && err == nil:
			t.Errorf("%s was accepted: %s", v.Name, v.Why)
		}
	}
	if expected["accepted"] < 4 || expected["refused"] < 25 {
		t.Errorf("vectors are missing: %v", expected)
	}
}

func FuzzParse(f *testing.F) {
	seeds := vectors(f)
	if len(seeds) < 29 {
		f.Fatalf("%d seeds: the vectors are missing", len(seeds))
	}
	for _, v := range seeds {
		der, err := base64.StdEncoding.DecodeString(v.DER)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(der)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		s, err := cms.Parse(der)
		if err != nil {
			if s != nil || !errors.Is(err, cms.ErrFormat) {
				t.Fatalf("%v, %v", s, err)
			}
			return
		}
		again, err := cms.Assemble(s.Profile, s.Attributes, s.RS, s.Path)
		if err != nil || !bytes.Equal(again, der) {
			t.Fatalf("what parses does not encode to the same bytes: %v", err)
		}
		_ = s.Verify()
	})
}

func BenchmarkParse(b *testing.B) {
	c := signertest.NewChain(b, "样例")
	der := sign(b, cms.PKCS7, c, signedAt, c.Path())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := cms.Parse(der); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseKnown(b *testing.B) {
	c := signertest.NewChain(b, "样例")
	der := sign(b, cms.PKCS7, c, signedAt, c.Path())
	known := func(sum [32]byte) *pki.Certificate {
		if sum == c.Leaf.SM3() {
			return c.Leaf
		}
		return c.Issuing
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := cms.ParseKnown(der, known); err != nil {
			b.Fatal(err)
		}
	}
}
