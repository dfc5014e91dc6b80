// Package demo shows the whole system on one page. The page has simulated machines, stickers to
// scan, switches for faults, and every request between the parts.
//
// It promises that the page shows what really happened. A machine runs because a note reached it
// through Notehub's API. Amounts come from the simulated Stripe, and reasons of refunds come from
// notepay's own records.
//
// It knows notepay only as an address and an HTTP handler, which it uses like an operator. It
// stores nothing on disk, and no real account or money is involved.
package demo

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"notepay/internal/sandbox"
)

const (
	project        = "app:00000000-demo-4000-8000-000000000000"
	clientID       = "demo"
	fetchInterval  = time.Second            // interval at which machines fetch notes
	redrawInterval = 250 * time.Millisecond // interval at which the page is compared with the state

	// Short enough to watch. An unfetched note is recalled after creditLifetime, and silence leads
	// to a refund after confirmWithin. Before notepay treats silence as an answer, it listens for
	// another half minute. A smaller confirmWithin would therefore change nothing.
	creditLifetime = 20 * time.Second
	confirmWithin  = 50 * time.Second
)

// Config configures a Demo. A nil Log discards.
type Config struct {
	Log *slog.Logger
	// Kept holds the settings of an earlier Demo, whose keys this one takes over. nil makes new keys.
	Kept map[string]string
	// Sessions says that notepay sells by Checkout Sessions, so that no Payment Link shows a price.
	Sessions bool
}

// Demo is the simulation and its page. All its methods are safe for concurrent use.
type Demo struct {
	log                              *slog.Logger
	sessions                         bool
	key, webhookSecret, clientSecret string
	operatorToken, routeToken        string
	stripe                           *sandbox.Stripe
	notehub                          *sandbox.Notehub
	machines                         []*machine
	listeners                        []net.Listener // of the machines' Notecards; see OfferBoards
	wire                             wire
	stream                           stream
	begun                            atomic.Bool
	stopped                          chan struct{} // closed when Run ends

	// mu guards the fields below. It is held while fragments are rendered and sent, so that they
	// arrive in order.
	mu         sync.Mutex
	notepayURL string // base URL of notepay; "" until Connect
	on         map[string]bool
	notepay    http.Handler // the handler, without the tap; nil until Watch
	known      known
	scanned    scan
	sent       map[string]string // fragments by id, as last sent to the browsers
}

// scan is the latest scan of a sticker.
type scan struct {
	device string
	at     time.Time
}

// New creates the simulated account, its prices, the project and its four machines. Nothing runs
// before Run.
func New(c Config) *Demo { return newDemo(c, nil) }

// newDemo lets tests set the client that sends webhooks and machines' answers. A nil client uses
// the network.
func newDemo(c Config, out *http.Client) *Demo {
	d := &Demo{
		log:           c.Log,
		sessions:      c.Sessions,
		key:           cmp.Or(c.Kept["STRIPE_SECRET_KEY"], "sk_test_"+rand.Text()),
		webhookSecret: cmp.Or(c.Kept["STRIPE_WEBHOOK_SECRET"], "whsec_"+rand.Text()),
		clientSecret:  cmp.Or(c.Kept["NOTEHUB_CLIENT_SECRET"], rand.Text()),
		operatorToken: cmp.Or(c.Kept["OPERATOR_TOKEN"], rand.Text()),
		routeToken:    cmp.Or(c.Kept["NOTEHUB_ROUTE_TOKEN"], rand.Text()),
		stopped:       make(chan struct{}),
		on:            make(map[string]bool),
		sent:          make(map[string]string),
	}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	d.stripe = sandbox.NewStripe(sandbox.StripeConfig{Key: d.key, Report: reporter{d.log}, Client: out})
	d.notehub = sandbox.NewNotehub(sandbox.NotehubConfig{
		ClientID:     clientID,
		ClientSecret: d.clientSecret,
		Project:      project,
		Report:       reporter{d.log},
		Client:       out,
	})
	d.stream.run = rand.Text()
	d.wire.changed = d.stream.sendLine
	d.stripe.AddPrice(defaultPrice)
	for _, k := range kinds() {
		d.machines = append(d.machines, d.install(k))
	}
	return d
}

// Settings returns the settings of `notepay serve` that point it at the simulation. The argument
// self is the base URL of Handler, for example http://127.0.0.1:3001.
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
		"BRAND_NAME":            "Corner Laundry",
		"SUPPORT_CONTACT":       "help@laundry.example",

		// the simulated Notehub has no limit, so all variables can be read at once
		"NOTEHUB_REQUESTS_PER_MINUTE": "6000",
	}
}

// Connect sets notepay's base URL, for example http://127.0.0.1:3000. From now on, webhooks and
// machines' answers go there, and the stickers lead there. If Watch was not called, notepay is
// another process, and the page asks it over the network.
func (d *Demo) Connect(bridge string) {
	bridge = strings.TrimSuffix(bridge, "/")
	d.mu.Lock()
	if target, err := url.Parse(bridge); err == nil && d.notepay == nil {
		proxy := httputil.NewSingleHostReverseProxy(target)
		proxy.ErrorLog = slog.NewLogLogger(d.log.Handler(), slog.LevelDebug) // notepay may not run yet
		d.notepay = proxy
	}
	d.mu.Unlock()
	d.stripe.SetEndpoint(bridge+"/webhook/stripe", d.webhookSecret)
	d.notehub.SetRoute(bridge+"/webhook/notehub", d.routeToken)
	d.mu.Lock()
	d.notepayURL = bridge
	d.mu.Unlock()
	d.redraw()
}

// Run steps the machines until the context ends, which is not an error. Then it stops the vendors'
// deliveries and ends the live views, so that the server can close without waiting for them. It can
// be called once.
func (d *Demo) Run(ctx context.Context) error {
	if d.begun.Swap(true) {
		return errors.New("run the demo: it was run before")
	}
	defer d.stripe.Close()
	defer d.notehub.Close()
	defer close(d.stopped)
	ctx, stop := context.WithCancel(ctx)
	var serving sync.WaitGroup
	serving.Go(func() { d.serveBoards(ctx) })
	defer serving.Wait()
	defer stop()
	fetch, draw := time.NewTicker(fetchInterval), time.NewTicker(redrawInterval)
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

// Handler serves the page at / and its files and actions under /demo/. It serves Stripe's API under
// /v1/, because Stripe's library accepts no base URL with a path. It serves the hosted checkout
// under /c/ and Notehub under /notehub/.
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

// Watch returns notepay's handler with its requests shown on the page. Streaming responses still
// stream.
func (d *Demo) Watch(next http.Handler) http.Handler {
	d.mu.Lock()
	d.notepay = next
	d.mu.Unlock()
	return d.tap(toNotepay(), next)
}

// reporter logs requests that the real services would reject. They are bugs of notepay.
type reporter struct{ log *slog.Logger }

// Errorf implements sandbox.Reporter.
func (r reporter) Errorf(format string, args ...any) {
	r.log.Warn("request invalid for the real service", "error", fmt.Sprintf(format, args...))
}
