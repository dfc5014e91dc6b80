package main

import (
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/config"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
	"notepay/internal/stripeapi"
	"notepay/internal/vendortime"
)

const day = 24 * time.Hour

// hostClock is the clock of the service's host. The vendors' is the bubble's, unless they were told
// another.
type hostClock struct{ ahead atomic.Int64 }

func (h *hostClock) set(ahead time.Duration) { h.ahead.Store(int64(ahead)) }

// clock returns what the service makes of it; nil where it takes the host's time for Stripe's.
func (h *hostClock) clock() *vendortime.Clock {
	if h == nil {
		return nil
	}
	return vendortime.New(func() time.Time { return time.Now().Add(time.Duration(h.ahead.Load())) })
}

// onHost runs a test in front of a service with a new ledger, on a host whose clock is ahead.
// Nothing works until run.
func onHost(t *testing.T, ahead time.Duration, change func(*config.Settings), test func(*front)) {
	t.Helper()
	inFront(t, change, func(f *front) {
		f.closeLedger()
		f.host = &hostClock{}
		f.host.set(ahead)
		f.path = filepath.Join(f.TempDir(), "notepay.db")
		f.open()
		test(f)
	})
}

// restart stops the service and starts it again. Meanwhile the ledger is changed by SQL.
func (f *front) restart(statements ...string) *front {
	f.Helper()
	f.stop()
	f.closeLedger()
	f.sql(statements...)
	f.open()
	return f.run()
}

// sql changes the closed ledger.
func (f *front) sql(statements ...string) {
	f.Helper()
	if len(statements) == 0 {
		return
	}
	db, err := sql.Open("sqlite", "file:"+f.path)
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

// record reads the payment of a session.
func (f *front) record(session sandbox.Session) payment.Payment {
	f.Helper()
	p, err := f.ledger.Payment(f.Context(), session.ID)
	if err != nil {
		f.Fatalf("payment of %s: %v", session.ID, err)
	}
	return p
}

// machineIs fails unless the credit of a session stands so, and is nobody's but ours.
func (f *front) machineIs(session sandbox.Session, want payment.DeliveryStatus) payment.Payment {
	f.Helper()
	p := f.record(session)
	if p.Delivery != want || p.Reason == payment.ReasonAdopted {
		f.Errorf("%s is %s %s %s; want %s", session.ID, p.Funds, p.Delivery, p.Reason, want)
	}
	return p
}

// sells holds against /pay and /health whether the washer is sold, and if not, what is said of it.
func (f *front) sells(want bool, problem ...string) {
	f.Helper()
	status, health := http.StatusServiceUnavailable, "degraded"
	if want {
		status, health = http.StatusTemporaryRedirect, "ok"
	}
	if w := f.get("/pay?device=" + washer); w.Code != status {
		f.Errorf("/pay answers %d; want %d", w.Code, status)
	}
	text := f.get("/health").Body.String()
	for _, part := range append(problem, `"status":"`+health+`"`) {
		if !strings.Contains(text, part) {
			f.Errorf("/health lacks %q: %s", part, text)
		}
	}
}

// paySession pays where there is no link.
func (f *front) paySession() sandbox.Session {
	return f.stripe.PaySession(map[string]string{"device_uid": washer, "project": project, "price_id": warm}, 350, "eur",
		sandbox.PayOptions{})
}

// asksForThePast fails if Stripe's events were asked for that have not happened.
func (f *front) asksForThePast() {
	f.Helper()
	for _, r := range f.stripe.Requests("GET /v1/events") {
		query, err := url.ParseQuery(r.Query)
		if err != nil {
			f.Fatal(err)
		}
		since, _ := strconv.ParseInt(query.Get("created[gte]"), 10, 64)
		if time.Unix(since, 0).After(f.stripe.Now()) {
			f.Errorf("events were asked for since %v, and Stripe has %v", time.Unix(since, 0).UTC(), f.stripe.Now().UTC())
		}
	}
}

func TestPaymentsOnAHostWhoseClockIsWrong(t *testing.T) {
	t.Parallel()
	hosts := []time.Duration{-30 * day, 20 * time.Minute, -119 * time.Second, 0, 119 * time.Second, -20 * time.Minute, -2 * time.Hour,
		2 * time.Hour, 30 * day}
	if underRace {
		hosts = hosts[:3]
	}
	for _, ahead := range hosts {
		t.Run(fmt.Sprintf("%v ahead", ahead), func(t *testing.T) {
			t.Parallel()
			onHost(t, ahead, nil, func(f *front) {
				f.run()
				f.sells(ahead.Abs() < vendortime.Tolerance)
				told := f.buy(sandbox.PayOptions{})
				f.pass(time.Second)
				p := f.machineIs(told, payment.Sent)
				if want := f.stripe.Now().Add(10 * time.Minute); p.ExpiresAt.Sub(want).Abs() > 5*time.Second {
					f.Errorf("it expires at %v; want %v", p.ExpiresAt, want)
				}
				untold := f.buy(sandbox.PayOptions{NoWebhook: true})
				f.pass(5*time.Minute + 2*time.Second)
				f.machineIs(untold, payment.Sent)
				f.notehub.Fetch(washer, "payment.qi")
				f.pass(6 * time.Minute)
				f.machineIs(told, payment.Fetched)
				f.machineIs(untold, payment.Fetched)
				late := f.buy(sandbox.PayOptions{})
				f.pass(11 * time.Minute)
				if p := f.machineIs(late, payment.Failed); p.Funds != payment.Refunded || p.Reason != payment.ReasonRecalled {
					f.Errorf("nobody fetched it, and it is %s %s", p.Funds, p.Reason)
				}
				f.asksForThePast()
				if cursor, err := f.ledger.Meta(f.Context(), ledger.MetaEventsRead); err != nil || cursor.After(f.stripe.Now()) {
					f.Errorf("events were read until %v (%v), and Stripe has %v", cursor, err, f.stripe.Now())
				}
				if born := f.ledger.CreatedAt(); born.After(f.stripe.Now()) || f.stripe.Now().Sub(born) > time.Hour {
					f.Errorf("the ledger was born at %v, and Stripe has %v", born, f.stripe.Now())
				}
				f.stop()
			})
		})
	}
}

func TestClockProblem(t *testing.T) {
	t.Parallel()
	onHost(t, 20*time.Minute, nil, func(f *front) {
		f.run()
		f.sells(false, "20m0s ahead of Stripe's time", "NTP")
		f.host.set(-3 * time.Hour)
		f.pass(2 * time.Second)
		f.sells(false, "3h0m", "behind Stripe's time")
		f.host.set(90 * time.Second)
		f.pass(2 * time.Second)
		f.sells(true)
		for _, line := range []string{`level=WARN msg="clock wrong, sales stopped"`, `msg="clock correct again"`} {
			if text := f.logs.String(); !strings.Contains(text, line) {
				f.Errorf("the log lacks %s:\n%s", line, text)
			}
		}
		f.stop()
	})
}

func TestWaitsWhileTheHostClockSteps(t *testing.T) {
	t.Parallel()
	for _, step := range []time.Duration{-time.Hour, time.Hour, -30 * day} {
		t.Run(step.String(), func(t *testing.T) {
			t.Parallel()
			onHost(t, 0, nil, func(f *front) {
				f.run()
				const notes, refunds = "POST /v1/projects/{project}/devices/{device}/notes/{file}", "POST /v1/refunds"
				f.notehub.Next(notes, sandbox.Outcome{Status: 429, Header: http.Header{"Retry-After": {"20"}}})
				first := f.buy(sandbox.PayOptions{})
				f.pass(time.Second)
				f.host.set(step)
				f.pass(25 * time.Second)
				f.machineIs(first, payment.Sent)
				f.stripe.Next(refunds, sandbox.Outcome{Status: 503}, sandbox.Outcome{Status: 503})
				f.pass(10*time.Minute + 10*time.Second)
				if p := f.machineIs(first, payment.Failed); p.Funds != payment.Refunded {
					f.Errorf("the money is %s ten seconds after the credit's end, due at %v", p.Funds, p.DueAt)
				}
				second := f.buy(sandbox.PayOptions{})
				f.pass(time.Second)
				f.machineIs(second, payment.Sent)
				f.host.set(0)
				f.pass(11 * time.Minute)
				f.machineIs(second, payment.Failed)
				f.stop()
			})
		})
	}
}

// A host that slept finds Stripe's time later than it carried on, and one whose monotonic clock ran
// away finds it earlier.
func TestStripeTimeIsNotWhatWasCarriedOn(t *testing.T) {
	t.Parallel()
	for _, step := range []time.Duration{-time.Hour, -20 * time.Minute, -5 * time.Second, 20 * time.Minute, 5 * time.Hour} {
		t.Run(step.String(), func(t *testing.T) {
			t.Parallel()
			onHost(t, 0, nil, func(f *front) {
				f.run()
				f.pass(time.Minute)
				f.stripe.SetClock(step)
				f.notehub.SetClock(step)
				told := f.buy(sandbox.PayOptions{})
				f.pass(time.Second)
				f.machineIs(told, payment.Sent)
				f.pass(5 * time.Minute)
				untold := f.buy(sandbox.PayOptions{NoWebhook: true})
				f.pass(6 * time.Minute)
				f.machineIs(untold, payment.Sent)
				f.pass(11 * time.Minute)
				f.machineIs(untold, payment.Failed)
				f.stop()
			})
		})
	}
}

func TestFirstStartWithoutStripe(t *testing.T) {
	t.Parallel()
	for ahead, problem := range map[time.Duration]string{0: "does not know the time", -2 * time.Hour: "behind Stripe's time"} {
		t.Run(fmt.Sprintf("%v ahead", ahead), func(t *testing.T) {
			t.Parallel()
			onHost(t, ahead, nil, func(f *front) {
				const everything = "{any} /v1/{rest...}"
				f.stripe.Always(everything, sandbox.Outcome{})
				f.run()
				f.pass(10 * time.Second)
				f.sells(false, problem)
				if f.ledger.Settled() || !f.ledger.CreatedAt().IsZero() {
					f.Errorf("the ledger was born at %v without anybody knowing the time", f.ledger.CreatedAt())
				}
				session := f.paySession()
				synctest.Wait()
				for _, e := range f.stripe.Events() {
					if status, err := f.stripe.Send(e.ID); status != http.StatusServiceUnavailable || err != nil {
						f.Errorf("%s is answered %d, %v; want 503, so that Stripe sends it again", e.Type, status, err)
					}
				}
				w := f.do(http.MethodPost, "/api/devices/"+washer+"/start", `{"reason":"test"}`, "Authorization", "Bearer "+operatorToken)
				f.answers("a free start while nobody knows the time", w, http.StatusServiceUnavailable, "time_unknown")
				f.stripe.Clear(everything)
				f.pass(time.Minute)
				f.machineIs(session, payment.Sent)
				if born := f.ledger.CreatedAt(); f.stripe.Now().Sub(born) < time.Minute || f.stripe.Now().Sub(born) > 5*time.Minute {
					f.Errorf("the ledger was born at %v, and it is %v", born, f.stripe.Now())
				}
				f.stop()
			})
		})
	}
}

func TestRestartWithoutStripe(t *testing.T) {
	t.Parallel()
	const everything = "{any} /v1/{rest...}"
	down := func(f *front, ahead time.Duration) (queued sandbox.Session) {
		f.notehub.Always("POST /v1/projects/{project}/devices/{device}/notes/{file}", sandbox.Outcome{Status: 503})
		f.run()
		queued = f.buy(sandbox.PayOptions{})
		f.pass(time.Second)
		f.stripe.Always(everything, sandbox.Outcome{})
		f.notehub.Clear("POST /v1/projects/{project}/devices/{device}/notes/{file}")
		f.host.set(ahead)
		f.restart()
		f.pass(time.Minute)
		return queued
	}
	t.Run("credits are sent, and webhooks taken that agree with the host's clock", func(t *testing.T) {
		t.Parallel()
		onHost(t, 0, nil, func(f *front) {
			queued := down(f, 0)
			f.machineIs(queued, payment.Sent)
			session := f.buy(sandbox.PayOptions{})
			f.pass(time.Second)
			f.machineIs(session, payment.Sent)
			f.stripe.Clear(everything)
			f.pass(time.Minute)
			f.stop()
		})
	})
	t.Run("no deadline is acted on, and webhooks are postponed that do not agree with it", func(t *testing.T) {
		t.Parallel()
		// Notehub tells the time as well, so it has to be silent for anybody to believe the host's
		// clock.
		onHost(t, 0, func(s *config.Settings) { s.ConfirmWithin = 2 * time.Minute; s.CreditLifetime = 2 * time.Minute }, func(f *front) {
			f.run()
			sent := f.buy(sandbox.PayOptions{})
			f.pass(time.Second)
			f.machineIs(sent, payment.Sent)
			f.notehub.Fetch(washer, "payment.qi")
			f.stripe.Always(everything, sandbox.Outcome{})
			f.notehub.Always("{any} /{rest...}", sandbox.Outcome{})
			f.host.set(time.Hour)
			f.restart()
			f.pass(20 * time.Second)
			f.notehub.Clear("{any} /{rest...}")
			f.notehub.Always("{any} /{rest...}", sandbox.Outcome{Applied: true, Status: 200, Header: http.Header{"Date": {""}}})
			f.pass(20 * time.Second)
			f.machineIs(sent, payment.Sent)
			session := f.paySession()
			synctest.Wait()
			for _, e := range f.stripe.Events()[len(f.stripe.Events())-1:] {
				if status, err := f.stripe.Send(e.ID); status != http.StatusServiceUnavailable {
					f.Errorf("%s is answered %d, %v; want 503", e.Type, status, err)
				}
			}
			f.stripe.Clear(everything)
			f.pass(10 * time.Second)
			f.machineIs(session, payment.Sent)
			f.notehub.Clear("{any} /{rest...}")
			f.stop()
		})
	})
}

func TestLostLedgerOnAHostWhoseClockIsWeeksBehind(t *testing.T) {
	t.Parallel()
	onHost(t, 0, nil, func(f *front) {
		f.run()
		var sold []sandbox.Session
		for range 3 {
			sold = append(sold, f.buy(sandbox.PayOptions{}))
			f.pass(time.Second)
			f.notehub.Fetch(washer, "payment.qi")
			f.pass(11 * time.Minute)
		}
		f.stop()
		f.pass(21 * day)
		f.closeLedger()
		f.path = filepath.Join(f.TempDir(), "new.db")
		f.host.set(-30 * day)
		f.open()
		f.run()
		for _, e := range f.stripe.Events() { // Stripe may send what was never acknowledged
			if _, err := f.stripe.Send(e.ID); err != nil {
				f.Error(err)
			}
		}
		f.pass(time.Hour)
		for _, s := range sold {
			if _, _, back, _ := f.stripe.Money(s.ID); back != 0 {
				f.Errorf("%s: %d went back, and the machine had its credit", s.ID, back)
			}
			if p := f.record(s); p.Reason != payment.ReasonAdopted {
				f.Errorf("%s is %s %s; want adopted", s.ID, p.Delivery, p.Reason)
			}
		}
		if n := len(f.notehub.Notes(washer)); n != len(sold) {
			f.Errorf("%d notes for %d payments", n, len(sold))
		}
		fresh := f.buy(sandbox.PayOptions{})
		f.pass(time.Second)
		f.machineIs(fresh, payment.Sent)
		f.stop()
	})
}

func TestTimesStoredByAClockThatWasAhead(t *testing.T) {
	t.Parallel()
	in := func(d time.Duration) string { return strconv.FormatInt(time.Now().Add(d).UnixMilli(), 10) }
	t.Run("a birth and a cursor", func(t *testing.T) {
		t.Parallel()
		for _, wrong := range []time.Duration{30 * time.Second, 2 * time.Hour, day, 365 * day} {
			onHost(t, 0, nil, func(f *front) {
				f.run()
				f.pass(time.Hour)
				f.stop()
				meanwhile := f.buy(sandbox.PayOptions{NoWebhook: true})
				f.restart(`UPDATE facts SET value = ` + in(wrong) + ` WHERE name IN ('born', 'events_read', 'fleet_loaded')`)
				f.pass(time.Minute)
				f.machineIs(meanwhile, payment.Sent)
				told := f.buy(sandbox.PayOptions{})
				f.pass(time.Second)
				f.machineIs(told, payment.Sent)
				for _, fact := range []string{"born", "events_read", "fleet_loaded"} {
					if at, err := f.ledger.Meta(f.Context(), fact); err != nil || at.After(f.stripe.Now()) {
						f.Errorf("%s is %v, %v; and it is %v", fact, at, err, f.stripe.Now())
					}
				}
				f.asksForThePast()
				f.stop()
			})
		}
	})
	t.Run("what a payment waits for", func(t *testing.T) {
		t.Parallel()
		const notes, refunds = "POST /v1/projects/{project}/devices/{device}/notes/{file}", "POST /v1/refunds"
		onHost(t, 0, func(s *config.Settings) { s.CreditLifetime = 0 }, func(f *front) {
			f.notehub.Always(notes, sandbox.Outcome{Status: 503})
			f.run()
			queued := f.buy(sandbox.PayOptions{})
			f.pass(3 * time.Second)
			f.stop()
			f.notehub.Clear(notes)
			f.restart(`UPDATE payments SET in_flight = 0, due_at = ` + in(day) + `, not_before = ` + in(day) + `, created_at = ` + in(day))
			f.pass(3 * time.Minute)
			p := f.machineIs(queued, payment.Sent)
			if p.CreatedAt.After(f.stripe.Now()) {
				f.Errorf("recorded at %v, and it is %v", p.CreatedAt, f.stripe.Now())
			}
			f.stop()
		})
		onHost(t, 0, nil, func(f *front) {
			f.notehub.Always(notes, sandbox.Outcome{Status: 429})
			f.stripe.Always(refunds, sandbox.Outcome{Status: 503})
			f.run()
			failed := f.buy(sandbox.PayOptions{})
			f.pass(11 * time.Minute)
			f.stop()
			f.stripe.Clear(refunds)
			at := in(2 * time.Hour)
			f.restart(`UPDATE payments SET in_flight = 0, due_at = ` + at + `, not_before = ` + at + `, refund_at = ` + at)
			f.pass(3 * time.Minute)
			if p := f.machineIs(failed, payment.Failed); p.Funds != payment.Refunded {
				f.Errorf("the money is %s, due at %v", p.Funds, p.DueAt)
			}
			f.stop()
		})
		onHost(t, 0, nil, func(f *front) { // a call that was under way
			f.notehub.Always(notes, sandbox.Outcome{Delay: time.Hour})
			f.run()
			under := f.buy(sandbox.PayOptions{})
			f.pass(time.Second)
			f.stop()
			f.notehub.Clear(notes)
			f.restart(`UPDATE payments SET due_at = ` + in(2*time.Hour))
			f.pass(2 * time.Minute)
			f.machineIs(under, payment.Sent)
			f.stop()
		})
	})
}

// What is heard of a machine after a pause counts, whatever a clock that was ahead has stored.
func TestPauseStoredByAClockThatWasAhead(t *testing.T) {
	t.Parallel()
	onHost(t, 0, nil, func(f *front) {
		f.run()
		f.restart(fmt.Sprintf(`INSERT INTO pauses (device_uid, reason, by, at, automatic)
			VALUES ('%s', 'silent', 'notepay', %d, 1)`, washer, time.Now().Add(day).UnixMilli()))
		f.pass(time.Minute)
		f.notehub.SetDevice(washer, func(d *sandbox.Device) { d.LastActivity = f.notehub.Now() })
		f.pass(16 * time.Minute)
		f.sells(true)
		f.stop()
	})
}

func TestServiceOnAHostWhoseClockIsAhead(t *testing.T) {
	t.Parallel()
	w := newWorld(t).set("POLL_INTERVAL", "10s")
	w.clocks(-20 * time.Minute)
	s := w.start()
	var link sandbox.Link
	w.until("the link is there", func() bool {
		if links := w.stripe.Links(); len(links) == 1 {
			link = links[0]
		}
		return link.ID != ""
	})
	w.until("health tells it", func() bool {
		_, _, text := s.get("/health")
		return strings.Contains(text, `"degraded"`) && strings.Contains(text, "20m0s ahead")
	})
	if status, _, _ := s.get("/pay?device=" + washer); status != http.StatusServiceUnavailable {
		t.Errorf("/pay answers %d; want 503", status)
	}
	session := w.pay(link.ID, sandbox.PayOptions{})
	s.payment(session.ID, "sent", has(`"machine":"sent"`))
	untold := w.pay(link.ID, sandbox.PayOptions{NoWebhook: true})
	s.payment(untold.ID, "sent", has(`"machine":"sent"`))
	status, header, _ := s.get("/payment/success?session_id=" + session.ID)
	if to := header.Get("Location"); status != http.StatusSeeOther || !strings.HasPrefix(to, "/session/") {
		t.Errorf("the success page answers %d %s", status, to)
	}
	w.clocks(0)
	w.until("it sells", func() bool {
		status, _, _ := s.get("/pay?device=" + washer)
		return status == http.StatusTemporaryRedirect
	})
	w.stopped(s)
}

// clocks sets both vendors' clocks ahead of the host's.
func (w *world) clocks(ahead time.Duration) {
	w.stripe.SetClock(ahead)
	w.notehub.SetClock(ahead)
}

// The age of a signature is judged by Stripe's time: a fresh one counts on any host, and a replayed
// one on none.
func TestSignatureAge(t *testing.T) {
	t.Parallel()
	for _, ahead := range []time.Duration{-30 * day, -20 * time.Minute, 0, 20 * time.Minute, 30 * day} {
		onHost(t, ahead, nil, func(f *front) {
			secrets, body := stripeapi.WebhookSecrets{testSecret}, sessionEvent("checkout.session.completed", "")
			verify := func(clock *vendortime.Clock, age time.Duration) error {
				_, err := secrets.Verify([]byte(body), signedAt(body, testSecret, time.Now().Add(-age)), clock)
				return err
			}
			unknown := f.host.clock()
			f.run()
			known := f.ledger.Clock()
			for age, want := range map[time.Duration]error{0: nil, 4 * time.Minute: nil, 6 * time.Minute: stripeapi.ErrTooOld,
				20 * time.Minute: stripeapi.ErrTooOld, 30 * day: stripeapi.ErrTooOld, -time.Minute: nil} {
				if err := verify(known, age); !errors.Is(err, want) {
					f.Errorf("host %v ahead, signed %v ago: %v; want %v", ahead, age, err, want)
				}
				byHost := age + ahead // as old as it seems while nobody knows better
				if err := verify(unknown, age); errors.Is(err, stripeapi.ErrTimeUnknown) != (byHost.Abs() > vendortime.Tolerance) {
					f.Errorf("host %v ahead, time unknown, signed %v ago: %v", ahead, age, err)
				}
			}
			for _, age := range []time.Duration{6 * time.Minute, 30 * day} {
				signature := signedAt(body, testSecret, time.Now().Add(-age))
				w := f.do(http.MethodPost, "/webhook/stripe", body, "Stripe-Signature", signature)
				f.answers(fmt.Sprintf("a webhook signed %v ago", age), w, http.StatusBadRequest, "bad_signature")
			}
			if n := f.stripe.Count("GET /v1/events"); n > 4 {
				f.Errorf("Stripe's events were asked for %d times", n)
			}
			f.stop()
		})
	}
}

// Stripe takes sessions that end in half an hour at the earliest. Ours end in a minute more, by Stripe's time.
func TestSessionsOnAHostWhoseClockIsNotQuiteRight(t *testing.T) {
	t.Parallel()
	for _, ahead := range []time.Duration{-119 * time.Second, 119 * time.Second} {
		onHost(t, ahead, perPurchase, func(f *front) {
			f.run()
			customer := f.phone()
			first := customer.presses(customer.scans())
			f.pass(20 * time.Minute)
			if again := customer.presses(customer.scans()); again.ID != first.ID {
				f.Error("eleven minutes before its end the session is not given out again")
			}
			f.pass(2 * time.Minute)
			if again := customer.presses(customer.scans()); again.ID == first.ID {
				f.Error("nine minutes before its end the session is given out again")
			}
			f.restart()
			f.machineIs(f.complete(customer.presses(customer.scans()), sandbox.PayOptions{}), payment.Sent)
			f.stop()
		})
	}
}
