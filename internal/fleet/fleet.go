// Package fleet keeps the devices, the plans that each sells, and the Payment Link of each device
// and plan. It is the map that /pay reads.
//
// It promises that a read never waits for a vendor. It keeps devices, variables, links and pauses
// in the ledger, so a restart loses nothing. It creates no second link for a device and plan that
// have one, and an incomplete listing removes nothing.
//
// It does not know payments, so the bridge reports which devices are in use. It does not know
// whether a machine works.
package fleet

import (
	"context"
	"crypto/ecdh"
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
	"notepay/internal/message"
	"notepay/internal/payment"
	"notepay/internal/problem"
	"notepay/internal/terms"
	"notepay/internal/upstream"
)

// Notehub is the part of Notehub that a Fleet uses. Each method makes one attempt and returns an
// *upstream.Error if it fails.
type Notehub interface {
	// Devices lists the devices to sell on. With an error it returns those read before the error.
	Devices(ctx context.Context) ([]ledger.Device, error)
	// Device reads one device. upstream.Rejected means that there is no such device.
	Device(ctx context.Context, uid string) (ledger.Device, error)
	// ProjectVariables reads the environment variables that are set for all devices, by lower-case
	// name.
	ProjectVariables(ctx context.Context) (map[string]string, error)
	// FleetVariables reads the variables that are set on fleets, by fleet UID. The map of a fleet is nil
	// if its variables cannot be read. If complete is false, fleets may be missing.
	FleetVariables(ctx context.Context) (fleets map[string]map[string]string, complete bool, err error)
	// DeviceVariables reads the variables that are set on one device.
	DeviceVariables(ctx context.Context, uid string) (map[string]string, error)
	// PublicKeys reads the public keys of all devices by UID. It is only called with
	// Config.Encrypted.
	PublicKeys(ctx context.Context) (map[string]*ecdh.PublicKey, error)
}

// Stripe is the part of Stripe that a Fleet uses. Each method makes one attempt and returns an
// *upstream.Error if it fails.
type Stripe interface {
	// Offer reads a price.
	Offer(ctx context.Context, priceID string) (payment.Offer, error)
	// Links lists the active links of this project, oldest first. Of their plans it fills in only
	// the price id.
	Links(ctx context.Context) ([]ledger.Link, error)
	// Link reads one link. upstream.Rejected means that there is no such link.
	Link(ctx context.Context, id string) (ledger.Link, error)
	// CreateLink creates a link. The same idempotency key creates the same link.
	CreateLink(ctx context.Context, link NewLink) (ledger.Link, error)
	// UpdateLink sets whether a link is active, and its signature unless that is "". Of an active one it
	// also sets the return URL, whether it takes promotion codes, and the text beside the button unless
	// that is "". It returns the link's URL, or "" if that is unknown.
	UpdateLink(ctx context.Context, link ledger.Link, text string) (address string, err error)
	// SignLink sets the signature of a link and nothing else.
	SignLink(ctx context.Context, id, process string) error
}

// NewLink describes a Payment Link to create.
type NewLink struct {
	Device         ledger.Device
	Plan           payment.Offer
	ReturnURL      string // where Stripe sends the customer after the payment; "" for Stripe's own page
	Text           string // beside the button on Stripe's page, "" for none
	PromotionCodes bool   // Stripe's page takes promotion codes
	SignedBy       string // the process whose signature the link carries
	IdempotencyKey string
}

// Config configures a Fleet. The fields up to LinkLimiter are required, except ReturnURL.
type Config struct {
	Ledger      *ledger.Ledger
	Notehub     Notehub
	Stripe      Stripe
	Log         *slog.Logger
	PriceIDs    []string          // the default plans, in display order
	ReturnURL   string            // where Stripe sends the customer after the payment; "" for Stripe's own page
	Livemode    bool              // the ledger keeps links by mode
	Interval    time.Duration     // between refreshes
	LinkLimiter *upstream.Limiter // the rate at which links are created and changed

	// Sessions means that each purchase has its own Checkout Session. The fleet then creates no
	// links and deactivates existing ones.
	Sessions bool
	// OfflineAfter is the maximum time since a device's last activity for it to sell. 0 disables
	// the check.
	OfflineAfter time.Duration
	// Encrypted means that notes are encrypted, so a device sells only while its public key is known.
	Encrypted bool
	// ManualCapture means that links authorize the amount for a later capture. The fleet replaces
	// links with the other capture method.
	ManualCapture bool
	// PromotionCodes means that links take promotion codes. Links are changed in place if they differ.
	PromotionCodes bool
	// VariableInterval is the time between reads of single devices' variables; 0 means 20 s.
	VariableInterval time.Duration

	// NotehubLimiter delays the reads of variables, if it is not nil. Without a limit the fleet reads
	// variables slowly, because it does not know how many calls the account may make.
	NotehubLimiter *upstream.Limiter

	Rules terms.Rules    // for the lifetimes of credits
	Zone  *time.Location // of opening hours that name none; nil: UTC

	// PageText returns the text for a device beside the button on Stripe's page. It reads nothing but
	// the device, because the fleet is locked. nil: there is no text.
	PageText func(*Device) string

	Problems *problem.Board // shows what keeps the fleet from selling; may be nil
}

// Offer is one plan that a device sells.
type Offer struct {
	Plan payment.Offer
	// URL is that of the Payment Link. It is "" if there is no link yet, if the link is closed, and
	// with Config.Sessions.
	URL    string
	Closed string // why the link is closed although notepay did not deactivate it; "" if it is not
}

// Device is a device with its offers. The fleet replaces it as a whole and never changes it.
type Device struct {
	ledger.Device
	Offers []Offer
	Pause  *ledger.Pause // nil if it is not paused
	// Maintenance is planned, or over; nil if there is none.
	Maintenance *ledger.Maintenance
	Out         *ledger.MachineState // what the machine said if it is out of order, else nil
	Problems    message.List         // what an operator must fix, worded for them

	*saleTerms
	unscannable     bool            // no sticker can hold its UID
	key             *ecdh.PublicKey // nil: not known, or not needed
	keyUnknown      bool            // notes are encrypted, and it is not known for which key
	unread          bool            // variables that decide what it sells were never read
	variablesReadAt time.Time       // when its own variables were last read; zero: never
	inUse           bool
	until           time.Time // when inUse ends; zero: unknown
}

// Fleet is the in-memory map and the goroutines that keep it fresh. It is safe for concurrent use.
type Fleet struct {
	Config
	refreshes singleflight.Group
	createdAt time.Time       // by the host's clock
	life      context.Context // of refreshes, which outlive their callers; ends with Run
	end       context.CancelFunc
	links     *linkReconciler
	reader    *variableReader
	lookups   chan string     // unknown devices to look up, one at a time
	soon      chan struct{}   // requests an early refresh
	hints     chan changeHint // objects that may have changed at Stripe
	views     viewLocks
	codes     shortCodes

	scans       scanWishes
	plansWanted chan struct{} // asks the leader what it has read of prices

	mu             sync.RWMutex // guards the following and the fields of links; never held during a call
	devices        map[string]*Device
	unsold         []ledger.Device // in the last complete listing, but not sellable
	plans          map[string]payment.Offer
	rejected       map[string]string // prices that cannot be sold, and why
	planReadAt     map[string]time.Time
	plansMissedAt  time.Time            // prices read before that may have changed; zero: none
	vars           map[string]variables // by owner
	varsErr        string               // why the variables of project and fleets could not be read, or ""
	shared         map[setting]*saleTerms
	pauses         map[string]ledger.Pause
	maintenance    map[string]ledger.Maintenance
	outs           map[string]ledger.MachineState // machines that said that they are out of order
	busy           map[string]time.Time           // devices in use, and until when
	loaded         bool                           // this process or an earlier one read a complete listing
	observed       time.Time                      // when that was, by Stripe's clock
	listedAt       time.Time                      // when this process's last complete listing began, by Stripe's clock
	refreshedAt    time.Time                      // when it ended
	keys           map[string]*ecdh.PublicKey     // by device; nil: never read
	keysErr        string                         // why the keys could not be read, or ""
	keysReadAt     time.Time                      // when their last reading began, by Stripe's clock
	lastLookup     time.Time                      // when an unknown device was last looked up
	failedListings int                            // in a row
}

// New returns a fleet with what the ledger holds, so that notepay sells at once after a restart.
func New(ctx context.Context, c Config) (*Fleet, error) {
	f := &Fleet{
		Config:     c,
		createdAt:  time.Now(),
		lookups:    make(chan string, 1),
		soon:       make(chan struct{}, 1),
		hints:      make(chan changeHint, maxHints),
		views:      viewLocks{seed: maphash.MakeSeed()},
		devices:    map[string]*Device{},
		plans:      map[string]payment.Offer{},
		rejected:   map[string]string{},
		planReadAt: map[string]time.Time{},
		vars:       map[string]variables{},
		shared:     map[setting]*saleTerms{},
		pauses:     map[string]ledger.Pause{},

		maintenance: map[string]ledger.Maintenance{},
		outs:        map[string]ledger.MachineState{},
		busy:        map[string]time.Time{},
		plansWanted: make(chan struct{}, 1),
	}
	f.life, f.end = context.WithCancel(context.WithoutCancel(ctx))
	f.links, f.reader = newLinkReconciler(f), newVariableReader(f)
	if err := f.load(ctx); err != nil {
		return nil, fmt.Errorf("load fleet: %w", err)
	}
	if c.Ledger.Joined() {
		f.plansMissed()
	}
	return f, nil
}

// Unread reports whether it is not known yet what the device sells.
func (d *Device) Unread() bool { return d.unread }

// Device returns a device, or nil if it is unknown.
func (f *Fleet) Device(uid string) *Device {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.devices[uid]
}

// Meant returns the key of the device that a link or a person means with the key of a UID. Punctuation
// marks at its end belong to the text around it if only the device without them is known.
func (f *Fleet) Meant(key string) string {
	plain := strings.TrimRight(key, ".-_")
	if plain == key || f.Device(key) != nil || f.Device(plain) == nil {
		return key
	}
	return plain
}

// Loaded reports whether the devices were ever listed completely. Before that, an unknown device
// may belong to the project.
func (f *Fleet) Loaded() bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.loaded
}

// Counts returns the number of known devices and of active links, and when the last complete
// listing ended.
func (f *Fleet) Counts() (devices, links int, refreshed time.Time) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return len(f.devices), f.links.payable, f.refreshedAt
}

// Observed returns when this process or an earlier one last listed the devices completely.
func (f *Fleet) Observed() time.Time {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.observed
}

// Offer returns the plan of a price, if it is sold now.
func (f *Fleet) Offer(priceID string) (payment.Offer, bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	p, ok := f.plans[priceID]
	return p, ok
}

// Prioritize creates the links of a device before all others, because a customer is waiting.
func (f *Fleet) Prioritize(uid string) {
	if f.wishForScan(wishLinks, uid) {
		return
	}
	f.change(uid, func() {})
}

// lookupInterval is the minimum time between look-ups of unknown devices, because a scan must not
// cost a call to Notehub.
const lookupInterval = time.Minute

// RequestLookup looks up an unknown device in the background. It looks up at most one device a
// minute, and ignores other requests.
func (f *Fleet) RequestLookup(uid string) {
	f.mu.Lock()
	allowed := time.Since(f.lastLookup) >= lookupInterval
	if allowed {
		f.lastLookup = time.Now()
	}
	f.mu.Unlock()
	if !allowed || f.wish(wishLookup, uid) {
		return
	}
	select {
	case f.lookups <- uid:
	default:
	}
}

// RefreshSoon requests an early refresh.
func (f *Fleet) RefreshSoon() {
	if f.wish(wishRefresh) {
		return
	}
	select {
	case f.soon <- struct{}{}:
	default:
	}
}

// put replaces devices in the map. It works in batches, so that no scan waits for all of them.
func (f *Fleet) put(devices ...ledger.Device) {
	for part := range slices.Chunk(devices, batchSize) {
		f.mu.Lock()
		for _, d := range part {
			f.devices[d.UID] = f.build(d)
		}
		f.mu.Unlock()
	}
}

// change applies a change to one device and checks its links before all others.
func (f *Fleet) change(uid string, apply func()) { f.changeAnd(uid, apply, f.links.prioritize) }

// changeAnd applies a change to one device, rebuilds the device, and passes its links to queue.
func (f *Fleet) changeAnd(uid string, apply func(), queue func(linkKey)) {
	f.mu.Lock()
	apply()
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

// all returns every device. A Device never changes, so the caller needs no lock to read them.
func (f *Fleet) all() []*Device {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return slices.AppendSeq(make([]*Device, 0, len(f.devices)), maps.Values(f.devices))
}
