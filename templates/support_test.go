package templates

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"image"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/elicence/elicence/licence"
)

var loadOnce = sync.OnceValues(func() (*Set, error) { return Load(Options{}) })

// loaded is the set that ships with the program; tests only read it.
func loaded(t testing.TB) *Set {
	t.Helper()
	s, err := loadOnce()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// births are the synthetic births with whole numbers as a canonical request has them.
func births(t testing.TB) []map[string]any {
	t.Helper()
	f, err := os.Open("../testdata/births/births.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []map[string]any
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		d := json.NewDecoder(strings.NewReader(sc.Text()))
		d.UseNumber()
		var m map[string]any
		if err := d.Decode(&m); err != nil {
			t.Fatal(err)
		}
		all = append(all, whole(m).(map[string]any))
	}
	if len(all) == 0 {
		t.Fatal("no births")
	}
	return all
}

func whole(v any) any {
	switch v := v.(type) {
	case json.Number:
		n, _ := v.Int64()
		return n
	case map[string]any:
		for k := range v {
			v[k] = whole(v[k])
		}
	}
	return v
}

const (
	testNumber     = "A000000001"
	testIdentifier = "1.2.156.3005.2.11000000DEM000001H001.91310000MA1FL0AB1C.000000001.001.X"
	testIssuer     = "上海市闵行区妇幼保健院（演示）"
)

// testCode is as long as the code of a typical credential.
var testCode = "ELC1:" + strings.Repeat("6BFOXN5TLDWEYBN2Z$K.", 36)

// partOf is a part of the birth certificate, a specimen.
func partOf(document map[string]any, name string) Part {
	index := 1
	if name == "counterfoil" {
		index = 2
	}
	return Part{
		Type: "birth-certificate", Part: name, PartIndex: index, Parts: 2, Document: document,
		Number: testNumber, Identifier: testIdentifier,
		Issuer:      licence.Organisation{Code: "91310000MA1FL0AB1C", Name: testIssuer, Region: "310112", Kind: licence.Hospital},
		IssueTime:   time.Date(2026, 12, 14, 9, 30, 0, 0, licence.Zone),
		SigningTime: time.Date(2026, 12, 14, 9, 30, 1, 0, licence.Zone),
		SignerName:  testIssuer, Code: testCode,
		LicenceJSON: []byte(`{"fields":[` + strings.Repeat(`{"pointer":"/mother/name","salt":"0123456789abcdef0123456789abcdef","value":"夏曦瑾"},`, 40) + `{}]}`),
		Room:        2300, Specimen: true, DocumentKind: "first",
	}
}

// childbirth is a part of the second type.
func childbirth(t testing.TB) Part {
	p := partOf(map[string]any{
		"mother": births(t)[3]["mother"], "attendant": "谢博伊", "birthCertificate": testNumber,
		"delivery": map[string]any{
			"admittedAt": "2026-10-12", "at": "2026-10-13T05:31:00+08:00", "dischargedAt": "2026-10-16", "mode": "vaginal",
			"outcome": "live-birth", "gestation": map[string]any{"weeks": int64(40), "days": int64(5)}, "children": int64(1), "difficult": false,
		},
	}, "certificate")
	p.Type, p.Parts = "childbirth-certificate", 1
	return p
}

func rendered(t testing.TB, p Part) *Unsigned {
	t.Helper()
	u, err := loaded(t).Render(p)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// stored writes a file for the programs that judge it.
func stored(t testing.TB, b []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "part.pdf")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// run calls a judge and returns what it says; a judge that is missing or unhappy is a failure, never a skip.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	var out, complaints bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", name, err, out.String(), complaints.String())
	}
	return out.String()
}

// complaints is run for a judge whose exit code says that it found something.
func complaints(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", name, err)
	}
	return string(out)
}

// picture draws the page with poppler.
func picture(t testing.TB, file string, dpi int) image.Image {
	t.Helper()
	return detail(t, file, dpi, 0, 0, 0, 0)
}

// detail draws what lies in a box of millimetres; the whole page if it has no width.
func detail(t testing.TB, file string, dpi int, x, y, w, h float64) image.Image {
	t.Helper()
	out := filepath.Join(t.TempDir(), "page")
	args := []string{"-r", strconv.Itoa(dpi), "-png", "-singlefile"}
	for i, v := range []float64{x, y, w, h} {
		if w > 0 {
			args = append(args, [...]string{"-x", "-y", "-W", "-H"}[i], strconv.Itoa(int(v*float64(dpi)/25.4)))
		}
	}
	run(t, "pdftoppm", append(args, file, out)...)
	f, err := os.Open(out + ".png")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// cut is the part of a picture that lies in a box of millimetres.
func cut(m image.Image, dpi, x, y, w, h float64) image.Image {
	k := dpi / 25.4
	return m.(interface {
		SubImage(image.Rectangle) image.Image
	}).SubImage(image.Rect(int(x*k), int(y*k), int((x+w)*k), int((y+h)*k)))
}

// with returns a deep copy of a document with one value changed.
func with(t testing.TB, document map[string]any, pointer string, value any) map[string]any {
	t.Helper()
	b, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var out map[string]any
	if err := d.Decode(&out); err != nil {
		t.Fatal(err)
	}
	whole(out)
	m := out
	keys := strings.Split(pointer, "/")[1:]
	for _, key := range keys[:len(keys)-1] {
		m = m[key].(map[string]any)
	}
	m[keys[len(keys)-1]] = value
	return out
}
