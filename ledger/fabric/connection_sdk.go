//go:build fabricsdk

package fabric

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/elicence/elicence/ledger/fabric/protos"
	"github.com/hyperledger/fabric-gateway/pkg/hash"
	"github.com/hyperledger/fabric-gateway/pkg/identity"
	"github.com/hyperledger/fabric-protos-go/common"
	"github.com/hyperledger/fabric-protos-go/orderer"
	"github.com/hyperledger/fabric-protos-go/peer"
	"github.com/hyperledger/fabric-sdk-go/pkg/common/logging"
	"github.com/hyperledger/fabric-sdk-go/pkg/common/providers/core"
	"github.com/hyperledger/fabric-sdk-go/pkg/common/providers/fab"
	"github.com/hyperledger/fabric-sdk-go/pkg/common/providers/msp"
	sdkcontext "github.com/hyperledger/fabric-sdk-go/pkg/context"
	"github.com/hyperledger/fabric-sdk-go/pkg/core/cryptosuite/bccsp/sw"
	sdkconfig "github.com/hyperledger/fabric-sdk-go/pkg/fab"
	sdkorderer "github.com/hyperledger/fabric-sdk-go/pkg/fab/orderer"
	sdkpeer "github.com/hyperledger/fabric-sdk-go/pkg/fab/peer"
	"github.com/hyperledger/fabric-sdk-go/pkg/fab/txn"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
)

// Connection is a Chain over the protocol of networks before Fabric 2.4, which later ones still speak: it has the peers endorse
// one by one, gives transactions to an orderer itself and reads the own peer's stream of blocks. It reconnects by itself.
type Connection struct {
	at       Endpoint
	expiry   *expiry
	client   *sdkcontext.Client
	links    links
	own      *grpc.ClientConn
	peers    map[string]fab.ProposalProcessor // by member; the own one's too
	orderers []fab.Orderer
}

// broadcastTimeout is how long one orderer may take before another is asked.
const broadcastTimeout = 5 * time.Second

// Connect reads the files and makes a Connection. It does not wait for anybody: that a node is away shows in the first call.
func Connect(at Endpoint) (*Connection, error) {
	if len(at.Orderers) == 0 {
		return nil, errors.New("fabric: no orderer is named: a network without gateway service does not find them by itself")
	}
	id, sign, err := identityOf(at)
	if err != nil {
		return nil, err
	}
	expiry, err := newExpiry(at)
	if err != nil {
		return nil, err
	}
	c := &Connection{at: at, expiry: expiry, links: links{}, peers: map[string]fab.ProposalProcessor{}}
	if err := c.connect(id, sign); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Connection) connect(id identity.Identity, sign identity.Sign) error {
	// It writes to standard error what it returns as well.
	for _, module := range []string{"", "fabsdk", "fabsdk/client", "fabsdk/common", "fabsdk/core", "fabsdk/fab", "fabsdk/msp", "fabsdk/util"} {
		logging.SetLevel(module, logging.CRITICAL)
	}
	config, err := sdkconfig.ConfigFromBackend(settings{"client.orderer.timeout.response": broadcastTimeout})
	if err != nil {
		return fmt.Errorf("fabric: %w", err)
	}
	suite, err := sw.GetSuiteWithDefaultEphemeral()
	if err != nil {
		return fmt.Errorf("fabric: %w", err)
	}
	c.client = &sdkcontext.Client{
		Providers: sdkcontext.NewProvider(sdkcontext.WithEndpointConfig(config), sdkcontext.WithCryptoSuite(suite),
			sdkcontext.WithSigningManager(signer(sign)), sdkcontext.WithInfraProvider(infrastructure{links: c.links})),
		SigningIdentity: sender{id},
	}
	for _, n := range append([]Node{c.at.own()}, c.at.Peers...) {
		if c.peers[n.Member] != nil {
			return fmt.Errorf("fabric: two peers of %s are named", n.Member)
		}
		watch := c.expiry
		if n.Address != c.at.Address {
			watch = nil // another member's certificate is that member's business
		}
		if err := c.links.add(n, watch); err != nil {
			return err
		}
		if c.peers[n.Member], err = sdkpeer.New(config, sdkpeer.WithURL(n.Address), sdkpeer.WithMSPID(n.Member)); err != nil {
			return fmt.Errorf("fabric: peer of %s: %w", n.Member, err)
		}
	}
	c.own = c.links[c.at.Address]
	for _, n := range c.at.Orderers {
		if err := c.links.add(n, nil); err != nil {
			return err
		}
		o, err := sdkorderer.New(config, sdkorderer.WithURL(n.Address))
		if err != nil {
			return fmt.Errorf("fabric: orderer %s: %w", n.Address, err)
		}
		c.orderers = append(c.orderers, o)
	}
	return nil
}

// Close ends the connection.
func (c *Connection) Close() error { return c.links.close() }

// Endorse is Chain: one peer of each member is asked.
func (c *Connection) Endorse(ctx context.Context, function string, args ...[]byte) (Prepared, error) {
	return c.EndorseBy(ctx, sortedKeys(c.peers), function, args...)
}

// endorsed is what Send and Await need of a transaction.
type endorsed struct {
	transaction *fab.Transaction
	from        uint64 // its block is this one or a later one
}

// EndorseBy is Endorse by the peers of these members and no others; no member stands for all. The endorsements' signatures are
// not looked at: the peers do, before they call a transaction valid.
func (c *Connection) EndorseBy(ctx context.Context, members []string, function string, args ...[]byte) (Prepared, error) {
	if len(members) == 0 {
		members = sortedKeys(c.peers)
	}
	timed, cancel := context.WithTimeout(ctx, endorseTimeout)
	defer cancel()
	from, err := c.Height(timed)
	if err != nil {
		return Prepared{}, fmt.Errorf("%w: %w", ErrNotEndorsed, err)
	}
	proposal, answers, err := c.propose(timed, members, c.at.Chaincode, function, args)
	if err != nil {
		return Prepared{}, fmt.Errorf("%w: %w", ErrNotEndorsed, c.refused(ctx, err))
	}
	for _, a := range answers[1:] {
		if !bytes.Equal(a.ProposalResponse.GetPayload(), answers[0].ProposalResponse.GetPayload()) {
			return Prepared{}, &Disagreement{Versions: c.versions(ctx), Err: errDiffer}
		}
	}
	answer, err := answerOf(answers[0].ProposalResponse)
	if err != nil {
		return Prepared{}, fmt.Errorf("%w: %w", ErrNotEndorsed, err)
	}
	t, err := txn.New(fab.TransactionRequest{Proposal: proposal, ProposalResponses: answers})
	if err != nil {
		return Prepared{}, fmt.Errorf("%w: %w", ErrNotEndorsed, err)
	}
	return Prepared{ID: string(proposal.TxnID), Answer: answer, handle: &endorsed{transaction: t, from: from}}, nil
}

// answerOf is what the chaincode answers as the peers sign it: the one beside it in the response nobody signs.
func answerOf(r *peer.ProposalResponse) ([]byte, error) {
	var payload protos.ProposalResponsePayload
	var action protos.ChaincodeAction
	if err := errors.Join(protos.Unmarshal(r.GetPayload(), &payload), protos.Unmarshal(payload.GetExtension(), &action)); err != nil {
		return nil, err
	}
	return action.GetResponse().GetPayload(), nil
}

// propose asks the members' peers at once and returns if all agree to answer.
func (c *Connection) propose(ctx context.Context, members []string, chaincode, function string, args [][]byte) (*fab.TransactionProposal, []*fab.TransactionProposalResponse, error) {
	var targets []fab.ProposalProcessor
	for _, m := range members {
		p, ok := c.peers[m]
		if !ok {
			return nil, nil, fmt.Errorf("no peer of %s is named", m)
		}
		targets = append(targets, p)
	}
	header, err := txn.NewHeader(c.client, c.at.Channel)
	if err != nil {
		return nil, nil, err
	}
	proposal, err := txn.CreateChaincodeInvokeProposal(header, fab.ChaincodeInvokeRequest{ChaincodeID: chaincode, Fcn: function, Args: args})
	if err != nil {
		return nil, nil, err
	}
	request, cancel := c.request(ctx)
	defer cancel()
	answers, err := txn.SendProposal(request, proposal, targets)
	if err != nil {
		return nil, nil, err
	}
	return proposal, answers, nil
}

// request is ctx with what the SDK looks for in it. The SDK's own time limit is beyond any of ours.
func (c *Connection) request(ctx context.Context) (context.Context, context.CancelFunc) {
	return sdkcontext.NewRequest(c.client, sdkcontext.WithTimeout(time.Hour), sdkcontext.WithParent(ctx))
}

// refused names what peers or orderers report.
func (c *Connection) refused(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	err = c.expiry.because(err)
	if c.own.GetState() == connectivity.TransientFailure {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return err
}

// Send is Chain. The orderers are asked one after the other, beginning with any, until one takes it.
func (c *Connection) Send(ctx context.Context, p Prepared) error {
	e, ok := p.handle.(*endorsed)
	if !ok {
		return errors.New("fabric: a transaction of another connection")
	}
	timed, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	request, cancel := c.request(timed)
	defer cancel()
	if _, err := txn.Send(request, e.transaction, c.orderers); err != nil {
		return c.refused(ctx, err)
	}
	return nil
}

// Await is Chain.
func (c *Connection) Await(ctx context.Context, p Prepared) (Commitment, error) {
	e, ok := p.handle.(*endorsed)
	if !ok {
		return Commitment{}, errors.New("fabric: a transaction of another connection")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := peer.NewDeliverClient(c.own).DeliverFiltered(ctx)
	if err != nil {
		return Commitment{}, c.refused(ctx, err)
	}
	if err := c.seek(stream, e.from); err != nil {
		return Commitment{}, c.refused(ctx, err)
	}
	for {
		r, err := stream.Recv()
		if err != nil {
			return Commitment{}, c.ended(ctx, err)
		}
		b := r.GetFilteredBlock()
		if b == nil {
			return Commitment{}, c.ended(ctx, errors.New(r.GetStatus().String()))
		}
		for _, t := range b.GetFilteredTransactions() {
			if t.GetTxid() == p.ID { // the first of this id: the peers take no later one
				return Commitment{Block: b.GetNumber(), Code: Code(t.GetTxValidationCode())}, nil
			}
		}
	}
}

// seek asks a stream for all blocks from a number on, those that are not there yet, too.
func (c *Connection) seek(stream interface{ Send(*common.Envelope) error }, from uint64) error {
	seek, err := protos.Marshal(&orderer.SeekInfo{
		Start:    &orderer.SeekPosition{Type: &orderer.SeekPosition_Specified{Specified: &orderer.SeekSpecified{Number: from}}},
		Stop:     &orderer.SeekPosition{Type: &orderer.SeekPosition_Specified{Specified: &orderer.SeekSpecified{Number: math.MaxUint64}}},
		Behavior: orderer.SeekInfo_BLOCK_UNTIL_READY,
	})
	if err != nil {
		return err
	}
	header, err := txn.NewHeader(c.client, c.at.Channel)
	if err != nil {
		return err
	}
	channel, err := txn.CreateChannelHeader(common.HeaderType_DELIVER_SEEK_INFO, txn.ChannelHeaderOpts{TxnHeader: header})
	if err != nil {
		return err
	}
	payload, err := txn.CreatePayload(header, channel, seek)
	if err != nil {
		return err
	}
	b, err := protos.Marshal(payload)
	if err != nil {
		return err
	}
	signature, err := c.client.SigningManager().Sign(b, c.client.PrivateKey())
	if err != nil {
		return err
	}
	return stream.Send(&common.Envelope{Payload: b, Signature: signature})
}

// ended says why a stream of the own peer is over.
func (c *Connection) ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return c.expiry.because(fmt.Errorf("%w: it ended the stream of blocks: %w", ErrUnreachable, err))
}

func (c *Connection) ask(ctx context.Context, member, chaincode, function string, args [][]byte) ([]byte, error) {
	timed, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	_, answers, err := c.propose(timed, []string{member}, chaincode, function, args)
	if err != nil {
		return nil, c.refused(ctx, err)
	}
	return answers[0].ProposalResponse.GetResponse().GetPayload(), nil
}

// stream calls do for each block from a number on.
func (c *Connection) stream(ctx context.Context, from uint64, do func(*protos.Block) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := peer.NewDeliverClient(c.own).Deliver(ctx)
	if err != nil {
		return c.refused(ctx, err)
	}
	if err := c.seek(stream, from); err != nil {
		return c.refused(ctx, err)
	}
	for {
		r, err := stream.Recv()
		if err != nil {
			return c.ended(ctx, err)
		}
		b := r.GetBlock()
		if b == nil {
			return c.ended(ctx, errors.New(r.GetStatus().String()))
		}
		if err := do(b); err != nil {
			return err
		}
	}
}

// settings are the SDK's configuration, in memory.
type settings map[string]any

// Lookup is core.ConfigBackend.
func (s settings) Lookup(key string) (any, bool) {
	v, ok := s[key]
	return v, ok
}

// links are the connections by address. The SDK's own cache of connections waits, with today's gRPC, until its time limit for
// one that was lost; these open again with the next call.
type links map[string]*grpc.ClientConn

func (l links) add(n Node, x *expiry) error {
	if l[n.Address] != nil {
		return fmt.Errorf("fabric: two nodes are said to be at %s", n.Address)
	}
	wire, err := dial(n, x)
	if err != nil {
		return err
	}
	l[n.Address] = wire
	return nil
}

func (l links) close() error {
	var errs []error
	for _, wire := range l {
		errs = append(errs, wire.Close())
	}
	return errors.Join(errs...)
}

// DialContext is fab.CommManager.
func (l links) DialContext(_ context.Context, address string, _ ...grpc.DialOption) (*grpc.ClientConn, error) {
	wire := l[address]
	if wire == nil {
		return nil, fmt.Errorf("no connection to %s", address)
	}
	return wire, nil
}

// ReleaseConn is fab.CommManager.
func (l links) ReleaseConn(*grpc.ClientConn) {}

// infrastructure is what of fab.InfraProvider the SDK asks for here.
type infrastructure struct {
	fab.InfraProvider
	links links
}

// CommManager is fab.InfraProvider.
func (i infrastructure) CommManager() fab.CommManager { return i.links }

// signer signs with the key of the identity's file: the SDK's own key stores write to disk.
type signer identity.Sign

// Sign is core.SigningManager. There is one key, whatever is handed in.
func (s signer) Sign(message []byte, _ core.Key) ([]byte, error) { return s(hash.SHA256(message)) }

// sender is who signs.
type sender struct{ id identity.Identity }

// Identifier is msp.Identity.
func (s sender) Identifier() *msp.IdentityIdentifier {
	return &msp.IdentityIdentifier{MSPID: s.id.MspID()}
}

// Serialize is msp.Identity.
func (s sender) Serialize() ([]byte, error) {
	return protos.Marshal(&protos.SerializedIdentity{Mspid: s.id.MspID(), IdBytes: s.id.Credentials()})
}

// EnrollmentCertificate is msp.Identity.
func (s sender) EnrollmentCertificate() []byte { return s.id.Credentials() }

// PublicVersion is msp.SigningIdentity.
func (s sender) PublicVersion() msp.Identity { return s }

// PrivateKey is msp.SigningIdentity: signer has it.
func (s sender) PrivateKey() core.Key { return nil }

var errNotHere = errors.New("fabric: not asked for")

// Sign is msp.SigningIdentity; the SDK signs with its signing manager.
func (s sender) Sign([]byte) ([]byte, error) { return nil, errNotHere }

// Verify is msp.Identity; what others sign is judged by the peers.
func (s sender) Verify(_, _ []byte) error { return errNotHere }
