package templates

import (
	"bytes"
	"io"
	"math"
	"strconv"
	"sync"
	"unicode/utf16"

	"github.com/klauspost/compress/zlib"
)

const (
	mm         = 72 / 25.4 // points in a millimetre
	hexDigits  = "0123456789ABCDEF"
	fastest    = 1 // deflate is half of what a part costs: what is drawn for each part is packed lightly
	smallest   = 9 // what is drawn once is packed well
	maxFileLen = 1 << 31
)

// appendNumber writes a number as the grammar of our files wants it: plain decimal, at most three places, no zeros
// that say nothing.
func appendNumber(b []byte, v float64) []byte {
	n := int64(math.Round(v * 1000))
	if n < 0 {
		b = append(b, '-')
		n = -n
	}
	b = strconv.AppendInt(b, n/1000, 10)
	if f := n % 1000; f != 0 {
		b = append(b, '.', byte('0'+f/100))
		if f%100 != 0 {
			b = append(b, byte('0'+f/10%10))
			if f%10 != 0 {
				b = append(b, byte('0'+f%10))
			}
		}
	}
	return b
}

func appendHex16(b []byte, v uint16) []byte {
	return append(b, hexDigits[v>>12], hexDigits[v>>8&15], hexDigits[v>>4&15], hexDigits[v&15])
}

// appendUTF16 writes a text string as <FEFF…>.
func appendUTF16(b []byte, s string) []byte {
	b = append(b, "<FEFF"...)
	for _, r := range s {
		b = appendRuneUTF16(b, r)
	}
	return append(b, '>')
}

func appendRuneUTF16(b []byte, r rune) []byte {
	if r > 0xFFFF {
		high, low := utf16.EncodeRune(r)
		return appendHex16(appendHex16(b, uint16(high)), uint16(low))
	}
	return appendHex16(b, uint16(r))
}

// packers keeps deflate states, which are large, between parts.
var packers = sync.Pool{New: func() any {
	w, err := zlib.NewWriterLevel(io.Discard, fastest)
	if err != nil {
		panic(err) // the level is a constant
	}
	return w
}}

// appendDeflated appends the zlib form of raw, packed fast.
func appendDeflated(b, raw []byte) []byte {
	out := bytes.NewBuffer(b)
	w := packers.Get().(*zlib.Writer)
	defer packers.Put(w)
	w.Reset(out)
	// Writing to memory cannot fail.
	_, _ = w.Write(raw)
	_ = w.Close()
	return out.Bytes()
}

// deflateSmall is appendDeflated for what is drawn once.
func deflateSmall(raw []byte) []byte {
	var out bytes.Buffer
	w, err := zlib.NewWriterLevel(&out, smallest)
	if err != nil {
		panic(err) // the level is a constant
	}
	_, _ = w.Write(raw)
	_ = w.Close()
	return out.Bytes()
}

// objects writes numbered objects one after another and keeps where each begins.
type objects struct {
	b       []byte
	offsets []int // of object i+1
	scratch []byte
}

func (o *objects) reset() { o.b, o.offsets = o.b[:0], o.offsets[:0] }

// next returns the number that the next object gets.
func (o *objects) next() int { return len(o.offsets) + 1 }

// begin starts the next object; end closes it.
func (o *objects) begin() {
	o.offsets = append(o.offsets, len(o.b))
	o.b = strconv.AppendInt(o.b, int64(len(o.offsets)), 10)
	o.b = append(o.b, " 0 obj\n"...)
}

func (o *objects) end() { o.b = append(o.b, "\nendobj\n"...) }

// put writes text; an int n is written as the reference "n 0 R".
func (o *objects) put(parts ...any) {
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			o.b = append(o.b, p...)
		case []byte:
			o.b = append(o.b, p...)
		case int:
			o.b = strconv.AppendInt(o.b, int64(p), 10)
			o.b = append(o.b, " 0 R"...)
		case float64:
			o.b = appendNumber(o.b, p)
		}
	}
}

func (o *objects) object(parts ...any) {
	o.begin()
	o.put(parts...)
	o.end()
}

// stream writes a whole stream object: the entries of its dictionary before /Length, and its bytes as they are.
func (o *objects) stream(entries string, body []byte) {
	o.begin()
	o.put("<<", entries, "/Length ")
	o.b = strconv.AppendInt(o.b, int64(len(body)), 10)
	o.put(">>\nstream\n", body, "\nendstream")
	o.end()
}

// deflated is stream with the body packed fast.
func (o *objects) deflated(entries string, body []byte) {
	o.scratch = appendDeflated(o.scratch[:0], body)
	o.stream(entries+"/Filter/FlateDecode", o.scratch)
}
