package contract

import (
	"context"
	"net/http"
	"testing"

	"notepay/internal/sandbox"
)

const (
	listDevices = "GET /v1/projects/{project}/devices"
	makeLink    = "POST /v1/payment_links"
	readSession = "GET /v1/checkout/sessions/{id}"
	everything  = "{any} /v1/{rest...}"
)

// troubled runs one customer through faults of each vendor in turn. Each page recovers by itself,
// except the one that asks the customer to return in some minutes.
func troubled(t *testing.T, browser context.Context) {
	s := newShop(t, browser, []visitor{{machine: confirms()}})
	down := sandbox.Outcome{Status: http.StatusServiceUnavailable}
	s.notehub.Always(listDevices, down)
	s.stripe.Always(makeLink, down)
	s.run("CONFIRM_WITHIN", "1m")
	c := s.customers[0].enters(t)

	c.scans("", "Starting up", "We are loading the list of machines.")
	s.notehub.Clear(listDevices)
	c.reads("Just a moment", "This machine is almost ready.")
	c.sees("", "Just a moment", "Nothing was charged for this scan.")
	s.stripe.Clear(makeLink)
	c.page.reads("body", "SIMULATED CHECKOUT")
	s.links[c.uid] = c.address()

	c.completes(c.opensCheckout(), sandbox.PayOptions{NoWebhook: true})
	s.stripe.Always(readSession, down)
	c.comesBack()
	c.sees("", "Just a moment", "We are checking your payment with Stripe.")
	s.stripe.Clear(readSession)
	c.follows()
	c.reads("The machine has started")

	s.notehub.Always(everything, sandbox.Outcome{Status: http.StatusForbidden})
	s.refuses(3)
	c.uid = washer // another machine, and free
	c.scans("", "Machines cannot be reached right now", "Nothing was charged for this scan.",
		"Please try again in a few minutes.")
	s.notehub.Clear(everything)
	s.refuses(0)
	s.selling(s.p, c.uid)
}

// refuses makes notepay list the devices until Notehub has rejected that at least this often and
// notepay has reacted.
func (s *shop) refuses(times int) {
	s.Helper()
	for range max(times, 1) {
		s.p.get("/refresh-devices", "Authorization", "Bearer "+operatorToken)
	}
	want := http.StatusTemporaryRedirect
	if times > 0 {
		want = http.StatusServiceUnavailable
	}
	s.until(s.T, "notepay has noticed that Notehub refuses it, or does not any more", func() bool {
		status, _, _ := s.p.get("/pay/" + washer)
		return status == want
	})
}
