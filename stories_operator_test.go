package main

import (
	"net/http"
	"testing"
	"time"

	"notepay/internal/config"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// AT-20, AT-62: what only the operator may do.
func TestWhatTheOperatorMayDecideIsTheOperatorsAlone(t *testing.T) {
	story(t, confirming, confirms, func(f *front, m *sandbox.Machine) {
		f.run()
		session := f.buy(sandbox.PayOptions{})
		f.pass(10 * time.Second)
		before := f.paid(session.ID)
		routes := []string{"/api/payments/" + session.ID + "/retry", "/api/payments/" + session.ID + "/refund", "/api/payments/" + session.ID + "/end",
			"/api/devices/" + washer + "/pause", "/api/devices/" + washer + "/resume", "/api/devices/" + washer + "/start"}
		for _, path := range routes {
			for name, header := range map[string]string{"no token": "", "another": "Bearer another-token-1234", "the route's": "Bearer " + routeToken} {
				f.answers(path+" with "+name, f.do("POST", path, `{"reason":"test"}`, "Authorization", header), 401, `"code":"unauthorized"`)
			}
			f.answers(path+" by GET", f.get(path, "Authorization", "Bearer "+operatorToken), 404, "")
		}
		f.pass(10 * time.Second)
		if after := f.paid(session.ID); after != before {
			f.Errorf("it was %+v and is %+v", before, after)
		}
		f.started(m, 1)
		f.audited("")
	})
	t.Run("without a token in the settings", func(t *testing.T) {
		t.Parallel()
		inFront(t, func(s *config.Settings) { s.OperatorToken = "" }, func(f *front) {
			f.run()
			f.answers("start", f.do("POST", "/api/devices/"+washer+"/start", `{"reason":"test"}`, "Authorization", "Bearer "), http.StatusForbidden, "no_operator_token")
		})
	})
}

func TestWhatTheOperatorDecidesIsWrittenDown(t *testing.T) {
	story(t, confirming, confirms, func(f *front, m *sandbox.Machine) {
		f.timed("30m")
		f.run()
		session := f.buy(sandbox.PayOptions{})
		f.pass(10 * time.Second)
		path := "/api/payments/" + session.ID
		f.asks("retry of what has started", path+"/retry", "", 409, "not_possible")
		f.asks("too much", path+"/refund", `{"amount":351}`, 409, "not_possible")
		f.asks("nothing", path+"/refund", `{"amount":0}`, 400, "bad_amount")
		f.asks("a misspelt amount", path+"/refund", `{"amuont":50}`, 400, "bad_body")
		f.asks("an amount that is null", path+"/refund", `{"amount":null}`, 400, "bad_body")
		f.asks("null", path+"/refund", `null`, 400, "bad_body")
		f.asks("an amount in quotes", path+"/refund", `{"amount":"50"}`, 400, "bad_body")
		f.asks("an amount in the address", path+"/refund?amount=50", "", 400, "bad_query")
		f.money(session.ID, 350, 0, 0)
		f.asks("a part", path+"/refund", `{"amount":50,"reason":"it was cold"}`, 200, `"money":"refunding"`)
		f.pass(5 * time.Second)
		f.asks("an end", path+"/end", `{"reason":"the drum is stuck"}`, 200, `"reason":"ended"`)
		f.pass(10 * time.Second)
		if _, running := m.Running(); running {
			f.Error("the machine runs on")
		}
		f.asks("a second end", path+"/end", "", 409, "not_possible")
		f.asks("no such payment", "/api/payments/cr_none/end", "", 404, "not_found")
		f.stands(session.ID, ending{payment.Paid, payment.Done, payment.ReasonEnded, ""})
		f.money(session.ID, 350, 0, 50)
		f.audited(payment.CreditID(session.ID), "operator end the drum is stuck", "operator refund it was cold")

		f.asks("a pause", "/api/devices/"+washer+"/pause", `{"reason":"repair"}`, 200, `"state":"paused"`)
		f.asks("a start for no reason", "/api/devices/"+washer+"/start", "", 400, "no_reason")
		f.asks("a test start", "/api/devices/"+washer+"/start", `{"reason":"test"}`, 200, `"machine":"queued"`)
		f.pass(10 * time.Second)
		f.started(m, 2)
		f.answers("a scan", f.get("/pay?device="+washer), 503, "This machine is closed right now") // a person's pause ends by a person
		f.asks("a resume", "/api/devices/"+washer+"/resume", `{"reason":"mended"}`, 200, `"paused":null`)
		f.pass(10 * time.Second)
		f.answers("a scan", f.get("/pay?device="+washer), 307, "")
		f.asks("no such device", "/api/devices/dev:none/pause", "", 404, "not_found")
		f.audited(washer, "operator resume mended", "operator start test", "operator pause repair")
	})
}

func TestACreditIsSentAnewWhenTheOldNoteIsProvenGone(t *testing.T) {
	t.Run("it waits", func(t *testing.T) {
		story(t, confirming, confirms, func(f *front, m *sandbox.Machine) {
			f.run()
			m.SetOnline(false)
			session := f.buy(sandbox.PayOptions{})
			f.pass(30 * time.Second)
			f.asks("retry", "/api/payments/"+session.ID+"/retry", `{"reason":"the customer waits"}`, 200, "")
			f.pass(50 * time.Second) // longer than the first would have lived
			if n := len(f.notehub.Pending(washer, "payment.qi")); n != 1 {
				f.Errorf("%d notes wait; want the new one alone", n)
			}
			m.SetOnline(true)
			f.pass(10 * time.Second)
			f.stands(session.ID, ending{payment.Paid, payment.Started, "", ""})
			f.started(m, 1)
		})
	})
	t.Run("it was fetched", func(t *testing.T) {
		story(t, confirming, confirms, func(f *front, m *sandbox.Machine) {
			f.run()
			m.SetBehaviour(sandbox.Behaviour{AnswerLate: 20 * time.Second})
			session := f.buy(sandbox.PayOptions{})
			f.pass(5 * time.Second)
			f.asks("retry", "/api/payments/"+session.ID+"/retry", "", 200, "")
			f.pass(time.Minute)
			f.stands(session.ID, ending{payment.Paid, payment.Started, "", ""})
			f.started(m, 1)
			if n := len(f.notehub.Notes(washer)); n != 1 {
				f.Errorf("%d notes; want the one that was fetched", n)
			}
		})
	})
}

func TestACreditThatIsEndedBeforeItsStartGoesBack(t *testing.T) {
	story(t, without, threeKeys, func(f *front, m *sandbox.Machine) {
		f.run()
		m.SetOnline(false)
		session := f.buy(sandbox.PayOptions{})
		f.asks("end", "/api/payments/"+session.ID+"/end", `{"reason":"closing time"}`, 200, "")
		f.pass(20 * time.Second)
		f.stands(session.ID, ending{payment.Refunded, payment.Failed, payment.ReasonEnded, ""})
		m.SetOnline(true)
		f.pass(10 * time.Second)
		f.started(m, 0)
	})
}
