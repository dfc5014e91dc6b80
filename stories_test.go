package main

import (
	"sync"
	"testing"
	"time"

	"notepay/internal/config"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// The stories of the field: a customer, a machine and what goes wrong between them, told against the whole service in a bubble of time.
// Each ends with the check of what must never be.

// confirming has machines answer within a minute.
func confirming(s *config.Settings) { s.ConfirmWithin = time.Minute }

// routed has them answer through Notehub's route, too; see route.
func routed(s *config.Settings) { confirming(s); s.NotehubRouteToken = routeToken }

// holding has money held until the machine has started.
func holding(s *config.Settings) { s.ConfirmWithin, s.Capture = time.Minute, "on_start" }

// without has no machine confirm, and credits live for two minutes.
func without(s *config.Settings) { s.CreditLifetime = 2 * time.Minute }

// machine is the washer's host, which looks for credits every second.
func (f *front) machine(c sandbox.MachineConfig) *sandbox.Machine {
	c.Device, c.Every = washer, time.Second
	m := sandbox.NewMachine(f.notehub, c)
	f.machines = append(f.machines, m)
	var hosting sync.WaitGroup
	hosting.Go(func() { m.Run(f.Context()) }) // the test's context ends before its clean-up
	f.Cleanup(hosting.Wait)
	return m
}

// route lets Notehub send what machines answer.
func (f *front) route() *front {
	f.notehub.SetRoute("http://pay.test/webhook/notehub", routeToken)
	return f
}

// opened is Stripe's page for the washer, open in a browser.
func (f *front) opened() (session string) {
	f.Helper()
	for _, l := range f.stripe.Links() {
		if l.DeviceUID == washer && l.Active {
			open, err := f.stripe.Open(l.ID)
			if err != nil {
				f.Fatal(err)
			}
			return open.ID
		}
	}
	f.Fatal("the washer has no link")
	return ""
}

// pay pays on an open page, and gives everybody a minute.
func (f *front) pay(open string) sandbox.Session {
	f.Helper()
	session, err := f.stripe.Pay(open, sandbox.PayOptions{})
	if err != nil {
		f.Fatal(err)
	}
	f.pass(time.Minute)
	return session
}

// restarted is the service after a stop and with other settings; change may be nil.
func (f *front) restarted(change func(*config.Settings)) {
	f.Helper()
	f.stop()
	f.closeLedger()
	if change != nil {
		change(&f.settings)
	}
	f.open()
	f.run()
}

// paid is the payment of a session.
func (f *front) paid(session string) payment.Payment {
	f.Helper()
	p, err := f.ledger.Payment(f.Context(), session)
	if err != nil {
		f.Fatalf("payment of %s: %v", session, err)
	}
	return p
}

// end of a payment, as a story tells it.
type ending struct {
	money     payment.FundsStatus
	machine   payment.DeliveryStatus
	reason    string
	attention string
}

// stands holds a payment against how it should stand now.
func (f *front) stands(session string, want ending) payment.Payment {
	f.Helper()
	p := f.paid(session)
	if got := (ending{p.Funds, p.Delivery, p.Reason, p.ReviewReason}); got != want {
		f.Errorf("it stands as %+v; want %+v", got, want)
	}
	return p
}

// money holds what Stripe has of a session against what it should have: taken, held and given back, in cents.
func (f *front) money(session string, charged, held, back int64) {
	f.Helper()
	if c, h, b, _ := f.stripe.Money(session); c != charged || h != held || b != back {
		f.Errorf("Stripe took %d, holds %d, gave back %d; want %d, %d, %d", c, h, b, charged, held, back)
	}
}

// started holds how often a machine started against how often it should have.
func (f *front) started(m *sandbox.Machine, times int) {
	f.Helper()
	if n := len(m.Starts()); n != times {
		f.Errorf("the machine started %d times; want %d", n, times)
	}
}

// asks has the operator do something.
func (f *front) asks(name, path, body string, status int, text string) {
	f.Helper()
	f.answers(name, f.do("POST", path, body, "Authorization", "Bearer "+operatorToken), status, text)
}

// audited holds what was written down of a subject, newest first, against what should have been.
func (f *front) audited(subject string, want ...string) {
	f.Helper()
	list, _, err := f.ledger.Audits(f.Context(), subject, 100, "")
	if err != nil {
		f.Fatal(err)
	}
	var got []string
	for _, a := range list {
		got = append(got, a.Who+" "+a.What+" "+a.Why)
	}
	if len(got) != len(want) {
		f.Fatalf("audit %q; want %q", got, want)
	}
	for n := range got {
		if got[n] != want[n] {
			f.Errorf("audit %q; want %q", got, want)
		}
	}
}

// timed makes what is sold run for so long.
func (f *front) timed(d string) {
	f.stripe.SetPrice(warm, func(p *sandbox.Price) { p.Metadata = map[string]string{"duration": d} })
}

// story runs one in the front of a service with machines of one kind.
func story(t *testing.T, change func(*config.Settings), machine sandbox.MachineConfig, tell func(*front, *sandbox.Machine)) {
	t.Helper()
	t.Parallel()
	inFront(t, change, func(f *front) {
		m := f.machine(machine)
		tell(f, m)
	})
}

var (
	threeKeys = sandbox.MachineConfig{Original: true}
	confirms  = sandbox.MachineConfig{Confirms: true}
)
