//go:build !fabricsdk

package fabric

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/elicence/elicence/ledger/fabric/protos"
	"github.com/hyperledger/fabric-gateway/pkg/client"
	"github.com/hyperledger/fabric-gateway/pkg/hash"
	"github.com/hyperledger/fabric-protos-go-apiv2/gateway"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"
)

// Connection is a Chain over Fabric's gateway service, which peers have since 2.4. It reconnects by itself.
type Connection struct {
	at       Endpoint
	expiry   *expiry
	wire     *grpc.ClientConn
	gateway  *client.Gateway
	network  *client.Network
	contract *client.Contract
}

// Connect reads the files and makes a Connection. It does not wait for the peer: that it is away shows in the first call, and so
// does a certificate that has expired. Whoever issues does not depend on either.
func Connect(at Endpoint) (*Connection, error) {
	id, sign, err := identityOf(at)
	if err != nil {
		return nil, err
	}
	expiry, err := newExpiry(at)
	if err != nil {
		return nil, err
	}
	wire, err := dial(at.own(), expiry)
	if err != nil {
		return nil, err
	}
	g, err := client.Connect(id, client.WithSign(sign), client.WithHash(hash.SHA256), client.WithClientConnection(wire))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("fabric: %w", err), wire.Close())
	}
	c := &Connection{at: at, expiry: expiry, wire: wire, gateway: g, network: g.GetNetwork(at.Channel)}
	c.contract = c.network.GetContract(at.Chaincode)
	return c, nil
}

// Close ends the connection.
func (c *Connection) Close() error { return errors.Join(c.gateway.Close(), c.wire.Close()) }

// Endorse is Chain.
func (c *Connection) Endorse(ctx context.Context, function string, args ...[]byte) (Prepared, error) {
	return c.endorse(ctx, c.contract, function, args)
}

// EndorseBy is Endorse by the peers of these members and no others.
func (c *Connection) EndorseBy(ctx context.Context, members []string, function string, args ...[]byte) (Prepared, error) {
	return c.endorse(ctx, c.contract, function, args, members...)
}

func (c *Connection) endorse(ctx context.Context, contract *client.Contract, function string, args [][]byte, members ...string) (Prepared, error) {
	options := []client.ProposalOption{client.WithBytesArguments(args...)}
	if len(members) > 0 {
		options = append(options, client.WithEndorsingOrganizations(members...))
	}
	proposal, err := contract.NewProposal(function, options...)
	if err != nil {
		return Prepared{}, fmt.Errorf("%w: %w", ErrNotEndorsed, err)
	}
	timed, cancel := context.WithTimeout(ctx, endorseTimeout)
	defer cancel()
	t, err := proposal.EndorseWithContext(timed)
	if err != nil {
		err = c.refused(ctx, err)
		if errors.Is(err, errDiffer) {
			return Prepared{}, &Disagreement{Versions: c.versions(ctx), Err: err}
		}
		return Prepared{}, fmt.Errorf("%w: %w", ErrNotEndorsed, err)
	}
	return Prepared{ID: t.TransactionID(), Answer: t.Result(), handle: t}, nil
}

// refused names what a gateway reports, with what each peer said.
func (c *Connection) refused(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s := status.Convert(err)
	said := []string{s.Message()}
	for _, d := range s.Details() {
		if d, ok := d.(*gateway.ErrorDetail); ok {
			said = append(said, fmt.Sprintf("%s: %s", d.GetMspId(), d.GetMessage()))
		}
	}
	text := strings.Join(said, "; ")
	switch err = c.expiry.because(errors.New(text)); {
	case strings.Contains(text, "ProposalResponsePayloads do not match"):
		return fmt.Errorf("%w: %s", errDiffer, text)
	case strings.Contains(text, "no peer combination"):
		return fmt.Errorf("%w: %w", ErrTooFewPeers, err)
	case c.wire.GetState() == connectivity.TransientFailure, s.Code() == codes.Unavailable && len(said) == 1 && strings.Contains(text, "connection"):
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	default:
		return err
	}
}

// Send is Chain.
func (c *Connection) Send(ctx context.Context, p Prepared) error {
	t, ok := p.handle.(*client.Transaction)
	if !ok {
		return errors.New("fabric: a transaction of another connection")
	}
	timed, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	if _, err := t.SubmitWithContext(timed); err != nil {
		return c.refused(ctx, err)
	}
	return nil
}

// Await is Chain.
func (c *Connection) Await(ctx context.Context, p Prepared) (Commitment, error) {
	id := c.gateway.Identity()
	creator, err := protos.Marshal(&protos.SerializedIdentity{Mspid: id.MspID(), IdBytes: id.Credentials()})
	if err != nil {
		return Commitment{}, err
	}
	request, err := protos.Marshal(&gateway.CommitStatusRequest{ChannelId: c.at.Channel, TransactionId: p.ID, Identity: creator})
	if err != nil {
		return Commitment{}, err
	}
	unsigned, err := protos.Marshal(&gateway.SignedCommitStatusRequest{Request: request})
	if err != nil {
		return Commitment{}, err
	}
	commit, err := c.gateway.NewCommit(unsigned)
	if err != nil {
		return Commitment{}, err
	}
	s, err := commit.StatusWithContext(ctx)
	if err != nil {
		return Commitment{}, c.refused(ctx, err)
	}
	return Commitment{Block: s.BlockNumber, Code: Code(s.Code)}, nil
}

// ask has one member's peer simulate a call, and orders nothing.
func (c *Connection) ask(ctx context.Context, member, chaincode, function string, args [][]byte) ([]byte, error) {
	proposal, err := c.network.GetContract(chaincode).NewProposal(function, client.WithBytesArguments(args...), client.WithEndorsingOrganizations(member))
	if err != nil {
		return nil, err
	}
	timed, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	b, err := proposal.EvaluateWithContext(timed)
	if err != nil {
		return nil, c.refused(ctx, err)
	}
	return b, nil
}

// stream calls do for each block from a number on.
func (c *Connection) stream(ctx context.Context, from uint64, do func(*protos.Block) error) error {
	ctx, cancel := context.WithCancel(ctx)
	blocks, err := c.network.BlockEvents(ctx, client.WithStartBlock(from))
	if err != nil {
		err = c.refused(ctx, err) // before it is cancelled, or that would pass for the reason
		cancel()
		return err
	}
	defer func() {
		cancel()
		for range blocks { // else the goroutine that reads from the peer would wait for ever to hand over one more
		}
	}()
	for b := range blocks {
		if err := do(b); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return c.expiry.because(fmt.Errorf("%w: it ended the stream of blocks", ErrUnreachable))
}
