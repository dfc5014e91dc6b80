// Package process runs the real process against the simulated vendors over HTTP. It kills and stops
// the process, and breaks its disk, database and vendors. It waits in real time.
package process

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

func TestScanPayStart(t *testing.T) {
	t.Parallel()
	w := apptest.NewWorld(t)
	machine := w.Machine(sandbox.MachineConfig{Device: fixture.Washer})
	s := w.Start()
	link := s.Selling(fixture.Washer)
	session := w.Pay(link, sandbox.PayOptions{})

	note := w.Sent(fixture.Washer, 1)[0]
	for key, want := range map[string]any{
		"payment_status": "completed",
		"session_id":     session.ID,
		"timestamp":      float64(session.PaidAt.Unix()),
		"expires":        float64(session.PaidAt.Add(10 * time.Minute).Unix()),
		"credit_id":      payment.CreditID(session.ID),
	} {
		if note.Body[key] != want {
			t.Errorf("note %s is %v; want %v", key, note.Body[key], want)
		}
	}
	machine.Step()
	if n := len(machine.Starts()); n != 1 {
		t.Errorf("the machine started %d times; want once", n)
	}
	text := s.Payment(session.ID, "sent", apptest.Has(`"machine":"sent"`))
	for _, want := range []string{`"device_name":"Washer 3"`, `"plan":"Warm wash"`, `"amount":350`, `"currency":"eur"`,
		`"action":"note"`, `"outcome":"ok"`, `"needs_attention":false`} {
		if !strings.Contains(text, want) {
			t.Errorf("the payment lacks %s:\n%s", want, text)
		}
	}
	status, header, _ := s.Get("/payment/success?session_id=" + session.ID)
	if status != http.StatusSeeOther || !strings.HasPrefix(header.Get("Location"), "/session/") {
		t.Fatalf("success page answers %d to %q; want 303 to the live page", status, header.Get("Location"))
	}
	if status, _, page := s.Get(header.Get("Location"), "Accept", "text/html"); status != http.StatusOK ||
		!strings.Contains(page, "Waiting for the machine") {
		t.Errorf("the live page answers %d:\n%s", status, page)
	}
}

// AT-02, AT-04: one note is sent, whatever the number and order of Stripe's events.
func TestPaymentIsOneNote(t *testing.T) {
	t.Parallel()
	for name, pay := range map[string]func(w *apptest.World, s *apptest.Service, link string) sandbox.Session{
		"one hundred copies at once": func(w *apptest.World, s *apptest.Service, link string) sandbox.Session {
			session := w.Pay(link, sandbox.PayOptions{NoWebhook: true})
			w.All(100, func(int) { w.Resend(session.ID, "checkout.session.completed") })
			return session
		},
		"the intent's event first": func(w *apptest.World, s *apptest.Service, link string) sandbox.Session {
			return w.Pay(link, sandbox.PayOptions{EventsFirst: "intent"})
		},
		"the session's event first": func(w *apptest.World, s *apptest.Service, link string) sandbox.Session {
			return w.Pay(link, sandbox.PayOptions{EventsFirst: "session"})
		},
		"the intent's event alone": func(w *apptest.World, s *apptest.Service, link string) sandbox.Session {
			return w.Pay(link, sandbox.PayOptions{EventsFirst: "only-intent"})
		},
		"webhook and success page at once": func(w *apptest.World, s *apptest.Service, link string) sandbox.Session {
			session := w.Pay(link, sandbox.PayOptions{NoWebhook: true})
			w.All(2, func(i int) {
				if i == 0 {
					w.Resend(session.ID, "checkout.session.completed")
				} else {
					s.Get("/payment/success?session_id=" + session.ID)
				}
			})
			return session
		},
		"the success page alone": func(w *apptest.World, s *apptest.Service, link string) sandbox.Session {
			session := w.Pay(link, sandbox.PayOptions{NoWebhook: true})
			w.Until("the success page leads on", func() bool { // the page reloads itself until then
				status, _, _ := s.Get("/payment/success?session_id=" + session.ID)
				return status == http.StatusSeeOther
			})
			return session
		},
		"unpaid at first, then paid": func(w *apptest.World, s *apptest.Service, link string) sandbox.Session {
			session := w.Pay(link, sandbox.PayOptions{Unpaid: true})
			w.Until("the unpaid session is read", func() bool {
				return strings.Contains(s.Logs.String(), "outcome=awaits_payment")
			})
			if n := len(w.Notehub.Notes(fixture.Washer)); n != 0 {
				w.Errorf("%d notes for a session that nobody paid", n)
			}
			w.Stripe.Succeed(session.ID)
			return session
		},
		"a free session": func(w *apptest.World, s *apptest.Service, link string) sandbox.Session {
			return w.Pay(link, sandbox.PayOptions{Free: true})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := apptest.NewWorld(t)
			s := w.Start()
			session := pay(w, s, s.Selling(fixture.Washer))
			w.Sent(fixture.Washer, 1)
			s.Payment(session.ID, "sent", apptest.Has(`"machine":"sent"`))
			w.Until("Stripe is answered", w.Stripe.Settled)
			// All events are repeated once more, and nothing may follow.
			for _, e := range w.Stripe.Events() {
				if status, err := w.Stripe.Send(e.ID); err != nil || status != http.StatusOK {
					t.Errorf("a late repeat of %s is answered %d (%v); want 200", e.Type, status, err)
				}
			}
			s.Get("/payment/success?session_id=" + session.ID)
			if err := s.Stop(); err != nil {
				t.Error(err)
			}
			if n := len(w.Notehub.Notes(fixture.Washer)); n != 1 {
				t.Errorf("%d notes; want 1", n)
			}
		})
	}
}

func TestRepeatedEventsAreRecordedAsIgnored(t *testing.T) {
	t.Parallel()
	w := apptest.NewWorld(t)
	s := w.Start()
	session := w.Pay(s.Selling(fixture.Washer), sandbox.PayOptions{NoWebhook: true})
	w.All(100, func(int) { w.Resend(session.ID, "checkout.session.completed") })
	s.Payment(session.ID, "sent", apptest.Has(`"machine":"sent"`))
	if n := strings.Count(s.Logs.String(), "outcome=duplicate_payment_ignored"); n != 99 {
		t.Errorf("%d repeats logged as duplicate_payment_ignored; want 99", n)
	}
	if _, _, metrics := s.Get("/metrics"); !strings.Contains(
		metrics, `notepay_stripe_events_total{outcome="duplicate_payment_ignored"} 99`,
	) {
		t.Error("the metric does not count 99 repeats")
	}
}

// AT-08, AT-09, AT-10: the note arrives with one credit id, whatever Notehub does.
func TestNoteArrivesDespiteNotehubTrouble(t *testing.T) {
	t.Parallel()
	ten := func(o sandbox.Outcome, n int) (list []sandbox.Outcome) {
		for range n {
			list = append(list, o)
		}
		return list
	}
	for name, c := range map[string]struct {
		outcomes []sandbox.Outcome
		notes    int // at Notehub in the end
	}{
		"down for two calls": {ten(sandbox.Outcome{Status: 503}, 2), 1},
		"overloaded, with a time to retry": {ten(sandbox.Outcome{
			Status: 429,
			Header: http.Header{"Retry-After": {"1"}},
		}, 2), 1},
		"overloaded, says nothing":         {ten(sandbox.Outcome{Status: 429}, 1), 1},
		"the token expired":                {ten(sandbox.Outcome{Status: 401}, 1), 1},
		"the account is suspended a while": {ten(fixture.Saying(403, "this billing account is suspended"), 2), 1},
		"a proxy knows no such page":       {ten(sandbox.Outcome{Status: 404, Body: "<html>not found</html>"}, 1), 1},
		"one hundred notes are pending": {ten(fixture.Saying(400,
			"a maximum of 100 notes may be pending for device (currently 100)"), 1), 1},
		"slow": {ten(sandbox.Outcome{
			Applied: true,
			Status:  200,
			Delay:   2 * time.Second,
		}, 1), 1},
		"the reply is lost, applied":     {ten(sandbox.Outcome{Applied: true}, 1), 1},
		"the reply is lost, not applied": {ten(sandbox.Outcome{}, 1), 1},
		"a gateway timed out, applied":   {ten(sandbox.Outcome{Applied: true, Status: 504}, 1), 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := apptest.NewWorld(t)
			s := w.Start()
			link := s.Selling(fixture.Washer)
			w.Notehub.Next(fixture.PostNote, c.outcomes...)
			session := w.Pay(link, sandbox.PayOptions{})
			s.Payment(session.ID, "sent", apptest.Has(`"machine":"sent"`))
			if err := s.Stop(); err != nil {
				t.Error(err)
			}
			notes := w.Notehub.Notes(fixture.Washer)
			if len(notes) != c.notes {
				t.Errorf("%d notes; want %d", len(notes), c.notes)
			}
		})
	}
}

func TestTokenIsFetchedOnceForAllCalls(t *testing.T) {
	t.Parallel()
	w := apptest.NewWorld(t)
	const machines = 20
	for i := range machines {
		w.Notehub.AddDevice(sandbox.Device{UID: fmt.Sprintf("dev:%d", i)})
	}
	s := w.Start()
	var links []string
	for i := range machines {
		links = append(links, s.Selling(fmt.Sprintf("dev:%d", i)))
	}
	before := w.Notehub.TokensIssued()
	w.Notehub.RevokeTokens()
	w.All(machines, func(i int) { w.Pay(links[i], sandbox.PayOptions{}) })
	for i := range machines {
		w.Sent(fmt.Sprintf("dev:%d", i), 1)
	}
	if n := w.Notehub.TokensIssued() - before; n != 1 {
		t.Errorf("%d tokens fetched after the revocation; want 1", n)
	}
}

func TestRefusedDeviceFailsAndIsReported(t *testing.T) {
	t.Parallel()
	w := apptest.NewWorld(t)
	s := w.Start()
	link := s.Selling(fixture.Washer)
	w.Notehub.Next(
		fixture.PostNote,
		sandbox.Outcome{
			Status: 404,
			Body:   `{"err":"cannot add note: {device-noexist}","code":404,"status":"Not Found"}`,
		},
	)
	session := w.Pay(link, sandbox.PayOptions{})
	text := s.Payment(session.ID, "failed", apptest.Has(`"machine":"failed"`))
	if !strings.Contains(text, `"reason":"refused"`) || !strings.Contains(text, `"needs_attention":true`) {
		t.Errorf("the payment: %s", text)
	}
}

// A dead device occupies one slot for calls, and not all of them.
func TestDeadDevicesDelayNoOthers(t *testing.T) {
	t.Parallel()
	w := apptest.NewWorld(t)
	const dead = 12
	for i := range dead {
		uid := fmt.Sprintf("dev:dead%d", i)
		w.Notehub.AddDevice(sandbox.Device{UID: uid})
		w.Notehub.Always(
			"POST /v1/projects/{project}/devices/"+uid+"/notes/{file}",
			sandbox.Outcome{Status: 200, Delay: time.Hour},
		)
	}
	s := w.Start()
	healthy := s.Selling(fixture.Washer)
	for i := range dead {
		link := s.Selling(fmt.Sprintf("dev:dead%d", i))
		for range 3 {
			w.Pay(link, sandbox.PayOptions{})
		}
	}
	w.Until("the dead ones are being called", func() bool { return w.Notehub.Count(fixture.PostNote) >= dead })
	began := time.Now()
	w.Pay(healthy, sandbox.PayOptions{})
	w.Sent(fixture.Washer, 1)
	if took := time.Since(began); took >= payment.CallTimeout { // how long a call to a dead device takes
		t.Errorf("the healthy machine waited %v for the dead ones", took)
	}
}

func TestSessionsOfOthers(t *testing.T) {
	t.Parallel()
	ours := map[string]string{"device_uid": fixture.Washer, "project": fixture.Project}
	for name, c := range map[string]struct {
		metadata map[string]string
		options  sandbox.PayOptions
		outcome  string
		machine  string // "" for no payment
		reason   string
	}{
		"without a device": {map[string]string{"order": "7"}, sandbox.PayOptions{}, "not_ours", "", ""},
		"of another project": {map[string]string{"device_uid": fixture.Washer, "project": "app:other"},
			sandbox.PayOptions{}, "not_ours", "", ""},
		"triggered by hand": {map[string]string{"device_uid": fixture.Washer}, sandbox.PayOptions{},
			"payment_recorded", "sent", ""},
		"without a link": {ours, sandbox.PayOptions{}, "payment_recorded", "sent", ""},
		"for a device that is not there": {map[string]string{"device_uid": "dev:gone", "project": fixture.Project},
			sandbox.PayOptions{}, "payment_recorded", "failed", "unknown_device"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := apptest.NewWorld(t)
			s := w.Start()
			s.Selling(fixture.Washer)
			session := w.Stripe.PaySession(c.metadata, 350, "eur", c.options)
			w.Until(
				"the event's outcome",
				func() bool { return strings.Contains(s.Logs.String(), "outcome="+c.outcome) },
			)
			w.Until("Stripe is answered", w.Stripe.Settled)
			if c.machine == "" {
				status, _, _ := s.Get("/api/payments/"+session.ID, "Authorization", "Bearer "+apptest.OperatorToken)
				if status != http.StatusNotFound {
					t.Errorf("there is a payment (%d); want none", status)
				}
				return
			}
			if c.reason == "unknown_device" { // once a listing has begun after the payment
				s.Do(http.MethodPost, "/refresh-devices", "", "Authorization", "Bearer operator-token-1234")
			}
			text := s.Payment(session.ID, c.machine, apptest.Has(`"machine":"`+c.machine+`"`))
			if !strings.Contains(text, `"reason":"`+c.reason+`"`) ||
				strings.Contains(text, `"needs_attention":true`) != (c.machine == "failed") {
				t.Errorf("the payment: %s", text)
			}
		})
	}
}

func TestWrongAmountIsHonoredAndReported(t *testing.T) {
	t.Parallel()
	w := apptest.NewWorld(t)
	s := w.Start()
	session := w.Pay(s.Selling(fixture.Washer), sandbox.PayOptions{Amount: 300})
	text := s.Payment(session.ID, "sent", apptest.Has(`"machine":"sent"`))
	if !strings.Contains(text, `"needs_attention":true`) || !strings.Contains(text, `"amount":300`) {
		t.Errorf("the payment: %s", text)
	}
}

func TestExpiredCreditIsNotSent(t *testing.T) {
	t.Parallel()
	w := apptest.NewWorld(t).Set("CREDIT_LIFETIME", "10s")
	s := w.Start()
	link := s.Selling(fixture.Washer)
	w.Notehub.Always(fixture.PostNote, sandbox.Outcome{Status: 429, Header: http.Header{"Retry-After": {"3"}}})
	session := w.Pay(link, sandbox.PayOptions{})
	text := s.Payment(session.ID, "refunded", apptest.Has(`"money":"refunded"`))
	if !strings.Contains(text, `"reason":"expired"`) || !strings.Contains(text, `"needs_attention":false`) {
		t.Errorf("the payment: %s", text)
	}
	if back := w.Stripe.Refunded(session.ID); back != 350 {
		t.Errorf("%d went back; want all of it", back)
	}
	if n := len(w.Notehub.Notes(fixture.Washer)); n != 0 {
		t.Errorf("%d notes; want none", n)
	}
}

func TestRestartSellsAtOnceAndCreatesNoLinks(t *testing.T) {
	t.Parallel()
	w := apptest.NewWorld(t)
	first := w.Start()
	link := first.Selling(fixture.Washer)
	w.Stopped(first)
	// The vendors are down, so the service sells from its ledger.
	w.Stripe.Always("{any} /v1/{rest...}", sandbox.Outcome{Status: 503})
	w.Notehub.Always("{any} /{rest...}", sandbox.Outcome{Status: 503})
	second := w.Start()
	if status, header, _ := second.Get("/pay?device=" + fixture.Washer); status != http.StatusTemporaryRedirect ||
		header.Get("Location") != link {
		t.Errorf("after a restart /pay answers %d to %q; want 307 to %q", status, header.Get("Location"), link)
	}
	w.Stopped(second)
	w.Stripe.Clear("{any} /v1/{rest...}")
	w.Notehub.Clear("{any} /{rest...}")
	third := w.Start()
	w.Until("the refresh", func() bool { return strings.Contains(third.Logs.String(), "msg=refreshed") })
	w.Stopped(third)
	if n := len(w.Stripe.Links()); n != 1 {
		t.Errorf("%d links at Stripe; want the one", n)
	}
}

func TestLostDatabaseCreatesNoLinksAndSendsNoSecondCredit(t *testing.T) {
	t.Parallel()
	w := apptest.NewWorld(t)
	first := w.Start()
	link := first.Selling(fixture.Washer)
	session := w.Pay(link, sandbox.PayOptions{})
	w.Sent(fixture.Washer, 1)
	w.Until("Stripe is answered", w.Stripe.Settled)
	w.Stopped(first)
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(w.Env["DATABASE_URL"] + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	// Stripe's times have a resolution of a second, so the test waits for the next one before the
	// new ledger begins.
	time.Sleep(time.Until(session.PaidAt.Truncate(time.Second).Add(1100 * time.Millisecond)))
	second := w.Start()
	if got := second.Selling(fixture.Washer); got != link {
		t.Errorf("the link is %q; want the old %q", got, link)
	}
	w.Resend(session.ID, "checkout.session.completed")
	text := second.Payment(session.ID, "adopted", apptest.Has(`"reason":"adopted"`))
	if !strings.Contains(text, `"needs_attention":true`) {
		t.Errorf("the payment: %s", text)
	}
	later := w.Pay(link, sandbox.PayOptions{})
	text = second.Payment(later.ID, "sent", apptest.Has(`"machine":"sent"`))
	if !strings.Contains(text, `"plan":"Warm wash"`) {
		t.Errorf("a payment through the adopted link does not know its plan: %s", text)
	}
	w.Stopped(second)
	if n := len(w.Stripe.Links()); n != 1 {
		t.Errorf("%d links at Stripe; want the one", n)
	}
	if n := len(w.Notehub.Notes(fixture.Washer)); n != 2 {
		t.Errorf("%d notes; want one for each of two payments", n)
	}
}

// A payment that arrives during the first listing of devices waits.
func TestPaymentWaitsWhileTheFleetIsLoading(t *testing.T) {
	t.Parallel()
	w := apptest.NewWorld(t)
	w.Notehub.Always("GET /v1/projects/{project}/devices", sandbox.Outcome{Status: 503})
	s := w.Start()
	session := w.Stripe.PaySession(
		map[string]string{"device_uid": fixture.Washer, "project": fixture.Project, "price_id": fixture.Warm},
		350,
		"eur",
		sandbox.PayOptions{},
	)
	text := s.Payment(session.ID, "recorded", apptest.Has(`"machine":"queued"`))
	if !strings.Contains(text, `"needs_attention":false`) {
		t.Errorf("judged too early: %s", text)
	}
	if status, _, _ := s.Get("/pay?device=" + fixture.Washer); status != http.StatusServiceUnavailable {
		t.Errorf("before the first load /pay answers %d; want 503", status)
	}
	w.Notehub.Clear("GET /v1/projects/{project}/devices")
	w.Sent(fixture.Washer, 1)
	s.Payment(session.ID, "sent with its plan", func(text string) bool {
		return apptest.Has(`"machine":"sent"`)(text) && apptest.Has(`"plan":"Warm wash"`)(text)
	})
}
