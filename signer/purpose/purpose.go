// Package purpose says what a key may sign. One key has one purpose, fixed when it is made; a purpose allows certain
// forms of message; and every form can be told from every other by its first bytes, so that a signature made for one
// can never be shown as another.
package purpose

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// ErrForm says that a message does not have the form that it was said to have. Nothing was signed.
var ErrForm = errors.New("purpose: the message does not have this form")

// Form is the shape of a message that may be signed.
type Form string

// Forms.
const (
	CMSAttributes Form = "cms-attributes" // DER SET OF Attribute of a CMS SignerInfo (RFC 5652, 5.4)
	Credential    Form = "credential"     // COSE Sig_structure (RFC 9052, 4.4) with external_aad AADCredential
	Event         Form = "event"          // the same with AADEvent
	Checkpoint    Form = "checkpoint"     // body of a log checkpoint (C2SP tlog-checkpoint)
	Cosignature   Form = "cosignature"    // "cosignature/v1", time line and checkpoint body (C2SP tlog-cosignature)
	Status        Form = "status"         // StatusPrefix and JSON
	Trust         Form = "trust"          // TrustPrefix and JSON
	Certificate   Form = "certificate"    // DER TBSCertificate (RFC 5280, 4.1)
	Revocations   Form = "revocations"    // DER TBSCertList (RFC 5280, 5.1)
)

// What the forms begin with or carry, so that they cannot be taken for each other.
const (
	AADCredential     = "elicence/credential/1"
	AADEvent          = "elicence/event/1"
	StatusPrefix      = "elicence/status/1\n"
	TrustPrefix       = "elicence/trust/1\n"
	CosignaturePrefix = "cosignature/v1\n"
)

// Purpose is what one key is for.
type Purpose string

// Purposes.
const (
	Documents            Purpose = "documents"
	Events               Purpose = "events"
	Checkpoints          Purpose = "checkpoints"
	StatusLists          Purpose = "status"
	TrustFiles           Purpose = "trust"
	CertificateAuthority Purpose = "ca"
	DataWrapping         Purpose = "data-wrapping" // wraps data keys, signs nothing
)

// All returns every purpose, in a fixed order.
func All() []Purpose {
	return []Purpose{Documents, Events, Checkpoints, StatusLists, TrustFiles, CertificateAuthority, DataWrapping}
}

// Forms returns the forms that a key of this purpose signs; none for DataWrapping and for unknown words.
func (p Purpose) Forms() []Form {
	switch p {
	case Documents:
		return []Form{CMSAttributes, Credential}
	case Events:
		return []Form{Event}
	case Checkpoints:
		return []Form{Checkpoint, Cosignature}
	case StatusLists:
		return []Form{Status}
	case TrustFiles:
		return []Form{Trust}
	case CertificateAuthority:
		return []Form{Certificate, Revocations}
	}
	return nil
}

// Allows reports whether a key of purpose p may sign form f.
func (p Purpose) Allows(f Form) bool { return slices.Contains(p.Forms(), f) }

// largest message of any form: a trust file with 30,000 certificates.
const largest = 32 << 20

// Check returns nil if message has form f, else ErrForm with what is missing. It looks at structure and marks, not at
// the meaning: that is the caller's. It never panics, whatever the bytes.
func Check(f Form, message []byte) error {
	if len(message) == 0 || len(message) > largest {
		return fmt.Errorf("%w: %s: %d bytes", ErrForm, f, len(message))
	}
	var why string
	switch f {
	case CMSAttributes:
		why = checkAttributes(message)
	case Credential:
		why = checkSigStructure(message, AADCredential)
	case Event:
		why = checkSigStructure(message, AADEvent)
	case Checkpoint:
		why = checkCheckpoint(message)
	case Cosignature:
		why = checkCosignature(message)
	case Status:
		why = checkJSON(message, StatusPrefix)
	case Trust:
		why = checkJSON(message, TrustPrefix)
	case Certificate:
		why = checkCertificate(message)
	case Revocations:
		why = checkRevocations(message)
	default:
		why = "no such form"
	}
	if why != "" {
		return fmt.Errorf("%w: %s: %s", ErrForm, f, why)
	}
	return nil
}

func checkJSON(m []byte, prefix string) string {
	rest, ok := bytes.CutPrefix(m, []byte(prefix))
	if !ok || len(rest) < 2 || rest[0] != '{' || rest[len(rest)-1] != '}' {
		return "not the prefix line and one JSON object"
	}
	return ""
}

func checkCheckpoint(m []byte) string {
	lines := bytes.Split(m, []byte("\n"))
	// origin, size, root, further lines (here the time line), and the empty rest behind the last newline
	if len(lines) < 4 || len(lines) > 10 || len(m) > 4096 || len(lines[len(lines)-1]) != 0 {
		return "not origin, size and root, a line each"
	}
	origin := string(lines[0])
	if origin == "" || origin == "cosignature/v1" || bytes.HasPrefix(m, []byte(StatusPrefix)) || bytes.HasPrefix(m, []byte(TrustPrefix)) {
		return "an origin line that is taken"
	}
	if n, err := strconv.ParseUint(string(lines[1]), 10, 64); err != nil || strconv.FormatUint(n, 10) != string(lines[1]) {
		return "no size line"
	}
	if len(lines[2]) != 44 {
		return "no root line"
	}
	return ""
}

func checkCosignature(m []byte) string {
	rest, ok := bytes.CutPrefix(m, []byte(CosignaturePrefix+"time "))
	if !ok {
		return "no cosignature/v1 and time lines"
	}
	t, body, ok := bytes.Cut(rest, []byte("\n"))
	if n, err := strconv.ParseUint(string(t), 10, 63); !ok || err != nil || strconv.FormatUint(n, 10) != string(t) {
		return "no time line"
	}
	return checkCheckpoint(body)
}
