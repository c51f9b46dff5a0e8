package replay

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"

	"github.com/elicence/elicence/ledger/fabric/protos"
	"github.com/elicence/elicence/ledger/fabric/transaction"
)

// envelope is a transaction as it stands in a block, whatever became of it.
type envelope struct {
	position int
	payload  []byte
	signature,
	creator,
	nonce []byte
	channel, id string
	kind        protos.HeaderType
	config      []byte // of a configuration

	// of what was endorsed
	chaincode    string
	endorsements []*protos.Endorsement
	response     []byte // that they sign
	bound        bool   // what was endorsed is what stands here
	sets         []set
	ranges       bool // it has read ranges, which are not read again here
}

// set is what a transaction has read and written in one namespace, or in one collection of hashes below it.
type set struct {
	namespace, collection string
	reads                 []read
	writes                []write
}

type read struct {
	key string
	at  *protos.Version
}

type write struct {
	key      string
	value    []byte
	deleted  bool
	metadata bool // nothing but metadata of the key is written
}

var errEnvelope = errors.New("replay: it is no transaction")

func parseEnvelope(raw []byte, position int) (*envelope, error) {
	var outer protos.Envelope
	var payload protos.Payload
	var channel protos.ChannelHeader
	var from protos.SignatureHeader
	if errors.Join(protos.Unmarshal(raw, &outer), protos.Unmarshal(outer.GetPayload(), &payload),
		protos.Unmarshal(payload.GetHeader().GetChannelHeader(), &channel), protos.Unmarshal(payload.GetHeader().GetSignatureHeader(), &from)) != nil {
		return nil, errEnvelope
	}
	e := &envelope{
		position: position, payload: outer.GetPayload(), signature: outer.GetSignature(), creator: from.GetCreator(), nonce: from.GetNonce(),
		channel: channel.GetChannelId(), id: channel.GetTxId(), kind: protos.HeaderType(channel.GetType()),
	}
	switch e.kind {
	case protos.HeaderType_CONFIG:
		e.config = payload.GetData()
		return e, nil
	case protos.HeaderType_ENDORSER_TRANSACTION:
		return e, e.parseEndorsed(payload.GetHeader().GetChannelHeader(), payload.GetData())
	default:
		return e, nil
	}
}

func (e *envelope) parseEndorsed(channelHeader, data []byte) error {
	var t protos.Transaction
	if protos.Unmarshal(data, &t) != nil || len(t.GetActions()) != 1 {
		return errEnvelope
	}
	var action protos.ChaincodeActionPayload
	var response protos.ProposalResponsePayload
	var simulated protos.ChaincodeAction
	var results protos.TxReadWriteSet
	a := t.GetActions()[0]
	if errors.Join(protos.Unmarshal(a.GetPayload(), &action),
		protos.Unmarshal(action.GetAction().GetProposalResponsePayload(), &response),
		protos.Unmarshal(response.GetExtension(), &simulated),
		protos.Unmarshal(simulated.GetResults(), &results)) != nil {
		return errEnvelope
	}
	e.chaincode = simulated.GetChaincodeId().GetName()
	e.endorsements, e.response = action.GetAction().GetEndorsements(), action.GetAction().GetProposalResponsePayload()
	h := sha256.New()
	h.Write(channelHeader)
	h.Write(a.GetHeader())
	h.Write(action.GetChaincodeProposalPayload())
	e.bound = bytes.Equal(h.Sum(nil), response.GetProposalHash())
	for _, ns := range results.GetNsRwset() {
		var kv protos.KVRWSet
		if protos.Unmarshal(ns.GetRwset(), &kv) != nil {
			return errEnvelope
		}
		e.ranges = e.ranges || len(kv.GetRangeQueriesInfo()) > 0
		s := set{namespace: ns.GetNamespace()}
		for _, r := range kv.GetReads() {
			s.reads = append(s.reads, read{r.GetKey(), r.GetVersion()})
		}
		for _, w := range kv.GetWrites() {
			s.put(w.GetKey(), w.GetValue(), w.GetIsDelete() || len(w.GetValue()) == 0)
		}
		for _, m := range kv.GetMetadataWrites() {
			s.metadata(m.GetKey())
		}
		e.sets = append(e.sets, s)
		for _, c := range ns.GetCollectionHashedRwset() {
			s, err := hashedSet(ns.GetNamespace(), c)
			if err != nil {
				return err
			}
			e.sets = append(e.sets, s)
		}
	}
	return nil
}

func hashedSet(namespace string, c *protos.CollectionHashedReadWriteSet) (set, error) {
	var kv protos.HashedRWSet
	if protos.Unmarshal(c.GetHashedRwset(), &kv) != nil {
		return set{}, errEnvelope
	}
	s := set{namespace: namespace, collection: c.GetCollectionName()}
	for _, r := range kv.GetHashedReads() {
		s.reads = append(s.reads, read{string(r.GetKeyHash()), r.GetVersion()})
	}
	for _, w := range kv.GetHashedWrites() {
		s.put(string(w.GetKeyHash()), w.GetValueHash(), w.GetIsDelete() || len(w.GetValueHash()) == 0)
	}
	for _, m := range kv.GetMetadataWrites() {
		s.metadata(string(m.GetKeyHash()))
	}
	return s, nil
}

func (s *set) put(key string, value []byte, deleted bool) {
	if deleted {
		value = nil
	}
	s.writes = append(s.writes, write{key: key, value: value, deleted: deleted})
}

func (s *set) metadata(key string) {
	for _, w := range s.writes {
		if w.key == key {
			return
		}
	}
	s.writes = append(s.writes, write{key: key, metadata: true})
}

// named tells whether the transaction's id is made of its nonce and creator: so nobody takes another's id.
func (e *envelope) named() bool {
	h := sha256.New()
	h.Write(e.nonce)
	h.Write(e.creator)
	return hex.EncodeToString(h.Sum(nil)) == e.id
}

// endorsers are the members of whom a peer has signed the response.
func (e *envelope) endorsers(c *configuration) map[string]bool {
	by := map[string]bool{}
	for _, x := range e.endorsements {
		i, err := c.identity(x.GetEndorser())
		if err != nil || !i.has(protos.MSPRole_PEER) {
			continue
		}
		if i.verify(append(append([]byte(nil), e.response...), x.GetEndorser()...), x.GetSignature()) {
			by[i.member.name] = true
		}
	}
	return by
}

// endorsedByKinds tells whether a member of each kind has endorsed.
func endorsedByKinds(by map[string]bool, r transaction.Registry) bool {
	for _, k := range transaction.Kinds() {
		found := false
		for _, m := range r.Of(k) {
			found = found || by[m]
		}
		if !found {
			return false
		}
	}
	return true
}

// endorsedByAll tells whether every member of the registry has endorsed.
func endorsedByAll(by map[string]bool, r transaction.Registry) bool {
	for _, m := range r.Members {
		if !by[m.MSP] {
			return false
		}
	}
	return true
}
