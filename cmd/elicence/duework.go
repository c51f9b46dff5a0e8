package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"github.com/elicence/elicence/deliver"
	"github.com/elicence/elicence/due"
	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/ledger/embedded"
	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/signer"
	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
	"github.com/elicence/elicence/verify/status"
)

// atTheEnd bounds what a command spends on deliveries after its own work; what is left is done by the next command, by jobs
// run, or by a process that runs on.
const atTheEnd = 10 * time.Second

// How often a process that runs on looks into each lane, unless it is woken or knows of a time: lookSeldom as long as it hears
// of all that others make due.
const (
	lookEvery  = time.Second
	lookSeldom = 10 * time.Second
)

// waits is the system's time for the runner.
type waits struct{ now func() time.Time }

func (w waits) Now() time.Time                         { return w.now() }
func (w waits) After(d time.Duration) <-chan time.Time { return time.After(d) }

// runner works off these lanes; report may be nil.
func (i *installation) runner(lanes []due.Lane, report func(due.Job, due.Settlement, error)) (*due.Runner, error) {
	return due.NewRunner(i.db, waits{i.app.now}, rand.Float64, due.Options{
		MaxAttempts: i.config.Deliver.Attempts, Report: report, Wakes: i.db, LookEvery: lookEvery, LookSeldom: lookSeldom,
	}, lanes...)
}

// deliveryLanes are one lane for each configured receiver. One whose driver does not open fails by itself, later, and holds
// up nobody.
func (i *installation) deliveryLanes(ctx context.Context) []due.Lane {
	var lanes []due.Lane
	for _, c := range i.config.Deliver.Receivers {
		receiver, err := i.receiver(c)
		if err != nil {
			lanes = append(lanes, due.Lane{Name: c.Organisation, Worker: func(context.Context, due.Job) (due.Worked, error) {
				return due.Worked{}, &due.Failed{Failure: due.Failure{Code: "configuration"}, Verdict: due.Away, Cause: err}
			}})
			continue
		}
		lanes = append(lanes, due.Lane{Name: c.Organisation, AtOnce: c.AtOnce, Worker: deliver.Worker(documents{i}, eventKeys{i.keyring}, receiver, i.who(ctx, ""), i.app.now)})
	}
	return lanes
}

// eventKeys finds the keys that sign deliveries.
type eventKeys struct{ *keyring }

// EventKey implements deliver.Keys.
func (k eventKeys) EventKey(ctx context.Context, organisation string) (signer.Key, *pki.Certificate, error) {
	s, err := k.Current(ctx, organisation, purpose.Events)
	if err != nil {
		return nil, nil, err
	}
	return s.Key, s.Leaf(), nil
}

// documents finds what is to be delivered.
type documents struct{ i *installation }

// lags says that every delivery waits: for the ledger, or for the records.
func lags(code string, cause error) error {
	return &due.Failed{Failure: due.Failure{Code: code}, Verdict: due.Lags, Cause: cause}
}

func never(code string, cause error) error {
	return &due.Failed{Failure: due.Failure{Code: code}, Verdict: due.Refused, Cause: cause}
}

// unread judges an error of reading: what is away comes back, what is damaged or erased does not.
func unread(err error) error {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, licence.ErrUnavailable):
		return lags("records", err)
	}
	return never("unreadable", err)
}

// Document implements deliver.Source. Nothing leaves before it is written down that it was read.
func (d documents) Document(ctx context.Context, j due.Job) (deliver.Document, error) {
	l, err := d.i.db.ByID(ctx, j.Licence)
	if err != nil {
		return deliver.Document{}, unread(err)
	}
	events, err := d.i.db.EventsOf(ctx, l.ID)
	if err != nil {
		return deliver.Document{}, unread(err)
	}
	if len(events) == 0 {
		return deliver.Document{}, never("ledger-refused", nil)
	}
	out := deliver.Document{Sender: l.Issuer, Number: l.Number, Identifier: l.Identifier, Licence: l.Type}
	parts := l.Parts
	if j.Topic == deliver.TopicHandOver {
		offer, part, err := offered(events, j)
		if err != nil {
			return out, err
		}
		out.Sender, parts = offer.Actor, []string{part}
		out.Files = append(out.Files, deliver.Attachment{Bytes: offer.Bytes, File: deliver.File{
			Name: l.Number + "-handed-over.event", Role: deliver.RoleEvent, MediaType: "application/cose"}})
	}
	receipt, err := d.i.receiptOf(ctx, l)
	if errors.Is(err, errNotSequenced) || errors.Is(err, embedded.ErrNotPublished) {
		return out, lags("awaits-receipt", err)
	}
	if err != nil {
		return out, unread(err)
	}
	reading := d.i.reading(ctx, actor{organisation: licence.Organisation{Code: out.Sender}}, "deliver", l.ID, j.Topic+" → "+j.Lane)
	if err := d.i.db.Record(ctx, reading); err != nil {
		return out, lags("records", err)
	}
	for _, name := range parts {
		b, err := d.i.service.Part(ctx, l, name)
		if err != nil {
			return out, unread(err)
		}
		out.Files = append(out.Files, deliver.Attachment{Bytes: b, File: deliver.File{
			Name: l.Number + "-" + name + ".pdf", Role: deliver.RolePart, Part: name, MediaType: "application/pdf"}})
	}
	out.Files = append(out.Files, deliver.Attachment{Bytes: receipt, File: deliver.File{
		Name: l.Number + ".receipt", Role: deliver.RoleReceipt, MediaType: "text/plain"}})
	return out, nil
}

// offered finds the hand-over that a job is about: its own event, or the newest to this receiver where an older program did
// not write down which.
func offered(events []issuing.Event, j due.Job) (issuing.Event, string, error) {
	for n := len(events) - 1; n >= 0; n-- {
		e := events[n]
		if e.Kind != string(contract.HandedOver) || j.Sequence >= 0 && e.Sequence != j.Sequence {
			continue
		}
		signed, err := contract.ParseEvent(e.Bytes)
		if err != nil {
			return e, "", never("unreadable", err)
		}
		if signed.Event.Counterparty != j.Lane {
			continue
		}
		if e.Index == nil {
			return e, "", lags("awaits-receipt", errNotSequenced)
		}
		return e, signed.Event.Part, nil
	}
	return issuing.Event{}, "", never("ledger-refused", nil)
}

// errUnasked: a delivery of an organisation whose keystore this command has not opened. jobs run asks for its passphrase.
var errUnasked = errors.New("its keystore is not open, and this command does not ask for its passphrase")

// deliverDue sends what is due at the end of a command. It never fails the command: what is issued is issued.
func (i *installation) deliverDue(ctx context.Context) {
	if len(i.config.Deliver.Receivers) == 0 || i.served { // a service has a loop for each receiver
		return
	}
	r, err := i.runner(i.deliveryLanes(ctx), nil)
	if err == nil {
		bounded, stop := context.WithTimeout(ctx, atTheEnd)
		i.unasked.Store(true)
		_, err = r.Drain(bounded)
		i.unasked.Store(false)
		stop()
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			err = nil
		}
	}
	if err != nil {
		i.notice(ctx, "elicence: 交付中断 / deliveries were interrupted: %v", err)
	}
	counts, err := i.db.Waiting(ctx)
	if err != nil {
		return // what the command itself did is told; this only counts
	}
	waiting, dead := 0, 0
	for lane, of := range counts {
		if i.config.Deliver.has(lane) {
			waiting, dead = waiting+of[due.Due]+of[due.Leased], dead+of[due.Dead]
		}
	}
	if waiting+dead > 0 {
		i.notice(ctx, "elicence: 待交付 %d 件，退信 %d 件 / %d deliveries wait, %d are dead letters\n  → 查看 elicence jobs list，继续 elicence jobs run · see them with: elicence jobs list, go on with: elicence jobs run",
			waiting, dead, waiting, dead)
	}
}

// Upkeep: what an installation has to do again and again so that its published lists do not end, and so that nothing stays
// half done.
const (
	upkeepStatus      = due.UpkeepStatus
	upkeepTrust       = "upkeep-trust"
	upkeepRevocations = "upkeep-revocations"
	upkeepReconcile   = "upkeep-reconcile"
	upkeepPrune       = "upkeep-prune"
)

// upkeep is one kind of it. do does it. next is when it is to be done by what is published now, nil for each day.
// by is the organisation that signs, "" for none.
type upkeep struct {
	name string
	by   string
	next func() time.Time
	do   func(ctx context.Context) error
}

// allUpkeeps are those of every installation.
func (i *installation) allUpkeeps() []upkeep {
	all := []upkeep{
		{upkeepReconcile, "", nil, i.reconcileDue},
		{upkeepPrune, "", nil, i.pruneDue},
		{upkeepStatus, i.config.Registrar, i.statusEnds, i.publishStatus},
		{upkeepTrust, i.config.Operator, i.trustEnds, i.publishTrust},
	}
	if i.config.Demonstration {
		all = append(all, upkeep{upkeepRevocations, i.config.Operator, i.revocationsEnd, i.renewRevocations})
	}
	return all
}

// upkeeps leaves out what this installation has no key for: lists that another organisation signs are that one's business.
func (i *installation) upkeeps() []upkeep {
	return slices.DeleteFunc(i.allUpkeeps(), func(u upkeep) bool { return !i.can(u) })
}

func (i *installation) can(u upkeep) bool { return u.by == "" || i.holds(u.by) }

func (i *installation) holds(organisation string) bool {
	_, err := os.Stat(i.keyring.keystorePath(organisation))
	return err == nil
}

// statusEnds: half its life before the status list ends; now if there is none that can be read.
func (i *installation) statusEnds() time.Time {
	list, err := i.readStatus()
	if err != nil {
		return time.Time{}
	}
	return list.Expires().Add(-i.config.Status.Validity / 2)
}

// trustEnds: a twelfth of its life before the trust file ends.
func (i *installation) trustEnds() time.Time {
	t, err := i.readTrust()
	if err != nil {
		return time.Time{}
	}
	return t.Expires().Add(-i.config.Trust.Validity / 12)
}

// revocationsEnd: a third of their life before the first list ends.
func (i *installation) revocationsEnd() time.Time {
	lists, err := i.chain.crls()
	if err != nil || len(lists) == 0 {
		return time.Time{}
	}
	var first time.Time
	for _, der := range lists {
		l, err := pki.ParseCRL(der)
		if err != nil {
			return time.Time{}
		}
		if at := l.NextUpdate().Add(-crlValidity / 3); first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return first
}

// renewRevocations publishes fresh lists, and the trust file that carries them.
func (i *installation) renewRevocations(ctx context.Context) error {
	revoked, err := i.chain.revocations()
	if err != nil {
		return err
	}
	if err := i.chain.publishCRLs(ctx, revoked); err != nil {
		return err
	}
	return i.publishTrust(ctx)
}

// reconcileDue finishes what was left unfinished, brings the ledger up and counts the sheets of this year.
func (i *installation) reconcileDue(ctx context.Context) error {
	if err := i.guardLog(ctx); err != nil {
		return &due.Failed{Failure: due.Failure{Code: "does-not-fit", Detail: "log"}, Cause: err}
	}
	if _, err := i.service.ResumeAll(ctx, i.who(ctx, "resume"), nil); err != nil {
		return err
	}
	if err := i.ledger.catchUp(ctx); err != nil {
		return err
	}
	names, err := i.stockTypes()
	if err != nil {
		return err
	}
	for _, name := range names {
		rows, err := i.yearTables(ctx, name, i.app.now().In(i.zone).Year(), "")
		if err != nil {
			return err
		}
		for _, r := range rows {
			if !r.Balanced {
				return &due.Failed{Failure: due.Failure{Code: "does-not-fit", Detail: "sheets of " + name}}
			}
		}
	}
	return nil
}

// pruneAtOnce bounds one transaction that removes rows.
const pruneAtOnce = 500

// pruneDue removes what has ended and was kept as long as the configuration says.
func (i *installation) pruneDue(ctx context.Context) error {
	before := i.app.now().Add(-i.config.Deliver.Keep)
	for _, state := range []due.State{due.Done, due.Cancelled} {
		for after, more := int64(0), true; more; more = after != 0 {
			var err error
			if _, after, err = i.db.Prune(ctx, state, before, after, pruneAtOnce); err != nil {
				return err
			}
		}
	}
	return nil
}

// daily is how often upkeep is done that nothing published gives a time for.
const daily = 24 * time.Hour

// upkeepLanes are one lane for each upkeep.
func (i *installation) upkeepLanes(upkeeps []upkeep) []due.Lane {
	var lanes []due.Lane
	for _, u := range upkeeps {
		lanes = append(lanes, due.Lane{Name: u.name, Upkeep: true, Worker: func(ctx context.Context, _ due.Job) (due.Worked, error) {
			now := i.app.now()
			// A command has published meanwhile. The status list is made all the same: a licence's status may have changed since.
			if u.next != nil && u.name != upkeepStatus {
				if at := u.next(); at.After(now) {
					return due.Worked{Next: at}, nil
				}
			}
			if err := u.do(ctx); err != nil {
				return due.Worked{}, upkeepFailed(err)
			}
			done := i.who(ctx, "")
			done.At, done.What = now, u.name
			next := now.Add(daily)
			if u.next != nil {
				if at := u.next(); at.After(now) {
					next = at
				}
			}
			return due.Worked{Next: next, Audit: &done}, nil
		}})
	}
	return lanes
}

// upkeepFailed finds the code of what failed.
func upkeepFailed(err error) error {
	var known *due.Failed
	switch {
	case errors.As(err, &known):
		return err
	case errors.Is(err, issuing.ErrKey):
		return &due.Failed{Failure: due.Failure{Code: "key"}, Cause: err}
	case errors.Is(err, licence.ErrUnavailable):
		return &due.Failed{Failure: due.Failure{Code: "records"}, Cause: err}
	}
	return err
}

// armUpkeep writes the rows of upkeep that are not there yet. Afterwards each arms itself in the transaction that completes it.
func (i *installation) armUpkeep(ctx context.Context) error {
	for _, u := range i.upkeeps() {
		if err := i.arm(ctx, u); err != nil {
			return err
		}
	}
	return nil
}

func (i *installation) arm(ctx context.Context, u upkeep) error {
	now := i.app.now()
	at := now
	if u.next != nil {
		if next := u.next(); !next.IsZero() {
			at = next
		}
	}
	_, err := i.db.Arm(ctx, due.New{Key: due.UpkeepKey(u.name), Lane: u.name, Topic: "upkeep", Due: at}, now)
	return err
}

// dueLoops returns one loop for each lane, so that a slow receiver holds up nobody.
func (i *installation) dueLoops(ctx context.Context, report func(due.Job, due.Settlement, error)) ([]wokenLoop, error) {
	upkeeps := i.allUpkeeps()
	r, err := i.runner(append(i.deliveryLanes(ctx), i.upkeepLanes(upkeeps)...), report)
	if err != nil {
		return nil, err
	}
	prepare := map[string]func(context.Context) (bool, error){}
	for _, u := range upkeeps {
		prepare[u.name] = i.preparing(u)
	}
	var loops []wokenLoop
	for _, lane := range r.Lanes() {
		run := func(ctx context.Context) error {
			if p, is := prepare[lane]; is {
				if look, err := p(ctx); err != nil || !look {
					return err
				}
			}
			if _, err := r.DrainLane(ctx, lane); err != nil || lane != upkeepStatus {
				return err
			}
			return i.followStatus(ctx)
		}
		loops = append(loops, wokenLoop{loop{"due-" + lane, lookEvery, run}, func(ctx context.Context) error { return r.Wait(ctx, lane) }})
	}
	return loops, nil
}

// preparing comes before each look of a loop into the lane of an upkeep: it arms the row, once, and says whether to look. The
// keystore may come and go while a service runs.
func (i *installation) preparing(u upkeep) func(context.Context) (bool, error) {
	armed := false
	return func(ctx context.Context) (bool, error) {
		if !i.can(u) {
			return false, nil
		}
		if !armed {
			if err := i.arm(ctx, u); err != nil {
				return false, err
			}
			armed = true
		}
		if u.name != upkeepStatus {
			return true, nil
		}
		// The row knows when its list was to be made anew, and not that somebody has removed it since, or put an older one
		// there; nor what lies in the folder of another process.
		now := i.app.now()
		if u.next().After(now) {
			return true, nil
		}
		_, err := i.db.Hasten(ctx, u.name, now)
		return true, err
	}
}

// followStatus publishes the status list in this process's folder, if it does not say what the records say: of several
// processes one does the row's work, and the others' lists must not call in force what was revoked.
func (i *installation) followStatus(ctx context.Context) error {
	if !i.config.Records.shared() {
		return nil
	}
	ended, err := i.db.NotInForce(ctx)
	if err != nil {
		return err
	}
	list, err := i.readStatus()
	if errors.Is(err, os.ErrNotExist) {
		return nil // the row's business
	}
	if err != nil {
		return err
	}
	counts := list.Count()
	same := counts[status.InForce]+uint64(len(ended)) == list.Capacity()
	for index, s := range ended {
		same = same && list.At(index) == stateWord(s)
	}
	if same {
		return nil
	}
	return i.publishStatus(ctx)
}
