package app

import (
	"fmt"
	"net/http"
	"runtime/debug"

	"notepay/internal/web"
)

// WithHeaders adds what every answer carries, bounds every body, and makes a panic a log line and a
// 500. Where part of an answer was sent already it aborts the connection instead: the part must not
// look like the whole.
func (s *App) WithHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		recorder := &statusRecorder{ResponseWriter: w}
		h := w.Header()
		// No form-action: forms of ours lead to the customer's checkout by a redirect, and Stripe's
		// hosts are not to be listed (buy., book., donate.stripe.com and custom domains).
		h["Content-Security-Policy"] = contentPolicy
		h["X-Content-Type-Options"] = noSniff
		h["X-Frame-Options"] = noFrame
		h["Referrer-Policy"] = noReferrer
		if r.Body != http.NoBody {
			r.Body = http.MaxBytesReader(w, r.Body, MaxBody)
		}
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if p == http.ErrAbortHandler {
				panic(p)
			}
			s.Log.Error("panic", "route", r.Pattern, "err", fmt.Sprint(p), "stack", string(debug.Stack()))
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
	contentPolicy = []string{
		"default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'",
	}
	noSniff    = []string{"nosniff"}
	noFrame    = []string{"DENY"}
	noReferrer = []string{"no-referrer"}
)

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

// FlushError implements what http.ResponseController asks for to flush. It sends the header, and so
// begins the answer.
func (r *statusRecorder) FlushError() error {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return http.NewResponseController(r.ResponseWriter).Flush()
}

// Unwrap lets http.ResponseController find the writer underneath.
func (r *statusRecorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

var noStore = []string{"no-store"}
