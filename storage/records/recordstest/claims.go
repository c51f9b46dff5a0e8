package recordstest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/licence"
)

func wants(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}

func (s *scene) same(got, want issuing.Licence) {
	s.t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		s.t.Errorf("a licence differs from what was written (-written +read):\n%s", diff)
	}
}

func roundTrip(t *testing.T, e Engine) {
	s := newScene(t, e, 10)
	b := s.beginning("B1")
	l, fresh, err := s.r.Begin(s.ctx(), b)
	s.must(err)
	if !fresh || l.Stage != issuing.StageIntent || l.Epoch != 1 || l.Number != "A000000001" || l.Serial != 1 {
		t.Errorf("fresh %v, %s, epoch %d, number %s, serial %d", fresh, l.Stage, l.Epoch, l.Number, l.Serial)
	}
	want := b.Intent
	want.Number, want.Serial, want.Identifier, want.StatusIndex = l.Number, l.Serial, l.Identifier, l.StatusIndex
	if diff := cmp.Diff(want, l.Intent); diff != "" {
		t.Errorf("the intent was changed (-given +returned):\n%s", diff)
	}
	everywhere := func() {
		t.Helper()
		for _, read := range []func() (issuing.Licence, error){
			func() (issuing.Licence, error) { return s.r.ByID(s.ctx(), l.ID) },
			func() (issuing.Licence, error) { return s.r.ByNumber(s.ctx(), l.Number) },
			func() (issuing.Licence, error) { return s.r.ByIdentifier(s.ctx(), l.Identifier) },
			func() (issuing.Licence, error) { return first(s.r.ByBusinessID(s.ctx(), hospital, "B1")) },
			func() (issuing.Licence, error) { return first(s.r.ByBusinessID(s.ctx(), "", "B1")) },
			func() (issuing.Licence, error) { return first(s.r.Search(s.ctx(), "child.name", childName)) },
			func() (issuing.Licence, error) { return first(s.r.List(s.ctx(), issuing.Filter{}, "", 10)) },
		} {
			got, err := read()
			s.must(err)
			s.same(got, l)
		}
	}
	everywhere()

	sig := signatures(l, "")
	sig.Abandoned = []string{"objects/aa/bb", "objects/cc/dd"}
	s.must(s.r.CommitSigned(s.ctx(), l.ID, l.Epoch, sig))
	l.Stage, l.Signatures = issuing.StageSigned, sig
	everywhere()

	at := s.now.Add(time.Second)
	s.must(s.r.CommitIssued(s.ctx(), l.ID, l.Epoch, completion(l, at)))
	l.Stage, l.StatusAt = issuing.StageIssued, at
	everywhere()
	s.reopen(Options{})
	everywhere()
	for _, read := range []func(context.Context, string) (issuing.Licence, error){s.r.ByID, s.r.ByNumber, s.r.ByIdentifier} {
		_, err := read(s.ctx(), "none")
		wants(t, err, licence.ErrNotFound)
	}
	if found, err := s.r.ByBusinessID(s.ctx(), agency, "B1"); len(found) != 0 || err != nil {
		t.Errorf("another issuer's birth: %d, %v", len(found), err)
	}
	s.check(1)
}

func first(found []issuing.Licence, err error) (issuing.Licence, error) {
	if err != nil || len(found) == 0 {
		return issuing.Licence{}, errors.Join(err, errors.New("found nothing"))
	}
	return found[0], nil
}

func idempotent(t *testing.T, e Engine) {
	s := newScene(t, e, 10)
	b := s.beginning("B1")
	want, _, err := s.r.Begin(s.ctx(), b)
	s.must(err)
	for _, stage := range []issuing.Stage{issuing.StageIntent, issuing.StageSigned, issuing.StageIssued} {
		again := s.beginning("B1") // the same request with other random values
		got, fresh, err := s.r.Begin(s.ctx(), again)
		s.must(err)
		if fresh || got.Stage != stage || got.ID != want.ID || got.Epoch != 1 || got.Seed != want.Seed {
			t.Errorf("at %s: fresh %v, %s, epoch %d", stage, fresh, got.Stage, got.Epoch)
		}
		switch stage {
		case issuing.StageIntent:
			s.must(s.r.CommitSigned(s.ctx(), want.ID, 1, signatures(want, "")))
		case issuing.StageSigned:
			s.must(s.r.CommitIssued(s.ctx(), want.ID, 1, completion(want, s.now)))
		}
	}
	if free, err := s.r.NextFree(s.ctx(), births(hospital)); err != nil || free != "A000000002" {
		t.Errorf("repeated requests consumed stock: next free is %s, %v", free, err)
	}
	s.check(1)
}

func conflict(t *testing.T, e Engine) {
	s := newScene(t, e, 10)
	s.issue("B1")
	other := s.beginning("B1")
	other.Intent.RequestDigest[0] ^= 1
	_, fresh, err := s.r.Begin(s.ctx(), other)
	wants(t, err, licence.ErrConflict)
	if fresh {
		t.Error("a conflict is called fresh")
	}
	_, err = s.r.ByID(s.ctx(), other.Intent.ID)
	wants(t, err, licence.ErrNotFound)
	s.check(1)
}

func kinds(t *testing.T, e Engine) {
	s := newScene(t, e, 10)
	old := s.issue("B1")
	for _, kind := range []string{licence.KindExchange, licence.KindReplacement} {
		b := s.beginning("B1")
		b.Intent.Kind, b.Intent.Replaces = kind, old.Number // a licence is replaced once: the next one replaces its successor
		l, fresh, err := s.r.Begin(s.ctx(), b)
		s.must(err)
		if !fresh || l.Number == old.Number {
			t.Errorf("%s: fresh %v, number %s", kind, fresh, l.Number)
		}
		old, err = finish(s.ctx(), s.r, l, s.now)
		s.must(err)
	}
	found, err := s.r.ByBusinessID(s.ctx(), hospital, "B1")
	s.must(err)
	if len(found) != 3 || found[0].Kind != licence.KindFirst || found[2].Kind != licence.KindReplacement {
		t.Errorf("%d licences of one birth, in another order than they were made", len(found))
	}
	table, err := s.r.YearTable(s.ctx(), births(hospital), 2026, time.UTC)
	s.must(err)
	if table.Inside != (licence.Issues{First: 1, Exchange: 1, Replacement: 1}) {
		t.Errorf("year table %+v", table.Inside)
	}
	s.check(3)
}

func emptyStock(t *testing.T, e Engine) {
	s := newScene(t, e, 1)
	s.issue("B1")
	for range 3 {
		_, _, err := s.r.Begin(s.ctx(), s.beginning("B2"))
		wants(t, err, licence.ErrStockEmpty)
	}
	_, err := s.r.NextFree(s.ctx(), births(hospital))
	wants(t, err, licence.ErrStockEmpty)
	s.check(1)
	s.must(s.r.Allot(s.ctx(), births(hospital), "A000000100", 1, s.now, s.who("allot", "")))
	if l := s.issue("B2"); l.Serial != 2 || l.Number != "A000000100" {
		t.Errorf("after the refusals: serial %d, number %s", l.Serial, l.Number)
	}
	s.check(2)
}

func backfile(t *testing.T, e Engine) {
	s := newScene(t, e, 3)
	s.issue("B1")
	old := func(business, number string) issuing.Beginning {
		b := s.beginning(business)
		b.UseStock, b.Intent.Kind, b.Intent.Number = false, licence.KindBackfile, number
		return b
	}
	l, err := issue(s.ctx(), s.r, old("P1", "X310000007"), 1)
	s.must(err)
	if l.Number != "X310000007" || l.Kind != licence.KindBackfile {
		t.Errorf("number %s, %s", l.Number, l.Kind)
	}
	for _, taken := range []string{"X310000007", "A000000001", "A000000003"} {
		_, _, err := s.r.Begin(s.ctx(), old("P2", taken))
		wants(t, err, licence.ErrConflict)
	}
	_, _, err = s.r.Begin(s.ctx(), old("P2", ""))
	wants(t, err, licence.ErrState)
	// Nor may stock come that holds the number of an earlier paper.
	wants(t, s.r.Allot(s.ctx(), births(hospital), "X310000001", 10, s.now, s.who("allot", "")), licence.ErrConflict)
	table, err := s.r.YearTable(s.ctx(), births(hospital), 2026, time.UTC)
	s.must(err)
	if table.Inside.Total() != 1 || table.Balance() != nil {
		t.Errorf("a backfile uses no stock: %+v", table)
	}
}

func statusPlaces(t *testing.T, e Engine) {
	s := newScene(t, e, 10)
	places := []uint64{5, 5, 5, 7, 7, 5, 9}
	asked := 0
	b := func(business string) issuing.Beginning {
		b := s.beginning(business)
		b.StatusSpace = 10
		b.StatusPick = func() (uint64, error) { asked++; return places[(asked-1)%len(places)], nil }
		return b
	}
	for i, want := range []uint64{5, 7, 9} {
		l, err := issue(s.ctx(), s.r, b(fmt.Sprint("B", i)), 1)
		s.must(err)
		if l.StatusIndex != want {
			t.Errorf("place %d, want %d", l.StatusIndex, want)
		}
	}
	full := b("full") // all that are drawn are taken: an end, not a loop without one
	_, _, err := s.r.Begin(s.ctx(), full)
	wants(t, err, licence.ErrState)
	outside := b("outside")
	outside.StatusPick = func() (uint64, error) { return 10, nil }
	_, _, err = s.r.Begin(s.ctx(), outside)
	wants(t, err, licence.ErrState)
	s.check(3)
}

func sixteenWriters(t *testing.T, e Engine) {
	const each = 12
	s := newScene(t, e, 16*each+5)
	together(16, func(i int) {
		for k := range each {
			if _, err := issue(s.ctx(), s.r, s.beginning(fmt.Sprintf("B%d-%d", i, k)), 1); err != nil {
				t.Errorf("writer %d: %v", i, err)
			}
		}
	})
	s.check(16 * each)
	if free, err := s.r.FreeCounts(s.ctx()); err != nil || free[births(hospital)] != 5 {
		t.Errorf("%d sheets left, want 5, %v", free[births(hospital)], err)
	}
	s.reopen(Options{})
	s.check(16 * each)
}

func sixteenOfOne(t *testing.T, e Engine) {
	s := newScene(t, e, 20)
	for round := range 5 {
		var mu sync.Mutex
		ids := map[string]int{}
		var freshOnes atomic.Int64
		together(16, func(int) {
			l, fresh, err := s.r.Begin(s.ctx(), s.beginning(fmt.Sprint("B", round)))
			if err != nil {
				t.Error(err)
				return
			}
			if fresh {
				freshOnes.Add(1)
			}
			mu.Lock()
			ids[l.ID]++
			mu.Unlock()
		})
		if freshOnes.Load() != 1 || len(ids) != 1 {
			t.Errorf("one birth sixteen times: %d fresh, %d licences", freshOnes.Load(), len(ids))
		}
	}
	unfinished, err := s.r.Unfinished(s.ctx(), time.Time{}, 100)
	s.must(err)
	if len(unfinished) != 5 {
		t.Errorf("%d unfinished, want 5", len(unfinished))
	}
}

func epochs(t *testing.T, e Engine) {
	s := newScene(t, e, 10)
	l, _, err := s.r.Begin(s.ctx(), s.beginning("B1"))
	s.must(err)
	// Nothing skips a stage.
	wants(t, s.r.CommitIssued(s.ctx(), l.ID, 1, completion(l, s.now)), issuing.ErrFenced)
	second, err := s.r.Claim(s.ctx(), l.ID, s.who("resume", l.ID))
	s.must(err)
	if second.Epoch != 2 || second.Stage != issuing.StageIntent {
		t.Errorf("epoch %d at %s", second.Epoch, second.Stage)
	}
	wants(t, s.r.CommitSigned(s.ctx(), l.ID, 1, signatures(l, "first holder")), issuing.ErrFenced)
	wants(t, s.r.Park(s.ctx(), l.ID, 1, "failed"), issuing.ErrFenced)
	s.must(s.r.CommitSigned(s.ctx(), l.ID, 2, signatures(l, "second holder")))
	third, err := s.r.Claim(s.ctx(), l.ID, s.who("resume", l.ID))
	s.must(err)
	if third.Epoch != 3 || third.Stage != issuing.StageSigned {
		t.Errorf("epoch %d at %s", third.Epoch, third.Stage)
	}
	wants(t, s.r.CommitIssued(s.ctx(), l.ID, 2, completion(l, s.now)), issuing.ErrFenced)
	s.must(s.r.CommitIssued(s.ctx(), l.ID, 3, completion(l, s.now)))
	// What is issued moves no more.
	wants(t, s.r.CommitIssued(s.ctx(), l.ID, 3, completion(l, s.now)), issuing.ErrFenced)
	wants(t, s.r.CommitSigned(s.ctx(), l.ID, 3, signatures(l, "too late")), issuing.ErrFenced)
	wants(t, s.r.Park(s.ctx(), l.ID, 3, "failed"), issuing.ErrFenced)
	done, err := s.r.Claim(s.ctx(), l.ID, s.who("resume", l.ID))
	s.must(err)
	if done.Epoch != 3 || done.Stage != issuing.StageIssued {
		t.Errorf("claiming what is issued: epoch %d at %s", done.Epoch, done.Stage)
	}
	if string(done.Signatures.Credential) != string(signatures(l, "second holder").Credential) {
		t.Error("another holder's signatures are recorded")
	}
	_, err = s.r.Claim(s.ctx(), "none", s.who("resume", "none"))
	wants(t, err, licence.ErrNotFound)
	wants(t, s.r.CommitSigned(s.ctx(), "none", 1, signatures(l, "")), licence.ErrNotFound)
	s.check(1)
}

func sixteenClaimants(t *testing.T, e Engine) {
	s := newScene(t, e, 10)
	l, _, err := s.r.Begin(s.ctx(), s.beginning("B1"))
	s.must(err)
	var signed atomic.Int64
	var mu sync.Mutex
	holders := map[int64]bool{}
	together(16, func(i int) {
		mine, err := s.r.Claim(s.ctx(), l.ID, s.who("resume", l.ID))
		if err != nil {
			t.Error(err)
			return
		}
		mu.Lock()
		if holders[mine.Epoch] && mine.Stage != issuing.StageIssued {
			t.Errorf("two hold epoch %d", mine.Epoch)
		}
		holders[mine.Epoch] = mine.Stage != issuing.StageIssued
		mu.Unlock()
		_, err = finish(s.ctx(), s.r, mine, s.now)
		switch {
		case err == nil:
			signed.Add(1)
		case !errors.Is(err, issuing.ErrFenced):
			t.Error(err)
		}
	})
	if signed.Load() == 0 {
		t.Error("sixteen claimants, and nobody finished")
	}
	s.check(1)
}

func signAnew(t *testing.T, e Engine) {
	s := newScene(t, e, 10)
	l, _, err := s.r.Begin(s.ctx(), s.beginning("B1"))
	s.must(err)
	s.must(s.r.CommitSigned(s.ctx(), l.ID, 1, signatures(l, "old program")))
	anew := signatures(l, "new program")
	for _, p := range signatures(l, "old program").Parts {
		anew.Abandoned = append(anew.Abandoned, p.Address)
	}
	s.must(s.r.CommitSigned(s.ctx(), l.ID, 1, anew))
	got, err := s.r.ByID(s.ctx(), l.ID)
	s.must(err)
	if diff := cmp.Diff(anew, got.Signatures); diff != "" {
		t.Errorf("(-signed anew +read)\n%s", diff)
	}
}

func parked(t *testing.T, e Engine) {
	s := newScene(t, e, 10)
	l, _, err := s.r.Begin(s.ctx(), s.beginning("B1"))
	s.must(err)
	s.must(s.r.Park(s.ctx(), l.ID, 1, "self-check"))
	got, err := s.r.ByID(s.ctx(), l.ID)
	s.must(err)
	if got.Stage != issuing.StageParked || got.ParkReason != "self-check" {
		t.Errorf("%s, %q", got.Stage, got.ParkReason)
	}
	if ids, err := s.r.Unfinished(s.ctx(), time.Time{}, 10); len(ids) != 0 || err != nil {
		t.Errorf("a parked licence is resumed: %v, %v", ids, err)
	}
	wants(t, s.r.CommitSigned(s.ctx(), l.ID, 1, signatures(l, "")), issuing.ErrFenced)
	if again, fresh, err := s.r.Begin(s.ctx(), s.beginning("B1")); fresh || err != nil || again.Number != l.Number {
		t.Errorf("the same request: fresh %v, %v", fresh, err)
	}
	if free, err := s.r.NextFree(s.ctx(), births(hospital)); err != nil || free == l.Number {
		t.Errorf("its number returned to stock: %s, %v", free, err)
	}
	wants(t, s.r.Spoil(s.ctx(), hospital, l.Number, "other", s.now, s.who("spoil", "")), licence.ErrState)
}

// unparked: a person takes a parked licence up where it stood, under an epoch of its own, and the trail says why.
func unparked(t *testing.T, e Engine) {
	s := newScene(t, e, 10)
	for i, sign := range []bool{false, true} {
		l, _, err := s.r.Begin(s.ctx(), s.beginning(fmt.Sprint("B", i)))
		s.must(err)
		stage := issuing.StageIntent
		if sign {
			s.must(s.r.CommitSigned(s.ctx(), l.ID, 1, signatures(l, "")))
			stage = issuing.StageSigned
		}
		_, err = s.r.Unpark(s.ctx(), l.ID, s.who("retry", l.ID))
		wants(t, err, licence.ErrState)
		s.must(s.r.Park(s.ctx(), l.ID, 1, "self-check"))
		why := s.who("retry", l.ID)
		why.Why = "self-check: cured"
		got, err := s.r.Unpark(s.ctx(), l.ID, why)
		s.must(err)
		if got.Stage != stage || got.Epoch != 2 || got.ParkReason != "" || got.Number != l.Number {
			t.Errorf("%s, epoch %d, %q, number %s: want %s, 2, none, %s", got.Stage, got.Epoch, got.ParkReason, got.Number, stage, l.Number)
		}
		wants(t, s.r.Park(s.ctx(), l.ID, 1, "the slow worker of before"), issuing.ErrFenced)
		_, err = s.r.Unpark(s.ctx(), l.ID, why)
		wants(t, err, licence.ErrState)
		_, err = finish(s.ctx(), s.r, got, s.now)
		s.must(err)
		links, err := s.r.OfLicence(s.ctx(), l.ID)
		s.must(err)
		rows := 0
		for _, link := range links {
			if link.Entry.What == "retry" && link.Entry.Why == why.Why {
				rows++
			}
		}
		if rows != 1 {
			t.Errorf("%d audit rows of one retry", rows)
		}
	}
	_, err := s.r.Unpark(s.ctx(), "none", s.who("retry", "none"))
	wants(t, err, licence.ErrState)
	s.check(2)
}

// oneSuccessor: of many who replace one licence at once, under business ids of their own, one gets a number; the others
// are refused before they take one. What the successor became decides who may come after it.
func oneSuccessor(t *testing.T, e Engine) {
	s := newScene(t, e, 40)
	old := s.issue("B1")
	replacing := func(business, kind string) issuing.Beginning {
		b := s.beginning(business)
		b.Intent.Kind, b.Intent.Replaces = kind, old.Number
		return b
	}
	var won atomic.Pointer[issuing.Licence]
	together(16, func(i int) {
		kind := licence.KindExchange
		if i%2 == 1 {
			kind = licence.KindReplacement
		}
		l, fresh, err := s.r.Begin(s.ctx(), replacing(fmt.Sprint("X", i), kind))
		switch {
		case err == nil && fresh && won.CompareAndSwap(nil, &l):
		case err == nil:
			t.Errorf("a second successor has number %s", l.Number)
		default:
			wants(t, err, licence.ErrConflict)
		}
	})
	l := won.Load()
	if l == nil {
		t.Fatal("nobody could replace the licence")
	}
	again := replacing(l.BusinessID, l.Kind)
	if same, fresh, err := s.r.Begin(s.ctx(), again); err != nil || fresh || same.Number != l.Number {
		t.Errorf("the same request: number %s, fresh %v, %v", same.Number, fresh, err)
	}
	refused := func(when string) {
		t.Helper()
		if _, _, err := s.r.Begin(s.ctx(), replacing("late", licence.KindExchange)); !errors.Is(err, licence.ErrConflict) {
			t.Errorf("while the successor is %s: %v", when, err)
		}
	}
	refused("an intent")
	s.must(s.r.Park(s.ctx(), l.ID, l.Epoch, "self-check"))
	refused("parked")
	taken, err := s.r.Unpark(s.ctx(), l.ID, s.who("retry", l.ID))
	s.must(err)
	s.must(s.r.CommitSigned(s.ctx(), taken.ID, taken.Epoch, signatures(taken, "")))
	refused("signed")
	s.must(s.r.CommitIssued(s.ctx(), taken.ID, taken.Epoch, completion(taken, s.now)))
	refused("issued")
	// Its issue is refused by the ledger: it never was a licence, and another may come.
	s.must(s.r.MarkSequenced(s.ctx(), []issuing.Answer{{Hash: s.last(taken).Hash, Refusal: "actor-not-enrolled", At: s.now}}))
	next, err := issue(s.ctx(), s.r, replacing("next", licence.KindExchange), 1)
	s.must(err)
	refused("another")
	// It was revoked: the same.
	revoked := issuing.Revoked
	st := step(next, s.last(next), "revoked", s.now)
	st.Status = &revoked
	s.must(s.r.AppendStep(s.ctx(), st))
	last, err := issue(s.ctx(), s.r, replacing("last", licence.KindExchange), 1)
	s.must(err)
	if free, err := s.r.FreeCounts(s.ctx()); err != nil || free[births(hospital)] != 40-4 || last.Serial != 4 {
		t.Errorf("%d sheets are free of 40 after 4 licences, serial %d, %v", free[births(hospital)], last.Serial, err)
	}
}
