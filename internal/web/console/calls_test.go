package console_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
	"notepay/internal/uid"
)

// A customer names the code on the sticker, or something that no payment has.
func TestSearchOfACall(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		b := f.Browser()
		id := payment.CreditID(f.Buy(sandbox.PayOptions{}).ID)
		code := uid.ShowCode(f.Server.Fleet.Code(fixture.Washer))
		b.Shows("/operator/payments?q="+strings.ToLower(code)+"+today", id, "machine Washer 3")
		b.Shows("/operator/devices?q="+code, "1 found.", "Washer 3")
		b.Shows("/operator/payments?q=washer3+today", id, "machine Washer 3")

		const hint = "Leave out what the caller may remember wrongly"
		b.Shows("/operator/payments?q=washer+3+3.60", "All payments were searched.", hint)
		if page := b.Shows("/operator/payments?q=3.60"); strings.Contains(page, hint) {
			t.Error("it advises to leave out a part of a search that has one")
		}
		f.Pass(5 * time.Minute)
		paid := f.Ledger.Now().Add(-5 * time.Minute).In(f.Server.Console.Zone).Format("15:04")
		f.Pass(time.Hour)
		f.Buy(sandbox.PayOptions{})
		f.Pass(time.Second)
		f.Stripe.Next(fixture.ListEvents, // the reading does not end before the pages are written
			sandbox.Outcome{Applied: true, Status: http.StatusOK, Delay: 500 * time.Millisecond})
		page := b.Shows("/operator/payments?q=4242+"+paid, id)
		if strings.Contains(page, "notepay is asking Stripe for the cards") {
			t.Error("a search for an hour ago speaks of the last minutes")
		}
		b.Shows("/operator/payments?q=4242", "notepay is asking Stripe for the cards of the last minutes.")
	})
}

// The filters are folded, so that a telephone shows what was found, unless they are used.
func TestFiltersAreFolded(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		b := f.Browser()
		const folded, open = `<details class="filters">`, `<details class="filters" open>`
		b.Shows("/operator/payments?q=4242", folded)
		b.Shows("/operator/payments?state=failed", open)
		b.Shows("/operator/payments?from=2000-01-01", open)
	})
}
