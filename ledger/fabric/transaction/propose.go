package transaction

import (
	"fmt"

	"github.com/elicence/elicence/ledger/contract"
)

// Answers to a proposal.
const (
	Proposed = "proposed"
	InForce  = "in force"
)

// Read reads the state; an empty value for a key that was never written.
type Read func(key string) ([]byte, error)

// Standing returns the registry in force, nil for none.
func Standing(read Read) (*Registry, error) {
	b, err := read(KeyRegistry)
	if err != nil || len(b) == 0 {
		return nil, err
	}
	r, err := ParseRegistry(b)
	if err != nil {
		return nil, err
	}
	return &r, nil
}

// Propose judges what the member msp proposes. It comes into force with the proposal that completes the kinds: for a change one
// member of each kind of the registry in force, for the first one every member that it names. It returns the answer and what
// the proposal changes, and is as pure as the contract.
func Propose(read Read, msp string, admin bool, b []byte) (answer []byte, writes map[string][]byte, err error) {
	if !admin {
		return nil, nil, fmt.Errorf("only an admin of %s proposes for it", msp)
	}
	proposed, err := ParseRegistry(b)
	if err != nil {
		return nil, nil, err
	}
	current, err := Standing(read)
	if err != nil {
		return nil, nil, err
	}
	voters, number := proposed, uint64(1)
	if current != nil {
		voters, number = *current, current.Number+1
	}
	if voters.Kind(msp) == "" {
		return nil, nil, fmt.Errorf("%s has no say in it", msp)
	}
	if proposed.Number != number {
		return nil, nil, fmt.Errorf("registry %d is proposed, %d is next", proposed.Number, number)
	}
	agreed := map[contract.OrganisationKind]int{}
	for _, m := range voters.Members {
		p := b
		if m.MSP != msp {
			if p, err = read(KeyProposal(m.MSP)); err != nil {
				return nil, nil, err
			}
		}
		if string(p) == string(b) {
			agreed[m.Kind]++
		}
	}
	writes = map[string][]byte{KeyProposal(msp): b}
	for _, k := range Kinds() {
		if agreed[k] == 0 || current == nil && agreed[k] < len(voters.Of(k)) {
			return []byte(Proposed), writes, nil
		}
	}
	writes[KeyRegistry] = b
	return []byte(InForce), writes, nil
}
