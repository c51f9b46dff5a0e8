package issuing

import (
	"context"
	"fmt"

	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/signer/cms"
	"github.com/elicence/elicence/signer/credential"
	"github.com/elicence/elicence/signer/digest"
	"github.com/elicence/elicence/signer/pdf"
	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
	"github.com/elicence/elicence/templates"
)

// part is one built part on its way into storage.
type part struct {
	name   string
	stored Object // encrypted
}

// plan is everything about a licence that does not depend on a signature value.
type plan struct {
	typ      *licence.Type
	document map[string]any
	fields   []credential.Field
	payload  credential.Payload
}

// codeFits refuses, before a number is used, a licence whose credential would not fit into its code. What Begin chooses
// stands in with its greatest length.
func (s *Service) codeFits(in Intent, typ *licence.Type, document map[string]any) error {
	longest, err := typ.Identifier(in.Issuer, longestSerial, 1)
	if err != nil {
		return err
	}
	in.Identifier, in.StatusIndex = longest.String(), s.config.StatusSpace-1
	if in.Number == "" {
		in.Number = "X000000000"
	}
	// The field tree's root is as long as any other: it is not worth computing here.
	p := s.payload(Licence{Intent: in}, typ, document, len(typ.Fields), [32]byte{})
	if _, err := p.Size(); err != nil {
		return fmt.Errorf("%w: %w", licence.ErrRefused, err)
	}
	return nil
}

// longestSerial has as many digits as an identifier ever shows.
const longestSerial = 999_999_999

func (s *Service) plan(l Licence) (plan, error) {
	typ, err := s.render.Type(l.Type)
	if err != nil {
		return plan{}, err
	}
	recorded, err := licence.Open(l.Request)
	if err != nil {
		return plan{}, fmt.Errorf("recorded request of %s: %w", l.Number, err)
	}
	p := plan{typ: typ, document: recorded.Document}
	for _, pointer := range typ.Fields {
		p.fields = append(p.fields, credential.Field{
			Pointer: pointer, Salt: credential.FieldSalt(l.Seed, pointer), Value: licence.Value(recorded.Document, pointer),
		})
	}
	root, err := credential.Root(l.TypeVersion, p.fields)
	if err != nil {
		return plan{}, err
	}
	p.payload = s.payload(l, typ, recorded.Document, len(p.fields), root)
	return p, nil
}

func (s *Service) payload(l Licence, typ *licence.Type, document map[string]any, fields int, root [32]byte) credential.Payload {
	p := credential.Payload{
		Identifier: l.Identifier, Number: l.Number, Type: l.Type, Parts: len(l.Parts), Issuer: l.Issuer,
		IssueDate: l.IssueTime.In(s.config.Zone).Format("2006-01-02"), StatusIndex: l.StatusIndex, Specimen: l.Specimen,
		TreeSize: fields, TreeRoot: root,
	}
	for _, c := range typ.Clear {
		v := licence.Value(document, c.Pointer)
		if text, ok := v.(string); ok && c.Mask {
			v = credential.Mask(text)
		}
		p.Clear = append(p.Clear, credential.Clear{Key: c.Key, Value: v})
	}
	return p
}

// sign is the second commit: credential, then each part, self-checked, then recorded. Nothing leaves before it is
// recorded, so at most one signature per slot ever leaves the process.
func (s *Service) sign(ctx context.Context, l *Licence) ([]part, error) {
	signing, err := s.keys.ByCertificate(ctx, l.Issuer, l.DocumentKey)
	if err != nil {
		return nil, err
	}
	p, err := s.plan(*l)
	if err != nil {
		return nil, err
	}
	signed := Signatures{Abandoned: l.Signatures.Abandoned}
	if signed.Credential, err = credential.Sign(ctx, signing.Key, signing.Leaf(), p.payload); err != nil {
		return nil, err
	}
	built := make([]part, len(l.Parts))
	for i, name := range l.Parts {
		nonce := make([]byte, 12)
		if err := s.fill(nonce); err != nil {
			return nil, err
		}
		ps := PartSignature{Part: name, Nonce: nonce}
		u, err := s.toSign(*l, p, signed.Credential, signing.Path, i)
		if err != nil {
			return nil, err
		}
		if ps.RS, err = signing.Key.Sign(ctx, purpose.CMSAttributes, u.attributes); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrKey, err)
		}
		file, sum, err := u.signed(s.config.Profile, ps.RS, signing.Path)
		if err != nil {
			return nil, err
		}
		if err := s.check(ctx, file); err != nil {
			return nil, fmt.Errorf("%w: self-check of %s: %w", ErrEvidence, name, err)
		}
		ps.SM3, ps.Size = sum, int64(len(file))
		built[i].name = name
		built[i].stored, err = s.vault.Seal(ctx, DataKey{ID: l.DataKeyID, Wrapped: l.DataKey}, l.ID, nonce, file)
		if err != nil {
			return nil, err
		}
		ps.Address = built[i].stored.Key()
		signed.Parts = append(signed.Parts, ps)
	}
	if err := s.records.CommitSigned(ctx, l.ID, l.Epoch, signed); err != nil {
		return nil, err
	}
	l.Stage, l.Signatures = StageSigned, signed
	return built, nil
}

// rebuild makes the recorded bytes again. If this program version would build other bytes, the licence is signed anew
// and the old addresses are noted as abandoned: a stored object may exist there that nobody will be shown.
func (s *Service) rebuild(ctx context.Context, l *Licence) ([]part, error) {
	signing, err := s.keys.ByCertificate(ctx, l.Issuer, l.DocumentKey)
	if err != nil {
		return nil, err
	}
	p, err := s.plan(*l)
	if err != nil {
		return nil, err
	}
	built := make([]part, len(l.Parts))
	for i, name := range l.Parts {
		recorded := l.Signatures.Parts[i]
		u, err := s.toSign(*l, p, l.Signatures.Credential, signing.Path, i)
		if err != nil {
			return nil, err
		}
		file, sum, err := u.signed(s.config.Profile, recorded.RS, signing.Path)
		if err != nil {
			return nil, err
		}
		if sum != recorded.SM3 {
			for _, ps := range l.Signatures.Parts {
				l.Signatures.Abandoned = append(l.Signatures.Abandoned, ps.Address)
			}
			return s.sign(ctx, l)
		}
		stored, err := s.vault.Seal(ctx, DataKey{ID: l.DataKeyID, Wrapped: l.DataKey}, l.ID, recorded.Nonce, file)
		if err != nil {
			return nil, err
		}
		if stored.Key() != recorded.Address {
			return nil, fmt.Errorf("%w: part %s would be stored elsewhere than recorded", licence.ErrState, name)
		}
		built[i] = part{name: name, stored: stored}
	}
	return built, nil
}

// draw renders part i with its disclosure inside and the room for the signature.
func (s *Service) draw(l Licence, p plan, cred []byte, path []*pki.Certificate, i int) (*templates.Unsigned, error) {
	disclosure := credential.Disclosure{
		Type: l.Type, SchemaVersion: l.TypeVersion, Identifier: l.Identifier, Number: l.Number,
		Part: l.Parts[i], PartIndex: i + 1, Parts: len(l.Parts), Issuer: l.Issuer, Specimen: l.Specimen,
		Handle: l.Handle, PartSalt: partSalt(l.Seed, l.Parts[i]), Credential: cred, Fields: p.fields,
	}
	for _, c := range p.typ.Clear {
		disclosure.ClearSpec = append(disclosure.ClearSpec, credential.ClearField{Key: c.Key, Pointer: c.Pointer, Mask: c.Mask})
	}
	embedded, err := disclosure.Encode()
	if err != nil {
		return nil, err
	}
	room, err := cms.Room(s.config.Profile, path)
	if err != nil {
		return nil, err
	}
	in := s.page(l, p, cred)
	in.Part, in.PartIndex, in.LicenceJSON, in.Room, in.SignerName = l.Parts[i], i+1, embedded, room, path[0].OrganisationName()
	return s.render.Render(in)
}

// page is what every drawing of a licence shares.
func (s *Service) page(l Licence, p plan, cred []byte) templates.Part {
	return templates.Part{
		Type: l.Type, Parts: len(l.Parts), Document: p.document, Number: l.Number, Identifier: l.Identifier,
		Issuer:      licence.Organisation{Code: l.Issuer, Name: l.IssuerName, Region: l.IssuerRegion},
		IssueTime:   l.IssueTime.In(s.config.Zone),
		SigningTime: l.SigningTime.In(s.config.Zone),
		SignerName:  l.IssuerName,
		Code:        credential.EncodeText(cred), Specimen: l.Specimen, DocumentKind: l.Kind,
	}
}

// unsigned is a drawn part with what its signature is made over.
type unsigned struct {
	*templates.Unsigned
	begun      digest.Begun // all before the room for the signature
	attributes []byte
}

// toSign draws part i and makes its signed attributes.
func (s *Service) toSign(l Licence, p plan, cred []byte, path []*pki.Certificate, i int) (u unsigned, err error) {
	if u.Unsigned, err = s.draw(l, p, cred, path, i); err != nil {
		return u, err
	}
	if u.begun, err = s.memo.Begin(u.File[:u.ContentsAt]); err != nil {
		return u, err
	}
	covered, err := u.begun.Sum(u.File[u.ContentsAt+u.ContentsLen:])
	if err != nil {
		return u, err
	}
	u.attributes, err = s.config.Profile.SignedAttributes(covered, l.SigningTime, path)
	return u, err
}

// signed fills the signature into its room and returns the file with its SM3.
func (u unsigned) signed(profile cms.Profile, rs []byte, path []*pki.Certificate) (file []byte, sum [32]byte, err error) {
	der, err := cms.Assemble(profile, u.attributes, rs, path)
	if err != nil {
		return nil, sum, err
	}
	if err := pdf.Fill(u.File, u.ContentsAt, der); err != nil {
		return nil, sum, err
	}
	sum, err = u.begun.Sum(u.File[u.ContentsAt:])
	return u.File, sum, err
}

// Draw renders one part of a recorded licence again, unsigned: the same bytes as at its issue, with an empty signature.
func (s *Service) Draw(ctx context.Context, l Licence, index int) ([]byte, error) {
	signing, err := s.keys.ByCertificate(ctx, l.Issuer, l.DocumentKey)
	if err != nil {
		return nil, err
	}
	p, err := s.plan(l)
	if err != nil {
		return nil, err
	}
	u, err := s.draw(l, p, l.Signatures.Credential, signing.Path, index)
	if err != nil {
		return nil, err
	}
	return u.File, nil
}

// Slip draws the small page that the holder takes home: number, code and what to do with them. It is not signed.
func (s *Service) Slip(l Licence) ([]byte, error) {
	p, err := s.plan(l)
	if err != nil {
		return nil, err
	}
	in := s.page(l, p, l.Signatures.Credential)
	in.Part, in.PartIndex = l.Parts[0], 1
	return s.render.Slip(in)
}

// Part returns the plain bytes of one stored part after checking them against the record.
func (s *Service) Part(ctx context.Context, l Licence, name string) ([]byte, error) {
	for _, p := range l.Signatures.Parts {
		if p.Part != name {
			continue
		}
		stored, err := s.objects.Get(ctx, p.Address)
		if err != nil {
			return nil, fmt.Errorf("part %s of %s: %w", name, l.Number, err)
		}
		plain, err := s.vault.Open(ctx, DataKey{ID: l.DataKeyID, Wrapped: l.DataKey}, l.ID, p.Address, stored)
		if err != nil {
			return nil, fmt.Errorf("part %s of %s: %w", name, l.Number, err)
		}
		if s.memo.Sum(plain) != p.SM3 {
			return nil, fmt.Errorf("part %s of %s: %w: the stored file is not the signed one", name, l.Number, ErrEvidence)
		}
		return plain, nil
	}
	return nil, fmt.Errorf("%w: licence %s has no part %s", licence.ErrNotFound, l.Number, name)
}
