package pdf

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"github.com/elicence/elicence/signer/digest"
)

// reader reads one file at a time.
type reader struct {
	file []byte
	ends []int  // object n lies from ends[n-1] to ends[n]
	role []bool // object n has been read in its role
	inflater
	content []byte // of one page stream
	seen    [8]seenContent
	oldest  int
	memo    digest.Memo
}

func (r *reader) read(file []byte) (*Document, error) {
	defer func() { r.file = nil }()
	if err := r.frame(file); err != nil {
		return nil, err
	}
	r.role = append(r.role[:0], make([]bool, len(r.ends))...)
	d := &Document{}
	if err := r.catalogue(d); err != nil {
		return nil, err
	}
	for n := 1; n < len(r.role); n++ {
		if !r.role[n] {
			return nil, fmt.Errorf("object %d is not used", n)
		}
	}
	return d, nil
}

// object opens object n, which must not have been read before: every object has one role. The scanner stands behind
// "n 0 obj\n" and ends before "\nendobj\n".
func (r *reader) object(n int) (scanner, error) {
	if n < 1 || n >= len(r.ends) {
		return scanner{}, fmt.Errorf("there is no object %d", n)
	}
	if r.role[n] {
		return scanner{}, fmt.Errorf("object %d is used in two ways", n)
	}
	r.role[n] = true
	body, ok := bytes.CutSuffix(r.file[r.ends[n-1]:r.ends[n]], []byte("\nendobj\n"))
	s := scanner{b: body}
	s.want(strconv.Itoa(n))
	s.want(" 0 obj\n")
	if !ok {
		s.fail("endobj")
	}
	return s, nil
}

// stream is the bytes of a stream as they stand in the file.
type stream struct {
	b      []byte
	packed bool // with FlateDecode
}

// stream takes the end of a stream's dictionary and its bytes, which are the rest of the object. Any stream may be packed
// or plain; there is no other filter and none has parameters.
func (s *scanner) stream() stream {
	packed := s.maybe("/Filter/FlateDecode")
	s.want("/Length ")
	n := s.natural()
	s.want(">>\nstream\n")
	if s.bad || len(s.b)-s.at < n {
		s.fail("a stream")
		return stream{}
	}
	b := s.b[s.at : s.at+n]
	s.at += n
	s.want("\nendstream")
	return stream{b, packed}
}

// in names the object in an error.
func in(role string, n int, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("object %d, %s: %w", n, role, err)
}

// catalogue reads object 1 and from there on all others. ISO 32000-2 7.7.2; 12.8.6 for Perms; ISO 19005-3 6.8 for AF.
func (r *reader) catalogue(d *Document) error {
	s, err := r.object(1)
	if err != nil {
		return err
	}
	s.want("<</Type/Catalog/Pages ")
	pages := s.reference()
	s.want("/Metadata ")
	metadata := s.reference()
	s.want("/Lang(zh-CN)/OutputIntents[")
	intent := s.reference()
	s.want("]/AF[")
	spec := s.reference()
	s.want("]/Names<</EmbeddedFiles<</Names[(licence.json)")
	sameSpec := s.reference()
	s.want("]>>>>/AcroForm<</Fields[")
	widget := s.reference()
	s.want("]/SigFlags 3>>/Perms<</DocMDP ")
	signature := s.reference()
	s.want(">>/ELIC_Part 1>>")
	if err := s.done(); err != nil {
		return in("catalogue", 1, err)
	}
	if spec != sameSpec {
		return in("catalogue", 1, errors.New("two embedded files"))
	}
	page, err := r.pages(pages)
	if err != nil {
		return err
	}
	if err := r.intent(intent); err != nil {
		return err
	}
	if err := r.page(page, pages, widget); err != nil {
		return err
	}
	signed, err := r.signature(signature, d)
	if err != nil {
		return err
	}
	if err := r.embedded(spec, signed, d); err != nil {
		return err
	}
	if err := r.widget(widget, page, signature); err != nil {
		return err
	}
	return r.metadata(metadata, signed, d)
}

func (r *reader) pages(n int) (page int, err error) {
	s, err := r.object(n)
	if err != nil {
		return 0, err
	}
	s.want("<</Type/Pages/Kids[")
	page = s.reference()
	s.want("]/Count 1>>")
	return page, in("pages", n, s.done())
}

// intent reads the output intent and its profile, which says what the colours are (ISO 19005-3 6.2.3).
func (r *reader) intent(n int) error {
	s, err := r.object(n)
	if err != nil {
		return err
	}
	s.want("<</Type/OutputIntent/S/GTS_PDFA1/OutputConditionIdentifier(sRGB)/Info(sRGB IEC61966-2.1)/DestOutputProfile ")
	profile := s.reference()
	s.want(">>")
	if err := s.done(); err != nil {
		return in("output intent", n, err)
	}
	if s, err = r.object(profile); err != nil {
		return err
	}
	s.want("<</N 3")
	s.stream()
	return in("colour profile", profile, s.done())
}

// Bounds of a page.
const (
	maxFonts    = 9
	maxContents = 4
)

// page reads the page with its fonts, its code and its contents.
func (r *reader) page(n, parent, widget int) error {
	s, err := r.object(n)
	if err != nil {
		return err
	}
	s.want("<</Type/Page/Parent ")
	if s.reference() != parent {
		s.fail("its parent")
	}
	s.want("/MediaBox[0 0 ")
	s.length()
	s.want(" ")
	s.length()
	s.want("]/Resources<</Font<<")
	// F1 and F2 are the page's static fonts; of the others only those are there that a value needed.
	var fonts [maxFonts]int
	for i := range fonts {
		if s.maybe("/F" + string(rune('1'+i)) + " ") {
			fonts[i] = s.reference()
		}
	}
	s.want(">>")
	code := 0
	if s.maybe("/XObject<</Q ") {
		code = s.reference()
		s.want(">>")
	}
	s.want(">>/Contents[")
	var contents []int
	for !s.bad && len(contents) < maxContents {
		contents = append(contents, s.reference())
		if !s.maybe(" ") {
			break
		}
	}
	s.want("]/Annots[")
	if s.reference() != widget {
		s.fail("the signature's field")
	}
	s.want("]>>")
	if err := s.done(); err != nil {
		return in("page", n, err)
	}
	have := uses(0)
	for i, font := range fonts {
		if font == 0 {
			continue
		}
		if err := r.font(font); err != nil {
			return err
		}
		have |= useFont << i
	}
	if code != 0 {
		if err := r.image(code); err != nil {
			return err
		}
		have |= useCode
	}
	used := uses(0)
	for i, c := range contents {
		u, err := r.pageContent(c, i < len(contents)-1)
		if err != nil {
			return err
		}
		used |= u
	}
	if used != have {
		return in("page", n, errors.New("its contents use other resources than it has"))
	}
	return nil
}
