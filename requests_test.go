package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// posts sends a JSON request of the operator's, with an Idempotency-Key if there is one.
func (f *front) posts(path, body, key string) *httptest.ResponseRecorder {
	header := []string{"Authorization", "Bearer " + operatorToken}
	if key != "" {
		header = append(header, "Idempotency-Key", key)
	}
	w := f.do("POST", path, body, header...)
	synctest.Wait()
	return w
}

func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		f.run()
		session := f.buy(sandbox.PayOptions{})
		f.notehub.Fetch(washer, "payment.qi")
		f.pass(11 * time.Minute)
		refund := "/api/payments/" + session.ID + "/refund"
		refunds := func(want int) {
			f.Helper()
			f.pass(time.Second)
			if n := f.stripe.Count("POST /v1/refunds"); n != want {
				f.Errorf("%d refunds at Stripe; want %d", n, want)
			}
		}

		first := f.posts(refund, `{"amount":100,"reason":"too slow"}`, "a-1")
		f.answers("the first", first, http.StatusOK, `"session_id":"`+session.ID+`"`)
		refunds(1)
		again := f.posts(refund, ` { "reason": "too slow", "amount": 100 } `, "a-1")
		f.answers("the same again", again, http.StatusOK, first.Body.String())
		if again.Header().Get("Idempotent-Replayed") != "true" || first.Header().Get("Idempotent-Replayed") != "" {
			f.Errorf("replayed: %q and %q; want only the second", first.Header(), again.Header())
		}
		refunds(1)
		for name, w := range map[string]*httptest.ResponseRecorder{
			"another amount":  f.posts(refund, `{"amount":101,"reason":"too slow"}`, "a-1"),
			"no amount":       f.posts(refund, `{"reason":"too slow"}`, "a-1"),
			"another reason":  f.posts(refund, `{"amount":100}`, "a-1"),
			"another route":   f.posts("/api/payments/"+session.ID+"/end", `{"amount":100,"reason":"too slow"}`, "a-1"),
			"another payment": f.posts("/api/devices/"+washer+"/start", `{"amount":100,"reason":"too slow"}`, "a-1"),
		} {
			f.answers(name, w, http.StatusUnprocessableEntity, `"code":"idempotency_key_reused"`)
		}
		refunds(1)

		// A ledger that was closed and opened again knows it still.
		f.stop()
		f.closeLedger()
		f.open()
		f.run()
		f.answers("after a restart", f.posts(refund, `{"amount":100,"reason":"too slow"}`, "a-1"), http.StatusOK, first.Body.String())
		f.answers("with another key", f.posts(refund, `{"amount":100,"reason":"too slow"}`, "a-2"), http.StatusOK, "")
		refunds(2)
		f.answers("with none", f.posts(refund, `{"amount":50,"reason":"too slow"}`, ""), http.StatusOK, "")
		refunds(3)

		// What fails changes nothing, and the key may be sent again when it is possible.
		f.answers("too much", f.posts(refund, `{"amount":5000}`, "a-3"), http.StatusConflict, "not_possible")
		f.answers("unknown", f.posts("/api/payments/cr_none/refund", ``, "a-3"), http.StatusNotFound, "not_found")
		f.answers("as much as is left", f.posts(refund, ``, "a-3"), http.StatusOK, "")
		refunds(4)
		f.answers("all of it again", f.posts(refund, ``, "a-3"), http.StatusOK, "")
		f.answers("all of it again, without a key", f.posts(refund, ``, ""), http.StatusConflict, "not_possible")
		refunds(4)
	})
}

func TestIdempotencyKeyOfAStart(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		f.run()
		start := "/api/devices/" + washer + "/start"
		ids := make(chan string, 20)
		var senders sync.WaitGroup
		for range cap(ids) {
			senders.Go(func() {
				w := f.do("POST", start, `{"reason":"test"}`, "Authorization", "Bearer "+operatorToken, "Idempotency-Key", "s-1")
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
		f.pass(time.Second)
		if n := f.notehub.Count(postNote); n != 1 {
			f.Errorf("%d notes; want one", n)
		}
		f.notehub.AddDevice(sandbox.Device{UID: "dev:9", Name: "Dryer"})
		f.notehub.RemoveDevice(washer)
		f.refresh()
		f.answers("when the device is gone", f.posts(start, `{"reason":"test"}`, "s-1"), http.StatusOK, strings.TrimPrefix(one, "200 "))
		f.answers("a new one then", f.posts(start, `{"reason":"test"}`, "s-2"), http.StatusNotFound, "no device has this UID")
		f.notehub.AddDevice(sandbox.Device{UID: washer, Name: "Washer 3"})
		f.refresh()
		f.pass(24*time.Hour + time.Second)
		f.answers("the next day", f.posts(start, `{"reason":"test"}`, "s-1"), http.StatusOK, "")
		f.pass(time.Second)
		if n := f.notehub.Count(postNote); n != 2 {
			f.Errorf("%d notes; want a second one the next day", n)
		}

		for name, key := range map[string]string{"empty": "", "too long": strings.Repeat("x", 256), "not printable": "a\x01", "not ASCII": "schlüssel"} {
			w := f.do("POST", start, `{"reason":"test"}`, "Authorization", "Bearer "+operatorToken, "Idempotency-Key", key)
			f.answers(name, w, http.StatusBadRequest, `"code":"bad_idempotency_key"`)
		}
		r := httptest.NewRequest("POST", start, strings.NewReader(`{"reason":"test"}`))
		r.Header = http.Header{"Authorization": {"Bearer " + operatorToken}, "Idempotency-Key": {"x", "y"}}
		w := httptest.NewRecorder()
		f.handler.ServeHTTP(w, r)
		f.answers("two keys", w, http.StatusBadRequest, `"code":"bad_idempotency_key"`)
		f.answers("the longest key", f.posts(start, `{"reason":"test"}`, strings.Repeat("x", 255)), http.StatusOK, "")
	})
}

// A form's token is consumed by the success of its action and by nothing else.
func TestFormTokenAfterAFailure(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		f.run()
		b := f.browser()
		session := f.buy(sandbox.PayOptions{})
		f.notehub.Fetch(washer, "payment.qi")
		f.pass(11 * time.Minute)
		page := "/operator/payments/" + payment.CreditID(session.ID)
		b.shows(page)
		form := url.Values{"once": {onceField.FindStringSubmatch(b.page)[1]}, "back": {page}}
		press := func(amount string) *httptest.ResponseRecorder {
			form.Set("amount", amount)
			return b.send("POST", page+"/refund", form.Encode())
		}
		for name, body := range map[string]string{"an amount that cannot be read": "&amount=%zz", "semicolons": ";amount=1"} {
			f.answers(name, b.send("POST", page+"/refund", form.Encode()+body), http.StatusBadRequest, "The form was incomplete.")
		}
		f.answers("too much", press("99"), http.StatusBadRequest, "Nothing was changed")
		f.closeLedger()
		f.answers("while nothing can be stored", press("1"), http.StatusInternalServerError, "")
		f.stop()
		f.open()
		f.run()
		b.signIn(operatorToken)
		b.does(press("3.50"), "refund")
		b.does(press("3.50"), "twice")
		f.pass(time.Second)
		if p := f.paid(session.ID); p.RefundedAmount != 350 || f.stripe.Count("POST /v1/refunds") != 1 {
			f.Errorf("%d refunded by %d refunds; want all by one", p.RefundedAmount, f.stripe.Count("POST /v1/refunds"))
		}

		start := "/operator/devices/dev:9/start"
		b.shows("/operator/devices")
		form = url.Values{"once": {onceField.FindStringSubmatch(b.page)[1]}, "back": {"/operator/devices"}, "reason": {"test"}}
		f.answers("of a device that is not known yet", b.send("POST", start, form.Encode()), http.StatusNotFound, "")
		f.notehub.AddDevice(sandbox.Device{UID: "dev:9", Name: "Dryer"})
		f.refresh()
		b.does(b.send("POST", start, form.Encode()), "start")
		b.does(b.send("POST", start, form.Encode()), "twice")
		f.pass(time.Second)
		if n := len(f.notehub.Notes("dev:9")); n != 1 {
			f.Errorf("%d notes; want one", n)
		}
		f.answers("a token that none of our pages gave", b.send("POST", start, "once="+strings.Repeat("A", 65)), http.StatusBadRequest, "incomplete")

		// Reading the devices anew does no harm, however often.
		b.shows("/operator/devices")
		form = url.Values{"once": {onceField.FindStringSubmatch(b.page)[1]}, "back": {"/operator/devices"}}
		f.notehub.Next(hubList, sandbox.Outcome{Status: 500})
		f.answers("while Notehub is down", b.send("POST", "/operator/refresh", form.Encode()), http.StatusBadGateway, "")
		b.does(b.send("POST", "/operator/refresh", form.Encode()), "refresh")
	})
}
