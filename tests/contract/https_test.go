package contract

import (
	"crypto/tls"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// reply returns the status and the body of a reply.
func reply(t *testing.T, r *http.Response, err error) (status int, body string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(text)
}

// TestHTTPS orders a certificate, sells over it, and restarts without another order.
func TestHTTPS(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, 90*24*time.Hour)
	w := newWorld(t, nil, nil)
	p, client := w.startHTTPS(a)
	w.until(t, "a certificate is issued", func() bool { return strings.Contains(p.printed(), "certificate issued") })

	health, err := client.Get(p.url + "/health")
	status, body := reply(t, health, err)
	if status != http.StatusOK || health.ProtoMajor != 2 || health.TLS.Version < tls.VersionTLS12 ||
		health.Header.Get("Strict-Transport-Security") == "" {
		t.Errorf("/health: %d over %s, TLS %x, %v\n%s; want 200 over HTTP/2 with HSTS", status, health.Proto,
			health.TLS.Version, health.Header, body)
	}
	old := client.Transport.(*http.Transport).Clone()
	old.TLSClientConfig.MaxVersion = tls.VersionTLS11
	if r, err := old.RoundTrip(health.Request.Clone(t.Context())); err == nil {
		t.Errorf("TLS 1.1 is answered %d", r.StatusCode)
	}
	w.until(t, "the washer sells", func() bool {
		r, err := client.Get(p.url + "/pay?device=" + washer)
		status, _ := reply(t, r, err)
		return status == http.StatusTemporaryRedirect
	})
	// The health check of a container asks at the port.
	said := w.command(0, "", "health", append(a.settings(), "LISTEN_ADDR", p.addr)...)
	if !strings.Contains(said, `"status":"ok"`) {
		t.Errorf("notepay health says %s", said)
	}
	hook, err := client.Post(p.url+"/webhook/stripe", "application/json", strings.NewReader("{}"))
	if status, body := reply(t, hook, err); status != http.StatusBadRequest {
		t.Errorf("an unsigned webhook: %d %s; want 400", status, body)
	}

	plain := "http://" + a.redirectAddr
	for _, c := range []struct {
		method, path, to string
		status           int
	}{
		{"GET", "/pay?device=" + washer, "https://" + domain + "/pay?device=" + washer, http.StatusPermanentRedirect},
		{"GET", "//evil.example/x", "https://" + domain + "//evil.example/x", http.StatusPermanentRedirect},
		{"POST", "/webhook/stripe", "", http.StatusForbidden},
		{"GET", "/webhook/stripe", "", http.StatusForbidden},
		{"POST", "/operator/sign-in", "", http.StatusForbidden},
		{"GET", "/api/payments", "", http.StatusForbidden},
		{"GET", "/.well-known/acme-challenge/unknown", "", http.StatusNotFound},
	} {
		request, err := http.NewRequest(c.method, plain+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.DefaultTransport.RoundTrip(request)
		status, body := reply(t, r, err)
		if status != c.status || r.Header.Get("Location") != c.to {
			t.Errorf("%s %s over http: %d to %q; want %d to %q", c.method, c.path, status, r.Header.Get("Location"),
				c.status, c.to)
		}
		if c.status == http.StatusForbidden && !strings.Contains(body, "https://"+domain) {
			t.Errorf("%s %s over http says %q; want where to send it", c.method, c.path, body)
		}
	}
	p.stop()
	p, client = w.startHTTPS(a)
	again, err := client.Get(p.url + "/health")
	if status, body := reply(t, again, err); status != http.StatusOK || a.orders.Load() != 1 {
		t.Errorf("after a restart: %d %s, %d orders; want 200 and one order", status, body, a.orders.Load())
	}
	if strings.Contains(p.printed(), "PRIVATE KEY") {
		t.Error("the log holds a private key")
	}
}

// TestHTTPSRenewsUnderLoad renews a certificate while clients connect. A third of the certificate's
// life is left for a renewal: a loaded host and refused nonces, which the authority sends at random,
// take some seconds.
func TestHTTPSRenewsUnderLoad(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, 45*time.Second)
	w := newWorld(t, nil, nil)
	p, client := w.startHTTPS(a)
	w.until(t, "a certificate is issued", func() bool { return strings.Contains(p.printed(), "certificate issued") })
	var requests, failures atomic.Int64
	done := make(chan struct{})
	var load sync.WaitGroup
	for n := range 4 {
		load.Go(func() {
			transport := client.Transport.(*http.Transport).Clone()
			transport.DisableKeepAlives = n%2 == 0 // a handshake for each request
			defer transport.CloseIdleConnections()
			for {
				select {
				case <-done:
					return
				case <-time.After(10 * time.Millisecond):
				}
				request, err := http.NewRequest(http.MethodGet, p.url+"/health", nil)
				if err != nil {
					t.Error(err)
					return
				}
				r, err := transport.RoundTrip(request)
				requests.Add(1)
				if err != nil || r.StatusCode != http.StatusOK {
					failures.Add(1)
					t.Logf("%v %v", r, err)
				}
				if err == nil {
					_, _ = io.Copy(io.Discard, r.Body)
					_ = r.Body.Close()
				}
			}
		})
	}
	w.until(t, "the certificate is renewed", func() bool {
		return strings.Count(p.printed(), "certificate issued") >= 2
	})
	time.Sleep(time.Second) // the new one is in use
	close(done)
	load.Wait()
	t.Logf("%d requests", requests.Load())
	if failures.Load() > 0 || requests.Load() < 100 {
		t.Errorf("%d of %d requests failed; want none of at least 100", failures.Load(), requests.Load())
	}
}

// TestHTTPSFailures shows a sentence for each cause, in the log, in /health of the console, and in
// notepay check, and gets a certificate when the cause is gone.
func TestHTTPSFailures(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		causes func(*authority)
		says   string
	}{
		{"no DNS entry", func(a *authority) { a.point("") }, "The DNS has no address for " + domain},
		{"closed port", func(a *authority) { a.point("127.0.0.77") }, "cannot connect to " + domain},
		{"another server", (*authority).elsewhere, "Something else than this notepay answers at http://" + domain},
		{"rate limited", func(a *authority) { a.limited.Store(true) }, "limits how often " + domain},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a := newAuthority(t, 90*24*time.Hour)
			c.causes(a)
			w := newWorld(t, nil, nil)
			p, _ := w.startHTTPS(a)
			w.until(t, "the log names the cause", func() bool { return strings.Contains(p.printed(), c.says) })
			if strings.Count(p.printed(), `"certificate not issued"`) > 1 {
				t.Error("orders are repeated at once, which uses up the authority's limits")
			}
			report := w.command(1, "", "check", a.settings()...)
			if !regexp.MustCompile(`(?m)^failed +Certificate: .*` + regexp.QuoteMeta(c.says)).MatchString(report) {
				t.Errorf("notepay check does not say %q:\n%s", c.says, report)
			}
			p.stop()
			a.point("127.0.0.1")
			if a.limited.Swap(false) {
				p, _ = w.startHTTPS(a)
				if time.Sleep(time.Second); a.orders.Load() != 1 {
					t.Errorf("%d orders; a restart must not ask again while the limit lasts", a.orders.Load())
				}
				return
			}
			p, client := w.startHTTPS(a)
			w.until(t, "a certificate is issued", func() bool {
				return strings.Contains(p.printed(), "certificate issued")
			})
			r, err := client.Get(p.url + "/health")
			if status, body := reply(t, r, err); status != http.StatusOK {
				t.Errorf("after the cause is gone: %d %s; want 200", status, body)
			}
		})
	}
}
