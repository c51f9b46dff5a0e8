package ledger_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/elicence/elicence/ledger"
	"github.com/elicence/elicence/ledger/embedded"
	"github.com/elicence/elicence/ledger/ledgertest"
)

func (l *log) checkpoint(t *testing.T) []byte {
	t.Helper()
	note, err := l.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return note
}

func none(context.Context, uint64, uint64) ([][]byte, error) {
	return nil, errors.New("no proof was to be asked for")
}

// TestCosignerRefusesARollback: yesterday's database, put back.
func TestCosignerRefusesARollback(t *testing.T) {
	l := newLog(t)
	before, err := l.store.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	state := l.store.State()
	l.add(t, l.Issue(l.Hospital).Last(), l.Issue(l.Hospital).Last())
	l.publish(t)

	l.store.Rewind(before.Size, before.Body, state)
	back := embedded.New(l.store, l.tiles, l.LogKey, l.LogCertificate, ledgertest.Origin, l.Now)
	note, err := back.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := l.Cosigner(l.dir, "police", l.Police)
	if _, err := c.Cosign(t.Context(), note, back.Consistency); !errors.Is(err, ledger.ErrRollback) {
		t.Errorf("rolled back: %v", err)
	}
	// It goes on as if nothing had happened, and grows beyond what the cosigner has seen.
	for range 4 {
		if _, err := back.Submit(t.Context(), [][]byte{l.Issue(l.Hospital).Last()}); err != nil {
			t.Fatal(err)
		}
	}
	if note, err = back.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Cosign(t.Context(), note, back.Consistency); !errors.Is(err, ledger.ErrFork) {
		t.Errorf("rolled back and grown: %v", err)
	}
}

// TestCosignerRefusesAFork: two logs with one key, shown to one cosigner one after the other.
func TestCosignerRefusesAFork(t *testing.T) {
	l := newLog(t)
	twin := embedded.New(ledgertest.NewMemory(), ledgertest.NewMemoryTiles(), l.LogKey, l.LogCertificate, ledgertest.Origin, l.Now)
	entries, err := l.store.Entries(t.Context(), 0, 14)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := twin.Submit(t.Context(), append(entries, l.Issue(l.Agency).Last())); err != nil {
		t.Fatal(err)
	}
	same, err := twin.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := l.Cosigner(l.dir, "police", l.Police)
	if _, err := c.Cosign(t.Context(), same, none); !errors.Is(err, ledger.ErrFork) {
		t.Errorf("another root for the same size: %v", err)
	}
	if _, err := twin.Submit(t.Context(), [][]byte{l.Issue(l.Agency).Last()}); err != nil {
		t.Fatal(err)
	}
	larger, err := twin.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, proof := range map[string]ledger.Consistency{
		"with its own proof": twin.Consistency,
		"with none":          func(context.Context, uint64, uint64) ([][]byte, error) { return nil, nil },
		"with noise":         func(context.Context, uint64, uint64) ([][]byte, error) { return [][]byte{{1}, nil}, nil },
	} {
		if _, err := c.Cosign(t.Context(), larger, proof); !errors.Is(err, ledger.ErrFork) {
			t.Errorf("a log that does not continue, %s: %v", name, err)
		}
	}
	// The honest log is still welcome.
	l.add(t, l.Issue(l.Hospital).Last())
	if _, err := c.Cosign(t.Context(), l.checkpoint(t), l.Consistency); err != nil {
		t.Errorf("the honest log: %v", err)
	}
}

func TestCosignerRefusesStrangers(t *testing.T) {
	l := newLog(t)
	c := l.Cosigner(t.TempDir(), "police", l.Police)
	other := ledgertest.NewWorld(t, "stranger")
	s := embedded.New(ledgertest.NewMemory(), ledgertest.NewMemoryTiles(), other.LogKey, other.LogCertificate, ledgertest.Origin, other.Now)
	if _, err := s.Submit(t.Context(), other.Founding()); err != nil {
		t.Fatal(err)
	}
	note, err := s.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Cosign(t.Context(), note, none); !errors.Is(err, ledger.ErrSignature) {
		t.Errorf("another key: %v", err)
	}
	s = embedded.New(ledgertest.NewMemory(), ledgertest.NewMemoryTiles(), l.LogKey, l.LogCertificate, "example.org/other", l.Now)
	if _, err := s.Submit(t.Context(), l.Founding()); err != nil {
		t.Fatal(err)
	}
	if note, err = s.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Cosign(t.Context(), note, none); !errors.Is(err, ledger.ErrNote) {
		t.Errorf("another log with the same key: %v", err)
	}
	if _, err := c.Cosign(t.Context(), []byte("note"), none); !errors.Is(err, ledger.ErrNote) {
		t.Errorf("no note: %v", err)
	}
	if last, err := c.Last(); last != nil || err != nil {
		t.Errorf("remembered %q, %v", last, err)
	}
}

// TestCosignerRemembersBeforeItSigns: whatever fails, no signature leaves that the state does not know.
func TestCosignerRemembersBeforeItSigns(t *testing.T) {
	l := newLog(t)
	dir := t.TempDir()
	path := filepath.Join(dir, l.Police.Code)
	c := l.Cosigner(dir, "police", l.Police)
	l.add(t, l.Issue(l.Hospital).Last()) // nobody has cosigned this size
	note := l.checkpoint(t)

	l.Police.Checkpoints.Fail(true)
	if _, err := c.Cosign(t.Context(), note, none); !errors.Is(err, ledgertest.ErrKey) {
		t.Fatalf("the key is down: %v", err)
	}
	last, err := c.Last()
	if err != nil || last == nil {
		t.Fatalf("the state was not written before the key was asked: %v", err)
	}
	l.Police.Checkpoints.Fail(false)
	signed, err := c.Cosign(t.Context(), note, none) // the same again: no proof is needed
	if err != nil {
		t.Fatal(err)
	}
	if again, err := c.Cosign(t.Context(), signed, none); err != nil || !bytes.Equal(again, signed) {
		t.Errorf("a note that carries the line already: %v", err)
	}

	// The state cannot be written: no signature.
	l.add(t, l.Issue(l.Hospital).Last())
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(path, "in the way"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Cosign(t.Context(), l.checkpoint(t), l.Consistency); !errors.Is(err, ledger.ErrCosignerState) {
		t.Errorf("the state cannot be kept: %v", err)
	}
	left, err := filepath.Glob(path + ".new-*")
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

func TestCosignerStateIsStrict(t *testing.T) {
	l := newLog(t)
	path := filepath.Join(l.dir, l.Police.Code)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	open := func(name, origin string) error {
		_, err := ledger.OpenCosigner(path, name, l.Police.Checkpoints, l.Police.Cosigning, origin, l.LogCertificate, l.Now)
		return err
	}
	if err := open("cosigner/police", ledgertest.Origin); err != nil {
		t.Fatal(err)
	}
	if err := open("cosigner/police", "example.org/other"); !errors.Is(err, ledger.ErrCosignerState) {
		t.Errorf("the state of another log: %v", err)
	}
	for _, name := range []string{"", "with space", "with+plus", ledgertest.Origin} {
		if err := open(name, ledgertest.Origin); !errors.Is(err, ledger.ErrCosignerState) {
			t.Errorf("named %q: %v", name, err)
		}
	}
	for name, b := range map[string][]byte{
		"empty": {}, "cut": good[:len(good)-5], "tail": append(bytes.Clone(good), '\n'),
		"another version": bytes.Replace(good, []byte("cosigner/1"), []byte("cosigner/2"), 1),
		"a zero more":     bytes.Replace(good, []byte("time "), []byte("time 0"), 1),
		"no time":         []byte(strings.Replace(string(good), "time ", "when ", 1)),
	} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := open("cosigner/police", ledgertest.Origin); !errors.Is(err, ledger.ErrCosignerState) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCosignerClock(t *testing.T) {
	l := newLog(t)
	dir := t.TempDir()
	now := l.Now()
	c, err := ledger.OpenCosigner(filepath.Join(dir, "p"), "cosigner/police", l.Police.Checkpoints, l.Police.Cosigning, ledgertest.Origin, l.LogCertificate, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(-time.Hour)
	if _, err := c.Cosign(t.Context(), l.checkpoint(t), none); !errors.Is(err, ledger.ErrCosignerClock) {
		t.Errorf("an hour behind the checkpoint: %v", err)
	}
	now = now.Add(2 * time.Hour)
	if _, err := c.Cosign(t.Context(), l.checkpoint(t), none); err != nil {
		t.Fatal(err)
	}
	l.add(t, l.Issue(l.Hospital).Last())
	now = now.Add(-30 * time.Minute)
	if _, err := c.Cosign(t.Context(), l.checkpoint(t), l.Consistency); !errors.Is(err, ledger.ErrCosignerClock) {
		t.Errorf("behind its own last cosignature: %v", err)
	}
	now = time.Unix(-5, 0)
	if _, err := c.Cosign(t.Context(), l.checkpoint(t), l.Consistency); !errors.Is(err, ledger.ErrCosignerClock) {
		t.Errorf("before the epoch: %v", err)
	}
}

// TestCosignersShareAState: several processes of one organisation cannot be played against each other.
func TestCosignersShareAState(t *testing.T) {
	l := newLog(t)
	dir := t.TempDir()
	var notes [][]byte
	for range 6 {
		l.add(t, l.Issue(l.Hospital).Last())
		notes = append(notes, l.checkpoint(t))
	}
	a, b := l.Cosigner(dir, "police", l.Police), l.Cosigner(dir, "police", l.Police)
	if _, err := a.Cosign(t.Context(), notes[3], l.Consistency); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Cosign(t.Context(), notes[2], l.Consistency); !errors.Is(err, ledger.ErrRollback) {
		t.Errorf("the second process did not know what the first had seen: %v", err)
	}
	var wait sync.WaitGroup
	for _, c := range []*ledger.Cosigner{a, b, a, b} {
		for _, n := range notes {
			wait.Go(func() {
				if _, err := c.Cosign(context.Background(), n, l.Consistency); err != nil && !errors.Is(err, ledger.ErrRollback) && !errors.Is(err, ledger.ErrCosignerClock) {
					t.Error(err)
				}
			})
		}
	}
	wait.Wait()
	last, err := b.Last()
	if err != nil {
		t.Fatal(err)
	}
	n, err := ledger.ParseNote(last)
	if err != nil || n.Checkpoint.Size != 21 || n.VerifyLog(l.LogCertificate) != nil {
		t.Errorf("last %+v, %v", n, err)
	}
}
