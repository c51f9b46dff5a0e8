package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/elicence/elicence/storage/objects"
	"github.com/elicence/elicence/storage/objects/dir"
	"github.com/elicence/elicence/storage/records"
)

// restoreRequest is what restore is asked for.
type restoreRequest struct {
	From     string   // folder of backups, or one backup below snapshots/
	Data     string   // new folder of the installation
	Objects  string   // objects that outlived the loss; "" for none
	Erasures []string // further folders of objects, for their notes of erasures
}

// restored is what restore answers.
type restored struct {
	Data     string    `json:"data"`
	Backup   string    `json:"backup"`
	Taken    time.Time `json:"taken"`
	Entries  uint64    `json:"entries"`
	Objects  int       `json:"objects"`
	Erasures int       `json:"erasures"` // notes, of whatever age
}

func (a *app) restoreCommand() *cobra.Command {
	var r restoreRequest
	c := &cobra.Command{
		Use: "restore --from DIR --data NEWDIR", Short: "恢复 · an installation from a backup, into a new folder; read-only until it is reconciled", Args: cobra.NoArgs,
		Long: `Restore takes the newest complete backup of the folder (or the one that --from names below snapshots/), holds
every file and object to its digest, and puts them into a new folder, which appears complete or not at all.

Nothing can be written there until "elicence reconcile --mend" has run: a backup is older than what was lost.
--objects names the objects folder of the lost installation, if it outlived it: everything that was issued,
moved and erased since is taken from there. --erasures names any other copy of objects, for its notes of
erasures only: what was erased since the backup must not come back. The backup folder's own notes, also of
later backups, are always taken.`,
		Example: "  elicence restore --from /media/backup/elicence --data ./restored\n  elicence restore --from /media/backup/elicence --objects ./data/objects --data ./restored",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if r.From == "" {
				return usage("--from DIR is needed: a folder of backups")
			}
			r.Data = a.data
			done, err := a.restore(cmd.Context(), r)
			if err != nil {
				return err
			}
			return a.tell(done, func(w io.Writer) {
				fmt.Fprintf(w, "✓ %s: %s 的备份，账本 %d 条，%d 个对象 / backup of %s, %d entries, %d objects\n", done.Data, done.Taken.Format(time.RFC3339),
					done.Entries, done.Objects, done.Taken.Format(time.RFC3339), done.Entries, done.Objects)
				fmt.Fprintf(w, "接着 next: elicence reconcile --mend --data %s\n", done.Data)
			})
		},
	}
	c.Flags().StringVar(&r.From, "from", "", "folder of backups, or one backup below its snapshots/")
	c.Flags().StringVar(&r.Objects, "objects", "", "objects folder of the lost installation, if it outlived it")
	c.Flags().StringSliceVar(&r.Erasures, "erasures", nil, "further objects folders, for their notes of erasures")
	return c
}

// restore builds the installation beside its place and renames it when it is complete.
func (a *app) restore(ctx context.Context, r restoreRequest) (restored, error) {
	var done restored
	if err := emptyOrNew(r.Data); err != nil {
		return done, err
	}
	snapshot, poolDir, err := findBackup(r.From)
	if err != nil {
		return done, err
	}
	pool, err := dir.Open(poolDir)
	if err != nil {
		return done, err
	}
	defer pool.Close()
	err = a.inPlace(r.Data, ".elicence-restore-*", func(building string) error {
		done, err = a.restoreInto(ctx, r, snapshot, pool, building)
		return err
	})
	done.Data = r.Data
	return done, err
}

func (a *app) restoreInto(ctx context.Context, r restoreRequest, snapshot string, pool *dir.Store, building string) (restored, error) {
	done := restored{Backup: snapshot}
	// The configuration says where the parts belong; it is checked like all else.
	there := *a
	there.data = snapshot
	c, err := there.readConfig()
	if err != nil {
		return done, err
	}
	place := func(p string) (string, error) {
		if filepath.IsAbs(p) || !filepath.IsLocal(p) {
			return "", usage("%s: %s lies outside the installation's folder: restore it there by hand", configFile, p)
		}
		return filepath.Join(building, p), nil
	}
	objectsAt, err := place(c.Objects.Path)
	if err != nil {
		return done, err
	}
	recordsAt, err := place(c.Records.Path)
	if err != nil {
		return done, err
	}
	store, err := dir.Open(objectsAt)
	if err != nil {
		return done, err
	}
	defer store.Close()
	bar := a.progress(-1, "恢复 restoring")
	m, err := checkBackup(ctx, snapshot, pool, func(key string, b []byte) error {
		_ = bar.Add(1)
		done.Objects++
		return store.Put(ctx, key, b)
	})
	_ = bar.Finish()
	if err != nil {
		return done, err
	}
	for _, f := range m.Files {
		to := filepath.Join(building, filepath.FromSlash(f.Path))
		switch f.Path {
		case recordsCopy:
			to = recordsAt
		case spoolCopy:
			to = recordsAt + ".spool"
		case objectsList:
			continue
		}
		d, err := copyFile(filepath.Join(snapshot, filepath.FromSlash(f.Path)), to)
		if err == nil && (d.SM3 != f.SM3 || d.Size != f.Size) {
			err = fmt.Errorf("%w: %s was changed while it was read", errBackup, f.Path)
		}
		if err != nil {
			return done, err
		}
	}
	for _, d := range []string{"keystores", "secrets"} {
		if err := os.Chmod(filepath.Join(building, d), 0o700); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return done, err
		}
	}
	done.Taken, done.Entries = m.Taken, m.Entries
	if done.Erasures, err = restoreOthers(ctx, r, pool, store); err != nil {
		return done, err
	}
	return done, markRestored(ctx, recordsAt, "backup of "+m.Taken.Format(time.RFC3339))
}

// restoreOthers takes what is not in the backup: notes of erasures from wherever they are, and everything of objects that
// outlived the loss.
func restoreOthers(ctx context.Context, r restoreRequest, pool, to *dir.Store) (erasures int, err error) {
	copyAll := func(from *dir.Store, prefix string) error {
		var keys []string
		err := from.List(ctx, prefix, func(o objects.Info) error {
			keys = append(keys, o.Key)
			return nil
		})
		if err != nil {
			return err
		}
		for _, key := range keys {
			b, err := from.Get(ctx, key)
			if err != nil {
				return err
			}
			if err := to.Put(ctx, key, b); err != nil && (!strings.HasPrefix(key, erasedPrefix) || !errors.Is(err, objects.ErrExists)) {
				return err
			}
		}
		return nil
	}
	if err := copyAll(pool, erasedPrefix); err != nil {
		return 0, err
	}
	further := slices.Clone(r.Erasures)
	if r.Objects != "" {
		further = append(further, r.Objects)
	}
	for _, path := range further {
		if _, err := os.Stat(path); err != nil {
			return 0, fmt.Errorf("objects: %w", err)
		}
		from, err := dir.Open(path)
		if err != nil {
			return 0, err
		}
		prefix := erasedPrefix
		if path == r.Objects {
			prefix = ""
		}
		if err := errors.Join(copyAll(from, prefix), from.Close()); err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
	}
	err = to.List(ctx, erasedPrefix, func(objects.Info) error {
		erasures++
		return nil
	})
	return erasures, err
}

func markRestored(ctx context.Context, path, why string) error {
	db, err := records.Open(ctx, path, records.Options{})
	if err != nil {
		return err
	}
	return errors.Join(db.MarkRestored(ctx, why), db.Close())
}

// findBackup returns one complete backup and the objects that belong to it.
func findBackup(from string) (snapshot, pool string, err error) {
	if _, err := os.Stat(filepath.Join(from, manifestFile)); err == nil {
		return from, filepath.Join(from, "..", "..", backupObjects), nil
	}
	found, err := filepath.Glob(filepath.Join(from, snapshotsDir, "*", manifestFile))
	if err != nil {
		return "", "", err
	}
	slices.Sort(found)
	for _, f := range slices.Backward(found) {
		// One that was interrupted has a name that begins with a dot.
		if name := filepath.Base(filepath.Dir(f)); !strings.HasPrefix(name, ".") {
			return filepath.Dir(f), filepath.Join(from, backupObjects), nil
		}
	}
	return "", "", fmt.Errorf("%w: %s: 没有完整的备份 / there is no complete backup", errBackup, from)
}

// emptyOrNew refuses a folder that holds anything.
func emptyOrNew(path string) error {
	if _, err := os.Stat(filepath.Join(path, configFile)); err == nil {
		return &failure{code: exitNo, cause: fmt.Errorf("%s: there is an installation already", path), do: "choose another folder with --data"}
	}
	if entries, err := os.ReadDir(path); err == nil && len(entries) > 0 {
		return &failure{code: exitNo, cause: fmt.Errorf("%s: the folder is not empty", path), do: "choose an empty or new folder with --data"}
	}
	return nil
}

// inPlace builds a folder beside target and gives it its name when it is complete: a killed process leaves no half one.
func (a *app) inPlace(target, pattern string, build func(building string) error) error {
	parent := filepath.Dir(filepath.Clean(target))
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	building, err := os.MkdirTemp(parent, pattern)
	if err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	defer os.RemoveAll(building)
	if err := build(building); err != nil {
		return err
	}
	if err := os.Chmod(building, 0o755); err != nil {
		return err
	}
	if err := os.Remove(target); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := errors.Join(syncTree(building), os.Rename(building, target), syncDir(parent)); err != nil {
		return fmt.Errorf("put the data folder in place: %w", err)
	}
	return nil
}

// errRestored says that the records were put back from a copy and not reconciled yet.
var errRestored = errors.New("记录是恢复的旧副本，核对之前只读 / the records were put back from a copy: read-only until they are reconciled")

// mayWrite refuses a restored installation that nobody has reconciled.
func (i *installation) mayWrite(ctx context.Context) error {
	why, err := i.db.Restored(ctx)
	if err != nil || why == "" || i.app.reconciling {
		return err
	}
	return fmt.Errorf("%w: %s: %s", errRestored, i.dir, why)
}
