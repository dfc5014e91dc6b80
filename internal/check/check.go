// Package check finds out whether the settings will do before a customer does, and sets up at
// Stripe what is missing there.
//
// Run promises one result for each thing that is known to go wrong, named by the problem, with what
// it saw and what mends it; that it changes nothing at the vendors or in the ledger, where a bridge
// may be at work meanwhile; and that no result holds a secret. Setup promises to make nothing
// twice. What neither knows: whether a machine starts, which only a payment shows, and whether the
// webhook's secret is the right one, which Stripe tells nobody.
package check

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/stripe/stripe-go/v82"

	"notepay/internal/config"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/upstream"
	"notepay/internal/vendortime"
)

// State is what a check came to.
type State string

// The states of a check. Only Failed keeps machines from being sold or started.
const (
	OK      State = "ok"
	Failed  State = "failed"
	Warned  State = "warned"  // it works, and will surprise somebody
	Skipped State = "skipped" // it could not be looked at, or does not apply
)

// Result is one check.
type Result struct {
	Name   string // the subject of the check
	State  State
	Detail string // what was seen, on one line
	Remedy string // how to fix the problem; "" if there is none
}

// Config is what Run needs. Only Report may be nil.
type Config struct {
	Settings *config.Settings
	Stripe   *stripe.Client
	Plan     func(ctx context.Context, priceID string) (payment.Offer, error) // reads a price as the bridge does
	Notehub  Notehub
	Clock    *vendortime.Clock // has to see the vendors' answers
	Public   *http.Client      // asks PUBLIC_URL, and follows no redirect
	Disk     func(path string) (network string, err error)
	Space    func(path string) (ledger.Space, error) // the room on the disk
	Report   func(Result)                            // told of each result as it is found

	Suspicious []string // lines and names among the settings that are probably mistakes
}

// Notehub is what the checks ask of Notehub. Each method makes one attempt and returns a
// *upstream.Error if it fails.
type Notehub interface {
	// SignIn gets a token.
	SignIn(ctx context.Context) error
	// Read reads a path below the project, with its query, into what into points to.
	Read(ctx context.Context, path, query string, into any) error
	// Devices lists the devices to sell on.
	Devices(ctx context.Context) ([]ledger.Device, error)
	// ProjectVariables, FleetVariables (by fleet) and DeviceVariables read environment variables,
	// their names in small letters.
	ProjectVariables(ctx context.Context) (map[string]string, error)
	FleetVariables(ctx context.Context) (map[string]map[string]string, error)
	DeviceVariables(ctx context.Context, uid string) (map[string]string, error)
}

// longest bounds a run. Notehub's free plan may make its half a dozen calls wait for a minute.
const longest = 5 * time.Minute

// run is one run of the checks. Later ones know what the earlier ones saw.
type run struct {
	Config
	badlyCopied  []string // settings
	stripeWorks  bool     // the key does
	prices       map[string]*price
	endpoint     *stripe.WebhookEndpoint // ours; nil if it was not found
	notehubWorks bool                    // we are signed in
	projectErr   error                   // of reading the project
	devices      []ledger.Device
	secure       Result // of the certificate, seen when PUBLIC_URL was asked
}

func ok(format string, args ...any) Result {
	return Result{State: OK, Detail: fmt.Sprintf(format, args...)}
}

func skipped(format string, args ...any) Result {
	return Result{State: Skipped, Detail: fmt.Sprintf(format, args...)}
}

func failed(remedy, format string, args ...any) Result {
	return Result{State: Failed, Remedy: remedy, Detail: fmt.Sprintf(format, args...)}
}

func warned(remedy, format string, args ...any) Result {
	return Result{State: Warned, Remedy: remedy, Detail: fmt.Sprintf(format, args...)}
}

// Run makes all checks, one after the other, and returns what they came to in the same order every
// time.
func Run(ctx context.Context, c Config) []Result {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	r := &run{Config: c, prices: map[string]*price{}}
	var results []Result
	for _, check := range []struct {
		name string
		do   func(context.Context) Result
	}{
		{"Setting names", r.unknownSettings},
		{"Secret format", r.copied},
		{"Stripe connection", r.stripeKey},
		{"Stripe key permissions", r.permissions},
		{"Test and live mode", r.modes},
		{"Default price", r.defaultPrices},
		{"Webhook secret", r.webhookSecret},
		{"Webhook delivery", r.webhook},
		{"Webhook API version", r.webhookVersion},
		{"Notehub sign-in", r.signIn},
		{"Notehub project", r.project},
		{"Notehub devices", r.listDevices},
		{"Device connections", r.sessions},
		{"Notehub variables", r.variables},
		{"Confirmation route", r.routed},
		{"Ledger access", r.ledger},
		{"Ledger disk", r.disk},
		{"Disk space", r.space},
		{"Clock", r.clock},
		{"Public address", r.public},
		{"Certificate", r.certificate},
		{"Operator token", r.operator},
	} {
		found := check.do(ctx)
		found.Name, found.Detail = check.name, oneLine(found.Detail)
		results = append(results, found)
		if c.Report != nil {
			c.Report(found)
		}
	}
	return results
}

// oneLine is a vendor's words on one line.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// status is the HTTP status of a call's reply, 0 if there was none.
func status(err error) int {
	if e, ok := errors.AsType[*upstream.Error](err); ok {
		return e.Status
	}
	if e, ok := errors.AsType[*stripe.Error](err); ok {
		return e.HTTPStatusCode
	}
	return 0
}

// words is what a vendor said, or why it could not be asked.
func words(err error) string {
	if e, ok := errors.AsType[*stripe.Error](err); ok && e.Msg != "" {
		return e.Msg
	}
	if e, ok := errors.AsType[*upstream.Error](err); ok {
		switch {
		case e.Detail != "":
			return e.Detail
		case e.Err != nil:
			return e.Err.Error()
		}
	}
	return err.Error()
}

// patiently asks once more where a vendor only asks to slow down. The vendor's pace makes the next
// attempt wait.
func patiently(ctx context.Context, ask func() error) error {
	for {
		if err := ask(); upstream.OutcomeOf(err) != upstream.RateLimited || ctx.Err() != nil {
			return err
		}
	}
}
