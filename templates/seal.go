package templates

import (
	"fmt"
	"math"
)

// seal is a round seal ready to be drawn.
type seal struct {
	x, y, radius    float64
	name            string
	owner, district source
	colour          [3]int
}

// draw draws the seal: double ring, its name on the upper arc, its owner on the lower arc, a centre line with the
// district below it, and 样 in the centre of a specimen's.
func (s *seal) draw(p *pen, owner, district string, specimen bool) error {
	p.fill(s.colour)
	p.stroke(s.colour, 0.75)
	p.circle(s.x, s.y, s.radius-0.4)
	p.stroke(s.colour, 0.2)
	p.circle(s.x, s.y, s.radius-1.35)
	if err := s.arc(p, s.name, 3.5, 150, true, "seal"); err != nil {
		return err
	}
	if err := s.arc(p, owner, 2.7, 176, false, s.owner.name); err != nil {
		return err
	}
	// 样, centre line and district keep to the gaps between two rows 9 mm apart, so that what is written there stays
	// legible under a seal of any size.
	half := s.radius * 0.44
	if specimen {
		if err := s.centred(p, "样", s.y-0.55, 11, half*2, "seal"); err != nil {
			return err
		}
	}
	p.stroke(s.colour, 0.3)
	p.line(s.x-half, s.y+0.35, s.x+half, s.y+0.35)
	if district != "" {
		return s.centred(p, district, s.y+s.radius*0.6, 8, s.radius*0.8, s.district.name)
	}
	return nil
}

func (s *seal) centred(p *pen, text string, y, size, width float64, field string) error {
	w, err := p.width(text, regular, size, field)
	if err != nil {
		return err
	}
	if w > width {
		size, w = size*width/w, width
	}
	return p.text(s.x-w/2, y, text, regular, size, field)
}

// arc sets a text around the inner ring, as large as height (mm) if it then spans no more than span degrees.
func (s *seal) arc(p *pen, text string, height, span float64, upper bool, field string) error {
	if text == "" {
		return nil
	}
	em := height
	natural, err := p.width(text, regular, 1000*mm, field) // in thousandths of an em that is 1 mm high
	if err != nil {
		return err
	}
	natural /= 1000
	// The baseline: letters of the upper arc stand on it outwards, those of the lower arc inwards.
	baseline := func(em float64) float64 {
		if upper {
			return s.radius - 1.9 - em*0.88
		}
		return s.radius - 1.9 - em*0.12
	}
	runes := float64(len([]rune(text)))
	gap := 0.16
	angle := func(em float64) float64 {
		return em * (natural + gap*(runes-1)) / (baseline(em) - em*0.35*sign(!upper))
	}
	limit := span * math.Pi / 180
	for em > 0.9 && angle(em) > limit {
		em -= 0.05
	}
	if em <= 0.9 {
		return fmt.Errorf("%w: %s", ErrTooLong, field)
	}
	total, radius := angle(em), baseline(em)
	// Short names are spread a little, so that both arcs frame the centre.
	if least := limit * 0.62; total < least && runes > 1 {
		gap += (least - total) * radius / em / (runes - 1)
		gap = min(gap, 0.9)
		total = angle(em)
	}
	unit := total / (natural + gap*(runes-1)) // radians for each em
	p.spoken(text)
	at := -total / 2
	for _, r := range text {
		_, _, advance, err := p.glyph(r, regular, field)
		if err != nil {
			return err
		}
		wide := float64(advance) / 1000
		middle := at + wide*unit/2
		at += (wide + gap) * unit
		dir := middle // of the letter's middle, clockwise from the top
		turn := -middle
		if !upper {
			dir, turn = math.Pi-middle, middle
		}
		// From the middle of the letter half its width back along the baseline.
		x := s.x + radius*math.Sin(dir) - wide*em/2*math.Cos(turn)
		y := s.y - radius*math.Cos(dir) + wide*em/2*math.Sin(turn)
		if err := p.turned(x, y, turn, string(r), regular, em*mm, field); err != nil {
			return err
		}
	}
	p.endSpoken()
	return nil
}

func sign(positive bool) float64 {
	if positive {
		return 1
	}
	return -1
}

// circle strokes a circle of four Bézier quarters.
func (p *pen) circle(x, y, r float64) {
	const k = 0.5522847498
	p.point(x+r, y)
	p.op("m")
	for i := range 4 {
		sin, cos := math.Sincos(float64(i) * math.Pi / 2)
		turn := func(a, b float64) { p.point(x+r*(a*cos-b*sin), y+r*(a*sin+b*cos)) }
		turn(1, k)
		turn(k, 1)
		turn(0, 1)
		p.op("c")
	}
	p.op("s")
}

func (p *pen) line(x1, y1, x2, y2 float64) {
	p.point(x1, y1)
	p.b = append(p.b, "m "...)
	p.point(x2, y2)
	p.op("l S")
}

// bar fills a rectangle whose upper left corner is (x, y).
func (p *pen) bar(x, y, w, h float64) {
	p.point(x, y+h)
	p.number(w * mm)
	p.number(h * mm)
	p.b = append(p.b, "re\n"...)
}
