package envelope

import (
	"bytes"
	"crypto/hmac"
	"encoding/binary"
	"fmt"

	"github.com/emmansun/gmsm/sm3"
)

// Version of the formats of stored objects that this package writes.
const Version = 1

const (
	objectMagic = "ELCO"
	keyMagic    = "ELCK"
	maxKeyID    = 64
)

// Header stands in clear before an encrypted object and is authenticated with it. From all headers and the keys/
// objects the records can be rebuilt.
//
//	"ELCO" ‖ version 1 ‖ length of key id (1 byte) ‖ key id ‖ licence tag (32) ‖ nonce (12)
type Header struct {
	KeyID      string          // licence-key id: 1 to 64 of a–z, 0–9, '-'
	LicenceTag [32]byte        // Index.Tag(LicenceColumn, licence id): groups a licence's objects, names it to nobody
	Nonce      [NonceSize]byte // random, and recorded: the same licence is always sealed to the same bytes
}

// LicenceColumn is the column of the tag in object headers.
const LicenceColumn = "object.licence"

func checkKeyID(id string) error {
	if id == "" || len(id) > maxKeyID {
		return fmt.Errorf("%w: a key id has 1 to %d characters", ErrFormat, maxKeyID)
	}
	for i := 0; i < len(id); i++ {
		if c := id[i]; !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-') {
			return fmt.Errorf("%w: key id", ErrFormat)
		}
	}
	return nil
}

// Encode returns the header's bytes; ErrFormat for an unusable key id.
func (h Header) Encode() ([]byte, error) {
	if err := checkKeyID(h.KeyID); err != nil {
		return nil, err
	}
	b := make([]byte, 0, 6+len(h.KeyID)+32+NonceSize)
	b = append(b, objectMagic...)
	b = append(b, Version, byte(len(h.KeyID)))
	b = append(b, h.KeyID...)
	b = append(b, h.LicenceTag[:]...)
	return append(b, h.Nonce[:]...), nil
}

// ParseHeader splits a stored object into header and ciphertext, which aliases b. ErrFormat.
func ParseHeader(b []byte) (h Header, ciphertext []byte, err error) {
	rest, err := magic(b, objectMagic)
	if err != nil {
		return Header{}, nil, err
	}
	if h.KeyID, rest, err = short(rest); err != nil {
		return Header{}, nil, err
	}
	if err := checkKeyID(h.KeyID); err != nil {
		return Header{}, nil, err
	}
	if len(rest) < 32+NonceSize+TagSize {
		return Header{}, nil, fmt.Errorf("%w: object of %d bytes", ErrFormat, len(b))
	}
	rest = rest[copy(h.LicenceTag[:], rest):]
	rest = rest[copy(h.Nonce[:], rest):]
	return h, rest, nil
}

// SealObject returns the bytes to store: header and SM4-GCM ciphertext with the header as associated data. The same
// input gives the same bytes. A nonce must never serve two different plaintexts under one key.
func SealObject(k *DataKey, h Header, plain []byte) ([]byte, error) {
	head, err := h.Encode()
	if err != nil {
		return nil, err
	}
	out := make([]byte, len(head), len(head)+len(plain)+TagSize)
	copy(out, head)
	return k.aead.Seal(out, h.Nonce[:], plain, head), nil
}

// OpenObject returns the plaintext of a stored object that must name this key id and licence tag. ErrFormat, ErrOpen.
func OpenObject(k *DataKey, keyID string, licenceTag [32]byte, stored []byte) ([]byte, error) {
	h, ciphertext, err := ParseHeader(stored)
	if err != nil {
		return nil, err
	}
	if h.KeyID != keyID || h.LicenceTag != licenceTag {
		return nil, fmt.Errorf("%w: an object of another licence", ErrOpen)
	}
	plain, err := k.aead.Open(nil, h.Nonce[:], ciphertext, stored[:len(stored)-len(ciphertext)])
	if err != nil {
		return nil, ErrOpen
	}
	return plain, nil
}

// KeyRecord is the content of a keys/ object: the deletable copy of a licence's wrapped data key, and what the records
// have of the licence beside its parts, sealed by that key (SealRecord). Version 1 has no such record:
//
//	"ELCK" ‖ version 1 ‖ length ‖ key id ‖ licence tag (32) ‖ wrapped key (the rest, 1 to 1024 bytes)
//	"ELCK" ‖ version 2 ‖ length ‖ key id ‖ licence tag (32) ‖ length (2) ‖ wrapped key ‖ sealed record (the rest)
type KeyRecord struct {
	KeyID      string
	LicenceTag [32]byte
	Wrapped    []byte
	Sealed     []byte // nil for none
}

const (
	maxWrapped       = 1024
	maxSealed        = 4 << 20
	keyRecordVersion = 2 // of one with a sealed record
)

// Encode returns the record's bytes. ErrFormat.
func (r KeyRecord) Encode() ([]byte, error) {
	if err := checkKeyID(r.KeyID); err != nil {
		return nil, err
	}
	if len(r.Wrapped) == 0 || len(r.Wrapped) > maxWrapped {
		return nil, fmt.Errorf("%w: wrapped key of %d bytes", ErrFormat, len(r.Wrapped))
	}
	if len(r.Sealed) > maxSealed {
		return nil, fmt.Errorf("%w: sealed record of %d bytes", ErrFormat, len(r.Sealed))
	}
	version := byte(Version)
	if len(r.Sealed) > 0 {
		version = keyRecordVersion
	}
	b := append([]byte(keyMagic), version, byte(len(r.KeyID)))
	b = append(b, r.KeyID...)
	b = append(b, r.LicenceTag[:]...)
	if version == keyRecordVersion {
		b = binary.BigEndian.AppendUint16(b, uint16(len(r.Wrapped)))
	}
	b = append(b, r.Wrapped...)
	return append(b, r.Sealed...), nil
}

// ParseKeyRecord reads a keys/ object; Wrapped is a copy. ErrFormat.
func ParseKeyRecord(b []byte) (KeyRecord, error) {
	version := byte(Version)
	if len(b) > len(keyMagic) && b[len(keyMagic)] == keyRecordVersion {
		version = keyRecordVersion
	}
	rest, err := magicOf(b, keyMagic, version)
	if err != nil {
		return KeyRecord{}, err
	}
	var r KeyRecord
	if r.KeyID, rest, err = short(rest); err != nil {
		return KeyRecord{}, err
	}
	if err := checkKeyID(r.KeyID); err != nil {
		return KeyRecord{}, err
	}
	if len(rest) <= 32 {
		return KeyRecord{}, fmt.Errorf("%w: key record of %d bytes", ErrFormat, len(b))
	}
	rest = rest[copy(r.LicenceTag[:], rest):]
	if version == keyRecordVersion {
		if len(rest) < 2 {
			return KeyRecord{}, fmt.Errorf("%w: truncated", ErrFormat)
		}
		n := int(binary.BigEndian.Uint16(rest))
		rest = rest[2:]
		if n >= len(rest) || len(rest)-n > maxSealed {
			return KeyRecord{}, fmt.Errorf("%w: key record of %d bytes", ErrFormat, len(b))
		}
		r.Sealed = bytes.Clone(rest[n:])
		rest = rest[:n]
	}
	if len(rest) == 0 || len(rest) > maxWrapped {
		return KeyRecord{}, fmt.Errorf("%w: wrapped key of %d bytes", ErrFormat, len(rest))
	}
	r.Wrapped = bytes.Clone(rest)
	return r, nil
}

// SealRecord seals what is to lie under a name beside a key: a licence's record in its keys/ object, or what belongs to no
// licence under a key made by Index.DataKey. The same input gives the same bytes: the nonce is an HMAC of name and content under
// the key itself, so that no nonce ever serves two contents.
func SealRecord(k *DataKey, name string, plain []byte) ([]byte, error) {
	m := hmac.New(sm3.New, k.raw[:])
	m.Write(joined("elicence/record-nonce/1", name))
	m.Write(plain)
	return SealColumn(k, bytes.NewReader(m.Sum(nil)[:NonceSize]), recordPlace(name), plain)
}

// OpenRecord is the way back. ErrFormat, ErrOpen.
func OpenRecord(k *DataKey, name string, sealed []byte) ([]byte, error) {
	return OpenColumn(k, recordPlace(name), sealed)
}

func recordPlace(name string) Place {
	return Place{Table: "objects", Column: "record", Row: name, KeyVersion: 1}
}

func magic(b []byte, want string) ([]byte, error) { return magicOf(b, want, Version) }

func magicOf(b []byte, want string, version byte) ([]byte, error) {
	if len(b) < len(want)+1 || string(b[:len(want)]) != want {
		return nil, fmt.Errorf("%w: it does not begin with %s", ErrFormat, want)
	}
	if v := b[len(want)]; v != version {
		return nil, fmt.Errorf("%w: version %d of %s, this program knows %d", ErrFormat, v, want, version)
	}
	return b[len(want)+1:], nil
}

func short(b []byte) (string, []byte, error) {
	if len(b) == 0 || len(b)-1 < int(b[0]) {
		return "", nil, fmt.Errorf("%w: truncated", ErrFormat)
	}
	n := int(b[0])
	return string(b[1 : 1+n]), b[1+n:], nil
}
