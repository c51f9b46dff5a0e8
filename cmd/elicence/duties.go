package main

import (
	"context"
	"errors"
	"time"
)

// How often a service looks after what.
const (
	sequenceEvery = 200 * time.Millisecond
	sealEvery     = time.Second
	cosignEvery   = time.Second
	followEvery   = time.Second
	resumeEvery   = 10 * time.Second
	measureEvery  = 5 * time.Second
)

// duties are what a service does by itself with an installation, beside its due work.
func (i *installation) duties() []loop {
	r := &resumer{i: i}
	m := &measurer{i: i}
	return []loop{
		{"sequence", sequenceEvery, i.sequenceDuty},
		{"seal", sealEvery, i.sealDuty},
		{"cosign", cosignEvery, i.ledger.cosignDuty},
		{"follow", followEvery, i.ledger.followDuty},
		{"resume", resumeEvery, r.run},
		{"measure", measureEvery, m.run},
	}
}

// sequenceDuty puts on the log what was recorded. What the ledger refused has not happened, so the status list is made anew.
func (i *installation) sequenceDuty(ctx context.Context) error {
	g := i.ledger
	if err := g.open(ctx); err != nil {
		return err
	}
	refused := 0
	g.mu.Lock()
	err := g.onDuty(ctx, func(ctx context.Context) (err error) {
		refused, err = g.anchor(ctx)
		return err
	})
	g.mu.Unlock()
	if g.network != nil && err == nil && time.Since(g.network.lastCosign()) >= cosignEvery {
		// Nobody waits a second more for a receipt than the chain takes.
		err = g.cosignDuty(ctx)
	}
	if refused > 0 {
		err = errors.Join(err, i.publishStatus(ctx))
	}
	return err
}

// sealDuty chains the audit trail, puts it among the objects, and anchors its head on the log.
func (i *installation) sealDuty(ctx context.Context) error {
	// Nobody else may seal and anchor in between: the log has the heads in their order, and an older one after a newer one
	// would look like a trail that was written anew.
	i.ledger.mu.Lock()
	defer i.ledger.mu.Unlock()
	return i.ledger.onDuty(ctx, func(ctx context.Context) error {
		head, err := i.ledger.seal(ctx)
		if err != nil {
			return err
		}
		if err := i.ledger.open(ctx); err != nil {
			return err
		}
		return i.ledger.vouch(ctx, head)
	})
}

// cosignDuty has the newest checkpoint cosigned by everybody whose keystore is here, if it is new to one of them.
func (g *log) cosignDuty(ctx context.Context) error {
	if err := g.open(ctx); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	head, err := g.i.db.Head(ctx)
	if err != nil || head.Size == g.cosigned {
		return err
	}
	return g.onDuty(ctx, func(ctx context.Context) error {
		size, err := g.cosignBy(ctx, g.cosignersHere())
		if err == nil {
			g.cosigned = size
		}
		return err
	})
}

// followDuty says what stands in the way of following the chain and of its cosignatures. The follower itself runs as long as the
// log is open.
func (g *log) followDuty(ctx context.Context) error {
	if g.i.config.Ledger.Driver != onFabric {
		return nil
	}
	if err := g.open(ctx); err != nil {
		return err
	}
	trouble, aside := g.network.trouble(), 0
	waiting := g.waits()
	if waiting != nil {
		aside = len(waiting.Events)
		trouble = errors.Join(trouble, waiting)
	}
	// That the peer is away is in trouble already.
	timed, cancel := context.WithTimeout(ctx, chainTimeout)
	defer cancel()
	var behind uint64
	if height, read, err := g.network.blocks(timed); err == nil && height > read {
		behind = height - read
	}
	g.i.watch.chain(behind, aside, trouble != nil)
	return trouble
}

// resumer takes up what was left unfinished. What is unfinished now may be in somebody's hands: only what was so at its last
// look, too, is taken up.
type resumer struct {
	i    *installation
	seen map[string]bool
}

const resumeAtOnce = 1024

// unfinished are licences that no other process is at.
func (i *installation) unfinished(ctx context.Context) ([]string, error) {
	var before time.Time
	if patience := i.config.Records.patience(); patience > 0 {
		before = i.app.now().Add(-patience)
	}
	return i.db.Unfinished(ctx, before, resumeAtOnce)
}

// look remembers what is unfinished; before the first request is taken, all of it was left by an earlier process.
func (r *resumer) look(ctx context.Context) ([]string, error) {
	ids, err := r.i.unfinished(ctx)
	if err != nil {
		return nil, err
	}
	var again []string
	now := map[string]bool{}
	for _, id := range ids {
		if r.seen[id] {
			again = append(again, id)
		}
		now[id] = true
	}
	r.seen = now
	return again, nil
}

func (r *resumer) run(ctx context.Context) error {
	if r.seen == nil {
		r.seen = r.i.left
	}
	ids, err := r.look(ctx)
	if err != nil || len(ids) == 0 {
		return err
	}
	if err := r.i.guardLog(ctx); err != nil {
		return err
	}
	var first error
	for _, id := range ids {
		l, err := r.i.service.Resume(ctx, id, r.i.who(ctx, "resume"))
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			first = errors.Join(first, err)
			continue
		}
		delete(r.seen, id)
		r.i.log.Info("unfinished licence finished", "licence", l.ID)
	}
	return first
}

// measurer keeps the gauges. It asks the records at its own pace, so that a scrape costs nothing.
type measurer struct {
	i     *installation
	turns int
}

// stockTurns is how many turns pass between two counts of the stock, which walks an index of every free sheet.
const stockTurns = 6

func (m *measurer) run(ctx context.Context) error {
	i, w := m.i, m.i.watch
	lag, err := i.db.PendingCount(ctx)
	if err != nil {
		return err
	}
	var age time.Duration
	if lag > 0 {
		oldest, err := i.db.Pending(ctx, 1)
		if err != nil {
			return err
		}
		if len(oldest) > 0 {
			age = max(0, i.app.now().Sub(oldest[0].At))
		}
	}
	unsealed, err := i.db.Unsealed(ctx)
	if err != nil {
		return err
	}
	unfinished, err := i.unfinished(ctx)
	if err != nil {
		return err
	}
	w.lag(lag, age, unsealed, len(unfinished))
	if m.turns%stockTurns == 0 {
		free, err := i.db.FreeCounts(ctx)
		if err != nil {
			return err
		}
		w.free(free)
		w.ends(i.ends(), i.app.now())
	}
	m.turns++
	return nil
}

// ends are when what is published, or certifies, is over.
func (i *installation) ends() map[string]time.Time {
	found := map[string]time.Time{}
	if t, err := i.readTrust(); err == nil {
		found["trust-file"] = t.Content().Expires
	}
	if list, err := i.readStatus(); err == nil {
		found["status-list"] = list.Expires()
	}
	if until, ok := i.chain.crlsUntil(); ok {
		found["revocation-lists"] = until
	}
	newest := map[string]time.Time{}
	for _, e := range i.keyring.all() {
		newest[e.organisation+"/"+string(e.certificate.Purpose())] = e.certificate.NotAfter()
	}
	for _, until := range newest {
		if first, ok := found["certificates"]; !ok || until.Before(first) {
			found["certificates"] = until
		}
	}
	return found
}
