package templates

import (
	"fmt"
	"image"
	"image/color"
	"strings"
	"testing"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/oned"
	"github.com/makiuchi-d/gozxing/qrcode"
)

func decode(t testing.TB, reader gozxing.Reader, m image.Image) string {
	t.Helper()
	b, err := gozxing.NewBinaryBitmapFromImage(m)
	if err != nil {
		t.Fatal(err)
	}
	result, err := reader.Decode(b, map[gozxing.DecodeHintType]any{gozxing.DecodeHintType_TRY_HARDER: true})
	if err != nil {
		t.Fatalf("it cannot be read: %v", err)
	}
	return result.GetText()
}

// The codes are read back from a picture of the page, specimen mark and all, as a camera or a scanner sees it.
func TestCodesAreReadFromThePicture(t *testing.T) {
	for _, n := range []int{120, 720, 1240} { // from few fields to version 20 at level L
		p := partOf(births(t)[192], "main")
		p.Code = strings.Repeat("ELC1:6BFOXN5TLDWEYBN2Z$K.6:X9/+", 50)[:n]
		p.Number = fmt.Sprintf("K00%07d", n*7919)
		for _, part := range []string{"main", "counterfoil"} {
			p.Part = part
			file := stored(t, rendered(t, p).File)
			if got := decode(t, qrcode.NewQRCodeReader(), detail(t, file, 300, 15, 155, 48, 48)); got != p.Code {
				t.Errorf("%s, %d characters: the QR code says %q", part, n, got)
			}
			if got := decode(t, oned.NewCode128Reader(), detail(t, file, 300, 144, 117, 42, 15)); got != p.Number {
				t.Errorf("%s: the bar code says %q, not %q", part, got, p.Number)
			}
		}
		slip, err := loaded(t).Slip(p)
		if err != nil {
			t.Fatal(err)
		}
		if got := decode(t, qrcode.NewQRCodeReader(), detail(t, stored(t, slip), 300, 20, 22, 65, 64)); got != p.Code {
			t.Errorf("slip, %d characters: the QR code says %q", n, got)
		}
	}
	c := childbirth(t)
	if got := decode(t, qrcode.NewQRCodeReader(), detail(t, stored(t, rendered(t, c).File), 300, 15, 155, 48, 48)); got != c.Code {
		t.Errorf("childbirth: the QR code says %q", got)
	}
}

// The quiet zone is white all around, also where the specimen mark or a frame is near.
func TestQuietZoneIsWhite(t *testing.T) {
	const dpi = 300
	page := detail(t, stored(t, rendered(t, partOf(births(t)[0], "main")).File), dpi, 10, 150, 60, 60)
	module := 38.0 / 85
	zone := quiet*module - 0.1
	for _, side := range [][4]float64{{20 - zone, 160 - zone, 38 + 2*zone, zone - 0.1}, {20 - zone, 198.2, 38 + 2*zone, zone - 0.2}, {20 - zone, 160, zone - 0.1, 38}, {58.2, 160, zone - 0.2, 38}} {
		m := cut(page, dpi, side[0]-10, side[1]-150, side[2], side[3])
		for y := m.Bounds().Min.Y; y < m.Bounds().Max.Y; y++ {
			for x := m.Bounds().Min.X; x < m.Bounds().Max.X; x++ {
				if r, g, b, _ := m.At(x, y).RGBA(); r&g&b>>8 < 0xF0 {
					t.Fatalf("%.1f mm from the left, %.1f mm from the top: not white", 10+float64(x)/dpi*25.4, 150+float64(y)/dpi*25.4)
				}
			}
		}
	}
}

// near reports whether a pixel has about a colour.
func near(c color.Color, want [3]int) bool {
	r, g, b, _ := c.RGBA()
	for i, v := range [...]uint32{r, g, b} {
		if d := int(v>>8) - want[i]; d < -40 || d > 40 {
			return false
		}
	}
	return true
}

// reddish counts the dots that are more red than anything else: the mark and the seal are, nothing beside them is.
func reddish(m image.Image) int {
	n := 0
	for y := m.Bounds().Min.Y; y < m.Bounds().Max.Y; y++ {
		for x := m.Bounds().Min.X; x < m.Bounds().Max.X; x++ {
			if r, g, b, _ := m.At(x, y).RGBA(); r>>8 > 0xA0 && r>>8 > g>>8+35 && r>>8 > b>>8+35 {
				n++
			}
		}
	}
	return n
}

// No page without the mark unless the chain is a production one: across the face, in the zone below it, in the seal,
// and as words that a program finds.
func TestEverySpecimenIsMarked(t *testing.T) {
	for name, b := range everyKind(t) {
		file := stored(t, b)
		text := textOf(t, file)
		page := picture(t, file, 100)
		specimen := strings.HasPrefix(name, "specimen")
		if said := strings.Count(text, "样张 SPECIMEN"); specimen != (said >= 2) || !specimen && (said != 0 || strings.Contains(text, "样")) {
			t.Errorf("%s: the text says 样张 SPECIMEN %d times", name, said)
		}
		faces := [][4]float64{{30, 30, 150, 68}, {66, 205, 130, 70}}
		if strings.Contains(name, "slip") {
			faces = [][4]float64{{10, 86, 85, 55}}
		}
		for _, f := range faces {
			if n := reddish(cut(page, 100, f[0], f[1], f[2], f[3])); specimen != (n > 300) || !specimen && n != 0 {
				t.Errorf("%s: %d dots of the mark in %v", name, n, f)
			}
		}
		if strings.Contains(name, "slip") {
			continue
		}
		x, y := 84.0, 120.0
		if strings.Contains(name, "childbirth") {
			x, y = 92, 119
		}
		if n := reddish(cut(page, 100, x-2.2, y-4.2, 4.4, 3.8)); specimen != (n > 10) {
			t.Errorf("%s: %d red dots in the seal's centre", name, n)
		}
	}
}

// The seal stands where the signature's field is.
func TestSealFillsTheSignatureField(t *testing.T) {
	b := rendered(t, partOf(births(t)[0], "main")).File
	if want := "/Rect[189.921 453.543 286.299 549.921]"; !strings.Contains(string(b), want) {
		t.Errorf("the field is not the seal's square, %s: centred (84,120), 34 mm", want)
	}
	page := picture(t, stored(t, b), 200)
	for _, edge := range [][2]float64{{84, 103.4}, {84, 136.6}, {67.4, 120}, {100.6, 120}} {
		k := 200 / 25.4
		if c := page.At(int(edge[0]*k), int(edge[1]*k)); !near(c, [3]int{0xC8, 0x20, 0x2A}) {
			t.Errorf("no ring at %v: %v", edge, c)
		}
	}
}
