package contract

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"notepay/internal/sandbox"
)

const (
	stripeKey     = "sk_test_0123456789"
	webhookSecret = "whsec_0123456789"
	operatorToken = "operator-token-0123456789"
	project       = "app:11111111-2222-3333-4444-555555555555"
	clientID      = "d37ae69a-c739-44e9-9722-81a4cb7aeb67" // a UUID, like Notehub's
	clientSecret  = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	accessToken   = "personal-access-token"
	fleet         = "fleet:11111111-2222-3333-4444-555555555555"

	washer  = "dev:864475044215258"
	charger = "dev:864475044215259"
	warm    = "price_warm"
	cold    = "price_cold"

	postNote = "POST /v1/projects/{project}/devices/{device}/notes/{file}"
)

// world is a simulated Stripe and Notehub for a notepay. Proxies check the traffic against the
// vendors' descriptions.
type world struct {
	*testing.T
	*bell
	stripe  *sandbox.Stripe
	notehub *sandbox.Notehub
	env     map[string]string
}

// newWorld returns a world with one device that sells one price. All requests of notepay pass the
// two proxies. A nil proxy passes everything.
func newWorld(t *testing.T, stripeProxy, notehubProxy proxy) *world {
	t.Helper()
	return newWorldOver(t, nil, stripeProxy, notehubProxy)
}

// newWorldOver is newWorld with the client that sends webhooks. A nil client uses the network.
func newWorldOver(t *testing.T, webhooks *http.Client, stripeProxy, notehubProxy proxy) *world {
	t.Helper()
	w := &world{T: t, bell: newBell()}
	w.stripe = sandbox.NewStripe(sandbox.StripeConfig{Report: t, Client: webhooks}) // accepts any test key
	w.notehub = sandbox.NewNotehub(sandbox.NotehubConfig{
		ClientID:     clientID,
		ClientSecret: clientSecret,
		Token:        accessToken,
		Project:      project,
		Report:       t,
		Client:       webhooks,
	})
	w.stripe.Watch(func(sandbox.Exchange) { w.ring() })
	w.notehub.Watch(func(sandbox.Exchange) { w.ring() })
	stripe, notehub := serve(t, w.stripe, stripeProxy), serve(t, w.notehub, notehubProxy)
	w.stripe.SetBaseURL(stripe)
	t.Cleanup(w.stripe.Close) // before the servers
	w.stripe.AddPrice(sandbox.Price{
		ID:       warm,
		Name:     "Warm wash",
		Currency: "eur",
		Amount:   350,
		Active:   true,
		Metadata: map[string]string{"duration": "40m"},
	})
	w.stripe.AddPrice(sandbox.Price{ID: cold, Name: "Cold wash", Currency: "eur", Amount: 250, Active: true})
	w.notehub.AddFleet(fleet, "Laundry", nil)
	w.notehub.AddDevice(sandbox.Device{UID: washer, Name: "Washer 3", Fleets: []string{fleet},
		LastActivity: time.Now()})
	w.env = map[string]string{
		"STRIPE_SECRET_KEY":     stripeKey,
		"STRIPE_PRICE_ID":       warm,
		"STRIPE_WEBHOOK_SECRET": webhookSecret,
		"STRIPE_API_URL":        stripe,
		"NOTEHUB_CLIENT_ID":     clientID,
		"NOTEHUB_CLIENT_SECRET": clientSecret,
		"NOTEHUB_PROJECT_UID":   project,
		"NOTEHUB_API_URL":       notehub,
		"NOTEHUB_AUTH_URL":      notehub + "/oauth2/token",
		"LISTEN_ADDR":           "127.0.0.1:0",
		"PUBLIC_URL":            "https://pay.example.com",
		"DATABASE_URL":          filepath.Join(t.TempDir(), "notepay.db"),
		"OPERATOR_TOKEN":        operatorToken,
		"LOG_LEVEL":             "debug",
	}
	return w
}

// proxy returns a handler that checks the requests to a vendor and reports wrong ones.
type proxy func(sandbox.Reporter, http.Handler) http.Handler

func serve(t *testing.T, h http.Handler, p proxy) (url string) {
	if p != nil {
		h = p(t, h)
	}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL
}

var listening = regexp.MustCompile(`msg=listening addr=(\S+)`)

// start starts notepay with the world's settings and with changes, which are pairs of name and
// value. An empty value unsets a setting.
func (w *world) start(changes ...string) *program {
	w.Helper()
	p, found := launch(w.T, w.bell, w.changed(changes), listening)
	p.url = "http://" + found[1]
	w.stripe.SetEndpoint(p.url+"/webhook/stripe", webhookSecret)
	return p
}

// command runs a command of notepay and returns its output. The settings are the world's, changed
// as start does. It fails the test if the exit code differs.
func (w *world) command(code int, stdin, name string, changes ...string) string {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), waitTimeout)
	defer cancel()
	c := exec.CommandContext(ctx, os.Getenv("NOTEPAY_BINARY"), name)
	c.Dir, c.Stdin = w.TempDir(), strings.NewReader(stdin) // has no .env
	for name, value := range w.changed(changes) {
		c.Env = append(c.Env, name+"="+value)
	}
	out, err := c.CombinedOutput()
	if got := c.ProcessState.ExitCode(); got != code {
		w.Errorf("notepay %s: %v; want exit code %d\n%s", name, err, code, out)
	}
	return string(out)
}

// changed returns the world's settings with changes, which are pairs of name and value. An empty
// value unsets a setting.
func (w *world) changed(changes []string) map[string]string {
	env := maps.Clone(w.env)
	for i := 0; i < len(changes); i += 2 {
		env[changes[i]] = changes[i+1]
		if changes[i+1] == "" {
			delete(env, changes[i])
		}
	}
	return env
}

// selling waits until a scan of the device redirects to a checkout, and returns its address.
func (w *world) selling(p *program, device string) (link string) {
	w.Helper()
	w.until(w.T, device+" sells", func() bool {
		var status int
		status, link, _ = p.get("/pay?device=" + device)
		return status == http.StatusTemporaryRedirect
	})
	return link
}

// buy pays at a link.
func (w *world) buy(link string, o sandbox.PayOptions) sandbox.Session {
	w.Helper()
	session, err := w.stripe.Pay(link, o)
	if err != nil {
		w.Fatalf("pay at %s: %v", link, err)
	}
	return session
}

// links waits until a device's active links have exactly these prices and return URLs, in any
// order.
func (w *world) links(device string, want ...string) {
	w.Helper()
	w.until(w.T, device+" has the active links "+strings.Join(want, ", "), func() bool {
		var got []string
		for _, l := range w.stripe.Links() {
			if l.DeviceUID == device && l.Active {
				got = append(got, strings.TrimSpace(l.PriceID+" "+l.ReturnURL))
			}
		}
		slices.Sort(got)
		return slices.Equal(got, slices.Sorted(slices.Values(want)))
	})
}
