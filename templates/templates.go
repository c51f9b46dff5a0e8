// Package templates draws licence parts. A licence type is data: types/<name>/ holds type.yaml and schema.json, which
// package licence reads, and layout.yaml, which says where everything stands. A new type needs no Go code.
//
// Load prepares: it draws what never changes with fpdf, once, and compiles the rest into lists of places. Render then
// writes a whole file in the exact grammar of docs/formats/part.md, PDF/A-3u by construction, with room for one
// signature. The same input gives the same bytes.
package templates

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/elicence/elicence/licence"
)

//go:embed types
var embedded embed.FS

// ErrPart says that a part to be drawn is incomplete or of no known type.
var ErrPart = errors.New("templates: not a part that can be drawn")

// Options of Load.
type Options struct {
	FontDirs []string // folders with HanaMinA.ttf and HanaMinB.ttf, looked at before the system's
	Types    fs.FS    // folders of licence types; nil for those that ship with the program
}

// Set is the licence types at hand, ready to be drawn. It is safe for concurrent use.
type Set struct {
	family  *family
	codes   *qrEncoder
	types   map[string]*entry
	names   []string
	writers sync.Pool
}

type entry struct {
	typ    *licence.Type
	sheets map[string][2]*sheet // by part: production, specimen
	slip   [2]*sheet            // nil if the type has none
	places places
}

// Part is what Render draws.
type Part struct {
	Type, Part       string
	PartIndex, Parts int            // 1-based; how many parts the licence has
	Document         map[string]any // canonical request
	Number           string
	Identifier       string
	Issuer           licence.Organisation
	IssueTime        time.Time
	SigningTime      time.Time
	SignerName       string
	Code             string // text of the QR code
	LicenceJSON      []byte // embedded as the one associated file
	Room             int    // bytes of the greatest CMS that the signature may need
	Specimen         bool   // the chain is not a production one: mark the page
	DocumentKind     string // kind of issue
}

// Unsigned is a file whose signature is still zeros.
type Unsigned struct {
	File        []byte
	ContentsAt  int // offset of '<'
	ContentsLen int // with '<' and '>'
}

// Load reads and prepares all types. Everything that can be wrong with a type is found here.
func Load(o Options) (*Set, error) {
	types := o.Types
	if types == nil {
		var err error
		if types, err = fs.Sub(embedded, "types"); err != nil {
			return nil, fmt.Errorf("templates: %w", err)
		}
	}
	s := &Set{family: newFamily(o.FontDirs), codes: newQREncoder(), types: map[string]*entry{}}
	s.writers.New = func() any { return &writer{pen: newPen(s.family), codes: s.codes} }
	folders, err := fs.ReadDir(types, ".")
	if err != nil {
		return nil, fmt.Errorf("templates: %w", err)
	}
	for _, folder := range folders {
		if !folder.IsDir() {
			continue
		}
		e, err := s.load(types, folder.Name())
		if err != nil {
			return nil, fmt.Errorf("templates: type %s: %w", folder.Name(), err)
		}
		if s.types[e.typ.Name] != nil || e.typ.Name != folder.Name() {
			return nil, fmt.Errorf("templates: type %s: %w: its name is not its folder's", folder.Name(), ErrLayout)
		}
		s.types[e.typ.Name] = e
		s.names = append(s.names, e.typ.Name)
	}
	slices.Sort(s.names)
	return s, nil
}

func (s *Set) load(types fs.FS, name string) (*entry, error) {
	var files [3][]byte
	for i, file := range [...]string{"type.yaml", "schema.json", "layout.yaml"} {
		var err error
		if files[i], err = fs.ReadFile(types, name+"/"+file); err != nil {
			return nil, err
		}
	}
	typ, err := licence.ParseType(files[0], files[1])
	if err != nil {
		return nil, err
	}
	layout, err := parseLayout(files[2])
	if err != nil {
		return nil, err
	}
	e := &entry{typ: typ, sheets: map[string][2]*sheet{}}
	for _, part := range typ.Parts {
		drawn, ok := layout.Parts[part.Name]
		if !ok {
			return nil, fmt.Errorf("%w: part %s has no layout", ErrLayout, part.Name)
		}
		if e.sheets[part.Name], err = s.both(typ, layout, drawn, typ.Title.ZH+" "+part.Title.ZH, true); err != nil {
			return nil, err
		}
	}
	if len(layout.Parts) != len(typ.Parts) {
		return nil, fmt.Errorf("%w: it has parts that the type has not", ErrLayout)
	}
	if layout.Slip != nil {
		if e.slip, err = s.both(typ, layout, *layout.Slip, typ.Title.ZH, false); err != nil {
			return nil, err
		}
	}
	e.collect()
	return e, nil
}

// both compiles a page for production and for specimens, side by side: drawing takes most of the time of Load.
func (s *Set) both(t *licence.Type, l *layoutFile, part partYAML, title string, signed bool) (pair [2]*sheet, err error) {
	var failed [2]error
	var wg sync.WaitGroup
	for i, specimen := range [...]bool{false, true} {
		wg.Go(func() { pair[i], failed[i] = compile(s.family, t, l, part, title, signed, specimen) })
	}
	wg.Wait()
	if failed[1] != nil {
		return pair, failed[1]
	}
	return pair, failed[0]
}

// Type returns the licence type of a name; the error wraps ErrPart.
func (s *Set) Type(name string) (*licence.Type, error) {
	e, ok := s.types[name]
	if !ok {
		return nil, fmt.Errorf("%w: there is no licence type %q", ErrPart, name)
	}
	return e.typ, nil
}

// Types returns the names of all types, sorted.
func (s *Set) Types() []string { return slices.Clone(s.names) }

// Render draws a part and writes its file. Errors: *MissingGlyph, ErrTooLong, ErrPart.
func (s *Set) Render(p Part) (*Unsigned, error) {
	e, ok := s.types[p.Type]
	if !ok {
		return nil, fmt.Errorf("%w: there is no licence type %q", ErrPart, p.Type)
	}
	pair, ok := e.sheets[p.Part]
	if !ok {
		return nil, fmt.Errorf("%w: licence type %s has no part %q", ErrPart, p.Type, p.Part)
	}
	if p.Room < 1 || p.Room > 1<<20 || len(p.LicenceJSON) == 0 || p.SigningTime.IsZero() || p.IssueTime.IsZero() {
		return nil, fmt.Errorf("%w: room, licence.json, issue time and signing time are needed", ErrPart)
	}
	return s.draw(e, pair, &p)
}

// Slip draws the slip that the holder of a licence takes home: number, code and what to do with them, as a small
// unsigned PDF (the birth certificate's is an A6 page for the mother). Of p, everything but Part, LicenceJSON and Room
// is used. Errors: *MissingGlyph, ErrTooLong, ErrPart.
func (s *Set) Slip(p Part) ([]byte, error) {
	e, ok := s.types[p.Type]
	if !ok || e.slip[0] == nil {
		return nil, fmt.Errorf("%w: licence type %q has no slip", ErrPart, p.Type)
	}
	if p.SigningTime.IsZero() || p.IssueTime.IsZero() {
		return nil, fmt.Errorf("%w: issue time and signing time are needed", ErrPart)
	}
	u, err := s.draw(e, e.slip, &p)
	if err != nil {
		return nil, err
	}
	return u.File, nil
}

func (s *Set) draw(e *entry, pair [2]*sheet, p *Part) (*Unsigned, error) {
	sh := pair[0]
	if p.Specimen {
		sh = pair[1]
	}
	p.IssueTime, p.SigningTime = p.IssueTime.In(licence.Zone), p.SigningTime.In(licence.Zone) // texts for people
	w := s.writers.Get().(*writer)
	defer s.writers.Put(w)
	code, err := w.page(sh, e.typ, p)
	if err != nil {
		return nil, err
	}
	return w.file(sh, p, code)
}
