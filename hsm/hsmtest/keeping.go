package hsmtest

import (
	"context"
	"testing"

	"github.com/elicence/elicence/signer/purpose"
)

// reopen closes s and opens its place again.
func reopen(t *testing.T, p Place, s Store) Store {
	t.Helper()
	must(t, s.Save())
	s.Close()
	return open(t, p)
}

func wrongSecret(t *testing.T, d Driver) {
	p, s := with(t, d, purpose.Documents)
	s.Close()
	right := p.Secret()
	for _, wrong := range [][]byte{nil, {}, right[:len(right)-1], append(append([]byte{}, right...), 'x'), []byte("correct horse")} {
		if s, err := p.Open(t.Context(), wrong); err == nil {
			s.Close()
			t.Fatalf("a secret of %d bytes opened what another protects", len(wrong))
		} else {
			refused(t, nil, err, d.Errors.Secret)
		}
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if s, err := p.Open(ended, right); err == nil {
		s.Close()
		t.Fatal("opened with an ended context")
	} else {
		refused(t, nil, err, context.Canceled)
	}
	sign(t, key(t, open(t, p), "documents"), purpose.Credential, Message(purpose.Credential, 1))
}

func lost(t *testing.T, d Driver) {
	p, s := with(t, d, purpose.Documents)
	s.Close()
	p.Lose(t)
	if s, err := p.Open(t.Context(), p.Secret()); err == nil {
		s.Close()
		t.Fatal("a lost place was opened: an empty one in its stead would hide the loss")
	} else {
		refused(t, nil, err, d.Errors.Missing)
	}
}

func damaged(t *testing.T, d Driver) {
	p, s := with(t, d, purpose.Documents)
	s.Close()
	p.Damage(t)
	if s, err := p.Open(t.Context(), p.Secret()); err == nil {
		s.Close()
		t.Fatal("a damaged place was opened")
	} else {
		refused(t, nil, err, d.Errors.Damaged...)
	}
}

func wrongLabels(t *testing.T, d Driver) {
	_, s := with(t, d, purpose.Documents, purpose.DataWrapping)
	_, err := s.Key("no-such")
	refused(t, nil, err, d.Errors.NoKey)
	_, err = s.Wrapper("no-such")
	refused(t, nil, err, d.Errors.NoKey)
	_, err = s.Key("data-wrapping")
	refused(t, nil, err, d.Errors.Purpose)
	_, err = s.Wrapper("documents")
	refused(t, nil, err, d.Errors.Purpose)
	refused(t, nil, s.Retire("no-such"), d.Errors.NoKey)
	refused(t, nil, s.Disable("no-such"), d.Errors.NoKey)
	refused(t, nil, s.Generate("documents", purpose.Events), d.Errors.Label)
	refused(t, nil, s.Generate("data-wrapping", purpose.Events), d.Errors.Label)
	for _, label := range []string{"", "-", "Documents", "a b", "../a", "文件", "a\n"} {
		refused(t, nil, s.Generate(label, purpose.Events), d.Errors.Label)
	}
	refused(t, nil, s.Generate("other", "lunch"), d.Errors.Purpose)
	// None of this did harm.
	sign(t, key(t, s, "documents"), purpose.Credential, Message(purpose.Credential, 1))
}

func keysDiffer(t *testing.T, d Driver) {
	_, s := with(t, d, purpose.Documents)
	must(t, s.Generate("second", purpose.Documents))
	a, b := key(t, s, "documents"), key(t, s, "second")
	m := Message(purpose.Credential, 1)
	if a.Public().Equal(b.Public()) || verify(b.Public(), m, sign(t, a, purpose.Credential, m)) == nil {
		t.Fatal("two labels, one key")
	}
}

func surviveReopening(t *testing.T, d Driver) {
	p, s := with(t, d, signing()...)
	before := map[purpose.Purpose]Key{}
	for _, of := range signing() {
		before[of] = key(t, s, string(of))
	}
	s = reopen(t, p, s)
	for _, of := range signing() {
		k := key(t, s, string(of))
		if !k.Public().Equal(before[of].Public()) {
			t.Fatalf("the key for %s became another", of)
		}
		m := Message(of.Forms()[0], 1)
		must(t, verify(before[of].Public(), m, sign(t, k, of.Forms()[0], m)))
		for _, f := range purpose.AllForms() {
			if !of.Allows(f) {
				rs, err := k.Sign(t.Context(), f, Message(f, 1))
				refused(t, rs, err, d.Errors.Purpose)
			}
		}
	}
}

func retired(t *testing.T, d Driver) {
	p, s := with(t, d, purpose.Documents, purpose.DataWrapping)
	k, w := key(t, s, "documents"), wrapper(t, s, "data-wrapping")
	sealed, err := w.Wrap(t.Context(), []byte("0123456789abcdef"), nil)
	must(t, err)
	must(t, s.Retire("documents"))
	must(t, s.Retire("data-wrapping"))
	for range 2 {
		sign(t, k, purpose.Credential, Message(purpose.Credential, 1))
		out, err := w.Wrap(t.Context(), []byte("0123456789abcdef"), nil)
		refused(t, out, err, d.Errors.State)
		_, err = w.Unwrap(t.Context(), sealed, nil)
		must(t, err)
		s = reopen(t, p, s)
		k, w = key(t, s, "documents"), wrapper(t, s, "data-wrapping")
	}
}

func disabled(t *testing.T, d Driver) {
	p, s := with(t, d, purpose.Documents, purpose.DataWrapping)
	k, w := key(t, s, "documents"), wrapper(t, s, "data-wrapping")
	sealed, err := w.Wrap(t.Context(), []byte("0123456789abcdef"), nil)
	must(t, err)
	must(t, s.Disable("documents"))
	must(t, s.Disable("data-wrapping"))
	// Those that were handed out before stop too.
	rs, err := k.Sign(t.Context(), purpose.Credential, Message(purpose.Credential, 1))
	refused(t, rs, err, d.Errors.State)
	plain, err := w.Unwrap(t.Context(), sealed, nil)
	refused(t, plain, err, d.Errors.State)
	for range 2 {
		_, err = s.Key("documents")
		refused(t, nil, err, d.Errors.State)
		_, err = s.Wrapper("data-wrapping")
		refused(t, nil, err, d.Errors.State)
		refused(t, nil, s.Retire("documents"), d.Errors.State)
		s = reopen(t, p, s)
	}
}

func closed(t *testing.T, d Driver) {
	_, s := with(t, d, purpose.Documents, purpose.DataWrapping)
	k, w := key(t, s, "documents"), wrapper(t, s, "data-wrapping")
	public := *k.Public()
	m := Message(purpose.Credential, 1)
	rs := sign(t, k, purpose.Credential, m)
	s.Close()
	s.Close()
	out, err := k.Sign(t.Context(), purpose.Credential, m)
	refused(t, out, err, d.Errors.State)
	out, err = w.Wrap(t.Context(), []byte("0123456789abcdef"), nil)
	refused(t, out, err, d.Errors.State)
	_, err = s.Key("documents")
	refused(t, nil, err, d.Errors.State)
	refused(t, nil, s.Generate("new", purpose.Events), d.Errors.State)
	refused(t, nil, s.Save(), d.Errors.State)
	must(t, verify(&public, m, rs)) // what was wiped is not the public half
}
