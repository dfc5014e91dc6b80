package customer

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/time/rate"

	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/ratelimit"
	"notepay/internal/web"
)

const (
	// reportDelay is how long after the payment a start counts as due.
	reportDelay = 30 * time.Second
	// reportPeriod is how long a payment can be reported after its end.
	reportPeriod = 24 * time.Hour
	// maxReportWords is the maximum length of the customer's sentence, in characters.
	maxReportWords = 200
	// reportsInTotal and reportsInterval limit the reports of all customers together.
	reportsInTotal, reportsInterval = 30, 10 * time.Second
)

// reportReasons returns the reasons of a report by their keys of the catalogs, in the order of the
// form. The form and the ledger leave out reasonPrefix.
func reportReasons(p payment.Payment) []string {
	list := []string{"report.not_started", "report.stopped", "report.other"}
	if p.NeedsAccessCode {
		list = slices.Insert(list, 1, "report.code")
	}
	return list
}

const reasonPrefix = "report."

// reportable reports whether a customer can report that a payment did not work: its start is due, and
// it is not known to have failed.
func reportable(p payment.Payment, now time.Time) bool {
	last := payment.Later(p.DeliveryAt, p.EndsAt)
	switch p.Delivery {
	case payment.Queued, payment.Sent, payment.Fetched:
		return !now.Before(p.PaidAt.Add(reportDelay)) && now.Before(payment.Later(last, p.PaidAt).Add(reportPeriod))
	case payment.Started:
		begun := !now.Before(p.StartedAt.Add(p.DelayedStart))
		return begun && now.Before(payment.Later(last, p.StartedAt).Add(reportPeriod))
	case payment.Done:
		return now.Before(last.Add(reportPeriod))
	case payment.Failed:
		return payment.Doubtful(p) && now.Before(last.Add(reportPeriod))
	}
	return false
}

func reportPage(p payment.Payment) string { return livePage(p) + "/report" }

// reportForm is the data of the template "report".
type reportForm struct {
	Known   []lineView // what is known about the payment
	Reasons []reportChoice
	Action  string
	Back    string
	Problem string
	Max     int
}

type reportChoice struct{ Value, Label string }

// Report serves the form with which a customer reports that the machine did not start. The machine is
// checked again at once.
func (c *Handler) Report(w http.ResponseWriter, r *http.Request) error {
	p, err := c.paymentOfToken(r)
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return c.notFound(w, r, "payment.unknown.open")
	case err != nil:
		return err
	case !reportable(p, c.now()):
		return c.toLivePage(w, r, p, "")
	}
	if c.Check != nil {
		c.Check(p)
	}
	return c.reportForm(w, r, p, http.StatusOK, Message{}, 0)
}

func (c *Handler) reportForm(
	w http.ResponseWriter,
	r *http.Request,
	p payment.Payment,
	status int,
	problem Message,
	wait time.Duration,
) error {
	l := languageOf(r)
	s := statusOf(p, c.now(), c.zone())
	s.ofDevice(c.known(p.DeviceUID))
	form := reportForm{
		Known:   []lineView{{Before: l.Translate(s.Title) + "."}},
		Action:  reportPage(p),
		Back:    livePage(p),
		Problem: l.Translate(problem),
		Max:     maxReportWords,
	}
	for _, m := range s.Lines {
		if !strings.HasPrefix(m.Key, "next.") {
			form.Known = append(form.Known, lineOf(l, m))
		}
	}
	for _, key := range reportReasons(p) {
		form.Reasons = append(form.Reasons, reportChoice{strings.TrimPrefix(key, reasonPrefix), l.T(key)})
	}
	return c.Render(w, r, Page{
		Status:     status,
		Title:      msg("report.title"),
		Machine:    web.MachineName(p.DeviceName, p.DeviceUID),
		Template:   "report",
		RetryAfter: wait,
		livemode:   p.Livemode,
		data:       form,
	})
}

// SendReport stores a customer's report.
func (c *Handler) SendReport(w http.ResponseWriter, r *http.Request) error {
	web.LimitForm(w, r)
	p, err := c.paymentOfToken(r)
	if errors.Is(err, ledger.ErrNotFound) {
		return c.notFound(w, r, "payment.unknown.open")
	}
	if err != nil {
		return err
	}
	if !reportable(p, c.now()) {
		return c.toLivePage(w, r, p, "")
	}
	if err := r.ParseForm(); err != nil || !slices.Contains(reportReasons(p), reasonPrefix+r.PostForm.Get("reason")) {
		return c.reportForm(w, r, p, http.StatusBadRequest, msg("report.choose"), 0)
	}
	if wait := ratelimit.Take(c.limits().reports, c.now()); wait > 0 {
		return c.reportForm(w, r, p, http.StatusTooManyRequests, msg("report.often"), wait)
	}
	report := ledger.Report{PaymentID: p.ID, Reason: r.PostForm.Get("reason"), Words: oneLine(r.PostForm.Get("words"))}
	ctx, cancel := context.WithTimeout(r.Context(), web.ReadTimeout)
	defer cancel()
	err = c.Ledger.Update(ctx, func(tx *ledger.Tx) error { return tx.AddReport(report) })
	if errors.Is(err, ledger.ErrTooManyReports) {
		return c.reportForm(w, r, p, http.StatusTooManyRequests, msg("report.enough"), ledger.ReportInterval)
	}
	if err != nil {
		return err
	}
	c.Log.Info("payment reported by customer", "payment", p.ID, "device", p.DeviceUID, "reason", report.Reason)
	c.Live.Changed(p)
	return c.toLivePage(w, r, p, "?reported=1")
}

func (c *Handler) toLivePage(w http.ResponseWriter, r *http.Request, p payment.Payment, query string) error {
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, c.pageOf(p)+query, http.StatusSeeOther)
	return nil
}

// oneLine returns a customer's words without control characters, on one line and cut to
// maxReportWords.
func oneLine(given string) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r), r == unicode.ReplacementChar:
			return -1
		}
		return r
	}, strings.ToValidUTF8(given, ""))
	words := []rune(strings.Join(strings.Fields(clean), " "))
	return strings.TrimSpace(string(words[:min(len(words), maxReportWords)]))
}

func newReports() *rate.Limiter { return rate.NewLimiter(rate.Every(reportsInterval), reportsInTotal) }
