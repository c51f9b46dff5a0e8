package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/ledger"
	"github.com/elicence/elicence/ledger/embedded"
	"github.com/elicence/elicence/ledger/fabric"
	"github.com/elicence/elicence/ledger/fabric/transaction"
	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
)

const (
	sequenceBatch  = 1024
	chainBatch     = 4 * transaction.MaxEvents // several transactions are on their way side by side
	followInterval = 200 * time.Millisecond
	// catchUpTime is how long a command waits for the process that sequences, before it says that the ledger lags behind.
	catchUpTime = 30 * time.Second
)

// sequencer is whatever puts events in order.
type sequencer interface {
	Submit(ctx context.Context, events [][]byte) ([]ledger.Outcome, error)
}

// log is the installation's end of the ledger: the log itself, what sequences into it, and the cosigners whose keystores are here.
type log struct {
	i        *installation
	readOnly bool

	wiring    sync.Mutex
	entries   *embedded.Log    // nil until it is wired
	sequencer sequencer        // nil for who only reads
	network   *network         // on Fabric
	leaf      *pki.Certificate // that signs its checkpoints
	cosigners map[string]*ledger.Cosigner
	mu        sync.Mutex // one catching up at a time
	duty      duty       // of several processes one sequences
	asides    sync.Mutex
	aside     *fabric.SetAside // what the last submission left waiting
	cosigned  uint64           // size that cosignDuty has had cosigned
}

// open wires the sequencer when it is first needed: it needs the registrar's checkpoint key. A key that is away is looked
// for again the next time.
func (g *log) open(ctx context.Context) error {
	g.wiring.Lock()
	defer g.wiring.Unlock()
	if g.entries != nil {
		return nil
	}
	if g.readOnly {
		// Receipts come from what is published: no key is needed, so no passphrase is asked for.
		g.entries = embedded.NewLog(g.i.db, tiles{g.i.objects}, nil, nil, g.i.config.Ledger.Origin)
		return nil
	}
	if err := os.MkdirAll(filepath.Join(g.i.dir, "cosigners"), 0o755); err != nil {
		return err
	}
	g.cosigners = map[string]*ledger.Cosigner{}
	if g.i.config.Ledger.Driver == onFabric {
		return g.openFabric(ctx)
	}
	signing, err := g.i.keyring.Current(ctx, g.i.config.Registrar, purpose.Checkpoints)
	if err != nil {
		return err
	}
	embedded := embedded.New(g.i.db, tiles{g.i.objects}, signing.Key, signing.Leaf(), g.i.config.Ledger.Origin, g.i.app.now)
	g.leaf, g.entries, g.sequencer = signing.Leaf(), embedded.Log, embedded
	return nil
}

// close ends what open has begun.
func (g *log) close() error {
	g.wiring.Lock()
	n := g.network
	g.wiring.Unlock() // whoever cosigns at this moment opens a cosigner
	if n == nil {
		return nil
	}
	return n.close()
}

// signs tells whether the log is signed here: by whoever has the registrar's keystore.
func (g *log) signs() bool {
	return g.i.config.Ledger.Driver != onFabric || g.i.holds(g.i.config.Registrar)
}

// cosignersHere are those whose keystores are here.
func (g *log) cosignersHere() []string {
	var here []string
	for _, code := range g.i.config.Ledger.Cosigners {
		if g.i.holds(code) {
			here = append(here, code)
		}
	}
	return here
}

// cosignatures counts the cosigners that have a line on the note.
func (g *log) cosignatures(n *ledger.Note) int {
	signed := 0
	for _, code := range g.i.config.Ledger.Cosigners {
		if hasLine(n, code) {
			signed++
		}
	}
	return signed
}

// hasLine tells whether the note has a line of that cosigner; whether it verifies was seen before the note was kept.
func hasLine(n *ledger.Note, code string) bool {
	return slices.ContainsFunc(n.Lines, func(l ledger.Line) bool { return l.Name == cosignerName(code) })
}

// cosigner opens one whose keystore is here. The log must be open.
func (g *log) cosigner(ctx context.Context, code string) (*ledger.Cosigner, error) {
	g.wiring.Lock()
	defer g.wiring.Unlock()
	if c := g.cosigners[code]; c != nil {
		return c, nil
	}
	s, err := g.i.keyring.Current(ctx, code, purpose.Checkpoints)
	if err != nil {
		return nil, fmt.Errorf("cosigner: %w", err)
	}
	c, err := ledger.OpenCosigner(g.i.cosignerState(code), cosignerName(code), s.Key, s.Leaf(), g.i.config.Ledger.Origin, g.leaf, g.i.app.now)
	if err != nil {
		return nil, fmt.Errorf("cosigner %s: %w", code, err)
	}
	g.cosigners[code] = c
	return c, nil
}

// cosignerName is the key name on a cosignature line.
func cosignerName(code string) string { return "cosigner/" + code }

// Submit is issuing's Sequencer. Events that were set aside have no answer: they wait on, and waits names them.
func (g *log) Submit(ctx context.Context, events [][]byte) ([]issuing.Answer, error) {
	outcomes, err := g.sequencer.Submit(ctx, events)
	var aside *fabric.SetAside
	if err != nil && !errors.As(err, &aside) {
		return nil, err
	}
	g.setAside(aside)
	answers := make([]issuing.Answer, 0, len(outcomes))
	for _, o := range outcomes {
		if o.Hash == [32]byte{} {
			continue
		}
		a := issuing.Answer{Hash: o.Hash, Index: o.Index}
		if o.Refusal != nil {
			a.Refusal = o.Refusal.Rule
		}
		answers = append(answers, a)
	}
	return answers, nil
}

func (g *log) setAside(s *fabric.SetAside) {
	g.asides.Lock()
	defer g.asides.Unlock()
	g.aside = s
}

// waits is why events are left waiting that were submitted last, nil if none is.
func (g *log) waits() *fabric.SetAside {
	g.asides.Lock()
	defer g.asides.Unlock()
	return g.aside
}

// catchUp sequences everything that waits, anchors the audit trail and has the newest checkpoint cosigned. If another
// process does that, it waits until that one has come so far.
func (g *log) catchUp(ctx context.Context) error {
	if err := g.open(ctx); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for deadline := time.Now().Add(catchUpTime); ; {
		err := g.duty.work(ctx, g.catchUpNow)
		if !errors.Is(err, issuing.ErrHeld) {
			return errors.Join(err, g.give(ctx))
		}
		caught, cerr := g.caughtUp(ctx)
		if cerr != nil || caught {
			return cerr
		}
		if time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(followInterval):
		}
	}
}

// give lets another process sequence. A service keeps the duty until it ends.
func (g *log) give(ctx context.Context) error {
	if g.i.served {
		return nil
	}
	return g.duty.give(ctx)
}

// onDuty does what one process does at a time; nothing, if another one has that duty now.
func (g *log) onDuty(ctx context.Context, do func(ctx context.Context) error) error {
	err := g.duty.work(ctx, do)
	if errors.Is(err, issuing.ErrHeld) {
		return nil
	}
	return err
}

// caughtUp reports whether whoever has the duty has sequenced and published everything.
func (g *log) caughtUp(ctx context.Context) (bool, error) {
	lag, err := g.i.db.PendingCount(ctx)
	if err != nil || lag > 0 {
		return false, err
	}
	head, err := g.i.db.Head(ctx)
	if err != nil {
		return false, err
	}
	signed, err := g.i.db.Signed(ctx, head.Size)
	return signed != nil, err
}

func (g *log) catchUpNow(ctx context.Context) error {
	if _, err := g.anchor(ctx); err != nil {
		return err
	}
	head, err := g.seal(ctx)
	if err != nil {
		return err
	}
	// No step and no receipt waits for it: what cannot be put or anchored now is put and anchored the next time.
	if err := g.vouch(ctx, head); err != nil {
		g.i.notice(ctx, "elicence: 审计记录未锚定 / the audit trail is not anchored: %v", err)
	}
	if err := g.cosign(ctx); err != nil {
		return err
	}
	if g.network != nil && !g.i.served && g.signs() {
		return g.network.awaitCosigned(ctx)
	}
	return nil
}

// seal chains the audit rows, those of readers included, and returns the head of the chain.
func (g *log) seal(ctx context.Context) (head [32]byte, err error) {
	if head, _, err = g.i.db.Seal(ctx); err != nil {
		return head, fmt.Errorf("seal the audit trail: %w", err)
	}
	return head, nil
}

// vouch anchors the sealed trail on the log. What the log vouches for must come back with the objects: they have it first.
func (g *log) vouch(ctx context.Context, head [32]byte) error {
	if err := g.i.keep(ctx); err != nil {
		return fmt.Errorf("对象库中的副本落后 / the copy among the objects lags behind: %w", err)
	}
	if !g.signs() { // the trail is anchored by the registrar
		return nil
	}
	return g.anchorTrail(ctx, head)
}

// anchor sequences what waits. What the ledger refuses has not happened: that is never silent.
func (g *log) anchor(ctx context.Context) (refused int, err error) {
	batch := sequenceBatch
	if g.network != nil {
		batch = chainBatch
	}
	_, refused, err = g.i.service.Anchor(ctx, g, batch, nil)
	if refused > 0 {
		g.i.notice(ctx, "elicence: 账本拒绝了 %d 步 / the ledger refused %d steps\n  → see them with: elicence ledger status", refused, refused)
	}
	return refused, err
}

// follow sequences while a batch runs. Cosigning waits for catchUp: one checkpoint at the end is enough.
func (g *log) follow(ctx context.Context) error {
	// A batch that is over before the keys are open must not leave them half open for the cosigning that comes after.
	if err := g.open(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	tick := time.NewTicker(followInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return g.give(ctx)
		case <-tick.C:
			g.mu.Lock()
			err := g.duty.work(ctx, func(ctx context.Context) error {
				_, err := g.anchor(ctx)
				return err
			})
			g.mu.Unlock()
			if err != nil && ctx.Err() == nil && !errors.Is(err, issuing.ErrHeld) {
				return err
			}
		}
	}
}

// cosign asks every cosigner for the newest checkpoint; each demands a consistency proof from its own last one. Those of other
// members of a network are asked through it.
func (g *log) cosign(ctx context.Context) error {
	codes := g.i.config.Ledger.Cosigners
	if g.network != nil {
		codes = g.cosignersHere()
	}
	_, err := g.cosignBy(ctx, codes)
	return err
}

// cosignBy is cosign by some of them. It returns the size of the log that they have cosigned.
func (g *log) cosignBy(ctx context.Context, codes []string) (size uint64, err error) {
	if !g.signs() { // whoever keeps the log says which checkpoint is to be cosigned
		return 0, nil
	}
	note, err := g.entries.Checkpoint(ctx)
	if err != nil || note == nil {
		return 0, err
	}
	// What a cosigner vouches for must be there for whoever comes back without these records.
	if err := g.entries.PublishTiles(ctx, note); err != nil {
		return 0, err
	}
	for _, code := range codes {
		c, err := g.cosigner(ctx, code)
		if err != nil {
			return 0, err
		}
		if note, err = c.Cosign(ctx, note, g.entries.Consistency); err != nil {
			return 0, fmt.Errorf("cosign: %w", err)
		}
	}
	n, err := ledger.ParseNote(note)
	if err != nil {
		return 0, err
	}
	if err := g.entries.Publish(ctx, note); err != nil || g.network == nil {
		return n.Checkpoint.Size, err
	}
	return n.Checkpoint.Size, g.network.announce(ctx, n.Checkpoint.Size, note)
}

// receipt of the entry at index, from the first checkpoint that enough of the cosigners have signed.
func (g *log) receipt(ctx context.Context, index uint64) ([]byte, error) {
	if err := g.open(ctx); err != nil {
		return nil, err
	}
	return g.entries.FirstReceipt(ctx, index, func(n *ledger.Note) bool {
		return g.cosignatures(n) >= g.i.config.Ledger.Needed
	})
}
