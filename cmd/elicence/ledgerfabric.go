package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/ledger"
	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/ledger/embedded"
	"github.com/elicence/elicence/ledger/fabric"
	"github.com/elicence/elicence/ledger/fabric/transaction"
	"github.com/elicence/elicence/signer"
	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
)

// Drivers of the ledger.
const (
	onEmbedded = "embedded"
	onFabric   = "fabric"
)

// fabricSettings say which chain the ledger is on, and as whose client this installation speaks to it.
type fabricSettings struct {
	Channel   string         `yaml:"channel,omitempty"`
	Chaincode string         `yaml:"chaincode,omitempty"`
	Members   []fabricMember `yaml:"members,omitempty"` // the first one's peer is followed
	// Peers of members as whose client nothing is sent from here: they are asked what they run when peers disagree, and on a
	// network older than 2.4 (build tag fabricsdk) they endorse. Orderers are of such a network alone.
	Peers    []fabricNode `yaml:"peers,omitempty"`
	Orderers []fabricNode `yaml:"orderers,omitempty"`
}

// fabricNode is a peer or an orderer of which this installation has no identity.
type fabricNode struct {
	MSP        string `yaml:"msp,omitempty"` // of a peer
	Address    string `yaml:"address"`
	ServerName string `yaml:"serverName,omitempty"`
	ServerCA   string `yaml:"serverCA"`
}

// fabricMember is one member's peer, and this installation's identity as its client. Files are PEM; a path is relative to the
// data folder.
type fabricMember struct {
	MSP        string `yaml:"msp"`
	Kind       string `yaml:"kind"` // commission, police or archive: whose events are sent here
	Address    string `yaml:"address"`
	ServerName string `yaml:"serverName,omitempty"`
	ServerCA   string `yaml:"serverCA"`
	Cert       string `yaml:"cert"`
	Key        string `yaml:"key"`
}

// check holds the settings to what a connection needs; nil on another driver.
func (s fabricSettings) check(driver string) error {
	if driver != onFabric {
		return nil
	}
	if s.Channel == "" || s.Chaincode == "" || len(s.Members) == 0 {
		return errors.New("ledger.fabric needs channel, chaincode and at least one of members")
	}
	seen := map[string]bool{}
	for _, m := range s.Members {
		if !slices.Contains(transaction.Kinds(), contract.OrganisationKind(m.Kind)) || seen[m.Kind] {
			return fmt.Errorf("members: each has a kind of its own, commission, police or archive: %q", m.Kind)
		}
		seen[m.Kind] = true
		if m.MSP == "" || m.Address == "" || m.ServerCA == "" || m.Cert == "" || m.Key == "" {
			return fmt.Errorf("members: %s needs msp, address, serverCA, cert and key", m.Kind)
		}
	}
	return nil
}

// network is this installation's end of a Fabric network: connections to peers, and the follower that makes the log out of the
// chain. What the chain brings is taken in while it is open, whoever asked for it.
type network struct {
	g        *log
	members  map[contract.OrganisationKind]*fabric.Connection
	own      *fabric.Connection
	follower *fabric.Follower
	answers  chan *ledger.Note // the newest checkpoint that waits for the cosigners here
	end      context.CancelFunc
	running  sync.WaitGroup

	mu        sync.Mutex
	kinds     map[string]contract.OrganisationKind
	agreed    ledger.Checkpoint // the newest that a member stated and this log comes to as well
	announced uint64            // size of the newest checkpoint that was sent from here
	sent      time.Time         // when that was
	waiting   int               // checkpoints that are being cosigned here
	enough    uint64            // size of the newest checkpoint that enough cosigners have signed
	ours      uint64            // the same of the cosigners here
	forked    error             // a member has signed another log
	unsigned  error             // why the cosigners here have not signed the newest
}

// openFabric wires the log on a network. Without the registrar's keystore the log is followed, and nothing is signed as the log.
func (g *log) openFabric(ctx context.Context) error {
	i := g.i
	var key signer.Key
	if i.holds(i.config.Registrar) {
		signing, err := i.keyring.Current(ctx, i.config.Registrar, purpose.Checkpoints)
		if err != nil {
			return err
		}
		key, g.leaf = signing.Key, signing.Leaf()
	} else if g.leaf = newest(i.keyring.all(), i.config.Registrar, purpose.Checkpoints); g.leaf == nil {
		return fmt.Errorf("%w: the registrar's certificate for checkpoints is not here", issuing.ErrKey)
	}
	entries := embedded.NewLog(i.db, tiles{i.objects}, key, g.leaf, i.config.Ledger.Origin)
	n := &network{g: g, members: map[contract.OrganisationKind]*fabric.Connection{}, answers: make(chan *ledger.Note, 1)}
	for _, m := range i.config.Ledger.Fabric.Members {
		c, err := i.connect(m)
		if err != nil {
			return errors.Join(err, n.close())
		}
		n.members[contract.OrganisationKind(m.Kind)] = c
		if n.own == nil {
			n.own = c
		}
	}
	n.follower = fabric.NewFollower(n.own, entries)
	n.follower.OnCheckpoint(n.checkpoint)
	following, end := context.WithCancel(context.WithoutCancel(ctx))
	n.end = end
	n.running.Go(func() { n.follow(following) })
	n.running.Go(func() { n.cosignAnswers(following) })
	g.network, g.entries, g.sequencer = n, entries, fabric.NewSequencer(entries, n.follower, n.route, i.app.now)
	return nil
}

// newest is the certificate of an organisation for a purpose that begins last, nil for none.
func newest(all []certified, organisation string, p purpose.Purpose) *pki.Certificate {
	var found *pki.Certificate
	for _, e := range all {
		if e.organisation == organisation && e.certificate.Purpose() == p && (found == nil || e.certificate.NotBefore().After(found.NotBefore())) {
			found = e.certificate
		}
	}
	return found
}

func (n *network) close() error {
	if n.end != nil {
		n.end()
		n.running.Wait()
	}
	var errs []error
	for _, c := range n.members {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// follow runs the follower until ctx ends, or until a person has to look.
func (n *network) follow(ctx context.Context) {
	err := n.follower.Run(ctx, nil)
	if ctx.Err() != nil {
		return
	}
	n.g.i.notice(ctx, "elicence: 账本不再跟随区块链 / the ledger follows the chain no more: %v", err)
}

// trouble is what a person should know about following and cosigning, nil for nothing.
func (n *network) trouble() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return errors.Join(n.forked, n.unsigned, n.follower.Err())
}

// route is fabric.Route: an event goes to the peer of its actor's member.
func (n *network) route(s *contract.Signed) fabric.Chain {
	kind, known := n.kindOf(s.Event.Actor)
	if !known {
		kind = contract.Commission // whoever nobody knows is refused by name
	}
	if c := n.members[transaction.SenderOf(kind)]; c != nil {
		return c
	}
	return nil
}

func (n *network) kindOf(code string) (contract.OrganisationKind, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if k, known := n.kinds[code]; known {
		return k, true
	}
	all, err := n.g.i.db.Organisations(context.Background())
	if err != nil {
		return "", false
	}
	n.kinds = map[string]contract.OrganisationKind{}
	for _, o := range all {
		n.kinds[o.Code] = contract.OrganisationKind(o.Kind)
	}
	k, known := n.kinds[code]
	return k, known
}

// checkpoint takes in what a member has signed: the lines that verify, if this log has the same body at that size. Anything
// else under good signatures is another log, and that is said.
func (n *network) checkpoint(ctx context.Context, b []byte) error {
	g := n.g
	note := g.ownNote(b)
	if note == nil {
		return nil
	}
	same, err := n.agrees(ctx, note)
	if err != nil {
		return err
	}
	if !same {
		n.mu.Lock()
		n.forked = fmt.Errorf("%w: the checkpoint of size %d on the chain is not this log's", ledger.ErrFork, note.Checkpoint.Size)
		n.mu.Unlock()
		g.i.notice(ctx, "elicence: 链上第 %d 条的检查点与本账本不同 / the chain has a checkpoint of size %d that is not this log's", note.Checkpoint.Size, note.Checkpoint.Size)
		return nil
	}
	note.Lines = slices.DeleteFunc(note.Lines, func(l ledger.Line) bool { return l.Name != note.Checkpoint.Origin && !n.vouches(note, l.Name) })
	if err := g.entries.Publish(ctx, note.Encode()); err != nil {
		return err
	}
	n.mu.Lock()
	if note.Checkpoint.Size > n.agreed.Size {
		n.agreed = note.Checkpoint
	}
	n.mu.Unlock()
	if g.signs() || !slices.ContainsFunc(g.cosignersHere(), func(code string) bool { return !n.vouches(note, cosignerName(code)) }) {
		return nil
	}
	n.mu.Lock()
	n.waiting++
	n.mu.Unlock()
	for { // only the newest is worth an answer
		select {
		case n.answers <- note:
			return nil
		default:
		}
		select {
		case <-n.answers:
			n.done(nil)
		default:
		}
	}
}

// done says how the cosigning of one checkpoint ended.
func (n *network) done(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.waiting--
	n.unsigned = err
}

// answered tells whether every checkpoint that was stated has been cosigned here.
func (n *network) answered() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.waiting == 0
}

// halted is why following will not go on by itself, nil if it will.
func (n *network) halted() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.follower.Err(); errors.Is(err, fabric.ErrDiverged) {
		return errors.Join(err, n.forked)
	}
	return n.forked
}

// ownNote is a checkpoint that this log's key has signed; nil for anything else, whoever sent it.
func (g *log) ownNote(b []byte) *ledger.Note {
	note, err := ledger.ParseNote(b)
	if err != nil || note.Checkpoint.Origin != g.i.config.Ledger.Origin || note.VerifyLog(g.leaf) != nil {
		return nil
	}
	return note
}

// agrees tells whether this log had exactly that body when it was of that size.
func (n *network) agrees(ctx context.Context, note *ledger.Note) (bool, error) {
	g, size := n.g, note.Checkpoint.Size
	if signed, err := g.i.db.Signed(ctx, size); err != nil {
		return false, err
	} else if signed != nil {
		ours, err := ledger.ParseNote(signed)
		return err == nil && bytes.Equal(ours.Body, note.Body), err
	}
	n.mu.Lock()
	since := n.agreed
	n.mu.Unlock()
	if since.Size == 0 || since.Size > size {
		since = ledger.Checkpoint{}
		if last, err := g.i.db.LastSigned(ctx); err != nil {
			return false, err
		} else if last != nil {
			if ours, err := ledger.ParseNote(last); err != nil {
				return false, err
			} else if ours.Checkpoint.Size < size {
				since = ours.Checkpoint
			}
		}
	}
	body, err := g.entries.BodyAt(ctx, size, since)
	if errors.Is(err, embedded.ErrNotYet) {
		return false, nil // of more entries than the chain had
	}
	return bytes.Equal(body, note.Body), err
}

// vouches tells whether the note carries a good line of that cosigner.
func (n *network) vouches(note *ledger.Note, name string) bool {
	code, is := strings.CutPrefix(name, cosignerName(""))
	if !is || !slices.Contains(n.g.i.config.Ledger.Cosigners, code) {
		return false
	}
	for _, e := range n.g.i.keyring.all() {
		if e.organisation != code || e.certificate.Purpose() != purpose.Checkpoints {
			continue
		}
		if _, err := note.VerifyCosignature(name, e.certificate); err == nil {
			return true
		}
	}
	return false
}

// cosignAnswers has the cosigners here sign what the log's keeper has stated, and sends it back through the chain.
func (n *network) cosignAnswers(ctx context.Context) {
	for {
		var note *ledger.Note
		select {
		case <-ctx.Done():
			return
		case note = <-n.answers:
		}
		for wait := 100 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
			err := n.cosign(ctx, note)
			if err == nil || ctx.Err() != nil || errors.Is(err, ledger.ErrFork) || errors.Is(err, ledger.ErrRollback) {
				n.done(err)
				break
			}
			n.mu.Lock()
			n.unsigned = err
			n.mu.Unlock()
			select {
			case <-ctx.Done():
				return
			case newer := <-n.answers:
				n.done(err)
				note = newer
			case <-time.After(wait):
			}
		}
	}
}

func (n *network) cosign(ctx context.Context, note *ledger.Note) error {
	b := note.Encode()
	for _, code := range n.g.cosignersHere() {
		c, err := n.g.cosigner(ctx, code)
		if err != nil {
			return err
		}
		if b, err = c.Cosign(ctx, b, n.g.entries.Consistency); err != nil {
			return fmt.Errorf("cosign: %w", err)
		}
	}
	if err := n.g.entries.Publish(ctx, b); err != nil {
		return err
	}
	return n.send(ctx, note.Checkpoint.Size, b)
}

// announce sends the log's own signed checkpoint of that size to the members whose cosigners are not here.
func (n *network) announce(ctx context.Context, size uint64, note []byte) error {
	n.mu.Lock()
	done := size <= n.announced
	n.mu.Unlock()
	if done || len(n.g.cosignersHere()) == len(n.g.i.config.Ledger.Cosigners) {
		return nil
	}
	return n.send(ctx, size, note)
}

func (n *network) send(ctx context.Context, size uint64, note []byte) error {
	if err := fabric.Announce(ctx, n.own, note); err != nil {
		return err
	}
	n.mu.Lock()
	n.announced, n.sent = max(n.announced, size), time.Now()
	n.mu.Unlock()
	return nil
}

// lastCosign is when a checkpoint was last sent from here.
func (n *network) lastCosign() time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.sent
}

// cosignedWait is how long a command waits for the cosignatures of other members; what comes later is taken in by whoever
// follows next.
const cosignedWait = 5 * time.Second

// awaitCosigned returns when as many cosigners as are needed have signed the newest checkpoint, or when it has taken too long.
func (n *network) awaitCosigned(ctx context.Context) error {
	for deadline := time.Now().Add(cosignedWait); ; {
		last, err := n.g.i.db.LastSigned(ctx)
		if err != nil || last == nil {
			return err
		}
		note, err := ledger.ParseNote(last)
		if err != nil || n.g.cosignatures(note) >= n.g.i.config.Ledger.Needed || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// blocks is how many blocks the own peer has, and how many of them are in the log.
func (n *network) blocks(ctx context.Context) (height, read uint64, err error) {
	height, err = n.own.Height(ctx)
	return height, n.follower.Next(), err
}

// networkFile is a file that names a network, as lab writes it: what stands under ledger.fabric, with paths beside the file.
func networkFile(path string) (fabricSettings, error) {
	var s fabricSettings
	b, err := os.ReadFile(path)
	if err != nil {
		return s, fmt.Errorf("network: %w", err)
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(&s); err != nil {
		return s, fmt.Errorf("network: %s: %w", path, err)
	}
	folder, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return s, err
	}
	for n := range s.Members {
		for _, p := range []*string{&s.Members[n].ServerCA, &s.Members[n].Cert, &s.Members[n].Key} {
			if *p != "" && !filepath.IsAbs(*p) {
				*p = filepath.Join(folder, *p)
			}
		}
	}
	for _, nodes := range [][]fabricNode{s.Peers, s.Orderers} {
		for n := range nodes {
			if p := &nodes[n].ServerCA; *p != "" && !filepath.IsAbs(*p) {
				*p = filepath.Join(folder, *p)
			}
		}
	}
	return s, s.check(onFabric)
}

// chainStatus is how the log stands to the chain.
type chainStatus struct {
	Channel   string `json:"channel"`
	Chaincode string `json:"chaincode"`
	Peer      string `json:"peer"`
	Height    uint64 `json:"height,omitempty"` // blocks that the own peer has; 0 if it does not answer
	Next      uint64 `json:"next"`             // the block after the last one that added entries to the log
	Away      string `json:"away,omitempty"`   // why the peer does not answer
}

func (c *chainStatus) String() string {
	if c.Away != "" {
		return fmt.Sprintf("通道 channel %s，本方节点 %s 没有应答 / the own peer does not answer: %s", c.Channel, c.Peer, c.Away)
	}
	return fmt.Sprintf("通道 channel %s，节点 peer %s 有 %d 个区块 blocks，入账至区块 in the log up to block %d", c.Channel, c.Peer, c.Height, c.Next)
}

// chainTimeout is how long status waits for a peer.
const chainTimeout = 3 * time.Second

// chainStatus asks the own peer, beside whoever follows. nil on another driver.
func (i *installation) chainStatus(ctx context.Context) (*chainStatus, error) {
	if i.config.Ledger.Driver != onFabric {
		return nil, nil
	}
	settings := i.config.Ledger.Fabric
	own := settings.Members[0]
	s := &chainStatus{Channel: settings.Channel, Chaincode: settings.Chaincode, Peer: own.Address}
	next, err := fabric.NextBlock(ctx, i.db)
	if err != nil {
		return nil, err
	}
	s.Next = next
	c, err := i.connect(own)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	timed, cancel := context.WithTimeout(ctx, chainTimeout)
	defer cancel()
	if s.Height, err = c.Height(timed); err != nil {
		s.Away = err.Error()
	}
	return s, nil
}

// connect opens a connection as the client of a member. It does not wait for the peer.
func (i *installation) connect(m fabricMember) (*fabric.Connection, error) {
	settings := i.config.Ledger.Fabric
	var all []string
	var peers, orderers []fabric.Node
	for _, one := range settings.Members {
		all = append(all, one.MSP)
		if one.MSP != m.MSP {
			peers = append(peers, fabric.Node{Member: one.MSP, Address: one.Address, ServerName: one.ServerName, ServerCA: i.path(one.ServerCA)})
		}
	}
	for _, one := range settings.Peers {
		all = append(all, one.MSP)
		peers = append(peers, fabric.Node{Member: one.MSP, Address: one.Address, ServerName: one.ServerName, ServerCA: i.path(one.ServerCA)})
	}
	for _, one := range settings.Orderers {
		orderers = append(orderers, fabric.Node{Address: one.Address, ServerName: one.ServerName, ServerCA: i.path(one.ServerCA)})
	}
	return fabric.Connect(fabric.Endpoint{
		Address: m.Address, ServerName: m.ServerName, ServerCA: i.path(m.ServerCA), Member: m.MSP, Cert: i.path(m.Cert), Key: i.path(m.Key),
		Channel: settings.Channel, Chaincode: settings.Chaincode, Members: all, Peers: peers, Orderers: orderers,
	})
}
