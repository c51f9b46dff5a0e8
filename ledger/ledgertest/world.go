// Package ledgertest is what a sequencer must do, whatever it stands on, and what a store of the embedded one must do. A
// driver that does not run these suites does not exist.
package ledgertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/big"
	"sync/atomic"
	"testing"
	"time"

	"github.com/elicence/elicence/ledger"
	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/signer/cose"
	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/sm3"
)

// Key is a private key in memory, derived from its label, that signs the same bytes alike each time: worlds and vectors
// can be made again. It is for tests only.
type Key struct {
	private *sm2.PrivateKey
	purpose purpose.Purpose
	fail    atomic.Bool
}

// ErrKey is what a key that was told to fail returns.
var ErrKey = errors.New("ledgertest: the key device is down")

// NewKey derives a key.
func NewKey(label string, p purpose.Purpose) *Key {
	for n := 0; ; n++ {
		d := sm3.Sum(fmt.Appendf(nil, "ledgertest %s %s %d", label, p, n))
		if k, err := sm2.NewPrivateKeyFromInt(new(big.Int).SetBytes(d[:])); err == nil {
			return &Key{private: k, purpose: p}
		}
	}
}

// Fail makes every later Sign fail, or not.
func (k *Key) Fail(yes bool) { k.fail.Store(yes) }

// Sign is signer.Key.
func (k *Key) Sign(ctx context.Context, form purpose.Form, message []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if k.fail.Load() {
		return nil, ErrKey
	}
	if !k.purpose.Allows(form) {
		return nil, fmt.Errorf("ledgertest: a key for %s does not sign %s", k.purpose, form)
	}
	if err := purpose.Check(form, message); err != nil {
		return nil, err
	}
	e, err := sm2.CalculateSM2Hash(&k.private.PublicKey, message, []byte("1234567812345678"))
	if err != nil {
		return nil, err
	}
	der, err := sm2.SignDeterministic(k.private, e, nil)
	if err != nil {
		return nil, err
	}
	return pki.SignatureRS(der)
}

// Organisation is somebody of a World.
type Organisation struct {
	Code        string
	Kind        contract.OrganisationKind
	Events      *Key // and its certificate
	Certificate *pki.Certificate
	Checkpoints *Key // for those who cosign
	Cosigning   *pki.Certificate
}

// Origin is the name of a World's log.
const Origin = "example.org/elicence/ledgertest"

// Epoch is when a World begins.
var epoch = time.Date(2026, 10, 1, 8, 0, 0, 0, time.FixedZone("UTC+8", 8*3600))

// World is a scheme: a registrar, organisations, the log's key, two cosigners, and a clock that moves one millisecond for
// each look. Everything in it is derived from its seed. It is safe for concurrent use.
type World struct {
	t     testing.TB
	seed  string
	ticks atomic.Int64

	Registrar, Hospital, OtherHospital, Agency, Police, Archive, OtherArchive Organisation

	LogKey         *Key
	LogCertificate *pki.Certificate

	handles atomic.Int64
}

// NewWorld makes a World.
func NewWorld(t testing.TB, seed string) *World {
	w := &World{t: t, seed: seed}
	w.Registrar = w.organisation("113100000000000001", contract.Commission)
	w.Hospital = w.organisation("123100000000000002", contract.Hospital)
	w.OtherHospital = w.organisation("123100000000000003", contract.Hospital)
	w.Agency = w.organisation("123100000000000004", contract.Agency)
	w.Police = w.organisation("113100000000000005", contract.Police)
	w.Archive = w.organisation("123100000000000006", contract.Archive)
	w.OtherArchive = w.organisation("123100000000000007", contract.Archive)
	w.LogKey = NewKey(seed+" log", purpose.Checkpoints)
	w.LogCertificate = w.Certify(w.Registrar.Code, w.LogKey, purpose.Checkpoints, 900)
	return w
}

// Organisations are all of them, the registrar first.
func (w *World) Organisations() []Organisation {
	return []Organisation{w.Registrar, w.Hospital, w.OtherHospital, w.Agency, w.Police, w.Archive, w.OtherArchive}
}

func (w *World) organisation(code string, kind contract.OrganisationKind) Organisation {
	o := Organisation{Code: code, Kind: kind, Events: NewKey(w.seed+code, purpose.Events), Checkpoints: NewKey(w.seed+code, purpose.Checkpoints)}
	o.Certificate = w.Certify(code, o.Events, purpose.Events, 1)
	o.Cosigning = w.Certify(code, o.Checkpoints, purpose.Checkpoints, 2)
	return o
}

// Certify makes a certificate that the World's CA signed, valid from the World's first day for ten years.
func (w *World) Certify(code string, k *Key, p purpose.Purpose, serial int64) *pki.Certificate {
	return w.CertifyFor(code, k, p, serial, epoch.Add(-time.Hour), epoch.AddDate(10, 0, 0))
}

// CertifyFor is Certify with a validity of one's own.
func (w *World) CertifyFor(code string, k *Key, p purpose.Purpose, serial int64, from, until time.Time) *pki.Certificate {
	w.t.Helper()
	ca := NewKey(w.seed+" ca", purpose.CertificateAuthority)
	root, err := pki.Issue(context.Background(), ca, nil, &ca.private.PublicKey, pki.Template{
		CommonName: "ledgertest", CA: true, NotBefore: from, NotAfter: until, SerialNumber: big.NewInt(1), Demonstration: true,
	}, bytes.NewReader(nil))
	if err != nil {
		w.t.Fatal(err)
	}
	c, err := pki.Issue(context.Background(), ca, root, &k.private.PublicKey, pki.Template{
		CommonName: code, OrganisationCode: code, Organisation: "ledgertest", Purpose: p, NotBefore: from, NotAfter: until,
		SerialNumber: big.NewInt(serial), Demonstration: true,
	}, bytes.NewReader(nil))
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// Now is the World's clock.
func (w *World) Now() time.Time {
	return epoch.Add(time.Duration(w.ticks.Add(1)) * time.Millisecond)
}

// Advance moves the clock.
func (w *World) Advance(d time.Duration) { w.ticks.Add(int64(d / time.Millisecond)) }

// Handle returns a new licence handle.
func (w *World) Handle() [32]byte {
	return sm3.Sum(fmt.Appendf(nil, "%s handle %d", w.seed, w.handles.Add(1)))
}

// Sign fills version, actor and, if it is not set, time in, and has o sign.
func (w *World) Sign(o Organisation, e contract.Event) []byte {
	w.t.Helper()
	e.Version, e.Actor = contract.Version, o.Code
	if e.Time == 0 {
		e.Time = w.Now().UnixMicro()
	}
	b, err := contract.SignEvent(context.Background(), o.Events, o.Certificate, e)
	if err != nil {
		w.t.Fatalf("sign %s: %v", e.Kind, err)
	}
	return b
}

// Enrol is the registrar's enrolment of o.
func (w *World) Enrol(o Organisation) []byte {
	return w.Sign(w.Registrar, contract.Event{
		Kind: contract.Enrolled, Enrolment: &contract.Enrolment{Code: o.Code, Kind: o.Kind, Certificate: o.Certificate.Raw()},
	})
}

// Founding enrols everybody: the first entries of a log.
func (w *World) Founding() [][]byte {
	var events [][]byte
	for _, o := range w.Organisations() {
		events = append(events, w.Enrol(o))
	}
	return events
}

// Parts of a birth certificate, with commitments that depend on the handle.
func Parts(handle [32]byte) []contract.PartCommitment {
	return []contract.PartCommitment{
		{Part: "main", Commitment: sm3.Sum(append(handle[:], "main"...)), Custody: contract.Family},
		{Part: "counterfoil", Commitment: sm3.Sum(append(handle[:], "counterfoil"...)), Custody: contract.Transferable},
		{Part: "stub", Commitment: sm3.Sum(append(handle[:], "stub"...)), Custody: contract.Issuer},
	}
}

// Licence is one licence's events as they are made.
type Licence struct {
	w      *World
	Handle [32]byte
	Events [][]byte
}

// Issue begins a licence.
func (w *World) Issue(by Organisation) *Licence {
	l := &Licence{w: w, Handle: w.Handle()}
	l.Events = append(l.Events, w.Sign(by, contract.Event{Kind: contract.Issued, Handle: l.Handle, Parts: Parts(l.Handle)}))
	return l
}

// Last is the newest event.
func (l *Licence) Last() []byte { return l.Events[len(l.Events)-1] }

// Make signs an event of the licence that follows its last one, without adding it.
func (l *Licence) Make(by Organisation, e contract.Event) []byte {
	e.Handle = l.Handle
	if e.Previous == [32]byte{} {
		e.Previous = contract.Hash(l.Last())
	}
	return l.w.Sign(by, e)
}

// Then signs an event and adds it.
func (l *Licence) Then(by Organisation, e contract.Event) []byte {
	l.Events = append(l.Events, l.Make(by, e))
	return l.Last()
}

// HandOver offers the counterfoil.
func (l *Licence) HandOver(by, to Organisation) []byte {
	return l.Then(by, contract.Event{Kind: contract.HandedOver, Part: "counterfoil", Counterparty: to.Code})
}

// Accept takes the counterfoil.
func (l *Licence) Accept(by Organisation) []byte {
	return l.Then(by, contract.Event{Kind: contract.Accepted, Part: "counterfoil"})
}

// Reject sends the counterfoil back.
func (l *Licence) Reject(by Organisation) []byte {
	return l.Then(by, contract.Event{Kind: contract.Rejected, Part: "counterfoil", Reason: "incomplete"})
}

// Register registers the household.
func (l *Licence) Register(by Organisation) []byte {
	return l.Then(by, contract.Event{Kind: contract.Registered})
}

// Revoke ends the licence.
func (l *Licence) Revoke(by Organisation) []byte {
	return l.Then(by, contract.Event{Kind: contract.Revoked, Reason: "wrongly-issued"})
}

// SupersededBy ends the licence in favour of another.
func (l *Licence) SupersededBy(by Organisation, next *Licence) []byte {
	return l.Then(by, contract.Event{Kind: contract.Superseded, Successor: next.Handle, Reason: "exchange"})
}

// Trust is what a reader of this World trusts: the log, police and archive as cosigners, both needed.
func (w *World) Trust() ledger.Trust {
	actors := map[[32]byte]*pki.Certificate{}
	for _, o := range w.Organisations() {
		actors[o.Certificate.SM3()] = o.Certificate
	}
	return ledger.Trust{
		Logs:      []ledger.Party{{Name: Origin, Certificate: w.LogCertificate}},
		Cosigners: []ledger.Party{{Name: "cosigner/police", Certificate: w.Police.Cosigning}, {Name: "cosigner/archive", Certificate: w.Archive.Cosigning}},
		Needed:    2,
		Actor:     func(sm3 [32]byte) *pki.Certificate { return actors[sm3] },
	}
}

// Cosigner opens the cosigner of an organisation with its state in dir.
func (w *World) Cosigner(dir, name string, o Organisation) *ledger.Cosigner {
	w.t.Helper()
	c, err := ledger.OpenCosigner(dir+"/"+o.Code, "cosigner/"+name, o.Checkpoints, o.Cosigning, Origin, w.LogCertificate, w.Now)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// SignPayload has o sign a payload that contract.SignEvent would refuse: what only a forger makes.
func (w *World) SignPayload(o Organisation, payload []byte) []byte {
	w.t.Helper()
	p := cose.Protected{Type: contract.Type, Certificate: o.Certificate.SM3()}
	message, err := cose.ToBeSigned(p, purpose.AADEvent, payload)
	if err != nil {
		w.t.Fatal(err)
	}
	rs, err := o.Events.Sign(context.Background(), purpose.Event, message)
	if err != nil {
		w.t.Fatal(err)
	}
	b, err := cose.Assemble(p, payload, rs)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}
