package recordstest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/elicence/elicence/due"
	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/licence"
)

// all lists every licence in the order of their creation.
func (s *scene) all() []issuing.Licence {
	s.t.Helper()
	var found []issuing.Licence
	after := ""
	for {
		page, err := s.r.List(s.ctx(), issuing.Filter{}, after, 50)
		s.must(err)
		if len(page) == 0 {
			return found
		}
		found = append(found, page...)
		after = page[len(page)-1].ID
	}
}

// check holds the records to what must be true of them at any time: nothing twice, nothing half, books that balance.
// births is how many licences of the hospital there are, all of them issued.
func (s *scene) check(births int) {
	s.t.Helper()
	all := s.all()
	if len(all) != births {
		s.t.Errorf("%d licences, want %d", len(all), births)
	}
	s.unique(all)
	events := 0
	for _, l := range all {
		if l.Stage != issuing.StageIssued {
			s.t.Errorf("%s is %s", l.BusinessID, l.Stage)
			continue
		}
		s.whole(l)
		history, err := s.r.EventsOf(s.ctx(), l.ID)
		s.must(err)
		events += len(history)
	}
	deliveries := map[string]int{}
	for _, state := range due.States() {
		jobs, err := s.r.Jobs(s.ctx(), state, "registration-authority", 0, 1<<20)
		s.must(err)
		for _, j := range jobs {
			deliveries[j.Licence]++
		}
	}
	for _, l := range all {
		if deliveries[l.ID] != 1 && l.Stage == issuing.StageIssued {
			s.t.Errorf("%s is to be delivered %d times", l.BusinessID, deliveries[l.ID])
		}
	}
	pending, err := s.r.Pending(s.ctx(), 1<<20)
	s.must(err)
	sequenced := map[uint64]bool{}
	for _, l := range all {
		history, err := s.r.EventsOf(s.ctx(), l.ID)
		s.must(err)
		for _, e := range history {
			if e.Index != nil {
				if sequenced[*e.Index] {
					s.t.Errorf("two events at log index %d", *e.Index)
				}
				sequenced[*e.Index] = true
			}
		}
	}
	if len(pending)+len(sequenced) != events {
		s.t.Errorf("%d events: %d pending and %d sequenced", events, len(pending), len(sequenced))
	}
	s.balance(all)
	_, _, err = s.r.Seal(s.ctx())
	s.must(err)
	if broken, _, err := s.r.CheckChain(s.ctx()); broken != 0 || err != nil {
		s.t.Errorf("the audit chain breaks at %d, %v", broken, err)
	}
}

// unique holds numbers, identifiers, status places, serials and requests to being each one licence's.
func (s *scene) unique(all []issuing.Licence) {
	s.t.Helper()
	seen := map[string]string{}
	serials := map[string][]int{}
	for _, l := range all {
		for what, value := range map[string]string{
			"number": l.Number, "identifier": l.Identifier, "status place": fmt.Sprint(l.StatusIndex), "handle": fmt.Sprintf("%x", l.Handle),
			"request": strings.Join([]string{l.Issuer, l.BusinessID, l.Kind, l.Replaces}, "|"),
		} {
			key := what + " " + value
			if other, ok := seen[key]; ok {
				s.t.Errorf("%s is both %s's and %s's", key, other, l.BusinessID)
			}
			seen[key] = l.BusinessID
		}
		serials[l.Issuer] = append(serials[l.Issuer], int(l.Serial))
	}
	for issuer, got := range serials {
		slices.Sort(got)
		for i, n := range got {
			if n != i+1 {
				s.t.Errorf("%s: serials have a gap or a double at %d: something was consumed for nothing", issuer, i+1)
				break
			}
		}
	}
}

// whole holds one issued licence to having all that belongs to it, once.
func (s *scene) whole(l issuing.Licence) {
	s.t.Helper()
	if len(l.Signatures.Parts) != len(l.Parts) || len(l.Signatures.Credential) == 0 {
		s.t.Errorf("%s: %d signed parts of %d", l.BusinessID, len(l.Signatures.Parts), len(l.Parts))
	}
	history, err := s.r.EventsOf(s.ctx(), l.ID)
	s.must(err)
	for i, e := range history {
		if e.Sequence != i {
			s.t.Errorf("%s: event %d has sequence %d", l.BusinessID, i, e.Sequence)
		}
	}
	if len(history) == 0 || history[0].Kind != "issued" {
		s.t.Errorf("%s: no event of its issue", l.BusinessID)
	}
	links, err := s.r.OfLicence(s.ctx(), l.ID)
	s.must(err)
	counts := map[string]int{}
	for _, link := range links {
		counts[link.Entry.What]++
	}
	if counts["issue"] != 1 || counts["issued"] != 1 {
		s.t.Errorf("%s: audit rows %v, want one issue and one issued", l.BusinessID, counts)
	}
	sheet, err := s.r.Sheet(s.ctx(), l.Number)
	s.must(err)
	if sheet.State != licence.SheetIssued || sheet.Licence != l.ID {
		s.t.Errorf("%s: its sheet %s is %s of %q", l.BusinessID, sheet.Number, sheet.State, sheet.Licence)
	}
}

// balance holds the sheets to the licences.
func (s *scene) balance(all []issuing.Licence) {
	s.t.Helper()
	t, err := s.r.YearTable(s.ctx(), births(hospital), 2026, time.UTC)
	s.must(err)
	if err := t.Balance(); err != nil {
		s.t.Error(err)
	}
	if t.Inside.Total() != len(all) {
		s.t.Errorf("the year table counts %d issues of %d", t.Inside.Total(), len(all))
	}
	free, err := s.r.FreeCounts(s.ctx())
	s.must(err)
	if free[births(hospital)] > t.Closing {
		s.t.Errorf("%d free sheets of %d in stock", free[births(hospital)], t.Closing)
	}
}
