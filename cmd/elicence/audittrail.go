package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/elicence/elicence/access"
	"github.com/elicence/elicence/audit"
	"github.com/elicence/elicence/storage/records"
)

func (a *app) auditCommand() *cobra.Command {
	c := &cobra.Command{Use: "audit", Short: "审计记录 · who read and wrote what, when, why and from where: verify, list, export", Example: "  elicence audit verify"}
	c.AddCommand(a.auditVerify(), a.auditList(), a.auditExport())
	return c
}

// trailFault is the first thing about the audit trail that does not fit.
type trailFault struct {
	Sequence uint64  `json:"sequence,omitempty"` // of the row; 0 where the log itself does not fit
	What     string  `json:"what"`               // missing, changed, cut, head, anchor or log
	Entry    *uint64 `json:"entry,omitempty"`    // of the log
	ZH       string  `json:"zh"`
	EN       string  `json:"en"`
}

// trailReport is what audit verify answers.
type trailReport struct {
	Clean    bool        `json:"clean"`
	Rows     uint64      `json:"rows"`     // sealed, that fit
	Head     string      `json:"head"`     // hash of the last of them
	Unsealed int         `json:"unsealed"` // rows that the next sealing will chain, and those of readers that wait to be taken in
	Anchors  int         `json:"anchors"`  // heads that stand on the log
	Anchored uint64      `json:"anchored"` // sequence of the newest row that the log vouches for
	Cosigned uint64      `json:"cosigned"` // the same, of what enough trusted parties have cosigned
	Fault    *trailFault `json:"fault,omitempty"`
}

func (a *app) auditVerify() *cobra.Command {
	return &cobra.Command{
		Use: "verify", Short: "核对 · recompute the chain of the audit trail and hold it against the heads on the log", Args: cobra.NoArgs,
		Long: `Verify recomputes the hash of every row from the one before it, then looks for every head of the chain that
was anchored on the log, which it replays and holds against the cosigned checkpoints. It names the first row
that does not fit, and how. What was written since the last anchor is chained, but nobody else vouches for it.

Exit codes: 0 everything fits, 1 it does not.`,
		Example: "  elicence audit verify --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			i, err := a.openForReading(cmd.Context())
			if err != nil {
				return err
			}
			defer i.close()
			r, err := i.verifyTrail(cmd.Context())
			if err != nil {
				return err
			}
			err = a.tell(r, func(w io.Writer) {
				if r.Fault != nil {
					fmt.Fprintf(w, "✗ %s / %s\n", r.Fault.ZH, r.Fault.EN)
					return
				}
				fmt.Fprintf(w, "✓ %d 行全部相符，其中 %d 行已由账本锚定，%d 行经共签；%d 行尚未入链 / %d rows, all fit; the log vouches for %d of them, its cosigners for %d; %d not chained yet\n",
					r.Rows, r.Anchored, r.Cosigned, r.Unsealed, r.Rows, r.Anchored, r.Cosigned, r.Unsealed)
			})
			if err == nil && !r.Clean {
				return answer(exitNo)
			}
			return err
		},
	}
}

// verifyTrail reads everything once: the log first, whose word the trail is then held to.
func (i *installation) verifyTrail(ctx context.Context) (trailReport, error) {
	var r trailReport
	report, err := i.auditLog(ctx)
	if err != nil {
		return r, err
	}
	if m := report.Misfit; m != nil {
		r.Fault = &trailFault{What: "log", Entry: &m.Index, ZH: fmt.Sprintf("账本第 %d 条不符（%s），无从核对审计记录", m.Index, m.ZH),
			EN: fmt.Sprintf("entry %d of the log does not fit (%s), so that the trail has nothing to be held to", m.Index, m.EN)}
		return r, nil
	}
	anchors, err := i.anchorsOnLog(ctx, report.Entries)
	if err != nil {
		return r, err
	}
	r.Anchors = len(anchors.heads)
	end, want, unsealed, err := i.db.TrailHead(ctx)
	if err != nil {
		return r, err
	}
	spooled, err := i.db.Spooled()
	if err != nil {
		return r, err
	}
	r.Unsealed = unsealed + len(spooled)
	var hash [32]byte
	held := 0
	broken := errors.New("does not fit")
	err = i.db.Sealed(ctx, 0, func(l audit.Link) error {
		if r.Fault = misfitOf(r.Rows, hash, l, end); r.Fault != nil {
			return broken
		}
		r.Rows, hash = l.Sequence, l.Hash
		for held < len(anchors.heads) && anchors.heads[held] == hash {
			r.Anchored = r.Rows
			if anchors.entries[held] < report.Cosigned {
				r.Cosigned = r.Rows
			}
			held++
		}
		return nil
	})
	if err != nil && !errors.Is(err, broken) {
		return r, err
	}
	r.Head = fmt.Sprintf("%x", hash)
	switch {
	case r.Fault != nil:
	case r.Rows < end:
		r.Fault = &trailFault{Sequence: r.Rows + 1, What: "cut", ZH: fmt.Sprintf("第 %d 行起至第 %d 行被删", r.Rows+1, end),
			EN: fmt.Sprintf("the rows from %d to %d were cut off", r.Rows+1, end)}
	case hash != want:
		r.Fault = &trailFault{Sequence: r.Rows, What: "head", ZH: "链尾与记录的链头不符", EN: "the last row's hash is not the recorded head"}
	case held < len(anchors.heads):
		at := anchors.entries[held]
		r.Fault = &trailFault{Sequence: r.Anchored + 1, What: "anchor", Entry: &at,
			ZH: fmt.Sprintf("第 %d 行起被改写：账本第 %d 条锚定的链头不在链中", r.Anchored+1, at),
			EN: fmt.Sprintf("from row %d on the trail was written anew: the head that entry %d of the log anchored is not in the chain", r.Anchored+1, at)}
	}
	r.Clean = r.Fault == nil
	return r, nil
}

// misfitOf holds one row to following the last; nil if it does.
func misfitOf(last uint64, hash [32]byte, l audit.Link, end uint64) *trailFault {
	switch {
	case l.Sequence > end:
		return &trailFault{Sequence: l.Sequence, What: "head", ZH: fmt.Sprintf("第 %d 行在链头之外", l.Sequence),
			EN: fmt.Sprintf("row %d lies beyond the recorded head, which is row %d", l.Sequence, end)}
	case l.Sequence != last+1:
		return &trailFault{Sequence: last + 1, What: "missing", ZH: fmt.Sprintf("第 %d 行至第 %d 行缺失", last+1, l.Sequence-1),
			EN: fmt.Sprintf("the rows from %d to %d are missing", last+1, l.Sequence-1)}
	case records.Chained(hash, l.Entry) != l.Hash:
		return &trailFault{Sequence: l.Sequence, What: "changed", ZH: fmt.Sprintf("第 %d 行被改动，或不接前一行", l.Sequence),
			EN: fmt.Sprintf("row %d was changed, or does not follow the row before it", l.Sequence)}
	}
	return nil
}

// trailRow is one row as audit list and audit export write it.
type trailRow struct {
	Sequence     uint64    `json:"sequence,omitempty"` // 0: not chained yet
	At           time.Time `json:"at"`
	Organisation string    `json:"organisation,omitempty"`
	Person       string    `json:"person,omitempty"`
	What         string    `json:"what"`
	Why          string    `json:"why,omitempty"`
	From         string    `json:"from"`
	Licence      string    `json:"licence,omitempty"`
	Number       string    `json:"number,omitempty"`
	Fields       []string  `json:"fields,omitempty"`
	Hash         string    `json:"hash,omitempty"`
}

func rowOfTrail(l audit.Link, number string) trailRow {
	e := l.Entry
	r := trailRow{Sequence: l.Sequence, At: e.At, Organisation: e.Organisation, Person: e.Person, What: e.What, Why: e.Why, From: e.From,
		Licence: e.Licence, Number: number, Fields: e.Fields}
	if l.Sequence != 0 {
		r.Hash = fmt.Sprintf("%x", l.Hash)
	}
	return r
}

func (a *app) auditList() *cobra.Command {
	var number, person, what, since, until, why string
	var limit int
	c := &cobra.Command{
		Use: "list", Short: "列出 · rows of one licence, of one person, or of a time; the newest of them", Args: cobra.NoArgs,
		Long: `List shows who did or read what. No row holds a personal value: a read names the fields that were read.
Looking into the trail is recorded in it, too.`,
		Example: "  elicence audit list --licence X000000001\n  elicence audit list --person 12310101DEMH000016/clerk-1 --since 2026-11-01 --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			i, err := a.openForReading(cmd.Context())
			if err != nil {
				return err
			}
			defer i.close()
			f := records.TrailFilter{What: what, Limit: limit}
			if f.Since, err = i.parseDay(since); err != nil {
				return err
			}
			if f.Until, err = i.parseDay(until); err != nil {
				return err
			}
			if person != "" {
				if f.Organisation, f.Person, err = access.ParseName(person); err != nil {
					return usage("%w", err)
				}
			}
			rows, err := i.listTrail(cmd.Context(), number, f, why)
			if err != nil {
				return err
			}
			return a.tell(rows, func(w io.Writer) {
				t := tabwriter.NewWriter(w, 2, 4, 2, ' ', 0)
				fmt.Fprintln(t, "行 row\t时间 at\t何人 who\t何事 what\t编号 number\t缘由 why\t来处 from\t字段 fields")
				for _, r := range rows {
					who := r.Person
					if r.Organisation != "" {
						who = r.Organisation + "/" + r.Person
					}
					fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%d\n", r.Sequence, r.At.In(i.zone).Format("2006-01-02 15:04:05"), who, r.What, r.Number,
						r.Why, r.From, len(r.Fields))
				}
				t.Flush()
			})
		},
	}
	f := c.Flags()
	f.StringVar(&number, "licence", "", "number of a licence")
	f.StringVar(&person, "person", "", "ORG/PERSON")
	f.StringVar(&what, "what", "", "one verb, e.g. show")
	f.StringVar(&since, "since", "", "a day (2026-11-01) or a time (2026-11-01T08:00:00+08:00)")
	f.StringVar(&until, "until", "", "before this day or time")
	f.StringVar(&why, "why", "", "why you look, for the audit trail")
	f.IntVar(&limit, "limit", 200, "at most this many, the newest")
	return c
}

// listTrail records the look first. Rows that readers have spooled since the last writer are among the answer.
func (i *installation) listTrail(ctx context.Context, number string, f records.TrailFilter, why string) ([]trailRow, error) {
	if number != "" {
		l, err := i.db.ByNumber(ctx, number)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", number, err)
		}
		f.Licence = l.ID
	}
	spooled, err := i.db.Spooled()
	if err != nil {
		return nil, err
	}
	if err := i.db.Record(ctx, i.reading(ctx, actor{}, "audit-list", f.Licence, why)); err != nil {
		return nil, fmt.Errorf("the look could not be recorded, so nothing is shown: %w", err)
	}
	found, err := i.db.Trail(ctx, f)
	if err != nil {
		return nil, err
	}
	rows := []trailRow{}
	for _, r := range found {
		rows = append(rows, rowOfTrail(r.Link, r.Number))
	}
	for _, e := range spooled {
		if f.Licence != "" && e.Licence != f.Licence || f.Person != "" && (e.Person != f.Person || e.Organisation != f.Organisation) ||
			f.What != "" && e.What != f.What || !f.Since.IsZero() && e.At.Before(f.Since) || !f.Until.IsZero() && !e.At.Before(f.Until) {
			continue
		}
		row := rowOfTrail(audit.Link{Entry: e}, number)
		if e.Licence != "" && number == "" {
			if l, err := i.db.ByID(ctx, e.Licence); err == nil {
				row.Number = l.Number
			}
		}
		rows = append(rows, row)
	}
	return rows[max(0, len(rows)-f.Limit):], nil
}

// parseDay reads a local day or a time; "" is the zero time.
func (i *installation) parseDay(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if t, err := time.ParseInLocation("2006-01-02", s, i.zone); err == nil {
		return t, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, usage("a time is a day such as 2026-11-01, or 2026-11-01T08:00:00+08:00")
	}
	return t, nil
}

func (a *app) auditExport() *cobra.Command {
	var out, why string
	var from uint64
	c := &cobra.Command{
		Use: "export --out FILE", Short: "导出 · the chain as JSON lines, for an auditor to recompute elsewhere", Args: cobra.NoArgs,
		Long: `Export writes every sealed row, one JSON object a line, in the order of the chain. Each hash is the SM3 of the
hash before it (32 zero bytes before the first) and of the row's fields; docs/operations.md has the recipe. The heads that
were anchored stand in the log as events of the kind audit-anchored.`,
		Example: "  elicence audit export --out trail.jsonl --why 'yearly audit'\n  elicence audit export --from 10001 --out -",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if out == "" {
				return usage("--out FILE is needed; - is standard output")
			}
			i, err := a.openForReading(cmd.Context())
			if err != nil {
				return err
			}
			defer i.close()
			if err := i.db.Record(cmd.Context(), i.reading(cmd.Context(), actor{}, "audit-export", "", why)); err != nil {
				return fmt.Errorf("the look could not be recorded, so nothing is exported: %w", err)
			}
			if out == "-" {
				_, err := i.exportTrail(cmd.Context(), from, a.stdout)
				return err
			}
			f, err := os.CreateTemp(parentOf(out), ".new-*")
			if err != nil {
				return fmt.Errorf("export: %w", err)
			}
			defer os.Remove(f.Name())
			count, err := i.exportTrail(cmd.Context(), from, f)
			if err == nil {
				err = f.Sync()
			}
			if err = errors.Join(err, f.Close()); err == nil {
				err = os.Rename(f.Name(), out)
			}
			if err != nil {
				return fmt.Errorf("export: %w", err)
			}
			return a.tell(map[string]any{"file": out, "rows": count}, func(w io.Writer) {
				fmt.Fprintf(w, "%s: %d 行 rows\n", out, count)
			})
		},
	}
	c.Flags().StringVar(&out, "out", "", "file to write; - for standard output")
	c.Flags().StringVar(&why, "why", "", "why, for the audit trail")
	c.Flags().Uint64Var(&from, "from", 1, "sequence of the first row")
	return c
}

func (i *installation) exportTrail(ctx context.Context, from uint64, out io.Writer) (count int, err error) {
	w := bufio.NewWriter(out)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	err = i.db.Sealed(ctx, from, func(l audit.Link) error {
		count++
		return e.Encode(rowOfTrail(l, ""))
	})
	return count, errors.Join(err, w.Flush())
}
