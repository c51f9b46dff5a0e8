package templates

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/templates/truetype"
)

// sheet is one part of a type, ready to be drawn: what never changes is a block of finished PDF objects, what changes
// is a list of places. There is one for specimens and one for production. It is safe for concurrent use.
type sheet struct {
	title         string
	width, height float64 // mm
	signature     boxYAML
	absent        string
	ink           [3]int
	values        []value
	ticks         []tick
	seals         []seal
	barcodes      []barcode
	codes         []codeYAML
	specimen      bool
	signed        bool // a part; a slip is not

	static                      [2]*truetype.Subset // read only after Load
	objects                     []byte              // objects 2 and on, as they stand in every file
	offsets                     []int               // of each in objects
	intent, appearance, content int                 // their numbers
	fonts                       [2]int              // numbers of the static Type0 fonts
}

type value struct {
	source
	raised *source
	x, w   float64
	y      float64
	size   float64
	align  string
	weight int
	colour [3]int
}

type tick struct {
	source
	x, y float64
}

type barcode struct {
	barcodeYAML
	source
}

// Sizes of type, points, where a layout does not say.
const (
	labelSize   = 9.0
	englishSize = 6.0
	valueSize   = 10.5
	englishDrop = 3.0 // of the English below the line, mm
	ruleDrop    = 1.0 // of the hairline below the line, mm
)

// compiler turns one part of a layout into a sheet.
type compiler struct {
	layout  *layoutFile
	typ     *licence.Type
	part    partYAML
	colours map[string][3]int
	easel   *easel
	sheet   *sheet
	draw    []func() // static drawing, in order, once all characters are known
}

// compile makes the sheet of a part, or of a slip. Everything that can be wrong with a layout is found here.
func compile(fam *family, t *licence.Type, l *layoutFile, part partYAML, title string, signed, specimen bool) (*sheet, error) {
	if part.Page == [2]float64{} {
		part.Page = [2]float64{210, 297}
	}
	if part.Title != "" {
		title = part.Title
	}
	c := &compiler{layout: l, typ: t, part: part, colours: map[string][3]int{},
		sheet: &sheet{title: title, width: part.Page[0], height: part.Page[1], absent: l.Absent, specimen: specimen, signed: signed}}
	for _, name := range slices.Sorted(maps.Keys(l.Colours)) {
		v, err := strconv.ParseUint(l.Colours[name], 16, 24)
		if err != nil || len(l.Colours[name]) != 6 {
			return nil, fmt.Errorf("%w: colour %s is not six hexadecimal digits", ErrLayout, name)
		}
		c.colours[name] = [3]int{int(v >> 16), int(v >> 8 & 255), int(v & 255)}
	}
	for _, needed := range []string{"ink", "label", "english", "line", "seal"} {
		if _, ok := c.colours[needed]; !ok {
			return nil, fmt.Errorf("%w: colour %s is needed", ErrLayout, needed)
		}
	}
	c.sheet.ink = c.colours["ink"]
	var err error
	if c.easel, err = newEasel(fam, c.colours); err != nil {
		return nil, err
	}
	if err := c.elements(part.Elements, 0); err != nil {
		return nil, fmt.Errorf("%s: %w", title, err)
	}
	if part.Signature != nil {
		c.sheet.signature = *part.Signature
	}
	if specimen && !c.marked(part.Elements) {
		return nil, fmt.Errorf("%w: %s has no specimen mark", ErrLayout, title)
	}
	if err := positive("a page's measure", part.Page[0], part.Page[1]); err != nil {
		return nil, err
	}
	if signed && (c.sheet.signature.W <= 0 || c.sheet.signature.H <= 0) {
		return nil, fmt.Errorf("%w: %s has neither a seal nor a place for the signature", ErrLayout, title)
	}
	if len(c.sheet.codes) > 1 {
		return nil, fmt.Errorf("%w: %s has two codes", ErrLayout, title)
	}
	return c.sheet, c.finish()
}

func (c *compiler) marked(list []elementYAML) bool {
	return slices.ContainsFunc(list, func(e elementYAML) bool {
		return e.Specimen != nil || e.Use != "" && c.marked(c.layout.Groups[e.Use])
	})
}

func (c *compiler) colour(name, otherwise string) (string, error) {
	if name == "" {
		name = otherwise
	}
	if _, ok := c.colours[name]; !ok {
		return "", fmt.Errorf("%w: there is no colour %s", ErrLayout, name)
	}
	return name, nil
}

func (c *compiler) elements(list []elementYAML, depth int) error {
	for i, e := range list {
		if e.kinds() != 1 {
			return fmt.Errorf("%w: entry %d has %d elements in place of one", ErrLayout, i+1, e.kinds())
		}
		if err := c.element(e, depth); err != nil {
			return fmt.Errorf("element %d: %w", i+1, err)
		}
	}
	return nil
}

func (c *compiler) element(e elementYAML, depth int) error {
	switch {
	case e.Use != "":
		group, ok := c.layout.Groups[e.Use]
		if !ok || depth > 4 {
			return fmt.Errorf("%w: group %s is missing or contains itself", ErrLayout, e.Use)
		}
		return c.elements(group, depth+1)
	case e.Border != nil:
		return c.border(*e.Border)
	case e.Rosette != nil:
		return c.rosette(*e.Rosette)
	case e.Specimen != nil:
		return c.specimen(*e.Specimen)
	case e.Rect != nil:
		return c.rect(*e.Rect)
	case e.Line != nil:
		return c.line(*e.Line)
	case e.Text != nil:
		return c.text(*e.Text)
	case e.Label != nil:
		return c.label(*e.Label)
	case e.Note != nil:
		return c.note(*e.Note)
	case e.Value != nil:
		return c.value(*e.Value)
	case e.Tick != nil:
		return c.tick(*e.Tick)
	case e.Seal != nil:
		return c.seal(*e.Seal)
	case e.Barcode != nil:
		return c.barcode(*e.Barcode)
	case e.Code != nil:
		c.sheet.codes = append(c.sheet.codes, *e.Code)
		return positive("a code's size", e.Code.Size)
	}
	return nil
}

// positive refuses measures that would draw nothing, or something larger than any page.
func positive(what string, values ...float64) error {
	for _, v := range values {
		if !(v > 0 && v <= 2000) {
			return fmt.Errorf("%w: %s is %v", ErrLayout, what, v)
		}
	}
	return nil
}

func aligned(align string) error {
	switch align {
	case "", "left", "centre", "right":
		return nil
	}
	return fmt.Errorf("%w: align is left, centre or right", ErrLayout)
}

// later keeps static text for the drawing and takes its characters into the static fonts.
func (c *compiler) later(text string, weight int, draw func()) error {
	c.draw = append(c.draw, draw)
	return c.easel.prepare(text, weight)
}

func (c *compiler) border(b borderYAML) error {
	if err := positive("a border's measure", b.W-2*b.Band, b.H-2*b.Band, b.Band-3); err != nil {
		return err
	}
	for i := range b.Colours {
		var err error
		if b.Colours[i], err = c.colour(b.Colours[i], "line"); err != nil {
			return err
		}
	}
	c.draw = append(c.draw, func() { c.easel.border(b) })
	return nil
}

func (c *compiler) rosette(r rosetteYAML) error {
	for i := range r.Colours {
		var err error
		if r.Colours[i], err = c.colour(r.Colours[i], "line"); err != nil {
			return err
		}
	}
	if err := positive("a rosette's measure", r.Radius, r.Width); err != nil {
		return err
	}
	if r.Petals < 3 || r.Petals > 96 {
		return fmt.Errorf("%w: a rosette has 3 to 96 petals", ErrLayout)
	}
	c.draw = append(c.draw, func() { c.easel.rosette(r) })
	return nil
}

func (c *compiler) specimen(s specimenYAML) error {
	if err := positive("a specimen mark's size", s.Size); err != nil {
		return err
	}
	if !c.sheet.specimen {
		return nil
	}
	colour, err := c.colour(s.Colour, "seal")
	if err != nil {
		return err
	}
	return c.later("样张SPECIMEN", bold, func() { c.easel.specimen(s, colour) })
}

func (c *compiler) rect(r rectYAML) error {
	if err := positive("a rectangle's measure", r.W, r.H); err != nil {
		return err
	}
	if r.Stroke == "" && r.Fill == "" {
		return fmt.Errorf("%w: a rectangle has neither stroke nor fill", ErrLayout)
	}
	style := ""
	for _, s := range []struct{ colour, letter string }{{r.Stroke, "D"}, {r.Fill, "F"}} {
		if s.colour == "" {
			continue
		}
		if _, err := c.colour(s.colour, ""); err != nil {
			return err
		}
		style = s.letter + style
	}
	c.draw = append(c.draw, func() {
		if r.Stroke != "" {
			c.easel.stroke(r.Stroke, r.Width)
		}
		if r.Fill != "" {
			c.easel.fill(r.Fill)
		}
		if r.Radius > 0 {
			c.easel.pdf.RoundedRect(r.X, r.Y, r.W, r.H, r.Radius, "1234", style)
		} else {
			c.easel.pdf.Rect(r.X, r.Y, r.W, r.H, style)
		}
	})
	return nil
}

func (c *compiler) line(l lineYAML) error {
	colour, err := c.colour(l.Colour, "line")
	if err != nil {
		return err
	}
	c.draw = append(c.draw, func() {
		c.easel.stroke(colour, l.Width)
		if len(l.Dash) > 0 {
			c.easel.pdf.SetDashPattern(l.Dash, 0)
		}
		c.easel.pdf.Line(l.From[0], l.From[1], l.To[0], l.To[1])
		if len(l.Dash) > 0 {
			c.easel.pdf.SetDashPattern(nil, 0)
		}
	})
	return nil
}

func (c *compiler) text(t textYAML) error {
	if err := errors.Join(positive("a text's size", t.Size), aligned(t.Align)); err != nil {
		return err
	}
	text := t.ZH
	if text == "" {
		if text = t.EN; !c.part.English {
			return nil
		}
	}
	if t.Specimen && !c.sheet.specimen {
		return nil
	}
	colour, err := c.colour(t.Colour, "ink")
	if err != nil {
		return err
	}
	weight := weightOf(t.Bold)
	return c.later(text, weight, func() {
		if !t.Vertical {
			c.easel.text(t.X, t.Y, text, weight, t.Size, t.Space, t.Align, colour)
			return
		}
		y := t.Y
		for _, r := range text {
			c.easel.text(t.X, y, string(r), weight, t.Size, 0, "centre", colour)
			y += t.Size/mm + t.Space
		}
	})
}

func (c *compiler) label(l labelYAML) error {
	if err := c.text(textYAML{X: l.X, Y: l.Y, ZH: l.ZH, Size: labelSize, Align: l.Align, Colour: "label"}); err != nil || l.EN == "" {
		return err
	}
	return c.text(textYAML{X: l.X, Y: l.Y + englishDrop, EN: l.EN, Size: englishSize, Align: l.Align, Colour: "english"})
}

func (c *compiler) note(n noteYAML) error {
	if err := positive("a note's measure", n.W, n.Size, n.Leading); err != nil {
		return err
	}
	text := n.ZH
	if text == "" {
		if text = n.EN; !c.part.English {
			return nil
		}
	}
	colour, err := c.colour(n.Colour, "ink")
	if err != nil {
		return err
	}
	weight := weightOf(n.Bold)
	runes := []rune(text)
	widths := make([]float64, len(runes))
	for i, r := range runes {
		widths[i] = c.easel.width(string(r), weight, n.Size, 0)
	}
	lines := breakLines(runes, widths, n.W, 100, betweenWords)
	if lines == nil {
		return fmt.Errorf("%w: the note %q does not fit its width", ErrLayout, text)
	}
	return c.later(text, weight, func() {
		for i, line := range lines {
			c.easel.text(n.X, n.Y+float64(i)*n.Leading, line, weight, n.Size, 0, "left", colour)
		}
	})
}

func (c *compiler) value(v valueYAML) error {
	src, err := newSource(c.typ, v.From, v.Value, v.Needs)
	if err != nil {
		return err
	}
	colour, err := c.colour(v.Colour, "ink")
	if err != nil {
		return err
	}
	out := value{source: src, x: v.X[0], w: v.X[1] - v.X[0], y: v.Y, size: v.Size, align: v.Align, weight: weightOf(v.Bold), colour: c.colours[colour]}
	if out.size == 0 {
		out.size = valueSize
	}
	if err := errors.Join(positive("a box's width or size", out.w, out.size), aligned(v.Align)); err != nil {
		return fmt.Errorf("%s: %w", src.name, err)
	}
	if v.Raised != "" {
		raised, err := newSource(c.typ, "", v.Raised, v.Needs)
		if err != nil {
			return err
		}
		out.raised = &raised
	}
	c.sheet.values = append(c.sheet.values, out)
	if v.Rule == nil || *v.Rule {
		if err := c.line(lineYAML{From: [2]float64{v.X[0], v.Y + ruleDrop}, To: [2]float64{v.X[1], v.Y + ruleDrop}, Width: 0.15}); err != nil {
			return err
		}
	}
	if v.Unit == nil {
		return nil
	}
	middle := v.X[1] + 0.6 + float64(len([]rune(v.Unit.ZH)))*labelSize/mm/2
	if err := c.text(textYAML{X: middle, Y: v.Y, ZH: v.Unit.ZH, Size: labelSize, Align: "centre", Colour: "label"}); err != nil || v.Unit.EN == "" {
		return err
	}
	return c.text(textYAML{X: middle, Y: v.Y + englishDrop, EN: v.Unit.EN, Size: englishSize, Align: "centre", Colour: "english"})
}

// tickSide is the side of a tick box in millimetres.
const tickSide = 2.8

func (c *compiler) tick(t tickYAML) error {
	src, err := newSource(c.typ, "", t.When, t.Needs)
	if err != nil {
		return err
	}
	c.sheet.ticks = append(c.sheet.ticks, tick{src, t.X, t.Y})
	return c.rect(rectYAML{boxYAML: boxYAML{X: t.X, Y: t.Y - tickSide + 0.3, W: tickSide, H: tickSide}, Stroke: "label", Width: 0.2})
}

func (c *compiler) seal(s sealYAML) error {
	if err := positive("a seal's diameter", s.Diameter-20); err != nil {
		return err
	}
	colour, err := c.colour(s.Colour, "seal")
	if err != nil {
		return err
	}
	owner, err := newSource(c.typ, "", s.Owner, "")
	if err != nil {
		return err
	}
	out := seal{x: s.X, y: s.Y, radius: s.Diameter / 2, name: s.Name, owner: owner, colour: c.colours[colour]}
	if s.District != "" {
		if out.district, err = newSource(c.typ, "", s.District, ""); err != nil {
			return err
		}
	}
	c.sheet.seals = append(c.sheet.seals, out)
	if c.part.Signature == nil && c.sheet.signature == (boxYAML{}) {
		c.sheet.signature = boxYAML{X: s.X - out.radius, Y: s.Y - out.radius, W: s.Diameter, H: s.Diameter}
	}
	return c.easel.prepare(s.Name+"样", regular)
}

func (c *compiler) barcode(b barcodeYAML) error {
	if err := positive("a bar code's measure", b.W, b.H, b.Bars, b.Size, b.H-b.Bars-b.Size*0.26); err != nil {
		return err
	}
	src, err := newSource(c.typ, "", b.Value, "")
	if err != nil {
		return err
	}
	c.sheet.barcodes = append(c.sheet.barcodes, barcode{b, src})
	return c.rect(rectYAML{boxYAML: b.boxYAML, Fill: b.Ground})
}

// finish draws what never changes and makes its objects.
func (c *compiler) finish() error {
	if err := c.easel.prepare("0123456789", regular); err != nil {
		return err
	}
	if err := c.easel.prepare("0123456789", bold); err != nil {
		return err
	}
	if err := c.easel.open(c.sheet.width, c.sheet.height); err != nil {
		return err
	}
	for _, draw := range c.draw {
		draw()
	}
	content, err := c.easel.close()
	if err != nil {
		return err
	}
	c.sheet.static = c.easel.cuts
	return c.sheet.build(content)
}
