package fabric_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/ledger/fabric"
	"github.com/elicence/elicence/ledger/fabric/transaction"
	"github.com/elicence/elicence/ledger/ledgertest"
	"github.com/elicence/elicence/signer/purpose"
)

// traffic is what is on its way on a chain: from endorsement until its sender knows what became of it.
type traffic struct {
	mu      sync.Mutex
	changed *sync.Cond
	flying  map[string][]*contract.Signed
	sent    []int // events of each transaction
	wrong   error
}

func newTraffic() *traffic {
	w := &traffic{flying: map[string][]*contract.Signed{}}
	w.changed = sync.NewCond(&w.mu)
	return w
}

// watched is a member's way to a chain.
type watched struct {
	*chain
	*traffic
	together int // a transaction waits until so many are on their way
}

func (c *watched) Endorse(ctx context.Context, function string, args ...[]byte) (fabric.Prepared, error) {
	p, err := c.chain.Endorse(ctx, function, args...)
	if err != nil {
		return p, err
	}
	c.traffic.mu.Lock()
	defer c.traffic.mu.Unlock()
	var events []*contract.Signed
	for _, b := range args {
		e, err := contract.ParseEvent(b)
		if err != nil {
			return p, err
		}
		events = append(events, e)
		if changes(e) && len(c.flying) > 0 {
			c.wrong = errors.New("beside what changes who may sign something is on its way")
		}
		for _, others := range c.flying {
			for _, other := range others {
				if changes(other) || other.Event.Handle == e.Event.Handle {
					c.wrong = errors.New("two transactions at once on one licence, or beside a change of who may sign")
				}
			}
		}
	}
	c.flying[p.ID], c.sent = events, append(c.sent, len(events))
	c.traffic.changed.Broadcast()
	return p, nil
}

func changes(e *contract.Signed) bool {
	return e.Event.Kind == contract.Enrolled || e.Event.Kind == contract.Withdrawn
}

func (c *watched) Send(ctx context.Context, p fabric.Prepared) error {
	stop := context.AfterFunc(ctx, func() {
		c.traffic.mu.Lock()
		defer c.traffic.mu.Unlock()
		c.traffic.changed.Broadcast()
	})
	defer stop()
	c.traffic.mu.Lock()
	for len(c.flying) < c.together && ctx.Err() == nil {
		c.traffic.changed.Wait()
	}
	c.together = 0
	c.traffic.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return c.chain.Send(ctx, p)
}

func (c *watched) Await(ctx context.Context, p fabric.Prepared) (fabric.Commitment, error) {
	done, err := c.chain.Await(ctx, p)
	c.traffic.mu.Lock()
	defer c.traffic.mu.Unlock()
	delete(c.flying, p.ID)
	return done, err
}

// watch opens a sequencer with a way of its own for each kind of member.
func (c *chain) watch(w *ledgertest.World, seen *traffic, together int) *fabric.Sequencer {
	ways := map[contract.OrganisationKind]*watched{}
	for _, k := range transaction.Kinds() {
		ways[k] = &watched{chain: c, traffic: seen, together: together}
	}
	return c.routed(w, ledgertest.NewMemory(), routeOf(w, ways))
}

// Hand-overs go in small transactions, several at once: the peers' work on one grows with the square of its size.
func TestHandOversGoSideBySide(t *testing.T) {
	w, ch, seen := ledgertest.NewWorld(t, "side"), newChain(t), newTraffic()
	s := ch.open(w, ledgertest.NewMemory())
	accepted(t, s, w.Founding()...)
	var issues, offers [][]byte
	for range 250 {
		l := w.Issue(w.Hospital)
		issues = append(issues, l.Last())
		offers = append(offers, l.HandOver(w.Hospital, w.Archive))
	}
	accepted(t, s, issues...)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // for a sequencer that sends one after the other
	defer cancel()
	outcomes, err := ch.watch(w, seen, 3).Submit(ctx, offers)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range outcomes {
		if o.Refusal != nil {
			t.Fatal(o.Refusal)
		}
	}
	if len(seen.sent) != 3 || max(seen.sent[0], seen.sent[1], seen.sent[2]) != 100 || seen.wrong != nil {
		t.Fatalf("transactions of %d events, %v", seen.sent, seen.wrong)
	}
}

// Whatever is mixed, and however often peers invalidate: each licence's events stand in their order, and what changes who may sign
// stands before what depends on it.
func TestMixedEventsKeepTheirOrder(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			w, ch, seen := ledgertest.NewWorld(t, "mixed"), newChain(t), newTraffic()
			s := ch.watch(w, seen, 0)
			accepted(t, s, w.Founding()...)
			var chance sync.Mutex
			ch.invalidate = func([][]byte) fabric.Code {
				chance.Lock()
				defer chance.Unlock()
				if random.IntN(8) == 0 {
					return fabric.ReadConflict
				}
				return fabric.Valid
			}
			var standing []*ledgertest.Licence
			offered := map[*ledgertest.Licence]bool{}
			var events [][]byte
			for n := range 600 {
				switch {
				case n%150 == 149: // a new key of the hospital, which signs from now on
					w.Hospital.Events = ledgertest.NewKey(fmt.Sprintf("mixed %d %d", seed, n), purpose.Events)
					w.Hospital.Certificate = w.Certify(w.Hospital.Code, w.Hospital.Events, purpose.Events, int64(1000+n))
					events = append(events, w.Enrol(w.Hospital))
				case len(standing) == 0 || random.IntN(3) == 0:
					l := w.Issue(w.Hospital)
					standing, events = append(standing, l), append(events, l.Last())
				default:
					l := standing[random.IntN(len(standing))]
					if offered[l] {
						events = append(events, l.Reject(w.Archive))
					} else {
						events = append(events, l.HandOver(w.Hospital, w.Archive))
					}
					offered[l] = !offered[l]
				}
			}
			indexes := accepted(t, s, events...)
			last := map[[32]byte]uint64{}
			for i, b := range events {
				e, err := contract.ParseEvent(b)
				if err != nil {
					t.Fatal(err)
				}
				if before, is := last[e.Event.Handle]; is && before > indexes[i] {
					t.Fatalf("event %d stands before the one that it follows", i)
				}
				last[e.Event.Handle] = indexes[i]
			}
			if seen.wrong != nil {
				t.Fatal(seen.wrong)
			}
		})
	}
}
