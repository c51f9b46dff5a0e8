package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/elicence/elicence/signer/purpose"
)

// healthCheck is one thing that a service needs before it can do its work.
type healthCheck struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	ZH   string `json:"zh"`
	EN   string `json:"en"`
}

// readiness is what /readyz answers: 200 if all checks passed, else 503. Degraded are things that need somebody and keep
// nobody from working.
type readiness struct {
	Ready    bool          `json:"ready"`
	Checks   []healthCheck `json:"checks"`
	Degraded []healthCheck `json:"degraded,omitempty"`
}

// checkTimeout is how long one check may take.
const checkTimeout = 2 * time.Second

// prober is a store that can say whether it takes something now.
type prober interface {
	Probe(ctx context.Context) error
}

// readiness asks everything that issuing needs.
func (i *installation) readiness(ctx context.Context, loops map[string]string) readiness {
	r := readiness{Ready: true}
	check := func(name, zh, en string, ask func(ctx context.Context) error) {
		ctx, cancel := context.WithTimeout(ctx, checkTimeout)
		defer cancel()
		c := healthCheck{name, true, zh, en}
		if err := ask(ctx); err != nil {
			r.Ready = false
			what := travelling(err)
			c = healthCheck{name, false, zh + "：不可用 " + what.ZH, fmt.Sprintf("%s: not available (%s): %v", en, what.Code, err)}
		}
		r.Checks = append(r.Checks, c)
	}
	check("records", "记录", "records", i.recordsAnswer)
	check("objects", "对象存储", "objects", func(ctx context.Context) error {
		if p, ok := any(i.objects).(prober); ok {
			return p.Probe(ctx)
		}
		return nil
	})
	check("keys", "密钥", "keys", i.openKeys)
	for _, name := range sortedKeys(loops) {
		r.Degraded = append(r.Degraded, healthCheck{"loop " + name, false, name + "：上次未成 " + loops[name], name + " failed when it ran last: " + loops[name]})
	}
	for _, code := range i.keystoresAway() {
		r.Degraded = append(r.Degraded, healthCheck{"keystore " + code, false, code + "：密钥库不在", code + ": its keystore is not here"})
	}
	return r
}

// recordsAnswer reads, and looks whether there is room to write.
func (i *installation) recordsAnswer(ctx context.Context) error {
	if _, err := i.db.PendingCount(ctx); err != nil {
		return err
	}
	if i.config.Records.Driver != "sqlite" {
		return nil
	}
	folder := filepath.Dir(i.path(i.config.Records.Path))
	if err := syscall.Access(folder, 2); err != nil { // W_OK
		return fmt.Errorf("%s: %w", folder, err)
	}
	var room syscall.Statfs_t
	if err := syscall.Statfs(folder, &room); err != nil {
		return fmt.Errorf("%s: %w", folder, err)
	}
	if free := room.Bavail * uint64(room.Bsize); free < leastRoom {
		return fmt.Errorf("%s: %w: %d MB are free", folder, syscall.ENOSPC, free>>20)
	}
	return nil
}

// leastRoom on the disk of the records, in bytes, below which a service is not ready: a batch would fill it.
const leastRoom = 64 << 20

// openKeys opens what the service itself signs with: the registrar's keys. Once open they stay open. A cosigner's keystore is
// opened by the first cosigning, an issuer's by its first birth: one that is away keeps nobody else from working.
func (i *installation) openKeys(ctx context.Context) error {
	for _, p := range []purpose.Purpose{purpose.Checkpoints, purpose.Events, purpose.StatusLists} {
		if _, err := i.keyring.Current(ctx, i.config.Registrar, p); err != nil {
			return err
		}
	}
	return nil
}

// keystoresAway are organisations that have certificates here and no keystore.
func (i *installation) keystoresAway() []string {
	away := map[string]bool{}
	for _, e := range i.keyring.all() {
		if _, err := os.Stat(i.keyring.keystorePath(e.organisation)); errors.Is(err, os.ErrNotExist) {
			away[e.organisation] = true
		}
	}
	return sortedKeys(away)
}

// answerReadiness writes a readiness as JSON.
func answerReadiness(w http.ResponseWriter, r readiness) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if !r.Ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	_ = e.Encode(r)
}
