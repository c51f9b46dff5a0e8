package recordstest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/ledger/embedded"
	"github.com/elicence/elicence/licence"
)

// errInjected is what a commit that is made to fail returns.
var errInjected = errors.New("recordstest: injected failure of a commit")

// faults lets commits fail: with effect the answer only is lost.
type faults struct {
	mu     sync.Mutex
	count  int
	decide func(n int) (fail, withEffect bool)
}

func (f *faults) commit(commit func() error) error {
	f.mu.Lock()
	n := f.count
	f.count++
	fail, withEffect := false, false
	if f.decide != nil {
		fail, withEffect = f.decide(n)
	}
	f.mu.Unlock()
	if fail && !withEffect {
		return errInjected
	}
	err := commit()
	if fail {
		return errors.Join(errInjected, err)
	}
	return err
}

func (f *faults) set(decide func(n int) (fail, withEffect bool)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count, f.decide = 0, decide
}

func (f *faults) commits() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count
}

// again repeats what failed for an unknown reason, as every caller of the ports does. Answers that the first try may
// have caused itself are good answers.
func (s *scene) again(what string, call func() error, caused ...error) {
	s.t.Helper()
	for try := range 4 {
		err := call()
		if err == nil {
			return
		}
		if try > 0 {
			for _, c := range caused {
				if errors.Is(err, c) {
					return
				}
			}
		}
		if !errors.Is(err, licence.ErrUnavailable) || !errors.Is(err, errInjected) {
			s.t.Fatalf("%s: %v does not say that it may be tried again", what, err)
		}
	}
	s.t.Fatalf("%s failed again and again", what)
}

// life goes through every kind of write that there is, each by a caller who asks again when the answer is lost.
func (s *scene) life() {
	s.t.Helper()
	ctx := s.ctx()
	s.again("organisation", func() error {
		return s.r.PutOrganisation(ctx, licence.Organisation{Code: police, Name: "样张", Kind: licence.Police})
	})
	s.again("allot", func() error {
		return s.r.Allot(ctx, births(hospital), "A000000001", 20, s.now, s.who("allot", ""))
	}, licence.ErrConflict)
	birth := func(business, kind, replaces string) issuing.Licence {
		b := s.beginning(business)
		b.Intent.Kind, b.Intent.Replaces = kind, replaces
		l, err := issue(ctx, s.r, b, 4)
		if err != nil {
			s.t.Fatalf("birth %s: %v", business, err)
		}
		return l
	}
	s.again("bind", func() error { return s.r.Bind(ctx, births(hospital), "A000000005", "B2", s.now, s.who("bind", "")) })
	s.again("spoil", func() error { return s.r.Spoil(ctx, hospital, "A000000005", "misprint", s.now, s.who("spoil", "")) })
	s.again("bind", func() error { return s.r.Bind(ctx, births(hospital), "A000000006", "B2", s.now, s.who("bind", "")) })
	b1, b2, b3 := birth("B1", licence.KindFirst, ""), birth("B2", licence.KindFirst, ""), birth("B3", licence.KindFirst, "")
	if b2.Number != "A000000006" {
		s.t.Errorf("B2 got %s, not its bound sheet", b2.Number)
	}
	s.take(b1, "handed-over", nil)
	revoked := issuing.Revoked
	s.take(b1, "revoked", &revoked)
	s.exchange(b3, birth)
	s.sequence()
	s.again("record", func() error { return s.r.Record(ctx, s.who("show", b1.ID)) })
	s.again("seal", func() error { _, _, err := s.r.Seal(ctx); return err })
	s.again("status number", func() error { _, err := s.r.NextStatusNumber(ctx); return err })
}

// take adds one step, and finds it there when only the answer was lost.
func (s *scene) take(l issuing.Licence, kind string, status *issuing.Status) {
	s.t.Helper()
	st := step(l, s.last(l), kind, s.now)
	st.Status, st.Note, st.NoteName = status, []byte("note"), kind
	s.again(kind, func() error { return s.r.AppendStep(s.ctx(), st) }, issuing.ErrStale)
	if last := s.last(l); last.Hash != st.Event.Hash {
		s.t.Errorf("%s is not the last event", kind)
	}
}

// exchange ends old with the third commit of its successor.
func (s *scene) exchange(old issuing.Licence, birth func(business, kind, replaces string) issuing.Licence) {
	s.t.Helper()
	b := s.beginning(old.BusinessID)
	b.Intent.Kind, b.Intent.Replaces = licence.KindExchange, old.Number
	superseded := issuing.Superseded
	s.again("exchange", func() error {
		l, fresh, err := s.r.Begin(s.ctx(), b)
		if err == nil && !fresh {
			l, err = s.r.Claim(s.ctx(), l.ID, s.who("resume", l.ID))
		}
		if err == nil && l.Stage == issuing.StageIntent {
			err = s.r.CommitSigned(s.ctx(), l.ID, l.Epoch, signatures(l, ""))
			l.Stage = issuing.StageSigned
		}
		if err != nil || l.Stage == issuing.StageIssued {
			return err
		}
		c := completion(l, s.now)
		ends := step(old, s.last(old), "superseded", s.now)
		ends.Status, ends.ReplacedBy = &superseded, l.Number
		c.Supersedes = &ends
		return s.r.CommitIssued(s.ctx(), l.ID, l.Epoch, c)
	})
	got, err := s.r.ByID(s.ctx(), old.ID)
	s.must(err)
	if events, err := s.r.EventsOf(s.ctx(), old.ID); got.Status != issuing.Superseded || len(events) != 2 || err != nil {
		s.t.Errorf("the exchanged licence is %s after %d events, %v", got.Status, len(events), err)
	}
}

// sequence is what the anchor loop does: log and answers, each asked for again until it stands.
func (s *scene) sequence() {
	s.t.Helper()
	ctx := s.ctx()
	pending, err := s.r.Pending(ctx, 100)
	s.must(err)
	head, err := s.r.Head(ctx)
	s.must(err)
	batch := embedded.Batch{ExpectedSize: head.Size, Body: []byte("body"), Writes: map[string][]byte{"k": []byte("v")}}
	var answers []issuing.Answer
	for i, e := range pending {
		batch.Entries = append(batch.Entries, embedded.Entry{Index: head.Size + uint64(i), Hash: e.Hash, Bytes: e.Bytes})
		answers = append(answers, issuing.Answer{Hash: e.Hash, Index: head.Size + uint64(i)})
	}
	s.again("append", func() error { return s.r.Append(ctx, batch) }, embedded.ErrFenced)
	s.again("checkpoint", func() error { return s.r.PutSigned(ctx, head.Size+uint64(len(pending)), []byte("note")) })
	s.again("answers", func() error { return s.r.MarkSequenced(ctx, answers) })
	entries, err := s.r.Entries(ctx, head.Size, head.Size+uint64(len(pending)))
	s.must(err)
	for i := range entries {
		if string(entries[i]) != string(pending[i].Bytes) {
			s.t.Errorf("log entry %d is another event", i)
		}
	}
	if n, err := s.r.PendingCount(ctx); n != 0 || err != nil {
		s.t.Errorf("%d events pending, %v", n, err)
	}
}

// everyCommitFails lets each commit of a life fail in turn, without effect and with it. The caller asks again, the
// process starts again, and the records are as if nothing had happened.
func everyCommitFails(t *testing.T, e Engine) {
	for _, withEffect := range []bool{false, true} {
		for at := 0; ; at++ {
			f := &faults{}
			s := newSceneWith(t, e, 0, Options{Commit: f.commit})
			f.set(func(n int) (bool, bool) { return n == at, withEffect })
			s.life()
			if f.commits() <= at {
				s.end()
				if at < 20 {
					t.Errorf("a life has only %d commits", at)
				}
				break
			}
			f.set(nil)
			s.check(4)
			s.reopen(Options{})
			s.check(4)
			if log, err := s.r.Head(s.ctx()); err != nil || log.Size != 7 {
				t.Errorf("commit %d (effect %v): the log has %d entries, want 7, %v", at, withEffect, log.Size, err)
			}
			if t.Failed() {
				t.Fatalf("after commit %d failed (effect %v)", at, withEffect)
			}
			s.end()
		}
	}
}

// failingCommits: sixteen writers while one commit in four fails, one way or the other, by a seed that is printed.
func failingCommits(t *testing.T, e Engine) {
	const births = 16 * 6
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	s := newScene(t, e, births+3)
	f := &faults{}
	s.reopen(Options{Commit: f.commit})
	f.set(func(int) (bool, bool) { return random.IntN(4) == 0, random.IntN(2) == 0 })
	together(16, func(i int) {
		for k := range births / 16 {
			// Neighbours ask for the same births, so that lost answers, claims and fences meet.
			business := fmt.Sprintf("B%d-%d", i/2, k)
			other := fmt.Sprintf("B%d-%d", i, k+100)
			for _, b := range []string{business, other}[:1+(i+k)%2] {
				if _, err := issue(s.ctx(), s.r, s.beginning(b), 60); err != nil {
					t.Errorf("%s: %v", b, err)
				}
			}
		}
	})
	f.set(nil)
	// 8 pairs share one birth a round; every other round each writer has one of its own.
	s.check(births/2 + births/2)
	s.reopen(Options{})
	s.check(births/2 + births/2)
}

// oneFails: what one caller of a shared transaction may not do leaves the others' work alone.
func oneFails(t *testing.T, e Engine) {
	s := newScene(t, e, 40)
	taken := s.issue("taken")
	together(16, func(i int) {
		for k := range 6 {
			switch (i + k) % 3 {
			case 0:
				other := s.beginning("taken")
				other.Intent.RequestDigest[0] ^= 1
				_, _, err := s.r.Begin(s.ctx(), other)
				wants(t, err, licence.ErrConflict)
			case 1:
				wants(t, s.r.CommitSigned(s.ctx(), taken.ID, 1, signatures(taken, "x")), issuing.ErrFenced)
			case 2:
				if _, err := issue(s.ctx(), s.r, s.beginning(fmt.Sprintf("B%d-%d", i, k)), 1); err != nil {
					t.Error(err)
				}
			}
		}
	})
	s.check(1 + 16*2)
}
