package templates

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"codeberg.org/go-pdf/fpdf"

	"github.com/elicence/elicence/templates/truetype"
)

// easel draws what is the same on every part of a kind. It runs once, at Load: fpdf draws, and its page content is taken
// over into our own files. The fonts that fpdf is given are cut beforehand and their characters are named by glyph
// number, so that the content it writes shows the right glyphs of the fonts that we embed ourselves; fpdf's own fonts,
// which know no character above U+FFFF and whose ToUnicode fails PDF/A "u" levels, are thrown away.
type easel struct {
	fam    *family
	pdf    *fpdf.Fpdf
	cuts   [2]*truetype.Subset // regular, bold
	height float64             // of the page, mm
	tone   map[string][3]int
}

// Names of the static fonts in every page's resources.
var staticFontNames = [2]string{"F1", "F2"}

// staticFontFaces are their PostScript names, by weight.
var staticFontFaces = [2]string{"NotoSerifSC-Regular", "NotoSerifSC-Bold"}

func newEasel(fam *family, colours map[string][3]int) (*easel, error) {
	e := &easel{fam: fam, tone: colours}
	for weight := range e.cuts {
		font, err := fam.faces[weight].load()
		if err != nil {
			return nil, err
		}
		e.cuts[weight] = font.NewSubset()
	}
	return e, nil
}

func weightOf(isBold bool) int {
	if isBold {
		return bold
	}
	return regular
}

// prepare takes the characters of a text into the cut of its weight. It must be called for all texts before open.
func (e *easel) prepare(text string, weight int) error {
	for _, r := range text {
		if _, ok := e.cuts[weight].Use(r); !ok {
			return fmt.Errorf("%w: %s has no glyph for %c (U+%04X)", ErrLayout, e.fam.faces[weight].name, r, r)
		}
	}
	return nil
}

// open starts the page, in millimetres.
func (e *easel) open(width, height float64) error {
	e.height = height
	e.pdf = fpdf.NewCustom(&fpdf.InitType{UnitStr: "mm", Size: fpdf.SizeType{Wd: width, Ht: height}})
	e.pdf.SetAutoPageBreak(false, 0)
	e.pdf.SetCompression(false)
	e.pdf.SetCatalogSort(true)
	e.pdf.SetCreationDate(time.Unix(0, 0).UTC())
	e.pdf.SetModificationDate(time.Unix(0, 0).UTC())
	for weight, cut := range e.cuts {
		file, err := cut.Append(nil, true)
		if err != nil {
			return err
		}
		e.pdf.AddUTF8FontFromBytes(staticFontNames[weight], "", file)
	}
	e.pdf.AddPage()
	for _, name := range staticFontNames {
		e.pdf.SetFont(name, "", 1)
	}
	return e.pdf.Error()
}

// glyphs is the text as fpdf shall see it: each character stands for the glyph of its number.
func (e *easel) glyphs(text string, weight int) string {
	out := make([]rune, 0, len(text))
	for _, r := range text {
		n, _ := e.cuts[weight].Has(r)
		out = append(out, rune(n))
	}
	return string(out)
}

// width of a text in millimetres.
func (e *easel) width(text string, weight int, size, space float64) float64 {
	total, count := 0, 0
	font := e.cuts[weight].Font()
	for _, r := range text {
		total += font.Advance(font.Glyph(r))
		count++
	}
	return float64(total)*size/1000/mm + space*float64(max(0, count-1))
}

func (e *easel) stroke(colour string, width float64) {
	c := e.tone[colour]
	e.pdf.SetDrawColor(c[0], c[1], c[2])
	e.pdf.SetLineWidth(width)
}

func (e *easel) fill(colour string) {
	c := e.tone[colour]
	e.pdf.SetFillColor(c[0], c[1], c[2])
}

// text writes one line; align says what x is: left, centre or right of it.
func (e *easel) text(x, y float64, text string, weight int, size, space float64, align, colour string) {
	if text == "" {
		return
	}
	switch align {
	case "centre":
		x -= e.width(text, weight, size, space) / 2
	case "right":
		x -= e.width(text, weight, size, space)
	}
	c := e.tone[colour]
	e.pdf.SetTextColor(c[0], c[1], c[2])
	e.pdf.SetFont(staticFontNames[weight], "", size)
	if space != 0 {
		e.pdf.RawWriteStr(string(append(appendNumber(nil, space*mm), " Tc"...)))
	}
	e.pdf.Text(x, y, e.glyphs(text, weight))
	if space != 0 {
		e.pdf.RawWriteStr("0 Tc")
	}
}

var (
	contentsEntry = regexp.MustCompile(`/Contents (\d+) 0 R`)
	fontName      = regexp.MustCompile(`/F[0-9a-f]{40} `)
)

// close ends the page and returns its content, which leaves the graphics state as it was.
func (e *easel) close() ([]byte, error) {
	var out bytes.Buffer
	if err := e.pdf.Output(&out); err != nil {
		return nil, fmt.Errorf("templates: static page: %w", err)
	}
	file := out.Bytes()
	page := contentsEntry.FindSubmatch(file)
	if page == nil {
		return nil, fmt.Errorf("%w: fpdf wrote no page", ErrLayout)
	}
	content, err := plainStream(file, string(page[1]))
	if err != nil {
		return nil, err
	}
	// fpdf names a font by a digest of its metrics; open has set both, in order.
	names := fontName.FindAll(content, 2)
	if len(names) != 2 || bytes.Equal(names[0], names[1]) {
		return nil, fmt.Errorf("%w: fpdf named its fonts in a way that is not known", ErrLayout)
	}
	for weight, name := range [][]byte{bytes.Clone(names[0]), bytes.Clone(names[1])} {
		content = bytes.ReplaceAll(content, name, []byte("/"+staticFontNames[weight]+" "))
	}
	return append(append([]byte("q\n"), tidy(content)...), "Q\n"...), nil
}

// plainStream returns the bytes of an uncompressed stream object of fpdf's.
func plainStream(file []byte, number string) ([]byte, error) {
	_, rest, ok := bytes.Cut(file, []byte("\n"+number+" 0 obj\n"))
	if !ok {
		return nil, fmt.Errorf("%w: fpdf wrote no page content", ErrLayout)
	}
	head, body, ok := bytes.Cut(rest, []byte("stream\n"))
	if !ok || len(head) > 64 {
		return nil, fmt.Errorf("%w: fpdf wrote no page content", ErrLayout)
	}
	_, length, ok := bytes.Cut(head, []byte("/Length "))
	if !ok {
		return nil, fmt.Errorf("%w: fpdf's page content has no length", ErrLayout)
	}
	n, err := strconv.Atoi(string(bytes.TrimRight(length, ">\n ")))
	if err != nil || n > len(body) {
		return nil, fmt.Errorf("%w: fpdf's page content has no length", ErrLayout)
	}
	return body[:n], nil
}
