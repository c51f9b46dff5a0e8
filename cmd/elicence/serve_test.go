package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
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

// The user stories, as they are, with a service on the folder: who wrote them did not know of it.
func TestStoriesWithAService(t *testing.T) {
	t.Parallel()
	p := storyParams(t)
	p.Dir = ""
	for _, name := range []string{"custody", "register", "reissue", "stock", "keys", "compromise"} {
		p.Files = append(p.Files, filepath.Join("testdata", name+".txtar"))
	}
	plain := p.Cmds["installation"]
	p.Cmds["installation"] = func(ts *testscript.TestScript, neg bool, args []string) {
		plain(ts, neg, args)
		c := exec.Command("elicence", "serve", "--data", ts.MkAbs("data"))
		log := &written{}
		c.Stdout, c.Stderr = log, log
		ts.Check(c.Start())
		ts.Defer(func() {
			_ = c.Process.Signal(syscall.SIGTERM)
			if err := c.Wait(); err != nil {
				ts.Logf("the service ended: %v\n%s", err, log)
			}
		})
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

// Two batches at the same time, with births in common, share one service: each is answered in full, and every birth has
// one number.
func TestTwoIssueClientsAtOnce(t *testing.T) {
	t.Parallel()
	data := copyOf(t, fresh)
	s := serveFolder(t, data, nil)
	folder := t.TempDir()
	var group sync.WaitGroup
	answers := make([]called, 2)
	for k := range answers {
		file := birthsOf(t, 1+20*k, 40) // 21 to 40 are in both
		group.Go(func() {
			answers[k] = asUser(t, "issue", "--data", data, "--births", file, "--report", filepath.Join(folder, fmt.Sprint(k)), "--workers", "4")
		})
	}
	group.Wait()
	numbers := map[string]string{}
	for k, a := range answers {
		says(t, fmt.Sprintf("client %d", k), a, exitYes, "refused 0", "failed 0")
		remember(t, numbers, filepath.Join(folder, fmt.Sprint(k)))
	}
	if len(numbers) != 60 {
		t.Fatalf("%d births were answered, want 60", len(numbers))
	}
	if code := s.stop(t); code != exitYes {
		t.Errorf("exit %d", code)
	}
	whole(t, data, numbers, demonstrationScheme().agencies[0].Code)
}

// The service is killed in the middle of batches. The client says that the outcome is unknown and what to do; the next
// service clears the socket away, finishes by itself what was left, and the same file again is answered with the same
// numbers.
func TestKilledServiceWhileIssuing(t *testing.T) {
	t.Parallel()
	data := copyOf(t, fresh)
	file, report := birthsOf(t, 1, 60), filepath.Join(t.TempDir(), "report.jsonl")
	numbers := map[string]string{}
	count, seed := kills(t)
	random := rand.New(rand.NewPCG(seed, 1<<34))
	hit := 0
	for round := range max(4, count/10) {
		more := grown(walOf(data), int64(random.IntN(200<<10)))
		enough := reportedAtLeast(report, min(50, 9*round+random.IntN(9)))
		s := serveFolder(t, data, nil)
		c := exec.Command("elicence", "issue", "--data", data, "--births", file, "--report", report, "--workers", "4")
		said := &written{}
		c.Stderr, c.Stdout = said, said
		if err := os.RemoveAll(report); err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			_ = c.Wait()
			close(ended)
		}()
		eventually(t, "in the middle", func() bool {
			select {
			case <-ended:
				return true
			default:
				return enough() && more()
			}
		})
		s.kill()
		<-ended
		remember(t, numbers, report)
		if c.ProcessState.ExitCode() == exitYes {
			continue // the batch was quicker
		}
		hit++
		if code := c.ProcessState.ExitCode(); code != exitUnavailable || !strings.Contains(said.String(), "the outcome is unknown") || !strings.Contains(said.String(), "after ") {
			t.Errorf("the client: exit %d: %s", code, said)
		}
		if _, err := os.Lstat(filepath.Join(data, api.SocketName)); err != nil {
			t.Errorf("the killed service has left no socket, so clearing one away is not shown: %v", err)
		}
	}
	if hit == 0 {
		t.Fatal("no kill hit a batch: this shows nothing")
	}
	s := serveFolder(t, data, nil)
	eventually(t, "what was left is finished", func() bool {
		_, body := s.get("/metrics")
		return strings.Contains(body, "elicence_licences_unfinished 0") && !strings.Contains(must(t, data, "list", "--stage", "intent", "--json"), "number") &&
			!strings.Contains(must(t, data, "list", "--stage", "signed", "--json"), "number")
	})
	if err := os.RemoveAll(report); err != nil {
		t.Fatal(err)
	}
	says(t, "the same file again", asUser(t, "issue", "--data", data, "--births", file, "--report", report), exitYes, "refused 0", "failed 0")
	remember(t, numbers, report)
	if code := s.stop(t); code != exitYes {
		t.Errorf("exit %d", code)
	}
	if len(numbers) != 60 {
		t.Fatalf("%d births were answered, want 60", len(numbers))
	}
	whole(t, data, numbers, demonstrationScheme().agencies[0].Code)
}

// A client that is killed in the middle of its batch harms nobody: the service goes on, and the same command again
// completes it.
func TestKilledClientWhileIssuing(t *testing.T) {
	t.Parallel()
	data := copyOf(t, fresh)
	s := serveFolder(t, data, nil)
	file, report := birthsOf(t, 1, 60), filepath.Join(t.TempDir(), "report.jsonl")
	numbers := map[string]string{}
	hit := 0
	count, seed := kills(t)
	random := rand.New(rand.NewPCG(seed, 1<<35))
	for round := range max(4, count/10) {
		if err := os.RemoveAll(report); err != nil {
			t.Fatal(err)
		}
		if ended, _ := killed(t, reportedAtLeast(report, min(50, 9*round+random.IntN(9))), "issue", "--data", data, "--births", file, "--report", report, "--workers", "4"); !ended {
			hit++
		}
		remember(t, numbers, report)
	}
	if hit == 0 {
		t.Fatal("no kill hit a client: this shows nothing")
	}
	if err := os.RemoveAll(report); err != nil {
		t.Fatal(err)
	}
	says(t, "the same file again", asUser(t, "issue", "--data", data, "--births", file, "--report", report), exitYes, "refused 0", "failed 0")
	remember(t, numbers, report)
	if errs := s.errs(); len(errs) > 0 {
		t.Errorf("the service logged errors: %s", strings.Join(errs, "\n"))
	}
	if code := s.stop(t); code != exitYes {
		t.Errorf("exit %d", code)
	}
	whole(t, data, numbers, demonstrationScheme().agencies[0].Code)
}

// SIGTERM takes in no more, finishes what is in work, tells the client, and ends with 0; nothing is half there.
func TestStoppingFinishesWhatIsInWork(t *testing.T) {
	t.Parallel()
	data := copyOf(t, fresh)
	s := serveFolder(t, data, nil)
	report := filepath.Join(t.TempDir(), "report.jsonl")
	lines, err := births(1, 20, demonstrationScheme().hospitals[0].Code)
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command("elicence", "issue", "--data", data, "--births", "-", "--report", report)
	said := &written{}
	c.Stderr, c.Stdout = said, said
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	// The client keeps its end open: without being told it would wait for ever.
	if _, err := io.WriteString(in, strings.Join(lines, "\n")+"\n"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "answers", func() bool { return reported(report) >= 3 })
	if code := s.stop(t); code != exitYes {
		t.Errorf("the service: exit %d", code)
	}
	_ = c.Wait()
	if code := c.ProcessState.ExitCode(); code != exitUnavailable || !strings.Contains(said.String(), "is stopping") || !strings.Contains(said.String(), "goes on where it stopped") {
		t.Errorf("the client: exit %d: %s", code, said)
	}
	for _, left := range []string{api.SocketName} {
		if _, err := os.Lstat(filepath.Join(data, left)); err == nil {
			t.Errorf("%s is left behind", left)
		}
	}
	for _, stage := range []string{"intent", "signed", "parked"} {
		if out := must(t, data, "list", "--stage", stage, "--json"); strings.Contains(out, "number") {
			t.Errorf("at stage %s: %s", stage, out)
		}
	}
	numbers := map[string]string{}
	remember(t, numbers, report)
	file := filepath.Join(t.TempDir(), "births.jsonl")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	again := report + ".2"
	must(t, data, "issue", "--births", file, "--report", again)
	remember(t, numbers, again)
	whole(t, data, numbers, demonstrationScheme().agencies[0].Code)
}

// The second signal ends a service that waits for somebody.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	data := copyOf(t, fresh)
	s := serveFolder(t, data, nil, "--set", "serve.stopWithin=10m")
	// A request that never ends keeps it waiting.
	c, err := net.Dial("unix", filepath.Join(data, api.SocketName))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "POST /v1/operations/ledger-cosign HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	// It is in work as soon as it asks for its body.
	said := make([]byte, len("HTTP/1.1 100 Continue"))
	if _, err := io.ReadFull(c, said); err != nil || string(said) != "HTTP/1.1 100 Continue" {
		t.Fatalf("%q, %v", said, err)
	}
	_ = s.c.Process.Signal(syscall.SIGTERM)
	eventually(t, "stopping", func() bool { return strings.Contains(s.log.String(), `"stopping"`) })
	if s.ended() {
		t.Fatalf("it did not wait: %s", s.log)
	}
	_ = s.c.Process.Signal(syscall.SIGTERM)
	<-s.done
	if status, ok := s.c.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() {
		t.Errorf("it ended otherwise: %v", s.c.ProcessState)
	}
	must(t, data, "ledger", "cosign")
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

// Who may read the folder may not ask its service for anything; they are told as whom to come.
func TestTheSocketIsOfOneUser(t *testing.T) {
	t.Parallel()
	data := copyOf(t, fresh)
	serveFolder(t, data, nil)
	if os.Getuid() != 0 { // then there is nobody else to be
		says(t, "the same user", asUser(t, "trust", "publish", "--data", data), exitYes)
		return
	}
	readOnly(t, t.TempDir(), func() {}) // opens the program's folders to everybody
	for up := data; up != os.TempDir(); up = filepath.Dir(up) {
		if err := os.Chmod(up, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	says(t, "somebody else", child(t, "trust", "publish", "--data", data), exitUnavailable, "permission denied", "as the user who runs the service")
}

// Readiness says in words what is away, and comes back; the process lives on, and health is not readiness.
func TestReadinessFollowsTheStore(t *testing.T) {
	t.Parallel()
	data := copyOf(t, fresh)
	program, err := exec.LookPath("elicence")
	if err != nil {
		t.Fatal(err)
	}
	s := &serving{data: data, c: exec.Command("elicence", "serve", "--data", data), log: &written{}, done: make(chan struct{})}
	if os.Getuid() == 0 { // root may write anywhere
		for _, leaf := range []string{data, program} {
			for up := filepath.Dir(leaf); up != os.TempDir() && up != "/"; up = filepath.Dir(up) {
				if err := os.Chmod(up, 0o755); err != nil {
					t.Fatal(err)
				}
			}
		}
		if b, err := exec.Command("chown", "-R", fmt.Sprintf("%d:%d", nobody, nobody), data).CombinedOutput(); err != nil {
			t.Fatalf("chown: %s", b)
		}
		s.c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	s.c.Stderr = s.log
	if err := s.c.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.c.Wait(); close(s.done) }()
	t.Cleanup(s.kill)
	ready := func(code int, words ...string) func() bool {
		return func() bool {
			got, body := s.get("/readyz")
			for _, w := range words {
				if !strings.Contains(body, w) {
					return false
				}
			}
			return got == code
		}
	}
	eventually(t, "ready", ready(http.StatusOK))
	objects := filepath.Join(data, "objects")
	change := func(mode string) {
		if b, err := exec.Command("chmod", "-R", mode, objects).CombinedOutput(); err != nil {
			t.Fatalf("chmod: %s", b)
		}
	}
	change("a-w")
	defer change("u+w")
	eventually(t, "not ready", ready(http.StatusServiceUnavailable, "objects: not available", "对象存储：不可用", `"ready": false`))
	if code, _ := s.get("/healthz"); code != http.StatusOK {
		t.Errorf("health: %d", code)
	}
	change("u+w")
	eventually(t, "ready again", ready(http.StatusOK))
	records := filepath.Join(data, "records")
	if err := os.Chmod(records, 0o555); err != nil {
		t.Fatal(err)
	}
	eventually(t, "records not ready", ready(http.StatusServiceUnavailable, "records: not available"))
	if err := os.Chmod(records, 0o755); err != nil {
		t.Fatal(err)
	}
	eventually(t, "ready at last", ready(http.StatusOK))
	if s.ended() {
		t.Errorf("the service ended: %s", s.log)
	}
}

// No personal value is in log, metrics or traces, whatever is issued, refused, noted or searched for; metrics parse, count
// what happened, and know no number either.
func TestNothingPersonalInLogMetricsAndTraces(t *testing.T) {
	t.Parallel()
	var spans written
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(&spans, r.Body) }))
	t.Cleanup(collector.Close)
	data, s := copyOf(t, fresh), demonstrationScheme()
	service := serveFolder(t, data, []string{"ELICENCE_LOG_LEVEL=debug", "ELICENCE_TRACES_ENDPOINT=" + collector.URL}, "--listen", "0")
	hospital := s.hospitals[0].Code
	good, err := births(1, 10, hospital)
	if err != nil {
		t.Fatal(err)
	}
	bad, err := births(21, 20, hospital)
	if err != nil {
		t.Fatal(err)
	}
	file, report := filepath.Join(t.TempDir(), "births.jsonl"), filepath.Join(t.TempDir(), "report.jsonl")
	if err := os.WriteFile(file, []byte(strings.Join(append(append([]string(nil), good...), spoilt(t, bad)...), "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	says(t, "issue", call(t.Context(), data, systemClock, "issue", "--births", file, "--report", report), exitBatch, "issued 10")
	numbers := numbersIn(t, report)
	says(t, "handover", call(t.Context(), data, systemClock, "handover", numbers[0].Number, "--as", hospital+"/stock-1", "--to", s.cityArchive.Code), exitYes)
	says(t, "reject", call(t.Context(), data, systemClock, "reject", numbers[0].Number, "--as", s.cityArchive.Code+"/archivist-1", "--reason", "incomplete", "--note", "曹宸书的登记表缺页"), exitYes)
	says(t, "register", call(t.Context(), data, systemClock, "register", numbers[1].Number, "--as", s.police.Code+"/officer-1", "--registration", registrationFile(t)), exitYes)
	says(t, "show", call(t.Context(), data, systemClock, "show", "無此人之姓名"), exitNo)
	eventually(t, "measured", func() bool {
		_, body := service.get("/metrics")
		return strings.Contains(body, `elicence_births_total{outcome="issued"} 10`) && strings.Contains(body, "elicence_ledger_pending_events 0") &&
			strings.Contains(body, "elicence_audit_unsealed_rows 0")
	})
	_, metrics := service.get("/metrics")
	var ready struct{ TCP string }
	for _, line := range strings.Split(service.log.String(), "\n") {
		if strings.Contains(line, `"msg":"ready"`) {
			if err := json.Unmarshal([]byte(line), &ready); err != nil {
				t.Fatal(err)
			}
		} else if line != "" && !json.Valid([]byte(line)) {
			t.Errorf("a line of the log is no JSON: %q", line)
		}
	}
	if !strings.HasPrefix(ready.TCP, "127.0.0.1:") {
		t.Fatalf("it listens on %q", ready.TCP)
	}
	for path, code := range map[string]int{"/metrics": 200, "/healthz": 200, "/readyz": 200, "/debug/pprof/": 404, "/v1/operations/ledger-cosign": 404} {
		r, err := http.Get("http://" + ready.TCP + path)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != code {
			t.Errorf("%s on TCP: %d, want %d", path, r.StatusCode, code)
		}
	}
	if code, _ := service.get("/debug/pprof/"); code != http.StatusOK {
		t.Errorf("pprof on the socket: %d", code)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(metrics))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"elicence_births_total", "elicence_births_not_issued_total", "elicence_stage_seconds", "elicence_ledger_pending_age_seconds",
		"elicence_loop_errors_total", "elicence_stock_free_sheets", "elicence_store_errors_total", "elicence_operation_seconds", "go_goroutines", "process_resident_memory_bytes"} {
		if families[name] == nil {
			t.Errorf("no metric %s", name)
		}
	}
	refused := 0.0
	for _, m := range families["elicence_births_not_issued_total"].GetMetric() {
		refused += m.GetCounter().GetValue()
	}
	if want := float64(len(spoilt(t, bad))); refused != want {
		t.Errorf("%v births were not issued by the metrics, want %v", refused, want)
	}
	if code := service.stop(t); code != exitYes {
		t.Errorf("exit %d", code)
	}
	values := personal(t, append(append([]string(nil), good...), bad...))
	for _, v := range []string{"曹宸书", "無此人之姓名", "曹宸书的登记表缺页", "示范路1号101室"} {
		values.add(v, "a value")
	}
	traced := spans.String()
	if !strings.Contains(traced, "stage intent") || !strings.Contains(traced, "operation issue") {
		t.Errorf("%d bytes of traces lack the stages", len(traced))
	}
	for where, text := range map[string]string{"the log": service.log.String(), "metrics": metrics, "traces": traced} {
		if got := values.in([]byte(text)); got != "" {
			t.Errorf("%s hold the %s", where, got)
		}
	}
	names := needles{}
	for _, l := range numbers {
		names.add(l.Number, "number "+l.Number)
		names.add(l.Identifier, "identifier of "+l.Number)
		names.add(l.BusinessID, "business id of "+l.Number)
	}
	for where, text := range map[string]string{"metrics": metrics, "traces": traced} {
		if got := names.in([]byte(text)); got != "" {
			t.Errorf("%s hold the %s", where, got)
		}
	}
}

// Readers stand beside a service that writes; what they read is in the trail as soon as it seals, and the log is whole
// whenever somebody looks.
func TestReadersBesideAService(t *testing.T) {
	t.Parallel()
	data := copyOf(t, issued)
	s := serveFolder(t, data, nil)
	var audit auditReport
	if err := decode(must(t, data, "ledger", "audit", "--json"), &audit); err != nil {
		t.Fatal(err)
	}
	writing := make(chan called, 1)
	file := birthsOf(t, 13, 60)
	go func() {
		writing <- call(context.Background(), data, systemClock, "issue", "--births", file, "--workers", "4")
	}()
	out := filepath.Join(t.TempDir(), "out")
	looked := 0
	for done := false; !done; looked++ {
		select {
		case c := <-writing:
			says(t, "issue", c, exitYes, "issued 60")
			done = true
		default:
		}
		must(t, data, "show", "X000000001", "--fields", "--why", "beside")
		must(t, data, "list")
		must(t, data, "ledger", "audit")
		must(t, data, "number", "reconcile", "--issuer", demonstrationScheme().hospitals[0].Code)
		must(t, data, "export", "X000000001", "--out", out)
	}
	eventually(t, "the readers' rows are sealed", func() bool {
		var now auditReport
		if err := decode(must(t, data, "ledger", "audit", "--json"), &now); err != nil {
			t.Fatal(err)
		}
		spool, err := os.Stat(filepath.Join(data, "records", "elicence.db.spool"))
		return now.Clean && now.Trail >= audit.Trail+2*looked+60 && err == nil && spool.Size() == 0
	})
	if errs := s.errs(); len(errs) > 0 {
		t.Errorf("the service logged errors: %s", strings.Join(errs, "\n"))
	}
}

// A folder that is moved away under a service, with another put in its place, is not mistaken for it: nothing is done in
// either until somebody puts things right.
func TestMovedFolderIsNotMistaken(t *testing.T) {
	t.Parallel()
	data, stranger := copyOf(t, issued), copyOf(t, fresh)
	s := serveFolder(t, data, nil)
	// A loop that is in the middle of its turn finds its files by name: the move comes when all have had their first one.
	eventually(t, "quiet", func() bool {
		_, body := s.get("/metrics")
		return regexp.MustCompile(`loop_seconds_count\{loop="cosign"\} [3-9]`).MatchString(body)
	})
	away := data + ".away"
	if err := os.Rename(data, away); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(stranger, data); err != nil {
		t.Fatal(err)
	}
	s.data = away
	eventually(t, "not ready", func() bool {
		code, body := s.get("/readyz")
		return code == http.StatusServiceUnavailable && strings.Contains(body, "moved away or replaced")
	})
	says(t, "issue in the moved one", call(t.Context(), away, systemClock, "issue", "--births", birthsOf(t, 13, 1)), exitUnavailable, "moved away or replaced", "put the folder back")
	says(t, "the stranger's", call(t.Context(), data, systemClock, "list", "--json"), exitYes, "[]")
	if err := os.Rename(data, stranger); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(away, data); err != nil {
		t.Fatal(err)
	}
	s.data = data
	eventually(t, "ready again", func() bool { code, _ := s.get("/readyz"); return code == http.StatusOK })
	says(t, "issue", call(t.Context(), data, systemClock, "issue", "--births", birthsOf(t, 13, 1)), exitYes, "issued 1")
	must(t, data, "ledger", "audit")
	must(t, stranger, "ledger", "audit")
}

// The service manager is told when the service is ready, that it lives, and that it stops.
func TestServiceManagerIsTold(t *testing.T) {
	t.Parallel()
	data := copyOf(t, fresh)
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var told written
	go func() {
		b := make([]byte, 256)
		for {
			n, err := l.Read(b)
			if err != nil {
				return
			}
			fmt.Fprintf(&told, "%s\n", b[:n])
		}
	}()
	s := serveFolder(t, data, []string{"NOTIFY_SOCKET=" + path, "WATCHDOG_USEC=300000"})
	eventually(t, "signs of life", func() bool {
		return strings.Contains(told.String(), "READY=1\n") && strings.Count(told.String(), "WATCHDOG=1\n") >= 3
	})
	s.stop(t)
	eventually(t, "stopping", func() bool { return strings.Contains(told.String(), "STOPPING=1\n") })
}

// A service whose ledger's key is away goes on issuing, says what is wrong, and catches up when the key is back.
func TestServiceOutlivesAnAbsentKey(t *testing.T) {
	t.Parallel()
	data, s := copyOf(t, fresh), demonstrationScheme()
	police := filepath.Join(data, "keystores", s.police.Code+".keystore")
	good, err := os.ReadFile(police)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(police, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	service := serveFolder(t, data, nil)
	says(t, "issue", call(t.Context(), data, systemClock, "issue", "--births", birthsOf(t, 1, 2)), exitYes, "issued 2", "lags behind")
	eventually(t, "degraded", func() bool {
		code, body := service.get("/readyz")
		return code == http.StatusOK && strings.Contains(body, "loop cosign")
	})
	_, metrics := service.get("/metrics")
	if strings.Contains(metrics, `elicence_loop_errors_total{loop="cosign"} 0`) {
		t.Error("the loop's errors are not counted")
	}
	if err := os.WriteFile(police, good, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "cosigned", func() bool {
		var r auditReport
		return decode(must(t, data, "ledger", "audit", "--json"), &r) == nil && r.Clean && r.Cosigned == r.Entries && r.Entries > 0
	})
}
