package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/ledger"
	"github.com/elicence/elicence/ledger/embedded"
	"github.com/elicence/elicence/signer/purpose"
)

const (
	sequenceBatch  = 1024
	followInterval = 200 * time.Millisecond
)

// log is the installation's end of the ledger: the embedded sequencer and the cosigners whose keystores are here.
type log struct {
	i        *installation
	readOnly bool

	once      sync.Once
	sequencer *embedded.Sequencer
	cosigners []*ledger.Cosigner
	err       error
	mu        sync.Mutex // one catching up at a time
}

// open wires the sequencer when it is first needed: it needs the registrar's checkpoint key.
func (g *log) open(ctx context.Context) error {
	g.once.Do(func() { g.err = g.wire(ctx) })
	return g.err
}

func (g *log) wire(ctx context.Context) error {
	if g.readOnly {
		// Receipts come from what is published: no key is needed, so no passphrase is asked for.
		g.sequencer = embedded.New(g.i.db, tiles{g.i.objects}, nil, nil, g.i.config.Ledger.Origin, g.i.app.now)
		return nil
	}
	signing, err := g.i.keyring.Current(ctx, g.i.config.Registrar, purpose.Checkpoints)
	if err != nil {
		return err
	}
	g.sequencer = embedded.New(g.i.db, tiles{g.i.objects}, signing.Key, signing.Leaf(), g.i.config.Ledger.Origin, g.i.app.now)
	folder := filepath.Join(g.i.dir, "cosigners")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for _, code := range g.i.config.Ledger.Cosigners {
		s, err := g.i.keyring.Current(ctx, code, purpose.Checkpoints)
		if err != nil {
			return fmt.Errorf("cosigner: %w", err)
		}
		c, err := ledger.OpenCosigner(g.i.cosignerState(code), cosignerName(code), s.Key, s.Leaf(), g.i.config.Ledger.Origin, signing.Leaf(), g.i.app.now)
		if err != nil {
			return fmt.Errorf("cosigner %s: %w", code, err)
		}
		g.cosigners = append(g.cosigners, c)
	}
	return nil
}

// cosignerName is the key name on a cosignature line.
func cosignerName(code string) string { return "cosigner/" + code }

// Submit is issuing's Sequencer.
func (g *log) Submit(ctx context.Context, events [][]byte) ([]issuing.Answer, error) {
	outcomes, err := g.sequencer.Submit(ctx, events)
	if err != nil {
		return nil, err
	}
	answers := make([]issuing.Answer, len(outcomes))
	for n, o := range outcomes {
		answers[n] = issuing.Answer{Hash: o.Hash, Index: o.Index}
		if o.Refusal != nil {
			answers[n].Refusal = o.Refusal.Rule
		}
	}
	return answers, nil
}

// catchUp sequences everything that waits, anchors the audit trail and has the newest checkpoint cosigned.
func (g *log) catchUp(ctx context.Context) error {
	if err := g.open(ctx); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.anchor(ctx); err != nil {
		return err
	}
	head, _, err := g.i.db.Seal(ctx)
	if err != nil {
		return fmt.Errorf("seal the audit trail: %w", err)
	}
	// What the log vouches for must come back with the objects: they have it first. What cannot be put or anchored now is put
	// and anchored later: no step and no receipt waits for it.
	if err := g.i.keep(ctx); err != nil {
		fmt.Fprintf(g.i.app.stderr, "elicence: 对象库中的副本落后 / the copy among the objects lags behind: %v\n", err)
	}
	if err := g.anchorTrail(ctx, head); err != nil {
		fmt.Fprintf(g.i.app.stderr, "elicence: 审计记录未锚定 / the audit trail is not anchored: %v\n", err)
	}
	return g.cosign(ctx)
}

// anchor sequences what waits. What the ledger refuses has not happened: that is never silent.
func (g *log) anchor(ctx context.Context) error {
	_, refused, err := g.i.service.Anchor(ctx, g, sequenceBatch, nil)
	if refused > 0 {
		fmt.Fprintf(g.i.app.stderr, "elicence: 账本拒绝了 %d 步 / the ledger refused %d steps\n  → see them with: elicence ledger status\n", refused, refused)
	}
	return err
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
			return nil
		case <-tick.C:
			g.mu.Lock()
			err := g.anchor(ctx)
			g.mu.Unlock()
			if err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
}

// cosign asks every cosigner for the newest checkpoint; each demands a consistency proof from its own last one.
func (g *log) cosign(ctx context.Context) error {
	note, err := g.sequencer.Checkpoint(ctx)
	if err != nil {
		return err
	}
	if note == nil {
		return nil
	}
	if err := g.sequencer.PublishTiles(ctx, note); err != nil {
		return err
	}
	for _, c := range g.cosigners {
		if note, err = c.Cosign(ctx, note, g.sequencer.Consistency); err != nil {
			return fmt.Errorf("cosign: %w", err)
		}
	}
	return g.sequencer.Publish(ctx, note)
}

// receipt of the entry at index, from the newest cosigned checkpoint.
func (g *log) receipt(ctx context.Context, index uint64) ([]byte, error) {
	if err := g.open(ctx); err != nil {
		return nil, err
	}
	return g.sequencer.Receipt(ctx, index)
}
