package certs

import (
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// challengePath is the path below which the authority asks for answers (RFC 8555, section 8.3).
const challengePath = "/.well-known/acme-challenge/"

// ProbePath answers with the id of this process, so that notepay check can tell whether a domain
// leads here. It is below the path of challenges, which nothing may redirect or protect.
const ProbePath = challengePath + "notepay"

// Plain is the handler for http:// requests. It answers the authority's challenges, redirects
// readers to https://, and refuses what carries data.
type Plain struct {
	source Source
	base   *url.URL // PUBLIC_URL; may be empty
	id     string   // of this process
	status func() string
}

// NewPlain returns the handler. publicURL may be empty. status returns the current problem of the
// certificate, or "".
func NewPlain(s Source, publicURL string, status func() string) *Plain {
	base, err := url.Parse(publicURL)
	if err != nil {
		base = &url.URL{}
	}
	return &Plain{source: s, base: base, id: rand.Text(), status: status}
}

// ServeHTTP implements http.Handler.
func (p *Plain) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.URL.Path == ProbePath {
		w.Header().Set("Cache-Control", "no-store")
		fmt.Fprintf(w, "notepay %s\n%s\n", p.id, p.status())
		return
	}
	if token, ok := strings.CutPrefix(r.URL.Path, challengePath); ok {
		answer, found := p.source.Challenge(r.Context(), token)
		if !found {
			http.Error(w, "no such challenge", http.StatusNotFound)
			return
		}
		fmt.Fprint(w, answer)
		return
	}
	to := p.target(r)
	if r.Method != http.MethodGet && r.Method != http.MethodHead || carriesData(r.URL.Path) {
		// The sender must learn of the mistake: Stripe counts a redirect as a failure, and what was
		// sent over http:// may have been read on the way.
		http.Error(w, "This address takes no data over http. Send it to "+to, http.StatusForbidden)
		return
	}
	http.Redirect(w, r, to, http.StatusPermanentRedirect)
}

// carriesData reports whether a path belongs to programs, whose requests carry secrets or signatures.
func carriesData(path string) bool {
	return strings.HasPrefix(path, "/webhook/") || path == "/api" || strings.HasPrefix(path, "/api/")
}

// target returns the https:// address of a request. It leads to no host but ours.
func (p *Plain) target(r *http.Request) string {
	host := strings.ToLower(r.Host)
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	to := url.URL{Scheme: "https", Host: host, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
	known := slices.Contains(p.source.Names(), host)
	switch {
	case p.base.Host == "":
	case !known:
		to.Host = p.base.Host
	case p.base.Port() != "":
		to.Host = net.JoinHostPort(host, p.base.Port())
	}
	return to.String()
}
