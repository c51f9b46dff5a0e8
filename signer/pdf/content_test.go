package pdf

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var goodContents = map[string]uses{
	"":                                    0,
	"q Q\n":                               0,
	"q\nQ\nq 1 0 0 1 -2.5 .5 cm/Q Do Q\n": useCode,
	"BT /F1 9.00 Tf ET\nBT /F2 1 Tf 1 2 Td (a\\(\\)\\\\\\r\xff) Tj ET":                 useFont | useFont<<1,
	"/Span<</ActualText<FEFF0041>>>BDC BT/F3 9 Tf 1 0 0 1 2 3 Tm<00010002>Tj ET EMC":   useFont << 2,
	"0 J 1 j 0.57 w 10 M [] 0 d [1.2 1] 0 d\n0.1 g 0.2 G 1 0 0 rg 1 0 0 RG":            0,
	"0 0 m 1 1 l 1 2 3 4 5 6 c 1 2 3 4 v 1 2 3 4 y h S\n1 2 3 -4 re f\n1 2 3 4 re W n": 0,
	"BT 0.5 Tc 0 Tw 100 Tz 12 TL 1 Tr 0 Ts 1 2 TD T* ET":                               0,
}

func TestContentsThatPartsHave(t *testing.T) {
	for content, want := range goodContents {
		if got, err := checkContent([]byte(content)); err != nil || got != want {
			t.Errorf("%q: uses %b, %v", content, got, err)
		}
	}
}

func TestContentsThatNoPartHas(t *testing.T) {
	for _, content := range []string{
		"x", "BI", "ID", "sh", "k", "K", "cs", "scn", "gs", "ri", "i", "BX", "EX", "MP", "DP", "BMC", "d0", "TJ", "'", "\"", "Qq", "qQ", "q", "Q", "BT", "ET",
		"BT BT ET ET", "EMC", "/Span BMC EMC", "1 Q", "(", "(a", "(a\\", "(a\\n) g", "(a\r) g", "((a)) g", "<", "<0", "<00>Tj", "BT<000>Tj ET", "BT<00g0>Tj ET",
		"BT<abcd>Tj ET", "BT<>Tj ET", "[", "[1", "[1 (a)] 0 d", "[[1]] 0 d", "<<>> BDC EMC", "/Span<</ActualText<0041>>>BDC EMC", "/Span<</ActualText<FEFF0041>>BDC EMC",
		"/Span<</Lang(en)>>BDC EMC", "/Span<</ActualText<FEFF0041>>>BDC/Span<</ActualText<FEFF0041>>>BDC EMC EMC", "1e3 g", "1.2.3 g", "--1 g", "1- g", "- g", ". g",
		"+1 g", "12345678901234567 g", "1\tg", "1\rg", "% x\n", "{}", "]", ")", ">", "\x00", "1 2 3 4 5 6 7 c", "/F 1 Tf", "/F0 1 Tf", "/F10 1 Tf", "/f1 1 Tf",
		"/Q2 Do", "/ Do", "BT/Q Do ET", "/F#31 1 Tf", "true", "null g", "1 0 R Do", strings.Repeat("q ", 29) + strings.Repeat("Q ", 29),
	} {
		if _, err := checkContent([]byte(content)); !errors.Is(err, errContent) {
			t.Errorf("%q passes: %v", content, err)
		}
	}
}

// FuzzContent: what passes alone passes behind what passes alone, and uses what both use.
func FuzzContent(f *testing.F) {
	if len(goodContents) < 8 {
		f.Fatal("seeds are missing")
	}
	for a := range goodContents {
		f.Add([]byte(a), []byte("BT/F1 1 Tf ET"))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		first, err := checkContent(a)
		if err != nil {
			return
		}
		second, err := checkContent(b)
		if err != nil {
			return
		}
		both, err := checkContent(append(append(append([]byte{}, a...), '\n'), b...))
		if err != nil || both != first|second {
			t.Fatalf("%q and %q: uses %b, %v", a, b, both, err)
		}
	})
}

func BenchmarkContent(b *testing.B) {
	content := []byte(strings.Repeat("/F1 8 Tf<0012>Tj/F1 8 Tf<0076007E>Tj ET\n0.106 0.106 0.122 RG\n1.276 w\n174.189 624.047 m 176.173 621.638 l 180.709 629.291 l S\nBT ", 60))
	content = append([]byte("BT "), content...)
	content = append(content, "ET"...)
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		if _, err := checkContent(content); err != nil {
			b.Fatal(err)
		}
	}
}

// The list of operators in docs/formats/part.md is the reader's.
func TestDocumentedOperators(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "formats", "part.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(b), "<!-- worked: operators -->\n```text\n")
	table, _, _ := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("the document has no list of operators")
	}
	kinds := map[rune]uint32{'n': number, 'a': array, 's': str, 'f': name, 'c': name}
	at, told := uint8(0), 0
	for line := range strings.Lines(table) {
		for heading, where := range map[string]uint8{"outside of text": outside, "inside of text": inText, "both": anywhere} {
			if after, ok := strings.CutPrefix(line, heading); ok {
				line, at = after, where
			}
		}
		words := strings.Fields(line)
		for i := 0; i+1 < len(words); i += 2 {
			operands := uint32(0)
			for _, k := range words[i+1] {
				switch k {
				case '-':
				case 'p':
					operands = name<<4 | dictionary
				default:
					operands = operands<<4 | kinds[k]
				}
			}
			if op, ok := operators[words[i]]; !ok || op != (operator{operands, at}) {
				t.Errorf("%s %s is told, the reader has %+v", words[i], words[i+1], op)
			}
			told++
		}
	}
	if told != len(operators) {
		t.Errorf("%d operators are told, the reader has %d", told, len(operators))
	}
}
