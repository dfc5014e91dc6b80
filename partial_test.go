package main

import (
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
)

// damaging calls damage when an answer's first bytes are on their way.
type damaging struct {
	http.ResponseWriter
	once   *sync.Once
	damage func()
}

func (d damaging) Write(b []byte) (int, error) {
	n, err := d.ResponseWriter.Write(b)
	d.once.Do(d.damage)
	return n, err
}

func (d damaging) Unwrap() http.ResponseWriter { return d.ResponseWriter }

// reads gets a path through a real server and returns what a client gets of it. damage happens after the first bytes.
func (f *front) reads(path string, damage func(), header ...string) (body string, err error) {
	f.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.handler.ServeHTTP(damaging{w, &sync.Once{}, damage}, r)
	}))
	defer server.Close()
	r, err := http.NewRequest("GET", server.URL+path, nil)
	if err != nil {
		f.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := server.Client().Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}

// readsAsOldProxiesDo gets a path with HTTP/1.0, where an answer of unknown length is whole when the connection is closed in order.
func (f *front) readsAsOldProxiesDo(path string) (answer string, err error) {
	f.Helper()
	server := httptest.NewServer(f.handler)
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		f.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET "+path+" HTTP/1.0\r\n\r\n"); err != nil {
		f.Fatal(err)
	}
	text, err := io.ReadAll(conn)
	return string(text), err
}

func TestAnExportThatBreaksOffIsAborted(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		err := f.ledger.Update(f.Context(), func(tx *ledger.Tx) error {
			for n := range 600 {
				at := tx.Now.Add(-time.Duration(n) * time.Second).Truncate(time.Second)
				session := fmt.Sprintf("cs_test_%03d", n)
				if _, err := tx.InsertPayment(payment.Payment{ID: payment.CreditID(session), SessionID: session, Token: session, DeviceUID: washer, Currency: "eur", Amount: 350,
					Delivery: payment.Failed, Reason: "expired", Funds: payment.Paid, PaidAt: at, CreatedAt: at}); err != nil {
					return err
				}
				if err := tx.AddAudit(ledger.Audit{At: at, Who: "operator", What: "pause", Subject: washer, Why: "it leaks"}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			f.Fatal(err)
		}
		b := f.browser()
		rename := func(from, to string) {
			db, err := sql.Open("sqlite", f.path)
			if err == nil {
				_, err = db.Exec("ALTER TABLE " + from + " RENAME TO " + to)
			}
			if err = errors.Join(err, db.Close()); err != nil {
				f.Error(err)
			}
		}
		for path, table := range map[string]string{"/operator/payments.csv": "payments", "/operator/audit.csv": "audit"} {
			whole, err := f.reads(path, func() {}, "Cookie", b.cookie)
			if lines := strings.Count(whole, "\n"); err != nil || lines < 601 {
				f.Errorf("%s: %d lines, %v; want all", path, lines, err)
			}
			part, err := f.reads(path, func() { rename(table, "gone") }, "Cookie", b.cookie)
			if err == nil {
				f.Errorf("%s that broke off after %d lines looks complete", path, strings.Count(part, "\n"))
			}
			if strings.Contains(part, "<") || strings.Contains(part, "Internal") {
				f.Errorf("%s that broke off holds an error page:\n%s", path, part[max(0, len(part)-500):])
			}
			rename("gone", table)
		}
		f.closeLedger() // with payments that Stripe knows nothing of
		if n := strings.Count(f.logs.String(), "request failed"); n != 2 {
			f.Errorf("%d failures in the log; want two:\n%s", n, f.logs)
		}
	})
}

func TestAFailureInTheMiddleOfAnAnswerAbortsIt(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
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
			f.handler = f.server.WithHeaders(f.server.Handle(c.h))
			body, err := f.reads("/", func() {})
			if c.whole == "" && err == nil {
				f.Errorf("%s: the answer %q looks complete", name, body[:min(len(body), 50)])
			}
			if c.whole != "" && (err != nil || body != c.whole) {
				f.Errorf("%s: %q, %v; want %q", name, body, err, c.whole)
			}
			old, err := f.readsAsOldProxiesDo("/")
			if c.whole == "" && err == nil {
				f.Errorf("%s: the answer %q looks complete to HTTP/1.0", name, old[:min(len(old), 50)])
			}
			if c.whole != "" && (err != nil || !strings.HasSuffix(old, "\r\n\r\n"+c.whole)) {
				f.Errorf("%s: %q, %v with HTTP/1.0; want %q", name, old, err, c.whole)
			}
		}
	})
}
