package licence_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/elicence/elicence/licence"
)

// Exchange: a named ground, the old parts back, new content. Replacement: the old content exactly. Which parts are made
// follows from the household's registration.
func TestReplacingKinds(t *testing.T) {
	typ := readType(t, "birth-certificate")
	old := draftOf(t, request(t)).Document()
	both := map[string]any{"main": true, "counterfoil": true}
	main := map[string]any{"main": true}
	rename := edit{"/child/name", "曹宸宇"}
	for name, c := range map[string]struct {
		kind       string
		edits      []edit
		state      licence.State
		number     string
		registered bool
		want       []string
		parts      []string
	}{
		"exchange": {kind: "exchange", edits: []edit{rename, {"/grounds", "name-change"}, {"/returned", both}},
			parts: []string{"main", "counterfoil"}},
		"exchange after registration": {kind: "exchange", edits: []edit{rename, {"/grounds", "name-change"}, {"/returned", main}}, registered: true,
			parts: []string{"main"}},
		"the request tells of the registration": {kind: "exchange",
			edits: []edit{rename, {"/grounds", "name-change"}, {"/returned", main}, {"/householdRegistered", true}}, parts: []string{"main"}},
		"counterfoil not returned": {kind: "exchange", edits: []edit{rename, {"/grounds", "name-change"}, {"/returned", main}},
			want: []string{"/returned/counterfoil returned.missing"}},
		"exchange of the same": {kind: "exchange", edits: []edit{{"/grounds", "wrong-content"}, {"/returned", both}},
			want: []string{" content.same?"}, parts: []string{"main", "counterfoil"}},
		"damaged paper": {kind: "exchange", edits: []edit{{"/grounds", "damaged"}, {"/returned", both}}, parts: []string{"main", "counterfoil"}},
		"damaged paper with another name": {kind: "exchange", edits: []edit{rename, {"/grounds", "damaged"}, {"/returned", both}},
			want: []string{"/child/name content.differs"}},
		"replacement":                    {kind: "replacement", edits: []edit{{"/grounds", "lost"}}, parts: []string{"main", "counterfoil"}},
		"replacement after registration": {kind: "replacement", edits: []edit{{"/grounds", "lost"}}, registered: true, parts: []string{"main"}},
		"replacement with other content": {kind: "replacement", edits: []edit{rename, {"/child/gestation/days", gone}, {"/grounds", "lost"}},
			want: []string{"/child/gestation/days content.differs", "/child/name content.differs"}},
		"replacement without loss": {kind: "replacement", edits: []edit{{"/grounds", "damaged"}}, want: []string{"/grounds grounds.unknown"}},
		"replacing a revoked one": {kind: "replacement", edits: []edit{{"/grounds", "lost"}}, state: licence.Revoked,
			want: []string{"/replaces replaces.state"}},
		"replacing a superseded one": {kind: "replacement", edits: []edit{{"/grounds", "lost"}}, state: licence.Superseded,
			want: []string{"/replaces replaces.state"}},
		"another number": {kind: "replacement", edits: []edit{{"/grounds", "lost"}}, number: "X007654321",
			want: []string{"/replaces replaces.other"}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.state == "" {
				c.state = licence.InForce
			}
			if c.number == "" {
				c.number = "X001234567"
			}
			d, findings, err := licence.Check(typ, licence.Input{
				Raw: request(t, append(c.edits, edit{"/kind", c.kind}, edit{"/replaces", "X001234567"})...), Issuer: hospital,
				Now: testNow, Clerk: "a", Registered: c.registered,
				Replaced: &licence.Replaced{Number: c.number, Type: typ.Name, State: c.state, Document: old},
			})
			if !slices.Equal(found(findings), sorted(c.want)) {
				t.Errorf("got %q, want %q", found(findings), sorted(c.want))
			}
			if errors.Is(err, licence.ErrRefused) != (c.parts == nil) {
				t.Fatal(err)
			}
			var parts []string
			for _, p := range d.Parts() {
				parts = append(parts, p.Name)
			}
			if !slices.Equal(parts, c.parts) {
				t.Errorf("parts %v, want %v", parts, c.parts)
			}
			if c.kind == "exchange" && d.Valid() && !slices.Contains(d.Returned(), "main") {
				t.Errorf("returned %v", d.Returned())
			}
			if d.Valid() && (d.Replaces() != "X001234567" || d.Kind() != c.kind || !d.KindSpec().Stock) {
				t.Error("the draft does not say what it replaces")
			}
		})
	}
}

func TestReplacedLicenceOfAnotherType(t *testing.T) {
	typ := readType(t, "birth-certificate")
	_, findings, err := licence.Check(typ, licence.Input{
		Raw:    request(t, edit{"/kind", "replacement"}, edit{"/grounds", "lost"}, edit{"/replaces", "X001234567"}),
		Issuer: hospital, Now: testNow, Clerk: "a",
		Replaced: &licence.Replaced{Number: "X001234567", Type: "childbirth-certificate", State: licence.InForce},
	})
	if err == nil || !slices.Equal(found(findings), []string{"/replaces replaces.type"}) {
		t.Errorf("%v %v", err, findings)
	}
}

// A backfile repeats number and date of a paper and takes nothing from stock.
func TestBackfile(t *testing.T) {
	d := draftOf(t, request(t, edit{"/kind", "backfile"}, edit{"/paper", map[string]any{"number": "X001234567", "issueDate": "2026-10-20"}}))
	if n, day := d.Paper(); n != "X001234567" || day != "2026-10-20" {
		t.Errorf("paper %s %s", n, day)
	}
	if d.KindSpec().Stock || d.Type().UsesStock(d.Kind()) || len(d.Parts()) != 2 {
		t.Error("a backfile takes no sheet and has both parts")
	}
}

// A mother unlike the admission record is stopped until there is evidence who she is.
func TestUnlikeTheAdmissionRecord(t *testing.T) {
	typ := readType(t, "birth-certificate")
	in := licence.Input{Issuer: hospital, Now: testNow, Clerk: "a", Record: map[string]string{
		"/mother/name": "夏曦", "/mother/idNumber": "310196200312200309", "/mother/unknown": "x",
	}}
	grounds := edit{"/grounds", "出生后住院"}
	in.Raw = request(t, grounds)
	if _, findings, err := licence.Check(typ, in); err == nil || !slices.Equal(found(findings), []string{"/mother/name record.differs"}) {
		t.Errorf("%v %v", err, findings)
	}
	in.Raw = request(t, grounds, edit{"/identityCheck", "人脸核验 2026-10-13"})
	if _, findings, err := licence.Check(typ, in); err != nil || !slices.Equal(found(findings), []string{"/mother/name record.differs?"}) {
		t.Errorf("%v %v", err, findings)
	}
}
