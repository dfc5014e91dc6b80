package api_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/ledger"
	"notepay/internal/sandbox"
)

func TestCreatePaymentLink(t *testing.T) {
	t.Parallel()
	apptest.InFront(
		t,
		func(s *config.Settings) { s.StripePriceID = fixture.Warm + ",price_cold" },
		func(f *apptest.Front) {
			f.Stripe.AddPrice(
				sandbox.Price{ID: "price_cold", Name: "Cold wash", Currency: "eur", Amount: 250, Active: true},
			)
			asks := func(body string, header ...string) *httptest.ResponseRecorder {
				header = append([]string{"Authorization", "Bearer " + apptest.OperatorToken}, header...)
				return f.Do("POST", "/api/create-payment-link", body, header...)
			}
			f.Answers("before the devices were read", asks(`{"id":"`+fixture.Washer+`"}`), http.StatusConflict,
				`"code":"not_loaded"`)
			f.Run()
			links := map[string]string{}
			for _, l := range f.Stripe.Links() {
				links[l.PriceID] = l.URL
			}
			answer := func(url string) string {
				return `{"data":{"url":"` + url + `"},"message":"Payment link created"}`
			}
			f.Answers("the first plan", asks(`{"id":"`+fixture.Washer+`"}`), http.StatusCreated,
				answer(links[fixture.Warm]))
			f.Answers("another", asks(`{"id":"DEV:864475044215258","price_id":"price_cold"}`), http.StatusCreated,
				answer(links["price_cold"]))
			f.Answers("a price of the caller's", asks(`{"id":"`+fixture.Washer+`","amount":1,"currency":"usd"}`),
				http.StatusCreated, answer(links[fixture.Warm]))
			f.Answers("without the token", f.Do("POST", "/api/create-payment-link", `{"id":"`+fixture.Washer+`"}`),
				http.StatusUnauthorized, `"code":"unauthorized"`)
			f.Answers("no such device", asks(`{"id":"dev:1"}`), http.StatusNotFound, `"code":"not_found"`)
			f.Answers("no such price", asks(`{"id":"`+fixture.Washer+`","price_id":"price_none"}`), http.StatusNotFound,
				`"code":"no_such_price"`)
			f.Answers("no device", asks(`{}`), http.StatusBadRequest, `"code":"bad_id"`)
			f.Answers("no JSON", asks(`id=1`), http.StatusBadRequest, `"code":"bad_body"`)
			f.Answers("too much", asks(`{"id":"`+strings.Repeat("x", 2<<20)+`"}`), http.StatusRequestEntityTooLarge,
				`"code":"too_large"`)
			f.Fleet.InUse(fixture.Washer, time.Time{})
			f.Answers("in use", asks(`{"id":"`+fixture.Washer+`"}`), http.StatusConflict, `"code":"in_use"`)
			f.Fleet.Free(fixture.Washer)
			f.Fleet.Paused(ledger.Pause{DeviceUID: fixture.Washer, Reason: "vandals", By: "anna", At: time.Now()})
			w := asks(`{"id":"` + fixture.Washer + `"}`)
			f.Answers("paused", w, http.StatusConflict, `"code":"paused"`)
			if strings.Contains(w.Body.String(), "vandals") {
				f.Errorf("%s; want no word of what is for the operator", w.Body)
			}
		},
	)
}
