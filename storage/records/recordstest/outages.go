package recordstest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/licence"
)

// Outages issues births by eight callers over two processes' worth of records while one outage follows the other. Every
// caller asks again until it is answered; what it is told meanwhile is that it may.
func Outages(t *testing.T, e Engine, births int, outages []func() error) {
	s := newScene(t, e, 5000) // more than can be issued meanwhile
	other, err := e.Open(s.ctx(), s.dir, Options{KEK: s.kek})
	s.must(err)
	defer other.Close()
	open := []Records{s.r, other}

	var next atomic.Int64
	var wg sync.WaitGroup
	var failures atomic.Int64
	ended := make(chan struct{})
	birth := func(r Records, n int64) error {
		b := s.beginning(fmt.Sprint("B", n))
		for deadline := time.Now().Add(time.Minute); ; {
			_, err := issue(s.ctx(), r, b, 1)
			switch {
			case err == nil:
				return nil
			case !errors.Is(err, licence.ErrUnavailable) && !errors.Is(err, issuing.ErrFenced) || time.Now().After(deadline):
				return fmt.Errorf("birth %d: %w", n, err)
			}
			failures.Add(1)
			time.Sleep(5 * time.Millisecond) // as a caller waits who was told to try again
		}
	}
	over := func() bool {
		select {
		case <-ended:
			return next.Load() >= int64(births)
		default:
			return false
		}
	}
	for i := range 8 {
		wg.Go(func() {
			for !over() {
				if err := birth(open[i%len(open)], next.Add(1)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for _, outage := range outages {
		done := next.Load()
		if err := outage(); err != nil {
			t.Error(err)
		}
		// The next one hits work that has begun again.
		for deadline := time.Now().Add(time.Minute); next.Load() < done+4 && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
	}
	close(ended)
	wg.Wait()
	if failures.Load() == 0 {
		t.Error("nobody noticed the outages: the test proves nothing")
	}
	s.check(int(next.Load()))
}
