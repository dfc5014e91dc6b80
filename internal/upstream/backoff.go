package upstream

import (
	"context"
	"time"
)

// Sleep waits for d or until ctx ends. It returns the error of ctx in the second case.
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

// Backoff returns how long to wait after the n-th failure in a row, with n from 1. The wait doubles
// from one second up to a minute. jitter, a number in [0, 1) that the caller draws or derives,
// varies it between 80 % and 120 %.
func Backoff(n int, jitter float64) time.Duration {
	d := time.Minute
	if n < 7 {
		d = time.Second << max(n-1, 0)
	}
	return time.Duration(float64(d) * (0.8 + 0.4*jitter))
}
