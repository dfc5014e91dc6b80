package stories

import (
	"net/http"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// AT-20, AT-62.
func TestOperatorActionsRequireTheToken(t *testing.T) {
	story(t, confirming, confirms, func(f *apptest.Front, m *sandbox.Machine) {
		f.Run()
		session := f.Buy(sandbox.PayOptions{})
		f.Pass(10 * time.Second)
		before := f.Paid(session.ID)
		routes := []string{
			"/api/payments/" + session.ID + "/retry",
			"/api/payments/" + session.ID + "/refund",
			"/api/payments/" + session.ID + "/end",
			"/api/devices/" + fixture.Washer + "/pause",
			"/api/devices/" + fixture.Washer + "/resume",
			"/api/devices/" + fixture.Washer + "/start",
		}
		for _, path := range routes {
			for name, header := range map[string]string{
				"no token":    "",
				"another":     "Bearer another-token-1234",
				"the route's": "Bearer " + apptest.RouteToken,
			} {
				f.Answers(
					path+" with "+name,
					f.Do("POST", path, `{"reason":"test"}`, "Authorization", header),
					401,
					`"code":"unauthorized"`,
				)
			}
			f.Answers(path+" by GET", f.Get(path, "Authorization", "Bearer "+apptest.OperatorToken), 404, "")
		}
		f.Pass(10 * time.Second)
		if after := f.Paid(session.ID); after != before {
			f.Errorf("it was %+v and is %+v", before, after)
		}
		f.Started(m, 1)
		f.Audited("")
	})
	t.Run("without a token in the settings", func(t *testing.T) {
		t.Parallel()
		apptest.InFront(t, func(s *config.Settings) { s.OperatorToken = "" }, func(f *apptest.Front) {
			f.Run()
			f.Answers(
				"start",
				f.Do("POST", "/api/devices/"+fixture.Washer+"/start", `{"reason":"test"}`, "Authorization", "Bearer "),
				http.StatusForbidden,
				"no_operator_token",
			)
		})
	})
}

func TestOperatorActionsAreAudited(t *testing.T) {
	story(t, confirming, confirms, func(f *apptest.Front, m *sandbox.Machine) {
		f.Timed("30m")
		f.Run()
		session := f.Buy(sandbox.PayOptions{})
		f.Pass(10 * time.Second)
		path := "/api/payments/" + session.ID
		f.Asks("retry of what has started", path+"/retry", "", 409, "not_possible")
		f.Asks("too much", path+"/refund", `{"amount":351}`, 409, "not_possible")
		f.Asks("nothing", path+"/refund", `{"amount":0}`, 400, "bad_amount")
		f.Asks("a misspelled amount", path+"/refund", `{"amuont":50}`, 400, "bad_body")
		f.Asks("an amount that is null", path+"/refund", `{"amount":null}`, 400, "bad_body")
		f.Asks("null", path+"/refund", `null`, 400, "bad_body")
		f.Asks("an amount in quotes", path+"/refund", `{"amount":"50"}`, 400, "bad_body")
		f.Asks("an amount in the address", path+"/refund?amount=50", "", 400, "bad_query")
		f.Money(session.ID, 350, 0, 0)
		f.Asks("a part", path+"/refund", `{"amount":50,"reason":"it was cold"}`, 200, `"money":"refunding"`)
		f.Pass(5 * time.Second)
		f.Asks("an end", path+"/end", `{"reason":"the drum is stuck"}`, 200, `"reason":"ended"`)
		f.Pass(10 * time.Second)
		if _, running := m.Running(); running {
			f.Error("the machine runs on")
		}
		f.Asks("a second end", path+"/end", "", 409, "not_possible")
		f.Asks("no such payment", "/api/payments/cr_none/end", "", 404, "not_found")
		f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Done, payment.ReasonEnded, ""))
		f.Money(session.ID, 350, 0, 50)
		f.Audited(payment.CreditID(session.ID), "operator end the drum is stuck", "operator refund it was cold")

		f.Asks("a pause", "/api/devices/"+fixture.Washer+"/pause", `{"reason":"repair"}`, 200, `"state":"paused"`)
		f.Asks("a start for no reason", "/api/devices/"+fixture.Washer+"/start", "", 400, "no_reason")
		f.Asks("a test start", "/api/devices/"+fixture.Washer+"/start", `{"reason":"test"}`, 200, `"duration_s":1800`)
		f.Pass(10 * time.Second)
		f.Started(m, 2)
		f.Pass(30 * time.Minute)
		// only the operator ends an operator's pause
		f.Answers("a scan", f.Get("/pay?device="+fixture.Washer), 503, "This machine is closed right now")
		f.Asks("a resume", "/api/devices/"+fixture.Washer+"/resume", `{"reason":"repaired"}`, 200, `"paused":null`)
		f.Pass(10 * time.Second)
		f.Answers("a scan", f.Get("/pay?device="+fixture.Washer), 307, "")
		f.Asks("no such device", "/api/devices/dev:none/pause", "", 404, "not_found")
		f.Audited(fixture.Washer, "operator resume repaired", "operator start test", "operator pause repair")
	})
}

func TestResendWaitsUntilTheOldNoteIsGone(t *testing.T) {
	t.Run("it waits", func(t *testing.T) {
		story(t, confirming, confirms, func(f *apptest.Front, m *sandbox.Machine) {
			f.Run()
			m.SetOnline(false)
			session := f.Buy(sandbox.PayOptions{})
			f.Pass(30 * time.Second)
			f.Asks("retry", "/api/payments/"+session.ID+"/retry", `{"reason":"the customer waits"}`, 200, "")
			f.Pass(50 * time.Second) // longer than the first credit's lifetime
			if n := len(f.Notehub.Pending(fixture.Washer, "payment.qi")); n != 1 {
				f.Errorf("%d notes wait; want the new one alone", n)
			}
			m.SetOnline(true)
			f.Pass(10 * time.Second)
			f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Started, "", ""))
			f.Started(m, 1)
		})
	})
	t.Run("it was fetched", func(t *testing.T) {
		story(t, confirming, confirms, func(f *apptest.Front, m *sandbox.Machine) {
			f.Run()
			m.SetBehavior(sandbox.Behavior{AnswerLate: 20 * time.Second})
			session := f.Buy(sandbox.PayOptions{})
			f.Pass(5 * time.Second)
			f.Asks("retry", "/api/payments/"+session.ID+"/retry", "", 200, "")
			f.Pass(time.Minute)
			f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Started, "", ""))
			f.Started(m, 1)
			if n := len(f.Notehub.Notes(fixture.Washer)); n != 1 {
				f.Errorf("%d notes; want the one that was fetched", n)
			}
		})
	})
}

func TestEndBeforeTheStartRefunds(t *testing.T) {
	story(t, without, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
		f.Run()
		m.SetOnline(false)
		session := f.Buy(sandbox.PayOptions{})
		f.Asks("end", "/api/payments/"+session.ID+"/end", `{"reason":"closing time"}`, 200, "")
		f.Pass(20 * time.Second)
		f.Stands(session.ID, apptest.Ends(payment.Refunded, payment.Failed, payment.ReasonEnded, ""))
		m.SetOnline(true)
		f.Pass(10 * time.Second)
		f.Started(m, 0)
	})
}
