package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"notepay/internal/vendortime"
)

const (
	// metaBorn is when this ledger began to work, by Stripe's clock.
	metaBorn = "born"
	// MetaFleetLoaded names the time of the last complete device listing, by Stripe's clock.
	MetaFleetLoaded = "fleet_loaded"
)

// birth holds the ledger's clock and the time when the ledger began to work.
type birth struct {
	opened time.Time // a local instant
	clock  *vendortime.Clock

	settling sync.Mutex
	settled  atomic.Bool
	born     atomic.Int64 // Unix milliseconds; atomic, because transactions read it
}

// Now returns Stripe's time as far as it is known. All times in the ledger are compared with it.
func (l *Ledger) Now() time.Time { return l.clock.Now() }

// Clock returns the ledger's clock. nil is the host's clock.
func (l *Ledger) Clock() *vendortime.Clock { return l.clock }

// CreatedAt returns when this ledger began to work, in whole seconds as Stripe counts. Another
// installation delivers earlier payments. Until the ledger is settled, CreatedAt returns what an
// earlier process stored, or the zero time.
func (l *Ledger) CreatedAt() time.Time {
	ms := l.born.Load()
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC().Truncate(time.Second)
}

// Settled reports whether the birth is certain.
func (l *Ledger) Settled() bool { return l.settled.Load() }

// Settle sets the birth of a new ledger or a restored backup. It also corrects stored times that
// lie in the future because the clock was ahead. The caller knows Stripe's time, and calls Settle
// again when that time turns out to be earlier.
func (l *Ledger) Settle(ctx context.Context) error {
	l.settling.Lock()
	defer l.settling.Unlock()
	opened := l.clock.At(l.opened)
	var born time.Time
	err := l.Update(ctx, func(tx *Tx) (err error) {
		if l.clock != nil {
			if err := tx.correctMeta(opened); err != nil {
				return err
			}
		}
		if err := errors.Join(tx.SetMetaOnce(metaBorn, opened), tx.adoptBackup(opened)); err != nil {
			return err
		}
		born, err = tx.Meta(metaBorn)
		return err
	})
	// If notepay stops here, the stored times are right, and the next start has nothing to correct.
	if err != nil {
		return fmt.Errorf("settle the ledger's birth: %w", err)
	}
	l.born.Store(born.UnixMilli())
	l.settled.Store(true)
	return nil
}

// storedBirth returns the birth that an earlier process stored, in Unix milliseconds. It returns 0
// if there is none, or if the birth belongs to the original of a backup.
func (tx *Tx) storedBirth() (int64, error) {
	if stamped, err := Found(errOnly(tx.Meta(metaBackup))); stamped || err != nil {
		return 0, err
	}
	born, err := tx.Meta(metaBorn)
	if known, err := Found(err); !known || err != nil {
		return 0, err
	}
	return born.UnixMilli(), nil
}

const (
	// eventsListed is how far back Stripe lists events, less one day for safety.
	eventsListed = 29 * 24 * time.Hour
	// cursorSlack is how far the cursor of events may be ahead without harm, because consecutive
	// reads overlap by more.
	cursorSlack = time.Minute
	// birthSlack is how far the birth may be ahead. Each start estimates Stripe's time from calls
	// of at most 15 s, so a second start of a restored backup may estimate an earlier time.
	birthSlack = 20 * time.Second
)

// correctMeta corrects stored times that lie in the future because the clock was ahead. A birth in
// the future would disown every payment until then. A cursor in the future would skip all events
// until then.
func (tx *Tx) correctMeta(opened time.Time) error {
	born, err := tx.Meta(metaBorn)
	known, err := Found(err)
	if err != nil || !known {
		return err
	}
	if born.After(opened.Add(birthSlack)) {
		if born, err = tx.earliestTrace(opened); err != nil {
			return err
		}
		if err := tx.SetMeta(metaBorn, born); err != nil {
			return err
		}
	}
	// The true position of the cursor is unknown, so notepay reads all events again that it may
	// have missed. Repeated events change nothing.
	again := born
	if oldest := tx.Now.Add(-eventsListed); oldest.After(again) {
		again = oldest
	}
	late := tx.Now.Add(cursorSlack)
	if _, err := tx.exec(`UPDATE facts SET value = $1 WHERE name = $2 AND value > $3`,
		again.UnixMilli(), MetaEventsRead, late.UnixMilli()); err != nil {
		return err
	}
	_, err = tx.exec(`UPDATE facts SET value = $1 WHERE value > $1 AND name = $2`, tx.Now.UnixMilli(), MetaFleetLoaded)
	return err
}

// earliestTrace returns the earliest time at which this ledger is known to have worked, or opened
// if that is earlier. A clock that was ahead stored times later than the true ones. So no stored
// time in the past is earlier than the true birth.
func (tx *Tx) earliestTrace(opened time.Time) (time.Time, error) {
	rows, err := tx.db.query(`SELECT min(at) FROM (SELECT min(value) AS at FROM facts WHERE name = $1 OR name = $2
		UNION ALL SELECT min(paid_at) FROM payments WHERE posted = 1) AS traces`, MetaEventsRead, MetaFleetLoaded)
	at, err := one(rows, err, scanInstant)
	if at.IsZero() || at.After(opened) {
		at = opened
	}
	return at, err
}
