package stripeapi

import (
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/fixture"
	"notepay/internal/ledger"
	"notepay/internal/sandbox"
	"notepay/internal/upstream"
)

func TestBalanceTransactions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStripeTest(t)
		sold := s.sell(t, "", sandbox.PayOptions{})
		if _, err := s.refund(t, sold.PaymentIntent, 100, 1); err != nil {
			t.Fatal(err)
		}
		s.AddPayout(200, "eur", "paid")
		from := time.Now().Add(-time.Hour)
		list, next, err := s.client.BalanceTransactions(t.Context(), from, time.Now().Add(time.Second), "")
		fixture.Meant(t, "balance transactions", err, upstream.OK)
		if len(list) != 2 || next != "" {
			t.Fatalf("%+v, next %q; want the charge and the refund, and not the payout", list, next)
		}
		got := list[1]
		want := ledger.Fee{
			ID: got.ID, Intent: sold.PaymentIntent, Category: "charge", At: got.At, Amount: 30, Net: 320,
			Currency: "eur",
		}
		if got != want || list[0].Net != -100 || list[0].Intent != sold.PaymentIntent || list[0].Amount != 0 {
			t.Errorf("%+v; want %+v and a refund of 100", list, want)
		}
		list, _, err = s.client.BalanceTransactions(t.Context(), from.Add(-time.Hour), from, "")
		fixture.Meant(t, "an hour before", err, upstream.OK)
		if len(list) != 0 {
			t.Errorf("an hour before: %+v; want none", list)
		}
		payouts, err := s.client.Payouts(t.Context())
		fixture.Meant(t, "payouts", err, upstream.OK)
		if len(payouts) != 1 || payouts[0].Amount != 200 || payouts[0].Status != "paid" ||
			!payouts[0].ArrivalAt.After(payouts[0].At) {
			t.Errorf("payouts %+v; want one of 200", payouts)
		}
	})
}

func TestDecodeBalanceTransaction(t *testing.T) {
	t.Parallel()
	for source, intent := range map[string]string{
		`{"id":"ch_1","payment_intent":"pi_1"}`:         "pi_1",
		`{"id":"re_1","payment_intent":{"id":"pi_1"}}`:  "pi_1",
		`{"id":"po_1","payment_intent":[]},"type":[[]]`: "",
		`null,"type":7`: "",
		`"ch_1"`:        "",
	} {
		text := `{"id":"txn_1","fee":1,"net":-1,"currency":"eur","created":5,"source":` + source + `}`
		if f, err := decodeBalanceTransaction([]byte(text)); err != nil || f.Intent != intent || f.ID != "txn_1" {
			t.Errorf("%s: %+v, %v; want the intent %q", text, f, err, intent)
		}
	}
	for _, text := range []string{
		`{}`, `[]`, `{"id":"txn_1","currency":"eur"}`, `{"id":"txn_1","created":5}`, `{"id":"txn_1","fee":"x"}`,
	} {
		if f, err := decodeBalanceTransaction([]byte(text)); err == nil {
			t.Errorf("%s: %+v; want an error", text, f)
		}
	}
}
