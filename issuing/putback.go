package issuing

import (
	"context"
	"fmt"

	"github.com/elicence/elicence/licence"
)

// PutBack stores the parts of an issued licence again, from what is recorded of it: the same bytes at the same addresses.
// Nothing is signed. ErrEvidence if this program would draw other bytes than were signed: then only a copy helps. Parts that
// are there are adopted.
func (s *Service) PutBack(ctx context.Context, l Licence) error {
	if l.Stage != StageIssued || len(l.Signatures.Parts) != len(l.Parts) {
		return fmt.Errorf("%w: licence %s is %s", licence.ErrState, l.Number, l.Stage)
	}
	signing, err := s.keys.ByCertificate(ctx, l.Issuer, l.DocumentKey)
	if err != nil {
		return err
	}
	p, err := s.plan(l)
	if err != nil {
		return err
	}
	for i, recorded := range l.Signatures.Parts {
		u, err := s.toSign(l, p, l.Signatures.Credential, signing.Path, i)
		if err != nil {
			return err
		}
		file, sum, err := u.signed(s.config.Profile, recorded.RS, signing.Path)
		if err != nil {
			return err
		}
		if sum != recorded.SM3 {
			return fmt.Errorf("%w: part %s of %s: this program draws other bytes than were signed", ErrEvidence, recorded.Part, l.Number)
		}
		stored, err := s.vault.Seal(ctx, DataKey{ID: l.DataKeyID, Wrapped: l.DataKey}, l.ID, recorded.Nonce, file)
		if err != nil {
			return err
		}
		if stored.Key() != recorded.Address {
			return fmt.Errorf("%w: part %s would be stored elsewhere than recorded", licence.ErrState, recorded.Part)
		}
		if err := s.objects.Put(ctx, stored); err != nil {
			return fmt.Errorf("part %s of %s: %w", recorded.Part, l.Number, err)
		}
	}
	return nil
}
