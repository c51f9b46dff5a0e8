package contract

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
)

// Verdict is the answer for one event of a batch.
type Verdict struct {
	Hash    [32]byte
	Refusal *Refusal // nil: accepted
	Event   *Signed  // nil if the bytes are no event
}

// Judge decides, in order, which events of a batch may stand after what the State says and after the accepted events
// before them in the batch. It returns one verdict for each event and what the accepted ones change in the State; it
// changes nothing itself. The same State and batch give the same verdicts and writes, everywhere. An error means that
// nothing was decided: the State could not be read or is damaged.
func Judge(ctx context.Context, s State, batch [][]byte) ([]Verdict, map[string][]byte, error) {
	return NewCourt(0).Judge(ctx, s, batch)
}

// Court judges batches and remembers parsed certificates between them; a certificate is named by the SM3 of its bytes,
// so remembering changes no verdict. It is safe for concurrent use.
type Court struct {
	mu    sync.Mutex
	known map[[32]byte]*pki.Certificate
	limit int
}

// NewCourt makes a Court that remembers at most limit certificates.
func NewCourt(limit int) *Court {
	return &Court{known: map[[32]byte]*pki.Certificate{}, limit: limit}
}

func (c *Court) certificate(sm3 [32]byte, der []byte) *pki.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k, ok := c.known[sm3]; ok {
		return k
	}
	k, err := pki.ParseCertificate(der)
	if err != nil || k.SM3() != sm3 {
		k = nil
	}
	if k != nil && c.limit > 0 {
		if len(c.known) >= c.limit {
			clear(c.known)
		}
		c.known[sm3] = k
	}
	return k
}

// Keys are the State keys that judging the batch may read, each once: a store can fetch them in one go. Bytes that are no
// events read nothing.
func Keys(batch [][]byte) []string {
	var keys []string
	seen := map[string]bool{}
	add := func(k string) {
		if !seen[k] {
			seen[k] = true
			keys = append(keys, k)
		}
	}
	add(keyRegistrar)
	for _, b := range batch {
		s, r := parseEvent(b)
		if r != nil {
			continue
		}
		for _, k := range s.keys() {
			add(k)
		}
	}
	return keys
}

func (s *Signed) keys() []string {
	e := &s.Event
	keys := []string{keyCertificate(s.Certificate)}
	switch e.Kind {
	case Enrolled, Withdrawn:
		keys = append(keys, keyRegistrar, keyOrganisation(e.Enrolment.Code), keyCertificate(Hash(e.Enrolment.Certificate)))
	case AuditAnchored:
		keys = append(keys, keyAnchor(e.Actor))
	case HandedOver:
		keys = append(keys, keyLicence(e.Handle), keyOrganisation(e.Counterparty))
	case Superseded:
		keys = append(keys, keyLicence(e.Handle), keyLicence(e.Successor), keyPredecessor(e.Successor))
	default:
		keys = append(keys, keyLicence(e.Handle))
	}
	return keys
}

// Admit is a sequencer's own condition: whether it takes this event, signed by an organisation of this kind, from whoever
// sent it. It is asked when everything about the signer has been found right, before the rules of custody are. It must be
// as pure as the contract.
type Admit func(s *Signed, kind OrganisationKind) *Refusal

// SentByAnother is the refusal of an Admit that does not take such an organisation's events from that sender.
func SentByAnother() *Refusal { return refuse(RuleSentByAnother) }

// SubmissionTolerance is how far an event may be ahead of the time at which it was submitted.
const SubmissionTolerance = 10 * time.Minute

// TooFarAhead is the refusal of an Admit for an event of a later time than it was submitted at, nil for every other event.
func TooFarAhead(s *Signed, submitted time.Time) *Refusal {
	if s.Event.Time > submitted.Add(SubmissionTolerance).UnixMicro() {
		return refuse(RuleTimeAhead)
	}
	return nil
}

// Judge is the function Judge with this Court's memory.
func (c *Court) Judge(ctx context.Context, s State, batch [][]byte) ([]Verdict, map[string][]byte, error) {
	return c.JudgeAdmitted(ctx, s, batch, nil)
}

// JudgeAdmitted is Judge of what admit lets pass; nil lets everything pass.
func (c *Court) JudgeAdmitted(ctx context.Context, s State, batch [][]byte, admit Admit) ([]Verdict, map[string][]byte, error) {
	if admit == nil {
		admit = func(*Signed, OrganisationKind) *Refusal { return nil }
	}
	verdicts := make([]Verdict, len(batch))
	parallel(len(batch), func(i int) {
		verdicts[i].Hash = Hash(batch[i])
		verdicts[i].Event, verdicts[i].Refusal = parseEvent(batch[i])
	})
	l := newLedger(s)
	if err := c.verify(ctx, l, verdicts); err != nil {
		return nil, nil, err
	}
	for i := range verdicts {
		v := &verdicts[i]
		if v.Event == nil {
			continue
		}
		forged := v.Refusal
		var err error
		if v.Refusal, err = c.judge(ctx, l, v.Event, forged, admit); err != nil {
			return nil, nil, err
		}
	}
	return verdicts, l.writes, nil
}

// verify checks all signatures at once, on all cores: this is where the time goes. Which certificate an event names is
// fixed by its SM3, so this may run before the order decides whether that certificate was enrolled. A signature that
// fails is put down as refusal; a certificate that is nowhere is left to judge.
func (c *Court) verify(ctx context.Context, l *ledger, verdicts []Verdict) error {
	offered := map[[32]byte][]byte{}
	for i := range verdicts {
		if s := verdicts[i].Event; s != nil && s.Event.Kind == Enrolled {
			offered[Hash(s.Event.Enrolment.Certificate)] = s.Event.Enrolment.Certificate
		}
	}
	certificates := map[[32]byte]*pki.Certificate{}
	for i := range verdicts {
		s := verdicts[i].Event
		if s == nil {
			continue
		}
		if _, done := certificates[s.Certificate]; done {
			continue
		}
		der := offered[s.Certificate]
		if der == nil {
			r, err := load[certificateRecord](ctx, l, keyCertificate(s.Certificate))
			if err != nil {
				return err
			}
			if r != nil {
				der = r.DER
			}
		}
		certificates[s.Certificate] = nil
		if der != nil {
			certificates[s.Certificate] = c.certificate(s.Certificate, der)
		}
	}
	parallel(len(verdicts), func(i int) {
		v := &verdicts[i]
		if v.Event == nil {
			return
		}
		if cert := certificates[v.Event.Certificate]; cert != nil {
			// A refusal is for good: a fault of the processor must not make one.
			for attempt := 0; attempt < verifications && (attempt == 0 || v.Refusal != nil); attempt++ {
				v.Refusal = v.Event.verify(cert)
			}
		}
	})
	return nil
}

// verifications is how often a signature must fail before it is held to be wrong.
const verifications = 2

// parallel calls f for 0 … n-1 on all cores and returns when all calls have.
func parallel(n int, f func(i int)) {
	workers := min(runtime.GOMAXPROCS(0), n)
	if workers <= 1 {
		for i := range n {
			f(i)
		}
		return
	}
	var next atomic.Int64
	var wait sync.WaitGroup
	for range workers {
		wait.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	wait.Wait()
}

// judge decides on one event and writes what it changes. forged is what verify found about its signature.
func (c *Court) judge(ctx context.Context, l *ledger, s *Signed, forged *Refusal, admit Admit) (*Refusal, error) {
	registrar, err := load[registrarRecord](ctx, l, keyRegistrar)
	if err != nil {
		return nil, err
	}
	if registrar == nil {
		return c.found(l, s, forged, admit)
	}
	record, err := load[certificateRecord](ctx, l, keyCertificate(s.Certificate))
	if err != nil {
		return nil, err
	}
	switch {
	case record == nil:
		return refuse(RuleNotEnrolled), nil
	case forged != nil:
		return forged, nil
	case record.Code != s.Event.Actor:
		return refuse(RuleCertificateOfAnother), nil
	case record.Withdrawn:
		return refuse(RuleWithdrawn), nil
	}
	cert := c.certificate(s.Certificate, record.DER)
	if cert == nil {
		return nil, ErrState
	}
	if !validAt(cert, s.Event.Time) {
		return refuse(RuleCertificateTime), nil
	}
	actor := party{known: true, kind: OrganisationKind(record.Kind)}
	if r := admit(s, actor.kind); r != nil {
		return r, nil
	}
	switch s.Event.Kind {
	case Enrolled:
		return c.enrol(ctx, l, s, registrar)
	case Withdrawn:
		return c.withdraw(ctx, l, s, registrar)
	case AuditAnchored:
		return anchor(ctx, l, s)
	case Issued:
		return judgeIssue(ctx, l, s, actor)
	default:
		return judgeStep(ctx, l, s, actor)
	}
}

func validAt(cert *pki.Certificate, micros int64) bool {
	return micros >= cert.NotBefore().UnixMicro() && micros <= cert.NotAfter().UnixMicro()
}

// found takes the first entry of a ledger: the registrar's enrolment of itself. Who that is, readers learn from the trust
// file, not from here.
func (c *Court) found(l *ledger, s *Signed, forged *Refusal, admit Admit) (*Refusal, error) {
	e := &s.Event
	if e.Kind != Enrolled || e.Enrolment.Code != e.Actor || Hash(e.Enrolment.Certificate) != s.Certificate ||
		e.Enrolment.Kind != Commission && e.Enrolment.Kind != Operator {
		return refuse(RuleFirstEntry), nil
	}
	if forged != nil {
		return forged, nil
	}
	if r := c.fit(e); r != nil {
		return r, nil
	}
	if !validAt(c.certificate(s.Certificate, e.Enrolment.Certificate), e.Time) {
		return refuse(RuleCertificateTime), nil
	}
	if r := admit(s, e.Enrolment.Kind); r != nil {
		return r, nil
	}
	return nil, firstErr(
		store(l, keyRegistrar, registrarRecord{Code: e.Actor, Time: e.Time}),
		store(l, keyOrganisation(e.Actor), organisationRecord{Kind: string(e.Enrolment.Kind), Certificates: 1}),
		store(l, keyCertificate(s.Certificate), certificateRecord{Code: e.Actor, Kind: string(e.Enrolment.Kind), DER: e.Enrolment.Certificate}),
	)
}

// fit tells whether the certificate of an enrolment is one that events may be signed with.
func (c *Court) fit(e *Event) *Refusal {
	cert := c.certificate(Hash(e.Enrolment.Certificate), e.Enrolment.Certificate)
	if cert == nil || cert.OrganisationCode() != e.Enrolment.Code || cert.IsCA() || !forEvents(cert) {
		return refuse(RuleEnrolmentCertificate)
	}
	return nil
}

// forEvents tells whether a certificate may sign events. One of a production CA does not say what it is for: the registrar
// says it by enrolling it.
func forEvents(cert *pki.Certificate) bool {
	p := cert.Purpose()
	return p == purpose.Events || p == ""
}

func (c *Court) enrol(ctx context.Context, l *ledger, s *Signed, registrar *registrarRecord) (*Refusal, error) {
	e := &s.Event
	switch {
	case e.Actor != registrar.Code:
		return refuse(RuleNotRegistrar), nil
	case e.Time < registrar.Time:
		return refuse(RuleTimeBack), nil
	}
	sm3 := Hash(e.Enrolment.Certificate)
	present, err := load[certificateRecord](ctx, l, keyCertificate(sm3))
	if err != nil {
		return nil, err
	}
	if present != nil { // a withdrawn one included: what was withdrawn never comes back
		return refuse(RuleEnrolledAlready), nil
	}
	o, err := load[organisationRecord](ctx, l, keyOrganisation(e.Enrolment.Code))
	if err != nil {
		return nil, err
	}
	switch {
	case o == nil:
		o = &organisationRecord{Kind: string(e.Enrolment.Kind)}
	case o.Kind != string(e.Enrolment.Kind):
		return refuse(RuleKindChanged), nil
	case o.Certificates >= MaxCertificates:
		return refuse(RuleTooManyCertificates), nil
	}
	if r := c.fit(e); r != nil {
		return r, nil
	}
	o.Certificates++
	return nil, firstErr(
		store(l, keyRegistrar, registrarRecord{Code: registrar.Code, Time: e.Time}),
		store(l, keyOrganisation(e.Enrolment.Code), *o),
		store(l, keyCertificate(sm3), certificateRecord{Code: e.Enrolment.Code, Kind: o.Kind, DER: e.Enrolment.Certificate}),
	)
}

func (c *Court) withdraw(ctx context.Context, l *ledger, s *Signed, registrar *registrarRecord) (*Refusal, error) {
	e := &s.Event
	switch {
	case e.Actor != registrar.Code:
		return refuse(RuleNotRegistrar), nil
	case e.Time < registrar.Time:
		return refuse(RuleTimeBack), nil
	}
	sm3 := Hash(e.Enrolment.Certificate)
	present, err := load[certificateRecord](ctx, l, keyCertificate(sm3))
	if err != nil {
		return nil, err
	}
	switch {
	case present == nil || present.Code != e.Enrolment.Code || present.Kind != string(e.Enrolment.Kind):
		return refuse(RuleCertificateNotCurrent), nil
	case present.Withdrawn:
		return refuse(RuleWithdrawn), nil
	case sm3 == s.Certificate:
		return refuse(RuleRegistrarCertificate), nil
	}
	present.Withdrawn = true
	return nil, firstErr(
		store(l, keyRegistrar, registrarRecord{Code: registrar.Code, Time: e.Time}),
		store(l, keyCertificate(sm3), *present),
	)
}

// anchor chains an organisation's audit anchors, so that none can be left out or sent twice.
func anchor(ctx context.Context, l *ledger, s *Signed) (*Refusal, error) {
	e := &s.Event
	last, err := load[anchorRecord](ctx, l, keyAnchor(e.Actor))
	if err != nil {
		return nil, err
	}
	switch {
	case last == nil && e.Previous != [32]byte{}, last != nil && [32]byte(last.Last) != e.Previous:
		return refuse(RuleStale), nil
	case last != nil && e.Time < last.Time:
		return refuse(RuleTimeBack), nil
	}
	return nil, store(l, keyAnchor(e.Actor), anchorRecord{Last: s.Hash[:], Time: e.Time})
}

func judgeIssue(ctx context.Context, l *ledger, s *Signed, actor party) (*Refusal, error) {
	if !actor.is(Hospital, Agency, Commission) {
		return refuse(RuleActorKind), nil
	}
	present, err := load[licenceRecord](ctx, l, keyLicence(s.Event.Handle))
	if err != nil {
		return nil, err
	}
	if present != nil {
		return refuse(RuleHandleTaken), nil
	}
	return nil, store(l, keyLicence(s.Event.Handle), *issue(&s.Event, s.Hash))
}

func judgeStep(ctx context.Context, l *ledger, s *Signed, actor party) (*Refusal, error) {
	e := &s.Event
	record, err := load[licenceRecord](ctx, l, keyLicence(e.Handle))
	if err != nil {
		return nil, err
	}
	if record == nil {
		return refuse(RuleUnknownLicence), nil
	}
	if r := record.judge(e, actor); r != nil {
		return r, nil
	}
	switch e.Kind {
	case HandedOver:
		receiver, err := load[organisationRecord](ctx, l, keyOrganisation(e.Counterparty))
		if err != nil {
			return nil, err
		}
		if r := judgeReceiver(receiver); r != nil {
			return r, nil
		}
	case Superseded:
		if r, err := supersede(ctx, l, e, record); r != nil || err != nil {
			return r, err
		}
	}
	record.apply(e, s.Hash)
	return nil, store(l, keyLicence(e.Handle), *record)
}

// supersede judges the successor and hands the registration down to it: a child is registered once, whatever
// certificates were exchanged.
func supersede(ctx context.Context, l *ledger, e *Event, old *licenceRecord) (*Refusal, error) {
	next, err := load[licenceRecord](ctx, l, keyLicence(e.Successor))
	if err != nil {
		return nil, err
	}
	taken, err := l.get(ctx, keyPredecessor(e.Successor))
	if err != nil {
		return nil, err
	}
	if r := judgeSuccessor(e, next, taken != nil); r != nil {
		return r, nil
	}
	if old.Registered != "" && next.Registered == "" {
		next.Registered, next.Inherited = old.Registered, true
		if err := store(l, keyLicence(e.Successor), *next); err != nil {
			return nil, err
		}
	}
	return nil, store(l, keyPredecessor(e.Successor), e.Handle[:])
}

func firstErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
