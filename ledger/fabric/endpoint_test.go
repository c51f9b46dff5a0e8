package fabric

import (
	"errors"
	"testing"
)

// TestUnknownTransactionInOldAndNewWords: peers of before 2.3 say it otherwise, and a test network has only the new ones.
func TestUnknownTransactionInOldAndNewWords(t *testing.T) {
	for text, want := range map[string]bool{
		"Failed to get transaction with id 1f, error Entry not found in index":             true,
		"Failed to get transaction with id 1f, error entry not found in index":             true,
		"Failed to get transaction with id 1f, error no such transaction ID [1f] in index": true,
		"chaincode licence not found":                     false,
		"access denied for [GetTransactionByID][licence]": false,
	} {
		if got := isUnknownTransaction(errors.New(text)); got != want {
			t.Errorf("%q: %t", text, got)
		}
	}
}
