package main

import (
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/elicence/elicence/audit"
	"github.com/elicence/elicence/storage/records"
)

// alter runs statements on the records of an installation that nobody has open: an administrator of the database.
func alter(t *testing.T, data string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(data, "records", "elicence.db"))
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

// Whatever is done to the trail in the database, audit verify names the first row that does not fit, and how; the whole
// chain made anew is seen by the heads on the log, and a log made to agree by its cosigners.
func TestAuditVerifyNamesTheFirstFault(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		statements []string
		what       string
		sequence   uint64
	}{
		"a row is changed":       {[]string{`UPDATE audit SET why = 'nothing' WHERE sequence = 7`}, "changed", 7},
		"a hash is changed":      {[]string{`UPDATE audit SET hash = zeroblob(32) WHERE sequence = 7`}, "changed", 7},
		"a row is taken out":     {[]string{`DELETE FROM audit WHERE sequence = 9`}, "missing", 9},
		"rows are cut off":       {[]string{`DELETE FROM audit WHERE sequence > 20`}, "cut", 21},
		"the head is another":    {[]string{`UPDATE installation SET value = substr(value, 1, 8) || zeroblob(32) WHERE name = 'audit-head'`}, "head", 0},
		"a row beyond the head":  {[]string{`UPDATE installation SET value = x'0000000000000005' || (SELECT hash FROM audit WHERE sequence = 5) WHERE name = 'audit-head'`}, "head", 6},
		"two rows change places": {[]string{`UPDATE audit SET sequence = -1 WHERE sequence = 4`, `UPDATE audit SET sequence = 4 WHERE sequence = 5`, `UPDATE audit SET sequence = 5 WHERE sequence = -1`}, "changed", 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := copyOf(t, issued)
			var r trailReport
			if err := decode(must(t, data, "audit", "verify", "--json"), &r); err != nil || !r.Clean || r.Rows < 25 || r.Anchored == 0 || r.Cosigned != r.Anchored {
				t.Fatalf("before: %+v, %v", r, err)
			}
			if c.what == "head" && c.sequence == 0 {
				c.sequence = r.Rows
			}
			alter(t, data, c.statements...)
			after := call(t.Context(), data, systemClock, "audit", "verify", "--json")
			r = trailReport{}
			if err := decode(after.stdout, &r); err != nil || after.code != exitNo || r.Clean || r.Fault == nil {
				t.Fatalf("exit %d, %s%s, %v", after.code, after.stdout, after.stderr, err)
			}
			if r.Fault.What != c.what || r.Fault.Sequence != c.sequence {
				t.Errorf("named row %d %s, want %d %s: %s", r.Fault.Sequence, r.Fault.What, c.sequence, c.what, r.Fault.EN)
			}
		})
	}
}

// The administrator makes the whole chain anew, head included: it fits itself, and not what stands on the log.
func TestAuditVerifySeesARewrittenChain(t *testing.T) {
	t.Parallel()
	data := copyOf(t, issued)
	rewrite(t, data, 5)
	c := call(t.Context(), data, systemClock, "audit", "verify", "--json")
	var r trailReport
	if err := decode(c.stdout, &r); err != nil || c.code != exitNo || r.Fault == nil || r.Fault.What != "anchor" || r.Fault.Entry == nil || r.Fault.Sequence > 5 {
		t.Fatalf("exit %d, %s, %v", c.code, c.stdout, err)
	}
	says(t, "in words", call(t.Context(), data, systemClock, "audit", "verify"), exitNo, "✗", "written anew")
	// Taking the anchor off the log is seen by those who cosigned it.
	alter(t, data, fmt.Sprintf(`DELETE FROM log_entries WHERE idx >= %d`, *r.Fault.Entry),
		fmt.Sprintf(`UPDATE log_head SET size = %d`, *r.Fault.Entry))
	c = call(t.Context(), data, systemClock, "audit", "verify", "--json")
	r = trailReport{}
	if err := decode(c.stdout, &r); err != nil || c.code != exitNo || r.Fault == nil || r.Fault.What != "log" {
		t.Errorf("exit %d, %s%s, %v", c.code, c.stdout, c.stderr, err)
	}
}

// rewrite changes one row and chains everything after it anew, as somebody who owns the database can.
func rewrite(t *testing.T, data string, sequence uint64) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "trail.jsonl")
	must(t, data, "audit", "export", "--out", file)
	rows := readTrail(t, file)
	var hash [32]byte
	var statements []string
	for _, l := range rows {
		if l.Sequence == sequence {
			l.Entry.Why = "nothing at all"
			statements = append(statements, fmt.Sprintf(`UPDATE audit SET why = 'nothing at all' WHERE sequence = %d`, sequence))
		}
		hash = records.Chained(hash, l.Entry)
		statements = append(statements, fmt.Sprintf(`UPDATE audit SET hash = x'%x' WHERE sequence = %d`, hash, l.Sequence))
	}
	alter(t, data, append(statements, fmt.Sprintf(`UPDATE installation SET value = substr(value, 1, 8) || x'%x' WHERE name = 'audit-head'`, hash))...)
}

// readTrail reads what audit export wrote.
func readTrail(t *testing.T, file string) []audit.Link {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var links []audit.Link
	for line := range strings.Lines(string(b)) {
		var r trailRow
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		l := audit.Link{Sequence: r.Sequence, Entry: audit.Entry{At: r.At, Organisation: r.Organisation, Person: r.Person, What: r.What,
			Why: r.Why, From: r.From, Licence: r.Licence, Fields: r.Fields}}
		if _, err := hex.Decode(l.Hash[:], []byte(r.Hash)); err != nil {
			t.Fatal(err)
		}
		links = append(links, l)
	}
	return links
}

// An auditor with nothing but the exported lines comes to the same hashes.
func TestExportedTrailIsRecomputed(t *testing.T) {
	t.Parallel()
	data := copyOf(t, issued)
	file := filepath.Join(t.TempDir(), "trail.jsonl")
	must(t, data, "audit", "export", "--out", file, "--why", "yearly")
	var hash [32]byte
	rows := readTrail(t, file)
	for n, l := range rows {
		if hash = records.Chained(hash, l.Entry); hash != l.Hash || l.Sequence != uint64(n+1) {
			t.Fatalf("row %d: hash %x, recomputed %x", l.Sequence, l.Hash, hash)
		}
	}
	var r trailReport
	if err := decode(must(t, data, "audit", "verify", "--json"), &r); err != nil || r.Head != fmt.Sprintf("%x", hash) || r.Rows != uint64(len(rows)) {
		t.Errorf("%+v, %v", r, err)
	}
}

// Every command that touches a licence's personal data leaves a row that says who, what, when, why, from where, which
// licence; stock and key commands say what they did, and to what.
func TestEveryReadAndWriteIsWrittenDown(t *testing.T) {
	t.Parallel()
	data, s := copyOf(t, issued), demonstrationScheme()
	hospital, police := s.hospitals[0].Code, s.police.Code
	out := filepath.Join(t.TempDir(), "out")
	for _, c := range []struct {
		args []string
		want []trailRow
	}{
		{[]string{"show", "X000000001", "--fields", "--why", "enquiry"}, []trailRow{{What: "show", Why: "enquiry", Number: "X000000001"}}},
		{[]string{"show", "曹宸书", "--why", "counter"}, []trailRow{{What: "search", Why: "counter"}, {What: "found", Why: "counter", Number: "X000000001"}}},
		{[]string{"export", "X000000002", "--out", out, "--why", "copy for the court"}, []trailRow{{What: "export", Why: "copy for the court", Number: "X000000002"}}},
		{[]string{"handover", "X000000001", "--as", hospital + "/stock-1", "--to", s.cityArchive.Code},
			[]trailRow{{Organisation: hospital, Person: "stock-1", What: "handed-over", Why: "to " + s.cityArchive.Code, Number: "X000000001"}}},
		{[]string{"accept", "X000000001", "--as", s.cityArchive.Code + "/archivist-1"}, []trailRow{
			{Organisation: s.cityArchive.Code, Person: "archivist-1", What: "verify", Number: "X000000001"},
			{Organisation: s.cityArchive.Code, Person: "archivist-1", What: "accepted", Number: "X000000001"}}},
		{[]string{"register", "X000000001", "--as", police + "/officer-1"}, []trailRow{
			{Organisation: police, Person: "officer-1", What: "registered", Number: "X000000001"}}},
		{[]string{"replace", "X000000003", "--as", hospital + "/clerk-1", "--approver", "seal-1", "--grounds", "lost", "--business", "R-1"}, []trailRow{
			{What: "reissue", Number: "X000000003"}, {What: "compare", Number: "X000000003"},
			{Organisation: hospital, Person: "clerk-1", What: "issue", Number: "X000000013"},
			{Organisation: hospital, Person: "clerk-1", What: "issued", Number: "X000000013"}}},
		{[]string{"revoke", "X000000004", "--as", s.commission.Code + "/supervisor-1", "--reason", "wrongly-issued"}, []trailRow{
			{Organisation: s.commission.Code, Person: "supervisor-1", What: "revoked", Why: "wrongly-issued", Number: "X000000004"}}},
		{[]string{"number", "allot", "--as", s.commission.Code + "/supervisor-1", "--to", hospital, "--from", "Z000000001", "--count", "3"}, []trailRow{
			{Organisation: s.commission.Code, Person: "supervisor-1", What: "allot", Why: hospital + ": 3 × Z000000001"}}},
		{[]string{"number", "bind", "Z000000001", "--as", hospital + "/clerk-1", "--business", "B-1"}, []trailRow{
			{Organisation: hospital, Person: "clerk-1", What: "bind", Why: "Z000000001"}}},
		{[]string{"number", "spoil", "Z000000002", "--as", hospital + "/stock-1", "--reason", "lost"}, []trailRow{
			{Organisation: hospital, Person: "stock-1", What: "spoil", Why: "Z000000002: lost"}}},
		{[]string{"key", "retire", hospital, "documents-1"}, []trailRow{{Organisation: hospital, What: "key-retire", Why: "documents-1"}}},
		{[]string{"key", "rotate-data", "--why", "yearly"}, []trailRow{{What: "rotate-data-begun", Why: "yearly"}, {What: "rotate-data", Why: "yearly"}}},
		{[]string{"audit", "list", "--licence", "X000000001", "--why", "complaint"}, []trailRow{{What: "audit-list", Why: "complaint", Number: "X000000001"}}},
		{[]string{"audit", "export", "--out", filepath.Join(t.TempDir(), "trail"), "--why", "audit"}, []trailRow{{What: "audit-export", Why: "audit"}}},
	} {
		since := systemClock().Add(-1).Format("2006-01-02T15:04:05.999999999Z07:00")
		must(t, data, c.args...)
		var rows []trailRow
		if err := decode(must(t, data, "audit", "list", "--since", since, "--json"), &rows); err != nil {
			t.Fatal(err)
		}
		for _, want := range c.want {
			found := false
			for _, r := range rows {
				if strings.HasPrefix(r.From, "cli:") && strings.Contains(r.From, "@") && !r.At.IsZero() && r.What == want.What && r.Organisation == want.Organisation &&
					r.Person == want.Person && r.Number == want.Number && (want.Why == "" || r.Why == want.Why) {
					found = true
				}
			}
			if !found {
				t.Errorf("%s: no row %+v in %+v", strings.Join(c.args[:2], " "), want, rows)
			}
		}
	}
	must(t, data, "ledger", "cosign")
	must(t, data, "audit", "verify")
}
