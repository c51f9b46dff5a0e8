package pki_test

import (
	"bytes"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/elicence/elicence/signer/pki"
)

// reencoded writes every element again from its value, by encoding/asn1, which knows one way for each.
func reencoded(t testing.TB, b []byte) []byte {
	t.Helper()
	var out []byte
	for len(b) > 0 {
		var raw asn1.RawValue
		rest, err := asn1.Unmarshal(b, &raw)
		must(t, err)
		element := b[:len(b)-len(rest)]
		b = rest
		if raw.IsCompound {
			inside := reencoded(t, raw.Bytes)
			if element[0] == 0x31 {
				inside = sortedSet(t, inside)
			}
			out = append(append(out, header(element[0], len(inside))...), inside...)
			continue
		}
		if raw.Class != asn1.ClassUniversal {
			out = append(append(out, header(element[0], len(raw.Bytes))...), raw.Bytes...)
			continue
		}
		out = append(out, again(t, raw.Tag, element)...)
	}
	return out
}

func sortedSet(t testing.TB, inside []byte) []byte {
	var elements [][]byte
	for len(inside) > 0 {
		var raw asn1.RawValue
		rest, err := asn1.Unmarshal(inside, &raw)
		must(t, err)
		elements, inside = append(elements, raw.FullBytes), rest
	}
	slices.SortFunc(elements, bytes.Compare)
	return bytes.Join(elements, nil)
}

func again(t testing.TB, tag int, element []byte) []byte {
	t.Helper()
	params := map[int]string{asn1.TagUTF8String: "utf8", asn1.TagPrintableString: "printable", asn1.TagIA5String: "ia5",
		asn1.TagUTCTime: "utc", asn1.TagGeneralizedTime: "generalized"}[tag]
	read := func(v any) {
		_, err := asn1.UnmarshalWithParams(element, v, params)
		must(t, err)
	}
	write := func(v any) []byte {
		b, err := asn1.MarshalWithParams(v, params)
		must(t, err)
		return b
	}
	switch tag {
	case asn1.TagBoolean:
		var v bool
		read(&v)
		return write(v)
	case asn1.TagInteger:
		v := new(big.Int)
		read(&v)
		return write(v)
	case asn1.TagEnum:
		var v asn1.Enumerated
		read(&v)
		return write(v)
	case asn1.TagBitString:
		var v asn1.BitString
		read(&v)
		return write(v)
	case asn1.TagOctetString:
		var v []byte
		read(&v)
		return write(v)
	case asn1.TagNull:
		return asn1.NullBytes
	case asn1.TagOID:
		var v asn1.ObjectIdentifier
		read(&v)
		return write(v)
	case asn1.TagUTF8String, asn1.TagPrintableString, asn1.TagIA5String:
		var v string
		read(&v)
		return write(v)
	case asn1.TagUTCTime, asn1.TagGeneralizedTime:
		var v time.Time
		read(&v)
		return write(v.UTC())
	}
	t.Fatalf("a value of tag %d was accepted", tag)
	return nil
}

// structured writes a certificate or list again from the fields of the standard's structures: what stands behind them,
// and defaults written out, would be lost.
func structured[T any](t testing.TB, b []byte) []byte {
	t.Helper()
	var v T
	rest, err := asn1.Unmarshal(b, &v)
	must(t, err)
	if len(rest) != 0 {
		t.Fatal("something behind the end")
	}
	out, err := asn1.Marshal(v)
	must(t, err)
	return out
}

type algorithm struct {
	ID         asn1.ObjectIdentifier
	Parameters asn1.RawValue `asn1:"optional"`
}

type certificate struct {
	TBS struct {
		Version   int `asn1:"explicit,tag:0"`
		Serial    *big.Int
		Algorithm algorithm
		Issuer    asn1.RawValue
		Validity  struct{ From, To asn1.RawValue }
		Subject   asn1.RawValue
		Key       struct {
			Algorithm algorithm
			Point     asn1.BitString
		}
		Extensions []pkix.Extension `asn1:"explicit,tag:3"`
	}
	Algorithm algorithm
	Signature asn1.BitString
}

type revocationList struct {
	TBS struct {
		Version    int
		Algorithm  algorithm
		Issuer     asn1.RawValue
		This, Next asn1.RawValue
		Entries    []struct {
			Serial     *big.Int
			At         asn1.RawValue
			Extensions []pkix.Extension `asn1:"optional"`
		} `asn1:"optional"`
		Extensions []pkix.Extension `asn1:"explicit,tag:0"`
	}
	Algorithm algorithm
	Signature asn1.BitString
}

// FuzzCertificate: no bytes make the reader panic, what it accepts has one encoding, and of those that the CA did not
// sign (all but seeds) none passes for signed.
func FuzzCertificate(f *testing.F) {
	s := newScheme(f, "fuzz")
	signed := map[string]bool{}
	for _, b := range seeds(f, "FuzzCertificate") {
		signed[string(b)] = true
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := pki.ParseCertificate(b)
		if err != nil {
			if !errors.Is(err, pki.ErrCertificate) {
				t.Fatalf("no reason that callers know: %v", err)
			}
			return
		}
		if !bytes.Equal(reencoded(t, b), b) || !bytes.Equal(structured[certificate](t, b), b) {
			t.Fatal("two encodings of one certificate")
		}
		if !bytes.Equal(c.Raw(), b) {
			t.Fatal("other bytes are kept than were read")
		}
		for _, ca := range []*pki.Certificate{s.root, s.ca} {
			if c.CheckSignedBy(ca) == nil && !signed[string(b)] {
				t.Fatal("a signature without the key")
			}
		}
		_, _ = pki.Path(c, list(c, s.ca), list(s.root), epoch)
		_ = c.String()
	})
}

// FuzzCRL: the same for lists.
func FuzzCRL(f *testing.F) {
	s := newScheme(f, "fuzz")
	signed := map[string]bool{}
	for _, b := range seeds(f, "FuzzCRL") {
		signed[string(b)] = true
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := pki.ParseCRL(b)
		if err != nil {
			if !errors.Is(err, pki.ErrCRL) {
				t.Fatalf("no reason that callers know: %v", err)
			}
			return
		}
		if !bytes.Equal(reencoded(t, b), b) || !bytes.Equal(structured[revocationList](t, b), b) {
			t.Fatal("two encodings of one list")
		}
		if l.CheckSignedBy(s.ca) == nil && !signed[string(b)] {
			t.Fatal("a signature without the key")
		}
		l.Number()
		l.Revoked(big.NewInt(3))
	})
}

// The committed seeds are what fuzzing starts from. Of each target some parse and some do not.
func TestSeeds(t *testing.T) {
	for target, parses := range map[string]func([]byte) bool{
		"FuzzCertificate": func(b []byte) bool { _, err := pki.ParseCertificate(b); return err == nil },
		"FuzzCRL":         func(b []byte) bool { _, err := pki.ParseCRL(b); return err == nil },
		"FuzzSignature":   func(b []byte) bool { _, err := pki.SignatureRS(b); return err == nil },
	} {
		all, good := seeds(t, target), 0
		for _, b := range all {
			if parses(b) {
				good++
			}
		}
		if good < 2 || good == len(all) {
			t.Errorf("%s: of %d seeds %d parse: both kinds are needed", target, len(all), good)
		}
	}
}

// seeds reads the committed seeds of a target.
func seeds(t testing.TB, target string) [][]byte {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("testdata", "fuzz", target, "*"))
	must(t, err)
	var out [][]byte
	for _, name := range names {
		b, err := os.ReadFile(name)
		must(t, err)
		quoted, ok := bytes.CutPrefix(b, []byte("go test fuzz v1\n[]byte("))
		seed, err := strconv.Unquote(string(bytes.TrimSuffix(quoted, []byte(")\n"))))
		if !ok || err != nil {
			t.Fatalf("%s is no seed: %v", name, err)
		}
		out = append(out, []byte(seed))
	}
	return out
}
