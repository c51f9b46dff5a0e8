package pdf_test

import (
	"bytes"
	"compress/zlib"
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/elicence/elicence/signer/cms"
	"github.com/elicence/elicence/signer/pdf"
	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
	"github.com/elicence/elicence/signer/signertest"
)

// workshop takes a part to pieces, lets a test change them, and puts a file together again that is signed by the right
// key: what is wrong with it is the form alone.
type workshop struct {
	tb      testing.TB
	chain   *signertest.Chain
	path    []*pki.Certificate
	head    string
	objects []string // with "n 0 obj\n" and "endobj\n"
	table   func(offsets []int) string
	trailer string // between "trailer\n" and "startxref"
	tail    string // behind everything
	ranges  func(from, to, size int) string
	hex     func(contents []byte)
	first   bool
}

func takeApart(tb testing.TB, m made) *workshop {
	tb.Helper()
	w := &workshop{tb: tb, chain: m.chain, path: m.chain.Path(), head: string(m.file[:15])}
	body, rest, ok := strings.Cut(string(m.file[15:]), "xref\n0 ")
	if !ok {
		tb.Fatal("no table")
	}
	for n := 1; body != ""; n++ {
		next := strings.Index(body, fmt.Sprintf("\nendobj\n%d 0 obj\n", n+1))
		end := len(body)
		if next >= 0 {
			end = next + len("\nendobj\n")
		}
		w.objects, body = append(w.objects, body[:end]), body[end:]
	}
	_, rest, _ = strings.Cut(rest, "trailer\n")
	w.trailer, _, _ = strings.Cut(rest, "startxref\n")
	w.table = func(offsets []int) string {
		var b strings.Builder
		fmt.Fprintf(&b, "xref\n0 %d\n0000000000 65535 f \n", len(offsets)+1)
		for _, at := range offsets {
			fmt.Fprintf(&b, "%010d 00000 n \n", at)
		}
		return b.String()
	}
	w.ranges = func(from, to, size int) string {
		return fmt.Sprintf("0 %-32s", fmt.Sprintf("%d %d %d", from, to, size-to))
	}
	w.hex = func([]byte) {}
	return w
}

// find returns the number of the one object that has all these words.
func (w *workshop) find(words ...string) int {
	w.tb.Helper()
	found := 0
	for i, o := range w.objects {
		all := true
		for _, word := range words {
			all = all && strings.Contains(o, word)
		}
		if all {
			if found != 0 {
				w.tb.Fatalf("%v is in more than one object", words)
			}
			found = i + 1
		}
	}
	if found == 0 {
		w.tb.Fatalf("%v is in no object", words)
	}
	return found
}

// change replaces a text, which must be there, in the one object that has the word.
func (w *workshop) change(word, old, replacement string) {
	w.tb.Helper()
	n := w.find(word) - 1
	if strings.Count(w.objects[n], old) != 1 {
		w.tb.Fatalf("%q is %d times in the object with %q", old, strings.Count(w.objects[n], old), word)
	}
	w.objects[n] = strings.Replace(w.objects[n], old, replacement, 1)
}

// add puts an object before the signature, which keeps its place as the last one, and returns its number.
func (w *workshop) add(body string) int {
	n := len(w.objects)
	last := fmt.Sprintf("%d 0 obj\n", n)
	w.objects[n-1] = fmt.Sprintf("%d 0 obj\n", n+1) + strings.TrimPrefix(w.objects[n-1], last)
	w.objects = slices.Insert(w.objects, n-1, last+body+"\nendobj\n")
	for i := range w.objects {
		for _, key := range []string{"/DocMDP ", "/V "} {
			w.objects[i] = strings.Replace(w.objects[i], fmt.Sprintf("%s%d 0 R", key, n), fmt.Sprintf("%s%d 0 R", key, n+1), 1)
		}
	}
	w.trailer = strings.Replace(w.trailer, fmt.Sprintf("/Size %d/", n+1), fmt.Sprintf("/Size %d/", n+2), 1)
	return n
}

var streamObject = regexp.MustCompile(`(?s)^(\d+ 0 obj\n<<.*?/Length )(\d+)(>>\nstream\n)(.*)\nendstream\nendobj\n$`)

// restream replaces the bytes of a stream, packed if they were.
func (w *workshop) restream(n int, f func(old []byte) []byte) {
	w.tb.Helper()
	m := streamObject.FindStringSubmatch(w.objects[n-1])
	if m == nil {
		w.tb.Fatalf("object %d is no stream", n)
	}
	b := []byte(m[4])
	if strings.Contains(m[1], "FlateDecode") {
		r, err := zlib.NewReader(bytes.NewReader(b))
		if err != nil {
			w.tb.Fatal(err)
		}
		if b, err = io.ReadAll(r); err != nil {
			w.tb.Fatal(err)
		}
		b = pack(f(b))
	} else {
		b = f(b)
	}
	w.objects[n-1] = fmt.Sprintf("%s%d%s%s\nendstream\nendobj\n", m[1], len(b), m[3], b)
}

func pack(b []byte) []byte {
	var out bytes.Buffer
	z := zlib.NewWriter(&out)
	_, _ = z.Write(b)
	_ = z.Close()
	return out.Bytes()
}

var (
	byteRange = regexp.MustCompile(`/ByteRange\[[^\]]*\]`)
	contents  = regexp.MustCompile(`/Contents<[0-9A-Fa-f]*>`)
)

// build puts the file together and signs it.
func (w *workshop) build() []byte {
	w.tb.Helper()
	room, err := cms.Room(cms.PKCS7, w.path)
	if err != nil {
		w.tb.Fatal(err)
	}
	var b strings.Builder
	b.WriteString(w.head)
	var offsets []int
	for _, o := range w.objects {
		offsets = append(offsets, b.Len())
		b.WriteString(o)
	}
	body := b.String()
	zeros := "/Contents<" + strings.Repeat("0", 2*room) + ">"
	at := contents.FindStringIndex(body)
	body = body[:at[0]] + zeros + body[at[1]:]
	table := len(body)
	file := body + w.table(offsets) + "trailer\n" + w.trailer + fmt.Sprintf("startxref\n%d\n%%%%EOF\n", table) + w.tail
	from := strings.Index(file, zeros) + len("/Contents")
	to := from + 2*room + 2
	wide := byteRange.FindStringIndex(file)
	ranges := "/ByteRange[" + w.ranges(from, to, len(file)) + "]"
	if wide[1]-wide[0] != len(ranges) {
		w.tb.Fatal("the ranges do not fit")
	}
	out := []byte(file)
	copy(out[wide[0]:], ranges)
	attrs, err := cms.SignedAttributes(pdf.Digest(out, from, to-from), signedAt, w.path)
	if err != nil {
		w.tb.Fatal(err)
	}
	rs, err := w.chain.Key.Sign(context.Background(), purpose.CMSAttributes, attrs)
	if err != nil {
		w.tb.Fatal(err)
	}
	der, err := cms.Assemble(cms.PKCS7, attrs, rs, w.path)
	if err != nil {
		w.tb.Fatal(err)
	}
	if err := pdf.Fill(out, from, der); err != nil {
		w.tb.Fatal(err)
	}
	w.hex(out[from+1 : to-1])
	return out
}

// content returns the number of the page's last content stream, or of its first.
func (w *workshop) content() int {
	w.tb.Helper()
	m := regexp.MustCompile(`/Contents\[(\d+) 0 R (\d+) 0 R\]`).FindStringSubmatch(w.objects[w.find(pageWord)-1])
	if m == nil {
		w.tb.Fatal("the page has other contents than two")
	}
	n := 0
	_, _ = fmt.Sscan(m[map[bool]int{true: 1, false: 2}[w.first]], &n)
	return n
}
