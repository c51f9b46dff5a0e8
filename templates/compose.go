package templates

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/emmansun/gmsm/sm3"
)

// build makes the objects that stand in every file of the sheet: Pages, output intent and its profile, the empty
// appearance of the signature (the seal itself is part of the page, since some readers draw no signature), the static
// content, the static fonts. The page is the object after them.
func (s *sheet) build(content []byte) error {
	var o objects
	o.object("<<>>") // stands for the catalogue, which is written for each part
	skip := len(o.b)
	page := 6 + objectsPerFont*len(s.static)
	if s.signed {
		page++
	}
	o.object("<</Type/Pages/Kids[", page, "]/Count 1>>")
	s.intent = o.next()
	o.object("<</Type/OutputIntent/S/GTS_PDFA1/OutputConditionIdentifier(sRGB)/Info(sRGB IEC61966-2.1)/DestOutputProfile ", s.intent+1, ">>")
	o.stream("/N 3/Filter/FlateDecode", deflateSmall(sRGB()))
	if s.signed {
		s.appearance = o.next()
		o.stream(fmt.Sprintf("/Type/XObject/Subtype/Form/BBox[0 0 %s %s]/Resources<<>>", appendNumber(nil, s.signature.W*mm), appendNumber(nil, s.signature.H*mm)), nil)
	}
	s.content = o.next()
	o.stream("/Filter/FlateDecode", deflateSmall(content))
	var w fontWriter
	for weight, cut := range s.static {
		s.fonts[weight] = o.next()
		if err := w.write(&o, cut, staticFontFaces[weight], true); err != nil {
			return err
		}
	}
	s.objects = o.b[skip:]
	for _, at := range o.offsets[1:] {
		s.offsets = append(s.offsets, at-skip)
	}
	return nil
}

// byteRangeWidth is the room after "/ByteRange[0 ": three offsets, padded with spaces.
const byteRangeWidth = 32

// zeros fill the room of a signature.
var zeros = strings.Repeat("0", 4096)

// writer makes one file. It belongs to one goroutine at a time and keeps its buffers.
type writer struct {
	objects
	pen   *pen
	fonts fontWriter
	codes *qrEncoder
	text  []byte
}

// file writes the whole file of a part whose page is drawn: single revision, objects 1 to K in order, the signature
// dictionary last with its room, cross-reference table, trailer. docs/formats/part.md is the grammar. A slip is the same
// without attachment and signature.
func (w *writer) file(s *sheet, p *Part, code *symbol) (*Unsigned, error) {
	w.reset()
	w.b = append(w.b, "%PDF-1.7\n%\xE2\xE3\xCF\xD3\n"...)
	faces := w.pen.used
	page := 2 + len(s.offsets)
	metadata, spec, widget := page+1, page+2, page+4
	image := metadata + 1
	if s.signed {
		image = widget + 1
	}
	content := image
	if code != nil {
		content++
	}
	fonts := content + 1
	signature := fonts + objectsPerFont*len(faces)

	w.begin()
	w.put("<</Type/Catalog/Pages ", 2, "/Metadata ", metadata, "/Lang(zh-CN)/OutputIntents[", s.intent, "]")
	if s.signed {
		w.put("/AF[", spec, "]/Names<</EmbeddedFiles<</Names[(licence.json)", spec, "]>>>>/AcroForm<</Fields[", widget,
			"]/SigFlags 3>>/Perms<</DocMDP ", signature, ">>/ELIC_Part 1")
	}
	w.put(">>")
	w.end()
	base := len(w.b)
	w.b = append(w.b, s.objects...)
	for _, at := range s.offsets {
		w.offsets = append(w.offsets, base+at)
	}

	w.begin()
	w.put("<</Type/Page/Parent ", 2, "/MediaBox[0 0 ", s.width*mm, " ", s.height*mm, "]/Resources<</Font<<")
	for i, font := range s.fonts {
		w.put("/", resourceNames[i], " ", font)
	}
	for i := range faces {
		w.put("/", resourceNames[staticFaces+i], " ", fonts+objectsPerFont*i)
	}
	w.put(">>")
	if code != nil {
		w.put("/XObject<</Q ", image, ">>")
	}
	w.put(">>/Contents[", s.content, " ", content, "]")
	if s.signed {
		w.put("/Annots[", widget, "]")
	}
	w.put(">>")
	w.end()

	w.text = appendXMP(w.text[:0], s.title, p)
	w.stream("/Type/Metadata/Subtype/XML", w.text)
	signed := appendDate(nil, p.SigningTime)
	if s.signed {
		w.object("<</Type/Filespec/F(licence.json)/UF(licence.json)/Desc(licence.json)/AFRelationship/Data/EF<</F ", spec+1, "/UF ", spec+1, ">>>>")
		w.deflated(fmt.Sprintf("/Type/EmbeddedFile/Subtype/application#2Fjson/Params<</Size %d/ModDate%s>>", len(p.LicenceJSON), signed), p.LicenceJSON)
		box := s.signature
		w.object("<</Type/Annot/Subtype/Widget/FT/Sig/T(Signature)/F 132/P ", page, "/Rect[", box.X*mm, " ", (s.height-box.Y-box.H)*mm, " ",
			(box.X+box.W)*mm, " ", (s.height-box.Y)*mm, "]/AP<</N ", s.appearance, ">>/V ", signature, ">>")
	}
	if code != nil {
		side := strconv.Itoa(code.side)
		w.stream("/Type/XObject/Subtype/Image/Width "+side+"/Height "+side+"/ImageMask true/BitsPerComponent 1/Decode[1 0]", code.rows)
	}
	w.deflated("", w.pen.b)
	for _, face := range faces {
		if err := w.fonts.write(&w.objects, w.pen.cuts[face], w.pen.fam.faces[face].name, false); err != nil {
			return nil, err
		}
	}
	out := &Unsigned{}
	ranges := 0
	if s.signed {
		ranges = w.signature(p, signed, out)
	}
	return out, w.close(p, out, ranges)
}

// signature writes the signature dictionary and returns where the numbers of its ByteRange belong.
func (w *writer) signature(p *Part, signed []byte, out *Unsigned) (ranges int) {
	w.begin()
	w.put("<</Type/Sig/Filter/Adobe.PPKLite/SubFilter/adbe.pkcs7.detached/M", signed, "/Name")
	w.b = appendUTF16(w.b, p.SignerName)
	w.put("/Reference[<</Type/SigRef/TransformMethod/DocMDP/TransformParams<</Type/TransformParams/P 1/V/1.2>>>>]/ByteRange[0 ")
	ranges = len(w.b)
	for range byteRangeWidth {
		w.b = append(w.b, ' ')
	}
	w.put("]/Contents")
	out.ContentsAt, out.ContentsLen = len(w.b), 2+2*p.Room
	w.b = append(w.b, '<')
	for n := 2 * p.Room; n > 0; {
		k := min(n, len(zeros))
		w.b = append(w.b, zeros[:k]...)
		n -= k
	}
	w.put(">>>")
	w.end()
	return ranges
}

// close writes the table and the trailer, and hands out a copy of the file.
func (w *writer) close(p *Part, out *Unsigned, ranges int) error {
	table := len(w.b)
	w.put("xref\n0 ")
	w.b = strconv.AppendInt(w.b, int64(len(w.offsets)+1), 10)
	w.put("\n0000000000 65535 f \n")
	for _, o := range w.offsets {
		var digits [10]byte
		for i := 9; i >= 0; i-- {
			digits[i] = byte('0' + o%10)
			o /= 10
		}
		w.put(digits[:], " 00000 n \n")
	}
	id := fileID(p)
	w.put("trailer\n<</Size ")
	w.b = strconv.AppendInt(w.b, int64(len(w.offsets)+1), 10)
	w.put("/Root ", 1, "/ID[<", id, "><", id, ">]>>\nstartxref\n")
	w.b = strconv.AppendInt(w.b, int64(table), 10)
	w.put("\n%%EOF\n")
	if len(w.b) >= maxFileLen {
		return fmt.Errorf("%w: the file", ErrTooLong)
	}
	if ranges > 0 {
		after := out.ContentsAt + out.ContentsLen
		copy(w.b[ranges:], fmt.Sprintf("%d %d %d", out.ContentsAt, after, len(w.b)-after))
	}
	out.File = bytes.Clone(w.b)
	return nil
}

// fileID names the file by what it is of (ISO 32000-2 14.4): same licence, same part, same name. The code holds the
// credential, which commits to all values.
func fileID(p *Part) []byte {
	h := sm3.New()
	fmt.Fprintf(h, "elicence/part/1\n%s\n%s\n%s\n%d\n", p.Identifier, p.Number, p.Part, p.SigningTime.Unix())
	h.Write([]byte(p.Code))
	sum := h.Sum(nil)
	return []byte(fmt.Sprintf("%x", sum[:16]))
}

// appendDate writes a date as (D:YYYYMMDDHHMMSS+08'00').
func appendDate(b []byte, t time.Time) []byte {
	b = append(b, "(D:"...)
	b = t.AppendFormat(b, "20060102150405-0700")
	return append(append(append(b[:len(b)-2:len(b)-2], '\''), t.Format("-0700")[3:]...), "')"...)
}

// appendXMP writes the metadata (ISO 19005-3 6.6): no personal value stands in it.
func appendXMP(b []byte, title string, p *Part) []byte {
	at := p.SigningTime.Format("2006-01-02T15:04:05-07:00")
	return append(b, "<?xpacket begin=\"\xEF\xBB\xBF\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?>\n"+
		"<x:xmpmeta xmlns:x=\"adobe:ns:meta/\"><rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\"><rdf:Description rdf:about=\"\" xmlns:dc=\"http://purl.org/dc/elements/1.1/\" xmlns:xmp=\"http://ns.adobe.com/xap/1.0/\" xmlns:pdfaid=\"http://www.aiim.org/pdfa/ns/id/\">"+
		"<pdfaid:part>3</pdfaid:part><pdfaid:conformance>U</pdfaid:conformance>"+
		"<dc:format>application/pdf</dc:format><dc:identifier>"+escapeXML(p.Identifier)+"</dc:identifier>"+
		"<dc:title><rdf:Alt><rdf:li xml:lang=\"x-default\">"+escapeXML(title)+"</rdf:li></rdf:Alt></dc:title>"+
		"<dc:creator><rdf:Seq><rdf:li>"+escapeXML(p.Issuer.Name)+"</rdf:li></rdf:Seq></dc:creator>"+
		"<xmp:CreateDate>"+at+"</xmp:CreateDate><xmp:ModifyDate>"+at+"</xmp:ModifyDate><xmp:CreatorTool>elicence</xmp:CreatorTool>"+
		"</rdf:Description></rdf:RDF></x:xmpmeta>\n<?xpacket end=\"r\"?>"...)
}

func escapeXML(s string) string {
	if !strings.ContainsAny(s, "<>&\"'") {
		return s
	}
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // writing to memory cannot fail
	return b.String()
}
