package issuing_test

import "github.com/elicence/elicence/issuing"

func (h *house) take(m issuing.Move) issuing.Event {
	h.t.Helper()
	e, err := h.service.Take(h.t.Context(), m, who(string(m.Kind)))
	h.must(err)
	return e
}
