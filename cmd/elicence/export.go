package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/spf13/cobra"

	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/storage/records"
)

// exported is what export answers.
type exported struct {
	Dir      string   `json:"dir"`
	Licences int      `json:"licences"`
	Files    int      `json:"files"`
	Lagging  []string `json:"withoutReceipt,omitempty"` // numbers whose event the ledger has not sequenced yet
	Erased   []string `json:"erased,omitempty"`         // numbers whose parts nobody can read any more
}

func (a *app) exportCommand() *cobra.Command {
	var all bool
	var out, why string
	c := &cobra.Command{
		Use:   "export [--all | NUMBER…] --out DIR",
		Short: "导出 · the parts, their receipt, trust.json and status.json, for anybody to verify without us",
		Example: `  elicence export --all --out export
  elicence export X000000001 --out /media/usb`,
		RunE: func(cmd *cobra.Command, numbers []string) error {
			if all == (len(numbers) > 0) {
				return usage("give either --all or numbers")
			}
			if out == "" {
				return usage("--out DIR is needed")
			}
			i, err := a.openForReading(cmd.Context())
			if err != nil {
				return err
			}
			defer i.close()
			bar := a.progress(len(numbers), "导出 exporting")
			answer, err := i.export(cmd.Context(), numbers, out, why, func() { _ = bar.Add(1) })
			_ = bar.Finish()
			if err != nil {
				return err
			}
			return a.tell(answer, func(w io.Writer) {
				fmt.Fprintf(w, "%s: %d 份证照、%d 个文件 / %d licences, %d files, trust.json, status.json\n", out, answer.Licences, answer.Files, answer.Licences, answer.Files)
				for _, n := range answer.Lagging {
					fmt.Fprintf(w, "! %s: 尚无回执 / no receipt yet, the ledger has not sequenced it\n", n)
				}
				for _, n := range answer.Erased {
					fmt.Fprintf(w, "! %s: 个人数据已销毁，没有文件 / erased, there is nothing to export\n", n)
				}
			})
		},
	}
	c.Flags().BoolVar(&all, "all", false, "every issued licence")
	c.Flags().StringVar(&why, "why", "export to a folder", "why, for the audit trail")
	c.Flags().StringVar(&out, "out", "", "folder to write to; made if it is not there")
	return c
}

// export writes the named licences, all when none is named. Exporting reads personal data, so each licence is audited
// before its files are written.
func (i *installation) export(ctx context.Context, numbers []string, out, why string, done func()) (exported, error) {
	answer := exported{Dir: out}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return answer, fmt.Errorf("export: %w", err)
	}
	for _, name := range []string{"trust.json", "status.json"} {
		b, err := os.ReadFile(filepath.Join(i.dir, "publish", name))
		if err == nil {
			err = writeFile(filepath.Join(out, name), b, 0o644)
		}
		if err != nil {
			return answer, fmt.Errorf("export %s: %w", name, err)
		}
	}
	jobs := make(chan issuing.Licence)
	var mu sync.Mutex
	var first error
	var workers sync.WaitGroup
	for range runtime.NumCPU() {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for l := range jobs {
				files, lagging, err := i.exportOne(ctx, l, out, why)
				mu.Lock()
				answer.Files += files
				if err != nil && first == nil {
					first = err
				}
				if err == nil {
					answer.Licences++
				}
				if lagging {
					answer.Lagging = append(answer.Lagging, l.Number)
				}
				if done != nil {
					done()
				}
				mu.Unlock()
			}
		}()
	}
	var gone []string // of all; one that was asked for by name is refused
	err := i.each(ctx, numbers, func(l issuing.Licence) {
		if erased(l) && len(numbers) == 0 {
			gone = append(gone, l.Number)
			return
		}
		jobs <- l
	})
	close(jobs)
	workers.Wait()
	answer.Erased = gone
	return answer, errors.Join(err, first)
}

// each walks the named licences, or all issued ones when none is named.
func (i *installation) each(ctx context.Context, numbers []string, visit func(issuing.Licence)) error {
	if len(numbers) > 0 {
		for _, n := range numbers {
			l, err := i.db.ByNumber(ctx, n)
			if err != nil {
				return fmt.Errorf("%s: %w", n, err)
			}
			if l.Stage != issuing.StageIssued {
				return fmt.Errorf("%s: %w: it is not issued yet", n, licence.ErrState)
			}
			visit(l)
		}
		return nil
	}
	after := ""
	for {
		page, err := i.db.List(ctx, issuing.Filter{Stage: issuing.StageIssued}, after, 256)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, l := range page {
			visit(l)
		}
		after = page[len(page)-1].ID
	}
}

func (i *installation) exportOne(ctx context.Context, l issuing.Licence, out, why string) (files int, lagging bool, err error) {
	if erased(l) {
		return 0, false, fmt.Errorf("%s: %w", l.Number, records.ErrErased)
	}
	if err := i.db.Record(ctx, i.reading(ctx, actor{}, "export", l.ID, why)); err != nil {
		return 0, false, fmt.Errorf("the read could not be recorded, so nothing is exported: %w", err)
	}
	for _, p := range l.Signatures.Parts {
		b, err := i.service.Part(ctx, l, p.Part)
		if err != nil {
			return files, false, err
		}
		if err := placeFile(filepath.Join(out, l.Number+"-"+p.Part+".pdf"), b); err != nil {
			return files, false, fmt.Errorf("export: %w", err)
		}
		files++
	}
	receipt, err := i.receiptOf(ctx, l)
	if errors.Is(err, errNotSequenced) {
		return files, true, nil
	}
	if err != nil {
		return files, false, err
	}
	if err := placeFile(filepath.Join(out, l.Number+".receipt"), receipt); err != nil {
		return files, false, fmt.Errorf("export: %w", err)
	}
	return files + 1, false, nil
}

// placeFile puts a file in place whole, so that a killed export leaves nothing that looks like a forgery. Unlike writeFile
// it does not wait for the disk: an export can be made again.
func placeFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err = f.Write(b); err == nil {
		err = f.Chmod(0o644)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// errNotSequenced says that the ledger has not seen the licence's event yet; it will.
var errNotSequenced = errors.New("the ledger has not sequenced it yet")

// receiptOf makes the receipt of the licence's issue event from the newest checkpoint with enough cosignatures.
func (i *installation) receiptOf(ctx context.Context, l issuing.Licence) ([]byte, error) {
	events, err := i.db.EventsOf(ctx, l.ID)
	if err != nil {
		return nil, err
	}
	if len(events) == 0 || events[0].Index == nil {
		return nil, fmt.Errorf("%s: %w", l.Number, errNotSequenced)
	}
	return i.ledger.receipt(ctx, *events[0].Index)
}
