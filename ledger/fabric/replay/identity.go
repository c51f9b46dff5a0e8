package replay

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/elicence/elicence/ledger/fabric/protos"
)

// member is an organisation of the channel as its configuration describes it: Fabric's MSP.
type member struct {
	name                 string
	roots, intermediates *x509.CertPool
	admins               [][]byte // certificates that are admins by name
	revoked              []*x509.RevocationList
	// units are the organisational units that make somebody client, peer, admin or orderer; nil if the member does not tell them apart.
	units map[protos.MSPRole_MSPRoleType]string
	needs []string // one of these units is needed; empty: none
}

func newMember(raw []byte) (*member, error) {
	var outer protos.MSPConfig
	var c protos.FabricMSPConfig
	if err := errors.Join(protos.Unmarshal(raw, &outer), protos.Unmarshal(outer.GetConfig(), &c)); err != nil {
		return nil, err
	}
	if outer.GetType() != 0 { // X.509; another kind cannot be checked here
		return nil, fmt.Errorf("an MSP of type %d", outer.GetType())
	}
	m := &member{name: c.GetName(), roots: x509.NewCertPool(), intermediates: x509.NewCertPool()}
	for _, into := range []struct {
		certificates [][]byte
		pool         *x509.CertPool
	}{{c.GetRootCerts(), m.roots}, {c.GetIntermediateCerts(), m.intermediates}} {
		for _, p := range into.certificates {
			certificate, err := parsePEM(p)
			if err != nil {
				return nil, err
			}
			into.pool.AddCert(certificate)
		}
	}
	for _, p := range c.GetAdmins() {
		certificate, err := parsePEM(p)
		if err != nil {
			return nil, err
		}
		m.admins = append(m.admins, certificate.Raw)
	}
	for _, p := range c.GetRevocationList() {
		der := p
		if b, _ := pem.Decode(p); b != nil {
			der = b.Bytes
		}
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			return nil, err
		}
		m.revoked = append(m.revoked, list)
	}
	for _, u := range c.GetOrganizationalUnitIdentifiers() {
		m.needs = append(m.needs, u.GetOrganizationalUnitIdentifier())
	}
	if n := c.GetFabricNodeOus(); n.GetEnable() {
		m.units = map[protos.MSPRole_MSPRoleType]string{}
		for role, u := range map[protos.MSPRole_MSPRoleType]*protos.FabricOUIdentifier{
			protos.MSPRole_CLIENT: n.GetClientOuIdentifier(), protos.MSPRole_PEER: n.GetPeerOuIdentifier(),
			protos.MSPRole_ADMIN: n.GetAdminOuIdentifier(), protos.MSPRole_ORDERER: n.GetOrdererOuIdentifier(),
		} {
			if u != nil {
				m.units[role] = u.GetOrganizationalUnitIdentifier()
			}
		}
	}
	return m, nil
}

func parsePEM(p []byte) (*x509.Certificate, error) {
	b, _ := pem.Decode(p)
	if b == nil || b.Type != "CERTIFICATE" {
		return nil, errors.New("not a certificate in PEM")
	}
	return x509.ParseCertificate(b.Bytes)
}

// identity is somebody whom a member of the channel certifies.
type identity struct {
	member      *member
	certificate *x509.Certificate
}

// admit makes sure that the member certifies somebody, as a peer does it: at whatever time, because blocks are read for ever;
// a certificate on a revocation list of the configuration in force is none.
func (m *member) admit(certificate *x509.Certificate) error {
	if certificate.IsCA {
		return errors.New("a certificate of an authority")
	}
	chains, err := certificate.Verify(x509.VerifyOptions{
		Roots: m.roots, Intermediates: m.intermediates, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		CurrentTime: certificate.NotBefore.Add(time.Second),
	})
	if err != nil {
		return err
	}
	issuer := chains[0][1]
	for _, list := range m.revoked {
		if !bytes.Equal(list.AuthorityKeyId, issuer.SubjectKeyId) || list.CheckSignatureFrom(issuer) != nil {
			continue
		}
		for _, r := range list.RevokedCertificateEntries {
			if r.SerialNumber.Cmp(certificate.SerialNumber) == 0 {
				return errors.New("a revoked certificate")
			}
		}
	}
	has := certificate.Subject.OrganizationalUnit
	if len(m.needs) > 0 && !slices.ContainsFunc(m.needs, func(u string) bool { return slices.Contains(has, u) }) {
		return errors.New("a certificate without the units that the member needs")
	}
	if m.units != nil {
		roles := 0
		for _, u := range m.units {
			if slices.Contains(has, u) {
				roles++
			}
		}
		if roles != 1 {
			return fmt.Errorf("a certificate of %d roles", roles)
		}
	}
	return nil
}

// has tells whether somebody has a role of the member.
func (i *identity) has(role protos.MSPRole_MSPRoleType) bool {
	if role == protos.MSPRole_MEMBER {
		return true
	}
	if role == protos.MSPRole_ADMIN && slices.ContainsFunc(i.member.admins, func(raw []byte) bool { return bytes.Equal(raw, i.certificate.Raw) }) {
		return true
	}
	unit, known := i.member.units[role]
	return known && slices.Contains(i.certificate.Subject.OrganizationalUnit, unit)
}

// satisfies a principal of a policy.
func (i *identity) satisfies(p *protos.MSPPrincipal) bool {
	switch p.GetPrincipalClassification() {
	case protos.MSPPrincipal_ROLE:
		var r protos.MSPRole
		return protos.Unmarshal(p.GetPrincipal(), &r) == nil && r.GetMspIdentifier() == i.member.name && i.has(r.GetRole())
	case protos.MSPPrincipal_IDENTITY:
		var s protos.SerializedIdentity
		if protos.Unmarshal(p.GetPrincipal(), &s) != nil || s.GetMspid() != i.member.name {
			return false
		}
		c, err := parsePEM(s.GetIdBytes())
		return err == nil && bytes.Equal(c.Raw, i.certificate.Raw)
	default: // the other kinds are not used where a block's signatures are concerned; who does not satisfy is no signer
		return false
	}
}

// attributes is the extension in which Fabric CA puts attributes: {"attrs": {name: value}}.
var attributes = asn1.ObjectIdentifier{1, 2, 3, 4, 5, 6, 7, 8, 1}

// attribute is "" for one that the certificate does not have.
func (i *identity) attribute(name string) (string, error) {
	for _, e := range i.certificate.Extensions {
		if !e.Id.Equal(attributes) {
			continue
		}
		var said struct {
			Attrs map[string]string `json:"attrs"`
		}
		if err := json.Unmarshal(e.Value, &said); err != nil {
			return "", errors.New("its attributes cannot be read")
		}
		return said.Attrs[name], nil
	}
	return "", nil
}

// verify checks a signature over SHA-256 of a message.
func (i *identity) verify(message, signature []byte) bool {
	switch key := i.certificate.PublicKey.(type) {
	case *ecdsa.PublicKey:
		digest := sha256.Sum256(message)
		return isLow(key, signature) && ecdsa.VerifyASN1(key, digest[:], signature)
	case ed25519.PublicKey:
		return ed25519.Verify(key, message, signature)
	default:
		return false
	}
}

// isLow: peers and orderers refuse the other one of the two values that every ECDSA signature has.
func isLow(key *ecdsa.PublicKey, signature []byte) bool {
	var s struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(signature, &s)
	return err == nil && len(rest) == 0 && s.S.Cmp(new(big.Int).Rsh(key.Params().N, 1)) <= 0
}
