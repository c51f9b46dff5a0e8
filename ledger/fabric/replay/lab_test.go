//go:build !fabricsdk

package replay_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/elicence/elicence/ledger"
	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/ledger/embedded"
	"github.com/elicence/elicence/ledger/fabric"
	"github.com/elicence/elicence/ledger/fabric/export"
	"github.com/elicence/elicence/ledger/fabric/network"
	"github.com/elicence/elicence/ledger/fabric/transaction"
	"github.com/elicence/elicence/ledger/ledgertest"
	"github.com/elicence/elicence/signer/purpose"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// ledgerName is the ledger that is replayed; another one on the same channel goes its own way.
const ledgerName, otherName = "licence", "other"

var folder string

// started is the network, if a test needed it.
var started atomic.Pointer[network.Network]

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	var err error
	if folder, err = os.MkdirTemp("", "elicence-replay-"); err != nil {
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

// scene is a real network with a chain on which everything has happened that a chain can have.
type scene struct {
	*network.Network
	chains  map[contract.OrganisationKind]*fabric.Connection
	world   *ledgertest.World
	store   embedded.Store
	notes   [][]byte // cosigned checkpoints
	export  string   // folder, made in three goes
	blocks  [][]byte // of it
	entries uint64
	root    string // of the log that the follower made
}

var play = sync.OnceValues(func() (*scene, error) {
	tools, err := network.Tools()
	if err != nil {
		return nil, err
	}
	chaincode, err := network.BuildChaincode(context.Background(), folder)
	if err != nil {
		return nil, err
	}
	n, err := network.Up(context.Background(), folder+"/net", network.Options{Tools: tools, Chaincode: chaincode, Orderers: 1, BatchTimeout: 50 * time.Millisecond}, nil)
	if err != nil {
		return nil, err
	}
	started.Store(n)
	if err := n.Deploy(context.Background(), ledgerName, otherName); err != nil {
		return nil, err
	}
	return &scene{Network: n, chains: map[contract.OrganisationKind]*fabric.Connection{}}, nil
})

var act sync.Once

// played is the scene after the last act. It fails the test if that never came.
func played(t *testing.T) *scene {
	t.Helper()
	s, err := play()
	if err != nil {
		t.Fatal(err)
	}
	act.Do(func() { s.act(t) })
	if s.blocks == nil {
		t.Fatal("the chain was not made")
	}
	return s
}

func (s *scene) act(t *testing.T) {
	for _, o := range network.Organisations() {
		c, err := fabric.Connect(s.Endpoint(o, "client", ledgerName))
		if err != nil {
			t.Fatal(err)
		}
		s.chains[o.Kind] = c // until the program ends
	}
	w := ledgertest.NewWorld(t, "replay")
	s.world, s.store, s.export = w, ledgertest.NewMemory(), folder+"/export"
	log := embedded.NewLog(s.store, ledgertest.NewMemoryTiles(), w.LogKey, w.LogCertificate, ledgertest.Origin)
	follower := fabric.NewFollower(s.chains[contract.Commission], log)
	go follower.Run(context.Background(), nil)
	kinds := map[string]contract.OrganisationKind{}
	for _, o := range w.Organisations() {
		kinds[o.Code] = o.Kind
	}
	q := fabric.NewSequencer(log, follower, func(e *contract.Signed) fabric.Chain {
		return s.chains[transaction.SenderOf(kinds[e.Event.Actor])]
	}, w.Now)
	submit := func(events ...[]byte) {
		t.Helper()
		outcomes, err := q.Submit(t.Context(), events)
		if err != nil {
			t.Fatal(err)
		}
		for i, o := range outcomes {
			if o.Refusal != nil {
				t.Fatalf("event %d: %s", i, o.Refusal.Rule)
			}
		}
	}
	publish := func() {
		t.Helper()
		n := ledgertest.Publish(t, w, q, folder)
		s.notes = append(s.notes, n.Encode())
	}
	exported := func() {
		t.Helper()
		if _, err := export.Write(t.Context(), s.export, s.chains[contract.Police], export.Options{Channel: network.Channel, Chaincode: ledgerName, FileBytes: 64 << 10, Checkpoint: s.notes[len(s.notes)-1]}); err != nil {
			t.Fatal(err)
		}
	}
	announce := func(note []byte) {
		t.Helper()
		if err := fabric.Announce(t.Context(), s.chains[contract.Archive], note); err != nil {
			t.Fatal(err)
		}
	}
	submit(w.Founding()...)
	publish()
	announce(s.notes[0])
	exported()
	first, second := w.Issue(w.Hospital), w.Issue(w.OtherHospital)
	submit(first.Last(), second.Last(), first.HandOver(w.Hospital, w.Archive))
	submit(first.Accept(w.Archive), second.Register(w.Police))
	s.conflict(t, second)
	s.refusals(t)
	publish()
	announce(s.notes[1])
	// Somebody who is nobody states another log.
	announce(s.stated(t, ledgertest.NewKey("nobody", purpose.Checkpoints), 9))
	exported()
	s.reconfigure(t)
	s.twice(t, w.Issue(w.Agency))
	for range 3 {
		l := w.Issue(w.Hospital)
		submit(l.Last())
		submit(l.HandOver(w.Hospital, w.Archive))
	}
	publish()
	// The police may be a block behind, and a block more may be there than has events.
	until(t, func() error {
		ours, err := s.chains[contract.Commission].Height(t.Context())
		if err != nil {
			return err
		}
		if theirs, err := s.chains[contract.Police].Height(t.Context()); err != nil || theirs < ours {
			return fmt.Errorf("%d of %d blocks, %w", theirs, ours, err)
		}
		return nil
	})
	exported()
	e, err := export.Open(s.export)
	if err != nil {
		t.Fatal(err)
	}
	var blocks [][]byte
	if err := e.Blocks(t.Context(), func(raw []byte) error { blocks = append(blocks, raw); return nil }); err != nil {
		t.Fatal(err)
	}
	head, err := s.store.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c, err := ledger.ParseCheckpoint(head.Body)
	if err != nil {
		t.Fatal(err)
	}
	s.entries, s.root, s.blocks = head.Size, hexOf(c.Root[:]), blocks
}

// stated is a checkpoint of a log that nobody has, signed by a key.
func (s *scene) stated(t *testing.T, key *ledgertest.Key, size uint64) []byte {
	t.Helper()
	body, err := ledger.Checkpoint{Origin: ledgertest.Origin, Size: size, Root: [32]byte{1}, Time: s.world.Now().UnixMicro()}.Body()
	if err != nil {
		t.Fatal(err)
	}
	certificate := s.world.LogCertificate
	if key != s.world.LogKey {
		certificate = s.world.Certify(s.world.Registrar.Code, key, purpose.Checkpoints, 901)
	}
	n, err := ledger.SignCheckpoint(t.Context(), key, certificate, body)
	if err != nil {
		t.Fatal(err)
	}
	return n.Encode()
}

// send has a batch ordered without waiting for anything.
func (s *scene) send(t *testing.T, by contract.OrganisationKind, events ...[]byte) fabric.Prepared {
	t.Helper()
	var p fabric.Prepared
	until(t, func() (err error) {
		p, err = s.chains[by].Endorse(t.Context(), transaction.Submit, events...)
		return err
	})
	return p
}

func (s *scene) commit(t *testing.T, by contract.OrganisationKind, p fabric.Prepared) fabric.Code {
	t.Helper()
	if err := s.chains[by].Send(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	done, err := s.chains[by].Await(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return done.Code
}

// conflict has two hand-overs of one part ordered, of which the peers take the first.
func (s *scene) conflict(t *testing.T, l *ledgertest.Licence) {
	t.Helper()
	w := s.world
	one := s.send(t, contract.Commission, l.Make(w.OtherHospital, contract.Event{Kind: contract.HandedOver, Part: "counterfoil", Counterparty: w.Archive.Code}))
	other := s.send(t, contract.Commission, l.Make(w.OtherHospital, contract.Event{Kind: contract.HandedOver, Part: "counterfoil", Counterparty: w.OtherArchive.Code}))
	if a, b := s.commit(t, contract.Commission, one), s.commit(t, contract.Commission, other); a != fabric.Valid || b != fabric.ReadConflict {
		t.Fatalf("%s, %s", a, b)
	}
}

// refusals has a batch ordered of which not everything is accepted.
func (s *scene) refusals(t *testing.T) {
	t.Helper()
	w := s.world
	l, other := w.Issue(w.Hospital), w.Issue(w.Hospital)
	if c := s.commit(t, contract.Commission, s.send(t, contract.Commission, l.Last())); c != fabric.Valid {
		t.Fatal(c)
	}
	// The police may not issue for a hospital, and an event of another time is refused for what it is.
	p := s.send(t, contract.Police, other.Last(), l.Register(w.Police), []byte("no event"))
	a, err := transaction.ParseAnswer(p.Answer, 3)
	if err != nil || a[0] != contract.RuleSentByAnother || a[1] != "" || a[2] == "" {
		t.Fatalf("%q, %v", a, err)
	}
	if c := s.commit(t, contract.Police, p); c != fabric.Valid {
		t.Fatal(c)
	}
}

// twice has one transaction ordered twice.
func (s *scene) twice(t *testing.T, l *ledgertest.Licence) {
	t.Helper()
	p := s.send(t, contract.Commission, l.Last())
	if c := s.commit(t, contract.Commission, p); c != fabric.Valid {
		t.Fatal(c)
	}
	if err := s.chains[contract.Commission].Send(t.Context(), p); err != nil {
		t.Fatal(err)
	}
}

// until tries again until the network has come so far.
func until(t *testing.T, try func() error) {
	t.Helper()
	begun := time.Now()
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Since(begun) > 60*time.Second {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// reconfigure has the commission's admin change the channel's configuration, and returns when a peer has that block. The value
// stays what it was; its version and the configuration's sequence grow.
func (s *scene) reconfigure(t *testing.T) {
	t.Helper()
	f := newForger(t)
	admin := f.admins["CommissionMSP"]
	height, err := s.chains[contract.Commission].Height(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const member, value = "CommissionMSP", "AnchorPeers"
	sets := [2]*common.ConfigGroup{} // what is read, what is written
	current := f.configuration(s.first(t))
	for i := range sets {
		at := &common.ConfigGroup{}
		sets[i] = at
		from := current.ChannelGroup
		at.Version = from.Version
		for _, name := range []string{"Application", member} {
			from = from.Groups[name]
			next := &common.ConfigGroup{Version: from.Version, ModPolicy: from.ModPolicy}
			at.Groups = map[string]*common.ConfigGroup{name: next}
			at = next
		}
		if i == 1 {
			v := from.Values[value]
			at.Values = map[string]*common.ConfigValue{value: {Version: v.Version + 1, Value: v.Value, ModPolicy: v.ModPolicy}}
		}
	}
	update := f.marshal(&common.ConfigUpdate{ChannelId: network.Channel, ReadSet: sets[0], WriteSet: sets[1]})
	header := f.marshal(&common.SignatureHeader{Creator: admin.serialized, Nonce: []byte("reconfigure")})
	payload := f.marshal(&common.Payload{
		Header: &common.Header{ChannelHeader: f.marshal(&common.ChannelHeader{Type: int32(common.HeaderType_CONFIG_UPDATE), ChannelId: network.Channel}), SignatureHeader: header},
		Data: f.marshal(&common.ConfigUpdateEnvelope{ConfigUpdate: update, Signatures: []*common.ConfigSignature{
			{SignatureHeader: header, Signature: f.sign(admin, append(append([]byte(nil), header...), update...))},
		}}),
	})
	s.broadcast(t, &common.Envelope{Payload: payload, Signature: f.sign(admin, payload)})
	until(t, func() error {
		now, err := s.chains[contract.Commission].Height(t.Context())
		if err == nil && now <= height {
			err = errors.New("no block with the configuration yet")
		}
		return err
	})
}

// first is block 0.
func (s *scene) first(t *testing.T) []byte {
	t.Helper()
	var first []byte
	done := errors.New("done")
	if err := s.chains[contract.Commission].WholeBlocks(t.Context(), 0, func(b []byte) error { first = b; return done }); !errors.Is(err, done) {
		t.Fatal(err)
	}
	return first
}

// broadcast gives an envelope to the orderer, which no connection of the program does with a configuration.
func (s *scene) broadcast(t *testing.T, e *common.Envelope) {
	t.Helper()
	var layout struct {
		Ports map[string]struct{ Listen int }
	}
	b, err := os.ReadFile(folder + "/net/network.json")
	if err == nil {
		err = json.Unmarshal(b, &layout)
	}
	if err != nil {
		t.Fatal(err)
	}
	authority, err := credentials.NewClientTLSFromFile(folder+"/net/crypto/ordering/tlsca.pem", "")
	if err != nil {
		t.Fatal(err)
	}
	wire, err := grpc.NewClient(fmt.Sprintf("127.0.0.1:%d", layout.Ports["orderer1"].Listen), grpc.WithTransportCredentials(authority))
	if err != nil {
		t.Fatal(err)
	}
	defer wire.Close()
	stream, err := orderer.NewAtomicBroadcastClient(wire).Broadcast(t.Context())
	if err == nil {
		err = stream.Send(e)
	}
	if err != nil {
		t.Fatal(err)
	}
	if r, err := stream.Recv(); err != nil || r.GetStatus() != common.Status_SUCCESS {
		t.Fatalf("%s %s, %v", r.GetStatus(), r.GetInfo(), err)
	}
}
