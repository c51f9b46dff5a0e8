package licence

import (
	"fmt"
	"slices"
)

// SheetState is where one pre-numbered paper, or one number without paper, stands.
type SheetState string

// States of a sheet. Issued and Spoiled are final: a sheet is never used twice, a spoiled one never comes back, and the
// paper of a licence that was superseded or revoked stays issued.
const (
	SheetDrawn    SheetState = "drawn"    // received by the authority, not yet with an issuer
	SheetAllotted SheetState = "allotted" // in the issuer's stock, free
	SheetBound    SheetState = "bound"    // scanned to one draft (paper mode)
	SheetIssued   SheetState = "issued"   // became a licence
	SheetSpoiled  SheetState = "spoiled"  // 废证: never became one
)

var sheetSteps = map[SheetState][]SheetState{
	SheetDrawn:    {SheetAllotted, SheetSpoiled},
	SheetAllotted: {SheetBound, SheetIssued, SheetSpoiled},
	SheetBound:    {SheetIssued, SheetSpoiled},
}

// Step returns nil if a sheet may go from s to next, ErrSpoiled for one that is spoiled, else ErrState.
func (s SheetState) Step(next SheetState) error {
	if slices.Contains(sheetSteps[s], next) {
		return nil
	}
	if s == SheetSpoiled {
		return fmt.Errorf("%w: it cannot become %s", ErrSpoiled, next)
	}
	return fmt.Errorf("%w: a sheet that is %s cannot become %s", ErrState, s, next)
}

// Final reports whether nothing can happen to the sheet any more.
func (s SheetState) Final() bool { return s == SheetIssued || s == SheetSpoiled }

// Reasons for which a sheet is spoiled.
var spoilReasons = map[string]Text{
	"misprint": {"打印错误", "misprint"},
	"lost":     {"遗失", "lost"},
	"damaged":  {"损毁", "damaged"},
	"other":    {"其他", "other"},
}

// SpoilReason returns the words for a reason, or ErrState for a word that is not one.
func SpoilReason(reason string) (Text, error) {
	t, ok := spoilReasons[reason]
	if !ok {
		return Text{}, fmt.Errorf("%w: a sheet is spoiled as misprint, lost, damaged or other", ErrState)
	}
	return t, nil
}
