package verify_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/elicence/elicence/signer/cms"
	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/verify"
	"github.com/elicence/elicence/verify/status"
	"github.com/elicence/elicence/verify/trust"
	"github.com/elicence/elicence/verify/verifytest"
)

// reader is a third party: a trust file, its pin, a status list and a clock.
type reader struct {
	scheme *verifytest.Scheme
	trust  func(*trust.Content)
	states map[uint64]status.State
	listed time.Time // default an hour after signedAt; the list lives a week
	now    time.Time // default two hours after signedAt
	maxAge time.Duration
	noPin  bool
	noList bool
}

func (r reader) new(t testing.TB) *verify.Verifier {
	t.Helper()
	if r.now.IsZero() {
		r.now = signedAt.Add(2 * time.Hour)
	}
	if r.listed.IsZero() {
		r.listed = signedAt.Add(time.Hour)
	}
	f := r.scheme.Trust(r.trust)
	o := verify.Options{StatusMaxAge: r.maxAge, Now: func() time.Time { return r.now }}
	if !r.noPin {
		pin := trust.SM3(f.Pin())
		o.Pin = &pin
	}
	if !r.noList {
		o.Status = r.scheme.Status(r.listed, r.states)
	}
	v, err := verify.New(f, o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// want holds a report to an indication and its reason.
func want(t testing.TB, r *verify.Report, i verify.Indication, sub verify.SubIndication) {
	t.Helper()
	if r.Signature.Indication != i || r.Signature.SubIndication != sub {
		t.Errorf("%s %s, want %s %s; not passed: %s", r.Signature.Indication, r.Signature.SubIndication, i, sub, open(r))
	}
	if r.Signature.ZH == "" || r.Signature.EN == "" || r.Status.ZH == "" || r.Status.EN == "" {
		t.Error("an answer without a sentence")
	}
}

func open(r *verify.Report) string {
	var s []string
	for _, c := range r.Checks {
		if c.Result != verify.ResultPass {
			s = append(s, c.ID+": "+c.EN)
		}
	}
	return strings.Join(s, "; ")
}

func TestHonestLicencePasses(t *testing.T) {
	s := verifytest.New(t, "main")
	m := recipe{scheme: s, index: 17}.make(t)
	v := reader{scheme: s}.new(t)
	receipt := m.receipt(t, log{others: 5})
	for i, part := range []string{"main", "counterfoil"} {
		r := v.File(context.Background(), m.parts[part], receipt)
		want(t, r, verify.Passed, "")
		if !r.Good() || r.Status.State != verify.InForce || verify.ExitCode(r) != 0 {
			t.Fatalf("%s: %s, exit %d", part, r.Status.State, verify.ExitCode(r))
		}
		if r.Part != part || r.PartIndex != i+1 || r.Parts != 2 || r.Type != "birth-certificate" || r.Number != m.number || r.Identifier != m.payload.Identifier {
			t.Errorf("the report names another part: %+v", r)
		}
		if r.Issuer.Code != s.Hospital.Code || r.Issuer.Name != s.Hospital.Name {
			t.Errorf("issuer %+v", r.Issuer)
		}
		if !r.SigningTime.Equal(signedAt) || !r.ProvenAt.Equal(signedAt.Add(2*time.Minute)) || len(r.ProvenBy) != 2 || r.ProvenBy[0].Code != s.Police.Code {
			t.Errorf("claimed %s, proven %s by %v", r.SigningTime, r.ProvenAt, r.ProvenBy)
		}
		if !r.Specimen || !r.Ours || !r.Trust.Pinned || r.Trust.Fingerprint == "" || r.Anchor.Index != 5 {
			t.Errorf("specimen %v, ours %v, trust %+v", r.Specimen, r.Ours, r.Trust)
		}
		if len(r.Fields) != 30 {
			t.Errorf("%d fields", len(r.Fields))
		}
		for _, p := range []verify.Property{verify.Authenticity, verify.Integrity, verify.Usability, verify.Safety} {
			found := false
			for _, c := range r.Checks {
				found = found || c.Property == p && c.Result == verify.ResultPass && c.ZH != "" && c.EN != ""
			}
			if !found {
				t.Errorf("nothing was checked of %s", p)
			}
		}
	}
}

func TestBothProfilesPass(t *testing.T) {
	s := verifytest.New(t, "main")
	m := recipe{scheme: s, profile: cms.GMT0010}.make(t)
	want(t, reader{scheme: s}.new(t).File(context.Background(), m.parts["main"], nil), verify.Passed, "")
}

func TestHonestCodePasses(t *testing.T) {
	s := verifytest.New(t, "main")
	m := recipe{scheme: s, index: 17}.make(t)
	r := reader{scheme: s}.new(t).Code(context.Background(), m.code)
	want(t, r, verify.Passed, "")
	if r.Status.State != verify.InForce || r.Part != "" || !r.Specimen || r.Number != m.number || !r.ProvenAt.IsZero() {
		t.Errorf("%+v", r)
	}
	if len(r.Fields) != 5 || r.Fields[0].Pointer != "child.name" || r.Fields[0].Value != at(m.document, "/child/name") {
		t.Errorf("fields %v", r.Fields)
	}
	r = reader{scheme: s, states: map[uint64]status.State{17: status.Revoked}}.new(t).Code(context.Background(), m.code)
	if r.Status.State != verify.Revoked || verify.ExitCode(r) != 1 {
		t.Errorf("a revoked licence's code is %s", r.Status.State)
	}
}

func TestSelfCheckNeedsNeitherReceiptNorFreshLists(t *testing.T) {
	s := verifytest.New(t, "main")
	m := recipe{scheme: s}.make(t)
	v := reader{scheme: s, noList: true, now: verifytest.Epoch.AddDate(2, 0, 0)}.new(t)
	if _, err := v.SelfCheck(context.Background(), m.parts["main"]); err != nil {
		t.Errorf("an old revocation list stops issuing: %v", err)
	}
	bad := bytes.Clone(m.parts["main"])
	bad[len(bad)/2] ^= 1
	r, err := v.SelfCheck(context.Background(), bad)
	if !errors.Is(err, verify.ErrSelfCheck) || r.Passed() {
		t.Errorf("a damaged part passes its self-check: %v", err)
	}
	if _, err := v.SelfCheck(context.Background(), nil); !errors.Is(err, verify.ErrSelfCheck) {
		t.Errorf("nothing passes the self-check: %v", err)
	}
	// A certificate that is no longer valid must not go on signing.
	late := reader{scheme: s, noList: true, now: verifytest.Epoch.AddDate(4, 0, 0)}.new(t)
	if _, err := late.SelfCheck(context.Background(), m.parts["main"]); !errors.Is(err, verify.ErrSelfCheck) {
		t.Errorf("an expired certificate passes the self-check: %v", err)
	}
}

func TestStatusIsTheSecondAnswer(t *testing.T) {
	s := verifytest.New(t, "main")
	m := recipe{scheme: s, index: 17}.make(t)
	day := 24 * time.Hour
	for name, c := range map[string]struct {
		reader
		state verify.State
		exit  int
	}{
		"in force":              {reader{}, verify.InForce, 0},
		"another is revoked":    {reader{states: map[uint64]status.State{16: status.Revoked}}, verify.InForce, 0},
		"revoked":               {reader{states: map[uint64]status.State{17: status.Revoked}}, verify.Revoked, 1},
		"superseded":            {reader{states: map[uint64]status.State{17: status.Superseded}}, verify.Superseded, 1},
		"suspended":             {reader{states: map[uint64]status.State{17: status.Suspended}}, verify.Unknown, 2},
		"no list":               {reader{noList: true}, verify.Unknown, 2},
		"an expired list":       {reader{now: signedAt.Add(9 * day)}, verify.Unknown, 2},
		"older than allowed":    {reader{maxAge: time.Minute}, verify.Unknown, 2},
		"expired, but allowed":  {reader{now: signedAt.Add(9 * day), maxAge: 30 * day}, verify.InForce, 0},
		"revoked in an old one": {reader{now: signedAt.Add(9 * day), states: map[uint64]status.State{17: status.Revoked}}, verify.Revoked, 1},
		"a list of tomorrow":    {reader{listed: signedAt.Add(day)}, verify.Unknown, 2},
		"a list for others": {reader{trust: func(c *trust.Content) { c.Status[0].Issuers = []string{s.Other.Code} }},
			verify.Unknown, 2},
		"a signer not trusted": {reader{trust: func(c *trust.Content) { c.Status = nil }}, verify.Unknown, 2},
	} {
		c.scheme = s
		r := c.new(t).File(context.Background(), m.parts["main"], nil)
		want(t, r, verify.Passed, "")
		if r.Status.State != c.state || verify.ExitCode(r) != c.exit {
			t.Errorf("%s: %s (%s), exit %d", name, r.Status.State, r.Status.EN, verify.ExitCode(r))
		}
	}
	r := reader{scheme: s}.new(t).File(context.Background(), m.parts["main"], nil)
	if !r.Status.AsOf.Equal(signedAt.Add(time.Hour)) || r.Status.Age == nil || *r.Status.Age != 3600 || r.Status.List != 7 {
		t.Errorf("as of %s, age %v, list %d", r.Status.AsOf, r.Status.Age, r.Status.List)
	}
}

func TestIndexBeyondTheListIsUnknown(t *testing.T) {
	s := verifytest.New(t, "main")
	m := recipe{scheme: s, index: 1024}.make(t)
	if r := (reader{scheme: s}).new(t).File(context.Background(), m.parts["main"], nil); r.Status.State != verify.Unknown {
		t.Errorf("an index that no list has is %s", r.Status.State)
	}
}

func TestFailedFileHasNoStatusAndNoFields(t *testing.T) {
	s := verifytest.New(t, "main")
	m := recipe{scheme: s, index: 17}.make(t)
	bad := bytes.Clone(m.parts["main"])
	bad[bytes.Index(bad, []byte("/Contents<"))+12] ^= 1
	r := reader{scheme: s}.new(t).File(context.Background(), bad, nil)
	if r.Signature.Indication != verify.Failed || r.Status.State != verify.Unknown || len(r.Fields) != 0 || verify.ExitCode(r) != 1 {
		t.Errorf("%s %s with %d fields", r.Signature.Indication, r.Status.State, len(r.Fields))
	}
}

func TestExitCode(t *testing.T) {
	report := func(i verify.Indication, s verify.State) *verify.Report {
		return &verify.Report{Signature: verify.Signature{Indication: i}, Status: verify.Status{State: s}}
	}
	good := report(verify.Passed, verify.InForce)
	for _, c := range []struct {
		reports []*verify.Report
		exit    int
	}{
		{[]*verify.Report{good, good}, 0},
		{nil, 2},
		{[]*verify.Report{good, report(verify.Passed, verify.Unknown)}, 2},
		{[]*verify.Report{good, report(verify.Indeterminate, verify.Unknown)}, 2},
		{[]*verify.Report{report(verify.Indeterminate, verify.InForce)}, 2},
		{[]*verify.Report{report(verify.Indeterminate, verify.Unknown), report(verify.Failed, verify.Unknown), good}, 1},
		{[]*verify.Report{report(verify.Passed, verify.Revoked)}, 1},
		{[]*verify.Report{good, report(verify.Passed, verify.Superseded)}, 1},
		{[]*verify.Report{report(verify.Indeterminate, verify.Revoked)}, 1},
		{[]*verify.Report{{}}, 2},
	} {
		if got := verify.ExitCode(c.reports...); got != c.exit {
			t.Errorf("%d reports: exit %d, want %d", len(c.reports), got, c.exit)
		}
	}
}

func TestValuesStandOnlyUnderFields(t *testing.T) {
	s := verifytest.New(t, "main")
	m := recipe{scheme: s}.make(t)
	v := reader{scheme: s}.new(t)
	values := []string{at(m.document, "/child/name").(string), at(m.document, "/mother/name").(string), at(m.document, "/mother/idNumber").(string),
		at(m.document, "/father/address").(string), at(m.document, "/midwife").(string)}
	damaged := bytes.Clone(m.parts["main"])
	damaged[bytes.Index(damaged, []byte("/Contents<"))+12] ^= 1
	other := recipe{scheme: s, birth: 1}.make(t)
	for name, r := range map[string]*verify.Report{
		"good":           v.File(context.Background(), m.parts["main"], m.receipt(t, log{})),
		"damaged":        v.File(context.Background(), damaged, nil),
		"wrong receipt":  v.File(context.Background(), m.parts["main"], other.receipt(t, log{})),
		"code":           v.Code(context.Background(), m.code),
		"a broken code":  v.Code(context.Background(), m.code[:40]),
		"a name as code": v.Code(context.Background(), values[0]),
	} {
		b, err := r.JSON(false)
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		if err := r.WriteText(&text, false); err != nil {
			t.Fatal(err)
		}
		if found, yes := verifytest.HasPersonal(string(b)+text.String(), values...); yes {
			t.Errorf("%s: the report shows %q", name, found)
		}
	}
	r := v.File(context.Background(), m.parts["main"], nil)
	b, err := r.JSON(true)
	if err != nil {
		t.Fatal(err)
	}
	var out struct {
		Fields []struct{ Pointer, Value any } `json:"fields"`
	}
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	if len(out.Fields) == 0 || out.Fields[0].Value != values[0] {
		t.Error("the fields that were asked for are not there")
	}
	if len(r.Fields) == 0 {
		t.Error("JSON(false) emptied the report itself")
	}
}

func TestTextIsChineseFirstAndSafeForATerminal(t *testing.T) {
	s := verifytest.New(t, "main")
	m := recipe{scheme: s, index: 17}.make(t)
	var b strings.Builder
	r := reader{scheme: s, noPin: true}.new(t).File(context.Background(), m.parts["main"], m.receipt(t, log{}))
	if err := r.WriteText(&b, false); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	for _, words := range []string{"样张 SPECIMEN", "签名有效", "TOTAL-PASSED", "in force", "trust not pinned", r.Trust.Fingerprint, "测试信任域", "公安局", m.number} {
		if !strings.Contains(text, words) {
			t.Errorf("the text lacks %q:\n%s", words, text)
		}
	}
	if strings.Index(text, "签名有效") > strings.Index(text, "the signature is valid") {
		t.Error("English stands before Chinese")
	}
	b.Reset()
	evil := &verify.Report{Ours: true, Identifier: "x\x1b[2J\u202e", Fields: []verify.Field{{Pointer: "/a", Value: "\x1b]0;x\a"}}}
	if err := evil.WriteText(&b, true); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(b.String(), "\x1b\a\u202e") {
		t.Errorf("control characters reach the terminal: %q", b.String())
	}
}

// The names in the JSON are for programs of others: they do not change.
func TestJSONNames(t *testing.T) {
	s := verifytest.New(t, "main")
	m := recipe{scheme: s, index: 17}.make(t)
	b, err := reader{scheme: s}.new(t).File(context.Background(), m.parts["main"], m.receipt(t, log{})).JSON(false)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	for pointer, value := range map[string]any{
		"/format": "elicence/report/1", "/ours": true, "/signature/indication": "TOTAL-PASSED", "/status/state": "in force",
		"/status/asOf": "2026-11-02T09:00:00+08:00", "/status/ageSeconds": 3600.0, "/number": m.number, "/part": "main",
		"/partIndex": 1.0, "/parts": 2.0, "/issuer/code": s.Hospital.Code, "/specimen": true, "/trust/pinned": true, "/trust/sequence": 1.0,
		"/signingTimeClaimed": "2026-11-02T08:00:00+08:00", "/provenAt": "2026-11-02T08:02:00+08:00", "/anchor/log": verifytest.Origin,
		"/time": "2026-11-02T10:00:00+08:00", "/fields": nil,
	} {
		if got := at(out, pointer); got != value {
			t.Errorf("%s is %v, want %v", pointer, got, value)
		}
	}
}

func TestPin(t *testing.T) {
	s := verifytest.New(t, "main")
	wrong := trust.SM3{1}
	if _, err := verify.New(s.Trust(nil), verify.Options{Pin: &wrong}); !errors.Is(err, trust.ErrPin) {
		t.Errorf("a wrong pin: %v", err)
	}
	if _, err := verify.New(nil, verify.Options{}); err == nil {
		t.Error("no trust file is a trust file")
	}
	m := recipe{scheme: s}.make(t)
	if r := (reader{scheme: s, noPin: true}).new(t).File(context.Background(), m.parts["main"], nil); r.Trust.Pinned || !r.Passed() {
		t.Errorf("without pin: pinned %v, %s", r.Trust.Pinned, r.Signature.Indication)
	}
}

func TestCancelledIsNoVerdict(t *testing.T) {
	s := verifytest.New(t, "main")
	m := recipe{scheme: s}.make(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	v := reader{scheme: s}.new(t)
	for _, r := range []*verify.Report{v.File(ctx, m.parts["main"], nil), v.Code(ctx, m.code)} {
		if r.Signature.Indication != verify.Indeterminate || verify.ExitCode(r) != 2 {
			t.Errorf("cancelled is %s", r.Signature.Indication)
		}
	}
}

// Files of others, and none at all: no licence of this system, and no failure.
func TestNotOurs(t *testing.T) {
	s := verifytest.New(t, "main")
	v := reader{scheme: s}.new(t)
	png, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string][]byte{
		"nothing":      nil,
		"text":         png,
		"zeros":        make([]byte, 1<<20),
		"huge":         make([]byte, verify.MaxFile+1),
		"a bare PDF":   []byte("%PDF-1.7\n1 0 obj\n<</Type/Catalog/Pages 2 0 R>>\nendobj\nxref\n0 1\n0000000000 65535 f \ntrailer\n<</Size 1/Root 1 0 R>>\nstartxref\n54\n%%EOF\n"),
		"an encrypted": []byte("%PDF-1.7\n1 0 obj\n<</Type/Catalog>>\nendobj\ntrailer\n<</Encrypt 5 0 R/Root 1 0 R>>\nstartxref\n9\n%%EOF\n"),
	} {
		r := v.File(context.Background(), file, nil)
		want(t, r, verify.Indeterminate, verify.SignedDataNotFound)
		if r.Ours || r.Specimen || r.Status.State != verify.Unknown || verify.ExitCode(r) != 2 {
			t.Errorf("%s: ours %v, %s", name, r.Ours, r.Status.State)
		}
	}
	for _, text := range []string{"", "https://example.org", "ELC2:ABC", strings.Repeat("A", 1<<20)} {
		want(t, v.Code(context.Background(), text), verify.Indeterminate, verify.SignedDataNotFound)
	}
}

// Every synthetic birth: rare characters, twins, parents unknown, long names.
func TestAllBirthsPass(t *testing.T) {
	s := verifytest.New(t, "main")
	v := reader{scheme: s}.new(t)
	each(t, 0, len(births(t)), func(i int) error {
		m := recipe{scheme: s, birth: i, index: uint64(i)}.make(t)
		receipt := m.receipt(t, log{})
		for part, file := range m.parts {
			if r := v.File(context.Background(), file, receipt); !r.Good() || !r.Specimen {
				t.Errorf("birth %d, %s: %s", i, part, open(r))
			}
		}
		if r := v.Code(context.Background(), m.code); !r.Good() {
			t.Errorf("birth %d, code: %s", i, open(r))
		}
		return nil
	})
}

// A licence is no specimen only under a root that the operator calls production, and only if its certificate does not
// carry the demonstration's mark.
func TestSpecimenUnlessTheChainIsProduction(t *testing.T) {
	s := verifytest.New(t, "main")
	production := verifytest.NewAuthority(t, "production", false)
	hospital := production.Organisation("production hospital", "hospital", 9)
	s.Hospital = hospital
	list := func(roots ...trust.SM3) func(*trust.Content) {
		return func(c *trust.Content) {
			c.Specimen, c.ProductionRoots = false, roots
			c.Roots, c.Intermediates = append(c.Roots, production.Root.Raw()), append(c.Intermediates, production.CA.Raw())
			c.CRLs = append(c.CRLs, production.CRLs()...)
		}
	}
	path := []*pki.Certificate{hospital.Documents.Certificate, production.CA}
	real := recipe{scheme: s, issuer: hospital, path: path, notSpecimen: true}.make(t)
	marked := recipe{scheme: s, issuer: hospital, path: path}.make(t)
	demonstration := recipe{scheme: s, issuer: s.Other, notSpecimen: true}.make(t)
	for name, c := range map[string]struct {
		m        *made
		trust    func(*trust.Content)
		i        verify.Indication
		specimen bool
	}{
		"production, and the operator says so":  {real, list(production.Root.SM3()), verify.Passed, false},
		"production, the operator is silent":    {real, list(), verify.Failed, true},
		"marked, under production":              {marked, list(production.Root.SM3()), verify.Passed, true},
		"demonstration certificate, not marked": {demonstration, list(production.Root.SM3(), s.Authority.Root.SM3()), verify.Failed, true},
	} {
		r := reader{scheme: s, trust: c.trust}.new(t).File(context.Background(), c.m.parts["main"], nil)
		if r.Signature.Indication != c.i || r.Specimen != c.specimen {
			t.Errorf("%s: %s, specimen %v; %s", name, r.Signature.Indication, r.Specimen, open(r))
		}
	}
}
