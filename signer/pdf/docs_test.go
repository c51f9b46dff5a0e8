package pdf_test

import (
	"bytes"
	"encoding/asn1"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/emmansun/gmsm/sm3"

	"github.com/elicence/elicence/signer/cms"
	"github.com/elicence/elicence/signer/credential"
	"github.com/elicence/elicence/signer/pdf"
	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/signertest"
)

var partDocument = filepath.Join("..", "..", "docs", "formats", "part.md")

// block returns what stands in the code block behind a mark in the document.
func block(tb testing.TB, document, name string) string {
	tb.Helper()
	b, err := os.ReadFile(document)
	if err != nil {
		tb.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(b), "<!-- worked: "+name+" -->\n```text\n")
	text, _, end := strings.Cut(rest, "```\n")
	if !ok || !end {
		tb.Fatalf("%s has no block %s", document, name)
	}
	return text
}

// hold compares a block with what it must say, or writes it anew.
func hold(tb testing.TB, document, name, want string) {
	tb.Helper()
	old := block(tb, document, name)
	if old == want {
		return
	}
	if !*update {
		tb.Errorf("%s, block %s says\n%s\nand must say\n%s", document, name, old, want)
		return
	}
	b, err := os.ReadFile(document)
	if err != nil {
		tb.Fatal(err)
	}
	mark := "<!-- worked: " + name + " -->\n```text\n"
	if err := os.WriteFile(document, bytes.Replace(b, []byte(mark+old), []byte(mark+want), 1), 0o644); err != nil {
		tb.Fatal(err)
	}
}

var places = strings.NewReplacer(
	"‹ref›", `\d+ 0 R`, "‹refs›", `\d+ 0 R( \d+ 0 R)*`, "‹n›", `(0|[1-9]\d*)`, "‹i›", `(0|-?[1-9]\d*)`, "‹x›", `(0|[1-9]\d*)(\.\d{0,2}[1-9])?`,
	"‹name›", `[A-Z]{6}\+[A-Za-z0-9-]+`, "‹text›", `<FEFF[0-9A-F]+>`, "‹date›", `\(D:\d{14}\+08'00'\)`, "‹fonts›", `(/F[1-9] \d+ 0 R)+`,
	"‹code›", `(/XObject<</Q \d+ 0 R>>)?`, "‹widths›", `(\d+\[\d+( \d+)*\])*`, "‹ranges›", `0 \d+ \d+ \d+ *`, "‹hex›", `[0-9a-f]+`,
	"‹stream›", `(/Filter/FlateDecode)?/Length \d+>>\nstream\n(?s:.*)\nendstream`, "⏎", `\n`,
)

// pattern makes a regular expression of a text with places.
func pattern(text string) *regexp.Regexp {
	parts := regexp.MustCompile(`‹[a-z]+›|⏎`).FindAllString(text, -1)
	plain := regexp.MustCompile(`‹[a-z]+›|⏎`).Split(text, -1)
	var b strings.Builder
	for i, p := range plain {
		b.WriteString(regexp.QuoteMeta(p))
		if i < len(parts) {
			b.WriteString(places.Replace(parts[i]))
		}
	}
	return regexp.MustCompile(`^` + b.String() + `$`)
}

// TestDocumentedForm holds docs/formats/part.md to a real file: every object of it has a form of the page, the metadata
// are the text of the page, and the worked bytes are its bytes.
func TestDocumentedForm(t *testing.T) {
	base, _ := readVectors(t)
	forms := map[string]*regexp.Regexp{}
	role, form := "", ""
	for line := range strings.Lines(block(t, partDocument, "objects") + "end\n") {
		if line[0] != ' ' {
			if role != "" {
				forms[role] = pattern(form)
			}
			role, form = strings.TrimSpace(line), ""
			continue
		}
		form += strings.TrimSpace(line)
	}
	w := takeApart(t, made{file: base, chain: signertest.NewChain(t, "样例")})
	found := map[string]int{}
	for i, o := range w.objects {
		body := strings.TrimSuffix(strings.TrimPrefix(o, fmt.Sprintf("%d 0 obj\n", i+1)), "\nendobj\n")
		matched := ""
		for role, form := range forms {
			if !form.MatchString(body) {
				continue
			}
			// Page content, ToUnicode and CIDSet have one form; how they are reached tells them apart.
			if matched != "" && forms[matched].String() != form.String() {
				t.Errorf("object %d has the forms of %s and %s", i+1, matched, role)
			}
			matched = role
		}
		if matched == "" {
			t.Errorf("object %d has no form of the page: %.200q", i+1, body)
		}
		found[matched]++
	}
	for role := range forms {
		if found[role] == 0 && role != "page content" && role != "ToUnicode, CIDSet" {
			t.Errorf("no object of the file has the form of %s", role)
		}
	}

	metadata := regexp.QuoteMeta(strings.NewReplacer("\n", "", "⏎", "\n").Replace(block(t, partDocument, "metadata")))
	metadata = strings.ReplaceAll(metadata, "‹EF BB BF›", "\ufeff")
	metadata = strings.ReplaceAll(metadata, "‹date›", `\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\+08:00`)
	metadata = regexp.MustCompile(`‹xml: [a-z ]+›`).ReplaceAllString(metadata, `[^<>]+`)
	if !regexp.MustCompile(`>>\nstream\n` + metadata + `\nendstream`).MatchString(w.objects[w.find(metadataWord)-1]) {
		t.Error("the metadata are not the text of the page")
	}
	hold(t, partDocument, "small", worked(t, base))
}

// worked tells the accepted vector.
func worked(tb testing.TB, file []byte) string {
	tb.Helper()
	d, err := pdf.Read(file)
	if err != nil {
		tb.Fatal(err)
	}
	s, err := cms.Parse(d.CMS)
	if err != nil {
		tb.Fatal(err)
	}
	l, err := credential.ParseDisclosure(d.LicenceJSON)
	if err != nil {
		tb.Fatal(err)
	}
	sum := sm3.Sum(file)
	commitment := credential.PartCommitment(l.PartSalt, sum, l.Identifier, l.Part)
	from := bytes.LastIndex(file, []byte("/Contents<")) + len("/Contents")
	to := from + 2 + 2*d.Room
	var b strings.Builder
	line := func(what, format string, a ...any) { fmt.Fprintf(&b, "%-22s%s\n", what, fmt.Sprintf(format, a...)) }
	line("length", "%d bytes", len(file))
	line("SM3 of the file", "%x", sum)
	line("ByteRange", "%s", byteRange.Find(file))
	line("Contents", "offset %d, %d bytes: room for %d, CMS of %d", from, to-from, d.Room, len(d.CMS))
	line("digest", "%x", d.Digest)
	line("part, identifier", "%s, %s", d.Part, d.Identifier)
	line("commitment", "%x", commitment)
	b.WriteString("\nthe CMS, offset, element\n")
	tellDER(tb, &b, d.CMS, 0, 0)
	b.WriteString("\nthe signed message\n")
	for rest := s.Attributes; len(rest) > 0; {
		n := min(48, len(rest))
		fmt.Fprintf(&b, "%x\n", rest[:n])
		rest = rest[n:]
	}
	line("\nr", "%x", s.RS[:32])
	line("s", "%x", s.RS[32:])
	spki, err := pki.MarshalPublicKey(s.Path[0].PublicKey()) // it ends with x and y
	if err != nil {
		tb.Fatal(err)
	}
	line("public key, x", "%x", spki[len(spki)-64:len(spki)-32])
	line("public key, y", "%x", spki[len(spki)-32:])
	fmt.Fprintf(&b, "\nlicence.json\n%s\n", d.LicenceJSON)
	return b.String()
}

// tellDER lists elements; certificates, names and long values are not gone into.
func tellDER(tb testing.TB, b *strings.Builder, der []byte, at, depth int) {
	tb.Helper()
	names := map[string]string{
		"1.2.840.113549.1.7.1": "data", "1.2.840.113549.1.7.2": "signedData", "1.2.156.10197.1.401": "SM3", "1.2.156.10197.1.501": "SM2 with SM3",
		"1.2.840.113549.1.9.3": "contentType", "1.2.840.113549.1.9.4": "messageDigest", "1.2.840.113549.1.9.5": "signingTime",
		"1.2.840.113549.1.9.16.2.47": "signingCertificateV2",
	}
	for len(der) > 0 {
		var v asn1.RawValue
		rest, err := asn1.Unmarshal(der, &v)
		if err != nil {
			tb.Fatal(err)
		}
		head := len(v.FullBytes) - len(v.Bytes)
		fmt.Fprintf(b, "%5d %s%x", at, strings.Repeat("  ", depth), v.FullBytes[:head])
		var id asn1.ObjectIdentifier
		switch {
		case v.Class == asn1.ClassUniversal && v.Tag == asn1.TagOID:
			if _, err := asn1.Unmarshal(v.FullBytes, &id); err != nil {
				tb.Fatal(err)
			}
			fmt.Fprintf(b, " %x  %s\n", v.Bytes, names[id.String()])
		case !v.IsCompound && v.Tag == asn1.TagUTCTime:
			fmt.Fprintf(b, " %x  %s\n", v.Bytes, v.Bytes)
		case !v.IsCompound && len(v.Bytes) > 40:
			fmt.Fprintf(b, " %x…\n", v.Bytes[:16])
		case !v.IsCompound:
			fmt.Fprintf(b, " %x\n", v.Bytes)
		case depth == 4 && len(v.Bytes) > 300 && v.Tag == asn1.TagSequence && der[head] == 0x30:
			fmt.Fprintf(b, " …  a certificate\n")
		case depth == 6 && v.Tag == asn1.TagSequence && v.Bytes[0] == 0x31:
			fmt.Fprintf(b, " …  name of the issuer\n")
		default:
			b.WriteString("\n")
			tellDER(tb, b, v.Bytes, at+head, depth+1)
		}
		at += len(v.FullBytes)
		der = rest
	}
}
