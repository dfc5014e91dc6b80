package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		session := f.Buy(sandbox.PayOptions{})
		f.Notehub.Fetch(fixture.Washer, "payment.qi")
		f.Pass(11 * time.Minute)
		refund := "/api/payments/" + session.ID + "/refund"
		refunds := func(want int) {
			f.Helper()
			f.Pass(time.Second)
			if n := f.Stripe.Count("POST /v1/refunds"); n != want {
				f.Errorf("%d refunds at Stripe; want %d", n, want)
			}
		}

		first := f.Posts(refund, `{"amount":100,"reason":"too slow"}`, "a-1")
		f.Answers("the first", first, http.StatusOK, `"session_id":"`+session.ID+`"`)
		refunds(1)
		again := f.Posts(refund, ` { "reason": "too slow", "amount": 100 } `, "a-1")
		f.Answers("the same again", again, http.StatusOK, first.Body.String())
		if again.Header().Get("Idempotent-Replayed") != "true" || first.Header().Get("Idempotent-Replayed") != "" {
			f.Errorf("replayed: %q and %q; want only the second", first.Header(), again.Header())
		}
		refunds(1)
		for name, w := range map[string]*httptest.ResponseRecorder{
			"another amount": f.Posts(refund, `{"amount":101,"reason":"too slow"}`, "a-1"),
			"no amount":      f.Posts(refund, `{"reason":"too slow"}`, "a-1"),
			"another reason": f.Posts(refund, `{"amount":100}`, "a-1"),
			"another route":  f.Posts("/api/payments/"+session.ID+"/end", `{"amount":100,"reason":"too slow"}`, "a-1"),
			"another payment": f.Posts(
				"/api/devices/"+fixture.Washer+"/start", `{"amount":100,"reason":"too slow"}`, "a-1",
			),
		} {
			f.Answers(name, w, http.StatusUnprocessableEntity, `"code":"idempotency_key_reused"`)
		}
		refunds(1)

		// The ledger still knows the key after it was closed and opened again.
		f.Stop()
		f.CloseLedger()
		f.Open()
		f.Run()
		f.Answers("after a restart", f.Posts(refund, `{"amount":100,"reason":"too slow"}`, "a-1"), http.StatusOK,
			first.Body.String())
		f.Answers("with another key", f.Posts(refund, `{"amount":100,"reason":"too slow"}`, "a-2"), http.StatusOK, "")
		refunds(2)
		f.Answers("with none", f.Posts(refund, `{"amount":50,"reason":"too slow"}`, ""), http.StatusOK, "")
		refunds(3)

		// A failed request changes nothing, and its key can be sent again.
		f.Answers("too much", f.Posts(refund, `{"amount":5000}`, "a-3"), http.StatusConflict, "not_possible")
		f.Answers("unknown", f.Posts("/api/payments/cr_none/refund", ``, "a-3"), http.StatusNotFound, "not_found")
		f.Answers("as much as is left", f.Posts(refund, ``, "a-3"), http.StatusOK, "")
		refunds(4)
		f.Answers("all of it again", f.Posts(refund, ``, "a-3"), http.StatusOK, "")
		f.Answers("all of it again, without a key", f.Posts(refund, ``, ""), http.StatusConflict, "not_possible")
		refunds(4)
	})
}

// A missing amount refunds everything, so a partial refund that was sent wrongly must not pass.
func TestDecisionsRefuseAnAmbiguousBody(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		session := f.Buy(sandbox.PayOptions{})
		f.Notehub.Fetch(fixture.Washer, "payment.qi")
		f.Pass(11 * time.Minute)
		refund := "/api/payments/" + session.ID + "/refund"
		for _, body := range []string{
			`{}}`, `{}},"amount":50}`, `{}]`, `{"reason":"x"}}`, `{} {}`, `{}0`, `{"amount":50,"amount":100}`,
			`{"amount":50,"Amount":100}`, `{"amount":100,"reason":"a","reason":"b"}`,
			`{"amount":50.0}`, `{"amount":5e1}`,
			`{"amount":[50]}`, `{"amount":{}}`, `{"amount":true}`, `[]`, `[{"amount":50}]`, `50`, `"50"`, `amount=50`,
			"\ufeff" + `{"amount":50}`, `{"amount":50`, `{"amount":99999999999999999999}`,
		} {
			f.Answers(body, f.Posts(refund, body, ""), http.StatusBadRequest, `"code":"bad_body"`)
		}
		for _, body := range []string{`{"amount":0}`, `{"amount":-1}`} {
			f.Answers(body, f.Posts(refund, body, ""), http.StatusBadRequest, `"code":"bad_amount"`)
		}
		f.Pass(time.Second)
		if n := f.Stripe.Count("POST /v1/refunds"); n != 0 {
			f.Errorf("%d refunds at Stripe; want none", n)
		}
		f.Answers("with spaces around it", f.Posts(refund, " \n {\"amount\" : 50 } \r\n", ""), http.StatusOK, "")
		f.Answers("spaces alone", f.Posts(refund, " \n ", ""), http.StatusOK, "")
	})
}

func TestIdempotencyKeyOfAStart(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		start := "/api/devices/" + fixture.Washer + "/start"
		ids := make(chan string, 20)
		var senders sync.WaitGroup
		for range cap(ids) {
			senders.Go(func() {
				w := f.Do("POST", start, `{"reason":"test"}`, "Authorization", "Bearer "+apptest.OperatorToken,
					"Idempotency-Key", "s-1")
				var p struct{ ID string }
				_ = json.Unmarshal(w.Body.Bytes(), &p)
				ids <- fmt.Sprintf("%d %s", w.Code, p.ID)
			})
		}
		senders.Wait()
		one := <-ids
		for range cap(ids) - 1 {
			if other := <-ids; other != one || !strings.HasPrefix(one, "200 cr_") {
				f.Errorf("answers %q and %q; want one start", one, other)
			}
		}
		f.Pass(time.Second)
		if n := f.Notehub.Count(fixture.PostNote); n != 1 {
			f.Errorf("%d notes; want one", n)
		}
		f.Notehub.AddDevice(sandbox.Device{UID: "dev:9", Name: "Dryer"})
		f.Notehub.RemoveDevice(fixture.Washer)
		f.Refresh()
		f.Answers("when the device is gone", f.Posts(start, `{"reason":"test"}`, "s-1"), http.StatusOK,
			strings.TrimPrefix(one, "200 "))
		f.Answers("a new one then", f.Posts(start, `{"reason":"test"}`, "s-2"), http.StatusNotFound,
			"no device has this UID")
		f.Notehub.AddDevice(sandbox.Device{UID: fixture.Washer, Name: "Washer 3"})
		f.Refresh()
		f.Stop() // nothing has to run for a day
		f.Pass(24*time.Hour + time.Second)
		f.Run()
		f.Answers("the next day", f.Posts(start, `{"reason":"test"}`, "s-1"), http.StatusOK, "")
		f.Pass(time.Second)
		if n := f.Notehub.Count(fixture.PostNote); n != 2 {
			f.Errorf("%d notes; want a second one the next day", n)
		}

		for name, key := range map[string]string{
			"empty": "", "too long": strings.Repeat("x", 256), "not printable": "a\x01", "not ASCII": "schlüssel",
		} {
			w := f.Do("POST", start, `{"reason":"test"}`, "Authorization", "Bearer "+apptest.OperatorToken,
				"Idempotency-Key", key)
			f.Answers(name, w, http.StatusBadRequest, `"code":"bad_idempotency_key"`)
		}
		r := httptest.NewRequest("POST", start, strings.NewReader(`{"reason":"test"}`))
		r.Header = http.Header{"Authorization": {"Bearer " + apptest.OperatorToken}, "Idempotency-Key": {"x", "y"}}
		w := httptest.NewRecorder()
		f.Handler.ServeHTTP(w, r)
		f.Answers("two keys", w, http.StatusBadRequest, `"code":"bad_idempotency_key"`)
		f.Answers("the longest key", f.Posts(start, `{"reason":"test"}`, strings.Repeat("x", 255)), http.StatusOK, "")
	})
}

// Only a successful action consumes a form's token.
func TestFormTokenAfterAFailure(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		b := f.Browser()
		session := f.Buy(sandbox.PayOptions{})
		f.Notehub.Fetch(fixture.Washer, "payment.qi")
		f.Pass(11 * time.Minute)
		page := "/operator/payments/" + payment.CreditID(session.ID)
		b.Shows(page)
		form := url.Values{"once": {apptest.OnceField.FindStringSubmatch(b.Page)[1]}, "back": {page}}
		press := func(amount string) *httptest.ResponseRecorder {
			form.Set("amount", amount)
			return b.Send("POST", page+"/refund", form.Encode())
		}
		for name, body := range map[string]string{
			"an amount that cannot be read": "&amount=%zz", "semicolons": ";amount=1",
		} {
			f.Answers(name, b.Send("POST", page+"/refund", form.Encode()+body), http.StatusBadRequest,
				"The form was incomplete.")
		}
		f.Answers("too much", press("99"), http.StatusBadRequest, "Nothing was changed")
		f.CloseLedger()
		f.Answers("while nothing can be stored", press("1"), http.StatusInternalServerError, "")
		f.Stop()
		f.Open()
		f.Run()
		b.SignIn(apptest.OperatorToken)
		b.Does(press("3.50"), "refund")
		b.Does(press("3.50"), "twice")
		f.Pass(time.Second)
		if p := f.Paid(session.ID); p.RefundedAmount != 350 || f.Stripe.Count("POST /v1/refunds") != 1 {
			f.Errorf("%d refunded by %d refunds; want all by one", p.RefundedAmount, f.Stripe.Count("POST /v1/refunds"))
		}

		start := "/operator/devices/dev:9/start"
		b.Shows("/operator/devices")
		form = url.Values{
			"once":   {apptest.OnceField.FindStringSubmatch(b.Page)[1]},
			"back":   {"/operator/devices"},
			"reason": {"test"},
		}
		f.Answers("of a device that is not known yet", b.Send("POST", start, form.Encode()), http.StatusNotFound, "")
		f.Notehub.AddDevice(sandbox.Device{UID: "dev:9", Name: "Dryer"})
		f.Refresh()
		b.Does(b.Send("POST", start, form.Encode()), "start")
		b.Does(b.Send("POST", start, form.Encode()), "twice")
		f.Pass(time.Second)
		if n := len(f.Notehub.Notes("dev:9")); n != 1 {
			f.Errorf("%d notes; want one", n)
		}
		f.Answers("a token that none of our pages gave", b.Send("POST", start, "once="+strings.Repeat("A", 65)),
			http.StatusBadRequest, "incomplete")

		// Reading the devices again is harmless.
		b.Shows("/operator/devices")
		form = url.Values{"once": {apptest.OnceField.FindStringSubmatch(b.Page)[1]}, "back": {"/operator/devices"}}
		f.Notehub.Next(fixture.HubList, sandbox.Outcome{Status: 500})
		f.Answers("while Notehub is down", b.Send("POST", "/operator/refresh", form.Encode()), http.StatusBadGateway,
			"")
		b.Does(b.Send("POST", "/operator/refresh", form.Encode()), "refresh")
	})
}
