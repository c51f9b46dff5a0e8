package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// kills is how often the process is killed: a few times in every run of the tests, and as often as the environment says
// in a soak. The seed decides where.
func kills(t *testing.T) (count int, seed uint64) { return killsOr(t, 20) }

// killsOr is kills with so many in a run of the tests.
func killsOr(t *testing.T, few int) (count int, seed uint64) {
	t.Helper()
	count, seed = few, 20261123
	for name, set := range map[string]func(uint64){
		"ELICENCE_SOAK_KILLS": func(n uint64) { count = int(n) }, "ELICENCE_SOAK_SEED": func(n uint64) { seed = n },
	} {
		if v := os.Getenv(name); v != "" {
			n, err := strconv.ParseUint(v, 10, 63)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			set(n)
		}
	}
	return count, seed
}

// killed starts the program and kills it (SIGKILL) as soon as when says so; it returns what the program said, and whether
// it ended by itself before. The condition is asked again and again without a pause: where exactly the kill falls is
// for the machine to decide.
func killed(t *testing.T, when func() bool, args ...string) (ended bool, said string) {
	t.Helper()
	c := exec.Command("elicence", args...)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		_ = c.Wait() // how it ended is in the process state
		close(done)
	}()
	for {
		select {
		case <-done:
			return true, out.String()
		default:
		}
		if when() {
			if err := c.Process.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Fatal(err)
			}
			<-done
			status, ok := c.ProcessState.Sys().(syscall.WaitStatus)
			return !ok || !status.Signaled(), out.String()
		}
		runtime.Gosched()
	}
}

// grown is a condition: the file has so many bytes more than at first. The records' write-ahead log grows with every
// page that is committed, so its size is a place in the middle of a commit as often as between two.
func grown(path string, bytes int64) func() bool {
	size := func() int64 {
		if i, err := os.Stat(path); err == nil {
			return i.Size()
		}
		return 0
	}
	first := size()
	return func() bool { return size()-first >= bytes }
}

func walOf(data string) string { return filepath.Join(data, "records", "elicence.db-wal") }

// The real process is killed again and again in the middle of a batch of up to 198 births. Whatever was answered stands
// with its number, and in the end each birth has one number and two parts, none twice; the books balance, the log replays,
// and every file verifies.
func TestKilledWhileIssuing(t *testing.T) {
	t.Parallel()
	onEachGround(t, 0, func(t *testing.T, g ground, count int, random *rand.Rand) {
		const aRound = 20 // kills at most; a quick machine is done with 200 births before as many
		for missed := 0; count > 0; {
			hit := killWhileIssuing(t, g, random, min(count, aRound))
			if hit == 0 {
				missed++
			}
			if missed > 4 {
				t.Fatal("no kill hits a living process: this shows nothing")
			}
			if t.Failed() {
				return
			}
			count -= hit
		}
	})
}

// killWhileIssuing kills at most so many processes of one batch and returns how many it hit; a process that ended before
// its kill has finished the batch.
func killWhileIssuing(t *testing.T, g ground, random *rand.Rand, kills int) (hit int) {
	at := g.fresh(t)
	data := at.data
	folder := t.TempDir()
	file := filepath.Join(folder, "births.jsonl")
	s := smallScheme()
	var lines []string
	each := min(66, 6+3*kills)
	for k, at := range []string{s.hospitals[0].Code, s.hospitals[1].Code, s.agencies[0].Code} {
		some, err := births(1+k*each, each, at)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, some...)
	}
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	report := filepath.Join(folder, "report.jsonl")
	issue := []string{"issue", "--data", data, "--births", file, "--report", report, "--workers", strconv.Itoa(1 + random.IntN(16))}
	numbers := map[string]string{} // business id → the number that was answered
	for done := false; hit < kills && !done; {
		if err := os.RemoveAll(report); err != nil {
			t.Fatal(err)
		}
		answeredLines, bytes := random.IntN(2*len(lines)/max(2, kills)), int64(random.IntN(len(lines)*2<<10))
		more := at.grown(bytes)
		if random.IntN(2) == 0 {
			more = func() bool { return answered(report) >= answeredLines }
		}
		ended, said := killed(t, more, issue...)
		if done = ended; !ended {
			hit++
		} else if !strings.Contains(said, "refused 0") {
			t.Fatalf("issue: %s", said)
		}
		remember(t, numbers, report)
	}
	if err := os.RemoveAll(report); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("elicence", issue...).CombinedOutput(); err != nil {
		t.Fatalf("issue after the kills: %v: %s", err, out)
	}
	remember(t, numbers, report)
	if len(numbers) != len(lines) {
		t.Fatalf("%d births were answered, want %d", len(numbers), len(lines))
	}
	whole(t, data, numbers, s.agencies[0].Code)
	at.sound()
	return hit
}

// remember holds every answered line of the report to the number that it was answered with before. The last line may be
// cut off by a kill.
func remember(t *testing.T, numbers map[string]string, report string) {
	t.Helper()
	b, err := os.ReadFile(report)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(bytes.NewReader(b))
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var l batchLine
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return
		}
		if l.Outcome != "issued" && l.Outcome != "stands" {
			t.Fatalf("line %d: %s %s %v", l.Line, l.Outcome, l.Error, l.Findings)
		}
		if had := numbers[l.BusinessID]; had != "" && had != l.Number {
			t.Fatalf("birth %s was answered with %s and with %s", l.BusinessID, had, l.Number)
		}
		numbers[l.BusinessID] = l.Number
	}
}

// whole holds an installation to being complete and consistent after whatever happened to it.
func whole(t *testing.T, data string, numbers map[string]string, agency string) {
	t.Helper()
	var rows []struct{ Number, BusinessID, Stage, Status string }
	if err := decode(must(t, data, "list", "--limit", "10000", "--json"), &rows); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, r := range rows {
		if r.Stage != "issued" || seen[r.Number] || seen[r.BusinessID] || numbers[r.BusinessID] != r.Number {
			t.Errorf("birth %s stands as %s, stage %s; it was answered with %s", r.BusinessID, r.Number, r.Stage, numbers[r.BusinessID])
		}
		seen[r.Number], seen[r.BusinessID] = true, true
	}
	if len(rows) != len(numbers) {
		t.Errorf("%d licences stand for %d births", len(rows), len(numbers))
	}
	var books []struct {
		Issuer                  string
		Drawn, Spoiled, Closing int
		Balanced                bool
		Inside, Outside         struct{ First int }
	}
	if err := decode(must(t, data, "number", "reconcile", "--json"), &books); err != nil {
		t.Fatal(err)
	}
	sum := books[len(books)-1]
	if sum.Inside.First+sum.Outside.First != len(numbers) || sum.Spoiled != 0 || sum.Closing != sum.Drawn-len(numbers) {
		t.Errorf("the books say %+v for %d births", sum, len(numbers))
	}
	for _, b := range books {
		if !b.Balanced {
			t.Errorf("the books of %s do not balance", b.Issuer)
		}
		if b.Issuer == agency && b.Inside.First != 0 {
			t.Errorf("the county agency counts %d births as inside institutions", b.Inside.First)
		}
	}
	var audit auditReport
	if err := decode(must(t, data, "ledger", "audit", "--json"), &audit); err != nil {
		t.Fatal(err)
	}
	if !audit.Clean || audit.Lag != 0 || audit.Licences != len(numbers) || audit.Cosigned != audit.Entries {
		t.Errorf("audit: %+v", audit)
	}
	if parts := stored(t, data, "objects/"); parts != 2*len(numbers) {
		t.Errorf("%d parts are stored for %d births", parts, len(numbers))
	}
	if keys := stored(t, data, "keys/"); keys != len(numbers)+1 { // and the index key
		t.Errorf("%d keys are stored for %d births and the index", keys, len(numbers))
	}
	out := filepath.Join(t.TempDir(), "out")
	var e exported
	if err := decode(must(t, data, "export", "--all", "--out", out, "--json"), &e); err != nil {
		t.Fatal(err)
	}
	if e.Licences != len(numbers) || e.Files != 3*len(numbers) || len(e.Lagging) != 0 {
		t.Errorf("exported: %+v", e)
	}
	verifies(t, data, out, 2*len(numbers), true)
}

// verifies holds every PDF of the folder to being good, by the folder alone; proven says that each has its receipt.
func verifies(t *testing.T, data, out string, want int, proven bool) {
	t.Helper()
	pdfs, err := filepath.Glob(filepath.Join(out, "*.pdf"))
	if err != nil || len(pdfs) != want {
		t.Fatalf("%d files are exported, want %d; %v", len(pdfs), want, err)
	}
	pin, err := os.ReadFile(filepath.Join(data, "trust.pin"))
	if err != nil {
		t.Fatal(err)
	}
	c := call(t.Context(), "nowhere", systemClock, append([]string{"verify", "--trust", filepath.Join(out, "trust.json"),
		"--pin", strings.TrimSpace(string(pin)), "--json"}, pdfs...)...)
	if c.code != exitYes {
		t.Errorf("verify: exit %d, %s", c.code, c.stderr)
	}
	var reports []struct {
		File   string
		Report struct {
			ProvenAt  string
			Signature struct{ Indication string }
		}
	}
	if err := decode(c.stdout, &reports); err != nil || len(reports) != want {
		t.Fatalf("%d reports, want %d; %v", len(reports), want, err)
	}
	for _, r := range reports {
		if r.Report.Signature.Indication != "TOTAL-PASSED" || proven && r.Report.ProvenAt == "" {
			t.Errorf("%s: %+v", filepath.Base(r.File), r.Report)
		}
	}
}

// A custody step or an exchange that is killed has happened or has not; said again, it happens once.
func TestKilledWhileMoving(t *testing.T) {
	t.Parallel()
	onEachGround(t, 1, killWhileMoving)
}

func killWhileMoving(t *testing.T, g ground, count int, random *rand.Rand) {
	at, s := g.issued(t), demonstrationScheme()
	data := at.data
	hospital := s.hospitals[0].Code
	numbers := make([]string, issuedCount)
	for k := range numbers {
		numbers[k] = fmt.Sprintf("X%09d", k+1)
	}
	changes := filepath.Join(t.TempDir(), "changes.json")
	if err := os.WriteFile(changes, []byte(`{"child":{"weightGrams":3000}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	steps := []struct {
		kind    string
		numbers []string
		args    []string
	}{
		{"handed-over", numbers, []string{"handover", "--as", hospital + "/stock-1", "--to", s.cityArchive.Code}},
		{"accepted", numbers, []string{"accept", "--as", s.cityArchive.Code + "/archivist-1"}},
		{"registered", numbers[1:], []string{"register", "--as", s.police.Code + "/officer-1"}},
		{"superseded", numbers[:1], []string{"exchange", "--as", hospital + "/clerk-1", "--approver", "seal-1", "--grounds", "wrong-content",
			"--returned", "main,counterfoil", "--changes", changes, "--business", "D1-X"}},
		{"revoked", numbers[1:3], []string{"revoke", "--as", s.commission.Code + "/supervisor-1", "--reason", "wrongly-issued"}},
	}
	for _, step := range steps {
		args := slices.Concat(step.args[:1], []string{"--data", data}, step.args[1:], step.numbers)
		for range max(2, count/len(steps)/2) {
			killed(t, at.grown(int64(random.IntN(len(step.numbers)*24<<10))), args...)
		}
		// Once more, to the end: the ones that were done are refused by name, the others are done.
		c := call(t.Context(), data, systemClock, args...)
		if c.code != exitYes && c.code != exitBatch && !strings.Contains(c.stderr, step.kind) {
			t.Fatalf("%s: exit %d, %s%s", step.kind, c.code, c.stdout, c.stderr)
		}
		for _, n := range step.numbers {
			happened(t, data, n, step.kind)
		}
		must(t, data, "ledger", "cosign")
		must(t, data, "ledger", "audit")
	}
	var rows []struct{ Status string }
	if err := decode(must(t, data, "list", "--json"), &rows); err != nil {
		t.Fatal(err)
	}
	if len(rows) != issuedCount+1 {
		t.Errorf("%d licences after one exchange, want %d", len(rows), issuedCount+1)
	}
	var books []struct {
		Balanced bool
		Inside   struct{ First, Exchange int }
	}
	if err := decode(must(t, data, "number", "reconcile", "--issuer", hospital, "--json"), &books); err != nil {
		t.Fatal(err)
	}
	if b := books[0]; !b.Balanced || b.Inside.First != issuedCount || b.Inside.Exchange != 1 {
		t.Errorf("books: %+v", b)
	}
	at.sound()
}

// happened holds a licence to having had exactly one event of the kind, and that in the log.
func happened(t *testing.T, data, number, kind string) {
	t.Helper()
	var views []licenceView
	if err := decode(must(t, data, "show", number, "--json"), &views); err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, e := range views[0].Events {
		if e.Kind == kind {
			count++
			if e.Index == nil {
				t.Errorf("%s: the log does not have %s", number, kind)
			}
		}
	}
	if count != 1 {
		t.Errorf("%s was %s %d times", number, kind, count)
	}
}

// An export that is killed leaves only whole files; said again, it is complete.
func TestKilledWhileExporting(t *testing.T) {
	t.Parallel()
	onEachGround(t, 2, killWhileExporting)
}

func killWhileExporting(t *testing.T, g ground, count int, random *rand.Rand) {
	data := g.issued(t).data
	for range max(2, count/10) {
		out := filepath.Join(t.TempDir(), "out")
		enough := random.IntN(3 * issuedCount)
		killed(t, func() bool {
			found, err := os.ReadDir(out)
			return err == nil && len(found) >= enough
		}, "export", "--data", data, "--all", "--out", out)
		if left, _ := filepath.Glob(filepath.Join(out, "*.pdf")); len(left) > 0 {
			verifies(t, data, out, len(left), false)
		}
		must(t, data, "export", "--all", "--out", out)
		verifies(t, data, out, 2*issuedCount, true)
	}
}

// An init that is killed leaves no installation: nothing that looks like one and lacks a key.
func TestKilledWhileInitialising(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	data := filepath.Join(parent, "data")
	ended, said := killed(t, func() bool {
		made, _ := filepath.Glob(filepath.Join(parent, ".elicence-init-*", "keystores", "*.keystore"))
		return len(made) >= 2
	}, "init", "--data", data)
	if ended {
		t.Fatalf("init ended before it could be killed: %s", said)
	}
	if _, err := os.Stat(data); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder is there: %v", err)
	}
	says(t, "list", call(t.Context(), data, systemClock, "list"), exitUnavailable, "no installation")
}
