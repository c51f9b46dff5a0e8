package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/elicence/elicence/ledger"
	"github.com/elicence/elicence/storage/objects"
)

// errRolledBack says that somebody in this folder has seen a log that the records do not have: they are an older copy, and
// numbers that were used since are free in it.
var errRolledBack = errors.New("记录比账本旧，不得签发 / the records are older than the log that others here have seen: nothing may be issued")

// seenCheckpoint is a checkpoint of this log that was kept outside the records.
type seenCheckpoint struct {
	where string
	note  *ledger.Note
}

// guardLog refuses what would hand a number out twice: records that were put back from an older copy. It is asked once a
// command, never for a birth. It sees what cosigners and published checkpoints of this folder know; a folder that was put
// back as a whole knows no better, and only cosigners elsewhere do.
func (i *installation) guardLog(ctx context.Context) error {
	// What others have seen is read first: another process may sequence meanwhile, and records come before checkpoints.
	seen, err := i.seenCheckpoints(ctx)
	if err != nil {
		return err
	}
	head, err := i.db.Head(ctx)
	if err != nil {
		return err
	}
	for _, s := range seen {
		size := s.note.Checkpoint.Size
		if size > head.Size {
			return fmt.Errorf("%w: %s: 账本有 %d 条，%s 见过 %d 条 / the log in it has %d entries, %s has seen %d", errRolledBack,
				i.config.Records.Path, head.Size, s.where, size, head.Size, s.where, size)
		}
		b, err := i.db.Signed(ctx, size)
		if err != nil {
			return err
		}
		if b == nil { // the process ended between cosigning and publishing
			continue
		}
		own, err := ledger.ParseNote(b)
		if err != nil {
			return err
		}
		if !bytes.Equal(own.Body, s.note.Body) {
			return fmt.Errorf("%w: %s: 与 %s 所见第 %d 条的检查点不同 / its checkpoint of %d entries is not the one that %s has seen", errRolledBack,
				i.config.Records.Path, s.where, size, size, s.where)
		}
	}
	return nil
}

// seenCheckpoints reads the last checkpoint of each cosigner whose state lies here, and the newest published one. A state
// that cannot be read stops no birth (the ledger is only behind), but is not passed over in silence.
func (i *installation) seenCheckpoints(ctx context.Context) ([]seenCheckpoint, error) {
	var seen []seenCheckpoint
	for _, code := range i.config.Ledger.Cosigners {
		note, err := i.lastCosigned(code)
		if err != nil {
			i.notice(ctx, "elicence: the records are not held against what a cosigner has seen: %v", err)
			continue
		}
		if note != nil {
			seen = append(seen, seenCheckpoint{"cosigners/" + code + ".checkpoint", note})
		}
	}
	note, where, err := i.lastPublished(ctx)
	if err != nil || note == nil {
		return seen, err
	}
	return append(seen, seenCheckpoint{where, note}), nil
}

// lastCosigned needs no key. nil: it has never cosigned.
func (i *installation) lastCosigned(code string) (*ledger.Note, error) {
	registrar, err := i.checkpointCertificate(i.config.Registrar)
	if err != nil {
		return nil, err
	}
	certificate, err := i.checkpointCertificate(code)
	if err != nil {
		return nil, err
	}
	c, err := ledger.OpenCosigner(i.cosignerState(code), cosignerName(code), nil, certificate, i.config.Ledger.Origin, registrar, i.app.now)
	if err != nil {
		return nil, fmt.Errorf("cosigner %s: %w", code, err)
	}
	last, err := c.Last()
	if err != nil || last == nil {
		return nil, err
	}
	return ledger.ParseNote(last)
}

// lastPublished is the newest checkpoint among the objects: their names begin with the size, in twenty digits.
func (i *installation) lastPublished(ctx context.Context) (*ledger.Note, string, error) {
	newest := ""
	err := i.objects.List(ctx, "checkpoint/", func(o objects.Info) error {
		newest = max(newest, o.Key)
		return nil
	})
	if err != nil || newest == "" {
		return nil, "", err
	}
	b, err := i.objects.Get(ctx, newest)
	if err != nil {
		return nil, "", err
	}
	note, err := ledger.ParseNote(b)
	if err != nil || note.Checkpoint.Origin != i.config.Ledger.Origin {
		return nil, "", fmt.Errorf("%w: %s is no checkpoint of this log", objects.ErrDamaged, newest)
	}
	return note, "objects/" + newest, nil
}
