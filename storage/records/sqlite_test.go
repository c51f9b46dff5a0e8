package records

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/elicence/elicence/audit"
	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/storage/records/recordstest"
)

func fresh(t *testing.T, o Options) (*DB, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "records.db")
	db, err := Open(context.Background(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db, path
}

// raw changes the file behind the records' back.
func raw(t *testing.T, path string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", dsn(path, "rw"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func tables(t *testing.T, path string) []string {
	t.Helper()
	db, err := sql.Open("sqlite", dsn(path, "rw"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query(`SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'goose%' AND name NOT LIKE 'sqlite%' ORDER BY name`)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	err = collect(rows, func(r row) error {
		var n string
		err := r.Scan(&n)
		names = append(names, n)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestMigrationsGoForwardAndBack(t *testing.T) {
	ctx := context.Background()
	db, path := fresh(t, Options{})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	before := tables(t, path)
	if len(before) < 15 {
		t.Fatalf("tables: %v", before)
	}
	file, err := sql.Open("sqlite", dsn(path, "rw"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	p, err := (&sqliteFile{}).provider(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.DownTo(ctx, 0); err != nil {
		t.Fatal(err)
	}
	if left := tables(t, path); len(left) != 0 {
		t.Errorf("going back leaves %v", left)
	}
	if _, err := p.Up(ctx); err != nil {
		t.Fatal(err)
	}
	if after := tables(t, path); strings.Join(after, " ") != strings.Join(before, " ") {
		t.Errorf("forward again: %v, before %v", after, before)
	}
	sources := p.ListSources()
	if last := sources[len(sources)-1].Version; last != version {
		t.Errorf("the last migration is %d, the program says %d", last, version)
	}
}

// An installation of before: every sheet was of one stock, also for licences of another type. Forward, each sheet has the
// type of what it became or was printed for, and both year tables balance; back, the old program finds all of them.
func TestOldSheetsGetTheirType(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "records.db")
	old, err := sql.Open("sqlite", dsn(path, "rwc"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := (&sqliteFile{}).provider(old)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.UpTo(ctx, 1); err != nil {
		t.Fatal(err)
	}
	licenceRow := `INSERT INTO licences (id, issuer, stage, epoch, status, status_at, replaced_by, park_reason, number, identifier, serial,
		type, kind, business_id, replaces, uses_stock, status_index, issue_time, data_key, data_key_id, key_version, request_digest)
		VALUES ('%[1]s', 'h', 3, 1, 0, 0, '', '', '%[2]s', '%[1]s', 1, '%[3]s', 'first', '%[1]s', '', 1, %[4]d, 1790000000000000, x'', '', 1, x'')`
	raw(t, path,
		`INSERT INTO sheets (number, issuer, state, drawn_at) VALUES ('A000000001', 'h', 'allotted', 1780000000000000)`,
		`INSERT INTO sheets (number, issuer, state, business_id, drawn_at) VALUES ('A000000002', 'h', 'bound', 'b', 1780000000000000)`,
		`INSERT INTO sheets (number, issuer, state, licence, drawn_at, used_at) VALUES ('A000000003', 'h', 'issued', 'l1', 1780000000000000, 1790000000000000)`,
		`INSERT INTO sheets (number, issuer, state, licence, drawn_at, used_at) VALUES ('A000000004', 'h', 'issued', 'l2', 1780000000000000, 1790000000000000)`,
		fmt.Sprintf(licenceRow, "l1", "A000000003", "birth-certificate", 1), fmt.Sprintf(licenceRow, "l2", "A000000004", "childbirth-certificate", 2))
	births, mothers := issuing.Pile{Issuer: "h", Type: "birth-certificate"}, issuing.Pile{Issuer: "h", Type: "childbirth-certificate"}
	for range 2 { // forward, back, forward again
		db, err := Open(ctx, path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for pile, want := range map[issuing.Pile]licence.YearTable{
			births:  {Issuer: "h", Type: births.Type, Year: 2026, Drawn: 3, Inside: licence.Issues{First: 1}, Closing: 2},
			mothers: {Issuer: "h", Type: mothers.Type, Year: 2026, Drawn: 1, Inside: licence.Issues{First: 1}},
		} {
			if got, err := db.YearTable(ctx, pile, 2026, time.UTC); err != nil || got != want || got.Balance() != nil {
				t.Errorf("%s: %+v, want %+v, %v", pile.Type, got, want, err)
			}
		}
		if free, err := db.FreeCounts(ctx); err != nil || free[births] != 1 || len(free) != 1 {
			t.Errorf("free: %v, %v", free, err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := p.DownTo(ctx, 1); err != nil {
			t.Fatal(err)
		}
		var n int
		err = old.QueryRow(`SELECT COUNT(*) FROM sheets INDEXED BY sheets_free WHERE issuer = 'h' AND state = 'allotted'`).Scan(&n)
		if err != nil || n != 1 {
			t.Errorf("after going back %d sheets are free, %v", n, err)
		}
	}
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
}

// Law 11: every table carries the issuer.
func TestEveryTableCarriesTheIssuer(t *testing.T) {
	db, path := fresh(t, Options{})
	for _, table := range tables(t, path) {
		var n int
		if err := db.row(context.Background(), `SELECT COUNT(*) FROM pragma_table_info('`+table+`') WHERE name = 'issuer'`).Scan(&n); err != nil || n != 1 {
			t.Errorf("table %s has no issuer, %v", table, err)
		}
	}
}

func TestCommitsAreFsynced(t *testing.T) {
	db, _ := fresh(t, Options{})
	err := db.write(context.Background(), func(ctx context.Context, s *session) error {
		for pragma, want := range map[string]string{"synchronous": "2", "journal_mode": "wal", "foreign_keys": "1"} {
			var got string
			if err := s.scan(ctx, "PRAGMA "+pragma, nil, &got); err != nil {
				return err
			}
			if got != want {
				t.Errorf("%s is %s, want %s", pragma, got, want)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestOtherVersions(t *testing.T) {
	ctx := context.Background()
	db, path := fresh(t, Options{})
	db.Close()
	raw(t, path, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, 1)`)
	for _, o := range []Options{{}, {ReadOnly: true}} {
		db, err := Open(ctx, path, o)
		if !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), "999") {
			t.Errorf("read-only %v: tables of a newer program: %v", o.ReadOnly, err)
		}
		if db != nil {
			db.Close()
		}
	}
	empty := filepath.Join(t.TempDir(), "empty.db")
	if _, err := Open(ctx, empty, Options{ReadOnly: true}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a reader where nothing is: %v", err)
	}
	if _, err := os.Stat(empty); !errors.Is(err, os.ErrNotExist) {
		t.Error("a reader made a file")
	}
}

func TestTamperedTrail(t *testing.T) {
	ctx := context.Background()
	for name, c := range map[string]struct {
		change string
		broken uint64
	}{
		"a changed person":        {`UPDATE audit SET person = 'somebody' WHERE sequence = 4`, 4},
		"a changed field list":    {`UPDATE audit SET fields = '' WHERE sequence = 5`, 5},
		"a changed time":          {`UPDATE audit SET at = at + 1 WHERE sequence = 6`, 6},
		"a removed row":           {`DELETE FROM audit WHERE sequence = 7`, 7},
		"rows removed at the end": {`DELETE FROM audit WHERE sequence > 8`, 9},
		"all rows removed":        {`DELETE FROM audit`, 1},
		"a changed hash":          {`UPDATE audit SET hash = zeroblob(32) WHERE sequence = 3`, 3},
		"an unsealed row":         {`UPDATE audit SET sequence = NULL WHERE sequence = 2`, 2},
	} {
		t.Run(name, func(t *testing.T) {
			db, path := fresh(t, Options{})
			for i := range 10 {
				e := audit.Entry{At: fromMicro(int64(1e15 + i)), Organisation: "o", Person: "p", What: "show", Licence: "l", Fields: []string{"/child/name"}}
				if err := db.Record(ctx, e); err != nil {
					t.Fatal(err)
				}
			}
			if n, err := db.Unsealed(ctx); n != 10 || err != nil {
				t.Fatal(n, err)
			}
			if _, n, err := db.Seal(ctx); n != 10 || err != nil {
				t.Fatal(n, err)
			}
			if n, err := db.Unsealed(ctx); n != 0 || err != nil {
				t.Fatal(n, err)
			}
			raw(t, path, c.change)
			if broken, rows, err := db.CheckChain(ctx); broken != c.broken || err != nil || rows != int(c.broken)-1 {
				t.Errorf("broken at %d after %d rows, want %d, %v", broken, rows, c.broken, err)
			}
		})
	}
}

// TestChainIsUnambiguous: moving a word from one field to the next must change the hash.
func TestChainIsUnambiguous(t *testing.T) {
	seen := map[[32]byte]int{}
	for i, e := range []audit.Entry{
		{Person: "ab"}, {Person: "a", What: "b"}, {What: "ab"}, {Fields: []string{"a", "b"}}, {Fields: []string{"ab"}}, {Fields: []string{"a\nb"}},
		{Licence: "a", Fields: []string{"b"}}, {},
	} {
		h := chained([32]byte{}, e)
		if j, ok := seen[h]; ok {
			t.Errorf("entries %d and %d have one hash", i, j)
		}
		seen[h] = i
	}
}

func TestMovedCiphertextsDoNotOpen(t *testing.T) {
	// Two licences, and an administrator who swaps what is sealed of them.
	for _, change := range []string{
		`UPDATE contents SET request = (SELECT c.request FROM contents c WHERE c.licence = 2) WHERE licence = 1`,
		`UPDATE contents SET seed = request WHERE licence = 1`,
		`UPDATE contents SET request = substr(request, 1, length(request) - 1) WHERE licence = 1`,
		`UPDATE licences SET data_key = (SELECT l.data_key FROM licences l WHERE l.ordinal = 2) WHERE ordinal = 1`,
		`UPDATE licences SET key_version = 2 WHERE ordinal = 1`,
		`UPDATE signatures SET credential = zeroblob(60) WHERE licence = 1`,
	} {
		t.Run(change[:30], func(t *testing.T) {
			ctx := context.Background()
			db, path := fresh(t, Options{KEK: recordstest.KEK()})
			made := recordstest.Sample(t, db, 2)
			raw(t, path, change)
			if _, err := db.ByID(ctx, made[0].ID); !errors.Is(err, ErrSealed) {
				t.Errorf("%v", err)
			}
			if _, err := db.ByID(ctx, made[1].ID); err != nil {
				t.Errorf("the other licence: %v", err)
			}
		})
	}
}

// TestSpoolSurvivesAKilledReader: half a line of a reader that was killed spoils no other row, and is counted.
func TestSpoolSurvivesAKilledReader(t *testing.T) {
	ctx := context.Background()
	db, path := fresh(t, Options{})
	r, err := Open(ctx, path, Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	entry := audit.Entry{At: fromMicro(1e15), What: "show", Licence: "l"}
	if err := r.Record(ctx, entry); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path+".spool", os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"id":"00","entry":{"At":"2026`); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := r.Record(ctx, entry); err != nil {
		t.Fatal(err)
	}
	// The writer is killed after its commit and before it empties the spool: the next one sees the same lines again.
	spooled, err := os.ReadFile(path + ".spool")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, _, err := db.Seal(ctx); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(path + ".spool"); err != nil || len(b) != 0 {
			t.Errorf("the spool still holds %d bytes, %v", len(b), err)
		}
		if err := os.WriteFile(path+".spool", spooled, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	links, err := db.OfLicence(ctx, "l")
	if err != nil || len(links) != 2 {
		t.Errorf("%d rows of the reader, want 2, %v", len(links), err)
	}
	var broken int
	if err := db.row(ctx, `SELECT COUNT(*) FROM audit WHERE what = 'audit-spool' AND why = '1 broken lines'`).Scan(&broken); err != nil || broken == 0 {
		t.Errorf("the broken line left no trace, %v", err)
	}
}

// TestNoAuditRowNoAnswer: a reader whose row cannot be kept gets an error, and must show nothing.
func TestNoAuditRowNoAnswer(t *testing.T) {
	ctx := context.Background()
	_, path := fresh(t, Options{})
	r, err := Open(ctx, path, Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := os.Mkdir(path+".spool", 0o700); err != nil { // nobody can append to a folder, not even root
		t.Fatal(err)
	}
	if err := r.Record(ctx, audit.Entry{What: "show"}); !errors.Is(err, licence.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	os.Remove(path + ".spool")
}

func TestFullDisk(t *testing.T) {
	ctx := context.Background()
	db, _ := fresh(t, Options{})
	org := licence.Organisation{Code: "c", Name: strings.Repeat("n", 100)}
	if err := db.PutOrganisation(ctx, org); err != nil {
		t.Fatal(err)
	}
	// The database may not grow any more: SQLite then says what it says on a full disk.
	limit := func(pages string) {
		t.Helper()
		if err := db.write(ctx, func(ctx context.Context, s *session) error {
			var n int
			return s.scan(ctx, "PRAGMA max_page_count = "+pages, nil, &n)
		}); err != nil {
			t.Fatal(err)
		}
	}
	limit("1")
	big := org
	big.Name = strings.Repeat("n", 1<<20)
	err := db.PutOrganisation(ctx, big)
	if !errors.Is(err, licence.ErrUnavailable) || !strings.Contains(err.Error(), "磁盘已满") {
		t.Errorf("a full disk: %v", err)
	}
	if got, err := db.Organisation(ctx, "c"); err != nil || got != org {
		t.Errorf("what stood before was changed: %v", err)
	}
	limit("1000000")
	if err := db.PutOrganisation(ctx, big); err != nil { // room was made
		t.Errorf("after room was made: %v", err)
	}
}

func TestFolderThatCannotBeWrittenTo(t *testing.T) {
	ctx := context.Background()
	// Nobody can make a file in /sys, whoever runs the test.
	if _, err := Open(ctx, "/sys/kernel/records.db", Options{}); err == nil || !strings.Contains(err.Error(), "/ the folder cannot be written to") {
		t.Errorf("got %v", err)
	}
	if _, err := Open(ctx, filepath.Join(t.TempDir(), "no", "folder", "records.db"), Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestDamagedFile(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "records.db")
	if err := os.WriteFile(path, bytes.Repeat([]byte("not a database, "), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, o := range []Options{{}, {ReadOnly: true}} {
		_, err := Open(ctx, path, o)
		if err == nil || !strings.Contains(err.Error(), "/ the database file is damaged") {
			t.Errorf("read-only %v: %v", o.ReadOnly, err)
		}
	}
}

func TestLockNamesItsHolder(t *testing.T) {
	_, path := fresh(t, Options{})
	_, err := Open(context.Background(), path, Options{})
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("%v does not name process %d", err, os.Getpid())
	}
}

// TestBrokenConnectionIsReplaced: after a failure that ends the transaction behind the writer's back it goes on with
// another connection.
func TestBrokenConnectionIsReplaced(t *testing.T) {
	ctx := context.Background()
	db, _ := fresh(t, Options{})
	err := db.write(ctx, func(ctx context.Context, s *session) error {
		if _, err := s.exec(ctx, "ROLLBACK"); err != nil {
			return err
		}
		return errors.New("the disk is gone")
	})
	if !errors.Is(err, licence.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	for range 3 {
		if err := db.PutOrganisation(ctx, licence.Organisation{Code: "c"}); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	}
}
