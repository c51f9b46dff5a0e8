package licence_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/licence/code"
)

func TestSheetSteps(t *testing.T) {
	states := []licence.SheetState{licence.SheetDrawn, licence.SheetAllotted, licence.SheetBound, licence.SheetIssued, licence.SheetSpoiled}
	allowed := []string{"drawn allotted", "drawn spoiled", "allotted bound", "allotted issued", "allotted spoiled", "bound issued", "bound spoiled"}
	for _, from := range states {
		for _, to := range states {
			err := from.Step(to)
			switch may := slices.Contains(allowed, string(from)+" "+string(to)); {
			case may && err != nil:
				t.Errorf("%s → %s: %v", from, to, err)
			case !may && from == licence.SheetSpoiled && !errors.Is(err, licence.ErrSpoiled):
				t.Errorf("a spoiled sheet came back as %s: %v", to, err)
			case !may && from != licence.SheetSpoiled && !errors.Is(err, licence.ErrState):
				t.Errorf("%s → %s: %v", from, to, err)
			}
		}
	}
	if !licence.SheetIssued.Final() || !licence.SheetSpoiled.Final() || licence.SheetBound.Final() {
		t.Error("issued and spoiled are final")
	}
	for _, r := range []string{"misprint", "lost", "damaged", "other"} {
		if w, err := licence.SpoilReason(r); err != nil || w.ZH == "" || w.EN == "" {
			t.Errorf("%s: %v", r, err)
		}
	}
	if _, err := licence.SpoilReason("because"); !errors.Is(err, licence.ErrState) {
		t.Errorf("%v", err)
	}
}

func TestYearTable(t *testing.T) {
	good := licence.YearTable{Year: 2026, Opening: 100, Drawn: 1000, Inside: licence.Issues{First: 800, Exchange: 20, Replacement: 10},
		Outside: licence.Issues{First: 5, Exchange: 1, Replacement: 2}, Spoiled: 8, Closing: 254}
	if err := good.Balance(); err != nil {
		t.Error(err)
	}
	if w := good.Warnings(); w != nil { // 8 of 846 is 0.95 %
		t.Error(w)
	}
	for name, change := range map[string]func(*licence.YearTable){
		"one sheet lost":    func(y *licence.YearTable) { y.Closing-- },
		"one sheet found":   func(y *licence.YearTable) { y.Closing++ },
		"issue not counted": func(y *licence.YearTable) { y.Outside.Replacement-- },
		"negative, in sum":  func(y *licence.YearTable) { y.Spoiled, y.Inside.First = -1, y.Inside.First+9 },
	} {
		bad := good
		change(&bad)
		if err := bad.Balance(); !errors.Is(err, licence.ErrUnbalanced) {
			t.Errorf("%s: %v", name, err)
		}
	}
	off := good
	off.Closing = 250
	if err := off.Balance(); !strings.Contains(err.Error(), "-4") {
		t.Errorf("the difference is not named: %v", err)
	}
	for spoiled, warns := range map[int]bool{0: false, 1: false, 2: true} { // of 100 used: 1 % does not warn yet
		y := licence.YearTable{Year: 2026, Inside: licence.Issues{First: 100 - spoiled}, Spoiled: spoiled}
		if w := y.Warnings(); (len(w) == 1) != warns || warns && (w[0].Code != "stock.waste" || !w[0].Warning) {
			t.Errorf("%d of 100: %v", spoiled, w)
		}
	}
	if (licence.YearTable{}).WasteRate() != 0 || (licence.YearTable{}).Balance() != nil {
		t.Error("an empty year balances")
	}
	sum := good.Add(good)
	if sum.Balance() != nil || sum.Closing != 508 || sum.Inside.Total() != 1660 || sum.Outside.First != 10 || sum.Year != 2026 {
		t.Errorf("%+v", sum)
	}
}

func TestStates(t *testing.T) {
	for _, from := range []licence.State{licence.InForce, licence.Superseded, licence.Revoked} {
		for _, to := range []licence.State{licence.InForce, licence.Superseded, licence.Revoked} {
			may := from == licence.InForce && to != licence.InForce
			if err := from.Step(to); (err == nil) != may || !may && !errors.Is(err, licence.ErrState) {
				t.Errorf("%s → %s: %v", from, to, err)
			}
		}
		back, err := licence.StateOf(from.Code())
		if err != nil || back != from || from.Words().ZH == "未知" {
			t.Errorf("%s: %s %v", from, back, err)
		}
	}
	if licence.State("").Code() != code.StatusOther || licence.State("").Words().EN != "unknown" {
		t.Error("no state")
	}
	if _, err := licence.StateOf(code.StatusSuspended); !errors.Is(err, licence.ErrState) {
		t.Error("there is no suspended licence here")
	}
}
