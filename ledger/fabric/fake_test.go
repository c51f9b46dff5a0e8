package fabric_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/ledger/embedded"
	"github.com/elicence/elicence/ledger/fabric"
	"github.com/elicence/elicence/ledger/fabric/transaction"
	"github.com/elicence/elicence/ledger/ledgertest"
)

// errNetwork is what a call gets that was told to fail.
var errNetwork = errors.New("the network is down")

// chain is a Fabric chain in memory, whose network fails and whose peers invalidate as a test says.
type chain struct {
	t *testing.T

	mu       sync.Mutex
	grown    *sync.Cond
	state    contract.MapState
	blocks   []fabric.Block
	prepared map[string]simulated
	became   map[string]fabric.Commitment
	endorsed int
	sends    int

	endorse    func(n int) error                     // nil: never fails
	invalidate func(args [][]byte) fabric.Code       // nil: everything is valid
	send       func(n int) (arrives bool, err error) // nil: everything arrives
	await      func(n int) error                     // nil: never fails
	awaits     int
	later      time.Duration // what the clock is ahead
}

type simulated struct {
	function string
	args     [][]byte
	answer   []byte
	writes   map[string][]byte
}

func newChain(t *testing.T) *chain {
	c := &chain{t: t, state: contract.MapState{}, prepared: map[string]simulated{}, became: map[string]fabric.Commitment{}}
	c.grown = sync.NewCond(&c.mu)
	c.blocks = append(c.blocks, fabric.Block{}) // the channel's configuration
	return c
}

func (c *chain) Endorse(ctx context.Context, function string, args ...[]byte) (fabric.Prepared, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return fabric.Prepared{}, err
	}
	c.endorsed++
	if c.endorse != nil {
		if err := c.endorse(c.endorsed); err != nil {
			return fabric.Prepared{}, fmt.Errorf("%w: %w", fabric.ErrNotEndorsed, err)
		}
	}
	id := fmt.Sprintf("transaction %d", c.endorsed)
	if function != transaction.Submit {
		c.prepared[id] = simulated{function: function, args: args}
		return fabric.Prepared{ID: id}, nil
	}
	verdicts, writes, err := contract.Judge(ctx, c.state, args)
	if err != nil {
		return fabric.Prepared{}, err
	}
	answer, err := transaction.AnswerOf(verdicts).Encode()
	if err != nil {
		return fabric.Prepared{}, err
	}
	c.prepared[id] = simulated{function, args, answer, writes}
	return fabric.Prepared{ID: id, Answer: answer}, nil
}

func (c *chain) Send(_ context.Context, p fabric.Prepared) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sends++
	arrives, err := true, error(nil)
	if c.send != nil {
		arrives, err = c.send(c.sends)
	}
	if !arrives {
		return err
	}
	s := c.prepared[p.ID]
	block := fabric.Block{Number: uint64(len(c.blocks))}
	code := fabric.Valid
	if c.invalidate != nil {
		code = c.invalidate(s.args)
	}
	if _, twice := c.became[p.ID]; twice {
		c.blocks = append(c.blocks, block) // the second of one id is invalid
		c.grown.Broadcast()
		return err
	}
	if code == fabric.Valid {
		c.state.Apply(s.writes)
		block.Transactions = []fabric.Transaction{{ID: p.ID, Time: time.Now(), Function: s.function, Args: s.args, Answer: s.answer, Writes: s.writes}}
	}
	c.became[p.ID] = fabric.Commitment{Block: block.Number, Code: code}
	c.blocks = append(c.blocks, block)
	c.grown.Broadcast()
	return err
}

func (c *chain) Await(ctx context.Context, p fabric.Prepared) (fabric.Commitment, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.awaits++
	if c.await != nil {
		if err := c.await(c.awaits); err != nil {
			return fabric.Commitment{}, err
		}
	}
	done, ok := c.became[p.ID]
	if !ok {
		return fabric.Commitment{}, context.DeadlineExceeded
	}
	return done, nil
}

func (c *chain) Find(_ context.Context, id string) (fabric.Code, bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	done, ok := c.became[id]
	return done.Code, ok, nil
}

func (c *chain) Evaluate(context.Context, string, string, ...[]byte) ([]byte, error) {
	return nil, errNetwork
}

func (c *chain) Height(context.Context) (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return uint64(len(c.blocks)), nil
}

func (c *chain) Blocks(ctx context.Context, from uint64, do func(fabric.Block) error) error {
	stop := context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.grown.Broadcast()
	})
	defer stop()
	for n := from; ; n++ {
		c.mu.Lock()
		for uint64(len(c.blocks)) <= n && ctx.Err() == nil {
			c.grown.Wait()
		}
		if ctx.Err() != nil {
			c.mu.Unlock()
			return ctx.Err()
		}
		b := c.blocks[n]
		c.mu.Unlock()
		if err := do(b); err != nil {
			return err
		}
	}
}

// valid is how many valid transactions the chain has.
func (c *chain) valid() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, b := range c.blocks {
		n += len(b.Transactions)
	}
	return n
}

func (c *chain) open(w *ledgertest.World, store embedded.Store) *fabric.Sequencer {
	return c.routed(w, store, func(*contract.Signed) fabric.Chain { return c })
}

// routed follows the chain into a store and returns its sequencer.
func (c *chain) routed(w *ledgertest.World, store embedded.Store, route fabric.Route) *fabric.Sequencer {
	log := embedded.NewLog(store, ledgertest.NewMemoryTiles(), w.LogKey, w.LogCertificate, ledgertest.Origin)
	f := fabric.NewFollower(c, log)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx, nil) }()
	c.t.Cleanup(func() {
		cancel()
		<-ended
	})
	return fabric.NewSequencer(log, f, route, func() time.Time { return time.Now().Add(c.later) })
}

// accepted fails the test unless all events stand; it returns their indexes.
func accepted(t testing.TB, s *fabric.Sequencer, events ...[]byte) []uint64 {
	t.Helper()
	outcomes, err := s.Submit(t.Context(), events)
	if err != nil {
		t.Fatal(err)
	}
	var indexes []uint64
	for i, o := range outcomes {
		if o.Refusal != nil || o.Hash != contract.Hash(events[i]) {
			t.Fatalf("event %d: %+v", i, o)
		}
		indexes = append(indexes, o.Index)
	}
	return indexes
}

func TestUnknownOutcomeIsLookedUp(t *testing.T) {
	for _, c := range []struct {
		name  string
		send  func(n int) (bool, error)
		await func(n int) error
	}{
		{"it arrived, and the answer got lost", func(n int) (bool, error) { return true, map[bool]error{true: errNetwork}[n == 2] }, nil},
		{"it never arrived", func(n int) (bool, error) { return n != 2, map[bool]error{true: errNetwork}[n == 2] }, nil},
		{"it never arrived, and nobody said so", func(n int) (bool, error) { return n != 2, nil }, nil},
		{"the connection broke while waiting", nil, func(n int) error { return map[bool]error{true: errNetwork}[n == 2 || n == 3] }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, ch := ledgertest.NewWorld(t, "unknown"), newChain(t)
			ch.send, ch.await = c.send, c.await
			s := ch.open(w, ledgertest.NewMemory())
			accepted(t, s, w.Founding()...)
			l := w.Issue(w.Hospital)
			if got := accepted(t, s, l.Last()); got[0] != 7 {
				t.Fatalf("index %d", got[0])
			}
			if n := ch.valid(); n != 2 {
				t.Fatalf("%d valid transactions for two", n)
			}
			if ch.endorsed != 2 {
				t.Fatalf("%d endorsements: another transaction was made before the fate of the first was known", ch.endorsed)
			}
		})
	}
}

// A peer that has just come up is unknown to the own one for a while: nobody is told of it. What does not pass is.
func TestPeersThatAreUnknownYetAreWaitedFor(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want int // endorsements
	}{
		{"too few peers", fabric.ErrTooFewPeers, 4},
		{"peers differ", &fabric.Disagreement{Err: errNetwork}, 4},
		{"the network is down", errNetwork, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, ch := ledgertest.NewWorld(t, "unknown-peers"), newChain(t)
			ch.endorse = func(n int) error { return map[bool]error{true: c.err}[n == 2 || n == 3] }
			s := ch.open(w, ledgertest.NewMemory())
			accepted(t, s, w.Founding()...)
			_, err := s.Submit(t.Context(), [][]byte{w.Issue(w.Hospital).Last()})
			if ch.endorsed != c.want || (err == nil) != (c.want == 4) || err != nil && !errors.Is(err, c.err) {
				t.Fatalf("%d endorsements, %v", ch.endorsed, err)
			}
		})
	}
}

func TestInvalidatedBatchIsTriedAgain(t *testing.T) {
	w, ch := ledgertest.NewWorld(t, "again"), newChain(t)
	s := ch.open(w, ledgertest.NewMemory())
	accepted(t, s, w.Founding()...)
	left := 3
	ch.invalidate = func([][]byte) fabric.Code {
		if left--; left >= 0 {
			return fabric.ReadConflict
		}
		return fabric.Valid
	}
	accepted(t, s, w.Issue(w.Hospital).Last(), w.Issue(w.Hospital).Last())
}

func TestPoisonStandsAlone(t *testing.T) {
	w, ch := ledgertest.NewWorld(t, "poison"), newChain(t)
	s := ch.open(w, ledgertest.NewMemory())
	accepted(t, s, w.Founding()...)
	var events [][]byte
	var poison *ledgertest.Licence
	for i := range 9 {
		l := w.Issue(w.Hospital)
		events = append(events, l.Last())
		if i == 4 {
			poison = l
		}
	}
	follows := poison.HandOver(w.Hospital, w.Archive)
	events = append(events, follows, w.Issue(w.Agency).Last())
	ch.invalidate = func(args [][]byte) fabric.Code {
		if slices.ContainsFunc(args, func(e []byte) bool { return contract.Hash(e) == contract.Hash(poison.Events[0]) }) {
			return fabric.PolicyFailure
		}
		return fabric.Valid
	}
	outcomes, err := s.Submit(t.Context(), events)
	var aside *fabric.SetAside
	if !errors.As(err, &aside) {
		t.Fatal(err)
	}
	want := []fabric.Aside{{Hash: contract.Hash(poison.Events[0]), Code: fabric.PolicyFailure}, {Hash: contract.Hash(follows), Code: fabric.Valid}}
	if !slices.Equal(aside.Events, want) {
		t.Fatalf("%v", aside)
	}
	for i, o := range outcomes {
		if is := i == 4 || i == 9; is != (o.Hash == [32]byte{}) || o.Refusal != nil {
			t.Errorf("event %d: %+v", i, o)
		}
	}
	if _, found, err := s.IndexOf(t.Context(), contract.Hash(poison.Events[0])); found || err != nil {
		t.Fatal("an invalidated event is in the log", err)
	}
	ch.invalidate = nil
	sent := ch.sends
	if _, err := s.Submit(t.Context(), events); !errors.As(err, &aside) || ch.sends != sent {
		t.Fatalf("what was set aside is sent again at once: %v", err)
	}
	ch.later = 2 * time.Minute
	accepted(t, s, events...) // when the peers take it again, everything stands
}

func TestFollowerFindsALyingPeer(t *testing.T) {
	w, ch := ledgertest.NewWorld(t, "lying"), newChain(t)
	honest := ch.open(w, ledgertest.NewMemory())
	accepted(t, honest, w.Founding()...)
	l := w.Issue(w.Hospital)
	if _, err := honest.Submit(t.Context(), [][]byte{l.Last(), forgedBytes(w.Issue(w.Hospital).Last())}); err != nil {
		t.Fatal(err)
	}
	good := ch.blocks[len(ch.blocks)-1]
	answer := func(rules ...string) []byte {
		b, err := transaction.Answer(rules).Encode()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, lie := range map[string]func(x *fabric.Transaction){
		"a refused event is called accepted":  func(x *fabric.Transaction) { x.Answer = answer("", "") },
		"an accepted event is called refused": func(x *fabric.Transaction) { x.Answer = answer(contract.RuleStale, contract.RuleSignature) },
		"another rule is named":               func(x *fabric.Transaction) { x.Answer = answer("", contract.RuleStale) },
		"one verdict is missing":              func(x *fabric.Transaction) { x.Answer = answer("") },
		"no answer":                           func(x *fabric.Transaction) { x.Answer = nil },
		"state is left out":                   func(x *fabric.Transaction) { x.Writes = map[string][]byte{} },
		"other state is written":              func(x *fabric.Transaction) { x.Writes[contract.LicenceKey(l.Handle)] = []byte("other") },
		"more state is written":               func(x *fabric.Transaction) { x.Writes[contract.LicenceKey([32]byte{1})] = []byte("more") },
		"state is deleted":                    func(x *fabric.Transaction) { x.Writes["registrar"] = nil },
		"another chaincode writes":            func(x *fabric.Transaction) { x.Through = "other" },
		"another function writes":             func(x *fabric.Transaction) { x.Function = transaction.Checkpoint },
		"another event":                       func(x *fabric.Transaction) { x.Args[0] = w.Issue(w.Agency).Last() },
	} {
		t.Run(name, func(t *testing.T) {
			store := ledgertest.NewMemory()
			f := fabric.NewFollower(ch, embedded.NewLog(store, ledgertest.NewMemoryTiles(), w.LogKey, w.LogCertificate, ledgertest.Origin))
			for _, b := range ch.blocks[:len(ch.blocks)-1] {
				if err := f.Take(t.Context(), b); err != nil {
					t.Fatal(err)
				}
			}
			x := good.Transactions[0]
			x.Args, x.Writes = slices.Clone(x.Args), maps.Clone(x.Writes)
			lie(&x)
			err := f.Take(t.Context(), fabric.Block{Number: good.Number, Transactions: []fabric.Transaction{x}})
			var diverged *fabric.Divergence
			if !errors.Is(err, fabric.ErrDiverged) || !errors.As(err, &diverged) || diverged.Block != good.Number || diverged.Rule == "" {
				t.Fatalf("%v", err)
			}
			if head, err := store.Head(t.Context()); err != nil || head.Size != 7 {
				t.Fatalf("%d entries, %v", head.Size, err)
			}
			if err := f.Take(t.Context(), good); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func forgedBytes(event []byte) []byte {
	b := slices.Clone(event)
	b[len(b)-1] ^= 1
	return b
}

// forgetful is a store whose state has lost the follower's cursor: records that were made again from objects.
type forgetful struct{ embedded.Store }

func (s forgetful) StateGet(ctx context.Context, keys []string) (map[string][]byte, error) {
	values, err := s.Store.StateGet(ctx, keys)
	delete(values, "fabric/next-block")
	return values, err
}

func TestBlocksReadAgainAddNothing(t *testing.T) {
	w, ch := ledgertest.NewWorld(t, "blocks"), newChain(t)
	memory := ledgertest.NewMemory()
	s := ch.open(w, memory)
	accepted(t, s, w.Founding()...)
	for range 5 {
		l := w.Issue(w.Hospital)
		accepted(t, s, l.Last(), l.HandOver(w.Hospital, w.Archive))
	}
	want, err := memory.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	follow := func(store embedded.Store) error {
		f := fabric.NewFollower(ch, embedded.NewLog(store, ledgertest.NewMemoryTiles(), w.LogKey, w.LogCertificate, ledgertest.Origin))
		for _, b := range ch.blocks {
			if err := f.Take(t.Context(), b); err != nil {
				return err
			}
		}
		return nil
	}
	same := func(store embedded.Store) {
		t.Helper()
		head, err := store.Head(t.Context())
		if err != nil || head.Size != want.Size || string(head.Body) != string(want.Body) {
			t.Fatalf("%d entries, %v\n%s%s", head.Size, err, head.Body, want.Body)
		}
	}
	for _, store := range []embedded.Store{memory, forgetful{memory}} {
		if err := follow(store); err != nil {
			t.Fatal(err)
		}
		same(store)
	}
	// Every write fails once, with and without having taken effect; the blocks are then read again from the first.
	for n := 1; n <= 6; n++ {
		for _, happened := range []bool{false, true} {
			for _, lost := range []bool{false, true} {
				var store embedded.Store = ledgertest.NewMemory()
				if lost {
					store = forgetful{store}
				}
				faults := &ledgertest.Faults{}
				faults.Arm(n, happened)
				if err := follow(ledgertest.FaultyStore(store, faults)); !errors.Is(err, ledgertest.ErrInjected) {
					t.Fatalf("write %d: %v", n, err)
				}
				if err := follow(store); err != nil {
					t.Fatal(err)
				}
				same(store)
			}
		}
	}
}
