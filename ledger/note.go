package ledger

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/elicence/elicence/signer"
	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
	"github.com/emmansun/gmsm/sm3"
)

// Signature types, hashed into key ids (C2SP signed-note: type byte 0xff and a name of one's own). The log's value is r‖s;
// a cosignature's is the time in seconds, 8 bytes big-endian, and r‖s.
const (
	LogSignature = "elicence/sm2/1"
	Cosignature  = "elicence/sm2-cosignature/1"
)

const (
	logSignatureSize = 64
	cosignatureSize  = 8 + 64
)

// MaxSignatures bounds the signature lines on one checkpoint.
const MaxSignatures = 16

// MaxNote bounds a signed checkpoint in bytes.
const MaxNote = 8 << 10

var (
	// ErrNote says that bytes are not a signed checkpoint in its one canonical form.
	ErrNote = errors.New("ledger: not a signed checkpoint")
	// ErrSignature says that a signature that must be there is not, or does not verify.
	ErrSignature = errors.New("ledger: the signature is missing or does not verify")
)

// Note is a checkpoint with signature lines: C2SP signed-note.
type Note struct {
	Checkpoint Checkpoint
	Body       []byte
	Lines      []Line
}

// Line is one signature line: "— name base64(key id ‖ value)".
type Line struct {
	Name  string
	KeyID uint32
	Value []byte // 64 or 72 bytes
}

// KeyID names a key on signature lines: the first four bytes, big-endian, of SM3(name ‖ 0x0A ‖ 0xFF ‖ type ‖ 0x04 ‖ X ‖ Y).
// It only finds the line; the signature is what counts. A key that is not SM2 has the id 0 and verifies nothing.
func KeyID(name, signatureType string, public *ecdsa.PublicKey) uint32 {
	spki, err := pki.MarshalPublicKey(public)
	if err != nil {
		return 0
	}
	h := sm3.New()
	h.Write([]byte(name + "\n\xff" + signatureType))
	h.Write(spki[len(spki)-pointSize:]) // SubjectPublicKeyInfo ends with the point (RFC 5480, 2.2)
	return binary.BigEndian.Uint32(h.Sum(nil))
}

// pointSize is that of an uncompressed point on SM2's curve: 0x04 ‖ X ‖ Y.
const pointSize = 65

const dash = "\u2014 "

// Encode writes the note: body, empty line, signature lines in their order.
func (n *Note) Encode() []byte {
	b := slices.Concat(n.Body, []byte("\n"))
	for _, l := range n.Lines {
		b = append(b, dash...)
		b = append(append(b, l.Name...), ' ')
		b = base64.StdEncoding.AppendEncode(b, slices.Concat(binary.BigEndian.AppendUint32(nil, l.KeyID), l.Value))
		b = append(b, '\n')
	}
	return b
}

// ParseNote reads a signed checkpoint; no signature is verified. What it accepts is exactly what Encode writes. A note
// has at least one line, and no two of the same name and key.
func ParseNote(b []byte) (*Note, error) {
	if len(b) > MaxNote {
		return nil, fmt.Errorf("%w: %d bytes", ErrNote, len(b))
	}
	body, rest, ok := bytes.Cut(b, []byte("\n\n"))
	if !ok || len(rest) == 0 || rest[len(rest)-1] != '\n' {
		return nil, fmt.Errorf("%w: no body and signature lines", ErrNote)
	}
	n := &Note{Body: append(bytes.Clone(body), '\n')}
	var err error
	if n.Checkpoint, err = ParseCheckpoint(n.Body); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNote, err)
	}
	lines := strings.Split(string(rest[:len(rest)-1]), "\n")
	if len(lines) > MaxSignatures {
		return nil, fmt.Errorf("%w: %d signature lines", ErrNote, len(lines))
	}
	for _, text := range lines {
		l, err := parseLine(text)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(n.Lines, func(o Line) bool { return o.Name == l.Name && o.KeyID == l.KeyID }) {
			return nil, fmt.Errorf("%w: two lines of one key", ErrNote)
		}
		n.Lines = append(n.Lines, l)
	}
	if !bytes.Equal(n.Encode(), b) {
		return nil, fmt.Errorf("%w: another spelling of the same", ErrNote)
	}
	return n, nil
}

func parseLine(text string) (Line, error) {
	rest, ok := strings.CutPrefix(text, dash)
	name, value, ok2 := strings.Cut(rest, " ")
	if !ok || !ok2 || !IsName(name) {
		return Line{}, fmt.Errorf("%w: signature line", ErrNote)
	}
	b, err := decodeBase64(value)
	if err != nil || len(b) != 4+logSignatureSize && len(b) != 4+cosignatureSize {
		return Line{}, fmt.Errorf("%w: signature line", ErrNote)
	}
	return Line{Name: name, KeyID: binary.BigEndian.Uint32(b), Value: b[4:]}, nil
}

// line finds the line of a key.
func (n *Note) line(name string, id uint32, size int) (Line, bool) {
	for _, l := range n.Lines {
		if l.Name == name && l.KeyID == id && len(l.Value) == size {
			return l, true
		}
	}
	return Line{}, false
}

// SignCheckpoint makes a note of a body with the log's own signature. cert is the key's certificate.
func SignCheckpoint(ctx context.Context, key signer.Key, cert *pki.Certificate, body []byte) (*Note, error) {
	c, err := ParseCheckpoint(body)
	if err != nil {
		return nil, err
	}
	rs, err := key.Sign(ctx, purpose.Checkpoint, body)
	if err != nil {
		return nil, fmt.Errorf("ledger: checkpoint: %w", err)
	}
	l := Line{Name: c.Origin, KeyID: KeyID(c.Origin, LogSignature, cert.PublicKey()), Value: rs}
	return &Note{Checkpoint: c, Body: bytes.Clone(body), Lines: []Line{l}}, nil
}

// VerifyLog checks the log's own signature: its line has the origin as name. ErrSignature.
func (n *Note) VerifyLog(cert *pki.Certificate) error {
	l, ok := n.line(n.Checkpoint.Origin, KeyID(n.Checkpoint.Origin, LogSignature, cert.PublicKey()), logSignatureSize)
	if !ok {
		return fmt.Errorf("%w: the log's", ErrSignature)
	}
	if err := cert.VerifySignature(n.Body, l.Value); err != nil {
		return fmt.Errorf("%w: the log's", ErrSignature)
	}
	return nil
}

// cosigned is the message of a cosignature: C2SP tlog-cosignature, 3.1.
func cosigned(seconds int64, body []byte) []byte {
	return append(fmt.Appendf(nil, "cosignature/v1\ntime %d\n", seconds), body...)
}

// VerifyCosignature checks the line of a cosigner and returns the time it vouches for, in whole seconds. ErrSignature.
func (n *Note) VerifyCosignature(name string, cert *pki.Certificate) (time.Time, error) {
	l, ok := n.line(name, KeyID(name, Cosignature, cert.PublicKey()), cosignatureSize)
	if !ok {
		return time.Time{}, fmt.Errorf("%w: %s", ErrSignature, name)
	}
	seconds := binary.BigEndian.Uint64(l.Value)
	if seconds == 0 || seconds > maxSeconds {
		return time.Time{}, fmt.Errorf("%w: %s: time", ErrSignature, name)
	}
	if err := cert.VerifySignature(cosigned(int64(seconds), n.Body), l.Value[8:]); err != nil {
		return time.Time{}, fmt.Errorf("%w: %s", ErrSignature, name)
	}
	return time.Unix(int64(seconds), 0), nil
}

// maxSeconds is the end of the year 9999.
const maxSeconds = 253402300799

// cosign returns the cosigner's line for a body.
func cosign(ctx context.Context, key signer.Key, cert *pki.Certificate, name string, at time.Time, body []byte) (Line, error) {
	seconds := at.Unix()
	if seconds <= 0 || seconds > maxSeconds {
		return Line{}, fmt.Errorf("ledger: cosignature: the clock says %d seconds", seconds)
	}
	rs, err := key.Sign(ctx, purpose.Cosignature, cosigned(seconds, body))
	if err != nil {
		return Line{}, fmt.Errorf("ledger: cosignature: %w", err)
	}
	value := append(binary.BigEndian.AppendUint64(nil, uint64(seconds)), rs...)
	return Line{Name: name, KeyID: KeyID(name, Cosignature, cert.PublicKey()), Value: value}, nil
}

// Merge takes over the lines of another note with the same body that n does not have yet. It reports whether the bodies
// are the same.
func (n *Note) Merge(o *Note) bool {
	if !bytes.Equal(n.Body, o.Body) {
		return false
	}
	for _, l := range o.Lines {
		if !slices.ContainsFunc(n.Lines, func(k Line) bool { return k.Name == l.Name && k.KeyID == l.KeyID }) {
			n.Lines = append(n.Lines, l)
		}
	}
	return true
}

// LogOf returns the certificate of the trusted log that signed the checkpoint. ErrUnknownLog or ErrSignature.
func (n *Note) LogOf(logs []Party) (*pki.Certificate, error) { return n.signedBy(logs) }

// CosignersOf returns the good cosignatures of trusted parties, one for each organisation, earliest first.
func (n *Note) CosignersOf(parties []Party) []Vouching {
	var e Evidence
	n.vouched(parties, "", &e)
	return e.Cosigned
}
