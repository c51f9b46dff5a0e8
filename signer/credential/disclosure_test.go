package credential_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/elicence/elicence/signer/credential"
	"github.com/elicence/elicence/signer/signertest"
)

func encoded(tb testing.TB, d *credential.Disclosure) []byte {
	tb.Helper()
	b, err := d.Encode()
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestDisclosureIsReadAsItWasWritten(t *testing.T) {
	chain := signertest.NewChain(t, "样例")
	d := sampleDisclosure(t, signed(t, chain, samplePayload(t)))
	d.Fields[0].Value = "\x00\b\t\n\f\r\x1f\x7f<>&\u2028𠮷\"\\/"
	b := encoded(t, d)
	again, err := credential.ParseDisclosure(b)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(again, d) {
		t.Errorf("read %+v", again)
	}
	want, err := d.Root()
	if err != nil {
		t.Fatal(err)
	}
	if root, err := again.Root(); err != nil || root != want {
		t.Errorf("root %x, %v", root, err)
	}
}

// RFC 8785 by another way: decode, then encode with members sorted.
func TestDisclosureIsCanonical(t *testing.T) {
	d := sampleDisclosure(t, []byte("any credential"))
	d.Fields[0].Value = "<>&\b\f\x01\"\\/𠮷"
	b := encoded(t, d)
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	if want := bytes.TrimSuffix(out.Bytes(), []byte("\n")); !bytes.Equal(b, want) {
		t.Errorf("%s\nis not canonical:\n%s", b, want)
	}
}

func schema(tb testing.TB) *jsonschema.Schema {
	tb.Helper()
	s, err := jsonschema.NewCompiler().Compile(filepath.Join("..", "..", "docs", "formats", "licence.schema.json"))
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func valid(s *jsonschema.Schema, b []byte) error {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		return err
	}
	return s.Validate(v)
}

func TestDisclosureKeepsThePublishedSchema(t *testing.T) {
	s := schema(t)
	if err := valid(s, encoded(t, sampleDisclosure(t, []byte("any credential")))); err != nil {
		t.Error(err)
	}
	for _, v := range readDisclosures(t) {
		b, err := base64.StdEncoding.DecodeString(v.File)
		if err != nil {
			t.Fatal(err)
		}
		if err := valid(s, b); v.Expect == "accepted" && err != nil {
			t.Errorf("%s: %v", v.Name, err)
		} else if v.Expect == "refused" && v.Schema && err == nil {
			t.Errorf("the schema lets %s pass", v.Name)
		}
	}
}

func TestDisclosuresThatCannotBeWritten(t *testing.T) {
	for name, change := range map[string]func(d *credential.Disclosure){
		"no type":                    func(d *credential.Disclosure) { d.Type = "" },
		"a space in the identifier":  func(d *credential.Disclosure) { d.Identifier = "1 2" },
		"part 3 of 2":                func(d *credential.Disclosure) { d.PartIndex = 3 },
		"part 0":                     func(d *credential.Disclosure) { d.PartIndex = 0 },
		"schema version 0":           func(d *credential.Disclosure) { d.SchemaVersion = 0 },
		"no credential":              func(d *credential.Disclosure) { d.Credential = nil },
		"a credential too long":      func(d *credential.Disclosure) { d.Credential = make([]byte, credential.MaxSize+1) },
		"no fields":                  func(d *credential.Disclosure) { d.Fields = nil },
		"a float":                    func(d *credential.Disclosure) { d.Fields[0].Value = 0.5 },
		"a field twice":              func(d *credential.Disclosure) { d.Fields[1].Pointer = d.Fields[0].Pointer },
		"a clear field twice":        func(d *credential.Disclosure) { d.ClearSpec[1].Key = d.ClearSpec[0].Key },
		"a clear field of no field":  func(d *credential.Disclosure) { d.ClearSpec[0].Pointer = "/nowhere" },
		"a clear field without name": func(d *credential.Disclosure) { d.ClearSpec[0].Key = "" },
	} {
		d := sampleDisclosure(t, []byte{1})
		change(d)
		if b, err := d.Encode(); !errors.Is(err, credential.ErrDisclosure) || b != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAgree(t *testing.T) {
	p := samplePayload(t)
	if err := credential.Agree(sampleDisclosure(t, []byte{1}), &p); err != nil {
		t.Fatal(err)
	}
	for on, change := range map[string]func(d *credential.Disclosure, p *credential.Payload){
		"type":            func(d *credential.Disclosure, _ *credential.Payload) { d.Type = "other" },
		"identifier":      func(_ *credential.Disclosure, p *credential.Payload) { p.Identifier += "1" },
		"number":          func(d *credential.Disclosure, _ *credential.Payload) { d.Number = "A000000002" },
		"parts":           func(d *credential.Disclosure, _ *credential.Payload) { d.Parts = 1 },
		"issuer":          func(d *credential.Disclosure, _ *credential.Payload) { d.Issuer = "another" },
		"specimen":        func(d *credential.Disclosure, _ *credential.Payload) { d.Specimen = false },
		"fields":          func(d *credential.Disclosure, _ *credential.Payload) { d.Fields = d.Fields[:8] },
		"child.name":      func(d *credential.Disclosure, _ *credential.Payload) { d.Fields[0].Value = "曹辰书" },
		"child.sex":       func(_ *credential.Disclosure, p *credential.Payload) { p.Clear[1].Value = nil },
		"child.bornAt":    func(d *credential.Disclosure, _ *credential.Payload) { d.ClearSpec[2].Pointer = "/child/name" },
		"mother.name":     func(d *credential.Disclosure, _ *credential.Payload) { d.ClearSpec[3].Mask = true },
		"mother.idNumber": func(d *credential.Disclosure, _ *credential.Payload) { d.Fields[6].Value = "320191200312200026" },
		"mother.id":       func(d *credential.Disclosure, _ *credential.Payload) { d.ClearSpec[4].Key = "mother.id" },
		"clear":           func(_ *credential.Disclosure, p *credential.Payload) { p.Clear = p.Clear[:4] },
	} {
		d, p := sampleDisclosure(t, []byte{1}), samplePayload(t)
		change(d, &p)
		err := credential.Agree(d, &p)
		if !errors.Is(err, credential.ErrDisagree) || !strings.HasSuffix(err.Error(), ": "+on) {
			t.Errorf("%s: %v", on, err)
		}
	}
}

// disclosureVector is one licence.json and what must happen to it. Schema says whether the published schema alone
// refuses it too; order, spelling and agreement are beyond a schema.
type disclosureVector struct {
	Name   string `json:"name"`
	Expect string `json:"expect"`
	Why    string `json:"why"`
	Schema bool   `json:"schema,omitempty"`
	File   string `json:"file"` // base64
}

var disclosurePath = filepath.Join("..", "..", "testdata", "vectors", "credential", "licence-json.json")

func readDisclosures(tb testing.TB) []disclosureVector {
	tb.Helper()
	b, err := os.ReadFile(disclosurePath)
	if err != nil {
		tb.Fatal(err)
	}
	var all []disclosureVector
	if err := json.Unmarshal(b, &all); err != nil {
		tb.Fatal(err)
	}
	return all
}

func makeDisclosures(tb testing.TB) (all []disclosureVector) {
	chain := signertest.NewChain(tb, "样例")
	d := sampleDisclosure(tb, signed(tb, chain, samplePayload(tb)))
	good := encoded(tb, d)
	add := func(name, expect, why string, schema bool, b []byte) {
		all = append(all, disclosureVector{name, expect, why, schema, base64.StdEncoding.EncodeToString(b)})
	}
	add("usual", "accepted", "every kind of value", false, good)
	d.ClearSpec, d.Fields = nil, d.Fields[:1]
	d.Fields[0].Value = "\x00\b\t\n\f\r\x1f\x7f\u2028𠮷\"\\/"
	add("escapes", "accepted", "no clear field, one field with everything that is escaped and what is not", false, encoded(tb, d))

	change := func(name, why string, schema bool, old, replacement string) {
		b := bytes.Replace(good, []byte(old), []byte(replacement), 1)
		if bytes.Equal(b, good) {
			tb.Fatalf("%s changes nothing", name)
		}
		add(name, "refused", why, schema, b)
	}
	add("empty", "refused", "nothing", true, nil)
	add("line-feed-behind", "refused", "a byte behind the end", false, append(slices.Clone(good), '\n'))
	add("byte-order-mark", "refused", "bytes before the beginning", false, append([]byte("\ufeff"), good...))
	change("white-space", "white space between members", false, `,"number":`, `, "number":`)
	change("order", "members out of order", false, `"parts":2,"schemaVersion":1`, `"schemaVersion":1,"parts":2`)
	change("member-twice", "a member twice", false, `"parts":2,`, `"parts":2,"parts":2,`)
	change("unknown-member", "a member that is not known", true, `"parts":2,`, `"parts":2,"partz":2,`)
	change("member-missing", "no specimen mark", true, `"specimen":true,`, ``)
	change("another-format", "another version", true, `elicence/licence/1`, `elicence/licence/2`)
	change("upper-case-hex", "a salt in capitals", true, `"salt":"`+hexOf(sampleFields()[0].Salt), `"salt":"`+strings.ToUpper(hexOf(sampleFields()[0].Salt)))
	change("short-salt", "a salt of 15 bytes", true, `"salt":"`+hexOf(sampleFields()[0].Salt), `"salt":"`+hexOf(sampleFields()[0].Salt)[2:])
	change("escape-not-needed", "an escaped letter", false, "曹宸书", `\u66f9宸书`)
	change("escaped-slash", "an escaped slash", false, `"/child/name"`, `"\/child/name"`)
	change("upper-case-escape", "an escape in capitals", false, "曹宸书", `\u001F`)
	change("long-escape", "a long escape where a short one is", false, "曹宸书", `\u000a`)
	change("control", "a control that is not escaped", false, "曹宸书", "\n")
	change("lone-surrogate", "half of a pair", false, "曹宸书", `\ud842`)
	change("broken-utf8", "not UTF-8", false, "曹宸书", "\xe6\x9b")
	change("surrogate-bytes", "a surrogate in UTF-8", false, "曹宸书", "\xed\xa0\x80")
	change("fraction", "a fraction", true, `"value":3418`, `"value":3418.5`)
	change("fraction-zero", "a whole number with a fraction", false, `"value":3418`, `"value":3418.0`)
	change("exponent", "an exponent", false, `"value":3418`, `"value":3418e0`)
	change("leading-zero", "a zero before a number", false, `"value":3418`, `"value":03418`)
	change("plus", "a plus before a number", false, `"value":3418`, `"value":+3418`)
	change("minus-zero", "minus zero", false, `"value":3418`, `"value":-0`)
	change("too-great", "2^53", true, `"value":3418`, `"value":9007199254740992`)
	change("much-too-great", "twenty digits", true, `"value":3418`, `"value":34183418341834183418`)
	change("list", "a list as value", true, `"value":3418`, `"value":[3418]`)
	change("part-index", "part 3 of 2", false, `"partIndex":1`, `"partIndex":3`)
	change("part-index-zero", "part 0", true, `"partIndex":1`, `"partIndex":0`)
	change("no-fields", "no fields", true, string(good[bytes.Index(good, []byte(`"fields":[`))+10:bytes.Index(good, []byte(`],"format"`))]), ``)
	change("trailing-comma", "a comma behind the last field", false, `],"format"`, `,],"format"`)
	change("field-twice", "a field twice", false, `"/child/sex","salt"`, `"/child/name","salt"`)
	change("pointer", "a pointer that is none", true, `"/child/sex","salt"`, `"child/sex","salt"`)
	change("clear-of-no-field", "a clear field of no field", false, `"pointer":"/child/bornAt"}`, `"pointer":"/child/bornIn"}`)
	d = sampleDisclosure(tb, []byte{0xfb, 0xff, 0xfe, 0x01})
	good = encoded(tb, d)
	change("base64-url", "the credential in the other alphabet", true, "+//+", "-__-")
	change("base64-padding", "the credential without padding", true, "AQ==", "AQ")
	change("base64-bits", "bits behind the credential", false, "AQ==", "AR==")
	change("base64-line", "a line feed within the credential", true, "+//+", "+//+\\n")
	change("mask-as-number", "mask as a number", true, `"mask":false`, `"mask":0`)
	change("null-number", "number null", true, `"number":"A000000001"`, `"number":null`)
	change("upper-case-literal", "True", false, `"specimen":true`, `"specimen":True`)
	return all
}

func hexOf(salt [16]byte) string {
	const digits = "0123456789abcdef"
	var s []byte
	for _, c := range salt {
		s = append(s, digits[c>>4], digits[c&15])
	}
	return string(s)
}

func TestDisclosureVectors(t *testing.T) {
	if *update {
		writeJSON(t, disclosurePath, makeDisclosures(t))
	}
	count := map[string]int{}
	for _, v := range readDisclosures(t) {
		b, err := base64.StdEncoding.DecodeString(v.File)
		if err != nil {
			t.Fatal(err)
		}
		count[v.Expect]++
		_, err = credential.ParseDisclosure(b)
		if v.Expect == "accepted" && err != nil {
			t.Errorf("%s was refused: %v", v.Name, err)
		}
		if v.Expect == "refused" && !errors.Is(err, credential.ErrDisclosure) {
			t.Errorf("%s was not refused: %s; %v", v.Name, v.Why, err)
		}
	}
	if count["accepted"] < 2 || count["refused"] < 35 {
		t.Errorf("vectors are missing: %v", count)
	}
}

func TestHostileDisclosures(t *testing.T) {
	for name, b := range map[string]string{
		"many fields": `{"clear":[],"credential":"AA==","fields":[` + repeat(`{"pointer":"/a","salt":"00000000000000000000000000000000","value":null},`, 5000),
		"many clear":  `{"clear":[` + repeat(`{"key":"a","mask":false,"pointer":"/a"},`, 5000),
		"huge":        repeat(" ", credential.MaxDisclosure+1),
		"deep":        repeat(`{"clear":[`, 50000),
		"open string": `{"clear":[{"key":"` + repeat(`\"`, 100000),
	} {
		if _, err := credential.ParseDisclosure([]byte(b)); !errors.Is(err, credential.ErrDisclosure) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDisclosure(f *testing.F) {
	seeds := readDisclosures(f)
	if len(seeds) < 37 {
		f.Fatalf("%d seeds: the vectors are missing", len(seeds))
	}
	for _, v := range seeds {
		b, err := base64.StdEncoding.DecodeString(v.File)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	published := schema(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := credential.ParseDisclosure(b)
		if err != nil {
			if !errors.Is(err, credential.ErrDisclosure) {
				t.Fatal(err)
			}
			return
		}
		if again, err := d.Encode(); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("what parses is not encoded to the same bytes: %v", err)
		}
		if err := valid(published, b); err != nil {
			t.Fatalf("what parses breaks the published schema: %v", err)
		}
		if _, err := d.Root(); err != nil {
			t.Fatalf("what parses has no root: %v", err)
		}
	})
}

func BenchmarkParseDisclosure(b *testing.B) {
	d := sampleDisclosure(b, make([]byte, 470))
	for i := range 21 {
		d.Fields = append(d.Fields, credential.Field{Pointer: "/more/" + repeat("x", i+1), Value: "上海市闵行区"})
	}
	file := encoded(b, d)
	b.SetBytes(int64(len(file)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := credential.ParseDisclosure(file); err != nil {
			b.Fatal(err)
		}
	}
}
