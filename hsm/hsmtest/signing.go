package hsmtest

import (
	"bytes"
	"context"
	"sync"
	"testing"

	"github.com/elicence/elicence/signer/purpose"
)

func signsItsForms(t *testing.T, d Driver) {
	_, s := with(t, d, signing()...)
	for _, p := range signing() {
		k := key(t, s, string(p))
		for _, f := range p.Forms() {
			rs := sign(t, k, f, Message(f, 1))
			if verify(k.Public(), Message(f, 2), rs) == nil {
				t.Errorf("%s: one signature for two messages", f)
			}
		}
	}
}

func refusesOtherForms(t *testing.T, d Driver) {
	_, s := with(t, d, signing()...)
	for _, p := range signing() {
		k := key(t, s, string(p))
		for _, f := range purpose.AllForms() {
			if p.Allows(f) {
				continue
			}
			rs, err := k.Sign(t.Context(), f, Message(f, 1))
			refused(t, rs, err, d.Errors.Purpose)
		}
		rs, err := k.Sign(t.Context(), "no such form", Message(p.Forms()[0], 1))
		refused(t, rs, err, d.Errors.Purpose)
	}
}

func refusesMalformed(t *testing.T, d Driver) {
	_, s := with(t, d, signing()...)
	for _, p := range signing() {
		k := key(t, s, string(p))
		for _, f := range p.Forms() {
			good := Message(f, 1)
			bad := [][]byte{nil, {}, {0}, good[:len(good)-1], good[len(good)/2:], append(bytes.Clone(good), 0), append([]byte{0}, good...)}
			for _, other := range purpose.AllForms() {
				if other != f {
					bad = append(bad, Message(other, 1))
				}
			}
			for _, m := range bad {
				rs, err := k.Sign(t.Context(), f, m)
				refused(t, rs, err, purpose.ErrForm)
			}
		}
	}
}

// refusesDigests: whoever could have 32 bytes signed could have anything signed.
func refusesDigests(t *testing.T, d Driver) {
	_, s := with(t, d, signing()...)
	for _, p := range signing() {
		for _, f := range p.Forms() {
			for _, digest := range [][]byte{make([]byte, 32), bytes.Repeat([]byte{0x31}, 32), bytes.Repeat([]byte{0x84}, 32)} {
				rs, err := key(t, s, string(p)).Sign(t.Context(), f, digest)
				refused(t, rs, err, purpose.ErrForm)
			}
		}
	}
}

func leavesTheMessageAlone(t *testing.T, d Driver) {
	_, s := with(t, d, purpose.Events)
	k := key(t, s, "events")
	message := Message(purpose.Event, 1)
	rs := sign(t, k, purpose.Event, message)
	if !bytes.Equal(message, Message(purpose.Event, 1)) {
		t.Fatal("the message was changed")
	}
	copied := bytes.Clone(rs)
	clear(message)
	sign(t, k, purpose.Event, Message(purpose.Event, 2))
	if !bytes.Equal(rs, copied) {
		t.Fatal("an earlier signature changed")
	}
}

// manyAtATime: keys sign and wrap while others are made, retired and saved.
func manyAtATime(t *testing.T, d Driver) {
	const workers, each = 6, 8
	_, s := with(t, d, purpose.Documents, purpose.Events, purpose.DataWrapping)
	must(t, s.Generate("old", purpose.Events))
	documents, events, wrap := key(t, s, "documents"), key(t, s, "events"), wrapper(t, s, "data-wrapping")
	errs := make(chan error, workers*each*3+8)
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for i := range each {
				m := Message(purpose.Credential, w*each+i)
				rs, err := documents.Sign(context.WithoutCancel(t.Context()), purpose.Credential, m)
				if err == nil {
					err = verify(documents.Public(), m, rs)
				}
				errs <- err
				m = Message(purpose.Event, w*each+i)
				if rs, err = events.Sign(context.WithoutCancel(t.Context()), purpose.Event, m); err == nil {
					err = verify(events.Public(), m, rs)
				}
				errs <- err
				sealed, err := wrap.Wrap(context.WithoutCancel(t.Context()), []byte("0123456789abcdef"), m)
				if err == nil {
					_, err = wrap.Unwrap(context.WithoutCancel(t.Context()), sealed, m)
				}
				errs <- err
			}
		})
	}
	group.Go(func() {
		errs <- s.Retire("old")
		errs <- s.Generate("new", purpose.Events)
		errs <- s.Save()
		_, err := s.Key("new")
		errs <- err
	})
	group.Wait()
	close(errs)
	for err := range errs {
		must(t, err)
	}
}

func endedContexts(t *testing.T, d Driver) {
	_, s := with(t, d, purpose.Documents, purpose.DataWrapping)
	ended, end := context.WithCancel(t.Context())
	end()
	rs, err := key(t, s, "documents").Sign(ended, purpose.Credential, Message(purpose.Credential, 1))
	refused(t, rs, err, context.Canceled)
	w := wrapper(t, s, "data-wrapping")
	sealed, err := w.Wrap(ended, []byte("0123456789abcdef"), nil)
	refused(t, sealed, err, context.Canceled)
	sealed, err = w.Wrap(t.Context(), []byte("0123456789abcdef"), nil)
	must(t, err)
	plain, err := w.Unwrap(ended, sealed, nil)
	refused(t, plain, err, context.Canceled)
}
