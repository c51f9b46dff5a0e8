package truetype

// Subset collects the characters that one document uses of a font. Glyph 0 is .notdef; every character gets a glyph of
// its own, numbered in order of first use, so that ToUnicode is one-to-one even where the font shares outlines (the
// compatibility ideographs do). A Subset belongs to one goroutine; Reset makes it ready for the next document.
type Subset struct {
	font    *Font
	glyphs  []uint16 // of the font, by number in the subset
	runes   []rune   // by number in the subset; 0 for .notdef and for parts of composite glyphs
	byRune  map[rune]uint16
	parts   map[uint16]uint16 // glyph of the font that only composites use → number in the subset
	glyf    []byte
	loca    []int
	scratch []byte
}

// NewSubset returns an empty subset.
func (f *Font) NewSubset() *Subset {
	s := &Subset{font: f, byRune: make(map[rune]uint16, 128), parts: map[uint16]uint16{}}
	s.Reset()
	return s
}

// Reset forgets all characters and keeps the memory.
func (s *Subset) Reset() {
	s.glyphs, s.runes = append(s.glyphs[:0], 0), append(s.runes[:0], 0)
	clear(s.byRune)
	clear(s.parts)
}

// Font returns the font that is cut.
func (s *Subset) Font() *Font { return s.font }

// Use returns the number of a character's glyph in the subset, adding it; false if the font has no such character.
func (s *Subset) Use(r rune) (uint16, bool) {
	if n, ok := s.byRune[r]; ok {
		return n, true
	}
	g := s.font.Glyph(r)
	if g == 0 || len(s.glyphs) >= 0xFFFF {
		return 0, false
	}
	n := uint16(len(s.glyphs))
	s.glyphs, s.runes = append(s.glyphs, g), append(s.runes, r)
	s.byRune[r] = n
	return n, true
}

// Has returns the number of a character that is in the subset already.
func (s *Subset) Has(r rune) (uint16, bool) { n, ok := s.byRune[r]; return n, ok }

// Len returns how many glyphs the subset has, .notdef and (after Append) parts of composites included.
func (s *Subset) Len() int { return len(s.glyphs) }

// Rune returns the character of glyph n, 0 if it stands for none.
func (s *Subset) Rune(n int) rune { return s.runes[n] }

// Advance returns the width of glyph n of the subset in thousandths of an em.
func (s *Subset) Advance(n int) int { return s.font.Advance(s.glyphs[n]) }

func (s *Subset) part(glyph uint16) uint16 {
	if n, ok := s.parts[glyph]; ok {
		return n
	}
	n := uint16(len(s.glyphs))
	s.glyphs, s.runes = append(s.glyphs, glyph), append(s.runes, 0)
	s.parts[glyph] = n
	return n
}

// Flags of a component of a composite glyph.
const (
	wordArguments   = 0x0001
	haveScale       = 0x0008
	moreComponents  = 0x0020
	haveXYScale     = 0x0040
	haveTwoByTwo    = 0x0080
	haveInstruction = 0x0100
)

// appendOutline copies an outline without its instructions, which need tables that are not embedded, and renumbers the
// components of a composite.
func (s *Subset) appendOutline(dst, o []byte) ([]byte, error) {
	if len(o) == 0 {
		return dst, nil
	}
	if contours := int(int16(be.Uint16(o))); contours >= 0 {
		p := 10 + 2*contours
		if p+2 > len(o) || p+2+int(be.Uint16(o[p:])) > len(o) {
			return nil, bad("a simple outline is cut off")
		}
		dst = append(dst, o[:p]...)
		dst = append(dst, 0, 0)
		return append(dst, o[p+2+int(be.Uint16(o[p:])):]...), nil
	}
	start := len(dst)
	dst = append(dst, o...)
	d := dst[start:]
	for p := 10; ; {
		if p+4 > len(d) {
			return nil, bad("a composite outline is cut off")
		}
		flags := be.Uint16(d[p:])
		be.PutUint16(d[p:], flags&^haveInstruction)
		be.PutUint16(d[p+2:], s.part(be.Uint16(d[p+2:])))
		p += 6
		if flags&wordArguments != 0 {
			p += 2
		}
		switch {
		case flags&haveScale != 0:
			p += 2
		case flags&haveXYScale != 0:
			p += 4
		case flags&haveTwoByTwo != 0:
			p += 8
		}
		if p > len(d) {
			return nil, bad("a composite outline is cut off")
		}
		if flags&moreComponents == 0 {
			return dst[:start+p], nil
		}
	}
}

// Append writes the subset as a TrueType file: the six tables that PDF asks for (ISO 32000-2 9.9.1) and no others. With
// codes it adds cmap (code n shows glyph n), name and post, for programs that read fonts by themselves.
func (s *Subset) Append(dst []byte, codes bool) ([]byte, error) {
	f := s.font
	s.glyf, s.loca = s.glyf[:0], s.loca[:0]
	for i := 0; i < len(s.glyphs); i++ { // grows while composites are found
		if i > 0xFFFF {
			return nil, bad("more than 65,536 glyphs")
		}
		s.loca = append(s.loca, len(s.glyf))
		o, err := f.outline(s.glyphs[i], s.scratch)
		if err != nil {
			return nil, err
		}
		if f.outlines == nil && cap(o) > cap(s.scratch) {
			s.scratch = o
		}
		if s.glyf, err = s.appendOutline(s.glyf, o); err != nil {
			return nil, err
		}
		if len(s.glyf)%2 != 0 {
			s.glyf = append(s.glyf, 0)
		}
	}
	s.loca = append(s.loca, len(s.glyf))
	n := len(s.glyphs)
	long := len(s.glyf) > 0x1FFFE

	tables := 6
	if codes {
		tables = 9
	}
	start := len(dst)
	power, exponent := 1, 0
	for power*2 <= tables {
		power, exponent = power*2, exponent+1
	}
	dst = be.AppendUint32(dst, 0x00010000)
	for _, v := range []int{tables, power * 16, exponent, tables*16 - power*16} {
		dst = be.AppendUint16(dst, uint16(v))
	}
	directory := len(dst)
	dst = append(dst, make([]byte, 16*tables)...)
	k, headAt := 0, 0
	table := func(tag string, write func(b []byte) []byte) {
		at := len(dst)
		dst = write(dst)
		length := len(dst) - at
		for (len(dst)-start)%4 != 0 {
			dst = append(dst, 0)
		}
		d := dst[directory+16*k:]
		copy(d, tag)
		be.PutUint32(d[4:], sum(dst[at:]))
		be.PutUint32(d[8:], uint32(at-start))
		be.PutUint32(d[12:], uint32(length))
		if tag == "head" {
			headAt = at
		}
		k++
	}
	if codes {
		table("cmap", func(b []byte) []byte { return appendIdentityCmap(b, n) })
	}
	table("glyf", func(b []byte) []byte { return append(b, s.glyf...) })
	table("head", func(b []byte) []byte {
		at := len(b)
		b = append(b, f.head[:54]...)
		be.PutUint32(b[at+8:], 0)
		be.PutUint16(b[at+50:], 0)
		if long {
			be.PutUint16(b[at+50:], 1)
		}
		return b
	})
	table("hhea", func(b []byte) []byte {
		at := len(b)
		b = append(b, f.hhea[:36]...)
		be.PutUint16(b[at+34:], uint16(n))
		return b
	})
	table("hmtx", func(b []byte) []byte {
		for _, g := range s.glyphs {
			b = append(b, f.hmtx[4*min(int(g), f.longMetrics-1):][:2]...)
			b = be.AppendUint16(b, f.sideBearing(g))
		}
		return b
	})
	table("loca", func(b []byte) []byte {
		for _, o := range s.loca {
			if long {
				b = be.AppendUint32(b, uint32(o))
			} else {
				b = be.AppendUint16(b, uint16(o/2))
			}
		}
		return b
	})
	table("maxp", func(b []byte) []byte {
		at := len(b)
		b = append(b, f.maxp...)
		be.PutUint16(b[at+4:], uint16(n))
		if len(f.maxp) >= 32 {
			clear(b[at+14 : at+28]) // zones and instructions: none are left
			be.PutUint16(b[at+14:], 1)
		}
		return b
	})
	if codes {
		table("name", func(b []byte) []byte { return append(b, 0, 0, 0, 0, 0, 6) })
		table("post", func(b []byte) []byte { return append(append(b, 0, 3, 0, 0), make([]byte, 28)...) })
	}
	be.PutUint32(dst[headAt+8:], 0xB1B0AFBA-sum(dst[start:]))
	return dst, nil
}

// sum is the checksum of a table (OpenType, "Calculating checksums").
func sum(b []byte) (total uint32) {
	for ; len(b) >= 4; b = b[4:] {
		total += be.Uint32(b)
	}
	if len(b) > 0 {
		var last [4]byte
		copy(last[:], b)
		total += be.Uint32(last[:])
	}
	return total
}

// appendIdentityCmap writes a format 4 cmap in which code n shows glyph n, for n from 1 to glyphs-1.
func appendIdentityCmap(b []byte, glyphs int) []byte {
	b = append(b, 0, 0, 0, 1, 0, 3, 0, 1, 0, 0, 0, 12, 0, 4)
	fields := []int{16 + 8*2, 0, 4, 4, 1, 0, glyphs - 1, 0xFFFF, 0, 1, 0xFFFF, 0, 1, 0, 0}
	if glyphs < 2 { // no code at all: only the segment that ends every table
		fields = []int{16 + 8, 0, 2, 2, 0, 0, 0xFFFF, 0, 0xFFFF, 1, 0}
	}
	for _, v := range fields {
		b = be.AppendUint16(b, uint16(v))
	}
	return b
}
