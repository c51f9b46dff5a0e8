package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"github.com/elicence/elicence/hsm/softkey"
	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
)

// authority is the demonstration PKI: a root that certified one issuing CA, which certifies the organisations' keys.
// A production installation has no authority keystore: its certificates come from elsewhere and only the chain is here.
type authority struct {
	dir           string
	demonstration bool
	root          *pki.Certificate
	intermediates []*pki.Certificate // issuing CA first, without root
	open          func(ctx context.Context) (*softkey.Keystore, error)
	now           func() time.Time
}

const (
	authorityName = "ca" // of the keystore and its passphrase
	rootLabel     = "ca-1"
	issuingLabel  = "ca-2"
	crlValidity   = 30 * 24 * time.Hour
)

// createAuthority makes root and issuing CA.
func createAuthority(ctx context.Context, dir string, store *softkey.Keystore, now time.Time) (*authority, error) {
	a := &authority{dir: filepath.Join(dir, "ca"), demonstration: true, now: func() time.Time { return now },
		open: func(context.Context) (*softkey.Keystore, error) { return store, nil }}
	if err := os.MkdirAll(a.dir, 0o755); err != nil {
		return nil, err
	}
	for _, label := range []string{rootLabel, issuingLabel} {
		if err := store.Generate(label, purpose.CertificateAuthority, now, rand.Reader); err != nil {
			return nil, err
		}
	}
	if err := store.Save(); err != nil {
		return nil, err
	}
	rootKey, err := store.Key(rootLabel)
	if err != nil {
		return nil, err
	}
	issuingKey, err := store.Key(issuingLabel)
	if err != nil {
		return nil, err
	}
	a.root, err = pki.Issue(ctx, rootKey, nil, rootKey.Public(), pki.Template{
		CommonName: "elicence demonstration root", Organisation: "elicence demonstration", CA: true, MaxPathLen: 1,
		Purpose: purpose.CertificateAuthority, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(20, 0, 0), Demonstration: true,
	}, rand.Reader)
	if err != nil {
		return nil, err
	}
	issuing, err := pki.Issue(ctx, rootKey, a.root, issuingKey.Public(), pki.Template{
		CommonName: "elicence demonstration issuing CA", Organisation: "elicence demonstration", CA: true, MaxPathLen: 0,
		Purpose: purpose.CertificateAuthority, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(10, 0, 0), Demonstration: true,
	}, rand.Reader)
	if err != nil {
		return nil, err
	}
	a.intermediates = []*pki.Certificate{issuing}
	for name, c := range map[string]*pki.Certificate{"root.der": a.root, "issuing.der": issuing} {
		if err := writeFile(filepath.Join(a.dir, name), c.Raw(), 0o644); err != nil {
			return nil, err
		}
	}
	return a, a.publishCRLs(ctx, nil)
}

// openAuthority reads the chain; the keystore is opened only when something is to be certified.
func openAuthority(dir string, demonstration bool, now func() time.Time, open func(ctx context.Context) (*softkey.Keystore, error)) (*authority, error) {
	a := &authority{dir: filepath.Join(dir, "ca"), demonstration: demonstration, now: now, open: open}
	read := func(name string) (*pki.Certificate, error) {
		b, err := os.ReadFile(filepath.Join(a.dir, name))
		if err != nil {
			return nil, err
		}
		return pki.ParseCertificate(b)
	}
	var err error
	if a.root, err = read("root.der"); err != nil {
		return nil, err
	}
	issuing, err := read("issuing.der")
	if err != nil {
		return nil, err
	}
	a.intermediates = []*pki.Certificate{issuing}
	return a, nil
}

// certify issues a certificate by the issuing CA. Only a demonstration authority certifies here.
func (a *authority) certify(ctx context.Context, t pki.Template, public *ecdsa.PublicKey) (*pki.Certificate, error) {
	if !a.demonstration {
		return nil, errors.New("this installation has no certificate authority of its own: bring the certificate from yours")
	}
	store, err := a.open(ctx)
	if err != nil {
		return nil, err
	}
	key, err := store.Key(issuingLabel)
	if err != nil {
		return nil, err
	}
	t.Demonstration = true
	return pki.Issue(ctx, key, a.intermediates[0], public, t, rand.Reader)
}

// revocation is one line of ca/revoked.json.
type revocation struct {
	Serial string    `json:"serial"` // decimal
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
}

func (a *authority) revocations() ([]revocation, error) {
	b, err := os.ReadFile(filepath.Join(a.dir, "revoked.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []revocation
	return list, json.Unmarshal(b, &list)
}

var errRevokedAlready = errors.New("it is revoked already")

// revoke adds a certificate to the list and publishes a new CRL. Reasons: keyCompromise, superseded, cessationOfOperation.
func (a *authority) revoke(ctx context.Context, c *pki.Certificate, reason string, at time.Time) error {
	list, err := a.revocations()
	if err != nil {
		return err
	}
	serial := c.SerialNumber().String()
	for _, r := range list {
		if r.Serial == serial {
			return fmt.Errorf("certificate %s: %w", serial, errRevokedAlready)
		}
	}
	list = append(list, revocation{serial, at.UTC().Truncate(time.Second), reason})
	b, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(a.dir, "revoked.json"), b, 0o644); err != nil {
		return err
	}
	return a.publishCRLs(ctx, list)
}

// publishCRLs writes ca/root.crl (empty) and ca/issuing.crl.
func (a *authority) publishCRLs(ctx context.Context, list []revocation) error {
	store, err := a.open(ctx)
	if err != nil {
		return err
	}
	var revoked []pki.Revoked
	for _, r := range list {
		serial, ok := new(big.Int).SetString(r.Serial, 10)
		if !ok {
			return fmt.Errorf("ca/revoked.json: %q is no serial number", r.Serial)
		}
		reason, err := pki.ParseReason(r.Reason)
		if err != nil {
			return err
		}
		revoked = append(revoked, pki.Revoked{Serial: serial, At: r.At, Reason: reason})
	}
	now := a.now().UTC().Truncate(time.Second)
	for _, p := range []struct {
		label, file string
		ca          *pki.Certificate
		revoked     []pki.Revoked
	}{{rootLabel, "root.crl", a.root, nil}, {issuingLabel, "issuing.crl", a.intermediates[0], revoked}} {
		key, err := store.Key(p.label)
		if err != nil {
			return err
		}
		der, err := pki.IssueCRL(ctx, key, p.ca, p.revoked, big.NewInt(now.Unix()), now, now.Add(crlValidity))
		if err != nil {
			return err
		}
		if err := writeFile(filepath.Join(a.dir, p.file), der, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// crlsUntil is by when the first of the published lists has to be followed by the next.
func (a *authority) crlsUntil() (first time.Time, ok bool) {
	lists, err := a.crls()
	if err != nil {
		return first, false
	}
	for _, der := range lists {
		list, err := pki.ParseCRL(der)
		if err != nil {
			return first, false
		}
		if !ok || list.NextUpdate().Before(first) {
			first, ok = list.NextUpdate(), true
		}
	}
	return first, ok
}

// crls returns the published lists, DER.
func (a *authority) crls() ([][]byte, error) {
	var out [][]byte
	for _, name := range []string{"root.crl", "issuing.crl"} {
		b, err := os.ReadFile(filepath.Join(a.dir, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	return out, nil
}
