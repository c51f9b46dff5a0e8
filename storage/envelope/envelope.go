// Package envelope encrypts what lies at rest: stored objects, personal columns and the data keys themselves.
//
// Every licence has its own random SM4 data key (GB/T 32907), wrapped by a key-encryption key that lies elsewhere. All
// encryption is SM4-GCM (GB/T 36624-2018 clause 10) with 96-bit nonces; every ciphertext is bound by its associated
// data to the one place where it belongs. Searching works on HMAC-SM3 tags, with another key for each column.
package envelope

import (
	"context"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/emmansun/gmsm/sm4"
)

// Sizes in bytes.
const (
	KeySize   = 16 // of a data key
	NonceSize = 12
	TagSize   = 16 // what GCM adds to a plaintext
)

var (
	// ErrOpen says that a ciphertext is not what was sealed for this place with this key. It tells no more on purpose.
	ErrOpen = errors.New("envelope: does not open: changed, moved, or sealed with another key")
	// ErrFormat says that bytes are not in a format of this package.
	ErrFormat = errors.New("envelope: not in a known format")
	// ErrKey says that a key or nonce has the wrong length.
	ErrKey = errors.New("envelope: key or nonce of a wrong length")
)

// KEK is a key-encryption key. Implementations are safe for concurrent use; aad must be the same both ways.
type KEK interface {
	Wrap(ctx context.Context, plain, aad []byte) ([]byte, error)
	Unwrap(ctx context.Context, wrapped, aad []byte) ([]byte, error)
}

// DataKey encrypts everything of one licence. It is immutable and safe for concurrent use.
type DataKey struct {
	raw  [KeySize]byte
	aead cipher.AEAD
}

// NewDataKey makes a random key.
func NewDataKey(random io.Reader) (*DataKey, error) {
	var raw [KeySize]byte
	if _, err := io.ReadFull(random, raw[:]); err != nil {
		return nil, fmt.Errorf("envelope: random: %w", err)
	}
	return dataKey(raw[:])
}

func dataKey(raw []byte) (*DataKey, error) {
	if len(raw) != KeySize {
		return nil, fmt.Errorf("%w: a data key has %d bytes", ErrKey, KeySize)
	}
	block, err := sm4.NewCipher(raw)
	if err != nil {
		return nil, fmt.Errorf("envelope: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("envelope: %w", err)
	}
	k := &DataKey{aead: aead}
	copy(k.raw[:], raw)
	return k, nil
}

// String keeps the key out of logs.
func (*DataKey) String() string { return "envelope.DataKey" }

// GoString keeps the key out of logs.
func (*DataKey) GoString() string { return "envelope.DataKey" }

// WrapKey wraps a data key; id, the licence-key id, binds it to its place. The result differs each time.
func WrapKey(ctx context.Context, kek KEK, id string, k *DataKey) ([]byte, error) {
	w, err := kek.Wrap(ctx, k.raw[:], keyData(id))
	if err != nil {
		return nil, fmt.Errorf("envelope: wrap data key %s: %w", id, err)
	}
	return w, nil
}

// UnwrapKey is the way back; it fails for another id.
func UnwrapKey(ctx context.Context, kek KEK, id string, wrapped []byte) (*DataKey, error) {
	raw, err := kek.Unwrap(ctx, wrapped, keyData(id))
	if err != nil {
		return nil, fmt.Errorf("envelope: unwrap data key %s: %w", id, err)
	}
	defer clear(raw)
	return dataKey(raw)
}

// Rewrap moves a wrapped data key from one key-encryption key to another. What the data key encrypts stays as it is.
func Rewrap(ctx context.Context, from, to KEK, id string, wrapped []byte) ([]byte, error) {
	k, err := UnwrapKey(ctx, from, id, wrapped)
	if err != nil {
		return nil, err
	}
	return WrapKey(ctx, to, id, k)
}

// SameKey reports whether two wrappings of one id hold the same data key. Errors of the key-encryption key; ErrOpen.
func SameKey(ctx context.Context, kek KEK, id string, a, b []byte) (bool, error) {
	x, err := UnwrapKey(ctx, kek, id, a)
	if err != nil {
		return false, err
	}
	y, err := UnwrapKey(ctx, kek, id, b)
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(x.raw[:], y.raw[:]) == 1, nil
}

func keyData(id string) []byte { return joined("elicence/data-key/1", id) }

// joined encodes strings so that no two different lists give the same bytes: each with its length before it.
func joined(parts ...string) []byte {
	var b []byte
	for _, p := range parts {
		b = binary.AppendUvarint(b, uint64(len(p)))
		b = append(b, p...)
	}
	return b
}

// localKEK is a data key used as key-encryption key.
type localKEK struct {
	k      *DataKey
	random io.Reader
}

// LocalKEK wraps with a key that lies in this process's memory: for tests, and below a KEK that is slow to reach.
func LocalKEK(k *DataKey, random io.Reader) KEK { return localKEK{k, random} }

func (l localKEK) Wrap(_ context.Context, plain, aad []byte) ([]byte, error) {
	out := make([]byte, NonceSize, NonceSize+len(plain)+TagSize)
	if _, err := io.ReadFull(l.random, out); err != nil {
		return nil, fmt.Errorf("envelope: random: %w", err)
	}
	return l.k.aead.Seal(out, out, plain, aad), nil
}

func (l localKEK) Unwrap(_ context.Context, wrapped, aad []byte) ([]byte, error) {
	if len(wrapped) < NonceSize+TagSize {
		return nil, fmt.Errorf("%w: wrapped key", ErrFormat)
	}
	plain, err := l.k.aead.Open(nil, wrapped[:NonceSize], wrapped[NonceSize:], aad)
	if err != nil {
		return nil, ErrOpen
	}
	return plain, nil
}

// either unwraps with whichever of two keys fits.
type either struct{ current, former KEK }

// Either is the KEK of a rotation that is under way: it wraps with current, and unwraps what either of the two wrapped.
func Either(current, former KEK) KEK { return either{current, former} }

func (e either) Wrap(ctx context.Context, plain, aad []byte) ([]byte, error) {
	return e.current.Wrap(ctx, plain, aad)
}

func (e either) Unwrap(ctx context.Context, wrapped, aad []byte) ([]byte, error) {
	plain, err := e.current.Unwrap(ctx, wrapped, aad)
	if err == nil {
		return plain, nil
	}
	plain, second := e.former.Unwrap(ctx, wrapped, aad)
	if second != nil {
		return nil, errors.Join(err, second)
	}
	return plain, nil
}
