package issuing

import (
	"context"
	"errors"
	"time"
)

// Duties of an installation that one process at a time does, however many there are.
const (
	DutySequence = "sequence" // gives events their order, signs checkpoints, chains the audit trail
	DutyUpkeep   = "upkeep"   // publishes lists before they end, compares what is kept with what is recorded
)

var (
	// ErrHeld says that another process has the duty.
	ErrHeld = errors.New("issuing: another process has this duty")
	// ErrLapsed says that a process went on after its lease had ended: it was frozen, or cut off. Nothing was written.
	ErrLapsed = errors.New("issuing: the lease of this duty has lapsed")
)

// Lease is one process's hold of a duty. Its epoch is greater than that of every earlier holder.
type Lease struct {
	Duty   string
	Holder string // names the process, for people
	Epoch  int64
}

// Duties hands out leases. They go by the clock of the records, so that processes need not agree about the time. All
// methods are safe for concurrent use.
type Duties interface {
	// AcquireDuty takes a duty that nobody has, or whose holder has let it lapse. ErrHeld names the holder.
	AcquireDuty(ctx context.Context, duty, holder string, term time.Duration) (Lease, error)
	// RenewDuty begins the term anew. ErrLapsed when it had ended: the duty has to be acquired again.
	RenewDuty(ctx context.Context, l Lease, term time.Duration) error
	// ReleaseDuty gives the duty back at once. One that has lapsed is no error.
	ReleaseDuty(ctx context.Context, l Lease) error
}

type leaseKey struct{}

// Under returns a context whose writes to the records happen only while the lease stands: else they get ErrLapsed.
func Under(ctx context.Context, l Lease) context.Context {
	return context.WithValue(ctx, leaseKey{}, l)
}

// LeaseOf returns the lease that a context's writes are held to.
func LeaseOf(ctx context.Context) (Lease, bool) {
	l, ok := ctx.Value(leaseKey{}).(Lease)
	return l, ok
}
