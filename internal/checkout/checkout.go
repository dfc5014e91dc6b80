// Package checkout creates a Checkout Session for each purchase if CHECKOUT is session.
//
// It promises that a browser has at most one payable session for each machine and plan. A session
// is in the ledger, with the plan that it sells, before a customer is sent to it. When a machine
// stops selling, its open sessions expire within seconds. Limits bound how many sessions are
// created, because card testers create them in large numbers.
//
// It does not know who pays, nor what Stripe looks like on the wire. The payment of a session
// belongs to the bridge.
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

// Stripe is the part of Stripe that a Checkout uses. Each method makes one attempt and returns an
// *upstream.Error if it fails.
type Stripe interface {
	// CreateSession creates a session and returns the URL of its payment page. The same
	// idempotency key creates the same session.
	CreateSession(ctx context.Context, s NewSession) (session ledger.Session, url string, err error)
	// SessionIsOpen reports whether a session can still be paid.
	SessionIsOpen(ctx context.Context, id string) (bool, error)
	// ExpireSession expires a session. upstream.Rejected means that it was not open any more.
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

// Config configures a Checkout. All fields are required.
type Config struct {
	Ledger    *ledger.Ledger
	Fleet     *fleet.Fleet
	Stripe    Stripe
	Log       *slog.Logger
	PublicURL string // where Stripe sends the customer back to
	Livemode  bool   // of the Stripe key
}

// Checkout creates and expires sessions. It is safe for concurrent use.
type Checkout struct {
	c        Config
	key      []byte // signs the names of browsers, until the process ends
	limits   limits
	creating singleflight.Group

	mu   sync.Mutex
	open map[string]*session  // by id
	last map[buyer]string     // the id of the browser's latest session
	lost map[buyer]NewSession // requests whose reply was lost, which may have created a session
}

// buyer identifies a purchase. Each has at most one payable session.
type buyer struct{ browser, device, price string }

// session is a session that may still be open.
type session struct {
	ledger.Session
	buyer    buyer  // zero for a session of an earlier process
	url      string // "" for a session of an earlier process
	replaced bool   // its browser has a newer session
}

// New returns a Checkout that knows the sessions which earlier processes left open.
func New(ctx context.Context, c Config) (*Checkout, error) {
	k := &Checkout{
		c:      c,
		key:    []byte(rand.Text()),
		limits: newLimits(),
		open:   map[string]*session{},
		last:   map[buyer]string{},
		lost:   map[buyer]NewSession{},
	}
	left, err := c.Ledger.OpenSessions(ctx, c.Livemode, c.Ledger.Now().Add(-maxClockError))
	if err != nil {
		return nil, fmt.Errorf("load open sessions: %w", err)
	}
	for _, s := range left {
		k.open[s.ID] = &session{Session: s}
	}
	return k, nil
}

const (
	// maxClockError is how far the host's clock may be ahead at the start before New misses open
	// sessions.
	maxClockError = 24 * time.Hour
	// lifetime is how long a session can be paid: Stripe's minimum and a minute for clocks that
	// differ.
	lifetime = 31 * time.Minute
	// minReuse is how long a session must still be payable before a browser is sent to it again.
	minReuse = 10 * time.Minute
	// minLifetime is Stripe's minimum for the lifetime of a new session.
	minLifetime = 30 * time.Minute
	// callTimeout is how long a customer waits for Stripe.
	callTimeout = 15 * time.Second
)

// TooOften is returned when a limit is reached. Its value is the wait until the next attempt.
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

// URL returns the page on which a browser pays for a plan of a device. It returns the browser's
// open session or creates one. browser is the name in its cookie, and named reports whether the
// name is from NewBrowser. The fleet's offers decide the price. The error is ErrNoPlan, a TooOften,
// or a failure of Stripe or the ledger.
func (k *Checkout) URL(
	ctx context.Context, browser string, named bool, device *fleet.Device, priceID string,
) (string, error) {
	at := slices.IndexFunc(device.Offers, func(o fleet.Offer) bool { return o.Plan.PriceID == priceID })
	if at < 0 {
		return "", ErrNoPlan
	}
	if wait := k.limits.press(browser, device.UID, time.Now()); wait > 0 {
		return "", TooOften(wait)
	}
	b := buyer{browser, device.UID, priceID}
	// Two presses of a button lead to one session. The call continues if the first request is
	// canceled.
	result, err, _ := k.creating.Do(strings.Join([]string{browser, device.UID, priceID}, " "), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
		defer cancel()
		if url := k.reusableURL(ctx, b); url != "" {
			return url, nil
		}
		if wait := k.limits.create(device.UID, named, time.Now()); wait > 0 {
			return "", TooOften(wait)
		}
		return k.create(ctx, b, device.Device, device.Offers[at].Plan)
	})
	return result.(string), err
}

// reusableURL returns the URL of a buyer's open session, or "". If Stripe does not answer it also
// returns the URL, because the page itself shows whether the session is open.
func (k *Checkout) reusableURL(ctx context.Context, b buyer) string {
	k.mu.Lock()
	s := k.open[k.last[b]]
	fit := s != nil && s.Ends.Sub(k.c.Ledger.Now()) > minReuse
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

// create creates a session, stores it, and returns its URL.
func (k *Checkout) create(ctx context.Context, b buyer, device ledger.Device, plan payment.Offer) (string, error) {
	request := k.request(b, device, plan)
	s, url, err := k.c.Stripe.CreateSession(ctx, request)
	k.recordOutcome(b, request, err)
	if upstream.OutcomeOf(err) == upstream.Rejected {
		k.c.Fleet.RefreshSoon() // the price may have become inactive
	}
	if err != nil {
		return "", fmt.Errorf("create session of %s: %w", device.UID, err)
	}
	// If the process stops here, no customer knows the URL, and the session expires by itself.
	if err := k.c.Ledger.Update(ctx, func(tx *ledger.Tx) error { return tx.AddSession(s) }); err != nil {
		k.keepLost(b, request)
		return "", fmt.Errorf("save session %s: %w", s.ID, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.open[s.ID] = &session{Session: s, buyer: b, url: url}
	if old := k.open[k.last[b]]; old != nil {
		old.replaced = true
	}
	k.last[b] = s.ID
	k.c.Log.Debug("session created", "session", s.ID, "device", s.DeviceUID, "price", plan.PriceID)
	return url, nil
}

// request returns the request for a buyer's session. It repeats a request whose reply was lost,
// because another idempotency key could create a second session. After a minute the request is too
// old: Stripe rejects a session that ends before minLifetime.
func (k *Checkout) request(b buyer, device ledger.Device, plan payment.Offer) NewSession {
	k.mu.Lock()
	defer k.mu.Unlock()
	if lost, ok := k.lost[b]; ok && lost.Ends.Sub(k.c.Ledger.Now()) > minLifetime+time.Second {
		return lost
	}
	return NewSession{
		Device:         device,
		Plan:           plan,
		PublicURL:      k.c.PublicURL,
		Ends:           k.c.Ledger.Now().Add(lifetime).Truncate(time.Second),
		IdempotencyKey: "session:" + rand.Text(),
	}
}

// recordOutcome keeps a request whose reply was lost, and forgets one with a final reply. A reply
// 500 is final, because Stripe stores it under the idempotency key (docs/vendors.md).
func (k *Checkout) recordOutcome(b buyer, request NewSession, err error) {
	e, _ := errors.AsType[*upstream.Error](err)
	switch outcome := upstream.OutcomeOf(err); {
	case outcome == upstream.RateLimited, outcome == upstream.Retryable, outcome == upstream.Misconfigured:
		// Stripe did not handle this request, and an earlier one may have created a session.
	case outcome == upstream.Unknown && (e == nil || e.Status != http.StatusInternalServerError):
		k.keepLost(b, request)
	default:
		k.mu.Lock()
		delete(k.lost, b)
		k.mu.Unlock()
	}
}

// keepLost keeps a request so that the next press repeats it, and forgets those that are too old.
func (k *Checkout) keepLost(b buyer, request NewSession) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.c.Ledger.Now()
	maps.DeleteFunc(k.lost, func(_ buyer, old NewSession) bool { return old.Ends.Sub(now) < minLifetime })
	k.lost[b] = request
}

// forget removes a session that cannot be paid any more.
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

// Changed forgets the session of a payment, because it was paid. It returns at once.
func (k *Checkout) Changed(p payment.Payment) { k.forget(p.SessionID) }

// checkInterval is the time between checks whether the machines of open sessions still sell.
const checkInterval = 3 * time.Second

// Run expires the sessions of machines that no longer sell, until ctx ends. A call in flight may
// finish, until calls ends.
func (k *Checkout) Run(ctx, calls context.Context) {
	for upstream.Sleep(ctx, checkInterval) == nil {
		if !k.c.Ledger.Clock().Known() { // the ends of sessions are in Stripe's time
			continue
		}
		for _, s := range k.toExpire(k.c.Ledger.Now()) {
			if ctx.Err() != nil {
				return
			}
			k.expire(calls, s)
		}
	}
}

// toExpire returns the sessions that must not be paid any more, and forgets those that have ended.
func (k *Checkout) toExpire(now time.Time) (list []*session) {
	var ended []string
	k.mu.Lock()
	for id, s := range k.open {
		switch {
		case !now.Before(s.Ends):
			ended = append(ended, id)
		case s.replaced || !sells(k.c.Fleet.Availability(s.DeviceUID, now), s.Plan.PriceID):
			list = append(list, s)
		}
	}
	k.mu.Unlock()
	for _, id := range ended {
		k.forget(id)
	}
	return list
}

// sells reports whether the bridge would deliver a payment for a plan. A state that is not known
// yet counts as selling.
func sells(sale fleet.Availability, priceID string) bool {
	switch sale.State {
	case fleet.NotLoaded, fleet.Unread, fleet.NotReady, fleet.NoOffers:
		return true
	case fleet.Open:
		return slices.ContainsFunc(sale.Device.Offers, func(o fleet.Offer) bool { return o.Plan.PriceID == priceID })
	}
	return false
}

// expire expires a session at Stripe and forgets it. After a failure Run tries again.
func (k *Checkout) expire(ctx context.Context, s *session) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := k.c.Stripe.ExpireSession(ctx, s.ID)
	switch upstream.OutcomeOf(err) {
	case upstream.OK:
		k.c.Log.Info("session expired", "session", s.ID, "device", s.DeviceUID)
	case upstream.Rejected: // it was paid or has ended
	default:
		k.c.Log.Warn("session not expired", "session", s.ID, "device", s.DeviceUID, "err", err)
		return
	}
	k.forget(s.ID)
}
