package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/elicence/elicence/ledger"
	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/storage/objects"
	"github.com/elicence/elicence/storage/records"
)

// log holds the records' log against every checkpoint that anybody here has kept, and takes over what they lack from the
// published bundles of entries. The contract judges each again, and the tree must come out as the checkpoint says.
func (x *reconciler) log(ctx context.Context) error {
	notes, err := x.checkpoints(ctx)
	if err != nil {
		return err
	}
	bundles, err := x.entryBundles(ctx)
	if err != nil {
		return err
	}
	// Last of the three: beside a writer the records have at least what was published before.
	head, err := x.db.Head(ctx)
	if err != nil {
		return err
	}
	signed := head.Size
	for size := range notes {
		signed = max(signed, size)
	}
	if best := max(signed, bundles.reach(head.Size)); best > head.Size {
		d := difference{Kind: "log", Where: x.config.Records.Path, ZH: fmt.Sprintf("账本缺少第 %d 条至第 %d 条", head.Size, best-1),
			EN: fmt.Sprintf("the log in the records lacks the entries from %d to %d", head.Size, best-1)}
		var failed error
		err := x.differs(d, func() error {
			failed = x.takeEntries(ctx, bundles, head.Size, signed, notes[signed])
			if failed == nil {
				// What was published and not signed yet binds too: its tiles stand, and no others can take their place.
				failed = x.takeEntries(ctx, bundles, signed, best, nil)
			}
			return failed
		})
		if errors.Is(failed, errNoEntries) || errors.Is(failed, errOtherTree) {
			d.EN += ": " + failed.Error()
			d.Do = "取回较新的记录或对象库；不会签署更小或不同的账本 · bring newer records or objects: no smaller or other log is ever signed"
			return x.differs(d, nil)
		}
		if err != nil {
			return err
		}
	}
	if !x.Mend {
		return nil
	}
	return x.takeCheckpoints(ctx, notes)
}

var (
	errNoEntries = errors.New("the bundles of entries are not all there")
	errOtherTree = errors.New("the entries do not give the tree of the checkpoint")
)

// checkpoints are all that were published or cosigned and lie in this folder, by size, with all their signatures.
func (x *reconciler) checkpoints(ctx context.Context) (map[uint64]*ledger.Note, error) {
	t, err := x.readTrust()
	if err != nil {
		return nil, err
	}
	logs := ledgerTrust(t).Logs
	notes := map[uint64]*ledger.Note{}
	take := func(where string, b []byte) error {
		n, err := ledger.ParseNote(b)
		if err != nil || n.Checkpoint.Origin != x.config.Ledger.Origin {
			return fmt.Errorf("%w: %s is no checkpoint of this log", objects.ErrDamaged, where)
		}
		if !slices.ContainsFunc(logs, func(p ledger.Party) bool { return n.VerifyLog(p.Certificate) == nil }) {
			return x.differs(difference{Kind: "checkpoint", Where: where, ZH: "检查点不是本账本所签", EN: "a checkpoint that this log did not sign",
				Do: "查明何人放入，移走该文件 · find out who put it there, move the file away"}, nil)
		}
		if other := notes[n.Checkpoint.Size]; other != nil {
			if !n.Merge(other) {
				return x.differs(difference{Kind: "fork", Where: where, ZH: "同样条数有两个不同的检查点：账本分叉", EN: "two checkpoints of one size differ: the log was forked",
					Do: "停止使用，保留现场，查明何人签署 · stop, keep the folder as it is, find out who signed both"}, nil)
			}
		}
		notes[n.Checkpoint.Size] = n
		return nil
	}
	names, err := x.bundles(ctx, checkpointPrefix)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		b, err := x.objects.Get(ctx, name)
		if err == nil {
			err = take(name, b)
		}
		if err != nil {
			return nil, err
		}
	}
	for _, code := range x.config.Ledger.Cosigners {
		n, err := x.lastCosigned(code)
		if err == nil && n != nil {
			err = take("cosigners/"+code+".checkpoint", n.Encode())
		}
		if err != nil {
			return nil, err
		}
	}
	return notes, nil
}

// takeEntries appends what the bundles have from … to-1, and holds the tree to the checkpoint of that size, if there is one.
func (x *reconciler) takeEntries(ctx context.Context, bundles entryBundles, from, to uint64, note *ledger.Note) error {
	if from >= to {
		return nil
	}
	entries, err := bundles.read(ctx, x.objects, from, to)
	if err != nil {
		return err
	}
	if err := x.ledger.open(ctx); err != nil {
		return err
	}
	answers, err := x.ledger.Submit(ctx, entries)
	if err != nil {
		return err
	}
	for n, a := range answers {
		if a.Refusal != "" || a.Index != from+uint64(n) {
			return fmt.Errorf("%w: entry %d is refused or stands elsewhere: %s", errOtherTree, from+uint64(n), a.Refusal)
		}
	}
	head, err := x.db.Head(ctx)
	if err != nil {
		return err
	}
	if head.Size != to || note != nil && string(head.Body) != string(note.Body) {
		return errOtherTree
	}
	return nil
}

// entryBundles are the widest bundles of entries that were published, by the index of their tile.
type entryBundles map[uint64]int

func (x *reconciler) entryBundles(ctx context.Context) (entryBundles, error) {
	names, err := x.bundles(ctx, "tile/entries/")
	if err != nil {
		return nil, err
	}
	widest := entryBundles{}
	for _, n := range names {
		if size, ok := ledger.SizeWithTile(n); ok {
			index := (size - 1) / ledger.TileWidth
			widest[index] = max(widest[index], int(size-index*ledger.TileWidth))
		}
	}
	return widest, nil
}

// reach is the size of the log that the bundles give to one that has size entries: at least size.
func (w entryBundles) reach(size uint64) uint64 {
	for w[size/ledger.TileWidth] > int(size%ledger.TileWidth) {
		size = size/ledger.TileWidth*ledger.TileWidth + uint64(w[size/ledger.TileWidth])
	}
	return size
}

// read returns the entries from … to-1; errNoEntries if the bundles do not have all of them.
func (w entryBundles) read(ctx context.Context, from objectStore, first, to uint64) ([][]byte, error) {
	var entries [][]byte
	for first < to {
		index, offset := first/ledger.TileWidth, int(first%ledger.TileWidth)
		width := w[index]
		if width <= offset {
			return nil, fmt.Errorf("%w: %s", errNoEntries, ledger.EntriesPath(index, ledger.TileWidth))
		}
		name := ledger.EntriesPath(index, width)
		b, err := from.Get(ctx, name)
		if err != nil {
			return nil, err
		}
		some, err := ledger.ParseEntries(b, width)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		some = some[offset:min(uint64(width), to-index*ledger.TileWidth)]
		entries = append(entries, some...)
		first += uint64(len(some))
	}
	return entries, nil
}

// takeCheckpoints gives the records the published checkpoints that they lack, of sizes that their log has.
func (x *reconciler) takeCheckpoints(ctx context.Context, notes map[uint64]*ledger.Note) error {
	head, err := x.db.Head(ctx)
	if err != nil {
		return err
	}
	sizes := make([]uint64, 0, len(notes))
	for size := range notes {
		sizes = append(sizes, size)
	}
	slices.Sort(sizes)
	for _, size := range sizes {
		if size > head.Size {
			continue
		}
		have, err := x.db.Signed(ctx, size)
		if err != nil || have != nil {
			if err != nil {
				return err
			}
			continue
		}
		if err := x.db.PutSigned(ctx, size, notes[size].Encode()); err != nil {
			return err
		}
	}
	return nil
}

// steps gives every licence the steps that the log has of it and the records lack. Issues of which nothing is left are
// counted by issuer: their numbers are used.
func (x *reconciler) steps(ctx context.Context) error {
	head, err := x.db.Head(ctx)
	if err != nil {
		return err
	}
	lacking, lost := 0, 0
	for from := uint64(0); from < head.Size; from += sequenceBatch {
		entries, err := x.db.Entries(ctx, from, min(from+sequenceBatch, head.Size))
		if err != nil {
			return err
		}
		for n, b := range entries {
			known, fresh, issuer, err := x.step(ctx, from+uint64(n), b)
			if err != nil {
				return err
			}
			if fresh {
				lacking++
			}
			if !known && issuer != "" {
				x.unknown[issuer]++
				lost++
			}
		}
	}
	if lacking > 0 {
		err := x.differs(difference{Kind: "steps", Where: x.config.Records.Path, ZH: fmt.Sprintf("证照缺少账本上的 %d 步", lacking), EN: fmt.Sprintf("licences lack %d steps that the log has", lacking)},
			func() error { return nil }) // done one by one
		if err != nil {
			return err
		}
	}
	if lost == 0 {
		return nil
	}
	return x.differs(difference{Kind: "lost-issues", Where: "ledger", ZH: fmt.Sprintf("账本有 %d 份证照的签发，此处别无所存：作废同样多的编号", lost),
		EN: fmt.Sprintf("the log has the issue of %d licences of which nothing else is left here: as many numbers are burnt", lost)}, func() error { return nil })
}

// step looks at one entry of the log. issuer is who issued, "" for other steps.
func (x *reconciler) step(ctx context.Context, index uint64, b []byte) (known, fresh bool, issuer string, err error) {
	signed, err := contract.ParseEvent(b)
	if err != nil {
		return false, false, "", err
	}
	e := signed.Event
	if e.Handle == ([32]byte{}) {
		return true, false, "", nil
	}
	hash := contract.Hash(b)
	there, err := x.db.EventAt(ctx, hash)
	if err != nil || there == int64(index) {
		return true, false, "", err
	}
	if e.Kind == contract.Issued {
		issuer = e.Actor
	}
	if !x.Mend {
		known, err = x.db.HandleKnown(ctx, e.Handle)
		return known, known, issuer, err
	}
	known, fresh, err = x.db.AdoptEvent(ctx, records.AdoptedEvent{Handle: e.Handle, Kind: e.Kind, Hash: hash, Bytes: b, At: time.UnixMicro(e.Time), Actor: e.Actor,
		Index: index, Next: e.Successor, Receiver: e.Counterparty})
	return known, fresh, issuer, err
}
