package credential_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"rsc.io/qr"
	"rsc.io/qr/coding"

	"github.com/elicence/elicence/signer/cose"
	"github.com/elicence/elicence/signer/credential"
	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
	"github.com/elicence/elicence/signer/signertest"
)

var update = flag.Bool("update", false, "write the vectors and worked bytes anew")

// judge is what a reader does with a code whose certificate it has.
func judge(text string, cert *pki.Certificate) error {
	b, err := credential.DecodeText(text)
	if err != nil {
		return err
	}
	c, err := credential.Parse(b)
	if err != nil {
		return err
	}
	return c.Verify(cert)
}

func TestWhatWasSignedIsRead(t *testing.T) {
	chain := signertest.NewChain(t, "样例")
	p := samplePayload(t)
	text := credential.EncodeText(signed(t, chain, p))
	if err := judge(text, chain.Leaf); err != nil {
		t.Fatal(err)
	}
	b, err := credential.DecodeText(text)
	if err != nil {
		t.Fatal(err)
	}
	c, err := credential.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(c.Payload, p) || c.Certificate != chain.Leaf.SM3() {
		t.Errorf("read %+v", c.Payload)
	}
	if err := c.Verify(signertest.NewChain(t, "别家").Leaf); !errors.Is(err, credential.ErrCertificate) {
		t.Errorf("under another certificate: %v", err)
	}
}

func TestSizeIsToldBeforehand(t *testing.T) {
	chain := signertest.NewChain(t, "样例")
	for _, name := range []string{"曹宸书", repeat("名", 50), repeat("x", 16), repeat("x", 17), repeat("x", 30)} {
		p := samplePayload(t)
		p.Clear[0].Value = name
		want, err := p.Size()
		if err != nil {
			t.Fatal(err)
		}
		if got := len(signed(t, chain, p)); got != want {
			t.Errorf("%d bytes were told, %d came", want, got)
		}
	}
}

// version is the smallest QR code that holds a text.
func version(text string, level coding.Level) coding.Version {
	for v := coding.Version(1); v <= 40; v++ {
		if coding.Alpha(text).Bits(v) <= v.DataBytes(level)*8 {
			return v
		}
	}
	return 41
}

func TestCodesStaySmall(t *testing.T) {
	chain := signertest.NewChain(t, "样例")
	p := samplePayload(t)
	p.Clear[3].Value = "吉𠮷" // a usual name
	text := credential.EncodeText(signed(t, chain, p))
	if v := version(text, coding.M); v > 17 {
		t.Errorf("a usual credential of %d characters takes version %d at M", len(text), v)
	}
	// Two names of 50 characters of three bytes each, as the names of many peoples of China are written.
	p.Clear[0].Value, p.Clear[3].Value = repeat("阿", 50), repeat("依", 50)
	p.Clear[1].Value = "undetermined"
	p.StatusIndex = 1<<32 - 1
	text = credential.EncodeText(signed(t, chain, p))
	if v := version(text, coding.L); v > 20 {
		t.Errorf("the longest names take version %d at L", v)
	}
	longest := credential.EncodeText(bytes.Repeat([]byte{0xff}, credential.MaxSize))
	if len(longest) != credential.MaxText20L || version(longest, coding.L) != 20 || version(longest+"0", coding.L) != 21 {
		t.Errorf("MaxSize is not what version 20 at L holds: %d characters", len(longest))
	}
	if coding.Alpha(longest).Check() != nil {
		t.Error("the text is not alphanumeric for a QR code")
	}
	if _, err := qr.Encode(text, qr.L); err != nil {
		t.Error(err)
	}
}

func TestPayloadsThatNoCodeCanHold(t *testing.T) {
	chain := signertest.NewChain(t, "样例")
	for name, c := range map[string]struct {
		change func(p *credential.Payload)
		want   error
	}{
		"a name of 51 characters": {func(p *credential.Payload) { p.Clear[0].Value = repeat("名", 51) }, credential.ErrPayload},
		"two names of rare characters": {func(p *credential.Payload) {
			p.Clear[0].Value, p.Clear[3].Value = repeat("𠮷", 50), repeat("𠮷", 50)
		}, credential.ErrTooLong},
		"no identifier":             {func(p *credential.Payload) { p.Identifier = "" }, credential.ErrPayload},
		"a space in the number":     {func(p *credential.Payload) { p.Number = "A 00000001" }, credential.ErrPayload},
		"Chinese in the type":       {func(p *credential.Payload) { p.Type = "出生" }, credential.ErrPayload},
		"no part":                   {func(p *credential.Payload) { p.Parts = 0 }, credential.ErrPayload},
		"too many parts":            {func(p *credential.Payload) { p.Parts = 17 }, credential.ErrPayload},
		"a date that is none":       {func(p *credential.Payload) { p.IssueDate = "2026-02-29" }, credential.ErrPayload},
		"a date of another form":    {func(p *credential.Payload) { p.IssueDate = "20261014" }, credential.ErrPayload},
		"no tree":                   {func(p *credential.Payload) { p.TreeSize = 0 }, credential.ErrPayload},
		"a status index too great":  {func(p *credential.Payload) { p.StatusIndex = 1 << 32 }, credential.ErrPayload},
		"a key twice":               {func(p *credential.Payload) { p.Clear[1].Key = p.Clear[0].Key }, credential.ErrPayload},
		"a float":                   {func(p *credential.Payload) { p.Clear[1].Value = 1.5 }, credential.ErrPayload},
		"an int of another Go type": {func(p *credential.Payload) { p.Clear[1].Value = 1 }, credential.ErrPayload},
		"an integer too great":      {func(p *credential.Payload) { p.Clear[1].Value = int64(1) << 53 }, credential.ErrPayload},
		"broken UTF-8":              {func(p *credential.Payload) { p.Clear[1].Value = "\xff" }, credential.ErrPayload},
		"a line feed in a name":     {func(p *credential.Payload) { p.Clear[0].Value = "a\nb" }, credential.ErrPayload},
	} {
		p := samplePayload(t)
		p.Clear = slices.Clone(p.Clear)
		c.change(&p)
		if _, err := p.Size(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		// The key must not be touched: a nil key would panic.
		if _, err := credential.Sign(context.Background(), nil, chain.Leaf, p); !errors.Is(err, c.want) {
			t.Errorf("%s: signing says %v", name, err)
		}
	}
}

func TestNoErrorTellsAValue(t *testing.T) {
	p := samplePayload(t)
	secret := repeat("隐", 51)
	p.Clear[0].Value = secret
	if _, err := p.Size(); err == nil || strings.Contains(err.Error(), "隐") {
		t.Error(err)
	}
	d := sampleDisclosure(t, []byte{1})
	d.Fields[0].Value = "隐\xff"
	if _, err := d.Encode(); err == nil || strings.Contains(err.Error(), "隐") {
		t.Error(err)
	}
}

func TestEveryByteCounts(t *testing.T) {
	chain := signertest.NewChain(t, "样例")
	good := signed(t, chain, samplePayload(t))
	b := slices.Clone(good)
	for i := range b {
		for bit := range 8 {
			b[i] = good[i] ^ 1<<bit
			if judge(credential.EncodeText(b), chain.Leaf) == nil {
				t.Errorf("byte %d, bit %d changed, and nobody saw", i, bit)
			}
		}
		b[i] = good[i]
	}
	text := []byte(credential.EncodeText(good))
	for i := range text {
		was := text[i]
		for _, c := range "0A:$ z" {
			if text[i] = byte(c); byte(c) != was && judge(string(text), chain.Leaf) == nil {
				t.Errorf("character %d changed to %c, and nobody saw", i, c)
			}
		}
		text[i] = was
	}
	for n := range text {
		if judge(string(text[:n]), chain.Leaf) == nil {
			t.Errorf("cut to %d characters, and nobody saw", n)
		}
	}
}

func TestTextIsRFC9285(t *testing.T) {
	for text, want := range map[string]string{"AB": "BB8", "Hello!!": "%69 VD92EX0", "base-45": "UJCLQE7W581", "ietf!": "QED8WEX0"} {
		if got := credential.EncodeText([]byte(text)); got != "ELC1:"+want {
			t.Errorf("%s: %s", text, got)
		}
	}
	for _, text := range []string{"", "ELC1", "ELC1:", "elc1:BB8", "BB8", "ELC2:BB8", "ELC1:BB", "ELC1:B", "ELC1:GGW", "ELC1:::", "ELC1:bb8", "ELC1:BB8\n",
		" ELC1:BB8", "ELC1:BB8B", "ELC1:BB\u0130", "ELC1:" + repeat("BB8", 415)} {
		if b, err := credential.DecodeText(text); !errors.Is(err, credential.ErrText) {
			t.Errorf("%q is read as %x", text, b)
		}
	}
	for text, claims := range map[string]bool{"ELC1:": true, "ELC1:zz": true, "ELC2:BB8": false, "HTTPS://": false, "": false} {
		if credential.ClaimsText(text) != claims {
			t.Errorf("ClaimsText(%q)", text)
		}
	}
}

// vector is one credential text and what must happen to it under the certificate in the same file.
type vector struct {
	Name   string `json:"name"`
	Expect string `json:"expect"` // accepted, refused
	Why    string `json:"why"`
	Text   string `json:"text"`
}

type vectorFile struct {
	Certificate []byte   `json:"certificate"` // DER of the signing certificate
	Vectors     []vector `json:"vectors"`
}

var vectorPath = filepath.Join("..", "..", "testdata", "vectors", "credential", "credential.json")

func readVectors(tb testing.TB) vectorFile {
	tb.Helper()
	b, err := os.ReadFile(vectorPath)
	if err != nil {
		tb.Fatal(err)
	}
	var f vectorFile
	if err := json.Unmarshal(b, &f); err != nil {
		tb.Fatal(err)
	}
	return f
}

func writeJSON(tb testing.TB, path string, v any) {
	tb.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(v); err != nil {
		tb.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		tb.Fatal(err)
	}
}

func makeVectors(tb testing.TB) vectorFile {
	chain := signertest.NewChain(tb, "样例")
	f := vectorFile{Certificate: chain.Leaf.Raw()}
	add := func(name, expect, why string, b []byte) {
		f.Vectors = append(f.Vectors, vector{name, expect, why, credential.EncodeText(b)})
	}
	good := signed(tb, chain, samplePayload(tb))
	add("usual", "accepted", "a birth certificate's", good)
	p := samplePayload(tb)
	p.Clear = nil
	add("nothing-clear", "accepted", "no field in the clear", signed(tb, chain, p))
	p.Clear = []credential.Clear{{Key: "none", Value: nil}, {Key: "yes", Value: true}, {Key: "count", Value: int64(-1)}, {Key: "great", Value: int64(1<<53 - 1)}}
	add("kinds-of-values", "accepted", "absent, bool and whole numbers in the clear", signed(tb, chain, p))

	refuse := func(name, why string, b []byte) { add(name, "refused", why, b) }
	// sign signs any payload under any header: form alone is wrong, the signature is good.
	sign := func(header cose.Protected, aad string, payload []byte) []byte {
		message, err := cose.ToBeSigned(header, aad, payload)
		if err != nil {
			tb.Fatal(err)
		}
		der, err := chain.Key.SignAnything(message)
		if err != nil {
			tb.Fatal(err)
		}
		rs, err := pki.SignatureRS(der)
		if err != nil {
			tb.Fatal(err)
		}
		b, err := cose.Assemble(header, payload, rs)
		if err != nil {
			tb.Fatal(err)
		}
		return b
	}
	header := cose.Protected{Type: credential.Type, Certificate: chain.Leaf.SM3()}
	m, err := cose.Parse(good)
	if err != nil {
		tb.Fatal(err)
	}
	payload := func(name, why string, old, replacement []byte) {
		changed := bytes.Replace(m.Payload, old, replacement, 1)
		if bytes.Equal(changed, m.Payload) {
			tb.Fatalf("%s changes nothing", name)
		}
		refuse(name, why, sign(header, purpose.AADCredential, changed))
	}
	if !bytes.Equal(sign(header, purpose.AADCredential, m.Payload), good) {
		tb.Fatal("the vectors are not signed as credentials are")
	}
	refuse("another-aad", "signed as an event", sign(header, purpose.AADEvent, m.Payload))
	refuse("another-type", "typ of another message", sign(cose.Protected{Type: "elicence-event", Certificate: chain.Leaf.SM3()}, purpose.AADCredential, m.Payload))
	refuse("another-certificate", "names another certificate", sign(cose.Protected{Type: credential.Type, Certificate: chain.Issuing.SM3()}, purpose.AADCredential, m.Payload))
	refuse("trailing-byte", "a byte behind the message", append(slices.Clone(good), 0))
	refuse("untagged", "without the tag 18", good[1:])
	refuse("payload-trailing-byte", "a byte behind the payload", sign(header, purpose.AADCredential, append(slices.Clone(m.Payload), 0)))
	payload("eleven-as-long-form", "a head longer than it needs to be", []byte{0xab}, []byte{0xb8, 11})
	payload("ten-members", "a member less", []byte{0xab}, []byte{0xaa})
	payload("member-twice", "member 1 for member 2", []byte("\x02\x6a"+number), []byte("\x01\x6a"+number))
	payload("members-out-of-order", "member 3 before member 2", []byte("\x02\x6a"+number+"\x03\x71birth-certificate"), []byte("\x03\x71birth-certificate\x02\x6a"+number))
	payload("long-text-head", "the number's length in two bytes", []byte("\x02\x6a"+number), []byte("\x02\x78\x0a"+number))
	payload("bytes-for-text", "the number as a byte string", []byte("\x02\x6a"+number), []byte("\x02\x4a"+number))
	payload("indefinite-text", "the number in pieces", []byte("\x02\x6a"+number), []byte("\x02\x7f\x6a"+number+"\xff"))
	payload("long-integer", "the part count in two bytes", []byte{4, 2, 5}, []byte{4, 0x18, 2, 5})
	payload("no-parts", "no part", []byte{4, 2, 5}, []byte{4, 0, 5})
	payload("date", "a day that is none", []byte("2026-10-14"), []byte("2026-13-14"))
	payload("specimen-as-number", "the specimen mark as a number", []byte{8, 0xf5, 9}, []byte{8, 1, 9})
	payload("specimen-undefined", "the specimen mark undefined", []byte{8, 0xf5, 9}, []byte{8, 0xf7, 9})
	payload("key-without-value", "a clear field without value", []byte{9, 0x8a}, []byte{9, 0x89})
	payload("clear-as-map", "clear fields as a map", []byte{9, 0x8a}, []byte{9, 0xa5})
	payload("clear-key-twice", "a clear field twice", []byte("\x69child.sex"), []byte("\x6achild.name"))
	payload("float", "a value that is a float", []byte("\x66female"), []byte{0xf9, 0x3c, 0x00})
	payload("tagged", "a value under a tag", []byte("\x66female"), []byte("\xc0\x66female"))
	payload("bytes-value", "a value of bytes", []byte("\x66female"), []byte("\x46female"))
	payload("broken-utf8", "a text that is not UTF-8", []byte("\x66female"), []byte("\x66fe\xffale"))
	payload("control", "a text with a line feed", []byte("\x66female"), []byte("\x66fe\nale"))
	payload("long-name", "a name of 51 characters", []byte("\x66female"), append([]byte{0x78, 51}, repeat("f", 51)...))
	payload("short-root", "a root of 31 bytes", []byte{11, 0x58, 32}, []byte{11, 0x58, 31})
	payload("no-leaves", "a field tree without leaves", []byte{10, 9, 11}, []byte{10, 0, 11})
	f.Vectors = append(f.Vectors,
		vector{"empty", "refused", "no text", ""},
		vector{"lower-case", "refused", "the text in lower case", strings.ToLower(credential.EncodeText(good))},
		vector{"a-space-behind", "refused", "a space behind the text", credential.EncodeText(good) + " "},
		vector{"another-prefix", "refused", "another version", "ELC2" + credential.EncodeText(good)[4:]},
		vector{"without-prefix", "refused", "base45 alone", credential.EncodeText(good)[5:]},
	)
	return f
}

func TestVectors(t *testing.T) {
	if *update {
		writeJSON(t, vectorPath, makeVectors(t))
	}
	f := readVectors(t)
	cert, err := pki.ParseCertificate(f.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, v := range f.Vectors {
		count[v.Expect]++
		err := judge(v.Text, cert)
		if v.Expect == "accepted" && err != nil {
			t.Errorf("%s was refused: %v", v.Name, err)
		}
		if v.Expect == "refused" && err == nil {
			t.Errorf("%s was accepted: %s", v.Name, v.Why)
		}
	}
	if count["accepted"] < 3 || count["refused"] < 30 {
		t.Errorf("vectors are missing: %v", count)
	}
}

func FuzzText(f *testing.F) {
	seeds := readVectors(f).Vectors
	if len(seeds) < 33 {
		f.Fatalf("%d seeds: the vectors are missing", len(seeds))
	}
	for _, v := range seeds {
		f.Add(v.Text)
	}
	cert := signertest.NewChain(f, "样例").Leaf
	f.Fuzz(func(t *testing.T, text string) {
		b, err := credential.DecodeText(text)
		if err != nil {
			return
		}
		if credential.EncodeText(b) != text || !credential.ClaimsText(text) {
			t.Fatal("what was read is not encoded to the same text")
		}
		c, err := credential.Parse(b)
		if err != nil {
			if !errors.Is(err, credential.ErrFormat) {
				t.Fatal(err)
			}
			return
		}
		n, err := c.Payload.Size()
		if err != nil || n != len(b) {
			t.Fatalf("%d bytes parse, of which Size says %d, %v", len(b), n, err)
		}
		_ = c.Verify(cert)
	})
}

func BenchmarkParseAndVerify(b *testing.B) {
	chain := signertest.NewChain(b, "样例")
	good := signed(b, chain, samplePayload(b))
	b.ReportAllocs()
	for b.Loop() {
		c, err := credential.Parse(good)
		if err != nil || c.Verify(chain.Leaf) != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	good := signed(b, signertest.NewChain(b, "样例"), samplePayload(b))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := credential.Parse(good); err != nil {
			b.Fatal(err)
		}
	}
}
