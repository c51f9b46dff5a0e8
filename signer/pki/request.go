package pki

import (
	"context"
	"crypto/ecdsa"
	"fmt"

	"github.com/elicence/elicence/signer"
	"github.com/elicence/elicence/signer/purpose"
	"github.com/emmansun/gmsm/smx509"
)

// NewRequest makes a PKCS#10 certification request (RFC 2986; GM/T 0092) for key, whose public half is public: DER. Of t only the
// names are asked for: what the certificate is to be for is the authority's to write. ErrTemplate if the names cannot be asked for,
// ErrPublicKey for another kind of key. The new signature is checked before the request is returned.
func NewRequest(ctx context.Context, key signer.Key, public *ecdsa.PublicKey, t Template) ([]byte, error) {
	if t.CommonName == "" {
		return nil, fmt.Errorf("%w: a request needs a common name", ErrTemplate)
	}
	if !isSM2(public) {
		return nil, ErrPublicKey
	}
	der, err := smx509.CreateCertificateRequest(nil, &smx509.CertificateRequest{Subject: t.subject(), SignatureAlgorithm: smx509.SM2WithSM3},
		keySigner{ctx, key, purpose.Request, public})
	if err != nil {
		return nil, fmt.Errorf("pki: request: %w", err)
	}
	return der, nil
}
