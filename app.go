package main

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"notepay/internal/bodies"
	"notepay/internal/bridge"
	"notepay/internal/checkout"
	"notepay/internal/config"
	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/metrics"
	notehubapi "notepay/internal/notehub"
	"notepay/internal/payment"
	"notepay/internal/problem"
	"notepay/internal/recording"
	"notepay/internal/upstream"
	"notepay/internal/vendortime"
	"notepay/internal/web"
	operatorapi "notepay/internal/web/api"
	"notepay/internal/web/console"
	"notepay/internal/web/customer"
)

const (
	linksPerSecond = 23 // link creations; Stripe allows 25 a second at one endpoint (docs/vendors.md)
	linksAtOnce    = 2  // makes up for a slot that was taken late, and is still no more than 25 in any second

	readHeaderLimit = 5 * time.Second
	readLimit       = 30 * time.Second
	idleLimit       = 2 * time.Minute
	maxHeaderBytes  = 32 << 10
)

// appConfig is what a Server is made of. assemble changes the clients, so that their calls are counted.
type appConfig struct {
	Settings *config.Settings
	Ledger   *ledger.Ledger
	Notehub  *notehub
	Stripe   *stripeAPI
	Log      *slog.Logger
	Version  string // of notepay, for /health and the metrics
}

// assemble puts the parts together. Nothing works yet, and the fleet is what the ledger remembers.
func assemble(ctx context.Context, c appConfig) (*Server, error) {
	s, l, hub, api, log := c.Settings, c.Ledger, c.Notehub, c.Stripe, c.Log
	returnURL := ""
	if s.PublicURL != "" {
		returnURL = successURL(s.PublicURL)
	}
	var devices *fleet.Fleet
	problems := &problem.Board{}
	checks := checker(s, hub, api) // not among the calls that are counted
	metrics := metrics.NewMetrics(c.Version, l.Stats, func() (int, int, time.Time) { return devices.Counts() })
	clock := l.Clock()
	api.http.Transport = metrics.Calls("stripe", clock.Watch(vendortime.Stripe, api.http.Transport))
	hub.http.Transport = metrics.Calls("notehub", clock.Watch(vendortime.Notehub, hub.http.Transport))
	api.odd = func(source string, records []string) {
		if problems.Odd(source, records...) && len(records) > 0 {
			log.Warn("unreadable records skipped", "source", source, "records", records)
		}
	}
	hub.odd, hub.counted = notehubapi.NewOddRecords(problems, log, metrics.OddRecord), metrics.Confirmation
	devices, err := fleet.New(ctx, fleet.Config{
		Ledger:           l,
		Notehub:          hub,
		Stripe:           countedLinks{api, metrics},
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
		NotehubLimiter:   hub.pace,
		NotehubPerMinute: s.NotehubPerMinute,
		Rules:            s.Terms(),
	})
	if err != nil {
		return nil, err
	}
	for _, d := range devices.All() {
		hub.spelled.Learn(d.UID, d.Spelled)
	}
	// Of what an earlier process asked of Notehub, only the listings are written down. A process that
	// listed the devices within the last minute had just started. It may have used up the limit, as in
	// a loop of crashes. The few calls that another made for payments may count twice. Notehub's
	// Retry-After then holds.
	hub.pace.Earlier(devices.Observed())
	live := web.NewHub(l, log)
	changed := live.Changed
	var sessions *checkout.Checkout
	if s.PerPurchase() {
		metrics.ExpectSessions()
		sessions, err = checkout.New(ctx, checkout.Config{
			Ledger:    l,
			Fleet:     devices,
			Stripe:    countedSessions{api, metrics},
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
		Stripe:         api,
		NotehubLimiter: hub.pace,
		StripeLimiter:  api.pace,
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
		AskTime:        api.AskTime,
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
	server := &Server{
		version:     c.Version,
		problems:    problems,
		recording:   recording.New(l, problems, log),
		ledger:      l,
		fleet:       devices,
		bridge:      payments,
		webhooks:    s.WebhookSecrets(),
		webhooksOff: len(s.WebhookSecrets()) == 0,
		customer:    customer,
		checkout:    sessions,
		publicURL:   s.PublicURL,
		operator: &operatorapi.Handler{
			Ledger: l,
			Bridge: payments,
			Fleet:  devices,
			Live:   live,
			Token:  string(s.OperatorToken),
		},
		routeToken: string(s.NotehubRouteToken),
		project:    s.NotehubProjectUID,
		ignored:    hub.ignored,
		metrics:    metrics,
		paces:      map[string]*upstream.Limiter{"stripe": api.pace, "notehub": hub.pace},
		log:        log,
		complaints: rate.Sometimes{First: 10, Interval: 10 * time.Second},
		unverified: bodies.New(mostBody),
	}
	server.wrong = &web.Problems{Board: problems, Paces: server.paces}
	metrics.Problems = server.wrong.List
	server.console, err = console.New(console.Config{
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

// run does the work of the Server until claims ends, and returns when all of it has ended. Nothing new begins after the
// end of claims. Calls to the vendors under way may go on until calls ends. What they result in is still recorded.
func (s *Server) run(claims, calls context.Context) {
	var work sync.WaitGroup
	work.Go(func() { s.recording.Run(claims) })
	work.Go(func() { s.fleet.Run(claims) })
	work.Go(func() { s.bridge.Run(claims, calls) })
	work.Go(func() { s.watchLedger(claims) })
	if s.checkout != nil {
		work.Go(func() { s.checkout.Run(claims, calls) })
	}
	work.Wait()
}

// httpServer returns a server for the handler, with limits for its clients. Its shutdown ends the streams.
func (s *Server) httpServer(handler http.Handler) *http.Server {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readHeaderLimit,
		ReadTimeout:       readLimit,
		IdleTimeout:       idleLimit,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	server.RegisterOnShutdown(s.endStreams)
	return server
}

// endStreams ends the live pages and event streams, which would never end by themselves.
func (s *Server) endStreams() { s.customer.Live.End() }

// watchLedger stops sales while the ledger's files are damaged or not in their place.
func (s *Server) watchLedger(ctx context.Context) {
	s.ledger.Watch(ctx, func(err error) {
		if err == nil {
			s.problems.Clear(problem.Ledger)
			s.log.Info("ledger restored to its place")
			return
		}
		text := "The ledger's files were deleted, moved or replaced while notepay was running. " +
			"Put them back, or stop notepay and run notepay restore COPY."
		if ledger.Damaged(err) {
			text = "The ledger's file is damaged. Stop notepay and run notepay restore COPY."
		}
		s.problems.Raise(problem.Problem{Code: problem.Ledger, Text: text, StopsSales: true})
		s.log.Error("ledger unusable", "err", err)
	})
}

// countedLinks counts the links that the fleet makes.
type countedLinks struct {
	fleet.Stripe
	metrics *metrics.Metrics
}

// CreateLink implements fleet.Stripe.
func (c countedLinks) CreateLink(
	ctx context.Context,
	d ledger.Device,
	plan payment.Offer,
	returnURL, process, key string,
) (ledger.Link, error) {
	link, err := c.Stripe.CreateLink(ctx, d, plan, returnURL, process, key)
	c.metrics.LinkMade(err)
	return link, err
}

// countedSessions counts the sessions that are made for purchases.
type countedSessions struct {
	checkout.Stripe
	metrics *metrics.Metrics
}

// CreateSession implements checkout.Stripe.
func (c countedSessions) CreateSession(
	ctx context.Context,
	d ledger.Device,
	plan payment.Offer,
	publicURL string,
	ends time.Time,
	key string,
) (ledger.Session, string, error) {
	session, url, err := c.Stripe.CreateSession(ctx, d, plan, publicURL, ends, key)
	c.metrics.SessionMade(err)
	return session, url, err
}

// listenEvery returns how often machines' answers are read while one is awaited. That takes a third of
// the requests that Notehub allows.
func listenEvery(s *config.Settings) time.Duration {
	const usual = 5 * time.Second
	if s.NotehubPerMinute == 0 {
		return usual
	}
	return max(usual, 3*time.Minute/time.Duration(s.NotehubPerMinute))
}
