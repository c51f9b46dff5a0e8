package pdf

import (
	"bytes"
	"errors"
	"strings"
	"time"
	"unicode/utf8"
)

// zone is the one that parts are dated in.
var zone = time.FixedZone("UTC+08:00", 8*60*60)

// moment is a time as the file writes it: whole seconds, UTC+08:00.
type moment struct {
	time time.Time
	text string // (D:YYYYMMDDHHMMSS+08'00')
}

// moment takes a date (ISO 32000-2 7.9.4).
func (s *scanner) moment() moment {
	from := s.at
	s.want("(D:")
	if len(s.b)-s.at < 14 {
		s.fail("a date")
		return moment{}
	}
	t, err := time.ParseInLocation("20060102150405", string(s.b[s.at:s.at+14]), zone)
	if err != nil {
		s.fail("a date")
		return moment{}
	}
	s.at += 14
	s.want("+08'00')")
	return moment{t, string(s.b[from:s.at])}
}

// embedded reads licence.json: file specification (ISO 32000-2 7.11.3) and embedded file.
func (r *reader) embedded(n int, signed moment, d *Document) error {
	s, err := r.object(n)
	if err != nil {
		return err
	}
	s.want("<</Type/Filespec/F(licence.json)/UF(licence.json)/Desc(licence.json)/AFRelationship/Data/EF<</F ")
	file := s.reference()
	s.want("/UF ")
	if s.reference() != file {
		s.fail("the same file")
	}
	s.want(">>>>")
	if err := s.done(); err != nil {
		return in("file specification", n, err)
	}
	if s, err = r.object(file); err != nil {
		return err
	}
	s.want("<</Type/EmbeddedFile/Subtype/application#2Fjson/Params<</Size ")
	size := s.natural()
	s.want("/ModDate")
	s.want(signed.text)
	s.want(">>")
	body := s.stream()
	if err := s.done(); err != nil {
		return in("embedded file", file, err)
	}
	if size > maxStream || size/maxRatio > len(body.b) {
		return in("embedded file", file, errStream)
	}
	if d.LicenceJSON, err = r.plain(make([]byte, 0, size+1), body); err != nil {
		return in("embedded file", file, err)
	}
	if len(d.LicenceJSON) != size {
		return in("embedded file", file, errors.New("it has another size than it says"))
	}
	var ok bool
	if d.Part, ok = member(d.LicenceJSON, "part"); !ok {
		return in("embedded file", file, errors.New("it names no part"))
	}
	return nil
}

// maxRatio is more than deflate can pack (RFC 1951: 258 bytes in two bits).
const maxRatio = 1032

// member finds a text member of licence.json without reading it: inside of a string a quotation mark is escaped, so
// `"name":"` stands nowhere else. What has an escape itself is not found.
func member(json []byte, name string) (string, bool) {
	_, rest, ok := bytes.Cut(json, []byte(`"`+name+`":"`))
	value, _, end := bytes.Cut(rest, []byte(`"`))
	return string(value), ok && end && len(value) > 0 && len(value) < 256 && bytes.IndexByte(value, '\\') < 0
}

// metadata reads the XMP packet (ISO 16684-1, ISO 19005-3 6.6). It is one text with five places.
func (r *reader) metadata(n int, signed moment, d *Document) error {
	s, err := r.object(n)
	if err != nil {
		return err
	}
	s.want("<</Type/Metadata/Subtype/XML")
	packet := s.stream()
	if packet.packed { // ISO 19005-3 6.6.2.1 has it readable
		s.fail("metadata that is not packed")
	}
	if err := s.done(); err != nil {
		return in("metadata", n, err)
	}
	s = scanner{b: packet.b}
	s.want("<?xpacket begin=\"\xEF\xBB\xBF\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?>\n" +
		`<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""` +
		` xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:pdfaid="http://www.aiim.org/pdfa/ns/id/">` +
		`<pdfaid:part>3</pdfaid:part><pdfaid:conformance>U</pdfaid:conformance><dc:format>application/pdf</dc:format><dc:identifier>`)
	d.Identifier = s.xmlText()
	s.want(`/dc:identifier><dc:title><rdf:Alt><rdf:li xml:lang="x-default">`)
	d.Title = s.xmlText()
	s.want(`/rdf:li></rdf:Alt></dc:title><dc:creator><rdf:Seq><rdf:li>`)
	d.IssuerName = s.xmlText()
	at := signed.time.Format("2006-01-02T15:04:05-07:00")
	s.want(`/rdf:li></rdf:Seq></dc:creator><xmp:CreateDate>` + at + `</xmp:CreateDate><xmp:ModifyDate>` + at +
		`</xmp:ModifyDate><xmp:CreatorTool>elicence</xmp:CreatorTool></rdf:Description></rdf:RDF></x:xmpmeta>` + "\n" + `<?xpacket end="r"?>`)
	if err := s.done(); err != nil {
		return in("metadata", n, err)
	}
	if identifier, ok := member(d.LicenceJSON, "identifier"); !ok || identifier != d.Identifier {
		return in("metadata", n, errors.New("it names another licence than licence.json"))
	}
	return nil
}

// xmlText takes character data up to the next "<", with the escapes of encoding/xml.
func (s *scanner) xmlText() string {
	b := s.until('<', "a text")
	if len(b) == 0 || len(b) > 1024 || !utf8.Valid(b) || bytes.IndexByte(b, '>') >= 0 {
		s.fail("a text")
		return ""
	}
	for _, c := range b {
		if c < ' ' || c == '"' || c == '\'' || c == 0x7f {
			s.fail("a text")
			return ""
		}
	}
	if bytes.IndexByte(b, '&') < 0 {
		return string(b)
	}
	var out strings.Builder
	for {
		plain, rest, more := bytes.Cut(b, []byte("&"))
		out.Write(plain)
		if !more {
			return out.String()
		}
		name, after, ok := bytes.Cut(rest, []byte(";"))
		c, known := xmlEscapes[string(name)]
		if !ok || !known {
			s.fail("a text")
			return ""
		}
		out.WriteByte(c)
		b = after
	}
}

// xmlEscapes are the references that encoding/xml writes.
var xmlEscapes = map[string]byte{"amp": '&', "lt": '<', "gt": '>', "#34": '"', "#39": '\''}
