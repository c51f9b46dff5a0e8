package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"

	"github.com/elicence/elicence/access"
	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/storage/records"
	"github.com/elicence/elicence/templates"
)

// later is a clock that runs so much ahead of the system's; behind, if d is negative.
func later(d time.Duration) func() time.Time {
	return func() time.Time { return time.Now().Add(d) }
}

func birthsOf(t *testing.T, from, count int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "births.jsonl")
	if err := writeBirths(path, from, count, demonstrationScheme().hospitals[0].Code); err != nil {
		t.Fatal(err)
	}
	return path
}

func says(t *testing.T, what string, c called, code int, words ...string) {
	t.Helper()
	if c.code != code {
		t.Errorf("%s: exit %d, want %d: %s%s", what, c.code, code, c.stdout, c.stderr)
	}
	for _, w := range words {
		if !strings.Contains(c.stdout+c.stderr, w) {
			t.Errorf("%s does not say %q: %s%s", what, w, c.stdout, c.stderr)
		}
	}
}

// A clock that stands before the last event is wrong: nothing is issued, moved or sequenced by it, nothing is consumed,
// and with the right clock everything goes on.
func TestClockBeforeTheLastEvent(t *testing.T) {
	t.Parallel()
	data, s := copyOf(t, issued), demonstrationScheme()
	wrong := later(-time.Hour)
	next := birthsOf(t, 13, 1)
	handover := []string{"handover", "X000000001", "--as", s.hospitals[0].Code + "/stock-1", "--to", s.cityArchive.Code}
	says(t, "issue", call(t.Context(), data, wrong, "issue", "--births", next), exitBatch, "line 1: refused", "clock")
	says(t, "handover", call(t.Context(), data, wrong, handover...), exitNo, "clock")
	says(t, "books", call(t.Context(), data, systemClock, "number", "reconcile", "--issuer", s.hospitals[0].Code, "--json"), exitYes, `"first": 12`)
	says(t, "issue again", call(t.Context(), data, systemClock, "issue", "--births", next), exitYes, "issued 1")
	says(t, "handover again", call(t.Context(), data, systemClock, handover...), exitYes, "handed-over")
	says(t, "audit", call(t.Context(), data, systemClock, "ledger", "audit"), exitYes)
}

// Time passes for readers: a status list grows too old to say "in force", and at last the trust file expires. Each time
// the answer is "ask again", never "good" and never "forged". The reader's clock may be wrong, too.
func TestTimePassesForReaders(t *testing.T) {
	t.Parallel()
	data := copyOf(t, issued)
	out := filepath.Join(t.TempDir(), "out")
	must(t, data, "trust", "publish")
	must(t, data, "export", "X000000001", "--out", out)
	verify := []string{"verify", "--trust", filepath.Join(out, "trust.json"), filepath.Join(out, "X000000001-main.pdf")}
	const day = 24 * time.Hour
	for _, at := range []struct {
		d     time.Duration
		code  int
		words []string
	}{
		{0, exitYes, []string{"TOTAL-PASSED", "in force"}},
		{23 * time.Hour, exitYes, []string{"in force"}},
		{8 * day, exitIndeterminate, []string{"unknown"}},
		{40 * day, exitIndeterminate, []string{"unknown"}},
		{500 * day, exitIndeterminate, []string{"TRY_LATER"}},
		{4 * 365 * day, exitIndeterminate, nil},
		{-day, exitIndeterminate, []string{"INDETERMINATE"}},
	} {
		says(t, "verify after "+at.d.String(), call(t.Context(), "nowhere", later(at.d), verify...), at.code, at.words...)
	}
	// The installation publishes again, and the same old file is good again.
	if c := call(t.Context(), data, later(20*day), "ca", "crl"); c.code != exitYes {
		t.Fatal(c.stderr)
	}
	if c := call(t.Context(), data, later(20*day), "trust", "publish"); c.code != exitYes {
		t.Fatal(c.stderr)
	}
	if c := call(t.Context(), data, later(20*day), "export", "X000000001", "--out", out); c.code != exitYes {
		t.Fatal(c.stderr)
	}
	says(t, "verify with new lists", call(t.Context(), "nowhere", later(20*day), verify...), exitYes, "TOTAL-PASSED", "in force")
}

// One process writes. A second writer is told so at once and breaks nothing; readers work beside the writer, and what
// they read of people is written down when the next writer opens.
func TestSecondWriterAndReadersBesideAWriter(t *testing.T) {
	t.Parallel()
	data, s := copyOf(t, issued), demonstrationScheme()
	writer, err := appAt(data, systemClock, io.Discard, io.Discard).openForWriting(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"issue", "--births", birthsOf(t, 13, 1)}, {"handover", "X000000001", "--as", s.hospitals[0].Code + "/stock-1", "--to", s.cityArchive.Code},
		{"number", "bind", "X000000020", "--as", s.hospitals[0].Code + "/clerk-1", "--business", "D"}, {"trust", "publish"}, {"ledger", "cosign"},
		{"key", "generate", s.hospitals[0].Code, "documents"}, {"ca", "crl"},
	} {
		says(t, strings.Join(args[:2], " "), call(t.Context(), data, systemClock, args...), exitUnavailable,
			"another process is writing", "wait for it to end")
	}
	out := filepath.Join(t.TempDir(), "out")
	for _, args := range [][]string{
		{"show", "X000000001", "--fields", "--why", "beside"}, {"list"}, {"export", "X000000001", "--out", out}, {"number", "reconcile"},
		{"ledger", "status"}, {"ledger", "audit"}, {"key", "list"}, {"trust", "show"}, {"ca", "show"},
		{"verify", "--trust", filepath.Join(out, "trust.json"), filepath.Join(out, "X000000001-main.pdf")},
	} {
		says(t, strings.Join(args[:1], " "), call(t.Context(), data, systemClock, args...), exitYes)
	}
	l, err := writer.db.ByNumber(t.Context(), "X000000001")
	if err != nil {
		t.Fatal(err)
	}
	before, err := writer.db.OfLicence(t.Context(), l.ID)
	if err != nil {
		t.Fatal(err)
	}
	writer.close()
	if writer, err = appAt(data, systemClock, io.Discard, io.Discard).openForWriting(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer writer.close()
	after, err := writer.db.OfLicence(t.Context(), l.ID)
	if err != nil {
		t.Fatal(err)
	}
	if len(after) != len(before)+2 {
		t.Errorf("%d audit rows before, %d after: want one for show and one for export", len(before), len(after))
	}
	last := after[len(after)-1].Entry
	if last.What != "export" && last.What != "show" {
		t.Errorf("the last audit row is %q", last.What)
	}
}

// A folder that cannot be written to, or a report on a full disk: the error says so, nothing is half done, and the same
// command goes on when there is room again.
func TestReadOnlyFolderAndFullDisk(t *testing.T) {
	t.Parallel()
	data := copyOf(t, issued)
	next := birthsOf(t, 13, 3)
	c := call(t.Context(), data, systemClock, "issue", "--births", next, "--report", "/dev/full", "--workers", "1")
	says(t, "issue with a report on a full disk", c, exitUnavailable, "no space left", "free some space")
	readOnly(t, data, func() {
		says(t, "issue", child(t, "issue", "--data", data, "--births", next), exitUnavailable, "writable")
		says(t, "list", child(t, "list", "--data", data), exitYes, "X000000012")
	})
	says(t, "issue", call(t.Context(), data, systemClock, "issue", "--births", next), exitYes, "refused 0")
	says(t, "books", call(t.Context(), data, systemClock, "number", "reconcile", "--issuer", demonstrationScheme().hospitals[0].Code, "--json"),
		exitYes, `"first": 15`, `"balanced": true`)
	says(t, "audit", call(t.Context(), data, systemClock, "ledger", "audit"), exitYes)
}

// nobody is the user of processes that must not be able to write where the tests' user, who may be root, can.
const nobody = 65534

// child runs the program as a process of its own; below readOnly it is a user who may not write.
func child(t *testing.T, args ...string) called {
	t.Helper()
	c := exec.CommandContext(t.Context(), "elicence", args...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if os.Getuid() == 0 {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	err := c.Run()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		t.Fatal(err)
	}
	return called{c.ProcessState.ExitCode(), out.String(), errs.String()}
}

// readOnly lets everybody read the folder and nobody write while f runs.
func readOnly(t *testing.T, dir string, f func()) {
	t.Helper()
	program, err := exec.LookPath("elicence")
	if err != nil {
		t.Fatal(err)
	}
	// Folders above, made for this user alone, are opened on the way.
	for _, leaf := range []string{dir, program} {
		for up := filepath.Dir(leaf); up != os.TempDir() && up != "/"; up = filepath.Dir(up) {
			if err := os.Chmod(up, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	change := func(mode string) {
		t.Helper()
		if b, err := exec.CommandContext(t.Context(), "chmod", "-R", mode, dir).CombinedOutput(); err != nil {
			t.Fatalf("chmod: %s", b)
		}
	}
	change("a+rX,a-w")
	defer change("u+w")
	f()
}

// Each kind of error has one exit code, which programs go by; what nobody foresaw is internal.
// What went wrong and what to do is said in Chinese first, with English beside it.
func TestAdviceIsInBothLanguages(t *testing.T) {
	t.Parallel()
	chinese := func(s string) bool {
		return strings.ContainsFunc(s, func(r rune) bool { return unicode.Is(unicode.Han, r) })
	}
	for _, r := range remedies() {
		for _, sentinel := range r.of {
			if !chinese(r.what) && !chinese(sentinel.Error()) {
				t.Errorf("%v: nothing says in Chinese what is wrong", sentinel)
			}
		}
		if zh, en, both := strings.Cut(r.do, " · "); r.do != "" && (!both || !chinese(zh) || chinese(en)) {
			t.Errorf("%v: advice %q", r.of[0], r.do)
		}
	}
	// Whatever code a command gives it, an error keeps its words; one without any is no fault of the program then.
	for cause, what := range map[error]string{
		&templates.MissingGlyph{}: "字库中没有这个字", licence.ErrNotFound: "没有找到", errors.New("unheard of"): "",
	} {
		if r := classify(&failure{code: exitUsage, cause: cause}); r.what != what || r.code != exitUsage {
			t.Errorf("%v: %q, exit %d", cause, r.what, r.code)
		}
	}
	var said strings.Builder
	a := &app{stderr: &said}
	if code := a.exit(fmt.Errorf("issuer X: %w", licence.ErrStockEmpty)); code != exitNo {
		t.Errorf("exit %d", code)
	}
	if want := "elicence: 空白证件已用完 · issuer X: "; !strings.HasPrefix(said.String(), want) || !strings.Contains(said.String(), "\n  → 领入") {
		t.Errorf("said %q", said.String())
	}
}

func TestErrorsHaveTheirExitCode(t *testing.T) {
	t.Parallel()
	for _, is := range []struct {
		err  error
		code int
	}{
		{access.ErrRole, exitNo}, {access.ErrPassphrase, exitNo}, {records.ErrLocked, exitUnavailable}, {syscall.ENOSPC, exitUnavailable},
		{syscall.EROFS, exitUnavailable}, {os.ErrPermission, exitUnavailable}, {errors.New("unheard of"), exitInternal}, {usage("wrong"), exitUsage},
	} {
		if r := classify(is.err); r.code != is.code {
			t.Errorf("%v: exit %d, want %d", is.err, r.code, is.code)
		}
	}
}
