package listen

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"notepay/internal/certs"
	"notepay/internal/config"
	"notepay/internal/message"
	"notepay/internal/problem"
)

// The limits of the built-in HTTPS for clients.
const (
	maxStreams     = 100 // of an HTTP/2 connection; a browser needs a few
	maxStreamBytes = 64 << 10
	// stuckWriteTimeout is how long a client of HTTP/2 may take nothing of what it is sent.
	stuckWriteTimeout = 15 * time.Second
	// minHandshakeTimeout is the minimum that net/http gives a handshake, and also the header of a
	// request. On a slow mobile network a handshake takes seconds.
	minHandshakeTimeout = 10 * time.Second
	// hstsHeader makes browsers use https:// alone for a year.
	hstsHeader = "max-age=31536000"
)

// HTTPS is the built-in HTTPS.
type HTTPS struct {
	source    certs.Source
	publicURL string
	problem   atomic.Value // of the certificate; a string, "" for none
}

// NewHTTPS returns the HTTPS for the settings, which must ask for it. store keeps what is ordered,
// and board gets the problems of the certificate. The error names the setting that is wrong.
func NewHTTPS(
	ctx context.Context,
	s *config.Settings,
	store certs.Store,
	board *problem.Board,
	log *slog.Logger,
) (*HTTPS, error) {
	h := &HTTPS{publicURL: s.PublicURL}
	h.problem.Store("")
	report := func(text message.Message, cause string) {
		h.problem.Store(text.String())
		if text.IsZero() {
			board.Clear(problem.Certificate)
			return
		}
		if board.Raise(problem.Problem{Code: problem.Certificate, Text: text, Detail: cause}) {
			log.Error("certificate needs attention", "detail", text.String())
		}
	}
	if !s.ACME() {
		var err error
		h.source, err = certs.NewFiles(s.TLSCertFile, s.TLSKeyFile, log, report)
		return h, err
	}
	issuer, err := certs.NewACME(s.ACMEDirectory, s.ACMECAFile, store)
	if err != nil {
		return nil, err
	}
	h.source, err = certs.NewManaged(ctx, s.Domains(), issuer, store, log, report)
	return h, err
}

// Run keeps the certificate valid until ctx ends.
func (h *HTTPS) Run(ctx context.Context) { h.source.Run(ctx) }

// Serve serves HTTPS with server, and http:// on its own socket. Both end with one value in served,
// which must have room for two. It returns the server for http://, nil for none.
func (h *HTTPS) Serve(server *http.Server, o Sockets, newcomers *Newcomers, served chan<- error) (plain *http.Server) {
	h.secure(server)
	limited := Limit(o.Main, MaxConnections)
	server.ConnState = limited.ConnState
	newcomers.Watch(server)
	go func() { served <- server.ServeTLS(limited, "", "") }()
	if o.Redirect == nil {
		return nil
	}
	limitedPlain := Limit(o.Redirect, MaxConnections/10)
	plain = &http.Server{
		Handler: certs.NewPlain(h.source, h.publicURL, func() string {
			text, _ := h.problem.Load().(string)
			return text
		}),
		ReadHeaderTimeout: server.ReadHeaderTimeout,
		ReadTimeout:       server.ReadTimeout,
		IdleTimeout:       server.ReadTimeout,
		WriteTimeout:      server.ReadTimeout,
		MaxHeaderBytes:    server.MaxHeaderBytes,
		ErrorLog:          server.ErrorLog,
		ConnState:         limitedPlain.ConnState,
	}
	newcomers.Watch(plain)
	go func() { served <- plain.Serve(limitedPlain) }()
	return plain
}

// secure makes server speak HTTPS.
func (h *HTTPS) secure(server *http.Server) {
	server.ReadHeaderTimeout = max(server.ReadHeaderTimeout, minHandshakeTimeout)
	server.TLSConfig = &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: h.source.Certificate,
	}
	server.HTTP2 = &http.HTTP2Config{
		MaxConcurrentStreams:          maxStreams,
		MaxReceiveBufferPerConnection: maxStreamBytes,
		MaxReceiveBufferPerStream:     maxStreamBytes,
		WriteByteTimeout:              stuckWriteTimeout,
	}
	next := server.Handler
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Strict-Transport-Security", hstsHeader)
		next.ServeHTTP(w, r)
	})
}

// LocalClient returns a client for the notepay that speaks HTTPS on this host. It does not verify the
// certificate, because that is about the public name, and checks and customers verify it there.
func LocalClient(s *config.Settings) *http.Client {
	name := ""
	if domains := s.Domains(); len(domains) > 0 {
		name = domains[0]
	}
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: name},
	}}
}
