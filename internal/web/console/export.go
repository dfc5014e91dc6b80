package console

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/web"
)

// exportBatch is the number of rows in one read of an export.
const exportBatch = 500

// dayTotals sums up one day by currency.
type dayTotals struct {
	day  string
	sums map[string]ledger.Revenue
}

// add adds a payment, unless it was free.
func (t *dayTotals) add(p payment.Payment) {
	if p.Amount == 0 {
		return
	}
	s := t.sums[p.Currency]
	t.sums[p.Currency] = ledger.Revenue{
		Currency: p.Currency,
		Payments: s.Payments + 1,
		Captured: s.Captured + p.Captured(),
		Refunded: s.Refunded + p.Refunded(),
	}
}

// write writes the totals of the day, and begins another day.
func (t *dayTotals) write(out *table, day string) error {
	currencies := make([]string, 0, len(t.sums))
	for currency := range t.sums {
		currencies = append(currencies, currency)
	}
	slices.Sort(currencies)
	for _, currency := range currencies {
		s := t.sums[currency]
		row := make([]string, len(paymentColumns()))
		row[0], row[1], row[2] = "day total", t.day, strconv.Itoa(s.Payments)+" payments"
		row[10] = strings.ToUpper(currency)
		row[12] = web.Figure(s.Captured, currency)
		row[13] = web.Figure(s.Refunded, currency)
		row[14] = web.Figure(s.Captured-s.Refunded, currency)
		if err := out.Write(row); err != nil {
			return err
		}
	}
	t.day, t.sums = day, map[string]ledger.Revenue{}
	return nil
}

// paymentColumns returns the header of the payments' export.
func paymentColumns() []string {
	return []string{
		"record", "day", "time", "reference", "session", "payment intent",
		"device", "device name", "plan", "card",
		"currency", "amount", "sold", "given back", "net",
		"money", "machine", "reason", "needs attention",
	}
}

// paymentsCSV exports all payments that a search finds, newest first. Each day ends with its totals
// by currency. A refund counts on the day of its payment.
func (c *Console) paymentsCSV(w http.ResponseWriter, r *http.Request) error {
	query, problem := readSearch(c.langOf(r), r.URL.Query(), c.named, c.Zone, c.Ledger.Now())
	if problem != "" {
		return c.problem(w, r, http.StatusBadRequest, problem)
	}
	if query.Email != "" {
		return c.problem(w, r, http.StatusBadRequest,
			"A search by e-mail address cannot be exported, because Stripe is asked for it.")
	}
	search := query.Search
	search.MaxScan, search.Limit = ledger.MaxScan, exportBatch
	list, next, err := c.Ledger.Payments(r.Context(), search) // before the answer begins, so that it can be an error
	if errors.Is(err, ledger.ErrCursor) {
		return c.problem(w, r, http.StatusBadRequest, "This page of the list does not exist.")
	}
	if err != nil {
		return err
	}
	out, err := startCSV(w, "payments.csv", paymentColumns()...)
	totals := dayTotals{}
	for ; err == nil; list, next, err = c.Ledger.Payments(r.Context(), search) {
		for _, p := range list {
			at := p.CreatedAt.In(c.Zone)
			day := at.Format(dayLayout)
			if day != totals.day {
				if err := totals.write(out, day); err != nil {
					return err
				}
			}
			totals.add(p)
			err := out.Write([]string{
				"payment", day, at.Format(time.RFC3339), p.ID, p.SessionID, p.PaymentIntent,
				p.DeviceUID, p.DeviceName, p.Plan, p.CardLast4,
				strings.ToUpper(p.Currency), web.Figure(p.Amount, p.Currency),
				web.Figure(p.Captured(), p.Currency), web.Figure(p.Refunded(), p.Currency),
				web.Figure(p.Captured()-p.Refunded(), p.Currency),
				string(p.Funds), string(p.Delivery), p.Reason, p.ReviewReason,
			})
			if err != nil {
				return err
			}
		}
		if search.Cursor = next; next == "" {
			break
		}
	}
	if err == nil {
		err = totals.write(out, "")
	}
	return errors.Join(err, out.Flush())
}

// auditCSV exports the audit log, newest first.
func (c *Console) auditCSV(w http.ResponseWriter, r *http.Request) error {
	filter := auditFilterOf(r.URL.Query())
	list, next, err := c.audits(r.Context(), filter, exportBatch, "")
	if err != nil {
		return err
	}
	out, err := startCSV(w, "audit.csv",
		"time", "who", "what", "subject", "why", "before", "after", "amount", "currency")
	for ; err == nil; list, next, err = c.audits(r.Context(), filter, exportBatch, next) {
		for _, a := range list {
			amount := ""
			if a.Amount > 0 {
				amount = web.Figure(a.Amount, a.Currency)
			}
			cells := []string{
				a.At.In(c.Zone).Format(time.RFC3339), a.Who, a.What, a.Subject, a.Why, a.Before, a.After,
				amount, strings.ToUpper(a.Currency),
			}
			if err := out.Write(cells); err != nil {
				return err
			}
		}
		if next == "" {
			break
		}
	}
	return errors.Join(err, out.Flush())
}
