package bridge

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"notepay/internal/message"
	"notepay/internal/notefile"
	"notepay/internal/payment"
	"notepay/internal/problem"
	"notepay/internal/upstream"
)

// Three conditions stop all sales: queued credits wait too long, Notehub rejects our credentials,
// or Notehub accepts no notes. The last is suspected when a credit could not be sent for half its
// lifetime and Notehub accepted no note of any device meanwhile. Then notepay probes Notehub with a
// note that cannot be delivered, until Notehub handles it. A single device whose notes alone are
// not accepted stops only its own sales.

const (
	// measureInterval is the interval between two measurements of the queue.
	measureInterval = time.Second
	// emptyInterval is how long an empty queue counts as empty if this process has not written since.
	emptyInterval = 5 * time.Second
	// probeInterval is the interval between probes while Notehub accepts no notes.
	// idleProbeInterval is the interval while it does, but the notes of a device are still not
	// accepted.
	probeInterval     = 30 * time.Second
	idleProbeInterval = 2 * time.Minute
	// lateHold is how long a device does not sell after its last failed note. Then a customer may
	// try.
	lateHold = 15 * time.Minute
	// probeDevice is a device that no project has. If Notehub rejects a note for it, Notehub
	// handles notes.
	probeDevice = "dev:notepay-probe"
	// maxTried limits the failed credits that are read at the start.
	maxTried = 1000
)

var errSendFailed = errors.New("it was tried before the start")

// lateness remembers how Notehub accepted notes. It is kept in memory only. At the start, it is
// filled from the credits that could not be sent.
type lateness struct {
	mu       sync.Mutex
	accepted time.Time // when Notehub last accepted or rejected a note, or handled a probe
	ended    time.Time // when the last outage ended
	probed   time.Time
	down     bool // the last probe failed
	failing  map[string]failing
}

// failing is a device whose notes are not accepted.
type failing struct {
	late time.Time // when its oldest credit will have used half its lifetime
	last time.Time // when a call for it failed last
}

// took records the outcome of a call for a queued credit. began and now are the host's time, which
// measures waits, and ledgerNow is the time by which credits expire. A call that began during an
// outage that is over fails because of it, whatever its device.
func (l *lateness) took(p payment.Payment, o payment.Outcome, err error, began, now, ledgerNow time.Time) {
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
		if p.ExpiresAt.IsZero() || began.Before(l.ended) {
			return // such a credit cannot be late, or its device is not to blame
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

// isDown reports whether Notehub accepts no notes.
func (l *lateness) isDown() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.down
}

// of reports whether only the device's own notes are not accepted.
func (l *lateness) of(device string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	f, ok := l.failing[device]
	return ok && f.isLate(now)
}

func (f failing) isLate(now time.Time) bool {
	return !now.Before(f.late) && now.Sub(f.last) < lateHold
}

// wantsProbe reports whether to probe Notehub now. It forgets devices without recent calls.
func (l *lateness) wantsProbe(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	late := false
	for device, f := range l.failing {
		late = late || f.isLate(now)
		if now.Sub(f.last) >= lateHold && now.Sub(f.late) >= lateHold {
			delete(l.failing, device)
		}
	}
	switch {
	case l.down:
		return now.Sub(l.probed) >= probeInterval
	case !late || now.Sub(l.accepted) < idleProbeInterval:
		return false
	}
	return now.Sub(l.probed) >= probeInterval
}

// answered records the result of a probe that began at a time, and reports whether it changed
// isDown. If Notehub has accepted a note since, a failed probe proves nothing.
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

// recovered records that Notehub accepts notes. The devices did not cause the failures of an
// outage. The caller holds the lock.
func (l *lateness) recovered(now time.Time) {
	if l.down {
		clear(l.failing)
		l.ended = now
	}
	l.accepted, l.down = now, false
}

// Late reports whether nothing may be sold: credits wait too long, Notehub accepts no notes, or
// Notehub rejects our credentials.
func (b *Bridge) Late() bool { return b.late.Load() }

// LateFor reports whether a device may not be sold on because only its own notes are not accepted.
func (b *Bridge) LateFor(device string) bool { return b.lateness.of(device, time.Now()) }

// trackLateness measures every second whether sales can be delivered. It also repeats failed reads
// of devices for the fleet.
func (b *Bridge) trackLateness(ctx context.Context) {
	tried, err := b.c.Ledger.QueuedWithFailures(ctx, maxTried)
	if err != nil && ctx.Err() == nil {
		b.c.Log.Error("queue not read", "err", err)
	}
	for _, p := range tried {
		now := time.Now()
		b.lateness.took(p, payment.Outcome{Action: payment.StepPostNote}, errSendFailed, now, now, b.now())
	}
	raised := false
	var oldest, read time.Time
	for {
		b.retryShow()
		var err error
		empty := oldest.IsZero() && b.c.Ledger.LastWrite().Before(read) && time.Since(read) < emptyInterval
		if !empty {
			began := time.Now()
			var found time.Time
			if found, err = b.c.Ledger.OldestUntried(ctx); err == nil {
				oldest, read = found, began
			} else if ctx.Err() == nil {
				b.c.Log.Error("queue not read", "err", err)
			}
		}
		why := b.notehubProblem()
		waits := b.c.Lifetime > 0 && !oldest.IsZero() && b.now().Sub(oldest) > b.c.Lifetime/2
		if err == nil || !why.IsZero() {
			b.late.Store(waits || !why.IsZero())
		}
		if !why.IsZero() {
			b.c.Problems.Raise(problem.Problem{
				Code:       problem.NotehubDown,
				Text:       why,
				Detail:     b.c.NotehubLimiter.Unreachable(),
				StopsSales: true,
			})
		} else if raised {
			b.c.Problems.Clear(problem.NotehubDown)
		}
		raised = !why.IsZero()
		if upstream.Sleep(ctx, measureInterval) != nil {
			return
		}
	}
}

// notehubProblem returns why nothing could be delivered now, for the operator, or none if Notehub
// works.
func (b *Bridge) notehubProblem() message.Message {
	switch {
	case b.c.NotehubLimiter.Refuses():
		return message.New("Notehub rejects notepay's requests, so all sales are stopped. " +
			"The console and the log show its answer. Run notepay check.")
	case b.lateness.isDown():
		return message.New("Notehub accepts no notes, so all sales are stopped. The log shows its answer. " +
			"Sales resume by themselves.")
	}
	return message.Message{}
}

// probe probes Notehub while lateness wants it.
func (b *Bridge) probe(ctx, calls context.Context) {
	for upstream.Sleep(ctx, measureInterval) == nil {
		if !b.lateness.wantsProbe(time.Now()) || !b.c.NotehubLimiter.Take() {
			continue
		}
		began := time.Now()
		call, cancel := context.WithTimeout(calls, payment.CallTimeout)
		err := b.c.Notehub.PostNote(call, probeDevice, cmp.Or(b.c.NoteFile, notefile.Payments), payment.Note{})
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

// probeAnswer returns what a probe's outcome shows. Notehub's status for an unknown device is
// undocumented (docs/vendors.md, U5). So each status about the request counts as a note that was
// handled. A rate limit shows nothing.
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
