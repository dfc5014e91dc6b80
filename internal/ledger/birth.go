package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"notepay/internal/payment"
	"notepay/internal/vendortime"
)

const (
	// metaBorn is when this ledger was made, by Stripe's clock.
	metaBorn = "born"
	// MetaFleetLoaded is when the devices were last listed completely, by Stripe's clock.
	MetaFleetLoaded = "fleet_loaded"
)

// birth is what a ledger knows of the time.
type birth struct {
	opened time.Time // a local instant
	clock  *vendortime.Clock

	settling sync.Mutex
	settled  atomic.Bool
	born     atomic.Int64 // in Unix milliseconds; transactions read it, so no lock guards it
}

// Now returns the time that the ledger works by: Stripe's, as far as it is known. All its times are
// compared with this one.
func (l *Ledger) Now() time.Time { return l.clock.Now() }

// Clock returns the clock that the ledger works by. nil is the host's.
func (l *Ledger) Clock() *vendortime.Clock { return l.clock }

// CreatedAt returns when this ledger was made, in whole seconds as Stripe counts. What was paid
// before was another's to deliver. Until the ledger is settled it is what an earlier process
// stored, or zero.
func (l *Ledger) CreatedAt() time.Time {
	ms := l.born.Load()
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC().Truncate(time.Second)
}

// Settled reports whether the birth is certain.
func (l *Ledger) Settled() bool { return l.settled.Load() }

// Settle fixes the birth of a new ledger, or of a restored copy, and corrects stored times that lie
// in the future because the clock was ahead when they were written. The caller knows Stripe's time,
// and calls it again when that turns out to be earlier.
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
	// If we stop here, the facts are right, and the next start finds nothing to correct.
	if err != nil {
		return fmt.Errorf("settle the ledger's birth: %w", err)
	}
	l.born.Store(born.UnixMilli())
	l.settled.Store(true)
	return nil
}

// storedBirth returns the birth that an earlier process stored, in Unix milliseconds: 0 if there is
// none or if it was another ledger's.
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
	// eventsListed is how far back Stripe lists events, less a day to be sure.
	eventsListed = 29 * 24 * time.Hour
	// cursorSlack is by how much the cursor of events may be ahead without harm: readings overlap
	// by more.
	cursorSlack = time.Minute
	// birthSlack is by how much the birth may be ahead. Each start estimates Stripe's time from
	// calls of at most 15 s, so a start soon after the first one of a restored copy may estimate an
	// earlier time.
	birthSlack = 20 * time.Second
)

// correctMeta corrects facts that a clock which was ahead has left in the future. A birth in the
// future would disown every payment until then, and a cursor in the future would skip all events
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
	// Where reading had really come to is not known, so all is read again that may have been
	// missed. Repeats change nothing.
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

// earliestTrace returns the earliest time at which this ledger is known to have worked, not later
// than opened: a clock that was ahead stored later times than the true ones, so each stored time
// that has passed is no earlier than the true birth.
func (tx *Tx) earliestTrace(opened time.Time) (time.Time, error) {
	rows, err := tx.db.query(`SELECT min(at) FROM (SELECT min(value) AS at FROM facts WHERE name = $1 OR name = $2
		UNION ALL SELECT min(paid_at) FROM payments WHERE posted = 1) AS traces`, MetaEventsRead, MetaFleetLoaded)
	at, err := one(rows, err, scanInstant)
	if at.IsZero() || at.After(opened) {
		at = opened
	}
	return at, err
}

// Waiting reads the payments whose next step is not due yet, or that have to wait before they may
// call a vendor again.
func (tx *Tx) Waiting() (list []payment.Payment, err error) {
	const notehubFresh, notehubAgain = notehubSteps + ` AND failures = 0`, notehubSteps + ` AND failures > 0`
	for _, part := range []string{notehubFresh, notehubAgain, stripeSteps, waitStep} {
		query := `SELECT ` + paymentColumns + ` FROM payments WHERE ` + part + ` AND (due_at > $1 OR not_before > $1 OR money_not_before > $1)`
		rows, err := tx.db.query(query, tx.Now.UnixMilli())
		some, err := all(rows, err, scanPayment)
		if err != nil {
			return nil, err
		}
		list = append(list, some...)
	}
	return list, nil
}

// ShortenLease has the claim of a payment end no later than a time.
func (tx *Tx) ShortenLease(id string, until time.Time) error {
	_, err := tx.exec(`UPDATE payments SET due_at = $1 WHERE id = $2 AND in_flight <> `+leaseFree+` AND due_at > $1`,
		until.UnixMilli(), id)
	return err
}

// ClampTimes has no payment be recorded in the future, and no look-up be due after a time.
func (tx *Tx) ClampTimes(lookupsDue time.Time) error {
	_, err := tx.exec(`UPDATE payments SET created_at = $1 WHERE created_at > $1`, tx.Now.UnixMilli())
	_, lookupErr := tx.exec(`UPDATE lookups SET due_at = $1 WHERE due_at > $1`, lookupsDue.UnixMilli())
	return errors.Join(err, lookupErr)
}
