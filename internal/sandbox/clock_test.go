package sandbox

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestSetClock(t *testing.T) {
	t.Parallel()
	s := NewStripe(StripeConfig{})
	defer s.Close()
	n := NewNotehub(NotehubConfig{Token: "t"})
	defer n.Close()
	for _, ahead := range []time.Duration{0, -20 * time.Minute, 3 * time.Hour} {
		s.SetClock(ahead)
		n.SetClock(ahead)
		want := time.Now().Add(ahead)
		for name, vendor := range map[string]http.Handler{"Stripe": s, "Notehub": n} {
			w := httptest.NewRecorder()
			vendor.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/events", nil))
			date, err := http.ParseTime(w.Header().Get("Date"))
			if err != nil || date.Sub(want).Abs() > 2*time.Second {
				t.Errorf("%s's Date is %v, %v; want %v", name, date, err, want)
			}
		}
		s.PaySession(map[string]string{"device_uid": "dev:1"}, 350, "eur", PayOptions{NoWebhook: true})
		for _, e := range s.Events()[len(s.Events())-1:] {
			if e.Created.Sub(want).Abs() > 2*time.Second {
				t.Errorf("an event happened at %v; want %v", e.Created, want)
			}
		}
		n.AddDevice(Device{UID: "dev:1"})
		n.Fetch("dev:1", creditFile)
		if at := n.byUID["dev:1"].LastActivity; at.Sub(want).Abs() > 2*time.Second {
			t.Errorf("the device was active at %v; want %v", at, want)
		}
	}
}
