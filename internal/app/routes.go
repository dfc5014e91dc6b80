package app

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"notepay/internal/people"
	"notepay/internal/web"
	"notepay/internal/web/api"
	"notepay/internal/web/customer"
)

// Handler returns the handler of all routes.
func (a *App) Handler() http.Handler {
	mux := &routeTable{ServeMux: http.NewServeMux()}
	a.register(mux)
	return a.proxies.Handler(a.withHeaders(web.Tidy(mux)), a.forwardedInVain)
}

// routeTable is a http.ServeMux that knows its patterns.
type routeTable struct {
	*http.ServeMux
	patterns []string
}

// Handle registers a route.
func (t *routeTable) Handle(pattern string, h http.Handler) {
	t.patterns = append(t.patterns, pattern)
	t.ServeMux.Handle(pattern, h)
}

// register registers all routes. The table of internal/people says what each needs.
func (a *App) register(mux *routeTable) {
	handle := func(pattern string, h handlerFunc) {
		mux.Handle(pattern, a.handle(h))
		a.metrics.Expect(pattern)
	}
	operator := func(pattern string, h handlerFunc) {
		handle(pattern, a.operatorOnly(pattern, h))
	}

	page := func(pattern string, h handlerFunc) { handle(pattern, a.customer.Choosing(h)) }

	page("GET /{$}", a.customer.Home)
	page("GET /pay", a.pay)
	page("GET /pay/{uid}", a.pay)
	page("GET /use/{uid}", a.use)
	if a.checkout != nil {
		handle("POST /use/{uid}", a.buy)
	}
	page("GET /payment/success", a.customer.Success)
	page("GET /payment/cancel", a.customer.Canceled)
	page("GET /payment/find", a.customer.Find)
	handle("POST /payment/find", a.customer.FindPayment)
	page("GET /free", a.customer.FreeForm)
	page("GET /free/{code}", a.customer.FreeCode)
	handle("POST /free/{code}", a.redeem)
	page("GET /session/{token}", a.customer.Payment)
	handle("GET /session/{token}/events", a.customer.Events)
	page("GET /session/{token}/report", a.customer.Report)
	handle("POST /session/{token}/report", a.customer.SendReport)
	page("GET /access/{token}", a.customer.Access)
	handle("GET /access/{token}/events", a.customer.AccessEvents)
	missing := a.handle(a.customer.Choosing(a.customer.Nowhere))
	mux.Handle("GET /static/", customer.Static(missing))
	handle("GET /static/brand.css", a.customer.BrandStyle)
	handle("GET /static/logo", a.customer.BrandLogo)

	handle("POST /webhook/stripe", a.stripeWebhook)
	handle("POST /api/stripe/webhook", a.stripeWebhook)
	handle("POST /api/webhook", a.stripeWebhook)

	handle("POST /webhook/notehub", a.notehubWebhook)

	handle("GET /refresh-devices", a.refreshDevices)
	handle("POST /refresh-devices", a.refreshDevices)
	handle("GET /health", a.healthReport)
	mux.Handle("GET /metrics", a.metrics.Handler())

	operator("GET /api/payments", a.operator.Payments)
	operator("GET /api/payments/{id}", a.operator.Payment)
	operator("POST /api/payments/{id}/retry", a.operator.Retry)
	operator("POST /api/payments/{id}/refund", a.operator.Refund)
	operator("POST /api/payments/{id}/end", a.operator.End)
	operator("GET /api/devices", a.operator.Devices)
	operator("POST /api/devices/{uid}/pause", a.operator.Pause)
	operator("POST /api/devices/{uid}/resume", a.operator.Resume)
	operator("POST /api/devices/{uid}/start", a.operator.Start)
	operator("POST /api/create-payment-link", a.createPaymentLink)
	operator("GET /api/stripe-events", a.operator.StripeEvents)
	operator("GET /api/events", a.operator.EventStream)
	mux.Handle("/", web.Elsewhere(mux.ServeMux, missing, "/api/", "/api"))
	unknown := a.handle(a.operatorOnly("/api/", func(http.ResponseWriter, *http.Request) error {
		return &api.Error{Status: http.StatusNotFound, Code: "not_found", Message: "no such route"}
	}))
	mux.Handle("/api", web.Elsewhere(mux.ServeMux, unknown, "/api/", "/api"))
	mux.Handle("/api/", web.Elsewhere(mux.ServeMux, unknown, "/api/", "/api"))

	a.Console.Register(handle)
}

// handlerFunc handles a request, or returns why it cannot.
type handlerFunc = func(http.ResponseWriter, *http.Request) error

// handle converts h into a handler. It is the only place where an error becomes an answer, a log
// line and a count. The customer gets a safe sentence, and the log gets the cause. A failure in the
// middle of an answer aborts the connection, so that the client cannot take the part for the whole.
func (a *App) handle(h handlerFunc) http.Handler {
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
			a.log.Error("request failed", "route", r.Pattern, "err", err)
			if _, whole := errors.AsType[*web.Answered](err); recorder.status != 0 && !whole {
				a.metrics.Request(r.Pattern, "5xx")
				web.Abort(recorder, r)
			}
			if recorder.status == 0 {
				a.internalError(recorder, r)
			}
		}
		if recorder.status != http.StatusTemporaryRedirect {
			a.metrics.Request(r.Pattern, strconv.Itoa(recorder.status/100)+"xx")
		}
	})
}

// internalError answers a failed request without the reason, which only the log gets.
func (a *App) internalError(w *statusRecorder, r *http.Request) {
	w.Header().Del("Content-Disposition") // the browser must not save an error as a file
	var err error
	if strings.HasPrefix(r.URL.Path, "/api/") {
		apiErr := &api.Error{
			Status:  http.StatusInternalServerError,
			Code:    "internal",
			Message: "internal error; the log has the cause",
		}
		err = apiErr.Write(w)
	} else {
		err = a.customer.Failed(w, r)
	}
	if err == nil {
		return
	}
	a.log.Error("error page failed", "err", err)
	if w.status == 0 {
		http.Error(w, "Internal error", http.StatusInternalServerError)
	}
}

// operatorOnly requires a token whose role allows the route, and rejects cross-origin requests.
func (a *App) operatorOnly(pattern string, h handlerFunc) handlerFunc {
	origins := http.NewCrossOriginProtection()
	rule, _ := people.RuleOf(pattern)
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := origins.Check(r); err != nil {
			return &api.Error{
				Status:  http.StatusForbidden,
				Code:    "other_origin",
				Message: "request from a page of another site",
			}
		}
		r, err := a.operator.Admit(r, rule)
		if err != nil {
			return err
		}
		return h(w, r)
	}
}
