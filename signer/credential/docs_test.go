package credential_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emmansun/gmsm/sm3"
	"github.com/fxamacker/cbor/v2"

	"github.com/elicence/elicence/signer/cose"
	"github.com/elicence/elicence/signer/credential"
	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
)

var document = filepath.Join("..", "..", "docs", "formats", "credential.md")

// hold compares a code block of the document with what it must say, or writes it anew.
func hold(tb testing.TB, name, want string) {
	tb.Helper()
	b, err := os.ReadFile(document)
	if err != nil {
		tb.Fatal(err)
	}
	mark := "<!-- worked: " + name + " -->\n```text\n"
	before, rest, ok := strings.Cut(string(b), mark)
	old, after, end := strings.Cut(rest, "```\n")
	switch {
	case !ok || !end:
		tb.Fatalf("%s has no block %s", document, name)
	case old == want:
	case *update:
		if err := os.WriteFile(document, []byte(before+mark+want+"```\n"+after), 0o644); err != nil {
			tb.Fatal(err)
		}
	default:
		tb.Errorf("%s, block %s says\n%s\nand must say\n%s", document, name, old, want)
	}
}

func wrap(b *strings.Builder, s string, width int) {
	for len(s) > 0 {
		n := min(width, len(s))
		b.WriteString(s[:n] + "\n")
		s = s[n:]
	}
}

func TestDocumentedBytes(t *testing.T) {
	f := readVectors(t)
	if f.Vectors[0].Expect != "accepted" {
		t.Fatal("the first vector is not accepted")
	}
	text := f.Vectors[0].Text
	raw, err := credential.DecodeText(text)
	if err != nil {
		t.Fatal(err)
	}
	m, err := cose.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := pki.ParseCertificate(f.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("text\n")
	wrap(&b, text, 110)
	fmt.Fprintf(&b, "\n%d bytes\n", len(raw))
	wrap(&b, hex.EncodeToString(raw), 110)
	message := m.ToBeSigned(purpose.AADCredential)
	// Sig_structure is ["Signature1", protected, aad, payload]; read back by another decoder.
	var parts []any
	if err := cbor.Unmarshal(message, &parts); err != nil {
		t.Fatal(err)
	}
	protected, _ := parts[1].([]byte)
	for what, item := range map[string][]byte{"protected": protected, "payload": m.Payload} {
		if !bytes.Contains(raw, item) {
			t.Errorf("%s is not in the message", what)
		}
	}
	for _, item := range []struct {
		what string
		cbor []byte
	}{{"protected header", protected}, {"payload", m.Payload}} {
		told, err := cbor.Diagnose(item.cbor)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "\n%s, in diagnostic notation\n", item.what)
		line := ""
		for word := range strings.SplitSeq(told, ", ") {
			if line != "" && len(line)+len(word) > 100 {
				b.WriteString(line + ",\n")
				line = "  " + word
				continue
			}
			if line != "" {
				line += ", "
			}
			line += word
		}
		b.WriteString(line + "\n")
	}
	fmt.Fprintf(&b, "\nSM3 of the signed message  %x, %d bytes\n", sm3.Sum(message), len(message))
	fmt.Fprintf(&b, "r                          %x\ns                          %x\n", m.Signature[:32], m.Signature[32:])
	spki, err := pki.MarshalPublicKey(cert.PublicKey()) // it ends with x and y
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&b, "public key, x              %x\npublic key, y              %x\n", spki[len(spki)-64:len(spki)-32], spki[len(spki)-32:])
	hold(t, "credential", b.String())

	b.Reset()
	fields := sampleFields()
	fmt.Fprintf(&b, "seed  %x\n", seed)
	for _, f := range fields {
		leaf, err := credential.LeafBytes(1, f)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "\n%s  salt %x\n", f.Pointer, f.Salt)
		wrap(&b, "  CBOR "+hex.EncodeToString(leaf), 110)
		fmt.Fprintf(&b, "  leaf %x\n", sm3.Sum(append([]byte{0}, leaf...)))
	}
	root, err := credential.Root(1, fields)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&b, "\nroot  %x\n", root)
	hold(t, "tree", b.String())

	page, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	for _, constant := range []string{credential.Type, hex.EncodeToString([]byte(purpose.AADCredential)), fmt.Sprint(credential.MaxSize),
		fmt.Sprint(credential.MaxText20L), fmt.Sprint(credential.MaxFields), "elicence/salt/1", "elicence/field/1"} {
		if !bytes.Contains(page, []byte(constant)) {
			t.Errorf("the page does not say %s", constant)
		}
	}
	if cose.Algorithm != -65537 {
		t.Error("the page tells another algorithm")
	}
}
