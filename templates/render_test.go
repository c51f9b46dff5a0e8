package templates

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/elicence/elicence/signer/pdf"
)

// Resume after a crash draws a part again and the recorded signature must still fit: the same input gives the same
// bytes, also beside other parts and from writers that have drawn other things before.
func TestSameInputSameBytes(t *testing.T) {
	all := births(t)
	first := map[string][]byte{}
	for i := range 12 {
		for _, part := range []string{"main", "counterfoil"} {
			first[fmt.Sprint(i, part)] = rendered(t, partOf(all[i], part)).File
		}
	}
	again, err := Load(Options{})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for k := range 12 {
				i := (k*5 + worker) % 12
				for _, part := range []string{"counterfoil", "main"} {
					u, err := again.Render(partOf(all[i], part))
					if err != nil {
						t.Error(err)
						return
					}
					if !bytes.Equal(u.File, first[fmt.Sprint(i, part)]) {
						t.Errorf("birth %d, %s: other bytes than the first time", i, part)
					}
				}
			}
		})
	}
	wg.Wait()
}

// A failed part leaves nothing behind in the writer that draws the next one.
func TestErrorLeavesNoTrace(t *testing.T) {
	s := loaded(t)
	good := partOf(births(t)[0], "main")
	want := rendered(t, good).File
	bad := good
	bad.Document = with(t, good.Document, "/father/address", strings.Repeat("𠮷田", 300))
	for range 20 {
		if _, err := s.Render(bad); !errors.Is(err, ErrTooLong) {
			t.Fatalf("an address of 600 characters: %v", err)
		}
		if !bytes.Equal(rendered(t, good).File, want) {
			t.Fatal("other bytes after a failure")
		}
	}
}

// What is written is what signer/pdf reads: the room, the digest, the embedded values, names and times.
func TestReaderTakesEveryPart(t *testing.T) {
	parts := []Part{childbirth(t)}
	for i, d := range births(t) {
		if i%9 == 0 {
			parts = append(parts, partOf(d, "main"), partOf(d, "counterfoil"))
		}
	}
	for _, specimen := range []bool{true, false} {
		for _, p := range parts {
			p.Specimen = specimen
			p.LicenceJSON = []byte(`{"identifier":"` + p.Identifier + `","part":"` + p.Part + `"}`)
			u := rendered(t, p)
			if u.File[u.ContentsAt] != '<' || u.File[u.ContentsAt+u.ContentsLen-1] != '>' || u.ContentsLen != 2*p.Room+2 {
				t.Fatal("ContentsAt and ContentsLen are not the Contents token")
			}
			digest := pdf.Digest(u.File, u.ContentsAt, u.ContentsLen)
			cms := append([]byte{0x30, 0x82, 0x05, 0x00}, bytes.Repeat([]byte{0x5A}, 0x500)...)
			if err := pdf.Fill(u.File, u.ContentsAt, cms); err != nil {
				t.Fatal(err)
			}
			d, err := pdf.Read(u.File)
			if err != nil {
				t.Fatalf("%s %s: %v", p.Type, p.Part, err)
			}
			if d.Digest != digest || !bytes.Equal(d.CMS, cms) || !bytes.Equal(d.LicenceJSON, p.LicenceJSON) || d.Room != p.Room ||
				d.SignerName != p.SignerName || d.Identifier != p.Identifier || !d.SignedAt.Equal(p.SigningTime) {
				t.Errorf("%s %s: what is read is not what was written", p.Type, p.Part)
			}
		}
	}
}

func TestPartsThatCannotBeDrawn(t *testing.T) {
	s := loaded(t)
	for name, change := range map[string]func(*Part){
		"no such type":      func(p *Part) { p.Type = "driving-licence" },
		"no such part":      func(p *Part) { p.Part = "stub" },
		"no room":           func(p *Part) { p.Room = 0 },
		"no licence.json":   func(p *Part) { p.LicenceJSON = nil },
		"no signing time":   func(p *Part) { p.SigningTime = time.Time{} },
		"room without end":  func(p *Part) { p.Room = 1 << 30 },
		"slip without slip": func(p *Part) { p.Type = "childbirth-certificate"; p.Part = "slip" },
	} {
		p := partOf(births(t)[0], "main")
		change(&p)
		if _, err := s.Render(p); !errors.Is(err, ErrPart) {
			t.Errorf("%s: %v", name, err)
		}
	}
	p := childbirth(t)
	if _, err := s.Slip(p); !errors.Is(err, ErrPart) {
		t.Errorf("a type without slip: %v", err)
	}
	long := partOf(births(t)[0], "main")
	long.Code = strings.Repeat("A", 3000)
	if _, err := s.Render(long); !errors.Is(err, ErrTooLong) {
		t.Errorf("a code beyond version 20: %v", err)
	}
}

func TestTypes(t *testing.T) {
	s := loaded(t)
	if got := s.Types(); !slices.Equal(got, []string{"birth-certificate", "childbirth-certificate"}) {
		t.Errorf("types: %v", got)
	}
	typ, err := s.Type("birth-certificate")
	if err != nil || typ.Title.ZH != "出生医学证明" {
		t.Errorf("birth-certificate: %v %v", typ, err)
	}
	if _, err := s.Type("x"); !errors.Is(err, ErrPart) {
		t.Errorf("an unknown type: %v", err)
	}
}
