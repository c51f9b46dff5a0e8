package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/elicence/elicence/api"
	"github.com/elicence/elicence/issuing"
)

// serveResult is what a service costs that nobody asks anything.
type serveResult struct {
	ReadySeconds   float64 `json:"readySeconds"`   // from its start until /readyz says yes
	RestMB         float64 `json:"restMB"`         // resident, once it has settled
	PeakMB         float64 `json:"peakMB"`         // resident at most until then
	SettledSeconds float64 `json:"settledSeconds"` // from ready until it had settled
	RestSeconds    float64 `json:"restSeconds"`
	RestCPUPercent float64 `json:"restCpuPercent"` // of one core, over restSeconds after it had settled
}

const (
	servePoll   = 5 * time.Millisecond
	settlePoll  = time.Second
	settleMB    = 1.0             // two readings that differ by less are the same
	settleCPU   = 0.10            // of a core: more is not rest
	settleLimit = 5 * time.Minute // a service that is busy for longer has no rest to measure
	readyLimit  = 2 * time.Minute // a service that takes longer does not start
	stopLimit   = time.Minute
)

var (
	errNoService = errors.New("bench: the service does not start")
	errNoRest    = errors.New("bench: the service does not come to rest")
)

// rest starts the real service on the folder, and measures how long it takes until it is ready and what it takes at rest.
func (a *app) rest(ctx context.Context, data string, q benchFlags, report *manyReport) (err error) {
	i, err := a.reopened(ctx, data)
	if err != nil {
		return err
	}
	counts, err := i.db.Counts(ctx)
	report.N, report.Records = counts.ByStage[issuing.StageIssued], i.config.Records.Driver
	i.close()
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	c := exec.CommandContext(ctx, self, "serve", "--data", data)
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = stopLimit
	begun := time.Now()
	if err := c.Start(); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		_ = c.Wait() // the process state says how
		close(ended)
	}()
	defer func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(stopLimit):
			_ = c.Process.Kill()
			<-ended
		}
	}()
	s := serveResult{RestSeconds: q.rest.Seconds()}
	for !isReady(ctx, data) {
		if err := waitOrEnd(ctx, ended, servePoll); err != nil {
			return err
		}
		if time.Since(begun) > readyLimit {
			return fmt.Errorf("%w: not ready after %v", errNoService, readyLimit)
		}
	}
	s.ReadySeconds = time.Since(begun).Seconds()
	ready := time.Now()
	before, err := processUse(c.Process.Pid)
	if err != nil {
		return err
	}
	for {
		if err := waitOrEnd(ctx, ended, settlePoll); err != nil {
			return err
		}
		now, err := processUse(c.Process.Pid)
		if err != nil {
			return err
		}
		grown := now.rssMB - before.rssMB
		if grown < settleMB && grown > -settleMB && (now.cpu-before.cpu).Seconds() < settleCPU*settlePoll.Seconds() {
			s.RestMB, s.PeakMB, s.SettledSeconds = now.rssMB, now.peakMB, time.Since(ready).Seconds()
			break
		}
		before = now
		if time.Since(ready) > settleLimit {
			return fmt.Errorf("%w: %.0f MB, busy after %v", errNoRest, now.rssMB, settleLimit)
		}
	}
	from, err := processUse(c.Process.Pid)
	if err != nil {
		return err
	}
	if err := waitOrEnd(ctx, ended, q.rest); err != nil {
		return err
	}
	to, err := processUse(c.Process.Pid)
	if err != nil {
		return err
	}
	s.RestMB = max(s.RestMB, to.rssMB)
	s.RestCPUPercent = 100 * (to.cpu - from.cpu).Seconds() / q.rest.Seconds()
	report.Serve = &s
	report.Aims = append(report.Aims,
		aimResult{fmt.Sprintf("ready in ≤ %v, %d licences", readyAim, report.N), s.ReadySeconds <= readyAim.Seconds(), fmt.Sprintf("%.2f s", s.ReadySeconds)},
		aimResult{fmt.Sprintf("at rest ≤ %d MB, %d licences", restAimMB, report.N), s.RestMB <= restAimMB, fmt.Sprintf("%.0f MB", s.RestMB)})
	return nil
}

func isReady(ctx context.Context, data string) bool {
	c, err := api.Connect(ctx, data)
	if err != nil {
		return false
	}
	code, _, err := c.Get(ctx, "/readyz")
	return err == nil && code == http.StatusOK
}

// waitOrEnd waits; the service ending meanwhile is an error.
func waitOrEnd(ctx context.Context, ended <-chan struct{}, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-ended:
		return fmt.Errorf("%w: it has ended; elicence serve says why", errNoService)
	case <-t.C:
		return nil
	}
}

// used is what a process has taken so far.
type used struct {
	rssMB, peakMB float64
	cpu           time.Duration
}

// processUse reads it from /proc.
func processUse(pid int) (u used, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, fmt.Errorf("bench: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		var kb float64
		if _, err := fmt.Sscanf(line, "VmRSS: %f kB", &kb); err == nil {
			u.rssMB = kb / 1024
		}
		if _, err := fmt.Sscanf(line, "VmHWM: %f kB", &kb); err == nil {
			u.peakMB = kb / 1024
		}
	}
	if b, err = os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err != nil {
		return u, fmt.Errorf("bench: %w", err)
	}
	// After the name, which may hold anything, come the state and ten numbers, then the ticks of user and system: a tick is a
	// hundredth of a second for every program on Linux.
	_, rest, _ := strings.Cut(string(b[strings.LastIndexByte(string(b), ')'):]), " ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return u, fmt.Errorf("%w: /proc/%d/stat", errNoService, pid)
	}
	var user, system int64
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		return u, fmt.Errorf("bench: /proc/%d/stat: %w", pid, err)
	}
	u.cpu = time.Duration(user+system) * 10 * time.Millisecond
	return u, nil
}
