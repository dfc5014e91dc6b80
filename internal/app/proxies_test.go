package app_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"notepay/internal/apptest"
	"notepay/internal/config"
)

// behindProxy sends requests as a proxy does that appends the address of its client.
func behindProxy(f *apptest.Front, peer, forwarded, method, path, form string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(form))
	r.RemoteAddr = peer
	if r.Header.Set("Content-Type", "application/x-www-form-urlencoded"); forwarded != "" {
		r.Header.Set("X-Forwarded-For", forwarded)
	}
	w := httptest.NewRecorder()
	f.Handler.ServeHTTP(w, r)
	return w
}

func TestTrustedProxiesSeparateClients(t *testing.T) {
	t.Parallel()
	const proxy = "127.0.0.1:40000"
	wrong := url.Values{"token": {"guess-1234567890"}}.Encode()
	for _, c := range []struct {
		name, trusted string
		// what the stranger and another client get after the stranger's guesses, with invented hops
		stranger, other int
	}{
		{"without the setting", "", http.StatusTooManyRequests, http.StatusTooManyRequests},
		{"with it", "127.0.0.1", http.StatusTooManyRequests, http.StatusUnauthorized},
		{"with that of another proxy", "10.0.0.0/8", http.StatusTooManyRequests, http.StatusTooManyRequests},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			apptest.InFront(t, func(s *config.Settings) { s.TrustedProxies = c.trusted }, func(f *apptest.Front) {
				guess := func(forwarded string) int {
					return behindProxy(f, proxy, forwarded, "POST", "/operator/sign-in", wrong).Code
				}
				for i := range 5 {
					if got := guess("2001:db8:0:1::" + string(rune('a'+i))); got != http.StatusUnauthorized {
						t.Fatalf("guess %d: %d; want 401", i+1, got)
					}
				}
				if got := guess("198.51.100.1, 2001:db8:0:1:ffff::1"); got != c.stranger {
					t.Errorf("a guess from the same /64 behind an invented hop: %d; want %d", got, c.stranger)
				}
				if got := guess("2001:db8:0:2::1"); got != c.other {
					t.Errorf("a guess of another client: %d; want %d", got, c.other)
				}
				right := url.Values{"token": {apptest.OperatorToken}}.Encode()
				w := behindProxy(f, proxy, "2001:db8:0:1::a", "POST", "/operator/sign-in", right)
				if w.Code != http.StatusSeeOther {
					t.Errorf("the right token: %d; want 303", w.Code)
				}
			})
		})
	}
}

func TestHealthTellsHowTheAddressWasFound(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, func(s *config.Settings) { s.TrustedProxies = "10.0.0.1" }, func(f *apptest.Front) {
		for _, c := range []struct{ peer, forwarded, want string }{
			{"203.0.113.5:1", "", `"status"`},
			{"203.0.113.5:1", "198.51.100.1", `"forwarded_address":"ignored"`},
			{"10.0.0.1:1", "198.51.100.1", `"forwarded_address":"trusted"`},
		} {
			body := behindProxy(f, c.peer, c.forwarded, "GET", "/health", "").Body.String()
			if !strings.Contains(body, c.want) || c.forwarded == "" && strings.Contains(body, "forwarded") {
				t.Errorf("from %s for %q: %s; want %s", c.peer, c.forwarded, body, c.want)
			}
		}
		if strings.Contains(f.Logs.String(), "forwarded address ignored") {
			t.Error("a client on the Internet fills the log")
		}
		behindProxy(f, "10.0.0.2:1", "198.51.100.1", "GET", "/health", "")
		behindProxy(f, "10.0.0.2:1", "198.51.100.1", "GET", "/health", "")
		if n := strings.Count(f.Logs.String(), "forwarded address ignored"); n != 1 {
			t.Errorf("a proxy that is not trusted is logged %d times; want once", n)
		}
	})
}
