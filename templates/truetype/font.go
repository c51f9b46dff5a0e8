// Package truetype reads TrueType fonts with glyf outlines and cuts small subsets for embedding into PDF.
//
// It reads only what embedding needs, through io.ReaderAt: a fallback font of 30 MB costs memory for its tables, not for
// its outlines. Every offset of the file is checked; a damaged font is an error, never a panic. CFF outlines and
// collections are refused.
package truetype

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ErrFont says that the font file is damaged or of a kind that cannot be embedded.
var ErrFont = errors.New("truetype: not a font that can be embedded")

var be = binary.BigEndian

// maxTable bounds what one table other than glyf may take in memory.
const maxTable = 8 << 20

// Font is one parsed font. It is safe for concurrent use.
type Font struct {
	r io.ReaderAt

	unitsPerEm             int
	bounds                 [4]int // xMin yMin xMax yMax
	ascent, descent        int
	glyphs                 int
	longMetrics            int
	longLoca               bool
	head, hhea, maxp       []byte
	hmtx, loca             []byte
	glyfOffset, glyfLength int64
	outlines               []byte         // glyf in memory, nil when it is read from r
	pages                  []*[256]uint16 // rune>>8 → glyph of each rune
}

// Parse reads the tables of a font. The reader must stay usable as long as the font; if b is not nil it is the whole
// file and saves reading outlines through r.
func Parse(r io.ReaderAt, size int64) (*Font, error) { return parse(r, size, nil) }

// ParseBytes is Parse for a file in memory, which must not change afterwards.
func ParseBytes(b []byte) (*Font, error) { return parse(byteReader(b), int64(len(b)), b) }

type byteReader []byte

func (b byteReader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off > int64(len(b)) {
		return 0, io.ErrUnexpectedEOF
	}
	n := copy(p, b[off:])
	if n < len(p) {
		return n, io.ErrUnexpectedEOF
	}
	return n, nil
}

func bad(format string, a ...any) error {
	return fmt.Errorf("%w: %s", ErrFont, fmt.Sprintf(format, a...))
}

func parse(r io.ReaderAt, size int64, whole []byte) (*Font, error) {
	f := &Font{r: r}
	var header [12]byte
	if _, err := r.ReadAt(header[:], 0); err != nil {
		return nil, bad("shorter than a header")
	}
	if be.Uint32(header[:]) != 0x00010000 {
		return nil, bad("not TrueType with glyf outlines (CFF and collections cannot be used)")
	}
	n := int(be.Uint16(header[4:]))
	directory := make([]byte, 16*n)
	if _, err := r.ReadAt(directory, 12); err != nil {
		return nil, bad("table directory cut off")
	}
	at := func(tag string) (off, length int64, ok bool) {
		for i := 0; i < n; i++ {
			d := directory[16*i:]
			if string(d[:4]) == tag {
				off, length = int64(be.Uint32(d[8:])), int64(be.Uint32(d[12:]))
				return off, length, off+length <= size
			}
		}
		return 0, 0, false
	}
	table := func(tag string, least int) ([]byte, error) {
		off, length, ok := at(tag)
		if !ok || length < int64(least) || length > maxTable {
			return nil, bad("table %s missing or of wrong length", tag)
		}
		if whole != nil {
			return whole[off : off+length : off+length], nil
		}
		b := make([]byte, length)
		if _, err := r.ReadAt(b, off); err != nil {
			return nil, fmt.Errorf("%w: table %s: %w", ErrFont, tag, err)
		}
		return b, nil
	}
	var cmap []byte
	var err error
	for _, t := range []struct {
		tag   string
		least int
		to    *[]byte
	}{{"head", 54, &f.head}, {"hhea", 36, &f.hhea}, {"maxp", 6, &f.maxp}, {"hmtx", 4, &f.hmtx}, {"loca", 4, &f.loca}, {"cmap", 4, &cmap}} {
		if *t.to, err = table(t.tag, t.least); err != nil {
			return nil, err
		}
	}
	var ok bool
	if f.glyfOffset, f.glyfLength, ok = at("glyf"); !ok {
		return nil, bad("table glyf missing")
	}
	if whole != nil {
		f.outlines = whole[f.glyfOffset : f.glyfOffset+f.glyfLength]
	}
	f.unitsPerEm = int(be.Uint16(f.head[18:]))
	for i := range f.bounds {
		f.bounds[i] = int(int16(be.Uint16(f.head[36+2*i:])))
	}
	f.longLoca = be.Uint16(f.head[50:]) == 1
	f.ascent, f.descent = int(int16(be.Uint16(f.hhea[4:]))), int(int16(be.Uint16(f.hhea[6:])))
	f.longMetrics = int(be.Uint16(f.hhea[34:]))
	f.glyphs = int(be.Uint16(f.maxp[4:]))
	entry := 2
	if f.longLoca {
		entry = 4
	}
	switch {
	case f.unitsPerEm < 16 || f.unitsPerEm > 16384:
		return nil, bad("units per em")
	case f.glyphs < 1 || len(f.loca) < entry*(f.glyphs+1):
		return nil, bad("loca is shorter than its glyphs")
	case f.longMetrics < 1 || f.longMetrics > f.glyphs || len(f.hmtx) < 4*f.longMetrics+2*(f.glyphs-f.longMetrics):
		return nil, bad("hmtx is shorter than its glyphs")
	}
	return f, f.readCmap(cmap)
}

// readCmap takes the full repertoire (format 12) where there is one, else the Basic Multilingual Plane (format 4).
func (f *Font) readCmap(c []byte) error {
	n := int(be.Uint16(c[2:]))
	if len(c) < 4+8*n {
		return bad("cmap cut off")
	}
	var wide, narrow []byte
	for i := 0; i < n; i++ {
		platform, encoding := be.Uint16(c[4+8*i:]), be.Uint16(c[6+8*i:])
		off := int64(be.Uint32(c[8+8*i:]))
		if off+16 > int64(len(c)) {
			return bad("cmap subtable outside its table")
		}
		s := c[off:]
		unicode := platform == 0 || platform == 3 && (encoding == 1 || encoding == 10)
		switch format := be.Uint16(s); {
		case format == 12 && unicode:
			wide = s
		case format == 4 && unicode:
			narrow = s
		}
	}
	f.pages = make([]*[256]uint16, 0x110000>>8)
	switch {
	case wide != nil:
		return f.readFormat12(wide)
	case narrow != nil:
		return f.readFormat4(narrow)
	}
	return bad("no Unicode cmap")
}

func (f *Font) set(r, glyph uint32) {
	if glyph == 0 || glyph >= uint32(f.glyphs) {
		return
	}
	p := f.pages[r>>8]
	if p == nil {
		p = new([256]uint16)
		f.pages[r>>8] = p
	}
	p[r&255] = uint16(glyph)
}

func (f *Font) readFormat12(s []byte) error {
	n := int64(be.Uint32(s[12:]))
	if 16+12*n > int64(len(s)) {
		return bad("cmap groups cut off")
	}
	next := uint32(0)
	for k := range n {
		g := s[16+12*k:]
		start, end, glyph := be.Uint32(g), be.Uint32(g[4:]), be.Uint32(g[8:])
		if start < next || end < start || end > 0x10FFFF {
			return bad("cmap groups out of order")
		}
		next = end + 1
		for r := start; r <= end; r++ {
			f.set(r, glyph+(r-start))
		}
	}
	return nil
}

func (f *Font) readFormat4(s []byte) error {
	segments := int(be.Uint16(s[6:])) / 2
	if 16+8*segments > len(s) {
		return bad("cmap segments cut off")
	}
	ends, starts := s[14:], s[16+2*segments:]
	deltas, offsets := s[16+4*segments:], s[16+6*segments:]
	next := uint32(0)
	for k := range segments {
		end, start := uint32(be.Uint16(ends[2*k:])), uint32(be.Uint16(starts[2*k:]))
		if start < next || end < start {
			return bad("cmap segments out of order")
		}
		next = end + 1
		delta, offset := be.Uint16(deltas[2*k:]), int(be.Uint16(offsets[2*k:]))
		for r := start; r <= end && r != 0xFFFF; r++ {
			if offset == 0 {
				f.set(r, uint32(uint16(r)+delta))
				continue
			}
			p := 2*k + offset + 2*int(r-start)
			if p+2 > len(offsets) {
				return bad("cmap glyph array cut off")
			}
			if g := be.Uint16(offsets[p:]); g != 0 {
				f.set(r, uint32(g+delta))
			}
		}
	}
	return nil
}

// Glyph returns the glyph of a character, 0 if the font has none.
func (f *Font) Glyph(r rune) uint16 {
	if r < 0 || r > 0x10FFFF {
		return 0
	}
	p := f.pages[r>>8]
	if p == nil {
		return 0
	}
	return p[r&255]
}

// Advance returns the width of a glyph in thousandths of an em, rounded.
func (f *Font) Advance(glyph uint16) int {
	return f.thousandths(int(be.Uint16(f.hmtx[4*min(int(glyph), f.longMetrics-1):])))
}

func (f *Font) thousandths(v int) int {
	n := v * 1000
	if n < 0 {
		return -((-n + f.unitsPerEm/2) / f.unitsPerEm)
	}
	return (n + f.unitsPerEm/2) / f.unitsPerEm
}

// Metrics are the figures of a PDF font descriptor, in thousandths of an em.
type Metrics struct {
	Bounds          [4]int // xMin yMin xMax yMax
	Ascent, Descent int
}

// Metrics returns the font's figures.
func (f *Font) Metrics() Metrics {
	m := Metrics{Ascent: f.thousandths(f.ascent), Descent: f.thousandths(f.descent)}
	for i, v := range f.bounds {
		m.Bounds[i] = f.thousandths(v)
	}
	return m
}

func (f *Font) sideBearing(glyph uint16) uint16 {
	if int(glyph) < f.longMetrics {
		return be.Uint16(f.hmtx[4*int(glyph)+2:])
	}
	return be.Uint16(f.hmtx[4*f.longMetrics+2*(int(glyph)-f.longMetrics):])
}

// outline returns the glyf entry of a glyph, empty for one without contours. scratch may be used for it.
func (f *Font) outline(glyph uint16, scratch []byte) ([]byte, error) {
	if int(glyph) >= f.glyphs {
		return nil, bad("glyph %d of %d", glyph, f.glyphs)
	}
	var from, to int64
	if f.longLoca {
		from, to = int64(be.Uint32(f.loca[4*int(glyph):])), int64(be.Uint32(f.loca[4*int(glyph)+4:]))
	} else {
		from, to = 2*int64(be.Uint16(f.loca[2*int(glyph):])), 2*int64(be.Uint16(f.loca[2*int(glyph)+2:]))
	}
	if from > to || to > f.glyfLength || to-from > 1<<16 {
		return nil, bad("outline of glyph %d lies outside glyf", glyph)
	}
	if from == to {
		return nil, nil
	}
	if to-from < 10 {
		return nil, bad("outline of glyph %d is too short", glyph)
	}
	if f.outlines != nil {
		return f.outlines[from:to], nil
	}
	n := int(to - from)
	if cap(scratch) < n {
		scratch = make([]byte, n)
	}
	scratch = scratch[:n]
	if _, err := f.r.ReadAt(scratch, f.glyfOffset+from); err != nil {
		return nil, fmt.Errorf("%w: outline of glyph %d: %w", ErrFont, glyph, err)
	}
	return scratch, nil
}
