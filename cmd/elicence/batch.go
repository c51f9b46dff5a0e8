package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/elicence/elicence/audit"
	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/templates"
)

// maxLine bounds one request; licence.Check has its own, smaller bound and says so kindly.
const maxLine = 1 << 20

// batchLine is one line of the report: what became of one line of the births file.
type batchLine struct {
	Line       int               `json:"line"`
	BusinessID string            `json:"businessId,omitempty"`
	Outcome    string            `json:"outcome"` // issued, stands (answered before), refused, failed
	Number     string            `json:"number,omitempty"`
	Identifier string            `json:"identifier,omitempty"`
	Findings   []licence.Finding `json:"findings,omitempty"`
	Error      string            `json:"error,omitempty"`
	Advice     string            `json:"advice,omitempty"`
	took       time.Duration
	code       string // of Error, or of the first finding
}

// batchResult is the sum over all lines.
type batchResult struct {
	Lines    int             `json:"lines"`
	Issued   int             `json:"issued"`
	Standing int             `json:"standing"`
	Refused  int             `json:"refused"`
	Failed   int             `json:"failed"`
	Warnings int             `json:"linesWithWarnings"`
	Seconds  float64         `json:"seconds"`
	took     []time.Duration // of issued ones
	problems []batchLine     // refused and failed, in the order of lines
}

// batchPeople says who asks and who approves each line.
type batchPeople func(raw []byte) (issuer licence.Organisation, clerk, approver string, err error)

// batch issues every line of births with several workers, goes on past refused lines, and stops only when the world is
// broken: store, device or database. Such a stop loses nothing; the same file again goes on.
type batch struct {
	service *issuing.Service
	// replaced finds the licence that the request with this business id replaces and whether its matter is registered.
	replaced func(ctx context.Context, number, businessID string) (*licence.Replaced, bool, error)
	types    func(name string) (*licence.Type, error)
	people   batchPeople
	who      audit.Entry
	now      func() time.Time
	strict   bool
	workers  int
	each     func(batchLine) error // called for every line, from one goroutine at a time; an error ends the batch; nil for none
	done     func(batchLine)       // the same, for who cannot fail
	count    func(batchLine)       // the same, for who measures
}

func (b *batch) run(ctx context.Context, births io.Reader) (batchResult, error) {
	begun := time.Now()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	type job struct {
		line int
		raw  []byte
	}
	jobs := make(chan job, b.workers)
	answers := make(chan batchLine, b.workers)
	var workers sync.WaitGroup
	for range b.workers {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for j := range jobs {
				line, fatal := b.one(ctx, j.line, j.raw)
				answers <- line
				if fatal != nil {
					cancel(fatal)
				}
			}
		}()
	}
	var readErr error
	go func() {
		defer func() { close(jobs); workers.Wait(); close(answers) }()
		lines := bufio.NewScanner(births)
		lines.Buffer(make([]byte, 64<<10), maxLine)
		for n := 1; lines.Scan(); n++ {
			raw := append([]byte(nil), lines.Bytes()...)
			if len(raw) == 0 {
				continue
			}
			select {
			case jobs <- job{n, raw}:
			case <-ctx.Done():
				return
			}
		}
		readErr = lines.Err()
	}()
	var result batchResult
	var reportErr error
	for line := range answers {
		result.add(line)
		if b.each != nil && reportErr == nil {
			if reportErr = b.each(line); reportErr != nil {
				cancel(reportErr)
			}
		}
		if b.done != nil {
			b.done(line)
		}
		if b.count != nil {
			b.count(line)
		}
	}
	result.Seconds = time.Since(begun).Seconds()
	if cause := context.Cause(ctx); cause != nil {
		return result, cause
	}
	if errors.Is(readErr, bufio.ErrTooLong) {
		return result, usage("line %d is longer than %d bytes: is this a file of one JSON object a line?", result.Lines+1, maxLine)
	}
	return result, readErr
}

func (r *batchResult) add(l batchLine) {
	r.Lines++
	switch l.Outcome {
	case "issued":
		r.Issued++
		r.took = append(r.took, l.took)
	case "stands":
		r.Standing++
	case "refused":
		r.Refused++
		r.problems = append(r.problems, l)
	default:
		r.Failed++
		r.problems = append(r.problems, l)
	}
	for _, f := range l.Findings {
		if f.Warning {
			r.Warnings++
			break
		}
	}
}

// one issues one line. A fatal error stops the batch: going on would only fail again.
func (b *batch) one(ctx context.Context, n int, raw []byte) (line batchLine, fatal error) {
	begun := time.Now()
	line = batchLine{Line: n, Outcome: "failed"}
	defer func() { line.took = time.Since(begun) }()
	fail := func(err error) {
		p := travelling(err)
		line.Advice, line.Error, line.code = p.Do, p.Detail, p.Code
	}
	if ctx.Err() != nil {
		fail(context.Cause(ctx))
		return line, nil
	}
	typ, head, err := b.headOf(raw)
	if err != nil {
		line.Outcome = "refused"
		fail(err)
		return line, nil
	}
	issuer, clerk, approver, err := b.people(raw)
	if err != nil {
		line.Outcome = "refused"
		fail(err)
		return line, nil
	}
	in := licence.Input{Raw: raw, Issuer: issuer, Now: b.now(), Strict: b.strict, Clerk: clerk}
	if head.Replaces != "" {
		if in.Replaced, in.Registered, err = b.replaced(ctx, head.Replaces, head.BusinessID); err != nil {
			fail(err)
			if classify(err).code == exitNo {
				line.Outcome = "refused"
				return line, nil
			}
			return line, err
		}
	}
	draft, findings, err := licence.Check(typ, in)
	line.Findings = findings
	if err != nil {
		line.Outcome = "refused"
		for _, f := range findings {
			if !f.Warning && line.code == "" {
				line.code = f.Code
			}
		}
		if !errors.Is(err, licence.ErrRefused) {
			fail(err)
		}
		return line, nil
	}
	line.BusinessID = draft.BusinessID()
	approved, err := draft.Approve(approver, draft.Digest())
	if err != nil {
		line.Outcome = "refused"
		fail(err)
		return line, nil
	}
	who := b.who
	who.Organisation, who.Person = issuer.Code, clerk
	issued, err := b.service.Issue(ctx, approved, who)
	if err != nil {
		fail(err)
		if classify(err).code == exitNo {
			line.Outcome = "refused"
			return line, nil
		}
		return line, err
	}
	line.Outcome, line.Number, line.Identifier = "issued", issued.Licence.Number, issued.Licence.Identifier
	if !issued.Fresh {
		line.Outcome = "stands"
	}
	return line, nil
}

// head is what decides how the rest of a request is read: the type, and what it replaces.
type head struct {
	LicenceType string `json:"licenceType"`
	Replaces    string `json:"replaces"`
	BusinessID  string `json:"businessId"`
}

func (b *batch) headOf(raw []byte) (*licence.Type, head, error) {
	var h head
	if err := json.Unmarshal(raw, &h); err != nil {
		return nil, h, fmt.Errorf("%w: 不是一个 JSON 对象 / the line is not one JSON object", licence.ErrRefused)
	}
	typ, err := b.types(h.LicenceType)
	if errors.Is(err, templates.ErrPart) {
		// The word is the request's and may be anything, so it is not repeated.
		err = fmt.Errorf("%w: /licenceType: 本系统没有这种证照 / no such licence type here", licence.ErrRefused)
	}
	return typ, h, err
}

// reportFile is what became of each line, as JSON lines. An earlier report is overwritten only when the batch begins.
type reportFile struct {
	path string // "" for none
	file *os.File
}

func (r *reportFile) open() error {
	if r.path == "" || r.file != nil {
		return nil
	}
	f, err := os.OpenFile(r.path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	r.file = f
	return nil
}

func (r *reportFile) write(line batchLine) error {
	if r.file == nil {
		return nil
	}
	e := json.NewEncoder(r.file)
	e.SetEscapeHTML(false)
	if err := e.Encode(line); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

func (r *reportFile) close() {
	if r.file != nil {
		r.file.Close()
	}
}
