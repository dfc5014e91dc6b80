package stories

import (
	"maps"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// onWarmWash sets a price's metadata.
func onWarmWash(f *apptest.Front, metadata map[string]string) {
	f.Stripe.SetPrice(fixture.Warm, func(p *sandbox.Price) { p.Metadata = maps.Clone(metadata) })
}

func TestPulsesAndOutputReachTheMachine(t *testing.T) {
	story(t, confirming, confirms, func(f *apptest.Front, m *sandbox.Machine) {
		onWarmWash(f, map[string]string{"pulses": "3", "output": "2"})
		f.Run()
		session := f.Buy(sandbox.PayOptions{})
		f.Pass(10 * time.Second)
		if s := m.Starts(); len(s) != 1 || s[0].Pulses != 3 || s[0].Output != 2 {
			f.Errorf("started %+v; want 3 pulses on output 2", s)
		}
		f.Answers("the API", f.AsOperator("/api/payments/"+session.ID), 200, `"pulses":3,"output":2`)
		f.Answers("the devices", f.AsOperator("/api/devices"), 200, `"pulses":3,"output":2`)
		f.Restarted(nil)
		if p := f.Paid(session.ID); p.Pulses != 3 || p.Output != 2 {
			f.Errorf("stored %d pulses and output %d", p.Pulses, p.Output)
		}
	})
}

// The link was made before its price got the numbers.
func TestPulsesThatAreAddedToAPriceReachItsLinks(t *testing.T) {
	story(t, confirming, confirms, func(f *apptest.Front, m *sandbox.Machine) {
		f.Run()
		onWarmWash(f, map[string]string{"pulses": "5"})
		f.Refresh()
		f.Pass(time.Minute)
		f.Buy(sandbox.PayOptions{})
		f.Pass(10 * time.Second)
		if s := m.Starts(); len(s) != 1 || s[0].Pulses != 5 {
			f.Errorf("started %+v; want 5 pulses", s)
		}
	})
}

func TestPulsesThatAreNoNumberAreNotSold(t *testing.T) {
	story(t, confirming, confirms, func(f *apptest.Front, _ *sandbox.Machine) {
		onWarmWash(f, map[string]string{"pulses": "three"})
		f.Run()
		f.Answers("a scan", f.Get("/pay?device="+fixture.Washer), 503, "")
		f.Answers("the devices", f.AsOperator("/api/devices"), 200, "has metadata pulses=")
	})
}

func TestSignedNotes(t *testing.T) {
	key := make([]byte, 32)
	story(t, signing(key), confirms, func(f *apptest.Front, m *sandbox.Machine) {
		f.Timed("30m")
		f.Run()
		session := f.Buy(sandbox.PayOptions{})
		f.Pass(10 * time.Second)
		f.Asks("end", "/api/payments/"+session.ID+"/end", `{"reason":"test"}`, 200, "")
		f.Pass(10 * time.Second)
		f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Done, payment.ReasonEnded, ""))
		notes := f.Notehub.Notes(fixture.Washer)
		if len(notes) != 2 {
			f.Fatalf("%d notes; want the credit and its end", len(notes))
		}
		for _, n := range notes {
			number := func(name string) int64 { v, _ := n.Body[name].(float64); return int64(v) }
			text := func(name string) string { v, _ := n.Body[name].(string); return v }
			want := payment.Sign(payment.Note{
				PaymentStatus: text("payment_status"),
				CreditID:      text("credit_id"),
				Expires:       number("expires"),
				Duration:      number("duration_s"),
			}, payment.DeviceKey(key, fixture.Washer)).Signature
			if text("sig") != want {
				f.Errorf("%s has the signature %q; want %q", text("payment_status"), text("sig"), want)
			}
		}
	})
}
