package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/elicence/elicence/licence/code"
)

// The whole city: init makes every organisation with its keystore, people and stock, secrets that only the owner reads,
// and the births file as it is finds its issuers by the place of birth.
func TestInitAndTheWholeBirthsFile(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "deep", "data")
	must(t, data, "init")
	all := demonstrationScheme().all()
	for _, o := range all {
		if err := code.SocialCredit(o.Code); err != nil {
			t.Errorf("%s: %v", o.Name, err)
		}
		if _, err := os.Stat(filepath.Join(data, "keystores", o.Code+".keystore")); err != nil {
			t.Error(err)
		}
	}
	for _, private := range []string{"keystores", "secrets"} {
		err := filepath.WalkDir(filepath.Join(data, private), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			i, err := d.Info()
			if err == nil && i.Mode().Perm()&0o077 != 0 {
				t.Errorf("others may look at %s: %v", strings.TrimPrefix(path, data), i.Mode())
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(data), ".elicence-init-*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	says(t, "init again", call(t.Context(), data, systemClock, "init"), exitNo, "already")
	says(t, "audit", call(t.Context(), data, systemClock, "ledger", "audit", "--json"), exitYes, `"clean": true`)

	report, file := filepath.Join(t.TempDir(), "report.jsonl"), birthsFile
	lines, err := births(1, 200, "")
	if err != nil {
		t.Fatal(err)
	}
	if underRace {
		lines, file = lines[:40], filepath.Join(t.TempDir(), "births.jsonl")
		if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	must(t, data, "issue", "--births", file, "--report", report)
	issuers := map[string]string{} // region and kind → code
	for _, o := range all {
		issuers[o.Region+o.Kind] = o.Code
	}
	answers := numbersIn(t, report)
	if len(answers) != len(lines) {
		t.Fatalf("%d births were issued, want %d", len(answers), len(lines))
	}
	for _, a := range answers {
		var b struct {
			Child struct {
				PlaceType  string
				BirthPlace struct{ RegionCode string }
			}
		}
		if err := json.Unmarshal([]byte(lines[a.Line-1]), &b); err != nil {
			t.Fatal(err)
		}
		kind := "hospital"
		if p := b.Child.PlaceType; p == "home" || p == "other" {
			kind = "agency"
		}
		if want := issuers[b.Child.BirthPlace.RegionCode+kind]; want == "" || !strings.Contains(a.Identifier, "."+want+".") {
			t.Errorf("line %d was issued as %s, want the %s of %s", a.Line, a.Identifier, kind, b.Child.BirthPlace.RegionCode)
		}
	}
	says(t, "books", call(t.Context(), data, systemClock, "number", "reconcile", "--json"), exitYes)
	says(t, "audit", call(t.Context(), data, systemClock, "ledger", "audit", "--json"), exitYes, fmt.Sprintf(`"licences": %d`, len(lines)))
	out := filepath.Join(t.TempDir(), "out")
	must(t, data, "export", "--all", "--out", out)
	if made, _ := filepath.Glob(filepath.Join(out, "*.pdf")); len(made) != 2*len(lines) {
		t.Errorf("%d files were exported of %d births", len(made), len(lines))
	}
}
