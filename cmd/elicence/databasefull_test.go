package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/elicence/elicence/storage/records/postgrestest"
)

// The database server's disk is full while births are issued: in its tables, where one statement fails after the other, and
// in its log, where the whole server goes down. The caller is told what to do and where, nothing is half done, and when
// there is room the same command goes on, to the same end.
func TestFullDiskOfTheDatabase(t *testing.T) {
	const count = 40
	for name, c := range map[string]struct {
		// fill leaves room for a few births.
		fill func(t *testing.T, server *postgrestest.Server)
		said []string
		down bool
	}{
		"tables": {func(t *testing.T, server *postgrestest.Server) {
			// A table that every step adds to, its pages full to the last hundred bytes, longer than a segment of the log, which is not to be the one that stops.
			if err := postgrestest.Do(t.Context(), server.URL("elicence"), `BEGIN; INSERT INTO audit (issuer, at, person, what, why, whence, licence, fields)
				SELECT '', 0, '', '', '', '', '', repeat('x', 1955) FROM generate_series(1, 9000); ROLLBACK`); err != nil {
				t.Fatal(err)
			}
			var size int64
			if err := postgrestest.Ask(t.Context(), server.URL("elicence"), "SELECT pg_relation_size('audit')", &size); err != nil {
				t.Fatal(err)
			}
			if size <= 16<<20 {
				t.Fatalf("the table has only %d bytes", size)
			}
			// Room for a page and a half: what does not fit in is cut, as by a disk.
			limit(t, server, size+1<<13+1<<12)
		}, []string{"数据库磁盘已满", "the disk of the database is full", "make room on the database server"}, false},
		"log": {func(t *testing.T, server *postgrestest.Server) {
			// The log goes on in a new segment, which is there, and finds its disk full a little after.
			if err := postgrestest.Do(t.Context(), server.URL("elicence"), "SELECT pg_switch_wal()", "SELECT pg_logical_emit_message(true, '', '')"); err != nil {
				t.Fatal(err)
			}
			limit(t, server, 200<<10)
		}, []string{"elicence: 暂不可用", "then repeat the command"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, server := onServer(t, "autovacuum=off", "full_page_writes=off")
			folder := t.TempDir()
			file, report := filepath.Join(folder, "births.jsonl"), filepath.Join(folder, "report.jsonl")
			if err := writeBirths(file, 1, count, smallScheme().hospitals[0].Code); err != nil {
				t.Fatal(err)
			}
			issue := []string{"issue", "--data", data, "--births", file, "--report", report, "--workers", "4"}
			c.fill(t, server)
			says(t, "issue on a full disk", asUser(t, issue...), exitUnavailable, c.said...)
			numbers := map[string]string{}
			issuedOf(t, numbers, report)
			t.Logf("%d of %d births had their answer", len(numbers), count)
			if len(numbers) == count {
				t.Fatal("the disk was not full: this shows nothing")
			}
			if c.down {
				server.Ended()
				says(t, "list without a server", call(t.Context(), data, systemClock, "list"), exitUnavailable, "无法连接数据库", "see whether the database server runs, has room")
				if err := server.Up(t.Context()); err != nil {
					t.Fatal(err)
				}
			} else {
				// Readers get on meanwhile.
				says(t, "list", call(t.Context(), data, systemClock, "list", "--json"), exitYes)
				limit(t, server, 0)
			}
			if err := os.RemoveAll(report); err != nil {
				t.Fatal(err)
			}
			says(t, "the same command, with room", call(t.Context(), data, systemClock, issue...), exitYes, "refused 0", "failed 0")
			remember(t, numbers, report)
			if len(numbers) != count {
				t.Errorf("%d births were answered, want %d", len(numbers), count)
			}
			whole(t, data, numbers, smallScheme().agencies[0].Code)
			says(t, "reconcile", call(t.Context(), data, systemClock, "reconcile"), exitYes)
			says(t, "the trail", call(t.Context(), data, systemClock, "audit", "verify"), exitYes)
		})
	}
}

// issuedOf is remember of a report that has failures, too, and may not be there: nothing in it may be refused.
func issuedOf(t *testing.T, numbers map[string]string, report string) {
	t.Helper()
	b, err := os.ReadFile(report)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var l batchLine
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		switch l.Outcome {
		case "issued", "stands":
			if had := numbers[l.BusinessID]; had != "" && had != l.Number {
				t.Errorf("birth %s was answered with %s and with %s", l.BusinessID, had, l.Number)
			}
			numbers[l.BusinessID] = l.Number
		case "failed":
		default:
			t.Errorf("line %d: %s %s", l.Line, l.Outcome, l.Error)
		}
	}
}

func limit(t *testing.T, server *postgrestest.Server, bytes int64) {
	t.Helper()
	if err := server.Limit(t.Context(), bytes); err != nil {
		t.Fatal(err)
	}
}
