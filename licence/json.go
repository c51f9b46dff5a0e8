package licence

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Bounds of a request. They are far above any real one and keep a hostile one cheap.
const (
	MaxRequest = 64 << 10 // bytes
	maxDepth   = 8        // objects and arrays inside each other
	maxValues  = 1024     // values in all
	maxInteger = 1<<53 - 1
)

// reader is a strict JSON reader (RFC 8259 and I-JSON): no duplicate keys, whole numbers only, no lone surrogates. What
// can be told without losing the structure becomes a finding, so that all faults are told at once; broken syntax ends
// it. A key that is not known never enters a pointer, for it comes from outside.
type reader struct {
	in     []byte
	at     int
	values int
	known  map[string]string // each known key by itself; nil: every key is known
	note   func(pointer, code string)
	text   func(pointer, s string)
}

// unnamed is the pointer of all that stands below an unknown key: the key is the fault, nothing below it is judged.
const unnamed = "?"

// The reader's two errors are the codes of their findings.
var (
	errSyntax = errors.New("json.syntax")
	errBounds = errors.New("json.bounds")
)

func (r *reader) document() (v any, err error) {
	if v, err = r.value("", 0); err != nil {
		return nil, err
	}
	if r.space(); r.at != len(r.in) {
		return nil, errSyntax
	}
	return v, nil
}

func (r *reader) space() {
	for r.at < len(r.in) {
		switch r.in[r.at] {
		case ' ', '\t', '\r', '\n':
			r.at++
		default:
			return
		}
	}
}

func (r *reader) literal(word string) error {
	if !strings.HasPrefix(string(r.in[r.at:min(len(r.in), r.at+len(word))]), word) {
		return errSyntax
	}
	r.at += len(word)
	return nil
}

func (r *reader) value(pointer string, depth int) (any, error) {
	r.space()
	if r.at >= len(r.in) {
		return nil, errSyntax
	}
	if r.values++; r.values > maxValues {
		return nil, errBounds
	}
	switch c := r.in[r.at]; {
	case c == '{' || c == '[':
		if depth >= maxDepth {
			return nil, errBounds
		}
		if c == '[' {
			return r.array(pointer, depth+1)
		}
		return r.object(pointer, depth+1)
	case c == '"':
		s, err := r.str()
		if err == nil && pointer != unnamed {
			r.text(pointer, s)
		}
		return s, err
	case c == 't':
		return true, r.literal("true")
	case c == 'f':
		return false, r.literal("false")
	case c == 'n':
		return nil, r.literal("null")
	case c == '-' || c >= '0' && c <= '9':
		return r.number(pointer)
	}
	return nil, errSyntax
}

func (r *reader) object(pointer string, depth int) (any, error) {
	m := make(map[string]any, 8)
	r.at++
	r.space()
	if r.at < len(r.in) && r.in[r.at] == '}' {
		r.at++
		return m, nil
	}
	for {
		r.space()
		if r.at >= len(r.in) || r.in[r.at] != '"' {
			return nil, errSyntax
		}
		key, err := r.str()
		if err != nil {
			return nil, err
		}
		below := unnamed
		if k, ok := r.known[key]; ok || r.known == nil {
			if ok {
				key = k // the one string for all documents
			}
			if pointer != unnamed {
				below = pointer + "/" + escapePointer(key)
			}
		}
		if r.space(); r.at >= len(r.in) || r.in[r.at] != ':' {
			return nil, errSyntax
		}
		r.at++
		v, err := r.value(below, depth)
		if err != nil {
			return nil, err
		}
		if _, twice := m[key]; twice {
			if below != unnamed {
				r.note(below, "json.duplicate-key")
			}
		} else {
			m[key] = v
		}
		if r.space(); r.at >= len(r.in) {
			return nil, errSyntax
		}
		switch r.in[r.at] {
		case ',':
			r.at++
		case '}':
			r.at++
			return m, nil
		default:
			return nil, errSyntax
		}
	}
}

func (r *reader) array(pointer string, depth int) (any, error) {
	a := []any{}
	r.at++
	r.space()
	if r.at < len(r.in) && r.in[r.at] == ']' {
		r.at++
		return a, nil
	}
	for {
		v, err := r.value(pointer, depth) // no licence type has arrays: the whole is at fault
		if err != nil {
			return nil, err
		}
		a = append(a, v)
		if r.space(); r.at >= len(r.in) {
			return nil, errSyntax
		}
		switch r.in[r.at] {
		case ',':
			r.at++
		case ']':
			r.at++
			return a, nil
		default:
			return nil, errSyntax
		}
	}
}

// number reads whole numbers within ±(2^53−1). A fraction or an exponent, even ".0", is a finding: two spellings of one
// number would be two canonical forms for some reader.
func (r *reader) number(pointer string) (any, error) {
	start := r.at
	if r.in[r.at] == '-' {
		r.at++
	}
	digits := r.at
	for r.at < len(r.in) && r.in[r.at] >= '0' && r.in[r.at] <= '9' {
		r.at++
	}
	if r.at == digits || r.in[digits] == '0' && r.at > digits+1 {
		return nil, errSyntax
	}
	whole := r.at
	if r.at < len(r.in) && r.in[r.at] == '.' {
		r.at++
		from := r.at
		for r.at < len(r.in) && r.in[r.at] >= '0' && r.in[r.at] <= '9' {
			r.at++
		}
		if r.at == from {
			return nil, errSyntax
		}
	}
	if r.at < len(r.in) && (r.in[r.at] == 'e' || r.in[r.at] == 'E') {
		r.at++
		if r.at < len(r.in) && (r.in[r.at] == '+' || r.in[r.at] == '-') {
			r.at++
		}
		from := r.at
		for r.at < len(r.in) && r.in[r.at] >= '0' && r.in[r.at] <= '9' {
			r.at++
		}
		if r.at == from {
			return nil, errSyntax
		}
	}
	n, err := strconv.ParseInt(string(r.in[start:whole]), 10, 64)
	if r.at != whole || err != nil || n > maxInteger || n < -maxInteger || n == 0 && r.in[start] == '-' {
		if pointer != unnamed {
			r.note(pointer, "json.integer")
		}
		return int64(0), nil
	}
	return n, nil
}

// str reads a string at its opening quote.
func (r *reader) str() (string, error) {
	r.at++
	start := r.at
	for r.at < len(r.in) {
		switch c := r.in[r.at]; {
		case c == '"':
			s := r.in[start:r.at]
			if !utf8.Valid(s) {
				return "", errSyntax
			}
			r.at++
			return string(s), nil
		case c == '\\':
			return r.escaped(start)
		case c < 0x20:
			return "", errSyntax
		}
		r.at++
	}
	return "", errSyntax
}

func (r *reader) escaped(start int) (string, error) {
	b := append([]byte(nil), r.in[start:r.at]...)
	for r.at < len(r.in) {
		c := r.in[r.at]
		r.at++
		switch {
		case c == '"':
			if !utf8.Valid(b) {
				return "", errSyntax
			}
			return string(b), nil
		case c < 0x20:
			return "", errSyntax
		case c != '\\':
			b = append(b, c)
			continue
		}
		if r.at >= len(r.in) {
			break
		}
		c = r.in[r.at]
		r.at++
		switch c {
		case '"', '\\', '/':
			b = append(b, c)
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		case 'u':
			u, err := r.hex()
			if err != nil {
				return "", err
			}
			if utf16.IsSurrogate(u) {
				if r.at+2 > len(r.in) || r.in[r.at] != '\\' || r.in[r.at+1] != 'u' {
					return "", errSyntax
				}
				r.at += 2
				low, err := r.hex()
				if err != nil {
					return "", err
				}
				if u = utf16.DecodeRune(u, low); u == utf8.RuneError {
					return "", errSyntax
				}
			}
			b = utf8.AppendRune(b, u)
		default:
			return "", errSyntax
		}
	}
	return "", errSyntax
}

func (r *reader) hex() (rune, error) {
	if r.at+4 > len(r.in) {
		return 0, errSyntax
	}
	var u rune
	for _, c := range r.in[r.at : r.at+4] {
		switch {
		case c >= '0' && c <= '9':
			u = u<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			u = u<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			u = u<<4 | rune(c-'A'+10)
		default:
			return 0, errSyntax
		}
	}
	r.at += 4
	return u, nil
}

var pointerEscapes = strings.NewReplacer("~", "~0", "/", "~1")

func escapePointer(key string) string {
	if strings.ContainsAny(key, "~/") {
		return pointerEscapes.Replace(key)
	}
	return key
}

// CanonicalJSON writes a value of map[string]any, []any, string, int64, bool and nil in the form of RFC 8785: keys
// sorted by UTF-16 code units, no white space, shortest escapes. Any other type is an error.
func CanonicalJSON(v any) ([]byte, error) { return appendCanonical(make([]byte, 0, 1024), v) }

func appendCanonical(b []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...), nil
	case bool:
		return strconv.AppendBool(b, v), nil
	case int64:
		return strconv.AppendInt(b, v, 10), nil
	case string:
		return appendString(b, v), nil
	case []any:
		b = append(b, '[')
		for i, e := range v {
			if i > 0 {
				b = append(b, ',')
			}
			var err error
			if b, err = appendCanonical(b, e); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	case map[string]any:
		var room [24]string
		keys := room[:0]
		for k := range v {
			keys = append(keys, k)
		}
		slices.SortFunc(keys, compareUTF16)
		b = append(b, '{')
		for i, k := range keys {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendString(b, k), ':')
			var err error
			if b, err = appendCanonical(b, v[k]); err != nil {
				return nil, err
			}
		}
		return append(b, '}'), nil
	}
	return nil, fmt.Errorf("licence: a %T has no canonical form", v)
}

// compareUTF16 orders as RFC 8785 3.2.3 asks: supplementary characters sort as their surrogates, before U+E000.
func compareUTF16(a, b string) int {
	for i := 0; i < len(a) && i < len(b); i++ {
		if a[i] == b[i] {
			continue
		}
		if (a[i] >= 0xF0) != (b[i] >= 0xF0) && a[i] >= 0xEE && b[i] >= 0xEE {
			return cmp.Compare(b[i], a[i])
		}
		return cmp.Compare(a[i], b[i])
	}
	return cmp.Compare(len(a), len(b))
}

func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c >= 0x20:
			b = append(b, c)
		case c == '\b':
			b = append(b, '\\', 'b')
		case c == '\t':
			b = append(b, '\\', 't')
		case c == '\n':
			b = append(b, '\\', 'n')
		case c == '\f':
			b = append(b, '\\', 'f')
		case c == '\r':
			b = append(b, '\\', 'r')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(b, '"')
}
