package demo

import (
	"net/http"
	"strings"
	"time"

	"notepay/internal/sandbox"
)

// fault is a switch for trouble: a row is all that it takes to add one.
type fault struct {
	Key, Group, Name, Effect string

	// Notehub's answers to the requests that match, a pattern of the sandbox's Script. {fault} stands for one segment and is
	// replaced by the key, which makes the pattern this fault's own: Clear takes back this one alone.
	pattern string
	outcome sandbox.Outcome

	webhooks func(*sandbox.Delivery) // what becomes of Stripe's webhooks
	offline  string                  // UID of the machine that has no connection
}

// requests is the pattern under the fault's own name.
func (f fault) requests() string { return strings.Replace(f.pattern, "{fault}", "{"+f.Key+"}", 1) }

// Phrase says in a few words what is wrong.
func (f fault) Phrase() string {
	if f.offline != "" {
		return f.Name
	}
	return f.Group + ": " + strings.ToLower(f.Name)
}

// faults are all switches, in the order of the page. Where several meet one request, the one switched on last wins.
func (d *Demo) faults() []fault {
	const everything = "{fault} /{rest...}"
	table := []fault{
		{
			Key: "notehub-down", Group: "Notehub", Name: "Down", Effect: "Every request is answered 503, and nothing happens.",
			pattern: everything, outcome: sandbox.Outcome{Status: http.StatusServiceUnavailable},
		},
		{
			Key: "notehub-slow", Group: "Notehub", Name: "Slow", Effect: "Every answer takes 3 seconds more.",
			pattern: everything, outcome: sandbox.Outcome{Applied: true, Status: http.StatusOK, Delay: 3 * time.Second},
		},
		{
			Key: "notehub-lost", Group: "Notehub", Name: "Reply lost",
			Effect:  "A note is stored, then the connection is cut: notepay cannot know that it worked.",
			pattern: "POST /v1/projects/{fault}/devices/{device}/notes/{file}", outcome: sandbox.Outcome{Applied: true},
		},
		{
			Key: "notehub-limit", Group: "Notehub", Name: "Too many requests", Effect: "Every request is answered 429: come back in 5 seconds.",
			pattern: everything, outcome: sandbox.Outcome{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"5"}}},
		},
		{
			Key: "webhook-lost", Group: "Stripe", Name: "Webhooks lost", Effect: "Stripe has the money, but its message never arrives.",
			webhooks: func(w *sandbox.Delivery) { w.Lost = true },
		},
		{
			Key: "webhook-doubled", Group: "Stripe", Name: "Webhooks doubled", Effect: "Each message arrives twice, as Stripe says it may.",
			webhooks: func(w *sandbox.Delivery) { w.Doubled = true },
		},
		{
			Key: "webhook-late", Group: "Stripe", Name: "Webhooks late", Effect: "Each message arrives 10 seconds late.",
			webhooks: func(w *sandbox.Delivery) { w.Late = 10 * time.Second },
		},
	}
	for _, m := range d.machines {
		table = append(table, fault{
			Key: "offline-" + m.key, Group: "Machines", Name: m.name + " offline", Effect: "Its notes wait at Notehub.", offline: m.uid,
		})
	}
	return table
}

// switchFault switches a fault. It tells whether there is such a one.
func (d *Demo) switchFault(key string, on bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	known := false
	var delivery sandbox.Delivery
	for _, f := range d.faults() {
		if f.Key == key {
			known = true
			if d.on[key] != on {
				d.on[key] = on
				d.apply(f, on)
			}
		}
		if f.webhooks != nil && d.on[f.Key] {
			f.webhooks(&delivery)
		}
	}
	d.stripe.SetDelivery(delivery)
	return known
}

// calm switches all faults off.
func (d *Demo) calm() {
	for _, f := range d.faults() {
		d.switchFault(f.Key, false)
	}
}

// apply makes a fault happen, or no longer. Webhooks are seen to by the caller, who knows all that are on.
func (d *Demo) apply(f fault, on bool) {
	if f.pattern != "" {
		if pattern := f.requests(); on {
			d.notehub.Always(pattern, f.outcome)
		} else {
			d.notehub.Clear(pattern)
		}
	}
	for _, m := range d.machines {
		if m.uid == f.offline {
			m.host.SetOnline(!on)
			d.notehub.SetConnected(m.uid, !on)
		}
	}
}
