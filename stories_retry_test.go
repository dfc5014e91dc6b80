package main

import (
	"testing"
	"time"

	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// A credit is not sent again while another timed one holds its machine: that customer is using it.
func TestARetryWhileAnotherTimedCreditHoldsTheMachine(t *testing.T) {
	story(t, confirming, confirms, func(f *front, m *sandbox.Machine) {
		f.timed("30m")
		f.run()
		m.SetOnline(false)
		f.stripe.SetDelivery(sandbox.Delivery{Lost: true})
		earlier := f.buy(sandbox.PayOptions{NoWebhook: true})
		f.pass(2 * time.Second)
		f.stripe.SetDelivery(sandbox.Delivery{})
		f.path = f.TempDir() + "/another.db" // the ledger was lost: what was paid before is left to a person
		f.restarted(nil)
		f.pass(time.Minute)
		f.get("/payment/success?session_id=" + earlier.ID)
		f.stands(earlier.ID, ending{payment.Paid, payment.Failed, payment.ReasonAdopted, payment.ReasonAdopted})

		m.SetOnline(true)
		holder := f.buy(sandbox.PayOptions{})
		f.pass(20 * time.Second)
		f.stands(holder.ID, ending{payment.Paid, payment.Started, "", ""})
		f.asks("while another runs", "/api/payments/"+earlier.ID+"/retry", "", 409, "not_possible")
		f.stands(earlier.ID, ending{payment.Paid, payment.Failed, payment.ReasonAdopted, payment.ReasonAdopted})
		f.pass(31 * time.Minute)
		f.asks("when it is over", "/api/payments/"+earlier.ID+"/retry", "", 200, `"machine":"queued"`)
		f.pass(20 * time.Second)
		f.started(m, 2)
	})
}
