package app

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"notepay/internal/alert"
	"notepay/internal/config"
	"notepay/internal/ledger"
	"notepay/internal/notify"
	"notepay/internal/payment"
	"notepay/internal/problem"
	"notepay/internal/upstream"
	"notepay/internal/web"
	"notepay/internal/web/console"
)

// maxAlarming is how many items of a kind alerts count. More only say "1000 or more".
const maxAlarming = 1000

// disputeSoon is how long before its deadline a dispute is reported again.
const disputeSoon = 48 * time.Hour

// openAlerts prepares the alerts, if anyone gets them.
func (a *App) openAlerts(s *config.Settings) {
	targets := s.AlertTargets()
	if len(targets) == 0 {
		return
	}
	w := &alarms{a, s.Zone()}
	a.alerts = alert.New(alert.Config{
		Targets:  targets,
		Sender:   notify.NewSender(nil),
		Ledger:   a.Ledger,
		Name:     s.AlertName(),
		Link:     s.PublicURL,
		Problems: a.Problems,
		Log:      a.log,
		Look:     w.look,
		Digest:   w.digest,
		DigestAt: s.DigestAt,
	})
}

// AlertTest returns a function that sends a test alert to each recipient, and returns their errors.
func AlertTest(s *config.Settings) func(context.Context) []error {
	return func(ctx context.Context) []error {
		return alert.SendTest(ctx, notify.NewSender(nil), s.AlertTargets(), s.AlertName(), s.PublicURL)
	}
}

// shownAlerts returns the alerts for the console, nil if ALERT_URLS is not set.
func (a *App) shownAlerts() console.Alerts {
	if a.alerts == nil {
		return nil
	}
	return a.alerts
}

// tellsOperator reports whether an alert can be sent: there is a recipient, and the last attempt to one
// did not fail.
func (a *App) tellsOperator() bool {
	if a.alerts == nil {
		return false
	}
	return slices.ContainsFunc(a.alerts.Status(), func(s alert.Status) bool { return s.Err == "" })
}

// alarms reads from the ledger and the list of problems what alerts tell. It detects nothing itself.
type alarms struct {
	*App
	zone *time.Location
}

// look implements alert.Config.Look.
func (a *alarms) look(ctx context.Context) (items []alert.Item, err error) {
	for _, p := range a.problemList.List() {
		// The detail has vendors' and paths' own words, which are for the console alone.
		items = append(items, alert.Item{Kind: kindOfProblem(p.Code), Key: p.Code, Text: p.Text.String()})
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	for _, read := range []func(context.Context) ([]alert.Item, error){
		a.disputes, a.payments, a.lookups, a.reports, a.machines,
	} {
		some, readErr := read(ctx)
		if readErr != nil {
			return items, errors.Join(err, readErr)
		}
		items = append(items, some...)
	}
	return items, nil
}

// kindOfProblem returns the kind of alert about a problem of the list.
func kindOfProblem(code string) alert.Kind {
	switch code {
	case problem.Storage, problem.Ledger, problem.DiskFull, problem.LogGrowing:
		return alert.Storage
	case problem.StripeDown, problem.NotehubDown, problem.EventsStuck, problem.ListingFailed, problem.NotListed,
		problem.ListOutdated:
		return alert.Vendors
	case problem.Backup, problem.Certificate:
		return alert.Upkeep
	}
	return alert.Service
}

// kindOfReview returns the kind of alert about a payment that needs attention.
func kindOfReview(reason string) alert.Kind {
	switch reason {
	case payment.ReviewRefundFailed, payment.ReviewRefundRefused, payment.ReviewBalance, payment.ReviewReleaseRefused:
		return alert.Refunds
	case payment.ReasonDisputed:
		return alert.Disputes
	}
	return alert.Payments
}

// about returns the beginning of a line about a payment.
func (a *alarms) about(p ledger.Alarming) string {
	return fmt.Sprintf("%s, %s, %s: ", shortName(p.DeviceName, p.DeviceUID), web.Amount(p.Amount, p.Currency),
		p.At.In(a.zone).Format("2 Jan 15:04"))
}

// maxName is how much of a machine's name a line holds, in characters. Services reject long
// messages, and an alert that is rejected would never arrive.
const maxName = 80

// shortName returns the name of a machine as alerts call it.
func shortName(name, uid string) string { return upstream.Cut(web.MachineName(name, uid), maxName) }

func paymentPage(id string) string { return "/operator/payments/" + url.PathEscape(id) }

// payments returns the payments that need attention. One whose dispute waits for an answer is reported by
// disputes.
func (a *alarms) payments(ctx context.Context) (items []alert.Item, err error) {
	list, err := a.Ledger.PaymentsToReview(ctx, maxAlarming)
	for _, p := range list {
		if kindOfReview(p.Reason) == alert.Disputes {
			continue
		}
		items = append(items, alert.Item{
			Kind: kindOfReview(p.Reason),
			Key:  p.ID + " " + p.Reason,
			Text: a.about(p) + console.AttentionWords(p.Reason),
			Page: paymentPage(p.ID),
		})
	}
	return items, err
}

// disputes returns the disputes that wait for an answer. Near the deadline the key changes, so that
// the dispute is reported again.
func (a *alarms) disputes(ctx context.Context) (items []alert.Item, err error) {
	list, err := a.Ledger.DisputesToAnswer(ctx, maxAlarming)
	for _, d := range list {
		text := a.about(d) + "the customer's bank demands the money back."
		if strings.HasPrefix(d.Reason, "warning_") {
			text = a.about(d) + "the customer's bank asks about the payment."
		}
		key := d.Dispute
		switch {
		case d.Due.IsZero():
			text += " Answer in Stripe's Dashboard before its deadline."
		case d.Due.Sub(a.Ledger.Now()) < disputeSoon:
			key += " soon"
			fallthrough
		default:
			text += " Answer in Stripe's Dashboard by " + d.Due.In(a.zone).Format("2 Jan 2006 15:04") + "."
		}
		items = append(items, alert.Item{Kind: alert.Disputes, Key: key, Text: text, Page: paymentPage(d.ID)})
	}
	return items, err
}

// lookups returns the payments that notepay could not read from Stripe.
func (a *alarms) lookups(ctx context.Context) (items []alert.Item, err error) {
	list, err := a.Ledger.LateLookups(ctx, a.Ledger.Now().Add(-console.LateLookup), maxAlarming)
	for _, l := range list {
		items = append(items, alert.Item{
			Kind: alert.Payments,
			Key:  l.ID,
			Text: "notepay could not ask Stripe about " + l.ID + ". It keeps trying.",
		})
	}
	return items, err
}

// reports returns what customers reported. Their own words stay in the console, because alerts pass
// through other services.
func (a *alarms) reports(ctx context.Context) (items []alert.Item, err error) {
	list, err := a.Ledger.ReportedPayments(ctx, maxAlarming)
	for _, r := range list {
		items = append(items, alert.Item{
			Kind: alert.Reports,
			Key:  fmt.Sprintf("%s %d", r.ID, r.At.UnixMilli()),
			Text: a.about(r) + console.ReportWords(r.Reason) + ".",
			Page: paymentPage(r.ID),
		})
	}
	return items, err
}

// machines returns the machines that notepay paused or that say that they are out of order. A pause by
// the operator is no news to the operator.
func (a *alarms) machines(ctx context.Context) (items []alert.Item, err error) {
	add := func(uid, text string) {
		d := a.Fleet.Device(uid)
		if d == nil {
			return // removed
		}
		items = append(items, alert.Item{
			Kind: alert.Machines,
			Key:  uid,
			Text: shortName(d.Name, uid) + ": " + text,
			Page: "/operator/devices?q=" + url.QueryEscape(uid),
		})
	}
	pauses, err := a.Ledger.Pauses(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range pauses {
		if p.Automatic {
			add(p.DeviceUID, "paused. "+strings.TrimSuffix(p.Reason, ".")+".")
		}
	}
	out, err := a.Ledger.MachinesOut(ctx)
	for _, m := range out {
		text := "the machine says that it is out of order."
		if m.Code != "" {
			text = "the machine says that it is out of order (" + m.Code + ")."
		}
		add(m.DeviceUID, text)
	}
	return items, err
}

// digest implements alert.Config.Digest.
func (a *alarms) digest(ctx context.Context, from, to time.Time) (string, error) {
	revenue, err := a.Ledger.Revenue(ctx, from, to)
	if err != nil {
		return "", err
	}
	stats, err := a.Ledger.Stats(ctx)
	if err != nil {
		return "", err
	}
	var lines []string
	for _, r := range revenue {
		line := fmt.Sprintf("Payments: %d, sales: %s", r.Payments, web.Amount(r.Captured, r.Currency))
		if r.Refunded > 0 {
			line += ", refunds: " + web.Amount(r.Refunded, r.Currency)
		}
		lines = append(lines, line)
	}
	if len(revenue) == 0 {
		lines = append(lines, "No sales.")
	}
	if words := console.MachineWords(a.Fleet.States()); words != "" {
		lines = append(lines, "Machines: "+words)
	}
	if stats.NeedsAttention > 0 {
		lines = append(lines, fmt.Sprintf("Payments that need attention: %d", stats.NeedsAttention))
	} else {
		lines = append(lines, "No payment needs attention.")
	}
	for _, p := range a.problemList.List() {
		lines = append(lines, "Problem: "+p.Text.String())
	}
	return strings.Join(lines, "\n"), nil
}
