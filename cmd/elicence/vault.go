package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/elicence/elicence/hsm/softkey"
	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/ledger/embedded"
	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/storage/envelope"
	"github.com/elicence/elicence/storage/objects"
)

// wrappingLabel is the key of the storage keystore that wraps the licences' data keys.
const wrappingLabel = "data-wrapping-1"

// vault is issuing's Vault over storage/envelope. index gives the keyed tag that object headers carry in place of the
// licence's id.
type vault struct {
	wrapper *softkey.Wrapper
	index   *envelope.Index
}

func newVault(store *softkey.Keystore) (*vault, error) {
	w, err := store.Wrapper(wrappingLabel)
	if err != nil {
		return nil, fmt.Errorf("wrapping key: %w", err)
	}
	return &vault{wrapper: w}, nil
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

// KeyObject is the deletable copy of the wrapped key.
func (v *vault) KeyObject(key issuing.DataKey, licenceID string) (issuing.Object, error) {
	b, err := envelope.KeyRecord{KeyID: key.ID, LicenceTag: v.tag(licenceID), Wrapped: key.Wrapped}.Encode()
	if err != nil {
		return nil, err
	}
	return objects.Under(objects.Deletable+key.ID, b)
}

func (v *vault) tag(licenceID string) [32]byte { return v.index.Tag(envelope.LicenceColumn, licenceID) }

// parts keeps a licence's files among the objects.
type parts struct{ objectStore }

// Put implements issuing.Objects. What comes from the vault was hashed there; anything else is hashed now.
func (p parts) Put(ctx context.Context, o issuing.Object) error {
	if known, ok := o.(objects.Object); ok {
		return p.PutObject(ctx, known)
	}
	return p.objectStore.Put(ctx, o.Key(), o.Bytes())
}

// Get implements issuing.Objects: a store that is away is what waiting cures.
func (p parts) Get(ctx context.Context, key string) ([]byte, error) {
	b, err := p.objectStore.Get(ctx, key)
	if errors.Is(err, objects.ErrUnavailable) || errors.Is(err, objects.ErrAccess) {
		return nil, fmt.Errorf("%w: %w", licence.ErrUnavailable, err)
	}
	return b, err
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
