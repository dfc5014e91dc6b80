package app

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"log/slog"
	"math"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"notepay/internal/alert"
	"notepay/internal/backup"
	"notepay/internal/bodies"
	"notepay/internal/bridge"
	"notepay/internal/checkout"
	"notepay/internal/clientaddr"
	"notepay/internal/config"
	"notepay/internal/fleet"
	"notepay/internal/goodwill"
	"notepay/internal/ledger"
	"notepay/internal/message"
	"notepay/internal/metrics"
	"notepay/internal/notehub"
	"notepay/internal/payment"
	"notepay/internal/problem"
	"notepay/internal/recording"
	"notepay/internal/revenue"
	"notepay/internal/stripeapi"
	"notepay/internal/upstream"
	"notepay/internal/vendortime"
	"notepay/internal/web"
	"notepay/internal/web/api"
	"notepay/internal/web/console"
	"notepay/internal/web/customer"
)

// The limits for the clients of the HTTP server.
const (
	ReadHeaderTimeout = 5 * time.Second
	ReadTimeout       = 30 * time.Second // of a whole request
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 32 << 10
)

const (
	// linksPerSecond limits the creation of links. Stripe allows 25 calls a second at one endpoint
	// (docs/vendors.md).
	linksPerSecond = 23
	// linkBurst makes up for a slot that was used late. Together they stay within 25 a second.
	linkBurst = 2

	// confirmationInterval is how often the bridge reads confirmations while it awaits one.
	confirmationInterval = 5 * time.Second
)

// Config configures an App.
type Config struct {
	Settings *config.Settings
	Ledger   *ledger.Ledger
	Notehub  *notehub.Client // New observes its calls
	Stripe   *stripeapi.Client
	Public   http.RoundTripper // reaches PUBLIC_URL for the console's checks; nil: the network
	Log      *slog.Logger
	Version  string // of notepay, for /health and the metrics
}

// App is the whole service without its port. Its fields are set once, before it serves.
//
// The exported fields are for tests and benchmarks, which look at single components.
type App struct {
	Ledger   *ledger.Ledger
	Fleet    *fleet.Fleet
	Bridge   *bridge.Bridge
	Live     *web.Hub       // of the live pages and event streams
	Problems *problem.Board // shown by /health; a problem may stop sales
	Console  *console.Console

	log         *slog.Logger
	metrics     *metrics.Metrics
	recording   *recording.Monitor
	alerts      *alert.Alerter // nil if ALERT_URLS is not set
	revenue     *revenue.Roller
	fees        *revenue.FeeReader
	checkout    *checkout.Checkout // nil if machines are paid for through their links
	customer    *customer.Handler
	goodwill    *goodwill.Codes
	operator    *api.Handler
	refreshes   refreshGate
	limiters    map[string]*upstream.Limiter // by vendor
	holds       chan hold                    // to be stored
	problemList *web.Problems                // those of the board, and the vendors that do not answer

	settings  string // those that all instances share, see Identity
	publicURL string // where customers reach notepay
	version   string

	proxies clientaddr.Proxies
	// ignoredProxy limits the log lines about proxies that are not trusted.
	ignoredProxy rate.Sometimes

	webhookSecrets stripeapi.WebhookSecrets
	unverified     *bodies.Budget // for webhooks whose signature is not verified yet
	// rejections limits the log lines about bad signatures. Anyone can cause them, and the metrics
	// count them all.
	rejections  rate.Sometimes
	lastWebhook atomic.Int64 // when the last one was accepted, in Unix milliseconds; 0: none since the start

	backups     backup.Config                                  // Dir is "" if there are none
	eventLimits func(now time.Time) (events, bodies time.Time) // zero times: nothing is removed

	routeToken string // the bearer token of Notehub's route; "" for no route
	ackFile    string // the notefile of the machines' answers
	project    string // app:..., the only one whose confirmations are applied
	// ignored reports a confirmation that is not applied to any payment.
	ignored func(event, why string)
}

// New wires the components without starting them. The fleet is loaded from the ledger.
func New(ctx context.Context, c Config) (*App, error) {
	s := c.Settings
	a := &App{
		Ledger:         c.Ledger,
		Live:           web.NewHub(c.Ledger, c.Log),
		Problems:       &problem.Board{},
		log:            c.Log,
		limiters:       map[string]*upstream.Limiter{"stripe": c.Stripe.Limiter, "notehub": c.Notehub.Limiter},
		publicURL:      s.PublicURL,
		settings:       Identity(s).Settings,
		version:        c.Version,
		proxies:        s.Proxies(),
		ignoredProxy:   rate.Sometimes{First: 1, Interval: 24 * time.Hour},
		webhookSecrets: c.Stripe.WebhookSecrets(),
		unverified:     bodies.New(maxBody),
		rejections:     rate.Sometimes{First: 10, Interval: 10 * time.Second},
		eventLimits:    s.EventLimits,
		routeToken:     string(s.NotehubRouteToken),
		ackFile:        s.AckFile,
		project:        s.NotehubProjectUID,
		ignored:        c.Notehub.Ignored,
	}
	checks := consoleChecks(c) // before the calls are observed, so that theirs are not counted
	fleetCounts := func() (int, int, time.Time) { return a.Fleet.Counts() }
	a.metrics = metrics.NewMetrics(c.Version, c.Ledger.Stats, fleetCounts)
	a.backups = backup.Config{
		Dir:   s.BackupDir,
		Every: s.BackupEvery,
		Keep:  int(min(s.BackupKeep, math.MaxInt32)),
		Copy: func(ctx context.Context, file string) error {
			return ledger.Backup(ctx, string(s.DatabaseURL), file)
		},
		Problems: a.Problems,
		Log:      c.Log,
	}
	a.recording = recording.New(c.Ledger, a.Problems, c.Log)
	a.problemList = &web.Problems{Board: a.Problems, Limiters: a.limiters}
	a.observe(c)
	a.shareHolds()

	err := a.loadHolds(ctx)
	if err == nil {
		err = a.loadFleet(ctx, c)
	}
	if err != nil {
		return nil, err
	}
	a.openAlerts(s)
	a.openRevenue(c)
	changed := a.Live.Changed
	if s.PerPurchase() {
		if err := a.openCheckout(ctx, c); err != nil {
			return nil, err
		}
		changed = func(p payment.Payment) { a.Live.Changed(p); a.checkout.Changed(p) }
	}
	a.metrics.Leads = a.Ledger.Leads
	a.metrics.LivePages, a.metrics.Now, a.metrics.Problems = a.Live.Pages, a.Ledger.Now, a.problemList.List
	a.Bridge = bridge.New(bridge.Config{
		Ledger:         c.Ledger,
		Fleet:          a.Fleet,
		Notehub:        c.Notehub,
		Stripe:         c.Stripe,
		NotehubLimiter: c.Notehub.Limiter,
		StripeLimiter:  c.Stripe.Limiter,
		Log:            c.Log,
		Project:        s.NotehubProjectUID,
		NoteFile:       s.NoteFile,
		NoteKey:        s.NoteKey(),
		Encrypted:      s.NotesEncrypted(),
		Livemode:       s.Livemode(),
		Lifetime:       s.CreditLifetime,
		ConfirmWithin:  s.ConfirmWithin,
		ManualCapture:  s.CaptureOnStart(),
		WebhooksOff:    len(a.webhookSecrets) == 0,
		Routed:         a.routeToken != "",
		ListenEvery:    confirmationInterval,
		PollInterval:   s.PollInterval,
		Observe:        a.metrics,
		Changed:        changed,
		AskTime:        c.Stripe.AskTime,
		Problems:       a.Problems,
	})
	if a.goodwill, err = goodwill.New(ctx, c.Ledger, a.Bridge, c.Log); err != nil {
		return nil, err
	}
	a.customer = a.customerHandler(s)
	a.operator = &api.Handler{
		Ledger: c.Ledger,
		Bridge: a.Bridge,
		Fleet:  a.Fleet,
		Live:   a.Live,
		Log:    c.Log,
		Token:  string(s.OperatorToken),
	}
	a.Console, err = console.New(console.Config{
		Problems:  a.problemList.List,
		Ledger:    c.Ledger,
		Bridge:    a.Bridge,
		Fleet:     a.Fleet,
		Log:       c.Log,
		Token:     string(s.OperatorToken),
		PublicURL: s.PublicURL,
		Support:   s.SupportContact,
		Stickers:  customer.StickerWords(),
		Test:      !s.Livemode(),
		Lifetime:  s.CreditLifetime,
		Zone:      s.Zone(),
		Vitals:    a.vitals,
		Live:      a.Live,
		Check:     checks,
		Alerts:    a.shownAlerts(),

		SessionsOfEmail: c.Stripe.SessionsOfEmail,
		Goodwill:        a.goodwill,
		Texts:           textsOf(s),
	})
	return a, err
}

// observe counts the clients' calls, reads the vendors' time from the replies, and reports the
// records that cannot be decoded.
func (a *App) observe(c Config) {
	clock := c.Ledger.Clock()
	c.Stripe.Observe(func(next http.RoundTripper) http.RoundTripper {
		return a.metrics.Calls("stripe", clock.Watch(vendortime.Stripe, next))
	})
	c.Notehub.Observe(func(next http.RoundTripper) http.RoundTripper {
		return a.metrics.Calls("notehub", clock.Watch(vendortime.Notehub, next))
	})
	c.Stripe.Odd = func(source string, records []string) {
		if a.Problems.Odd(source, records...) && len(records) > 0 {
			a.log.Warn("unreadable records skipped", "source", source, "records", records)
		}
	}
	c.Notehub.Odd = notehub.NewOddRecords(a.Problems, a.log, a.metrics.OddRecord)
	c.Notehub.Counted = a.metrics.Confirmation
}

// loadFleet loads the fleet from the ledger and prepares the Notehub client for it.
func (a *App) loadFleet(ctx context.Context, c Config) (err error) {
	s := c.Settings
	returnURL := ""
	if s.PublicURL != "" {
		returnURL = stripeapi.SuccessURL(s.PublicURL)
	}
	a.Fleet, err = fleet.New(ctx, fleet.Config{
		Ledger:         c.Ledger,
		Notehub:        c.Notehub,
		Stripe:         countedLinks{c.Stripe, a.metrics},
		Log:            c.Log,
		PriceIDs:       s.PriceIDs(),
		ReturnURL:      returnURL,
		Livemode:       s.Livemode(),
		Interval:       s.RefreshInterval,
		LinkLimiter:    upstream.NewLimiter(linksPerSecond*60, linkBurst),
		OfflineAfter:   s.OfflineAfter,
		Encrypted:      s.NotesEncrypted(),
		ManualCapture:  s.CaptureOnStart(),
		Sessions:       s.PerPurchase(),
		Problems:       a.Problems,
		NotehubLimiter: c.Notehub.Limiter,
		Rules:          s.Terms(),
		Zone:           s.Zone(),
		PageText:       customer.PageText(termsOf(s), s.CheckoutLanguage),
		PromotionCodes: s.TakesPromotionCodes(),
	})
	if err != nil {
		return err
	}
	for _, d := range a.Fleet.All() {
		c.Notehub.Learn(d.UID, d.Spelled)
	}
	a.joinLimits(c.Notehub.Limiter)
	return nil
}

// openCheckout prepares the sale through a Checkout Session for each purchase.
func (a *App) openCheckout(ctx context.Context, c Config) (err error) {
	a.metrics.ExpectSessions()
	a.checkout, err = checkout.New(ctx, checkout.Config{
		Ledger:    c.Ledger,
		Fleet:     a.Fleet,
		Stripe:    countedSessions{c.Stripe, a.metrics},
		Log:       c.Log,
		PublicURL: c.Settings.PublicURL,
		Livemode:  c.Settings.Livemode(),
		PageText:  customer.PageText(termsOf(c.Settings), c.Settings.CheckoutLanguage),
		Key:       browserKey(c.Settings),

		PromotionCodes: c.Settings.TakesPromotionCodes(),
	})
	return err
}

// openRevenue prepares the sums of the payments, and the reading of fees. A key that may not read fees
// does not count as one that Stripe rejects.
func (a *App) openRevenue(c Config) {
	a.revenue = &revenue.Roller{Ledger: c.Ledger, Zone: c.Settings.Zone(), Log: c.Log}
	client := c.Stripe.WithLimiter(c.Stripe.Limiter.Share())
	client.Odd = c.Stripe.Odd
	a.fees = &revenue.FeeReader{Ledger: c.Ledger, Stripe: client, Livemode: c.Settings.Livemode(), Log: c.Log}
}

// termsOf returns the promise of the settings to customers.
func termsOf(s *config.Settings) customer.Terms {
	return customer.Terms{
		Lifetime:      s.CreditLifetime,
		ConfirmWithin: s.ConfirmWithin,
		ManualCapture: s.CaptureOnStart(),
	}
}

// textsOf returns the texts that operators send to customers.
func textsOf(s *config.Settings) console.Texts {
	return console.Texts{
		Payment: func(machine, page string) string { return customer.PaymentText(s.CheckoutLanguage, machine, page) },
		Free: func(machine, page, code string, until time.Time) string {
			return customer.FreeText(s.CheckoutLanguage, machine, page, code, until, s.Zone())
		},
	}
}

// brandOf returns how customers see the operator. A logo that was readable at the start of the
// program and no longer is, is left out.
func (a *App) brandOf(s *config.Settings) customer.Brand {
	logo, mediaType, err := s.Logo()
	if err != nil {
		a.log.Warn("logo not read", "err", err)
	}
	return customer.Brand{
		Name:     s.BrandName,
		Color:    s.BrandColor,
		Contact:  s.SupportContact,
		Address:  s.SellerAddress,
		Tax:      s.TaxLine,
		Imprint:  s.ImprintURL,
		Privacy:  s.PrivacyURL,
		Terms:    s.TermsURL,
		Logo:     logo,
		LogoType: mediaType,
	}
}

// browserKey returns the key that signs the names of browsers. All instances have the same.
func browserKey(s *config.Settings) []byte {
	mac := hmac.New(sha256.New, []byte(s.StripeSecretKey))
	mac.Write([]byte("notepay browsers"))
	return mac.Sum(nil)
}

// customerHandler returns the handler of the customers' pages.
func (a *App) customerHandler(s *config.Settings) *customer.Handler {
	promise := termsOf(s)
	promise.LifetimeOf = a.Fleet.Lifetime
	return &customer.Handler{
		Ledger:   a.Ledger,
		Session:  a.Bridge.Session,
		Watched:  a.Bridge.PageOpen,
		Check:    a.Bridge.CheckNow,
		Missing:  a.Bridge.NoteMissing,
		Fleet:    a.Fleet,
		Free:     a.free,
		Checkout: a.checkout,
		Goodwill: a.goodwill,
		HTTPS:    strings.HasPrefix(s.PublicURL, "https://"),
		Live:     a.Live,
		Log:      a.log,
		Brand:    a.brandOf(s),
		Test:     !s.Livemode(),
		Zone:     s.Zone(),
		Terms:    promise,
		Told:     a.tellsOperator,
	}
}

// Run does the work behind the routes. After the end of claims it starts nothing new. Calls to the
// vendors that are under way may go on until the end of calls, and their results are still
// recorded. Run returns when all work has ended.
func (a *App) Run(claims, calls context.Context) {
	var work sync.WaitGroup
	work.Go(func() { a.recording.Run(claims) })
	work.Go(func() { a.Fleet.Run(claims) })
	work.Go(func() { a.Bridge.Run(claims, calls) })
	work.Go(func() { a.watchLedger(claims) })
	work.Go(func() { a.Ledger.Lead(claims, a.prune) })
	work.Go(func() { a.Ledger.Lead(claims, a.revenue.Run) })
	work.Go(func() { a.Ledger.Lead(claims, a.fees.Run) })
	work.Go(func() { a.Ledger.Follow(claims, a.follow) })
	work.Go(func() { a.watchInstances(claims) })
	work.Go(func() { a.storeHolds(claims) })
	if a.alerts != nil {
		work.Go(func() { a.alerts.Run(claims) })
	}
	if a.backups.Dir != "" {
		work.Go(func() { backup.Run(claims, a.backups) })
	}
	if a.checkout != nil {
		work.Go(func() { a.checkout.Run(claims, calls) })
	}
	work.Wait()
}

// HTTPServer returns a server for handler, with limits for its clients. Its shutdown ends the
// streams. The handler is that of Handler, or one around it.
func (a *App) HTTPServer(handler http.Handler) *http.Server {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: ReadHeaderTimeout,
		ReadTimeout:       ReadTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
	server.RegisterOnShutdown(a.EndStreams)
	return server
}

// EndStreams ends the live pages and event streams, which would otherwise never end.
func (a *App) EndStreams() { a.Live.End() }

// watchLedger stops sales while the ledger's files are damaged or missing.
func (a *App) watchLedger(ctx context.Context) {
	a.Ledger.Watch(ctx, func(err error) {
		if err == nil {
			a.Problems.Clear(problem.Ledger)
			a.log.Info("ledger restored to its place")
			return
		}
		text := message.New("The ledger's files were deleted, moved or replaced while notepay was running. " +
			"Put them back, or stop notepay and run notepay restore COPY.")
		if ledger.Damaged(err) {
			text = message.New("The ledger's file is damaged. Stop notepay and run notepay restore COPY.")
		}
		a.Problems.Raise(problem.Problem{Code: problem.Ledger, Text: text, StopsSales: true})
		a.log.Error("ledger unusable", "err", err)
	})
}
