package credential

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"
)

// ErrPayload says that a payload cannot be signed or read: a value is missing, out of bounds or not in its one
// encoding. The message names the member, never its value.
var ErrPayload = errors.New("credential: the payload does not have this form")

// ErrTooLong says that a credential does not fit into a QR code of version 20 (MaxSize).
var ErrTooLong = errors.New("credential: too long for its code")

// MaxNameCharacters is the greatest length in characters of a text that a credential carries in the clear.
const MaxNameCharacters = 50

// Bounds of a payload.
const (
	maxClear      = 16
	maxClearKey   = 32 // bytes
	maxIdentifier = 128
	maxNumber     = 32
	maxType       = 64
	maxIssuer     = 32
	maxParts      = 16
	maxStatus     = 1<<32 - 1
)

// Clear is a value that a credential carries in the clear, under the key that type.yaml gives it.
type Clear struct {
	Key   string
	Value any // nil: absent; string of at most MaxNameCharacters, int64 or bool; masked already where the type says so
}

// Payload is what a credential says. It is a CBOR map whose keys are the numbers beside the members.
type Payload struct {
	Identifier  string   // 1: GB/T 36904-2018
	Number      string   // 2: printed on the licence
	Type        string   // 3: licence type
	Parts       int      // 4: parts that the licence has
	Issuer      string   // 5: unified social credit code, GB 32100-2015
	IssueDate   string   // 6: YYYY-MM-DD in UTC+08:00
	StatusIndex uint64   // 7: place in the status list
	Specimen    bool     // 8: without effect, signed under a demonstration chain
	Clear       []Clear  // 9: array of key, value, key, value, … in the order of the type
	TreeSize    int      // 10: leaves of the field tree
	TreeRoot    [32]byte // 11: root of the field tree
}

const payloadMembers = 11

// Size is the size in bytes that the signed credential will have. It fails with ErrPayload for a payload that cannot be
// signed and with ErrTooLong for one whose credential no code can hold: ask before a number is used.
func (p *Payload) Size() (int, error) {
	b, err := p.encode()
	if err != nil {
		return 0, err
	}
	if n := len(b) + envelope(len(b)); n <= MaxSize {
		return n, nil
	}
	return 0, fmt.Errorf("%w: %d bytes of %d", ErrTooLong, len(b)+envelope(len(b)), MaxSize)
}

func (p *Payload) encode() ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	b := make([]byte, 0, 512)
	b = appendHead(b, cborMap, payloadMembers)
	b = appendText(append(b, 1), p.Identifier)
	b = appendText(append(b, 2), p.Number)
	b = appendText(append(b, 3), p.Type)
	b = appendInteger(append(b, 4), int64(p.Parts))
	b = appendText(append(b, 5), p.Issuer)
	b = appendText(append(b, 6), p.IssueDate)
	b = appendHead(append(b, 7), cborUnsigned, p.StatusIndex)
	b = appendScalar(append(b, 8), p.Specimen)
	b = appendHead(append(b, 9), cborArray, uint64(2*len(p.Clear)))
	for _, c := range p.Clear {
		b = appendText(b, c.Key)
		b = appendScalar(b, c.Value)
	}
	b = appendInteger(append(b, 10), int64(p.TreeSize))
	b = appendBytes(append(b, 11), p.TreeRoot[:])
	return b, nil
}

// parsePayload reads one payload and refuses with ErrPayload whatever encode would not write.
func parsePayload(b []byte) (*Payload, error) {
	r := cborReader{b: b}
	var p Payload
	if n := r.head(cborMap); n != payloadMembers {
		return nil, fmt.Errorf("%w: not a map of %d members", ErrPayload, payloadMembers)
	}
	member := func(key uint64) { r.fixed(cborUnsigned, key) }
	member(1)
	p.Identifier = r.text()
	member(2)
	p.Number = r.text()
	member(3)
	p.Type = r.text()
	member(4)
	p.Parts = int(r.bounded(cborUnsigned, maxParts))
	member(5)
	p.Issuer = r.text()
	member(6)
	p.IssueDate = r.text()
	member(7)
	p.StatusIndex = r.bounded(cborUnsigned, maxStatus)
	member(8)
	p.Specimen, _ = r.scalar().(bool)
	member(9)
	n := r.bounded(cborArray, 2*maxClear)
	for ; n >= 2 && !r.bad; n -= 2 {
		p.Clear = append(p.Clear, Clear{Key: r.text(), Value: r.scalar()})
	}
	member(10)
	p.TreeSize = int(r.bounded(cborUnsigned, MaxFields))
	member(11)
	copy(p.TreeRoot[:], r.bytes(32))
	if r.bad || n != 0 || len(r.b) != 0 {
		return nil, fmt.Errorf("%w: byte %d", ErrPayload, len(b)-len(r.b))
	}
	again, err := p.encode()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, b) {
		return nil, fmt.Errorf("%w: another encoding of the same", ErrPayload)
	}
	return &p, nil
}

func (p *Payload) check() error {
	for _, t := range []struct {
		member, text string
		most         int
	}{
		{"identifier", p.Identifier, maxIdentifier}, {"number", p.Number, maxNumber},
		{"type", p.Type, maxType}, {"issuer", p.Issuer, maxIssuer},
	} {
		if !validWord(t.text, t.most) {
			return fmt.Errorf("%w: %s", ErrPayload, t.member)
		}
	}
	switch {
	case p.Parts < 1 || p.Parts > maxParts:
		return fmt.Errorf("%w: part count", ErrPayload)
	case !validDate(p.IssueDate):
		return fmt.Errorf("%w: issue date", ErrPayload)
	case p.StatusIndex > maxStatus:
		return fmt.Errorf("%w: status index", ErrPayload)
	case p.TreeSize < 1 || p.TreeSize > MaxFields:
		return fmt.Errorf("%w: tree size", ErrPayload)
	case len(p.Clear) > maxClear:
		return fmt.Errorf("%w: %d clear fields", ErrPayload, len(p.Clear))
	}
	for i, c := range p.Clear {
		if !validWord(c.Key, maxClearKey) {
			return fmt.Errorf("%w: key of clear field %d", ErrPayload, i)
		}
		for _, other := range p.Clear[:i] {
			if other.Key == c.Key {
				return fmt.Errorf("%w: %s stands twice", ErrPayload, c.Key)
			}
		}
		if !validScalar(c.Value) {
			return fmt.Errorf("%w: value of %s", ErrPayload, c.Key)
		}
		if s, ok := c.Value.(string); ok && (utf8.RuneCountInString(s) > MaxNameCharacters || hasControl(s)) {
			return fmt.Errorf("%w: %s has more than %d characters, or one that does not print", ErrPayload, c.Key, MaxNameCharacters)
		}
	}
	return nil
}

// validWord reports whether s is a name or number as we write them: visible ASCII.
func validWord(s string, most int) bool {
	if s == "" || len(s) > most {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

func hasControl(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] == 0x7f {
			return true
		}
	}
	return false
}

// validDate holds s to YYYY-MM-DD and the Gregorian calendar. time.Parse would do, at twenty times the cost.
func validDate(s string) bool {
	if len(s) != 10 || s[4] != '-' || s[7] != '-' {
		return false
	}
	number := func(digits string) (n int) {
		for i := 0; i < len(digits); i++ {
			if digits[i] < '0' || digits[i] > '9' {
				return -1
			}
			n = 10*n + int(digits[i]-'0')
		}
		return n
	}
	year, month, day := number(s[:4]), number(s[5:7]), number(s[8:])
	if year < 1900 || month < 1 || month > 12 || day < 1 {
		return false
	}
	days := [...]int{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}[month-1]
	if month == 2 && year%4 == 0 && (year%100 != 0 || year%400 == 0) {
		days = 29
	}
	return day <= days
}
