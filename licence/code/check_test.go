package code_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/elicence/elicence/licence/code"
)

func TestCitizenID(t *testing.T) {
	for id, want := range map[string]error{
		"11010519491231002X": nil, "310196200312200309": nil, "310190198610265559": nil,
		"11010519491231002x": code.ErrCharacter, "110105194912310020": code.ErrCheckDigit, "110105194912310021": code.ErrCheckDigit,
		"11010519490229002X": code.ErrDate, "990105194912310020": code.ErrRegion, "110105": code.ErrLength, "": code.ErrLength,
		"11010519491231002XX": code.ErrLength, "1101O519491231002X": code.ErrCharacter, "110105194912310A2X": code.ErrCharacter,
		"110105170012310029": code.ErrDate, "11010519491331002X": code.ErrDate, "11010519491200002X": code.ErrDate,
	} {
		err := code.CitizenID(id)
		if want == nil && err != nil || !errors.Is(err, want) {
			t.Errorf("%s: %v", id, err)
		}
		if err != nil && len(id) > 5 && strings.Contains(err.Error(), id) {
			t.Errorf("the error holds the number: %v", err)
		}
	}
	if code.CitizenBirthDate("11010519491231002X") != "1949-12-31" || code.CitizenMale("11010519491231002X") || !code.CitizenMale("310190198610265559") {
		t.Error("date and sex")
	}
}

// Each single wrong digit, and each swap of neighbours that differ, is noticed: that is what the check is for.
func TestCitizenIDFindsSlips(t *testing.T) {
	const id = "310196200312200309"
	for i := 0; i < 17; i++ {
		for d := byte('0'); d <= '9'; d++ {
			b := []byte(id)
			if b[i] == d {
				continue
			}
			b[i] = d
			if code.CitizenID(string(b)) == nil {
				t.Errorf("digit %d as %c passes", i+1, d)
			}
		}
		b := []byte(id)
		if b[i], b[i+1] = b[i+1], b[i]; string(b) != id && code.CitizenID(string(b)) == nil {
			t.Errorf("digits %d and %d swapped pass", i+1, i+2)
		}
	}
}

func TestSocialCredit(t *testing.T) {
	for c, want := range map[string]error{
		"91350100M000100Y43": nil, "12000000DEM000001E": nil, "11000000DEM000001H": nil,
		"91350100M000100Y44": code.ErrCheckDigit, "91350100M000100Y4": code.ErrLength, "91350100I000100Y43": code.ErrCharacter,
		"91350100m000100Y43": code.ErrCharacter, "9135010OM000100Y43": code.ErrCharacter, "91350A00M000100Y4J": code.ErrCharacter,
		"91350100M000100Y4Z": code.ErrCheckDigit, "": code.ErrLength,
	} {
		if err := code.SocialCredit(c); want == nil && err != nil || !errors.Is(err, want) {
			t.Errorf("%s: %v", c, err)
		}
	}
	if c, err := code.SocialCreditCheck("91350100M000100Y4"); c != '3' || err != nil {
		t.Errorf("%c %v", c, err)
	}
	if _, err := code.SocialCreditCheck("9135"); !errors.Is(err, code.ErrLength) {
		t.Error(err)
	}
}

func TestNumber(t *testing.T) {
	for n, want := range map[string]error{
		"X001234567": nil, "A310000001": nil, "Z651234567": nil, "X991234567": code.ErrRegion, "x001234567": code.ErrCharacter,
		"X00123456": code.ErrLength, "X00123456A": code.ErrCharacter, "1001234567": code.ErrCharacter, "": code.ErrLength,
	} {
		if err := code.Number(n); want == nil && err != nil || !errors.Is(err, want) {
			t.Errorf("%s: %v", n, err)
		}
	}
	if !code.DemonstrationNumber("X001234567") || code.DemonstrationNumber("X311234567") {
		t.Error("province digits 00 mark a demonstration")
	}
}

func TestRegionCode(t *testing.T) {
	for c, want := range map[string]error{
		"310112": nil, "710000": nil, "990101": code.ErrRegion, "31011": code.ErrLength, "31O112": code.ErrCharacter,
	} {
		if err := code.RegionCode(c); want == nil && err != nil || !errors.Is(err, want) {
			t.Errorf("%s: %v", c, err)
		}
	}
}

func TestResidencePermit(t *testing.T) {
	for c, want := range map[string]error{
		"810000199408230021": nil, "830000199201300022": nil, "911124198108030024": nil, "CHN110100090606": nil,
		"810000199408230022": code.ErrCheckDigit, "911124198108030025": code.ErrCheckDigit, "310196200312200309": code.ErrRegion,
		"chn110100090606": code.ErrCharacter, "CHN11010009060A": code.ErrCharacter, "81": code.ErrLength,
		"9111241981080300XX": code.ErrCharacter,
	} {
		if err := code.ResidencePermit(c); want == nil && err != nil || !errors.Is(err, want) {
			t.Errorf("%s: %v", c, err)
		}
	}
}

// A mask shows that two are the same, and never a third of a number.
func TestMask(t *testing.T) {
	for s, want := range map[string]string{
		"310196200312200309": "310*************09", "PAB123456": "P*******6", "C1234567": "C******7", "12345": "*****", "": "",
		"CHN110100090606": "CH***********06", "护照号码一二三四": "护******四",
	} {
		if got := code.Mask(s); got != want {
			t.Errorf("%s: %s", s, got)
		}
	}
}

func TestNames(t *testing.T) {
	for c, want := range map[string]string{"CHN": "中国", "HKG": "中国(香港)", "MAC": "中国(澳门)", "TWN": "中国(台湾)", "VNM": "越南", "XXA": "无国籍", "ABW": "", "": "", "chn": ""} {
		if got := code.NationalityName(c); got != want {
			t.Errorf("%s: %s", c, got)
		}
	}
	for c, want := range map[string]code.Box{"resident-id-card": code.BoxIdentityCard, "passport": code.BoxPassport,
		"hk-macao-permit": code.BoxOthers, "taiwan-permit": code.BoxOthers, "household-register": code.BoxOthers,
		"residence-permit": code.BoxOthers, "library-card": 0} {
		if code.IDTypeBox(c) != want || (code.IDTypeName(c) == "") != (want == 0) {
			t.Errorf("%s: %d %s", c, code.IDTypeBox(c), code.IDTypeName(c))
		}
	}
	for n, want := range map[string]bool{"汉族": true, "基诺族": true, "其他": true, "汉": false, "/": false, "": false} {
		if code.EthnicKnown(n) != want {
			t.Errorf("%s: %v", n, !want)
		}
	}
	if code.ProvinceName("31") != "上海市" || code.ProvinceName("00") != "" || code.ProvinceKnown("00") {
		t.Error("provinces")
	}
}

func TestStatus(t *testing.T) {
	for _, s := range []string{"01", "02", "03", "04", "05", "06", "07", "99"} {
		st, err := code.ParseStatus(s)
		zh, en := st.Names()
		if err != nil || zh == "" || en == "" || st.InForce() != (s == "01") {
			t.Errorf("%s: %v", s, err)
		}
	}
	for _, s := range []string{"", "1", "08", "00"} {
		if _, err := code.ParseStatus(s); !errors.Is(err, code.ErrForm) {
			t.Errorf("%s: %v", s, err)
		}
	}
}
