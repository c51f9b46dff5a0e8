package recordstest

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/elicence/elicence/access"
	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/licence"
)

func sheets(t *testing.T, e Engine) {
	s := newScene(t, e, 5)
	at := s.now
	who := s.who("stock", "")
	bind := func(number, business string) error {
		return s.r.Bind(s.ctx(), births(hospital), number, business, at, who)
	}
	spoil := func(number, reason string) error { return s.r.Spoil(s.ctx(), hospital, number, reason, at, who) }

	wants(t, s.r.Allot(s.ctx(), births(hospital), "A000000005", 3, at, who), licence.ErrConflict)
	wants(t, s.r.Allot(s.ctx(), births(agency), "A000000001", 1, at, who), licence.ErrConflict)
	for _, c := range []struct {
		first string
		count int
	}{{"A00000001", 1}, {"a000000009", 1}, {"A999999999", 2}, {"A000000009", 0}, {"A000000009", -1}, {"A000000009", 1 << 40}} {
		wants(t, s.r.Allot(s.ctx(), births(hospital), c.first, c.count, at, who), licence.ErrRefused)
	}
	if free, err := s.r.FreeCounts(s.ctx()); err != nil || free[births(hospital)] != 5 || len(free) != 1 {
		t.Errorf("refused allotments left sheets: %v, %v", free, err)
	}
	s.must(bind("A000000001", "B1"))
	s.must(bind("A000000001", "B1")) // the same again
	wants(t, bind("A000000001", "B2"), licence.ErrState)
	wants(t, bind("A000000002", "B1"), licence.ErrConflict)
	wants(t, bind("A000000009", "B2"), licence.ErrNotFound)
	wants(t, s.r.Bind(s.ctx(), births(agency), "A000000002", "B2", at, who), licence.ErrNotFound)
	wants(t, bind("A000000002", ""), licence.ErrRefused)

	s.must(spoil("A000000001", "misprint"))
	s.must(spoil("A000000001", "misprint")) // the same again
	wants(t, spoil("A000000001", "lost"), licence.ErrSpoiled)
	wants(t, spoil("A000000002", "bored"), licence.ErrState)
	wants(t, spoil("A000000009", "lost"), licence.ErrNotFound)
	wants(t, bind("A000000001", "B1"), licence.ErrSpoiled)
	s.must(bind("A000000002", "B1"))

	l := s.issue("B1")
	if l.Number != "A000000002" {
		t.Errorf("the birth got %s, its sheet is A000000002", l.Number)
	}
	wants(t, spoil("A000000002", "misprint"), licence.ErrState)
	wants(t, bind("A000000002", "B3"), licence.ErrState)
	for number, want := range map[string]issuing.Sheet{
		"A000000001": {Type: birthType, Number: "A000000001", Issuer: hospital, State: licence.SheetSpoiled, Reason: "misprint", DrawnAt: at, UsedAt: at},
		"A000000002": {Type: birthType, Number: "A000000002", Issuer: hospital, State: licence.SheetIssued, Licence: l.ID, DrawnAt: at, UsedAt: l.IssueTime},
		"A000000003": {Type: birthType, Number: "A000000003", Issuer: hospital, State: licence.SheetAllotted, DrawnAt: at},
	} {
		got, err := s.r.Sheet(s.ctx(), number)
		s.must(err)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	_, err := s.r.Sheet(s.ctx(), "A000000009")
	wants(t, err, licence.ErrNotFound)
	if next, err := s.r.NextFree(s.ctx(), births(hospital)); next != "A000000003" || err != nil {
		t.Errorf("next free %s, %v", next, err)
	}
	s.check(1)
}

// paperMode: the sheet jams, is spoiled, the next one is bound, and the books balance.
func paperMode(t *testing.T, e Engine) {
	s := newScene(t, e, 10)
	s.must(s.r.Bind(s.ctx(), births(hospital), "A000000004", "B1", s.now, s.who("bind", "")))
	s.must(s.r.Spoil(s.ctx(), hospital, "A000000004", "misprint", s.now, s.who("spoil", "")))
	s.must(s.r.Bind(s.ctx(), births(hospital), "A000000007", "B1", s.now, s.who("bind", "")))
	if got, err := s.r.Sheet(s.ctx(), "A000000007"); err != nil || got.BusinessID != "B1" || got.State != licence.SheetBound {
		t.Errorf("%+v, %v", got, err)
	}
	// Another birth without paper never takes the bound sheet.
	if other := s.issue("B2"); other.Number != "A000000001" {
		t.Errorf("another birth took %s", other.Number)
	}
	if l := s.issue("B1"); l.Number != "A000000007" {
		t.Errorf("the birth got %s, not its bound sheet", l.Number)
	}
	table, err := s.r.YearTable(s.ctx(), births(hospital), 2026, time.UTC)
	s.must(err)
	want := licence.YearTable{Issuer: hospital, Type: birthType, Year: 2026, Drawn: 10, Inside: licence.Issues{First: 2}, Spoiled: 1, Closing: 7}
	if diff := cmp.Diff(want, table); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	s.check(2)
}

func sixteenBinders(t *testing.T, e Engine) {
	s := newScene(t, e, 20)
	var won atomic.Int64
	together(16, func(i int) {
		err := s.r.Bind(s.ctx(), births(hospital), "A000000001", fmt.Sprint("B", i), s.now, s.who("bind", ""))
		switch {
		case err == nil:
			won.Add(1)
		case !errors.Is(err, licence.ErrState):
			t.Error(err)
		}
	})
	if won.Load() != 1 {
		t.Errorf("%d births hold one sheet", won.Load())
	}
	// Spoiling and issuing of one sheet at once: it ends as one of both.
	for i := range 8 {
		number := fmt.Sprintf("A0000000%02d", 20-i) // far from those that births without paper take
		business := fmt.Sprint("C", i)
		s.must(s.r.Bind(s.ctx(), births(hospital), number, business, s.now, s.who("bind", "")))
		together(2, func(who int) {
			if who == 0 {
				if err := s.r.Spoil(s.ctx(), hospital, number, "lost", s.now, s.who("spoil", "")); err != nil && !errors.Is(err, licence.ErrState) {
					t.Error(err)
				}
			} else if _, err := issue(s.ctx(), s.r, s.beginning(business), 1); err != nil {
				t.Error(err)
			}
		})
	}
	s.check(8)
}

// yearTable: sheets drawn in one year and used in others; every year balances, and one year's closing is the next one's
// opening.
func yearTable(t *testing.T, e Engine) {
	s := newScene(t, e, 0)
	zone := time.FixedZone("UTC+8", 8*3600)
	day := func(year int, month time.Month, day, hour int) time.Time {
		return time.Date(year, month, day, hour, 0, 0, 0, zone)
	}
	s.must(s.r.Allot(s.ctx(), births(hospital), "A000000001", 10, day(2025, 3, 1, 9), s.who("allot", "")))
	s.must(s.r.Allot(s.ctx(), births(hospital), "A000000101", 5, day(2026, 3, 1, 9), s.who("allot", "")))
	s.must(s.r.Allot(s.ctx(), births(agency), "B000000001", 5, day(2026, 3, 1, 9), s.who("allot", "")))
	at := func(when time.Time, business, kind, issuer string) {
		b := beginning(t, s.kek, business, when)
		b.Intent.Kind, b.Intent.Issuer = kind, issuer
		b.MakeIdentifier = func(serial uint64) (string, error) { return fmt.Sprint(issuer, ".", serial), nil }
		_, err := issue(s.ctx(), s.r, b, 1)
		s.must(err)
	}
	at(day(2025, 12, 31, 23), "B1", licence.KindFirst, hospital) // the last hour of 2025 here
	at(day(2026, 1, 1, 1), "B2", licence.KindFirst, hospital)    // 2026 here, 2025 in UTC
	at(day(2026, 5, 1, 1), "B3", licence.KindExchange, hospital)
	at(day(2026, 5, 1, 1), "B4", licence.KindReplacement, hospital)
	at(day(2026, 5, 1, 1), "B5", licence.KindFirst, agency)
	s.must(s.r.Spoil(s.ctx(), hospital, "A000000009", "damaged", day(2025, 6, 1, 1), s.who("spoil", "")))
	s.must(s.r.Spoil(s.ctx(), hospital, "A000000010", "lost", day(2027, 6, 1, 1), s.who("spoil", "")))
	for _, want := range []licence.YearTable{
		{Issuer: hospital, Type: birthType, Year: 2024},
		{Issuer: hospital, Type: birthType, Year: 2025, Drawn: 10, Inside: licence.Issues{First: 1}, Spoiled: 1, Closing: 8},
		{Issuer: hospital, Type: birthType, Year: 2026, Opening: 8, Drawn: 5, Inside: licence.Issues{First: 1, Exchange: 1, Replacement: 1}, Closing: 10},
		{Issuer: hospital, Type: birthType, Year: 2027, Opening: 10, Spoiled: 1, Closing: 9},
		{Issuer: agency, Type: birthType, Year: 2026, Drawn: 5, Outside: licence.Issues{First: 1}, Closing: 4},
		{Issuer: police, Type: birthType, Year: 2026},
	} {
		got, err := s.r.YearTable(s.ctx(), births(want.Issuer), want.Year, zone)
		s.must(err)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d (-want +got):\n%s", want.Year, diff)
		}
		if err := got.Balance(); err != nil {
			t.Error(err)
		}
	}
}

func people(t *testing.T, e Engine) {
	s := newScene(t, e, 0)
	clerk := access.Person{Organisation: hospital, ID: "clerk-1", Roles: []access.Role{access.Clerk}, Salt: []byte{1}, Verifier: []byte{2}}
	keeper := access.Person{Organisation: hospital, ID: "keeper-1", Roles: []access.Role{access.SealKeeper, access.Supervisor}, Salt: []byte{3}, Verifier: []byte{4}}
	s.must(s.r.PutPerson(s.ctx(), keeper))
	s.must(s.r.PutPerson(s.ctx(), clerk))
	s.must(s.r.PutPerson(s.ctx(), access.Person{Organisation: agency, ID: "clerk-1"}))
	keeper.Salt, keeper.Verifier = []byte{5}, []byte{6} // a new passphrase
	s.must(s.r.PutPerson(s.ctx(), keeper))
	s.reopen(Options{})
	got, err := s.r.People(s.ctx(), hospital)
	s.must(err)
	if diff := cmp.Diff([]access.Person{clerk, keeper}, got); diff != "" {
		t.Errorf("people (-want +got):\n%s", diff)
	}
	one, err := s.r.Person(s.ctx(), hospital, "keeper-1")
	s.must(err)
	if diff := cmp.Diff(keeper, one); diff != "" {
		t.Errorf("a person (-want +got):\n%s", diff)
	}
	_, err = s.r.Person(s.ctx(), agency, "keeper-1")
	wants(t, err, access.ErrUnknownPerson)
	o, err := s.r.Organisation(s.ctx(), hospital)
	s.must(err)
	if want := (licence.Organisation{Code: hospital, Name: "样张医院", NameEN: "Specimen Hospital", Kind: licence.Hospital, Region: "310101"}); o != want {
		t.Errorf("organisation %+v", o)
	}
	all, err := s.r.Organisations(s.ctx())
	s.must(err)
	if len(all) != 2 || all[0] != o || all[1].Code != agency {
		t.Errorf("organisations %+v", all)
	}
	_, err = s.r.Organisation(s.ctx(), police)
	wants(t, err, licence.ErrNotFound)
}

// stockByType: a sheet belongs to one licence type. Nothing of another type takes it, binds it or counts it; a number
// stays unique across all types.
func stockByType(t *testing.T, e Engine) {
	s := newScene(t, e, 3)
	who := s.who("allot", "")
	mothers := issuing.Pile{Issuer: hospital, Type: motherType}
	ofMother := func(business string) issuing.Beginning {
		b := s.beginning(business)
		b.Intent.Type = motherType
		return b
	}
	// Without sheets of its own it takes none of the birth certificates', free or bound.
	s.must(s.r.Bind(s.ctx(), births(hospital), "A000000003", "M1", s.now, who))
	_, _, err := s.r.Begin(s.ctx(), ofMother("M1"))
	wants(t, err, licence.ErrStockEmpty)
	_, err = s.r.NextFree(s.ctx(), mothers)
	wants(t, err, licence.ErrStockEmpty)
	wants(t, s.r.Allot(s.ctx(), mothers, "A000000003", 2, s.now, who), licence.ErrConflict)
	wants(t, s.r.Allot(s.ctx(), issuing.Pile{Issuer: hospital}, "M000000001", 2, s.now, who), licence.ErrRefused)
	s.must(s.r.Allot(s.ctx(), mothers, "M000000001", 4, s.now, who))
	wants(t, s.r.Bind(s.ctx(), births(hospital), "M000000002", "M1", s.now, who), licence.ErrState)
	wants(t, s.r.Bind(s.ctx(), mothers, "A000000001", "M2", s.now, who), licence.ErrState)
	// One business id may hold a sheet of each.
	s.must(s.r.Bind(s.ctx(), mothers, "M000000004", "M1", s.now, who))
	s.must(s.r.Spoil(s.ctx(), hospital, "M000000002", "lost", s.now, who))
	for business, number := range map[string]string{"M1": "M000000004", "M2": "M000000001"} {
		l, err := issue(s.ctx(), s.r, ofMother(business), 1)
		s.must(err)
		sheet, err := s.r.Sheet(s.ctx(), number)
		s.must(err)
		if l.Number != number || sheet.Type != motherType || sheet.Licence != l.ID {
			t.Errorf("%s got %s, its sheet is of %s", business, l.Number, sheet.Type)
		}
	}
	if l := s.issue("B1"); l.Number != "A000000001" {
		t.Errorf("a birth got %s", l.Number)
	}
	free, err := s.r.FreeCounts(s.ctx())
	s.must(err)
	if diff := cmp.Diff(map[issuing.Pile]int{births(hospital): 1, mothers: 1}, free); diff != "" {
		t.Errorf("free sheets (-want +got):\n%s", diff)
	}
	for _, want := range []licence.YearTable{
		{Issuer: hospital, Type: birthType, Year: 2026, Drawn: 3, Inside: licence.Issues{First: 1}, Closing: 2},
		{Issuer: hospital, Type: motherType, Year: 2026, Drawn: 4, Inside: licence.Issues{First: 2}, Spoiled: 1, Closing: 1},
		{Issuer: hospital, Type: "fishing", Year: 2026},
	} {
		got, err := s.r.YearTable(s.ctx(), issuing.Pile{Issuer: hospital, Type: want.Type}, 2026, time.UTC)
		s.must(err)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", want.Type, diff)
		}
		if err := got.Balance(); err != nil {
			t.Error(err)
		}
	}
}
