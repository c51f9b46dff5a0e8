package network

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/elicence/elicence/ledger/fabric/transaction"
)

// Transport identities of Fabric are X.509 certificates with ECDSA P-256 keys. They say who sends; who *acts* is said by
// the SM2 signature in each event.

// validity of all certificates of a laboratory network.
const validity = 10 * 365 * 24 * time.Hour

// attributes is the extension in which Fabric CA puts attributes of a client.
var attributes = asn1.ObjectIdentifier{1, 2, 3, 4, 5, 6, 7, 8, 1}

// authority is a certificate authority of one organisation.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// pair is a certificate with its key, in PEM.
type pair struct{ certificate, key []byte }

func newAuthority(name, organisation string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name, Organization: []string{organisation}}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
	}
	der, err := sign(template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	return &authority{certificate: certificate, key: key}, err
}

// sign makes a certificate. Its signature may have a high S: nothing in the network minds, nor does either connector.
func sign(template, parent *x509.Certificate, public *ecdsa.PublicKey, key *ecdsa.PrivateKey) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	template.NotBefore = time.Now().Add(-5 * time.Minute)
	template.NotAfter = template.NotBefore.Add(validity)
	return x509.CreateCertificate(rand.Reader, template, parent, public, key)
}

// issue makes a certificate for somebody of the organisation. unit is Fabric's role: peer, orderer, admin or client. code
// narrows a client to one organisation's events.
func (a *authority) issue(name, unit, code string, server bool) (pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, err
	}
	template := &x509.Certificate{
		Subject:  pkix.Name{CommonName: name, Organization: a.certificate.Subject.Organization},
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
	}
	if unit != "" {
		template.Subject.OrganizationalUnit = []string{unit}
	}
	if server {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
		template.DNSNames, template.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	if code != "" {
		value, err := json.Marshal(map[string]any{"attrs": map[string]string{transaction.OrganisationAttribute: code}})
		if err != nil {
			return pair{}, err
		}
		template.ExtraExtensions = []pkix.Extension{{Id: attributes, Value: value}}
	}
	der, err := sign(template, a.certificate, &key.PublicKey, a.key)
	if err != nil {
		return pair{}, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return pair{}, err
	}
	return pair{
		certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}),
	}, nil
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw})
}

// trustees are the two authorities of an organisation: of its identities and of its TLS.
type trustees struct {
	folder          string
	identities, tls *authority
}

func newTrustees(folder, organisation string) (*trustees, error) {
	identities, err := newAuthority("ca."+organisation, organisation)
	if err != nil {
		return nil, err
	}
	tls, err := newAuthority("tlsca."+organisation, organisation)
	if err != nil {
		return nil, err
	}
	t := &trustees{folder: folder, identities: identities, tls: tls}
	return t, errors.Join(t.member(filepath.Join(folder, "msp")), write(filepath.Join(folder, "tlsca.pem"), tls.pem()))
}

const nodeUnits = `NodeOUs:
  Enable: true
  ClientOUIdentifier: {OrganizationalUnitIdentifier: client}
  PeerOUIdentifier: {OrganizationalUnitIdentifier: peer}
  AdminOUIdentifier: {OrganizationalUnitIdentifier: admin}
  OrdererOUIdentifier: {OrganizationalUnitIdentifier: orderer}
`

// member writes what every MSP folder of the organisation has.
func (t *trustees) member(msp string) error {
	return errors.Join(
		write(filepath.Join(msp, "cacerts", "ca.pem"), t.identities.pem()),
		write(filepath.Join(msp, "tlscacerts", "tlsca.pem"), t.tls.pem()),
		write(filepath.Join(msp, "config.yaml"), []byte(nodeUnits)),
	)
}

// identity writes the MSP folder of somebody of the organisation.
func (t *trustees) identity(name, unit, code string) error {
	p, err := t.identities.issue(name, unit, code, false)
	if err != nil {
		return err
	}
	msp := filepath.Join(t.folder, name, "msp")
	return errors.Join(
		t.member(msp),
		write(filepath.Join(msp, "signcerts", "cert.pem"), p.certificate),
		write(filepath.Join(msp, "keystore", "key_sk"), p.key),
	)
}

// node is identity with TLS, for a server on loopback.
func (t *trustees) node(name, unit string) error {
	if err := t.identity(name, unit, ""); err != nil {
		return err
	}
	p, err := t.tls.issue(name, "", "", true)
	if err != nil {
		return err
	}
	tls := filepath.Join(t.folder, name, "tls")
	return errors.Join(
		write(filepath.Join(tls, "server.crt"), p.certificate),
		write(filepath.Join(tls, "server.key"), p.key),
		write(filepath.Join(tls, "ca.crt"), t.tls.pem()),
	)
}

func write(path string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		return fmt.Errorf("network: %w", err)
	}
	return nil
}
