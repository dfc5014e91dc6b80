package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// routeTimeout is how long a route waits for a response (Blues' post on data routing).
const routeTimeout = 30 * time.Second

// usualRouteDelays returns the waits before a route's retries. Blues' staff says that there are up
// to three over about six minutes. Whether retries are on by default is not known (U14).
func usualRouteDelays() []time.Duration {
	return []time.Duration{30 * time.Second, 90 * time.Second, 4 * time.Minute}
}

// route is the URL that receives each new event of some notefiles.
type route struct {
	url, token string
	files      []string // nil: those of NotehubConfig
}

// RouteTry is one attempt to deliver an event through the route.
type RouteTry struct {
	At     time.Time
	Status int // status of the response; 0: no connection or no response
}

// answerFiles returns the notefiles whose events the route delivers. The caller holds the lock.
func (n *Notehub) answerFiles() []string {
	if n.route.files != nil {
		return n.route.files
	}
	if n.config.AnswerFiles == nil {
		return []string{confirmationFile}
	}
	return n.config.AnswerFiles
}

// SetRoute sets the URL and bearer token for new events of the notefiles, or of those in NotehubConfig
// if there are none. Waiting retries use them
// too. With an empty URL, nothing is sent and waiting retries are dropped. The events cursor lists
// the events in any case.
func (n *Notehub) SetRoute(url, token string, files ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.route = route{url: url, token: token, files: files}
}

// routeUID is the uid of the one route.
const routeUID = "route:8d65a087d5d290ce5bdf03aeff2becc0"

// listRoutes returns a bare array of the routes, without their URLs.
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
			"url":                  n.route.url,
			"timeout":              0,
			"throttle_ms":          100,
			"fleets":               []string{},
			"disable_http_headers": false,
			"filter": object{
				"type":             "inclusion",
				"files":            n.answerFiles(),
				"system_notefiles": false,
			},
		},
	}, nil
}

// createRoute creates the one route. The sandbox accepts only a route of the confirmations with a
// bearer token.
func (n *Notehub) createRoute(q *hubQuery) (any, *hubError) {
	var asked struct {
		Label string `json:"label"`
		HTTP  struct {
			URL     string            `json:"url"`
			Headers map[string]string `json:"http_headers"`
			Filter  struct {
				Type   string   `json:"type"`
				Files  []string `json:"files"`
				System bool     `json:"system_notefiles"`
			} `json:"filter"`
		} `json:"http"`
	}
	if problem := q.decode(&asked); problem != nil {
		return nil, problem
	}
	token, bearer := strings.CutPrefix(asked.HTTP.Headers["Authorization"], "Bearer ")
	switch u, err := url.Parse(asked.HTTP.URL); {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, hubMalformed("http.url must be a URL, not %q", asked.HTTP.URL)
	case !bearer || token == "":
		return nil, hubMalformed("the sandbox knows only routes with the header Authorization: Bearer")
	case asked.HTTP.Filter.Type != "include" || len(asked.HTTP.Filter.Files) == 0 ||
		slices.ContainsFunc(asked.HTTP.Filter.Files, func(file string) bool { return !isOutbound(file) }):
		return nil, hubMalformed("the sandbox knows only routes that include notefiles such as %s", confirmationFile)
	case n.route.url != "":
		return nil, hubRefused(http.StatusConflict, "the sandbox has only one route")
	}
	n.route = route{url: asked.HTTP.URL, token: token, files: asked.HTTP.Filter.Files}
	made, problem := n.getRoute(&hubQuery{path: map[string]string{"route": routeUID}})
	return created{made}, problem
}

// RouteToken returns the bearer token of the route, or "" if there is none.
func (n *Notehub) RouteToken() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.route.token
}

// SetDelivery changes how events made from now on are delivered. Delayed events arrive after events
// that are made without the delay, so they are out of order.
func (n *Notehub) SetDelivery(d Delivery) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.delivery = d
}

// Routed returns the attempts to deliver an event, oldest first.
func (n *Notehub) Routed(eventID string) []RouteTry {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.tries[eventID])
}

// Settled reports whether every delivery has ended, accepted or given up.
func (n *Notehub) Settled() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.outstanding == 0
}

// Close stops the route's deliveries and waits for them. Later events are not delivered.
func (n *Notehub) Close() {
	n.mu.Lock()
	n.stop() // under the lock, so that no delivery begins afterwards
	n.mu.Unlock()
	n.background.Wait()
}

// send begins the delivery of an event. The caller holds the lock.
func (n *Notehub) send(e hubEvent) {
	if n.route.url == "" || !slices.Contains(n.answerFiles(), e.File) || n.delivery.Lost || n.running.Err() != nil {
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

// deliver posts an event until the response is not 5xx, or it gives up. Events do not wait for each
// other, so their order is not kept.
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

// push makes one attempt. The result there is false if the route has no URL or the sandbox is
// closed.
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
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, maxBody))
	_ = answer.Body.Close()
	return answer.StatusCode
}
