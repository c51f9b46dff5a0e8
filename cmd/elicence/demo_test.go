package main

import (
	"errors"
	"html"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	linked  = regexp.MustCompile(`(?:href|src|data)="([^"]*)"`)
	tryNext = regexp.MustCompile(`(?m)^  bin/elicence (.*)$`)
)

// The demo, as a newcomer sees it: a table, a page whose links lead somewhere, commands that work when they are copied,
// forgeries that were refused; run again it goes on and issues nothing twice.
func TestDemo(t *testing.T) {
	t.Parallel()
	data := copyOf(t, fresh)
	demo := func() string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "elicence", "demo", "--births", birthsOf(t, 1, 12), "--data", data).Output()
		if err != nil {
			var ended *exec.ExitError
			if errors.As(err, &ended) {
				t.Fatalf("demo: %v: %s", err, ended.Stderr)
			}
			t.Fatalf("demo: %v", err)
		}
		return string(out)
	}
	said := demo()
	for _, stage := range []string{"stage", "p50", "p99", "issue", "verify", "hand over", "accept or reject", "register", "exchange, replace, revoke",
		"a sheet jams", "forgeries refused", "ledger audit", "try next"} {
		if !strings.Contains(said, stage) {
			t.Errorf("the table lacks %q: %s", stage, said)
		}
	}
	first := must(t, data, "list", "--limit", "1000", "--json")
	var rows []struct{ Number, BusinessID, Kind, Status string }
	if err := decode(first, &rows); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, r := range rows {
		kinds[r.Kind+", "+r.Status]++
	}
	if kinds["first, in force"] != 9 || kinds["exchange, in force"] != 1 || kinds["replacement, in force"] != 1 || kinds["first, revoked"] != 1 ||
		kinds["first, superseded"] != 2 {
		t.Errorf("the demo left %v", kinds)
	}
	commands := tryNext.FindAllStringSubmatch(said, -1)
	if len(commands) != 3 {
		t.Errorf("%d commands to try next, want 3", len(commands))
	}
	for _, c := range commands {
		if b, err := exec.CommandContext(t.Context(), "elicence", strings.Fields(c[1])...).CombinedOutput(); err != nil {
			t.Errorf("elicence %s: %v: %s", c[1], err, b)
		}
	}
	page, err := os.ReadFile(filepath.Join(data, "tour", "index.html"))
	if err != nil {
		t.Fatal(err)
	}
	links := linked.FindAllStringSubmatch(string(page), -1)
	if len(links) < 10 {
		t.Errorf("only %d links in the tour", len(links))
	}
	for _, l := range links {
		u, err := url.Parse(html.UnescapeString(l[1]))
		if err != nil || u.IsAbs() || u.Path == "" {
			t.Errorf("the tour links to %q, which is no file of the demo", l[1])
			continue
		}
		if _, err := os.Stat(filepath.Join(data, "tour", filepath.FromSlash(u.Path))); err != nil {
			t.Errorf("a link of the tour leads nowhere: %v", err)
		}
	}
	for _, who := range []string{"Clerk", "Police", "Archivist", "Mother", "Engineer", "Forger", "Health commission", "SPECIMEN", "self-made trust file",
		"a copy with one bit changed", "a licence signed by a stranger"} {
		if !strings.Contains(string(page), who) {
			t.Errorf("the tour does not tell of %q", who)
		}
	}
	if strings.Contains(string(page), "<no value>") || strings.Contains(string(page), "<code></code>") {
		t.Error("the tour has holes")
	}
	for file, trust := range map[string]string{
		"tampered.pdf": "../../export/trust.json", "stranger.pdf": "../../export/trust.json", "../../export/" + rows[0].Number + "-main.pdf": "self-made-trust.json",
	} {
		forged := filepath.Join(data, "tour", "forged")
		pin, err := os.ReadFile(filepath.Join(data, "trust.pin"))
		if err != nil {
			t.Fatal(err)
		}
		c := call(t.Context(), data, systemClock, "verify", "--trust", filepath.Join(forged, trust), "--pin", strings.TrimSpace(string(pin)),
			filepath.Join(forged, file))
		if c.code != exitNo && c.code != exitIndeterminate {
			t.Errorf("%s by %s: exit %d", file, trust, c.code)
		}
	}
	says(t, "audit", call(t.Context(), data, systemClock, "ledger", "audit"), exitYes)
	says(t, "books", call(t.Context(), data, systemClock, "number", "reconcile"), exitYes)

	// Again: the same licences, the same states, and the tour still tells the whole story.
	demo()
	if again := must(t, data, "list", "--limit", "1000", "--json"); again != first {
		t.Errorf("the second run changed the licences: %s", again)
	}
	says(t, "audit", call(t.Context(), data, systemClock, "ledger", "audit"), exitYes)
}

// A file without births, or no file, is a mistake of who typed it, and makes no installation.
func TestDemoWithoutBirths(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "empty.jsonl")
	if err := os.WriteFile(empty, []byte("\n\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(t.TempDir(), "data")
	for _, births := range []string{empty, filepath.Join(t.TempDir(), "absent.jsonl")} {
		says(t, "demo", call(t.Context(), data, systemClock, "demo", "--births", births), exitUsage, "births")
	}
	if _, err := os.Stat(data); err == nil {
		t.Error("the folder was made all the same")
	}
}
