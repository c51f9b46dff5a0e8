// Package fabric sequences events through a Hyperledger Fabric network. The log is then a function of the chain: each
// organisation's follower takes the transactions that its own peer marked valid, has ledger/contract judge their events
// again, and appends the accepted ones. Nothing of Fabric is in a receipt.
package fabric

import (
	"context"
	"errors"
	"fmt"
	"time"
)

var (
	// ErrNotEndorsed says that the peers did not come to one answer, or too few of them answered: nothing was sent.
	ErrNotEndorsed = errors.New("fabric: the transaction was not endorsed")
	// ErrTooFewPeers says that the own peer does not know enough others that run the contract. It learns of them by gossip: for
	// some seconds after another peer or a contract came up it does not know what is there. It comes with ErrNotEndorsed.
	ErrTooFewPeers = errors.New("fabric: the own peer does not know enough of the others")
	// ErrUnreachable says that the organisation's own peer does not answer.
	ErrUnreachable = errors.New("fabric: the peer does not answer")
	// ErrUnknownOutcome says that a transaction was sent and that nobody could say yet what became of it. Submitting the
	// same events again is safe: an event stands once, whatever became of the first transaction.
	ErrUnknownOutcome = errors.New("fabric: what became of the transaction is unknown")
	// ErrInvalidated says that a transaction was ordered and that the peers did not let it count.
	ErrInvalidated = errors.New("fabric: the peers have invalidated the transaction")
)

// Chain is what sequencing and following need of a network, as a client of one organisation's peer. All methods are safe for
// concurrent use.
type Chain interface {
	// Endorse has the peers that the policies ask for simulate the transaction. Nothing is sent to the ordering service.
	// ErrNotEndorsed or ErrUnreachable if that fails; a *Disagreement if the peers' answers differ.
	Endorse(ctx context.Context, function string, args ...[]byte) (Prepared, error)
	// Send gives an endorsed transaction to the ordering service. After an error the outcome is unknown. Sending the same
	// transaction again is harmless: the peers invalidate the second one of the same id.
	Send(ctx context.Context, p Prepared) error
	// Await returns once the own peer has committed the transaction, as valid or not.
	Await(ctx context.Context, p Prepared) (Commitment, error)
	// Find looks a transaction up in the own peer's chain.
	Find(ctx context.Context, id string) (code Code, found bool, err error)
	// Evaluate asks one organisation's peer and orders nothing; member "" is the own one.
	Evaluate(ctx context.Context, member, function string, args ...[]byte) ([]byte, error)
	// Height is how many blocks the own peer has.
	Height(ctx context.Context) (uint64, error)
	// Blocks calls do for each block from number from on, in order, until do or the connection fails or ctx ends; it
	// waits for blocks that are not there yet. The error is never nil.
	Blocks(ctx context.Context, from uint64, do func(Block) error) error
}

// Prepared is an endorsed transaction.
type Prepared struct {
	ID     string
	Answer []byte // what the chaincode answers
	handle any    // the connector's own
}

// Commitment is what became of a transaction.
type Commitment struct {
	Block uint64
	Code  Code
}

// Code is a peer's judgement of an ordered transaction.
type Code int32

// Codes that make a difference here.
const (
	Valid         Code = 0
	DuplicateID   Code = 9
	PolicyFailure Code = 10
	ReadConflict  Code = 11
)

func (c Code) String() string {
	switch c {
	case NotOurs:
		return "NOT_OURS"
	case Valid:
		return "VALID"
	case DuplicateID:
		return "DUPLICATE_TXID"
	case PolicyFailure:
		return "ENDORSEMENT_POLICY_FAILURE"
	case ReadConflict:
		return "MVCC_READ_CONFLICT"
	default:
		return fmt.Sprintf("validation code %d", int32(c))
	}
}

// Block is what a follower takes from a block: the transactions that its own peer marked valid and that concern the
// chaincode.
type Block struct {
	Number       uint64
	Transactions []Transaction
}

// Transaction is a valid one.
type Transaction struct {
	ID       string
	Position int // in its block
	// Time is when its sender says that it was sent.
	Time time.Time
	// Through names another chaincode if it was not sent to the ledger's, and yet writes there.
	Through  string
	Function string
	Args     [][]byte
	Answer   []byte
	Writes   map[string][]byte // of the ledger's chaincode; nil for a key that was deleted
}

// Disagreement says that peers simulated the same transaction to different ends: a member runs another contract, lies, or is
// behind.
type Disagreement struct {
	Versions map[string]string // what each member's chaincode says it is, as far as it answered
	Err      error
}

func (d *Disagreement) Error() string {
	text := "fabric: the members' chaincodes do not come to one answer"
	for _, m := range sortedKeys(d.Versions) {
		text += fmt.Sprintf("; %s runs %s", m, d.Versions[m])
	}
	return text
}

// Unwrap is for errors.Is: a disagreement is ErrNotEndorsed.
func (d *Disagreement) Unwrap() []error { return []error{ErrNotEndorsed, d.Err} }
