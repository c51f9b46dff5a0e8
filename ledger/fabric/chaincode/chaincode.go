// Package chaincode runs ledger/contract on the peers of a Hyperledger Fabric network. It is as pure as the contract: what it
// answers depends on the state, the arguments and the sender's certificate alone, so that the peers of all organisations
// come to the same answer, and whoever reads the chain comes to it again.
package chaincode

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/elicence/elicence/ledger"
	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/ledger/fabric/transaction"
	"github.com/hyperledger/fabric-chaincode-go/v2/pkg/cid"
	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"
)

const cachedCertificates = 4096

// Chaincode is safe for concurrent use: a peer simulates many transactions at a time.
type Chaincode struct {
	court *contract.Court
	build string
}

// New makes a Chaincode. build names the program: it is what tells two organisations' chaincodes apart when they disagree.
func New(build string) *Chaincode {
	return &Chaincode{court: contract.NewCourt(cachedCertificates), build: build}
}

// Init is shim.Chaincode. There is nothing to set up.
func (c *Chaincode) Init(shim.ChaincodeStubInterface) *peer.Response { return shim.Success(nil) }

// Invoke is shim.Chaincode.
func (c *Chaincode) Invoke(stub shim.ChaincodeStubInterface) *peer.Response {
	args := stub.GetArgs()
	if len(args) == 0 {
		return shim.Error("no function")
	}
	payload, err := c.invoke(stub, string(args[0]), args[1:])
	if err != nil {
		return shim.Error(err.Error())
	}
	return shim.Success(payload)
}

var errArguments = errors.New("wrong number of arguments")

func (c *Chaincode) invoke(stub shim.ChaincodeStubInterface, function string, args [][]byte) ([]byte, error) {
	switch function {
	case transaction.Submit:
		return c.submit(stub, args)
	case transaction.ProposeRegistry:
		if len(args) != 1 {
			return nil, fmt.Errorf("%s: %w", function, errArguments)
		}
		return c.proposeRegistry(stub, args[0])
	case transaction.Checkpoint:
		if len(args) != 1 {
			return nil, fmt.Errorf("%s: %w", function, errArguments)
		}
		return nil, c.checkpoint(stub, args[0])
	case transaction.ReadRegistry:
		if len(args) != 0 {
			return nil, fmt.Errorf("%s: %w", function, errArguments)
		}
		return stub.GetState(transaction.KeyRegistry)
	case transaction.ReadVersion:
		if len(args) != 0 {
			return nil, fmt.Errorf("%s: %w", function, errArguments)
		}
		return fmt.Appendf(nil, "transactions %d, events %d, program %s", transaction.Version, contract.Version, c.build), nil
	case transaction.ReadState:
		if len(args) != 1 {
			return nil, fmt.Errorf("%s: %w", function, errArguments)
		}
		return readState(stub, string(args[0]))
	default:
		return nil, errors.New("unknown function")
	}
}

// sender is who signed the transaction.
type sender struct {
	msp   string
	code  string // the one organisation it sends for, "" for all of its member's kind
	admin bool
}

func senderOf(stub shim.ChaincodeStubInterface) (sender, error) {
	id, err := cid.New(stub)
	if err != nil {
		return sender{}, fmt.Errorf("sender: %w", err)
	}
	var s sender
	if s.msp, err = id.GetMSPID(); err != nil {
		return sender{}, fmt.Errorf("sender: %w", err)
	}
	if s.code, _, err = id.GetAttributeValue(transaction.OrganisationAttribute); err != nil {
		return sender{}, fmt.Errorf("sender: %w", err)
	}
	var certificate *x509.Certificate
	if certificate, err = id.GetX509Certificate(); err != nil || certificate == nil {
		return sender{}, fmt.Errorf("sender: no certificate: %w", err)
	}
	s.admin = slices.Contains(certificate.Subject.OrganizationalUnit, "admin")
	return s, nil
}

// submit judges a batch. The batch is judged on an overlay of its own earlier events, because the shim does not show a
// transaction its own writes; all that is read is named before, so no query feeds a write.
func (c *Chaincode) submit(stub shim.ChaincodeStubInterface, events [][]byte) ([]byte, error) {
	if err := transaction.Fits(events); err != nil {
		return nil, err
	}
	from, err := senderOf(stub)
	if err != nil {
		return nil, err
	}
	registry, err := standing(stub)
	if err != nil {
		return nil, err
	}
	if registry == nil {
		return nil, errors.New("no registry: the members' admins propose the first one")
	}
	kind := registry.Kind(from.msp)
	if kind == "" {
		return nil, fmt.Errorf("the registry does not have %s", from.msp)
	}
	state, err := fetch(stub, contract.Keys(events))
	if err != nil {
		return nil, err
	}
	// The time is the sender's word, in what it has signed: no host's clock decides. Cosigners hold it against theirs.
	submitted, err := stub.GetTxTimestamp()
	if err != nil {
		return nil, fmt.Errorf("time: %w", err)
	}
	verdicts, writes, err := c.court.JudgeAdmitted(context.Background(), state, events, func(s *contract.Signed, k contract.OrganisationKind) *contract.Refusal {
		if !transaction.MaySend(kind, from.code, s.Event.Actor, k) {
			return contract.SentByAnother()
		}
		return contract.TooFarAhead(s, submitted.AsTime())
	})
	if err != nil {
		return nil, err
	}
	policy, err := endorsedByAllKinds(*registry)
	if err != nil {
		return nil, err
	}
	stub.StartWriteBatch()
	for _, key := range slices.Sorted(maps.Keys(writes)) {
		if err := stub.PutState(key, writes[key]); err != nil {
			return nil, err
		}
	}
	for _, v := range verdicts {
		if v.Refusal != nil || v.Event.Event.Kind != contract.Issued {
			continue
		}
		// Whatever becomes of the chaincode's own policy, no licence changes without all kinds.
		if err := stub.SetStateValidationParameter(contract.LicenceKey(v.Event.Event.Handle), policy); err != nil {
			return nil, err
		}
	}
	if err := stub.FinishWriteBatch(); err != nil {
		return nil, err
	}
	return transaction.AnswerOf(verdicts).Encode()
}

// checkpoint lets a member's signed checkpoint onto the chain, so that the followers of all members get it. Nothing is written:
// what its signatures are worth each follower sees for itself.
func (c *Chaincode) checkpoint(stub shim.ChaincodeStubInterface, note []byte) error {
	if _, err := ledger.ParseNote(note); err != nil {
		return err
	}
	from, err := senderOf(stub)
	if err != nil {
		return err
	}
	registry, err := standing(stub)
	if err != nil {
		return err
	}
	if registry == nil || registry.Kind(from.msp) == "" {
		return fmt.Errorf("the registry does not have %s", from.msp)
	}
	return nil
}

// fetched is the state of one batch. A key that was not asked for must not pass for one that was never written.
type fetched map[string][]byte

func fetch(stub shim.ChaincodeStubInterface, keys []string) (fetched, error) {
	values, err := stub.GetMultipleStates(keys...)
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	if len(values) != len(keys) {
		return nil, fmt.Errorf("state: %d values for %d keys", len(values), len(keys))
	}
	f := make(fetched, len(keys))
	for i, k := range keys {
		if len(values[i]) == 0 { // the peer does not tell nothing from an empty value, and the contract writes none
			values[i] = nil
		}
		f[k] = values[i]
	}
	return f, nil
}

func (f fetched) Get(_ context.Context, key string) ([]byte, error) {
	v, asked := f[key]
	if !asked {
		return nil, fmt.Errorf("state key %q was not fetched", key)
	}
	return v, nil
}

// standing returns the registry in force, nil for none.
func standing(stub shim.ChaincodeStubInterface) (*transaction.Registry, error) {
	return transaction.Standing(stub.GetState)
}

// readState returns one page of the state. It is the only function with a range query, and writes nothing.
func readState(stub shim.ChaincodeStubInterface, first string) (_ []byte, err error) {
	keys, err := stub.GetStateByRange(first, "")
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	defer func() { err = errors.Join(err, keys.Close()) }()
	var page transaction.Page
	for keys.HasNext() {
		kv, err := keys.Next()
		if err != nil {
			return nil, fmt.Errorf("state: %w", err)
		}
		if !page.Add(kv.GetKey(), kv.GetValue()) {
			break
		}
	}
	return page.Encode()
}

func (c *Chaincode) proposeRegistry(stub shim.ChaincodeStubInterface, b []byte) ([]byte, error) {
	from, err := senderOf(stub)
	if err != nil {
		return nil, err
	}
	payload, writes, err := transaction.Propose(stub.GetState, from.msp, from.admin, b)
	if err != nil {
		return nil, err
	}
	for _, key := range slices.Sorted(maps.Keys(writes)) {
		if err := stub.PutState(key, writes[key]); err != nil {
			return nil, err
		}
	}
	return payload, nil
}

// endorsedByAllKinds is the policy of a key: a peer of each kind. Its bytes are the same on every peer.
func endorsedByAllKinds(r transaction.Registry) ([]byte, error) {
	envelope := &common.SignaturePolicyEnvelope{}
	var kinds []*common.SignaturePolicy
	for _, k := range transaction.Kinds() {
		var members []*common.SignaturePolicy
		for _, m := range r.Of(k) {
			role, err := proto.Marshal(&msp.MSPRole{MspIdentifier: m, Role: msp.MSPRole_PEER})
			if err != nil {
				return nil, err
			}
			members = append(members, &common.SignaturePolicy{Type: &common.SignaturePolicy_SignedBy{SignedBy: int32(len(envelope.Identities))}})
			envelope.Identities = append(envelope.Identities, &msp.MSPPrincipal{PrincipalClassification: msp.MSPPrincipal_ROLE, Principal: role})
		}
		kinds = append(kinds, outOf(1, members))
	}
	envelope.Rule = outOf(int32(len(kinds)), kinds)
	return proto.MarshalOptions{Deterministic: true}.Marshal(envelope)
}

func outOf(n int32, rules []*common.SignaturePolicy) *common.SignaturePolicy {
	return &common.SignaturePolicy{Type: &common.SignaturePolicy_NOutOf_{NOutOf: &common.SignaturePolicy_NOutOf{N: n, Rules: rules}}}
}
