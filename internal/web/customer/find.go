package customer

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"notepay/internal/clientaddr"
	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/ratelimit"
	"notepay/internal/uid"
	"notepay/internal/web"
)

// A payer who lost the page finds it with the payment's reference, which is as long as a password, or
// with the last four digits of the card and the time. The latter can be guessed. So attempts are
// limited, and a payment that is found so never shows an access code.
const (
	referencesPerSecond = 10
	// Behind a proxy all customers share an address.
	cardsPerAddress, cardsAddressInterval = 10, time.Minute
	cardsPerMachine, cardsMachineInterval = 10, time.Minute
	cardsInTotal, cardsTotalInterval      = 30, 20 * time.Second

	// The payer's clock and memory may be some minutes off. Without the machine's name, other payers
	// would be found as well.
	timeToleranceOnMachine = 10 * time.Minute
	timeTolerance          = 2 * time.Minute
	maxFound               = 20 // payments of one card within the tolerance
)

// finder limits how often payments are searched for and reported.
type finder struct {
	references *rate.Limiter
	cards      *rate.Limiter
	addresses  *ratelimit.Keyed
	machines   *ratelimit.Keyed
	reports    *rate.Limiter // of customers about their payments
	free       freeLimits
}

func newFinder() *finder {
	return &finder{
		references: rate.NewLimiter(referencesPerSecond, referencesPerSecond),
		cards:      rate.NewLimiter(rate.Every(cardsTotalInterval), cardsInTotal),
		addresses:  ratelimit.NewKeyed(rate.Every(cardsAddressInterval), cardsPerAddress),
		machines:   ratelimit.NewKeyed(rate.Every(cardsMachineInterval), cardsPerMachine),
		reports:    newReports(),
		free:       newFreeLimits(),
	}
}

// card counts a search by card. It returns how long the payer must wait, or 0.
func (f *finder) card(address, machine string, now time.Time) time.Duration {
	if wait := f.addresses.Take(address, now); wait > 0 {
		return wait // it takes nothing from all others
	}
	return max(f.machines.Take(machine, now), ratelimit.Take(f.cards, now))
}

// limits returns the limits of this process.
func (c *Handler) limits() *finder {
	c.startFinder.Do(func() { c.finder = newFinder() })
	return c.finder
}

// device returns the device that a customer names, or nil.
func (c *Handler) device(given string) *fleet.Device {
	key, ok := uid.Parse(given)
	if !ok || c.Fleet == nil {
		return nil
	}
	return c.Fleet.Device(c.Fleet.Meant(key))
}

// Find serves the form that finds a payment's page.
func (c *Handler) Find(w http.ResponseWriter, r *http.Request) error {
	return c.findForm(w, r, http.StatusOK, r.URL.Query().Get("device"), Message{}, 0)
}

// findForm serves the form, with the reason why the last attempt found nothing.
func (c *Handler) findForm(
	w http.ResponseWriter,
	r *http.Request,
	status int,
	device string,
	problem Message,
	wait time.Duration,
) error {
	page := Page{Status: status, Title: msg("find.title"), Template: "find", RetryAfter: wait, Help: true}
	form := struct {
		Problem Message
		Device  string
	}{Problem: problem}
	if d := c.device(device); d != nil {
		page.Machine, form.Device = web.MachineName(d.Name, d.UID), d.UID
	}
	page.data = form
	return c.Render(w, r, page)
}

// FindPayment leads to the payment that the form describes.
func (c *Handler) FindPayment(w http.ResponseWriter, r *http.Request) error {
	web.LimitForm(w, r)
	if err := r.ParseForm(); err != nil {
		return c.findForm(w, r, http.StatusBadRequest, "", msg("find.none"), 0)
	}
	device := r.PostForm.Get("device")
	ctx, cancel := context.WithTimeout(r.Context(), web.ReadTimeout)
	defer cancel()
	var p payment.Payment
	var wait time.Duration
	var err error
	byCard := strings.TrimSpace(r.PostForm.Get("reference")) == ""
	if byCard {
		p, wait, err = c.findByCard(ctx, r, device)
	} else {
		p, wait, err = c.findByReference(ctx, r.PostForm.Get("reference"))
	}
	switch {
	case wait > 0:
		return c.findForm(w, r, http.StatusTooManyRequests, device, msg("find.often"), wait)
	case errors.Is(err, ledger.ErrNotFound):
		return c.findForm(w, r, http.StatusNotFound, device, msg("find.none"), 0)
	case err != nil:
		return err
	case byCard && p.NeedsAccessCode:
		page := c.payment(p, c.now(), hideCode)
		shown := page.data.(receipt)
		shown.say("find.no_code")
		shown.refreshing, page.Reload, page.data = false, 0, shown
		return c.Render(w, r, page)
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, c.pageOf(p), http.StatusSeeOther)
	return nil
}

var reference = regexp.MustCompile(`^cr_[a-z2-7]{16}$`)

// findByReference returns the payment with a reference, however it is written.
func (c *Handler) findByReference(ctx context.Context, given string) (payment.Payment, time.Duration, error) {
	id := strings.ToLower(strings.Join(strings.Fields(uid.Plain(given)), ""))
	if !reference.MatchString(id) {
		return payment.Payment{}, 0, ledger.ErrNotFound
	}
	if wait := ratelimit.Take(c.limits().references, c.now()); wait > 0 {
		return payment.Payment{}, wait, nil
	}
	p, err := c.Ledger.Payment(ctx, id)
	return p, 0, err
}

var lastFour = regexp.MustCompile(`^[0-9]{4}$`)

// findByCard returns the payment by a card that is nearest to the given time of day, of today or
// yesterday. A device narrows the search.
func (c *Handler) findByCard(ctx context.Context, r *http.Request, device string) (
	found payment.Payment,
	wait time.Duration,
	err error,
) {
	card := uid.Plain(r.PostForm.Get("card"))
	at, ok := c.lastTime(r.PostForm.Get("time"))
	machine := ""
	if d := c.device(device); d != nil {
		machine = d.UID
	}
	if !lastFour.MatchString(card) || !ok {
		return found, 0, ledger.ErrNotFound
	}
	if wait := c.limits().card(clientaddr.Key(r.RemoteAddr), machine, c.now()); wait > 0 {
		return found, wait, nil
	}
	tolerance := timeTolerance
	filter := ledger.Filter{Card: card, Limit: maxFound}
	if machine != "" {
		tolerance, filter.Devices = timeToleranceOnMachine, []string{machine}
	}
	filter.From, filter.To = at.Add(-tolerance), at.Add(time.Minute+tolerance)
	list, _, err := c.Ledger.Payments(ctx, filter)
	if err != nil {
		return found, 0, err
	}
	distance := func(p payment.Payment) time.Duration { return p.PaidAt.Sub(at).Abs() }
	for _, p := range list {
		if found.ID == "" || distance(p) < distance(found) {
			found = p
		}
	}
	if found.ID == "" {
		return found, 0, ledger.ErrNotFound
	}
	return found, 0, nil
}

// lastTime returns when it was last the given time of day, such as 14:05, where the machines are.
func (c *Handler) lastTime(clock string) (time.Time, bool) {
	t, err := time.Parse("15:04", uid.Plain(clock))
	if err != nil {
		return time.Time{}, false
	}
	now := c.now().In(c.zone())
	at := time.Date(now.Year(), now.Month(), now.Day(), t.Hour(), t.Minute(), 0, 0, now.Location())
	if at.After(now.Add(timeTolerance)) {
		at = at.AddDate(0, 0, -1)
	}
	return at, true
}

// findPage returns the address of the form for a machine's payments.
func findPage(uid string) string {
	if uid == "" {
		return "/payment/find"
	}
	return "/payment/find?device=" + url.QueryEscape(uid)
}
