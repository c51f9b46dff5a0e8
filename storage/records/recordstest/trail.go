package recordstest

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/elicence/elicence/audit"
	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/licence"
)

func trail(t *testing.T, e Engine) {
	s := newScene(t, e, 1)
	b := s.beginning("B1")
	l, _, err := s.r.Begin(s.ctx(), b)
	s.must(err)
	refused := s.beginning("B2")
	_, _, err = s.r.Begin(s.ctx(), refused)
	wants(t, err, licence.ErrStockEmpty)
	if links, err := s.r.OfLicence(s.ctx(), refused.Intent.ID); len(links) != 0 || err != nil {
		t.Errorf("a row about what did not happen: %v, %v", links, err)
	}
	reading := audit.Entry{
		At: s.now.Add(time.Minute), Organisation: police, Person: "officer-1", What: "show", Why: "registration", From: "cli:station",
		Licence: l.ID, Fields: []string{"/child/name", "/mother/idNumber"},
	}
	s.must(s.r.Record(s.ctx(), reading))
	s.reopen(Options{})
	links, err := s.r.OfLicence(s.ctx(), l.ID)
	s.must(err)
	if diff := cmp.Diff([]audit.Link{{Entry: b.Audit}, {Entry: reading}}, links); diff != "" {
		t.Errorf("the trail of a licence (-written +read):\n%s", diff)
	}
	if none, err := s.r.OfLicence(s.ctx(), ""); len(none) != 0 || err != nil {
		t.Errorf("the trail of no licence: %d rows, %v", len(none), err)
	}
}

func chain(t *testing.T, e Engine) {
	s := newScene(t, e, 600)
	if broken, rows, err := s.r.CheckChain(s.ctx()); broken != 0 || rows != 0 || err != nil {
		t.Errorf("an unsealed trail: broken at %d, %d rows, %v", broken, rows, err)
	}
	l := s.issue("B1")
	head1, sealed, err := s.r.Seal(s.ctx())
	s.must(err)
	if sealed != 3 || head1 == ([32]byte{}) { // allot, issue, issued
		t.Errorf("%d rows sealed, want 3", sealed)
	}
	head2, sealed, err := s.r.Seal(s.ctx())
	s.must(err)
	if head2 != head1 || sealed != 0 {
		t.Errorf("sealing nothing moved the head, %d rows", sealed)
	}
	together(16, func(int) {
		for range 80 {
			if err := s.r.Record(s.ctx(), s.who("show", l.ID)); err != nil {
				t.Error(err)
			}
		}
	})
	_, sealed, err = s.r.Seal(s.ctx())
	s.must(err)
	if sealed != 16*80 {
		t.Errorf("%d rows sealed, want %d", sealed, 16*80)
	}
	s.reopen(Options{})
	if broken, rows, err := s.r.CheckChain(s.ctx()); broken != 0 || rows != 3+16*80 || err != nil {
		t.Errorf("broken at %d, %d rows, %v", broken, rows, err)
	}
	links, err := s.r.OfLicence(s.ctx(), l.ID)
	s.must(err)
	seen := map[uint64]bool{}
	for _, link := range links {
		if link.Sequence == 0 || link.Hash == ([32]byte{}) || seen[link.Sequence] {
			t.Fatalf("a sealed row has sequence %d", link.Sequence)
		}
		seen[link.Sequence] = true
	}
}

// scan calls each for every file below the scene's folder.
func (s *scene) scan(each func(name string, content []byte)) {
	s.t.Helper()
	folder := s.dir
	if s.engine.Files != nil {
		t, ok := s.t.(*testing.T)
		if !ok {
			s.t.Fatal("only a test looks at files")
		}
		folder = s.engine.Files(t, s.dir)
	}
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err == nil {
			each(d.Name(), b)
		}
		return err
	})
	s.must(err)
}

func nothingOpen(t *testing.T, e Engine) {
	s := newScene(t, e, 10)
	l := s.issue("B1")
	st := step(l, s.last(l), "registered", s.now)
	st.Note, st.NoteName = []byte(childName+" 户口 "+idNumber), "registration"
	s.must(s.r.AppendStep(s.ctx(), st))
	if _, err := s.r.Search(s.ctx(), "child.name", childName); err != nil {
		t.Error(err)
	}
	look := func() {
		t.Helper()
		bytesSeen := 0
		s.scan(func(name string, content []byte) {
			bytesSeen += len(content)
			for what, value := range map[string][]byte{
				"child's name": []byte(childName), "mother's name": []byte(motherName), "id number": []byte(idNumber), "seed": l.Seed[:],
			} {
				if bytes.Contains(content, value) {
					t.Errorf("the %s lies open in %s", what, name)
				}
			}
		})
		if bytesSeen == 0 {
			t.Error("nothing was looked at")
		}
	}
	s.close() // a living engine may keep what it wrote from being read
	look()
	s.open(Options{ReadOnly: true})
	s.must(s.r.Record(s.ctx(), s.who("show", l.ID)))
	s.close()
	look()
}

func anotherKey(t *testing.T, e Engine) {
	s := newScene(t, e, 10)
	s.issue("B1")
	s.close()
	_, err := e.Open(s.ctx(), s.dir, Options{KEK: testKEK(77)})
	wants(t, err, e.Sealed)
	r, err := e.Open(s.ctx(), s.dir, Options{}) // without any key: what is not personal can be read
	s.must(err)
	s.r = r
	_, err = r.ByBusinessID(s.ctx(), hospital, "B1")
	wants(t, err, e.Sealed)
	_, err = r.Search(s.ctx(), "child.name", childName)
	wants(t, err, e.Sealed)
	_, _, err = r.Begin(s.ctx(), s.beginning("B2"))
	wants(t, err, e.Sealed)
	if counts, err := r.Counts(s.ctx()); err != nil || counts.ByStage[issuing.StageIssued] != 1 {
		t.Errorf("counts %v, %v", counts, err)
	}
	s.reopen(Options{})
	s.check(1)
}

func reader(t *testing.T, e Engine) {
	s := newScene(t, e, 10)
	r, err := e.Open(s.ctx(), s.dir, Options{ReadOnly: true, KEK: s.kek})
	s.must(err)
	defer r.Close()
	// What the writer commits is there for the next read of another.
	for i := range 3 {
		l := s.issue("B" + string(rune('0'+i)))
		got, err := r.ByNumber(s.ctx(), l.Number)
		s.must(err)
		s.same(got, l)
	}
	l, err := r.ByNumber(s.ctx(), "A000000001")
	s.must(err)
	who := s.who("x", "")
	for name, err := range map[string]error{
		"begin":    third(r.Begin(s.ctx(), s.beginning("X"))),
		"claim":    second(r.Claim(s.ctx(), l.ID, who)),
		"signed":   r.CommitSigned(s.ctx(), l.ID, 1, signatures(l, "")),
		"issued":   r.CommitIssued(s.ctx(), l.ID, 1, completion(l, s.now)),
		"park":     r.Park(s.ctx(), l.ID, 1, "x"),
		"step":     r.AppendStep(s.ctx(), step(l, s.last(l), "x", s.now)),
		"answers":  r.MarkSequenced(s.ctx(), nil),
		"allot":    r.Allot(s.ctx(), births(hospital), "A000000500", 1, s.now, who),
		"bind":     r.Bind(s.ctx(), births(hospital), "A000000009", "X", s.now, who),
		"spoil":    r.Spoil(s.ctx(), hospital, "A000000009", "lost", s.now, who),
		"number":   second(r.NextStatusNumber(s.ctx())),
		"seal":     third(r.Seal(s.ctx())),
		"org":      r.PutOrganisation(s.ctx(), licence.Organisation{Code: police}),
		"log note": r.PutSigned(s.ctx(), 1, []byte("x")),
	} {
		if !errors.Is(err, e.ReadOnly) {
			t.Errorf("%s by a reader: %v", name, err)
		}
	}
	s.check(3)
}

func second[T any](_ T, err error) error      { return err }
func third[A, B any](_ A, _ B, e error) error { return e }

func spool(t *testing.T, e Engine) {
	s := newScene(t, e, 10)
	l := s.issue("B1")
	shown := func(r Records, person string) {
		t.Helper()
		s.must(r.Record(s.ctx(), audit.Entry{At: s.now, Organisation: police, Person: person, What: "show", Licence: l.ID, Fields: []string{"/child/name"}}))
	}
	r, err := e.Open(s.ctx(), s.dir, Options{ReadOnly: true, KEK: s.kek})
	s.must(err)
	defer r.Close()
	together(16, func(i int) {
		for range 5 {
			shown(r, "officer")
		}
	})
	count := func() (rows int) {
		t.Helper()
		links, err := s.r.OfLicence(s.ctx(), l.ID)
		s.must(err)
		for _, link := range links {
			if link.Entry.What == "show" {
				rows++
			}
		}
		return rows
	}
	// The living writer takes them in when it seals, once.
	for range 2 {
		if _, _, err := s.r.Seal(s.ctx()); err != nil {
			t.Fatal(err)
		}
		if n := count(); n != 80 {
			t.Errorf("%d rows of readers are in the trail, want 80", n)
		}
	}
	shown(r, "another")
	s.reopen(Options{}) // or the next writer when it opens
	if n := count(); n != 81 {
		t.Errorf("%d rows of readers are in the trail, want 81", n)
	}
	s.check(1)
}

func secondWriter(t *testing.T, e Engine) {
	s := newScene(t, e, 10)
	if e.Locked != nil {
		_, err := e.Open(s.ctx(), s.dir, Options{KEK: s.kek})
		wants(t, err, e.Locked)
	}
	s.issue("B1")
	s.reopen(Options{}) // the lock ends with its holder
	s.check(1)
}

func cancelled(t *testing.T, e Engine) {
	s := newScene(t, e, 10)
	gone, cancel := context.WithCancel(s.ctx())
	cancel()
	_, _, err := s.r.Begin(gone, s.beginning("B1"))
	wants(t, err, context.Canceled)
	s.check(0)
	// Callers that give up while others go on harm nobody.
	together(16, func(i int) {
		ctx, cancel := context.WithCancel(s.ctx())
		defer cancel()
		if i%2 == 0 {
			go cancel()
		}
		_, err := issue(ctx, s.r, s.beginning("C"+string(rune('a'+i/4))), 1)
		if err != nil && i%2 == 1 && !errors.Is(err, issuing.ErrFenced) {
			t.Errorf("a patient caller: %v", err)
		}
	})
	for i := range 4 {
		s.issue("C" + string(rune('a'+i)))
	}
	s.check(4)
}

func closed(t *testing.T, e Engine) {
	s := newScene(t, e, 10)
	r := s.r
	s.close()
	if _, _, err := r.Begin(s.ctx(), s.beginning("B1")); err == nil {
		t.Error("closed records took a birth")
	}
	if _, err := r.Counts(s.ctx()); err == nil {
		t.Error("closed records answer")
	}
	if err := r.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
}
