package softkey

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"fmt"
	"io"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/elicence/elicence/signer/purpose"
)

// signerID is GM/T 0009-2012, 10: constant for every signer.
const signerID = "1234567812345678"

// Key signs with one key of a keystore. It is safe for concurrent use.
type Key struct {
	store *Keystore
	entry *entry
}

// Key finds a signing key. ErrNoKey when there is none of the label, ErrPurpose for a wrapping key, ErrState for a
// disabled one. A retired key still signs: what was begun with it must be finished with it.
func (k *Keystore) Key(label string) (*Key, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	e := k.find(label)
	switch {
	case e == nil:
		return nil, fmt.Errorf("%w: %q", ErrNoKey, label)
	case e.Purpose == purpose.DataWrapping:
		return nil, fmt.Errorf("%w: %q wraps data keys", ErrPurpose, label)
	case e.State == Disabled:
		return nil, fmt.Errorf("%w: %q is disabled", ErrState, label)
	}
	return &Key{k, e}, nil
}

// Public is the key's public half.
func (k *Key) Public() *ecdsa.PublicKey {
	k.store.mu.RLock()
	defer k.store.mu.RUnlock()
	if k.entry.private == nil {
		return nil
	}
	public := k.entry.private.PublicKey
	return &public
}

// Sign checks purpose and form, computes e = SM3(Z‖M) and signs (GB/T 32918.2-2016, 6). It returns r‖s, 64 bytes.
func (k *Key) Sign(ctx context.Context, form purpose.Form, message []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	k.store.mu.RLock()
	defer k.store.mu.RUnlock()
	e := k.entry
	if e.State == Disabled || e.private == nil {
		return nil, fmt.Errorf("%w: %q is disabled or its keystore closed", ErrState, e.Label)
	}
	if !e.Purpose.Allows(form) {
		return nil, fmt.Errorf("%w: %q is for %s and does not sign %s", ErrPurpose, e.Label, e.Purpose, form)
	}
	if err := purpose.Check(form, message); err != nil {
		return nil, err
	}
	der, err := e.private.SignWithSM2(rand.Reader, []byte(signerID), message)
	if err != nil {
		return nil, fmt.Errorf("softkey: sign: %w", err)
	}
	return rs(der)
}

// rs turns SEQUENCE { r, s } into 64 bytes.
func rs(der []byte) ([]byte, error) {
	in := cryptobyte.String(der)
	var seq cryptobyte.String
	var r, s big.Int
	if !in.ReadASN1(&seq, asn1.SEQUENCE) || !seq.ReadASN1Integer(&r) || !seq.ReadASN1Integer(&s) || r.BitLen() > 256 || s.BitLen() > 256 {
		return nil, fmt.Errorf("softkey: the signature has no known form")
	}
	out := make([]byte, 64)
	r.FillBytes(out[:32])
	s.FillBytes(out[32:])
	return out, nil
}

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

// Wrap encrypts plain (at most 64 bytes) with SM4-GCM: 12 bytes of random nonce, then ciphertext and tag.
func (w *Wrapper) Wrap(ctx context.Context, plain, associated []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(plain) == 0 || len(plain) > 64 {
		return nil, fmt.Errorf("softkey: a data key has 1 to 64 bytes")
	}
	w.store.mu.RLock()
	defer w.store.mu.RUnlock()
	if w.entry.wrap == nil || w.entry.State != Active {
		return nil, fmt.Errorf("%w: %q", ErrState, w.entry.Label)
	}
	nonce := make([]byte, 12, 12+len(plain)+16)
	if _, err := io.ReadFull(rand.Reader, nonce); err != nil {
		return nil, fmt.Errorf("softkey: nonce: %w", err)
	}
	return w.entry.wrap.Seal(nonce, nonce, plain, associated), nil
}

// Unwrap is the way back. ErrKeystore if wrapped is not what Wrap returned under this key and associated data.
func (w *Wrapper) Unwrap(ctx context.Context, wrapped, associated []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	w.store.mu.RLock()
	defer w.store.mu.RUnlock()
	if w.entry.wrap == nil || w.entry.State == Disabled {
		return nil, fmt.Errorf("%w: %q", ErrState, w.entry.Label)
	}
	if len(wrapped) < 12+16 {
		return nil, fmt.Errorf("%w: a wrapped key of %d bytes", ErrUnwrap, len(wrapped))
	}
	plain, err := w.entry.wrap.Open(nil, wrapped[:12], wrapped[12:], associated)
	if err != nil {
		return nil, ErrUnwrap
	}
	return plain, nil
}
