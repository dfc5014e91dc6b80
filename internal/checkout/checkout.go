// Package checkout creates a Checkout Session for each purchase if CHECKOUT is session.
//
// It promises that a browser has at most one payable session for each machine and plan, also if
// several instances share the ledger. A session is in the ledger, with the plan that it sells, before
// a customer is sent to it. When a machine stops selling, its open sessions expire within seconds.
// Limits bound how many sessions are created, because card testers create them in large numbers.
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
	Text           string    // beside the button on Stripe's page, "" for none
	PromotionCodes bool      // Stripe's page takes promotion codes
	Ends           time.Time // when the session expires
	IdempotencyKey string
}

// Config configures a Checkout. All fields are required, except PageText and PromotionCodes.
type Config struct {
	Ledger    *ledger.Ledger
	Fleet     *fleet.Fleet
	Stripe    Stripe
	Log       *slog.Logger
	PublicURL string // where Stripe sends the customer back to
	Livemode  bool   // of the Stripe key
	Key       []byte // signs the names of browsers; instances that share the ledger have the same
	// PageText returns the text for a device beside the button on Stripe's page. nil: there is none.
	PageText func(*fleet.Device) string
	// PromotionCodes means that Stripe's pages take promotion codes.
	PromotionCodes bool
}

// Checkout creates and expires sessions. It is safe for concurrent use.
type Checkout struct {
	c        Config
	limits   limits
	creating singleflight.Group

	mu   sync.Mutex
	open map[string]ledger.Session // sessions that may still be open, by id
	over []string                  // the ids of those that were paid, until the ledger says so
	lost map[buyer]NewSession      // requests whose reply was lost, which may have created a session
}

// buyer identifies a purchase. Each has at most one payable session.
type buyer struct{ browser, device, price string }

// New returns a Checkout that knows the sessions which earlier processes left open.
func New(ctx context.Context, c Config) (*Checkout, error) {
	k := &Checkout{
		c:      c,
		limits: newLimits(),
		open:   map[string]ledger.Session{},
		lost:   map[buyer]NewSession{},
	}
	left, err := c.Ledger.OpenSessions(ctx, c.Livemode, c.Ledger.Now().Add(-maxClockError))
	if err != nil {
		return nil, fmt.Errorf("load open sessions: %w", err)
	}
	for _, s := range left {
		k.open[s.ID] = s
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

// Named reports whether a browser's name was given by NewBrowser.
func (k *Checkout) Named(browser string) bool {
	name, signature, _ := strings.Cut(browser, ".")
	return hmac.Equal([]byte(signature), []byte(k.sign(name)))
}

func (k *Checkout) sign(name string) string {
	mac := hmac.New(sha256.New, k.c.Key)
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
		url, err := k.reusableURL(ctx, b)
		if url != "" || err != nil {
			return url, err
		}
		if wait := k.limits.create(device.UID, named, time.Now()); wait > 0 {
			return "", TooOften(wait)
		}
		return k.create(ctx, b, device, device.Offers[at].Plan)
	})
	return result.(string), err
}

// reusableURL returns the URL of a buyer's open session, or "". If Stripe does not answer it also
// returns the URL, because the page itself shows whether the session is open.
func (k *Checkout) reusableURL(ctx context.Context, b buyer) (string, error) {
	s, err := k.c.Ledger.BuyerSession(ctx, b.browser, b.device, b.price)
	switch known, err := ledger.Found(err); {
	case err != nil:
		return "", fmt.Errorf("read the open session of %s: %w", b.device, err)
	case !known || !k.reusable(s):
		return "", nil
	}
	open, err := k.c.Stripe.SessionIsOpen(ctx, s.ID)
	switch {
	case err != nil && upstream.OutcomeOf(err) != upstream.Rejected:
		k.c.Log.Warn("session not read", "session", s.ID, "err", err)
	case err != nil || !open:
		k.forget(s.ID)
		return "", k.recordEnded(ctx, s.ID)
	}
	return s.URL, nil
}

// reusable reports whether a session ends late enough for another visit.
func (k *Checkout) reusable(s ledger.Session) bool { return s.Ends.Sub(k.c.Ledger.Now()) > minReuse }

// create creates a session, stores it, and returns its URL. If another instance has created one for
// the same buyer meanwhile, it returns the URL of that one, and its own is expired.
func (k *Checkout) create(ctx context.Context, b buyer, device *fleet.Device, plan payment.Offer) (string, error) {
	request := k.request(b, device, plan)
	s, url, err := k.c.Stripe.CreateSession(ctx, request)
	k.recordOutcome(b, request, err)
	if upstream.OutcomeOf(err) == upstream.Rejected {
		k.c.Fleet.RefreshSoon() // the price may have become inactive
	}
	if err != nil {
		return "", fmt.Errorf("create session of %s: %w", device.UID, err)
	}
	s.Browser, s.URL = b.browser, url
	var before ledger.Session
	// If the process stops here, no customer knows the URL, and the session expires by itself.
	err = k.c.Ledger.Update(ctx, func(tx *ledger.Tx) (err error) {
		s.State = ledger.SessionOpen
		before, err = tx.BuyerSession(b.browser, b.device, b.price)
		switch known, err := ledger.Found(err); {
		case err != nil:
			return err
		case known && before.ID != s.ID && k.reusable(before):
			s.State = ledger.SessionReplaced
		case known:
			before.State = ledger.SessionReplaced
			if err := tx.ReplaceSession(before.ID); err != nil {
				return err
			}
		}
		return tx.AddSession(s)
	})
	if err != nil {
		k.keepLost(b, request)
		return "", fmt.Errorf("save session %s: %w", s.ID, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.open[s.ID] = s
	if before.State == ledger.SessionReplaced {
		k.open[before.ID] = before
	}
	k.c.Log.Debug("session created", "session", s.ID, "device", s.DeviceUID, "price", plan.PriceID)
	if s.State == ledger.SessionReplaced {
		return before.URL, nil
	}
	return url, nil
}

// request returns the request for a buyer's session. It repeats a request whose reply was lost,
// because another idempotency key could create a second session. After a minute the request is too
// old: Stripe rejects a session that ends before minLifetime.
func (k *Checkout) request(b buyer, device *fleet.Device, plan payment.Offer) NewSession {
	text := ""
	if k.c.PageText != nil {
		text = k.c.PageText(device)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if lost, ok := k.lost[b]; ok && lost.Ends.Sub(k.c.Ledger.Now()) > minLifetime+time.Second {
		return lost
	}
	return NewSession{
		Device:         device.Device,
		Plan:           plan,
		PublicURL:      k.c.PublicURL,
		Text:           text,
		PromotionCodes: k.c.PromotionCodes,
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

// forget removes a session that cannot be paid any more. It reports whether the session was known.
func (k *Checkout) forget(id string) (known bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, known = k.open[id]
	delete(k.open, id)
	return known
}

// Changed forgets the session of a payment, because it was paid. It returns at once.
func (k *Checkout) Changed(p payment.Payment) {
	if !k.forget(p.SessionID) {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.over = append(k.over, p.SessionID)
}

// recordEnded records that sessions cannot be paid any more.
func (k *Checkout) recordEnded(ctx context.Context, ids ...string) error {
	if len(ids) == 0 {
		return nil
	}
	return k.c.Ledger.Update(ctx, func(tx *ledger.Tx) error {
		for _, id := range ids {
			if err := tx.EndSession(id); err != nil {
				return err
			}
		}
		return nil
	})
}

// checkInterval is the time between checks whether the machines of open sessions still sell.
const checkInterval = 3 * time.Second

// Run expires the sessions of machines that no longer sell, until ctx ends. Of several instances one
// does so for all. A call in flight may finish, until calls ends.
func (k *Checkout) Run(ctx, calls context.Context) {
	for upstream.Sleep(ctx, checkInterval) == nil {
		if !k.c.Ledger.Clock().Known() { // the ends of sessions are in Stripe's time
			continue
		}
		k.learnOthers(ctx)
		expire, over := k.toExpire(k.c.Ledger.Now())
		for _, s := range expire {
			if ctx.Err() == nil && k.c.Ledger.Leads() && k.expire(calls, s) {
				over = append(over, s.ID)
			}
		}
		if err := k.recordEnded(calls, over...); err != nil { // they are asked about again, and nothing else
			k.c.Log.Warn("ended sessions not recorded", "sessions", over, "err", err)
		}
	}
}

// learnOthers makes the leader of several instances know the sessions that the others created. So
// they also expire when their instance has ended.
func (k *Checkout) learnOthers(ctx context.Context) {
	if !k.c.Ledger.Shared() {
		return
	}
	k.limits.divide(1 + len(k.c.Ledger.Peers()))
	if !k.c.Ledger.Leads() {
		return
	}
	k.mu.Lock()
	before := maps.Clone(k.open)
	k.mu.Unlock()
	now := k.c.Ledger.Now()
	open, err := k.c.Ledger.OpenSessions(ctx, k.c.Livemode, now)
	if err != nil {
		if ctx.Err() == nil {
			k.c.Log.Warn("open sessions not read", "err", err)
		}
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for id, s := range before { // those that were created meanwhile are not in the list
		if now.Before(s.Ends) {
			delete(k.open, id)
		}
	}
	for _, s := range open {
		k.open[s.ID] = s
	}
}

// toExpire returns the sessions that must not be paid any more. It also returns the ids of those that
// cannot be paid any more, and forgets these.
func (k *Checkout) toExpire(now time.Time) (expire []ledger.Session, over []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	over, k.over = k.over, nil
	for id, s := range k.open {
		switch {
		case !now.Before(s.Ends):
			over = append(over, id)
			delete(k.open, id)
		case s.State == ledger.SessionReplaced, !sells(k.c.Fleet.Availability(s.DeviceUID, now), s.Plan.PriceID):
			expire = append(expire, s)
		}
	}
	return expire, over
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

// expire expires a session at Stripe and forgets it. After a failure it returns false, and Run tries
// again.
func (k *Checkout) expire(ctx context.Context, s ledger.Session) bool {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := k.c.Stripe.ExpireSession(ctx, s.ID)
	switch upstream.OutcomeOf(err) {
	case upstream.OK:
		k.c.Log.Info("session expired", "session", s.ID, "device", s.DeviceUID)
	case upstream.Rejected: // it was paid or has ended
	default:
		k.c.Log.Warn("session not expired", "session", s.ID, "device", s.DeviceUID, "err", err)
		return false
	}
	k.forget(s.ID)
	return true
}
