package issuing

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/signer"
	"github.com/elicence/elicence/signer/cms"
	"github.com/elicence/elicence/signer/digest"
	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
	"github.com/elicence/elicence/templates"
)

// FormatVersion is the version of the part file that this program writes.
const FormatVersion = 1

// Signing is a key of one organisation with the certificates that prove it.
type Signing struct {
	Key  signer.Key
	Path []*pki.Certificate // leaf first, without root
}

// Leaf is the signing certificate itself.
func (s Signing) Leaf() *pki.Certificate { return s.Path[0] }

// Keys finds signing keys. Implementations are safe for concurrent use.
type Keys interface {
	// Current returns the organisation's active key for the purpose; ErrKey when there is none at hand.
	Current(ctx context.Context, organisation string, p purpose.Purpose) (Signing, error)
	// ByCertificate returns the key of the certificate with this SM3, active or retired, so that an intent made with
	// it can be finished; ErrKey when it is not at hand or disabled.
	ByCertificate(ctx context.Context, organisation string, sm3 [32]byte) (Signing, error)
}

// DataKey is a licence's own data key, wrapped.
type DataKey struct {
	ID      string
	Wrapped []byte
}

// Vault encrypts parts at rest under the licence's own data key. Implementations are safe for concurrent use.
type Vault interface {
	// NewKey makes a random data key and returns it wrapped.
	NewKey(ctx context.Context) (DataKey, error)
	// Seal returns the bytes to store under their address. Same input, same bytes.
	Seal(ctx context.Context, key DataKey, licenceID string, nonce, plain []byte) (Object, error)
	// Open is the way back; it fails if object or any byte is not what Seal returned.
	Open(ctx context.Context, key DataKey, licenceID, object string, stored []byte) ([]byte, error)
	// KeyObject is the deletable copy of the wrapped key, with what the records have of the licence beside its parts, sealed
	// by that key: from both the records can be rebuilt. Same input, same bytes.
	KeyObject(ctx context.Context, key DataKey, l Licence) (Object, error)
}

// SelfCheck verifies a part as a stranger would, right after signing and before anything is promised.
type SelfCheck func(ctx context.Context, file []byte) error

// Renderer draws parts. *templates.Set is one.
type Renderer interface {
	Type(name string) (*licence.Type, error)
	CheckGlyphs(typeName string, document map[string]any, extra ...string) error
	Render(p templates.Part) (*templates.Unsigned, error)
	Slip(p templates.Part) ([]byte, error)
}

// Records is what issuing needs of the records in one value; the small interfaces say what each verb uses.
type Records interface {
	Claims
	Lookup
	Journal
	Trail
}

// Config says how an installation issues.
type Config struct {
	Specimen    bool        // the signing chain is not a production one
	Profile     cms.Profile // content OIDs of the CMS
	StatusSpace uint64      // places in the status list; at least twice the licences ever expected
	MaxAttempts int         // a licence that failed this often in one process is parked
	// Patience is how long ResumeAll leaves an unfinished licence to the process that took it up; zero where no other
	// process issues.
	Patience  time.Duration
	Zone      *time.Location // dates on paper are local dates
	Receivers []Receiver     // who is told of what; deliveries are written for them alone
}

// Receiver is an organisation that licences are delivered to.
type Receiver struct {
	Organisation string // code
	Topics       []string
}

// Topics of deliveries.
const (
	TopicParts    = "parts"     // all parts of every licence that is issued
	TopicHandOver = "hand-over" // the part that is handed over to the receiver itself
)

// Service issues and moves licences. It is safe for concurrent use; every method may be interrupted at any instant and
// called again.
type Service struct {
	records  Records
	objects  Objects
	keys     Keys
	vault    Vault
	render   Renderer
	check    SelfCheck
	register Directory
	now      Clock
	random   io.Reader
	config   Config
	memo     digest.Memo // parts of one type begin alike
	hands    hands
}

// Needs are the parts of a Service, all needed but Random.
type Needs struct {
	Records   Records
	Objects   Objects
	Keys      Keys
	Vault     Vault
	Renderer  Renderer
	SelfCheck SelfCheck
	Directory Directory
	Now       Clock
	Random    io.Reader // crypto/rand.Reader when nil
}

// New makes a Service; a missing part is an error here and not at the first birth.
func New(n Needs, c Config) (*Service, error) {
	switch {
	case n.Records == nil, n.Objects == nil, n.Keys == nil, n.Vault == nil, n.Renderer == nil, n.SelfCheck == nil,
		n.Directory == nil, n.Now == nil:
		return nil, errors.New("issuing: a needed part is missing")
	case c.StatusSpace == 0 || c.Zone == nil:
		return nil, errors.New("issuing: status space and zone must be set")
	}
	if n.Random == nil {
		n.Random = rand.Reader
	}
	if c.MaxAttempts == 0 {
		c.MaxAttempts = 3
	}
	return &Service{
		records: n.Records, objects: n.Objects, keys: devices{n.Keys}, vault: safe{n.Vault}, render: n.Renderer, check: n.SelfCheck,
		register: n.Directory, now: n.Now, random: n.Random, config: c,
	}, nil
}

// Specimen reports whether what this service signs is marked as specimen.
func (s *Service) Specimen() bool { return s.config.Specimen }

func (s *Service) fill(b []byte) error {
	if _, err := io.ReadFull(s.random, b); err != nil {
		return fmt.Errorf("issuing: random: %w", err)
	}
	return nil
}
