package main

import (
	"encoding/json"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"notepay/internal/config"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// AT-36.
func TestARefundInTheDashboardStopsTheRunningMachine(t *testing.T) {
	story(t, confirming, confirms, func(f *front, m *sandbox.Machine) {
		f.timed("30m")
		f.run()
		session := f.buy(sandbox.PayOptions{})
		f.pass(10 * time.Second)
		f.stripe.Refund(session.ID, 0)
		f.pass(10 * time.Second)
		f.stands(session.ID, ending{payment.Refunded, payment.Done, payment.ReasonReversed, ""})
		if _, running := m.Running(); running {
			f.Error("the machine runs on")
		}
		f.answers("the next one", f.get("/pay?device="+washer), http.StatusTemporaryRedirect, "")
	})
}

func TestARefundInTheDashboardTakesBackWhatHasNotStarted(t *testing.T) {
	story(t, without, threeKeys, func(f *front, m *sandbox.Machine) {
		f.run()
		m.SetOnline(false)
		session := f.buy(sandbox.PayOptions{})
		f.stripe.Refund(session.ID, 0)
		f.pass(20 * time.Second)
		f.stands(session.ID, ending{payment.Refunded, payment.Failed, payment.ReasonReversed, ""})
		m.SetOnline(true)
		f.pass(10 * time.Second)
		f.started(m, 0)
		f.money(session.ID, 350, 0, 350)
	})
}

// AT-37.
func TestAPartialRefundLeavesTheMachineAlone(t *testing.T) {
	story(t, confirming, confirms, func(f *front, m *sandbox.Machine) {
		f.timed("30m")
		f.run()
		session := f.buy(sandbox.PayOptions{})
		f.pass(10 * time.Second)
		f.stripe.Refund(session.ID, 100)
		f.pass(10 * time.Second)
		if p := f.stands(session.ID, ending{payment.Paid, payment.Started, "", ""}); p.RefundedAmount != 100 {
			f.Errorf("%d are back; want 100", p.RefundedAmount)
		}
		if _, running := m.Running(); !running {
			f.Error("the machine was stopped")
		}
		f.asks("the rest", "/api/payments/"+session.ID+"/refund", `{"amount":251}`, 409, "not_possible")
		f.asks("the rest", "/api/payments/"+session.ID+"/refund", "", 200, `"money":"refunding"`)
		f.pass(10 * time.Second)
		f.stands(session.ID, ending{payment.Refunded, payment.Started, "", ""})
		f.money(session.ID, 350, 0, 350)
	})
}

func TestAPartOfARecalledPaymentThatIsBackAlreadyIsNotGivenTwice(t *testing.T) {
	story(t, without, threeKeys, func(f *front, m *sandbox.Machine) {
		f.run()
		m.SetOnline(false)
		session := f.buy(sandbox.PayOptions{})
		f.stripe.Refund(session.ID, 100)
		f.pass(3 * time.Minute)
		f.stands(session.ID, ending{payment.Refunded, payment.Failed, payment.ReasonRecalled, ""})
		f.money(session.ID, 350, 0, 350)
	})
}

// AT-39.
func TestARefundThatIsPressedTwiceIsOneRefund(t *testing.T) {
	story(t, without, threeKeys, func(f *front, m *sandbox.Machine) {
		f.run()
		session := f.buy(sandbox.PayOptions{})
		f.pass(3 * time.Minute)
		var done, refused atomic.Int64
		var pressed sync.WaitGroup
		for range 5 {
			pressed.Go(func() {
				switch f.do("POST", "/api/payments/"+session.ID+"/refund", `{"reason":"it stopped"}`, "Authorization", "Bearer "+operatorToken).Code {
				case 200:
					done.Add(1)
				case 409:
					refused.Add(1)
				}
			})
		}
		pressed.Wait()
		f.pass(10 * time.Second)
		if done.Load() != 1 || refused.Load() != 4 {
			f.Errorf("%d were done and %d refused; want 1 and 4", done.Load(), refused.Load())
		}
		f.money(session.ID, 350, 0, 350)
		f.stands(session.ID, ending{payment.Refunded, payment.Fetched, "", ""})
		f.audited(payment.CreditID(session.ID), "operator refund it stopped")
	})
}

func TestARefundThatTheAccountCannotPayIsToldAndTriedADayLater(t *testing.T) {
	story(t, without, threeKeys, func(f *front, m *sandbox.Machine) {
		f.run()
		m.SetOnline(false)
		f.stripe.SetRefunds(sandbox.RefundsLackBalance)
		session := f.buy(sandbox.PayOptions{})
		f.pass(3 * time.Minute)
		f.stands(session.ID, ending{payment.Refunding, payment.Failed, payment.ReasonRecalled, payment.ReviewBalance})
		f.stripe.SetRefunds(sandbox.RefundsSucceed)
		f.pass(10 * time.Minute) // the next try is a day later
		if n := f.stripe.Count("POST /v1/refunds"); n != 1 {
			f.Errorf("%d tries; want the one", n)
		}
		if p := f.paid(session.ID); time.Until(p.DueAt) < 23*time.Hour || p.Step != payment.StepRefund {
			f.Errorf("next is %q at %v; want the refund a day later", p.Step, p.DueAt)
		}
	})
}

func TestARefundThatTheBankSendsBackIsOrderedAnew(t *testing.T) {
	story(t, without, threeKeys, func(f *front, m *sandbox.Machine) {
		f.run()
		m.SetOnline(false)
		f.stripe.SetRefunds(sandbox.RefundsPend)
		session := f.buy(sandbox.PayOptions{})
		f.pass(3 * time.Minute)
		f.money(session.ID, 350, 0, 350) // on its way
		f.stripe.SettleRefund(session.ID, false)
		f.stripe.SetRefunds(sandbox.RefundsSucceed)
		f.pass(time.Minute)
		f.stands(session.ID, ending{payment.RefundFailed, payment.Failed, payment.ReasonRecalled, payment.ReviewRefundFailed})
		f.pass(65 * time.Minute)
		p := f.stands(session.ID, ending{payment.Refunded, payment.Failed, payment.ReasonRecalled, ""})
		if p.RefundSeq != 2 {
			f.Errorf("refund number %d; want the second", p.RefundSeq)
		}
		f.money(session.ID, 350, 0, 350)
	})
}

func TestTheReplyToARefundIsLostAndItIsMadeOnce(t *testing.T) {
	for name, o := range map[string]sandbox.Outcome{"cut, applied": {Applied: true}, "cut": {}, "500, applied": {Applied: true, Status: 500}, "500": {Status: 500},
		"502, applied": {Applied: true, Status: 502}, "429": {Status: 429}, "too slow": {Applied: true, Status: 200, Delay: time.Minute}} {
		t.Run(name, func(t *testing.T) {
			story(t, without, threeKeys, func(f *front, m *sandbox.Machine) {
				f.run()
				m.SetOnline(false)
				f.stripe.Next("POST /v1/refunds", o)
				session := f.buy(sandbox.PayOptions{NoWebhook: true})
				f.get("/payment/success?session_id=" + session.ID)
				f.stripe.SetDelivery(sandbox.Delivery{Lost: true}) // nobody tells but the call itself
				f.pass(4 * time.Minute)
				f.stands(session.ID, ending{payment.Refunded, payment.Failed, payment.ReasonRecalled, ""})
				f.money(session.ID, 350, 0, 350)
			})
		})
	}
}

func TestADisputeIsNeverRefunded(t *testing.T) {
	t.Run("before the start", func(t *testing.T) {
		story(t, without, threeKeys, func(f *front, m *sandbox.Machine) {
			f.run()
			m.SetOnline(false)
			session := f.buy(sandbox.PayOptions{})
			f.stripe.Dispute(session.ID)
			f.pass(4 * time.Minute)
			f.stands(session.ID, ending{payment.Disputed, payment.Failed, payment.ReasonDisputed, payment.ReasonDisputed})
			m.SetOnline(true)
			f.pass(time.Minute)
			f.started(m, 0)
			f.money(session.ID, 350, 0, 0)
			f.asks("a refund", "/api/payments/"+session.ID+"/refund", "", 409, "not_possible")
			f.stripe.CloseDispute(session.ID, false)
			f.pass(time.Minute)
			f.stands(session.ID, ending{payment.DisputeLost, payment.Failed, payment.ReasonDisputed, payment.ReviewDisputeLost})
			f.money(session.ID, 350, 0, 0)
		})
	})
	t.Run("of what was delivered, and won", func(t *testing.T) {
		story(t, without, threeKeys, func(f *front, m *sandbox.Machine) {
			f.run()
			session := f.buy(sandbox.PayOptions{})
			f.pass(3 * time.Minute)
			f.stripe.Dispute(session.ID)
			f.pass(time.Minute)
			f.stands(session.ID, ending{payment.Disputed, payment.Fetched, "", payment.ReasonDisputed})
			f.stripe.CloseDispute(session.ID, true)
			f.pass(time.Minute)
			f.stands(session.ID, ending{payment.Paid, payment.Fetched, "", ""})
			f.money(session.ID, 350, 0, 0)
		})
	})
}

// AT-30: Stripe has disabled the endpoint.
func TestWebhooksThatAreLostAreReadInTime(t *testing.T) {
	story(t, nil, threeKeys, func(f *front, m *sandbox.Machine) {
		f.run()
		f.stripe.SetDelivery(sandbox.Delivery{Lost: true})
		first := f.buy(sandbox.PayOptions{})
		f.pass(5*time.Minute + 5*time.Second)
		f.started(m, 1)
		f.stripe.Refund(first.ID, 0)
		f.pass(12 * time.Minute)
		f.stands(first.ID, ending{payment.Refunded, payment.Fetched, "", payment.ReviewFetchedAnyway})
		f.pass(10 * time.Minute)
		second := f.buy(sandbox.PayOptions{})
		f.pass(20 * time.Minute)
		f.stands(second.ID, ending{payment.Paid, payment.Fetched, "", ""})
		f.started(m, 2)
	})
}

// AT-34: no public address at all.
func TestTheWholeLoopWithoutWebhooks(t *testing.T) {
	off := func(s *config.Settings) { confirming(s); s.StripeWebhookSecret, s.PublicURL = config.WebhooksOff, "" }
	story(t, off, confirms, func(f *front, m *sandbox.Machine) {
		f.stripe.SetEndpoint("", "")
		f.run()
		body := []byte(`{"id":"evt_1","object":"event","type":"checkout.session.completed"}`)
		for name, secret := range map[string]string{"the usual secret": testSecret, "the word": "off", "none": ""} {
			w := f.do("POST", "/webhook/stripe", string(body), "Stripe-Signature", f.stripe.Sign(body, secret, time.Now()))
			f.answers(name, w, http.StatusBadRequest, "bad_signature")
		}
		delivered := f.buy(sandbox.PayOptions{})
		f.answers("back from Stripe", f.get("/payment/success?session_id="+delivered.ID), http.StatusSeeOther, "")
		f.pass(10 * time.Second)
		f.stands(delivered.ID, ending{payment.Paid, payment.Started, "", ""})
		closed := f.buy(sandbox.PayOptions{}) // the browser was closed: it is seen late, and its time was over
		f.pass(20 * time.Minute)
		f.stands(closed.ID, ending{payment.Refunded, payment.Failed, payment.ReasonExpired, ""})
		f.money(closed.ID, 350, 0, 350)
		f.stripe.Refund(delivered.ID, 50)
		f.pass(6 * time.Minute)
		if p := f.paid(delivered.ID); p.RefundedAmount != 50 {
			f.Errorf("%d are back; want 50", p.RefundedAmount)
		}
		f.started(m, 1)
	})
}

// AT-04, AT-31: whatever comes late changes nothing any more.
func TestEventsThatComeAnHourLateAndInAnyOrder(t *testing.T) {
	story(t, without, threeKeys, func(f *front, m *sandbox.Machine) {
		f.run()
		session := f.buy(sandbox.PayOptions{})
		f.pass(3 * time.Minute)
		f.asks("refund", "/api/payments/"+session.ID+"/refund", "", 200, "")
		f.pass(10 * time.Minute)
		before := f.stands(session.ID, ending{payment.Refunded, payment.Fetched, "", ""})
		events := f.stripe.Events()
		for n := range events {
			if status, err := f.stripe.Send(events[len(events)-1-n].ID); err != nil || status != http.StatusOK {
				f.Errorf("%s: %d, %v; want 200", events[len(events)-1-n].Type, status, err)
			}
		}
		f.pass(10 * time.Minute)
		if after := f.paid(session.ID); after != before {
			f.Errorf("it was %+v and is %+v", before, after)
		}
		f.started(m, 1)
	})
}

// AT-18.
func TestAPaymentThatNeverArrivesStartsNothing(t *testing.T) {
	story(t, without, threeKeys, func(f *front, m *sandbox.Machine) {
		f.run()
		session := f.buy(sandbox.PayOptions{Unpaid: true})
		f.pass(10 * time.Minute)
		f.stripe.Fail(session.ID)
		f.pass(10 * time.Minute)
		if _, err := f.ledger.Payment(f.Context(), session.ID); err != ledger.ErrNotFound {
			f.Errorf("there is a payment (%v); want none", err)
		}
		f.started(m, 0)
	})
}

func TestARestoredCopyLeavesToOthersWhatItBelievesToBeUnderWay(t *testing.T) {
	story(t, without, threeKeys, func(f *front, m *sandbox.Machine) {
		f.run()
		f.notehub.Always(postNote, sandbox.Outcome{Status: 503})
		waiting := f.buy(sandbox.PayOptions{})
		f.pass(3 * time.Second)
		copied := f.TempDir() + "/copy.db"
		if err := ledger.Backup(f.Context(), f.path, copied); err != nil {
			f.Fatal(err)
		}
		f.notehub.Clear(postNote)
		f.pass(time.Minute)
		f.started(m, 1) // the first ledger went on
		unseen := f.buy(sandbox.PayOptions{})
		f.pass(time.Minute)
		f.started(m, 2)

		f.path = copied
		f.restarted(nil)
		for _, e := range f.stripe.Events() {
			if e.Type == "checkout.session.completed" {
				if status, err := f.stripe.Send(e.ID); err != nil || status != http.StatusOK {
					f.Errorf("%d, %v; want 200", status, err)
				}
			}
		}
		f.pass(6 * time.Minute)
		for _, session := range []sandbox.Session{waiting, unseen} {
			f.stands(session.ID, ending{payment.Paid, payment.Failed, payment.ReasonAdopted, payment.ReasonAdopted})
			f.money(session.ID, 350, 0, 0)
		}
		f.started(m, 2)
		f.buy(sandbox.PayOptions{})
		f.pass(time.Minute)
		f.started(m, 3)
	})
}

// AT-22, AT-23: the browser decides nothing.
func TestTheBrowserDecidesNothing(t *testing.T) {
	story(t, without, threeKeys, func(f *front, m *sandbox.Machine) {
		f.run()
		open := f.opened()
		f.answers("not paid yet", f.get("/payment/success?session_id="+open), http.StatusNotFound, "")
		f.answers("made up", f.get("/payment/success?session_id=cs_test_a1made-up"), http.StatusNotFound, "")
		var out struct {
			Devices []struct{ UID string } `json:"devices"`
		}
		if err := json.Unmarshal(f.asOperator("/api/devices").Body.Bytes(), &out); err != nil || len(out.Devices) != 1 {
			f.Errorf("%+v, %v; want one device", out, err)
		}
		f.pass(10 * time.Minute)
		f.started(m, 0)
	})
}
