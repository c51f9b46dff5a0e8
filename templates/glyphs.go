package templates

import (
	"fmt"

	"github.com/elicence/elicence/licence"
)

// CheckGlyphs tells, before a number or a key is used, whether a document can be drawn: every character of every field
// of the licence, and of extra (names of issuer and signer), must have a glyph, and every value must fit into its place.
// The error is *MissingGlyph, or wraps ErrTooLong, or says that a font is damaged.
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
	for _, text := range extra {
		if err := s.family.check(text, "/"); err != nil {
			return err
		}
	}
	return nil
}

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
