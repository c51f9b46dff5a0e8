package export

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/elicence/elicence/ledger"
	"github.com/emmansun/gmsm/sm3"
)

var (
	// ErrFolder says that a folder holds something else than an export of that channel and chaincode.
	ErrFolder = errors.New("export: the folder is not for this export")
	// ErrAnotherChain says that the peer's next block does not follow what was exported before.
	ErrAnotherChain = errors.New("export: the peer's chain is not the one that was exported before")
)

// Source is a peer.
type Source interface {
	// Height is how many blocks it has.
	Height(ctx context.Context) (uint64, error)
	// WholeBlocks calls do for each block from number from on, until do fails. The error is never nil.
	WholeBlocks(ctx context.Context, from uint64, do func(block []byte) error) error
}

// Options of an export.
type Options struct {
	Channel, Chaincode string
	// FileBytes is the size at which a file is full: it ends with the block that reaches it. 0: 64 MiB.
	FileBytes int64
	// Checkpoint is a signed checkpoint of the log that goes with the blocks, once they are there; nil for none. It must be
	// of a log that has no entries beyond the peer's blocks: of before the height was asked for.
	Checkpoint []byte
	// Progress, if not nil, is told after each block how many the export has, of how many.
	Progress func(done, height uint64)
}

const fileBytes = 64 << 20

const temporary = ".new-"

// Write exports a channel from block 0 to the peer's height into a folder, or goes on with an export that is there: files that
// are named in the manifest never change. When ctx ends or the peer fails, what was read until then is kept; a program that is
// killed loses at most the file it was writing. Two at a time in one folder get in each other's way and destroy nothing. The
// manifest is that of the export as it is then; nil if there is none.
func Write(ctx context.Context, folder string, from Source, o Options) (*Manifest, error) {
	if o.FileBytes == 0 {
		o.FileBytes = fileBytes
	}
	w := &writer{Options: o, folder: folder, manifest: Manifest{Channel: o.Channel, Chaincode: o.Chaincode}}
	if err := w.open(ctx); err != nil {
		return nil, err
	}
	height, err := from.Height(ctx)
	if err != nil {
		return &w.manifest, err
	}
	if height < w.chain.Next() {
		return &w.manifest, fmt.Errorf("%w: it has %d blocks, and %d were exported", ErrAnotherChain, height, w.chain.Next())
	}
	if height > w.chain.Next() {
		if err = from.WholeBlocks(ctx, w.chain.Next(), func(raw []byte) error { return w.take(raw, height) }); errors.Is(err, errDone) {
			err = nil
		}
	}
	if err = errors.Join(err, w.close()); err != nil || o.Checkpoint == nil {
		return &w.manifest, err
	}
	return &w.manifest, w.keep(o.Checkpoint)
}

var errDone = errors.New("done")

type writer struct {
	Options
	folder   string
	manifest Manifest
	chain    Chain

	temp *os.File
	to   *bufio.Writer
	file File
	sums sums
}

// open looks at what is there.
func (w *writer) open(ctx context.Context) error {
	if _, err := w.manifest.Encode(); err != nil {
		return err
	}
	if err := os.MkdirAll(w.folder, 0o755); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	entries, err := os.ReadDir(w.folder)
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	there, err := Open(w.folder)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("%w: %w", ErrFolder, err)
	case there.Channel != w.Channel || there.Chaincode != w.Chaincode:
		return fmt.Errorf("%w: it is of channel %s, chaincode %s", ErrFolder, there.Channel, there.Chaincode)
	default:
		w.manifest = there.Manifest
	}
	named := map[string]bool{ManifestName: true}
	for _, f := range w.manifest.Files {
		named[f.Name()] = true
	}
	for _, c := range w.manifest.Checkpoints {
		named[c.Name()] = true
	}
	var left []string
	for _, e := range entries {
		switch name := e.Name(); {
		case named[name]:
		case strings.HasPrefix(name, temporary), strings.HasPrefix(name, "checkpoint-"), name == fileName(w.manifest.Height()): // a program was killed
			left = append(left, name)
		default:
			return fmt.Errorf("%w: %s lies in it", ErrFolder, name)
		}
	}
	for _, name := range left {
		if err := os.Remove(filepath.Join(w.folder, name)); err != nil {
			return fmt.Errorf("export: %w", err)
		}
	}
	return w.rejoin(ctx)
}

// rejoin finds the end of the chain that was exported before.
func (w *writer) rejoin(ctx context.Context) error {
	if len(w.manifest.Files) == 0 {
		return nil
	}
	last := w.manifest.Files[len(w.manifest.Files)-1]
	e := &Export{Manifest: w.manifest, folder: w.folder}
	first := true
	return e.file(ctx, last, func(raw []byte) error {
		if first {
			var err error
			if w.chain, err = joinAt(raw, last.First); err != nil {
				return err
			}
			first = false
			return nil
		}
		_, err := w.chain.Take(raw)
		return err
	})
}

func (w *writer) take(raw []byte, height uint64) error {
	if _, err := w.chain.Take(raw); err != nil {
		var b *Break
		if errors.As(err, &b) && b.Rule == RulePrevious {
			return fmt.Errorf("%w: %w", ErrAnotherChain, err)
		}
		return err
	}
	if len(raw) > MaxBlock {
		return fmt.Errorf("export: block %d has %d bytes", w.chain.Next()-1, len(raw))
	}
	if w.temp == nil {
		if err := w.begin(w.chain.Next() - 1); err != nil {
			return err
		}
	}
	if err := w.write(binary.BigEndian.AppendUint32(nil, uint32(len(raw)))); err != nil {
		return err
	}
	if err := w.write(raw); err != nil {
		return err
	}
	w.file.Blocks++
	if w.file.Bytes >= w.FileBytes {
		if err := w.close(); err != nil {
			return err
		}
	}
	if w.Progress != nil {
		w.Progress(w.chain.Next(), height)
	}
	if w.chain.Next() >= height {
		return errDone
	}
	return nil
}

func (w *writer) begin(first uint64) error {
	f, err := os.CreateTemp(w.folder, temporary+"*")
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	w.temp, w.to, w.file, w.sums = f, bufio.NewWriterSize(f, 1<<20), File{First: first}, newSums()
	return w.write([]byte(blocksFirstLine))
}

func (w *writer) write(b []byte) error {
	if _, err := w.to.Write(b); err != nil {
		return w.broken(err)
	}
	_, _ = w.sums.Write(b) // a hash takes everything
	w.file.Bytes += int64(len(b))
	return nil
}

// broken gives a file up that could not be written.
func (w *writer) broken(err error) error {
	err = errors.Join(fmt.Errorf("export: %w", err), w.temp.Close(), os.Remove(w.temp.Name()))
	w.temp = nil
	return err
}

// close makes the file that is being written one of the export: first itself, then its line in the manifest.
func (w *writer) close() error {
	if w.temp == nil {
		return nil
	}
	if w.file.Blocks == 0 {
		return w.broken(errors.New("a file without blocks"))
	}
	if err := errors.Join(w.to.Flush(), w.temp.Chmod(0o644), w.temp.Sync()); err != nil {
		return w.broken(err)
	}
	w.sums.into(&w.file)
	temp := w.temp
	w.temp = nil
	if err := w.place(temp, w.file.Name()); err != nil {
		return err
	}
	next := w.manifest
	next.Files = append(append([]File(nil), w.manifest.Files...), w.file)
	if err := w.replaceManifest(next); err != nil {
		return err
	}
	w.manifest = next
	return nil
}

// place gives a file that is synced its name. A link is never made over a file that is there.
func (w *writer) place(temp *os.File, name string) error {
	err := errors.Join(temp.Close(), os.Link(temp.Name(), filepath.Join(w.folder, name)))
	if err = errors.Join(err, os.Remove(temp.Name())); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return nil
}

// keep adds a signed checkpoint, unless there is one of its size or a later one.
func (w *writer) keep(note []byte) error {
	n, err := ledger.ParseNote(note)
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	c := Checkpoint{Size: n.Checkpoint.Size, Bytes: int64(len(note)), SHA256: sha256.Sum256(note), SM3: sm3.Sum(note)}
	if all := w.manifest.Checkpoints; len(all) > 0 && all[len(all)-1].Size >= c.Size {
		return nil
	}
	f, err := os.CreateTemp(w.folder, temporary+"*")
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	_, err = f.Write(note)
	if err = errors.Join(err, f.Chmod(0o644), f.Sync()); err != nil {
		return errors.Join(fmt.Errorf("export: %w", err), f.Close(), os.Remove(f.Name()))
	}
	if err := w.place(f, c.Name()); err != nil {
		return err
	}
	next := w.manifest
	next.Checkpoints = append(append([]Checkpoint(nil), next.Checkpoints...), c)
	if err := w.replaceManifest(next); err != nil {
		return err
	}
	w.manifest = next
	return nil
}

func (w *writer) replaceManifest(m Manifest) (err error) {
	b, err := m.Encode()
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(w.folder, temporary+"*")
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(w.folder, ManifestName))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("export: %w", err), os.Remove(f.Name()))
	}
	d, err := os.Open(w.folder)
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}
