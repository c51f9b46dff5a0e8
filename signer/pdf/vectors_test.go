package pdf_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/emmansun/gmsm/sm3"

	"github.com/elicence/elicence/signer/pdf"
	"github.com/elicence/elicence/signer/signertest"
)

var update = flag.Bool("update", false, "write the vectors anew")

// vector is one file and what must happen to it. Refused files are told by what they take from the accepted one: pieces
// are put one behind the other, a piece is either length bytes of base from an offset, or bytes of its own.
type vector struct {
	Name   string  `json:"name"`
	Expect string  `json:"expect"` // accepted; refused: claims to be a part and breaks the form
	Why    string  `json:"why"`
	Base   string  `json:"base"` // file beside this one
	Pieces []piece `json:"pieces,omitempty"`
}

type piece struct {
	From   int    `json:"from,omitempty"`
	Length int    `json:"length,omitempty"`
	Bytes  []byte `json:"bytes,omitempty"`
}

var vectorFolder = filepath.Join("..", "..", "testdata", "vectors", "part")

const (
	vectorBase = "small.pdf"
	vectorList = "part.json"
)

// file puts a vector's file together.
func (v vector) file(base []byte) []byte {
	if v.Pieces == nil {
		return base
	}
	var b []byte
	for _, p := range v.Pieces {
		b = append(append(b, base[p.From:p.From+p.Length]...), p.Bytes...)
	}
	return b
}

// pieces tells a file by another.
func pieces(base, file []byte) (out []piece) {
	const block = 24
	at := map[string]int{}
	for i := 0; i+block <= len(base); i++ {
		if key := string(base[i : i+block]); at[key] == 0 {
			at[key] = i
		}
	}
	var own []byte
	for i := 0; i < len(file); {
		from, ok := 0, false
		if i+block <= len(file) {
			from = at[string(file[i:i+block])]
			ok = bytes.Equal(base[from:from+block], file[i:i+block])
		}
		if !ok {
			own = append(own, file[i])
			i++
			continue
		}
		n := block
		for i+n < len(file) && from+n < len(base) && file[i+n] == base[from+n] {
			n++
		}
		if own != nil {
			out, own = append(out, piece{Bytes: own}), nil
		}
		out = append(out, piece{From: from, Length: n})
		i += n
	}
	if own != nil {
		out = append(out, piece{Bytes: own})
	}
	return out
}

func makeVectors(tb testing.TB) (base []byte, all []vector) {
	m := small(tb, signertest.NewChain(tb, "样例"))
	all = append(all, vector{Name: "small", Expect: "accepted", Why: "a part with one name, one number and a code", Base: vectorBase})
	add := func(name, why string, file []byte) {
		v := vector{Name: name, Expect: "refused", Why: why, Base: vectorBase, Pieces: pieces(m.file, file)}
		if !bytes.Equal(v.file(m.file), file) {
			tb.Fatalf("%s is not told rightly", name)
		}
		all = append(all, v)
	}
	for _, a := range attacks() {
		w := takeApart(tb, m)
		a.make(w)
		add(a.name, a.why, w.build())
	}
	add("later-revision", "a revision behind the signed one", append(slices.Clone(m.file), "9 0 obj\n<<>>\nendobj\n%%EOF\n"...))
	add("cut-in-half", "half of a file", m.file[:len(m.file)/2])
	damaged := slices.Clone(m.file)
	damaged[bytes.Index(damaged, []byte("/ELIC_Part"))+1] ^= 1
	add("claim-damaged", "one bit of the claim changed", damaged)
	return m.file, all
}

func readVectors(tb testing.TB) (base []byte, all []vector) {
	tb.Helper()
	base, err := os.ReadFile(filepath.Join(vectorFolder, vectorBase))
	if err != nil {
		tb.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(vectorFolder, vectorList))
	if err != nil {
		tb.Fatal(err)
	}
	if err := json.Unmarshal(b, &all); err != nil {
		tb.Fatal(err)
	}
	return base, all
}

func TestVectors(t *testing.T) {
	if *update {
		base, all := makeVectors(t)
		b, err := json.MarshalIndent(all, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(vectorFolder, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, b := range map[string][]byte{vectorBase: base, vectorList: append(b, '\n')} {
			if err := os.WriteFile(filepath.Join(vectorFolder, name), b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	base, all := readVectors(t)
	count := map[string]int{}
	for _, v := range all {
		count[v.Expect]++
		err := check(v.file(base))
		if v.Expect == "accepted" && err != nil {
			t.Errorf("%s was refused: %v", v.Name, err)
		}
		if v.Expect == "refused" && !errors.Is(err, pdf.ErrStructure) {
			t.Errorf("%s (%s): %v", v.Name, v.Why, err)
		}
	}
	if count["accepted"] < 1 || count["refused"] < 90 {
		t.Errorf("vectors are missing: %v", count)
	}
}

// FuzzRead holds what is read to its own bytes: putting the CMS that was found into the empty room gives the file again,
// and the digest is that of the file without its Contents.
func FuzzRead(f *testing.F) {
	base, all := readVectors(f)
	if len(all) < 90 {
		f.Fatalf("%d seeds: the vectors are missing", len(all))
	}
	for _, v := range all {
		if file := v.file(base); len(file) < 64<<10 {
			f.Add(file)
		}
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		was := slices.Clone(file)
		d, err := pdf.Read(file)
		if !bytes.Equal(file, was) {
			t.Fatal("reading changed the file")
		}
		if err != nil {
			if d != nil || errors.Is(err, pdf.ErrNotOurs) == errors.Is(err, pdf.ErrStructure) {
				t.Fatalf("%v, %v", d, err)
			}
			return
		}
		at := bytes.LastIndex(file, []byte("/Contents<")) + len("/Contents")
		size := bytes.IndexByte(file[at:], '>') + 1
		if whole, err := d.SM3(file); err != nil || whole != sm3.Sum(file) {
			t.Fatalf("the digest of the whole file is not its SM3 (%v)", err)
		}
		if size != 2+2*d.Room || d.Digest != pdf.Digest(file, at, size) {
			t.Fatalf("room %d, Contents %d", d.Room, size)
		}
		empty := slices.Clone(file)
		copy(empty[at+1:], bytes.Repeat([]byte("0"), size-2))
		if err := pdf.Fill(empty, at, d.CMS); err != nil || !bytes.Equal(empty, file) {
			t.Fatalf("the CMS that was read does not fill its room to the same file: %v", err)
		}
	})
}
