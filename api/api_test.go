package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var errTrial = errors.New("trial")

// said is a log.
type said struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func problemOfTest(err error) *Problem {
	p := &Problem{Detail: err.Error(), Code: "fault", Status: http.StatusInternalServerError}
	for code, is := range map[string]error{"trial": errTrial, "malformed": ErrMalformed, "unknown": ErrUnknownOperation, "stopping": ErrStopping,
		"busy": ErrBusy, "internal": ErrInternal, "gone": ErrGone} {
		if errors.Is(err, is) {
			p.Code, p.Status = code, http.StatusConflict
		}
	}
	return p
}

type world struct {
	dir    string
	server *Server
	log    *said
	ended  chan error
	cancel func()
}

// serve runs a server with the operations until the test ends.
func serve(t *testing.T, operations ...Operation) *world {
	t.Helper()
	w := &world{dir: t.TempDir(), log: &said{}, ended: make(chan error, 1)}
	base, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	w.server = NewServer(Options{Base: base, Problem: problemOfTest, Log: slog.New(slog.NewJSONHandler(w.log, nil)),
		Ready: func(context.Context) error { return nil }}, operations...)
	socket, err := Listen(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	go func() { w.ended <- w.server.Serve(socket) }()
	t.Cleanup(func() {
		cancel()
		_ = w.server.Close()
		_ = socket.Close()
		_ = socket.Release()
	})
	return w
}

func (w *world) client(t *testing.T) *Client {
	t.Helper()
	c, err := Connect(t.Context(), w.dir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

type question struct {
	N int `json:"n"`
}

// total is an answer.
type total struct {
	Sum int `json:"sum"`
}

func silent(string) {}

func TestAnOperationIsAnsweredWithItsNotices(t *testing.T) {
	t.Parallel()
	w := serve(t, Unary("double", func(ctx context.Context, q question) (total, error) {
		c := CallerOf(ctx)
		if !strings.HasPrefix(c.From, "cli:") && c.From != "socket" {
			t.Errorf("it came from %q", c.From)
		}
		c.Notice("on the way")
		if q.N < 0 {
			return total{}, fmt.Errorf("below: %w", errTrial)
		}
		return total{2 * q.N}, nil
	}))
	var notices []string
	note := func(s string) { notices = append(notices, s) }
	a, err := Call[question, total](t.Context(), w.client(t), "double", question{21}, note)
	if err != nil || a.Sum != 42 {
		t.Errorf("%v, %v", a, err)
	}
	_, err = Call[question, total](t.Context(), w.client(t), "double", question{-1}, note)
	var p *Problem
	if !errors.As(err, &p) || p.Code != "trial" || p.Detail != "below: trial" {
		t.Errorf("%v", err)
	}
	if strings.Join(notices, ",") != "on the way,on the way" {
		t.Errorf("%q", notices)
	}
}

// A stream answers each line while later ones are still to come.
func TestAStreamAnswersWhileItReads(t *testing.T) {
	t.Parallel()
	w := serve(t, Stream("sum", func(_ context.Context, q question, rest io.Reader, item func(int) error) (total, error) {
		sum := q.N
		for {
			var n int
			if _, err := fmt.Fscanln(rest, &n); err != nil {
				if errors.Is(err, io.EOF) {
					return total{sum}, nil
				}
				return total{}, err
			}
			sum += n
			if err := item(sum); err != nil {
				return total{}, err
			}
		}
	}))
	read, write := io.Pipe()
	next := make(chan int)
	go func() {
		for n := range next {
			fmt.Fprintln(write, n)
		}
		write.Close()
	}()
	next <- 1
	var got []int
	sum, err := CallStream[question, int, total](t.Context(), w.client(t), "sum", question{100}, read, func(sum int) error {
		got = append(got, sum)
		if len(got) < 3 {
			next <- 1 // only now: it was answered
		} else {
			close(next)
		}
		return nil
	}, silent)
	if err != nil || sum.Sum != 103 || fmt.Sprint(got) != "[101 102 103]" {
		t.Errorf("%v, %v", got, err)
	}
	sum, err = CallStream[question, int, total](t.Context(), w.client(t), "sum", question{1}, strings.NewReader("2\n3\n"), func(int) error { return nil }, silent)
	if err != nil || sum.Sum != 6 {
		t.Errorf("%v, %v", sum, err)
	}
	// What the caller cannot take, or cannot read, is the caller's error.
	_, err = CallStream[question, int, total](t.Context(), w.client(t), "sum", question{1}, strings.NewReader("2\n3\n"), func(int) error { return errTrial }, silent)
	if !errors.Is(err, errTrial) {
		t.Errorf("%v", err)
	}
	_, err = CallStream[question, int, total](t.Context(), w.client(t), "sum", question{1}, io.MultiReader(strings.NewReader("2\n"), broken{}), func(int) error { return nil }, silent)
	if !errors.Is(err, errTrial) {
		t.Errorf("%v", err)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errTrial }

// A panic is a 500 without its value, for the caller and in the log; the service goes on.
func TestAPanicTellsNoValue(t *testing.T) {
	t.Parallel()
	w := serve(t, Unary("panic", func(context.Context, question) (total, error) { panic("曹宸书") }),
		Stream("panics", func(context.Context, question, io.Reader, func(int) error) (total, error) { panic("曹宸书") }),
		Unary("well", func(context.Context, question) (total, error) { return total{1}, nil }))
	w.server.Handle("GET /page", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("曹宸书") }))
	_, err := Call[question, total](t.Context(), w.client(t), "panic", question{}, silent)
	var p *Problem
	if !errors.As(err, &p) || p.Code != "internal" {
		t.Errorf("%v", err)
	}
	_, err = CallStream[question, int, total](t.Context(), w.client(t), "panics", question{}, strings.NewReader(""), func(int) error { return nil }, silent)
	if !errors.As(err, &p) || p.Code != "internal" {
		t.Errorf("%v", err)
	}
	if code, b, err := w.client(t).Get(t.Context(), "/page"); err != nil || code != http.StatusInternalServerError || len(b) > 0 {
		t.Errorf("%d %s %v", code, b, err)
	}
	if a, err := Call[question, total](t.Context(), w.client(t), "well", question{}, silent); err != nil || a.Sum != 1 {
		t.Errorf("%v, %v", a, err)
	}
	if text := w.log.String(); strings.Contains(text, "曹宸书") || strings.Count(text, `"msg":"panic"`) != 3 {
		t.Errorf("the log: %s", text)
	}
}

// A request that is not what the operation takes is refused, and nothing of it is repeated.
func TestMalformedRequestsAreRefusedWithoutEcho(t *testing.T) {
	t.Parallel()
	w := serve(t, Unary("double", func(_ context.Context, q question) (total, error) { return total{2 * q.N}, nil }),
		Stream("sum", func(context.Context, question, io.Reader, func(int) error) (total, error) { return total{}, nil }))
	post := func(name, body string) (int, string) {
		t.Helper()
		c, err := net.Dial("unix", filepath.Join(w.dir, SocketName))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "POST /v1/operations/%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", name, len(body), body)
		b, err := io.ReadAll(c)
		if err != nil && (len(b) == 0 || !errors.Is(err, syscall.ECONNRESET)) { // what was too long is not read to its end
			t.Fatal(err)
		}
		var code int
		if _, err := fmt.Sscanf(string(b), "HTTP/1.1 %d", &code); err != nil {
			t.Fatal(err)
		}
		return code, string(b)
	}
	for _, body := range []string{"", "{", `{"n":"310196200312200308"}`, `{"310196200312200308":1}`, `{"n":1}{"n":2}`, `[310196200312200308]`, `"310196200312200308"`} {
		for _, name := range []string{"double", "sum"} {
			code, answer := post(name, body)
			if !strings.Contains(answer, `"code":"malformed"`) || strings.Contains(answer, "310196") || (name == "double" && code != 409) {
				t.Errorf("%s %q: %d %s", name, body, code, answer)
			}
		}
	}
	if _, answer := post("nothing", "{}"); !strings.Contains(answer, `"code":"unknown"`) {
		t.Errorf("%s", answer)
	}
	_, answer := post("double", `{"n":1,"x":"`+strings.Repeat("x", 100)+`"}`)
	if !strings.Contains(answer, "malformed") {
		t.Errorf("%s", answer)
	}
	if _, answer := post("sum", strings.Repeat("x", maxHead+100<<10)); !strings.Contains(answer, "no first line") {
		t.Errorf("%s", answer)
	}
}

// A body is bounded.
func TestBodiesAreBounded(t *testing.T) {
	t.Parallel()
	w := serve(t, Unary("length", func(_ context.Context, q string) (total, error) { return total{len(q)}, nil }))
	if a, err := Call[string, total](t.Context(), w.client(t), "length", strings.Repeat("x", 8<<20), silent); err != nil || a.Sum != 8<<20 {
		t.Errorf("%v, %v", a, err)
	}
	_, err := Call[string, total](t.Context(), w.client(t), "length", strings.Repeat("x", maxBody), silent)
	var p *Problem
	if !errors.As(err, &p) && !errors.Is(err, ErrGone) {
		t.Errorf("%v", err)
	}
}

// endless gives lines for ever.
type endless struct{}

func (endless) Read(b []byte) (int, error) {
	for n := range b {
		b[n] = '\n'
	}
	return len(b), nil
}

// A caller who still has much to say hears why nobody listens any more: from an operation that gave up, from a service that
// stops, and before an operation has begun.
func TestACallerInTheMiddleOfASentenceHearsTheAnswer(t *testing.T) {
	t.Parallel()
	ready := make(chan struct{}, 1)
	w := serve(t, Stream("gives-up", func(_ context.Context, _ question, rest io.Reader, _ func(int) error) (total, error) {
		_, _ = rest.Read(make([]byte, 10))
		return total{}, errTrial
	}), Stream("reads", func(_ context.Context, _ question, rest io.Reader, _ func(int) error) (total, error) {
		ready <- struct{}{}
		_, err := io.Copy(io.Discard, rest)
		return total{}, err
	}))
	ask := func(name string) string {
		_, err := CallStream[question, int, total](t.Context(), w.client(t), name, question{}, endless{}, func(int) error { return nil }, silent)
		var p *Problem
		if !errors.As(err, &p) {
			return fmt.Sprint(err)
		}
		return p.Code
	}
	for range 20 {
		if got := ask("gives-up"); got != "trial" {
			t.Fatalf("it heard %q", got)
		}
		if got := ask("nothing"); got != "unknown" {
			t.Fatalf("it heard %q", got)
		}
	}
	heard := make(chan string, 1)
	go func() { heard <- ask("reads") }()
	<-ready
	if err := w.server.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	if got := <-heard; got != "stopping" {
		t.Errorf("it heard %q", got)
	}
}

// Draining takes in no more, lets what is in work end, and wakes a stream that waits for its caller.
func TestDrainingFinishesWhatIsInWork(t *testing.T) {
	t.Parallel()
	begun, goOn := make(chan struct{}), make(chan struct{})
	w := serve(t, Unary("slow", func(context.Context, question) (total, error) {
		close(begun)
		<-goOn
		return total{7}, nil
	}), Stream("waits", func(_ context.Context, _ question, rest io.Reader, item func(int) error) (total, error) {
		if err := item(1); err != nil {
			return total{}, err
		}
		_, err := io.ReadAll(rest)
		return total{}, err
	}))
	slow := make(chan error, 1)
	client := w.client(t)
	go func() {
		a, err := Call[question, total](context.Background(), client, "slow", question{}, silent)
		if err == nil && a.Sum != 7 {
			err = fmt.Errorf("%v", a)
		}
		slow <- err
	}()
	<-begun
	reading, open := io.Pipe()
	defer open.Close()
	waits, waiting := make(chan error, 1), make(chan struct{})
	other := w.client(t)
	go func() {
		_, err := CallStream[question, int, total](context.Background(), other, "waits", question{}, reading, func(int) error { close(waiting); return nil }, silent)
		waits <- err
	}()
	<-waiting
	drained := make(chan error, 1)
	go func() { drained <- w.server.Drain(context.Background()) }()
	var p *Problem
	if err := <-waits; !errors.As(err, &p) || p.Code != "stopping" {
		t.Errorf("the stream: %v", err)
	}
	if _, err := Connect(t.Context(), w.dir); !errors.Is(err, ErrNotServed) {
		t.Errorf("it still listens: %v", err)
	}
	if !Living(w.dir) {
		t.Error("it counts as dead while it works")
	}
	close(goOn)
	if err := <-slow; err != nil {
		t.Errorf("what was in work: %v", err)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

// What is in work goes on though its caller goes away; only the end of the service ends it.
func TestACallerWhoGoesAwayEndsNothing(t *testing.T) {
	t.Parallel()
	begun, left, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	w := serve(t, Unary("slow", func(ctx context.Context, _ question) (total, error) {
		close(begun)
		<-left
		select {
		case <-ctx.Done():
			ended <- ctx.Err()
		case <-time.After(50 * time.Millisecond): // long enough for a cancellation that must not come
			ended <- nil
		}
		<-ctx.Done()
		ended <- ctx.Err()
		return total{}, ctx.Err()
	}))
	ctx, cancel := context.WithCancel(t.Context())
	client := w.client(t)
	gone := make(chan error, 1)
	go func() {
		_, err := Call[question, total](ctx, client, "slow", question{}, silent)
		gone <- err
	}()
	<-begun
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	close(left)
	if err := <-ended; err != nil {
		t.Errorf("it was ended by its caller: %v", err)
	}
	w.cancel()
	if err := <-ended; err == nil {
		t.Error("the end of the service did not end it")
	}
}

// More than the service takes is refused, not queued.
func TestTooManyAtOnceAreRefused(t *testing.T) {
	t.Parallel()
	goOn := make(chan struct{})
	begun := make(chan struct{}, atOnce)
	w := serve(t, Unary("slow", func(context.Context, question) (total, error) {
		begun <- struct{}{}
		<-goOn
		return total{}, nil
	}))
	var group sync.WaitGroup
	for range atOnce {
		client := w.client(t)
		group.Go(func() {
			if _, err := Call[question, total](context.Background(), client, "slow", question{}, silent); err != nil {
				t.Error(err)
			}
		})
	}
	for range atOnce {
		<-begun
	}
	_, err := Call[question, total](t.Context(), w.client(t), "slow", question{}, silent)
	var p *Problem
	if !errors.As(err, &p) || p.Code != "busy" {
		t.Errorf("%v", err)
	}
	close(goOn)
	group.Wait()
}

// The socket is this user's alone, one process has it, and what a dead one left is no hindrance.
func TestSocketOfAFolder(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), strings.Repeat("long", 20), strings.Repeat("path", 20))} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if _, err := Connect(t.Context(), dir); !errors.Is(err, ErrNotServed) {
			t.Errorf("%v", err)
		}
		s, err := Listen(dir)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Lstat(filepath.Join(dir, SocketName))
		if err != nil || info.Mode() != fsModeSocket600 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
		if _, err := Listen(dir); !errors.Is(err, ErrServed) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
			t.Errorf("%v", err)
		}
		if c, err := dial(t.Context(), dir); err != nil {
			t.Error(err)
		} else {
			c.Close()
		}
		// As a killed process leaves it: nobody listens, nobody holds the lock, the socket lies there.
		_ = s.Listener.Close()
		_ = s.Release()
		if _, err := Connect(t.Context(), dir); !errors.Is(err, ErrNotServed) || Living(dir) {
			t.Errorf("%v", err)
		}
		again, err := Listen(dir)
		if err != nil {
			t.Fatal(err)
		}
		_ = again.Close()
		if _, err := os.Lstat(filepath.Join(dir, SocketName)); !errors.Is(err, os.ErrNotExist) || !Living(dir) {
			t.Errorf("after Close: %v", err)
		}
		_ = again.Release()
		if Living(dir) {
			t.Error("it lives after Release")
		}
		if left, _ := filepath.Glob(filepath.Join(dir, newPattern)); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
		// Something else of that name is nobody's to remove.
		if err := os.WriteFile(filepath.Join(dir, SocketName), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Listen(dir); err == nil || !strings.Contains(err.Error(), "no socket") {
			t.Errorf("%v", err)
		}
	}
}

const fsModeSocket600 = os.ModeSocket | 0o600

// FuzzRequest: what is taken as a request is one JSON value of the operation's shape; whatever is refused is not repeated.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{`{"n":1}`, `{"n":1}` + "\nrest", `{"n":"x"}`, "", "\n", `{"m":1}`, "{\"n\":1}\n\n", "[[[[", `{"n":1e999}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		head, rest, err := firstLine(bytes.NewReader(b))
		if err == nil {
			first, err := io.ReadAll(head)
			if err != nil {
				t.Fatal(err)
			}
			behind, err := io.ReadAll(rest)
			if err != nil || !bytes.Equal(append(first, behind...), b) {
				t.Errorf("%q became %q and %q, %v", b, first, behind, err)
			}
		}
		var q question
		if err := strict(bytes.NewReader(b), &q); err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("%v", err)
		}
	})
}
