package stories

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// says makes the washer say something of itself, without a credit.
func says(f *apptest.Front, state, code string) {
	body := map[string]any{"state": state}
	if code != "" {
		body["code"] = code
	}
	f.Notehub.AddEvent(fixture.Washer, "payment_ack.qo", body)
}

// routeSays delivers such a note by the route, written and received so long ago.
func routeSays(f *apptest.Front, id, body string, written, received time.Duration) {
	f.Helper()
	now := time.Now()
	const format = `{"event":%q,"file":"payment_ack.qo","app":%q,"device":%q,"when":%d,"received":%.3f,"body":%s}`
	event := fmt.Sprintf(format, id, fixture.Project, fixture.Washer, now.Add(-written).Unix(),
		float64(now.Add(-received).UnixMilli())/1000, body)
	w := f.Do("POST", "/webhook/notehub", event, "Authorization", "Bearer "+apptest.RouteToken)
	f.Answers(body, w, http.StatusOK, "")
	f.Pass(time.Second)
}

// polled reads the answers without a route.
func polled(s *config.Settings) { confirming(s); s.PollInterval = 10 * time.Second }

func sells(f *apptest.Front, want bool) {
	f.Helper()
	if want {
		f.Answers("a scan", f.Get("/pay?device="+fixture.Washer), http.StatusTemporaryRedirect, "")
	} else {
		f.Answers("a scan", f.Get("/pay?device="+fixture.Washer), http.StatusServiceUnavailable, "out of order")
	}
}

func TestMachineThatIsOutOfOrderIsNotSold(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*config.Settings)
		routed bool
	}{
		"by a route":            {routed, true},
		"by polling":            {polled, false},
		"with sessions":         {func(s *config.Settings) { routed(s); apptest.PerPurchase(s) }, true},
		"with another notefile": {func(s *config.Settings) { routed(s); s.AckFile = "payment_ack.qos" }, true},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, c.change, confirms, func(f *apptest.Front, _ *sandbox.Machine) {
				if c.routed {
					f.Route()
				}
				f.Run()
				says(f, "OUT ", " E-DOOR\n")
				f.Pass(20 * time.Second)
				sells(f, false)
				german := f.Get("/pay?device="+fixture.Washer, "Accept-Language", "de", "Accept", "text/html")
				f.Answers("in German", german, 503, "außer Betrieb")
				f.Asks("a link", "/api/create-payment-link", `{"id":"`+fixture.Washer+`"}`, 409, "out_of_order")
				f.Answers("the API", f.AsOperator("/api/devices"), 200, `"out_of_order":{"code":"E-DOOR","at":"`)
				f.Restarted(nil)
				sells(f, false)
				says(f, "ready", "")
				f.Pass(20 * time.Second)
				opens := http.StatusTemporaryRedirect
				if name == "with sessions" {
					opens = http.StatusOK
				}
				f.Answers("a scan", f.Get("/pay?device="+fixture.Washer), opens, "")
				f.Restarted(nil)
				f.Answers("the API", f.AsOperator("/api/devices"), 200, `"state":"open"`)
			})
		})
	}
}

// The machine's own time decides, whatever the order of arrival.
func TestMachineStatesInAnyOrder(t *testing.T) {
	const out, ready = `{"state":"out","code":"E-DOOR"}`, `{"state":"ready"}`
	story(t, routed, confirms, func(f *apptest.Front, _ *sandbox.Machine) {
		f.Run()
		f.Pass(time.Minute)
		routeSays(f, "1", ready, 20*time.Second, 20*time.Second)
		routeSays(f, "2", out, 30*time.Second, 0) // written before, received after
		sells(f, true)
		routeSays(f, "3", out, 10*time.Second, 10*time.Second)
		sells(f, false)
		routeSays(f, "4", ready, 15*time.Second, 0)
		sells(f, false)
		routeSays(f, "5", ready, -time.Hour, 0) // a clock that is ahead counts as now
		sells(f, true)
		f.Pass(time.Minute)
		routeSays(f, "6", out, 0, 0)
		sells(f, false)
		routeSays(f, "6", out, 0, 0)
		f.Asks("resume", "/api/devices/"+fixture.Washer+"/resume", `{"reason":"door is closed"}`, 200, `"state":"open"`)
		sells(f, true)
		routeSays(f, "7", out, 30*time.Second, 0) // written before the operator resumed sales
		sells(f, true)
		f.Restarted(nil)
		sells(f, true)
		routeSays(f, "8", out, 0, 0)
		sells(f, false)
		f.Audited(fixture.Washer, "operator resume door is closed")
	})
}

func TestOddMachineStates(t *testing.T) {
	story(t, routed, confirms, func(f *apptest.Front, _ *sandbox.Machine) {
		f.Run()
		for n, body := range []string{
			`{"state":"broken"}`, `{"state":""}`, `{"state":["out"]}`, `{}`, `[]`, `null`, `"out"`,
			`{"state":"out","credit_id":"cr_of another firm"}`, `{"state":"out","credit_id":7}`,
		} {
			routeSays(f, fmt.Sprint("odd", n), body, 0, 0)
			sells(f, true)
		}
		// of a device that does not exist
		event := `{"event":"x","file":"payment_ack.qo","device":"dev:other","body":{"state":"out"}}`
		w := f.Do("POST", "/webhook/notehub", event, "Authorization", "Bearer "+apptest.RouteToken)
		f.Answers("a stranger", w, 200, "")
		routeSays(f, "long", `{"state":"out","code":"`+strings.Repeat("E", 500)+`<b>"}`, 0, 0)
		sells(f, false)
		if body := f.AsOperator("/api/devices").Body.String(); strings.Contains(body, strings.Repeat("E", 65)) {
			f.Errorf("the code is not cut: %s", body)
		}
	})
}

func TestPaymentsOfAMachineThatIsOutOfOrder(t *testing.T) {
	t.Run("one that is under way is left to the machine", func(t *testing.T) {
		story(t, routed, confirms, func(f *apptest.Front, m *sandbox.Machine) {
			f.Route().Run()
			m.SetOnline(false)
			session := f.Buy(sandbox.PayOptions{})
			f.Pass(5 * time.Second)
			says(f, "out", "E-DOOR")
			f.Pass(5 * time.Second)
			sells(f, false)
			m.SetOnline(true)
			f.Pass(10 * time.Second)
			f.Started(m, 1)
			f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Started, "", ""))
			sells(f, false)
		})
	})
	t.Run("one that was made on an open page goes back at once", func(t *testing.T) {
		story(t, routed, confirms, func(f *apptest.Front, m *sandbox.Machine) {
			f.Route().Run()
			says(f, "out", "")
			f.Pass(5 * time.Second)
			session := f.Buy(sandbox.PayOptions{})
			f.Pass(10 * time.Second)
			f.Started(m, 0)
			f.Stands(session.ID,
				apptest.Ends(payment.Refunded, payment.Failed, payment.ReasonNotSelling, payment.ReasonNotSelling))
		})
	})
}
