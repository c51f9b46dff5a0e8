package recordstest

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/storage/envelope"
)

// rotation: interrupted in the middle, begun again, and at the end only the new key opens anything.
func rotation(t *testing.T, e Engine) {
	const births = 300 // more than one transaction of the rotation
	s := newScene(t, e, births+1)
	together(16, func(i int) {
		for k := i; k < births; k += 16 {
			if _, err := issue(s.ctx(), s.r, s.beginning(fmt.Sprint("B", k)), 1); err != nil {
				t.Error(err)
			}
		}
	})
	before := s.all()
	next := testKEK(50)
	enough := errors.New("power cut")
	copies := map[string][]byte{} // what a caller writes to the keys/ objects
	keep := func(_, keyID string, wrapped []byte) error { copies[keyID] = wrapped; return nil }
	n := 0
	_, err := s.r.Rewrap(s.ctx(), next, s.who("rotate", ""), func(l, keyID string, wrapped []byte) error {
		if n++; n > 100 {
			return enough
		}
		return keep(l, keyID, wrapped)
	})
	wants(t, err, enough)
	during := envelope.Either(next, s.kek)
	s.reopen(Options{KEK: during})
	s.same(s.all()[0], withKey(before[0], copies))
	if done, err := s.r.Rewrap(s.ctx(), next, s.who("rotate", ""), keep); done != births || err != nil {
		t.Fatalf("%d keys rewrapped, want %d, %v", done, births, err)
	}
	s.close()
	_, err = e.Open(s.ctx(), s.dir, Options{KEK: s.kek})
	wants(t, err, e.Sealed)
	s.kek = next
	s.open(Options{})
	after := s.all()
	for i := range before {
		s.same(after[i], withKey(before[i], copies))
	}
	if found, err := s.r.Search(s.ctx(), "business", "B7"); len(found) != 1 || err != nil {
		t.Errorf("after rotation a search finds %d, %v", len(found), err)
	}
	s.issue("new")
	s.check(births + 1)
}

func erasure(t *testing.T, e Engine) {
	s := newScene(t, e, 10)
	l, other := s.issue("B1"), s.issue("B2")
	st := step(l, s.last(l), "registered", s.now)
	st.Note, st.NoteName = []byte(childName), "registration"
	s.must(s.r.AppendStep(s.ctx(), st))
	var sealed [][]byte
	s.close()
	s.scan(func(_ string, content []byte) {
		if at := bytes.Index(content, l.DataKey); at >= 0 {
			sealed = append(sealed, content)
		}
	})
	if len(sealed) == 0 {
		t.Error("the wrapped data key was not found where it must lie: the test would prove nothing")
	}
	s.open(Options{})
	for range 2 { // the same again
		keyID, err := s.r.Erase(s.ctx(), l.ID, s.who("erase", l.ID))
		if keyID != l.DataKeyID || err != nil {
			t.Errorf("key %q, %v", keyID, err)
		}
	}
	got, err := s.r.ByNumber(s.ctx(), l.Number)
	s.must(err)
	if len(got.Request) != 0 || got.Seed != ([32]byte{}) || len(got.Signatures.Credential) != 0 || len(got.DataKey) != 0 {
		t.Error("an erased licence still tells something")
	}
	if got.Number != l.Number || got.RequestDigest != l.RequestDigest || len(got.Signatures.Parts) != 2 {
		t.Error("an erased licence has lost what names nobody")
	}
	if found, err := s.r.Search(s.ctx(), "child.name", childName); err != nil || len(found) != 1 || found[0].ID != other.ID {
		t.Errorf("a search still finds it: %d, %v", len(found), err)
	}
	if notes, err := s.r.Notes(s.ctx(), l.ID); len(notes) != 0 || err != nil {
		t.Errorf("%d notes left, %v", len(notes), err)
	}
	if events, err := s.r.EventsOf(s.ctx(), l.ID); len(events) != 2 || err != nil {
		t.Errorf("%d events left, %v", len(events), err)
	}
	// The same request again finds the erased licence: a number is not given twice.
	if again, fresh, err := s.r.Begin(s.ctx(), s.beginning("B1")); fresh || err != nil || again.ID != l.ID {
		t.Errorf("the same request: fresh %v, %v", fresh, err)
	}
	// A step without words can still be taken; words cannot be kept any more.
	s.must(s.r.AppendStep(s.ctx(), step(l, s.last(l), "handed-over", s.now)))
	noted := step(l, s.last(l), "rejected", s.now)
	noted.Note, noted.NoteName = []byte(childName), "rejection"
	wants(t, s.r.AppendStep(s.ctx(), noted), e.Erased)
	_, err = s.r.Erase(s.ctx(), "none", s.who("erase", ""))
	wants(t, err, licence.ErrNotFound)
	got, err = s.r.ByID(s.ctx(), other.ID)
	s.must(err)
	s.same(got, other)
	if e.Archives {
		return
	}
	// The living engine's files hold the wrapped key no more, wherever it lay.
	s.scan(func(name string, content []byte) {
		if bytes.Contains(content, l.DataKey) {
			t.Errorf("the wrapped data key still lies in %s", name)
		}
	})
}

func withKey(l issuing.Licence, copies map[string][]byte) issuing.Licence {
	if w, ok := copies[l.DataKeyID]; ok {
		l.DataKey = w
	}
	return l
}
