package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/signer/purpose"
	"github.com/elicence/elicence/storage/records"
)

const (
	patternBirths = 48   // really issued; all others are like one of them
	revokedEvery  = 250  // one in so many likenesses is one of a licence that was revoked
	fillAtOnce    = 4096 // likenesses in one transaction
	freeSheets    = 4000 // of each issuer beside those that were used
)

// filled is what the filling cost, and room for names of what is in it.
type filledRecords struct {
	What      string  `json:"what"`
	N         int     `json:"n"`
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"perSecond"`
	Bytes     int64   `json:"bytesEach"` // on the disk of the records, a licence
}

// fill brings the records to n licences. A few are really issued. The others have the rows that an issue leaves, encrypted
// under data keys and search tags of their own, and their events, which are signed by their issuers' keys, go through the real
// sequencer. What they have not got are files among the objects.
func (b *bench) fill(ctx context.Context, progress func(done int)) (filledRecords, error) {
	begun := time.Now()
	if err := b.stock(ctx, freeSheets); err != nil {
		return filledRecords{}, err
	}
	real := min(patternBirths, b.n, len(b.lines))
	if err := b.batchOf(ctx, 0, real, b.workers, newMeter()); err != nil {
		return filledRecords{}, err
	}
	if err := b.revokeOne(ctx); err != nil {
		return filledRecords{}, err
	}
	if err := b.i.ledger.catchUp(ctx); err != nil {
		return filledRecords{}, err
	}
	f := &filler{bench: b, taken: map[uint64]bool{}}
	if err := f.learn(ctx); err != nil {
		return filledRecords{}, err
	}
	if err := f.run(ctx, b.n-real, progress); err != nil {
		return filledRecords{}, err
	}
	if err := errors.Join(b.i.ledger.catchUp(ctx), b.i.publishStatus(ctx)); err != nil {
		return filledRecords{}, err
	}
	if err := b.i.db.Tidy(ctx); err != nil {
		return filledRecords{}, err
	}
	size, err := b.i.db.DiskUse(ctx)
	took := time.Since(begun).Seconds()
	return filledRecords{"fill the records", b.n, took, float64(b.n) / took, size / int64(b.n)}, err
}

// revokeOne revokes the first licence that a hospital has issued.
func (b *bench) revokeOne(ctx context.Context) error {
	found, err := b.i.db.List(ctx, issuing.Filter{Kind: licence.KindFirst}, "", 1)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return usage("--births has no first issue to be like")
	}
	by := demonstrationScheme().commission
	_, err = b.i.service.Take(ctx, issuing.Move{Kind: contract.Revoked, Number: found[0].Number, Actor: by.Code, Reason: "wrongly-issued",
		Note: []byte("登记有误，核实后撤销"), NoteName: noteName(contract.Revoked)}, b.i.whoFor(ctx, actor{by, "supervisor-1"}, "wrongly-issued"))
	return err
}

// pattern is a licence that was really issued.
type pattern struct {
	licence issuing.Licence
	typ     *licence.Type
	terms   map[string]string // as they stand in the request
	events  []contract.Event
	kinds   []issuing.Event
	notes   map[int]issuing.Note
}

type filler struct {
	*bench
	patterns, ended []pattern
	multiplier      *records.Multiplier
	random          []*rand.ChaCha8 // one for each core
	taken           map[uint64]bool // places in the status list
}

func (f *filler) learn(ctx context.Context) error {
	var all []issuing.Licence
	if err := f.i.each(ctx, nil, func(l issuing.Licence) { all = append(all, l) }); err != nil {
		return err
	}
	var issued []issuing.Licence
	for _, l := range all {
		if l.Kind != licence.KindFirst || l.Type != nationalType {
			continue
		}
		p := pattern{licence: l, terms: map[string]string{}}
		var err error
		if p.typ, err = f.i.types.Type(l.Type); err != nil {
			return err
		}
		opened, err := licence.Open(l.Request)
		if err != nil {
			return err
		}
		for _, field := range p.typ.Search {
			if s, ok := licence.Value(opened.Document, field.Pointer).(string); ok {
				p.terms[field.Name] = s
			}
		}
		if p.kinds, err = f.i.db.EventsOf(ctx, l.ID); err != nil {
			return err
		}
		for _, e := range p.kinds {
			signed, err := contract.ParseEvent(e.Bytes)
			if err != nil {
				return err
			}
			p.events = append(p.events, signed.Event)
		}
		if p.notes, err = f.i.db.Notes(ctx, l.ID); err != nil {
			return err
		}
		f.taken[l.StatusIndex] = true
		issued = append(issued, l)
		if l.Status == issuing.InForce {
			f.patterns = append(f.patterns, p)
		} else {
			f.ended = append(f.ended, p)
		}
	}
	if len(f.patterns) == 0 || len(f.ended) == 0 {
		return usage("--births has too few first issues to be like")
	}
	for w := range runtime.GOMAXPROCS(0) {
		f.random = append(f.random, rand.NewChaCha8([32]byte{1: byte(w), 2: byte(w >> 8)}))
	}
	var err error
	f.multiplier, err = f.i.db.Multiplier(ctx, issued)
	return err
}

// run makes n likenesses: while one group is written, the next is made.
func (f *filler) run(ctx context.Context, n int, progress func(done int)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type group struct {
		made []records.Likeness
		err  error
	}
	groups := make(chan group)
	go func() {
		defer close(groups)
		for from := 0; from < n; from += fillAtOnce {
			made, err := f.make(ctx, from, min(from+fillAtOnce, n))
			select {
			case groups <- group{made, err}:
			case <-ctx.Done():
				return
			}
		}
	}()
	done := 0
	for g := range groups {
		if g.err != nil {
			return g.err
		}
		if err := f.sequence(ctx, g.made); err != nil {
			return err
		}
		if err := f.multiplier.Add(ctx, g.made); err != nil {
			return err
		}
		done += len(g.made)
		progress(done)
	}
	return ctx.Err()
}

// make makes the likenesses from to to on all cores.
func (f *filler) make(ctx context.Context, from, to int) ([]records.Likeness, error) {
	made := make([]records.Likeness, to-from)
	failed := make([]error, len(f.random))
	var all sync.WaitGroup
	for w := range failed {
		all.Go(func() {
			for k := from + w; k < to && failed[w] == nil; k += len(failed) {
				made[k-from], failed[w] = f.like(ctx, k, f.random[w])
			}
		})
	}
	all.Wait()
	return made, errors.Join(failed...)
}

// sequence puts the events on the log before the records have them, where they then stand with their place.
func (f *filler) sequence(ctx context.Context, made []records.Likeness) error {
	if err := f.i.ledger.open(ctx); err != nil {
		return err
	}
	var events [][]byte
	var places []**uint64
	for n := range made {
		for k := range made[n].Events {
			events, places = append(events, made[n].Events[k].Bytes), append(places, &made[n].Events[k].Index)
		}
	}
	outcomes, err := f.i.ledger.sequencer.Submit(ctx, events)
	if err != nil {
		return err
	}
	for n, o := range outcomes {
		if o.Refusal != nil {
			return fmt.Errorf("bench: the ledger refuses a likeness: %w", o.Refusal)
		}
		*places[n] = &o.Index
	}
	return nil
}

// like makes the k-th likeness: every name, number, key and digest is its own and as long as the pattern's.
func (f *filler) like(ctx context.Context, k int, random *rand.ChaCha8) (one records.Likeness, err error) {
	p := f.patterns[k%len(f.patterns)]
	if k%revokedEvery == revokedEvery-1 {
		p = f.ended[k%len(f.ended)]
	}
	fill := func(b []byte) { _, _ = random.Read(b) } // never fails
	digits := func(n int) string {
		b := make([]byte, n/2)
		fill(b)
		return hex.EncodeToString(b)
	}
	l := p.licence
	key, err := f.i.vault.NewKey(ctx)
	if err != nil {
		return one, err
	}
	now := f.i.app.now().Truncate(time.Microsecond)
	l.ID, l.DataKey, l.DataKeyID = digits(len(l.ID)), key.Wrapped, key.ID
	l.Number, l.BusinessID = likeNumber(k), fmt.Sprintf("L-%09d", k)
	l.Serial, l.StatusIndex = uint64(100_000+k), f.place(k)
	id, err := p.typ.Identifier(l.Issuer, l.Serial, 1)
	if err != nil {
		return one, err
	}
	l.Identifier, l.Created, l.IssueTime, l.SigningTime, l.StatusAt = id.String(), now, now, now.Truncate(time.Second), now
	fill(l.Handle[:])
	fill(l.Seed[:])
	fill(l.RequestDigest[:])
	l.Signatures.Parts = append([]issuing.PartSignature(nil), l.Signatures.Parts...)
	for n := range l.Signatures.Parts {
		part := &l.Signatures.Parts[n]
		part.RS, part.Nonce = make([]byte, len(part.RS)), make([]byte, len(part.Nonce))
		fill(part.RS)
		fill(part.Nonce)
		fill(part.SM3[:])
		at := strings.LastIndexByte(part.Address, '/') + 1
		part.Address = part.Address[:at] + digits(len(part.Address)-at)
	}
	one = records.Likeness{Of: p.licence.ID, Search: map[string]string{}, Notes: map[int][]byte{}}
	l.Request = bytes.Clone(l.Request)
	for field, old := range p.terms {
		value := likeTerm(field, old, k, l.BusinessID)
		l.Request = bytes.ReplaceAll(l.Request, []byte(`"`+old+`"`), []byte(`"`+value+`"`))
		one.Search[field] = licence.Normalise(value)
	}
	one.Licence = l
	previous := [32]byte{}
	for n, e := range p.events {
		e.Handle, e.Previous, e.Time = l.Handle, previous, now.UnixMicro()+int64(n)
		e.Parts = append([]contract.PartCommitment(nil), e.Parts...)
		for c := range e.Parts {
			fill(e.Parts[c].Commitment[:])
		}
		signing, err := f.i.keyring.Current(ctx, e.Actor, purpose.Events)
		if err != nil {
			return one, err
		}
		signed, err := contract.SignEvent(ctx, signing.Key, signing.Leaf(), e)
		if err != nil {
			return one, err
		}
		previous = contract.Hash(signed)
		one.Events = append(one.Events, issuing.Event{Licence: l.ID, Sequence: p.kinds[n].Sequence, Kind: p.kinds[n].Kind, Hash: previous,
			Bytes: signed, At: time.UnixMicro(e.Time), Actor: e.Actor})
		if note, ok := p.notes[p.kinds[n].Sequence]; ok {
			one.Notes[p.kinds[n].Sequence] = note.Text
		}
	}
	return one, nil
}

// place spreads likenesses over the status list like random places: an odd factor permutes a list whose length is a power of
// two. Places of patterns are given to nobody else.
func (f *filler) place(k int) uint64 {
	at := f.spread(k)
	for f.taken[at] {
		k += 1 << 23 // the other half of the list, where no likeness is
		at = f.spread(k)
	}
	return at
}

func (f *filler) spread(k int) uint64 { return uint64(k) * 7_919_999 % f.i.config.Status.Space }

// likeNumber is the number of the k-th likeness.
func likeNumber(k int) string { return fmt.Sprintf("L%09d", k) }

// likeTerm is a search value of the k-th likeness. Id numbers and admissions are one person's; four licences share a name.
func likeTerm(field, old string, k int, business string) string {
	switch {
	case field == "business-id":
		return business
	case strings.HasSuffix(field, "-name"):
		first := []rune(cmp.Or(old, "某"))[0]
		shared := k / 4
		if field == "father-name" {
			shared += 1 << 22
		}
		return string([]rune{first, rune(0x4E00 + shared%4096), rune(0x4E00 + shared/4096)})
	case strings.HasSuffix(field, "-id"):
		return fmt.Sprintf("%.6s%d%011d", old+"000000", len(field), k) // mother's and father's differ in length
	}
	return fmt.Sprintf("R-%09d", k)
}

// filling shows how far the filling is: a bar on a terminal, ten lines elsewhere.
func (a *app) filling(n int) func(done int) {
	bar := a.progress(n, "填充 filling")
	f, terminal := a.stderr.(*os.File)
	terminal = terminal && term.IsTerminal(int(f.Fd()))
	told := 0
	return func(done int) {
		_ = bar.Set(done)
		if tenth := done * 10 / max(n, 1); tenth > told && n >= 10_000 {
			told = tenth
			if !terminal {
				fmt.Fprintf(a.stderr, "填充 filling: %d of %d\n", done, n)
			}
		}
	}
}
