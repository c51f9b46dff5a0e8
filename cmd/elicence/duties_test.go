package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/elicence/elicence/api"
	"github.com/elicence/elicence/audit"
	"github.com/elicence/elicence/licence"
)

// A loop that fails, or panics, goes on, more and more slowly up to a minute, and at its own pace as soon as it works
// again; what went wrong is logged without the value of the panic, counted, and shown until then.
func TestLoopsAreSupervised(t *testing.T) {
	t.Parallel()
	var log written
	w := newWatch(nil)
	s := newSupervisor(slog.New(slog.NewJSONHandler(&log, nil)), w)
	var pauses []time.Duration
	turns, shown := 0, []int{}
	s.wait = func(ctx context.Context, d time.Duration) error {
		pauses, shown = append(pauses, d), append(shown, len(s.failures()))
		return ctx.Err()
	}
	ctx, cancel := context.WithCancel(t.Context())
	s.start(ctx, loop{"trial", 100 * time.Millisecond, func(context.Context) error {
		turns++
		switch {
		case turns == 1:
			return nil
		case turns == 3:
			panic("曹宸书")
		case turns < 12:
			return licence.ErrUnavailable
		case turns == 13:
			cancel()
		}
		return nil
	}})
	s.stopped()
	want := []time.Duration{100 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 32 * time.Second,
		time.Minute, time.Minute, time.Minute, time.Minute, 100 * time.Millisecond}
	if !slices.Equal(pauses, want) {
		t.Errorf("pauses %v, want %v", pauses, want)
	}
	if want := []int{0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0}; !slices.Equal(shown, want) {
		t.Errorf("failures shown %v, want %v", shown, want)
	}
	if text := log.String(); strings.Contains(text, "曹宸书") || !strings.Contains(text, `"type":"string"`) || !strings.Contains(text, `"code":"unavailable"`) ||
		!strings.Contains(text, "loop works again") {
		t.Errorf("the log: %s", text)
	}
	families, err := w.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "elicence_loop_errors_total" && f.GetMetric()[0].GetCounter().GetValue() != 10 {
			t.Errorf("%v", f)
		}
	}
}

// dueLoop is one loop of due work.
func dueLoop(t *testing.T, i *installation, lane string) wokenLoop {
	t.Helper()
	loops, err := i.dueLoops(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range loops {
		if l.name == "due-"+lane {
			return l
		}
	}
	t.Fatalf("no loop for %s", lane)
	return wokenLoop{}
}

// The status list is published anew when half of its time is over, and not before; one that is lost, or that an older one
// was put in the place of, is made again.
func TestStatusListIsPublishedInTime(t *testing.T) {
	t.Parallel()
	data := copyOf(t, issued)
	path := filepath.Join(data, "publish", "status.json")
	number := func() uint64 {
		list, err := (&installation{dir: data}).readStatus()
		if err != nil {
			t.Fatal(err)
		}
		return list.Number()
	}
	first := number()
	oldest, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []struct {
		after     time.Duration
		lost, old bool
		want      uint64
	}{
		{after: time.Hour}, {after: 11 * time.Hour}, {after: 13 * time.Hour, want: 1}, {after: 14 * time.Hour, want: 1},
		{after: 14 * time.Hour, lost: true, want: 2}, {after: 14 * time.Hour, want: 2}, {after: 14 * time.Hour, old: true, want: 3},
	} {
		i, err := appAt(data, later(at.after), io.Discard, io.Discard).openForWriting(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if at.lost {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
		if at.old {
			if err := os.WriteFile(path, oldest, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		err = dueLoop(t, i, upkeepStatus).run(t.Context())
		i.close()
		if err != nil || number() != first+at.want {
			t.Errorf("after %s: number %d, want %d; %v", at.after, number(), first+at.want, err)
		}
	}
}

// serveHere runs a service in this process until the test ends, for the race detector.
func serveHere(t *testing.T, data string, log io.Writer) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- appAt(data, systemClock, io.Discard, log).serve(ctx) }()
	var once sync.Once
	var err error
	stop = func() error {
		once.Do(func() {
			cancel()
			err = <-ended
		})
		return err
	}
	t.Cleanup(func() { _ = stop() })
	s := &serving{data: data}
	eventually(t, "ready", func() bool { code, _ := s.get("/readyz"); return code == 200 })
	return stop
}

// Batches, steps, keys and readers at the same time on one service.
func TestServiceInThisProcess(t *testing.T) {
	t.Parallel()
	data, s := copyOf(t, issued), demonstrationScheme()
	var log written
	stop := serveHere(t, data, &log)
	var group sync.WaitGroup
	do := func(code int, args ...string) {
		group.Go(func() {
			if c := call(context.Background(), data, systemClock, args...); c.code != code {
				t.Errorf("elicence %s: exit %d: %s%s", strings.Join(args, " "), c.code, c.stdout, c.stderr)
			}
		})
	}
	hospital := s.hospitals[0].Code
	do(exitYes, "issue", "--births", birthsOf(t, 13, 12))
	do(exitYes, "issue", "--births", birthsOf(t, 20, 12))
	do(exitYes, "handover", "X000000001", "X000000002", "--as", hospital+"/stock-1", "--to", s.cityArchive.Code)
	do(exitYes, "handover", "X000000003", "--as", hospital+"/stock-1", "--to", s.cityArchive.Code)
	do(exitYes, "revoke", "X000000004", "--as", s.commission.Code+"/supervisor-1", "--reason", "wrongly-issued")
	do(exitYes, "key", "generate", hospital, "documents")
	do(exitYes, "trust", "publish")
	do(exitYes, "ca", "crl")
	do(exitYes, "number", "bind", "X000000900", "--as", hospital+"/clerk-1", "--business", "P-9")
	do(exitYes, "show", "X000000001", "--fields", "--why", "beside")
	do(exitYes, "ledger", "cosign")
	group.Wait()
	if strings.Contains(log.String(), `"level":"ERROR"`) {
		t.Errorf("the service logged errors: %s", log.String())
	}
	if err := stop(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	var r auditReport
	if err := decode(must(t, data, "ledger", "audit", "--json"), &r); err != nil || !r.Clean || r.Lag != 0 {
		t.Errorf("audit: %+v, %v", r, err)
	}
}

// What the log vouches for comes back with the objects: they have every row of the trail before its head is anchored.
func TestNothingIsAnchoredThatTheObjectsLack(t *testing.T) {
	t.Parallel()
	data := copyOf(t, issued)
	must(t, data, "show", "X000000001", "--fields", "--why", "to have a row that is not sealed yet")
	i, err := appAt(data, systemClock, io.Discard, io.Discard).openForWriting(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer i.close()
	anchored := func() (head [32]byte) {
		t.Helper()
		if err := i.ledger.open(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, head, err = i.ledger.lastAnchor(t.Context()); err != nil {
			t.Fatal(err)
		}
		return head
	}
	before := anchored()
	if err := i.sealDuty(t.Context()); err != nil {
		t.Fatal(err)
	}
	if anchored() == before {
		t.Fatal("nothing was anchored: this shows nothing")
	}
	var newest uint64
	if err := i.db.Sealed(t.Context(), 0, func(l audit.Link) error { newest = l.Sequence; return nil }); err != nil {
		t.Fatal(err)
	}
	if kept, err := i.db.TrailKept(t.Context()); err != nil || kept != newest {
		t.Errorf("the objects have %d rows of %d that are vouched for; %v", kept, newest, err)
	}
}

// What is unfinished is taken up only if it was unfinished at the last look, too: what is in work is in somebody's hands.
func TestUnfinishedIsTakenUpAtTheSecondLook(t *testing.T) {
	t.Parallel()
	data := copyOf(t, issued)
	// An issue that ends between its commits: the trust file is away, so that what is signed cannot be checked.
	trust := filepath.Join(data, "publish", "trust.json")
	if err := os.Rename(trust, trust+".kept"); err != nil {
		t.Fatal(err)
	}
	says(t, "issue", call(t.Context(), data, systemClock, "issue", "--births", birthsOf(t, 13, 1)), exitBatch, "keeps its number")
	if err := os.Rename(trust+".kept", trust); err != nil {
		t.Fatal(err)
	}
	i, err := appAt(data, systemClock, io.Discard, io.Discard).openForWriting(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer i.close()
	i.log = slog.New(slog.DiscardHandler)
	i.left = map[string]bool{} // nothing was left: it is in work
	r := &resumer{i: i}
	for look, want := range []int{1, 0} {
		if err := r.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		left, err := i.db.Unfinished(t.Context(), time.Time{}, 10)
		if err != nil || len(left) != want {
			t.Errorf("after look %d: %d unfinished, want %d; %v", look+1, len(left), want, err)
		}
	}
}

// What an error is, it is at the other end of the socket: its words, its sentinels, its exit code and its advice.
func TestErrorsSurviveTheSocket(t *testing.T) {
	t.Parallel()
	same := func(err error) {
		t.Helper()
		p := travelling(err)
		got := understood(errors.Join(p)) // as a transport may wrap it
		if got.Error() != err.Error() {
			t.Errorf("%v: it says %q", err, got)
		}
		if a, b := classify(err), classify(got); a.code != b.code || a.what != b.what || a.do != b.do {
			t.Errorf("%v: exit %d %q %q, at the other end %d %q %q", err, a.code, a.what, a.do, b.code, b.what, b.do)
		}
		if p.Code == "" || p.Status < 400 {
			t.Errorf("%v: code %q, status %d", err, p.Code, p.Status)
		}
	}
	twice := map[string]bool{}
	for _, n := range codes() {
		if twice[n.code] {
			t.Errorf("%s stands twice", n.code)
		}
		twice[n.code] = true
		same(n.sentinel)
		same(errors.Join(errors.New("X000000001"), n.sentinel))
		if got := understood(travelling(n.sentinel)); !errors.Is(got, n.sentinel) {
			t.Errorf("%v is lost", n.sentinel)
		}
	}
	// Whatever has a remedy has a code.
	for _, r := range remedies() {
		for _, sentinel := range r.of {
			if !slices.ContainsFunc(codes(), func(n named) bool { return errors.Is(n.sentinel, sentinel) }) {
				t.Errorf("%v has no code", sentinel)
			}
		}
	}
	for _, err := range sampleErrors() {
		same(err)
	}
	if got := travelling(errors.New("unheard of")); got.Status != 500 || got.Code != codeFault {
		t.Errorf("%+v", got)
	}
	var p *api.Problem
	if errors.As(understood(licence.ErrConflict), &p) {
		t.Error("an error that did not travel became a problem")
	}
}
