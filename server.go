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

// The limits of an orderly stop. They stay well below 10 s, after which Docker kills a process.
const (
	callTimeoutAtStop    = 4 * time.Second // for calls to the vendors that are under way
	requestTimeoutAtStop = 5 * time.Second // for requests that are under way
)

// serveOptions lets the demo supply a listener, wrap the handler, and learn the URL.
type serveOptions struct {
	listener  net.Listener                    // nil: serve listens on the address of the settings
	wrap      func(http.Handler) http.Handler // nil: nothing
	listening func(url string)                // called once when serve listens; nil: nothing
}

// serve runs the service until ctx ends, the listener fails, or the lock on the ledger is lost.
//
// It listens first, so that a second process fails at once. Then it opens the ledger and loads the
// fleet. Requests that arrive meanwhile wait. Recovery and the first refresh go on while it serves.
func serve(ctx context.Context, s *config.Settings, log *slog.Logger, o serveOptions) (err error) {
	listener := o.listener
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
	service, err := app.New(ctx, app.Config{
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
	handler := service.Handler()
	if o.wrap != nil {
		handler = o.wrap(handler)
	}

	// Neither context ends with ctx, because stop ends them in order.
	claims, stopClaims := context.WithCancel(context.WithoutCancel(ctx))
	defer stopClaims()
	calls, stopCalls := context.WithCancel(context.WithoutCancel(ctx))
	defer stopCalls()
	work := make(chan struct{})
	go func() {
		defer close(work)
		service.Run(claims, calls)
	}()
	server := service.HTTPServer(handler)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	addr := listener.Addr().String()
	url := "http://" + displayAddr(addr)
	log.Info("listening", "addr", addr, "url", url, "version", version())
	if o.listening != nil {
		o.listening(url)
	}

	select {
	case err = <-served: // the listener failed
	case <-ctx.Done():
		log.Info("stopping")
	case <-l.Lost():
		err = ledger.ErrLockLost
		log.Error("ledger lock lost, stopping", "err", err)
	}
	stopErr := stop(ctx, server, log, stopClaims, stopCalls, work)
	log.Info("stopped")
	return errors.Join(err, stopErr)
}

// stop ends the service in this order:
//
//  1. Stop claiming payments. Nothing new is sent to the vendors.
//  2. Close the listener, end the live pages and event streams, and let requests finish, for at most
//     requestTimeoutAtStop. Then cut them off.
//  3. Meanwhile let calls to the vendors finish, for at most callTimeoutAtStop. Then cancel them.
//  4. Record the results of all calls, and return. The caller closes the ledger.
//
// An unrecorded call stays in flight in the ledger. The next start checks it before it retries.
func stop(
	ctx context.Context,
	server *http.Server,
	log *slog.Logger,
	stopClaims, stopCalls func(),
	work <-chan struct{},
) (err error) {
	stopClaims()
	timer := time.AfterFunc(callTimeoutAtStop, stopCalls)
	defer timer.Stop()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeoutAtStop)
	defer cancel()
	if shutdownErr := server.Shutdown(ctx); shutdownErr != nil {
		log.Warn("requests cut off", "err", shutdownErr)
		err = server.Close()
	}
	<-work
	return err
}

// listenError returns which address is in use, and which setting changes it.
func listenError(s *config.Settings, err error) error {
	if !errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("listen: %w", err)
	}
	if s.ListenAddr == "" {
		return fmt.Errorf("port %d is taken by another program: set PORT or LISTEN_ADDR", s.Port)
	}
	return fmt.Errorf("%s is taken by another program: set LISTEN_ADDR", s.ListenAddr)
}

// displayAddr returns an address for a link. A listener on all addresses is shown as localhost.
func displayAddr(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}
