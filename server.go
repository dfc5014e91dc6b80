package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"

	"notepay/internal/app"
	"notepay/internal/config"
	"notepay/internal/ledger"
	"notepay/internal/vendortime"
)

const (
	answerTimeout     = 5 * time.Second // how long requests under way may take once we were told to stop
	callTimeoutAtStop = 4 * time.Second // and calls to the vendors
)

// serveOptions is what the demo adds to a service: a listener that is open already, something
// around its handler, and a word when it listens.
type serveOptions struct {
	listener  net.Listener // nil: serve listens itself
	wrap      func(http.Handler) http.Handler
	listening func(url string)
}

// serve runs the bridge until ctx ends. It listens first; what is remembered is loaded before the
// first answer, and recovery and refresh go on behind it.
func serve(ctx context.Context, s *config.Settings, log *slog.Logger, hooks serveOptions) (err error) {
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

	server, err := app.New(ctx, app.Config{
		Settings: s,
		Ledger:   l,
		Notehub:  newNotehub(s),
		Stripe:   newStripe(s),
		Log:      log,
		Version:  version(),
	})
	if err != nil {
		return err
	}
	handler := server.Handler()
	if hooks.wrap != nil {
		handler = hooks.wrap(handler)
	}
	front := server.HTTPServer(handler)

	// From here on in the order of the end: claims stop first, calls may finish, then their context
	// ends, and what they came to is still written down. What was not is in the ledger as under
	// way, and the next start looks before it repeats anything.
	claims, stopClaims := context.WithCancel(context.WithoutCancel(ctx))
	defer stopClaims()
	calls, stopCalls := context.WithCancel(context.WithoutCancel(ctx))
	defer stopCalls()
	worked := make(chan struct{})
	go func() {
		defer close(worked)
		server.Run(claims, calls)
	}()
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
	timer := time.AfterFunc(callTimeoutAtStop, stopCalls)
	defer timer.Stop()
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTimeout)
	defer cancel()
	if shutdownErr := front.Shutdown(limit); shutdownErr != nil {
		log.Warn("requests cut off", "err", shutdownErr)
		err = errors.Join(err, front.Close())
	}
	<-worked
	log.Info("stopped")
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

// browsable is an address to click on: a listener on all addresses is reached on this machine's
// own.
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
