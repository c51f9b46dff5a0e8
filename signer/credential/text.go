package credential

import (
	"errors"
	"fmt"
	"strings"
)

// ErrText says that a text is no credential text, or not in its one form.
var ErrText = errors.New("credential: not a credential text")

const (
	textPrefix = "ELC1:" // scheme and version; like base45 within the alphanumeric mode of a QR code (ISO/IEC 18004, 7.3.4)

	// MaxText20L is how many characters a QR code of version 20 holds at error correction L in alphanumeric mode.
	MaxText20L = 1249
	// MaxSize is the greatest credential in bytes whose text fits into MaxText20L characters.
	MaxSize = 829
)

const base45Digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"

var base45Values = func() (v [256]byte) {
	for i := range v {
		v[i] = 0xff
	}
	for i := range len(base45Digits) {
		v[base45Digits[i]] = byte(i)
	}
	return v
}()

// EncodeText writes a credential as the text of a QR code: "ELC1:" and base45 (RFC 9285).
func EncodeText(b []byte) string {
	out := make([]byte, 0, len(textPrefix)+len(b)/2*3+2)
	out = append(out, textPrefix...)
	for ; len(b) >= 2; b = b[2:] {
		n := int(b[0])<<8 | int(b[1])
		out = append(out, base45Digits[n%45], base45Digits[n/45%45], base45Digits[n/2025])
	}
	if len(b) == 1 {
		out = append(out, base45Digits[b[0]%45], base45Digits[b[0]/45])
	}
	return string(out)
}

// DecodeText reads what EncodeText writes and nothing else: groups above 65535 or 255, a single character at the end
// and lower case wrap ErrText, so one credential has one text. At most MaxText20L characters are looked at.
func DecodeText(s string) ([]byte, error) {
	body, ok := strings.CutPrefix(s, textPrefix)
	switch {
	case !ok:
		return nil, fmt.Errorf("%w: it does not begin with %s", ErrText, textPrefix)
	case len(s) > MaxText20L:
		return nil, fmt.Errorf("%w: %d characters", ErrText, len(s))
	case body == "" || len(body)%3 == 1:
		return nil, fmt.Errorf("%w: cut off", ErrText)
	}
	out := make([]byte, 0, len(body)/3*2+1)
	for i := 0; i < len(body); i += 3 {
		c, d := base45Values[body[i]], base45Values[body[i+1]]
		if c == 0xff || d == 0xff {
			return nil, fmt.Errorf("%w: a character outside of base45", ErrText)
		}
		n := int(c) + int(d)*45
		if i+2 == len(body) {
			if n > 0xff {
				return nil, fmt.Errorf("%w: a group too great", ErrText)
			}
			return append(out, byte(n)), nil
		}
		e := base45Values[body[i+2]]
		if n += int(e) * 2025; e == 0xff || n > 0xffff {
			return nil, fmt.Errorf("%w: a group too great or outside of base45", ErrText)
		}
		out = append(out, byte(n>>8), byte(n))
	}
	return out, nil
}

// ClaimsText reports whether a text says that it is a credential of this system, whatever follows.
func ClaimsText(s string) bool { return strings.HasPrefix(s, textPrefix) }
