//go:build linux

package bench

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/ledger"
	"notepay/internal/payment"
)

// size holds the measurements of a ledger of one size.
type size struct {
	devices, payments int
	disk              float64 // MB of the ledger
	first             time.Duration
	pay               time.Duration
	webhook           time.Duration
	stats             time.Duration
	page              time.Duration
	slowest           time.Duration // of the console's pages
	slowestPage       string
	memory, peak      float64 // MB resident after the refresh, and the maximum
}

// growthSizes are numbers of devices, from a small business to one with a million payments.
var growthSizes = []int{100, 1000, 10_000, 100_000}

const (
	paymentsPerDevice = 10
	maxPayments       = 1_000_000
	betweenPayments   = time.Minute // a million payments take two years
)

// benchGrowth repeats the same measurements while one ledger grows.
func benchGrowth(t *testing.T, r *report) {
	path, w := binary(t), apptest.NewWorld(t).Set("LOG_LEVEL", "info")
	database := filepath.Join(t.TempDir(), "grown.db")
	for i, devices := range growthSizes {
		from := 0
		if i > 0 {
			from = growthSizes[i-1]
		}
		growLedger(w, database, from, devices)
		one := size{devices: devices, payments: devices * paymentsPerDevice}
		t.Run(fmt.Sprint(devices), func(t *testing.T) { one.measureIdle(t, database) })
		one.measureBinary(w, path, database)
		info, err := os.Stat(database)
		if err != nil {
			t.Fatal(err)
		}
		one.disk = float64(info.Size()) / 1e6
		if i == len(growthSizes)-1 {
			t.Run("console", func(t *testing.T) { benchConsole(t, r, database, one) })
		}
		t.Logf("%+v", one)
		r.growth = append(r.growth, one)
	}
}

// growLedger adds devices, links and past payments to the ledger, and the devices and links to the
// vendors.
func growLedger(w *apptest.World, database string, from, to int) {
	w.Helper()
	l, err := ledger.Open(w.Context(), database)
	if err != nil {
		w.Fatal(err)
	}
	growFleet(w, l, from, to)
	var sessions []session // random ids, like Stripe's
	for n := from * paymentsPerDevice; n < to*paymentsPerDevice; n++ {
		sessions = append(sessions, session{n, fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, n)))})
	}
	for part := range slices.Chunk(sessions, 100_000) {
		// A real ledger has its rows in the order of time. Here the rows of one transaction are in
		// the order of their ids, because that makes inserting a million of them much faster.
		slices.SortFunc(part, func(a, b session) int { return strings.Compare(a.id, b.id) })
		err := l.Update(w.Context(), func(tx *ledger.Tx) error {
			for _, s := range part {
				if err := s.record(tx); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			w.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		w.Fatal(err)
	}
	syscall.Sync() // otherwise the disk is busy during the measurement
}

// growFleet adds devices and links to the ledger and to the vendors.
func growFleet(w *apptest.World, l *ledger.Ledger, from, to int) {
	w.Helper()
	const together = 1000 // in one transaction
	for ; from < to; from += together {
		err := l.Update(w.Context(), func(tx *ledger.Tx) error {
			for n := from; n < min(from+together, to); n++ {
				sellAt(w, n)
				uid, link := fmt.Sprintf("dev:%d", n), fmt.Sprintf("plink_%d", n)
				err := errors.Join(
					tx.SaveVariables(ledger.Variables{Owner: uid, ReadAt: tx.Now}),
					tx.SaveDevice(ledger.Device{UID: uid, Name: fmt.Sprintf("Washer %d", n), LastActivity: tx.Now}),
					tx.SaveLink(
						ledger.Link{
							ID:        link,
							DeviceUID: uid,
							URL:       "https://buy.example.com/" + link,
							Active:    true,
							Plan:      soldPlan(),
							ReturnURL: returnURLOf(w),
						},
					),
				)
				if err != nil {
					return err
				}
			}
			return errors.Join(
				tx.SaveVariables(ledger.Variables{Owner: "project", ReadAt: tx.Now}),
				tx.SetMeta("fleet_loaded", tx.Now),
			)
		})
		if err != nil {
			w.Fatal(err)
		}
	}
}

func soldPlan() payment.Offer {
	return payment.Offer{PriceID: fixture.Warm, Name: "Warm wash", Amount: 350, Currency: "eur"}
}

// session is a past Checkout Session. Each device has ten.
type session struct {
	n  int
	id string
}

// record stores a past payment with its event and its attempt. One in a thousand failed.
func (s session) record(tx *ledger.Tx) error {
	device, plan, at := s.n/paymentsPerDevice, soldPlan(), tx.Now.Add(
		-time.Hour-time.Duration(maxPayments-s.n)*betweenPayments,
	)
	p := payment.Payment{
		ID:            payment.CreditID("cs_test_" + s.id),
		SessionID:     "cs_test_" + s.id,
		PaymentIntent: "pi_" + s.id[:24],
		Token:         s.id[:32],
		DeviceUID:     fmt.Sprintf("dev:%d", device),
		DeviceName:    fmt.Sprintf("Washer %d", device),
		PriceID:       fixture.Warm,
		Plan:          plan.Name,
		Amount:        plan.Amount,
		Currency:      plan.Currency,
		CardLast4:     fmt.Sprintf("%04d", s.n%10_000),
		Funds:         payment.Paid,
		Delivery:      payment.Sent,
		MaybeAccepted: true,
		PaidAt:        at,
		CreatedAt:     at,
		SentAt:        at,
		ExpiresAt:     at.Add(10 * time.Minute),
	}
	if s.n%1000 == 0 {
		p.Delivery, p.Reason, p.ReviewReason = payment.Failed, "expired", "money_kept"
	}
	inserted, err := tx.InsertPayment(p)
	if !inserted && err == nil {
		err = fmt.Errorf("insert payment %d: it exists", s.n)
	}
	_, eventErr := tx.AddEvent(
		ledger.StripeEvent{
			ID:       "evt_" + s.id[:24],
			Type:     "checkout.session.completed",
			ObjectID: p.SessionID,
			Created:  at,
			Received: at,
			Outcome:  "payment_recorded",
			Body:     `{"object":"event"}`,
		},
	)
	return errors.Join(
		err,
		eventErr,
		tx.AddAttempt(
			p.ID,
			ledger.Attempt{
				At:      at,
				Action:  payment.StepPostNote,
				Outcome: "ok",
				Status:  200,
				Took:    12 * time.Millisecond,
			},
		),
	)
}

// measureIdle measures what needs no separate process.
func (s *size) measureIdle(t *testing.T, database string) {
	server := idle(t, database)
	s.pay = inProcess(t, server.Handler(), s.devices)
	times := func(f func() error) time.Duration {
		took := make([]time.Duration, 0, 200)
		for range cap(took) {
			began := time.Now()
			if err := f(); err != nil {
				t.Fatal(err)
			}
			took = append(took, time.Since(began))
		}
		return median(took)
	}
	s.stats = times(func() error { _, err := server.Ledger.Stats(t.Context()); return err })
	s.page = times(
		func() error { _, _, err := server.Ledger.Payments(t.Context(), ledger.Filter{Limit: 50}); return err },
	)
}

// measureBinary measures the running binary. Both vendors answer and know all devices and links.
func (s *size) measureBinary(w *apptest.World, path, database string) {
	w.Helper()
	scan := fmt.Sprintf("/pay?device=dev:%d", rand.IntN(s.devices))
	var first []time.Duration
	for range 3 {
		p := launchOn(w, path, database)
		first = append(first, p.firstRedirect(scan))
		p.terminate()
	}
	p := launchOn(w, path, database)
	first = append(first, p.firstRedirect(scan))
	s.first = median(first)
	w.Until("devices and links are listed", func() bool { return strings.Contains(p.Logs.String(), "msg=refreshed") })
	webhooks, _ := paidEvent(w, 200, s.devices)
	each, _ := callAll(w.T, addrOf(&p.Service), 1, webhooks, http.StatusOK)
	s.webhook = median(each)
	waitDrained(&p.Service)
	s.memory, s.peak = p.memory()
	p.terminate()
}
