package issuing_test

import (
	"testing"

	"github.com/elicence/elicence/due"
	"github.com/elicence/elicence/issuing"
)

// Deliveries are written for whom the configuration names, of what it names, and for nobody else.
func TestDeliveriesAreForReceiversAlone(t *testing.T) {
	h := newHouse(t)
	l := h.birth(0, "B1")
	h.take(handOver(l.Number, hospital, archive)) // is a receiver
	second := h.birth(1, "B2")
	h.take(handOver(second.Number, hospital, archive2)) // is none
	jobs, err := h.db.Jobs(t.Context(), due.Due, "", 0, 100)
	h.must(err)
	type row struct{ lane, topic, number string }
	want := []row{
		{police.Code, issuing.TopicParts, l.Number}, {archive.Code, issuing.TopicHandOver, l.Number}, {police.Code, issuing.TopicParts, second.Number},
	}
	if len(jobs) != len(want) {
		t.Fatalf("%+v", jobs)
	}
	for n, j := range jobs {
		if got := (row{j.Lane, j.Topic, j.Number}); got != want[n] || j.Issuer != hospital.Code {
			t.Errorf("%+v, want %+v", j, want[n])
		}
	}
}
