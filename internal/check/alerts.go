package check

import (
	"context"
	"strings"

	"notepay/internal/message"
)

// alerts reports who gets alerts. It sends a test alert only if the operator asked for one.
func (r *run) alerts(ctx context.Context) Result {
	targets := r.Settings.AlertTargets()
	if len(targets) == 0 {
		return warned(
			fix("set ALERT_URLS, for example to ntfy://ntfy.sh/TOPIC for your phone"),
			"ALERT_URLS is not set: you learn of problems only in the console",
		)
	}
	var services []string
	for _, t := range targets {
		services = append(services, t.Service)
	}
	to := strings.Join(services, ", ")
	if r.TestAlert == nil {
		return ok("they go to %s; notepay check --alert sends a test alert", to)
	}
	var failures message.List
	for n, err := range r.TestAlert(ctx) {
		if err != nil {
			failures = append(failures, message.New("number %d: %s", n+1, err))
		}
	}
	if len(failures) > 0 {
		return failed(fix("correct ALERT_URLS"), "%s", failures)
	}
	return ok("a test alert was sent to %s; check that it arrived", to)
}
