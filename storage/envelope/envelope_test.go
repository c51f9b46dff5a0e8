package envelope

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"
)

// fixed is a reader of a known pattern, so that tests can compare bytes.
type fixed byte

func (f fixed) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(f) + byte(i)
	}
	return len(b), nil
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	return must[[]byte](t)(hex.DecodeString(s))
}

// TestCipherIsSM4GCM holds the cipher to GB/T 36624-2018 C.5 2.
func TestCipherIsSM4GCM(t *testing.T) {
	k := must[*DataKey](t)(dataKey(make([]byte, 16)))
	got := k.aead.Seal(nil, make([]byte, 12), make([]byte, 16), nil)
	if want := unhex(t, "7de2aa7f1110188218063be1bfeb6d89b851b5f39493752be508f1bb4482c557"); !bytes.Equal(got, want) {
		t.Fatalf("%x, the standard says %x", got, want)
	}
}

func TestObject(t *testing.T) {
	k := must[*DataKey](t)(NewDataKey(rand.Reader))
	h := Header{KeyID: "00ff-1", LicenceTag: [32]byte{1, 2, 3}, Nonce: [12]byte{9}}
	for _, plain := range [][]byte{{}, []byte("part"), bytes.Repeat([]byte("PDF"), 30_000)} {
		stored := must[[]byte](t)(SealObject(k, h, plain))
		if again := must[[]byte](t)(SealObject(k, h, plain)); !bytes.Equal(stored, again) {
			t.Fatal("the same part was sealed to other bytes: it could not be adopted after a crash")
		}
		got, err := OpenObject(k, h.KeyID, h.LicenceTag, stored)
		if err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		parsed, _, err := ParseHeader(stored)
		if err != nil || parsed != h {
			t.Fatalf("header %+v, %v", parsed, err)
		}
		if len(plain) > 3 && bytes.Contains(stored, plain[:4]) {
			t.Error("plaintext in the stored bytes")
		}
	}
}

func TestEveryTamperedByteOfAnObjectIsNoticed(t *testing.T) {
	k := must[*DataKey](t)(NewDataKey(rand.Reader))
	h := Header{KeyID: "0123456789abcdef", LicenceTag: [32]byte{7}, Nonce: [12]byte{5}}
	stored := must[[]byte](t)(SealObject(k, h, []byte("a signed part of a licence")))
	for i := range stored {
		for _, flip := range []byte{0x01, 0x80, 0xff} {
			bad := bytes.Clone(stored)
			bad[i] ^= flip
			if _, err := OpenObject(k, h.KeyID, h.LicenceTag, bad); err == nil {
				t.Fatalf("byte %d changed by %#x and nobody noticed", i, flip)
			}
			// Even one who believes the header finds out.
			if ph, _, err := ParseHeader(bad); err == nil {
				if _, err := OpenObject(k, ph.KeyID, ph.LicenceTag, bad); !errors.Is(err, ErrOpen) {
					t.Fatalf("byte %d changed by %#x: %v", i, flip, err)
				}
			}
		}
	}
	for n := range stored {
		if _, err := OpenObject(k, h.KeyID, h.LicenceTag, stored[:n]); err == nil {
			t.Fatalf("cut to %d bytes and nobody noticed", n)
		}
	}
	if _, err := OpenObject(k, h.KeyID, h.LicenceTag, append(bytes.Clone(stored), 0)); !errors.Is(err, ErrOpen) {
		t.Errorf("a byte more: %v", err)
	}
	other := must[*DataKey](t)(NewDataKey(rand.Reader))
	if _, err := OpenObject(other, h.KeyID, h.LicenceTag, stored); !errors.Is(err, ErrOpen) {
		t.Errorf("another key: %v", err)
	}
	if _, err := OpenObject(k, "other", h.LicenceTag, stored); !errors.Is(err, ErrOpen) {
		t.Errorf("another licence's object: %v", err)
	}
	if _, err := OpenObject(k, h.KeyID, [32]byte{8}, stored); !errors.Is(err, ErrOpen) {
		t.Errorf("another licence's tag: %v", err)
	}
}

func TestColumnBelongsToItsPlace(t *testing.T) {
	k := must[*DataKey](t)(NewDataKey(rand.Reader))
	p := Place{Table: "licences", Column: "request", Row: "00ff", KeyVersion: 1}
	plain := []byte(`{"child":{"name":"曹宸书"}}`)
	sealed := must[[]byte](t)(SealColumn(k, rand.Reader, p, plain))
	if got := must[[]byte](t)(OpenColumn(k, p, sealed)); !bytes.Equal(got, plain) {
		t.Fatalf("%q", got)
	}
	if again := must[[]byte](t)(SealColumn(k, rand.Reader, p, plain)); bytes.Equal(again, sealed) {
		t.Error("two seals of one value are equal: a nonce was used twice")
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if _, err := OpenColumn(k, p, bad); err == nil {
			t.Fatalf("byte %d changed and nobody noticed", i)
		}
	}
	for n := range sealed {
		if _, err := OpenColumn(k, p, sealed[:n]); err == nil {
			t.Fatalf("cut to %d bytes and nobody noticed", n)
		}
	}
	for name, moved := range map[string]Place{
		"table":         {"events", "request", "00ff", 1},
		"column":        {"licences", "seed", "00ff", 1},
		"row":           {"licences", "request", "00fe", 1},
		"key version":   {"licences", "request", "00ff", 2},
		"shifted names": {"licencesr", "equest", "00ff", 1},
	} {
		if _, err := OpenColumn(k, moved, sealed); !errors.Is(err, ErrOpen) {
			t.Errorf("moved to another %s: %v", name, err)
		}
	}
}

func TestWrappedKeys(t *testing.T) {
	ctx := context.Background()
	old := LocalKEK(must[*DataKey](t)(NewDataKey(rand.Reader)), rand.Reader)
	next := LocalKEK(must[*DataKey](t)(NewDataKey(rand.Reader)), rand.Reader)
	k := must[*DataKey](t)(NewDataKey(rand.Reader))
	wrapped := must[[]byte](t)(WrapKey(ctx, old, "k1", k))
	if bytes.Contains(wrapped, k.raw[:]) {
		t.Fatal("the key lies open in its wrapping")
	}
	stored := must[[]byte](t)(SealObject(k, Header{KeyID: "k1"}, []byte("part")))

	rewrapped := must[[]byte](t)(Rewrap(ctx, old, next, "k1", wrapped))
	again := must[*DataKey](t)(UnwrapKey(ctx, next, "k1", rewrapped))
	if got := must[[]byte](t)(OpenObject(again, "k1", [32]byte{}, stored)); string(got) != "part" {
		t.Fatalf("after rewrapping: %q", got)
	}
	during := Either(next, old)
	for _, w := range [][]byte{wrapped, rewrapped, must[[]byte](t)(WrapKey(ctx, during, "k1", k))} {
		if got := must[*DataKey](t)(UnwrapKey(ctx, during, "k1", w)); got.raw != k.raw {
			t.Error("a key is lost during rotation")
		}
	}
	if _, err := UnwrapKey(ctx, next, "k1", must[[]byte](t)(WrapKey(ctx, during, "k1", k))); err != nil {
		t.Errorf("during rotation the former key still wraps: %v", err)
	}
	for name, err := range map[string]error{
		"neither":             second(UnwrapKey(ctx, during, "k2", wrapped)),
		"another id":          second(UnwrapKey(ctx, old, "k2", wrapped)),
		"the old wrapping":    second(UnwrapKey(ctx, next, "k1", wrapped)),
		"the new by the old":  second(UnwrapKey(ctx, old, "k1", rewrapped)),
		"nothing":             second(UnwrapKey(ctx, old, "k1", nil)),
		"an index key's seat": second(OpenIndex(ctx, old, wrapped)),
	} {
		if err == nil {
			t.Errorf("%s unwraps", name)
		}
	}
	for i := range wrapped {
		bad := bytes.Clone(wrapped)
		bad[i] ^= 1
		if _, err := UnwrapKey(ctx, old, "k1", bad); err == nil {
			t.Fatalf("byte %d of the wrapping changed and nobody noticed", i)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestTags(t *testing.T) {
	ctx := context.Background()
	kek := LocalKEK(must[*DataKey](t)(NewDataKey(rand.Reader)), rand.Reader)
	x, wrapped, err := NewIndex(ctx, kek, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	again := must[*Index](t)(OpenIndex(ctx, kek, wrapped))
	if x.Tag("name", "曹宸书") != again.Tag("name", "曹宸书") {
		t.Error("the same value is not found after a restart")
	}
	if x.Tag("name", "曹宸书") == x.Tag("name", "曹宸舒") {
		t.Error("two names have one tag")
	}
	if x.Tag("name", "曹宸书") == x.Tag("mother", "曹宸书") {
		t.Error("tags of two columns can be compared")
	}
	other, _, err := NewIndex(ctx, kek, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if x.Tag("name", "曹宸书") == other.Tag("name", "曹宸书") {
		t.Error("tags of two installations can be compared")
	}
	next := LocalKEK(must[*DataKey](t)(NewDataKey(rand.Reader)), rand.Reader)
	moved := must[*Index](t)(OpenIndex(ctx, next, must[[]byte](t)(RewrapIndex(ctx, kek, next, wrapped))))
	if moved.Tag("name", "曹宸书") != x.Tag("name", "曹宸书") {
		t.Error("tags change when the index key is rewrapped")
	}
}

// TestBytesOnDiskStayTheSame: what version 1 wrote must open for ever.
func TestBytesOnDiskStayTheSame(t *testing.T) {
	k := must[*DataKey](t)(NewDataKey(fixed(1)))
	stored := must[[]byte](t)(SealObject(k, Header{KeyID: "k1", LicenceTag: [32]byte{0xaa}, Nonce: [12]byte{0xbb}}, []byte("part")))
	column := must[[]byte](t)(SealColumn(k, fixed(2), Place{"licences", "request", "00ff", 1}, []byte("value")))
	tag := (&Index{raw: k.raw}).Tag("child.name", "曹宸书")
	wrapped := must[[]byte](t)(WrapKey(context.Background(), LocalKEK(k, fixed(3)), "k1", k))
	record := must[[]byte](t)(KeyRecord{KeyID: "k1", LicenceTag: [32]byte{0xaa}, Wrapped: wrapped}.Encode())
	got := fmt.Sprintf("object %x\ncolumn %x\ntag %x\nkey %x\n", stored, column, tag, record)
	name := filepath.Join("testdata", "version-1.txt")
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatalf("%v; this program writes:\n%s", err, got)
	}
	if got != string(want) {
		t.Errorf("this program writes\n%s, version 1 wrote\n%s", got, want)
	}
}

func TestKeysAreNotPrinted(t *testing.T) {
	k := must[*DataKey](t)(NewDataKey(fixed(1)))
	x := &Index{raw: k.raw}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if s := fmt.Sprintf(format, k); s != "envelope.DataKey" {
			t.Errorf("%s prints %q", format, s)
		}
		if s := fmt.Sprintf(format, x); s != "envelope.Index" {
			t.Errorf("%s prints %q", format, s)
		}
	}
}

func TestNoRandomNoKey(t *testing.T) {
	broken := iotest.ErrReader(errors.New("no entropy"))
	if _, err := NewDataKey(broken); err == nil {
		t.Error("a key without randomness")
	}
	k := must[*DataKey](t)(NewDataKey(rand.Reader))
	if _, err := SealColumn(k, broken, Place{}, []byte("v")); err == nil {
		t.Error("a nonce without randomness")
	}
}

func TestHeadersRefused(t *testing.T) {
	good := must[[]byte](t)(Header{KeyID: "k1"}.Encode())
	for name, b := range map[string][]byte{
		"empty": nil, "short": good, "other magic": append([]byte("ELCX"), good[4:]...),
		"other version": append([]byte("ELCO\x02"), append(good[5:], make([]byte, 64)...)...),
		"no key id":     append([]byte("ELCO\x01\x00"), make([]byte, 64)...),
		"capital id":    append([]byte("ELCO\x01\x01K"), make([]byte, 64)...),
		"huge id":       append([]byte("ELCO\x01\xff"), bytes.Repeat([]byte("a"), 400)...),
	} {
		if _, _, err := ParseHeader(b); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, id := range []string{"", "A", "a/b", "é", string(bytes.Repeat([]byte("a"), 65))} {
		if _, err := (Header{KeyID: id}).Encode(); !errors.Is(err, ErrFormat) {
			t.Errorf("key id %q: %v", id, err)
		}
	}
	for _, n := range []int{0, 1025} {
		if _, err := (KeyRecord{KeyID: "k", Wrapped: make([]byte, n)}).Encode(); !errors.Is(err, ErrFormat) {
			t.Errorf("wrapped key of %d bytes: %v", n, err)
		}
	}
}

func seeds() [][]byte {
	k, _ := NewDataKey(fixed(1))
	object, _ := SealObject(k, Header{KeyID: "00ff-1", Nonce: [12]byte{1}}, []byte("part"))
	record, _ := KeyRecord{KeyID: "k1", Wrapped: make([]byte, 44)}.Encode()
	sealed, _ := SealRecord(k, "k1", []byte("record"))
	second, _ := KeyRecord{KeyID: "k1", Wrapped: make([]byte, 44), Sealed: sealed}.Encode()
	return [][]byte{object, record, second, second[:50], object[:40], record[:7], []byte("ELCO\x01\xff"), []byte("ELCK\x02"), nil}
}

// FuzzHeader: what parses re-encodes to the same bytes, and only whole objects open.
func FuzzHeader(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s)
	}
	k, _ := NewDataKey(fixed(1))
	sealed := seeds()[0]
	f.Fuzz(func(t *testing.T, b []byte) {
		h, ciphertext, err := ParseHeader(b)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Fatalf("unexpected kind of error: %v", err)
			}
			return
		}
		head, err := h.Encode()
		if err != nil || !bytes.Equal(append(head, ciphertext...), b) {
			t.Fatalf("re-encoded to other bytes: %v", err)
		}
		if _, err := OpenObject(k, h.KeyID, h.LicenceTag, b); err == nil && !bytes.Equal(b, sealed) {
			t.Fatal("an object opens that nobody sealed")
		}
	})
}

// FuzzKeyRecord: what parses re-encodes to the same bytes.
func FuzzKeyRecord(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseKeyRecord(b)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Fatalf("unexpected kind of error: %v", err)
			}
			return
		}
		if again, err := r.Encode(); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("re-encoded to other bytes: %v", err)
		}
	})
}

// TestRecordBesideAKey: the same content gives the same bytes, opens at its name only, and no byte of it is free.
func TestRecordBesideAKey(t *testing.T) {
	k := must[*DataKey](t)(NewDataKey(rand.Reader))
	plain := []byte(`{"number":"X000000001"}`)
	sealed := must[[]byte](t)(SealRecord(k, "k1", plain))
	if again := must[[]byte](t)(SealRecord(k, "k1", plain)); !bytes.Equal(again, sealed) {
		t.Error("the same record was sealed to other bytes: a create-only store could not adopt it")
	}
	other := must[[]byte](t)(SealRecord(k, "k1", []byte(`{"number":"X000000002"}`)))
	if bytes.Equal(other[1:1+NonceSize], sealed[1:1+NonceSize]) {
		t.Error("one nonce serves two contents")
	}
	if got := must[[]byte](t)(OpenRecord(k, "k1", sealed)); !bytes.Equal(got, plain) {
		t.Errorf("%q", got)
	}
	if _, err := OpenRecord(k, "k2", sealed); !errors.Is(err, ErrOpen) {
		t.Errorf("under another name: %v", err)
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if _, err := OpenRecord(k, "k1", bad); err == nil {
			t.Fatalf("byte %d changed and nobody noticed", i)
		}
	}
	r := KeyRecord{KeyID: "k1", LicenceTag: [32]byte{7}, Wrapped: []byte("wrapped"), Sealed: sealed}
	b := must[[]byte](t)(r.Encode())
	got := must[KeyRecord](t)(ParseKeyRecord(b))
	if got.KeyID != "k1" || got.LicenceTag != r.LicenceTag || !bytes.Equal(got.Wrapped, r.Wrapped) || !bytes.Equal(got.Sealed, sealed) {
		t.Errorf("%+v", got)
	}
	for n := range b[:len(b)-len(sealed)+1] {
		if _, err := ParseKeyRecord(b[:n]); !errors.Is(err, ErrFormat) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
}

// TestDerivedKeys: one for each purpose, the same after a restart, and none of another installation.
func TestDerivedKeys(t *testing.T) {
	ctx := context.Background()
	kek := LocalKEK(must[*DataKey](t)(NewDataKey(rand.Reader)), rand.Reader)
	x, wrapped, err := NewIndex(ctx, kek, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	again := must[*Index](t)(OpenIndex(ctx, kek, wrapped))
	acts := must[*DataKey](t)(x.DataKey("acts"))
	sealed := must[[]byte](t)(SealRecord(acts, "acts/1", []byte("x")))
	if _, err := OpenRecord(must[*DataKey](t)(again.DataKey("acts")), "acts/1", sealed); err != nil {
		t.Error(err)
	}
	if _, err := OpenRecord(must[*DataKey](t)(x.DataKey("audit")), "acts/1", sealed); !errors.Is(err, ErrOpen) {
		t.Errorf("the key of another purpose: %v", err)
	}
	if acts.raw == x.raw {
		t.Error("a derived key is the index key itself")
	}
}

func TestSameKey(t *testing.T) {
	ctx := context.Background()
	kek := LocalKEK(must[*DataKey](t)(NewDataKey(rand.Reader)), rand.Reader)
	a, b := must[*DataKey](t)(NewDataKey(rand.Reader)), must[*DataKey](t)(NewDataKey(rand.Reader))
	wrap := func(k *DataKey) []byte { return must[[]byte](t)(WrapKey(ctx, kek, "k1", k)) }
	if same, err := SameKey(ctx, kek, "k1", wrap(a), wrap(a)); !same || err != nil {
		t.Errorf("two wrappings of one key: %v, %v", same, err)
	}
	if same, err := SameKey(ctx, kek, "k1", wrap(a), wrap(b)); same || err != nil {
		t.Errorf("wrappings of two keys: %v, %v", same, err)
	}
	if _, err := SameKey(ctx, kek, "k2", wrap(a), wrap(a)); err == nil {
		t.Error("under another id")
	}
}

func TestFuzzSeedsReachTheInside(t *testing.T) {
	s := seeds()
	if _, _, err := ParseHeader(s[0]); err != nil {
		t.Error(err)
	}
	for _, b := range s[1:3] {
		if _, err := ParseKeyRecord(b); err != nil {
			t.Error(err)
		}
	}
}

func BenchmarkSealObject(b *testing.B) {
	k, _ := NewDataKey(rand.Reader)
	plain := make([]byte, 60_000)
	b.SetBytes(int64(len(plain)))
	for b.Loop() {
		if _, err := SealObject(k, Header{KeyID: "k1"}, plain); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUnwrapAndSealColumn(b *testing.B) {
	ctx := context.Background()
	k, _ := NewDataKey(rand.Reader)
	kek := LocalKEK(k, rand.Reader)
	wrapped, _ := WrapKey(ctx, kek, "k1", k)
	plain := make([]byte, 900)
	for b.Loop() {
		u, err := UnwrapKey(ctx, kek, "k1", wrapped)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := SealColumn(u, rand.Reader, Place{"licences", "request", "00ff", 1}, plain); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTag(b *testing.B) {
	x := &Index{}
	for b.Loop() {
		x.Tag("child.name", "曹宸书")
	}
}
