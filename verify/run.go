package verify

import (
	"encoding/hex"
	"time"

	"github.com/elicence/elicence/signer/cms"
	"github.com/elicence/elicence/signer/credential"
	"github.com/elicence/elicence/signer/pdf"
)

// run is one verification: what was found so far, and the report it becomes.
type run struct {
	v    *Verifier
	r    *Report
	now  time.Time
	self bool // right after signing: no receipt, no status, old trust file and CRL do not matter

	doc    *pdf.Document          // nil for a code
	signed *cms.SignedData        // nil for a code
	part   *credential.Disclosure // nil for a code
	cred   *credential.Credential
	leaf   leaf

	failed, open *answer // the first of each
	mustSpecimen bool    // no production chain
	noStatus     bool    // the credential is not proven to be anybody's
}

type answer struct {
	sub SubIndication
	Sentence
}

func (x *run) note(id string, p Property, result Result, zh, en string, evidence []string) {
	c := Check{ID: id, Property: p, Result: result, Sentence: Sentence{zh, en}}
	if len(evidence) > 1 {
		c.Evidence = make(map[string]string, len(evidence)/2)
		for i := 0; i+1 < len(evidence); i += 2 {
			c.Evidence[evidence[i]] = evidence[i+1]
		}
	}
	x.r.Checks = append(x.r.Checks, c)
}

// pass, fail and unsure record a check; evidence is name, value, name, value …
func (x *run) pass(id string, p Property, zh, en string, evidence ...string) {
	x.note(id, p, ResultPass, zh, en, evidence)
}

// fail makes the signature TOTAL-FAILED. The first failure names the reason.
func (x *run) fail(id string, p Property, sub SubIndication, zh, en string, evidence ...string) {
	x.note(id, p, ResultFail, zh, en, evidence)
	if x.failed == nil {
		x.failed = &answer{sub, Sentence{zh, en}}
	}
}

// unsure makes the signature INDETERMINATE unless something failed.
func (x *run) unsure(id string, p Property, sub SubIndication, zh, en string, evidence ...string) {
	x.note(id, p, ResultUnknown, zh, en, evidence)
	if x.open == nil {
		x.open = &answer{sub, Sentence{zh, en}}
	}
}

// finish turns what was found into the two answers.
func (x *run) finish() *Report {
	s := &x.r.Signature
	switch {
	case x.failed != nil:
		*s = Signature{Failed, x.failed.sub, x.failed.Sentence}
	case x.open != nil:
		*s = Signature{Indeterminate, x.open.sub, x.open.Sentence}
	case x.cred == nil:
		// Not reachable: every way to no credential records why. A verdict must not hang on that.
		*s = Signature{Indeterminate, SignedDataNotFound, Sentence{"没有可核验的内容", "there is nothing to verify"}}
	default:
		*s = Signature{Indication: Passed, Sentence: Sentence{"签名有效，内容自签发后未被改动", "the signature is valid and nothing was changed since"}}
	}
	x.r.Specimen = x.r.Ours && (x.cred == nil || x.mustSpecimen || x.cred.Payload.Specimen)
	if s.Indication == Failed {
		// The values of a file that failed are nobody's word.
		x.r.Fields = nil
	}
	x.status()
	return x.r
}

func digest(d [32]byte) string { return hex.EncodeToString(d[:]) }
