package main

import (
	"context"
	"fmt"

	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/signer/purpose"
)

// logState is the contract's State as the records keep it.
type logState struct{ i *installation }

func (s logState) Get(ctx context.Context, key string) ([]byte, error) {
	found, err := s.i.db.StateGet(ctx, []string{key})
	return found[key], err
}

// anchorTrail puts the head of the audit trail's chain on the log, signed by the registrar, who keeps this
// installation: from the next cosignature on nobody can write the audit trail anew, not even whoever owns the database.
// Nothing new, no entry. Where the last anchor stands is read from the log itself, so that a crash in between costs at most
// a second anchor.
func (g *log) anchorTrail(ctx context.Context, head [32]byte) error {
	last, anchored, err := g.lastAnchor(ctx)
	if err != nil || head == anchored {
		return err
	}
	registrar, err := g.i.keyring.Current(ctx, g.i.config.Registrar, purpose.Events)
	if err != nil {
		return err
	}
	b, err := contract.SignEvent(ctx, registrar.Key, registrar.Leaf(), contract.Event{
		Version: contract.Version, Kind: contract.AuditAnchored, Time: g.i.app.now().UnixMicro(), Actor: g.i.config.Registrar,
		Previous: last, Anchor: head,
	})
	if err != nil {
		return err
	}
	outcomes, err := g.sequencer.Submit(ctx, [][]byte{b})
	if err != nil {
		return err
	}
	if r := outcomes[0].Refusal; r != nil {
		return fmt.Errorf("anchor the audit trail: %w", r)
	}
	return nil
}

// lastAnchor is the registrar's last anchor on the log: its event's hash, and the head that it names. Zero for none.
func (g *log) lastAnchor(ctx context.Context) (event, head [32]byte, err error) {
	if event, err = contract.LastAnchor(ctx, logState{g.i}, g.i.config.Registrar); err != nil || event == [32]byte{} {
		return event, head, err
	}
	index, found, err := g.i.db.IndexOf(ctx, event)
	if err != nil {
		return event, head, err
	}
	entries, err := g.i.db.Entries(ctx, index, index+1)
	if err != nil {
		return event, head, err
	}
	if !found || len(entries) != 1 {
		return event, head, fmt.Errorf("%w: the last anchor of the audit trail is not in the log", contract.ErrState)
	}
	signed, err := contract.ParseEvent(entries[0])
	if err != nil {
		return event, head, err
	}
	return event, signed.Event.Anchor, nil
}

// trailAnchors are the heads of this installation's audit trail that the log has, and where.
type trailAnchors struct {
	entries []uint64
	heads   [][32]byte
}

// misfit holds the trail to every head that was anchored: "" when its chain passes through all of them.
func (t trailAnchors) misfit(ctx context.Context, i *installation) (string, error) {
	held, err := i.db.HeldAnchors(ctx, t.heads)
	if err != nil || held == len(t.heads) {
		return "", err
	}
	at := t.entries[held]
	return fmt.Sprintf("审计记录被删改：账本第 %d 条锚定的链头已不在其中 / the audit trail was cut or written anew: the head that entry %d anchored is not in its chain", at, at), nil
}
