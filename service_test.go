package main

import (
	"net/http"
	"strings"
	"testing"

	"notepay/internal/sandbox"
)

func TestACustomerScansPaysAndTheMachineStarts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	machine := sandbox.NewMachine(w.notehub, sandbox.MachineConfig{Device: washer})
	s := w.start()
	link := s.selling(washer)
	session := w.pay(link, sandbox.PayOptions{})

	note := w.sent(washer, 1)[0]
	for key, want := range map[string]any{"payment_status": "completed", "session_id": session.ID, "timestamp": float64(session.PaidAt.Unix())} {
		if note.Body[key] != want {
			t.Errorf("note %s is %v; want %v", key, note.Body[key], want)
		}
	}
	machine.Step()
	if n := len(machine.Starts()); n != 1 {
		t.Errorf("the machine started %d times; want once", n)
	}
	text := s.payment(session.ID, "sent", has(`"machine":"sent"`))
	for _, want := range []string{`"device_name":"Washer 3"`, `"plan":"Warm wash"`, `"amount":350`, `"currency":"eur"`, `"action":"note"`, `"outcome":"ok"`, `"needs_attention":false`} {
		if !strings.Contains(text, want) {
			t.Errorf("the payment lacks %s:\n%s", want, text)
		}
	}
	status, header, _ := s.get("/payment/success?session_id=" + session.ID)
	if status != http.StatusSeeOther || !strings.HasPrefix(header.Get("Location"), "/session/") {
		t.Fatalf("success page answers %d to %q; want 303 to the live page", status, header.Get("Location"))
	}
	if status, _, page := s.get(header.Get("Location"), "Accept", "text/html"); status != http.StatusOK || !strings.Contains(page, "Sent to the machine") {
		t.Errorf("the live page answers %d:\n%s", status, page)
	}
}
