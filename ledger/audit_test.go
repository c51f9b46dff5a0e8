package ledger_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/elicence/elicence/ledger"
	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/ledger/embedded"
	"github.com/elicence/elicence/ledger/ledgertest"
)

func (l *log) audit(t *testing.T, change func(*ledger.Audited)) *ledger.AuditReport {
	t.Helper()
	in, err := l.Audited(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	in.Trust = l.Trust()
	if change != nil {
		change(&in)
	}
	report, err := ledger.Audit(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestAuditOfACleanLog(t *testing.T) {
	l := newLog(t)
	l.add(t, l.Issue(l.Hospital).Last()) // not published yet
	var done []uint64
	r := l.audit(t, func(in *ledger.Audited) { in.Progress = func(n uint64) { done = append(done, n) } })
	if r.Misfit != nil || r.Entries != 16 || r.Checkpoints != 1 || r.Cosigned != 15 || r.Root == [32]byte{} {
		t.Fatalf("%+v", r)
	}
	if r.Kinds[contract.Enrolled] != 7 || r.Kinds[contract.Issued] != 7 || r.Kinds[contract.Accepted] != 1 {
		t.Errorf("%v", r.Kinds)
	}
	if !slices.Equal(done, []uint64{16}) {
		t.Errorf("progress %v", done)
	}
	empty := ledger.Audited{Origin: ledgertest.Origin}
	if r, err := ledger.Audit(t.Context(), empty); err != nil || r.Misfit != nil || r.Entries != 0 {
		t.Errorf("an empty log: %+v, %v", r, err)
	}
}

// TestAuditNamesTheFirstMisfit: an administrator of the database tries what he can.
func TestAuditNamesTheFirstMisfit(t *testing.T) {
	for name, x := range map[string]struct {
		tamper func(l *log, e []embedded.Entry) []embedded.Entry
		index  uint64
		rule   string // with tiles
		bare   string // without tiles
		until  uint64 // without tiles, if not exact
	}{
		"a bit of a signature": {func(_ *log, e []embedded.Entry) []embedded.Entry {
			e[9].Bytes[len(e[9].Bytes)-1] ^= 1
			return e
		}, 9, ledger.RuleNotPublished, contract.RuleSignature, 0},
		"a bit of a payload": {func(l *log, e []embedded.Entry) []embedded.Entry {
			e[8].Bytes = bytes.Replace(e[8].Bytes, []byte(l.Archive.Code), []byte(l.OtherArchive.Code), 1)
			return e
		}, 8, ledger.RuleNotPublished, contract.RuleSignature, 0},
		"noise": {func(_ *log, e []embedded.Entry) []embedded.Entry {
			e[3].Bytes = []byte("noise")
			return e
		}, 3, ledger.RuleNotPublished, contract.RuleMalformed, 0},
		"two swapped": {func(_ *log, e []embedded.Entry) []embedded.Entry {
			e[8], e[9] = e[9], e[8]
			return e
		}, 8, ledger.RuleNotPublished, contract.RuleStale, 0},
		"one left out in the middle": {func(_ *log, e []embedded.Entry) []embedded.Entry {
			return slices.Delete(e, 8, 9)
		}, 8, ledger.RuleNotPublished, contract.RuleStale, 0},
		"one doubled": {func(_ *log, e []embedded.Entry) []embedded.Entry {
			return slices.Insert(e, 8, e[7])[:len(e)]
		}, 8, ledger.RuleNotPublished, contract.RuleHandleTaken, 0},
		"one put in place of another, well signed": {func(l *log, e []embedded.Entry) []embedded.Entry {
			e[12].Bytes = l.Issue(l.Agency).Last()
			return e
		}, 12, ledger.RuleNotPublished, ledger.RuleRoot, 15},
		"the same event signed again": {func(l *log, e []embedded.Entry) []embedded.Entry {
			again := *l.licence
			again.Events = again.Events[:2]
			e[9].Bytes = again.Make(l.Archive, contract.Event{Kind: contract.Accepted, Part: "counterfoil"})
			return e
		}, 9, ledger.RuleNotPublished, ledger.RuleRoot, 15},
		"the end cut off": {func(_ *log, e []embedded.Entry) []embedded.Entry {
			return e[:13]
		}, 13, ledger.RuleMissing, ledger.RuleMissing, 0},
	} {
		l := newLog(t)
		size := uint64(15)
		l.store.Tamper(func(e []embedded.Entry) []embedded.Entry { return x.tamper(l, e) })
		keepSize := func(in *ledger.Audited) { in.Size = size }
		r := l.audit(t, keepSize)
		if r.Misfit == nil || r.Misfit.Rule != x.rule || r.Misfit.Index != x.index || r.Misfit.Until != x.index+1 || r.Misfit.ZH == "" || r.Misfit.EN == "" {
			t.Errorf("%s: with tiles %+v", name, r.Misfit)
		}
		if r.Entries != x.index {
			t.Errorf("%s: %d entries fit", name, r.Entries)
		}
		r = l.audit(t, func(in *ledger.Audited) { keepSize(in); in.Tile = nil })
		index, until := x.index, x.index+1
		if x.until != 0 {
			index, until = 0, x.until
		}
		if r.Misfit == nil || r.Misfit.Rule != x.bare || r.Misfit.Index != index || r.Misfit.Until != until {
			t.Errorf("%s: without tiles %+v", name, r.Misfit)
		}
	}
}

// TestAuditSeesARollback: the keeper puts yesterday's database back, checkpoints and all; what a cosigner has kept tells.
func TestAuditSeesARollback(t *testing.T) {
	l := newLog(t)
	head, err := l.store.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l.add(t, l.Issue(l.Hospital).Last())
	l.publish(t)
	kept, err := l.Cosigner(l.dir, "police", l.Police).Last()
	if err != nil {
		t.Fatal(err)
	}
	l.store.Rewind(head.Size, head.Body, nil)
	if r := l.audit(t, nil); r.Misfit != nil {
		t.Fatalf("from the inside nothing is wrong: %+v", r.Misfit)
	}
	r := l.audit(t, func(in *ledger.Audited) { in.Known = [][]byte{kept} })
	if r.Misfit == nil || r.Misfit.Rule != ledger.RuleRolledBack || r.Misfit.Index != 15 || r.Misfit.Until != 16 {
		t.Errorf("rolled back: %+v", r.Misfit)
	}
	// Checkpoints that the store itself still has tell as well.
	l = newLog(t)
	l.add(t, l.Issue(l.Hospital).Last())
	l.publish(t)
	r = l.audit(t, func(in *ledger.Audited) { in.Size, in.Body = head.Size, head.Body })
	if r.Misfit == nil || r.Misfit.Rule != ledger.RuleRolledBack {
		t.Errorf("a head of yesterday: %+v", r.Misfit)
	}
}

// TestAuditSeesAFork: a log that was rewritten from some entry on, against a checkpoint that a cosigner has kept.
func TestAuditSeesAFork(t *testing.T) {
	l := newLog(t)
	kept, err := l.Cosigner(l.dir, "police", l.Police).Last()
	if err != nil {
		t.Fatal(err)
	}
	entries, err := l.store.Entries(t.Context(), 0, 14)
	if err != nil {
		t.Fatal(err)
	}
	twin := &log{World: l.World, store: ledgertest.NewMemory(), tiles: ledgertest.NewMemoryTiles(), dir: t.TempDir()}
	twin.Sequencer = embedded.New(twin.store, twin.tiles, l.LogKey, l.LogCertificate, ledgertest.Origin, l.Now)
	twin.add(t, append(entries, l.Issue(l.Agency).Last(), l.Issue(l.Agency).Last())...)
	twin.publish(t)
	r := twin.audit(t, func(in *ledger.Audited) { in.Known = [][]byte{kept} })
	if r.Misfit == nil || r.Misfit.Rule != ledger.RuleRoot || r.Misfit.Until != 15 {
		t.Errorf("%+v", r.Misfit)
	}
}

func TestAuditJudgesCheckpoints(t *testing.T) {
	l := newLog(t)
	other := newOtherLog(t)
	foreign := other.publish(t).Encode()
	in, err := l.Audited(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	in.Trust, in.Known = l.Trust(), [][]byte{foreign}
	if _, err := ledger.Audit(t.Context(), in); !errors.Is(err, ledger.ErrSignature) {
		t.Errorf("a kept checkpoint that another key signed: %v", err)
	}
	if err := l.store.PutSigned(t.Context(), 12, []byte("noise")); err != nil {
		t.Fatal(err)
	}
	if r := l.audit(t, nil); r.Misfit == nil || r.Misfit.Rule != ledger.RuleCheckpoint {
		t.Errorf("noise among the published checkpoints: %+v", r.Misfit)
	}
	l = newLog(t)
	r := l.audit(t, func(in *ledger.Audited) {
		in.Body = bytes.Replace(in.Body, []byte("time 1"), []byte("time 2"), 1)
	})
	if r.Misfit == nil || r.Misfit.Rule != ledger.RuleTime {
		t.Errorf("a head with another time: %+v", r.Misfit)
	}
	r = l.audit(t, func(in *ledger.Audited) { in.Body = []byte("noise") })
	if r.Misfit == nil || r.Misfit.Rule != ledger.RuleCheckpoint {
		t.Errorf("a head that is no checkpoint: %+v", r.Misfit)
	}
	broken := errors.New("disk")
	in, err = l.Audited(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	in.Entries = failingEntries(broken)
	if _, err := ledger.Audit(t.Context(), in); !errors.Is(err, broken) {
		t.Errorf("an unreadable store: %v", err)
	}
}

func failingEntries(err error) func(context.Context, uint64, uint64) ([][]byte, error) {
	return func(context.Context, uint64, uint64) ([][]byte, error) { return nil, err }
}

func newOtherLog(t *testing.T) *log {
	t.Helper()
	l := &log{World: ledgertest.NewWorld(t, "other"), store: ledgertest.NewMemory(), tiles: ledgertest.NewMemoryTiles(), dir: t.TempDir()}
	l.Sequencer = embedded.New(l.store, l.tiles, l.LogKey, l.LogCertificate, ledgertest.Origin, l.Now)
	l.add(t, l.Founding()...)
	return l
}
