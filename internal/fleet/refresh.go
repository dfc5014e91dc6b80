package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"notepay/internal/ledger"
)

// Result is what a refresh came to.
type Result struct {
	Devices      int `json:"devices"`
	Added        int `json:"added"`
	Removed      int `json:"removed"`
	LinksCreated int `json:"links_created"` // by the time of this answer
}

const (
	soonest      = time.Minute     // between refreshes that were wished for before their time
	firstRetry   = 2 * time.Second // after a refresh that failed, doubling up to longestRetry
	longestRetry = time.Minute
	largest      = 500              // devices saved in one transaction
	mintWait     = 10 * time.Second // how long the answer to a refresh waits for the links to be made

	longestRefresh = 10 * time.Minute // 100,000 devices in pages, at a few requests a minute
)

// Run keeps the fleet fresh until the context ends.
func (f *Fleet) Run(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		var background sync.WaitGroup
		background.Go(func() { f.links.run(ctx) })
		background.Go(func() { f.reader.run(ctx) })
		background.Go(func() { f.followHints(ctx) })
		background.Go(func() { f.watch(ctx) })
		background.Wait()
	}()
	defer func() {
		f.end()
		<-done
		_, _, _ = f.refreshes.Do("", func() (any, error) { return Result{}, nil }) // wait for one that is under way
	}()
	retry := firstRetry
	timer := time.NewTimer(0)
	defer timer.Stop()
	var last, next time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case uid := <-f.lookUp:
			f.lookUpOne(ctx, uid)
			continue
		case <-f.soon:
			if allowed := last.Add(soonest); time.Now().Before(allowed) && !last.IsZero() {
				if allowed.Before(next) {
					next = allowed
					timer.Reset(time.Until(next))
				}
				continue
			}
		case <-timer.C:
		}
		last = time.Now()
		wait := f.Interval
		if _, err := f.refreshOnce(ctx); err == nil {
			retry = firstRetry
		} else {
			wait = min(retry, f.Interval)
			retry = min(2*retry, longestRetry)
		}
		next = time.Now().Add(wait)
		timer.Reset(wait)
	}
}

// Refresh refreshes the fleet, together with all others who ask meanwhile, and waits a moment for
// the links to be made.
func (f *Fleet) Refresh(ctx context.Context) (Result, error) {
	made := f.links.made.Load()
	result, err := f.refreshOnce(ctx)
	if err != nil {
		return result, err
	}
	ctx, cancel := context.WithTimeout(ctx, mintWait)
	defer cancel()
	f.reader.waitScanned(ctx)
	f.links.waitIdle(ctx, mintWait)
	result.LinksCreated = int(f.links.made.Load() - made)
	return result, nil
}

// refreshOnce shares one refresh among all who ask for it. It goes on when the first of them
// leaves.
func (f *Fleet) refreshOnce(ctx context.Context) (Result, error) {
	c := f.refreshes.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(f.life, longestRefresh)
		defer cancel()
		r, err := f.refresh(ctx)
		if err != nil {
			f.Log.Warn("refresh failed", "devices", r.Devices, "err", err)
		} else {
			f.Log.Info("refreshed", "devices", r.Devices, "added", r.Added, "removed", r.Removed)
		}
		return r, err
	})
	select {
	case r := <-c:
		return r.Val.(Result), r.Err
	case <-ctx.Done():
		return Result{}, ctx.Err()
	}
}

func (f *Fleet) refresh(ctx context.Context) (Result, error) {
	began := time.Now()
	devices, err := f.Notehub.Devices(ctx)
	devices = f.readable(devices, err == nil)
	if known, _, _ := f.Counts(); err == nil && len(devices) == 0 && known > 0 {
		err = errors.New(
			"it is empty: rather than take every machine away, what was known is kept",
		) // the last one leaves with the ledger
	}
	complete := err == nil
	if !complete {
		err = fmt.Errorf("list devices: %w", err)
	}
	variablesErr := f.readVariables(ctx, devices)
	planErr := f.readPlans(ctx, devices, complete)
	var added []string
	for _, d := range devices {
		if f.Device(d.UID) == nil {
			added = append(added, d.UID)
		}
	}
	result, saveErr := f.take(ctx, devices, complete, began)
	f.listingDone(errors.Join(err, saveErr))
	err = errors.Join(variablesErr, planErr, err, saveErr)
	if saveErr != nil {
		return result, err
	}
	f.reader.poke()
	if len(added) <= scansAtOnce { // a few that were added just now are read like those that somebody scanned
		for _, uid := range added {
			f.reader.scan(uid)
		}
	}
	if adoptErr := f.links.adopt(ctx); adoptErr != nil {
		return result, errors.Join(err, adoptErr)
	}
	f.links.plan(complete)
	return result, err
}

// readable returns the devices of a listing whose records say whether and how they sell. For one
// whose record does not, what was known of it before holds. One that was never known is not sold:
// Unsold returns it for the console.
func (f *Fleet) readable(listing []ledger.Device, complete bool) (devices []ledger.Device) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var unsold []ledger.Device
	for _, d := range listing {
		known := f.devices[d.UID]
		switch {
		case !d.Unreadable:
			devices = append(devices, d)
		case known != nil:
			before := known.Device
			before.Problem = d.Problem
			devices = append(devices, before)
		default:
			unsold = append(unsold, d)
		}
	}
	if complete {
		f.unsold = unsold
	}
	return devices
}

// Unsold returns the devices that Notehub lists and that cannot be sold on because of their UID or
// an unreadable record. The Problem of each says why.
func (f *Fleet) Unsold() []ledger.Device {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return slices.Clone(f.unsold)
}

// take puts a listing into the ledger and then into the map. Only a complete one removes devices.
func (f *Fleet) take(
	ctx context.Context,
	listing []ledger.Device,
	complete bool,
	began time.Time,
) (r Result, err error) {
	f.mu.RLock()
	var changed []ledger.Device
	listed := make(map[string]bool, len(listing))
	for _, d := range listing {
		listed[d.UID] = true
		known, ok := f.devices[d.UID]
		if !ok {
			r.Added++
		}
		if !ok || !same(known.Device, d) {
			changed = append(changed, d)
		}
	}
	var removed []string
	var unlisted []ledger.Device
	for uid, d := range f.devices {
		if listed[uid] {
			continue
		}
		if complete {
			removed = append(removed, uid)
		} else {
			unlisted = append(unlisted, d.Device)
		}
	}
	heard := map[string]ledger.Pause{}
	for _, d := range listing {
		if p := f.pauses[d.UID]; p.Automatic && d.LastActivity.After(f.pausedAt(p)) {
			heard[d.UID] = p
		}
	}
	r.Removed, r.Devices = len(removed), len(f.devices)+r.Added-len(removed)
	f.mu.RUnlock()

	// If we stop between two of these, the ledger knows a part of the listing; the next refresh
	// brings the rest.
	for part := range slices.Chunk(changed, largest) {
		err := f.Ledger.Update(ctx, func(tx *ledger.Tx) error {
			for _, d := range part {
				if err := tx.SaveDevice(d); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return r, fmt.Errorf("save devices: %w", err)
		}
	}
	if complete {
		err := f.Ledger.Update(ctx, func(tx *ledger.Tx) error {
			for _, uid := range removed {
				if err := tx.RemoveDevice(uid); err != nil {
					return err
				}
			}
			return tx.SetMeta(ledger.MetaFleetLoaded, tx.Now)
		})
		if err != nil {
			return r, fmt.Errorf("remove devices: %w", err)
		}
	}

	for _, p := range heard {
		if err := f.endPause(ctx, p); err != nil {
			return r, err
		}
	}

	f.put(listing...) // all of them, for their variables and plans may have changed
	f.put(unlisted...)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, uid := range removed {
		delete(f.devices, uid)
		delete(f.vars, uid)
	}
	if complete {
		at := f.Ledger.Clock().At(began) // payments and machines are compared with it
		f.loaded, f.listed, f.observed, f.finished = true, at, at, f.Ledger.Now()
	}
	return r, nil
}

// pausedAt returns since when a device is paused. A clock that was ahead stored a time that has not
// come: then it counts from our start.
func (f *Fleet) pausedAt(p ledger.Pause) time.Time {
	if p.At.After(f.Ledger.Now()) {
		return f.Ledger.Clock().At(f.made)
	}
	return p.At
}

func same(a, b ledger.Device) bool {
	return a.Name == b.Name && a.Spelled == b.Spelled && a.Disabled == b.Disabled &&
		a.LastActivity.Equal(b.LastActivity) &&
		slices.Equal(a.Fleets, b.Fleets)
}

// lookUpOne asks for one device that a scan named and the last listing did not.
func (f *Fleet) lookUpOne(ctx context.Context, uid string) {
	d, err := f.Notehub.Device(ctx, uid)
	if err == nil {
		err = f.Ledger.Update(ctx, func(tx *ledger.Tx) error { return tx.SaveDevice(d) })
	}
	if err != nil {
		f.Log.Info("device looked up", "device", uid, "err", err)
		return
	}
	f.put(d)
	if f.Device(d.UID).unread {
		f.reader.scan(uid) // somebody stands before it
	}
	if f.fleetsUnread(d) {
		f.RefreshSoon() // it is in a fleet that was made since the last refresh
	}
	f.readMissingPlans(ctx, uid)
	f.Prioritize(uid)
}
