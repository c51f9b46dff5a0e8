package main

import (
	"sync"

	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/templates"
)

// lazyTypes reads the licence types and draws their static pages when the first one is needed, which takes longer than
// all the rest of a command that moves, lists or shows licences. Safe for concurrent use.
type lazyTypes struct {
	set func() (*templates.Set, error)
}

func typesIn(fontDirs []string) *lazyTypes {
	return &lazyTypes{sync.OnceValues(func() (*templates.Set, error) {
		return templates.Load(templates.Options{FontDirs: fontDirs})
	})}
}

// Types are the names of all types.
func (l *lazyTypes) Types() ([]string, error) {
	s, err := l.set()
	if err != nil {
		return nil, err
	}
	return s.Types(), nil
}

// Type is issuing's Renderer, as are the others.
func (l *lazyTypes) Type(name string) (*licence.Type, error) {
	s, err := l.set()
	if err != nil {
		return nil, err
	}
	return s.Type(name)
}

// CheckGlyphs says whether every character can be drawn.
func (l *lazyTypes) CheckGlyphs(typeName string, document map[string]any, extra ...string) error {
	s, err := l.set()
	if err != nil {
		return err
	}
	return s.CheckGlyphs(typeName, document, extra...)
}

// Render draws a part.
func (l *lazyTypes) Render(p templates.Part) (*templates.Unsigned, error) {
	s, err := l.set()
	if err != nil {
		return nil, err
	}
	return s.Render(p)
}

// Slip draws the holder's slip.
func (l *lazyTypes) Slip(p templates.Part) ([]byte, error) {
	s, err := l.set()
	if err != nil {
		return nil, err
	}
	return s.Slip(p)
}
