package verify_test

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/elicence/elicence/signer/credential"
	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
	"github.com/elicence/elicence/verify"
	"github.com/elicence/elicence/verify/status"
	"github.com/elicence/elicence/verify/trust"
	"github.com/elicence/elicence/verify/verifytest"
)

// A hospital under the same root signs what names another as issuer.
func TestCertificateOfAnotherHospitalFails(t *testing.T) {
	s := verifytest.New(t, "main")
	for name, r := range map[string]recipe{
		"signs parts and credential": {signer: &s.Other.Documents},
		"signs the parts":            {signer: &s.Other.Documents, credentialBy: &s.Hospital.Documents},
		"signs the credential":       {credentialBy: &s.Other.Documents},
	} {
		r.scheme = s
		m := r.make(t)
		v := reader{scheme: s}.new(t)
		report := v.File(context.Background(), m.parts["main"], m.receipt(t, log{}))
		want(t, report, verify.Failed, verify.FormatFailure)
		if report.Check("issuer") == nil && report.Check("same-certificate") == nil || report.Status.State != verify.Unknown {
			t.Errorf("%s: %s", name, open(report))
		}
	}
	// The code alone: the credential names the hospital, the certificate is the other's.
	m := recipe{scheme: s, signer: &s.Other.Documents}.make(t)
	want(t, reader{scheme: s}.new(t).Code(context.Background(), m.code), verify.Failed, verify.FormatFailure)
}

// X's credential in Y's parts, the parts signed by Y's own key.
func TestCredentialOfAnotherFails(t *testing.T) {
	s := verifytest.New(t, "main")
	x := recipe{scheme: s, birth: 3}.make(t)
	y := recipe{scheme: s, birth: 4, issuer: s.Other, credentialFrom: x}.make(t)
	r := reader{scheme: s}.new(t).File(context.Background(), y.parts["main"], nil)
	want(t, r, verify.Failed, verify.FormatFailure)
	if c := r.Check("same-certificate"); c == nil || c.Result != verify.ResultFail {
		t.Error("the two certificates are not held against each other")
	}
	// Within one hospital the certificate is the same; number, identifier and values are not.
	y = recipe{scheme: s, birth: 4, credentialFrom: x}.make(t)
	r = reader{scheme: s}.new(t).File(context.Background(), y.parts["main"], nil)
	if r.Signature.Indication != verify.Failed {
		t.Errorf("another child's credential: %s", r.Signature.Indication)
	}
	for _, id := range []string{"agreement", "fields"} {
		if c := r.Check(id); c == nil || c.Result != verify.ResultFail {
			t.Errorf("%s did not fail", id)
		}
	}
}

// Everything that stands in two places must be the same, or it fails; each place in turn.
func TestPlacesThatDisagreeFail(t *testing.T) {
	s := verifytest.New(t, "main")
	other, err := identifier(s.Other.Code)
	if err != nil {
		t.Fatal(err)
	}
	d := func(change func(*credential.Disclosure)) recipe { return recipe{disclosure: change} }
	p := func(change func(*credential.Payload)) recipe { return recipe{payload: change} }
	for name, r := range map[string]recipe{
		"type in licence.json":       d(func(d *credential.Disclosure) { d.Type = "childbirth-certificate" }),
		"number in licence.json":     d(func(d *credential.Disclosure) { d.Number = "X009999999" }),
		"identifier in licence.json": d(func(d *credential.Disclosure) { d.Identifier = other }),
		"issuer in licence.json":     d(func(d *credential.Disclosure) { d.Issuer = s.Other.Code }),
		"parts in licence.json":      d(func(d *credential.Disclosure) { d.Parts = 3 }),
		"specimen in licence.json":   d(func(d *credential.Disclosure) { d.Specimen = false }),
		"a value":                    d(func(d *credential.Disclosure) { d.Fields = change(d.Fields, 0, "某某") }),
		"a value not in the clear":   d(func(d *credential.Disclosure) { d.Fields = change(d.Fields, 29, "某某") }),
		"a salt":                     d(func(d *credential.Disclosure) { d.Fields = salted(d.Fields) }),
		"an absent value given":      d(func(d *credential.Disclosure) { d.Fields = change(d.Fields, 20, true) }),
		"one field fewer":            d(func(d *credential.Disclosure) { d.Fields = d.Fields[:29] }),
		"fields in another order":    d(func(d *credential.Disclosure) { d.Fields = swapped(d.Fields) }),
		"a clear field not shown":    d(func(d *credential.Disclosure) { d.ClearSpec = d.ClearSpec[:4] }),
		"a clear field elsewhere":    d(func(d *credential.Disclosure) { d.ClearSpec = pointed(d.ClearSpec) }),
		"a clear field unmasked":     d(func(d *credential.Disclosure) { d.ClearSpec = unmasked(d.ClearSpec) }),
		"schema version":             d(func(d *credential.Disclosure) { d.SchemaVersion++ }),
		"type in the credential":     p(func(p *credential.Payload) { p.Type = "childbirth-certificate" }),
		"number in the credential":   p(func(p *credential.Payload) { p.Number = "X009999999" }),
		"identifier":                 p(func(p *credential.Payload) { p.Identifier = other }),
		"issuer in the credential":   p(func(p *credential.Payload) { p.Issuer = s.Other.Code }),
		"parts in the credential":    p(func(p *credential.Payload) { p.Parts = 1 }),
		"clear value":                p(func(p *credential.Payload) { p.Clear[0].Value = "某某" }),
		"one clear field fewer":      p(func(p *credential.Payload) { p.Clear = p.Clear[:4] }),
		"tree size":                  p(func(p *credential.Payload) { p.TreeSize-- }),
		"tree root":                  p(func(p *credential.Payload) { p.TreeRoot[31] ^= 1 }),
	} {
		r.scheme = s
		m := r.make(t)
		report := reader{scheme: s}.new(t).File(context.Background(), m.parts["main"], nil)
		if report.Signature.Indication != verify.Failed {
			t.Errorf("%s: %s; %s", name, report.Signature.Indication, open(report))
		}
	}
}

func identifier(issuer string) (string, error) {
	set, err := renderer()
	if err != nil {
		return "", err
	}
	typ, err := set.Type("birth-certificate")
	if err != nil {
		return "", err
	}
	id, err := typ.Identifier(issuer, 1, 1)
	return id.String(), err
}

func change(in []credential.Field, i int, value any) []credential.Field {
	out := append([]credential.Field(nil), in...)
	out[i].Value = value
	return out
}

func salted(in []credential.Field) []credential.Field {
	out := append([]credential.Field(nil), in...)
	out[7].Salt[0] ^= 1
	return out
}

func swapped(in []credential.Field) []credential.Field {
	out := append([]credential.Field(nil), in...)
	out[5], out[6] = out[6], out[5]
	return out
}

func pointed(in []credential.ClearField) []credential.ClearField {
	out := append([]credential.ClearField(nil), in...)
	out[0].Pointer, out[3].Pointer = out[3].Pointer, out[0].Pointer
	return out
}

func unmasked(in []credential.ClearField) []credential.ClearField {
	out := append([]credential.ClearField(nil), in...)
	out[4].Mask = false
	return out
}

// The main page's licence.json in the counterfoil's drawing would be the issuer's own lie; but the report names the part
// that licence.json names, and the receipt's commitment is of that part.
func TestPartsAreNotInterchangeable(t *testing.T) {
	s := verifytest.New(t, "main")
	m := recipe{scheme: s}.make(t)
	receipt := m.receipt(t, log{})
	v := reader{scheme: s}.new(t)
	for _, part := range []string{"main", "counterfoil"} {
		if r := v.File(context.Background(), m.parts[part], receipt); r.Part != part || !r.Good() {
			t.Errorf("%s is reported as %s", part, r.Part)
		}
	}
	lie := recipe{scheme: s, disclosure: func(d *credential.Disclosure) { d.Part, d.PartIndex = "counterfoil", 2 }}.make(t)
	r := v.File(context.Background(), lie.parts["main"], lie.receipt(t, log{}))
	if r.Good() && r.Part == "main" {
		t.Error("a part passes under another's name")
	}
	if !r.ProvenAt.IsZero() {
		t.Error("the receipt proves a part that it does not commit to")
	}
}

// A demonstration file without its mark.
func TestMissingSpecimenMarkFails(t *testing.T) {
	s := verifytest.New(t, "main")
	m := recipe{scheme: s, notSpecimen: true}.make(t)
	v := reader{scheme: s}.new(t)
	for _, r := range []*verify.Report{v.File(context.Background(), m.parts["main"], nil), v.Code(context.Background(), m.code)} {
		want(t, r, verify.Failed, verify.FormatFailure)
		if !r.Specimen {
			t.Error("the verdict does not say specimen")
		}
	}
}

// Certificates that are no certificates for documents.
func TestOtherPurposesDoNotSign(t *testing.T) {
	s := verifytest.New(t, "main")
	for _, id := range []verifytest.Identity{s.Hospital.Events, s.Hospital.Checkpoints, s.Hospital.StatusLists} {
		thief := verifytest.Identity{Key: id.Key.As(purpose.Documents), Certificate: id.Certificate}
		m := recipe{scheme: s, signer: &thief}.make(t)
		want(t, reader{scheme: s}.new(t).File(context.Background(), m.parts["main"], nil), verify.Failed, verify.FormatFailure)
	}
}

// A stranger's signature in our form: who signed is not established, so it is neither valid nor forged.
func TestStrangersSignatureIsIndeterminate(t *testing.T) {
	s, stranger := verifytest.New(t, "main"), verifytest.New(t, "a stranger")
	m := recipe{scheme: stranger, index: 17}.make(t)
	v := reader{scheme: s, states: map[uint64]status.State{17: status.Revoked}}.new(t)
	r := v.File(context.Background(), m.parts["main"], m.receipt(t, log{}))
	want(t, r, verify.Indeterminate, verify.NoCertificateChainFound)
	if r.Status.State != verify.Unknown || !r.Specimen || r.Issuer.Name != "" || !r.ProvenAt.IsZero() {
		t.Errorf("%s, specimen %v, issuer %q", r.Status.State, r.Specimen, r.Issuer.Name)
	}
	want(t, v.Code(context.Background(), m.code), verify.Indeterminate, verify.NoSigningCertificateFound)
	// The trust file that the stranger made vouches for it, and the pin tells the two apart.
	theirs := reader{scheme: stranger}.new(t).File(context.Background(), m.parts["main"], nil)
	if !theirs.Passed() {
		t.Fatalf("%s: %s", theirs.Signature.Indication, open(theirs))
	}
	pin := trust.SM3(s.Trust(nil).Pin())
	if _, err := verify.New(stranger.Trust(nil), verify.Options{Pin: &pin}); err == nil {
		t.Error("a self-made trust file passes the pin")
	}
}

// A certificate that the CA was talked into: its path is good, and the trust file does not list it.
func TestUnlistedCertificateIsIndeterminate(t *testing.T) {
	s := verifytest.New(t, "main")
	id := s.Authority.Certify(verifytest.NewKey("fraud", purpose.Documents), s.Hospital.Organisation, purpose.Documents, nil)
	m := recipe{scheme: s, signer: &id}.make(t)
	want(t, reader{scheme: s}.new(t).File(context.Background(), m.parts["main"], nil), verify.Indeterminate, verify.NoCertificateChainFound)
}

// A listed certificate whose CA the trust file no longer has.
func TestListedCertificateWithoutRootIsIndeterminate(t *testing.T) {
	s := verifytest.New(t, "main")
	m := recipe{scheme: s}.make(t)
	other := verifytest.NewAuthority(t, "another root", true)
	r := reader{scheme: s, noList: true, trust: func(c *trust.Content) {
		c.Roots, c.Intermediates, c.CRLs = [][]byte{other.Root.Raw()}, [][]byte{other.CA.Raw()}, other.CRLs()
	}}.new(t).File(context.Background(), m.parts["main"], nil)
	want(t, r, verify.Indeterminate, verify.NoCertificateChainFound)
}

// The whole path to the root is embedded, and nothing else.
func TestEmbeddedPathIsTheWholePath(t *testing.T) {
	s := verifytest.New(t, "main")
	leaf := s.Hospital.Documents.Certificate
	twin := verifytest.NewAuthority(t, "main", true) // the same names
	twinCA := twin.Renew(verifytest.NewKey("another", purpose.CertificateAuthority))
	renewed := s.Authority.Renew(nil)
	for name, c := range map[string]struct {
		path []*pki.Certificate
		i    verify.Indication
		sub  verify.SubIndication
	}{
		"without its CA":                        {[]*pki.Certificate{leaf}, verify.Failed, verify.FormatFailure},
		"another CA of the same name":           {[]*pki.Certificate{leaf, twinCA}, verify.Failed, verify.FormatFailure},
		"an earlier certificate of the same CA": {[]*pki.Certificate{leaf, renewed}, verify.Passed, ""},
	} {
		m := recipe{scheme: s, path: c.path}.make(t)
		r := reader{scheme: s}.new(t).File(context.Background(), m.parts["main"], nil)
		if r.Signature.Indication != c.i || r.Signature.SubIndication != c.sub {
			t.Errorf("%s: %s %s", name, r.Signature.Indication, r.Signature.SubIndication)
		}
	}
}

// Every byte of the Contents token changed in turn, three ways.
func TestEveryByteOfContents(t *testing.T) {
	s := verifytest.New(t, "main")
	m := recipe{scheme: s}.make(t)
	v := reader{scheme: s}.new(t)
	file := m.parts["counterfoil"]
	from := bytes.Index(file, []byte("/Contents<")) + len("/Contents")
	to := from + bytes.IndexByte(file[from:], '>') + 1
	each(t, from, to, func(i int) error {
		changed := bytes.Clone(file)
		for _, x := range []byte{0x01, 0x20, 0x80} {
			changed[i] = file[i] ^ x
			if r := v.File(context.Background(), changed, nil); r.Signature.Indication != verify.Failed {
				return fmt.Errorf("byte %d of Contents changed to %q: %s", i-from, changed[i], r.Signature.Indication)
			}
		}
		return nil
	})
}

// Every byte of the file changed in turn: never passes, never falls over, and is never somebody else's file.
func TestEveryByteOfTheFile(t *testing.T) {
	s := verifytest.New(t, "main")
	m := recipe{scheme: s}.make(t)
	v := reader{scheme: s}.new(t)
	for part, step := range map[string]int{"main": 1, "counterfoil": 16} {
		file := m.parts[part]
		if testing.Short() {
			step *= 16
		}
		each(t, 0, len(file)/step, func(i int) error {
			i *= step
			changed := bytes.Clone(file)
			changed[i] ^= 1 << (i % 8)
			if r := v.File(context.Background(), changed, nil); r.Signature.Indication != verify.Failed || verify.ExitCode(r) != 1 {
				return fmt.Errorf("byte %d changed to %q: %s %s", i, changed[i], r.Signature.Indication, r.Signature.SubIndication)
			}
			return nil
		})
	}
}

// Cut off anywhere, or with something put in or behind: never passes.
func TestTruncatedAndExtended(t *testing.T) {
	s := verifytest.New(t, "main")
	m := recipe{scheme: s}.make(t)
	v := reader{scheme: s}.new(t)
	file := m.parts["main"]
	each(t, 0, len(file)/97, func(i int) error {
		n := i * 97
		for name, changed := range map[string][]byte{
			"cut off":          file[:n],
			"without a byte":   append(bytes.Clone(file[:n]), file[n+1:]...),
			"with a byte more": append(append(bytes.Clone(file[:n]), ' '), file[n:]...),
			"first part twice": append(bytes.Clone(file[:n]), file...),
		} {
			if n == 0 && name == "first part twice" {
				continue
			}
			if r := v.File(context.Background(), changed, nil); r.Signature.Indication == verify.Passed {
				return fmt.Errorf("%s at %d passes", name, n)
			}
		}
		return nil
	})
	for name, more := range map[string]string{"a line feed": "\n", "a comment": "% more\n", "a second revision": "1 0 obj\n<</Type/Catalog>>\nendobj\nxref\n0 1\n0000000000 65535 f \ntrailer\n<</Size 2/Root 1 0 R/Prev 9>>\nstartxref\n9\n%%EOF\n",
		"itself": string(file)} {
		r := v.File(context.Background(), append(bytes.Clone(file), more...), nil)
		if want(t, r, verify.Failed, verify.FormatFailure); r.Signature.Indication == verify.Passed {
			t.Errorf("%s behind the file passes", name)
		}
	}
}

// each calls for every number with as many workers as there are processors and reports the first few errors.
func each(t *testing.T, from, to int, with func(i int) error) {
	t.Helper()
	var wg sync.WaitGroup
	errs := make(chan error, to-from)
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		wg.Go(func() {
			for i := from + w; i < to; i += workers {
				if err := with(i); err != nil {
					errs <- err
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	n := 0
	for err := range errs {
		if n++; n <= 5 {
			t.Error(err)
		}
	}
	if n > 5 {
		t.Errorf("and %d more", n-5)
	}
}

// Every character of a code changed in turn.
func TestEveryCharacterOfACode(t *testing.T) {
	s := verifytest.New(t, "main")
	m := recipe{scheme: s}.make(t)
	v := reader{scheme: s}.new(t)
	const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
	for i := range m.code {
		c := alphabet[(strings.IndexByte(alphabet, m.code[i])+1)%len(alphabet)]
		changed := m.code[:i] + string(c) + m.code[i+1:]
		if r := v.Code(context.Background(), changed); r.Signature.Indication == verify.Passed {
			t.Fatalf("character %d changed to %q passes", i, c)
		}
		if r := v.Code(context.Background(), m.code[:i]); r.Signature.Indication == verify.Passed {
			t.Fatalf("cut off after %d characters passes", i)
		}
	}
}

// What a verdict allocates is bounded by the file: a warm verifier takes no more than four times its size.
func TestMemoryIsBoundedByTheFile(t *testing.T) {
	s := verifytest.New(t, "main")
	m := recipe{scheme: s}.make(t)
	v := reader{scheme: s}.new(t)
	part := m.parts["main"]
	big := func(head []byte) []byte {
		return append(bytes.Clone(head), bytes.Repeat([]byte("1 0 obj\n<<>>\nendobj\n"), 400_000)...)
	}
	damaged := bytes.Clone(part)
	damaged[len(damaged)/2] ^= 1
	for name, file := range map[string][]byte{
		"a part":             part,
		"a damaged part":     damaged,
		"8 MB of objects":    big([]byte("%PDF-1.7\n%\xE2\xE3\xCF\xD3\n1 0 obj\n<</Type/Catalog/ELIC_Part 1>>\nendobj\n")),
		"8 MB behind a part": big(part),
		"8 MB of nothing":    make([]byte, verify.MaxFile),
	} {
		v.File(context.Background(), file, nil)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		const runs = 8
		for range runs {
			v.File(context.Background(), file, nil)
		}
		runtime.ReadMemStats(&after)
		if per := (after.TotalAlloc - before.TotalAlloc) / runs; per > uint64(4*len(file)) {
			t.Errorf("%s of %d bytes takes %d", name, len(file), per)
		}
	}
}
