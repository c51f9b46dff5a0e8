package region_test

import (
	"testing"

	"github.com/elicence/elicence/licence/region"
)

func TestLookup(t *testing.T) {
	for _, c := range []struct {
		code, province, city, county, text string
		known                              bool
	}{
		{"310112", "上海市", "上海市", "闵行区", "上海市闵行区", true},
		{"500235", "重庆市", "重庆市", "云阳县", "重庆市云阳县", true},
		{"320102", "江苏省", "南京市", "玄武区", "江苏省南京市玄武区", true},
		{"522633", "贵州省", "黔东南苗族侗族自治州", "从江县", "贵州省黔东南苗族侗族自治州从江县", true},
		{"469001", "海南省", "", "五指山市", "海南省五指山市", true},
		{"441900", "广东省", "东莞市", "", "广东省东莞市", true},
		{"320100", "江苏省", "南京市", "", "江苏省南京市", true},
		{"310000", "上海市", "", "", "上海市", true},
		{"310199", "上海市", "上海市", "", "上海市", false},
		{"990101", "", "", "", "", false},
		{"31", "", "", "", "", false},
	} {
		p, known := region.Lookup(c.code)
		if p != (region.Place{Province: c.province, City: c.city, County: c.county}) || known != c.known || p.Text() != c.text {
			t.Errorf("%s: %+v %v %q", c.code, p, known, p.Text())
		}
	}
}

func TestShort(t *testing.T) {
	for full, short := range map[string]string{
		"上海市": "上海", "江苏省": "江苏", "内蒙古自治区": "内蒙古", "南京市": "南京", "阿里地区": "阿里地区", "": "",
	} {
		if got := region.Short(full); got != short {
			t.Errorf("%s: %s", full, got)
		}
	}
}

func TestAgrees(t *testing.T) {
	for _, c := range []struct {
		code, text string
		want       bool
	}{
		{"310112", "上海市闵行区", true},
		{"310112", "上海市浦东新区", false},
		{"441900", "广东省东莞市", true},
		{"441900", "广东省广州市", false},
		{"310199", "somewhere new", true},
	} {
		if got := region.Agrees(c.code, c.text); got != c.want {
			t.Errorf("%s %s: %v", c.code, c.text, got)
		}
	}
}
