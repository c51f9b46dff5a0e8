// Package cose is COSE_Sign1 (RFC 9052) with SM2 and SM3, in one deterministic form: what parses re-encodes to the same
// bytes, so that a signed message has exactly one spelling.
//
//	18([ << {1: -65537, 16: type, -65537: SM3 of the signing certificate} >>, {}, payload, r‖s ])
//
// The package makes no signatures and checks none: it says which bytes are signed, and reads and writes messages.
// Everything here is safe for concurrent use.
package cose

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"
)

// Algorithm is SM2 with SM3 (GB/T 32918.2, signer id "1234567812345678"), signature r‖s of 64 bytes. IANA has
// registered none, so it comes from the range for private use below −65536 (RFC 9053, 2).
const Algorithm = -65537

// SignatureSize is r‖s in bytes.
const SignatureSize = 64

// MaxMessage bounds what Parse looks at, in bytes.
const MaxMessage = 1 << 20

// tagSign1 is COSE_Sign1's CBOR tag.
const tagSign1 = 18

var (
	// ErrMessage says that bytes are not one COSE_Sign1 message in our form.
	ErrMessage = errors.New("cose: not a COSE_Sign1 message in our form")
	// ErrCBOR says that bytes are not CBOR in deterministic encoding, or not of the wanted shape.
	ErrCBOR = errors.New("cose: not deterministic CBOR of this shape")
)

// MaxType bounds Protected.Type in bytes.
const MaxType = 128

// Protected is the protected header: algorithm (fixed), type of the message (1 to MaxType bytes of UTF-8) and SM3 of the
// signing certificate.
type Protected struct {
	Type        string
	Certificate [32]byte
}

// protectedCBOR by header labels: alg, typ (RFC 9596) and a private one, since x5t (RFC 9360) names a digest algorithm by
// an IANA number, and SM3 has none there.
type protectedCBOR struct {
	Algorithm   int64  `cbor:"1,keyasint"`
	Type        string `cbor:"16,keyasint"`
	Certificate []byte `cbor:"-65537,keyasint"`
}

// Message is one parsed message. Its slices are copies.
type Message struct {
	Protected
	Payload   []byte
	Signature []byte // r‖s, 64 bytes

	protected []byte // encoded
}

type codec struct {
	enc cbor.EncMode
	dec cbor.DecMode
}

// modes are immutable once made; making them costs more than encoding a message.
var modes = sync.OnceValues(func() (codec, error) {
	enc, err := cbor.EncOptions{Sort: cbor.SortCoreDeterministic, ShortestFloat: cbor.ShortestFloat16,
		NaNConvert: cbor.NaNConvert7e00, InfConvert: cbor.InfConvertFloat16, IndefLength: cbor.IndefLengthForbidden,
		NilContainers: cbor.NilContainerAsNull}.EncMode()
	if err != nil {
		return codec{}, err
	}
	dec, err := cbor.DecOptions{DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden,
		MaxNestedLevels: 16, MaxArrayElements: 65536, MaxMapPairs: 4096, UTF8: cbor.UTF8RejectInvalid,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField, IntDec: cbor.IntDecConvertSignedOrFail, TagsMd: cbor.TagsForbidden}.DecMode()
	return codec{enc, dec}, err
})

// Marshal encodes v as deterministic CBOR (RFC 8949, 4.2.1).
func Marshal(v any) ([]byte, error) {
	c, err := modes()
	if err != nil {
		return nil, err
	}
	return c.enc.Marshal(v)
}

// UnmarshalCanonical decodes b, MaxMessage bytes at most and 16 levels deep, into v, which must point to a zero value, and
// refuses with ErrCBOR what v does not encode to again: other key order, longer heads, indefinite lengths, tags, unknown or
// duplicate keys, bytes behind the end.
func UnmarshalCanonical(b []byte, v any) error {
	if len(b) > MaxMessage {
		return fmt.Errorf("%w: %d bytes", ErrCBOR, len(b))
	}
	c, err := modes()
	if err != nil {
		return err
	}
	if err := c.dec.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: %w", ErrCBOR, err)
	}
	again, err := c.enc.Marshal(v)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCBOR, err)
	}
	if !bytes.Equal(again, b) {
		return fmt.Errorf("%w: another encoding of the same", ErrCBOR)
	}
	return nil
}

func encodeProtected(p Protected) ([]byte, error) {
	if p.Type == "" || len(p.Type) > MaxType || !utf8.ValidString(p.Type) {
		return nil, fmt.Errorf("%w: the type", ErrMessage)
	}
	return Marshal(protectedCBOR{Algorithm, p.Type, p.Certificate[:]})
}

// ToBeSigned is the Sig_structure ["Signature1", protected, external_aad, payload] (RFC 9052, 4.4). ErrMessage for a type
// that cannot be written.
func ToBeSigned(p Protected, externalAAD string, payload []byte) ([]byte, error) {
	protected, err := encodeProtected(p)
	if err != nil {
		return nil, err
	}
	return sigStructure(protected, externalAAD, payload), nil
}

func sigStructure(protected []byte, externalAAD string, payload []byte) []byte {
	b := make([]byte, 0, 32+len(protected)+len(externalAAD)+len(payload))
	b = append(b, 0x84, 0x6a)
	b = append(b, "Signature1"...)
	b = appendBytes(b, protected)
	b = appendBytes(b, []byte(externalAAD))
	return appendBytes(b, payload)
}

// appendBytes appends a CBOR byte string with the shortest head.
func appendBytes(b, s []byte) []byte {
	switch n := len(s); {
	case n < 24:
		b = append(b, 0x40|byte(n))
	case n < 1<<8:
		b = append(b, 0x58, byte(n))
	case n < 1<<16:
		b = append(b, 0x59, byte(n>>8), byte(n))
	default:
		b = append(b, 0x5a, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	return append(b, s...)
}

// Assemble makes the tagged message: 18([protected, {}, payload, signature]). ErrMessage for a type that cannot be written,
// no payload, too large a one, or a signature that is not SignatureSize bytes.
func Assemble(p Protected, payload, rs []byte) ([]byte, error) {
	protected, err := encodeProtected(p)
	if err != nil {
		return nil, err
	}
	b := assemble(protected, payload, rs)
	if len(payload) == 0 || len(rs) != SignatureSize || len(b) > MaxMessage {
		return nil, fmt.Errorf("%w: payload of %d, signature of %d bytes", ErrMessage, len(payload), len(rs))
	}
	return b, nil
}

func assemble(protected, payload, rs []byte) []byte {
	b := make([]byte, 0, 16+len(protected)+len(payload)+len(rs))
	b = append(b, 0xc0|tagSign1, 0x84)
	b = appendBytes(b, protected)
	b = append(b, 0xa0)
	b = appendBytes(b, payload)
	return appendBytes(b, rs)
}

// Parse reads one message. Anything but the one form that Assemble writes is ErrMessage: it never panics, and what it
// returns encodes to b again.
func Parse(b []byte) (*Message, error) {
	if len(b) > MaxMessage {
		return nil, fmt.Errorf("%w: %d bytes", ErrMessage, len(b))
	}
	rest, ok := bytes.CutPrefix(b, []byte{0xc0 | tagSign1, 0x84})
	if !ok {
		return nil, ErrMessage
	}
	var m Message
	if m.protected, rest, ok = cutBytes(rest); !ok {
		return nil, fmt.Errorf("%w: protected header", ErrMessage)
	}
	if rest, ok = bytes.CutPrefix(rest, []byte{0xa0}); !ok {
		return nil, fmt.Errorf("%w: the unprotected header is not empty", ErrMessage)
	}
	if m.Payload, rest, ok = cutBytes(rest); !ok || len(m.Payload) == 0 {
		return nil, fmt.Errorf("%w: payload", ErrMessage)
	}
	if m.Signature, rest, ok = cutBytes(rest); !ok || len(m.Signature) != SignatureSize || len(rest) != 0 {
		return nil, fmt.Errorf("%w: signature", ErrMessage)
	}
	var p protectedCBOR
	if err := UnmarshalCanonical(m.protected, &p); err != nil {
		return nil, fmt.Errorf("%w: protected header: %w", ErrMessage, err)
	}
	if p.Algorithm != Algorithm || p.Type == "" || len(p.Type) > MaxType || len(p.Certificate) != 32 {
		return nil, fmt.Errorf("%w: protected header: algorithm, type or certificate", ErrMessage)
	}
	m.Type = p.Type
	copy(m.Certificate[:], p.Certificate)
	if !bytes.Equal(assemble(m.protected, m.Payload, m.Signature), b) {
		return nil, fmt.Errorf("%w: another encoding of the same", ErrMessage)
	}
	return &m, nil
}

// cutBytes reads one definite byte string; Parse's re-encoding finds longer heads than needed.
func cutBytes(b []byte) (s, rest []byte, ok bool) {
	if len(b) == 0 || b[0]>>5 != 2 {
		return nil, nil, false
	}
	n, size := uint64(b[0]&31), 0
	switch {
	case n < 24:
	case n <= 26:
		size = 1 << (n - 24)
		if len(b) < 1+size {
			return nil, nil, false
		}
		n = 0
		for _, c := range b[1 : 1+size] {
			n = n<<8 | uint64(c)
		}
	default: // 64 bits, reserved or indefinite
		return nil, nil, false
	}
	b = b[1+size:]
	if uint64(len(b)) < n {
		return nil, nil, false
	}
	return bytes.Clone(b[:n]), b[n:], true
}

// ToBeSigned is the Sig_structure of a parsed message under the external_aad that the reader expects.
func (m *Message) ToBeSigned(externalAAD string) []byte {
	return sigStructure(m.protected, externalAAD, m.Payload)
}
