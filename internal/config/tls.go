package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// httpsPort is the default port while notepay speaks HTTPS itself.
const httpsPort = 443

// RedirectOff is the value of TLS_REDIRECT_ADDR that opens no second port.
const RedirectOff = "off"

// TLS reports whether notepay speaks HTTPS itself.
func (s *Settings) TLS() bool { return s.ACME() || s.TLSCertFile != "" }

// ACME reports whether notepay gets its certificate itself.
func (s *Settings) ACME() bool { return len(s.Domains()) > 0 }

// Domains returns the domains to get a certificate for, in lower case.
func (s *Settings) Domains() (domains []string) {
	for _, d := range list(strings.ToLower(s.TLSDomains)) {
		if d = strings.TrimSuffix(d, "."); !slices.Contains(domains, d) {
			domains = append(domains, d)
		}
	}
	return domains
}

// checkTLS validates the settings of the built-in HTTPS. The public address follows from the domains
// if it is not set. PUBLIC_URL must have been validated.
func (s *Settings) checkTLS() (problems []string) {
	wrong := func(bad bool, format string, args ...any) {
		if bad {
			problems = append(problems, fmt.Sprintf(format, args...))
		}
	}
	domains := s.Domains()
	wrong(s.TLSDomains != "" && len(domains) == 0, "TLS_DOMAINS: holds no domain")
	for _, d := range domains {
		switch {
		case strings.Contains(d, "*"):
			wrong(true, "TLS_DOMAINS: %s is a wildcard, which needs a proxy or TLS_CERT_FILE; name each domain",
				quote(d))
		case isAddress(d) || !hostName.MatchString(d) || !strings.Contains(d, ".") || !public(d):
			wrong(true, "TLS_DOMAINS: %s is not a public domain such as pay.example.com, without https:// and port",
				quote(d))
		}
	}
	wrong(len(domains) > 0 && s.TLSCertFile != "", "TLS_CERT_FILE: set either this or TLS_DOMAINS, not both")
	wrong(s.TLSCertFile != "" && s.TLSKeyFile == "", "TLS_KEY_FILE: required beside TLS_CERT_FILE")
	wrong(s.TLSKeyFile != "" && s.TLSCertFile == "", "TLS_CERT_FILE: required beside TLS_KEY_FILE")
	if s.TLSRedirectAddr != RedirectOff {
		for _, p := range checkListenAddr(s.TLSRedirectAddr) {
			problems = append(problems, strings.Replace(p, "LISTEN_ADDR", "TLS_REDIRECT_ADDR", 1))
		}
	}
	wrong(s.ACME() && s.TLSRedirectAddr == RedirectOff,
		"TLS_REDIRECT_ADDR: off does not work with TLS_DOMAINS, because the certificate authority asks on port 80")
	u, err := url.Parse(s.ACMEDirectory)
	wrong(s.ACMEDirectory != "" && (err != nil || u.Scheme != "https" || u.Hostname() == ""),
		"ACME_DIRECTORY: has to be an https:// URL, the directory of a certificate authority")
	return append(problems, s.checkPublicName(domains)...)
}

// checkPublicName requires PUBLIC_URL to lead to the built-in HTTPS. The problem is that of the setting
// that asks for HTTPS, so that notepay init can ask for another address first.
func (s *Settings) checkPublicName(domains []string) []string {
	if !s.TLS() {
		return nil
	}
	if s.PublicURL == "" {
		if len(domains) > 0 {
			s.PublicURL = "https://" + domains[0]
		}
		return nil
	}
	u, err := url.Parse(s.PublicURL)
	switch {
	case err != nil:
		return nil // reported already
	case u.Scheme != "https":
		name := "TLS_DOMAINS"
		if len(domains) == 0 {
			name = "TLS_CERT_FILE"
		}
		return []string{name + ": notepay speaks HTTPS with it, so PUBLIC_URL has to begin with https://"}
	case len(domains) > 0 && !slices.Contains(domains, u.Hostname()):
		return []string{fmt.Sprintf("TLS_DOMAINS: add %s, the host of PUBLIC_URL, or correct PUBLIC_URL",
			quote(u.Hostname()))}
	}
	return nil
}
