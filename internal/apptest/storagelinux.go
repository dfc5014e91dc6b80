package apptest

import (
	"net/http"
	"slices"
	"syscall"
	"time"

	"notepay/internal/fixture"
	"notepay/internal/sandbox"
)

// ClosedFor waits until /pay sells nothing and /health has one of the statuses, and returns what
// /health says.
func (s *Service) ClosedFor(what string, health ...int) (report string) {
	s.W.Helper()
	began := time.Now()
	s.W.Until(what, func() bool {
		pay, _, _ := s.Get("/pay?device=" + fixture.Washer)
		var status int
		status, _, report = s.Get("/health")
		return pay == http.StatusServiceUnavailable && slices.Contains(health, status)
	})
	if took := time.Since(began); took > 15*time.Second {
		s.W.Errorf("%s: it took %v; want a few seconds", what, took)
	}
	return report
}

// PaidMeanwhile pays while nothing can be recorded. Stripe repeats the webhook until it is
// recorded.
func (w *World) PaidMeanwhile(s *Service, link string, recover func()) {
	w.Helper()
	session := w.Pay(link, sandbox.PayOptions{NoWebhook: true})
	event := ""
	for _, e := range w.Stripe.Events() {
		if e.ObjectID == session.ID {
			event = e.ID
		}
	}
	if status, err := w.Stripe.Send(event); err != nil || status != http.StatusServiceUnavailable {
		w.Errorf("the webhook is answered %d, %v; want 503", status, err)
	}
	recover()
	s.Selling(fixture.Washer)
	if status, err := w.Stripe.Send(event); err != nil || status != http.StatusOK {
		w.Errorf("the repeated webhook is answered %d, %v; want 200", status, err)
	}
	s.Payment(session.ID, "sent", Has(`"machine":"sent"`))
}

func (w *World) Terminated(p *Process) {
	w.Helper()
	if err := p.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		w.Fatal(err)
	}
	select {
	case err := <-p.Ended:
		if err != nil {
			w.Errorf("after SIGTERM: %v; want exit code 0", err)
		}
	case <-time.After(10 * time.Second):
		w.Fatal("10 s after SIGTERM the service still runs")
	}
}
