package app

import (
	"fmt"
	"net/http"
	"runtime/debug"

	"notepay/internal/clientaddr"
	"notepay/internal/web"
)

// withHeaders adds the security headers to every answer and limits every body. It turns a panic into
// a log line and status 500. If part of the answer was sent, it aborts the connection instead, so
// that the part does not look like the whole.
func (a *App) withHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		recorder := &statusRecorder{ResponseWriter: w}
		h := w.Header()
		// There is no form-action, because our forms redirect to Stripe's checkout. Its hosts cannot be
		// listed: buy., book. and donate.stripe.com, and custom domains.
		h["Content-Security-Policy"] = contentPolicy
		h["X-Content-Type-Options"] = noSniff
		h["X-Frame-Options"] = noFrame
		h["Referrer-Policy"] = noReferrer
		if r.Body != http.NoBody {
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		}
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if p == http.ErrAbortHandler {
				panic(p)
			}
			a.log.Error("panic", "route", r.Pattern, "err", fmt.Sprint(p), "stack", string(debug.Stack()))
			if recorder.status != 0 {
				web.Abort(recorder, r)
			}
			h.Del("Content-Disposition")
			http.Error(w, "Internal error", http.StatusInternalServerError)
		}()
		next.ServeHTTP(recorder, r)
	})
}

// forwardedInVain logs that a proxy forwards the addresses of clients and they are not used. It logs
// only proxies in private networks, because any client on the Internet can write the same header.
func (a *App) forwardedInVain(_ *http.Request, peer string, origin clientaddr.Origin) {
	if origin == clientaddr.Ignored && !clientaddr.Local(peer) {
		return
	}
	a.ignoredProxy.Do(func() {
		text := "TRUSTED_PROXIES does not name this proxy, so all its clients count as one: add its address"
		if origin == clientaddr.Unclear {
			text = "this proxy forwards no usable address of its client: see docs/proxies.md for its configuration"
		}
		a.log.Warn("forwarded address ignored", "addr", clientaddr.Key(peer), "detail", text)
	})
}

// All answers share these values, so nothing may change them.
var (
	contentPolicy = []string{"default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; " +
		"img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'"}
	noSniff    = []string{"nosniff"}
	noFrame    = []string{"DENY"}
	noReferrer = []string{"no-referrer"}
	noStore    = []string{"no-store"}
)

// withoutContent removes the headers that protect content, for a redirect without a body. A browser
// shows no document of such an answer, so there is nothing to frame, to sniff or to run. The policy
// for the referrer stays, because it also governs the request that follows a redirect.
func withoutContent(h http.Header) {
	delete(h, "Content-Security-Policy")
	delete(h, "X-Content-Type-Options")
	delete(h, "X-Frame-Options")
}

// statusRecorder records the status of an answer. It is 0 until the answer has begun.
type statusRecorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter. Informational statuses do not begin the answer.
func (r *statusRecorder) WriteHeader(status int) {
	if r.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (r *statusRecorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// FlushError flushes for http.ResponseController. It sends the header, which begins the answer.
func (r *statusRecorder) FlushError() error {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return http.NewResponseController(r.ResponseWriter).Flush()
}

// Unwrap returns the underlying writer, for http.ResponseController.
func (r *statusRecorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
