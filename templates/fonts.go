package templates

import (
	_ "embed" // the fonts
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/elicence/elicence/templates/truetype"
)

//go:embed fonts/NotoSerifSC_400Regular.ttf
var regularTTF []byte

//go:embed fonts/NotoSerifSC_700Bold.ttf
var boldTTF []byte

// The fallback fonts hold the rare characters that Noto Serif SC lacks. Their shapes are Japanese: they come last.
var fallbackFiles = [...]string{"HanaMinA.ttf", "HanaMinB.ttf"}

const (
	fallbackPackage = "fonts-hanazono" // Debian
	fallbackDir     = "/usr/share/fonts/truetype/hanazono"
)

// A face is one font of the family, parsed when it is first needed.
type face struct {
	name string // PostScript name
	load func() (*truetype.Font, error)
}

// Faces by index. The fallback serves both weights.
const (
	regular = iota
	bold
	fallbackA
	fallbackB
	faceCount
)

// family is the fonts of one Set.
type family struct{ faces [faceCount]face }

func newFamily(dirs []string) *family {
	embedded := func(b []byte) func() (*truetype.Font, error) {
		return sync.OnceValues(func() (*truetype.Font, error) { return truetype.ParseBytes(b) })
	}
	fam := &family{}
	fam.faces[regular] = face{staticFontFaces[regular], embedded(regularTTF)}
	fam.faces[bold] = face{staticFontFaces[bold], embedded(boldTTF)}
	dirs = append(append([]string(nil), dirs...), fallbackDir)
	for i, file := range fallbackFiles {
		name := file[:len(file)-len(filepath.Ext(file))]
		fam.faces[fallbackA+i] = face{name, sync.OnceValues(func() (*truetype.Font, error) { return openFont(dirs, file) })}
	}
	return fam
}

// openFont returns nil without an error if no folder has the file: that is only a fault when a character needs it. The
// file stays open for as long as the process lives; outlines are read from it, not kept in memory.
func openFont(dirs []string, file string) (*truetype.Font, error) {
	for _, dir := range dirs {
		f, err := os.Open(filepath.Join(dir, file))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("templates: %w", err)
		}
		info, err := f.Stat()
		if err == nil {
			var font *truetype.Font
			if font, err = truetype.Parse(f, info.Size()); err == nil {
				return font, nil
			}
		}
		return nil, errors.Join(fmt.Errorf("templates: font %s: %w", file, err), f.Close())
	}
	return nil, nil
}

// find returns the face that draws a character in a weight (regular or bold): the weight itself, else a fallback.
// It returns nil if none has it.
func (fam *family) find(weight int, r rune) (int, *truetype.Font, error) {
	for _, i := range [...]int{weight, fallbackA, fallbackB} {
		font, err := fam.faces[i].load()
		if err != nil {
			return 0, nil, err
		}
		if font != nil && font.Glyph(r) != 0 {
			return i, font, nil
		}
	}
	return 0, nil, nil
}

// MissingGlyph says that no font at hand can draw a character: the licence must not be issued before one can.
type MissingGlyph struct {
	Rune    rune
	Pointer string // JSON pointer of the field, or the name of the value that is printed
	Package string // Debian package that has glyphs for rare characters
}

// Error names character, code point, field and what to install.
func (e *MissingGlyph) Error() string {
	return fmt.Sprintf("字符 %c (U+%04X)（字段 %s）没有可用的字形，请安装字体包 %s / no font has a glyph for character %c (U+%04X) in %s: install the package %s",
		e.Rune, e.Rune, e.Pointer, e.Package, e.Rune, e.Rune, e.Pointer, e.Package)
}
