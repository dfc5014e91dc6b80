package stories

import (
	"fmt"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// routedEvent returns what Notehub's route posts for a machine's confirmation.
func routedEvent(id, app, device, credit, state string) string {
	const format = `{"event":%q,"file":"payment_ack.qo","app":%q,"device":%q,"received":%d,` +
		`"body":{"credit_id":%q,"state":%q}}`
	return fmt.Sprintf(format, id, app, device, time.Now().Unix(), credit, state)
}

// started returns the routed event of a start in our project.
func started(id, device, credit string) string {
	return routedEvent(id, fixture.Project, device, credit, "started")
}

// AT-21: notepay believes only Notehub's route, and a machine only about its own credit.
func TestConfirmationsAreBelievedFromTheRouteOnly(t *testing.T) {
	story(t, routed, confirms, func(f *apptest.Front, m *sandbox.Machine) {
		const path = "/webhook/notehub"
		f.Run()
		f.Notehub.AddDevice(sandbox.Device{UID: "dev:other"})
		m.SetOnline(false)
		session := f.Buy(sandbox.PayOptions{})
		credit := payment.CreditID(session.ID)
		token := "Bearer " + apptest.RouteToken
		valid := started("e1", fixture.Washer, credit)
		for name, row := range map[string]struct {
			header, body string
			status       int
			text         string
		}{
			"no token":       {"", valid, 401, `"code":"unauthorized"`},
			"another token":  {"Bearer another-token-12345", valid, 401, `"code":"unauthorized"`},
			"the operator's": {"Bearer " + apptest.OperatorToken, valid, 401, `"code":"unauthorized"`},
			"no bearer":      {apptest.RouteToken, valid, 401, `"code":"unauthorized"`},
			"no event":       {token, "hello", 400, `"code":"malformed"`},
			"of another project": {
				token, routedEvent("e2", "app:other", fixture.Washer, credit, "started"), 200, `"received":true`,
			},
			"of another device": {token, started("e3", "dev:other", credit), 200, `"received":true`},
			"an unknown credit": {token, started("e4", fixture.Washer, "cr_unknownunknown"), 200, `"received":true`},
			"an unknown state": {
				token, routedEvent("e5", fixture.Project, fixture.Washer, credit, "flying"), 200, `"received":true`,
			},
			"another file": {token, `{"event":"e6","file":"_health.qo","app":"` + fixture.Project + `",` +
				`"device":"` + fixture.Washer + `","body":{}}`, 200, `"received":true`},
		} {
			f.Answers(name, f.Do("POST", path, row.body, "Authorization", row.header), row.status, row.text)
		}
		f.Pass(5 * time.Second)
		// the credit is unknown or the state is
		f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Sent, "", payment.ReviewConfirmation))

		yes := routedEvent("e7", fixture.Project, fixture.Washer, credit, "started")
		for range 3 { // the route repeats it
			f.Answers("the machine itself", f.Do("POST", path, yes, "Authorization", token), 200, `"received":true`)
		}
		f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Started, "", ""))
		stored, err := f.Ledger.Confirmations(f.Context(), credit)
		if err != nil || len(stored) != 3 { // one of another device, one with an unknown state, and the valid one
			f.Errorf("%+v, %v; want the confirmation once, and the two rejected ones", stored, err)
		}
		m.SetOnline(true)
		f.Pass(5 * time.Second)
		f.Started(m, 1)

		f.CloseLedger()
		f.Answers(
			"when it cannot be stored",
			f.Do(
				"POST",
				path,
				routedEvent("e8", fixture.Project, fixture.Washer, credit, "done"),
				"Authorization",
				token,
			),
			503,
			`"code":"not_recorded"`,
		)
	})
}

func TestConfirmationsAreRefusedWithoutARoute(t *testing.T) {
	story(t, confirming, confirms, func(f *apptest.Front, m *sandbox.Machine) {
		f.Run()
		for _, header := range []string{"", "Bearer ", "Bearer " + apptest.RouteToken} {
			w := f.Do(
				"POST",
				"/webhook/notehub",
				routedEvent("e1", fixture.Project, fixture.Washer, "cr_unknownunknown", "started"),
				"Authorization",
				header,
			)
			f.Answers("with "+header, w, 401, `"code":"unauthorized"`)
		}
	})
}

func TestRouteThatLosesConfirmationsIsMadeUpForInTime(t *testing.T) {
	for name, d := range map[string]sandbox.Delivery{
		"lost":    {Lost: true},
		"doubled": {Doubled: true},
		"late":    {Late: 5 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, routed, confirms, func(f *apptest.Front, m *sandbox.Machine) {
				f.Route().Run()
				f.Notehub.SetDelivery(d)
				session := f.Buy(sandbox.PayOptions{})
				f.Pass(10 * time.Minute)
				f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Started, "", ""))
				f.Money(session.ID, 350, 0, 0)
				f.Started(m, 1)
			})
		})
	}
}

// AT-11, AT-24, AT-29: the page of an unavailable machine says why. A customer who pays on a page
// that was open already gets a refund.
func TestPaymentForAnUnavailableMachineIsRefunded(t *testing.T) {
	for state, row := range map[string]struct {
		close  func(*apptest.Front)
		title  string
		status int
		reason string
	}{
		"disabled": {func(f *apptest.Front) {
			f.Notehub.SetDevice(fixture.Washer, func(d *sandbox.Device) { d.Disabled = true })
		}, "This machine is out of service", 503, payment.ReasonNotSelling},
		"payments_off": {func(f *apptest.Front) {
			f.Notehub.SetProjectVariables(map[string]string{"payment_enabled": "false"})
		}, "This machine is not taking payments right now", 503, payment.ReasonNotSelling},
		"paused": {func(f *apptest.Front) {
			f.Asks("pause", "/api/devices/"+fixture.Washer+"/pause", `{"reason":"vandals"}`, 200, `"state":"paused"`)
		}, "This machine is closed right now", 503, payment.ReasonNotSelling},
		"offline": {func(f *apptest.Front) { f.Pass(12 * time.Minute) },
			"This machine is offline", 503, payment.ReasonNotSelling},
		"removed": {func(f *apptest.Front) { f.Notehub.RemoveDevice(fixture.Washer) },
			"Device not found", 404, payment.ReasonUnknownDevice},
	} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			apptest.InFront(
				t,
				func(s *config.Settings) { s.OfflineAfter, s.RefreshInterval = 10*time.Minute, time.Minute },
				func(f *apptest.Front) {
					f.Notehub.SetDevice(fixture.Washer, func(d *sandbox.Device) { d.LastActivity = time.Now() })
					f.Notehub.AddDevice(sandbox.Device{UID: "dev:other"})
					f.Run()
					open := f.Opened()
					row.close(f)
					f.Pass(2 * time.Minute) // until the next listing
					f.Answers("a scan", f.Get("/pay?device="+fixture.Washer), row.status, row.title)
					session := f.Pay(open)
					f.Pass(2 * time.Minute)
					f.Stands(session.ID, apptest.Ends(payment.Refunded, payment.Failed, row.reason, row.reason))
					f.Money(session.ID, 350, 0, 350)
					if n := len(f.Notehub.Notes("")); n != 0 {
						f.Errorf("%d notes; want none", n)
					}
				},
			)
		})
	}
}
