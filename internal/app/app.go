package app

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"notepay/internal/bodies"
	"notepay/internal/bridge"
	"notepay/internal/checkout"
	"notepay/internal/config"
	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/metrics"
	"notepay/internal/notehub"
	"notepay/internal/payment"
	"notepay/internal/problem"
	"notepay/internal/recording"
	"notepay/internal/stripeapi"
	"notepay/internal/upstream"
	"notepay/internal/vendortime"
	"notepay/internal/web"
	"notepay/internal/web/api"
	"notepay/internal/web/console"
	"notepay/internal/web/customer"
)

const (
	linksPerSecond = 23 // link creations; Stripe allows 25 a second at one endpoint (docs/vendors.md)
	linksAtOnce    = 2  // makes up for a slot that was taken late, and is still no more than 25 in any second

	ReadHeaderLimit = 5 * time.Second
	ReadLimit       = 30 * time.Second
	IdleLimit       = 2 * time.Minute
	maxHeaderBytes  = 32 << 10
)

// Config is what a Server is made of. assemble changes the clients, so that their calls are
// counted.
type Config struct {
	Settings *config.Settings
	Ledger   *ledger.Ledger
	Notehub  *notehub.Client
	Stripe   *stripeapi.Client
	Log      *slog.Logger
	Version  string // of notepay, for /health and the metrics
}

// New puts the parts together. Nothing works yet, and the fleet is what the ledger remembers.
func New(ctx context.Context, c Config) (*App, error) {
	s, l, hub, stripeAPI0, log := c.Settings, c.Ledger, c.Notehub, c.Stripe, c.Log
	returnURL := ""
	if s.PublicURL != "" {
		returnURL = stripeapi.SuccessURL(s.PublicURL)
	}
	var devices *fleet.Fleet
	problems := &problem.Board{}
	checks := checker(s, hub, stripeAPI0) // not among the calls that are counted
	metrics := metrics.NewMetrics(c.Version, l.Stats, func() (int, int, time.Time) { return devices.Counts() })
	clock := l.Clock()
	stripeAPI0.Http.Transport = metrics.Calls("stripe", clock.Watch(vendortime.Stripe, stripeAPI0.Http.Transport))
	hub.Http.Transport = metrics.Calls("notehub", clock.Watch(vendortime.Notehub, hub.Http.Transport))
	stripeAPI0.Odd = func(source string, records []string) {
		if problems.Odd(source, records...) && len(records) > 0 {
			log.Warn("unreadable records skipped", "source", source, "records", records)
		}
	}
	hub.Odd, hub.Counted = notehub.NewOddRecords(problems, log, metrics.OddRecord), metrics.Confirmation
	devices, err := fleet.New(ctx, fleet.Config{
		Ledger:           l,
		Notehub:          hub,
		Stripe:           countedLinks{stripeAPI0, metrics},
		Log:              log,
		PriceIDs:         s.PriceIDs(),
		ReturnURL:        returnURL,
		Livemode:         s.Livemode(),
		Interval:         s.RefreshInterval,
		LinkLimiter:      upstream.NewLimiter(linksPerSecond*60, linksAtOnce),
		OfflineAfter:     s.OfflineAfter,
		ManualCapture:    s.CaptureOnStart(),
		Sessions:         s.PerPurchase(),
		Problems:         problems,
		NotehubLimiter:   hub.Limiter,
		NotehubPerMinute: s.NotehubPerMinute,
		Rules:            s.Terms(),
	})
	if err != nil {
		return nil, err
	}
	for _, d := range devices.All() {
		hub.Spelled.Learn(d.UID, d.Spelled)
	}
	// Of what an earlier process asked of Notehub, only the listings are written down. A process
	// that listed the devices within the last minute had just started. It may have used up the
	// limit, as in a loop of crashes. The few calls that another made for payments may count twice.
	// Notehub's Retry-After then holds.
	hub.Limiter.Earlier(devices.Observed())
	live := web.NewHub(l, log)
	changed := live.Changed
	var sessions *checkout.Checkout
	if s.PerPurchase() {
		metrics.ExpectSessions()
		sessions, err = checkout.New(ctx, checkout.Config{
			Ledger:    l,
			Fleet:     devices,
			Stripe:    countedSessions{stripeAPI0, metrics},
			Log:       log,
			PublicURL: s.PublicURL,
			Livemode:  s.Livemode(),
		})
		if err != nil {
			return nil, err
		}
		changed = func(p payment.Payment) { live.Changed(p); sessions.Changed(p) }
	}
	metrics.LivePages, metrics.Now = live.Pages, l.Now
	payments := bridge.New(bridge.Config{
		Ledger:         l,
		Fleet:          devices,
		Notehub:        hub,
		Stripe:         stripeAPI0,
		NotehubLimiter: hub.Limiter,
		StripeLimiter:  stripeAPI0.Limiter,
		Log:            log,
		Project:        s.NotehubProjectUID,
		Livemode:       s.Livemode(),
		Lifetime:       s.CreditLifetime,
		ConfirmWithin:  s.ConfirmWithin,
		ManualCapture:  s.CaptureOnStart(),
		WebhooksOff:    len(s.WebhookSecrets()) == 0,
		Routed:         s.NotehubRouteToken != "",
		ListenEvery:    listenEvery(s),
		PollInterval:   s.PollInterval,
		Observe:        metrics,
		Changed:        changed,
		AskTime:        stripeAPI0.AskTime,
		Problems:       problems,
	})
	customer := &customer.Handler{
		Ledger:   l,
		Session:  payments.Session,
		Watched:  payments.Watched,
		Missing:  payments.Missing,
		Checkout: sessions,
		HTTPS:    strings.HasPrefix(s.PublicURL, "https://"),
		Live:     live,
		Log:      log,
		Brand:    customer.Brand{Name: s.BrandName, Color: s.BrandColor, Contact: s.SupportContact},
		Test:     !s.Livemode(),
		Terms: customer.Terms{
			Lifetime:      s.CreditLifetime,
			LifetimeOf:    devices.Lifetime,
			ConfirmWithin: s.ConfirmWithin,
			ManualCapture: s.CaptureOnStart(),
		},
	}
	server := &App{
		version:     c.Version,
		Problems:    problems,
		recording:   recording.New(l, problems, log),
		Ledger:      l,
		Fleet:       devices,
		Bridge:      payments,
		Webhooks:    s.WebhookSecrets(),
		webhooksOff: len(s.WebhookSecrets()) == 0,
		Customer:    customer,
		checkout:    sessions,
		publicURL:   s.PublicURL,
		Operator: &api.Handler{
			Ledger: l,
			Bridge: payments,
			Fleet:  devices,
			Live:   live,
			Token:  string(s.OperatorToken),
		},
		routeToken: string(s.NotehubRouteToken),
		project:    s.NotehubProjectUID,
		ignored:    hub.Ignored,
		Metrics:    metrics,
		paces:      map[string]*upstream.Limiter{"stripe": stripeAPI0.Limiter, "notehub": hub.Limiter},
		Log:        log,
		complaints: rate.Sometimes{First: 10, Interval: 10 * time.Second},
		Unverified: bodies.New(MaxBody),
	}
	server.wrong = &web.Problems{Board: problems, Limiters: server.paces}
	metrics.Problems = server.wrong.List
	server.Console, err = console.New(console.Config{
		Problems:  server.wrong.List,
		Ledger:    l,
		Bridge:    payments,
		Fleet:     devices,
		Log:       log,
		Token:     string(s.OperatorToken),
		PublicURL: s.PublicURL,
		Support:   s.SupportContact,
		Test:      !s.Livemode(),
		Lifetime:  s.CreditLifetime,
		Zone:      s.Zone(),
		Vitals:    server.vitals,
		Live:      live,
		Check:     checks,
	})
	return server, err
}

// Run does the work of the Server until claims ends, and returns when all of it has ended. Nothing
// new begins after the end of claims. Calls to the vendors under way may go on until calls ends.
// What they result in is still recorded.
func (s *App) Run(claims, calls context.Context) {
	var work sync.WaitGroup
	work.Go(func() { s.recording.Run(claims) })
	work.Go(func() { s.Fleet.Run(claims) })
	work.Go(func() { s.Bridge.Run(claims, calls) })
	work.Go(func() { s.watchLedger(claims) })
	if s.checkout != nil {
		work.Go(func() { s.checkout.Run(claims, calls) })
	}
	work.Wait()
}

// HTTPServer returns a server for the handler, with limits for its clients. Its shutdown ends the
// streams.
func (s *App) HTTPServer(handler http.Handler) *http.Server {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: ReadHeaderLimit,
		ReadTimeout:       ReadLimit,
		IdleTimeout:       IdleLimit,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
	}
	server.RegisterOnShutdown(s.EndStreams)
	return server
}

// EndStreams ends the live pages and event streams, which would never end by themselves.
func (s *App) EndStreams() { s.Customer.Live.End() }

// watchLedger stops sales while the ledger's files are damaged or not in their place.
func (s *App) watchLedger(ctx context.Context) {
	s.Ledger.Watch(ctx, func(err error) {
		if err == nil {
			s.Problems.Clear(problem.Ledger)
			s.Log.Info("ledger restored to its place")
			return
		}
		text := "The ledger's files were deleted, moved or replaced while notepay was running. " +
			"Put them back, or stop notepay and run notepay restore COPY."
		if ledger.Damaged(err) {
			text = "The ledger's file is damaged. Stop notepay and run notepay restore COPY."
		}
		s.Problems.Raise(problem.Problem{Code: problem.Ledger, Text: text, StopsSales: true})
		s.Log.Error("ledger unusable", "err", err)
	})
}

// listenEvery returns how often machines' answers are read while one is awaited. That takes a third
// of the requests that Notehub allows.
func listenEvery(s *config.Settings) time.Duration {
	const usual = 5 * time.Second
	if s.NotehubPerMinute == 0 {
		return usual
	}
	return max(usual, 3*time.Minute/time.Duration(s.NotehubPerMinute))
}

// App answers the outside world. Its fields are set once, before it serves.
type App struct {
	Ledger   *ledger.Ledger
	Fleet    *fleet.Fleet
	Bridge   *bridge.Bridge
	Webhooks stripeapi.WebhookSecrets
	Customer *customer.Handler
	checkout *checkout.Checkout // nil: machines are paid for through their links
	Operator *api.Handler
	Console  *console.Console
	// what Notehub's route sends as its bearer token; "" for no route
	routeToken string
	publicURL  string                  // where customers reach us
	project    string                  // app:..., of whom confirmations are taken
	ignored    func(event, why string) // told of answers that are not applied to any payment
	Metrics    *metrics.Metrics
	paces      map[string]*upstream.Limiter // by vendor, for /health
	wrong      *web.Problems                // the same with the vendors that do not answer, as it is shown
	Problems   *problem.Board               // what is wrong now: /health shows it, and sales may stop
	Log        *slog.Logger
	recording  *recording.Monitor // whether payments can be recorded
	refreshes  refreshGate
	// complaints of bad signatures: anybody can cause them, and the count is in the metrics
	complaints rate.Sometimes
	Unverified *bodies.Budget // of webhooks whose signature was not checked yet

	version     string
	webhooksOff bool
	lastWebhook atomic.Int64 // when the last was accepted, in Unix milliseconds; 0: none since the start
}
