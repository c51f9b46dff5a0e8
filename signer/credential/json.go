package credential

import (
	"encoding/base64"
	"encoding/hex"
	"strings"
)

// maxSchemaVersion keeps whole numbers that count things small.
const maxSchemaVersion = 1 << 20

const lowerHex = "0123456789abcdef"

// appendJSONString writes s as RFC 8785, 3.2.2.2 does: only what JSON demands is escaped, and in one way.
func appendJSONString(b []byte, s string) []byte {
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		b = append(append(b, s[from:i]...), '\\')
		from = i + 1
		switch c {
		case '"', '\\':
			b = append(b, c)
		case '\b':
			b = append(b, 'b')
		case '\t':
			b = append(b, 't')
		case '\n':
			b = append(b, 'n')
		case '\f':
			b = append(b, 'f')
		case '\r':
			b = append(b, 'r')
		default:
			b = append(b, 'u', '0', '0', lowerHex[c>>4], lowerHex[c&15])
		}
	}
	return append(append(b, s[from:]...), '"')
}

// jsonReader reads canonical JSON of a known shape: what stands there must be what stands next in the shape. The first
// thing that does not fit makes it bad, and it stays so.
//
// It reads from one string, so that the texts it finds are pieces of it and cost nothing.
type jsonReader struct {
	b   string
	bad bool
}

func (r *jsonReader) fail() { r.b, r.bad = "", true }

func (r *jsonReader) want(s string) {
	rest, ok := strings.CutPrefix(r.b, s)
	if !ok {
		r.fail()
		return
	}
	r.b = rest
}

// more reports whether an array in which n elements were read has another one, and steps over what lies between.
func (r *jsonReader) more(n int) bool {
	switch {
	case len(r.b) == 0:
		r.fail()
		return false
	case r.b[0] == ']':
		r.b = r.b[1:]
		return false
	case n >= MaxFields:
		r.fail()
		return false
	case n > 0:
		r.want(",")
	}
	return !r.bad
}

func (r *jsonReader) text() string {
	r.want(`"`)
	for i := 0; i < len(r.b); i++ {
		switch c := r.b[i]; {
		case c == '"':
			plain := r.b[:i]
			r.b = r.b[i+1:]
			return plain
		case c == '\\':
			return r.escaped()
		case c < 0x20:
			r.fail()
			return ""
		}
	}
	r.fail()
	return ""
}

// escaped reads the rest of a string that has escapes.
func (r *jsonReader) escaped() string {
	var s []byte
	for i := 0; i < len(r.b); i++ {
		c := r.b[i]
		switch {
		case c == '"':
			r.b = r.b[i+1:]
			return string(s)
		case c < 0x20:
			r.fail()
			return ""
		case c != '\\':
			s = append(s, c)
			continue
		}
		i++
		if i == len(r.b) {
			break
		}
		switch c = r.b[i]; c {
		case '"', '\\':
			s = append(s, c)
		case 'b':
			s = append(s, '\b')
		case 't':
			s = append(s, '\t')
		case 'n':
			s = append(s, '\n')
		case 'f':
			s = append(s, '\f')
		case 'r':
			s = append(s, '\r')
		case 'u':
			var one [1]byte
			if len(r.b) < i+5 || r.b[i+1] != '0' || r.b[i+2] != '0' {
				r.fail()
				return ""
			}
			if _, err := hex.Decode(one[:], []byte(r.b[i+3:i+5])); err != nil || one[0] >= 0x20 {
				r.fail()
				return ""
			}
			s = append(s, one[0])
			i += 4
		default:
			r.fail()
			return ""
		}
	}
	r.fail()
	return ""
}

func (r *jsonReader) boolean() bool {
	if len(r.b) > 0 && r.b[0] == 't' {
		r.want("true")
		return true
	}
	r.want("false")
	return false
}

// integer reads a whole number: no fraction, no exponent, no zero before it, no minus before zero.
func (r *jsonReader) integer() int64 {
	negative := len(r.b) > 0 && r.b[0] == '-'
	if negative {
		r.b = r.b[1:]
	}
	n, digits := int64(0), 0
	for digits < len(r.b) && '0' <= r.b[digits] && r.b[digits] <= '9' {
		n = 10*n + int64(r.b[digits]-'0')
		if digits++; digits > 16 {
			r.fail()
			return 0
		}
	}
	if digits == 0 || n > MaxInteger || r.b[0] == '0' && (digits > 1 || negative) {
		r.fail()
		return 0
	}
	r.b = r.b[digits:]
	if negative {
		return -n
	}
	return n
}

func (r *jsonReader) small() int {
	n := r.integer()
	if n < 0 || n > maxSchemaVersion {
		r.fail()
		return 0
	}
	return int(n)
}

func (r *jsonReader) scalar() any {
	if len(r.b) == 0 {
		r.fail()
		return nil
	}
	switch r.b[0] {
	case '"':
		return r.text()
	case 't', 'f':
		return r.boolean()
	case 'n':
		r.want("null")
		return nil
	}
	return r.integer()
}

// hex fills dst from lower-case digits.
func (r *jsonReader) hex(dst []byte) {
	r.want(`"`)
	if len(r.b) < 2*len(dst) {
		r.fail()
		return
	}
	for i := range dst {
		high, low := hexValue(r.b[2*i]), hexValue(r.b[2*i+1])
		if high|low > 0xf {
			r.fail()
			return
		}
		dst[i] = high<<4 | low
	}
	r.b = r.b[2*len(dst):]
	r.want(`"`)
}

// hexValue is the value of a lower-case digit, and 0xff of everything else.
func hexValue(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 0xff
}

// base64 reads RFC 4648, 4 with padding and without bits that say nothing. What it skips, line feeds, the re-encoding of
// the whole finds.
func (r *jsonReader) base64() []byte {
	digits := r.text()
	if len(digits) > base64.StdEncoding.EncodedLen(MaxSize) {
		r.fail()
		return nil
	}
	out, err := base64.StdEncoding.Strict().DecodeString(digits)
	if err != nil {
		r.fail()
		return nil
	}
	return out
}
