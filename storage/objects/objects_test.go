package objects

import (
	"errors"
	"strings"
	"testing"
)

func TestAddressIsSM3(t *testing.T) {
	// GB/T 32905-2016 A.1: SM3("abc").
	const want = "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"
	if got := Address([]byte("abc")); got != want {
		t.Fatalf("address of abc is %s, GB/T 32905 says %s", got, want)
	}
	if got := ContentKey([]byte("abc")); got != "objects/66/"+want[2:] {
		t.Fatalf("content key %s", got)
	}
}

func TestKeys(t *testing.T) {
	content := ContentKey([]byte("abc"))
	for _, key := range []string{content, "keys/0011", "tile/0/x001/067.p/8", "checkpoint/latest", "tile/entries/000"} {
		if err := CheckKey(key); err != nil {
			t.Errorf("%q refused: %v", key, err)
		}
	}
	for _, key := range []string{
		"", "x", "/x", "x/", "a//b", "../x", "a/../b", "a/.b", "tile/A", "a/b c", "a/b\x00", "a\\b", "keys/a", "keys/ab/cd",
		"objects/abc", strings.ToUpper(content), content + "0", "objects/../" + content, "a/" + strings.Repeat("b", 201),
		"a" + strings.Repeat("/b", 300),
	} {
		if err := CheckKey(key); !errors.Is(err, ErrKey) {
			t.Errorf("%q: %v, want ErrKey", key, err)
		}
	}
	for _, prefix := range []string{"", "objects/", "objects/a", "tile/0.p"} {
		if err := CheckPrefix(prefix); err != nil {
			t.Errorf("prefix %q refused: %v", prefix, err)
		}
	}
	for _, prefix := range []string{"/", ".", "a/.", "a//", "A", "../"} {
		if err := CheckPrefix(prefix); !errors.Is(err, ErrKey) {
			t.Errorf("prefix %q: %v, want ErrKey", prefix, err)
		}
	}
}
