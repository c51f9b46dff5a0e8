package hsmtest

import (
	"bytes"
	"fmt"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/elicence/elicence/signer/purpose"
)

// Message returns the n-th message of a form: small, right in form, and different for each n. It panics for an unknown
// form.
func Message(f purpose.Form, n int) []byte {
	body := fmt.Sprintf("elicence.test/log\n%d\n%s\ntime 1793491200000000\n", n, strings.Repeat("A", 43)+"=")
	switch f {
	case purpose.CMSAttributes:
		return attributes(n)
	case purpose.Credential:
		return sigStructure(purpose.AADCredential, n)
	case purpose.Event:
		return sigStructure(purpose.AADEvent, n)
	case purpose.Delivery:
		return sigStructure(purpose.AADDelivery, n)
	case purpose.Checkpoint:
		return []byte(body)
	case purpose.Cosignature:
		return []byte(purpose.CosignaturePrefix + "time 1793491200\n" + body)
	case purpose.Status:
		return fmt.Appendf(nil, "%s{\"number\":%d}", purpose.StatusPrefix, n)
	case purpose.Trust:
		return fmt.Appendf(nil, "%s{\"sequence\":%d}", purpose.TrustPrefix, n)
	case purpose.Certificate:
		return tbsCertificate(n)
	case purpose.Revocations:
		return tbsCertList(n)
	case purpose.Request:
		return requestInfo(n)
	}
	panic("hsmtest: no such form: " + string(f))
}

func sigStructure(aad string, n int) []byte {
	protected := []byte("\xa3\x01\x3a\x00\x01\x00\x00\x10\x61x\x3a\x00\x01\x00\x00\x41\x00")
	b := append([]byte("\x84\x6aSignature1"), 0x40|byte(len(protected)))
	b = append(b, protected...)
	b = append(append(b, 0x40|byte(len(aad))), aad...)
	payload := fmt.Sprintf("payload %d", n)
	return append(append(b, 0x40|byte(len(payload))), payload...)
}

func attributes(n int) []byte {
	attribute := func(oid string, value func(*cryptobyte.Builder)) []byte {
		var b cryptobyte.Builder
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.OBJECT_IDENTIFIER, func(b *cryptobyte.Builder) { b.AddBytes([]byte("\x2a\x86\x48\x86\xf7\x0d\x01\x09" + oid)) })
			b.AddASN1(asn1.SET, value)
		})
		return b.BytesOrPanic()
	}
	digest := bytes.Repeat([]byte{byte(n), byte(n >> 8)}, 16)
	all := [][]byte{
		attribute("\x03", func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier([]int{1, 2, 840, 113549, 1, 7, 1}) }),
		attribute("\x05", func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.UTCTime, func(b *cryptobyte.Builder) { b.AddBytes([]byte("261101000000Z")) })
		}),
		attribute("\x04", func(b *cryptobyte.Builder) { b.AddASN1OctetString(digest) }),
		attribute("\x10\x02\x2f", func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1OctetString(make([]byte, 64)) })
			})
		}),
	}
	var b cryptobyte.Builder
	b.AddASN1(asn1.SET, func(b *cryptobyte.Builder) {
		for _, a := range all {
			b.AddBytes(a)
		}
	})
	return b.BytesOrPanic()
}

func algorithm(b *cryptobyte.Builder) {
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier([]int{1, 2, 156, 10197, 1, 501}) })
}

func empty(b *cryptobyte.Builder) { b.AddASN1(asn1.SEQUENCE, func(*cryptobyte.Builder) {}) }

func extensions(b *cryptobyte.Builder, tag asn1.Tag) {
	b.AddASN1(tag.Constructed().ContextSpecific(), empty)
}

func tbsCertificate(n int) []byte {
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.Tag(0).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) { b.AddASN1Int64(2) })
		b.AddASN1Int64(int64(n) + 1)
		algorithm(b)
		for range 4 { // issuer, validity, subject, key: their insides are the certificate authority's care
			empty(b)
		}
		extensions(b, 3)
	})
	return b.BytesOrPanic()
}

func tbsCertList(n int) []byte {
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(1)
		algorithm(b)
		empty(b)
		for i := range 2 {
			b.AddASN1(asn1.UTCTime, func(b *cryptobyte.Builder) { b.AddBytes(fmt.Appendf(nil, "2611%02d00%04dZ", i+1, n%60)) })
		}
		extensions(b, 0)
	})
	return b.BytesOrPanic()
}

func requestInfo(n int) []byte {
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(0)
		empty(b)
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1OctetString([]byte{byte(n), byte(n >> 8)}) })
		b.AddASN1(asn1.Tag(0).Constructed().ContextSpecific(), func(*cryptobyte.Builder) {})
	})
	return b.BytesOrPanic()
}
