package embedded_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/elicence/elicence/ledger"
	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/ledger/embedded"
	"github.com/elicence/elicence/ledger/ledgertest"
)

func submit(t *testing.T, s *embedded.Sequencer, events ...[]byte) {
	t.Helper()
	outcomes, err := s.Submit(t.Context(), events)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range outcomes {
		if o.Refusal != nil {
			t.Fatal(o.Refusal)
		}
	}
}

type world struct {
	*ledgertest.World
	store *ledgertest.Memory
	tiles *ledgertest.MemoryTiles
}

func newWorld(t *testing.T) *world {
	return &world{ledgertest.NewWorld(t, "embedded"), ledgertest.NewMemory(), ledgertest.NewMemoryTiles()}
}

func (w *world) open() *embedded.Sequencer { return w.openOn(w.store) }

func (w *world) openOn(s embedded.Store) *embedded.Sequencer {
	return embedded.New(s, w.tiles, w.LogKey, w.LogCertificate, ledgertest.Origin, w.Now)
}

func TestClockBehindTheEvents(t *testing.T) {
	w := newWorld(t)
	s := w.open()
	submit(t, s, w.Founding()...)
	h := w.Handle()
	ahead := w.Sign(w.Hospital, contract.Event{Kind: contract.Issued, Handle: h, Parts: ledgertest.Parts(h), Time: w.Now().Add(time.Hour).UnixMicro()})
	good := w.Issue(w.Hospital).Last()
	if _, err := s.Submit(t.Context(), [][]byte{good, ahead}); !errors.Is(err, embedded.ErrClock) {
		t.Fatalf("an hour ahead: %v", err)
	}
	if head, err := w.store.Head(t.Context()); err != nil || head.Size != 7 {
		t.Fatalf("something was written: %d, %v", head.Size, err)
	}
	w.Advance(time.Hour)
	submit(t, s, good, ahead)
}

// counting counts what a batch reads.
type counting struct {
	embedded.Store
	gets, keys, lookups, entries int
}

func (c *counting) StateGet(ctx context.Context, keys []string) (map[string][]byte, error) {
	c.gets++
	c.keys += len(keys)
	return c.Store.StateGet(ctx, keys)
}

func (c *counting) IndexOf(ctx context.Context, hash [32]byte) (uint64, bool, error) {
	c.lookups++
	return c.Store.IndexOf(ctx, hash)
}

func (c *counting) Entries(ctx context.Context, from, to uint64) ([][]byte, error) {
	c.entries += int(to - from)
	return c.Store.Entries(ctx, from, to)
}

// TestABatchReadsOnlyWhatItTouches: the cost of an event does not grow with the log.
func TestABatchReadsOnlyWhatItTouches(t *testing.T) {
	w := newWorld(t)
	c := &counting{Store: w.store}
	s := w.openOn(c)
	submit(t, s, w.Founding()...)
	for range 3 {
		var batch [][]byte
		for range 100 {
			batch = append(batch, w.Issue(w.Hospital).Last())
		}
		*c = counting{Store: w.store}
		submit(t, s, batch...)
		if c.gets != 1 || c.keys != 102 || c.lookups != 0 || c.entries != 0 { // registrar, one certificate, 100 licences
			t.Errorf("%d reads of %d keys, %d lookups, %d entries", c.gets, c.keys, c.lookups, c.entries)
		}
	}
}

func TestLongSubmissionsAreCut(t *testing.T) {
	w := newWorld(t)
	s := w.open()
	batch := w.Founding()
	for range embedded.MaxBatch {
		batch = append(batch, w.Issue(w.Hospital).Last())
	}
	submit(t, s, batch...)
	if head, err := w.store.Head(t.Context()); err != nil || head.Size != uint64(len(batch)) {
		t.Fatalf("%d, %v", head.Size, err)
	}
}

// published is a log of 300 entries with its tiles.
func published(t *testing.T, w *world) (*embedded.Sequencer, *ledger.Note) {
	t.Helper()
	s := w.open()
	batch := w.Founding()
	for len(batch) < 300 {
		batch = append(batch, w.Issue(w.Hospital).Last())
	}
	submit(t, s, batch...)
	return s, ledgertest.Publish(t, w.World, s, t.TempDir())
}

// TestDamagedTilesDoNotMatter: the entries decide; the log goes on and its receipts stay good.
func TestDamagedTilesDoNotMatter(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"changed": func(b []byte) []byte { b = bytes.Clone(b); b[len(b)-1] ^= 1; return b },
		"cut":     func(b []byte) []byte { return b[:len(b)-1] },
		"gone":    func([]byte) []byte { return nil },
	} {
		w := newWorld(t)
		dir := t.TempDir()
		first, note := published(t, w)
		police := w.Cosigner(dir, "police", w.Police)
		if _, err := police.Cosign(t.Context(), note.Encode(), first.Consistency); err != nil {
			t.Fatal(err)
		}
		submit(t, first, w.Issue(w.Hospital).Last())
		for _, path := range w.tiles.Paths() {
			if strings.HasPrefix(path, "tile/0") || strings.HasPrefix(path, "tile/1") {
				b, err := w.tiles.Get(t.Context(), path)
				if err != nil {
					t.Fatal(err)
				}
				w.tiles.Damage(path, damage(b))
			}
		}
		for _, first := range []string{"receipt", "submit", "cosign"} {
			s := w.open()
			if first == "cosign" { // bit rot must not look like a fork
				b, err := s.Checkpoint(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if _, err := police.Cosign(t.Context(), b, s.Consistency); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			if first == "submit" {
				submit(t, s, w.Issue(w.Hospital).Last())
			}
			for _, index := range []uint64{0, 1, 40, 255, 256, 299} {
				b, err := s.Receipt(t.Context(), index)
				if err != nil {
					t.Fatalf("%s, %s first: %v", name, first, err)
				}
				r, err := ledger.ParseReceipt(b)
				if err != nil || r.Included() != nil || r.Note.Checkpoint != note.Checkpoint {
					t.Errorf("%s, %s first: receipt %d: %v", name, first, index, err)
				}
			}
		}
	}
}

// TestDamagedEntriesStopTheLog: nothing is appended to or signed for a log that does not give its own root.
func TestDamagedEntriesStopTheLog(t *testing.T) {
	w := newWorld(t)
	published(t, w)
	for _, path := range w.tiles.Paths() {
		w.tiles.Damage(path, nil)
	}
	w.store.Tamper(func(e []embedded.Entry) []embedded.Entry {
		e[5].Bytes = bytes.Clone(e[6].Bytes)
		return e
	})
	s := w.open()
	if _, err := s.Submit(t.Context(), [][]byte{w.Issue(w.Hospital).Last()}); !errors.Is(err, embedded.ErrDamaged) {
		t.Errorf("submit: %v", err)
	}
	if _, err := s.Receipt(t.Context(), 4); !errors.Is(err, embedded.ErrDamaged) {
		t.Errorf("receipt: %v", err)
	}
}

// oddHead is a Store whose head was tampered with.
type oddHead struct {
	embedded.Store
	change func(*embedded.Head)
}

func (o oddHead) Head(ctx context.Context) (embedded.Head, error) {
	h, err := o.Store.Head(ctx)
	o.change(&h)
	return h, err
}

func TestDamagedHeadStopsTheLog(t *testing.T) {
	w := newWorld(t)
	submit(t, w.open(), w.Founding()...)
	earlier, err := w.store.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := w.open()
	for range 293 {
		submit(t, s, w.Issue(w.Hospital).Last())
	}
	ledgertest.Publish(t, w.World, s, t.TempDir())
	for name, change := range map[string]func(*embedded.Head){
		"an earlier one": func(h *embedded.Head) { *h = earlier },
		"no body":        func(h *embedded.Head) { h.Body = nil },
		"another size":   func(h *embedded.Head) { h.Size-- },
		"size 0":         func(h *embedded.Head) { h.Size = 0 },
		"noise":          func(h *embedded.Head) { h.Body = []byte("noise") },
		"another origin": func(h *embedded.Head) { h.Body = bytes.Replace(h.Body, []byte("example"), []byte("example2"), 1) },
	} {
		s := w.openOn(oddHead{w.store, change})
		if _, err := s.Submit(t.Context(), [][]byte{w.Issue(w.Hospital).Last()}); !errors.Is(err, embedded.ErrDamaged) {
			t.Errorf("%s: submit: %v", name, err)
		}
		if _, err := s.Checkpoint(t.Context()); !errors.Is(err, embedded.ErrDamaged) {
			t.Errorf("%s: checkpoint: %v", name, err)
		}
	}
	if err := w.store.PutSigned(t.Context(), 300, []byte("noise")); err != nil {
		t.Fatal(err)
	}
	s = w.open()
	if _, err := s.Checkpoint(t.Context()); !errors.Is(err, embedded.ErrDamaged) {
		t.Errorf("a signed checkpoint that is noise: %v", err)
	}
}

func TestNotPublishedYet(t *testing.T) {
	w := newWorld(t)
	s, _ := published(t, w)
	submit(t, s, w.Issue(w.Hospital).Last())
	if _, err := s.Receipt(t.Context(), 299); err != nil {
		t.Error(err)
	}
	if _, err := s.Receipt(t.Context(), 300); !errors.Is(err, embedded.ErrNotPublished) {
		t.Errorf("an entry behind the last checkpoint: %v", err)
	}
	if _, err := s.Prove(t.Context(), 0, 1000); err == nil {
		t.Error("a proof in a tree that is not there")
	}
	if _, err := s.Prove(t.Context(), 301, 301); err == nil {
		t.Error("a proof of an entry that is not there")
	}
	if _, err := s.Consistency(t.Context(), 5, 1000); err == nil {
		t.Error("a proof to a tree that is not there")
	}
	if _, err := s.Consistency(t.Context(), 5, 4); err == nil {
		t.Error("a proof backwards")
	}
}

// TestPublishedObjects: what lies among the objects is enough to begin the records anew.
func TestPublishedObjects(t *testing.T) {
	w := newWorld(t)
	_, note := published(t, w)
	var checkpoints int
	for _, path := range w.tiles.Paths() {
		if strings.HasPrefix(path, "checkpoint/00000000000000000300-") {
			checkpoints++
			b, err := w.tiles.Get(t.Context(), path)
			if err != nil || !bytes.Equal(b, note.Encode()) {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
	if checkpoints != 1 {
		t.Errorf("%d checkpoints among %q", checkpoints, w.tiles.Paths())
	}
	var entries [][]byte
	for index, width := range []int{256, 44} {
		b, err := w.tiles.Get(t.Context(), ledger.EntriesPath(uint64(index), width))
		if err != nil {
			t.Fatal(err)
		}
		part, err := ledger.ParseEntries(b, width)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, part...)
	}
	again := embedded.New(ledgertest.NewMemory(), ledgertest.NewMemoryTiles(), w.LogKey, w.LogCertificate, ledgertest.Origin, w.Now)
	submit(t, again, entries...)
	b, err := again.Checkpoint(t.Context())
	if err != nil || !bytes.HasPrefix(b, note.Body) {
		t.Errorf("%q, %v", b, err)
	}
}

// TestTheLogsKeyChanges: the body stays, a new signature comes under the new key.
func TestTheLogsKeyChanges(t *testing.T) {
	w := newWorld(t)
	_, note := published(t, w)
	other := ledgertest.NewWorld(t, "new key")
	s := embedded.New(w.store, w.tiles, other.LogKey, other.LogCertificate, ledgertest.Origin, w.Now)
	b, err := s.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n, err := ledger.ParseNote(b)
	if err != nil || !bytes.Equal(n.Body, note.Body) || n.VerifyLog(other.LogCertificate) != nil {
		t.Fatalf("%v", err)
	}
	if err := s.Publish(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Receipt(t.Context(), 9); err != nil || !bytes.Contains(r, []byte("cosigner/police")) {
		t.Errorf("the earlier cosignatures got lost: %v", err)
	}
}

// TestFirstReceiptIsFromTheFirstCheckpoint: what was proven early stays proven early, however often the log is signed after;
// a checkpoint that too few have signed proves less than a later one that enough have.
func TestFirstReceiptIsFromTheFirstCheckpoint(t *testing.T) {
	w := newWorld(t)
	s, first := published(t, w)
	submit(t, s, w.Issue(w.Hospital).Last())
	alone, err := s.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Publish(t.Context(), alone); err != nil {
		t.Fatal(err)
	}
	submit(t, s, w.Issue(w.Hospital).Last())
	last := ledgertest.Publish(t, w.World, s, t.TempDir())
	size := first.Checkpoint.Size
	if last.Checkpoint.Size != size+2 {
		t.Fatalf("sizes %d and %d", size, last.Checkpoint.Size)
	}
	cosigned := func(n *ledger.Note) bool { return len(n.Lines) > 1 }
	for _, is := range []struct {
		index, want uint64
		enough      func(*ledger.Note) bool
	}{{9, size, cosigned}, {size - 1, size, cosigned}, {size, size + 2, cosigned}, {size + 1, size + 2, cosigned},
		{9, size + 2, func(*ledger.Note) bool { return false }}} {
		b, err := w.open().FirstReceipt(t.Context(), is.index, is.enough)
		if err != nil {
			t.Fatal(err)
		}
		r, err := ledger.ParseReceipt(b)
		if err != nil || r.Included() != nil || r.Note.Checkpoint.Size != is.want {
			t.Errorf("entry %d: from the checkpoint of %d entries, want %d; %v", is.index, r.Note.Checkpoint.Size, is.want, err)
		}
	}
	if _, err := s.FirstReceipt(t.Context(), size+2, cosigned); !errors.Is(err, embedded.ErrNotPublished) {
		t.Errorf("%v", err)
	}
}
