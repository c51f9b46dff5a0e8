package code_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/elicence/elicence/licence/code"
)

// Identifiers of public systems that pass, and what is tolerated in those that do not.
func TestIdentifiersOfOtherSystems(t *testing.T) {
	const birth, house = "1.2.156.3005.2.11100000000013338W011.11430000006122244L.20230000403.001.U", "1.2.156.3005.2.11100000MB03271699022.340100.000000016.001.9"
	for s, want := range map[string][]code.Warning{
		birth: nil,
		house: {code.WarnRegion},
		"1.2.156.3005.2.11100000000013338W011.11430000006122244L.20230000403.001.V":             {code.WarnCheck},
		" 1.2.156.3005.2.11100000000013338W011.11430000006122244L.20230000403.001.U\n":          {code.WarnWhiteSpace},
		"1.2.156.3005.2.11100000000013338w011.11430000006122244l.20230000403.001.u":             {code.WarnLowerCase},
		"1.2.156.3005.2.11100000000013338W01.11430000006122244L.20230000403.001.U":              {code.WarnTypeCode, code.WarnCheck},
		"1.2.156.3005.2.11100000000013338W011.BUREAU.20230000403.001.U":                         {code.WarnIssuer, code.WarnCheck},
		"1.2.156.3005.2.11100000000013338W011.11430000006122244L.12345678901234567890123.001.E": {code.WarnSerial},
	} {
		id, got, err := code.ReadIdentifier(s)
		if err != nil || id.Serial == "" {
			t.Errorf("%q: %v", s, err)
			continue
		}
		if slices.Contains(want, code.WarnSerial) { // its check character is not the matter here
			got = slices.DeleteFunc(got, func(w code.Warning) bool { return w == code.WarnCheck })
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", s, got, want)
		}
		if _, err := code.ParseIdentifier(s); (err == nil) != (want == nil) {
			t.Errorf("strict %q: %v", s, err)
		}
	}
	for _, s := range []string{"", "1.2.156.3005.2", "1.2.156.3005.2.A.B.C.001", "1.2.156.3005.2.A.B.C.001.D.E", "1.2.156.3005.3.A.B.C.001.D",
		"1.2.156.3005.2.A.B.C.01.D", "1.2.156.3005.2.A.B.C.0x1.D", "1.2.156.3005.2.A..C.001.D", "1.2.156.3005.2.A.B.C.001.-", "1.2.156.3005.2.A.B.甲.001.D",
		"1.2.156.3005.2.A.B.C.+01.D", string(make([]byte, 300))} {
		if _, _, err := code.ReadIdentifier(s); err == nil {
			t.Errorf("%q was read", s)
		}
	}
}

func TestNewIdentifier(t *testing.T) {
	id, err := code.NewIdentifier("11100000000013338W011", "11430000006122244L", "20230000403", 1)
	if err != nil || id.Check != 'U' || id.Version != "001" {
		t.Fatalf("%v %v", id, err)
	}
	back, err := code.ParseIdentifier(id.String())
	if err != nil || back != id {
		t.Errorf("%v %v", back, err)
	}
	for name, f := range map[string]func() (code.Identifier, error){
		"version 0":    func() (code.Identifier, error) { return code.NewIdentifier(id.TypeCode, id.Issuer, id.Serial, 0) },
		"version 1000": func() (code.Identifier, error) { return code.NewIdentifier(id.TypeCode, id.Issuer, id.Serial, 1000) },
		"region":       func() (code.Identifier, error) { return code.NewIdentifier(id.TypeCode, "340100", id.Serial, 1) },
		"lower case":   func() (code.Identifier, error) { return code.NewIdentifier(id.TypeCode, id.Issuer, "a", 1) },
		"dot":          func() (code.Identifier, error) { return code.NewIdentifier(id.TypeCode, id.Issuer, "1.1", 1) },
		"no serial":    func() (code.Identifier, error) { return code.NewIdentifier(id.TypeCode, id.Issuer, "", 1) },
		"type code":    func() (code.Identifier, error) { return code.NewIdentifier("21", id.Issuer, id.Serial, 1) },
	} {
		if _, err := f(); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

// ISO 7064 MOD 37,36: each single wrong character is noticed.
func TestCheck37FindsSlips(t *testing.T) {
	const s = "11100000000013338W01111430000006122244L20230000403001"
	want, err := code.Check37(s)
	if err != nil || want != 'U' {
		t.Fatalf("%c %v", want, err)
	}
	for i := range s {
		for _, c := range []byte("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") {
			b := []byte(s)
			if b[i] == c {
				continue
			}
			b[i] = c
			if got, _ := code.Check37(string(b)); got == want {
				t.Errorf("position %d as %c passes", i, c)
			}
		}
	}
	if _, err := code.Check37("a"); !errors.Is(err, code.ErrCharacter) {
		t.Error(err)
	}
}

func TestSeedsExist(t *testing.T) {
	if files, err := filepath.Glob("testdata/fuzz/FuzzIdentifier/*"); err != nil || len(files) < 4 {
		t.Errorf("%d seeds (%v)", len(files), err)
	}
	if _, err := os.Stat("testdata/fuzz"); err != nil {
		t.Error(err)
	}
}

// FuzzIdentifier: what parses strictly is written the same again; what is read tolerantly without a warning parses.
func FuzzIdentifier(f *testing.F) {
	f.Add("1.2.156.3005.2.11100000000013338W011.11430000006122244L.20230000403.001.U")
	f.Fuzz(func(t *testing.T, s string) {
		id, warnings, err := code.ReadIdentifier(s)
		strict, strictErr := code.ParseIdentifier(s)
		if (err == nil && warnings == nil) != (strictErr == nil) {
			t.Fatalf("read %v %v, parse %v", warnings, err, strictErr)
		}
		if strictErr == nil && (strict.String() != s || strict != id) {
			t.Fatalf("%s became %s", s, strict)
		}
	})
}
