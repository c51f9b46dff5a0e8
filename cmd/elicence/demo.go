package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/elicence/elicence/audit"
	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/verify"
)

func (a *app) demoCommand() *cobra.Command {
	var births string
	c := &cobra.Command{
		Use:   "demo",
		Short: "演示 · the whole way of 200 synthetic births, on real files",
		Long: `Demo makes an installation (if the folder has none), issues every birth of the file as a signed two-part
certificate, and walks it through every pair of hands: police, archives, commission, family. It kills its
own issuing process half way and goes on. What it leaves in --data is a working installation, and
tour/index.html there shows each kind of user what just happened to them.

Run it again and it goes on where it stopped; nothing is issued twice.`,
		Example: "  elicence demo --births testdata/births/births.jsonl --data ./data",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a.shared = newKeystores()
			defer a.shared.close()
			d := &demo{app: a, births: births, tour: tour{Data: a.data}}
			if err := d.run(cmd.Context()); err != nil {
				return err
			}
			return d.tell()
		},
	}
	c.Flags().StringVar(&births, "births", "testdata/births/births.jsonl", "file with one request a line")
	a.driverFlags(c)
	return c
}

// stage is one line of the demo's closing table.
type stage struct {
	Name  string          `json:"name"`
	Count int             `json:"count"`
	P50   time.Duration   `json:"p50ns,omitempty"`
	P99   time.Duration   `json:"p99ns,omitempty"`
	Total time.Duration   `json:"totalns"`
	each  []time.Duration // durations of single ones, where they were measured
}

// demo is one run. Every stage can be run again on what an earlier run left.
type demo struct {
	app    *app
	births string
	stages []stage
	tour   tour
	i      *installation
	cast   scheme
}

// measure runs one stage; step reports each finished item.
func (d *demo) measure(name string, run func(item func(time.Duration)) error) error {
	s := stage{Name: name}
	begun := time.Now()
	err := run(func(took time.Duration) { s.Count++; s.each = append(s.each, took) })
	s.Total = time.Since(begun)
	if len(s.each) > 0 {
		slices.Sort(s.each)
		s.P50, s.P99 = s.each[len(s.each)/2], s.each[(len(s.each)*99)/100]
	}
	d.stages = append(d.stages, s)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// timed runs f and reports how long it took, if it worked.
func timed(item func(time.Duration), f func() error) error {
	begun := time.Now()
	if err := f(); err != nil {
		return err
	}
	item(time.Since(begun))
	return nil
}

func (d *demo) run(ctx context.Context) error {
	d.cast = demonstrationScheme()
	lines, err := readLines(d.births)
	if err != nil {
		return err
	}
	if len(lines) == 0 {
		return usage("births: %s holds no line", d.births)
	}
	if _, err := d.app.readConfig(); err != nil {
		if !errors.Is(err, errNoInstallation) {
			return err
		}
		d.say("建立安装 init: 37 个机构各有密钥库 · 37 organisations, a keystore each")
		if err := d.measure("建立安装 init", func(item func(time.Duration)) error {
			return timed(item, func() error { return d.app.initialise(ctx, d.cast) })
		}); err != nil {
			return err
		}
	}
	for _, s := range []struct {
		name string
		run  func(context.Context, []string) error
	}{
		{"卡纸 a sheet jams", d.jam}, {"签发 issue", d.issue}, {"导出核验 export, verify", d.verifyExports},
		{"移交 hand-over", d.handOver}, {"户口登记 register", d.registerHouseholds}, {"换补撤 exchange, replace, revoke", d.changes},
		{"伪造 forgeries", d.forgeries}, {"账目 books", d.books},
	} {
		if err := d.open(ctx); err != nil {
			return err
		}
		d.say(s.name)
		if err := s.run(ctx, lines); err != nil {
			d.close()
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	d.close()
	return d.tour.write(filepath.Join(d.app.data, "tour"))
}

// say tells a person at what the demo is.
func (d *demo) say(what string) {
	if !d.app.json {
		fmt.Fprintf(d.app.stderr, "· %s\n", what)
	}
}

func (d *demo) open(ctx context.Context) (err error) {
	if d.i == nil {
		d.i, err = d.app.openForWriting(ctx)
	}
	return err
}

func (d *demo) close() {
	if d.i != nil {
		d.i.close()
		d.i = nil
	}
}

func readLines(path string) ([]string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, &failure{code: exitUsage, cause: fmt.Errorf("births: %w", err), do: "name the file with --births; the repository has testdata/births/births.jsonl"}
	}
	var lines []string
	s := bufio.NewScanner(bytes.NewReader(b))
	s.Buffer(nil, maxLine)
	for s.Scan() {
		if line := strings.TrimSpace(s.Text()); line != "" {
			lines = append(lines, line)
		}
	}
	return lines, s.Err()
}

// issue has a child process issue, kills it half way, and goes on in this process: what an engineer wants to see.
func (d *demo) issue(ctx context.Context, lines []string) error {
	d.close() // one writer at a time
	d.say("另起一个进程签发，途中将其杀掉 · another process issues and is killed on the way")
	killed, err := d.killHalfWay(ctx, len(lines))
	if err != nil {
		return err
	}
	if err := d.open(ctx); err != nil {
		return err
	}
	people, err := d.i.demoBatchPeople(ctx)
	if err != nil {
		return err
	}
	bar := d.app.progress(len(lines), "签发 issuing")
	var result batchResult
	err = d.measure("签发两联证照 issue", func(item func(time.Duration)) error {
		b := &batch{service: d.i.service, types: d.i.types.Type, people: people, replaced: d.i.replaced, who: d.i.who(ctx, "demo"), now: d.app.now, workers: 16,
			done: func(l batchLine) {
				_ = bar.Add(1)
				if l.Outcome == "issued" {
					item(l.took)
				}
			}}
		var err error
		result, err = d.i.issueAll(ctx, b, strings.NewReader(strings.Join(lines, "\n")))
		return err
	})
	_ = bar.Finish()
	if err != nil {
		return err
	}
	if n := result.Refused + result.Failed; n > 0 {
		return fmt.Errorf("%d of %d births were not issued: %+v", n, len(lines), result.problems[0])
	}
	d.tour.Engineer = engineerStory{Births: len(lines), BeforeKill: killed, Standing: result.Standing, Issued: result.Issued}
	return d.measure("会签 sequence, cosign", func(item func(time.Duration)) error {
		return timed(item, func() error { return d.i.ledger.catchUp(ctx) })
	})
}

// killHalfWay starts the real program on the same births and kills it (SIGKILL) after a third of them. It returns how
// many it had answered; 0 when everything stood already.
func (d *demo) killHalfWay(ctx context.Context, births int) (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	reports, err := os.MkdirTemp("", "elicence-demo-*")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(reports)
	report := filepath.Join(reports, "report.jsonl")
	child := exec.CommandContext(ctx, self, "issue", "--data", d.app.data, "--births", d.births, "--report", report, "--workers", "4")
	var out bytes.Buffer
	child.Stdout, child.Stderr = &out, &out
	if err := child.Start(); err != nil {
		return 0, fmt.Errorf("start %s: %w", self, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			// It was done before it could be killed: everything stood already, or the file is short.
			if err != nil {
				return 0, fmt.Errorf("issue: %w: %s", err, lastLine(out.Bytes()))
			}
			return 0, nil
		case <-tick.C:
			if answered(report) >= births/3 {
				if err := child.Process.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
					return 0, err
				}
				if err := <-ended; err == nil {
					return 0, nil // it was quicker than the signal
				}
				return answered(report), nil
			}
		}
	}
}

func answered(report string) int {
	b, err := os.ReadFile(report)
	if err != nil {
		return 0
	}
	return bytes.Count(b, []byte(`"outcome":"issued"`))
}

// jam is the clerk's story in paper mode, before anything is signed: the first sheet for the first birth is misprinted and
// spoiled, the next one is bound, and the licence takes that number.
func (d *demo) jam(ctx context.Context, lines []string) error {
	people, err := d.i.demoBatchPeople(ctx)
	if err != nil {
		return err
	}
	issuer, clerk, _, err := people([]byte(lines[0]))
	if err != nil {
		return err
	}
	var head struct {
		BusinessID  string `json:"businessId"`
		LicenceType string `json:"licenceType"`
	}
	if err := json.Unmarshal([]byte(lines[0]), &head); err != nil {
		return err
	}
	found, err := d.i.db.ByBusinessID(ctx, issuer.Code, head.BusinessID)
	if err != nil {
		return err
	}
	d.tour.Clerk.Hospital = issuer.Name
	if len(found) > 0 {
		d.tour.Clerk.Next = found[0].Number
		return nil
	}
	who := d.i.whoIs(ctx, actor{issuer, clerk})
	pile := issuing.Pile{Issuer: issuer.Code, Type: head.LicenceType}
	return d.measure("卡纸作废 a sheet jams", func(item func(time.Duration)) error {
		return timed(item, func() error {
			jammed, err := d.bindNext(ctx, pile, head.BusinessID, who)
			if errors.Is(err, licence.ErrConflict) {
				return nil // an earlier run was ended between here and the issue
			}
			if err != nil {
				return err
			}
			if err := d.i.db.Spoil(ctx, issuer.Code, jammed, "misprint", d.app.now(), who); err != nil {
				return err
			}
			next, err := d.bindNext(ctx, pile, head.BusinessID, who)
			d.tour.Clerk.Jammed, d.tour.Clerk.Next = jammed, next
			return err
		})
	})
}

func (d *demo) bindNext(ctx context.Context, pile issuing.Pile, business string, who audit.Entry) (string, error) {
	number, err := d.i.db.NextFree(ctx, pile)
	if err != nil {
		return "", err
	}
	return number, d.i.db.Bind(ctx, pile, number, business, d.app.now(), who)
}

// withBusinessID makes another birth of a line: same content, another id, at this hospital.
func withBusinessID(line, business string, at licence.Organisation, change ...func(map[string]any)) ([]byte, error) {
	var m map[string]any
	decoder := json.NewDecoder(strings.NewReader(line))
	decoder.UseNumber()
	if err := decoder.Decode(&m); err != nil {
		return nil, err
	}
	m["businessId"] = business
	m["institution"] = at.Code
	for _, c := range change {
		c(m)
	}
	return json.Marshal(m)
}

// issueOne issues a single request as the organisation's demo people.
func (d *demo) issueOne(ctx context.Context, request []byte, issuer licence.Organisation) (issuing.Licence, error) {
	b := &batch{service: d.i.service, types: d.i.types.Type, now: d.app.now, replaced: d.i.replaced, who: d.i.who(ctx, "demo"), workers: 1,
		people: func([]byte) (licence.Organisation, string, string, error) { return issuer, "clerk-1", "seal-1", nil }}
	line, fatal := b.one(ctx, 1, request)
	if fatal != nil {
		return issuing.Licence{}, fatal
	}
	if line.Number == "" {
		return issuing.Licence{}, fmt.Errorf("refused: %s %v", line.Error, line.Findings)
	}
	return d.i.db.ByNumber(ctx, line.Number)
}

// verifyExports writes everything out and verifies each file from the folder alone, pinned, as a stranger would.
func (d *demo) verifyExports(ctx context.Context, _ []string) error {
	if err := d.i.ledger.catchUp(ctx); err != nil {
		return err
	}
	if err := d.i.publishStatus(ctx); err != nil {
		return err
	}
	out := filepath.Join(d.app.data, "export")
	var answer exported
	bar := d.app.progress(-1, "导出 exporting")
	if err := d.measure("导出 export", func(item func(time.Duration)) error {
		begun := time.Now()
		var err error
		answer, err = d.i.export(ctx, nil, out, "demonstration", func() { _ = bar.Add(1); item(time.Since(begun)); begun = time.Now() })
		return err
	}); err != nil {
		return err
	}
	_ = bar.Finish()
	pin, err := d.i.pin()
	if err != nil {
		return err
	}
	v, err := d.app.offlineVerifier(filepath.Join(out, "trust.json"), pin.String(), "", 7*24*time.Hour)
	if err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(out, "*.pdf"))
	if err != nil {
		return err
	}
	bar = d.app.progress(len(files), "核验 verifying")
	err = d.measure("离线核验 verify off line", func(item func(time.Duration)) error {
		for _, f := range files {
			if err := timed(item, func() error {
				r, err := verifyFile(ctx, v, f, "")
				if err != nil {
					return err
				}
				if !r.Good() && r.Status.State == verify.InForce {
					return fmt.Errorf("%s does not verify: %s %s", filepath.Base(f), r.Signature.Indication, r.Signature.SubIndication)
				}
				return nil
			}); err != nil {
				return err
			}
			_ = bar.Add(1)
		}
		return nil
	})
	_ = bar.Finish()
	d.tour.Licences, d.tour.Files = answer.Licences, len(files)
	return err
}

// tell prints the closing table and three commands to try next.
func (d *demo) tell() error {
	return d.app.tell(d.stages, func(w io.Writer) {
		t := tabwriter.NewWriter(w, 2, 4, 3, ' ', 0)
		fmt.Fprintln(w)
		fmt.Fprintln(t, "阶段 stage\t数量 count\tp50\tp99\t总计 total")
		for _, s := range d.stages {
			fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\n", s.Name, s.Count, short(s.P50), short(s.P99), short(s.Total))
		}
		t.Flush()
		self := "bin/elicence"
		fmt.Fprintf(w, "\n看一看 look:  %s\n\n接着试 try next:\n", filepath.Join(d.app.data, "tour", "index.html"))
		fmt.Fprintf(w, "  %s verify --trust %s --pin %s %s\n", self, filepath.Join(d.app.data, "export", "trust.json"), d.tour.Pin, d.tour.Example)
		fmt.Fprintf(w, "  %s show --data %s %s\n", self, d.app.data, d.tour.ExampleNumber)
		fmt.Fprintf(w, "  %s ledger audit --data %s\n", self, d.app.data)
	})
}

func short(d time.Duration) string {
	switch {
	case d == 0:
		return ""
	case d < time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	case d < time.Second:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}
