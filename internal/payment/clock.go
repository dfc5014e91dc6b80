package payment

import "time"

// ClampTimes corrects times that a clock ahead of Stripe's has stored. Past events are moved to now
// at the latest, and waits are limited to their maximum. ExpiresAt stays, because the machine has
// received it.
func ClampTimes(p Payment, now time.Time) Payment {
	if p.StartedAt.After(now) {
		if !p.EndsAt.IsZero() {
			p.EndsAt = p.EndsAt.Add(now.Sub(p.StartedAt))
		}
		p.StartedAt = now
	}
	if p.SentAt.After(now) {
		p.SentAt = now
	}
	if p.RefundAt.After(now) {
		p.RefundAt = now
	}
	if until := now.Add(MaxBackoff); p.BackoffUntil.After(until) {
		p.BackoffUntil = until
	}
	if until := now.Add(maxFundsWait(p)); p.FundsBackoffUntil.After(until) {
		p.FundsBackoffUntil = until
	}
	return p
}

// maxFundsWait returns the maximum wait before the next call to Stripe.
func maxFundsWait(p Payment) time.Duration {
	switch {
	case p.FundsFailures > 0:
	case p.Funds == Refunding || p.Funds == RefundFailed:
		return refundRetryInterval
	case p.Funds == Capturing || p.Funds == Canceling:
		return holdRetryInterval
	}
	return MaxBackoff
}
