package payment

import (
	"errors"
	"testing"
	"time"

	"notepay/internal/upstream"
)

// The operator's decisions in every state of a payment. A decision that is not allowed changes
// nothing.
func TestOperatorDecisionsAllowed(t *testing.T) {
	t.Parallel()
	type state struct {
		money                FundsStatus
		story                func(*tale)
		retry, giveBack, end bool // allowed
	}
	fails := func(s *tale) { s.post(upstream.Rejected) }
	for name, c := range map[string]state{
		"queued":               {"", func(*tale) {}, true, true, true},
		"queued, held":         {Authorized, func(*tale) {}, true, true, true},
		"post unclear":         {"", func(s *tale) { s.post(upstream.Unknown) }, true, true, true},
		"sent":                 {"", func(s *tale) { s.post(upstream.OK) }, true, true, true},
		"being recalled":       {"", func(s *tale) { s.post(upstream.OK); s.look("1:1") }, true, true, true},
		"fetched":              {"", (*tale).fetched, false, true, false},
		"started":              {"", (*tale).starts, false, true, true},
		"started, being taken": {Authorized, (*tale).starts, false, false, true},
		"done":                 {"", func(s *tale) { s.starts(); s.says("done") }, false, true, false},
		"being refunded":       {"", fails, false, false, true}, // the review is dismissed
		"refunded":             {"", func(s *tale) { fails(s); s.refunded() }, false, false, true},
		"being released":       {Authorized, fails, false, false, true},
		"released": {
			Authorized, func(s *tale) { fails(s); s.call(StepCancel, Outcome{}) }, false, false, true,
		},
		"capture failed": {
			Authorized, func(s *tale) { s.starts(); s.refuses(StepCapture, ErrAlreadyCanceled) }, false,
			false, true,
		},
		"refund failed": {"", func(s *tale) { fails(s); s.refundComesTo("failed") }, false, false, true},
		"refund failed for good": {"", func(s *tale) {
			fails(s)
			for n := 1; n < maxRefundTries; n++ {
				s.refundComesTo("failed")
				s.refundsAre(s.refund(n, 350, "failed"))
			}
			s.refundComesTo("failed")
		}, false, true, true},
		"disputed": {"", func(s *tale) { s.starts(); s.dispute("needs_response") }, false, false, true},
		"lost":     {"", func(s *tale) { s.starts(); s.dispute("lost") }, false, false, true},
		"adopted": {
			"",
			func(s *tale) { p := Fail(s.p, ReasonAdopted); p.ReviewReason = ReasonAdopted; s.is(Next(p, s.now)) },
			true, true, true,
		},
		"money is back": {"", func(s *tale) { s.starts(); s.back(350) }, false, false, false},
	} {
		for f, called := range map[firmware]string{plain: "", confirms: ", of a machine that confirms"} {
			t.Run(name+called, func(t *testing.T) {
				t.Parallel()
				money := c.money
				if money == "" {
					money = Paid
				}
				s := beginLife(t, f, money)
				c.story(s)
				before := s.p
				if name == "money is back" && before.ReviewReason != "" {
					t.Fatalf("attention %q", before.ReviewReason)
				}
				for what, d := range map[string]struct {
					allowed bool
					decide  func() (Payment, error)
				}{
					"Retry":    {c.retry, func() (Payment, error) { return Resend(before, 10*time.Minute, s.now) }},
					"GiveBack": {c.giveBack, func() (Payment, error) { return Refund(before, 0, s.now) }},
					"End":      {c.end, func() (Payment, error) { return Cancel(before, s.now) }},
				} {
					p, err := d.decide()
					if d.allowed && err != nil || !d.allowed && !errors.Is(err, ErrState) {
						t.Errorf("%s: %v; want it allowed: %v", what, err, d.allowed)
					}
					if s.seen = what == "End"; err == nil {
						s.is(p)
					} else if p != before {
						t.Errorf("%s was refused and made %+v of %+v", what, p, before)
					}
				}
			})
		}
	}
}

func TestOperatorDecisionsEffects(t *testing.T) {
	decides := func(s *tale) func(Payment, error) {
		return func(p Payment, err error) {
			s.Helper()
			if err != nil {
				s.Fatal(err)
			}
			s.is(p)
		}
	}
	confirm(t, map[string]row{
		"resent while pending: the old note is recalled first": {confirms, "", func(s *tale) {
			s.post(upstream.OK)
			s.later(5 * time.Minute)
			decides(s)(Resend(s.p, 10*time.Minute, s.now))
			end := s.p.ExpiresAt
			if !end.Equal(s.now.Add(10 * time.Minute)) {
				s.Errorf("it ends at %v; want ten minutes from now", end)
			}
			s.look("1:1")
			s.delete(upstream.OK)
			s.look()
			s.post(upstream.OK)
			s.look()
		}, end{Fetched, "", Paid, 0, "", StepWait, true}},
		"retried and fetched already: nothing is sent again": {plain, "", func(s *tale) {
			s.post(upstream.OK)
			decides(s)(Resend(s.p, 10*time.Minute, s.now))
			s.look()
		}, end{Fetched, "", Paid, 0, "", NoStep, false}},
		"retried after it was adopted": {plain, "", func(s *tale) {
			p := Fail(s.p, ReasonAdopted)
			p.ReviewReason = ReasonAdopted
			s.is(Next(p, s.now))
			decides(s)(Resend(s.p, 10*time.Minute, s.now))
			s.fetched()
		}, end{Fetched, "", Paid, 0, "", NoStep, false}},
		"refunded before the note": {both, "", func(s *tale) {
			decides(s)(Refund(s.p, 0, s.now))
			s.refunded()
		}, end{Failed, ReasonReversed, Refunded, 350, "", NoStep, false}},
		"refunded while the note is pending": {both, "", func(s *tale) {
			s.post(upstream.OK)
			decides(s)(Refund(s.p, 0, s.now))
			s.look("1:1")
			s.delete(upstream.OK)
			s.look()
			s.refunded()
		}, end{Failed, ReasonReversed, Refunded, 350, "", NoStep, false}},
		"refunded in two parts": {plain, "", func(s *tale) {
			s.fetched()
			decides(s)(Refund(s.p, 100, s.now))
			s.refunded()
			s.ends(end{Fetched, "", Paid, 100, "", NoStep, false})
			decides(s)(Refund(s.p, 250, s.now))
			s.refunded()
		}, end{Fetched, "", Refunded, 350, "", NoStep, false}},
		"more than is left is not given": {plain, "", func(s *tale) {
			s.fetched()
			s.back(100)
			for _, amount := range []int64{251, -1} {
				if _, err := Refund(s.p, amount, s.now); !errors.Is(err, ErrState) {
					s.Errorf("giving %d back: %v; want %v", amount, err, ErrState)
				}
			}
		}, end{Fetched, "", Paid, 100, "", NoStep, false}},
		"an authorization is released as a whole": {plain, Authorized, func(s *tale) {
			if _, err := Refund(s.p, 100, s.now); !errors.Is(err, ErrState) {
				s.Errorf("a part of a hold: %v; want %v", err, ErrState)
			}
			decides(s)(Refund(s.p, 0, s.now))
			s.call(StepCancel, Outcome{})
		}, end{Failed, ReasonReversed, Canceled, 0, "", NoStep, false}},
		"ended while it waits": {both, "", func(s *tale) {
			s.post(upstream.OK)
			decides(s)(Cancel(s.p, s.now))
			s.look("1:1")
			s.delete(upstream.OK)
			s.look()
			s.refunded()
		}, end{Failed, ReasonEnded, Refunded, 350, "", NoStep, false}},
		"canceled while it runs: the money stays and the machine is notified": {confirms, "", func(s *tale) {
			s.starts()
			decides(s)(Cancel(s.p, s.now))
			if n := NoteOf(s.p); n.PaymentStatus != "ended" || n.CreditID != s.p.ID {
				s.Errorf("the word is %+v; want the credit ended", n)
			}
			s.post(upstream.OK)
		}, end{Done, ReasonEnded, Paid, 0, "", NoStep, false}},
	})
}

// The owner has added funds to the balance, and does not wait for the daily try.
func TestRetryRefund(t *testing.T) {
	t.Parallel()
	waiting := func(t *testing.T, err error) *tale {
		s := beginLife(t, confirms, Paid)
		s.post(upstream.Rejected)
		s.refuses(StepRefund, err)
		return s
	}
	t.Run("is due at once, reads the refunds and keeps the amount", func(t *testing.T) {
		s := waiting(t, ErrBalance)
		s.later(time.Hour)
		p, err := RetryRefund(s.p, s.now)
		if err != nil {
			t.Fatal(err)
		}
		if s.is(p); p.Step != StepRefund || !p.DueAt.Equal(s.now) || !p.ReconcileRefund {
			t.Errorf("%+v; want the refunds read now", p)
		}
		s.refundsAre()
		if s.p.RefundSeq != 2 || s.p.RefundAmount != 350 {
			t.Errorf("refund %d of %d; want another one of the whole amount", s.p.RefundSeq, s.p.RefundAmount)
		}
		s.refunded()
		s.ends(end{Failed, ReasonRefused, Refunded, 350, ReasonRefused, NoStep, false})
	})
	t.Run("adopts a refund that somebody made meanwhile", func(t *testing.T) {
		s := waiting(t, ErrBalance)
		p, err := RetryRefund(s.p, s.now)
		if err != nil {
			t.Fatal(err)
		}
		s.is(p)
		s.refundsAre(RefundRecord{Amount: 350, Status: "succeeded"})
		s.ends(end{Failed, ReasonRefused, Refunded, 350, ReasonRefused, NoStep, false})
	})
	t.Run("is not possible unless a refund waits for another try", func(t *testing.T) {
		for name, p := range map[string]Payment{
			"a payment that is not refunded": beginLife(t, confirms, Paid).p,
			"a first try": func() Payment {
				s := beginLife(t, confirms, Paid)
				s.post(upstream.Rejected)
				return s.p
			}(),
			"a call in flight": func() Payment {
				p := waiting(t, ErrBalance).p
				p.InFlight = true
				return p
			}(),
			"an unanswered call, which Stripe may still apply": func() Payment {
				p := waiting(t, ErrBalance).p
				p.FundsFailures = 1
				return p
			}(),
		} {
			if after, err := RetryRefund(p, p.CreatedAt.Add(time.Hour)); !errors.Is(err, ErrState) || after != p {
				t.Errorf("%s: %v, %+v; want it refused", name, err, after)
			}
		}
	})
}
