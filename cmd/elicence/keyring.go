package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/elicence/elicence/hsm/softkey"
	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
)

// passphrases gives the passphrase of an organisation's keystore.
type passphrases func(ctx context.Context, organisation string) ([]byte, error)

// keyring holds the keystores of the organisations that this installation acts for, one file each, opened when first
// needed (an opening costs one scrypt, about a third of a second), and the certificates of their keys. Safe for
// concurrent use.
type keyring struct {
	keystoreDir, certificateDir string
	passphrase                  passphrases
	chain                       *authority // for the paths of certificates
	creation                    []softkey.Option

	opened *keystores
	tidy   func() // after each opening; nil for nothing

	mu    sync.Mutex
	certs map[string][]certified // by organisation
	bySM3 map[[32]byte]certified
}

// keystores are the files that this process has opened, by organisation. The demo shares them between its steps, so that
// it pays for each opening once.
type keystores struct {
	mu      sync.Mutex
	open    map[string]*opening
	earlier []*softkey.Keystore // opened again since: keys taken from them may be in use
}

func newKeystores() *keystores { return &keystores{open: map[string]*opening{}} }

func (k *keystores) of(organisation string) *opening {
	k.mu.Lock()
	defer k.mu.Unlock()
	o := k.open[organisation]
	if o == nil {
		o = &opening{}
		k.open[organisation] = o
	}
	return o
}

func (k *keystores) put(organisation string, store *softkey.Keystore) {
	k.mu.Lock()
	k.open[organisation] = &opening{store: store}
	k.mu.Unlock()
}

// replace puts a keystore that was opened anew in the place of an earlier opening, which stays usable.
func (k *keystores) replace(organisation string, earlier, store *softkey.Keystore) {
	k.put(organisation, store)
	k.mu.Lock()
	k.earlier = append(k.earlier, earlier)
	k.mu.Unlock()
}

// close wipes them.
func (k *keystores) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, store := range k.earlier {
		store.Close()
	}
	k.earlier = nil
	for _, o := range k.open {
		if o.store != nil {
			o.store.Close()
		}
	}
	k.open = map[string]*opening{}
}

// opening is one keystore, opened by one caller for all. What failed is tried again the next time: a service outlives a
// file that is away, or a passphrase that is put right.
type opening struct {
	mu    sync.Mutex
	store *softkey.Keystore // nil until it is open
}

// certified is a key's label with its certificate.
type certified struct {
	organisation, label string
	certificate         *pki.Certificate
}

func openKeyring(dir string, opened *keystores, chain *authority, p passphrases) (*keyring, error) {
	k := &keyring{
		keystoreDir: filepath.Join(dir, "keystores"), certificateDir: filepath.Join(dir, "certificates"),
		passphrase: p, chain: chain, opened: opened,
	}
	return k, k.reload()
}

// reload reads every certificate: certificates/ORGANISATION/LABEL.der.
func (k *keyring) reload() error {
	files, err := filepath.Glob(filepath.Join(k.certificateDir, "*", "*.der"))
	if err != nil {
		return err
	}
	sort.Strings(files)
	certs, bySM3 := map[string][]certified{}, map[[32]byte]certified{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		c, err := pki.ParseCertificate(b)
		if err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
		e := certified{filepath.Base(filepath.Dir(f)), strings.TrimSuffix(filepath.Base(f), ".der"), c}
		certs[e.organisation] = append(certs[e.organisation], e)
		bySM3[c.SM3()] = e
	}
	k.mu.Lock()
	k.certs, k.bySM3 = certs, bySM3
	k.mu.Unlock()
	return nil
}

// keystore opens the organisation's file once.
func (k *keyring) keystore(ctx context.Context, organisation string) (*softkey.Keystore, error) {
	o := k.opened.of(organisation)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.store != nil {
		return o.store, nil
	}
	secret, err := k.passphrase(ctx, organisation)
	if err != nil {
		return nil, fmt.Errorf("keystore of %s: %w", organisation, err)
	}
	store, err := softkey.Open(ctx, k.keystorePath(organisation), secret)
	if err != nil {
		return nil, fmt.Errorf("keystore of %s: %w", organisation, err)
	}
	o.store = store
	if k.tidy != nil {
		k.tidy()
	}
	return store, nil
}

// reopened is the organisation's keystore as its file is now: opened again if another program wrote it since.
func (k *keyring) reopened(ctx context.Context, organisation string) (store *softkey.Keystore, again bool, err error) {
	if store, err = k.keystore(ctx, organisation); err != nil {
		return nil, false, err
	}
	if changed, err := store.Changed(); err != nil || !changed {
		return store, false, err
	}
	secret, err := k.passphrase(ctx, organisation)
	if err != nil {
		return nil, false, err
	}
	fresh, err := softkey.Open(ctx, k.keystorePath(organisation), secret)
	if err != nil {
		return nil, false, fmt.Errorf("keystore of %s: %w", organisation, err)
	}
	k.opened.replace(organisation, store, fresh)
	return fresh, true, nil
}

func (k *keyring) keystorePath(organisation string) string {
	return filepath.Join(k.keystoreDir, organisation+".keystore")
}

// create makes an empty keystore and keeps it open.
func (k *keyring) create(ctx context.Context, organisation string) (*softkey.Keystore, error) {
	secret, err := k.passphrase(ctx, organisation)
	if err != nil {
		return nil, err
	}
	store, err := softkey.Create(k.keystorePath(organisation), secret, rand.Reader, k.creation...)
	if err != nil {
		return nil, err
	}
	k.opened.put(organisation, store)
	return store, nil
}

// Current returns the newest active key of the purpose whose certificate is valid now.
func (k *keyring) Current(ctx context.Context, organisation string, p purpose.Purpose) (issuing.Signing, error) {
	store, err := k.keystore(ctx, organisation)
	if err != nil {
		return issuing.Signing{}, errors.Join(issuing.ErrKey, err)
	}
	k.mu.Lock()
	candidates := k.certs[organisation]
	k.mu.Unlock()
	for i := len(candidates) - 1; i >= 0; i-- {
		c := candidates[i]
		if !strings.HasPrefix(c.label, string(p)+"-") || !active(store, c.label) {
			continue
		}
		return k.signing(store, c)
	}
	return issuing.Signing{}, fmt.Errorf("%w: %s has no active key for %s", issuing.ErrKey, organisation, p)
}

func active(store *softkey.Keystore, label string) bool {
	for _, i := range store.Labels() {
		if i.Label == label {
			return i.State == softkey.Active
		}
	}
	return false
}

// ByCertificate returns the key of this certificate.
func (k *keyring) ByCertificate(ctx context.Context, organisation string, sm3 [32]byte) (issuing.Signing, error) {
	k.mu.Lock()
	c, ok := k.bySM3[sm3]
	k.mu.Unlock()
	if !ok || c.organisation != organisation {
		return issuing.Signing{}, fmt.Errorf("%w: %s has no certificate %x…", issuing.ErrKey, organisation, sm3[:6])
	}
	store, err := k.keystore(ctx, organisation)
	if err != nil {
		return issuing.Signing{}, errors.Join(issuing.ErrKey, err)
	}
	return k.signing(store, c)
}

func (k *keyring) signing(store *softkey.Keystore, c certified) (issuing.Signing, error) {
	key, err := store.Key(c.label)
	if err != nil {
		return issuing.Signing{}, fmt.Errorf("%w: %s/%s: %w", issuing.ErrKey, c.organisation, c.label, err)
	}
	return issuing.Signing{Key: key, Path: append([]*pki.Certificate{c.certificate}, k.chain.intermediates...)}, nil
}

// add generates a key in the organisation's keystore and has it certified.
func (k *keyring) add(ctx context.Context, store *softkey.Keystore, organisation, name string, p purpose.Purpose, now time.Time, years int) (*pki.Certificate, error) {
	number := 1
	for _, i := range store.Labels() {
		if i.Purpose == p {
			number++
		}
	}
	label := fmt.Sprintf("%s-%d", p, number)
	if err := store.Generate(label, p, now, rand.Reader); err != nil {
		return nil, err
	}
	key, err := store.Key(label)
	if err != nil {
		return nil, err
	}
	c, err := k.chain.certify(ctx, pki.Template{
		CommonName: name + " " + string(p), Organisation: name, OrganisationCode: organisation, Purpose: p,
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(years, 0, 0),
	}, key.Public())
	if err != nil {
		return nil, err
	}
	if err := store.Save(); err != nil {
		return nil, err
	}
	folder := filepath.Join(k.certificateDir, organisation)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	return c, writeFile(filepath.Join(folder, label+".der"), c.Raw(), 0o644)
}

// all returns every certificate, ordered by organisation and label.
func (k *keyring) all() []certified {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []certified
	for _, c := range k.certs {
		out = append(out, c...)
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i].organisation != out[j].organisation {
			return out[i].organisation < out[j].organisation
		}
		return out[i].label < out[j].label
	})
	return out
}
