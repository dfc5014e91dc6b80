package check

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"notepay/internal/certs"
	"notepay/internal/clientaddr"
	"notepay/internal/config"
	"notepay/internal/message"
)

// probeTimeout limits one request for a probe.
const probeTimeout = 10 * time.Second

// probe is the answer of a notepay at certs.ProbePath.
type probe struct{ id, problem string }

// ask reads the probe of the notepay at an address, such as http://pay.example.com. It returns nil and
// no error if something else answers.
func (r *run) ask(ctx context.Context, address string) (*probe, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address+certs.ProbePath, nil)
	if err != nil {
		return nil, err
	}
	resp, err := r.Public.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(io.LimitReader(resp.Body, 4<<10))
	var p probe
	lines.Scan()
	id, found := strings.CutPrefix(lines.Text(), "notepay ")
	lines.Scan()
	p.id, p.problem = id, lines.Text()
	if !found || resp.StatusCode != http.StatusOK {
		return nil, nil
	}
	return &p, nil
}

// domainNames checks that each domain of the built-in HTTPS has an address.
func (r *run) domainNames(ctx context.Context) Result {
	if !r.Settings.ACME() {
		return skipped("TLS_DOMAINS is not set")
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var found message.List
	for _, d := range r.Settings.Domains() {
		addresses, err := r.Lookup(ctx, d)
		if err != nil || len(addresses) == 0 {
			return failed(fix("create an A record for it that leads to this server, "+
				"and an AAAA record only if the server has IPv6"), "the DNS has no address for %s", d)
		}
		found = append(found, message.New("%s leads to %s", d, strings.Join(addresses, ", ")))
	}
	return ok("%s", found)
}

// plainPort checks that port 80 of each domain leads to the notepay of this host, because the
// certificate authority asks there.
func (r *run) plainPort(ctx context.Context) Result {
	s := r.Settings
	if !s.TLS() || s.TLSRedirectAddr == config.RedirectOff {
		return skipped("notepay does not speak HTTPS itself")
	}
	host, port, err := net.SplitHostPort(s.TLSRedirectAddr)
	if err != nil {
		return failed(fix("correct TLS_REDIRECT_ADDR"), "%s", err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	if r.local, err = r.ask(ctx, "http://"+net.JoinHostPort(host, port)); err != nil || r.local == nil {
		return warned(fix("start notepay, and run this check again"), "notepay does not answer on this host at %s",
			s.TLSRedirectAddr)
	}
	for _, d := range s.Domains() {
		there, err := r.ask(ctx, "http://"+d)
		switch {
		case err != nil:
			return failed(fix("open port 80 in the firewall and the router; if only this server cannot reach itself, "+
				"ignore this finding"), "http://%s does not answer: %s", d, err)
		case there == nil || there.id != r.local.id:
			return failed(fix("correct the A and AAAA records in the DNS, or stop the other web server"),
				"something else than this notepay answers at http://%s", d)
		}
	}
	return ok("http:// leads to this notepay")
}

// judgeForwarded judges what became of the forwarded address of a request to PUBLIC_URL.
func (r *run) judgeForwarded(origin clientaddr.Origin) Result {
	trusted := r.Settings.Proxies().Any()
	switch {
	case origin == clientaddr.Ignored && !trusted:
		return warned(fix("set TRUSTED_PROXIES to the proxy's address, such as 127.0.0.1"),
			"a proxy forwards the addresses of clients, and TRUSTED_PROXIES is not set: all clients count as one")
	case origin == clientaddr.Ignored:
		return warned(fix("add the address that the log names to TRUSTED_PROXIES"),
			"the proxy in front of notepay is not in TRUSTED_PROXIES: all clients count as one")
	case origin == clientaddr.Unclear:
		return warned(fix("configure the proxy as in docs/proxies.md"),
			"the proxy forwards something that is not the address of its client")
	case origin == "" && trusted:
		return warned(fix("make the proxy send X-Forwarded-For, as in docs/proxies.md"),
			"TRUSTED_PROXIES is set, and the proxy forwards no address")
	case origin == "":
		return ok("no proxy forwards addresses")
	}
	return ok("the proxy is trusted, and forwards the addresses of clients")
}

func (r *run) proxyHeaders(context.Context) Result { return r.forwarded }
