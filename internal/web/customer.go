package web

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"time"

	"notepay/internal/bridge"
	"notepay/internal/fleet"
	"notepay/internal/ledger"
)

// Customer serves the pages of those who pay.
type Customer struct {
	Ledger  *ledger.Ledger
	Session func(ctx context.Context, id string) (ledger.Payment, error) // the payment of a session, see bridge.Session
	Test    bool                                                         // the key moves no real money
}

// Home lets a customer type the code on a machine.
func (c *Customer) Home(w http.ResponseWriter, r *http.Request) error {
	return Page{Status: http.StatusOK, Title: "Pay for a machine", Lines: []string{"Scan the sticker on the machine, or open /pay?device= with the code that is printed on it."},
		Test: c.Test, template: "home"}.Write(w, r)
}

// Cancelled is where Stripe sends customers who went back.
func (c *Customer) Cancelled(w http.ResponseWriter, r *http.Request) error {
	return Page{Status: http.StatusOK, Title: "Nothing was charged", Lines: []string{"You left before paying."}, Hint: "Scan the sticker on the machine to begin again.", Test: c.Test}.Write(w, r)
}

// Plans lets a customer choose among what a machine sells.
func (c *Customer) Plans(w http.ResponseWriter, r *http.Request, d *fleet.Device) error {
	type plan struct{ Name, Price, URL string }
	var plans []plan
	page := Page{Status: http.StatusOK, Title: "Choose a plan", Machine: MachineName(d.Name, d.UID), Test: c.Test, template: "plans"}
	for _, o := range d.Offers {
		if o.URL != "" {
			plans = append(plans, plan{o.Plan.Name, amount(o.Plan.Amount, o.Plan.Currency), o.URL})
			page.Lines = append(page.Lines, o.Plan.Name+", "+amount(o.Plan.Amount, o.Plan.Currency)+": "+o.URL)
		}
	}
	page.data = plans
	return page.Write(w, r)
}

// MachineName is what a machine is called: its name, or its UID where it has none.
func MachineName(name, uid string) string {
	if name == "" {
		return uid
	}
	return name
}

// Stripe's session ids: test and live, of any length that has been seen or is likely.
var sessionID = regexp.MustCompile(`^cs_(test|live)_[A-Za-z0-9]{8,200}$`)

// liveTime is how long after the payment the success page leads to the live page, which may hold a code; later it is a receipt.
const liveTime = 30 * time.Minute

// Success is where Stripe sends customers who paid. What it knows it knows from the ledger or from Stripe, never from the customer.
func (c *Customer) Success(w http.ResponseWriter, r *http.Request) error {
	id := r.URL.Query().Get("session_id")
	if !sessionID.MatchString(id) {
		return Page{Status: http.StatusNotFound, Title: "Payment not found", Hint: "Please open the page that Stripe led you to after paying.", Test: c.Test}.Write(w, r)
	}
	p, err := c.Session(r.Context(), id)
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return Page{Status: http.StatusNotFound, Title: "Payment not found", Hint: "If you have paid just now, please reload this page in a moment.", Test: c.Test}.Write(w, r)
	case errors.Is(err, bridge.ErrTooBusy):
		return c.later(w, r)
	case err != nil:
		_ = c.later(w, r) // the error below is the one that matters
		return err
	case time.Since(p.PaidAt) < liveTime:
		w.Header().Set("Cache-Control", "no-store")
		http.Redirect(w, r, "/session/"+p.Token, http.StatusSeeOther)
		return nil
	default:
		return c.write(w, r, p)
	}
}

func (c *Customer) later(w http.ResponseWriter, r *http.Request) error {
	return Page{Status: http.StatusServiceUnavailable, Title: "Just a moment", Lines: []string{"We are asking Stripe about your payment. Nothing is lost if you wait or close this page."},
		Reload: 2, RetryAfter: 2 * time.Second, Test: c.Test}.Write(w, r)
}

var pageToken = regexp.MustCompile(`^[0-9a-f]{32}$`)

// Payment is the payer's page.
func (c *Customer) Payment(w http.ResponseWriter, r *http.Request) error {
	token := r.PathValue("token")
	notFound := Page{Status: http.StatusNotFound, Title: "Payment not found", Test: c.Test}
	if !pageToken.MatchString(token) {
		return notFound.Write(w, r)
	}
	p, err := c.Ledger.PaymentOfToken(r.Context(), token)
	if errors.Is(err, ledger.ErrNotFound) {
		return notFound.Write(w, r)
	}
	if err != nil {
		return err
	}
	return c.write(w, r, p)
}

type step struct{ Class, Text, At string }

// write shows where a payment stands.
func (c *Customer) write(w http.ResponseWriter, r *http.Request, p ledger.Payment) error {
	title, summary := words(p)
	steps := []step{{"good", "Payment received", clock(p.PaidAt)}}
	moving := p.Step != ledger.NoStep
	switch {
	case p.Money == ledger.Authorized:
		steps[0].Text = "Payment held, not taken"
		steps = append(steps, step{"bad", "Not sent to the machine", ""})
	case p.Machine == ledger.Failed && (p.Posted || p.Reason == bridge.ReasonAdopted):
		steps = append(steps, step{"bad", "Not known whether the machine got it", ""})
	case p.Machine == ledger.Failed:
		steps = append(steps, step{"bad", "Not sent to the machine", ""})
	case p.Machine == ledger.Queued:
		steps = append(steps, step{"now", "Being sent to the machine", ""})
	default:
		steps = append(steps, step{"good", "Sent to the machine", clock(p.SentAt)})
	}
	page := Page{Status: http.StatusOK, Title: title, Machine: MachineName(p.DeviceName, p.DeviceUID), Lines: []string{summary, "Reference: " + p.ID},
		Test: !p.Livemode, template: "payment", data: struct {
			Steps                            []step
			Summary, Plan, Amount, Reference string
			Moving                           bool
		}{steps, summary, p.Plan, amount(p.Amount, p.Currency), p.ID, moving}}
	if moving {
		page.Reload = 2
	}
	return page.Write(w, r)
}

// words says, and no more, what is known of a payment.
func words(p ledger.Payment) (title, summary string) {
	switch {
	case p.Money == ledger.Authorized:
		return "Your payment is on hold", "The money is held on your card and not taken, and the machine does not start on that. The operator has been told; please give them the reference."
	case p.Reason == bridge.ReasonAdopted:
		return "We do not know whether the machine got this", "Your payment was received before our records begin. If the machine did not start, the operator owes you the money and has been told; please give them the reference."
	case p.Machine == ledger.Failed && p.Posted:
		return "We could not reach the machine for certain", "Your payment was received. If the machine did not start, the operator owes you the money and has been told; please give them the reference."
	case p.Machine == ledger.Failed && p.Reason == bridge.ReasonUnknownDevice:
		return "This machine is not in service", "Your payment was received, but the machine is not connected any more. The operator owes you the money and has been told; please give them the reference."
	case p.Machine == ledger.Failed:
		return "The machine did not get your payment", "Your payment was received, but it could not be passed on to the machine. The operator owes you the money and has been told; please give them the reference."
	case p.Machine == ledger.Queued:
		return "Payment received", "We are passing it on to the machine."
	default:
		return "Sent to the machine", "The machine starts when it picks this up, usually within seconds."
	}
}

func clock(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("15:04:05") + " UTC"
}
