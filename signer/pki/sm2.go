// Package pki is the certificates behind signatures: SM2 certificates and revocation lists in strict DER (GM/T 0015,
// RFC 5280), their paths, and the demonstration authority's way to make them.
package pki

import (
	"bytes"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"math/big"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/sm3"
	"github.com/emmansun/gmsm/smx509"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// signerID is GM/T 0009-2012, 10: the identity of every signer, constant.
const signerID = "1234567812345678"

// ErrSignature says that a signature is not the key's over this message.
var ErrSignature = errors.New("pki: the signature does not verify")

// ErrPublicKey says that something is not an SM2 public key in its one encoding.
var ErrPublicKey = errors.New("pki: not an SM2 public key")

// VerifyRS checks r‖s (64 bytes) over message with SM2 and SM3 (GB/T 32918.2-2016, 7). ErrSignature for everything but
// a good signature, also for a key that is no point of the curve. It never panics and is safe for concurrent use; calls
// with the same *ecdsa.PublicKey are faster than with copies.
func VerifyRS(pub *ecdsa.PublicKey, message, rs []byte) error {
	if len(rs) != 64 {
		return fmt.Errorf("%w: %d bytes", ErrSignature, len(rs))
	}
	if !isSM2(pub) {
		return fmt.Errorf("%w: not an SM2 key", ErrSignature)
	}
	der, err := SignatureDER(rs)
	if err != nil {
		return err
	}
	// r and s of 0 or beyond the order, and t = 0, are refused inside.
	if !sm2.VerifyASN1WithSM2(pub, []byte(signerID), message, der) {
		return ErrSignature
	}
	return nil
}

// SignatureDER turns r‖s into the SEQUENCE { r, s } of GM/T 0009-2012, 7: at most 72 bytes. ErrSignature unless rs is 64
// bytes.
func SignatureDER(rs []byte) ([]byte, error) {
	if len(rs) != 64 {
		return nil, fmt.Errorf("%w: %d bytes", ErrSignature, len(rs))
	}
	b := append(make([]byte, 0, 72), 0x30, 0) // the length, always below 128, is filled in last
	for _, half := range [][]byte{rs[:32], rs[32:]} {
		for len(half) > 1 && half[0] == 0 {
			half = half[1:]
		}
		if half[0]&0x80 != 0 {
			b = append(b, 2, byte(len(half)+1), 0)
		} else {
			b = append(b, 2, byte(len(half)))
		}
		b = append(b, half...)
	}
	b[1] = byte(len(b) - 2)
	return b, nil
}

// SignatureRS is the way back; ErrSignature for any DER that SignatureDER would not write of positive numbers.
func SignatureRS(der []byte) ([]byte, error) {
	in := cryptobyte.String(der)
	var seq cryptobyte.String
	var r, s big.Int
	if !in.ReadASN1(&seq, asn1.SEQUENCE) || !in.Empty() || !seq.ReadASN1Integer(&r) || !seq.ReadASN1Integer(&s) ||
		!seq.Empty() || r.Sign() <= 0 || s.Sign() <= 0 || r.BitLen() > 256 || s.BitLen() > 256 {
		return nil, fmt.Errorf("%w: not SEQUENCE { r, s } in DER", ErrSignature)
	}
	rs := make([]byte, 64)
	r.FillBytes(rs[:32])
	s.FillBytes(rs[32:])
	return rs, nil
}

// MarshalPublicKey returns the DER SubjectPublicKeyInfo: 91 bytes. ErrPublicKey if pub is no point of the SM2 curve.
func MarshalPublicKey(pub *ecdsa.PublicKey) ([]byte, error) {
	if !isSM2(pub) {
		return nil, ErrPublicKey
	}
	if _, err := sm2.PublicKeyToECDH(pub); err != nil { // smx509 writes any pair of numbers
		return nil, fmt.Errorf("%w: %w", ErrPublicKey, err)
	}
	return smx509.MarshalPKIXPublicKey(pub)
}

// ParsePublicKey reads a DER SubjectPublicKeyInfo with an SM2 key. Any other key, and any other encoding of one, is
// ErrPublicKey.
func ParsePublicKey(der []byte) (*ecdsa.PublicKey, error) {
	if len(der) > 128 {
		return nil, fmt.Errorf("%w: %d bytes", ErrPublicKey, len(der))
	}
	key, err := smx509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPublicKey, err)
	}
	pub, ok := key.(*ecdsa.PublicKey)
	if !ok {
		return nil, ErrPublicKey
	}
	again, err := MarshalPublicKey(pub)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, der) {
		return nil, fmt.Errorf("%w: another encoding", ErrPublicKey)
	}
	return pub, nil
}

// isSM2 keeps keys away from the library that would make it panic.
func isSM2(pub *ecdsa.PublicKey) bool {
	//nolint:staticcheck // there is no other way to see that the coordinates are missing
	return pub != nil && pub.Curve == sm2.P256() && pub.X != nil && pub.Y != nil && pub.X.Sign() >= 0 && pub.Y.Sign() >= 0
}

// PublicKeySM3 is SM3 of the DER SubjectPublicKeyInfo; zero for a key that is not SM2.
func PublicKeySM3(pub *ecdsa.PublicKey) [32]byte {
	der, err := MarshalPublicKey(pub)
	if err != nil {
		return [32]byte{}
	}
	return sm3.Sum(der)
}
