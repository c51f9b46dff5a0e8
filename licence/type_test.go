package licence_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/licence/code"
)

func TestBirthCertificateType(t *testing.T) {
	typ := readType(t, "birth-certificate")
	if typ.Title.ZH != "出生医学证明" || typ.SchemaVersion != 1 || len(typ.Fields) != 30 {
		t.Errorf("%s %d %d", typ.Title.ZH, typ.SchemaVersion, len(typ.Fields))
	}
	if p, ok := typ.Part("main"); !ok || p.Custody != "family" {
		t.Error("the main page stays with the family")
	}
	if p, ok := typ.Part("counterfoil"); !ok || p.Custody != "transferable" {
		t.Error("the counterfoil is handed over")
	}
	if _, ok := typ.Part("stub"); ok {
		t.Error("the stub is no part")
	}
	for kind, stock := range map[string]bool{"first": true, "exchange": true, "replacement": true, "backfile": false, "none": false} {
		if typ.UsesStock(kind) != stock {
			t.Errorf("%s takes stock: %v", kind, !stock)
		}
	}
	if got := typ.PartsOf("exchange", true); !slices.Equal(got, []string{"main"}) {
		t.Errorf("after registration: %v", got)
	}
	if got := typ.PartsOf("none", true); got != nil {
		t.Errorf("no kind: %v", got)
	}
	id, err := typ.Identifier(hospital.Code, 42, 1)
	if err != nil || id.Serial != "000000042" || !strings.HasPrefix(id.String(), code.Root+"."+typ.TypeCode+"."+hospital.Code+".") {
		t.Errorf("%s %v", id, err)
	}
	other, err := typ.WithTypeCode("11100000000013338W011")
	if err != nil || other.TypeCode == typ.TypeCode {
		t.Error("the type code is configuration")
	}
	if _, err := typ.WithTypeCode("11100000000013338X011"); !errors.Is(err, licence.ErrType) {
		t.Error("a wrong check character was taken")
	}
}

func TestSearchTermsAreNormalised(t *testing.T) {
	typ := readType(t, "birth-certificate")
	d := draftOf(t, request(t, edit{"/child/name", "Lucía Gómez"}, edit{"/admissionNumber", "zy-1"}))
	terms := typ.SearchTerms(d.Document())
	if terms["child-name"] != licence.Normalise("ＬＵＣÍＡ  gómez") || terms["admission-number"] != "ZY-1" {
		t.Errorf("%q", terms)
	}
	if _, ok := typ.SearchTerms(map[string]any{})["child-name"]; ok {
		t.Error("an absent value has no term")
	}
	if licence.Normalise("阿卜杜•买买提") != licence.Normalise("阿卜杜・买买提") {
		t.Error("middle dots differ")
	}
}

// Whatever is wrong with a type is found when it is read, not at a birth.
func TestFaultyTypes(t *testing.T) {
	read := func(name string) string {
		b, err := os.ReadFile("../templates/types/birth-certificate/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	y, s := read("type.yaml"), read("schema.json")
	in := func(text, old, new string) string {
		if !strings.Contains(text, old) {
			t.Fatalf("%q is not there", old)
		}
		return strings.Replace(text, old, new, 1)
	}
	for name, c := range map[string]struct{ yaml, schema, says string }{
		"not YAML":                  {"{", s, "type.yaml"},
		"unknown key":               {y + "\ncolour: blue\n", s, "colour"},
		"no name":                   {in(y, "name: birth-certificate", "name: ''"), s, "name"},
		"type code":                 {in(y, "typeCode: 11000000DEM000001H001", "typeCode: 11000000DEM000001H01"), s, "typeCode"},
		"version":                   {in(y, "schemaVersion: 1", "schemaVersion: 0"), s, "schemaVersion"},
		"custody":                   {in(y, "custody: family", "custody: nobody"), s, "custody"},
		"twice the same part":       {in(y, "name: counterfoil", "name: main"), s, "part"},
		"unknown kind":              {in(y, "  backfile:", "  second:"), s, "kind second"},
		"kind of no part":           {in(y, "paper: true\n    parts: [main, counterfoil]", "paper: true\n    parts: [stub]"), s, "stub"},
		"kind without parts":        {in(y, "paper: true\n    parts: [main, counterfoil]", "paper: true\n    parts: []"), s, "no part"},
		"paper and stock":           {in(y, "stock: false", "stock: true"), s, "stock"},
		"content":                   {in(y, "content: same", "content: similar"), s, "content"},
		"ground without words":      {in(y, "{zh: 遗失, en: lost by the family}", "{zh: 遗失}"), s, "lost"},
		"field that is none":        {in(y, "/midwife, zh", "/midwives, zh"), s, "/midwives"},
		"field forgotten":           {in(y, "  - {pointer: /midwife, zh: 接生人员, en: Attendant}\n", ""), s, "/midwife"},
		"field twice":               {in(y, "pointer: /grounds,", "pointer: /midwife,"), s, "twice"},
		"clear that is process":     {in(y, "{key: child.sex, pointer: /child/sex", "{key: child.sex, pointer: /grounds"), s, "clear"},
		"search for nothing":        {in(y, "pointer: /admissionNumber}\n\n", "pointer: /admission}\n\n"), s, "search"},
		"rule with a slip":          {in(y, "child.weightGrams >= 200", "child.wieghtGrams >= 200"), s, "/child/wieghtGrams"},
		"rule of no language":       {in(y, "that: placeKnown(", "that: placeKnown(("), s, "place.unknown"},
		"rule with a wrong call":    {in(y, "age(mother.birthDate, child.bornAt) >= 14", "age(mother.birthDate) >= 14"), s, "mother.age-implausible"},
		"rule of no kind":           {in(y, "kinds: [first]", "kinds: [last]"), s, "last"},
		"rule without English":      {in(y, "    en: live births only\n", ""), s, "birth.not-live"},
		"rule twice":                {in(y, "code: father.id-date\n    at: /father/birthDate", "code: mother.id-date\n    at: /mother/birthDate"), s, "twice"},
		"schema is no JSON":         {y, s + "}", "schema.json"},
		"schema is no schema":       {y, in(s, `"type": "object"`, `"type": "thing"`), "schema.json"},
		"schema from elsewhere":     {y, in(s, `"#/$defs/child"`, `"https://example.org/child.json"`), "may not name"},
		"schema open to all":        {y, in(s, `"additionalProperties": false`, `"additionalProperties": true`), "additionalProperties"},
		"schema with an array":      {y, in(s, `"outcome": {"type": "string"`, `"outcome": {"type": "array"`), "/outcome"},
		"schema with a new member":  {y, in(s, `"outcome": {`, `"colour": {"type": "string"}, "outcome": {`), "/colour"},
		"schema with a strange key": {y, in(s, `"outcome": {`, `"a/b": {"type": "string"}, "outcome": {`), "letters and digits"},
		"schema with a number":      {y, in(s, `"weeks": {"type": "integer"`, `"weeks": {"type": "number"`), "/child/gestation/weeks"},
		"schema with a variable":    {in(y, "  - {pointer: /grounds,", "  - {pointer: /issuer, zh: 甲, en: a}\n  - {pointer: /grounds,"), in(s, `"outcome": {`, `"issuer": {"type": "string"}, "outcome": {`), "variable"},
	} {
		_, err := licence.ParseType([]byte(c.yaml), []byte(c.schema))
		if !errors.Is(err, licence.ErrType) {
			t.Errorf("%s: %v", name, err)
		} else if !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, without %q", name, err, c.says)
		}
	}
}

// Layouts take their values from expressions.
func TestExpressions(t *testing.T) {
	typ := readType(t, "birth-certificate")
	d := draftOf(t, request(t, edit{"/father", foreignFather(t)}))
	scope := typ.Scope(licence.Values{Document: d.Document(), Issuer: hospital, Now: testNow, IssueTime: testNow, SigningTime: testNow,
		Number: "X001234567", Identifier: "1.2", Part: "main", PartIndex: 1, Parts: 2, Signer: "样张医院", Specimen: true})
	for source, want := range map[string]any{
		`child.name`:                                                "曹宸书",
		`year(child.bornAt)`:                                        int64(2026),
		`pad2(month(child.bornAt))`:                                 "10",
		`pad2(day(child.bornAt))`:                                   "13",
		`pad2(hour(child.bornAt))`:                                  "05",
		`pad2(minute(child.bornAt))`:                                "31",
		`date(child.bornAt)`:                                        "2026-10-13",
		`age(mother.birthDate, child.bornAt)`:                       int64(22),
		`nationality(mother.nationality)`:                           "中国",
		`nationality(father.nationality)`:                           "越南",
		`idType(father.idType)`:                                     "护照",
		`box(father.idType)`:                                        int64(2),
		`box(mother.idType)`:                                        int64(1),
		`province(child.birthPlace.regionCode)`:                     "上海市",
		`short(city(child.birthPlace.regionCode))`:                  "上海",
		`county(child.birthPlace.regionCode)`:                       "闵行区",
		`mask(mother.idNumber)`:                                     "310*************09",
		`has(father.unknown) ? "/" : father.name`:                   "Nguyễn Văn Ánh",
		`issuer.name + "/" + issuer.nameEN`:                         "样张医院/Specimen Hospital",
		`issuer.region == child.birthPlace.regionCode`:              true,
		`number + " " + identifier + " " + part + " " + signer`:     "X001234567 1.2 main 样张医院",
		`partIndex == 1 && parts == 2 && specimen`:                  true,
		`issuedAt == signedAt && now == issuedAt`:                   true,
		`year(issuedAt)`:                                            int64(2026),
		`grounds`:                                                   nil,
		`has(claimant.name)`:                                        false,
		`child.sex == "male" ? "男" : "女"`:                           "男",
		`[child.gestation.weeks, 7]`:                                []any{int64(40), int64(7)},
		`surname(child.name) + "|" + givenName(child.name)`:         "曹|宸书",
		`child.name.size()`:                                         int64(3),
		`string(child.weightGrams) + "克"`:                           "3418克",
		`han(child.name) && !mixed(child.name)`:                     true,
		`citizenDate(mother.idNumber)`:                              "2003-12-20",
		`months(child.bornAt, now) * 100 + days(child.bornAt, now)`: int64(143),
	} {
		x, err := typ.Compile(source)
		if err != nil {
			t.Error(err)
			continue
		}
		got, err := x.Eval(scope)
		if err != nil {
			t.Error(err)
			continue
		}
		if list, ok := want.([]any); ok {
			if g, ok := got.([]any); !ok || !slices.Equal(g, list) {
				t.Errorf("%s: %v", source, got)
			}
		} else if got != want {
			t.Errorf("%s: %v, want %v", source, got, want)
		}
		if x.Source() != source {
			t.Error("an expression forgets its text")
		}
	}
	for _, source := range []string{`child.nick`, `nobody`, `age(child.name)`, `child.name +`, `1.5 + 1`, ``} {
		if _, err := typ.Compile(source); !errors.Is(err, licence.ErrType) {
			t.Errorf("%s: %v", source, err)
		}
	}
	// an error at evaluation names the expression and nothing of the document
	for _, source := range []string{`age(child.name, child.bornAt)`, `claimant.name`, `pad2(child.weightGrams)`, `{"a": 1}`, `citizenMale(child.name)`} {
		x, err := typ.Compile(source)
		if err != nil {
			t.Fatal(err)
		}
		if v, err := x.Eval(scope); !errors.Is(err, licence.ErrType) || strings.Contains(err.Error(), "曹") || strings.Contains(err.Error(), "3418") {
			t.Errorf("%s: %v %v", source, v, err)
		}
	}
}

// Expressions and types are shared between goroutines.
func TestCheckConcurrently(t *testing.T) {
	typ := readType(t, "birth-certificate")
	all := births(t)
	done := make(chan error, 4)
	for range 4 {
		go func() {
			for _, raw := range all[:50] {
				if _, _, err := licence.Check(typ, licence.Input{Raw: raw, Issuer: issuerOf(raw), Now: testNow, Clerk: "a"}); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
