package pdf_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emmansun/gmsm/sm3"

	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/signer/cms"
	"github.com/elicence/elicence/signer/credential"
	"github.com/elicence/elicence/signer/pdf"
	"github.com/elicence/elicence/signer/purpose"
	"github.com/elicence/elicence/signer/signertest"
	"github.com/elicence/elicence/templates"
)

const (
	identifier = "1.2.156.3005.2.11000000DEM000001H001.91350100M000100Y43.A000000001.001.X"
	number     = "A000000001"
)

var signedAt = time.Date(2026, 10, 14, 9, 30, 1, 0, licence.Zone)

// birth is line n of the synthetic births, with whole numbers as the canonical request has them.
func birth(tb testing.TB, n int) map[string]any {
	tb.Helper()
	f, err := os.Open(filepath.Join("..", "..", "testdata", "births", "births.jsonl"))
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	for ; n >= 0; n-- {
		if !sc.Scan() {
			tb.Fatal("not so many births")
		}
	}
	d := json.NewDecoder(strings.NewReader(sc.Text()))
	d.UseNumber()
	var m map[string]any
	if err := d.Decode(&m); err != nil {
		tb.Fatal(err)
	}
	return whole(m).(map[string]any)
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

func lookup(document any, pointer string) any {
	for _, key := range strings.Split(pointer, "/")[1:] {
		m, _ := document.(map[string]any)
		document = m[key]
	}
	if _, ok := document.(map[string]any); ok {
		return nil
	}
	return document
}

// made is a part as issuing makes it, with what it was made of.
type made struct {
	file       []byte
	contentsAt int
	chain      *signertest.Chain
	disclosure credential.Disclosure
	der        []byte
}

// load prepares the licence types that ship, or those of testdata.
func load(tb testing.TB) *templates.Set { return loadFrom(tb, nil) }

func loadFrom(tb testing.TB, types fs.FS) *templates.Set {
	tb.Helper()
	s, err := templates.Load(templates.Options{Types: types})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// issue makes one part the way of the whole program: credential, page, signature.
func issue(tb testing.TB, set *templates.Set, chain *signertest.Chain, n, part int) made {
	tb.Helper()
	return draw(tb, set, chain, "birth-certificate", birth(tb, n), part)
}

// small makes the smallest part: it needs no more than testdata has.
func small(tb testing.TB, chain *signertest.Chain) made {
	tb.Helper()
	return draw(tb, loadFrom(tb, os.DirFS(filepath.Join("testdata", "types"))), chain, "small", map[string]any{"name": "曹宸书", "count": int64(3)}, 0)
}

func draw(tb testing.TB, set *templates.Set, chain *signertest.Chain, name string, document map[string]any, part int) made {
	tb.Helper()
	typ, err := set.Type(name)
	if err != nil {
		tb.Fatal(err)
	}
	parts := make([]string, len(typ.Parts))
	for i, p := range typ.Parts {
		parts[i] = p.Name
	}
	m := made{chain: chain, disclosure: credential.Disclosure{
		Type: typ.Name, SchemaVersion: typ.SchemaVersion, Identifier: identifier, Number: number, Part: parts[part], PartIndex: part + 1,
		Parts: len(parts), Issuer: signertest.Code, Specimen: true, Handle: sm3.Sum([]byte("handle")), PartSalt: sm3.Sum([]byte(parts[part])),
	}}
	for _, pointer := range typ.Fields {
		m.disclosure.Fields = append(m.disclosure.Fields, credential.Field{Pointer: pointer,
			Salt: credential.FieldSalt(sm3.Sum([]byte("seed")), pointer), Value: lookup(document, pointer)})
	}
	root, err := m.disclosure.Root()
	if err != nil {
		tb.Fatal(err)
	}
	p := credential.Payload{Identifier: identifier, Number: number, Type: typ.Name, Parts: len(parts), Issuer: signertest.Code, IssueDate: "2026-10-14",
		StatusIndex: 123456, Specimen: true, TreeSize: len(m.disclosure.Fields), TreeRoot: root}
	for _, c := range typ.Clear {
		value := lookup(document, c.Pointer)
		if s, ok := value.(string); ok && c.Mask {
			value = credential.Mask(s)
		}
		p.Clear = append(p.Clear, credential.Clear{Key: c.Key, Value: value})
		m.disclosure.ClearSpec = append(m.disclosure.ClearSpec, credential.ClearField{Key: c.Key, Pointer: c.Pointer, Mask: c.Mask})
	}
	ctx := context.Background()
	if m.disclosure.Credential, err = credential.Sign(ctx, chain.Key, chain.Leaf, p); err != nil {
		tb.Fatal(err)
	}
	embedded, err := m.disclosure.Encode()
	if err != nil {
		tb.Fatal(err)
	}
	room, err := cms.Room(cms.PKCS7, chain.Path())
	if err != nil {
		tb.Fatal(err)
	}
	u, err := set.Render(templates.Part{Type: typ.Name, Part: parts[part], PartIndex: part + 1, Parts: len(parts), Document: document, Number: number,
		Identifier: identifier, Issuer: licence.Organisation{Code: signertest.Code, Name: "样例医院", Region: "310112"},
		IssueTime: signedAt, SigningTime: signedAt, SignerName: chain.Leaf.OrganisationName(), Code: credential.EncodeText(m.disclosure.Credential),
		LicenceJSON: embedded, Room: room, Specimen: true, DocumentKind: "first"})
	if err != nil {
		tb.Fatal(err)
	}
	attrs, err := cms.SignedAttributes(pdf.Digest(u.File, u.ContentsAt, u.ContentsLen), signedAt, chain.Path())
	if err != nil {
		tb.Fatal(err)
	}
	rs, err := chain.Key.Sign(ctx, purpose.CMSAttributes, attrs)
	if err != nil {
		tb.Fatal(err)
	}
	if m.der, err = cms.Assemble(cms.PKCS7, attrs, rs, chain.Path()); err != nil {
		tb.Fatal(err)
	}
	if err := pdf.Fill(u.File, u.ContentsAt, m.der); err != nil {
		tb.Fatal(err)
	}
	m.file, m.contentsAt = u.File, u.ContentsAt
	return m
}

// check is the reader's way as far as these packages go; nil means that nothing was found wrong.
func check(file []byte) error {
	d, err := pdf.Read(file)
	if err != nil {
		return err
	}
	s, err := cms.Parse(d.CMS)
	if err != nil {
		return err
	}
	if s.Digest != d.Digest {
		return errors.New("digest")
	}
	return s.Verify()
}

func TestReaderAndWriterAgree(t *testing.T) {
	set, chain := load(t), signertest.NewChain(t, "样例")
	for n := range 200 {
		for part := range 2 {
			if n%10 != 0 && part != n%2 {
				continue
			}
			m := issue(t, set, chain, n, part)
			d, err := pdf.Read(m.file)
			if err != nil {
				t.Fatal(n, part, err)
			}
			if err := check(m.file); err != nil {
				t.Fatal(n, part, err)
			}
			want, _ := m.disclosure.Encode()
			if !bytes.Equal(d.LicenceJSON, want) || !bytes.Equal(d.CMS, m.der) {
				t.Error("licence.json or CMS is not what was put in")
			}
			if d.Part != m.disclosure.Part || d.Identifier != identifier || d.IssuerName != "样例医院" || d.SignerName != chain.Leaf.OrganisationName() ||
				!d.SignedAt.Equal(signedAt) || d.Room < len(m.der) || d.Room > len(m.der)+8 {
				t.Errorf("%+v", d)
			}
			if n > 0 {
				continue
			}
			t.Logf("%s: %d bytes, credential %d bytes, licence.json %d, CMS %d, room %d", d.Title, len(m.file), len(m.disclosure.Credential), len(want), len(d.CMS), d.Room)
		}
	}
}

// The form is one for all licence types.
func TestEveryTypeAgrees(t *testing.T) {
	chain, set := signertest.NewChain(t, "样例"), load(t)
	m := draw(t, set, chain, "childbirth-certificate", map[string]any{
		"licenceType": "childbirth-certificate", "kind": "first", "businessId": "C1",
		"mother": map[string]any{"name": "吉𠮷", "birthDate": "1995-02-03", "nationality": "CHN", "ethnicGroup": "汉族", "idType": "resident-id-card",
			"idNumber": "310191199502030021", "address": "上海市闵行区莘庄镇"},
		"delivery": map[string]any{"at": "2026-10-13T05:31:00+08:00", "mode": "caesarean", "outcome": "live-birth",
			"gestation": map[string]any{"weeks": int64(40), "days": int64(5)}, "children": int64(1), "difficult": true},
	}, 0)
	if err := check(m.file); err != nil {
		t.Fatal(err)
	}
	if len(set.Types()) != 2 {
		t.Errorf("types that this test does not know: %v", set.Types())
	}
}

// A slip is drawn like a part and is none: nobody signed it.
func TestSlipIsNoPart(t *testing.T) {
	slip, err := load(t).Slip(templates.Part{Type: "birth-certificate", Part: "main", PartIndex: 1, Parts: 2, Document: birth(t, 0), Number: number,
		Identifier: identifier, Issuer: licence.Organisation{Code: signertest.Code, Name: "样例医院", Region: "310112"},
		IssueTime: signedAt, SigningTime: signedAt, SignerName: "样例医院", Code: "ELC1:BB8", Specimen: true, DocumentKind: "first"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pdf.Read(slip); !errors.Is(err, pdf.ErrNotOurs) {
		t.Error(err)
	}
}

func TestSmallestPart(t *testing.T) {
	m := small(t, signertest.NewChain(t, "样例"))
	if err := check(m.file); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes", len(m.file))
}

func writeFile(tb testing.TB, path string, b []byte) {
	tb.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		tb.Fatal(err)
	}
}

// Readers keep what they have seen of page content. What one has seen must not leak into what another says.
func TestReadersAtOnce(t *testing.T) {
	chain := signertest.NewChain(t, "样例")
	set := load(t)
	good := [][]byte{small(t, chain).file, issue(t, set, chain, 0, 0).file, issue(t, set, chain, 1, 1).file}
	bad := takeApart(t, small(t, chain))
	shared(draws("0 0 0 1 k\n"))(bad)
	refused := bad.build()
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for i := range 30 {
				if err := check(good[i%len(good)]); err != nil {
					t.Error(err)
				}
				if _, err := pdf.Read(refused); !errors.Is(err, pdf.ErrStructure) {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
}
