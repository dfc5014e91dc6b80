package payment

import (
	"testing"
	"time"

	"notepay/internal/upstream"
)

// Tests of guards that the histories of internal/bridge cannot test, because a later step repairs
// the loss or no history is harmed.

// sentNote returns a credit whose note Notehub has accepted.
func sentNote(now time.Time) Payment {
	return Next(
		Payment{
			ID:            CreditID("cs_test_1"),
			SessionID:     "cs_test_1",
			PaymentIntent: "pi_1",
			Token:         "t",
			DeviceUID:     "dev:1",
			Amount:        300,
			Currency:      "eur",
			Funds:         Paid,
			Delivery:      Sent,
			MaybeAccepted: true,
			SentAt:        now,
			PaidAt:        now,
			CreatedAt:     now,
			ExpiresAt:     now.Add(2 * time.Minute),
			ConfirmBy:     now.Add(2*time.Minute + ConfirmationGrace),
		},
		now,
	)
}

func TestApplyOfferComparesTheAmount(t *testing.T) {
	t.Parallel()
	p := ApplyOffer(Payment{Amount: 300, Currency: "eur", PaymentIntent: "pi_1"},
		CheckoutSession{}, Offer{Amount: 350, Currency: "eur"}, "")
	if p.ReviewReason != ReviewAmount {
		t.Errorf("attention %q; want %q", p.ReviewReason, ReviewAmount)
	}
}

func TestApplyConfirmationWithoutANote(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := sentNote(now)
	p.Delivery, p.MaybeAccepted, p.SentAt = Queued, false, time.Time{}
	after, outcome := ApplyConfirmation(p, Confirmation{State: "started"}, now)
	if outcome != ConfirmationNoPost || after.Delivery != Queued {
		t.Errorf("%s, machine %s; want it ignored", outcome, after.Delivery)
	}
}

func TestApplyConfirmationFailedRefundsAtOnce(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := sentNote(now)
	p.Delivery = Fetched
	after, _ := ApplyConfirmation(p, Confirmation{State: "failed", Code: "E-DOOR"}, now)
	if after.Delivery != Failed || after.MachineCode != "E-DOOR" || after.Step != StepRefund {
		t.Errorf("machine %s, code %q, step %q; want it failed and refunded", after.Delivery, after.MachineCode,
			after.Step)
	}
}

func TestTimedCreditThatIsDoneFreesItsDevice(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := sentNote(now)
	p.Duration, p.HoldsDevice = time.Hour, true
	p, _ = ApplyConfirmation(p, Confirmation{State: "started"}, now)
	if !p.HoldsDevice {
		t.Error("a session that runs does not hold its device")
	}
	p, _ = ApplyConfirmation(p, Confirmation{State: "done"}, now.Add(time.Minute))
	if p.HoldsDevice {
		t.Error("a session that is done holds its device")
	}
}

func TestReleaseThatCameTooLate(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := Fail(sentNote(now), ReasonUnconfirmed)
	p.Funds = Canceling
	refusal := func(reason error) Outcome {
		return Outcome{
			Action: StepCancel,
			Result: upstream.Rejected,
			Err:    &upstream.Error{Outcome: upstream.Rejected, Err: reason},
			Began:  now,
		}
	}
	if after := ApplyOutcome(p, refusal(ErrAlreadyCaptured), now); after.Step != StepRefund {
		t.Errorf("fetched meanwhile: step %q, money %s; want a refund", after.Step, after.Funds)
	}
	if after := ApplyOutcome(p, refusal(ErrAlreadyCanceled), now); after.Funds != Canceled ||
		after.ReviewReason != "" {
		t.Errorf("released already: money %s, attention %q; want it released", after.Funds, after.ReviewReason)
	}
}

func TestUnclearCallIsCheckedAfterItsTimeout(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := sentNote(now)
	p.Delivery, p.MaybeAccepted, p.SentAt = Queued, false, time.Time{}
	p, _ = Claim(Next(p, now), now)
	if p.DueAt.Sub(now) <= CallTimeout {
		t.Errorf("the lease is %v; want more than the time limit", p.DueAt.Sub(now))
	}
	p = ApplyOutcome(p, Outcome{Action: StepPostNote, Result: upstream.Unknown, Began: now},
		now.Add(time.Second))
	if p.Step != StepCheckPending || p.DueAt.Sub(now) < CallTimeout {
		t.Errorf("step %q after %v; want a check after the time limit", p.Step, p.DueAt.Sub(now))
	}
}

func TestConfirmationTimedOutNeedsALaterReading(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := sentNote(now)
	p.Delivery = Fetched
	p = Next(p, now)
	after := ConfirmationTimedOut(p, p.ConfirmBy.Add(-time.Millisecond), p.ConfirmBy.Add(time.Minute))
	if after.Delivery != Fetched {
		t.Errorf("machine %s; want it still awaited", after.Delivery)
	}
}

func TestTimedCreditThatFailedFreesItsDevice(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := sentNote(now)
	p.Duration, p.HoldsDevice = time.Hour, true
	if p, _ = ApplyConfirmation(p, Confirmation{State: "busy"}, now); p.HoldsDevice {
		t.Error("a credit that failed holds its device")
	}
}

func TestRejectedPostAfterAnEarlierPost(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := sentNote(now)
	p.Delivery, p.SentAt = Queued, time.Time{} // posted before, and not found
	p = ApplyOutcome(p,
		Outcome{Action: StepPostNote, Result: upstream.Rejected, Began: now}, now)
	if !InDoubt(p, now) || p.Step == StepPostNote || !p.SentAt.IsZero() {
		t.Errorf("%+v; want it not sent any more, never said to be sent, and the answer awaited", p)
	}
}

func TestStaleOutcomeKeepsTheOtherClaim(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := sentNote(now)
	p.CancelReason, p.SentAt = ReasonEnded, now.Add(-time.Hour)
	p, _ = Claim(Next(p, now), now)
	stale := Outcome{Action: StepCheckPending, Stale: true, Began: now.Add(-time.Minute)}
	if p = ApplyOutcome(p, stale, now); !p.InFlight || p.Delivery != Sent {
		t.Errorf("in flight %v, machine %s; want the other worker's claim kept", p.InFlight, p.Delivery)
	}
	p.InFlight = false
	if p = ApplyOutcome(p, stale, now); p.Delivery != Sent || !p.DueAt.Equal(now) {
		t.Errorf("machine %s, due %v; want another check at once", p.Delivery, p.DueAt)
	}
}

func TestRefundOfARefundedCharge(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := Next(Fail(sentNote(now), ReasonUnconfirmed), now)
	p.ReconcileRefund = true
	list := Outcome{
		Action:     StepRefund,
		Reconciled: true,
		Refunds:    []RefundRecord{{Amount: 100, Status: "succeeded"}},
		Began:      now,
	}
	looked := ApplyOutcome(p, list, now)
	if looked.RefundedAmount != 100 || looked.RefundAmount != 200 || looked.RefundSeq != 2 {
		t.Errorf("%d is back, refund %d is of %d; want 100, and the second of 200", looked.RefundedAmount,
			looked.RefundSeq, looked.RefundAmount)
	}
	rejected := Outcome{
		Action: StepRefund,
		Result: upstream.Rejected,
		Err:    &upstream.Error{Outcome: upstream.Rejected, Err: ErrAlreadyRefunded},
		Began:  now,
	}
	p.ReconcileRefund = false
	if p = ApplyOutcome(p, rejected, now); !p.ReconcileRefund || p.ReviewReason != "" {
		t.Errorf("already refunded: reconcile %v, review %q; want the refunds read, and no review",
			p.ReconcileRefund, p.ReviewReason)
	}
}

// Under the idempotency key of an earlier state of a restored ledger, Stripe repeats the success of a
// refund that has failed since.
func TestReplayedRefundIsReadAgain(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := Next(Fail(sentNote(now), ReasonUnconfirmed), now)
	made := RefundRecord{ID: "re_1", Credit: p.ID, Number: p.RefundSeq, Amount: p.Amount, Status: "succeeded"}
	if fresh := ApplyOutcome(p, Outcome{Action: StepRefund, Refund: made, Began: now}, now); fresh.Funds != Refunded {
		t.Errorf("%s after a new refund; want refunded", fresh.Funds)
	}
	made.Replayed = true
	p = ApplyOutcome(p, Outcome{Action: StepRefund, Refund: made, Began: now}, now)
	if p.Funds != Refunding || !p.ReconcileRefund || p.Step != StepRefund {
		t.Fatalf("%s, reconcile %v, step %q after a replayed reply; want the refunds read", p.Funds,
			p.ReconcileRefund, p.Step)
	}
	made.Replayed, made.Status = false, "failed"
	p = ApplyOutcome(p, Outcome{Action: StepRefund, Reconciled: true, Refunds: []RefundRecord{made}, Began: now}, now)
	if p.Funds != Refunding || p.RefundSeq != 2 || p.Step != StepRefund {
		t.Errorf("%s, refund %d, step %q; want a second refund", p.Funds, p.RefundSeq, p.Step)
	}
}

// A refund may fail at the bank while the reply to its order is on its way. A success that is reported
// later is older than the failure.
func TestRefundFailsDuringItsOrder(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := claimedPayment(t, Next(Fail(sentNote(now), ReasonUnconfirmed), now), now)
	made := RefundRecord{ID: "re_1", Credit: p.ID, Number: p.RefundSeq, Amount: p.Amount, Status: "failed"}
	p = ApplyRefundUpdate(p, made, now)
	made.Status = "succeeded"
	for name, o := range map[string]Outcome{
		"the reply is lost":  {Action: StepRefund, Result: upstream.Unknown, Began: now},
		"the reply is older": {Action: StepRefund, Refund: made, Began: now},
	} {
		after := ApplyOutcome(p, o, now.Add(time.Second))
		after = ApplyRefundUpdate(after, made, now.Add(2*time.Second)) // the event of its creation
		if after.Funds != Refunding || !after.ReconcileRefund || after.Step != StepRefund {
			t.Errorf("%s: %s, reconcile %v, step %q; want the refunds read", name, after.Funds,
				after.ReconcileRefund, after.Step)
		}
	}
}
