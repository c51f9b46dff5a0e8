package softkey

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"

	"github.com/elicence/elicence/signer/purpose"
)

// largestData bounds a data key in bytes: this is no way to encrypt documents.
const largestData = 64

// Wrapper encrypts data keys under one wrapping key. It is safe for concurrent use.
type Wrapper struct {
	store *Keystore
	entry *entry
}

// Wrapper finds a wrapping key; errors as for Key.
func (k *Keystore) Wrapper(label string) (*Wrapper, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	e := k.find(label)
	switch {
	case k.closed:
		return nil, fmt.Errorf("%w: the keystore is closed", ErrState)
	case e == nil:
		return nil, fmt.Errorf("%w: %q", ErrNoKey, label)
	case e.Purpose != purpose.DataWrapping:
		return nil, fmt.Errorf("%w: %q signs", ErrPurpose, label)
	case e.State == Disabled:
		return nil, fmt.Errorf("%w: %q is disabled", ErrState, label)
	}
	return &Wrapper{k, e}, nil
}

// Label names the key, so that what it wrapped can say so.
func (w *Wrapper) Label() string { return w.entry.Label }

// Wrap encrypts plain, 1 to 64 bytes, with SM4-GCM: 12 bytes of random nonce, then ciphertext and tag of 16. ErrState
// for a key that is not active.
func (w *Wrapper) Wrap(ctx context.Context, plain, associated []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(plain) == 0 || len(plain) > largestData {
		return nil, fmt.Errorf("softkey: a data key has 1 to 64 bytes")
	}
	w.store.mu.RLock()
	defer w.store.mu.RUnlock()
	if w.entry.wrap == nil || w.entry.State != Active {
		return nil, fmt.Errorf("%w: %q", ErrState, w.entry.Label)
	}
	nonce := make([]byte, nonceSize, nonceSize+len(plain)+tagSize)
	if _, err := io.ReadFull(rand.Reader, nonce); err != nil {
		return nil, fmt.Errorf("softkey: nonce: %w", err)
	}
	return w.entry.wrap.Seal(nonce, nonce, plain, associated), nil
}

// Unwrap is the way back. ErrUnwrap if wrapped is not what Wrap returned under this key and associated data; ErrState
// for a disabled key.
func (w *Wrapper) Unwrap(ctx context.Context, wrapped, associated []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	w.store.mu.RLock()
	defer w.store.mu.RUnlock()
	if w.entry.wrap == nil || w.entry.State == Disabled {
		return nil, fmt.Errorf("%w: %q", ErrState, w.entry.Label)
	}
	if len(wrapped) <= nonceSize+tagSize || len(wrapped) > nonceSize+largestData+tagSize {
		return nil, fmt.Errorf("%w: %d bytes", ErrUnwrap, len(wrapped))
	}
	plain, err := w.entry.wrap.Open(nil, wrapped[:nonceSize], wrapped[nonceSize:], associated)
	if err != nil {
		return nil, ErrUnwrap
	}
	return plain, nil
}
