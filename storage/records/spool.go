package records

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/elicence/elicence/audit"
)

// spooled is one audit row on its way from a reader to the next writer: one line of JSON. ID keeps a row from being
// taken in twice when a writer is killed between its commit and the emptying of the spool.
type spooled struct {
	ID    string      `json:"id"`
	Entry audit.Entry `json:"entry"`
}

func (db *DB) spoolPath() string { return db.path + ".spool" }

// openSpool opens the spool for one process at a time.
func (db *DB) openSpool(flag int) (*os.File, error) {
	f, err := os.OpenFile(db.spoolPath(), flag, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EINTR) {
			return nil, errors.Join(err, f.Close())
		}
	}
}

// spool writes rows that are on disk when it returns.
func (db *DB) spool(ctx context.Context, entries []audit.Entry) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	var lines []byte
	for _, e := range entries {
		var id [16]byte
		if _, err := io.ReadFull(db.options.Random, id[:]); err != nil {
			return fmt.Errorf("records: random: %w", err)
		}
		e.At = fromMicro(micro(e.At))
		line, err := json.Marshal(spooled{ID: hex.EncodeToString(id[:]), Entry: e})
		if err != nil {
			return fmt.Errorf("records: audit row: %w", err)
		}
		lines = append(append(lines, line...), '\n')
	}
	f, err := db.openSpool(os.O_CREATE | os.O_RDWR | os.O_APPEND)
	if err != nil {
		return say("write the audit row", err)
	}
	defer func() { err = errors.Join(err, say("write the audit row", f.Close())) }()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return say("write the audit row", err)
	}
	if size > 0 {
		// A reader that was killed may have left half a line: it must not spoil this one.
		last := make([]byte, 1)
		if _, err := f.ReadAt(last, size-1); err != nil {
			return say("write the audit row", err)
		}
		if last[0] != '\n' {
			lines = append([]byte{'\n'}, lines...)
		}
	}
	if _, err := f.Write(lines); err != nil {
		return say("write the audit row", err)
	}
	if err := f.Sync(); err != nil {
		return say("write the audit row", err)
	}
	if size > 0 {
		return nil
	}
	return say("write the audit row", syncFolder(filepath.Dir(db.spoolPath())))
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// maxSpoolLine bounds one row, in bytes.
const maxSpoolLine = 1 << 20

// takeSpool moves what readers have spooled into the trail, each row once. A line that is no row (a reader was killed
// while it wrote, and so showed nothing) is counted in a row of its own.
func (db *DB) takeSpool(ctx context.Context) (err error) {
	f, err := db.openSpool(os.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return say("take in the audit spool", err)
	}
	defer func() { err = errors.Join(err, say("take in the audit spool", f.Close())) }()
	lines := bufio.NewScanner(f)
	lines.Buffer(make([]byte, 0, 4096), maxSpoolLine)
	var rows [][]any
	broken, any := 0, false
	var newest time.Time
	for more := true; more; {
		more = lines.Scan()
		if more && len(lines.Bytes()) > 0 {
			any = true
			var one spooled
			if err := json.Unmarshal(lines.Bytes(), &one); err != nil || one.ID == "" {
				broken++
			} else {
				rows = append(rows, spooledRow(one))
				newest = one.Entry.At
			}
		}
		if len(rows) == 64 || !more && len(rows) > 0 {
			if err := db.write(ctx, func(ctx context.Context, s *session) error { return insertSpooled(ctx, s, rows) }); err != nil {
				return err
			}
			rows = nil
		}
	}
	if err := lines.Err(); err != nil {
		return say("take in the audit spool", err)
	}
	if !any {
		return nil
	}
	if broken > 0 {
		e := audit.Entry{At: newest, What: "audit-spool", Why: fmt.Sprintf("%d broken lines", broken), From: "records"}
		if err := db.write(ctx, func(ctx context.Context, s *session) error { return record(ctx, s, e) }); err != nil {
			return err
		}
	}
	// The rows are committed; only now may they leave the spool.
	if err := f.Truncate(0); err != nil {
		return say("take in the audit spool", err)
	}
	return say("take in the audit spool", f.Sync())
}

func spooledRow(o spooled) []any {
	e := o.Entry
	return []any{e.Organisation, micro(e.At), e.Person, e.What, e.Why, e.From, e.Licence, strings.Join(e.Fields, "\n"), o.ID}
}

func insertSpooled(ctx context.Context, s *session, rows [][]any) error {
	return s.insert(ctx, `INSERT INTO audit (issuer, at, person, what, why, whence, licence, fields, spool)`,
		` ON CONFLICT (spool) WHERE spool IS NOT NULL DO NOTHING`, rows)
}
