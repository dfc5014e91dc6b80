package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"notepay/internal/config"
	"notepay/internal/sandbox"
)

const successPage = "/payment/success?session_id="

// comesBack loads the success page as a browser does, again every two seconds, and returns how long
// the payer waited for an answer.
func (f *front) comesBack(session string) time.Duration {
	f.Helper()
	began := time.Now()
	for time.Since(began) < time.Minute {
		switch w := f.get(successPage + session); w.Code {
		case http.StatusSeeOther:
			return time.Since(began)
		case http.StatusServiceUnavailable:
			time.Sleep(2 * time.Second)
		default:
			f.Fatalf("the payer gets %d %s", w.Code, w.Body)
		}
	}
	f.Errorf("the payer of %s was not answered within a minute", session)
	return time.Since(began)
}

// Whoever invents session ids, a payer who comes back is answered, and Stripe is not asked more often.
func TestPayersComeBackWhileStrangersInventSessions(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*config.Settings){"links": nil, "sessions": perPurchase} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inFront(t, change, func(f *front) {
				f.run()
				reads, lists, began := f.stripe.Count(readSession), f.stripe.Count(listEvents), time.Now()
				var strangers sync.WaitGroup
				for n := range 40 {
					strangers.Go(func() {
						for i := 0; time.Since(began) < 40*time.Second; i++ {
							if w := f.get(fmt.Sprintf("%scs_test_invented%dx%d", successPage, n, i)); w.Code != http.StatusNotFound && w.Code != http.StatusServiceUnavailable {
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
						if session, err = f.stripe.Pay(f.stripe.Links()[0].ID, sandbox.PayOptions{NoWebhook: true}); err != nil {
							f.Fatal(err)
						}
					} else {
						p := f.phone()
						limit = 0 // it is one of ours
						opened := f.sessionAt(p.do("POST", "/use/"+washer, "price_id="+warm).Header().Get("Location"))
						var err error
						if session, err = f.stripe.Pay(opened.ID, sandbox.PayOptions{NoWebhook: true}); err != nil {
							f.Fatal(err)
						}
					}
					if took := f.comesBack(session.ID); took > limit {
						f.Errorf("the payer waited %s; want %s at most", took, limit)
					}
				}
				strangers.Wait()
				seconds := int(time.Since(began).Seconds())
				if n := f.stripe.Count(readSession) - reads; n > 2*seconds+5 {
					f.Errorf("%d reads of sessions in %d s; want 2 a second", n, seconds)
				}
				if n := f.stripe.Count(listEvents) - lists; n > seconds/5+2 {
					f.Errorf("%d readings of events in %d s; want one in 5 s", n, seconds)
				}
			})
		})
	}
}

// Who closes the page while Stripe is asked is a payer all the same, and so is who waits for the same answer.
func TestAPayerWhoLeavesDoesNotEndTheReadOfTheSession(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		session := f.order(sandbox.PayOptions{NoWebhook: true})
		f.stripe.Next(readSession, sandbox.Outcome{Applied: true, Status: http.StatusOK, Delay: 3 * time.Second})
		ctx, leave := context.WithCancel(f.Context())
		go func() {
			f.handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", successPage+session.ID, nil))
		}()
		f.pass(time.Second)
		leave()
		other := make(chan int, 1)
		go func() { other <- f.get(successPage + session.ID).Code }()
		f.pass(5 * time.Second)
		if _, err := f.ledger.Payment(f.Context(), session.ID); err != nil {
			f.Errorf("the payment is %v; want it recorded", err)
		}
		if code := <-other; code != http.StatusSeeOther {
			f.Errorf("who waited for the same answer got %d; want 303", code)
		}
		if n := f.stripe.Count(readSession); n != 1 {
			f.Errorf("%d reads; want one", n)
		}
	})
}

func TestAnInventedSessionIsRememberedForAMinute(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		ask := func(want int) {
			f.Helper()
			f.answers("an invented session", f.get(successPage+"cs_test_invented1"), http.StatusNotFound, "Payment not found")
			if n := f.stripe.Count(readSession); n != want {
				f.Errorf("%d reads; want %d", n, want)
			}
			f.pass(15 * time.Second)
		}
		for range 4 {
			ask(1)
		}
		ask(2)
		f.answers("of the other mode", f.get(successPage+"cs_live_invented1"), http.StatusNotFound, "Payment not found")
		if n := f.stripe.Count(readSession); n != 2 {
			f.Errorf("%d reads; want none of the other mode", n-2)
		}
	})
}
