// Package fleet knows the devices, what each sells and the Payment Link of each (device, plan): the
// map that /pay reads.
//
// It promises that reading it never waits for a vendor, that what it knew before a restart it knows
// after (devices, their variables, links and pauses are kept in the ledger), that no second link is
// made for a (device, plan) that has one, and that nothing is taken away on the word of an
// incomplete listing. It does not know payments (who is in use it is told), nor whether a machine
// is in working order.
package fleet

import (
	"context"
	"fmt"
	"hash/maphash"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/problem"
	"notepay/internal/terms"
	"notepay/internal/uid"
	"notepay/internal/upstream"
)

// Notehub is what the fleet asks of Notehub. Each method makes one attempt and returns a
// *upstream.Error if it fails.
type Notehub interface {
	// Devices lists the devices to sell on. With an error, the list holds what was read before it.
	Devices(ctx context.Context) ([]ledger.Device, error)
	// Device reads one of them; upstream.Refused means that there is no such device.
	Device(ctx context.Context, uid string) (ledger.Device, error)
	// ProjectVariables reads the environment variables that are set for all devices; their names
	// are in small letters.
	ProjectVariables(ctx context.Context) (map[string]string, error)
	// FleetVariables reads those that are set on fleets, by fleet uid.
	FleetVariables(ctx context.Context) (map[string]map[string]string, error)
	// DeviceVariables reads those that are set on one device alone.
	DeviceVariables(ctx context.Context, uid string) (map[string]string, error)
}

// Stripe is what the fleet asks of Stripe. Each method makes one attempt and returns a
// *upstream.Error if it fails.
type Stripe interface {
	// Plan reads a price.
	Offer(ctx context.Context, priceID string) (payment.Offer, error)
	// Links lists the active links that this project made, oldest first; of their plans only the
	// price id is filled in.
	Links(ctx context.Context) ([]ledger.Link, error)
	// Link reads one link; upstream.Refused means that there is no such link.
	Link(ctx context.Context, id string) (ledger.Link, error)
	// CreateLink creates a link. The same idempotency key creates the same link.
	CreateLink(ctx context.Context, link NewLink) (ledger.Link, error)
	// UpdateLink makes an existing link active or not, sets its return URL, and signs it.
	UpdateLink(ctx context.Context, link ledger.Link) error
	// SignLink writes a process's signature on a link, and changes nothing else of it.
	SignLink(ctx context.Context, id, process string) error
}

// NewLink describes a Payment Link to create.
type NewLink struct {
	Device         ledger.Device
	Plan           payment.Offer
	ReturnURL      string // where Stripe sends the customer after the payment; "" for Stripe's own page
	SignedBy       string // the process whose signature the link carries
	IdempotencyKey string
}

// Config is what a Fleet needs. The fields down to LinkPace are required, but ReturnURL.
type Config struct {
	Ledger      *ledger.Ledger
	Notehub     Notehub
	Stripe      Stripe
	Log         *slog.Logger
	PriceIDs    []string          // the default plans, in the order in which they are shown
	ReturnURL   string            // where Stripe sends the customer after the payment; "" leaves them on Stripe's page
	Livemode    bool              // links are remembered by account mode
	Interval    time.Duration     // between refreshes
	LinkLimiter *upstream.Limiter // how fast links are made and changed

	// what is sold is paid in a session of its own: no links are made, and those that there are end
	Sessions     bool
	OfflineAfter time.Duration // a device not heard from for longer does not sell; 0: all do
	// links hold the money until it is captured; those that do not are replaced, and the other way
	// round
	ManualCapture bool
	VariableEvery time.Duration // between two reads of the variables of single devices; 0: twenty seconds

	// NotehubPace is what the reads of variables wait for, and NotehubPerMinute the limit that it
	// keeps. Without a limit the variables are read slowly, because nobody knows how many calls the
	// account may make. nil: the reads wait for nothing.
	NotehubLimiter   *upstream.Limiter
	NotehubPerMinute uint

	Rules terms.Rules // what the lifetime of a credit may be

	Problems *problem.Board // where the fleet raises what keeps it from selling; nil: nowhere
}

// Offer is one plan that a device sells.
type Offer struct {
	Plan   payment.Offer
	URL    string // of the Payment Link; "" until there is one, while it is closed, and where sessions are made instead
	Closed string // why nobody can pay through the link although we did not deactivate it; "" if that is not so
}

// Device is a device with what it sells. It is never changed, only replaced.
type Device struct {
	ledger.Device
	Offers   []Offer
	Pause    *ledger.Pause // nil: it is not paused
	Problems []string      // what an operator has to mend, in words for them

	*saleTerms
	unscannable bool      // its UID cannot be the one of a sticker
	unread      bool      // variables that decide what it sells were never read
	asked       time.Time // when its own variables were last read; zero: never
	inUse       bool
	until       time.Time // when inUse ends; zero: not known
}

// Fleet is the in-memory map and what keeps it fresh. It is safe for concurrent use.
type Fleet struct {
	Config
	refreshes singleflight.Group
	made      time.Time       // when New made it, a local instant
	life      context.Context // of refreshes, which outlive those who ask for them; ends with Run
	end       context.CancelFunc
	links     *linkReconciler
	reader    *variableReader
	lookUp    chan string     // unknown devices to be asked for, one at a time
	soon      chan struct{}   // a refresh is wished for before its time
	hints     chan changeHint // what may have changed at Stripe
	shown     showing

	mu       sync.RWMutex // guards what follows and the fields of links; held for moments, never over a call
	devices  map[string]*Device
	unsold   []ledger.Device // that the last complete listing held and that cannot be sold on
	plans    map[string]payment.Offer
	refused  map[string]string // prices that cannot be sold, and why
	planRead map[string]time.Time
	vars     map[string]variables // by owner
	varsFail string               // why the variables of project and fleets could not be read; "" if they could
	shared   map[setting]*saleTerms
	pauses   map[string]ledger.Pause
	busy     map[string]time.Time // devices in use, and until when
	loaded   bool                 // a complete listing was read at some time, by this process or an earlier one
	observed time.Time            // when that was, by Stripe's clock
	listed   time.Time            // when the last complete listing of this process began, by Stripe's clock
	finished time.Time            // when it ended
	lookedUp time.Time            // when an unknown device was last asked for

	listingsFailed int // in a row
}

// New makes a fleet of what the ledger remembers, so that a restart sells at once.
func New(ctx context.Context, c Config) (*Fleet, error) {
	f := &Fleet{
		Config: c, made: time.Now(), lookUp: make(chan string, 1), soon: make(chan struct{}, 1),
		hints:   make(chan changeHint, maxHints),
		shown:   showing{seed: maphash.MakeSeed()},
		devices: map[string]*Device{}, plans: map[string]payment.Offer{},
		refused: map[string]string{}, planRead: map[string]time.Time{}, vars: map[string]variables{}, shared: map[setting]*saleTerms{},
		pauses: map[string]ledger.Pause{}, busy: map[string]time.Time{}}
	f.life, f.end = context.WithCancel(context.WithoutCancel(ctx))
	f.links, f.reader = newLinkReconciler(f), newVariableReader(f)
	if err := f.load(ctx); err != nil {
		return nil, fmt.Errorf("load fleet: %w", err)
	}
	return f, nil
}

func (f *Fleet) load(ctx context.Context) error {
	devices, err := f.Ledger.Devices(ctx)
	if err != nil {
		return fmt.Errorf("devices: %w", err)
	}
	links, err := f.Ledger.Links(ctx, f.Livemode)
	if err != nil {
		return fmt.Errorf("links: %w", err)
	}
	stored, err := f.Ledger.Variables(ctx)
	if err != nil {
		return fmt.Errorf("variables: %w", err)
	}
	pauses, err := f.Ledger.Pauses(ctx)
	if err != nil {
		return fmt.Errorf("pauses: %w", err)
	}
	f.observed, err = f.Ledger.Meta(ctx, ledger.FactFleetLoaded)
	if f.loaded, err = ledger.Found(err); err != nil {
		return err
	}
	if f.Sessions {
		sold, err := f.Ledger.SessionPlans(ctx, f.Livemode)
		if err != nil {
			return fmt.Errorf("plans: %w", err)
		}
		for _, p := range sold {
			f.plans[p.PriceID] = p
		}
	}
	if err := f.respell(ctx, devices, stored); err != nil {
		return fmt.Errorf("respell devices: %w", err)
	}
	// a hundred thousand links need not hold a hundred thousand copies of one text
	same := map[payment.Offer]payment.Offer{}
	for _, l := range links {
		if _, ok := same[l.Plan]; !ok {
			same[l.Plan] = l.Plan
		}
		l.Plan, l.DeviceUID = same[l.Plan], uid.Key(l.DeviceUID)
		f.links.remember(l)
		if _, known := f.plans[l.Plan.PriceID]; (l.Active || f.Sessions) && !known {
			f.plans[l.Plan.PriceID] = l.Plan
		}
	}
	for _, v := range stored {
		f.vars[v.Owner] = variables{v.Values, v.ReadAt}
	}
	for _, p := range pauses {
		p.DeviceUID = uid.Key(p.DeviceUID)
		f.pauses[p.DeviceUID] = p
	}
	for _, d := range devices {
		f.devices[d.UID] = f.build(d)
	}
	return nil
}

// respell brings devices and variables that an earlier version stored in Notehub's spelling into
// the one that is compared.
func (f *Fleet) respell(ctx context.Context, devices []ledger.Device, stored []ledger.Variables) error {
	return f.Ledger.Update(ctx, func(tx *ledger.Tx) error {
		for i, d := range devices {
			if key := uid.Key(d.UID); key != d.UID {
				if err := tx.RemoveDevice(d.UID); err != nil {
					return err
				}
				devices[i].UID, devices[i].Spelled = key, d.UID
				if err := tx.SaveDevice(devices[i]); err != nil {
					return err
				}
			}
		}
		for i, v := range stored {
			if key := uid.Key(v.Owner); key != v.Owner && strings.HasPrefix(key, "dev:") {
				stored[i].Owner = key
				if err := tx.SaveVariables(stored[i]); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// build puts together what a device sells and how it stands. The caller holds the lock or is alone.
func (f *Fleet) build(d ledger.Device) *Device {
	t := f.saleTermsOf(d)
	device := &Device{
		Device:    d,
		saleTerms: t,
		Problems:  t.problems,
		asked:     f.vars[d.UID].at,
		unread:    f.unread(d),
		Offers:    make([]Offer, 0, len(t.prices)),
	}
	for _, id := range t.prices {
		if device.unread {
			break // what would be shown is a guess
		}
		if plan, ok := f.plans[id]; ok {
			offer := Offer{Plan: plan, URL: f.links.url(linkKey{d.UID, id})}
			if offer.Closed = f.links.closed(linkKey{d.UID, id}); offer.Closed != "" {
				device.Problems = append(slices.Clip(device.Problems), notSold(id, offer.Closed))
			}
			device.Offers = append(device.Offers, offer)
		} else if why, ok := f.refused[id]; ok {
			device.Problems = append(slices.Clip(device.Problems), notSold(id, why))
		}
	}
	if d.Problem != "" {
		device.Problems = append(slices.Clip(device.Problems), d.Problem)
	}
	if p, ok := f.pauses[d.UID]; ok {
		device.Pause = &p
	}
	if device.unscannable = !uid.Valid(d.UID); device.unscannable {
		device.Problems = append(
			slices.Clip(device.Problems),
			fmt.Sprintf(
				"its UID %.80q cannot be scanned: behind dev: there may be at most 64 letters, digits and -_.: and it is not sold",
				d.UID,
			),
		)
	}
	device.until, device.inUse = f.busy[d.UID]
	return device
}

// Device reads a device; nil if it is not known.
func (f *Fleet) Device(uid string) *Device {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.devices[uid]
}

// Loaded says whether the devices were ever listed completely. Before that an unknown device may be
// one of ours.
func (f *Fleet) Loaded() bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.loaded
}

// Counts are the devices known, the links that can be paid through, and when the last complete
// listing ended.
func (f *Fleet) Counts() (devices, links int, refreshed time.Time) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return len(f.devices), f.links.payable, f.finished
}

// Observed is when the devices were last listed completely, by this process or an earlier one.
func (f *Fleet) Observed() time.Time {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.observed
}

// Offer is a plan that is sold now.
func (f *Fleet) Offer(priceID string) (payment.Offer, bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	p, ok := f.plans[priceID]
	return p, ok
}

// Prioritize has the links of a device made before all others: a customer is waiting.
func (f *Fleet) Prioritize(uid string) {
	f.change(uid, func() {})
}

// singleLookUps is how often an unknown device may be asked for: a scan must not cost a call to
// Notehub.
const singleLookUps = time.Minute

// RequestLookup has a device looked up that is not known, at most once a minute for all.
func (f *Fleet) RequestLookup(uid string) {
	f.mu.Lock()
	allowed := time.Since(f.lookedUp) >= singleLookUps
	if allowed {
		f.lookedUp = time.Now()
	}
	f.mu.Unlock()
	if !allowed {
		return
	}
	select {
	case f.lookUp <- uid:
	default:
	}
}

// RefreshSoon asks for a refresh before its time.
func (f *Fleet) RefreshSoon() {
	select {
	case f.soon <- struct{}{}:
	default:
	}
}

// put replaces devices in the map, in parts, so that no scan waits for all of it.
func (f *Fleet) put(devices ...ledger.Device) {
	for part := range slices.Chunk(devices, largest) {
		f.mu.Lock()
		for _, d := range part {
			f.devices[d.UID] = f.build(d)
		}
		f.mu.Unlock()
	}
}

// change makes a change that concerns one device, shows it on the device, and has its links looked
// at before all others.
func (f *Fleet) change(uid string, what func()) { f.changeAnd(uid, what, f.links.prioritize) }

// changeAnd makes a change that concerns one device, shows it on the device, and gives its links to
// queue.
func (f *Fleet) changeAnd(uid string, what func(), queue func(linkKey)) {
	f.mu.Lock()
	what()
	if old := f.devices[uid]; old != nil {
		f.devices[uid] = f.build(old.Device)
		for _, prices := range [][]string{old.prices, f.devices[uid].prices} {
			for _, id := range prices {
				queue(linkKey{uid, id})
			}
		}
	}
	f.mu.Unlock()
	f.links.signal()
}

// all is every device. They never change, so the lock need not be held while they are looked at.
func (f *Fleet) all() []*Device {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return slices.AppendSeq(make([]*Device, 0, len(f.devices)), maps.Values(f.devices))
}

// relink takes links in and shows them on their devices.
func (f *Fleet) relink(links ...ledger.Link) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range links {
		f.links.remember(l)
		if d, ok := f.devices[l.DeviceUID]; ok {
			f.devices[l.DeviceUID] = f.build(d.Device)
		}
	}
}
