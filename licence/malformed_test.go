package licence_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/elicence/elicence/licence"
)

// Each request is told all of its faults at once, and nothing but them.
func TestMalformedRequests(t *testing.T) {
	typ := readType(t, "birth-certificate")
	set := func(pointer string, value any) []edit { return []edit{{pointer, value}} }
	for name, c := range map[string]struct {
		edits []edit
		want  []string
	}{
		// words of the envelope
		"no type":                {set("/licenceType", gone), []string{"/licenceType required"}},
		"another type":           {set("/licenceType", "marriage-certificate"), []string{"/licenceType enum"}},
		"no kind":                {set("/kind", gone), []string{"/kind required"}},
		"unknown kind":           {set("/kind", "second"), []string{"/kind enum"}},
		"kind is a number":       {set("/kind", 1), []string{"/kind type"}},
		"no business id":         {set("/businessId", gone), []string{"/businessId required"}},
		"empty business id":      {set("/businessId", ""), []string{"/businessId format.business-id"}},
		"business id with space": {set("/businessId", "D1 1"), []string{"/businessId format.business-id"}},
		"long business id":       {set("/businessId", strings.Repeat("D", 65)), []string{"/businessId format.business-id"}},
		"unknown key":            {set("/favouriteColour", "blue"), []string{" json.unknown-key"}},
		"misspelt key":           {set("/child/wieghtGrams", 1), []string{"/child json.unknown-key"}},
		"two unknown keys":       {[]edit{{"/child/aa", 1}, {"/child/bb", 2}}, []string{"/child json.unknown-key"}},
		"another institution":    {set("/institution", "别的医院"), []string{"/institution institution.other"}},
		"replaces on a first":    {set("/replaces", "X001234567"), []string{"/replaces forbidden"}},
		"returned on a first":    {set("/returned", map[string]any{"main": true}), []string{"/returned forbidden"}},
		"paper on a first": {set("/paper", map[string]any{"number": "X001234567", "issueDate": "2026-10-20"}),
			[]string{"/paper forbidden"}},
		"stillbirth":              {set("/outcome", "stillbirth"), []string{"/outcome birth.not-live"}},
		"outcome of another type": {set("/outcome", true), []string{"/outcome type"}},
		"grounds is an object":    {set("/grounds", map[string]any{"code": "late"}), []string{"/grounds type"}},
		"grounds with two spaces": {set("/grounds", "a  b"), []string{"/grounds format.text"}},

		// the child
		"child is text":     {set("/child", "曹宸书"), []string{"/child type"}},
		"no child":          {set("/child", gone), []string{"/child required"}},
		"no name":           {set("/child/name", gone), []string{"/child/name required"}},
		"empty name":        {set("/child/name", ""), []string{"/child/name format.person-name"}},
		"not named":         {set("/child/name", "待定"), []string{"/child/name child.not-named", "/child/name name.third-surname?"}},
		"name with digits":  {set("/child/name", "曹2号"), []string{"/child/name format.person-name"}},
		"name with spaces":  {set("/child/name", " 曹宸书"), []string{"/child/name format.person-name"}},
		"name with a dot":   {set("/child/name", "曹·"), []string{"/child/name format.person-name"}},
		"name of 51":        {set("/child/name", strings.Repeat("曹", 51)), []string{"/child/name length"}},
		"name not composed": {set("/child/name", "LUCI\u0301A"), []string{"/child/name text.nfc"}},
		"name with zero width": {set("/child/name", "曹\u200b宸"),
			[]string{"/child/name text.character"}},
		"name in private use": {set("/child/name", "曹\ue000"),
			[]string{"/child/name text.character"}},
		"unknown sex":           {set("/child/sex", "m"), []string{"/child/sex enum"}},
		"time without zone":     {set("/child/bornAt", "2026-10-13T05:31:00"), []string{"/child/bornAt format.date-time"}},
		"time in another zone":  {set("/child/bornAt", "2026-10-12T21:31:00Z"), []string{"/child/bornAt format.date-time"}},
		"thirtieth of February": {set("/child/bornAt", "2026-02-30T05:31:00+08:00"), []string{"/child/bornAt format.date-time"}},
		"a quarter past 24":     {set("/child/bornAt", "2026-10-13T24:15:00+08:00"), []string{"/child/bornAt format.date-time"}},
		"born tomorrow":         {set("/child/bornAt", "2026-11-26T05:31:00+08:00"), []string{"/child/bornAt birth.after-issue"}},
		"born in a minute":      {set("/child/bornAt", "2026-11-25T09:01:00+08:00"), []string{"/child/bornAt birth.after-issue"}},
		"no such province":      {set("/child/birthPlace/regionCode", "990101"), []string{"/child/birthPlace/regionCode format.region-code"}},
		"region of five digits": {set("/child/birthPlace/regionCode", "31011"), []string{"/child/birthPlace/regionCode format.region-code"}},
		"no place text":         {set("/child/birthPlace/text", gone), []string{"/child/birthPlace/text required"}},
		"unknown place type":    {set("/child/placeType", "taxi"), []string{"/child/placeType enum"}},
		"born at home":          {set("/child/placeType", "home"), []string{"/child/placeType place.not-here", "/parentageEvidence evidence.born-elsewhere?"}},
		"unknown health":        {set("/child/health", "fine"), []string{"/child/health enum"}},
		"no gestation":          {set("/child/gestation", gone), []string{"/child/gestation required"}},
		"61 weeks":              {set("/child/gestation/weeks", 61), []string{"/child/gestation/weeks range"}},
		"seven days":            {set("/child/gestation/days", 7), []string{"/child/gestation/days range"}},
		"weeks as text":         {set("/child/gestation/weeks", "40"), []string{"/child/gestation/weeks type"}},
		"weight zero":           {set("/child/weightGrams", 0), []string{"/child/weightGrams range"}},
		"negative weight":       {set("/child/weightGrams", -3418), []string{"/child/weightGrams range"}},
		"weight with fraction":  {set("/child/weightGrams", 3418.5), []string{"/child/weightGrams json.integer"}},
		"weight is null":        {set("/child/weightGrams", nil), []string{"/child/weightGrams type"}},
		"length of a giant":     {set("/child/lengthCentimetres", 101), []string{"/child/lengthCentimetres range"}},
		"third of two": {set("/child/birthOrder", map[string]any{"index": 3, "of": 2}),
			[]string{"/child/birthOrder/index child.order"}},
		"eleven children": {set("/child/birthOrder/of", 11), []string{"/child/birthOrder/of range"}},

		// mother and father
		"no mother":               {set("/mother", gone), []string{"/mother required"}},
		"empty mother":            {set("/mother", map[string]any{}), []string{"/mother/address required", "/mother/birthDate required", "/mother/ethnicGroup required", "/mother/idNumber required", "/mother/idType required", "/mother/name required", "/mother/nationality required"}},
		"check digit":             {set("/mother/idNumber", "310196200312200308"), []string{"/mother/idNumber format.citizen-id.check"}},
		"lower-case x":            {set("/mother/idNumber", "11010519491231002x"), []string{"/mother/idNumber format.citizen-id.character"}},
		"old number of 15":        {set("/mother/idNumber", "310196031220030"), []string{"/mother/idNumber format.citizen-id.length"}},
		"number from no province": {set("/mother/idNumber", "990196200312200309"), []string{"/mother/idNumber format.citizen-id.region"}},
		"number of no date":       {set("/mother/idNumber", "310196200302300309"), []string{"/mother/idNumber format.citizen-id.date"}},
		"number of another date":  {set("/mother/birthDate", "2003-12-21"), []string{"/mother/birthDate mother.id-date"}},
		"father's of another date": {set("/father/birthDate", "1986-10-27"),
			[]string{"/father/birthDate father.id-date"}},
		"same person": {[]edit{{"/father/idNumber", "310196200312200309"}, {"/father/birthDate", "2003-12-20"}},
			[]string{"/father/idNumber father.id-sex?", "/father/idNumber parents.same-person"}},
		"no such nationality":    {set("/father/nationality", "XYZ"), []string{"/father/nationality format.nationality"}},
		"no such ethnic group":   {set("/mother/ethnicGroup", "汉"), []string{"/mother/ethnicGroup format.ethnic-group"}},
		"no such document":       {set("/mother/idType", "library-card"), []string{"/mother/idType enum"}},
		"passport in lower case": {[]edit{{"/mother/idType", "passport"}, {"/mother/idNumber", "pab123456"}}, []string{"/mother/idNumber format.passport"}},
		"not a Hong Kong permit": {[]edit{{"/mother/idType", "hk-macao-permit"}, {"/mother/idNumber", "K12345678"}, {"/mother/nationality", "HKG"}}, []string{"/mother/idNumber format.hk-macao-permit"}},
		"not a Taiwan permit":    {[]edit{{"/mother/idType", "taiwan-permit"}, {"/mother/idNumber", "1234567"}, {"/mother/nationality", "TWN"}}, []string{"/mother/idNumber format.taiwan-permit"}},
		"not a residence permit": {[]edit{{"/mother/idType", "residence-permit"}}, []string{"/mother/idNumber format.residence-permit"}},
		"mother born later": {[]edit{{"/mother/idType", "passport"}, {"/mother/idNumber", "PAB123456"}, {"/mother/birthDate", "2026-10-13"}},
			[]string{"/mother/birthDate mother.age-implausible?", "/mother/birthDate mother.born-after-child"}},
		"birth date with time":      {set("/mother/birthDate", "2003-12-20T00:00:00+08:00"), []string{"/mother/birthDate format.date"}},
		"long address":              {set("/mother/address", strings.Repeat("路", 121)), []string{"/mother/address length"}},
		"address in two lines":      {set("/mother/address", "上海市\n黄浦区"), []string{"/mother/address text.character"}},
		"unknown without statement": {[]edit{{"/child/name", "夏宸书"}, {"/father", map[string]any{"unknown": true}}}, []string{"/father/statement required"}},
		"unknown is false":          {set("/father/unknown", false), []string{"/father/address forbidden", "/father/birthDate forbidden", "/father/ethnicGroup forbidden", "/father/idNumber forbidden", "/father/idType forbidden", "/father/name forbidden", "/father/nationality forbidden", "/father/statement required", "/father/unknown enum"}},
		"unknown with a name": {set("/father", map[string]any{"unknown": true, "statement": "书面声明", "name": "曹星"}),
			[]string{"/father/name forbidden"}},
		"statement about a known father": {set("/father/statement", "书面声明"), []string{"/father/statement forbidden"}},
		"both unknown": {[]edit{{"/father", map[string]any{"unknown": true, "statement": "书面声明"}}, {"/mother", map[string]any{"unknown": true}}},
			[]string{" parents.unknown", "/parentageEvidence evidence.mother-unknown?"}},

		// attendant, claimant, registration
		"two attendants":      {set("/attendant", "别人"), []string{"/attendant alias.differs"}},
		"attendant an object": {set("/attendant", map[string]any{}), []string{"/attendant alias.differs"}},
		"half a claimant":     {set("/claimant", map[string]any{"name": "夏曦瑾"}), []string{"/claimant/idNumber required", "/claimant/idType required", "/claimant/relation required"}},
		"claimant with the mother's number": {set("/claimant", map[string]any{"name": "夏曦", "relation": "母亲", "idType": "resident-id-card", "idNumber": "310196200312200309"}),
			[]string{"/claimant/name claimant.unlike-mother"}},
		"registered nowhere": {set("/registration", map[string]any{"with": "nobody"}), []string{"/registration/with enum"}},
		"registered with the unknown": {[]edit{{"/child/name", "夏宸书"}, {"/father", map[string]any{"unknown": true, "statement": "书面声明"}}, {"/registration", map[string]any{"with": "father"}}},
			[]string{"/registration/with registration.with-unknown"}},

		// other kinds
		"exchange of nothing": {[]edit{{"/kind", "exchange"}, {"/grounds", gone}},
			[]string{"/grounds required", "/replaces required", "/returned/counterfoil returned.missing", "/returned/main returned.missing"}},
		"exchange on other grounds": {[]edit{{"/kind", "exchange"}, {"/grounds", "because"}, {"/replaces", "X001234567"}, {"/householdRegistered", true}, {"/returned", map[string]any{"main": false}}},
			[]string{"/grounds grounds.unknown", "/returned/main returned.missing"}},
		"replaced number": {[]edit{{"/kind", "replacement"}, {"/grounds", "lost"}, {"/replaces", "x001234567"}},
			[]string{"/replaces format.licence-number.character"}},
		"replaced number of no province": {[]edit{{"/kind", "replacement"}, {"/grounds", "lost"}, {"/replaces", "X991234567"}},
			[]string{"/replaces format.licence-number.region"}},
		"replaced number too short": {[]edit{{"/kind", "replacement"}, {"/grounds", "lost"}, {"/replaces", "X00123456"}},
			[]string{"/replaces format.licence-number.length"}},
		"backfile of no paper": {set("/kind", "backfile"), []string{"/paper required"}},
		"paper before the birth": {[]edit{{"/kind", "backfile"}, {"/paper", map[string]any{"number": "X001234567", "issueDate": "2026-10-12"}}},
			[]string{"/paper/issueDate paper.before-birth"}},
		"paper of tomorrow": {[]edit{{"/kind", "backfile"}, {"/paper", map[string]any{"number": "X001234567", "issueDate": "2026-11-26"}}},
			[]string{"/paper/issueDate paper.in-future"}},
		"paper without date": {[]edit{{"/kind", "backfile"}, {"/paper", map[string]any{"number": "X001234567"}}}, []string{"/paper/issueDate required"}},

		// many at once
		"everything wrong": {[]edit{{"/child/sex", "x"}, {"/child/bornAt", "yesterday"}, {"/mother/idNumber", "1"}, {"/father/nationality", "中国"}, {"/nonsense", 1}, {"/kind", gone}},
			[]string{" json.unknown-key", "/child/bornAt format.date-time", "/child/sex enum", "/father/nationality format.nationality", "/kind required", "/mother/idNumber format.citizen-id.length"}},
	} {
		t.Run(name, func(t *testing.T) {
			// the first birth lies more than a month before testNow
			edits := append([]edit{{"/grounds", "出生后住院"}}, c.edits...)
			d, findings, err := licence.Check(typ, licence.Input{Raw: request(t, edits...), Issuer: hospital, Now: testNow, Clerk: "a"})
			if !errors.Is(err, licence.ErrRefused) || d.Valid() {
				t.Fatalf("not refused: %v %v", err, findings)
			}
			if got := found(findings); !slices.Equal(got, sorted(c.want)) {
				t.Errorf("\n got %q\nwant %q", got, sorted(c.want))
			}
			for _, f := range findings {
				if f.ZH == "" || f.EN == "" {
					t.Errorf("%s has no words in two languages", f.Code)
				}
			}
		})
	}
}

func sorted(s []string) []string { s = slices.Clone(s); slices.Sort(s); return s }
