package bridge

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"notepay/internal/payment"
	"notepay/internal/upstream"
)

const (
	devices      = 2
	maxPurchases = 3
	maxActions   = 40
	// defaultHistories is the number of histories, unless NOTEPAY_HISTORIES is set.
	defaultHistories = 100_000
)

// history is a random course of events around the bridge: customers, Stripe, Notehub, machines,
// crashes and clocks. The decisions are those of internal/payment. The bridge's loops are imitated
// in a few lines each.
type history struct {
	*rapid.T
	world, born time.Time     // the clock of all others
	skew        time.Duration // how far the bridge's clock is ahead
	store       *shelf
	bridge      *Bridge       // used for its settings and what it has read since the start
	listsLate   time.Duration // how late Notehub lists a new note
	manual      bool          // payments are authorized first
	confirming  bool          // machines confirm
	calm        bool          // no more faults from now on

	purchases []*purchase
	events    []*simEvent
	lookups   map[*purchase]time.Time

	pending  [devices][]pendingNote
	machines [devices]machine
	effects  []effect
	notes    int
	answers  []payment.Confirmation // received by Notehub
	heard    []string
	cursor   int

	calls []*call // in flight
	story []line

	copy    *ledgerCopy          // of the ledger, nil for none
	started time.Time            // start of the process on a restored ledger; zero without a restore
	handled map[*purchase]string // the evidence stored with look-ups
	posts   map[string]int       // how many notes of each credit this ledger has posted, or may have
}

// call is a call whose result is not recorded yet.
type call struct {
	claimed payment.Payment
	outcome payment.Outcome
}

type line struct {
	at     time.Time
	who    string
	format string
	args   []any
}

func (h *history) now() time.Time { return h.world.Add(h.skew) }

func (h *history) tell(who, format string, args ...any) {
	h.story = append(h.story, line{h.world, who, format, args})
}

// fail fails the test with the whole story.
func (h *history) fail(format string, args ...any) {
	var b strings.Builder
	fmt.Fprintf(&b, format, args...)
	fmt.Fprintf(&b, "\nlifetime %v, confirmation within %v, money held first: %v\n", h.bridge.c.Lifetime,
		h.bridge.c.ConfirmWithin, h.manual)
	for _, l := range h.story {
		fmt.Fprintf(&b, "%s  %-9s  %s\n", l.at.Format("02 15:04:05.000"), l.who, fmt.Sprintf(l.format, l.args...))
	}
	for _, p := range h.store.list {
		fmt.Fprintf(&b, "at the end: %+v\n", p)
	}
	h.Fatalf("%s", b.String())
}

// dice draws a number from 0 to n-1. Shrinking leads to 0, so 0 is the most ordinary choice.
func dice(t *rapid.T, n int) int {
	if n <= 1 {
		return 0
	}
	return rapid.IntRange(0, n-1).Draw(t, "")
}

func pick[T any](t *rapid.T, of ...T) T { return of[dice(t, len(of))] }

func (h *history) dice(n int) int              { return dice(h.T, n) }
func (h *history) word(words ...string) string { return words[h.dice(len(words))] }

// parts draws an amount: all of it, or 100.
func (h *history) parts(left int64) int64 {
	if left > 100 && h.dice(2) == 1 {
		return 100
	}
	return left
}

func newHistory(t *rapid.T) *history {
	start := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	h := &history{
		T:       t,
		world:   start,
		born:    start,
		store:   &shelf{},
		lookups: map[*purchase]time.Time{},
		handled: map[*purchase]string{},
		posts:   map[string]int{},
	}
	c := Config{Lifetime: 10 * time.Minute}
	switch dice(t, 6) {
	case 1, 2:
		h.confirming, c.ConfirmWithin = true, 2*time.Minute
	case 3, 4:
		h.confirming, c.ConfirmWithin = true, 20*time.Minute
	case 5:
		c.Lifetime = 0
	}
	h.manual = dice(t, 3) == 1
	h.listsLate = pick(t, 0, 0, 2*time.Second, 8*time.Second)
	h.bridge = New(c)
	return h
}

// pass lets time pass, and applies the effects that become due at Notehub.
func (h *history) pass(d time.Duration) {
	end := h.world.Add(d)
	for {
		first := -1
		for i, e := range h.effects {
			if !e.at.After(end) && (first < 0 || e.at.Before(h.effects[first].at)) {
				first = i
			}
		}
		if first < 0 {
			break
		}
		e := h.effects[first]
		h.effects = append(h.effects[:first:first], h.effects[first+1:]...)
		h.world = e.at
		h.tell("notehub", "applies late what was asked for %s", e.credit)
		e.do()
	}
	h.world = end
}

// changed adds what changed of a payment to the story.
func (h *history) changed(before, p payment.Payment) {
	if before.Delivery != p.Delivery || before.Funds != p.Funds || before.ReviewReason != p.ReviewReason ||
		before.Step != p.Step ||
		before.RefundedAmount != p.RefundedAmount {
		h.tell("ledger", "%s is %s (%s), %s %d, attention %q, next %q at %s", p.ID, p.Delivery, p.Reason, p.Funds,
			p.RefundedAmount, p.ReviewReason, p.Step, p.DueAt.Format("15:04:05"))
	}
}

func (h *history) save(before, p payment.Payment) {
	if before == p {
		return
	}
	if err := h.store.save(h.now(), p); err != nil {
		h.fail("save %+v: %v", p, err)
	}
	h.changed(before, p)
}

func (h *history) purchaseOf(p payment.Payment) *purchase {
	for _, x := range h.purchases {
		if x.session == p.SessionID {
			return x
		}
	}
	h.fail("payment %s of an unpaid session", p.ID)
	return nil
}

// work claims one vendor's due payments as the bridge does, and makes their calls.
func (h *history) work(due func(time.Time, bool) ([]payment.Payment, error),
	call func(payment.Payment) payment.Outcome) (worked bool) {
	for _, again := range []bool{false, true} {
		list, err := due(h.now(), again)
		if err != nil {
			h.fail("%v", err)
		}
		for _, p := range list {
			if forNotehub(p.Step) && h.store.called(p.DeviceUID, h.now()) { // claimed just before
				h.save(p, payment.Next(p, h.now()))
				continue
			}
			worked = h.claim(p, call) || worked
		}
	}
	return worked
}

func (h *history) claim(p payment.Payment, make func(payment.Payment) payment.Outcome) bool {
	before, now := p, h.now()
	if h.bridge.tooEarly(p, now) {
		if !p.InFlight {
			p.DueAt = now.Add(time.Second)
		}
		h.save(before, p)
		return false
	}
	if p.Delivery == payment.Queued && !p.MaybeAccepted && !p.InFlight && !h.calm && h.dice(25) == 24 {
		h.save(before, h.bridge.reject(p, payment.ReasonUnknownDevice, now))
		return true
	}
	p, interrupted := payment.Claim(p, now)
	h.save(before, p)
	if interrupted != nil {
		h.tell("bridge", "finds %s of %s interrupted", interrupted.Action, p.ID)
	}
	if !p.InFlight {
		return true
	}
	o := make(p)
	o.Action, o.NoteID, o.Began = p.Step, payment.NextRecallNote(p), now
	h.tell("bridge", "calls for %s: %s, %v %d (over %v) %v", p.ID, p.Step, o.Result, o.Status, o.Settled, o.NoteIDs)
	h.calls = append(h.calls, &call{p, o})
	if h.calm || h.dice(4) != 3 {
		if !h.calm && h.dice(4) == 3 {
			h.pass(time.Duration(h.dice(14)) * time.Second)
		}
		h.settle(len(h.calls) - 1)
	}
	return true
}

// settle records the result of a call.
func (h *history) settle(n int) {
	c := h.calls[n]
	h.calls = append(h.calls[:n:n], h.calls[n+1:]...)
	before, err := h.store.payment(c.claimed.ID)
	if err != nil {
		h.fail("%v", err)
	}
	c.outcome.Stale = before.FencingToken != c.claimed.FencingToken
	if c.outcome.Stale {
		h.tell("bridge", "a stale worker settles %s of %s", c.outcome.Action, c.claimed.ID)
	}
	if o := c.outcome; o.Action == payment.StepPostNote &&
		(o.Result == upstream.OK || o.Status == 0 || o.Status >= 500) {
		h.posts[c.claimed.ID]++
	}
	if errors.Is(c.outcome.Err, payment.ErrDisputed) {
		h.askBy(h.purchaseOf(before), h.now().Add(disputeDelay))
	}
	h.save(before, payment.ApplyOutcome(before, c.outcome, h.now()))
}

// watch applies deadlines.
func (h *history) watch() {
	due, err := h.store.dueWaits(h.now())
	if err != nil {
		h.fail("%v", err)
	}
	for _, p := range due {
		h.save(p, payment.Next(p, h.now()))
	}
}

// reconcile reads all events, newest first.
func (h *history) reconcile() {
	for i := len(h.events) - 1; i >= 0; i-- {
		if e := h.events[i]; e.stored {
			h.handledSince(e)
		} else {
			h.take(e, true)
		}
	}
	h.bridge.listed.Store(true)
	h.bridge.eventsRead.Store(true)
}

// crash kills the bridge. The results of the calls in flight are not recorded.
func (h *history) crash() {
	h.tell("bridge", "crashes, and starts again")
	h.calls = nil
	h.bridge.eventsRead.Store(false)
	h.bridge.answersRead.Store(false)
	h.bridge.listed.Store(false)
	if !h.started.IsZero() {
		h.started = h.now()
	}
	if err := h.store.restart(); err != nil {
		h.fail("%v", err)
	}
}

// decide makes the operator decide something.
func (h *history) decide() {
	x := h.anyPurchase()
	before, err := h.store.payment(x.credit)
	if err != nil {
		return
	}
	p, now := before, h.now()
	switch h.dice(4) {
	case 0:
		h.tell("person", "retries %s", p.ID)
		x.missed = x.missed || p.Reason == payment.ReasonAdopted
		if p, err = payment.Resend(p, h.bridge.c.Lifetime, now); err == nil {
			if p = h.reserveDevice(p); p.Delivery == payment.Failed {
				err = payment.ErrState
			}
		}
	case 1, 2:
		amount := h.parts(x.amount - p.RefundedAmount)
		h.tell("person", "gives %d of %s back", amount, p.ID)
		if p, err = payment.Refund(p, amount, now); err == nil {
			x.granted += amount
			x.byPerson = x.byPerson || p.RefundedAmount+amount >= x.amount
		}
	case 3:
		h.tell("person", "ends %s", p.ID)
		if p, err = payment.Cancel(p, now); err == nil {
			x.byPerson, x.seen = true, true
		}
	}
	if err == nil {
		h.save(before, p)
	}
}

// happen does one of the things that may happen.
func (h *history) happen() {
	switch h.dice(19) {
	case 0:
		h.pass(pick(h.T, time.Second, 16*time.Second, time.Minute, 2*time.Minute, 5*time.Minute, 11*time.Minute,
			time.Hour, 25*time.Hour))
	case 1, 2:
		h.receive(h.events[h.dice(len(h.events))])
	case 3, 4, 5:
		h.work(h.store.dueForNotehub, h.hubCall)
	case 6:
		h.work(h.store.dueForStripe, h.stripeCall)
	case 7:
		if len(h.calls) > 0 {
			h.settle(h.dice(len(h.calls)))
		}
	case 8, 9:
		h.fetch(h.dice(devices))
	case 10:
		h.arrive(h.dice(devices), h.dice(5) == 4)
	case 11:
		h.listen()
	case 12:
		if len(h.answers) > 0 { // by Notehub's route
			h.confirm(h.answers[h.dice(len(h.answers))])
		}
	case 13:
		h.watch()
	case 14:
		h.reconcile()
	case 15:
		h.lookUp(h.anyPurchase())
	case 16:
		h.pay()
	case 17:
		switch h.dice(5) {
		case 0:
			h.dashboard()
		case 1:
			h.decide()
		case 2:
			h.crash()
		case 3:
			h.copyLedger()
		case 4:
			h.restore()
		}
	case 18:
		h.skew = time.Duration(h.dice(5)-2) * time.Second
		h.tell("clock", "ours is %v ahead", h.skew)
	}
}

// quiet ends all faults, and lets time pass until nothing is due.
func (h *history) quiet() {
	h.tell("world", "all is quiet")
	h.calm = true
	h.pass(20 * time.Second)
	for range 2000 {
		h.calmly()
		h.work(h.store.dueForNotehub, h.hubCall)
		h.work(h.store.dueForStripe, h.stripeCall)
		h.watch()
		next := h.nextDue()
		if next.IsZero() {
			return
		}
		h.pass(max(next.Sub(h.now()), time.Second))
	}
	h.fail("it is never quiet")
}

// calmly does what all others do without faults.
func (h *history) calmly() {
	for len(h.calls) > 0 {
		h.settle(0)
	}
	for _, x := range h.purchases {
		for n, r := range x.refunds {
			if r.Status == "pending" {
				h.settleRefund(x, n, "succeeded")
			}
		}
	}
	h.reconcile()
	for _, x := range h.purchases {
		h.lookUp(x)
	}
	for d := range devices {
		h.fetch(d)
		for len(h.machines[d].outbox) > 0 {
			h.arrive(d, false)
		}
	}
	h.listen()
}

// nextDue returns when the bridge has work next, or the zero time.
func (h *history) nextDue() (next time.Time) {
	earlier := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	for _, p := range h.store.list {
		if p.Step != payment.NoStep {
			earlier(p.DueAt)
		}
		if p.Delivery == payment.Fetched && !p.ConfirmBy.IsZero() || payment.InDoubt(p, h.now()) {
			earlier(p.ConfirmBy)
		}
	}
	for _, due := range h.lookups {
		earlier(due)
	}
	for d := range devices {
		if m := &h.machines[d]; m.running != "" {
			earlier(m.until.Add(h.skew))
		}
	}
	return next
}

// silent keeps rapid's line for each hundred histories out of a failure's report.
type silent struct{ *testing.T }

func (silent) Logf(string, ...any) {}
func (silent) Log(...any)          {}

// TestHistories checks that every payment of a random history ends as promised. NOTEPAY_HISTORIES
// sets the number of histories.
func TestHistories(t *testing.T) {
	t.Parallel()
	wanted := defaultHistories
	if underRace {
		wanted /= 10
	}
	if given := os.Getenv("NOTEPAY_HISTORIES"); given != "" {
		if _, err := fmt.Sscan(given, &wanted); err != nil {
			t.Fatalf("NOTEPAY_HISTORIES: %v", err)
		}
	}
	const parts = 4
	for n := range parts {
		t.Run(fmt.Sprintf("part %d", n+1), func(t *testing.T) {
			t.Parallel()
			for tried := 0; tried < wanted/parts; {
				rapid.Check(silent{t}, func(t *rapid.T) {
					tried++
					newHistory(t).run()
				})
			}
		})
	}
}

// run runs a history from its first payment to its end.
func (h *history) run() {
	h.pay()
	for range h.dice(maxActions + 1) {
		h.happen()
	}
	if h.dice(2) == 0 {
		h.restore() // if there is a copy, because few of them are restored on the way
	}
	h.quiet()
	h.check()
}
