package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/elicence/elicence/hsm/softkey"
	"github.com/elicence/elicence/signer/credential"
	"github.com/elicence/elicence/signer/pdf"
)

// pageText is what a reader sees on the page, and can copy from it.
func pageText(t *testing.T, file string) string {
	t.Helper()
	b, err := exec.CommandContext(t.Context(), "pdftotext", "-layout", "-enc", "UTF-8", file, "-").Output()
	if err != nil {
		t.Fatalf("pdftotext %s: %v", file, err)
	}
	return string(b)
}

// No file of a demonstration can be taken for a real one: the mark is on the page, in licence.json, in the credential,
// in the certificate and in the verdict, of every part of every kind, and on the slip.
func TestEveryDemonstrationFileIsMarked(t *testing.T) {
	t.Parallel()
	data, s := copyOf(t, issued), demonstrationScheme()
	childbirth := filepath.Join(t.TempDir(), "childbirth.jsonl")
	if err := os.WriteFile(childbirth, []byte(`{"licenceType":"childbirth-certificate","kind":"first","businessId":"C-1","mother":{"name":"夏曦瑾",`+
		`"birthDate":"2003-12-20","nationality":"CHN","ethnicGroup":"汉族","idType":"resident-id-card","idNumber":"310196200312200309",`+
		`"address":"上海市杨浦区沪太路623弄98号109室"},"delivery":{"at":"2026-10-13T05:31:00+08:00","mode":"vaginal","outcome":"live-birth",`+
		`"gestation":{"weeks":40,"days":5},"children":1},"attendant":"龙欣景"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	people := []string{"--as", s.hospitals[0].Code + "/clerk-1", "--approver", "seal-1"}
	must(t, data, append([]string{"issue", "--births", childbirth}, people...)...)
	must(t, data, append([]string{"replace", "X000000002", "--grounds", "lost", "--business", "R-1"}, people...)...)
	must(t, data, append([]string{"exchange", "X000000003", "--grounds", "damaged", "--returned", "main,counterfoil", "--business", "X-1"}, people...)...)
	out := filepath.Join(t.TempDir(), "out")
	must(t, data, "export", "--all", "--out", out)
	parts, err := filepath.Glob(filepath.Join(out, "*.pdf"))
	if err != nil || len(parts) != 2*issuedCount+1+2+2 {
		t.Fatalf("%d parts, %v", len(parts), err)
	}
	for _, file := range parts {
		name := filepath.Base(file)
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		part, err := pdf.Read(b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		values, err := credential.ParseDisclosure(part.LicenceJSON)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		signed, err := credential.Parse(values.Credential)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !values.Specimen || !signed.Payload.Specimen {
			t.Errorf("%s: the mark is in licence.json: %v, in the credential: %v", name, values.Specimen, signed.Payload.Specimen)
		}
		if text := pageText(t, file); !strings.Contains(text, "样张") || !strings.Contains(text, "SPECIMEN") {
			t.Errorf("%s: the page does not say that it is a specimen", name)
		}
		c := call(t.Context(), "nowhere", systemClock, "verify", "--trust", filepath.Join(out, "trust.json"), file)
		if !strings.HasPrefix(strings.TrimSpace(c.stdout), "样张 SPECIMEN") {
			t.Errorf("%s: the verdict does not begin with the mark: %s", name, c.stdout)
		}
	}
	i, err := appAt(data, systemClock, io.Discard, io.Discard).openForReading(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer i.close()
	for _, e := range i.keyring.all() {
		if !e.certificate.Demonstration() {
			t.Errorf("the certificate of %s %s is not marked", e.organisation, e.label)
		}
	}
	l, err := i.db.ByNumber(t.Context(), "X000000001")
	if err != nil {
		t.Fatal(err)
	}
	slip, err := i.service.Slip(l)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "slip.pdf")
	if err := os.WriteFile(file, slip, 0o644); err != nil {
		t.Fatal(err)
	}
	if text := pageText(t, file); !strings.Contains(text, "样张") || !strings.Contains(text, "SPECIMEN") {
		t.Error("the slip does not say that it is a specimen")
	}
}

// Somebody who owns the whole demonstration and calls it a production one in its settings still gets no file without the
// mark: the certificates carry it, and the self-check refuses what does not agree with them.
func TestADemonstrationChainSignsNothingWithoutTheMark(t *testing.T) {
	t.Parallel()
	data, s := copyOf(t, fresh), demonstrationScheme()
	secret := []byte("one for all")
	stores, err := filepath.Glob(filepath.Join(data, "keystores", "*.keystore"))
	if err != nil || len(stores) < 10 {
		t.Fatalf("%d keystores, %v", len(stores), err)
	}
	for _, path := range stores {
		old, err := readPassphrase(filepath.Join(data, "secrets", strings.TrimSuffix(filepath.Base(path), ".keystore")+".passphrase"))
		if err != nil {
			t.Fatal(err)
		}
		k, err := softkey.Open(t.Context(), path, old)
		if err != nil {
			t.Fatal(err)
		}
		if err := k.ChangePassphrase(secret, strings.NewReader(strings.Repeat("salt", 64))); err != nil {
			t.Fatal(err)
		}
		if err := k.Save(); err != nil {
			t.Fatal(err)
		}
		k.Close()
	}
	passphrase := filepath.Join(t.TempDir(), "passphrase")
	if err := os.WriteFile(passphrase, secret, 0o600); err != nil {
		t.Fatal(err)
	}
	settings := filepath.Join(data, configFile)
	b, err := os.ReadFile(settings)
	if err != nil {
		t.Fatal(err)
	}
	forged := strings.Replace(string(b), "demonstration: true", "demonstration: false", 1)
	if forged == string(b) {
		t.Fatal("the settings do not say that this is a demonstration")
	}
	if err := os.WriteFile(settings, []byte(forged), 0o644); err != nil {
		t.Fatal(err)
	}
	hospital := s.hospitals[0].Code
	issue := []string{"issue", "--births", birthsOf(t, 1, 1), "--as", hospital + "/clerk-1", "--approver", "seal-1", "--approver-passphrase-file",
		filepath.Join(data, "secrets", hospital, "seal-1.passphrase"), "--passphrase-file", passphrase}
	// First with the trust file of the demonstration, then with one that calls the root a production root.
	for _, prepare := range [][]string{{"list"}, {"trust", "publish"}} {
		must(t, data, append(prepare, "--passphrase-file", passphrase)...)
		c := call(t.Context(), data, systemClock, issue...)
		if c.code == exitYes || !strings.Contains(c.stderr, "SPECIMEN") {
			t.Errorf("issue after %v: exit %d, %s%s", prepare, c.code, c.stdout, c.stderr)
		}
		out := filepath.Join(t.TempDir(), "out")
		must(t, data, "export", "--all", "--out", out, "--passphrase-file", passphrase)
		if left, _ := filepath.Glob(filepath.Join(out, "*.pdf")); len(left) != 0 {
			t.Errorf("%d files left the house", len(left))
		}
	}
	if parts, _ := filepath.Glob(filepath.Join(data, "objects", "objects", "*", "*")); len(parts) != 0 {
		t.Errorf("%d parts were stored", len(parts))
	}
}
