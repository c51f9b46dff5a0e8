package templates

import (
	"fmt"
	"strings"
	"time"

	"github.com/elicence/elicence/licence"
)

// CheckGlyphs tells, before a number or a key is used, whether a document can be drawn: every character of every field
// of the licence, and of extra, must have a glyph, and every value must fit into its place on every part. The first of
// extra is the issuer's name as it will be printed and stamped; others may follow. The error is *MissingGlyph, or wraps
// ErrTooLong and names the field, or says that a font is damaged. It does not depend on number, time or signature.
func (s *Set) CheckGlyphs(typeName string, document map[string]any, extra ...string) error {
	e, ok := s.types[typeName]
	if !ok {
		return fmt.Errorf("%w: there is no licence type %q", ErrPart, typeName)
	}
	for _, pointer := range e.typ.Fields {
		if text, ok := licence.Value(document, pointer).(string); ok {
			if err := s.family.check(text, pointer); err != nil {
				return err
			}
		}
	}
	issuer := ""
	for i, text := range extra {
		if err := s.family.check(text, issuerName); err != nil {
			return err
		}
		if i == 0 {
			issuer = text
		}
	}
	return s.fits(e, document, issuer)
}

// issuerName is how errors call the names that are no fields of the document.
const issuerName = "issuer.name"

func (fam *family) check(text, pointer string) error {
	for _, r := range text {
		_, font, err := fam.find(regular, r)
		if err != nil {
			return err
		}
		if font == nil {
			return &MissingGlyph{Rune: r, Pointer: pointer, Package: fallbackPackage}
		}
	}
	return nil
}

// place is a box of one size for one value, wherever it is drawn.
type place struct {
	name, source string
	width, size  float64
	weight       int
}

// places are the boxes and seals of all pages of a type, each kind once: parts repeat each other's boxes.
type places struct {
	values []*value
	seals  []*seal
}

func (e *entry) collect() {
	seen := map[place]bool{}
	add := func(s *sheet) {
		for i := range s.values {
			v := &s.values[i]
			key := place{v.name, v.written(), v.w, v.size, v.weight}
			if !seen[key] {
				seen[key] = true
				e.places.values = append(e.places.values, v)
			}
		}
		for i := range s.seals {
			k := &s.seals[i]
			key := place{"seal", k.owner.written() + "\n" + k.district.written(), k.radius, 0, 0}
			if !seen[key] {
				seen[key] = true
				e.places.seals = append(e.places.seals, k)
			}
		}
	}
	for _, part := range e.typ.Parts {
		add(e.sheets[part.Name][1])
	}
	if e.slip[1] != nil {
		add(e.slip[1])
	}
}

// written is what a source was written as.
func (s *source) written() string {
	if s.expr != nil {
		return s.expr.Source()
	}
	return s.pointer
}

// fits measures a document's values as Render will, with stand-ins for what is not known yet.
func (s *Set) fits(e *entry, document map[string]any, issuer string) error {
	w := s.writers.Get().(*writer)
	defer s.writers.Put(w)
	pen := w.pen
	pen.reset(nil, 0)
	now := time.Date(2000, 12, 28, 20, 58, 58, 0, licence.Zone)
	scope := e.typ.Scope(licence.Values{
		Document: document, Issuer: licence.Organisation{Name: issuer, NameEN: issuer, Code: strings.Repeat("0", 18)},
		Now: now, IssueTime: now, SigningTime: now, Number: "A000000000", PartIndex: 1, Parts: len(e.typ.Parts), Part: e.typ.Parts[0].Name,
		Identifier: "1.2.156.3005.2." + e.typ.TypeCode + "." + strings.Repeat("0", 18) + ".A000000000.001.0", Signer: issuer,
	})
	for _, v := range e.places.values {
		text, ok, err := v.text(document, scope)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if _, err := pen.fit(text, v.weight, v.w, v.size, v.name); err != nil {
			return err
		}
	}
	for _, k := range e.places.seals {
		owner, _, err := k.owner.text(document, scope)
		if err != nil {
			return err
		}
		if err := k.draw(pen, owner, "", false); err != nil {
			return err
		}
	}
	return nil
}
