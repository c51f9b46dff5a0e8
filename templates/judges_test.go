package templates

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// everyKind is one file of each page that the program draws, specimens and production, with characters of every font.
func everyKind(t *testing.T) map[string][]byte {
	rare := partOf(births(t)[0], "main")
	rare.Document = with(t, with(t, rare.Document, "/child/name", "曹𬭎䶮𠮷"), "/father/name", "𬸚𩽾㛃〇")
	out := map[string][]byte{}
	for _, specimen := range []bool{true, false} {
		name := map[bool]string{true: "specimen", false: "production"}[specimen]
		for _, p := range []Part{rare, partOf(births(t)[192], "counterfoil"), childbirth(t)} {
			p.Specimen = specimen
			out[name+" "+p.Type+" "+p.Part] = rendered(t, p).File
		}
		rare.Specimen = specimen
		slip, err := loaded(t).Slip(rare)
		if err != nil {
			t.Fatal(err)
		}
		out[name+" slip"] = slip
	}
	return out
}

func TestQPDFFindsNoFault(t *testing.T) {
	for name, b := range everyKind(t) {
		if out := run(t, "qpdf", "--check", stored(t, b)); !strings.Contains(out, "No syntax or stream encoding errors found") {
			t.Errorf("%s: %s", name, out)
		}
	}
}

// ISO 19005-3 6.2.11.4 and 6.2.11.7: every font is embedded, cut, and says which characters it shows.
func TestEveryFontIsEmbedded(t *testing.T) {
	for name, b := range everyKind(t) {
		lines := strings.Split(strings.TrimSpace(run(t, "pdffonts", stored(t, b))), "\n")[2:]
		if len(lines) < 2 {
			t.Errorf("%s: only %d fonts", name, len(lines))
		}
		for _, l := range lines {
			if !regexp.MustCompile(`^[A-Z]{6}\+\S+\s+CID TrueType\s+Identity-H\s+yes yes yes\s`).MatchString(l) {
				t.Errorf("%s: %s", name, l)
			}
		}
		if strings.Contains(name, "main") && !strings.Contains(strings.Join(lines, "\n"), "HanaMin") {
			t.Errorf("%s: no fallback font, although the name needs one", name)
		}
	}
}

// PDFBox knows PDF/A-1b, the strictest level for what we write. What it may complain about is what PDF/A-3u allows beyond
// it: the embedded file, the part number, the conformance letter.
func TestPreflight(t *testing.T) {
	classes := t.TempDir()
	run(t, "javac", "-d", classes, filepath.Join("testdata", "preflight", "DatatypeConverter.java"))
	path := []string{classes}
	for _, jar := range []string{"preflight", "pdfbox2", "fontbox2", "xmpbox", "commons-logging", "javax.activation"} {
		path = append(path, "/usr/share/java/"+jar+".jar")
	}
	allowed := []string{"1.4.7", "1.2.9", "7.11.1", "7.11.2"}
	for name, b := range everyKind(t) {
		if strings.HasPrefix(name, "production") && !strings.Contains(name, "main") {
			continue // differs from the specimen only in what is left out
		}
		out := complaints(t, "java", "-XX:TieredStopAtLevel=1", "-cp", strings.Join(path, ":"), "org.apache.pdfbox.preflight.Validator_A1b", stored(t, b))
		codes := 0
		for _, l := range strings.Split(strings.TrimSpace(out), "\n")[1:] {
			code, _, _ := strings.Cut(l, " ")
			codes++
			if !slices.Contains(allowed, code) || strings.Contains(name, "slip") && !strings.HasPrefix(code, "7.11") {
				t.Errorf("%s: %s", name, l)
			}
		}
		if codes < 2 {
			t.Errorf("%s: preflight should at least see that this is no PDF/A-1b: %s", name, out)
		}
	}
}

// Another program than poppler must be able to draw the pages, too.
func TestMuPDFDraws(t *testing.T) {
	for name, b := range everyKind(t) {
		out := filepath.Join(t.TempDir(), "page.png")
		if said := run(t, "mutool", "draw", "-q", "-r", "50", "-o", out, stored(t, b)); strings.Contains(said, "error") || strings.Contains(said, "warning") {
			t.Errorf("%s: %s", name, said)
		}
		if info, err := os.Stat(out); err != nil || info.Size() < 5000 {
			t.Errorf("%s: nothing drawn", name)
		}
	}
}
