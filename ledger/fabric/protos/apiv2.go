//go:build !fabricsdk

package protos

import (
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/ledger/rwset"
	"github.com/hyperledger/fabric-protos-go-apiv2/ledger/rwset/kvrwset"
	"github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer/lifecycle"
	"google.golang.org/protobuf/proto"
)

// Message is any message of Fabric.
type Message = proto.Message

// Unmarshal reads a message.
func Unmarshal(b []byte, m Message) error { return proto.Unmarshal(b, m) }

// Marshal writes a message, fields in the order of their numbers.
func Marshal(m Message) ([]byte, error) { return proto.MarshalOptions{Deterministic: true}.Marshal(m) }

// Blocks and what is around a transaction.
type (
	Block          = common.Block
	BlockchainInfo = common.BlockchainInfo
	ChannelHeader  = common.ChannelHeader
	Envelope       = common.Envelope
	Payload        = common.Payload
)

// What a block's metadata and a channel header say.
const (
	HeaderType_ENDORSER_TRANSACTION        = common.HeaderType_ENDORSER_TRANSACTION
	BlockMetadataIndex_TRANSACTIONS_FILTER = common.BlockMetadataIndex_TRANSACTIONS_FILTER
)

// A transaction and the parts of it.
type (
	ChaincodeAction          = peer.ChaincodeAction
	ChaincodeActionPayload   = peer.ChaincodeActionPayload
	ChaincodeInvocationSpec  = peer.ChaincodeInvocationSpec
	ChaincodeProposalPayload = peer.ChaincodeProposalPayload
	KVRWSet                  = kvrwset.KVRWSet
	ProcessedTransaction     = peer.ProcessedTransaction
	ProposalResponsePayload  = peer.ProposalResponsePayload
	SerializedIdentity       = msp.SerializedIdentity
	Transaction              = peer.Transaction
	TxReadWriteSet           = rwset.TxReadWriteSet
)

// Policies and the definition of a chaincode.
type (
	ApplicationPolicy                      = peer.ApplicationPolicy
	ApplicationPolicy_SignaturePolicy      = peer.ApplicationPolicy_SignaturePolicy
	ApproveChaincodeDefinitionForMyOrgArgs = lifecycle.ApproveChaincodeDefinitionForMyOrgArgs
	ChaincodeSource                        = lifecycle.ChaincodeSource
	ChaincodeSource_Local                  = lifecycle.ChaincodeSource_Local
	ChaincodeSource_LocalPackage           = lifecycle.ChaincodeSource_LocalPackage
	CommitChaincodeDefinitionArgs          = lifecycle.CommitChaincodeDefinitionArgs
	MSPPrincipal                           = msp.MSPPrincipal
	MSPRole                                = msp.MSPRole
	SignaturePolicy                        = common.SignaturePolicy
	SignaturePolicyEnvelope                = common.SignaturePolicyEnvelope
	SignaturePolicy_NOutOf                 = common.SignaturePolicy_NOutOf
	SignaturePolicy_NOutOf_                = common.SignaturePolicy_NOutOf_
	SignaturePolicy_SignedBy               = common.SignaturePolicy_SignedBy
)

// Whom a policy names.
const (
	MSPPrincipal_ROLE = msp.MSPPrincipal_ROLE
	MSPRole_PEER      = msp.MSPRole_PEER
)

// What an audit reads of a block besides: its hashes, who has ordered it, and the channel's configuration.
type (
	BlockData                    = common.BlockData
	BlockMetadataIndex           = common.BlockMetadataIndex
	BlockHeader                  = common.BlockHeader
	CollectionHashedReadWriteSet = rwset.CollectionHashedReadWriteSet
	ConfigEnvelope               = common.ConfigEnvelope
	ConfigGroup                  = common.ConfigGroup
	ConsensusType                = orderer.ConsensusType
	Endorsement                  = peer.Endorsement
	FabricMSPConfig              = msp.FabricMSPConfig
	FabricOUIdentifier           = msp.FabricOUIdentifier
	HeaderType                   = common.HeaderType
	Policy_PolicyType            = common.Policy_PolicyType
	HashedRWSet                  = kvrwset.HashedRWSet
	ImplicitMetaPolicy           = common.ImplicitMetaPolicy
	MSPConfig                    = msp.MSPConfig
	MSPRole_MSPRoleType          = msp.MSPRole_MSPRoleType
	Metadata                     = common.Metadata
	OrdererBlockMetadata         = common.OrdererBlockMetadata
	SignatureHeader              = common.SignatureHeader
	Version                      = kvrwset.Version
)

// Kinds of policies, of roles, of envelopes, of metadata.
const (
	BlockMetadataIndex_COMMIT_HASH = common.BlockMetadataIndex_COMMIT_HASH
	BlockMetadataIndex_SIGNATURES  = common.BlockMetadataIndex_SIGNATURES
	HeaderType_CONFIG              = common.HeaderType_CONFIG
	ImplicitMetaPolicy_ALL         = common.ImplicitMetaPolicy_ALL
	ImplicitMetaPolicy_ANY         = common.ImplicitMetaPolicy_ANY
	ImplicitMetaPolicy_MAJORITY    = common.ImplicitMetaPolicy_MAJORITY
	MSPPrincipal_IDENTITY          = msp.MSPPrincipal_IDENTITY
	MSPRole_ADMIN                  = msp.MSPRole_ADMIN
	MSPRole_CLIENT                 = msp.MSPRole_CLIENT
	MSPRole_MEMBER                 = msp.MSPRole_MEMBER
	MSPRole_ORDERER                = msp.MSPRole_ORDERER
	Policy_IMPLICIT_META           = common.Policy_IMPLICIT_META
	Policy_SIGNATURE               = common.Policy_SIGNATURE
)
