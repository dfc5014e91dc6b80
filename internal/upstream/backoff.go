package upstream

import (
	"context"
	"time"
)

// Sleep waits for d or for the context, and returns the context's error in the second case.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// Backoff is how long to wait after the n-th failure in a row (n from 1): 1 s, 2 s, 4 s ... up to a
// minute, each between 80 % and 120 % of that by jitter, a number in [0, 1) which the caller draws
// or derives.
func Backoff(n int, jitter float64) time.Duration {
	d := time.Minute
	if n < 7 {
		d = time.Second << max(n-1, 0)
	}
	return time.Duration(float64(d) * (0.8 + 0.4*jitter))
}
