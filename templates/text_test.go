package templates

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/elicence/elicence/licence"
)

func textOf(t testing.TB, file string) string {
	t.Helper()
	return run(t, "pdftotext", "-nopgbrk", "-enc", "UTF-8", file, "-")
}

// What is printed can be searched and copied: every value of a birth, as it is, in one piece, supplementary planes
// included; values that run over lines, too.
func TestValuesCanBeCopied(t *testing.T) {
	for i, d := range births(t) {
		b, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		rare := strings.ContainsFunc(string(b), func(r rune) bool { return r > 0xFFFF || r >= 0x3400 && r < 0x4E00 || r >= 0xC0 && r < 0x2000 })
		if !rare && i%20 != 0 {
			continue
		}
		for _, part := range []string{"main", "counterfoil"} {
			text := textOf(t, stored(t, rendered(t, partOf(d, part)).File))
			for _, pointer := range []string{"/child/name", "/mother/name", "/mother/idNumber", "/mother/address", "/father/name", "/father/idNumber", "/father/address"} {
				if v, ok := licence.Value(d, pointer).(string); ok && !strings.Contains(text, v) {
					t.Errorf("birth %d, %s: %s cannot be found", i+1, part, pointer)
				}
			}
			for _, always := range []string{testNumber, testIdentifier, testIssuer, "出生医学证明专用章", "闵行区"} {
				if !strings.Contains(text, always) {
					t.Errorf("birth %d, %s: %q cannot be found", i+1, part, always)
				}
			}
		}
	}
}

// What stands on the page, in words: derived values, units, boxes that are not given.
func TestWordsOnThePage(t *testing.T) {
	all := births(t)
	d := with(t, all[0], "/child/gestation/days", int64(5))
	p := partOf(d, "main")
	layout := run(t, "pdftotext", "-layout", "-nopgbrk", stored(t, rendered(t, p).File), "-")
	lines := strings.Join(strings.Fields(layout), " ")
	for _, want := range []string{
		"出生医学证明 MEDICAL CERTIFICATE OF BIRTH", "新生儿姓名 曹宸书 性别 男 出生时间 2026 年 10 月 13 日 5 时 31 分",
		"出生体重 3418 克", "年龄 22 国籍 中国 民族 汉族", "年龄 39", "正页 1/2", "2026-12-14 09:30:01+08:00", "打印件须核验",
	} {
		if !strings.Contains(lines, want) {
			t.Errorf("the page does not say %q:\n%s", want, layout)
		}
	}
	for i, d := range all {
		if licence.Value(d, "/father/unknown") != true {
			continue
		}
		text := run(t, "pdftotext", "-layout", "-nopgbrk", stored(t, rendered(t, partOf(d, "counterfoil")).File), "-")
		for _, row := range strings.Split(text, "\n") {
			if strings.Contains(row, "父亲姓名") && !strings.HasPrefix(strings.Join(strings.Fields(row), " "), "父亲姓名 / 年龄 / 国籍 / 民族 / 住址 /") {
				t.Errorf("birth %d: father unknown is printed as %q", i+1, row)
			}
		}
		if !strings.Contains(text, "父亲姓名") {
			t.Errorf("birth %d: no row of the father", i+1)
		}
	}
}

// hanziOfLevel3 are the 87,887 hanzi of implementation level 3 of GB 18030-2022: the unified ideographs up to extension
// F, and the twelve among the compatibility ideographs that are unified ones.
func hanziOfLevel3() []rune {
	var all []rune
	for _, block := range [][2]rune{
		{0x4E00, 0x9FEF}, {0x3400, 0x4DB5}, {0x20000, 0x2A6D6}, {0x2A700, 0x2B734}, {0x2B740, 0x2B81D}, {0x2B820, 0x2CEA1}, {0x2CEB0, 0x2EBE0},
	} {
		for r := block[0]; r <= block[1]; r++ {
			all = append(all, r)
		}
	}
	return append(all, []rune("\uFA0E\uFA0F\uFA11\uFA13\uFA14\uFA1F\uFA21\uFA23\uFA24\uFA27\uFA28\uFA29")...)
}

func TestEveryHanziOfLevel3HasAGlyph(t *testing.T) {
	all := hanziOfLevel3()
	if len(all) != 87887 {
		t.Fatalf("level 3 has 87,887 hanzi, these are %d", len(all))
	}
	fam := loaded(t).family
	count := [faceCount]int{}
	for _, r := range append(all, '〇') {
		face, font, err := fam.find(regular, r)
		if err != nil {
			t.Fatal(err)
		}
		if font == nil {
			t.Errorf("no glyph for U+%04X", r)
			continue
		}
		count[face]++
	}
	t.Logf("Noto Serif SC %d, HanaMinA %d, HanaMinB %d", count[regular], count[fallbackA], count[fallbackB])
}

// rowsType is a licence type made for tests: one part whose values fill the page from top to bottom.
func rowsType(rows int) fstest.MapFS {
	var fields, properties, values strings.Builder
	for i := range rows {
		fmt.Fprintf(&fields, "  - {pointer: /r%d, zh: 行, en: row}\n", i)
		fmt.Fprintf(&properties, `,"r%d":{"type":"string"}`, i)
		fmt.Fprintf(&values, "      - value: {x: [4, 206], y: %d, align: left, size: 9, from: /r%d}\n", 10+6*i, i)
	}
	return fstest.MapFS{
		"rows/type.yaml": {Data: []byte("name: rows\ntitle: {zh: 行, en: rows}\ntypeCode: 11000000DEM000001H009\nschemaVersion: 1\n" +
			"parts: [{name: page, title: {zh: 页, en: page}, custody: family}]\nkinds: {first: {title: {zh: 首次签发, en: first}, stock: true, parts: [page]}}\n" +
			"fields:\n" + fields.String() + "process:\n  - {pointer: /kind, zh: 类别, en: kind}\n")},
		"rows/schema.json": {Data: []byte(`{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","additionalProperties":false,"properties":{"kind":{"type":"string"}` + properties.String() + `}}`)},
		"rows/layout.yaml": {Data: []byte("format: 1\nabsent: \"\"\ncolours: {ink: \"000000\", label: \"000000\", english: \"000000\", line: \"cccccc\", seal: \"ff0000\"}\n" +
			"parts:\n  page:\n    signature: {x: 10, y: 10, w: 30, h: 30}\n    elements:\n      - specimen: {x: 105, y: 150, size: 10, angle: 0, colour: line}\n" + values.String())},
	}
}

// Every hanzi of level 3 is printed and copies as itself.
func TestEveryHanziOfLevel3IsPrintedAndCopied(t *testing.T) {
	const rows, columns = 46, 56
	s, err := Load(Options{Types: rowsType(rows)})
	if err != nil {
		t.Fatal(err)
	}
	all := hanziOfLevel3()
	for len(all) > 0 {
		d := map[string]any{}
		for i := range rows {
			n := min(columns, len(all))
			if n == 0 {
				break
			}
			d[fmt.Sprintf("r%d", i)] = string(all[:n])
			all = all[n:]
		}
		p := partOf(d, "page")
		p.Type, p.Parts = "rows", 1
		u, err := s.Render(p)
		if err != nil {
			t.Fatal(err)
		}
		text := textOf(t, stored(t, u.File))
		for _, line := range d {
			if !strings.Contains(text, line.(string)) {
				t.Errorf("a line that begins with U+%04X is copied as something else", []rune(line.(string))[0])
			}
		}
	}
}
