package main

import (
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Whoever owns the database can change any row. The audit names what does not fit, and an export never passes off
// stored bytes that are not the signed ones.
func TestAuditNamesWhatWasChanged(t *testing.T) {
	t.Parallel()
	s := demonstrationScheme()
	ready := copyOf(t, issued)
	must(t, ready, "revoke", "X000000005", "--as", s.commission.Code+"/supervisor-1", "--reason", "false-evidence")
	must(t, ready, "replace", "X000000006", "--as", s.hospitals[0].Code+"/clerk-1", "--approver", "seal-1", "--grounds", "lost", "--business", "R-1")
	must(t, ready, "show", "X000000001", "--fields", "--why", "to have a row")
	must(t, ready, "ledger", "cosign")
	says(t, "before", call(t.Context(), ready, systemClock, "ledger", "audit"), exitYes)
	for name, is := range map[string]struct {
		change string
		words  string
	}{
		"an entry changed":       {`UPDATE log_entries SET bytes = CAST(substr(bytes, 1, 40) || X'00' || substr(bytes, 42) AS BLOB) WHERE idx = 9`, "entry 9"},
		"an entry deleted":       {`DELETE FROM log_entries WHERE idx = 9`, "9"},
		"two entries swapped":    {`UPDATE log_entries SET bytes = (SELECT bytes FROM log_entries WHERE idx = 10) WHERE idx = 9`, "entry 9"},
		"the last entry cut off": {`DELETE FROM log_entries WHERE idx = (SELECT max(idx) FROM log_entries)`, ""},
		"an event deleted":       {`DELETE FROM events WHERE kind = 'issued' AND licence = (SELECT ordinal FROM licences WHERE number = 'X000000001')`, "X000000001"},
		"a licence deleted": {`PRAGMA foreign_keys = 0; UPDATE licences SET stage = 2, status = 0 WHERE number = 'X000000002';
			DELETE FROM licences WHERE number = 'X000000001'`, "entry"},
		"a revocation undone":          {`UPDATE licences SET status = 0 WHERE number = 'X000000005'`, "X000000005"},
		"a revocation invented":        {`UPDATE licences SET status = 1 WHERE number = 'X000000002'`, "X000000002"},
		"a replaced one put back":      {`UPDATE licences SET status = 0 WHERE number = 'X000000006'`, "X000000006"},
		"an audit row changed":         {`UPDATE audit SET person = 'somebody-else' WHERE sequence = 3`, "row 3"},
		"an audit row deleted":         {`DELETE FROM audit WHERE sequence = 3`, "row"},
		"the whole trail written anew": {`DELETE FROM audit; DELETE FROM installation WHERE name = 'audit-head'`, "anchored is not in its chain"},
		"a reason for reading gone":    {`UPDATE audit SET why = '' WHERE why = 'to have a row'`, "audit trail"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := copyOf(t, func() (string, error) { return ready, nil })
			db, err := sql.Open("sqlite", filepath.Join(data, "records", "elicence.db"))
			if err != nil {
				t.Fatal(err)
			}
			r, err := db.ExecContext(t.Context(), is.change)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := r.RowsAffected(); n == 0 || err != nil {
				t.Fatalf("nothing was changed: %v", err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			c := call(t.Context(), data, systemClock, "ledger", "audit")
			if c.code == exitYes || c.code == exitInternal || !strings.Contains(c.stdout+c.stderr, is.words) {
				t.Errorf("audit: exit %d: %s%s", c.code, c.stdout, c.stderr)
			}
		})
	}
}

// A stored part that was changed, exchanged for another, or lost is not exported; the others are.
func TestStoredPartsAreHeldToTheirRecords(t *testing.T) {
	t.Parallel()
	data := copyOf(t, issued)
	var views []licenceView
	if err := decode(must(t, data, "show", "X000000001", "--json"), &views); err != nil {
		t.Fatal(err)
	}
	object := filepath.Join(data, "objects", filepath.FromSlash(views[0].Parts[0].Object))
	stored, err := os.ReadFile(object)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(object, 0o644); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out")
	changed := append([]byte(nil), stored...)
	changed[len(changed)/2] ^= 1
	for name, put := range map[string]func() error{
		"changed": func() error { return os.WriteFile(object, changed, 0o644) },
		"cut":     func() error { return os.WriteFile(object, stored[:100], 0o644) },
		"empty":   func() error { return os.WriteFile(object, nil, 0o644) },
		"lost":    func() error { return os.Remove(object) },
	} {
		if err := put(); err != nil {
			t.Fatal(err)
		}
		c := call(t.Context(), data, systemClock, "export", "X000000001", "--out", out)
		if c.code != exitUnavailable && c.code != exitNo || !strings.Contains(c.stderr, "X000000001") {
			t.Errorf("%s: export: exit %d: %s", name, c.code, c.stderr)
		}
		if _, err := os.Stat(filepath.Join(out, "X000000001-main.pdf")); err == nil {
			t.Errorf("%s: the part was exported all the same", name)
		}
		if err := os.WriteFile(object, stored, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	must(t, data, "export", "X000000001", "X000000002", "--out", out)
}

// A huge file gets its verdict without filling the memory.
func TestAHugeFileDoesNotFillTheMemory(t *testing.T) {
	t.Parallel()
	data := copyOf(t, issued)
	out := filepath.Join(t.TempDir(), "out")
	must(t, data, "export", "X000000001", "--out", out)
	huge := filepath.Join(t.TempDir(), "huge.pdf")
	good, err := os.ReadFile(filepath.Join(out, "X000000001-main.pdf"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(huge, good, 0o644); err != nil {
		t.Fatal(err)
	}
	const size = 4 << 30 // sparse: it costs no disk
	if err := os.Truncate(huge, size); err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), "elicence", "verify", "--trust", filepath.Join(out, "trust.json"), huge)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		_ = c.Wait() // how it ended is in the process state
		close(done)
	}()
	// Asked while it lives: what the system says of a process that has ended is at least what its parent had.
	most := 0
	for living := true; living; {
		select {
		case <-done:
			living = false
		case <-time.After(time.Millisecond):
			most = max(most, highWater(c.Process.Pid))
		}
	}
	if c.ProcessState.ExitCode() != exitIndeterminate {
		t.Fatalf("verify: %v", c.ProcessState)
	}
	if most == 0 || most > 288<<10 { // KB; 34 MB of it are the program before it has read anything
		t.Errorf("verify took %d KB of memory", most)
	}
}

// highWater is the most memory that a living process has had, in KB; 0 if it does not live.
func highWater(pid int) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	kb, err := strconv.Atoi(strings.TrimSpace(strings.SplitN(rest, "kB", 2)[0]))
	if err != nil {
		return 0
	}
	return kb
}
