// Package pdf reads a licence's part and fills the room for its signature. docs/formats/part.md is the format.
//
// A part is not any PDF with a signature. It is one closed form: every object is a fixed text with few places to fill,
// every object is reached from the catalogue in exactly one role, and nothing stands between them. What is not in that
// form is not read, so there is no script, no action, no second revision and no attachment to look for: there is no
// place where one could stand. The writer is package templates.
//
// All functions are safe for concurrent use. What is read came from outside: it is bounded and never panics.
package pdf

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/emmansun/gmsm/sm3"

	"github.com/elicence/elicence/signer/digest"
)

// Bounds of a file.
const (
	MaxFile    = 8 << 20 // bytes; parts have some 70 KB
	maxStream  = 1 << 20 // bytes of one stream, inflated
	maxObjects = 1 << 12
)

var (
	// ErrNotOurs says that a file does not claim to be a part of a licence.
	ErrNotOurs = errors.New("pdf: not a part of a licence")
	// ErrStructure says that a file claims to be a part of a licence and breaks the form: it was changed or damaged.
	ErrStructure = errors.New("pdf: claims to be a part of a licence and breaks its form")
	// ErrRoom says that a signature does not fit into the room left for it, or that there is no room where it was said
	// to be. The file was not changed.
	ErrRoom = errors.New("pdf: the signature does not fit into its room")
)

// Document is what a part says. Nothing in it is trusted before its signature is.
type Document struct {
	CMS         []byte    // DER, without the padding behind it
	Room        int       // bytes of DER that there is room for
	Digest      [32]byte  // SM3 of the file without the Contents token: what the CMS must have signed
	LicenceJSON []byte    // the one embedded file, as it is
	Part        string    // the part's name, from licence.json
	Identifier  string    // in the metadata; it is licence.json's
	Title       string    // of the document, for people
	IssuerName  string    // in the metadata
	SignerName  string    // in the signature dictionary
	SignedAt    time.Time // that the file claims, UTC+08:00; the CMS has its own

	contentsAt int
	begun      digest.Begun // the file up to contentsAt
}

// SM3 is the digest of the whole file that was read, Contents and all: what the ledger has a commitment to. file must be
// the bytes that Read was given.
func (d *Document) SM3(file []byte) ([32]byte, error) { return d.begun.Sum(file[d.contentsAt:]) }

// Read reads one part. A file that does not claim our form, or has more than MaxFile bytes, is ErrNotOurs; one that
// claims it and breaks it is ErrStructure with the reason. It takes no more memory than the file and a few times
// 1 MiB, and keeps no reference to file.
func Read(file []byte) (*Document, error) {
	if len(file) > MaxFile {
		return nil, fmt.Errorf("%w: %d bytes", ErrNotOurs, len(file))
	}
	r, _ := readers.Get().(*reader)
	defer readers.Put(r)
	d, err := r.read(file)
	if err == nil {
		return d, nil
	}
	if !claims(file) {
		return nil, ErrNotOurs
	}
	return nil, fmt.Errorf("%w: %w", ErrStructure, err)
}

// readers keeps working memory between files, and what was found about page content that all parts of a type share.
var readers = sync.Pool{New: func() any { return &reader{} }}

// What a file must carry somewhere to claim our form: the key of the catalogue, or, so that no single changed byte turns
// a damaged part into a stranger's file, the way our catalogue begins and names the embedded file.
const (
	claimKey        = "/ELIC_Part"
	claimBeginning  = header + "1 0 obj\n<</Type/Catalog"
	claimAttachment = "/EmbeddedFiles<</Names[(licence.json)"
)

func claims(file []byte) bool {
	return bytes.Contains(file, []byte(claimKey)) ||
		bytes.HasPrefix(file, []byte(claimBeginning)) && bytes.Contains(file, []byte(claimAttachment))
}

// Digest is the SM3 of a file without the Contents token, which begins at contentsAt with '<' and has contentsLen bytes,
// both brackets included. Bounds outside of the file panic, as slices do: they come from the writer.
func Digest(file []byte, contentsAt, contentsLen int) [32]byte {
	h := sm3.New()
	h.Write(file[:contentsAt])
	h.Write(file[contentsAt+contentsLen:])
	var sum [32]byte
	h.Sum(sum[:0])
	return sum
}

// Fill writes a CMS into the room of an unsigned file, in place: lower-case hex, the rest stays '0'. contentsAt is the
// offset of '<'. It fails with ErrRoom if the CMS is longer than the room or the room is not there or not empty.
func Fill(unsigned []byte, contentsAt int, cms []byte) error {
	if contentsAt < 0 || contentsAt >= len(unsigned) || unsigned[contentsAt] != '<' {
		return fmt.Errorf("%w: no room at %d", ErrRoom, contentsAt)
	}
	room := unsigned[contentsAt+1:]
	end := bytes.IndexByte(room, '>')
	if end < 0 || end%2 != 0 {
		return fmt.Errorf("%w: no room at %d", ErrRoom, contentsAt)
	}
	room = room[:end]
	if len(cms) == 0 || 2*len(cms) > len(room) {
		return fmt.Errorf("%w: %d bytes into %d", ErrRoom, len(cms), len(room)/2)
	}
	for _, c := range room {
		if c != '0' {
			return fmt.Errorf("%w: it is not empty", ErrRoom)
		}
	}
	const digits = "0123456789abcdef"
	for i, c := range cms {
		room[2*i], room[2*i+1] = digits[c>>4], digits[c&15]
	}
	return nil
}
