//go:build linux

package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"notepay/internal/ledger"
)

// size is what a ledger of one size costs.
type size struct {
	devices, payments int
	disk              float64 // of the ledger, MB
	first             time.Duration
	pay               time.Duration
	webhook           time.Duration
	stats             time.Duration
	page              time.Duration
	memory, most      float64 // resident after all is loaded and refreshed, and the most ever; MB
}

// growthSizes is a slice of an operator's years: ten payments for each device, from a small business to one of a million payments.
var growthSizes = []int{100, 1000, 10_000, 100_000}

const paymentsPerDevice = 10

// benchGrowth measures the same things as one ledger grows.
func benchGrowth(t *testing.T, r *report) {
	path, w := binary(t), newWorld(t).set("LOG_LEVEL", "info")
	database := filepath.Join(t.TempDir(), "grown.db")
	for i, devices := range growthSizes {
		from := 0
		if i > 0 {
			from = growthSizes[i-1]
		}
		w.grow(database, from, devices)
		one := size{devices: devices, payments: devices * paymentsPerDevice}
		t.Run(fmt.Sprint(devices), func(t *testing.T) { one.measureIdle(t, database) })
		one.measureBinary(w, path, database)
		t.Logf("%+v", one)
		r.growth = append(r.growth, one)
	}
}

// grow adds devices with what they sell, at the vendors and in the ledger, and what was paid at each of them.
func (w *world) grow(database string, from, to int) {
	w.Helper()
	l, err := ledger.Open(w.Context(), database)
	if err != nil {
		w.Fatal(err)
	}
	const together = 1000
	for start := from; start < to; start += together {
		end := min(start+together, to)
		for n := start; n < end; n++ {
			w.sells(n)
		}
		err := l.Update(w.Context(), func(tx *ledger.Tx) error {
			for n := start; n < end; n++ {
				if err := w.growOne(tx, n); err != nil {
					return err
				}
			}
			return tx.SetFact("fleet_loaded", tx.Now)
		})
		if err != nil {
			w.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		w.Fatal(err)
	}
}

// growOne is one device with its link and its payments, each with its event and its attempt. One payment in a thousand failed.
func (w *world) growOne(tx *ledger.Tx, n int) error {
	uid, link := fmt.Sprintf("dev:%d", n), fmt.Sprintf("plink_%d", n)
	plan := ledger.Plan{PriceID: warm, Name: "Warm wash", Amount: 350, Currency: "eur"}
	err := errors.Join(tx.SaveDevice(ledger.Device{UID: uid, Name: fmt.Sprintf("Washer %d", n), LastActivity: tx.Now}),
		tx.SaveLink(ledger.Link{ID: link, DeviceUID: uid, URL: "https://buy.example.com/" + link, Active: true, Plan: plan,
			ReturnURL: w.env["PUBLIC_URL"] + "/payment/success?session_id={CHECKOUT_SESSION_ID}"}))
	for i := range paymentsPerDevice {
		serial := n*paymentsPerDevice + i
		random := fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, serial))) // ids that come in no order, as Stripe's do
		at := tx.Now.Add(-time.Hour)
		p := ledger.Payment{ID: ledger.CreditID("cs_test_" + random), SessionID: "cs_test_" + random, PaymentIntent: "pi_" + random[:24], Token: random[:32],
			DeviceUID: uid, DeviceName: fmt.Sprintf("Washer %d", n), PriceID: warm, Plan: plan.Name, Amount: plan.Amount, Currency: plan.Currency,
			Money: ledger.Paid, Machine: ledger.Sent, Posted: true, PaidAt: at, CreatedAt: at, SentAt: at, ExpiresAt: at.Add(10 * time.Minute)}
		if serial%1000 == 0 {
			p.Machine, p.Reason, p.Attention = ledger.Failed, "expired", "money_kept"
		}
		inserted, insertErr := tx.InsertPayment(p)
		if !inserted && insertErr == nil {
			insertErr = fmt.Errorf("payment %d is there already", serial)
		}
		_, eventErr := tx.AddEvent(ledger.StripeEvent{ID: "evt_" + random[:24], Type: "checkout.session.completed", ObjectID: p.SessionID, Created: at, Received: at,
			Outcome: "payment_recorded", Body: `{"object":"event"}`}) // short: what is kept in full only makes the file longer
		err = errors.Join(err, insertErr, eventErr, tx.AddAttempt(p.ID, ledger.Attempt{At: at, Action: ledger.PostNote, Outcome: "ok", Status: 200, Took: 12 * time.Millisecond}))
	}
	return err
}

// measureIdle measures what needs no process of its own.
func (s *size) measureIdle(t *testing.T, database string) {
	server := idle(t, database)
	s.pay = inProcess(t, server.routes(), s.devices)
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
	s.stats = times(func() error { _, err := server.ledger.Stats(t.Context()); return err })
	s.page = times(func() error { _, _, err := server.ledger.Payments(t.Context(), ledger.Filter{Limit: 50}); return err })
}

// measureBinary measures the running binary while both vendors answer, and know all its devices and links.
func (s *size) measureBinary(w *world, path, database string) {
	w.Helper()
	p := w.launch(path, database)
	s.first = p.firstRedirect(fmt.Sprintf("/pay?device=dev:%d", rand.IntN(s.devices)))
	w.until("devices and links are listed", func() bool { return strings.Contains(p.logs.String(), "msg=refreshed") })
	webhooks, _ := w.paid(200, s.devices)
	each, _ := callAll(w.T, p.addr(), 1, webhooks, http.StatusOK)
	s.webhook = median(each)
	p.drained()
	s.memory, s.most = p.memory()
	p.terminate()
	info, err := os.Stat(database)
	if err != nil {
		w.Fatal(err)
	}
	s.disk = float64(info.Size()) / 1e6
}
