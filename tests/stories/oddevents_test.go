package stories

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/bridge"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// paidFields holds the fields of a paid session for the washer.
const paidFields = `,"mode":"payment","payment_status":"paid","amount_total":350,"currency":"eur",` +
	`"payment_intent":"pi_1","metadata":{"device_uid":"` + fixture.Washer + `"}`

// notepay accepts events of other accounts and modes without any effect, whether they are sent or
// listed.
func TestEventsOfOthersMakeNoPayment(t *testing.T) {
	t.Parallel()
	paid := fixture.SessionEvent("checkout.session.completed", paidFields)
	refund := fixture.SessionEvent("charge.refunded", `,"payment_intent":"pi_1","amount_refunded":350`)
	setup := `"mode":"setup","payment_status":"no_payment_required"`
	subscription := fixture.With(paid, `"mode":"payment"`, `"mode":"subscription"`)
	sent, both := []bool{false}, []bool{false, true}
	for name, c := range map[string]struct {
		body, outcome string
		listed        []bool
	}{
		"a connected account": {
			fixture.With(paid, `"livemode"`, `"account":"acct_1","livemode"`), bridge.OtherAccount, both,
		},
		"a context": {
			fixture.With(paid, `"livemode"`, `"context":"acct_1","livemode"`), bridge.OtherAccount, sent,
		},
		"a context in another shape": {
			fixture.With(paid, `"livemode"`, `"context":{"account":"acct_1"},"livemode"`), bridge.OtherAccount, sent,
		},
		"a connected account's refund": {
			fixture.With(refund, `"livemode"`, `"account":"acct_1","livemode"`), bridge.OtherAccount, both,
		},
		"setup mode": {
			fixture.With(paid, `"mode":"payment","payment_status":"paid"`, setup), bridge.NotOurs, both,
		},
		"subscription mode": {
			fixture.With(subscription, `"payment_intent":"pi_1"`, `"payment_intent":null`), bridge.NotOurs, both,
		},
		"a mode of tomorrow": {fixture.With(paid, `"mode":"payment"`, `"mode":"barter"`), bridge.NotOurs, both},
	} {
		body := c.body
		for _, listed := range c.listed {
			t.Run(fmt.Sprintf("%s, listed %v", name, listed), func(t *testing.T) {
				t.Parallel()
				apptest.InFront(t, nil, func(f *apptest.Front) {
					if listed {
						f.Lists(body)
					}
					f.Run()
					if !listed {
						f.Answers(name, f.Deliver("/webhook/stripe", body), http.StatusOK, "received")
					}
					f.Pass(20 * time.Minute)
					if got := f.Outcomes(); len(got) != 1 || got[0] != c.outcome+" x1" {
						f.Errorf("events %q; want one, with %s", got, c.outcome)
					}
					f.Answers("payments", f.AsOperator("/api/payments"), http.StatusOK, `"payments":[]`)
					n := f.Stripe.Count("GET /v1/checkout/sessions/{rest...}") + f.Stripe.Count("POST /v1/refunds")
					if n != 0 || len(f.Notehub.Notes(fixture.Washer)) != 0 {
						f.Errorf("%d calls and %d notes; want none", n, len(f.Notehub.Notes(fixture.Washer)))
					}
				})
			})
		}
	}
}

// The webhook of an organization names the account of each event. Stripe lists the same event with
// the account's own key, so it is ours.
func TestPaymentOfAnOrganizationIsDelivered(t *testing.T) {
	t.Parallel()
	withContext := func(body string) string {
		return fixture.With(body, `"livemode"`, `"context":"acct_1","livemode"`)
	}
	for name, listed := range map[string]func(string) string{
		"listed without a context": func(body string) string { return body },
		"listed with its context":  withContext,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			apptest.InFront(t, nil, func(f *apptest.Front) {
				f.Run()
				sold := f.Order(sandbox.PayOptions{NoWebhook: true})
				body := string(f.Stripe.Events()[0].Body)
				f.Lists(listed(body))
				for range 2 {
					f.Answers(name, f.Deliver("/webhook/stripe", withContext(body)), http.StatusOK, "received")
				}
				f.Pass(6 * time.Minute) // until the next reading
				f.Stands(sold.ID, apptest.Ends(payment.Paid, payment.Sent, "", ""))
				if n := len(f.Notehub.Notes("")); n != 1 {
					f.Errorf("%d notes; want 1", n)
				}
			})
		})
	}
}

// An unreadable event is logged once and hides no other event. The operator sees it as long as
// Stripe lists it.
func TestOddEventHidesNoOther(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, func(s *config.Settings) { s.PollInterval = time.Minute }, func(f *apptest.Front) {
		sold := f.Order(sandbox.PayOptions{NoWebhook: true})
		good := string(f.Stripe.Events()[0].Body)
		odd := []string{
			`{"id":"evt_empty","object":"event","created":1795910000,"livemode":false,` +
				`"type":"charge.refunded","data":{}}`,
			`{"id":"evt_text","object":"event","created":5,"request":"req_1","type":"charge.refunded","data":"none"}`,
			`{"id":"evt_null","object":"event","created":null,"type":"refund.created","data":null}`,
			`{"id":7,"object":"event","created":5,"type":"charge.refunded"}`, `null`, `[]`, `"evt"`,
			`{"id":"evt_amount","object":"event","created":5,"type":"charge.refunded",` +
				`"data":{"object":{"id":"ch_1","amount_refunded":"all"}}}`,
			`{"id":"evt_metadata","object":"event","created":5,"type":"payment_intent.succeeded",` +
				`"data":{"object":{"id":7,"metadata":[1]}}}`,
		}
		f.Lists(append(odd, good)...)
		f.Run()
		f.Pass(5 * time.Minute)
		if p := f.Paid(sold.ID); p.Delivery != payment.Sent {
			f.Errorf("the payment is %s; want it delivered", p.Delivery)
		}
		for _, id := range []string{"evt_empty", "evt_amount", "evt_metadata"} {
			if n := strings.Count(f.Logs.String(), "event="+id); n != 1 {
				f.Errorf("%s is named %d times in the log; want once:\n%s", id, n, f.Logs)
			}
		}
		f.Answers("health", f.Get("/health"), http.StatusOK, "evt_empty (charge.refunded)")
		f.Answers("health", f.Get("/health"), http.StatusOK, `"degraded"`)
		f.Lists(good)
		f.Pass(2 * time.Minute)
		if body := f.Get("/health").Body.String(); strings.Contains(body, "evt_empty (") {
			f.Errorf("health %s; want nothing of what is not listed any more", body)
		}
	})
}

// A payment with an unreadable event is not lost, because notepay reads its session from Stripe.
func TestOddPaymentEventIsLookedUp(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(string) string{
		"an amount in words": func(body string) string {
			return fixture.With(body, `"amount_total": 350`, `"amount_total": "350"`)
		},
		"metadata that is a list": func(body string) string {
			return fixture.With(body, `"metadata": {`, `"metadata": [1], "old": {`)
		},
		"an intent that is a list": func(body string) string {
			return fixture.With(body, `"payment_intent": "`, `"payment_intent": ["x"], "old": "`)
		},
		"no amount": func(body string) string {
			return fixture.With(body, `"amount_total": 350`, `"amount_total": null`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			apptest.InFront(t, nil, func(f *apptest.Front) {
				f.Run()
				sold := f.Buy(sandbox.PayOptions{NoWebhook: true})
				body := spoil(string(f.Stripe.Events()[0].Body))
				for range 3 {
					f.Answers(name, f.Deliver("/webhook/stripe", body), http.StatusOK, "received")
				}
				f.Pass(2 * time.Second)
				if p := f.Paid(sold.ID); p.Delivery != payment.Sent || p.Amount != 350 {
					f.Errorf("%+v; want it sent", p)
				}
				if n := strings.Count(f.Logs.String(), "unreadable event skipped"); n != 1 {
					f.Errorf("it is said %d times that the event cannot be read; want once", n)
				}
			})
		})
	}
}

// Stripe repeats rejected events for days. notepay therefore accepts events that it does not
// handle, and logs each once.
func TestUnhandledEventsAreAccepted(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		const capability = "v2.core.account[configuration.merchant].capability_status_updated"
		dispute := fixture.SessionEvent("charge.dispute.closed", `"charge":"ch_x","status":"lost"`)
		dispute = fixture.With(dispute, `"id":"cs_test_1"`, "")
		refund := fixture.SessionEvent("charge.refunded", "")
		refund = fixture.With(refund, `"created":`, `"created":"now","x":`)
		for name, c := range map[string]struct{ body, log string }{
			"a thin event": {`{"id":"evt_thin","object":"v2.core.event","type":"` + capability + `","livemode":false,` +
				`"created":"2025-10-04T15:13:32.232083866Z",` +
				`"related_object":{"id":"acct_123","type":"v2.core.account","url":"/v2/core/accounts/acct_123"}}`,
				"event=evt_thin"},
			"a dispute without id": {fixture.With(dispute, "evt_1", "evt_noid"), "event=evt_noid"},
			"a time in words":      {fixture.With(refund, "evt_1", "evt_time"), "event=evt_time"},
			"no event":             {`{"hello":1}`, "no id or no type"},
			"no JSON":              {"hello", "invalid character"},
			"nothing":              {"", "unexpected end"},
			"a list":               {"[]", "cannot unmarshal array"},
		} {
			f.Answers(name, f.Deliver("/webhook/stripe", c.body), http.StatusOK, "received")
			if n := strings.Count(f.Logs.String(), c.log); n != 1 {
				f.Errorf("%s: %q is %d times in the log; want once:\n%s", name, c.log, n, f.Logs)
			}
			f.Answers(name+" again", f.Deliver("/webhook/stripe", c.body), http.StatusOK, "received")
		}
		f.Answers("health", f.Get("/health"), http.StatusOK, "an event without id")
	})
}

// A payment in the customer's currency matches the price that was sold.
func TestPresentmentCurrencyRaisesNoAlarm(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		how       sandbox.PayOptions
		attention string
	}{
		"the price's own":        {how: sandbox.PayOptions{}},
		"shown in another":       {how: sandbox.PayOptions{Presentment: "usd"}},
		"converted":              {how: sandbox.PayOptions{Converted: "usd"}},
		"an option of the price": {how: sandbox.PayOptions{Currency: "gbp"}},
		"less than the price":    {how: sandbox.PayOptions{Amount: 100}, attention: "amount_mismatch"},
		"less than the option":   {how: sandbox.PayOptions{Currency: "gbp", Amount: 100}, attention: "amount_mismatch"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			apptest.InFront(t, nil, func(f *apptest.Front) {
				f.Stripe.SetPrice(fixture.Warm,
					func(p *sandbox.Price) { p.CurrencyOptions = map[string]int64{"gbp": 300} })
				f.Run()
				sold := f.Buy(c.how)
				if p := f.Paid(sold.ID); p.ReviewReason != c.attention || p.Delivery != payment.Sent {
					f.Errorf("%s, attention %q; want it sent, with %q", p.Delivery, p.ReviewReason, c.attention)
				}
			})
		})
	}
}

// The account is a platform, so Stripe also sends events of connected accounts, and thin events.
func TestPlatformEventsAreAcceptedAndIgnored(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, func(s *config.Settings) { s.PollInterval = time.Minute }, func(f *apptest.Front) {
		f.Run()
		session := map[string]any{
			"id":             "cs_test_connected",
			"object":         "checkout.session",
			"mode":           "payment",
			"status":         "complete",
			"payment_status": "paid",
			"amount_total":   50,
			"currency":       "eur",
			"payment_intent": "pi_connected",
			"metadata":       map[string]any{"device_uid": fixture.Washer},
		}
		f.Stripe.EmitEnvelope(
			map[string]any{
				"object":   "event",
				"type":     "checkout.session.completed",
				"account":  "acct_1",
				"created":  time.Now().Unix(),
				"livemode": false,
				"data":     map[string]any{"object": session},
			},
		)
		f.Stripe.EmitEnvelope(
			map[string]any{
				"object":         "v2.core.event",
				"type":           "v2.core.account.updated",
				"created":        time.Now().Format(time.RFC3339Nano),
				"livemode":       false,
				"related_object": map[string]any{"id": "acct_1", "type": "v2.core.account"},
			},
		)
		f.Pass(10 * time.Minute)
		for _, e := range f.Stripe.Events() {
			if !e.Acked || e.Deliveries != 1 {
				t.Errorf("%s: accepted %v after %d tries; want once", e.Type, e.Acked, e.Deliveries)
			}
		}
		f.Answers("payments", f.AsOperator("/api/payments"), http.StatusOK, `"payments":[]`)
		if n := len(f.Notehub.Notes(fixture.Washer)); n != 0 {
			t.Errorf("%d notes; want none", n)
		}
	})
}
