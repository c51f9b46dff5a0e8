package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

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
