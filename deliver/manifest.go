// Package deliver pushes licences to the organisations that are to have them: the files of a delivery, with a manifest that
// the sender's event key has signed, through an exchange folder or by HTTPS. What is delivered is handed in; when, and how
// often it is tried, is the business of package due.
package deliver

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/emmansun/gmsm/sm3"

	"github.com/elicence/elicence/signer"
	"github.com/elicence/elicence/signer/cose"
	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
)

// Version of the manifest that this program writes and reads.
const Version = 1

// Type stands in the protected header of a manifest.
const Type = "elicence/delivery/1"

// ManifestName is the manifest's file name beside the files that it lists.
const ManifestName = "manifest.cose"

// Bounds of a manifest.
const (
	MaxManifest = 16 << 10 // bytes, signature included
	MaxFiles    = 16
	maxName     = 128
	maxText     = 256
)

var (
	// ErrManifest says that bytes are not one manifest in our form.
	ErrManifest = errors.New("deliver: not a manifest in our form")
	// ErrSignature says that a manifest was not signed by the certificate that it was held to.
	ErrSignature = errors.New("deliver: the manifest's signature does not fit")
	// ErrFiles says that the files are not those that the manifest lists.
	ErrFiles = errors.New("deliver: the files are not those of the manifest")
)

// Topics of deliveries.
const (
	TopicParts    = "parts"     // every part of a licence with its receipt, when it is issued
	TopicHandOver = "hand-over" // the part that is offered to an archive, with the event that offers it
)

// Topics returns all topics.
func Topics() []string { return []string{TopicParts, TopicHandOver} }

// Roles of files.
const (
	RolePart    = "part"    // a signed PDF
	RoleReceipt = "receipt" // of the licence's issue
	RoleEvent   = "event"   // a COSE event
)

// File is one file of a delivery.
type File struct {
	Name      string // as it is stored and sent
	Role      string
	Part      string // with RolePart: which
	MediaType string
	Size      int64 // bytes
	SM3       [32]byte
}

// Manifest says who delivers what to whom.
type Manifest struct {
	Key        string // 32 hex digits; the same for every repeat of this delivery
	Topic      string
	Time       time.Time // when this manifest was made; of a repeat, that of the repeat. Microseconds
	Sender     string    // organisation code; its event key signs
	Receiver   string    // organisation code
	Number     string    // of the licence
	Identifier string    // of the licence, GB/T 36904
	Licence    string    // licence type
	Files      []File
}

type wireManifest struct {
	Version    int        `cbor:"1,keyasint"`
	Key        []byte     `cbor:"2,keyasint"`
	Topic      string     `cbor:"3,keyasint"`
	Time       int64      `cbor:"4,keyasint"`
	Sender     string     `cbor:"5,keyasint"`
	Receiver   string     `cbor:"6,keyasint"`
	Number     string     `cbor:"7,keyasint"`
	Identifier string     `cbor:"8,keyasint"`
	Licence    string     `cbor:"9,keyasint"`
	Files      []wireFile `cbor:"10,keyasint"`
}

type wireFile struct {
	_         struct{} `cbor:",toarray"`
	Name      string
	Role      string
	Part      string
	MediaType string
	Size      int64
	SM3       []byte
}

// check says what is wrong with a manifest, "" for nothing.
func (m *Manifest) check() string {
	if b, err := hex.DecodeString(m.Key); err != nil || len(b) != 16 || hex.EncodeToString(b) != m.Key {
		return "the key"
	}
	if m.Topic != TopicParts && m.Topic != TopicHandOver {
		return "the topic"
	}
	if !isCode(m.Sender) || !isCode(m.Receiver) {
		return "sender or receiver"
	}
	for _, text := range []string{m.Number, m.Identifier, m.Licence} {
		if text == "" || len(text) > maxText {
			return "number, identifier or licence type"
		}
	}
	if m.Time.UnixMicro() <= 0 {
		return "the time"
	}
	if len(m.Files) == 0 || len(m.Files) > MaxFiles {
		return "how many files there are"
	}
	names := map[string]bool{ManifestName: true}
	for _, f := range m.Files {
		if !isFileName(f.Name) || names[f.Name] {
			return "the name of a file"
		}
		names[f.Name] = true
		if f.Role != RolePart && f.Role != RoleReceipt && f.Role != RoleEvent || (f.Role == RolePart) != (f.Part != "") || len(f.Part) > maxName {
			return "the role of a file"
		}
		if f.MediaType == "" || len(f.MediaType) > maxName || f.Size < 0 {
			return "media type or size of a file"
		}
	}
	return ""
}

// isCode: the shape of a unified social credit code, 18 digits and capital letters.
func isCode(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return len(s) == 18
}

// isFileName: a name that is safe in every folder: it neither leaves it nor hides in it.
func isFileName(s string) bool {
	if s == "" || len(s) > maxName || s[0] == '.' || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '.' && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

func (m *Manifest) encode() ([]byte, error) {
	if why := m.check(); why != "" {
		return nil, fmt.Errorf("%w: %s", ErrManifest, why)
	}
	key, err := hex.DecodeString(m.Key)
	if err != nil {
		return nil, err
	}
	w := wireManifest{Version: Version, Key: key, Topic: m.Topic, Time: m.Time.UnixMicro(), Sender: m.Sender, Receiver: m.Receiver,
		Number: m.Number, Identifier: m.Identifier, Licence: m.Licence}
	for _, f := range m.Files {
		w.Files = append(w.Files, wireFile{Name: f.Name, Role: f.Role, Part: f.Part, MediaType: f.MediaType, Size: f.Size, SM3: f.SM3[:]})
	}
	return cose.Marshal(w)
}

// Sign signs a manifest with the sender's event key. ErrManifest if it breaks a rule of form; ErrSignature if the
// certificate is not the sender's.
func Sign(ctx context.Context, key signer.Key, cert *pki.Certificate, m Manifest) ([]byte, error) {
	if cert.OrganisationCode() != m.Sender || cert.Purpose() != purpose.Events {
		return nil, fmt.Errorf("%w: the certificate is not the sender's for events", ErrSignature)
	}
	payload, err := m.encode()
	if err != nil {
		return nil, err
	}
	p := cose.Protected{Type: Type, Certificate: cert.SM3()}
	message, err := cose.ToBeSigned(p, purpose.AADDelivery, payload)
	if err != nil {
		return nil, fmt.Errorf("deliver: %w", err)
	}
	rs, err := key.Sign(ctx, purpose.Delivery, message)
	if err != nil {
		return nil, fmt.Errorf("deliver: sign: %w", err)
	}
	b, err := cose.Assemble(p, payload, rs)
	if err != nil {
		return nil, fmt.Errorf("deliver: %w", err)
	}
	if len(b) > MaxManifest {
		return nil, fmt.Errorf("%w: %d bytes", ErrManifest, len(b))
	}
	return b, nil
}

// Signed is a manifest as received.
type Signed struct {
	Manifest
	Certificate [32]byte // SM3 of the certificate that signed it, by its own words

	message *cose.Message
}

// Parse reads a signed manifest; the signature is not verified. Anything but the one form that Sign writes is ErrManifest.
func Parse(b []byte) (*Signed, error) {
	if len(b) > MaxManifest {
		return nil, fmt.Errorf("%w: %d bytes", ErrManifest, len(b))
	}
	message, err := cose.Parse(b)
	if err != nil || message.Type != Type {
		return nil, ErrManifest
	}
	var w wireManifest
	if err := cose.UnmarshalCanonical(message.Payload, &w); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	if w.Version != Version {
		return nil, fmt.Errorf("%w: version %d", ErrManifest, w.Version)
	}
	s := Signed{Certificate: message.Certificate, message: message, Manifest: Manifest{
		Key: hex.EncodeToString(w.Key), Topic: w.Topic, Time: time.UnixMicro(w.Time).UTC(), Sender: w.Sender, Receiver: w.Receiver,
		Number: w.Number, Identifier: w.Identifier, Licence: w.Licence,
	}}
	for _, f := range w.Files {
		out := File{Name: f.Name, Role: f.Role, Part: f.Part, MediaType: f.MediaType, Size: f.Size}
		if len(f.SM3) != len(out.SM3) {
			return nil, fmt.Errorf("%w: a digest of %d bytes", ErrManifest, len(f.SM3))
		}
		copy(out.SM3[:], f.SM3)
		s.Files = append(s.Files, out)
	}
	if why := s.check(); why != "" {
		return nil, fmt.Errorf("%w: %s", ErrManifest, why)
	}
	return &s, nil
}

// Verify checks the signature with a certificate that the reader trusts for its own reasons, from the trust file: it must be
// the one that the manifest names, for events, and the sender's. ErrSignature.
func (s *Signed) Verify(cert *pki.Certificate) error {
	if cert.SM3() != s.Certificate || cert.OrganisationCode() != s.Sender || cert.Purpose() != purpose.Events {
		return fmt.Errorf("%w: another certificate", ErrSignature)
	}
	if err := cert.VerifySignature(s.message.ToBeSigned(purpose.AADDelivery), s.message.Signature); err != nil {
		return fmt.Errorf("%w: %w", ErrSignature, err)
	}
	return nil
}

// CheckFiles holds files to the manifest: all that it lists, no other, each with its bytes. ErrFiles.
func (s *Signed) CheckFiles(files map[string][]byte) error {
	if len(files) != len(s.Files) {
		return fmt.Errorf("%w: %d files, the manifest has %d", ErrFiles, len(files), len(s.Files))
	}
	for _, f := range s.Files {
		b, ok := files[f.Name]
		if !ok || int64(len(b)) != f.Size || sm3.Sum(b) != f.SM3 {
			return fmt.Errorf("%w: %s", ErrFiles, f.Name)
		}
	}
	return nil
}
