package payment

import (
	"testing"
	"time"
)

func TestClampTimes(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	ahead := now.Add(48 * time.Hour)
	for name, c := range map[string]struct {
		p    Payment
		want time.Duration // of the wait
	}{
		"a note that failed":            {Payment{Step: StepPostNote, Failures: 3, BackoffUntil: ahead}, MaxBackoff},
		"a check after an unclear post": {Payment{Step: StepCheckPending, BackoffUntil: ahead}, MaxBackoff},
		"a refund that failed": {
			Payment{Funds: Refunding, FundsFailures: 1, FundsBackoffUntil: ahead}, MaxBackoff,
		},
		"a refund that rests":        {Payment{Funds: Refunding, FundsBackoffUntil: ahead}, refundRetryInterval},
		"a capture that was refused": {Payment{Funds: Capturing, FundsBackoffUntil: ahead}, holdRetryInterval},
		"a release that failed": {
			Payment{Funds: Canceling, FundsFailures: 1, FundsBackoffUntil: ahead}, MaxBackoff,
		},
		"what is right already": {
			Payment{Step: StepPostNote, Failures: 3, BackoffUntil: now.Add(time.Minute)}, time.Minute,
		},
	} {
		p := ClampTimes(c.p, now)
		until := p.BackoffUntil
		if !p.FundsBackoffUntil.IsZero() {
			until = p.FundsBackoffUntil
		}
		if got := until.Sub(now); got != c.want {
			t.Errorf("%s waits %v; want %v", name, got, c.want)
		}
	}
	p := ClampTimes(
		Payment{SentAt: ahead, StartedAt: ahead, EndsAt: ahead.Add(time.Hour), RefundAt: ahead, ExpiresAt: ahead},
		now,
	)
	if !p.SentAt.Equal(now) || !p.StartedAt.Equal(now) || !p.EndsAt.Equal(now.Add(time.Hour)) ||
		!p.RefundAt.Equal(now) {
		t.Errorf("sent %v, started %v until %v, refunded %v; want now", p.SentAt, p.StartedAt, p.EndsAt, p.RefundAt)
	}
	if !p.ExpiresAt.Equal(ahead) {
		t.Errorf("it expires at %v; want what the note says, %v", p.ExpiresAt, ahead)
	}
}
