package templates

import "math"

// border draws a guilloche frame: bundles of sine waves woven along each side, one period repeated so that it packs to
// almost nothing, and a rosette in each corner. It is computed, not copied: no pattern of an official paper is near it.
func (e *easel) border(b borderYAML) {
	side := b.Band
	corner := side * 1.6
	e.stroke(b.Colours[0], 0.35)
	e.pdf.Rect(b.X, b.Y, b.W, b.H, "D")
	e.pdf.Rect(b.X+side, b.Y+side, b.W-2*side, b.H-2*side, "D")
	e.stroke(b.Colours[0], 0.12)
	e.pdf.Rect(b.X+0.8, b.Y+0.8, b.W-1.6, b.H-1.6, "D")
	e.pdf.Rect(b.X+side-0.8, b.Y+side-0.8, b.W-2*side+1.6, b.H-2*side+1.6, "D")
	_ = corner
	for _, s := range []struct{ x, y, length, angle float64 }{
		{b.X + side, b.Y + side/2, b.W - 2*side, 0},
		{b.X + side, b.Y + b.H - side/2, b.W - 2*side, 0},
		{b.X + side/2, b.Y + side, b.H - 2*side, -90},
		{b.X + b.W - side/2, b.Y + side, b.H - 2*side, -90},
	} {
		e.weave(s.x, s.y, s.length, s.angle, side/2-1.1, b.Colours)
	}
	for _, c := range [][2]float64{{b.X + side/2, b.Y + side/2}, {b.X + b.W - side/2, b.Y + side/2}, {b.X + side/2, b.Y + b.H - side/2}, {b.X + b.W - side/2, b.Y + b.H - side/2}} {
		e.rosette(c[0], c[1], side/2-0.5, 8, b.Colours[0])
	}
}

// weave repeats one period of the bundle along a line that starts at (x, y).
func (e *easel) weave(x, y, length, angle, amplitude float64, colours [2]string) {
	periods := math.Round(length / 9)
	period := length / periods
	for i := range int(periods) {
		e.pdf.TransformBegin()
		e.pdf.TransformTranslate(x, y)
		if angle != 0 {
			e.pdf.TransformRotate(angle, 0, 0)
		}
		e.pdf.TransformTranslate(float64(i)*period, 0)
		for k, part := range [...]struct {
			amplitude, phase float64
			colour           int
		}{{1, 0, 0}, {1, .5, 0}, {.78, .25, 1}, {.78, .75, 1}, {.5, 0, 0}, {.5, .5, 0}, {.3, .25, 1}, {.3, .75, 1}} {
			if k%2 == 0 {
				e.stroke(colours[part.colour], 0.14)
			}
			e.wave(period, amplitude*part.amplitude, part.phase)
		}
		e.pdf.TransformEnd()
	}
}

// wave draws one period of a sine that begins at a phase (a multiple of a quarter), in four Bézier quarters.
func (e *easel) wave(period, amplitude, phase float64) {
	at := func(t float64) (x, y, slope float64) {
		a := 2 * math.Pi * (t + phase)
		return t * period, amplitude * math.Sin(a), amplitude * 2 * math.Pi / period * math.Cos(a)
	}
	x0, y0, s0 := at(0)
	e.pdf.MoveTo(x0, y0)
	for q := 1; q <= 4; q++ {
		x1, y1, s1 := at(float64(q) / 4)
		third := (x1 - x0) / 3
		e.pdf.CurveBezierCubicTo(x0+third, y0+third*s0, x1-third, y1-third*s1, x1, y1)
		x0, y0, s0 = x1, y1, s1
	}
	e.pdf.DrawPath("D")
}

// rosette draws rings of petals around a centre.
func (e *easel) rosette(x, y, radius float64, petals int, colour string) {
	e.stroke(colour, 0.13)
	for _, ring := range []struct{ from, to, shift float64 }{{.98, .55, 0}, {.98, .55, .5}, {.62, .18, 0}, {.62, .18, .5}} {
		e.petals(x, y, radius*ring.from, radius*ring.to, petals, ring.shift)
	}
}

// petals draws a closed curve that swings between two radii.
func (e *easel) petals(x, y, outer, inner float64, petals int, shift float64) {
	mid, swing := (outer+inner)/2, (outer-inner)/2
	n := float64(petals)
	at := func(t float64) (px, py, dx, dy float64) {
		r := mid + swing*math.Cos(n*t+shift*2*math.Pi)
		dr := -swing * n * math.Sin(n*t+shift*2*math.Pi)
		sin, cos := math.Sincos(t)
		return x + r*cos, y + r*sin, dr*cos - r*sin, dr*sin + r*cos
	}
	steps := petals * 4
	h := 2 * math.Pi / float64(steps)
	x0, y0, dx0, dy0 := at(0)
	e.pdf.MoveTo(x0, y0)
	for i := 1; i <= steps; i++ {
		x1, y1, dx1, dy1 := at(float64(i) * h)
		e.pdf.CurveBezierCubicTo(x0+dx0*h/3, y0+dy0*h/3, x1-dx1*h/3, y1-dy1*h/3, x1, y1)
		x0, y0, dx0, dy0 = x1, y1, dx1, dy1
	}
	e.pdf.DrawPath("D")
}
