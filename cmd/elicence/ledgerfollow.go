package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/elicence/elicence/ledger"
	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/ledger/fabric/transaction"
	"github.com/elicence/elicence/licence"
)

// errNotOnFabric answers what only a network can do.
var errNotOnFabric = errors.New("账本不在区块链上 / the ledger is on no Fabric network")

func (a *app) ledgerFollow() *cobra.Command {
	var once bool
	c := &cobra.Command{
		Use: "follow", Short: "跟随 · read blocks, make the log out of them, cosign it (on Hyperledger Fabric)", Args: cobra.NoArgs,
		Long: `Follow reads the blocks of this organisation's own peer, judges their events again by the custody rules, appends the
accepted ones to its own copy of the log, and cosigns what the log's keeper states, if it comes to the same. The cosignature
goes back through the chain. A peer that is away is asked again; a chain that does not agree with the rules stops it.

It runs until it is interrupted and goes on where it was; with --once it ends when it has what the peer has now. A service
(elicence serve) on the folder does the same by itself.`,
		Example: "  elicence ledger follow --data ./police\n  elicence ledger follow --once --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			i, err := a.openForWriting(cmd.Context())
			if err != nil {
				return err
			}
			defer i.close()
			at, err := i.followChain(cmd.Context(), once, a.following())
			if err != nil {
				return err
			}
			return a.tell(at, func(w io.Writer) { fmt.Fprintf(w, "✓ %s\n", at) })
		},
	}
	c.Flags().BoolVar(&once, "once", false, "end when the log has what the peer has now")
	return c
}

// followed is how far following has come.
type followed struct {
	Block    uint64 `json:"block"`    // the next to be read
	Entries  uint64 `json:"entries"`  // of the log
	Cosigned uint64 `json:"cosigned"` // entries under the newest checkpoint that enough cosigners have signed
	Signed   uint64 `json:"signed"`   // the same of the cosigners here
}

func (f followed) String() string {
	return fmt.Sprintf("区块 block %d，条目 entries %d，本方会签 cosigned here %d，足数会签 cosigned by enough %d", f.Block, f.Entries, f.Signed, f.Cosigned)
}

// following shows progress to people: a line when something has changed, at most one a second.
func (a *app) following() func(followed) {
	if a.json {
		return func(followed) {}
	}
	var last followed
	var said time.Time
	return func(f followed) {
		if f == last || time.Since(said) < time.Second {
			return
		}
		last, said = f, time.Now()
		fmt.Fprintln(a.stderr, f)
	}
}

// followChain follows until ctx ends, which is no error, or once.
func (i *installation) followChain(ctx context.Context, once bool, progress func(followed)) (at followed, err error) {
	if i.config.Ledger.Driver != onFabric {
		return at, errNotOnFabric
	}
	if err := i.ledger.open(ctx); err != nil {
		return at, err
	}
	n := i.ledger.network
	var until uint64
	if once {
		if until, _, err = n.blocks(ctx); err != nil {
			return at, err
		}
	}
	tick := time.NewTicker(followInterval)
	defer tick.Stop()
	for {
		if at, err = i.followedTo(ctx); err != nil {
			if ctx.Err() != nil {
				return at, nil
			}
			return at, err
		}
		progress(at)
		if stopped := n.halted(); stopped != nil {
			return at, stopped
		}
		if once && at.Block >= until && n.answered() {
			return at, nil
		}
		select {
		case <-ctx.Done():
			return at, nil
		case <-tick.C:
		}
	}
}

func (i *installation) followedTo(ctx context.Context) (at followed, err error) {
	n := i.ledger.network
	at.Block = n.follower.Next()
	if at.Entries, err = i.ledger.entries.Size(ctx); err != nil {
		return at, err
	}
	last, err := i.db.LastSigned(ctx)
	if err != nil || last == nil {
		return at, err
	}
	note, err := ledger.ParseNote(last)
	if err != nil {
		return at, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if i.ledger.cosignatures(note) >= i.config.Ledger.Needed {
		n.enough = max(n.enough, note.Checkpoint.Size)
	}
	for _, code := range i.ledger.cosignersHere() {
		if hasLine(note, code) {
			n.ours = max(n.ours, note.Checkpoint.Size)
		}
	}
	at.Cosigned, at.Signed = n.enough, n.ours
	return at, nil
}

func (a *app) ledgerJoin() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use: "join ORGANISATION", Short: "分户 · give an organisation of a demonstration its own folder, from which it follows and cosigns (on Hyperledger Fabric)", Args: cobra.ExactArgs(1),
		Long: `Join makes a folder in which police or an archive follow the ledger by themselves: with their own keystore, which leaves
this folder, their own peer, and their own copy of the log. From then on nobody here can sign for them, and their
cosignatures come through the chain.

Only a demonstration is divided so. In production each organisation makes its own keys: docs/operations.md.`,
		Example: "  elicence ledger join 12310000DEMP000012 --out ./police",
		RunE: func(cmd *cobra.Command, args []string) error {
			if out == "" {
				return usage("--out is needed: the folder to make")
			}
			o, err := a.join(cmd.Context(), args[0], out)
			if err != nil {
				return err
			}
			return a.tell(map[string]any{"organisation": o.Code, "data": out}, func(w io.Writer) {
				fmt.Fprintf(w, "✓ %s：%s\n接着 next: elicence ledger follow --data %s\n", o.Name, out, out)
			})
		},
	}
	c.Flags().StringVar(&out, "out", "", "folder to make")
	return c
}

// join moves an organisation's keys into an installation of its own.
func (a *app) join(ctx context.Context, code, out string) (o licence.Organisation, err error) {
	i, err := a.openForWriting(ctx)
	if err != nil {
		return o, err
	}
	defer i.close()
	refuse := func(zh, en, do string) error {
		return &failure{code: exitNo, cause: fmt.Errorf("%s / %s", zh, en), do: do}
	}
	if o, err = i.db.Organisation(ctx, code); err != nil {
		return o, err
	}
	kind := transaction.SenderOf(contract.OrganisationKind(o.Kind))
	at := slices.IndexFunc(i.config.Ledger.Fabric.Members, func(m fabricMember) bool { return m.Kind == string(kind) })
	switch {
	case !i.config.Demonstration:
		return o, refuse("只有示范安装可以这样分开", "only a demonstration is divided so", "各机构自建安装 · each organisation makes its own: docs/operations.md")
	case i.config.Ledger.Driver != onFabric:
		return o, errNotOnFabric
	case !slices.Contains(i.config.Ledger.Cosigners, code):
		return o, refuse("它不是共签方", "it is no cosigner", "查看 · see ledger.cosigners: elicence config show")
	case !i.holds(code):
		return o, refuse("它的密钥库不在这里", "its keystore is not here", "它可能已有自己的目录 · it may have its own folder already")
	case at < 0:
		return o, refuse("没有它的成员连接", "there is no connection of its member", "查看 · see ledger.fabric: elicence config show")
	}
	if err := emptyOrNew(out); err != nil {
		return o, err
	}
	err = a.inPlace(out, ".elicence-join-*", func(building string) error {
		b := *a
		b.data = building
		return b.joined(ctx, i, o, i.config.Ledger.Fabric.Members[at])
	})
	if err != nil {
		return o, err
	}
	// Only now: until the folder is whole, the keys are nowhere else.
	return o, errors.Join(os.Remove(i.keyring.keystorePath(code)), os.Remove(i.secretPath(code)))
}

// joined builds the folder.
func (a *app) joined(ctx context.Context, from *installation, o licence.Organisation, m fabricMember) error {
	c := from.config
	c.Records = recordsDriver{Driver: onSQLite, Path: "records/elicence.db"}
	c.Objects = objectsConfig{Driver: inFolder, Path: "objects"}
	c.Deliver = deliverConfig{}
	for _, p := range []*string{&m.ServerCA, &m.Cert, &m.Key} {
		*p = from.path(*p)
	}
	c.Ledger.Fabric.Members, c.Ledger.Fabric.Peers, c.Ledger.Fabric.Orderers = []fabricMember{m}, nil, nil
	for _, one := range from.config.Ledger.Fabric.Members { // the others are known, and nothing is sent as them
		if one.MSP != m.MSP {
			c.Ledger.Fabric.Peers = append(c.Ledger.Fabric.Peers, fabricNode{one.MSP, one.Address, one.ServerName, from.path(one.ServerCA)})
		}
	}
	for _, one := range from.config.Ledger.Fabric.Peers {
		one.ServerCA = from.path(one.ServerCA)
		c.Ledger.Fabric.Peers = append(c.Ledger.Fabric.Peers, one)
	}
	for _, one := range from.config.Ledger.Fabric.Orderers {
		one.ServerCA = from.path(one.ServerCA)
		c.Ledger.Fabric.Orderers = append(c.Ledger.Fabric.Orderers, one)
	}
	i := &installation{app: a, dir: a.data, config: c, zone: from.zone}
	for _, d := range []string{"keystores", "secrets", "records"} {
		if err := os.MkdirAll(filepath.Join(a.data, d), 0o700); err != nil {
			return err
		}
	}
	for _, d := range []string{"ca", "certificates", "publish", "fonts"} {
		if err := os.CopyFS(filepath.Join(a.data, d), os.DirFS(filepath.Join(from.dir, d))); err != nil {
			return err
		}
	}
	copied := map[string]string{filepath.Join(from.dir, "trust.pin"): filepath.Join(a.data, "trust.pin")}
	if err := i.newObjects(ctx); err != nil {
		return err
	}
	var err error
	if i.keyring, err = openKeyring(i.dir, newKeystores(), nil, i.passphrase); err != nil {
		return err
	}
	i.keyring.creation = a.keystores
	if err := i.newStorageKey(ctx); err != nil {
		return err
	}
	i.findTypes()
	if err := i.openStores(ctx, false); err != nil {
		return err
	}
	defer i.close()
	all, err := from.db.Organisations(ctx)
	if err != nil {
		return err
	}
	for _, one := range all {
		if err := i.db.PutOrganisation(ctx, one); err != nil {
			return err
		}
	}
	if err := i.keep(ctx); err != nil {
		return err
	}
	if err := c.write(a.data); err != nil {
		return err
	}
	copied[from.secretPath(o.Code)] = i.secretPath(o.Code)
	copied[from.keyring.keystorePath(o.Code)] = i.keyring.keystorePath(o.Code)
	// What it has cosigned goes with it: a rollback must not go unseen because of this move.
	if _, err := os.Stat(from.cosignerState(o.Code)); err == nil {
		copied[from.cosignerState(o.Code)] = i.cosignerState(o.Code)
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for source, target := range copied {
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		if _, err := copyFile(source, target); err != nil {
			return err
		}
		if err := os.Chmod(target, 0o600); err != nil {
			return err
		}
	}
	return nil
}
