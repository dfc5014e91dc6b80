package fleet

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/upstream"
)

// linkKey identifies a link: at most one is active for each device and price.
type linkKey struct{ device, price string }

// linkReconciler remembers the links and makes those at Stripe match the devices. It makes a few
// calls at once, first for scanned devices. A queued key only means that something may have to be
// done. Its worker decides what. The fleet's lock guards the fields, because links depend on
// devices and the offers of devices depend on links.
type linkReconciler struct {
	fleet *Fleet
	made  atomic.Int64 // links created by this process
	// nonce names this process in signatures and idempotency keys. With an older key Stripe could
	// return a link that was deactivated since.
	nonce string
	wake  chan struct{}

	adopted  bool // Stripe's list was read, so every existing link is known
	complete bool // the last listing of devices was complete, so links of other devices are not needed

	links      map[linkKey]ledger.Link // the active link, or an inactive one that can be activated
	payable    int                     // active links
	duplicates []ledger.Link           // second active links of a key, to be deactivated
	limited    map[string]linkKey      // by link id: links that Stripe deactivates after some payments

	urgent []linkKey
	queue  []linkKey
	queued map[linkKey]bool

	tries map[linkKey]int // counts idempotency keys; a part of the next one
	// lost holds creations whose reply was lost, so that the same request is repeated.
	lost map[linkKey]creation
	// doubt holds the time of an unclear creation. Stripe's list must be read after it before the
	// idempotency key may change.
	doubt map[linkKey]time.Time
	// unsure holds ids of links whose last change may or may not have been applied.
	unsure map[string]bool
	// unverified holds links that another program may have changed and that must be read. The value
	// true means that customers are not sent to the link before that.
	unverified map[linkKey]bool

	listing  sync.Mutex       // held while Stripe's list is read
	listedAt time.Time        // when the last read of Stripe's list began
	listed   int              // links in that list
	touched  map[linkKey]bool // links changed during a read of the list; nil if there is none

	shared  string  // the id of the link that every installation signs, or ""
	signing signing // used only by the goroutine that follows the hints

	failures     map[linkKey]int       // in a row
	backoffUntil map[linkKey]time.Time // cleared by a refresh
	working      map[linkKey]bool      // a worker has the key
	busy         int                   // workers at work
	idle         chan struct{}         // closed while there is nothing to do
}

func newLinkReconciler(f *Fleet) *linkReconciler {
	w := &linkReconciler{
		fleet:        f,
		nonce:        rand.Text(),
		wake:         make(chan struct{}, 1),
		idle:         make(chan struct{}),
		links:        map[linkKey]ledger.Link{},
		limited:      map[string]linkKey{},
		queued:       map[linkKey]bool{},
		tries:        map[linkKey]int{},
		lost:         map[linkKey]creation{},
		doubt:        map[linkKey]time.Time{},
		unsure:       map[string]bool{},
		unverified:   map[linkKey]bool{},
		failures:     map[linkKey]int{},
		backoffUntil: map[linkKey]time.Time{},
		working:      map[linkKey]bool{},
	}
	close(w.idle)
	return w
}

// beginTerm forgets what another leader may have changed since. Stripe's list is read before any link
// is created.
func (w *linkReconciler) beginTerm() {
	if !w.fleet.Ledger.Shared() {
		return
	}
	w.fleet.mu.Lock()
	defer w.fleet.mu.Unlock()
	w.adopted, w.signing, w.shared = false, signing{}, ""
	for key, l := range w.links {
		l.SignedBy = ""
		w.links[key] = l
	}
}

// remember stores a link in memory. The caller holds the lock, or no other goroutine runs yet.
func (w *linkReconciler) remember(l ledger.Link) {
	key := linkKey{l.DeviceUID, l.Plan.PriceID}
	old, had := w.links[key]
	if had && old.ID != l.ID && !l.Active && (old.Active || l.Manual != w.fleet.ManualCapture) {
		return
	}
	if old.Active {
		w.payable--
	}
	if l.Active {
		w.payable++
	}
	w.links[key] = l
	if delete(w.limited, old.ID); l.Limited {
		w.limited[l.ID] = key
	}
}

// url returns the URL of a key's link, or "" if customers must not use it. The caller holds the
// lock.
func (w *linkReconciler) url(key linkKey) string {
	if l := w.links[key]; l.Active && !w.fleet.Sessions && !w.unsure[l.ID] && !w.unverified[key] {
		return l.URL
	}
	return ""
}

// closed returns why the link of a key is closed although notepay did not deactivate it, or "". The
// caller holds the lock.
func (w *linkReconciler) closed(key linkKey) string {
	if w.fleet.Sessions {
		return ""
	}
	return w.links[key].Closed
}

// plan queues every key that may need a call. It works in batches, so that no scan waits for all of
// them.
func (w *linkReconciler) plan(complete bool) {
	f := w.fleet
	f.mu.Lock()
	w.complete = complete
	clear(w.backoffUntil)
	keys := make([]linkKey, 0, max(len(f.devices), len(w.links)))
	for uid, d := range f.devices {
		for _, id := range d.prices {
			keys = append(keys, linkKey{uid, id})
		}
	}
	for key, l := range w.links {
		if _, unverified := w.unverified[key]; l.Active || unverified || w.unsure[l.ID] {
			keys = append(keys, key)
		}
	}
	f.mu.Unlock()
	slices.SortFunc(keys, func(a, b linkKey) int {
		return cmp.Or(cmp.Compare(a.device, b.device), cmp.Compare(a.price, b.price))
	})
	for part := range slices.Chunk(keys, batchSize) {
		f.mu.Lock()
		for _, key := range part {
			w.add(key)
		}
		f.mu.Unlock()
	}
	w.signal()
}

// add queues a key if its link needs a call. The caller holds the lock.
func (w *linkReconciler) add(key linkKey) {
	if w.queued[key] || w.actionFor(key) == nothing {
		return
	}
	w.queued[key] = true
	w.queue = append(w.queue, key)
	w.occupied()
}

// prioritize puts a key before all others. The caller holds the lock and calls signal afterwards.
func (w *linkReconciler) prioritize(key linkKey) {
	if w.actionFor(key) != nothing && !w.working[key] && !slices.Contains(w.urgent, key) &&
		time.Now().After(w.backoffUntil[key]) {
		w.urgent = append(w.urgent, key)
		w.occupied()
	}
}

// signal wakes a worker.
func (w *linkReconciler) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// action names the work that a worker does for a key.
type action int

const (
	nothing action = iota
	create
	activate
	deactivate
	redirect // set the return URL and the text
	examine  // read the link at Stripe
)

// actionFor returns what a key needs. A link with the wrong capture method is deactivated before
// its replacement is created. With Config.Sessions no link is wanted. The caller holds the lock.
func (w *linkReconciler) actionFor(key linkKey) action {
	f := w.fleet
	link, remembered := w.links[key]
	device, known := f.devices[key.device]
	_, read := f.plans[key.price]
	_, rejected := f.rejected[key.price]
	undecided := !f.Sessions && known && device.saleState() == Unread && !rejected
	wanted := !f.Sessions && known && device.saleState() == Open &&
		slices.Contains(device.prices, key.price) && !rejected
	right := remembered && link.Manual == f.ManualCapture
	active := link.Active || w.unsure[link.ID]
	_, unverified := w.unverified[key]
	switch {
	case !w.adopted:
		return nothing
	case unverified && remembered:
		return examine
	case undecided: // the variables of the device may name other prices
		return nothing
	case active && !wanted && (known || w.complete):
		return deactivate
	case !wanted || !read:
		return nothing
	case link.Closed != "" && !link.Active: // a person deactivated it in the Dashboard
		return nothing
	case w.unsure[link.ID] && right:
		return activate
	case active && !right:
		return deactivate
	case !right:
		return create
	case !link.Active:
		return activate
	case link.ReturnURL != f.ReturnURL || link.PromotionCodes != f.PromotionCodes || f.otherText(device, link):
		return redirect
	default:
		return nothing
	}
}

// pageText returns the text for a device on Stripe's page, or "".
func (f *Fleet) pageText(d *Device) string {
	if f.PageText == nil || d == nil {
		return ""
	}
	return f.PageText(d)
}

// otherText reports whether a link shows another text than its device should have. Links of an
// earlier version show none. They are changed in place, at the rate of all changes.
func (f *Fleet) otherText(d *Device, l ledger.Link) bool {
	text := f.pageText(d)
	return text != "" && l.TextSum != ledger.SumText(text)
}

// linkWorkers is the maximum number of calls in flight. At Stripe's usual 0.3 s a call they reach
// the rate limit.
const linkWorkers = 12

// run runs the workers until ctx ends.
func (w *linkReconciler) run(ctx context.Context) {
	var workers sync.WaitGroup
	for range linkWorkers {
		workers.Go(func() {
			for ctx.Err() == nil {
				if !w.processNext(ctx) {
					select {
					case <-w.wake:
					case <-ctx.Done():
					}
				}
			}
		})
	}
	workers.Wait()
}

// processNext takes the next key or duplicate and makes its call. It returns false if there is
// none.
func (w *linkReconciler) processNext(ctx context.Context) bool {
	w.fleet.mu.Lock()
	if len(w.urgent)+len(w.queue)+len(w.duplicates) == 0 {
		w.settleIdle()
		w.fleet.mu.Unlock()
		return false
	}
	w.busy++
	w.fleet.mu.Unlock()
	w.signal() // another worker may take the next one
	defer func() {
		w.fleet.mu.Lock()
		w.busy--
		w.settleIdle()
		w.fleet.mu.Unlock()
	}()
	if err := w.fleet.LinkLimiter.Wait(ctx); err != nil {
		return true
	}
	// The key is chosen only after the wait for the rate limit, because a customer may have scanned
	// meanwhile.
	w.fleet.mu.Lock()
	if len(w.duplicates) > 0 && len(w.urgent) == 0 {
		l := w.duplicates[0]
		w.duplicates = w.duplicates[1:]
		w.fleet.mu.Unlock()
		l.Active = false
		if err := w.change(ctx, l, "", true); err != nil && ctx.Err() == nil {
			w.fleet.Log.Warn("duplicate link not deactivated", "link", l.ID, "device", l.DeviceUID, "err", err)
			if upstream.OutcomeOf(err) != upstream.Rejected {
				w.later(upstream.Backoff(1, 0.5), func() { w.duplicates = append(w.duplicates, l) })
			}
		}
		return true
	}
	key, ok := w.take()
	if !ok {
		w.fleet.mu.Unlock()
		return true
	}
	if w.working[key] { // queued twice: check it again when the other worker is done
		w.fleet.mu.Unlock()
		w.later(time.Second, func() { w.add(key) })
		return true
	}
	act, link := w.actionFor(key), w.links[key]
	w.working[key] = true
	w.fleet.mu.Unlock()
	err := w.apply(ctx, key, act, link)
	w.finish(ctx, key, act, err)
	w.fleet.mu.Lock()
	delete(w.working, key)
	if err == nil {
		w.add(key) // a deactivated link may need a replacement
	}
	w.fleet.mu.Unlock()
	return true
}

// take removes and returns the next key that still needs a call. A prioritized key is also in the
// queue, and may be done already. The caller holds the lock.
func (w *linkReconciler) take() (key linkKey, ok bool) {
	for len(w.urgent)+len(w.queue) > 0 {
		if len(w.urgent) > 0 {
			key, w.urgent = w.urgent[0], w.urgent[1:]
		} else {
			key, w.queue = w.queue[0], w.queue[1:]
			delete(w.queued, key)
		}
		if w.actionFor(key) != nothing && !time.Now().Before(w.backoffUntil[key]) {
			return key, true
		}
	}
	return linkKey{}, false
}

// finish records the outcome of a try. After a failure that may pass it queues the key again.
func (w *linkReconciler) finish(ctx context.Context, key linkKey, act action, err error) {
	w.fleet.LinkLimiter.Observe(time.Now(), err)
	if err == nil {
		w.fleet.mu.Lock()
		delete(w.failures, key)
		w.fleet.mu.Unlock()
		return
	}
	if ctx.Err() != nil {
		return
	}
	w.fleet.Log.Warn("link not changed", "device", key.device, "price", key.price, "err", err)
	w.fleet.mu.Lock()
	w.failures[key]++
	wait := upstream.Backoff(w.failures[key], 0.5)
	outcome := upstream.OutcomeOf(err)
	e, _ := errors.AsType[*upstream.Error](err)
	switch {
	case outcome == upstream.Rejected && e.Status == 404 && (act == activate || act == redirect):
		w.unverified[key] = true // it is gone, or belongs to another account
		wait = 0
	case outcome == upstream.Rejected || outcome == upstream.Misconfigured:
		wait = untilRefresh // only a person can fix it
	case outcome == upstream.RateLimited:
		wait = 0
	}
	w.backoffUntil[key] = time.Now().Add(wait)
	w.fleet.mu.Unlock()
	if wait < untilRefresh {
		w.later(wait, func() { w.add(key) })
	}
}

// untilRefresh never ends, so that only a refresh retries.
const untilRefresh = 100 * 365 * 24 * time.Hour

// later applies a change to the queue after d.
func (w *linkReconciler) later(d time.Duration, change func()) {
	f := func() {
		w.fleet.mu.Lock()
		change()
		w.fleet.mu.Unlock()
		w.signal()
	}
	if d == 0 {
		f()
		return
	}
	time.AfterFunc(d, f)
}

// occupied marks the queue as not idle. The caller holds the lock.
func (w *linkReconciler) occupied() {
	select {
	case <-w.idle:
		w.idle = make(chan struct{})
	default:
	}
}

// settleIdle closes the idle channel if there is nothing to do. The caller holds the lock.
func (w *linkReconciler) settleIdle() {
	if w.busy > 0 || len(w.urgent)+len(w.queue)+len(w.duplicates) > 0 {
		return
	}
	select {
	case <-w.idle:
	default:
		close(w.idle)
	}
}

// waitIdle blocks until there is nothing to do, for at most d.
func (w *linkReconciler) waitIdle(ctx context.Context, d time.Duration) {
	w.fleet.mu.Lock()
	idle := w.idle
	w.fleet.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	select {
	case <-idle:
	case <-ctx.Done():
	}
}
