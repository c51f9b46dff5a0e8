// Package trust is trust.json: the one file that says whom a reader trusts. The scheme operator signs
// it; a reader gets it from the operator, never from beside the PDF, and pins the operator's public key
// by its SM3. The format is docs/formats/trust.md.
package trust

import (
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// Format names the format, its version and the first line of the signed message.
const Format = "elicence/trust/1"

// MaxFile bounds the file in bytes: some 30,000 certificates.
const MaxFile = 32 << 20

var (
	// ErrFormat says that bytes are not a trust file of this format.
	ErrFormat = errors.New("not a trust file")
	// ErrSignature says that a file is not what the public key inside it has signed.
	ErrSignature = errors.New("the trust file's signature does not verify")
	// ErrPin says that a file is signed by another key than the one that the reader pinned.
	ErrPin = errors.New("the trust file is not the pinned operator's")
)

// SM3 is a digest, in the file 64 lower-case hex digits.
type SM3 [32]byte

// MarshalText writes lower-case hex.
func (d SM3) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(d[:])), nil }

// UnmarshalText reads 64 hex digits.
func (d *SM3) UnmarshalText(b []byte) error {
	if len(b) != 64 {
		return errors.New("not 64 hex digits")
	}
	_, err := hex.Decode(d[:], b)
	return err
}

// String is lower-case hex.
func (d SM3) String() string { return hex.EncodeToString(d[:]) }

// ParseSM3 reads a digest as people type it: 64 hex digits, either case.
func ParseSM3(s string) (SM3, error) {
	var d SM3
	if err := d.UnmarshalText([]byte(s)); err != nil {
		return SM3{}, fmt.Errorf("SM3 digest: %w", err)
	}
	return d, nil
}

// Content is what the operator says. Times are whole seconds, written in UTC+08:00. DER is base64.
// The fields stand in the order of their JSON names: that order is the canonical encoding.
type Content struct {
	// Certificates are all signing certificates there are. One that is not listed is not trusted, even
	// if its path ends at a root: a CA that was talked into a certificate is not enough to forge.
	Certificates []Certificate `json:"certificates"`
	// CosignaturesNeeded is how many organisations other than the signer must have cosigned a checkpoint
	// before its time is proven.
	CosignaturesNeeded int        `json:"cosignaturesNeeded"`
	Cosigners          []Cosigner `json:"cosigners"`
	// CRLs are one revocation list for each CA, DER.
	CRLs          [][]byte       `json:"crls"`
	Expires       time.Time      `json:"expires"`
	Intermediates [][]byte       `json:"intermediates"`
	Issued        time.Time      `json:"issued"`
	Logs          []Log          `json:"logs"`
	Name          Name           `json:"name"`
	Organisations []Organisation `json:"organisations"`
	// ProductionRoots names those of Roots whose licences are real. Under any other root every licence
	// is a specimen, whatever its certificate says.
	ProductionRoots []SM3    `json:"productionRoots"`
	Roots           [][]byte `json:"roots"`
	// Sequence grows from file to file; of two files the greater sequence is the newer.
	Sequence uint64 `json:"sequence"`
	// Specimen says that the whole scheme is a demonstration: ProductionRoots is empty then.
	Specimen bool     `json:"specimen"`
	Status   []Status `json:"status"`
}

// Name is the scheme's name, printed with every verdict.
type Name struct {
	EN string `json:"en"`
	ZH string `json:"zh"`
}

// Organisation may appear as an issuer, an actor of events or a cosigner.
type Organisation struct {
	Code   string `json:"code"` // unified social credit code, GB 32100
	Kind   string `json:"kind"` // hospital, agency, commission, police, archive, …
	Name   string `json:"name"`
	Region string `json:"region"` // GB/T 2260
}

// Certificate is one signing certificate and whose it is. From and Until, if set, narrow its own
// validity: the operator's word on when the organisation acted with it.
type Certificate struct {
	Certificate  []byte    `json:"certificate"` // DER
	From         time.Time `json:"from,omitzero"`
	Organisation string    `json:"organisation"`
	Purpose      string    `json:"purpose"` // documents, events, checkpoints, status
	Until        time.Time `json:"until,omitzero"`
}

// Log is an event log whose checkpoints count.
type Log struct {
	Certificate SM3    `json:"certificate"` // one of Certificates, of purpose checkpoints
	Origin      string `json:"origin"`
}

// Cosigner is a party whose cosignature proves time. Name is the key name on its signature lines.
type Cosigner struct {
	Certificate  []byte `json:"certificate"` // DER, of purpose checkpoints
	Name         string `json:"name"`
	Organisation string `json:"organisation"`
}

// Status names a certificate that signs status lists, and for which issuers; none means all issuers of
// this file. Where several installations share a trust file the issuers must be named: the indexes of
// one installation mean nothing in another's list.
type Status struct {
	Certificate SM3      `json:"certificate"` // one of Certificates, of purpose status
	Issuers     []string `json:"issuers,omitempty"`
}
