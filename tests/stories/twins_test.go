package stories

import (
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

// Two installations recall each other's notes. Both report it, and the customer is refunded once.
func TestTwinsAreReported(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*config.Settings)
		machine sandbox.MachineConfig
	}{
		"without confirmations": {without, threeKeys},
		"with confirmations":    {confirming, confirms},
		"with manual capture":   {holding, confirms},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, c.change, c.machine, func(f *apptest.Front, m *sandbox.Machine) {
				other := f.Twin()
				f.Run()
				f.Pass(time.Minute)
				m.SetOnline(false)
				sold := f.Buy(sandbox.PayOptions{})
				f.Pass(time.Second)
				if notes := f.Notehub.Notes(fixture.Washer); len(notes) != 2 {
					f.Fatalf("%d notes; want one from each", len(notes))
				}
				f.Pass(10 * time.Minute)
				m.SetOnline(true)
				f.Pass(10 * time.Minute)
				f.Started(m, 0)
				charged, held, back, _ := f.Stripe.Money(sold.ID)
				if held != 0 || charged != back {
					f.Errorf("%d charged, %d held, %d back; want all of it back", charged, held, back)
				}
				f.Answers("health", f.Get("/health"), http.StatusOK, apptest.TwinsText)
				if health := other.Health(); !strings.Contains(health, apptest.TwinsText) {
					f.Errorf("the twin's health %s; want it to tell of the other installation", health)
				}
				// Both recall at the same time, and one may find only its own note. Then the other
				// marks the payment.
				if p, others := f.Paid(sold.ID), other.Payment(f, sold.ID); p.ReviewReason == "" &&
					others.ReviewReason == "" {
					f.Errorf("%s, %s %s: no problem is reported", p.Funds, p.Delivery, p.Reason)
				}
			})
		})
	}
}

// A second note with the credit waits at Notehub, and there is no other sign of a second
// installation.
func TestSecondNoteOfACreditIsReported(t *testing.T) {
	story(t, without, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
		f.Run()
		f.Pass(time.Minute)
		m.SetOnline(false)
		sold := f.Buy(sandbox.PayOptions{})
		f.Pass(time.Second)
		f.TellsOfTwins("with one note", nil, false)
		hub := apptest.HubOf(&f.Settings, sandbox.InProcess(f.Notehub))
		if err := hub.PostNote(f.Context(), fixture.Washer, "payment.qi", payment.NoteOf(f.Paid(sold.ID))); err != nil {
			f.Fatal(err)
		}
		f.Pass(20 * time.Minute)
		f.TellsOfTwins("with two notes", nil, true)
		if p := f.Paid(sold.ID); p.ReviewReason != payment.ReviewTwins {
			f.Errorf("attention %q; want %q", p.ReviewReason, payment.ReviewTwins)
		}
	})
}

// One installation does not know the machine and refunds, and the other sends the credit.
func TestTwinCreditIsReported(t *testing.T) {
	story(t, confirming, confirms, func(f *apptest.Front, m *sandbox.Machine) {
		other := f.Twin()
		f.Run()
		f.Pass(time.Minute)
		open := f.Opened()
		f.Asks("pause", "/api/devices/"+fixture.Washer+"/pause", `{"reason":"it leaks"}`, http.StatusOK, "")
		f.Stripe.Next("POST /v1/refunds", sandbox.Outcome{Status: 429, Header: http.Header{"Retry-After": {"30"}}})
		sold := f.Pay(open)
		f.Started(m, 1)
		f.Pass(10 * time.Minute)
		if p := f.Paid(sold.ID); p.ReviewReason != payment.ReasonStartedAfter || p.Funds != payment.Refunded {
			f.Errorf("%s, attention %q; want the money back, and that the machine started", p.Funds, p.ReviewReason)
		}
		f.Answers("health", f.Get("/health"), http.StatusOK, apptest.TwinsText)
		if health := other.Health(); !strings.Contains(health, apptest.TwinsText) {
			f.Errorf("the twin's health %s; want it to tell of a refund that it did not order", health)
		}
		f.Stop()
		f.CloseLedger() // the invariants hold for one installation only
	})
}
