package templates

import (
	"fmt"
	"sync"

	"rsc.io/qr/coding"
)

// quiet is the white frame of a QR code, in modules (ISO/IEC 18004 5.3.8).
const quiet = 4

// maxQRVersion is what a phone still reads from paper at 38 mm.
const maxQRVersion = 20

// symbol is a QR code as rows of bits, 1 for dark, with its quiet zone. It is never changed.
type symbol struct {
	side int // modules, with the quiet zone
	core int // without
	rows []byte
}

// qrEncoder makes QR codes; the plans of their patterns are drawn up once for each version and level. The parts of a
// licence carry the same code one after another: the last codes are remembered. It is safe for concurrent use.
type qrEncoder struct {
	plans [2][maxQRVersion + 1]func() (*coding.Plan, error)

	mu     sync.Mutex
	last   map[string]*symbol
	order  [rememberedCodes]string // keys of last
	oldest int
}

// rememberedCodes is for more licences than are drawn at the same time.
const rememberedCodes = 64

// Correction levels, the stronger first: L only where M would take more than version 20.
var qrLevels = [2]coding.Level{coding.M, coding.L}

func newQREncoder() *qrEncoder {
	e := &qrEncoder{last: make(map[string]*symbol, rememberedCodes)}
	for i, level := range qrLevels {
		for v := range e.plans[i] {
			e.plans[i][v] = sync.OnceValues(func() (*coding.Plan, error) { return coding.NewPlan(coding.Version(v), level, 0) })
		}
	}
	return e
}

// encode returns the code of a text.
func (e *qrEncoder) encode(text string) (*symbol, error) {
	e.mu.Lock()
	s := e.last[text]
	e.mu.Unlock()
	if s != nil {
		return s, nil
	}
	s, err := e.draw(text)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.last[text] == nil { // nobody has drawn it meanwhile
		delete(e.last, e.order[e.oldest])
		e.last[text], e.order[e.oldest] = s, text
		e.oldest = (e.oldest + 1) % rememberedCodes
	}
	return s, nil
}

func (e *qrEncoder) draw(text string) (*symbol, error) {
	var enc coding.Encoding = coding.Alpha(text)
	if enc.Check() != nil {
		enc = coding.String(text)
	}
	for i, level := range qrLevels {
		for v := coding.Version(1); v <= maxQRVersion; v++ {
			if enc.Bits(v) > v.DataBytes(level)*8 {
				continue
			}
			plan, err := e.plans[i][v]()
			if err != nil {
				return nil, fmt.Errorf("templates: QR code: %w", err)
			}
			c, err := plan.Encode(enc)
			if err != nil {
				return nil, fmt.Errorf("templates: QR code: %w", err)
			}
			return framed(c), nil
		}
	}
	return nil, fmt.Errorf("%w: the code of %d characters is more than a QR code of version %d holds", ErrTooLong, len(text), maxQRVersion)
}

// framed puts the quiet zone around a code: every row moves by four bits.
func framed(c *coding.Code) *symbol {
	s := &symbol{side: c.Size + 2*quiet, core: c.Size}
	stride := (s.side + 7) / 8
	s.rows = make([]byte, stride*s.side)
	for y := range c.Size {
		row, from := s.rows[(y+quiet)*stride:][:stride], c.Bitmap[y*c.Stride:][:(c.Size+7)/8]
		for i, b := range from {
			row[i] |= b >> quiet
			if i+1 < stride {
				row[i+1] |= b << (8 - quiet)
			}
		}
	}
	return s
}
