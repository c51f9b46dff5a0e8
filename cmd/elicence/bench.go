package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/signer/cms"
	"github.com/elicence/elicence/signer/purpose"
)

// benchResult is one measured line; units are in the names.
type benchResult struct {
	What      string  `json:"what"`
	N         int     `json:"n"`
	Workers   int     `json:"workers"`
	PerSecond float64 `json:"perSecond"`
	P50ms     float64 `json:"p50ms"`
	P99ms     float64 `json:"p99ms"`
	CPUms     float64 `json:"cpuMsEach"` // user and system time of this process, both cores
	MaxRSSMB  float64 `json:"maxRssMB"`  // of this process so far
	Bytes     int     `json:"bytesEach,omitempty"`
}

// benchFlags are what a measurement is asked with.
type benchFlags struct {
	n, workers, lookups, callers   int
	births, profile, store, filled string
	beside                         bool
	rest                           time.Duration
}

func (a *app) benchCommand() *cobra.Command {
	var q benchFlags
	c := &cobra.Command{
		Use:   "bench issue|render|sign|verify|lookup|serve",
		Short: "测速 · measure on this machine, everything durable, in a throw-away installation",
		Long: `Bench makes an installation in a temporary folder beside --data, runs the real code and prints what it
measured. issue runs a batch, then single births one after the other; every commit and object is on disk, or in the store that
--objects names. With --beside it does so by turns with the embedded default, so that both have the same machine.

lookup and serve fill the records first: a few dozen births are issued, and -n licences get rows like theirs, of the same size,
encrypted under keys of their own, with signed events that the log takes in. lookup then asks as show and list do; serve
starts the service and measures how long it takes until it is ready, and what it takes at rest. --filled keeps what was filled in
a folder, or uses what a folder has been filled with. Both exit with 1 if an aim of docs/performance.md is missed.`,
		Example: `  elicence bench issue -n 2000
  elicence bench issue -n 2000 --records postgres://elicence@localhost/bench --beside
  elicence bench verify -n 5000 --json
  elicence bench lookup -n 1000000 --filled /var/tmp/million
  elicence bench serve --filled /var/tmp/million`,
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"issue", "render", "sign", "verify", "lookup", "serve"},
		RunE: func(cmd *cobra.Command, args []string) error {
			if min(q.n, q.workers, q.lookups, q.callers) < 1 || q.rest < time.Second {
				return usage("-n, --workers, --lookups and --callers must be at least 1, --rest at least 1s")
			}
			many := args[0] == "lookup" || args[0] == "serve"
			if q.filled != "" && !many {
				return usage("--filled belongs to lookup and serve")
			}
			if q.beside && (args[0] != "issue" || a.recordsURL == "" && q.store == "") {
				return usage("--beside belongs to issue with --records or --objects")
			}
			lines, err := readLines(q.births)
			if err != nil && (q.filled == "" || !isInstallation(q.filled)) {
				return err
			}
			if q.profile != "" {
				f, err := os.Create(q.profile)
				if err != nil {
					return fmt.Errorf("bench: %w", err)
				}
				defer f.Close()
				if err := pprof.StartCPUProfile(f); err != nil {
					return fmt.Errorf("bench: %w", err)
				}
				defer pprof.StopCPUProfile()
			}
			if many {
				return a.benchMany(cmd.Context(), args[0], q, lines)
			}
			var results []benchResult
			if q.beside {
				results, err = a.besideDefault(cmd.Context(), q, lines)
			} else {
				results, err = a.measured(cmd.Context(), args[0], q, lines)
			}
			if err != nil {
				return err
			}
			return a.tell(results, func(w io.Writer) { printResults(w, results) })
		},
	}
	a.driverFlags(c)
	c.Flags().IntVarP(&q.n, "count", "n", 1000, "how many")
	c.Flags().IntVar(&q.workers, "workers", 8*runtime.NumCPU(), "births in work at the same time")
	c.Flags().IntVar(&q.lookups, "lookups", 1000, "lookup: how many of each kind are asked for")
	c.Flags().IntVar(&q.callers, "callers", 4, "lookup: how many ask at the same time, after one has asked alone")
	c.Flags().DurationVar(&q.rest, "rest", 10*time.Second, "serve: how long the processor's time at rest is counted")
	c.Flags().StringVar(&q.store, "objects", "", "where the objects go, s3://BUCKET/PREFIX?endpoint=…&retention=1d: they stay there until then (default: the temporary folder)")
	c.Flags().StringVar(&q.filled, "filled", "", "lookup, serve: data folder that is filled and kept if there is none yet, and used as it is if there is (default: a temporary one)")
	c.Flags().BoolVar(&q.beside, "beside", false, "issue: by turns with the embedded default, a file and a folder")
	c.Flags().StringVar(&q.profile, "cpu-profile", "", "write a pprof CPU profile to this file")
	c.Flags().StringVar(&q.births, "births", "testdata/births/births.jsonl", "births to take content from, repeated under new business ids")
	return c
}

func printResults(w io.Writer, results []benchResult) {
	for _, r := range results {
		fmt.Fprintf(w, "%-28s n=%d workers=%d  %8.0f /s  p50 %.2f ms  p99 %.2f ms  cpu %.2f ms  rss %.0f MB", r.What, r.N, r.Workers, r.PerSecond, r.P50ms, r.P99ms, r.CPUms, r.MaxRSSMB)
		if r.Bytes > 0 {
			fmt.Fprintf(w, "  %d bytes", r.Bytes)
		}
		fmt.Fprintln(w)
	}
}

// thrownAway makes an installation in a temporary folder, with what change says, and hands it over.
func (a *app) thrownAway(ctx context.Context, store string, do func(i *installation) error) error {
	folder, err := os.MkdirTemp(filepath.Dir(filepath.Clean(a.data)), ".elicence-bench-*")
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	defer os.RemoveAll(folder)
	i, err := a.made(ctx, filepath.Join(folder, "data"), store)
	if err != nil {
		return err
	}
	defer i.close()
	return do(i)
}

// made makes an installation in the folder and opens it.
func (a *app) made(ctx context.Context, data, store string, change ...func(*config)) (*installation, error) {
	quiet := *a
	quiet.data, quiet.stderr = data, io.Discard
	if store != "" {
		where, err := objectsAt(store)
		if err != nil {
			return nil, err
		}
		change = append(change, func(c *config) { c.Objects = where })
	}
	if err := quiet.initialise(ctx, demonstrationScheme(), change...); err != nil {
		return nil, err
	}
	return quiet.openForWriting(ctx)
}

// measured measures one thing in an installation of its own.
func (a *app) measured(ctx context.Context, what string, q benchFlags, lines []string) (results []benchResult, err error) {
	err = a.thrownAway(ctx, q.store, func(i *installation) error {
		b := &bench{i: i, lines: lines, n: q.n, workers: q.workers}
		results, err = map[string]func(context.Context) ([]benchResult, error){
			"issue": b.issue, "render": b.render, "sign": b.sign, "verify": b.verify}[what](ctx)
		return err
	})
	return results, err
}

// besideTurns is how many turns each of the two has. What the machine is busy with besides is then felt by both.
const besideTurns = 3

// besideDefault issues by turns: in a file and a folder, and where the flags say.
func (a *app) besideDefault(ctx context.Context, q benchFlags, lines []string) (results []benchResult, err error) {
	embedded := *a
	embedded.recordsURL = ""
	err = embedded.thrownAway(ctx, "", func(file *installation) error {
		return a.thrownAway(ctx, q.store, func(server *installation) error {
			sides := []struct {
				name string
				b    *bench
			}{
				{"embedded default", &bench{i: file, lines: lines, n: q.n, workers: q.workers}},
				{"server", &bench{i: server, lines: lines, n: q.n, workers: q.workers}},
			}
			for _, s := range sides {
				if err := s.b.ready(ctx, besideTurns*(q.n+singles)); err != nil {
					return err
				}
			}
			for turn := range besideTurns {
				for _, s := range sides {
					measured, err := s.b.turn(ctx)
					if err != nil {
						return err
					}
					for _, r := range measured {
						r.What = fmt.Sprintf("%s %d: %s", s.name, turn+1, r.What)
						results = append(results, r)
					}
				}
			}
			return nil
		})
	})
	return results, err
}

type bench struct {
	i          *installation
	lines      []string
	n, workers int
	issued     int // births so far
}

// meter measures a run: wall, CPU, single durations.
type meter struct {
	begun time.Time
	cpu   time.Duration
	each  []time.Duration
}

func newMeter() *meter {
	runtime.GC()
	debug.FreeOSMemory()
	// Start-up (scrypt takes 128 MB a keystore) is not part of what is measured: the kernel forgets the peak. Where it
	// does not, maxRSS is the peak since the process began, which is never too little.
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
	return &meter{begun: time.Now(), cpu: cpuTime()}
}

func cpuTime() time.Duration {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// maxRSS is the greatest resident size in MB since the last newMeter.
func maxRSS() float64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	var kb float64
	for _, line := range strings.Split(string(b), "\n") {
		if _, err := fmt.Sscanf(line, "VmHWM: %f kB", &kb); err == nil {
			break
		}
	}
	return kb / 1024
}

func (m *meter) result(what string, workers int) benchResult {
	wall, cpu := time.Since(m.begun), cpuTime()-m.cpu
	slices.Sort(m.each)
	n := len(m.each)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return benchResult{What: what, N: n, Workers: workers, PerSecond: float64(n) / wall.Seconds(), P50ms: ms(m.each[n/2]),
		P99ms: ms(m.each[n*99/100]), CPUms: ms(cpu) / float64(n), MaxRSSMB: maxRSS()}
}

// request makes the k-th request: a line of the file under a new business id.
func (b *bench) request(k int) (string, error) {
	var m map[string]json.RawMessage
	if err := json.Unmarshal([]byte(b.lines[k%len(b.lines)]), &m); err != nil {
		return "", err
	}
	m["businessId"] = json.RawMessage(fmt.Sprintf("%q", fmt.Sprintf("B-%08d", k)))
	out, err := json.Marshal(m)
	return string(out), err
}

// stock gives every issuer so many numbers.
func (b *bench) stock(ctx context.Context, sheets int) error {
	s := demonstrationScheme()
	for k, o := range append(append([]licence.Organisation(nil), s.hospitals...), s.agencies...) {
		if err := b.i.db.Allot(ctx, issuing.Pile{Issuer: o.Code, Type: nationalType}, fmt.Sprintf("B00%07d", k*250_000+1), sheets, b.i.app.now(), b.i.who(ctx, "bench")); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) batchOf(ctx context.Context, from, n, workers int, m *meter) error {
	people, err := b.i.demoBatchPeople(ctx)
	if err != nil {
		return err
	}
	reader, writer := io.Pipe()
	go func() {
		for k := from; k < from+n; k++ {
			line, err := b.request(k)
			if err == nil {
				_, err = io.WriteString(writer, line+"\n")
			}
			if err != nil {
				writer.CloseWithError(err)
				return
			}
		}
		writer.Close()
	}()
	r, err := b.i.issueAll(ctx, &batch{service: b.i.service, types: b.i.types.Type, people: people, replaced: b.i.replaced, who: b.i.who(ctx, "bench"),
		now: b.i.app.now, workers: workers, done: func(l batchLine) { m.each = append(m.each, l.took) }}, reader)
	if err == nil && r.Issued != n {
		err = fmt.Errorf("bench: %d of %d births were issued: %+v", r.Issued, n, r.problems)
	}
	return err
}

// singles is how many births are issued one after the other at most.
const singles = 300

// ready gives out stock for n births more and opens what a first birth opens: keystores are start-up and not part of a birth.
func (b *bench) ready(ctx context.Context, n int) error {
	if err := b.stock(ctx, n/8+1000); err != nil {
		return err
	}
	b.issued += len(b.lines)
	return b.batchOf(ctx, 0, len(b.lines), b.workers, newMeter())
}

// turn issues a batch, then single births.
func (b *bench) turn(ctx context.Context) ([]benchResult, error) {
	m := newMeter()
	if err := b.batchOf(ctx, b.issued, b.n, b.workers, m); err != nil {
		return nil, err
	}
	b.issued += b.n
	results := []benchResult{m.result("issue, batch, to cosigned", b.workers)}
	single := min(b.n, singles)
	m = newMeter()
	if err := b.batchOf(ctx, b.issued, single, 1, m); err != nil {
		return nil, err
	}
	b.issued += single
	return append(results, m.result("issue, one at a time", 1)), nil
}

func (b *bench) issue(ctx context.Context) ([]benchResult, error) {
	if err := b.ready(ctx, b.n+singles); err != nil {
		return nil, err
	}
	return b.turn(ctx)
}

// repeat runs f n times, one worker for each core, and measures each.
func (b *bench) repeat(what string, f func(k int) (int, error)) (benchResult, error) {
	m := newMeter()
	m.each = make([]time.Duration, b.n)
	workers := runtime.NumCPU()
	failed := make(chan error, workers)
	size := make([]int, workers)
	for w := range workers {
		go func() {
			for k := w; k < b.n; k += workers {
				begun := time.Now()
				bytes, err := f(k)
				if err != nil {
					failed <- err
					return
				}
				m.each[k], size[w] = time.Since(begun), bytes
			}
			failed <- nil
		}()
	}
	for range workers {
		if err := <-failed; err != nil {
			return benchResult{}, err
		}
	}
	r := m.result(what, workers)
	r.Bytes = size[0]
	return r, nil
}

func (b *bench) prepared(ctx context.Context) ([]string, error) {
	if err := b.batchOf(ctx, 0, len(b.lines), b.workers, newMeter()); err != nil {
		return nil, err
	}
	out := filepath.Join(b.i.dir, "export")
	if err := b.i.publishStatus(ctx); err != nil {
		return nil, err
	}
	if _, err := b.i.export(ctx, nil, out, "bench", nil); err != nil {
		return nil, err
	}
	return filepath.Glob(filepath.Join(out, "*.pdf"))
}

func (b *bench) verify(ctx context.Context) ([]benchResult, error) {
	files, err := b.prepared(ctx)
	if err != nil {
		return nil, err
	}
	pin, err := b.i.pin()
	if err != nil {
		return nil, err
	}
	v, err := b.i.app.offlineVerifier(filepath.Join(b.i.dir, "export", "trust.json"), pin.String(), "", 0)
	if err != nil {
		return nil, err
	}
	type pair struct{ pdf, receipt []byte }
	pairs := make([]pair, len(files))
	for k, f := range files {
		if pairs[k].pdf, err = os.ReadFile(f); err != nil {
			return nil, err
		}
		name := filepath.Base(f)
		if pairs[k].receipt, err = os.ReadFile(filepath.Join(filepath.Dir(f), name[:strings.IndexByte(name, '-')]+".receipt")); err != nil {
			return nil, err
		}
	}
	var results []benchResult
	for _, withReceipt := range []bool{false, true} {
		what := "verify, without receipt"
		if withReceipt {
			what = "verify, with receipt"
		}
		r, err := b.repeat(what, func(k int) (int, error) {
			p := pairs[k%len(pairs)]
			receipt := p.receipt
			if !withReceipt {
				receipt = nil
			}
			report := v.File(ctx, p.pdf, receipt)
			if withReceipt && !report.Good() {
				return 0, fmt.Errorf("bench: %s %s", report.Signature.Indication, report.Signature.SubIndication)
			}
			return len(p.pdf), nil
		})
		if err != nil {
			return nil, err
		}
		results = append(results, r)
	}
	return results, nil
}

// licences issues the births once, so that real licences can be drawn and signed again.
func (b *bench) licences(ctx context.Context) ([]issuing.Licence, error) {
	if err := b.batchOf(ctx, 0, len(b.lines), b.workers, newMeter()); err != nil {
		return nil, err
	}
	var all []issuing.Licence
	return all, b.i.each(ctx, nil, func(l issuing.Licence) { all = append(all, l) })
}

func (b *bench) render(ctx context.Context) ([]benchResult, error) {
	all, err := b.licences(ctx)
	if err != nil {
		return nil, err
	}
	r, err := b.repeat("render one part", func(k int) (int, error) {
		file, err := b.i.service.Draw(ctx, all[k%len(all)], k/len(all)%2)
		return len(file), err
	})
	return []benchResult{r}, err
}

func (b *bench) sign(ctx context.Context) ([]benchResult, error) {
	signing, err := b.i.keyring.Current(ctx, demonstrationScheme().hospitals[0].Code, purpose.Documents)
	if err != nil {
		return nil, err
	}
	attributes, err := cms.SignedAttributes([32]byte{1}, b.i.app.now(), signing.Path)
	if err != nil {
		return nil, err
	}
	r, err := b.repeat("sign the attributes of a part", func(int) (int, error) {
		rs, err := signing.Key.Sign(ctx, purpose.CMSAttributes, attributes)
		return len(rs), err
	})
	return []benchResult{r}, err
}
