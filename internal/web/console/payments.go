package console

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"notepay/internal/bridge"
	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/payment"
)

const (
	paymentsPerPage = 50
	// lastMinutes is the age of a payment whose card is known, if it is found by its card at all.
	lastMinutes = 30 * time.Minute
)

type paymentsPage struct {
	searchQuery
	States []state
	Rows   []payment.Payment
	Cards  bool   // notepay is reading the cards of the last minutes
	Next   string // address of the next page, "" on the last
	CSV    string // address of the export
	None   string // what it means that there are no rows, "" if there are some
	Part   string // which part of the data was searched, "" for all
}

// payments lists payments, newest first.
func (c *Console) payments(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	query, problem := readSearch(c.langOf(r), q, c.named, c.Zone, c.Ledger.Now())
	page := paymentsPage{searchQuery: query, States: states(), CSV: "/operator/payments.csv?" + with(q, "cursor", "")}
	v := view{Title: "Payments", Nav: "payments"}
	switch {
	case problem != "":
		v.Status, v.Problem = http.StatusBadRequest, problem
	case strings.HasPrefix(query.Key, "evt_"):
		http.Redirect(w, r, "/operator/events/"+url.PathEscape(query.Key), http.StatusSeeOther)
		return nil
	case query.Key != "":
		p, err := c.Ledger.Payment(r.Context(), query.Key)
		if err == nil {
			http.Redirect(w, r, "/operator/payments/"+url.PathEscape(p.ID), http.StatusSeeOther)
			return nil
		}
		if !errors.Is(err, ledger.ErrNotFound) {
			return err
		}
		page.None = "No payment has this reference, Checkout Session or PaymentIntent."
	default:
		err := c.search(r, &page)
		if errors.Is(err, ledger.ErrCursor) {
			return c.problem(w, r, http.StatusBadRequest, "This page of the list does not exist.")
		}
		if errors.Is(err, errStripe) {
			v.Status, v.Problem = http.StatusBadGateway,
				"Stripe did not answer, so nothing was searched. Try again, or search by time, card or machine."
		} else if err != nil {
			return err
		}
	}
	v.Data = page
	return c.write(w, r, "payments", v)
}

// errStripe is the error of a search for which Stripe had to be asked, and did not answer.
var errStripe = errors.New("stripe was not asked")

// search fills the page with the payments that match, and says how much of the data was searched.
func (c *Console) search(r *http.Request, page *paymentsPage) (err error) {
	q := &page.searchQuery
	if q.Search.Card != "" && q.Search.Cursor == "" {
		if page.Cards, err = c.Bridge.RequestCards(r.Context()); err != nil {
			return err
		}
	}
	if q.Email != "" {
		return c.searchEmail(r, page)
	}
	q.Search.MaxScan, q.Search.Limit = ledger.MaxScan, paymentsPerPage
	list, next, err := c.Ledger.Payments(r.Context(), q.Search)
	if err != nil {
		return err
	}
	if page.Rows = list; next != "" {
		page.Next = "/operator/payments?" + with(r.URL.Query(), "cursor", next)
	}
	switch {
	case len(list) > 0:
		until := q.Search.To // the cards of before are known
		page.Cards = page.Cards && (until.IsZero() || c.Ledger.Now().Sub(until) < lastMinutes)
	case next != "":
		page.None = q.lang.T("No match since {time}. Older payments were not searched yet.",
			"time", ledger.CursorTime(next).In(c.Zone).Format(q.lang.layout(layoutMinute)))
	case page.Cards:
		page.None = "No match yet. The cards of the last minutes are not known."
	case q.Search.Cursor != "":
		page.None = "No match among the older payments."
	case len(q.Read) > 1:
		page.None = "No payment matches. All payments were searched. " +
			"Leave out what the caller may remember wrongly, such as the time or the machine."
	case len(q.Read) > 0:
		page.None = "No payment matches. All payments were searched."
	default:
		page.None = "No payments yet."
	}
	return nil
}

// searchEmail fills the page with the payments whose payer gave an e-mail address. notepay keeps no
// address, so Stripe says which sessions have it.
func (c *Console) searchEmail(r *http.Request, page *paymentsPage) error {
	if c.SessionsOfEmail == nil {
		return errStripe
	}
	ids, more, err := c.SessionsOfEmail(r.Context(), page.Email)
	if err != nil {
		c.Log.Warn("e-mail address not looked up", "err", err)
		return errStripe
	}
	if more {
		page.Part = page.lang.T("Stripe has more payments with this e-mail address. The newest {n} were searched.",
			"n", strconv.Itoa(len(ids)))
	}
	page.Rows, err = c.Ledger.PaymentsOfSessions(r.Context(), ids, page.Search)
	switch {
	case len(page.Rows) > 0:
	case len(ids) == 0:
		page.None = "Stripe knows no payment with this e-mail address. The customer may have typed another one, " +
			"so also search by time, card or machine."
	default:
		page.None = "Stripe knows payments with this e-mail address, but none of them matches here."
	}
	return err
}

// with returns a query with one value changed, or removed if value is "".
func with(q url.Values, name, value string) string {
	changed := url.Values{}
	for k, v := range q {
		if k != "done" {
			changed[k] = v
		}
	}
	if changed.Set(name, value); value == "" {
		changed.Del(name)
	}
	return changed.Encode()
}

type paymentPage struct {
	payment.Payment
	Why       diagnosis
	Story     []timelineEntry
	Reports   []ledger.Report // of the customer, not seen yet
	Dashboard string          // address in Stripe's Dashboard, "" for free starts
	CanStart  bool            // the device is known
	Plans     []fleet.Offer   // for a free start
	Customer  customerPanel
	Left      int64 // refundable amount, in minor units
}

// payment serves the page of one payment.
func (c *Console) payment(w http.ResponseWriter, r *http.Request) error {
	return c.showPayment(w, r, http.StatusOK, "")
}

// showPayment answers with the page of a payment, and with the problem of an action.
func (c *Console) showPayment(w http.ResponseWriter, r *http.Request, status int, problem string) error {
	s, err := c.read(r, r.PathValue("id"))
	if errors.Is(err, ledger.ErrNotFound) {
		return c.problem(w, r, http.StatusNotFound, "No payment has this reference, Checkout Session or PaymentIntent.")
	}
	if err != nil {
		return err
	}
	clock := func(t time.Time) string { return t.In(c.Zone).Format(s.lang.layout(layoutClock)) }
	page := paymentPage{
		Payment:   s.Payment,
		Why:       s.why(c.Ledger.Now(), clock),
		Story:     s.entries(),
		Dashboard: dashboard(s.Payment),
	}
	if d := c.Fleet.Device(s.DeviceUID); d != nil {
		page.CanStart, page.Plans = true, d.Offers
	}
	if page.Customer, err = c.customer(r, s.Payment); err != nil {
		return err
	}
	page.Reports = slices.DeleteFunc(s.Reports, func(r ledger.Report) bool { return !r.SeenAt.IsZero() })
	return c.write(w, r, "payment", view{
		Title:   s.lang.T("Payment {id}", "id", s.ID),
		Nav:     "payments",
		Status:  status,
		Problem: problem,
		Live:    problem == "",
		Data:    page,
	})
}

// read reads everything that is recorded about a payment.
func (c *Console) read(r *http.Request, key string) (s timeline, err error) {
	s.lang = c.langOf(r)
	if s.Payment, err = c.Ledger.Payment(r.Context(), key); err != nil {
		return s, err
	}
	if s.Attempts, err = c.Ledger.Attempts(r.Context(), s.ID); err != nil {
		return s, err
	}
	if s.Confirmations, err = c.Ledger.Confirmations(r.Context(), s.ID); err != nil {
		return s, err
	}
	if s.Events, err = c.Ledger.EventsOf(r.Context(), s.Payment); err != nil {
		return s, err
	}
	if s.Reports, err = c.Ledger.Reports(r.Context(), s.ID); err != nil {
		return s, err
	}
	s.Audits, _, err = c.Ledger.Audits(r.Context(), s.ID, 100, "")
	return s, err
}

// dashboard returns the address of a payment in Stripe's Dashboard.
func dashboard(p payment.Payment) string {
	if p.PaymentIntent == "" {
		return ""
	}
	return dashboardPath(p.Livemode, "payments/"+url.PathEscape(p.PaymentIntent))
}

// dashboardPath returns the address of a page of Stripe's Dashboard.
func dashboardPath(livemode bool, page string) string {
	mode := "test/"
	if livemode {
		mode = ""
	}
	return "https://dashboard.stripe.com/" + mode + page
}

// buttons are the allowed actions of a payment, with the data of their forms.
type buttons struct {
	payment.Payment
	Once, Back         string
	Retry, Refund, End bool
	Again              bool  // a rejected refund can be tried again
	Hold               bool  // the money is only authorized, so it is released as a whole
	Seen               bool  // End only dismisses a review
	Left               int64 // refundable amount, in minor units
}

// buttonsOf returns the allowed actions of a payment.
func (c *Console) buttonsOf(v view, p payment.Payment) buttons {
	now := c.Ledger.Now()
	may := func(_ payment.Payment, err error) bool { return err == nil }
	b := buttons{
		Payment: p,
		Once:    v.Once,
		Back:    v.Back,
		Left:    payment.Refundable(p),
		Hold:    p.Funds == payment.Authorized,
	}
	if !v.Support() {
		return b
	}
	b.Retry = may(payment.Resend(p, c.Lifetime, now))
	b.Refund = may(payment.Refund(p, 0, now))
	b.Again = may(payment.RetryRefund(p, now))
	b.End = may(payment.Cancel(p, now))
	b.Seen = payment.Dismissable(p)
	return b
}

// decide runs the action of a payment's button, and redirects back. If the payment's state does not
// allow the action, it shows the payment with a problem.
func (c *Console) decide(
	w http.ResponseWriter, r *http.Request, done string, f func(id string, by bridge.Actor) error,
) error {
	err := f(r.PathValue("id"), by(r))
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return c.problem(w, r, http.StatusNotFound, "No payment has this reference. Nothing was changed.")
	case errors.Is(err, payment.ErrState):
		return c.showPayment(w, r, http.StatusConflict,
			"The payment has changed, so this is no longer possible. Nothing was changed.")
	case err != nil:
		return err
	}
	return goBack(w, r, done)
}

func (c *Console) retry(w http.ResponseWriter, r *http.Request) error {
	return c.decide(w, r, "retry", func(id string, by bridge.Actor) error {
		_, err := c.Bridge.Resend(r.Context(), id, by, consumeFormToken(r))
		return err
	})
}

func (c *Console) end(w http.ResponseWriter, r *http.Request) error {
	p, err := c.Ledger.Payment(r.Context(), r.PathValue("id"))
	if err != nil && !errors.Is(err, ledger.ErrNotFound) { // decide answers that one
		return err
	}
	done := "end"
	if payment.Dismissable(p) {
		done = "dismiss"
	}
	return c.decide(w, r, done, func(id string, by bridge.Actor) error {
		_, err := c.Bridge.Cancel(r.Context(), id, by, consumeFormToken(r))
		return err
	})
}

// seen marks the customer's reports about a payment as seen.
func (c *Console) seen(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	err := c.Ledger.Update(r.Context(), func(tx *ledger.Tx) error {
		if err := consumeFormToken(r).Before(tx); err != nil {
			return err
		}
		if err := tx.SeeReports(id); err != nil {
			return err
		}
		return tx.AddAudit(ledger.Audit{Who: by(r).Name, What: "dismiss", Subject: id, Why: "customer's report seen"})
	})
	if errors.Is(err, ledger.ErrNotFound) {
		return c.problem(w, r, http.StatusNotFound, "This payment has no open report. Nothing was changed.")
	}
	if err != nil {
		return err
	}
	return goBack(w, r, "dismiss")
}

// refund refunds the typed amount, or everything if none was typed.
func (c *Console) refund(w http.ResponseWriter, r *http.Request) error {
	p, err := c.Ledger.Payment(r.Context(), r.PathValue("id"))
	if errors.Is(err, ledger.ErrNotFound) {
		return c.problem(w, r, http.StatusNotFound, "No payment has this reference. Nothing was changed.")
	}
	if err != nil {
		return err
	}
	minor, text := int64(0), strings.TrimSpace(r.PostFormValue("amount"))
	if text != "" {
		var ok bool
		if minor, ok = parseAmount(text, p.Currency); !ok || minor <= 0 || minor > payment.Refundable(p) {
			l := c.langOf(r)
			return c.showPayment(w, r, http.StatusBadRequest,
				l.T("Enter an amount above 0 and at most {amount}. Nothing was changed.",
					"amount", l.money(payment.Refundable(p), p.Currency)))
		}
	}
	return c.decide(w, r, "refund", func(id string, by bridge.Actor) error {
		_, err := c.Bridge.Refund(r.Context(), id, minor, by, consumeFormToken(r))
		return err
	})
}

// retryRefund tries a rejected refund again.
func (c *Console) retryRefund(w http.ResponseWriter, r *http.Request) error {
	return c.decide(w, r, "refund_again", func(id string, by bridge.Actor) error {
		_, err := c.Bridge.RetryRefund(r.Context(), id, by, consumeFormToken(r))
		return err
	})
}

// timelineEntry is one event in the history of a payment.
type timelineEntry struct {
	At     time.Time
	What   string
	Detail string
	Class  string // "good", "wait", "bad" or ""
	Took   string // duration of a call, "" for other entries
	Link   string // address of details, "" for none
}

// entries returns the history of a payment, in the order of time.
func (s *timeline) entries() (list []timelineEntry) {
	l := s.lang
	add := func(e timelineEntry) {
		if !e.At.IsZero() {
			list = append(list, e)
		}
	}
	if s.Amount > 0 {
		add(timelineEntry{
			At:     s.PaidAt,
			What:   l.T("Paid at Stripe"),
			Detail: l.money(s.Amount, s.Currency),
			Class:  "good",
		})
	}
	add(timelineEntry{At: s.CreatedAt, What: l.T("Recorded by notepay")})
	for _, e := range s.Events {
		detail := l.T(outcomeWords(e.Outcome))
		if e.Repeats > 0 {
			detail += ", " + l.N(e.Repeats, "received {n} more time", "received {n} more times")
		}
		add(timelineEntry{
			At:     e.Received,
			What:   l.T("Stripe event {type}", "type", e.Type),
			Detail: detail,
			Link:   "/operator/events/" + url.PathEscape(e.ID),
		})
	}
	for _, a := range s.Attempts {
		m := timelineEntry{
			At:    a.At,
			What:  l.T(actionWords(a.Action)),
			Class: "good",
			Took:  strconv.FormatInt(a.Took.Milliseconds(), 10) + " ms",
		}
		switch a.Outcome {
		case "ok":
			m.Detail = l.T("done")
		case "retry":
			m.Detail, m.Class = l.T("will be retried"), "wait"
		default:
			m.Detail, m.Class = l.T("rejected"), "bad"
		}
		if a.Status != 0 {
			m.Detail += ", " + l.T("status {status}", "status", strconv.Itoa(a.Status))
		} else {
			m.Detail += ", " + l.T("no answer")
		}
		if minor, currency, ok := refunded(a); ok {
			m.Detail += ": " + l.money(minor, currency)
		} else if a.Detail != "" {
			m.Detail += ": " + a.Detail
		}
		add(m)
	}
	for _, c := range s.Confirmations {
		m := timelineEntry{
			At:    c.At,
			What:  l.T("The machine said: {what}", "what", l.T(confirmationWords(c.State))+code(c.Code)),
			Class: "good",
		}
		if c.State == "failed" || c.State == "busy" || c.State == "expired" {
			m.Class = "bad"
		}
		if c.Outcome != payment.ConfirmationTaken {
			m.Detail = l.T(confirmationOutcome(c.Outcome))
		}
		add(m)
	}
	for _, r := range s.Reports {
		add(timelineEntry{
			At:     r.At,
			What:   l.T("The customer reported: {what}", "what", l.T(reportWords(r.Reason))),
			Detail: r.Words,
			Class:  "bad",
		})
	}
	if s.RefundSeq > 0 {
		add(timelineEntry{At: s.RefundAt, What: l.T("Refund requested"), Detail: l.money(s.RefundAmount, s.Currency)})
	}
	for _, a := range s.Audits {
		detail := a.Why
		if a.After != "" && a.After != a.Before {
			change := auditStateWords(l, a, a.After)
			if a.Before != "" {
				change = auditStateWords(l, a, a.Before) + " → " + change
			}
			detail = strings.TrimSpace(detail + " (" + change + ")")
		}
		add(timelineEntry{At: a.At, What: a.Who + " " + auditWords(l, a), Detail: detail})
	}
	slices.SortStableFunc(list, func(a, b timelineEntry) int { return a.At.Compare(b.At) })
	return list
}

// refunded returns the amount of a successful refund. The bridge records it as "350 eur".
func refunded(a ledger.Attempt) (minor int64, currency string, ok bool) {
	if a.Action != payment.StepRefund || a.Outcome != "ok" {
		return 0, "", false
	}
	amount, currency, ok := strings.Cut(a.Detail, " ")
	minor, err := strconv.ParseInt(amount, 10, 64)
	return minor, currency, ok && err == nil
}

// confirmationOutcome describes what notepay did with a machine's answer.
func confirmationOutcome(outcome string) string {
	switch outcome {
	case payment.ConfirmationLate:
		return "after the money went back"
	case payment.ConfirmationNoPost:
		return "ignored, because nothing was sent to the machine"
	case payment.ConfirmationIgnored:
		return "already known"
	}
	return outcome
}
