package due

import (
	"math"
	"time"
)

// Backoff says how long to wait after failures. The n-th wait in a row is drawn from the upper half of Base·2^(n-1), at
// most Ceiling, so that many that failed together do not come back together.
type Backoff struct {
	Base, Ceiling time.Duration
}

// Wait after the n-th failure in a row, n from 1 on. random is from [0, 1). asked is what the receiver asked for: it is
// kept, within the ceiling.
func (b Backoff) Wait(n int, random float64, asked time.Duration) time.Duration {
	full := float64(b.Base) * math.Pow(2, float64(max(n, 1)-1))
	full = min(full, float64(b.Ceiling))
	wait := time.Duration(full/2 + full/2*random)
	return min(max(wait, asked), b.Ceiling)
}
