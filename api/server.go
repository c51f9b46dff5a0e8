package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"runtime/debug"
	"strconv"
	"sync"
	"time"
)

// Bounds of a service.
const (
	headerTimeout = 5 * time.Second
	idleTimeout   = time.Minute
	bodyTimeout   = 30 * time.Second // for a whole request that is no stream
	unaryTimeout  = 10 * time.Minute // for its answer
	// frameTimeout is how long one line of a stream waits for a caller who does not read: then the caller counts as gone.
	frameTimeout = time.Minute
	// atOnce bounds the operations in work.
	atOnce = 64
)

// Options of NewServer, all needed but Observe.
type Options struct {
	// Ready waits until operations may begin, or says why they never will.
	Ready func(ctx context.Context) error
	// Problem maps an error; it must not be nil and must not repeat personal values.
	Problem func(error) *Problem
	Log     *slog.Logger
	// Observe is told of every operation that ended.
	Observe func(name string, took time.Duration, p *Problem)
	// Base is the context of everything in work; when it ends, operations are cancelled.
	Base context.Context
}

// Server answers operations. It is safe for concurrent use.
type Server struct {
	options    Options
	operations map[string]Operation
	slots      chan struct{}
	draining   chan struct{}
	drainOnce  sync.Once
	http       *http.Server
	mux        *http.ServeMux
}

// NewServer makes a server of the operations.
func NewServer(o Options, operations ...Operation) *Server {
	s := &Server{options: o, operations: map[string]Operation{}, slots: make(chan struct{}, atOnce), draining: make(chan struct{}), mux: http.NewServeMux()}
	for _, op := range operations {
		s.operations[op.Name] = op
	}
	s.mux.HandleFunc("POST "+operationsPath+"{name}", s.operate)
	s.http = &http.Server{
		Handler: s.mux, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, fromKey{}, from(c))
		},
	}
	return s
}

// Handle adds a page of another kind, such as health. It must be called before Serve.
func (s *Server) Handle(pattern string, h http.Handler) { s.mux.Handle(pattern, s.Guard(h)) }

// Serve answers on the listener until Drain; then it returns nil.
func (s *Server) Serve(l net.Listener) error {
	err := s.http.Serve(l)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Drain stops listening, takes no new work, tells streams to take in no more, and waits for what is in work until ctx ends.
func (s *Server) Drain(ctx context.Context) error {
	s.drainOnce.Do(func() { close(s.draining) })
	return s.http.Shutdown(ctx)
}

// Close ends every connection at once.
func (s *Server) Close() error { return s.http.Close() }

type fromKey struct{}

// from says who is at the other end: the system's word, not the caller's.
func from(c net.Conn) string {
	uid, ok := peer(c)
	if !ok {
		return "socket"
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	account := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(account); err == nil {
		account = u.Username
	}
	return "cli:" + account + "@" + host
}

func (s *Server) stopping() bool {
	select {
	case <-s.draining:
		return true
	default:
		return false
	}
}

// Guard answers 500 where a handler panics. The value is not logged, as the standard library would: it may hold a field. The
// stack has none.
func (s *Server) Guard(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if v := recover(); v != nil {
				s.panicked(r.URL.Path, v)
				w.WriteHeader(http.StatusInternalServerError)
			}
		}()
		h.ServeHTTP(w, r)
	})
}

func (s *Server) panicked(what string, v any) {
	s.options.Log.Error("panic", "in", what, "type", fmt.Sprintf("%T", v), "stack", string(debug.Stack()))
}

func (s *Server) operate(w http.ResponseWriter, r *http.Request) {
	op, known := s.operations[r.PathValue("name")]
	if !known {
		s.refuse(w, r, ErrUnknownOperation)
		return
	}
	if s.stopping() {
		s.refuse(w, r, ErrStopping)
		return
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		s.refuse(w, r, ErrBusy)
		return
	}
	if err := s.options.Ready(r.Context()); err != nil {
		s.refuse(w, r, err)
		return
	}
	begun := time.Now()
	// What is in work is finished though its caller may have gone away: half a step is nobody's wish. Only the end of the
	// service ends it.
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	defer cancel()
	defer context.AfterFunc(s.options.Base, cancel)()
	var p *Problem
	if op.Stream {
		p = s.stream(ctx, op, w, r)
	} else {
		p = s.unary(ctx, op, w, r)
	}
	if s.options.Observe != nil {
		s.options.Observe(op.Name, time.Since(begun), p)
	}
}

// refuse answers before the request is read. Its caller may be writing it still, and has to see the answer before the
// connection ends: so the answer is whole by itself, and the rest of the request is thrown away for a while.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	control := http.NewResponseController(w)
	_ = control.EnableFullDuplex() // where there is none, the server reads the request by itself
	s.write(w, s.options.Problem(err))
	_ = control.Flush()
	_ = control.SetReadDeadline(time.Now().Add(lingering))
	_, _ = io.Copy(io.Discard, r.Body)
}

func (s *Server) write(w http.ResponseWriter, p *Problem) {
	b, err := json.Marshal(p)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(p.Status)
	_, _ = w.Write(b) // a caller who went away needs no answer
}

func encoder(w io.Writer) *json.Encoder {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e
}

// run calls the operation and makes a panic an error.
func (s *Server) run(ctx context.Context, op Operation, in io.Reader, item func(any) error) (answer any, err error) {
	defer func() {
		if v := recover(); v != nil {
			s.panicked(op.Name, v)
			answer, err = nil, ErrInternal
		}
	}()
	return op.serve(ctx, in, item)
}

func (s *Server) unary(ctx context.Context, op Operation, w http.ResponseWriter, r *http.Request) *Problem {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(bodyTimeout)) // where there is no deadline to set, the client's own counts
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		err = fmt.Errorf("%w: the body is too long or broken off", ErrMalformed)
	}
	_ = control.SetReadDeadline(time.Time{})
	ctx, cancel := context.WithTimeout(ctx, unaryTimeout)
	defer cancel()
	var mu sync.Mutex
	var notices []string
	ctx = WithCaller(ctx, Caller{From: callerFrom(r), Notice: func(text string) {
		mu.Lock()
		notices = append(notices, text)
		mu.Unlock()
	}})
	var answer any
	if err == nil {
		answer, err = s.run(ctx, op, bytes.NewReader(body), nil)
	}
	var b []byte
	if err == nil {
		b, err = json.Marshal(answer)
	}
	mu.Lock()
	defer mu.Unlock()
	if err != nil {
		p := s.options.Problem(err)
		p.Notices = notices
		s.write(w, p)
		return p
	}
	w.Header().Set("Content-Type", "application/json")
	_ = encoder(w).Encode(reply{b, notices})
	return nil
}

func callerFrom(r *http.Request) string {
	f, _ := r.Context().Value(fromKey{}).(string)
	return f
}

func (s *Server) stream(ctx context.Context, op Operation, w http.ResponseWriter, r *http.Request) *Problem {
	control := http.NewResponseController(w)
	if err := control.EnableFullDuplex(); err != nil {
		s.refuse(w, r, fmt.Errorf("%w: no stream on this connection", ErrMalformed))
		return nil
	}
	out := &frames{control: control, to: encoder(w)}
	in, taken := io.Pipe()
	ended := s.pump(r.Body, taken)
	defer func() {
		// A caller who is still writing reads the last line first, and hangs up then: a connection that is closed under
		// its hands would take that line with it.
		_ = in.Close()
		select {
		case <-ended:
		case <-time.After(lingering):
			_ = control.SetReadDeadline(time.Unix(1, 0))
			<-ended
		}
	}()
	ctx = WithCaller(ctx, Caller{From: callerFrom(r), Notice: func(text string) { out.send(frame{Notice: text}) }})
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	out.flush()
	answer, err := s.run(ctx, op, &present{in, out}, func(item any) error {
		b, err := json.Marshal(item)
		if err == nil {
			out.send(frame{Item: b})
		}
		return err
	})
	var last frame
	if err == nil {
		last.Answer, err = json.Marshal(answer)
	}
	if err != nil {
		last = frame{Problem: s.options.Problem(err)}
	}
	out.send(last)
	return last.Problem
}

// lingering is how long a caller who was answered may take to hang up.
const lingering = 5 * time.Second

// pump hands what comes to the operation, until that wants no more or the service stops; what comes after that is thrown
// away. The channel is closed when nothing comes any more.
func (s *Server) pump(body io.Reader, to *io.PipeWriter) <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		select {
		case <-s.draining:
			to.CloseWithError(ErrStopping)
		case <-ended:
		}
	}()
	go func() {
		defer close(ended)
		b := make([]byte, 64<<10)
		for {
			n, err := body.Read(b)
			_, _ = to.Write(b[:n]) // to nobody, if nobody wants it
			switch {
			case errors.Is(err, io.EOF):
				to.Close()
				return
			case err != nil:
				to.CloseWithError(fmt.Errorf("%w: the caller broke off", ErrGone))
				return
			}
		}
	}()
	return ended
}

// frames writes lines to a caller. One who has gone away is noticed once: what is in work goes on, and nothing new is
// taken in.
type frames struct {
	mu      sync.Mutex
	control *http.ResponseController
	to      *json.Encoder
	gone    bool
}

func (f *frames) send(line frame) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gone {
		return
	}
	_ = f.control.SetWriteDeadline(time.Now().Add(frameTimeout))
	if f.to.Encode(line) != nil || f.control.Flush() != nil {
		f.gone = true
	}
}

func (f *frames) flush() {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = f.control.Flush()
}

func (f *frames) left() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.gone
}

// present reads from a caller as long as there is one.
type present struct {
	from io.Reader
	out  *frames
}

func (p *present) Read(b []byte) (int, error) {
	if p.out.left() {
		return 0, ErrGone
	}
	return p.from.Read(b)
}

// firstLine reads up to the first line break; rest begins behind it.
func firstLine(in io.Reader) (line, rest io.Reader, err error) {
	b := bufio.NewReaderSize(in, 64<<10)
	var head []byte
	for {
		part, err := b.ReadSlice('\n')
		head = append(head, part...)
		switch {
		case err == nil:
			return bytes.NewReader(head), b, nil
		case errors.Is(err, bufio.ErrBufferFull) && len(head) <= maxHead:
		case errors.Is(err, ErrStopping), errors.Is(err, ErrGone):
			return nil, nil, err
		default:
			return nil, nil, fmt.Errorf("%w: no first line", ErrMalformed)
		}
	}
}
