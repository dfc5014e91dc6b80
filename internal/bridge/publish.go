package bridge

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"notepay/internal/payment"
)

// What others remember of payments, and who brings it up to date. Changes are published after their
// commit, in any order (see committed), so nothing may be taken from their order:
//   - The fleet's use and pause of a device are read again from the ledger (Fleet.Show); a read that failed is repeated by showAgain.
//   - Live pages read their payment again (Live.tell), and each page asks again every 15 s.
//   - Metrics add up transitions, whose sum does not depend on the order; they begin at zero with the process.
//   - The checkout's open sessions are those of the ledger; it asks the fleet whether a device sells, and its sweep ends the others.

// showTimeout bounds a read that follows a commit. The answer to a webhook may wait for it.
const showTimeout = time.Second

// unshown are devices of which the fleet could not be shown what the ledger says.
type unshown struct {
	mu  sync.Mutex
	ids map[string]bool
}

// showDevice has the fleet know what the ledger says of a device now. The ledger may fail to be
// read; measure then tries again.
func (b *Bridge) showDevice(device string) {
	ctx, cancel := context.WithTimeout(context.Background(), showTimeout) // the caller may be gone
	defer cancel()
	err := b.c.Fleet.Show(ctx, device, payment.DeviceFreeAt)
	b.unshown.mu.Lock()
	defer b.unshown.mu.Unlock()
	if err == nil {
		delete(b.unshown.ids, device)
		return
	}
	if b.unshown.ids == nil {
		b.unshown.ids = map[string]bool{}
	}
	b.unshown.ids[device] = true
	b.c.Log.Error("device state not published", "device", device, "err", err)
}

// retryShow repeats what could not be shown.
func (b *Bridge) retryShow() {
	b.unshown.mu.Lock()
	devices := slices.Collect(maps.Keys(b.unshown.ids))
	b.unshown.mu.Unlock()
	for _, device := range devices {
		b.showDevice(device)
	}
}

// useChanged reports whether a change of a payment changes what the fleet has to know of its
// device's use.
func useChanged(c change) bool {
	return c.before.HoldsDevice != c.after.HoldsDevice ||
		c.after.HoldsDevice && !payment.DeviceFreeAt(c.before).Equal(payment.DeviceFreeAt(c.after))
}

// pauseMayHaveChanged reports whether a change of a payment may have paused or resumed its device,
// see streak.
func pauseMayHaveChanged(c change) bool {
	return c.before.Delivery != c.after.Delivery &&
		(payment.Answered(c.after) || payment.Unanswered(c.after) || payment.IsFreeStart(c.after))
}

// change is a payment before and after a transaction; before is zero for a new one, both are for
// none.
type change struct {
	before, after payment.Payment
	ended         *change // another payment that gave its device up in the same transaction; nil for none
}

// afterCommit is told of every change of a payment, once it is on disk: it wakes who has work, and
// has the fleet know who is in use. Those who share a commit call it in any order, see publish.go.
func (b *Bridge) afterCommit(changes ...change) {
	for _, c := range changes {
		if c.ended != nil {
			b.afterCommit(*c.ended)
		}
		p := c.after
		if p.ID == "" {
			continue
		}
		if useChanged(c) || pauseMayHaveChanged(c) {
			b.showDevice(p.DeviceUID)
		}
		b.c.Observe.Payment(c.before, p)
		if b.c.Changed != nil {
			b.c.Changed(p)
		}
		b.c.Log.Debug(
			"payment changed",
			"payment",
			p.ID,
			"machine",
			p.Delivery,
			"money",
			p.Funds,
			"reason",
			p.Reason,
			"attention",
			p.ReviewReason,
		)
		if c.before.ReviewReason != p.ReviewReason && p.ReviewReason != "" {
			b.c.Log.Warn(
				"payment needs attention",
				"payment",
				p.ID,
				"device",
				p.DeviceUID,
				"attention",
				p.ReviewReason,
				"machine",
				p.Delivery,
				"money",
				p.Funds,
			)
		}
		if p.Delivery == payment.Failed && c.before.Delivery != payment.Failed && !p.MaybeAccepted {
			b.c.Log.Warn(
				"credit not sent",
				"payment",
				p.ID,
				"device",
				p.DeviceUID,
				"reason",
				p.Reason,
				"attention",
				p.ReviewReason,
			)
		}
		if p.InFlight { // who settles it knows what is next
			continue
		}
		switch p.Step {
		case payment.StepPostNote, payment.StepCheckPending, payment.StepRecall:
			signal(b.notehubDue)
		case payment.StepCapture, payment.StepCancel, payment.StepRefund:
			signal(b.stripeDue)
		case payment.StepWait:
			signal(b.timersDue)
		}
		if (p.Delivery == payment.Sent || p.Delivery == payment.Fetched || p.Delivery == payment.Queued && p.NotFoundAfterUnclear) &&
			!p.ConfirmBy.IsZero() {
			signal(b.confirmationsDue)
		}
	}
}
