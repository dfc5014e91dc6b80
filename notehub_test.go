package main

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"notepay/internal/config"
	"notepay/internal/fixture"
)

func TestNewNotehubSignsIn(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		settings config.Settings
		token    string
		requests []string
	}{
		"with OAuth client credentials": {
			config.Settings{NotehubClientID: "client", NotehubClientSecret: fixture.HubSecret},
			"an-access-token",
			[]string{"/oauth2/token", "/v1/projects/" + fixture.Project + "/devices"},
		},
		"with a personal access token": {
			config.Settings{NotehubToken: fixture.HubToken},
			fixture.HubToken,
			[]string{"/v1/projects/" + fixture.Project + "/devices"},
		},
		"for one fleet": {
			config.Settings{NotehubToken: fixture.HubToken, NotehubFleetUID: "fleet:1"},
			fixture.HubToken,
			[]string{"/v1/projects/" + fixture.Project + "/fleets/fleet:1/devices"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			var requests []string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				requests = append(requests, r.URL.Path)
				mu.Unlock()
				w.Header().Set("Content-Type", "application/json")
				if r.URL.Path == "/oauth2/token" {
					if r.Header.Get("Authorization") != "" || r.FormValue("client_id") != "client" ||
						r.FormValue("client_secret") != fixture.HubSecret {
						t.Errorf("token call with %v; want the credentials in the form", r.Form)
					}
					_, _ = w.Write([]byte(`{"access_token":"an-access-token","token_type":"bearer","expires_in":1800}`))
					return
				}
				if got := r.Header.Get("Authorization"); got != "Bearer "+c.token {
					t.Errorf("Authorization %q; want %q", got, c.token)
				}
				if got := r.Header.Get("User-Agent"); !strings.HasPrefix(got, "notepay/") {
					t.Errorf("User-Agent %q; want notepay's", got)
				}
				_, _ = w.Write([]byte(`{"devices":[],"has_more":false}`))
			}))
			defer server.Close()
			s := c.settings
			s.NotehubProjectUID, s.NotehubAPIURL = fixture.Project, server.URL
			s.NotehubAuthURL = server.URL + "/oauth2/token"
			if _, err := newNotehub(&s).Devices(t.Context()); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(requests, c.requests) {
				t.Errorf("requests %q; want %q", requests, c.requests)
			}
		})
	}
}
