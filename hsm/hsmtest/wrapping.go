package hsmtest

import (
	"bytes"
	"testing"

	"github.com/elicence/elicence/signer/purpose"
)

func wraps(t *testing.T, d Driver) {
	_, s := with(t, d, purpose.DataWrapping)
	w := wrapper(t, s, "data-wrapping")
	for _, size := range []int{1, 16, 32, 64} {
		plain, associated := bytes.Repeat([]byte{7}, size), []byte("licence 42")
		one, err := w.Wrap(t.Context(), plain, associated)
		must(t, err)
		two, err := w.Wrap(t.Context(), plain, associated)
		must(t, err)
		if bytes.Equal(one, two) {
			t.Error("the same bytes twice: a nonce was used again")
		}
		if size >= 16 && bytes.Contains(one, plain) {
			t.Error("the data key stands in the open")
		}
		for _, sealed := range [][]byte{one, two} {
			got, err := w.Unwrap(t.Context(), sealed, associated)
			must(t, err)
			if !bytes.Equal(got, plain) {
				t.Error("another data key came back")
			}
		}
	}
	for _, size := range []int{0, 65, 4096} {
		if out, err := w.Wrap(t.Context(), make([]byte, size), nil); err == nil || out != nil {
			t.Errorf("%d bytes were wrapped: this is for data keys", size)
		}
	}
}

func refusesChangedWraps(t *testing.T, d Driver) {
	_, s := with(t, d, purpose.DataWrapping)
	must(t, s.Generate("other", purpose.DataWrapping))
	w := wrapper(t, s, "data-wrapping")
	associated := []byte("licence 42")
	sealed, err := w.Wrap(t.Context(), []byte("0123456789abcdef"), associated)
	must(t, err)
	for i := range sealed {
		b := bytes.Clone(sealed)
		b[i] ^= 1
		plain, err := w.Unwrap(t.Context(), b, associated)
		refused(t, plain, err, d.Errors.Unwrap)
		plain, err = w.Unwrap(t.Context(), sealed[:i], associated)
		refused(t, plain, err, d.Errors.Unwrap)
	}
	plain, err := w.Unwrap(t.Context(), append(bytes.Clone(sealed), 0), associated)
	refused(t, plain, err, d.Errors.Unwrap)
	plain, err = w.Unwrap(t.Context(), make([]byte, 4096), associated)
	refused(t, plain, err, d.Errors.Unwrap)
	for _, other := range [][]byte{nil, []byte("licence 43"), []byte("licence 4"), []byte("licence 42\x00")} {
		plain, err := w.Unwrap(t.Context(), sealed, other)
		refused(t, plain, err, d.Errors.Unwrap)
	}
	plain, err = wrapper(t, s, "other").Unwrap(t.Context(), sealed, associated)
	refused(t, plain, err, d.Errors.Unwrap)
}

func wrapsSurvive(t *testing.T, d Driver) {
	p, s := with(t, d, purpose.DataWrapping)
	sealed, err := wrapper(t, s, "data-wrapping").Wrap(t.Context(), []byte("0123456789abcdef"), []byte("a"))
	must(t, err)
	s = reopen(t, p, s)
	plain, err := wrapper(t, s, "data-wrapping").Unwrap(t.Context(), sealed, []byte("a"))
	must(t, err)
	if string(plain) != "0123456789abcdef" {
		t.Fatal("another data key came back")
	}
}
