package envelope

import (
	"context"
	"crypto/hmac"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/emmansun/gmsm/sm3"
)

// Place is where a sealed column value belongs; it opens nowhere else.
type Place struct {
	Table, Column string
	Row           string // the row's key, e.g. the licence id
	KeyVersion    uint32 // of the data key, so that an older ciphertext cannot come back after a change of keys
}

func (p Place) data() []byte {
	return binary.BigEndian.AppendUint32(joined("elicence/column/1", p.Table, p.Column, p.Row), p.KeyVersion)
}

// columnVersion is the first byte of every sealed column.
const columnVersion = 1

// SealColumn returns version ‖ random nonce ‖ ciphertext for one place. It differs each time.
func SealColumn(k *DataKey, random io.Reader, p Place, plain []byte) ([]byte, error) {
	out := make([]byte, 1+NonceSize, 1+NonceSize+len(plain)+TagSize)
	out[0] = columnVersion
	if _, err := io.ReadFull(random, out[1:]); err != nil {
		return nil, fmt.Errorf("envelope: random: %w", err)
	}
	return k.aead.Seal(out, out[1:1+NonceSize], plain, p.data()), nil
}

// OpenColumn is the way back. ErrFormat, ErrOpen.
func OpenColumn(k *DataKey, p Place, sealed []byte) ([]byte, error) {
	if len(sealed) < 1+NonceSize+TagSize || sealed[0] != columnVersion {
		return nil, fmt.Errorf("%w: %s.%s", ErrFormat, p.Table, p.Column)
	}
	plain, err := k.aead.Open(nil, sealed[1:1+NonceSize], sealed[1+NonceSize:], p.data())
	if err != nil {
		return nil, fmt.Errorf("%w: %s.%s", ErrOpen, p.Table, p.Column)
	}
	return plain, nil
}

// Index makes search tags. Equal values of one column have equal tags; tags of two columns tell nothing about each
// other, and without the key nobody can test a guess. It is immutable and safe for concurrent use.
type Index struct{ raw [KeySize]byte }

// IndexKeyID is the id under which an index key is wrapped, and the name of its keys/ object.
const IndexKeyID = "index"

// DataKey makes the key that encrypts what belongs to no single licence, one for each purpose: HMAC-SM3 of the purpose under
// the index key. Whoever has the index key has these, too.
func (x *Index) DataKey(purpose string) (*DataKey, error) {
	m := hmac.New(sm3.New, x.raw[:])
	m.Write(joined("elicence/derived-key/1", purpose))
	return dataKey(m.Sum(nil)[:KeySize])
}

// NewIndex makes a random index key and returns it with its wrapped form, which is to be kept.
func NewIndex(ctx context.Context, kek KEK, random io.Reader) (*Index, []byte, error) {
	k, err := NewDataKey(random)
	if err != nil {
		return nil, nil, err
	}
	wrapped, err := WrapKey(ctx, kek, IndexKeyID, k)
	if err != nil {
		return nil, nil, err
	}
	return &Index{raw: k.raw}, wrapped, nil
}

// OpenIndex unwraps an index key.
func OpenIndex(ctx context.Context, kek KEK, wrapped []byte) (*Index, error) {
	k, err := UnwrapKey(ctx, kek, IndexKeyID, wrapped)
	if err != nil {
		return nil, err
	}
	return &Index{raw: k.raw}, nil
}

// RewrapIndex moves a wrapped index key to another key-encryption key; all tags stay as they are.
func RewrapIndex(ctx context.Context, from, to KEK, wrapped []byte) ([]byte, error) {
	return Rewrap(ctx, from, to, IndexKeyID, wrapped)
}

// Tag is HMAC-SM3 of value under the column's own key, which is HMAC-SM3 of the column's name under the index key.
func (x *Index) Tag(column, value string) [32]byte {
	inner := hmac.New(sm3.New, x.raw[:])
	inner.Write(joined("elicence/tag-key/1", column))
	outer := hmac.New(sm3.New, inner.Sum(nil))
	outer.Write([]byte(value))
	var tag [32]byte
	outer.Sum(tag[:0])
	return tag
}

// String keeps the key out of logs.
func (*Index) String() string { return "envelope.Index" }

// GoString keeps the key out of logs.
func (*Index) GoString() string { return "envelope.Index" }
