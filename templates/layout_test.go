package templates

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/elicence/elicence/licence"
)

const plainColours = "colours: {ink: \"000000\", label: \"000000\", english: \"000000\", line: \"cccccc\", seal: \"ff0000\"}\n"

// A faulty layout is found when the types are loaded, never when a certificate is waiting.
func TestFaultyLayouts(t *testing.T) {
	mark := "      - specimen: {x: 105, y: 150, size: 10}\n"
	head := "format: 1\n" + plainColours
	page := head + "parts:\n  page:\n    signature: {x: 10, y: 10, w: 30, h: 30}\n    elements:\n"
	for name, layout := range map[string]string{
		"not YAML":                   "format: [",
		"another format":             strings.Replace(page+mark, "format: 1", "format: 2", 1),
		"an unknown key":             page + mark + "      - circle: {x: 1}\n",
		"an unknown key inside":      page + mark + "      - text: {x: 1, y: 1, zh: 行, weight: 3}\n",
		"an element of no kind":      page + mark + "      - {}\n",
		"a part without layout":      head + "parts:\n  other:\n    elements:\n" + mark,
		"a layout without part":      page + mark + "  other:\n    elements:\n" + mark,
		"no specimen mark":           page + "      - text: {x: 1, y: 1, zh: 行, size: 9}\n",
		"a missing colour":           strings.Replace(page+mark, "ink", "inc", 1),
		"a colour that is none":      strings.Replace(page+mark, "cccccc", "grey", 1),
		"an unknown colour":          page + mark + "      - text: {x: 1, y: 1, zh: 行, size: 9, colour: mauve}\n",
		"a missing group":            page + mark + "      - use: nothing\n",
		"a group inside itself":      strings.Replace(page+mark+"      - use: a\n", "parts:", "groups: {a: [{use: a}]}\nparts:", 1),
		"no source of a value":       page + mark + "      - value: {x: [1, 9], y: 9}\n",
		"two sources of a value":     page + mark + "      - value: {x: [1, 9], y: 9, from: /r0, value: number}\n",
		"an expression that is none": page + mark + "      - value: {x: [1, 9], y: 9, value: number +}\n",
		"an unknown function":        page + mark + "      - value: {x: [1, 9], y: 9, value: shoeSize(number)}\n",
		"an unknown variable":        page + mark + "      - value: {x: [1, 9], y: 9, value: colour}\n",
		"a box without width":        page + mark + "      - value: {x: [9, 9], y: 9, from: /r0}\n",
		"a label without glyph":      page + mark + "      - text: {x: 1, y: 1, zh: \"\\U0002FFFD\", size: 9}\n",
		"a note that does not fit":   page + mark + "      - note: {x: 1, y: 1, w: 2, zh: 行行, size: 9, leading: 4}\n",
		"two codes":                  page + mark + "      - code: {x: 1, y: 1, size: 30}\n      - code: {x: 1, y: 99, size: 30}\n",
		"two kinds in one entry":     page + mark + "      - {use: a, text: {x: 1, y: 1, zh: 行, size: 9}}\n",
		"a text without size":        page + mark + "      - text: {x: 1, y: 1, zh: 行}\n",
		"an unknown alignment":       page + mark + "      - text: {x: 1, y: 1, zh: 行, size: 9, align: middle}\n",
		"a rectangle of nothing":     page + mark + "      - rect: {x: 1, y: 1, w: 1, h: 1}\n",
		"no place for the signature": head + "parts:\n  page:\n    elements:\n" + mark,
		"a rosette without petals":   page + mark + "      - rosette: {x: 1, y: 1, radius: 9}\n",
	} {
		types := rowsType(2)
		types["rows/layout.yaml"] = &fstest.MapFile{Data: []byte(layout)}
		if _, err := Load(Options{Types: types}); !errors.Is(err, ErrLayout) {
			t.Errorf("%s: %v", name, err)
		} else if !strings.Contains(err.Error(), "rows") {
			t.Errorf("%s: the error does not name the type: %v", name, err)
		}
	}
	if _, err := Load(Options{Types: rowsType(2)}); err != nil {
		t.Errorf("the type that the others are made of: %v", err)
	}
	renamed := rowsType(2)
	for _, f := range []string{"type.yaml", "schema.json", "layout.yaml"} {
		renamed["lines/"+f] = renamed["rows/"+f]
		delete(renamed, "rows/"+f)
	}
	if _, err := Load(Options{Types: renamed}); !errors.Is(err, ErrLayout) {
		t.Errorf("a folder of another name: %v", err)
	}
	faulty := rowsType(2)
	faulty["rows/schema.json"] = &fstest.MapFile{Data: []byte("{")}
	if _, err := Load(Options{Types: faulty}); !errors.Is(err, licence.ErrType) {
		t.Errorf("a faulty schema: %v", err)
	}
	delete(faulty, "rows/schema.json")
	if _, err := Load(Options{Types: faulty}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no schema: %v", err)
	}
}

// A licence type is data: no Go file of the house that draws knows one by name or by field.
func TestNoTypeIsKnownInCode(t *testing.T) {
	folders, err := os.ReadDir("types")
	if err != nil {
		t.Fatal(err)
	}
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range sources {
		if strings.HasSuffix(source, "_test.go") {
			continue
		}
		b, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		words := []string{"/child", "/mother", "/father", "/delivery", "出生医学证明", "生育医学证明", "counterfoil"}
		for _, f := range folders {
			words = append(words, f.Name())
		}
		for _, w := range words {
			if strings.Contains(string(b), w) {
				t.Errorf("%s knows %s", source, w)
			}
		}
	}
	if len(folders) < 2 || len(sources) < 10 {
		t.Fatalf("%d types, %d sources", len(folders), len(sources))
	}
}

// The fonts may lie in a folder of one's own; a damaged one is an error that names the file, not a missing character.
func TestFontFolders(t *testing.T) {
	rare := with(t, births(t)[0], "/child/name", "曹𠮷")
	own := t.TempDir()
	for _, f := range fallbackFiles {
		if err := os.Symlink(filepath.Join(fallbackDir, f), filepath.Join(own, f)); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Load(Options{FontDirs: []string{filepath.Join(own, "missing"), own}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CheckGlyphs("birth-certificate", rare, testIssuer); err != nil {
		t.Error(err)
	}
	damaged := t.TempDir()
	if err := os.WriteFile(filepath.Join(damaged, fallbackFiles[0]), []byte("not a font"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err = Load(Options{FontDirs: []string{damaged}}); err != nil {
		t.Fatal(err)
	}
	if err := s.CheckGlyphs("birth-certificate", births(t)[0], testIssuer); err != nil {
		t.Errorf("a birth without rare characters needs no fallback: %v", err)
	}
	var missing *MissingGlyph
	if err := s.CheckGlyphs("birth-certificate", rare, testIssuer); err == nil || errors.As(err, &missing) || !strings.Contains(err.Error(), fallbackFiles[0]) {
		t.Errorf("a damaged fallback font: %v", err)
	}
	// Without the fallback fonts the rare character is refused, and only it.
	alone := &Set{family: newFamily(nil), codes: s.codes, types: s.types}
	for i := range fallbackFiles {
		alone.family.faces[fallbackA+i].load = noFont
	}
	if err := alone.CheckGlyphs("birth-certificate", rare); !errors.As(err, &missing) || missing.Rune != '𠮷' || missing.Pointer != "/child/name" {
		t.Errorf("no fallback font: %v", err)
	}
}
