// Command notepay starts machines that were paid for: it is the bridge between Stripe and Blues Notehub.
//
// It promises that for every payment that Stripe took, the machine gets its one credit. README.md says how to run it,
// docs/design.md how it is built.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/time/rate"

	"notepay/internal/bodies"
	"notepay/internal/bridge"
	"notepay/internal/check"
	"notepay/internal/checkout"
	"notepay/internal/config"
	"notepay/internal/demo"
	"notepay/internal/fleet"
	"notepay/internal/ledger"
	notehubapi "notepay/internal/notehub"
	"notepay/internal/problem"
	"notepay/internal/recording"
	"notepay/internal/upstream"
	"notepay/internal/vendortime"
	"notepay/internal/web"
	"notepay/internal/web/console"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(exitCode(run(ctx, os.Args[1:], os.Getenv, os.Stdout), os.Stderr))
}

// usageError is a wrong command line or wrong settings: exit code 2.
type usageError struct{ error }

func exitCode(err error, stderr io.Writer) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "notepay:", err)
	if _, usage := errors.AsType[usageError](err); usage {
		return 2
	}
	return 1
}

const usage = `usage: notepay [command]

  serve     run the bridge (default), with settings from .env and the environment
  check     check the settings, Stripe, Notehub and this host; changes nothing
  setup     create the product, price and webhook endpoint at Stripe, if missing
  demo      run the whole system here with simulated Stripe, Notehub and machines
  backup F  write a consistent copy of the ledger to the file F, also while serve runs
  restore F verify the copy F and make it the ledger, while serve does not run
  version   print version, commit and Go version`

// settingsFile is where settings are read from, beside the environment.
const settingsFile = ".env"

// run is the whole program: it returns when the command has ended or ctx has.
func run(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	command := "serve"
	if len(args) > 0 {
		command, args = args[0], args[1:]
	}
	switch command {
	case "backup":
		return backup(ctx, args, getenv, stdout)
	case "restore":
		return restore(ctx, args, getenv, stdout)
	}
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no arguments\n%s", command, usage)}
	}
	switch command {
	case "serve":
		settings, err := config.Load(settingsFile, getenv)
		if err != nil {
			return usageError{err}
		}
		log := newLogger(settings, stdout)
		for _, warning := range config.EnvironmentWarnings(settingsFile) {
			log.Warn("suspicious setting", "detail", warning)
		}
		return serve(ctx, settings, log, started{})
	case "check":
		settings, err := config.Load(settingsFile, getenv)
		if err != nil {
			return usageError{err}
		}
		return runChecks(ctx, newCheck(settings), stdout)
	case "setup":
		return runSetup(ctx, settingsFile, getenv, os.Stdin, stdout)
	case "demo":
		return runDemo(ctx, getenv, stdout)
	case "version":
		_, err := fmt.Fprintln(stdout, versionLine())
		return err
	case "help", "-h", "--help":
		_, err := fmt.Fprintln(stdout, usage)
		return err
	default:
		return usageError{fmt.Errorf("unknown command %q\n%s", command, usage)}
	}
}

// backup copies the ledger. Of the settings it needs but one, so that it also runs where the others are not at hand.
func backup(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	if len(args) != 1 || args[0] == "" {
		return usageError{fmt.Errorf("backup takes one argument, the file to write\n%s", usage)}
	}
	database, err := config.Database(settingsFile, getenv)
	if err != nil {
		return usageError{err}
	}
	if err := ledger.Backup(ctx, string(database), args[0]); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	_, err = fmt.Fprintf(stdout, "%s is a verified copy of the ledger\n", args[0])
	return err
}

// restore puts a copy in the ledger's place. Like backup it needs one setting.
func restore(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	if len(args) != 1 || args[0] == "" {
		return usageError{fmt.Errorf("restore takes one argument, the copy\n%s", usage)}
	}
	database, err := config.Database(".env", getenv)
	if err != nil {
		return usageError{err}
	}
	kept, err := ledger.Restore(ctx, string(database), args[0])
	if errors.Is(err, ledger.ErrLocked) {
		return fmt.Errorf("restore: %w; stop it first", err)
	}
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	_, err = fmt.Fprintf(stdout, "%s is verified and is now the ledger\n", args[0])
	if kept != "" && err == nil {
		_, err = fmt.Fprintf(stdout, "the previous ledger is kept as %s; "+
			"delete it, and %s-wal if it exists, when you no longer need it\n", kept, kept)
	}
	return err
}

// newCheck is what the checks need: the vendors as serve asks them.
func newCheck(s *config.Settings) check.Config {
	return newCheckOver(newNotehub(s), newStripe(s), s)
}

// newCheckOver makes the checks by clients of their own.
func newCheckOver(hub *notehub, api *stripeAPI, s *config.Settings) check.Config {
	clock := vendortime.New(nil)
	api.http.Transport = clock.Watch(vendortime.Stripe, api.http.Transport)
	hub.http.Transport = clock.Watch(vendortime.Notehub, hub.http.Transport)
	return check.Config{Settings: s, Stripe: api.client, Plan: api.Plan, Notehub: hub, Clock: clock, Disk: ledger.NetworkDisk, Space: ledger.SpaceAt,
		Suspicious: config.EnvironmentWarnings(settingsFile),
		Public:     &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// checker makes the checks for the console, beside a bridge at work: at its pace, and with clients of its own, so that neither what the vendors
// refuse a check nor a token that it fetched is the bridge's.
func checker(s *config.Settings, hub *notehub, api *stripeAPI) func(context.Context, func(console.Finding)) {
	uncountedHub, uncountedAPI := hub.withPace(hub.pace), api.withPace(api.pace) // their transports are as they are now
	return func(ctx context.Context, found func(console.Finding)) {
		c := newCheckOver(uncountedHub.withPace(hub.pace.Guest()), uncountedAPI.withPace(api.pace.Guest()), s)
		c.Report = func(r check.Result) {
			found(console.Finding{Name: r.Name, State: string(r.State), Detail: r.Detail, Remedy: r.Remedy})
		}
		check.Run(ctx, c)
	}
}

// runChecks prints each result as it is found, one a line: a question where the answer is no, and the problem where it is yes.
func runChecks(ctx context.Context, c check.Config, stdout io.Writer) error {
	var printErr error
	c.Report = func(r check.Result) {
		line := fmt.Sprintf("%-7s  %s: %s", r.State, r.Name, r.Detail)
		if r.Remedy != "" {
			line = fmt.Sprintf("%-7s  %s: %s -> %s", r.State, r.Name, r.Detail, r.Remedy)
		}
		_, err := fmt.Fprintln(stdout, line)
		printErr = errors.Join(printErr, err)
	}
	failed := 0
	results := check.Run(ctx, c)
	for _, r := range results {
		if r.State == check.Failed {
			failed++
		}
	}
	if failed > 0 {
		return errors.Join(printErr, fmt.Errorf("%d of %d checks failed", failed, len(results)))
	}
	return printErr
}

// runSetup needs but the key and the public address. What it finds may go into the file of the settings.
func runSetup(ctx context.Context, file string, getenv func(string) string, stdin io.Reader, stdout io.Writer) error {
	s, err := config.Partly(file, getenv, "STRIPE_SECRET_KEY", "PUBLIC_URL", "STRIPE_API_URL")
	if err == nil && s.PublicURL == "" {
		err = errors.New("PUBLIC_URL: required, the https:// address under which customers and Stripe reach notepay")
	}
	if err != nil {
		return usageError{err}
	}
	if err := check.Setup(ctx, check.SetupConfig{Stripe: newStripe(s).client, Livemode: s.Livemode(), PublicURL: s.PublicURL,
		EnvFile: file, In: stdin, Out: stdout}); err != nil {
		return fmt.Errorf("setup: %w", err)
	}
	return nil
}

// version is the build's version, from the module or the commit.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	return "devel"
}

func versionLine() string {
	commit, goVersion := "unknown", "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		goVersion = info.GoVersion
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				commit = s.Value
			}
		}
	}
	return fmt.Sprintf("notepay %s, commit %s, %s", version(), commit, goVersion)
}

func newLogger(s *config.Settings, out io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(s.LogLevel)) // checked with the settings
	options := &slog.HandlerOptions{Level: level}
	if s.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(out, options))
	}
	return slog.New(slog.NewTextHandler(out, options))
}

const (
	linksPerSecond  = 23              // link creations; Stripe allows 25 a second at one endpoint (docs/vendors.md)
	linksAtOnce     = 2               // makes up for a slot that was taken late, and is still no more than 25 in any second
	stopAnswering   = 5 * time.Second // how long requests under way may take once we were told to stop
	stopCalling     = 4 * time.Second // and calls to the vendors
	readHeaderLimit = 5 * time.Second
	readLimit       = 30 * time.Second
	idleLimit       = 2 * time.Minute
)

// started is what the demo adds to a service: a listener that is open already, something around its handler, and a word when it listens.
type started struct {
	listener  net.Listener // nil: serve listens itself
	wrap      func(http.Handler) http.Handler
	listening func(url string)
}

// serve runs the bridge until ctx ends. It listens first; what is remembered is loaded before the first answer, and recovery
// and refresh go on behind it.
func serve(ctx context.Context, s *config.Settings, log *slog.Logger, hooks started) (err error) {
	listener := hooks.listener
	if listener == nil {
		if listener, err = net.Listen("tcp", s.Address()); err != nil {
			return listenError(s, err)
		}
	}
	defer func() {
		if e := listener.Close(); e != nil && !errors.Is(e, net.ErrClosed) {
			err = errors.Join(err, e)
		}
	}()
	l, err := ledger.OpenBy(ctx, string(s.DatabaseURL), vendortime.New(nil))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	for _, notice := range l.Notices() {
		log.Warn("ledger changed or unchecked", "notice", notice)
	}

	server, err := assemble(ctx, s, l, newNotehub(s), newStripe(s), log)
	if err != nil {
		return err
	}
	handler := server.routes()
	if hooks.wrap != nil {
		handler = hooks.wrap(handler)
	}
	front := &http.Server{Handler: handler, ReadHeaderTimeout: readHeaderLimit, ReadTimeout: readLimit, IdleTimeout: idleLimit, MaxHeaderBytes: 32 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	front.RegisterOnShutdown(server.customer.Live.End) // they would never end by themselves

	// From here on in the order of the end: claims stop first, calls may finish, then their context ends, and what they came to is
	// still written down. What was not is in the ledger as under way, and the next start looks before it repeats anything.
	claims, stopClaims := context.WithCancel(context.WithoutCancel(ctx))
	defer stopClaims()
	calls, stopCalls := context.WithCancel(context.WithoutCancel(ctx))
	defer stopCalls()
	var work sync.WaitGroup
	work.Go(func() { server.recording.Run(claims) })
	work.Go(func() { server.fleet.Run(claims) })
	work.Go(func() { server.bridge.Run(claims, calls) })
	work.Go(func() { watchLedger(claims, l, server.problems, log) })
	if server.checkout != nil {
		work.Go(func() { server.checkout.Run(claims, calls) })
	}
	served := make(chan error, 1)
	go func() { served <- front.Serve(listener) }()
	url := "http://" + browsable(listener.Addr().String())
	log.Info("listening", "addr", listener.Addr().String(), "url", url, "version", version())
	if hooks.listening != nil {
		hooks.listening(url)
	}

	select {
	case err = <-served: // not by our wish
	case <-ctx.Done():
		log.Info("stopping")
	case <-l.Lost():
		err = ledger.ErrLockLost
		log.Error("ledger lock lost, stopping", "err", err)
	}
	stopClaims()
	timer := time.AfterFunc(stopCalling, stopCalls)
	defer timer.Stop()
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopAnswering)
	defer cancel()
	if shutdownErr := front.Shutdown(limit); shutdownErr != nil {
		log.Warn("requests cut off", "err", shutdownErr)
		err = errors.Join(err, front.Close())
	}
	work.Wait()
	log.Info("stopped")
	return err
}

// watchLedger stops sales while the ledger's files are damaged or not in their place.
func watchLedger(ctx context.Context, l *ledger.Ledger, problems *problem.Board, log *slog.Logger) {
	l.Watch(ctx, func(err error) {
		if err == nil {
			problems.Clear(problem.Ledger)
			log.Info("ledger restored to its place")
			return
		}
		text := "The ledger's files were deleted, moved or replaced while notepay was running. " +
			"Put them back, or stop notepay and run notepay restore COPY."
		if ledger.Damaged(err) {
			text = "The ledger's file is damaged. Stop notepay and run notepay restore COPY."
		}
		problems.Raise(problem.Problem{Code: problem.Ledger, Text: text, StopsSales: true})
		log.Error("ledger unusable", "err", err)
	})
}

// assemble puts the parts together. Nothing works yet, and the fleet is what the ledger remembers.
func assemble(ctx context.Context, s *config.Settings, l *ledger.Ledger, hub *notehub, api *stripeAPI, log *slog.Logger) (*Server, error) {
	returnURL := ""
	if s.PublicURL != "" {
		returnURL = successURL(s.PublicURL)
	}
	var devices *fleet.Fleet
	problems := &problem.Board{}
	checks := checker(s, hub, api) // not among the calls that are counted
	metrics := web.NewMetrics(version(), l.Stats, func() (int, int, time.Time) { return devices.Counts() })
	clock := l.Clock()
	api.http.Transport = metrics.Calls("stripe", clock.Watch(vendortime.Stripe, api.http.Transport))
	hub.http.Transport = metrics.Calls("notehub", clock.Watch(vendortime.Notehub, hub.http.Transport))
	api.odd = func(source string, records []string) {
		if problems.Odd(source, records...) && len(records) > 0 {
			log.Warn("unreadable records skipped", "source", source, "records", records)
		}
	}
	hub.odd, hub.counted = notehubapi.NewOddRecords(problems, log, metrics.OddRecord), metrics.Confirmation
	devices, err := fleet.New(ctx, fleet.Config{Ledger: l, Notehub: hub, Stripe: countedLinks{api, metrics}, Log: log, PriceIDs: s.PriceIDs(), ReturnURL: returnURL,
		Livemode: s.Livemode(), Interval: s.RefreshInterval, LinkPace: upstream.NewPace(linksPerSecond*60, linksAtOnce),
		OfflineAfter: s.OfflineAfter, ManualCapture: s.CaptureOnStart(), Sessions: s.PerPurchase(), Problems: problems,
		NotehubPace: hub.pace, NotehubPerMinute: s.NotehubPerMinute, Rules: s.Terms()})
	if err != nil {
		return nil, err
	}
	for _, d := range devices.All() {
		hub.spelled.Learn(d.UID, d.Spelled)
	}
	// What an earlier process asked of Notehub is not written down, but for its listings. One that listed the devices within the last minute
	// had just started and may have used up the limit, as in a loop of crashes. Of another the few calls for payments may count twice:
	// Notehub's Retry-After then holds.
	hub.pace.Earlier(devices.Observed())
	live := web.NewLive(l, log)
	changed := live.Changed
	var sessions *checkout.Checkout
	if s.PerPurchase() {
		metrics.ExpectSessions()
		sessions, err = checkout.New(ctx, checkout.Config{Ledger: l, Fleet: devices, Stripe: countedSessions{api, metrics}, Log: log, PublicURL: s.PublicURL, Livemode: s.Livemode()})
		if err != nil {
			return nil, err
		}
		changed = func(p ledger.Payment) { live.Changed(p); sessions.Changed(p) }
	}
	metrics.LivePages, metrics.Now = live.Pages, l.Now
	payments := bridge.New(bridge.Config{Ledger: l, Fleet: devices, Notehub: hub, Stripe: api, NotehubPace: hub.pace, StripePace: api.pace, Log: log,
		Project: s.NotehubProjectUID, Livemode: s.Livemode(), Lifetime: s.CreditLifetime, ConfirmWithin: s.ConfirmWithin, ManualCapture: s.CaptureOnStart(),
		WebhooksOff: len(s.WebhookSecrets()) == 0, Routed: s.NotehubRouteToken != "", ListenEvery: listenEvery(s), PollInterval: s.PollInterval, Observe: metrics,
		Changed: changed, AskTime: api.AskTime, Problems: problems})
	customer := &web.Customer{Ledger: l, Session: payments.Session, Watched: payments.Watched, Missing: payments.Missing, Checkout: sessions, HTTPS: strings.HasPrefix(s.PublicURL, "https://"), Live: live, Log: log, Brand: web.Brand{Name: s.BrandName, Color: s.BrandColor, Contact: s.SupportContact}, Test: !s.Livemode(),
		Terms: web.Terms{Lifetime: s.CreditLifetime, LifetimeOf: devices.Lifetime, ConfirmWithin: s.ConfirmWithin, ManualCapture: s.CaptureOnStart()}}
	server := &Server{problems: problems, recording: recording.New(l, problems, log), ledger: l, fleet: devices, bridge: payments, webhooks: s.WebhookSecrets(), webhooksOff: len(s.WebhookSecrets()) == 0,
		customer:   customer,
		checkout:   sessions,
		publicURL:  s.PublicURL,
		operator:   &web.Operator{Ledger: l, Bridge: payments, Fleet: devices, Live: live, Token: string(s.OperatorToken)},
		routeToken: string(s.NotehubRouteToken), project: s.NotehubProjectUID, ignored: hub.ignored, metrics: metrics,
		paces: map[string]*upstream.Pace{"stripe": api.pace, "notehub": hub.pace}, log: log, complaints: rate.Sometimes{First: 10, Interval: 10 * time.Second},
		unverified: bodies.New(mostBody)}
	server.wrong = &web.Problems{Board: problems, Paces: server.paces}
	metrics.Problems = server.wrong.List
	server.console, err = console.New(console.Config{Problems: server.wrong.List, Ledger: l, Bridge: payments, Fleet: devices, Log: log, Token: string(s.OperatorToken),
		PublicURL: s.PublicURL, Support: s.SupportContact, Test: !s.Livemode(), Lifetime: s.CreditLifetime, Zone: s.Zone(), Vitals: server.vitals, Live: live, Check: checks})
	return server, err
}

// countedLinks counts the links that the fleet makes.
type countedLinks struct {
	fleet.Stripe
	metrics *web.Metrics
}

// CreateLink implements fleet.Stripe.
func (c countedLinks) CreateLink(ctx context.Context, d ledger.Device, plan ledger.Plan, returnURL, process, key string) (ledger.Link, error) {
	link, err := c.Stripe.CreateLink(ctx, d, plan, returnURL, process, key)
	c.metrics.LinkMade(err)
	return link, err
}

// countedSessions counts the sessions that are made for purchases.
type countedSessions struct {
	checkout.Stripe
	metrics *web.Metrics
}

// CreateSession implements checkout.Stripe.
func (c countedSessions) CreateSession(ctx context.Context, d ledger.Device, plan ledger.Plan, publicURL string, ends time.Time, key string) (ledger.Session, string, error) {
	session, url, err := c.Stripe.CreateSession(ctx, d, plan, publicURL, ends, key)
	c.metrics.SessionMade(err)
	return session, url, err
}

// listenEvery is how often machines' answers are read while one is awaited: a third of the requests that Notehub allows.
func listenEvery(s *config.Settings) time.Duration {
	const usual = 5 * time.Second
	if s.NotehubPerMinute == 0 {
		return usual
	}
	return max(usual, 3*time.Minute/time.Duration(s.NotehubPerMinute))
}

// runDemo runs the bridge against the sandbox, both on loopback, with a ledger that is gone afterwards.
func runDemo(ctx context.Context, getenv func(string) string, stdout io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "notepay-demo-")
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", cmp.Or(getenv("DEMO_PORT"), "3001")))
	if err != nil {
		return fmt.Errorf("demo: %w (set DEMO_PORT to another port, or 0)", err)
	}
	pages := "http://" + listener.Addr().String()
	log := slog.New(slog.NewTextHandler(stdout, &slog.HandlerOptions{Level: slog.LevelWarn}))
	simulated := demo.New(demo.Config{Log: log})
	values := simulated.Settings(pages)
	bridge, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", cmp.Or(getenv("PORT"), "3000")))
	if err != nil {
		return errors.Join(fmt.Errorf("demo: %w (set PORT to another port, or 0)", err), listener.Close())
	}
	values["LISTEN_ADDR"] = bridge.Addr().String()
	values["PUBLIC_URL"] = "http://" + values["LISTEN_ADDR"] // only now that the port is known: it is where customers come back to
	values["DATABASE_URL"] = filepath.Join(dir, "notepay.db")
	values["CAPTURE"] = getenv("CAPTURE") // on_start shows money that is held first
	settings, err := config.Load(filepath.Join(dir, ".env"), func(name string) string { return values[name] })
	if err != nil {
		return errors.Join(fmt.Errorf("demo: %w", err), listener.Close(), bridge.Close())
	}

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	front := &http.Server{Handler: simulated.Handler(), ReadHeaderTimeout: readHeaderLimit}
	ended := make(chan error, 2)
	go func() { ended <- front.Serve(listener) }()
	go func() { ended <- simulated.Run(ctx) }()
	err = serve(ctx, settings, log, started{listener: bridge, wrap: simulated.Watch, listening: func(bridge string) {
		simulated.Connect(bridge)
		fmt.Fprintf(stdout, "\n  notepay demo: Stripe, Notehub and the machines are simulated. No money moves.\n\n  Open     %s\n  Pay      %s/pay?device=%s\n  Operate  %s/operator (token: %s)\n\n  Press Ctrl-C to stop. Nothing is left behind.\n\n",
			pages, bridge, simulated.Devices()[0], bridge, values["OPERATOR_TOKEN"])
	}})
	stop()
	return errors.Join(err, front.Close(), notClosed(<-ended), notClosed(<-ended))
}

// notClosed is an error that is not the sign of an orderly end.
func notClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// listenError says which address cannot be used, and which setting changes it.
func listenError(s *config.Settings, err error) error {
	if !errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("listen: %w", err)
	}
	if s.ListenAddr == "" {
		return fmt.Errorf("port %d is taken by another program: set PORT or LISTEN_ADDR", s.Port)
	}
	return fmt.Errorf("%s is taken by another program: set LISTEN_ADDR", s.ListenAddr)
}

// browsable is an address to click on: a listener on all addresses is reached on this machine's own.
func browsable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}
