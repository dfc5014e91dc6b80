package check

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"notepay/internal/certs"
	"notepay/internal/clientaddr"
	"notepay/internal/config"
)

// onePort returns a server that answers probes with a text, and its port.
func onePort(t *testing.T, text string) (addr string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != certs.ProbePath {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = io.WriteString(w, text)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestPlainPort(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	here := onePort(t, "notepay A\n\n")
	for _, c := range []struct {
		name, local, public string // where this host's port and the domain's port 80 lead
		state               State
		says                string
	}{
		{"both are this notepay", here, here, OK, "leads to this notepay"},
		{"notepay does not run", closed, here, Warned, "start notepay"},
		{"another program has the port", onePort(t, "hello"), here, Warned, "does not answer on this host"},
		{"port 80 is closed", here, closed, Failed, "open port 80 in the firewall"},
		{"the DNS leads elsewhere", here, onePort(t, "<html>"), Failed, "correct the A and AAAA records"},
		{"the DNS leads to another notepay", here, onePort(t, "notepay B\n\n"), Failed, "something else"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
				if addr == "pay.example.com:80" {
					addr = c.public
				}
				return (&net.Dialer{}).DialContext(ctx, network, addr)
			}
			r := &run{Config: Config{
				Settings: &config.Settings{TLSDomains: "pay.example.com", TLSRedirectAddr: c.local},
				Public:   &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}},
			}}
			got := r.plainPort(t.Context())
			if got.State != c.state || !strings.Contains(got.Detail.String()+got.Remedy.String(), c.says) {
				t.Errorf("%+v; want %v, %q", got, c.state, c.says)
			}
		})
	}
}

func TestPlainPortKnowsTheCertificatesProblem(t *testing.T) {
	t.Parallel()
	here := onePort(t, "notepay A\nOpen port 80 in the firewall.\n")
	r := &run{Config: Config{
		Settings: &config.Settings{TLSCertFile: "x", TLSRedirectAddr: here},
		Public:   http.DefaultClient,
	}}
	if got := r.plainPort(t.Context()); got.State != OK {
		t.Errorf("%+v; want ok", got)
	}
	got := r.certificate(t.Context())
	if got.State != Failed || got.Detail.String() != "Open port 80 in the firewall." {
		t.Errorf("%+v; want what the running notepay says", got)
	}
	for _, s := range []config.Settings{{TLSRedirectAddr: here}, {TLSCertFile: "x", TLSRedirectAddr: "off"}} {
		r := &run{Config: Config{Settings: &s}}
		if got := r.plainPort(t.Context()); got.State != Skipped {
			t.Errorf("%+v; want it skipped", got)
		}
	}
}

func TestValidity(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for _, c := range []struct {
		name      string
		age, left time.Duration
		state     State
		says      string
	}{
		{"renewed in time", 50 * day, 40 * day, OK, "valid until "},
		{"not renewed", 77*day + time.Hour, 13*day - time.Hour, Warned, "expires in 12 days"},
		{"of six days, renewed in time", 4 * day, 2 * day, OK, "valid until "},
		{"of six days, not renewed", 5 * day, day + time.Hour, Warned, "expires in 1 days"},
	} {
		root := &x509.Certificate{NotBefore: time.Now().Add(-day), NotAfter: time.Now().Add(1000 * day)}
		leaf := &x509.Certificate{NotBefore: time.Now().Add(-c.age), NotAfter: time.Now().Add(c.left)}
		got := validity(&tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf, root}})
		if got.State != c.state || !strings.Contains(got.Detail.String(), c.says) {
			t.Errorf("%s: %+v; want %v, %q", c.name, got, c.state, c.says)
		}
	}
	if got := validity(nil); got.State != Skipped {
		t.Errorf("without TLS: %+v; want it skipped", got)
	}
}

func TestDomainNames(t *testing.T) {
	t.Parallel()
	lookup := func(_ context.Context, host string) ([]string, error) {
		if host == "pay.example.com" {
			return []string{"203.0.113.9"}, nil
		}
		return nil, errors.New("no such host")
	}
	for domains, want := range map[string]struct {
		state State
		says  string
	}{
		"":                                 {Skipped, ""},
		"pay.example.com":                  {OK, "pay.example.com leads to 203.0.113.9"},
		"pay.example.com, www.example.com": {Failed, "the DNS has no address for www.example.com"},
	} {
		r := &run{Config: Config{Settings: &config.Settings{TLSDomains: domains}, Lookup: lookup}}
		got := r.domainNames(t.Context())
		if got.State != want.state || !strings.Contains(got.Detail.String(), want.says) {
			t.Errorf("%q: %+v; want %v, %q", domains, got, want.state, want.says)
		}
	}
}

func TestJudgeForwarded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		trusted string
		origin  clientaddr.Origin
		state   State
		says    string
	}{
		{"", "", OK, "no proxy"},
		{"", clientaddr.Ignored, Warned, "set TRUSTED_PROXIES"},
		{"127.0.0.1", clientaddr.Ignored, Warned, "is not in TRUSTED_PROXIES"},
		{"127.0.0.1", clientaddr.Unclear, Warned, "docs/proxies.md"},
		{"127.0.0.1", "", Warned, "make the proxy send X-Forwarded-For"},
		{"127.0.0.1", clientaddr.Forwarded, OK, "the proxy is trusted"},
	} {
		r := &run{Config: Config{Settings: &config.Settings{TrustedProxies: c.trusted}}}
		got := r.judgeForwarded(c.origin)
		if got.State != c.state || !strings.Contains(got.Detail.String()+got.Remedy.String(), c.says) {
			t.Errorf("%q, %q: %+v; want %v, %q", c.trusted, c.origin, got, c.state, c.says)
		}
	}
}
