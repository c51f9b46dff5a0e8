// Package issuing holds the verbs of a licence's life: issue, resume, hand over, accept, reject, register, exchange,
// replace, revoke, anchor, reconcile. It needs the world only through the small interfaces of this file.
package issuing

import (
	"context"
	"time"

	"github.com/elicence/elicence/audit"
	"github.com/elicence/elicence/licence"
)

// Stage is how far a licence's three commits have come.
type Stage int

// Stages. A licence moves only forward; Parked waits for a person and keeps its number.
const (
	StageIntent Stage = 1 // number, request, salts, time and key ids are fixed: nothing has been signed yet
	StageSigned Stage = 2 // signature values, digests, addresses and nonces are fixed: no object is promised yet
	StageIssued Stage = 3 // objects are stored, event and deliveries are rows: this is the caller's answer
	StageParked Stage = 4 // failed again and again; a person decides
)

func (s Stage) String() string {
	switch s {
	case StageIntent:
		return "intent"
	case StageSigned:
		return "signed"
	case StageIssued:
		return "issued"
	case StageParked:
		return "parked"
	}
	return "unknown"
}

// Status is the legal state of an issued licence.
type Status int

// Statuses, with the value that each has in the status list.
const (
	InForce    Status = 0
	Revoked    Status = 1
	Superseded Status = 3
)

func (s Status) String() string {
	switch s {
	case InForce:
		return "in force"
	case Revoked:
		return "revoked"
	case Superseded:
		return "superseded"
	}
	return "unknown"
}

// Intent is all that decides a licence's bytes, apart from signature values. Two renderings of one Intent are equal
// byte for byte.
type Intent struct {
	ID              string // 32 lower-case hex digits, random; the row's key everywhere
	Issuer          string // unified social credit code
	IssuerName      string // as printed and as in the certificate on the day of the intent
	IssuerRegion    string // GB/T 2260 county code of the issuer
	Type            string
	TypeVersion     int
	Kind            string   // first, exchange, replacement, backfile
	BusinessID      string   // the hospital's own id of this birth
	Replaces        string   // number of the licence that this one replaces, "" for none
	RequestDigest   [32]byte // SM3 of the canonical draft, named by the approval
	Request         []byte   // canonical draft JSON; personal: sealed at rest
	Clerk, Approver string   // person ids
	Number          string   // of the sheet, chosen by Begin
	Identifier      string   // GB/T 36904, built by Begin from Serial
	Serial          uint64   // of the issuer, chosen by Begin
	Handle          [32]byte // random; the licence's name on the ledger
	Seed            [32]byte // random; field and part salts are derived from it; sealed at rest, destroyed by erasure
	StatusIndex     uint64   // random place in the status list, unique in the installation, chosen by Begin
	IssueTime       time.Time
	SigningTime     time.Time
	DocumentKey     [32]byte // SM3 of the document signing certificate
	EventKey        [32]byte // SM3 of the event signing certificate
	Parts           []string // parts that this licence has, in order; a registered child's replacement has the main page only
	FormatVersion   int      // of the part file
	Specimen        bool
	Warnings        []string // codes of the warnings that were confirmed or reported
}

// PartSignature is what must be kept of one part to build its bytes again.
type PartSignature struct {
	Part    string
	RS      []byte   // 64 bytes, over the CMS signed attributes
	SM3     [32]byte // of the signed PDF
	Size    int64    // bytes of the signed PDF
	Address string   // object key of the stored, encrypted bytes
	Nonce   []byte   // 12 bytes, of the object's encryption
}

// Signatures is the second commit.
type Signatures struct {
	Credential []byte // COSE Sign1
	Parts      []PartSignature
	Abandoned  []string // object keys of an earlier build that is not used any more
}

// Event is one signed step, as kept beside the licence and as sent to the ledger.
type Event struct {
	Licence  string // licence id
	Sequence int    // 0 for issued, then 1, 2, … inside the licence
	Kind     string // contract's word
	Hash     [32]byte
	Bytes    []byte // COSE Sign1
	At       time.Time
	Actor    string  // organisation code
	Index    *uint64 // in the log; nil while not sequenced
	Refusal  string  // the contract's rule, "" unless the sequencer refused it
}

// Licence is one row with all that is known of it.
type Licence struct {
	Intent
	Stage      Stage
	Epoch      int64  // grows with every claim; a commit with an older one is fenced off
	DataKey    []byte // wrapped under the installation's wrapping key
	DataKeyID  string // names the keys/ object that holds the same wrapped key
	Signatures Signatures
	Status     Status
	StatusAt   time.Time
	ReplacedBy string // number
	ParkReason string
	Created    time.Time
}

// Beginning is what the first commit is made from. Number, Serial, Identifier and StatusIndex of Intent are empty:
// Begin chooses them inside its transaction, so that none can be taken twice.
type Beginning struct {
	Intent         Intent
	UseStock       bool // false for a backfile: Intent.Number is the paper's number and must be free
	StatusSpace    uint64
	StatusPick     func() (uint64, error) // random candidate below StatusSpace; called again on a collision
	MakeIdentifier func(serial uint64) (string, error)
	DataKey        []byte
	DataKeyID      string
	Search         map[string]string // search field name → normalised plain value; kept only as a keyed tag
	Audit          audit.Entry
}

// Claims are the three commits of law 1. All methods are safe for concurrent use and durable on return; an error other
// than those named leaves the outcome unknown, and the caller asks again by id.
type Claims interface {
	// Begin fixes an intent. The same (issuer, business id, kind, replaced number) with the same RequestDigest returns
	// the licence that stands, whatever its stage, and changes nothing; with another digest licence.ErrConflict.
	// A sheet of the intent's type that is bound to this business id is used; else the next free one of issuer and type.
	// licence.ErrStockEmpty when there is none; licence.ErrConflict when another licence replaces the same one, finished
	// or not, unless that was revoked or the ledger refused its issue. The new row has epoch 1 and belongs to the caller.
	// fresh says whether the row is new.
	Begin(ctx context.Context, b Beginning) (l Licence, fresh bool, err error)
	// Claim takes an unfinished licence over: epoch grows by one, earlier holders are fenced off.
	Claim(ctx context.Context, id string, why audit.Entry) (Licence, error)
	// CommitSigned moves intent → signed. ErrFenced if epoch is not the row's or the stage is not intent or signed
	// (signing anew over an abandoned build is allowed at stage signed).
	CommitSigned(ctx context.Context, id string, epoch int64, s Signatures) error
	// CommitIssued moves signed → issued with its event, its deliveries and, for exchange and replacement, the end
	// of the old licence, all in one transaction. ErrFenced as above; ErrStale if the old licence moved meanwhile.
	CommitIssued(ctx context.Context, id string, epoch int64, c Completion) error
	// Park takes a licence out of automatic resume; its number never returns to stock.
	Park(ctx context.Context, id string, epoch int64, reason string) error
	// Unpark takes a parked licence up again: it goes back to signed if its signatures are recorded, else to intent, with
	// the next epoch, which is the caller's. licence.ErrState if it is not parked.
	Unpark(ctx context.Context, id string, why audit.Entry) (Licence, error)
	// Unfinished lists ids at stage intent or signed, oldest first: those whose holder began or claimed them at before or
	// earlier; all for the zero time.
	Unfinished(ctx context.Context, before time.Time, limit int) ([]string, error)
}

// Completion is the third commit.
type Completion struct {
	Event      Event // issued; Sequence 0
	Deliveries []Delivery
	Supersedes *Step // ends the replaced licence; its Audit is written too
	At         time.Time
	Audit      audit.Entry
}

// Delivery is a row of due work: Receiver gets what Topic names of this licence. The deliveries of an issue are held, whatever
// Held says, if the licence's sheet was bound to it before (paper mode): nobody is told before the claimant has the paper.
type Delivery struct {
	Licence  string
	Receiver string // organisation code
	Topic    string // TopicParts, TopicHandOver
	Due      time.Time
	Held     bool // until somebody releases it
}

// Step is one later event of a licence and its effects, appended in one transaction.
type Step struct {
	Licence    string
	Previous   [32]byte // hash of the licence's last event; ErrStale if another came between
	Event      Event
	Status     *Status // new legal state, nil for none
	ReplacedBy string  // number, with Status Superseded
	Note       []byte  // personal or free words of the actor (registration, reason text), sealed at rest; nil for none
	NoteName   string  // what Note is: "registration", "rejection", "revocation", "hand-over"
	Deliveries []Delivery
	Audit      audit.Entry
}

// Journal keeps the events of licences until the ledger has them, and their order ever after.
type Journal interface {
	// AppendStep adds one event. ErrStale if Previous is not the licence's last event.
	AppendStep(ctx context.Context, s Step) error
	// EventsOf returns a licence's events in order, refused ones left out.
	EventsOf(ctx context.Context, licenceID string) ([]Event, error)
	// Notes returns the unsealed notes of a licence by event sequence. The read is audited by the caller.
	Notes(ctx context.Context, licenceID string) (map[int]Note, error)
	// Pending returns events that the ledger has not answered, in the order they were written.
	Pending(ctx context.Context, limit int) ([]Event, error)
	// MarkSequenced records the ledger's answers. The same answer again is not an error. With a refusal, in the same
	// transaction, the licence goes back to the status that its remaining events say, and an audit row names the rule.
	MarkSequenced(ctx context.Context, answers []Answer) error
	// Refused returns at most limit events that the ledger refused, newest first.
	Refused(ctx context.Context, limit int) ([]RefusedStep, error)
	// LastEventTime is the time of the newest event of the installation, zero when there is none: a clock before it
	// is wrong.
	LastEventTime(ctx context.Context) (time.Time, error)
	// PendingCount is the ledger's lag in events.
	PendingCount(ctx context.Context) (int, error)
}

// Note is the sealed words of one step, opened.
type Note struct {
	Name string
	Text []byte
}

// Answer is the ledger's word on one event.
type Answer struct {
	Hash    [32]byte
	Index   uint64
	Refusal string    // rule; "" when sequenced at Index
	At      time.Time // of a refusal, for its audit row
}

// RefusedStep is an event that was recorded here and that the ledger refused: it has not happened.
type RefusedStep struct {
	Number, Issuer string
	Kind           string
	Rule           string
	At             time.Time // of the event
	Actor          string
	Status         Status // that the licence has now
	Successor      string // number of an issued licence that stands in this one's place, "" for none
}

// Lookup reads licences. Personal fields come unsealed: the caller writes the audit entry first.
type Lookup interface {
	// ByID and ByNumber return licence.ErrNotFound when there is none.
	ByID(ctx context.Context, id string) (Licence, error)
	ByNumber(ctx context.Context, number string) (Licence, error)
	ByIdentifier(ctx context.Context, identifier string) (Licence, error)
	// ByBusinessID returns every licence of the birth, oldest first.
	ByBusinessID(ctx context.Context, issuer, businessID string) ([]Licence, error)
	// Search finds by the keyed tag of a search field named in type.yaml, exact match of the normalised value.
	Search(ctx context.Context, field, value string) ([]Licence, error)
	// List walks licences in the order of their creation; after is the id of the last one seen, "" to begin.
	List(ctx context.Context, f Filter, after string, limit int) ([]Licence, error)
	// Count of licences by stage and status.
	Counts(ctx context.Context) (Counts, error)
}

// Filter narrows a list; empty fields do not.
type Filter struct {
	Issuer string
	Kind   string
	Stage  Stage
	Status *Status
}

// Counts of an installation.
type Counts struct {
	ByStage  map[Stage]int
	ByStatus map[Status]int // of issued ones
}

// Pile is the stock of one licence type in one issuer's hands: a sheet belongs to one pile for good.
type Pile struct {
	Issuer string // unified social credit code
	Type   string // name of the licence type
}

// Stock is the custody of numbered sheets. Take happens inside Begin. A number is unique across all piles.
type Stock interface {
	// Allot draws count numbers beginning with first into the pile. licence.ErrConflict if any exists already, in
	// whatever pile.
	Allot(ctx context.Context, p Pile, first string, count int, at time.Time, a audit.Entry) error
	// Bind gives one free sheet of the pile to a business id (paper mode). licence.ErrState if it is not free or of
	// another type, licence.ErrConflict if that business id holds another sheet of the pile that is not spoiled.
	Bind(ctx context.Context, p Pile, number, businessID string, at time.Time, a audit.Entry) error
	// Spoil ends a sheet, of whatever type, that never became a licence; reason is misprint, lost, damaged or other.
	// licence.ErrState for one that was issued.
	Spoil(ctx context.Context, issuer, number, reason string, at time.Time, a audit.Entry) error
	// Sheet returns one sheet; licence.ErrNotFound.
	Sheet(ctx context.Context, number string) (Sheet, error)
	// NextFree returns the pile's next free number without taking it; licence.ErrStockEmpty.
	NextFree(ctx context.Context, p Pile) (string, error)
	// YearTable counts from the sheets of the pile themselves; issues outside institutions are those of agencies.
	YearTable(ctx context.Context, p Pile, year int, zone *time.Location) (licence.YearTable, error)
	// FreeCounts returns how many free sheets each pile has.
	FreeCounts(ctx context.Context) (map[Pile]int, error)
}

// Sheet is one pre-numbered paper, or a number without paper.
type Sheet struct {
	Number, Issuer string
	Type           string // licence type
	State          licence.SheetState
	BusinessID     string // while bound
	Licence        string // once used
	Reason         string // once spoiled
	DrawnAt        time.Time
	UsedAt         time.Time // issued or spoiled
}

// StatusSource tells which licences are not in force, for the status list.
type StatusSource interface {
	// NotInForce maps status index → status of every issued licence that is not in force.
	NotInForce(ctx context.Context) (map[uint64]Status, error)
	// NextStatusNumber hands out the list's next number, starting at 1.
	NextStatusNumber(ctx context.Context) (uint64, error)
}

// Trail is the audit trail.
type Trail interface {
	// Record writes one entry; durable on return.
	Record(ctx context.Context, e audit.Entry) error
	// OfLicence returns the entries about one licence, oldest first.
	OfLicence(ctx context.Context, licenceID string) ([]audit.Link, error)
	// Seal chains every unsealed row and returns the head and how many rows it sealed.
	Seal(ctx context.Context) (head [32]byte, sealed int, err error)
	// CheckChain recomputes the chain and returns the sequence of the first row that does not fit, 0 for none.
	CheckChain(ctx context.Context) (broken uint64, rows int, err error)
}

// Object is bytes on their way into the store, with the key that they belong under. Nobody changes the bytes any more.
type Object interface {
	Key() string
	Bytes() []byte
}

// Objects keeps bytes that are never overwritten. Keys and semantics: storage/objects.
type Objects interface {
	// Put returns once the object is durable. One that is there with these bytes is adopted.
	Put(ctx context.Context, o Object) error
	Get(ctx context.Context, key string) ([]byte, error)
}

// Sequencer is the ledger as issuing sees it: it judges events in order and tells where each stands.
type Sequencer interface {
	// Submit is idempotent for each event: the same bytes again get the same answer. An event without an answer waits for a
	// later submission: it was neither taken nor refused.
	Submit(ctx context.Context, events [][]byte) ([]Answer, error)
}

// Clock tells the time; tests inject theirs.
type Clock func() time.Time

// Directory finds the organisations that act.
type Directory interface {
	Organisation(ctx context.Context, code string) (licence.Organisation, error)
}
