package bridge

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/ledger/ledgertest"
	"notepay/internal/payment"
)

// Tests of guards that the histories cannot test, because a later step repairs the loss or no
// history is harmed.

// guarded returns a bridge with a ledger, but without loops or vendors.
func guarded(t *testing.T) *Bridge {
	t.Helper()
	l, err := ledger.Open(t.Context(), ledgertest.Fresh(t))
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
	other := payment.Confirmation{EventID: "e1", DeviceUID: "dev:2", CreditID: p.ID, State: "started"}
	if err := b.Confirm(t.Context(), other); err != nil {
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
	err := b.Receive(t.Context(), Event{
		ID:       "evt_1",
		Type:     "checkout.session.completed",
		ObjectID: s.ID,
		Created:  time.Now(),
		Session:  s,
		Body:     "{}",
	})
	if err != nil {
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
	err := b.Receive(t.Context(), Event{
		ID:       "evt_1",
		Type:     "charge.refunded",
		ObjectID: "ch_1",
		Intent:   "pi_1",
		Refunded: 300,
		Created:  time.Now(),
		Body:     "{}",
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := b.c.Ledger.Payment(t.Context(), p.ID); err != nil || got.RefundedAmount != 0 {
		t.Errorf("%d refunded, %v; want the charge to be read first", got.RefundedAmount, err)
	}
}

func TestConfirmationGrace(t *testing.T) {
	t.Parallel()
	b := New(Config{ConfirmWithin: 2 * time.Minute})
	now := time.Now()
	for lifetime, want := range map[time.Duration]time.Duration{
		time.Minute:      2 * time.Minute,
		10 * time.Minute: 2*time.Minute + 30*time.Second,
	} {
		if p := b.setDeadlines(payment.Payment{}, lifetime, now); p.ConfirmBy.Sub(now) != want {
			t.Errorf("a credit of %v is given up after %v; want %v", lifetime, p.ConfirmBy.Sub(now), want)
		}
	}
}
