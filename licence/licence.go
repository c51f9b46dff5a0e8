// Package licence holds the nouns of the house and their checks: a request, the draft it becomes, the approval, sheets
// of stock, states. It knows no field name of any licence type: a type is data (type.yaml and schema.json), read by
// ParseType, and Check judges a request by it.
//
// The order of work is in the types: Check makes a Draft, Draft.Approve makes an Approved, and issuing takes nothing
// else. Neither Draft nor Approved can be made in any other way.
package licence

import (
	"errors"
	"fmt"
)

// The vocabulary of errors. Callers wrap them with what and where; the API maps each to one answer.
var (
	// ErrRefused says that a request has faults; the findings name them all.
	ErrRefused = errors.New("licence: the request is refused")
	// ErrConflict says that the same business id, number or sheet already stands for something else.
	ErrConflict = errors.New("licence: it already stands for something else")
	// ErrStockEmpty says that the issuer has no free sheet or number.
	ErrStockEmpty = errors.New("licence: no free number in stock")
	// ErrNotFound says that there is nothing of that name.
	ErrNotFound = errors.New("licence: not found")
	// ErrSpoiled says that the sheet is spoiled and can never become a licence.
	ErrSpoiled = errors.New("licence: the sheet is spoiled")
	// ErrState says that the thing is not in a state that allows the step.
	ErrState = errors.New("licence: its state does not allow this")
	// ErrClock says that the clock stands before something that has already happened.
	ErrClock = errors.New("licence: the clock is behind what has already happened")
	// ErrUnavailable says that a service that is needed does not answer now; nothing was consumed.
	ErrUnavailable = errors.New("licence: not available now")
	// ErrSamePerson says that the person who entered a draft tried to approve it: 签发人员 and 盖章人 are two people.
	ErrSamePerson = errors.New("licence: the clerk may not approve their own draft")
	// ErrOtherDraft says that an approval names the digest of another draft.
	ErrOtherDraft = errors.New("licence: the approval names another draft")
	// ErrType says that a licence type (type.yaml, schema.json) is itself at fault.
	ErrType = errors.New("licence: the licence type is faulty")
)

// Kinds of organisation, for Organisation.Kind.
const (
	Hospital   = "hospital"   // 助产机构
	Agency     = "agency"     // county agency of the health commission, for births outside institutions
	Commission = "commission" // 卫健委
	Police     = "police"     // 公安机关
	Archive    = "archive"    // 档案馆
)

// Organisation is somebody who acts: an issuer, a receiver, an authority.
type Organisation struct {
	Code   string // unified social credit code, GB 32100-2015
	Name   string
	NameEN string
	Kind   string // one of the constants above
	Region string // GB/T 2260, six digits
}

// Text is the same words in the two languages of the product, Chinese first.
type Text struct {
	ZH string `yaml:"zh" json:"zh"`
	EN string `yaml:"en" json:"en"`
}

// Finding is one fault of a request, or one warning. It never holds a value of the document: findings are logged,
// reported and shown to people who may not see the request.
type Finding struct {
	Pointer string `json:"pointer"` // RFC 6901, "" for the whole request
	Code    string `json:"code"`    // stable; programs may depend on it
	ZH      string `json:"zh"`
	EN      string `json:"en"`
	Clause  string `json:"clause,omitempty"` // of the standard or rule that asks for it
	Warning bool   `json:"warning,omitempty"`
}

// String gives "pointer code: Chinese / English".
func (f Finding) String() string {
	return fmt.Sprintf("%s %s: %s / %s", f.Pointer, f.Code, f.ZH, f.EN)
}

// Refused reports whether any of the findings is more than a warning.
func Refused(findings []Finding) bool {
	for _, f := range findings {
		if !f.Warning {
			return true
		}
	}
	return false
}
