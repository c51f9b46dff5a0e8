package trust_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emmansun/gmsm/sm3"

	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
	"github.com/elicence/elicence/verify/signedjson"
	"github.com/elicence/elicence/verify/trust"
	"github.com/elicence/elicence/verify/verifytest"
)

var update = flag.Bool("update", false, "write the worked example anew")

func TestReaderFindsWhatTheOperatorSaid(t *testing.T) {
	s := verifytest.New(t, "trust")
	b := s.TrustFile(nil)
	f, err := trust.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if f.Fingerprint() != sm3.Sum(b) || f.Pin() != pki.PublicKeySM3(s.Operator.Public()) {
		t.Error("fingerprint and pin are not the digests of file and key")
	}
	if o, ok := f.Organisation(s.Hospital.Code); !ok || o != s.Hospital.Organisation {
		t.Errorf("hospital: %v %v", o, ok)
	}
	if e, ok := f.Certificate(s.Hospital.Documents.Certificate.SM3()); !ok || e.Purpose != purpose.Documents || e.Organisation.Code != s.Hospital.Code {
		t.Error("the hospital's certificate is not found")
	}
	if _, ok := f.Certificate(s.Hospital.StatusLists.Certificate.SM3()); ok {
		t.Error("a certificate that is not listed is found")
	}
	if l := f.Logs(verifytest.Origin); len(l) != 1 || l[0].Certificate.SM3() != s.Commission.Checkpoints.Certificate.SM3() {
		t.Error("the log is not found")
	}
	if len(f.Logs("another")) != 0 || len(f.Cosigners()) != 2 || f.CosignaturesNeeded() != 2 {
		t.Error("logs and cosigners are not those listed")
	}
	sum := s.Commission.StatusLists.Certificate.SM3()
	if _, ok := f.StatusFor(sum, s.Hospital.Code); !ok {
		t.Error("the status certificate does not speak for all issuers")
	}
	if f.Production(s.Authority.Root.SM3()) || !f.Specimen() {
		t.Error("a demonstration is production")
	}
	c := f.Content()
	if !c.Expires.Equal(verifytest.Epoch.AddDate(1, 0, 0)) || c.Sequence != 1 {
		t.Error("content is not what was signed")
	}
}

func TestStatusSpeaksOnlyForItsIssuers(t *testing.T) {
	s := verifytest.New(t, "trust")
	f := s.Trust(func(c *trust.Content) { c.Status[0].Issuers = []string{s.Hospital.Code} })
	sum := s.Commission.StatusLists.Certificate.SM3()
	if _, ok := f.StatusFor(sum, s.Hospital.Code); !ok {
		t.Error("not for the issuer that is named")
	}
	if _, ok := f.StatusFor(sum, s.Other.Code); ok {
		t.Error("for an issuer that is not named")
	}
	if _, ok := f.StatusFor(s.Hospital.StatusLists.Certificate.SM3(), s.Hospital.Code); ok {
		t.Error("under a certificate that is not named")
	}
}

func TestPinRefusesAnotherOperator(t *testing.T) {
	s := verifytest.New(t, "trust")
	mine := s.Trust(nil)
	if err := mine.CheckPin(pki.PublicKeySM3(s.Operator.Public())); err != nil {
		t.Fatal(err)
	}
	// The same content, self-made: a valid file of somebody else.
	s.Operator = verifytest.NewKey("a stranger", purpose.TrustFiles)
	theirs := s.Trust(nil)
	if err := theirs.CheckPin(mine.Pin()); !errors.Is(err, trust.ErrPin) {
		t.Fatalf("a self-made trust file passes the pin: %v", err)
	}
}

func TestNewerFileKeepsThePin(t *testing.T) {
	s := verifytest.New(t, "trust")
	a, b := s.Trust(nil), s.Trust(func(c *trust.Content) { c.Sequence = 2 })
	if a.Pin() != b.Pin() || a.Fingerprint() == b.Fingerprint() {
		t.Error("the pin belongs to the operator, the fingerprint to the file")
	}
}

func TestAnyChangedByteIsRefused(t *testing.T) {
	s := verifytest.New(t, "trust")
	b := s.TrustFile(func(c *trust.Content) {
		c.Certificates, c.Organisations = c.Certificates[:1], c.Organisations[:1]
		less(c)
	})
	pin := pki.PublicKeySM3(s.Operator.Public())
	verifytest.Mutations(b, func(at int, changed []byte) {
		f, err := trust.Parse(changed)
		if err == nil {
			err = f.CheckPin(pin)
		}
		if err == nil {
			t.Fatalf("byte %d changed to %q passes", at, changed[at])
		}
		if !errors.Is(err, trust.ErrFormat) && !errors.Is(err, trust.ErrSignature) && !errors.Is(err, trust.ErrPin) {
			t.Fatalf("byte %d: an error of another kind: %v", at, err)
		}
	})
	for n := range b {
		if _, err := trust.Parse(b[:n]); !errors.Is(err, trust.ErrFormat) {
			t.Fatalf("cut off after %d bytes: %v", n, err)
		}
	}
	if _, err := trust.Parse(append(bytes.Clone(b), ' ')); !errors.Is(err, trust.ErrFormat) {
		t.Errorf("a byte more: %v", err)
	}
}

// less takes away all that stands on organisations but the first.
func less(c *trust.Content) { c.Logs, c.Cosigners, c.Status, c.CosignaturesNeeded = nil, nil, nil, 0 }

func TestOperatorsSlipsAreSeenWhenSigning(t *testing.T) {
	s := verifytest.New(t, "trust")
	stranger := verifytest.NewAuthority(t, "a stranger", true)
	for name, change := range map[string]func(*trust.Content){
		"no name":                       func(c *trust.Content) { c.Name.ZH = "" },
		"a name with a line feed":       func(c *trust.Content) { c.Name.EN = "a\nb" },
		"no sequence":                   func(c *trust.Content) { c.Sequence = 0 },
		"expired at its issue":          func(c *trust.Content) { c.Expires = c.Issued },
		"no root":                       func(c *trust.Content) { c.Roots = nil },
		"a root that is a CA's":         func(c *trust.Content) { c.Roots = append(c.Roots, s.Authority.CA.Raw()); c.Intermediates = nil },
		"a root twice":                  func(c *trust.Content) { c.Roots = append(c.Roots, c.Roots[0]) },
		"a leaf for a CA":               func(c *trust.Content) { c.Intermediates = append(c.Intermediates, c.Certificates[0].Certificate) },
		"half a certificate":            func(c *trust.Content) { c.Roots = [][]byte{c.Roots[0][:100]} },
		"too many roots":                func(c *trust.Content) { c.Roots = make([][]byte, 100) },
		"an organisation twice":         func(c *trust.Content) { c.Organisations = append(c.Organisations, c.Organisations[0]) },
		"an organisation without name":  func(c *trust.Content) { c.Organisations[0].Name = "" },
		"somebody else's certificate":   func(c *trust.Content) { c.Certificates[0].Organisation = s.Other.Code },
		"an unknown organisation":       func(c *trust.Content) { c.Organisations = c.Organisations[1:] },
		"another purpose":               func(c *trust.Content) { c.Certificates[0].Purpose = "events" },
		"a purpose that is none":        func(c *trust.Content) { c.Certificates[0].Purpose = "ca" },
		"a certificate twice":           func(c *trust.Content) { c.Certificates = append(c.Certificates, c.Certificates[0]) },
		"until before from":             func(c *trust.Content) { c.Certificates[0].From, c.Certificates[0].Until = c.Expires, c.Issued },
		"a log under an event key":      func(c *trust.Content) { c.Logs[0].Certificate = s.Hospital.Events.Certificate.SM3() },
		"a log twice":                   func(c *trust.Content) { c.Logs = append(c.Logs, c.Logs[0]) },
		"a cosigner twice":              func(c *trust.Content) { c.Cosigners = append(c.Cosigners, c.Cosigners[0]) },
		"one cosigner under two names":  func(c *trust.Content) { c.Cosigners[1] = c.Cosigners[0]; c.Cosigners[1].Name = "other" },
		"more cosignatures than can be": func(c *trust.Content) { c.CosignaturesNeeded = 3 },
		"a log and no cosignature":      func(c *trust.Content) { c.CosignaturesNeeded = 0 },
		"negative cosignatures":         func(c *trust.Content) { c.CosignaturesNeeded = -1 },
		"status under a document key":   func(c *trust.Content) { c.Status[0].Certificate = s.Hospital.Documents.Certificate.SM3() },
		"status for a stranger":         func(c *trust.Content) { c.Status[0].Issuers = []string{verifytest.Code(t, 99)} },
		"a CRL of another CA":           func(c *trust.Content) { c.CRLs = stranger.CRLs() },
		"half a CRL":                    func(c *trust.Content) { c.CRLs[0] = c.CRLs[0][:50] },
		"production in a demonstration": func(c *trust.Content) { c.ProductionRoots = []trust.SM3{s.Authority.Root.SM3()} },
		"production of another root": func(c *trust.Content) {
			c.Specimen = false
			c.ProductionRoots = []trust.SM3{stranger.Root.SM3()}
		},
	} {
		c := s.Content()
		change(&c)
		if _, err := trust.Sign(context.Background(), s.Operator, s.Operator.Public(), c); !errors.Is(err, trust.ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := trust.Sign(context.Background(), s.Operator, s.Hospital.Documents.Key.Public(), s.Content()); !errors.Is(err, trust.ErrSignature) {
		t.Errorf("a public key that is not the operator's: %v", err)
	}
	if _, err := trust.Sign(context.Background(), s.Hospital.Documents.Key, s.Hospital.Documents.Key.Public(), s.Content()); err == nil {
		t.Error("a document key signed a trust file")
	}
}

func TestProductionRootNeedsTheOperatorsWord(t *testing.T) {
	s := verifytest.New(t, "trust")
	s.Authority = verifytest.NewAuthority(t, "production", false)
	hospital := s.Authority.Organisation("hospital", "hospital", 1)
	content := func(c *trust.Content) {
		*c = trust.Content{Name: c.Name, Sequence: 1, Issued: c.Issued, Expires: c.Expires, Roots: [][]byte{s.Authority.Root.Raw()},
			Intermediates: [][]byte{s.Authority.CA.Raw()}, CRLs: s.Authority.CRLs(), Organisations: []trust.Organisation{hospital.Organisation},
			Certificates: []trust.Certificate{{Certificate: hospital.Documents.Certificate.Raw(), Organisation: hospital.Code, Purpose: "documents"}}}
	}
	if s.Trust(content).Production(s.Authority.Root.SM3()) {
		t.Error("production without the operator's word")
	}
	f := s.Trust(func(c *trust.Content) { content(c); c.ProductionRoots = []trust.SM3{s.Authority.Root.SM3()} })
	if !f.Production(s.Authority.Root.SM3()) {
		t.Error("the operator's word is not heard")
	}
}

func TestCallersContentIsNotWrittenTo(t *testing.T) {
	s := verifytest.New(t, "trust")
	c := s.Content()
	c.Certificates[0].From = time.Date(2026, 11, 2, 3, 4, 5, 6, time.UTC)
	if _, err := trust.Sign(context.Background(), s.Operator, s.Operator.Public(), c); err != nil {
		t.Fatal(err)
	}
	if c.Certificates[0].From.Nanosecond() != 6 || c.Status[0].Issuers != nil {
		t.Error("Sign changed its argument")
	}
}

func TestFromAndUntilNarrow(t *testing.T) {
	e := trust.Entry{From: verifytest.Epoch, Until: verifytest.Epoch.Add(time.Hour)}
	for at, want := range map[time.Duration]bool{-time.Second: false, 0: true, time.Hour: true, time.Hour + time.Second: false} {
		if e.In(verifytest.Epoch.Add(at)) != want {
			t.Errorf("at %s: %v", at, !want)
		}
	}
	if !new(trust.Entry).In(verifytest.Epoch) {
		t.Error("an entry without bounds has some")
	}
}

// resign signs any content, as a dishonest operator could.
func resign(t testing.TB, s *verifytest.Scheme, content []byte) []byte {
	t.Helper()
	rs, err := s.Operator.SignAnything(signedjson.Message(trust.Format, content))
	if err != nil {
		t.Fatal(err)
	}
	spki, err := pki.MarshalPublicKey(s.Operator.Public())
	if err != nil {
		t.Fatal(err)
	}
	e := base64.StdEncoding.EncodeToString
	return signedjson.Join(trust.Format, content, fmt.Appendf(nil, `{"algorithm":"SM2-SM3","publicKey":"%s","value":"%s"}`, e(spki), e(rs)))
}

func TestWellSignedSecondEncodingsAreRefused(t *testing.T) {
	s := verifytest.New(t, "trust")
	raw, _, err := signedjson.Split(trust.Format, s.TrustFile(nil))
	if err != nil {
		t.Fatal(err)
	}
	content := string(raw)
	if _, err := trust.Parse(resign(t, s, raw)); err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"a key twice":         strings.Replace(content, `"cosignaturesNeeded":2`, `"cosignaturesNeeded":2,"cosignaturesNeeded":1`, 1),
		"null for a list":     strings.Replace(content, `"productionRoots":[]`, `"productionRoots":null`, 1),
		"empty issuers":       strings.Replace(content, `"status":[{`, `"status":[{"issuers":[],`, 1),
		"another zone":        strings.Replace(content, `"issued":"2026-11-01T08:00:00+08:00"`, `"issued":"2026-11-01T00:00:00Z"`, 1),
		"capitals in digests": strings.Replace(content, fmt.Sprintf("%x", s.Commission.StatusLists.Certificate.SM3()), fmt.Sprintf("%X", s.Commission.StatusLists.Certificate.SM3()), 1),
		"a member more":       strings.Replace(content, `"specimen":true`, `"specimen":true,"spy":1`, 1),
		"another order":       strings.Replace(content, `"sequence":1,"specimen":true`, `"specimen":true,"sequence":1`, 1),
	} {
		if bad == content {
			t.Fatalf("%s: nothing was changed", name)
		}
		if _, err := trust.Parse(resign(t, s, []byte(bad))); !errors.Is(err, trust.ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := trust.Parse(make([]byte, trust.MaxFile+1)); !errors.Is(err, trust.ErrFormat) {
		t.Error("a file larger than the bound is looked into")
	}
}

// TestWorkedExample holds docs/formats/trust.md to what the code does.
func TestWorkedExample(t *testing.T) {
	s := verifytest.New(t, "worked example")
	file := s.TrustFile(func(c *trust.Content) {
		c.Certificates, c.Organisations = c.Certificates[:1], c.Organisations[:1]
		less(c)
	})
	f, err := trust.Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	content, _, err := signedjson.Split(trust.Format, file)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("fingerprint            %x\npin                    %x\nSM3 of signed message  %x\n",
		f.Fingerprint(), f.Pin(), sm3.Sum(append([]byte(purpose.TrustPrefix), content...)))
	for name, want := range map[string][]byte{"testdata/example.json": file, "testdata/example.txt": []byte(text)} {
		if *update {
			if err := os.WriteFile(name, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what the code writes:\n%s", name, want)
		}
	}
}

// What parses is signed by the key it carries, and signing its content again gives the same content.
func FuzzParse(f *testing.F) {
	s, all := seeds(f)
	for _, b := range all {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := trust.Parse(b)
		if err != nil {
			if !errors.Is(err, trust.ErrFormat) && !errors.Is(err, trust.ErrSignature) {
				t.Fatalf("an error of another kind: %v", err)
			}
			return
		}
		again, err := trust.Sign(context.Background(), s.Operator, s.Operator.Public(), file.Content())
		if err != nil {
			t.Fatal(err)
		}
		mine, _, _ := signedjson.Split(trust.Format, again)
		theirs, _, _ := signedjson.Split(trust.Format, b)
		if !bytes.Equal(mine, theirs) {
			t.Fatal("what parses has a second encoding")
		}
	})
}

// The content is reached only behind a good signature, so it has a target of its own: the operator signs whatever
// comes. The property is the same.
func FuzzContent(f *testing.F) {
	s, all := seeds(f)
	for _, b := range all {
		if content, _, err := signedjson.Split(trust.Format, b); err == nil {
			f.Add(content)
		}
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		file, err := trust.Parse(resign(t, s, content))
		if err != nil {
			return
		}
		again, err := trust.Sign(context.Background(), s.Operator, s.Operator.Public(), file.Content())
		if err != nil {
			t.Fatal(err)
		}
		if mine, _, _ := signedjson.Split(trust.Format, again); !bytes.Equal(mine, content) {
			t.Fatal("what parses has a second encoding")
		}
	})
}

func seeds(t testing.TB) (*verifytest.Scheme, [][]byte) {
	t.Helper()
	s := verifytest.New(t, "seeds")
	example, err := os.ReadFile("testdata/example.json")
	if err != nil {
		t.Fatal(err)
	}
	return s, [][]byte{example, s.TrustFile(nil), s.TrustFile(func(c *trust.Content) {
		c.Certificates[0].From, c.Status[0].Issuers = c.Issued, []string{s.Hospital.Code}
		c.CRLs = s.Authority.CRLs(pki.Revoked{Serial: big.NewInt(5), At: verifytest.Epoch, Reason: pki.KeyCompromise})
	}), example[:300]}
}

func TestSeedsParse(t *testing.T) {
	_, all := seeds(t)
	good := 0
	for _, b := range all {
		if _, err := trust.Parse(b); err == nil {
			good++
		}
	}
	if good != 3 {
		t.Fatalf("%d of the fuzz seeds parse, want 3", good)
	}
}

func BenchmarkParse(b *testing.B) {
	s := verifytest.New(b, "trust")
	file := s.TrustFile(nil)
	b.ReportMetric(float64(len(file)), "bytes")
	for b.Loop() {
		if _, err := trust.Parse(file); err != nil {
			b.Fatal(err)
		}
	}
}

// OpenSSL is the second judge: with nothing but the file and docs/formats/trust.md it finds the signature good.
func TestOpenSSLAgrees(t *testing.T) {
	s := verifytest.New(t, "trust")
	file := s.TrustFile(nil)
	content, rest, err := signedjson.Split(trust.Format, file)
	if err != nil {
		t.Fatal(err)
	}
	var signature struct {
		Algorithm        string `json:"algorithm"`
		PublicKey, Value []byte
	}
	if err := json.Unmarshal(rest, &signature); err != nil {
		t.Fatal(err)
	}
	der, err := pki.SignatureDER(signature.Value)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	for name, b := range map[string][]byte{"message": append([]byte("elicence/trust/1\n"), content...), "signature": der,
		"key.pem": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: signature.PublicKey})} {
		if err := os.WriteFile(filepath.Join(folder, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	judge := exec.Command("openssl", "dgst", "-sm3", "-verify", "key.pem", "-sigopt", "distid:1234567812345678", "-signature", "signature", "message")
	judge.Dir = folder
	if out, err := judge.CombinedOutput(); err != nil || !strings.Contains(string(out), "Verified OK") {
		t.Errorf("openssl: %v: %s", err, out)
	}
}
