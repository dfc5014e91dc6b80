package bridge

import (
	"context"
	"crypto/rand"
	"database/sql"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/vendortime"
)

// freshPostgres creates a database on the tests' server and returns its URL.
func freshPostgres(t *testing.T) string {
	t.Helper()
	server := os.Getenv("NOTEPAY_TEST_POSTGRES")
	if server == "" {
		t.Skip("NOTEPAY_TEST_POSTGRES holds no postgres:// URL")
	}
	do := func(statement string) {
		db, err := sql.Open("pgx", server)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if _, err := db.Exec(statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	name := "notepay_test_" + strings.ToLower(rand.Text())
	do("CREATE DATABASE " + name + " TEMPLATE template0")
	t.Cleanup(func() { do("DROP DATABASE " + name + " WITH (FORCE)") })
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	return u.String()
}

// instanceHouse returns a house on PostgreSQL.
func instanceHouse(t *testing.T, clock *vendortime.Clock) *house {
	t.Helper()
	h := newHouseAt(t, freshPostgres(t), clock)
	h.told.unchecked = true // queue publishes nothing
	return h
}

// queue stores a credit of a device that is due.
func (h *house) queue(session, device string) {
	h.Helper()
	err := h.l.Update(h.Context(), func(tx *ledger.Tx) error {
		p := unsent()
		p.ID, p.SessionID, p.PaymentIntent, p.DeviceUID = payment.CreditID(session), session, "pi_"+session, device
		p.Token = payment.TokenOf(p.ID, [16]byte{})
		p.PaidAt, p.CreatedAt, p.ExpiresAt = tx.Now, tx.Now, time.Time{}
		_, err := tx.InsertPayment(payment.Next(p, tx.Now))
		return err
	})
	if err != nil {
		h.Fatal(err)
	}
}

// When a lease has ended, Notehub lists what its call did, however late the call began and however
// long it took. Another instance looks then.
func TestInstanceLeasesEndAfterTheListing(t *testing.T) {
	t.Parallel()
	h := instanceHouse(t, vendortime.New(nil))
	h.queue("cs_test_1", "dev:1")
	p := h.claim(h.b.notehub(), 1)[0]
	latest := time.Now()
	for !h.b.outlived(p, latest) {
		latest = latest.Add(10 * time.Millisecond)
	}
	listed := latest.Add(maxClockDifference + payment.CallTimeout + payment.MaxListingDelay)
	if late := h.b.clock().At(listed).Sub(p.DueAt); late > 20*time.Millisecond {
		t.Errorf("a call may be listed only %v after the end of its lease", late)
	}
	if time.Until(latest) < 2*time.Second {
		t.Errorf("a call has to begin %v after its claim; want a few seconds", time.Until(latest))
	}
}

// A host that is suspended between a claim and its call does not make the call: its monotonic clock
// says that no time has passed, and another instance may have the payment by now.
func TestInstanceSuspendedBeforeACall(t *testing.T) {
	t.Parallel()
	var suspended atomic.Bool
	var slept atomic.Int64
	h := instanceHouse(t, vendortime.New(func() time.Time {
		if suspended.Load() { // each reading finds that the host has just been suspended
			slept.Add(int64(30 * time.Second))
		}
		return time.Now().Add(time.Duration(slept.Load()))
	}))
	h.queue("cs_test_1", "dev:1")
	p := h.claim(h.b.notehub(), 1)[0]
	suspended.Store(true)
	h.b.execute(context.Background(), p)
	if n := len(h.hub.posted); n != 0 {
		t.Errorf("%d notes after a suspension of 30 s; want none", n)
	}
	suspended.Store(false)
	for h.b.clock().Suspended() > 0 { // until the time of the database is read again
		time.Sleep(20 * time.Millisecond)
	}
	h.queue("cs_test_2", "dev:2")
	h.b.execute(context.Background(), h.claim(h.b.notehub(), 1)[0])
	if n := len(h.hub.posted); n != 1 {
		t.Errorf("%d notes by a host that was not suspended; want 1", n)
	}
}
