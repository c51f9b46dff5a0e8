package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/elicence/elicence/issuing"
)

const (
	// dutyTerm is how long a duty stays with a process that says nothing: when it was killed, others wait as long.
	dutyTerm = 10 * time.Second
	// dutyRenewal is how often a process says that it is there.
	dutyRenewal = dutyTerm / 3
)

// duty is this process's end of a lease: it is taken when there is work, renewed while it goes on, and given back. What is
// written under it is written only while the lease stands, so that a process that was frozen and wakes disturbs nobody.
type duty struct {
	leases issuing.Duties
	name   string

	mu   sync.Mutex
	held issuing.Lease // epoch 0: not held
}

// holder names this process to people who wonder who has a duty.
func holder() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s:%d", host, os.Getpid())
}

// take returns the context to write under. issuing.ErrHeld if another process has the duty.
func (d *duty) take(ctx context.Context) (context.Context, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.held.Epoch != 0 {
		err := d.leases.RenewDuty(ctx, d.held, dutyTerm)
		if err == nil {
			return issuing.Under(ctx, d.held), nil
		}
		if !errors.Is(err, issuing.ErrLapsed) {
			return ctx, err
		}
		d.held = issuing.Lease{}
	}
	lease, err := d.leases.AcquireDuty(ctx, d.name, holder(), dutyTerm)
	if err != nil {
		return ctx, err
	}
	d.held = lease
	return issuing.Under(ctx, lease), nil
}

// give lets others have the duty at once. A lease that cannot be given back ends by itself.
func (d *duty) give(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.held.Epoch == 0 {
		return nil
	}
	lease := d.held
	d.held = issuing.Lease{}
	return d.leases.ReleaseDuty(context.WithoutCancel(ctx), lease)
}

// work takes the duty, and does the work while renewing it. issuing.ErrHeld if another process has it.
func (d *duty) work(ctx context.Context, do func(ctx context.Context) error) error {
	under, err := d.take(ctx)
	if err != nil {
		return err
	}
	renewing, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(dutyRenewal)
		defer tick.Stop()
		for {
			select {
			case <-renewing.Done():
				return
			case <-tick.C:
				lease, ok := issuing.LeaseOf(under)
				if !ok || d.leases.RenewDuty(renewing, lease, dutyTerm) != nil {
					return // the next write says why
				}
			}
		}
	}()
	err = do(under)
	stop()
	<-done
	return err
}
