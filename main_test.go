package main

import (
	"debug/elf"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/ledger"
	"notepay/internal/sandbox"
	"notepay/internal/upstream"
)

func TestRunReturnsExitCodes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args []string
		code int
		out  string
		err  string
	}{
		"version":                        {[]string{"version"}, 0, "notepay devel, commit ", ""},
		"help":                           {[]string{"help"}, 0, "usage: notepay", ""},
		"an unknown command":             {[]string{"sell"}, 2, "", `unknown command "sell"`},
		"a command with an argument":     {[]string{"serve", "now"}, 2, "", "takes no arguments"},
		"serve without settings":         {[]string{"serve"}, 2, "", firstSteps},
		"no command means serve":         {nil, 2, "", firstSteps},
		"a wrong flag of demo":           {[]string{"demo", "--lan"}, 2, "", "demo takes --host lan"},
		"a wrong host of the demo":       {[]string{"demo", "--host", "here"}, 2, "", "neither lan nor an address"},
		"a device's key without its UID": {[]string{"device-key"}, 2, "", "takes one argument"},
		"a device's key of no device":    {[]string{"device-key", "washer"}, 2, "", "is no device UID"},
		"a device's key without a key":   {[]string{"device-key", "dev:1"}, 2, "", "NOTE_SIGN_KEY: not set"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out, complaint strings.Builder
			code := exitCode(run(t.Context(), c.args, func(string) string { return "" }, &out), &complaint)
			if code != c.code || !strings.Contains(out.String(), c.out) ||
				!strings.Contains(complaint.String(), c.err) {
				t.Errorf(
					"exit code %d, %q, %q; want %d, %q, %q", code, out.String(), complaint.String(), c.code,
					c.out, c.err,
				)
			}
		})
	}
}

// The key is HMAC-SHA-256 of the UID as openssl computes it. The UID may be written as on a sticker.
func TestDeviceKeyIsPrintedForFirmware(t *testing.T) {
	t.Parallel()
	getenv := func(name string) string {
		if name == "NOTE_SIGN_KEY" {
			return strings.Repeat("00112233445566778899aabbccddeeff", 2)
		}
		return ""
	}
	var out strings.Builder
	if err := run(t.Context(), []string{"device-key", " DEV:864475044215258"}, getenv, &out); err != nil {
		t.Fatal(err)
	}
	const key = "081c068a665b40aa0f948fc4988e31b5026c72749df0f968420fa0c76c558a82"
	if got, _, _ := strings.Cut(out.String(), "\n"); got != key || !strings.Contains(out.String(), "\n{0x") ||
		strings.Count(out.String(), ", 0x") != 31 {
		t.Errorf("got %q; want %s and a list of 32 bytes", out.String(), key)
	}
}

// TestBinary checks the binary as it ships: it is static and small, and sells from its ledger while both
// vendors are down. tests/bench measures how long its start takes.
func TestBinary(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "notepay")
	apptest.BuildAsShipped(t, binary)
	info, err := os.Stat(binary)
	if err != nil {
		t.Fatal(err)
	}
	if mb := float64(info.Size()) / 1e6; mb >= 30 {
		t.Errorf("the binary has %.1f MB; want below 30", mb)
	} else {
		t.Logf("the binary has %.1f MB", mb)
	}
	if f, err := elf.Open(binary); err == nil { // only on Linux
		if libraries, err := f.ImportedLibraries(); err != nil || len(libraries) > 0 {
			t.Errorf("the binary needs %v (%v); want a static one", libraries, err)
		}
		f.Close()
	}

	const devices = 10_000
	w := apptest.NewWorld(t)
	w.Remember(devices)
	// The vendors do not answer, so that the ledger alone must do.
	w.Stripe.Always("{any} /v1/{rest...}", sandbox.Outcome{Status: 503})
	w.Notehub.Always("{any} /{rest...}", sandbox.Outcome{Status: 503})
	p := w.Launch(apptest.Invocation(binary, w.Dir, w.Env), io.Discard)
	s := &apptest.Service{W: w, Url: p.Url}
	if status, _, _ := s.Get("/health"); status != http.StatusOK {
		t.Errorf("/health answers %d", status)
	}
	status, header, _ := s.Get("/pay?device=dev:7777")
	took := time.Since(p.Began)
	if status != http.StatusTemporaryRedirect || header.Get("Location") != "https://buy.example.com/7777" {
		t.Errorf("/pay answers %d to %q", status, header.Get("Location"))
	}
	memory := apptest.ResidentMB(t, p.Cmd.Process.Pid)
	if memory > 100 {
		t.Errorf("%.0f MB resident; want at most 100", memory)
	}
	t.Logf("%d known devices: first redirect after %v, %.0f MB resident", devices, took.Round(time.Millisecond), memory)
	if err := p.Stop(); err != nil {
		t.Errorf("after SIGTERM: %v; want exit code 0", err)
	}
}

func TestServeFails(t *testing.T) {
	t.Parallel()
	w := apptest.NewWorld(t)
	s := w.Start()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, c := range map[string]struct {
		set  map[string]string
		code int
		want string
	}{
		"every wrong setting at once": {
			map[string]string{"STRIPE_SECRET_KEY": "pk_test_1", "STRIPE_WEBHOOK_SECRET": "", "PORT": "x"},
			2, "STRIPE_WEBHOOK_SECRET",
		},
		"an address in use": {
			map[string]string{
				"LISTEN_ADDR":  taken.Addr().String(),
				"DATABASE_URL": filepath.Join(t.TempDir(), "other.db"),
			},
			1, "is taken by another program: set LISTEN_ADDR",
		},
		"a ledger in use": {nil, 1, ledger.ErrLocked.Error()},
		"a ledger that cannot be": {
			map[string]string{"DATABASE_URL": filepath.Join(t.TempDir(), "no", "such", "folder.db")},
			1, "open ledger",
		},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, complaint := w.CommandWith(c.set, "serve")
			if code != c.code || !strings.Contains(complaint, c.want) {
				t.Errorf("exit code %d, %q; want %d and %q", code, complaint, c.code, c.want)
			}
			if strings.Contains(complaint, fixture.TestSecret) || strings.Contains(complaint, "secret-of-client") {
				t.Errorf("a secret is printed: %q", complaint)
			}
		})
	}
	s.Selling(fixture.Washer) // the first service is not affected
}

// A stop waits for calls in flight, and cancels those that do not end.
func TestStopWithACallInFlight(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		delay   time.Duration
		outcome string // of the call, as the API names it
	}{
		"that ends soon":  {500 * time.Millisecond, "ok"},
		"that never ends": {time.Hour, "retry"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := apptest.NewWorld(t)
			s := w.Start()
			link := s.Selling(fixture.Washer)
			w.Notehub.Next(fixture.PostNote, sandbox.Outcome{Applied: true, Status: http.StatusOK, Delay: c.delay})
			session := w.Pay(link, sandbox.PayOptions{})
			w.Until("the call is under way", func() bool { return len(w.Notehub.Notes(fixture.Washer)) == 1 })
			w.Stopped(s)
			next := w.Start()
			recorded := next.Payment(session.ID, "sent", apptest.Has(`"machine":"sent"`))
			if want := `"action":"note","outcome":"` + c.outcome + `"`; !strings.Contains(recorded, want) {
				t.Errorf("the payment is %s; want %s", recorded, want)
			}
			w.Stopped(next)
			if n := len(w.Notehub.Notes(fixture.Washer)); n != 1 {
				t.Errorf("%d notes; want the one", n)
			}
		})
	}
}

func TestServeWithCaptureOnStartCreatesManualLinks(t *testing.T) {
	t.Parallel()
	w := apptest.NewWorld(t).Set("CAPTURE", "on_start", "CONFIRM_WITHIN", "1m")
	s := w.Start()
	s.Selling(fixture.Washer)
	if links := w.Stripe.Links(); len(links) != 1 || links[0].CaptureMethod != "manual" {
		t.Errorf("links %+v; want one with manual capture", links)
	}
	w.Stopped(s)
}

func TestLogHoldsNoSecret(t *testing.T) {
	t.Parallel()
	w := apptest.NewWorld(t)
	s := w.Start()
	w.Notehub.Next(fixture.PostNote, sandbox.Outcome{Status: 401}, sandbox.Outcome{Status: 403}, sandbox.Outcome{})
	session := w.Pay(s.Selling(fixture.Washer), sandbox.PayOptions{})
	s.Get("/payment/success?session_id=" + session.ID)
	s.Do(http.MethodPost, "/webhook/stripe", "{}", "Stripe-Signature", "t=1,v1=00")
	s.Get("/api/payments", "Authorization", "Bearer wrong")
	s.Payment(session.ID, "sent", apptest.Has(`"machine":"sent"`))
	_, header, _ := s.Get("/payment/success?session_id=" + session.ID)
	w.Stopped(s)
	for _, secret := range []string{
		fixture.TestKey, fixture.TestSecret, "secret-of-client", "operator-token-1234", "Bearer", "whsec_",
		strings.TrimPrefix(header.Get("Location"), "/session/"),
	} {
		if strings.Contains(s.Logs.String(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

func TestNewStripeMakesOneAttempt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		want   upstream.Outcome
	}{
		"a conflict":     {http.StatusConflict, upstream.Retryable},
		"a rate limit":   {http.StatusTooManyRequests, upstream.RateLimited},
		"a server error": {http.StatusInternalServerError, upstream.Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				calls.Add(1)
				if got := r.Header.Get("Authorization"); got != "Bearer "+fixture.TestKey {
					t.Errorf("Authorization %q; want the key", got)
				}
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(`{"error":{"type":"api_error","message":"not now"}}`))
			}))
			defer server.Close()
			api := newStripe(&config.Settings{StripeSecretKey: fixture.TestKey, StripeAPIURL: server.URL})
			_, err := api.Offer(t.Context(), fixture.Warm)
			fixture.Meant(t, "price", err, c.want)
			if n := calls.Load(); n != 1 {
				t.Errorf("%d requests; want one, because the ledger decides about retries", n)
			}
		})
	}
}

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
