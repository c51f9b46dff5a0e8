package ledgertest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/elicence/elicence/ledger"
	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/ledger/embedded"
)

// Backing is what the embedded sequencer stands on. Open returns the same store again, as a restarted program would.
type Backing struct {
	Open  func() embedded.Store
	Tiles embedded.Tiles
}

// RunStore holds a store of the embedded sequencer to its contract, lets writes fail under a sequencer, and runs the suite
// of sequencers on it. fresh makes an empty one.
func RunStore(t *testing.T, fresh func(t *testing.T) Backing) {
	t.Run("Store", func(t *testing.T) { testStore(t, fresh) })
	t.Run("StoreFences", func(t *testing.T) { testStoreFences(t, fresh) })
	t.Run("StoreIsAtomic", func(t *testing.T) { testStoreAtomic(t, fresh) })
	t.Run("EveryWriteFails", func(t *testing.T) { testEveryWriteFails(t, fresh) })
	t.Run("Sequencer", func(t *testing.T) {
		Run(t, func(t *testing.T, w *World) func() Sequencer {
			b := fresh(t)
			tiles := JudgedTiles(t, b.Tiles)
			return func() Sequencer {
				return embedded.New(Judged(t, b.Open()), tiles, w.LogKey, w.LogCertificate, Origin, w.Now)
			}
		})
	})
}

// batch makes an Append of n entries that means nothing to a contract.
func batch(size uint64, n int) embedded.Batch {
	b := embedded.Batch{ExpectedSize: size, Writes: map[string][]byte{"last": fmt.Append(nil, size), fmt.Sprint("at/", size): {1}}}
	for i := range uint64(n) {
		bytes := fmt.Appendf(nil, "entry %d", size+i)
		b.Entries = append(b.Entries, embedded.Entry{Index: size + i, Hash: contract.Hash(bytes), Bytes: bytes})
	}
	b.Body = fmt.Appendf(nil, "body %d", size+uint64(n))
	return b
}

func testStore(t *testing.T, fresh func(t *testing.T) Backing) {
	backing := fresh(t)
	s := backing.Open()
	ctx := t.Context()
	if head, err := s.Head(ctx); err != nil || head.Size != 0 || head.Body != nil {
		t.Fatalf("head of an empty log: %+v, %v", head, err)
	}
	if note, err := s.LastSigned(ctx); note != nil || err != nil {
		t.Fatalf("signed in an empty log: %q, %v", note, err)
	}
	size := uint64(0)
	for _, n := range []int{1, 2, 300, 5} {
		if err := s.Append(ctx, batch(size, n)); err != nil {
			t.Fatal(err)
		}
		size += uint64(n)
	}
	for _, s := range []embedded.Store{s, backing.Open()} {
		if head, err := s.Head(ctx); err != nil || head.Size != size || string(head.Body) != fmt.Sprint("body ", size) {
			t.Fatalf("head: %d %q, %v", head.Size, head.Body, err)
		}
		entries, err := s.Entries(ctx, 0, size)
		if err != nil || len(entries) != int(size) {
			t.Fatalf("%d entries, %v", len(entries), err)
		}
		for i, e := range entries {
			if string(e) != fmt.Sprint("entry ", i) {
				t.Fatalf("entry %d is %q", i, e)
			}
			if index, found, err := s.IndexOf(ctx, contract.Hash(e)); index != uint64(i) || !found || err != nil {
				t.Fatalf("entry %d: index %d %v, %v", i, index, found, err)
			}
		}
		if part, err := s.Entries(ctx, 2, 5); err != nil || len(part) != 3 || string(part[0]) != "entry 2" {
			t.Fatalf("entries 2 to 4: %q, %v", part, err)
		}
		if beyond, err := s.Entries(ctx, size-1, size+7); err != nil || len(beyond) != 1 {
			t.Fatalf("%d entries beyond the end, %v", len(beyond), err)
		}
		if _, found, err := s.IndexOf(ctx, [32]byte{1}); found || err != nil {
			t.Fatalf("an entry that is not there: %v, %v", found, err)
		}
		values, err := s.StateGet(ctx, []string{"last", "at/0", "at/3", "never"})
		if err != nil || len(values) != 3 || string(values["last"]) != "303" {
			t.Fatalf("state %q, %v", values, err)
		}
		if values, err := s.StateGet(ctx, nil); err != nil || len(values) != 0 {
			t.Fatalf("no state: %q, %v", values, err)
		}
	}
	// As many keys as the greatest batch touches.
	var keys []string
	for i := range 8 * embedded.MaxBatch {
		keys = append(keys, fmt.Sprint("at/", i))
	}
	if values, err := s.StateGet(ctx, keys); err != nil || len(values) != 4 {
		t.Fatalf("%d values, %v", len(values), err)
	}
	for _, size := range []uint64{3, 308, 1} {
		if err := s.PutSigned(ctx, size, fmt.Append(nil, "first ", size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.PutSigned(ctx, 3, []byte("more signatures")); err != nil {
		t.Fatal(err)
	}
	for _, s := range []embedded.Store{s, backing.Open()} {
		if note, err := s.Signed(ctx, 3); string(note) != "more signatures" || err != nil {
			t.Fatalf("signed: %q, %v", note, err)
		}
		if note, err := s.Signed(ctx, 2); note != nil || err != nil {
			t.Fatalf("signed: %q, %v", note, err)
		}
		if note, err := s.LastSigned(ctx); string(note) != "first 308" || err != nil {
			t.Fatalf("last: %q, %v", note, err)
		}
		notes, err := s.SignedAfter(ctx, 1, 10)
		if err != nil || len(notes) != 2 || string(notes[0]) != "more signatures" || string(notes[1]) != "first 308" {
			t.Fatalf("after 1: %q, %v", notes, err)
		}
		if notes, err := s.SignedAfter(ctx, 0, 1); err != nil || len(notes) != 1 || string(notes[0]) != "first 1" {
			t.Fatalf("one after 0: %q, %v", notes, err)
		}
	}
}

func testStoreFences(t *testing.T, fresh func(t *testing.T) Backing) {
	s := fresh(t).Open()
	ctx := t.Context()
	if err := s.Append(ctx, batch(0, 3)); err != nil {
		t.Fatal(err)
	}
	for _, size := range []uint64{0, 2, 4} {
		if err := s.Append(ctx, batch(size, 2)); !errors.Is(err, embedded.ErrFenced) {
			t.Fatalf("append at %d to a log of 3: %v", size, err)
		}
	}
	if head, err := s.Head(ctx); err != nil || head.Size != 3 || string(head.Body) != "body 3" {
		t.Fatalf("head %+v, %v", head, err)
	}
	if values, err := s.StateGet(ctx, []string{"last", "at/2", "at/4"}); err != nil || len(values) != 1 || string(values["last"]) != "0" {
		t.Fatalf("state %q, %v", values, err)
	}
	// Of many that all expect the same size one wins.
	var wins atomic.Int32
	var wait sync.WaitGroup
	for n := range 8 {
		wait.Go(func() {
			switch err := s.Append(ctx, batch(3, 1+n)); {
			case err == nil:
				wins.Add(1)
			case !errors.Is(err, embedded.ErrFenced):
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if wins.Load() != 1 {
		t.Fatalf("%d appends won", wins.Load())
	}
}

func testStoreAtomic(t *testing.T, fresh func(t *testing.T) Backing) {
	s := fresh(t).Open()
	ctx := t.Context()
	if err := s.Append(ctx, batch(0, 3)); err != nil {
		t.Fatal(err)
	}
	// An entry whose hash stands already makes the whole batch fail.
	b := batch(3, 3)
	b.Entries[2].Bytes = []byte("entry 1")
	b.Entries[2].Hash = contract.Hash(b.Entries[2].Bytes)
	if err := s.Append(ctx, b); err == nil {
		t.Fatal("one event at two places")
	}
	if head, err := s.Head(ctx); err != nil || head.Size != 3 || string(head.Body) != "body 3" {
		t.Fatalf("head %+v, %v", head, err)
	}
	if entries, err := s.Entries(ctx, 0, 10); err != nil || len(entries) != 3 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	if values, err := s.StateGet(ctx, []string{"at/3"}); err != nil || len(values) != 0 {
		t.Fatalf("state %q, %v", values, err)
	}
	if err := s.Append(ctx, batch(3, 1)); err != nil {
		t.Fatal(err)
	}
}

// testEveryWriteFails runs one and the same day again and again; each time another write fails, first without and then
// with having happened. After a restart the day goes on, and must end with the same tree.
func testEveryWriteFails(t *testing.T, fresh func(t *testing.T) Backing) {
	w := NewWorld(t, "faults")
	events := many(w, 270) // one full tile and a partial one
	l := w.Issue(w.Hospital)
	events = append(events, l.Last(), l.HandOver(w.Hospital, w.Archive), l.Accept(w.Archive))
	batches := slices.Collect(slices.Chunk(events, 100))

	day := func(s Sequencer, dir string) error {
		for _, b := range batches {
			if _, err := s.Submit(t.Context(), b); err != nil {
				return err
			}
			note, err := s.Checkpoint(t.Context())
			if err != nil {
				return err
			}
			if note, err = w.Cosigner(dir, "police", w.Police).Cosign(t.Context(), note, s.Consistency); err != nil {
				return err
			}
			if err := s.Publish(t.Context(), note); err != nil {
				return err
			}
		}
		return nil
	}
	var faults Faults
	open := func(b Backing) Sequencer {
		return embedded.New(Judged(t, FaultyStore(b.Open(), &faults)), JudgedTiles(t, FaultyTiles(b.Tiles, &faults)), w.LogKey, w.LogCertificate, Origin, w.Now)
	}
	body := func(s Sequencer) []byte {
		note, err := s.Checkpoint(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		body, _, _ := bytes.Cut(note, []byte("\n\n"))
		return body
	}
	faults.Arm(0, false)
	s := open(fresh(t))
	if err := day(s, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	clean(t, w, s)
	want, writes := body(s), faults.Writes()
	if writes < 10 {
		t.Fatalf("only %d writes", writes)
	}
	for _, happened := range []bool{false, true} {
		for n := 1; n <= writes; n++ {
			name := fmt.Sprintf("write %d of %d, happened: %v", n, writes, happened)
			backing, dir := fresh(t), t.TempDir()
			faults.Arm(n, happened)
			s := open(backing)
			if err := day(s, dir); !errors.Is(err, ErrInjected) {
				t.Fatalf("%s: %v", name, err)
			}
			if n%2 == 0 { // the same process goes on, or a new one
				s = open(backing)
			}
			if err := day(s, dir); err != nil {
				t.Fatalf("%s: the second day: %v", name, err)
			}
			if got := body(s); !bytes.Equal(got, want) {
				t.Fatalf("%s: %q, want %q", name, got, want)
			}
			entries, err := backing.Open().Entries(t.Context(), 0, uint64(len(events))+1)
			if err != nil || !slices.EqualFunc(entries, events, bytes.Equal) {
				t.Fatalf("%s: %d entries that are not the events, %v", name, len(entries), err)
			}
			b, err := s.Receipt(t.Context(), uint64(len(events))-1)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if r, err := ledger.ParseReceipt(b); err != nil || r.Included() != nil {
				t.Fatalf("%s: receipt: %v", name, err)
			}
		}
	}
}
