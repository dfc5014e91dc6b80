package contract

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest/proxytest"
)

// configuration returns the only block of a language in docs/proxies.md.
func configuration(t *testing.T, language string) string {
	t.Helper()
	block := regexp.MustCompile("(?s)```" + language + "\n(.*?)```")
	blocks := block.FindAllStringSubmatch(document(t, "docs/proxies.md"), -1)
	if len(blocks) != 1 {
		t.Fatalf("docs/proxies.md has %d blocks of %s; want one", len(blocks), language)
	}
	return blocks[0][1]
}

// replaced replaces each first text by the next one, which must be in the text.
func replaced(t *testing.T, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("the configuration lacks %q:\n%s", pairs[i], text)
		}
		text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
	}
	return text
}

// write writes a file of a test and returns its path.
func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestProxies runs each configuration of docs/proxies.md in front of notepay, as far as the proxy is
// installed. Only addresses, ports and paths of certificates differ from the text.
func TestProxies(t *testing.T) {
	t.Parallel()
	t.Run("Caddy", func(t *testing.T) {
		t.Parallel()
		caddy, err := exec.LookPath("caddy")
		if err != nil {
			unavailable(t, "Caddy is missing (apt-get install caddy): %v", err)
		}
		text := configuration(t, "caddy")
		if !strings.Contains(document(t, "README.md"), text) {
			t.Error("the README has another Caddyfile")
		}
		dir, addr := t.TempDir(), freeAddr(t)
		run := func(args ...string) *exec.Cmd {
			c := exec.Command(caddy, args...)
			c.Env = []string{"HOME=" + dir, "XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir}
			return c
		}
		whole := write(t, dir, "whole", text)
		if out, err := run("adapt", "--adapter", "caddyfile", "--config", whole).CombinedOutput(); err != nil {
			t.Fatalf("Caddy refuses the text: %v\n%s", err, out)
		}
		p := newWorld(t, nil, nil).start("TRUSTED_PROXIES", "127.0.0.1")
		local := "{\n\tadmin off\n}\n" + replaced(t, text, domain, "http://"+addr, "127.0.0.1:3000",
			strings.TrimPrefix(p.url, "http://"))
		proxytest.Start(t, run("run", "--adapter", "caddyfile", "--config", write(t, dir, "Caddyfile", local)))
		throughProxy(t, "http://"+addr, addr, nil)
	})
	t.Run("nginx", func(t *testing.T) {
		t.Parallel()
		dir, addr := t.TempDir(), freeAddr(t)
		certFile, keyFile, roots := proxytest.Certificate(t, dir, domain)
		p := newWorld(t, nil, nil).start("TRUSTED_PROXIES", "127.0.0.1")
		server := replaced(t, configuration(t, "nginx"), "listen 443", "listen "+addr,
			"/etc/ssl/pay.example.com.crt", certFile, "/etc/ssl/pay.example.com.key", keyFile,
			"http://127.0.0.1:3000", p.url)
		if _, err := proxytest.StartNginx(t, dir, server); err != nil {
			unavailable(t, "%v", err)
		}
		client := throughProxy(t, "https://"+domain, addr, roots)
		r, err := client.Get("https://" + domain + "/metrics")
		if status, _ := reply(t, r, err); status != http.StatusNotFound || r.ProtoMajor != 2 {
			t.Errorf("/metrics: %d over %s; want 404 over HTTP/2", status, r.Proto)
		}
	})
	t.Run("Traefik", func(t *testing.T) {
		t.Parallel()
		text := configuration(t, "yaml")
		for _, want := range []string{"Host(`" + domain + "`)", "service: notepay", "url: http://127.0.0.1:3000"} {
			if !strings.Contains(text, want) {
				t.Errorf("the configuration lacks %q", want)
			}
		}
		traefik := os.Getenv("TRAEFIK")
		if traefik == "" {
			t.Skip("TRAEFIK names no program, and Debian has none: only the form of the text was checked")
		}
		dir, addr := t.TempDir(), freeAddr(t)
		certFile, keyFile, roots := proxytest.Certificate(t, dir, domain)
		p := newWorld(t, nil, nil).start("TRUSTED_PROXIES", "127.0.0.1")
		local := replaced(t, text, "http://127.0.0.1:3000", p.url,
			"tls:\n        certResolver: letsencrypt", "tls: {}") +
			fmt.Sprintf("tls:\n  certificates:\n    - certFile: %s\n      keyFile: %s\n", certFile, keyFile)
		static := fmt.Sprintf("global: {checkNewVersion: false, sendAnonymousUsage: false}\n"+
			"entryPoints:\n  websecure:\n    address: %s\nproviders:\n  file:\n    filename: %s\n",
			addr, write(t, dir, "dynamic.yml", local))
		proxytest.Start(t, exec.Command(traefik, "--configfile="+write(t, dir, "traefik.yml", static)))
		client := throughProxy(t, "https://"+domain, addr, roots)
		r, err := client.Get("https://" + domain + "/health")
		if status, _ := reply(t, r, err); status != http.StatusOK || r.ProtoMajor != 2 {
			t.Errorf("/health: %d over %s; want 200 over HTTP/2", status, r.Proto)
		}
	})
}

// clientFrom returns a client that connects to addr from an address of this machine.
func clientFrom(t *testing.T, from, addr string, roots *x509.CertPool) *http.Client {
	t.Helper()
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	transport := &http.Transport{
		ForceAttemptHTTP2: true,
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, addr)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// throughProxy makes requests of two clients through the proxy at base, which listens at addr.
func throughProxy(t *testing.T, base, addr string, roots *x509.CertPool) *http.Client {
	t.Helper()
	stranger, other := clientFrom(t, "127.0.0.9", addr, roots), clientFrom(t, "127.0.0.10", addr, roots)
	var health *http.Response
	var err error
	for deadline := time.Now().Add(waitTimeout); ; time.Sleep(50 * time.Millisecond) {
		if health, err = stranger.Get(base + "/health"); err == nil && health.StatusCode != http.StatusBadGateway {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the proxy does not answer: %v", err)
		}
	}
	if status, body := reply(t, health, nil); status != http.StatusOK ||
		!strings.Contains(body, `"forwarded_address":"trusted"`) {
		t.Errorf("/health: %d %s; want 200 and the client's address", status, body)
	}
	hook, err := stranger.Post(base+"/webhook/stripe", "application/json", strings.NewReader("{}"))
	if status, body := reply(t, hook, err); status != http.StatusBadRequest {
		t.Errorf("an unsigned webhook: %d %s; want notepay's own 400", status, body)
	}
	signIn := func(c *http.Client, token, invented string) *http.Response {
		form := strings.NewReader(url.Values{"token": {token}}.Encode())
		request, err := http.NewRequest(http.MethodPost, base+"/operator/sign-in", form)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		request.Header.Set("X-Forwarded-For", invented)
		request.Header.Set("Sec-Fetch-Site", "same-origin")
		r, err := c.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Body.Close()
		return r
	}
	for i := range 6 {
		want := http.StatusUnauthorized
		if i == 5 {
			want = http.StatusTooManyRequests
		}
		if r := signIn(stranger, "guess-1234567890", fmt.Sprintf("203.0.113.%d", i)); r.StatusCode != want {
			t.Fatalf("guess %d with an invented address: %s; want %d", i+1, r.Status, want)
		}
	}
	if r := signIn(other, "guess-1234567890", "127.0.0.9"); r.StatusCode != http.StatusUnauthorized {
		t.Errorf("a guess of another client: %s; want 401", r.Status)
	}
	r := signIn(other, operatorToken, "")
	if r.StatusCode != http.StatusSeeOther || len(r.Cookies()) == 0 {
		t.Fatalf("the right token: %s; want 303 and a cookie", r.Status)
	}
	live, err := http.NewRequest(http.MethodGet, base+"/operator/live?view=today", nil)
	if err != nil {
		t.Fatal(err)
	}
	live.AddCookie(r.Cookies()[0])
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	stream, err := other.Do(live.WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	// The stream does not end, so a proxy that buffers it shows nothing.
	if line, err := bufio.NewReader(stream.Body).ReadString('\n'); err != nil || stream.StatusCode != http.StatusOK {
		t.Errorf("the live stream: %s, %q, %v; want its first line at once", stream.Status, line, err)
	}
	return other
}
