package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // zones are known also where the system has no list of them
)

// Zone returns the time zone in which days begin: TZ, or the system's where it is not set.
func (s *Settings) Zone() *time.Location {
	zone, err := parseZone(s.TZ)
	if err != nil {
		return time.UTC // Load refuses it
	}
	return zone
}

// parseZone reads a zone's name, or the absolute path of a zone file. POSIX rules (CET-1CEST,M3.5.0) are not known.
func parseZone(name string) (*time.Location, error) {
	switch name = strings.TrimPrefix(name, ":"); {
	case name == "":
		return time.Local, nil
	case strings.HasPrefix(name, "/"):
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		return time.LoadLocationFromTZData(name, data)
	}
	return time.LoadLocation(name)
}

// checkZone refuses a zone that nobody knows: Go would silently take UTC, and days would begin at the wrong hour.
func checkZone(name string) []string {
	if _, err := parseZone(name); err != nil {
		return []string{fmt.Sprintf("TZ: %q is not a time zone; write a name such as Europe/Berlin or America/New_York", name)}
	}
	return nil
}

// checkListenAddr wants host:port with a port that exists.
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

// checkPublicURL wants scheme and host alone: notepay answers at the root, and the links on stickers lead there.
func checkPublicURL(value string, live bool) []string {
	u, err := url.Parse(value)
	switch {
	case value == "" || err != nil: // checkURL says so
		return nil
	case u.Path != "":
		return []string{"PUBLIC_URL: must not have a path: notepay answers at the root of its own host, such as https://pay.example.com"}
	case u.User != nil:
		return []string{"PUBLIC_URL: must not hold a user name or password"}
	case live && u.Scheme == "http" && public(u.Hostname()):
		return []string{"PUBLIC_URL: has to begin with https:// while the key is a live key, because customers pay through it"}
	}
	return nil
}

// public reports whether a host may be reached from the Internet: everything but this machine and private networks.
func public(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return err != nil || !ip.IsLoopback() && !ip.IsPrivate() && !ip.IsLinkLocalUnicast()
}

// quote shows a wrong value, unless it looks like a secret that was put into the wrong setting.
func quote(value string) string {
	for _, prefix := range []string{"sk_", "rk_", "whsec_", "pk_"} {
		if strings.Contains(value, prefix) {
			return redacted
		}
	}
	return strconv.Quote(value)
}
