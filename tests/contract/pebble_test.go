package contract

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"
)

// domain is the domain for which certificates are ordered in tests.
const domain = "pay.example.com"

// authority is Let's Encrypt's test server, with a DNS of its own.
type authority struct {
	*testing.T
	redirectAddr string // the address that the authority takes for port 80
	directory    string
	rootFile     string         // verifies the directory's HTTPS
	issuerRoots  *x509.CertPool // verifies the issued certificates
	issuerFile   string         // the same as a file
	orders       atomic.Int64   // taken or refused by the rate limit; a repeat after a refused nonce is the same
	limited      atomic.Bool    // whether new orders are refused by a rate limit

	mu      sync.Mutex
	address string // of domain in the DNS; "" for none
}

// newAuthority starts an authority whose certificates are valid for a time.
func newAuthority(t *testing.T, validity time.Duration) *authority {
	t.Helper()
	return newAuthorityAt(t, freeAddr(t), validity)
}

// newAuthorityAt is newAuthority with the address that the authority takes for port 80.
func newAuthorityAt(t *testing.T, redirectAddr string, validity time.Duration) *authority {
	t.Helper()
	if err := os.Setenv("PEBBLE_VA_NOSLEEP", "1"); err != nil {
		t.Fatal(err)
	}
	a := &authority{T: t, redirectAddr: redirectAddr, address: "127.0.0.1"}
	resolver, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	names := &dns.Server{Listener: resolver, Handler: dns.HandlerFunc(a.resolve)}
	go func() { _ = names.ActivateAndServe() }()
	t.Cleanup(func() { _ = names.Shutdown() })

	_, portText, err := net.SplitHostPort(a.redirectAddr)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		t.Fatal(err)
	}
	logger := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	profiles := map[string]ca.Profile{"default": {ValidityPeriod: uint64(validity / time.Second)}}
	issuer := ca.New(logger, store, "", "ecdsa", 0, 1, profiles)
	validator := va.New(logger, port, 1, false, resolver.Addr().String(), store)
	front := wfe.New(logger, store, validator, issuer, []string{"pebble.letsencrypt.org"}, true, false, 1, 1)
	handler := front.Handler()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/order-plz") {
			handler.ServeHTTP(w, r)
			return
		}
		if a.limited.Load() {
			a.orders.Add(1)
			w.Header().Set("Content-Type", "application/problem+json")
			w.Header().Set("Retry-After", "7200")
			w.Header().Set("Replay-Nonce", "unused")
			w.WriteHeader(http.StatusTooManyRequests)
			fmt.Fprint(w, `{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many certificates"}`)
			return
		}
		handler.ServeHTTP(&statusWriter{w, func(status int) {
			if status == http.StatusCreated {
				a.orders.Add(1)
			}
		}}, r)
	}))
	t.Cleanup(server.Close)
	a.directory = server.URL + wfe.DirectoryPath
	dir := t.TempDir()
	a.rootFile = filepath.Join(dir, "directory.pem")
	a.issuerFile = filepath.Join(dir, "issuer.pem")
	root := issuer.GetRootCert(0).PEM()
	a.issuerRoots = x509.NewCertPool()
	if !a.issuerRoots.AppendCertsFromPEM(root) {
		t.Fatal("the authority has no root")
	}
	own := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	for file, text := range map[string][]byte{a.rootFile: own, a.issuerFile: root} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

// statusWriter calls onStatus with the status of a reply.
type statusWriter struct {
	http.ResponseWriter
	onStatus func(status int)
}

func (w *statusWriter) WriteHeader(status int) {
	w.onStatus(status)
	w.ResponseWriter.WriteHeader(status)
}

// freeAddr returns an address on loopback that is free.
func freeAddr(t *testing.T) string {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer free.Close()
	return free.Addr().String()
}

// point makes the DNS return another address for the domain, "" for none.
func (a *authority) point(address string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.address = address
}

// elsewhere makes the DNS lead to another web server.
func (a *authority) elsewhere() {
	a.Helper()
	const host = "127.0.0.78"
	_, port, err := net.SplitHostPort(a.redirectAddr)
	if err != nil {
		a.Fatal(err)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		a.Fatal(err)
	}
	other := httptest.NewUnstartedServer(http.NotFoundHandler())
	other.Listener = l
	other.Start()
	a.Cleanup(other.Close)
	a.point(host)
}

func (a *authority) resolve(w dns.ResponseWriter, question *dns.Msg) {
	a.mu.Lock()
	address := a.address
	a.mu.Unlock()
	answer := new(dns.Msg)
	answer.SetReply(question)
	for _, q := range question.Question {
		switch {
		case address == "":
			answer.Rcode = dns.RcodeNameError
		case q.Qtype == dns.TypeA:
			record, err := dns.NewRR(q.Name + " 60 IN A " + address)
			if err != nil {
				a.Error(err)
				continue
			}
			answer.Answer = append(answer.Answer, record)
		}
	}
	_ = w.WriteMsg(answer)
}

// settings returns the settings of the built-in HTTPS, as pairs of name and value.
func (a *authority) settings() []string {
	return []string{
		"TLS_DOMAINS", domain,
		"TLS_REDIRECT_ADDR", a.redirectAddr,
		"ACME_DIRECTORY", a.directory,
		"ACME_CA_FILE", a.rootFile,
		"PUBLIC_URL", "",
	}
}

// startHTTPS starts notepay with its own HTTPS. Stripe's simulation does not reach it by itself.
func (w *world) startHTTPS(a *authority, changes ...string) (p *program, client *http.Client) {
	w.Helper()
	p, found := launch(w.T, w.bell, w.changed(append(a.settings(), changes...)), listening)
	p.url = "https://" + domain
	addr := found[1]
	p.addr = addr
	transport := &http.Transport{
		ForceAttemptHTTP2: true,
		TLSClientConfig:   &tls.Config{RootCAs: a.issuerRoots},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		},
	}
	w.Cleanup(transport.CloseIdleConnections)
	client = &http.Client{
		Transport:     transport,
		Timeout:       waitTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return p, client
}
