package clientaddr

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestFind(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, trusted, peer string
		headers             []string // names and values
		want                string
		origin              Origin
	}{
		{"no proxy", "", "203.0.113.9:5", nil, "203.0.113.9", Direct},
		{"an invented header", "", "203.0.113.9:5", []string{"X-Forwarded-For", "198.51.100.1"},
			"203.0.113.9", Ignored},
		{"another proxy", "10.0.0.1", "10.0.0.2:5", []string{"X-Forwarded-For", "198.51.100.1"}, "10.0.0.2", Ignored},
		{"one proxy", "10.0.0.1", "10.0.0.1:5", []string{"X-Forwarded-For", "198.51.100.1"}, "198.51.100.1", Forwarded},
		{"a trusted proxy without a header", "10.0.0.1", "10.0.0.1:5", nil, "10.0.0.1", Direct},
		{"an invented hop before the client", "10.0.0.1", "10.0.0.1:5",
			[]string{"X-Forwarded-For", "192.0.2.66, 198.51.100.1"}, "198.51.100.1", Forwarded},
		{"an invented trusted hop before the client", "10.0.0.0/8", "10.0.0.1:5",
			[]string{"X-Forwarded-For", "10.0.0.9, 198.51.100.1"}, "198.51.100.1", Forwarded},
		{"two proxies", "10.0.0.0/8", "10.0.0.1:5",
			[]string{"X-Forwarded-For", "192.0.2.66, 198.51.100.1, 10.0.0.2"}, "198.51.100.1", Forwarded},
		{"a header on two lines", "10.0.0.0/8", "10.0.0.1:5",
			[]string{"X-Forwarded-For", "198.51.100.1", "X-Forwarded-For", "10.0.0.2"}, "198.51.100.1", Forwarded},
		{"proxies alone", "10.0.0.0/8", "10.0.0.1:5", []string{"X-Forwarded-For", "10.0.0.3, 10.0.0.2"}, "10.0.0.3",
			Forwarded},
		{"something that is no address", "10.0.0.0/8", "10.0.0.1:5",
			[]string{"X-Forwarded-For", "198.51.100.1, unknown, 10.0.0.2"}, "10.0.0.2", Unclear},
		{"an empty header", "10.0.0.1", "10.0.0.1:5", []string{"X-Forwarded-For", ""}, "10.0.0.1", Unclear},
		{"with a port", "10.0.0.1", "10.0.0.1:5", []string{"X-Forwarded-For", "198.51.100.1:4444"}, "198.51.100.1",
			Forwarded},
		{"IPv6 with a port", "::1", "[::1]:5", []string{"X-Forwarded-For", "[2001:db8::7]:4444"}, "2001:db8::7",
			Forwarded},
		{"IPv4 in IPv6 form", "10.0.0.1", "[::ffff:10.0.0.1]:5", []string{"X-Forwarded-For", "::ffff:198.51.100.1"},
			"198.51.100.1", Forwarded},
		{"a link-local proxy with its zone", "fe80::1", "[fe80::1%eth0]:5", []string{"X-Forwarded-For", "198.51.100.1"},
			"198.51.100.1", Forwarded},
		{"Forwarded", "10.0.0.1", "10.0.0.1:5", []string{"Forwarded", `for=198.51.100.1;proto=https;by=10.0.0.1`},
			"198.51.100.1", Forwarded},
		{"Forwarded in quotes", "10.0.0.1", "10.0.0.1:5",
			[]string{"Forwarded", `for=192.0.2.66, For="[2001:db8::7]:4711";by="a,b;for=x"`}, "2001:db8::7", Forwarded},
		{"Forwarded, hidden", "10.0.0.1", "10.0.0.1:5", []string{"Forwarded", `for=_secret`}, "10.0.0.1", Unclear},
		{"Forwarded without a client", "10.0.0.1", "10.0.0.1:5", []string{"Forwarded", `proto=https`}, "10.0.0.1",
			Unclear},
		{"both, and they agree", "10.0.0.1", "10.0.0.1:5",
			[]string{"Forwarded", `for=198.51.100.1`, "X-Forwarded-For", "198.51.100.1"}, "198.51.100.1", Forwarded},
		{"both, and one is invented", "10.0.0.1", "10.0.0.1:5",
			[]string{"Forwarded", `for=192.0.2.66`, "X-Forwarded-For", "198.51.100.1"}, "10.0.0.1", Unclear},
		{"a Unix socket", "unix", "@", []string{"X-Forwarded-For", "198.51.100.1"}, "198.51.100.1", Forwarded},
		{"a Unix socket that is not trusted", "10.0.0.1", "@", []string{"X-Forwarded-For", "198.51.100.1"},
			"invalid IP", Ignored},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p, wrong := Parse(c.trusted)
			if len(wrong) > 0 {
				t.Fatalf("%q is refused: %v", c.trusted, wrong)
			}
			r := httptest.NewRequest("GET", "/", nil)
			r.RemoteAddr = c.peer
			for i := 0; i < len(c.headers); i += 2 {
				r.Header.Add(c.headers[i], c.headers[i+1])
			}
			if got, origin := p.Find(r); got.String() != c.want || origin != c.origin {
				t.Errorf("the client is %s (%s); want %s (%s)", got, origin, c.want, c.origin)
			}
		})
	}
}

func TestHandlerSetsTheAddress(t *testing.T) {
	t.Parallel()
	p, _ := Parse("10.0.0.1, unix")
	if !p.Any() || (Proxies{}).Any() {
		t.Error("Any does not tell whether a proxy is trusted")
	}
	var at string
	var origin Origin
	var told []string
	h := p.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		at, origin = r.RemoteAddr, OriginOf(r)
	}), func(_ *http.Request, peer string, o Origin) { told = append(told, peer+" "+string(o)) })
	for _, c := range []struct{ peer, forwarded, want string }{
		{"203.0.113.9:5", "", "203.0.113.9:5 direct"},
		{"10.0.0.1:5", "2001:db8::7", "[2001:db8::7]:0 trusted"},
		{"10.0.0.1:5", "nonsense", "10.0.0.1:0 unclear"},
		{"203.0.113.9:5", "192.0.2.1", "203.0.113.9:0 ignored"},
		{"@", "nonsense", "@ unclear"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		if r.RemoteAddr = c.peer; c.forwarded != "" {
			r.Header.Set("X-Forwarded-For", c.forwarded)
		}
		h.ServeHTTP(httptest.NewRecorder(), r)
		if got := at + " " + string(origin); got != c.want || r.RemoteAddr != c.peer {
			t.Errorf("%s with %q is %s, and its request %s; want %s and %s", c.peer, c.forwarded, got, r.RemoteAddr,
				c.want, c.peer)
		}
	}
	const want = "10.0.0.1:5 unclear;203.0.113.9:5 ignored;@ unclear"
	if got := strings.Join(told, ";"); got != want {
		t.Errorf("told of %s; want %s", got, want)
	}
}

func TestKey(t *testing.T) {
	t.Parallel()
	for remote, want := range map[string]string{
		"203.0.113.9:5":             "203.0.113.9",
		"203.0.113.9":               "203.0.113.9",
		"[::ffff:203.0.113.9]:5":    "203.0.113.9",
		"[2001:db8:1:2:3:4:5:6]:80": "2001:db8:1:2::/64",
		"2001:db8:1:2:ffff::1":      "2001:db8:1:2::/64",
		"@":                         "@",
		"":                          "",
	} {
		if got := Key(remote); got != want {
			t.Errorf("the key of %q is %q; want %q", remote, got, want)
		}
	}
}

func TestLocal(t *testing.T) {
	t.Parallel()
	for remote, want := range map[string]bool{
		"127.0.0.1:1": true, "[::1]:1": true, "172.18.0.3:1": true, "[fd00::1]:1": true, "169.254.1.1": true, "@": true,
		"203.0.113.9:1": false, "[2001:db8::1]:1": false,
	} {
		if Local(remote) != want {
			t.Errorf("%s is local: %v; want %v", remote, !want, want)
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	for value, why := range map[string]string{
		"":                            "",
		"127.0.0.1, ::1,10.0.0.0/8":   "",
		"unix":                        "",
		"localhost":                   "is not an address",
		"10.0.0.0/33":                 "is not an address",
		"10.0.0.1:80":                 "is not an address",
		"fe80::1%eth0":                "is not an address",
		"10.0.0.1/8":                  "the network is 10.0.0.0/8",
		"0.0.0.0/0":                   "too large",
		"::/0":                        "too large",
		"::ffff:10.0.0.0/104":         "is an IPv4 network in IPv6 form",
		"2001:db8::/32,192.168.0.0/7": "has bits set",
	} {
		_, wrong := Parse(value)
		if (why == "") != (len(wrong) == 0) || why != "" && !strings.Contains(wrong[0].Why, why) {
			t.Errorf("%q: %v; want %q", value, wrong, why)
		}
	}
}

func FuzzFind(f *testing.F) {
	f.Add("10.0.0.1, 2001:db8::7", `for="[2001:db8::7]:4711";by=x, for=_a`)
	f.Add("\",,;=", "for=\"\\\"")
	p, _ := Parse("192.0.2.0/24")
	f.Fuzz(func(t *testing.T, list, header string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = "192.0.2.1:1"
		r.Header["X-Forwarded-For"], r.Header["Forwarded"] = []string{list}, []string{header}
		if client, origin := p.Find(r); !client.IsValid() {
			t.Errorf("no address (%s)", origin)
		}
	})
}
