package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/elicence/elicence/access"
	"github.com/elicence/elicence/licence"
)

func (a *app) issueCommand() *cobra.Command {
	var births, as, approver, approverFile, report string
	var workers int
	var strict bool
	c := &cobra.Command{
		Use:   "issue --births FILE.jsonl",
		Short: "签发：每行一个出生，两联一证 · issue: one birth a line becomes one signed licence",
		Long: `Issue reads one request a line, checks each, and takes it through intent, signatures and storage.
A refused line consumes nothing and the others go on. The same file again goes on where it stopped: a
business id that was answered stays answered with the same number.

The clerk (--as) acts for the organisation; the approver is another person there and proves itself with
its own passphrase file. Without both, only a demonstration installation issues, as its demo people.`,
		Example: `  elicence issue --births births.jsonl
  elicence issue --births births.jsonl --as 12310101DEMH000016/clerk-1 --approver seal-1 \
      --approver-passphrase-file seal-1.pass --report report.jsonl`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if births == "" {
				return usage("--births FILE.jsonl is needed; - reads standard input")
			}
			in, size, err := a.openBirths(births)
			if err != nil {
				return err
			}
			defer in.Close()
			two, err := a.twoPeople(as, approver, approverFile)
			if err != nil {
				return err
			}
			out := &reportFile{path: report}
			defer out.close()
			bar := a.progress(size, "签发 issuing")
			begun := time.Now()
			var result batchResult
			started := false
			_, err = performStream(cmd.Context(), a, issuingBatch(), batchRequest{twoPeople: two, Strict: strict, Workers: workers}, in, func(item batchItem) error {
				if item.Line == nil {
					started, begun = true, time.Now()
					return out.open()
				}
				result.add(*item.Line)
				_ = bar.Add(1)
				return out.write(*item.Line)
			})
			_ = bar.Finish()
			result.Seconds = time.Since(begun).Seconds()
			if err != nil && started {
				return fmt.Errorf("after %d of the lines (%d issued): %w", result.Lines, result.Issued, err)
			}
			if err != nil {
				return err
			}
			return a.tellBatch(result, report)
		},
	}
	f := c.Flags()
	f.StringVar(&births, "births", "", "file with one request a line; - for standard input")
	f.StringVar(&as, "as", "", "ORG/PERSON who asks: the organisation's code and the clerk's id")
	f.StringVar(&approver, "approver", "", "the person of the same organisation who approves")
	f.StringVar(&approverFile, "approver-passphrase-file", "", "file with the approver's own passphrase")
	f.StringVar(&report, "report", "", "write what became of each line to this file, one JSON object a line")
	f.IntVar(&workers, "workers", 8*runtime.NumCPU(), "births in work at the same time")
	f.BoolVar(&strict, "strict", false, "refuse lines with warnings too")
	return c
}

// batchRequest asks for a batch; the births follow, one a line.
type batchRequest struct {
	twoPeople
	Strict  bool `json:"strict"`
	Workers int  `json:"workers"`
}

// batchItem is what became of one line. The first has none: it says that the batch has begun.
type batchItem struct {
	Line *batchLine `json:"line,omitempty"`
}

// mostWorkers bounds how many births of one batch are in work at the same time, whatever is asked for: each holds two
// drawn parts in memory.
const mostWorkers = 256

func issuingBatch() streaming[batchRequest, batchItem, nothing] {
	return streaming[batchRequest, batchItem, nothing]{"issue", func(ctx context.Context, i *installation, q batchRequest, births io.Reader, item func(batchItem) error) (nothing, error) {
		people, err := i.batchPeople(ctx, q.twoPeople)
		if err != nil {
			return nothing{}, err
		}
		if err := item(batchItem{}); err != nil {
			return nothing{}, err
		}
		b := i.newBatch(ctx, people, "batch")
		b.strict, b.workers = q.Strict, min(max(1, q.Workers), mostWorkers)
		b.each = func(l batchLine) error { return item(batchItem{&l}) }
		_, err = i.issueAll(ctx, b, births)
		return nothing{}, err
	}}
}

// newBatch is a batch of this installation, one worker.
func (i *installation) newBatch(ctx context.Context, people batchPeople, person string) *batch {
	return &batch{service: i.service, types: i.types.Type, people: people, replaced: i.replaced, who: i.who(ctx, person), now: i.app.now,
		workers: 1, count: i.watch.birth}
}

// openBirths opens the file and counts its lines for the progress bar; standard input has no known length.
func (a *app) openBirths(path string) (io.ReadCloser, int, error) {
	if path == "-" {
		return io.NopCloser(a.stdin), -1, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, &failure{code: exitUsage, cause: fmt.Errorf("births: %w", err)}
	}
	count, buffer := 0, make([]byte, 1<<16)
	for {
		n, err := f.Read(buffer)
		for _, b := range buffer[:n] {
			if b == '\n' {
				count++
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			f.Close()
			return nil, 0, fmt.Errorf("births: %w", err)
		}
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		f.Close()
		return nil, 0, fmt.Errorf("births: %w", err)
	}
	return f, count, nil
}

// progress writes to stderr, so that answers on stdout stay clean. Where stderr is no terminal a moving bar would only
// fill a log, so there is none.
func (a *app) progress(total int, what string) *progressbar.ProgressBar {
	out := io.Discard
	if f, ok := a.stderr.(*os.File); ok && !a.json && term.IsTerminal(int(f.Fd())) {
		out = f
	}
	return progressbar.NewOptions(total, progressbar.OptionSetWriter(out), progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("个"), progressbar.OptionUseANSICodes(true),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionSetWidth(30), progressbar.OptionOnCompletion(func() { fmt.Fprintln(out) }))
}

// twoPeople are who asks and who approves. The approver proves itself with a passphrase, which travels in a request to the
// service and is kept nowhere.
type twoPeople struct {
	As       string `json:"as"`
	Approver string `json:"approver"`
	Secret   []byte `json:"secret"`
}

// parse takes the two names apart; both empty is left to who opens the installation.
func (p twoPeople) parse() (organisation, clerk string, err error) {
	if p.As == "" && p.Approver == "" {
		return "", "", nil
	}
	if p.As == "" || p.Approver == "" {
		return "", "", usage("--as and --approver belong together: two people issue a licence")
	}
	organisation, clerk, err = access.ParseName(p.As)
	if err != nil {
		return "", "", usage("%w", err)
	}
	if clerk == p.Approver {
		return "", "", fmt.Errorf("%w: %s", licence.ErrSamePerson, clerk)
	}
	return organisation, clerk, nil
}

// twoPeople reads the approver's passphrase where the person is: in this process.
func (a *app) twoPeople(as, approver, approverFile string) (twoPeople, error) {
	p := twoPeople{As: as, Approver: approver}
	organisation, _, err := p.parse()
	if err != nil || organisation == "" {
		return p, err
	}
	c, err := a.readConfig()
	if err != nil {
		return p, err
	}
	i := &installation{app: a, dir: a.data, config: c}
	p.Secret, err = i.personPassphrase(organisation, approver, approverFile)
	if errors.Is(err, os.ErrNotExist) && approverFile == "" {
		// A demonstration has no passphrase of somebody who is not there: that they are not is what will be said.
		return p, nil
	}
	return p, err
}

// batchPeople decides who asks and who approves. With --as and --approver both prove themselves once, here. Without
// both, a demonstration installation uses its demo people; any other refuses.
func (i *installation) batchPeople(ctx context.Context, two twoPeople) (batchPeople, error) {
	organisation, clerk, err := two.parse()
	if err != nil {
		return nil, err
	}
	if organisation == "" {
		if !i.config.Demonstration {
			return nil, usage("--as ORG/PERSON and --approver PERSON are needed: two people issue a licence")
		}
		return i.demoBatchPeople(ctx)
	}
	approver := two.Approver
	issuer, err := i.db.Organisation(ctx, organisation)
	if err != nil {
		return nil, fmt.Errorf("organisation %s: %w", organisation, err)
	}
	if _, err := i.personWith(ctx, organisation, clerk, access.Clerk); err != nil {
		return nil, err
	}
	second, err := i.personWith(ctx, organisation, approver, access.SealKeeper)
	if err != nil {
		return nil, err
	}
	if err := second.Prove(two.Secret); err != nil {
		return nil, err
	}
	return func([]byte) (licence.Organisation, string, string, error) { return issuer, clerk, approver, nil }, nil
}

// demoBatchPeople: the issuer is the one that the line names, else a demonstration hospital of the birth's region;
// births at home or on the way go to the region's county agency.
func (i *installation) demoBatchPeople(ctx context.Context) (batchPeople, error) {
	all, err := i.db.Organisations(ctx)
	if err != nil {
		return nil, err
	}
	byCode := map[string]licence.Organisation{}
	byPlace := map[string]licence.Organisation{}
	for _, o := range all {
		byCode[o.Code] = o
		if o.Kind == licence.Hospital || o.Kind == licence.Agency {
			byPlace[o.Kind+o.Region] = o
		}
	}
	return func(raw []byte) (licence.Organisation, string, string, error) {
		var head struct {
			Institution json.RawMessage `json:"institution"`
			Child       struct {
				PlaceType  string `json:"placeType"`
				BirthPlace struct {
					RegionCode string `json:"regionCode"`
				} `json:"birthPlace"`
			} `json:"child"`
		}
		// A line that does not fit this shape is refused by the checks with all its faults; here it only needs an
		// issuer to be checked for.
		_ = json.Unmarshal(raw, &head)
		var code string
		if json.Unmarshal(head.Institution, &code) == nil && code != "" {
			o, ok := byCode[code]
			if !ok {
				return o, "", "", fmt.Errorf("%w: /institution: 本系统没有这个机构 / no such organisation here", licence.ErrRefused)
			}
			return o, "clerk-1", "seal-1", nil
		}
		kind := licence.Hospital
		if p := head.Child.PlaceType; p == "home" || p == "other" {
			kind = licence.Agency
		}
		o, ok := byPlace[kind+head.Child.BirthPlace.RegionCode]
		if !ok {
			return o, "", "", fmt.Errorf("%w: /child/birthPlace/regionCode: 本系统没有该地区的签发机构 / no issuer of this region here", licence.ErrRefused)
		}
		return o, "clerk-1", "seal-1", nil
	}, nil
}

// tellBatch prints the sums and every refused line with all its reasons.
func (a *app) tellBatch(r batchResult, report string) error {
	err := a.tell(struct {
		batchResult
		Problems []batchLine `json:"problems,omitempty"`
	}{r, r.problems}, func(w io.Writer) {
		fmt.Fprintf(w, "签发 issued %d，已有 standing %d，拒绝 refused %d，失败 failed %d；有提示 with warnings %d；%.1f s\n",
			r.Issued, r.Standing, r.Refused, r.Failed, r.Warnings, r.Seconds)
		for _, p := range r.problems {
			fmt.Fprintf(a.stderr, "第 %d 行 line %d: %s %s\n", p.Line, p.Line, p.Outcome, p.Error)
			for _, f := range p.Findings {
				if !f.Warning {
					fmt.Fprintf(a.stderr, "  %s\n", f)
				}
			}
			if p.Advice != "" {
				fmt.Fprintf(a.stderr, "  → %s\n", p.Advice)
			}
		}
		if report != "" {
			fmt.Fprintf(w, "每行结果 each line: %s\n", report)
		}
	})
	if err != nil {
		return err
	}
	if r.Refused+r.Failed > 0 {
		return answer(exitBatch)
	}
	return nil
}
