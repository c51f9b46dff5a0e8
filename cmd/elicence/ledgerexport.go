package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/elicence/elicence/ledger"
	"github.com/elicence/elicence/ledger/fabric/export"
	"github.com/elicence/elicence/ledger/fabric/replay"
)

func (a *app) ledgerExport() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use: "export", Short: "导出 · write the channel's blocks into a folder that outlives the network (on Hyperledger Fabric)", Args: cobra.NoArgs,
		Long: `Export writes every block of the ledger's channel, as this organisation's own peer delivers it, with headers, orderers'
signatures and validity flags, and the newest checkpoint that the cosigners have signed. Called again with the same folder it adds what has come since; what is written never changes. An
export that was interrupted goes on.

What it proves is judged by: elicence ledger audit --export FOLDER. The format is docs/formats/fabric-export.md.`,
		Example: "  elicence ledger export --out ./ledger-export\n  elicence ledger export --out ./ledger-export --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if out == "" {
				return usage("--out is needed: the folder to write, or to go on with")
			}
			i, err := a.openForReading(cmd.Context())
			if err != nil {
				return err
			}
			defer i.close()
			m, err := i.exportChain(cmd.Context(), out, a.blocksDone("导出 exported"))
			if err != nil {
				return err
			}
			said := map[string]any{"folder": out, "channel": m.Channel, "chaincode": m.Chaincode, "blocks": m.Height(), "files": len(m.Files)}
			return a.tell(said, func(w io.Writer) {
				fmt.Fprintf(w, "✓ %s：%d 个区块 blocks，%d 个文件 files\n", out, m.Height(), len(m.Files))
			})
		},
	}
	c.Flags().StringVar(&out, "out", "", "folder to write, or to go on with")
	return c
}

func (i *installation) exportChain(ctx context.Context, out string, progress func(done, height uint64)) (*export.Manifest, error) {
	if i.config.Ledger.Driver != onFabric {
		return nil, errNotOnFabric
	}
	settings := i.config.Ledger.Fabric
	peer, err := i.connect(settings.Members[0])
	if err != nil {
		return nil, err
	}
	o := export.Options{Channel: settings.Channel, Chaincode: settings.Chaincode, Progress: progress}
	var m *export.Manifest
	// First the checkpoint, then the blocks: of what it covers none is missing.
	if o.Checkpoint, err = i.db.LastSigned(ctx); err == nil {
		m, err = export.Write(ctx, out, peer, o)
	}
	return m, errors.Join(err, peer.Close())
}

// blocksDone shows progress to people: at most one line a second. height may be 0 for who does not know it.
func (a *app) blocksDone(what string) func(done, height uint64) {
	said := time.Now()
	return func(done, height uint64) {
		if a.json || time.Since(said) < time.Second {
			return
		}
		said = time.Now()
		if height > 0 {
			fmt.Fprintf(a.stderr, "%s %d / %d\n", what, done, height)
		} else {
			fmt.Fprintf(a.stderr, "%s %d\n", what, done)
		}
	}
}

// exportAudit is ledger audit of an export: nothing but files is needed for it.
type exportAudit struct {
	folder      string
	trust, pin  string
	checkpoints []string // files: signed checkpoints, or receipts
}

// exportReport is what ledger audit --export answers.
type exportReport struct {
	Clean bool `json:"clean"`
	*replay.Report
}

func (a *app) auditLedgerExport(ctx context.Context, o exportAudit) error {
	var options replay.Options
	if o.trust != "" {
		t, _, err := a.trustFile(o.trust, o.pin)
		if err != nil {
			return err
		}
		options.Trust = ledgerTrust(t)
	}
	for _, path := range o.checkpoints {
		note, err := checkpointIn(path)
		if err != nil {
			return err
		}
		options.Known = append(options.Known, note)
	}
	done := a.blocksDone("区块 block")
	options.Progress = func(blocks uint64) { done(blocks, 0) }
	r, err := replay.Export(ctx, o.folder, options)
	if errors.Is(err, fs.ErrNotExist) {
		return usage("%s holds no export: %w", o.folder, err)
	}
	if err != nil {
		return err
	}
	if err := a.tell(exportReport{r.Clean(), r}, func(w io.Writer) { printReplay(w, r, o.trust != "") }); err != nil {
		return err
	}
	if !r.Clean() {
		return answer(exitNo)
	}
	return nil
}

// checkpointIn reads a signed checkpoint, or the one in a receipt.
func checkpointIn(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, ledger.MaxReceipt+1))
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	if r, err := ledger.ParseReceipt(b); err == nil {
		return r.Note.Encode(), nil
	}
	if _, err := ledger.ParseNote(b); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", replay.ErrKnown, path, err)
	}
	return b, nil
}

func printReplay(w io.Writer, r *replay.Report, trusted bool) {
	mark := "✓"
	if !r.Clean() {
		mark = "✗"
	}
	fmt.Fprintf(w, "%s 通道 channel %s，%s：%d 个区块 blocks，%d 条 entries", mark, r.Channel, r.Chaincode, r.Blocks, r.Entries)
	if r.Clean() {
		fmt.Fprint(w, "，全部相符 all fit\n")
	} else {
		fmt.Fprintf(w, " 相符 fit\n  %s\n", differenceText(r.Difference))
	}
	for _, line := range [][2]string{{"创世区块 block 0", r.Genesis}, {"最新相符区块 newest block that fits", r.Head}, {"日志的根 root of the log", r.Root}} {
		if line[1] != "" {
			fmt.Fprintf(w, "%s %s\n", line[0], line[1])
		}
	}
	switch {
	case r.Checkpoints == 0:
		fmt.Fprintln(w, "! 没有检查点可比：只知各区块自相符合 / no signed checkpoint to compare with: known is only that the blocks fit each other")
	case trusted:
		fmt.Fprintf(w, "检查点 checkpoints %d，足数会签至 cosigned by enough up to %d\n", r.Checkpoints, r.Cosigned)
	default:
		fmt.Fprintf(w, "检查点 checkpoints %d，未核签名：用 --trust / their signatures were not checked: give --trust\n", r.Checkpoints)
	}
	if r.Unvouched > 0 {
		fmt.Fprintf(w, "! 链上有 %d 个检查点无人可信签名 / checkpoints on the chain that nobody trusted has signed: %d\n", r.Unvouched, r.Unvouched)
	}
}

// differenceText names a difference for people.
func differenceText(d *replay.Difference) string {
	at := fmt.Sprintf("区块 block %d", d.Block)
	if d.Since != nil && *d.Since < d.Block {
		at = fmt.Sprintf("区块 blocks %d–%d", *d.Since, d.Block)
	}
	if d.File != "" {
		at = d.File + "，" + at
	}
	if d.Transaction != "" {
		at += "，交易 transaction " + d.Transaction
	}
	if d.Event != nil {
		at += fmt.Sprintf("，事件 event %d", *d.Event)
	}
	if d.Index != nil {
		at += fmt.Sprintf("，条目 entry %d", *d.Index)
	}
	if d.Key != "" {
		at += "，状态 state " + d.Key
	}
	text := fmt.Sprintf("%s: %s: %s / %s", at, d.Rule, d.ZH, d.EN)
	if d.Detail != "" {
		text += " (" + d.Detail + ")"
	}
	return text
}

// auditChain replays the own peer's chain from its first block and holds the peer's state and the log here against it.
func (i *installation) auditChain(ctx context.Context, progress func(done, height uint64)) (*replay.Report, error) {
	t, err := i.readTrust()
	if err != nil {
		return nil, err
	}
	known, err := i.knownCheckpoints()
	if err != nil {
		return nil, err
	}
	settings := i.config.Ledger.Fabric
	peer, err := i.connect(settings.Members[0])
	if err != nil {
		return nil, err
	}
	r, err := replay.Online(ctx, peer, i.db, replay.Options{
		Channel: settings.Channel, Chaincode: settings.Chaincode, Origin: i.config.Ledger.Origin, Known: known, Trust: ledgerTrust(t),
		Progress: func(blocks uint64) { progress(blocks, 0) },
	})
	return r, errors.Join(err, peer.Close())
}
