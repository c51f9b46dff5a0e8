// Package region names the places of GB/T 2260: province, city and county of a six-digit region code.
//
// The list is the county level of the National Bureau of Statistics' 2023 edition. Codes change every year, so a code
// that is not in it need not be wrong: its province must exist, the rest is a warning.
package region

import (
	_ "embed"
	"strings"
	"sync"
)

//go:embed regions.txt
var list string

// names parses the list at its first use: a program that names no place pays nothing.
var names = sync.OnceValue(func() map[string]string {
	m := make(map[string]string, 3400)
	for line := range strings.Lines(list) {
		if code, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " "); ok {
			m[code] = name
		}
	}
	return m
})

// Place is a region's name in three steps, official and in full; "" where there is none: a city without counties, a
// county directly under its province.
type Place struct{ Province, City, County string }

// Text is the whole name as it is written: a municipality's name once.
func (p Place) Text() string {
	if p.City == p.Province {
		return p.Province + p.County
	}
	return p.Province + p.City + p.County
}

// Lookup names a code of six digits. known is false if the code is not in the list; what is known of its province and
// city is returned all the same.
func Lookup(code string) (p Place, known bool) {
	if len(code) != 6 {
		return Place{}, false
	}
	m := names()
	p.Province = m[code[:2]]
	switch city := m[code[:4]]; {
	case city == "市辖区" || city == "县":
		p.City = p.Province // a municipality
	case strings.Contains(city, "直辖县级行政区划"):
	default:
		p.City = city
	}
	county, known := m[code]
	if county != p.City {
		p.County = county
	}
	if code[2:] == "0000" {
		known = p.Province != ""
	} else if code[4:] == "00" && p.City != "" {
		known = true
	}
	return p, known
}

var shortProvinces = map[string]string{
	"内蒙古自治区": "内蒙古", "广西壮族自治区": "广西", "西藏自治区": "西藏", "宁夏回族自治区": "宁夏", "新疆维吾尔自治区": "新疆",
	"香港特别行政区": "香港", "澳门特别行政区": "澳门",
}

// Short is a province's or city's name without the word for its kind, for a form that has that word printed already.
// Prefectures keep theirs.
func Short(name string) string {
	if s, ok := shortProvinces[name]; ok {
		return s
	}
	if s, ok := strings.CutSuffix(name, "省"); ok {
		return s
	}
	s, _ := strings.CutSuffix(name, "市")
	return s
}

// Agrees reports whether a place written in words names the code's county, or its city if it has no county. A code that
// is not in the list agrees with everything.
func Agrees(code, text string) bool {
	p, known := Lookup(code)
	switch {
	case !known:
		return true
	case p.County != "":
		return strings.Contains(text, p.County)
	case p.City != "":
		return strings.Contains(text, Short(p.City))
	}
	return strings.Contains(text, Short(p.Province))
}
