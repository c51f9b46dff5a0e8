package issuing_test

import (
	"testing"

	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/licence"
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
