// Package check finds mistakes in the settings and at the vendors before a customer does.
//
// It promises one result for each thing that is known to go wrong, with the finding and a remedy.
// It changes nothing at the vendors or in the ledger, so it can run beside a bridge at work. No
// result holds a secret. It does not know whether a machine starts, which only a payment shows. It
// does not know whether the webhook secret is the right one either, because Stripe shows a secret
// only once.
package check

import (
	"context"
	"crypto/ecdh"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/stripe/stripe-go/v82"

	"notepay/internal/config"
	"notepay/internal/ledger"
	"notepay/internal/message"
	"notepay/internal/payment"
	"notepay/internal/upstream"
	"notepay/internal/vendortime"
)

// State is the outcome of a check.
type State string

// The states of a check. Only Failed keeps machines from being sold or started.
const (
	OK      State = "ok"
	Failed  State = "failed"
	Warned  State = "warned"  // it works, but not as the operator may expect
	Skipped State = "skipped" // it could not be checked, or does not apply
)

// Result is the result of one check.
type Result struct {
	Name   string // the subject of the check
	State  State
	Detail message.Message // the finding, on one line
	Remedy message.Message // how to fix the problem; zero if there is none
}

// Config configures Run. Only Report may be nil.
type Config struct {
	Settings *config.Settings
	Stripe   *stripe.Client
	Plan     func(ctx context.Context, priceID string) (payment.Offer, error) // reads a price as the bridge does
	Fees     func(ctx context.Context) error                                  // reads fees as the console does
	Payouts  func(ctx context.Context) error                                  // reads payouts as the console does
	Notehub  Notehub
	Clock    *vendortime.Clock // must see the vendors' replies
	Public   *http.Client      // calls PUBLIC_URL, and follows no redirect
	Lookup   func(ctx context.Context, host string) (addresses []string, err error)
	Disk     func(path string) (network string, err error)
	Space    func(path string) (ledger.Space, error) // the space on the ledger's disk
	// Instances returns how many instances work on the PostgreSQL ledger, and which have other settings.
	Instances func(ctx context.Context) (n int, differ []string, err error)
	Report    func(Result) // called with each result as it is found

	// TestAlert sends a test alert to each recipient of ALERT_URLS, and returns their errors. nil: none is
	// sent.
	TestAlert func(ctx context.Context) []error

	Suspicious []string // lines and names in the settings that are probably mistakes
	Only       []string // the names of the checks to run; nil: all
}

// Notehub is the part of Notehub that the checks use. Each method makes one attempt and returns an
// *upstream.Error if it fails.
type Notehub interface {
	// SignIn fetches a token.
	SignIn(ctx context.Context) error
	// Read decodes the reply at a path below the project into the value that into points to.
	Read(ctx context.Context, path, query string, into any) error
	// Devices lists the devices to sell on.
	Devices(ctx context.Context) ([]ledger.Device, error)
	// ProjectVariables, FleetVariables (by fleet) and DeviceVariables return environment variables
	// with lower-case names. The map of a fleet is nil if its variables cannot be read. If complete is
	// false, fleets may be missing.
	ProjectVariables(ctx context.Context) (map[string]string, error)
	FleetVariables(ctx context.Context) (fleets map[string]map[string]string, complete bool, err error)
	DeviceVariables(ctx context.Context, uid string) (map[string]string, error)
	// PublicKeys lists the public keys of the project's devices by UID.
	PublicKeys(ctx context.Context) (map[string]*ecdh.PublicKey, error)
}

// runTimeout bounds a run. On Notehub's free plan its half a dozen calls may take a minute.
const runTimeout = 5 * time.Minute

// run holds the findings of earlier checks, on which later ones depend.
type run struct {
	Config
	damaged      []string // settings that were not copied correctly
	stripeWorks  bool     // Stripe accepts the key
	prices       map[string]*price
	endpoint     *stripe.WebhookEndpoint // ours; nil if it was not found
	notehubWorks bool                    // Notehub accepts the credentials
	projectErr   error                   // from reading the project
	devices      []ledger.Device
	secure       Result // of the certificate, seen in the call of PUBLIC_URL
	forwarded    Result // of the forwarded address in that call
	local        *probe // the running notepay as this host sees it; nil if none answers
}

func ok(format string, args ...any) Result {
	return Result{State: OK, Detail: message.New(format, args...)}
}

func skipped(format string, args ...any) Result {
	return Result{State: Skipped, Detail: message.New(format, args...)}
}

func failed(remedy message.Message, format string, args ...any) Result {
	return Result{State: Failed, Remedy: remedy, Detail: message.New(format, args...)}
}

func warned(remedy message.Message, format string, args ...any) Result {
	return Result{State: Warned, Remedy: remedy, Detail: message.New(format, args...)}
}

// fix returns a remedy.
func fix(format string, args ...any) message.Message { return message.New(format, args...) }

// Run runs all checks, one after the other, and returns their results in a fixed order.
func Run(ctx context.Context, c Config) []Result {
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	r := &run{Config: c, prices: map[string]*price{}}
	var results []Result
	for _, check := range []struct {
		name string
		do   func(context.Context) Result
	}{
		{"Setting names", r.unknownSettings},
		{"Secret format", r.secretFormat},
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
		{"Device connections", r.connections},
		{"Notefiles", r.noteFiles},
		{"Note encryption", r.noteEncryption},
		{"Notehub variables", r.variables},
		{"Machine confirmations", r.confirmations},
		{"Confirmation route", r.route},
		{"Ledger access", r.ledgerAccess},
		{"Instances", r.instances},
		{"Ledger disk", r.ledgerDisk},
		{"Disk space", r.diskSpace},
		{"Backups", r.backups},
		{"Clock", r.clock},
		{"Domain names", r.domainNames},
		{"Port 80", r.plainPort},
		{"Public address", r.publicAddress},
		{"Certificate", r.certificate},
		{"Proxy headers", r.proxyHeaders},
		{"Operator token", r.operatorToken},
		{"Support contact", r.supportContact},
		{"Alerts", r.alerts},
	} {
		if c.Only != nil && !slices.Contains(c.Only, check.name) {
			continue
		}
		found := check.do(ctx)
		found.Name = check.name
		results = append(results, found)
		if c.Report != nil {
			c.Report(found)
		}
	}
	return results
}

// status returns the HTTP status of a failed call, or 0 if there was no reply.
func status(err error) int {
	if e, ok := errors.AsType[*upstream.Error](err); ok {
		return e.Status
	}
	if e, ok := errors.AsType[*stripe.Error](err); ok {
		return e.HTTPStatusCode
	}
	return 0
}

// Explain returns the vendor's message in err, or the reason why there was no reply.
func Explain(err error) string {
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

// retryLimited repeats a call while the vendor's rate limit rejects it. The client's limiter makes
// the next attempt wait.
func retryLimited(ctx context.Context, call func() error) error {
	for {
		if err := call(); upstream.OutcomeOf(err) != upstream.RateLimited || ctx.Err() != nil {
			return err
		}
	}
}
