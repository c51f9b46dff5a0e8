package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/elicence/elicence/hsm/softkey"
)

// Installations that tests copy. Making one costs seconds, so each is made once, when it is first asked for.
var (
	folder string // of what is made once
	fresh  = sync.OnceValues(func() (string, error) { return makeFresh("fresh") })
	other  = sync.OnceValues(func() (string, error) { return makeFresh("other") })
	issued = sync.OnceValues(makeIssued)
)

// made is the test binary's run with a folder around it.
type made struct{ *testing.M }

func (m made) Run() int {
	dir, err := os.MkdirTemp("", "elicence-tests-*")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	folder = dir
	code := m.M.Run()
	if err := errors.Join(stopServers(), stopNetwork()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// TestMain makes this binary the real program, too: under the name elicence it is main and nothing else, so that tests
// start it, and kill it, as a process of its own.
func TestMain(m *testing.M) {
	testscript.Main(made{m}, map[string]func(){"elicence": main})
}

// called is what a command answered.
type called struct {
	code           int
	stdout, stderr string
}

// appAt is the program in this process, with an environment that holds nothing.
func appAt(data string, now func() time.Time, out, errs io.Writer) *app {
	return &app{
		stdin: strings.NewReader(""), stdout: out, stderr: errs, environment: func(string) string { return "" }, now: now, data: data,
		// The cost stands in each keystore file, so that the real program opens these, too.
		keystores: []softkey.Option{softkey.WithTestCost(1 << 10)},
	}
}

// call runs one command in this process by this clock.
func call(ctx context.Context, data string, now func() time.Time, args ...string) called {
	var out, errs bytes.Buffer
	a := appAt(data, now, &out, &errs)
	root := a.command()
	root.SetArgs(append([]string{"--data", data}, args...))
	root.SetOut(&out)
	root.SetErr(&errs)
	code := a.exit(root.ExecuteContext(ctx))
	return called{code, out.String(), errs.String()}
}

// must runs a command that has to succeed.
func must(t *testing.T, data string, args ...string) string {
	t.Helper()
	c := call(t.Context(), data, systemClock, args...)
	if c.code != exitYes {
		t.Fatalf("elicence %s: exit %d\n%s%s", strings.Join(args, " "), c.code, c.stdout, c.stderr)
	}
	return c.stdout
}

// smallScheme is the demonstration's cast with two hospitals and one county agency: all that stories need.
func smallScheme() scheme {
	s := demonstrationScheme()
	s.hospitals, s.agencies = s.hospitals[:2], s.agencies[:1]
	return s
}

// aMinuteAgo is the clock by which the ready installations are made. Revocations and proven times have whole seconds: what
// a test does must not fall into the second in which its installation was made.
func aMinuteAgo() time.Time { return systemClock().Add(-time.Minute) }

func makeFresh(name string) (string, error) {
	data := filepath.Join(folder, name)
	if err := appAt(data, aMinuteAgo, io.Discard, io.Discard).initialise(context.Background(), smallScheme()); err != nil {
		return "", fmt.Errorf("init: %w", err)
	}
	return data, nil
}

// issuedCount births of one hospital stand in the issued installation, with numbers X000000001 and on, in the order of
// the file.
const issuedCount = 12

func makeIssued() (string, error) {
	from, err := fresh()
	if err != nil {
		return "", err
	}
	data := filepath.Join(folder, "issued")
	if err := os.CopyFS(data, os.DirFS(from)); err != nil {
		return "", err
	}
	births := filepath.Join(folder, "issued.jsonl")
	if err := writeBirths(births, 1, issuedCount, demonstrationScheme().hospitals[0].Code); err != nil {
		return "", err
	}
	if c := call(context.Background(), data, aMinuteAgo, "issue", "--births", births, "--workers", "1"); c.code != exitYes {
		return "", fmt.Errorf("issue: %s%s", c.stdout, c.stderr)
	}
	return data, nil
}

// copyOf makes a copy of an installation that a test may do anything to.
func copyOf(t *testing.T, made func() (string, error)) string {
	t.Helper()
	from, err := made()
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

const birthsFile = "../../testdata/births/births.jsonl"

// births reads lines of the file, the first being 1, as births in this institution ("" leaves them as they are).
func births(from, count int, institution string) ([]string, error) {
	b, err := os.ReadFile(birthsFile)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if from < 1 || from-1+count > len(lines) {
		return nil, fmt.Errorf("the births file has %d lines", len(lines))
	}
	lines = lines[from-1 : from-1+count]
	if institution == "" {
		return lines, nil
	}
	for n, line := range lines {
		var m map[string]any
		d := json.NewDecoder(strings.NewReader(line))
		d.UseNumber()
		if err := d.Decode(&m); err != nil {
			return nil, err
		}
		m["institution"] = institution
		// Births outside institutions belong to the county agencies, and only these.
		child := m["child"].(map[string]any)
		switch outside := child["placeType"] == "home" || child["placeType"] == "other"; {
		case institution == demonstrationScheme().agencies[0].Code:
			child["placeType"] = "home"
		case outside:
			child["placeType"] = "hospital"
		}
		again, err := json.Marshal(m)
		if err != nil {
			return nil, err
		}
		lines[n] = string(again)
	}
	return lines, nil
}

func writeBirths(path string, from, count int, institution string) error {
	lines, err := births(from, count, institution)
	if err != nil {
		return err
	}
	return os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o644)
}

// files visits every file below dir with its content.
func files(t *testing.T, dir string, visit func(path string, b []byte)) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		visit(path, b)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// decode reads one JSON value and nothing after it.
func decode(text string, v any) error {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("no JSON: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("more than one JSON value")
	}
	return nil
}
