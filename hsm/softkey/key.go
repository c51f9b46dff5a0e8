package softkey

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"fmt"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/elicence/elicence/signer/purpose"
	"github.com/emmansun/gmsm/sm2"
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
	case k.closed:
		return nil, fmt.Errorf("%w: the keystore is closed", ErrState)
	case e == nil:
		return nil, fmt.Errorf("%w: %q", ErrNoKey, label)
	case e.Purpose == purpose.DataWrapping:
		return nil, fmt.Errorf("%w: %q wraps data keys", ErrPurpose, label)
	case e.State == Disabled:
		return nil, fmt.Errorf("%w: %q is disabled", ErrState, label)
	}
	return &Key{k, e}, nil
}

// Label names the key within its keystore.
func (k *Key) Label() string { return k.entry.Label }

// Public is the key's public half, also after Close. Callers must not change it.
func (k *Key) Public() *ecdsa.PublicKey { return k.entry.Public }

// Sign implements signer.Key: it checks purpose and form, computes e = SM3(Z‖M) and signs (GB/T 32918.2-2016, 6). It
// returns r‖s, 64 bytes. ErrPurpose, purpose.ErrForm, ErrState for a key disabled or closed meanwhile, and ctx's error
// if ctx has ended before. Nonces come from the operating system. Each signature is verified before it leaves; ErrFault if none
// could be had that does.
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
	return checked(e.Public, message, func() ([]byte, error) {
		return e.private.SignWithSM2(rand.Reader, []byte(signerID), message)
	})
}

// attempts is how often a message is signed before the machine is given up.
const attempts = 3

// checked signs until the signature verifies. A wrong one would be refused for good by whoever gets it, and from a fault that
// an attacker brings about the key itself could be computed: it never leaves.
func checked(public *ecdsa.PublicKey, message []byte, sign func() (der []byte, err error)) ([]byte, error) {
	for range attempts {
		der, err := sign()
		if err != nil {
			return nil, fmt.Errorf("softkey: sign: %w", err)
		}
		if sm2.VerifyASN1WithSM2(public, []byte(signerID), message, der) {
			return rs(der)
		}
	}
	return nil, ErrFault
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
