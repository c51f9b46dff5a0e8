package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"
)

// loop is something that a service does again and again: run once, wait, run again. What only one of several instances may
// do is a loop whose run asks for the lease first.
type loop struct {
	name  string
	every time.Duration
	run   func(ctx context.Context) error
}

// wokenLoop is a loop that does not wait by its pace alone, but until there is something to do. After a failure it waits as
// every loop does.
type wokenLoop struct {
	loop
	wait func(ctx context.Context) error // an error ends the loop
}

// mostPause is the longest that a loop which keeps failing waits before it tries again.
const mostPause = time.Minute

// supervisor runs loops. An error of one, or a panic, is logged and counted and makes its loop wait longer; it never ends
// the process: issuing goes on while the ledger, a cosigner or a receiver is away.
type supervisor struct {
	log   *slog.Logger
	watch *watch
	// wait pauses; an error ends the loop. Tests have their own.
	wait func(ctx context.Context, d time.Duration) error
	// guard is asked before each turn: an error is the turn's.
	guard func() error

	group   sync.WaitGroup
	mu      sync.Mutex
	failing map[string]string // loop → what it says
}

func newSupervisor(log *slog.Logger, w *watch) *supervisor {
	return &supervisor{log: log, watch: w, wait: pause, guard: func() error { return nil }, failing: map[string]string{}}
}

// pause waits by the machine's clock.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// start runs the loop until ctx ends.
func (s *supervisor) start(ctx context.Context, l loop) {
	s.watch.knowLoop(l.name)
	s.group.Go(func() { s.keep(ctx, l, nil) })
}

// startWoken is start for a loop that is woken.
func (s *supervisor) startWoken(ctx context.Context, l wokenLoop) {
	s.watch.knowLoop(l.name)
	s.group.Go(func() { s.keep(ctx, l.loop, l.wait) })
}

// stopped waits for all loops, whose contexts have ended.
func (s *supervisor) stopped() { s.group.Wait() }

func (s *supervisor) keep(ctx context.Context, l loop, woken func(context.Context) error) {
	next := l.every
	failed := 0
	for {
		begun := time.Now()
		err := s.once(ctx, l)
		if ctx.Err() != nil {
			return
		}
		s.watch.looped(l.name, time.Since(begun), err)
		s.say(l.name, err)
		switch {
		case err != nil:
			failed++
			next = min(max(2*next, time.Second), max(mostPause, l.every))
			s.log.Error("loop failed", "loop", l.name, "error", err.Error(), "code", travelling(err).Code, "failures", failed, "again", next.String())
		case failed > 0:
			s.log.Info("loop works again", "loop", l.name, "failures", failed)
			failed, next = 0, l.every
		}
		if err == nil && woken != nil {
			if woken(ctx) != nil {
				return
			}
			continue
		}
		if s.wait(ctx, next) != nil {
			return
		}
	}
}

// once runs the loop's work; a panic is an error. Its value is not repeated: it may hold a field.
func (s *supervisor) once(ctx context.Context, l loop) (err error) {
	defer func() {
		if v := recover(); v != nil {
			s.log.Error("panic", "in", l.name, "type", fmt.Sprintf("%T", v), "stack", string(debug.Stack()))
			err = errPanic
		}
	}()
	if err := s.guard(); err != nil {
		return err
	}
	return l.run(ctx)
}

var errPanic = errors.New("程序内部错误，见日志 / a fault of this program: see the log")

func (s *supervisor) say(name string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		delete(s.failing, name)
		return
	}
	s.failing[name] = err.Error()
}

// failures are the loops that failed when they ran last, with what they said.
func (s *supervisor) failures() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := make(map[string]string, len(s.failing))
	for k, v := range s.failing {
		found[k] = v
	}
	return found
}
