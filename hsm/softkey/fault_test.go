package softkey

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"

	"github.com/emmansun/gmsm/sm2"
)

// A signature that does not verify never leaves, whatever made it wrong.
func TestWrongSignatureNeverLeaves(t *testing.T) {
	key, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	message := []byte("a birth")
	good, err := key.SignWithSM2(rand.Reader, []byte(signerID), message)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(good)
	flipped[len(flipped)-1] ^= 1
	away := errors.New("away")
	for _, c := range []struct {
		name string
		der  [][]byte // of each attempt; nil: it fails
		want error
	}{
		{"once wrong", [][]byte{flipped, good}, nil},
		{"always wrong", [][]byte{flipped, flipped, flipped, good}, ErrFault},
		{"no signature", [][]byte{{}, {0x30, 0}, {1}}, ErrFault},
		{"the key is away", [][]byte{flipped, nil}, away},
	} {
		n := 0
		got, err := checked(&key.PublicKey, message, func() ([]byte, error) {
			n++
			if c.der[n-1] == nil {
				return nil, away
			}
			return c.der[n-1], nil
		})
		if !errors.Is(err, c.want) || (c.want == nil) != (len(got) == 64) {
			t.Errorf("%s: %x, %v", c.name, got, err)
		}
	}
}
