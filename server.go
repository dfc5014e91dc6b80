package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"notepay/internal/bodies"
	"notepay/internal/bridge"
	"notepay/internal/checkout"
	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/metrics"
	notehubapi "notepay/internal/notehub"
	"notepay/internal/problem"
	"notepay/internal/recording"
	"notepay/internal/stripeevent"
	"notepay/internal/uid"
	"notepay/internal/upstream"
	"notepay/internal/web"
	operatorapi "notepay/internal/web/api"
	"notepay/internal/web/console"
	"notepay/internal/web/customer"
)

// Server answers the outside world. Its fields are set once, before it serves.
type Server struct {
	ledger   *ledger.Ledger
	fleet    *fleet.Fleet
	bridge   *bridge.Bridge
	webhooks stripeevent.Secrets
	customer *customer.Handler
	checkout *checkout.Checkout // nil: machines are paid for through their links
	operator *operatorapi.Handler
	console  *console.Console
	// what Notehub's route sends as its bearer token; "" for no route
	routeToken string
	publicURL  string                  // where customers reach us
	project    string                  // app:..., of whom confirmations are taken
	ignored    func(event, why string) // told of answers that are not applied to any payment
	metrics    *metrics.Metrics
	paces      map[string]*upstream.Limiter // by vendor, for /health
	wrong      *web.Problems                // the same with the vendors that do not answer, as it is shown
	problems   *problem.Board               // what is wrong now: /health shows it, and sales may stop
	log        *slog.Logger
	recording  *recording.Monitor // whether payments can be recorded
	refreshes  refreshGate
	// complaints of bad signatures: anybody can cause them, and the count is in the metrics
	complaints rate.Sometimes
	unverified *bodies.Budget // of webhooks whose signature was not checked yet

	version     string
	webhooksOff bool
	lastWebhook atomic.Int64 // when the last was accepted, in Unix milliseconds; 0: none since the start
}

// mostBody is the largest body that is read, in bytes: a webhook's, for which Stripe names no limit (docs/vendors.md, Q2).
const mostBody = 1 << 20

// routes is every route.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, h func(http.ResponseWriter, *http.Request) error) {
		mux.Handle(pattern, s.adapt(h))
		s.metrics.Expect(pattern)
	}
	operator := func(pattern string, h func(http.ResponseWriter, *http.Request) error) {
		handle(pattern, s.operatorOnly(h))
	}

	handle("GET /{$}", s.customer.Home)
	handle("GET /pay", s.pay)
	handle("GET /pay/{uid}", s.pay)
	handle("GET /use/{uid}", s.use)
	if s.checkout != nil {
		handle("POST /use/{uid}", s.buy)
	}
	handle("GET /payment/success", s.customer.Success)
	handle("GET /payment/cancel", s.customer.Cancelled)
	handle("GET /session/{token}", s.customer.Payment)
	handle("GET /session/{token}/events", s.customer.Events)
	handle("GET /access/{token}", s.customer.Access)
	handle("GET /access/{token}/events", s.customer.AccessEvents)
	missing := s.adapt(s.customer.Nowhere)
	mux.Handle("GET /static/", customer.Static(missing))
	handle("GET /static/brand.css", s.customer.BrandStyle)

	handle("POST /webhook/stripe", s.stripeWebhook)
	handle("POST /api/stripe/webhook", s.stripeWebhook)
	handle("POST /api/webhook", s.stripeWebhook)

	handle("POST /webhook/notehub", s.notehubWebhook)

	handle("GET /refresh-devices", s.refreshDevices)
	handle("POST /refresh-devices", s.refreshDevices)
	handle("GET /health", s.healthReport)
	mux.Handle("GET /metrics", s.metrics.Handler())

	operator("GET /api/payments", s.operator.Payments)
	operator("GET /api/payments/{id}", s.operator.Payment)
	operator("POST /api/payments/{id}/retry", s.operator.Retry)
	operator("POST /api/payments/{id}/refund", s.operator.Refund)
	operator("POST /api/payments/{id}/end", s.operator.End)
	operator("GET /api/devices", s.operator.Devices)
	operator("POST /api/devices/{uid}/pause", s.operator.Pause)
	operator("POST /api/devices/{uid}/resume", s.operator.Resume)
	operator("POST /api/devices/{uid}/start", s.operator.Start)
	operator("POST /api/create-payment-link", s.createPaymentLink)
	operator("GET /api/stripe-events", s.operator.StripeEvents)
	operator("GET /api/events", s.operator.EventStream)
	mux.Handle("/", web.Elsewhere(mux, missing, "/api/", "/api"))
	unknown := s.adapt(s.operatorOnly(func(http.ResponseWriter, *http.Request) error {
		return &web.APIError{Status: http.StatusNotFound, Code: "not_found", Message: "no such route"}
	}))
	mux.Handle("/api", web.Elsewhere(mux, unknown, "/api/", "/api"))
	mux.Handle("/api/", web.Elsewhere(mux, unknown, "/api/", "/api"))

	s.console.Register(handle)
	return s.secured(web.Tidy(mux))
}

// secured adds what every answer carries, bounds every body, and makes a panic a log line and a
// 500. Where part of an answer was sent already it aborts the connection instead: the part must not
// look like the whole.
func (s *Server) secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		recorder := &statusRecorder{ResponseWriter: w}
		h := w.Header()
		// No form-action: forms of ours lead to the customer's checkout by a redirect, and Stripe's hosts are not to be listed
		// (buy., book., donate.stripe.com and custom domains).
		h["Content-Security-Policy"] = contentPolicy
		h["X-Content-Type-Options"] = noSniff
		h["X-Frame-Options"] = noFrame
		h["Referrer-Policy"] = noReferrer
		if r.Body != http.NoBody {
			r.Body = http.MaxBytesReader(w, r.Body, mostBody)
		}
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if p == http.ErrAbortHandler {
				panic(p)
			}
			s.log.Error("panic", "route", r.Pattern, "err", fmt.Sprint(p), "stack", string(debug.Stack()))
			if recorder.status != 0 {
				web.Abort(recorder, r)
			}
			h.Del("Content-Disposition")
			http.Error(w, "Internal error", http.StatusInternalServerError)
		}()
		next.ServeHTTP(recorder, r)
	})
}

// Shared by all answers, and so never changed.
var (
	contentPolicy = []string{"default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'"}
	noSniff       = []string{"nosniff"}
	noFrame       = []string{"DENY"}
	noReferrer    = []string{"no-referrer"}
)

// adapt makes a handler of a function that returns an error: the one place where an error becomes
// an answer, a log line and a count. The customer gets a safe sentence, the log the cause. A
// failure in the middle of an answer aborts the connection, so that whoever reads it cannot take
// what was sent for the whole.
func (s *Server) adapt(h func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		recorder, ok := w.(*statusRecorder)
		if !ok {
			recorder = &statusRecorder{ResponseWriter: w}
		}
		err := h(recorder, r)
		if apiErr, ok := errors.AsType[*web.APIError](err); ok {
			err = apiErr.Write(recorder)
		}
		if err != nil {
			s.log.Error("request failed", "route", r.Pattern, "err", err)
			if _, whole := errors.AsType[*web.Answered](err); recorder.status != 0 && !whole {
				s.metrics.Requests.WithLabelValues(r.Pattern, "5xx").Inc()
				web.Abort(recorder, r)
			}
			if recorder.status == 0 {
				s.wentWrong(recorder, r)
			}
		}
		if recorder.status != http.StatusTemporaryRedirect {
			s.metrics.Requests.WithLabelValues(r.Pattern, strconv.Itoa(recorder.status/100)+"xx").Inc()
		}
	})
}

// wentWrong answers a request that failed for a reason which only the log is told.
func (s *Server) wentWrong(w *statusRecorder, r *http.Request) {
	w.Header().Del("Content-Disposition") // an error is no file to save
	var err error
	if strings.HasPrefix(r.URL.Path, "/api/") {
		err = (&web.APIError{Status: http.StatusInternalServerError, Code: "internal",
			Message: "internal error; the log has the cause"}).Write(w)
	} else {
		err = s.customer.Failed(w, r)
	}
	if err == nil {
		return
	}
	s.log.Error("error page failed", "err", err)
	if w.status == 0 {
		http.Error(w, "Internal error", http.StatusInternalServerError)
	}
}

// statusRecorder remembers what was answered; status is 0 until an answer has begun.
type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (r *statusRecorder) WriteHeader(status int) {
	if r.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *statusRecorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// FlushError implements what http.ResponseController asks for to flush. It sends the header, and so begins the answer.
func (r *statusRecorder) FlushError() error {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return http.NewResponseController(r.ResponseWriter).Flush()
}

// Unwrap lets http.ResponseController find the writer underneath.
func (r *statusRecorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// operatorOnly lets in who carries the operator token, and nothing that a page of another site asks a browser to do.
func (s *Server) operatorOnly(h func(http.ResponseWriter, *http.Request) error) func(http.ResponseWriter, *http.Request) error {
	origins := http.NewCrossOriginProtection()
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := origins.Check(r); err != nil {
			return &web.APIError{Status: http.StatusForbidden, Code: "other_origin", Message: "request from a page of another site"}
		}
		if err := s.operator.Authorized(r); err != nil {
			return err
		}
		return h(w, r)
	}
}

var noStore = []string{"no-store"}

// pay leads a scan to the machine's Payment Link, or to the page of its plans if there are several or a session is made for each purchase. It
// reads memory only.
func (s *Server) pay(w http.ResponseWriter, r *http.Request) error {
	given := r.PathValue("uid")
	if given == "" {
		given = deviceParameter(r)
	}
	d, err := s.scanned(w, r, given)
	if d == nil {
		return err
	}
	if len(d.Offers) > 1 || s.checkout != nil {
		return s.customer.Plans(w, r, d)
	}
	s.metrics.Redirects.Inc()
	h := w.Header()
	h["Location"] = []string{d.Offers[0].URL}
	h["Cache-Control"] = noStore
	w.WriteHeader(http.StatusTemporaryRedirect)
	return nil
}

// use shows what a machine sells, also if it is one plan.
func (s *Server) use(w http.ResponseWriter, r *http.Request) error {
	d, err := s.scanned(w, r, r.PathValue("uid"))
	if d == nil {
		return err
	}
	return s.customer.Plans(w, r, d)
}

// buy leads who pressed the button of a plan to a session for it.
func (s *Server) buy(w http.ResponseWriter, r *http.Request) error {
	d, err := s.scanned(w, r, r.PathValue("uid"))
	if d == nil {
		return err
	}
	return s.customer.Buy(w, r, d)
}

// scanned is the machine that a scan is of, if it sells. Of any other the customer is told why it does not, and it returns nil.
func (s *Server) scanned(w http.ResponseWriter, r *http.Request, given string) (*fleet.Device, error) {
	uid, ok := uid.Parse(given)
	if !ok {
		return nil, s.customer.NoDevice(w, r, given)
	}
	sale := s.selling(uid)
	if sale.State != fleet.Open || s.closed() {
		return nil, s.customer.NotSelling(w, r, sale)
	}
	if s.bridge.LateFor(uid) {
		return nil, s.customer.NotReached(w, r, sale.Device)
	}
	return sale.Device, nil
}

// closed reports whether nothing may be sold on any machine now: credits run late, or a problem stops sales.
func (s *Server) closed() bool { return s.bridge.Late() || s.problems.StopsSales() }

// selling says whether a machine sells, and has what is missing looked for: somebody is waiting for it.
func (s *Server) selling(uid string) fleet.Availability {
	sale := s.fleet.Availability(uid, s.ledger.Now())
	switch sale.State {
	case fleet.NoDevice:
		s.fleet.RequestLookup(uid)
	case fleet.NotReady:
		s.fleet.Prioritize(uid)
	}
	return sale
}

// createPaymentLink gives the operator's own front ends the address at which a plan of a machine is paid. What it costs is decided by the
// price alone: whatever else the body holds is not read.
func (s *Server) createPaymentLink(w http.ResponseWriter, r *http.Request) error {
	var wish struct {
		ID      string `json:"id"`
		PriceID string `json:"price_id"` // "" for the first that the machine sells
	}
	if err := json.NewDecoder(r.Body).Decode(&wish); err != nil {
		if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
			return &web.APIError{Status: http.StatusRequestEntityTooLarge, Code: "too_large", Message: "the body is larger than 1 MiB"}
		}
		return &web.APIError{Status: http.StatusBadRequest, Code: "bad_body", Message: `the body must be JSON with the device's UID as "id", and optionally "price_id"`}
	}
	uid, ok := uid.Parse(wish.ID)
	if !ok {
		return &web.APIError{Status: http.StatusBadRequest, Code: "bad_id", Message: `"id" must be a device UID, dev:...`}
	}
	sale := s.selling(uid)
	switch {
	case sale.State == fleet.NoDevice:
		return &web.APIError{Status: http.StatusNotFound, Code: "not_found", Message: "no device has this UID"}
	case sale.State == fleet.Unread:
		w.Header().Set("Retry-After", "2")
		return &web.APIError{Status: http.StatusConflict, Code: string(sale.State), Message: "the device's variables are being read; try again in a moment"}
	case sale.State != fleet.Open:
		return &web.APIError{Status: http.StatusConflict, Code: string(sale.State), Message: "the device is not taking payments right now"}
	case s.bridge.Late():
		return &web.APIError{Status: http.StatusConflict, Code: "late", Message: "credits wait too long to be sent, so all sales are stopped"}
	case s.bridge.LateFor(uid):
		return &web.APIError{Status: http.StatusConflict, Code: "late", Message: "credits of this device wait too long to be sent, so its sales are stopped"}
	case s.problems.StopsSales():
		return &web.APIError{Status: http.StatusConflict, Code: "closed", Message: "all sales are stopped; see /health for the reason"}
	}
	for _, o := range sale.Device.Offers {
		switch {
		case wish.PriceID != "" && o.Plan.PriceID != wish.PriceID:
		case s.checkout != nil: // sessions are made by who presses the button
			return web.WriteJSON(w, http.StatusCreated, created(s.publicURL+"/use/"+uid))
		case o.URL != "":
			return web.WriteJSON(w, http.StatusCreated, created(o.URL))
		case wish.PriceID != "" && o.Closed != "":
			return &web.APIError{Status: http.StatusConflict, Code: string(fleet.LinkClosed), Message: "the link of this price was deactivated in Stripe's Dashboard"}
		case wish.PriceID != "":
			s.fleet.Prioritize(uid)
			return &web.APIError{Status: http.StatusConflict, Code: string(fleet.NotReady), Message: "the link is not ready yet; try again in a moment"}
		}
	}
	return &web.APIError{Status: http.StatusNotFound, Code: "no_such_price", Message: "the device does not sell this price"}
}

// created is the answer with the address at which a plan is paid.
func created(url string) any {
	return map[string]any{"message": "Payment link created", "data": map[string]string{"url": url}}
}

// deviceParameter reads ?device=, and the other spellings that a sticker's redirect may carry (docs/vendors.md, U2). It goes
// through the query as it stands: to make a map of it first is a quarter of what a scan costs.
func deviceParameter(r *http.Request) string {
	for _, name := range []string{"device", "deviceuid", "device_uid"} {
		for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
			key, given, _ := strings.Cut(pair, "=")
			if !strings.EqualFold(key, name) { // a QR code may be in capitals alone
				continue
			}
			if v, err := url.QueryUnescape(given); err == nil && v != "" {
				return v
			}
		}
	}
	return ""
}

// recordTimeout bounds how long a webhook waits until it is recorded. The vendor then sends it again.
const recordTimeout = 5 * time.Second

// stripeWebhook says yes once an event and what follows from it are on disk.
func (s *Server) stripeWebhook(w http.ResponseWriter, r *http.Request) error {
	refuse := func(status int, code, message string) error {
		s.metrics.Rejected.Inc()
		return &web.APIError{Status: status, Code: code, Message: message}
	}
	signature := r.Header.Get("Stripe-Signature")
	if !s.webhooks.Plausible(signature) { // before the body is read: anybody may send one
		return refuse(http.StatusBadRequest, "bad_signature", "no valid signature")
	}
	body, err := s.unverified.Read(w, r)
	switch {
	case errors.Is(err, bodies.ErrTooLarge):
		return refuse(http.StatusRequestEntityTooLarge, "too_large", "the event is larger than 1 MiB")
	case errors.Is(err, bodies.ErrBusy):
		return refuse(http.StatusServiceUnavailable, "busy", "too many events at once; send the event again")
	case errors.Is(err, bodies.ErrSlow):
		return refuse(http.StatusRequestTimeout, "too_slow", "the event did not arrive in time; send it again")
	case err != nil:
		return refuse(http.StatusBadRequest, "unreadable", "the body could not be read")
	}
	event, err := s.webhooks.Verify(body, signature, s.ledger.Clock())
	if errors.Is(err, stripeevent.ErrTooOld) || errors.Is(err, stripeevent.ErrTimeUnknown) { // unless our time is wrong
		s.bridge.LearnTime(r.Context())
		event, err = s.webhooks.Verify(body, signature, s.ledger.Clock())
	}
	switch {
	case errors.Is(err, stripeevent.ErrTimeUnknown):
		s.log.Warn("webhook postponed", "err", err)
		return &web.APIError{Status: http.StatusServiceUnavailable, Code: "not_recorded", Message: "the event cannot be processed yet; send it again"}
	case errors.Is(err, stripeevent.ErrSignature):
		s.complaints.Do(func() { s.log.Warn("webhook rejected", "err", err) })
		return refuse(http.StatusBadRequest, "bad_signature", "no valid signature")
	case err != nil: // Stripe would send it for days, and it would never be readable
		event.Odd = err.Error()
	}
	ctx, cancel := context.WithTimeout(r.Context(), recordTimeout)
	defer cancel()
	if err := s.bridge.Receive(ctx, event); err != nil {
		s.log.Error("event not recorded", "event", event.ID, "err", err)
		return &web.APIError{Status: http.StatusServiceUnavailable, Code: "not_recorded", Message: "the event could not be recorded; send it again"}
	}
	s.lastWebhook.Store(s.ledger.Now().UnixMilli())
	return web.WriteJSON(w, http.StatusOK, map[string]bool{"received": true})
}

// notehubWebhook takes a machine's answer from Notehub's route. Notehub tries again after a 5xx and never after a 4xx, so what will never be
// of use is answered 200.
func (s *Server) notehubWebhook(w http.ResponseWriter, r *http.Request) error {
	if s.routeToken == "" || !web.Bearer(r, s.routeToken) {
		return &web.APIError{Status: http.StatusUnauthorized, Code: "unauthorized", Message: "send NOTEHUB_ROUTE_TOKEN as Authorization: Bearer"}
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return &web.APIError{Status: http.StatusBadRequest, Code: "unreadable", Message: "the body could not be read"}
	}
	answer, project, err := notehubapi.DecodeConfirmation(body, uid.Parse)
	switch {
	case errors.Is(err, notehubapi.ErrOtherFile):
		s.log.Debug("routed event of another notefile")
		return web.WriteJSON(w, http.StatusOK, map[string]bool{"received": true})
	case errors.Is(err, notehubapi.ErrNoCredit):
		s.ignored(upstream.Excerpt(body), ignoredNoCredit)
		return web.WriteJSON(w, http.StatusOK, map[string]bool{"received": true})
	case err == nil && project != "" && !strings.EqualFold(project, s.project):
		s.ignored(answer.EventID, ignoredProject)
		return web.WriteJSON(w, http.StatusOK, map[string]bool{"received": true})
	case err != nil:
		s.log.Warn("routed event rejected", "err", err)
		return &web.APIError{Status: http.StatusBadRequest, Code: "malformed", Message: "not a Notehub event"}
	}
	ctx, cancel := context.WithTimeout(r.Context(), recordTimeout)
	defer cancel()
	if err := s.bridge.Confirm(ctx, answer); err != nil {
		s.log.Error("confirmation not recorded", "event", answer.EventID, "err", err)
		return &web.APIError{Status: http.StatusServiceUnavailable, Code: "not_recorded", Message: "the event could not be recorded; send it again"}
	}
	return web.WriteJSON(w, http.StatusOK, map[string]bool{"received": true})
}

// refreshGate is for /refresh-devices while it is open to everyone: one a minute.
type refreshGate struct {
	mu   sync.Mutex
	last time.Time
}

const openRefreshes = time.Minute

// enter says how long a caller has to wait, 0 if it may go.
func (g *refreshGate) enter(now time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if wait := g.last.Add(openRefreshes).Sub(now); !g.last.IsZero() && wait > 0 {
		return wait
	}
	g.last = now
	return 0
}

func (s *Server) refreshDevices(w http.ResponseWriter, r *http.Request) error {
	if s.operator.Token != "" {
		if err := s.operator.Authorized(r); err != nil {
			return err
		}
	} else {
		stats, err := s.ledger.Stats(r.Context())
		if err != nil {
			return err
		}
		wait := time.Minute // while credits are queued, Notehub's requests are for them
		if stats.Queued == 0 {
			wait = s.refreshes.enter(time.Now())
		}
		if wait > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
			return &web.APIError{Status: http.StatusTooManyRequests, Code: "too_many_requests", Message: "the devices were refreshed recently, or credits are waiting to be sent; try again later"}
		}
	}
	result, err := s.fleet.Refresh(r.Context())
	if err != nil {
		s.log.Warn("requested refresh failed", "err", err)
		return &web.APIError{Status: http.StatusBadGateway, Code: "refresh_failed", Message: "Notehub or Stripe did not answer; sales go on as before"}
	}
	return web.WriteJSON(w, http.StatusOK, result)
}

// vitals is how the service is, for the console.
func (s *Server) vitals(ctx context.Context) console.Vitals {
	v := console.Vitals{Stripe: s.paces["stripe"].Unreachable(), Notehub: s.paces["notehub"].Unreachable(), WebhooksOff: s.webhooksOff, Store: s.recording.Check(ctx)}
	if at := s.lastWebhook.Load(); at != 0 {
		v.Webhook = time.UnixMilli(at)
	}
	return v
}

type healthAnswer struct {
	Status         string     `json:"status"`
	Devices        int        `json:"devices"`
	Links          int        `json:"links"`
	Queued         int        `json:"queued"`
	OldestQueued   int64      `json:"oldest_queued_seconds"`
	NeedsAttention int        `json:"needs_attention"`
	LastRefresh    *time.Time `json:"last_refresh"`
	Version        string     `json:"version"`
	Problems       []string   `json:"problems,omitempty"` // readable reasons for a status that is not "ok"
}

// healthTimeout bounds what the health report waits for: load balancers do not wait long.
const healthTimeout = 4 * time.Second

func (s *Server) healthReport(w http.ResponseWriter, r *http.Request) error {
	answer := healthAnswer{Status: "ok", Version: s.version}
	var refreshed time.Time
	answer.Devices, answer.Links, refreshed = s.fleet.Counts()
	if !refreshed.IsZero() {
		refreshed = refreshed.UTC()
		answer.LastRefresh = &refreshed
	}
	for _, p := range s.wrong.List() {
		answer.Status = "degraded"
		answer.Problems = append(answer.Problems, p.Text)
	}
	status := http.StatusOK
	ctx, cancel := context.WithTimeout(r.Context(), healthTimeout)
	defer cancel()
	stats, err := s.ledger.Stats(ctx)
	if err = errors.Join(err, s.recording.Check(ctx), s.ledger.Trouble()); err != nil {
		s.log.Error("payments not recorded", "err", err)
		answer.Status, status = "unavailable", http.StatusServiceUnavailable
	}
	answer.Queued, answer.NeedsAttention, answer.OldestQueued = stats.Queued, stats.NeedsAttention, int64(metrics.Age(stats.OldestQueued, s.ledger.Now()))
	return web.WriteJSON(w, status, answer)
}
