package fabric

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/credentials"
)

// ErrExpired says that a call failed while a certificate that it needs has expired; an *Expired has which.
var ErrExpired = errors.New("fabric: a certificate has expired")

// Expired names a certificate that has expired. It is the reason of a failure and never one by itself: whose clock counts is
// the peer's, so nothing is refused here that the peer might still take.
type Expired struct {
	Member   string // MSP id of the organisation that has to renew it
	What     string // which of its certificates
	Where    string // the file here, or the address that showed it
	Subject  string // common name in it
	NotAfter time.Time
}

func (e *Expired) Error() string {
	return fmt.Sprintf("fabric: the %s of %s expired on %s: %s (%s)", e.What, e.Member, e.NotAfter.UTC().Format("2006-01-02 15:04 MST"), e.Where, e.Subject)
}

// Unwrap is for errors.Is.
func (e *Expired) Unwrap() error { return ErrExpired }

// expiry knows the certificates that a connection depends on. It is safe for concurrent use.
type expiry struct {
	at     Endpoint
	client *x509.Certificate
	server atomic.Pointer[Expired] // what the last handshake with the peer found
}

func newExpiry(at Endpoint) (*expiry, error) {
	b, err := os.ReadFile(at.Cert)
	if err != nil {
		return nil, fmt.Errorf("fabric: identity: %w", err)
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("fabric: identity: %s holds no certificate", at.Cert)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("fabric: identity: %s: %w", at.Cert, err)
	}
	return &expiry{at: at, client: c}, nil
}

// because adds to why a call failed which certificate has expired, if one has.
func (x *expiry) because(err error) error {
	if err == nil {
		return nil
	}
	if e := x.server.Load(); e != nil {
		return fmt.Errorf("%w: %w", e, err)
	}
	// A peer says so itself before it takes a proposal, and closes the stream of blocks without a word.
	if time.Now().After(x.client.NotAfter) || strings.Contains(err.Error(), "client identity expired") {
		return fmt.Errorf("%w: %w", x.ofClient(), err)
	}
	return err
}

func (x *expiry) ofClient() *Expired {
	return &Expired{Member: x.at.Member, What: "client certificate", Where: x.at.Cert, Subject: x.client.Subject.CommonName, NotAfter: x.client.NotAfter}
}

// watch has every handshake with the peer looked at.
func (x *expiry) watch(c credentials.TransportCredentials) credentials.TransportCredentials {
	return watched{TransportCredentials: c, expiry: x}
}

type watched struct {
	credentials.TransportCredentials
	expiry *expiry
}

// ClientHandshake is credentials.TransportCredentials.
func (w watched) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, info, err := w.TransportCredentials.ClientHandshake(ctx, authority, raw)
	var invalid x509.CertificateInvalidError
	switch {
	case err == nil:
		w.expiry.server.Store(nil)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && time.Now().After(invalid.Cert.NotAfter): // else it is not valid yet
		e := &Expired{
			Member: w.expiry.at.Member, What: "peer's TLS certificate", Where: w.expiry.at.Address,
			Subject: invalid.Cert.Subject.CommonName, NotAfter: invalid.Cert.NotAfter,
		}
		if invalid.Cert.IsCA {
			e.What, e.Where = "TLS authority's certificate", w.expiry.at.ServerCA
		}
		w.expiry.server.Store(e)
	}
	return c, info, err
}

// Clone is credentials.TransportCredentials.
func (w watched) Clone() credentials.TransportCredentials {
	return watched{TransportCredentials: w.TransportCredentials.Clone(), expiry: w.expiry}
}
