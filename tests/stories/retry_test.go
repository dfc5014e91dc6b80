package stories

import (
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// A credit is not sent again while another timed credit holds its machine, because that customer is
// using it.
func TestResendWhileAnotherTimedCreditHoldsTheMachine(t *testing.T) {
	story(t, confirming, confirms, func(f *apptest.Front, m *sandbox.Machine) {
		f.Timed("30m")
		f.Run()
		m.SetOnline(false)
		f.Stripe.SetDelivery(sandbox.Delivery{Lost: true})
		earlier := f.Buy(sandbox.PayOptions{NoWebhook: true})
		f.Pass(2 * time.Second)
		f.Stripe.SetDelivery(sandbox.Delivery{})
		f.Path = f.TempDir() + "/another.db" // the ledger was lost, so earlier payments are adopted
		f.Restarted(nil)
		f.Pass(time.Minute)
		f.Get("/payment/success?session_id=" + earlier.ID)
		f.Stands(earlier.ID, apptest.Ends(payment.Paid, payment.Failed, payment.ReasonAdopted, payment.ReasonAdopted))

		m.SetOnline(true)
		holder := f.Buy(sandbox.PayOptions{})
		f.Pass(20 * time.Second)
		f.Stands(holder.ID, apptest.Ends(payment.Paid, payment.Started, "", ""))
		f.Asks("while another runs", "/api/payments/"+earlier.ID+"/retry", "", 409, "not_possible")
		f.Stands(earlier.ID, apptest.Ends(payment.Paid, payment.Failed, payment.ReasonAdopted, payment.ReasonAdopted))
		f.Pass(31 * time.Minute)
		f.Asks("when it is over", "/api/payments/"+earlier.ID+"/retry", "", 200, `"machine":"queued"`)
		f.Pass(20 * time.Second)
		f.Started(m, 2)
	})
}
