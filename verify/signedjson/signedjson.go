// Package signedjson is the envelope that trust.json and status.json share: one line of canonical JSON
// with three members,
//
//	{"content":{…},"format":"elicence/…/1","signature":{…}}
//
// followed by one line feed. The signature covers the format name, a line feed and the exact bytes of
// content. A file has one encoding only: what parses is what this package would have written, so there
// is no room for duplicate keys, for white space, or for a byte that nobody signed.
package signedjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// ErrFormat is wrapped by every error of this package.
var ErrFormat = errors.New("not a well-formed signed JSON file")

// Algorithm is the only signature algorithm of these files: SM2 over SM3(Z‖message), user id
// "1234567812345678" (GB/T 32918.2), 64 bytes r‖s.
const Algorithm = "SM2-SM3"

// Message returns the bytes that are signed: format, LF, content.
func Message(format string, content []byte) []byte {
	m := make([]byte, 0, len(format)+1+len(content))
	m = append(m, format...)
	m = append(m, '\n')
	return append(m, content...)
}

// Marshal encodes v in the canonical form: RFC 8785 as far as these files need it, that is no white
// space, keys sorted (the struct types declare their fields in that order), UTF-8 without escapes other
// than those JSON demands, and no number that is not an integer.
func Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// Unmarshal decodes b into v and refuses b unless it is exactly what Marshal makes of the result.
func Unmarshal(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		// The decoder's own text may quote the file; the reason alone is enough for a reader.
		return fmt.Errorf("%w: %s", ErrFormat, reason(err))
	}
	again, err := Marshal(v)
	if err != nil {
		return err
	}
	if !bytes.Equal(again, b) {
		return fmt.Errorf("%w: not in its one canonical encoding", ErrFormat)
	}
	return nil
}

func reason(err error) string {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Sprintf("JSON syntax at byte %d", syntax.Offset)
	case errors.As(err, &kind):
		return fmt.Sprintf("wrong kind of value at byte %d", kind.Offset)
	case strings.HasPrefix(err.Error(), "json: unknown field"):
		return "a member that the format does not have"
	}
	return "a value that the format does not allow"
}

// Join writes the file. content and signature must be canonical JSON already.
func Join(format string, content, signature []byte) []byte {
	b := make([]byte, 0, len(content)+len(format)+len(signature)+48)
	b = append(b, `{"content":`...)
	b = append(b, content...)
	b = append(b, `,"format":"`...)
	b = append(b, format...)
	b = append(b, `","signature":`...)
	b = append(b, signature...)
	return append(b, '}', '\n')
}

// Split takes a file apart. The slices are parts of b. It fails unless Join makes b of them again; the
// caller still has to put content and signature through Unmarshal.
func Split(format string, b []byte) (content, signature []byte, err error) {
	if !utf8.Valid(b) {
		return nil, nil, fmt.Errorf("%w: not UTF-8", ErrFormat)
	}
	var outer struct {
		Content   json.RawMessage `json:"content"`
		Format    string          `json:"format"`
		Signature json.RawMessage `json:"signature"`
	}
	if err := json.Unmarshal(b, &outer); err != nil {
		return nil, nil, fmt.Errorf("%w: %s", ErrFormat, reason(err))
	}
	if outer.Format != format {
		return nil, nil, fmt.Errorf("%w: format is not %s", ErrFormat, format)
	}
	if !bytes.Equal(Join(format, outer.Content, outer.Signature), b) {
		return nil, nil, fmt.Errorf("%w: not in its one canonical encoding", ErrFormat)
	}
	return outer.Content, outer.Signature, nil
}

// Text reports whether s may stand in these files: NFC, printable, without characters that JSON encoders
// escape differently (U+2028, U+2029), within max bytes, and not empty.
func Text(s string, max int) bool {
	if s == "" || len(s) > max || !utf8.ValidString(s) || !norm.NFC.IsNormalString(s) {
		return false
	}
	for _, r := range s {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}
