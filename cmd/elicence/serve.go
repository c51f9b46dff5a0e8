package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"os/signal"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/elicence/elicence/api"
)

func (a *app) serveCommand() *cobra.Command {
	var listen string
	c := &cobra.Command{
		Use:   "serve",
		Short: "服务 · keep the folder open: sequence, seal, cosign, finish what was left, and work for the commands beside it",
		Long: `Serve opens the installation for writing and keeps it open. Commands on the same folder go through its socket,
elicence.sock there, and print what they would print without it; several may work at the same time.

By itself it sequences events and has them cosigned, seals the audit trail each second, finishes licences that
were left unfinished, and does the due work: deliveries as soon as they are due, the status list after every change and before it ends. What fails
is logged and tried again.

Health, readiness and metrics (/healthz, /readyz, /metrics) are on the socket, and with --listen on TCP. The log is JSON
on stderr. SIGTERM and SIGINT finish what is in work; the second one ends at once.`,
		Example: "  elicence serve --data ./data\n  elicence serve --listen 127.0.0.1:9464",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("listen") {
				a.set = append(a.set, "serve.listen="+listen)
			}
			return a.serve(cmd.Context())
		},
	}
	c.Flags().StringVar(&listen, "listen", "", "[ADDRESS:]PORT of health, readiness and metrics on TCP; a port alone is one of this machine only (setting serve.listen)")
	return c
}

// service is one running process on one folder.
type service struct {
	app     *app
	config  config
	log     *slog.Logger
	watch   *watch
	manager manager
	socket  *api.Socket
	server  *api.Server
	tcp     *http.Server
	loops   *supervisor
	folder  os.FileInfo // of the data folder as it was opened

	opened chan struct{} // closed when i or failure is set
	i      *installation
	fail   error

	ended chan error // of a listener that broke

	asked atomic.Int64 // operations since the memory was given back

	checking  sync.Mutex
	checked   readiness
	checkedAt time.Time
}

// serve runs until ctx ends, then finishes what is in work.
func (a *app) serve(ctx context.Context) error {
	c, err := a.readConfig()
	if err != nil {
		return err
	}
	level, err := logLevel(c.Log.Level)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewJSONHandler(a.stderr, &slog.HandlerOptions{Level: level}))
	// The folder is taken first: who comes now waits for this service instead of opening the folder itself.
	socket, err := api.Listen(a.data)
	if err != nil {
		return err
	}
	defer func() {
		if err := errors.Join(socket.Close(), socket.Release()); err != nil {
			log.Warn("socket", "error", err.Error())
		}
	}()
	tracer, endTraces, err := startTraces(ctx, c.Traces, log)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		endTraces(ctx)
	}()
	served := *a
	served.watch = newWatch(tracer)
	s := &service{app: &served, config: c, log: log, watch: served.watch, manager: managerOf(a.environment, os.Getpid()), socket: socket,
		opened: make(chan struct{}), ended: make(chan error, 1)}
	s.loops = newSupervisor(log, s.watch)
	if s.folder, err = os.Stat(a.data); err != nil {
		return err
	}
	s.loops.guard = s.inPlace
	return s.run(ctx)
}

// run is the life of the service. Work has a context of its own: the end of ctx is the wish to stop, not the end of work.
func (s *service) run(ctx context.Context) error {
	begun := time.Now()
	work, cancelWork := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelWork()
	s.server = api.NewServer(api.Options{Ready: s.ready, Problem: travelling, Log: s.log, Observe: s.observed, Base: work},
		operations(func() *installation { return s.i })...)
	s.pages()
	go func() { s.ended <- s.server.Serve(s.socket) }()
	if err := s.listenTCP(); err != nil {
		s.failed(err)
		return err
	}
	if err := s.open(ctx); err != nil {
		s.failed(err)
		told, cancel := context.WithTimeout(work, time.Second) // who waits is told why
		defer cancel()
		_ = s.server.Drain(told)
		s.close()
		return err
	}
	defer s.i.close()
	close(s.opened)
	around := api.WithCaller(work, api.Caller{From: "serve:" + strings.TrimPrefix(s.i.who(work, "").From, "cli:"), Notice: func(string) {}})
	looping, stopLoops := context.WithCancel(around)
	defer stopLoops()
	dueWork, err := s.i.dueLoops(around, nil)
	if err != nil {
		s.log.Error("due work is not looked after", "error", err.Error(), "code", travelling(err).Code)
	}
	for _, l := range slices.Concat(s.i.duties(), s.ownDuties()) {
		s.loops.start(looping, l)
	}
	for _, l := range dueWork {
		s.loops.startWoken(looping, l)
	}
	if s.i.config.Records.shared() {
		s.loops.start(looping, loop{"due-wakes", lookEvery, s.listen})
	}
	if err := s.manager.tell("READY=1"); err != nil {
		s.log.Warn("service manager", "error", err.Error())
	}
	debug.FreeOSMemory()
	s.log.Info("ready", "data", s.app.data, "socket", api.SocketName, "tcp", s.tcpAddress(), "took", time.Since(begun).String())
	err = nil
	select {
	case <-ctx.Done():
	case err = <-s.ended:
	}
	// From here on the second signal does what signals do.
	signal.Reset(os.Interrupt, syscall.SIGTERM)
	_ = s.manager.tell("STOPPING=1")
	s.log.Info("stopping", "within", s.config.Serve.StopWithin.String())
	s.drain(work, cancelWork)
	stopLoops()
	s.loops.stopped()
	s.log.Info("stopped")
	return err
}

// failed tells everybody who waits that there is nothing to wait for.
func (s *service) failed(err error) {
	s.fail = err
	close(s.opened)
}

// ready holds requests until the installation is open.
func (s *service) ready(ctx context.Context) error {
	select {
	case <-s.opened:
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.fail != nil {
		return s.fail
	}
	return s.inPlace()
}

// errMoved says that another folder stands where the service's own stood, or none.
var errMoved = errors.New("数据目录已被移走或替换 / the data folder was moved away or replaced")

// inPlace holds the folder to being the one that was opened: files are found by its path, and in another folder of that name
// they are somebody else's.
func (s *service) inPlace() error {
	now, err := os.Stat(s.app.data)
	if err != nil {
		return fmt.Errorf("%w: %w", errMoved, err)
	}
	if !os.SameFile(now, s.folder) {
		return fmt.Errorf("%w: %s", errMoved, s.app.data)
	}
	return nil
}

// open opens the installation and the registrar's keystore. Each opening costs a third of a second of one core, and one is
// derived at a time: what is not needed to begin with is opened when it is.
func (s *service) open(ctx context.Context) error {
	i, err := s.app.openForWriting(ctx)
	if err != nil {
		return err
	}
	i.served, i.log = true, s.log
	i.keyring.tidy = debug.FreeOSMemory // an opening takes 128 MB for a moment, and garbage of that size is not collected soon
	if err := i.openKeys(ctx); err != nil {
		s.log.Error("keys are not open", "error", err.Error(), "code", travelling(err).Code)
	}
	r := &resumer{i: i}
	if _, err := r.look(ctx); err != nil {
		i.close()
		return err
	}
	i.left = r.seen
	s.i = i
	return nil
}

// listen hears what other processes make due. While it does not, due work is looked for more often, and nothing is lost: that is
// told, and is no failure of the service.
func (s *service) listen(ctx context.Context) error {
	s.i.db.Listen(ctx, func(err error) {
		if err != nil {
			s.log.Warn("what others make due is not heard and is looked for instead", "every", lookEvery.String(), "error", err.Error())
			return
		}
		s.log.Info("what others make due is heard")
	})
	return ctx.Err()
}

// memoryEvery is how often a service gives back what its work has left behind: a batch leaves 100 MB of garbage, and a service
// at rest collects none for minutes.
const memoryEvery = time.Minute

// muchGarbage is what loops may have allocated before it is given back, in bytes: at rest they take minutes for it.
const muchGarbage = 64 << 20

// allocated is how much this process has allocated since it began, in bytes.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// ownDuties look after the process itself.
func (s *service) ownDuties() []loop {
	before := allocated()
	all := []loop{{"memory", memoryEvery, func(context.Context) error {
		// Loops leave garbage, too, when they have much to catch up with.
		if now := allocated(); s.asked.Swap(0) > 0 || now-before > muchGarbage {
			debug.FreeOSMemory()
			before = now
		}
		return nil
	}}}
	if s.manager.watchdog > 0 {
		all = append(all, loop{"watchdog", s.manager.watchdog / 3, func(context.Context) error { return s.manager.tell("WATCHDOG=1") }})
	}
	return all
}

// pages are what is on the socket beside operations.
func (s *service) pages() {
	for pattern, h := range s.publicPages() {
		s.server.Handle(pattern, h)
	}
	s.server.Handle("GET /debug/pprof/", http.HandlerFunc(pprof.Index))
	s.server.Handle("GET /debug/pprof/profile", http.HandlerFunc(pprof.Profile))
	s.server.Handle("GET /debug/pprof/trace", http.HandlerFunc(pprof.Trace))
	s.server.Handle("GET /debug/pprof/symbol", http.HandlerFunc(pprof.Symbol))
}

// publicPages hold no personal value and need no permission.
func (s *service) publicPages() map[string]http.Handler {
	return map[string]http.Handler{
		"GET /healthz": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }),
		"GET /readyz":  http.HandlerFunc(s.readyPage),
		"GET /metrics": s.watch.page(),
	}
}

func (s *service) readyPage(w http.ResponseWriter, r *http.Request) {
	answer := readiness{Checks: []healthCheck{{"opening", false, "正在打开", "the installation is being opened"}}}
	select {
	case <-s.opened:
		if s.fail == nil {
			answer = s.readinessNow(r.Context())
		}
	default:
	}
	if answer.Ready {
		s.watch.ready.Set(1)
	} else {
		s.watch.ready.Set(0)
	}
	answerReadiness(w, answer)
}

// readyFor is how long one answer serves everybody who asks: a check writes to the disk, and may try a passphrase.
const readyFor = 500 * time.Millisecond

func (s *service) readinessNow(ctx context.Context) readiness {
	s.checking.Lock()
	defer s.checking.Unlock()
	if time.Since(s.checkedAt) > readyFor {
		// Who asked may go away; the answer is everybody's.
		s.checked, s.checkedAt = s.i.readiness(context.WithoutCancel(ctx), s.loops.failures()), time.Now()
		if err := s.inPlace(); err != nil {
			s.checked = readiness{Checks: []healthCheck{{"folder", false, "数据目录不在原处", err.Error()}}}
		}
	}
	return s.checked
}

func (s *service) listenTCP() error {
	if s.config.Serve.Listen == "" {
		return nil
	}
	address, err := listenAddress(s.config.Serve.Listen)
	if err != nil {
		return usage("serve.listen: %w", err)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return &failure{code: exitUnavailable, cause: fmt.Errorf("serve.listen: %w", err), do: "换一个端口 · choose another port with --listen"}
	}
	mux := http.NewServeMux()
	for pattern, h := range s.publicPages() {
		mux.Handle(pattern, s.server.Guard(h))
	}
	s.tcp = &http.Server{Handler: mux, Addr: l.Addr().String(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)}
	go func() {
		if err := s.tcp.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("nobody can ask for health on TCP any more", "error", err.Error()) // no reason to stop issuing
		}
	}()
	return nil
}

func (s *service) tcpAddress() string {
	if s.tcp == nil {
		return ""
	}
	return s.tcp.Addr
}

// observed is told of each operation. Its request is not logged: names, notes and passphrases are in it.
func (s *service) observed(name string, took time.Duration, p *api.Problem) {
	s.watch.operated(name, took, p)
	s.asked.Add(1)
	what := []any{"name", name, "took", took.String()}
	level := slog.LevelInfo
	if p != nil {
		level, what = slog.LevelWarn, append(what, "code", p.Code, "status", p.Status)
		if p.Status >= http.StatusInternalServerError { // something of ours is away, or wrong: say where
			what = append(what, "error", p.Detail)
		}
		if p.Status == http.StatusInternalServerError {
			level = slog.LevelError
		}
	}
	s.log.Log(context.Background(), level, "operation", what...)
}

// lastWords is how long cancelled work may take to come to an end.
const lastWords = 5 * time.Second

// drain finishes what is in work, cancels what takes too long, and closes the listeners.
func (s *service) drain(work context.Context, cancelWork func()) {
	within, cancel := context.WithTimeout(work, s.config.Serve.StopWithin)
	defer cancel()
	if err := s.server.Drain(within); err != nil {
		s.log.Warn("work is cut off; it goes on when it is asked for again", "error", err.Error())
		cancelWork()
		last, cancel := context.WithTimeout(context.WithoutCancel(work), lastWords)
		defer cancel()
		_ = s.server.Drain(last)
	}
	s.close()
}

func (s *service) close() {
	_ = s.server.Close()
	if s.tcp != nil {
		_ = s.tcp.Close()
	}
}
