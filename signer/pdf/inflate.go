package pdf

import (
	"bytes"
	"errors"
	"io"

	"github.com/klauspost/compress/zlib"
)

var errStream = errors.New("a stream does not inflate, is longer than 1 MiB, or does not end with its data")

// inflater inflates zlib streams (RFC 1950) and keeps its memory.
type inflater struct {
	source bytes.Reader
	zlib   io.ReadCloser
}

// plain appends a stream's bytes to dst, inflated if they are packed; at most maxStream of them.
func (f *inflater) plain(dst []byte, s stream) ([]byte, error) {
	switch {
	case s.packed:
		return f.inflate(dst, s.b)
	case len(s.b) > maxStream:
		return nil, errStream
	}
	return append(dst, s.b...), nil
}

// inflate appends the inflated stream to dst, which has room for most at once. It stops at maxStream bytes; anything
// behind the compressed data is an error.
func (f *inflater) inflate(dst, packed []byte) ([]byte, error) {
	f.source.Reset(packed)
	if f.zlib == nil {
		z, err := zlib.NewReader(&f.source)
		if err != nil {
			return nil, errStream
		}
		f.zlib = z
	} else if err := f.zlib.(zlib.Resetter).Reset(&f.source, nil); err != nil {
		return nil, errStream
	}
	from := len(dst)
	for {
		if len(dst) == cap(dst) {
			grown := make([]byte, len(dst), min(max(2*cap(dst), 4<<10), from+maxStream+1))
			copy(grown, dst)
			dst = grown
		}
		n, err := f.zlib.Read(dst[len(dst):min(cap(dst), from+maxStream+1)])
		dst = dst[:len(dst)+n]
		switch {
		case len(dst)-from > maxStream:
			return nil, errStream
		case errors.Is(err, io.EOF):
			if f.source.Len() != 0 {
				return nil, errStream
			}
			return dst, nil
		case err != nil:
			return nil, errStream
		}
	}
}
