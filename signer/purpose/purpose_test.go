package purpose_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/elicence/elicence/hsm/hsmtest"
	"github.com/elicence/elicence/signer/cose"
	"github.com/elicence/elicence/signer/purpose"
)

func wantForm(t testing.TB, f purpose.Form, m []byte) {
	t.Helper()
	if err := purpose.Check(f, m); err != nil {
		t.Fatalf("%s: %v", f, err)
	}
}

func wantNone(t testing.TB, f purpose.Form, m []byte) {
	t.Helper()
	if err := purpose.Check(f, m); !errors.Is(err, purpose.ErrForm) {
		t.Fatalf("%s: %v", f, err)
	}
}

// A request for a certificate says nothing but whose key it is, so every key that signs may make one.
func TestEachFormBelongsToOnePurpose(t *testing.T) {
	owners := map[purpose.Form][]purpose.Purpose{}
	for _, p := range purpose.All() {
		if !p.Known() {
			t.Errorf("%s is not known", p)
		}
		for _, f := range p.Forms() {
			owners[f] = append(owners[f], p)
		}
		for _, f := range purpose.AllForms() {
			if p.Allows(f) != slices.Contains(p.Forms(), f) {
				t.Errorf("%s and %s", p, f)
			}
		}
	}
	for _, f := range purpose.AllForms() {
		if f == purpose.Request {
			if len(owners[f]) != len(purpose.All())-1 {
				t.Errorf("%s may be signed by keys for %v", f, owners[f])
			}
		} else if len(owners[f]) != 1 {
			t.Errorf("%s may be signed by keys for %v", f, owners[f])
		}
	}
	if len(purpose.DataWrapping.Forms()) != 0 {
		t.Error("a wrapping key signs")
	}
	for _, p := range []purpose.Purpose{"", "lunch", "Documents"} {
		if p.Known() || len(p.Forms()) != 0 || p.Allows(purpose.CMSAttributes) {
			t.Errorf("%q is a purpose", p)
		}
	}
	if purpose.Documents.Allows("") || purpose.Documents.Allows("lunch") {
		t.Error("a form that is none is allowed")
	}
}

// A signature made for one form must never be shown as one of another.
func TestNoMessageHasTwoForms(t *testing.T) {
	for _, f := range purpose.AllForms() {
		for n := range 20 {
			m := hsmtest.Message(f, n)
			wantForm(t, f, m)
			for _, other := range purpose.AllForms() {
				if other != f {
					wantNone(t, other, m)
				}
			}
		}
	}
}

func TestBoundsAndUnknownForms(t *testing.T) {
	for _, f := range purpose.AllForms() {
		wantNone(t, f, nil)
		wantNone(t, f, make([]byte, purpose.MaxMessage+1))
		good := hsmtest.Message(f, 1)
		for n := range good {
			if n > 0 && good[n-1] == '\n' && (f == purpose.Checkpoint || f == purpose.Cosignature) {
				continue // these may have fewer lines
			}
			wantNone(t, f, good[:n])
		}
		wantNone(t, f, append(bytes.Clone(good), 0))
		wantNone(t, f, append([]byte{0}, good...))
		wantNone(t, "lunch", good)
		wantNone(t, "", good)
	}
}

func TestDigestsHaveNoForm(t *testing.T) {
	for first := range 256 {
		m := append([]byte{byte(first)}, make([]byte, 31)...)
		for _, f := range purpose.AllForms() {
			wantNone(t, f, m)
		}
	}
}

func TestSigStructuresAreThoseOfCose(t *testing.T) {
	for _, size := range []int{1, 23, 24, 256, 70000} {
		for f, aad := range map[purpose.Form]string{purpose.Credential: purpose.AADCredential, purpose.Event: purpose.AADEvent, purpose.Delivery: purpose.AADDelivery} {
			m, err := cose.ToBeSigned(cose.Protected{Type: "x"}, aad, make([]byte, size))
			if err != nil {
				t.Fatal(err)
			}
			wantForm(t, f, m)
		}
	}
	good := string(hsmtest.Message(purpose.Event, 1))
	for name, m := range map[string]string{
		"another context":       strings.Replace(good, "Signature1", "Signature2", 1),
		"a version to come":     strings.Replace(good, "event/1", "event/2", 1),
		"another algorithm":     strings.Replace(good, "\x3a\x00\x01\x00\x00", "\x3a\x00\x01\x00\x01", 1),
		"no protected header":   strings.Replace(good, good[12:12+19], "\x40", 1),
		"a longer head":         strings.Replace(good, "\x49payload 1", "\x58\x09payload 1", 1),
		"a much longer head":    strings.Replace(good, "\x49payload 1", "\x5a\x00\x00\x00\x09payload 1", 1),
		"a head of 64 bits":     strings.Replace(good, "\x49payload 1", "\x5b\x00\x00\x00\x00\x00\x00\x00\x09payload 1", 1),
		"an empty payload":      strings.Replace(good, "\x49payload 1", "\x40", 1),
		"a text payload":        strings.Replace(good, "\x49payload 1", "\x69payload 1", 1),
		"a detached payload":    strings.Replace(good, "\x49payload 1", "\xf6", 1),
		"five elements":         strings.Replace(good, "\x84", "\x85", 1) + "\x40",
		"external_aad is short": strings.Replace(good, "\x50elicence/event/1", "\x4felicence/event/", 1),
	} {
		if m == good {
			t.Fatalf("%s: the message is not changed", name)
		}
		t.Run(name, func(t *testing.T) { wantNone(t, purpose.Event, []byte(m)) })
	}
}

func TestCheckpoints(t *testing.T) {
	root := base64.StdEncoding.EncodeToString(make([]byte, 32))
	for _, m := range []string{
		"elicence.example/log\n1\n" + root + "\n",
		"elicence.example/log\n1\n" + root + "\ntime 1793491200000000\n",
		"日志\n9223372036854775807\n" + root + "\na\nb\nc\nd\ne\nf\n",
		"cosignature/v2\n0\n" + root + "\n",
	} {
		wantForm(t, purpose.Checkpoint, []byte(m))
		wantForm(t, purpose.Cosignature, []byte("cosignature/v1\ntime 1793491200\n"+m))
	}
	for name, m := range map[string]string{
		"no origin":               "\n1\n" + root + "\n",
		"a cosignature":           "cosignature/v1\n1\n" + root + "\n",
		"a status list":           "elicence/status/1\n1\n" + root + "\n",
		"a trust file":            "elicence/trust/1\n1\n" + root + "\n",
		"no size":                 "o\n\n" + root + "\n",
		"a size with zeros":       "o\n01\n" + root + "\n",
		"a size with sign":        "o\n+1\n" + root + "\n",
		"a negative size":         "o\n-1\n" + root + "\n",
		"a size beyond 63 bits":   "o\n9223372036854775808\n" + root + "\n",
		"a short root":            "o\n1\n" + root[4:] + "\n",
		"a root without padding":  "o\n1\n" + root[:43] + "\n",
		"a root with other bits":  "o\n1\n" + root[:42] + "B=\n",
		"a root for addresses":    "o\n1\n" + strings.Repeat("_", 43) + "=\n",
		"no newline at the end":   "o\n1\n" + root,
		"an empty line":           "o\n1\n" + root + "\n\n",
		"signatures":              "o\n1\n" + root + "\n\n— o AAAA\n",
		"too many lines":          "o\n1\n" + root + "\n" + strings.Repeat("x\n", 7),
		"too long":                "o\n1\n" + root + "\n" + strings.Repeat("x", 5000) + "\n",
		"carriage returns":        "o\r\n1\r\n" + root + "\r\n",
		"a tabulator":             "o\tp\n1\n" + root + "\n",
		"broken UTF-8":            "o\xff\n1\n" + root + "\n",
		"a control character":     "o\x07\n1\n" + root + "\n",
		"two lines":               "o\n1\n",
		"DER that looks like one": "1\x06\n1\n" + root + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			wantNone(t, purpose.Checkpoint, []byte(m))
			wantNone(t, purpose.Cosignature, []byte("cosignature/v1\ntime 1793491200\n"+m))
		})
	}
	body := "o\n1\n" + root + "\n"
	for name, m := range map[string]string{
		"no time":               "cosignature/v1\n" + body,
		"another version":       "cosignature/v2\ntime 1\n" + body,
		"a time with zeros":     "cosignature/v1\ntime 01\n" + body,
		"a negative time":       "cosignature/v1\ntime -1\n" + body,
		"a fraction":            "cosignature/v1\ntime 1.5\n" + body,
		"no body":               "cosignature/v1\ntime 1\n",
		"a cosigned cosigning":  "cosignature/v1\ntime 1\ncosignature/v1\ntime 1\n" + body,
		"only the time's start": "cosignature/v1\ntime 1",
	} {
		t.Run(name, func(t *testing.T) { wantNone(t, purpose.Cosignature, []byte(m)) })
	}
}

func TestStatusAndTrust(t *testing.T) {
	for f, prefix := range map[purpose.Form]string{purpose.Status: purpose.StatusPrefix, purpose.Trust: purpose.TrustPrefix} {
		wantForm(t, f, []byte(prefix+`{}`))
		wantForm(t, f, []byte(prefix+`{"name":"样张","list":[1,{"a":null}]}`))
		for name, rest := range map[string]string{
			"nothing": "", "an array": "[]", "two objects": "{}{}", "a newline behind": "{}\n", "a space before": " {}", "half": `{"a":`,
			"no JSON": "{a}", "a text": `"x"`, "broken UTF-8": "{\"a\":\"\xff\"}", "a brace": "{", "a comma": `{"a":1,}`,
		} {
			t.Run(string(f)+" "+name, func(t *testing.T) { wantNone(t, f, []byte(prefix+rest)) })
		}
		wantNone(t, f, []byte(`{}`))
		wantNone(t, f, []byte(strings.Replace(prefix, "/1", "/2", 1)+`{}`))
	}
}

// seeds reads the committed seeds.
func seeds(t testing.TB) [][]byte {
	t.Helper()
	names, err := filepath.Glob("testdata/fuzz/FuzzCheck/*")
	if err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		quoted, ok := bytes.CutPrefix(b, []byte("go test fuzz v1\n[]byte("))
		seed, err := strconv.Unquote(string(bytes.TrimSuffix(quoted, []byte(")\n"))))
		if !ok || err != nil {
			t.Fatalf("%s is no seed: %v", name, err)
		}
		out = append(out, []byte(seed))
	}
	return out
}

func TestSeeds(t *testing.T) {
	covered := map[purpose.Form]bool{}
	for _, b := range seeds(t) {
		for _, f := range purpose.AllForms() {
			covered[f] = covered[f] || purpose.Check(f, b) == nil
		}
	}
	for _, f := range purpose.AllForms() {
		if !covered[f] {
			t.Errorf("no seed of form %s", f)
		}
	}
}

// FuzzCheck: no bytes have two forms, and none make the check panic.
func FuzzCheck(f *testing.F) {
	for _, form := range purpose.AllForms() {
		f.Add(hsmtest.Message(form, 3))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var have []purpose.Form
		for _, form := range purpose.AllForms() {
			if err := purpose.Check(form, b); err == nil {
				have = append(have, form)
			} else if !errors.Is(err, purpose.ErrForm) {
				t.Fatalf("no reason that callers know: %v", err)
			}
		}
		if len(have) > 1 {
			t.Fatalf("one message, forms %v", have)
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	for _, f := range purpose.AllForms() {
		m := hsmtest.Message(f, 1)
		b.Run(string(f), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := purpose.Check(f, m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
