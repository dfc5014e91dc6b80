// Package checkout makes a Checkout Session for each purchase, where sessions are made instead of
// links.
//
// It promises that a browser has at most one session that it can pay for a machine and plan, that a
// session is in the ledger, with what is sold through it, before anybody is led to it, that those
// of a machine which does not sell any more are ended within seconds, and that no more are made
// than its limits allow, for whoever tries stolen cards makes sessions in numbers. It does not know
// who pays, nor what Stripe looks like on the wire; a payment that comes of a session is the
// bridge's.
package checkout

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// Stripe is what is asked of Stripe. Each method makes one attempt and returns a *upstream.Error if
// it fails.
type Stripe interface {
	// CreateSession creates a session and returns the URL of its payment page. The same
	// idempotency key creates the same session.
	CreateSession(ctx context.Context, s NewSession) (session ledger.Session, url string, err error)
	// SessionIsOpen says whether a session can be paid still.
	SessionIsOpen(ctx context.Context, id string) (bool, error)
	// ExpireSession ends a session; upstream.Refused means that it was not open any more.
	ExpireSession(ctx context.Context, id string) error
}

// NewSession describes a Checkout Session to create.
type NewSession struct {
	Device         ledger.Device
	Plan           payment.Offer
	PublicURL      string    // where Stripe sends the customer back to
	Ends           time.Time // when the session expires
	IdempotencyKey string
}

// Config is what a Checkout needs. All fields are required.
type Config struct {
	Ledger    *ledger.Ledger
	Fleet     *fleet.Fleet
	Stripe    Stripe
	Log       *slog.Logger
	PublicURL string // where Stripe sends the customers back to
	Livemode  bool   // of our key
}

// Checkout makes sessions and ends them. It is safe for concurrent use.
type Checkout struct {
	c      Config
	key    []byte // signs the names of browsers, as long as the process lives
	limits limits
	making singleflight.Group

	mu   sync.Mutex
	open map[string]*session  // by id
	last map[buyer]string     // the id of the session that a browser was given last
	lost map[buyer]NewSession // what may have made a session that nobody was told of
}

// buyer is what has one open session.
type buyer struct{ browser, device, price string }

// session is one that may be open still.
type session struct {
	ledger.Session
	buyer  buyer  // zero of an earlier process
	url    string // "" of an earlier process
	unused bool   // its browser was given another one
}

// New makes a checkout that knows the sessions which an earlier process left open.
func New(ctx context.Context, c Config) (*Checkout, error) {
	k := &Checkout{
		c:      c,
		key:    []byte(rand.Text()),
		limits: newLimits(),
		open:   map[string]*session{},
		last:   map[buyer]string{},
		lost:   map[buyer]NewSession{},
	}
	left, err := c.Ledger.OpenSessions(ctx, c.Livemode, c.Ledger.Now().Add(-wrongBy))
	if err != nil {
		return nil, fmt.Errorf("load open sessions: %w", err)
	}
	for _, s := range left {
		k.open[s.ID] = &session{Session: s}
	}
	return k, nil
}

const (
	// wrongBy is by how much the host's clock may be wrong at the start, without a session being
	// forgotten that is open.
	wrongBy = 24 * time.Hour
	// lifetime is how long a session can be paid: Stripe's least, and a minute for clocks that
	// differ.
	lifetime = 31 * time.Minute
	// leastLeft is how long a session has to be payable still to be given out again.
	leastLeft = 10 * time.Minute
	// stripesLeast is how long a session has to be payable when it is made.
	stripesLeast = 30 * time.Minute
	// longestCall is how long a customer waits for Stripe.
	longestCall = 15 * time.Second
)

// TooOften is the error of who wants sessions too often. After so long there may be another one.
type TooOften time.Duration

func (e TooOften) Error() string { return fmt.Sprintf("too many sessions, wait %s", time.Duration(e)) }

// ErrNoPlan is returned for a price that a device does not sell.
var ErrNoPlan = errors.New("the device does not sell this price")

// NewBrowser returns a random name for a browser, which Named recognizes.
func (k *Checkout) NewBrowser() string {
	name := rand.Text()
	return name + "." + k.sign(name)
}

// Named reports whether a browser's name was given by NewBrowser in this process.
func (k *Checkout) Named(browser string) bool {
	name, signature, _ := strings.Cut(browser, ".")
	return hmac.Equal([]byte(signature), []byte(k.sign(name)))
}

func (k *Checkout) sign(name string) string {
	mac := hmac.New(sha256.New, k.key)
	mac.Write([]byte(name))
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

// URL is where a browser pays for a plan of a device: at the session that it has open already, or
// at a new one. browser is its name for as long as it keeps its cookies, and known says whether it
// was named by us before. What the plan costs is what the fleet knows of the price. It returns
// ErrNoPlan, a TooOften, or why Stripe or the ledger could not be asked.
func (k *Checkout) URL(ctx context.Context, browser string, known bool, device *fleet.Device,
	priceID string) (string, error) {
	at := slices.IndexFunc(device.Offers, func(o fleet.Offer) bool { return o.Plan.PriceID == priceID })
	if at < 0 {
		return "", ErrNoPlan
	}
	if wait := k.limits.press(browser, device.UID, time.Now()); wait > 0 {
		return "", TooOften(wait)
	}
	b := buyer{browser, device.UID, priceID}
	// A button that is pressed twice leads to one session. It is made even if the first of the two
	// requests is given up.
	result, err, _ := k.making.Do(strings.Join([]string{browser, device.UID, priceID}, " "), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), longestCall)
		defer cancel()
		if url := k.reusable(ctx, b); url != "" {
			return url, nil
		}
		if wait := k.limits.create(device.UID, known, time.Now()); wait > 0 {
			return "", TooOften(wait)
		}
		return k.make(ctx, b, device.Device, device.Offers[at].Plan)
	})
	return result.(string), err
}

// reusable is where a buyer's open session is paid, "" if there is none. If Stripe does not say how
// it stands it is given out: its page will.
func (k *Checkout) reusable(ctx context.Context, b buyer) string {
	k.mu.Lock()
	s := k.open[k.last[b]]
	fit := s != nil && s.Ends.Sub(k.c.Ledger.Now()) > leastLeft
	k.mu.Unlock()
	if !fit {
		return ""
	}
	open, err := k.c.Stripe.SessionIsOpen(ctx, s.ID)
	switch {
	case err != nil && upstream.OutcomeOf(err) != upstream.Rejected:
		k.c.Log.Warn("session not read", "session", s.ID, "err", err)
	case err != nil || !open:
		k.forget(s.ID)
		return ""
	}
	return s.url
}

// make makes a session.
func (k *Checkout) make(ctx context.Context, b buyer, device ledger.Device, plan payment.Offer) (string, error) {
	a := k.attempt(b, device, plan)
	s, url, err := k.c.Stripe.CreateSession(ctx, a)
	k.tried(b, a, err)
	if upstream.OutcomeOf(err) == upstream.Rejected {
		k.c.Fleet.RefreshSoon() // the price may not be sold any more
	}
	if err != nil {
		return "", fmt.Errorf("create session of %s: %w", device.UID, err)
	}
	// If we stop here, nobody was told where to pay, and it ends by itself.
	if err := k.c.Ledger.Update(ctx, func(tx *ledger.Tx) error { return tx.AddSession(s) }); err != nil {
		k.keep(b, a)
		return "", fmt.Errorf("save session %s: %w", s.ID, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.open[s.ID] = &session{Session: s, buyer: b, url: url}
	if old := k.open[k.last[b]]; old != nil {
		old.unused = true
	}
	k.last[b] = s.ID
	k.c.Log.Debug("session made", "session", s.ID, "device", s.DeviceUID, "price", plan.PriceID)
	return url, nil
}

// attempt is the request that a buyer's session is made by: once more the last one, if its reply
// was lost, for another key could make a second session. After a minute Stripe would not take that
// one any more, because it would end too soon.
func (k *Checkout) attempt(b buyer, device ledger.Device, plan payment.Offer) NewSession {
	k.mu.Lock()
	defer k.mu.Unlock()
	if a, ok := k.lost[b]; ok && a.Ends.Sub(k.c.Ledger.Now()) > stripesLeast+time.Second {
		return a
	}
	return NewSession{
		Device:         device,
		Plan:           plan,
		PublicURL:      k.c.PublicURL,
		Ends:           k.c.Ledger.Now().Add(lifetime).Truncate(time.Second),
		IdempotencyKey: "session:" + rand.Text(),
	}
}

// tried notes what a request came to. A 500 is stored under its key (docs/vendors.md), so it would
// come again and again.
func (k *Checkout) tried(b buyer, a NewSession, err error) {
	e, _ := errors.AsType[*upstream.Error](err)
	switch outcome := upstream.OutcomeOf(err); {
	case outcome == upstream.RateLimited || outcome == upstream.Retryable || outcome == upstream.Misconfigured: // it says nothing about an earlier try
	case outcome == upstream.Unknown && (e == nil || e.Status != http.StatusInternalServerError):
		k.keep(b, a)
	default:
		k.mu.Lock()
		delete(k.lost, b)
		k.mu.Unlock()
	}
}

// keep remembers a request whose session nobody was told of, and forgets those that are of no use
// any more.
func (k *Checkout) keep(b buyer, a NewSession) {
	k.mu.Lock()
	defer k.mu.Unlock()
	maps.DeleteFunc(k.lost, func(_ buyer, old NewSession) bool { return old.Ends.Sub(k.c.Ledger.Now()) < stripesLeast })
	k.lost[b] = a
}

// forget lets go of a session that cannot be paid any more.
func (k *Checkout) forget(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.open[id]
	if s == nil {
		return
	}
	delete(k.open, id)
	if k.last[s.buyer] == id {
		delete(k.last, s.buyer)
	}
}

// Changed is told of the payments that there are. It returns at once.
func (k *Checkout) Changed(p payment.Payment) { k.forget(p.SessionID) }

// looking is how often it is looked whether the machines of open sessions still sell.
const looking = 3 * time.Second

// Run ends the sessions of machines that went out of sale, until the context ends. A call under way
// may still finish.
func (k *Checkout) Run(ctx, calls context.Context) {
	for upstream.Sleep(ctx, looking) == nil {
		if !k.c.Ledger.Clock().Known() { // what ended is told by Stripe's time
			continue
		}
		for _, s := range k.over(k.c.Ledger.Now()) {
			if ctx.Err() != nil {
				return
			}
			k.end(calls, s)
		}
	}
}

// over lists the sessions that nobody is to pay any more, and forgets those that have ended.
func (k *Checkout) over(now time.Time) (list []*session) {
	var ended []string
	k.mu.Lock()
	for id, s := range k.open {
		switch {
		case !now.Before(s.Ends):
			ended = append(ended, id)
		case s.unused || !sells(k.c.Fleet.Availability(s.DeviceUID, now), s.Plan.PriceID):
			list = append(list, s)
		}
	}
	k.mu.Unlock()
	for _, id := range ended {
		k.forget(id)
	}
	return list
}

// sells says whether a payment for a plan would not be given back at once. What is not known yet is
// not held against it.
func sells(sale fleet.Availability, priceID string) bool {
	switch sale.State {
	case fleet.NotLoaded, fleet.Unread, fleet.NotReady, fleet.NoOffers:
		return true
	case fleet.Open:
		return slices.ContainsFunc(sale.Device.Offers, func(o fleet.Offer) bool { return o.Plan.PriceID == priceID })
	}
	return false
}

func (k *Checkout) end(ctx context.Context, s *session) {
	ctx, cancel := context.WithTimeout(ctx, longestCall)
	defer cancel()
	err := k.c.Stripe.ExpireSession(ctx, s.ID)
	switch upstream.OutcomeOf(err) {
	case upstream.OK:
		k.c.Log.Info("session ended", "session", s.ID, "device", s.DeviceUID)
	case upstream.Rejected: // it was paid, or has ended already
	default:
		k.c.Log.Warn("session not ended", "session", s.ID, "device", s.DeviceUID, "err", err)
		return
	}
	k.forget(s.ID)
}
