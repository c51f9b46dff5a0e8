// Package status is status.json: one signed, numbered and dated list of the states of all licences of
// one installation, two bits each, in the shape of the IETF Token Status List. A licence's credential
// names its index, drawn at random; a reader takes the whole list and so tells nobody which licence it
// asks for. The format is docs/formats/status.md.
package status

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/elicence/elicence/signer"
	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
	"github.com/elicence/elicence/verify/signedjson"
)

// Format names the format, its version and the first line of the signed message.
const Format = "elicence/status/1"

const (
	// MaxCapacity is the greatest number of indexes: 2^24, 4 MiB before compression.
	MaxCapacity = 1 << 24
	// MaxFile bounds the file in bytes. A list of MaxCapacity random states fits.
	MaxFile = 8 << 20
)

var (
	// ErrFormat says that bytes are not a status list of this format.
	ErrFormat = errors.New("not a status list")
	// ErrSignature says that a well-formed list's signature does not verify under the certificate given.
	ErrSignature = errors.New("the status list's signature does not verify")
	// ErrEntry says that a list cannot hold an index or a state.
	ErrEntry = errors.New("not an entry of a status list")
)

// State is what the list says of one index.
type State uint8

// The values 0 to 3 are those of the IETF Token Status List.
const (
	InForce    State = 0 // VALID; also every index that no licence has
	Revoked    State = 1 // INVALID
	Suspended  State = 2 // SUSPENDED, not used by this version; readers must not take it for in force
	Superseded State = 3 // APPLICATION_SPECIFIC: replaced by a later licence (exchange, replacement)
	// Unknown is no state of a list: the index lies outside of it.
	Unknown State = 255
)

// String is the word of reports and of the command line.
func (s State) String() string {
	switch s {
	case InForce:
		return "in force"
	case Revoked:
		return "revoked"
	case Suspended:
		return "suspended"
	case Superseded:
		return "superseded"
	}
	return "unknown"
}

// zone is where the texts for people are dated: UTC+08:00.
var zone = time.FixedZone("", 8*3600)

// The struct fields stand in the order of their JSON names: that order is the canonical encoding.
type content struct {
	Expires time.Time `json:"expires"`
	Issued  time.Time `json:"issued"`
	Number  uint64    `json:"number"`
	List    tokenList `json:"status_list"`
}

// tokenList has the members of the Token Status List's JSON: bits per status, and the zlib stream
// (RFC 1950) in base64url without padding.
type tokenList struct {
	Bits int    `json:"bits"`
	Lst  string `json:"lst"`
}

type signature struct {
	Algorithm   string `json:"algorithm"`
	Certificate string `json:"certificate"` // SM3 of the signing certificate, lower-case hex
	Value       []byte `json:"value"`
}

// Content is what a list says.
type Content struct {
	// States holds the states of indexes; those that it does not name are InForce. It is read, not kept.
	States map[uint64]State
	// Capacity is the number of indexes: a positive multiple of 4 up to MaxCapacity.
	Capacity uint64
	// Number grows from list to list.
	Number uint64
	// Issued is the time that the states are true for, Expires the time by which the next list is out.
	// Both are kept in whole seconds.
	Issued, Expires time.Time
}

// Sign packs and signs a list with a key of purpose "status" whose certificate is cert, and returns the
// file. The signature is verified before the file leaves: a key that is not the certificate's is an
// error. The same content makes the same bytes, the signature apart.
func Sign(ctx context.Context, key signer.Key, cert *pki.Certificate, c Content) ([]byte, error) {
	if !mayList(cert) {
		return nil, fmt.Errorf("sign the status list: the certificate is for %q", cert.Purpose())
	}
	b, err := build(c)
	if err != nil {
		return nil, fmt.Errorf("sign the status list: %w", err)
	}
	message := signedjson.Message(Format, b)
	rs, err := key.Sign(ctx, purpose.Status, message)
	if err != nil {
		return nil, fmt.Errorf("sign the status list: %w", err)
	}
	if err := cert.VerifySignature(message, rs); err != nil {
		return nil, fmt.Errorf("sign the status list: the key is not that of the certificate: %w", err)
	}
	sum := cert.SM3()
	s, err := signedjson.Marshal(signature{signedjson.Algorithm, hex.EncodeToString(sum[:]), rs})
	if err != nil {
		return nil, err
	}
	return signedjson.Join(Format, b, s), nil
}

// build makes the canonical content.
func build(in Content) ([]byte, error) {
	if in.Capacity == 0 || in.Capacity > MaxCapacity || in.Capacity%4 != 0 {
		return nil, fmt.Errorf("%w: capacity %d", ErrEntry, in.Capacity)
	}
	raw := make([]byte, in.Capacity/4)
	for index, state := range in.States {
		if index >= in.Capacity {
			return nil, fmt.Errorf("%w: index %d of a list of %d", ErrEntry, index, in.Capacity)
		}
		if state > 3 {
			return nil, fmt.Errorf("%w: state %d", ErrEntry, state)
		}
		raw[index/4] |= byte(state) << (2 * (index % 4))
	}
	c := content{Expires: second(in.Expires), Issued: second(in.Issued), Number: in.Number}
	if err := c.dates(); err != nil {
		return nil, err
	}
	packed, err := deflate(raw)
	if err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	c.List = tokenList{Bits: 2, Lst: base64.RawURLEncoding.EncodeToString(packed)}
	return signedjson.Marshal(c)
}

func deflate(raw []byte) ([]byte, error) {
	var z bytes.Buffer
	w, err := zlib.NewWriterLevel(&z, zlib.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(raw); err != nil {
		return nil, err
	}
	err = w.Close()
	return z.Bytes(), err
}

func second(t time.Time) time.Time { return t.Truncate(time.Second).In(zone) }

func (c content) dates() error {
	if c.Number == 0 || c.Number > 1<<53 {
		return fmt.Errorf("%w: number %d", ErrFormat, c.Number)
	}
	if c.Issued.Year() < 2000 || c.Expires.Year() > 9999 || !c.Expires.After(c.Issued) {
		return fmt.Errorf("%w: expires must be later than issued", ErrFormat)
	}
	return nil
}

// List is a parsed status list. It does not change: share it between goroutines.
type List struct {
	number          uint64
	issued, expires time.Time
	certificate     [32]byte
	content         []byte
	rs              []byte
	raw             []byte
}

// Parse reads a status list. It checks form and bounds, not the signature: see CheckSignature.
// The error wraps ErrFormat.
func Parse(b []byte) (*List, error) {
	if len(b) > MaxFile {
		return nil, fmt.Errorf("%w: larger than %d bytes", ErrFormat, MaxFile)
	}
	rawContent, rawSignature, err := signedjson.Split(Format, b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	var c content
	if err := signedjson.Unmarshal(rawContent, &c); err != nil {
		return nil, fmt.Errorf("%w: content: %w", ErrFormat, err)
	}
	// time.Time keeps the zone it was read with, so equality of bytes alone would let any zone pass.
	for _, t := range []time.Time{c.Issued, c.Expires} {
		if _, offset := t.Zone(); offset != 8*3600 || t.Nanosecond() != 0 {
			return nil, fmt.Errorf("%w: times are whole seconds in UTC+08:00", ErrFormat)
		}
	}
	if err := c.dates(); err != nil {
		return nil, err
	}
	var s signature
	if err := signedjson.Unmarshal(rawSignature, &s); err != nil {
		return nil, fmt.Errorf("%w: signature: %w", ErrFormat, err)
	}
	l := &List{number: c.Number, issued: c.Issued.In(zone), expires: c.Expires.In(zone), rs: s.Value}
	if s.Algorithm != signedjson.Algorithm || len(s.Value) != 64 || len(s.Certificate) != 64 {
		return nil, fmt.Errorf("%w: signature: not a 64-byte %s value naming its certificate", ErrFormat, signedjson.Algorithm)
	}
	if _, err := hex.Decode(l.certificate[:], []byte(s.Certificate)); err != nil || hex.EncodeToString(l.certificate[:]) != s.Certificate {
		return nil, fmt.Errorf("%w: signature: certificate is not 64 lower-case hex digits", ErrFormat)
	}
	if l.raw, err = inflate(c.List); err != nil {
		return nil, err
	}
	l.content = bytes.Clone(rawContent)
	return l, nil
}

func inflate(t tokenList) ([]byte, error) {
	if t.Bits != 2 {
		return nil, fmt.Errorf("%w: bits is not 2", ErrFormat)
	}
	packed, err := base64.RawURLEncoding.Strict().DecodeString(t.Lst)
	if err != nil || base64.RawURLEncoding.EncodeToString(packed) != t.Lst {
		return nil, fmt.Errorf("%w: lst is not base64url without padding", ErrFormat)
	}
	in := bytes.NewReader(packed)
	z, err := zlib.NewReader(in)
	if err != nil {
		return nil, fmt.Errorf("%w: lst is not a zlib stream", ErrFormat)
	}
	// One byte more than allowed is asked for, so that a stream of the greatest length ends by itself.
	raw, err := io.ReadAll(io.LimitReader(z, MaxCapacity/4+1))
	if err != nil {
		return nil, fmt.Errorf("%w: lst is not a whole zlib stream", ErrFormat)
	}
	if len(raw) == 0 || len(raw) > MaxCapacity/4 {
		return nil, fmt.Errorf("%w: lst holds more than %d states, or none", ErrFormat, MaxCapacity)
	}
	if in.Len() != 0 {
		return nil, fmt.Errorf("%w: bytes after the zlib stream", ErrFormat)
	}
	return raw, nil
}

// CheckSignature verifies the list under cert, which must be the certificate that the list names and
// must be one for status lists. Whether cert is trusted is the trust file's matter.
func (l *List) CheckSignature(cert *pki.Certificate) error {
	if cert.SM3() != l.certificate {
		return fmt.Errorf("%w: signed under another certificate", ErrSignature)
	}
	if !mayList(cert) {
		return fmt.Errorf("%w: the certificate is for %q", ErrSignature, cert.Purpose())
	}
	if err := cert.VerifySignature(signedjson.Message(Format, l.content), l.rs); err != nil {
		return fmt.Errorf("%w: %w", ErrSignature, err)
	}
	return nil
}

// mayList: the certificate is for status lists, or of a production CA that does not say what it is for.
func mayList(cert *pki.Certificate) bool {
	return !cert.IsCA() && (cert.Purpose() == purpose.StatusLists || cert.Purpose() == "" && !cert.Demonstration())
}

// At returns the state of a licence's index, Unknown if the list has no such index.
func (l *List) At(index uint64) State {
	if index >= l.Capacity() {
		return Unknown
	}
	return State(l.raw[index/4] >> (2 * (index % 4)) & 3)
}

// Number grows from list to list; of two lists of one installation the greater number is the newer.
func (l *List) Number() uint64 { return l.number }

// Issued is the time that the states are true for.
func (l *List) Issued() time.Time { return l.issued }

// Expires is when the issuer will have made a newer list.
func (l *List) Expires() time.Time { return l.expires }

// Capacity is the number of indexes.
func (l *List) Capacity() uint64 { return uint64(len(l.raw)) * 4 }

// Certificate is the SM3 of the certificate that the list names as its signer's.
func (l *List) Certificate() [32]byte { return l.certificate }

// Count returns how many indexes are in each of the states 0 to 3.
func (l *List) Count() (counts [4]uint64) {
	for _, b := range l.raw {
		for range 4 {
			counts[b&3]++
			b >>= 2
		}
	}
	return counts
}
