package upstream

import (
	"testing"
	"time"
)

func TestBackoff(t *testing.T) {
	t.Parallel()
	const s = time.Second
	for _, c := range []struct {
		failure                   int
		minWait, midWait, maxWait time.Duration // with jitter 0, 0.5 and almost 1
	}{
		{0, 800 * time.Millisecond, 1 * s, 1200 * time.Millisecond}, // as after the first
		{1, 800 * time.Millisecond, 1 * s, 1200 * time.Millisecond},
		{2, 1600 * time.Millisecond, 2 * s, 2400 * time.Millisecond},
		{3, 3200 * time.Millisecond, 4 * s, 4800 * time.Millisecond},
		{4, 6400 * time.Millisecond, 8 * s, 9600 * time.Millisecond},
		{5, 12800 * time.Millisecond, 16 * s, 19200 * time.Millisecond},
		{6, 25600 * time.Millisecond, 32 * s, 38400 * time.Millisecond},
		{7, 48 * s, 60 * s, 72 * s},
		{8, 48 * s, 60 * s, 72 * s},
		{1 << 40, 48 * s, 60 * s, 72 * s}, // nothing overflows
	} {
		for _, drawn := range []struct {
			jitter float64
			want   time.Duration
		}{{0, c.minWait}, {0.5, c.midWait}, {0.999999, c.maxWait}} {
			got := Backoff(c.failure, drawn.jitter)
			if (got-drawn.want).Abs() > time.Millisecond || got > c.maxWait {
				t.Errorf("Backoff(%d, %g) = %v; want %v", c.failure, drawn.jitter, got, drawn.want)
			}
		}
	}
}
