// Package problem holds the list of current problems, in words for the operator.
//
// Each component raises a problem when it starts and clears it when it ends. /health, the console
// and the metrics show the same list. /pay stops selling while a problem on the list requires it.
// The package does not detect problems, and does not know its readers.
package problem

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"notepay/internal/message"
)

// The codes of problems. /health, the metrics and the alert rules contain them, so they must not
// change.
const (
	Clock          = "clock"           // the host's clock differs from the vendors' by more than two minutes
	NotListed      = "not_listed"      // the devices were never listed completely
	ListingFailed  = "listing_failed"  // two listings in a row failed
	ListOutdated   = "list_outdated"   // the last complete listing is too old
	NothingPayable = "nothing_payable" // no device can be paid for
	OddRecords     = "odd_records"     // a vendor sent records that cannot be read; they are left out
	EventsStuck    = "events_stuck"    // Stripe's events cannot be read
	DiskFull       = "disk_full"       // too little space is left for the ledger
	Storage        = "storage"         // payments cannot be recorded
	LogGrowing     = "log_growing"     // SQLite's log grows, because another program keeps reading the ledger
	Ledger         = "ledger"          // the ledger's file is damaged, was moved or was replaced
	Backup         = "backup"          // no recent backup of the ledger exists
	Twins          = "twins"           // another installation works on the same project and account
	Certificate    = "certificate"     // the certificate of the built-in HTTPS is missing or not renewed
	Instances      = "instances"       // another instance has other settings
	Alerts         = "alerts"          // alerts cannot be sent
	StripeDown     = "stripe_unreachable"
	NotehubDown    = "notehub_unreachable"
)

// Codes returns every code. The metrics show each series from the start.
func Codes() []string {
	return []string{
		Clock,
		NotListed,
		ListingFailed,
		ListOutdated,
		NothingPayable,
		OddRecords,
		EventsStuck,
		DiskFull,
		Storage,
		LogGrowing,
		Ledger,
		Backup,
		Twins,
		Certificate,
		Instances,
		Alerts,
		StripeDown,
		NotehubDown,
	}
}

// Problem is one entry of the list.
type Problem struct {
	Code       string          // one of the constants
	Text       message.Message // one or two sentences: what happened and what to do; /health shows them to everyone
	Detail     string          // the cause in a vendor's or the system's words, only for the console; "" for none
	StopsSales bool            // no device is sold on while the problem lasts
	Since      time.Time       // when the code was raised; set by Board
}

// Board is the list of current problems. The zero value is ready to use. A nil *Board ignores
// everything. All methods are safe for concurrent use.
type Board struct {
	mu    sync.Mutex
	list  map[string]Problem
	odd   map[string][]string // the records behind OddRecords, by their source
	stops atomic.Bool
}

// Raise adds a problem, or replaces the one with the same code. It reports whether the code is new
// on the list, so that the caller can log it once.
func (b *Board) Raise(p Problem) (isNew bool) {
	if b == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	old, known := b.list[p.Code]
	if p.Since = old.Since; !known {
		p.Since = time.Now()
	}
	if b.list == nil {
		b.list = map[string]Problem{}
	}
	b.list[p.Code] = p
	b.update()
	return !known
}

// Clear removes a problem. It reports whether the problem was on the list.
func (b *Board) Clear(code string) bool {
	if b == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	_, known := b.list[code]
	delete(b.list, code)
	b.update()
	return known
}

// update sets what StopsSales returns. The caller holds the lock.
func (b *Board) update() {
	stops := false
	for _, p := range b.list {
		stops = stops || p.StopsSales
	}
	b.stops.Store(stops)
}

// StopsSales reports whether a current problem stops sales. It costs one atomic read, because each
// scan calls it.
func (b *Board) StopsSales() bool { return b != nil && b.stops.Load() }

// List returns the current problems. Those that stop sales come first, then the order is by code.
func (b *Board) List() []Problem {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	list := make([]Problem, 0, len(b.list))
	for _, p := range b.list {
		list = append(list, p)
	}
	slices.SortFunc(list, func(x, y Problem) int {
		if x.StopsSales != y.StopsSales {
			if x.StopsSales {
				return -1
			}
			return 1
		}
		return cmp.Compare(x.Code, y.Code)
	})
	return list
}
