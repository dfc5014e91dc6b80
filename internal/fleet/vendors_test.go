package fleet

import (
	"cmp"
	"context"
	"crypto/ecdh"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// vendors implements Notehub and Stripe in memory. Tests of the clients cover the wire. Both
// vendors can fail on demand.
type vendors struct {
	mu       sync.Mutex
	devices  []ledger.Device
	links    []ledger.Link
	listings int
	broken   error                                       // returned by the next listings
	create   func(n int, uid string, at time.Time) error // called before the n-th creation; nil: all succeed
	created  []time.Time
	keys     map[string]string // link by idempotency key
	prices   map[string]error
	gate     chan struct{} // a listing waits for it, unless nil

	project     map[string]string
	fleets      map[string]map[string]string // nil for a fleet whose variables cannot be read
	nameless    bool                         // the list of fleets has a record without a UID
	own         map[string]map[string]string // by device
	silent      error                        // returned by the next reads of variables
	asked       []string                     // devices whose variables were read
	askedAt     []time.Time
	manual      bool             // links are created with manual capture
	amounts     map[string]int64 // by price; the default is 350
	pricesGot   []string         // prices that were read
	updated     []ledger.Link
	updatesLost bool     // no update is answered
	examined    []string // ids of links that were read one by one
	public      map[string]*ecdh.PublicKey
	noKeys      error  // returned by the next readings of public keys
	unread      error  // returned by the next reads of single links
	leftOut     string // the id of a link that the list omits

	signatures []string // ids of links that were signed
	listed     func()   // called after the list of links was read, before it is returned; may be nil
}

func (v *vendors) ProjectVariables(context.Context) (map[string]string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return maps.Clone(v.project), v.silent
}

func (v *vendors) FleetVariables(context.Context) (map[string]map[string]string, bool, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return maps.Clone(v.fleets), !v.nameless, v.silent
}

func (v *vendors) DeviceVariables(_ context.Context, uid string) (map[string]string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asked, v.askedAt = append(v.asked, uid), append(v.askedAt, time.Now())
	return maps.Clone(v.own[uid]), v.silent
}

func (v *vendors) PublicKeys(context.Context) (map[string]*ecdh.PublicKey, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return maps.Clone(v.public), v.noKeys
}

// copyOf returns a copy of one of the vendors' lists.
func copyOf[T any](v *vendors, list *[]T) []T {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(*list)
}

// set changes the vendors' state.
func (v *vendors) set(change func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	change()
}

func (v *vendors) Devices(context.Context) ([]ledger.Device, error) {
	v.mu.Lock()
	gate := v.gate
	v.mu.Unlock()
	if gate != nil {
		<-gate
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.listings++
	if v.broken != nil {
		return v.devices[:len(v.devices)/2], v.broken
	}
	return slices.Clone(v.devices), nil
}

func (v *vendors) Device(_ context.Context, uid string) (ledger.Device, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, d := range v.devices {
		if d.UID == uid {
			return d, nil
		}
	}
	return ledger.Device{}, &upstream.Error{Outcome: upstream.Rejected, Status: 404}
}

func (v *vendors) Offer(_ context.Context, id string) (payment.Offer, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.pricesGot = append(v.pricesGot, id)
	return payment.Offer{
		PriceID:  id,
		Name:     "Plan " + id,
		Amount:   cmp.Or(v.amounts[id], 350),
		Currency: "eur",
	}, v.prices[id]
}

func (v *vendors) Links(context.Context) (active []ledger.Link, _ error) {
	v.mu.Lock()
	listed := v.listed
	if listed != nil {
		defer listed()
	}
	defer v.mu.Unlock()
	for _, l := range v.links {
		if l.Active && l.ID != v.leftOut {
			l.Plan = payment.Offer{PriceID: l.Plan.PriceID}
			active = append(active, l)
		}
	}
	return active, nil
}

func (v *vendors) Link(_ context.Context, id string) (ledger.Link, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.examined = append(v.examined, id)
	for _, l := range v.links {
		if l.ID == id {
			l.Plan = payment.Offer{PriceID: l.Plan.PriceID}
			if !l.Active {
				l.Closed = "it was deactivated"
			}
			return l, v.unread
		}
	}
	return ledger.Link{}, &upstream.Error{Outcome: upstream.Rejected, Status: 404}
}

// creationTime is Stripe's usual response time.
const creationTime = 300 * time.Millisecond

func (v *vendors) CreateLink(ctx context.Context, n NewLink) (ledger.Link, error) {
	v.mu.Lock()
	count := len(v.created)
	v.created = append(v.created, time.Now())
	v.mu.Unlock()
	if err := upstream.Sleep(ctx, creationTime); err != nil {
		return ledger.Link{}, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.create != nil {
		if err := v.create(count, n.Device.UID, time.Now()); err != nil {
			return ledger.Link{}, err
		}
	}
	id, again := v.keys[n.IdempotencyKey]
	if !again {
		id = fmt.Sprintf("plink_%d", len(v.links))
		v.keys[n.IdempotencyKey] = id
		v.links = append(
			v.links,
			ledger.Link{
				ID:        id,
				DeviceUID: n.Device.UID,
				URL:       "https://buy.example.com/" + id,
				ReturnURL: n.ReturnURL,
				Active:    true,
				Plan:      n.Plan,
				Manual:    v.manual,
				SignedBy:  n.SignedBy,
				TextSum:   ledger.SumText(n.Text),

				PromotionCodes: n.PromotionCodes,
			},
		)
	}
	return v.links[slices.IndexFunc(v.links, func(l ledger.Link) bool { return l.ID == id })], nil
}

func (v *vendors) madeSoFar() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.created)
}

func (v *vendors) UpdateLink(_ context.Context, change ledger.Link, text string) (string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.updatesLost {
		return "", &upstream.Error{Outcome: upstream.Unknown, Status: 500}
	}
	for i := range v.links {
		if v.links[i].ID == change.ID {
			v.links[i].Active, v.links[i].ReturnURL = change.Active, change.ReturnURL
			v.links[i].PromotionCodes = change.PromotionCodes
			if change.SignedBy != "" {
				v.links[i].SignedBy = change.SignedBy
			}
			if text != "" {
				v.links[i].TextSum = ledger.SumText(text)
			}
			v.updated = append(v.updated, change)
			return v.links[i].URL, nil
		}
	}
	return "", &upstream.Error{Outcome: upstream.Rejected, Status: 404}
}

func (v *vendors) SignLink(_ context.Context, id, process string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := range v.links {
		if v.links[i].ID == id {
			v.links[i].SignedBy = process
			v.signatures = append(v.signatures, id)
			return nil
		}
	}
	return &upstream.Error{Outcome: upstream.Rejected, Status: 404}
}
