package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/elicence/elicence/access"
	"github.com/elicence/elicence/hsm/softkey"
	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/ledger"
	"github.com/elicence/elicence/ledger/embedded"
	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/storage/envelope"
	"github.com/elicence/elicence/storage/objects"
	"github.com/elicence/elicence/storage/records"
	"github.com/elicence/elicence/templates"
	"github.com/elicence/elicence/verify/trust"
)

// Exit codes of every command.
const (
	exitYes           = 0
	exitNo            = 1
	exitIndeterminate = 2
	exitBatch         = 3 // a batch with some or all lines refused
	exitUsage         = 64
	exitUnavailable   = 69
	exitInternal      = 70
)

// answer is an outcome that is not an error of the program: the command has said all there is to say.
type answer int

func (a answer) Error() string { return fmt.Sprintf("exit %d", int(a)) }

// failure says what went wrong, where, and what to do about it.
type failure struct {
	code  int
	cause error
	do    string
}

func (f *failure) Error() string { return f.cause.Error() }
func (f *failure) Unwrap() error { return f.cause }

func usage(format string, v ...any) error {
	return &failure{code: exitUsage, cause: fmt.Errorf(format, v...)}
}

// classify is the one table from sentinel to exit code and advice.
func classify(err error) (int, string) {
	var f *failure
	if errors.As(err, &f) {
		code, do := f.code, f.do
		if do == "" {
			_, do = classify(f.cause)
		}
		return code, do
	}
	var glyph *templates.MissingGlyph
	switch {
	case errors.As(err, &glyph):
		return exitNo, "install the Debian package " + glyph.Package + ", or name a folder with the font in fonts.dirs of elicence.yaml"
	case errors.Is(err, errRolledBack):
		return exitUnavailable, "put back the newest copy of the records; without one this log cannot be continued: see “Backup and restore” in docs/operations.md"
	case errors.Is(err, issuing.ErrParked):
		return exitNo, "see it with: elicence list --stage parked; when what it failed of is cured: elicence resume NUMBER --as ORG/PERSON --why TEXT"
	case errors.Is(err, licence.ErrConflict):
		return exitNo, "look at what stands with: elicence show BUSINESS-ID"
	case errors.Is(err, licence.ErrStockEmpty):
		return exitNo, "allot numbers of this licence type with: elicence number allot --type TYPE"
	case errors.Is(err, licence.ErrRefused), errors.Is(err, licence.ErrState), errors.Is(err, issuing.ErrRefusedByContract),
		errors.Is(err, issuing.ErrEvidence), errors.Is(err, licence.ErrNotFound), errors.Is(err, licence.ErrClock),
		errors.Is(err, access.ErrRole), errors.Is(err, access.ErrPassphrase), errors.Is(err, access.ErrUnknownPerson),
		errors.Is(err, licence.ErrSamePerson), errors.Is(err, licence.ErrOtherDraft), errors.Is(err, licence.ErrSpoiled),
		errors.Is(err, templates.ErrTooLong), errors.Is(err, embedded.ErrClock), errors.Is(err, ledger.ErrCosignerClock):
		return exitNo, ""
	case errors.Is(err, softkey.ErrNoKey), errors.Is(err, softkey.ErrState):
		return exitNo, "see the keys with: elicence key list"
	case errors.Is(err, ledger.ErrRollback), errors.Is(err, ledger.ErrFork):
		return exitNo, "the records are not those that the cosigners have signed for: put back the newest backup, and find out who changed them; compare with: elicence ledger audit"
	case errors.Is(err, trust.ErrPin), errors.Is(err, trust.ErrFormat), errors.Is(err, trust.ErrSignature):
		return exitNo, "publish/trust.json is not what this installation's operator signed: put it back from its backup, and find out who changed it"
	case errors.Is(err, errRevokedAlready), errors.Is(err, errNoCertificate):
		return exitNo, "see them with: elicence ca show"
	case errors.Is(err, embedded.ErrNotPublished):
		return exitNo, "have the newest checkpoint cosigned with: elicence ledger cosign"
	case errors.Is(err, issuing.ErrStale), errors.Is(err, issuing.ErrFenced):
		return exitUnavailable, "somebody else moved it meanwhile: look again, then repeat the command"
	case errors.Is(err, records.ErrLocked):
		return exitUnavailable, "another elicence process writes in this folder: wait for it to end"
	case errors.Is(err, softkey.ErrPassphrase):
		return exitUnavailable, "give the right passphrase with --passphrase-file or $ELICENCE_PASSPHRASE"
	case errors.Is(err, softkey.ErrKeystore), errors.Is(err, issuing.ErrKey):
		return exitUnavailable, "put the organisation's keystore file back from its backup; without it nothing can be signed, and nothing was consumed"
	case errors.Is(err, records.ErrSealed), errors.Is(err, objects.ErrDamaged), errors.Is(err, embedded.ErrDamaged), errors.Is(err, envelope.ErrOpen):
		return exitUnavailable, "the folder is damaged or mixed with another one: put it back whole from its backup"
	case errors.Is(err, records.ErrVersion):
		return exitUnavailable, "use the program version that these records belong to, or run a writing command with this one, which brings older records forward"
	case errors.Is(err, licence.ErrUnavailable), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EROFS),
		errors.Is(err, os.ErrPermission):
		return exitUnavailable, "make the folder writable and free some space, then repeat the command: it goes on where it stopped"
	case errors.Is(err, os.ErrNotExist):
		return exitUnavailable, ""
	case errors.Is(err, context.Canceled):
		return exitUnavailable, "interrupted: repeat the command, it goes on where it stopped"
	}
	return exitInternal, ""
}

// exit prints the error, if any, and returns the process's exit code.
func (a *app) exit(err error) int {
	if err == nil {
		return exitYes
	}
	var said answer
	if errors.As(err, &said) {
		return int(said)
	}
	code, do := classify(err)
	if a.json {
		_ = json.NewEncoder(a.stderr).Encode(map[string]any{"error": err.Error(), "advice": do, "exit": code})
		return code
	}
	fmt.Fprintf(a.stderr, "elicence: %v\n", err)
	if do != "" {
		fmt.Fprintf(a.stderr, "  → %s\n", do)
	}
	return code
}
