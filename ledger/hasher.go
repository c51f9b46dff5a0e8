// Package ledger is the log that organisations share, as a reader sees it: Merkle tree, checkpoint, cosignature, receipt
// and their off-line check. It knows no database and no network. The formats are docs/formats/event.md and
// docs/formats/receipt.md.
package ledger

import "github.com/emmansun/gmsm/sm3"

// HashSize is the size of an SM3 digest in bytes.
const HashSize = 32

// Hasher hashes the nodes of the log's tree: RFC 6962, 2.1, with SM3 in place of SHA-256. It has no state.
type Hasher struct{}

// EmptyRoot is the root of a tree without leaves.
func (Hasher) EmptyRoot() []byte {
	h := sm3.Sum(nil)
	return h[:]
}

// HashLeaf is SM3(0x00 ‖ leaf).
func (Hasher) HashLeaf(leaf []byte) []byte {
	h := LeafHash(leaf)
	return h[:]
}

// HashChildren is SM3(0x01 ‖ left ‖ right).
func (Hasher) HashChildren(left, right []byte) []byte {
	var b [1 + 2*HashSize]byte
	b[0] = 1
	copy(b[1:], left)
	copy(b[1+HashSize:], right)
	h := sm3.Sum(b[:])
	return h[:]
}

// Size is HashSize.
func (Hasher) Size() int { return HashSize }

// LeafHash is the leaf of an event: SM3(0x00 ‖ its bytes).
func LeafHash(event []byte) [HashSize]byte {
	h := sm3.New()
	h.Write([]byte{0})
	h.Write(event)
	var sum [HashSize]byte
	h.Sum(sum[:0])
	return sum
}
