// Package clientaddr finds the address of a client, also behind proxies.
//
// It promises that a client cannot choose the address by which it is limited: a forwarded address
// counts only if the connection comes from a proxy that the operator trusts. Without such a proxy, the
// address of the connection counts. It does not know what the address is used for.
package clientaddr

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Proxies are the proxies whose forwarded addresses count. The zero value trusts none.
type Proxies struct {
	networks []netip.Prefix
	unix     bool // whether a connection through a Unix socket counts as one of a proxy
}

// Unix is the word that trusts connections through a Unix socket.
const Unix = "unix"

// minBits is how many bits of a network must be fixed. A shorter prefix is a mistake: it would trust
// a large part of the Internet.
const minBits4, minBits6 = 8, 16

// Wrong is an entry that is not a proxy.
type Wrong struct{ Entry, Why string }

// Parse reads a list of addresses and networks with commas, and the word unix. It returns the wrong
// entries, and trusts only the others.
func Parse(commas string) (p Proxies, wrong []Wrong) {
	for entry := range strings.SplitSeq(commas, ",") {
		entry = strings.TrimSpace(entry)
		if entry == "" {
			continue
		}
		if entry == Unix {
			p.unix = true
			continue
		}
		network, why := parseNetwork(entry)
		if why != "" {
			wrong = append(wrong, Wrong{Entry: entry, Why: why})
			continue
		}
		p.networks = append(p.networks, network)
	}
	return p, wrong
}

// parseNetwork reads an address or a network, and returns why it cannot.
func parseNetwork(entry string) (network netip.Prefix, why string) {
	const form = "is not an address such as 127.0.0.1, a network such as 10.0.0.0/8, or the word unix"
	if !strings.Contains(entry, "/") {
		ip, err := netip.ParseAddr(entry)
		if err != nil || ip.Zone() != "" {
			return netip.Prefix{}, form
		}
		ip = ip.Unmap()
		return netip.PrefixFrom(ip, ip.BitLen()), ""
	}
	network, err := netip.ParsePrefix(entry)
	switch {
	case err != nil:
		return netip.Prefix{}, form
	case network.Addr().Is4In6():
		return netip.Prefix{}, "is an IPv4 network in IPv6 form; write it such as 10.0.0.0/8"
	case network.Masked() != network:
		return netip.Prefix{}, "has bits set behind its prefix; the network is " + network.Masked().String()
	case network.Addr().Is4() && network.Bits() < minBits4, network.Addr().Is6() && network.Bits() < minBits6:
		return netip.Prefix{}, "is too large; anybody in it could invent addresses, so name your proxies alone"
	}
	return network, ""
}

// Any reports whether any proxy is trusted.
func (p Proxies) Any() bool { return p.unix || len(p.networks) > 0 }

// trusts reports whether an address is one of a trusted proxy.
func (p Proxies) trusts(ip netip.Addr) bool {
	for _, n := range p.networks {
		if n.Contains(ip) {
			return true
		}
	}
	return false
}

// Origin says how the address of a client was found. /health shows it to the client.
type Origin string

// The origins of an address.
const (
	Direct    Origin = "direct"  // the request carries no forwarded address
	Forwarded Origin = "trusted" // a trusted proxy forwarded it
	Ignored   Origin = "ignored" // a forwarded address was ignored, because the peer is not trusted
	Unclear   Origin = "unclear" // a trusted proxy forwarded something that is not an address
)

// Find returns the address of the client of a request, and how it was found. The address is invalid
// if the connection has none, as with a Unix socket.
func (p Proxies) Find(r *http.Request) (netip.Addr, Origin) {
	peer := address(r.RemoteAddr)
	lists, forwarded := r.Header["X-Forwarded-For"], r.Header["Forwarded"]
	if len(lists) == 0 && len(forwarded) == 0 {
		return peer, Direct
	}
	if peer.IsValid() && !p.trusts(peer) || !peer.IsValid() && !p.unix {
		return peer, Ignored
	}
	byList, okList := p.client(peer, splitList(lists))
	byHeader, okHeader := p.client(peer, forParts(forwarded))
	switch {
	case len(forwarded) == 0:
		byHeader, okHeader = byList, okList
	case len(lists) == 0:
		byList, okList = byHeader, okHeader
	}
	// A proxy that writes one of the headers may pass on the other as the client sent it. So if they
	// differ, neither is believed.
	if byList != byHeader {
		return peer, Unclear
	}
	if !okList || !okHeader {
		return byList, Unclear
	}
	return byList, Forwarded
}

// client walks through forwarded addresses from the nearest to the farthest hop, and returns the
// first that is not a trusted proxy. Whatever stands before it may be invented. It returns false,
// and the last hop that is known, if it meets something that is not an address.
func (p Proxies) client(peer netip.Addr, hops []string) (client netip.Addr, ok bool) {
	client = peer
	for i := len(hops) - 1; i >= 0; i-- {
		hop := address(hops[i])
		if !hop.IsValid() {
			return client, false
		}
		client = hop
		if !p.trusts(hop) {
			break
		}
	}
	return client, true
}

// address reads an address that may have brackets, a port or a zone. It is invalid if it cannot.
func address(text string) netip.Addr {
	text = strings.TrimSpace(text)
	if host, _, err := net.SplitHostPort(text); err == nil {
		text = host
	}
	ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	if err != nil {
		return netip.Addr{}
	}
	return ip.Unmap().WithZone("")
}

// splitList returns the entries of header lines that are lists with commas.
func splitList(lines []string) (entries []string) {
	for _, line := range lines {
		entries = append(entries, strings.Split(line, ",")...)
	}
	return entries
}

// forParts returns the address of each element of a Forwarded header (RFC 7239), "" for an element
// without one.
func forParts(lines []string) (hops []string) {
	for _, line := range lines {
		for element := range splitQuoted(line, ',') {
			hop := ""
			for pair := range splitQuoted(element, ';') {
				name, value, found := strings.Cut(pair, "=")
				if found && strings.EqualFold(strings.TrimSpace(name), "for") {
					hop = strings.Trim(strings.TrimSpace(value), `"`)
				}
			}
			hops = append(hops, hop)
		}
	}
	return hops
}

// splitQuoted yields the parts of text between separators that are not in double quotes.
func splitQuoted(text string, separator byte) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		begin, quoted := 0, false
		for i := 0; i < len(text); i++ {
			switch {
			case quoted && text[i] == '\\':
				i++ // the next character is escaped
			case text[i] == '"':
				quoted = !quoted
			case !quoted && text[i] == separator:
				if !yield(text[begin:i]) {
					return
				}
				begin = i + 1
			}
		}
		yield(text[begin:])
	}
}

// Key returns the key by which a client is limited: an IPv4 address, or the /64 network of an IPv6
// address, because one client has the whole network. It takes an address with or without a port.
func Key(remote string) string {
	ip := address(remote)
	switch {
	case !ip.IsValid():
		return remote
	case ip.Is4():
		return ip.String()
	}
	network, _ := ip.Prefix(64) // it fails only above 128 bits
	return network.String()
}

// Local reports whether an address, with or without a port, is on this host or in a private network.
// An address that is none is one, because only this host has Unix sockets.
func Local(remote string) bool {
	ip := address(remote)
	return !ip.IsValid() || ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast()
}

// Handler returns a handler that sets RemoteAddr to the client's address before it calls next. found
// is called with each request whose forwarded address was not used, and may be nil.
func (p Proxies) Handler(next http.Handler, found func(r *http.Request, peer string, o Origin)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client, origin := p.Find(r)
		if origin == Direct {
			next.ServeHTTP(w, r)
			return
		}
		if found != nil && origin != Forwarded {
			found(r, r.RemoteAddr, origin)
		}
		r = r.WithContext(withOrigin(r.Context(), origin))
		if client.IsValid() {
			r.RemoteAddr = net.JoinHostPort(client.String(), "0")
		}
		next.ServeHTTP(w, r)
	})
}
