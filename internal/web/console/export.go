package console

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
)

// exportBatch is the number of rows in one read of an export.
const exportBatch = 500

// paymentColumns returns the header of the payments' export.
func paymentColumns() []string {
	return []string{
		"record", "day", "time", "reference", "session", "payment intent",
		"device", "device name", "plan", "card",
		"currency", "amount", "sold", "given back", "net",
		"money", "machine", "reason", "needs attention",
	}
}

// paymentsCSV exports all payments that a search finds, newest first. Each row is one payment, so that
// a sum over a column counts each payment once.
func (c *Console) paymentsCSV(w http.ResponseWriter, r *http.Request) error {
	query, problem := readSearch(c.langOf(r), r.URL.Query(), c.named, c.Zone, c.Ledger.Now())
	semicolon, wrong := csvLayout(r)
	if problem = cmp.Or(problem, wrong); problem != "" {
		return c.problem(w, r, http.StatusBadRequest, problem)
	}
	if query.Email != "" {
		return c.problem(w, r, http.StatusBadRequest,
			"A search by e-mail address cannot be exported, because Stripe is asked for it.")
	}
	search := query.Search
	search.MaxScan, search.Limit = ledger.MaxScan, exportBatch
	list, next, err := c.firstToExport(r.Context(), query.Key, search)
	switch {
	case errors.Is(err, ledger.ErrCursor):
		return c.problem(w, r, http.StatusBadRequest, "This page of the list does not exist.")
	case errors.Is(err, ledger.ErrNotFound):
		return c.problem(w, r, http.StatusNotFound, "No payment has this reference, Checkout Session or PaymentIntent.")
	}
	if err != nil {
		return err
	}
	out, err := startCSV(w, "payments.csv", semicolon, paymentColumns()...)
	for ; err == nil; list, next, err = c.Ledger.Payments(r.Context(), search) {
		for _, p := range list {
			at := p.CreatedAt.In(c.Zone)
			err := out.Write([]string{
				"payment", at.Format(dayLayout), at.Format(time.RFC3339), p.ID, p.SessionID, p.PaymentIntent,
				p.DeviceUID, p.DeviceName, p.Plan, p.CardLast4,
				strings.ToUpper(p.Currency), out.figure(p.Amount, p.Currency),
				out.figure(p.Captured(), p.Currency), out.figure(p.Refunded(), p.Currency),
				out.figure(p.Captured()-p.Refunded(), p.Currency),
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
	return errors.Join(err, out.Flush())
}

// firstToExport returns the first payments of an export, before the answer begins, so that it can
// be an error. A reference finds one payment.
func (c *Console) firstToExport(ctx context.Context, key string, search ledger.Filter) (
	list []payment.Payment, next string, err error,
) {
	if key == "" {
		return c.Ledger.Payments(ctx, search)
	}
	p, err := c.Ledger.Payment(ctx, key)
	return []payment.Payment{p}, "", err
}

// auditCSV exports the audit log, newest first.
func (c *Console) auditCSV(w http.ResponseWriter, r *http.Request) error {
	semicolon, problem := csvLayout(r)
	if problem != "" {
		return c.problem(w, r, http.StatusBadRequest, problem)
	}
	filter := auditFilterOf(r.URL.Query())
	list, next, err := c.audits(r.Context(), filter, exportBatch, "")
	if err != nil {
		return err
	}
	out, err := startCSV(w, "audit.csv", semicolon,
		"time", "who", "what", "subject", "why", "before", "after", "amount", "currency")
	for ; err == nil; list, next, err = c.audits(r.Context(), filter, exportBatch, next) {
		for _, a := range list {
			amount := ""
			if a.Amount > 0 {
				amount = out.figure(a.Amount, a.Currency)
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
