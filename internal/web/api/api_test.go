package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

func TestAPIRequiresTheOperatorToken(t *testing.T) {
	t.Parallel()
	paths := []string{"/api/payments", "/api/payments/cr_1", "/api/", "/api/nothing"}
	apptest.InFront(t, func(s *config.Settings) { s.OperatorToken = "" }, func(f *apptest.Front) {
		for _, path := range paths {
			f.Answers(path+" where no token is set", f.Get(path), http.StatusForbidden,
				`{"error":{"code":"no_operator_token","message":"set OPERATOR_TOKEN`)
			f.Answers(path+" where no token is set, with an empty one", f.Get(path, "Authorization", "Bearer "),
				http.StatusForbidden, "no_operator_token")
		}
	})
	apptest.InFront(t, nil, func(f *apptest.Front) {
		for _, path := range paths {
			for _, header := range []string{
				"", "Bearer ", "Bearer wrong-token-12345", "Bearer " + apptest.OperatorToken + "x",
				apptest.OperatorToken, "Basic " + apptest.OperatorToken,
			} {
				w := f.Get(path, "Authorization", header)
				f.Answers(path+" with "+header, w, http.StatusUnauthorized,
					`{"error":{"code":"unauthorized","message":`)
				if kind := w.Header().Get("Content-Type"); kind != "application/json" {
					f.Errorf("%s: Content-Type %q; want application/json", path, kind)
				}
			}
		}
		f.Answers("the token in the address", f.Get("/api/payments?token="+apptest.OperatorToken),
			http.StatusUnauthorized, "unauthorized")
		for _, path := range []string{"/api/nothing", "/api/", "/api/payments/cr_1/nothing"} {
			f.Answers(path, f.AsOperator(path), http.StatusNotFound,
				`{"error":{"code":"not_found","message":"no such route"}}`)
		}
		f.Answers("another method",
			f.Do("DELETE", "/api/payments", "", "Authorization", "Bearer "+apptest.OperatorToken), http.StatusNotFound,
			`"code":"not_found"`)
	})
}

func TestPaymentByItsThreeIDs(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Stripe.SetPrice(fixture.Warm, func(p *sandbox.Price) { p.Metadata = map[string]string{"duration": "1h"} })
		f.Run()
		created := time.Now().UTC()
		session := f.Buy(sandbox.PayOptions{})
		var all []string
		for _, id := range []string{payment.CreditID(session.ID), session.ID, session.PaymentIntent} {
			w := f.AsOperator("/api/payments/" + id)
			if w.Code != http.StatusOK || w.Header().Get("Cache-Control") != "no-store" {
				f.Errorf("%s: %d, Cache-Control %q; want 200, no-store", id, w.Code, w.Header().Get("Cache-Control"))
			}
			all = append(all, w.Body.String())
		}
		if len(slices.Compact(all)) != 1 {
			f.Errorf("three ids give %d answers:\n%s", len(all), strings.Join(all, ""))
		}
		at := created.Format(time.RFC3339Nano)
		var read struct {
			SentAt time.Time `json:"sent_at"`
		}
		if err := json.Unmarshal([]byte(all[0]), &read); err != nil || read.SentAt.Before(created) ||
			read.SentAt.After(created.Add(ledger.MaxPatience)) { // the outcome may share another commit
			f.Errorf("sent at %v, %v; want at most %v after %v", read.SentAt, err, ledger.MaxPatience, created)
		}
		sent := read.SentAt.Format(time.RFC3339Nano)
		expires := session.PaidAt.UTC().Add(10 * time.Minute).Format(time.RFC3339)
		want := fmt.Sprintf(
			`{"id":%q,"session_id":%q,"payment_intent":%q,"device_uid":%q,"device_name":"Washer 3",`+
				`"price_id":%q,"plan":"Warm wash","duration_s":3600,"amount":350,"currency":"eur","livemode":false,`+
				`"money":"paid","refunded_amount":0,"refund_reference":"","discount":0,`+
				`"machine":"sent","reason":"","needs_attention":false,`+
				`"created_at":%q,"sent_at":%q,"started_at":null,"ends_at":null,"expires_at":%q,`+
				`"attempts":[{"at":%q,"action":"note","outcome":"ok","status":200,"detail":"","took_ms":0}]}`+"\n",
			payment.CreditID(session.ID),
			session.ID,
			session.PaymentIntent,
			fixture.Washer,
			fixture.Warm,
			at,
			sent,
			expires,
			at,
		)
		if all[0] != want {
			f.Errorf("payment\n%s; want\n%s", all[0], want)
		}
		for _, id := range []string{"cr_none", "cs_test_none", "%20", "a%2Fb", url.PathEscape("' OR 1=1 --")} {
			f.Answers(
				id,
				f.AsOperator("/api/payments/"+id),
				http.StatusNotFound,
				`{"error":{"code":"not_found",`+
					`"message":"no payment has this credit id, session id or payment intent"}}`,
			)
		}
	})
}

func TestPaymentsAreListed(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		if got, next := f.Listed(""); len(got) != 0 || next != "" {
			f.Errorf("%q, cursor %q; want nothing yet", got, next)
		}
		f.Notehub.AddDevice(sandbox.Device{UID: "dev:2", Name: "Dryer 2"})
		f.Run()
		links := f.Stripe.Links()
		at := map[string]int{} // payments by device
		var sessions []string
		for i := range 7 {
			link, options := links[i%2], sandbox.PayOptions{}
			if i == 3 {
				options.Amount = 100 // not the price, so it needs a review
			}
			session, err := f.Stripe.Pay(link.ID, options)
			if err != nil {
				f.Fatal(err)
			}
			f.Idle()
			if i%3 != 0 { // some have the same time
				f.Pass(time.Second)
			}
			sessions = append(sessions, session.ID)
			at[link.DeviceUID]++
		}
		all, _ := f.Listed("")
		if !slices.Equal(slices.Sorted(slices.Values(all)), slices.Sorted(slices.Values(sessions))) {
			f.Fatalf("%q; want all of %q", all, sessions)
		}
		var paged []string
		for cursor := ""; ; {
			page, next := f.Listed("limit=3&cursor=" + cursor)
			paged = append(paged, page...)
			if cursor = next; next == "" {
				break
			}
			if len(page) != 3 {
				f.Errorf("a page of %d before the last; want 3", len(page))
			}
		}
		if !slices.Equal(paged, all) {
			f.Errorf("in pages %q; want %q", paged, all)
		}
		even, odd := links[0].DeviceUID, links[1].DeviceUID
		for query, want := range map[string]int{
			"limit=200": 7, "limit=7": 7, "limit=1": 1, "device=" + even: at[even], "device=" + odd: at[odd],
			"device=dev:none": 0, "money=paid": 7, "money=refunded": 0, "money=": 7, "machine=failed": 0,
			"machine=sent": 7, "machine=queued": 0, "attention=true": 1, "attention=1": 1, "attention=false": 6,
			"device=" + odd + "&attention=true&money=paid&machine=sent": 1, "device=" + even + "&attention=true": 0,
		} {
			if got, _ := f.Listed(query); len(got) != want {
				f.Errorf("%s: %d payments; want %d", query, len(got), want)
			}
		}
	})
}

func TestPaymentsRejectsBadParameters(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		for query, code := range map[string]string{
			"limit=0": "bad_limit", "limit=-1": "bad_limit", "limit=201": "bad_limit", "limit=all": "bad_limit",
			"limit=1.5": "bad_limit", "limit=99999999999999999999": "bad_limit",
			"money=Paid": "bad_money", "money=disputd": "bad_money", "machine=running": "bad_machine",
			"money=paid&machine=%00": "bad_machine",
			"attention=perhaps":      "bad_attention", "cursor=x": "bad_cursor", "cursor=-": "bad_cursor",
			"cursor=x-cr_1": "bad_cursor", "cursor=99999999999999999999-cr_1": "bad_cursor",
		} {
			f.Answers(query, f.AsOperator("/api/payments?"+query), http.StatusBadRequest,
				`{"error":{"code":"`+code+`","message":`)
		}
		f.CloseLedger()
		f.Answers("while the ledger cannot be read", f.AsOperator("/api/payments"), http.StatusInternalServerError,
			`{"error":{"code":"internal","message":`)
		f.Answers("one payment then", f.AsOperator("/api/payments/cr_1"), http.StatusInternalServerError,
			`{"error":{"code":"internal","message":`)
	})
}

// The scheme of Authorization is case-insensitive (RFC 9110, 11.1), and spaces around the token are
// ignored.
func TestBearerIgnoresTheCaseOfTheScheme(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		for header, status := range map[string]int{
			"Bearer " + apptest.OperatorToken: 200, "bearer " + apptest.OperatorToken: 200,
			"BEARER   " + apptest.OperatorToken + " ": 200,
			"Bearer" + apptest.OperatorToken:          401, apptest.OperatorToken: 401,
			"Basic " + apptest.OperatorToken:         401,
			"Bearer " + apptest.OperatorToken + " x": 401, "Bearer": 401,
		} {
			if w := f.Get("/api/payments", "Authorization", header); w.Code != status {
				f.Errorf("%q: %d; want %d", header, w.Code, status)
			}
		}
	})
}
