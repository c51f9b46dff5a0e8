package templates

import (
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// longest are values of the longest kind that the fields of a birth take, by pointer.
func longest() map[string]string {
	return map[string]string{
		"/child/name": "MARIA DEL CARMEN GARCÍA LÓPEZ DE LA CRUZ", "/mother/name": "MARIA DEL CARMEN GARCÍA LÓPEZ",
		"/father/name": "阿卜杜热西提·买买提依明·吐尔逊", "/mother/ethnicGroup": "柯尔克孜族", "/father/ethnicGroup": "乌孜别克族",
		"/mother/address":              "新疆维吾尔自治区伊犁哈萨克自治州察布查尔锡伯自治县爱新舍里镇乌珠牛录村三组二十八号附一号院内西侧第三排第五间",
		"/father/address":              "内蒙古自治区呼伦贝尔市莫力达瓦达斡尔族自治旗尼尔基镇巴特罕大街1288弄66号2号楼3单元1502室",
		"/mother/idType":               "taiwan-permit",
		"/father/idType":               "hk-macao-permit",
		"/father/nationality":          "HKG",
		"/mother/idNumber":             "31019620031220030X",
		"/child/birthPlace/text":       "内蒙古自治区呼伦贝尔市莫力达瓦达斡尔族自治旗",
		"/child/birthPlace/regionCode": "150722",
	}
}

type word struct {
	text                   string
	left, top, right, base float64 // of the ink, millimetres
}

var wordBox = regexp.MustCompile(`<word xMin="([0-9.]+)" yMin="([0-9.]+)" xMax="([0-9.]+)" yMax="([0-9.]+)">([^<]*)</word>`)

// words are the words of a page with the boxes of their ink, without seal and specimen mark, which lie across others.
func words(t *testing.T, file string) []word {
	t.Helper()
	var out []word
	for _, m := range wordBox.FindAllStringSubmatch(run(t, "pdftotext", "-bbox", file, "-"), -1) {
		var v [4]float64
		for i := range v {
			v[i], _ = strconv.ParseFloat(m[1+i], 64)
			v[i] /= mm
		}
		// Poppler's boxes reach from the font's ascent to its descent, 1.437 em in Noto Serif SC.
		em := (v[3] - v[1]) / 1.437
		baseline := v[3] - 0.286*em
		if em > 9 || em*mm > 11.5 && strings.Contains(m[5], "SPECIMEN") || strings.Contains(m[5], "专用章") {
			continue
		}
		out = append(out, word{m[5], v[0], baseline - 0.72*em, v[2], baseline})
	}
	return out
}

// Nothing is cut and nothing overlaps, whatever is printed.
func TestNothingOverlaps(t *testing.T) {
	all := births(t)
	extreme := all[0]
	for pointer, v := range longest() {
		extreme = with(t, extreme, pointer, v)
	}
	for name, d := range map[string]map[string]any{"longest": extreme, "plain": all[1], "rare": all[199]} {
		for _, part := range []string{"main", "counterfoil"} {
			p := partOf(d, part)
			p.Issuer.Name = "内蒙古自治区呼伦贝尔市莫力达瓦达斡尔族自治旗妇幼保健计划生育服务中心（演示）"
			p.SignerName = p.Issuer.Name
			p.Issuer.Region = "" // the district would be one more word under the date
			list := words(t, stored(t, rendered(t, p).File))
			if len(list) < 60 {
				t.Fatalf("only %d words", len(list))
			}
			for i, a := range list {
				if a.left < 11 || a.right > 203 || a.top < 10 || a.base > 290 {
					t.Errorf("%s, %s: %q leaves its face: %+v", name, part, a.text, a)
				}
				for _, b := range list[:i] {
					across := min(a.right, b.right) - max(a.left, b.left)
					down := min(a.base, b.base) - max(a.top, b.top)
					sealed := p.Issuer.Name == a.text || p.Issuer.Name == b.text || a.text == "样" || b.text == "样"
					if across > 0.15 && down > 0.15 && !sealed {
						t.Errorf("%s, %s: %q and %q overlap by %.2f × %.2f mm", name, part, a.text, b.text, across, down)
					}
				}
			}
		}
	}
}

// A value that does not fit is never cut: the error names the field, and it comes before a number is used.
func TestTooLongNamesTheField(t *testing.T) {
	s, d := loaded(t), births(t)[0]
	for pointer, limit := range map[string]int{"/child/name": 50, "/mother/name": 50, "/father/name": 50, "/mother/address": 100, "/father/address": 100} {
		fits := with(t, d, pointer, strings.Repeat("鑫", limit))
		if err := s.CheckGlyphs("birth-certificate", fits, testIssuer); err != nil {
			t.Errorf("%s of %d characters: %v", pointer, limit, err)
		}
		text := textOf(t, stored(t, rendered(t, partOf(fits, "main")).File))
		if !strings.Contains(text, strings.Repeat("鑫", limit)) {
			t.Errorf("%s of %d characters is not printed whole", pointer, limit)
		}
		long := with(t, d, pointer, strings.Repeat("鑫", 400))
		err := s.CheckGlyphs("birth-certificate", long, testIssuer)
		if !errors.Is(err, ErrTooLong) || !strings.Contains(err.Error(), pointer) || strings.Contains(err.Error(), "鑫") {
			t.Errorf("%s of 400 characters: %v", pointer, err)
		}
		if _, err := s.Render(partOf(long, "main")); !errors.Is(err, ErrTooLong) {
			t.Errorf("%s of 400 characters is drawn: %v", pointer, err)
		}
	}
	if err := s.CheckGlyphs("birth-certificate", d, strings.Repeat("保健院", 80)); !errors.Is(err, ErrTooLong) {
		t.Errorf("an issuer of 240 characters: %v", err)
	}
	if err := s.CheckGlyphs("birth-certificate", d, "内蒙古自治区呼伦贝尔市莫力达瓦达斡尔族自治旗妇幼保健计划生育服务中心（演示）"); err != nil {
		t.Errorf("a long issuer: %v", err)
	}
}

// What CheckGlyphs lets pass can be drawn.
func TestCheckedIsDrawn(t *testing.T) {
	s := loaded(t)
	for i, d := range births(t) {
		if err := s.CheckGlyphs("birth-certificate", d, testIssuer); err != nil {
			t.Errorf("birth %d: %v", i+1, err)
		}
		for _, part := range []string{"main", "counterfoil"} {
			if _, err := s.Render(partOf(d, part)); err != nil {
				t.Errorf("birth %d, %s: %v", i+1, part, err)
			}
		}
	}
}

func TestMissingGlyphSaysWhatToDo(t *testing.T) {
	s := loaded(t)
	const r = '\U0002FFFD' // no font will ever have it
	for _, pointer := range []string{"/child/name", "/mother/address", "/midwife"} {
		d := with(t, births(t)[0], pointer, "曹"+string(r))
		err := s.CheckGlyphs("birth-certificate", d, testIssuer)
		var missing *MissingGlyph
		if !errors.As(err, &missing) || missing.Rune != r || missing.Pointer != pointer || missing.Package != "fonts-hanazono" {
			t.Fatalf("%s: %v", pointer, err)
		}
		for _, word := range []string{"U+2FFFD", pointer, "fonts-hanazono", string(r)} {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("the message does not name %q: %v", word, err)
			}
		}
	}
	var missing *MissingGlyph
	if err := s.CheckGlyphs("birth-certificate", births(t)[0], testIssuer, "签名"+string(r)); !errors.As(err, &missing) {
		t.Errorf("a signer's name: %v", err)
	}
	p := partOf(with(t, births(t)[0], "/child/name", "曹"+string(r)), "main")
	if _, err := s.Render(p); !errors.As(err, &missing) || missing.Pointer != "/child/name" {
		t.Errorf("Render: %v", err)
	}
	if err := s.CheckGlyphs("no-such-type", nil); !errors.Is(err, ErrPart) {
		t.Errorf("no such type: %v", err)
	}
}

// A long name breaks between its parts, not inside them.
func TestLongNamesBreakBetweenTheirParts(t *testing.T) {
	pen := newPen(loaded(t).family)
	pen.reset(nil, 297)
	for text, want := range map[string][]string{
		"阿卜杜热西提·买买提依明·吐尔逊":              {"阿卜杜热西提·", "买买提依明·吐尔逊"},
		"MARIA DEL CARMEN GARCÍA LÓPEZ": {"MARIA DEL CARMEN ", "GARCÍA LÓPEZ"},
		"曹宸书":                           {"曹宸书"},
	} {
		f, err := pen.fit(text, regular, 30, valueSize, "x")
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(f.lines, want) {
			t.Errorf("%q breaks into %q at %v pt", text, f.lines, f.size)
		}
		for _, l := range f.lines {
			if w, _ := pen.width(strings.TrimRight(l, " "), regular, f.size, "x"); w > 30.01 {
				t.Errorf("%q is %.2f mm wide", l, w)
			}
		}
	}
}
