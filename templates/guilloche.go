package templates

import "math"

// Guilloches are computed, not copied: no pattern of an official paper is near them. One period is drawn and repeated
// through the transformation matrix, so that a page full of fine lines packs to almost nothing.

// border draws a frame: bundles of sine waves woven along each side, a rosette in each corner.
func (e *easel) border(b borderYAML) {
	side := b.Band
	frame := func(inset, width float64, colour string) {
		e.stroke(colour, width)
		e.pdf.Rect(b.X+inset, b.Y+inset, b.W-2*inset, b.H-2*inset, "D")
	}
	frame(0, 0.4, b.Colours[0])
	frame(0.75, 0.12, b.Colours[1])
	frame(side-0.75, 0.12, b.Colours[1])
	frame(side, 0.3, b.Colours[0])
	for _, s := range []struct{ x, y, length, angle float64 }{
		{b.X + side, b.Y + side/2, b.W - 2*side, 0},
		{b.X + side, b.Y + b.H - side/2, b.W - 2*side, 0},
		{b.X + side/2, b.Y + side, b.H - 2*side, -90},
		{b.X + b.W - side/2, b.Y + side, b.H - 2*side, -90},
	} {
		e.weave(s.x, s.y, s.length, s.angle, side/2-1.1, b.Colours)
	}
	for _, x := range [...]float64{b.X + side/2, b.X + b.W - side/2} {
		for _, y := range [...]float64{b.Y + side/2, b.Y + b.H - side/2} {
			e.rosette(rosetteYAML{X: x, Y: y, Radius: side/2 - 0.45, Petals: 12, Colours: b.Colours, Width: 0.11})
		}
	}
}

// weave repeats one period of the bundle along a line that starts at (x, y).
func (e *easel) weave(x, y, length, angle, amplitude float64, colours [2]string) {
	const about = 9 // mm: a period is as near to it as a whole number of them allows
	periods := math.Round(length / about)
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
				e.stroke(colours[part.colour], 0.13)
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

// rosette draws rings of petals that swing between two radii, two bundles for each ring, half a petal apart.
func (e *easel) rosette(r rosetteYAML) {
	turn := 360 / float64(r.Petals)
	e.pdf.TransformBegin()
	e.pdf.TransformTranslate(r.X, r.Y)
	for k, ring := range [...]struct{ outer, inner float64 }{{1, .62}, {.92, .44}, {.7, .3}, {.5, .16}} {
		e.stroke(r.Colours[k%2], r.Width)
		for i := range r.Petals {
			e.pdf.TransformBegin()
			e.pdf.TransformRotate(float64(i)*turn, 0, 0)
			e.petal(r.Radius*ring.outer, r.Radius*ring.inner, r.Petals, 0)
			e.petal(r.Radius*ring.outer, r.Radius*ring.inner, r.Petals, 0.5)
			e.pdf.TransformEnd()
		}
	}
	e.pdf.TransformEnd()
}

// petal draws one swing of a ring around the origin, beginning at a phase (a part of a petal), in four Bézier pieces.
func (e *easel) petal(outer, inner float64, petals int, phase float64) {
	mid, swing, n := (outer+inner)/2, (outer-inner)/2, float64(petals)
	at := func(t float64) (x, y, dx, dy float64) {
		a := n*t + phase*2*math.Pi
		r, dr := mid+swing*math.Cos(a), -swing*n*math.Sin(a)
		sin, cos := math.Sincos(t)
		return r * cos, r * sin, dr*cos - r*sin, dr*sin + r*cos
	}
	h := 2 * math.Pi / n / 4
	x0, y0, dx0, dy0 := at(0)
	e.pdf.MoveTo(x0, y0)
	for i := 1; i <= 4; i++ {
		x1, y1, dx1, dy1 := at(float64(i) * h)
		e.pdf.CurveBezierCubicTo(x0+dx0*h/3, y0+dy0*h/3, x1-dx1*h/3, y1-dy1*h/3, x1, y1)
		x0, y0, dx0, dy0 = x1, y1, dx1, dy1
	}
	e.pdf.DrawPath("D")
}
