package licence

import (
	"errors"
	"fmt"
)

// ErrUnbalanced says that the sheets of a year do not add up.
var ErrUnbalanced = errors.New("licence: the year table does not balance")

// Issues counts sheets that became licences, by kind.
type Issues struct {
	First, Exchange, Replacement int
}

// Total of the three kinds. A backfile uses no sheet.
func (i Issues) Total() int { return i.First + i.Exchange + i.Replacement }

// YearTable is the national year table (出生医学证明年度统计表) of one issuer or of several summed up. All are sheets.
type YearTable struct {
	Issuer  string // unified social credit code, "" for a sum
	Type    string // name of the licence type whose sheets these are; the national table is of birth certificates
	Year    int
	Opening int    // free or bound at the year's beginning
	Drawn   int    // received in the year
	Inside  Issues // by institutions that deliver
	Outside Issues // by county agencies, for births outside institutions
	Spoiled int
	Closing int // free or bound, counted at the year's end
}

// Expected is what closing must be: opening + drawn − issued − spoiled.
func (y YearTable) Expected() int {
	return y.Opening + y.Drawn - y.Inside.Total() - y.Outside.Total() - y.Spoiled
}

// Used is all sheets that left stock: issued and spoiled.
func (y YearTable) Used() int { return y.Inside.Total() + y.Outside.Total() + y.Spoiled }

// Balance returns ErrUnbalanced with the difference, or naming a count below zero.
func (y YearTable) Balance() error {
	for _, c := range []struct {
		name string
		n    int
	}{
		{"opening", y.Opening}, {"drawn", y.Drawn}, {"spoiled", y.Spoiled}, {"closing", y.Closing},
		{"first issues inside", y.Inside.First}, {"exchanges inside", y.Inside.Exchange},
		{"replacements inside", y.Inside.Replacement}, {"first issues outside", y.Outside.First},
		{"exchanges outside", y.Outside.Exchange}, {"replacements outside", y.Outside.Replacement},
	} {
		if c.n < 0 {
			return fmt.Errorf("%w: %s is %d", ErrUnbalanced, c.name, c.n)
		}
	}
	if d := y.Closing - y.Expected(); d != 0 {
		return fmt.Errorf("%w: %d: closing is %d, opening + drawn − issued − spoiled is %d, difference %+d",
			ErrUnbalanced, y.Year, y.Closing, y.Expected(), d)
	}
	return nil
}

// WasteRate is spoiled of all used, 0 to 1; 0 when none was used.
func (y YearTable) WasteRate() float64 {
	if y.Used() == 0 {
		return 0
	}
	return float64(y.Spoiled) / float64(y.Used())
}

// Warnings names what a balanced table should still make somebody look at: more than one in a hundred used sheets
// spoiled. Exactly 1 % does not warn.
func (y YearTable) Warnings() []Finding {
	if y.Spoiled*100 <= y.Used() {
		return nil
	}
	return []Finding{{
		Code: "stock.waste", Warning: true,
		ZH: fmt.Sprintf("%d 年废证率 %.2f%%，超过 1%%", y.Year, y.WasteRate()*100),
		EN: fmt.Sprintf("%.2f %% of the sheets used in %d were spoiled, more than 1 %%", y.WasteRate()*100, y.Year),
	}}
}

// Add sums two tables of the same type and year; the issuer of a sum is "".
func (y YearTable) Add(o YearTable) YearTable {
	sum := func(a, b Issues) Issues {
		return Issues{a.First + b.First, a.Exchange + b.Exchange, a.Replacement + b.Replacement}
	}
	return YearTable{
		Type: y.Type, Year: y.Year, Opening: y.Opening + o.Opening, Drawn: y.Drawn + o.Drawn, Inside: sum(y.Inside, o.Inside),
		Outside: sum(y.Outside, o.Outside), Spoiled: y.Spoiled + o.Spoiled, Closing: y.Closing + o.Closing,
	}
}
