package verify_test

import (
	"bytes"
	"context"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/elicence/elicence/verify"
	"github.com/elicence/elicence/verify/status"
	"github.com/elicence/elicence/verify/trust"
	"github.com/elicence/elicence/verify/verifytest"
)

// issued are the files of testdata/issued/1, made once by TestIssuedFilesVerifyForEver -update: whatever the writers
// become, readers must go on accepting these. Fuzzing starts from them.
type issued struct {
	v        *verify.Verifier
	files    [][]byte // the first three are parts that pass
	receipts [2][]byte
	codes    []string // the first two pass
}

const issuedFolder = "../testdata/issued/1/"

func readIssued(t testing.TB) issued {
	t.Helper()
	read := func(name string) []byte { return must[[]byte](t)(os.ReadFile(issuedFolder + name)) }
	list := must[*status.List](t)(status.Parse(read("status.json")))
	pin := must[trust.SM3](t)(trust.ParseSM3(strings.TrimSpace(string(read("trust.pin")))))
	v := must[*verify.Verifier](t)(verify.New(must[*trust.File](t)(trust.Parse(read("trust.json"))),
		verify.Options{Pin: &pin, Status: list, Now: func() time.Time { return signedAt.Add(2 * time.Hour) }}))
	set := issued{v: v, files: [][]byte{read("X000000001-main.pdf"), read("X000000001-counterfoil.pdf"), read("X000000193-main.pdf")},
		receipts: [2][]byte{read("X000000001.receipt"), read("X000000193.receipt")}}
	main := set.files[0]
	set.files = append(set.files, main[:len(main)/2], []byte("%PDF-1.7\n%\xE2\xE3\xCF\xD3\n1 0 obj\n<</Type/Catalog/ELIC_Part 1>>\nendobj\n"), []byte("%PDF-1.4\n%%EOF\n"))
	set.codes = strings.Split(string(read("codes.txt")), "\n")[:2]
	set.codes = append(set.codes, set.codes[0][:50], "ELC1:", "https://example.org")
	return set
}

var update = flag.Bool("update", false, "issue the files of testdata/issued anew")

func writeIssued(t testing.TB) {
	t.Helper()
	s := verifytest.New(t, "issued")
	a, b := recipe{scheme: s, index: 17}.make(t), recipe{scheme: s, birth: 192, index: 18, issuer: s.Other}.make(t)
	receipts := log{}.receipts(t, a, [][]byte{{1}, a.event, {2}, b.event, {3}})
	pin := trust.SM3(s.Trust(nil).Pin())
	for name, content := range map[string][]byte{
		"trust.json": s.TrustFile(nil), "trust.pin": []byte(pin.String() + "\n"), "status.json": s.StatusFile(signedAt.Add(time.Hour), nil),
		a.number + "-main.pdf": a.parts["main"], a.number + "-counterfoil.pdf": a.parts["counterfoil"], a.number + ".receipt": receipts[1],
		b.number + "-main.pdf": b.parts["main"], b.number + ".receipt": receipts[3], "codes.txt": []byte(a.code + "\n" + b.code + "\n"),
	} {
		if err := os.WriteFile(issuedFolder+name, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// wholeReport holds any report to what every report must be.
func wholeReport(t *testing.T, r *verify.Report) {
	t.Helper()
	s := r.Signature
	switch {
	case s.Indication != verify.Passed && s.Indication != verify.Failed && s.Indication != verify.Indeterminate:
		t.Fatalf("no indication: %q", s.Indication)
	case (s.Indication == verify.Passed) != (s.SubIndication == ""):
		t.Fatalf("%s with reason %q", s.Indication, s.SubIndication)
	case s.ZH == "" || s.EN == "" || r.Status.ZH == "" || r.Status.EN == "" || r.Trust == nil:
		t.Fatal("an answer without a sentence, or on nobody's word")
	case s.Indication == verify.Failed && !r.Ours:
		t.Fatal("somebody else's file failed")
	case s.Indication == verify.Failed && (r.Status.State != verify.Unknown || len(r.Fields) > 0):
		t.Fatal("a file that failed has a status or shows values")
	case r.Ours && !r.Specimen:
		t.Fatal("a demonstration is not called a specimen")
	}
	if _, err := r.JSON(true); err != nil {
		t.Fatal(err)
	}
	if err := r.WriteText(&bytes.Buffer{}, true); err != nil {
		t.Fatal(err)
	}
}

// Only the very bytes that were signed pass.
func FuzzFile(f *testing.F) {
	set := readIssued(f)
	for _, file := range set.files {
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		r := set.v.File(context.Background(), file, nil)
		wholeReport(t, r)
		if !r.Passed() {
			return
		}
		for _, good := range set.files[:3] {
			if bytes.Equal(good, file) {
				return
			}
		}
		t.Fatal("a file passes that nobody signed")
	})
}

// A receipt proves a time only if every byte of it is one that was made, save that cosignature lines may be left out or
// stand in another order.
func FuzzReceipt(f *testing.F) {
	set := readIssued(f)
	for _, r := range set.receipts {
		f.Add(r)
	}
	f.Add(set.receipts[0][:200])
	f.Fuzz(func(t *testing.T, receipt []byte) {
		if len(receipt) == 0 {
			return
		}
		r := set.v.File(context.Background(), set.files[0], receipt)
		wholeReport(t, r)
		proves := !r.ProvenAt.IsZero()
		if proves != r.Passed() {
			t.Fatalf("proven %v and %s", proves, r.Signature.Indication)
		}
		if !proves {
			return
		}
		for _, line := range bytes.SplitAfter(receipt, []byte("\n")) {
			if !bytes.Contains(set.receipts[0], line) {
				t.Fatalf("a line proves that nobody wrote: %q", line)
			}
		}
	})
}

// Only codes that were signed pass.
func FuzzCode(f *testing.F) {
	set := readIssued(f)
	for _, c := range set.codes {
		f.Add(c)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r := set.v.Code(context.Background(), text)
		wholeReport(t, r)
		if r.Passed() && text != set.codes[0] && text != set.codes[1] {
			t.Fatal("a code passes that nobody signed")
		}
	})
}

// The files of testdata/issued pass, as they did on the day they were issued, and no fuzz target starts from nothing.
func TestIssuedFilesVerifyForEver(t *testing.T) {
	if *update {
		writeIssued(t)
	}
	set := readIssued(t)
	for i, file := range set.files {
		if r := set.v.File(context.Background(), file, nil); r.Passed() != (i < 3) {
			t.Errorf("file %d: %s; %s", i, r.Signature.Indication, open(r))
		}
	}
	for i, file := range [][]byte{set.files[0], set.files[2]} {
		if r := set.v.File(context.Background(), file, set.receipts[i]); !r.Good() || r.ProvenAt.IsZero() {
			t.Errorf("receipt %d proves nothing: %s", i, open(r))
		}
	}
	for i, c := range set.codes {
		if r := set.v.Code(context.Background(), c); r.Passed() != (i < 2) {
			t.Errorf("code %d: %s", i, r.Signature.Indication)
		}
	}
}
