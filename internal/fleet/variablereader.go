package fleet

import (
	"cmp"
	"context"
	"maps"
	"notepay/internal/ledger"
	"notepay/internal/upstream"
	"slices"
	"time"
)

const (
	// defaultVariableInterval leaves most calls to notes. The smallest plan of Notehub allows seven
	// a minute (docs/vendors.md).
	defaultVariableInterval = 20 * time.Second
	// variablesMaxAge is how long the variables of an unscanned device stay valid.
	variablesMaxAge = time.Hour
	// maxScanned is the maximum number of scanned devices that wait to be read before the others.
	maxScanned = 64
	// scansPerMinute and scansAtOnce limit the reads for customers at devices that were never read.
	scansPerMinute, scansAtOnce = 60, 3
	// spareCheckInterval is the time between checks for calls that notes do not need.
	spareCheckInterval = time.Second
)

// variableReader reads the variables of single devices, one device a call. It first reads scanned
// devices that were never read, then other scanned devices, then others that were never read, and
// then the oldest reads.
//
// A device that was never read does not sell, so these reads may use half of this process's part of
// Notehub's limit. The other half is for notes and for waiting customers. Without a limit all reads wait for the slow
// rate, except those of scanned devices.
type variableReader struct {
	fleet   *Fleet
	limiter *upstream.Limiter // of all reads
	scans   *upstream.Limiter // of additional reads for waiting customers
	wake    chan struct{}     // signals a refresh of the fleet
	scanned chan string
	waiting chan chan struct{} // receives channels to close when no scanned device waits any more

	// Only run uses the following.
	waiters      []chan struct{}
	urgent       []string
	queue        []string
	backoffs     map[string]retry // devices whose variables could not be read
	queueBackoff retry            // of the whole queue, while reads fail
}

// retry counts failures and holds the time of the next try.
type retry struct {
	failures int
	until    time.Time
}

// after returns r after another failure.
func (r retry) after(now time.Time) retry {
	r.failures++
	r.until = now.Add(upstream.Backoff(r.failures, 0.5))
	return r
}

func newVariableReader(f *Fleet) *variableReader {
	perMinute := float64(time.Minute) / float64(cmp.Or(f.VariableInterval, defaultVariableInterval))
	return &variableReader{
		fleet:    f,
		limiter:  upstream.NewLimiter(perMinute, 1),
		scans:    upstream.NewLimiter(scansPerMinute, scansAtOnce),
		wake:     make(chan struct{}, 1),
		scanned:  make(chan string, maxScanned),
		waiting:  make(chan chan struct{}),
		backoffs: map[string]retry{},
	}
}

// signal tells run that the fleet was refreshed.
func (r *variableReader) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// scan requests a read because a customer scanned the device. It never waits, because every scan
// calls it.
func (r *variableReader) scan(uid string) {
	if r.fleet.wishForScan(wishVariables, uid) {
		return
	}
	select {
	case r.scanned <- uid:
	default:
	}
}

// run reads variables until ctx ends.
func (r *variableReader) run(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-r.wake:
			r.plan()
			continue
		case uid := <-r.scanned:
			r.prioritize(uid)
			continue
		case w := <-r.waiting:
			r.waiters = append(r.waiters, w)
			continue
		default:
		}
		// The device is chosen after the wait for a slot, because a customer may scan meanwhile.
		d, urgent, wait := r.next(time.Now())
		if !urgent {
			for _, w := range r.waiters {
				close(w)
			}
			r.waiters = nil
		}
		if d != nil && wait == 0 {
			r.take(d, urgent)
			r.read(ctx, d, urgent)
			continue
		}
		r.waitForWork(ctx, wait)
	}
}

// waitScanned blocks until the devices that were scanned before are read or have failed, or ctx
// ends.
func (r *variableReader) waitScanned(ctx context.Context) {
	done := make(chan struct{})
	select {
	case r.waiting <- done:
	case <-ctx.Done():
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// waitForWork waits for a scan, a refresh or the end of ctx, for at most d. If d is 0 there is no
// limit.
func (r *variableReader) waitForWork(ctx context.Context, d time.Duration) {
	var slot <-chan time.Time
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		slot = timer.C
	}
	select {
	case <-ctx.Done():
	case <-slot:
	case <-r.wake:
		r.plan()
	case uid := <-r.scanned:
		r.prioritize(uid)
	case w := <-r.waiting:
		r.waiters = append(r.waiters, w)
	}
}

// lately reports whether read is within a duration before now. A time in the future was stored by a
// clock that was ahead, and does not count.
func lately(read, now time.Time, within time.Duration) bool {
	age := now.Sub(read)
	return age >= 0 && age < within
}

// prioritize queues a scanned device before the others.
func (r *variableReader) prioritize(uid string) {
	if len(r.urgent) < maxScanned && !slices.Contains(r.urgent, uid) {
		r.urgent = append(r.urgent, uid)
	}
}

// plan queues the devices that are due, and forgets the failures of removed devices.
func (r *variableReader) plan() {
	now := r.fleet.Ledger.Now()
	due := slices.DeleteFunc(r.fleet.all(), func(d *Device) bool {
		return lately(d.variablesReadAt, now, variablesMaxAge)
	})
	slices.SortFunc(due, func(a, b *Device) int {
		return cmp.Or(a.variablesReadAt.Compare(b.variablesReadAt), cmp.Compare(a.UID, b.UID))
	})
	r.queue = r.queue[:0]
	for _, d := range due {
		r.queue = append(r.queue, d.UID)
	}
	maps.DeleteFunc(r.backoffs, func(uid string, _ retry) bool { return r.fleet.Device(uid) == nil })
}

// next returns the device to read next and how long the read must wait. It skips devices that back
// off after a failure. If there is no other device, d is nil and wait is the shortest backoff. A
// wait of 0 then means until there is work.
func (r *variableReader) next(now time.Time) (d *Device, urgent bool, wait time.Duration) {
	ledgerNow := r.fleet.Ledger.Now()
	done := func(uid string) bool { // removed, or read meanwhile
		d := r.fleet.Device(uid)
		return d == nil || lately(d.variablesReadAt, ledgerNow, r.fleet.Interval)
	}
	r.urgent = slices.DeleteFunc(r.urgent, done)
	var scanned *Device // the first that was read before
	for _, uid := range r.urgent {
		d := r.fleet.Device(uid)
		switch backoff := r.backoffs[uid].until.Sub(now); {
		case d == nil:
		case backoff > 0:
			wait = sooner(wait, backoff)
		case d.variablesReadAt.IsZero():
			return d, true, r.delay(now, true, true)
		case scanned == nil:
			scanned = d
		}
	}
	if scanned != nil {
		return scanned, true, r.delay(now, false, true)
	}
	for len(r.queue) > 0 && done(r.queue[0]) {
		r.queue = r.queue[1:]
	}
	if len(r.queue) == 0 {
		return nil, false, wait
	}
	if backoff := r.queueBackoff.until.Sub(now); backoff > 0 {
		return nil, false, sooner(wait, backoff)
	}
	d = r.fleet.Device(r.queue[0])
	if d == nil {
		return nil, false, sooner(wait, time.Millisecond) // removed just now
	}
	return d, false, r.delay(now, false, d.variablesReadAt.IsZero())
}

// sooner returns the shorter of two waits, where 0 means no limit.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// delay returns how long a read must wait for a slot. forCustomer allows the slots of scans, and
// spare allows those that Notehub's limit leaves.
func (r *variableReader) delay(now time.Time, forCustomer, spare bool) time.Duration {
	d := r.limiter.Delay(now)
	if forCustomer {
		d = min(d, r.scans.Delay(now))
	}
	hub := r.fleet.NotehubLimiter
	if hub == nil {
		return d
	}
	if d > 0 && spare {
		if hub.Spare() {
			d = 0
		}
		d = min(d, spareCheckInterval)
	}
	return max(d, hub.Delay(now))
}

// take removes a device from its queue and uses the slot for its read.
func (r *variableReader) take(d *Device, urgent bool) {
	now := time.Now()
	if urgent {
		r.urgent = slices.DeleteFunc(r.urgent, func(uid string) bool { return uid == d.UID })
	} else {
		r.queue = r.queue[1:]
	}
	switch {
	case r.limiter.Delay(now) == 0:
		r.limiter.Use(now)
	case urgent && d.variablesReadAt.IsZero() && r.scans.Delay(now) == 0:
		r.scans.Use(now)
	}
}

// read reads and stores the variables of a device, and updates its offers.
func (r *variableReader) read(ctx context.Context, d *Device, urgent bool) {
	f, uid := r.fleet, d.UID
	all, err := f.Notehub.DeviceVariables(ctx, uid)
	v := ledger.Variables{Owner: uid, Values: concerning(all), ReadAt: f.Ledger.Now()}
	if upstream.OutcomeOf(err) == upstream.Rejected && !d.variablesReadAt.IsZero() {
		// Notehub does not know the device. It keeps its variables until the next listing.
		f.mu.RLock()
		v.Values, err = f.vars[uid].values, nil
		f.mu.RUnlock()
	}
	if err == nil {
		err = f.Ledger.Update(ctx, func(tx *ledger.Tx) error { return tx.SaveVariables(v) })
	}
	if err != nil {
		r.failed(ctx, d, urgent, err)
		return
	}
	r.queueBackoff = retry{}
	delete(r.backoffs, uid)
	queue := f.links.add
	if urgent {
		queue = f.links.prioritize
	}
	f.changeAnd(uid, func() { f.vars[uid] = variables{v.Values, v.ReadAt} }, queue)
	if f.readMissingPlans(ctx, uid) {
		f.changeAnd(uid, func() {}, queue)
	}
	f.Log.Debug("variables read", "device", uid)
}

// failed makes a device back off after a failed read. A device that was never read does not sell,
// so failed queues it again behind all others. The next refresh queues the rest.
func (r *variableReader) failed(ctx context.Context, d *Device, urgent bool, err error) {
	if ctx.Err() != nil {
		return
	}
	now := time.Now()
	r.backoffs[d.UID] = r.backoffs[d.UID].after(now)
	if !urgent && upstream.OutcomeOf(err) != upstream.Rejected { // a rejection concerns only this device
		r.queueBackoff = r.queueBackoff.after(now)
		if d.variablesReadAt.IsZero() {
			r.queue = append(r.queue, d.UID)
		}
	}
	r.fleet.Log.Info("variables not read", "device", d.UID, "err", err)
}
