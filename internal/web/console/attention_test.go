package console_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// Payments that need attention for the same reason are one entry with one button, and the tab's title
// counts them.
func TestAttentionIsGrouped(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		b := f.Browser()
		if page := b.Shows("/operator"); !strings.Contains(page, "<title>Today –") {
			f.Error("the title counts something")
		}
		var ids []string
		for range 7 {
			ids = append(ids, buyRejected(f))
		}
		other := f.Buy(sandbox.PayOptions{}) // needs no attention
		f.Pass(time.Minute)
		page := b.Shows("/operator", "<title>(7) Today –", "7 payments", "Dismiss all (7)", "2 more")
		if n := strings.Count(page, "Notehub rejected the credit"); n != 1 {
			f.Errorf("the cause is reported %d times; want once", n)
		}
		b.Shows("/operator/devices", "<title>(7) Machines –")
		const all = "/operator/attention/refused/dismiss"
		f.Answers("all", b.Press("/operator", all, "reason", "a mistake of mine"), http.StatusOK, "Dismissed: <b>7</b>")
		page = b.Shows("/operator", "Nothing needs your attention.", "<title>Today –")
		if strings.Contains(page, ids[0]) {
			f.Error("what was dismissed is still listed")
		}
		for _, id := range ids {
			f.Audited(id, "operator dismiss a mistake of mine")
		}
		f.Audited(other.ID)
		f.Answers("of nothing", b.Send("POST", all, "once=AAAA"), http.StatusOK, "Dismissed: <b>0</b>")
		f.Answers("an unknown action", b.Send("POST", "/operator/attention/refused/adore", "once=AAAB"), 404, "")
		if w := f.Do("POST", all, ""); w.Code == http.StatusSeeOther || w.Code/100 == 2 {
			f.Errorf("a stranger dismisses: %d", w.Code)
		}
	})
}

// The Stripe balance was too low for refunds. The owner adds what is missing, and has them tried again.
func TestRefundsAreTriedAgain(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		b := f.Browser()
		f.Stripe.SetRefunds(sandbox.RefundsLackBalance)
		var ids []string
		for range 3 {
			ids = append(ids, buyRejected(f))
		}
		const all = "/operator/attention/too_little_balance/again"
		single := "/operator/payments/" + ids[0] + "/refund/again"
		b.Shows("/operator", "3 payments", "Your Stripe balance is too low",
			"Waiting to be refunded: <b>10.50 EUR</b>.",
			`href="https://dashboard.stripe.com/test/balance/overview"`, "Try all refunds again (3)",
			`action="`+single+`"`)
		f.Answers("all", b.Press("/operator", all), http.StatusOK, "Refunds tried again: <b>3</b>")
		f.Pass(time.Minute)
		b.Shows("/operator", "3 payments")

		f.Stripe.SetRefunds(sandbox.RefundsSucceed)
		b.Does(b.Press("/operator", single), "refund_again")
		b.Shows("/operator?done=refund_again", "The refund is being tried again.")
		f.Answers("the others", b.Press("/operator", all, "reason", "money is there"), http.StatusOK, "again: <b>2</b>")
		f.Pass(time.Minute)
		for _, id := range ids {
			if p := f.Paid(id); p.Funds != payment.Refunded || p.RefundedAmount != 350 {
				t.Errorf("%s is %s, %d refunded; want all", id, p.Funds, p.RefundedAmount)
			}
		}
		if n := f.Stripe.Count("POST /v1/refunds"); n != 9 {
			t.Errorf("%d refunds asked for; want three by each payment", n)
		}
		b.Shows("/operator/payments/"+ids[1], "operator tried the refund of 3.50 EUR again", "money is there")
		f.Audited(ids[1], "operator refund_again money is there", "operator refund_again ")
		for _, page := range []string{"/operator/payments/" + ids[1], "/operator/audit?subject=" + ids[1]} {
			shown := b.Shows(page)
			if strings.Contains(shown, "→ being refunded") || strings.Contains(shown, "&rarr;") {
				t.Errorf("%s tells a change that was none", page)
			}
		}
		page := "/operator/payments/" + ids[1]
		f.Answers("once it is refunded", b.Send("POST", page+"/refund/again", "once=AAAA"), http.StatusConflict,
			"no longer possible")
	})
}
