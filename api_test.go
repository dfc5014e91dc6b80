package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/config"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

func TestTheAPIIsTheOperatorsAlone(t *testing.T) {
	t.Parallel()
	paths := []string{"/api/payments", "/api/payments/cr_1", "/api/", "/api/nothing"}
	inFront(t, func(s *config.Settings) { s.OperatorToken = "" }, func(f *front) {
		for _, path := range paths {
			f.answers(path+" where no token is set", f.get(path), http.StatusForbidden, `{"error":{"code":"no_operator_token","message":"set OPERATOR_TOKEN`)
			f.answers(path+" where no token is set, with an empty one", f.get(path, "Authorization", "Bearer "), http.StatusForbidden, "no_operator_token")
		}
	})
	inFront(t, nil, func(f *front) {
		for _, path := range paths {
			for _, header := range []string{"", "Bearer ", "Bearer wrong-token-12345", "Bearer " + operatorToken + "x", operatorToken, "Basic " + operatorToken} {
				w := f.get(path, "Authorization", header)
				f.answers(path+" with "+header, w, http.StatusUnauthorized, `{"error":{"code":"unauthorized","message":`)
				if kind := w.Header().Get("Content-Type"); kind != "application/json" {
					f.Errorf("%s: Content-Type %q; want application/json", path, kind)
				}
			}
		}
		f.answers("the token in the address", f.get("/api/payments?token="+operatorToken), http.StatusUnauthorized, "unauthorized")
		for _, path := range []string{"/api/nothing", "/api/", "/api/payments/cr_1/nothing"} {
			f.answers(path, f.asOperator(path), http.StatusNotFound, `{"error":{"code":"not_found","message":"no such route"}}`)
		}
		f.answers("another method", f.do("DELETE", "/api/payments", "", "Authorization", "Bearer "+operatorToken), http.StatusNotFound, `"code":"not_found"`)
	})
}

func TestOnePaymentByItsThreeIDs(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		f.stripe.SetPrice(warm, func(p *sandbox.Price) { p.Metadata = map[string]string{"duration": "1h"} })
		f.run()
		session := f.buy(sandbox.PayOptions{})
		var all []string
		for _, id := range []string{payment.CreditID(session.ID), session.ID, session.PaymentIntent} {
			w := f.asOperator("/api/payments/" + id)
			if w.Code != http.StatusOK || w.Header().Get("Cache-Control") != "no-store" {
				f.Errorf("%s: %d, Cache-Control %q; want 200, no-store", id, w.Code, w.Header().Get("Cache-Control"))
			}
			all = append(all, w.Body.String())
		}
		if len(slices.Compact(all)) != 1 {
			f.Errorf("three ids give %d answers:\n%s", len(all), strings.Join(all, ""))
		}
		at := session.PaidAt.UTC().Format(time.RFC3339)
		expires := session.PaidAt.UTC().Add(10 * time.Minute).Format(time.RFC3339)
		want := fmt.Sprintf(`{"id":%q,"session_id":%q,"payment_intent":%q,"device_uid":%q,"device_name":"Washer 3","price_id":%q,"plan":"Warm wash","duration_s":3600,`+
			`"amount":350,"currency":"eur","livemode":false,"money":"paid","refunded_amount":0,"machine":"sent","reason":"","needs_attention":false,`+
			`"created_at":%q,"sent_at":%q,"started_at":null,"ends_at":null,"expires_at":%q,`+
			`"attempts":[{"at":%q,"action":"note","outcome":"ok","status":200,"detail":"","took_ms":0}]}`+"\n",
			payment.CreditID(session.ID), session.ID, session.PaymentIntent, washer, warm, at, at, expires, at)
		if all[0] != want {
			f.Errorf("payment\n%s; want\n%s", all[0], want)
		}
		for _, id := range []string{"cr_none", "cs_test_none", "%20", "a%2Fb", url.PathEscape("' OR 1=1 --")} {
			f.answers(id, f.asOperator("/api/payments/"+id), http.StatusNotFound, `{"error":{"code":"not_found","message":"no payment has this credit id, session id or payment intent"}}`)
		}
	})
}

// listed are the sessions of a list of payments, which are the newest first, and the cursor of the next.
func (f *front) listed(query string) (sessions []string, next string) {
	f.Helper()
	w := f.asOperator("/api/payments?" + query)
	var list struct {
		Payments []struct {
			SessionID string    `json:"session_id"`
			CreatedAt time.Time `json:"created_at"`
		} `json:"payments"`
		Next *string `json:"next_cursor"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || w.Code != http.StatusOK || list.Next == nil || list.Payments == nil {
		f.Fatalf("%s: %d %s (%v); want a list", query, w.Code, w.Body, err)
	}
	for i, p := range list.Payments {
		if i > 0 && p.CreatedAt.After(list.Payments[i-1].CreatedAt) {
			f.Errorf("%s: %s comes after one that is older", query, p.SessionID)
		}
		sessions = append(sessions, p.SessionID)
	}
	return sessions, *list.Next
}

func TestPaymentsAreListed(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		if got, next := f.listed(""); len(got) != 0 || next != "" {
			f.Errorf("%q, cursor %q; want nothing yet", got, next)
		}
		f.notehub.AddDevice(sandbox.Device{UID: "dev:2", Name: "Dryer 2"})
		f.run()
		links := f.stripe.Links()
		at := map[string]int{} // how many were paid at a device
		var sessions []string
		for i := range 7 {
			link, options := links[i%2], sandbox.PayOptions{}
			if i == 3 {
				options.Amount = 100 // not what the plan costs: a person must look
			}
			session, err := f.stripe.Pay(link.ID, options)
			if err != nil {
				f.Fatal(err)
			}
			synctest.Wait()
			if i%3 != 0 { // some are of the same moment
				f.pass(time.Second)
			}
			sessions = append(sessions, session.ID)
			at[link.DeviceUID]++
		}
		all, _ := f.listed("")
		if !slices.Equal(slices.Sorted(slices.Values(all)), slices.Sorted(slices.Values(sessions))) {
			f.Fatalf("%q; want all of %q", all, sessions)
		}
		var paged []string
		for cursor := ""; ; {
			page, next := f.listed("limit=3&cursor=" + cursor)
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
			"limit=200": 7, "limit=7": 7, "limit=1": 1, "device=" + even: at[even], "device=" + odd: at[odd], "device=dev:none": 0, "money=paid": 7, "money=refunded": 0,
			"machine=sent": 7, "machine=queued": 0, "attention=true": 1, "attention=1": 1, "attention=false": 6,
			"device=" + odd + "&attention=true&money=paid&machine=sent": 1, "device=" + even + "&attention=true": 0,
		} {
			if got, _ := f.listed(query); len(got) != want {
				f.Errorf("%s: %d payments; want %d", query, len(got), want)
			}
		}
	})
}

func TestListsThatCannotBeGiven(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		for query, code := range map[string]string{
			"limit=0": "bad_limit", "limit=-1": "bad_limit", "limit=201": "bad_limit", "limit=all": "bad_limit", "limit=1.5": "bad_limit", "limit=99999999999999999999": "bad_limit",
			"attention=perhaps": "bad_attention", "cursor=x": "bad_cursor", "cursor=-": "bad_cursor", "cursor=x-cr_1": "bad_cursor", "cursor=99999999999999999999-cr_1": "bad_cursor",
		} {
			f.answers(query, f.asOperator("/api/payments?"+query), http.StatusBadRequest, `{"error":{"code":"`+code+`","message":`)
		}
		f.closeLedger()
		f.answers("while the ledger cannot be read", f.asOperator("/api/payments"), http.StatusInternalServerError, `{"error":{"code":"internal","message":`)
		f.answers("one payment then", f.asOperator("/api/payments/cr_1"), http.StatusInternalServerError, `{"error":{"code":"internal","message":`)
	})
}

// The scheme of Authorization has no case (RFC 9110, 11.1), and spaces around the token do not belong to it.
func TestBearerTakesTheSchemeInAnyLetters(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		for header, status := range map[string]int{
			"Bearer " + operatorToken: 200, "bearer " + operatorToken: 200, "BEARER   " + operatorToken + " ": 200,
			"Bearer" + operatorToken: 401, operatorToken: 401, "Basic " + operatorToken: 401, "Bearer " + operatorToken + " x": 401, "Bearer": 401,
		} {
			if w := f.get("/api/payments", "Authorization", header); w.Code != status {
				f.Errorf("%q: %d; want %d", header, w.Code, status)
			}
		}
	})
}
