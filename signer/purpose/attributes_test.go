package purpose_test

import (
	"strings"
	"testing"

	"github.com/elicence/elicence/signer/purpose"
)

func der(tag byte, parts ...string) string {
	value := strings.Join(parts, "")
	switch n := len(value); {
	case n < 128:
		return string([]byte{tag, byte(n)}) + value
	case n < 256:
		return string([]byte{tag, 0x81, byte(n)}) + value
	default:
		return string([]byte{tag, 0x82, byte(n >> 8), byte(n)}) + value
	}
}

func attribute(oid string, values ...string) string {
	return der(0x30, der(6, "\x2a\x86\x48\x86\xf7\x0d\x01\x09"+oid), der(0x31, values...))
}

var (
	data        = der(6, "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01")
	contentType = attribute("\x03", data)
	signedAt    = attribute("\x05", der(0x17, "261101000000Z"))
	digest      = attribute("\x04", der(4, string(make([]byte, 32))))
	signedBy    = attribute("\x10\x02\x2f", der(0x30, der(0x30, der(4, string(make([]byte, 64))))))
)

func TestAttributes(t *testing.T) {
	good := der(0x31, contentType, signedAt, digest, signedBy)
	wantForm(t, purpose.CMSAttributes, []byte(good))
	wantForm(t, purpose.CMSAttributes, []byte(der(0x31, contentType, attribute("\x05", der(0x18, "20501101000000Z")), digest, signedBy)))
	for name, m := range map[string]string{
		"a sequence":              der(0x30, contentType, signedAt, digest, signedBy),
		"as it stands in the CMS": der(0xa0, contentType, signedAt, digest, signedBy),
		"empty":                   der(0x31),
		"no content type":         der(0x31, signedAt, digest, signedBy),
		"no time":                 der(0x31, contentType, digest, signedBy),
		"no digest":               der(0x31, contentType, signedAt, signedBy),
		"no certificate":          der(0x31, contentType, signedAt, digest),
		"out of order":            der(0x31, signedAt, contentType, digest, signedBy),
		"one twice":               der(0x31, contentType, contentType, signedAt, digest, signedBy),
		"a fifth":                 der(0x31, contentType, signedAt, attribute("\x34", der(0x30)), digest, signedBy),
		"two digests":             der(0x31, contentType, signedAt, attribute("\x04", der(4, string(make([]byte, 32))), der(4, string(make([]byte, 32)))), signedBy),
		"a digest of 20 bytes":    der(0x31, contentType, signedAt, attribute("\x04", der(4, string(make([]byte, 20)))), signedBy),
		"a digest without value":  der(0x31, contentType, attribute("\x04"), signedAt, signedBy),
		"two certificate lists":   der(0x31, contentType, signedAt, digest, attribute("\x10\x02\x2f", der(0x30), der(0x30, der(4, string(make([]byte, 60)))))),
		"certificates as text":    der(0x31, contentType, signedAt, digest, attribute("\x10\x02\x2f", der(0x0c, string(make([]byte, 70))))),
		"a time with zone":        der(0x31, contentType, attribute("\x05", der(0x17, "261101080000+080")), digest, signedBy),
		"a time that is a text":   der(0x31, contentType, attribute("\x05", der(0x0c, "261101000000Z")), digest, signedBy),
		"a content type as text":  der(0x31, attribute("\x03", der(0x0c, "data")), signedAt, digest, signedBy),
		"no attribute":            der(0x31, der(5), contentType, signedAt, digest, signedBy),
		"a longer length":         "\x31\x82\x00" + string([]byte{byte(len(good) - 3)}) + good[3:],
	} {
		t.Run(name, func(t *testing.T) { wantNone(t, purpose.CMSAttributes, []byte(m)) })
	}
}

const (
	algorithm     = "\x30\x0a\x06\x08\x2a\x81\x1c\xcf\x55\x01\x83\x75"
	algorithmNull = "\x30\x0c\x06\x08\x2a\x81\x1c\xcf\x55\x01\x83\x75\x05\x00"
	ecdsa         = "\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02"
	empty         = "\x30\x00"
	at            = "\x17\x0d261101000000Z"
)

func TestCertificatesAndLists(t *testing.T) {
	v3, one, extensions := "\xa0\x03\x02\x01\x02", "\x02\x01\x01", "\xa3\x02\x30\x00"
	wantForm(t, purpose.Certificate, []byte(der(0x30, v3, one, algorithm, empty, empty, empty, empty, extensions)))
	wantForm(t, purpose.Certificate, []byte(der(0x30, v3, one, algorithmNull, empty, empty, empty, empty, extensions)))
	for name, m := range map[string]string{
		"version 1":           der(0x30, one, algorithm, empty, empty, empty, empty),
		"version 2":           der(0x30, "\xa0\x03\x02\x01\x01", one, algorithm, empty, empty, empty, empty, extensions),
		"no serial":           der(0x30, v3, algorithm, empty, empty, empty, empty, extensions),
		"ECDSA":               der(0x30, v3, one, ecdsa, empty, empty, empty, empty, extensions),
		"no key":              der(0x30, v3, one, algorithm, empty, empty, empty, extensions),
		"no extensions":       der(0x30, v3, one, algorithm, empty, empty, empty, empty),
		"behind extensions":   der(0x30, v3, one, algorithm, empty, empty, empty, empty, extensions, "\x05\x00"),
		"within extensions":   der(0x30, v3, one, algorithm, empty, empty, empty, empty, "\xa3\x04\x30\x00\x05\x00"),
		"a whole certificate": der(0x30, der(0x30, v3, one, algorithm, empty, empty, empty, empty, extensions), algorithm, "\x03\x01\x00"),
		"version of two":      der(0x30, "\xa0\x05\x02\x01\x02\x05\x00", one, algorithm, empty, empty, empty, empty, extensions),
	} {
		t.Run("certificate, "+name, func(t *testing.T) { wantNone(t, purpose.Certificate, []byte(m)) })
	}
	extensions = "\xa0\x02\x30\x00"
	wantForm(t, purpose.Revocations, []byte(der(0x30, one, algorithm, empty, at, at, extensions)))
	wantForm(t, purpose.Revocations, []byte(der(0x30, one, algorithm, empty, at, "\x18\x0f20501101000000Z", empty, extensions)))
	for name, m := range map[string]string{
		"version 1":         der(0x30, algorithm, empty, at, at, extensions),
		"version 3":         der(0x30, "\x02\x01\x02", algorithm, empty, at, at, extensions),
		"ECDSA":             der(0x30, one, ecdsa, empty, at, at, extensions),
		"no next update":    der(0x30, one, algorithm, empty, at, extensions),
		"no extensions":     der(0x30, one, algorithm, empty, at, at, empty),
		"behind extensions": der(0x30, one, algorithm, empty, at, at, extensions, "\x05\x00"),
	} {
		t.Run("list, "+name, func(t *testing.T) { wantNone(t, purpose.Revocations, []byte(m)) })
	}
	null := "\x02\x01\x00"
	wantForm(t, purpose.Request, []byte(der(0x30, null, empty, empty, "\xa0\x00")))
	wantForm(t, purpose.Request, []byte(der(0x30, null, empty, empty, der(0xa0, der(0x30, "\x05\x00")))))
	for name, m := range map[string]string{
		"version 2":           der(0x30, one, empty, empty, "\xa0\x00"),
		"no key":              der(0x30, null, empty, "\xa0\x00"),
		"no attributes":       der(0x30, null, empty, empty),
		"an attribute is one": der(0x30, null, empty, empty, der(0xa0, "\x05\x00")),
		"behind attributes":   der(0x30, null, empty, empty, "\xa0\x00", "\x05\x00"),
		"a whole request":     der(0x30, der(0x30, null, empty, empty, "\xa0\x00"), algorithm, "\x03\x01\x00"),
	} {
		t.Run("request, "+name, func(t *testing.T) { wantNone(t, purpose.Request, []byte(m)) })
	}
}
