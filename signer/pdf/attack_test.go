package pdf_test

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"codeberg.org/go-pdf/fpdf"

	"github.com/elicence/elicence/signer/pdf"
	"github.com/elicence/elicence/signer/signertest"
)

// attack is a part whose form is broken, and nothing else.
type attack struct {
	name, why string
	make      func(w *workshop)
}

const (
	pageWord      = "/Type/Page/"
	catalogueWord = "/Type/Catalog"
	sigWord       = "/Type/Sig/"
	widgetWord    = "/Subtype/Widget"
	specWord      = "/Type/Filespec"
	fileWord      = "/Type/EmbeddedFile"
	metadataWord  = "/Type/Metadata"
	codeWord      = "/Subtype/Image"
)

func draws(b string) func(w *workshop) {
	return func(w *workshop) {
		w.restream(w.content(), func(old []byte) []byte { return append(slices.Clone(old), b...) })
	}
}

// shared does to the first piece of page content, which all parts of a type share, what f does to the last.
func shared(f func(w *workshop)) func(w *workshop) {
	return func(w *workshop) { w.first = true; f(w) }
}

func attacks() []attack {
	return []attack{
		{"open-action", "a script that runs when the file is opened", func(w *workshop) {
			w.change(catalogueWord, "/ELIC_Part", "/OpenAction<</S/JavaScript/JS(app.alert(1))>>/ELIC_Part")
		}},
		{"additional-actions", "actions of the document", func(w *workshop) { w.change(catalogueWord, "/ELIC_Part", "/AA<<>>/ELIC_Part") }},
		{"named-scripts", "a name tree of scripts", func(w *workshop) {
			w.change(catalogueWord, "/Names<<", "/Names<</JavaScript<</Names[(a)<</S/JavaScript/JS(1)>>]>>")
		}},
		{"layers", "optional content", func(w *workshop) {
			w.change(catalogueWord, "/ELIC_Part", "/OCProperties<</OCGs[]/D<<>>>>/ELIC_Part")
		}},
		{"xfa", "an XFA form", func(w *workshop) { w.change(catalogueWord, "/SigFlags 3", "/SigFlags 3/XFA[]") }},
		{"need-appearances", "a form that readers draw anew", func(w *workshop) { w.change(catalogueWord, "/SigFlags 3", "/SigFlags 3/NeedAppearances true") }},
		{"key-twice", "a key of the catalogue twice", func(w *workshop) { w.change(catalogueWord, "/Lang(zh-CN)", "/Lang(zh-CN)/Lang(zh-CN)") }},
		{"keys-out-of-order", "the same keys in another order", func(w *workshop) {
			w.change(catalogueWord, "<</Type/Catalog/Pages 2 0 R", "<</Pages 2 0 R/Type/Catalog")
		}},
		{"white-space", "a space that need not be", func(w *workshop) { w.change(catalogueWord, "/Lang(zh-CN)", "/Lang (zh-CN)") }},
		{"comment", "a comment", func(w *workshop) { w.change(catalogueWord, "/Lang(zh-CN)", "%\n/Lang(zh-CN)") }},
		{"escaped-name", "a name spelt with an escape", func(w *workshop) { w.change(catalogueWord, "/Lang(zh-CN)", "/L#61ng(zh-CN)") }},
		{"another-language", "another language", func(w *workshop) { w.change(catalogueWord, "/Lang(zh-CN)", "/Lang(en-US)") }},
		{"another-format", "a later format", func(w *workshop) { w.change(catalogueWord, "/ELIC_Part 1", "/ELIC_Part 2") }},
		{"no-docmdp", "changes are allowed", func(w *workshop) {
			w.change(catalogueWord, fmt.Sprintf("/Perms<</DocMDP %d 0 R>>", len(w.objects)), "")
		}},
		{"docmdp-2", "filling in forms is allowed", func(w *workshop) { w.change(sigWord, "/P 1/", "/P 2/") }},
		{"second-field", "a second field", func(w *workshop) {
			n := w.add("<</FT/Tx/T(a)>>")
			w.change(catalogueWord, "]/SigFlags", fmt.Sprintf(" %d 0 R]/SigFlags", n))
		}},
		{"second-page", "a second page", func(w *workshop) { w.change("/Type/Pages", "/Count 1", "/Count 2") }},
		{"annotation", "an annotation that opens a program", func(w *workshop) {
			n := w.add("<</Type/Annot/Subtype/Link/Rect[0 0 9 9]/A<</S/Launch/F(a.exe)>>>>")
			w.change(pageWord, "/Annots[", fmt.Sprintf("/Annots[%d 0 R ", n))
		}},
		{"page-actions", "actions of the page", func(w *workshop) { w.change(pageWord, "/Contents[", "/AA<<>>/Contents[") }},
		{"crop", "a page that shows a piece of itself", func(w *workshop) { w.change(pageWord, "/Resources", "/CropBox[0 0 9 9]/Resources") }},
		{"rotate", "a page turned", func(w *workshop) { w.change(pageWord, "/Resources", "/Rotate 180/Resources") }},
		{"user-unit", "a page of another scale", func(w *workshop) { w.change(pageWord, "/Resources", "/UserUnit 2/Resources") }},
		{"unused-object", "an object that nothing refers to", func(w *workshop) { w.add("<</S/JavaScript/JS(1)>>") }},
		{"object-twice", "one object as font twice", func(w *workshop) {
			page := w.objects[w.find(pageWord)-1]
			fonts := regexp.MustCompile(`/F1 (\d+) 0 R/F2 (\d+) 0 R`).FindStringSubmatch(page)
			w.change(pageWord, "/F2 "+fonts[2], "/F2 "+fonts[1])
		}},
		{"object-missing", "a reference to no object", func(w *workshop) { w.change(pageWord, "/F1 ", "/F1 9") }},
		{"font-not-embedded", "a font without its file", func(w *workshop) {
			for i, o := range w.objects {
				if strings.Contains(o, "/FontFile2") {
					w.objects[i] = regexp.MustCompile(`/FontFile2 \d+ 0 R`).ReplaceAllString(o, "")
					return
				}
			}
		}},
		{"resource-unused", "a font that the page does not use", func(w *workshop) {
			w.restream(w.content(), func(old []byte) []byte { return nil })
		}},
		{"second-file", "a second embedded file", func(w *workshop) {
			n := w.add("<</Type/Filespec/F(a.exe)>>")
			w.change(catalogueWord, "]>>>>/AcroForm", fmt.Sprintf("(a.exe)%d 0 R]>>>>/AcroForm", n))
		}},
		{"file-renamed", "the embedded file by another name", func(w *workshop) { w.change(specWord, "/UF(licence.json)", "/UF(licence.exe)") }},
		{"file-outside", "the embedded file outside of the file", func(w *workshop) {
			w.change(fileWord, "/Length ", "/F(c:/licence.json)/Length ")
		}},
		{"file-type", "the embedded file as a program", func(w *workshop) { w.change(fileWord, "application#2Fjson", "application#2Fexe") }},
		{"file-size", "another size than the file has", func(w *workshop) { w.change(fileWord, "/Size ", "/Size 1") }},
		{"file-bomb", "an embedded file that inflates to 16 MiB", func(w *workshop) {
			w.restream(w.find(fileWord), func([]byte) []byte { return make([]byte, 16<<20) })
			w.objects[w.find(fileWord)-1] = regexp.MustCompile(`/Size \d+`).ReplaceAllString(w.objects[w.find(fileWord)-1], "/Size 16777216")
		}},
		{"file-behind-zlib", "bytes behind the packed data", func(w *workshop) {
			n := w.find(fileWord)
			m := streamObject.FindStringSubmatch(w.objects[n-1])
			w.objects[n-1] = fmt.Sprintf("%s%d%s%s\nendstream\nendobj\n", m[1], len(m[4])+1, m[3], m[4]+"x")
		}},
		{"part-unnamed", "licence.json names no part", func(w *workshop) {
			w.restream(w.find(fileWord), func(old []byte) []byte { return bytes.Replace(old, []byte(`"part":`), []byte(`"qart":`), 1) })
		}},
		{"identifier-differs", "the metadata name another licence", func(w *workshop) {
			w.restream(w.find(metadataWord), func(old []byte) []byte { return bytes.Replace(old, []byte(".001.X<"), []byte(".002.X<"), 1) })
		}},
		{"metadata-extension", "more metadata", func(w *workshop) {
			w.restream(w.find(metadataWord), func(old []byte) []byte {
				return bytes.Replace(old, []byte("</rdf:Description>"), []byte("<xmp:Rating>5</xmp:Rating></rdf:Description>"), 1)
			})
		}},
		{"metadata-part", "PDF/A of another part", func(w *workshop) {
			w.restream(w.find(metadataWord), func(old []byte) []byte { return bytes.Replace(old, []byte("part>3<"), []byte("part>2<"), 1) })
		}},
		{"metadata-entity", "a document type with an entity", func(w *workshop) {
			w.restream(w.find(metadataWord), func(old []byte) []byte {
				return bytes.Replace(old, []byte("?>\n<x:"), []byte("?><!DOCTYPE a [<!ENTITY b SYSTEM \"file:///etc/passwd\">]>\n<x:"), 1)
			})
		}},
		{"dates-differ", "the signature's date and the metadata's differ", func(w *workshop) { w.change(sigWord, "/M(D:2026", "/M(D:2025") }},
		{"another-zone", "a date in another zone", func(w *workshop) {
			for i := range w.objects {
				w.objects[i] = strings.ReplaceAll(w.objects[i], "+08'00'", "+00'00'")
			}
		}},
		{"sub-filter", "another kind of signature", func(w *workshop) { w.change(sigWord, "adbe.pkcs7.detached", "ETSI.CAdES.detached") }},
		{"reason", "a reason in the signature", func(w *workshop) { w.change(sigWord, "/Reference", "/Reason(x)/Reference") }},
		{"appearance", "an appearance that draws", func(w *workshop) {
			w.restream(w.find("/Subtype/Form"), func([]byte) []byte { return []byte("0 0 9 9 re f") })
		}},
		{"field-actions", "actions of the field", func(w *workshop) { w.change(widgetWord, "/F 132", "/F 132/A<</S/URI/URI(http://a)>>") }},
		{"field-hidden", "a hidden field", func(w *workshop) { w.change(widgetWord, "/F 132", "/F 134") }},
		{"another-filter", "a filter that no part uses", func(w *workshop) {
			n := w.content()
			w.objects[n-1] = strings.Replace(w.objects[n-1], "/FlateDecode", "/LZWDecode", 1)
		}},
		{"filter-parameters", "parameters of a filter", func(w *workshop) {
			n := w.content()
			w.objects[n-1] = strings.Replace(w.objects[n-1], "/FlateDecode", "/FlateDecode/DecodeParms<</Predictor 12>>", 1)
		}},
		{"length", "a stream that says to be shorter", func(w *workshop) {
			n := w.find(codeWord)
			m := streamObject.FindStringSubmatch(w.objects[n-1])
			w.objects[n-1] = m[1] + "9" + m[3] + m[4] + "\nendstream\nendobj\n"
		}},
		{"length-elsewhere", "the length of a stream in another object", func(w *workshop) {
			n := w.find(codeWord)
			m := streamObject.FindStringSubmatch(w.objects[n-1])
			w.objects[n-1] = m[1] + fmt.Sprintf("%d 0 R", w.add(m[2])) + m[3] + m[4] + "\nendstream\nendobj\n"
		}},
		{"content-bomb", "page content that inflates to 16 MiB", func(w *workshop) {
			w.restream(w.content(), func([]byte) []byte { return bytes.Repeat([]byte("0 g\n"), 4<<20) })
		}},
		{"content-broken", "page content that does not inflate", func(w *workshop) {
			n := w.content()
			m := streamObject.FindStringSubmatch(w.objects[n-1])
			w.objects[n-1] = m[1] + m[2] + m[3] + strings.Repeat("x", len(m[4])) + "\nendstream\nendobj\n"
		}},
		{"inline-image", "an image within the page content", draws("BI/W 1/H 1/BPC 1/CS/G ID x EI\n")},
		{"shading", "a shading", draws("/S1 sh\n")},
		{"external-state", "a graphics state from the resources", draws("/G1 gs\n")},
		{"another-object", "an object other than the code", draws("/X1 Do\n")},
		{"another-font", "a font that the page has not", draws("BT/F9 9 Tf ET\n")},
		{"named-font", "a font of another kind of name", draws("BT/Helvetica 9 Tf ET\n")},
		{"optional-content", "content that may be hidden", draws("/OC/L1 BDC EMC\n")},
		{"span-by-name", "a span whose properties stand elsewhere", draws("/Span/P1 BDC EMC\n")},
		{"tagged-content", "structure", draws("/P<</MCID 0>>BDC EMC\n")},
		{"compatibility", "operators to be passed over", draws("BX zz EX\n")},
		{"cmyk", "a colour that the output intent does not cover", draws("0 0 0 1 k\n")},
		{"operator-unknown", "an operator that is none", draws("1 0 0 rG\n")},
		{"operands-missing", "an operator without its operands", draws("0 0 rg\n")},
		{"operands-too-many", "an operator with one operand more", draws("0 0 0 0 rg\n")},
		{"text-outside", "text outside of a text object", draws("<0001>Tj\n")},
		{"path-inside", "a path inside a text object", draws("BT 0 0 m ET\n")},
		{"state-left-open", "a graphics state that is not closed", draws("q\n")},
		{"state-closed-twice", "a graphics state closed that is not open", draws("Q\n")},
		{"text-left-open", "a text object that is not closed", draws("BT\n")},
		{"span-left-open", "a span that is not closed", draws("/Span<</ActualText<FEFF0041>>>BDC\n")},
		{"nested-states", "a hundred graphics states", draws(strings.Repeat("q ", 100) + strings.Repeat("Q ", 100))},
		{"operand-at-end", "an operand without operator", draws("0\n")},
		{"content-comment", "a comment in the page content", draws("% hidden\n")},
		{"shared-content", "a colour that the output intent does not cover, in what all parts share", shared(draws("0 0 0 1 k\n"))},
		{"ranges-shorter", "a signature that leaves the end of the file out", func(w *workshop) {
			w.ranges = func(from, to, size int) string {
				return fmt.Sprintf("0 %-32s", fmt.Sprintf("%d %d %d", from, to, size-to-7))
			}
		}},
		{"ranges-later", "a signature that leaves the beginning out", func(w *workshop) {
			w.ranges = func(from, to, size int) string {
				return fmt.Sprintf("1 %-32s", fmt.Sprintf("%d %d %d", from-1, to, size-to))
			}
		}},
		{"ranges-wider-gap", "a gap wider than Contents", func(w *workshop) {
			w.ranges = func(from, to, size int) string {
				return fmt.Sprintf("0 %-32s", fmt.Sprintf("%d %d %d", from-9, to, size-to))
			}
		}},
		{"ranges-gap-inside", "a gap inside of the brackets", func(w *workshop) {
			w.ranges = func(from, to, size int) string {
				return fmt.Sprintf("0 %-32s", fmt.Sprintf("%d %d %d", from+1, to-1, size-to+1))
			}
		}},
		{"ranges-zeros", "numbers with zeros before them", func(w *workshop) {
			w.ranges = func(from, to, size int) string {
				return fmt.Sprintf("0 %-32s", fmt.Sprintf("0%d %d %d", from, to, size-to))
			}
		}},
		{"ranges-padding", "padding elsewhere", func(w *workshop) {
			w.ranges = func(from, to, size int) string {
				return fmt.Sprintf("0  %-31s", fmt.Sprintf("%d %d %d", from, to, size-to))
			}
		}},
		{"upper-case-contents", "Contents in capitals", func(w *workshop) { w.hex = func(b []byte) { copy(b, bytes.ToUpper(b)) } }},
		{"padding", "padding that is not zero", func(w *workshop) { w.hex = func(b []byte) { b[len(b)-1] = '1' } }},
		{"padding-space", "padding of spaces", func(w *workshop) { w.hex = func(b []byte) { b[len(b)-1], b[len(b)-2] = ' ', ' ' } }},
		{"contents-space", "a space within Contents", func(w *workshop) {
			w.hex = func(b []byte) { copy(b[9:], slices.Clone(b[8:len(b)-1])); b[8] = ' ' }
		}},
		{"contents-empty", "no signature", func(w *workshop) {
			w.hex = func(b []byte) {
				for i := range b {
					b[i] = '0'
				}
			}
		}},
		{"version", "another version of PDF", func(w *workshop) { w.head = strings.Replace(w.head, "1.7", "1.4", 1) }},
		{"before-the-header", "bytes before the header", func(w *workshop) { w.head = "\n" + w.head }},
		{"between-objects", "bytes between two objects", func(w *workshop) { w.objects[1] += "%\n" }},
		{"objects-out-of-order", "objects that do not stand in order", func(w *workshop) {
			w.objects[1], w.objects[2] = w.objects[2], w.objects[1]
			right := w.table
			w.table = func(offsets []int) string { offsets[1], offsets[2] = offsets[2], offsets[1]; return right(offsets) }
		}},
		{"generation", "an object of another generation", func(w *workshop) { w.objects[1] = strings.Replace(w.objects[1], " 0 obj", " 1 obj", 1) }},
		{"table-wrong", "a table that points elsewhere", func(w *workshop) {
			right := w.table
			w.table = func(offsets []int) string { offsets[4]++; return right(offsets) }
		}},
		{"table-free", "an object that the table calls free", func(w *workshop) {
			right := w.table
			w.table = func(offsets []int) string { return strings.Replace(right(offsets), " n \n", " f \n", 1) }
		}},
		{"table-lines", "a table with other line ends", func(w *workshop) {
			right := w.table
			w.table = func(offsets []int) string { return strings.ReplaceAll(right(offsets), " n \n", " n\r\n") }
		}},
		{"table-sections", "a table in two sections", func(w *workshop) {
			right := w.table
			w.table = func(offsets []int) string {
				return strings.Replace(right(offsets), fmt.Sprintf("0 %d\n0000000000 65535 f \n", len(offsets)+1), fmt.Sprintf("0 1\n0000000000 65535 f \n1 %d\n", len(offsets)), 1)
			}
		}},
		{"encrypted", "encryption", func(w *workshop) { w.trailer = strings.Replace(w.trailer, "/Root", "/Encrypt<<>>/Root", 1) }},
		{"earlier-revision", "an earlier revision", func(w *workshop) { w.trailer = strings.Replace(w.trailer, "/Root", "/Prev 15/Root", 1) }},
		{"hidden-table", "a second table", func(w *workshop) { w.trailer = strings.Replace(w.trailer, "/Root", "/XRefStm 15/Root", 1) }},
		{"info", "an information dictionary", func(w *workshop) { w.trailer = strings.Replace(w.trailer, "/Root", "/Info 2 0 R/Root", 1) }},
		{"another-root", "another catalogue", func(w *workshop) { w.trailer = strings.Replace(w.trailer, "/Root 1 0 R", "/Root 2 0 R", 1) }},
		{"ids-differ", "two file identifiers", func(w *workshop) {
			w.trailer = regexp.MustCompile(`<(.)(.{31})>\]`).ReplaceAllStringFunc(w.trailer, func(s string) string {
				if s[1] == '0' {
					return "<1" + s[2:]
				}
				return "<0" + s[2:]
			})
		}},
		{"byte-behind", "a byte behind the end, signed too", func(w *workshop) { w.tail = "\n" }},
		{"revision-behind", "another revision behind the end, signed too", func(w *workshop) {
			w.tail = "9 0 obj\n<<>>\nendobj\nxref\n0 1\n0000000000 65535 f \ntrailer\n<<>>\nstartxref\n0\n%%EOF\n"
		}},
	}
}

func TestBrokenFormsAreRefused(t *testing.T) {
	chain := signertest.NewChain(t, "样例")
	m := small(t, chain)
	if file := takeApart(t, m).build(); !bytes.Equal(file, m.file) {
		t.Fatal("the workshop builds another file than it took apart")
	}
	for _, a := range attacks() {
		w := takeApart(t, m)
		a.make(w)
		file := w.build()
		if bytes.Equal(file, m.file) {
			t.Errorf("%s changes nothing", a.name)
		}
		d, err := pdf.Read(file)
		if !errors.Is(err, pdf.ErrStructure) || d != nil {
			t.Errorf("%s (%s): %v", a.name, a.why, err)
		}
		t.Logf("%s: %v", a.name, err)
	}
}

// A later revision leaves the signed bytes as they are, and most readers show it.
func TestLaterRevisionsAreRefused(t *testing.T) {
	m := small(t, signertest.NewChain(t, "样例"))
	for _, tail := range []string{" ", "\n", "%%EOF\n", "9 0 obj\n<<>>\nendobj\nxref\n0 1\n0000000000 65535 f \ntrailer\n<</Size 3/Root 9 0 R/Prev 15>>\nstartxref\n20000\n%%EOF\n"} {
		if _, err := pdf.Read(append(slices.Clone(m.file), tail...)); !errors.Is(err, pdf.ErrStructure) {
			t.Errorf("%q behind the end: %v", tail, err)
		}
	}
}

// No byte of a part may change unseen; and the changed part is still known as one of ours.
func TestEveryByteCounts(t *testing.T) {
	m := small(t, signertest.NewChain(t, "样例"))
	file := slices.Clone(m.file)
	for i := range file {
		file[i] = m.file[i] ^ 1<<(i%7)
		err := check(file)
		if err == nil {
			t.Errorf("byte %d changed from %q to %q, and nobody saw", i, m.file[i], file[i])
		}
		if errors.Is(err, pdf.ErrNotOurs) {
			t.Errorf("byte %d changed from %q to %q: no longer ours", i, m.file[i], file[i])
		}
		file[i] = m.file[i]
	}
}

// Every byte of Contents is changed in turn: to the next digit, to the digit that is a letter in the other case, to no
// digit.
func TestEveryByteOfContentsCounts(t *testing.T) {
	m := small(t, signertest.NewChain(t, "样例"))
	end := m.contentsAt + bytes.IndexByte(m.file[m.contentsAt:], '>') + 1
	file := slices.Clone(m.file)
	for i := m.contentsAt; i < end; i++ {
		was := m.file[i]
		next := "123456789abcdef0"[max(0, strings.IndexByte("0123456789abcdef", was))]
		for _, c := range []byte{next, bytes.ToUpper([]byte{was})[0], ' '} {
			if c == was {
				continue
			}
			file[i] = c
			if check(file) == nil {
				t.Errorf("byte %d of Contents as %q, and nobody saw", i-m.contentsAt, c)
			}
		}
		file[i] = was
	}
}

func TestTruncatedPartsAreStillOurs(t *testing.T) {
	m := small(t, signertest.NewChain(t, "样例"))
	named := bytes.Index(m.file, []byte("/ELIC_Part")) + len("/ELIC_Part")
	for n := 0; n < len(m.file); n += 1 + n/97 {
		want := pdf.ErrStructure
		if n < named {
			want = nil // so little of it is left that either answer is right
		}
		_, err := pdf.Read(m.file[:n])
		if err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
}

func TestStrangers(t *testing.T) {
	var drawn bytes.Buffer
	p := fpdf.New("P", "mm", "A4", "")
	p.AddPage()
	if err := p.Output(&drawn); err != nil {
		t.Fatal(err)
	}
	m := small(t, signertest.NewChain(t, "样例"))
	for name, file := range map[string][]byte{
		"nothing":       nil,
		"text":          []byte("hello"),
		"a header":      []byte("%PDF-1.7\n%\xE2\xE3\xCF\xD3\n"),
		"another's":     drawn.Bytes(),
		"zeros":         make([]byte, 1<<20),
		"huge":          make([]byte, pdf.MaxFile+1),
		"ours and huge": append(slices.Clone(m.file), make([]byte, pdf.MaxFile)...),
		"an attachment": []byte("%PDF-1.4\n1 0 obj\n<</Type/Catalog/Names<</EmbeddedFiles<</Names[(licence.json)2 0 R]>>>>>>\nendobj\n"),
	} {
		if d, err := pdf.Read(file); !errors.Is(err, pdf.ErrNotOurs) || errors.Is(err, pdf.ErrStructure) || d != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What a file costs to read is bounded by its size, not by what it promises.
func TestMemoryIsBounded(t *testing.T) {
	chain := signertest.NewChain(t, "样例")
	m := small(t, chain)
	for _, name := range []string{"file-bomb", "content-bomb"} {
		w := takeApart(t, m)
		for _, a := range attacks() {
			if a.name == name {
				a.make(w)
			}
		}
		file := w.build()
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		if _, err := pdf.Read(file); err == nil {
			t.Error("the bomb was read")
		}
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > uint64(4*len(file)+(4<<20)) {
			t.Errorf("%s: %d bytes of memory for a file of %d", name, took, len(file))
		}
	}
	zeros := make([]byte, pdf.MaxFile)
	copy(zeros, "%PDF-1.7\n%\xE2\xE3\xCF\xD3\n/ELIC_Part")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := pdf.Read(zeros); !errors.Is(err, pdf.ErrStructure) {
		t.Error(err)
	}
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 1<<20 {
		t.Errorf("%d bytes of memory for a file of zeros", took)
	}
}

// pdfsig knows no SM3, but it says what the signature covers.
func TestPopplerAgrees(t *testing.T) {
	m := small(t, signertest.NewChain(t, "样例"))
	path := filepath.Join(t.TempDir(), "part.pdf")
	writeFile(t, path, m.file)
	out, _ := exec.Command("pdfsig", path).CombinedOutput() // it fails, since it cannot verify SM2
	end := m.contentsAt + bytes.IndexByte(m.file[m.contentsAt:], '>') + 1
	for _, want := range []string{
		fmt.Sprintf("Signed Ranges: [0 - %d], [%d - %d]", m.contentsAt, end, len(m.file)), "Total document signed",
		"Signature Type: adbe.pkcs7.detached", "Signer Certificate Common Name: 样例 医院",
	} {
		if !bytes.Contains(out, []byte(want)) {
			t.Errorf("pdfsig does not say %q:\n%s", want, out)
		}
	}
	if out, err := exec.Command("qpdf", "--check", path).CombinedOutput(); err != nil {
		t.Errorf("qpdf: %v\n%s", err, out)
	}
}

func TestFill(t *testing.T) {
	for name, c := range map[string]struct {
		file string
		at   int
		cms  []byte
		want string
	}{
		"fits":            {"ab<0000>c", 2, []byte{0xab, 0x01}, "ab<ab01>c"},
		"shorter":         {"ab<000000>c", 2, []byte{0xab}, "ab<ab0000>c"},
		"too long":        {"ab<00>c", 2, []byte{1, 2}, ""},
		"nothing":         {"ab<00>c", 2, nil, ""},
		"no bracket":      {"ab<00>c", 1, []byte{1}, ""},
		"outside":         {"ab<00>c", 9, []byte{1}, ""},
		"before":          {"ab<00>c", -1, []byte{1}, ""},
		"no end":          {"ab<00", 2, []byte{1}, ""},
		"odd":             {"ab<000>", 2, []byte{1}, ""},
		"not empty":       {"ab<0001>", 2, []byte{1}, ""},
		"filled already":  {"ab<ab01>", 2, []byte{1}, ""},
		"not a room":      {"ab<xx>", 2, []byte{1}, ""},
		"an empty room":   {"ab<>", 2, []byte{1}, ""},
		"at the very end": {"ab<", 2, []byte{1}, ""},
	} {
		file := []byte(c.file)
		err := pdf.Fill(file, c.at, c.cms)
		if c.want == "" && (!errors.Is(err, pdf.ErrRoom) || string(file) != c.file) {
			t.Errorf("%s: %v, %s", name, err, file)
		}
		if c.want != "" && (err != nil || string(file) != c.want) {
			t.Errorf("%s: %v, %s", name, err, file)
		}
	}
}
