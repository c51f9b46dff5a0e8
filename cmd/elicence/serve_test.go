package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/elicence/elicence/api"
)

// written is what a process has said so far.
type written struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *written) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(b)
}

func (w *written) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

// serving is a real service, a process of its own.
type serving struct {
	data string
	c    *exec.Cmd
	log  *written
	done chan struct{}
}

// soonest is how long a condition may take to come true on a busy machine.
const soonest = 2 * time.Minute

// eventually waits for a condition.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(soonest); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if is() {
			return
		}
	}
	t.Fatalf("%s: not within %s", what, soonest)
}

// startService starts one without waiting for it.
func startService(t testing.TB, data string, environment []string, args ...string) *serving {
	t.Helper()
	s := &serving{data: data, c: exec.Command("elicence", append([]string{"serve", "--data", data}, args...)...), log: &written{}, done: make(chan struct{})}
	s.c.Stderr, s.c.Stdout = s.log, s.log
	s.c.Env = append(os.Environ(), environment...)
	if err := s.c.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = s.c.Wait() // how it ended is in the process state
		close(s.done)
	}()
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			t.Logf("the service said:\n%s", s.log)
		}
	})
	return s
}

// serveFolder starts a service and waits until it is ready.
func serveFolder(t testing.TB, data string, environment []string, args ...string) *serving {
	t.Helper()
	s := startService(t, data, environment, args...)
	eventually(t, "ready", func() bool {
		if s.ended() {
			t.Fatalf("the service ended: %s", s.log)
		}
		code, _ := s.get("/readyz")
		return code == http.StatusOK
	})
	return s
}

func (s *serving) ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// get reads a page on the socket; code 0 says that nobody answered.
func (s *serving) get(path string) (code int, body string) {
	c, err := api.Connect(context.Background(), s.data)
	if err != nil {
		return 0, err.Error()
	}
	code, b, err := c.Get(context.Background(), path)
	if err != nil {
		return 0, err.Error()
	}
	return code, string(b)
}

func (s *serving) kill() {
	_ = s.c.Process.Signal(syscall.SIGKILL)
	<-s.done
}

// stop ends it as a service manager does and returns its exit code.
func (s *serving) stop(t testing.TB) int {
	t.Helper()
	if err := s.c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.done:
	case <-time.After(soonest):
		t.Fatal("the service does not stop")
	}
	return s.c.ProcessState.ExitCode()
}

// errs is what it logged at level ERROR.
func (s *serving) errs() []string {
	var found []string
	for _, line := range strings.Split(s.log.String(), "\n") {
		if strings.Contains(line, `"level":"ERROR"`) {
			found = append(found, line)
		}
	}
	return found
}

// reported is how many lines a report has.
func reported(report string) int {
	b, err := os.ReadFile(report)
	if err != nil {
		return 0
	}
	return bytes.Count(b, []byte(`"outcome":`))
}

// reportedAtLeast is a condition.
func reportedAtLeast(report string, lines int) func() bool {
	return func() bool { return reported(report) >= lines }
}

// asUser runs the program as a process of its own, as the user who serves.
func asUser(t testing.TB, args ...string) called {
	t.Helper()
	c := exec.Command("elicence", args...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); c.ProcessState == nil {
		t.Fatal(err)
	}
	return called{c.ProcessState.ExitCode(), out.String(), errs.String()}
}

var (
	hexSum  = regexp.MustCompile(`[0-9a-f]{64}`)
	seconds = regexp.MustCompile(`[0-9]+\.[0-9] s|"seconds": [0-9.e-]+`)
	instant = regexp.MustCompile(`[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(Z|[+-][0-9:]+)`)
)

// alike takes out of an answer what is different each time.
func alike(c called) called {
	for _, s := range []*string{&c.stdout, &c.stderr} {
		*s = hexSum.ReplaceAllString(*s, "SM3")
		*s = seconds.ReplaceAllString(*s, "S s")
		*s = instant.ReplaceAllString(*s, "T")
	}
	return c
}

// Every writing command says the same, and ends with the same exit code, whether a service performs it or the command
// itself: answers, refusals, faults and usage errors, for people and for programs.
func TestServedCommandsSayTheSame(t *testing.T) {
	t.Parallel()
	alone := copyOf(t, issued)
	served := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(served, os.DirFS(alone)); err != nil {
		t.Fatal(err)
	}
	service := serveFolder(t, served, nil)
	s := demonstrationScheme()
	hospital, city := s.hospitals[0].Code, s.cityArchive.Code
	folder := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good, bad := birthsOf(t, 13, 3), birthsOf(t, 1, 2)
	b, err := os.ReadFile(bad)
	if err != nil {
		t.Fatal(err)
	}
	conflict := file("conflict.jsonl", regexp.MustCompile(`"weightGrams":\d+`).ReplaceAllString(string(b), `"weightGrams":3333`)+"\n{not json\n")
	rare := file("rare.jsonl", strings.Replace(mustLine(t, 30), `"name":"`, `"name":"\ue000`, 1)+"\n")
	seal := filepath.Join(alone, "secrets", hospital, "seal-1.passphrase")
	clerk := filepath.Join(alone, "secrets", hospital, "clerk-1.passphrase")
	for _, args := range [][]string{
		{"issue", "--births", good, "--workers", "1", "--report", filepath.Join(folder, "report.jsonl")},
		{"issue", "--births", good, "--workers", "1", "--json"},
		{"issue", "--births", conflict, "--workers", "1"},
		{"issue", "--births", conflict, "--workers", "1", "--json"},
		{"issue", "--births", rare, "--workers", "1"},
		{"issue", "--births", good, "--report", "/dev/full", "--workers", "1"},
		{"issue", "--births", good, "--as", hospital + "/clerk-1", "--approver", "seal-1", "--approver-passphrase-file", clerk},
		{"issue", "--births", good, "--as", hospital + "/clerk-1", "--approver", "seal-1", "--approver-passphrase-file", seal, "--workers", "1"},
		{"issue", "--births", good, "--as", hospital + "/nobody", "--approver", "seal-1", "--approver-passphrase-file", seal},
		{"issue", "--births", good, "--as", hospital + "/clerk-1"},
		{"issue", "--births", filepath.Join(folder, "absent")},
		{"handover", "X000000001", "X000000002", "X000000003", "--as", hospital + "/stock-1", "--to", city},
		{"handover", "X000000001", "X000000004", "--as", hospital + "/stock-1", "--to", city},
		{"handover", "X000000001", "--as", hospital + "/stock-1", "--to", city},
		{"handover", "X000000001", "--as", hospital + "/stock-1", "--to", city, "--json"},
		{"handover", "X000000001", "--as", hospital + "/seal-1", "--to", city},
		{"handover", "X990000001", "--as", hospital + "/stock-1", "--to", city},
		{"accept", "X000000001", "--as", city + "/archivist-1"},
		{"accept", "X000000002", "--as", city + "/archivist-1", "--file", good},
		{"accept", "X000000002", "--as", city + "/archivist-1", "--file", filepath.Join(folder, "absent")},
		{"reject", "X000000002", "--as", city + "/archivist-1", "--reason", "incomplete", "--note", "缺表"},
		{"register", "X000000003", "--as", s.police.Code + "/officer-1", "--registration", file("r.json", `{"station":"示范派出所"}`)},
		{"register", "X000000003", "--as", s.police.Code + "/officer-1"},
		{"replace", "X000000005", "--as", hospital + "/clerk-1", "--approver", "seal-1", "--grounds", "lost", "--business", "R-1"},
		{"replace", "X000000005", "--as", hospital + "/clerk-1", "--approver", "seal-1", "--grounds", "lost", "--business", "R-2"},
		{"exchange", "X000000006", "--as", hospital + "/clerk-1", "--approver", "seal-1", "--grounds", "wrong-content", "--returned", "main,counterfoil",
			"--changes", file("c.json", `{"child":{"weightGrams":3001}}`), "--business", "E-1", "--json"},
		{"exchange", "X000000007", "--as", hospital + "/clerk-1", "--approver", "seal-1", "--grounds", "whim", "--business", "E-2"},
		{"revoke", "X000000009", "--as", s.commission.Code + "/supervisor-1", "--reason", "wrongly-issued"},
		{"revoke", "X000000009", "--as", s.commission.Code + "/supervisor-1", "--reason", "wrongly-issued"},
		{"revoke", "X000000010", "--as", s.commission.Code + "/supervisor-1", "--reason", "whim"},
		{"resume", "X000000001", "--as", hospital + "/clerk-1"},
		{"resume", "X000000001", "--as", s.hospitals[1].Code + "/clerk-1", "--json"},
		{"number", "allot", "--as", s.commission.Code + "/supervisor-1", "--to", hospital, "--from", "X000900001", "--count", "5"},
		{"number", "allot", "--as", s.commission.Code + "/supervisor-1", "--to", hospital, "--from", "X000900001", "--count", "5"},
		{"number", "allot", "--as", s.commission.Code + "/supervisor-1", "--to", hospital, "--from", "X000900011", "--count", "5", "--type", "none"},
		{"number", "bind", "X000900001", "--as", hospital + "/clerk-1", "--business", "P-1", "--json"},
		{"number", "bind", "X000900001", "--as", hospital + "/clerk-1", "--business", "P-2"},
		{"number", "spoil", "X000900001", "--as", hospital + "/stock-1", "--reason", "misprint"},
		{"number", "spoil", "X000000001", "--as", hospital + "/stock-1", "--reason", "misprint"},
		{"key", "generate", hospital, "documents"},
		{"key", "generate", hospital, "checkpoints"},
		{"key", "generate", hospital, "events", "--json"},
		{"key", "retire", hospital, "documents-2"},
		{"key", "retire", hospital, "documents-9"},
		{"key", "disable", hospital, "documents-1", "--json"},
		{"ca", "crl"},
		{"ca", "revoke", "00000000"},
		{"trust", "publish"},
		{"trust", "publish", "--json"},
		{"handover", "X000000008", "--as", hospital + "/stock-1", "--to", s.districtArchive.Code},
		{"number", "reconcile", "--issuer", hospital, "--json"},
		{"list", "--json"},
		{"ledger", "audit"},
	} {
		want, got := alike(call(t.Context(), alone, systemClock, args...)), alike(call(t.Context(), served, systemClock, args...))
		want.stderr, want.stdout = strings.ReplaceAll(want.stderr, alone, "DATA"), strings.ReplaceAll(want.stdout, alone, "DATA")
		got.stderr, got.stdout = strings.ReplaceAll(got.stderr, served, "DATA"), strings.ReplaceAll(got.stdout, served, "DATA")
		if args[0] == "ledger" { // the service anchors its trail more often: more entries
			want.stdout, got.stdout = want.stdout[:4], got.stdout[:4]
		}
		if want != got {
			t.Errorf("elicence %s\nalone:  exit %d\n%s%s\nserved: exit %d\n%s%s", strings.Join(args, " "), want.code, want.stdout, want.stderr, got.code, got.stdout, got.stderr)
		}
	}
	for _, verb := range []string{"issue", "step", "resume", "reissue", "number-allot", "number-bind", "number-spoil", "key-generate", "key-change", "ca-crl", "ca-revoke", "trust-publish"} {
		if !strings.Contains(service.log.String(), `"name":"`+verb+`"`) {
			t.Errorf("the service was not asked for %s", verb)
		}
	}
	if errs := service.errs(); len(errs) > 0 {
		t.Errorf("the service logged errors: %s", strings.Join(errs, "\n"))
	}
	if code := service.stop(t); code != exitYes {
		t.Errorf("the service ended with %d", code)
	}
	must(t, served, "ledger", "cosign")
	must(t, served, "ledger", "audit")
}

func mustLine(t *testing.T, n int) string {
	t.Helper()
	lines, err := births(n, 1, demonstrationScheme().hospitals[0].Code)
	if err != nil {
		t.Fatal(err)
	}
	return lines[0]
}

// served is the condition [service] of stories: one has the folder.
func served(is bool) func(string) (bool, error) {
	return func(name string) (bool, error) {
		if name != "service" {
			return false, fmt.Errorf("no condition %q", name)
		}
		return is, nil
	}
}

// The user stories, as they are, with a service on the folder: who wrote them did not know of it.
func TestStoriesWithAService(t *testing.T) {
	t.Parallel()
	p := storyParams(t)
	p.Dir = ""
	for _, name := range []string{"custody", "register", "reissue", "stock", "keys", "compromise"} {
		p.Files = append(p.Files, filepath.Join("testdata", name+".txtar"))
	}
	p.Condition = served(true)
	plain := p.Cmds["installation"]
	var running sync.Map // *testscript.TestScript → what stops its service
	p.Cmds["installation"] = func(ts *testscript.TestScript, neg bool, args []string) {
		if former, ok := running.LoadAndDelete(ts); ok { // its folder is about to be another
			former.(func())()
		}
		plain(ts, neg, args)
		c := exec.Command("elicence", "serve", "--data", ts.MkAbs("data"))
		log := &written{}
		c.Stdout, c.Stderr = log, log
		ts.Check(c.Start())
		stop := sync.OnceFunc(func() {
			_ = c.Process.Signal(syscall.SIGTERM)
			if err := c.Wait(); err != nil {
				ts.Logf("the service ended: %v\n%s", err, log)
			}
		})
		running.Store(ts, stop)
		ts.Defer(stop)
		for end := time.Now().Add(soonest); ; time.Sleep(10 * time.Millisecond) {
			if client, err := api.Connect(context.Background(), ts.MkAbs("data")); err == nil {
				if code, _, err := client.Get(context.Background(), "/readyz"); err == nil && code == http.StatusOK {
					return
				}
			}
			if time.Now().After(end) {
				ts.Fatalf("the service is not ready: %s", log)
			}
		}
	}
	testscript.Run(t, p)
}

// One service has a folder; a second one, and a lone writer, are told so. A path that is too long for a socket's address
// is served like any other.
func TestOneServiceAFolderHoweverLongItsPath(t *testing.T) {
	t.Parallel()
	from, err := fresh()
	if err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(t.TempDir(), strings.Repeat("long", 20), strings.Repeat("path", 20), "data")
	if err := os.MkdirAll(filepath.Dir(data), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(data, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	s := serveFolder(t, data, nil)
	info, err := os.Lstat(filepath.Join(data, api.SocketName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", info, err)
	}
	says(t, "a second service", asUser(t, "serve", "--data", data), exitUnavailable, "another service runs on this folder", fmt.Sprint(s.c.Process.Pid), "stop that service")
	says(t, "issue", call(t.Context(), data, systemClock, "issue", "--births", birthsOf(t, 1, 1)), exitYes, "issued 1")
	s.kill()
	// The socket of the dead is no hindrance, neither to a command nor to the next service.
	says(t, "issue alone", call(t.Context(), data, systemClock, "issue", "--births", birthsOf(t, 2, 1)), exitYes, "issued 1")
	s = serveFolder(t, data, nil)
	says(t, "issue again", call(t.Context(), data, systemClock, "issue", "--births", birthsOf(t, 3, 1)), exitYes, "issued 1")
	// A lone writer is in the way of a service, which says so.
	s.stop(t)
	writer, err := appAt(data, systemClock, io.Discard, io.Discard).openForWriting(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer writer.close()
	says(t, "a service beside a writer", asUser(t, "serve", "--data", data), exitUnavailable, "another process is writing")
}
