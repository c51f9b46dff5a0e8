package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) ledgerCommand() *cobra.Command {
	c := &cobra.Command{Use: "ledger", Short: "账本 · the log of every step: status, history, audit, cosign, receipt", Example: "  elicence ledger audit"}
	c.AddCommand(a.ledgerStatus(), a.ledgerHistory(), a.ledgerAudit(), a.ledgerCosign(), a.ledgerReceipt(), a.ledgerFollow(), a.ledgerJoin())
	return c
}

func (a *app) ledgerStatus() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "状态 · size, newest checkpoint, cosignatures, lag, and what was refused", Args: cobra.NoArgs, Example: "  elicence ledger status --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			i, err := a.openForReading(cmd.Context())
			if err != nil {
				return err
			}
			defer i.close()
			lag, err := i.db.PendingCount(cmd.Context())
			if err != nil {
				return err
			}
			head, err := i.db.Head(cmd.Context())
			if err != nil {
				return err
			}
			signed, err := i.db.Signed(cmd.Context(), head.Size)
			if err != nil {
				return err
			}
			refused, err := i.refusals(cmd.Context())
			if err != nil {
				return err
			}
			chain, err := i.chainStatus(cmd.Context())
			if err != nil {
				return err
			}
			said := map[string]any{"driver": i.config.Ledger.Driver, "size": head.Size, "checkpoint": string(head.Body), "signed": string(signed), "lag": lag, "refused": refused}
			if chain != nil {
				said["chain"] = chain
			}
			return a.tell(said, func(w io.Writer) {
				fmt.Fprintf(w, "条目 entries %d，待入账 lag %d\n", head.Size, lag)
				if chain != nil {
					fmt.Fprintln(w, chain)
				}
				fmt.Fprintf(w, "%s\n", signed)
				printRefusals(w, refused)
			})
		},
	}
}

func (a *app) ledgerAudit() *cobra.Command {
	return &cobra.Command{
		Use: "audit", Short: "审计 · replay every entry and name the first that does not fit",
		Long: `Audit replays the whole log from its first entry by the custody rules, recomputes the tree, compares it with
the checkpoint, and checks that every licence's events stand in it.`,
		Example: "  elicence ledger audit", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			i, err := a.openForReading(cmd.Context())
			if err != nil {
				return err
			}
			defer i.close()
			begun := time.Now()
			report, err := i.audit(cmd.Context())
			if err != nil {
				return err
			}
			if err := a.tell(report, func(w io.Writer) {
				if report.Clean {
					fmt.Fprintf(w, "✓ %d 条全部相符 entries, all fit; %d 个待入账 waiting (%.1f s)\n", report.Entries, report.Lag, time.Since(begun).Seconds())
				} else {
					fmt.Fprintf(w, "✗ %s\n", report.Problem)
				}
			}); err != nil {
				return err
			}
			if !report.Clean {
				return answer(exitNo)
			}
			return nil
		},
	}
}

func (a *app) ledgerCosign() *cobra.Command {
	return &cobra.Command{
		Use: "cosign", Short: "会签 · sequence what waits and have every cosigner here sign the newest checkpoint",
		Long: `Each cosigner keeps its last checkpoint and demands a proof that the new one contains it. A log that was
rolled back or forked is refused, and the refusal says so.`,
		Example: "  elicence ledger cosign", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := perform(cmd.Context(), a, cosigning(), nothing{})
			if err != nil {
				return err
			}
			return a.tell(map[string]any{"size": c.Size, "cosigners": c.Cosigners}, func(w io.Writer) {
				fmt.Fprintf(w, "✓ %d 条，%d 方会签 / %d entries, cosigned by %d\n", c.Size, c.Cosigners, c.Size, c.Cosigners)
			})
		},
	}
}

// cosigned is the log after everybody here has cosigned it.
type cosigned struct {
	Size      uint64 `json:"size"`
	Cosigners int    `json:"cosigners"`
}

func cosigning() operation[nothing, cosigned] {
	return operation[nothing, cosigned]{"ledger-cosign", func(ctx context.Context, i *installation, _ nothing) (cosigned, error) {
		if err := i.ledger.catchUp(ctx); err != nil {
			return cosigned{}, err
		}
		head, err := i.db.Head(ctx)
		return cosigned{head.Size, len(i.config.Ledger.Cosigners)}, err
	}}
}

func (a *app) ledgerReceipt() *cobra.Command {
	return &cobra.Command{
		Use: "receipt INDEX", Short: "回执 · the receipt of one entry", Args: cobra.ExactArgs(1), Example: "  elicence ledger receipt 41",
		RunE: func(cmd *cobra.Command, args []string) error {
			var index uint64
			if _, err := fmt.Sscanf(args[0], "%d", &index); err != nil {
				return usage("INDEX is a number")
			}
			i, err := a.openForReading(cmd.Context())
			if err != nil {
				return err
			}
			defer i.close()
			b, err := i.ledger.receipt(cmd.Context(), index)
			if err != nil {
				return err
			}
			_, err = a.stdout.Write(b)
			return err
		},
	}
}
