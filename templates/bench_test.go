package templates

import (
	"fmt"
	"testing"
)

// BenchmarkLicence draws what a birth takes: two parts that carry one code, which no other birth has.
func BenchmarkLicence(b *testing.B) {
	s, all := loaded(b), births(b)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		code := fmt.Sprintf("%s%08d", testCode[:len(testCode)-8], i)
		for _, name := range [...]string{"main", "counterfoil"} {
			p := partOf(all[i%len(all)], name)
			p.Code = code
			if _, err := s.Render(p); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkRender(b *testing.B) {
	s, all := loaded(b), births(b)
	for _, name := range []string{"main", "counterfoil"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			total := 0
			i := 0
			for ; b.Loop(); i++ {
				u, err := s.Render(partOf(all[i%len(all)], name))
				if err != nil {
					b.Fatal(err)
				}
				total += len(u.File)
			}
			b.ReportMetric(float64(total)/float64(i), "bytes/file")
		})
	}
}

func BenchmarkCheckGlyphs(b *testing.B) {
	s, all := loaded(b), births(b)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := s.CheckGlyphs("birth-certificate", all[i%len(all)], testIssuer); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		if _, err := Load(Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
