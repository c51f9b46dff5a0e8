package ledger_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/elicence/elicence/ledger"
	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/ledger/embedded"
	"github.com/elicence/elicence/ledger/ledgertest"
	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
)

// log is a World with a sequencer in memory, some licences, and a published checkpoint.
type log struct {
	*ledgertest.World
	*embedded.Sequencer
	store   *ledgertest.Memory
	tiles   *ledgertest.MemoryTiles
	dir     string
	licence *ledgertest.Licence // at index 7, with hand-over and acceptance after it
}

func newLog(t *testing.T) *log {
	l := &log{World: ledgertest.NewWorld(t, "ledger"), store: ledgertest.NewMemory(), tiles: ledgertest.NewMemoryTiles(), dir: t.TempDir()}
	l.Sequencer = embedded.New(l.store, l.tiles, l.LogKey, l.LogCertificate, ledgertest.Origin, l.Now)
	l.licence = l.Issue(l.Hospital)
	l.licence.HandOver(l.Hospital, l.Archive)
	l.licence.Accept(l.Archive)
	l.add(t, append(l.Founding(), l.licence.Events...)...)
	for range 5 {
		l.add(t, l.Issue(l.Agency).Last())
	}
	l.publish(t)
	return l
}

func (l *log) add(t *testing.T, events ...[]byte) {
	t.Helper()
	outcomes, err := l.Submit(t.Context(), events)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range outcomes {
		if o.Refusal != nil {
			t.Fatal(o.Refusal)
		}
	}
}

func (l *log) publish(t *testing.T) *ledger.Note {
	t.Helper()
	return ledgertest.Publish(t, l.World, l, l.dir)
}

func (l *log) receipt(t *testing.T, index uint64) *ledger.Receipt {
	t.Helper()
	b, err := l.Receipt(t.Context(), index)
	if err != nil {
		t.Fatal(err)
	}
	r, err := ledger.ParseReceipt(b)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const issuedIndex = 7

func TestReceiptProves(t *testing.T) {
	l := newLog(t)
	e, err := l.receipt(t, issuedIndex).Check(l.Trust())
	if err != nil {
		t.Fatal(err)
	}
	if e.Index != issuedIndex || e.Event.Event.Kind != contract.Issued || e.Event.Event.Handle != l.licence.Handle {
		t.Errorf("%+v", e)
	}
	if e.Actor.OrganisationCode() != l.Hospital.Code || e.Log.SM3() != l.LogCertificate.SM3() || e.Checkpoint.Size != 15 {
		t.Errorf("%+v", e)
	}
	if len(e.Cosigned) != 2 || e.CosignedAt != e.Cosigned[1].At || e.CosignedAt.Before(e.Cosigned[0].At) {
		t.Errorf("cosigned %+v at %s", e.Cosigned, e.CosignedAt)
	}
	if e.CosignedAt.Before(time.UnixMicro(e.Event.Event.Time).Truncate(time.Second)) {
		t.Errorf("proven at %s, before the event", e.CosignedAt)
	}
}

// TestReceiptNeedsOthersThanTheActor: law 6, a checkpoint proves time only if somebody else than the signer cosigned it.
func TestReceiptNeedsOthersThanTheActor(t *testing.T) {
	l := newLog(t)
	acceptance := l.receipt(t, issuedIndex+2) // signed by the archive, which is a cosigner
	trust := l.Trust()
	if _, err := acceptance.Check(trust); !errors.Is(err, ledger.ErrCosignatures) {
		t.Fatalf("two needed, one of them the actor's: %v", err)
	}
	trust.Needed = 1
	e, err := acceptance.Check(trust)
	if err != nil {
		t.Fatal(err)
	}
	if len(e.Cosigned) != 1 || e.Cosigned[0].Organisation != l.Police.Code || len(e.NotCounting) != 1 {
		t.Errorf("%+v", e)
	}
	trust.Cosigners = trust.Cosigners[1:] // only the archive left
	if _, err := acceptance.Check(trust); !errors.Is(err, ledger.ErrCosignatures) {
		t.Errorf("only the actor has cosigned: %v", err)
	}
	trust.Needed = 0
	if e, err = acceptance.Check(trust); err != nil || !e.CosignedAt.IsZero() {
		t.Errorf("none needed: %v, proven at %s", err, e.CosignedAt)
	}
}

// TestOneOrganisationCountsOnce: two keys of the police are one witness.
func TestOneOrganisationCountsOnce(t *testing.T) {
	l := newLog(t)
	second := ledgertest.NewKey("second police key", purpose.Checkpoints)
	cert := l.Certify(l.Police.Code, second, purpose.Checkpoints, 31)
	c, err := ledger.OpenCosigner(l.dir+"/second", "cosigner/police-2", second, cert, ledgertest.Origin, l.LogCertificate, l.Now)
	if err != nil {
		t.Fatal(err)
	}
	note, err := l.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if note, err = c.Cosign(t.Context(), note, l.Consistency); err != nil {
		t.Fatal(err)
	}
	if err := l.Publish(t.Context(), note); err != nil {
		t.Fatal(err)
	}
	trust := l.Trust()
	trust.Cosigners = []ledger.Party{{Name: "cosigner/police", Certificate: l.Police.Cosigning}, {Name: "cosigner/police-2", Certificate: cert}}
	if _, err := l.receipt(t, issuedIndex).Check(trust); !errors.Is(err, ledger.ErrCosignatures) {
		t.Errorf("two of one organisation: %v", err)
	}
}

func TestReceiptRefuses(t *testing.T) {
	l := newLog(t)
	other := ledgertest.NewWorld(t, "other scheme")
	for name, x := range map[string]struct {
		change func(r *ledger.Receipt, trust *ledger.Trust)
		want   error
	}{
		"another event":               {func(r *ledger.Receipt, _ *ledger.Trust) { r.Event = l.Issue(l.Hospital).Last() }, ledger.ErrUnproven},
		"no event":                    {func(r *ledger.Receipt, _ *ledger.Trust) { r.Event = []byte("event") }, ledger.ErrUnproven},
		"another index":               {func(r *ledger.Receipt, _ *ledger.Trust) { r.Index++ }, ledger.ErrUnproven},
		"a changed path":              {func(r *ledger.Receipt, _ *ledger.Trust) { r.Path[1][3] ^= 1 }, ledger.ErrUnproven},
		"a shorter path":              {func(r *ledger.Receipt, _ *ledger.Trust) { r.Path = r.Path[1:] }, ledger.ErrUnproven},
		"a longer path":               {func(r *ledger.Receipt, _ *ledger.Trust) { r.Path = append(r.Path, [32]byte{}) }, ledger.ErrUnproven},
		"forged event":                {func(r *ledger.Receipt, _ *ledger.Trust) { r.Event[len(r.Event)-1] ^= 1 }, ledger.ErrSignature},
		"the log's line changed":      {func(r *ledger.Receipt, _ *ledger.Trust) { r.Note.Lines[0].Value[40] ^= 1 }, ledger.ErrSignature},
		"the log's line missing":      {func(r *ledger.Receipt, _ *ledger.Trust) { r.Note.Lines = r.Note.Lines[1:] }, ledger.ErrSignature},
		"a cosignature changed":       {func(r *ledger.Receipt, _ *ledger.Trust) { r.Note.Lines[1].Value[40] ^= 1 }, ledger.ErrCosignatures},
		"a cosignature's time":        {func(r *ledger.Receipt, _ *ledger.Trust) { r.Note.Lines[1].Value[7] ^= 1 }, ledger.ErrCosignatures},
		"a cosignature's time 0":      {func(r *ledger.Receipt, _ *ledger.Trust) { binary.BigEndian.PutUint64(r.Note.Lines[1].Value, 0) }, ledger.ErrCosignatures},
		"a cosignature missing":       {func(r *ledger.Receipt, _ *ledger.Trust) { r.Note.Lines = r.Note.Lines[:2] }, ledger.ErrCosignatures},
		"a cosignature under another": {func(r *ledger.Receipt, _ *ledger.Trust) { r.Note.Lines[1].Name = "cosigner/other" }, ledger.ErrCosignatures},
		"no trusted log":              {func(_ *ledger.Receipt, t *ledger.Trust) { t.Logs = nil }, ledger.ErrUnknownLog},
		"another log":                 {func(_ *ledger.Receipt, t *ledger.Trust) { t.Logs[0].Name = "example.org/other" }, ledger.ErrUnknownLog},
		"another log's key":           {func(_ *ledger.Receipt, t *ledger.Trust) { t.Logs[0].Certificate = other.LogCertificate }, ledger.ErrSignature},
		"a cosigner's key as the log": {func(_ *ledger.Receipt, t *ledger.Trust) { t.Logs[0].Certificate = l.Police.Cosigning }, ledger.ErrSignature},
		"cosigners of another scheme": {func(_ *ledger.Receipt, t *ledger.Trust) { t.Cosigners[0].Certificate = other.Police.Cosigning }, ledger.ErrCosignatures},
		"unknown actor":               {func(_ *ledger.Receipt, t *ledger.Trust) { t.Actor = func([32]byte) *pki.Certificate { return nil } }, ledger.ErrUnknownLog},
		"no actors at all":            {func(_ *ledger.Receipt, t *ledger.Trust) { t.Actor = nil }, ledger.ErrUnknownLog},
		"somebody else's certificate": {func(_ *ledger.Receipt, t *ledger.Trust) {
			t.Actor = func([32]byte) *pki.Certificate { return l.Police.Certificate }
		}, ledger.ErrUnproven},
		"another certificate of the actor": {func(_ *ledger.Receipt, t *ledger.Trust) {
			t.Actor = func([32]byte) *pki.Certificate { return l.Hospital.Cosigning }
		}, ledger.ErrSignature},
	} {
		r, trust := l.receipt(t, issuedIndex), l.Trust()
		x.change(r, &trust)
		if strings.HasPrefix(name, "forged") { // the path must lead to the forged event for the signature to be reached
			if _, err := r.Check(trust); !errors.Is(err, ledger.ErrSignature) && !errors.Is(err, ledger.ErrUnproven) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if _, err := r.Check(trust); !errors.Is(err, x.want) {
			t.Errorf("%s: %v, want %v", name, err, x.want)
		}
	}
}

// TestCosignatureOutsideItsCertificate: a cosigner vouches only while its certificate is valid.
func TestCosignatureOutsideItsCertificate(t *testing.T) {
	l := newLog(t)
	trust := l.Trust()
	later := l.CertifyFor(l.Police.Code, l.Police.Checkpoints, purpose.Checkpoints, 32, l.Now().Add(time.Hour), l.Now().Add(2*time.Hour))
	trust.Cosigners[0].Certificate = later
	if _, err := l.receipt(t, issuedIndex).Check(trust); !errors.Is(err, ledger.ErrCosignatures) {
		t.Errorf("before the certificate: %v", err)
	}
}

func TestReceiptHasOneSpelling(t *testing.T) {
	l := newLog(t)
	good, err := l.Receipt(t.Context(), issuedIndex)
	if err != nil {
		t.Fatal(err)
	}
	r, err := ledger.ParseReceipt(good)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := ledger.EncodeReceipt(r); err != nil || !bytes.Equal(again, good) {
		t.Fatalf("%v", err)
	}
	for name, change := range map[string][2]string{
		"another version":       {"elicence/receipt/1", "elicence/receipt/2"},
		"carriage returns":      {"\n", "\r\n"},
		"index with a zero":     {"index 7", "index 07"},
		"index beyond the size": {"index 7", "index 15"},
		"no event":              {"event ", "entry "},
		"two spaces":            {"event ", "event  "},
		"a short dash":          {"— ", "- "},
		"no empty line":         {"\n\n", "\n"},
		"one more empty line":   {"\n\n", "\n\n\n"},
		"key names with plus":   {"cosigner/", "cosigner+"},
	} {
		b := strings.ReplaceAll(string(good), change[0], change[1])
		if _, err := ledger.ParseReceipt([]byte(b)); !errors.Is(err, ledger.ErrReceipt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, b := range map[string][]byte{
		"nothing": nil, "cut": good[:len(good)-1], "tail": append(bytes.Clone(good), 'x'), "tail line": append(bytes.Clone(good), '\n'),
		"large": append(bytes.Clone(good), make([]byte, ledger.MaxReceipt)...), "twice": append(bytes.Clone(good), good...),
	} {
		if _, err := ledger.ParseReceipt(b); !errors.Is(err, ledger.ErrReceipt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestNoByteOfAReceiptIsFree: whatever single byte is changed, the receipt does not pass.
func TestNoByteOfAReceiptIsFree(t *testing.T) {
	l := newLog(t)
	good, err := l.Receipt(t.Context(), issuedIndex)
	if err != nil {
		t.Fatal(err)
	}
	trust := l.Trust()
	for i := range good {
		for _, bit := range []byte{1, 0x20} {
			b := bytes.Clone(good)
			b[i] ^= bit
			r, err := ledger.ParseReceipt(b)
			if err != nil {
				continue
			}
			if _, err := r.Check(trust); err == nil {
				t.Fatalf("byte %d changed from %q to %q: passes", i, good[i], b[i])
			}
		}
	}
}

// TestLargestReceipt: the largest event, the longest path that a log can have in a thousand years, two cosignatures.
func TestLargestReceipt(t *testing.T) {
	value := func(n int) []byte { return bytes.Repeat([]byte{0xff}, n) }
	body, err := ledger.Checkpoint{Origin: strings.Repeat("o", 64), Size: 1 << 40, Root: [32]byte{1}, Time: contract.MaxTime}.Body()
	if err != nil {
		t.Fatal(err)
	}
	c, err := ledger.ParseCheckpoint(body)
	if err != nil {
		t.Fatal(err)
	}
	name := "cosigner/" + strings.Repeat("c", 18)
	r := &ledger.Receipt{Event: value(contract.MaxEvent), Index: 1<<40 - 1, Path: make([][32]byte, 40), Note: &ledger.Note{Checkpoint: c, Body: body,
		Lines: []ledger.Line{{Name: c.Origin, KeyID: 1, Value: value(64)}, {Name: name, KeyID: 2, Value: value(72)}, {Name: name, KeyID: 3, Value: value(72)}}}}
	b, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > 6<<10 {
		t.Errorf("%d bytes", len(b))
	}
	if _, err := ledger.ParseReceipt(b); err != nil {
		t.Error(err)
	}
	t.Logf("the largest receipt has %d bytes", len(b))
}

func TestNotes(t *testing.T) {
	l := newLog(t)
	n := l.publish(t)
	good := n.Encode()
	for name, b := range map[string]string{
		"no signature":     string(n.Body) + "\n",
		"body alone":       string(n.Body),
		"a line twice":     string(good) + strings.SplitAfter(string(good), "\n")[5],
		"a short value":    strings.Replace(string(good), "— "+ledgertest.Origin+" ", "— "+ledgertest.Origin+" "+base64.StdEncoding.EncodeToString(make([]byte, 3)), 1),
		"no name":          strings.Replace(string(good), "— "+ledgertest.Origin+" ", "—  ", 1),
		"no last newline":  strings.TrimSuffix(string(good), "\n"),
		"another unknown":  string(good) + "signed: yes\n",
		"too many lines":   string(good) + manyLines(20),
		"larger than ever": string(good) + manyLines(400),
	} {
		if _, err := ledger.ParseNote([]byte(b)); !errors.Is(err, ledger.ErrNote) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Lines of keys that nobody knows are allowed, and prove nothing.
	if more, err := ledger.ParseNote([]byte(string(good) + manyLines(3))); err != nil || more.VerifyLog(l.LogCertificate) != nil {
		t.Errorf("with unknown lines: %v", err)
	}
	if err := n.VerifyLog(l.Police.Cosigning); !errors.Is(err, ledger.ErrSignature) {
		t.Errorf("the log's line with another key: %v", err)
	}
	if _, err := n.VerifyCosignature("cosigner/police", l.Archive.Cosigning); !errors.Is(err, ledger.ErrSignature) {
		t.Errorf("a cosigner's line with another key: %v", err)
	}
	// A cosignature is none of the log's signatures, even with the same key and name: the types differ.
	forged := &ledger.Note{Checkpoint: n.Checkpoint, Body: n.Body}
	for _, line := range n.Lines {
		if len(line.Value) == 72 {
			forged.Lines = append(forged.Lines, ledger.Line{Name: ledgertest.Origin, KeyID: ledger.KeyID(ledgertest.Origin, ledger.LogSignature, l.Police.Cosigning.PublicKey()), Value: line.Value[8:]})
		}
	}
	if err := forged.VerifyLog(l.Police.Cosigning); !errors.Is(err, ledger.ErrSignature) {
		t.Errorf("a cosignature shown as the log's: %v", err)
	}
	other, err := ledger.ParseNote(good)
	if err != nil {
		t.Fatal(err)
	}
	other.Body = append([]byte("x"), other.Body...)
	if n.Merge(other) {
		t.Error("lines of another body were taken over")
	}
}

func manyLines(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "— unknown/%d %s\n", i, base64.StdEncoding.EncodeToString(make([]byte, 76)))
	}
	return b.String()
}
