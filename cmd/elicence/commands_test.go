package main

import (
	"io"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/elicence/elicence/licence/code"
)

// walk visits every command that a user can type.
func walk(c *cobra.Command, visit func(*cobra.Command)) {
	visit(c)
	for _, sub := range c.Commands() {
		if sub.Name() != "help" && sub.Name() != "completion" {
			walk(sub, visit)
		}
	}
}

func commands() *cobra.Command {
	return appAt("data", systemClock, io.Discard, io.Discard).command()
}

var (
	codeLike   = regexp.MustCompile(`\b[0-9A-Z]{18}\b`)
	numberLike = regexp.MustCompile(`\b[A-Z][0-9]{9}\b`)
)

// Every command says in Chinese and English what it is for, and shows an example that works when it is copied: its
// flags exist, and its codes are those of the demonstration installation.
func TestEveryCommandHasHelpWithAnExample(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, o := range demonstrationScheme().all() {
		known[o.Code] = true
	}
	count := 0
	walk(commands(), func(c *cobra.Command) {
		count++
		if !strings.Contains(c.Example, "elicence") {
			t.Errorf("%s: no example", c.CommandPath())
		}
		if !regexp.MustCompile(`\p{Han}.* · .*[a-z]`).MatchString(c.Short) {
			t.Errorf("%s: %q is not Chinese and English", c.CommandPath(), c.Short)
		}
		for _, like := range codeLike.FindAllString(c.Example+c.Long, -1) {
			if !known[like] {
				t.Errorf("%s: the example names %s, which no demonstration installation has", c.CommandPath(), like)
			}
		}
		for _, like := range numberLike.FindAllString(c.Example+c.Long, -1) {
			if err := code.Number(like); err != nil {
				t.Errorf("%s: the example's number %s: %v", c.CommandPath(), like, err)
			}
		}
		for _, line := range strings.Split(strings.ReplaceAll(c.Example, "\\\n", " "), "\n") {
			checkExample(t, c, strings.Fields(line))
		}
		if got := call(t.Context(), "nowhere", systemClock, append(strings.Fields(c.CommandPath())[1:], "--help")...); got.code != exitYes ||
			!strings.Contains(got.stdout, "Examples:") || got.stderr != "" {
			t.Errorf("%s --help: exit %d, %q", c.CommandPath(), got.code, got.stderr)
		}
	})
	if count < 35 {
		t.Errorf("only %d commands", count)
	}
}

// checkExample finds the command that the line names and holds its flags to those that exist.
func checkExample(t *testing.T, of *cobra.Command, words []string) {
	t.Helper()
	if len(words) == 0 {
		return
	}
	if words[0] != "elicence" {
		t.Errorf("%s: the example %q does not call elicence", of.CommandPath(), words)
		return
	}
	c, _, err := commands().Find(words[1:])
	if err != nil {
		t.Errorf("%s: %v", of.CommandPath(), err)
		return
	}
	if of.HasParent() && !strings.HasPrefix(c.CommandPath(), of.CommandPath()) {
		t.Errorf("%s: its example is one of %s", of.CommandPath(), c.CommandPath())
	}
	for _, w := range words {
		switch {
		case strings.HasPrefix(w, "--"):
			name, _, _ := strings.Cut(w[2:], "=")
			if c.Flags().Lookup(name) == nil && c.InheritedFlags().Lookup(name) == nil {
				t.Errorf("%s: the example's --%s does not exist", of.CommandPath(), name)
			}
		case strings.HasPrefix(w, "-") && len(w) == 2:
			if c.Flags().ShorthandLookup(w[1:]) == nil {
				t.Errorf("%s: the example's %s does not exist", of.CommandPath(), w)
			}
		}
	}
}

// What was typed wrong is told before anything is opened, and always with the same exit code.
func TestWrongUsageExits64(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"nonsense"}, {"--nonsense"}, {"issue", "--nonsense"}, {"issue", "extra", "--births", "x"}, {"issue", "--births"},
		{"issue", "--workers", "many", "--births", "x"}, {"show"}, {"show", "a", "b"}, {"list", "extra"}, {"list", "--status", "fine"},
		{"list", "--stage", "nowhere"}, {"export"}, {"export", "--all", "X000000001", "--out", "o"}, {"export", "--all"},
		{"verify"}, {"verify", "--trust", "t"}, {"handover"}, {"handover", "X000000001"}, {"accept"}, {"reject", "X000000001"},
		{"register"}, {"exchange"}, {"exchange", "X000000001"}, {"replace", "X000000001", "--changes", "c"}, {"revoke"},
		{"revoke", "X000000001"}, {"number", "nonsense"}, {"ledger", "nonsense"}, {"number", "allot"}, {"number", "bind", "X000000001"},
		{"number", "spoil", "X000000001"}, {"number", "spoil", "X000000001", "--reason", "eaten"}, {"key", "generate", "one"},
		{"key", "retire", "one"}, {"ca", "revoke"}, {"ca", "revoke", "00", "--since", "yesterday"}, {"ca", "revoke", "00", "--reason", "whim"},
		{"trust", "show", "extra"}, {"ledger", "receipt"}, {"ledger", "receipt", "nine"}, {"ledger", "history"}, {"ledger", "export"}, {"ledger", "export", "x"}, {"ledger", "audit", "--trust", "t"}, {"ledger", "audit", "--export", "nowhere"}, {"ledger", "history", "a", "b"}, {"bench"}, {"bench", "nonsense"},
		{"bench", "issue", "-n", "0"}, {"bench", "lookup", "-n", "5"}, {"bench", "serve", "--rest", "1ms"}, {"bench", "issue", "--filled", "x"},
		{"bench", "issue", "--beside"}, {"bench", "verify", "--beside", "--records", "host=/nowhere"}, {"init", "extra"}, {"demo", "extra"}, {"demo", "--births", "absent.jsonl"},
	} {
		c := call(t.Context(), filepath.Join(t.TempDir(), "data"), systemClock, args...)
		if c.code != exitUsage {
			t.Errorf("elicence %s: exit %d, %s", strings.Join(args, " "), c.code, c.stderr)
		}
		if !strings.HasPrefix(c.stderr, "elicence: ") || c.stdout != "" {
			t.Errorf("elicence %s: stdout %q, stderr %q", strings.Join(args, " "), c.stdout, c.stderr)
		}
	}
}

// With --json every command that reads answers with one JSON value on stdout, and an error is one on stderr.
func TestJSONEverywhere(t *testing.T) {
	t.Parallel()
	data := copyOf(t, issued)
	out := filepath.Join(t.TempDir(), "out")
	must(t, data, "export", "--all", "--out", out)
	trust, part := filepath.Join(out, "trust.json"), filepath.Join(out, "X000000001-main.pdf")
	done := map[string]bool{}
	for _, args := range [][]string{
		{"show", "X000000001"}, {"show", "X000000001", "--fields"}, {"list"}, {"list", "--status", "revoked"},
		{"export", "X000000001", "--out", out}, {"verify", "--trust", trust, part}, {"verify", "--trust", trust, "--fields", part, part},
		{"number", "reconcile"}, {"number", "reconcile", "--issuer", demonstrationScheme().agencies[0].Code}, {"key", "list"},
		{"ca", "show"}, {"trust", "show"}, {"ledger", "status"}, {"ledger", "audit"},
	} {
		c := call(t.Context(), data, systemClock, append(args, "--json")...)
		var v any
		if err := decode(c.stdout, &v); err != nil || c.code != exitYes || v == nil {
			t.Errorf("elicence %s --json: exit %d, %v, %s", strings.Join(args, " "), c.code, err, c.stderr)
		}
		done[args[0]] = true
	}
	for _, args := range [][]string{{"show", "X990000001"}, {"export", "X990000001", "--out", out},
		{"verify", "--trust", "absent", part}, {"handover", "X000000001"}, {"number", "bind"}, {"ledger", "receipt", "99999"}} {
		c := call(t.Context(), data, systemClock, append(args, "--json")...)
		var v struct {
			Error string `json:"error"`
			Exit  int    `json:"exit"`
		}
		if err := decode(c.stderr, &v); err != nil || v.Error == "" || v.Exit != c.code || c.stdout != "" {
			t.Errorf("elicence %s --json: exit %d, stdout %q, stderr %q, %v", strings.Join(args, " "), c.code, c.stdout, c.stderr, err)
		}
	}
}
