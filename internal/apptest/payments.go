package apptest

import (
	"net/http"
	"strings"
	"sync"
	"time"

	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// Order records a payment by a signed webhook, while the service does no work.
func (f *Front) Order(o sandbox.PayOptions) sandbox.Session {
	f.Helper()
	f.Stripe.AddLink(sandbox.Link{Active: true, PriceID: fixture.Warm, DeviceUID: fixture.Washer})
	return f.Buy(o)
}

// Buy pays at the first link and waits until everything is idle.
func (f *Front) Buy(o sandbox.PayOptions) sandbox.Session {
	f.Helper()
	session, err := f.Stripe.Pay(f.Stripe.Links()[0].ID, o)
	if err != nil {
		f.Fatal(err)
	}
	f.Idle()
	return session
}

// PaySession pays without a link.
func (f *Front) PaySession() sandbox.Session {
	return f.Stripe.PaySession(
		map[string]string{"device_uid": fixture.Washer, "project": fixture.Project, "price_id": fixture.Warm},
		350, "eur", sandbox.PayOptions{},
	)
}

// Opened opens Stripe's page of the washer and returns its session.
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

// Pay pays on an open page, and lets a minute pass.
func (f *Front) Pay(open string) sandbox.Session {
	f.Helper()
	session, err := f.Stripe.Pay(open, sandbox.PayOptions{})
	if err != nil {
		f.Fatal(err)
	}
	f.Pass(time.Minute)
	return session
}

// Complete pays a Checkout Session, and lets a second pass.
func (f *Front) Complete(s sandbox.Session, o sandbox.PayOptions) sandbox.Session {
	f.Helper()
	s, err := f.Stripe.Pay(s.ID, o)
	if err != nil {
		f.Fatal(err)
	}
	f.Pass(time.Second)
	return s
}

// SessionAt returns the Checkout Session of a page's address.
func (f *Front) SessionAt(address string) sandbox.Session {
	f.Helper()
	session, ok := f.Stripe.Session(address[strings.LastIndexByte(address, '/')+1:])
	if !ok {
		f.Fatalf("%q is no session's page", address)
	}
	return session
}

// Record returns the payment of a session.
func (f *Front) Record(session sandbox.Session) payment.Payment {
	f.Helper()
	return f.Paid(session.ID)
}

// Paid returns the payment of a session, by the session's id.
func (f *Front) Paid(session string) payment.Payment {
	f.Helper()
	p, err := f.Ledger.Payment(f.Context(), session)
	if err != nil {
		f.Fatalf("payment of %s: %v", session, err)
	}
	return p
}

// MachineIs checks the delivery status of a session's payment, which must not be adopted.
func (f *Front) MachineIs(session sandbox.Session, want payment.DeliveryStatus) payment.Payment {
	f.Helper()
	p := f.Record(session)
	if p.Delivery != want || p.Reason == payment.ReasonAdopted {
		f.Errorf("%s is %s %s %s; want %s", session.ID, p.Funds, p.Delivery, p.Reason, want)
	}
	return p
}

// Ending is the state in which a payment ends.
type Ending struct {
	Funds        payment.FundsStatus
	Delivery     payment.DeliveryStatus
	Reason       string
	ReviewReason string
}

// Ends returns an Ending.
func Ends(funds payment.FundsStatus, delivery payment.DeliveryStatus, reason, review string) Ending {
	return Ending{funds, delivery, reason, review}
}

// Stands checks the state of a session's payment.
func (f *Front) Stands(session string, want Ending) payment.Payment {
	f.Helper()
	p := f.Paid(session)
	if got := (Ending{p.Funds, p.Delivery, p.Reason, p.ReviewReason}); got != want {
		f.Errorf("it stands as %+v; want %+v", got, want)
	}
	return p
}

// Money checks how much of a session's money Stripe has captured, authorized and refunded, in
// cents.
func (f *Front) Money(session string, charged, held, back int64) {
	f.Helper()
	if c, h, b, _ := f.Stripe.Money(session); c != charged || h != held || b != back {
		f.Errorf("Stripe took %d, holds %d, gave back %d; want %d, %d, %d", c, h, b, charged, held, back)
	}
}

// Machine runs the washer's host, which looks for credits every second.
func (f *Front) Machine(c sandbox.MachineConfig) *sandbox.Machine {
	c.Device, c.Every = fixture.Washer, time.Second
	m := sandbox.NewMachine(f.Notehub, c)
	f.machines = append(f.machines, m)
	var hosting sync.WaitGroup
	hosting.Go(func() { m.Run(f.Context()) }) // the test's context ends before its clean-up
	f.Cleanup(hosting.Wait)
	return m
}

// Route makes Notehub send the confirmations by a route.
func (f *Front) Route() *Front {
	f.Notehub.SetRoute("http://pay.test/webhook/notehub", RouteToken)
	return f
}

// Started checks how often a machine has started.
func (f *Front) Started(m *sandbox.Machine, times int) {
	f.Helper()
	if n := len(m.Starts()); n != times {
		f.Errorf("the machine started %d times; want %d", n, times)
	}
}

// SuccessPage is the address of the success page without the session.
const SuccessPage = "/payment/success?session_id="

// ComesBack loads the success page as a browser does, again every two seconds. It returns how long
// the customer waited for an answer.
func (f *Front) ComesBack(session string) time.Duration {
	f.Helper()
	began := time.Now()
	for time.Since(began) < time.Minute {
		switch w := f.Get(SuccessPage + session); w.Code {
		case http.StatusSeeOther:
			return time.Since(began)
		case http.StatusServiceUnavailable:
			time.Sleep(2 * time.Second)
		default:
			f.Fatalf("the payer gets %d %s", w.Code, w.Body)
		}
	}
	f.Errorf("the payer of %s was not answered within a minute", session)
	return time.Since(began)
}

// LivePage returns the address of the live page of a session's payment.
func (f *Front) LivePage(session sandbox.Session) string {
	f.Helper()
	path := f.Get("/payment/success?session_id=" + session.ID).Header().Get("Location")
	if !strings.HasPrefix(path, "/session/") {
		f.Fatalf("the success page leads to %q; want a live page", path)
	}
	return path
}
