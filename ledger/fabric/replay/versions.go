package replay

import (
	"crypto/sha256"
	"encoding/binary"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/elicence/elicence/ledger/fabric/protos"
)

// place is where a key was written last: block and transaction.
type place struct{ block, transaction uint64 }

// name is what a key is remembered by: of millions of keys no more than this can be kept.
type name [sha256.Size]byte

func nameOf(namespace, collection, key string) name {
	h := sha256.New()
	for _, s := range []string{namespace, collection} {
		var length [4]byte
		binary.BigEndian.PutUint32(length[:], uint32(len(s)))
		h.Write(length[:])
		h.Write([]byte(s))
	}
	h.Write([]byte(key))
	return name(h.Sum(nil))
}

// versions are all keys of all chaincodes with the place of their last write, for the rule by which peers invalidate what was
// simulated on an earlier state. And they gather what a block changes, for the commit hash.
type versions struct {
	at map[name]place

	block   uint64
	touched map[name]bool // in this block
	updates map[string]map[string]map[string]update
	unknown bool // the commit hash of this block cannot be computed
}

type update struct {
	value []byte // nil: deleted
	at    place
}

func newVersions() *versions { return &versions{at: map[name]place{}} }

// begin a block.
func (v *versions) begin(block uint64) {
	v.block, v.touched, v.updates, v.unknown = block, map[name]bool{}, map[string]map[string]map[string]update{}, false
}

// conflict names a key that is not what the transaction has read, "" for none.
func (v *versions) conflict(e *envelope) string {
	for _, s := range e.sets {
		for _, r := range s.reads {
			n := nameOf(s.namespace, s.collection, r.key)
			at, there := v.at[n]
			if v.touched[n] || !same(r.at, at, there) {
				return s.namespace + " " + printable(r.key)
			}
		}
	}
	return ""
}

func same(r *protos.Version, at place, there bool) bool {
	if r == nil {
		return !there
	}
	return there && r.GetBlockNum() == at.block && r.GetTxNum() == at.transaction
}

// apply what a valid transaction writes.
func (v *versions) apply(e *envelope) {
	at := place{v.block, uint64(e.position)}
	for _, s := range e.sets {
		for _, w := range s.writes {
			n := nameOf(s.namespace, s.collection, w.key)
			if _, there := v.at[n]; w.metadata {
				if !there {
					continue
				}
				v.unknown = true // its value is part of the commit hash and not at hand
			}
			v.touched[n] = true
			if w.deleted {
				delete(v.at, n)
			} else {
				v.at[n] = at
			}
			v.update(s, w, at)
		}
	}
}

func (v *versions) update(s set, w write, at place) {
	if v.updates[s.namespace] == nil {
		v.updates[s.namespace] = map[string]map[string]update{}
	}
	if v.updates[s.namespace][s.collection] == nil {
		v.updates[s.namespace][s.collection] = map[string]update{}
	}
	v.updates[s.namespace][s.collection][w.key] = update{w.value, at}
}

// commitHash is what a peer chains its commits with: SHA-256 of the flags with their length before, of what the block changes,
// and of the commit hash before.
func (v *versions) commitHash(flags, before []byte) [32]byte {
	b := protowire.AppendVarint(nil, uint64(len(flags)))
	b = append(append(b, flags...), v.encodeUpdates()...)
	return sha256.Sum256(append(b, before...))
}

// encodeUpdates is a protobuf message with one field 1 for each key: namespace (1) and collection (2) where they differ from those
// before, key (3), whether it is deleted (4), value (5), place (6).
func (v *versions) encodeUpdates() []byte {
	var all []byte
	for _, ns := range sortedKeys(v.updates) {
		first := true
		for _, coll := range sortedKeys(v.updates[ns]) { // the one without a name is the first
			firstOf := coll != ""
			for _, key := range sortedKeys(v.updates[ns][coll]) {
				u := v.updates[ns][coll][key]
				var b []byte
				if first {
					b = field(b, 1, []byte(ns))
				}
				if firstOf {
					b = field(b, 2, []byte(coll))
				}
				first, firstOf = false, false
				b = field(b, 3, []byte(key))
				if u.value == nil {
					b = protowire.AppendVarint(protowire.AppendTag(b, 4, protowire.VarintType), 1)
				}
				b = field(b, 5, u.value)
				b = field(b, 6, append(ordered(u.at.block), ordered(u.at.transaction)...))
				all = protowire.AppendBytes(protowire.AppendTag(all, 1, protowire.BytesType), b)
			}
		}
	}
	return all
}

func field(b []byte, n protowire.Number, value []byte) []byte {
	if len(value) == 0 {
		return b
	}
	return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), value)
}

// ordered is a number behind the count of its bytes.
func ordered(n uint64) []byte {
	b := binary.BigEndian.AppendUint64(nil, n)
	for len(b) > 0 && b[0] == 0 {
		b = b[1:]
	}
	return append([]byte{byte(len(b))}, b...)
}

// printable keeps what is no text out of messages.
func printable(key string) string {
	for i := range len(key) {
		if key[i] < ' ' || key[i] > '~' {
			return "(a key that is no text)"
		}
	}
	return key
}
