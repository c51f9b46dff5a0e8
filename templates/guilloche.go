package templates

import (
	"math"
	"strconv"
)

// Guilloches are computed, not copied: no pattern of an official paper is near them. One period is drawn around the
// origin and repeated through the transformation matrix, each time with the same words, so that a page full of fine lines
// packs to almost nothing.

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
	e.frame(x, y)
	if angle != 0 {
		e.turn(angle * math.Pi / 180)
	}
	for range int(periods) {
		for k, part := range [...]struct {
			amplitude, phase float64
			colour           int
		}{{1, 0, 0}, {1, .5, 0}, {.78, .25, 1}, {.78, .75, 1}, {.5, 0, 0}, {.5, .5, 0}, {.3, .25, 1}, {.3, .75, 1}} {
			if k%2 == 0 {
				e.fine(colours[part.colour], 0.13)
			}
			e.wave(period, amplitude*part.amplitude, part.phase)
		}
		e.raw("cm", 1, 0, 0, 1, period*fineness, 0)
	}
	e.pdf.TransformEnd()
}

// wave draws one period of a sine that begins at a phase (a multiple of a quarter), in four Bézier quarters.
func (e *easel) wave(period, amplitude, phase float64) {
	at := func(t float64) (x, y, slope float64) {
		a := 2 * math.Pi * (t + phase)
		return t * period * fineness, -amplitude * fineness * math.Sin(a), -amplitude * 2 * math.Pi / period * math.Cos(a)
	}
	x0, y0, s0 := at(0)
	e.path("m", x0, y0)
	for q := 1; q <= 4; q++ {
		x1, y1, s1 := at(float64(q) / 4)
		third := (x1 - x0) / 3
		e.path("c", x0+third, y0+third*s0, x1-third, y1-third*s1, x1, y1)
		x0, y0, s0 = x1, y1, s1
	}
	e.raw("S")
}

// rosette draws rings of petals that swing between two radii, two bundles for each ring, half a petal apart.
func (e *easel) rosette(r rosetteYAML) {
	e.frame(r.X, r.Y)
	for k, ring := range [...]struct{ outer, inner float64 }{{1, .62}, {.92, .44}, {.7, .3}, {.5, .16}} {
		e.fine(r.Colours[k%2], r.Width)
		for range r.Petals {
			e.petal(r.Radius*ring.outer, r.Radius*ring.inner, r.Petals, 0)
			e.petal(r.Radius*ring.outer, r.Radius*ring.inner, r.Petals, 0.5)
			e.turn(2 * math.Pi / float64(r.Petals))
		}
	}
	e.pdf.TransformEnd()
}

// fineness is how many units of a guilloche make a millimetre: its unit is a hundredth of a point, so that its paths are
// written in whole numbers.
const fineness = 100 * mm

// frame moves the origin to a point until TransformEnd; y grows upwards from there, in the units of guilloches.
func (e *easel) frame(x, y float64) {
	e.pdf.TransformBegin()
	e.raw("cm", 0.01, 0, 0, 0.01, x*mm, (e.height-y)*mm)
}

// fine is stroke inside a frame.
func (e *easel) fine(colour string, width float64) {
	c := e.tone[colour]
	e.raw("RG", float64(c[0])/255, float64(c[1])/255, float64(c[2])/255)
	e.path("w", width*fineness)
}

// path is raw with whole numbers.
func (e *easel) path(op string, operands ...float64) {
	for i, v := range operands {
		operands[i] = math.Round(v)
	}
	e.raw(op, operands...)
}

// turn turns what follows around the origin, against the clock, by an angle in radians.
func (e *easel) turn(angle float64) {
	sin, cos := math.Sincos(angle)
	e.raw("cm", cos, sin, -sin, cos, 0, 0)
}

// raw writes an operator with its operands; tidy rounds them.
func (e *easel) raw(op string, operands ...float64) {
	var b []byte
	for _, v := range operands {
		b = append(strconv.AppendFloat(b, v, 'f', 9, 64), ' ')
	}
	e.pdf.RawWriteStr(string(append(b, op...)))
}

// petal draws one swing of a ring around the origin, beginning at a phase (a part of a petal), in four Bézier pieces.
func (e *easel) petal(outer, inner float64, petals int, phase float64) {
	mid, swing, n := (outer+inner)/2*fineness, (outer-inner)/2*fineness, float64(petals)
	at := func(t float64) (x, y, dx, dy float64) {
		a := n*t + phase*2*math.Pi
		r, dr := mid+swing*math.Cos(a), -swing*n*math.Sin(a)
		sin, cos := math.Sincos(t)
		return r * cos, -r * sin, dr*cos - r*sin, -(dr*sin + r*cos)
	}
	h := 2 * math.Pi / n / 4
	x0, y0, dx0, dy0 := at(0)
	e.path("m", x0, y0)
	for i := 1; i <= 4; i++ {
		x1, y1, dx1, dy1 := at(float64(i) * h)
		e.path("c", x0+dx0*h/3, y0+dy0*h/3, x1-dx1*h/3, y1-dy1*h/3, x1, y1)
		x0, y0, dx0, dy0 = x1, y1, dx1, dy1
	}
	e.raw("S")
}
