package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/elicence/elicence/signer"
	"github.com/elicence/elicence/signer/pki"
	"github.com/transparency-dev/merkle/proof"
)

var (
	// ErrRollback says that the log shows fewer entries than it has shown before.
	ErrRollback = errors.New("ledger: the log was rolled back")
	// ErrFork says that the log shows another history than before: same size with another root, or a larger one that does
	// not continue it.
	ErrFork = errors.New("ledger: the log was forked")
	// ErrCosignerState says that a cosigner's file cannot be read or written, or is not its own. It never starts anew by
	// itself: the operator decides, knowing that a rollback before this point would go unseen.
	ErrCosignerState = errors.New("ledger: the cosigner's state")
	// ErrCosignerClock says that the cosigner's clock is behind its own last cosignature or the checkpoint's time.
	ErrCosignerClock = errors.New("ledger: the cosigner's clock is wrong")
)

// cosignerTolerance is how far a checkpoint's time may be ahead of the cosigner's clock.
const cosignerTolerance = 10 * time.Minute

// Consistency asks the log for a proof that its tree of size to continues the one of size from (RFC 6962, 2.1.2).
type Consistency func(ctx context.Context, from, to uint64) ([][]byte, error)

// Cosigner is an organisation that watches a log: it remembers the last checkpoint it has seen, signs only what continues
// it, and its time. One state file serves one log and one cosigner; several processes may share it.
type Cosigner struct {
	path   string
	name   string
	key    signer.Key
	cert   *pki.Certificate
	origin string
	log    *pki.Certificate
	clock  func() time.Time

	mu sync.Mutex
}

// OpenCosigner opens or begins the cosigner whose state is the file path. name stands on its signature lines, key and
// cert sign them; origin and log are the log's name and certificate as its operator published them. A missing file is a
// cosigner that has never cosigned; a damaged one is ErrCosignerState.
func OpenCosigner(path, name string, key signer.Key, cert *pki.Certificate, origin string, log *pki.Certificate, clock func() time.Time) (*Cosigner, error) {
	if !IsName(name) || !IsName(origin) || name == origin {
		return nil, fmt.Errorf("%w: name %q for log %q", ErrCosignerState, name, origin)
	}
	c := &Cosigner{path: path, name: name, key: key, cert: cert, origin: origin, log: log, clock: clock}
	if _, err := c.read(); err != nil {
		return nil, err
	}
	return c, nil
}

// Name stands on the cosigner's signature lines.
func (c *Cosigner) Name() string { return c.name }

// Last returns the last checkpoint that was cosigned, as the log signed it; nil if there is none.
func (c *Cosigner) Last() ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, err := c.read()
	if err != nil || s == nil {
		return nil, err
	}
	return s.note.Encode(), nil
}

// Cosign checks that the checkpoint is signed by the log and continues the last one, remembers it durably, and only then
// adds its signature. It returns the note with that line. A note that carries this cosigner's good line already comes
// back as it is. Errors: ErrNote, ErrSignature, ErrRollback, ErrFork, ErrCosignerClock, ErrCosignerState, or the proof
// could not be had; after any of them nothing was signed. Safe for concurrent use.
func (c *Cosigner) Cosign(ctx context.Context, note []byte, consistency Consistency) ([]byte, error) {
	n, err := ParseNote(note)
	if err != nil {
		return nil, err
	}
	if n.Checkpoint.Origin != c.origin {
		return nil, fmt.Errorf("%w: %s is not the log of this cosigner", ErrNote, n.Checkpoint.Origin)
	}
	if err := n.VerifyLog(c.log); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	unlock, err := lockFile(c.path + ".lock")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCosignerState, err)
	}
	defer unlock()
	last, err := c.read()
	if err != nil {
		return nil, err
	}
	now := c.clock()
	if err := c.continues(ctx, last, n, now, consistency); err != nil {
		return nil, err
	}
	_, unsigned := n.VerifyCosignature(c.name, c.cert)
	if unsigned == nil && last != nil && bytes.Equal(n.Body, last.note.Body) {
		return note, nil
	}
	if err := c.write(&cosignerState{seconds: now.Unix(), note: &Note{Checkpoint: n.Checkpoint, Body: n.Body, Lines: []Line{c.logLine(n)}}}); err != nil {
		return nil, err
	}
	if unsigned == nil {
		return note, nil
	}
	line, err := cosign(ctx, c.key, c.cert, c.name, now, n.Body)
	if err != nil {
		return nil, err
	}
	// A line of ours that does not verify is replaced.
	n.Lines = slices.DeleteFunc(n.Lines, func(l Line) bool { return l.Name == line.Name && l.KeyID == line.KeyID })
	n.Lines = append(n.Lines, line)
	if len(n.Lines) > MaxSignatures {
		return nil, fmt.Errorf("%w: %d signature lines", ErrNote, len(n.Lines))
	}
	return n.Encode(), nil
}

func (c *Cosigner) logLine(n *Note) Line {
	l, _ := n.line(c.origin, KeyID(c.origin, LogSignature, c.log.PublicKey()), logSignatureSize)
	return l
}

// continues holds the note against the last one.
func (c *Cosigner) continues(ctx context.Context, last *cosignerState, n *Note, now time.Time, consistency Consistency) error {
	at := n.Checkpoint
	if time.UnixMicro(at.Time).After(now.Add(cosignerTolerance)) {
		return fmt.Errorf("%w: the checkpoint's time is %s", ErrCosignerClock, time.UnixMicro(at.Time).UTC().Format(time.RFC3339))
	}
	if last == nil {
		return nil
	}
	before := last.note.Checkpoint
	switch {
	case now.Unix() < last.seconds:
		return fmt.Errorf("%w: the last cosignature is of %s", ErrCosignerClock, time.Unix(last.seconds, 0).UTC().Format(time.RFC3339))
	case at.Size < before.Size:
		return fmt.Errorf("%w: it had %d entries and shows %d", ErrRollback, before.Size, at.Size)
	case at.Size == before.Size && !bytes.Equal(n.Body, last.note.Body):
		return fmt.Errorf("%w: two checkpoints of size %d", ErrFork, at.Size)
	case at.Size == before.Size:
		return nil
	case at.Time < before.Time:
		return fmt.Errorf("%w: its time went back", ErrFork)
	}
	path, err := consistency(ctx, before.Size, at.Size)
	if err != nil {
		return fmt.Errorf("ledger: consistency proof: %w", err)
	}
	if err := proof.VerifyConsistency(Hasher{}, before.Size, at.Size, path, before.Root[:], at.Root[:]); err != nil {
		return fmt.Errorf("%w: size %d does not continue size %d", ErrFork, at.Size, before.Size)
	}
	return nil
}

// cosignerState is what the file holds: when it last cosigned, and what.
type cosignerState struct {
	seconds int64
	note    *Note
}

const cosignerFirstLine = "elicence/cosigner/1"

func (s *cosignerState) encode() []byte {
	return append(fmt.Appendf(nil, "%s\ntime %d\n\n", cosignerFirstLine, s.seconds), s.note.Encode()...)
}

// read returns nil if the file does not exist.
func (c *Cosigner) read() (*cosignerState, error) {
	b, err := os.ReadFile(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCosignerState, err)
	}
	s, err := parseCosignerState(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrCosignerState, c.path, err)
	}
	if s.note.Checkpoint.Origin != c.origin {
		return nil, fmt.Errorf("%w: %s is of the log %s", ErrCosignerState, c.path, s.note.Checkpoint.Origin)
	}
	return s, nil
}

func parseCosignerState(b []byte) (*cosignerState, error) {
	rest, ok := strings.CutPrefix(string(b), cosignerFirstLine+"\ntime ")
	seconds, note, ok2 := strings.Cut(rest, "\n\n")
	if !ok || !ok2 {
		return nil, errors.New("not a cosigner's state")
	}
	s := &cosignerState{}
	var err error
	if s.seconds, err = strconv.ParseInt(seconds, 10, 64); err != nil {
		return nil, errors.New("not a cosigner's state: time")
	}
	if s.note, err = ParseNote([]byte(note)); err != nil {
		return nil, err
	}
	if !bytes.Equal(s.encode(), b) {
		return nil, errors.New("not a cosigner's state: another spelling")
	}
	return s, nil
}

// write replaces the file so that after a crash either the old or the new one is there, whole.
func (c *Cosigner) write(s *cosignerState) error {
	if err := replaceFile(c.path, s.encode()); err != nil {
		return fmt.Errorf("%w: %w", ErrCosignerState, err)
	}
	return nil
}

func replaceFile(path string, b []byte) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if _, err := f.Write(b); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
