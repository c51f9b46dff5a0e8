package templates

import (
	"strconv"

	"github.com/elicence/elicence/templates/truetype"
)

// objectsPerFont is how many objects an embedded font takes: Type0, CIDFont, descriptor, file, ToUnicode, CIDSet.
const objectsPerFont = 6

// fontWriter turns subsets into PDF objects; it keeps its buffers.
type fontWriter struct {
	file, cmap, set []byte
}

// write writes the six objects of a subset, the Type0 font first; small asks for the tightest packing.
//
// ISO 19005-3 6.2.11: the file is embedded (FontFile2), CIDToGIDMap is Identity, CIDSet names every glyph, ToUnicode
// gives every glyph that is shown its character, supplementary planes as surrogate pairs.
func (w *fontWriter) write(o *objects, s *truetype.Subset, name string, small bool) error {
	var err error
	if w.file, err = s.Append(w.file[:0], false); err != nil {
		return err
	}
	base := appendTag(nil, s)
	base = append(append(base, '+'), name...)
	first := o.next()
	o.object("<</Type/Font/Subtype/Type0/BaseFont/", base, "/Encoding/Identity-H/DescendantFonts[", first+1, "]/ToUnicode ", first+4, ">>")
	o.begin()
	o.put("<</Type/Font/Subtype/CIDFontType2/BaseFont/", base, "/CIDSystemInfo<</Registry(Adobe)/Ordering(Identity)/Supplement 0>>/FontDescriptor ", first+2, "/CIDToGIDMap/Identity/DW 1000/W[")
	o.b = appendWidths(o.b, s)
	o.put("]>>")
	o.end()
	m := s.Font().Metrics()
	o.begin()
	o.put("<</Type/FontDescriptor/FontName/", base, "/Flags 4/FontBBox[")
	for i, v := range m.Bounds {
		if i > 0 {
			o.put(" ")
		}
		o.b = strconv.AppendInt(o.b, int64(v), 10)
	}
	o.put("]/ItalicAngle 0/Ascent ", float64(m.Ascent), "/Descent ", float64(m.Descent), "/CapHeight ", float64(m.Ascent),
		"/StemV 80/FontFile2 ", first+3, "/CIDSet ", first+5, ">>")
	o.end()
	length := "/Length1 " + strconv.Itoa(len(w.file))
	w.cmap = appendToUnicode(w.cmap[:0], s)
	w.set = appendCIDSet(w.set[:0], s.Len())
	if small {
		o.stream(length+"/Filter/FlateDecode", deflateSmall(w.file))
		o.stream("/Filter/FlateDecode", deflateSmall(w.cmap))
	} else {
		o.deflated(length, w.file)
		o.stream("", w.cmap) // packing it for each part would cost more time than it saves room
	}
	o.stream("", w.set)
	return nil
}

// appendTag writes the six letters that mark a subset (ISO 32000-2 9.9.2), made of what it holds.
func appendTag(b []byte, s *truetype.Subset) []byte {
	h := uint64(14695981039346656037) // FNV-1a; nothing hangs on it
	for i := range s.Len() {
		h = (h ^ uint64(s.Rune(i))) * 1099511628211
	}
	for range 6 {
		b = append(b, 'A'+byte(h%26))
		h /= 26
	}
	return b
}

// appendWidths writes the W array: runs of glyphs that are not one em wide, since DW is 1000.
func appendWidths(b []byte, s *truetype.Subset) []byte {
	open := false
	for i := range s.Len() {
		width := s.Advance(i)
		if width == 1000 {
			if open {
				b = append(b, ']')
			}
			open = false
			continue
		}
		if open {
			b = append(b, ' ')
		} else {
			b = strconv.AppendInt(b, int64(i), 10)
			b = append(b, '[')
		}
		b = strconv.AppendInt(b, int64(width), 10)
		open = true
	}
	if open {
		b = append(b, ']')
	}
	return b
}

// appendToUnicode writes the CMap: glyphs are numbered in a row, so each range lists what its glyphs show. Codes of one
// range differ in their last byte alone, and an operator takes at most 100 ranges (ISO 32000-2 9.10.3, Adobe note 5014).
func appendToUnicode(b []byte, s *truetype.Subset) []byte {
	b = append(b, "/CIDInit /ProcSet findresource begin\n12 dict begin\nbegincmap\n/CIDSystemInfo <</Registry (Adobe) /Ordering (UCS) /Supplement 0>> def\n/CMapName /Adobe-Identity-UCS def\n/CMapType 2 def\n1 begincodespacerange\n<0000> <FFFF>\nendcodespacerange\n"...)
	// next returns the first range from i on; it is empty behind the last.
	next := func(i int) (from, to int) {
		for i < s.Len() && s.Rune(i) == 0 { // .notdef, parts of composites
			i++
		}
		for from, to = i, i; to < s.Len() && s.Rune(to) != 0 && to>>8 == from>>8; to++ {
		}
		return from, to
	}
	for at := 0; ; {
		ranges := 0
		for i := at; ranges < 100; ranges++ {
			from, to := next(i)
			if from == to {
				break
			}
			i = to
		}
		if ranges == 0 {
			break
		}
		b = strconv.AppendInt(b, int64(ranges), 10)
		b = append(b, " beginbfrange\n"...)
		for range ranges {
			from, to := next(at)
			b = appendHex16(append(b, '<'), uint16(from))
			b = appendHex16(append(b, "><"...), uint16(to-1))
			b = append(b, ">["...)
			for i := from; i < to; i++ {
				b = append(appendRuneUTF16(append(b, '<'), s.Rune(i)), '>')
			}
			b = append(b, "]\n"...)
			at = to
		}
		b = append(b, "endbfrange\n"...)
	}
	return append(b, "endcmap\nCMapName currentdict /CMap defineresource pop\nend\nend\n"...)
}

// appendCIDSet writes one bit for each glyph of the subset.
func appendCIDSet(b []byte, glyphs int) []byte {
	for n := glyphs; n > 0; n -= 8 {
		b = append(b, byte(uint16(0xFF00)>>min(n, 8)))
	}
	return b
}
