package transaction

import (
	"fmt"

	"github.com/elicence/elicence/signer/cose"
)

// Bounds of a page.
const (
	MaxPage      = 1000      // keys
	maxPageBytes = 512 << 10 // of keys and values, unless one value alone is larger; with it a page is a message that cose reads
)

// Entry is a key of the state with its value.
type Entry struct {
	_     struct{} `cbor:",toarray"`
	Key   string
	Value []byte
}

// Page is a part of the state, in the order of keys.
type Page struct {
	Entries []Entry
	Next    string // the first key of the next page, "" on the last one
	size    int
}

// Add puts a key on the page. Once it returns false the page is full, and the key is the first of the next one.
func (p *Page) Add(key string, value []byte) bool {
	if n := len(p.Entries); n == MaxPage || n > 0 && p.size+len(key)+len(value) > maxPageBytes {
		p.Next = key
		return false
	}
	p.size += len(key) + len(value)
	p.Entries = append(p.Entries, Entry{Key: key, Value: value})
	return true
}

type wirePage struct {
	_       struct{} `cbor:",toarray"`
	Version uint64
	Entries []Entry
	Next    string
}

// Encode returns the page's one encoding.
func (p *Page) Encode() ([]byte, error) {
	w := wirePage{Version: Version, Entries: p.Entries, Next: p.Next}
	if w.Entries == nil {
		w.Entries = []Entry{}
	}
	return cose.Marshal(w)
}

// ParsePage reads what Encode writes: keys in order, none before first, and the next one after them.
func ParsePage(b []byte, first string) (Page, error) {
	var w wirePage
	if err := cose.UnmarshalCanonical(b, &w); err != nil {
		return Page{}, fmt.Errorf("%w: page: %w", ErrMalformed, err)
	}
	if w.Version != Version || len(w.Entries) > MaxPage {
		return Page{}, fmt.Errorf("%w: page of version %d with %d keys", ErrMalformed, w.Version, len(w.Entries))
	}
	for i, e := range w.Entries {
		if e.Key < first || i > 0 && e.Key <= w.Entries[i-1].Key {
			return Page{}, fmt.Errorf("%w: page: keys are not in order", ErrMalformed)
		}
	}
	if n := len(w.Entries); w.Next != "" && (n == 0 || w.Next <= w.Entries[n-1].Key) {
		return Page{}, fmt.Errorf("%w: page: the next key is not after it", ErrMalformed)
	}
	return Page{Entries: w.Entries, Next: w.Next}, nil
}
