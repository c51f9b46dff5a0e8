package licence_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/elicence/elicence/licence"
)

const seedFolder = "testdata/fuzz/FuzzCheck"

// The seeds that go with the repository are there: a fuzz target without them tests nothing.
func TestSeedsExist(t *testing.T) {
	for folder, least := range map[string]int{seedFolder: 12, "testdata/fuzz/FuzzReader": 8} {
		files, err := filepath.Glob(folder + "/*")
		if err != nil || len(files) < least {
			t.Errorf("%s: %d seeds, want %d or more (%v)", folder, len(files), least, err)
		}
	}
	if n := len(births(t)); n != 200 {
		t.Errorf("%d births", n)
	}
}

// ourWords is all text that a finding may be made of: what stands in our own sources.
func ourWords(tb testing.TB) string {
	tb.Helper()
	var b strings.Builder
	for _, pattern := range []string{"*.go", "../templates/types/*/*.yaml", "../templates/types/*/*.json"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			tb.Fatal(err)
		}
		for _, f := range files {
			if strings.HasSuffix(f, "_test.go") {
				continue
			}
			text, err := os.ReadFile(f)
			if err != nil {
				tb.Fatal(err)
			}
			b.Write(text)
		}
	}
	return b.String()
}

// outside collects texts of a document that came from outside: values and keys of three characters and more.
func outside(v any, out []string) []string {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			out = outside(e, append(out, k))
		}
	case []any:
		for _, e := range v {
			out = outside(e, out)
		}
	case string:
		out = append(out, v)
	case json.Number:
		out = append(out, v.String())
	}
	return out
}

// leaks returns a text from outside that a finding repeats, "" if there is none.
func leaks(words string, raw []byte, findings []licence.Finding) string {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return ""
	}
	for _, s := range outside(v, nil) {
		s = strings.TrimSpace(s)
		if utf8.RuneCountInString(s) < 3 || strings.Contains(words, s) {
			continue
		}
		for _, f := range findings {
			if strings.Contains(f.Pointer+" "+f.Code+" "+f.ZH+" "+f.EN+" "+f.Clause, s) {
				return s
			}
		}
	}
	return ""
}

// FuzzCheck: no request makes Check panic or blame the type; findings repeat nothing from the document; what passes has
// one canonical form, from which the same draft is made again.
func FuzzCheck(f *testing.F) {
	types := []*licence.Type{readType(f, "birth-certificate"), readType(f, "childbirth-certificate")}
	words := ourWords(f)
	for i, b := range births(f) {
		if i%10 == 0 {
			f.Add(b)
		}
	}
	f.Add([]byte(childbirth))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, typ := range types {
			in := licence.Input{Raw: raw, Issuer: hospital, Now: testNow, Clerk: "a"}
			d, findings, err := licence.Check(typ, in)
			if s := leaks(words, raw, findings); s != "" {
				t.Fatalf("a finding repeats %q", s)
			}
			if err != nil {
				if !errors.Is(err, licence.ErrRefused) || !licence.Refused(findings) || d.Valid() {
					t.Fatalf("%v with %v", err, findings)
				}
				continue
			}
			r, err := licence.Open(d.Canonical())
			if err != nil || r.Digest != d.Digest() {
				t.Fatalf("what was recorded does not open: %v", err)
			}
			in.Raw, err = licence.CanonicalJSON(r.Document)
			if err != nil {
				t.Fatal(err)
			}
			again, second, err := licence.Check(typ, in)
			if err != nil || again.Digest() != d.Digest() || !bytes.Equal(again.Canonical(), d.Canonical()) {
				t.Fatalf("the canonical form makes another draft: %v", err)
			}
			if !slices.Equal(found(second), found(findings)) {
				t.Fatalf("the canonical form has other warnings: %q, %q", found(second), found(findings))
			}
		}
	})
}

// FuzzReader: what our reader takes, encoding/json reads the same, and it re-encodes to one form for ever.
func FuzzReader(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":1}`, `[1,"\ud842\udfb7",true,null]`, `{"b":{"a":-1},"a":[]}`, `"\u0000"`, `1e3`, `{"a":1,"a":2}`, "\"\xff\""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		v, clean, err := licence.ReadJSON(raw)
		if err != nil || !clean {
			return
		}
		if !json.Valid(raw) {
			t.Fatal("encoding/json refuses what we read")
		}
		first, err := licence.CanonicalJSON(v)
		if err != nil {
			t.Fatal(err)
		}
		var ours, theirs any
		if json.Unmarshal(raw, &theirs) != nil || json.Unmarshal(first, &ours) != nil || !reflect.DeepEqual(ours, theirs) {
			t.Fatalf("another value: %s", first)
		}
		again, clean, err := licence.ReadJSON(first)
		if err != nil || !clean {
			t.Fatalf("the canonical form does not read: %v", err)
		}
		second, err := licence.CanonicalJSON(again)
		if err != nil || !bytes.Equal(first, second) {
			t.Fatalf("not idempotent:\n%s\n%s", first, second)
		}
	})
}

// RFC 8785 appendix B and 3.2.3: order by UTF-16 code units, shortest escapes.
func TestCanonicalJSON(t *testing.T) {
	in := map[string]any{"\u20ac": "Euro", "\r": "CR", "\ufb33": "Dalet", "1": "One", "\U0001f600": "Emoji", "\u0080": "Control", "ö": "O",
		"a": []any{nil, true, false, int64(-5), "\u2028\"\\/\b\f\n\r\t\u000f"}, "": map[string]any{}}
	const want = `{"":{},"\r":"CR","1":"One","a":[null,true,false,-5,"` + "\u2028" + `\"\\/\b\f\n\r\t\u000f"],"` + "\u0080" + `":"Control","ö":"O","€":"Euro","😀":"Emoji","` + "\ufb33" + `":"Dalet"}`
	got, err := licence.CanonicalJSON(in)
	if err != nil || string(got) != want {
		t.Errorf("\n got %s\nwant %s\n%v", got, want, err)
	}
	if _, err := licence.CanonicalJSON(map[string]any{"a": 1.5}); err == nil {
		t.Error("a fraction has no canonical form here")
	}
}
