package ledger

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/signer/pki"
	"github.com/transparency-dev/merkle/proof"
)

// Bounds of a receipt. With two cosignatures no receipt is larger than 6 KB, whatever the event and however long the log.
const (
	MaxReceipt = 12 << 10 // bytes; room for MaxSignatures lines
	MaxPath    = 63       // hashes
)

const receiptFirstLine = "elicence/receipt/1"

var (
	// ErrReceipt says that bytes are not a receipt in its one canonical form.
	ErrReceipt = errors.New("ledger: not a receipt")
	// ErrUnproven says that a receipt is well formed and does not prove what it says.
	ErrUnproven = errors.New("ledger: the receipt proves nothing")
	// ErrUnknownLog says that the receipt is of a log, or its event of a certificate, that the reader does not trust.
	ErrUnknownLog = errors.New("ledger: the receipt is not of a trusted log")
	// ErrCosignatures says that too few trusted parties have cosigned.
	ErrCosignatures = errors.New("ledger: too few cosignatures")
)

// Receipt proves that an event stands in the log: the event, the path to the root, and the signed checkpoint of it.
type Receipt struct {
	Event []byte // COSE Sign1
	Index uint64
	Path  [][HashSize]byte // from the leaf up, RFC 6962, 2.1.1
	Note  *Note
}

// Encode writes the receipt:
//
//	elicence/receipt/1\n
//	event SP base64\n
//	index SP decimal\n
//	base64 of 32 bytes\n        for each hash of the path, from the leaf up
//	\n
//	signed checkpoint
func (r *Receipt) Encode() ([]byte, error) {
	if len(r.Event) == 0 || len(r.Event) > contract.MaxEvent || len(r.Path) > MaxPath || r.Note == nil || r.Index >= r.Note.Checkpoint.Size {
		return nil, fmt.Errorf("%w: event, path, index or checkpoint", ErrReceipt)
	}
	b := []byte(receiptFirstLine + "\nevent ")
	b = append(base64.StdEncoding.AppendEncode(b, r.Event), '\n')
	b = append(strconv.AppendUint(append(b, "index "...), r.Index, 10), '\n')
	for i := range r.Path {
		b = append(base64.StdEncoding.AppendEncode(b, r.Path[i][:]), '\n')
	}
	b = append(append(b, '\n'), r.Note.Encode()...)
	if len(b) > MaxReceipt {
		return nil, fmt.Errorf("%w: %d bytes", ErrReceipt, len(b))
	}
	return b, nil
}

// ParseReceipt reads a receipt; nothing is verified. What it accepts is exactly what Encode writes.
func ParseReceipt(b []byte) (*Receipt, error) {
	if len(b) > MaxReceipt {
		return nil, fmt.Errorf("%w: %d bytes", ErrReceipt, len(b))
	}
	head, note, ok := bytes.Cut(b, []byte("\n\n"))
	if !ok {
		return nil, fmt.Errorf("%w: no empty line", ErrReceipt)
	}
	lines := strings.Split(string(head), "\n")
	if len(lines) < 3 || len(lines) > 3+MaxPath || lines[0] != receiptFirstLine {
		return nil, fmt.Errorf("%w: first lines", ErrReceipt)
	}
	event, ok := strings.CutPrefix(lines[1], "event ")
	index, ok2 := strings.CutPrefix(lines[2], "index ")
	if !ok || !ok2 {
		return nil, fmt.Errorf("%w: first lines", ErrReceipt)
	}
	r := &Receipt{}
	var err error
	if r.Event, err = decodeBase64(event); err != nil {
		return nil, fmt.Errorf("%w: event", ErrReceipt)
	}
	if r.Index, err = strconv.ParseUint(index, 10, 63); err != nil {
		return nil, fmt.Errorf("%w: index", ErrReceipt)
	}
	for _, line := range lines[3:] {
		h, err := decodeHash(line)
		if err != nil {
			return nil, fmt.Errorf("%w: path", ErrReceipt)
		}
		r.Path = append(r.Path, h)
	}
	if r.Note, err = ParseNote(note); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrReceipt, err)
	}
	again, err := r.Encode()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, b) {
		return nil, fmt.Errorf("%w: another spelling of the same", ErrReceipt)
	}
	return r, nil
}

// EncodeReceipt is r.Encode.
func EncodeReceipt(r *Receipt) ([]byte, error) { return r.Encode() }

// Included checks that the path leads from the event to the checkpoint's root. ErrUnproven.
func (r *Receipt) Included() error {
	leaf := LeafHash(r.Event)
	path := make([][]byte, len(r.Path))
	for i := range r.Path {
		path[i] = r.Path[i][:]
	}
	if err := proof.VerifyInclusion(Hasher{}, r.Index, r.Note.Checkpoint.Size, leaf[:], path, r.Note.Checkpoint.Root[:]); err != nil {
		return fmt.Errorf("%w: the path does not lead to the checkpoint's root", ErrUnproven)
	}
	return nil
}

// Hashes makes a proof's slices arrays.
func Hashes(path [][]byte) ([][HashSize]byte, error) {
	hashes := make([][HashSize]byte, len(path))
	for i, h := range path {
		if len(h) != HashSize {
			return nil, fmt.Errorf("%w: a hash of %d bytes", ErrReceipt, len(h))
		}
		hashes[i] = [HashSize]byte(h)
	}
	return hashes, nil
}

// Outcome is a sequencer's answer for one event: its place in the log, or why it has none.
type Outcome struct {
	Hash    [32]byte
	Index   uint64 // meaningless if refused
	Refusal *contract.Refusal
}

// Party is a log or a cosigner that the reader's trust file names. A party that changed its key stands twice.
type Party struct {
	Name        string // on the signature line; a log's is its origin
	Certificate *pki.Certificate
}

// Trust is what a receipt is checked against: all of it comes from the trust file, nothing from the receipt.
type Trust struct {
	Logs      []Party
	Cosigners []Party
	// Needed is how many different organisations, none of them the event's actor, must have cosigned.
	Needed int
	// Actor finds the event certificate with this SM3; nil if the reader does not trust it.
	Actor func(sm3 [32]byte) *pki.Certificate
}

// Vouching is one good cosignature.
type Vouching struct {
	Name         string
	Organisation string // code
	At           time.Time
	Certificate  *pki.Certificate
}

// Evidence is what a good receipt proves.
type Evidence struct {
	Event       *contract.Signed
	Actor       *pki.Certificate
	Log         *pki.Certificate // that signed the checkpoint
	Index       uint64
	Checkpoint  Checkpoint
	Cosigned    []Vouching // good and counting: one for each organisation, earliest first
	CosignedAt  time.Time  // when the needed number of organisations had seen the event; zero if none are needed
	NotCounting []string   // names of trusted cosigners whose line is good and does not count: the actor's own, or a second of one organisation
}

// Check verifies the receipt off line: the event's signature with its actor's certificate, the path, the log's signature
// and the cosignatures. It does not judge custody: that the contract accepted the event is what log and cosigners vouch
// for. Whether certificates were revoked is the caller's to ask. Errors wrap ErrUnproven, ErrUnknownLog, ErrSignature or
// ErrCosignatures.
func (r *Receipt) Check(t Trust) (*Evidence, error) {
	event, err := contract.ParseEvent(r.Event)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnproven, err)
	}
	e := &Evidence{Event: event, Index: r.Index, Checkpoint: r.Note.Checkpoint}
	if t.Actor != nil {
		e.Actor = t.Actor(event.Certificate)
	}
	if e.Actor == nil {
		return nil, fmt.Errorf("%w: the event's certificate is not trusted", ErrUnknownLog)
	}
	if e.Actor.OrganisationCode() != event.Event.Actor {
		return nil, fmt.Errorf("%w: the event's certificate is not its actor's", ErrUnproven)
	}
	if err := event.Verify(e.Actor); err != nil {
		return nil, fmt.Errorf("%w: the event: %w", ErrSignature, err)
	}
	if !within(e.Actor, time.UnixMicro(event.Event.Time)) {
		return nil, fmt.Errorf("%w: the actor's certificate was not valid then", ErrUnproven)
	}
	if err := r.Included(); err != nil {
		return nil, err
	}
	if e.Log, err = r.Note.signedBy(t.Logs); err != nil {
		return nil, err
	}
	r.Note.vouched(t.Cosigners, event.Event.Actor, e)
	if len(e.Cosigned) < t.Needed {
		return nil, fmt.Errorf("%w: %d of %d", ErrCosignatures, len(e.Cosigned), t.Needed)
	}
	if t.Needed > 0 {
		e.CosignedAt = e.Cosigned[t.Needed-1].At
	}
	return e, nil
}

func within(c *pki.Certificate, at time.Time) bool {
	return !at.Before(c.NotBefore()) && !at.After(c.NotAfter())
}

// signedBy finds the trusted log that signed the checkpoint.
func (n *Note) signedBy(logs []Party) (*pki.Certificate, error) {
	known := false
	for _, l := range logs {
		if l.Name != n.Checkpoint.Origin {
			continue
		}
		known = true
		if n.VerifyLog(l.Certificate) == nil {
			return l.Certificate, nil
		}
	}
	if !known {
		return nil, fmt.Errorf("%w: %s", ErrUnknownLog, n.Checkpoint.Origin)
	}
	return nil, fmt.Errorf("%w: the log's", ErrSignature)
}

// vouched fills in who has cosigned: the first word of each organisation other than the actor.
func (n *Note) vouched(cosigners []Party, actor string, e *Evidence) {
	var good []Vouching
	for _, p := range cosigners {
		at, err := n.VerifyCosignature(p.Name, p.Certificate)
		if err != nil || !within(p.Certificate, at) {
			continue
		}
		good = append(good, Vouching{Name: p.Name, Organisation: p.Certificate.OrganisationCode(), At: at, Certificate: p.Certificate})
	}
	slices.SortStableFunc(good, func(a, b Vouching) int { return a.At.Compare(b.At) })
	seen := map[string]bool{actor: true}
	for _, v := range good {
		if seen[v.Organisation] {
			e.NotCounting = append(e.NotCounting, v.Name)
			continue
		}
		seen[v.Organisation] = true
		e.Cosigned = append(e.Cosigned, v)
	}
}
