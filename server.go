package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"sync"
	"time"

	"notepay/internal/app"
	"notepay/internal/config"
	"notepay/internal/heap"
	"notepay/internal/ledger"
	"notepay/internal/listen"
	"notepay/internal/sdnotify"
	"notepay/internal/vendortime"
)

// The limits of an orderly stop. They stay well below 10 s, after which Docker kills a process.
const (
	callTimeoutAtStop    = 4 * time.Second // for calls to the vendors that are under way
	newcomerWaitAtStop   = 2 * time.Second // for the first request of each open connection
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
	sockets := listen.Sockets{Main: o.listener}
	if o.listener == nil {
		if sockets, err = listen.Open(s); err != nil {
			return err
		}
		if err := sockets.Keep(); err != nil {
			log.Warn("sockets not kept by systemd", "err", err)
		}
	}
	defer func() { err = errors.Join(err, sockets.Close()) }()
	defer runtime.KeepAlive(heap.Ballast())
	l, err := ledger.Opening{
		Identity: app.Identity(s),
		Clock:    vendortime.New(nil),
		Waiting:  func(why string) { log.Warn("start waits", "reason", why) },
	}.Open(ctx, string(s.DatabaseURL))
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
	var https *listen.HTTPS // nil if notepay does not speak HTTPS itself
	if s.TLS() {
		if https, err = listen.NewHTTPS(ctx, s, l, service.Problems, log); err != nil {
			return err
		}
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
		var loops sync.WaitGroup
		if https != nil {
			loops.Go(func() { https.Run(claims) })
		}
		service.Run(claims, calls)
		loops.Wait()
	}()
	server := service.HTTPServer(handler)
	served := make(chan error, 2)
	addr := sockets.Main.Addr().String()
	url := "http://" + displayAddr(addr)
	servers := []*http.Server{server}
	newcomers := &listen.Newcomers{}
	if https == nil {
		newcomers.Watch(server)
		go func() { served <- server.Serve(sockets.Main) }()
	} else {
		url = cmp.Or(s.PublicURL, "https://"+displayAddr(addr))
		if plain := https.Serve(server, sockets, newcomers, served); plain != nil {
			servers = append(servers, plain)
		}
	}
	log.Info("listening", "addr", addr, "url", url, "version", version())
	if o.listening != nil {
		o.listening(url)
	}

	notified := make(chan struct{})
	watched, stopWatching := context.WithCancel(ctx)
	go func() {
		defer close(notified)
		sdnotify.Run(watched, os.Getenv, log, func(ctx context.Context) {
			_, _ = l.Cursor(ctx, "watchdog") // only whether the ledger hangs counts, /health tells the rest
		})
	}()
	defer func() { stopWatching(); <-notified }()

	serving := len(servers)
	select {
	case err = <-served: // the listener failed
		serving--
	case <-ctx.Done():
		log.Info("stopping")
	case <-l.Lost():
		err = ledger.ErrLeaseLost
		log.Error("ledger lease lost, stopping", "err", err)
	}
	accepted := func() { // blocks until no more connections are accepted and the newcomers have arrived
		if closeErr := sockets.Close(); closeErr != nil {
			log.Warn("socket not closed", "err", closeErr)
		}
		for range serving {
			<-served
		}
		newcomers.Wait(newcomerWaitAtStop)
	}
	stopErr := stop(ctx, servers, log, accepted, stopClaims, stopCalls, work)
	log.Info("stopped")
	return errors.Join(err, stopErr)
}

// stop ends the service in this order:
//
//  1. Stop claiming payments. Nothing new is sent to the vendors.
//  2. Close the listener, and let the first request of each open connection arrive, for at most
//     newcomerWaitAtStop. Its client could not tell otherwise that it has to connect again.
//  3. End the live pages and event streams, and let requests finish, for at most requestTimeoutAtStop.
//     Then cut them off.
//  4. Meanwhile let calls to the vendors finish, for at most callTimeoutAtStop. Then cancel them.
//  5. Record the results of all calls, and return. The caller closes the ledger.
//
// An unrecorded call stays in flight in the ledger. The next start checks it before it retries.
func stop(
	ctx context.Context,
	servers []*http.Server,
	log *slog.Logger,
	accepted, stopClaims, stopCalls func(),
	work <-chan struct{},
) (err error) {
	stopClaims()
	timer := time.AfterFunc(callTimeoutAtStop, stopCalls)
	defer timer.Stop()
	accepted()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeoutAtStop)
	defer cancel()
	for _, server := range servers {
		if shutdownErr := server.Shutdown(ctx); shutdownErr != nil {
			log.Warn("requests cut off", "err", shutdownErr)
			err = errors.Join(err, server.Close())
		}
	}
	<-work
	return err
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
