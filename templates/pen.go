package templates

import (
	"errors"
	"fmt"
	"math"
	"unicode"

	"github.com/elicence/elicence/templates/truetype"
)

// ErrTooLong says that a value does not fit into its box even in the smallest type. The error names the field.
var ErrTooLong = errors.New("templates: a value is too long for its place")

// pen draws what changes: it writes a content stream and collects the glyphs that it shows.
type pen struct {
	b      []byte
	fam    *family
	static *[2]*truetype.Subset // glyphs that the sheet's static fonts have anyway; read only
	cuts   [faceCount]*truetype.Subset
	used   []int   // faces that have shown a character beyond the static fonts, in order: they become F3, F4, …
	height float64 // of the page, mm

	face     int // resource that is set inside the text object, -1 for none
	fontSize float64
	colour   [3]int
}

func newPen(fam *family) *pen { return &pen{fam: fam} }

func (p *pen) reset(static *[2]*truetype.Subset, height float64) {
	p.b, p.used, p.static, p.height = p.b[:0], p.used[:0], static, height
	for _, c := range p.cuts {
		if c != nil {
			c.Reset()
		}
	}
	p.colour = [3]int{-1, -1, -1}
}

// Resources of a page: the static fonts F1 and F2, then one for each face that a value needed beyond them.
var resourceNames = [...]string{"F1", "F2", "F3", "F4", "F5", "F6"}

const staticFaces = 2

// resource names the font of a face that the static fonts do not have.
func (p *pen) resource(face int) int {
	for i, f := range p.used {
		if f == face {
			return staticFaces + i
		}
	}
	p.used = append(p.used, face)
	return staticFaces + len(p.used) - 1
}

// glyph finds a character: the resource that shows it, its number there, its width in thousandths of an em.
func (p *pen) glyph(r rune, weight int, field string) (resource int, n uint16, advance int, err error) {
	if p.static != nil {
		if n, ok := p.static[weight].Has(r); ok {
			return weight, n, p.static[weight].Advance(int(n)), nil
		}
	}
	face, font, err := p.fam.find(weight, r)
	if err != nil {
		return 0, 0, 0, err
	}
	if font == nil {
		return 0, 0, 0, &MissingGlyph{Rune: r, Pointer: field, Package: fallbackPackage}
	}
	if p.cuts[face] == nil {
		p.cuts[face] = font.NewSubset()
	}
	n, ok := p.cuts[face].Use(r)
	if !ok {
		return 0, 0, 0, fmt.Errorf("%w: %s", ErrTooLong, field)
	}
	return p.resource(face), n, p.cuts[face].Advance(int(n)), nil
}

// width of a text in millimetres.
func (p *pen) width(text string, weight int, size float64, field string) (float64, error) {
	total := 0
	for _, r := range text {
		_, _, advance, err := p.glyph(r, weight, field)
		if err != nil {
			return 0, err
		}
		total += advance
	}
	return float64(total) * size / 1000 / mm, nil
}

func (p *pen) number(v float64) { p.b = append(appendNumber(p.b, v), ' ') }

func (p *pen) point(x, y float64) { p.number(x * mm); p.number((p.height - y) * mm) }

func (p *pen) op(s string) { p.b = append(append(p.b, s...), '\n') }

// fill sets the colour of text and areas.
func (p *pen) fill(c [3]int) {
	if c == p.colour {
		return
	}
	p.colour = c
	p.rgb(c)
	p.op("rg")
}

func (p *pen) rgb(c [3]int) {
	for _, v := range c {
		p.number(float64(v) / 255)
	}
}

// stroke sets colour and width, in millimetres, of lines.
func (p *pen) stroke(c [3]int, width float64) {
	p.rgb(c)
	p.op("RG")
	p.number(width * mm)
	p.op("w")
}

// text writes one line with its left end at x.
func (p *pen) text(x, y float64, text string, weight int, size float64, field string) error {
	p.begin(size)
	p.point(x, y)
	p.b = append(p.b, "Td"...)
	if err := p.show(text, weight, field); err != nil {
		return err
	}
	p.op(" ET")
	return nil
}

// turned writes a text whose baseline starts at (x, y) and runs in direction angle, in radians against the clock.
func (p *pen) turned(x, y, angle float64, text string, weight int, size float64, field string) error {
	p.begin(size)
	sin, cos := math.Sincos(angle)
	for _, v := range [...]float64{cos, sin, -sin, cos} {
		p.number(v)
	}
	p.point(x, y)
	p.b = append(p.b, "Tm"...)
	if err := p.show(text, weight, field); err != nil {
		return err
	}
	p.op(" ET")
	return nil
}

func (p *pen) begin(size float64) {
	p.b = append(p.b, "BT "...)
	p.face, p.fontSize = -1, size
}

func (p *pen) show(text string, weight int, field string) error {
	for _, r := range text {
		face, n, _, err := p.glyph(r, weight, field)
		if err != nil {
			return err
		}
		if face != p.face {
			if p.face >= 0 {
				p.b = append(p.b, ">Tj"...)
			}
			p.b = append(append(append(p.b, '/'), resourceNames[face]...), ' ')
			p.b = append(appendNumber(p.b, p.fontSize), " Tf<"...)
			p.face = face
		}
		p.b = appendHex16(p.b, n)
	}
	if p.face >= 0 {
		p.b = append(p.b, ">Tj"...)
	}
	return nil
}

// spoken opens a span whose text, for search and copying, is what is given and not what its glyphs say: values that run
// over lines, the seal's ring.
func (p *pen) spoken(text string) {
	p.b = appendUTF16(append(p.b, "/Span<</ActualText"...), text)
	p.op(">>BDC")
}

func (p *pen) endSpoken() { p.op("EMC") }

// A fitted text is lines that fit into a box, the first baseline above the value's line.
type fitted struct {
	lines   []string
	size    float64
	leading float64 // mm
}

// The room of a value: with rows 8 mm apart this much, in millimetres, is free above its line, below the English of the
// row above.
const valueRoom = 5.3

// fit finds the largest type in which a text fits into the width: one line down to 9 pt, then lines of 8 pt and
// smaller. Nothing is ever cut.
func (p *pen) fit(text string, weight int, width, size float64, field string) (fitted, error) {
	full, err := p.width(text, weight, size, field)
	if err != nil {
		return fitted{}, err
	}
	for s := size; s >= size*6/7-0.01; s -= 0.5 {
		if full*s/size <= width {
			return fitted{lines: []string{text}, size: s}, nil
		}
	}
	for s := math.Round(size*16/21*2) / 2; s >= 4; s -= 0.5 {
		em := s / mm
		leading := em * 1.04
		room := 1 + int((valueRoom-em*0.84)/leading)
		if lines, err := p.lines(text, weight, width, s, room, field); err != nil {
			return fitted{}, err
		} else if lines != nil {
			return fitted{lines, s, leading}, nil
		}
	}
	return fitted{}, fmt.Errorf("%w: %s", ErrTooLong, field)
}

// lines breaks a text into at most most lines, or returns nil. It breaks after spaces and middle dots where it can, so
// that the parts of a long name stay together.
func (p *pen) lines(text string, weight int, width, size float64, most int, field string) ([]string, error) {
	runes := []rune(text)
	widths := make([]float64, len(runes))
	for i, r := range runes {
		_, _, advance, err := p.glyph(r, weight, field)
		if err != nil {
			return nil, err
		}
		widths[i] = float64(advance) * size / 1000 / mm
	}
	for _, breaks := range [...]func(before, after rune) bool{betweenNames, betweenWords, anywhere} {
		if lines := breakLines(runes, widths, width, most, breaks); lines != nil {
			return lines, nil
		}
	}
	return nil, nil
}

func betweenNames(before, _ rune) bool { return before == ' ' || before == '·' }

// betweenWords breaks Chinese anywhere but before closing marks, and other scripts and numbers between words.
func betweenWords(before, after rune) bool {
	if before == ' ' || before == '·' {
		return true
	}
	switch after {
	case '，', '。', '、', '；', '：', '）', ')', '》', '」', '”', '’', '·', '！', '？', ' ':
		return false
	}
	switch before {
	case '（', '(', '《', '「', '“', '‘':
		return false
	}
	return unicode.Is(unicode.Han, before) || unicode.Is(unicode.Han, after)
}

func anywhere(_, _ rune) bool { return true }

func breakLines(runes []rune, widths []float64, width float64, most int, breaks func(before, after rune) bool) []string {
	var lines []string
	for start := 0; start < len(runes); {
		if len(lines) == most {
			return nil
		}
		used, end, last := 0.0, start, start
		for ; end < len(runes); end++ {
			if used+widths[end] > width && runes[end] != ' ' {
				break
			}
			used += widths[end]
			if end+1 == len(runes) || breaks(runes[end], runes[end+1]) {
				last = end + 1
			}
		}
		if last == start {
			return nil
		}
		lines = append(lines, string(runes[start:last]))
		start = last
	}
	return lines
}
