package apptest

import (
	"database/sql"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
	"notepay/internal/vendortime"
)

// HostClock is the clock of the service's host. The vendors' is the bubble's, unless they were told
// another.
type HostClock struct{ ahead atomic.Int64 }

func (h *HostClock) Set(ahead time.Duration) { h.ahead.Store(int64(ahead)) }

// Clock returns what the service makes of it; nil where it takes the host's time for Stripe's.
func (h *HostClock) Clock() *vendortime.Clock {
	if h == nil {
		return nil
	}
	return vendortime.New(func() time.Time { return time.Now().Add(time.Duration(h.ahead.Load())) })
}

// Restart stops the service and starts it again. Meanwhile the ledger is changed by SQL.
func (f *Front) Restart(statements ...string) *Front {
	f.Helper()
	f.Stop()
	f.CloseLedger()
	f.sql(statements...)
	f.Open()
	return f.Run()
}

// sql changes the closed ledger.
func (f *Front) sql(statements ...string) {
	f.Helper()
	if len(statements) == 0 {
		return
	}
	db, err := sql.Open("sqlite", "file:"+f.Path)
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range statements {
		if _, err := db.ExecContext(f.Context(), s); err != nil {
			f.Errorf("%s: %v", s, err)
		}
	}
	if err := db.Close(); err != nil {
		f.Fatal(err)
	}
}

// Record reads the payment of a session.
func (f *Front) Record(session sandbox.Session) payment.Payment {
	f.Helper()
	p, err := f.Ledger.Payment(f.Context(), session.ID)
	if err != nil {
		f.Fatalf("payment of %s: %v", session.ID, err)
	}
	return p
}

// MachineIs fails unless the credit of a session stands so, and is nobody's but ours.
func (f *Front) MachineIs(session sandbox.Session, want payment.DeliveryStatus) payment.Payment {
	f.Helper()
	p := f.Record(session)
	if p.Delivery != want || p.Reason == payment.ReasonAdopted {
		f.Errorf("%s is %s %s %s; want %s", session.ID, p.Funds, p.Delivery, p.Reason, want)
	}
	return p
}

// Sells holds against /pay and /health whether the washer is sold, and if not, what is said of it.
func (f *Front) Sells(want bool, problem ...string) {
	f.Helper()
	status, health := http.StatusServiceUnavailable, "degraded"
	if want {
		status, health = http.StatusTemporaryRedirect, "ok"
	}
	if w := f.Get("/pay?device=" + fixture.Washer); w.Code != status {
		f.Errorf("/pay answers %d; want %d", w.Code, status)
	}
	text := f.Get("/health").Body.String()
	for _, part := range append(problem, `"status":"`+health+`"`) {
		if !strings.Contains(text, part) {
			f.Errorf("/health lacks %q: %s", part, text)
		}
	}
}

// PaySession pays where there is no link.
func (f *Front) PaySession() sandbox.Session {
	return f.Stripe.PaySession(
		map[string]string{"device_uid": fixture.Washer, "project": fixture.Project, "price_id": fixture.Warm},
		350,
		"eur",
		sandbox.PayOptions{},
	)
}

// AsksForThePast fails if Stripe's events were asked for that have not happened.
func (f *Front) AsksForThePast() {
	f.Helper()
	for _, r := range f.Stripe.Requests("GET /v1/events") {
		query, err := url.ParseQuery(r.Query)
		if err != nil {
			f.Fatal(err)
		}
		since, _ := strconv.ParseInt(query.Get("created[gte]"), 10, 64)
		if time.Unix(since, 0).After(f.Stripe.Now()) {
			f.Errorf(
				"events were asked for since %v, and Stripe has %v",
				time.Unix(since, 0).UTC(),
				f.Stripe.Now().UTC(),
			)
		}
	}
}

// Clocks sets both vendors' clocks ahead of the host's.
func (w *World) Clocks(ahead time.Duration) {
	w.Stripe.SetClock(ahead)
	w.Notehub.SetClock(ahead)
}
