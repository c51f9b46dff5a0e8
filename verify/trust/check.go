package trust

import (
	"errors"
	"fmt"

	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
	"github.com/elicence/elicence/verify/signedjson"
)

// Bounds that no honest file comes near; they keep a hostile one cheap.
const (
	maxAuthorities = 64      // roots, intermediates, CRLs, logs, cosigners, status certificates: each
	maxEntries     = 100_000 // organisations, certificates: each
	maxText        = 300     // bytes of a name
)

// index checks that the file agrees with itself and builds what look-ups need. One wrong entry refuses
// the whole file: an operator's slip must be seen at the operator's, not passed over at the reader's.
func (f *File) index() error {
	c := &f.content
	for _, check := range []func(*Content) error{checkHead, checkSizes, f.indexOrganisations,
		f.indexAuthorities, f.indexCertificates, f.indexLogs, f.indexStatus, f.indexCRLs} {
		if err := check(c); err != nil {
			return err
		}
	}
	return nil
}

func checkHead(c *Content) error {
	if !signedjson.Text(c.Name.ZH, maxText) || !signedjson.Text(c.Name.EN, maxText) {
		return errors.New("name: zh and en are needed")
	}
	if c.Sequence == 0 || c.Sequence > 1<<53 {
		return errors.New("sequence: out of range")
	}
	if c.Issued.Year() < 2000 || c.Expires.Year() > 9999 || !c.Expires.After(c.Issued) {
		return errors.New("expires: must be later than issued")
	}
	return nil
}

func checkSizes(c *Content) error {
	for _, l := range []struct {
		name     string
		n, least int
		most     int
	}{
		{"roots", len(c.Roots), 1, maxAuthorities},
		{"intermediates", len(c.Intermediates), 0, maxAuthorities},
		{"crls", len(c.CRLs), 0, maxAuthorities},
		{"logs", len(c.Logs), 0, maxAuthorities},
		{"cosigners", len(c.Cosigners), 0, maxAuthorities},
		{"status", len(c.Status), 0, maxAuthorities},
		{"productionRoots", len(c.ProductionRoots), 0, maxAuthorities},
		{"organisations", len(c.Organisations), 1, maxEntries},
		{"certificates", len(c.Certificates), 1, maxEntries},
	} {
		if l.n < l.least || l.n > l.most {
			return fmt.Errorf("%s: %d entries", l.name, l.n)
		}
	}
	return nil
}

func (f *File) indexOrganisations(c *Content) error {
	f.organisations = make(map[string]Organisation, len(c.Organisations))
	for i, o := range c.Organisations {
		for _, s := range []string{o.Code, o.Kind, o.Name, o.Region} {
			if !signedjson.Text(s, maxText) {
				return fmt.Errorf("organisations/%d: code, kind, name and region are needed", i)
			}
		}
		if _, twice := f.organisations[o.Code]; twice {
			return fmt.Errorf("organisations/%d: listed twice", i)
		}
		f.organisations[o.Code] = o
	}
	return nil
}

func (f *File) indexAuthorities(c *Content) error {
	seen := map[[32]byte]bool{}
	parse := func(list string, ders [][]byte) ([]*pki.Certificate, error) {
		var out []*pki.Certificate
		for i, der := range ders {
			cert, err := pki.ParseCertificate(der)
			if err != nil {
				return nil, fmt.Errorf("%s/%d: %w", list, i, err)
			}
			if !cert.IsCA() {
				return nil, fmt.Errorf("%s/%d: not a CA certificate", list, i)
			}
			if seen[cert.SM3()] {
				return nil, fmt.Errorf("%s/%d: listed twice", list, i)
			}
			seen[cert.SM3()] = true
			out = append(out, cert)
		}
		return out, nil
	}
	var err error
	if f.roots, err = parse("roots", c.Roots); err != nil {
		return err
	}
	roots := map[[32]byte]bool{}
	for i, root := range f.roots {
		if err := root.CheckSignedBy(root); err != nil {
			return fmt.Errorf("roots/%d: not self-signed: %w", i, err)
		}
		roots[root.SM3()] = true
	}
	if f.intermediates, err = parse("intermediates", c.Intermediates); err != nil {
		return err
	}
	f.production = make(map[[32]byte]bool)
	for i, sum := range c.ProductionRoots {
		if !roots[sum] || f.production[sum] {
			return fmt.Errorf("productionRoots/%d: not one of roots, or listed twice", i)
		}
		f.production[sum] = true
	}
	if c.Specimen && len(c.ProductionRoots) > 0 {
		return errors.New("productionRoots: a demonstration scheme has none")
	}
	return nil
}

func (f *File) indexCertificates(c *Content) error {
	f.entries = make(map[[32]byte]*Entry, len(c.Certificates))
	for i, e := range c.Certificates {
		cert, err := pki.ParseCertificate(e.Certificate)
		if err != nil {
			return fmt.Errorf("certificates/%d: %w", i, err)
		}
		org, ok := f.organisations[e.Organisation]
		if !ok || cert.OrganisationCode() != org.Code {
			return fmt.Errorf("certificates/%d: organisation is not listed or not the certificate's", i)
		}
		switch p := purpose.Purpose(e.Purpose); p {
		case purpose.Documents, purpose.Events, purpose.Checkpoints, purpose.StatusLists:
			if !may(cert, p) {
				return fmt.Errorf("certificates/%d: the certificate is for %q", i, cert.Purpose())
			}
		default:
			return fmt.Errorf("certificates/%d: unknown purpose", i)
		}
		if !e.From.IsZero() && !e.Until.IsZero() && !e.Until.After(e.From) {
			return fmt.Errorf("certificates/%d: until must be later than from", i)
		}
		if _, twice := f.entries[cert.SM3()]; twice {
			return fmt.Errorf("certificates/%d: listed twice", i)
		}
		f.entries[cert.SM3()] = &Entry{Certificate: cert, Organisation: org,
			Purpose: purpose.Purpose(e.Purpose), From: e.From, Until: e.Until}
	}
	return nil
}

// may: a certificate that names a purpose is held to it. One of a production CA may name none of ours; there
// the operator's entry alone says what it is for.
func may(cert *pki.Certificate, p purpose.Purpose) bool {
	return !cert.IsCA() && (cert.Purpose() == p || cert.Purpose() == "" && !cert.Demonstration())
}

func (f *File) indexLogs(c *Content) error {
	seen := map[Log]bool{}
	for i, l := range c.Logs {
		e, ok := f.entries[l.Certificate]
		if !ok || e.Purpose != purpose.Checkpoints {
			return fmt.Errorf("logs/%d: certificate is not listed for checkpoints", i)
		}
		if !signedjson.Text(l.Origin, maxText) || seen[l] {
			return fmt.Errorf("logs/%d: origin is missing, or the same log and certificate are listed twice", i)
		}
		seen[l] = true
	}
	names, keys, orgs := map[string]bool{}, map[[32]byte]bool{}, map[string]bool{}
	for i, s := range c.Cosigners {
		cert, err := pki.ParseCertificate(s.Certificate)
		if err != nil {
			return fmt.Errorf("cosigners/%d: %w", i, err)
		}
		org, ok := f.organisations[s.Organisation]
		if !ok || cert.OrganisationCode() != org.Code || !may(cert, purpose.Checkpoints) {
			return fmt.Errorf("cosigners/%d: not a certificate for checkpoints of a listed organisation", i)
		}
		// Two names or two certificates of one key would let one party count twice.
		key := pki.PublicKeySM3(cert.PublicKey())
		if !signedjson.Text(s.Name, maxText) || names[s.Name] || keys[key] {
			return fmt.Errorf("cosigners/%d: name is missing, or name or key is listed twice", i)
		}
		names[s.Name], keys[key], orgs[org.Code] = true, true, true
		f.cosigners = append(f.cosigners, &CosignerEntry{Name: s.Name, Organisation: org, Certificate: cert})
	}
	if c.CosignaturesNeeded < 0 || c.CosignaturesNeeded > len(orgs) || (len(c.Logs) > 0 && c.CosignaturesNeeded == 0) {
		return errors.New("cosignaturesNeeded: fewer than one, or more than there are organisations that cosign")
	}
	return nil
}

func (f *File) indexStatus(c *Content) error {
	seen := map[SM3]bool{}
	for i, s := range c.Status {
		e, ok := f.entries[s.Certificate]
		if !ok || e.Purpose != purpose.StatusLists || seen[s.Certificate] {
			return fmt.Errorf("status/%d: certificate is not listed for status lists, or twice", i)
		}
		seen[s.Certificate] = true
		issuers := map[string]bool{}
		for _, code := range s.Issuers {
			if _, ok := f.organisations[code]; !ok || issuers[code] {
				return fmt.Errorf("status/%d: issuer is not listed, or twice", i)
			}
			issuers[code] = true
		}
	}
	return nil
}

// indexCRLs takes only lists that a CA of this file has signed.
func (f *File) indexCRLs(c *Content) error {
	for i, der := range c.CRLs {
		crl, err := pki.ParseCRL(der)
		if err != nil {
			return fmt.Errorf("crls/%d: %w", i, err)
		}
		if f.signerOf(crl) == nil {
			return fmt.Errorf("crls/%d: no CA of this file has signed it", i)
		}
		f.crls = append(f.crls, crl)
	}
	return nil
}

func (f *File) signerOf(crl *pki.CRL) *pki.Certificate {
	for _, cas := range [][]*pki.Certificate{f.roots, f.intermediates} {
		for _, ca := range cas {
			if crl.CheckSignedBy(ca) == nil {
				return ca
			}
		}
	}
	return nil
}
