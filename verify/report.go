package verify

import (
	"encoding/json"
	"time"

	"github.com/elicence/elicence/verify/status"
)

// ReportFormat names the JSON form of a Report and its version.
const ReportFormat = "elicence/report/1"

// Indication is the main result of ETSI EN 319 102-1, clause 5.1.3.
type Indication string

// The three indications. Indeterminate is neither valid nor forged.
const (
	Passed        Indication = "TOTAL-PASSED"
	Failed        Indication = "TOTAL-FAILED"
	Indeterminate Indication = "INDETERMINATE"
)

// SubIndication says why, in the words of ETSI EN 319 102-1, tables 5 and 6.
type SubIndication string

// With Failed: the file claims to be a licence of this form and is not.
const (
	// FormatFailure: the file, or what is inside it, breaks the form: structure, encoding, or parts
	// that name different issuers, numbers or certificates.
	FormatFailure SubIndication = "FORMAT_FAILURE"
	// HashFailure: the bytes are not those that were signed.
	HashFailure SubIndication = "HASH_FAILURE"
	// SigCryptoFailure: a signature does not verify under its certificate's key.
	SigCryptoFailure SubIndication = "SIG_CRYPTO_FAILURE"
	// CertificateRevoked: revoked for key compromise before the file is proven to have existed.
	CertificateRevoked SubIndication = "REVOKED"
	// NotYetValid: the file is proven to be older than the certificate.
	NotYetValid SubIndication = "NOT_YET_VALID"
)

// With Indeterminate: what was given does not suffice to say yes or no.
const (
	// SignedDataNotFound: the file does not claim to be a licence of this system.
	SignedDataNotFound SubIndication = "SIGNED_DATA_NOT_FOUND"
	// NoSigningCertificateFound: the trust file lists no certificate with the SM3 that a code names.
	NoSigningCertificateFound SubIndication = "NO_SIGNING_CERTIFICATE_FOUND"
	// NoCertificateChainFound: the certificate is not one that the trust file vouches for.
	NoCertificateChainFound SubIndication = "NO_CERTIFICATE_CHAIN_FOUND"
	// OutOfBoundsNoPOE: the certificate is not valid now, and nothing proves that the file is older.
	OutOfBoundsNoPOE SubIndication = "OUT_OF_BOUNDS_NO_POE"
	// RevokedNoPOE: the certificate is revoked, and nothing proves that the file is older.
	RevokedNoPOE SubIndication = "REVOKED_NO_POE"
	// RevokedCANoPOE: the same of the certificate of the CA.
	RevokedCANoPOE SubIndication = "REVOKED_CA_NO_POE"
	// TimestampOrderFailure: the signer claims a time later than the time that is proven.
	TimestampOrderFailure SubIndication = "TIMESTAMP_ORDER_FAILURE"
	// TryLater: trust file or revocation list are out of date; newer ones may decide.
	TryLater SubIndication = "TRY_LATER"
	// SigConstraintsFailure: the reader's own rule is not met, here: the trust file is not the pinned
	// one's, or a receipt was given that proves nothing.
	SigConstraintsFailure SubIndication = "SIG_CONSTRAINTS_FAILURE"
)

// Sentence is for people, Chinese first. It holds no personal value.
type Sentence struct {
	ZH string `json:"zh"`
	EN string `json:"en"`
}

// Signature is the first of the two answers: is this file what the issuer signed?
type Signature struct {
	Indication    Indication    `json:"indication"`
	SubIndication SubIndication `json:"subIndication,omitempty"`
	Sentence
}

// State is what the licence's status is.
type State string

// The words of the second answer. Unknown is neither valid nor forged.
const (
	InForce    State = "in force"
	Superseded State = "superseded"
	Revoked    State = "revoked"
	Unknown    State = "unknown"
)

// Status is the second answer: does the licence still hold? It is as of a time, always.
type Status struct {
	State State `json:"state"`
	// AsOf is the time that the list is true for, Age how much earlier that is than the judgement, in
	// seconds. AsOf is zero and Age nil when there is no list that can be used.
	AsOf time.Time `json:"asOf,omitzero"`
	Age  *int64    `json:"ageSeconds,omitempty"`
	List uint64    `json:"listNumber,omitempty"`
	Sentence
}

// Result of one check.
type Result string

// A check that needs something that is missing is ResultUnknown; one that had nothing to do because an
// earlier one failed is not in the list.
const (
	ResultPass    Result = "pass"
	ResultFail    Result = "fail"
	ResultUnknown Result = "unknown"
)

// Property is one of the four properties of DA/T 70-2018.
type Property string

// The four properties.
const (
	Authenticity Property = "authenticity" // 真实性
	Integrity    Property = "integrity"    // 完整性
	Usability    Property = "usability"    // 可用性
	Safety       Property = "safety"       // 安全性
)

// Check is one thing that was looked at. Evidence maps stable names to digests, times and codes.
type Check struct {
	ID       string            `json:"id"`
	Property Property          `json:"property"`
	Result   Result            `json:"result"`
	Evidence map[string]string `json:"evidence,omitempty"`
	Sentence
}

// Issuer is who the certificate belongs to, with the name that the trust file gives it.
type Issuer struct {
	Code   string `json:"code"`
	Name   string `json:"name,omitempty"`
	Kind   string `json:"kind,omitempty"`
	Region string `json:"region,omitempty"`
}

// Anchor is the place of the licence's event in a log.
type Anchor struct {
	Log   string `json:"log"`
	Index uint64 `json:"index"`
	Event string `json:"event"` // SM3 of the event, lower-case hex
}

// Trust says on whose word the verdict rests.
type Trust struct {
	NameZH      string    `json:"nameZH"`
	NameEN      string    `json:"nameEN"`
	Sequence    uint64    `json:"sequence"`
	Issued      time.Time `json:"issued"`
	Expires     time.Time `json:"expires"`
	Fingerprint string    `json:"fingerprint"` // SM3 of the file
	Pin         string    `json:"pin"`         // SM3 of the operator's public key
	Pinned      bool      `json:"pinned"`      // the reader gave the pin, and it is this one
}

// Field is one value of the licence, for the reader's eyes. Values are string, int64, bool or nil.
type Field struct {
	Pointer string `json:"pointer"`
	Value   any    `json:"value"`
}

// Report is the whole answer about one file or one code. Only Fields holds personal values; everything
// else may be logged.
type Report struct {
	Format    string    `json:"format"`
	Time      time.Time `json:"time"` // when it was judged
	Ours      bool      `json:"ours"` // it claims to be a licence of this system
	Signature Signature `json:"signature"`
	Status    Status    `json:"status"`

	// What the signed data says it is; empty if that could not be read.
	Type       string `json:"type,omitempty"`
	Number     string `json:"number,omitempty"`
	Identifier string `json:"identifier,omitempty"`
	IssueDate  string `json:"issueDate,omitempty"` // the issuer's word, YYYY-MM-DD
	Part       string `json:"part,omitempty"`      // main, counterfoil, …; a code belongs to no part
	PartIndex  int    `json:"partIndex,omitempty"` // as in the part itself
	Parts      int    `json:"parts,omitempty"`
	Issuer     Issuer `json:"issuer,omitzero"`
	// Certificate is the SM3 of the signing certificate, lower-case hex.
	Certificate string `json:"certificate,omitempty"`
	// Specimen is true unless the signing chain is one that the trust file marks as production.
	Specimen bool `json:"specimen"`

	// SigningTime is the signer's claim and proves nothing. ProvenAt is the time by which the file
	// existed, by the word of the organisations ProvenBy; zero without a good receipt.
	SigningTime time.Time `json:"signingTimeClaimed,omitzero"`
	ProvenAt    time.Time `json:"provenAt,omitzero"`
	ProvenBy    []Issuer  `json:"provenBy,omitempty"`
	Anchor      *Anchor   `json:"anchor,omitempty"`

	Trust  *Trust  `json:"trust,omitempty"`
	Checks []Check `json:"checks"`
	Fields []Field `json:"fields,omitempty"`
}

// JSON is the report as one line of JSON with stable names. withFields includes the licence's values.
func (r *Report) JSON(withFields bool) ([]byte, error) {
	out := *r
	if !withFields {
		out.Fields = nil
	}
	return json.Marshal(out)
}

// Check finds a check by its id, nil if it was not made.
func (r *Report) Check(id string) *Check {
	for i := range r.Checks {
		if r.Checks[i].ID == id {
			return &r.Checks[i]
		}
	}
	return nil
}

// Passed reports whether the first answer is yes.
func (r *Report) Passed() bool { return r.Signature.Indication == Passed }

// Good reports whether both answers are yes.
func (r *Report) Good() bool { return r.Passed() && r.Status.State == InForce }

// ExitCode sums reports up for a program: 1 if any signature failed or any licence is superseded or
// revoked, else 2 if any is indeterminate or its status unknown, else 0. No report at all is 2.
func ExitCode(reports ...*Report) int {
	code := 0
	if len(reports) == 0 {
		code = 2
	}
	for _, r := range reports {
		switch {
		case r.Signature.Indication == Failed || r.Status.State == Superseded || r.Status.State == Revoked:
			return 1
		case !r.Good():
			code = 2
		}
	}
	return code
}

// stateWord turns a state of the list into the word of a report. Suspended is no word of this version:
// a reader that does not know it must not take it for "in force".
func stateWord(s status.State) State {
	switch s {
	case status.InForce:
		return InForce
	case status.Revoked:
		return Revoked
	case status.Superseded:
		return Superseded
	}
	return Unknown
}
