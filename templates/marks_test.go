package templates

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/color"
	"strings"
	"testing"

	"github.com/makiuchi-d/gozxing/oned"

	"github.com/elicence/elicence/templates/truetype"
)

func noFont() (*truetype.Font, error) { return nil, nil }

// Code 128 is read back as what was written, whatever mixture of letters and digits.
func TestCode128(t *testing.T) {
	for _, text := range []string{"A000000001", "Z999999999", "K12", "1", "12", "123", "1234", "12345", "A1234567B", "x-9 ~!", "00", "AB1234CD56789", strings.Repeat("7", 31)} {
		bars, err := code128(text)
		if err != nil {
			t.Fatal(err)
		}
		m := image.NewGray(image.Rect(0, 0, 3*800, 60))
		for i := range m.Pix {
			m.Pix[i] = 255
		}
		x := 60
		for i, w := range bars {
			for range 3 * int(w) {
				for y := 5; y < 55 && i%2 == 0; y++ {
					m.SetGray(x, y, color.Gray{})
				}
				x++
			}
		}
		if got := decode(t, oned.NewCode128Reader(), m); got != text {
			t.Errorf("%q is read as %q", text, got)
		}
	}
	for _, text := range []string{"", "号", "A\n", strings.Repeat("x", 81)} {
		if _, err := code128(text); !errors.Is(err, errCode128) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// Level M as long as it stays within version 20, then L; bytes where the text is not alphanumeric.
func TestQRLevels(t *testing.T) {
	e := newQREncoder()
	for _, c := range []struct {
		text string
		side int
	}{
		{"HELLO", 21}, {strings.Repeat("A", 970), 97}, {strings.Repeat("A", 971), 89}, {strings.Repeat("A", 1249), 97}, {"小写 lower case", 25},
	} {
		s, err := e.encode(c.text)
		if err != nil {
			t.Fatalf("%d characters: %v", len(c.text), err)
		}
		if s.core != c.side || s.side != c.side+8 || len(s.rows) != s.side*((s.side+7)/8) {
			t.Errorf("%d characters: %d modules", len(c.text), s.core)
		}
	}
	if _, err := e.encode(strings.Repeat("A", 1250)); !errors.Is(err, ErrTooLong) {
		t.Errorf("more than version 20 holds: %v", err)
	}
}

// A code is drawn once for all parts of a licence; few codes are kept, and they are those asked for last.
func TestLastCodesAreRemembered(t *testing.T) {
	e := newQREncoder()
	first, err := e.encode("HELLO 0")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 * rememberedCodes {
		if i == rememberedCodes-1 {
			if again, _ := e.encode("HELLO 0"); again != first {
				t.Error("a code that is still kept is drawn again")
			}
		}
		if _, err := e.encode(fmt.Sprintf("HELLO %d", i)); err != nil {
			t.Fatal(err)
		}
	}
	again, err := e.encode("HELLO 0")
	if err != nil {
		t.Fatal(err)
	}
	if again == first || !bytes.Equal(again.rows, first.rows) {
		t.Error("a code that was forgotten is not drawn anew, in the same way")
	}
	if len(e.last) != rememberedCodes {
		t.Errorf("%d codes are kept", len(e.last))
	}
}

func TestTidyKeepsStrings(t *testing.T) {
	in := "1.00000 0.00000 0.00000 1.00000 31.18110 -19.84252 cm\n0.122 0.420 0.400 RG\nBT 10.506 20.0 Td (a\\)1.23456\\\\\n\\() Tj ET [3.400 2.8] 0.00 d\n-0.001 0.5 m"
	want := "1 0 0 1 31.1811 -19.84252 cm\n0.122 0.42 0.4 RG\nBT 10.51 20 Td\n(a\\)1.23456\\\\\n\\()Tj\nET\n[3.400 2.8]\n0 d\n0 0.5 m\n"
	if got := string(tidy([]byte(in))); got != want {
		t.Errorf("%q, not %q", got, want)
	}
}

// ICC.1:1998-09 6.1: size, signature, tags within the file. Preflight reads the profile, too.
func TestColourProfile(t *testing.T) {
	p := sRGB()
	be := binary.BigEndian
	if int(be.Uint32(p)) != len(p) || string(p[36:40]) != "acsp" || p[8] != 2 || string(p[16:20]) != "RGB " {
		t.Error("header")
	}
	n := int(be.Uint32(p[128:]))
	for i := range n {
		tag := p[132+12*i:]
		if at, size := int(be.Uint32(tag[4:])), int(be.Uint32(tag[8:])); at%4 != 0 || at+size > len(p) || at < 132+12*n {
			t.Errorf("tag %s lies outside", tag[:4])
		}
	}
	if !bytes.Contains(p, []byte("sRGB IEC61966-2.1")) {
		t.Error("no name")
	}
}

func TestNumbers(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 1: "1", -1.5: "-1.5", 10.05: "10.05", 0.001: "0.001", 0.0004: "0", 841.8898: "841.89", -0.0001: "0"} {
		if got := string(appendNumber(nil, v)); got != want {
			t.Errorf("%v is written %s", v, got)
		}
	}
}
