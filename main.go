// Command notepay starts machines that were paid for: it is the bridge between Stripe and Blues
// Notehub.
//
// It promises that for every payment that Stripe took, the machine gets its one credit. README.md
// says how to run it, docs/architecture.md how it is built.
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
	"syscall"

	"notepay/internal/app"
	"notepay/internal/check"
	"notepay/internal/config"
	"notepay/internal/demo"
	"notepay/internal/ledger"
	"notepay/internal/setup"
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
		settings, err := config.Load(config.File, getenv)
		if err != nil {
			return usageError{err}
		}
		log := newLogger(settings, stdout)
		for _, warning := range config.EnvironmentWarnings(config.File) {
			log.Warn("suspicious setting", "detail", warning)
		}
		return serve(ctx, settings, log, serveOptions{})
	case "check":
		settings, err := config.Load(config.File, getenv)
		if err != nil {
			return usageError{err}
		}
		return runChecks(ctx, app.NewCheck(settings, newNotehub(settings), newStripe(settings)), stdout)
	case "setup":
		return runSetup(ctx, config.File, getenv, os.Stdin, stdout)
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

// backup copies the ledger. Of the settings it needs but one, so that it also runs where the others
// are not at hand.
func backup(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	if len(args) != 1 || args[0] == "" {
		return usageError{fmt.Errorf("backup takes one argument, the file to write\n%s", usage)}
	}
	database, err := config.Database(config.File, getenv)
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
	database, err := config.Database(config.File, getenv)
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

// runChecks prints each result as it is found, one a line: a question where the answer is no, and
// the problem where it is yes.
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

// runSetup needs but the key and the public address. What it finds may go into the file of the
// settings.
func runSetup(ctx context.Context, file string, getenv func(string) string, stdin io.Reader, stdout io.Writer) error {
	s, err := config.LoadOnly(file, getenv, "STRIPE_SECRET_KEY", "PUBLIC_URL", "STRIPE_API_URL")
	if err == nil && s.PublicURL == "" {
		err = errors.New("PUBLIC_URL: required, the https:// address under which customers and Stripe reach notepay")
	}
	if err != nil {
		return usageError{err}
	}
	err = setup.Run(ctx, setup.Config{
		Stripe:    newStripe(s).Client,
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

// runDemo runs the bridge against the sandbox, both on loopback, with a ledger that is gone
// afterwards.
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
	// only now that the port is known: it is where customers come back to
	values["PUBLIC_URL"] = "http://" + values["LISTEN_ADDR"]
	values["DATABASE_URL"] = filepath.Join(dir, "notepay.db")
	values["CAPTURE"] = getenv("CAPTURE") // on_start shows money that is held first
	settings, err := config.Load(filepath.Join(dir, ".env"), func(name string) string { return values[name] })
	if err != nil {
		return errors.Join(fmt.Errorf("demo: %w", err), listener.Close(), bridge.Close())
	}

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	front := &http.Server{Handler: simulated.Handler(), ReadHeaderTimeout: app.ReadHeaderLimit}
	ended := make(chan error, 2)
	go func() { ended <- front.Serve(listener) }()
	go func() { ended <- simulated.Run(ctx) }()
	err = serve(
		ctx,
		settings,
		log,
		serveOptions{listener: bridge, wrap: simulated.Watch, listening: func(bridge string) {
			simulated.Connect(bridge)
			fmt.Fprintf(
				stdout,
				"\n  notepay demo: Stripe, Notehub and the machines are simulated. No money moves.\n\n  Open     %s\n  Pay      %s/pay?device=%s\n  Operate  %s/operator (token: %s)\n\n  Press Ctrl-C to stop. Nothing is left behind.\n\n",
				pages,
				bridge,
				simulated.Devices()[0],
				bridge,
				values["OPERATOR_TOKEN"],
			)
		}},
	)
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
