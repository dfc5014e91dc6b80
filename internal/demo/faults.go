package demo

import (
	"net/http"
	"strings"
	"time"

	"notepay/internal/sandbox"
)

// fault is a switch that simulates a fault. Adding a fault takes only a row in a table.
type fault struct {
	Key, Group, Name, Effect string

	// Notehub answers requests that match pattern with outcome. The pattern is one of
	// sandbox.Script. Its segment {fault} is replaced by the key, so that each pattern is unique
	// and Clear removes only this fault.
	pattern string
	outcome sandbox.Outcome

	webhooks func(*sandbox.Delivery) // changes the delivery of Stripe's webhooks
	routed   func(*sandbox.Delivery) // changes the delivery of machines' answers on Notehub's route
	refunds  sandbox.RefundMode      // result of refunds

	machine *machine                // machine that has the fault; nil: a vendor has it
	offline bool                    // the machine has no connection
	dark    bool                    // the machine loses power with the next note
	behave  func(*sandbox.Behavior) // changes the behavior of the machine
}

// requests returns the pattern with the fault's own name.
func (f fault) requests() string { return strings.Replace(f.pattern, "{fault}", "{"+f.Key+"}", 1) }

// Phrase returns the fault in a few words.
func (f fault) Phrase() string { return f.Group + ": " + strings.ToLower(f.Name) }

// faults returns all switches, in the order of the page. If several match one request, the one
// turned on last applies. Of those for refunds, the last one in the table applies.
func (d *Demo) faults() []fault {
	const everything = "{fault} /{rest...}"
	table := []fault{
		{
			Key:     "notehub-down",
			Group:   "Notehub",
			Name:    "Down",
			Effect:  "Notehub answers every request with 503 and does nothing.",
			pattern: everything,
			outcome: sandbox.Outcome{Status: http.StatusServiceUnavailable},
		},
		{
			Key:     "notehub-slow",
			Group:   "Notehub",
			Name:    "Slow",
			Effect:  "Every answer takes 3 seconds longer.",
			pattern: everything,
			outcome: sandbox.Outcome{Applied: true, Status: http.StatusOK, Delay: 3 * time.Second},
		},
		{
			Key:     "notehub-lost",
			Group:   "Notehub",
			Name:    "Reply lost",
			Effect:  "Notehub stores a note, then cuts the connection. notepay cannot know that the note arrived.",
			pattern: "POST /v1/projects/{fault}/devices/{device}/notes/{file}",
			outcome: sandbox.Outcome{Applied: true},
		},
		{
			Key:     "notehub-limit",
			Group:   "Notehub",
			Name:    "Too many requests",
			Effect:  "Notehub answers every request with 429 and asks to wait 5 seconds.",
			pattern: everything,
			outcome: sandbox.Outcome{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"5"}}},
		},
		{
			Key:    "route-lost",
			Group:  "Notehub",
			Name:   "Answers lost",
			Effect: "The route loses the machines' answers. notepay reads them from Notehub before it refunds.",
			routed: func(r *sandbox.Delivery) { r.Lost = true },
		},
		{
			Key:    "route-doubled",
			Group:  "Notehub",
			Name:   "Answers doubled",
			Effect: "The route sends each answer twice.",
			routed: func(r *sandbox.Delivery) { r.Doubled = true },
		},
		{
			Key:    "route-late",
			Group:  "Notehub",
			Name:   "Answers late",
			Effect: "The route delays each answer by 10 seconds.",
			routed: func(r *sandbox.Delivery) { r.Late = 10 * time.Second },
		},
		{
			Key:      "webhook-lost",
			Group:    "Stripe",
			Name:     "Webhooks lost",
			Effect:   "Stripe has the money, but its webhook never arrives.",
			webhooks: func(w *sandbox.Delivery) { w.Lost = true },
		},
		{
			Key:      "webhook-doubled",
			Group:    "Stripe",
			Name:     "Webhooks doubled",
			Effect:   "Each webhook arrives twice, as Stripe says it may.",
			webhooks: func(w *sandbox.Delivery) { w.Doubled = true },
		},
		{
			Key:      "webhook-late",
			Group:    "Stripe",
			Name:     "Webhooks late",
			Effect:   "Each webhook arrives 10 seconds late.",
			webhooks: func(w *sandbox.Delivery) { w.Late = 10 * time.Second },
		},
		{
			Key:     "refund-fails",
			Group:   "Stripe",
			Name:    "Refunds fail",
			Effect:  "The customer's bank rejects refunds. notepay asks for attention and tries again in an hour.",
			refunds: sandbox.RefundsFail,
		},
		{
			Key:     "refund-pends",
			Group:   "Stripe",
			Name:    "Refunds pend",
			Effect:  "Refunds stay pending until you switch this off, and count as refunded.",
			refunds: sandbox.RefundsPend,
		},
		{
			Key:     "refund-balance",
			Group:   "Stripe",
			Name:    "Balance too small",
			Effect:  "Stripe rejects refunds. notepay asks for attention and tries again in a day.",
			refunds: sandbox.RefundsLackBalance,
		},
	}
	for _, m := range d.machines {
		table = append(table, m.faults()...)
	}
	return table
}

// faults returns the switches of one machine. A firmware that never answers has no switches that
// change answers.
func (m *machine) faults() []fault {
	table := []fault{
		{Key: "offline", Name: "Offline", Effect: "Notes wait at Notehub, and notepay recalls them.", offline: true},
		{
			Key:    "refuses",
			Name:   "Refuses",
			Effect: "The machine does not start and reports E-DOOR.",
			behave: func(b *sandbox.Behavior) { b.Refuse, b.Code = "failed", "E-DOOR" },
		},
		{
			Key:    "silent",
			Name:   "Silent",
			Effect: "The machine takes the note, does nothing and does not answer.",
			behave: func(b *sandbox.Behavior) { b.Refuse, b.Silent = "failed", true },
		},
		{
			Key:    "late",
			Name:   "Answers late",
			Effect: "The machine answers 15 seconds late.",
			behave: func(b *sandbox.Behavior) { b.AnswerLate = 15 * time.Second },
		},
		{
			Key:    "twice",
			Name:   "Answers twice",
			Effect: "The machine sends each answer twice.",
			behave: func(b *sandbox.Behavior) { b.Twice = true },
		},
		{
			Key:    "power",
			Name:   "Power cut",
			Effect: "The machine loses power after it takes a note, until you switch this off.",
			dark:   true,
			behave: func(b *sandbox.Behavior) { b.LosePower = true },
		},
	}
	var own []fault
	for _, f := range table {
		if m.original && !f.offline && !f.dark && f.Key != "silent" {
			continue
		}
		f.Key, f.Group, f.machine = f.Key+"-"+m.key, m.name, m
		own = append(own, f)
	}
	return own
}

// switchFault turns a fault on or off. It returns false if there is no such fault.
func (d *Demo) switchFault(key string, on bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range d.faults() {
		if f.Key != key {
			continue
		}
		if d.on[key] != on {
			d.on[key] = on
			d.apply(f, on)
		}
		return true
	}
	return false
}

// calm turns all faults off.
func (d *Demo) calm() {
	for _, f := range d.faults() {
		d.switchFault(f.Key, false)
	}
}

// apply begins or ends the effect of a fault. The caller holds the lock.
func (d *Demo) apply(f fault, on bool) {
	switch {
	case f.pattern != "" && on:
		d.notehub.Always(f.requests(), f.outcome)
	case f.pattern != "":
		d.notehub.Clear(f.requests())
	case f.machine != nil:
		d.applyMachine(f, on)
	default:
		d.applyVendors()
	}
}

// applyVendors sets deliveries and refunds to the combined effect of the faults that are on.
func (d *Demo) applyVendors() {
	var webhooks, routed sandbox.Delivery
	refunds := sandbox.RefundsSucceed
	for _, f := range d.faults() {
		if !d.on[f.Key] {
			continue
		}
		if f.webhooks != nil {
			f.webhooks(&webhooks)
		}
		if f.routed != nil {
			f.routed(&routed)
		}
		if f.refunds != sandbox.RefundsSucceed {
			refunds = f.refunds
		}
	}
	d.stripe.SetDelivery(webhooks)
	d.notehub.SetDelivery(routed)
	d.stripe.SetRefunds(refunds)
	if refunds != sandbox.RefundsPend {
		for _, s := range d.stripe.Sessions() {
			d.stripe.SettleRefund(s.ID, true) // pending refunds succeed
		}
	}
}

// applyMachine sets a machine's behavior to the combined effect of its faults that are on.
func (d *Demo) applyMachine(f fault, on bool) {
	m := f.machine
	var b sandbox.Behavior
	for _, other := range m.faults() {
		if d.on[other.Key] && other.behave != nil {
			other.behave(&b)
		}
	}
	m.host.SetBehavior(b)
	switch {
	case f.offline:
		m.host.SetOnline(!on)
		m.card.SetOnline(!on)
		d.notehub.SetConnected(m.uid, !on)
	case f.dark && on:
		m.cut = time.Now()
	case f.dark:
		m.host.SetPower(true)
	}
}

// isDark reports whether a machine has lost power, which happens when it fetches a note after the
// fault was turned on.
func (d *Demo) isDark(m *machine, notes []sandbox.Note) bool {
	if !d.on["power-"+m.key] {
		return false
	}
	for _, n := range notes {
		if n.FetchedAt.After(m.cut) {
			return true
		}
	}
	return false
}
