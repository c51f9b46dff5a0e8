package pdf

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"hash/adler32"
	"io"
	"strings"
	"testing"

	fast "github.com/klauspost/compress/zlib"
)

func samples() map[string][]byte {
	noise := make([]byte, 70_000)
	for i, x := 0, uint32(1); i < len(noise); i++ {
		x = x*1664525 + 1013904223
		noise[i] = byte(x >> 24)
	}
	return map[string][]byte{
		"nothing": nil, "one byte": {7}, "one letter": bytes.Repeat([]byte("a"), 100_000), "two letters": bytes.Repeat([]byte("ab"), 300),
		"page":  []byte(strings.Repeat("/F1 8 Tf<0012>Tj/F1 8 Tf<0076007E>Tj ET\n0.106 0.106 0.122 RG\n1.276 w\n174.189 624.047 m S\n", 90)),
		"noise": noise, "far": append(append(bytes.Clone(noise[:32768]), "between"...), noise[:32768]...), "most": make([]byte, maxStream),
	}
}

func TestInflate(t *testing.T) {
	var f inflater
	for name, raw := range samples() {
		for level := zlib.HuffmanOnly; level <= zlib.BestCompression; level++ {
			var a, b bytes.Buffer
			w, err := zlib.NewWriterLevel(&a, level)
			if err != nil {
				t.Fatal(err)
			}
			v, err := fast.NewWriterLevel(&b, level)
			if err != nil {
				t.Fatal(err)
			}
			for _, z := range []io.WriteCloser{w, v} {
				if _, err := z.Write(raw); err != nil || z.Close() != nil {
					t.Fatal(err)
				}
			}
			for _, packed := range [][]byte{a.Bytes(), b.Bytes()} {
				got, err := f.inflate([]byte("before"), packed)
				if err != nil || !bytes.Equal(got, append([]byte("before"), raw...)) {
					t.Errorf("%s at level %d: %d bytes, %v", name, level, len(got), err)
				}
				if _, err := f.inflate(nil, append(bytes.Clone(packed), 0)); !errors.Is(err, errStream) {
					t.Errorf("%s at level %d: a byte behind is taken", name, level)
				}
				if _, err := f.inflate(nil, packed[:len(packed)-1]); !errors.Is(err, errStream) {
					t.Errorf("%s at level %d: a byte less is taken", name, level)
				}
			}
		}
	}
}

// seal puts raw deflate data between header and checksum.
func seal(deflated, raw []byte) []byte {
	b := append([]byte{0x78, 0x9c}, deflated...)
	return binary.BigEndian.AppendUint32(b, adler32.Checksum(raw))
}

func TestStreamsThatAreNone(t *testing.T) {
	var f inflater
	good := seal([]byte{0x4b, 0x04, 0x00}, []byte("a"))
	if out, err := f.inflate(nil, good); err != nil || string(out) != "a" {
		t.Fatalf("%q, %v", out, err)
	}
	large := pack(make([]byte, maxStream+1))
	for name, packed := range map[string][]byte{
		"empty": nil, "header alone": good[:2], "gzip": {0x1f, 0x8b, 8, 0, 0, 0, 0, 0}, "header check": append([]byte{0x78, 0x9d}, good[2:]...),
		"dictionary": append([]byte{0x78, 0xbb}, good[2:]...), "method": append([]byte{0x79, 0x9c}, good[2:]...), "window": append([]byte{0x88, 0x1c}, good[2:]...),
		"checksum":         seal([]byte{0x4b, 0x04, 0x00}, []byte("b")),
		"block of no kind": seal([]byte{0x07}, nil), "too long": large, "stored length": seal([]byte{0x01, 1, 0, 0xff, 0xff, 'a'}, []byte("a")),
		"stored short": seal([]byte{0x01, 2, 0, 0xfd, 0xff, 'a'}, []byte("a")),
		// A fixed block that begins with a copy: 257 (length 3) is 0000001, distance 1 is 00000.
		"copy from before": seal([]byte{0x03, 0x02, 0x00}, []byte("aaa")),
		"no more blocks":   seal([]byte{0x4a, 0x04, 0x00}, []byte("a")),
	} {
		if out, err := f.inflate([]byte("before"), packed); !errors.Is(err, errStream) || out != nil {
			t.Errorf("%s: %q, %v", name, out, err)
		}
	}
}

func pack(raw []byte) []byte {
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	_, _ = w.Write(raw)
	_ = w.Close()
	return b.Bytes()
}
