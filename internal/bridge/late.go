package bridge

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"notepay/internal/payment"
	"notepay/internal/problem"
	"notepay/internal/upstream"
)

// Whether what is sold now can be delivered. Three things stop all sales: credits that nobody had
// time to send are late, Notehub refuses us, or it takes no notes. That it takes none is learned
// from its own answers: a credit could not be sent for half its lifetime, and no note of any
// machine was accepted meanwhile. Then Notehub is asked by a note that it cannot deliver, until it
// answers that. One machine whose notes alone are not accepted stops its own sales and no others.

const (
	// measuring is the interval between two looks at the queue.
	measuring = time.Second
	// probeInterval is the interval between probes while Notehub takes no notes, and probeAgain
	// while it does and the notes of a machine are still not accepted.
	probeInterval = 30 * time.Second
	probeAgain    = 2 * time.Minute
	// lateHolds is how long a machine does not sell after its last failed note. Then a customer may
	// try.
	lateHolds = 15 * time.Minute
	// probeDevice is a device that no project has. Notehub refuses a note for it, which shows that
	// it handles notes.
	probeDevice = "dev:notepay-probe"
	// maxTried is how many credits are read at a start that were tried in vain.
	maxTried = 1000
)

var errTried = errors.New("it was tried before the start")

// lateness remembers how Notehub took notes. It is in memory alone: at a start the credits that
// were tried in vain fill it.
type lateness struct {
	mu       sync.Mutex
	accepted time.Time // when Notehub last took a note, refused one, or answered a probe
	probed   time.Time
	down     bool // it did not answer the last probe
	failing  map[string]failing
}

// failing is a device whose notes are not accepted.
type failing struct {
	late time.Time // when its oldest credit has used half its lifetime
	last time.Time // when a call for it failed last
}

// took notes what became of a call for a credit that is not delivered yet. now is the host's time,
// which waits are measured by, and ledgerNow the time by which credits live.
func (l *lateness) took(p payment.Payment, o payment.Outcome, err error, now, ledgerNow time.Time) {
	posted := o.Action == payment.StepPostNote
	if p.Delivery != payment.Queued || !posted && o.Action != payment.StepCheckPending {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch upstream.OutcomeOf(err) {
	case upstream.OK, upstream.Rejected:
		if posted || len(o.NoteIDs) > 0 {
			delete(l.failing, p.DeviceUID)
			l.recovered(now)
		}
	default:
		if p.ExpiresAt.IsZero() {
			return // the credit lives for as long as it takes
		}
		f, known := l.failing[p.DeviceUID]
		half := p.CreatedAt.Add(p.ExpiresAt.Sub(p.CreatedAt) / 2)
		if late := now.Add(half.Sub(ledgerNow)); !known || late.Before(f.late) {
			f.late = late
		}
		f.last = now
		if l.failing == nil {
			l.failing = map[string]failing{}
		}
		l.failing[p.DeviceUID] = f
	}
}

// isDown reports whether Notehub takes no notes.
func (l *lateness) isDown() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.down
}

// of reports whether a device's own notes are not accepted.
func (l *lateness) of(device string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	f, ok := l.failing[device]
	return ok && f.isLate(now)
}

func (f failing) isLate(now time.Time) bool {
	return !now.Before(f.late) && now.Sub(f.last) < lateHolds
}

// wantsProbe reports whether Notehub is to be asked now whether it takes notes. It forgets devices
// that nobody has tried for long.
func (l *lateness) wantsProbe(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	late := false
	for device, f := range l.failing {
		late = late || f.isLate(now)
		if now.Sub(f.last) >= lateHolds && now.Sub(f.late) >= lateHolds {
			delete(l.failing, device)
		}
	}
	switch {
	case l.down:
		return now.Sub(l.probed) >= probeInterval
	case !late || now.Sub(l.accepted) < probeAgain:
		return false
	}
	return now.Sub(l.probed) >= probeInterval
}

// answered notes the result of a probe that began at a time, and reports whether it changed what is
// known. Notehub may have taken a note since then: a probe that failed tells nothing new.
func (l *lateness) answered(takesNotes bool, began, now time.Time) (changed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.probed = now
	if !takesNotes && l.accepted.After(began) {
		return false
	}
	changed = l.down == takesNotes
	if takesNotes {
		l.recovered(now)
	} else {
		l.down = true
	}
	return changed
}

// recovered notes that Notehub takes notes. What failed during an outage was not the devices'
// doing. The caller holds the lock.
func (l *lateness) recovered(now time.Time) {
	if l.down {
		clear(l.failing)
	}
	l.accepted, l.down = now, false
}

// Late reports whether nothing may be sold: credits wait too long to be sent, Notehub takes no
// notes, or it refuses us.
func (b *Bridge) Late() bool { return b.late.Load() }

// LateFor reports whether a device may not be sold on because Notehub does not take the notes for
// it alone.
func (b *Bridge) LateFor(device string) bool { return b.lateness.of(device, time.Now()) }

// trackLateness keeps track of whether what is sold now can be delivered.
func (b *Bridge) trackLateness(ctx context.Context) {
	tried, err := b.c.Ledger.QueuedWithFailures(ctx, maxTried)
	if err != nil && ctx.Err() == nil {
		b.c.Log.Error("queue not read", "err", err)
	}
	for _, p := range tried {
		b.lateness.took(p, payment.Outcome{Action: payment.StepPostNote}, errTried, time.Now(), b.now())
	}
	raised := false
	for {
		b.retryShow()
		oldest, err := b.c.Ledger.OldestUntried(ctx)
		if err != nil && ctx.Err() == nil {
			b.c.Log.Error("queue not read", "err", err)
		}
		why := b.notehubProblem()
		waits := b.c.Lifetime > 0 && !oldest.IsZero() && b.now().Sub(oldest) > b.c.Lifetime/2
		if err == nil || why != "" {
			b.late.Store(waits || why != "")
		}
		if why != "" {
			b.c.Problems.Raise(problem.Problem{
				Code:       problem.NotehubDown,
				Text:       why,
				Detail:     b.c.NotehubLimiter.Unreachable(),
				StopsSales: true,
			})
		} else if raised {
			b.c.Problems.Clear(problem.NotehubDown)
		}
		raised = why != ""
		if upstream.Sleep(ctx, measuring) != nil {
			return
		}
	}
}

// notehubProblem returns why nothing that is sold now could be delivered, for the operator; "" if
// Notehub works.
func (b *Bridge) notehubProblem() string {
	switch {
	case b.c.NotehubLimiter.Refuses():
		return "Notehub rejects notepay's requests, so all sales are stopped. " +
			"The console and the log show its answer. Run notepay check."
	case b.lateness.isDown():
		return "Notehub accepts no notes, so all sales are stopped. The log shows its answer. " +
			"Sales resume by themselves."
	}
	return ""
}

// probe asks Notehub whether it takes notes, while there is reason to doubt it.
func (b *Bridge) probe(ctx, calls context.Context) {
	for upstream.Sleep(ctx, measuring) == nil {
		if !b.lateness.wantsProbe(time.Now()) || !b.c.NotehubLimiter.Take() {
			continue
		}
		began := time.Now()
		call, cancel := context.WithTimeout(calls, payment.CallTimeout)
		err := b.c.Notehub.PostNote(call, probeDevice, payment.Note{})
		cancel()
		takesNotes, known := probeAnswer(err)
		if !known || ctx.Err() != nil {
			continue
		}
		if b.lateness.answered(takesNotes, began, time.Now()) {
			b.c.Log.Warn("notehub probed", "takes_notes", takesNotes, "err", err)
		}
	}
}

// probeAnswer says what the answer to a probe shows. Which status Notehub has for a device that
// does not exist is not known (docs/vendors.md, U5), so each that is about the request shows that
// it handled the note. Being asked to wait shows nothing.
func probeAnswer(err error) (takesNotes, known bool) {
	switch upstream.OutcomeOf(err) {
	case upstream.OK, upstream.Rejected:
		return true, true
	case upstream.RateLimited:
		return false, false
	case upstream.Misconfigured:
		e, ok := errors.AsType[*upstream.Error](err)
		return ok && (e.Status == http.StatusBadRequest || e.Status == http.StatusNotFound), true
	}
	return false, true
}
