package issuing_test

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/signer/credential"
	"github.com/elicence/elicence/templates"
)

// fishing is a type that has nothing of a birth: three parts, one for each custody, and no seal.
func fishing() fs.FS {
	const colours = `colours: {ink: "000000", label: "000000", english: "000000", line: "cccccc", seal: "ff0000"}`
	page := func(name, signature string) string {
		return "  " + name + ":\n" + signature + "    elements:\n" +
			"      - specimen: {x: 105, y: 150, size: 30, angle: 20, colour: seal}\n" +
			"      - text: {x: 105, y: 30, zh: 捕捞许可, size: 20, align: centre}\n" +
			"      - value: {x: [20, 100], y: 50, from: /vessel/name}\n" +
			"      - value: {x: [20, 100], y: 60, value: 'string(vessel.metres) + \" m\"', needs: /vessel/metres}\n" +
			"      - value: {x: [20, 100], y: 70, from: /waters}\n" +
			"      - value: {x: [20, 180], y: 80, value: identifier, size: 9, align: left}\n" +
			"      - code: {x: 20, y: 100, size: 50}\n"
	}
	return fstest.MapFS{
		"fishing/type.yaml": {Data: []byte(`
name: fishing
title: {zh: 捕捞许可, en: Fishing Licence}
typeCode: 11000000DEM000001H077
schemaVersion: 3
parts:
  - {name: aboard, title: {zh: 船上联, en: aboard}, custody: family}
  - {name: register, title: {zh: 登记联, en: register}, custody: transferable}
  - {name: office, title: {zh: 机关联, en: office}, custody: issuer}
kinds:
  first: {title: {zh: 首次签发, en: first}, stock: true, parts: [aboard, register, office]}
  replacement:
    title: {zh: 补发, en: replacement}
    stock: true
    replaces: true
    content: same
    parts: [aboard]
fields:
  - {pointer: /vessel/name, zh: 船名, en: Vessel}
  - {pointer: /vessel/metres, zh: 船长, en: Length}
  - {pointer: /vessel/motor, zh: 机动, en: Motor}
  - {pointer: /waters, zh: 水域, en: Waters}
  - {pointer: /remarks, zh: 备注, en: Remarks}
process:
  - {pointer: /licenceType, zh: 证照类型, en: type}
  - {pointer: /kind, zh: 类别, en: kind}
  - {pointer: /businessId, zh: 业务编号, en: business id}
  - {pointer: /replaces, zh: 原证, en: replaces}
  - {pointer: /grounds, zh: 事由, en: grounds}
clear:
  - {key: vessel.name, pointer: /vessel/name, label: {zh: 船名, en: vessel}}
  - {key: vessel.metres, pointer: /vessel/metres, label: {zh: 船长, en: length}}
  - {key: remarks, pointer: /remarks, label: {zh: 备注, en: remarks}}
search:
  - {name: vessel, pointer: /vessel/name}
rules:
  - {code: vessel.long, at: /vessel/metres, that: vessel.metres < 100, zh: 船太长, en: too long}
`)},
		"fishing/schema.json": {Data: []byte(`{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","additionalProperties":false,
			"required":["licenceType","kind","businessId","vessel"],"properties":{
			"licenceType":{"const":"fishing"},"kind":{"type":"string"},"businessId":{"type":"string","format":"business-id"},
			"replaces":{"type":"string"},"grounds":{"type":"string"},"waters":{"type":"string"},"remarks":{"type":"string"},
			"vessel":{"type":"object","additionalProperties":false,"required":["name"],"properties":{
			"name":{"type":"string"},"metres":{"type":"integer"},"motor":{"type":"boolean"}}}}}`)},
		"fishing/layout.yaml": {Data: []byte("format: 1\nabsent: \"/\"\n" + colours + "\nparts:\n" +
			page("aboard", "    signature: {x: 150, y: 230, w: 30, h: 30}\n") +
			strings.ReplaceAll(page("register", "    signature: {x: 20, y: 230, w: 30, h: 30}\n"), "捕捞许可", "捕捞许可登记") +
			page("office", "    signature: {x: 90, y: 230, w: 30, h: 30}\n"))},
	}
}

// A type that no line of Go knows is checked, issued, verified, handed over, replaced and revoked by the same code.
func TestATypeIsData(t *testing.T) {
	types, err := templates.Load(templates.Options{Types: fishing()})
	if err != nil {
		t.Fatal(err)
	}
	h := newHouseWith(t, func(h *house) { h.renderer, h.types = types, []string{"fishing"} })
	boat := map[string]any{"licenceType": "fishing", "kind": "first", "businessId": "F1", "waters": "样张湖",
		"vessel": map[string]any{"name": "样张渔001", "metres": 12, "motor": true}}
	l := h.issue(h.approved(hospital, boat))
	if diff := cmp.Diff([]string{"aboard", "register", "office"}, l.Parts); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(l.Identifier, "11000000DEM000001H077") || l.TypeVersion != 3 {
		t.Errorf("identifier %s, version %d", l.Identifier, l.TypeVersion)
	}
	file, err := h.service.Part(t.Context(), l, "register")
	h.must(err)
	report := h.verifier.File(t.Context(), file, nil)
	said := map[string]any{}
	for _, f := range report.Fields {
		said[f.Pointer] = f.Value
	}
	want := map[string]any{"/vessel/name": "样张渔001", "/vessel/metres": int64(12), "/vessel/motor": true, "/waters": "样张湖", "/remarks": nil}
	if diff := cmp.Diff(want, said); diff != "" || report.Type != "fishing" {
		t.Errorf("the verifier reads of type %q (-written +read)\n%s", report.Type, diff)
	}
	code := h.verifier.Code(t.Context(), credential.EncodeText(l.Signatures.Credential))
	if !code.Passed() || code.Number != l.Number {
		t.Errorf("the code: %s, number %s", code.Signature.Indication, code.Number)
	}
	move := func(part string) issuing.Move {
		return issuing.Move{Kind: contract.HandedOver, Number: l.Number, Actor: hospital.Code, Part: part, Counterparty: archive.Code}
	}
	h.forbids(move("aboard"), contract.RuleNotTransferable)
	h.forbids(move("office"), contract.RuleNotTransferable)
	h.take(move("register"))
	found, err := h.db.Search(t.Context(), "vessel", "样张渔001")
	if err != nil || len(found) != 1 || found[0].ID != l.ID {
		t.Errorf("found %d by the vessel's name, %v", len(found), err)
	}
	next := h.issue(h.approved(hospital, with(boat, "/kind", "replacement", "/businessId", "F1-R", "/replaces", l.Number)))
	h.take(issuing.Move{Kind: contract.Revoked, Number: next.Number, Actor: commission.Code, Reason: "wrongly-issued"})
	h.balanced(2)
	// What would not fit into the code is refused before a number is used, though no page draws it.
	h.refused(h.service, h.approved(hospital, with(boat, "/businessId", "F3", "/remarks", strings.Repeat("not on the page ", 200))), licence.ErrRefused)
	// The rules of the type are data, too.
	_, findings, err := h.check(hospital, with(boat, "/businessId", "F2", "/vessel/metres", 100))
	wants(t, err, licence.ErrRefused)
	if len(findings) != 1 || findings[0].Code != "vessel.long" {
		t.Errorf("%v", findings)
	}
}

// The second type that ships: one part, for the mother.
func TestTheSecondType(t *testing.T) {
	h := newHouse(t)
	mother := request(t, 3, "C1")["mother"]
	r := map[string]any{"licenceType": "childbirth-certificate", "kind": "first", "businessId": "C1", "mother": mother, "attendant": "龙欣景",
		"delivery": map[string]any{"admittedAt": "2026-12-12", "at": "2026-12-13T05:31:00+08:00", "dischargedAt": "2026-12-17", "mode": "vaginal",
			"outcome": "live-birth", "gestation": map[string]any{"weeks": 40, "days": 5}, "children": 1}}
	l := h.issue(h.approved(hospital, r))
	if diff := cmp.Diff([]string{"certificate"}, l.Parts); diff != "" {
		t.Error(diff)
	}
	h.birth(3, "B1")
	exchange := with(r, "/kind", "exchange", "/businessId", "C1-X", "/replaces", l.Number, "/grounds", "wrong-content", "/returned/certificate", true,
		"/delivery/gestation/days", 6)
	next := h.issue(h.approved(hospital, exchange))
	// A birth certificate does not replace one of another type.
	h.blind = true
	h.refused(h.service, h.approved(hospital, h.reissue(h.licence(h.birth(4, "B2").Number), licence.KindExchange, "B2-X", "/replaces", next.Number)), licence.ErrState)
	h.balanced(4)
}
