// Package verify is the reader's side: it says of a file or a code whether it is what the issuer signed
// and whether the licence still holds. It needs a trust file, and nothing else: no network, no
// database, no key. It trusts nobody whom the trust file does not name.
package verify

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/elicence/elicence/signer/pdf"
	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/verify/status"
	"github.com/elicence/elicence/verify/trust"
)

const (
	// MaxFile is the greatest file that is looked at, in bytes; a licence's part has some 70 KB.
	MaxFile = pdf.MaxFile
	// MaxReceipt bounds a receipt, in bytes; one has some 6 KB.
	MaxReceipt = 64 << 10
	// MaxCode bounds the text of a code, in bytes; a QR code of version 40 holds less.
	MaxCode = 8 << 10
	// clockTolerance is how far ahead of the reader's clock a signer's may run.
	clockTolerance = 5 * time.Minute
)

// ErrSelfCheck is wrapped by the error of SelfCheck: what was just signed would not verify.
var ErrSelfCheck = errors.New("the part that was just signed does not verify")

// Options are the reader's own rules.
type Options struct {
	// Pin is the SM3 of the scheme operator's public key. Nil: any operator, and the report says so.
	Pin *trust.SM3
	// Status is the list of states; nil leaves every status unknown. It is shared, not copied.
	Status *status.List
	// StatusMaxAge is the greatest age of a list that may still say "in force". Zero: until the list's
	// own expiry.
	StatusMaxAge time.Duration
	// Now is the reader's clock; nil is time.Now.
	Now func() time.Time
}

// Verifier judges files and codes under one trust file. Safe for concurrent use; it remembers paths and
// checked checkpoints, so use one for many files.
type Verifier struct {
	trust  *trust.File
	o      Options
	head   Trust
	status *trust.Entry // the certificate of the list, nil if the list cannot be used for anybody
	stale  Sentence     // why not

	mu          sync.Mutex
	chains      map[[32]byte]*chain   // by SM3 of the certificate; nil: listed, but without a path to a root
	checkpoints map[[32]byte]*vouched // by SM3 of the signed checkpoint
	verified    map[[32]byte]struct{} // SM3 of events and credentials whose signature was found good
}

// New prepares a verifier. The only errors are a missing trust file and trust.ErrPin: an expired file
// or an unusable status list do not stop anything, they stand in every report.
func New(t *trust.File, o Options) (*Verifier, error) {
	if t == nil {
		return nil, errors.New("verify: no trust file")
	}
	if o.Pin != nil {
		if err := t.CheckPin(*o.Pin); err != nil {
			return nil, fmt.Errorf("verify: %w", err)
		}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	name := t.Name()
	v := &Verifier{trust: t, o: o, chains: map[[32]byte]*chain{}, checkpoints: map[[32]byte]*vouched{}, verified: map[[32]byte]struct{}{}, head: Trust{
		NameZH: name.ZH, NameEN: name.EN, Sequence: t.Sequence(), Issued: t.Issued(), Expires: t.Expires(),
		Fingerprint: trust.SM3(t.Fingerprint()).String(), Pin: trust.SM3(t.Pin()).String(), Pinned: o.Pin != nil,
	}}
	v.prepareStatus()
	return v, nil
}

// File judges a PDF. receipt is the text of its receipt, nil or empty if there is none. Neither is kept
// or written to. There is always a report, whatever the bytes; only a cancelled ctx shortens it, to
// INDETERMINATE.
func (v *Verifier) File(ctx context.Context, file, receipt []byte) *Report {
	return v.file(ctx, file, receipt, false)
}

func (v *Verifier) file(ctx context.Context, part, receipt []byte, self bool) *Report {
	x := v.start()
	x.self = self
	if ctx.Err() != nil {
		x.unsure("cancelled", Usability, TryLater, "核验被取消", "the verification was cancelled")
		return x.finish()
	}
	if x.structure(part) && x.cms() && x.disclosed() && x.credential(x.part.Credential) {
		x.binding()
		x.fields()
		if x.path() {
			x.receipt(part, receipt)
			x.time()
		}
		x.specimen()
		x.trustFile()
		x.identify()
	}
	return x.finish()
}

// Code judges the text of a licence's code, as a scanner reads it. A code carries the credential alone:
// it names no part, and it proves nothing about the paper that it is printed on.
func (v *Verifier) Code(ctx context.Context, text string) *Report {
	x := v.start()
	if ctx.Err() != nil {
		x.unsure("cancelled", Usability, TryLater, "核验被取消", "the verification was cancelled")
		return x.finish()
	}
	if x.text(text) {
		x.issuerOfCode()
		if x.path() {
			x.time()
		}
		x.specimen()
		x.trustFile()
		x.identify()
	}
	return x.finish()
}

// SelfCheck judges a part right after it was signed, by the same code and rules as File, without
// receipt and status. An outdated trust file or revocation list does not stop it: issuing goes on. The
// error wraps ErrSelfCheck and names the check that failed; the report is returned with it.
func (v *Verifier) SelfCheck(ctx context.Context, part []byte) (*Report, error) {
	r := v.file(ctx, part, nil, true)
	if r.Signature.Indication != Passed {
		for _, c := range r.Checks {
			if c.Result != ResultPass {
				return r, fmt.Errorf("%w: %s: %s", ErrSelfCheck, c.ID, c.EN)
			}
		}
		return r, ErrSelfCheck
	}
	return r, nil
}

// Trust returns the trust file that the verdicts rest on.
func (v *Verifier) Trust() *trust.File { return v.trust }

// remembers and remember keep which signed objects verified, by the SM3 of all their bytes: the parts of one
// licence carry the same credential, and one receipt serves them all.
func (v *Verifier) remembers(sum [32]byte) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, ok := v.verified[sum]
	return ok
}

func (v *Verifier) remember(sum [32]byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.verified) >= maxRemembered {
		clear(v.verified)
	}
	v.verified[sum] = struct{}{}
}

// start opens a report.
func (v *Verifier) start() *run {
	head := v.head
	now := v.o.Now()
	return &run{v: v, now: now, r: &Report{Format: ReportFormat, Time: now.Truncate(time.Second).In(zone), Trust: &head,
		Checks: make([]Check, 0, 20)}}
}

// leaf is a certificate as the file or the trust file gives it.
type leaf struct {
	cert  *pki.Certificate
	chain *chain
}
