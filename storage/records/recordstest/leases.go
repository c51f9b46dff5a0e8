package recordstest

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/ledger/embedded"
	"github.com/elicence/elicence/licence"
)

func leases(t *testing.T, e Engine) {
	s := newScene(t, e, 0)
	first, err := s.r.AcquireDuty(s.ctx(), issuing.DutySequence, "first", time.Hour)
	s.must(err)
	_, err = s.r.AcquireDuty(s.ctx(), issuing.DutySequence, "second", time.Hour)
	wants(t, err, issuing.ErrHeld)
	if err != nil && !strings.Contains(err.Error(), "first") {
		t.Errorf("%v does not name the holder", err)
	}
	other, err := s.r.AcquireDuty(s.ctx(), issuing.DutyUpkeep, "second", time.Hour) // another duty is free
	s.must(err)
	s.must(s.r.ReleaseDuty(s.ctx(), other))
	s.must(s.r.RenewDuty(s.ctx(), first, time.Hour))
	s.must(s.r.ReleaseDuty(s.ctx(), first))
	wants(t, s.r.RenewDuty(s.ctx(), first, time.Hour), issuing.ErrLapsed)
	s.must(s.r.ReleaseDuty(s.ctx(), first))
	second, err := s.r.AcquireDuty(s.ctx(), issuing.DutySequence, "second", time.Hour)
	s.must(err)
	if second.Epoch <= first.Epoch {
		t.Errorf("epoch %d after %d", second.Epoch, first.Epoch)
	}
	s.must(s.r.ReleaseDuty(s.ctx(), first)) // a former holder gives nothing away
	s.must(s.r.RenewDuty(s.ctx(), second, time.Hour))

	// Of sixteen that want it one gets it.
	s.must(s.r.ReleaseDuty(s.ctx(), second))
	var got atomic.Int64
	together(16, func(i int) {
		_, err := s.r.AcquireDuty(s.ctx(), issuing.DutySequence, fmt.Sprint("holder ", i), time.Hour)
		switch {
		case err == nil:
			got.Add(1)
		case !errors.Is(err, issuing.ErrHeld):
			t.Error(err)
		}
	})
	if got.Load() != 1 {
		t.Errorf("%d holders of one duty", got.Load())
	}
}

// lostHolder: a process that was frozen past its lease and wakes writes nothing, whether somebody else has the duty by now
// or nobody.
func lostHolder(t *testing.T, e Engine) {
	s := newScene(t, e, 10)
	l := s.issue("B1")
	short, err := s.r.AcquireDuty(s.ctx(), issuing.DutySequence, "frozen", time.Microsecond)
	s.must(err)
	writes := func(why error) {
		t.Helper()
		frozen := issuing.Under(s.ctx(), short)
		wants(t, s.r.Append(frozen, embedded.Batch{Entries: []embedded.Entry{{Hash: [32]byte{1}, Bytes: []byte("entry")}}, Body: []byte("body")}), why)
		wants(t, s.r.PutSigned(frozen, 1, []byte("note")), why)
		wants(t, s.r.MarkSequenced(frozen, []issuing.Answer{{Hash: s.last(l).Hash, Index: 0}}), why)
		_, _, err := s.r.Seal(frozen)
		wants(t, err, why)
	}
	for s.r.RenewDuty(s.ctx(), short, time.Microsecond) == nil {
		time.Sleep(time.Microsecond) // the records' clock is theirs: it has to pass
	}
	writes(issuing.ErrLapsed)
	next, err := s.r.AcquireDuty(s.ctx(), issuing.DutySequence, "next", time.Hour)
	s.must(err)
	writes(issuing.ErrLapsed)
	if head, err := s.r.Head(s.ctx()); err != nil || head.Size != 0 {
		t.Errorf("the log has %d entries, %v", head.Size, err)
	}
	short = next
	writes(nil)
	if head, err := s.r.Head(s.ctx()); err != nil || head.Size != 1 {
		t.Errorf("the log has %d entries, %v", head.Size, err)
	}
}

// severalProcesses write at once, as far as an engine lets them: no sheet, serial or place in the status list is taken
// twice, one birth gives one licence, and one licence has one successor.
func severalProcesses(t *testing.T, e Engine) {
	if e.Locked != nil {
		return // one process writes: see SecondWriter
	}
	const count = 64
	s := newScene(t, e, count+20)
	open := []Records{s.r}
	for range 2 {
		r, err := e.Open(s.ctx(), s.dir, Options{KEK: s.kek})
		s.must(err)
		defer r.Close()
		open = append(open, r)
	}
	var next atomic.Int64
	var mu sync.Mutex
	numbers := map[string]string{}
	together(24, func(i int) {
		r := open[i%len(open)]
		for n := next.Add(1); n <= count; n = next.Add(1) {
			l, err := issue(s.ctx(), r, s.beginning(fmt.Sprint("B", n)), 1)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			if other, ok := numbers[l.Number]; ok {
				t.Errorf("number %s for %s and %s", l.Number, other, l.BusinessID)
			}
			numbers[l.Number] = l.BusinessID
			mu.Unlock()
		}
	})
	// One birth from all of them at once.
	ids := map[string]bool{}
	together(12, func(i int) {
		l, _, err := open[i%len(open)].Begin(s.ctx(), s.beginning("one birth"))
		if err != nil {
			t.Error(err)
			return
		}
		mu.Lock()
		ids[l.ID] = true
		mu.Unlock()
	})
	if len(ids) != 1 {
		t.Errorf("one birth has %d licences", len(ids))
	}
	s.issue("one birth")
	// Two successors of one licence.
	old := s.issue("old")
	var successors atomic.Int64
	together(6, func(i int) {
		b := s.beginning(fmt.Sprint("successor ", i))
		b.Intent.Kind, b.Intent.Replaces = licence.KindExchange, old.Number
		l, _, err := open[i%len(open)].Begin(s.ctx(), b)
		switch {
		case err == nil:
			successors.Add(1)
			_, err = finish(s.ctx(), open[i%len(open)], l, s.now)
			s.must(err)
		case !errors.Is(err, licence.ErrConflict):
			t.Error(err)
		}
	})
	if successors.Load() != 1 {
		t.Errorf("%d successors of one licence", successors.Load())
	}
	// One sheet for one business id, while births take sheets.
	var bound atomic.Int64
	together(12, func(i int) {
		err := open[i%len(open)].Bind(s.ctx(), births(hospital), "A000000080", fmt.Sprint("paper ", i), s.now, s.who("bind", ""))
		switch {
		case err == nil:
			bound.Add(1)
		case !errors.Is(err, licence.ErrState) && !errors.Is(err, licence.ErrConflict):
			t.Error(err)
		}
	})
	if bound.Load() != 1 {
		t.Errorf("one sheet was bound %d times", bound.Load())
	}
	// One step after another, whoever takes it.
	var taken atomic.Int64
	last := s.last(old)
	together(6, func(i int) {
		err := open[i%len(open)].AppendStep(s.ctx(), step(old, last, "handed-over", s.now.Add(time.Duration(i))))
		switch {
		case err == nil:
			taken.Add(1)
		case !errors.Is(err, issuing.ErrStale):
			t.Error(err)
		}
	})
	if taken.Load() != 1 {
		t.Errorf("%d steps after one event", taken.Load())
	}
	together(9, func(i int) {
		if _, _, err := open[i%len(open)].Seal(s.ctx()); err != nil {
			t.Error(err)
		}
	})
	s.check(count + 3)
}
