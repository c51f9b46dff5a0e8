package credential

import (
	"crypto/hmac"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/emmansun/gmsm/sm3"
)

// ErrField says that a field cannot stand in a field tree: its pointer, its value or their number is not allowed. The
// message names the pointer and never the value.
var ErrField = errors.New("credential: the field cannot be part of a licence")

// Bounds of the field tree.
const (
	MaxFields  = 1024      // leaves
	MaxPointer = 256       // bytes of a pointer
	MaxText    = 16 << 10  // bytes of a text value
	MaxInteger = 1<<53 - 1 // greatest whole number, and least, negative (RFC 7493, 2.2)
	fieldLabel = "elicence/field/1"
)

// Field is one leaf of the field tree: a value of the licence under its JSON pointer (RFC 6901).
type Field struct {
	Pointer string
	Salt    [16]byte
	Value   any // nil: absent; string, int64 or bool
}

// FieldSalt derives the salt of a field from the licence's seed: the first 16 bytes of HMAC-SM3(seed, label ‖ pointer).
// Without the seed nobody can test a guess of one value against the root, even knowing all the others.
func FieldSalt(seed [32]byte, pointer string) [16]byte {
	h := hmac.New(sm3.New, seed[:])
	h.Write([]byte("elicence/salt/1\x00"))
	h.Write([]byte(pointer))
	var sum [sm3.Size]byte
	return [16]byte(h.Sum(sum[:0]))
}

// Root is the root of the field tree: RFC 6962, 2.1 with SM3 over the fields in their order, which is part of what is
// signed. A leaf is SM3(0x00 ‖ CBOR ["elicence/field/1", schemaVersion, pointer, salt, value]), an absent value null.
// It fails with ErrField for no field, too many, the same pointer twice, or a value of another Go type.
func Root(schemaVersion int, fields []Field) ([32]byte, error) {
	if schemaVersion < 1 {
		return [32]byte{}, fmt.Errorf("%w: schema version %d", ErrField, schemaVersion)
	}
	if err := checkFields(fields); err != nil {
		return [32]byte{}, err
	}
	var hashes [MaxFields][32]byte
	buf := make([]byte, 0, 512)
	for i := range fields {
		buf = appendLeaf(append(buf[:0], 0x00), schemaVersion, &fields[i])
		hashes[i] = sm3.Sum(buf)
	}
	return merge(hashes[:len(fields)]), nil
}

// LeafBytes is what is hashed for one field, without the 0x00 before it.
func LeafBytes(schemaVersion int, f Field) ([]byte, error) {
	if err := checkFields([]Field{f}); err != nil {
		return nil, err
	}
	return appendLeaf(nil, schemaVersion, &f), nil
}

func appendLeaf(b []byte, schemaVersion int, f *Field) []byte {
	b = appendHead(b, cborArray, 5)
	b = appendText(b, fieldLabel)
	b = appendInteger(b, int64(schemaVersion))
	b = appendText(b, f.Pointer)
	b = appendBytes(b, f.Salt[:])
	return appendScalar(b, f.Value)
}

// merge joins hashes in place, level by level. An odd one at the end goes up unchanged, which gives the same tree as
// splitting at the largest power of two (RFC 6962, 2.1).
func merge(h [][32]byte) [32]byte {
	var node [65]byte
	node[0] = 0x01
	for len(h) > 1 {
		n := 0
		for i := 0; i < len(h); i += 2 {
			if i+1 == len(h) {
				h[n] = h[i]
			} else {
				copy(node[1:33], h[i][:])
				copy(node[33:], h[i+1][:])
				h[n] = sm3.Sum(node[:])
			}
			n++
		}
		h = h[:n]
	}
	return h[0]
}

func checkFields(fields []Field) error {
	if len(fields) == 0 || len(fields) > MaxFields {
		return fmt.Errorf("%w: %d fields", ErrField, len(fields))
	}
	var seen map[string]struct{}
	if len(fields) > fewFields {
		seen = make(map[string]struct{}, len(fields))
	}
	for i := range fields {
		f := &fields[i]
		if !validPointer(f.Pointer) {
			return fmt.Errorf("%w: pointer of field %d", ErrField, i)
		}
		if twice(fields[:i], seen, f.Pointer) {
			return fmt.Errorf("%w: %s stands twice", ErrField, f.Pointer)
		}
		if !validScalar(f.Value) {
			return fmt.Errorf("%w: value of %s", ErrField, f.Pointer)
		}
	}
	return nil
}

// fewFields is up to how many fields comparing each with each is cheaper than a map.
const fewFields = 64

// twice reports whether one of the fields before has this pointer; seen, if there is one, keeps their pointers.
func twice(before []Field, seen map[string]struct{}, pointer string) bool {
	if seen != nil {
		_, ok := seen[pointer]
		seen[pointer] = struct{}{}
		return ok
	}
	for i := range before {
		if before[i].Pointer == pointer {
			return true
		}
	}
	return false
}

// validScalar reports whether v may be a value: nil, text, a whole number that every JSON reader keeps, or a bool.
func validScalar(v any) bool {
	switch v := v.(type) {
	case nil, bool:
		return true
	case int64:
		return -MaxInteger <= v && v <= MaxInteger
	case string:
		return len(v) <= MaxText && utf8.ValidString(v)
	}
	return false
}

// validPointer holds p to RFC 6901: "/" before each token, and "~" only as "~0" or "~1".
func validPointer(p string) bool {
	if len(p) < 2 || len(p) > MaxPointer || p[0] != '/' || !utf8.ValidString(p) {
		return false
	}
	for i := 0; i < len(p); i++ {
		switch c := p[i]; {
		case c < 0x20 || c == 0x7f:
			return false
		case c == '~' && (i+1 == len(p) || p[i+1] != '0' && p[i+1] != '1'):
			return false
		}
	}
	return true
}
