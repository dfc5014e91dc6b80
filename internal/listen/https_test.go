package listen

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"notepay/internal/config"
	"notepay/internal/problem"
)

const testDomain = "pay.example.com"

// https is the built-in HTTPS with a certificate from files, in front of a handler that says ok.
type https struct {
	main, redirect string // addresses
	roots          *x509.CertPool
}

func newHTTPS(t *testing.T) *https {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     []string{testDomain},
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	file := filepath.Join(t.TempDir(), "both.pem")
	both := append(certificate, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})...)
	if err := os.WriteFile(file, both, 0o600); err != nil {
		t.Fatal(err)
	}
	s := &config.Settings{
		ListenAddr:      "127.0.0.1:0",
		TLSRedirectAddr: "127.0.0.1:0",
		TLSCertFile:     file,
		TLSKeyFile:      file,
		PublicURL:       "https://" + testDomain,
	}
	sockets, err := Open(s)
	if err != nil {
		t.Fatal(err)
	}
	h, err := NewHTTPS(t.Context(), s, nil, &problem.Board{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	answer := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }
	server := &http.Server{
		Handler:           http.HandlerFunc(answer),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
	served := make(chan error, 2)
	plain := h.Serve(server, sockets, &Newcomers{}, served)
	t.Cleanup(func() {
		if err := errors.Join(server.Close(), plain.Close()); err != nil {
			t.Error(err)
		}
		for range 2 {
			if err := <-served; !errors.Is(err, http.ErrServerClosed) {
				t.Error(err)
			}
		}
	})
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certificate)
	return &https{main: sockets.Main.Addr().String(), redirect: sockets.Redirect.Addr().String(), roots: roots}
}

// client returns a client that connects to the server whatever the URL's host is.
func (h *https) client(t *testing.T, maxVersion uint16) *http.Client {
	transport := &http.Transport{
		ForceAttemptHTTP2: maxVersion == 0 || maxVersion >= tls.VersionTLS12, // else the version alone decides
		TLSClientConfig:   &tls.Config{RootCAs: h.roots, MinVersion: tls.VersionTLS10, MaxVersion: maxVersion},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, h.main)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

func TestHTTPSVersionsAndHeaders(t *testing.T) {
	t.Parallel()
	h := newHTTPS(t)
	for version, want := range map[uint16]bool{
		tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true,
	} {
		r, err := h.client(t, version).Get("https://" + testDomain + "/")
		if (err == nil) != want {
			t.Errorf("%s: %v; want an answer: %v", tls.VersionName(version), err, want)
		}
		if err != nil {
			continue
		}
		_ = r.Body.Close()
		if r.ProtoMajor != 2 || r.Header.Get("Strict-Transport-Security") != "max-age=31536000" {
			t.Errorf("%s, %v; want HTTP/2 and HSTS for a year", r.Proto, r.Header)
		}
	}
	// A request in the clear to the port of HTTPS, and one to that of http.
	r, err := http.Get("http://" + h.main + "/")
	if err != nil || r.StatusCode != http.StatusBadRequest {
		t.Errorf("http to the port of HTTPS: %v, %v; want 400", r, err)
	}
	if err == nil {
		_ = r.Body.Close()
	}
	r, err = http.DefaultTransport.RoundTrip(newGet(t, "http://"+h.redirect+"/pay?device=dev:1"))
	if err != nil || r.Header.Get("Location") != "https://"+testDomain+"/pay?device=dev:1" {
		t.Errorf("http: %v, %v; want a redirect", r, err)
	}
	if err == nil {
		_ = r.Body.Close()
	}
}

func newGet(t *testing.T, url string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestHTTPSUnderRapidReset opens and resets streams as fast as the server takes them, while another
// client asks.
func TestHTTPSUnderRapidReset(t *testing.T) {
	t.Parallel()
	h := newHTTPS(t)
	conn, err := tls.Dial("tcp", h.main, &tls.Config{
		RootCAs: h.roots, ServerName: testDomain, NextProtos: []string{"h2"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = io.Copy(io.Discard, conn)
	}()
	frame := func(kind, flags byte, stream int, payload string) string {
		head := []byte{0, 0, byte(len(payload)), kind, flags, 0, byte(stream >> 16), byte(stream >> 8), byte(stream)}
		return string(head) + payload
	}
	// :method GET, :scheme https and :path / are in the static table of HPACK.
	fields := "\x82\x87\x84\x01" + string(rune(len(testDomain))) + testDomain
	text := "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, "") + frame(4, 1, 0, "")
	client := h.client(t, 0)
	for stream := 1; stream < 40_000 && err == nil; {
		for range 500 {
			text += frame(1, 5, stream, fields) + frame(3, 0, stream, "\x00\x00\x00\x08")
			stream += 2
		}
		if _, err = io.WriteString(conn, text); err != nil {
			break // the server has had enough
		}
		text = ""
		r, callErr := client.Get("https://" + testDomain + "/")
		if callErr != nil {
			t.Fatalf("another client: %v", callErr)
		}
		body, _ := io.ReadAll(r.Body)
		_ = r.Body.Close()
		if !strings.Contains(string(body), "ok") {
			t.Fatalf("another client gets %q", body)
		}
	}
	_ = conn.Close()
	<-gone
}
