package issuing

import (
	"context"
	"sync"
)

// hands holds each licence in one hand of this process at a time: callers who ask for the same licence wait for each
// other, and do not fence each other off. Between processes epochs do that.
type hands struct {
	mu   sync.Mutex
	full map[string]chan struct{} // by licence id; closed when the hand is empty again
}

// take waits until nobody has the licence in hand. The caller calls release once; an error is ctx's.
func (h *hands) take(ctx context.Context, id string) (release func(), err error) {
	for {
		h.mu.Lock()
		other, taken := h.full[id]
		if !taken {
			if h.full == nil {
				h.full = map[string]chan struct{}{}
			}
			mine := make(chan struct{})
			h.full[id] = mine
			h.mu.Unlock()
			return func() {
				h.mu.Lock()
				delete(h.full, id)
				h.mu.Unlock()
				close(mine)
			}, nil
		}
		h.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
