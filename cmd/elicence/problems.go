package main

import (
	"context"
	"errors"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/elicence/elicence/access"
	"github.com/elicence/elicence/api"
	"github.com/elicence/elicence/hsm/softkey"
	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/ledger"
	"github.com/elicence/elicence/ledger/embedded"
	"github.com/elicence/elicence/ledger/fabric"
	"github.com/elicence/elicence/ledger/fabric/export"
	"github.com/elicence/elicence/ledger/fabric/replay"
	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/storage/envelope"
	"github.com/elicence/elicence/storage/objects"
	"github.com/elicence/elicence/storage/objects/s3"
	"github.com/elicence/elicence/storage/records"
	"github.com/elicence/elicence/templates"
	"github.com/elicence/elicence/verify/trust"
)

// named is a sentinel with the name that it has outside of this process.
type named struct {
	code     string // stable; programs may depend on it
	sentinel error
	status   int // of HTTP
}

// codes is the one table between sentinels and the codes of problems, read in both directions. What an error is, it is at
// the other end of the socket, too: remedies and exit codes are found there by errors.Is as they are here.
func codes() []named {
	return []named{
		{"restored", errRestored, http.StatusServiceUnavailable},
		{"backup", errBackup, http.StatusConflict},
		{"erased", records.ErrErased, http.StatusGone},
		{"rolled-back", errRolledBack, http.StatusServiceUnavailable},
		{"parked", issuing.ErrParked, http.StatusConflict},
		{"conflict", licence.ErrConflict, http.StatusConflict},
		{"stock-empty", licence.ErrStockEmpty, http.StatusConflict},
		{"not-found", licence.ErrNotFound, http.StatusNotFound},
		{"clock", licence.ErrClock, http.StatusConflict},
		{"log-clock", embedded.ErrClock, http.StatusConflict},
		{"cosigner-clock", ledger.ErrCosignerClock, http.StatusConflict},
		{"same-person", licence.ErrSamePerson, http.StatusForbidden},
		{"role", access.ErrRole, http.StatusForbidden},
		{"unknown-person", access.ErrUnknownPerson, http.StatusForbidden},
		{"person-passphrase", access.ErrPassphrase, http.StatusForbidden},
		{"custody-rules", issuing.ErrRefusedByContract, http.StatusConflict},
		{"evidence", issuing.ErrEvidence, http.StatusUnprocessableEntity},
		{"refused", licence.ErrRefused, http.StatusUnprocessableEntity},
		{"state", licence.ErrState, http.StatusConflict},
		{"other-draft", licence.ErrOtherDraft, http.StatusConflict},
		{"spoiled", licence.ErrSpoiled, http.StatusConflict},
		{"too-long", templates.ErrTooLong, http.StatusUnprocessableEntity},
		{"no-key", softkey.ErrNoKey, http.StatusConflict},
		{"key-state", softkey.ErrState, http.StatusConflict},
		{"log-rollback", ledger.ErrRollback, http.StatusConflict},
		{"log-fork", ledger.ErrFork, http.StatusConflict},
		{"trust-pin", trust.ErrPin, http.StatusConflict},
		{"trust-format", trust.ErrFormat, http.StatusConflict},
		{"trust-signature", trust.ErrSignature, http.StatusConflict},
		{"revoked-already", errRevokedAlready, http.StatusConflict},
		{"no-certificate", errNoCertificate, http.StatusNotFound},
		{"not-published", embedded.ErrNotPublished, http.StatusConflict},
		{"moved", errMoved, http.StatusServiceUnavailable},
		{"stale", issuing.ErrStale, http.StatusServiceUnavailable},
		{"fenced", issuing.ErrFenced, http.StatusServiceUnavailable},
		{"locked", records.ErrLocked, http.StatusServiceUnavailable},
		{"served", api.ErrServed, http.StatusServiceUnavailable},
		{"signing-fault", softkey.ErrFault, http.StatusServiceUnavailable},
		{"keystore-passphrase", softkey.ErrPassphrase, http.StatusServiceUnavailable},
		{"keystore", softkey.ErrKeystore, http.StatusServiceUnavailable},
		{"key-away", issuing.ErrKey, http.StatusServiceUnavailable},
		{"store-settings", s3.ErrConfig, http.StatusServiceUnavailable},
		{"store-unfit", objects.ErrUnfit, http.StatusServiceUnavailable},
		{"store-access", objects.ErrAccess, http.StatusServiceUnavailable},
		{"store-credentials", s3.ErrCredentials, http.StatusServiceUnavailable},
		{"store-untrusted", objects.ErrUntrusted, http.StatusServiceUnavailable},
		{"store-away", objects.ErrUnavailable, http.StatusServiceUnavailable},
		{"store-full", objects.ErrFull, http.StatusServiceUnavailable},
		{"store-read-only", objects.ErrReadOnly, http.StatusServiceUnavailable},
		{"database-address", records.ErrURL, http.StatusServiceUnavailable},
		{"duty-held", issuing.ErrHeld, http.StatusServiceUnavailable},
		{"duty-lapsed", issuing.ErrLapsed, http.StatusServiceUnavailable},
		{"sealed", records.ErrSealed, http.StatusServiceUnavailable},
		{"object-other", objects.ErrExists, http.StatusServiceUnavailable},
		{"object-damaged", objects.ErrDamaged, http.StatusServiceUnavailable},
		{"log-damaged", embedded.ErrDamaged, http.StatusServiceUnavailable},
		{"chain-diverged", fabric.ErrDiverged, http.StatusServiceUnavailable},
		{"chain-block", fabric.ErrBlock, http.StatusServiceUnavailable},
		{"chain-expired", fabric.ErrExpired, http.StatusServiceUnavailable},
		{"chain-away", fabric.ErrUnreachable, http.StatusServiceUnavailable},
		{"chain-not-endorsed", fabric.ErrNotEndorsed, http.StatusServiceUnavailable},
		{"chain-unknown-outcome", fabric.ErrUnknownOutcome, http.StatusServiceUnavailable},
		{"chain-invalidated", fabric.ErrInvalidated, http.StatusServiceUnavailable},
		{"log-not-yet", embedded.ErrNotYet, http.StatusServiceUnavailable},
		{"no-chain", errNotOnFabric, http.StatusConflict},
		{"export-folder", export.ErrFolder, http.StatusConflict},
		{"export-of-another-chain", export.ErrAnotherChain, http.StatusConflict},
		{"not-a-checkpoint", replay.ErrKnown, http.StatusBadRequest},
		{"chaincode-without-state", replay.ErrNoState, http.StatusConflict},
		{"ordering-unknown", replay.ErrOrdering, http.StatusConflict},
		{"not-opened", envelope.ErrOpen, http.StatusServiceUnavailable},
		{"database-full", records.ErrServerFull, http.StatusServiceUnavailable},
		{"database-disk", records.ErrServerDisk, http.StatusServiceUnavailable},
		{"database-away", records.ErrServerAway, http.StatusServiceUnavailable},
		{"tables-no-way-back", records.ErrNoWayBack, http.StatusConflict},
		{"tables-in-use", records.ErrInUse, http.StatusServiceUnavailable},
		{"tables", records.ErrVersion, http.StatusServiceUnavailable},
		{"stopping", api.ErrStopping, http.StatusServiceUnavailable},
		{"busy", api.ErrBusy, http.StatusServiceUnavailable},
		{"gone", api.ErrGone, http.StatusServiceUnavailable},
		{"unknown-operation", api.ErrUnknownOperation, http.StatusNotFound},
		{"malformed", api.ErrMalformed, http.StatusBadRequest},
		{"internal", api.ErrInternal, http.StatusInternalServerError},
		{"unavailable", licence.ErrUnavailable, http.StatusServiceUnavailable},
		{"disk-full", syscall.ENOSPC, http.StatusServiceUnavailable},
		{"read-only", syscall.EROFS, http.StatusServiceUnavailable},
		{"permission", os.ErrPermission, http.StatusServiceUnavailable},
		{"no-file", os.ErrNotExist, http.StatusServiceUnavailable},
		{"cancelled", context.Canceled, http.StatusServiceUnavailable},
		{"deadline", context.DeadlineExceeded, http.StatusServiceUnavailable},
	}
}

// Codes of errors that are no sentinel.
const (
	codeUsage = "usage"
	codeGlyph = "missing-glyph"
	codeFault = "fault" // of this program: the table does not have it
)

// travelling makes a problem of an error.
func travelling(err error) *api.Problem {
	r := classify(err)
	p := &api.Problem{Type: "about:blank", Detail: err.Error(), Do: r.do, Status: http.StatusInternalServerError, Code: codeFault}
	for _, n := range codes() {
		if errors.Is(err, n.sentinel) {
			if p.Code == codeFault {
				p.Code, p.Status = n.code, n.status
			} else {
				p.Codes = append(p.Codes, n.code)
			}
		}
	}
	var f *failure
	if errors.As(err, &f) {
		p.Exit, p.Advice = f.code, f.do
		if f.code == exitUsage && p.Code == codeFault {
			p.Code, p.Status = codeUsage, http.StatusBadRequest
		}
	}
	var glyph *templates.MissingGlyph
	if errors.As(err, &glyph) {
		p.Code, p.Status, p.Package = codeGlyph, http.StatusUnprocessableEntity, glyph.Package
	}
	p.Type = "urn:elicence:problem:" + p.Code
	p.ZH, p.EN = r.what, p.Detail
	if zh, en, both := strings.Cut(p.Detail, " / "); both {
		p.EN = en
		if p.ZH == "" {
			p.ZH = zh
		}
	}
	p.Title = p.ZH
	return p
}

// understood makes of a problem what it was before it travelled: the same words, the same sentinels, the same advice.
func understood(err error) error {
	var p *api.Problem
	if !errors.As(err, &p) {
		return err
	}
	e := &travelled{text: p.Detail}
	for _, n := range codes() {
		if n.code == p.Code || slices.Contains(p.Codes, n.code) {
			e.is = append(e.is, n.sentinel)
		}
	}
	if p.Code == codeGlyph {
		e.glyph = &templates.MissingGlyph{Package: p.Package}
	}
	if p.Exit != 0 {
		return &failure{code: p.Exit, cause: e, do: p.Advice}
	}
	return e
}

// travelled is an error that came through the socket.
type travelled struct {
	text  string
	is    []error
	glyph *templates.MissingGlyph
}

func (t *travelled) Error() string { return t.text }

// Is finds the sentinels that the error wrapped where it came from.
func (t *travelled) Is(target error) bool {
	return slices.ContainsFunc(t.is, func(e error) bool { return errors.Is(e, target) })
}

// As finds a missing glyph.
func (t *travelled) As(target any) bool {
	if g, ok := target.(**templates.MissingGlyph); ok && t.glyph != nil {
		*g = t.glyph
		return true
	}
	return false
}
