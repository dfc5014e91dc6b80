package main

import (
	"fmt"
	"testing"
	"time"

	"notepay/internal/config"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// routedEvent is what Notehub's route posts of a machine's answer.
func routedEvent(id, app, device, credit, state string) string {
	return fmt.Sprintf(`{"event":%q,"file":"payment_ack.qo","app":%q,"device":%q,"received":%d,"body":{"credit_id":%q,"state":%q}}`,
		id, app, device, time.Now().Unix(), credit, state)
}

// AT-21: only Notehub's route is believed, and only a machine about its own credit.
func TestWhoMaySayThatAMachineStarted(t *testing.T) {
	story(t, routed, confirms, func(f *front, m *sandbox.Machine) {
		const path = "/webhook/notehub"
		f.run()
		f.notehub.AddDevice(sandbox.Device{UID: "dev:other"})
		m.SetOnline(false)
		session := f.buy(sandbox.PayOptions{})
		credit := payment.CreditID(session.ID)
		token := "Bearer " + routeToken
		for name, row := range map[string]struct {
			header, body string
			status       int
			text         string
		}{
			"no token":           {"", routedEvent("e1", project, washer, credit, "started"), 401, `"code":"unauthorized"`},
			"another token":      {"Bearer another-token-12345", routedEvent("e1", project, washer, credit, "started"), 401, `"code":"unauthorized"`},
			"the operator's":     {"Bearer " + operatorToken, routedEvent("e1", project, washer, credit, "started"), 401, `"code":"unauthorized"`},
			"no bearer":          {routeToken, routedEvent("e1", project, washer, credit, "started"), 401, `"code":"unauthorized"`},
			"no event":           {token, "hello", 400, `"code":"malformed"`},
			"of another project": {token, routedEvent("e2", "app:other", washer, credit, "started"), 200, `"received":true`},
			"of another device":  {token, routedEvent("e3", project, "dev:other", credit, "started"), 200, `"received":true`},
			"an unknown credit":  {token, routedEvent("e4", project, washer, "cr_unknownunknown", "started"), 200, `"received":true`},
			"an unknown state":   {token, routedEvent("e5", project, washer, credit, "flying"), 200, `"received":true`},
			"another file":       {token, `{"event":"e6","file":"_health.qo","app":"` + project + `","device":"` + washer + `","body":{}}`, 200, `"received":true`},
		} {
			f.answers(name, f.do("POST", path, row.body, "Authorization", row.header), row.status, row.text)
		}
		f.pass(5 * time.Second)
		f.stands(session.ID, ending{payment.Paid, payment.Sent, "", payment.ReviewConfirmation}) // what it said is of no use

		yes := routedEvent("e7", project, washer, credit, "started")
		for range 3 { // it is repeated
			f.answers("the machine itself", f.do("POST", path, yes, "Authorization", token), 200, `"received":true`)
		}
		f.stands(session.ID, ending{payment.Paid, payment.Started, "", ""})
		heard, err := f.ledger.Confirmations(f.Context(), credit)
		if err != nil || len(heard) != 3 { // the foreign one, the one of no use, and the true one
			f.Errorf("%+v, %v; want the answer once, and what was not believed", heard, err)
		}
		m.SetOnline(true)
		f.pass(5 * time.Second)
		f.started(m, 1)

		f.closeLedger()
		f.answers("when it cannot be stored", f.do("POST", path, routedEvent("e8", project, washer, credit, "done"), "Authorization", token), 503, `"code":"not_recorded"`)
	})
}

func TestWithoutARouteNobodyIsBelieved(t *testing.T) {
	story(t, confirming, confirms, func(f *front, m *sandbox.Machine) {
		f.run()
		for _, header := range []string{"", "Bearer ", "Bearer " + routeToken} {
			w := f.do("POST", "/webhook/notehub", routedEvent("e1", project, washer, "cr_unknownunknown", "started"), "Authorization", header)
			f.answers("with "+header, w, 401, `"code":"unauthorized"`)
		}
	})
}

func TestARouteThatLosesWhatMachinesAnswerIsMadeUpForBeforeTheDeadline(t *testing.T) {
	for name, d := range map[string]sandbox.Delivery{"lost": {Lost: true}, "doubled": {Doubled: true}, "late": {Late: 5 * time.Minute}} {
		t.Run(name, func(t *testing.T) {
			story(t, routed, confirms, func(f *front, m *sandbox.Machine) {
				f.route().run()
				f.notehub.SetDelivery(d)
				session := f.buy(sandbox.PayOptions{})
				f.pass(10 * time.Minute)
				f.stands(session.ID, ending{payment.Paid, payment.Started, "", ""})
				f.money(session.ID, 350, 0, 0)
				f.started(m, 1)
			})
		})
	}
}

// AT-11, AT-24, AT-29: a machine that is not sold on says so, and who pays all the same, on a page that was open, gets the money back.
func TestWhoPaysForAMachineThatIsNotSoldOnGetsTheMoneyBack(t *testing.T) {
	for state, row := range map[string]struct {
		close  func(*front)
		title  string
		status int
		reason string
	}{
		"disabled":     {func(f *front) { f.notehub.SetDevice(washer, func(d *sandbox.Device) { d.Disabled = true }) }, "This machine is out of service", 503, payment.ReasonNotSelling},
		"payments_off": {func(f *front) { f.notehub.SetProjectVariables(map[string]string{"payment_enabled": "false"}) }, "This machine is not taking payments right now", 503, payment.ReasonNotSelling},
		"paused": {func(f *front) {
			f.asks("pause", "/api/devices/"+washer+"/pause", `{"reason":"vandals"}`, 200, `"state":"paused"`)
		}, "This machine is closed right now", 503, payment.ReasonNotSelling},
		"offline": {func(f *front) { f.pass(12 * time.Minute) }, "This machine is offline", 503, payment.ReasonNotSelling},
		"removed": {func(f *front) { f.notehub.RemoveDevice(washer) }, "Device not found", 404, payment.ReasonUnknownDevice},
	} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			inFront(t, func(s *config.Settings) { s.OfflineAfter, s.RefreshInterval = 10*time.Minute, time.Minute }, func(f *front) {
				f.notehub.SetDevice(washer, func(d *sandbox.Device) { d.LastActivity = time.Now() })
				f.notehub.AddDevice(sandbox.Device{UID: "dev:other"})
				f.run()
				open := f.opened()
				row.close(f)
				f.pass(2 * time.Minute) // until the next listing
				f.answers("a scan", f.get("/pay?device="+washer), row.status, row.title)
				session := f.pay(open)
				f.pass(2 * time.Minute)
				f.stands(session.ID, ending{payment.Refunded, payment.Failed, row.reason, row.reason})
				f.money(session.ID, 350, 0, 350)
				if n := len(f.notehub.Notes("")); n != 0 {
					f.Errorf("%d notes; want none", n)
				}
			})
		})
	}
}
