package templates

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/elicence/elicence/licence"
)

func births(t testing.TB) []map[string]any {
	f, err := os.Open("../testdata/births/births.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []map[string]any
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		d := json.NewDecoder(strings.NewReader(sc.Text()))
		d.UseNumber()
		var m map[string]any
		if err := d.Decode(&m); err != nil {
			t.Fatal(err)
		}
		all = append(all, integers(m).(map[string]any))
	}
	return all
}

func integers(v any) any {
	switch v := v.(type) {
	case json.Number:
		n, _ := v.Int64()
		return n
	case map[string]any:
		for k := range v {
			v[k] = integers(v[k])
		}
	}
	return v
}

func TestDraft(t *testing.T) {
	s, err := Load(Options{})
	if err != nil {
		t.Fatal(err)
	}
	out := os.Getenv("OUT")
	if out == "" {
		out = t.TempDir()
	}
	for i, d := range births(t) {
		if i != 0 && i != 192 && i != 199 {
			continue
		}
		for k, part := range []string{"main", "counterfoil"} {
			u, err := s.Render(Part{Type: "birth-certificate", Part: part, PartIndex: k + 1, Parts: 2, Document: d, Number: "A000000001",
				Identifier: "1.2.156.3005.2.11000000DEM000001H001.91310000MA1FL0AB1C.000000001.001.X",
				Issuer:     licence.Organisation{Code: "91310000MA1FL0AB1C", Name: "上海市闵行区第一妇幼保健院（样例）", Region: "310112"},
				IssueTime:  time.Date(2026, 10, 14, 9, 30, 0, 0, licence.Zone), SigningTime: time.Date(2026, 10, 14, 9, 30, 1, 0, licence.Zone),
				SignerName: "上海市闵行区第一妇幼保健院（样例）", Code: "ELC1:" + strings.Repeat("6BFOXN5TLDWEYBN2Z$K.", 36),
				LicenceJSON: []byte(`{"a":"b"}`), Room: 2300, Specimen: true})
			if err != nil {
				t.Fatal(err)
			}
			t.Log(len(u.File))
			name := filepath.Join(out, part+string(rune('a'+i%26))+".pdf")
			if err := os.WriteFile(name, u.File, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	mother := births(t)[3]["mother"]
	doc := map[string]any{"mother": mother, "attendant": "谢博伊", "birthCertificate": "A000000001", "delivery": map[string]any{
		"admittedAt": "2026-10-12", "at": "2026-10-13T05:31:00+08:00", "dischargedAt": "2026-10-16", "mode": "vaginal", "outcome": "live-birth",
		"gestation": map[string]any{"weeks": int64(40), "days": int64(5)}, "children": int64(1), "difficult": false}}
	p := benchPart(doc, "certificate", 1)
	p.Type, p.Parts = "childbirth-certificate", 1
	u, err := s.Render(p)
	if err != nil {
		t.Fatal(err)
	}
	os.WriteFile(filepath.Join(out, "childbirth.pdf"), u.File, 0o644)
	sl, err := s.Slip(benchPart(births(t)[0], "main", 1))
	if err != nil {
		t.Fatal(err)
	}
	os.WriteFile(filepath.Join(out, "slip.pdf"), sl, 0o644)
}
