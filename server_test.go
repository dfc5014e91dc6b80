package main

import (
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/ledger"
	"notepay/internal/sandbox"
)

func TestServeFails(t *testing.T) {
	t.Parallel()
	w := apptest.NewWorld(t)
	s := w.Start()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, c := range map[string]struct {
		set  map[string]string
		code int
		want string
	}{
		"every wrong setting at once": {
			map[string]string{"STRIPE_SECRET_KEY": "pk_test_1", "STRIPE_WEBHOOK_SECRET": "", "PORT": "x"},
			2, "STRIPE_WEBHOOK_SECRET",
		},
		"an address in use": {
			map[string]string{
				"LISTEN_ADDR":  taken.Addr().String(),
				"DATABASE_URL": filepath.Join(t.TempDir(), "other.db"),
			},
			1, "is taken by another program: set LISTEN_ADDR",
		},
		"a ledger in use": {nil, 1, ledger.ErrLocked.Error()},
		"a ledger that cannot be": {
			map[string]string{"DATABASE_URL": filepath.Join(t.TempDir(), "no", "such", "folder.db")},
			1, "open ledger",
		},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, complaint := w.CommandWith(c.set, "serve")
			if code != c.code || !strings.Contains(complaint, c.want) {
				t.Errorf("exit code %d, %q; want %d and %q", code, complaint, c.code, c.want)
			}
			if strings.Contains(complaint, fixture.TestSecret) || strings.Contains(complaint, "secret-of-client") {
				t.Errorf("a secret is printed: %q", complaint)
			}
		})
	}
	s.Selling(fixture.Washer) // the first service is not affected
}

// A stop waits for calls in flight, and cancels those that do not end.
func TestStopWithACallInFlight(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		outcome sandbox.Outcome
		maxTime time.Duration
	}{
		"that ends soon":  {sandbox.Outcome{Applied: true, Status: 200, Delay: time.Second}, 5 * time.Second},
		"that never ends": {sandbox.Outcome{Applied: true, Status: 200, Delay: time.Hour}, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := apptest.NewWorld(t)
			s := w.Start()
			link := s.Selling(fixture.Washer)
			w.Notehub.Next(fixture.PostNote, c.outcome)
			session := w.Pay(link, sandbox.PayOptions{})
			w.Until("the call is under way", func() bool { return len(w.Notehub.Notes(fixture.Washer)) == 1 })
			began := time.Now()
			w.Stopped(s)
			if took := time.Since(began); took > c.maxTime {
				t.Errorf("the stop took %v; want at most %v", took, c.maxTime)
			}
			next := w.Start()
			next.Payment(session.ID, "sent", apptest.Has(`"machine":"sent"`))
			w.Stopped(next)
			if n := len(w.Notehub.Notes(fixture.Washer)); n != 1 {
				t.Errorf("%d notes; want the one", n)
			}
		})
	}
}

func TestServeWithCaptureOnStartCreatesManualLinks(t *testing.T) {
	t.Parallel()
	w := apptest.NewWorld(t).Set("CAPTURE", "on_start", "CONFIRM_WITHIN", "1m")
	s := w.Start()
	s.Selling(fixture.Washer)
	if links := w.Stripe.Links(); len(links) != 1 || links[0].CaptureMethod != "manual" {
		t.Errorf("links %+v; want one with manual capture", links)
	}
	w.Stopped(s)
}

func TestLogHoldsNoSecret(t *testing.T) {
	t.Parallel()
	w := apptest.NewWorld(t)
	s := w.Start()
	w.Notehub.Next(fixture.PostNote, sandbox.Outcome{Status: 401}, sandbox.Outcome{Status: 403}, sandbox.Outcome{})
	session := w.Pay(s.Selling(fixture.Washer), sandbox.PayOptions{})
	s.Get("/payment/success?session_id=" + session.ID)
	s.Do(http.MethodPost, "/webhook/stripe", "{}", "Stripe-Signature", "t=1,v1=00")
	s.Get("/api/payments", "Authorization", "Bearer wrong")
	s.Payment(session.ID, "sent", apptest.Has(`"machine":"sent"`))
	_, header, _ := s.Get("/payment/success?session_id=" + session.ID)
	w.Stopped(s)
	for _, secret := range []string{
		fixture.TestKey, fixture.TestSecret, "secret-of-client", "operator-token-1234", "Bearer", "whsec_",
		strings.TrimPrefix(header.Get("Location"), "/session/"),
	} {
		if strings.Contains(s.Logs.String(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}
