package credential

import (
	"encoding/binary"
	"unicode/utf8"
)

// The few items of deterministic CBOR (RFC 8949, 4.2.1) that are hashed. They are written by hand because a part has
// some thirty leaves to hash each time it is read, and because their bytes must never move with a library.

const (
	cborUnsigned = 0 << 5
	cborNegative = 1 << 5
	cborBytes    = 2 << 5
	cborText     = 3 << 5
	cborArray    = 4 << 5
	cborMap      = 5 << 5

	cborFalse = 0xf4
	cborTrue  = 0xf5
	cborNull  = 0xf6
)

// appendHead appends the shortest head of a major type with argument n.
func appendHead(b []byte, major byte, n uint64) []byte {
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n < 1<<8:
		return append(b, major|24, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, major|27), n)
}

func appendText(b []byte, s string) []byte {
	return append(appendHead(b, cborText, uint64(len(s))), s...)
}

func appendBytes(b, s []byte) []byte {
	return append(appendHead(b, cborBytes, uint64(len(s))), s...)
}

func appendInteger(b []byte, n int64) []byte {
	if n < 0 {
		return appendHead(b, cborNegative, uint64(-(n + 1)))
	}
	return appendHead(b, cborUnsigned, uint64(n))
}

// appendScalar appends a value that checkScalar has let through.
func appendScalar(b []byte, v any) []byte {
	switch v := v.(type) {
	case string:
		return appendText(b, v)
	case int64:
		return appendInteger(b, v)
	case bool:
		if v {
			return append(b, cborTrue)
		}
		return append(b, cborFalse)
	}
	return append(b, cborNull)
}

// cborReader reads what the functions above write. The first thing that does not fit makes it bad, and it stays so:
// callers ask once, at the end.
type cborReader struct {
	b   []byte
	bad bool
}

func (r *cborReader) fail() uint64 {
	r.b, r.bad = nil, true
	return 0
}

// head reads a head of the wanted major type and returns its argument; a longer head than needed is bad.
func (r *cborReader) head(major byte) uint64 {
	if len(r.b) == 0 || r.b[0]&0xe0 != major {
		return r.fail()
	}
	n := uint64(r.b[0] & 0x1f)
	r.b = r.b[1:]
	if n < 24 {
		return n
	}
	if n > 27 {
		return r.fail()
	}
	size := 1 << (n - 24)
	if len(r.b) < size {
		return r.fail()
	}
	n = 0
	for _, c := range r.b[:size] {
		n = n<<8 | uint64(c)
	}
	if n < 24 || size > 1 && n>>(4*size) == 0 {
		return r.fail()
	}
	r.b = r.b[size:]
	return n
}

func (r *cborReader) fixed(major byte, want uint64) {
	if r.head(major) != want {
		r.fail()
	}
}

func (r *cborReader) bounded(major byte, most uint64) uint64 {
	n := r.head(major)
	if n > most {
		return r.fail()
	}
	return n
}

func (r *cborReader) bytes(size uint64) []byte {
	if n := r.head(cborBytes); n != size || uint64(len(r.b)) < n {
		r.fail()
		return nil
	}
	s := r.b[:size]
	r.b = r.b[size:]
	return s
}

func (r *cborReader) text() string {
	n := r.head(cborText)
	if n > uint64(len(r.b)) || !utf8.Valid(r.b[:n]) {
		r.fail()
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

func (r *cborReader) scalar() any {
	if len(r.b) == 0 {
		r.fail()
		return nil
	}
	switch c := r.b[0]; {
	case c == cborTrue || c == cborFalse || c == cborNull:
		r.b = r.b[1:]
		if c == cborNull {
			return nil
		}
		return c == cborTrue
	case c&0xe0 == cborUnsigned:
		return int64(r.bounded(cborUnsigned, MaxInteger))
	case c&0xe0 == cborNegative:
		return -int64(r.bounded(cborNegative, MaxInteger-1)) - 1
	}
	return r.text()
}
