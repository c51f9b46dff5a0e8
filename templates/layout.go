package templates

import (
	"bytes"
	"errors"
	"fmt"

	"go.yaml.in/yaml/v3"
)

// ErrLayout says that a layout.yaml is faulty; it is found by Load.
var ErrLayout = errors.New("templates: the layout is faulty")

// layoutFile is layout.yaml as it is written. Lengths are millimetres from the top left corner, y of a text is its
// baseline, sizes of type are points. docs/formats/layout.md describes it for authors.
type layoutFile struct {
	Format  int                      `yaml:"format"` // 1
	Absent  string                   `yaml:"absent"` // printed where a value is not given
	Colours map[string]string        `yaml:"colours"`
	Groups  map[string][]elementYAML `yaml:"groups"`
	Parts   map[string]partYAML      `yaml:"parts"`
	Slip    *partYAML                `yaml:"slip"` // unsigned, for the holder; nil if the type has none
}

type partYAML struct {
	Title     string        `yaml:"title"`   // of the file, for its metadata
	English   bool          `yaml:"english"` // labels print their English
	Page      [2]float64    `yaml:"page"`    // width, height; A4 if not given
	Signature *boxYAML      `yaml:"signature"`
	Elements  []elementYAML `yaml:"elements"`
}

type boxYAML struct {
	X float64 `yaml:"x"`
	Y float64 `yaml:"y"`
	W float64 `yaml:"w"`
	H float64 `yaml:"h"`
}

// elementYAML holds exactly one element.
type elementYAML struct {
	Use      string        `yaml:"use"` // a group, in place
	Border   *borderYAML   `yaml:"border"`
	Rosette  *rosetteYAML  `yaml:"rosette"`
	Specimen *specimenYAML `yaml:"specimen"`
	Rect     *rectYAML     `yaml:"rect"`
	Line     *lineYAML     `yaml:"line"`
	Text     *textYAML     `yaml:"text"`
	Label    *labelYAML    `yaml:"label"`
	Note     *noteYAML     `yaml:"note"`
	Value    *valueYAML    `yaml:"value"`
	Tick     *tickYAML     `yaml:"tick"`
	Seal     *sealYAML     `yaml:"seal"`
	Barcode  *barcodeYAML  `yaml:"barcode"`
	Code     *codeYAML     `yaml:"code"`
}

// borderYAML is a guilloche frame.
type borderYAML struct {
	boxYAML `yaml:",inline"`
	Band    float64   `yaml:"band"`
	Colours [2]string `yaml:"colours"`
}

// rosetteYAML is a round guilloche.
type rosetteYAML struct {
	X       float64   `yaml:"x"` // centre
	Y       float64   `yaml:"y"`
	Radius  float64   `yaml:"radius"`
	Petals  int       `yaml:"petals"`
	Width   float64   `yaml:"width"`
	Colours [2]string `yaml:"colours"`
}

// specimenYAML is the mark that every face bears unless the chain is a production one.
type specimenYAML struct {
	X      float64 `yaml:"x"` // centre
	Y      float64 `yaml:"y"`
	Size   float64 `yaml:"size"` // of 样张, in millimetres
	Angle  float64 `yaml:"angle"`
	Colour string  `yaml:"colour"`
}

type rectYAML struct {
	boxYAML `yaml:",inline"`
	Fill    string  `yaml:"fill"`
	Stroke  string  `yaml:"stroke"`
	Width   float64 `yaml:"width"`
	Radius  float64 `yaml:"radius"`
}

type lineYAML struct {
	From   [2]float64 `yaml:"from"`
	To     [2]float64 `yaml:"to"`
	Width  float64    `yaml:"width"`
	Colour string     `yaml:"colour"`
	Dash   []float64  `yaml:"dash"`
}

// textYAML is static text on one line, or stacked.
type textYAML struct {
	X        float64 `yaml:"x"`
	Y        float64 `yaml:"y"`
	ZH       string  `yaml:"zh"`
	EN       string  `yaml:"en"` // drawn only where the part prints English
	Size     float64 `yaml:"size"`
	Bold     bool    `yaml:"bold"`
	Align    string  `yaml:"align"` // left, centre, right
	Space    float64 `yaml:"space"` // between characters, in millimetres
	Colour   string  `yaml:"colour"`
	Vertical bool    `yaml:"vertical"` // characters stand one below the other
	Specimen bool    `yaml:"specimen"` // drawn on specimens only
}

// labelYAML names a value: Chinese 9 pt on the value's line, English 6 pt below it.
type labelYAML struct {
	X     float64 `yaml:"x"`
	Y     float64 `yaml:"y"`
	ZH    string  `yaml:"zh"`
	EN    string  `yaml:"en"`
	Align string  `yaml:"align"`
}

// noteYAML is a static paragraph.
type noteYAML struct {
	X       float64 `yaml:"x"`
	Y       float64 `yaml:"y"` // of the first baseline
	W       float64 `yaml:"w"`
	ZH      string  `yaml:"zh"`
	EN      string  `yaml:"en"`
	Size    float64 `yaml:"size"`
	Leading float64 `yaml:"leading"` // millimetres
	Colour  string  `yaml:"colour"`
	Bold    bool    `yaml:"bold"`
}

// valueYAML is a value of the licence in its box.
type valueYAML struct {
	X      [2]float64 `yaml:"x"`
	Y      float64    `yaml:"y"`
	From   string     `yaml:"from"`  // JSON pointer
	Value  string     `yaml:"value"` // or a CEL expression
	Needs  string     `yaml:"needs"` // pointer without which the value is absent
	Raised string     `yaml:"raised"`
	Unit   *unitYAML  `yaml:"unit"`
	Size   float64    `yaml:"size"`
	Align  string     `yaml:"align"`
	Bold   bool       `yaml:"bold"`
	Colour string     `yaml:"colour"`
	Rule   *bool      `yaml:"rule"` // hairline under the box; yes if not given
}

type unitYAML struct {
	ZH string `yaml:"zh"`
	EN string `yaml:"en"`
}

// tickYAML is a box that is ticked when the expression holds.
type tickYAML struct {
	X     float64 `yaml:"x"`
	Y     float64 `yaml:"y"`
	When  string  `yaml:"when"`
	Needs string  `yaml:"needs"`
}

// sealYAML is a round seal.
type sealYAML struct {
	X        float64 `yaml:"x"`
	Y        float64 `yaml:"y"`
	Diameter float64 `yaml:"diameter"`
	Name     string  `yaml:"name"`     // upper arc
	Owner    string  `yaml:"owner"`    // CEL: lower arc
	District string  `yaml:"district"` // CEL: under the centre line
	Colour   string  `yaml:"colour"`
}

// barcodeYAML is a Code 128 under the number, on its ground.
type barcodeYAML struct {
	boxYAML `yaml:",inline"`
	Value   string  `yaml:"value"` // CEL
	Bars    float64 `yaml:"bars"`  // height
	Size    float64 `yaml:"size"`  // of the number
	Ground  string  `yaml:"ground"`
}

// codeYAML is the QR code with the credential; size is the symbol's, the quiet zone lies around it.
type codeYAML struct {
	X    float64 `yaml:"x"`
	Y    float64 `yaml:"y"`
	Size float64 `yaml:"size"`
}

// kinds counts the elements in an entry: there must be one.
func (e *elementYAML) kinds() int {
	n := 0
	for _, there := range [...]bool{
		e.Use != "", e.Border != nil, e.Rosette != nil, e.Specimen != nil, e.Rect != nil, e.Line != nil, e.Text != nil, e.Label != nil,
		e.Note != nil, e.Value != nil, e.Tick != nil, e.Seal != nil, e.Barcode != nil, e.Code != nil,
	} {
		if there {
			n++
		}
	}
	return n
}

func parseLayout(b []byte) (*layoutFile, error) {
	var l layoutFile
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	if err := dec.Decode(&l); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLayout, err)
	}
	if l.Format != 1 {
		return nil, fmt.Errorf("%w: format %d is not 1", ErrLayout, l.Format)
	}
	return &l, nil
}
