package credential_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/emmansun/gmsm/sm3"
	"github.com/fxamacker/cbor/v2"
	tjfoc "github.com/tjfoc/gmsm/sm3"

	"github.com/elicence/elicence/licence/code"
	"github.com/elicence/elicence/signer/credential"
)

// deterministic is another CBOR encoder, as second judge.
func deterministic(tb testing.TB, v any) []byte {
	tb.Helper()
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		tb.Fatal(err)
	}
	b, err := mode.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// treeHash is RFC 6962, 2.1 as it is written there, with the other SM3.
func treeHash(leaves [][]byte) []byte {
	if len(leaves) == 1 {
		return tjfoc.Sm3Sum(append([]byte{0x00}, leaves[0]...))
	}
	k := 1
	for 2*k < len(leaves) {
		k *= 2
	}
	return tjfoc.Sm3Sum(bytes.Join([][]byte{{0x01}, treeHash(leaves[:k]), treeHash(leaves[k:])}, nil))
}

func TestRootIsRFC6962(t *testing.T) {
	all := sampleFields()
	for n := 1; n <= 70; n++ {
		var fields []credential.Field
		var leaves [][]byte
		for i := range n {
			f := all[i%len(all)]
			f.Pointer += strings.Repeat("/x", i/len(all))
			fields = append(fields, f)
			leaf := deterministic(t, []any{"elicence/field/1", 300, f.Pointer, f.Salt[:], f.Value})
			if b, err := credential.LeafBytes(300, f); err != nil || !bytes.Equal(b, leaf) {
				t.Fatalf("leaf of %s: %x, %v; want %x", f.Pointer, b, err, leaf)
			}
			leaves = append(leaves, leaf)
		}
		root, err := credential.Root(300, fields)
		if err != nil || !bytes.Equal(root[:], treeHash(leaves)) {
			t.Fatalf("root of %d leaves: %x, %v", n, root, err)
		}
	}
}

func TestEveryFieldMovesTheRoot(t *testing.T) {
	want, err := credential.Root(1, sampleFields())
	if err != nil {
		t.Fatal(err)
	}
	for i := range sampleFields() {
		for name, change := range map[string]func(f *credential.Field){
			"value":   func(f *credential.Field) { f.Value = "another" },
			"absent":  func(f *credential.Field) { f.Value = map[bool]any{true: "x", false: nil}[f.Value == nil] },
			"salt":    func(f *credential.Field) { f.Salt[15] ^= 1 },
			"pointer": func(f *credential.Field) { f.Pointer += "x" },
		} {
			fields := sampleFields()
			change(&fields[i])
			if got, err := credential.Root(1, fields); err != nil || got == want {
				t.Errorf("%s of field %d: %v", name, i, err)
			}
		}
	}
	if got, _ := credential.Root(2, sampleFields()); got == want {
		t.Error("the schema version is not in the leaves")
	}
	fields := sampleFields()
	fields[0], fields[1] = fields[1], fields[0]
	if got, _ := credential.Root(1, fields); got == want {
		t.Error("the order is not in the tree")
	}
}

func TestFieldsThatAreNone(t *testing.T) {
	field := func(pointer string, value any) []credential.Field {
		return []credential.Field{{Pointer: pointer, Value: value}}
	}
	for name, fields := range map[string][]credential.Field{
		"none": nil, "too many": make([]credential.Field, credential.MaxFields+1), "no pointer": field("", "x"), "not a pointer": field("a", "x"),
		"a bare tilde": field("/a~", "x"), "an escape that is none": field("/a~2", "x"), "a control": field("/a\n", "x"),
		"broken UTF-8": field("/\xff", "x"), "too long a pointer": field("/"+repeat("x", credential.MaxPointer), "x"),
		"a pointer twice": append(field("/a", "x"), field("/a", "y")...), "a float": field("/a", 1.0), "an int": field("/a", 1),
		"a list": field("/a", []any{}), "too great": field("/a", int64(credential.MaxInteger+1)), "too small": field("/a", int64(-credential.MaxInteger-1)),
		"broken text": field("/a", "\xc0\x80"), "too long a text": field("/a", repeat("x", credential.MaxText+1)),
	} {
		if _, err := credential.Root(1, fields); !errors.Is(err, credential.ErrField) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := credential.Root(0, sampleFields()); !errors.Is(err, credential.ErrField) {
		t.Error("schema version 0 is taken")
	}
}

// The derivation of salts is recorded data's too: it must never move.
func TestSaltIsHMAC(t *testing.T) {
	cmd := exec.Command("openssl", "dgst", "-sm3", "-mac", "HMAC", "-macopt", "hexkey:"+hex.EncodeToString(seed[:]), "-binary")
	cmd.Stdin = strings.NewReader("elicence/salt/1\x00/child/name")
	want, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := credential.FieldSalt(seed, "/child/name"); !bytes.Equal(got[:], want[:16]) {
		t.Errorf("%x, OpenSSL says %x", got, want)
	}
	if credential.FieldSalt(seed, "/child/name") == credential.FieldSalt(seed, "/mother/name") {
		t.Error("two fields have one salt")
	}
}

func TestCommitment(t *testing.T) {
	salt, sum := sm3.Sum([]byte("salt")), sm3.Sum([]byte("part"))
	want := tjfoc.Sm3Sum(deterministic(t, []any{"elicence/commit/1", salt[:], sum[:], identifier, "main"}))
	got := credential.PartCommitment(salt, sum, identifier, "main")
	if !bytes.Equal(got[:], want) {
		t.Errorf("%x, want %x", got, want)
	}
	for name, other := range map[string][32]byte{
		"salt": credential.PartCommitment(sum, sum, identifier, "main"), "part's digest": credential.PartCommitment(salt, salt, identifier, "main"),
		"identifier": credential.PartCommitment(salt, sum, identifier+"1", "main"), "part": credential.PartCommitment(salt, sum, identifier, "counterfoil"),
	} {
		if other == got {
			t.Errorf("the %s is not committed to", name)
		}
	}
}

// The mask is written down twice, since what is signed may not lean on the domain; both must mask alike.
func TestMaskIsTheDomains(t *testing.T) {
	for n := range 40 {
		for _, s := range []string{repeat("7", n), repeat("号", n), repeat("𠮷a", n)} {
			if got, want := credential.Mask(s), code.Mask(s); got != want {
				t.Errorf("%d characters: %s and %s", n, got, want)
			}
		}
	}
	if got := credential.Mask("310191200312200026"); got != "310*************26" {
		t.Error(got)
	}
}

func BenchmarkRoot(b *testing.B) {
	var fields []credential.Field
	for range 3 {
		for _, f := range sampleFields() {
			f.Pointer += repeat("x", len(fields))
			fields = append(fields, f)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := credential.Root(1, fields); err != nil {
			b.Fatal(err)
		}
	}
}
