package apptest

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"notepay/internal/fixture"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// TestCheckInvariants breaks an invariant in each row. A check that notices nothing would make
// every story pass.
func TestCheckInvariants(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*payment.Payment) // of a payment that was sold, posted and fetched; nil: nothing is recorded
		want   string                 // "" if all is well
	}{
		"an empty ledger": {nil, ""},
		"a payment that is not Stripe's": {func(p *payment.Payment) {
			p.SessionID = "cs_test_unknown"
			p.ID = payment.CreditID(p.SessionID)
		}, "does not agree with its session"},
		"another amount": {func(p *payment.Payment) { p.Amount++ }, "does not agree with its session"},
		"a note that is not there": {func(p *payment.Payment) {
			p.Delivery = payment.Sent
		}, "sent, and Notehub has no note"},
		"a call under way without a step": {func(p *payment.Payment) {
			p.InFlight, p.Step, p.DueAt = true, payment.StepWait, p.PaidAt
		}, "is under way with step"},
		"a dead end": {func(p *payment.Payment) {
			p.Funds, p.Delivery, p.Reason = payment.Paid, payment.Failed, payment.ReasonFailed
		}, "is forgotten without a step"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stripe := sandbox.NewStripe(sandbox.StripeConfig{Key: fixture.TestKey, Report: t})
			t.Cleanup(stripe.Close)
			hub := sandbox.NewNotehub(
				sandbox.NotehubConfig{Project: fixture.Project, Token: fixture.HubToken, Report: t},
			)
			l, err := ledger.Open(t.Context(), filepath.Join(t.TempDir(), "notepay.db"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := l.Close(); err != nil {
					t.Error(err)
				}
			})
			if c.change != nil {
				p := sell(t, stripe)
				c.change(&p)
				if err := l.Update(t.Context(), func(tx *ledger.Tx) error {
					_, err := tx.InsertPayment(p)
					return err
				}); err != nil {
					t.Fatal(err)
				}
			}
			found := strings.Join(checkInvariants(t.Context(), l, stripe, hub), "\n")
			if c.want == "" && found != "" || !strings.Contains(found, c.want) {
				t.Errorf("found %q; want %q", found, c.want)
			}
		})
	}
}

// sell sells a wash at the simulated Stripe, and returns the payment whose note was fetched.
func sell(t *testing.T, stripe *sandbox.Stripe) payment.Payment {
	t.Helper()
	stripe.AddPrice(sandbox.Price{ID: fixture.Warm, Name: "Warm wash", Currency: "eur", Amount: 350, Active: true})
	link := stripe.AddLink(sandbox.Link{PriceID: fixture.Warm, Active: true, Metadata: map[string]string{
		"device_uid": fixture.Washer, "price_id": fixture.Warm,
	}})
	sold, err := stripe.Pay(link.URL, sandbox.PayOptions{NoWebhook: true})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC().Truncate(time.Millisecond)
	return payment.Payment{
		ID: payment.CreditID(sold.ID), SessionID: sold.ID, PaymentIntent: sold.PaymentIntent,
		Token: "0123456789abcdef0123456789abcdef", DeviceUID: fixture.Washer, PriceID: fixture.Warm,
		Amount: 350, Currency: "eur", Funds: payment.Paid, Delivery: payment.Fetched, MaybeAccepted: true,
		PaidAt: now, CreatedAt: now, SentAt: now, DeliveryAt: now, FundsAt: now,
	}
}
