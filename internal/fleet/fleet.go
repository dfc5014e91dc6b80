// Package fleet knows the devices, what each sells and the Payment Link of each (device, plan): the map that /pay reads.
//
// It promises that reading it never waits for a vendor, that what it knew before a restart it knows after (devices and links
// are kept in the ledger), that no second link is made for a (device, plan) that has one, and that nothing is taken
// away on the word of an incomplete listing. It does not know payments, nor whether a machine is in working order.
package fleet

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"notepay/internal/ledger"
	"notepay/internal/upstream"
)

// Notehub is what the fleet asks of Notehub. Each method makes one attempt and returns a *upstream.Error if it fails.
type Notehub interface {
	// Devices lists the devices to sell on. With an error, the list holds what was read before it.
	Devices(ctx context.Context) ([]ledger.Device, error)
	// Device reads one of them; upstream.Refused means that there is no such device.
	Device(ctx context.Context, uid string) (ledger.Device, error)
}

// Stripe is what the fleet asks of Stripe. Each method makes one attempt and returns a *upstream.Error if it fails.
type Stripe interface {
	// Plan reads a price.
	Plan(ctx context.Context, priceID string) (ledger.Plan, error)
	// Links lists the active links that this project made, oldest first; of their plans only the price id is filled in.
	Links(ctx context.Context) ([]ledger.Link, error)
	// CreateLink makes a link; the same key makes the same link.
	CreateLink(ctx context.Context, device ledger.Device, plan ledger.Plan, returnURL, key string) (ledger.Link, error)
	// UpdateLink makes an existing link active or not, and sets its return URL.
	UpdateLink(ctx context.Context, link ledger.Link) error
}

// Config is what a Fleet needs. All fields are required but ReturnURL.
type Config struct {
	Ledger    *ledger.Ledger
	Notehub   Notehub
	Stripe    Stripe
	Log       *slog.Logger
	PriceIDs  []string       // the default plans, in the order in which they are shown
	ReturnURL string         // where Stripe sends the customer after the payment; "" leaves them on Stripe's page
	Livemode  bool           // links are remembered by account mode
	Interval  time.Duration  // between refreshes
	LinkPace  *upstream.Pace // how fast links are made and changed
}

// Offer is one plan that a device sells.
type Offer struct {
	Plan ledger.Plan
	URL  string // of the Payment Link; "" until there is one
}

// Device is a device with what it sells. It is never changed, only replaced.
type Device struct {
	ledger.Device
	Offers []Offer
}

// Fleet is the in-memory map and what keeps it fresh. It is safe for concurrent use.
type Fleet struct {
	Config
	refreshes singleflight.Group
	life      context.Context // of refreshes, which outlive those who ask for them; ends with Run
	end       context.CancelFunc
	links     *linkWork
	lookUp    chan string   // unknown devices to be asked for, one at a time
	soon      chan struct{} // a refresh is wished for before its time

	mu       sync.RWMutex // guards what follows and the fields of links; held for moments, never over a call
	devices  map[string]*Device
	plans    map[string]ledger.Plan
	loaded   bool      // a complete listing was read at some time, by this process or an earlier one
	listed   time.Time // when the last complete listing of this process began
	finished time.Time // when it ended
	lookedUp time.Time // when an unknown device was last asked for
}

// New makes a fleet of what the ledger remembers, so that a restart sells at once.
func New(ctx context.Context, c Config) (*Fleet, error) {
	f := &Fleet{Config: c, lookUp: make(chan string, 1), soon: make(chan struct{}, 1), devices: map[string]*Device{}, plans: map[string]ledger.Plan{}}
	f.life, f.end = context.WithCancel(context.WithoutCancel(ctx))
	f.links = newLinkWork(f)
	devices, err := c.Ledger.Devices(ctx)
	if err != nil {
		return nil, fmt.Errorf("load devices: %w", err)
	}
	links, err := c.Ledger.Links(ctx, c.Livemode)
	if err != nil {
		return nil, fmt.Errorf("load links: %w", err)
	}
	_, err = c.Ledger.Fact(ctx, factLoaded)
	if f.loaded, err = ledger.Has(err); err != nil {
		return nil, fmt.Errorf("load fleet: %w", err)
	}
	for _, l := range links {
		f.links.remember(l)
		if _, known := f.plans[l.Plan.PriceID]; !known && slices.Contains(c.PriceIDs, l.Plan.PriceID) {
			f.plans[l.Plan.PriceID] = l.Plan
		}
	}
	for _, d := range devices {
		f.devices[d.UID] = f.withOffers(d)
	}
	return f, nil
}

const factLoaded = "fleet_loaded"

// withOffers puts together what a device sells. The caller holds the lock or is alone.
func (f *Fleet) withOffers(d ledger.Device) *Device {
	device := &Device{Device: d}
	for _, id := range f.PriceIDs {
		if plan, ok := f.plans[id]; ok {
			device.Offers = append(device.Offers, Offer{Plan: plan, URL: f.links.url(linkKey{d.UID, id})})
		}
	}
	return device
}

// Device reads a device; nil if it is not known.
func (f *Fleet) Device(uid string) *Device {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.devices[uid]
}

// Loaded says whether the devices were ever listed completely. Before that an unknown device may be one of ours.
func (f *Fleet) Loaded() bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.loaded
}

// Counts are the devices known, the links that can be paid through, and when the last complete listing ended.
func (f *Fleet) Counts() (devices, links int, refreshed time.Time) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return len(f.devices), f.links.payable, f.finished
}

// Plan is a plan that is sold now.
func (f *Fleet) Plan(priceID string) (ledger.Plan, bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	p, ok := f.plans[priceID]
	return p, ok
}

// Standing is what can be said of a device for which a payment came in.
type Standing int

const (
	Known   Standing = iota // it is one of ours
	Unknown                 // a complete listing that began after the payment does not hold it
	Unsure                  // no such listing yet
)

// Standing judges a device for a payment made at paid. While it is Unsure a refresh is on its way.
func (f *Fleet) Standing(uid string, paid time.Time) Standing {
	f.mu.RLock()
	_, known := f.devices[uid]
	listed := f.listed
	f.mu.RUnlock()
	switch {
	case known:
		return Known
	case listed.After(paid):
		return Unknown
	default:
		f.RefreshSoon()
		return Unsure
	}
}

// Hurry has the links of a device made before all others: a customer is waiting.
func (f *Fleet) Hurry(uid string) {
	for _, id := range f.PriceIDs {
		f.links.hurry(linkKey{uid, id})
	}
}

// singleLookUps is how often an unknown device may be asked for: a scan must not cost a call to Notehub.
const singleLookUps = time.Minute

// AskFor has a device looked up that is not known, at most once a minute for all.
func (f *Fleet) AskFor(uid string) {
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
			f.devices[d.UID] = f.withOffers(d)
		}
		f.mu.Unlock()
	}
}

// relink takes links in and shows them on their devices.
func (f *Fleet) relink(links ...ledger.Link) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range links {
		f.links.remember(l)
		if d, ok := f.devices[l.DeviceUID]; ok {
			f.devices[l.DeviceUID] = f.withOffers(d.Device)
		}
	}
}
