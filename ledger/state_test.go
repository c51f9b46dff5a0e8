package ledger

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/emmansun/gmsm/sm3"
)

func someState(tb testing.TB) *cosignerState {
	tb.Helper()
	c := Checkpoint{Origin: "example.org/log", Size: 7, Root: [32]byte{1}, Time: 1790812800000000}
	body, err := c.Body()
	if err != nil {
		tb.Fatal(err)
	}
	return &cosignerState{seconds: 1790812800, note: &Note{Checkpoint: c, Body: body, Lines: []Line{{Name: c.Origin, KeyID: 1, Value: make([]byte, 64)}}}}
}

func TestCosignerStateSeedParses(t *testing.T) {
	b := someState(t).encode()
	if s, err := parseCosignerState(b); err != nil || !bytes.Equal(s.encode(), b) {
		t.Errorf("%v", err)
	}
}

// FuzzCosignerState: the file that a cosigner trusts its memory to has one spelling too.
func FuzzCosignerState(f *testing.F) {
	f.Add(someState(f).encode())
	f.Add([]byte("elicence/cosigner/1\ntime 01\n\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseCosignerState(b)
		if err == nil && !bytes.Equal(s.encode(), b) {
			t.Fatal("encodes to other bytes")
		}
	})
}

func TestHasherIsRFC6962WithSM3(t *testing.T) {
	if got := hex.EncodeToString(Hasher{}.EmptyRoot()); got != "1ab21d8355cfa17f8e61194831e81a8f22bec8c728fefb747ed035eb5082aa2b" {
		t.Errorf("the root of an empty tree is not SM3 of nothing: %s", got)
	}
	leaf, want := LeafHash([]byte("entry")), sm3.Sum([]byte("\x00entry"))
	if leaf != want || !bytes.Equal(leaf[:], Hasher{}.HashLeaf([]byte("entry"))) {
		t.Error("a leaf is SM3(0x00 ‖ entry)")
	}
	node := sm3.Sum(append(append([]byte{1}, leaf[:]...), want[:]...))
	if !bytes.Equal(node[:], Hasher{}.HashChildren(leaf[:], want[:])) || (Hasher{}).Size() != len(node) {
		t.Error("a node is SM3(0x01 ‖ left ‖ right)")
	}
}
