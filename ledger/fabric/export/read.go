package export

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/elicence/elicence/ledger"
	"github.com/emmansun/gmsm/sm3"
)

// Rules of the files.
const (
	RuleMissing   = "file-missing"
	RuleTruncated = "file-truncated"
	RuleAltered   = "file-altered"
)

// Fault is what is wrong with a file, beyond its blocks.
type Fault struct {
	File  string
	Block uint64 // the first that is missing or may be altered
	Rule  string
	Err   error // may be nil
}

func (f *Fault) Error() string {
	if f.Err == nil {
		return fmt.Sprintf("export: %s, from block %d on: %s", f.File, f.Block, f.Rule)
	}
	return fmt.Sprintf("export: %s, from block %d on: %s: %v", f.File, f.Block, f.Rule, f.Err)
}

func (f *Fault) Unwrap() error { return f.Err }

// Export is one on a disk.
type Export struct {
	Manifest
	folder string
}

// Open reads the manifest of an export. ErrManifest, or fs.ErrNotExist if there is none.
func Open(folder string) (*Export, error) {
	b, err := os.ReadFile(filepath.Join(folder, ManifestName))
	if err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	m, err := ParseManifest(b)
	if err != nil {
		return nil, err
	}
	return &Export{Manifest: *m, folder: folder}, nil
}

// Blocks calls do for each block from block 0 on. A *Fault if a file is not as the manifest says: it is told after the
// blocks that could be read, so that do has the first word on what is wrong in them.
func (e *Export) Blocks(ctx context.Context, do func(raw []byte) error) error {
	for _, f := range e.Files {
		if err := e.file(ctx, f, do); err != nil {
			return err
		}
	}
	return nil
}

// Notes returns the signed checkpoints, smallest first. A *Fault if a file is not as the manifest says; no signature is looked at.
func (e *Export) Notes() ([][]byte, error) {
	var notes [][]byte
	for _, c := range e.Checkpoints {
		at, err := os.Open(filepath.Join(e.folder, c.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, &Fault{c.Name(), e.Height(), RuleMissing, nil}
		}
		if err != nil {
			return nil, fmt.Errorf("export: %w", err)
		}
		b, err := io.ReadAll(io.LimitReader(at, ledger.MaxNote+1))
		if err = errors.Join(err, at.Close()); err != nil {
			return nil, fmt.Errorf("export: %w", err)
		}
		switch n, err := ledger.ParseNote(b); {
		case int64(len(b)) != c.Bytes || sha256.Sum256(b) != c.SHA256 || sm3.Sum(b) != c.SM3:
			return nil, &Fault{c.Name(), e.Height(), RuleAltered, errors.New("its digests are not those of the manifest")}
		case err != nil:
			return nil, &Fault{c.Name(), e.Height(), RuleAltered, err}
		case n.Checkpoint.Size != c.Size:
			return nil, &Fault{c.Name(), e.Height(), RuleAltered, fmt.Errorf("it is of size %d", n.Checkpoint.Size)}
		}
		notes = append(notes, b)
	}
	return notes, nil
}

// errOfDo tells an error of the caller from one of the file.
type errOfDo struct{ error }

func (e *Export) file(ctx context.Context, f File, do func(raw []byte) error) error {
	at, err := os.Open(filepath.Join(e.folder, f.Name()))
	if errors.Is(err, fs.ErrNotExist) {
		return &Fault{f.Name(), f.First, RuleMissing, nil}
	}
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	defer at.Close()
	read, sums := uint64(0), newSums()
	// One byte more than there must be is read, so that a longer file is noticed.
	counted := &counter{r: io.TeeReader(io.LimitReader(bufio.NewReaderSize(at, 1<<20), f.Bytes+1), sums)}
	err = readBlocks(counted, f.Bytes+1, func(raw []byte) error {
		if err := ctx.Err(); err != nil {
			return errOfDo{err}
		}
		if read == f.Blocks {
			return errors.New("it has more blocks")
		}
		if err := do(raw); err != nil {
			return errOfDo{err}
		}
		read++
		return nil
	})
	var ofDo errOfDo
	var path *fs.PathError
	switch {
	case errors.As(err, &ofDo):
		return ofDo.error
	case errors.As(err, &path):
		return fmt.Errorf("export: %w", err)
	case err == nil && read < f.Blocks, err != nil && short(at, f):
		return &Fault{f.Name(), f.First + read, RuleTruncated, nil}
	case err != nil:
		return &Fault{f.Name(), f.First + read, RuleAltered, err}
	}
	is := f
	sums.into(&is)
	if counted.n != f.Bytes || is != f {
		return &Fault{f.Name(), f.First, RuleAltered, errors.New("its digests are not those of the manifest")}
	}
	return nil
}

func short(at *os.File, f File) bool {
	s, err := at.Stat()
	return err == nil && s.Size() < f.Bytes
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}
