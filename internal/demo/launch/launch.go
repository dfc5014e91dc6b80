// Package launch runs the command `notepay demo`: its ports, its addresses and its directory. It does
// not know how the service is run; its caller does.
package launch

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"notepay/internal/app"
	"notepay/internal/config"
	"notepay/internal/demo"
	"notepay/internal/setup"
)

// The ports of the demo, if DEMO_PORT and PORT do not say otherwise.
const (
	pagePort    = "3001"
	notepayPort = "3000"
)

// Serve runs the service on a listener until ctx ends. It wraps the service's handler, and calls
// listening once with the address.
type Serve func(
	ctx context.Context,
	s *config.Settings,
	log *slog.Logger,
	listener net.Listener,
	wrap func(http.Handler) http.Handler,
	listening func(url string),
) error

// UsageError says what is wrong with the command line or DEMO_HOST.
type UsageError struct{ error }

// options are the flags of the command.
type options struct {
	keep string // a directory with the settings and the ledger of an own notepay; "" for none
	host string // "lan" or an address of this computer that phones reach; "" for this computer only
}

// parse reads the command line.
func parse(args []string, getenv func(string) string) (o options, err error) {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&o.keep, "keep", "", "")
	flags.StringVar(&o.host, "host", getenv("DEMO_HOST"), "")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
		return o, UsageError{errors.New("demo takes --host lan and --keep DIR")}
	}
	return o, nil
}

// Run runs the service against the sandbox, with a ledger that it removes at the end. With keep
// it runs only the sandbox, and another process runs the service.
func Run(
	ctx context.Context,
	args []string,
	getenv func(string) string,
	stdout io.Writer,
	serve Serve,
) (err error) {
	o, err := parse(args, getenv)
	if err != nil {
		return err
	}
	host, err := hostOf(o.host)
	if err != nil {
		return UsageError{fmt.Errorf("demo: %w", err)}
	}
	if o.keep != "" {
		return keep(ctx, o.keep, host, getenv, stdout)
	}
	dir, err := os.MkdirTemp("", "notepay-demo-")
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	listener, err := listen(host, getenv("DEMO_PORT"), pagePort, "DEMO_PORT")
	if err != nil {
		return err
	}
	pages := urlOf(host, listener)
	log := slog.New(slog.NewTextHandler(stdout, &slog.HandlerOptions{Level: slog.LevelWarn}))
	simulated := demo.New(demo.Config{Log: log, Sessions: getenv("CHECKOUT") == "session"})
	values := simulated.Settings(pages)
	service, err := listen(host, getenv("PORT"), notepayPort, "PORT")
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	values["LISTEN_ADDR"] = service.Addr().String()
	// Stripe's page returns customers to this address, so the port must be known.
	values["PUBLIC_URL"] = urlOf(host, service)
	values["DATABASE_URL"] = filepath.Join(dir, "notepay.db")
	// on_start shows authorizations, session shows Checkout Sessions; the others are what customers see.
	for _, name := range []string{"CAPTURE", "CHECKOUT", "BRAND_NAME", "BRAND_COLOR", "SUPPORT_CONTACT", "TZ"} {
		values[name] = cmp.Or(getenv(name), values[name])
	}
	settings, err := config.Load(filepath.Join(dir, ".env"), func(name string) string { return values[name] })
	if err != nil {
		return errors.Join(fmt.Errorf("demo: %w", err), listener.Close(), service.Close())
	}

	boards, err := offerBoards(simulated, listener)
	if err != nil {
		return errors.Join(err, listener.Close(), service.Close())
	}

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := serveSimulation(ctx, simulated, listener)
	listening := func(string) {
		url := values["PUBLIC_URL"]
		simulated.Connect(url)
		fmt.Fprintf(stdout, welcome, pages, url, simulated.Devices()[0], url, values["OPERATOR_TOKEN"], boards)
	}
	err = serve(ctx, settings, log, service, simulated.Watch, listening)
	stop()
	return errors.Join(err, ended())
}

// serveSimulation serves and runs the simulation until ctx ends. The result waits for its end.
func serveSimulation(ctx context.Context, simulated *demo.Demo, listener net.Listener) func() error {
	server := &http.Server{Handler: simulated.Handler(), ReadHeaderTimeout: app.ReadHeaderTimeout}
	ended := make(chan error, 2)
	go func() { ended <- server.Serve(listener) }()
	go func() { ended <- simulated.Run(ctx) }()
	return func() error {
		return errors.Join(server.Close(), unlessClosed(<-ended), unlessClosed(<-ended))
	}
}

// offerBoards opens one port of this computer for each machine, and returns their addresses. The
// ports are ten above the demo's, or any that are free. Other computers never reach them.
func offerBoards(simulated *demo.Demo, pages net.Listener) (addresses string, err error) {
	first, err := strconv.Atoi(portOf(pages.Addr().String()))
	if err != nil {
		return "", fmt.Errorf("demo: port of the page: %w", err)
	}
	var opened []net.Listener
	for i := range simulated.Devices() {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(first+10+i)))
		if err != nil {
			l, err = net.Listen("tcp", "127.0.0.1:0")
		}
		if err != nil {
			for _, l := range opened {
				err = errors.Join(err, l.Close())
			}
			return "", fmt.Errorf("demo: port for a board: %w", err)
		}
		opened = append(opened, l)
		addresses = strings.TrimSpace(addresses + " " + l.Addr().String())
	}
	simulated.OfferBoards(opened)
	return addresses, nil
}

// keep runs only the simulated vendors and machines. Their keys are in the settings file of dir,
// with which the command serve runs against them. The service's ledger stays in dir.
func keep(
	ctx context.Context,
	dir string,
	host string,
	getenv func(string) string,
	stdout io.Writer,
) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	file := filepath.Join(dir, config.File)
	kept, err := config.ReadFile(file)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	port := portOf(kept["STRIPE_API_URL"]) // the addresses in the file stay valid
	listener, err := listen(host, cmp.Or(getenv("DEMO_PORT"), port), pagePort, "DEMO_PORT")
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(stdout, &slog.HandlerOptions{Level: slog.LevelWarn}))
	simulated := demo.New(demo.Config{Log: log, Kept: kept, Sessions: kept["CHECKOUT"] == "session"})
	pages := urlOf(host, listener)
	values := simulated.Settings(pages)
	port = cmp.Or(getenv("PORT"), portOf(kept["LISTEN_ADDR"]), notepayPort)
	values["PUBLIC_URL"] = "http://" + net.JoinHostPort(cmp.Or(host, "127.0.0.1"), port)
	values["LISTEN_ADDR"] = net.JoinHostPort(bindHost(host), port)
	if err := setAside(dir); err != nil {
		return errors.Join(fmt.Errorf("demo: %w", err), listener.Close())
	}
	if err := setup.WriteSettings(file, config.Names(), values); err != nil {
		return errors.Join(fmt.Errorf("demo: write %s: %w", file, err), listener.Close())
	}
	boards, err := offerBoards(simulated, listener)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := serveSimulation(ctx, simulated, listener)
	simulated.Connect(values["PUBLIC_URL"])
	fmt.Fprintf(stdout, keptText, pages, boards, file)
	for _, name := range config.Names() {
		if values[name] != "" {
			fmt.Fprintf(stdout, "  %s=%s\n", name, values[name])
		}
	}
	fmt.Fprintf(stdout, keptHint, dir, values["PUBLIC_URL"])
	<-ctx.Done()
	return ended()
}

// setAside moves the ledger of an earlier run into a directory of its own. Its payments are of a
// simulated Stripe that no longer exists.
func setAside(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "notepay.db*"))
	if err != nil || len(files) == 0 {
		return err
	}
	for n := 1; ; n++ {
		aside := filepath.Join(dir, fmt.Sprintf("earlier-%d", n))
		if err := os.Mkdir(aside, 0o700); errors.Is(err, fs.ErrExist) {
			continue
		} else if err != nil {
			return err
		}
		for _, file := range files {
			if err := os.Rename(file, filepath.Join(aside, filepath.Base(file))); err != nil {
				return err
			}
		}
		return nil
	}
}

// hostOf returns the address at which phones reach this computer, or "" for none.
func hostOf(wanted string) (string, error) {
	if wanted != "lan" {
		if wanted == "" {
			return "", nil
		}
		if _, err := netip.ParseAddr(wanted); err != nil {
			return "", fmt.Errorf("DEMO_HOST: %q is neither lan nor an address such as 192.168.1.20", wanted)
		}
		return wanted, nil
	}
	// Connecting a UDP socket sends nothing. It only chooses the address of this computer, which a
	// route to the Internet uses.
	if c, err := net.Dial("udp4", "192.0.2.1:9"); err == nil {
		local := c.LocalAddr().(*net.UDPAddr).IP
		if err := c.Close(); err != nil {
			return "", err
		}
		if !local.IsLoopback() && !local.IsUnspecified() {
			return local.String(), nil
		}
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return "", err
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsPrivate() {
			return n.IP.String(), nil
		}
	}
	return "", errors.New("this computer is in no local network; DEMO_HOST can also be its address")
}

// bindHost returns the host to listen on. Phones and this computer's own calls both have to reach it.
func bindHost(host string) string {
	if host == "" {
		return "127.0.0.1"
	}
	return "0.0.0.0"
}

// listen listens on the wanted port. If none is wanted, it listens on the usual one, or on a free
// one if that is taken.
func listen(host, wanted, usual, setting string) (net.Listener, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(bindHost(host), cmp.Or(wanted, usual)))
	if err != nil && wanted == "" && errors.Is(err, syscall.EADDRINUSE) {
		l, err = net.Listen("tcp", net.JoinHostPort(bindHost(host), "0"))
	}
	if err != nil {
		return nil, fmt.Errorf("demo: %w (set %s to another port, or 0)", err, setting)
	}
	return l, nil
}

// urlOf returns the address of a listener for browsers.
func urlOf(host string, l net.Listener) string {
	return "http://" + net.JoinHostPort(cmp.Or(host, "127.0.0.1"), portOf(l.Addr().String()))
}

// portOf returns the port of an address or URL without a path, or "".
func portOf(address string) string {
	_, port, err := net.SplitHostPort(strings.TrimPrefix(address, "http://"))
	if err != nil {
		return ""
	}
	return port
}

const welcome = `
  notepay demo: Stripe, Notehub and the machines are simulated. No money moves.

  Open     %s
  Pay      %s/pay?device=%s
  Operate  %s/operator (token: %s)
  Boards   %s

  Press Ctrl-C to stop. Nothing is left behind.

`

const keptText = `
  notepay demo: Stripe, Notehub and the machines are simulated. No money moves.
  Their page is %s. Boards connect to %s.
  These settings are in %s:

`

const keptHint = `
  Now run the real service against them, in another terminal:

    cd %s && notepay serve

  It is at %s. The directory keeps the settings and the ledger.
  The simulated money is gone when this command stops, and the next run begins a
  new ledger. Press Ctrl-C to stop.

`

// unlessClosed returns err, or nil if err only says that the server was closed.
func unlessClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
