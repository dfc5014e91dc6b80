package stories

import (
	"net/http"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// openFor makes the washer sell from ten minutes after the beginning of the test until two hours after
// it. Tests begin at midnight UTC.
func openFor(f *apptest.Front, hours string) {
	f.Notehub.AddFleet("fleet:north", "North Street", map[string]string{"open_hours": hours})
	f.Notehub.AddDevice(sandbox.Device{UID: fixture.Washer, Name: "Washer 3", Fleets: []string{"fleet:north"}})
}

const tenPastTillTwo = "Mo-Fr 00:10-02:00, Sa-Su 00:10-02:00; UTC"

func TestMachineSellsInItsOpeningHours(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		openFor(f, tenPastTillTwo)
		f.Run()
		m := f.Machine(sandbox.MachineConfig{})
		w := f.Phone().Do("GET", "/pay?device="+fixture.Washer, "")
		f.Answers("a scan before", w, http.StatusServiceUnavailable, "This machine is closed right now")
		f.Answers("when it opens", w, http.StatusServiceUnavailable, "It opens again: 00:10")
		if w.Header().Get("Retry-After") == "" {
			f.Error("programs do not learn when it opens")
		}
		f.Answers("the operator", f.AsOperator("/api/devices"), http.StatusOK, `"state":"out_of_hours"`)
		f.Pass(10 * time.Minute)
		f.Answers("a scan", f.Get("/pay?device="+fixture.Washer), http.StatusTemporaryRedirect, "")
		session := f.Buy(sandbox.PayOptions{})
		f.Pass(time.Minute)
		f.Started(m, 1)
		open := f.Opened() // and paid when it is closed
		last := f.Order(sandbox.PayOptions{NoWebhook: true})
		f.Pass(2 * time.Hour)
		f.Answers("a scan after", f.Get("/pay?device="+fixture.Washer), http.StatusServiceUnavailable, "")
		late := f.Pay(open)
		f.Pass(time.Minute)
		f.Stands(late.ID, apptest.Ends(payment.Refunded, payment.Failed, payment.ReasonNotSelling,
			payment.ReasonNotSelling))
		f.Started(m, 2) // what was paid in time is delivered
		for _, id := range []string{session.ID, last.ID} {
			if p := f.Paid(id); p.Delivery == payment.Failed {
				f.Errorf("what was paid in time failed: %+v", p)
			}
		}
	})
}

func TestSessionsEndWithTheOpeningHours(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, apptest.PerPurchase, func(f *apptest.Front) {
		openFor(f, tenPastTillTwo)
		f.Run()
		f.Pass(time.Hour + 59*time.Minute)
		p := f.Phone()
		session := p.Presses(p.Scans())
		f.Pass(2 * time.Minute)
		if s, _ := f.Stripe.Session(session.ID); s.Status != "expired" {
			f.Errorf("the open session is %q; want expired", s.Status)
		}
	})
}

func TestUnreadableOpeningHoursCloseNothing(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		openFor(f, "from dusk till dawn")
		f.Run()
		f.Answers("a scan", f.Get("/pay?device="+fixture.Washer), http.StatusTemporaryRedirect, "")
		f.Answers("the operator", f.AsOperator("/api/devices"), http.StatusOK, "the machine sells at all hours")
	})
}
