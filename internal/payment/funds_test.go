package payment

import (
	"testing"
	"time"

	"notepay/internal/upstream"
)

// refusedNote fails the credit, so that the money goes back.
func (s *tale) refusedNote() { s.Helper(); s.post(upstream.Rejected); s.p.ReviewReason = ""; s.is(s.p) }

// starts makes the machine start.
func (s *tale) starts() { s.Helper(); s.fetched(); s.says("started") }

func (s *tale) refuses(step Step, err error) {
	s.Helper()
	s.call(step, Outcome{Result: upstream.Rejected, Err: err, Status: 400})
}

// refundsAre makes a due read of the intent's refunds.
func (s *tale) refundsAre(list ...RefundRecord) {
	s.Helper()
	if p, _ := Claim(s.p, Later(s.now, s.p.DueAt)); !p.ReconcileRefund {
		s.Fatalf("a refund is made before the refunds were read: %+v", s.p)
	}
	s.call(StepRefund, Outcome{Reconciled: true, Refunds: list})
}

// refund returns our refund with a number.
func (s *tale) refund(number int, amount int64, status string) RefundRecord {
	return RefundRecord{Credit: s.p.ID, Number: number, Amount: amount, Status: status}
}

// refundComesTo makes the due refund, and returns it with a status.
func (s *tale) refundComesTo(status string) {
	s.Helper()
	s.call(StepRefund, Outcome{Refund: s.refund(s.p.RefundSeq, s.p.RefundAmount, status)})
}

func (s *tale) brokenRefund() {
	s.Helper()
	s.call(StepRefund, Outcome{Result: upstream.Unknown, Status: 500, Settled: true})
}

// givesBack refunds an amount for the operator.
func (s *tale) givesBack(amount int64) { s.Helper(); s.ordersBack(amount); s.refunded() }

// ordersBack orders a refund for the operator.
func (s *tale) ordersBack(amount int64) {
	s.Helper()
	p, err := Refund(s.p, amount, s.now)
	if err != nil {
		s.Fatal(err)
	}
	s.is(p)
}

// read applies the refunded total of the charge as read now.
func (s *tale) read(amount int64)    { s.Helper(); s.is(ApplyRefundedTotal(s.p, amount, true, s.now)) }
func (s *tale) back(amount int64)    { s.Helper(); s.is(ApplyRefundedTotal(s.p, amount, false, s.now)) }
func (s *tale) dispute(state string) { s.Helper(); s.is(ApplyDisputeStatus(s.p, state, s.now)) }

// One case for each transition of the money.
func TestFundsTransitions(t *testing.T) {
	confirm(t, map[string]row{
		"an authorization is captured when the machine starts": {both, Authorized, func(s *tale) {
			s.starts()
			s.call(StepCapture, Outcome{})
		}, end{Started, "", Paid, 0, "", NoStep, false}},
		"a failed capture is retried": {both, Authorized, func(s *tale) {
			s.starts()
			s.call(StepCapture, Outcome{Result: upstream.Unknown})
		}, end{Started, "", Capturing, 0, "", StepCapture, true}},
		"already captured is captured": {both, Authorized, func(s *tale) {
			s.starts()
			s.refuses(StepCapture, ErrAlreadyCaptured)
		}, end{Started, "", Paid, 0, "", NoStep, false}},
		"a canceled authorization cannot be captured": {both, Authorized, func(s *tale) {
			s.starts()
			s.refuses(StepCapture, ErrAlreadyCanceled)
		}, end{Started, "", CaptureFailed, 0, ReviewCaptureFailed, NoStep, false}},
		"a capture that Stripe rejects is reviewed, and retried": {both, Authorized, func(s *tale) {
			s.starts()
			s.refuses(StepCapture, nil)
		}, end{Started, "", Capturing, 0, ReviewCaptureFailed, StepCapture, false}},
		"a late release leaves only the review of the rejected note": {both, Authorized, func(s *tale) {
			s.refusedNote()
			s.refuses(StepCancel, nil)
			s.call(StepCancel, Outcome{})
		}, end{Failed, ReasonRefused, Canceled, 0, ReasonRefused, NoStep, false}},
		"an authorization of an hour is reviewed": {confirms, Authorized, func(s *tale) {
			s.starts()
			s.later(maxHold)
		}, end{Started, "", Capturing, 0, ReviewHold, StepCapture, false}},

		"an authorization is released when the credit fails": {both, Authorized, func(s *tale) {
			s.refusedNote()
			s.call(StepCancel, Outcome{})
		}, end{Failed, ReasonRefused, Canceled, 0, "", NoStep, false}},
		"already canceled counts as released": {both, Authorized, func(s *tale) {
			s.refusedNote()
			s.refuses(StepCancel, ErrAlreadyCanceled)
		}, end{Failed, ReasonRefused, Canceled, 0, "", NoStep, false}},
		"already captured on a release is refunded": {both, Authorized, func(s *tale) {
			s.refusedNote()
			s.refuses(StepCancel, ErrAlreadyCaptured)
			s.refunded()
		}, end{Failed, ReasonRefused, Refunded, 350, "", NoStep, false}},
		"a release that Stripe rejects is reviewed, and retried": {both, Authorized, func(s *tale) {
			s.refusedNote()
			s.refuses(StepCancel, nil)
		}, end{Failed, ReasonRefused, Canceling, 0, ReviewReleaseRefused, StepCancel, false}},

		"a free credit that failed has nothing to refund": {both, "", func(s *tale) {
			s.p.Amount = 0
			s.post(upstream.Rejected)
		}, end{Failed, ReasonRefused, Paid, 0, ReasonRefused, NoStep, false}},
		"already refunded is refunded": {both, "", func(s *tale) {
			s.refusedNote()
			s.refuses(StepRefund, ErrAlreadyRefunded)
			s.refundsAre(RefundRecord{Amount: 350, Status: "succeeded"})
		}, end{Failed, ReasonRefused, Refunded, 350, "", NoStep, false}},
		"already refunded is repeated by Stripe when that refund has failed, and so another is made": {
			both,
			"",
			func(s *tale) {
				s.refusedNote()
				s.refuses(StepRefund, ErrAlreadyRefunded)
				s.refundsAre(RefundRecord{Amount: 350, Status: "failed"})
				if s.p.RefundSeq != 2 || s.p.ReviewReason != "" {
					s.Errorf("refund %d, attention %q; want the second, and no review", s.p.RefundSeq,
						s.p.ReviewReason)
				}
				s.refunded()
			},
			end{Failed, ReasonRefused, Refunded, 350, "", NoStep, false},
		},
		"a disputed charge is not refunded": {both, "", func(s *tale) {
			s.refusedNote()
			s.refuses(StepRefund, ErrDisputed)
		}, end{Failed, ReasonRefused, Disputed, 0, ReasonDisputed, NoStep, false}},
		"too little balance is reviewed, and retried every day": {both, "", func(s *tale) {
			s.refusedNote()
			s.refuses(StepRefund, ErrBalance)
			if d := s.p.DueAt.Sub(s.now); d != 24*time.Hour {
				s.Errorf("tried again in %v; want a day", d)
			}
		}, end{Failed, ReasonRefused, Refunding, 0, ReviewBalance, StepRefund, false}},
		"a late refund leaves only the review of the rejected note": {both, "", func(s *tale) {
			s.refusedNote()
			s.refuses(StepRefund, ErrBalance)
			s.later(24 * time.Hour)
			s.refundsAre() // Stripe may have forgotten the key by then
			s.refunded()
		}, end{Failed, ReasonRefused, Refunded, 350, ReasonRefused, NoStep, false}},
		"a rejected refund is reviewed, reconciled at once, and then retried every day": {both, "", func(s *tale) {
			s.refusedNote()
			for range 3 {
				s.refuses(StepRefund, nil)
				s.refundsAre()
				s.refuses(StepRefund, nil)
				if d := s.p.DueAt.Sub(s.now); d != 24*time.Hour || !s.p.ReconcileRefund {
					s.Fatalf("reconciled again in %v; want a day", d)
				}
				s.refundsAre()
			}
		}, end{Failed, ReasonRefused, Refunding, 0, ReviewRefundRefused, StepRefund, false}},
		"a refund of more than is left is made for what is": {both, "", func(s *tale) {
			s.refusedNote()
			began := s.now
			s.refuses(StepRefund, nil)
			s.refundsAre(RefundRecord{Amount: 100, Status: "succeeded"})
			if s.p.RefundAmount != 250 || s.p.RefundSeq != 2 || s.p.ReviewReason != ReasonRefused {
				s.Errorf("refund %d of %d, attention %q; want the second, of 250", s.p.RefundSeq, s.p.RefundAmount,
					s.p.ReviewReason)
			}
			s.refunded()
			if s.now.Sub(began) > time.Minute {
				s.Errorf("it took %v", s.now.Sub(began))
			}
		}, end{Failed, ReasonRefused, Refunded, 350, ReasonRefused, NoStep, false}},
		"a partial refund by others ends the wait of a refund": {both, "", func(s *tale) {
			s.refusedNote()
			s.refuses(StepRefund, ErrBalance)
			s.back(100)
			if s.p.DueAt.After(s.now) {
				s.Errorf("due at %v; want it reconciled now", s.p.DueAt)
			}
			s.refundsAre(RefundRecord{Amount: 100, Status: "succeeded"})
			s.refunded()
		}, end{Failed, ReasonRefused, Refunded, 350, ReasonRefused, NoStep, false}},
		"an unclear refund is made again under its number": {both, "", func(s *tale) {
			s.refusedNote()
			s.call(StepRefund, Outcome{Result: upstream.Unknown})
			if s.p.ReconcileRefund || s.p.RefundSeq != 1 {
				s.Errorf("%+v; want the same again, which the key makes harmless", s.p)
			}
			s.refunded()
			s.refundsAre(s.refund(1, 350, "succeeded")) // ordered a while ago, so the reply may be old
		}, end{Failed, ReasonRefused, Refunded, 350, "", NoStep, false}},
		"after a stored error what is there is adopted": {both, "", func(s *tale) {
			s.refusedNote()
			s.brokenRefund()
			s.refundsAre(s.refund(1, 350, "succeeded"))
		}, end{Failed, ReasonRefused, Refunded, 350, "", NoStep, false}},
		"after a stored error, and none is there, the next number is made": {both, "", func(s *tale) {
			s.refusedNote()
			s.brokenRefund()
			s.refundsAre()
			if s.p.RefundSeq != 2 || s.p.RefundAmount != 350 {
				s.Errorf("refund %d of %d; want the second of 350", s.p.RefundSeq, s.p.RefundAmount)
			}
			s.refunded()
		}, end{Failed, ReasonRefused, Refunded, 350, "", NoStep, false}},
		"after a stored error and a partial refund by others, the rest is refunded": {both, "", func(s *tale) {
			s.refusedNote()
			s.brokenRefund()
			s.refundsAre(RefundRecord{Amount: 100, Status: "succeeded"})
			if s.p.RefundSeq != 2 || s.p.RefundAmount != 250 {
				s.Errorf("refund %d of %d; want the second of 250", s.p.RefundSeq, s.p.RefundAmount)
			}
			s.refunded()
		}, end{Failed, ReasonRefused, Refunded, 350, "", NoStep, false}},
		"after 23 hours it is looked first": {both, "", func(s *tale) {
			s.refusedNote()
			s.call(StepRefund, Outcome{Result: upstream.Unknown})
			s.later(refundKeyLifetime + time.Second)
			s.refundsAre(s.refund(1, 350, "succeeded"))
		}, end{Failed, ReasonRefused, Refunded, 350, "", NoStep, false}},
		"a pending refund is reconciled after a day": {both, "", func(s *tale) {
			s.refusedNote()
			s.refundComesTo("pending")
			s.later(maxHold) // the operator is told by then
			s.refundsAre(s.refund(1, 350, "pending"))
			s.refundsAre(s.refund(1, 350, "succeeded"))
		}, end{Failed, ReasonRefused, Refunded, 350, "", NoStep, false}},
		"a refund that is due for an hour is reviewed": {both, "", func(s *tale) {
			s.refusedNote()
			s.later(maxHold)
		}, end{Failed, ReasonRefused, Refunding, 0, ReviewOverdue, StepRefund, false}},
		"a refund that failed at the bank is reviewed, reconciled and made again": {both, "", func(s *tale) {
			s.refusedNote()
			s.refundComesTo("failed")
			s.ends(end{Failed, ReasonRefused, RefundFailed, 0, ReviewRefundFailed, StepRefund, false})
			s.refundsAre(s.refund(1, 350, "failed"))
			s.refunded()
		}, end{Failed, ReasonRefused, Refunded, 350, ReasonRefused, NoStep, false}},
		"after five failed refunds the operator decides": {both, "", func(s *tale) {
			s.refusedNote()
			for n := 1; n < maxRefundTries; n++ {
				s.refundComesTo("failed")
				s.refundsAre(s.refund(n, 350, "failed"))
			}
			s.refundComesTo("failed")
		}, end{Failed, ReasonRefused, RefundFailed, 0, ReviewRefundFailed, NoStep, false}},
		"a refund fails long after it succeeded": {both, "", func(s *tale) {
			s.refusedNote()
			s.refunded()
			s.is(ApplyRefundUpdate(s.p, s.refund(1, 350, "failed"), s.now))
		}, end{Failed, ReasonRefused, RefundFailed, 0, ReviewRefundFailed, StepRefund, false}},
		"our own refund's echo only settles the money": {both, "", func(s *tale) {
			s.refusedNote()
			s.is(ApplyRefundUpdate(s.p, s.refund(1, 350, "succeeded"), s.now))
			s.back(350)
		}, end{Failed, ReasonRefused, Refunded, 350, "", NoStep, false}},
		"the charge's event of our own refund makes the refunds be read": {both, "", func(s *tale) {
			s.refusedNote()
			s.back(350)
			s.refundsAre(s.refund(1, 350, "succeeded"))
		}, end{Failed, ReasonRefused, Refunded, 350, "", NoStep, false}},
		"for the charge counts what is pending, too": {both, "", func(s *tale) {
			s.refusedNote()
			s.back(350)
			s.refundsAre(s.refund(1, 350, "pending"))
			s.back(350)
			s.refundsAre(s.refund(1, 350, "pending"))
		}, end{Failed, ReasonRefused, Refunding, 350, "", StepRefund, true}},
		"a partial refund that fails after another one is made again": {plain, "", func(s *tale) {
			s.fetched()
			s.givesBack(100)
			s.givesBack(150)
			s.is(ApplyRefundUpdate(s.p, s.refund(1, 100, "failed"), s.now))
			s.read(150)
			s.refundsAre(s.refund(1, 100, "failed"), s.refund(2, 150, "succeeded"))
			if s.p.RefundSeq != 3 || s.p.RefundAmount != 100 || s.p.ReviewReason != ReviewRefundFailed {
				s.Errorf("refund %d of %d, attention %q; want the third, of 100, and a review", s.p.RefundSeq,
					s.p.RefundAmount, s.p.ReviewReason)
			}
			s.refunded()
		}, end{Fetched, "", Paid, 250, "", NoStep, false}},
		"a part that the bank sends back after others gave as much is made again": {plain, "", func(s *tale) {
			s.fetched()
			s.givesBack(100)
			s.read(200)
			s.is(ApplyRefundUpdate(s.p, s.refund(1, 100, "failed"), s.now))
			s.later(holdRetryInterval)
			s.refundsAre(s.refund(1, 100, "failed"), RefundRecord{Amount: 100, Status: "succeeded"})
			s.refunded()
		}, end{Fetched, "", Paid, 200, "", NoStep, false}},
		"a partial refund by others that failed is ours again": {plain, "", func(s *tale) {
			s.fetched()
			s.read(100)
			s.givesBack(100)
			s.read(100)
			s.refundsAre(s.refund(1, 100, "succeeded"), RefundRecord{Amount: 100, Status: "failed"})
		}, end{Fetched, "", Paid, 100, "", NoStep, false}},
		"a part that fails before its answer was written down is made again": {plain, "", func(s *tale) {
			s.fetched()
			s.givesBack(100)
			s.read(0)
			s.refundsAre(s.refund(1, 100, "failed"))
			s.refunded()
		}, end{Fetched, "", Paid, 100, "", NoStep, false}},
		"a charge that was read before a partial refund does not undo it": {plain, "", func(s *tale) {
			s.fetched()
			s.givesBack(100)
			s.read(0)
			s.refundsAre(s.refund(1, 100, "succeeded"))
		}, end{Fetched, "", Paid, 100, "", NoStep, false}},
		"a part is made though others gave as much while it was ordered": {plain, "", func(s *tale) {
			s.fetched()
			s.ordersBack(50)
			s.brokenRefund()
			s.refundsAre(RefundRecord{Amount: 100, Status: "succeeded"})
			if s.p.RefundSeq != 2 || s.p.RefundAmount != 50 {
				s.Errorf("refund %d of %d; want the second, of 50", s.p.RefundSeq, s.p.RefundAmount)
			}
			s.refunded()
		}, end{Fetched, "", Paid, 150, "", NoStep, false}},
		"an unclear partial refund may still be applied, so a refund by others does not reconcile it early": {
			plain,
			"",
			func(s *tale) {
				s.fetched()
				s.ordersBack(50)
				s.call(StepRefund, Outcome{Result: upstream.Unknown})
				began := s.now
				s.read(20)
				if wait := s.p.DueAt.Sub(began); wait < CallTimeout-time.Second {
					s.Errorf("it is reconciled after %v; want the call to be over", wait)
				}
				s.refundsAre(s.refund(1, 50, "succeeded"), RefundRecord{Amount: 20, Status: "succeeded"})
			},
			end{Fetched, "", Paid, 70, "", NoStep, false},
		},
		"of a part no more is made than others leave": {plain, "", func(s *tale) {
			s.fetched()
			s.ordersBack(50)
			s.read(320)
			s.refundsAre(RefundRecord{Amount: 320, Status: "succeeded"})
			if s.p.RefundAmount != 30 {
				s.Errorf("a refund of %d; want 30", s.p.RefundAmount)
			}
			s.refunded()
		}, end{Fetched, "", Refunded, 350, "", NoStep, false}},
		"a part that the bank refused and others give instead is not made again": {plain, "", func(s *tale) {
			s.fetched()
			s.ordersBack(50)
			s.refundComesTo("failed")
			s.read(50)
			s.refundsAre(s.refund(1, 50, "failed"), RefundRecord{Amount: 50, Status: "succeeded"})
		}, end{Fetched, "", Paid, 50, "", NoStep, false}},
		"others give all back while a part is ordered: the note is recalled": {both, "", func(s *tale) {
			s.post(upstream.OK)
			s.ordersBack(50)
			s.read(350)
			s.refundsAre(RefundRecord{Amount: 350, Status: "succeeded"})
			s.look("1:1")
			s.delete(upstream.OK)
			s.look()
		}, end{Failed, ReasonReversed, Refunded, 350, "", NoStep, false}},
		"and so it is when Stripe says that all is back": {both, "", func(s *tale) {
			s.post(upstream.OK)
			s.ordersBack(50)
			s.refuses(StepRefund, ErrAlreadyRefunded)
			s.refundsAre(RefundRecord{Amount: 350, Status: "succeeded"})
			s.look("1:1")
			s.delete(upstream.OK)
			s.look()
		}, end{Failed, ReasonReversed, Refunded, 350, "", NoStep, false}},
		"a refund that a dispute overtook is not made after a partial refund by others": {plain, "", func(s *tale) {
			s.fetched()
			s.ordersBack(0)
			s.refuses(StepRefund, ErrDisputed)
			s.dispute("won")
			s.read(100)
		}, end{Fetched, "", Paid, 100, "", NoStep, false}},
		"a part that a bank keeps ends the wait of a refund": {both, "", func(s *tale) {
			s.refusedNote()
			s.refuses(StepRefund, nil)
			s.refundsAre()
			s.refuses(StepRefund, nil)
			s.is(ApplyDisputes(s.p, DisputeTotals{Known: true, Lost: 100}, s.now))
			if s.p.DueAt.After(s.now) {
				s.Errorf("due at %v; want it reconciled now", s.p.DueAt)
			}
			s.refundsAre()
			if s.p.RefundAmount != 250 {
				s.Errorf("a refund of %d; want 250", s.p.RefundAmount)
			}
			s.refunded()
		}, end{Failed, ReasonRefused, Refunded, 250, ReviewDisputeLost, NoStep, false}},
		"a refund in a state that is not known has not arrived": {both, "", func(s *tale) {
			s.refusedNote()
			s.brokenRefund()
			s.refundsAre(s.refund(1, 350, "in_review"))
		}, end{Failed, ReasonRefused, Refunding, 350, "", StepRefund, true}},
		"a refund by others counts while ours is due": {both, "", func(s *tale) {
			s.refusedNote()
			s.back(350)
			s.refundsAre(RefundRecord{ID: "re_2", Amount: 350, Status: "succeeded"})
		}, end{Failed, ReasonRefused, Refunded, 350, "", NoStep, false}},
	})
}

// A ledger that was restored orders a refund under the number of another one, which it has forgotten.
func TestRefundUpdateOfAnotherAmount(t *testing.T) {
	t.Parallel()
	s := beginLife(t, confirms, Paid)
	s.post(upstream.Rejected)
	p := s.p
	r := RefundRecord{ID: "re_1", Credit: p.ID, Number: p.RefundSeq, Amount: p.RefundAmount - 250, Status: "succeeded"}
	if got := ApplyRefundUpdate(p, r, s.now); got.Funds != Refunding || !got.ReconcileRefund {
		t.Errorf("%s, reads the refunds %v; want the refunds read", got.Funds, got.ReconcileRefund)
	}
}
