package licence_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/elicence/elicence/licence"
)

func draftOf(tb testing.TB, raw []byte) licence.Draft {
	tb.Helper()
	d, findings, err := licence.Check(readType(tb, "birth-certificate"),
		licence.Input{Raw: raw, Issuer: hospital, Now: testNow, Clerk: "clerk"})
	if err != nil {
		tb.Fatal(err, findings)
	}
	return d
}

func TestApprovalNamesTheDraftAndAnotherPerson(t *testing.T) {
	d := draftOf(t, request(t))
	other := draftOf(t, request(t, edit{"/child/weightGrams", 3419}))
	if d.Digest() == other.Digest() {
		t.Fatal("a gram more, and the same digest")
	}
	for name, c := range map[string]struct {
		by     string
		digest [32]byte
		want   error
	}{
		"second person":       {"seal-keeper", d.Digest(), nil},
		"the clerk":           {"clerk", d.Digest(), licence.ErrSamePerson},
		"nobody":              {"", d.Digest(), licence.ErrRefused},
		"another draft":       {"seal-keeper", other.Digest(), licence.ErrOtherDraft},
		"no digest":           {"seal-keeper", [32]byte{}, licence.ErrOtherDraft},
		"the clerk of others": {"clerk", other.Digest(), licence.ErrSamePerson},
	} {
		a, err := d.Approve(c.by, c.digest)
		if !errors.Is(err, c.want) || a.Valid() != (c.want == nil) {
			t.Errorf("%s: %v", name, err)
		}
		if c.want == nil && (a.By() != c.by || a.Draft().Digest() != d.Digest()) {
			t.Errorf("%s: the approval does not say by whom and of what", name)
		}
	}
	var none licence.Draft
	if _, err := none.Approve("seal-keeper", none.Digest()); !errors.Is(err, licence.ErrRefused) {
		t.Errorf("no draft: %v", err)
	}
}

// However a request is written, equal content is one draft: idempotency compares this digest.
func TestOneContentOneDigest(t *testing.T) {
	a := draftOf(t, births(t)[0])
	var m map[string]any
	if err := json.Unmarshal(births(t)[0], &m); err != nil {
		t.Fatal(err)
	}
	m["attendant"] = m["midwife"]
	delete(m, "midwife")
	indented, err := json.MarshalIndent(m, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	escaped := bytes.ReplaceAll(indented, []byte("曹"), []byte(`\u66f9`))
	for _, raw := range [][]byte{indented, escaped} {
		if b := draftOf(t, raw); b.Digest() != a.Digest() || !bytes.Equal(b.Canonical(), a.Canonical()) {
			t.Errorf("another draft:\n%s\n%s", a.Canonical(), b.Canonical())
		}
	}
}

// The recorded draft tells everything that issuing needs again, and nothing else is taken for one.
func TestOpenReadsWhatWasRecorded(t *testing.T) {
	typ := readType(t, "birth-certificate")
	for _, raw := range births(t) {
		d, _, err := licence.Check(typ, licence.Input{Raw: raw, Issuer: issuerOf(raw), Now: testNow, Clerk: "a"})
		if err != nil {
			t.Fatal(err)
		}
		r, err := licence.Open(d.Canonical())
		if err != nil {
			t.Fatal(err)
		}
		if r.Digest != d.Digest() || r.Issuer != d.Issuer().Code || r.Type != typ.Name || r.SchemaVersion != typ.SchemaVersion {
			t.Fatalf("%+v", r)
		}
		if typ.Differences(r.Document, d.Document()) != nil || licence.Value(r.Document, "/businessId") != d.BusinessID() {
			t.Fatal("another document")
		}
	}
	good := string(draftOf(t, request(t)).Canonical())
	for name, bad := range map[string]string{
		"empty": "", "not an object": "[]", "white space": good + " ", "no issuer": strings.Replace(good, `"issuer"`, `"issuex"`, 1),
		"number for type": `{"issuer":"x","request":{},"schemaVersion":1,"type":1}`,
		"one more member": `{"a":1,"issuer":"x","request":{},"schemaVersion":1,"type":"t"}`,
		"fraction":        `{"issuer":"x","request":{"a":1.5},"schemaVersion":1,"type":"t"}`,
		"duplicate":       `{"issuer":"x","request":{"a":1,"a":1},"schemaVersion":1,"type":"t"}`,
	} {
		if _, err := licence.Open([]byte(bad)); !errors.Is(err, licence.ErrState) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What a caller does to a document that it was given changes no draft.
func TestDraftIsImmutable(t *testing.T) {
	d := draftOf(t, request(t))
	d.Document()["child"].(map[string]any)["name"] = "别人"
	d.Canonical()[0] = 'X'
	d.Warnings()[0].Code = "none"
	if r, err := licence.Open(d.Canonical()); err != nil || r.Digest != d.Digest() || licence.Value(d.Document(), "/child/name") != "曹宸书" {
		t.Error("the draft has changed")
	}
	if d.Warnings()[0].Code == "none" {
		t.Error("its warnings have changed")
	}
}

func TestZeroDraftIsHarmless(t *testing.T) {
	var d licence.Draft
	if d.Valid() || d.Document() != nil || d.Type() != nil || d.Kind() != "" || d.BusinessID() != "" || d.Replaces() != "" ||
		d.Grounds() != "" || d.Parts() != nil || d.Warnings() != nil || d.Returned() != nil || len(d.Canonical()) != 0 ||
		d.Clerk() != "" || d.Issuer() != (licence.Organisation{}) || d.Digest() != [32]byte{} {
		t.Error("the zero draft says something")
	}
	if n, day := d.Paper(); n != "" || day != "" {
		t.Error("the zero draft has a paper")
	}
	if (licence.Approved{}).Valid() {
		t.Error("nobody approved it")
	}
}

// The wrong order does not compile: the compiler itself is asked.
func TestWrongOrderDoesNotCompile(t *testing.T) {
	build := func(dir string) (string, error) {
		out, err := exec.Command("go", "build", "-gcflags=-e", "-o", os.DevNull, "./testdata/"+dir).CombinedOutput()
		return string(out), err
	}
	if out, err := build("rightorder"); err != nil {
		t.Fatalf("the right order must compile: %v\n%s", err, out)
	}
	out, err := build("wrongorder")
	if err == nil {
		t.Fatal("the wrong order compiles")
	}
	source, err := os.ReadFile("testdata/wrongorder/main.go")
	if err != nil {
		t.Fatal(err)
	}
	wrong, right := 0, out
	for i, line := range strings.Split(string(source), "\n") {
		if !strings.Contains(line, "// wrong") {
			continue
		}
		wrong++
		at := "main.go:" + strconv.Itoa(i+1) + ":"
		if !strings.Contains(out, at) {
			t.Errorf("this line compiles: %s", strings.TrimSpace(line))
		}
		right = strings.ReplaceAll(right, at, "")
	}
	if wrong != 10 || strings.Contains(right, "main.go:") {
		t.Errorf("%d lines are wrong, and the compiler refuses others, too:\n%s", wrong, right)
	}
}
