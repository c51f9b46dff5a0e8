package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/elicence/elicence/access"
	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/licence"
)

func (a *app) numberCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "number",
		Short:   "证件编号与空白证件 · sheets and numbers: allot, bind, spoil, reconcile",
		Example: "  elicence number reconcile --year 2026",
	}
	c.AddCommand(a.numberAllot(), a.numberBind(), a.numberSpoil(), a.numberReconcile())
	return c
}

func (a *app) numberAllot() *cobra.Command {
	var as, to, from, typ string
	var count int
	c := &cobra.Command{
		Use:   "allot --to ORG --from NUMBER --count N [--type TYPE]",
		Short: "调拨 · draw numbers of one licence type into an issuer's stock",
		Long: `Allot gives an issuer numbers for licences of one type, birth certificates unless --type says otherwise.
A sheet belongs to its type for good; a number stands once, whatever its type.`,
		Example: "  elicence number allot --as 12310000DEMC00001M/supervisor-1 --to 12310101DEMH000016 --from X000900001 --count 500",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if to == "" || from == "" || count < 1 {
				return usage("--to ORG, --from NUMBER and --count N are needed")
			}
			if _, err := perform(cmd.Context(), a, allotting(), stockStep{As: as, To: to, Type: typ, Number: from, Count: count}); err != nil {
				return err
			}
			return a.tell(map[string]any{"to": to, "type": typ, "from": from, "count": count}, func(w io.Writer) {
				fmt.Fprintf(w, "%s: %d 个编号自 %s 起 / %d numbers from %s\n", to, count, from, count, from)
			})
		},
	}
	c.Flags().StringVar(&as, "as", "", "ORG/PERSON of the health commission")
	c.Flags().StringVar(&to, "to", "", "code of the issuer that receives them")
	c.Flags().StringVar(&from, "from", "", "the first number")
	c.Flags().IntVar(&count, "count", 0, "how many")
	typeFlag(c, &typ)
	return c
}

func (a *app) numberBind() *cobra.Command {
	var as, business, typ string
	c := &cobra.Command{
		Use:   "bind NUMBER --business ID [--type TYPE]",
		Short: "绑定纸张 · bind a scanned sheet to a draft (paper mode)",
		Long: `Bind gives one numbered sheet to the birth with this business id. Values are printed on it; if the
print is bad, spoil it and bind the next one. When it is good and sealed, issue uses the bound number.
A sheet that is not one of the type is refused: the wrong paper was scanned.`,
		Example: "  elicence number bind --as 12310101DEMH000016/clerk-1 --business D1-000001 X000000001",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if business == "" {
				return usage("--business ID is needed: the hospital's own id of the birth")
			}
			if _, err := perform(cmd.Context(), a, binding(), stockStep{As: as, Type: typ, Number: args[0], Business: business}); err != nil {
				return err
			}
			return a.tell(map[string]any{"number": args[0], "businessId": business}, func(w io.Writer) {
				fmt.Fprintf(w, "%s ← %s\n", args[0], business)
			})
		},
	}
	c.Flags().StringVar(&as, "as", "", "ORG/PERSON who binds")
	c.Flags().StringVar(&business, "business", "", "business id of the birth")
	typeFlag(c, &typ)
	return c
}

func (a *app) numberSpoil() *cobra.Command {
	var as, reason string
	c := &cobra.Command{
		Use:     "spoil NUMBER --reason misprint|lost|damaged|other",
		Short:   "作废 · end a sheet that never became a certificate; its number is never used again",
		Example: "  elicence number spoil --as 12310101DEMH000016/stock-1 --reason misprint X000000001",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			words, err := licence.SpoilReason(reason)
			if err != nil {
				return usage("%w", err)
			}
			if _, err := perform(cmd.Context(), a, spoiling(), stockStep{As: as, Number: args[0], Reason: reason}); err != nil {
				return err
			}
			return a.tell(map[string]any{"number": args[0], "reason": reason}, func(w io.Writer) {
				fmt.Fprintf(w, "%s 作废 spoiled: %s %s\n", args[0], words.ZH, words.EN)
			})
		},
	}
	c.Flags().StringVar(&as, "as", "", "ORG/PERSON who spoils")
	c.Flags().StringVar(&reason, "reason", "", "misprint, lost, damaged or other")
	return c
}

func (a *app) numberReconcile() *cobra.Command {
	var year int
	var issuer, typ string
	c := &cobra.Command{
		Use:     "reconcile [--year YYYY] [--issuer ORG] [--type TYPE]",
		Short:   "对账 · print the national year table, or that of another licence type, and check that it balances",
		Example: "  elicence number reconcile --year 2026",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			i, err := a.openForReading(cmd.Context())
			if err != nil {
				return err
			}
			defer i.close()
			if year == 0 {
				year = a.now().In(i.zone).Year()
			}
			of, err := i.stockType(typ)
			if err != nil {
				return err
			}
			tables, err := i.yearTables(cmd.Context(), typ, year, issuer)
			if err != nil {
				return err
			}
			balanced := true
			for _, t := range tables {
				balanced = balanced && t.Balanced
			}
			err = a.tell(tables, func(w io.Writer) { printYearTables(w, of.Title, tables) })
			if err == nil {
				// Books of an older copy may well balance.
				err = i.guardLog(cmd.Context())
			}
			if err == nil && !balanced {
				return answer(exitNo)
			}
			return err
		},
	}
	c.Flags().IntVar(&year, "year", 0, "calendar year (default this year)")
	c.Flags().StringVar(&issuer, "issuer", "", "one issuer only")
	typeFlag(c, &typ)
	return c
}

// nationalType is the licence type of the national year table, and what a stock command means if it does not say.
const nationalType = "birth-certificate"

func typeFlag(c *cobra.Command, typ *string) {
	c.Flags().StringVar(typ, "type", nationalType, "licence type of the sheets")
}

// stockType finds a licence type whose numbers come from stock; any other word would make sheets that nothing takes.
func (i *installation) stockType(name string) (*licence.Type, error) {
	names, err := i.stockTypes()
	if err != nil {
		return nil, err
	}
	if !slices.Contains(names, name) {
		return nil, usage("--type is one of %s", strings.Join(names, ", "))
	}
	return i.types.Type(name)
}

// stockTypes are the names of the types whose numbers come from stock.
func (i *installation) stockTypes() ([]string, error) {
	names, err := i.types.Types()
	if err != nil {
		return nil, err
	}
	var keep []string
	for _, name := range names {
		typ, err := i.types.Type(name)
		if err != nil {
			return nil, err
		}
		if typ.KeepsStock() {
			keep = append(keep, name)
		}
	}
	return keep, nil
}

// stockStep asks for one step with numbered sheets.
type stockStep struct {
	As       string `json:"as"`
	To       string `json:"to,omitempty"`
	Type     string `json:"type,omitempty"`
	Number   string `json:"number"` // to allot: the first of Count
	Count    int    `json:"count,omitempty"`
	Business string `json:"businessId,omitempty"`
	Reason   string `json:"reason,omitempty"`
}

// stockOperation checks the actor first.
func stockOperation(name string, step func(ctx context.Context, i *installation, by actor, q stockStep) error, roles ...access.Role) operation[stockStep, nothing] {
	return operation[stockStep, nothing]{name, func(ctx context.Context, i *installation, q stockStep) (nothing, error) {
		by, err := i.actor(ctx, q.As, roles...)
		if err != nil {
			return nothing{}, err
		}
		if err := step(ctx, i, by, q); err != nil {
			return nothing{}, err
		}
		// It stands; what could not be put among the objects now is put there by the next writing command.
		if err := i.keep(ctx); err != nil {
			i.notice(ctx, "elicence: 对象库中的副本落后 / the copy among the objects lags behind: %v", err)
		}
		return nothing{}, nil
	}}
}

func allotting() operation[stockStep, nothing] {
	return stockOperation("number-allot", func(ctx context.Context, i *installation, by actor, q stockStep) error {
		if _, err := i.db.Organisation(ctx, q.To); err != nil {
			return fmt.Errorf("organisation %s: %w", q.To, err)
		}
		if _, err := i.stockType(q.Type); err != nil {
			return err
		}
		if q.Count < 1 {
			return usage("--count is at least 1")
		}
		return i.db.Allot(ctx, issuing.Pile{Issuer: q.To, Type: q.Type}, q.Number, q.Count, i.app.now(),
			i.reading(ctx, by, "allot", "", fmt.Sprintf("%s: %d × %s", q.To, q.Count, q.Number)))
	}, access.Supervisor)
}

func binding() operation[stockStep, nothing] {
	return stockOperation("number-bind", func(ctx context.Context, i *installation, by actor, q stockStep) error {
		return i.db.Bind(ctx, issuing.Pile{Issuer: by.organisation.Code, Type: q.Type}, q.Number, q.Business, i.app.now(), i.reading(ctx, by, "bind", "", q.Number))
	}, access.Clerk)
}

func spoiling() operation[stockStep, nothing] {
	return stockOperation("number-spoil", func(ctx context.Context, i *installation, by actor, q stockStep) error {
		if _, err := licence.SpoilReason(q.Reason); err != nil {
			return usage("%w", err)
		}
		return i.db.Spoil(ctx, by.organisation.Code, q.Number, q.Reason, i.app.now(), i.reading(ctx, by, "spoil", "", q.Number+": "+q.Reason))
	}, access.StockKeeper, access.Clerk)
}

// yearRow is one issuer's line of the year table, or the sum.
type yearRow struct {
	Name     string
	Table    licence.YearTable
	Balanced bool
	Problem  string
	Warnings []licence.Finding
}

// MarshalJSON gives the row stable names: programs add these up.
func (r yearRow) MarshalJSON() ([]byte, error) {
	type issues struct {
		First       int `json:"first"`
		Exchange    int `json:"exchange"`
		Replacement int `json:"replacement"`
	}
	return json.Marshal(struct {
		Issuer   string            `json:"issuer,omitempty"` // absent in the sum
		Name     string            `json:"name"`
		Type     string            `json:"type"`
		Year     int               `json:"year"`
		Opening  int               `json:"opening"`
		Drawn    int               `json:"drawn"`
		Inside   issues            `json:"inside"`
		Outside  issues            `json:"outside"`
		Spoiled  int               `json:"spoiled"`
		Closing  int               `json:"closing"`
		Balanced bool              `json:"balanced"`
		Problem  string            `json:"problem,omitempty"`
		Warnings []licence.Finding `json:"warnings,omitempty"`
	}{r.Table.Issuer, r.Name, r.Table.Type, r.Table.Year, r.Table.Opening, r.Table.Drawn, issues(r.Table.Inside), issues(r.Table.Outside),
		r.Table.Spoiled, r.Table.Closing, r.Balanced, r.Problem, r.Warnings})
}

func printYearTables(w io.Writer, title licence.Text, rows []yearRow) {
	if len(rows) == 0 {
		fmt.Fprintln(w, "没有签发机构 no issuers")
		return
	}
	fmt.Fprintf(w, "%d 年度%s统计 · year table: %s\n", rows[0].Table.Year, title.ZH, title.EN)
	t := tabwriter.NewWriter(w, 2, 4, 2, ' ', 0)
	fmt.Fprintln(t, "期初 opening\t领入 drawn\t首次 first\t换发 exchange\t补发 replacement\t作废 spoiled\t期末 closing\t平衡 balanced\t机构 issuer")
	for _, r := range rows {
		y := r.Table
		mark := "✓"
		if !r.Balanced {
			mark = "✗ " + r.Problem
		}
		fmt.Fprintf(t, "%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\n", y.Opening, y.Drawn, y.Inside.First+y.Outside.First,
			y.Inside.Exchange+y.Outside.Exchange, y.Inside.Replacement+y.Outside.Replacement, y.Spoiled, y.Closing, mark, r.Name)
	}
	t.Flush()
	for _, r := range rows {
		for _, f := range r.Warnings {
			fmt.Fprintf(w, "! %s: %s / %s\n", r.Name, f.ZH, f.EN)
		}
	}
}
