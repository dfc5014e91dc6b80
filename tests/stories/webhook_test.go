package stories

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

func TestWebhookIsAcceptedOnceItIsOnDisk(t *testing.T) {
	t.Parallel()
	const yes = "{\"received\":true}\n"
	for _, path := range []string{"/webhook/stripe", "/api/stripe/webhook", "/api/webhook"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			apptest.InFront(t, func(s *config.Settings) { s.OperatorToken = "" }, func(f *apptest.Front) {
				session := f.Order(sandbox.PayOptions{NoWebhook: true, EventsFirst: "only-session"})
				event := f.Stripe.Events()[0]
				for range 3 {
					w := f.Deliver(path, string(event.Body))
					if w.Code != http.StatusOK || w.Body.String() != yes ||
						w.Header().Get("Content-Type") != "application/json" {
						f.Errorf("%d %q; want 200 %q", w.Code, w.Body, yes)
					}
				}
				p, err := f.Ledger.Payment(f.Context(), session.ID)
				if err != nil || p.Delivery != payment.Queued || p.DeviceUID != fixture.Washer {
					f.Errorf("payment %+v, %v; want it queued for the washer", p, err)
				}
				if got := strings.Join(f.Outcomes(), ", "); got != "payment_recorded x3" {
					f.Errorf("events %s; want one that came three times", got)
				}
			})
		})
	}
}

func TestWebhooksThatAskForNothing(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		paid := `,"payment_status":"paid","amount_total":350,"currency":"eur"`
		for _, row := range []struct{ name, body, outcome string }{
			{"a type that is ignored", fixture.SessionEvent("customer.created", ""), "ignored"},
			{"a session that expired", fixture.SessionEvent("checkout.session.expired", ""), "ignored"},
			{"a session of another seller", fixture.SessionEvent("checkout.session.completed", paid), "not_ours"},
			{"a session of another project", fixture.SessionEvent("checkout.session.completed",
				paid+`,"metadata":{"device_uid":"dev:1","project":"app:2"}`), "not_ours"},
			{"an intent of another seller", fixture.SessionEvent("payment_intent.succeeded", ""), "not_ours"},
			{"an event of live mode", strings.Replace(fixture.SessionEvent("checkout.session.completed", paid),
				`"livemode":false`, `"livemode":true`, 1), "wrong_mode"},
		} {
			body := strings.Replace(row.body, "evt_1", "evt_"+strings.ReplaceAll(row.name, " ", "_"), 1)
			f.Answers(row.name, f.Deliver("/webhook/stripe", body), http.StatusOK, `{"received":true}`)
			f.Pass(time.Second)
			if got := f.Outcomes()[0]; got != row.outcome+" x1" {
				f.Errorf("%s: %s; want %s", row.name, got, row.outcome)
			}
		}
		f.Answers("payments", f.AsOperator("/api/payments"), http.StatusOK, `"payments":[]`)
	})
}

func TestWebhooksThatAreRefused(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		good := fixture.SessionEvent("checkout.session.completed", `,"payment_status":"paid"`)
		padded := func(size int) string { return good + strings.Repeat(" ", size-len(good)) }
		post := func(body, header string) *httptest.ResponseRecorder {
			return f.Do(http.MethodPost, "/webhook/stripe", body, "Stripe-Signature", header)
		}
		f.Answers("as large as it may be", f.Deliver("/webhook/stripe", padded(1<<20)), http.StatusOK, "received")
		before := f.Outcomes()
		f.Answers(
			"one byte more",
			f.Deliver("/webhook/stripe", padded(1<<20+1)),
			http.StatusRequestEntityTooLarge,
			`"code":"too_large"`,
		)
		f.Answers("not signed", post(good, ""), http.StatusBadRequest, `"code":"bad_signature"`)
		f.Answers(
			"signed by another",
			post(good, fixture.Signed(good, "whsec_another")),
			http.StatusBadRequest,
			`"code":"bad_signature"`,
		)
		f.Answers(
			"too old",
			post(good, fixture.SignedAt(good, fixture.TestSecret, time.Now().Add(-6*time.Minute))),
			http.StatusBadRequest,
			`"code":"bad_signature"`,
		)
		f.Answers("no event, and not signed", post(`{"hello":1}`, ""), http.StatusBadRequest, `"code":"bad_signature"`)
		r := httptest.NewRequest(http.MethodPost, "/webhook/stripe", iotest.ErrReader(errors.New("cut")))
		r.Header.Set("Stripe-Signature", fixture.Signed(good, fixture.TestSecret))
		w := httptest.NewRecorder()
		f.Handler.ServeHTTP(w, r)
		f.Answers("a body that breaks off", w, http.StatusBadRequest, `"code":"unreadable"`)
		if after := f.Outcomes(); len(after) != len(before) {
			f.Errorf("events %q; want none of those that were refused", after)
		}
	})
}

func TestWebhookThatCannotBeStoredIsRetried(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Order(sandbox.PayOptions{NoWebhook: true})
		f.CloseLedger()
		body := string(f.Stripe.Events()[0].Body)
		f.Answers("closed", f.Deliver("/webhook/stripe", body), http.StatusServiceUnavailable, `"code":"not_recorded"`)
		if !strings.Contains(f.Logs.String(), "level=ERROR") {
			f.Errorf("log %s; want an error", f.Logs)
		}
	})
}

// A customer pays while the service restarts, and Stripe's list of events takes a while. The webhook
// waits for the list, so Stripe need not repeat it.
func TestWebhookOfAPaymentFromBeforeTheStartWaits(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		list   time.Duration
		status int
	}{
		"until Stripe's list is read": {3 * time.Second, http.StatusOK},
		"and not too long":            {8 * time.Second, http.StatusServiceUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, nil, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
				f.Run()
				f.Pass(time.Hour)
				f.Stop()
				f.CloseLedger()
				paid := f.Buy(sandbox.PayOptions{NoWebhook: true})
				f.Pass(time.Second)
				f.Stripe.Next("GET /v1/events", sandbox.Outcome{Applied: true, Status: 200, Delay: c.list})
				f.Open()
				f.Run()
				event := f.Stripe.Events()[0]
				if event.ObjectID != paid.ID {
					t.Fatalf("the first event is %+v; want that of the session", event)
				}
				began := time.Now()
				if status, err := f.Stripe.Send(event.ID); status != c.status || err != nil {
					t.Errorf("%d, %v after %v; want %d", status, err, time.Since(began), c.status)
				}
				if took := time.Since(began); took < 1500*time.Millisecond || took > 5*time.Second {
					t.Errorf("the answer took %v; want it to come with the list, and soon", took)
				}
				f.Pass(10 * time.Second)
				f.Started(m, 1)
				if notes := f.Notehub.Notes(fixture.Washer); len(notes) != 1 {
					t.Errorf("%d notes; want one", len(notes))
				}
			})
		})
	}
}

func TestWebhookWithoutASignatureIsRefusedUnread(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		sum := strings.Repeat("0", 64)
		for _, header := range []string{"", "x", "t=1", "v1=" + sum, "t=x,v1=" + sum, "t=1,v1=00",
			"t=1,v1=" + strings.Repeat("x", 64), "t=1,v0=" + sum, "t=1;v1=" + sum} {
			r := httptest.NewRequest(http.MethodPost, "/webhook/stripe", fixture.Unread{T: t})
			r.ContentLength = 1 << 20
			if header != "" {
				r.Header.Set("Stripe-Signature", header)
			}
			w := httptest.NewRecorder()
			f.Handler.ServeHTTP(w, r)
			f.Answers("signature "+header, w, http.StatusBadRequest, `"code":"bad_signature"`)
		}
		r := httptest.NewRequest(http.MethodPost, "/webhook/stripe", fixture.Unread{T: t})
		r.ContentLength = 1<<20 + 1
		r.Header.Set("Stripe-Signature", "t=1,v1="+sum)
		w := httptest.NewRecorder()
		f.Handler.ServeHTTP(w, r)
		f.Answers("announced as too large", w, http.StatusRequestEntityTooLarge, `"code":"too_large"`)
	})
	apptest.InFront(t, func(s *config.Settings) { s.StripeWebhookSecret = "off" }, func(f *apptest.Front) {
		r := httptest.NewRequest(http.MethodPost, "/webhook/stripe", fixture.Unread{T: t})
		r.Header.Set("Stripe-Signature", "t=1,v1="+strings.Repeat("0", 64))
		w := httptest.NewRecorder()
		f.Handler.ServeHTTP(w, r)
		f.Answers("where there is no secret", w, http.StatusBadRequest, `"code":"bad_signature"`)
	})
}
