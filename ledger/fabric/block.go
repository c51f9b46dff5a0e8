package fabric

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/elicence/elicence/ledger/fabric/protos"
)

// ErrBlock says that a block is not one that a peer of this network makes.
var ErrBlock = errors.New("fabric: malformed block")

// ParseBlock takes from a block what concerns a chaincode. It believes the peer about which transactions are valid, and
// nothing else: the peer is the organisation's own.
func ParseBlock(b *protos.Block, chaincode string) (Block, error) {
	out := Block{Number: b.GetHeader().GetNumber()}
	metadata := b.GetMetadata().GetMetadata()
	if len(metadata) <= int(protos.BlockMetadataIndex_TRANSACTIONS_FILTER) {
		return out, fmt.Errorf("%w: block %d has no validation flags", ErrBlock, out.Number)
	}
	flags := metadata[protos.BlockMetadataIndex_TRANSACTIONS_FILTER]
	if len(flags) != len(b.GetData().GetData()) {
		return out, fmt.Errorf("%w: block %d has %d flags for %d transactions", ErrBlock, out.Number, len(flags), len(b.GetData().GetData()))
	}
	for n, envelope := range b.GetData().GetData() {
		if Code(flags[n]) != Valid {
			continue
		}
		t, err := parseTransaction(envelope, chaincode)
		if err != nil {
			return out, fmt.Errorf("%w: block %d, transaction %d: %w", ErrBlock, out.Number, n, err)
		}
		if t != nil {
			t.Position = n
			out.Transactions = append(out.Transactions, *t)
		}
	}
	return out, nil
}

// parseTransaction returns nil for what does not concern the chaincode.
func parseTransaction(b []byte, chaincode string) (*Transaction, error) {
	var envelope protos.Envelope
	var payload protos.Payload
	var header protos.ChannelHeader
	if err := errors.Join(protos.Unmarshal(b, &envelope), protos.Unmarshal(envelope.GetPayload(), &payload),
		protos.Unmarshal(payload.GetHeader().GetChannelHeader(), &header)); err != nil {
		return nil, err
	}
	if header.GetType() != int32(protos.HeaderType_ENDORSER_TRANSACTION) {
		return nil, nil
	}
	var transaction protos.Transaction
	if err := protos.Unmarshal(payload.GetData(), &transaction); err != nil {
		return nil, err
	}
	if len(transaction.GetActions()) != 1 { // a peer marks no other valid
		return nil, fmt.Errorf("%d actions", len(transaction.GetActions()))
	}
	var action protos.ChaincodeActionPayload
	var response protos.ProposalResponsePayload
	var simulated protos.ChaincodeAction
	var proposal protos.ChaincodeProposalPayload
	var invocation protos.ChaincodeInvocationSpec
	var results protos.TxReadWriteSet
	if err := errors.Join(
		protos.Unmarshal(transaction.GetActions()[0].GetPayload(), &action),
		protos.Unmarshal(action.GetAction().GetProposalResponsePayload(), &response),
		protos.Unmarshal(response.GetExtension(), &simulated),
		protos.Unmarshal(action.GetChaincodeProposalPayload(), &proposal),
		protos.Unmarshal(proposal.GetInput(), &invocation),
		protos.Unmarshal(simulated.GetResults(), &results),
	); err != nil {
		return nil, err
	}
	writes := map[string][]byte{}
	for _, ns := range results.GetNsRwset() {
		if ns.GetNamespace() != chaincode {
			continue
		}
		var set protos.KVRWSet
		if err := protos.Unmarshal(ns.GetRwset(), &set); err != nil {
			return nil, err
		}
		for _, w := range set.GetWrites() {
			if w.GetIsDelete() {
				writes[w.GetKey()] = nil
			} else {
				writes[w.GetKey()] = w.GetValue()
			}
		}
	}
	t := &Transaction{ID: header.GetTxId(), Time: header.GetTimestamp().AsTime(), Answer: simulated.GetResponse().GetPayload(), Writes: writes}
	args := invocation.GetChaincodeSpec().GetInput().GetArgs()
	if name := simulated.GetChaincodeId().GetName(); name != chaincode {
		if len(writes) == 0 {
			return nil, nil
		}
		t.Through = name
		return t, nil
	}
	if len(args) == 0 {
		return nil, errors.New("no arguments")
	}
	t.Function, t.Args = string(args[0]), args[1:]
	return t, nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
