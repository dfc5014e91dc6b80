package console_test

import (
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

func TestPages(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		b := f.Browser()
		b.Shows("/operator", "Nothing needs your attention.", "none since notepay was started", "No machines yet")
		for _, path := range []string{
			"/operator/payments", "/operator/devices", "/operator/events", "/operator/audit", "/operator/stickers",
			"/operator/setup",
		} {
			b.Shows(path)
		}
		f.Run()
		session := f.Buy(sandbox.PayOptions{})
		id := payment.CreditID(session.ID)
		f.Notehub.AddDevice(sandbox.Device{UID: "dev:2", Name: `<b>"Evil" & Co</b>`})
		b.Does(b.Press("/operator", "/operator/refresh"), "refresh")
		f.Pass(time.Minute)
		b.Shows("/operator", "Sales today", "3.50 EUR", "2 <span class=\"word good\">ready</span>",
			"last one 1 minute ago")
		b.Shows("/operator/payments", "Washer 3", "Warm wash", "3.50 EUR", "waiting for the machine")
		b.Shows("/operator/payments/"+id, "Notehub holds the credit", "Sent to Notehub", "done, status 200",
			"Stripe event checkout.session.completed", session.ID, session.PaymentIntent,
			"https://dashboard.stripe.com/test/payments/"+session.PaymentIntent)
		b.Shows("/operator/payments/"+session.ID, id)
		b.Shows("/operator/devices", "Washer 3", "&lt;b&gt;&#34;Evil&#34; &amp; Co&lt;/b&gt;")
		b.Shows("/operator/devices/"+fixture.Washer, "Washer 3", "Warm wash", "default (STRIPE_PRICE_ID)",
			"Payment Link")
		if shown := b.Shows("/operator/devices?q=washer"); strings.Contains(shown, "Evil") {
			f.Errorf("a search for washer shows others")
		}
		b.Shows("/operator/events", "checkout.session.completed", "created this payment")
		b.Shows("/operator/events?type=checkout.session.completed")
		event := regexp.MustCompile(`/operator/events/(evt_\w+)`).FindStringSubmatch(b.Page)[1]
		b.Shows("/operator/events/"+event, "&#34;payment_status&#34;: &#34;paid&#34;", "/operator/payments/"+id,
			"payment_recorded")
		b.Shows("/operator/events?type=charge.refunded", "No events found.")
		b.Shows("/operator/stickers?layout=letter-small", "Washer 3", "pay.example.com", "sheet letter letter-small",
			"<svg", `<span lang="en">Scan to pay</span>`)
		if strings.Contains(b.Page, ` two">`) {
			f.Error("stickers are in two languages without a choice")
		}
		b.Shows("/operator/stickers?lang=de&second=ar", `<span lang="de">Zum Bezahlen scannen</span>`,
			`<span lang="ar" dir="rtl">`, ` two">`, "?lang=de&amp;second=ar", `<option value="de" lang="de" selected>`)
		b.Shows("/operator/stickers?lang=xx&second=en", `<span lang="en">Scan to pay</span>`)
		drawing := b.Send("GET", "/operator/stickers/"+fixture.Washer+".svg?lang=de&second=ar", "").Body.String()
		if !strings.Contains(drawing, "Nur auf pay.example.com bezahlen") ||
			!strings.Contains(drawing, `direction="rtl">ادفع فقط على pay.example.com<`) {
			f.Errorf("the drawing has not both languages: %s", drawing)
		}
		for path, status := range map[string]int{
			"/operator/nothing": 404, "/operator/payments/cr_none": 404, "/operator/events/evt_none": 404,
			"/operator/stickers/dev:none.svg": 404, "/operator/payments?cursor=x": 400,
			"/operator/payments?from=x": 400, "/operator/events?cursor=x": 400, "/operator/payments.csv?to=x": 400,
			"/operator/payments.csv?q=cr_none": 404,
		} {
			if w := b.Send("GET", path, ""); w.Code != status || !strings.Contains(w.Body.String(), "<h1>") {
				f.Errorf("%s: %d; want a page with %d", path, w.Code, status)
			}
		}
		for name, want := range map[string]string{
			"Cache-Control": "no-store", "Referrer-Policy": "same-origin", "X-Frame-Options": "DENY",
		} {
			if got := b.Send("GET", "/operator", "").Header().Get(name); got != want {
				f.Errorf("%s is %q; want %q", name, got, want)
			}
		}
		policy := b.Send("GET", "/operator", "").Header().Get("Content-Security-Policy")
		if strings.Contains(policy, "unsafe") || !strings.Contains(policy, "form-action 'self'") {
			f.Errorf("content policy %q; want nothing inline, and forms to ourselves alone", policy)
		}
		for _, path := range []string{
			"/operator", "/operator/payments", "/operator/payments/" + id, "/operator/devices", "/operator/stickers",
		} {
			shown := strings.ReplaceAll(b.Shows(path), `<script src="/operator/live.js" defer></script>`, "")
			if strings.Contains(shown, " style=") || strings.Contains(shown, "<script") ||
				strings.Contains(shown, "<style") {
				f.Errorf("%s holds what the content policy forbids", path)
			}
		}
	})
}

func TestButtonPressedTwiceCountsOnce(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		b := f.Browser()
		b.Shows("/operator/devices")
		form := url.Values{
			"once":   {apptest.OnceField.FindStringSubmatch(b.Page)[1]},
			"back":   {"/operator/devices"},
			"reason": {"test"},
		}.Encode()
		start := "/operator/devices/" + fixture.Washer + "/start"
		b.Does(b.Send("POST", start, form), "start")
		w := b.Send("POST", start, form)
		b.Does(w, "twice")
		f.Pass(time.Second)
		if n := f.Notehub.Count(fixture.PostNote); n != 1 {
			f.Errorf("%d notes; want one", n)
		}
	})
}
