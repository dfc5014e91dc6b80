package console_test

import (
	"encoding/csv"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

func TestSigningIn(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		b := &apptest.OperatorsBrowser{Front: f}
		w := b.Send("GET", "/operator/payments?q=x", "")
		f.Answers("before", w, http.StatusUnauthorized, `name="next" value="/operator/payments?q=x"`)
		f.Answers("a wrong token", b.SignIn("wrong-token-123456"), http.StatusUnauthorized,
			"This is not the operator token.")
		f.Answers("no token", b.SignIn(""), http.StatusUnauthorized, "This is not the operator token.")
		if b.Cookie != "" {
			f.Fatalf("a cookie %q for a wrong token", b.Cookie)
		}
		w = b.SignIn(apptest.OperatorToken)
		if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/operator/payments" {
			f.Errorf("the right one: %d, Location %q; want 303 to where one wanted to go", w.Code,
				w.Header().Get("Location"))
		}
		set := w.Header().Get("Set-Cookie")
		for _, flag := range []string{"HttpOnly", "SameSite=Strict", "Path=/operator", "Secure", "Max-Age=43200"} {
			if !strings.Contains(set, flag) {
				f.Errorf("cookie %q lacks %s", set, flag)
			}
		}
		if strings.Contains(set, apptest.OperatorToken) {
			f.Errorf("the cookie %q holds the token", set)
		}
		b.Shows("/operator")
		old := b.Cookie
		if w := b.Press("/operator", "/operator/sign-out"); w.Code != http.StatusSeeOther ||
			!strings.Contains(w.Header().Get("Set-Cookie"), "Max-Age=0") {
			f.Errorf("signing out: %d %v; want 303 and no cookie any more", w.Code, w.Header())
		}
		f.Answers("with the cookie of before", f.Get("/operator", "Cookie", old), http.StatusUnauthorized, "Sign in")
		b.SignIn(apptest.OperatorToken)
		f.Pass(12*time.Hour + time.Second)
		f.Answers("the next day", b.Send("GET", "/operator", ""), http.StatusUnauthorized, "Sign in")
	})
	apptest.InFront(t, func(s *config.Settings) { s.PublicURL = "http://127.0.0.1:3000" }, func(f *apptest.Front) {
		w := (&apptest.OperatorsBrowser{Front: f}).SignIn(apptest.OperatorToken)
		if strings.Contains(w.Header().Get("Set-Cookie"), "Secure") {
			f.Errorf("cookie %q without HTTPS; a browser would not keep it", w.Header().Get("Set-Cookie"))
		}
	})
	apptest.InFront(t, func(s *config.Settings) { s.OperatorToken = "" }, func(f *apptest.Front) {
		b := &apptest.OperatorsBrowser{Front: f}
		for _, path := range []string{"/operator", "/operator/payments", "/operator/nothing"} {
			f.Answers(path+" where no token is set", b.Send("GET", path, ""), http.StatusForbidden,
				"Set OPERATOR_TOKEN")
		}
		f.Answers("signing in where no token is set", b.SignIn(""), http.StatusForbidden, "Set OPERATOR_TOKEN")
		if b.Cookie != "" {
			f.Errorf("a cookie where no token is set")
		}
	})
}

func TestSigningInLeadsNowhereElse(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		for _, next := range []string{
			"https://evil.test/", "//evil.test/operator", "/operator/../pay", "/pay", "", "javascript:alert(1)",
			"/operatorx", `/operator\evil`, "/operator//x",
		} {
			w := (&apptest.OperatorsBrowser{Front: f}).Send("POST", "/operator/sign-in",
				url.Values{"token": {apptest.OperatorToken}, "next": {next}}.Encode())
			if location := w.Header().Get("Location"); location != "/operator" {
				f.Errorf("next %q leads to %q; want /operator", next, location)
			}
		}
	})
}

func TestGuessingTheTokenIsSlow(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		try := func(address, token string) *httptest.ResponseRecorder {
			r := httptest.NewRequest("POST", "/operator/sign-in",
				strings.NewReader(url.Values{"token": {token}}.Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.RemoteAddr = address + ":1234"
			w := httptest.NewRecorder()
			f.Handler.ServeHTTP(w, r)
			return w
		}
		for i := range 5 {
			if w := try("192.0.2.7", "guess-1234567890"); w.Code != http.StatusUnauthorized {
				f.Fatalf("guess %d: %d; want 401", i+1, w.Code)
			}
		}
		slow := func(address string) {
			f.Helper()
			began := time.Now()
			w := try(address, "guess-1234567890")
			if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" ||
				w.Header().Get("Set-Cookie") != "" ||
				time.Since(began) < time.Second {
				f.Errorf("a guess from %s: %d %v after %s; want 429, held back", address, w.Code, w.Header(),
					time.Since(began))
			}
		}
		atOnce := func(address string) {
			f.Helper()
			began := time.Now()
			if w := try(address, apptest.OperatorToken); w.Code != http.StatusSeeOther || time.Since(began) != 0 {
				f.Errorf("the right token from %s: %d after %s; want 303 at once", address, w.Code, time.Since(began))
			}
		}
		slow("192.0.2.7")
		atOnce("192.0.2.7") // which may be a proxy's, and so everybody's
		f.Pass(31 * time.Second)
		if w := try("192.0.2.7", "guess-1234567890"); w.Code != http.StatusUnauthorized {
			f.Errorf("half a minute later: %d; want 401", w.Code)
		}
		for i := range 60 {
			go try(fmt.Sprintf("198.51.100.%d", i), "guess-1234567890")
		}
		synctest.Wait()
		slow("192.0.2.9") // after many from everywhere
		atOnce("192.0.2.9")

		// However many guess at once.
		for range 1000 {
			go try("192.0.2.10", "guess-1234567890")
		}
		synctest.Wait()
		atOnce("192.0.2.10")
		f.Pass(time.Minute)
	})
}

// broken has the front with a payment whose machine did not start: Notehub refuses its note.
func broken(f *apptest.Front) (id string) {
	f.Notehub.Next(fixture.PostNote, sandbox.Outcome{Status: 404, Body: `{"err":"device not found {device-noexist}"}`})
	session := f.Buy(sandbox.PayOptions{})
	f.Pass(time.Minute)
	return payment.CreditID(session.ID)
}

func TestEveryPageOfTheConsole(t *testing.T) {
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
		b.Shows("/operator/devices", "Washer 3", "Warm wash", "default (STRIPE_PRICE_ID)", "Payment Link",
			"&lt;b&gt;&#34;Evil&#34; &amp; Co&lt;/b&gt;")
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
			"<svg")
		for path, status := range map[string]int{
			"/operator/nothing": 404, "/operator/payments/cr_none": 404, "/operator/events/evt_none": 404,
			"/operator/stickers/dev:none.svg": 404, "/operator/payments?cursor=x": 400,
			"/operator/payments?from=x": 400, "/operator/events?cursor=x": 400, "/operator/payments.csv?to=x": 400,
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
		if policy := b.Send("GET", "/operator", "").Header().Get("Content-Security-Policy"); strings.Contains(
			policy,
			"unsafe",
		) ||
			!strings.Contains(policy, "form-action 'self'") {
			f.Errorf("content policy %q; want nothing inline, and forms to ourselves alone", policy)
		}
		for _, path := range []string{
			"/operator", "/operator/payments", "/operator/payments/" + id, "/operator/devices", "/operator/stickers",
		} {
			if shown := b.Shows(path); strings.Contains(shown, " style=") ||
				strings.Contains(
					strings.ReplaceAll(shown, `<script src="/operator/live.js" defer></script>`, ""),
					"<script",
				) ||
				strings.Contains(shown, "<style") {
				f.Errorf("%s holds what the content policy forbids", path)
			}
		}
	})
}

func TestPaymentsAreFound(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		b := f.Browser()
		session := f.Buy(sandbox.PayOptions{})
		id := payment.CreditID(session.ID)
		day := time.Now().In(time.Local).Format("2006-01-02")
		f.Pass(5 * time.Minute) // Stripe's events are read
		if p, err := f.Ledger.Payment(f.Context(), id); err != nil || !strings.Contains(p.ReceiptURL, "/receipts/") {
			f.Errorf("Stripe's receipt is at %q, %v; want it learned with the card", p.ReceiptURL, err)
		}
		for _, key := range []string{id, session.ID, session.PaymentIntent} {
			if w := b.Send("GET", "/operator/payments?q="+key, ""); w.Header().
				Get("Location") !=
				"/operator/payments/"+id {
				f.Errorf("%s: %d, Location %q; want the payment", key, w.Code, w.Header().Get("Location"))
			}
		}
		for query, found := range map[string]bool{
			"": true, "q=Washer+3": true, "q=washer": true, "q=" + fixture.Washer: true, "q=dryer": false,
			"q=4242": true, "q=1111": false, "q=3.50": true, "q=3,50+EUR": true, "q=3.51": false,
			"q=3.50+USD": false, "q=" + day: true, "q=2020-01-01": false, "q=washer+" + day + "+4242+3.50": true,
			"state=waiting": true, "state=failed": false,
			"state=attention": false, "from=" + day: true, "to=1999-12-31": false, "from=" + day + "&to=" + day: true,
			"q=cr_unknown": false,
		} {
			if shown := b.Shows("/operator/payments?" + query); strings.Contains(shown, id) != found {
				f.Errorf("%s: found %v; want %v", query, !found, found)
			}
		}
	})
}

func TestEveryButtonOfAPayment(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		b := f.Browser()
		id := broken(f)
		b.Shows("/operator", "Needs attention", "Notehub rejected the credit", "/operator/payments/"+id)
		page := "/operator/payments/" + id
		b.Shows(page, "Notehub rejected the credit", "Refunded", "refunded")
		b.Does(b.Press("/operator", page+"/end", "reason", "seen it"), "dismiss")
		b.Shows("/operator", "Nothing needs your attention.")
		b.Shows("/operator/audit", "dismissed this", "seen it", id)

		session := f.Buy(sandbox.PayOptions{})
		f.Notehub.Fetch(fixture.Washer, "payment.qi")
		f.Pass(11 * time.Minute)
		page = "/operator/payments/" + payment.CreditID(session.ID)
		for _, wrong := range []string{"0", "-1", "4", "3.555", "x", "1e9"} {
			w := b.Press(page, page+"/refund", "amount", wrong)
			f.Answers("giving back "+wrong, w, http.StatusBadRequest, "at most 3.50 EUR")
		}
		b.Does(b.Press(page, page+"/refund", "amount", "1,20", "reason", "too slow"), "refund")
		f.Pass(time.Second)
		b.Shows(page, "partly refunded", "1.20 EUR", "too slow", "Nothing more can be known.")
		b.Does(b.Press(page, page+"/refund"), "refund")
		f.Pass(time.Second)
		b.Shows(page, "operator requested a refund of 1.20 EUR", "operator requested a refund of 2.30 EUR",
			"done, status 200: 1.20 EUR", "done, status 200: 2.30 EUR")
		b.Shows("/operator/audit", "requested a refund of 1.20 EUR", "requested a refund of 2.30 EUR", "dismissed this")
		if shown := b.Send("GET", "/operator/audit.csv", "").Body.String(); !strings.Contains(shown, `"1.20","EUR"`) ||
			!strings.Contains(shown, `"operator","dismiss"`) {
			f.Errorf("the audit as CSV\n%s; want amounts, and what was only seen told apart", shown)
		}
		if shown := b.Shows(page, "refunded"); strings.Contains(shown, `action="`+page) {
			f.Errorf("buttons for what is not possible:\n%s", shown)
		}
		f.Answers("what is not possible", b.Send("POST", page+"/retry", "once=AAAA"), http.StatusConflict,
			"no longer possible")

		session = f.Buy(sandbox.PayOptions{})
		page = "/operator/payments/" + payment.CreditID(session.ID)
		b.Does(b.Press(page, page+"/retry", "reason", "again"), "retry")
		b.Does(b.Press(page, page+"/end", "reason", "no more"), "end")
		f.Pass(time.Minute)
		b.Shows(page, "canceled in this console", "refunded", "again", "no more", "operator canceled the start")
		if n := f.Stripe.Count("POST /v1/refunds"); n != 4 {
			f.Errorf("%d refunds at Stripe; want what was refused, two parts, and what was ended", n)
		}
		w := b.Send("POST", "/operator/payments/cr_none/end", "once=AAAA")
		f.Answers("of no payment", w, http.StatusNotFound, "Nothing was changed")
	})
}

func TestAButtonPressedTwiceCountsOnce(t *testing.T) {
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

func TestEveryButtonOfADevice(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		b := f.Browser()
		device := "/operator/devices/" + fixture.Washer
		f.Answers("a pause without a reason", b.Press("/operator/devices", device+"/pause"), http.StatusBadRequest,
			"enter a reason")
		f.Answers("a scan then", f.Get("/pay?device="+fixture.Washer), http.StatusTemporaryRedirect, "")
		b.Does(b.Press("/operator/devices", device+"/pause", "reason", "door broken"), "pause")
		f.Answers("a scan of a paused one", f.Get("/pay?device="+fixture.Washer), http.StatusServiceUnavailable, "")
		b.Shows("/operator", "has been paused since", "door broken")
		b.Does(b.Press("/operator", device+"/resume"), "resume")
		f.Pass(time.Second) // the pause may have deactivated the link already, and then it is activated again
		f.Answers("a scan of one that is resumed", f.Get("/pay?device="+fixture.Washer), http.StatusTemporaryRedirect,
			"")
		b.Does(b.Press("/operator/devices", device+"/start", "reason", "test of the valve"), "start")
		f.Pass(time.Second)
		b.Shows("/operator/payments", "Free start")
		b.Shows("/operator/audit?subject="+fixture.Washer, "test of the valve", "door broken",
			"started the machine for free")
		f.Notehub.AddDevice(sandbox.Device{UID: "dev:2", Name: "Dryer"})
		b.Does(b.Press("/operator/devices", "/operator/refresh"), "refresh")
		b.Shows("/operator/devices", "Dryer")
		f.Notehub.Next(fixture.HubList, sandbox.Outcome{Status: 500})
		f.Answers("while Notehub is down", b.Press("/operator/devices", "/operator/refresh"), http.StatusBadGateway,
			"Sales go on as before")
		w := b.Send("POST", "/operator/devices/dev:none/pause", "once=AAAA&reason=x")
		f.Answers("of no device", w, http.StatusNotFound, "Nothing was changed")
	})
}

func TestWhatIsTheOperatorsIsDoneByNobodyElse(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		b := f.Browser()
		id := payment.CreditID(f.Buy(sandbox.PayOptions{}).ID)
		f.Pass(time.Second)
		before, err := f.Ledger.Payment(f.Context(), id)
		if err != nil {
			f.Fatal(err)
		}
		console := []string{
			"/operator/payments/" + id + "/retry",
			"/operator/payments/" + id + "/refund",
			"/operator/payments/" + id + "/end",
			"/operator/devices/" + fixture.Washer + "/pause",
			"/operator/devices/" + fixture.Washer + "/resume",
			"/operator/devices/" + fixture.Washer + "/start",
			"/operator/refresh",
			"/operator/sign-out",
			"/operator/setup",
		}
		api := []string{
			"/api/payments/" + id + "/retry",
			"/api/payments/" + id + "/refund",
			"/api/payments/" + id + "/end",
			"/api/devices/" + fixture.Washer + "/pause",
			"/api/devices/" + fixture.Washer + "/resume",
			"/api/devices/" + fixture.Washer + "/start",
		}
		const form = "once=AAAA&reason=x&back=/operator"
		wants := func(name, path string, w *httptest.ResponseRecorder, status int) {
			f.Helper()
			if w.Code != status {
				f.Errorf("%s %s: %d %s; want %d", name, path, w.Code, w.Body, status)
			}
		}
		kind := []string{"Content-Type", "application/x-www-form-urlencoded"}
		for _, path := range console {
			wants("without a cookie:", path, f.Do("POST", path, form, kind...), 401)
			wants("with another:", path, f.Do("POST", path, form, append(kind, "Cookie", "notepay_operator=AAAA")...),
				401)
			wants("with the token as the cookie:", path,
				f.Do("POST", path, form, append(kind, "Cookie", "notepay_operator="+apptest.OperatorToken)...), 401)
			for _, origin := range [][]string{
				{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.test"},
				{"Origin", "null"},
			} {
				wants("from another site:", path,
					f.Do("POST", path, form, append(append(kind, "Cookie", b.Cookie), origin...)...), 403)
			}
			wants("without the page's secret:", path,
				f.Do("POST", path, "reason=x", append(kind, "Cookie", b.Cookie)...), 400)
			wants("another method:", path, f.Do("PUT", path, form, append(kind, "Cookie", b.Cookie)...), 405)
			if path != "/operator/sign-out" && path != "/operator/refresh" && path != "/operator/setup" {
				wants("by a link:", path, f.Get(path, "Cookie", b.Cookie), 404)
			}
		}
		for _, path := range api {
			wants("without the token:", path, f.Do("POST", path, `{"reason":"x"}`), 401)
			wants("with the cookie:", path, f.Do("POST", path, `{"reason":"x"}`, "Cookie", b.Cookie), 401)
			wants(
				"from another site:",
				path,
				f.Do("POST", path, `{"reason":"x"}`, "Authorization", "Bearer "+apptest.OperatorToken, "Origin",
					"https://evil.test"),
				403,
			)
			wants("another method:", path,
				f.Do("PUT", path, `{"reason":"x"}`, "Authorization", "Bearer "+apptest.OperatorToken), 404)
		}
		for _, path := range []string{
			"/operator", "/operator/payments", "/operator/payments.csv", "/operator/payments/" + id,
			"/operator/devices", "/operator/events", "/operator/events/evt_1", "/operator/stickers",
			"/operator/stickers/" + fixture.Washer, "/operator/audit", "/operator/setup", "/operator/live",
			"/operator/audit.csv", "/operator/nothing",
		} {
			w := f.Get(path)
			wants("without a cookie:", path, w, 401)
			if strings.Contains(w.Body.String(), "Washer") || strings.Contains(w.Body.String(), id+"<") {
				f.Errorf("%s tells something to who has not signed in:\n%s", path, w.Body)
			}
		}
		f.Pass(time.Second)
		after, err := f.Ledger.Payment(f.Context(), id)
		if err != nil || after != before {
			f.Errorf("the payment changed: %+v, %v; want %+v", after, err, before)
		}
		if list, _, err := f.Ledger.Audits(f.Context(), "", 10, ""); err != nil || len(list) != 0 {
			f.Errorf("audit %+v, %v; want that nobody did anything", list, err)
		}
		b.Shows("/operator") // still signed in
	})
}

func TestTheCSVOfPaymentsAddsUp(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Server.Console.Zone = time.FixedZone("where midnight is near", int((23*time.Hour + 30*time.Minute).Seconds()))
		f.Stripe.SetPrice(fixture.Warm, func(p *sandbox.Price) { p.Name = "=HYPERLINK(1)" })
		f.Run()
		b := f.Browser()
		broken(f)
		session := f.Buy(sandbox.PayOptions{})
		page := "/operator/payments/" + payment.CreditID(session.ID)
		f.Notehub.Fetch(fixture.Washer, "payment.qi")
		f.Pass(11 * time.Minute)
		b.Does(b.Press(page, page+"/refund", "amount", "1"), "refund")
		f.Pass(20 * time.Minute)
		f.Buy(sandbox.PayOptions{})
		w := b.Send("GET", "/operator/payments.csv", "")
		if kind := w.Header().Get("Content-Type"); kind != "text/csv; charset=utf-8" ||
			!strings.Contains(w.Header().Get("Content-Disposition"), "attachment") {
			f.Errorf("headers %v; want a file to save", w.Header())
		}
		rows, err := csv.NewReader(w.Body).ReadAll()
		if err != nil || len(rows) < 2 {
			f.Fatalf("%d rows, %v; want a table", len(rows), err)
		}
		column := map[string]int{}
		for i, name := range rows[0] {
			column[name] = i
		}
		var got []string
		for _, row := range rows[1:] {
			got = append(
				got,
				strings.Join(
					[]string{
						row[column["record"]],
						row[column["sold"]],
						row[column["given back"]],
						row[column["net"]],
						row[column["currency"]],
					},
					" ",
				),
			)
			if plan := row[column["plan"]]; row[0] == "payment" && plan != "'=HYPERLINK(1)" {
				f.Errorf("plan %q would be a formula in a spreadsheet", plan)
			}
		}
		want := []string{
			"payment 3.50 0.00 3.50 EUR",
			"day total 3.50 0.00 3.50 EUR",
			"payment 3.50 1.00 2.50 EUR",
			"payment 3.50 3.50 0.00 EUR",
			"day total 7.00 4.50 2.50 EUR",
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			f.Errorf("rows\n%s; want\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		w = b.Send("GET", "/operator/audit.csv", "")
		if !strings.Contains(w.Body.String(), `,"operator","refund",`) {
			f.Errorf("audit\n%s; want the refund", w.Body)
		}
	})
}

// A customer calls: "14:05, card ending 4242". What the webhook told of the payment did not tell
// the card.
func TestAPaymentIsFoundByTheCardRightAfterIt(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		b := f.Browser()
		const asking = "notepay is asking Stripe for the cards of the last minutes."
		finds := func(digits string, session sandbox.Session, found bool) {
			f.Helper()
			if shown := b.Shows("/operator/payments?q=" + digits); strings.Contains(
				shown,
				payment.CreditID(session.ID),
			) != found {
				f.Errorf("found by %s: %v; want %v", digits, !found, found)
			}
		}
		f.Pass(time.Minute)
		session := f.Buy(sandbox.PayOptions{Method: "4000 0025 0000 3155"})
		f.Pass(time.Second)
		// else it may end before the page is written
		f.Stripe.Next(fixture.ListEvents,
			sandbox.Outcome{Applied: true, Status: http.StatusOK, Delay: 500 * time.Millisecond})
		finds("3155", session, false)
		b.Shows("/operator/payments?q=3155", asking)
		f.Pass(time.Second)
		reads := f.Stripe.Count(fixture.ListEvents)
		finds("3155", session, true)
		if strings.Contains(b.Page, asking) || f.Stripe.Count(fixture.ListEvents) != reads {
			f.Error("Stripe is asked again although nothing was paid since")
		}
		b.Shows("/operator/payments/"+payment.CreditID(session.ID), "ends in 3155")
		if types, _ := f.EventsListed("id=" + session.ID); strings.Contains(
			strings.Join(types, " "),
			"charge.succeeded",
		) {
			f.Errorf("events %q; want none that every payment has and that only tells the card", types)
		}

		without := f.Buy(sandbox.PayOptions{Method: "paypal"})
		f.Pass(5 * time.Minute)
		if p := f.Paid(without.ID); p.CardLast4 != "" {
			f.Errorf("card %q of a payment without one", p.CardLast4)
		}
		reads = f.Stripe.Count(fixture.ListEvents)
		for range 40 {
			f.Buy(sandbox.PayOptions{})
			b.Shows("/operator/payments?q=4242")
			f.Pass(time.Second)
		}
		if n := f.Stripe.Count(fixture.ListEvents) - reads; n < 10 || n > 20 {
			f.Errorf("%d readings of Stripe's events for 40 searches; want some, and no more than Stripe grants", n)
		}
	})
}

// The order of the devices is remembered, but not for longer than it is true.
func TestANewNameIsFound(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		b := f.Browser()
		b.Shows("/operator/devices?q=washer", "1 found.")
		f.Notehub.AddDevice(sandbox.Device{UID: fixture.Washer, Name: "Mangle 3"})
		f.Notehub.AddDevice(sandbox.Device{UID: "dev:2", Name: "Dryer"})
		b.Does(b.Press("/operator/devices", "/operator/refresh"), "refresh")
		b.Shows("/operator/devices?q=washer", "No machine has this name or UID.")
		b.Shows("/operator/devices?q=mangle", "1 found.")
		f.Notehub.AddDevice(sandbox.Device{UID: "dev:3", Name: "Spin dryer"})
		f.Get("/pay?device=dev:3") // which nobody knew
		f.Pass(5 * time.Second)
		b.Shows("/operator/devices?q=dryer", "2 found.", "Spin dryer")
	})
}
