package payment

import (
	"testing"
	"time"
)

// A reported start counts only between the payment and now, because the session's end follows from
// it.
func TestApplyConfirmationStartTime(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct{ said, want time.Time }{
		"after the payment":  {noon.Add(30 * time.Second), noon.Add(30 * time.Second)},
		"with the payment":   {noon, noon},
		"before the payment": {noon.Add(-time.Second), noon.Add(time.Minute)},
		"years before":       {time.Unix(1, 0), noon.Add(time.Minute)},
		"in the future":      {noon.Add(time.Hour), noon.Add(time.Minute)},
		"without a time":     {time.Time{}, noon.Add(time.Minute)},
	} {
		for _, state := range []string{"started", "done"} {
			p := Payment{
				ID:            "cr_1",
				Delivery:      Sent,
				Funds:         Paid,
				MaybeAccepted: true,
				PaidAt:        noon,
				CreatedAt:     noon,
				SentAt:        noon,
				Duration:      30 * time.Minute,
				DelayedStart:  time.Minute,
				ConfirmBy:     noon.Add(5 * time.Minute),
				HoldsDevice:   true,
			}
			p, outcome := ApplyConfirmation(p, Confirmation{EventID: "1", State: state, At: c.said},
				noon.Add(time.Minute))
			ends := c.want.Add(31 * time.Minute)
			if state == "done" {
				ends = c.want
			}
			if outcome != ConfirmationTaken || !p.StartedAt.Equal(c.want) || !p.EndsAt.Equal(ends) {
				t.Errorf("%s, %s: %s, started at %v, ends at %v; want %v and %v", name, state, outcome, p.StartedAt,
					p.EndsAt, c.want, ends)
			}
		}
	}
}

// A machine's answer ends a review about the delivery, but none about the money or about a second
// installation.
func TestApplyConfirmationKeepsOtherReviews(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		funds        FundsStatus
		review, says string
		want         string
	}{
		"a failure ends the doubt":           {Paid, ReasonAdopted, "expired", ""},
		"a failure of a disputed payment":    {Disputed, ReasonDisputed, "expired", ReasonDisputed},
		"a failure of an adopted dispute":    {Disputed, ReasonAdopted, "expired", ReasonDisputed},
		"a failure after a lost dispute":     {DisputeLost, ReviewDisputeLost, "failed", ReviewDisputeLost},
		"a failure beside a second sender":   {Paid, ReviewTwins, "failed", ReviewTwins},
		"a failure of a wrong amount":        {Paid, ReviewAmount, "failed", ReviewAmount},
		"a start ends the doubt":             {Paid, ReasonAdopted, "started", ""},
		"a start of a disputed payment":      {Disputed, ReasonDisputed, "started", ReasonDisputed},
		"a start beside a second sender":     {Paid, ReviewTwins, "started", ReviewTwins},
		"a start without a possible capture": {CaptureFailed, ReviewCaptureFailed, "started", ReviewCaptureFailed},
	} {
		p := Payment{ID: "cr_1", Delivery: Failed, Reason: ReasonAdopted, Funds: c.funds, ReviewReason: c.review,
			Amount: 300, MaybeAccepted: true, PaidAt: noon, CreatedAt: noon, ConfirmBy: noon.Add(5 * time.Minute)}
		p, outcome := ApplyConfirmation(p, Confirmation{EventID: "1", State: c.says}, noon.Add(time.Minute))
		if outcome != ConfirmationTaken || p.ReviewReason != c.want {
			t.Errorf("%s: %s, review %q; want %q", name, outcome, p.ReviewReason, c.want)
		}
	}
}
