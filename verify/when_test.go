package verify_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/elicence/elicence/ledger"
	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
	"github.com/elicence/elicence/verify"
	"github.com/elicence/elicence/verify/trust"
	"github.com/elicence/elicence/verify/verifytest"
)

// revoke puts certificates of the issuing CA on its list, which is made at the given time for thirty days.
func revoke(s *verifytest.Scheme, made, at time.Time, reason pki.Reason, ids ...verifytest.Identity) func(*trust.Content) {
	var list []pki.Revoked
	for _, id := range ids {
		list = append(list, pki.Revoked{Serial: id.Certificate.SerialNumber(), At: at, Reason: reason})
	}
	return func(c *trust.Content) { c.CRLs = s.Authority.CRLsAt(made, list...) }
}

// The signature was made (or is said to have been made) at signedAt and cosigned two minutes later. When the key is
// revoked decides, and what can be proven.
func TestRevokedKey(t *testing.T) {
	s := verifytest.New(t, "main")
	m := recipe{scheme: s}.make(t)
	proven := signedAt.Add(2 * time.Minute)
	receipt := m.receipt(t, log{})
	for name, c := range map[string]struct {
		at      time.Time
		reason  pki.Reason
		receipt []byte
		i       verify.Indication
		sub     verify.SubIndication
	}{
		"compromised, nothing proven":                {proven.Add(time.Hour), pki.KeyCompromise, nil, verify.Indeterminate, verify.RevokedNoPOE},
		"compromised after the proven time":          {proven.Add(time.Second), pki.KeyCompromise, receipt, verify.Passed, ""},
		"compromised at the proven time":             {proven, pki.KeyCompromise, receipt, verify.Failed, verify.CertificateRevoked},
		"backdated: compromised before the receipt":  {signedAt.Add(-time.Hour), pki.KeyCompromise, receipt, verify.Failed, verify.CertificateRevoked},
		"between the claimed and the proven time":    {signedAt.Add(time.Second), pki.KeyCompromise, receipt, verify.Failed, verify.CertificateRevoked},
		"replaced, nothing proven":                   {proven.Add(time.Hour), pki.Replaced, nil, verify.Indeterminate, verify.RevokedNoPOE},
		"replaced before the proven time":            {signedAt, pki.Replaced, receipt, verify.Indeterminate, verify.RevokedNoPOE},
		"replaced after the proven time":             {proven.Add(time.Second), pki.Replaced, receipt, verify.Passed, ""},
		"revoked from a future time, nothing proven": {signedAt.AddDate(0, 0, 20), pki.KeyCompromise, nil, verify.Indeterminate, verify.RevokedNoPOE},
	} {
		v := reader{scheme: s, trust: revoke(s, signedAt, c.at, c.reason, s.Hospital.Documents)}.new(t)
		r := v.File(context.Background(), m.parts["main"], c.receipt)
		if r.Signature.Indication != c.i || r.Signature.SubIndication != c.sub {
			t.Errorf("%s: %s %s; %s", name, r.Signature.Indication, r.Signature.SubIndication, open(r))
		}
	}
	// A code has no proof of time at all.
	v := reader{scheme: s, trust: revoke(s, signedAt, proven, pki.KeyCompromise, s.Hospital.Documents)}.new(t)
	want(t, v.Code(context.Background(), m.code), verify.Indeterminate, verify.RevokedNoPOE)
}

func TestCertificateOutOfItsTime(t *testing.T) {
	s := verifytest.New(t, "main")
	m := recipe{scheme: s}.make(t)
	receipt := m.receipt(t, log{})
	// Ten years on the trust file is another, the certificates are the same.
	later := func(at time.Time) func(*trust.Content) {
		return func(c *trust.Content) { c.Issued, c.Expires, c.CRLs = at, at.AddDate(1, 0, 0), s.Authority.CRLsAt(at) }
	}
	after := verifytest.Epoch.AddDate(4, 0, 0)
	v := reader{scheme: s, now: after, trust: later(after)}.new(t)
	want(t, v.File(context.Background(), m.parts["main"], nil), verify.Indeterminate, verify.OutOfBoundsNoPOE)
	want(t, v.Code(context.Background(), m.code), verify.Indeterminate, verify.OutOfBoundsNoPOE)
	want(t, v.File(context.Background(), m.parts["main"], receipt), verify.Passed, "")

	// Proven only after it expired.
	late := m.receipt(t, log{at: after, cosigners: []cosigner{{s.Police, after}, {s.Archive, after}}})
	r := reader{scheme: s, now: after.Add(time.Hour), trust: later(after)}.new(t).File(context.Background(), m.parts["main"], late)
	if r.Signature.Indication != verify.Indeterminate {
		t.Errorf("proven after the certificate expired: %s", r.Signature.Indication)
	}

	// Not valid yet: by the reader's clock, or by proof.
	soon := s.Authority.Certify(s.Hospital.Documents.Key, s.Hospital.Organisation, purpose.Documents, func(t *pki.Template) { t.NotBefore = signedAt.AddDate(0, 0, 1) })
	list := func(c *trust.Content) { c.Certificates[0].Certificate = soon.Certificate.Raw() }
	m = recipe{scheme: s, signer: &soon}.make(t)
	want(t, reader{scheme: s, trust: list}.new(t).File(context.Background(), m.parts["main"], nil), verify.Indeterminate, verify.OutOfBoundsNoPOE)
	want(t, reader{scheme: s, trust: list}.new(t).File(context.Background(), m.parts["main"], m.receipt(t, log{})), verify.Failed, verify.NotYetValid)
}

func TestOperatorNarrowsACertificatesTime(t *testing.T) {
	s := verifytest.New(t, "main")
	m := recipe{scheme: s}.make(t)
	receipt := m.receipt(t, log{})
	until := func(at time.Time) func(*trust.Content) {
		return func(c *trust.Content) { c.Certificates[0].Until = at }
	}
	v := reader{scheme: s, trust: until(signedAt.Add(time.Hour))}.new(t) // the reader's now is an hour later
	want(t, v.File(context.Background(), m.parts["main"], nil), verify.Indeterminate, verify.OutOfBoundsNoPOE)
	want(t, v.File(context.Background(), m.parts["main"], receipt), verify.Passed, "")
	v = reader{scheme: s, trust: until(signedAt)}.new(t)
	// By the renewed certificate alone nobody of this CA was anybody yet at that time: the operator keeps the old one.
	if r := v.File(context.Background(), m.parts["main"], receipt); r.Signature.Indication != verify.Indeterminate {
		t.Errorf("proven before the only CA certificate: %s", r.Signature.Indication)
	}
}

func TestSigningTimeIsOnlyAClaim(t *testing.T) {
	s := verifytest.New(t, "main")
	m := recipe{scheme: s}.make(t)
	v := reader{scheme: s}.new(t)
	for name, c := range map[string]struct {
		cosigned time.Time
		i        verify.Indication
		sub      verify.SubIndication
	}{
		"proven in the same second": {signedAt, verify.Passed, ""},
		"proven before the claim":   {signedAt.Add(-time.Second), verify.Indeterminate, verify.TimestampOrderFailure},
	} {
		r := v.File(context.Background(), m.parts["main"], m.receipt(t, log{cosigners: []cosigner{{s.Police, c.cosigned}, {s.Archive, c.cosigned}}}))
		if r.Signature.Indication != c.i || r.Signature.SubIndication != c.sub {
			t.Errorf("%s: %s %s", name, r.Signature.Indication, r.Signature.SubIndication)
		}
	}
	// A claim in the future, without any proof.
	future := recipe{scheme: s, signingTime: signedAt.Add(3 * time.Hour)}.make(t)
	want(t, v.File(context.Background(), future.parts["main"], nil), verify.Indeterminate, verify.TimestampOrderFailure)
	ahead := recipe{scheme: s, signingTime: signedAt.Add(2*time.Hour + time.Minute)}.make(t)
	want(t, v.File(context.Background(), ahead.parts["main"], nil), verify.Passed, "")
}

func TestOldTrustFileAndOldRevocationList(t *testing.T) {
	s := verifytest.New(t, "main")
	m := recipe{scheme: s}.make(t)
	receipt := m.receipt(t, log{})
	day := 24 * time.Hour
	none := func(c *trust.Content) { c.CRLs = nil }
	for name, c := range map[string]struct {
		reader
		receipt []byte
		sub     verify.SubIndication
	}{
		"the list is out of date":                 {reader{now: signedAt.Add(40 * day), maxAge: 99 * day}, nil, verify.TryLater},
		"out of date now, not at the proven time": {reader{now: signedAt.Add(40 * day), maxAge: 99 * day}, receipt, ""},
		"no list":                       {reader{trust: none}, nil, verify.TryLater},
		"no list, time proven":          {reader{trust: none}, receipt, verify.TryLater},
		"the trust file has expired":    {reader{now: signedAt.Add(400 * day), maxAge: 999 * day}, receipt, verify.TryLater},
		"the trust file is of tomorrow": {reader{trust: func(c *trust.Content) { c.Issued = signedAt.Add(day) }}, nil, verify.TryLater},
	} {
		c.scheme = s
		r := c.new(t).File(context.Background(), m.parts["main"], c.receipt)
		i := verify.Indeterminate
		if c.sub == "" {
			i = verify.Passed
		}
		if r.Signature.Indication != i || r.Signature.SubIndication != c.sub {
			t.Errorf("%s: %s %s; %s", name, r.Signature.Indication, r.Signature.SubIndication, open(r))
		}
	}
}

// A revoked CA takes all its certificates with it.
func TestRevokedCA(t *testing.T) {
	s := verifytest.New(t, "main")
	m := recipe{scheme: s}.make(t)
	v := reader{scheme: s, trust: func(c *trust.Content) {
		c.CRLs = s.Authority.CRLsOfBoth(verifytest.Epoch, pki.Revoked{Serial: s.Authority.CA.SerialNumber(), At: signedAt, Reason: pki.CACompromise})
	}}.new(t)
	want(t, v.File(context.Background(), m.parts["main"], nil), verify.Indeterminate, verify.RevokedCANoPOE)
	if r := v.File(context.Background(), m.parts["main"], m.receipt(t, log{})); r.Passed() {
		t.Error("a file of a compromised CA passes")
	}
}

// Receipts that prove nothing about this file: no time, and no pass either.
func TestReceiptsThatProveNothing(t *testing.T) {
	s := verifytest.New(t, "main")
	stranger := verifytest.New(t, "a stranger")
	m := recipe{scheme: s}.make(t)
	event := func(r recipe) *made { r.scheme = s; return r.make(t) }
	at := func(o *verifytest.Organisation, minutes int) cosigner {
		return cosigner{o, signedAt.Add(time.Duration(minutes) * time.Minute)}
	}
	good := m.receipt(t, log{})
	// The same licence, its event altered: the parts are the same bytes, for signatures here are deterministic.
	changedEvent := func(change func(*contract.Event)) []byte { return event(recipe{event: change}).receipt(t, log{}) }
	policeSigns := event(recipe{eventBy: &s.Police.Events, event: func(e *contract.Event) { e.Actor = s.Police.Code }})
	for name, c := range map[string]struct {
		reader
		receipt []byte
	}{
		"nonsense":                     {reader{}, []byte("elicence/receipt/1\n")},
		"cut off":                      {reader{}, good[:len(good)-10]},
		"too long":                     {reader{}, append(bytes.Clone(good), make([]byte, 1<<20)...)},
		"another licence's":            {reader{}, event(recipe{birth: 1}).receipt(t, log{})},
		"another handle":               {reader{}, changedEvent(func(e *contract.Event) { e.Handle[0] ^= 1 })},
		"another commitment":           {reader{}, changedEvent(func(e *contract.Event) { e.Parts[0].Commitment[0] ^= 1 })},
		"commitments exchanged":        {reader{}, changedEvent(func(e *contract.Event) { e.Parts[0].Part, e.Parts[1].Part = e.Parts[1].Part, e.Parts[0].Part })},
		"one part fewer":               {reader{}, changedEvent(func(e *contract.Event) { e.Parts = e.Parts[:1] })},
		"not an issue":                 {reader{}, changedEvent(func(e *contract.Event) { e.Kind, e.Parts, e.Previous = contract.Registered, nil, [32]byte{1} })},
		"another organisation's word":  {reader{}, policeSigns.receipt(t, log{})},
		"an event key not listed":      {reader{trust: without(s.Hospital.Events)}, good},
		"cosigned by nobody":           {reader{}, m.receipt(t, log{cosigners: []cosigner{}})},
		"cosigned by one":              {reader{}, m.receipt(t, log{cosigners: []cosigner{at(s.Police, 1)}})},
		"cosigned by strangers":        {reader{}, m.receipt(t, log{cosigners: []cosigner{at(stranger.Police, 1), at(stranger.Archive, 2)}})},
		"cosigned in the future":       {reader{}, m.receipt(t, log{cosigners: []cosigner{at(s.Police, 1), at(s.Archive, 600)}})},
		"cosigned before the keys":     {reader{}, m.receipt(t, log{cosigners: []cosigner{at(s.Police, 1), at(s.Archive, -3000)}})},
		"another log":                  {reader{}, m.receipt(t, log{origin: "elicence.test/other"})},
		"a stranger's log":             {reader{}, m.receipt(t, log{by: &stranger.Commission.Checkpoints})},
		"the log's key not listed":     {reader{}, m.receipt(t, log{by: &s.Police.Checkpoints})},
		"a path to another root":       {reader{}, otherPath(t, m)},
		"a cosigner's stolen key":      {reader{trust: revoke(s, signedAt, signedAt.AddDate(0, 0, 9), pki.KeyCompromise, s.Archive.Checkpoints)}, good},
		"a cosigner revoked before":    {reader{trust: revoke(s, signedAt, signedAt.Add(-time.Hour), pki.Replaced, s.Archive.Checkpoints)}, good},
		"the event key revoked before": {reader{trust: revoke(s, signedAt, signedAt.Add(-time.Hour), pki.KeyCompromise, s.Hospital.Events)}, good},
		"the log key revoked before":   {reader{trust: revoke(s, signedAt, signedAt.Add(-time.Hour), pki.KeyCompromise, s.Commission.Checkpoints)}, good},
		"more are needed": {reader{trust: func(c *trust.Content) {
			c.CosignaturesNeeded = 3
			c.Cosigners = append(c.Cosigners, cosignerEntry(s.Other))
		}}, good},
	} {
		c.scheme = s
		c.noList = true
		r := c.new(t).File(context.Background(), m.parts["main"], c.receipt)
		if r.Signature.Indication != verify.Indeterminate || r.Signature.SubIndication != verify.SigConstraintsFailure || !r.ProvenAt.IsZero() || r.Anchor != nil {
			t.Errorf("%s: %s %s, proven %v; %s", name, r.Signature.Indication, r.Signature.SubIndication, !r.ProvenAt.IsZero(), open(r))
		}
		if check := r.Check("receipt"); check == nil || check.Result != verify.ResultUnknown {
			t.Errorf("%s: the receipt is not what is doubted: %s", name, open(r))
		}
	}
}

func without(id verifytest.Identity) func(*trust.Content) {
	return func(c *trust.Content) {
		for i, e := range c.Certificates {
			if bytes.Equal(e.Certificate, id.Certificate.Raw()) {
				c.Certificates = append(c.Certificates[:i:i], c.Certificates[i+1:]...)
				return
			}
		}
	}
}

func cosignerEntry(o *verifytest.Organisation) trust.Cosigner {
	return trust.Cosigner{Certificate: o.Checkpoints.Certificate.Raw(), Name: verifytest.CosignerName(o), Organisation: o.Code}
}

func otherPath(t *testing.T, m *made) []byte {
	t.Helper()
	r := must[*ledger.Receipt](t)(ledger.ParseReceipt(m.receipt(t, log{others: 3})))
	r.Path[0][0] ^= 1
	return must[[]byte](t)(r.Encode())
}

// The issuer's own cosignature never counts, nor a second one of one organisation.
func TestSignerDoesNotProveItsOwnTime(t *testing.T) {
	s := verifytest.New(t, "main")
	m := recipe{scheme: s}.make(t)
	hospitalToo := func(c *trust.Content) { c.Cosigners = append(c.Cosigners, cosignerEntry(s.Hospital)) }
	own := m.receipt(t, log{cosigners: []cosigner{{s.Hospital, signedAt}, {s.Police, signedAt.Add(time.Minute)}}})
	r := reader{scheme: s, trust: hospitalToo}.new(t).File(context.Background(), m.parts["main"], own)
	want(t, r, verify.Indeterminate, verify.SigConstraintsFailure)

	// Police with two keys is one organisation.
	second := s.Authority.Certify(verifytest.NewKey("second police key", purpose.Checkpoints), s.Police.Organisation, purpose.Checkpoints, nil)
	twin := &verifytest.Organisation{Organisation: s.Police.Organisation, Checkpoints: second}
	twice := m.receipt(t, log{cosigners: []cosigner{{s.Police, signedAt.Add(time.Minute)}}})
	note := addCosignature(t, twice, twin, "cosigner/second", signedAt.Add(2*time.Minute))
	both := func(c *trust.Content) {
		c.Cosigners = append(c.Cosigners, trust.Cosigner{Certificate: second.Certificate.Raw(), Name: "cosigner/second", Organisation: s.Police.Code})
	}
	r = reader{scheme: s, trust: both}.new(t).File(context.Background(), m.parts["main"], note)
	want(t, r, verify.Indeterminate, verify.SigConstraintsFailure)

	// With the hospital counting for nothing, police and archive still prove it, at the later of their times.
	all := m.receipt(t, log{cosigners: []cosigner{{s.Hospital, signedAt}, {s.Archive, signedAt.Add(time.Minute)}, {s.Police, signedAt.Add(5 * time.Minute)}}})
	r = reader{scheme: s, trust: hospitalToo}.new(t).File(context.Background(), m.parts["main"], all)
	if !r.Passed() || !r.ProvenAt.Equal(signedAt.Add(5*time.Minute)) || len(r.ProvenBy) != 2 {
		t.Errorf("%s, proven %s by %v", r.Signature.Indication, r.ProvenAt, r.ProvenBy)
	}
}

func TestEarliestTimeThatEnoughVouchForIsProven(t *testing.T) {
	s := verifytest.New(t, "main")
	m := recipe{scheme: s}.make(t)
	one := func(c *trust.Content) { c.CosignaturesNeeded = 1 }
	r := reader{scheme: s, trust: one}.new(t).File(context.Background(), m.parts["main"], m.receipt(t, log{}))
	if !r.ProvenAt.Equal(signedAt.Add(time.Minute)) || len(r.ProvenBy) != 1 {
		t.Errorf("proven %s by %v", r.ProvenAt, r.ProvenBy)
	}
}

// Every byte of a receipt changed in turn: the file is never proven by it at another time or place than by the receipt.
func TestEveryByteOfAReceipt(t *testing.T) {
	s := verifytest.New(t, "main")
	m := recipe{scheme: s}.make(t)
	v := reader{scheme: s}.new(t)
	receipt := m.receipt(t, log{others: 2})
	each(t, 0, len(receipt), func(i int) error {
		changed := bytes.Clone(receipt)
		changed[i] ^= 1 << (i % 7)
		if r := v.File(context.Background(), m.parts["main"], changed); r.Passed() || !r.ProvenAt.IsZero() {
			t.Errorf("byte %d changed to %q passes", i, changed[i])
		}
		return nil
	})
	if len(receipt) > 6<<10 {
		t.Errorf("a receipt has %d bytes", len(receipt))
	}
}

// One verifier serves many files at once and remembers only what was verified.
func TestMemoryOfOneFileDoesNotVouchForAnother(t *testing.T) {
	s := verifytest.New(t, "main")
	a := recipe{scheme: s}.make(t)
	v := reader{scheme: s}.new(t)
	good := a.receipt(t, log{})
	for range 2 {
		if r := v.File(context.Background(), a.parts["main"], good); !r.Good() {
			t.Fatal(open(r))
		}
	}
	// The checkpoint is remembered by all its bytes: a stripped one is another.
	lines := strings.SplitAfter(string(good), "\n")
	stripped := strings.Join(lines[:len(lines)-2], "")
	want(t, v.File(context.Background(), a.parts["main"], []byte(stripped)), verify.Indeterminate, verify.SigConstraintsFailure)
	// A credential that verified does not lend its good name to other parts.
	b := recipe{scheme: s, birth: 1, credentialFrom: a}.make(t)
	if r := v.File(context.Background(), b.parts["main"], nil); r.Signature.Indication != verify.Failed {
		t.Errorf("another's credential: %s", r.Signature.Indication)
	}
	each(t, 0, 64, func(i int) error {
		want(t, v.File(context.Background(), a.parts["main"], good), verify.Passed, "")
		want(t, v.Code(context.Background(), a.code), verify.Passed, "")
		return nil
	})
}

// A CA that was renewed under the same key: files from before go on verifying, whichever certificates the trust file has.
func TestRenewedCA(t *testing.T) {
	s := verifytest.New(t, "main")
	m := recipe{scheme: s}.make(t)
	receipt := m.receipt(t, log{})
	old, renewed := s.Authority.CA.Raw(), s.Authority.RenewFrom(signedAt.AddDate(0, 1, 0)).Raw()
	now := signedAt.AddDate(0, 2, 0)
	for name, list := range map[string][][]byte{"old": {old}, "old and new": {old, renewed}, "new and old": {renewed, old}} {
		v := reader{scheme: s, now: now, listed: now, trust: func(c *trust.Content) { c.Intermediates, c.CRLs = list, s.Authority.CRLsAt(now) }}.new(t)
		if r := v.File(context.Background(), m.parts["main"], receipt); !r.Good() {
			t.Errorf("%s: %s", name, open(r))
		}
	}
	v := reader{scheme: s, now: now, listed: now, trust: func(c *trust.Content) { c.Intermediates, c.CRLs = [][]byte{renewed}, s.Authority.CRLsAt(now) }}.new(t)
	want(t, v.File(context.Background(), m.parts["main"], nil), verify.Passed, "")
	// By the renewed certificate alone nobody of this CA was anybody yet at that time: the operator keeps the old one.
	if r := v.File(context.Background(), m.parts["main"], receipt); r.Signature.Indication != verify.Indeterminate {
		t.Errorf("proven before the only CA certificate: %s", r.Signature.Indication)
	}
}
