package licence_test

import (
	"bufio"
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/elicence/elicence/licence"
)

var testNow = time.Date(2026, 11, 25, 9, 0, 0, 0, licence.Zone)

func readType(tb testing.TB, name string) *licence.Type {
	tb.Helper()
	y, err := os.ReadFile("../templates/types/" + name + "/type.yaml")
	if err != nil {
		tb.Fatal(err)
	}
	s, err := os.ReadFile("../templates/types/" + name + "/schema.json")
	if err != nil {
		tb.Fatal(err)
	}
	t, err := licence.ParseType(y, s)
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

func births(tb testing.TB) [][]byte {
	tb.Helper()
	b, err := os.ReadFile("../testdata/births/births.jsonl")
	if err != nil {
		tb.Fatal(err)
	}
	var lines [][]byte
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		lines = append(lines, bytes.Clone(s.Bytes()))
	}
	return lines
}

var hospital = licence.Organisation{Code: "12000000DEM000001E", Name: "样张医院", NameEN: "Specimen Hospital", Kind: licence.Hospital, Region: "310112"}

var agency = licence.Organisation{Code: "12000000DEM000002H", Name: "样张区妇幼保健所", NameEN: "Specimen Agency", Kind: licence.Agency, Region: "310112"}

// issuerOf is the demo's choice: births at home and elsewhere go to the county agency.
func issuerOf(raw []byte) licence.Organisation {
	if bytes.Contains(raw, []byte(`"placeType": "home"`)) || bytes.Contains(raw, []byte(`"placeType": "other"`)) {
		return agency
	}
	return hospital
}

func TestAllBirthsPass(t *testing.T) {
	typ := readType(t, "birth-certificate")
	all := births(t)
	if len(all) != 200 {
		t.Fatalf("%d births", len(all))
	}
	for i, raw := range all {
		_, findings, err := licence.Check(typ, licence.Input{Raw: raw, Issuer: issuerOf(raw), Now: testNow, Clerk: "a"})
		if err != nil {
			t.Errorf("line %d: %v %v", i+1, err, findings)
		}
		for _, f := range findings {
			t.Logf("line %d: %s", i+1, f)
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	typ := readType(b, "birth-certificate")
	all := births(b)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		raw := all[i%len(all)]
		if _, _, err := licence.Check(typ, licence.Input{Raw: raw, Issuer: issuerOf(raw), Now: testNow, Clerk: "a"}); err != nil {
			b.Fatal(err)
		}
	}
}
