package issuing

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/elicence/elicence/audit"
	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
	"github.com/elicence/elicence/templates"
)

// Issued is the answer to a request: what stands now, and whether this very call made it.
type Issued struct {
	Licence Licence
	Fresh   bool // false: the same request had been answered before
}

// Issue takes an approved draft through the three commits of law 1. The same approved draft again gives the same
// licence. licence.ErrConflict (same business id, other content), licence.ErrStockEmpty and *templates.MissingGlyph
// consume nothing. So do licence.ErrClock and ErrKey before the intent; after it, these and every other error name the
// licence, whose number is kept and which Resume finishes.
func (s *Service) Issue(ctx context.Context, a licence.Approved, who audit.Entry) (Issued, error) {
	if l, ok, err := s.answered(ctx, a.Draft()); ok || err != nil {
		return Issued{Licence: l}, err
	}
	begin, err := s.prepare(ctx, a, who)
	if err != nil {
		// The same request may have been answered meanwhile, which ended the licence that it replaces.
		if l, ok, read := s.answered(ctx, a.Draft()); ok && read == nil {
			return Issued{Licence: l}, nil
		}
		return Issued{}, err
	}
	release, err := s.hands.take(ctx, begin.Intent.ID)
	if err != nil {
		return Issued{}, err
	}
	defer release()
	l, fresh, err := s.records.Begin(ctx, begin)
	if err != nil {
		return Issued{}, err
	}
	if !fresh {
		if l.Stage == StageIssued {
			return Issued{Licence: l}, nil
		}
		if l.Stage == StageParked {
			return Issued{}, parked(l)
		}
		release, err := s.hands.take(ctx, l.ID)
		if err != nil {
			return Issued{}, fmt.Errorf("licence %s: %w", l.Number, err)
		}
		defer release()
		number := l.Number
		if l, err = s.left(ctx, l); err != nil {
			return Issued{}, fmt.Errorf("licence %s: %w", number, err)
		}
		if l.Stage == StageIssued {
			return Issued{Licence: l}, nil
		}
		if l.Stage == StageParked {
			return Issued{}, parked(l)
		}
		if l, err = s.records.Claim(ctx, l.ID, s.entry(who, "resume", l.ID)); err != nil {
			return Issued{}, fmt.Errorf("licence %s: %w", number, err)
		}
	}
	l, err = s.finish(ctx, l, who)
	if errors.Is(err, ErrFenced) {
		// Another process has it. If it is done there, the caller has an answer.
		if now, read := s.left(ctx, l); read == nil && now.Stage == StageIssued {
			return Issued{Licence: now}, nil
		}
	}
	if err != nil {
		return Issued{}, fmt.Errorf("licence %s keeps its number and can be finished later: %w", l.Number, err)
	}
	return Issued{Licence: l, Fresh: fresh}, nil
}

const (
	// glance is the first pause before somebody looks whether another process is done; each is twice the one before, up to
	// longGlance.
	glance     = 10 * time.Millisecond
	longGlance = 300 * time.Millisecond
	// standstill is how long a licence must not have moved before it is taken from the process that has it. A birth takes
	// milliseconds; but for the caller who asks again after a crash it is a wait. With each time that it was taken it is twice
	// as long: where everybody is slow, several would else take it from each other for ever.
	standstill = time.Second
)

// left waits while another process gets on with a licence, and returns it as it is when it has come to its end or to a
// standstill. Where one process issues nobody else gets on.
func (s *Service) left(ctx context.Context, l Licence) (Licence, error) {
	if s.config.Patience == 0 {
		return s.records.ByID(ctx, l.ID)
	}
	pause := glance
	for moved := time.Now(); time.Since(moved) < min(standstill<<min(l.Epoch-1, 16), s.config.Patience); {
		now, err := s.records.ByID(ctx, l.ID)
		if err != nil || now.Stage == StageIssued || now.Stage == StageParked {
			return now, err
		}
		if now.Stage != l.Stage || now.Epoch != l.Epoch {
			moved = time.Now()
		}
		l = now
		select {
		case <-ctx.Done():
			return l, ctx.Err()
		case <-time.After(pause):
			pause = min(2*pause, longGlance)
		}
	}
	return l, nil
}

// answered finds the licence that an exchange or replacement has been answered with. Begin would find it, too, but not
// before the checks of the licence that it has ended by now.
func (s *Service) answered(ctx context.Context, d licence.Draft) (Licence, bool, error) {
	if d.Replaces() == "" {
		return Licence{}, false, nil
	}
	found, err := s.records.ByBusinessID(ctx, d.Issuer().Code, d.BusinessID())
	if err != nil {
		return Licence{}, false, err
	}
	for _, l := range found {
		if l.Kind != d.Kind() || l.Replaces != d.Replaces() || l.Stage != StageIssued {
			continue
		}
		if l.RequestDigest != d.Digest() {
			return Licence{}, false, fmt.Errorf("%w: the business id names licence %s with other content", licence.ErrConflict, l.Number)
		}
		return l, true, nil
	}
	return Licence{}, false, nil
}

// Resume finishes one licence that an earlier process left at intent or signed. It is the way that Issue itself takes.
func (s *Service) Resume(ctx context.Context, id string, who audit.Entry) (Licence, error) {
	release, err := s.hands.take(ctx, id)
	if err != nil {
		return Licence{}, err
	}
	defer release()
	l, err := s.records.Claim(ctx, id, s.entry(who, "resume", id))
	if err != nil {
		return Licence{}, err
	}
	return s.persist(ctx, l, who)
}

// Retry is Resume for a licence that is parked, too: a person has cured what it failed of, or wants to know whether it
// is cured. The audit row has the reason of the parking and who.Why. If it fails again and again, it is parked again.
func (s *Service) Retry(ctx context.Context, id string, who audit.Entry) (Licence, error) {
	release, err := s.hands.take(ctx, id)
	if err != nil {
		return Licence{}, err
	}
	defer release()
	l, err := s.records.ByID(ctx, id)
	if err != nil {
		return Licence{}, err
	}
	if l.Stage == StageParked {
		why := s.entry(who, "retry", id)
		why.Why = strings.TrimSuffix(l.ParkReason+": "+who.Why, ": ")
		l, err = s.records.Unpark(ctx, id, why)
	} else {
		// An earlier try took it up, and was killed or found a store away.
		l, err = s.records.Claim(ctx, id, s.entry(who, "resume", id))
	}
	if err != nil {
		return Licence{}, err
	}
	return s.persist(ctx, l, who)
}

// persist finishes a claimed licence, with as many attempts as it takes to call it hopeless; then it is parked.
func (s *Service) persist(ctx context.Context, l Licence, who audit.Entry) (Licence, error) {
	if l.Stage == StageParked {
		return l, parked(l)
	}
	var cause error
	for range s.config.MaxAttempts {
		var done Licence
		if done, cause = s.finish(ctx, l, who); cause == nil {
			return done, nil
		}
		if ctx.Err() != nil || errors.Is(cause, ErrFenced) || transient(cause) {
			return l, cause
		}
		// The stage may have moved although the answer was lost.
		next, err := s.records.Claim(ctx, l.ID, s.entry(who, "resume", l.ID))
		if err != nil {
			return l, err
		}
		l = next
	}
	reason := reasonCode(cause)
	if err := s.records.Park(ctx, l.ID, l.Epoch, reason); err != nil {
		return l, errors.Join(cause, err)
	}
	l.Stage, l.ParkReason = StageParked, reason
	return l, fmt.Errorf("%w: %w", parked(l), cause)
}

func parked(l Licence) error {
	return fmt.Errorf("%w: %w: licence %s: %s", licence.ErrState, ErrParked, l.Number, l.ParkReason)
}

// transient errors are those that waiting cures: an absent key, an unavailable store or a wrong clock never parks a
// licence.
func transient(err error) bool {
	return errors.Is(err, ErrKey) || errors.Is(err, licence.ErrUnavailable) || errors.Is(err, licence.ErrClock)
}

// reasonCode keeps free words out of the parked row: an error text may name a field, never a value, but a code is
// enough for the list and the log has the rest.
func reasonCode(err error) string {
	var missing *templates.MissingGlyph
	switch {
	case errors.As(err, &missing):
		return "missing-glyph"
	case errors.Is(err, ErrEvidence):
		return "self-check"
	}
	return "failed-repeatedly"
}

// ResumeAll finishes everything unfinished, oldest first, and returns how many it finished and the first error. What
// another process has taken up within Config.Patience is left to it.
func (s *Service) ResumeAll(ctx context.Context, who audit.Entry, done func(Licence)) (int, error) {
	count, limit := 0, 256
	var first error
	failed := map[string]bool{} // waits for something: not tried twice, and in nobody's way
	for {
		var before time.Time
		if s.config.Patience > 0 {
			before = s.now().Add(-s.config.Patience)
		}
		ids, err := s.records.Unfinished(ctx, before, limit)
		if err != nil {
			return count, err
		}
		progressed := false
		for _, id := range ids {
			if failed[id] {
				continue
			}
			l, err := s.Resume(ctx, id, who)
			if err != nil {
				if first == nil {
					first = err
				}
				if ctx.Err() != nil {
					return count, ctx.Err()
				}
				failed[id] = true
				continue
			}
			count, progressed = count+1, true
			if done != nil {
				done(l)
			}
		}
		switch {
		case progressed:
		case len(ids) < limit:
			return count, first
		default:
			limit *= 2
		}
	}
}

// prepare does everything that may refuse before a number or key is used (laws 1 and 10).
func (s *Service) prepare(ctx context.Context, a licence.Approved, who audit.Entry) (Beginning, error) {
	d := a.Draft()
	if !a.Valid() {
		return Beginning{}, fmt.Errorf("%w: there is no approval", licence.ErrRefused)
	}
	typ := d.Type()
	now, err := s.time(ctx)
	if err != nil {
		return Beginning{}, err
	}
	issuer := d.Issuer()
	if err := s.render.CheckGlyphs(typ.Name, d.Document(), issuer.Name); err != nil {
		return Beginning{}, err
	}
	documents, err := s.usable(ctx, issuer.Code, purpose.Documents, now)
	if err != nil {
		return Beginning{}, err
	}
	events, err := s.usable(ctx, issuer.Code, purpose.Events, now)
	if err != nil {
		return Beginning{}, err
	}
	parts, err := s.partsOf(ctx, d)
	if err != nil {
		return Beginning{}, err
	}
	key, err := s.vault.NewKey(ctx)
	if err != nil {
		return Beginning{}, err
	}
	var random [16 + 32 + 32]byte
	if err := s.fill(random[:]); err != nil {
		return Beginning{}, err
	}
	in := Intent{
		ID:            hex.EncodeToString(random[:16]),
		Issuer:        issuer.Code,
		IssuerName:    issuer.Name,
		IssuerRegion:  issuer.Region,
		Type:          typ.Name,
		TypeVersion:   typ.SchemaVersion,
		Kind:          d.Kind(),
		BusinessID:    d.BusinessID(),
		Replaces:      d.Replaces(),
		RequestDigest: d.Digest(),
		Request:       d.Canonical(),
		Clerk:         d.Clerk(),
		Approver:      a.By(),
		IssueTime:     now,
		SigningTime:   now.Truncate(time.Second), // UTCTime has seconds
		DocumentKey:   documents.Leaf().SM3(),
		EventKey:      events.Leaf().SM3(),
		Parts:         parts,
		FormatVersion: FormatVersion,
		Specimen:      s.config.Specimen,
	}
	copy(in.Handle[:], random[16:48])
	copy(in.Seed[:], random[48:80])
	if number, date := d.Paper(); number != "" {
		in.Number = number
		if in.IssueTime, err = time.ParseInLocation("2006-01-02", date, s.config.Zone); err != nil {
			return Beginning{}, fmt.Errorf("%w: the paper's date", licence.ErrRefused)
		}
	}
	for _, w := range d.Warnings() {
		in.Warnings = append(in.Warnings, w.Code)
	}
	if err := s.codeFits(in, typ, d.Document()); err != nil {
		return Beginning{}, err
	}
	return Beginning{
		Intent:      in,
		UseStock:    typ.UsesStock(d.Kind()),
		StatusSpace: s.config.StatusSpace,
		StatusPick:  s.pickStatusIndex,
		MakeIdentifier: func(serial uint64) (string, error) {
			id, err := typ.Identifier(issuer.Code, serial, 1)
			return id.String(), err
		},
		DataKey:   key.Wrapped,
		DataKeyID: key.ID,
		Search:    typ.SearchTerms(d.Document()),
		Audit:     s.entry(who, "issue", in.ID),
	}, nil
}

// time is now, if that is not before what has happened already: an event of the past would be refused by the ledger.
func (s *Service) time(ctx context.Context) (time.Time, error) {
	// The clock is read after the last event: other workers commit events meanwhile.
	last, err := s.records.LastEventTime(ctx)
	if err != nil {
		return time.Time{}, err
	}
	now := s.now()
	return now, notBefore(now, last, "event")
}

func notBefore(now, last time.Time, what string) error {
	if !now.Before(last) {
		return nil
	}
	return fmt.Errorf("%w: the clock says %s, the last %s was %s: set the clock right", licence.ErrClock,
		now.UTC().Format(time.RFC3339), what, last.UTC().Format(time.RFC3339))
}

// usable is the organisation's key for the purpose, if what it signs now will verify.
func (s *Service) usable(ctx context.Context, organisation string, p purpose.Purpose, now time.Time) (Signing, error) {
	signing, err := s.keys.Current(ctx, organisation, p)
	if err != nil {
		return Signing{}, err
	}
	if err := pki.ValidAt(signing.Path, now); err != nil {
		return Signing{}, fmt.Errorf("%w: %s, %s: %w", ErrKey, organisation, p, err)
	}
	return signing, nil
}

// pickStatusIndex draws a place without bias: the neighbour in the list must tell nothing about birth order.
func (s *Service) pickStatusIndex() (uint64, error) {
	limit := ^uint64(0) - ^uint64(0)%s.config.StatusSpace
	for {
		var b [8]byte
		if err := s.fill(b[:]); err != nil {
			return 0, err
		}
		if v := binary.BigEndian.Uint64(b[:]); v < limit {
			return v % s.config.StatusSpace, nil
		}
	}
}

// partsOf decides which parts the licence has. A child that is registered already gets the main page only: its
// counterfoil is in the registration authority's hands.
func (s *Service) partsOf(ctx context.Context, d licence.Draft) ([]string, error) {
	typ := d.Type()
	if d.Replaces() == "" {
		return typ.PartsOf(d.Kind(), false), nil
	}
	old, view, err := s.standing(ctx, d.Replaces())
	if err != nil {
		return nil, err
	}
	if old.Type != typ.Name {
		return nil, fmt.Errorf("%w: %s is a licence of another type", licence.ErrState, old.Number)
	}
	if d.KindSpec().Content == "same" {
		recorded, err := licence.Open(old.Request)
		if err != nil {
			return nil, err
		}
		if differ := typ.Differences(recorded.Document, d.Document()); len(differ) > 0 {
			return nil, fmt.Errorf("%w: a replacement repeats the old content exactly; different: %v; use exchange to change content",
				licence.ErrRefused, differ)
		}
	}
	// What the third commit will judge is judged now, when a refusal costs no number. The successor has no handle yet.
	end := contract.Event{Kind: contract.Superseded, Actor: d.Issuer().Code, Successor: [32]byte{1}, Reason: d.Kind()}
	if _, err := s.judge(ctx, old, &end); err != nil {
		return nil, err
	}
	return typ.PartsOf(d.Kind(), view.Registered != ""), nil
}

// finish is the one way forward from any stage: normal issue and resume after a crash are the same code.
func (s *Service) finish(ctx context.Context, l Licence, who audit.Entry) (Licence, error) {
	var built []part
	var err error
	switch l.Stage {
	case StageIntent:
		if built, err = s.sign(ctx, &l); err != nil {
			return l, err
		}
	case StageSigned:
		if built, err = s.rebuild(ctx, &l); err != nil {
			return l, err
		}
	case StageIssued:
		return l, nil
	default:
		return l, fmt.Errorf("%w: licence %s is %s", licence.ErrState, l.Number, l.Stage)
	}
	if err := s.store(ctx, l, built); err != nil {
		return l, err
	}
	return s.complete(ctx, l, who)
}

// store puts the parts and the deletable copy of their key. Objects are create-only: one that is there already with
// these bytes is adopted.
func (s *Service) store(ctx context.Context, l Licence, built []part) error {
	key := DataKey{ID: l.DataKeyID, Wrapped: l.DataKey}
	wrapped, err := s.vault.KeyObject(ctx, key, l)
	if err != nil {
		return err
	}
	// Side by side: each waits for the disk, and none needs another to be there first.
	failed := make([]error, 1+len(built))
	var puts sync.WaitGroup
	put := func(n int, name string, o Object) {
		puts.Go(func() {
			if err := s.objects.Put(ctx, o); err != nil {
				failed[n] = fmt.Errorf("%w: %s: %w", licence.ErrUnavailable, name, err)
			}
		})
	}
	put(0, "key object", wrapped)
	for i, p := range built {
		put(1+i, "part "+p.name, p.stored)
	}
	puts.Wait()
	return errors.Join(failed...)
}

// complete makes the event and commits; what the caller is answered exists from here on.
func (s *Service) complete(ctx context.Context, l Licence, who audit.Entry) (Licence, error) {
	typ, err := s.render.Type(l.Type)
	if err != nil {
		return l, err
	}
	custody := map[string]string{}
	for _, p := range typ.Parts {
		custody[p.Name] = p.Custody
	}
	now, err := s.time(ctx)
	if err != nil {
		return l, err
	}
	if err := notBefore(now, l.SigningTime, "signature"); err != nil {
		return l, err
	}
	e := contract.Event{
		Version: contract.Version, Kind: contract.Issued, Handle: l.Handle, Time: now.UnixMicro(), Actor: l.Issuer,
	}
	for _, p := range l.Signatures.Parts {
		e.Parts = append(e.Parts, contract.PartCommitment{
			Part: p.Part, Commitment: s.commitment(l, p), Custody: custody[p.Part],
		})
	}
	event, err := s.event(ctx, l, e, l.EventKey, 0)
	if err != nil {
		return l, err
	}
	c := Completion{Event: event, At: now, Audit: s.entry(who, "issued", l.ID)}
	if l.Replaces != "" {
		step, err := s.supersede(ctx, l, who)
		if err != nil {
			return l, err
		}
		c.Supersedes = step
	}
	c.Deliveries = s.deliveries(l, now)
	if err := s.records.CommitIssued(ctx, l.ID, l.Epoch, c); err != nil {
		return l, err
	}
	l.Stage, l.Status, l.StatusAt = StageIssued, InForce, now
	return l, nil
}

// deliveries are due rows, one for each receiver that gets the parts of every licence.
func (s *Service) deliveries(l Licence, now time.Time) []Delivery {
	var due []Delivery
	for _, r := range s.config.Receivers {
		if slices.Contains(r.Topics, TopicParts) {
			due = append(due, Delivery{Licence: l.ID, Receiver: r.Organisation, Topic: TopicParts, Due: now})
		}
	}
	return due
}

// handOver is the due row of a part that is offered to an archive, if that one is a receiver.
func (s *Service) handOver(l Licence, archive string, now time.Time) []Delivery {
	for _, r := range s.config.Receivers {
		if r.Organisation == archive && slices.Contains(r.Topics, TopicHandOver) {
			return []Delivery{{Licence: l.ID, Receiver: archive, Topic: TopicHandOver, Due: now}}
		}
	}
	return nil
}

// entry fills what every audit row of one call shares.
func (s *Service) entry(who audit.Entry, what, licenceID string) audit.Entry {
	who.At, who.What, who.Licence = s.now(), what, licenceID
	return who
}
