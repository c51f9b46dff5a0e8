package issuing

import (
	"context"
	"errors"
	"fmt"

	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/signer"
	"github.com/elicence/elicence/signer/purpose"
)

// devices says of every failure of a key device that it is one, so that a device that is away is waited for and parks
// no licence.
type devices struct{ keys Keys }

func (d devices) Current(ctx context.Context, organisation string, p purpose.Purpose) (Signing, error) {
	s, err := d.keys.Current(ctx, organisation, p)
	return watched(s), err
}

func (d devices) ByCertificate(ctx context.Context, organisation string, sm3 [32]byte) (Signing, error) {
	s, err := d.keys.ByCertificate(ctx, organisation, sm3)
	return watched(s), err
}

func watched(s Signing) Signing {
	s.Key = device{s.Key}
	return s
}

type device struct{ signer.Key }

func (d device) Sign(ctx context.Context, form purpose.Form, message []byte) ([]byte, error) {
	rs, err := d.Key.Sign(ctx, form, message)
	if err != nil && !errors.Is(err, purpose.ErrForm) { // that one is our own fault, and waiting cures nothing
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return rs, err
}

// safe is a vault whose key, too, may be away for a while.
type safe struct{ Vault }

func (s safe) NewKey(ctx context.Context) (DataKey, error) {
	k, err := s.Vault.NewKey(ctx)
	return k, away(err)
}

func (s safe) Seal(ctx context.Context, key DataKey, licenceID string, nonce, plain []byte) (Object, error) {
	o, err := s.Vault.Seal(ctx, key, licenceID, nonce, plain)
	return o, away(err)
}

func away(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: vault: %w", licence.ErrUnavailable, err)
}
