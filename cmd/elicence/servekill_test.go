package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/elicence/elicence/api"
)

// The service is killed in the middle of batches. The client says that the outcome is unknown and what to do; the next
// service clears the socket away, finishes by itself what was left, and the same file again is answered with the same
// numbers.
func TestKilledServiceWhileIssuing(t *testing.T) {
	t.Parallel()
	onEachGround(t, 4, killServiceWhileIssuing)
}

func killServiceWhileIssuing(t *testing.T, g ground, count int, random *rand.Rand) {
	at := g.fresh(t)
	data := at.data
	file, report := birthsOf(t, 1, 60), filepath.Join(t.TempDir(), "report.jsonl")
	numbers := map[string]string{}
	hit := 0
	for round := range max(3, count/10) {
		more := at.grown(int64(random.IntN(200 << 10)))
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
		if !g.alone {
			return true // it is as soon as somebody asks for it again, as below
		}
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
	at.sound()
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
