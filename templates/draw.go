package templates

import (
	"errors"
	"fmt"

	"github.com/elicence/elicence/licence"
)

// page draws what changes on a part into the pen.
func (w *writer) page(s *sheet, t *licence.Type, p *Part) (*symbol, error) {
	pen := w.pen
	pen.reset(&s.static, s.height)
	scope := t.Scope(licence.Values{
		Document: p.Document, Issuer: p.Issuer, Now: p.IssueTime, Number: p.Number, Identifier: p.Identifier,
		Part: p.Part, PartIndex: p.PartIndex, Parts: p.Parts, Signer: p.SignerName,
		IssueTime: p.IssueTime, SigningTime: p.SigningTime, Specimen: p.Specimen,
	})
	// Seals come first: black values over red read as ink over a seal, without transparency.
	for i := range s.seals {
		seal := &s.seals[i]
		owner, _, err := seal.owner.text(p.Document, scope)
		if err != nil {
			return nil, err
		}
		district := ""
		if seal.district.expr != nil {
			if district, _, err = seal.district.text(p.Document, scope); err != nil {
				return nil, err
			}
		}
		if err := seal.draw(pen, owner, district, s.specimen); err != nil {
			return nil, err
		}
	}
	pen.fill(s.ink)
	for i := range s.barcodes {
		if err := s.barcodes[i].draw(pen, p.Document, scope); err != nil {
			return nil, err
		}
	}
	for i := range s.values {
		if err := s.values[i].draw(pen, p.Document, scope, s.absent); err != nil {
			return nil, err
		}
	}
	pen.fill(s.ink)
	for i := range s.ticks {
		t := &s.ticks[i]
		yes, err := t.holds(p.Document, scope)
		if err != nil {
			return nil, err
		}
		if yes {
			pen.tick(t.x, t.y, s.ink)
		}
	}
	return w.code(s, p)
}

func (w *writer) code(s *sheet, p *Part) (*symbol, error) {
	if len(s.codes) == 0 {
		return nil, nil
	}
	code, err := w.codes.encode(p.Code)
	if err != nil {
		return nil, err
	}
	w.pen.fill([3]int{})
	for _, c := range s.codes {
		module := c.Size / float64(code.core)
		side := module * float64(code.side)
		w.pen.b = append(w.pen.b, "q "...)
		w.pen.number(side * mm)
		w.pen.b = append(w.pen.b, "0 0 "...)
		w.pen.number(side * mm)
		w.pen.point(c.X-quiet*module, c.Y+c.Size+quiet*module)
		w.pen.op("cm/Q Do Q")
	}
	return code, nil
}

func (v *value) draw(p *pen, document map[string]any, scope *licence.Scope, absent string) error {
	text, ok, err := v.text(document, scope)
	if err != nil {
		return err
	}
	align := v.align
	if !ok {
		text, align = absent, "centre"
	}
	if text == "" {
		return nil
	}
	raised := ""
	if v.raised != nil && ok {
		if raised, _, err = v.raised.text(document, scope); err != nil {
			return err
		}
	}
	p.fill(v.colour)
	f, err := p.fit(text, v.weight, v.w, v.size, v.name)
	if err != nil {
		return err
	}
	if len(f.lines) > 1 {
		p.spoken(text)
		y := v.y + 0.3 - float64(len(f.lines)-1)*f.leading
		for _, line := range f.lines {
			if err := p.text(v.x, y, line, v.weight, f.size, v.name); err != nil {
				return err
			}
			y += f.leading
		}
		p.endSpoken()
		return nil
	}
	width, err := p.width(text, v.weight, f.size, v.name)
	if err != nil {
		return err
	}
	small := f.size * 0.62
	more, err := p.width(raised, v.weight, small, v.name)
	if err != nil {
		return err
	}
	x := v.x
	switch align {
	case "", "centre":
		x += (v.w - width - more) / 2
	case "right":
		x += v.w - width - more
	}
	if err := p.text(x, v.y, text, v.weight, f.size, v.name); err != nil || raised == "" {
		return err
	}
	return p.text(x+width, v.y-f.size/mm*0.36, raised, v.weight, small, v.name)
}

// tick draws a tick that reaches a little beyond its box, as a pen would.
func (p *pen) tick(x, y float64, colour [3]int) {
	p.stroke(colour, 0.45)
	p.point(x+0.45, y-1.15)
	p.b = append(p.b, "m "...)
	p.point(x+1.15, y-0.3)
	p.b = append(p.b, "l "...)
	p.point(x+2.75, y-3)
	p.op("l S")
}

func (b *barcode) draw(p *pen, document map[string]any, scope *licence.Scope) error {
	text, ok, err := b.text(document, scope)
	if err != nil || !ok {
		return err
	}
	width, err := p.width(text, regular, b.Size, "number")
	if err != nil {
		return err
	}
	const space = 0.35 // between the digits, mm
	count := float64(len(text))
	x := b.X + (b.W-width-space*(count-1))/2
	p.b = append(appendNumber(p.b, space*mm), " Tc\n"...)
	if err := p.text(x, b.Y+b.H-b.Bars-1.75, text, regular, b.Size, "number"); err != nil {
		return err
	}
	p.op("0 Tc")
	bars, err := code128(text)
	if err != nil {
		return errors.Join(fmt.Errorf("%w: number", ErrTooLong), err)
	}
	modules := 0
	for _, m := range bars {
		modules += int(m)
	}
	module := min(b.W/float64(modules+20), 0.33)
	x = b.X + (b.W-module*float64(modules))/2
	for i, m := range bars {
		if i%2 == 0 {
			p.bar(x, b.Y+b.H-b.Bars-0.8, module*float64(m), b.Bars)
		}
		x += module * float64(m)
	}
	p.op("f")
	return nil
}
