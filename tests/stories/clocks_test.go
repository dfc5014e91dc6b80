package stories

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/problem"
	"notepay/internal/sandbox"
	"notepay/internal/stripeapi"
	"notepay/internal/vendortime"
)

const day = 24 * time.Hour

// onHost runs a test against a service with a new ledger, on a host whose clock is ahead. The
// service is idle until Run.
func onHost(t *testing.T, ahead time.Duration, change func(*config.Settings), test func(*apptest.Front)) {
	t.Helper()
	apptest.InFront(t, change, func(f *apptest.Front) {
		f.CloseLedger()
		f.Host = &apptest.HostClock{}
		f.Host.Set(ahead)
		f.Path = filepath.Join(f.TempDir(), "notepay.db")
		f.Open()
		test(f)
	})
}

func TestPaymentsOnAHostWhoseClockIsWrong(t *testing.T) {
	t.Parallel()
	hosts := []time.Duration{
		-30 * day,
		20 * time.Minute,
		-119 * time.Second,
		0,
		119 * time.Second,
		-20 * time.Minute,
		-2 * time.Hour,
		2 * time.Hour,
		30 * day,
	}
	if apptest.UnderRace {
		hosts = hosts[:3]
	}
	for _, ahead := range hosts {
		t.Run(fmt.Sprintf("%v ahead", ahead), func(t *testing.T) {
			t.Parallel()
			onHost(t, ahead, nil, func(f *apptest.Front) {
				f.Run()
				f.Sells(ahead.Abs() < vendortime.Tolerance)
				known := f.Buy(sandbox.PayOptions{})
				f.Pass(time.Second)
				p := f.MachineIs(known, payment.Sent)
				if want := f.Stripe.Now().Add(10 * time.Minute); p.ExpiresAt.Sub(want).Abs() > 5*time.Second {
					f.Errorf("it expires at %v; want %v", p.ExpiresAt, want)
				}
				untold := f.Buy(sandbox.PayOptions{NoWebhook: true})
				f.Pass(5*time.Minute + 2*time.Second)
				f.MachineIs(untold, payment.Sent)
				f.Notehub.Fetch(fixture.Washer, "payment.qi")
				f.Pass(6 * time.Minute)
				f.MachineIs(known, payment.Fetched)
				f.MachineIs(untold, payment.Fetched)
				late := f.Buy(sandbox.PayOptions{})
				f.Pass(11 * time.Minute)
				if p := f.MachineIs(late, payment.Failed); p.Funds != payment.Refunded ||
					p.Reason != payment.ReasonRecalled {
					f.Errorf("nobody fetched it, and it is %s %s", p.Funds, p.Reason)
				}
				f.AsksForThePast()
				if cursor, err := f.Ledger.Meta(f.Context(), ledger.MetaEventsRead); err != nil ||
					cursor.After(f.Stripe.Now()) {
					f.Errorf("events were read until %v (%v), and Stripe has %v", cursor, err, f.Stripe.Now())
				}
				if born := f.Ledger.CreatedAt(); born.After(f.Stripe.Now()) || f.Stripe.Now().Sub(born) > time.Hour {
					f.Errorf("the ledger was born at %v, and Stripe has %v", born, f.Stripe.Now())
				}
				f.Stop()
			})
		})
	}
}

func TestClockProblem(t *testing.T) {
	t.Parallel()
	onHost(t, 20*time.Minute, nil, func(f *apptest.Front) {
		f.Run()
		f.Sells(false, "20m0s ahead of Stripe's time", "NTP")
		f.Host.Set(-3 * time.Hour)
		f.Pass(2 * time.Second)
		f.Sells(false, "3h0m", "behind Stripe's time")
		f.Host.Set(90 * time.Second)
		f.Pass(2 * time.Second)
		f.Sells(true)
		for _, line := range []string{`level=WARN msg="clock wrong, sales stopped"`, `msg="clock correct again"`} {
			if text := f.Logs.String(); !strings.Contains(text, line) {
				f.Errorf("the log lacks %s:\n%s", line, text)
			}
		}
		f.Stop()
	})
}

// The listing and the machines' activity have the vendors' time. The host's clock must not make them
// look old.
func TestFleetOnAHostWhoseClockIsAhead(t *testing.T) {
	t.Parallel()
	change := func(s *config.Settings) { s.OfflineAfter = time.Hour }
	onHost(t, 0, change, func(f *apptest.Front) {
		f.Stripe.SetClock(-2 * time.Hour)
		f.Notehub.SetClock(-2 * time.Hour)
		f.Notehub.SetDevice(fixture.Washer, func(d *sandbox.Device) { d.LastActivity = f.Notehub.Now() })
		f.Run()
		f.Pass(10 * time.Minute)
		f.HasProblem(problem.ListOutdated, "last read the complete list", false)
		f.HasProblem(problem.NothingPayable, "No machine can be paid for", false)
		f.Stop()
	})
}

func TestWaitsWhileTheHostClockSteps(t *testing.T) {
	t.Parallel()
	for _, step := range []time.Duration{-time.Hour, time.Hour, -30 * day} {
		t.Run(step.String(), func(t *testing.T) {
			t.Parallel()
			onHost(t, 0, nil, func(f *apptest.Front) {
				f.Run()
				const notes, refunds = "POST /v1/projects/{project}/devices/{device}/notes/{file}", "POST /v1/refunds"
				f.Notehub.Next(notes, sandbox.Outcome{Status: 429, Header: http.Header{"Retry-After": {"20"}}})
				first := f.Buy(sandbox.PayOptions{})
				f.Pass(time.Second)
				f.Host.Set(step)
				f.Pass(25 * time.Second)
				f.MachineIs(first, payment.Sent)
				f.Stripe.Next(refunds, sandbox.Outcome{Status: 503}, sandbox.Outcome{Status: 503})
				f.Pass(10*time.Minute + 10*time.Second)
				if p := f.MachineIs(first, payment.Failed); p.Funds != payment.Refunded {
					f.Errorf("the money is %s ten seconds after the credit's end, due at %v", p.Funds, p.DueAt)
				}
				second := f.Buy(sandbox.PayOptions{})
				f.Pass(time.Second)
				f.MachineIs(second, payment.Sent)
				f.Host.Set(0)
				f.Pass(11 * time.Minute)
				f.MachineIs(second, payment.Failed)
				f.Stop()
			})
		})
	}
}

// After a sleep of the host, Stripe's time is later than the time that notepay carried on. If the
// monotonic clock ran too fast, Stripe's time is earlier.
func TestStripeTimeDiffersFromTheCarriedOne(t *testing.T) {
	t.Parallel()
	steps := []time.Duration{-time.Hour, -20 * time.Minute, -5 * time.Second, 20 * time.Minute, 5 * time.Hour}
	for _, step := range steps {
		t.Run(step.String(), func(t *testing.T) {
			t.Parallel()
			onHost(t, 0, nil, func(f *apptest.Front) {
				f.Run()
				f.Pass(time.Minute)
				f.Stripe.SetClock(step)
				f.Notehub.SetClock(step)
				known := f.Buy(sandbox.PayOptions{})
				f.Pass(time.Second)
				f.MachineIs(known, payment.Sent)
				f.Pass(5 * time.Minute)
				untold := f.Buy(sandbox.PayOptions{NoWebhook: true})
				f.Pass(6 * time.Minute)
				f.MachineIs(untold, payment.Sent)
				f.Pass(11 * time.Minute)
				f.MachineIs(untold, payment.Failed)
				f.Stop()
			})
		})
	}
}

func TestFirstStartWithoutStripe(t *testing.T) {
	t.Parallel()
	for ahead, problem := range map[time.Duration]string{
		0:              "does not know the time",
		-2 * time.Hour: "behind Stripe's time",
	} {
		t.Run(fmt.Sprintf("%v ahead", ahead), func(t *testing.T) {
			t.Parallel()
			onHost(t, ahead, nil, func(f *apptest.Front) {
				const everything = "{any} /v1/{rest...}"
				f.Stripe.Always(everything, sandbox.Outcome{})
				f.Run()
				f.Pass(10 * time.Second)
				f.Sells(false, problem)
				if f.Ledger.Settled() || !f.Ledger.CreatedAt().IsZero() {
					f.Errorf("the ledger was born at %v without anybody knowing the time", f.Ledger.CreatedAt())
				}
				session := f.PaySession()
				synctest.Wait()
				for _, e := range f.Stripe.Events() {
					if status, err := f.Stripe.Send(e.ID); status != http.StatusServiceUnavailable || err != nil {
						f.Errorf("%s is answered %d, %v; want 503, so that Stripe sends it again", e.Type, status, err)
					}
				}
				w := f.Do(
					http.MethodPost,
					"/api/devices/"+fixture.Washer+"/start",
					`{"reason":"test"}`,
					"Authorization",
					"Bearer "+apptest.OperatorToken,
				)
				f.Answers("a free start while nobody knows the time", w, http.StatusServiceUnavailable, "time_unknown")
				f.Stripe.Clear(everything)
				f.Pass(time.Minute)
				f.MachineIs(session, payment.Sent)
				if born := f.Ledger.CreatedAt(); f.Stripe.Now().Sub(born) < time.Minute ||
					f.Stripe.Now().Sub(born) > 5*time.Minute {
					f.Errorf("the ledger was born at %v, and it is %v", born, f.Stripe.Now())
				}
				f.Stop()
			})
		})
	}
}

func TestRestartWithoutStripe(t *testing.T) {
	t.Parallel()
	const everything = "{any} /v1/{rest...}"
	down := func(f *apptest.Front, ahead time.Duration) (queued sandbox.Session) {
		f.Notehub.Always("POST /v1/projects/{project}/devices/{device}/notes/{file}", sandbox.Outcome{Status: 503})
		f.Run()
		queued = f.Buy(sandbox.PayOptions{})
		f.Pass(time.Second)
		f.Stripe.Always(everything, sandbox.Outcome{})
		f.Notehub.Clear("POST /v1/projects/{project}/devices/{device}/notes/{file}")
		f.Host.Set(ahead)
		f.Restart()
		f.Pass(time.Minute)
		return queued
	}
	t.Run("credits are sent, and webhooks that agree with the host's clock are accepted", func(t *testing.T) {
		t.Parallel()
		onHost(t, 0, nil, func(f *apptest.Front) {
			queued := down(f, 0)
			f.MachineIs(queued, payment.Sent)
			session := f.Buy(sandbox.PayOptions{})
			f.Pass(time.Second)
			f.MachineIs(session, payment.Sent)
			f.Stripe.Clear(everything)
			f.Pass(time.Minute)
			f.Stop()
		})
	})
	t.Run("no deadline is acted on, and webhooks that do not agree with the clock are postponed", func(t *testing.T) {
		t.Parallel()
		// Notehub's replies show the time too. notepay uses the host's clock only while both
		// vendors are silent.
		onHost(
			t,
			0,
			func(s *config.Settings) { s.ConfirmWithin = 2 * time.Minute; s.CreditLifetime = 2 * time.Minute },
			func(f *apptest.Front) {
				f.Run()
				sent := f.Buy(sandbox.PayOptions{})
				f.Pass(time.Second)
				f.MachineIs(sent, payment.Sent)
				f.Notehub.Fetch(fixture.Washer, "payment.qi")
				f.Stripe.Always(everything, sandbox.Outcome{})
				f.Notehub.Always("{any} /{rest...}", sandbox.Outcome{})
				f.Host.Set(time.Hour)
				f.Restart()
				f.Pass(20 * time.Second)
				f.Notehub.Clear("{any} /{rest...}")
				f.Notehub.Always(
					"{any} /{rest...}",
					sandbox.Outcome{Applied: true, Status: 200, Header: http.Header{"Date": {""}}},
				)
				f.Pass(20 * time.Second)
				f.MachineIs(sent, payment.Sent)
				session := f.PaySession()
				synctest.Wait()
				for _, e := range f.Stripe.Events()[len(f.Stripe.Events())-1:] {
					if status, err := f.Stripe.Send(e.ID); status != http.StatusServiceUnavailable {
						f.Errorf("%s is answered %d, %v; want 503", e.Type, status, err)
					}
				}
				f.Stripe.Clear(everything)
				f.Pass(10 * time.Second)
				f.MachineIs(session, payment.Sent)
				f.Notehub.Clear("{any} /{rest...}")
				f.Stop()
			},
		)
	})
}

func TestLostLedgerOnAHostWhoseClockIsWeeksBehind(t *testing.T) {
	t.Parallel()
	onHost(t, 0, nil, func(f *apptest.Front) {
		f.Run()
		var sold []sandbox.Session
		for range 3 {
			sold = append(sold, f.Buy(sandbox.PayOptions{}))
			f.Pass(time.Second)
			f.Notehub.Fetch(fixture.Washer, "payment.qi")
			f.Pass(11 * time.Minute)
		}
		f.Stop()
		f.Pass(21 * day)
		f.CloseLedger()
		f.Path = filepath.Join(f.TempDir(), "new.db")
		f.Host.Set(-30 * day)
		f.Open()
		f.Run()
		for _, e := range f.Stripe.Events() { // Stripe may send events that were never acknowledged
			if _, err := f.Stripe.Send(e.ID); err != nil {
				f.Error(err)
			}
		}
		f.Pass(time.Hour)
		for _, s := range sold {
			if _, _, back, _ := f.Stripe.Money(s.ID); back != 0 {
				f.Errorf("%s: %d went back, and the machine had its credit", s.ID, back)
			}
			if p := f.Record(s); p.Reason != payment.ReasonAdopted {
				f.Errorf("%s is %s %s; want adopted", s.ID, p.Delivery, p.Reason)
			}
		}
		if n := len(f.Notehub.Notes(fixture.Washer)); n != len(sold) {
			f.Errorf("%d notes for %d payments", n, len(sold))
		}
		fresh := f.Buy(sandbox.PayOptions{})
		f.Pass(time.Second)
		f.MachineIs(fresh, payment.Sent)
		f.Stop()
	})
}

func TestTimesStoredByAClockThatWasAhead(t *testing.T) {
	t.Parallel()
	in := func(d time.Duration) string { return strconv.FormatInt(time.Now().Add(d).UnixMilli(), 10) }
	t.Run("a birth and a cursor", func(t *testing.T) {
		t.Parallel()
		for _, wrong := range []time.Duration{30 * time.Second, 2 * time.Hour, day, 365 * day} {
			onHost(t, 0, nil, func(f *apptest.Front) {
				f.Run()
				f.Pass(time.Hour)
				f.Stop()
				meanwhile := f.Buy(sandbox.PayOptions{NoWebhook: true})
				f.Restart(
					`UPDATE facts SET value = ` + in(wrong) + ` WHERE name IN ('born', 'events_read', 'fleet_loaded')`,
				)
				f.Pass(time.Minute)
				f.MachineIs(meanwhile, payment.Sent)
				known := f.Buy(sandbox.PayOptions{})
				f.Pass(time.Second)
				f.MachineIs(known, payment.Sent)
				for _, fact := range []string{"born", "events_read", "fleet_loaded"} {
					if at, err := f.Ledger.Meta(f.Context(), fact); err != nil || at.After(f.Stripe.Now()) {
						f.Errorf("%s is %v, %v; and it is %v", fact, at, err, f.Stripe.Now())
					}
				}
				f.AsksForThePast()
				f.Stop()
			})
		}
	})
	t.Run("what a payment waits for", func(t *testing.T) {
		t.Parallel()
		const notes, refunds = "POST /v1/projects/{project}/devices/{device}/notes/{file}", "POST /v1/refunds"
		onHost(t, 0, func(s *config.Settings) { s.CreditLifetime = 0 }, func(f *apptest.Front) {
			f.Notehub.Always(notes, sandbox.Outcome{Status: 503})
			f.Run()
			queued := f.Buy(sandbox.PayOptions{})
			f.Pass(3 * time.Second)
			f.Stop()
			f.Notehub.Clear(notes)
			f.Restart(
				`UPDATE payments SET in_flight = 0, due_at = ` + in(day) +
					`, not_before = ` + in(day) + `, created_at = ` + in(day),
			)
			f.Pass(3 * time.Minute)
			p := f.MachineIs(queued, payment.Sent)
			if p.CreatedAt.After(f.Stripe.Now()) {
				f.Errorf("recorded at %v, and it is %v", p.CreatedAt, f.Stripe.Now())
			}
			f.Stop()
		})
		onHost(t, 0, nil, func(f *apptest.Front) {
			f.Notehub.Always(notes, sandbox.Outcome{Status: 429})
			f.Stripe.Always(refunds, sandbox.Outcome{Status: 503})
			f.Run()
			failed := f.Buy(sandbox.PayOptions{})
			f.Pass(11 * time.Minute)
			f.Stop()
			f.Stripe.Clear(refunds)
			at := in(2 * time.Hour)
			f.Restart(
				`UPDATE payments SET in_flight = 0, due_at = ` + at + `, not_before = ` + at + `, refund_at = ` + at,
			)
			f.Pass(3 * time.Minute)
			if p := f.MachineIs(failed, payment.Failed); p.Funds != payment.Refunded {
				f.Errorf("the money is %s, due at %v", p.Funds, p.DueAt)
			}
			f.Stop()
		})
		onHost(t, 0, nil, func(f *apptest.Front) { // a call that was under way
			f.Notehub.Always(notes, sandbox.Outcome{Delay: time.Hour})
			f.Run()
			under := f.Buy(sandbox.PayOptions{})
			f.Pass(time.Second)
			f.Stop()
			f.Notehub.Clear(notes)
			f.Restart(`UPDATE payments SET due_at = ` + in(2*time.Hour))
			f.Pass(2 * time.Minute)
			f.MachineIs(under, payment.Sent)
			f.Stop()
		})
	})
}

// A confirmation after a pause counts, whatever time a clock that was ahead has stored.
func TestPauseStoredByAClockThatWasAhead(t *testing.T) {
	t.Parallel()
	onHost(t, 0, nil, func(f *apptest.Front) {
		f.Run()
		f.Restart(fmt.Sprintf(`INSERT INTO pauses (device_uid, reason, by, at, automatic)
			VALUES ('%s', 'silent', 'notepay', %d, 1)`, fixture.Washer, time.Now().Add(day).UnixMilli()))
		f.Pass(time.Minute)
		f.Notehub.SetDevice(fixture.Washer, func(d *sandbox.Device) { d.LastActivity = f.Notehub.Now() })
		f.Pass(16 * time.Minute)
		f.Sells(true)
		f.Stop()
	})
}

func TestServiceOnAHostWhoseClockIsAhead(t *testing.T) {
	t.Parallel()
	w := apptest.NewWorld(t).Set("POLL_INTERVAL", "10s")
	w.Clocks(-20 * time.Minute)
	s := w.Start()
	var link sandbox.Link
	w.Until("the link is there", func() bool {
		if links := w.Stripe.Links(); len(links) == 1 {
			link = links[0]
		}
		return link.ID != ""
	})
	w.Until("health tells it", func() bool {
		_, _, text := s.Get("/health")
		return strings.Contains(text, `"degraded"`) && strings.Contains(text, "20m0s ahead")
	})
	if status, _, _ := s.Get("/pay?device=" + fixture.Washer); status != http.StatusServiceUnavailable {
		t.Errorf("/pay answers %d; want 503", status)
	}
	session := w.Pay(link.ID, sandbox.PayOptions{})
	s.Payment(session.ID, "sent", apptest.Has(`"machine":"sent"`))
	untold := w.Pay(link.ID, sandbox.PayOptions{NoWebhook: true})
	s.Payment(untold.ID, "sent", apptest.Has(`"machine":"sent"`))
	status, header, _ := s.Get("/payment/success?session_id=" + session.ID)
	if to := header.Get("Location"); status != http.StatusSeeOther || !strings.HasPrefix(to, "/session/") {
		t.Errorf("the success page answers %d %s", status, to)
	}
	w.Clocks(0)
	w.Until("it sells", func() bool {
		status, _, _ := s.Get("/pay?device=" + fixture.Washer)
		return status == http.StatusTemporaryRedirect
	})
	w.Stopped(s)
}

// notepay checks the age of a signature by Stripe's time. A fresh signature is valid on any host,
// and a replayed one on none.
func TestSignatureAge(t *testing.T) {
	t.Parallel()
	for _, ahead := range []time.Duration{-30 * day, -20 * time.Minute, 0, 20 * time.Minute, 30 * day} {
		onHost(t, ahead, nil, func(f *apptest.Front) {
			secrets, body := stripeapi.WebhookSecrets{
				fixture.TestSecret,
			}, fixture.SessionEvent("checkout.session.completed", "")
			verify := func(clock *vendortime.Clock, age time.Duration) error {
				_, err := secrets.Verify([]byte(body),
					fixture.SignedAt(body, fixture.TestSecret, time.Now().Add(-age)), clock)
				return err
			}
			unknown := f.Host.Clock()
			f.Run()
			known := f.Ledger.Clock()
			for age, want := range map[time.Duration]error{
				-time.Minute:     nil,
				0:                nil,
				4 * time.Minute:  nil,
				6 * time.Minute:  stripeapi.ErrTooOld,
				20 * time.Minute: stripeapi.ErrTooOld,
				30 * day:         stripeapi.ErrTooOld,
			} {
				if err := verify(known, age); !errors.Is(err, want) {
					f.Errorf("host %v ahead, signed %v ago: %v; want %v", ahead, age, err, want)
				}
				byHost := age + ahead // the age by the host's clock, until Stripe's time is known
				err := verify(unknown, age)
				if errors.Is(err, stripeapi.ErrTimeUnknown) != (byHost.Abs() > vendortime.Tolerance) {
					f.Errorf("host %v ahead, time unknown, signed %v ago: %v", ahead, age, err)
				}
			}
			for _, age := range []time.Duration{6 * time.Minute, 30 * day} {
				signature := fixture.SignedAt(body, fixture.TestSecret, time.Now().Add(-age))
				w := f.Do(http.MethodPost, "/webhook/stripe", body, "Stripe-Signature", signature)
				f.Answers(fmt.Sprintf("a webhook signed %v ago", age), w, http.StatusBadRequest, "bad_signature")
			}
			if n := f.Stripe.Count("GET /v1/events"); n > 4 {
				f.Errorf("Stripe's events were asked for %d times", n)
			}
			f.Stop()
		})
	}
}

// Stripe requires sessions to last at least half an hour. notepay adds a minute, by Stripe's time.
func TestSessionsOnAHostWhoseClockIsNotQuiteRight(t *testing.T) {
	t.Parallel()
	for _, ahead := range []time.Duration{-119 * time.Second, 119 * time.Second} {
		onHost(t, ahead, apptest.PerPurchase, func(f *apptest.Front) {
			f.Run()
			customer := f.Phone()
			first := customer.Presses(customer.Scans())
			f.Pass(20 * time.Minute)
			if again := customer.Presses(customer.Scans()); again.ID != first.ID {
				f.Error("eleven minutes before its end the session is not given out again")
			}
			f.Pass(2 * time.Minute)
			if again := customer.Presses(customer.Scans()); again.ID == first.ID {
				f.Error("nine minutes before its end the session is given out again")
			}
			f.Restart()
			f.MachineIs(f.Complete(customer.Presses(customer.Scans()), sandbox.PayOptions{}), payment.Sent)
			f.Stop()
		})
	}
}
