package stories

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// AT-36.
func TestDashboardRefundStopsTheRunningMachine(t *testing.T) {
	story(t, confirming, confirms, func(f *apptest.Front, m *sandbox.Machine) {
		f.Timed("30m")
		f.Run()
		session := f.Buy(sandbox.PayOptions{})
		f.Pass(10 * time.Second)
		f.Stripe.Refund(session.ID, 0)
		f.Pass(10 * time.Second)
		f.Stands(session.ID, apptest.Ends(payment.Refunded, payment.Done, payment.ReasonReversed, ""))
		if _, running := m.Running(); running {
			f.Error("the machine runs on")
		}
		f.Answers("the next one", f.Get("/pay?device="+fixture.Washer), http.StatusTemporaryRedirect, "")
	})
}

func TestDashboardRefundRecallsACreditThatHasNotStarted(t *testing.T) {
	story(t, without, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
		f.Run()
		m.SetOnline(false)
		session := f.Buy(sandbox.PayOptions{})
		f.Stripe.Refund(session.ID, 0)
		f.Pass(20 * time.Second)
		f.Stands(session.ID, apptest.Ends(payment.Refunded, payment.Failed, payment.ReasonReversed, ""))
		m.SetOnline(true)
		f.Pass(10 * time.Second)
		f.Started(m, 0)
		f.Money(session.ID, 350, 0, 350)
	})
}

// The refund waits for the call that is in flight, and not for the end of the call's lease.
func TestDashboardRefundDuringACall(t *testing.T) {
	story(t, without, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
		const postNote = "POST /v1/projects/{project}/devices/{device}/notes/{file}"
		f.Run()
		m.SetOnline(false)
		f.Notehub.Always(postNote, sandbox.Outcome{Applied: true, Status: 200, Delay: 3 * time.Second})
		session := f.Buy(sandbox.PayOptions{})
		f.Stripe.Refund(session.ID, 0)
		f.Pass(6 * time.Second)
		f.Stands(session.ID, apptest.Ends(payment.Refunded, payment.Failed, payment.ReasonReversed, ""))
		m.SetOnline(true)
		f.Pass(10 * time.Second)
		f.Started(m, 0)
		f.Money(session.ID, 350, 0, 350)
	})
}

// AT-37.
func TestPartialRefundLeavesTheMachineAlone(t *testing.T) {
	story(t, confirming, confirms, func(f *apptest.Front, m *sandbox.Machine) {
		f.Timed("30m")
		f.Run()
		session := f.Buy(sandbox.PayOptions{})
		f.Pass(10 * time.Second)
		f.Stripe.Refund(session.ID, 100)
		f.Pass(10 * time.Second)
		if p := f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Started, "", "")); p.RefundedAmount != 100 {
			f.Errorf("%d are back; want 100", p.RefundedAmount)
		}
		if _, running := m.Running(); !running {
			f.Error("the machine was stopped")
		}
		f.Asks("the rest", "/api/payments/"+session.ID+"/refund", `{"amount":251}`, 409, "not_possible")
		f.Asks("the rest", "/api/payments/"+session.ID+"/refund", "", 200, `"money":"refunding"`)
		f.Pass(10 * time.Second)
		f.Stands(session.ID, apptest.Ends(payment.Refunded, payment.Started, "", ""))
		f.Money(session.ID, 350, 0, 350)
	})
}

func TestPartialRefundIsNotRepeatedAfterARecall(t *testing.T) {
	story(t, without, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
		f.Run()
		m.SetOnline(false)
		session := f.Buy(sandbox.PayOptions{})
		f.Stripe.Refund(session.ID, 100)
		f.Pass(3 * time.Minute)
		f.Stands(session.ID, apptest.Ends(payment.Refunded, payment.Failed, payment.ReasonRecalled, ""))
		f.Money(session.ID, 350, 0, 350)
	})
}

// AT-39.
func TestRefundPressedTwiceIsOneRefund(t *testing.T) {
	story(t, without, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
		f.Run()
		session := f.Buy(sandbox.PayOptions{})
		f.Pass(3 * time.Minute)
		var done, refused atomic.Int64
		var pressed sync.WaitGroup
		for range 5 {
			pressed.Go(func() {
				reply := f.Do("POST", "/api/payments/"+session.ID+"/refund", `{"reason":"it stopped"}`,
					"Authorization", "Bearer "+apptest.OperatorToken)
				switch reply.Code {
				case 200:
					done.Add(1)
				case 409:
					refused.Add(1)
				}
			})
		}
		pressed.Wait()
		f.Pass(10 * time.Second)
		if done.Load() != 1 || refused.Load() != 4 {
			f.Errorf("%d were done and %d refused; want 1 and 4", done.Load(), refused.Load())
		}
		f.Money(session.ID, 350, 0, 350)
		f.Stands(session.ID, apptest.Ends(payment.Refunded, payment.Fetched, "", ""))
		f.Audited(payment.CreditID(session.ID), "operator refund it stopped")
	})
}

func TestRefundWithoutBalanceIsReportedAndRetriedADayLater(t *testing.T) {
	story(t, without, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
		f.Run()
		m.SetOnline(false)
		f.Stripe.SetRefunds(sandbox.RefundsLackBalance)
		session := f.Buy(sandbox.PayOptions{})
		f.Pass(3 * time.Minute)
		f.Stands(
			session.ID,
			apptest.Ends(payment.Refunding, payment.Failed, payment.ReasonRecalled, payment.ReviewBalance),
		)
		f.Stripe.SetRefunds(sandbox.RefundsSucceed)
		f.Pass(10 * time.Minute) // the next attempt is a day later
		if n := f.Stripe.Count("POST /v1/refunds"); n != 1 {
			f.Errorf("%d tries; want the one", n)
		}
		if p := f.Paid(session.ID); time.Until(p.DueAt) < 23*time.Hour || p.Step != payment.StepRefund {
			f.Errorf("next is %q at %v; want the refund a day later", p.Step, p.DueAt)
		}
	})
}

func TestRefundReturnedByTheBankIsOrderedAgain(t *testing.T) {
	story(t, without, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
		f.Run()
		m.SetOnline(false)
		f.Stripe.SetRefunds(sandbox.RefundsPend)
		session := f.Buy(sandbox.PayOptions{})
		f.Pass(3 * time.Minute)
		f.Money(session.ID, 350, 0, 350) // on its way
		f.Stripe.SettleRefund(session.ID, false)
		f.Stripe.SetRefunds(sandbox.RefundsSucceed)
		f.Pass(time.Minute)
		f.Stands(
			session.ID,
			apptest.Ends(payment.RefundFailed, payment.Failed, payment.ReasonRecalled, payment.ReviewRefundFailed),
		)
		f.Pass(65 * time.Minute)
		p := f.Stands(session.ID, apptest.Ends(payment.Refunded, payment.Failed, payment.ReasonRecalled, ""))
		if p.RefundSeq != 2 {
			f.Errorf("refund number %d; want the second", p.RefundSeq)
		}
		f.Money(session.ID, 350, 0, 350)
	})
}

func TestRefundWhoseReplyIsLostIsMadeOnce(t *testing.T) {
	for name, o := range map[string]sandbox.Outcome{
		"cut, applied": {Applied: true},
		"cut":          {},
		"500, applied": {Applied: true, Status: 500},
		"500":          {Status: 500},
		"502, applied": {Applied: true, Status: 502},
		"429":          {Status: 429},
		"too slow":     {Applied: true, Status: 200, Delay: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, without, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
				f.Run()
				m.SetOnline(false)
				f.Stripe.Next("POST /v1/refunds", o)
				session := f.Buy(sandbox.PayOptions{NoWebhook: true})
				f.Get("/payment/success?session_id=" + session.ID)
				f.Stripe.SetDelivery(sandbox.Delivery{Lost: true}) // no event arrives, so only the call itself reports
				f.Pass(4 * time.Minute)
				f.Stands(session.ID, apptest.Ends(payment.Refunded, payment.Failed, payment.ReasonRecalled, ""))
				f.Money(session.ID, 350, 0, 350)
			})
		})
	}
}

func TestDisputeIsNeverRefunded(t *testing.T) {
	t.Run("before the start", func(t *testing.T) {
		story(t, without, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
			f.Run()
			m.SetOnline(false)
			session := f.Buy(sandbox.PayOptions{})
			f.Stripe.Dispute(session.ID)
			f.Pass(4 * time.Minute)
			f.Stands(
				session.ID,
				apptest.Ends(payment.Disputed, payment.Failed, payment.ReasonDisputed, payment.ReasonDisputed),
			)
			m.SetOnline(true)
			f.Pass(time.Minute)
			f.Started(m, 0)
			f.Money(session.ID, 350, 0, 0)
			f.Asks("a refund", "/api/payments/"+session.ID+"/refund", "", 409, "not_possible")
			f.Stripe.CloseDispute(session.ID, false)
			f.Pass(time.Minute)
			f.Stands(
				session.ID,
				apptest.Ends(payment.DisputeLost, payment.Failed, payment.ReasonDisputed, payment.ReviewDisputeLost),
			)
			f.Money(session.ID, 350, 0, 0)
		})
	})
	t.Run("won, of a delivered credit", func(t *testing.T) {
		story(t, without, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
			f.Run()
			session := f.Buy(sandbox.PayOptions{})
			f.Pass(3 * time.Minute)
			f.Stripe.Dispute(session.ID)
			f.Pass(time.Minute)
			f.Stands(session.ID, apptest.Ends(payment.Disputed, payment.Fetched, "", payment.ReasonDisputed))
			f.Stripe.CloseDispute(session.ID, true)
			f.Pass(time.Minute)
			f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Fetched, "", ""))
			f.Money(session.ID, 350, 0, 0)
		})
	})
}

// AT-30: Stripe has disabled the endpoint.
func TestLostWebhooksAreReadInTime(t *testing.T) {
	story(t, nil, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
		f.Run()
		f.Stripe.SetDelivery(sandbox.Delivery{Lost: true})
		first := f.Buy(sandbox.PayOptions{})
		f.Pass(5*time.Minute + 5*time.Second)
		f.Started(m, 1)
		f.Stripe.Refund(first.ID, 0)
		f.Pass(12 * time.Minute)
		f.Stands(first.ID, apptest.Ends(payment.Refunded, payment.Fetched, "", payment.ReviewFetchedAnyway))
		f.Pass(10 * time.Minute)
		second := f.Buy(sandbox.PayOptions{})
		f.Pass(20 * time.Minute)
		f.Stands(second.ID, apptest.Ends(payment.Paid, payment.Fetched, "", ""))
		f.Started(m, 2)
	})
}

// AT-34: no public address at all.
func TestWithoutWebhooks(t *testing.T) {
	off := func(s *config.Settings) { confirming(s); s.StripeWebhookSecret, s.PublicURL = config.WebhooksOff, "" }
	story(t, off, confirms, func(f *apptest.Front, m *sandbox.Machine) {
		f.Stripe.SetEndpoint("", "")
		f.Run()
		body := []byte(`{"id":"evt_1","object":"event","type":"checkout.session.completed"}`)
		secrets := map[string]string{"the usual secret": fixture.TestSecret, "the word": "off", "none": ""}
		for name, secret := range secrets {
			w := f.Do(
				"POST",
				"/webhook/stripe",
				string(body),
				"Stripe-Signature",
				f.Stripe.Sign(body, secret, time.Now()),
			)
			f.Answers(name, w, http.StatusBadRequest, "bad_signature")
		}
		delivered := f.Buy(sandbox.PayOptions{})
		f.Answers("back from Stripe", f.Get("/payment/success?session_id="+delivered.ID), http.StatusSeeOther, "")
		f.Pass(10 * time.Second)
		f.Stands(delivered.ID, apptest.Ends(payment.Paid, payment.Started, "", ""))
		// The customer has closed the browser, so the payment is found after its credit expired.
		closed := f.Buy(sandbox.PayOptions{})
		f.Pass(20 * time.Minute)
		f.Stands(closed.ID, apptest.Ends(payment.Refunded, payment.Failed, payment.ReasonExpired, ""))
		f.Money(closed.ID, 350, 0, 350)
		f.Stripe.Refund(delivered.ID, 50)
		f.Pass(6 * time.Minute)
		if p := f.Paid(delivered.ID); p.RefundedAmount != 50 {
			f.Errorf("%d are back; want 50", p.RefundedAmount)
		}
		f.Started(m, 1)
	})
}

// AT-04, AT-31: late events change nothing.
func TestEventsAnHourLateAndInAnyOrder(t *testing.T) {
	story(t, without, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
		f.Run()
		session := f.Buy(sandbox.PayOptions{})
		f.Pass(3 * time.Minute)
		f.Asks("refund", "/api/payments/"+session.ID+"/refund", "", 200, "")
		f.Pass(10 * time.Minute)
		before := f.Stands(session.ID, apptest.Ends(payment.Refunded, payment.Fetched, "", ""))
		events := f.Stripe.Events()
		for n := range events {
			if status, err := f.Stripe.Send(events[len(events)-1-n].ID); err != nil || status != http.StatusOK {
				f.Errorf("%s: %d, %v; want 200", events[len(events)-1-n].Type, status, err)
			}
		}
		f.Pass(10 * time.Minute)
		if after := f.Paid(session.ID); after != before {
			f.Errorf("it was %+v and is %+v", before, after)
		}
		f.Started(m, 1)
	})
}

// AT-18.
func TestUnpaidSessionStartsNothing(t *testing.T) {
	story(t, without, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
		f.Run()
		session := f.Buy(sandbox.PayOptions{Unpaid: true})
		f.Pass(10 * time.Minute)
		f.Stripe.Fail(session.ID)
		f.Pass(10 * time.Minute)
		if _, err := f.Ledger.Payment(f.Context(), session.ID); err != ledger.ErrNotFound {
			f.Errorf("there is a payment (%v); want none", err)
		}
		f.Started(m, 0)
	})
}

func TestRestoredCopyLeavesPaymentsUnderWayToTheOperator(t *testing.T) {
	story(t, without, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
		f.Run()
		f.Notehub.Always(fixture.PostNote, sandbox.Outcome{Status: 503})
		waiting := f.Buy(sandbox.PayOptions{})
		f.Pass(3 * time.Second)
		copied := f.TempDir() + "/copy.db"
		if err := ledger.Backup(f.Context(), f.Path, copied); err != nil {
			f.Fatal(err)
		}
		f.Notehub.Clear(fixture.PostNote)
		f.Pass(time.Minute)
		f.Started(m, 1) // the first ledger went on
		unseen := f.Buy(sandbox.PayOptions{})
		f.Pass(time.Minute)
		f.Started(m, 2)

		f.Path = copied
		f.Restarted(nil)
		for _, e := range f.Stripe.Events() {
			if e.Type == "checkout.session.completed" {
				if status, err := f.Stripe.Send(e.ID); err != nil || status != http.StatusOK {
					f.Errorf("%d, %v; want 200", status, err)
				}
			}
		}
		f.Pass(6 * time.Minute)
		for _, session := range []sandbox.Session{waiting, unseen} {
			f.Stands(
				session.ID,
				apptest.Ends(payment.Paid, payment.Failed, payment.ReasonAdopted, payment.ReasonAdopted),
			)
			f.Money(session.ID, 350, 0, 0)
		}
		f.Started(m, 2)
		f.Buy(sandbox.PayOptions{})
		f.Pass(time.Minute)
		f.Started(m, 3)
	})
}

// AT-22, AT-23: the browser decides nothing.
func TestBrowserDecidesNothing(t *testing.T) {
	story(t, without, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
		f.Run()
		open := f.Opened()
		f.Answers("not paid yet", f.Get("/payment/success?session_id="+open), http.StatusNotFound, "")
		f.Answers("made up", f.Get("/payment/success?session_id=cs_test_a1made-up"), http.StatusNotFound, "")
		var out struct {
			Devices []struct{ UID string } `json:"devices"`
		}
		if err := json.Unmarshal(f.AsOperator("/api/devices").Body.Bytes(), &out); err != nil || len(out.Devices) != 1 {
			f.Errorf("%+v, %v; want one device", out, err)
		}
		f.Pass(10 * time.Minute)
		f.Started(m, 0)
	})
}

func TestRefundShowsItsDateAndTheBanksReference(t *testing.T) {
	story(t, without, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
		f.Run()
		m.SetOnline(false)
		session := f.Buy(sandbox.PayOptions{})
		f.Pass(12 * time.Minute)
		p := f.Stands(session.ID, apptest.Ends(payment.Refunded, payment.Failed, payment.ReasonRecalled, ""))
		pages := []string{"/session/" + p.Token, "/payment/success?session_id=" + session.ID}
		f.Pass(time.Hour) // the second one is a receipt now
		for _, path := range pages {
			page := f.Get(path, "Accept", apptest.Browser).Body.String()
			if !strings.Contains(page, "Refunded on") || strings.Contains(page, "7431") {
				f.Errorf("%s lacks the date of the refund, or has a reference: %s", path, page)
			}
		}
		f.Stripe.TraceRefund(session.ID, "74312345678901234567890")
		f.Pass(time.Minute)
		for _, path := range pages {
			page := f.Get(path, "Accept", apptest.Browser).Body.String()
			if !strings.Contains(page, "74312345678901234567890") {
				f.Errorf("%s lacks the bank's reference: %s", path, page)
			}
		}
		f.Stands(session.ID, apptest.Ends(payment.Refunded, payment.Failed, payment.ReasonRecalled, ""))
		if answer := f.AsOperator("/api/payments/" + p.ID).Body.String(); !strings.Contains(
			answer,
			`"refund_reference":"74312345678901234567890"`,
		) {
			f.Errorf("the API lacks the reference: %s", answer)
		}
	})
}
