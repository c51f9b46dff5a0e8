package status_test

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
	"github.com/elicence/elicence/verify/signedjson"
	"github.com/elicence/elicence/verify/status"
	"github.com/elicence/elicence/verify/verifytest"
)

var update = flag.Bool("update", false, "write the worked example anew")

func TestEveryStateIsFoundAtItsIndex(t *testing.T) {
	s := verifytest.New(t, "status")
	states := map[uint64]status.State{0: status.Superseded, 1: status.Revoked, 2: status.Suspended, 3: status.InForce,
		511: status.Revoked, 1023: status.Superseded}
	l := s.Status(verifytest.Epoch, states)
	for i := range uint64(1024) {
		if got := l.At(i); got != states[i] {
			t.Errorf("index %d is %s, want %s", i, got, states[i])
		}
	}
	for _, beyond := range []uint64{1024, 1 << 24, 1 << 63} {
		if got := l.At(beyond); got != status.Unknown {
			t.Errorf("index %d beyond the list is %s", beyond, got)
		}
	}
	if l.Count() != [4]uint64{1019, 2, 1, 2} {
		t.Errorf("counts %v", l.Count())
	}
	if l.Number() != 7 || !l.Issued().Equal(verifytest.Epoch) || l.Capacity() != 1024 {
		t.Errorf("number %d, issued %s, capacity %d", l.Number(), l.Issued(), l.Capacity())
	}
	if err := l.CheckSignature(s.Commission.StatusLists.Certificate); err != nil {
		t.Error(err)
	}
}

func TestTenMillionLicencesAreASmallFile(t *testing.T) {
	s := verifytest.New(t, "status")
	states := map[uint64]status.State{}
	for r := rand.New(rand.NewPCG(1, 2)); len(states) < 4000; {
		states[r.Uint64N(10_000_000)] = status.Revoked
	}
	b, err := status.Sign(context.Background(), s.Commission.StatusLists.Key, s.Commission.StatusLists.Certificate,
		status.Content{States: states, Capacity: 10_000_000, Number: 1, Issued: verifytest.Epoch, Expires: verifytest.Epoch.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > 32<<10 {
		t.Errorf("4,000 revoked of ten million take %d bytes", len(b))
	}
	l, err := status.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	for i := range states {
		if l.At(i) != status.Revoked {
			t.Fatalf("index %d is %s", i, l.At(i))
		}
	}
}

func TestAnyChangedByteIsRefused(t *testing.T) {
	s := verifytest.New(t, "status")
	b := s.StatusFile(verifytest.Epoch, map[uint64]status.State{5: status.Revoked})
	verifytest.Mutations(b, func(at int, changed []byte) {
		l, err := status.Parse(changed)
		if err == nil {
			err = l.CheckSignature(s.Commission.StatusLists.Certificate)
		}
		if !errors.Is(err, status.ErrFormat) && !errors.Is(err, status.ErrSignature) {
			t.Fatalf("byte %d changed to %q passes: %v", at, changed[at], err)
		}
	})
	for n := range b {
		if _, err := status.Parse(b[:n]); !errors.Is(err, status.ErrFormat) {
			t.Fatalf("cut off after %d bytes: %v", n, err)
		}
	}
}

func TestOnlyTheNamedStatusKeySigns(t *testing.T) {
	s := verifytest.New(t, "status")
	l := s.Status(verifytest.Epoch, nil)
	for name, cert := range map[string]*verifytest.Organisation{"another organisation": s.Hospital} {
		if err := l.CheckSignature(cert.StatusLists.Certificate); !errors.Is(err, status.ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	content := status.Content{Capacity: 4, Number: 1, Issued: verifytest.Epoch, Expires: verifytest.Epoch.Add(time.Hour)}
	if _, err := status.Sign(context.Background(), s.Hospital.Documents.Key, s.Hospital.Documents.Certificate, content); err == nil {
		t.Error("a key for documents signed a status list")
	}
	if _, err := status.Sign(context.Background(), s.Hospital.StatusLists.Key, s.Commission.StatusLists.Certificate, content); err == nil {
		t.Error("a list was signed under a certificate that is not the key's")
	}
}

func TestWhatNoListCanSay(t *testing.T) {
	s := verifytest.New(t, "status")
	good := status.Content{Capacity: 8, Number: 1, Issued: verifytest.Epoch, Expires: verifytest.Epoch.Add(time.Hour)}
	for name, change := range map[string]func(*status.Content){
		"no capacity":          func(c *status.Content) { c.Capacity = 0 },
		"a crooked capacity":   func(c *status.Content) { c.Capacity = 6 },
		"too great a capacity": func(c *status.Content) { c.Capacity = status.MaxCapacity + 4 },
		"an index beyond it":   func(c *status.Content) { c.States = map[uint64]status.State{8: 1} },
		"a fifth state":        func(c *status.Content) { c.States = map[uint64]status.State{1: 4} },
		"no number":            func(c *status.Content) { c.Number = 0 },
		"expired at its issue": func(c *status.Content) { c.Expires = c.Issued },
		"no time":              func(c *status.Content) { c.Issued = time.Time{} },
	} {
		c := good
		change(&c)
		_, err := status.Sign(context.Background(), s.Commission.StatusLists.Key, s.Commission.StatusLists.Certificate, c)
		if !errors.Is(err, status.ErrEntry) && !errors.Is(err, status.ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// sign makes a file of any content, as a dishonest status signer could.
func sign(t testing.TB, s *verifytest.Scheme, content string) []byte {
	t.Helper()
	rs, err := s.Commission.StatusLists.Key.SignAnything([]byte(status.Format + "\n" + content))
	if err != nil {
		t.Fatal(err)
	}
	sum := s.Commission.StatusLists.Certificate.SM3()
	return signedjson.Join(status.Format, []byte(content), fmt.Appendf(nil, `{"algorithm":"SM2-SM3","certificate":"%x","value":"%s"}`,
		sum, base64.StdEncoding.EncodeToString(rs)))
}

func packed(t testing.TB, raw []byte) string {
	t.Helper()
	var z bytes.Buffer
	w := zlib.NewWriter(&z)
	if _, err := w.Write(raw); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(z.Bytes())
}

func TestWellSignedNonsenseIsRefused(t *testing.T) {
	s := verifytest.New(t, "status")
	const dates = `"expires":"2026-11-08T08:00:00+08:00","issued":"2026-11-01T08:00:00+08:00"`
	small := packed(t, make([]byte, 4))
	content := func(dates, number, bits, lst string) string {
		return `{` + dates + `,"number":` + number + `,"status_list":{"bits":` + bits + `,"lst":"` + lst + `"}}`
	}
	if _, err := status.Parse(sign(t, s, content(dates, "1", "2", small))); err != nil {
		t.Fatal(err)
	}
	raw, err := base64.RawURLEncoding.DecodeString(small)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"one bit":                  content(dates, "1", "1", small),
		"number zero":              content(dates, "0", "2", small),
		"a huge number":            content(dates, "9007199254740993", "2", small),
		"an empty list":            content(dates, "1", "2", packed(t, nil)),
		"a bomb":                   content(dates, "1", "2", packed(t, make([]byte, 64<<20))),
		"one byte too many":        content(dates, "1", "2", packed(t, make([]byte, status.MaxCapacity/4+1))),
		"not zlib":                 content(dates, "1", "2", "AAAA"),
		"padding":                  content(dates, "1", "2", small+"=="),
		"bytes after the stream":   content(dates, "1", "2", base64.RawURLEncoding.EncodeToString(append(raw, 0))),
		"a stream cut off":         content(dates, "1", "2", base64.RawURLEncoding.EncodeToString(raw[:len(raw)-1])),
		"another zone":             content(strings.ReplaceAll(dates, "+08:00", "Z"), "1", "2", small),
		"fractions of seconds":     content(strings.Replace(dates, "08:00:00+", "08:00:00.5+", 1), "1", "2", small),
		"expires before it begins": content(strings.Replace(dates, "2026-11-08", "2026-10-08", 1), "1", "2", small),
	} {
		if _, err := status.Parse(sign(t, s, bad)); !errors.Is(err, status.ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := status.Parse(make([]byte, status.MaxFile+1)); !errors.Is(err, status.ErrFormat) {
		t.Error("a file larger than the bound is looked into")
	}
}

func TestTheGreatestListParses(t *testing.T) {
	s := verifytest.New(t, "status")
	raw := make([]byte, status.MaxCapacity/4)
	r := rand.New(rand.NewPCG(3, 4))
	for i := range raw {
		raw[i] = byte(r.Uint32())
	}
	b := sign(t, s, `{"expires":"2026-11-08T08:00:00+08:00","issued":"2026-11-01T08:00:00+08:00","number":1,"status_list":{"bits":2,"lst":"`+packed(t, raw)+`"}}`)
	l, err := status.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if l.Capacity() != status.MaxCapacity || l.At(status.MaxCapacity-1) != status.State(raw[len(raw)-1]>>6) {
		t.Error("the last index is lost")
	}
}

// TestWorkedExample holds docs/formats/status.md to what the code does.
func TestWorkedExample(t *testing.T) {
	s := verifytest.New(t, "worked example")
	id := s.Commission.StatusLists
	file, err := status.Sign(context.Background(), id.Key, id.Certificate, status.Content{Capacity: 16, Number: 1,
		Issued: verifytest.Epoch, Expires: verifytest.Epoch.AddDate(0, 0, 7),
		States: map[uint64]status.State{1: status.Revoked, 6: status.Superseded, 15: status.Superseded}})
	if err != nil {
		t.Fatal(err)
	}
	content, _, err := signedjson.Split(status.Format, file)
	if err != nil {
		t.Fatal(err)
	}
	message := append([]byte(purpose.StatusPrefix), content...)
	l, err := status.Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	sum := l.Certificate()
	text := fmt.Sprintf("public key (04 x y)  %x\nSM3 of certificate   %x\narray                %s\nsigned message       %x\n",
		publicBytes(t, id.Key), sum, "043000c0", message)
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
	array, err := hex.DecodeString("043000c0")
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(16) {
		if l.At(i) != status.State(array[i/4]>>(2*(i%4))&3) {
			t.Errorf("index %d is not as the page says", i)
		}
	}
}

func publicBytes(t *testing.T, k *verifytest.Key) []byte {
	t.Helper()
	spki, err := pki.MarshalPublicKey(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	return spki[len(spki)-65:] // the point ends the SubjectPublicKeyInfo (RFC 5480, 2.2)
}

// What parses under a good signature answers for each index within its capacity, and for none beyond.
func FuzzParse(f *testing.F) {
	for _, b := range seeds(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := status.Parse(b)
		if err != nil {
			if !errors.Is(err, status.ErrFormat) {
				t.Fatalf("an error of another kind: %v", err)
			}
			return
		}
		if l.Capacity() == 0 || l.Capacity() > status.MaxCapacity || l.At(l.Capacity()-1) > 3 || l.At(l.Capacity()) != status.Unknown {
			t.Fatal("capacity and answers disagree")
		}
		content, signature, err := signedjson.Split(status.Format, b)
		if err != nil || !bytes.Equal(signedjson.Join(status.Format, content, signature), b) {
			t.Fatal("what parses has a second encoding")
		}
	})
}

func seeds(t testing.TB) [][]byte {
	t.Helper()
	s := verifytest.New(t, "seeds")
	example, err := os.ReadFile("testdata/example.json")
	if err != nil {
		t.Fatal(err)
	}
	return [][]byte{example, s.StatusFile(verifytest.Epoch, nil), s.StatusFile(verifytest.Epoch, map[uint64]status.State{9: 3}), example[:200]}
}

func TestSeedsParse(t *testing.T) {
	good := 0
	for _, b := range seeds(t) {
		if _, err := status.Parse(b); err == nil {
			good++
		}
	}
	if good != 3 {
		t.Fatalf("%d of the fuzz seeds parse, want 3", good)
	}
}

func BenchmarkParseTenMillion(b *testing.B) {
	s := verifytest.New(b, "status")
	states := map[uint64]status.State{}
	for r := rand.New(rand.NewPCG(1, 2)); len(states) < 100_000; {
		states[r.Uint64N(10_000_000)] = status.Revoked
	}
	file, err := status.Sign(context.Background(), s.Commission.StatusLists.Key, s.Commission.StatusLists.Certificate,
		status.Content{States: states, Capacity: 10_000_000, Number: 1, Issued: verifytest.Epoch, Expires: verifytest.Epoch.Add(time.Hour)})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(file)))
	for b.Loop() {
		if _, err := status.Parse(file); err != nil {
			b.Fatal(err)
		}
	}
}
