package fleet

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// linkKey is what has one link: a device and a price.
type linkKey struct{ device, price string }

// linkReconciler remembers the links and makes Stripe's agree with what is wanted, a few at a time
// and those of scanned devices first. A key in the queue says only that something may be to do;
// what, is found out when its turn comes. The fleet's lock guards its fields, for what a link
// should be depends on the devices and what a device sells depends on the links.
type linkReconciler struct {
	fleet *Fleet
	made  atomic.Int64 // links created by this process
	// names this process in signatures and idempotency keys: an old key could bring back a link
	// deactivated since
	nonce string
	wake  chan struct{}

	adopted  bool                    // Stripe's list was read: before that, a link may exist that we do not know
	complete bool                    // devices were listed completely: only then is a link nobody wants taken away
	links    map[linkKey]ledger.Link // the active one, or else an inactive one that could be activated
	payable  int                     // how many of them are active
	spare    []ledger.Link           // second active links of a key, to be deactivated
	urgent   []linkKey
	queue    []linkKey
	queued   map[linkKey]bool
	tries    map[linkKey]int       // of the idempotency key of the next creation
	lost     map[linkKey]creation  // what may have been done under this idempotency key, for its reply was lost
	doubt    map[linkKey]time.Time // since when Stripe's list has to be read before there is another idempotency key
	unsure   map[string]bool       // ids of links whose last change may or may not have been done
	// links that somebody else may have changed, and that are to be read; true: nobody is led there
	// until then
	look     map[linkKey]bool
	listing  sync.Mutex            // held while Stripe's list is read; the others wait for the same
	listedAt time.Time             // when the last reading of Stripe's list began
	listed   int                   // how many links it had
	touched  map[linkKey]bool      // links that we changed while the list is being read; nil while it is not
	limited  map[string]linkKey    // ids of links that Stripe ends after some payments
	shared   string                // the id of the link that every installation signs, "" for none
	mark     signing               // of the goroutine that follows the hints
	failures map[linkKey]int       // in a row
	rests    map[linkKey]time.Time // not before; a refresh forgets it
	working  map[linkKey]bool      // a worker has it
	busy     int                   // workers at work
	idle     chan struct{}         // closed when there is nothing to do
}

func newLinkReconciler(f *Fleet) *linkReconciler {
	w := &linkReconciler{
		fleet: f, nonce: rand.Text(), wake: make(chan struct{}, 1), idle: make(chan struct{}),
		links: map[linkKey]ledger.Link{}, queued: map[linkKey]bool{}, tries: map[linkKey]int{}, failures: map[linkKey]int{},
		lost: map[linkKey]creation{}, doubt: map[linkKey]time.Time{}, unsure: map[string]bool{}, look: map[linkKey]bool{}, limited: map[string]linkKey{}, rests: map[linkKey]time.Time{}, working: map[linkKey]bool{},
	}
	close(w.idle)
	return w
}

// remember takes a link in. The caller holds the lock or is alone.
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

// url is where a key can be paid, "" if nowhere. The caller holds the lock.
func (w *linkReconciler) url(key linkKey) string {
	if l := w.links[key]; l.Active && !w.fleet.Sessions && !w.unsure[l.ID] && !w.look[key] {
		return l.URL
	}
	return ""
}

// closed is why nobody can pay through the link of a key although we did not deactivate it. The
// caller holds the lock.
func (w *linkReconciler) closed(key linkKey) string {
	if w.fleet.Sessions {
		return ""
	}
	return w.links[key].Closed
}

// plan queues every key for which something may be to do, in parts, so that no scan waits for all
// of it.
func (w *linkReconciler) plan(complete bool) {
	f := w.fleet
	f.mu.Lock()
	w.complete = complete
	clear(w.rests)
	keys := make([]linkKey, 0, max(len(f.devices), len(w.links)))
	for uid, d := range f.devices {
		for _, id := range d.prices {
			keys = append(keys, linkKey{uid, id})
		}
	}
	for key, l := range w.links {
		if _, look := w.look[key]; l.Active || look || w.unsure[l.ID] {
			keys = append(keys, key)
		}
	}
	f.mu.Unlock()
	slices.SortFunc(keys, func(a, b linkKey) int {
		return cmp.Or(cmp.Compare(a.device, b.device), cmp.Compare(a.price, b.price))
	})
	for part := range slices.Chunk(keys, largest) {
		f.mu.Lock()
		for _, key := range part {
			w.add(key)
		}
		f.mu.Unlock()
	}
	w.signal()
}

// add queues a key, if its links are not as they should be. The caller holds the lock.
func (w *linkReconciler) add(key linkKey) {
	if w.queued[key] || w.actionFor(key) == nothing {
		return
	}
	w.queued[key] = true
	w.queue = append(w.queue, key)
	w.occupied()
}

// prioritize puts a key before all others. The caller holds the lock, and pokes.
func (w *linkReconciler) prioritize(key linkKey) {
	if w.actionFor(key) != nothing && !w.working[key] && !slices.Contains(w.urgent, key) &&
		time.Now().After(w.rests[key]) {
		w.urgent = append(w.urgent, key)
		w.occupied()
	}
}

func (w *linkReconciler) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

type action int

const (
	nothing action = iota
	create
	activate
	deactivate
	redirect // set the return URL
	examine  // read how it is at Stripe
)

// actionFor says what is to be done for a key. A link that takes the money in the wrong way, at
// once or when it is captured, gives way before there is another; where sessions are made, none is
// wanted. The caller holds the lock.
func (w *linkReconciler) actionFor(key linkKey) action {
	f := w.fleet
	link, remembered := w.links[key]
	device, known := f.devices[key.device]
	_, read := f.plans[key.price]
	_, refused := f.refused[key.price]
	undecided := !f.Sessions && known && device.mayBePaid() == Unread && !refused
	wanted := !f.Sessions && known && device.mayBePaid() == Open && slices.Contains(device.prices, key.price) &&
		!refused
	right := remembered && link.Manual == f.ManualCapture
	active := link.Active || w.unsure[link.ID]
	_, look := w.look[key]
	switch {
	case !w.adopted:
		return nothing
	case look && remembered:
		return examine
	case undecided: // what a device sells before its variables were read would be a guess
		return nothing
	case active && !wanted && (known || w.complete):
		return deactivate
	case !wanted || !read:
		return nothing
	case link.Closed != "" && !link.Active: // who deactivated it in the Dashboard wants it so
		return nothing
	case w.unsure[link.ID] && right:
		return activate
	case active && !right:
		return deactivate
	case !right:
		return create
	case !link.Active:
		return activate
	case link.ReturnURL != f.ReturnURL:
		return redirect
	default:
		return nothing
	}
}

// linkWorkers is how many calls may be under way at once: at Stripe's usual third of a second,
// enough for the pace.
const linkWorkers = 12

func (w *linkReconciler) run(ctx context.Context) {
	var workers sync.WaitGroup
	for range linkWorkers {
		workers.Go(func() {
			for ctx.Err() == nil {
				if !w.one(ctx) {
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

// one does one thing; false if there was nothing to do.
func (w *linkReconciler) one(ctx context.Context) bool {
	w.fleet.mu.Lock()
	if len(w.urgent)+len(w.queue)+len(w.spare) == 0 {
		w.settleIdle()
		w.fleet.mu.Unlock()
		return false
	}
	w.busy++
	w.fleet.mu.Unlock()
	w.signal() // there may be more, for another worker
	defer func() {
		w.fleet.mu.Lock()
		w.busy--
		w.settleIdle()
		w.fleet.mu.Unlock()
	}()
	if err := w.fleet.LinkLimiter.Wait(ctx); err != nil {
		return true
	}
	// Only now, with a slot in hand, is it decided for whom: a customer may have scanned while we
	// waited.
	w.fleet.mu.Lock()
	if len(w.spare) > 0 && len(w.urgent) == 0 {
		l := w.spare[0]
		w.spare = w.spare[1:]
		w.fleet.mu.Unlock()
		l.Active = false
		if err := w.change(ctx, l); err != nil && ctx.Err() == nil {
			w.fleet.Log.Warn("duplicate link not deactivated", "link", l.ID, "device", l.DeviceUID, "err", err)
			if upstream.OutcomeOf(err) != upstream.Rejected {
				w.later(upstream.Backoff(1, 0.5), func() { w.spare = append(w.spare, l) })
			}
		}
		return true
	}
	key, ok := w.take()
	if !ok {
		w.fleet.mu.Unlock()
		return true
	}
	if w.working[key] { // it was queued and hurried: once is enough, and afterwards it is looked at again
		w.fleet.mu.Unlock()
		w.later(time.Second, func() { w.add(key) })
		return true
	}
	n, link := w.actionFor(key), w.links[key]
	w.working[key] = true
	w.fleet.mu.Unlock()
	err := w.do(ctx, key, n, link)
	w.finish(ctx, key, n, err)
	w.fleet.mu.Lock()
	delete(w.working, key)
	if err == nil {
		w.add(key) // what gave way is replaced, and what was wished for meanwhile is done
	}
	w.fleet.mu.Unlock()
	return true
}

// take takes the next key for which something is to do still: one that was hurried is in the queue,
// too, and may have been tried since. The caller holds the lock.
func (w *linkReconciler) take() (key linkKey, ok bool) {
	for len(w.urgent)+len(w.queue) > 0 {
		if len(w.urgent) > 0 {
			key, w.urgent = w.urgent[0], w.urgent[1:]
		} else {
			key, w.queue = w.queue[0], w.queue[1:]
			delete(w.queued, key)
		}
		if w.actionFor(key) != nothing && !time.Now().Before(w.rests[key]) {
			return key, true
		}
	}
	return linkKey{}, false
}

func (w *linkReconciler) do(ctx context.Context, key linkKey, n action, link ledger.Link) error {
	f := w.fleet
	switch n {
	case create:
		device, plan := f.Device(key.device), payment.Offer{}
		if device != nil {
			plan, _ = f.Offer(key.price)
		}
		if plan.PriceID == "" {
			return nil // gone since
		}
		if created, err := w.settleDoubt(ctx, key); err != nil || created {
			return err
		}
		f.mu.RLock()
		try, c := w.tries[key], creation{device.Device, plan, time.Now()}
		if lost, ok := w.lost[key]; ok {
			c = lost // under the same key Stripe takes the same request alone
		}
		f.mu.RUnlock()
		link, err := f.Stripe.CreateLink(ctx, NewLink{
			Device:         c.device,
			Plan:           c.plan,
			ReturnURL:      f.ReturnURL,
			SignedBy:       w.nonce,
			IdempotencyKey: w.idempotencyKey(key, try),
		})
		w.judgeCreation(key, c, err)
		if err != nil {
			return fmt.Errorf("create link: %w", err)
		}
		// If we stop here, the link is at Stripe and not on disk; the next start finds it in
		// Stripe's list.
		w.made.Add(1)
		if err := w.save(ctx, link); err != nil {
			return err
		}
		w.shareFirst(link)
		if link.Manual != f.ManualCapture { // it would be replaced again and again
			return &upstream.Error{
				Outcome: upstream.Rejected,
				Detail:  "link " + link.ID + " was made with the wrong capture",
			}
		}
		return nil
	case activate, redirect:
		link.Active, link.ReturnURL = true, f.ReturnURL
		return w.change(ctx, link)
	case deactivate:
		link.Active = false
		return w.change(ctx, link)
	case examine:
		return w.examine(ctx, key, link)
	}
	return nil
}

// change changes a link at Stripe and in the ledger. That we deactivate it is on disk before the
// call: if we stop behind it, the next start must not take it for a deactivation in the Dashboard.
// If we stop before the call, the next start finds the link active.
func (w *linkReconciler) change(ctx context.Context, link ledger.Link) error {
	if !link.Active {
		if err := w.store(ctx, link); err != nil {
			return err
		}
	}
	link.SignedBy = w.nonce
	err := w.fleet.Stripe.UpdateLink(ctx, link)
	w.fleet.mu.Lock()
	if outcome := upstream.OutcomeOf(err); outcome == upstream.Unknown {
		w.unsure[link.ID] = true
		w.fleet.show(link.DeviceUID)
	} else if outcome == upstream.OK {
		delete(w.unsure, link.ID)
	}
	w.fleet.mu.Unlock()
	if err != nil {
		return fmt.Errorf("update link %s: %w", link.ID, err)
	}
	return w.save(ctx, link)
}

// saveTimeout bounds the write that follows a change at Stripe.
const saveTimeout = 4 * time.Second

func (w *linkReconciler) store(ctx context.Context, link ledger.Link) error {
	saving, cancel := context.WithTimeout(
		context.WithoutCancel(ctx),
		saveTimeout,
	) // Stripe has it already, also if we stop
	defer cancel()
	err := w.fleet.Ledger.Update(saving, func(tx *ledger.Tx) error { return tx.SaveLink(link) })
	if err != nil {
		return fmt.Errorf("save link %s: %w", link.ID, err)
	}
	return nil
}

func (w *linkReconciler) save(ctx context.Context, link ledger.Link) error {
	if err := w.store(ctx, link); err != nil {
		return err
	}
	w.fleet.mu.Lock()
	if w.touched != nil {
		w.touched[linkKey{link.DeviceUID, link.Plan.PriceID}] = true
	}
	w.fleet.mu.Unlock()
	w.fleet.relink(link)
	w.fleet.Log.Debug(
		"link saved",
		"link",
		link.ID,
		"device",
		link.DeviceUID,
		"price",
		link.Plan.PriceID,
		"active",
		link.Active,
	)
	return nil
}

// finish counts what a try came to, and queues the key again where it is worth it.
func (w *linkReconciler) finish(ctx context.Context, key linkKey, n action, err error) {
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
	case outcome == upstream.Rejected && e.Status == 404 && (n == activate || n == redirect):
		w.look[key] = true // another account's, or none any more
		wait = 0
	case outcome == upstream.Rejected || outcome == upstream.Misconfigured:
		wait = untilRefresh // a person has to mend it
	case outcome == upstream.RateLimited:
		wait = 0
	}
	w.rests[key] = time.Now().Add(wait)
	w.fleet.mu.Unlock()
	if wait < untilRefresh {
		w.later(wait, func() { w.add(key) })
	}
}

// untilRefresh stands for ever: only a refresh tries again.
const untilRefresh = 100 * 365 * 24 * time.Hour

// later changes the queue, at once or after a while.
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

// occupied and settleIdle keep the idle channel. The caller holds the lock.
func (w *linkReconciler) occupied() {
	select {
	case <-w.idle:
		w.idle = make(chan struct{})
	default:
	}
}

func (w *linkReconciler) settleIdle() {
	if w.busy > 0 || len(w.urgent)+len(w.queue)+len(w.spare) > 0 {
		return
	}
	select {
	case <-w.idle:
	default:
		close(w.idle)
	}
}

// waitIdle waits until there is nothing to do, but no longer than d.
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
