package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
	"github.com/elicence/elicence/verify"
	"github.com/elicence/elicence/verify/status"
	"github.com/elicence/elicence/verify/trust"
)

// publishTrust makes the next trust file from what the installation has: chain, organisations, certificates, CRLs.
func (i *installation) publishTrust(ctx context.Context) error {
	i.publishing.Lock()
	defer i.publishing.Unlock()
	sequence := uint64(1)
	if old, err := i.readTrust(); err == nil {
		sequence = old.Sequence() + 1
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	content, err := i.trustContent(ctx, sequence)
	if err != nil {
		return err
	}
	operator, err := i.keyring.Current(ctx, i.config.Operator, purpose.TrustFiles)
	if err != nil {
		return err
	}
	b, err := trust.Sign(ctx, operator.Key, operator.Leaf().PublicKey(), content)
	if err != nil {
		return err
	}
	folder := filepath.Join(i.dir, "publish")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	if err := writeFile(filepath.Join(folder, "trust.json"), b, 0o644); err != nil {
		return err
	}
	pin := fmt.Sprintf("%x\n", pki.PublicKeySM3(operator.Leaf().PublicKey()))
	return writeFile(filepath.Join(i.dir, "trust.pin"), []byte(pin), 0o644)
}

func (i *installation) trustContent(ctx context.Context, sequence uint64) (trust.Content, error) {
	now := i.app.now().Truncate(time.Second)
	c := trust.Content{
		Name: trust.Name{ZH: i.config.Name.ZH, EN: i.config.Name.EN}, Specimen: i.config.Demonstration, Sequence: sequence,
		Issued: now, Expires: now.Add(i.config.Trust.Validity), CosignaturesNeeded: i.config.Ledger.Needed,
		Roots: [][]byte{i.chain.root.Raw()},
	}
	if !i.config.Demonstration {
		c.ProductionRoots = []trust.SM3{i.chain.root.SM3()}
	}
	for _, ca := range i.chain.intermediates {
		c.Intermediates = append(c.Intermediates, ca.Raw())
	}
	var err error
	if c.CRLs, err = i.chain.crls(); err != nil {
		return c, err
	}
	organisations, err := i.db.Organisations(ctx)
	if err != nil {
		return c, err
	}
	for _, o := range organisations {
		c.Organisations = append(c.Organisations, trust.Organisation{Code: o.Code, Kind: o.Kind, Name: o.Name, Region: o.Region})
	}
	cosigners := map[string]bool{}
	for _, code := range i.config.Ledger.Cosigners {
		cosigners[code] = true
	}
	for _, e := range i.keyring.all() {
		p := e.certificate.Purpose()
		switch {
		case p == purpose.Checkpoints && cosigners[e.organisation]:
			c.Cosigners = append(c.Cosigners, trust.Cosigner{Certificate: e.certificate.Raw(), Name: cosignerName(e.organisation), Organisation: e.organisation})
			continue
		case p == purpose.Checkpoints:
			c.Logs = append(c.Logs, trust.Log{Certificate: e.certificate.SM3(), Origin: i.config.Ledger.Origin})
		case p == purpose.StatusLists:
			c.Status = append(c.Status, trust.Status{Certificate: e.certificate.SM3()})
		case p != purpose.Documents && p != purpose.Events:
			continue
		}
		c.Certificates = append(c.Certificates, trust.Certificate{Certificate: e.certificate.Raw(), Organisation: e.organisation, Purpose: string(p)})
	}
	return c, nil
}

func (i *installation) readTrust() (*trust.File, error) {
	b, err := os.ReadFile(filepath.Join(i.dir, "publish", "trust.json"))
	if err != nil {
		return nil, fmt.Errorf("trust file: %w", err)
	}
	return trust.Parse(b)
}

func (i *installation) readStatus() (*status.List, error) {
	b, err := os.ReadFile(filepath.Join(i.dir, "publish", "status.json"))
	if err != nil {
		return nil, err
	}
	return status.Parse(b)
}

// pin is the SM3 of the operator's public key, kept apart from the trust file that it vouches for.
func (i *installation) pin() (trust.SM3, error) {
	b, err := os.ReadFile(filepath.Join(i.dir, "trust.pin"))
	if err != nil {
		return trust.SM3{}, fmt.Errorf("trust pin: %w", err)
	}
	for len(b) > 0 && b[len(b)-1] == '\n' {
		b = b[:len(b)-1]
	}
	return trust.ParseSM3(string(b))
}

// newVerifier verifies with this installation's own published and pinned trust file.
func (i *installation) newVerifier(list *status.List) (*verify.Verifier, error) {
	t, err := i.readTrust()
	if err != nil {
		return nil, err
	}
	pin, err := i.pin()
	if err != nil {
		return nil, err
	}
	if err := t.CheckPin(pin); err != nil {
		return nil, err
	}
	return verify.New(t, verify.Options{Pin: &pin, Status: list, StatusMaxAge: i.config.Status.Validity, Now: i.app.now})
}

// currentVerifier has the status of this moment, from the records, in it: custody steps must not go by an old list.
func (i *installation) currentVerifier(ctx context.Context) (*verify.Verifier, error) {
	if err := i.publishStatus(ctx); err != nil {
		return nil, err
	}
	list, err := i.readStatus()
	if err != nil {
		return nil, err
	}
	return i.newVerifier(list)
}

// publishStatus writes the next status list. A list says nothing of licences that were issued after it, beyond that
// their place is in force, so it is made after every change.
func (i *installation) publishStatus(ctx context.Context) error {
	i.publishing.Lock()
	defer i.publishing.Unlock()
	ended, err := i.db.NotInForce(ctx)
	if err != nil {
		return err
	}
	number, err := i.db.NextStatusNumber(ctx)
	if err != nil {
		return err
	}
	signing, err := i.keyring.Current(ctx, i.config.Registrar, purpose.StatusLists)
	if err != nil {
		return err
	}
	states := make(map[uint64]status.State, len(ended))
	for index, s := range ended {
		states[index] = stateWord(s)
	}
	now := i.app.now().Truncate(time.Second)
	b, err := status.Sign(ctx, signing.Key, signing.Leaf(), status.Content{
		Capacity: i.config.Status.Space, Number: number, Issued: now, Expires: now.Add(i.config.Status.Validity), States: states,
	})
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(i.dir, "publish", "status.json"), b, 0o644)
}

func stateWord(s issuing.Status) status.State {
	switch s {
	case issuing.Revoked:
		return status.Revoked
	case issuing.Superseded:
		return status.Superseded
	case issuing.InForce:
		return status.InForce
	}
	return status.Revoked
}
