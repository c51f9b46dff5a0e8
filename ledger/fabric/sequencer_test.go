package fabric_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/ledger/embedded"
	"github.com/elicence/elicence/ledger/fabric"
	"github.com/elicence/elicence/ledger/fabric/network"
	"github.com/elicence/elicence/ledger/fabric/transaction"
	"github.com/elicence/elicence/ledger/ledgertest"
)

// laboratory is the one network of this package's tests, with ledgers that are dealt out to them.
type laboratory struct {
	*network.Network
	ledgers []string
	dealt   atomic.Int64
}

// ledgersOfTests is how many ledgers the tests of this package use, and a few.
const ledgersOfTests = 32

var lab = sync.OnceValues(func() (*laboratory, error) {
	tools, err := network.Tools()
	if err != nil {
		return nil, err
	}
	chaincode, err := network.BuildChaincode(context.Background(), folder)
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	n, err := network.Up(context.Background(), folder+"/net", network.Options{Tools: tools, Chaincode: chaincode, Orderers: 1, BatchTimeout: 20 * time.Millisecond}, nil)
	if err != nil {
		return nil, err
	}
	started.Store(n)
	up := time.Since(begun)
	l := &laboratory{Network: n}
	for i := range ledgersOfTests {
		l.ledgers = append(l.ledgers, fmt.Sprintf("licence%d", i))
	}
	if err := n.Deploy(context.Background(), l.ledgers...); err != nil {
		return l, err
	}
	fmt.Printf("network up after %v, %d ledgers deployed after %v\n", up.Round(time.Millisecond), len(l.ledgers), time.Since(begun).Round(time.Millisecond))
	return l, nil
})

// started is the network, if a test needed it.
var started atomic.Pointer[network.Network]

var folder string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	var err error
	if folder, err = os.MkdirTemp("", "elicence-fabric-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(folder)
	defer func() {
		if n := started.Load(); n != nil {
			if err := n.Down(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = 1
			}
		}
	}()
	return m.Run()
}

// ownNetwork brings up a network for one test, or one benchmark, with ledgers on it, and tells how long that took from built
// programs.
func ownNetwork(t testing.TB, o network.Options, ledgers ...string) (_ *laboratory, up time.Duration) {
	t.Helper()
	var err error
	if o.Tools, err = network.Tools(); err != nil {
		t.Fatal(err)
	}
	if o.Chaincode, err = network.BuildChaincode(t.Context(), t.TempDir()); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	n, err := network.Up(t.Context(), filepath.Join(t.TempDir(), "net"), o, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Down(); err != nil {
			t.Error(err)
		}
	})
	if err := n.Deploy(t.Context(), ledgers...); err != nil {
		t.Fatal(err)
	}
	return &laboratory{Network: n, ledgers: ledgers}, time.Since(begun)
}

// chainOf is one ledger as each member's own peer sees it.
type chainOf map[contract.OrganisationKind]*fabric.Connection

// newLedger deals out an empty one.
func newLedger(t *testing.T) (l *laboratory, name string) {
	t.Helper()
	l, err := lab()
	if err != nil {
		t.Fatal(err)
	}
	i := l.dealt.Add(1) - 1
	if int(i) >= len(l.ledgers) {
		t.Fatal("more ledgers are needed: raise ledgersOfTests")
	}
	return l, l.ledgers[i]
}

// connect opens a connection of each member to its own peer.
func (l *laboratory) connect(t testing.TB, name string) chainOf {
	t.Helper()
	all := chainOf{}
	for _, o := range network.Organisations() {
		c, err := fabric.Connect(l.Endpoint(o, "client", name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		all[o.Kind] = c
	}
	return all
}

// routeOf sends each event as its actor's member.
func routeOf[C fabric.Chain](w *ledgertest.World, chains map[contract.OrganisationKind]C) fabric.Route {
	kinds := map[string]contract.OrganisationKind{}
	for _, o := range w.Organisations() {
		kinds[o.Code] = o.Kind
	}
	return func(s *contract.Signed) fabric.Chain {
		kind, ok := kinds[s.Event.Actor]
		if !ok {
			kind = contract.Commission
		}
		return chains[transaction.SenderOf(kind)]
	}
}

// open follows a ledger into a store and returns its sequencer.
func (l *laboratory) open(t testing.TB, w *ledgertest.World, name string, store embedded.Store, tiles embedded.Tiles) *fabric.Sequencer {
	t.Helper()
	chains := l.connect(t, name)
	log := embedded.NewLog(store, tiles, w.LogKey, w.LogCertificate, ledgertest.Origin)
	f := fabric.NewFollower(chains[contract.Commission], log)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx, nil) }()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return fabric.NewSequencer(log, f, routeOf(w, chains), time.Now)
}

func TestSuite(t *testing.T) {
	ledgertest.Run(t, func(t *testing.T, w *ledgertest.World) func() ledgertest.Sequencer {
		l, name := newLedger(t)
		store, tiles := ledgertest.Judged(t, ledgertest.NewMemory()), ledgertest.JudgedTiles(t, ledgertest.NewMemoryTiles())
		return func() ledgertest.Sequencer { return l.open(t, w, name, store, tiles) }
	})
}
