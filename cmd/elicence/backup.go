package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emmansun/gmsm/sm3"
	"github.com/spf13/cobra"

	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/ledger"
	"github.com/elicence/elicence/storage/objects"
	"github.com/elicence/elicence/storage/objects/dir"
	"github.com/elicence/elicence/storage/records"
)

// A backup folder holds many backups of one installation: objects/ is shared by all of them, since what lies there never
// changes; snapshots/NAME/ is one backup, complete or not there.
const (
	snapshotsDir  = "snapshots"
	manifestFile  = "manifest.json"
	recordsCopy   = "records.db"
	spoolCopy     = "records.db.spool"
	objectsList   = "objects.list"
	backupObjects = "objects"
	backupFormat  = 1
	unfinished    = ".new-"
)

// manifest is what a backup says of itself. Every byte of it is under a digest that stands here, or is named by its own.
type manifest struct {
	Format  int            `json:"format"`
	Taken   time.Time      `json:"taken"`
	Name    words          `json:"name"`
	Origin  string         `json:"origin"` // of the log
	Entries uint64         `json:"entries"`
	Counts  map[string]int `json:"licences"` // by stage
	Files   []fileDigest   `json:"files"`
	Objects int            `json:"objects"`
	Bytes   int64          `json:"bytes"` // of files and objects
	InClear []string       `json:"inClear"`
}

type fileDigest struct {
	Path string      `json:"path"`
	Mode fs.FileMode `json:"mode"`
	Size int64       `json:"size"`
	SM3  string      `json:"sm3"`
}

// backedUp is what backup answers.
type backedUp struct {
	Backup  string `json:"backup"` // folder of this one
	SM3     string `json:"sm3"`    // of its manifest: kept apart, it vouches for everything
	Entries uint64 `json:"entries"`
	Objects int    `json:"objects"`
	Fresh   int    `json:"objectsWritten"` // that no earlier backup in the folder had
	Bytes   int64  `json:"bytes"`
}

// staticFiles belong together and change by commands on keys and configuration only: a backup has them as they were at
// one moment. movingFiles are copied before the records, so that none of them knows more than these.
var (
	staticFiles = []string{configFile, "trust.pin", "keystores", "certificates", "ca", "fonts", "secrets"}
	movingFiles = []string{"cosigners", "publish"}
)

// whatIsClear is said in every manifest, for whoever decides where a backup may lie.
var whatIsClear = []string{
	"records.db: numbers, identifiers, business ids, organisations, kinds, times, who asked and approved, reasons and words of the audit trail",
	"objects: the log (organisations, times, order), checkpoints, notes of erasures",
	"certificates, ca, cosigners, publish, fonts, configuration",
}

func (a *app) backupCommand() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use: "backup --out DIR", Short: "备份 · the whole installation into a folder, while others work; verified after writing", Args: cobra.NoArgs,
		Long: `Backup copies records, keystores, certificates, cosigners' state, what is published, and every object that the
records name. A writer goes on writing. Objects never change, so that a second backup into the same folder
copies the new ones only. The records come first, then the objects that they name: what is in the records
of a backup is among its objects.

A backup is there complete or not at all; it is read back and held to its digests before it gets its name.
Parts and personal columns stay encrypted, keystores are under their passphrases: keep these elsewhere.
What lies in clear is listed in manifest.json. In a demonstration the passphrases go with it.`,
		Example: "  elicence backup --out /media/backup/elicence\n  elicence backup --out /media/backup/elicence --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if out == "" {
				return usage("--out DIR is needed")
			}
			i, err := a.openForReading(cmd.Context())
			if err != nil {
				return err
			}
			defer i.close()
			done, err := i.backup(cmd.Context(), out)
			if err != nil {
				return err
			}
			return a.tell(done, func(w io.Writer) {
				fmt.Fprintf(w, "✓ %s: 账本 %d 条，%d 个对象（新 %d）/ %d entries, %d objects (%d new), read back and verified\n   manifest SM3 %s\n",
					done.Backup, done.Entries, done.Objects, done.Fresh, done.Entries, done.Objects, done.Fresh, done.SM3)
			})
		},
	}
	c.Flags().StringVar(&out, "out", "", "folder of backups; made if it is not there")
	return c
}

var errChangedMeanwhile = errors.New("keys or configuration were changed meanwhile")

// backup writes one backup below out. Everything lies under a name that no restore looks at until it is verified.
func (i *installation) backup(ctx context.Context, out string) (backedUp, error) {
	var done backedUp
	if i.config.Records.shared() || i.config.Objects.Driver != inFolder {
		return done, usage("backup copies an installation in one folder; a database server and a bucket are copied by their own tools: docs/operations.md")
	}
	if err := i.outside(out); err != nil {
		return done, err
	}
	snapshots := filepath.Join(out, snapshotsDir)
	if err := os.MkdirAll(snapshots, 0o700); err != nil {
		return done, fmt.Errorf("backup: %w", err)
	}
	taken := i.app.now().UTC().Truncate(time.Second)
	var suffix [3]byte
	if _, err := io.ReadFull(rand.Reader, suffix[:]); err != nil {
		return done, err
	}
	name := taken.Format("20060102T150405Z") + "-" + hex.EncodeToString(suffix[:])
	building := filepath.Join(snapshots, unfinished+name)
	if err := os.Mkdir(building, 0o700); err != nil {
		return done, fmt.Errorf("backup: %w", err)
	}
	defer os.RemoveAll(building)
	m := manifest{Format: backupFormat, Taken: taken, Name: i.config.Name, Origin: i.config.Ledger.Origin, InClear: slices.Clone(whatIsClear)}
	if i.config.Demonstration {
		m.InClear = append(m.InClear, "secrets: the passphrases of this demonstration")
	}
	if err := i.copyState(ctx, building, &m); err != nil {
		return done, err
	}
	pool, err := dir.Open(filepath.Join(out, backupObjects))
	if err != nil {
		return done, err
	}
	defer pool.Close()
	if done.Fresh, err = i.copyObjects(ctx, building, pool, &m); err != nil {
		return done, err
	}
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return done, err
	}
	if err := writeFile(filepath.Join(building, manifestFile), b, 0o600); err != nil {
		return done, err
	}
	if _, err := checkBackup(ctx, building, pool, nil); err != nil {
		return done, fmt.Errorf("what was written does not read back: %w", err)
	}
	done.Backup = filepath.Join(snapshots, name)
	if err := errors.Join(syncTree(building), os.Rename(building, done.Backup), syncDir(snapshots)); err != nil {
		return done, fmt.Errorf("backup: %w", err)
	}
	done.SM3, done.Entries, done.Objects, done.Bytes = fmt.Sprintf("%x", sm3.Sum(b)), m.Entries, m.Objects, m.Bytes
	return done, i.db.Record(ctx, i.reading(ctx, actor{}, "backup", "", name))
}

// outside refuses to put a backup into what it is a backup of.
func (i *installation) outside(out string) error {
	target, err := filepath.Abs(out)
	if err != nil {
		return err
	}
	data, err := filepath.Abs(i.dir)
	if err != nil {
		return err
	}
	if target == data || strings.HasPrefix(target, data+string(filepath.Separator)) {
		return usage("--out lies inside the installation: what is lost with it is no backup")
	}
	if _, err := os.Stat(filepath.Join(out, configFile)); err == nil {
		return usage("--out is an installation itself: choose another folder")
	}
	return nil
}

// copyState copies files and records so that they belong together. Cosigners and what is published are copied before the
// records: the copy's records then know at least as much of the log as anything beside them.
func (i *installation) copyState(ctx context.Context, to string, m *manifest) error {
	for attempt := 1; ; attempt++ {
		before, err := i.copyFiles(to, append(slices.Clone(staticFiles), movingFiles...))
		if err != nil {
			return err
		}
		// Rows of readers are taken into the records once, whichever copy has them: the spool comes first.
		spool, err := copyFile(i.path(i.config.Records.Path)+".spool", filepath.Join(to, spoolCopy))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("backup: %w", err)
		}
		if err := os.Remove(filepath.Join(to, recordsCopy)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := i.db.Snapshot(ctx, filepath.Join(to, recordsCopy)); err != nil {
			return err
		}
		after, err := i.digests(staticFiles)
		if err != nil {
			return err
		}
		if !slices.Equal(after, before[:len(after)]) {
			if attempt == 5 {
				return fmt.Errorf("backup: %w: try again", errChangedMeanwhile)
			}
			continue
		}
		m.Files = before
		if spool.SM3 != "" {
			spool.Path = spoolCopy
			m.Files = append(m.Files, spool)
		}
		d, err := digestOf(filepath.Join(to, recordsCopy))
		if err != nil {
			return err
		}
		d.Path = recordsCopy
		m.Files = append(m.Files, d)
		for _, f := range m.Files {
			m.Bytes += f.Size
		}
		return nil
	}
}

// each file of the installation below the names, in a stable order.
func (i *installation) eachFile(names []string, visit func(path string) error) error {
	for _, name := range names {
		err := filepath.WalkDir(filepath.Join(i.dir, name), func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil || d.IsDir() || !d.Type().IsRegular() || strings.HasPrefix(d.Name(), ".") {
				return err // what begins with a dot is on its way to another name
			}
			rel, err := filepath.Rel(i.dir, path)
			if err != nil {
				return err
			}
			return visit(rel)
		})
		if err != nil {
			return fmt.Errorf("backup: %w", err)
		}
	}
	return nil
}

func (i *installation) copyFiles(to string, names []string) (files []fileDigest, err error) {
	err = i.eachFile(names, func(path string) error {
		d, err := copyFile(filepath.Join(i.dir, path), filepath.Join(to, path))
		d.Path = filepath.ToSlash(path)
		files = append(files, d)
		return err
	})
	return files, err
}

func (i *installation) digests(names []string) (files []fileDigest, err error) {
	err = i.eachFile(names, func(path string) error {
		d, err := digestOf(filepath.Join(i.dir, path))
		d.Path = filepath.ToSlash(path)
		files = append(files, d)
		return err
	})
	return files, err
}

func digestOf(path string) (d fileDigest, err error) {
	f, err := os.Open(path)
	if err != nil {
		return d, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return d, err
	}
	h := sm3.New()
	if d.Size, err = io.Copy(h, f); err != nil {
		return d, err
	}
	d.Mode, d.SM3 = info.Mode().Perm(), hex.EncodeToString(h.Sum(nil))
	return d, nil
}

// copyFile copies one file with its mode, durably, and returns what was copied.
func copyFile(from, to string) (d fileDigest, err error) {
	in, err := os.Open(from)
	if err != nil {
		return d, err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return d, err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return d, err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, info.Mode().Perm())
	if err != nil {
		return d, err
	}
	h := sm3.New()
	d.Size, err = io.Copy(io.MultiWriter(out, h), in)
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return d, err
	}
	d.Mode, d.SM3 = info.Mode().Perm(), hex.EncodeToString(h.Sum(nil))
	return d, nil
}

// copyObjects copies what the copied records name, and of the log what they have. It returns how many objects the folder
// did not have.
func (i *installation) copyObjects(ctx context.Context, building string, pool *dir.Store, m *manifest) (fresh int, err error) {
	copied, err := records.Open(ctx, filepath.Join(building, recordsCopy), records.Options{ReadOnly: true})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, copied.Close(), forgetBeside(filepath.Join(building, recordsCopy))) }()
	head, err := copied.Head(ctx)
	if err != nil {
		return 0, err
	}
	m.Entries = head.Size
	counts, err := copied.Counts(ctx)
	if err != nil {
		return 0, err
	}
	m.Counts = map[string]int{}
	total := 0
	for stage, n := range counts.ByStage {
		m.Counts[stage.String()], total = n, total+n
	}
	list, err := os.OpenFile(filepath.Join(building, objectsList), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	w := bufio.NewWriter(list)
	bar := i.app.progress(2*total, "对象 objects")
	take := func(key string) error {
		_ = bar.Add(1)
		written, line, size, err := copyObject(ctx, i.objects, pool, key)
		if err != nil {
			return fmt.Errorf("backup: %w", err)
		}
		if written {
			fresh++
		}
		m.Objects, m.Bytes = m.Objects+1, m.Bytes+size
		_, err = w.WriteString(line)
		return err
	}
	err = copied.StoredParts(ctx, func(p records.StoredPart) error {
		if p.Stage != issuing.StageIssued {
			// It may lie there already or not: whoever finishes the licence makes the same bytes again.
			if _, err := i.objects.Stat(ctx, p.Address); errors.Is(err, objects.ErrNotFound) {
				return nil
			}
		}
		return take(p.Address)
	})
	if err == nil {
		err = i.eachCommonObject(ctx, head.Size, take)
	}
	_ = bar.Finish()
	if err = errors.Join(err, w.Flush(), list.Sync(), list.Close()); err != nil {
		return fresh, err
	}
	d, err := digestOf(filepath.Join(building, objectsList))
	d.Path = objectsList
	m.Files = append(m.Files, d)
	m.Bytes += d.Size
	return fresh, err
}

// forgetBeside removes what the engine leaves beside a file that was only read.
func forgetBeside(path string) error {
	var errs []error
	for _, suffix := range []string{"-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// eachCommonObject names the objects that belong to no single licence. A checkpoint that the copied records have not
// reached would make them look rolled back, and tiles of entries that they do not have would stand in the way of others:
// both belong to the next backup. Wrapped data keys are in the records.
func (i *installation) eachCommonObject(ctx context.Context, size uint64, take func(key string) error) error {
	var keys []string
	err := i.objects.List(ctx, "", func(o objects.Info) error {
		if !strings.HasPrefix(o.Key, objects.Content) && !strings.HasPrefix(o.Key, objects.Deletable) && logSize(o.Key) <= size {
			keys = append(keys, o.Key)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, k := range keys {
		if err := take(k); err != nil {
			return err
		}
	}
	return nil
}

const checkpointPrefix = "checkpoint/"

// logSize is how many entries the log has at least, given that this object of it was published; 0 for what is not of the log.
func logSize(key string) uint64 {
	if size, ok := ledger.SizeWithTile(key); ok {
		return size
	}
	rest, ok := strings.CutPrefix(key, checkpointPrefix)
	if !ok {
		return 0
	}
	digits, _, _ := strings.Cut(rest, "-")
	size, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return 0
	}
	return size
}

// copyObject puts an object into another store and returns its line of the list: key, bytes, SM3.
func copyObject(ctx context.Context, from objectStore, to *dir.Store, key string) (written bool, line string, size int64, err error) {
	b, err := from.Get(ctx, key)
	if err != nil {
		return false, "", 0, err
	}
	_, err = to.Stat(ctx, key)
	written = errors.Is(err, objects.ErrNotFound)
	if err != nil && !written {
		return false, "", 0, err
	}
	if err := to.Put(ctx, key, b); err != nil {
		return false, "", 0, err
	}
	return written, fmt.Sprintf("%s %d %s\n", key, len(b), objects.Address(b)), int64(len(b)), nil
}

// checkBackup reads everything of a backup and holds it to its digests. each, if set, is handed every object.
func checkBackup(ctx context.Context, folder string, pool *dir.Store, each func(key string, b []byte) error) (manifest, error) {
	var m manifest
	b, err := os.ReadFile(filepath.Join(folder, manifestFile))
	if err != nil {
		return m, fmt.Errorf("backup: %w", err)
	}
	if err := json.Unmarshal(b, &m); err != nil || m.Format != backupFormat {
		return m, fmt.Errorf("%w: %s is no backup of this format", errBackup, folder)
	}
	for _, f := range m.Files {
		if !filepath.IsLocal(f.Path) {
			return m, fmt.Errorf("%w: a path leads out of it", errBackup)
		}
		d, err := digestOf(filepath.Join(folder, filepath.FromSlash(f.Path)))
		if err != nil {
			return m, fmt.Errorf("%w: %w", errBackup, err)
		}
		if d.Size != f.Size || d.SM3 != f.SM3 {
			return m, fmt.Errorf("%w: %s is not what was backed up", errBackup, f.Path)
		}
	}
	list, err := os.Open(filepath.Join(folder, objectsList))
	if err != nil {
		return m, fmt.Errorf("%w: %w", errBackup, err)
	}
	defer list.Close()
	count := 0
	for lines := bufio.NewScanner(list); lines.Scan(); count++ {
		var key, sum string
		var size int
		if _, err := fmt.Sscanf(lines.Text(), "%s %d %s", &key, &size, &sum); err != nil {
			return m, fmt.Errorf("%w: %s, line %d", errBackup, objectsList, count+1)
		}
		b, err := pool.Get(ctx, key)
		if err != nil {
			return m, fmt.Errorf("%w: %w", errBackup, err)
		}
		if len(b) != size || objects.Address(b) != sum {
			return m, fmt.Errorf("%w: %s is not what was backed up", errBackup, key)
		}
		if each != nil {
			if err := each(key, b); err != nil {
				return m, err
			}
		}
	}
	if count != m.Objects {
		return m, fmt.Errorf("%w: %d objects, and %d are listed", errBackup, m.Objects, count)
	}
	return m, nil
}

// errBackup says that a backup is not whole, or no backup.
var errBackup = errors.New("备份不完整或已损坏 / the backup is not whole, or damaged")

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// syncTree makes the names below a folder durable; the files are already.
func syncTree(root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return syncDir(path)
	})
}
