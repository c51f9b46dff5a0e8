package fabric_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/elicence/elicence/ledger"
	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/ledger/embedded"
	"github.com/elicence/elicence/ledger/fabric"
	"github.com/elicence/elicence/ledger/fabric/network"
	"github.com/elicence/elicence/ledger/fabric/transaction"
	"github.com/elicence/elicence/ledger/ledgertest"
)

// TestKilledOnThreeOrderers are the faults that need a network of their own: three orderers, and chaincode processes that speak TLS
// with their peers, as in production.
func TestKilledOnThreeOrderers(t *testing.T) {
	stories := []struct {
		name string
		tell func(t *testing.T, l *laboratory, name string)
	}{
		{"Orderers", orderersAreKilled},
		{"WipedPeer", peerIsWiped},
		{"ExpiredClient", clientCertificateExpires},
		{"ExpiredPeer", peerCertificateExpires},
		{"Upgrade", contractIsUpgraded},
	}
	var ledgers []string
	for _, s := range stories {
		ledgers = append(ledgers, strings.ToLower(s.name))
	}
	l, up := ownNetwork(t, network.Options{Orderers: 3, BatchTimeout: 50 * time.Millisecond, ChaincodeTLS: true}, ledgers...)
	t.Logf("three orderers up and %d ledgers deployed after %v", len(l.ledgers), up.Round(time.Millisecond))
	for i, s := range stories {
		t.Run(s.name, func(t *testing.T) { s.tell(t, l, l.ledgers[i]) })
	}
}

// killsOr is how often something is killed: a few times in every run of the tests, and as often as the environment says in a soak.
func killsOr(t *testing.T, few int) int {
	t.Helper()
	v := os.Getenv("ELICENCE_SOAK_KILLS")
	if v == "" {
		return few
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		t.Fatalf("ELICENCE_SOAK_KILLS: %v", err)
	}
	return n
}

// copyOfLog is one organisation's, with the follower that makes it.
type copyOfLog struct {
	chain    *fabric.Connection
	store    *ledgertest.Memory
	log      *embedded.Log
	follower *fabric.Follower
	stop     func()
}

// copies follows a ledger in all three organisations, from when it is called to the end of the test.
func copies(t *testing.T, l *laboratory, w *ledgertest.World, name string) map[contract.OrganisationKind]*copyOfLog {
	t.Helper()
	all := map[contract.OrganisationKind]*copyOfLog{}
	for kind, c := range l.connect(t, name) {
		store := ledgertest.NewMemory()
		all[kind] = followInto(t, c, w, store)
	}
	return all
}

func followInto(t *testing.T, c *fabric.Connection, w *ledgertest.World, store *ledgertest.Memory) *copyOfLog {
	m := &copyOfLog{chain: c, store: store, log: embedded.NewLog(store, ledgertest.NewMemoryTiles(), w.LogKey, w.LogCertificate, ledgertest.Origin)}
	m.follower = fabric.NewFollower(c, m.log)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.follower.Run(ctx, nil) }()
	m.stop = sync.OnceFunc(func() {
		cancel()
		<-ended
	})
	t.Cleanup(m.stop)
	return m
}

// sound holds a ledger to all that must be true at the end: the organisations' followers have one log, one that begins at block 0
// makes the same, every event stands once and no hand-over before its issue, and an audit finds nothing.
func sound(t *testing.T, l *laboratory, w *ledgertest.World, name string, followers map[contract.OrganisationKind]*copyOfLog, s *fabric.Sequencer, licences []*ledgertest.Licence) {
	t.Helper()
	in, err := s.Audited(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := uint64(len(w.Founding()))
	for _, one := range licences {
		want += uint64(len(one.Events))
		before := uint64(0)
		for i, e := range one.Events {
			index, found, err := s.IndexOf(t.Context(), contract.Hash(e))
			if err != nil || !found || index < before {
				t.Fatalf("event %d of a licence: index %d after %d, %t, %v", i, index, before, found, err)
			}
			before = index
		}
	}
	if in.Size != want {
		t.Fatalf("%d entries for %d events", in.Size, want)
	}
	for kind, m := range followers {
		until(t, string(kind), func() error {
			height, err := m.chain.Height(t.Context())
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if err := m.follower.Wait(ctx, height); err != nil {
				return err
			}
			head, err := m.store.Head(ctx)
			if err == nil && string(head.Body) != string(in.Body) {
				err = fmt.Errorf("another log: %s", head.Body)
			}
			return err
		})
	}
	everywhere(t, l, w, name, in.Body)
	in.Trust = w.Trust()
	report, err := ledger.Audit(t.Context(), in)
	if err != nil || report.Misfit != nil || report.Entries != want {
		t.Fatalf("audit: %+v, %v", report, err)
	}
}

// load issues and hands over without a pause until stop is called, which returns the licences. What fails is submitted again until
// it stands.
type load struct {
	stood atomic.Int64 // batches
	stop  func() []*ledgertest.Licence
}

func underLoad(t *testing.T, w *ledgertest.World, s *fabric.Sequencer) *load {
	t.Helper()
	const workers, licences = 2, 10
	var all []*ledgertest.Licence
	var mu sync.Mutex
	var wait sync.WaitGroup
	out := &load{}
	ended := make(chan struct{})
	for range workers {
		wait.Go(func() {
			for {
				select {
				case <-ended:
					return
				default:
				}
				var issues, offers [][]byte
				var some []*ledgertest.Licence
				for range licences {
					one := w.Issue(w.Hospital)
					issues = append(issues, one.Last())
					offers = append(offers, one.HandOver(w.Hospital, w.Archive))
					some = append(some, one)
				}
				for _, batch := range [][][]byte{issues, offers} {
					if err := insist(s, batch); err != nil {
						t.Error(err)
						return
					}
					out.stood.Add(1)
				}
				mu.Lock()
				all = append(all, some...)
				mu.Unlock()
			}
		})
	}
	out.stop = sync.OnceValue(func() []*ledgertest.Licence {
		close(ended)
		wait.Wait()
		return all
	})
	t.Cleanup(func() { out.stop() })
	return out
}

// insist submits until everything stands.
func insist(s *fabric.Sequencer, events [][]byte) error {
	for deadline := time.Now().Add(2 * time.Minute); ; {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		outcomes, err := s.Submit(ctx, events)
		cancel()
		if err == nil {
			for i, o := range outcomes {
				if o.Refusal != nil {
					return fmt.Errorf("event %d: %w", i, o.Refusal)
				}
			}
			return nil
		}
		if time.Now().After(deadline) || errors.Is(err, fabric.ErrDiverged) {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// goesOn waits until batches that were begun after the call stand: those on their way stood before the fault, perhaps.
func (o *load) goesOn(t *testing.T, what string) time.Duration {
	t.Helper()
	from := o.stood.Load()
	return until(t, what, func() error {
		if n := o.stood.Load() - from; n < 4 {
			return fmt.Errorf("%d batches stood since", n)
		}
		return nil
	})
}

// orderersAreKilled kills the leader, then one that only follows, and so on, each back before the next: two go on ordering.
func orderersAreKilled(t *testing.T, l *laboratory, name string) {
	w := ledgertest.NewWorld(t, "orderers")
	followers := copies(t, l, w, name)
	s := l.open(t, w, name, ledgertest.NewMemory(), ledgertest.NewMemoryTiles())
	accepted(t, s, w.Founding()...)
	at := underLoad(t, w, s)
	at.goesOn(t, "load")
	for kill := range killsOr(t, 3) {
		leader, err := l.Leader(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		victim := leader
		if kill%2 == 1 {
			for i := 1; victim == leader; i++ {
				victim = fmt.Sprintf("orderer%d", (kill/2+i)%3+1)
			}
		}
		if err := l.Kill(victim); err != nil {
			t.Fatal(err)
		}
		without := at.goesOn(t, "without "+victim)
		if victim == leader {
			if next, err := l.Leader(t.Context()); err != nil || next == victim {
				t.Fatalf("%s leads, and it is dead: %v", next, err)
			}
		}
		if err := l.Start(victim); err != nil {
			t.Fatal(err)
		}
		if err := l.Listening(t.Context(), victim); err != nil {
			t.Fatal(err)
		}
		with := at.goesOn(t, "with "+victim)
		t.Logf("%s (leader: %t): four batches stood %v after the kill, four more %v after it was back", victim, victim == leader, without.Round(10*time.Millisecond), with.Round(10*time.Millisecond))
	}
	licences := at.stop()
	t.Logf("%d licences", len(licences))
	sound(t, l, w, name, followers, s, licences)
}

// peerIsWiped takes a peer's disk away. On the channel again it has the chain anew, its chaincode works, and its organisation's
// follower, which knows nothing of it, goes on where it was.
func peerIsWiped(t *testing.T, l *laboratory, name string) {
	archive := network.Organisations()[2]
	peer := "peer." + archive.Name
	w := ledgertest.NewWorld(t, "wiped")
	followers := copies(t, l, w, name)
	s := l.open(t, w, name, ledgertest.NewMemory(), ledgertest.NewMemoryTiles())
	accepted(t, s, w.Founding()...)
	var licences []*ledgertest.Licence
	issue := func() {
		t.Helper()
		one := w.Issue(w.Hospital)
		one.HandOver(w.Hospital, w.Archive)
		one.Accept(w.Archive) // sent as a client of the very peer
		if err := insist(s, one.Events); err != nil {
			t.Fatal(err)
		}
		licences = append(licences, one)
	}
	issue()
	for range killsOr(t, 1)/20 + 1 {
		own := followers[contract.Archive]
		until(t, "its follower", func() error {
			if head, err := own.store.Head(t.Context()); err != nil || head.Size == 0 {
				return fmt.Errorf("%d entries, %w", head.Size, err)
			}
			return nil
		})
		next := own.follower.Next()
		if err := errors.Join(l.Kill(peer), l.Wipe(peer), l.Start(peer), l.Listening(t.Context(), peer)); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		until(t, "join", func() error { return l.Rejoin(t.Context(), archive) })
		issue()
		t.Logf("%s on an empty disk: events stand %v after it listens", peer, time.Since(begun).Round(10*time.Millisecond))
		if own.follower.Next() < next {
			t.Fatalf("the follower went back from block %d to %d", next, own.follower.Next())
		}
		// And one that was away meanwhile goes on from what it has stored.
		own.stop()
		issue()
		followers[contract.Archive] = followInto(t, own.chain, w, own.store)
	}
	sound(t, l, w, name, followers, s, licences)
}

// expiredIs fails the test unless the error names that certificate.
func expiredIs(t *testing.T, err error, member, where string, notAfter time.Time) {
	t.Helper()
	var e *fabric.Expired
	if !errors.As(err, &e) || !errors.Is(err, fabric.ErrExpired) {
		t.Fatalf("no certificate is named: %v", err)
	}
	if e.Member != member || e.Where != where || !e.NotAfter.Equal(notAfter.Truncate(time.Second)) {
		t.Fatalf("%+v", e)
	}
	for _, says := range []string{member, where, notAfter.UTC().Format("2006-01-02 15:04")} {
		if !strings.Contains(err.Error(), says) {
			t.Errorf("the error does not say %q: %v", says, err)
		}
	}
	t.Log(err)
}

// clientCertificateExpires: the hospital's commission has forgotten to renew a client's certificate.
func clientCertificateExpires(t *testing.T, l *laboratory, name string) {
	commission := network.Organisations()[0]
	w := ledgertest.NewWorld(t, "expired client")
	followers := copies(t, l, w, name)
	s := l.open(t, w, name, ledgertest.NewMemory(), ledgertest.NewMemoryTiles())
	accepted(t, s, w.Founding()...)
	notAfter, err := l.ExpiredClient(commission, "forgotten")
	if err != nil {
		t.Fatal(err)
	}
	endpoint := l.Endpoint(commission, "forgotten", name)
	c, err := fabric.Connect(endpoint)
	if err != nil {
		t.Fatalf("it stops whoever only wants to issue: %v", err)
	}
	defer c.Close()
	licence := w.Issue(w.Hospital)
	_, err = c.Endorse(t.Context(), transaction.Submit, licence.Last())
	expiredIs(t, err, commission.MSP, endpoint.Cert, notAfter)
	if !errors.Is(err, fabric.ErrNotEndorsed) {
		t.Error(err)
	}
	_, err = c.Height(t.Context())
	expiredIs(t, err, commission.MSP, endpoint.Cert, notAfter)
	m := followInto(t, c, w, ledgertest.NewMemory())
	until(t, "its follower", func() error {
		if err := m.follower.Err(); !errors.Is(err, fabric.ErrExpired) {
			return fmt.Errorf("its trouble is another: %w", err)
		}
		return nil
	})
	expiredIs(t, m.follower.Err(), commission.MSP, endpoint.Cert, notAfter)
	// Whoever has a good one goes on; the event stands once.
	accepted(t, s, licence.Last())
	sound(t, l, w, name, followers, s, []*ledgertest.Licence{licence})
}

// peerCertificateExpires: the police come back with a TLS certificate that has expired. Nothing is ordered without them, the error
// says why, and with a new one everything goes on.
func peerCertificateExpires(t *testing.T, l *laboratory, name string) {
	police := network.Organisations()[1]
	peer := "peer." + police.Name
	w := ledgertest.NewWorld(t, "expired peer")
	followers := copies(t, l, w, name)
	s := l.open(t, w, name, ledgertest.NewMemory(), ledgertest.NewMemoryTiles())
	accepted(t, s, w.Founding()...)
	licence := w.Issue(w.Hospital)
	accepted(t, s, licence.Last())
	registered := licence.Register(w.Police)
	again := func() error {
		return errors.Join(l.Kill(peer), l.Start(peer), l.Listening(context.Background(), peer))
	}
	notAfter, renew, err := l.ExpireTLS(police)
	if err != nil {
		t.Fatal(err)
	}
	renewed := sync.OnceValue(func() error { return errors.Join(renew(), again()) })
	defer func() {
		if err := renewed(); err != nil {
			t.Error(err)
		}
	}()
	if err := again(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	_, err = s.Submit(ctx, [][]byte{registered})
	cancel()
	expiredIs(t, err, police.MSP, l.Endpoint(police, "client", name).Address, notAfter)
	if !errors.Is(err, fabric.ErrUnreachable) {
		t.Error(err)
	}
	follower := followers[contract.Police].follower
	until(t, "the follower notices", func() error {
		if err := follower.Err(); !errors.Is(err, fabric.ErrExpired) {
			return fmt.Errorf("its trouble is another: %w", err)
		}
		return nil
	})
	expiredIs(t, follower.Err(), police.MSP, l.Endpoint(police, "client", name).Address, notAfter)
	if err := renewed(); err != nil {
		t.Fatal(err)
	}
	if err := insist(s, [][]byte{registered}); err != nil {
		t.Fatal(err)
	}
	sound(t, l, w, name, followers, s, []*ledgertest.Licence{licence})
}
