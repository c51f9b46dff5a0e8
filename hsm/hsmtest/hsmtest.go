// Package hsmtest is what every driver for keys must do. A driver without this suite does not exist: its own tests call
// Run, under the race detector too.
//
// The suite judges signatures with the SM2 code itself, not with a package of ours.
package hsmtest

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"testing"

	"github.com/emmansun/gmsm/sm2"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/elicence/elicence/signer"
	"github.com/elicence/elicence/signer/purpose"
)

// Key is what a driver hands out to sign with.
type Key interface {
	signer.Key
	Public() *ecdsa.PublicKey
}

// Wrapper is what a driver hands out to encrypt data keys with.
type Wrapper interface {
	Wrap(ctx context.Context, plain, associated []byte) ([]byte, error)
	Unwrap(ctx context.Context, wrapped, associated []byte) ([]byte, error)
}

// Store is an opened place for keys, safe for concurrent use. Errors are those of the Driver's Errors.
type Store interface {
	Generate(label string, p purpose.Purpose) error
	Key(label string) (Key, error)         // of any purpose that signs
	Wrapper(label string) (Wrapper, error) // of purpose.DataWrapping
	Retire(label string) error
	Disable(label string) error
	Save() error // what was changed lasts
	Close()
}

// Place is where a driver keeps keys: a keystore file, a card with its list of labels.
type Place interface {
	// Secret opens the place: passphrase, or the card's PIN.
	Secret() []byte
	// Open opens it, empty at first; one Store is open at a time.
	Open(ctx context.Context, secret []byte) (Store, error)
	// Damage changes what is stored outside of this process, as a failing disk would, while it is closed.
	Damage(t *testing.T)
	// Lose takes it away while it is closed.
	Lose(t *testing.T)
}

// Errors are the driver's sentinels.
type Errors struct {
	Secret  error   // a wrong secret
	Missing error   // the place is not there
	Damaged []error // it is there and cannot be believed; any of these
	Purpose error   // the key is for something else
	NoKey   error   // no key of this label
	Label   error   // the label is taken, or cannot be one
	State   error   // retired, disabled or closed
	Unwrap  error   // not a wrapped key of this key with this associated data
}

// Driver is what Run tests.
type Driver struct {
	// New makes an empty place. Each test has its own.
	New    func(t *testing.T) Place
	Errors Errors
}

// signing are the purposes whose keys sign.
func signing() []purpose.Purpose {
	var out []purpose.Purpose
	for _, p := range purpose.All() {
		if len(p.Forms()) > 0 {
			out = append(out, p)
		}
	}
	return out
}

// Run runs the whole suite.
func Run(t *testing.T, d Driver) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Driver)
	}{
		{"every purpose signs its forms", signsItsForms},
		{"other forms are refused", refusesOtherForms},
		{"malformed messages are refused", refusesMalformed},
		{"a digest is not signed", refusesDigests},
		{"the message is left alone", leavesTheMessageAlone},
		{"many at a time", manyAtATime},
		{"ended contexts", endedContexts},
		{"a wrong secret", wrongSecret},
		{"a lost place", lost},
		{"a damaged place", damaged},
		{"unknown labels and wrong kinds", wrongLabels},
		{"keys differ", keysDiffer},
		{"keys survive reopening", surviveReopening},
		{"retired keys finish their work", retired},
		{"disabled keys do nothing", disabled},
		{"closed stores do nothing", closed},
		{"data keys are wrapped", wraps},
		{"changed wrapped keys are refused", refusesChangedWraps},
		{"wrapped keys survive reopening", wrapsSurvive},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, d) })
	}
}

// open opens p, which must work.
func open(t *testing.T, p Place) Store {
	t.Helper()
	s, err := p.Open(t.Context(), p.Secret())
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(s.Close)
	return s
}

// with opens a new place with a key of each purpose, labelled as the purpose is.
func with(t *testing.T, d Driver, purposes ...purpose.Purpose) (Place, Store) {
	t.Helper()
	p := d.New(t)
	s := open(t, p)
	for _, of := range purposes {
		must(t, s.Generate(string(of), of))
	}
	must(t, s.Save())
	return p, s
}

func key(t *testing.T, s Store, label string) Key {
	t.Helper()
	k, err := s.Key(label)
	must(t, err)
	return k
}

func wrapper(t *testing.T, s Store, label string) Wrapper {
	t.Helper()
	w, err := s.Wrapper(label)
	must(t, err)
	return w
}

func sign(t *testing.T, k Key, f purpose.Form, message []byte) []byte {
	t.Helper()
	rs, err := k.Sign(t.Context(), f, message)
	must(t, err)
	must(t, verify(k.Public(), message, rs))
	return rs
}

// verify returns an error unless rs is public's signature over message.
func verify(public *ecdsa.PublicKey, message, rs []byte) error {
	if len(rs) != 64 {
		return fmt.Errorf("a signature of %d bytes, not 64", len(rs))
	}
	integer := func(b *cryptobyte.Builder, v []byte) {
		b.AddASN1(asn1.INTEGER, func(b *cryptobyte.Builder) {
			for len(v) > 1 && v[0] == 0 {
				v = v[1:]
			}
			if v[0]&0x80 != 0 {
				b.AddUint8(0)
			}
			b.AddBytes(v)
		})
	}
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		integer(b, rs[:32])
		integer(b, rs[32:])
	})
	if public == nil || !sm2.VerifyASN1WithSM2(public, []byte("1234567812345678"), message, b.BytesOrPanic()) {
		return errors.New("the signature does not verify")
	}
	return nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// refused fails the test unless err is one of those wanted and nothing was handed out.
func refused(t *testing.T, out []byte, err error, want ...error) {
	t.Helper()
	if out != nil {
		t.Errorf("%d bytes were handed out with %v", len(out), err)
	}
	for _, w := range want {
		if errors.Is(err, w) {
			return
		}
	}
	t.Fatalf("got %v, want %v", err, want)
}
