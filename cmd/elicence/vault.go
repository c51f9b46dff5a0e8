package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/ledger/embedded"
	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/storage/envelope"
	"github.com/elicence/elicence/storage/objects"
	"github.com/elicence/elicence/storage/records"
)

// vault is issuing's Vault over storage/envelope. index gives the keyed tag that object headers carry in place of the
// licence's id.
type vault struct {
	wrapper envelope.KEK
	index   *envelope.Index
}

// NewKey makes a random data key with a random id.
func (v *vault) NewKey(ctx context.Context) (issuing.DataKey, error) {
	var id [16]byte
	if _, err := io.ReadFull(rand.Reader, id[:]); err != nil {
		return issuing.DataKey{}, fmt.Errorf("data key: %w", err)
	}
	k, err := envelope.NewDataKey(rand.Reader)
	if err != nil {
		return issuing.DataKey{}, err
	}
	name := hex.EncodeToString(id[:])
	wrapped, err := envelope.WrapKey(ctx, v.wrapper, name, k)
	return issuing.DataKey{ID: name, Wrapped: wrapped}, err
}

// Seal encrypts one part; its address is the SM3 of what is stored.
func (v *vault) Seal(ctx context.Context, key issuing.DataKey, licenceID string, nonce, plain []byte) (issuing.Object, error) {
	k, err := envelope.UnwrapKey(ctx, v.wrapper, key.ID, key.Wrapped)
	if err != nil {
		return nil, err
	}
	h := envelope.Header{KeyID: key.ID, LicenceTag: v.tag(licenceID)}
	if copy(h.Nonce[:], nonce) != envelope.NonceSize {
		return nil, envelope.ErrKey
	}
	stored, err := envelope.SealObject(k, h, plain)
	if err != nil {
		return nil, err
	}
	return objects.AtAddress(stored), nil
}

// Open decrypts one part.
func (v *vault) Open(ctx context.Context, key issuing.DataKey, licenceID, object string, stored []byte) ([]byte, error) {
	if err := objects.CheckGet(object, stored); err != nil {
		return nil, err
	}
	k, err := envelope.UnwrapKey(ctx, v.wrapper, key.ID, key.Wrapped)
	if err != nil {
		return nil, err
	}
	return envelope.OpenObject(k, key.ID, v.tag(licenceID), stored)
}

// KeyObject is the deletable copy of the wrapped key and of the licence's record.
func (v *vault) KeyObject(ctx context.Context, key issuing.DataKey, l issuing.Licence) (issuing.Object, error) {
	k, err := envelope.UnwrapKey(ctx, v.wrapper, key.ID, key.Wrapped)
	if err != nil {
		return nil, err
	}
	record, err := records.EncodeCopy(l)
	if err != nil {
		return nil, err
	}
	sealed, err := envelope.SealRecord(k, key.ID, record)
	if err != nil {
		return nil, err
	}
	b, err := envelope.KeyRecord{KeyID: key.ID, LicenceTag: v.tag(l.ID), Wrapped: key.Wrapped, Sealed: sealed}.Encode()
	if err != nil {
		return nil, err
	}
	return objects.Under(objects.Deletable+key.ID, b)
}

// openRecord is the licence that a keys/ object holds, with its wrapped key. An object of an older program holds none:
// errNoRecord.
func (v *vault) openRecord(ctx context.Context, b []byte) (issuing.Licence, error) {
	r, err := envelope.ParseKeyRecord(b)
	if err != nil {
		return issuing.Licence{}, err
	}
	if r.Sealed == nil {
		return issuing.Licence{}, errNoRecord
	}
	k, err := envelope.UnwrapKey(ctx, v.wrapper, r.KeyID, r.Wrapped)
	if err != nil {
		return issuing.Licence{}, err
	}
	plain, err := envelope.OpenRecord(k, r.KeyID, r.Sealed)
	if err != nil {
		return issuing.Licence{}, err
	}
	l, err := records.DecodeCopy(plain)
	if err != nil {
		return l, err
	}
	if l.DataKeyID != r.KeyID || v.tag(l.ID) != r.LicenceTag {
		return l, fmt.Errorf("%w: the record of another licence", envelope.ErrOpen)
	}
	l.DataKey = r.Wrapped
	return l, nil
}

var errNoRecord = errors.New("a keys/ object of an older program, without the licence's record")

func (v *vault) tag(licenceID string) [32]byte { return v.index.Tag(envelope.LicenceColumn, licenceID) }

// parts keeps a licence's files among the objects.
type parts struct {
	objectStore
	wrapper envelope.KEK
}

// Put implements issuing.Objects. What comes from the vault was hashed there; anything else is hashed now.
func (p parts) Put(ctx context.Context, o issuing.Object) error {
	known, ok := o.(objects.Object)
	switch {
	case !ok:
		return p.objectStore.Put(ctx, o.Key(), o.Bytes())
	case strings.HasPrefix(known.Key(), objects.Deletable):
		_, err := p.putKey(ctx, known)
		return err
	}
	return p.PutObject(ctx, known)
}

// Get implements issuing.Objects: a store that is away is what waiting cures.
func (p parts) Get(ctx context.Context, key string) ([]byte, error) {
	b, err := p.objectStore.Get(ctx, key)
	if errors.Is(err, objects.ErrUnavailable) || errors.Is(err, objects.ErrAccess) {
		return nil, fmt.Errorf("%w: %w", licence.ErrUnavailable, err)
	}
	return b, err
}

// putKey makes a keys/ object what it is to be, and reports whether it had to be written. One that holds the same data
// key in another wrapping, from before or after a rotation, is replaced; one that holds another key is objects.ErrExists
// and stays. Between the two steps of a replacement the records alone have the key: done again, it is there again.
func (p parts) putKey(ctx context.Context, o objects.Object) (written bool, err error) {
	for range 3 { // somebody else may replace it at the same time
		there, err := p.Get(ctx, o.Key())
		switch {
		case errors.Is(err, objects.ErrNotFound):
			if err = p.PutObject(ctx, o); errors.Is(err, objects.ErrExists) {
				continue
			}
			return err == nil, err
		case err != nil:
			return false, err
		case bytes.Equal(there, o.Bytes()):
			return false, p.PutObject(ctx, o) // durable, whoever wrote it
		}
		if err := p.sameKey(ctx, there, o.Bytes()); err != nil {
			return false, fmt.Errorf("%w: %s: %w", objects.ErrExists, o.Key(), err)
		}
		if err := p.Delete(ctx, o.Key()); err != nil && !errors.Is(err, objects.ErrNotFound) {
			return false, err
		}
	}
	return false, fmt.Errorf("%w: %s is written by others all the time", objects.ErrExists, o.Key())
}

var errOtherKey = errors.New("another data key stands there")

func (p parts) sameKey(ctx context.Context, there, wanted []byte) error {
	a, err := envelope.ParseKeyRecord(there)
	if err != nil {
		return err
	}
	b, err := envelope.ParseKeyRecord(wanted)
	if err != nil {
		return err
	}
	if a.KeyID != b.KeyID || a.LicenceTag != b.LicenceTag {
		return errOtherKey
	}
	same, err := envelope.SameKey(ctx, p.wrapper, a.KeyID, a.Wrapped, b.Wrapped)
	if err == nil && !same {
		err = errOtherKey
	}
	return err
}

// tiles keeps the log's tiles among the objects.
type tiles struct{ store objectStore }

func (t tiles) Put(ctx context.Context, path string, b []byte) error {
	return t.store.Put(ctx, path, b)
}

func (t tiles) Get(ctx context.Context, path string) ([]byte, error) {
	b, err := t.store.Get(ctx, path)
	if errors.Is(err, objects.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", embedded.ErrNoTile, path)
	}
	return b, err
}
