package pki_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/big"
	"os"
	"testing"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/sm3"
	tjfoc "github.com/tjfoc/gmsm/sm2"
	tjfocsm3 "github.com/tjfoc/gmsm/sm3"

	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
)

func hexBytes(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	must(t, err)
	return b
}

// theirs is the same key for tjfoc/gmsm.
func theirs(t testing.TB, pub *ecdsa.PublicKey) *tjfoc.PublicKey {
	t.Helper()
	point, err := sm2.PublicKeyToECDH(pub)
	must(t, err)
	b := point.Bytes()
	return &tjfoc.PublicKey{Curve: tjfoc.P256Sm2(), X: new(big.Int).SetBytes(b[1:33]), Y: new(big.Int).SetBytes(b[33:])}
}

// GB/T 32918.5-2017, annex A.2: the standard's own example on the recommended curve.
func TestTheExampleOfTheStandard(t *testing.T) {
	pub, err := sm2.NewPublicKey(hexBytes(t, "0409F9DF311E5421A150DD7D161E4BC5C672179FAD1833FC076BB08FF356F35020"+
		"CCEA490CE26775A52DC6EA718CC1AA600AED05FBF35E084A6632F6072DA9AD13"))
	must(t, err)
	rs := hexBytes(t, "F5A03B0648D2C4630EEAC513E1BB81A15944DA3827D5B74143AC7EACEEE720B3"+
		"B1B6AA29DF212FD8763182BC0D421CA1BB9038FD1F7F42D4840B69C485BBC1AA")
	must(t, pki.VerifyRS(pub, []byte("message digest"), rs))
	wantError(t, pki.VerifyRS(pub, []byte("message digesu"), rs), pki.ErrSignature)
}

// The crafted signature that tjfoc/gmsm accepts, because its addition has no case for doubling.
func TestTheForgeryIsRefused(t *testing.T) {
	var v struct{ Expect, ID, Message, PublicX, PublicY, R, S string }
	b, err := os.ReadFile("../../testdata/vectors/sm2-forgery.json")
	must(t, err)
	must(t, json.Unmarshal(b, &v))
	if v.Expect != "invalid" || v.ID != signerID {
		t.Fatalf("not the vector: %+v", v)
	}
	pub, err := sm2.NewPublicKey(hexBytes(t, "04"+v.PublicX+v.PublicY))
	if err != nil {
		t.Fatalf("the key is no point of the curve, the vector would be refused for that: %v", err)
	}
	r, s := hexBytes(t, v.R), hexBytes(t, v.S)
	if !tjfoc.Sm2Verify(theirs(t, pub), []byte(v.Message), []byte(v.ID),
		new(big.Int).SetBytes(r), new(big.Int).SetBytes(s)) {
		t.Error("the vector no longer shows what it is kept for: tjfoc/gmsm refuses it too")
	}
	wantError(t, pki.VerifyRS(pub, []byte(v.Message), append(r, s...)), pki.ErrSignature)
}

func TestBothLibrariesAgree(t *testing.T) {
	k := newKey(t, "agree", purpose.Events)
	same := theirs(t, k.Public())
	for n := range 100 {
		message := bytes.Repeat([]byte{byte(n)}, n*7+1)
		if ours := sm3.Sum(message); !bytes.Equal(ours[:], tjfocsm3.Sm3Sum(message)) {
			t.Fatalf("two SM3 of %d bytes", len(message))
		}
		rs, err := k.sign(message)
		must(t, err)
		must(t, pki.VerifyRS(k.Public(), message, rs))
		if !tjfoc.Sm2Verify(same, message, []byte(signerID), new(big.Int).SetBytes(rs[:32]), new(big.Int).SetBytes(rs[32:])) {
			t.Fatalf("message %d: tjfoc/gmsm refuses ours", n)
		}
	}
	their, err := tjfoc.GenerateKey(rand.Reader)
	must(t, err)
	pub, err := sm2.NewPublicKey(append([]byte{4}, append(their.X.FillBytes(make([]byte, 32)), their.Y.FillBytes(make([]byte, 32))...)...))
	must(t, err)
	for n := range 100 {
		message := bytes.Repeat([]byte{byte(n)}, n*7)
		r, s, err := tjfoc.Sm2Sign(their, message, []byte(signerID), rand.Reader)
		must(t, err)
		rs := make([]byte, 64)
		r.FillBytes(rs[:32])
		s.FillBytes(rs[32:])
		must(t, pki.VerifyRS(pub, message, rs))
		wantError(t, pki.VerifyRS(pub, append(message, 0), rs), pki.ErrSignature)
	}
}

func TestNothingButAGoodSignatureVerifies(t *testing.T) {
	k := newKey(t, "good", purpose.Events)
	message := []byte("message")
	good, err := k.sign(message)
	must(t, err)
	pub, order := k.Public(), sm2.P256().Params().N
	with := func(r, s *big.Int) []byte {
		b := make([]byte, 64)
		r.FillBytes(b[:32])
		s.FillBytes(b[32:])
		return b
	}
	r, s := new(big.Int).SetBytes(good[:32]), new(big.Int).SetBytes(good[32:])
	zero, most := new(big.Int), new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(1))
	for name, rs := range map[string][]byte{
		"none": nil, "short": good[:63], "long": append(bytes.Clone(good), 0), "one byte": {1},
		"r = 0": with(zero, s), "s = 0": with(r, zero), "both 0": with(zero, zero), "r = n": with(order, s), "s = n": with(r, order),
		"the greatest": with(most, most), "r + s = n": with(r, new(big.Int).Sub(order, r)), "swapped": with(s, r),
		"-s": with(r, new(big.Int).Sub(order, s)), "DER": append([]byte{0x30, 62}, good[2:]...),
	} {
		t.Run(name, func(t *testing.T) { wantError(t, pki.VerifyRS(pub, message, rs), pki.ErrSignature) })
	}
	for i := range good {
		wantError(t, pki.VerifyRS(pub, message, flipped(good, i)), pki.ErrSignature)
	}
	point := theirs(t, pub)
	unchecked := func(x, y *big.Int) *ecdsa.PublicKey {
		return &ecdsa.PublicKey{Curve: sm2.P256(), X: x, Y: y} //nolint:staticcheck // keys that no library makes
	}
	other := *pub
	other.Curve = elliptic.P256()
	for name, bad := range map[string]*ecdsa.PublicKey{"no key": nil, "an empty key": {}, "a key without point": {Curve: sm2.P256()},
		"off the curve":    unchecked(point.X, new(big.Int).Add(point.Y, big.NewInt(1))),
		"beyond the field": unchecked(new(big.Int).Add(point.X, sm2.P256().Params().P), point.Y),
		"negative":         unchecked(point.X, new(big.Int).Neg(point.Y)),
		"huge":             unchecked(new(big.Int).Lsh(point.X, 300), point.Y),
		"zero":             unchecked(zero, zero), "another curve": &other, "another key": newKey(t, "another", purpose.Events).Public()} {
		t.Run(name, func(t *testing.T) {
			wantError(t, pki.VerifyRS(bad, message, good), pki.ErrSignature)
			if name == "another key" {
				return
			}
			if _, err := pki.MarshalPublicKey(bad); err == nil {
				t.Error("written as if it were a key")
			}
			if pki.PublicKeySM3(bad) != [32]byte{} {
				t.Error("a fingerprint of what is no key")
			}
		})
	}
}

func TestSignatureEncodings(t *testing.T) {
	for _, rs := range [][]byte{
		append(bytes.Repeat([]byte{0xff}, 32), bytes.Repeat([]byte{0xff}, 32)...),
		append(append(make([]byte, 31), 1), append(make([]byte, 31), 0x80)...),
		append(append(make([]byte, 30), 1, 0), append(make([]byte, 31), 0x7f)...),
	} {
		der, err := pki.SignatureDER(rs)
		must(t, err)
		back, err := pki.SignatureRS(der)
		must(t, err)
		if !bytes.Equal(back, rs) || len(der) > 72 {
			t.Errorf("%x became %x over %x", rs, back, der)
		}
	}
	for _, der := range []string{"", "3000", "30060201010201", "3006020100020101", "3006020101020100", "300602010102018000", "3006020181020101",
		"308106020101020101", "30070202000102010100", "30070201010201010500", "3106020101020101",
		"3027022101ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff0201010000"} {
		b, _ := hex.DecodeString(der)
		_, err := pki.SignatureRS(b)
		wantError(t, err, pki.ErrSignature)
	}
	for _, n := range []int{0, 1, 63, 65, 72} {
		_, err := pki.SignatureDER(make([]byte, n))
		wantError(t, err, pki.ErrSignature)
	}
}

func TestPublicKeys(t *testing.T) {
	k := newKey(t, "public", purpose.Events)
	der, err := pki.MarshalPublicKey(k.Public())
	must(t, err)
	back, err := pki.ParsePublicKey(der)
	must(t, err)
	if !back.Equal(k.Public()) || len(der) != 91 || pki.PublicKeySM3(k.Public()) != sm3.Sum(der) {
		t.Error("another key came back, or its fingerprint is wrong")
	}
	for i := range der {
		if other, err := pki.ParsePublicKey(flipped(der, i)); err == nil && other.Equal(k.Public()) {
			t.Fatalf("byte %d changed unseen", i)
		}
	}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	_, err = pki.MarshalPublicKey(&p256.PublicKey)
	wantError(t, err, pki.ErrPublicKey)
	point := der[len(der)-64:]
	compressed := append(hexBytes(t, "3039301306072a8648ce3d020106082a811ccf5501822d03220002"), point[:32]...)
	compressed[26] += point[63] & 1
	for name, b := range map[string][]byte{"empty": nil, "longer": append(bytes.Clone(der), 0), "cut": der[:90],
		"huge": make([]byte, 1<<20), "compressed": compressed} {
		t.Run(name, func(t *testing.T) {
			_, err := pki.ParsePublicKey(b)
			wantError(t, err, pki.ErrPublicKey)
		})
	}
}

// FuzzSignature: DER of a signature has one spelling, and nothing verifies by chance.
func FuzzSignature(f *testing.F) {
	k := newKey(f, "fuzz", purpose.Events)
	rs, err := k.sign([]byte("message"))
	must(f, err)
	der, err := pki.SignatureDER(rs)
	must(f, err)
	f.Add(der)
	f.Add(rs)
	f.Add([]byte{0x30, 6, 2, 1, 1, 2, 1, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := pki.VerifyRS(k.Public(), []byte("message"), b); err == nil && !bytes.Equal(b, rs) {
			t.Fatal("another signature of the same message without the key")
		}
		got, err := pki.SignatureRS(b)
		if err != nil {
			if !errors.Is(err, pki.ErrSignature) {
				t.Fatal(err)
			}
			return
		}
		again, err := pki.SignatureDER(got)
		must(t, err)
		if !bytes.Equal(again, b) {
			t.Fatal("two spellings of one signature")
		}
	})
}

func BenchmarkVerifyRS(b *testing.B) {
	k := newKey(b, "bench", purpose.Events)
	message := make([]byte, 600)
	rs, err := k.sign(message)
	must(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if err := pki.VerifyRS(k.Public(), message, rs); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSecondOpinion is what the library asked for by the user would cost.
func BenchmarkSecondOpinion(b *testing.B) {
	k := newKey(b, "bench", purpose.Events)
	message := make([]byte, 600)
	rs, err := k.sign(message)
	must(b, err)
	pub := theirs(b, k.Public())
	r, s := new(big.Int).SetBytes(rs[:32]), new(big.Int).SetBytes(rs[32:])
	for b.Loop() {
		if !tjfoc.Sm2Verify(pub, message, []byte(signerID), r, s) {
			b.Fatal("refused")
		}
	}
}
