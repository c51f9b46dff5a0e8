package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/elicence/elicence/storage/records/postgrestest"
)

// onServer makes an installation whose records are in a database of a server that the test alone uses.
func onServer(t *testing.T, settings ...string) (data string, server *postgrestest.Server) {
	t.Helper()
	server, err := postgrestest.Start(t.Context(), settings...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := server.Create(t.Context(), "elicence"); err != nil {
		t.Fatal(err)
	}
	data = filepath.Join(t.TempDir(), "data")
	a := appAt(data, aMinuteAgo, io.Discard, io.Discard)
	a.recordsURL = server.URL("elicence")
	if err := a.initialise(context.Background(), smallScheme()); err != nil {
		t.Fatal(err)
	}
	return data, server
}

// Three processes have the same births to issue, on one database, and one is killed on the way: in the end every birth has
// one licence and one number, whoever made it, and what a caller was told stands.
func TestSeveralProcessesIssueTheSameBirths(t *testing.T) {
	t.Parallel()
	data, server := onServer(t)
	folder := t.TempDir()
	file := filepath.Join(folder, "births.jsonl")
	s := smallScheme()
	const count = 120
	if err := writeBirths(file, 1, count, s.hospitals[0].Code); err != nil {
		t.Fatal(err)
	}
	type process struct {
		*exec.Cmd
		said   bytes.Buffer
		report string
	}
	var all []*process
	for n := range 3 {
		p := &process{report: filepath.Join(folder, "report-"+strconv.Itoa(n))}
		p.Cmd = exec.Command("elicence", "issue", "--data", data, "--births", file, "--report", p.report, "--workers", "6")
		p.Stdout, p.Stderr = &p.said, &p.said
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	waitFor(t, func() bool { // whoever issued them: a process may find that others were faster
		report, err := os.ReadFile(all[0].report)
		return err == nil && bytes.Count(report, []byte("\n")) >= 10
	})
	if err := all[0].Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		err := p.Wait()
		if p == all[0] {
			continue
		}
		if err != nil || !strings.Contains(p.said.String(), "refused 0") {
			t.Errorf("a process beside one that was killed: %v: %s", err, p.said.String())
		}
	}
	numbers := map[string]string{}
	for _, p := range all {
		remember(t, numbers, p.report)
	}
	if len(numbers) != count {
		t.Fatalf("%d births were answered, want %d", len(numbers), count)
	}
	whole(t, data, numbers, s.agencies[0].Code)

	// A command while the server is away says so, and consumes nothing.
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	away := call(t.Context(), data, systemClock, "issue", "--births", file)
	if away.code != exitUnavailable || !strings.Contains(away.stderr, "无法连接数据库") {
		t.Errorf("without a server: exit %d: %s", away.code, away.stderr)
	}
	if err := server.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c := call(t.Context(), data, systemClock, "ledger", "audit"); c.code != exitYes {
		t.Errorf("afterwards: exit %d: %s%s", c.code, c.stdout, c.stderr)
	}
	// The beginnings of another installation find no room in it.
	other := appAt(filepath.Join(folder, "other"), systemClock, io.Discard, io.Discard)
	other.recordsURL = server.URL("elicence")
	if err := other.initialise(t.Context(), smallScheme()); err == nil || !strings.Contains(err.Error(), "has an installation already") {
		t.Errorf("a second installation in one database: %v", err)
	}
}

// The database is gone. From the objects alone everything comes back that every command shows, and no number is used twice.
func TestRecordsOnAServerAreRebuiltFromObjects(t *testing.T) {
	t.Parallel()
	data, server := onServer(t)
	file := filepath.Join(t.TempDir(), "births.jsonl")
	s := smallScheme()
	hospital := s.hospitals[0].Code
	if err := writeBirths(file, 1, 6, hospital); err != nil {
		t.Fatal(err)
	}
	must(t, data, "issue", "--births", file, "--workers", "1")
	must(t, data, "handover", "X000000001", "--as", hospital+"/stock-1", "--to", s.cityArchive.Code)
	must(t, data, "revoke", "X000000002", "--as", s.commission.Code+"/supervisor-1", "--reason", "wrongly-issued")
	must(t, data, "ledger", "cosign")
	seen := func() (all []string) {
		t.Helper()
		for n := range 6 {
			all = append(all, must(t, data, "show", fmt.Sprintf("X%09d", n+1), "--fields", "--why", "to compare", "--json"))
		}
		return all
	}
	before := seen()
	must(t, data, "ledger", "cosign")
	if err := postgrestest.Do(t.Context(), server.URL("postgres"), `DROP DATABASE elicence WITH (FORCE)`, `CREATE DATABASE elicence`); err != nil {
		t.Fatal(err)
	}
	if c := call(t.Context(), data, systemClock, "list"); c.code != exitUnavailable {
		t.Errorf("without its database: exit %d", c.code)
	}
	must(t, data, "reconcile", "--mend", "--rebuild")
	for n, after := range seen() {
		if after != before[n] {
			t.Errorf("licence %d came back otherwise:\n%s\nwas\n%s", n+1, after, before[n])
		}
	}
	if again := call(t.Context(), data, systemClock, "reconcile", "--mend", "--rebuild"); again.code != exitNo {
		t.Errorf("over records that are there: exit %d: %s", again.code, again.stderr)
	}
	next := filepath.Join(t.TempDir(), "next.jsonl")
	if err := writeBirths(next, 7, 1, hospital); err != nil {
		t.Fatal(err)
	}
	must(t, data, "issue", "--births", next)
	var rows []struct{ Number, BusinessID string }
	if err := decode(must(t, data, "list", "--json"), &rows); err != nil || len(rows) != 7 || rows[6].Number != "X000000071" {
		t.Errorf("after the rebuild: %+v, %v: the next 64 numbers may have been used, and are not again", rows, err)
	}
	must(t, data, "ledger", "audit")
	must(t, data, "audit", "verify")
}

// A database server is put back to a moment of the past, as docs/operations.md says. Nothing is written until the records
// are reconciled, and then everything that was issued since is there again.
func TestADatabaseIsPutBackToAMoment(t *testing.T) {
	t.Parallel()
	data, server := onServer(t, postgrestest.Archiving()...)
	hospital := smallScheme().hospitals[0].Code
	issue := func(from, count int) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "births.jsonl")
		if err := writeBirths(file, from, count, hospital); err != nil {
			t.Fatal(err)
		}
		must(t, data, "issue", "--births", file, "--workers", "1")
	}
	issue(1, 2)
	backup, err := server.Backup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	issue(3, 2)
	moment := time.Now()
	issue(5, 3) // lost to the database, and not to the objects
	must(t, data, "ledger", "cosign")
	before := must(t, data, "list", "--json")
	if err := postgrestest.Do(t.Context(), server.URL("postgres"), "SELECT pg_switch_wal()"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool {
		var waiting int
		return postgrestest.Ask(t.Context(), server.URL("postgres"),
			`SELECT COUNT(*) FROM pg_stat_archiver WHERE last_archived_wal < pg_walfile_name(pg_current_wal_lsn() - 1)`, &waiting) == nil && waiting == 0
	})
	again, err := server.Recovered(t.Context(), backup, moment)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := again.Stop(); err != nil {
			t.Error(err)
		}
	})
	waitFor(t, func() bool {
		var recovering bool
		return postgrestest.Ask(t.Context(), again.URL("elicence"), `SELECT pg_is_in_recovery()`, &recovering) == nil && !recovering
	})
	set := "records.url=" + again.URL("elicence")
	there := func(args ...string) called {
		t.Helper()
		return call(t.Context(), data, systemClock, append(args, "--set", set)...)
	}
	says(t, "the mark", there("database", "restored", "--why", "disk failure"), exitYes)
	var rows []any
	if c := there("list", "--json"); decode(c.stdout, &rows) != nil || len(rows) != 4 {
		t.Fatalf("of the moment there are %d licences, want 4: %s", len(rows), c.stderr)
	}
	file := filepath.Join(t.TempDir(), "births.jsonl")
	if err := writeBirths(file, 8, 1, hospital); err != nil {
		t.Fatal(err)
	}
	says(t, "issue before it is reconciled", there("issue", "--births", file), exitUnavailable, "reconcile --mend")
	says(t, "reconcile", there("reconcile", "--mend"), exitYes)
	if after := there("list", "--json"); after.stdout != before {
		t.Errorf("what was issued since is not there as it was:\n%s\nwas\n%s", after.stdout, before)
	}
	says(t, "issue", there("issue", "--births", file), exitYes, "issued 1")
	says(t, "audit", there("ledger", "audit"), exitYes)
	says(t, "the trail", there("audit", "verify"), exitYes)
}

// waitFor waits until another process has made a condition true.
func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); !condition(); {
		if time.Now().After(deadline) {
			t.Fatal("it does not come to that")
		}
		time.Sleep(time.Millisecond)
	}
}
