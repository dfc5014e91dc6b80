package customer_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/sandbox"
)

// Strangers who invent session ids neither keep payers from an answer nor cause more calls to Stripe.
func TestSuccessServesPayersWhileStrangersInventSessions(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*config.Settings){"links": nil, "sessions": apptest.PerPurchase} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			apptest.InFront(t, change, func(f *apptest.Front) {
				f.Run()
				began := time.Now()
				reads, lists := f.Stripe.Count(fixture.ReadSession), f.Stripe.Count(fixture.ListEvents)
				var strangers sync.WaitGroup
				for n := range 40 {
					strangers.Go(func() {
						for i := 0; time.Since(began) < 40*time.Second; i++ {
							if w := f.Get(fmt.Sprintf(
								"%scs_test_invented%dx%d", apptest.SuccessPage, n, i,
							)); w.Code != http.StatusNotFound &&
								w.Code != http.StatusServiceUnavailable {
								f.Errorf("an invented session: %d", w.Code)
							}
							time.Sleep(200 * time.Millisecond)
						}
					})
				}
				time.Sleep(10 * time.Second)
				for range 3 {
					var session sandbox.Session
					limit := 10 * time.Second
					if name == "links" {
						var err error
						if session, err = f.Stripe.Pay(
							f.Stripe.Links()[0].ID, sandbox.PayOptions{NoWebhook: true},
						); err != nil {
							f.Fatal(err)
						}
					} else {
						p := f.Phone()
						limit = 0 // a payer's session
						opened := f.SessionAt(p.Do(
							"POST", "/use/"+fixture.Washer, "price_id="+fixture.Warm,
						).Header().Get("Location"))
						var err error
						if session, err = f.Stripe.Pay(opened.ID, sandbox.PayOptions{NoWebhook: true}); err != nil {
							f.Fatal(err)
						}
					}
					if took := f.ComesBack(session.ID); took > limit {
						f.Errorf("the payer waited %s; want %s at most", took, limit)
					}
				}
				strangers.Wait()
				seconds := int(time.Since(began).Seconds())
				if n := f.Stripe.Count(fixture.ReadSession) - reads; n > 2*seconds+5 {
					f.Errorf("%d reads of sessions in %d s; want 2 a second", n, seconds)
				}
				if n := f.Stripe.Count(fixture.ListEvents) - lists; n > seconds/5+2 {
					f.Errorf("%d readings of events in %d s; want one in 5 s", n, seconds)
				}
			})
		})
	}
}

// A read of a session continues when the browser leaves, because others may wait for the same read.
func TestSuccessFinishesItsReadWithoutTheBrowser(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		session := f.Order(sandbox.PayOptions{NoWebhook: true})
		f.Stripe.Next(fixture.ReadSession,
			sandbox.Outcome{Applied: true, Status: http.StatusOK, Delay: 3 * time.Second})
		ctx, leave := context.WithCancel(f.Context())
		go func() {
			f.Handler.ServeHTTP(httptest.NewRecorder(),
				httptest.NewRequestWithContext(ctx, "GET", apptest.SuccessPage+session.ID, nil))
		}()
		f.Pass(time.Second)
		leave()
		other := make(chan int, 1)
		go func() { other <- f.Get(apptest.SuccessPage + session.ID).Code }()
		f.Pass(5 * time.Second)
		if _, err := f.Ledger.Payment(f.Context(), session.ID); err != nil {
			f.Errorf("the payment is %v; want it recorded", err)
		}
		if code := <-other; code != http.StatusSeeOther {
			f.Errorf("who waited for the same answer got %d; want 303", code)
		}
		if n := f.Stripe.Count(fixture.ReadSession); n != 1 {
			f.Errorf("%d reads; want one", n)
		}
	})
}

func TestSuccessRemembersAnInventedSessionForAMinute(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		ask := func(want int) {
			f.Helper()
			f.Answers("an invented session", f.Get(apptest.SuccessPage+"cs_test_invented1"), http.StatusNotFound,
				"Payment not found")
			if n := f.Stripe.Count(fixture.ReadSession); n != want {
				f.Errorf("%d reads; want %d", n, want)
			}
			f.Pass(15 * time.Second)
		}
		for range 4 {
			ask(1)
		}
		ask(2)
		f.Answers("of the other mode", f.Get(apptest.SuccessPage+"cs_live_invented1"), http.StatusNotFound,
			"Payment not found")
		if n := f.Stripe.Count(fixture.ReadSession); n != 2 {
			f.Errorf("%d reads; want none of the other mode", n-2)
		}
	})
}
