package deliver

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/elicence/elicence/due"
)

// Folder is an exchange folder that a receiver, or a program of theirs, empties. A delivery is a folder of its own, named by
// its key: it appears complete and durable, or not at all. The exchange folder itself is never made here: one that is not
// there is a share that is not mounted.
type Folder struct {
	path string
}

// NewFolder delivers into the folder at path.
func NewFolder(path string) *Folder { return &Folder{path} }

func folderFailed(err error) error {
	f := &due.Failed{Failure: due.Failure{Code: "folder"}, Verdict: due.Away, Cause: err}
	var path *os.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		f.Detail = path.Err.Error() // the system's word alone: names of files have numbers of licences
	case errors.As(err, &link):
		f.Detail = link.Err.Error()
	}
	return f
}

// Push implements Receiver.
func (f *Folder) Push(ctx context.Context, p Parcel) (repeat bool, err error) {
	target := filepath.Join(f.path, p.Key)
	if _, err := os.Lstat(target); err == nil {
		// Whoever put it there may not have come to this.
		if err := syncFolder(f.path); err != nil {
			return false, folderFailed(err)
		}
		return true, nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return false, folderFailed(err)
	}
	if info, err := os.Stat(f.path); err != nil {
		return false, folderFailed(err)
	} else if !info.IsDir() {
		return false, &due.Failed{Failure: due.Failure{Code: "folder", Detail: "not a folder"}, Verdict: due.Away}
	}
	if err := f.sweep(p.Key); err != nil {
		return false, folderFailed(err)
	}
	// A name of its own: another process may be at the same delivery, one that was frozen and wakes.
	building, err := os.MkdirTemp(f.path, incoming(p.Key)+"*")
	if err != nil {
		return false, folderFailed(err)
	}
	defer os.RemoveAll(building)
	if err := os.Chmod(building, 0o750); err != nil {
		return false, folderFailed(err)
	}
	if err := writeDurable(filepath.Join(building, ManifestName), p.Manifest); err != nil {
		return false, folderFailed(err)
	}
	for _, file := range p.Files {
		if err := ctx.Err(); err != nil {
			return false, &due.Failed{Failure: due.Failure{Code: "timeout"}, Verdict: due.Away, Cause: err}
		}
		if !isFileName(file.Name) {
			return false, &due.Failed{Failure: due.Failure{Code: due.CodeInternal}, Verdict: due.Refused, Cause: ErrManifest}
		}
		if err := writeDurable(filepath.Join(building, file.Name), file.Bytes); err != nil {
			return false, folderFailed(err)
		}
	}
	if err := syncFolder(building); err != nil {
		return false, folderFailed(err)
	}
	// A folder that has files in it is never replaced by a rename: whoever comes second finds that it is there.
	if err := os.Rename(building, target); err != nil {
		if _, there := os.Lstat(filepath.Join(target, ManifestName)); there == nil {
			return true, nil
		}
		return false, folderFailed(err)
	}
	if err := syncFolder(f.path); err != nil {
		return false, folderFailed(err)
	}
	return false, nil
}

func incoming(key string) string { return ".incoming-" + key + "-" }

// sweep removes what killed processes have left of this delivery. One that is not dead, and finds its files gone, has lost
// its lease long ago.
func (f *Folder) sweep(key string) error {
	left, err := filepath.Glob(filepath.Join(f.path, incoming(key)+"*"))
	for _, path := range left {
		err = errors.Join(err, os.RemoveAll(path))
	}
	return err
}

func writeDurable(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
