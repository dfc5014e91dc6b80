package fleet

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"notepay/internal/message"
	"notepay/internal/problem"
)

const (
	// watchInterval is the time between checks whether the fleet sells at all.
	watchInterval = 30 * time.Second
	// maxUnpayableChecks is the number of checks in a row without a payable device after which that
	// is a problem. Links and variables need some time at the start.
	maxUnpayableChecks = 3
	// maxMissedRefreshes is the maximum age of the list of devices, in refresh intervals.
	maxMissedRefreshes = 3
)

// watch raises and clears the problems that keep the whole fleet from selling, until ctx ends.
func (f *Fleet) watch(ctx context.Context) {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	unpayable := 0 // checks in a row
	for {
		f.checkList()
		if f.payable() {
			unpayable = 0
			f.Config.Problems.Clear(problem.NothingPayable)
		} else if unpayable++; unpayable >= maxUnpayableChecks {
			f.raise(problem.NothingPayable, f.unpayable(), nil)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// raise puts a problem on the board and logs it once. cause may be nil.
func (f *Fleet) raise(code string, text message.Message, cause error) {
	p := problem.Problem{Code: code, Text: text}
	if cause != nil {
		p.Detail = fmt.Sprintf("%.300v", cause)
	}
	if f.Config.Problems.Raise(p) {
		f.Log.Error("problem raised", "code", code, "text", text.String(), "err", cause)
	}
}

// recordListing raises or clears the problems of listings. err is that of the last listing.
func (f *Fleet) recordListing(err error) {
	if err == nil {
		f.mu.Lock()
		f.failedListings = 0
		f.mu.Unlock()
		f.Config.Problems.Clear(problem.ListingFailed)
		f.Config.Problems.Clear(problem.NotListed)
		f.checkList()
		return
	}
	f.mu.Lock()
	f.failedListings++
	failed, loaded := f.failedListings, f.loaded
	f.mu.Unlock()
	if !loaded {
		f.raise(problem.NotListed, message.New("notepay has never read the complete list of devices, "+
			"so there are no sales yet. The console and the log show the cause. "+
			"Run notepay check to see what to do."), err)
	}
	if failed >= 2 {
		f.raise(problem.ListingFailed, message.New("The last %d attempts to list the devices failed. "+
			"Known machines still take payments, new ones do not. "+
			"The console and the log show the cause.", failed), err)
	}
}

// checkList raises a problem while the last complete listing of any process is too old.
func (f *Fleet) checkList() {
	f.mu.RLock()
	loaded, observed := f.loaded, f.observed
	f.mu.RUnlock()
	if age := f.Ledger.Now().Sub(observed); loaded && age > maxMissedRefreshes*f.Interval {
		f.raise(problem.ListOutdated, message.New("notepay last read the complete list of devices %s ago. "+
			"It does not know of machines that were added or removed since.", age.Round(time.Minute)), nil)
		return
	}
	f.Config.Problems.Clear(problem.ListOutdated)
}

// payable reports whether one of the devices can be paid for, is in use, or is closed by plan and
// opens by itself.
func (f *Fleet) payable() bool {
	f.mu.RLock()
	observed, now := f.observed, f.Ledger.Now()
	f.mu.RUnlock()
	for _, d := range f.all() {
		switch f.availability(d, now, observed).State {
		case Open, InUse, OutOfHours, Maintained:
			return true
		}
	}
	return false
}

// unpayable returns why no device can be paid for.
func (f *Fleet) unpayable() message.Message {
	states := f.States()
	if len(states) == 0 {
		return message.New("No machine can be paid for, because notepay knows no device. " +
			"Run notepay check to see why.")
	}
	var counts message.List
	for _, s := range slices.Sorted(maps.Keys(states)) {
		counts = append(counts, message.New("%d %s", states[s], message.New(string(s))))
	}
	return message.New("No machine can be paid for: %s. The console shows the reason for each device.", counts)
}
