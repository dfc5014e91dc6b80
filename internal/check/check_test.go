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

const hooks = "https://pay.example.com/webhook/stripe"

// checked is a world in which nothing is wrong.
type checked struct {
	*testing.T
	stripe  *sandbox.Stripe
	notehub *sandbox.Notehub
	env     map[string]string
	health  http.HandlerFunc // at PUBLIC_URL
	public  *http.Client     // which reaches it
	disk    string           // the network file system of the ledger
	free    uint64           // bytes on its disk
}

func newChecked(t *testing.T, live bool) *checked {
	t.Helper()
	c := &checked{T: t, free: 1 << 34, stripe: sandbox.NewStripe(sandbox.StripeConfig{Livemode: live}),
		notehub: sandbox.NewNotehub(
			sandbox.NotehubConfig{
				ClientID:     "client",
				ClientSecret: "secret-of-client",
				Token:        "personal-token",
				Project:      fixture.Project,
			},
		)}
	stripeServer, hubServer := httptest.NewServer(c.stripe), httptest.NewServer(c.notehub)
	front := httptest.NewUnstartedServer(
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { c.health(w, r) }),
	)
	front.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that fail on purpose
	front.StartTLS()
	t.Cleanup(func() { c.stripe.Close(); stripeServer.Close(); hubServer.Close(); front.Close() })
	c.health = func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/health" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, `{"status":"ok","version":"v1"}`)
	}
	c.public = front.Client() // leads example.com to the server
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
		"STRIPE_SECRET_KEY": key, "STRIPE_PRICE_ID": fixture.Warm, "STRIPE_WEBHOOK_SECRET": fixture.TestSecret, "NOTEHUB_CLIENT_ID": "client",
		"NOTEHUB_CLIENT_SECRET": "secret-of-client", "NOTEHUB_PROJECT_UID": fixture.Project, "PUBLIC_URL": "https://pay.example.com", "CONFIRM_WITHIN": "90s",
		"NOTEHUB_ROUTE_TOKEN": apptest.RouteToken, "DATABASE_URL": filepath.Join(t.TempDir(), "notepay.db"), "OPERATOR_TOKEN": "operator-token-1234",
		"STRIPE_API_URL": stripeServer.URL, "NOTEHUB_API_URL": hubServer.URL, "NOTEHUB_AUTH_URL": hubServer.URL + "/oauth2/token",
	}
	c.register(hooks, stripe.APIVersion, stripeapi.EventTypes()...)
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

// endpoints asks the sandbox as somebody who may do everything.
func (c *checked) endpoints() *stripe.Client {
	c.Helper()
	return apptest.StripeOf(c.settings(), nil).Library()
}

func (c *checked) register(url, version string, events ...string) {
	c.Helper()
	if _, err := c.endpoints().V1WebhookEndpoints.Create(c.Context(), &stripe.WebhookEndpointCreateParams{URL: stripe.String(url),
		APIVersion: stripe.String(version), EnabledEvents: stripe.StringSlice(events)}); err != nil {
		c.Fatal(err)
	}
}

// change changes the one endpoint that is registered; nil deletes it.
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

func TestWhereNothingIsWrongEveryCheckIsOK(t *testing.T) {
	t.Parallel()
	for name, live := range map[string]bool{"test": false, "live": true} {
		c := newChecked(t, live)
		for _, r := range c.run() {
			t.Logf("%s: %+v", name, r)
			if r.State != check.OK || r.Remedy != "" || r.Detail == "" {
				t.Errorf("%s: %+v; want it ok", name, r)
			}
		}
	}
}

// says is a refusal of Stripe in its own words.
func says(status int, code, message string) sandbox.Outcome {
	return sandbox.Outcome{
		Status: status,
		Body:   fmt.Sprintf(`{"error":{"type":"invalid_request_error","code":%q,"message":%q}}`, code, message),
	}
}

func TestEachFaultFailsItsOwnLineAndNoOther(t *testing.T) {
	t.Parallel()
	set := func(pairs ...string) func(*checked) {
		return func(c *checked) {
			for i := 0; i < len(pairs); i += 2 {
				c.env[pairs[i]] = pairs[i+1]
			}
		}
	}
	restricted := set("STRIPE_SECRET_KEY", "rk_test_0123456789")
	nowhere := httptest.NewServer(nil)
	nowhere.Close()
	answers := func(status int, body string) func(*checked) {
		return func(c *checked) {
			c.health = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status); _, _ = io.WriteString(w, body) }
		}
	}
	wrongClock := func(by time.Duration) func(*checked) {
		return func(c *checked) {
			o := sandbox.Outcome{
				Applied: true,
				Status:  200,
				Header:  http.Header{"Date": {time.Now().Add(by).UTC().Format(http.TimeFormat)}},
			}
			c.stripe.Always("{any} /{all...}", o)
			c.notehub.Always("{any} /{all...}", o)
		}
	}
	const mayNot = "The provided key 'rk_test_***' does not have the required permissions for this endpoint. Having the 'rak_refund_write' permission would allow this request."
	for name, f := range map[string]struct {
		live   bool
		fault  func(*checked)
		line   string
		state  check.State
		detail string
		remedy string
	}{
		"a key with a bracket":    {false, set("STRIPE_SECRET_KEY", `sk_test_0123456789>`), "Secret format", check.Failed, "STRIPE_SECRET_KEY", "copy the value again"},
		"a secret with a bracket": {false, set("NOTEHUB_CLIENT_SECRET", "secret-of-client>"), "Secret format", check.Failed, "NOTEHUB_CLIENT_SECRET", "copy the value again"},
		"a key that Stripe does not know": {false, func(c *checked) {
			c.stripe.Always("{any} /v1/{all...}", says(401, "", "Invalid API Key provided: sk_test_****"))
		}, "Stripe connection", check.Failed, "Invalid API Key", "dashboard.stripe.com/apikeys"},
		"a Stripe that is not reached": {false, set("STRIPE_API_URL", nowhere.URL), "Stripe connection", check.Failed, "not reached", "firewall"},
		"a restricted key that may not refund": {false, func(c *checked) {
			restricted(c)
			c.stripe.Always("POST /v1/refunds", says(403, "more_permissions_required", mayNot))
		}, "Stripe key permissions", check.Failed, "Having the 'rak_refund_write' permission", "give the key"},
		"a restricted key that may not see prices": {false, func(c *checked) {
			restricted(c)
			c.stripe.Always("GET /v1/prices", says(403, "", mayNot))
			c.stripe.Always("GET /v1/prices/{id}", says(403, "", mayNot))
		}, "Stripe key permissions", check.Failed, "read Prices", "give the key"},
		"a restricted key that may list no link, which is answered 401": {false, func(c *checked) {
			restricted(c)
			c.stripe.Always("{any} /v1/payment_links", says(401, "", mayNot))
			c.stripe.Always("{any} /v1/payment_links/{id}", says(401, "", mayNot))
		}, "Stripe key permissions", check.Failed, "write Payment Links", "give the key"},
		"a test key and a live price": {false, func(c *checked) {
			c.stripe.Always("GET /v1/prices/{id}", says(404, "resource_missing", "No such price: 'price_warm'; a similar object exists in live mode, but a test mode key was used to make this request."))
		}, "Test and live mode", check.Failed, "is a live price", "same mode"},
		"a live key without https": {true, func(c *checked) {
			set("PUBLIC_URL", "http://192.168.1.7")(c)
			c.notehub.SetRoute("http://192.168.1.7/webhook/notehub", apptest.RouteToken)
			c.register("http://192.168.1.7/webhook/stripe", stripe.APIVersion, "*")
			c.public = &http.Client{Transport: sandbox.InProcess(c.health)}
		}, "Test and live mode", check.Failed, "http://192.168.1.7", "https://"},
		"a price that is not there": {false, set("STRIPE_PRICE_ID", "price_gone"), "Default price", check.Failed, "No such price", "active one-time"},
		"a price that is put away": {false, func(c *checked) { c.stripe.SetPrice(fixture.Warm, func(p *sandbox.Price) { p.Active = false }) },
			"Default price", check.Failed, "not active", "active one-time"},
		"a price that recurs": {false, func(c *checked) { c.stripe.SetPrice(fixture.Warm, func(p *sandbox.Price) { p.Recurring = true }) },
			"Default price", check.Failed, "recurring", "active one-time"},
		"a price of five cents": {false, func(c *checked) { c.stripe.SetPrice(fixture.Warm, func(p *sandbox.Price) { p.Amount = 5 }) },
			"Default price", check.Failed, "below the 50", "active one-time"},
		"no webhooks":                        {false, set("STRIPE_WEBHOOK_SECRET", "off"), "Webhook secret", check.Warned, "5m", "STRIPE_WEBHOOK_SECRET"},
		"no endpoint":                        {false, func(c *checked) { c.change(nil) }, "Webhook delivery", check.Failed, hooks, "notepay setup"},
		"an endpoint at another address":     {false, set("PUBLIC_URL", "https://www.example.com", "NOTEHUB_ROUTE_TOKEN", ""), "Webhook delivery", check.Failed, "https://www.example.com/webhook/stripe", "notepay setup"},
		"an endpoint that Stripe turned off": {false, func(c *checked) { c.change(&stripe.WebhookEndpointUpdateParams{Disabled: stripe.Bool(true)}) }, "Webhook delivery", check.Failed, "disabled", "enable"},
		"an endpoint that lacks an event": {false, func(c *checked) {
			c.change(&stripe.WebhookEndpointUpdateParams{EnabledEvents: stripe.StringSlice([]string{"checkout.session.completed", "charge.refunded"})})
		}, "Webhook delivery", check.Failed, "charge.dispute.created", "add them"},
		"an endpoint of another version": {false, func(c *checked) { c.change(nil); c.register(hooks, "2024-06-20", "*") }, "Webhook API version", check.Warned, "2024-06-20", "make another"},
		"a wrong secret for Notehub":     {false, set("NOTEHUB_CLIENT_SECRET", "another"), "Notehub sign-in", check.Failed, "client authentication failed", "OAuth client"},
		"a token that has expired":       {false, set("NOTEHUB_CLIENT_ID", "", "NOTEHUB_CLIENT_SECRET", "", "NOTEHUB_TOKEN", "expired-token"), "Notehub sign-in", check.Failed, "does not accept the token", "expire"},
		"a Notehub that is not reached":  {false, set("NOTEHUB_API_URL", nowhere.URL, "NOTEHUB_AUTH_URL", nowhere.URL), "Notehub sign-in", check.Failed, "not reached", "firewall"},
		"another project":                {false, set("NOTEHUB_PROJECT_UID", "app:other"), "Notehub project", check.Failed, "app:other", "NOTEHUB_PROJECT_UID"},
		"no device":                      {false, func(c *checked) { c.notehub.RemoveDevice(fixture.Washer) }, "Notehub devices", check.Failed, "no device", "hub.set"},
		"another fleet":                  {false, set("NOTEHUB_FLEET_UID", "fleet:2"), "Notehub devices", check.Failed, "fleet:2", "NOTEHUB_FLEET_UID"},
		"all devices disabled": {false, func(c *checked) { c.notehub.SetDevice(fixture.Washer, func(d *sandbox.Device) { d.Disabled = true }) },
			"Notehub devices", check.Failed, "disabled", "enable"},
		"a device that connects from time to time": {false, func(c *checked) { c.notehub.SetDevice(fixture.Washer, func(d *sandbox.Device) { d.Periodic = true }) },
			"Device connections", check.Warned, fixture.Washer, "continuous"},
		"a device that was never there": {false, func(c *checked) {
			c.notehub.SetDevice(fixture.Washer, func(d *sandbox.Device) { d.LastActivity = time.Time{} })
		},
			"Device connections", check.Warned, "never connected", "continuous"},
		"a project that names a price that is not there": {false, func(c *checked) {
			c.notehub.SetProjectVariables(map[string]string{"stripe_price_id": fixture.Warm + ", price_gone"})
		},
			"Notehub variables", check.Failed, "the project names price_gone", "stripe_price_id"},
		"a fleet that does": {false, func(c *checked) {
			c.notehub.AddFleet("fleet:1", "", map[string]string{"STRIPE_PRICE_ID": "price_gone"})
		},
			"Notehub variables", check.Failed, "fleet fleet:1 names price_gone", "stripe_price_id"},
		"a device that does": {false, func(c *checked) {
			c.notehub.SetDevice(fixture.Washer, func(d *sandbox.Device) { d.Variables = map[string]string{"stripe_price_id": "price_gone"} })
		}, "Notehub variables", check.Failed, "device " + fixture.Washer + " names price_gone", "stripe_price_id"},
		"a device with a lifetime that cannot be": {false, func(c *checked) {
			c.notehub.SetDevice(fixture.Washer, func(d *sandbox.Device) { d.Variables = map[string]string{"credit_lifetime": "1s"} })
		}, "Notehub variables", check.Failed, "device " + fixture.Washer + `: credit_lifetime: "1s": at least 10s`, "credit_lifetime"},
		"no route":                 {false, func(c *checked) { c.notehub.SetRoute("", "") }, "Confirmation route", check.Failed, "of 0 routes", "payment_ack.qo"},
		"a route to another place": {false, func(c *checked) { c.notehub.SetRoute("https://old.example.com/webhook/notehub", apptest.RouteToken) }, "Confirmation route", check.Failed, "of 1 routes", "payment_ack.qo"},
		"a route that is disabled": {false, func(c *checked) {
			c.notehub.Always("GET /v1/projects/{p}/routes", sandbox.Outcome{Applied: true, Status: 200, Body: `[{"uid":"route:1","type":"http","disabled":true}]`})
		}, "Confirmation route", check.Failed, "of 1 routes", "payment_ack.qo"},
		"no directory for the ledger": {false, set("DATABASE_URL", filepath.Join(t.TempDir(), "no", "notepay.db")), "Ledger access", check.Failed, "no such file", "DATABASE_URL"},
		"a ledger on a network disk":  {false, func(c *checked) { c.disk = "nfs" }, "Ledger disk", check.Failed, "nfs", "local disk"},
		"a disk that is nearly full":  {false, func(c *checked) { c.free = 10 << 20 }, "Disk space", check.Failed, "10 MB are free", "enlarge"},
		"a disk that fills up":        {false, func(c *checked) { c.free = 100 << 20 }, "Disk space", check.Warned, "sales stop when 17 MB", "enlarge"},
		"a clock that is behind":      {false, wrongClock(time.Minute), "Clock", check.Failed, "behind", "NTP"},
		"a clock that is ahead":       {false, wrongClock(-time.Minute), "Clock", check.Failed, "ahead", "NTP"},
		"an address at which nobody answers": {false, func(c *checked) {
			c.health = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
		}, "Public address", check.Failed, "does not answer", "firewall"},
		"an address that leads on": {false, func(c *checked) {
			c.health = http.RedirectHandler("https://www.example.com/", http.StatusMovedPermanently).ServeHTTP
		}, "Public address", check.Failed, "www.example.com", "redirect"},
		"an address at which something else is": {false, answers(404, "no such page"), "Public address", check.Failed, "something else", "PUBLIC_URL"},
		"a proxy with nothing behind it":        {false, answers(502, "bad gateway"), "Public address", check.Warned, "502", "start notepay"},
		"a notepay that cannot record":          {false, answers(503, `{"status":"unavailable","version":"v1"}`), "Public address", check.Warned, "unavailable", "log"},
		"a certificate that nobody has signed":  {false, func(c *checked) { c.public = untrusting(c.public) }, "Certificate", check.Failed, "unknown authority", "renew"},
		"an operator without a token":           {false, set("OPERATOR_TOKEN", ""), "Operator token", check.Warned, "OPERATOR_TOKEN", "16 characters"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newChecked(t, f.live)
			f.fault(c)
			for _, r := range c.run() {
				switch {
				case r.Name == f.line && (r.State != f.state || !strings.Contains(r.Detail, f.detail) || !strings.Contains(r.Remedy, f.remedy)):
					t.Errorf("%+v; want it %s, with %q and the remedy %q", r, f.state, f.detail, f.remedy)
				case r.Name != f.line && r.State != check.OK && r.State != check.Skipped:
					t.Errorf("%+v; want nothing but %q", r, f.line)
				}
				for _, secret := range []string{c.env["STRIPE_SECRET_KEY"], fixture.TestSecret, "secret-of-client", apptest.RouteToken, c.env["OPERATOR_TOKEN"]} {
					if secret != "" && strings.Contains(r.Detail+r.Remedy, secret) {
						t.Errorf("%+v shows a secret", r)
					}
				}
			}
		})
	}
}

// untrusting is a client that reaches the same server and knows nobody who could have signed its
// certificate.
func untrusting(of *http.Client) *http.Client {
	transport := of.Transport.(*http.Transport).Clone()
	transport.TLSClientConfig.RootCAs = nil
	return &http.Client{Transport: transport}
}

func TestARestrictedKeyNeedNotSeeEndpoints(t *testing.T) {
	t.Parallel()
	c := newChecked(t, false)
	c.env["STRIPE_SECRET_KEY"] = "rk_test_0123456789"
	c.stripe.Always(
		"GET /v1/webhook_endpoints",
		says(403, "", "Having the 'rak_webhook_read' permission would allow this request."),
	)
	for _, r := range c.run() {
		want := check.OK
		if r.Name == "Webhook delivery" || r.Name == "Webhook API version" {
			want = check.Skipped
		}
		if r.State != want {
			t.Errorf("%+v; want it %s", r, want)
		}
	}
}

func TestChecksChangeNothing(t *testing.T) {
	t.Parallel()
	c := newChecked(t, false)
	c.env["STRIPE_SECRET_KEY"] = "rk_test_0123456789" // which is tried out with calls that would write
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

func TestNotehubIsAskedNoFasterThanItAllows(t *testing.T) {
	t.Parallel()
	c := newChecked(t, false)
	c.notehub.Next(
		"GET /v1/projects/{p}/fleets",
		sandbox.Outcome{Status: 429, Header: http.Header{"Retry-After": {"1"}}},
	)
	for _, r := range c.run() {
		if r.State != check.OK {
			t.Errorf("%+v; want it ok after it waited", r)
		}
	}
	tries := c.notehub.Requests("GET /v1/projects/{p}/fleets")
	if len(tries) != 2 || tries[1].At.Sub(tries[0].At) < time.Second {
		t.Errorf("%d tries; want a second one after a second", len(tries))
	}
}

func TestTheCommandChecksWhileServeRuns(t *testing.T) {
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
		"the settings are wrong": {map[string]string{"CONFIRM_WITHIN": "soon"}, 2, ""},
	} {
		code, out, complaint := w.CommandWith(c.set, "check")
		if code != c.code || !strings.Contains(out, c.want) {
			t.Errorf("%s: exit code %d, %s%s; want %d and %q", name, code, out, complaint, c.code, c.want)
		}
		if n := strings.Count(out, "\n"); c.code != 2 && n != 22 {
			t.Errorf("%s: %d lines; want one for each of 22 checks:\n%s", name, n, out)
		}
	}
}
