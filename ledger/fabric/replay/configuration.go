package replay

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/elicence/elicence/ledger/fabric/protos"
)

// Names in a channel's configuration.
const (
	groupOrderer          = "Orderer"
	valueMSP              = "MSP"
	valueConsensus        = "ConsensusType"
	policyBlockValidation = "BlockValidation"
)

// configuration is a channel's configuration: who its members are and who signs its blocks.
type configuration struct {
	sequence uint64
	members  map[string]*member
	ordering *protos.ConfigGroup
	known    map[[32]byte]known
}

type known struct {
	identity *identity
	err      error
}

// cachedIdentities bounds what is remembered; clients of a large installation are some hundreds.
const cachedIdentities = 4096

// ErrOrdering says that blocks are ordered in a way whose signatures cannot be checked here.
var ErrOrdering = errors.New("replay: unknown kind of ordering service")

// newConfiguration reads a ConfigEnvelope.
func newConfiguration(raw []byte) (*configuration, error) {
	var e protos.ConfigEnvelope
	if err := protos.Unmarshal(raw, &e); err != nil {
		return nil, err
	}
	root := e.GetConfig().GetChannelGroup()
	c := &configuration{sequence: e.GetConfig().GetSequence(), members: map[string]*member{}, known: map[[32]byte]known{}, ordering: root.GetGroups()[groupOrderer]}
	if c.ordering == nil || c.ordering.GetPolicies()[policyBlockValidation] == nil {
		return nil, errors.New("no policy for blocks")
	}
	var consensus protos.ConsensusType
	if err := protos.Unmarshal(c.ordering.GetValues()[valueConsensus].GetValue(), &consensus); err != nil {
		return nil, err
	}
	if consensus.GetType() != "etcdraft" {
		return nil, fmt.Errorf("%w: %q", ErrOrdering, consensus.GetType())
	}
	return c, c.enter(root, 0)
}

// enter finds members below a group. Of two groups with one MSP the later one says the same: peers refuse anything else.
func (c *configuration) enter(g *protos.ConfigGroup, depth int) error {
	if depth > 4 {
		return errors.New("groups in groups")
	}
	if v := g.GetValues()[valueMSP]; v != nil {
		m, err := newMember(v.GetValue())
		if err != nil {
			return fmt.Errorf("a member: %w", err)
		}
		c.members[m.name] = m
	}
	for _, name := range sortedKeys(g.GetGroups()) {
		if err := c.enter(g.GetGroups()[name], depth+1); err != nil {
			return err
		}
	}
	return nil
}

// identity finds somebody by the bytes that stand in envelopes and signatures.
func (c *configuration) identity(serialized []byte) (*identity, error) {
	key := sha256.Sum256(serialized)
	if k, ok := c.known[key]; ok {
		return k.identity, k.err
	}
	if len(c.known) >= cachedIdentities {
		clear(c.known)
	}
	i, err := c.find(serialized)
	c.known[key] = known{i, err}
	return i, err
}

func (c *configuration) find(serialized []byte) (*identity, error) {
	var s protos.SerializedIdentity
	if err := protos.Unmarshal(serialized, &s); err != nil {
		return nil, err
	}
	m := c.members[s.GetMspid()]
	if m == nil {
		return nil, fmt.Errorf("%q is no member", s.GetMspid())
	}
	certificate, err := parsePEM(s.GetIdBytes())
	if err != nil {
		return nil, err
	}
	if err := m.admit(certificate); err != nil {
		return nil, err
	}
	return &identity{m, certificate}, nil
}

// signed is somebody's signature of a message.
type signed struct{ identity, message, signature []byte }

// satisfied tells whether signatures satisfy the policy for blocks.
func (c *configuration) satisfied(signatures []signed) bool {
	var signers []*identity
	for _, s := range signatures {
		i, err := c.identity(s.identity)
		if err != nil || !i.verify(s.message, s.signature) ||
			slices.ContainsFunc(signers, func(o *identity) bool { return o.certificate.Equal(i.certificate) }) {
			continue
		}
		signers = append(signers, i)
	}
	return satisfies(c.ordering, policyBlockValidation, signers)
}

// satisfies evaluates a policy of a group. A policy that is not there, or of a kind that is not known, is satisfied by nobody.
func satisfies(g *protos.ConfigGroup, name string, signers []*identity) bool {
	p := g.GetPolicies()[name].GetPolicy()
	switch protos.Policy_PolicyType(p.GetType()) {
	case protos.Policy_SIGNATURE:
		var e protos.SignaturePolicyEnvelope
		if protos.Unmarshal(p.GetValue(), &e) != nil || e.GetVersion() != 0 {
			return false
		}
		return satisfiesRule(e.GetRule(), e.GetIdentities(), signers, make([]bool, len(signers)), 0)
	case protos.Policy_IMPLICIT_META:
		var m protos.ImplicitMetaPolicy
		if protos.Unmarshal(p.GetValue(), &m) != nil {
			return false
		}
		total, good := len(g.GetGroups()), 0
		for _, sub := range g.GetGroups() {
			if satisfies(sub, m.GetSubPolicy(), signers) {
				good++
			}
		}
		switch m.GetRule() {
		case protos.ImplicitMetaPolicy_ANY:
			return good > 0
		case protos.ImplicitMetaPolicy_ALL:
			return good == total && total > 0
		case protos.ImplicitMetaPolicy_MAJORITY:
			return good > total/2
		}
	}
	return false
}

// maxRules bounds how deep rules stand in rules.
const maxRules = 32

// satisfiesRule is Fabric's way of evaluating: each signer counts once.
func satisfiesRule(r *protos.SignaturePolicy, principals []*protos.MSPPrincipal, signers []*identity, used []bool, depth int) bool {
	if depth > maxRules {
		return false
	}
	switch t := r.GetType().(type) {
	case *protos.SignaturePolicy_SignedBy:
		if t.SignedBy < 0 || int(t.SignedBy) >= len(principals) {
			return false
		}
		for n, s := range signers {
			if !used[n] && s.satisfies(principals[t.SignedBy]) {
				used[n] = true
				return true
			}
		}
		return false
	case *protos.SignaturePolicy_NOutOf_:
		good := int32(0)
		for _, rule := range t.NOutOf.GetRules() {
			try := slices.Clone(used)
			if satisfiesRule(rule, principals, signers, try, depth+1) {
				good++
				copy(used, try)
			}
		}
		return good >= t.NOutOf.GetN() && good > 0
	default:
		return false
	}
}
