// Package softkey keeps private keys in an encrypted file: the default where there is no HSM. A key leaves the file only
// into the memory of this process, and this package only as signatures.
//
// The file is two lines: a JSON header, and base64 of the SM4-GCM ciphertext (GB/T 32907, GB/T 36624) of the keys with
// the header as associated data. The file key comes from the passphrase by scrypt (RFC 7914) with N=2^17, r=8, p=1:
// about a third of a second and 128 MB a guess.
package softkey

import (
	"bytes"
	"context"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/sm4"
	"golang.org/x/crypto/scrypt"

	"github.com/elicence/elicence/signer/purpose"
)

var (
	// ErrPassphrase says that the passphrase does not open the keystore, or that somebody changed the file.
	ErrPassphrase = errors.New("softkey: wrong passphrase, or the keystore was changed")
	// ErrKeystore says that the file is missing or is no keystore.
	ErrKeystore = errors.New("softkey: no readable keystore")
	// ErrNoKey says that there is no key of this label.
	ErrNoKey = errors.New("softkey: no such key")
	// ErrState says that the key is retired or disabled, or the keystore closed.
	ErrState = errors.New("softkey: the key may not be used for this now")
	// ErrUnwrap says that a wrapped key is not one of this wrapping key's, or was changed.
	ErrUnwrap = errors.New("softkey: the wrapped key does not open")
	// ErrPurpose says that the key is for something else.
	ErrPurpose = errors.New("softkey: the key is for another purpose")
)

const (
	format      = "elicence/keystore/1"
	costN       = 1 << 17
	costR       = 8
	costP       = 1
	maxKeystore = 1 << 20
	maxKeys     = 1000
)

// State of a key.
type State string

// States. A retired key finishes what was begun with it; a disabled one signs nothing.
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
	Created time.Time
	Public  *ecdsa.PublicKey // nil for a wrapping key
}

type header struct {
	Format string `json:"format"`
	KDF    string `json:"kdf"`
	N      int    `json:"n"`
	R      int    `json:"r"`
	P      int    `json:"p"`
	Salt   []byte `json:"salt"`
	Nonce  []byte `json:"nonce"`
}

type storedKey struct {
	Label   string          `json:"label"`
	Purpose purpose.Purpose `json:"purpose"`
	State   State           `json:"state"`
	Created time.Time       `json:"created"`
	Secret  []byte          `json:"secret"` // 32 bytes of an SM2 key, 16 of an SM4 key
}

type entry struct {
	storedKey
	private *sm2.PrivateKey
	wrap    cipher.AEAD
}

// Keystore is one opened file. It is safe for concurrent use by one process; two processes must not write one file.
type Keystore struct {
	path string
	salt []byte
	n    int // scrypt's N

	mu     sync.RWMutex
	key    []byte // of the file; nil when closed
	keys   []*entry
	closed bool
}

// Option changes how a keystore is made.
type Option func(*options)

type options struct{ n int }

// WithTestCost lowers scrypt's N to a power of two for tests, where a third of a second an opening would add up. The
// cost stands in the header, so Open follows it; below 2^17 it protects nothing.
func WithTestCost(n int) Option { return func(o *options) { o.n = n } }

// Create makes a new, empty keystore file; an existing one is never overwritten. One derivation serves until Close.
func Create(path string, passphrase []byte, random io.Reader, opts ...Option) (*Keystore, error) {
	o := options{n: costN}
	for _, f := range opts {
		f(&o)
	}
	if len(passphrase) == 0 {
		return nil, fmt.Errorf("%w: it is empty", ErrPassphrase)
	}
	if _, err := os.Lstat(path); err == nil {
		return nil, fmt.Errorf("%w: %s exists already", ErrKeystore, filepath.Base(path))
	}
	k := &Keystore{path: path, n: o.n, salt: make([]byte, 32)}
	if _, err := io.ReadFull(random, k.salt); err != nil {
		return nil, fmt.Errorf("softkey: salt: %w", err)
	}
	var err error
	if k.key, err = derive(passphrase, k.salt, o.n); err != nil {
		return nil, err
	}
	return k, k.Save()
}

func derive(passphrase, salt []byte, n int) ([]byte, error) {
	key, err := scrypt.Key(passphrase, salt, n, costR, costP, 16)
	if err != nil {
		return nil, fmt.Errorf("softkey: %w", err)
	}
	return key, nil
}

// Open reads a keystore. ErrKeystore when the file is missing or is none, ErrPassphrase when it does not open.
func Open(ctx context.Context, path string, passphrase []byte) (*Keystore, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b, err := readFile(path)
	if err != nil {
		return nil, err
	}
	h, head, sealed, err := parseFile(b)
	if err != nil {
		return nil, err
	}
	key, err := derive(passphrase, h.Salt, h.N)
	if err != nil {
		return nil, err
	}
	aead, err := gcm(key)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, h.Nonce, sealed, head)
	if err != nil {
		wipe(key)
		return nil, ErrPassphrase
	}
	defer wipe(plain)
	var stored []storedKey
	if err := json.Unmarshal(plain, &stored); err != nil || len(stored) > maxKeys {
		return nil, fmt.Errorf("%w: its content is not a list of keys", ErrKeystore)
	}
	k := &Keystore{path: path, key: key, salt: h.Salt, n: h.N}
	for _, s := range stored {
		e, err := load(s)
		if err != nil {
			return nil, err
		}
		k.keys = append(k.keys, e)
	}
	return k, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeystore, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxKeystore+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeystore, err)
	}
	return b, nil
}

// parseFile reads the two lines and holds them to the one form that Save writes.
func parseFile(b []byte) (h header, head, sealed []byte, err error) {
	fail := func(why string) (header, []byte, []byte, error) {
		return header{}, nil, nil, fmt.Errorf("%w: %s", ErrKeystore, why)
	}
	if len(b) > maxKeystore {
		return fail("it is too large")
	}
	head, rest, ok := bytes.Cut(b, []byte("\n"))
	if !ok || len(rest) == 0 || rest[len(rest)-1] != '\n' {
		return fail("it is not two lines")
	}
	d := json.NewDecoder(bytes.NewReader(head))
	d.DisallowUnknownFields()
	if err := d.Decode(&h); err != nil {
		return fail("its header is not ours")
	}
	if again, err := json.Marshal(h); err != nil || !bytes.Equal(again, head) {
		return fail("its header is not ours")
	}
	if h.Format != format || h.KDF != "scrypt" || h.R != costR || h.P != costP || h.N < 2 || h.N > 1<<20 || h.N&(h.N-1) != 0 ||
		len(h.Salt) != 32 || len(h.Nonce) != 12 {
		return fail("its header names other algorithms or costs")
	}
	sealed, err = base64.StdEncoding.Strict().DecodeString(string(rest[:len(rest)-1]))
	if err != nil || len(sealed) < 16 || base64.StdEncoding.EncodeToString(sealed) != string(rest[:len(rest)-1]) {
		return fail("its second line is not base64")
	}
	return h, head, sealed, nil
}

func gcm(key []byte) (cipher.AEAD, error) {
	block, err := sm4.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("softkey: %w", err)
	}
	return cipher.NewGCM(block)
}

func load(s storedKey) (*entry, error) {
	e := &entry{storedKey: s}
	var err error
	if s.Purpose == purpose.DataWrapping {
		e.wrap, err = gcm(s.Secret)
	} else {
		e.private, err = sm2.NewPrivateKey(s.Secret)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: key %q cannot be read", ErrKeystore, s.Label)
	}
	return e, nil
}

// Save writes the file so that a crash leaves the old or the new one: temporary file, fsync, rename, fsync of the folder.
func (k *Keystore) Save() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return fmt.Errorf("%w: the keystore is closed", ErrState)
	}
	stored := make([]storedKey, len(k.keys))
	for i, e := range k.keys {
		stored[i] = e.storedKey
	}
	plain, err := json.Marshal(stored)
	if err != nil {
		return fmt.Errorf("softkey: %w", err)
	}
	defer wipe(plain)
	h := header{format, "scrypt", k.n, costR, costP, k.salt, make([]byte, 12)}
	if _, err := io.ReadFull(rand.Reader, h.Nonce); err != nil {
		return fmt.Errorf("softkey: nonce: %w", err)
	}
	head, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("softkey: %w", err)
	}
	aead, err := gcm(k.key)
	if err != nil {
		return err
	}
	sealed := base64.StdEncoding.EncodeToString(aead.Seal(nil, h.Nonce, plain, head))
	return replaceFile(k.path, []byte(string(head)+"\n"+sealed+"\n"))
}

func replaceFile(path string, b []byte) error {
	folder := filepath.Dir(path)
	f, err := os.CreateTemp(folder, ".keystore-*")
	if err != nil {
		return fmt.Errorf("softkey: save: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("softkey: save: %w", err)
	}
	d, err := os.Open(folder)
	if err != nil {
		return fmt.Errorf("softkey: save: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("softkey: save: %w", err)
	}
	return nil
}

var labelForm = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// Generate makes a key. It is in the file after Save.
func (k *Keystore) Generate(label string, p purpose.Purpose, now time.Time, random io.Reader) error {
	if !labelForm.MatchString(label) || len(label) > 64 {
		return fmt.Errorf("softkey: a label is lower-case letters, digits and hyphens")
	}
	if p != purpose.DataWrapping && len(p.Forms()) == 0 {
		return fmt.Errorf("%w: there is no purpose %q", ErrPurpose, p)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return fmt.Errorf("%w: the keystore is closed", ErrState)
	}
	if len(k.keys) >= maxKeys {
		return fmt.Errorf("%w: the keystore is full", ErrState)
	}
	for _, e := range k.keys {
		if e.Label == label {
			return fmt.Errorf("softkey: there is a key %q already", label)
		}
	}
	s := storedKey{Label: label, Purpose: p, State: Active, Created: now.UTC().Truncate(time.Second)}
	if p == purpose.DataWrapping {
		s.Secret = make([]byte, 16)
		if _, err := io.ReadFull(random, s.Secret); err != nil {
			return fmt.Errorf("softkey: generate: %w", err)
		}
	} else {
		private, err := sm2.GenerateKey(random)
		if err != nil {
			return fmt.Errorf("softkey: generate: %w", err)
		}
		s.Secret = private.D.FillBytes(make([]byte, 32))
	}
	e, err := load(s)
	if err != nil {
		return err
	}
	k.keys = append(k.keys, e)
	return nil
}

// Labels lists the keys in the order of their making.
func (k *Keystore) Labels() []Info {
	k.mu.RLock()
	defer k.mu.RUnlock()
	out := make([]Info, len(k.keys))
	for i, e := range k.keys {
		out[i] = Info{Label: e.Label, Purpose: e.Purpose, State: e.State, Created: e.Created}
		if e.private != nil {
			out[i].Public = &e.private.PublicKey
		}
	}
	return out
}

// Retire ends the use of a key for new work; Save makes it last.
func (k *Keystore) Retire(label string) error { return k.setState(label, Retired) }

// Disable ends every use of a key; Save makes it last. There is no way back.
func (k *Keystore) Disable(label string) error { return k.setState(label, Disabled) }

func (k *Keystore) setState(label string, s State) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.find(label)
	if e == nil {
		return fmt.Errorf("%w: %q", ErrNoKey, label)
	}
	if e.State == Disabled {
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

// Close wipes what Go lets us wipe: the file key and the secrets as stored. Copies that the runtime or the SM2 code made
// are out of reach.
func (k *Keystore) Close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	wipe(k.key)
	for _, e := range k.keys {
		wipe(e.Secret)
		if e.private != nil {
			e.private.D.SetInt64(0)
		}
		e.private, e.wrap, e.State = nil, nil, Disabled
	}
	k.key, k.closed = nil, true
}

func wipe(b []byte) {
	for i := range b {
		b[i] = 0
	}
}
