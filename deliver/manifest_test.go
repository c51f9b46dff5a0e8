package deliver

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/emmansun/gmsm/sm3"
	"github.com/google/go-cmp/cmp"

	"github.com/elicence/elicence/due"
	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/verify/verifytest"
)

var update = flag.Bool("update", false, "write the vector anew")

const vectorFile = "../testdata/vectors/delivery/delivery.json"

// vector is the worked example of docs/formats/delivery.md.
type vector struct {
	Certificate string            `json:"certificate"` // DER, hexadecimal, as all bytes here
	Payload     string            `json:"payload"`
	ToBeSigned  string            `json:"toBeSigned"`
	Manifest    string            `json:"manifest"`
	Files       map[string]string `json:"files"` // text
}

// house is a hospital that delivers and a police office that receives.
type house struct {
	*verifytest.Scheme
	sender *verifytest.Organisation
}

func newHouse(t testing.TB) *house {
	t.Helper()
	s := verifytest.New(t, "delivery")
	return &house{s, s.Hospital}
}

// document has small files in the place of PDFs: nobody here looks into them.
func (h *house) document() Document {
	return Document{Sender: h.sender.Code, Number: "X000000001", Identifier: "1.2.156.3005.2.123100000000000002.00000000001.001.X",
		Licence: "birth-certificate", Files: []Attachment{
			{File: File{Name: "X000000001-main.pdf", Role: RolePart, Part: "main", MediaType: "application/pdf"}, Bytes: []byte("main page\n")},
			{File: File{Name: "X000000001-counterfoil.pdf", Role: RolePart, Part: "counterfoil", MediaType: "application/pdf"}, Bytes: []byte("counterfoil\n")},
			{File: File{Name: "X000000001.receipt", Role: RoleReceipt, MediaType: "text/plain"}, Bytes: []byte("receipt\n")},
		}}
}

func (h *house) job() due.Job {
	return due.Job{ID: 1, Key: "00112233445566778899aabbccddeeff", Topic: TopicParts, Lane: h.Police.Code, Licence: strings.Repeat("ab", 16), Number: "X000000001"}
}

var noon = time.Date(2026, 11, 5, 4, 0, 0, 123_000, time.UTC)

func (h *house) pack(t testing.TB) Parcel {
	t.Helper()
	p, err := Pack(t.Context(), houseKeys{h}, h.job(), h.document(), noon)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func bytesOf(p Parcel) map[string][]byte {
	files := map[string][]byte{}
	for _, f := range p.Files {
		files[f.Name] = f.Bytes
	}
	return files
}

func TestAManifestIsReadAsItWasWritten(t *testing.T) {
	h := newHouse(t)
	p := h.pack(t)
	s, err := Parse(p.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	want := Manifest{Key: h.job().Key, Topic: TopicParts, Time: noon, Sender: h.sender.Code, Receiver: h.Police.Code,
		Number: "X000000001", Identifier: h.document().Identifier, Licence: "birth-certificate"}
	for _, f := range p.Files {
		f.File.Size, f.File.SM3 = int64(len(f.Bytes)), sm3.Sum(f.Bytes)
		want.Files = append(want.Files, f.File)
	}
	if diff := cmp.Diff(want, s.Manifest); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := s.Verify(h.sender.Events.Certificate); err != nil {
		t.Error(err)
	}
	if err := s.CheckFiles(bytesOf(p)); err != nil {
		t.Error(err)
	}
}

// Whoever changes one bit of a manifest, signs with another key, or swaps, drops, adds or changes a file is found out.
func TestChangedDeliveriesAreRefused(t *testing.T) {
	h := newHouse(t)
	p := h.pack(t)
	good := h.sender.Events.Certificate
	n := 0
	verifytest.Mutations(p.Manifest, func(at int, changed []byte) {
		n++
		s, err := Parse(changed)
		if err == nil {
			err = s.Verify(good)
		}
		if !errors.Is(err, ErrManifest) && !errors.Is(err, ErrSignature) {
			t.Errorf("changed at %d: %v", at, err)
		}
	})
	if n < len(p.Manifest) {
		t.Fatalf("%d changes", n)
	}
	s, err := Parse(p.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*pki.Certificate{
		"police's": h.Police.Events.Certificate, "documents key's": h.sender.Documents.Certificate,
	} {
		if err := s.Verify(c); !errors.Is(err, ErrSignature) {
			t.Errorf("held to the %s certificate: %v", name, err)
		}
	}
	if _, err := Sign(t.Context(), h.Police.Events.Key, h.Police.Events.Certificate, s.Manifest); !errors.Is(err, ErrSignature) {
		t.Errorf("signed for another: %v", err)
	}
	if _, err := Sign(t.Context(), h.sender.Documents.Key, h.sender.Documents.Certificate, s.Manifest); !errors.Is(err, ErrSignature) {
		t.Errorf("signed with a documents key: %v", err)
	}
	for name, change := range map[string]func(map[string][]byte){
		"a file less":     func(f map[string][]byte) { delete(f, "X000000001.receipt") },
		"a file more":     func(f map[string][]byte) { f["more"] = nil },
		"another name":    func(f map[string][]byte) { f["other"] = f["X000000001.receipt"]; delete(f, "X000000001.receipt") },
		"another content": func(f map[string][]byte) { f["X000000001.receipt"] = []byte("Receipt\n") },
		"swapped parts": func(f map[string][]byte) {
			f["X000000001-main.pdf"], f["X000000001-counterfoil.pdf"] = f["X000000001-counterfoil.pdf"], f["X000000001-main.pdf"]
		},
	} {
		files := bytesOf(p)
		change(files)
		if err := s.CheckFiles(files); !errors.Is(err, ErrFiles) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestManifestsAreHeldToTheirForm(t *testing.T) {
	h := newHouse(t)
	for name, change := range map[string]func(m *Manifest){
		"a short key":             func(m *Manifest) { m.Key = "0011" },
		"a key in capitals":       func(m *Manifest) { m.Key = strings.ToUpper(m.Key) },
		"an unknown topic":        func(m *Manifest) { m.Topic = "lunch" },
		"no sender":               func(m *Manifest) { m.Receiver = "" },
		"a receiver with a slash": func(m *Manifest) { m.Receiver = "1231000000000000/2" },
		"no number":               func(m *Manifest) { m.Number = "" },
		"no time":                 func(m *Manifest) { m.Time = time.Time{} },
		"no files":                func(m *Manifest) { m.Files = nil },
		"too many files":          func(m *Manifest) { m.Files = make([]File, MaxFiles+1) },
		"a name twice":            func(m *Manifest) { m.Files[1].Name = m.Files[0].Name },
		"the manifest's name":     func(m *Manifest) { m.Files[0].Name = ManifestName },
		"a name that climbs":      func(m *Manifest) { m.Files[0].Name = "../x" },
		"a hidden name":           func(m *Manifest) { m.Files[0].Name = ".x" },
		"a name like an option":   func(m *Manifest) { m.Files[0].Name = "-x" },
		"a name with a quote":     func(m *Manifest) { m.Files[0].Name = `a"b` },
		"no name":                 func(m *Manifest) { m.Files[0].Name = "" },
		"an unknown role":         func(m *Manifest) { m.Files[0].Role = "lunch" },
		"a part without name":     func(m *Manifest) { m.Files[0].Part = "" },
		"a receipt of a part":     func(m *Manifest) { m.Files[2].Part = "main" },
		"a negative size":         func(m *Manifest) { m.Files[0].Size = -1 },
		"no media type":           func(m *Manifest) { m.Files[0].MediaType = "" },
	} {
		s, err := Parse(h.pack(t).Manifest)
		if err != nil {
			t.Fatal(err)
		}
		change(&s.Manifest)
		if b, err := Sign(t.Context(), h.sender.Events.Key, h.sender.Events.Certificate, s.Manifest); !errors.Is(err, ErrManifest) {
			t.Errorf("%s is signed: %x, %v", name, b, err)
		}
	}
	for name, b := range map[string][]byte{"nothing": nil, "text": []byte("manifest"), "too much": make([]byte, MaxManifest+1)} {
		if _, err := Parse(b); !errors.Is(err, ErrManifest) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The vector stands in the document and must be read for ever.
func TestVector(t *testing.T) {
	h := newHouse(t)
	if *update {
		p := h.pack(t)
		s, err := Parse(p.Manifest)
		if err != nil {
			t.Fatal(err)
		}
		v := vector{Certificate: hex.EncodeToString(h.sender.Events.Certificate.Raw()), Payload: hex.EncodeToString(s.message.Payload),
			ToBeSigned: hex.EncodeToString(s.message.ToBeSigned("elicence/delivery/1")), Manifest: hex.EncodeToString(p.Manifest), Files: map[string]string{}}
		for name, b := range bytesOf(p) {
			v.Files[name] = string(b)
		}
		b, err := json.MarshalIndent(v, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(vectorFile), 0o755), os.WriteFile(vectorFile, append(b, '\n'), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	var v vector
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	unhex := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	s, err := Parse(unhex(v.Manifest))
	if err != nil {
		t.Fatal(err)
	}
	cert, err := pki.ParseCertificate(unhex(v.Certificate))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(cert); err != nil {
		t.Error(err)
	}
	files := map[string][]byte{}
	for name, text := range v.Files {
		files[name] = []byte(text)
	}
	if err := s.CheckFiles(files); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(s.message.Payload, unhex(v.Payload)) || !bytes.Equal(s.message.ToBeSigned("elicence/delivery/1"), unhex(v.ToBeSigned)) {
		t.Error("payload or signed message is another")
	}
	if again, err := s.encode(); err != nil || !bytes.Equal(again, s.message.Payload) {
		t.Errorf("what was read is written otherwise: %v", err)
	}
	document, err := os.ReadFile("../docs/formats/delivery.md")
	if err != nil {
		t.Fatal(err)
	}
	joined := strings.ReplaceAll(string(document), "\n", "")
	for name, want := range map[string]string{"payload": v.Payload, "toBeSigned": v.ToBeSigned, "manifest": v.Manifest, "key": s.Key} {
		if !strings.Contains(joined, want) {
			t.Errorf("docs/formats/delivery.md does not have the vector's %s", name)
		}
	}
	for _, f := range s.Files {
		if !strings.Contains(joined, hex.EncodeToString(f.SM3[:])) || !strings.Contains(joined, f.Name) {
			t.Errorf("docs/formats/delivery.md does not have the vector's file %s", f.Name)
		}
	}
}

func TestSeeds(t *testing.T) {
	names, err := filepath.Glob("testdata/fuzz/FuzzParse/*")
	if err != nil {
		t.Fatal(err)
	}
	good := 0
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		quoted, ok := bytes.CutPrefix(b, []byte("go test fuzz v1\n[]byte("))
		seed, err := strconv.Unquote(string(bytes.TrimSuffix(quoted, []byte(")\n"))))
		if !ok || err != nil {
			t.Fatalf("%s is no seed: %v", name, err)
		}
		if _, err := Parse([]byte(seed)); err == nil {
			good++
		}
	}
	if good == 0 || good == len(names) {
		t.Errorf("%d of %d seeds are read: some must be, and some not", good, len(names))
	}
}

// FuzzParse: what is read is written to the same bytes, and nothing makes the reader panic.
func FuzzParse(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Parse(b)
		if err != nil {
			if !errors.Is(err, ErrManifest) {
				t.Fatalf("no reason that callers know: %v", err)
			}
			return
		}
		again, err := s.encode()
		if err != nil || !bytes.Equal(again, s.message.Payload) {
			t.Fatalf("read and written otherwise: %v", err)
		}
		for _, f := range s.Files {
			if !isFileName(f.Name) || filepath.Base(f.Name) != f.Name {
				t.Fatalf("a file would lie at %q", f.Name)
			}
		}
	})
}
