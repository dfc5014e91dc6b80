package fleet

import (
	"context"
	"fmt"
	"slices"
	"time"

	"notepay/internal/ledger"
)

// State is whether a device sells, and if not, why.
type State string

// The states, in the order in which they are looked for.
const (
	NotLoaded   State = "not_loaded" // the devices were never listed completely, so this may be one of ours
	NoDevice    State = "unknown_device"
	Unreadable  State = "unreadable" // Notehub's record does not say whether it sells
	Unscannable State = "bad_uid"    // no sticker can name it
	Disabled    State = "disabled"   // at Notehub
	Paused      State = "paused"
	Unread      State = "not_read"     // its variables were never read: its own price and switch are not known
	PaymentsOff State = "payments_off" // payment_enabled is false
	Offline     State = "offline"      // not heard from for longer than Config.OfflineAfter
	InUse       State = "in_use"       // a timed credit runs
	NoOffers    State = "nothing_to_sell"
	LinkClosed  State = "link_closed" // somebody deactivated or limited its links in Stripe's Dashboard
	NotReady    State = "not_ready"   // no plan has a link yet
	Open        State = "open"        // it sells
)

// Availability is the answer to a scan.
type Availability struct {
	State  State
	Device *Device   // nil if it is not known
	Reason string    // of a pause, as it was given: for the operator; "" else
	Until  time.Time // when it is free again, if it is in use; zero: not known
}

// Availability says whether a device may be paid for now. It reads memory only, and one map of it.
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
	if device.unread || !lately(device.asked, now, f.Interval) {
		f.reader.scan(uid)
	}
	return f.availability(device, now, observed)
}

func (f *Fleet) availability(d *Device, now, observed time.Time) Availability {
	sale := Availability{State: d.mayBePaid(), Device: d}
	switch {
	case sale.State == Paused:
		sale.Reason = d.Pause.Reason
	case sale.State != Open:
	case f.offline(d, now, observed):
		sale.State = Offline
	case d.inUse && (d.until.IsZero() || now.Before(d.until)): // a session whose end has passed holds nothing, whether or not that was told
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

// mayBePaid is Open unless somebody has taken the device out of sale: then its links are
// deactivated, too. It is Unread while that is not known: then its links are left as they are, and
// nobody is led to them.
func (d *Device) mayBePaid() State {
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

func (d *Device) payable() bool {
	for i := range d.Offers {
		if d.Offers[i].URL != "" {
			return true
		}
	}
	return false
}

// offline counts from the last listing, which is up to an interval old: without it every device
// would seem silent before the next.
func (f *Fleet) offline(d *Device, now, observed time.Time) bool {
	if f.OfflineAfter <= 0 {
		return false
	}
	if oldest := now.Add(-f.Interval); observed.Before(oldest) ||
		observed.After(now) { // a clock that was ahead stored the latter
		observed = oldest
	}
	return d.LastActivity.Before(observed.Add(-f.OfflineAfter))
}

// Eligibility is what can be said of a device for which a payment came in.
type Eligibility int

const (
	Known      Eligibility = iota // it is one of ours, and sells
	Unknown                       // a complete listing that began after the payment does not hold it
	Unsure                        // no such listing yet
	NotSelling                    // it is out of sale, or was not heard from for too long before the payment
)

// Eligibility judges a device for a payment made at paid. While it is Unsure a refresh is on its
// way, or the device's variables are being read. Whether the device is in use is not looked at, nor
// is its link.
func (f *Fleet) Eligibility(uid string, paid time.Time) Eligibility {
	f.mu.RLock()
	device, listed := f.devices[uid], f.listed
	f.mu.RUnlock()
	silent := device != nil && f.OfflineAfter > 0 && device.LastActivity.Before(paid.Add(-f.OfflineAfter))
	switch {
	case device != nil && device.mayBePaid() == Unread:
		f.reader.scan(uid)
		return Unsure
	case device != nil && device.mayBePaid() != Open:
		return NotSelling
	case device != nil && !silent:
		return Known
	case !listed.After(paid): // it may have been added, or heard from, since the last listing
		f.RefreshSoon()
		return Unsure
	case silent:
		return NotSelling
	default:
		return Unknown
	}
}

// Lifetime is how long the credits of a device live if its variables say so; 0: for ever.
func (f *Fleet) Lifetime(uid string) (d time.Duration, ok bool) {
	device := f.Device(uid)
	if device == nil {
		return 0, false
	}
	return device.lifetime, device.hasLife
}

// InUse tells that a timed credit of a device is open until then; a zero time: its end is not
// known, and it stays so until Free.
func (f *Fleet) InUse(uid string, until time.Time) {
	f.change(uid, func() { f.busy[uid] = until })
}

// Free tells that no timed credit of a device is open any more.
func (f *Fleet) Free(uid string) {
	f.change(uid, func() { delete(f.busy, uid) })
}

// Paused takes a device out of sale, after its pause was committed to the ledger. Its links are
// deactivated.
func (f *Fleet) Paused(p ledger.Pause) {
	p.At = p.At.UTC().Truncate(time.Millisecond) // as it will be read after a restart
	f.change(p.DeviceUID, func() { f.pauses[p.DeviceUID] = p })
}

// Resumed puts a device on sale again, after its pause was taken out of the ledger.
func (f *Fleet) Resumed(uid string) {
	f.change(uid, func() { delete(f.pauses, uid) })
}

// endPause ends an automatic pause, because the device was heard from again, unless there is
// another by now.
func (f *Fleet) endPause(ctx context.Context, p ledger.Pause) error {
	err := f.Ledger.Update(ctx, func(tx *ledger.Tx) error {
		stored, err := tx.PauseOf(p.DeviceUID)
		if same, err := ledger.Found(err); err != nil || !same || !stored.Automatic || !stored.At.Equal(p.At) {
			return err
		}
		if err := tx.Resume(p.DeviceUID); err != nil {
			return err
		}
		return tx.AddAudit(
			ledger.Audit{
				Who:     "notepay",
				What:    "resume",
				Subject: p.DeviceUID,
				Why:     "the machine responded",
				Before:  p.Reason,
			},
		)
	})
	if err != nil {
		return fmt.Errorf("resume %s: %w", p.DeviceUID, err)
	}
	turn := f.shown.turn(p.DeviceUID)
	turn.Lock()
	defer turn.Unlock()
	if err := f.showPause(ctx, p.DeviceUID); err != nil {
		return err
	}
	f.Log.Info("sales resumed", "device", p.DeviceUID, "reason", p.Reason)
	return nil
}
