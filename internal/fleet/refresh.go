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

// Result counts the changes of a refresh.
type Result struct {
	Devices      int `json:"devices"`
	Added        int `json:"added"`
	Removed      int `json:"removed"`
	LinksCreated int `json:"links_created"` // until Refresh returned
}

const (
	minRefreshInterval = time.Minute      // between early refreshes
	firstRetry         = 2 * time.Second  // after a failed refresh; doubles up to maxRetry
	maxRetry           = time.Minute      // between retries of failed refreshes
	batchSize          = 500              // devices or links handled at once, while the lock is held
	linkWait           = 10 * time.Second // how long Refresh waits for new links
	refreshTimeout     = 10 * time.Minute // 100,000 devices in pages, at a few requests a minute
)

// Run keeps the fleet fresh until ctx ends. Of several instances, one calls the vendors, and the
// others follow what it stores. See Follow.
func (f *Fleet) Run(ctx context.Context) {
	var background sync.WaitGroup
	background.Go(func() { f.watch(ctx) })
	background.Go(func() { f.askForPlans(ctx) })
	background.Go(func() { f.endDoubts(ctx) })
	f.Ledger.Lead(ctx, f.lead)
	f.end()
	background.Wait()
	_, _, _ = f.refreshes.Do("", func() (any, error) { return Result{}, nil }) // wait for a running refresh
}

// lead makes the calls to the vendors until ctx ends.
func (f *Fleet) lead(ctx context.Context) {
	f.links.beginTerm()
	var background sync.WaitGroup
	defer background.Wait()
	background.Go(func() { f.links.run(ctx) })
	background.Go(func() { f.reader.run(ctx) })
	background.Go(func() { f.followHints(ctx) })
	retry := firstRetry
	timer := time.NewTimer(f.untilFirst())
	defer timer.Stop()
	var last, next time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case uid := <-f.lookups:
			f.lookUpDevice(ctx, uid)
			continue
		case <-f.soon:
			if allowed := last.Add(minRefreshInterval); time.Now().Before(allowed) && !last.IsZero() {
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
			retry = min(2*retry, maxRetry)
		}
		next = time.Now().Add(wait)
		timer.Reset(wait)
	}
}

// untilFirst returns how long the first refresh of a leader waits, because another instance may have
// just listed the devices. It is 0 if there is no other one.
func (f *Fleet) untilFirst() time.Duration {
	if len(f.Ledger.Peers()) == 0 {
		return 0
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	return max(0, minRefreshInterval-f.Ledger.Now().Sub(f.observed))
}

// Refresh lists the devices and waits up to 10 s for new links. Concurrent callers share one
// refresh.
func (f *Fleet) Refresh(ctx context.Context) (Result, error) {
	if !f.Ledger.Leads() {
		return f.refreshElsewhere(ctx)
	}
	made := f.links.made.Load()
	result, err := f.refreshOnce(ctx)
	if err != nil {
		return result, err
	}
	ctx, cancel := context.WithTimeout(ctx, linkWait)
	defer cancel()
	f.reader.waitScanned(ctx)
	f.links.waitIdle(ctx, linkWait)
	result.LinksCreated = int(f.links.made.Load() - made)
	return result, nil
}

// refreshOnce shares one refresh among concurrent callers. It continues if the first caller leaves.
func (f *Fleet) refreshOnce(ctx context.Context) (Result, error) {
	c := f.refreshes.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(f.life, refreshTimeout)
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

// refresh lists the devices, reads variables and prices, and plans the work on links.
func (f *Fleet) refresh(ctx context.Context) (Result, error) {
	began := time.Now()
	devices, err := f.Notehub.Devices(ctx)
	devices, nameless := f.readable(devices, err == nil)
	if known, _, _ := f.Counts(); err == nil && len(devices) == 0 && known > 0 {
		err = errors.New("the list is empty, so the known devices are kept")
	}
	complete := err == nil
	whole := complete && !nameless // so a device that is missing is gone
	if !complete {
		err = fmt.Errorf("list devices: %w", err)
	}
	variablesErr := f.readVariables(ctx, devices)
	keysErr := f.readKeys(ctx)
	plansRead, planErr := f.readPlans(ctx, devices, whole, variablesErr == nil)
	var added []string
	for _, d := range devices {
		if f.Device(d.UID) == nil {
			added = append(added, d.UID)
		}
	}
	result, saveErr := f.applyListing(ctx, devices, complete, whole, began)
	if saveErr == nil && !whole && (len(devices) > 0 || variablesErr == nil || plansRead) {
		f.rebuildAll() // those that were not listed; while both vendors are down, there is nothing new
	}
	f.recordListing(errors.Join(err, saveErr))
	err = errors.Join(variablesErr, keysErr, planErr, err, saveErr)
	if saveErr != nil {
		return result, err
	}
	f.reader.signal()
	if len(added) <= scansAtOnce { // read a few new devices like scanned ones
		for _, uid := range added {
			f.reader.scan(uid)
		}
	}
	if adoptErr := f.links.adopt(ctx); adoptErr != nil {
		return result, errors.Join(err, adoptErr)
	}
	f.links.plan(whole)
	return result, err
}

// readable returns the devices of a listing. It replaces a device with an unreadable record by what
// was known before. If nothing was known the device is not sold, and Unsold returns it. nameless
// reports whether a record has no UID, so that it may be any device that is missing.
func (f *Fleet) readable(listing []ledger.Device, complete bool) (devices []ledger.Device, nameless bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var unsold []ledger.Device
	for _, d := range listing {
		known := f.devices[d.UID]
		switch {
		case d.UID == "":
			nameless = true
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
	return devices, nameless
}

// Unsold returns the listed devices that cannot sell because of their UID or an unreadable record.
// The Problem of each says why.
func (f *Fleet) Unsold() []ledger.Device {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return slices.Clone(f.unsold)
}

// applyListing stores a listing in the ledger and then in the map. Only a whole listing removes
// devices. One that is complete and not whole has a record without a UID.
func (f *Fleet) applyListing(
	ctx context.Context,
	listing []ledger.Device,
	complete, whole bool,
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
	if whole {
		for uid := range f.devices {
			if !listed[uid] {
				removed = append(removed, uid)
			}
		}
	}
	ended := map[string]ledger.Pause{} // auto-pauses of devices that were active since
	for _, d := range listing {
		if p := f.pauses[d.UID]; p.Automatic && d.LastActivity.After(f.pausedAt(p)) {
			ended[d.UID] = p
		}
	}
	r.Removed, r.Devices = len(removed), len(f.devices)+r.Added-len(removed)
	f.mu.RUnlock()

	// If the process stops between two batches, the ledger holds a part of the listing. The next
	// refresh stores the rest.
	for part := range slices.Chunk(changed, batchSize) {
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
	at := f.Ledger.Clock().At(began) // comparable with the times of payments and devices
	if complete {
		err := f.Ledger.Update(ctx, func(tx *ledger.Tx) error {
			for _, uid := range removed {
				if err := tx.RemoveDevice(uid); err != nil {
					return err
				}
			}
			if err := tx.Changed(ledger.ChangedListing, listingTold(at)); err != nil {
				return err
			}
			return tx.SetMeta(ledger.MetaFleetLoaded, tx.Now)
		})
		if err != nil {
			return r, fmt.Errorf("remove devices: %w", err)
		}
	}

	for _, p := range ended {
		if err := f.endPause(ctx, p); err != nil {
			return r, err
		}
	}

	f.put(listing...) // all of them, because their variables and plans may have changed
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, uid := range removed {
		delete(f.devices, uid)
		delete(f.vars, uid)
	}
	if complete {
		f.loaded, f.listedAt, f.observed, f.refreshedAt = true, at, at, f.Ledger.Now()
	}
	return r, nil
}

// pausedAt returns the start of a pause. If a clock that was ahead stored a time in the future, it
// returns when this process started.
func (f *Fleet) pausedAt(p ledger.Pause) time.Time {
	if p.At.After(f.Ledger.Now()) {
		return f.Ledger.Clock().At(f.createdAt)
	}
	return p.At
}

// same reports whether two records of a device are equal, except for their problems.
func same(a, b ledger.Device) bool {
	return a.Name == b.Name && a.Spelled == b.Spelled && a.Disabled == b.Disabled &&
		a.LastActivity.Equal(b.LastActivity) &&
		slices.Equal(a.Fleets, b.Fleets)
}

// lookUpDevice reads a device that was scanned but not in the last listing.
func (f *Fleet) lookUpDevice(ctx context.Context, uid string) {
	d, err := f.Notehub.Device(ctx, uid)
	if err == nil {
		err = f.Ledger.Update(ctx, func(tx *ledger.Tx) error { return tx.SaveDevice(d) })
	}
	if err != nil {
		f.Log.Info("device look-up failed", "device", uid, "err", err)
		return
	}
	f.put(d)
	if f.Device(d.UID).unread {
		f.reader.scan(uid) // a customer waits
	}
	if f.fleetsUnread(d) || f.Device(d.UID).keyUnknown {
		f.RefreshSoon() // its fleet or its key is newer than the last refresh
	}
	f.readMissingPlans(ctx, uid)
	f.Prioritize(uid)
}
