package check_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stripe/stripe-go/v82"

	"notepay/internal/app"
	"notepay/internal/apptest"
	"notepay/internal/check"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/ledger"
	"notepay/internal/sandbox"
	"notepay/internal/stripeapi"
)

const webhookURL = "https://pay.example.com/webhook/stripe"

// checked is a world in which nothing is wrong.
type checked struct {
	*testing.T
	stripe  *sandbox.Stripe
	notehub *sandbox.Notehub
	env     map[string]string
	health  http.HandlerFunc // at PUBLIC_URL
	public  *http.Client     // reaches health
	disk    string           // the network file system of the ledger
	free    uint64           // bytes on the ledger's disk
}

func newChecked(t *testing.T, live bool) *checked {
	t.Helper()
	acceptsEvents := sandbox.InProcess(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	c := &checked{
		T:    t,
		free: 1 << 34,
		stripe: sandbox.NewStripe(
			sandbox.StripeConfig{Livemode: live, Client: &http.Client{Transport: acceptsEvents}},
		),
		notehub: sandbox.NewNotehub(sandbox.NotehubConfig{
			ClientID:     "client",
			ClientSecret: "secret-of-client",
			Token:        "personal-token",
			Project:      fixture.Project,
		}),
	}
	stripeServer, hubServer := httptest.NewServer(c.stripe), httptest.NewServer(c.notehub)
	front := httptest.NewUnstartedServer(
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { c.health(w, r) }),
	)
	front.Config.ErrorLog = log.New(io.Discard, "", 0) // for handshakes that fail on purpose
	front.StartTLS()
	t.Cleanup(func() { c.stripe.Close(); stripeServer.Close(); hubServer.Close(); front.Close() })
	c.health = func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/health" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, `{"status":"ok","version":"v1"}`)
	}
	c.public = front.Client() // resolves example.com to the server
	c.public.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.stripe.AddPrice(sandbox.Price{ID: fixture.Warm, Name: "Warm wash", Currency: "eur", Amount: 350, Active: true})
	c.notehub.AddFleet("fleet:1", "Laundry", nil)
	c.notehub.AddDevice(
		sandbox.Device{UID: fixture.Washer, Name: "Washer 3", Fleets: []string{"fleet:1"}, LastActivity: time.Now()},
	)
	c.notehub.SetRoute("https://pay.example.com/webhook/notehub", apptest.RouteToken)
	key := fixture.TestKey
	if live {
		key = "sk_live_0123456789"
	}
	c.env = map[string]string{
		"STRIPE_SECRET_KEY": key, "STRIPE_PRICE_ID": fixture.Warm, "STRIPE_WEBHOOK_SECRET": fixture.TestSecret,
		"NOTEHUB_CLIENT_ID": "client", "NOTEHUB_CLIENT_SECRET": "secret-of-client",
		"NOTEHUB_PROJECT_UID": fixture.Project, "NOTEHUB_ROUTE_TOKEN": apptest.RouteToken,
		"PUBLIC_URL": "https://pay.example.com", "OPERATOR_TOKEN": "operator-token-1234",
		"SUPPORT_CONTACT": "help@example.com", "CONFIRM_WITHIN": "90s", "ALERT_URLS": "ntfy://ntfy.sh/topic",
		"DATABASE_URL":    filepath.Join(t.TempDir(), "notepay.db"),
		"BACKUP_DIR":      directoryWith(t, time.Now().UTC().Format("notepay-20060102T150405Z.db")),
		"STRIPE_API_URL":  stripeServer.URL,
		"NOTEHUB_API_URL": hubServer.URL, "NOTEHUB_AUTH_URL": hubServer.URL + "/oauth2/token",
	}
	c.register(webhookURL, stripe.APIVersion, stripeapi.EventTypes()...)
	return c
}

func (c *checked) settings() *config.Settings {
	c.Helper()
	env := maps.Clone(c.env)
	s, err := config.Load(filepath.Join(c.TempDir(), ".env"), func(name string) string { return env[name] })
	if err != nil {
		c.Fatal(err)
	}
	return s
}

// endpoints returns a client with every permission.
func (c *checked) endpoints() *stripe.Client {
	c.Helper()
	return apptest.StripeOf(c.settings(), nil).Library()
}

func (c *checked) register(url, version string, events ...string) {
	c.Helper()
	params := &stripe.WebhookEndpointCreateParams{
		URL:           stripe.String(url),
		APIVersion:    stripe.String(version),
		EnabledEvents: stripe.StringSlice(events),
	}
	if _, err := c.endpoints().V1WebhookEndpoints.Create(c.Context(), params); err != nil {
		c.Fatal(err)
	}
}

// change updates the registered endpoint, or deletes it if p is nil.
func (c *checked) change(p *stripe.WebhookEndpointUpdateParams) {
	c.Helper()
	api := c.endpoints()
	for e, err := range api.V1WebhookEndpoints.List(c.Context(), &stripe.WebhookEndpointListParams{}) {
		if err == nil && p == nil {
			_, err = api.V1WebhookEndpoints.Delete(c.Context(), e.ID, nil)
		} else if err == nil {
			_, err = api.V1WebhookEndpoints.Update(c.Context(), e.ID, p)
		}
		if err != nil {
			c.Fatal(err)
		}
	}
}

func (c *checked) run() []check.Result {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), 30*time.Second)
	defer cancel()
	s := c.settings()
	checks := app.NewCheck(s, apptest.HubOf(s, nil), apptest.StripeOf(s, nil))
	checks.Public = c.public
	if c.disk != "" {
		checks.Disk = func(string) (string, error) { return c.disk, nil }
	}
	checks.Space = func(string) (ledger.Space, error) { return ledger.Space{Free: c.free, Total: 1 << 40}, nil }
	return check.Run(ctx, checks)
}

func TestRunWithoutMistakes(t *testing.T) {
	t.Parallel()
	for name, live := range map[string]bool{"test": false, "live": true} {
		c := newChecked(t, live)
		for _, r := range c.run() {
			t.Logf("%s: %+v", name, r)
			if r.State != usual(r) || !r.Remedy.IsZero() || r.Detail.IsZero() {
				t.Errorf("%s: %+v; want it ok", name, r)
			}
		}
	}
}

// An odd record beside ours, or another spelling of our address, hides nothing.
func TestRunDespiteOddRecords(t *testing.T) {
	t.Parallel()
	for name, endpoint := range map[string]string{
		"a slash": webhookURL + "/", "a port": "https://PAY.example.com:443/webhook/stripe",
	} {
		c := newChecked(t, false)
		c.change(nil)
		c.register("https://pay.example.com.evil.example/webhook/stripe", stripe.APIVersion, "charge.refunded")
		c.register(endpoint, stripe.APIVersion, stripeapi.EventTypes()...)
		c.notehub.Always("GET /v1/projects/{p}/routes", sandbox.Outcome{Status: 200, Body: `[7,null,` +
			`{"uid":7,"type":"http"},{"uid":"route:none","type":"http","disabled":"no"},` +
			`{"uid":"route:none","type":"http"},` +
			`{"uid":"route:8d65a087d5d290ce5bdf03aeff2becc0","type":"http"}]`})
		for _, r := range c.run() {
			if r.State != usual(r) || !r.Remedy.IsZero() {
				t.Errorf("%s: %+v; want it ok", name, r)
			}
		}
	}
}

// usual returns the state of a check whose subject is as it should be. Those of the built-in HTTPS
// are skipped, because a proxy speaks HTTPS.
func usual(r check.Result) check.State {
	if r.Name == "Domain names" || r.Name == "Port 80" {
		return check.Skipped
	}
	return check.OK
}

// says returns an error reply of Stripe.
func says(status int, code, message string) sandbox.Outcome {
	return sandbox.Outcome{
		Status: status,
		Body:   fmt.Sprintf(`{"error":{"type":"invalid_request_error","code":%q,"message":%q}}`, code, message),
	}
}

func TestRunWithAKeyThatMayNotReadEndpoints(t *testing.T) {
	t.Parallel()
	c := newChecked(t, false)
	c.env["STRIPE_SECRET_KEY"] = "rk_test_0123456789"
	c.stripe.Always(
		"GET /v1/webhook_endpoints",
		says(403, "", "Having the 'rak_webhook_read' permission would allow this request."),
	)
	for _, r := range c.run() {
		want := usual(r)
		if r.Name == "Webhook delivery" || r.Name == "Webhook API version" {
			want = check.Skipped
		}
		if r.State != want {
			t.Errorf("%+v; want it %s", r, want)
		}
	}
}

func TestRunChangesNothing(t *testing.T) {
	t.Parallel()
	c := newChecked(t, false)
	c.env["STRIPE_SECRET_KEY"] = "rk_test_0123456789" // whose permissions are tried with calls that would write
	before := len(c.stripe.Requests("POST /v1/{all...}"))
	c.run()
	for _, r := range c.stripe.Requests("POST /v1/{all...}")[before:] {
		if r.Applied {
			t.Errorf("%s %s changed something", r.Method, r.Path)
		}
	}
	for _, method := range []string{"POST", "PUT", "DELETE"} {
		if n := c.notehub.Count(method + " /v1/{all...}"); n > 0 {
			t.Errorf("%d %s requests to Notehub; want none", n, method)
		}
	}
}

func TestRunKeepsNotehubsRateLimit(t *testing.T) {
	t.Parallel()
	c := newChecked(t, false)
	c.notehub.Next(
		"GET /v1/projects/{p}/fleets",
		sandbox.Outcome{Status: 429, Header: http.Header{"Retry-After": {"1"}}},
	)
	for _, r := range c.run() {
		if r.State != usual(r) {
			t.Errorf("%+v; want it ok after it waited", r)
		}
	}
	tries := c.notehub.Requests("GET /v1/projects/{p}/fleets")
	if len(tries) != 2 || tries[1].At.Sub(tries[0].At) < time.Second {
		t.Errorf("%d tries; want a second one after a second", len(tries))
	}
}

func TestCheckCommandWhileServeRuns(t *testing.T) {
	t.Parallel()
	w := apptest.NewWorld(t)
	s := w.Start()
	s.Selling(fixture.Washer)
	for name, c := range map[string]struct {
		set  map[string]string
		code int
		want string
	}{
		"all is well": {map[string]string{"PUBLIC_URL": ""}, 0, "ok       Ledger access: "},
		"something is not": {
			map[string]string{"PUBLIC_URL": "", "STRIPE_PRICE_ID": "price_gone"},
			1, "failed   Default price: price_gone",
		},
		"alerts go nowhere": {
			map[string]string{"PUBLIC_URL": "", "ALERT_URLS": "ntfy://127.0.0.1:1/hunter2secret?scheme=http"},
			1, "failed   Alerts: number 1: ntfy: dial tcp",
		},
		"alerts are set up": {
			map[string]string{"PUBLIC_URL": "", "ALERT_URLS": "ntfy://127.0.0.1:1/hunter2secret?scheme=http"},
			0, "ok       Alerts: they go to ntfy; notepay check --alert sends a test alert",
		},
		"an alert is wrong":      {map[string]string{"ALERT_URLS": "ntfy://hunter2secret"}, 2, ""},
		"the settings are wrong": {map[string]string{"CONFIRM_WITHIN": "soon"}, 2, ""},
	} {
		args := []string{"check"}
		if name == "alerts go nowhere" {
			args = append(args, "--alert")
		}
		code, out, complaint := w.CommandWith(c.set, args...)
		if strings.Contains(out+complaint, "hunter2secret") {
			t.Errorf("%s: it shows a secret: %s%s", name, out, complaint)
		}
		if code != c.code || !strings.Contains(out, c.want) {
			t.Errorf("%s: exit code %d, %s%s; want %d and %q", name, code, out, complaint, c.code, c.want)
		}
		if n := strings.Count(out, "\n"); c.code != 2 && n != 32 {
			t.Errorf("%s: %d lines; want one for each of 32 checks:\n%s", name, n, out)
		}
	}
}
