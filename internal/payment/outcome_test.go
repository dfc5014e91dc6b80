package payment

import (
	"testing"
	"time"

	"notepay/internal/upstream"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// queuedPayment returns a payment for a ten-minute credit, paid at noon.
func queuedPayment() Payment {
	return Next(Payment{ID: CreditID("cs_test_1"), SessionID: "cs_test_1", Funds: Paid, Delivery: Queued,
		Amount: 350, Currency: "eur", PaidAt: noon, CreatedAt: noon, ExpiresAt: noon.Add(10 * time.Minute)}, noon)
}

func claimedPayment(t *testing.T, p Payment, now time.Time) Payment {
	t.Helper()
	p, interrupted := Claim(p, now)
	if !p.InFlight || interrupted != nil {
		t.Fatalf("not claimed: %+v", p)
	}
	return p
}

func TestApplyOutcomeTable(t *testing.T) {
	t.Parallel()
	began := noon.Add(time.Second)
	type want struct {
		machine   DeliveryStatus
		reason    string
		attention string
		step      Step
		earliest  time.Duration // of the next step, after the call ended
		latest    time.Duration
	}
	toTheEnd := 10*time.Minute - time.Second // of the credit, from when the call began
	for name, c := range map[string]struct {
		change  func(*Payment)
		outcome Outcome
		took    time.Duration
		want    want
	}{
		"an accepted note is sent, and checked at its expiry": {
			nil, Outcome{Action: StepPostNote}, 0, want{Sent, "", "", StepCheckPending, toTheEnd, toTheEnd},
		},
		"an accepted note without an expiry is checked in an hour": {
			func(p *Payment) { p.ExpiresAt = time.Time{} }, Outcome{Action: StepPostNote}, 0,
			want{Sent, "", "", StepCheckPending, idleCheckInterval, idleCheckInterval},
		},
		"a rejected note is refunded and reviewed": {
			nil, Outcome{Action: StepPostNote, Result: upstream.Rejected}, 0,
			want{Failed, ReasonRefused, ReasonRefused, StepRefund, 0, 0},
		},
		"our trouble is tried again": {
			nil, Outcome{Action: StepPostNote, Result: upstream.Misconfigured}, 0,
			want{Queued, "", "", StepPostNote, 800 * time.Millisecond, 1200 * time.Millisecond},
		},
		"Retry-After wins over the back-off": {
			nil, Outcome{Action: StepPostNote, Result: upstream.RateLimited, RetryAfter: 42 * time.Second}, 0,
			want{Queued, "", "", StepPostNote, 42 * time.Second, 42 * time.Second},
		},
		"the back-off grows and has a limit": {
			func(p *Payment) { p.Failures = 40 }, Outcome{Action: StepPostNote, Result: upstream.Retryable},
			0, want{Queued, "", "", StepPostNote, 48 * time.Second, 72 * time.Second},
		},
		"an unclear call is checked when its note is listed": {
			nil, Outcome{Action: StepPostNote, Result: upstream.Unknown}, time.Second,
			want{Queued, "", "", StepCheckPending, 24 * time.Second, 24 * time.Second},
		},
		"an unclear call that is over is checked when its note is listed": {
			nil, Outcome{Action: StepPostNote, Result: upstream.Unknown, Status: 500, Settled: true},
			time.Second, want{Queued, "", "", StepCheckPending, MaxListingDelay, MaxListingDelay},
		},
		"a slow unclear call is checked when its note is listed": {
			nil, Outcome{Action: StepPostNote, Result: upstream.Unknown}, 15 * time.Second,
			want{Queued, "", "", StepCheckPending, MaxListingDelay, MaxListingDelay},
		},
		"found pending, it was sent": {
			unclear, Outcome{Action: StepCheckPending, NoteIDs: []string{"1:1"}}, 0,
			want{Sent, "", "", StepCheckPending, toTheEnd, toTheEnd},
		},
		"not found, it is posted again": {
			unclear, Outcome{Action: StepCheckPending}, 0, want{Queued, "", "", StepPostNote, 0, 0},
		},
		"not found after failures, it is posted again with back-off": {
			func(p *Payment) { unclear(p); p.Failures = 3 }, Outcome{Action: StepCheckPending}, 0,
			want{Queued, "", "", StepPostNote, 3200 * time.Millisecond, 4800 * time.Millisecond},
		},
		"a failed check is repeated": {
			unclear, Outcome{Action: StepCheckPending, Result: upstream.Unknown}, 15 * time.Second,
			want{Queued, "", "", StepCheckPending, 800 * time.Millisecond, 1200 * time.Millisecond},
		},
		"a refusal after an unclear post is doubtful": {
			unclear, Outcome{Action: StepCheckPending, Result: upstream.Rejected}, 0,
			want{Failed, ReasonUnclear, ReasonUnclear, NoStep, 0, 0},
		},
		"an unclear post that ran out is doubtful": {
			func(p *Payment) { unclear(p); p.ExpiresAt = noon.Add(time.Second) },
			Outcome{Action: StepCheckPending}, 0, want{Failed, ReasonUnclear, ReasonUnclear, NoStep, 0, 0},
		},
		"a call that outlived the credit is not repeated": {
			func(p *Payment) { p.ExpiresAt = noon.Add(2 * time.Second) },
			Outcome{Action: StepPostNote, Result: upstream.Retryable}, 5 * time.Second,
			want{Failed, ReasonExpired, "", StepRefund, 0, 0},
		},
		"a note accepted after the expiry is checked": {
			func(p *Payment) { p.ExpiresAt = noon.Add(2 * time.Second) }, Outcome{Action: StepPostNote},
			5 * time.Second, want{Sent, "", "", StepCheckPending, -4 * time.Second, 0},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := claimedPayment(t, queuedPayment(), noon)
			if c.change != nil {
				c.change(&p)
			}
			c.outcome.Began = began
			now := began.Add(c.took)
			p = ApplyOutcome(p, c.outcome, now)
			if p.Delivery != c.want.machine || p.Reason != c.want.reason || p.ReviewReason != c.want.attention ||
				p.Step != c.want.step {
				t.Fatalf("machine %s, reason %q, attention %q, step %q; want %+v", p.Delivery, p.Reason,
					p.ReviewReason, p.Step, c.want)
			}
			if p.InFlight || p.OutcomeUnknown != (p.Delivery == Queued && p.Step == StepCheckPending) {
				t.Errorf("in flight %v, unclear %v", p.InFlight, p.OutcomeUnknown)
			}
			if p != Next(p, now) {
				t.Errorf("a second Next makes %+v of %+v", Next(p, now), p)
			}
			if p.Step == NoStep {
				return
			}
			if d := p.DueAt.Sub(now); d < c.want.earliest || d > c.want.latest {
				t.Errorf("due in %v; want %v to %v", d, c.want.earliest, c.want.latest)
			}
		})
	}
}

func unclear(p *Payment) { p.Step, p.MaybeAccepted, p.OutcomeUnknown = StepCheckPending, true, true }

func TestNextAppliesDeadlines(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change  func(*Payment)
		at      time.Time
		machine DeliveryStatus
		step    Step
		due     time.Time
	}{
		"due at once": {nil, noon, Queued, StepPostNote, noon},
		"a moment before its end it is sent": {
			nil, noon.Add(10*time.Minute - 1), Queued, StepPostNote, noon.Add(10*time.Minute - 1),
		},
		"at its end it is not, and the money goes back": {
			nil, noon.Add(10 * time.Minute), Failed, StepRefund, noon.Add(10 * time.Minute),
		},
		"a credit without end is sent whenever": {
			func(p *Payment) { p.ExpiresAt = time.Time{} }, noon.Add(1000 * time.Hour), Queued, StepPostNote,
			noon.Add(1000 * time.Hour),
		},
		"an overdue credit is reviewed after 15 minutes": {
			func(p *Payment) { p.ExpiresAt = time.Time{}; p.BackoffUntil = noon.Add(time.Hour) }, noon,
			Queued, StepPostNote, noon.Add(15 * time.Minute),
		},
		"a long wait is cut short by the end": {
			func(p *Payment) { p.BackoffUntil = noon.Add(time.Hour) }, noon, Queued, StepPostNote,
			noon.Add(10 * time.Minute),
		},
		"what may have been sent is checked first": {
			unclear, noon.Add(time.Hour), Queued, StepCheckPending, noon.Add(time.Hour),
		},
		"what is only authorized is sent, too": {
			func(p *Payment) { p.Funds = Authorized }, noon, Queued, StepPostNote, noon,
		},
		"what a worker holds stays as it is, even at the end": {
			func(p *Payment) { p.InFlight, p.DueAt = true, noon.Add(Lease) }, noon.Add(time.Hour), Queued,
			StepPostNote, noon.Add(Lease),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := queuedPayment()
			if c.change != nil {
				c.change(&p)
			}
			p = Next(p, c.at)
			if p.Delivery != c.machine || p.Step != c.step || !p.DueAt.Equal(c.due) {
				t.Errorf("machine %s, step %q, due %v; want %s, %q, %v", p.Delivery, p.Step, p.DueAt, c.machine,
					c.step, c.due)
			}
		})
	}
}

func TestClaimAfterAnInterruptedPost(t *testing.T) {
	t.Parallel()
	p := claimedPayment(t, queuedPayment(), noon)
	p, interrupted := Claim(p, noon.Add(Lease))
	if interrupted == nil || !interrupted.Began.Equal(noon) || interrupted.Action != StepPostNote {
		t.Fatalf("interrupted %+v; want the post that began at noon", interrupted)
	}
	if p.Step != StepCheckPending || !p.InFlight || !p.OutcomeUnknown || p.Failures != 0 {
		t.Errorf("step %q, in flight %v, unclear %v, failures %d; want a check that counts no failure", p.Step,
			p.InFlight, p.OutcomeUnknown, p.Failures)
	}
}

func TestClaimAfterAnInterruptedCheck(t *testing.T) {
	t.Parallel()
	p := queuedPayment()
	unclear(&p)
	p = claimedPayment(t, Next(p, noon), noon)
	p, interrupted := Claim(p, noon.Add(Lease))
	if interrupted == nil || p.Step != StepCheckPending || !p.InFlight {
		t.Errorf("%+v after %+v; want the check again", p, interrupted)
	}
}

func TestApplyOutcomeStale(t *testing.T) {
	t.Parallel()
	first := claimedPayment(t, queuedPayment(), noon)
	later := noon.Add(Lease)
	second, _ := Claim(first, later) // the first worker's lease has ended; a check is due

	t.Run("its success counts while another worker holds the claim", func(t *testing.T) {
		p := ApplyOutcome(second, Outcome{Action: StepPostNote, Began: noon, Stale: true}, later.Add(time.Second))
		if p.Delivery != Sent || !p.InFlight || p.FencingToken != second.FencingToken || p.Step != second.Step ||
			!p.DueAt.Equal(second.DueAt) {
			t.Errorf("%+v; want sent, and the claim untouched", p)
		}
		// The note is not pending, so it was fetched.
		p = ApplyOutcome(p, Outcome{Action: StepCheckPending, Began: later.Add(time.Second + MaxListingDelay)},
			later.Add(Lease))
		if p.Delivery != Fetched || p.Step != NoStep {
			t.Errorf("%+v; want it fetched and done", p)
		}
	})
	t.Run("its success counts after another worker has recorded, and is checked", func(t *testing.T) {
		p := ApplyOutcome(second, Outcome{Action: StepCheckPending, Began: later}, later.Add(time.Second))
		if p.Step != StepPostNote {
			t.Fatalf("step %q; want another post", p.Step)
		}
		p.DueAt = later.Add(time.Hour)
		p = ApplyOutcome(p, Outcome{Action: StepPostNote, Began: noon, Stale: true}, later.Add(2*time.Second))
		if p.Delivery != Sent || !p.DueAt.Equal(later.Add(2*time.Second)) {
			t.Fatalf("%+v; want sent and due now", p)
		}
		if p, _ = Claim(p, later.Add(3*time.Second)); p.InFlight || p.Step != StepCheckPending ||
			!p.DueAt.Equal(p.ExpiresAt) {
			t.Errorf("%+v; want nothing to do before its end", p)
		}
	})
	t.Run("its success counts for a credit that waited for its machine alone", func(t *testing.T) {
		waits := second
		waits.ConfirmBy = waits.ExpiresAt.Add(time.Minute)
		p := ApplyOutcome(waits, Outcome{Action: StepCheckPending, Began: later}, waits.ExpiresAt)
		if !InDoubt(p, waits.ExpiresAt) || CallsNotehub(p.Step) {
			t.Fatalf("%+v; want it in doubt, without a call", p)
		}
		p.Step, p.DueAt = NoStep, time.Time{} // after the review of an overdue credit
		at := waits.ExpiresAt.Add(time.Second)
		p = ApplyOutcome(p, Outcome{Action: StepPostNote, Began: noon, Stale: true}, at)
		if p.Delivery != Sent || !p.DueAt.Equal(at) {
			t.Fatalf("%+v; want sent and due now", p)
		}
		if p, _ = Claim(p, at); p.Step != StepCheckPending {
			t.Errorf("step %q; want a check of the note", p.Step)
		}
	})
	t.Run("its unknown outcome makes a check come before the next post", func(t *testing.T) {
		p := ApplyOutcome(second, Outcome{Action: StepCheckPending, Began: later}, later.Add(time.Second))
		p = ApplyOutcome(p, Outcome{Action: StepPostNote, Result: upstream.Unknown, Began: noon, Stale: true},
			later.Add(2*time.Second))
		if p, _ = Claim(p, later.Add(3*time.Second)); p.Step != StepCheckPending {
			t.Errorf("step %q; want a check", p.Step)
		}
	})
	t.Run("a note that turns up after the credit failed makes the failure doubtful", func(t *testing.T) {
		p := Next(Fail(first, ReasonExpired), later)
		p = ApplyOutcome(p, Outcome{Action: StepPostNote, Began: noon, Stale: true}, later.Add(2*time.Second))
		if p.Delivery != Failed || p.ReviewReason != ReasonUnclear || !p.MaybeAccepted {
			t.Errorf("%+v; want it failed and doubtful", p)
		}
	})
}
