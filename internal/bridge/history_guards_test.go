package bridge

import (
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// Tests of guards that the histories cannot test, because a later step repairs the loss or no
// history is harmed.

// guarded returns a bridge with a ledger, but without loops or vendors.
func guarded(t *testing.T) *Bridge {
	t.Helper()
	l, err := ledger.Open(t.Context(), filepath.Join(t.TempDir(), "notepay.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	log := slog.New(slog.DiscardHandler)
	devices, err := fleet.New(t.Context(), fleet.Config{Ledger: l, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	return New(
		Config{
			Ledger:        l,
			Fleet:         devices,
			Log:           log,
			Project:       "app:1",
			Lifetime:      10 * time.Minute,
			ConfirmWithin: 2 * time.Minute,
			Observe:       &published{},
		},
	)
}

func (b *Bridge) stored(t *testing.T, p payment.Payment) {
	t.Helper()
	err := b.c.Ledger.Update(t.Context(), func(tx *ledger.Tx) error {
		_, err := tx.InsertPayment(p)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// sentNote returns a credit whose note Notehub has accepted.
func sentNote(now time.Time) payment.Payment {
	return payment.Next(
		payment.Payment{
			ID:            payment.CreditID("cs_test_1"),
			SessionID:     "cs_test_1",
			PaymentIntent: "pi_1",
			Token:         "t",
			DeviceUID:     "dev:1",
			Amount:        300,
			Currency:      "eur",
			Funds:         payment.Paid,
			Delivery:      payment.Sent,
			MaybeAccepted: true,
			SentAt:        now,
			PaidAt:        now,
			CreatedAt:     now,
			ExpiresAt:     now.Add(2 * time.Minute),
			ConfirmBy:     now.Add(2*time.Minute + payment.ConfirmationGrace),
		},
		now,
	)
}

func TestConfirmFromAnotherDevice(t *testing.T) {
	t.Parallel()
	b, p := guarded(t), sentNote(time.Now())
	b.stored(t, p)
	if err := b.Confirm(t.Context(), payment.Confirmation{EventID: "e1", DeviceUID: "dev:2", CreditID: p.ID, State: "started"}); err != nil {
		t.Fatal(err)
	}
	if got, err := b.c.Ledger.Payment(t.Context(), p.ID); err != nil || got.Delivery != payment.Sent {
		t.Errorf("machine %s, %v; want it still sent", got.Delivery, err)
	}
}

func TestConfirmRepeat(t *testing.T) {
	t.Parallel()
	b, p := guarded(t), sentNote(time.Now())
	b.stored(t, p)
	first := payment.Confirmation{EventID: "e1", DeviceUID: "dev:1", CreditID: p.ID, State: "duplicate"}
	for _, state := range []string{"duplicate", "failed"} { // the second has the first one's id, so it is not applied
		first.State = state
		if err := b.Confirm(t.Context(), first); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := b.c.Ledger.Payment(t.Context(), p.ID); err != nil || got.Delivery != payment.Fetched {
		t.Errorf("machine %s, %v; want it fetched", got.Delivery, err)
	}
}

func TestReceiveTestEventInLiveMode(t *testing.T) {
	t.Parallel()
	b := guarded(t)
	b.c.Livemode = true
	s := &payment.CheckoutSession{
		ID:            "cs_test_1",
		PaymentStatus: "paid",
		PaymentIntent: "pi_1",
		Amount:        300,
		Currency:      "eur",
		Livemode:      true,
		PaidAt:        time.Now().Add(time.Minute),
		Metadata:      map[string]string{"device_uid": "dev:1", "project": "app:1"},
	}
	if err := b.Receive(t.Context(), Event{ID: "evt_1", Type: "checkout.session.completed", ObjectID: s.ID, Created: time.Now(), Session: s, Body: "{}"}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.c.Ledger.Payment(t.Context(), s.ID); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("got %v; want no payment of it", err)
	}
}

func TestReceiveOldRefundEvent(t *testing.T) {
	t.Parallel()
	b, p := guarded(t), sentNote(time.Now())
	b.stored(t, p)
	if err := b.Receive(t.Context(), Event{ID: "evt_1", Type: "charge.refunded", ObjectID: "ch_1", Intent: "pi_1", Refunded: 300, Created: time.Now(), Body: "{}"}); err != nil {
		t.Fatal(err)
	}
	if got, err := b.c.Ledger.Payment(t.Context(), p.ID); err != nil || got.RefundedAmount != 0 {
		t.Errorf("%d refunded, %v; want the charge to be read first", got.RefundedAmount, err)
	}
}

func TestApplyOfferComparesTheAmount(t *testing.T) {
	t.Parallel()
	p := payment.ApplyOffer(payment.Payment{Amount: 300, Currency: "eur", PaymentIntent: "pi_1"},
		payment.CheckoutSession{}, payment.Offer{Amount: 350, Currency: "eur"}, "")
	if p.ReviewReason != payment.ReviewAmount {
		t.Errorf("attention %q; want %q", p.ReviewReason, payment.ReviewAmount)
	}
}

func TestApplyConfirmationWithoutANote(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := sentNote(now)
	p.Delivery, p.MaybeAccepted, p.SentAt = payment.Queued, false, time.Time{}
	if after, outcome := payment.ApplyConfirmation(p, payment.Confirmation{State: "started"}, now); outcome != payment.ConfirmationNoPost ||
		after.Delivery != payment.Queued {
		t.Errorf("%s, machine %s; want it ignored", outcome, after.Delivery)
	}
}

func TestApplyConfirmationFailedRefundsAtOnce(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := sentNote(now)
	p.Delivery = payment.Fetched
	after, _ := payment.ApplyConfirmation(p, payment.Confirmation{State: "failed", Code: "E-DOOR"}, now)
	if after.Delivery != payment.Failed || after.MachineCode != "E-DOOR" || after.Step != payment.StepRefund {
		t.Errorf("machine %s, code %q, step %q; want it failed and refunded", after.Delivery, after.MachineCode,
			after.Step)
	}
}

func TestTimedCreditThatIsDoneFreesItsDevice(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := sentNote(now)
	p.Duration, p.HoldsDevice = time.Hour, true
	p, _ = payment.ApplyConfirmation(p, payment.Confirmation{State: "started"}, now)
	if !p.HoldsDevice {
		t.Error("a session that runs does not hold its device")
	}
	p, _ = payment.ApplyConfirmation(p, payment.Confirmation{State: "done"}, now.Add(time.Minute))
	if p.HoldsDevice {
		t.Error("a session that is done holds its device")
	}
}

func TestReleaseThatCameTooLate(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := payment.Fail(sentNote(now), payment.ReasonUnconfirmed)
	p.Funds = payment.Canceling
	refusal := func(reason error) payment.Outcome {
		return payment.Outcome{
			Action: payment.StepCancel,
			Result: upstream.Rejected,
			Err:    &upstream.Error{Outcome: upstream.Rejected, Err: reason},
			Began:  now,
		}
	}
	if after := payment.ApplyOutcome(p, refusal(payment.ErrAlreadyCaptured), now); after.Step != payment.StepRefund {
		t.Errorf("taken meanwhile: step %q, money %s; want a refund", after.Step, after.Funds)
	}
	if after := payment.ApplyOutcome(p, refusal(payment.ErrAlreadyCanceled), now); after.Funds != payment.Canceled ||
		after.ReviewReason != "" {
		t.Errorf("released already: money %s, attention %q; want it released", after.Funds, after.ReviewReason)
	}
}

func TestConfirmationGrace(t *testing.T) {
	t.Parallel()
	b := New(Config{ConfirmWithin: 2 * time.Minute})
	now := time.Now()
	for lifetime, want := range map[time.Duration]time.Duration{time.Minute: 2 * time.Minute, 10 * time.Minute: 2*time.Minute + 30*time.Second} {
		if p := b.setDeadlines(payment.Payment{}, lifetime, now); p.ConfirmBy.Sub(now) != want {
			t.Errorf("a credit of %v is given up after %v; want %v", lifetime, p.ConfirmBy.Sub(now), want)
		}
	}
}

func TestUnclearCallIsCheckedAfterItsTimeout(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := sentNote(now)
	p.Delivery, p.MaybeAccepted, p.SentAt = payment.Queued, false, time.Time{}
	p, _ = payment.Claim(payment.Next(p, now), now)
	if p.DueAt.Sub(now) <= payment.CallTimeout {
		t.Errorf("the lease is %v; want more than the time limit", p.DueAt.Sub(now))
	}
	p = payment.ApplyOutcome(p, payment.Outcome{Action: payment.StepPostNote, Result: upstream.Unknown, Began: now},
		now.Add(time.Second))
	if p.Step != payment.StepCheckPending || p.DueAt.Sub(now) < payment.CallTimeout {
		t.Errorf("step %q after %v; want a look after the time limit", p.Step, p.DueAt.Sub(now))
	}
}

func TestConfirmationTimedOutNeedsALaterReading(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := sentNote(now)
	p.Delivery = payment.Fetched
	p = payment.Next(p, now)
	if after := payment.ConfirmationTimedOut(p, p.ConfirmBy.Add(-time.Millisecond), p.ConfirmBy.Add(time.Minute)); after.Delivery != payment.Fetched {
		t.Errorf("machine %s; want it still awaited", after.Delivery)
	}
}

func TestTimedCreditThatFailedFreesItsDevice(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := sentNote(now)
	p.Duration, p.HoldsDevice = time.Hour, true
	if p, _ = payment.ApplyConfirmation(p, payment.Confirmation{State: "busy"}, now); p.HoldsDevice {
		t.Error("a credit that failed holds its device")
	}
}

func TestRejectedPostAfterAnEarlierPost(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := sentNote(now)
	p.Delivery, p.SentAt = payment.Queued, time.Time{} // posted before, and not found
	p = payment.ApplyOutcome(p,
		payment.Outcome{Action: payment.StepPostNote, Result: upstream.Rejected, Began: now}, now)
	if !payment.InDoubt(p, now) || p.Step == payment.StepPostNote || !p.SentAt.IsZero() {
		t.Errorf("%+v; want it not sent any more, never said to be sent, and the answer awaited", p)
	}
}

func TestStaleOutcomeKeepsTheOtherClaim(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := sentNote(now)
	p.CancelReason, p.SentAt = payment.ReasonEnded, now.Add(-time.Hour)
	p, _ = payment.Claim(payment.Next(p, now), now)
	if p = payment.ApplyOutcome(p, payment.Outcome{Action: payment.StepCheckPending, Stale: true, Began: now.Add(-time.Minute)}, now); !p.InFlight ||
		p.Delivery != payment.Sent {
		t.Errorf("in flight %v, machine %s; want it left to who has the claim", p.InFlight, p.Delivery)
	}
	p.InFlight = false
	if p = payment.ApplyOutcome(p, payment.Outcome{Action: payment.StepCheckPending, Stale: true, Began: now.Add(-time.Minute)}, now); p.Delivery != payment.Sent ||
		!p.DueAt.Equal(now) {
		t.Errorf("machine %s, due %v; want a new look at once, for an old one says nothing of what was done since",
			p.Delivery, p.DueAt)
	}
}

func TestRefundOfARefundedCharge(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := payment.Next(payment.Fail(sentNote(now), payment.ReasonUnconfirmed), now)
	p.ReconcileRefund = true
	looked := payment.ApplyOutcome(
		p,
		payment.Outcome{
			Action:     payment.StepRefund,
			Reconciled: true,
			Refunds:    []payment.RefundRecord{{Amount: 100, Status: "succeeded"}},
			Began:      now,
		},
		now,
	)
	if looked.RefundedAmount != 100 || looked.RefundAmount != 200 || looked.RefundSeq != 2 {
		t.Errorf("%d is back, refund %d is of %d; want 100, and the second of 200", looked.RefundedAmount,
			looked.RefundSeq, looked.RefundAmount)
	}
	refusal := &upstream.Error{Outcome: upstream.Rejected, Err: payment.ErrAlreadyRefunded}
	p.ReconcileRefund = false
	if p = payment.ApplyOutcome(p, payment.Outcome{Action: payment.StepRefund, Result: upstream.Rejected, Err: refusal, Began: now}, now); !p.ReconcileRefund ||
		p.ReviewReason != "" {
		t.Errorf("already refunded: look %v, attention %q; want the refunds read, and nobody asked",
			p.ReconcileRefund, p.ReviewReason)
	}
}
