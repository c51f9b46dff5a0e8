// Package audit names who did or read what, when, why, from where, and on which licence. Every write and every
// read of personal data carries one Entry; records writes it in the transaction of the data (no row, no data).
package audit

import "time"

// Entry is one row of the audit trail. No field holds a personal value: What is a verb, Why a reason code or the
// purpose a person gave, Fields are JSON pointers.
type Entry struct {
	At           time.Time
	Organisation string   // unified social credit code of the acting organisation
	Person       string   // the person's id inside that organisation
	What         string   // verb, e.g. "issue", "show", "accept"
	Why          string   // reason or purpose, words of the caller
	From         string   // where from: "cli:<host>", later a network address
	Licence      string   // licence id, "" when none is concerned
	Fields       []string // pointers of personal fields that were read, nil for a write
}

// Link is one sealed row of the chain: Hash = SM3(previous Hash ‖ canonical Entry), so that removing or changing any
// earlier row breaks every later one.
type Link struct {
	Sequence uint64
	Entry    Entry
	Hash     [32]byte // zero while the row is not sealed yet
}
