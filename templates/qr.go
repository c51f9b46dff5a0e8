package templates

import (
	"fmt"

	"rsc.io/qr"
)

// quiet is the white frame of a QR code, in modules (ISO/IEC 18004 5.3.8).
const quiet = 4

// maxQRSide is the side of version 20 in modules: what a phone reads from paper at 38 mm.
const maxQRSide = 17 + 4*20

// symbol is a QR code as rows of bits, 1 for dark, with its quiet zone.
type symbol struct {
	side int // modules, with the quiet zone
	core int // without
	rows []byte
}

// encodeQR makes the code of a text, with error correction M, or L where M would take more than version 20.
func encodeQR(text string) (*symbol, error) {
	for _, level := range [...]qr.Level{qr.M, qr.L} {
		c, err := qr.Encode(text, level)
		if err != nil || c.Size > maxQRSide {
			continue
		}
		s := &symbol{side: c.Size + 2*quiet, core: c.Size}
		stride := (s.side + 7) / 8
		s.rows = make([]byte, stride*s.side)
		for y := range c.Size {
			row := s.rows[(y+quiet)*stride:]
			for x := range c.Size {
				if c.Black(x, y) {
					row[(x+quiet)/8] |= 0x80 >> ((x + quiet) & 7)
				}
			}
		}
		return s, nil
	}
	return nil, fmt.Errorf("%w: the code of %d characters is more than a QR code of version 20 holds", ErrTooLong, len(text))
}
