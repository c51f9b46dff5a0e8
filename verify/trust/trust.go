package trust

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"fmt"
	"time"

	"github.com/emmansun/gmsm/sm3"

	"github.com/elicence/elicence/signer"
	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
	"github.com/elicence/elicence/verify/signedjson"
)

// zone is where the texts for people are dated: UTC+08:00.
var zone = time.FixedZone("", 8*3600)

type signature struct {
	Algorithm string `json:"algorithm"`
	PublicKey []byte `json:"publicKey"` // SubjectPublicKeyInfo, DER
	Value     []byte `json:"value"`     // r‖s
}

// Sign checks c, signs it with the operator's key (purpose "trust", public key pub) and returns the
// file. Nil lists become empty ones and times whole seconds. The file has been parsed again when it is
// returned, so what leaves is what readers accept. c is not kept.
func Sign(ctx context.Context, key signer.Key, pub *ecdsa.PublicKey, c Content) ([]byte, error) {
	raw, err := signedjson.Marshal(normal(c))
	if err != nil {
		return nil, fmt.Errorf("sign the trust file: %w", err)
	}
	spki, err := pki.MarshalPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("sign the trust file: %w", err)
	}
	rs, err := key.Sign(ctx, purpose.Trust, signedjson.Message(Format, raw))
	if err != nil {
		return nil, fmt.Errorf("sign the trust file: %w", err)
	}
	s, err := signedjson.Marshal(signature{signedjson.Algorithm, spki, rs})
	if err != nil {
		return nil, fmt.Errorf("sign the trust file: %w", err)
	}
	file := signedjson.Join(Format, raw, s)
	if _, err := Parse(file); err != nil {
		return nil, fmt.Errorf("sign the trust file: readers would refuse it: %w", err)
	}
	return file, nil
}

// normal writes empty lists as [] and times in the one zone: null has no place in the format.
func normal(c Content) Content {
	c.Certificates = list(c.Certificates)
	c.Cosigners = list(c.Cosigners)
	c.CRLs = list(c.CRLs)
	c.Intermediates = list(c.Intermediates)
	c.Logs = list(c.Logs)
	c.Organisations = list(c.Organisations)
	c.ProductionRoots = list(c.ProductionRoots)
	c.Roots = list(c.Roots)
	c.Status = list(c.Status)
	c.Issued, c.Expires = second(c.Issued), second(c.Expires)
	for i := range c.Certificates {
		e := &c.Certificates[i]
		if !e.From.IsZero() {
			e.From = second(e.From)
		}
		if !e.Until.IsZero() {
			e.Until = second(e.Until)
		}
	}
	return c
}

// list copies, so that normal does not write into the caller's slices.
func list[T any](in []T) []T { return append(make([]T, 0, len(in)), in...) }

func second(t time.Time) time.Time { return t.Truncate(time.Second).In(zone) }

// File is a parsed trust file whose signature verifies under the public key that it carries. That says
// nothing about whether to trust that key: see CheckPin. It does not change: share it.
type File struct {
	content     Content
	fingerprint [32]byte
	pin         [32]byte

	organisations map[string]Organisation
	entries       map[[32]byte]*Entry
	cosigners     []*CosignerEntry
	roots         []*pki.Certificate
	intermediates []*pki.Certificate
	crls          []*pki.CRL
	production    map[[32]byte]bool
}

// Entry is a listed signing certificate, parsed.
type Entry struct {
	Certificate  *pki.Certificate
	Organisation Organisation
	Purpose      purpose.Purpose
	From, Until  time.Time // zero: no narrower than the certificate's own validity
}

// In reports whether t lies within the operator's From and Until, both included.
func (e *Entry) In(t time.Time) bool {
	return (e.From.IsZero() || !t.Before(e.From)) && (e.Until.IsZero() || !t.After(e.Until))
}

// CosignerEntry is a listed cosigner, parsed.
type CosignerEntry struct {
	Name         string
	Organisation Organisation
	Certificate  *pki.Certificate
}

// Parse reads a trust file and verifies its signature under the key that it carries. Errors wrap
// ErrFormat or ErrSignature. Expiry is not judged here: the caller has the clock.
func Parse(b []byte) (*File, error) {
	if len(b) > MaxFile {
		return nil, fmt.Errorf("%w: larger than %d bytes", ErrFormat, MaxFile)
	}
	rawContent, rawSignature, err := signedjson.Split(Format, b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	var s signature
	if err := signedjson.Unmarshal(rawSignature, &s); err != nil {
		return nil, fmt.Errorf("%w: signature: %w", ErrFormat, err)
	}
	if s.Algorithm != signedjson.Algorithm || len(s.Value) != 64 {
		return nil, fmt.Errorf("%w: signature: not a 64-byte %s value", ErrFormat, signedjson.Algorithm)
	}
	pub, err := pki.ParsePublicKey(s.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("%w: signature: public key: %w", ErrFormat, err)
	}
	// The signature is checked before the content is looked into: a stranger's bytes end here.
	if err := pki.VerifyRS(pub, signedjson.Message(Format, rawContent), s.Value); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	var c Content
	if err := signedjson.Unmarshal(rawContent, &c); err != nil {
		return nil, fmt.Errorf("%w: content: %w", ErrFormat, err)
	}
	again, err := signedjson.Marshal(normal(c))
	if err != nil || !bytes.Equal(again, rawContent) {
		return nil, fmt.Errorf("%w: content: null list, or a time that is not whole seconds in UTC+08:00", ErrFormat)
	}
	f := &File{content: normal(c), fingerprint: sm3.Sum(b), pin: sm3.Sum(s.PublicKey)}
	if err := f.index(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return f, nil
}

// Name is the scheme's name.
func (f *File) Name() Name { return f.content.Name }

// Sequence grows from file to file.
func (f *File) Sequence() uint64 { return f.content.Sequence }

// Issued is when the operator signed.
func (f *File) Issued() time.Time { return f.content.Issued }

// Expires is the time after which a reader needs a newer file.
func (f *File) Expires() time.Time { return f.content.Expires }

// Specimen reports whether the whole scheme is a demonstration.
func (f *File) Specimen() bool { return f.content.Specimen }

// CosignaturesNeeded is how many organisations other than the signer prove a time together.
func (f *File) CosignaturesNeeded() int { return f.content.CosignaturesNeeded }

// Fingerprint is the SM3 of the whole file, printed with every verdict.
func (f *File) Fingerprint() [32]byte { return f.fingerprint }

// Pin is the SM3 of the operator's SubjectPublicKeyInfo: what readers pin.
func (f *File) Pin() [32]byte { return f.pin }

// CheckPin returns ErrPin unless the file is signed by the key with this SM3.
func (f *File) CheckPin(pin [32]byte) error {
	if f.pin != pin {
		return fmt.Errorf("%w: signed by %s, pinned is %s", ErrPin, SM3(f.pin), SM3(pin))
	}
	return nil
}

// Content returns a copy of what the file says; its byte slices are shared and must not be written to.
func (f *File) Content() Content { return normal(f.content) }

// Organisation finds an organisation by its code.
func (f *File) Organisation(code string) (Organisation, bool) {
	o, ok := f.organisations[code]
	return o, ok
}

// Certificate finds a listed signing certificate by its SM3.
func (f *File) Certificate(sum [32]byte) (*Entry, bool) {
	e, ok := f.entries[sum]
	return e, ok
}

// Logs finds the certificates that may sign checkpoints of the log with this origin.
func (f *File) Logs(origin string) []*Entry {
	var out []*Entry
	for _, l := range f.content.Logs {
		if l.Origin == origin {
			out = append(out, f.entries[l.Certificate])
		}
	}
	return out
}

// Cosigners are all cosigners. The slice must not be written to.
func (f *File) Cosigners() []*CosignerEntry { return f.cosigners }

// Roots are the trust anchors. The slice must not be written to.
func (f *File) Roots() []*pki.Certificate { return f.roots }

// Intermediates are CA certificates for building paths. The slice must not be written to.
func (f *File) Intermediates() []*pki.Certificate { return f.intermediates }

// CRLs are the revocation lists. The slice must not be written to.
func (f *File) CRLs() []*pki.CRL { return f.crls }

// Production reports whether licences under the root with this SM3 are real ones.
func (f *File) Production(root [32]byte) bool { return !f.content.Specimen && f.production[root] }

// StatusFor finds the certificate with this SM3 if it may sign status lists for the issuer.
func (f *File) StatusFor(sum [32]byte, issuer string) (*Entry, bool) {
	for _, s := range f.content.Status {
		if s.Certificate != sum {
			continue
		}
		if len(s.Issuers) == 0 {
			return f.entries[sum], true
		}
		for _, code := range s.Issuers {
			if code == issuer {
				return f.entries[sum], true
			}
		}
	}
	return nil, false
}
