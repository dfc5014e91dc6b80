// Package demo is the whole system on one page: simulated Stripe, Notehub and machines, the
// stickers to scan, switches for trouble, and every request between the parts as it happens.
//
// It promises that what the page shows is read from what really happened: a machine that runs has
// started for a note that came through Notehub's API, an amount is the simulated Stripe's, and why
// money went back is what notepay's own records say. It knows the bridge only as an address and a
// handler, through which it looks and which it asks as an operator does. It keeps nothing on disk,
// and no money moves: there are no accounts behind it.
package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"notepay/internal/sandbox"
)

const (
	project  = "app:00000000-demo-4000-8000-000000000000"
	clientID = "demo"
	fetches  = time.Second            // how often a machine looks for notes
	redraws  = 250 * time.Millisecond // how often the page is compared with what it shows

	// Short enough to watch: a note that nobody fetched is taken back, and silence gives the money
	// back. The bridge listens for half a minute after the one before it takes silence for an
	// answer, so less for the other would change nothing.
	creditLifetime = 20 * time.Second
	confirmWithin  = 50 * time.Second
)

// Config says how a Demo is made. A nil Log discards.
type Config struct{ Log *slog.Logger }

// Demo is the page and what it shows. All its methods are safe for concurrent use.
type Demo struct {
	log                              *slog.Logger
	key, webhookSecret, clientSecret string
	operatorToken, routeToken        string
	stripe                           *sandbox.Stripe
	notehub                          *sandbox.Notehub
	machines                         []*machine
	wire                             wire
	stream                           stream
	begun                            atomic.Bool
	stopped                          chan struct{} // closed when Run ends

	mu      sync.Mutex // guards what follows; held while fragments are rendered and sent, so that they arrive in order
	bridge  string     // "" until Connect
	on      map[string]bool
	inside  http.Handler // the bridge itself, past the view of the wire; nil until Watch
	known   known
	scanned scan
	sent    map[string]string // fragments by id, as the readers have them
}

// scan is the latest scan of a sticker.
type scan struct {
	device string
	at     time.Time
}

// New makes the simulated account, its prices, the project and its four machines. Nothing moves
// before Run.
func New(c Config) *Demo { return newDemo(c, nil) }

// newDemo lets tests say how webhooks and machines' answers reach the bridge; nil is the network.
func newDemo(c Config, out *http.Client) *Demo {
	d := &Demo{
		log: c.Log, key: "sk_test_" + rand.Text(), webhookSecret: "whsec_" + rand.Text(), clientSecret: rand.Text(),
		operatorToken: rand.Text(), routeToken: rand.Text(),
		stopped: make(chan struct{}), on: make(map[string]bool), sent: make(map[string]string),
	}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	d.stripe = sandbox.NewStripe(sandbox.StripeConfig{Key: d.key, Report: reporter{d.log}, Client: out})
	d.notehub = sandbox.NewNotehub(sandbox.NotehubConfig{
		ClientID: clientID, ClientSecret: d.clientSecret, Project: project, Report: reporter{d.log}, Client: out,
	})
	d.stream.run = rand.Text()
	d.wire.changed = d.stream.sendLine
	d.stripe.AddPrice(defaultPrice)
	for _, k := range kinds() {
		d.machines = append(d.machines, d.install(k))
	}
	return d
}

// Settings returns the settings of `notepay serve` that point it at the simulation. Self is the
// base URL at which Handler is served, for example http://127.0.0.1:3001.
func (d *Demo) Settings(self string) map[string]string {
	self = strings.TrimSuffix(self, "/")
	d.stripe.SetBaseURL(self)
	return map[string]string{
		"STRIPE_SECRET_KEY":     d.key,
		"STRIPE_PRICE_ID":       defaultPrice.ID,
		"STRIPE_WEBHOOK_SECRET": d.webhookSecret,
		"STRIPE_API_URL":        self,
		"NOTEHUB_CLIENT_ID":     clientID,
		"NOTEHUB_CLIENT_SECRET": d.clientSecret,
		"NOTEHUB_PROJECT_UID":   project,
		"NOTEHUB_API_URL":       self + "/notehub",
		"NOTEHUB_AUTH_URL":      self + "/notehub/oauth2/token",
		"NOTEHUB_ROUTE_TOKEN":   d.routeToken,
		"OPERATOR_TOKEN":        d.operatorToken,
		"CREDIT_LIFETIME":       creditLifetime.String(),
		"CONFIRM_WITHIN":        confirmWithin.String(),

		// the simulated Notehub has no limit, so all variables may be read at once
		"NOTEHUB_REQUESTS_PER_MINUTE": "6000",
	}
}

// Connect says where the bridge is, for example http://127.0.0.1:3000: webhooks and machines'
// answers go there from now on, and the stickers lead there.
func (d *Demo) Connect(bridge string) {
	bridge = strings.TrimSuffix(bridge, "/")
	d.stripe.SetEndpoint(bridge+"/webhook/stripe", d.webhookSecret)
	d.notehub.SetRoute(bridge+"/webhook/notehub", d.routeToken)
	d.mu.Lock()
	d.bridge = bridge
	d.mu.Unlock()
	d.redraw()
}

// Run lets the machines fetch and run until the context ends, which is no error. Then it stops what
// vendors send and ends the live views, so that closing the server need not wait for them. It can
// be called once.
func (d *Demo) Run(ctx context.Context) error {
	if d.begun.Swap(true) {
		return errors.New("run the demo: it was run before")
	}
	defer d.stripe.Close()
	defer d.notehub.Close()
	defer close(d.stopped)
	fetch, draw := time.NewTicker(fetches), time.NewTicker(redraws)
	defer fetch.Stop()
	defer draw.Stop()
	for {
		select {
		case <-fetch.C:
			d.step()
		case <-draw.C:
			if d.stream.watched() {
				d.ask(ctx)
				d.redraw()
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// Handler serves the page at /, its files and actions under /demo/, Stripe's API under /v1/ (its
// library takes no base URL with a path), the hosted checkout under /c/ and Notehub under
// /notehub/.
func (d *Demo) Handler() http.Handler {
	mux := http.NewServeMux()
	d.pages(mux)
	account := d.tap(toStripe(), d.stripe)
	mux.Handle("/v1/", account)
	mux.Handle("/c/", account)
	mux.Handle("/receipts/", account)
	mux.Handle("/notehub/", http.StripPrefix("/notehub", d.tap(toNotehub(), d.notehub)))
	return mux
}

// Watch puts the bridge's own handler on the view of the wire. What streams through it still
// streams.
func (d *Demo) Watch(next http.Handler) http.Handler {
	d.mu.Lock()
	d.inside = next
	d.mu.Unlock()
	return d.tap(toBridge(), next)
}

// reporter writes down requests that the real services would refuse: they are mistakes of the
// bridge.
type reporter struct{ log *slog.Logger }

// Errorf implements sandbox.Reporter.
func (r reporter) Errorf(format string, args ...any) {
	r.log.Warn("request invalid for the real service", "error", fmt.Sprintf(format, args...))
}
