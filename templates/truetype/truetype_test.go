package truetype

import (
	"bytes"
	"errors"
	"os"
	"testing"
	"time"
)

func file(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const (
	noto  = "../fonts/NotoSerifSC_400Regular.ttf"
	hanaA = "/usr/share/fonts/truetype/hanazono/HanaMinA.ttf"
	hanaB = "/usr/share/fonts/truetype/hanazono/HanaMinB.ttf"
)

// samples are characters of each font: simple and composite outlines, Latin and Han, all planes.
var samples = map[string]string{
	noto:  "Aáễ 1样张出生医学证明·𬭎䶮",
	hanaA: "Aá1樣張㛃",
	hanaB: "𠮷𪨶𫍯𬱖",
}

// What is cut out of a font is the same outline with the same metrics, without instructions.
func TestCutKeepsOutlines(t *testing.T) {
	for name, text := range samples {
		f, err := ParseBytes(file(t, name))
		if err != nil {
			t.Fatal(err)
		}
		s := f.NewSubset()
		for round := range 2 { // a subset is used again after Reset
			s.Reset()
			for i, r := range []rune(text) {
				if n, ok := s.Use(r); !ok || int(n) != i+1 {
					t.Fatalf("%s: %c is glyph %d %v", name, r, n, ok)
				}
			}
			b, err := s.Append(nil, true)
			if err != nil {
				t.Fatal(err)
			}
			cut, err := ParseBytes(b)
			if err != nil {
				t.Fatalf("%s, round %d: what was cut cannot be read: %v", name, round, err)
			}
			for i, r := range []rune(text) {
				n := uint16(i + 1)
				if cut.Glyph(rune(n)) != n {
					t.Errorf("%s: code %d shows glyph %d", name, n, cut.Glyph(rune(n)))
				}
				if cut.Advance(n) != f.Advance(f.Glyph(r)) || s.Advance(i+1) != cut.Advance(n) || cut.sideBearing(n) != f.sideBearing(f.Glyph(r)) {
					t.Errorf("%s: %c has other metrics", name, r)
				}
				sameOutline(t, f, f.Glyph(r), cut, n)
			}
			if sum(b) != 0xB1B0AFBA {
				t.Errorf("%s: checksum of the whole is %08X", name, sum(b))
			}
			if cut.Metrics() != f.Metrics() {
				t.Errorf("%s: other metrics", name)
			}
		}
	}
}

// sameOutline compares contours, and those of the parts of composites.
func sameOutline(t *testing.T, f *Font, a uint16, g *Font, b uint16) {
	t.Helper()
	x, err := f.outline(a, nil)
	if err != nil {
		t.Fatal(err)
	}
	y, err := g.outline(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(x) == 0 && len(y) == 0 {
		return
	}
	if int16(be.Uint16(x)) >= 0 {
		p := 10 + 2*int(be.Uint16(x))
		skip := int(be.Uint16(x[p:]))
		tail := x[p+2+skip:]
		if !bytes.Equal(x[:p], y[:p]) || be.Uint16(y[p:]) != 0 || !bytes.HasPrefix(y[p+2:], tail[:min(len(tail), len(y)-p-2)]) {
			t.Errorf("glyph %d: other contours", a)
		}
		return
	}
	for p := 10; ; {
		flags := be.Uint16(x[p:])
		sameOutline(t, f, be.Uint16(x[p+2:]), g, be.Uint16(y[p+2:]))
		n := 6
		if flags&wordArguments != 0 {
			n += 2
		}
		switch {
		case flags&haveScale != 0:
			n += 2
		case flags&haveXYScale != 0:
			n += 4
		case flags&haveTwoByTwo != 0:
			n += 8
		}
		if !bytes.Equal(x[p+4:p+n], y[p+4:p+n]) {
			t.Errorf("glyph %d: a part lies elsewhere", a)
		}
		if p += n; flags&moreComponents == 0 {
			return
		}
	}
}

// A font read piece by piece from disk gives the same cut as one in memory.
func TestReaderAndMemoryAgree(t *testing.T) {
	b := file(t, hanaB)
	memory, err := ParseBytes(b)
	if err != nil {
		t.Fatal(err)
	}
	disk, err := Parse(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	var cuts [2][]byte
	for i, f := range []*Font{memory, disk} {
		s := f.NewSubset()
		for r := rune(0x20000); r < 0x20200; r++ {
			s.Use(r)
		}
		if cuts[i], err = s.Append(nil, false); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(cuts[0], cuts[1]) {
		t.Error("other bytes")
	}
}

// Two characters that share an outline get a glyph each: else one of them would be copied as the other.
func TestEachCharacterHasItsOwnGlyph(t *testing.T) {
	f, err := ParseBytes(file(t, noto))
	if err != nil {
		t.Fatal(err)
	}
	shared := map[uint16]rune{}
	for r := rune(0x20); r < 0x30000; r++ {
		g := f.Glyph(r)
		other, ok := shared[g]
		if g == 0 || !ok {
			shared[g] = r
			continue
		}
		s := f.NewSubset()
		a, _ := s.Use(other)
		b, _ := s.Use(r)
		if a == b || s.Rune(int(a)) != other || s.Rune(int(b)) != r {
			t.Fatalf("%c and %c share glyph %d", other, r, a)
		}
		return
	}
	t.Fatal("no two characters of this font share an outline")
}

// small is a whole font of a few hundred bytes more than its outlines.
func small(t testing.TB, text string) []byte {
	t.Helper()
	f, err := ParseBytes(file(t, noto))
	if err != nil {
		t.Fatal(err)
	}
	s := f.NewSubset()
	for _, r := range text {
		s.Use(r)
	}
	b, err := s.Append(nil, true)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDamagedFonts(t *testing.T) {
	good := small(t, "样Aá")
	if _, err := ParseBytes(good); err != nil {
		t.Fatal(err)
	}
	for n := range len(good) {
		if f, err := ParseBytes(good[:n]); err == nil {
			// The last table may lose its padding, and a font whose outlines are cut off is found when they are used.
			cutAll(f)
		} else if !errors.Is(err, ErrFont) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
	for name, b := range map[string][]byte{
		"nothing": nil, "text": []byte("this is no font at all, only some text"),
		"CFF":        append([]byte("OTTO"), good[4:]...),
		"collection": append([]byte("ttcf"), good[4:]...),
	} {
		if _, err := ParseBytes(b); !errors.Is(err, ErrFont) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// cutAll uses all characters of a font; the error is of no interest.
func cutAll(f *Font) {
	s := f.NewSubset()
	for page, p := range f.pages {
		if p == nil {
			continue
		}
		for low := range p {
			s.Use(rune(page<<8 | low))
		}
	}
	if b, err := s.Append(nil, true); err == nil {
		if _, err := ParseBytes(b); err != nil {
			panic("what was cut cannot be read: " + err.Error())
		}
	}
}

// Whatever the bytes: no panic, no endless loop, and what parses can be cut into a font that parses.
func FuzzParse(f *testing.F) {
	for _, text := range seeds {
		f.Add(small(f, text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		began := time.Now()
		font, err := ParseBytes(b)
		if err != nil {
			if !errors.Is(err, ErrFont) {
				t.Fatal(err)
			}
			return
		}
		cutAll(font)
		if time.Since(began) > 20*time.Second {
			t.Fatal("slow")
		}
	})
}

var seeds = []string{"样张", "Aáễ", " "}

func TestFuzzSeedsAreFonts(t *testing.T) {
	for _, text := range seeds {
		f, err := ParseBytes(small(t, text))
		if err != nil {
			t.Fatal(err)
		}
		if f.Glyph(1) != 1 {
			t.Errorf("the seed %q shows nothing", text)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	f, err := ParseBytes(file(b, noto))
	if err != nil {
		b.Fatal(err)
	}
	s := f.NewSubset()
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		s.Reset()
		for _, r := range "上海市闵行区第一妇幼保健院夏曦瑾曹宸书二〇二六年十月十三日沪太路弄号室汉族居民身份证" {
			s.Use(r)
		}
		if out, err = s.Append(out[:0], false); err != nil {
			b.Fatal(err)
		}
	}
}
