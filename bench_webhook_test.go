//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"notepay/internal/app"
	"notepay/internal/bodies"
	"notepay/internal/metrics"
	"notepay/internal/sandbox"
	"notepay/internal/stripeapi"
	"notepay/internal/web"
)

// busy is a service with many devices that sell, so that one device's queue is not what is measured.
func busy(t *testing.T, devices int) (*world, *service) {
	t.Helper()
	w := newWorld(t).set("LOG_LEVEL", "info")
	for n := range devices {
		w.sells(n)
	}
	s := w.serving()
	w.until("all links are known", func() bool { return s.health().Links == devices })
	return w, s
}

// sells adds a device that has its link already.
func (w *world) sells(n int) {
	uid := fmt.Sprintf("dev:%d", n)
	w.notehub.AddDevice(sandbox.Device{UID: uid, Name: fmt.Sprintf("Washer %d", n), LastActivity: time.Now()})
	metadata := map[string]string{"app": stripeapi.App, "project": project, "device_uid": uid, "price_id": warm}
	w.stripe.AddLink(sandbox.Link{ID: fmt.Sprintf("plink_%d", n), DeviceUID: uid, PriceID: warm, Active: true, Metadata: metadata,
		IntentMetadata: metadata, ReturnURL: w.returnURL()})
}

// returnURL is that of links which need no change.
func (w *world) returnURL() string {
	return w.env["PUBLIC_URL"] + "/payment/success?session_id={CHECKOUT_SESSION_ID}"
}

// serving runs the service with its log in a file.
func (w *world) serving() *service {
	w.Helper()
	out, err := os.Create(filepath.Join(w.dir, "log"))
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		if err := out.Close(); err != nil {
			w.Error(err)
		}
	})
	p := w.launch(invoked(w.T, w.dir, w.env), out)
	w.Cleanup(func() {
		if err := p.stop(); err != nil {
			w.Errorf("the service ended with %v; want a clean stop", err)
		}
	})
	return &service{w: w, url: p.url}
}

func (s *service) addr() string { return strings.TrimPrefix(s.url, "http://") }

func (s *service) health() (h app.HealthAnswer) {
	s.w.Helper()
	_, _, text := s.get("/health")
	if err := json.Unmarshal([]byte(text), &h); err != nil {
		s.w.Fatalf("/health answers %q: %v", text, err)
	}
	return h
}

// drained waits until nothing is to be sent any more.
func (s *service) drained() {
	s.w.Helper()
	s.w.until("the queue is empty", func() bool { return s.health().Queued == 0 })
}

// paid lets n customers pay, each at the next device, and returns the signed webhooks as they go over the wire. They are not sent.
func (w *world) paid(n, devices int) (webhooks [][]byte, sessions []string) {
	w.Helper()
	bought := make(map[string]bool, n)
	for i := range n {
		bought[w.pay(fmt.Sprintf("plink_%d", i%devices), sandbox.PayOptions{}).ID] = true
	}
	for _, e := range w.stripe.Events() {
		if e.Type != "checkout.session.completed" || !bought[e.ObjectID] {
			continue
		}
		r := httptest.NewRequest(http.MethodPost, "/webhook/stripe", strings.NewReader(string(e.Body)))
		r.Header.Set("Content-Type", "application/json; charset=utf-8")
		r.Header.Set("User-Agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)")
		r.Header.Set("Stripe-Signature", signed(string(e.Body), testSecret))
		webhooks, sessions = append(webhooks, wire(w.T, r)), append(sessions, e.ObjectID)
	}
	return webhooks, sessions
}

// withoutStore verifies and decodes a webhook as the service does, and stores nothing.
func withoutStore() http.Handler {
	s := &app.App{Webhooks: stripeapi.WebhookSecrets{testSecret}, Unverified: bodies.New(app.MaxBody), Metrics: metrics.NewMetrics(testVersion, nil, nil), Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	return s.WithHeaders(s.Handle(func(w http.ResponseWriter, r *http.Request) error {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		if _, err := s.Webhooks.Verify(body, r.Header.Get("Stripe-Signature"), s.Ledger.Clock()); err != nil {
			return err
		}
		return web.WriteJSON(w, http.StatusOK, map[string]bool{"received": true})
	}))
}

// benchWebhook measures durable acknowledgements while each payment is also delivered. All of it, the customers, Stripe, the bridge
// and Notehub, is on this machine.
func benchWebhook(t *testing.T, r *report) {
	const devices, rounds, alone, together, connections = 1000, 7, 300, 3000, 64
	w, s := busy(t, devices)
	nothingStored := listen(t, withoutStore())
	var inSyncs, times, floor, syncs, rates, overSyncs, bareRates, overBare, delivered []float64
	for n := range rounds + 1 {
		webhooks, _ := w.paid(alone+together, devices)
		s.drained()
		sync := syncTimes(t, w.dir, 500)
		each, _ := callAll(t, s.addr(), 1, webhooks[:alone], http.StatusOK)
		s.drained()
		webhooks = webhooks[alone:]
		unstored, _ := callAll(t, nothingStored, 1, webhooks[:alone], http.StatusOK)
		_, bare := callAll(t, nothingStored, connections, webhooks, http.StatusOK)
		began := time.Now()
		_, stored := callAll(t, s.addr(), connections, webhooks, http.StatusOK)
		s.drained()
		end := time.Since(began)
		if n == 0 {
			continue // it warms up
		}
		rate := together / stored.Seconds()
		floor = append(floor, median(unstored).Seconds())
		times, inSyncs = append(times, median(each).Seconds()), append(inSyncs, float64(median(each))/float64(median(sync)))
		syncs, rates, overSyncs = append(syncs, perSecond(sync)), append(rates, rate), append(overSyncs, rate/perSecond(sync))
		bareRates, overBare = append(bareRates, together/bare.Seconds()), append(overBare, bare.Seconds()/stored.Seconds())
		delivered = append(delivered, together/end.Seconds())
	}
	seconds := func(list []float64) string { return short(time.Duration(median(list) * float64(time.Second))) }
	units, many, share := median(inSyncs), median(overSyncs), median(overBare)
	r.add(t, figure{name: "durable acknowledgement, 1 connection", got: seconds(times), baseline: "one `fdatasync`, 4 KiB: " + short(r.sync) + "; without a store: " + seconds(floor),
		ratio: fmt.Sprintf("%.1f", units), wanted: "≤ 5", short: units > 5})
	r.add(t, figure{name: "durable acknowledgements, 64 connections", got: inSeconds(median(rates)), baseline: "`fdatasync`s of one file: " + inSeconds(median(syncs)),
		ratio: fmt.Sprintf("%.2f", many), wanted: "> 1", short: many <= 1})
	r.add(t, figure{name: "the same", got: inSeconds(median(rates)), baseline: "the same handler without a store: " + inSeconds(median(bareRates)),
		ratio: fmt.Sprintf("%.2f", share), wanted: "≥ 0.5", short: share < 0.5})
	r.add(t, figure{name: "payments from webhook to settled note, 64 connections", got: inSeconds(median(delivered)), baseline: "acknowledged alone: " + inSeconds(median(rates)),
		ratio: fmt.Sprintf("%.2f", median(delivered)/median(rates))})
}

// benchWire measures the time from a webhook's first byte to the note's request at Notehub, one payment after another.
func benchWire(t *testing.T, r *report) {
	const devices, payments = 100, 1000
	w, s := busy(t, devices)
	webhooks, sessions := w.paid(payments, devices)
	c, err := dial(s.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.conn.Close()
	pace := time.NewTicker(10 * time.Millisecond)
	defer pace.Stop()
	sent := make(map[string]time.Time, payments)
	for i, webhook := range webhooks {
		<-pace.C
		sent[sessions[i]] = time.Now()
		if status, err := c.call(webhook); err != nil || status != http.StatusOK {
			t.Fatalf("status %d, %v", status, err)
		}
	}
	s.drained()
	var took []time.Duration
	for _, arrived := range w.notehub.Requests(postNote) {
		var note struct {
			Body struct {
				Session string `json:"session_id"`
			}
		}
		if err := json.Unmarshal(arrived.Body, &note); err != nil {
			t.Fatal(err)
		}
		took = append(took, arrived.At.Sub(sent[note.Body.Session]))
	}
	if len(took) != payments {
		t.Fatalf("%d notes for %d payments", len(took), payments)
	}
	sync := median(syncTimes(t, w.dir, 500))
	half, most := quantile(took, 0.5), quantile(took, 0.99)
	inSyncs := func(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d)/float64(sync)) }
	baseline := "one `fdatasync`, of which it waits for one: " + short(sync)
	r.add(t, figure{name: "webhook to note on the wire, median", got: short(half), baseline: baseline, ratio: inSyncs(half), wanted: "≤ 2 ms", short: half > 2*time.Millisecond})
	r.add(t, figure{name: "webhook to note on the wire, 99 of 100", got: short(most), baseline: baseline, ratio: inSyncs(most), wanted: "≤ 10 ms", short: most > 10*time.Millisecond})
}
