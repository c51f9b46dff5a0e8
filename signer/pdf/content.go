package pdf

import (
	"bytes"
	"errors"
	"fmt"
)

// uses is what page content takes from the page's resources: a bit for each font F1 … F9, and one for the code.
type uses uint16

const (
	useFont uses = 1
	useCode uses = 1 << maxFonts
)

// seenContent is page content that was found to be good, in its packed form. What does not change on the parts of a type
// is drawn once for all of them and is by far the longest piece of page content: comparing it saves inflating it.
type seenContent struct {
	packed []byte
	uses   uses
}

const (
	minSeen = 512      // bytes; below that remembering costs more than it saves
	maxSeen = 64 << 10 // bytes; above that it costs too much memory
)

// pageContent reads one content stream; if it is shared by many files it is remembered.
func (r *reader) pageContent(n int, shared bool) (uses, error) {
	s, err := r.object(n)
	if err != nil {
		return 0, err
	}
	s.want("<<")
	body := s.stream()
	if err := s.done(); err != nil {
		return 0, in("page content", n, err)
	}
	shared = shared && body.packed && len(body.b) >= minSeen && len(body.b) <= maxSeen
	if shared {
		for i := range r.seen {
			if bytes.Equal(r.seen[i].packed, body.b) {
				return r.seen[i].uses, nil
			}
		}
	}
	content, err := r.plain(r.content[:0], body)
	if err != nil {
		return 0, in("page content", n, err)
	}
	r.content = content
	u, err := checkContent(content)
	if err != nil {
		return 0, in("page content", n, err)
	}
	if shared {
		old := &r.seen[r.oldest]
		old.packed, old.uses = append(old.packed[:0], body.b...), u
		r.oldest = (r.oldest + 1) % len(r.seen)
	}
	return u, nil
}

// Kinds of operands, four bits each in a signature, the last operand lowest.
const (
	number = 1 + iota
	name
	str
	dictionary
	array
)

// where an operator may stand.
const (
	anywhere = iota
	inText
	outside
)

// operator is an operator that page content may have: what it takes, and where it may stand.
type operator struct {
	operands uint32
	where    uint8
}

// operators is the closed list (ISO 32000-2 Annex A). There is none for inline images, shadings, external graphics state
// or marked content beyond a span that says what its glyphs read as; XObjects are the code alone.
var operators = map[string]operator{
	"q": {0, outside}, "Q": {0, outside}, "cm": {0x111111, outside},
	"w": {0x1, anywhere}, "J": {0x1, anywhere}, "j": {0x1, anywhere}, "M": {0x1, anywhere}, "d": {0x51, anywhere},
	"m": {0x11, outside}, "l": {0x11, outside}, "c": {0x111111, outside}, "v": {0x1111, outside}, "y": {0x1111, outside},
	"h": {0, outside}, "re": {0x1111, outside},
	"S": {0, outside}, "s": {0, outside}, "f": {0, outside}, "f*": {0, outside}, "B": {0, outside}, "B*": {0, outside},
	"b": {0, outside}, "b*": {0, outside}, "n": {0, outside}, "W": {0, outside}, "W*": {0, outside},
	"g": {0x1, anywhere}, "G": {0x1, anywhere}, "rg": {0x111, anywhere}, "RG": {0x111, anywhere},
	"BT": {0, outside}, "ET": {0, inText},
	"Tc": {0x1, anywhere}, "Tw": {0x1, anywhere}, "Tz": {0x1, anywhere}, "TL": {0x1, anywhere}, "Tr": {0x1, anywhere}, "Ts": {0x1, anywhere},
	"Tf": {0x21, anywhere}, "Td": {0x11, inText}, "TD": {0x11, inText}, "Tm": {0x111111, inText}, "T*": {0, inText}, "Tj": {0x3, inText},
	"BDC": {0x24, anywhere}, "EMC": {0, anywhere}, "Do": {0x2, outside},
}

const (
	maxNesting  = 28 // of q (ISO 32000-1 Annex C)
	maxOperands = 6
)

var errContent = errors.New("page content")

// checkContent goes through page content: operators of the list with the operands they take, text and graphics state
// opened and closed in turn, fonts and the code by the names that they have in every part.
func checkContent(b []byte) (used uses, err error) {
	var (
		operands    uint32
		count       int
		lastName    []byte // between "/" and what follows
		depth, span int
		text        bool
	)
	fail := func(at int, what string) (uses, error) { return 0, fmt.Errorf("%w, byte %d: %s", errContent, at, what) }
	for i := 0; i < len(b); {
		var kind uint32
		from := i
		switch c := b[i]; classes[c] {
		case space:
			i++
			continue
		case digit:
			if i = skipNumber(b, i); i < 0 {
				return fail(from, "a number")
			}
			kind = number
		case letter:
			for i < len(b) && (classes[b[i]] == letter || b[i] == '*') {
				i++
			}
			op, known := operators[string(b[from:i])]
			switch {
			case !known:
				return fail(from, "an operator that no part uses")
			case op.operands != operands:
				return fail(from, "an operator with other operands than it takes")
			case op.where == inText && !text, op.where == outside && text:
				return fail(from, "an operator in the wrong place")
			}
			switch string(b[from:i]) {
			case "q":
				if depth++; depth > maxNesting {
					return fail(from, "graphics state nested too deeply")
				}
			case "Q":
				if depth--; depth < 0 {
					return fail(from, "Q without q")
				}
			case "BT", "ET":
				text = !text
			case "BDC":
				if string(lastName) != "Span" || span != 0 {
					return fail(from, "marked content other than a span")
				}
				span++
			case "EMC":
				if span--; span < 0 {
					return fail(from, "EMC without BDC")
				}
			case "Tf":
				if len(lastName) != 2 || lastName[0] != 'F' || lastName[1] < '1' || lastName[1] > '9' {
					return fail(from, "a font of another name")
				}
				used |= useFont << (lastName[1] - '1')
			case "Do":
				if string(lastName) != "Q" {
					return fail(from, "an object other than the code")
				}
				used |= useCode
			}
			operands, count = 0, 0
			continue
		case other:
			switch c {
			case '/':
				for i++; i < len(b) && (classes[b[i]] == letter || '0' <= b[i] && b[i] <= '9'); i++ {
				}
				lastName = b[from+1 : i]
				kind = name
			case '(':
				if i = skipLiteral(b, i); i < 0 {
					return fail(from, "a text without end")
				}
				kind = str
			case '<':
				if i+1 < len(b) && b[i+1] == '<' {
					kind = dictionary
					i = skipActualText(b, i)
				} else {
					kind = str
					i = skipHex(b, i+1)
				}
				if i < 0 {
					return fail(from, "a text")
				}
			case '[':
				for i++; i < len(b) && b[i] != ']'; {
					if b[i] == ' ' {
						i++
					} else if i = skipNumber(b, i); i < 0 {
						return fail(from, "an array")
					}
				}
				if i == len(b) {
					return fail(from, "an array")
				}
				i++
				kind = array
			default:
				return fail(from, "a character that begins nothing")
			}
		default:
			return fail(from, "a character that begins nothing")
		}
		if count++; count > maxOperands {
			return fail(from, "too many operands")
		}
		operands = operands<<4 | kind
	}
	if count != 0 || depth != 0 || text || span != 0 {
		return fail(len(b), "it ends in the middle")
	}
	return used, nil
}

// Classes of the bytes that a token of page content begins with.
const (
	nothing = iota
	space
	digit // begins a number
	letter
	other // ( / < [
)

var classes = func() (c [256]uint8) {
	c[' '], c['\n'] = space, space
	c['-'], c['.'] = digit, digit
	for d := '0'; d <= '9'; d++ {
		c[d] = digit
	}
	for l := 'a'; l <= 'z'; l++ {
		c[l], c[l-'a'+'A'] = letter, letter
	}
	for _, d := range "(/<[" {
		c[d] = other
	}
	return c
}()

// skipNumber steps over a plain decimal number (ISO 32000-2 7.3.3) and returns -1 if there is none.
func skipNumber(b []byte, i int) int {
	if b[i] == '-' {
		i++
	}
	digits := 0
	for ; i < len(b) && '0' <= b[i] && b[i] <= '9'; i++ {
		digits++
	}
	if i < len(b) && b[i] == '.' {
		for i++; i < len(b) && '0' <= b[i] && b[i] <= '9'; i++ {
			digits++
		}
	}
	if digits == 0 || digits > 16 || i < len(b) && (b[i] == '-' || b[i] == '.') {
		return -1
	}
	return i
}

// skipLiteral steps over (…) with the escapes \\, \(, \) and \r and no bracket inside that is not escaped.
func skipLiteral(b []byte, i int) int {
	for i++; i < len(b); i++ {
		switch b[i] {
		case ')':
			return i + 1
		case '(', '\r':
			return -1
		case '\\':
			if i++; i == len(b) || b[i] != '\\' && b[i] != '(' && b[i] != ')' && b[i] != 'r' {
				return -1
			}
		}
	}
	return -1
}

// skipHex steps over the rest of <…>: upper-case digits of whole two-byte codes.
func skipHex(b []byte, i int) int {
	from := i
	for i < len(b) && upperHex[b[i]] >= 0 {
		i++
	}
	if i == len(b) || b[i] != '>' || (i-from)%4 != 0 || i == from {
		return -1
	}
	return i + 1
}

// skipActualText steps over <</ActualText<FEFF…>>> (ISO 32000-2 14.9.4).
func skipActualText(b []byte, i int) int {
	const head = "<</ActualText<"
	if !bytes.HasPrefix(b[i:], []byte(head+"FEFF")) {
		return -1
	}
	if i = skipHex(b, i+len(head)); i < 0 || !bytes.HasPrefix(b[i:], []byte(">>")) {
		return -1
	}
	return i + 2
}
