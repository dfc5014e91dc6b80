package bridge

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
)

// update is a transaction in which payments may change. All payments are changed by its methods, so
// that each change is published after the commit.
type update struct {
	*ledger.Tx
	b       *Bridge
	changes []change
	devices []string // devices whose pause, maintenance or own state it writes
}

// change is a payment before and after a transaction. before is zero for a new payment.
type change struct{ before, after payment.Payment }

// update runs f in a transaction, and then publishes the changes in the order in which f made them.
// f may run more than once, see ledger.Update.
//
// After an error of f nothing is published. After any other error the transaction may be on disk, and
// a repetition of f may find nothing left to change. So the fleet reads its devices from the ledger.
//
// If the process stops between the commit and the publication, the rows are right. The next start
// reads them.
func (b *Bridge) update(ctx context.Context, f func(*update) error) error {
	return b.updateBy(ctx, b.c.Ledger.Update, f)
}

// updateBy is update with the method of the ledger that runs the transaction.
func (b *Bridge) updateBy(
	ctx context.Context, run func(context.Context, func(*ledger.Tx) error) error, f func(*update) error,
) error {
	var u *update
	var own error // of f
	err := run(ctx, func(tx *ledger.Tx) error {
		u = &update{Tx: tx, b: b}
		if own = f(u); own == nil {
			own = u.tellOthers()
		}
		return own
	})
	switch {
	case err == nil:
		for _, c := range u.changes {
			b.publish(c)
		}
		for _, device := range u.devices {
			b.showDevice(device)
		}
	case u != nil && own == nil:
		for _, c := range u.changes {
			if c.showsDevice() {
				u.devices = append(u.devices, c.after.DeviceUID)
			}
		}
		b.showLater(u.devices)
	}
	return err
}

// tellOthers tells the other instances what this one will publish.
func (u *update) tellOthers() error {
	for _, c := range u.changes {
		if c.onlyClaimed() {
			continue
		}
		if err := u.Changed(ledger.ChangedPayment, c.after.Token+" "+c.after.SessionID); err != nil {
			return err
		}
		if c.showsDevice() {
			if err := u.Changed(ledger.ChangedUse, c.after.DeviceUID); err != nil {
				return err
			}
		}
	}
	return nil
}

// change writes what differs between before, as read in this transaction, and after. It pauses or
// resumes the device if the change is a reason to.
func (u *update) change(before, after payment.Payment) error {
	if after == before {
		return nil
	}
	if err := u.ChangePayment(before, after); err != nil {
		return err
	}
	if err := u.b.autoPause(u.Tx, before, after); err != nil {
		return err
	}
	after.Rev = before.Rev + 1
	u.changes = append(u.changes, change{before: before, after: after})
	return nil
}

// changeUnread is change for a payment that was not read in this transaction. It returns false if
// the stored payment has changed since before was read.
func (u *update) changeUnread(before, after payment.Payment) (changed bool, err error) {
	if changed, err = u.ChangeUnread(before, after); err != nil || !changed {
		return false, err
	}
	if err := u.b.autoPause(u.Tx, before, after); err != nil {
		return false, err
	}
	after.Rev = before.Rev + 1
	u.changes = append(u.changes, change{before: before, after: after})
	return true, nil
}

// tryInsert writes a new payment. It returns false if its session or PaymentIntent has a payment,
// or another timed credit holds its device.
func (u *update) tryInsert(p payment.Payment) (inserted bool, err error) {
	inserted, err = u.TryInsertPayment(p)
	if inserted && err == nil {
		u.changes = append(u.changes, change{after: p})
	}
	return inserted, err
}

// insert writes a new payment. It returns false if its session or PaymentIntent has a payment.
func (u *update) insert(p payment.Payment) (inserted bool, err error) {
	inserted, err = u.InsertPayment(p)
	if inserted && err == nil {
		u.changes = append(u.changes, change{after: p})
	}
	return inserted, err
}

// setCharge stores the card that paid and the URL of Stripe's receipt, which only the charge tells.
// An empty argument leaves what is known. It returns the payment with both.
func (u *update) setCharge(p payment.Payment, last4, receiptURL string) (payment.Payment, error) {
	if payment.KnowsCharge(p, last4, receiptURL) {
		return p, nil
	}
	before := p
	p.CardLast4, p.ReceiptURL = cmp.Or(last4, p.CardLast4), cmp.Or(receiptURL, p.ReceiptURL)
	if err := u.SetCharge(p.ID, p.CardLast4, p.ReceiptURL); err != nil {
		return before, err
	}
	p.Rev++
	u.changes = append(u.changes, change{before: before, after: p})
	return p, nil
}

// inserted returns the first payment that was inserted, or the zero payment.
func (u *update) inserted() payment.Payment {
	for _, c := range u.changes {
		if c.before.ID == "" {
			return c.after
		}
	}
	return payment.Payment{}
}

// publish tells the fleet, metrics, pages and workers of a committed change.
//
// Transactions share commits, and their callers continue in any order. So a subscriber may receive
// two changes of a payment in the reverse order of their commits, and none may rely on the order.
// Each copy is repaired by one piece of code:
//   - A device's use and pause in the fleet: Fleet.Show reads the ledger. retryShow repeats failed
//     reads every second, also those after a lost reply to a commit, and recoverState reads all
//     occupants at the start.
//   - Live pages: web.Hub reads the payment from the ledger, and each page asks again every 15 s.
//   - Metrics: nothing repairs them. They add up transitions, and a sum does not depend on the
//     order. They begin at zero with the process.
//   - Open Checkout Sessions: any change of its payment makes Checkout forget a session, whatever
//     the order. Its sweep ends the others, and the list is read from the ledger at the start.
//   - Workers: a signal only makes them read the queue, which they also do every maxIdle.
func (b *Bridge) publish(c change) {
	if c.onlyClaimed() {
		return
	}
	p := c.after
	if c.showsDevice() {
		b.showDevice(p.DeviceUID)
	}
	b.c.Observe.Payment(c.before, p)
	if b.c.Changed != nil {
		b.c.Changed(p)
	}
	b.logChange(c)
	b.wake(p)
}

// onlyClaimed reports whether a change did nothing but claim a payment, which no page or metric
// shows.
func (c change) onlyClaimed() bool {
	claimed := c.before
	claimed.InFlight, claimed.DueAt, claimed.FencingToken = true, c.after.DueAt, c.after.FencingToken
	claimed.Rev = c.after.Rev
	return c.before.ID != "" && claimed == c.after
}

// showsDevice reports whether the fleet has to read the payment's device from the ledger.
func (c change) showsDevice() bool { return useChanged(c) || pauseMayHaveChanged(c) }

// useChanged reports whether a change affects when the payment's device is free.
func useChanged(c change) bool {
	return c.before.HoldsDevice != c.after.HoldsDevice ||
		c.after.HoldsDevice && !payment.DeviceFreeAt(c.before).Equal(payment.DeviceFreeAt(c.after))
}

// pauseMayHaveChanged reports whether autoPause may have paused or resumed the device.
func pauseMayHaveChanged(c change) bool {
	return c.before.Delivery != c.after.Delivery &&
		(payment.Answered(c.after) || payment.Unanswered(c.after) || payment.IsFreeStart(c.after))
}

func (b *Bridge) logChange(c change) {
	p := c.after
	b.c.Log.Debug("payment changed", "payment", p.ID, "machine", p.Delivery, "money", p.Funds,
		"reason", p.Reason, "attention", p.ReviewReason)
	if c.before.ReviewReason != p.ReviewReason && p.ReviewReason != "" {
		b.c.Log.Warn("payment needs attention", "payment", p.ID, "device", p.DeviceUID,
			"attention", p.ReviewReason, "machine", p.Delivery, "money", p.Funds)
	}
	if p.Delivery == payment.Failed && c.before.Delivery != payment.Failed && !p.MaybeAccepted {
		b.c.Log.Warn("credit not sent", "payment", p.ID, "device", p.DeviceUID,
			"reason", p.Reason, "attention", p.ReviewReason)
	}
}

// wake tells the workers when a payment is due. One under call is due when its lease ends.
func (b *Bridge) wake(p payment.Payment) {
	switch {
	case payment.CallsNotehub(p.Step):
		b.notehubDue.dueAt(p.DueAt, b.now())
	case payment.CallsStripe(p.Step):
		b.stripeDue.dueAt(p.DueAt, b.now())
	case p.Step == payment.StepWait:
		b.timersDue.dueAt(p.DueAt, b.now())
	}
	if p.InFlight { // the outcome of its call is published, too
		return
	}
	maybeDelivered := p.Delivery == payment.Sent || p.Delivery == payment.Fetched ||
		p.Delivery == payment.Queued && p.NotFoundAfterUnclear
	if maybeDelivered && !p.ConfirmBy.IsZero() {
		signal(b.confirmationsDue)
	}
}

// showTimeout bounds a read that follows a commit. The reply to a webhook may wait for it.
const showTimeout = time.Second

// unshown are the devices whose state the fleet has to read from the ledger, because a read failed or
// the reply to a commit was lost.
type unshown struct {
	mu        sync.Mutex
	ids       map[string]bool
	unsettled bool // a commit whose reply was lost may still be under way
}

// showDevice makes the fleet read a device's use and pause from the ledger. After a failure,
// retryShow tries again.
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
	b.unshown.add(device)
	b.c.Log.Error("device state not published", "device", device, "err", err)
}

// showLater makes retryShow show devices of a transaction whose outcome is unknown.
func (b *Bridge) showLater(devices []string) {
	b.unshown.mu.Lock()
	defer b.unshown.mu.Unlock()
	for _, device := range devices {
		b.unshown.add(device)
		b.unshown.unsettled = true
	}
}

// awaitCommits blocks until the commits whose replies were lost have ended. Transactions take turns, so they
// have ended when another one succeeds.
func (b *Bridge) awaitCommits() error {
	b.unshown.mu.Lock()
	unsettled := b.unshown.unsettled
	b.unshown.unsettled = false
	b.unshown.mu.Unlock()
	if !unsettled {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), showTimeout)
	defer cancel()
	err := b.c.Ledger.Update(ctx, func(*ledger.Tx) error { return nil })
	if err != nil {
		b.unshown.mu.Lock()
		b.unshown.unsettled = true
		b.unshown.mu.Unlock()
	}
	return err
}

// add adds a device. The caller holds mu.
func (u *unshown) add(device string) {
	if u.ids == nil {
		u.ids = map[string]bool{}
	}
	u.ids[device] = true
}

// retryShow reads the devices that are not shown. trackLateness calls it every second.
func (b *Bridge) retryShow() {
	if b.awaitCommits() != nil {
		return
	}
	b.unshown.mu.Lock()
	devices := slices.Collect(maps.Keys(b.unshown.ids))
	b.unshown.mu.Unlock()
	for _, device := range devices {
		b.showDevice(device)
	}
}
