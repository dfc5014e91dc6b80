package apptest

import (
	"sync"
	"time"

	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// Machine is the washer's host, which looks for credits every second.
func (f *Front) Machine(c sandbox.MachineConfig) *sandbox.Machine {
	c.Device, c.Every = fixture.Washer, time.Second
	m := sandbox.NewMachine(f.Notehub, c)
	f.machines = append(f.machines, m)
	var hosting sync.WaitGroup
	hosting.Go(func() { m.Run(f.Context()) }) // the test's context ends before its clean-up
	f.Cleanup(hosting.Wait)
	return m
}

// Route lets Notehub send what machines answer.
func (f *Front) Route() *Front {
	f.Notehub.SetRoute("http://pay.test/webhook/notehub", RouteToken)
	return f
}

// Opened is Stripe's page for the washer, open in a browser.
func (f *Front) Opened() (session string) {
	f.Helper()
	for _, l := range f.Stripe.Links() {
		if l.DeviceUID == fixture.Washer && l.Active {
			open, err := f.Stripe.Open(l.ID)
			if err != nil {
				f.Fatal(err)
			}
			return open.ID
		}
	}
	f.Fatal("the washer has no link")
	return ""
}

// Pay pays on an open page, and gives everybody a minute.
func (f *Front) Pay(open string) sandbox.Session {
	f.Helper()
	session, err := f.Stripe.Pay(open, sandbox.PayOptions{})
	if err != nil {
		f.Fatal(err)
	}
	f.Pass(time.Minute)
	return session
}

// Restarted is the service after a stop and with other settings; change may be nil.
func (f *Front) Restarted(change func(*config.Settings)) {
	f.Helper()
	f.Stop()
	f.CloseLedger()
	if change != nil {
		change(&f.Settings)
	}
	f.Open()
	f.Run()
}

// Paid is the payment of a session.
func (f *Front) Paid(session string) payment.Payment {
	f.Helper()
	p, err := f.Ledger.Payment(f.Context(), session)
	if err != nil {
		f.Fatalf("payment of %s: %v", session, err)
	}
	return p
}

// end of a payment, as a story tells it.
type Ending struct {
	Funds        payment.FundsStatus
	Delivery     payment.DeliveryStatus
	Reason       string
	ReviewReason string
}

// Ends returns how a payment ends.
func Ends(funds payment.FundsStatus, delivery payment.DeliveryStatus, reason, review string) Ending {
	return Ending{funds, delivery, reason, review}
}

// Stands holds a payment against how it should stand now.
func (f *Front) Stands(session string, want Ending) payment.Payment {
	f.Helper()
	p := f.Paid(session)
	if got := (Ending{p.Funds, p.Delivery, p.Reason, p.ReviewReason}); got != want {
		f.Errorf("it stands as %+v; want %+v", got, want)
	}
	return p
}

// Money holds what Stripe has of a session against what it should have: taken, held and given back,
// in cents.
func (f *Front) Money(session string, charged, held, back int64) {
	f.Helper()
	if c, h, b, _ := f.Stripe.Money(session); c != charged || h != held || b != back {
		f.Errorf("Stripe took %d, holds %d, gave back %d; want %d, %d, %d", c, h, b, charged, held, back)
	}
}

// Started holds how often a machine started against how often it should have.
func (f *Front) Started(m *sandbox.Machine, times int) {
	f.Helper()
	if n := len(m.Starts()); n != times {
		f.Errorf("the machine started %d times; want %d", n, times)
	}
}

// Asks has the operator do something.
func (f *Front) Asks(name, path, body string, status int, text string) {
	f.Helper()
	f.Answers(name, f.Do("POST", path, body, "Authorization", "Bearer "+OperatorToken), status, text)
}

// Audited holds what was written down of a subject, newest first, against what should have been.
func (f *Front) Audited(subject string, want ...string) {
	f.Helper()
	list, _, err := f.Ledger.Audits(f.Context(), subject, 100, "")
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

// Timed makes what is sold run for so long.
func (f *Front) Timed(d string) {
	f.Stripe.SetPrice(fixture.Warm, func(p *sandbox.Price) { p.Metadata = map[string]string{"duration": d} })
}
