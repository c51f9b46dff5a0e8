package licence

import (
	"fmt"

	"github.com/elicence/elicence/licence/code"
)

// State is the legal state of an issued licence, apart from what its signature is worth.
type State string

// States. InForce is the only one that anything leads away from: a superseded or revoked licence stays what it is.
const (
	InForce    State = "in force"   // 有效
	Superseded State = "superseded" // 已被换发、补发取代
	Revoked    State = "revoked"    // 撤销: it was wrongly issued
)

// Step returns nil if a licence may go from s to next, else ErrState.
func (s State) Step(next State) error {
	if s == InForce && (next == Superseded || next == Revoked) {
		return nil
	}
	return fmt.Errorf("%w: a licence that is %s cannot become %s", ErrState, s, next)
}

// Words for people.
func (s State) Words() Text {
	switch s {
	case InForce:
		return Text{"有效", "in force"}
	case Superseded:
		return Text{"已被取代", "superseded"}
	case Revoked:
		return Text{"已撤销", "revoked"}
	}
	return Text{"未知", "unknown"}
}

// Code is the status code between licence systems: a superseded licence is 注销 (04), for it ended in due course; a
// revoked one 撤销 (03).
func (s State) Code() code.Status {
	switch s {
	case InForce:
		return code.StatusValid
	case Superseded:
		return code.StatusCancelled
	case Revoked:
		return code.StatusRevoked
	}
	return code.StatusOther
}

// StateOf reads the status code of another system as far as ours has a word for it.
func StateOf(c code.Status) (State, error) {
	switch c {
	case code.StatusValid:
		return InForce, nil
	case code.StatusCancelled, code.StatusTransferredOut, code.StatusExpired:
		return Superseded, nil
	case code.StatusRevoked, code.StatusWithdrawn:
		return Revoked, nil
	}
	return "", fmt.Errorf("%w: status %s has no state here", ErrState, c)
}
