package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"notepay/internal/config"
	"notepay/internal/ledger"
	"notepay/internal/message"
	"notepay/internal/problem"
	"notepay/internal/upstream"
)

// Identity returns what an instance with these settings tells the others of itself. Secrets are only
// told as digests.
func Identity(s *config.Settings) ledger.Identity {
	mode := "test"
	if s.Livemode() {
		mode = "live"
	}
	var settings []string
	for _, v := range []struct{ name, value string }{
		{"CREDIT_LIFETIME", fmt.Sprint(s.CreditLifetime)},
		{"CONFIRM_WITHIN", fmt.Sprint(s.ConfirmWithin)},
		{"CAPTURE", fmt.Sprint(s.CaptureOnStart())},
		{"CHECKOUT", fmt.Sprint(s.PerPurchase())},
		{"STRIPE_PRICE_ID", strings.Join(s.PriceIDs(), ",")},
		{"STRIPE_SECRET_KEY", string(s.StripeSecretKey)},
		{"NOTEHUB_FLEET_UID", s.NotehubFleetUID},
		{"NOTEHUB_REQUESTS_PER_MINUTE", fmt.Sprint(s.NotehubPerMinute)},
		{"NOTE_FILE", s.NoteFile},
		{"ACK_FILE", s.AckFile},
		{"NOTE_SIGN_KEY", string(s.NoteKey())},
		{"ENCRYPT_NOTES", fmt.Sprint(s.EncryptNotes)},
		{"OFFLINE_AFTER", fmt.Sprint(s.OfflineAfter)},
		{"OPERATOR_TOKEN", string(s.OperatorToken)},
		{"PUBLIC_URL", s.PublicURL},
		{"TZ", s.Zone().String()},
		{"CHECKOUT_LANGUAGE", s.CheckoutLanguage},
		{"PROMOTION_CODES", fmt.Sprint(s.TakesPromotionCodes())},
		{"ALERT_URLS", string(s.AlertURLs)},
		{"ALERT_WEBHOOK_SECRET", string(s.AlertWebhookSecret)},
	} {
		sum := sha256.Sum256([]byte(v.name + "=" + v.value))
		settings = append(settings, v.name+"="+hex.EncodeToString(sum[:6]))
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return ledger.Identity{
		Name:     host + " " + s.Address(),
		Livemode: mode,
		Project:  s.NotehubProjectUID,
		Settings: strings.Join(settings, " "),
	}
}

// differing returns the names of the settings that differ.
func differing(a, b string) (names []string) {
	ours := strings.Fields(a)
	for _, theirs := range strings.Fields(b) {
		name, _, _ := strings.Cut(theirs, "=")
		known := slices.ContainsFunc(ours, func(s string) bool { return strings.HasPrefix(s, name+"=") })
		if known && !slices.Contains(ours, theirs) {
			names = append(names, name)
		}
	}
	return names
}

// differences returns a text for each instance whose settings differ from ours: its name and theirs.
func differences(ours string, instances []ledger.Peer) (list []string) {
	for _, p := range instances {
		if names := differing(ours, p.Settings); len(names) > 0 {
			list = append(list, p.Name+": "+strings.Join(names, ", "))
		}
	}
	return list
}

// otherSettings returns how many instances work on the ledger of these settings, and the differences
// between the settings.
func otherSettings(ctx context.Context, s *config.Settings) (instances int, differ []string, err error) {
	list, err := ledger.Instances(ctx, string(s.DatabaseURL))
	return len(list), differences(Identity(s).Settings, list), err
}

// weakness decides whether this instance is weak: it fails to reach a vendor for long, so another one
// should lead.
type weakness struct {
	led     bool
	failing time.Time // since when a vendor does not answer; zero: all do
	until   time.Time
}

const (
	// weakAfter is how long a leader must fail to reach a vendor until it is weak.
	weakAfter = time.Minute
	// weakTime is how long an instance stays weak that makes no calls any more. If no instance reaches
	// the vendors, the lead changes that seldom.
	weakTime = time.Hour
)

// update reports whether the instance is weak now. failing tells whether a vendor does not answer.
func (w *weakness) update(now time.Time, leads, failing bool) bool {
	began := leads && !w.led // what it knows of the vendors may be old
	w.led = leads
	switch {
	case !failing:
		w.failing, w.until = time.Time{}, time.Time{}
	case w.failing.IsZero() || began:
		w.failing = now
	case leads && now.Sub(w.failing) >= weakAfter:
		w.until = now.Add(weakTime)
	}
	return now.Before(w.until)
}

// unreachable reports whether a vendor does not answer.
func (a *App) unreachable() bool {
	for _, l := range a.limiters {
		if l.Unreachable() != "" {
			return true
		}
	}
	return false
}

// shareLimits gives this process its part of the vendors' limits. It reports whether the process has
// none of one of them yet, so another instance should lead.
func (a *App) shareLimits() (idle bool) {
	number, n := a.Ledger.Share()
	for _, l := range a.limiters {
		l.Divide(number, n)
		calls, limited := l.PerMinute()
		idle = idle || limited && calls == 0
	}
	return idle
}

// joinLimits prepares Notehub's limit for what earlier and other processes may have used of it.
func (a *App) joinLimits(l *upstream.Limiter) {
	if a.Ledger.Joined() {
		l.Join()
		return
	}
	// The ledger records only the device listings among the calls of an earlier process. A process
	// that listed the devices within the last minute had just started, and may have used up the
	// limit, as in a crash loop. The few other calls for payments may count twice. Notehub's
	// Retry-After then holds.
	l.Earlier(a.Fleet.Observed())
}

// watchInstances shares the vendors' limits with the instances that are alive, and raises a problem
// while their settings differ, until ctx ends. It leaves the lead to another one while it does not
// reach the vendors, or has no part of a limit.
func (a *App) watchInstances(ctx context.Context) {
	if !a.Ledger.Shared() {
		return
	}
	known, polls, weak, idle := 0, false, false, false
	var reach weakness
	for {
		if a.Ledger.Polls() && !polls {
			polls = true
			a.log.Warn("database notifications do not arrive, as behind a transaction pooler: polling every second")
		}
		peers := a.Ledger.Peers()
		if len(peers) != known {
			known = len(peers)
			a.log.Info("instances changed", "others", known, "leads", a.Ledger.Leads())
		}
		waited := idle
		if idle = a.shareLimits(); idle && !waited {
			a.log.Info("no part of a rate limit yet: other instances make the calls", "others", known)
		}
		a.differ(differences(a.settings, peers))
		before := weak
		weak = reach.update(time.Now(), a.Ledger.Leads(), a.unreachable())
		if a.Ledger.Weak(weak || idle); weak && !before {
			a.log.Warn("vendors not reached, leaving the lead to another instance", "others", known)
		}
		if upstream.Sleep(ctx, time.Second) != nil {
			return
		}
	}
}

// differ raises or clears the problem of settings that differ.
func (a *App) differ(list []string) {
	if len(list) == 0 {
		a.Problems.Clear(problem.Instances)
		return
	}
	text := message.New("Other instances of notepay on the same ledger have other settings (%s). "+
		"Give all instances the same ones.", strings.Join(list, "; "))
	if a.Problems.Raise(problem.Problem{Code: problem.Instances, Text: text}) {
		a.log.Warn("settings of instances differ", "settings", list)
	}
}

// follow applies what other instances did.
func (a *App) follow(ctx context.Context, changes []ledger.Change) error {
	err := a.Fleet.Follow(ctx, changes)
	if err != nil && ctx.Err() == nil {
		a.log.Error("other instances not followed", "err", err)
	}
	a.Bridge.Follow(ctx, changes)
	for _, c := range changes {
		if c.Kind == ledger.Missed {
			err = errors.Join(err, a.loadHolds(ctx))
		}
		words := c.Cut()
		if c.Kind != ledger.ChangedHold || len(words) != 2 {
			continue
		}
		ms, err := strconv.ParseInt(words[1], 10, 64)
		if l := a.limiters[words[0]]; l != nil && err == nil {
			l.Hold(time.Now().Add(time.UnixMilli(ms).Sub(a.Ledger.Now())))
		}
	}
	return err
}
