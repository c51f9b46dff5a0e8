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

func (a *app) benchCommand() *cobra.Command {
	var n, workers int
	var births, profile, store string
	c := &cobra.Command{
		Use:   "bench issue|render|sign|verify",
		Short: "测速 · measure on this machine, everything durable, in a throw-away installation",
		Long: `Bench makes an installation in a temporary folder beside --data, runs the real code and prints what it
measured. issue runs a batch, then single births one after the other; every commit and object is on disk, or in the store that --objects names.`,
		Example:   "  elicence bench issue -n 2000\n  elicence bench verify -n 5000 --json",
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"issue", "render", "sign", "verify"},
		RunE: func(cmd *cobra.Command, args []string) error {
			if n < 1 {
				return usage("-n must be at least 1")
			}
			lines, err := readLines(births)
			if err != nil {
				return err
			}
			parent := filepath.Dir(filepath.Clean(a.data))
			folder, err := os.MkdirTemp(parent, ".elicence-bench-*")
			if err != nil {
				return fmt.Errorf("bench: %w", err)
			}
			defer os.RemoveAll(folder)
			quiet := *a
			quiet.data, quiet.stderr = filepath.Join(folder, "data"), io.Discard
			var change []func(*config)
			if store != "" {
				where, err := objectsAt(store)
				if err != nil {
					return err
				}
				change = append(change, func(c *config) { c.Objects = where })
			}
			if err := quiet.initialise(cmd.Context(), demonstrationScheme(), change...); err != nil {
				return err
			}
			i, err := quiet.openForWriting(cmd.Context())
			if err != nil {
				return err
			}
			defer i.close()
			b := &bench{i: i, lines: lines, n: n, workers: workers}
			if profile != "" {
				f, err := os.Create(profile)
				if err != nil {
					return fmt.Errorf("bench: %w", err)
				}
				defer f.Close()
				if err := pprof.StartCPUProfile(f); err != nil {
					return fmt.Errorf("bench: %w", err)
				}
				defer pprof.StopCPUProfile()
			}
			run := map[string]func(context.Context) ([]benchResult, error){
				"issue": b.issue, "render": b.render, "sign": b.sign, "verify": b.verify}[args[0]]
			results, err := run(cmd.Context())
			if err != nil {
				return err
			}
			return a.tell(results, func(w io.Writer) {
				for _, r := range results {
					fmt.Fprintf(w, "%-28s n=%d workers=%d  %8.0f /s  p50 %.2f ms  p99 %.2f ms  cpu %.2f ms  rss %.0f MB", r.What, r.N, r.Workers, r.PerSecond, r.P50ms, r.P99ms, r.CPUms, r.MaxRSSMB)
					if r.Bytes > 0 {
						fmt.Fprintf(w, "  %d bytes", r.Bytes)
					}
					fmt.Fprintln(w)
				}
			})
		},
	}
	a.driverFlags(c)
	c.Flags().IntVarP(&n, "count", "n", 1000, "how many")
	c.Flags().IntVar(&workers, "workers", 8*runtime.NumCPU(), "births in work at the same time")
	c.Flags().StringVar(&store, "objects", "", "where the objects go, s3://BUCKET/PREFIX?endpoint=…&retention=1d: they stay there until then (default: the temporary folder)")
	c.Flags().StringVar(&profile, "cpu-profile", "", "write a pprof CPU profile to this file")
	c.Flags().StringVar(&births, "births", "testdata/births/births.jsonl", "births to take content from, repeated under new business ids")
	return c
}

type bench struct {
	i          *installation
	lines      []string
	n, workers int
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

// stock gives every issuer enough numbers.
func (b *bench) stock(ctx context.Context) error {
	s := demonstrationScheme()
	for k, o := range append(append([]licence.Organisation(nil), s.hospitals...), s.agencies...) {
		if err := b.i.db.Allot(ctx, issuing.Pile{Issuer: o.Code, Type: nationalType}, fmt.Sprintf("B00%07d", k*250_000+1), b.n/8+1000, b.i.app.now(), b.i.who(ctx, "bench")); err != nil {
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

func (b *bench) issue(ctx context.Context) ([]benchResult, error) {
	if err := b.stock(ctx); err != nil {
		return nil, err
	}
	// Keystores open once a process; that is start-up and not part of a birth.
	if err := b.batchOf(ctx, 0, len(b.lines), b.workers, newMeter()); err != nil {
		return nil, err
	}
	m := newMeter()
	if err := b.batchOf(ctx, len(b.lines), b.n, b.workers, m); err != nil {
		return nil, err
	}
	results := []benchResult{m.result("issue, batch, to cosigned", b.workers)}
	single := min(b.n, 300)
	m = newMeter()
	if err := b.batchOf(ctx, len(b.lines)+b.n, single, 1, m); err != nil {
		return nil, err
	}
	return append(results, m.result("issue, one at a time", 1)), nil
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
