package payment

import (
	"testing"
	"time"

	"notepay/internal/upstream"
)

// A refund by the operator does not depend on the machine, nor the machine on Stripe.
func TestRefundDoesNotWaitForTheMachine(t *testing.T) {
	gives := func(s *tale, amount int64) {
		s.Helper()
		p, err := Refund(s.p, amount, s.now)
		if err != nil {
			s.Fatal(err)
		}
		s.is(p)
	}
	confirm(t, map[string]row{
		"while the note waits to be fetched": {both, "", func(s *tale) {
			s.post(upstream.OK)
			gives(s, 100)
			s.refunded()
		}, end{Sent, "", Paid, 100, "", StepCheckPending, true}},
		"while Notehub cannot be reached": {both, "", func(s *tale) {
			s.post(upstream.Retryable)
			gives(s, 100)
			s.refunded()
			if s.p.Failures != 1 || !s.p.DueAt.After(s.now) {
				s.Errorf("%d failures, next at %v; want Notehub's back-off kept", s.p.Failures, s.p.DueAt)
			}
		}, end{Queued, "", Paid, 100, "", StepPostNote, true}},
		"while an unclear post cannot be checked yet": {both, "", func(s *tale) {
			s.post(upstream.Unknown)
			before := s.p.DueAt
			gives(s, 100)
			s.refunded()
			if !s.p.DueAt.Equal(before) {
				s.Errorf("checked at %v; want %v, when it must be listed", s.p.DueAt, before)
			}
		}, end{Queued, "", Paid, 100, "", StepCheckPending, true}},
		"all of it, while its note cannot be recalled": {both, "", func(s *tale) {
			s.post(upstream.OK)
			gives(s, 0)
			s.call(StepCheckPending, Outcome{Result: upstream.Misconfigured})
			s.refunded()
		}, end{Sent, "", Refunded, 350, "", StepCheckPending, true}},
		"and the machine does not wait for Stripe": {both, "", func(s *tale) {
			gives(s, 100)
			s.post(upstream.Retryable)
			s.call(StepRefund, Outcome{Result: upstream.RateLimited, RetryAfter: time.Hour})
			s.post(upstream.OK)
		}, end{Sent, "", Refunding, 0, "", StepCheckPending, true}},
	})
}

// The credit was recalled and is sent again. A late outcome of a call for the recalled note says
// nothing of the next note.
func TestApplyOutcomeOfARecalledNote(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for name, o := range map[string]Outcome{
		"a post that was taken":       {Action: StepPostNote, Result: upstream.OK},
		"a post that was refused":     {Action: StepPostNote, Result: upstream.Rejected},
		"a post that is unclear":      {Action: StepPostNote, Result: upstream.Unknown},
		"a check that found the note": {Action: StepCheckPending, Result: upstream.OK, NoteIDs: []string{"1:1"}},
		"a check that was rejected":   {Action: StepCheckPending, Result: upstream.Rejected},
	} {
		for _, inFlight := range []bool{false, true} {
			p := Payment{
				ID:           "cr_1",
				Delivery:     Queued,
				Funds:        Paid,
				Amount:       300,
				ExpiresAt:    now.Add(5 * time.Minute),
				CreatedAt:    now.Add(-time.Minute),
				DeliveryAt:   now.Add(-5 * time.Second),
				Step:         StepPostNote,
				DueAt:        now,
				InFlight:     inFlight,
				FencingToken: 5,
			}
			o.Began, o.Stale = now.Add(-40*time.Second), true
			if after := ApplyOutcome(p, o, now); after != p {
				t.Errorf("%s, while it is sent %v: %+v; want it as it was: %+v", name, inFlight, after, p)
			}
			o.Began = now.Add(-time.Second)
			if after := ApplyOutcome(p, o, now); after == p {
				t.Errorf("%s of the next note, while it is sent %v: nothing follows", name, inFlight)
			}
		}
	}
}

// A post was unclear, and Notehub rejected the check for its note. After a resend, another check
// comes before the post.
func TestResendAfterARejectedCheck(t *testing.T) {
	confirm(t, map[string]row{
		"the note is there after all": {confirms, "", func(s *tale) {
			s.post(upstream.Unknown)
			s.call(StepCheckPending, Outcome{Result: upstream.Rejected, Status: 404})
			p, err := Resend(s.p, 10*time.Minute, s.now)
			if err != nil {
				s.Fatal(err)
			}
			s.is(p)
			s.look("1:1")
		}, end{Sent, "", Paid, 0, "", StepCheckPending, true}},
	})
}

// The outcome of a post may be recorded after a deletion of its note was interrupted. The deletion
// stays unclear, so the recall is not proven.
func TestApplyOutcomeOfALateUnclearPost(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	p := Payment{
		ID: "cr_1", Delivery: Sent, Funds: Paid, Amount: 300, MaybeAccepted: true, SentAt: now.Add(-15 * time.Minute),
		ExpiresAt: now.Add(-5 * time.Minute), Step: StepCheckPending, InFlight: true, FencingToken: 3,
		RecallStatus: RecallDeleted, NoteIDs: "1:1", OutcomeUnknown: true, // an interrupted deletion
	}
	p = ApplyOutcome(p,
		Outcome{Action: StepPostNote, Result: upstream.Unknown, Began: now.Add(-15 * time.Minute), Stale: true},
		now)
	if !p.OutcomeUnknown {
		t.Error("a late post has made a deletion clear")
	}
	p = ApplyOutcome(p, Outcome{Action: StepCheckPending, Result: upstream.OK, Began: now}, now)
	if p.Delivery != Failed || p.Reason != ReasonRecallUnclear || p.ReviewReason != ReasonRecallUnclear {
		t.Errorf("the credit is %s (%s), attention %q; want it failed as %s", p.Delivery, p.Reason, p.ReviewReason,
			ReasonRecallUnclear)
	}
}

// A timed credit holds its device from the payment to its end.
func TestTimedSessions(t *testing.T) {
	timed := func(s *tale) {
		p := s.p
		p.Duration, p.DelayedStart, p.HoldsDevice = time.Hour, 5*time.Minute, true
		s.is(Next(p, s.now))
	}
	confirm(t, map[string]row{
		"it runs for the delay and the duration, and is done": {confirms, "", func(s *tale) {
			timed(s)
			s.starts()
			began := s.now
			s.ends(end{Started, "", Paid, 0, "", StepWait, false})
			if !s.p.DueAt.Equal(began.Add(65*time.Minute)) || !s.p.EndsAt.Equal(s.p.DueAt) || !s.p.HoldsDevice {
				s.Errorf("%+v; want it to wait for its end in 65 minutes", s.p)
			}
			s.later(65 * time.Minute)
			if s.p.HoldsDevice {
				s.Error("it holds its device after its end")
			}
		}, end{Done, "", Paid, 0, "", NoStep, false}},
		"of a machine that says nothing it is over when it should be": {plain, "", func(s *tale) {
			timed(s)
			s.post(upstream.OK)
			if want := s.now.Add(65 * time.Minute); !DeviceFreeAt(s.p).Equal(want) || !s.p.EndsAt.IsZero() {
				s.Errorf("its device is free at %v, it ends at %v; want %v, and no known end",
					DeviceFreeAt(s.p), s.p.EndsAt, want)
			}
			s.look()
			if !s.p.HoldsDevice || s.p.Step != StepWait {
				s.Errorf("step %q, it holds its device: %v; want it to until it should be over", s.p.Step,
					s.p.HoldsDevice)
			}
			s.later(65 * time.Minute)
		}, end{Fetched, "", Paid, 0, "", NoStep, false}},
		"one that was recalled gives its device back": {both, "", func(s *tale) {
			timed(s)
			s.post(upstream.OK)
			s.look("1:1")
			s.delete(upstream.OK)
			s.look()
			if s.p.HoldsDevice || !s.p.EndsAt.IsZero() {
				s.Errorf("%+v; want it to hold nothing", s.p)
			}
		}, end{Failed, ReasonRecalled, Refunding, 0, "", StepRefund, true}},
	})
}
