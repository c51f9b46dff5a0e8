package licence_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/elicence/elicence/licence"
)

// What is wrong with the bytes, before any schema is asked.
func TestMalformedBytes(t *testing.T) {
	typ := readType(t, "birth-certificate")
	good := string(request(t, edit{"/grounds", "出生后住院"}))
	swap := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("%s is not there", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	for name, c := range map[string]struct {
		raw  string
		want string
	}{
		"nothing":              {"", " json.syntax"},
		"white space":          {" \n", " json.syntax"},
		"an array":             {"[]", " json.object"},
		"a text":               {`"birth"`, " json.object"},
		"null":                 {"null", " json.object"},
		"two objects":          {good + good, " json.syntax"},
		"cut off":              {good[:len(good)/2], " json.syntax"},
		"comma at the end":     {swap(`"weeks":40`, `"weeks":40,`), " json.syntax"},
		"single quotes":        {"{'kind':'first'}", " json.syntax"},
		"comment":              {"/* */" + good, " json.syntax"},
		"byte order mark":      {"\ufeff" + good, " json.syntax"},
		"leading zero":         {swap(`"weeks":40`, `"weeks":040`), " json.syntax"},
		"plus sign":            {swap(`"weeks":40`, `"weeks":+40`), " json.syntax"},
		"not a number":         {swap(`"weeks":40`, `"weeks":NaN`), " json.syntax"},
		"invalid UTF-8":        {swap("曹", "\xe6\x9b"), " json.syntax"},
		"overlong UTF-8":       {swap("曹", "\xc0\xaf"), " json.syntax"},
		"surrogate in UTF-8":   {swap("曹", "\xed\xa0\x80"), " json.syntax"},
		"half a surrogate":     {swap("曹", `\ud842`), " json.syntax"},
		"surrogates reversed":  {swap("曹", `\udfb7\ud842`), " json.syntax"},
		"bare control":         {swap("曹", "\x01"), " json.syntax"},
		"unknown escape":       {swap("曹", `\x41`), " json.syntax"},
		"escaped control":      {swap("曹", `\u0007`), "/child/name text.character"},
		"escaped DEL":          {swap("曹", `\u007f`), "/child/name text.character"},
		"right-to-left mark":   {swap("曹", `\u202e`), "/child/name text.character"},
		"variation selector":   {swap("曹", "曹\U000e0100"), "/child/name text.character"},
		"Hangul filler":        {swap("曹", "曹\u3164"), "/child/name text.character"},
		"compatibility form":   {swap("曹", "\uf900"), "/child/name text.nfc"},
		"duplicate known key":  {swap(`"weeks":40`, `"weeks":40,"weeks":40`), "/child/gestation/weeks json.duplicate-key"},
		"duplicate by escape":  {swap(`"weeks":40`, `"weeks":40,"w\u0065eks":41`), "/child/gestation/weeks json.duplicate-key"},
		"exponent":             {swap(`"weightGrams":3418`, `"weightGrams":3.418e3`), "/child/weightGrams json.integer"},
		"point zero":           {swap(`"weightGrams":3418`, `"weightGrams":3418.0`), "/child/weightGrams json.integer"},
		"minus zero":           {swap(`"days":5`, `"days":-0`), "/child/gestation/days json.integer"},
		"beyond 2^53":          {swap(`"weightGrams":3418`, `"weightGrams":9007199254740992`), "/child/weightGrams json.integer"},
		"beyond int64":         {swap(`"weightGrams":3418`, `"weightGrams":99999999999999999999`), "/child/weightGrams json.integer"},
		"nested too deep":      {strings.Repeat(`{"child":`, 9) + "1" + strings.Repeat("}", 9), " json.bounds"},
		"bottomless":           {strings.Repeat("[", licence.MaxRequest), " json.bounds"},
		"too many values":      {"[" + strings.Repeat("1,", 2000) + "1]", " json.bounds"},
		"too large":            {good + strings.Repeat(" ", licence.MaxRequest), " json.size"},
		"array for an object":  {swap(`"gestation":{"days":5,"weeks":40}`, `"gestation":[40,5]`), "/child/gestation type"},
		"array with bad text":  {swap(`"midwife":"龙欣景"`, `"midwife":["\u0007"]`), "/midwife text.character"},
		"unknown with subtree": {swap(`"midwife"`, `"x":{"y":{"z":"\u0007"}},"midwife"`), " json.unknown-key"},
	} {
		t.Run(name, func(t *testing.T) {
			_, findings, err := licence.Check(typ, licence.Input{Raw: []byte(c.raw), Issuer: hospital, Now: testNow, Clerk: "a"})
			if !errors.Is(err, licence.ErrRefused) {
				t.Fatalf("not refused: %v", err)
			}
			if !slices.Contains(found(findings), c.want) {
				t.Errorf("got %q, want %q", found(findings), c.want)
			}
		})
	}
}

// Implausible but possible values leave a draft, with exactly these warnings; --strict refuses them.
func TestWarnings(t *testing.T) {
	typ := readType(t, "birth-certificate")
	for name, c := range map[string]struct {
		edits  []edit
		issuer licence.Organisation
		want   []string
	}{
		"nothing":                {nil, hospital, []string{}},
		"19 weeks":               {[]edit{{"/child/gestation/weeks", 19}}, hospital, []string{"/child/gestation/weeks child.gestation-implausible?"}},
		"20 weeks":               {[]edit{{"/child/gestation/weeks", 20}}, hospital, []string{}},
		"45 weeks":               {[]edit{{"/child/gestation/weeks", 45}}, hospital, []string{}},
		"46 weeks":               {[]edit{{"/child/gestation/weeks", 46}}, hospital, []string{"/child/gestation/weeks child.gestation-implausible?"}},
		"199 g":                  {[]edit{{"/child/weightGrams", 199}}, hospital, []string{"/child/weightGrams child.weight-implausible?"}},
		"200 g":                  {[]edit{{"/child/weightGrams", 200}}, hospital, []string{}},
		"8000 g":                 {[]edit{{"/child/weightGrams", 8000}}, hospital, []string{}},
		"8001 g":                 {[]edit{{"/child/weightGrams", 8001}}, hospital, []string{"/child/weightGrams child.weight-implausible?"}},
		"19 cm":                  {[]edit{{"/child/lengthCentimetres", 19}}, hospital, []string{"/child/lengthCentimetres child.length-implausible?"}},
		"20 and 70 cm":           {[]edit{{"/child/lengthCentimetres", 70}}, hospital, []string{}},
		"71 cm":                  {[]edit{{"/child/lengthCentimetres", 71}}, hospital, []string{"/child/lengthCentimetres child.length-implausible?"}},
		"six children":           {[]edit{{"/child/birthOrder", map[string]any{"index": 1, "of": 6}}}, hospital, []string{"/child/birthOrder/of child.order-implausible?"}},
		"sex undetermined":       {[]edit{{"/child/sex", "undetermined"}}, hospital, []string{"/child/sex child.sex-undetermined?"}},
		"rare given name":        {[]edit{{"/child/name", "曹𠮷"}}, hospital, []string{"/child/name name.uncommon?"}},
		"rare but standard":      {[]edit{{"/child/name", "曹𬭎䶮"}}, hospital, []string{}},
		"rare surname":           {[]edit{{"/child/name", "𠮷一"}, {"/father/name", "𠮷星"}}, hospital, []string{}},
		"beyond GB 18030":        {[]edit{{"/child/name", "曹\U00030000"}}, hospital, []string{"/child/name name.uncommon?", "/child/name text.beyond-gb-18030?"}},
		"third surname":          {[]edit{{"/child/name", "王宸书"}}, hospital, []string{"/child/name name.third-surname?"}},
		"mother's surname":       {[]edit{{"/child/name", "夏宸书"}}, hospital, []string{}},
		"compound surname":       {[]edit{{"/child/name", "欧阳书"}, {"/father/name", "欧阳星"}}, hospital, []string{}},
		"half a compound":        {[]edit{{"/child/name", "欧书"}, {"/father/name", "欧阳星"}}, hospital, []string{"/child/name name.third-surname?"}},
		"father's dotted name":   {[]edit{{"/child/name", "阿依努尔"}, {"/father/name", "阿卜杜热西提·买买提依明"}}, hospital, []string{}},
		"mixed name":             {[]edit{{"/child/name", "LUCÍA 曹宸"}}, hospital, []string{"/child/name name.mixed?"}},
		"surname alone":          {[]edit{{"/child/name", "曹"}}, hospital, []string{"/child/name name.no-given-name?"}},
		"provisional name":       {[]edit{{"/child/name", "曹星之子"}}, hospital, []string{"/child/name name.provisional?"}},
		"new region":             {[]edit{{"/child/birthPlace/regionCode", "310199"}}, hospital, []string{"/child/birthPlace/regionCode place.unknown?"}},
		"another region":         {[]edit{{"/child/birthPlace/regionCode", "310115"}}, hospital, []string{"/child/birthPlace/text place.differs?"}},
		"on the way":             {[]edit{{"/child/placeType", "other"}}, hospital, []string{"/child/placeType place.on-the-way?", "/parentageEvidence evidence.born-elsewhere?"}},
		"at home":                {[]edit{{"/child/placeType", "home"}}, agency, []string{"/parentageEvidence evidence.born-elsewhere?"}},
		"at home with evidence":  {[]edit{{"/child/placeType", "home"}, {"/parentageEvidence", "亲子鉴定书 2026-1"}}, agency, []string{}},
		"hospital at the agency": {nil, agency, []string{"/child/placeType place.in-institution?"}},
		"no attendant":           {[]edit{{"/midwife", gone}}, hospital, []string{"/midwife attendant.missing?"}},
		"mother of 13":           {[]edit{{"/mother/idType", "passport"}, {"/mother/idNumber", "PAB12345"}, {"/mother/birthDate", "2012-10-14"}}, hospital, []string{"/mother/birthDate mother.age-implausible?"}},
		"mother of 14 today":     {[]edit{{"/mother/idType", "passport"}, {"/mother/idNumber", "PAB12345"}, {"/mother/birthDate", "2012-10-13"}}, hospital, []string{}},
		"mother of 56":           {[]edit{{"/mother/idType", "passport"}, {"/mother/idNumber", "PAB12345"}, {"/mother/birthDate", "1970-10-13"}}, hospital, []string{"/mother/birthDate mother.age-implausible?"}},
		"father's number":        {[]edit{{"/mother/idNumber", "310190198610265559"}, {"/mother/birthDate", "1986-10-26"}, {"/father", foreignFather(t)}}, hospital, []string{"/mother/idNumber mother.id-sex?"}},
		"foreign with identity card": {[]edit{{"/mother/nationality", "ESP"}}, hospital,
			[]string{"/mother/ethnicGroup mother.ethnic-group?", "/mother/idType mother.id-nationality?"}},
		"foreign father": {[]edit{{"/father", foreignFather(t)}}, hospital, []string{}},
		"father unknown": {[]edit{{"/father", fatherUnknown(t)}, {"/child/name", "夏宸书"}}, hospital, []string{}},
		"mother unknown": {[]edit{{"/mother", map[string]any{"unknown": true}}}, hospital, []string{"/parentageEvidence evidence.mother-unknown?"}},
		"no grounds":     {[]edit{{"/grounds", gone}}, hospital, []string{"/grounds grounds.after-one-month?"}},
		"month not full": {[]edit{{"/grounds", gone}, {"/child/bornAt", "2026-10-25T09:01:00+08:00"}}, hospital, []string{}},
		"month full":     {[]edit{{"/grounds", gone}, {"/child/bornAt", "2026-10-25T09:00:00+08:00"}}, hospital, []string{"/grounds grounds.after-one-month?"}},
		"year full":      {[]edit{{"/grounds", gone}, {"/child/bornAt", "2025-11-25T09:00:00+08:00"}}, hospital, []string{"/grounds grounds.after-one-year?"}},
	} {
		t.Run(name, func(t *testing.T) {
			in := licence.Input{Raw: request(t, append([]edit{{"/grounds", "出生后住院"}}, c.edits...)...), Issuer: c.issuer, Now: testNow, Clerk: "a"}
			d, findings, err := licence.Check(typ, in)
			if err != nil || !d.Valid() {
				t.Fatalf("%v %v", err, findings)
			}
			if got := found(findings); !slices.Equal(got, sorted(c.want)) {
				t.Errorf("\n got %q\nwant %q", got, sorted(c.want))
			}
			if !slices.Equal(found(d.Warnings()), found(findings)) {
				t.Error("the draft does not carry its warnings")
			}
			in.Strict = true
			if _, _, err := licence.Check(typ, in); errors.Is(err, licence.ErrRefused) != (len(c.want) > 0) {
				t.Errorf("strict: %v", err)
			}
		})
	}
}

// The messages for unknown keys help, and repeat nothing that came from outside.
func TestUnknownKeysAreNotEchoed(t *testing.T) {
	typ := readType(t, "birth-certificate")
	_, findings, _ := licence.Check(typ, licence.Input{Now: testNow, Issuer: hospital, Clerk: "a",
		Raw: request(t, edit{"/child/wieghtGrams", 1}, edit{"/child/夏曦瑾", 1})})
	all := fmt.Sprint(findings)
	if strings.Contains(all, "wieght") || strings.Contains(all, "夏曦瑾") || !strings.Contains(all, "weightGrams") || !strings.Contains(all, "2 unknown") {
		t.Error(all)
	}
}

func TestIssuerMayNotIssue(t *testing.T) {
	typ := readType(t, "birth-certificate")
	for kind, want := range map[string]string{licence.Police: " issuer.kind", licence.Archive: " issuer.kind", licence.Commission: " issuer.kind"} {
		o := hospital
		o.Kind = kind
		_, findings, err := licence.Check(typ, licence.Input{Raw: births(t)[0], Issuer: o, Now: testNow, Clerk: "a"})
		if err == nil || found(findings)[0] != want {
			t.Errorf("%s: %v", kind, findings)
		}
	}
	_, findings, err := licence.Check(typ, licence.Input{Raw: births(t)[0], Now: testNow, Clerk: "a"})
	if err == nil || found(findings)[0] != " issuer.code" {
		t.Errorf("nobody: %v", findings)
	}
}
