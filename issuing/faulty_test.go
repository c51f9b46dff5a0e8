package issuing_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/elicence/elicence/hsm/softkey"
	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/signer"
	"github.com/elicence/elicence/signer/purpose"
	"github.com/elicence/elicence/storage/envelope"
	"github.com/elicence/elicence/storage/objects"
	"github.com/elicence/elicence/storage/objects/objectstest"
)

// errInjected is in the chain of every failure that a test makes.
var errInjected = objectstest.ErrInjected

// faults is asked at every point where issuing needs the world: each commit of the records, each Put, each signature,
// each use of a data key and each search for a key. A point may fail, or fail although it happened.
type faults struct {
	mu     sync.Mutex
	trace  []string
	decide func(n int, point string) objectstest.Fault
}

// set forgets what was and decides anew; nil lets everything succeed.
func (f *faults) set(decide func(n int, point string) objectstest.Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.trace, f.decide = nil, decide
}

// points are the names of the points passed since set.
func (f *faults) points() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.trace)
}

func (f *faults) ask(point string) objectstest.Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := len(f.trace)
	f.trace = append(f.trace, point)
	if f.decide == nil {
		return objectstest.None
	}
	return f.decide(n, point)
}

func (f *faults) around(point string, call func() error) error {
	fault := f.ask(point)
	if fault == objectstest.Failed {
		return fmt.Errorf("%w: %s", errInjected, point)
	}
	err := call()
	if fault == objectstest.FailedButDone {
		return errors.Join(fmt.Errorf("%w, and yet it happened: %s", errInjected, point), err)
	}
	return err
}

// one lets the nth point fail.
func one(n int, fault objectstest.Fault) func(int, string) objectstest.Fault {
	return func(i int, _ string) objectstest.Fault {
		if i == n {
			return fault
		}
		return objectstest.None
	}
}

// always lets every point fail whose name begins so.
func always(prefix string, fault objectstest.Fault) func(int, string) objectstest.Fault {
	return func(_ int, point string) objectstest.Fault {
		if strings.HasPrefix(point, prefix) {
			return fault
		}
		return objectstest.None
	}
}

// shelf is an object store as issuing sees it.
type shelf struct{ objectstest.Store }

func (s shelf) Put(ctx context.Context, o issuing.Object) error {
	return s.PutObject(ctx, o.(objects.Object))
}

// objects are the faulty object store.
func (f *faults) objects(s objectstest.Store) issuing.Objects {
	return shelf{objectstest.Inject(s, func(c objectstest.Call) objectstest.Fault {
		if c.Verb != "put" {
			return objectstest.None
		}
		folder, _, _ := strings.Cut(c.Key, "/")
		return f.ask("put " + folder)
	})}
}

// keyring finds the world's keys.
type keyring struct {
	world  *world
	faults *faults
}

func (k keyring) Current(_ context.Context, organisation string, p purpose.Purpose) (s issuing.Signing, err error) {
	err = k.faults.around("key of "+string(p), func() error { s, err = k.world.signing(organisation, p); return err })
	return k.answer(s, p, err)
}

func (k keyring) ByCertificate(_ context.Context, organisation string, sm3 [32]byte) (issuing.Signing, error) {
	for p, c := range k.world.certs[organisation] {
		if c.SM3() != sm3 {
			continue
		}
		var s issuing.Signing
		err := k.faults.around("key again of "+string(p), func() (err error) { s, err = k.world.signing(organisation, p); return err })
		return k.answer(s, p, err)
	}
	return issuing.Signing{}, fmt.Errorf("%w: %s has no certificate %x…", issuing.ErrKey, organisation, sm3[:6])
}

func (k keyring) answer(s issuing.Signing, p purpose.Purpose, err error) (issuing.Signing, error) {
	if err != nil {
		if !errors.Is(err, issuing.ErrKey) {
			err = fmt.Errorf("%w: %w", issuing.ErrKey, err)
		}
		return issuing.Signing{}, err
	}
	s.Key = device{s.Key, k.faults, p}
	return s, nil
}

// device is a key that may fail; a signature that was made although it failed is lost.
type device struct {
	signer.Key
	faults *faults
	p      purpose.Purpose
}

func (d device) Sign(ctx context.Context, form purpose.Form, message []byte) (rs []byte, err error) {
	err = d.faults.around("sign "+string(form), func() error { rs, err = d.Key.Sign(ctx, form, message); return err })
	if err != nil {
		return nil, err
	}
	return rs, nil
}

// vault is issuing's Vault over storage/envelope, as the program has it.
type vault struct {
	wrapper *softkey.Wrapper
	index   *envelope.Index
	faults  *faults
	random  interface{ Read([]byte) (int, error) }
}

func (v *vault) NewKey(ctx context.Context) (k issuing.DataKey, err error) {
	err = v.faults.around("new data key", func() error {
		var id [16]byte
		if _, err := v.random.Read(id[:]); err != nil {
			return err
		}
		plain, err := envelope.NewDataKey(v.random)
		if err != nil {
			return err
		}
		k.ID = hex.EncodeToString(id[:])
		k.Wrapped, err = envelope.WrapKey(ctx, v.wrapper, k.ID, plain)
		return err
	})
	return k, err
}

func (v *vault) Seal(ctx context.Context, key issuing.DataKey, id string, nonce, plain []byte) (o issuing.Object, err error) {
	err = v.faults.around("seal", func() error {
		k, err := envelope.UnwrapKey(ctx, v.wrapper, key.ID, key.Wrapped)
		if err != nil {
			return err
		}
		stored, err := envelope.SealObject(k, envelope.Header{KeyID: key.ID, LicenceTag: v.tag(id), Nonce: [envelope.NonceSize]byte(nonce)}, plain)
		o = objects.AtAddress(stored)
		return err
	})
	return o, err
}

func (v *vault) Open(ctx context.Context, key issuing.DataKey, id, object string, stored []byte) ([]byte, error) {
	if err := objects.CheckGet(object, stored); err != nil {
		return nil, err
	}
	k, err := envelope.UnwrapKey(ctx, v.wrapper, key.ID, key.Wrapped)
	if err != nil {
		return nil, err
	}
	return envelope.OpenObject(k, key.ID, v.tag(id), stored)
}

func (v *vault) KeyObject(_ context.Context, key issuing.DataKey, l issuing.Licence) (issuing.Object, error) {
	b, err := envelope.KeyRecord{KeyID: key.ID, LicenceTag: v.tag(l.ID), Wrapped: key.Wrapped}.Encode()
	if err != nil {
		return nil, err
	}
	return objects.Under(objects.Deletable+key.ID, b)
}

func (v *vault) tag(id string) [32]byte { return v.index.Tag(envelope.LicenceColumn, id) }
