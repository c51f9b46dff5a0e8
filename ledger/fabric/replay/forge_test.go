//go:build !fabricsdk

package replay_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/elicence/elicence/ledger/fabric/export"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/ledger/rwset"
	"github.com/hyperledger/fabric-protos-go-apiv2/ledger/rwset/kvrwset"
	"github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"
)

// A forger has the keys of everybody on the network: each check is tried on a chain of which all other checks say that it is
// good.
type forger struct {
	t       *testing.T
	orderer somebody
	peers   map[string]somebody // by MSP
	clients map[string]somebody
	admins  map[string]somebody
}

// somebody on the network.
type somebody struct {
	serialized []byte
	key        *ecdsa.PrivateKey
}

func newForger(t *testing.T) *forger {
	t.Helper()
	f := &forger{t: t, peers: map[string]somebody{}, clients: map[string]somebody{}, admins: map[string]somebody{}}
	f.orderer = f.read("OrderingMSP", "ordering", "orderer1")
	for name, m := range map[string]string{"commission": "CommissionMSP", "police": "PoliceMSP", "archive": "ArchiveMSP"} {
		f.peers[m], f.clients[m], f.admins[m] = f.read(m, name, "peer."+name), f.read(m, name, "client"), f.read(m, name, "admin")
	}
	return f
}

func (f *forger) read(member, organisation, name string) somebody {
	f.t.Helper()
	at := filepath.Join(folder, "net", "crypto", organisation, name, "msp")
	certificate, err := os.ReadFile(filepath.Join(at, "signcerts", "cert.pem"))
	if err != nil {
		f.t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(at, "keystore", "key_sk"))
	if err != nil {
		f.t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		f.t.Fatal(err)
	}
	return somebody{f.marshal(&msp.SerializedIdentity{Mspid: member, IdBytes: certificate}), key.(*ecdsa.PrivateKey)}
}

func (f *forger) marshal(m proto.Message) []byte {
	f.t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		f.t.Fatal(err)
	}
	return b
}

func (f *forger) unmarshal(b []byte, m proto.Message) {
	f.t.Helper()
	if err := proto.Unmarshal(b, m); err != nil {
		f.t.Fatal(err)
	}
}

// sign as Fabric does, low-S.
func (f *forger) sign(s somebody, message []byte) []byte {
	f.t.Helper()
	digest := sha256.Sum256(message)
	r, v, err := ecdsa.Sign(rand.Reader, s.key, digest[:])
	if err != nil {
		f.t.Fatal(err)
	}
	n := elliptic.P256().Params().N
	if v.Cmp(new(big.Int).Rsh(n, 1)) > 0 {
		v.Sub(n, v)
	}
	b, err := asn1.Marshal(struct{ R, S *big.Int }{r, v})
	if err != nil {
		f.t.Fatal(err)
	}
	return b
}

func (f *forger) parse(raw [][]byte) []*common.Block {
	f.t.Helper()
	var blocks []*common.Block
	for _, b := range raw {
		parsed := &common.Block{}
		f.unmarshal(b, parsed)
		blocks = append(blocks, parsed)
	}
	return blocks
}

func (f *forger) raw(blocks []*common.Block) [][]byte {
	f.t.Helper()
	var raw [][]byte
	for _, b := range blocks {
		raw = append(raw, f.marshal(b))
	}
	return raw
}

// unchained takes the commit hashes away: as of a peer of an old version.
func unchained(blocks []*common.Block) {
	for _, b := range blocks {
		b.Metadata.Metadata = b.Metadata.Metadata[:common.BlockMetadataIndex_COMMIT_HASH]
	}
}

// ordered has the orderer sign a chain of blocks again, from block 1 on, with hashes that fit.
func (f *forger) ordered(blocks []*common.Block) {
	f.t.Helper()
	unchained(blocks)
	last := uint64(0)
	for n, b := range blocks {
		h := b.Header
		h.Number = uint64(n)
		data := export.DataHash(b.Data)
		h.DataHash = data[:]
		if n == 0 {
			continue
		}
		before := export.HeaderHash(blocks[n-1].Header)
		h.PreviousHash = before[:]
		if f.isConfiguration(b) {
			last = uint64(n)
		}
		f.orderedBy(f.orderer, b, last)
	}
}

func (f *forger) isConfiguration(b *common.Block) bool {
	f.t.Helper()
	var e common.Envelope
	var p common.Payload
	var c common.ChannelHeader
	f.unmarshal(b.Data.Data[0], &e)
	f.unmarshal(e.Payload, &p)
	f.unmarshal(p.Header.ChannelHeader, &c)
	return c.Type == int32(common.HeaderType_CONFIG)
}

func (f *forger) orderedBy(s somebody, b *common.Block, lastConfig uint64) {
	f.t.Helper()
	value := f.marshal(&common.OrdererBlockMetadata{LastConfig: &common.LastConfig{Index: lastConfig}})
	header := f.marshal(&common.SignatureHeader{Creator: s.serialized, Nonce: []byte("nonce")})
	b.Metadata.Metadata[common.BlockMetadataIndex_SIGNATURES] = f.marshal(&common.Metadata{Value: value, Signatures: []*common.MetadataSignature{
		{SignatureHeader: header, Signature: f.sign(s, slices.Concat(value, header, export.HeaderBytes(b.Header)))},
	}})
}

// proposal is a transaction, opened.
type proposal struct {
	Args      [][]byte
	Answer    []byte
	Sets      map[string]*kvrwset.KVRWSet
	Endorsers []string // MSPs whose peers endorse
	Sender    somebody
	Unsigned  bool // the sender does not sign
	Unbound   bool // the endorsement is of other arguments
	ID        string
}

// remake opens a transaction, has it changed, and has everybody sign it again.
func (f *forger) remake(raw []byte, change func(p *proposal)) []byte {
	f.t.Helper()
	var e common.Envelope
	var payload common.Payload
	var channel common.ChannelHeader
	var from common.SignatureHeader
	var t peer.Transaction
	var action peer.ChaincodeActionPayload
	var response peer.ProposalResponsePayload
	var simulated peer.ChaincodeAction
	var results rwset.TxReadWriteSet
	var input peer.ChaincodeProposalPayload
	var invocation peer.ChaincodeInvocationSpec
	f.unmarshal(raw, &e)
	f.unmarshal(e.Payload, &payload)
	f.unmarshal(payload.Header.ChannelHeader, &channel)
	f.unmarshal(payload.Header.SignatureHeader, &from)
	f.unmarshal(payload.Data, &t)
	f.unmarshal(t.Actions[0].Payload, &action)
	f.unmarshal(action.Action.ProposalResponsePayload, &response)
	f.unmarshal(response.Extension, &simulated)
	f.unmarshal(simulated.Results, &results)
	f.unmarshal(action.ChaincodeProposalPayload, &input)
	f.unmarshal(input.Input, &invocation)
	var creator msp.SerializedIdentity
	f.unmarshal(from.Creator, &creator)
	p := &proposal{Args: invocation.ChaincodeSpec.Input.Args, Answer: simulated.Response.Payload, Sets: map[string]*kvrwset.KVRWSet{},
		Endorsers: []string{"CommissionMSP", "PoliceMSP", "ArchiveMSP"}, Sender: f.clients[creator.Mspid]}
	for _, n := range results.NsRwset {
		s := &kvrwset.KVRWSet{}
		f.unmarshal(n.Rwset, s)
		p.Sets[n.Namespace] = s
	}
	change(p)
	for _, n := range results.NsRwset {
		n.Rwset = f.marshal(p.Sets[n.Namespace])
	}
	from.Creator = p.Sender.serialized
	if p.ID == "" {
		id := sha256.Sum256(slices.Concat(from.Nonce, from.Creator))
		p.ID = hexOf(id[:])
	}
	channel.TxId = p.ID
	payload.Header.ChannelHeader, payload.Header.SignatureHeader = f.marshal(&channel), f.marshal(&from)
	t.Actions[0].Header = payload.Header.SignatureHeader
	simulated.Response.Payload, simulated.Results = p.Answer, f.marshal(&results)
	response.Extension = f.marshal(&simulated)
	invocation.ChaincodeSpec.Input.Args = p.Args
	input.Input = f.marshal(&invocation)
	action.ChaincodeProposalPayload = f.marshal(&input)
	h := sha256.Sum256(slices.Concat(payload.Header.ChannelHeader, t.Actions[0].Header, action.ChaincodeProposalPayload))
	if p.Unbound {
		h[0] ^= 1
	}
	response.ProposalHash = h[:]
	action.Action.ProposalResponsePayload = f.marshal(&response)
	action.Action.Endorsements = nil
	for _, m := range p.Endorsers {
		by := f.peers[m]
		action.Action.Endorsements = append(action.Action.Endorsements, &peer.Endorsement{
			Endorser: by.serialized, Signature: f.sign(by, slices.Concat(action.Action.ProposalResponsePayload, by.serialized)),
		})
	}
	t.Actions[0].Payload = f.marshal(&action)
	payload.Data = f.marshal(&t)
	e.Payload = f.marshal(&payload)
	if e.Signature = f.sign(p.Sender, e.Payload); p.Unsigned {
		e.Signature = nil
	}
	return f.marshal(&e)
}

// function is what a transaction calls, "" for a configuration or another chaincode.
func (f *forger) function(raw []byte) string {
	var e common.Envelope
	var payload common.Payload
	var t peer.Transaction
	var action peer.ChaincodeActionPayload
	var input peer.ChaincodeProposalPayload
	var invocation peer.ChaincodeInvocationSpec
	f.unmarshal(raw, &e)
	f.unmarshal(e.Payload, &payload)
	if proto.Unmarshal(payload.Data, &t) != nil || len(t.Actions) == 0 || proto.Unmarshal(t.Actions[0].Payload, &action) != nil {
		return ""
	}
	f.unmarshal(action.ChaincodeProposalPayload, &input)
	f.unmarshal(input.Input, &invocation)
	if invocation.GetChaincodeSpec().GetChaincodeId().GetName() != ledgerName {
		return ""
	}
	return string(invocation.ChaincodeSpec.Input.Args[0])
}

// find returns the first transaction of the ledger from a block on that fits.
func (f *forger) find(blocks []*common.Block, from int, function string, flag byte) (block, position int) {
	f.t.Helper()
	for n := from; n < len(blocks); n++ {
		for i, raw := range blocks[n].Data.Data {
			if blocks[n].Metadata.Metadata[common.BlockMetadataIndex_TRANSACTIONS_FILTER][i] == flag && f.function(raw) == function {
				return n, i
			}
		}
	}
	f.t.Fatalf("no %s with flag %d from block %d on", function, flag, from)
	return 0, 0
}

// configuration is the one in a configuration block.
func (f *forger) configuration(raw []byte) *common.Config {
	f.t.Helper()
	var e common.Envelope
	var payload common.Payload
	var c common.ConfigEnvelope
	f.unmarshal(f.parse([][]byte{raw})[0].Data.Data[0], &e)
	f.unmarshal(e.Payload, &payload)
	f.unmarshal(payload.Data, &c)
	return c.Config
}

// changed is the envelope of a configuration, changed. It is made again as the orderer makes one.
func (f *forger) changed(b *common.Block, change func(c *common.Config)) []byte {
	f.t.Helper()
	var e common.Envelope
	var payload common.Payload
	var c common.ConfigEnvelope
	f.unmarshal(b.Data.Data[0], &e)
	f.unmarshal(e.Payload, &payload)
	f.unmarshal(payload.Data, &c)
	change(c.Config)
	payload.Data = f.marshal(&c)
	payload.Header.SignatureHeader = f.marshal(&common.SignatureHeader{Creator: f.orderer.serialized, Nonce: []byte("nonce")})
	e.Payload = f.marshal(&payload)
	e.Signature = f.sign(f.orderer, e.Payload)
	return f.marshal(&e)
}

// changeAll gives a chain other configurations.
func (f *forger) changeAll(blocks []*common.Block, change func(c *common.Config)) {
	f.t.Helper()
	for _, b := range blocks {
		if f.isConfiguration(b) {
			b.Data.Data[0] = f.changed(b, change)
		}
	}
}

// changeMember changes a member's MSP in its group.
func (f *forger) changeMember(g *common.ConfigGroup, change func(m *msp.FabricMSPConfig)) {
	f.t.Helper()
	v := g.Values["MSP"]
	var outer msp.MSPConfig
	var inner msp.FabricMSPConfig
	f.unmarshal(v.Value, &outer)
	f.unmarshal(outer.Config, &inner)
	change(&inner)
	outer.Config = f.marshal(&inner)
	v.Value = f.marshal(&outer)
}

// reconfigured is a block with the first configuration, changed, as the second one.
func (f *forger) reconfigured(blocks []*common.Block, change func(c *common.Config)) *common.Block {
	f.t.Helper()
	envelope := f.changed(blocks[0], func(c *common.Config) {
		c.Sequence++
		change(c)
	})
	return &common.Block{
		Header: &common.BlockHeader{}, Data: &common.BlockData{Data: [][]byte{envelope}},
		Metadata: &common.BlockMetadata{Metadata: [][]byte{{}, {}, {0}, {}, {}}},
	}
}

func hexOf(b []byte) string {
	const digits = "0123456789abcdef"
	var out bytes.Buffer
	for _, c := range b {
		out.WriteByte(digits[c>>4])
		out.WriteByte(digits[c&15])
	}
	return out.String()
}
