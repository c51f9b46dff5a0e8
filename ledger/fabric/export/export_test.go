package export_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/elicence/elicence/ledger"
	"github.com/elicence/elicence/ledger/fabric/export"
	"github.com/elicence/elicence/ledger/fabric/protos"
	"github.com/elicence/elicence/ledger/ledgertest"
)

// peer has a chain of blocks that say nothing; salt makes it another chain.
type peer struct {
	height uint64
	salt   string
	fails  uint64        // before this block, 0 for never
	slow   time.Duration // before each block
}

var errPeer = errors.New("the peer is gone")

func (p *peer) Height(context.Context) (uint64, error) { return p.height, nil }

func (p *peer) WholeBlocks(ctx context.Context, from uint64, do func([]byte) error) error {
	var last []byte
	for n := range p.height {
		b := &protos.Block{Header: &protos.BlockHeader{Number: n, PreviousHash: last}, Data: &protos.BlockData{Data: [][]byte{
			[]byte(strings.Repeat(p.salt, 50)), fmt.Appendf(nil, "transaction of block %d", n),
		}}}
		data := export.DataHash(b.Data)
		b.Header.DataHash = data[:]
		h := export.HeaderHash(b.Header)
		last = h[:]
		if n < from {
			continue
		}
		if p.fails > 0 && n == p.fails {
			return errPeer
		}
		if p.slow > 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(p.slow):
			}
		}
		raw, err := protos.Marshal(b)
		if err != nil {
			return err
		}
		if err := do(raw); err != nil {
			return err
		}
	}
	return errPeer
}

var options = export.Options{Channel: "channel", Chaincode: "licence", FileBytes: 1000}

func write(t *testing.T, dir string, p *peer) *export.Manifest {
	t.Helper()
	m, err := export.Write(t.Context(), dir, p, options)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// whole reads an export and fails the test unless it has the blocks of a chain up to a height.
func whole(t *testing.T, dir string, height uint64) {
	t.Helper()
	e, err := export.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	var c export.Chain
	err = e.Blocks(t.Context(), func(raw []byte) error {
		_, err := c.Take(raw)
		return err
	})
	if err != nil || c.Next() != height || e.Height() != height {
		t.Fatalf("%d of %d blocks, %v", c.Next(), height, err)
	}
}

func TestExtended(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "export")
	var seen []uint64
	o := options
	o.Progress = func(done, height uint64) { seen = append(seen, done, height) }
	if _, err := export.Write(t.Context(), dir, &peer{height: 3, salt: "a"}, o); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(seen, []uint64{1, 3, 2, 3, 3, 3}) {
		t.Fatalf("%v", seen)
	}
	before := write(t, dir, &peer{height: 20, salt: "a"})
	if len(before.Files) < 4 {
		t.Fatalf("%d files", len(before.Files))
	}
	for range 2 { // the second time there is nothing to do
		m := write(t, dir, &peer{height: 45, salt: "a"})
		if !slices.Equal(m.Files[:len(before.Files)], before.Files) {
			t.Fatal("files were changed")
		}
		whole(t, dir, 45)
	}
	if _, err := export.Write(t.Context(), dir, &peer{height: 50, salt: "b"}, options); !errors.Is(err, export.ErrAnotherChain) {
		t.Fatalf("%v", err)
	}
	if _, err := export.Write(t.Context(), dir, &peer{height: 44, salt: "a"}, options); !errors.Is(err, export.ErrAnotherChain) {
		t.Fatalf("%v", err)
	}
	whole(t, dir, 45)
	for _, other := range []export.Options{{Channel: "another", Chaincode: "licence"}, {Channel: "channel", Chaincode: "another"}} {
		if _, err := export.Write(t.Context(), dir, &peer{height: 50, salt: "a"}, other); !errors.Is(err, export.ErrFolder) {
			t.Fatalf("%v", err)
		}
	}
	for _, bad := range []export.Options{{}, {Channel: "a b", Chaincode: "licence"}} {
		if _, err := export.Write(t.Context(), t.TempDir(), &peer{height: 50, salt: "a"}, bad); !errors.Is(err, export.ErrManifest) {
			t.Fatalf("%v", err)
		}
	}
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "letters.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := export.Write(t.Context(), full, &peer{height: 50, salt: "a"}, options); !errors.Is(err, export.ErrFolder) {
		t.Fatalf("%v", err)
	}
}

func TestInterruptedGoesOn(t *testing.T) {
	dir := t.TempDir()
	// The peer goes away in the middle of a file: what was read is kept.
	m, err := export.Write(t.Context(), dir, &peer{height: 30, salt: "a", fails: 14}, options)
	if !errors.Is(err, errPeer) || m.Height() != 14 {
		t.Fatalf("%v, %d blocks", err, m.Height())
	}
	whole(t, dir, 14)
	// Somebody presses a key.
	ctx, cancel := context.WithCancel(t.Context())
	o := options
	o.Progress = func(done, _ uint64) {
		if done == 22 {
			cancel()
		}
	}
	if m, err = export.Write(ctx, dir, &peer{height: 30, salt: "a", slow: time.Microsecond}, o); !errors.Is(err, context.Canceled) || m.Height() < 22 || m.Height() == 30 {
		t.Fatalf("%v, %d blocks", err, m.Height())
	}
	write(t, dir, &peer{height: 30, salt: "a"})
	whole(t, dir, 30)
}

// note is a signed checkpoint of a log of that size.
func note(t *testing.T, size uint64) []byte {
	t.Helper()
	w := ledgertest.NewWorld(t, "export")
	body, err := ledger.Checkpoint{Origin: ledgertest.Origin, Size: size, Time: w.Now().UnixMicro()}.Body()
	if err != nil {
		t.Fatal(err)
	}
	n, err := ledger.SignCheckpoint(t.Context(), w.LogKey, w.LogCertificate, body)
	if err != nil {
		t.Fatal(err)
	}
	return n.Encode()
}

func TestCheckpointsGoAlong(t *testing.T) {
	dir := t.TempDir()
	var want [][]byte
	for _, c := range []struct {
		height, size uint64
		kept         bool
	}{{3, 5, true}, {4, 5, false}, {5, 3, false}, {5, 9, true}} { // none is replaced, and none is older than the last
		o := options
		o.Checkpoint = note(t, c.size)
		if _, err := export.Write(t.Context(), dir, &peer{height: c.height, salt: "a"}, o); err != nil {
			t.Fatal(err)
		}
		if c.kept {
			want = append(want, o.Checkpoint)
		}
	}
	whole(t, dir, 5)
	e, err := export.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	got, err := e.Notes()
	if err != nil || !slices.EqualFunc(got, want, bytes.Equal) {
		t.Fatalf("%q, %v", got, err)
	}
	path := filepath.Join(dir, e.Checkpoints[0].Name())
	for at := range want[0] {
		b := bytes.Clone(want[0])
		b[at] ^= 1
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		var fault *export.Fault
		if _, err := e.Notes(); !errors.As(err, &fault) || fault.File != e.Checkpoints[0].Name() {
			t.Fatalf("byte %d: %v", at, err)
		}
	}
	o := options
	o.Checkpoint = []byte("no note")
	if _, err := export.Write(t.Context(), dir, &peer{height: 5, salt: "a"}, o); !errors.Is(err, ledger.ErrNote) {
		t.Fatalf("%v", err)
	}
}

const killed = "ELICENCE_TEST_EXPORT_INTO"

// TestKilled kills a process that exports, again and again; the last one comes to the end.
func TestKilled(t *testing.T) {
	if dir := os.Getenv(killed); dir != "" {
		_, err := export.Write(context.Background(), dir, &peer{height: 60, salt: "a", slow: time.Millisecond}, options)
		fmt.Println(err)
		os.Exit(0)
	}
	dir := t.TempDir()
	var last uint64
	for n := 0; n < 200 && last < 60; n++ {
		c := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		c.Env = append(os.Environ(), killed+"="+dir)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			_ = c.Wait()
			close(ended)
		}()
		// It is killed at another point each time, but not before it has a file more.
		for more := false; !more; {
			select {
			case <-ended:
				more = true
			case <-time.After(time.Duration(n%7) * time.Millisecond):
				e, err := export.Open(dir)
				more = err == nil && e.Height() > last
			}
		}
		_ = c.Process.Kill()
		<-ended
		e, err := export.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		if e.Height() < last {
			t.Fatalf("%d blocks after %d", e.Height(), last)
		}
		last = e.Height()
		whole(t, dir, last)
	}
	if last != 60 {
		t.Fatalf("%d blocks", last)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != export.ManifestName && !strings.HasPrefix(e.Name(), "blocks-") {
			t.Errorf("%s is left", e.Name())
		}
	}
}

// TestEveryByte flips each bit of a small export.
func TestEveryByte(t *testing.T) {
	dir := t.TempDir()
	o := options
	o.Checkpoint = note(t, 12)
	m, err := export.Write(t.Context(), dir, &peer{height: 5, salt: "a"}, o)
	if err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(filepath.Join(dir, export.ManifestName))
	if err != nil {
		t.Fatal(err)
	}
	for at := range good {
		for bit := range 8 {
			b := slices.Clone(good)
			b[at] ^= 1 << bit
			if _, err := export.ParseManifest(b); !errors.Is(err, export.ErrManifest) {
				t.Fatalf("manifest, byte %d: %v", at, err)
			}
		}
	}
	for _, f := range m.Files {
		path := filepath.Join(dir, f.Name())
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for at := range good {
			b := slices.Clone(good)
			b[at] ^= 1 << (at % 8)
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			e, err := export.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			var fault *export.Fault
			if err := e.Blocks(t.Context(), func([]byte) error { return nil }); !errors.As(err, &fault) || fault.File != f.Name() {
				t.Fatalf("%s, byte %d: %v", f.Name(), at, err)
			}
		}
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	whole(t, dir, 5)
}

// TestReadWithoutThisProgram reads an export as its description says, with nothing of the package.
func TestReadWithoutThisProgram(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, &peer{height: 12, salt: "a"})
	manifest, err := os.ReadFile(filepath.Join(dir, "manifest"))
	if err != nil {
		t.Fatal(err)
	}
	next := 0
	for line := range strings.Lines(string(manifest)) {
		words := strings.Fields(line)
		if words[0] != "file" {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, words[1]))
		if err != nil {
			t.Fatal(err)
		}
		if size, err := strconv.Atoi(words[4]); err != nil || size != len(b) {
			t.Fatal(line)
		}
		rest, ok := strings.CutPrefix(string(b), "elicence/fabric-blocks/1\n")
		for ok && rest != "" {
			n := binary.BigEndian.Uint32([]byte(rest))
			var block protos.Block
			if err := protos.Unmarshal([]byte(rest[4:4+n]), &block); err != nil || block.Header.Number != uint64(next) {
				t.Fatal(err)
			}
			rest = rest[4+n:]
			next++
		}
	}
	if next != 12 {
		t.Fatalf("%d blocks", next)
	}
}
