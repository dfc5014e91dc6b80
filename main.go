// Command notepay starts machines that customers pay for. It is the bridge between Stripe and Blues
// Notehub.
//
// For every payment Stripe collects, notepay either delivers exactly one credit to the machine or
// returns the money. README.md says how to run it, docs/architecture.md how it is built.
//
// The exit code is 0 after success, 2 after a wrong command line or wrong settings, and 1 after any
// other error. A service that is stopped by SIGINT, SIGTERM or SIGHUP exits with 0.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"notepay/internal/app"
	"notepay/internal/check"
	"notepay/internal/config"
	"notepay/internal/demo/launch"
	"notepay/internal/dsn"
	"notepay/internal/ledger"
	"notepay/internal/listen"
	"notepay/internal/payment"
	"notepay/internal/setup"
	"notepay/internal/uid"
)

func main() {
	ends := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as nohup does, so that the process outlives its terminal
		ends = append(ends, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), ends...)
	defer stop()
	os.Exit(exitCode(run(ctx, os.Args[1:], os.Getenv, os.Stdout), os.Stderr))
}

// usageError is the error of a wrong command line or wrong settings.
type usageError struct{ error }

// exitCode prints err, if there is one, and returns the exit code for it.
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
  check     check the settings, Stripe, Notehub and this host; changes nothing;
            --alert also sends a test alert
  init      ask for every setting, check each at Stripe and Notehub, and write .env
  setup     create the product, price and webhook endpoint at Stripe, if missing
  demo      run the whole system here with simulated Stripe, Notehub and machines;
            --host lan lets phones in, --keep DIR leaves serving to a notepay of your own
  backup F  write a consistent copy of the ledger to the file F, also while serve runs
  restore F verify the copy F and make it the ledger, while serve does not run
  migrate-store F [URL]
            move the SQLite ledger F to the empty PostgreSQL database URL (DATABASE_URL)
  device-key UID
            print the key with which the device verifies its notes (NOTE_SIGN_KEY)
  health    ask the notepay that runs here, and exit with 0 if payments can be recorded
  version   print version, commit and Go version`

// firstSteps is the answer to a start without any setting.
const firstSteps = `there are no settings yet
  notepay demo   shows everything on this computer, without accounts
  notepay init   asks for what notepay needs, and writes .env
  README.md      explains it step by step`

// run runs the command in args, serve by default. It returns when the command or ctx has ended.
func run(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	command := "serve"
	if len(args) > 0 {
		command, args = args[0], args[1:]
	}
	switch command {
	case "health":
		return health(ctx, args, getenv, stdout)
	case "backup":
		return backup(ctx, args, getenv, stdout)
	case "restore":
		return restore(ctx, args, getenv, stdout)
	case "migrate-store":
		return migrateStore(ctx, args, getenv, stdout)
	case "demo":
		return runDemo(ctx, args, getenv, stdout)
	case "device-key":
		return deviceKey(args, getenv, stdout)
	case "check":
		return runCheck(ctx, args, getenv, stdout)
	}
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no arguments\n%s", command, usage)}
	}
	switch command {
	case "serve":
		if config.Empty(config.Path(), getenv) {
			return usageError{errors.New(firstSteps)}
		}
		settings, err := config.Load(config.Path(), getenv)
		if err != nil {
			return usageError{err}
		}
		log := newLogger(settings, stdout)
		for _, warning := range config.EnvironmentWarnings(config.Path()) {
			log.Warn("suspicious setting", "detail", warning)
		}
		return serve(ctx, settings, log, serveOptions{})
	case "init":
		return runInit(ctx, config.Path(), getenv, os.Stdin, stdout)
	case "setup":
		return runSetup(ctx, config.Path(), getenv, os.Stdin, stdout)
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

// backup runs the command backup. It reads only the setting DATABASE_URL, so that it also works
// where the others are missing.
func backup(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	if len(args) != 1 || args[0] == "" {
		return usageError{fmt.Errorf("backup takes one argument, the file to write\n%s", usage)}
	}
	database, err := config.Database(config.Path(), getenv)
	if err != nil {
		return usageError{err}
	}
	if err := ledger.Backup(ctx, string(database), args[0]); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	_, err = fmt.Fprintf(stdout, "%s is a verified copy of the ledger\n", args[0])
	return err
}

// health runs the command health, which containers use. It reads only where serve listens.
func health(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("health takes no arguments\n%s", usage)}
	}
	s, err := config.LoadOnly(config.Path(), getenv, "PORT", "LISTEN_ADDR", "TLS_DOMAINS", "TLS_CERT_FILE")
	if err != nil {
		return usageError{err}
	}
	address, client := "http://"+displayAddr(s.Address()), http.DefaultClient
	if s.TLS() {
		address, client = "https://"+displayAddr(s.Address()), listen.LocalClient(s)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"/health", nil)
	if err != nil {
		return fmt.Errorf("health: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("health: %w", err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(stdout, io.LimitReader(resp.Body, 64<<10)); err != nil {
		return fmt.Errorf("health: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("health: %s", resp.Status)
	}
	return nil
}

// restore runs the command restore. Like backup it reads only DATABASE_URL.
func restore(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	if len(args) != 1 || args[0] == "" {
		return usageError{fmt.Errorf("restore takes one argument, the copy\n%s", usage)}
	}
	database, err := config.Database(config.Path(), getenv)
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

// migrateStore runs the command migrate-store. Without a URL it moves the ledger to DATABASE_URL, so
// that no password is in the command line.
func migrateStore(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	if len(args) < 1 || len(args) > 2 || args[0] == "" || dsn.IsPostgres(args[0]) {
		return usageError{fmt.Errorf("migrate-store takes the file of a SQLite ledger, and perhaps "+
			"the postgres:// URL of the database to which it moves\n%s", usage)}
	}
	from, to := args[0], ""
	if len(args) == 2 {
		to = args[1]
		if err := dsn.Check(to); err != nil {
			return usageError{fmt.Errorf("migrate-store: the second argument %w", err)}
		}
	} else {
		database, err := config.Database(config.Path(), getenv)
		if err != nil {
			return usageError{err}
		}
		to = string(database)
	}
	if !dsn.IsPostgres(to) {
		return usageError{errors.New("migrate-store: DATABASE_URL or the second argument has to be " +
			"the postgres:// URL of the database to which the ledger moves")}
	}
	report := func(line string) { fmt.Fprintln(stdout, line) }
	moved, err := ledger.Move(ctx, from, to, report)
	if errors.Is(err, ledger.ErrLocked) {
		return fmt.Errorf("migrate-store: %w; stop it first", err)
	}
	if err != nil {
		return fmt.Errorf("migrate-store: %w", err)
	}
	if moved.Already {
		_, err = fmt.Fprintf(stdout, "%s was moved to %s before\n", from, moved.Place)
		return err
	}
	_, err = fmt.Fprintf(stdout, "%d rows are the same on both sides, and the ledger is now %s\n"+
		"%s refuses to serve from now on; start notepay with DATABASE_URL set to the database\n",
		moved.Rows, moved.Place, from)
	return err
}

// deviceKey runs the command device-key. It reads only the setting NOTE_SIGN_KEY. It prints the
// key in hexadecimal digits, and then as firmware needs it.
func deviceKey(args []string, getenv func(string) string, stdout io.Writer) error {
	if len(args) != 1 {
		return usageError{fmt.Errorf("device-key takes one argument, the UID of the device\n%s", usage)}
	}
	device, ok := uid.Parse(args[0])
	if !ok {
		return usageError{fmt.Errorf("device-key: %.80q is no device UID such as dev:864475044215258", args[0])}
	}
	s, err := config.LoadOnly(config.Path(), getenv, "NOTE_SIGN_KEY")
	if err == nil && s.NoteSignKey == "" {
		err = errors.New("NOTE_SIGN_KEY: not set; write the output of: openssl rand -hex 32")
	}
	if err != nil {
		return usageError{err}
	}
	key := payment.DeviceKey(s.NoteKey(), device)
	_, err = fmt.Fprintf(stdout, "%x\n{%s}\n", key, strings.ReplaceAll(fmt.Sprintf("%# x", key), " ", ", "))
	return err
}

// runCheck runs the command check. With --alert it also sends a test alert.
func runCheck(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	test := len(args) == 1 && args[0] == "--alert"
	if len(args) > 0 && !test {
		return usageError{fmt.Errorf("check takes no arguments but --alert\n%s", usage)}
	}
	settings, err := config.Load(config.Path(), getenv)
	if err != nil {
		return usageError{err}
	}
	c := app.NewCheck(settings, newNotehub(settings), newStripe(settings))
	if test {
		c.TestAlert = app.AlertTest(settings)
	}
	return runChecks(ctx, c, stdout)
}

// runChecks prints one line per check as it ends: state, name, finding and, on failure, the remedy.
// It returns an error if a check failed.
func runChecks(ctx context.Context, c check.Config, stdout io.Writer) error {
	var printErr error
	c.Report = func(r check.Result) {
		line := fmt.Sprintf("%-7s  %s: %s", r.State, r.Name, r.Detail)
		if !r.Remedy.IsZero() {
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

// runSetup runs the command setup. It reads only the key and the addresses from the settings. If the
// user agrees, it writes what it created to the settings file.
func runSetup(ctx context.Context, file string, getenv func(string) string, stdin io.Reader, stdout io.Writer) error {
	s, err := config.LoadOnly(file, getenv, "STRIPE_SECRET_KEY", "PUBLIC_URL", "STRIPE_API_URL")
	if err == nil && s.PublicURL == "" {
		err = errors.New("PUBLIC_URL: required, the https:// address under which customers and Stripe reach notepay")
	}
	if err != nil {
		return usageError{err}
	}
	err = setup.Run(ctx, setup.Config{
		Stripe:    newStripe(s).Library(),
		Livemode:  s.Livemode(),
		PublicURL: s.PublicURL,
		EnvFile:   file,
		In:        stdin,
		Out:       stdout,
	})
	if err != nil {
		return fmt.Errorf("setup: %w", err)
	}
	return nil
}

// runInit runs the command init.
func runInit(ctx context.Context, file string, getenv func(string) string, stdin io.Reader, stdout io.Writer) error {
	err := setup.Init(ctx, setup.InitConfig{
		File:   file,
		Getenv: getenv,
		Connect: func(s *config.Settings) setup.Vendors {
			hub := newNotehub(s)
			return setup.Vendors{Check: app.NewCheck(s, hub, newStripe(s)), Routes: hub}
		},
		In:  stdin,
		Out: stdout,
	})
	if err != nil {
		return fmt.Errorf("init: %w", err)
	}
	return nil
}

// version returns the module version of the build, or "devel".
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

// versionLine returns the output of the command version.
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

// newLogger returns a logger with the level and format of the settings.
func newLogger(s *config.Settings, out io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(s.LogLevel)) // config.Load has validated it
	options := &slog.HandlerOptions{Level: level}
	if s.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(out, options))
	}
	return slog.New(slog.NewTextHandler(out, options))
}

// runDemo runs the command demo.
func runDemo(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	serveHere := func(
		ctx context.Context,
		s *config.Settings,
		log *slog.Logger,
		listener net.Listener,
		wrap func(http.Handler) http.Handler,
		listening func(string),
	) error {
		return serve(ctx, s, log, serveOptions{listener: listener, wrap: wrap, listening: listening})
	}
	err := launch.Run(ctx, args, getenv, stdout, serveHere)
	if wrong, ok := errors.AsType[launch.UsageError](err); ok {
		return usageError{fmt.Errorf("%w\n%s", wrong, usage)}
	}
	return err
}
