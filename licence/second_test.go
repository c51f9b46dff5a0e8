package licence_test

import (
	"testing"

	"github.com/elicence/elicence/licence"
)

const childbirth = `{"licenceType":"childbirth-certificate","kind":"first","businessId":"C1-000001",
 "mother":{"name":"夏曦瑾","birthDate":"2003-12-20","nationality":"CHN","ethnicGroup":"汉族","idType":"resident-id-card","idNumber":"310196200312200309"},
 "delivery":{"admittedAt":"2026-10-12","at":"2026-10-13T05:31:00+08:00","dischargedAt":"2026-10-17","mode":"vaginal","outcome":"live-birth","gestation":{"weeks":40,"days":5},"children":1},
 "attendant":"龙欣景","birthCertificate":"X000000001"}`

// A second type with other parts and fields passes through the same code.
func TestSecondTypeIsData(t *testing.T) {
	typ := readType(t, "childbirth-certificate")
	d, findings, err := licence.Check(typ, licence.Input{Raw: []byte(childbirth), Issuer: hospital, Now: testNow, Clerk: "a"})
	if err != nil || len(findings) != 0 {
		t.Fatalf("%v %v", err, findings)
	}
	if p := d.Parts(); len(p) != 1 || p[0].Name != "certificate" || p[0].Custody != "family" {
		t.Errorf("parts %v", p)
	}
	if _, ok := typ.Kinds[licence.KindBackfile]; ok {
		t.Error("it has no backfile")
	}
}
