package main

import (
	"fmt"

	"github.com/elicence/elicence/access"
	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/licence/code"
)

// district is a county-level unit of Shanghai (GB/T 2260) with the name used in birth places.
type district struct{ code, name, english string }

func shanghaiDistricts() []district {
	return []district{
		{"310101", "黄浦区", "Huangpu"}, {"310104", "徐汇区", "Xuhui"}, {"310105", "长宁区", "Changning"},
		{"310106", "静安区", "Jing'an"}, {"310107", "普陀区", "Putuo"}, {"310109", "虹口区", "Hongkou"},
		{"310110", "杨浦区", "Yangpu"}, {"310112", "闵行区", "Minhang"}, {"310113", "宝山区", "Baoshan"},
		{"310114", "嘉定区", "Jiading"}, {"310115", "浦东新区", "Pudong"}, {"310116", "金山区", "Jinshan"},
		{"310117", "松江区", "Songjiang"}, {"310118", "青浦区", "Qingpu"}, {"310120", "奉贤区", "Fengxian"},
		{"310151", "崇明区", "Chongming"},
	}
}

// Letters of the synthetic organisation codes: nine characters DEM + letter + five digits after the region, so that
// nobody's real unified social credit code is ever shown.
const (
	letterHospital   = 'H'
	letterAgency     = 'A'
	letterCommission = 'C'
	letterPolice     = 'P'
	letterArchive    = 'R'
	letterOperator   = 'T'
)

func syntheticCode(region string, letter byte, number int) string {
	body := fmt.Sprintf("12%sDEM%c%05d", region, letter, number)
	check, err := code.SocialCreditCheck(body)
	if err != nil {
		panic(err) // the body is built from constants above; a test walks through all of them
	}
	return body + string(check)
}

// scheme is the cast of a demonstration installation.
type scheme struct {
	operator, commission, police, cityArchive, districtArchive licence.Organisation
	hospitals, agencies                                        []licence.Organisation
}

func demonstrationScheme() scheme {
	s := scheme{
		operator:        licence.Organisation{Code: syntheticCode("310000", letterOperator, 1), Name: "示范电子证照信任运营中心", NameEN: "Demonstration Licence Trust Operator", Kind: "operator", Region: "310000"},
		commission:      licence.Organisation{Code: syntheticCode("310000", letterCommission, 1), Name: "示范市卫生健康委员会", NameEN: "Demonstration Health Commission", Kind: "commission", Region: "310000"},
		police:          licence.Organisation{Code: syntheticCode("310000", letterPolice, 1), Name: "示范市公安局户政管理处", NameEN: "Demonstration Police, Household Registration", Kind: "police", Region: "310000"},
		cityArchive:     licence.Organisation{Code: syntheticCode("310000", letterArchive, 1), Name: "示范市档案馆", NameEN: "Demonstration City Archives", Kind: "archive", Region: "310000"},
		districtArchive: licence.Organisation{Code: syntheticCode("310115", letterArchive, 2), Name: "示范区档案馆", NameEN: "Demonstration District Archives", Kind: "archive", Region: "310115"},
	}
	for i, d := range shanghaiDistricts() {
		s.hospitals = append(s.hospitals, licence.Organisation{
			Code: syntheticCode(d.code, letterHospital, i+1), Name: d.name + "示范妇产医院",
			NameEN: d.english + " Demonstration Maternity Hospital", Kind: "hospital", Region: d.code})
		s.agencies = append(s.agencies, licence.Organisation{
			Code: syntheticCode(d.code, letterAgency, i+1), Name: d.name + "示范妇幼保健所",
			NameEN: d.english + " Demonstration County Agency", Kind: "agency", Region: d.code})
	}
	return s
}

func (s scheme) all() []licence.Organisation {
	all := []licence.Organisation{s.operator, s.commission, s.police, s.cityArchive, s.districtArchive}
	return append(append(all, s.hospitals...), s.agencies...)
}

// demoPerson names the people of a demonstration installation; one of each role where the organisation has it.
type demoPerson struct {
	id   string
	role access.Role
}

func demoPeople(kind string) []demoPerson {
	switch kind {
	case "hospital", "agency":
		return []demoPerson{{"clerk-1", access.Clerk}, {"seal-1", access.SealKeeper}, {"stock-1", access.StockKeeper}}
	case "commission":
		return []demoPerson{{"supervisor-1", access.Supervisor}}
	case "police":
		return []demoPerson{{"officer-1", access.Officer}}
	case "archive":
		return []demoPerson{{"archivist-1", access.Archivist}}
	}
	return nil
}

// numberRange is where an issuer's demonstration numbers of one licence type begin; the first type, the birth
// certificate, has X, the next one Y. Province digits 00 belong to no province, so that no demonstration number can be
// taken for a real one.
func numberRange(typ, issuer int) string { return fmt.Sprintf("%c00%07d", 'X'+typ, issuer*100000+1) }
