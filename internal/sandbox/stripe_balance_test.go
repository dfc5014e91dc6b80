package sandbox

import (
	"testing"
	"testing/synctest"
)

func TestBalanceTransactions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := sellWash(t, StripeConfig{}, "")
		w.refund("&amount=100")
		w.OpenDispute(w.Session.ID, "needs_response", 0)
		w.AddPayout(100, "eur", "pending")
		_, list, _ := stripeCall(t, w.Stripe, "GET /v1/balance_transactions", "limit=1&expand[]=data.source")
		if more, _ := list["has_more"].(bool); !more {
			t.Errorf("a page of one: %v; want that more follow", list)
		}
		status, list, _ := stripeCall(t, w.Stripe, "GET /v1/balance_transactions",
			"type=adjustment&expand[]=data.source")
		data, _ := list["data"].([]any)
		if status != 200 || len(data) != 1 {
			t.Fatalf("%d %v; want the dispute", status, list)
		}
		one, _ := data[0].(object)
		if at(one, "net") != "-2250" || at(one, "source.payment_intent") != w.PaymentIntent {
			t.Errorf("%v; want the amount and the fee of the dispute", one)
		}
		if _, list, _ := stripeCall(t, w.Stripe, "GET /v1/payouts", "status=pending"); len(list["data"].([]any)) != 1 {
			t.Errorf("payouts %v; want one", list)
		}
	})
}
