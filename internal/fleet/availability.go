package fleet

import (
	"context"
	"fmt"
	"slices"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/terms"
)

// State says whether a device sells, and if not, why.
type State string

// The states, in the order in which they are checked.
const (
	NotLoaded   State = "not_loaded" // unknown, but the devices were never listed completely
	NoDevice    State = "unknown_device"
	Unreadable  State = "unreadable" // Notehub's record does not say whether it sells
	Unscannable State = "bad_uid"    // no sticker can hold its UID
	Disabled    State = "disabled"   // at Notehub
	Paused      State = "paused"
	Unread      State = "not_read"     // its variables were never read, so its price and switch are unknown
	PaymentsOff State = "payments_off" // payment_enabled is false
	Maintained  State = "maintenance"  // planned by the operator
	OutOfHours  State = "out_of_hours" // outside its opening hours
	NoKey       State = "no_key"       // its notes are encrypted, and its public key is not known
	OutOfOrder  State = "out_of_order" // the machine says so
	Offline     State = "offline"      // not active for longer than Config.OfflineAfter
	InUse       State = "in_use"       // a timed credit runs
	NoOffers    State = "nothing_to_sell"
	LinkClosed  State = "link_closed" // a person deactivated or limited its links in Stripe's Dashboard
	NotReady    State = "not_ready"   // no plan has a link yet
	Open        State = "open"        // it sells
)

// Availability is the answer to a scan.
type Availability struct {
	State  State
	Device *Device   // nil if it is unknown
	Reason string    // of a pause or maintenance, or the code of a machine that is out of order; otherwise ""
	Until  time.Time // when a device in use is free again, or opens again; zero: unknown
}

// Availability reports whether a device may be paid for now. It only reads memory.
func (f *Fleet) Availability(uid string, now time.Time) Availability {
	f.mu.RLock()
	device, loaded, observed := f.devices[uid], f.loaded, f.observed
	f.mu.RUnlock()
	if device == nil {
		if !loaded {
			return Availability{State: NotLoaded}
		}
		return Availability{State: NoDevice}
	}
	if device.unread || !lately(device.variablesReadAt, now, f.Interval) {
		f.reader.scan(uid)
	}
	return f.availability(device, now, observed)
}

// Sells reports whether a device may be paid for now. Unlike Availability, it requests no read of the
// device's variables.
func (f *Fleet) Sells(uid string, now time.Time) bool {
	f.mu.RLock()
	device, observed := f.devices[uid], f.observed
	f.mu.RUnlock()
	return device != nil && f.availability(device, now, observed).State == Open
}

// availability returns the availability of a known device.
func (f *Fleet) availability(d *Device, now, observed time.Time) Availability {
	sale := Availability{State: d.saleState(), Device: d}
	if sale.State == Open && d.closedAt(now) {
		sale.State, sale.Until = OutOfHours, d.opens(now)
		if d.maintained(now) {
			sale.State, sale.Reason = Maintained, d.Maintenance.Reason
		}
		return sale
	}
	switch {
	case sale.State == Paused:
		sale.Reason = d.Pause.Reason
	case sale.State != Open:
	case d.keyUnknown && f.keysUnread():
		sale.State = Unread
	case d.keyUnknown: // its links stay, because a Notecard may get a key
		sale.State = NoKey
	case d.Out != nil:
		sale.State, sale.Reason = OutOfOrder, d.Out.Code
	case f.offline(d, now, observed):
		sale.State = Offline
	case d.inUse && (d.until.IsZero() || now.Before(d.until)): // also without Free, it is free after until
		sale.State, sale.Until = InUse, d.until
	case len(d.Offers) == 0:
		sale.State = NoOffers
	case !f.Sessions && !d.payable():
		sale.State = NotReady
		if !slices.ContainsFunc(d.Offers, func(o Offer) bool { return o.Closed == "" }) {
			sale.State = LinkClosed
		}
	}
	return sale
}

// saleState returns Open unless the operator or Notehub has taken the device out of sale. Its links
// are deactivated in every other state except Unread, in which they stay but are not offered.
func (d *Device) saleState() State {
	switch {
	case d.unscannable:
		return Unscannable
	case d.Disabled:
		return Disabled
	case d.Pause != nil:
		return Paused
	case d.unread:
		return Unread
	case d.off:
		return PaymentsOff
	default:
		return Open
	}
}

// maintained reports whether a device is in maintenance at a time.
func (d *Device) maintained(at time.Time) bool {
	return d.Maintenance != nil && !at.Before(d.Maintenance.From) && at.Before(d.Maintenance.To)
}

// closedAt reports whether a device sells nothing at a time, because of its opening hours or planned
// maintenance.
func (d *Device) closedAt(at time.Time) bool { return d.maintained(at) || !d.hours.Open(at) }

// opens returns when a device opens, which is closed before a time or at it.
func (d *Device) opens(at time.Time) time.Time {
	for range 2 { // the hours may begin in the maintenance, and it may end outside the hours
		if d.maintained(at) {
			at = d.Maintenance.To
		}
		if !d.hours.Open(at) {
			at = d.hours.Next(at)
		}
	}
	return at
}

// Hours returns the opening hours of a device, nil if it is always open.
func (d *Device) Hours() *terms.Hours {
	if d == nil || d.saleTerms == nil {
		return nil
	}
	return d.hours
}

// payable reports whether an offer has a link.
func (d *Device) payable() bool {
	for i := range d.Offers {
		if d.Offers[i].URL != "" {
			return true
		}
	}
	return false
}

// offline reports whether a device was not active for OfflineAfter before the last listing.
// Listings are up to an interval apart, so now would make every device seem silent.
func (f *Fleet) offline(d *Device, now, observed time.Time) bool {
	if f.OfflineAfter <= 0 {
		return false
	}
	// A clock that was ahead may have stored a time in the future.
	if oldest := now.Add(-f.Interval); observed.Before(oldest) || observed.After(now) {
		observed = oldest
	}
	return d.LastActivity.Before(observed.Add(-f.OfflineAfter))
}

// Eligibility says whether a payment for a device may be delivered.
type Eligibility int

const (
	Known      Eligibility = iota // the device is known and sells
	Unknown                       // a complete listing that began after the payment does not hold it
	Unsure                        // there is no such listing yet
	NotSelling                    // it is out of sale, or was offline at the time of the payment
)

// Eligibility returns the eligibility of a device for a payment made at paid. If it is Unsure, a
// refresh or a read of the device's variables has been requested. It ignores whether the device is
// in use, and its link.
func (f *Fleet) Eligibility(uid string, paid time.Time) Eligibility {
	f.mu.RLock()
	device, listed, keysReadAt := f.devices[uid], f.listedAt, f.keysReadAt
	f.mu.RUnlock()
	if device != nil && device.saleState() == Open && device.closedAt(paid) {
		return NotSelling // the customer had Stripe's page open, because links stay active meanwhile
	}
	silent := device != nil && f.OfflineAfter > 0 && device.LastActivity.Before(paid.Add(-f.OfflineAfter))
	switch {
	case device != nil && device.saleState() == Unread:
		f.reader.scan(uid)
		return Unsure
	case device != nil && device.saleState() != Open:
		return NotSelling
	case device != nil && device.Out != nil && paid.After(device.Out.At):
		return NotSelling // the customer had Stripe's page open; an earlier payment is left to the machine
	case device != nil && device.keyUnknown && keysReadAt.After(paid):
		return NotSelling
	case device != nil && device.keyUnknown: // it may be known since the last reading
		f.RefreshSoon()
		return Unsure
	case device != nil && !silent:
		return Known
	case !listed.After(paid): // it may have been added, or active, since the last listing
		f.RefreshSoon()
		return Unsure
	case silent:
		return NotSelling
	default:
		return Unknown
	}
}

// Lifetime returns the lifetime of a device's credits if its variables set one. 0 means that they
// never expire.
func (f *Fleet) Lifetime(uid string) (d time.Duration, ok bool) {
	device := f.Device(uid)
	if device == nil {
		return 0, false
	}
	return device.lifetime, device.hasLife
}

// InUse marks a device as held by a timed credit until the given time. If the time is zero the
// device stays in use until Free.
func (f *Fleet) InUse(uid string, until time.Time) {
	f.change(uid, func() { f.busy[uid] = until })
}

// Free marks a device as not held by a timed credit.
func (f *Fleet) Free(uid string) {
	f.change(uid, func() { delete(f.busy, uid) })
}

// Paused takes a device out of sale and deactivates its links. The caller has committed the pause
// to the ledger.
func (f *Fleet) Paused(p ledger.Pause) {
	p.At = p.At.UTC().Truncate(time.Millisecond) // as the ledger stores it
	f.change(p.DeviceUID, func() { f.pauses[p.DeviceUID] = p })
}

// Resumed puts a device on sale again. The caller has removed the pause from the ledger.
func (f *Fleet) Resumed(uid string) {
	f.change(uid, func() { delete(f.pauses, uid) })
}

// setMaintenance copies from the ledger the planned maintenance of a device.
func (f *Fleet) setMaintenance(uid string, m ledger.Maintenance) {
	f.changeAnd(uid, func() {
		if delete(f.maintenance, uid); !m.To.IsZero() {
			f.maintenance[uid] = m
		}
	}, func(linkKey) {}) // its links stay, because the maintenance begins and ends by itself
}

// setOut copies from the ledger what a machine says of itself.
func (f *Fleet) setOut(uid string, m ledger.MachineState) {
	f.changeAnd(uid, func() {
		if delete(f.outs, uid); m.Out {
			f.outs[uid] = m
		}
	}, func(linkKey) {}) // its links stay, because a door is soon closed again
}

// endPause ends an auto-pause, because the device was active again. It keeps a newer pause.
func (f *Fleet) endPause(ctx context.Context, p ledger.Pause) error {
	err := f.Ledger.Update(ctx, func(tx *ledger.Tx) error {
		stored, err := tx.PauseOf(p.DeviceUID)
		if same, err := ledger.Found(err); err != nil || !same || !stored.Automatic || !stored.At.Equal(p.At) {
			return err
		}
		if err := tx.Resume(p.DeviceUID); err != nil {
			return err
		}
		return tx.AddAudit(ledger.Audit{
			Who:     "notepay",
			What:    "resume",
			Subject: p.DeviceUID,
			Why:     "the machine responded",
			Before:  p.Reason,
		})
	})
	if err != nil {
		return fmt.Errorf("resume %s: %w", p.DeviceUID, err)
	}
	lock := f.views.lock(p.DeviceUID)
	lock.Lock()
	defer lock.Unlock()
	if err := f.showPause(ctx, p.DeviceUID); err != nil {
		return err
	}
	f.Log.Info("sales resumed", "device", p.DeviceUID, "reason", p.Reason)
	return nil
}
