package verify_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emmansun/gmsm/sm3"

	"github.com/elicence/elicence/ledger"
	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/signer/cms"
	"github.com/elicence/elicence/signer/credential"
	"github.com/elicence/elicence/signer/pdf"
	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/templates"
	"github.com/elicence/elicence/verify/verifytest"
)

// signedAt is when the factory's licences are signed: a day after the scheme begins.
var signedAt = verifytest.Epoch.Add(24 * time.Hour)

// recipe says how a licence is made. Its zero value with a scheme is an honest birth certificate; every hostile test
// spoils one thing.
type recipe struct {
	scheme *verifytest.Scheme
	birth  int // line of testdata/births
	index  uint64

	issuer         *verifytest.Organisation // named as the issuer; default the scheme's hospital
	signer         *verifytest.Identity     // of the parts; default the issuer's documents key
	credentialBy   *verifytest.Identity     // default signer
	path           []*pki.Certificate       // embedded; default signer and the scheme's CA
	signingTime    time.Time                // default signedAt
	profile        cms.Profile
	number         string
	notSpecimen    bool // in the signed data
	payload        func(*credential.Payload)
	disclosure     func(*credential.Disclosure)
	credentialFrom *made // somebody else's credential in these parts
	event          func(*contract.Event)
	eventBy        *verifytest.Identity // default the issuer's events key
}

// made is a licence: two signed parts and what belongs to it.
type made struct {
	recipe
	parts      map[string][]byte
	document   map[string]any
	credential []byte
	code       string
	payload    credential.Payload
	disclosure map[string]credential.Disclosure
	event      []byte
}

var renderer = sync.OnceValues(func() (*templates.Set, error) { return templates.Load(templates.Options{}) })

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (r recipe) make(t testing.TB) *made {
	t.Helper()
	if r.issuer == nil {
		r.issuer = r.scheme.Hospital
	}
	if r.signer == nil {
		r.signer = &r.issuer.Documents
	}
	if r.credentialBy == nil {
		r.credentialBy = r.signer
	}
	if r.path == nil {
		r.path = []*pki.Certificate{r.signer.Certificate, r.scheme.Authority.CA}
	}
	if r.signingTime.IsZero() {
		r.signingTime = signedAt
	}
	if r.number == "" {
		r.number = fmt.Sprintf("X00%07d", r.birth+1)
	}
	if r.eventBy == nil {
		r.eventBy = &r.issuer.Events
	}
	m := &made{recipe: r, parts: map[string][]byte{}, disclosure: map[string]credential.Disclosure{}}
	m.document = births(t)[r.birth]
	set := must[*templates.Set](t)(renderer())
	typ := must[*licence.Type](t)(set.Type("birth-certificate"))
	seed := sm3.Sum([]byte(fmt.Sprint("seed ", r.birth, r.issuer.Code)))
	d := credential.Disclosure{Type: typ.Name, SchemaVersion: typ.SchemaVersion, Number: r.number, Parts: 2, Issuer: r.issuer.Code,
		Specimen: !r.notSpecimen, Handle: sm3.Sum(append([]byte("handle"), seed[:]...))}
	id, err := typ.Identifier(r.issuer.Code, uint64(r.birth+1), 1)
	if err != nil {
		t.Fatal(err)
	}
	d.Identifier = id.String()
	for _, pointer := range typ.Fields {
		d.Fields = append(d.Fields, credential.Field{Pointer: pointer, Salt: credential.FieldSalt(seed, pointer), Value: at(m.document, pointer)})
	}
	p := credential.Payload{Identifier: d.Identifier, Number: d.Number, Type: d.Type, Parts: d.Parts, Issuer: d.Issuer,
		IssueDate: "2026-11-02", StatusIndex: r.index, Specimen: d.Specimen, TreeSize: len(d.Fields)}
	p.TreeRoot = must[[32]byte](t)(d.Root())
	for _, c := range typ.Clear {
		value := at(m.document, c.Pointer)
		if s, ok := value.(string); ok && c.Mask {
			value = credential.Mask(s)
		}
		p.Clear = append(p.Clear, credential.Clear{Key: c.Key, Value: value})
		d.ClearSpec = append(d.ClearSpec, credential.ClearField{Key: c.Key, Pointer: c.Pointer, Mask: c.Mask})
	}
	if r.payload != nil {
		r.payload(&p)
	}
	m.payload = p
	m.credential = must[[]byte](t)(credential.Sign(context.Background(), r.credentialBy.Key, r.credentialBy.Certificate, p))
	if r.credentialFrom != nil {
		m.credential = r.credentialFrom.credential
	}
	m.code = credential.EncodeText(m.credential)
	d.Credential = m.credential
	event := contract.Event{Version: contract.Version, Kind: contract.Issued, Handle: d.Handle, Time: r.signingTime.UnixMicro(), Actor: r.issuer.Code}
	for i, part := range typ.Parts {
		d.Part, d.PartIndex, d.PartSalt = part.Name, i+1, sm3.Sum(append([]byte(part.Name), seed[:]...))
		mine := d
		if r.disclosure != nil {
			r.disclosure(&mine)
		}
		m.disclosure[part.Name] = mine
		file := m.sign(t, set, mine)
		m.parts[part.Name] = file
		event.Parts = append(event.Parts, contract.PartCommitment{Part: part.Name, Custody: part.Custody,
			Commitment: credential.PartCommitment(mine.PartSalt, sm3.Sum(file), mine.Identifier, part.Name)})
	}
	if r.event != nil {
		r.event(&event)
	}
	m.event = must[[]byte](t)(contract.SignEvent(context.Background(), r.eventBy.Key, r.eventBy.Certificate, event))
	return m
}

// sign draws and signs one part.
func (m *made) sign(t testing.TB, set *templates.Set, d credential.Disclosure) []byte {
	t.Helper()
	json := must[[]byte](t)(d.Encode())
	room := must[int](t)(cms.Room(m.profile, m.path))
	u := must[*templates.Unsigned](t)(set.Render(templates.Part{Type: "birth-certificate", Part: d.Part, PartIndex: d.PartIndex, Parts: d.Parts,
		Document: m.document, Number: d.Number, Identifier: d.Identifier,
		Issuer:    licence.Organisation{Code: m.issuer.Code, Name: m.issuer.Name, Kind: m.issuer.Kind, Region: m.issuer.Region},
		IssueTime: m.signingTime.In(licence.Zone), SigningTime: m.signingTime.In(licence.Zone), SignerName: m.issuer.Name, Code: m.code, LicenceJSON: json, Room: room,
		Specimen: true, DocumentKind: "first"}))
	m.fill(t, u.File, u.ContentsAt, u.ContentsLen)
	return u.File
}

// fill signs a file and writes the signature into its room.
func (m *made) fill(t testing.TB, file []byte, at, length int) {
	t.Helper()
	attributes := must[[]byte](t)(m.profile.SignedAttributes(pdf.Digest(file, at, length), m.signingTime, m.path))
	rs := must[[]byte](t)(m.signer.Key.SignAnything(attributes))
	der := must[[]byte](t)(cms.Assemble(m.profile, attributes, rs, m.path))
	if err := pdf.Fill(file, at, der); err != nil {
		t.Fatal(err)
	}
}

// births are the synthetic births, numbers as int64; read once, never written to.
func births(t testing.TB) []map[string]any {
	t.Helper()
	return must[[]map[string]any](t)(readBirths())
}

var readBirths = sync.OnceValues(func() ([]map[string]any, error) {
	f, err := os.Open("../testdata/births/births.jsonl")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all []map[string]any
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		d := json.NewDecoder(strings.NewReader(lines.Text()))
		d.UseNumber()
		var m map[string]any
		if err := d.Decode(&m); err != nil {
			return nil, err
		}
		whole(m)
		all = append(all, m)
	}
	return all, lines.Err()
})

func whole(m map[string]any) {
	for k, v := range m {
		switch v := v.(type) {
		case json.Number:
			n, err := strconv.ParseInt(v.String(), 10, 64)
			if err == nil {
				m[k] = n
			}
		case map[string]any:
			whole(v)
		}
	}
}

// at is the value under a JSON pointer, nil if there is none.
func at(document any, pointer string) any {
	for _, key := range strings.Split(pointer, "/")[1:] {
		m, ok := document.(map[string]any)
		if !ok {
			return nil
		}
		document = m[key]
	}
	return document
}

// cosigner vouches at a time; before may alter the line.
type cosigner struct {
	*verifytest.Organisation
	at time.Time
}

// log is how a receipt is made; the zero value is an honest one, cosigned by police and archive a minute and two after
// the signature.
type log struct {
	origin    string
	by        *verifytest.Identity // default the commission's checkpoint key
	cosigners []cosigner
	others    int // entries before and after
	at        time.Time
}

// receipt puts the licence's event into a log of its own and makes the receipt.
func (m *made) receipt(t testing.TB, l log) []byte {
	t.Helper()
	var before, after [][]byte
	for i := range l.others {
		before, after = append(before, []byte{byte(i)}), append(after, []byte{byte(i), 1})
	}
	return l.receipts(t, m, append(append(before, m.event), after...))[l.others]
}

// receipts makes a log of events, with the defaults of m's scheme and time, and a receipt of each.
func (l log) receipts(t testing.TB, m *made, events [][]byte) [][]byte {
	t.Helper()
	s := m.scheme
	if l.origin == "" {
		l.origin = verifytest.Origin
	}
	if l.by == nil {
		l.by = &s.Commission.Checkpoints
	}
	if l.at.IsZero() {
		l.at = m.signingTime
	}
	if l.cosigners == nil {
		l.cosigners = []cosigner{{s.Police, l.at.Add(time.Minute)}, {s.Archive, l.at.Add(2 * time.Minute)}}
	}
	var leaves [][32]byte
	for _, e := range events {
		leaves = append(leaves, ledger.LeafHash(e))
	}
	root, _ := tree(leaves, 0)
	body := must[[]byte](t)(ledger.Checkpoint{Origin: l.origin, Size: uint64(len(leaves)), Root: root, Time: l.at.UnixMicro()}.Body())
	note := must[*ledger.Note](t)(ledger.SignCheckpoint(context.Background(), l.by.Key, l.by.Certificate, body))
	for _, c := range l.cosigners {
		cosign(t, note, c.Organisation, verifytest.CosignerName(c.Organisation), c.at)
	}
	var out [][]byte
	for i, e := range events {
		_, path := tree(leaves, i)
		out = append(out, must[[]byte](t)((&ledger.Receipt{Event: e, Index: uint64(i), Path: path, Note: note}).Encode()))
	}
	return out
}

func cosign(t testing.TB, note *ledger.Note, o *verifytest.Organisation, name string, at time.Time) {
	t.Helper()
	rs := must[[]byte](t)(o.Checkpoints.Key.SignAnything(append(fmt.Appendf(nil, "cosignature/v1\ntime %d\n", at.Unix()), note.Body...)))
	note.Lines = append(note.Lines, ledger.Line{Name: name, KeyID: ledger.KeyID(name, ledger.Cosignature, o.Checkpoints.Key.Public()),
		Value: append(binary.BigEndian.AppendUint64(nil, uint64(at.Unix())), rs...)})
}

// addCosignature adds a line to a receipt.
func addCosignature(t testing.TB, receipt []byte, o *verifytest.Organisation, name string, at time.Time) []byte {
	t.Helper()
	r := must[*ledger.Receipt](t)(ledger.ParseReceipt(receipt))
	cosign(t, r.Note, o, name, at)
	return must[[]byte](t)(r.Encode())
}

// tree is RFC 6962, 2.1: the root of leaves and the path of one of them.
func tree(leaves [][32]byte, index int) (root [32]byte, path [][32]byte) {
	if len(leaves) == 1 {
		return leaves[0], nil
	}
	k := 1
	for 2*k < len(leaves) {
		k *= 2
	}
	var left, right [32]byte
	if index < k {
		left, path = tree(leaves[:k], index)
		right, _ = tree(leaves[k:], 0)
		path = append(path, right)
	} else {
		left, _ = tree(leaves[:k], 0)
		right, path = tree(leaves[k:], index-k)
		path = append(path, left)
	}
	copy(root[:], ledger.Hasher{}.HashChildren(left[:], right[:]))
	return root, path
}
