// Package recordstest holds the suite that every engine of the records passes: what the ports of issuing, access and the
// ledger promise, under sixteen writers, with every commit failing in turn (with and without effect), and after the
// process was killed.
package recordstest

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emmansun/gmsm/sm3"

	"github.com/elicence/elicence/access"
	"github.com/elicence/elicence/audit"
	"github.com/elicence/elicence/due"
	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/ledger/embedded"
	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/storage/envelope"
)

// Records is all that an engine offers. Users declare the small interfaces that they need.
type Records interface {
	issuing.Records
	issuing.Stock
	issuing.StatusSource
	access.Directory
	access.Register
	issuing.Duties
	embedded.Store
	due.Queue
	due.Desk
	due.Wakes
	Rewrap(ctx context.Context, to envelope.KEK, who audit.Entry, each func(licenceID, keyID string, wrapped []byte) error) (int, error)
	Erase(ctx context.Context, licenceID string, who audit.Entry) (keyID string, err error)
	Close() error
}

// Options are those that every engine knows.
type Options struct {
	ReadOnly bool
	KEK      envelope.KEK
	Commit   func(commit func() error) error
}

// Engine is one engine under test.
type Engine struct {
	// Open opens the records that belong to the folder dir, and makes them if there are none. Once the folder is gone nobody
	// asks for them again.
	Open func(ctx context.Context, dir string, o Options) (Records, error)
	// Locked is what a second writer gets, nil where several processes write.
	Locked error
	// ReadOnly is what a reader gets that writes, Sealed what one gets without the key, Erased what one gets who adds words
	// to a licence whose key was destroyed.
	ReadOnly, Sealed, Erased error
	// Files is the folder in which everything that the records of dir wrote lies; dir itself if nil.
	Files func(t *testing.T, dir string) string
	// Archives says that the engine's write-ahead log keeps what was overwritten, for recovery: only another wrapping key
	// then makes an erased licence's key unreadable there.
	Archives bool
}

// Run runs the whole suite but the kills, which need a TestMain: see Kill.
func Run(t *testing.T, e Engine) { runCases(t, e, func(string) bool { return true }) }

// RunAtOnce runs what many callers do at once, for the race detector.
func RunAtOnce(t *testing.T, e Engine) {
	runCases(t, e, func(name string) bool {
		return strings.HasPrefix(name, "Sixteen") || strings.HasPrefix(name, "Several") || strings.HasPrefix(name, "Leases")
	})
}

func runCases(t *testing.T, e Engine, wanted func(name string) bool) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, e Engine)
	}{
		{"ALicenceIsReadAsItWasWritten", roundTrip},
		{"TheSameRequestGivesTheSameLicence", idempotent},
		{"OtherContentIsAConflict", conflict},
		{"KindsAndReplacedNumbersAreRequestsOfTheirOwn", kinds},
		{"ALicenceIsReplacedOnce", oneSuccessor},
		{"EmptyStockConsumesNothing", emptyStock},
		{"BackfileKeepsItsNumber", backfile},
		{"StatusPlacesAreUnique", statusPlaces},
		{"SixteenWriters", sixteenWriters},
		{"SixteenWritersOfOneBirth", sixteenOfOne},
		{"AnOlderEpochIsFenced", epochs},
		{"SixteenClaimants", sixteenClaimants},
		{"SigningAnewReplacesTheParts", signAnew},
		{"Parked", parked},
		{"AParkedLicenceIsTakenUpAgain", unparked},
		{"Superseding", superseding},
		{"Steps", steps},
		{"SixteenStepsAtOnce", sixteenSteps},
		{"ARefusedEventIsNoPartOfTheHistory", refusedEvent},
		{"ARefusedEndIsTakenBack", refusedEnd},
		{"AnswersOfTheLedger", answers},
		{"LastEventTime", lastEventTime},
		{"SearchFindsByTag", search},
		{"ListWalksAll", list},
		{"SheetsMoveForwardOnly", sheets},
		{"ASheetBelongsToOneType", stockByType},
		{"PaperMode", paperMode},
		{"SixteenBindersOfOneSheet", sixteenBinders},
		{"YearTable", yearTable},
		{"StatusSource", statusSource},
		{"People", people},
		{"TrailIsWrittenWithTheData", trail},
		{"TrailIsChained", chain},
		{"NothingPersonalLiesOpen", nothingOpen},
		{"AnotherKeyOpensNothing", anotherKey},
		{"Rotation", rotation},
		{"Erasure", erasure},
		{"Reader", reader},
		{"ReadersSpool", spool},
		{"SecondWriter", secondWriter},
		{"SeveralProcesses", severalProcesses},
		{"Leases", leases},
		{"WhatALostHolderWrites", lostHolder},
		{"ACancelledCall", cancelled},
		{"Closed", closed},
		{"SixteenTakersOfDueWork", sixteenTakers},
		{"DueWorkIsTakenInOrder", takenInOrder},
		{"AnEndedLeaseIsTakenOver", endedLease},
		{"Settlements", settlements},
		{"RetryAndCancel", retryAndCancel},
		{"DeliveriesAreHeldInPaperMode", heldInPaperMode},
		{"DeliveriesOfSteps", deliveriesOfSteps},
		{"AChangedStatusIsPublishedAtOnce", wokenStatus},
		{"CommitsWake", commitsWake},
		{"UpkeepIsHastened", hastened},
		{"WhatHasEndedIsPruned", pruned},
		{"AnErasureCancelsDeliveries", erasedDeliveries},
		{"DueWorkOfFailingCommits", dueWorkOfFailingCommits},
		{"OneFailsTheOthersDoNot", oneFails},
		{"EveryCommitFails", everyCommitFails},
		{"SixteenWritersOfFailingCommits", failingCommits},
	} {
		if wanted(c.name) {
			t.Run(c.name, func(t *testing.T) { c.run(t, e) })
		}
	}
}

// Organisations of every scene.
const (
	hospital = "12310000000000001A"
	agency   = "12310000000000002B"
	police   = "11310000000000003C"
)

// The licence types of every scene. The records know neither.
const (
	birthType  = "birth-certificate"
	motherType = "childbirth-certificate"
)

// births is an issuer's stock of birth certificates.
func births(issuer string) issuing.Pile { return issuing.Pile{Issuer: issuer, Type: birthType} }

// space is the size of the status list.
const space = 1 << 20

// scene is one installation under test with what a caller of the records has at hand.
type scene struct {
	t      testing.TB
	engine Engine
	dir    string
	kek    envelope.KEK
	r      Records
	now    time.Time
}

// pattern is a reader that makes the same key in every process of a test.
type pattern byte

func (p pattern) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(p) + byte(i)
	}
	return len(b), nil
}

// testKEK is the wrapping key of every scene.
func testKEK(p pattern) envelope.KEK {
	k, err := envelope.NewDataKey(p)
	if err != nil {
		panic(err) // a pattern never fails
	}
	return envelope.LocalKEK(k, rand.Reader)
}

var start = time.Date(2026, 10, 13, 9, 30, 0, 123_456_000, time.UTC)

// newScene opens empty records with a hospital of count sheets, A00 0000001 and following.
func newScene(t testing.TB, e Engine, count int) *scene {
	t.Helper()
	return newSceneWith(t, e, count, Options{})
}

func newSceneWith(t testing.TB, e Engine, count int, o Options) *scene {
	t.Helper()
	s := &scene{t: t, engine: e, dir: t.TempDir(), kek: testKEK(1), now: start}
	s.open(o)
	t.Cleanup(func() { s.close() })
	s.must(s.r.PutOrganisation(s.ctx(), licence.Organisation{Code: hospital, Name: "样张医院", NameEN: "Specimen Hospital", Kind: licence.Hospital, Region: "310101"}))
	s.must(s.r.PutOrganisation(s.ctx(), licence.Organisation{Code: agency, Name: "样张机构", Kind: licence.Agency, Region: "310101"}))
	if count > 0 {
		s.must(s.r.Allot(s.ctx(), births(hospital), "A000000001", count, s.now, s.who("allot", "")))
	}
	return s
}

func (s *scene) ctx() context.Context { return context.Background() }

func (s *scene) open(o Options) {
	s.t.Helper()
	if o.KEK == nil {
		o.KEK = s.kek
	}
	r, err := s.engine.Open(s.ctx(), s.dir, o)
	if err != nil {
		s.t.Fatal(err)
	}
	s.r = r
}

func (s *scene) close() {
	s.t.Helper()
	if s.r != nil {
		if err := s.r.Close(); err != nil {
			s.t.Error(err)
		}
	}
	s.r = nil
}

// end closes the records and removes their folder: an engine may use what it had for them again.
func (s *scene) end() {
	s.t.Helper()
	s.close()
	s.must(os.RemoveAll(s.dir))
}

// reopen is what the next process does.
func (s *scene) reopen(o Options) {
	s.t.Helper()
	s.close()
	s.open(o)
}

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) who(what, licenceID string) audit.Entry {
	return audit.Entry{At: s.now, Organisation: hospital, Person: "clerk-1", What: what, From: "test", Licence: licenceID}
}

var picks atomic.Uint64

func pick() (uint64, error) {
	var b [4]byte
	if _, err := io.ReadFull(rand.Reader, b[:]); err != nil {
		return 0, err
	}
	picks.Add(1)
	return (uint64(b[0])<<16 | uint64(b[1])<<8 | uint64(b[2])) % space, nil
}

// Personal values of every birth in a scene; nothing of them may lie open anywhere.
const (
	childName  = "曹宸书䶮𬭎"
	motherName = "诸葛样张"
	idNumber   = "310190199912310028"
)

// beginning makes what issuing hands to Begin for one birth.
func beginning(t testing.TB, kek envelope.KEK, business string, at time.Time) issuing.Beginning {
	t.Helper()
	request := fmt.Appendf(nil, `{"businessId":%q,"child":{"name":%q},"mother":{"name":%q,"idNumber":%q}}`, business, childName, motherName, idNumber)
	var id [16]byte
	key, err := envelope.NewDataKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	in := issuing.Intent{
		Issuer: hospital, IssuerName: "样张医院", IssuerRegion: "310101", Type: birthType, TypeVersion: 1,
		Kind: licence.KindFirst, BusinessID: business, RequestDigest: sm3.Sum(request), Request: request,
		Clerk: "clerk-1", Approver: "keeper-1", IssueTime: at, SigningTime: at.Truncate(time.Second),
		DocumentKey: [32]byte{1}, EventKey: [32]byte{2}, Parts: []string{"main", "counterfoil"}, FormatVersion: 1, Specimen: true,
		Warnings: []string{"name.rare", "late"},
	}
	for _, b := range [][]byte{id[:], in.Handle[:], in.Seed[:]} {
		if _, err := io.ReadFull(rand.Reader, b); err != nil {
			t.Fatal(err)
		}
	}
	in.ID = fmt.Sprintf("%x", id)
	keyID := fmt.Sprintf("%x", in.Handle[:8])
	wrapped, err := envelope.WrapKey(context.Background(), kek, keyID, key)
	if err != nil {
		t.Fatal(err)
	}
	return issuing.Beginning{
		Intent: in, UseStock: true, StatusSpace: space, StatusPick: pick,
		MakeIdentifier: func(serial uint64) (string, error) {
			return fmt.Sprintf("1.2.156.3005.2.%s.%011d.001.X", in.Issuer, serial), nil
		},
		DataKey: wrapped, DataKeyID: keyID,
		Search: map[string]string{"child.name": childName, "mother.idNumber": idNumber, "business": business},
		Audit:  audit.Entry{At: at, Organisation: hospital, Person: "clerk-1", What: "issue", From: "test", Licence: in.ID},
	}
}

func (s *scene) beginning(business string) issuing.Beginning {
	s.t.Helper()
	return beginning(s.t, s.kek, business, s.now)
}

// signatures are what a licence's second commit holds; other salt makes other ones.
func signatures(l issuing.Licence, salt string) issuing.Signatures {
	sig := issuing.Signatures{Credential: []byte("credential of " + childName + l.ID + salt)}
	for _, p := range l.Parts {
		sum := sm3.Sum([]byte(p + l.ID + salt))
		sig.Parts = append(sig.Parts, issuing.PartSignature{
			Part: p, RS: append(sum[:], sum[:]...), SM3: sum, Size: 61_234, Address: fmt.Sprintf("objects/%x/%x", sum[:1], sum[1:]), Nonce: sum[:12],
		})
	}
	return sig
}

// event makes one step's event; bytes mean nothing to records.
func event(l issuing.Licence, sequence int, kind string, at time.Time) issuing.Event {
	b := fmt.Appendf(nil, "%s %d %s %d", l.ID, sequence, kind, at.UnixMicro())
	return issuing.Event{Licence: l.ID, Sequence: sequence, Kind: kind, Hash: sm3.Sum(b), Bytes: b, At: at, Actor: l.Issuer}
}

func completion(l issuing.Licence, at time.Time) issuing.Completion {
	return issuing.Completion{
		Event:      event(l, 0, "issued", at),
		Deliveries: []issuing.Delivery{{Licence: l.ID, Receiver: "registration-authority", Topic: "parts", Due: at}},
		At:         at,
		Audit:      audit.Entry{At: at, Organisation: l.Issuer, Person: l.Clerk, What: "issued", From: "test", Licence: l.ID},
	}
}

func step(l issuing.Licence, last issuing.Event, kind string, at time.Time) issuing.Step {
	return issuing.Step{
		Licence: l.ID, Previous: last.Hash, Event: event(l, last.Sequence+1, kind, at),
		Audit: audit.Entry{At: at, Organisation: l.Issuer, Person: "clerk-1", What: kind, From: "test", Licence: l.ID},
	}
}

// issue takes one birth through its three commits, as issuing does: whatever went wrong, it begins again with the same
// request, claims what stands and goes on. It gives up after tries failures.
func issue(ctx context.Context, r Records, b issuing.Beginning, tries int) (l issuing.Licence, err error) {
	for range tries {
		if l, err = attempt(ctx, r, b); err == nil {
			return l, nil
		}
	}
	return l, err
}

func attempt(ctx context.Context, r Records, b issuing.Beginning) (issuing.Licence, error) {
	l, fresh, err := r.Begin(ctx, b)
	if err != nil {
		return l, err
	}
	if !fresh && l.Stage != issuing.StageIssued {
		if l, err = r.Claim(ctx, l.ID, audit.Entry{At: b.Intent.IssueTime, Organisation: hospital, What: "resume", Licence: l.ID}); err != nil {
			return l, err
		}
	}
	return finish(ctx, r, l, b.Intent.IssueTime)
}

func finish(ctx context.Context, r Records, l issuing.Licence, at time.Time) (issuing.Licence, error) {
	if l.Stage == issuing.StageIntent {
		if err := r.CommitSigned(ctx, l.ID, l.Epoch, signatures(l, "")); err != nil {
			return l, err
		}
		l.Stage = issuing.StageSigned
	}
	if l.Stage == issuing.StageSigned {
		if err := r.CommitIssued(ctx, l.ID, l.Epoch, completion(l, at)); err != nil {
			return l, err
		}
	}
	return r.ByID(ctx, l.ID)
}

// issue is for scenes in which nothing fails.
func (s *scene) issue(business string) issuing.Licence {
	s.t.Helper()
	l, err := issue(s.ctx(), s.r, s.beginning(business), 1)
	s.must(err)
	return l
}

// last is the licence's newest event.
func (s *scene) last(l issuing.Licence) issuing.Event {
	s.t.Helper()
	events, err := s.r.EventsOf(s.ctx(), l.ID)
	s.must(err)
	if len(events) == 0 {
		s.t.Fatal("a licence without events")
	}
	return events[len(events)-1]
}

// together runs n calls as simultaneously as can be.
func together(n int, call func(i int)) {
	var wg sync.WaitGroup
	gate := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-gate
			call(i)
		})
	}
	close(gate)
	wg.Wait()
}

// KEK is the wrapping key of Sample.
func KEK() envelope.KEK { return testKEK(1) }

// Sample issues n births in empty records that were opened with KEK, for tests of one engine only.
func Sample(t testing.TB, r Records, n int) []issuing.Licence {
	t.Helper()
	ctx := context.Background()
	if err := r.Allot(ctx, births(hospital), "A000000001", n, start, audit.Entry{At: start, What: "allot"}); err != nil {
		t.Fatal(err)
	}
	var made []issuing.Licence
	for i := range n {
		l, err := issue(ctx, r, beginning(t, testKEK(1), fmt.Sprint("B", i), start), 1)
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, l)
	}
	return made
}
