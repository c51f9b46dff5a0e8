package softkey

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/sm3"
	"github.com/emmansun/gmsm/sm4"

	"github.com/elicence/elicence/signer/purpose"
)

const (
	format      = "elicence/keystore/1"
	maxKeystore = 1 << 20 // bytes
	saltSize    = 32
	nonceSize   = 12
	tagSize     = 16
)

// header is the first line. Its JSON has one spelling: what parses encodes to the same bytes.
type header struct {
	Format string      `json:"format"`
	KDF    string      `json:"kdf"`
	N      int         `json:"n"`
	R      int         `json:"r"`
	P      int         `json:"p"`
	Salt   []byte      `json:"salt"`
	Nonce  []byte      `json:"nonce"`
	Keys   []described `json:"keys"`
}

type described struct {
	Label   string          `json:"label"`
	Purpose purpose.Purpose `json:"purpose"`
	State   State           `json:"state"`
	Created time.Time       `json:"created"`
	Public  []byte          `json:"public,omitempty"` // 04 x y
}

// file is a parsed keystore file, still encrypted.
type file struct {
	header header
	infos  []Info
	head   []byte // the first line, without its end
	sealed []byte
	sum    [32]byte
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

// parseFile holds a file to the one form that Save writes; ErrKeystore. It never panics.
func parseFile(b []byte) (*file, error) {
	fail := func(why string) (*file, error) { return nil, fmt.Errorf("%w: %s", ErrKeystore, why) }
	if len(b) > maxKeystore {
		return fail("it is too large")
	}
	head, rest, ok := bytes.Cut(b, []byte("\n"))
	if !ok || len(rest) == 0 || rest[len(rest)-1] != '\n' {
		return fail("it is not two lines")
	}
	f := &file{head: head, sum: sm3.Sum(b)}
	h := &f.header
	if err := json.Unmarshal(head, h); err != nil || h.Keys == nil {
		return fail("its header is not ours")
	}
	if again, err := json.Marshal(h); err != nil || !bytes.Equal(again, head) {
		return fail("its header is not ours")
	}
	if h.Format != format || h.KDF != "scrypt" || checkCost(h.N) != nil || h.R != costR || h.P != costP ||
		len(h.Salt) != saltSize || len(h.Nonce) != nonceSize || len(h.Keys) > maxKeys {
		return fail("its header names another format, algorithm or cost")
	}
	size := tagSize
	for _, d := range h.Keys {
		i, err := d.info()
		if err != nil {
			return nil, err
		}
		for _, other := range f.infos {
			if other.Label == i.Label {
				return fail("two keys have one label")
			}
		}
		f.infos = append(f.infos, i)
		size += secretSize(d.Purpose)
	}
	line := rest[:len(rest)-1]
	sealed, err := base64.StdEncoding.Strict().DecodeString(string(line))
	if err != nil || len(sealed) != size || base64.StdEncoding.EncodeToString(sealed) != string(line) {
		return fail("its second line is not base64 of that many keys")
	}
	f.sealed = sealed
	return f, nil
}

func (d described) info() (Info, error) {
	i := Info{Label: d.Label, Purpose: d.Purpose, State: d.State, Created: d.Created}
	known := d.State == Active || d.State == Retired || d.State == Disabled
	if !validLabel(d.Label) || !d.Purpose.Known() || !known || !d.Created.Equal(d.Created.Truncate(time.Second)) || d.Created.Location() != time.UTC {
		return Info{}, fmt.Errorf("%w: a key's label, purpose, state or time", ErrKeystore)
	}
	if d.Purpose == purpose.DataWrapping {
		if d.Public != nil {
			return Info{}, fmt.Errorf("%w: a wrapping key has no public half", ErrKeystore)
		}
		return i, nil
	}
	public, err := sm2.NewPublicKey(d.Public)
	if err != nil || len(d.Public) != 65 {
		return Info{}, fmt.Errorf("%w: a public key", ErrKeystore)
	}
	i.Public = public
	return i, nil
}

// open decrypts the secrets. Their public halves must be those of the header.
func (f *file) open(key []byte) ([]*entry, error) {
	aead, err := gcm(key)
	if err != nil {
		return nil, err
	}
	secrets, err := aead.Open(nil, f.header.Nonce, f.sealed, f.head)
	if err != nil {
		return nil, ErrPassphrase
	}
	defer clear(secrets)
	var keys []*entry
	for rest := secrets; len(keys) < len(f.infos); {
		i := f.infos[len(keys)]
		n := secretSize(i.Purpose)
		e, err := newEntry(i, bytes.Clone(rest[:n]))
		if err == nil && i.Public != nil && !i.Public.Equal(e.Public) {
			err = fmt.Errorf("%w: the halves of %q do not belong together", ErrKeystore, i.Label)
		}
		if err != nil {
			for _, e := range keys {
				e.wipe()
			}
			return nil, err
		}
		keys, rest = append(keys, e), rest[n:]
	}
	return keys, nil
}

func gcm(key []byte) (cipher.AEAD, error) {
	block, err := sm4.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("softkey: %w", err)
	}
	return cipher.NewGCM(block)
}

// encode is the whole file, under a nonce of its own.
func (k *Keystore) encode() ([]byte, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.closed {
		return nil, fmt.Errorf("%w: the keystore is closed", ErrState)
	}
	h := header{format, "scrypt", k.n, costR, costP, k.salt, make([]byte, nonceSize), make([]described, 0, len(k.keys))}
	if _, err := io.ReadFull(rand.Reader, h.Nonce); err != nil {
		return nil, fmt.Errorf("softkey: nonce: %w", err)
	}
	secrets := make([]byte, 0, len(k.keys)*sm2Secret) // never grown, so that no copy stays behind
	defer func() { clear(secrets) }()
	for _, e := range k.keys {
		d := described{Label: e.Label, Purpose: e.Purpose, State: e.State, Created: e.Created}
		if e.Public != nil {
			point, err := sm2.PublicKeyToECDH(e.Public)
			if err != nil {
				return nil, fmt.Errorf("softkey: %w", err)
			}
			d.Public = point.Bytes()
		}
		h.Keys = append(h.Keys, d)
		secrets = append(secrets, e.secret...)
	}
	head, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("softkey: %w", err)
	}
	aead, err := gcm(k.key)
	if err != nil {
		return nil, err
	}
	b := make([]byte, 0, len(head)+2+base64.StdEncoding.EncodedLen(len(secrets)+tagSize))
	b = append(append(b, head...), '\n')
	b = base64.StdEncoding.AppendEncode(b, aead.Seal(nil, h.Nonce, secrets, head))
	return append(b, '\n'), nil
}

// save encodes, then writes without holding up signatures.
func (k *Keystore) save(write func(path string, b []byte, expected [32]byte) error) error {
	k.saving.Lock()
	defer k.saving.Unlock()
	b, err := k.encode()
	if err != nil {
		return err
	}
	if err := write(k.path, b, k.saved); err != nil {
		return err
	}
	k.saved = sm3.Sum(b)
	return nil
}

// createFile fails if path exists; it is never there half written.
func createFile(path string, b []byte, _ [32]byte) error {
	return place(path, b, func(temporary string) error {
		err := os.Link(temporary, path)
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%w: %w", ErrKeystore, fs.ErrExist)
		}
		return err
	})
}

// replaceFile puts b in the place of the file whose SM3 is expected.
func replaceFile(path string, b []byte, expected [32]byte) error {
	current, err := readFile(path)
	if err != nil {
		return err
	}
	if sm3.Sum(current) != expected {
		return ErrChanged
	}
	return place(path, b, func(temporary string) error { return os.Rename(temporary, path) })
}

// place writes a temporary file beside path, readable by its owner only, has finish give it its name, and makes both
// durable.
func place(path string, b []byte, finish func(temporary string) error) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("softkey: save: %w", err)
		}
	}()
	folder := filepath.Dir(path)
	f, err := os.CreateTemp(folder, ".keystore-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = finish(f.Name())
	}
	if err != nil {
		return err
	}
	d, err := os.Open(folder)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
