package app_test

import (
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

func TestHandlerRejectsOtherMethods(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		for _, row := range []struct{ method, path, allow string }{
			{"POST", "/pay?device=" + fixture.Washer, "GET, HEAD"},
			{"PUT", "/pay/" + fixture.Washer, "GET, HEAD"},
			{"POST", "/use/" + fixture.Washer, "GET, HEAD"},
			{"POST", "/session/0123/events", "GET, HEAD"},
			{"POST", "/payment/success?session_id=x", "GET, HEAD"},
			{"DELETE", "/payment/cancel", "GET, HEAD"},
			{"POST", "/session/0123", "GET, HEAD"},
			{"POST", "/", "GET, HEAD"},
			{"GET", "/webhook/stripe", "POST"},
			{"PUT", "/webhook/stripe", "POST"},
			{"DELETE", "/refresh-devices", "GET, HEAD, POST"},
			{"POST", "/health", "GET, HEAD"},
			{"POST", "/metrics", "GET, HEAD"},
		} {
			w := f.Do(row.method, row.path, "")
			if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != row.allow {
				f.Errorf(
					"%s %s: %d, Allow %q; want 405, %q", row.method, row.path, w.Code, w.Header().Get("Allow"),
					row.allow,
				)
			}
		}
		for _, path := range []string{"/nothing", "/session/", "/webhook", "/.env", "/static/none.css"} {
			f.Answers(path, f.Get(path), http.StatusNotFound, "")
		}
	})
}

func TestHandlerSendsSecurityHeaders(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		session := f.Buy(sandbox.PayOptions{})
		for path, status := range map[string]int{
			"/": 200, "/pay": 400, "/pay?device=dev:1": 404,
			"/payment/success?session_id=" + session.ID: 303, "/payment/success": 404, "/payment/cancel": 200,
			"/session/x": 404, "/session/x/events": 404, "/use/" + fixture.Washer: 200, "/use/dev:1": 404,
			"/static/live.js": 200, "/static/brand.css": 200, "/static/style.css": 200, "/health": 200,
			"/metrics": 200, "/webhook/stripe": 405, "/refresh-devices": 401, "/api/payments": 401, "/nothing": 404,
		} {
			w := f.Get(path, "Accept", "text/html")
			if w.Code != status {
				f.Errorf("%s: %d; want %d", path, w.Code, status)
			}
			for name, want := range map[string]string{
				"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
			} {
				if got := w.Header().Get(name); got != want {
					f.Errorf("%s: %s is %q; want %q", path, name, got, want)
				}
			}
			policy := w.Header().Get("Content-Security-Policy")
			for _, part := range []string{
				"default-src 'none'", "script-src 'self'", "connect-src 'self'", "style-src 'self'",
				"base-uri 'none'", "frame-ancestors 'none'",
			} {
				if !strings.Contains(policy, part) {
					f.Errorf("%s: the content policy %q lacks %q", path, policy, part)
				}
			}
			if strings.Contains(policy, "unsafe") || strings.Contains(policy, "form-action") {
				f.Errorf(
					"%s: the content policy %q allows too much, or keeps forms from leading to Stripe",
					path,
					policy,
				)
			}
		}
	})
}

func TestScanRedirectsWithoutContent(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		for _, path := range []string{
			"/pay?device=" + fixture.Washer, "/pay/" + fixture.Washer, "/PAY/" + fixture.Washer,
		} {
			w := f.Get(path, "Accept", "text/html")
			if w.Code != http.StatusTemporaryRedirect || w.Body.Len() > 0 {
				f.Errorf("%s: %d %q; want 307 without a body", path, w.Code, w.Body)
			}
			h := w.Header()
			if h.Get("Location") == "" || h.Get("Cache-Control") != "no-store" ||
				h.Get("Referrer-Policy") != "no-referrer" {
				f.Errorf("%s: headers %v; want the link, no-store and no-referrer", path, h)
			}
			if len(h) > 3 { // headers about content protect nothing here, and each scan pays for them
				f.Errorf("%s: headers %v; want no others", path, h)
			}
		}
	})
}

func TestHandleTellsTheCauseOnlyToTheLog(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		failing := f.Server.Handle(
			func(http.ResponseWriter, *http.Request) error { return errors.New("disk of the inside") },
		)
		for _, row := range []struct{ path, accept, want string }{
			{"/pay", "text/html", "<h1>Something went wrong on our side</h1>"},
			{"/pay", "", "Something went wrong on our side\n"},
			{"/api/payments", "", `{"error":{"code":"internal","message":`},
		} {
			r := httptest.NewRequest("GET", row.path, nil)
			r.Header.Set("Accept", row.accept)
			w := httptest.NewRecorder()
			failing.ServeHTTP(w, r)
			f.Answers(row.path, w, http.StatusInternalServerError, row.want)
			if strings.Contains(w.Body.String(), "disk") {
				f.Errorf("%s contains the cause: %s", row.path, w.Body)
			}
		}
		if !strings.Contains(f.Logs.String(), "disk of the inside") {
			f.Errorf("log %s; want the cause", f.Logs)
		}
	})
}

func TestHandleAbortsAPartialAnswer(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		long := strings.Repeat("x", 10_000)
		for name, c := range map[string]struct {
			h     func(w http.ResponseWriter, r *http.Request) error
			whole string // "" for an answer that must be aborted
		}{
			"an error": {func(w http.ResponseWriter, _ *http.Request) error {
				_, _ = io.WriteString(w, long)
				return io.ErrNoProgress
			}, ""},
			"an error after a few bytes": {func(w http.ResponseWriter, _ *http.Request) error {
				_, _ = io.WriteString(w, "x")
				return io.ErrNoProgress
			}, ""},
			"an error after the status": {func(w http.ResponseWriter, _ *http.Request) error {
				w.WriteHeader(http.StatusOK)
				return io.ErrNoProgress
			}, ""},
			"a panic": {
				func(w http.ResponseWriter, _ *http.Request) error {
					_, _ = io.WriteString(w, long)
					panic("inside")
				},
				"",
			},
			"a panic after a few bytes": {
				func(w http.ResponseWriter, _ *http.Request) error { _, _ = io.WriteString(w, "x"); panic("inside") },
				"",
			},
			"a panic of a stream": {func(w http.ResponseWriter, _ *http.Request) error {
				_ = http.NewResponseController(w).Flush()
				panic("inside")
			}, ""},
			"a panic before the answer": {
				func(w http.ResponseWriter, _ *http.Request) error { panic("inside") },
				"Internal error\n",
			},
			"a panic after early hints": {func(w http.ResponseWriter, _ *http.Request) error {
				w.WriteHeader(http.StatusEarlyHints)
				panic("inside")
			}, "Internal error\n"},
			"an error before the answer": {
				func(w http.ResponseWriter, _ *http.Request) error { return io.ErrNoProgress },
				"Something went wrong on our side\n",
			},
			"an error before an answer in a file": {func(w http.ResponseWriter, _ *http.Request) error {
				w.Header().Set("Content-Disposition", "attachment")
				return io.ErrNoProgress
			}, "Something went wrong on our side\n"},
		} {
			f.Handler = f.Server.WithHeaders(f.Server.Handle(c.h))
			body, err := f.Reads("/", func() {})
			if c.whole == "" && err == nil {
				f.Errorf("%s: the answer %q looks complete", name, body[:min(len(body), 50)])
			}
			if c.whole != "" && (err != nil || body != c.whole) {
				f.Errorf("%s: %q, %v; want %q", name, body, err, c.whole)
			}
			old, err := f.ReadsAsOldProxiesDo("/")
			if c.whole == "" && err == nil {
				f.Errorf("%s: the answer %q looks complete to HTTP/1.0", name, old[:min(len(old), 50)])
			}
			if c.whole != "" && (err != nil || !strings.HasSuffix(old, "\r\n\r\n"+c.whole)) {
				f.Errorf("%s: %q, %v with HTTP/1.0; want %q", name, old, err, c.whole)
			}
		}
	})
}

func TestExportIsAbortedAfterAFailure(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		err := f.Ledger.Update(f.Context(), func(tx *ledger.Tx) error {
			for n := range 600 {
				at := tx.Now.Add(-time.Duration(n) * time.Second).Truncate(time.Second)
				session := fmt.Sprintf("cs_test_%03d", n)
				_, err := tx.InsertPayment(payment.Payment{
					ID:        payment.CreditID(session),
					SessionID: session,
					Token:     session,
					DeviceUID: fixture.Washer,
					Currency:  "eur",
					Amount:    350,
					Delivery:  payment.Failed,
					Reason:    "expired",
					Funds:     payment.Paid,
					PaidAt:    at,
					CreatedAt: at,
				})
				if err != nil {
					return err
				}
				audit := ledger.Audit{At: at, Who: "operator", What: "pause", Subject: fixture.Washer, Why: "it leaks"}
				if err := tx.AddAudit(audit); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			f.Fatal(err)
		}
		b := f.Browser()
		rename := func(from, to string) {
			db, err := sql.Open("sqlite", f.Path)
			if err == nil {
				_, err = db.Exec("ALTER TABLE " + from + " RENAME TO " + to)
			}
			if err = errors.Join(err, db.Close()); err != nil {
				f.Error(err)
			}
		}
		for path, table := range map[string]string{
			"/operator/payments.csv": "payments", "/operator/audit.csv": "audit",
		} {
			whole, err := f.Reads(path, func() {}, "Cookie", b.Cookie)
			if lines := strings.Count(whole, "\n"); err != nil || lines < 601 {
				f.Errorf("%s: %d lines, %v; want all", path, lines, err)
			}
			part, err := f.Reads(path, func() { rename(table, "gone") }, "Cookie", b.Cookie)
			if err == nil {
				f.Errorf("%s that broke off after %d lines looks complete", path, strings.Count(part, "\n"))
			}
			if strings.Contains(part, "<") || strings.Contains(part, "Internal") {
				f.Errorf("%s that broke off holds an error page:\n%s", path, part[max(0, len(part)-500):])
			}
			rename("gone", table)
		}
		f.CloseLedger() // so that its payments, which Stripe does not know, are not checked
		if n := strings.Count(f.Logs.String(), "request failed"); n != 2 {
			f.Errorf("%d failures in the log; want two:\n%s", n, f.Logs)
		}
	})
}
