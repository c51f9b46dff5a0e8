package cose_test

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/emmansun/gmsm/sm2"
	"github.com/fxamacker/cbor/v2"
	gocose "github.com/veraison/go-cose"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/elicence/elicence/signer/cose"
)

var protected = cose.Protected{Type: "elicence/test", Certificate: [32]byte{1, 2, 31: 3}}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
}

func message(t testing.TB) []byte {
	t.Helper()
	b, err := cose.Assemble(protected, []byte("payload"), bytes.Repeat([]byte{9}, 64))
	must(t, err)
	return b
}

// The bytes of the format, as docs/formats tell them.
func TestTheWorkedExample(t *testing.T) {
	cert := "0102" + strings.Repeat("00", 29) + "03"
	head := "a3013a00010000106d656c6963656e63652f746573743a000100005820" + cert
	if got, want := hex.EncodeToString(message(t)), "d284"+"583d"+head+"a0"+"477061796c6f6164"+"5840"+strings.Repeat("09", 64); got != want {
		t.Errorf("message\n%s, want\n%s", got, want)
	}
	tbs, err := cose.ToBeSigned(protected, "elicence/test/1", []byte("payload"))
	must(t, err)
	want := "846a" + hex.EncodeToString([]byte("Signature1")) + "583d" + head + "4f" + hex.EncodeToString([]byte("elicence/test/1")) + "477061796c6f6164"
	if got := hex.EncodeToString(tbs); got != want {
		t.Errorf("to be signed\n%s, want\n%s", got, want)
	}
}

func TestParseGivesBackWhatWasAssembled(t *testing.T) {
	for _, size := range []int{1, 23, 24, 255, 256, 65535, 65536} {
		payload, rs := bytes.Repeat([]byte{7}, size), bytes.Repeat([]byte{9}, 64)
		b, err := cose.Assemble(protected, payload, rs)
		must(t, err)
		m, err := cose.Parse(b)
		must(t, err)
		if m.Protected != protected || !bytes.Equal(m.Payload, payload) || !bytes.Equal(m.Signature, rs) {
			t.Fatalf("%d bytes: something else came back", size)
		}
		want, err := cose.ToBeSigned(protected, "aad", payload)
		must(t, err)
		if !bytes.Equal(m.ToBeSigned("aad"), want) || bytes.Equal(m.ToBeSigned("aae"), want) {
			t.Fatalf("%d bytes: the signer and the reader mean different bytes", size)
		}
		clear(b)
		if !bytes.Equal(m.Payload, payload) || !bytes.Equal(m.Signature, rs) || !bytes.Equal(m.ToBeSigned("aad"), want) {
			t.Fatal("the message changed with the caller's buffer")
		}
	}
}

func TestWhatCannotBeAssembled(t *testing.T) {
	good := bytes.Repeat([]byte{9}, 64)
	long := cose.Protected{Type: strings.Repeat("x", cose.MaxType)}
	if _, err := cose.Assemble(long, []byte("x"), good); err != nil {
		t.Error("the longest type is too long")
	}
	for name, c := range map[string]struct {
		p           cose.Protected
		payload, rs []byte
	}{
		"no type":           {cose.Protected{}, []byte("x"), good},
		"a long type":       {cose.Protected{Type: strings.Repeat("x", cose.MaxType+1)}, []byte("x"), good},
		"broken UTF-8":      {cose.Protected{Type: "\xff"}, []byte("x"), good},
		"no payload":        {protected, nil, good},
		"a huge payload":    {protected, make([]byte, cose.MaxMessage), good},
		"a short signature": {protected, []byte("x"), good[:63]},
		"DER":               {protected, []byte("x"), make([]byte, 72)},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := cose.Assemble(c.p, c.payload, c.rs)
			wantError(t, err, cose.ErrMessage)
		})
	}
	_, err := cose.ToBeSigned(cose.Protected{}, "aad", []byte("x"))
	wantError(t, err, cose.ErrMessage)
}

func TestOtherSpellingsAreRefused(t *testing.T) {
	good := message(t)
	payload := "\x47payload"
	replace := func(old, new string) []byte {
		t.Helper()
		b := bytes.Replace(good, []byte(old), []byte(new), 1)
		if bytes.Equal(b, good) {
			t.Fatalf("%q is not in the message", old)
		}
		return b
	}
	head := string(good[4:65])
	again := func(head string) []byte { // another protected header, well wrapped
		h := []byte{0x58, byte(len(head))}
		return append(append([]byte{0xd2, 0x84}, append(h, head...)...), good[65:]...)
	}
	for name, b := range map[string][]byte{
		"empty":                    nil,
		"no tag":                   good[1:],
		"another tag":              replace("\xd2", "\xd1"),
		"the tag in two bytes":     replace("\xd2", "\xd8\x12"),
		"two tags":                 append([]byte{0xd2}, good...),
		"an indefinite array":      append(append(replace("\xd2\x84", "\xd2\x9f")[:0:0], replace("\xd2\x84", "\xd2\x9f")...), 0xff),
		"an array of five":         replace("\xd2\x84", "\xd2\x85"),
		"an array in two bytes":    replace("\xd2\x84", "\xd2\x98\x04"),
		"something behind":         append(bytes.Clone(good), 0),
		"an unprotected header":    replace("\xa0"+payload, "\xa1\x01\x01"+payload),
		"a longer head, payload":   replace(payload, "\x58\x07payload"),
		"three bytes of head":      replace(payload, "\x59\x00\x07payload"),
		"five bytes of head":       replace(payload, "\x5a\x00\x00\x00\x07payload"),
		"nine bytes of head":       replace(payload, "\x5b\x00\x00\x00\x00\x00\x00\x00\x07payload"),
		"a payload without end":    replace(payload, "\x5f\x47payload\xff"),
		"a text as payload":        replace(payload, "\x67payload"),
		"no payload":               replace(payload, "\xf6"),
		"an empty payload":         replace(payload, "\x40"),
		"a longer payload":         replace(payload, "\x5a\xff\xff\xff\xffpayload"),
		"a signature of 63 bytes":  append(replace("\x58\x40", "\x58\x3f")[:len(good)-1:len(good)-1], []byte{}...),
		"no protected header":      replace(string(good[2:65]), "\x40"),
		"another algorithm":        again(strings.Replace(head, "\x3a\x00\x01\x00\x00\x10", "\x3a\x00\x01\x00\x01\x10", 1)),
		"ES256":                    again(strings.Replace(head, "\x01\x3a\x00\x01\x00\x00", "\x01\x26", 1)),
		"an algorithm in 8 bytes":  again(strings.Replace(head, "\x01\x3a\x00\x01\x00\x00", "\x01\x3b\x00\x00\x00\x00\x00\x01\x00\x00", 1)),
		"an algorithm as float":    again(strings.Replace(head, "\x01\x3a\x00\x01\x00\x00", "\x01\xfa\xc7\x80\x00\x80", 1)),
		"no algorithm":             again(strings.Replace(head, "\xa3\x01\x3a\x00\x01\x00\x00", "\xa2", 1)),
		"no type":                  again(strings.Replace(head, "\xa3", "\xa2", 1)[:7] + head[7+15:]),
		"an empty type":            again(strings.Replace(head, "\x6delicence/test", "\x60", 1)),
		"a type as number":         again(strings.Replace(head, "\x6delicence/test", "\x01", 1)),
		"a type of broken UTF-8":   again(strings.Replace(head, "elicence/test", "elicence/tes\xff", 1)),
		"a certificate of 31":      again(strings.Replace(head, "\x58\x20", "\x58\x1f", 1)[:len(head)-1]),
		"an unknown header":        again("\xa4" + head[1:] + "\x3a\x00\x01\x00\x01\x01"),
		"a header twice":           again("\xa4" + head[1:] + head[7:7+15]),
		"another order":            again("\xa3" + head[7:22] + head[1:7] + head[22:]),
		"a header without end":     again("\xbf" + head[1:] + "\xff"),
		"something behind headers": again(head + "\x00"),
		"a tag inside":             again(strings.Replace(head, "\x6delicence/test", "\xc0\x6delicence/test", 1)),
		"a header as array":        again("\x80"),
		"huge":                     make([]byte, cose.MaxMessage+1),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := cose.Parse(b)
			wantError(t, err, cose.ErrMessage)
		})
	}
	for n := range good {
		_, err := cose.Parse(good[:n])
		wantError(t, err, cose.ErrMessage)
	}
}

// TestEveryChangedByteIsSeen: whatever still parses means other signed bytes, or another signature.
func TestEveryChangedByteIsSeen(t *testing.T) {
	good := message(t)
	want, err := cose.Parse(good)
	must(t, err)
	for i := range good {
		for bit := range 8 {
			b := bytes.Clone(good)
			b[i] ^= 1 << bit
			m, err := cose.Parse(b)
			if err == nil && bytes.Equal(m.ToBeSigned("aad"), want.ToBeSigned("aad")) && bytes.Equal(m.Signature, want.Signature) {
				t.Fatalf("bit %d of byte %d changed unseen", bit, i)
			}
		}
	}
}

// sm2Key is an SM2 key as go-cose wants signers and verifiers.
type sm2Key struct{ *sm2.PrivateKey }

func (sm2Key) Algorithm() gocose.Algorithm { return cose.Algorithm }

func (k sm2Key) Sign(random io.Reader, content []byte) ([]byte, error) {
	der, err := k.SignWithSM2(random, nil, content)
	if err != nil {
		return nil, err
	}
	in := cryptobyte.String(der)
	var seq, r, s cryptobyte.String
	if !in.ReadASN1(&seq, asn1.SEQUENCE) || !seq.ReadASN1(&r, asn1.INTEGER) || !seq.ReadASN1(&s, asn1.INTEGER) {
		return nil, errors.New("no signature")
	}
	rs := make([]byte, 64)
	copy(rs[32-len(bytes.TrimLeft(r, "\x00")):32], bytes.TrimLeft(r, "\x00"))
	copy(rs[64-len(bytes.TrimLeft(s, "\x00")):], bytes.TrimLeft(s, "\x00"))
	return rs, nil
}

func (k sm2Key) Verify(content, rs []byte) error {
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, half := range [][]byte{rs[:32], rs[32:]} {
			v := bytes.TrimLeft(half, "\x00")
			if v[0]&0x80 != 0 {
				v = append([]byte{0}, v...)
			}
			b.AddASN1(asn1.INTEGER, func(b *cryptobyte.Builder) { b.AddBytes(v) })
		}
	})
	if !sm2.VerifyASN1WithSM2(&k.PublicKey, nil, content, b.BytesOrPanic()) {
		return errors.New("go-cose has other bytes signed")
	}
	return nil
}

// veraison/go-cose is the second judge of message and Sig_structure, in both directions.
func TestGoCOSEReadsAndWritesTheSame(t *testing.T) {
	private, err := sm2.GenerateKey(rand.Reader)
	must(t, err)
	key, payload, aad := sm2Key{private}, []byte("payload"), []byte("elicence/test/1")

	tbs, err := cose.ToBeSigned(protected, string(aad), payload)
	must(t, err)
	rs, err := key.Sign(rand.Reader, tbs)
	must(t, err)
	ours, err := cose.Assemble(protected, payload, rs)
	must(t, err)
	var theirs gocose.Sign1Message
	must(t, theirs.UnmarshalCBOR(ours))
	must(t, theirs.Verify(aad, key))
	if theirs.Verify([]byte("elicence/test/2"), key) == nil {
		t.Error("the external_aad is not signed")
	}
	if typ, ok := theirs.Headers.Protected[gocose.HeaderLabelType]; ok && typ != "elicence/test" {
		t.Errorf("typ is %v", typ)
	}

	built := gocose.Sign1Message{Payload: payload, Headers: gocose.Headers{Protected: gocose.ProtectedHeader{
		int64(1): gocose.Algorithm(cose.Algorithm), int64(16): "elicence/test", int64(-65537): protected.Certificate[:]}}}
	must(t, built.Sign(rand.Reader, aad, key))
	b, err := built.MarshalCBOR()
	must(t, err)
	m, err := cose.Parse(b)
	must(t, err)
	if m.Protected != protected {
		t.Errorf("%+v", m.Protected)
	}
	must(t, key.Verify(m.ToBeSigned(string(aad)), m.Signature))
}

func TestUnmarshalCanonical(t *testing.T) {
	type pair struct {
		_ struct{} `cbor:",toarray"`
		A string
		N *int64
		B []byte
	}
	n := int64(1000)
	good, err := cose.Marshal(pair{A: "一", N: &n, B: []byte{1}})
	must(t, err)
	var v pair
	must(t, cose.UnmarshalCanonical(good, &v))
	if v.A != "一" || *v.N != 1000 || !bytes.Equal(v.B, []byte{1}) {
		t.Errorf("%+v", v)
	}
	for name, h := range map[string]string{
		"empty": "", "cut": "8363e4b8801903", "longer": "8363e4b8801903e8410100", "a number in four bytes": "8363e4b8801a000003e84101",
		"a float": "8363e4b880f963d04101", "indefinite": "9f63e4b8801903e84101ff", "two of three": "8263e4b8801903e8", "broken UTF-8": "8361ff1903e84101",
		"a tag": "83c163e4b8801903e84101", "undefined": "8363e4b880f74101", "a string in pieces": "837f63e4b880ff1903e84101", "a bignum": "8363e4b880c24203e84101",
		"deep": strings.Repeat("81", 100) + "00",
	} {
		t.Run(name, func(t *testing.T) {
			b, err := hex.DecodeString(h)
			must(t, err)
			wantError(t, cose.UnmarshalCanonical(b, new(pair)), cose.ErrCBOR)
		})
	}
	wantError(t, cose.UnmarshalCanonical(make([]byte, cose.MaxMessage+1), new(pair)), cose.ErrCBOR)
	var m map[string]int
	wantError(t, cose.UnmarshalCanonical([]byte("\xa2\x61b\x01\x61a\x02"), &m), cose.ErrCBOR)
	m = nil
	wantError(t, cose.UnmarshalCanonical([]byte("\xa2\x61a\x01\x61a\x02"), &m), cose.ErrCBOR)
	m = nil
	must(t, cose.UnmarshalCanonical([]byte("\xa2\x61a\x01\x61b\x02"), &m))
}

// FuzzMessage: what parses assembles to the same bytes, and a plain CBOR reader finds the same four values in it.
func FuzzMessage(f *testing.F) {
	f.Add(message(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := cose.Parse(b)
		if err != nil {
			if !errors.Is(err, cose.ErrMessage) {
				t.Fatalf("no reason that callers know: %v", err)
			}
			return
		}
		again, err := cose.Assemble(m.Protected, m.Payload, m.Signature)
		must(t, err)
		if !bytes.Equal(again, b) {
			t.Fatal("two spellings of one message")
		}
		want, err := cose.ToBeSigned(m.Protected, "aad", m.Payload)
		must(t, err)
		if !bytes.Equal(m.ToBeSigned("aad"), want) {
			t.Fatal("signer and reader mean different bytes")
		}
		var tag cbor.RawTag
		must(t, cbor.Unmarshal(b, &tag))
		var parts []cbor.RawMessage
		must(t, cbor.Unmarshal(tag.Content, &parts))
		var payload, rs []byte
		if tag.Number != 18 || len(parts) != 4 || cbor.Unmarshal(parts[2], &payload) != nil || cbor.Unmarshal(parts[3], &rs) != nil ||
			!bytes.Equal(payload, m.Payload) || !bytes.Equal(rs, m.Signature) {
			t.Fatal("another reader finds other values")
		}
	})
}

// fields is some structure with integer keys, as ours have.
type fields struct {
	A int64  `cbor:"1,keyasint,omitempty"`
	B string `cbor:"2,keyasint,omitempty"`
	C []byte `cbor:"-1,keyasint,omitempty"`
	D *bool  `cbor:"3,keyasint,omitempty"`
}

// FuzzCanonical: whatever decodes encodes to the same bytes.
func FuzzCanonical(f *testing.F) {
	f.Add([]byte("\xa2\x01\x61a\x20\x42xy"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var v fields
		if err := cose.UnmarshalCanonical(b, &v); err != nil {
			return
		}
		again, err := cose.Marshal(v)
		must(t, err)
		if !bytes.Equal(again, b) {
			t.Fatal("two spellings of one value")
		}
	})
}

// The committed seeds are what fuzzing starts from. Of each target some parse and some do not.
func TestSeeds(t *testing.T) {
	for target, parses := range map[string]func([]byte) bool{
		"FuzzMessage":   func(b []byte) bool { _, err := cose.Parse(b); return err == nil },
		"FuzzCanonical": func(b []byte) bool { return cose.UnmarshalCanonical(b, new(fields)) == nil },
	} {
		names, err := filepath.Glob(filepath.Join("testdata", "fuzz", target, "*"))
		must(t, err)
		good := 0
		for _, name := range names {
			b, err := os.ReadFile(name)
			must(t, err)
			quoted, ok := bytes.CutPrefix(b, []byte("go test fuzz v1\n[]byte("))
			seed, err := strconv.Unquote(string(bytes.TrimSuffix(quoted, []byte(")\n"))))
			if !ok || err != nil {
				t.Fatalf("%s is no seed: %v", name, err)
			}
			if parses([]byte(seed)) {
				good++
			}
		}
		if good < 2 || good == len(names) {
			t.Errorf("%s: of %d seeds %d parse: both kinds are needed", target, len(names), good)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	m, err := cose.Assemble(protected, make([]byte, 400), make([]byte, 64))
	must(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := cose.Parse(m); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAssemble(b *testing.B) {
	payload, rs := make([]byte, 400), make([]byte, 64)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := cose.Assemble(protected, payload, rs); err != nil {
			b.Fatal(err)
		}
	}
}
