// Package due runs work that is due: rows which the data's own transaction has written, which are taken under a lease, and
// which are done at least once. It knows neither what the work is nor where the rows lie.
//
//	held ──▶ due ──▶ leased ──▶ done
//	          ▲        │  └────▶ dead ──▶ due, when a person sends it again
//	          └────────┘ failed: again later
//	(held, due, leased or dead) ──▶ cancelled, by a person
//	(done or cancelled) ──▶ removed, when it has been kept long enough
//
// Each lane is worked off by itself: a receiver that is slow or away holds up its own lane and no other.
package due

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/elicence/elicence/audit"
)

// State of a job.
type State string

// States. Done and Cancelled are ends.
const (
	Held      State = "held"      // waits for an event of the world, not for a time
	Due       State = "due"       // may be taken from Job.Due on
	Leased    State = "leased"    // a worker has it until its lease ends
	Done      State = "done"      // the receiver has it, or had it already
	Dead      State = "dead"      // given up; a person sees it, and sends it again or cancels it
	Cancelled State = "cancelled" // a person has ended it, or its licence was erased
)

// States returns all states, in the order in which a person wants to see them.
func States() []State { return []State{Dead, Leased, Due, Held, Done, Cancelled} }

// ErrFenced says that a job was taken by somebody else, or ended, since it was leased: what was done with it is not recorded.
var ErrFenced = errors.New("due: the job is no longer this worker's")

// Job is one row of due work.
type Job struct {
	ID       int64  // the row
	Key      string // names the work for ever, over all attempts: receivers tell a repeat by it. 32 hex digits, or "upkeep/…"
	Lane     string // who is worked for: a receiver's organisation code, or the name of an upkeep
	Topic    string // what is to be done
	Issuer   string // organisation code; of upkeep "" for the installation itself
	Licence  string // licence id, "" for upkeep
	Number   string // of that licence, "" for upkeep
	Sequence int    // of the licence's event that made this work due, -1 unknown
	State    State
	Due      time.Time // earliest next attempt
	Epoch    int64     // grows each time that the job is taken or cancelled
	Attempts int       // how often it was taken since it became due, this time included
	Wakes    int64     // how often periodic work was made due before its time
	Failure  Failure   // of the last attempt; zero when there was none
	FailedAt time.Time
	Created  time.Time
	Ended    time.Time // done or cancelled
}

// New is a row to be written.
type New struct {
	Key, Lane, Topic string
	Issuer           string
	Due              time.Time
}

// Failure says why an attempt came to nothing: a code, for which Codes has words, and a detail such as "HTTP 503". Neither
// ever holds anything personal.
type Failure struct {
	Code   string
	Detail string
}

// Verdict is what a failed attempt means for the job and its lane.
type Verdict int

// Verdicts.
const (
	Again   Verdict = iota // this job failed; it is tried again later, others go on
	Away                   // the receiver is away: nothing of the lane is tried for a while, the order stays
	Refused                // it will never be taken: a dead letter, at once
	NotYet                 // something that this job needs is still to come: later, the longer it waits already; this was no attempt
	Lags                   // something that everybody's jobs need is still to come: a short pause of the lane; this was no attempt
)

// Failed is the error of a worker that knows what failed. Any other error of a worker means Again with code "internal".
type Failed struct {
	Failure
	Verdict Verdict
	After   time.Duration // the receiver asked to be left alone so long; 0 if it did not
	Cause   error         // for the program's log only; may be nil
}

func (f *Failed) Error() string {
	s := f.Code
	if f.Detail != "" {
		s += ": " + f.Detail
	}
	if f.Cause != nil {
		return fmt.Sprintf("%s: %v", s, f.Cause)
	}
	return s
}

// Unwrap returns the cause.
func (f *Failed) Unwrap() error { return f.Cause }

// Worked is what a worker returns of a job that it has done.
type Worked struct {
	Next  time.Time    // of periodic work: when it is due again; zero: it is done for good
	Audit *audit.Entry // written in the transaction that completes the job; nil for none
}

// Worker does one job. It may be called for the same job again, also while an earlier call still hangs whose lease has
// ended, so it must be harmless when repeated. ctx ends when the lease is lost.
type Worker func(ctx context.Context, j Job) (Worked, error)

// Settlement ends one attempt.
type Settlement struct {
	State   State     // Done, Due or Dead
	Due     time.Time // with Due; at once if the job was woken since it was taken
	Wakes   int64     // Job.Wakes as it was taken
	Attempt bool      // false: the attempt does not count
	Failure Failure   // zero when nothing failed
	At      time.Time
	Lane    time.Time // nothing of the lane is taken before. Zero: after an attempt the lane is free, and its failures are forgotten
	Audit   *audit.Entry
}

// Queue keeps the rows. All methods are safe for concurrent use, also by several processes, and durable on return; an error
// other than those named leaves the outcome unknown.
type Queue interface {
	// Take leases at most limit jobs of the lane that may be taken now, in the order of their times, until the given time.
	// Each gets the next epoch and one attempt more. A job whose lease has ended is taken like one that is due. None while
	// the lane is paused.
	Take(ctx context.Context, lane string, now, until time.Time, limit int) ([]Job, error)
	// Renew moves the end of a lease. ErrFenced if the job is not leased under this epoch.
	Renew(ctx context.Context, id, epoch int64, until time.Time) error
	// Settle ends an attempt. ErrFenced if the job was taken or ended by somebody else; the same settlement again, after an
	// answer that was lost, is not an error.
	Settle(ctx context.Context, id, epoch int64, s Settlement) error
	// Pause returns until when the lane is left alone, zero if it is not, and how often in a row it was found away.
	Pause(ctx context.Context, lane string) (until time.Time, failures int, err error)
	// NextDue returns when something of the lane may be taken next, zero when nothing waits: the end of a pause, of a lease, or
	// the time of a job.
	NextDue(ctx context.Context, lane string) (time.Time, error)
}

// Desk is what a person sees of the rows and does with them. All methods are safe for concurrent use and durable on return.
type Desk interface {
	// Arm writes a row of work that no licence's transaction writes, unless its key is there already; it reports whether it
	// is new.
	Arm(ctx context.Context, n New, now time.Time) (fresh bool, err error)
	// Jobs lists jobs of one state, and of one lane unless it is "", in the order of their rows; after is the last ID that
	// was seen, 0 to begin.
	Jobs(ctx context.Context, state State, lane string, after int64, limit int) ([]Job, error)
	// Waiting counts what is neither done nor cancelled, by lane and state.
	Waiting(ctx context.Context) (map[string]map[State]int, error)
	// Job returns one job.
	Job(ctx context.Context, id int64) (Job, error)
	// Retry makes jobs due now that are dead or due, with their attempts forgotten and their lanes' pauses ended. All or none.
	// who is written once for each job.
	Retry(ctx context.Context, ids []int64, at time.Time, who audit.Entry) (int, error)
	// Cancel ends jobs that are not done. A worker that has one of them is fenced off, but what it has sent is sent. All or none.
	Cancel(ctx context.Context, ids []int64, at time.Time, who audit.Entry) (int, error)
	// Release makes the held jobs of a licence due, and returns how many there were.
	Release(ctx context.Context, licenceID string, at time.Time, who audit.Entry) (int, error)
	// Hasten makes an upkeep due at once that waits for its next time; one that failed last keeps its back-off. Only this
	// process is woken. It reports whether there was something to hasten.
	Hasten(ctx context.Context, lane string, at time.Time) (bool, error)
	// Prune looks at no more than limit jobs that are done or cancelled, as the state says, in the order of their rows, from
	// the one behind after on (0 to begin), and removes those that ended before the given time. next is where to go on, 0 when
	// no older one is left. Whatever a call leaves, a later one finds.
	Prune(ctx context.Context, state State, before time.Time, after int64, limit int) (removed int, next int64, err error)
}

// Wakes tells who works lanes off that there is something new, so that they need not ask all the time. It is a hint: what is to
// be done, and by whom, the rows alone say. Its methods are safe for concurrent use.
type Wakes interface {
	// Woken gets a value soon after each commit that made work of the lane due, or may be due at another time than before;
	// several commits may give one value, and none gives one too many that does harm. It is one channel for each lane: of
	// several who wait for it, one gets the value.
	Woken(lane string) <-chan struct{}
	// Hears reports whether the commits of all processes are heard just now. Whenever that changes, every lane is woken.
	Hears() bool
}

// UpkeepStatus is the lane of publishing the status list. The transaction that changes a licence's status wakes it.
const UpkeepStatus = "upkeep-status"

// UpkeepKey is the key of the one row of a kind of upkeep.
func UpkeepKey(lane string) string { return "upkeep/" + lane }

// Codes of failures that this package gives itself.
const (
	CodeInternal    = "internal"
	CodeInterrupted = "interrupted"
	CodeAbandoned   = "abandoned"
	CodeErased      = "erased" // of a job that was cancelled because there is nothing left to deliver
)
