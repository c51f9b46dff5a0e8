package ledgertest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/elicence/elicence/ledger"
	"github.com/elicence/elicence/ledger/contract"
)

// Sequencer is what every driver offers.
type Sequencer interface {
	Submit(ctx context.Context, events [][]byte) ([]ledger.Outcome, error)
	Checkpoint(ctx context.Context) ([]byte, error)
	Publish(ctx context.Context, note []byte) error
	Prove(ctx context.Context, index, size uint64) ([][]byte, error)
	Consistency(ctx context.Context, from, to uint64) ([][]byte, error)
	Receipt(ctx context.Context, index uint64) ([]byte, error)
	Audited(ctx context.Context) (ledger.Audited, error)
}

// Driver makes an empty log for a World and returns a function that opens a sequencer on it. Opening again is a restart,
// or a second process beside the first.
type Driver func(t *testing.T, w *World) (open func() Sequencer)

// Run holds a driver to what every sequencer must do.
func Run(t *testing.T, d Driver) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, d Driver)
	}{
		{"Empty", testEmpty},
		{"Founding", testFounding},
		{"Order", testOrder},
		{"BatchesDoNotMatter", testBatchesDoNotMatter},
		{"SameBytesSameIndex", testSameBytesSameIndex},
		{"SameBytesTwiceInABatch", testSameBytesTwiceInABatch},
		{"RefusedIsNotInTheLog", testRefused},
		{"HandedOverTwiceInABatch", testHandedOverTwiceInABatch},
		{"Receipts", testReceipts},
		{"PublishedBelongsToTheLog", testPublishedBelongs},
		{"CheckpointIsSignedAgain", testCheckpointAgain},
		{"CosignersFollow", testCosignersFollow},
		{"Concurrent", testConcurrent},
		{"TwoProcesses", testTwoProcesses},
		{"Cancelled", testCancelled},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, d) })
	}
}

// submit fails the test unless all events are accepted; it returns their indexes.
func submit(t *testing.T, s Sequencer, events ...[]byte) []uint64 {
	t.Helper()
	outcomes, err := s.Submit(t.Context(), events)
	if err != nil {
		t.Fatal(err)
	}
	if len(outcomes) != len(events) {
		t.Fatalf("%d answers for %d events", len(outcomes), len(events))
	}
	var indexes []uint64
	for i, o := range outcomes {
		if o.Refusal != nil {
			t.Fatalf("event %d: %v", i, o.Refusal)
		}
		if o.Hash != contract.Hash(events[i]) {
			t.Fatalf("answer %d is for another event", i)
		}
		indexes = append(indexes, o.Index)
	}
	return indexes
}

// rule fails the test unless the one event is refused by the rule.
func rule(t *testing.T, s Sequencer, event []byte, want string) {
	t.Helper()
	outcomes, err := s.Submit(t.Context(), [][]byte{event})
	if err != nil {
		t.Fatal(err)
	}
	if r := outcomes[0].Refusal; r == nil || r.Rule != want || r.ZH == "" || r.EN == "" {
		t.Fatalf("refusal %v, want %s", r, want)
	}
}

// Publish has the newest checkpoint cosigned by both cosigners and published, as a service does.
func Publish(t *testing.T, w *World, s Sequencer, dir string) *ledger.Note {
	t.Helper()
	note, err := s.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]Organisation{"police": w.Police, "archive": w.Archive} {
		if note, err = w.Cosigner(dir, name, o).Cosign(t.Context(), note, s.Consistency); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Publish(t.Context(), note); err != nil {
		t.Fatal(err)
	}
	n, err := ledger.ParseNote(note)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// root is RFC 6962, 2.1, word for word: the second opinion on what a sequencer computes piece by piece.
func root(leaves [][]byte) [32]byte {
	switch len(leaves) {
	case 0:
		return [32]byte(ledger.Hasher{}.EmptyRoot())
	case 1:
		return ledger.LeafHash(leaves[0])
	}
	k := 1
	for 2*k < len(leaves) {
		k *= 2
	}
	l, r := root(leaves[:k]), root(leaves[k:])
	return [32]byte(ledger.Hasher{}.HashChildren(l[:], r[:]))
}

// clean audits the log, fails the test if anything does not fit, and returns its entries.
func clean(t *testing.T, w *World, s Sequencer, known ...[]byte) [][]byte {
	t.Helper()
	in, err := s.Audited(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	in.Trust, in.Known = w.Trust(), known
	report, err := ledger.Audit(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if report.Misfit != nil {
		t.Fatalf("audit: %+v", *report.Misfit)
	}
	if report.Entries != in.Size {
		t.Fatalf("audit: %d of %d entries", report.Entries, in.Size)
	}
	entries, err := in.Entries(t.Context(), 0, in.Size)
	if err != nil {
		t.Fatal(err)
	}
	if in.Size > 0 && report.Root != root(entries) {
		t.Fatal("the root is not RFC 6962's")
	}
	return entries
}

func testEmpty(t *testing.T, d Driver) {
	w := NewWorld(t, "empty")
	s := d(t, w)()
	if b, err := s.Checkpoint(t.Context()); b != nil || err != nil {
		t.Fatalf("checkpoint of nothing: %q, %v", b, err)
	}
	if _, err := s.Receipt(t.Context(), 0); err == nil {
		t.Fatal("a receipt of nothing")
	}
	if outcomes, err := s.Submit(t.Context(), nil); len(outcomes) != 0 || err != nil {
		t.Fatalf("no events: %v, %v", outcomes, err)
	}
	if entries := clean(t, w, s); len(entries) != 0 {
		t.Fatalf("%d entries", len(entries))
	}
}

func testFounding(t *testing.T, d Driver) {
	w := NewWorld(t, "founding")
	s := d(t, w)()
	l := w.Issue(w.Hospital)
	rule(t, s, l.Last(), contract.RuleFirstEntry)
	rule(t, s, w.Enrol(w.Hospital), contract.RuleFirstEntry)
	submit(t, s, w.Enrol(w.Registrar))
	rule(t, s, l.Last(), contract.RuleNotEnrolled)
	submit(t, s, w.Enrol(w.Hospital), l.Last())
	clean(t, w, s)
}

func testOrder(t *testing.T, d Driver) {
	w := NewWorld(t, "order")
	s := d(t, w)()
	events := w.Founding()
	a, b := w.Issue(w.Hospital), w.Issue(w.Agency)
	events = append(events, a.Last(), b.Last(), a.HandOver(w.Hospital, w.Archive), a.Accept(w.Archive), b.Register(w.Police),
		a.HandOver(w.Archive, w.OtherArchive), a.Reject(w.OtherArchive), a.Register(w.Police), b.Revoke(w.Registrar))
	indexes := submit(t, s, events...)
	entries := clean(t, w, s)
	if len(entries) != len(events) {
		t.Fatalf("%d entries of %d events", len(entries), len(events))
	}
	latest := map[[32]byte]uint64{} // of each licence, and of the founding
	for i, e := range events {
		parsed, err := contract.ParseEvent(e)
		if err != nil {
			t.Fatal(err)
		}
		if index, seen := latest[parsed.Event.Handle]; seen && index >= indexes[i] {
			t.Fatalf("event %d got index %d after %d", i, indexes[i], index)
		}
		latest[parsed.Event.Handle] = indexes[i]
		if !bytes.Equal(e, entries[indexes[i]]) {
			t.Fatalf("entry %d is another event", indexes[i])
		}
	}
	note, err := s.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n, err := ledger.ParseNote(note)
	if err != nil {
		t.Fatal(err)
	}
	last, err := contract.ParseEvent(events[len(events)-1])
	if err != nil {
		t.Fatal(err)
	}
	want := ledger.Checkpoint{Origin: Origin, Size: uint64(len(events)), Root: root(entries), Time: last.Event.Time}
	if n.Checkpoint != want {
		t.Fatalf("checkpoint %+v, want %+v", n.Checkpoint, want)
	}
}

// many makes n events: the founding, then licences.
func many(w *World, n int) [][]byte {
	events := w.Founding()
	for len(events) < n {
		events = append(events, w.Issue(w.Hospital).Last())
	}
	return events[:n]
}

// cuts divides n events into batches of a size. Batches of one cost a driver that asks others a round of questions each: they
// stand where a tile begins or ends, and others between.
func cuts(n, size int) (sizes []int) {
	for done := 0; done < n; {
		next := size
		if size == 1 && (done+16)%256 > 32 {
			next = min(32, 256-(done+16)%256)
		}
		next = min(next, n-done)
		sizes = append(sizes, next)
		done += next
	}
	return sizes
}

func testBatchesDoNotMatter(t *testing.T, d Driver) {
	w := NewWorld(t, "batches")
	events := many(w, 600)
	var bodies [][]byte
	for _, batch := range []int{1, 7, 255, 256, 257, 600} {
		open := d(t, w)
		s := open()
		done := 0
		for n, size := range cuts(len(events), batch) {
			submit(t, s, events[done:done+size]...)
			done += size
			if n%5 == 4 {
				s = open() // a restart between batches makes no difference either
			}
		}
		note, err := s.Checkpoint(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		body, _, _ := bytes.Cut(note, []byte("\n\n"))
		bodies = append(bodies, body)
	}
	for _, b := range bodies[1:] {
		if !bytes.Equal(b, bodies[0]) {
			t.Fatalf("%q and %q", b, bodies[0])
		}
	}
}

func testSameBytesSameIndex(t *testing.T, d Driver) {
	w := NewWorld(t, "same")
	open := d(t, w)
	s := open()
	events := append(w.Founding(), w.Issue(w.Hospital).Last())
	l := w.Issue(w.Hospital)
	l.HandOver(w.Hospital, w.Archive)
	l.Accept(w.Archive)
	events = append(events, l.Events...)
	first := submit(t, s, events...)
	for _, s := range []Sequencer{s, open()} {
		if again := submit(t, s, events...); !slices.Equal(again, first) {
			t.Fatalf("%v, then %v", first, again)
		}
		for i := len(events) - 1; i >= 0; i-- { // alone and in another order
			if got := submit(t, s, events[i])[0]; got != first[i] {
				t.Fatalf("event %d: index %d, then %d", i, first[i], got)
			}
		}
	}
	// Old and new in one batch: the new ones go on from the old.
	register := l.Register(w.Police)
	mixed := submit(t, s, events[len(events)-1], register, events[0])
	if want := []uint64{first[len(first)-1], uint64(len(events)), 0}; !slices.Equal(mixed, want) {
		t.Fatalf("%v, want %v", mixed, want)
	}
	clean(t, w, s)
}

func testSameBytesTwiceInABatch(t *testing.T, d Driver) {
	w := NewWorld(t, "twice")
	s := d(t, w)()
	submit(t, s, w.Founding()...)
	l := w.Issue(w.Hospital)
	got := submit(t, s, l.Last(), l.Last(), l.HandOver(w.Hospital, w.Archive), l.Events[0])
	if got[0] != got[1] || got[0] != got[3] || got[2] != got[0]+1 {
		t.Fatalf("indexes %v", got)
	}
	clean(t, w, s)
}

func testRefused(t *testing.T, d Driver) {
	w := NewWorld(t, "refused")
	s := d(t, w)()
	submit(t, s, w.Founding()...)
	l := w.Issue(w.Hospital)
	submit(t, s, l.Last())
	rule(t, s, l.Make(w.Archive, contract.Event{Kind: contract.Accepted, Part: "counterfoil"}), contract.RuleNotHandedOver)
	rule(t, s, []byte("not an event"), contract.RuleMalformed)
	before := len(clean(t, w, s))
	stale := l.Make(w.Hospital, contract.Event{Kind: contract.HandedOver, Part: "counterfoil", Counterparty: w.Archive.Code})
	l.Register(w.Police)
	outcomes, err := s.Submit(t.Context(), [][]byte{l.Last(), stale, w.Issue(w.Agency).Last()})
	if err != nil {
		t.Fatal(err)
	}
	if outcomes[0].Refusal != nil || outcomes[2].Refusal != nil || outcomes[1].Refusal == nil || outcomes[1].Refusal.Rule != contract.RuleStale {
		t.Fatalf("outcomes %+v", outcomes)
	}
	if first, second := min(outcomes[0].Index, outcomes[2].Index), max(outcomes[0].Index, outcomes[2].Index); first != uint64(before) || second != first+1 {
		t.Fatal("a refused event took an index")
	}
	if after := len(clean(t, w, s)); after != before+2 {
		t.Fatalf("%d entries, then %d", before, after)
	}
}

func testHandedOverTwiceInABatch(t *testing.T, d Driver) {
	w := NewWorld(t, "hand-over")
	s := d(t, w)()
	submit(t, s, w.Founding()...)
	l := w.Issue(w.Hospital)
	first := l.HandOver(w.Hospital, w.Archive)
	second := l.HandOver(w.Hospital, w.OtherArchive) // names the first as its previous event
	outcomes, err := s.Submit(t.Context(), [][]byte{l.Events[0], first, second})
	if err != nil {
		t.Fatal(err)
	}
	if outcomes[0].Refusal != nil || outcomes[1].Refusal != nil {
		t.Fatalf("outcomes %+v", outcomes)
	}
	if r := outcomes[2].Refusal; r == nil || r.Rule != contract.RuleHandedOverAlready {
		t.Fatalf("refusal %v", r)
	}
	clean(t, w, s)
}

func testReceipts(t *testing.T, d Driver) {
	w := NewWorld(t, "receipts")
	open := d(t, w)
	s := open()
	dir := t.TempDir()
	events := many(w, 520)
	done := 0
	for _, n := range []int{1, 9, 255, 256, 300, 520} {
		submit(t, s, events[done:n]...)
		done = n
		if _, err := s.Receipt(t.Context(), uint64(n)-1); err == nil {
			t.Fatal("a receipt before the checkpoint is published")
		}
		Publish(t, w, s, dir)
		for _, reader := range []Sequencer{s, open()} {
			for index := 0; index < n; index += 1 + n/40 {
				checkReceipt(t, w, reader, uint64(index), events[index])
			}
			checkReceipt(t, w, reader, uint64(n)-1, events[n-1])
		}
	}
	clean(t, w, s)
}

func checkReceipt(t *testing.T, w *World, s Sequencer, index uint64, event []byte) {
	t.Helper()
	b, err := s.Receipt(t.Context(), index)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > 6<<10 {
		t.Fatalf("a receipt of %d bytes", len(b))
	}
	r, err := ledger.ParseReceipt(b)
	if err != nil {
		t.Fatal(err)
	}
	trust := w.Trust()
	e, err := contract.ParseEvent(event)
	if err != nil {
		t.Fatal(err)
	}
	if e.Event.Actor == w.Police.Code || e.Event.Actor == w.Archive.Code {
		trust.Needed = 1
	}
	evidence, err := r.Check(trust)
	if err != nil {
		t.Fatalf("receipt %d: %v", index, err)
	}
	if evidence.Index != index || !bytes.Equal(evidence.Event.Bytes, event) || evidence.CosignedAt.IsZero() {
		t.Fatalf("receipt %d: %+v", index, evidence)
	}
}

func testPublishedBelongs(t *testing.T, d Driver) {
	w := NewWorld(t, "published")
	s, other := d(t, w)(), d(t, w)()
	submit(t, s, w.Founding()...)
	submit(t, other, append(w.Founding(), w.Issue(w.Hospital).Last())...)
	foreign, err := other.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Publish(t.Context(), foreign); err == nil {
		t.Fatal("another log's checkpoint was published")
	}
	if err := s.Publish(t.Context(), []byte("no checkpoint")); err == nil {
		t.Fatal("no checkpoint was published")
	}
	if _, err := s.Receipt(t.Context(), 0); err == nil {
		t.Fatal("a receipt from what was refused")
	}
	// An older checkpoint of its own is welcome: cosigners may have been slower than the log.
	note, err := s.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	submit(t, s, w.Issue(w.Hospital).Last())
	if err := s.Publish(t.Context(), note); err != nil {
		t.Fatal(err)
	}
	clean(t, w, s)
}

func testCheckpointAgain(t *testing.T, d Driver) {
	w := NewWorld(t, "again")
	open := d(t, w)
	s := open()
	submit(t, s, w.Founding()...)
	w.LogKey.Fail(true)
	l := w.Issue(w.Hospital)
	submit(t, s, l.Last()) // sequencing needs no key
	if _, err := s.Checkpoint(t.Context()); err == nil {
		t.Fatal("a checkpoint without a key")
	}
	w.LogKey.Fail(false)
	a, err := s.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b, err := open().Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	bodyA, _, _ := bytes.Cut(a, []byte("\n\n"))
	bodyB, _, _ := bytes.Cut(b, []byte("\n\n"))
	if !bytes.Equal(bodyA, bodyB) {
		t.Fatalf("%q and %q", bodyA, bodyB)
	}
}

func testCosignersFollow(t *testing.T, d Driver) {
	w := NewWorld(t, "cosigners")
	s := d(t, w)()
	dir := t.TempDir()
	submit(t, s, w.Founding()...)
	var known [][]byte
	for i := range 6 {
		for range 1 << i {
			submit(t, s, w.Issue(w.Hospital).Last())
		}
		known = append(known, Publish(t, w, s, dir).Encode())
	}
	clean(t, w, s, known...)
	// Cosigned again, nothing changes; the signatures of both stay.
	n := Publish(t, w, s, dir)
	if len(n.Lines) != 3 {
		t.Fatalf("%d signature lines", len(n.Lines))
	}
}

func testConcurrent(t *testing.T, d Driver) {
	w := NewWorld(t, "concurrent")
	open := d(t, w)
	s := open()
	submit(t, s, w.Founding()...)
	race(t, w, func(int) Sequencer { return s })
	clean(t, w, s)
}

func testTwoProcesses(t *testing.T, d Driver) {
	w := NewWorld(t, "two")
	open := d(t, w)
	a, b := open(), open()
	submit(t, a, w.Founding()...)
	race(t, w, func(n int) Sequencer { return []Sequencer{a, b}[n%2] })
	clean(t, w, a)
	clean(t, w, b)
}

// race submits licences from several goroutines, each event by two of them: every event must get one index.
func race(t *testing.T, w *World, pick func(n int) Sequencer) {
	t.Helper()
	const licences, workers = 12, 4
	var work [][][]byte
	for range licences {
		l := w.Issue(w.Hospital)
		l.HandOver(w.Hospital, w.Archive)
		l.Accept(w.Archive)
		work = append(work, l.Events)
	}
	var mu sync.Mutex
	indexes := map[[32]byte]uint64{}
	taken := map[uint64][32]byte{}
	var wait sync.WaitGroup
	failures := make(chan error, workers*licences)
	for n := range workers {
		wait.Go(func() {
			for _, events := range work {
				outcomes, err := pick(n).Submit(context.Background(), events)
				if err != nil {
					failures <- err
					return
				}
				mu.Lock()
				for _, o := range outcomes {
					if o.Refusal != nil {
						failures <- o.Refusal
					}
					if was, ok := indexes[o.Hash]; ok && was != o.Index {
						failures <- fmt.Errorf("one event at %d and %d", was, o.Index)
					}
					if was, ok := taken[o.Index]; ok && was != o.Hash {
						failures <- fmt.Errorf("two events at %d", o.Index)
					}
					indexes[o.Hash], taken[o.Index] = o.Index, o.Hash
				}
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	close(failures)
	for err := range failures {
		t.Error(err)
	}
	if len(indexes) != 3*licences {
		t.Errorf("%d events of %d", len(indexes), 3*licences)
	}
}

func testCancelled(t *testing.T, d Driver) {
	w := NewWorld(t, "cancelled")
	s := d(t, w)()
	submit(t, s, w.Founding()...)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l := w.Issue(w.Hospital)
	if _, err := s.Submit(ctx, l.Events); err == nil {
		t.Fatal("a cancelled submission succeeded")
	}
	submit(t, s, l.Events...)
	clean(t, w, s)
}
