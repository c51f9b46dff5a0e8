// Package digest computes SM3 digests (GB/T 32905) of many files that begin alike. All parts of one licence type share
// their first two thirds, fonts above all: the state behind them is kept, and only the rest is hashed. A digest is
// exactly SM3 of the bytes, whatever is remembered.
package digest

import (
	"bytes"
	"encoding"
	"hash"
	"sync"

	"github.com/emmansun/gmsm/sm3"
)

const (
	shortest     = 4 << 10  // bytes: a shorter common beginning is not worth keeping
	longest      = 96 << 10 // bytes kept of one beginning
	mostKnown    = 16
	mostRecent   = 4 // files whose beginnings the next unknown one is held against
	shortestFile = 2 * shortest
)

// Memo remembers beginnings. It needs some 2 MB at most, whatever it is given; the zero Memo is ready, and safe for
// concurrent use.
type Memo struct {
	mu     sync.RWMutex
	known  []beginning // longer ones first
	recent [mostRecent][]byte
	turn   int
}

// beginning is the SM3 state behind some bytes.
type beginning struct {
	bytes []byte
	state []byte
}

// Sum is SM3(first ‖ rest). Only beginnings of first are remembered.
func (m *Memo) Sum(first []byte, rest ...[]byte) [32]byte {
	h, done := m.resume(first)
	h.Write(first[done:])
	return finish(h, rest)
}

// Begun is a digest that has taken in its beginning, and can be finished in several ways. It is safe for concurrent use.
type Begun struct{ state []byte }

// Begin takes in first, for digests of what begins with it.
func (m *Memo) Begin(first []byte) (Begun, error) {
	h, done := m.resume(first)
	h.Write(first[done:])
	state, err := h.(encoding.BinaryMarshaler).MarshalBinary()
	return Begun{state}, err
}

// Sum is SM3(first ‖ rest).
func (b Begun) Sum(rest ...[]byte) ([32]byte, error) {
	h := sm3.New()
	if err := h.(encoding.BinaryUnmarshaler).UnmarshalBinary(b.state); err != nil {
		return [32]byte{}, err
	}
	return finish(h, rest), nil
}

func finish(h hash.Hash, rest [][]byte) (sum [32]byte) {
	for _, b := range rest {
		h.Write(b)
	}
	h.Sum(sum[:0])
	return sum
}

// resume returns a hash that has taken in the first done bytes.
func (m *Memo) resume(first []byte) (h hash.Hash, done int) {
	h = sm3.New()
	if len(first) < shortestFile {
		return h, 0
	}
	m.mu.RLock()
	for _, b := range m.known {
		if bytes.HasPrefix(first, b.bytes) {
			m.mu.RUnlock()
			if h.(encoding.BinaryUnmarshaler).UnmarshalBinary(b.state) != nil {
				return sm3.New(), 0
			}
			return h, len(b.bytes)
		}
	}
	full := len(m.known) == mostKnown
	m.mu.RUnlock()
	if !full {
		m.learn(first)
	}
	return h, 0
}

// learn keeps what first has in common with a recent file, or first itself for the next ones to be held against.
func (m *Memo) learn(first []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	best := 0
	for _, r := range m.recent {
		best = max(best, common(first, r))
	}
	best -= best % 64 // SM3's block: a state in the middle of one would carry it along
	if best < shortest {
		m.recent[m.turn] = bytes.Clone(first[:min(len(first), longest)])
		m.turn = (m.turn + 1) % mostRecent
		return
	}
	for _, b := range m.known {
		if bytes.HasPrefix(first, b.bytes) {
			return // somebody else has learnt it meanwhile
		}
	}
	h := sm3.New()
	h.Write(first[:best])
	state, err := h.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil || len(m.known) == mostKnown {
		return
	}
	at := 0
	for at < len(m.known) && len(m.known[at].bytes) > best {
		at++
	}
	m.known = append(m.known, beginning{})
	copy(m.known[at+1:], m.known[at:])
	m.known[at] = beginning{bytes.Clone(first[:best]), state}
}

func common(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}
