package issuing_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/signer/purpose"
	"github.com/elicence/elicence/storage/objects"
	"github.com/elicence/elicence/storage/objects/objectstest"
	"github.com/elicence/elicence/storage/records"
	"github.com/elicence/elicence/templates"
)

// refused holds a draft to being refused, with want if it is not nil, before a number or a key is used, and to naming no personal value.
func (h *house) refused(s *issuing.Service, a licence.Approved, want error) error {
	h.t.Helper()
	h.faults.set(nil)
	err := h.untouched(func() error {
		_, err := s.Issue(h.t.Context(), a, who("issue"))
		return err
	})
	if want != nil {
		wants(h.t, err, want)
	}
	if points := h.faults.points(); count(points, "sign") > 0 || count(points, "put") > 0 {
		h.t.Errorf("a key was used or an object stored: %v", points)
	}
	for _, value := range personal(a) {
		if strings.Contains(fmt.Sprint(err), value) {
			h.t.Errorf("the error holds the personal value %q", value)
		}
	}
	return err
}

func personal(a licence.Approved) (values []string) {
	document := a.Draft().Document()
	for _, p := range []string{"/child/name", "/mother/name", "/mother/idNumber", "/father/name", "/father/address"} {
		if v, ok := licence.Value(document, p).(string); ok {
			values = append(values, v)
		}
	}
	return values
}

func TestEmptyStock(t *testing.T) {
	h := newHouse(t)
	h.refused(h.service, h.approved(beginner, request(t, 0, "B1")), licence.ErrStockEmpty)
	h.allot(beginner, birthCertificate, "X009000001", 1)
	a := h.approved(beginner, request(t, 0, "B1"))
	if l := h.issue(a); l.Number != "X009000001" || l.Serial != 1 {
		t.Errorf("number %s, serial %d", l.Number, l.Serial)
	}
	h.refused(h.service, h.approved(beginner, request(t, 1, "B2")), licence.ErrStockEmpty)
	if l := h.issue(a); l.Number != "X009000001" {
		t.Errorf("with an empty stock the same request got %s", l.Number)
	}
	h.balanced(1)
}

func TestMissingGlyph(t *testing.T) {
	h := newHouse(t)
	const none = "\U00031350" // in Unicode's extension H, in no font here
	a := h.approved(hospital, request(t, 0, "B1", "/father/name", "曹"+none))
	err := h.refused(h.service, a, nil)
	var missing *templates.MissingGlyph
	if !errors.As(err, &missing) || missing.Rune != []rune(none)[0] || missing.Pointer != "/father/name" || missing.Package == "" {
		t.Errorf("%v", err)
	}
	if points := h.faults.points(); len(points) > 0 {
		t.Errorf("before the glyphs were looked at: %v", points)
	}
	foreign := hospital
	foreign.Name = "样张" + none + "医院"
	if err := h.refused(h.service, h.approved(foreign, request(t, 1, "B2")), nil); !errors.As(err, &missing) {
		t.Errorf("the issuer's own name: %v", err)
	}
	h.refused(h.service, h.approved(hospital, request(t, 2, "B3", "/father/address", strings.Repeat("长", 120))), templates.ErrTooLong)
	h.birth(3, "B4")
	h.balanced(1)
}

func TestClockBeforeTheLastEvent(t *testing.T) {
	h := newHouse(t)
	h.birth(0, "B1")
	a := h.approved(hospital, request(t, 1, "B2"))
	h.clock.add(-time.Hour)
	if err := h.refused(h.service, a, licence.ErrClock); !strings.Contains(err.Error(), "2027-01-05T00:00:00Z") {
		t.Errorf("the error does not say when the last event was: %v", err)
	}
	h.clock.add(time.Hour)
	h.issue(a)

	// The clock goes wrong half way: the event waits for the right time, however often somebody tries.
	b := h.approved(hospital, request(t, 2, "B3"))
	h.faults.set(always("put objects", objectstest.Failed))
	_, err := h.service.Issue(t.Context(), b, who("issue"))
	wants(t, err, errInjected)
	h.faults.set(nil)
	h.clock.add(-365 * 24 * time.Hour)
	for range 5 {
		_, err := h.service.ResumeAll(t.Context(), who("resume"), nil)
		wants(t, err, licence.ErrClock)
	}
	h.clock.add(365 * 24 * time.Hour)
	if n, err := h.service.ResumeAll(t.Context(), who("resume"), nil); n != 1 || err != nil {
		t.Errorf("with the right time: %d finished, %v", n, err)
	}
	h.balanced(3)
}

func TestNoUsableKey(t *testing.T) {
	h := newHouse(t)
	nobody := organisation("样张医院", licence.Hospital, 'H', 99)
	h.must(h.db.PutOrganisation(t.Context(), nobody))
	h.allot(nobody, birthCertificate, "X008000001", 5)
	h.refused(h.service, h.approved(nobody, request(t, 0, "B1")), issuing.ErrKey)
	// A certificate that is over is no usable key: what it signs would not verify.
	h.clock.add(6 * 365 * 24 * time.Hour)
	a := h.approved(hospital, request(t, 0, "B1", "/child/bornAt", "2032-12-30T08:00:00+08:00"))
	if err := h.refused(h.service, a, issuing.ErrKey); !strings.Contains(err.Error(), string(purpose.Documents)) {
		t.Errorf("the error does not name the key's purpose: %v", err)
	}
}

func TestNoApproval(t *testing.T) {
	h := newHouse(t)
	_ = h.untouched(func() error {
		_, err := h.service.Issue(t.Context(), licence.Approved{}, who("issue"))
		wants(t, err, licence.ErrRefused)
		return err
	})
}

// putFails is a store whose Puts all fail in one way.
type putFails struct {
	issuing.Objects
	err error
}

func (p putFails) Put(context.Context, issuing.Object) error { return p.err }

// A full or read-only store: an error that says so and names the licence, and the same licence when there is room.
func TestStoreThatCannotBeWritten(t *testing.T) {
	h := newHouse(t)
	for i, cause := range []error{objects.ErrFull, objects.ErrReadOnly} {
		full := h.serve(func(n *issuing.Needs) { n.Objects = putFails{shelf{h.memory}, cause} })
		a := h.approved(hospital, request(t, i, fmt.Sprint("B", i)))
		for range 5 {
			_, err := full.Issue(t.Context(), a, who("issue"))
			wants(t, err, cause)
			wants(t, err, licence.ErrUnavailable)
			l, _ := h.standing(a)
			if l.Number == "" || !strings.Contains(err.Error(), l.Number) || l.Stage != issuing.StageSigned {
				t.Errorf("%v names no licence, or %s is %s", err, l.Number, l.Stage)
			}
			_, err = full.ResumeAll(t.Context(), who("resume"), nil)
			wants(t, err, cause)
		}
		h.issue(a)
	}
	h.balanced(2)
}

// Records that cannot be written refuse before anything is consumed.
func TestRecordsThatCannotBeWritten(t *testing.T) {
	h := newHouse(t)
	a := h.approved(hospital, request(t, 0, "B1"))
	wrapper, err := h.world.keystore.Wrapper(wrappingLabel)
	h.must(err)
	reader, err := records.Open(t.Context(), filepath.Join(h.dir, "records.db"), records.Options{ReadOnly: true, KEK: wrapper})
	h.must(err)
	defer func() { h.must(reader.Close()) }()
	h.refused(h.serve(func(n *issuing.Needs) { n.Records = reader }), a, records.ErrReadOnly)

	h.commitErr = syscall.ENOSPC
	if err := h.refused(h.service, a, licence.ErrUnavailable); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "disk is full") {
		t.Errorf("the error does not say that the disk is full: %v", err)
	}
	h.commitErr = nil
	h.issue(a)
	h.balanced(1)
}

func TestServiceWithoutAPart(t *testing.T) {
	h := newHouse(t)
	for _, take := range []func(*issuing.Needs){
		func(n *issuing.Needs) { n.Records = nil }, func(n *issuing.Needs) { n.Objects = nil }, func(n *issuing.Needs) { n.Keys = nil },
		func(n *issuing.Needs) { n.Vault = nil }, func(n *issuing.Needs) { n.Renderer = nil }, func(n *issuing.Needs) { n.SelfCheck = nil },
		func(n *issuing.Needs) { n.Directory = nil }, func(n *issuing.Needs) { n.Now = nil },
	} {
		n := issuing.Needs{Records: h.db, Objects: shelf{h.memory}, Keys: keyring{h.world, h.faults}, Vault: h.vault, Renderer: h.renderer,
			SelfCheck: h.selfCheck, Directory: h.db, Now: h.clock.Now}
		take(&n)
		if _, err := issuing.New(n, issuing.Config{StatusSpace: 1, Zone: licence.Zone}); err == nil {
			t.Error("a service without one of its parts")
		}
	}
}
