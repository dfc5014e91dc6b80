package setup

import (
	"context"
	"net/url"
	"slices"
)

// https asks whether notepay speaks HTTPS itself, if the address allows it. first is whether the
// operator was never asked before. A wrong DNS entry does not end the run, because it may take an hour
// until an entry is seen everywhere.
func (w *wizard) https(ctx context.Context, first bool) error {
	files, err := w.current("TLS_CERT_FILE")
	if err != nil || files != "" {
		return err
	}
	before, err := w.current("TLS_DOMAINS")
	if err != nil {
		return err
	}
	host, domains, err := w.domains()
	if err != nil {
		return err
	}
	if domains == "" {
		if before != "" {
			w.set("TLS_DOMAINS", "")
		}
		return nil
	}
	w.say("  Customers and Stripe need https://. notepay can get the certificate for %s itself,", host)
	w.say("  from Let's Encrypt, whose terms you then accept. Ports 80 and 443 must lead to this computer.")
	w.say("  Otherwise a proxy, such as Caddy or nginx, speaks HTTPS for it.")
	itself, err := w.agreesOr(first || before != "", "  Shall notepay speak HTTPS itself?")
	if err != nil {
		return err
	}
	if !itself {
		if before != "" {
			w.set("TLS_DOMAINS", "")
		}
		w.left = append(w.left, "Put the proxy in front of notepay: docs/proxies.md has its configuration.")
		return nil
	}
	w.set("TLS_DOMAINS", domains)
	if before == "" { // the port behind a proxy would now be that of HTTPS
		for _, name := range []string{"LISTEN_ADDR", "PORT"} {
			if value, err := w.current(name); err != nil {
				return err
			} else if value != "" {
				w.set(name, "")
			}
		}
	}
	failed, err := w.check(ctx, "Domain names")
	if len(failed) > 0 {
		w.left = append(w.left, "Create the A record for "+host+", and wait until notepay check finds it.")
	}
	return err
}

// domains returns the host of PUBLIC_URL, and what TLS_DOMAINS has to be for it. Both are "" for a host
// that no authority certifies, such as localhost, and for a port that is not 443.
func (w *wizard) domains() (host, domains string, err error) {
	address, err := w.current("PUBLIC_URL")
	if err != nil {
		return "", "", err
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Port() != "" {
		return "", "", nil
	}
	s, _, err := w.load()
	if err != nil {
		return "", "", err
	}
	if slices.Contains(s.Domains(), u.Hostname()) {
		return u.Hostname(), s.TLSDomains, nil
	}
	w.set("TLS_DOMAINS", u.Hostname())
	_, why, err := w.load("TLS_DOMAINS")
	delete(w.answers, "TLS_DOMAINS")
	if err != nil || why != "" {
		return "", "", err
	}
	return u.Hostname(), u.Hostname(), nil
}
