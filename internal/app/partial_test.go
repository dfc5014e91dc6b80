package app_test

import (
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/ledger"
	"notepay/internal/payment"
)

func TestAnExportThatBreaksOffIsAborted(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		err := f.Ledger.Update(f.Context(), func(tx *ledger.Tx) error {
			for n := range 600 {
				at := tx.Now.Add(-time.Duration(n) * time.Second).Truncate(time.Second)
				session := fmt.Sprintf("cs_test_%03d", n)
				if _, err := tx.InsertPayment(payment.Payment{ID: payment.CreditID(session), SessionID: session, Token: session, DeviceUID: fixture.Washer, Currency: "eur", Amount: 350,
					Delivery: payment.Failed, Reason: "expired", Funds: payment.Paid, PaidAt: at, CreatedAt: at}); err != nil {
					return err
				}
				if err := tx.AddAudit(ledger.Audit{At: at, Who: "operator", What: "pause", Subject: fixture.Washer, Why: "it leaks"}); err != nil {
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
		for path, table := range map[string]string{"/operator/payments.csv": "payments", "/operator/audit.csv": "audit"} {
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
		f.CloseLedger() // with payments that Stripe knows nothing of
		if n := strings.Count(f.Logs.String(), "request failed"); n != 2 {
			f.Errorf("%d failures in the log; want two:\n%s", n, f.Logs)
		}
	})
}

func TestAFailureInTheMiddleOfAnAnswerAbortsIt(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		long := strings.Repeat("x", 10_000)
		for name, c := range map[string]struct {
			h     func(w http.ResponseWriter, r *http.Request) error
			whole string // "" for an answer that has to be aborted
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
			"a panic":                   {func(w http.ResponseWriter, _ *http.Request) error { _, _ = io.WriteString(w, long); panic("inside") }, ""},
			"a panic after a few bytes": {func(w http.ResponseWriter, _ *http.Request) error { _, _ = io.WriteString(w, "x"); panic("inside") }, ""},
			"a panic of a stream": {func(w http.ResponseWriter, _ *http.Request) error {
				_ = http.NewResponseController(w).Flush()
				panic("inside")
			}, ""},
			"a panic before the answer": {func(w http.ResponseWriter, _ *http.Request) error { panic("inside") }, "Internal error\n"},
			"a panic after early hints": {func(w http.ResponseWriter, _ *http.Request) error {
				w.WriteHeader(http.StatusEarlyHints)
				panic("inside")
			}, "Internal error\n"},
			"an error before the answer": {func(w http.ResponseWriter, _ *http.Request) error { return io.ErrNoProgress }, "Something went wrong on our side\n"},
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
