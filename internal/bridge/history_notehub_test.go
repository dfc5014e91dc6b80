package bridge

import (
	"fmt"
	"slices"
	"time"

	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// pendingNote is a pending note at the simulated Notehub.
type pendingNote struct {
	id, credit, status string
	expires            time.Time
	duration           time.Duration
	listed             time.Time // when Notehub begins to list it; the Notecard gets it at once
}

// effect is the effect of a request that Notehub applies after the caller has given up.
type effect struct {
	at     time.Time
	credit string
	do     func()
}

// machine is the simulated machine behind one Notecard.
type machine struct {
	seen    []string // credits that confirming firmware has had
	running string   // the running timed credit
	until   time.Time
	outbox  []payment.Confirmation // answers on their way to Notehub
	starts  []start
}

type start struct {
	credit   string
	at       time.Time // by the world's clock
	answered time.Time // by the bridge's clock, when the answer reached Notehub; zero if it did not
}

func deviceUID(n int) string { return [...]string{"dev:1", "dev:2"}[n] }

// hubCall makes a claimed payment's call to Notehub. It returns what the caller sees.
func (h *history) hubCall(p payment.Payment) payment.Outcome {
	device := h.purchaseOf(p).device
	trouble := 0
	if !h.calm {
		trouble = h.dice(12)
	}
	switch trouble {
	case 1:
		return payment.Outcome{Result: upstream.Retryable, Status: 503}
	case 2:
		return payment.Outcome{Result: upstream.RateLimited, Status: 429, RetryAfter: 20 * time.Second}
	case 3:
		return payment.Outcome{Result: upstream.Misconfigured, Status: 403}
	case 4: // never received
		return payment.Outcome{Result: upstream.Unknown}
	case 5: // Notehub failed and replied so
		return payment.Outcome{Result: upstream.Unknown, Status: 500, Settled: true}
	case 11:
		if p.Step != payment.StepRecall && h.dice(4) == 3 {
			return payment.Outcome{Result: upstream.Rejected, Status: 404}
		}
	}
	switch p.Step {
	case payment.StepPostNote:
		return h.post(p, device, trouble)
	case payment.StepCheckPending:
		if trouble == 6 {
			return payment.Outcome{Result: upstream.Unknown}
		}
		o := payment.Outcome{Status: 200}
		for _, n := range h.pending[device] {
			if n.credit == p.ID && n.status == payment.NoteCompleted && !n.listed.After(h.world) {
				o.NoteIDs = append(o.NoteIDs, n.id)
			}
		}
		return o
	}
	id, seen := payment.NextRecallNote(p), payment.Outcome{Status: 200}
	if !slices.ContainsFunc(h.pending[device], func(n pendingNote) bool { return n.id == id }) {
		seen = payment.Outcome{Result: upstream.Rejected, Status: 404}
	}
	take := func() {
		h.pending[device] = slices.DeleteFunc(h.pending[device], func(n pendingNote) bool { return n.id == id })
	}
	return h.applied(p, trouble, seen, take)
}

// applied applies a request: at once with a reply, at once without one, or later.
func (h *history) applied(p payment.Payment, trouble int, seen payment.Outcome, do func()) payment.Outcome {
	switch trouble {
	case 6:
		do()
		return payment.Outcome{Result: upstream.Unknown}
	case 7:
		do()
		return payment.Outcome{Result: upstream.Unknown, Status: 500, Settled: true}
	case 8:
		h.effects = append(h.effects, effect{h.world.Add(time.Duration(1+h.dice(10)) * time.Second), p.ID, do})
		return payment.Outcome{Result: upstream.Unknown}
	}
	do()
	return seen
}

func (h *history) post(p payment.Payment, device, trouble int) payment.Outcome {
	body := payment.NoteOf(p)
	if body.PaymentStatus == payment.NoteCompleted {
		switch {
		case slices.ContainsFunc(h.effects, func(e effect) bool { return e.credit == p.ID }):
			h.fail("%s is posted again while a call for it may still be in flight", p.ID)
		case !h.purchaseOf(p).missed && slices.ContainsFunc(h.pending[device], func(n pendingNote) bool {
			return n.credit == p.ID && n.status == payment.NoteCompleted
		}):
			h.fail("%s is posted again while its note is pending", p.ID)
		case body.Expires != 0 && h.now().Unix() > body.Expires:
			h.fail("%s is posted after its end", p.ID)
		}
	}
	return h.applied(p, trouble, payment.Outcome{Status: 200}, func() {
		h.notes++
		h.purchaseOf(p).sent = true
		n := pendingNote{
			id:       fmt.Sprintf("1:%d", h.notes),
			credit:   body.CreditID,
			status:   body.PaymentStatus,
			duration: time.Duration(body.Duration) * time.Second,
			listed:   h.world.Add(h.listsLate),
		}
		if body.Expires != 0 {
			n.expires = time.Unix(body.Expires, 0)
		}
		h.pending[device] = append(h.pending[device], n)
	})
}

// fetch makes a Notecard fetch its notes, and the machine act on them.
func (h *history) fetch(device int) {
	m := &h.machines[device]
	h.finish(m)
	notes := h.pending[device]
	h.pending[device] = nil
	for _, n := range notes {
		h.act(m, n)
	}
}

// finish ends a session whose time is over.
func (h *history) finish(m *machine) {
	if m.running != "" && !h.world.Before(m.until) {
		h.answer(m, m.running, "done")
		m.running = ""
	}
}

func (h *history) act(m *machine, n pendingNote) {
	known := slices.Contains(m.seen, n.credit)
	switch {
	case !h.confirming: // it reads only the first three keys
		if n.status == payment.NoteCompleted {
			h.starts(m, n)
		}
		return
	case n.status != payment.NoteCompleted:
		if m.running == n.credit {
			m.until = h.world
			h.finish(m)
		}
	case known:
		h.answer(m, n.credit, "duplicate")
	case !n.expires.IsZero() && h.world.After(n.expires):
		h.answer(m, n.credit, "expired")
	case m.running != "":
		h.answer(m, n.credit, "busy")
	case !h.calm && h.dice(6) == 5:
		h.answer(m, n.credit, "failed")
	default:
		h.starts(m, n)
	}
	m.seen = append(m.seen, n.credit)
}

func (h *history) starts(m *machine, n pendingNote) {
	h.tell("machine", "starts for %s", n.credit)
	m.starts = append(m.starts, start{credit: n.credit, at: h.world})
	if n.duration > 0 && h.confirming {
		m.running, m.until = n.credit, h.world.Add(n.duration)
	}
	h.answer(m, n.credit, "started")
}

// answer sends a confirmation, if the machine confirms.
func (h *history) answer(m *machine, credit, state string) {
	if h.confirming {
		h.tell("machine", "answers %s for %s", state, credit)
		m.outbox = append(m.outbox, payment.Confirmation{CreditID: credit, State: state})
	}
}

// arrive delivers an answer to Notehub, or loses it.
func (h *history) arrive(device int, lost bool) {
	m := &h.machines[device]
	if len(m.outbox) == 0 {
		return
	}
	n := h.dice(len(m.outbox))
	c := m.outbox[n]
	m.outbox = slices.Delete(m.outbox, n, n+1)
	if lost {
		h.tell("machine", "its answer %s for %s is lost", c.State, c.CreditID)
		return
	}
	c.EventID, c.DeviceUID, c.At = fmt.Sprintf("ev_%d", len(h.answers)), deviceUID(device), h.now()
	h.tell("notehub", "hears %s for %s", c.State, c.CreditID)
	h.answers = append(h.answers, c)
	for i := range m.starts {
		if s := &m.starts[i]; s.credit == c.CreditID && s.answered.IsZero() &&
			(c.State == "started" || c.State == "done") {
			s.answered = h.now()
		}
	}
}

// confirm applies an answer as the bridge does.
func (h *history) confirm(c payment.Confirmation) {
	if slices.Contains(h.heard, c.EventID) {
		return
	}
	h.heard = append(h.heard, c.EventID)
	p, err := h.store.payment(c.CreditID)
	if err != nil || p.DeviceUID != c.DeviceUID {
		return
	}
	after, outcome := payment.ApplyConfirmation(p, c, h.now())
	if outcome == payment.ConfirmationNoPost && h.posts[p.ID] == 0 && h.earlier(p.PaidAt) {
		after, outcome = payment.ApplyForeignConfirmation(p, c, h.now())
	}
	h.tell("bridge", "hears %s for %s: %s", c.State, c.CreditID, outcome)
	h.save(p, after)
}

// listen reads the answers, and times out machines whose deadline was before the reading began.
func (h *history) listen() {
	asOf := h.now()
	for ; h.cursor < len(h.answers); h.cursor++ {
		h.confirm(h.answers[h.cursor])
	}
	h.bridge.answersRead.Store(true)
	if !h.calm && h.dice(3) == 2 {
		h.pass(time.Duration(h.dice(5)) * time.Second)
	}
	silent, err := h.store.silent(asOf)
	if err != nil {
		h.fail("%v", err)
	}
	for _, p := range silent {
		h.tell("bridge", "gives up on %s", p.ID)
		h.save(p, payment.ConfirmationTimedOut(p, asOf, h.now()))
	}
}
