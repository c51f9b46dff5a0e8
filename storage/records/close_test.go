package records

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Closed records hold no file of theirs open: a connection left behind keeps its view of the write-ahead log, and whoever
// opens the records again in this process would share it.
func TestClosedRecordsHoldNoFile(t *testing.T) {
	dir := t.TempDir()
	for _, readOnly := range []bool{false, true, false} {
		db, err := Open(t.Context(), filepath.Join(dir, "x.db"), Options{ReadOnly: readOnly})
		if err != nil {
			t.Fatal(err)
		}
		if !readOnly {
			if _, err := db.NextStatusNumber(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := db.Counts(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		open, err := filepath.Glob("/proc/self/fd/*")
		if err != nil || len(open) == 0 {
			t.Fatalf("no list of open files: %v", err)
		}
		for _, f := range open {
			if to, err := os.Readlink(f); err == nil && strings.HasPrefix(to, dir) {
				t.Errorf("read-only %v: %s is still open", readOnly, to)
			}
		}
	}
}
