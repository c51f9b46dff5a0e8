package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/elicence/elicence/ledger/fabric"
	"github.com/elicence/elicence/ledger/fabric/protos"
	"github.com/elicence/elicence/ledger/fabric/transaction"
)

// patience is how long a step of a deployment is tried again: right after the start there is no leader among the orderers
// and peers do not know each other yet.
const patience = 60 * time.Second

// Registry is the one of a new ledger.
func Registry() transaction.Registry {
	var members []transaction.Member
	for _, o := range Organisations() {
		members = append(members, transaction.Member{MSP: o.MSP, Kind: o.Kind})
	}
	return transaction.NewRegistry(1, members...)
}

// Deploy defines the chaincode under names, all at once, and founds a registry in each: a ledger of its own each, served by the
// same three processes. All organisations approve, as they must.
func (n *Network) Deploy(ctx context.Context, names ...string) error {
	var wait sync.WaitGroup
	errs := make([]error, len(names))
	connections := map[string]*fabric.Connection{}
	defer func() {
		for _, c := range connections {
			_ = c.Close()
		}
	}()
	for _, o := range Organisations() {
		c, err := fabric.Connect(n.Endpoint(o, "admin", "_lifecycle"))
		if err != nil {
			return err
		}
		connections[o.Name] = c
	}
	for i, name := range names {
		wait.Go(func() {
			if errs[i] = n.define(ctx, connections, name); errs[i] == nil {
				errs[i] = n.found(ctx, name)
			}
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

func (n *Network) define(ctx context.Context, connections map[string]*fabric.Connection, name string) error {
	policy, err := endorsement()
	if err != nil {
		return err
	}
	var members []string
	for _, o := range Organisations() {
		members = append(members, o.MSP)
	}
	err = everyone(func(o Organisation) error {
		n.mu.Lock()
		id := n.layout.Packages[o.Name]
		n.mu.Unlock()
		args, err := protos.Marshal(&protos.ApproveChaincodeDefinitionForMyOrgArgs{
			Sequence: 1, Name: name, Version: "1", ValidationParameter: policy,
			Source: &protos.ChaincodeSource{Type: &protos.ChaincodeSource_LocalPackage{
				LocalPackage: &protos.ChaincodeSource_Local{PackageId: id},
			}},
		})
		if err != nil {
			return err
		}
		return n.submit(ctx, connections[o.Name], []string{o.MSP}, "ApproveChaincodeDefinitionForMyOrg", args)
	})
	if err != nil {
		return fmt.Errorf("network: approve %s: %w", name, err)
	}
	args, err := protos.Marshal(&protos.CommitChaincodeDefinitionArgs{Sequence: 1, Name: name, Version: "1", ValidationParameter: policy})
	if err != nil {
		return err
	}
	if err := n.submit(ctx, connections[Organisations()[0].Name], members, "CommitChaincodeDefinition", args); err != nil {
		return fmt.Errorf("network: commit %s: %w", name, err)
	}
	return nil
}

// endorsement is the chaincode's policy: a peer of each member.
func endorsement() ([]byte, error) {
	envelope := &protos.SignaturePolicyEnvelope{}
	var rules []*protos.SignaturePolicy
	for i, o := range Organisations() {
		role, err := protos.Marshal(&protos.MSPRole{MspIdentifier: o.MSP, Role: protos.MSPRole_PEER})
		if err != nil {
			return nil, err
		}
		envelope.Identities = append(envelope.Identities, &protos.MSPPrincipal{PrincipalClassification: protos.MSPPrincipal_ROLE, Principal: role})
		rules = append(rules, &protos.SignaturePolicy{Type: &protos.SignaturePolicy_SignedBy{SignedBy: int32(i)}})
	}
	envelope.Rule = &protos.SignaturePolicy{Type: &protos.SignaturePolicy_NOutOf_{NOutOf: &protos.SignaturePolicy_NOutOf{N: int32(len(rules)), Rules: rules}}}
	return protos.Marshal(&protos.ApplicationPolicy{Type: &protos.ApplicationPolicy_SignaturePolicy{SignaturePolicy: envelope}})
}

// found has the admins of all members propose the first registry, one after the other.
func (n *Network) found(ctx context.Context, name string) error {
	b, err := Registry().Encode()
	if err != nil {
		return err
	}
	for _, o := range Organisations() {
		c, err := fabric.Connect(n.Endpoint(o, "admin", name))
		if err != nil {
			return err
		}
		err = n.submit(ctx, c, nil, transaction.ProposeRegistry, b)
		if err = errors.Join(err, c.Close()); err != nil {
			return fmt.Errorf("network: registry of %s by %s: %w", name, o.Name, err)
		}
	}
	// Each proposal waited for its own member's peer: the others may be a block behind it.
	return everyone(func(o Organisation) error {
		c, err := fabric.Connect(n.Endpoint(o, "client", name))
		if err != nil {
			return err
		}
		if err := errors.Join(inForce(ctx, c, o.MSP, b), c.Close()); err != nil {
			return fmt.Errorf("network: registry of %s at %s: %w", name, o.Name, err)
		}
		return nil
	})
}

// inForce waits until the member's peer has the registry.
func inForce(ctx context.Context, c *fabric.Connection, member string, registry []byte) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		b, err := c.Evaluate(ctx, member, transaction.ReadRegistry)
		if err == nil && bytes.Equal(b, registry) {
			return nil
		}
		if !pause(ctx, 20*time.Millisecond) {
			return errors.Join(ctx.Err(), err)
		}
	}
}

// submit tries until the transaction is valid.
func (n *Network) submit(ctx context.Context, c *fabric.Connection, members []string, function string, args []byte) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := once(ctx, c, members, function, args)
		if err == nil {
			return nil
		}
		if !pause(ctx, 100*time.Millisecond) {
			return err
		}
	}
}

func once(ctx context.Context, c *fabric.Connection, members []string, function string, args []byte) error {
	p, err := c.EndorseBy(ctx, members, function, args)
	if err != nil {
		return err
	}
	if err := c.Send(ctx, p); err != nil {
		return err
	}
	done, err := c.Await(ctx, p)
	if err != nil {
		return err
	}
	if done.Code != fabric.Valid {
		return fmt.Errorf("%s: %s", function, done.Code)
	}
	return nil
}
