package fabric

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/elicence/elicence/ledger/fabric/protos"
	"github.com/elicence/elicence/ledger/fabric/transaction"
	"github.com/hyperledger/fabric-gateway/pkg/identity"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
)

// A binary has one of two connectors, chosen when it is built: connection.go by default, connection_sdk.go with the build tag
// fabricsdk. Both are Connect and Connection, and what they share is here.

// Endpoint is where an organisation's own peer is and who speaks to it. All files are PEM.
type Endpoint struct {
	Address    string // of the own peer, host:port
	ServerName string // in the peer's TLS certificate, if it is not the address's host
	ServerCA   string // file: who certifies the peer's TLS
	Member     string // MSP id of the organisation
	Cert, Key  string // files: transport identity of the client, ECDSA
	Channel    string
	Chaincode  string
	// Members are the MSP ids that are asked for their chaincode's version when peers disagree.
	Members []string
	// Peers of the other members, one for each that must endorse, and Orderers of the channel. Only a network older than
	// Fabric 2.4 needs them (build tag fabricsdk): a gateway finds them by itself, and then they are not read.
	Peers    []Node
	Orderers []Node
}

// Node is another peer or an orderer.
type Node struct {
	Member     string // MSP id of a peer's organisation; not read for an orderer
	Address    string // host:port
	ServerName string // in its TLS certificate, if it is not the address's host
	ServerCA   string // file: who certifies its TLS
}

// maxMessage bounds one message from a peer: a block of the greatest size, and room.
const maxMessage = 100 << 20

// deadlines of single calls; a caller's own context may end sooner.
const (
	endorseTimeout = 30 * time.Second
	sendTimeout    = 15 * time.Second
	askTimeout     = 15 * time.Second
)

// dial makes a connection that is opened by its first call and opened again whenever it was lost. x, if not nil, looks at what
// the node shows of itself.
func dial(n Node, x *expiry) (*grpc.ClientConn, error) {
	roots, err := os.ReadFile(n.ServerCA)
	if err != nil {
		return nil, fmt.Errorf("fabric: CA of %s: %w", n.Address, err)
	}
	pool := x509.NewCertPool() // of its own: nobody else's CA speaks for this node
	if !pool.AppendCertsFromPEM(roots) {
		return nil, fmt.Errorf("fabric: no certificate in %s", n.ServerCA)
	}
	transport := credentials.NewClientTLSFromCert(pool, n.ServerName)
	if x != nil {
		transport = x.watch(transport)
	}
	wire, err := grpc.NewClient(n.Address,
		grpc.WithTransportCredentials(transport),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		// A peer that vanished without a word is noticed; its own limit is one ping a minute.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 70 * time.Second, Timeout: 20 * time.Second}),
	)
	if err != nil {
		return nil, fmt.Errorf("fabric: %s: %w", n.Address, err)
	}
	return wire, nil
}

// own is the organisation's own peer.
func (at Endpoint) own() Node {
	return Node{Member: at.Member, Address: at.Address, ServerName: at.ServerName, ServerCA: at.ServerCA}
}

func identityOf(at Endpoint) (identity.Identity, identity.Sign, error) {
	cert, err := os.ReadFile(at.Cert)
	if err != nil {
		return nil, nil, fmt.Errorf("fabric: identity: %w", err)
	}
	certificate, err := identity.CertificateFromPEM(cert)
	if err != nil {
		return nil, nil, fmt.Errorf("fabric: identity: %s: %w", at.Cert, err)
	}
	id, err := identity.NewX509Identity(at.Member, certificate)
	if err != nil {
		return nil, nil, fmt.Errorf("fabric: identity: %w", err)
	}
	b, err := os.ReadFile(at.Key)
	if err != nil {
		return nil, nil, fmt.Errorf("fabric: identity: %w", err)
	}
	key, err := identity.PrivateKeyFromPEM(b)
	if err != nil {
		return nil, nil, fmt.Errorf("fabric: identity: %s holds no private key", at.Key)
	}
	sign, err := identity.NewPrivateKeySign(key)
	if err != nil {
		return nil, nil, fmt.Errorf("fabric: identity: %w", err)
	}
	return id, sign, nil
}

// errDiffer says that peers returned different results.
var errDiffer = errors.New("the peers' results differ")

// versions asks each member's chaincode what it is.
func (c *Connection) versions(ctx context.Context) map[string]string {
	versions := map[string]string{}
	for _, m := range c.at.Members {
		v, err := c.Evaluate(ctx, m, transaction.ReadVersion)
		if err != nil {
			versions[m] = "? (no answer)"
			continue
		}
		versions[m] = string(v)
	}
	return versions
}

// WholeBlocks is Blocks of all that the peer delivers: each block in protobuf's encoding, fields in the order of their numbers.
func (c *Connection) WholeBlocks(ctx context.Context, from uint64, do func(block []byte) error) error {
	return c.stream(ctx, from, func(b *protos.Block) error {
		raw, err := protos.Marshal(b)
		if err != nil {
			return err
		}
		return do(raw)
	})
}

// Blocks is Chain.
func (c *Connection) Blocks(ctx context.Context, from uint64, do func(Block) error) error {
	return c.stream(ctx, from, func(b *protos.Block) error {
		parsed, err := ParseBlock(b, c.at.Chaincode)
		if err != nil {
			return err
		}
		return do(parsed)
	})
}

// Fabric's own chaincode that reads the chain, and its functions.
const (
	systemQuery      = "qscc"
	queryTransaction = "GetTransactionByID"
	queryChain       = "GetChainInfo"
)

// Find is Chain.
func (c *Connection) Find(ctx context.Context, id string) (Code, bool, error) {
	b, err := c.ask(ctx, c.at.Member, systemQuery, queryTransaction, [][]byte{[]byte(c.at.Channel), []byte(id)})
	if err != nil {
		if isUnknownTransaction(err) {
			return 0, false, nil
		}
		return 0, false, err
	}
	var t protos.ProcessedTransaction
	if err := protos.Unmarshal(b, &t); err != nil {
		return 0, false, err
	}
	return Code(t.GetValidationCode()), true, nil
}

// Evaluate is Chain.
func (c *Connection) Evaluate(ctx context.Context, member, function string, args ...[]byte) ([]byte, error) {
	if member == "" {
		member = c.at.Member
	}
	return c.ask(ctx, member, c.at.Chaincode, function, args)
}

// Height is Chain.
func (c *Connection) Height(ctx context.Context) (uint64, error) {
	b, err := c.ask(ctx, c.at.Member, systemQuery, queryChain, [][]byte{[]byte(c.at.Channel)})
	if err != nil {
		return 0, err
	}
	var info protos.BlockchainInfo
	if err := protos.Unmarshal(b, &info); err != nil {
		return 0, err
	}
	return info.GetHeight(), nil
}

// isUnknownTransaction tells whether a peer says that it does not have a transaction: in one wording until Fabric 2.2, in
// another since.
func isUnknownTransaction(err error) bool {
	text := err.Error()
	return strings.Contains(text, "no such transaction ID") || strings.Contains(text, "ntry not found in index")
}
