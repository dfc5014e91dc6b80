package config

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"notepay/internal/clientaddr"
	"notepay/internal/dsn"
	"notepay/internal/terms"
	"notepay/internal/zones"
)

// checkDurations rejects times that are longer than terms.MaxDuration.
func (s *Settings) checkDurations() (problems []string) {
	for _, d := range []struct {
		name string
		is   time.Duration
	}{
		{"REFRESH_INTERVAL", s.RefreshInterval}, {"CONFIRM_WITHIN", s.ConfirmWithin},
		{"OFFLINE_AFTER", s.OfflineAfter}, {"POLL_INTERVAL", s.PollInterval}, {"BACKUP_EVERY", s.BackupEvery},
	} {
		if d.is > terms.MaxDuration {
			problems = append(problems, d.name+": "+terms.TooLong)
		}
	}
	return problems
}

// Zone returns the time zone in which days begin: TZ, or the system's if it is not set.
func (s *Settings) Zone() *time.Location {
	zone, err := parseZone(s.TZ)
	if err != nil {
		return time.UTC // not reached after Load, which rejects the zone
	}
	return zone
}

// parseZone parses a zone's name or the absolute path of a zone file. It does not know POSIX rules
// such as CET-1CEST,M3.5.0.
func parseZone(name string) (*time.Location, error) {
	switch name = strings.TrimPrefix(name, ":"); {
	case name == "":
		return time.Local, nil
	case name == "Local": // Go's own name, which it reads from TZ as UTC
		return nil, errors.New("is no name of the IANA's")
	case strings.HasPrefix(name, "/"):
		data, err := readZone(name)
		if err != nil {
			return nil, err
		}
		return time.LoadLocationFromTZData(name, data)
	}
	return zones.Named(name)
}

// readZone reads a zone file. It reads at most maxFile bytes, because the path may be an endless
// device.
func readZone(name string) (data []byte, err error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return io.ReadAll(io.LimitReader(file, maxFile))
}

// checkDatabase returns what is wrong with DATABASE_URL. It never quotes the value, which may hold
// a password.
func (s *Settings) checkDatabase() []string {
	if err := dsn.Check(string(s.DatabaseURL)); err != nil {
		return []string{"DATABASE_URL: " + err.Error()}
	}
	return nil
}

// checkZone rejects an unknown zone. Go would silently use UTC, and days would begin at the wrong
// hour.
func checkZone(name string) []string {
	if _, err := parseZone(name); err != nil {
		return []string{
			fmt.Sprintf("TZ: %q is not a time zone; write a name such as Europe/Berlin or America/New_York", name),
		}
	}
	return nil
}

// checkListenAddr requires host:port with a valid port.
func checkListenAddr(addr string) []string {
	if addr == "" {
		return nil
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return []string{fmt.Sprintf("LISTEN_ADDR: %q is not an address such as 127.0.0.1:3000", addr)}
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return []string{fmt.Sprintf("LISTEN_ADDR: %q is not a port; it has to be a number from 0 to 65535", port)}
	}
	return nil
}

// checkProxies requires addresses and networks of proxies.
func checkProxies(value string) (problems []string) {
	_, wrong := clientaddr.Parse(value)
	for _, w := range wrong {
		problems = append(problems, fmt.Sprintf("TRUSTED_PROXIES: %s %s", quote(w.Entry), w.Why))
	}
	return problems
}

// checkPublicURL requires scheme and host alone, because the links on stickers lead to the root. It
// rewrites the URL as browsers do, because notepay compares it with theirs and with Stripe's
// endpoints.
func checkPublicURL(value *string, live bool) []string {
	if problems := checkURL("PUBLIC_URL", value); problems != nil || *value == "" {
		return problems
	}
	u, err := url.Parse(*value)
	if err != nil {
		return []string{"PUBLIC_URL: has to be a URL such as https://pay.example.com"}
	}
	u.Host = strings.ToLower(u.Host)
	host, port := u.Hostname(), u.Port()
	number, err := strconv.ParseUint(port, 10, 16)
	switch {
	case u.Path != "":
		return []string{"PUBLIC_URL: must not have a path: " +
			"notepay answers at the root of its own host, such as https://pay.example.com"}
	case u.User != nil:
		return []string{"PUBLIC_URL: must not hold a user name or password"}
	case port != "" && (err != nil || number == 0):
		return []string{fmt.Sprintf("PUBLIC_URL: %q is not a port; it has to be a number from 1 to 65535", port)}
	case strings.ContainsFunc(host, func(r rune) bool { return r > '~' }):
		return []string{
			"PUBLIC_URL: write the host as it stands in the DNS, such as xn--wsche-gra.example for w\u00e4sche.example",
		}
	case !hostName.MatchString(host) && !isAddress(host):
		return []string{"PUBLIC_URL: has to be a URL such as https://pay.example.com"}
	case live && u.Scheme == "http" && public(host):
		return []string{
			"PUBLIC_URL: has to begin with https:// while the key is a live key, because customers pay through it",
		}
	}
	if port == "" || u.Scheme == "https" && number == 443 || u.Scheme == "http" && number == 80 {
		u.Host = strings.TrimSuffix(strings.TrimSuffix(u.Host, port), ":")
	}
	*value = u.String()
	return nil
}

// checkVendorURL requires a URL to which live keys may be sent.
func checkVendorURL(name string, value *string, live bool) []string {
	problems := checkURL(name, value)
	if u, err := url.Parse(*value); err == nil && problems == nil && live && u.Scheme == "http" &&
		public(u.Hostname()) {
		problems = []string{
			name + ": has to begin with https:// while the key is a live key, because keys are sent to it",
		}
	}
	return problems
}

// hostName matches a host name as browsers accept it, with at most one trailing dot. Underscores
// are not allowed in host names, but work.
var hostName = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?$`)

// isAddress reports whether a host is an IP address without a zone.
func isAddress(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Zone() == "" // a zone has a meaning on one host only
}

// public reports whether a host may be reachable from the Internet. This host and private networks
// are not.
func public(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return err != nil || !ip.IsLoopback() && !ip.IsPrivate() && !ip.IsLinkLocalUnicast()
}

// quote returns a wrong value in quotes, or redacted if it looks like a secret in the wrong
// setting.
func quote(value string) string {
	for _, prefix := range []string{"sk_", "rk_", "whsec_", "pk_"} {
		if strings.Contains(value, prefix) {
			return redacted
		}
	}
	return strconv.Quote(value)
}
