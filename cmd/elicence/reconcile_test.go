package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elicence/elicence/storage/envelope"
)

// reconcileTo runs reconcile and returns its answer; it must end with this exit code.
func reconcileTo(t *testing.T, data string, code int, args ...string) (r reconciled) {
	t.Helper()
	c := call(t.Context(), data, systemClock, append([]string{"reconcile", "--json"}, args...)...)
	if c.code != code {
		t.Fatalf("reconcile %v: exit %d, want %d\n%s%s", args, c.code, code, c.stdout, c.stderr)
	}
	if err := decode(c.stdout, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// lived is an installation in which something of everything has happened.
func lived(t *testing.T) (data string) {
	t.Helper()
	data, s := copyOf(t, issued), demonstrationScheme()
	hospital, commission := s.hospitals[0].Code, s.commission.Code
	must(t, data, "number", "allot", "--as", commission+"/supervisor-1", "--to", hospital, "--from", "Z000000001", "--count", "20")
	must(t, data, "number", "bind", "Z000000005", "--as", hospital+"/clerk-1", "--business", "B-WAITING")
	must(t, data, "number", "spoil", "Z000000006", "--as", hospital+"/stock-1", "--reason", "misprint")
	must(t, data, "handover", "X000000001", "X000000002", "--as", hospital+"/stock-1", "--to", s.cityArchive.Code)
	must(t, data, "accept", "X000000001", "--as", s.cityArchive.Code+"/archivist-1")
	must(t, data, "reject", "X000000002", "--as", s.cityArchive.Code+"/archivist-1", "--reason", "incomplete", "--note", "缺少首次签发登记表")
	must(t, data, "register", "X000000003", "--as", s.police.Code+"/officer-1", "--registration", registrationFile(t))
	must(t, data, "replace", "X000000004", "--as", hospital+"/clerk-1", "--approver", "seal-1", "--grounds", "lost", "--business", "R-4")
	must(t, data, "revoke", "X000000005", "--as", commission+"/supervisor-1", "--reason", "false-evidence", "--note", "出生证明系伪造")
	must(t, data, eraseArgs("X000000006")...)
	must(t, data, "show", "X000000001", "--fields", "--why", "before")
	must(t, data, "ledger", "cosign")
	return data
}

// told is what every command shows of an installation, for comparison.
func told(t *testing.T, data string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, args := range [][]string{
		{"list", "--limit", "1000"}, {"ledger", "status"}, {"key", "list"}, {"ca", "show"}, {"audit", "list", "--what", "issued", "--limit", "1000"},
		{"number", "reconcile"},
	} {
		all[strings.Join(args, " ")] = must(t, data, append(args, "--json")...)
	}
	for n := 1; n <= 13; n++ {
		number := fmt.Sprintf("X%09d", n)
		all["show "+number] = must(t, data, "show", number, "--fields", "--json")
	}
	all["search"] = must(t, data, "show", "曹宸书", "--json")
	return all
}

// The database is dropped. From objects, keystores and configuration everything comes back that commands show: licences with
// their fields, parts, custody, notes and status, erased ones erased, organisations, people, stock, log and audit trail; and
// the next births take numbers that nobody has.
func TestRecordsAreRebuiltFromObjects(t *testing.T) {
	t.Parallel()
	data, s := lived(t), demonstrationScheme()
	hospital := s.hospitals[0].Code
	must(t, data, "audit", "list", "--limit", "1") // leaves a row in the spool, which is lost
	before := told(t, data)
	must(t, data, "ledger", "cosign")
	erasedOne := licenceOf(t, data, "X000000006")
	if err := os.RemoveAll(filepath.Join(data, "records")); err != nil {
		t.Fatal(err)
	}
	says(t, "list", call(t.Context(), data, systemClock, "list"), exitUnavailable)
	r := reconcileTo(t, data, exitYes, "--mend", "--rebuild")
	if !r.Clean || !r.Writable || r.Licences != issuedCount+1 || r.Kinds["licence"] != issuedCount || len(r.Burnt) == 0 {
		t.Errorf("rebuilt: %+v", r)
	}
	balanced(t, data)
	after := told(t, data)
	for what, was := range before {
		now := after[what]
		if what == "number reconcile" || what == "ledger status" {
			continue // numbers were burnt, and what the rebuild did is anchored: held below
		}
		if diff := cmp.Diff(was, now); diff != "" {
			t.Errorf("%s (-before +after):\n%s", what, diff)
		}
	}
	says(t, "rebuild again", call(t.Context(), data, systemClock, "reconcile", "--mend", "--rebuild"), exitNo, "there are records already")
	if again := licenceOf(t, data, "X000000006"); !erased(again) || again.DataKeyID != erasedOne.DataKeyID {
		t.Error("the erased licence is not as it was")
	}
	// Sheets: bound, spoiled and free as they were; burnt ones are the next of each pile.
	for _, w := range []string{"Z000000005", "Z000000006"} {
		if slices.Contains(r.Burnt, w) {
			t.Errorf("%s was burnt: it was bound or spoiled", w)
		}
	}
	says(t, "bind again", call(t.Context(), data, systemClock, "number", "bind", "Z000000005", "--as", hospital+"/clerk-1", "--business", "B-OTHER"), exitNo)
	// People and their passphrases, numbers and everything else serve as before.
	used := map[string]bool{}
	for _, n := range r.Burnt {
		used[n] = true
	}
	for n := 1; n <= 13; n++ {
		used[fmt.Sprintf("X%09d", n)] = true
	}
	report := filepath.Join(t.TempDir(), "report")
	must(t, data, "issue", "--births", birthsOf(t, 14, 5), "--report", report)
	for _, l := range numbersIn(t, report) {
		if used[l.Number] {
			t.Errorf("number %s was given out a second time", l.Number)
		}
	}
	says(t, "the same births again", call(t.Context(), data, systemClock, "issue", "--births", birthsOf(t, 1, issuedCount), "--json"), exitYes, `"issued": 0`)
	must(t, data, "revoke", "X000000001", "--as", s.commission.Code+"/supervisor-1", "--reason", "duplicate")
	balanced(t, data)
}

// Each thing that is missing or too many is named, and without --mend nothing is touched; with it everything is as before.
func TestReconcileNamesAndMends(t *testing.T) {
	t.Parallel()
	first := func(t *testing.T, pattern ...string) string {
		t.Helper()
		found, err := filepath.Glob(filepath.Join(pattern...))
		if err != nil || len(found) == 0 {
			t.Fatalf("nothing like %v, %v", pattern, err)
		}
		return found[0]
	}
	remove := func(t *testing.T, path string) {
		t.Helper()
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		kinds  string
		damage func(t *testing.T, data string)
	}{
		"a data key's copy is gone": {"key-object", func(t *testing.T, data string) { remove(t, first(t, data, "objects", "keys", "[0-9a-f][0-9a-f]", "*")) }},
		"a part is gone":            {"part", func(t *testing.T, data string) { remove(t, first(t, data, "objects", "objects", "*", "*")) }},
		"tiles are gone":            {"tiles", func(t *testing.T, data string) { remove(t, filepath.Join(data, "objects", "tile")) }},
		"a key's copy is of an older program": {"key-object", func(t *testing.T, data string) {
			l := licenceOf(t, data, "X000000002")
			i, err := appAt(data, systemClock, io.Discard, io.Discard).openForReading(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer i.close()
			b := mustEncode(t, envelope.KeyRecord{KeyID: l.DataKeyID, LicenceTag: i.vault.tag(l.ID), Wrapped: l.DataKey})
			if err := os.WriteFile(filepath.Join(data, "objects", "keys", l.DataKeyID[:2], l.DataKeyID), b, 0o644); err != nil {
				t.Fatal(err)
			}
		}},
		"an erased licence is back": {"erase-again key-again", func(t *testing.T, data string) {
			kept := filepath.Join(t.TempDir(), "kept")
			if err := os.CopyFS(kept, os.DirFS(filepath.Join(data, "records"))); err != nil {
				t.Fatal(err)
			}
			l := licenceOf(t, data, "X000000007")
			key := filepath.Join(data, "objects", "keys", l.DataKeyID[:2], l.DataKeyID)
			b, err := os.ReadFile(key)
			if err != nil {
				t.Fatal(err)
			}
			must(t, data, eraseArgs("X000000007")...)
			remove(t, filepath.Join(data, "records"))
			if err := os.CopyFS(filepath.Join(data, "records"), os.DirFS(kept)); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(key, b, 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(data, "back"), []byte(l.Number), 0o644); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := copyOf(t, issued)
			if r := reconcileTo(t, data, exitYes); !r.Clean || r.Left != 0 || r.Mended != 0 || r.Licences != issuedCount {
				t.Fatalf("before: %+v", r)
			}
			c.damage(t, data)
			r := reconcileTo(t, data, exitNo)
			for _, kind := range strings.Fields(c.kinds) {
				if r.Kinds[kind] == 0 {
					t.Errorf("%s is not named: %+v", kind, r.Differences)
				}
			}
			if r.Mended != 0 {
				t.Errorf("mended without being asked: %+v", r)
			}
			if again := reconcileTo(t, data, exitNo); again.Left != r.Left {
				t.Errorf("looking changed something: %d differences, then %d", r.Left, again.Left)
			}
			says(t, "in words", call(t.Context(), data, systemClock, "reconcile"), exitNo, "✗", "elicence reconcile --mend")
			if r := reconcileTo(t, data, exitYes, "--mend"); r.Mended == 0 || len(r.Burnt) != 0 {
				t.Errorf("mended: %+v", r)
			}
			if r := reconcileTo(t, data, exitYes, "--deep"); !r.Clean || r.Mended != 0 {
				t.Errorf("after: %+v", r)
			}
			must(t, data, "issue", "--births", birthsOf(t, 13, 1))
			balanced(t, data)
			must(t, data, "export", "--all", "--out", filepath.Join(t.TempDir(), "out"))
			if number, err := os.ReadFile(filepath.Join(data, "back")); err == nil {
				says(t, "show", call(t.Context(), data, systemClock, "show", string(number), "--fields"), exitYes, "已销毁 erased")
			}
		})
	}
}

// The records of yesterday beside the objects of today, put back by hand: reconcile brings them up to date, and no number is
// given out twice.
func TestOlderRecordsAreBroughtUpToDate(t *testing.T) {
	t.Parallel()
	data, s := copyOf(t, issued), demonstrationScheme()
	kept := filepath.Join(t.TempDir(), "kept")
	if err := os.CopyFS(kept, os.DirFS(filepath.Join(data, "records"))); err != nil {
		t.Fatal(err)
	}
	must(t, data, "number", "allot", "--as", s.commission.Code+"/supervisor-1", "--to", s.hospitals[0].Code, "--from", "Z000000001", "--count", "5")
	must(t, data, "issue", "--births", birthsOf(t, 13, 3))
	must(t, data, "revoke", "X000000002", "--as", s.commission.Code+"/supervisor-1", "--reason", "false-evidence", "--note", "伪造")
	must(t, data, eraseArgs("X000000014")...)
	must(t, data, "ledger", "cosign")
	list, show := must(t, data, "list", "--json"), must(t, data, "show", "X000000002", "--fields", "--json")
	if err := os.RemoveAll(filepath.Join(data, "records")); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(data, "records"), os.DirFS(kept)); err != nil {
		t.Fatal(err)
	}
	says(t, "issue", call(t.Context(), data, systemClock, "issue", "--births", birthsOf(t, 20, 1)), exitUnavailable, "older than the log")
	r := reconcileTo(t, data, exitNo)
	for _, kind := range []string{"acts", "audit-rows", "log", "licence"} {
		if r.Kinds[kind] == 0 {
			t.Errorf("%s is not named: %+v", kind, r.Kinds)
		}
	}
	reconcileTo(t, data, exitYes, "--mend")
	if diff := cmp.Diff(list, must(t, data, "list", "--json")); diff != "" {
		t.Errorf("list (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(show, must(t, data, "show", "X000000002", "--fields", "--json")); diff != "" {
		t.Errorf("show (-before +after):\n%s", diff)
	}
	balanced(t, data)
	report := filepath.Join(t.TempDir(), "report")
	must(t, data, "issue", "--births", birthsOf(t, 20, 2), "--report", report)
	for _, l := range numbersIn(t, report) {
		if l.Number <= "X000000015" {
			t.Errorf("number %s was given out a second time", l.Number)
		}
	}
}

// Records that an older program made, and objects without what this one keeps there: after one reconcile they can be rebuilt
// like any others, whatever was written before it.
func TestRecordsOfAnOlderProgram(t *testing.T) {
	t.Parallel()
	data, s := copyOf(t, issued), demonstrationScheme()
	alter(t, data, `DELETE FROM acts`, `DELETE FROM installation WHERE name IN ('acts-told', 'audit-kept')`)
	for _, kept := range []string{"acts", "audit", filepath.Join("keys", "in")} {
		if err := os.RemoveAll(filepath.Join(data, "objects", kept)); err != nil {
			t.Fatal(err)
		}
	}
	i, err := appAt(data, systemClock, io.Discard, io.Discard).openForReading(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for n := range issuedCount {
		l := licenceOf(t, data, fmt.Sprintf("X%09d", n+1))
		b := mustEncode(t, envelope.KeyRecord{KeyID: l.DataKeyID, LicenceTag: i.vault.tag(l.ID), Wrapped: l.DataKey})
		if err := os.WriteFile(filepath.Join(data, "objects", "keys", l.DataKeyID[:2], l.DataKeyID), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	i.close()
	must(t, data, "number", "spoil", "X000000500", "--as", s.hospitals[0].Code+"/stock-1", "--reason", "lost")
	if r := reconcileTo(t, data, exitYes, "--mend"); r.Kinds["key-object"] != issuedCount {
		t.Errorf("%+v", r)
	}
	list := must(t, data, "list", "--json")
	books := func() (sums []int) {
		t.Helper()
		var rows []struct{ Drawn, Spoiled, Closing int }
		if err := decode(must(t, data, "number", "reconcile", "--json"), &rows); err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			sums = append(sums, r.Drawn, r.Spoiled+r.Closing)
		}
		return sums
	}
	was := books()
	if err := os.RemoveAll(filepath.Join(data, "records")); err != nil {
		t.Fatal(err)
	}
	reconcileTo(t, data, exitYes, "--mend", "--rebuild")
	if diff := cmp.Diff(list, must(t, data, "list", "--json")); diff != "" {
		t.Errorf("list (-before +after):\n%s", diff)
	}
	if now := books(); !slices.Equal(was, now) || len(now) < 4 {
		t.Errorf("the books were %v, they are %v", was, now)
	}
	balanced(t, data)
}

// What a cosigner has signed for comes back, although the process ended before its checkpoint was published; and where the
// entries are gone, nothing is signed and nothing can be written.
func TestNoSmallerTreeThanACosignersIsSigned(t *testing.T) {
	t.Parallel()
	data := copyOf(t, issued)
	checkpoints, err := filepath.Glob(filepath.Join(data, "objects", "checkpoint", "*"))
	if err != nil || len(checkpoints) < 2 {
		t.Fatal(checkpoints, err)
	}
	slices.Sort(checkpoints)
	newest := checkpoints[len(checkpoints)-1]
	for _, f := range checkpoints {
		if strings.HasPrefix(filepath.Base(f), filepath.Base(newest)[:20]) {
			if err := os.Remove(f); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := logSize("checkpoint/" + filepath.Base(newest))
	lost := filepath.Join(t.TempDir(), "lost")
	if err := os.RemoveAll(filepath.Join(data, "records")); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(lost, os.DirFS(data)); err != nil {
		t.Fatal(err)
	}
	if r := reconcileTo(t, data, exitYes, "--mend", "--rebuild"); r.Entries < want {
		t.Errorf("%d entries came back, a cosigner has seen %d", r.Entries, want)
	}
	balanced(t, data)

	if err := os.RemoveAll(filepath.Join(lost, "objects", "tile", "entries")); err != nil {
		t.Fatal(err)
	}
	cosigned, err := os.ReadFile(filepath.Join(lost, "cosigners", demonstrationScheme().police.Code+".checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	r := reconcileTo(t, lost, exitNo, "--mend", "--rebuild")
	if r.Clean || r.Writable || r.Kinds["log"] == 0 || r.Kinds["log-behind"] == 0 {
		t.Errorf("%+v", r)
	}
	for _, args := range [][]string{{"issue", "--births", birthsOf(t, 13, 1)}, {"ledger", "cosign"}} {
		says(t, args[0], call(t.Context(), lost, systemClock, args...), exitUnavailable, "read-only until they are reconciled")
	}
	if now, err := os.ReadFile(filepath.Join(lost, "cosigners", demonstrationScheme().police.Code+".checkpoint")); err != nil || string(now) != string(cosigned) {
		t.Errorf("the cosigner's state was touched: %v", err)
	}
}

// Tiles that were published before their checkpoint was signed stand for ever: a rebuild takes the entries under them, so
// that the next ones find their place.
func TestWhatWasPublishedUnsignedComesBack(t *testing.T) {
	t.Parallel()
	data := copyOf(t, issued)
	checkpoints, err := filepath.Glob(filepath.Join(data, "objects", "checkpoint", "*"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(checkpoints)
	want := logSize("checkpoint/" + filepath.Base(checkpoints[len(checkpoints)-1]))
	cosigners, err := filepath.Glob(filepath.Join(data, "cosigners", "*.checkpoint"))
	if err != nil || len(cosigners) == 0 {
		t.Fatal(cosigners, err)
	}
	for _, f := range append(checkpoints, cosigners...) {
		if size := logSize("checkpoint/" + filepath.Base(f)); size == want || size == 0 {
			if err := os.Remove(f); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.RemoveAll(filepath.Join(data, "records")); err != nil {
		t.Fatal(err)
	}
	if r := reconcileTo(t, data, exitYes, "--mend", "--rebuild"); r.Entries < want {
		t.Errorf("%d entries came back, tiles of %d had been published", r.Entries, want)
	}
	must(t, data, "issue", "--births", birthsOf(t, 13, 2))
	must(t, data, "ledger", "cosign")
	balanced(t, data)
}

// A rebuild that is killed anywhere is finished by the same command, to the same end.
func TestKilledWhileRebuilding(t *testing.T) {
	t.Parallel()
	onEachGround(t, 3, killWhileRebuilding)
}

func killWhileRebuilding(t *testing.T, g ground, count int, random *rand.Rand) {
	at := g.issued(t)
	data := at.data
	list := must(t, data, "list", "--json")
	at.lose()
	hit := 0
	for range max(3, count/4) {
		if ended, said := killed(t, at.grown(int64(random.IntN(500<<10))), "reconcile", "--mend", "--rebuild", "--data", data); !ended {
			hit++
		} else if !strings.Contains(said, "may write") && !strings.Contains(said, "there are records already") {
			t.Fatalf("reconcile: %s", said)
		}
	}
	if hit == 0 {
		t.Fatal("no kill hit a living process: this shows nothing")
	}
	if c := call(t.Context(), data, systemClock, "reconcile", "--mend", "--rebuild"); c.code != exitYes && !strings.Contains(c.stderr, "there are records already") {
		t.Fatalf("exit %d: %s%s", c.code, c.stdout, c.stderr)
	}
	if r := reconcileTo(t, data, exitYes); !r.Clean || !r.Writable {
		t.Errorf("%+v", r)
	}
	if diff := cmp.Diff(list, must(t, data, "list", "--json")); diff != "" {
		t.Errorf("list (-before +after):\n%s", diff)
	}
	balanced(t, data)
	must(t, data, "issue", "--births", birthsOf(t, 13, 2))
}
