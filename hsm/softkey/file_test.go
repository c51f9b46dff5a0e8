package softkey

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/emmansun/gmsm/sm3"

	"github.com/elicence/elicence/signer/purpose"
)

// counter is randomness that repeats itself, so that seeds are the same in every run.
type counter byte

func (c *counter) Read(b []byte) (int, error) {
	for i := range b {
		*c += 37
		b[i] = byte(*c)
	}
	return len(b), nil
}

func testStore(t testing.TB, purposes ...purpose.Purpose) *Keystore {
	t.Helper()
	c := new(counter)
	k, err := Create(filepath.Join(t.TempDir(), "x.keystore"), []byte("passphrase"), c, WithTestCost(16))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	for _, p := range purposes {
		if err := k.Generate(string(p), p, time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), c); err != nil {
			t.Fatal(err)
		}
	}
	return k
}

func encoded(t testing.TB, k *Keystore) []byte {
	t.Helper()
	b, err := k.encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// reencode writes a parsed file again.
func reencode(t testing.TB, f *file) []byte {
	t.Helper()
	head, err := json.Marshal(f.header)
	if err != nil {
		t.Fatal(err)
	}
	return []byte(string(head) + "\n" + base64.StdEncoding.EncodeToString(f.sealed) + "\n")
}

// FuzzKeystore: a keystore file has one spelling, nothing that is not one is opened, and nothing panics.
func FuzzKeystore(f *testing.F) {
	f.Add([]byte("{}\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		parsed, err := parseFile(b)
		if err != nil {
			if !errors.Is(err, ErrKeystore) {
				t.Fatalf("no reason that callers know: %v", err)
			}
			return
		}
		if !bytes.Equal(reencode(t, parsed), b) {
			t.Fatal("two spellings of one keystore")
		}
		if _, err := parsed.open(make([]byte, 16)); err == nil {
			t.Fatal("opened with a key of zeros")
		}
	})
}

// The committed seeds are what the fuzz target starts from: without them it would test nothing.
func TestKeystoreSeeds(t *testing.T) {
	files, err := filepath.Glob("testdata/fuzz/FuzzKeystore/*")
	if err != nil {
		t.Fatal(err)
	}
	good := 0
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		quoted, ok := bytes.CutPrefix(b, []byte("go test fuzz v1\n[]byte("))
		seed, err := strconv.Unquote(string(bytes.TrimSuffix(quoted, []byte(")\n"))))
		if !ok || err != nil {
			t.Fatalf("%s is no seed: %v", name, err)
		}
		if _, err := parseFile([]byte(seed)); err == nil {
			good++
		}
	}
	if good < 3 || good == len(files) {
		t.Fatalf("of %d seeds %d are keystores: both kinds are needed", len(files), good)
	}
}

func TestEveryChangedByteIsNoticed(t *testing.T) {
	k := testStore(t, purpose.Documents, purpose.DataWrapping)
	b := encoded(t, k)
	for i := range b {
		for _, flip := range []byte{1, 0x20, 0x80} {
			changed := bytes.Clone(b)
			changed[i] ^= flip
			parsed, err := parseFile(changed)
			if err != nil {
				continue
			}
			if _, err := parsed.open(k.key); !errors.Is(err, ErrPassphrase) {
				t.Fatalf("byte %d changed unseen: %v", i, err)
			}
		}
	}
	for n := range b {
		if _, err := parseFile(b[:n]); !errors.Is(err, ErrKeystore) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
}

func TestOtherSpellingsAreRefused(t *testing.T) {
	good := string(encoded(t, testStore(t, purpose.Documents, purpose.DataWrapping)))
	replace := func(old, new string) string {
		t.Helper()
		changed := string(bytes.Replace([]byte(good), []byte(old), []byte(new), 1))
		if changed == good {
			t.Fatalf("%q is not in the file", old)
		}
		return changed
	}
	for name, b := range map[string]string{
		"white space":          replace(`{"format"`, `{ "format"`),
		"unknown member":       replace(`{"format"`, `{"x":1,"format"`),
		"a member twice":       replace(`{"format"`, `{"n":16,"format"`),
		"other case":           replace(`"kdf"`, `"KDF"`),
		"other format":         replace(`keystore/1`, `keystore/2`),
		"other function":       replace(`scrypt`, `argon2`),
		"cost above ours":      replace(`"n":16`, `"n":262144`),
		"cost no power of two": replace(`"n":16`, `"n":17`),
		"cost 1":               replace(`"n":16`, `"n":1`),
		"cost negative":        replace(`"n":16`, `"n":-16`),
		"r":                    replace(`"r":8`, `"r":9`),
		"p":                    replace(`"p":1`, `"p":1024`),
		"short salt":           replace(`"salt":"`, `"salt":"AAAA","x":"`),
		"no keys":              replace(`"keys":[`, `"keys":null,"x":[`),
		"state":                replace(`"active"`, `"asleep"`),
		"purpose":              replace(`"purpose":"documents"`, `"purpose":"lunch"`),
		"label":                replace(`"label":"documents"`, `"label":"Documents"`),
		"label twice":          replace(`"label":"documents"`, `"label":"data-wrapping"`),
		"time zone":            replace(`T00:00:00Z`, `T08:00:00+08:00`),
		"fractions":            replace(`T00:00:00Z`, `T00:00:00.5Z`),
		"fewer keys":           replace(`"keys":[{"label":"documents"`, `"keys":[{"label":"d"},{"label":"documents"`),
		"a third line":         good + "\n",
		"carriage return":      replace("\n", "\r\n"),
		"empty":                "",
		"too large":            good + string(make([]byte, maxKeystore)),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parseFile([]byte(b)); !errors.Is(err, ErrKeystore) {
				t.Fatalf("got %v", err)
			}
		})
	}
}

// Whoever knows the file key could still write a header that shows another public half than is signed with.
func TestHalvesMustBelongTogether(t *testing.T) {
	k := testStore(t, purpose.Documents, purpose.Events)
	k.keys[0].Public, k.keys[1].Public = k.keys[1].Public, k.keys[0].Public
	parsed, err := parseFile(encoded(t, k))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parsed.open(k.key); !errors.Is(err, ErrKeystore) {
		t.Fatalf("got %v", err)
	}
}

func TestCloseWipes(t *testing.T) {
	k := testStore(t, purpose.Documents, purpose.DataWrapping)
	var views [][]byte
	views = append(views, k.key)
	for _, e := range k.keys {
		views = append(views, e.secret)
	}
	words := k.keys[0].private.D.Bits()
	k.Close()
	for _, v := range views {
		if !bytes.Equal(v, make([]byte, len(v))) {
			t.Error("a secret is left in memory")
		}
	}
	for _, w := range words {
		if w != 0 {
			t.Fatal("the private number is left in memory")
		}
	}
}

func TestSecretsAreNotInTheFile(t *testing.T) {
	k := testStore(t, purpose.Documents, purpose.DataWrapping)
	b := encoded(t, k)
	for _, e := range k.keys {
		if bytes.Contains(b, e.secret) || bytes.Contains(b, []byte(base64.StdEncoding.EncodeToString(e.secret))) {
			t.Fatal("a secret stands in the open")
		}
	}
	if bytes.Equal(b, encoded(t, k)) {
		t.Fatal("the same nonce twice")
	}
}

func TestSumsFollowTheFile(t *testing.T) {
	k := testStore(t)
	b, err := readFile(k.path)
	if err != nil || sm3.Sum(b) != k.saved {
		t.Fatalf("the sum of what was written is not remembered: %v", err)
	}
}
