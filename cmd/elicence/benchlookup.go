package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/licence"
)

// Aims of docs/performance.md that lookup and serve are held to.
const (
	lookupAim = 5 * time.Millisecond
	readyAim  = 2 * time.Second
	restAimMB = 150
)

// manyReport is what lookup and serve answer.
type manyReport struct {
	Filled  *filledRecords `json:"filled,omitempty"` // nil: the folder was filled before
	N       int            `json:"n"`                // licences in the records
	Records string         `json:"records"`          // driver
	Lookups []lookupResult `json:"lookups,omitempty"`
	Serve   *serveResult   `json:"serve,omitempty"`
	Aims    []aimResult    `json:"aims"`
}

// lookupResult is one kind of look-up in one state of the caches.
type lookupResult struct {
	What   string  `json:"what"`
	State  string  `json:"state"` // cold or warm
	Caller int     `json:"callers"`
	N      int     `json:"n"`
	P50ms  float64 `json:"p50ms"`
	P99ms  float64 `json:"p99ms"`
	MaxMs  float64 `json:"maxMs"`
	Aim    bool    `json:"aim"` // held to the aim; what is a count or a report is not
}

type aimResult struct {
	What string `json:"what"`
	Met  bool   `json:"met"`
	Said string `json:"said"`
}

// fewestForLookup is how many licences make a look-up one among others.
const fewestForLookup = 2 * patternBirths

func isInstallation(folder string) bool {
	_, err := os.Stat(filepath.Join(folder, configFile))
	return err == nil
}

// benchMany fills the records of a folder, unless they are filled, and measures what many licences cost.
func (a *app) benchMany(ctx context.Context, what string, q benchFlags, lines []string) (err error) {
	if q.n < fewestForLookup {
		return usage("-n must be at least %d for %s", fewestForLookup, what)
	}
	data, report := q.filled, manyReport{}
	there := data != "" && isInstallation(data)
	if there && (a.recordsURL != "" || q.store != "") {
		return usage("%s is filled already: --records and --objects are for one that is made", data)
	}
	if data == "" {
		folder, err := os.MkdirTemp(filepath.Dir(filepath.Clean(a.data)), ".elicence-bench-*")
		if err != nil {
			return fmt.Errorf("bench: %w", err)
		}
		defer os.RemoveAll(folder)
		data = filepath.Join(folder, "data")
	}
	if !there {
		filled, err := a.fillFolder(ctx, data, q, lines)
		if err != nil {
			return err
		}
		report.Filled = &filled
	}
	if what == "lookup" {
		err = a.lookups(ctx, data, q, &report)
	} else {
		err = a.rest(ctx, data, q, &report)
	}
	if err != nil {
		return err
	}
	if err := a.tell(report, func(w io.Writer) { report.print(w) }); err != nil {
		return err
	}
	if slices.ContainsFunc(report.Aims, func(r aimResult) bool { return !r.Met }) {
		return answer(exitNo)
	}
	return nil
}

// fillFolder makes an installation and fills it.
func (a *app) fillFolder(ctx context.Context, data string, q benchFlags, lines []string) (filledRecords, error) {
	filling := *a
	filling.fills = true
	i, err := filling.made(ctx, data, q.store, func(c *config) {
		scheme := demonstrationScheme()
		c.Status.Space = 1 << 24
		c.Deliver.Receivers = []receiverConfig{
			{Organisation: scheme.police.Code, Driver: "folder", Address: "police", Topics: []string{"parts"}},
			{Organisation: scheme.cityArchive.Code, Driver: "folder", Address: "archive", Topics: []string{"hand-over"}},
		}
	})
	if err != nil {
		return filledRecords{}, err
	}
	b := &bench{i: i, lines: lines, n: q.n, workers: q.workers}
	limit := debug.SetMemoryLimit(math.MaxInt64) // a group of likenesses and a large cache are more than a batch has
	defer debug.SetMemoryLimit(limit)
	filled, err := b.fill(ctx, a.filling(q.n))
	i.close()
	return filled, err
}

func (r manyReport) print(w io.Writer) {
	if f := r.Filled; f != nil {
		fmt.Fprintf(w, "%-34s n=%d  %.0f s  %.0f licences/s  %d bytes a licence on the disk\n", f.What, f.N, f.Seconds, f.PerSecond, f.Bytes)
	}
	fmt.Fprintf(w, "%d licences, %s\n", r.N, r.Records)
	for _, l := range r.Lookups {
		held := ""
		if !l.Aim {
			held = "  (no aim)"
		}
		fmt.Fprintf(w, "%-34s %s callers=%-2d n=%-5d p50 %.2f ms  p99 %.2f ms  max %.2f ms%s\n", l.What, l.State, l.Caller, l.N, l.P50ms, l.P99ms, l.MaxMs, held)
	}
	if s := r.Serve; s != nil {
		fmt.Fprintf(w, "serve  ready %.2f s  rss %.0f MB at rest (%.0f MB at most, settled after %.0f s)  cpu at rest %.2f %% of a core over %.0f s\n",
			s.ReadySeconds, s.RestMB, s.PeakMB, s.SettledSeconds, s.RestCPUPercent, s.RestSeconds)
	}
	for _, one := range r.Aims {
		word := "达到 met"
		if !one.Met {
			word = "未达到 MISSED"
		}
		fmt.Fprintf(w, "%s: %s: %s\n", one.What, word, one.Said)
	}
}

// question is one kind of look-up, as a command asks it.
type question struct {
	what string
	aim  bool
	ask  func(ctx context.Context, i *installation, s sampled) error
}

// fewCounts is how often what counts many rows is asked for: it takes long, and has no aim.
const fewCounts = 20

// sampled is a licence that is looked for.
type sampled struct {
	number, identifier, business, name, idNumber, issuer, id string
}

var errNotThere = errors.New("bench: a look-up did not find what is there")

// showing is what show does with a word.
func showing(fields bool, word func(s sampled) string) func(ctx context.Context, i *installation, s sampled) error {
	return func(ctx context.Context, i *installation, s sampled) error {
		found, err := i.find(ctx, word(s), "bench")
		if err != nil {
			return err
		}
		there := false
		for _, l := range found {
			v, err := i.view(ctx, l, fields, "bench")
			if err != nil {
				return err
			}
			there = there || v.Number == s.number && len(v.Events) > 0 && len(v.Parts) > 0
		}
		if !there {
			return errNotThere
		}
		return nil
	}
}

func listing(filter func(s sampled) issuing.Filter, fewest int) func(ctx context.Context, i *installation, s sampled) error {
	return func(ctx context.Context, i *installation, s sampled) error {
		page, err := i.db.List(ctx, filter(s), s.id, listPage)
		if err == nil && len(page) < fewest {
			err = errNotThere
		}
		return err
	}
}

// listPage is how many licences a page of the list shows.
const listPage = 20

// questions are the look-ups of show, list, number and publish. Where a command reads personal data, the audit row of the read
// is written before it answers, here as there.
func questions(year int) []question {
	revoked := issuing.Revoked
	return []question{
		{"show by number", true, showing(false, func(s sampled) string { return s.number })},
		{"show by number, fields, audited", true, showing(true, func(s sampled) string { return s.number })},
		{"show by identifier", true, showing(false, func(s sampled) string { return s.identifier })},
		{"show by business id", true, showing(false, func(s sampled) string { return s.business })},
		{"show by id number, audited", true, showing(false, func(s sampled) string { return s.idNumber })},
		{"show by name, 4 found, audited", false, showing(false, func(s sampled) string { return s.name })},
		{"list, a page of 20", true, listing(func(sampled) issuing.Filter { return issuing.Filter{} }, 0)},
		{"list of an issuer, a page of 20", true, listing(func(s sampled) issuing.Filter { return issuing.Filter{Issuer: s.issuer} }, 0)},
		{"list of what was revoked, 20", true, listing(func(sampled) issuing.Filter { return issuing.Filter{Status: &revoked} }, 0)},
		{"unfinished, waiting for the log", true, func(ctx context.Context, i *installation, _ sampled) error {
			_, err := i.unfinished(ctx)
			_, perr := i.db.PendingCount(ctx)
			return errors.Join(err, perr)
		}},
		{"next free number of an issuer", true, func(ctx context.Context, i *installation, s sampled) error {
			_, err := i.db.NextFree(ctx, issuing.Pile{Issuer: s.issuer, Type: nationalType})
			return err
		}},
		{"free numbers of all issuers", false, func(ctx context.Context, i *installation, _ sampled) error {
			_, err := i.db.FreeCounts(ctx)
			return err
		}},
		{"all that are not in force", false, func(ctx context.Context, i *installation, _ sampled) error {
			_, err := i.db.NotInForce(ctx)
			return err
		}},
		{"year table of an issuer", false, func(ctx context.Context, i *installation, s sampled) error {
			_, err := i.db.YearTable(ctx, issuing.Pile{Issuer: s.issuer, Type: nationalType}, year, i.zone)
			return err
		}},
	}
}

// lookups opens the filled folder and asks: cold, each licence for the first time since the records were opened; warm, one caller
// and many, licences that were asked for before.
func (a *app) lookups(ctx context.Context, data string, q benchFlags, report *manyReport) error {
	i, err := a.reopened(ctx, data)
	if err != nil {
		return err
	}
	all := questions(i.app.now().In(i.zone).Year())
	size := q.lookups
	cold := min(size, 200)
	report.Records = i.config.Records.Driver
	samples, n, err := i.samples(ctx, size+cold*len(all))
	report.N = n
	i.close()
	if err != nil {
		return err
	}
	if i.config.Records.Driver == onSQLite {
		if err := forgetPages(i.path(i.config.Records.Path)); err != nil {
			return err
		}
	}
	if i, err = a.reopened(ctx, data); err != nil {
		return err
	}
	defer i.close()
	for _, kind := range all {
		first := samples[:cold]
		samples = samples[cold:]
		if !kind.aim {
			first = first[:min(cold, fewCounts)]
		}
		r, err := kind.measure(ctx, i, first, 1)
		if err != nil {
			return err
		}
		r.State = "cold"
		report.Lookups = append(report.Lookups, r)
	}
	callers := []int{1}
	if q.callers > 1 {
		callers = append(callers, q.callers)
	}
	worst := map[int]lookupResult{}
	for _, kind := range all {
		again := samples
		if !kind.aim {
			again = again[:min(len(again), fewCounts)]
		}
		if _, err := kind.measure(ctx, i, again, 1); err != nil {
			return err
		}
		for _, k := range callers {
			r, err := kind.measure(ctx, i, again, k)
			if err != nil {
				return err
			}
			r.State = "warm"
			report.Lookups = append(report.Lookups, r)
			if kind.aim && r.P99ms > worst[k].P99ms {
				worst[k] = r
			}
		}
	}
	for _, k := range callers {
		report.Aims = append(report.Aims, aimResult{
			What: fmt.Sprintf("p99 ≤ %v, %d caller(s), %d licences", lookupAim, k, report.N),
			Met:  worst[k].P99ms <= float64(lookupAim.Microseconds())/1000,
			Said: fmt.Sprintf("the slowest is %q, p99 %.2f ms", worst[k].What, worst[k].P99ms)})
	}
	return nil
}

func (a *app) reopened(ctx context.Context, data string) (*installation, error) {
	quiet := *a
	quiet.data, quiet.stderr, quiet.recordsURL = data, io.Discard, ""
	return quiet.openForWriting(ctx)
}

func (k question) measure(ctx context.Context, i *installation, samples []sampled, callers int) (lookupResult, error) {
	each := make([]time.Duration, len(samples))
	failed := make([]error, callers)
	var all sync.WaitGroup
	for w := range callers {
		all.Go(func() {
			for n := w; n < len(samples) && failed[w] == nil; n += callers {
				begun := time.Now()
				if err := k.ask(ctx, i, samples[n]); err != nil {
					failed[w] = fmt.Errorf("%s: %w", k.what, err)
				}
				each[n] = time.Since(begun)
			}
		})
	}
	all.Wait()
	if err := errors.Join(failed...); err != nil {
		return lookupResult{}, err
	}
	slices.Sort(each)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	n := len(each)
	return lookupResult{What: k.what, Caller: callers, N: n, P50ms: ms(each[n/2]), P99ms: ms(each[n*99/100]), MaxMs: ms(each[n-1]), Aim: k.aim}, nil
}

// samples are licences of which filling knows how to make the names, at random, and how many licences there are.
func (i *installation) samples(ctx context.Context, n int) (samples []sampled, licences int, err error) {
	counts, err := i.db.Counts(ctx)
	if err != nil {
		return nil, 0, err
	}
	licences = counts.ByStage[issuing.StageIssued]
	last := licences
	for last > 0 { // the patterns come before them, and are few
		if _, err := i.db.ByNumber(ctx, likeNumber(last-1)); err == nil {
			break
		} else if !errors.Is(err, licence.ErrNotFound) {
			return nil, 0, err
		}
		last--
	}
	if last == 0 {
		return nil, 0, usage("this folder was not filled by bench")
	}
	random := rand.New(rand.NewPCG(1, 2))
	for len(samples) < n {
		l, err := i.db.ByNumber(ctx, likeNumber(random.IntN(last)))
		if err != nil {
			return nil, 0, err
		}
		opened, err := licence.Open(l.Request)
		if err != nil {
			return nil, 0, err
		}
		s := sampled{number: l.Number, identifier: l.Identifier, business: l.BusinessID, issuer: l.Issuer, id: l.ID}
		s.name, _ = licence.Value(opened.Document, "/child/name").(string)
		for _, who := range []string{"/mother/idNumber", "/father/idNumber"} {
			if v, ok := licence.Value(opened.Document, who).(string); ok {
				s.idNumber = v
			}
		}
		if s.name != "" && s.idNumber != "" {
			samples = append(samples, s)
		}
	}
	return samples, licences, nil
}
