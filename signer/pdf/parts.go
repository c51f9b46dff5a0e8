package pdf

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// font reads the six objects of an embedded font (ISO 32000-2 9.7; ISO 19005-3 6.2.11): Type0, CIDFont, descriptor,
// file, ToUnicode, CIDSet. File and maps are under the signature and are not looked into.
func (r *reader) font(n int) error {
	s, err := r.object(n)
	if err != nil {
		return err
	}
	s.want("<</Type/Font/Subtype/Type0/BaseFont/")
	name := s.fontName()
	s.want("/Encoding/Identity-H/DescendantFonts[")
	descendant := s.reference()
	s.want("]/ToUnicode ")
	unicode := s.reference()
	s.want(">>")
	if err := s.done(); err != nil {
		return in("font", n, err)
	}

	if s, err = r.object(descendant); err != nil {
		return err
	}
	s.want("<</Type/Font/Subtype/CIDFontType2/BaseFont/")
	s.want(name)
	s.want("/CIDSystemInfo<</Registry(Adobe)/Ordering(Identity)/Supplement 0>>/FontDescriptor ")
	descriptor := s.reference()
	s.want("/CIDToGIDMap/Identity/DW 1000/W[")
	s.widths()
	s.want("]>>")
	if err := s.done(); err != nil {
		return in("font's glyphs", descendant, err)
	}

	if s, err = r.object(descriptor); err != nil {
		return err
	}
	s.want("<</Type/FontDescriptor/FontName/")
	s.want(name)
	s.want("/Flags 4/FontBBox[")
	for i := range 4 {
		if i > 0 {
			s.want(" ")
		}
		s.integer()
	}
	s.want("]/ItalicAngle 0/Ascent ")
	s.integer()
	s.want("/Descent ")
	s.integer()
	s.want("/CapHeight ")
	s.integer()
	s.want("/StemV 80/FontFile2 ")
	file := s.reference()
	s.want("/CIDSet ")
	set := s.reference()
	s.want(">>")
	if err := s.done(); err != nil {
		return in("font descriptor", descriptor, err)
	}

	if s, err = r.object(file); err != nil {
		return err
	}
	s.want("<</Length1 ")
	s.natural()
	s.stream()
	if err := s.done(); err != nil {
		return in("font file", file, err)
	}

	if s, err = r.object(unicode); err != nil {
		return err
	}
	s.want("<<")
	s.stream()
	if err := s.done(); err != nil {
		return in("ToUnicode", unicode, err)
	}

	if s, err = r.object(set); err != nil {
		return err
	}
	s.want("<<")
	s.stream()
	return in("CIDSet", set, s.done())
}

// fontName takes the name of a subset: six capitals, plus sign, letters, digits and hyphens (ISO 32000-2 9.9.2).
func (s *scanner) fontName() string {
	from := s.at
	for s.at < len(s.b) && s.b[s.at] != '/' {
		c := s.b[s.at]
		i := s.at - from
		capital := 'A' <= c && c <= 'Z'
		switch {
		case i < 6 && capital, i == 6 && c == '+', i > 6 && (capital || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-'):
			s.at++
		default:
			s.fail("the name of a subset")
			return ""
		}
	}
	if s.at-from < 8 || s.at-from > 64 {
		s.fail("the name of a subset")
		return ""
	}
	return string(s.b[from:s.at])
}

// widths takes runs "first[w w w]" with growing glyph numbers (ISO 32000-2 9.7.4.3).
func (s *scanner) widths() {
	for next := 0; !s.bad && s.at < len(s.b) && s.b[s.at] != ']'; {
		if first := s.natural(); first < next {
			s.fail("a greater glyph number")
		} else {
			next = first
		}
		s.want("[")
		for !s.bad {
			s.natural()
			next++
			if !s.maybe(" ") {
				break
			}
		}
		s.want("]")
	}
}

const maxSide = 512 // of a code, in modules

// image reads the code: a square stencil of one bit a module (ISO 32000-2 8.9.6.2).
func (r *reader) image(n int) error {
	s, err := r.object(n)
	if err != nil {
		return err
	}
	s.want("<</Type/XObject/Subtype/Image/Width ")
	side := s.natural()
	s.want("/Height ")
	s.want(strconv.Itoa(side))
	s.want("/ImageMask true/BitsPerComponent 1/Decode[1 0]")
	rows := s.stream()
	if side < 1 || side > maxSide || !rows.packed && len(rows.b) != side*((side+7)/8) {
		s.fail("as many bits as modules")
	}
	return in("code", n, s.done())
}

// widget reads the signature's field and its appearance, which is empty: the seal is part of the page.
func (r *reader) widget(n, page, signature int) error {
	s, err := r.object(n)
	if err != nil {
		return err
	}
	s.want("<</Type/Annot/Subtype/Widget/FT/Sig/T(Signature)/F 132/P ")
	if s.reference() != page {
		s.fail("the page")
	}
	s.want("/Rect[")
	for i := range 4 {
		if i > 0 {
			s.want(" ")
		}
		s.length()
	}
	s.want("]/AP<</N ")
	appearance := s.reference()
	s.want(">>/V ")
	if s.reference() != signature {
		s.fail("the signature")
	}
	s.want(">>")
	if err := s.done(); err != nil {
		return in("signature's field", n, err)
	}
	if s, err = r.object(appearance); err != nil {
		return err
	}
	s.want("<</Type/XObject/Subtype/Form/BBox[0 0 ")
	s.length()
	s.want(" ")
	s.length()
	s.want("]/Resources<<>>")
	if drawn := s.stream(); drawn.packed || len(drawn.b) != 0 {
		s.fail("nothing drawn")
	}
	return in("appearance", appearance, s.done())
}

// signature reads the signature dictionary and takes the CMS out of it. It must be the last object.
func (r *reader) signature(n int, d *Document) (signed moment, err error) {
	if n != len(r.ends)-1 {
		return moment{}, fmt.Errorf("object %d, signature: not the last one", n)
	}
	s, err := r.object(n)
	if err != nil {
		return moment{}, err
	}
	s.want("<</Type/Sig/Filter/Adobe.PPKLite/SubFilter/adbe.pkcs7.detached/M")
	signed = s.moment()
	s.want("/Name")
	d.SignerName = s.text()
	s.want("/Reference[<</Type/SigRef/TransformMethod/DocMDP/TransformParams<</Type/TransformParams/P 1/V/1.2>>>>]/ByteRange[")
	ranges := s.until(']', "ByteRange")
	s.want("/Contents")
	from := r.ends[n-1] + s.at
	s.want("<")
	contents := s.until('>', "Contents")
	to := r.ends[n-1] + s.at
	s.want(">>")
	if err := s.done(); err != nil {
		return moment{}, in("signature", n, err)
	}
	// The ranges are the whole file but the token Contents, and they are written in one way.
	want := fmt.Appendf(make([]byte, 0, 48), "0 %d %d %d", from, to, len(r.file)-to)
	for len(want) < len("0 ")+rangesWidth {
		want = append(want, ' ')
	}
	if !slices.Equal(ranges, want) {
		return moment{}, in("signature", n, errors.New("ByteRange is not the whole file without Contents"))
	}
	if d.CMS, err = unhex(contents); err != nil {
		return moment{}, in("signature", n, err)
	}
	d.Room = len(contents) / 2
	d.SignedAt = signed.time
	if d.begun, err = r.memo.Begin(r.file[:from]); err != nil {
		return moment{}, in("signature", n, err)
	}
	d.contentsAt = from
	d.Digest, err = d.begun.Sum(r.file[to:])
	return signed, err
}

// rangesWidth is the room for three offsets behind "/ByteRange[0 ".
const rangesWidth = 32

var errContents = errors.New("no CMS in lower-case hex with zeros behind it")

// unhex reads Contents: one DER SEQUENCE, and only the digit 0 behind it. The CMS itself is read by package cms.
func unhex(contents []byte) ([]byte, error) {
	if len(contents)%2 != 0 || len(contents) < 16 {
		return nil, errContents
	}
	var head [4]byte
	for i := range head {
		high, low := lowerHex[contents[2*i]], lowerHex[contents[2*i+1]]
		if high < 0 || low < 0 {
			return nil, errContents
		}
		head[i] = byte(high)<<4 | byte(low)
	}
	// A CMS has between 256 bytes and 64 KiB, so its length takes two bytes (X.690, 10.1).
	size := 4 + (int(head[2])<<8 | int(head[3]))
	if head[0] != 0x30 || head[1] != 0x82 || head[2] == 0 || 2*size > len(contents) {
		return nil, errContents
	}
	der := make([]byte, size)
	for i := range der {
		high, low := lowerHex[contents[2*i]], lowerHex[contents[2*i+1]]
		if high < 0 || low < 0 {
			return nil, errContents
		}
		der[i] = byte(high)<<4 | byte(low)
	}
	for _, c := range contents[2*size:] {
		if c != '0' {
			return nil, errContents
		}
	}
	return der, nil
}
