package sandbox

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Event is an event of the account.
type Event struct {
	ID, Type, ObjectID string
	Created            time.Time
	Body               []byte // as delivered, with the object as it was at the time of the event
	Deliveries         int    // attempts, to all endpoints
	Acked              bool   // it was sent to at least one endpoint, and each answered 2xx
}

type event struct {
	Event
	object  json.RawMessage
	waiting map[*endpoint]bool // endpoints that receive the event; true until they answer 2xx; nil: none

	rendered int    // value of pending_webhooks in Body
	envelope object // envelope given to EmitEnvelope; nil for an event of this account
}

// wait records whether an endpoint has still to accept the event.
func (e *event) wait(to *endpoint, waits bool) {
	if e.waiting == nil {
		e.waiting = make(map[*endpoint]bool)
	}
	e.waiting[to] = waits
}

// pending returns how many endpoints have not accepted the event.
func (e *event) pending() (n int) {
	for _, waiting := range e.waiting {
		if waiting {
			n++
		}
	}
	return n
}

// listedOnly is the type of an event that comes with every payment and that no endpoint subscribes to.
// It is only listed.
const listedOnly = "charge.succeeded"

// endpoint is a webhook endpoint.
type endpoint struct {
	ID          string
	URL         string
	Secrets     []string
	Types       []string // "*": all
	Version     string   // api_version; "": the account's
	Description string
	Metadata    map[string]string
	Created     int64
	Disabled    bool
}

// Delivery describes how events are delivered from now on. The zero value delivers each event once,
// at once.
type Delivery struct {
	Lost    bool          // the events exist but are not sent
	Doubled bool          // each is sent again after it was accepted
	Late    time.Duration // delay before the first attempt
}

// SetDelivery changes how events made from now on are delivered.
func (s *Stripe) SetDelivery(d Delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delivery = d
}

// SetEndpoint sets the URL that receives signed webhooks of all types. With an empty URL, pending
// webhooks are dropped and new events are never sent. With two secrets, as while a secret is
// rolled, each delivery has two v1= signatures.
func (s *Stripe) SetEndpoint(url string, secrets ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endpoints[0].URL, s.endpoints[0].Secrets = url, slices.Clone(secrets)
}

// Events returns all events, oldest first.
func (s *Stripe) Events() []Event { return s.EventsAfter("") }

// EventsAfter returns the events after the one with an id, oldest first. For an id that is not known,
// like "", it returns all.
func (s *Stripe) EventsAfter(id string) []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	order := s.events.order
	if at, ok := s.events.ids[id]; ok {
		order = order[at-s.events.forgotten+1:]
	}
	events := make([]Event, 0, len(order))
	for _, e := range order {
		view := e.Event
		view.Acked = e.acked()
		events = append(events, view)
	}
	return events
}

// LastEvent returns the id of the newest event, or "".
func (s *Stripe) LastEvent() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastEvent()
}

func (s *Stripe) lastEvent() string {
	if len(s.events.order) == 0 {
		return ""
	}
	return s.events.order[len(s.events.order)-1].ID
}

func (e *event) acked() bool { return len(e.waiting) > 0 && e.pending() == 0 }

// Settled reports whether every delivery has ended, accepted or given up.
func (s *Stripe) Settled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.outstanding == 0
}

// Posting returns how many webhooks are being sent: their endpoints have not answered, or the answers
// do not count yet. Retries that wait do not count.
func (s *Stripe) Posting() int { return int(s.posting.Load()) }

// Send delivers an event again, with a new signature, to the endpoint of SetEndpoint, even if the
// event was lost. It returns the endpoint's status. Automatic retries continue.
func (s *Stripe) Send(eventID string) (status int, err error) {
	s.mu.Lock()
	e, to := s.events.get(eventID), s.endpoints[0]
	s.mu.Unlock()
	if e == nil {
		return 0, fmt.Errorf("send %s: no such event", eventID)
	}
	return s.post(e, to)
}

// Sign returns the Stripe-Signature header of a body.
func (s *Stripe) Sign(body []byte, secret string, at time.Time) string {
	return signatures(body, []string{secret}, at)
}

func signatures(body []byte, secrets []string, at time.Time) string {
	header := "t=" + strconv.FormatInt(at.Unix(), 10)
	for _, secret := range secrets {
		mac := hmac.New(sha256.New, []byte(secret))
		fmt.Fprintf(mac, "%d.%s", at.Unix(), body)
		header += ",v1=" + hex.EncodeToString(mac.Sum(nil))
	}
	return header
}

// send is an event to create and, if delivered is true, to send. Without an id, its object is the
// whole envelope.
type send struct {
	kind, id  string
	object    object
	delivered bool
}

// emit creates events and sends them. The first attempt for each waits for the first attempt for
// the one before, so that a test can choose the order. Retries do not wait. The returned channels,
// by type, are closed after the first attempt.
func (s *Stripe) emit(sends ...send) map[string]<-chan struct{} {
	tried := make(map[string]<-chan struct{})
	var before <-chan struct{}
	for _, made := range sends {
		snapshot, err := json.Marshal(made.object)
		if err != nil {
			panic(fmt.Sprintf("sandbox: encode %s: %v", made.kind, err))
		}
		e := &event{object: snapshot}
		e.ID, e.Type, e.ObjectID, e.Created = timedID("evt_1", s.Now()), made.kind, made.id, s.Now()
		if made.id == "" {
			e.envelope = made.object
		}
		lost := !made.delivered || s.delivery.Lost || s.running.Err() != nil
		var wanted []*endpoint
		for _, to := range s.endpoints {
			if made.kind != listedOnly && to.URL != "" && !to.Disabled &&
				(slices.Contains(to.Types, "*") || slices.Contains(to.Types, e.Type)) {
				wanted = append(wanted, to)
				e.wait(to, true) // a lost event stays pending
			}
		}
		e.Body, e.rendered = s.eventBody(e, s.config.APIVersion), e.pending()
		s.events.put(e.ID, e)
		if lost {
			continue
		}
		for _, to := range wanted {
			first := make(chan struct{})
			s.outstanding++
			delivery, after := s.delivery, before
			s.background.Go(func() { s.deliver(e, to, delivery, after, first) })
			before, tried[made.kind] = first, first
		}
	}
	return tried
}

// EmitEnvelope creates an event with the caller's envelope, sends it like any other and returns its id. It
// is for events that are not the account's own: those of connected accounts ("account") and thin
// events ("object": "v2.core.event"). The envelope needs a "type".
func (s *Stripe) EmitEnvelope(envelope map[string]any) (id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kind, _ := envelope["type"].(string)
	s.emit(send{kind: kind, object: maps.Clone(envelope), delivered: true})
	return s.lastEvent()
}

// eventBody renders an event as webhooks carry it.
func (s *Stripe) eventBody(e *event, version string) []byte {
	body, err := json.MarshalIndent(s.eventObject(e, version), "", "  ")
	if err != nil {
		panic(fmt.Sprintf("sandbox: encode %s: %v", e.Type, err))
	}
	return body
}

func (s *Stripe) eventObject(e *event, version string) object {
	if e.envelope != nil {
		envelope := maps.Clone(e.envelope)
		envelope["id"] = e.ID
		return envelope
	}
	return object{
		"id":               e.ID,
		"object":           "event",
		"api_version":      version,
		"created":          e.Created.Unix(),
		"livemode":         s.config.Livemode,
		"type":             e.Type,
		"data":             object{"object": e.object},
		"pending_webhooks": e.pending(),
		"request":          object{"id": nil, "idempotency_key": nil},
	}
}

// deliver sends an event until it is accepted, dropped or too old.
func (s *Stripe) deliver(e *event, to *endpoint, d Delivery, after <-chan struct{}, first chan<- struct{}) {
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.outstanding--
	}()
	tried := func() {
		if first != nil {
			close(first)
			first = nil
		}
	}
	defer tried()
	pause(s.running, d.Late)
	if after != nil {
		select {
		case <-after:
		case <-s.running.Done():
		}
	}
	for n := 0; s.running.Err() == nil; n++ {
		status, err := s.post(e, to)
		tried()
		if errors.Is(err, errNowhere) {
			return
		}
		if err == nil && status/100 == 2 {
			if d.Doubled {
				_, _ = s.post(e, to)
			}
			return
		}
		delay, more := s.retryDelay(n, e.Created)
		if !more {
			return
		}
		pause(s.running, delay)
	}
}

// retryDelay returns the wait after failed attempt n, counted from 0, and whether to retry. Stripe
// retries for up to three days, and its schedule is not published (Q2).
func (s *Stripe) retryDelay(n int, created time.Time) (time.Duration, bool) {
	steps := s.config.RetryDelays
	if steps != nil {
		if n >= len(steps) {
			return 0, false
		}
		return steps[n], true
	}
	steps = []time.Duration{
		time.Second,
		2 * time.Second,
		5 * time.Second,
		10 * time.Second,
		30 * time.Second,
		time.Minute,
	}
	return steps[min(n, len(steps)-1)], s.Now().Sub(created) < 72*time.Hour
}

var errNowhere = errors.New("no endpoint")

// post makes one attempt with a new timestamp and signatures. Only 2xx is success, and redirects
// are not followed.
func (s *Stripe) post(e *event, to *endpoint) (status int, err error) {
	s.posting.Add(1)
	defer s.posting.Add(-1)
	s.mu.Lock()
	url, secrets, body := to.URL, to.Secrets, e.Body
	if pending := e.pending(); body == nil || to.Version != "" || pending != e.rendered {
		body = s.eventBody(e, cmp.Or(to.Version, s.config.APIVersion))
	}
	gone := url == "" || to.Disabled
	if !gone {
		e.Deliveries++
	}
	s.mu.Unlock()
	if gone {
		return 0, fmt.Errorf("deliver %s: %w", e.ID, errNowhere)
	}
	r, err := http.NewRequestWithContext(s.running, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, fmt.Errorf("deliver %s: %w", e.ID, err)
	}
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	r.Header.Set("User-Agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)")
	r.Header.Set("Stripe-Signature", signatures(body, secrets, s.Now()))
	answer, err := s.config.Client.Do(r)
	if err != nil {
		return 0, fmt.Errorf("deliver %s: %w", e.ID, err)
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, maxBody))
	_ = answer.Body.Close()
	if answer.StatusCode/100 == 2 {
		s.mu.Lock()
		e.wait(to, false)
		s.mu.Unlock()
	}
	return answer.StatusCode, nil
}

const endpointParams = "url enabled_events[#] description metadata metadata[*]"

func (s *Stripe) eventOperations() []operation {
	return []operation{
		{"GET", "/v1/events", "type types[#] delivery_success" + createdParams + pageParams, "", s.listEvents},
		{"GET", "/v1/events/{id}", "", "", s.retrieveEvent},
		{"POST", "/v1/webhook_endpoints", "api_version " + endpointParams, "", s.createEndpoint},
		{"GET", "/v1/webhook_endpoints", pageParams, "", s.listEndpoints},
		{"GET", "/v1/webhook_endpoints/{id}", "", "", s.retrieveEndpoint},
		{"POST", "/v1/webhook_endpoints/{id}", "disabled " + endpointParams, "", s.updateEndpoint},
		{"DELETE", "/v1/webhook_endpoints/{id}", "", "", s.deleteEndpoint},
	}
}

func (s *Stripe) allOperations() []operation {
	return slices.Concat(s.productOperations(), s.linkOperations(), s.sessionOperations(), s.moneyOperations(),
		s.refundOperations(), s.disputeOperations(), s.balanceOperations(), s.eventOperations(),
		s.triggerOperations())
}

// listEvents lists the events of the last 30 days, rendered in the account's API version whatever
// the request asks for.
func (s *Stripe) listEvents(q *query) (any, *apiError) {
	created, types := q.createdWanted(), q.list("types")
	success := q.flag("delivery_success", true)
	if len(types) > 20 {
		return nil, malformed("types", "At most 20 types, not %d.", len(types))
	}
	if q.Has("type") {
		types = append(types, q.Get("type"))
	}
	wanted := func(e *event) bool {
		return (types == nil || slices.Contains(types, e.Type)) && created(e.Created.Unix()) &&
			(!q.Has("delivery_success") || e.acked() == success) && s.Now().Sub(e.Created) < 30*24*time.Hour
	}
	render := func(e *event, _ expansion) object { return s.eventObject(e, s.config.APIVersion) }
	return listPage(q, &s.events, "/v1/events", wanted, render)
}

func (s *Stripe) retrieveEvent(q *query) (any, *apiError) {
	e := s.events.get(q.id)
	if e == nil {
		return nil, missing("event", q.id, "")
	}
	return s.eventObject(e, s.config.APIVersion), nil
}

func (s *Stripe) createEndpoint(q *query) (any, *apiError) {
	if !q.Has("url") || q.list("enabled_events") == nil {
		return nil, malformed("", "Missing required param: url or enabled_events.")
	}
	if len(s.endpoints) > 16 {
		return nil, refused(http.StatusBadRequest, "", "", "You have reached the maximum of 16 test webhook endpoints.")
	}
	to := &endpoint{
		ID:      timedID("we_1", s.Now()),
		Secrets: []string{"whsec_" + randomText(32)},
		Version: q.Get("api_version"),
		Created: s.Now().Unix(),
	}
	if problem := s.changeEndpoint(q, to); problem != nil {
		return nil, problem
	}
	s.endpoints = append(s.endpoints, to)
	rendered := s.endpointObject(to)
	rendered["secret"] = to.Secrets[0] // returned only on creation
	return rendered, nil
}

func (s *Stripe) changeEndpoint(q *query, to *endpoint) *apiError {
	changed := *to
	if q.Has("url") {
		changed.URL = q.address("url")
	}
	if types := q.list("enabled_events"); types != nil {
		changed.Types = types
	}
	if q.Has("description") {
		changed.Description = q.Get("description")
	}
	changed.Disabled = q.flag("disabled", to.Disabled)
	changed.Metadata = q.metadata("metadata", to.Metadata)
	if q.problem == nil {
		*to = changed
	}
	return q.problem
}

// findEndpoint finds an endpoint created through the API, so it never returns the one of
// SetEndpoint.
func (s *Stripe) findEndpoint(q *query) (int, *apiError) {
	for i, to := range s.endpoints[1:] {
		if to.ID == q.id {
			return i + 1, nil
		}
	}
	return 0, missing("webhook_endpoint", q.id, "")
}

func (s *Stripe) retrieveEndpoint(q *query) (any, *apiError) {
	at, problem := s.findEndpoint(q)
	return s.endpointObject(s.endpoints[at]), problem
}

func (s *Stripe) updateEndpoint(q *query) (any, *apiError) {
	at, problem := s.findEndpoint(q)
	if problem == nil {
		problem = s.changeEndpoint(q, s.endpoints[at])
	}
	return s.endpointObject(s.endpoints[at]), problem
}

func (s *Stripe) deleteEndpoint(q *query) (any, *apiError) {
	at, problem := s.findEndpoint(q)
	if problem != nil {
		return nil, problem
	}
	s.endpoints[at].Disabled = true // drops its pending deliveries
	s.endpoints = slices.Delete(s.endpoints, at, at+1)
	return object{"id": q.id, "object": "webhook_endpoint", "deleted": true}, nil
}

func (s *Stripe) listEndpoints(q *query) (any, *apiError) {
	var all shelf[endpoint]
	for _, to := range s.endpoints[1:] {
		all.put(to.ID, to)
	}
	return listPage(q, &all, "/v1/webhook_endpoints", func(*endpoint) bool { return true },
		func(to *endpoint, _ expansion) object { return s.endpointObject(to) })
}

func (s *Stripe) endpointObject(to *endpoint) object {
	status := "enabled"
	if to.Disabled {
		status = "disabled"
	}
	return object{
		"id":             to.ID,
		"object":         "webhook_endpoint",
		"url":            to.URL,
		"enabled_events": to.Types,
		"api_version":    nullable(to.Version),
		"description":    nullable(to.Description),
		"metadata":       cloned(to.Metadata),
		"created":        to.Created,
		"status":         status,
		"livemode":       s.config.Livemode,
	}
}
