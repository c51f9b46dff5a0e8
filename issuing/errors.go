package issuing

import "errors"

var (
	// ErrFenced says that somebody else has taken the licence over: the caller must drop what it holds.
	ErrFenced = errors.New("issuing: another worker has taken this licence over")
	// ErrStale says that another event came between; read again and decide anew.
	ErrStale = errors.New("issuing: the licence has moved on meanwhile")
	// ErrRefusedByContract says that the custody rules forbid the step; the rule is in the message.
	ErrRefusedByContract = errors.New("issuing: the custody rules forbid this")
	// ErrEvidence says that a file or receipt did not verify, so that the step was not taken.
	ErrEvidence = errors.New("issuing: the evidence does not verify")
	// ErrParked says that a licence waits for a person, with its number: it failed again and again. Retry takes it up.
	ErrParked = errors.New("issuing: the licence is parked and waits for a person")
	// ErrKey says that no usable key is at hand for the organisation and purpose.
	ErrKey = errors.New("issuing: no usable key")
)
