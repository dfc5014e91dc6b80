package app

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"notepay/internal/web"
	"notepay/internal/web/api"
	"notepay/internal/web/customer"
)

// Handler is every route.
func (s *App) Handler() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, h func(http.ResponseWriter, *http.Request) error) {
		mux.Handle(pattern, s.Handle(h))
		s.Metrics.Expect(pattern)
	}
	operator := func(pattern string, h func(http.ResponseWriter, *http.Request) error) {
		handle(pattern, s.operatorOnly(h))
	}

	handle("GET /{$}", s.Customer.Home)
	handle("GET /pay", s.pay)
	handle("GET /pay/{uid}", s.pay)
	handle("GET /use/{uid}", s.use)
	if s.checkout != nil {
		handle("POST /use/{uid}", s.buy)
	}
	handle("GET /payment/success", s.Customer.Success)
	handle("GET /payment/cancel", s.Customer.Canceled)
	handle("GET /session/{token}", s.Customer.Payment)
	handle("GET /session/{token}/events", s.Customer.Events)
	handle("GET /access/{token}", s.Customer.Access)
	handle("GET /access/{token}/events", s.Customer.AccessEvents)
	missing := s.Handle(s.Customer.Nowhere)
	mux.Handle("GET /static/", customer.Static(missing))
	handle("GET /static/brand.css", s.Customer.BrandStyle)

	handle("POST /webhook/stripe", s.stripeWebhook)
	handle("POST /api/stripe/webhook", s.stripeWebhook)
	handle("POST /api/webhook", s.stripeWebhook)

	handle("POST /webhook/notehub", s.notehubWebhook)

	handle("GET /refresh-devices", s.refreshDevices)
	handle("POST /refresh-devices", s.refreshDevices)
	handle("GET /health", s.healthReport)
	mux.Handle("GET /metrics", s.Metrics.Handler())

	operator("GET /api/payments", s.Operator.Payments)
	operator("GET /api/payments/{id}", s.Operator.Payment)
	operator("POST /api/payments/{id}/retry", s.Operator.Retry)
	operator("POST /api/payments/{id}/refund", s.Operator.Refund)
	operator("POST /api/payments/{id}/end", s.Operator.End)
	operator("GET /api/devices", s.Operator.Devices)
	operator("POST /api/devices/{uid}/pause", s.Operator.Pause)
	operator("POST /api/devices/{uid}/resume", s.Operator.Resume)
	operator("POST /api/devices/{uid}/start", s.Operator.Start)
	operator("POST /api/create-payment-link", s.createPaymentLink)
	operator("GET /api/stripe-events", s.Operator.StripeEvents)
	operator("GET /api/events", s.Operator.EventStream)
	mux.Handle("/", web.Elsewhere(mux, missing, "/api/", "/api"))
	unknown := s.Handle(s.operatorOnly(func(http.ResponseWriter, *http.Request) error {
		return &api.Error{Status: http.StatusNotFound, Code: "not_found", Message: "no such route"}
	}))
	mux.Handle("/api", web.Elsewhere(mux, unknown, "/api/", "/api"))
	mux.Handle("/api/", web.Elsewhere(mux, unknown, "/api/", "/api"))

	s.Console.Register(handle)
	return s.WithHeaders(web.Tidy(mux))
}

// Handle makes a handler of a function that returns an error: the one place where an error becomes
// an answer, a log line and a count. The customer gets a safe sentence, the log the cause. A
// failure in the middle of an answer aborts the connection, so that whoever reads it cannot take
// what was sent for the whole.
func (s *App) Handle(h func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		recorder, ok := w.(*statusRecorder)
		if !ok {
			recorder = &statusRecorder{ResponseWriter: w}
		}
		err := h(recorder, r)
		if apiErr, ok := errors.AsType[*api.Error](err); ok {
			err = apiErr.Write(recorder)
		}
		if err != nil {
			s.Log.Error("request failed", "route", r.Pattern, "err", err)
			if _, whole := errors.AsType[*web.Answered](err); recorder.status != 0 && !whole {
				s.Metrics.Requests.WithLabelValues(r.Pattern, "5xx").Inc()
				web.Abort(recorder, r)
			}
			if recorder.status == 0 {
				s.internalError(recorder, r)
			}
		}
		if recorder.status != http.StatusTemporaryRedirect {
			s.Metrics.Requests.WithLabelValues(r.Pattern, strconv.Itoa(recorder.status/100)+"xx").Inc()
		}
	})
}

// internalError answers a request that failed for a reason which only the log is told.
func (s *App) internalError(w *statusRecorder, r *http.Request) {
	w.Header().Del("Content-Disposition") // an error is no file to save
	var err error
	if strings.HasPrefix(r.URL.Path, "/api/") {
		err = (&api.Error{Status: http.StatusInternalServerError, Code: "internal",
			Message: "internal error; the log has the cause"}).Write(w)
	} else {
		err = s.Customer.Failed(w, r)
	}
	if err == nil {
		return
	}
	s.Log.Error("error page failed", "err", err)
	if w.status == 0 {
		http.Error(w, "Internal error", http.StatusInternalServerError)
	}
}

// operatorOnly lets in who carries the operator token, and nothing that a page of another site asks
// a browser to do.
func (s *App) operatorOnly(
	h func(http.ResponseWriter, *http.Request) error,
) func(http.ResponseWriter, *http.Request) error {
	origins := http.NewCrossOriginProtection()
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := origins.Check(r); err != nil {
			return &api.Error{
				Status:  http.StatusForbidden,
				Code:    "other_origin",
				Message: "request from a page of another site",
			}
		}
		if err := s.Operator.Authorized(r); err != nil {
			return err
		}
		return h(w, r)
	}
}
