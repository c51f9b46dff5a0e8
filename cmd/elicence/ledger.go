package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) ledgerCommand() *cobra.Command {
	c := &cobra.Command{Use: "ledger", Short: "账本 · the log of every step: status, history, audit, cosign, receipt", Example: "  elicence ledger audit"}
	c.AddCommand(a.ledgerStatus(), a.ledgerHistory(), a.ledgerAudit(), a.ledgerCosign(), a.ledgerReceipt(), a.ledgerExport(), a.ledgerFollow(), a.ledgerJoin(), a.ledgerMembers())
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
	var o exportAudit
	c := &cobra.Command{
		Use: "audit", Short: "审计 · replay every entry and name the first that does not fit",
		Long: `Audit replays the whole log from its first entry by the custody rules, recomputes the tree, compares it with
the checkpoint, and checks that every licence's events stand in it. On Hyperledger Fabric it then replays the own peer's chain from
block 0, and compares the peer's state and the log with what the blocks give.

With --export it replays an export of a chain and nothing else: no installation and no network are needed. A trust file says
whose checkpoints count; --checkpoint gives further ones that somebody has kept, as they are or in a receipt.

Exit: 0 if everything fits, 1 if something does not: the first difference is named.`,
		Example: "  elicence ledger audit\n  elicence ledger audit --export ./ledger-export --trust trust.json --pin 3f0c…\n" +
			"  elicence ledger audit --export ./ledger-export --trust trust.json --checkpoint X000000001.receipt --json",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.folder == "" {
				if o.trust != "" || o.pin != "" || len(o.checkpoints) > 0 {
					return usage("--trust, --pin and --checkpoint belong to --export")
				}
				return a.auditHere(cmd.Context())
			}
			if o.trust == "" && o.pin != "" {
				return usage("--pin belongs to --trust")
			}
			if o.trust != "" && o.pin == "" {
				o.pin = a.environment("ELICENCE_TRUST_PIN")
			}
			return a.auditLedgerExport(cmd.Context(), o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.folder, "export", "", "folder of an export: audit that and nothing else")
	f.StringVar(&o.trust, "trust", "", "trust.json of the scheme operator: whose checkpoints count")
	f.StringVar(&o.pin, "pin", "", "SM3 of the scheme operator's public key (default $ELICENCE_TRUST_PIN)")
	f.StringArrayVar(&o.checkpoints, "checkpoint", nil, "file with a signed checkpoint or a receipt that the chain must fit; may be repeated")
	return c
}

// auditHere audits this installation.
func (a *app) auditHere(ctx context.Context) error {
	i, err := a.openForReading(ctx)
	if err != nil {
		return err
	}
	defer i.close()
	begun := time.Now()
	report, err := i.audit(ctx)
	if err != nil {
		return err
	}
	if report.Clean && i.config.Ledger.Driver == onFabric {
		if report.Chain, err = i.auditChain(ctx, a.blocksDone("区块 block")); err != nil {
			return err
		}
		if d := report.Chain.Difference; d != nil {
			report.Clean, report.Problem = false, differenceText(d)
		}
	}
	if err := a.tell(report, func(w io.Writer) {
		if !report.Clean {
			fmt.Fprintf(w, "✗ %s\n", report.Problem)
			return
		}
		fmt.Fprintf(w, "✓ %d 条全部相符 entries, all fit; %d 个待入账 waiting (%.1f s)\n", report.Entries, report.Lag, time.Since(begun).Seconds())
		if c := report.Chain; c != nil {
			fmt.Fprintf(w, "✓ 链上 %d 个区块、%d 条与之相符 / the chain's %d blocks and %d entries fit; 比较 compared: %s\n",
				c.Blocks, c.Entries, c.Blocks, c.Entries, strings.Join(c.Compared, ", "))
		}
	}); err != nil {
		return err
	}
	if !report.Clean {
		return answer(exitNo)
	}
	return nil
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
