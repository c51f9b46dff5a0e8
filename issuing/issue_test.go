package issuing_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/storage/objects"
	"github.com/elicence/elicence/storage/objects/objectstest"
)

// Four kinds of issue, each with all that belongs to it, and the same answer when it is asked for again.
func TestEveryKindOfIssue(t *testing.T) {
	h := newHouse(t)
	first := h.birth(0, "B1")
	exchange := h.approved(hospital, h.reissue(first, licence.KindExchange, "B1-X"))
	second := h.issue(exchange)
	replacement := h.approved(hospital, h.reissue(second, licence.KindReplacement, "B1-R"))
	third := h.issue(replacement)
	backfile := h.approved(hospital, request(t, 1, "P1", "/kind", "backfile", "/paper/number", "X310000007", "/paper/issueDate", "2026-12-20"))
	paper := h.issue(backfile)
	if paper.Number != "X310000007" || paper.IssueTime.In(licence.Zone).Format("2006-01-02") != "2026-12-20" {
		t.Errorf("the backfile has number %s and date %s", paper.Number, paper.IssueTime)
	}
	for _, c := range []struct {
		old  string
		next issuing.Licence
	}{{first.Number, second}, {second.Number, third}} {
		old := h.licence(c.old)
		if old.Status != issuing.Superseded || old.ReplacedBy != c.next.Number || c.next.Replaces != c.old {
			t.Errorf("%s is %s, replaced by %s", c.old, old.Status, old.ReplacedBy)
		}
	}
	h.balanced(4)
	for _, a := range []licence.Approved{exchange, replacement, backfile} {
		again, err := h.service.Issue(t.Context(), a, who("issue"))
		if err != nil || again.Fresh {
			t.Errorf("%s again: fresh %v, %v", a.Draft().Kind(), again.Fresh, err)
		}
	}
	h.balanced(4)
}

// What is drawn again is what was signed, byte for byte, but for the signature.
func TestDrawnAgain(t *testing.T) {
	h := newHouse(t)
	l := h.birth(0, "B1")
	h.restart()
	l = h.licence(l.Number)
	for i, name := range l.Parts {
		file, err := h.service.Part(t.Context(), l, name)
		h.must(err)
		drawn, err := h.service.Draw(t.Context(), l, i)
		h.must(err)
		at := bytes.LastIndex(file, []byte("/Contents<")) + len("/Contents<")
		end := at + bytes.IndexByte(file[at:], '>')
		if len(drawn) != len(file) || !bytes.Equal(drawn[:at], file[:at]) || !bytes.Equal(drawn[end:], file[end:]) {
			t.Errorf("%s is drawn differently", name)
		}
		if strings.Trim(string(drawn[at:end]), "0") != "" || strings.Trim(string(file[at:end]), "0") == "" {
			t.Errorf("%s: what is drawn again is signed, or what was signed is not", name)
		}
	}
	slip, err := h.service.Slip(l)
	if err != nil || !bytes.HasPrefix(slip, []byte("%PDF-")) {
		t.Errorf("the slip: %d bytes, %v", len(slip), err)
	}
	if _, err := h.service.Part(t.Context(), l, "stub"); !errors.Is(err, licence.ErrNotFound) {
		t.Errorf("a part that there is not: %v", err)
	}
	// A damaged or exchanged object is never handed out.
	memory := h.memory.(*objectstest.Memory)
	memory.Damage(l.Signatures.Parts[0].Address)
	if _, err := h.service.Part(t.Context(), l, l.Parts[0]); !errors.Is(err, objects.ErrDamaged) {
		t.Errorf("a damaged part: %v", err)
	}
	other := h.birth(1, "B2")
	l.Signatures.Parts[1].Address = other.Signatures.Parts[1].Address
	if _, err := h.service.Part(t.Context(), l, l.Parts[1]); err == nil {
		t.Error("another licence's part was handed out")
	}
}

// The same birth issued by two installations has nothing in common that the ledger or the store would show.
func TestTwoInstallationsShareNothing(t *testing.T) {
	a, b := newHouse(t), newHouse(t)
	l, m := a.birth(0, "B1"), b.birth(0, "B1")
	if l.Handle == m.Handle || l.Seed == m.Seed || l.StatusIndex == m.StatusIndex || l.DataKeyID == m.DataKeyID {
		t.Error("two installations drew the same")
	}
	va, _, err := a.service.View(t.Context(), l)
	a.must(err)
	vb, _, err := b.service.View(t.Context(), m)
	b.must(err)
	for i := range va.Parts {
		if va.Parts[i].Commitment == vb.Parts[i].Commitment || l.Signatures.Parts[i].Address == m.Signatures.Parts[i].Address {
			t.Errorf("part %s has the same commitment or address", va.Parts[i].Part)
		}
	}
	if va.Parts[0].Commitment == va.Parts[1].Commitment {
		t.Error("both parts have one commitment")
	}
}
