package templates

import (
	"strings"
	"testing"
	"time"

	"github.com/elicence/elicence/licence"
)

func benchPart(d map[string]any, name string, index int) Part {
	return Part{Type: "birth-certificate", Part: name, PartIndex: index, Parts: 2, Document: d, Number: "A000000001",
		Identifier: "1.2.156.3005.2.11000000DEM000001H001.91310000MA1FL0AB1C.000000001.001.X",
		Issuer:     licence.Organisation{Code: "91310000MA1FL0AB1C", Name: "上海市闵行区第一妇幼保健院（样例）", Region: "310112"},
		IssueTime:  time.Date(2026, 10, 14, 9, 30, 0, 0, licence.Zone), SigningTime: time.Date(2026, 10, 14, 9, 30, 1, 0, licence.Zone),
		SignerName: "上海市闵行区第一妇幼保健院（样例）", Code: "ELC1:" + strings.Repeat("6BFOXN5TLDWEYBN2Z$K.", 36),
		LicenceJSON: []byte(strings.Repeat(`{"pointer":"/mother/name","salt":"0123456789abcdef0123456789abcdef","value":"夏曦瑾"}`, 40)), Room: 2300, Specimen: true}
}

func BenchmarkRender(b *testing.B) {
	s, err := Load(Options{})
	if err != nil {
		b.Fatal(err)
	}
	all := births(b)
	for _, name := range []string{"main", "counterfoil"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := s.Render(benchPart(all[i%len(all)], name, 1)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
