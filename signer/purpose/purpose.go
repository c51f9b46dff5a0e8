// Package purpose says what a key may sign. One key has one purpose, fixed when it is made; a purpose allows certain
// forms of message; and every form can be told from every other by its first bytes, so that a signature made for one
// can never be shown as another.
//
// Everything here is pure and safe for concurrent use.
package purpose

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
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
	Delivery      Form = "delivery"       // the same with AADDelivery
	Checkpoint    Form = "checkpoint"     // body of a log checkpoint (C2SP tlog-checkpoint)
	Cosignature   Form = "cosignature"    // "cosignature/v1", time line and checkpoint body (C2SP tlog-cosignature)
	Status        Form = "status"         // StatusPrefix and JSON
	Trust         Form = "trust"          // TrustPrefix and JSON
	Certificate   Form = "certificate"    // DER TBSCertificate (RFC 5280, 4.1)
	Revocations   Form = "revocations"    // DER TBSCertList (RFC 5280, 5.1)
	Request       Form = "request"        // DER CertificationRequestInfo (RFC 2986, 4.1; GM/T 0092)
)

// What the forms begin with or carry, so that they cannot be taken for each other.
const (
	AADCredential     = "elicence/credential/1"
	AADEvent          = "elicence/event/1"
	AADDelivery       = "elicence/delivery/1"
	StatusPrefix      = "elicence/status/1\n"
	TrustPrefix       = "elicence/trust/1\n"
	CosignaturePrefix = "cosignature/v1\n"
)

// AllForms returns every form, in a fixed order.
func AllForms() []Form {
	return []Form{CMSAttributes, Credential, Event, Delivery, Checkpoint, Cosignature, Status, Trust, Certificate, Revocations, Request}
}

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

// Forms returns the forms that a key of this purpose signs; none for DataWrapping and for unknown words. Every key that signs
// may ask for a certificate of itself.
func (p Purpose) Forms() []Form {
	switch p {
	case Documents:
		return []Form{CMSAttributes, Credential, Request}
	case Events:
		return []Form{Event, Delivery, Request}
	case Checkpoints:
		return []Form{Checkpoint, Cosignature, Request}
	case StatusLists:
		return []Form{Status, Request}
	case TrustFiles:
		return []Form{Trust, Request}
	case CertificateAuthority:
		return []Form{Certificate, Revocations, Request}
	}
	return nil
}

// Known reports whether p is one of All.
func (p Purpose) Known() bool { return slices.Contains(All(), p) }

// Allows reports whether a key of purpose p may sign form f.
func (p Purpose) Allows(f Form) bool { return slices.Contains(p.Forms(), f) }

// MaxMessage bounds a message of any form in bytes: a trust file with 30,000 certificates.
const MaxMessage = 32 << 20

// Check returns nil if message has form f, else ErrForm with what is missing. It looks at structure and marks, not at
// the meaning: that is the caller's. It never panics, whatever the bytes.
func Check(f Form, message []byte) error {
	if len(message) == 0 || len(message) > MaxMessage {
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
	case Delivery:
		why = checkSigStructure(message, AADDelivery)
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
	case Request:
		why = checkRequest(message)
	default:
		why = "no such form"
	}
	if why != "" {
		return fmt.Errorf("%w: %s: %s", ErrForm, f, why)
	}
	return nil
}

// checkJSON holds a message to the prefix line and one JSON object without white space around it.
func checkJSON(m []byte, prefix string) string {
	rest, ok := bytes.CutPrefix(m, []byte(prefix))
	if !ok {
		return "not the prefix line of this form"
	}
	if len(rest) < 2 || rest[0] != '{' || rest[len(rest)-1] != '}' || !json.Valid(rest) || !utf8.Valid(rest) {
		return "not one JSON object behind the prefix line"
	}
	return ""
}

// Bounds of a checkpoint body: three lines and at most six more, of which ours uses one.
const (
	checkpointLines = 9
	checkpointBytes = 4096
)

// checkCheckpoint reads origin, size, root and further lines (C2SP tlog-checkpoint). Without control characters no text
// can be the DER of another form, whose tags and lengths always hold some; without the prefixes of the other texts it
// cannot be one of them.
func checkCheckpoint(m []byte) string {
	if len(m) > checkpointBytes || !utf8.Valid(m) || m[len(m)-1] != '\n' {
		return "not lines of text"
	}
	lines := strings.Split(string(m[:len(m)-1]), "\n")
	if len(lines) < 3 || len(lines) > checkpointLines {
		return "not origin, size and root, a line each"
	}
	for _, l := range lines {
		if l == "" || strings.ContainsFunc(l, unicode.IsControl) {
			return "an empty line, or a control character"
		}
	}
	for _, taken := range []string{CosignaturePrefix, StatusPrefix, TrustPrefix} {
		if lines[0]+"\n" == taken {
			return "an origin line that means another form"
		}
	}
	if !decimal(lines[1]) {
		return "no size line"
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != 32 {
		return "no root line"
	}
	return ""
}

func checkCosignature(m []byte) string {
	rest, ok := bytes.CutPrefix(m, []byte(CosignaturePrefix+"time "))
	if !ok {
		return "no cosignature/v1 and time lines"
	}
	at, body, ok := bytes.Cut(rest, []byte("\n"))
	if !ok || !decimal(string(at)) || len(body) == 0 {
		return "no time line, or nothing behind it"
	}
	return checkCheckpoint(body)
}

// decimal reports whether s is a number below 2^63 as decimal digits without leading zeros.
func decimal(s string) bool {
	n, err := strconv.ParseUint(s, 10, 63)
	return err == nil && strconv.FormatUint(n, 10) == s
}
