package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"
)

// routeTimeout is how long a route waits for an answer (Blues' post on data routing).
const routeTimeout = 30 * time.Second

// usualRouteDelays are the waits before a route's retries: up to three over about six minutes
// (Blues' staff; that they are on is not known, U14).
func usualRouteDelays() []time.Duration {
	return []time.Duration{30 * time.Second, 90 * time.Second, 4 * time.Minute}
}

// route sends each new event of payment_ack.qo to a URL.
type route struct{ url, token string }

// RouteTry is one delivery of an event through the route.
type RouteTry struct {
	At     time.Time
	Status int // what the other side answered; 0: no connection, or no answer
}

// SetRoute says where events of payment_ack.qo made from now on are posted, with the token in
// Authorization: Bearer. What waits to be tried again goes there too. With an empty URL they go
// nowhere, and what waits is dropped. The events cursor lists them in any case.
func (n *Notehub) SetRoute(url, token string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.route = route{url: url, token: token}
}

// routeUID is the uid of the one route.
const routeUID = "route:8d65a087d5d290ce5bdf03aeff2becc0"

// listRoutes answers a bare array of what tells routes apart, without where they lead.
func (n *Notehub) listRoutes(*hubQuery) (any, *hubError) {
	routes := []object{}
	if n.route.url != "" {
		routes = append(routes, object{
			"uid":      routeUID,
			"label":    "Confirmations",
			"type":     "http",
			"disabled": false,
			"modified": "2026-01-01T00:00:00Z",
		})
	}
	return routes, nil
}

func (n *Notehub) getRoute(q *hubQuery) (any, *hubError) {
	if n.route.url == "" || q.path["route"] != routeUID {
		return nil, hubRefused(http.StatusNotFound, "route %s does not exist", q.path["route"])
	}
	return object{
		"uid":      routeUID,
		"label":    "Confirmations",
		"type":     "http",
		"disabled": false,
		"modified": "2026-01-01T00:00:00Z",
		"http": object{
			"url": n.route.url, "timeout": 0, "throttle_ms": 100, "fleets": []string{}, "disable_http_headers": false,
			"filter": object{"type": "inclusion", "files": []string{confirmationFile}, "system_notefiles": false},
		},
	}, nil
}

// SetDelivery changes how events made from now on are routed. An event that is late is overtaken by
// those made after the delay was taken back, so they arrive out of order.
func (n *Notehub) SetDelivery(d Delivery) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.delivery = d
}

// Routed returns the tries to deliver an event, oldest first.
func (n *Notehub) Routed(eventID string) []RouteTry {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.tries[eventID])
}

// Settled tells that no delivery is outstanding: each was accepted, or given up.
func (n *Notehub) Settled() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.outstanding == 0
}

// Close stops the route's deliveries and waits for them. Events made later are not delivered.
func (n *Notehub) Close() {
	n.mu.Lock()
	n.stop() // under the lock, so that no delivery begins after it
	n.mu.Unlock()
	n.background.Wait()
}

// send begins the delivery of an event. The caller holds the lock.
func (n *Notehub) send(e hubEvent) {
	if n.route.url == "" || e.File != confirmationFile || n.delivery.Lost || n.running.Err() != nil {
		return
	}
	body, err := json.Marshal(e)
	if err != nil {
		panic(fmt.Sprintf("sandbox: encode event of %s: %v", e.Device, err))
	}
	n.outstanding++
	d := n.delivery
	n.background.Go(func() {
		n.deliver(e.Event, body, d)
		n.mu.Lock()
		defer n.mu.Unlock()
		n.outstanding--
	})
}

// deliver posts an event until it is answered other than 5xx, or given up. No event waits for
// another: their order is not kept.
func (n *Notehub) deliver(id string, body []byte, d Delivery) {
	pause(n.running, d.Late)
	for _, delay := range append([]time.Duration{0}, n.config.RouteDelays...) {
		pause(n.running, delay)
		status, there := n.push(id, body)
		if !there {
			return
		}
		if status != 0 && status < http.StatusInternalServerError {
			if d.Doubled && status/100 == 2 {
				n.push(id, body)
			}
			return
		}
	}
}

// push makes one try; there is false when there is nowhere to send to, or the sandbox is closed.
func (n *Notehub) push(id string, body []byte) (status int, there bool) {
	n.mu.Lock()
	to := n.route
	n.mu.Unlock()
	if to.url == "" || n.running.Err() != nil {
		return 0, false
	}
	at := time.Now()
	status = n.post(to, body)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tries[id] = append(n.tries[id], RouteTry{At: at, Status: status})
	return status, true
}

func (n *Notehub) post(to route, body []byte) (status int) {
	ctx, cancel := context.WithTimeout(n.running, routeTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to.url, bytes.NewReader(body))
	if err != nil {
		return 0
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+to.token)
	answer, err := n.config.Client.Do(r)
	if err != nil {
		return 0
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, largestBody))
	_ = answer.Body.Close()
	return answer.StatusCode
}
