// Package softkey keeps private keys in an encrypted file: the default where there is no HSM. A key leaves the file only
// into the memory of this process, and this package only as signatures.
//
// The file is two lines. The first is a JSON header: how the file key is made, and label, purpose, state and public half
// of each key. The second is base64 of the secret halves, encrypted with SM4-GCM (GB/T 32907, GB/T 36624) with the first
// line as associated data. The file key comes from the passphrase by scrypt (RFC 7914) with N=2^17, r=8, p=1: about a
// third of a second and 128 MB a guess. Whoever has the file learns which keys there are, which is no secret, and can
// change nothing unseen; an older copy of the file put back is not noticed here, but a key that was disabled since is
// revoked in the trust file too.
package softkey

import (
	"context"
	"crypto/cipher"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/sm3"
	"golang.org/x/crypto/scrypt"

	"github.com/elicence/elicence/signer/purpose"
)

var (
	// ErrPassphrase says that the passphrase does not open the keystore, or that somebody changed the file.
	ErrPassphrase = errors.New("softkey: wrong passphrase, or the keystore was changed")
	// ErrKeystore says that the file is missing, damaged, or no keystore.
	ErrKeystore = errors.New("softkey: no readable keystore")
	// ErrChanged says that another program wrote the file since it was opened here. Nothing was saved.
	ErrChanged = errors.New("softkey: the keystore file was changed by another program")
	// ErrNoKey says that there is no key of this label.
	ErrNoKey = errors.New("softkey: no such key")
	// ErrLabel says that a new key cannot have this label: it is taken, or not lower-case letters, digits and hyphens.
	ErrLabel = errors.New("softkey: a key cannot have this label")
	// ErrState says that the key is retired or disabled, or the keystore closed.
	ErrState = errors.New("softkey: the key may not be used for this now")
	// ErrUnwrap says that a wrapped key is not one of this wrapping key's, or was changed.
	ErrUnwrap = errors.New("softkey: the wrapped key does not open")
	// ErrFault says that signatures came out wrong, again and again: processor or memory fail. None has left.
	ErrFault = errors.New("softkey: the machine makes wrong signatures")
	// ErrPurpose says that the key is for something else.
	ErrPurpose = errors.New("softkey: the key is for another purpose")
)

const (
	costN   = 1 << 17
	costR   = 8
	costP   = 1
	maxKeys = 1000

	sm2Secret = 32 // bytes
	sm4Secret = 16
)

// State of a key.
type State string

// States. A retired key finishes what was begun with it: it signs, and unwraps, but wraps nothing new and is not to be
// chosen for new work. A disabled one does nothing at all.
const (
	Active   State = "active"
	Retired  State = "retired"
	Disabled State = "disabled"
)

// Info is what may be known of a key.
type Info struct {
	Label   string
	Purpose purpose.Purpose
	State   State
	Created time.Time        // UTC, whole seconds
	Public  *ecdsa.PublicKey // nil for a wrapping key
}

// entry is one key. Its fields are guarded by the keystore's mutex; public and Label never change.
type entry struct {
	Info
	secret  []byte
	private *sm2.PrivateKey
	wrap    cipher.AEAD
}

// Keystore is one opened file. It is safe for concurrent use within a process, and waits for no disk while it signs. Of
// two programs that write one file, the later gets ErrChanged.
type Keystore struct {
	path string

	mu     sync.RWMutex
	key    []byte // of the file; nil when closed
	salt   []byte
	n      int // scrypt's N
	keys   []*entry
	closed bool

	saving sync.Mutex // one at a time
	saved  [32]byte   // SM3 of the file as last read or written
}

// Option changes how a keystore is made.
type Option func(*options)

type options struct{ n int }

// WithTestCost lowers scrypt's N to a smaller power of two for tests, where a third of a second an opening would add
// up. The cost stands in the header, so Open follows it; below 2^17 it protects nothing.
func WithTestCost(n int) Option { return func(o *options) { o.n = n } }

// Create makes a new, empty keystore file, durable on return; an existing one is never overwritten (ErrKeystore with
// fs.ErrExist). It costs one scrypt, which serves until Close. random gives the salt.
func Create(path string, passphrase []byte, random io.Reader, opts ...Option) (*Keystore, error) {
	o := options{n: costN}
	for _, f := range opts {
		f(&o)
	}
	if err := checkCost(o.n); err != nil {
		return nil, err
	}
	if _, err := os.Lstat(path); err == nil {
		return nil, fmt.Errorf("%w: %w", ErrKeystore, fs.ErrExist)
	}
	k := &Keystore{path: path, n: o.n}
	if err := k.setPassphrase(passphrase, random); err != nil {
		return nil, err
	}
	if err := k.save(createFile); err != nil {
		k.Close()
		return nil, err
	}
	return k, nil
}

func (k *Keystore) setPassphrase(passphrase []byte, random io.Reader) error {
	if len(passphrase) == 0 {
		return fmt.Errorf("%w: it is empty", ErrPassphrase)
	}
	salt := make([]byte, saltSize)
	if _, err := io.ReadFull(random, salt); err != nil {
		return fmt.Errorf("softkey: salt: %w", err)
	}
	key, err := derive(nil, passphrase, salt, k.n)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		clear(key)
		return fmt.Errorf("%w: the keystore is closed", ErrState)
	}
	clear(k.key)
	k.key, k.salt = key, salt
	return nil
}

func checkCost(n int) error {
	if n < 2 || n > costN || n&(n-1) != 0 {
		return fmt.Errorf("%w: a cost of %d", ErrKeystore, n)
	}
	return nil
}

// deriving admits one derivation at a time in this process, whatever the number of keystores: each needs 128 MB, which
// many workers that each open an organisation's keystore would multiply.
var deriving = make(chan struct{}, 1)

var errWaiting = errors.New("softkey: gave up waiting")

// derive gives up with errWaiting if done is closed first; nil waits for ever.
func derive(done <-chan struct{}, passphrase, salt []byte, n int) ([]byte, error) {
	select {
	case deriving <- struct{}{}:
	case <-done:
		return nil, errWaiting
	}
	defer func() { <-deriving }()
	key, err := scrypt.Key(passphrase, salt, n, costR, costP, sm4Secret)
	if err != nil {
		return nil, fmt.Errorf("softkey: %w", err)
	}
	if n == costN {
		// Left to itself the collector keeps these 128 MB until the next derivation has taken another 128.
		debug.FreeOSMemory()
	}
	return key, nil
}

// Open reads a keystore. ErrKeystore when the file is missing (then with fs.ErrNotExist), damaged or none; ErrPassphrase
// when it does not open. It costs one scrypt, of which one runs at a time; ctx ends the waiting for it, not the scrypt
// itself.
func Open(ctx context.Context, path string, passphrase []byte) (*Keystore, error) {
	b, err := readFile(path)
	if err != nil {
		return nil, err
	}
	f, err := parseFile(b)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	key, err := derive(ctx.Done(), passphrase, f.header.Salt, f.header.N)
	if errors.Is(err, errWaiting) {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	k := &Keystore{path: path, key: key, salt: f.header.Salt, n: f.header.N, saved: f.sum}
	if k.keys, err = f.open(key); err != nil {
		k.Close()
		return nil, err
	}
	return k, nil
}

// Describe lists the keys of a file without its passphrase, and without a scrypt. Nobody vouches for what it says until
// Open does.
func Describe(path string) ([]Info, error) {
	b, err := readFile(path)
	if err != nil {
		return nil, err
	}
	f, err := parseFile(b)
	if err != nil {
		return nil, err
	}
	return f.infos, nil
}

// ChangePassphrase derives a new file key. The old passphrase opens the file until Save. It costs one scrypt.
func (k *Keystore) ChangePassphrase(passphrase []byte, random io.Reader) error {
	return k.setPassphrase(passphrase, random)
}

// Save writes all changes since Create or Open. On return they are durable; after a crash the file is the old or the new
// one. ErrChanged if another program wrote it meanwhile.
func (k *Keystore) Save() error { return k.save(replaceFile) }

var labelForm = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

func validLabel(label string) bool { return len(label) <= 64 && labelForm.MatchString(label) }

// Generate makes a key: SM2, or SM4 for DataWrapping. It can be used at once and is in the file after Save. ErrLabel,
// ErrPurpose for an unknown purpose, ErrState for a closed or full keystore. now is kept as the key's age, random makes it.
func (k *Keystore) Generate(label string, p purpose.Purpose, now time.Time, random io.Reader) error {
	if !validLabel(label) {
		return fmt.Errorf("%w: lower-case letters, digits and hyphens, at most 64", ErrLabel)
	}
	if !p.Known() {
		return fmt.Errorf("%w: there is no purpose %q", ErrPurpose, p)
	}
	secret := make([]byte, secretSize(p))
	if p == purpose.DataWrapping {
		if _, err := io.ReadFull(random, secret); err != nil {
			return fmt.Errorf("softkey: generate: %w", err)
		}
	} else {
		private, err := sm2.GenerateKey(random)
		if err != nil {
			return fmt.Errorf("softkey: generate: %w", err)
		}
		private.D.FillBytes(secret)
		clear(private.D.Bits())
	}
	e, err := newEntry(Info{Label: label, Purpose: p, State: Active, Created: now.UTC().Truncate(time.Second)}, secret)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.closed:
		err = fmt.Errorf("%w: the keystore is closed", ErrState)
	case len(k.keys) >= maxKeys:
		err = fmt.Errorf("%w: the keystore is full", ErrState)
	case k.find(label) != nil:
		err = fmt.Errorf("%w: %q is taken", ErrLabel, label)
	}
	if err != nil {
		e.wipe()
		return err
	}
	k.keys = append(k.keys, e)
	return nil
}

func secretSize(p purpose.Purpose) int {
	if p == purpose.DataWrapping {
		return sm4Secret
	}
	return sm2Secret
}

// newEntry makes the key of a secret, which it takes over; i.Public is set from it.
func newEntry(i Info, secret []byte) (*entry, error) {
	e := &entry{Info: i, secret: secret}
	var err error
	if i.Purpose == purpose.DataWrapping {
		e.wrap, err = gcm(secret)
	} else if e.private, err = sm2.NewPrivateKey(secret); err == nil {
		public := e.private.PublicKey
		e.Public = &public // not part of what is wiped
	}
	if err != nil {
		clear(secret)
		return nil, fmt.Errorf("%w: the secret of %q is none", ErrKeystore, i.Label)
	}
	return e, nil
}

func (e *entry) wipe() {
	clear(e.secret)
	if e.private != nil {
		clear(e.private.D.Bits())
	}
	e.secret, e.private, e.wrap, e.State = nil, nil, nil, Disabled
}

// Labels lists the keys in the order of their making; none after Close.
func (k *Keystore) Labels() []Info {
	k.mu.RLock()
	defer k.mu.RUnlock()
	out := make([]Info, len(k.keys))
	for i, e := range k.keys {
		out[i] = e.Info
	}
	return out
}

// Retire ends the use of a key for new work; Save makes it last. ErrNoKey, ErrState for a disabled one.
func (k *Keystore) Retire(label string) error { return k.setState(label, Retired) }

// Disable ends every use of a key; Save makes it last. There is no way back. ErrNoKey.
func (k *Keystore) Disable(label string) error { return k.setState(label, Disabled) }

// Destroy takes a wrapping key that is not active out of the keystore and wipes it; after Save the file holds it no more.
// What it wrapped, and is wrapped by no other key, can never be read again. ErrNoKey; ErrPurpose for a signing key, which
// is disabled and kept; ErrState for an active one.
func (k *Keystore) Destroy(label string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.find(label)
	switch {
	case k.closed:
		return fmt.Errorf("%w: the keystore is closed", ErrState)
	case e == nil:
		return fmt.Errorf("%w: %q", ErrNoKey, label)
	case e.Purpose != purpose.DataWrapping:
		return fmt.Errorf("%w: %q signs", ErrPurpose, label)
	case e.State == Active:
		return fmt.Errorf("%w: %q is active: retire it first", ErrState, label)
	}
	e.wipe()
	k.keys = slices.DeleteFunc(k.keys, func(other *entry) bool { return other == e })
	return nil
}

// Changed reports whether another program wrote the file since it was opened or saved here.
func (k *Keystore) Changed() (bool, error) {
	b, err := readFile(k.path)
	if err != nil {
		return false, err
	}
	k.saving.Lock()
	defer k.saving.Unlock()
	return sm3.Sum(b) != k.saved, nil
}

func (k *Keystore) setState(label string, s State) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return fmt.Errorf("%w: the keystore is closed", ErrState)
	}
	e := k.find(label)
	if e == nil {
		return fmt.Errorf("%w: %q", ErrNoKey, label)
	}
	if e.State == Disabled && s != Disabled {
		return fmt.Errorf("%w: %q is disabled", ErrState, label)
	}
	e.State = s
	return nil
}

func (k *Keystore) find(label string) *entry {
	for _, e := range k.keys {
		if e.Label == label {
			return e
		}
	}
	return nil
}

// Close waits for signatures that are being made, then wipes what Go lets us wipe: the file key and the secrets. Copies
// that the runtime or the SM2 code made are left to the collector. Keys taken from the keystore sign no more; Close may be
// called twice.
func (k *Keystore) Close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.key)
	for _, e := range k.keys {
		e.wipe()
	}
	k.key, k.keys, k.closed = nil, nil, true
}
