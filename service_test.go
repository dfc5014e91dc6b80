package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

func TestACustomerScansPaysAndTheMachineStarts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	machine := w.machine(sandbox.MachineConfig{Device: washer})
	s := w.start()
	link := s.selling(washer)
	session := w.pay(link, sandbox.PayOptions{})

	note := w.sent(washer, 1)[0]
	for key, want := range map[string]any{"payment_status": "completed", "session_id": session.ID, "timestamp": float64(session.PaidAt.Unix()),
		"expires": float64(session.PaidAt.Add(10 * time.Minute).Unix()), "credit_id": payment.CreditID(session.ID)} {
		if note.Body[key] != want {
			t.Errorf("note %s is %v; want %v", key, note.Body[key], want)
		}
	}
	machine.Step()
	if n := len(machine.Starts()); n != 1 {
		t.Errorf("the machine started %d times; want once", n)
	}
	text := s.payment(session.ID, "sent", has(`"machine":"sent"`))
	for _, want := range []string{`"device_name":"Washer 3"`, `"plan":"Warm wash"`, `"amount":350`, `"currency":"eur"`, `"action":"note"`, `"outcome":"ok"`, `"needs_attention":false`} {
		if !strings.Contains(text, want) {
			t.Errorf("the payment lacks %s:\n%s", want, text)
		}
	}
	status, header, _ := s.get("/payment/success?session_id=" + session.ID)
	if status != http.StatusSeeOther || !strings.HasPrefix(header.Get("Location"), "/session/") {
		t.Fatalf("success page answers %d to %q; want 303 to the live page", status, header.Get("Location"))
	}
	if status, _, page := s.get(header.Get("Location"), "Accept", "text/html"); status != http.StatusOK || !strings.Contains(page, "Waiting for the machine") {
		t.Errorf("the live page answers %d:\n%s", status, page)
	}
}

// AT-02, AT-04 and the orders of Stripe's events: whatever comes, in whatever number and order, there is one note.
func TestOnePaymentIsOneNote(t *testing.T) {
	t.Parallel()
	for name, pay := range map[string]func(w *world, s *service, link string) sandbox.Session{
		"one hundred copies at once": func(w *world, s *service, link string) sandbox.Session {
			session := w.pay(link, sandbox.PayOptions{NoWebhook: true})
			w.all(100, func(int) { w.resend(session.ID, "checkout.session.completed") })
			return session
		},
		"the intent's event first": func(w *world, s *service, link string) sandbox.Session {
			return w.pay(link, sandbox.PayOptions{EventsFirst: "intent"})
		},
		"the session's event first": func(w *world, s *service, link string) sandbox.Session {
			return w.pay(link, sandbox.PayOptions{EventsFirst: "session"})
		},
		"the intent's event alone": func(w *world, s *service, link string) sandbox.Session {
			return w.pay(link, sandbox.PayOptions{EventsFirst: "only-intent"})
		},
		"webhook and success page at once": func(w *world, s *service, link string) sandbox.Session {
			session := w.pay(link, sandbox.PayOptions{NoWebhook: true})
			w.all(2, func(i int) {
				if i == 0 {
					w.resend(session.ID, "checkout.session.completed")
				} else {
					s.get("/payment/success?session_id=" + session.ID)
				}
			})
			return session
		},
		"the success page alone": func(w *world, s *service, link string) sandbox.Session {
			session := w.pay(link, sandbox.PayOptions{NoWebhook: true})
			w.until("the success page leads on", func() bool { // it loads itself again until then
				status, _, _ := s.get("/payment/success?session_id=" + session.ID)
				return status == http.StatusSeeOther
			})
			return session
		},
		"unpaid at first, then paid": func(w *world, s *service, link string) sandbox.Session {
			session := w.pay(link, sandbox.PayOptions{Unpaid: true})
			w.until("the unpaid session is looked at", func() bool { return strings.Contains(s.logs.String(), "outcome=awaits_payment") })
			if n := len(w.notehub.Notes(washer)); n != 0 {
				w.Errorf("%d notes for a session that nobody paid", n)
			}
			w.stripe.Succeed(session.ID)
			return session
		},
		"a free session": func(w *world, s *service, link string) sandbox.Session {
			return w.pay(link, sandbox.PayOptions{Free: true})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			s := w.start()
			session := pay(w, s, s.selling(washer))
			w.sent(washer, 1)
			s.payment(session.ID, "sent", has(`"machine":"sent"`))
			w.until("Stripe is answered", w.stripe.Settled)
			// Once more all of it, when everything is over: nothing may follow.
			for _, e := range w.stripe.Events() {
				if status, err := w.stripe.Send(e.ID); err != nil || status != http.StatusOK {
					t.Errorf("a late repeat of %s is answered %d (%v); want 200", e.Type, status, err)
				}
			}
			s.get("/payment/success?session_id=" + session.ID)
			if err := s.stop(); err != nil {
				t.Error(err)
			}
			if n := len(w.notehub.Notes(washer)); n != 1 {
				t.Errorf("%d notes; want 1", n)
			}
		})
	}
}

// all runs f n times at once.
func (w *world) all(n int, f func(int)) {
	var wait sync.WaitGroup
	for i := range n {
		wait.Go(func() { f(i) })
	}
	wait.Wait()
}

// resend sends the event of an object once more; it has to be answered with 200.
func (w *world) resend(object, kind string) {
	for _, e := range w.stripe.Events() {
		if e.ObjectID == object && e.Type == kind {
			w.until("the repeated event is accepted", func() bool { // a service that has just started may ask for it again
				status, err := w.stripe.Send(e.ID)
				return err == nil && status == http.StatusOK
			})
		}
	}
}

func TestRepeatsAreRecordedAsIgnored(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.start()
	session := w.pay(s.selling(washer), sandbox.PayOptions{NoWebhook: true})
	w.all(100, func(int) { w.resend(session.ID, "checkout.session.completed") })
	s.payment(session.ID, "sent", has(`"machine":"sent"`))
	if n := strings.Count(s.logs.String(), "outcome=duplicate_payment_ignored"); n != 99 {
		t.Errorf("%d repeats logged as duplicate_payment_ignored; want 99", n)
	}
	if _, _, metrics := s.get("/metrics"); !strings.Contains(metrics, `notepay_stripe_events_total{outcome="duplicate_payment_ignored"} 99`) {
		t.Error("the metric does not count 99 repeats")
	}
}

// AT-08, AT-09, AT-10: whatever Notehub does, the note arrives, and under one credit id.
func TestNotehubsTroubleIsNotTheCustomers(t *testing.T) {
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
		"down for two calls":               {ten(sandbox.Outcome{Status: 503}, 2), 1},
		"overloaded, says when to come":    {ten(sandbox.Outcome{Status: 429, Header: http.Header{"Retry-After": {"1"}}}, 2), 1},
		"overloaded, says nothing":         {ten(sandbox.Outcome{Status: 429}, 1), 1},
		"the token died":                   {ten(sandbox.Outcome{Status: 401}, 1), 1},
		"the account is suspended a while": {ten(sandbox.Outcome{Status: 403, Body: `{"err":"this billing account is suspended","code":403,"status":"Forbidden"}`}, 2), 1},
		"a proxy knows no such page":       {ten(sandbox.Outcome{Status: 404, Body: "<html>not found</html>"}, 1), 1},
		"one hundred notes are pending":    {ten(sandbox.Outcome{Status: 400, Body: `{"err":"a maximum of 100 notes may be pending for device (currently 100)","code":400,"status":"Bad Request"}`}, 1), 1},
		"slow":                             {ten(sandbox.Outcome{Applied: true, Status: 200, Delay: 2 * time.Second}, 1), 1},
		"the reply is lost, applied":       {ten(sandbox.Outcome{Applied: true}, 1), 1},
		"the reply is lost, not applied":   {ten(sandbox.Outcome{}, 1), 1},
		"a gateway timed out, applied":     {ten(sandbox.Outcome{Applied: true, Status: 504}, 1), 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			s := w.start()
			link := s.selling(washer)
			w.notehub.Next(postNote, c.outcomes...)
			session := w.pay(link, sandbox.PayOptions{})
			s.payment(session.ID, "sent", has(`"machine":"sent"`))
			if err := s.stop(); err != nil {
				t.Error(err)
			}
			notes := w.notehub.Notes(washer)
			if len(notes) != c.notes {
				t.Errorf("%d notes; want %d", len(notes), c.notes)
			}
		})
	}
}

func TestALostTokenIsFetchedOnceForAll(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const machines = 20
	for i := range machines {
		w.notehub.AddDevice(sandbox.Device{UID: fmt.Sprintf("dev:%d", i)})
	}
	s := w.start()
	var links []string
	for i := range machines {
		links = append(links, s.selling(fmt.Sprintf("dev:%d", i)))
	}
	before := w.notehub.TokensIssued()
	w.notehub.RevokeTokens()
	w.all(machines, func(i int) { w.pay(links[i], sandbox.PayOptions{}) })
	for i := range machines {
		w.sent(fmt.Sprintf("dev:%d", i), 1)
	}
	if n := w.notehub.TokensIssued() - before; n != 1 {
		t.Errorf("%d tokens fetched after the revocation; want 1", n)
	}
}

func TestARefusedDeviceFailsAndTellsTheOperator(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.start()
	link := s.selling(washer)
	w.notehub.Next(postNote, sandbox.Outcome{Status: 404, Body: `{"err":"cannot add note: {device-noexist}","code":404,"status":"Not Found"}`})
	session := w.pay(link, sandbox.PayOptions{})
	text := s.payment(session.ID, "failed", has(`"machine":"failed"`))
	if !strings.Contains(text, `"reason":"refused"`) || !strings.Contains(text, `"needs_attention":true`) {
		t.Errorf("the payment: %s", text)
	}
}

// A dead device takes one call's place, not everybody's.
func TestDeadDevicesHoldUpNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const dead = 12
	for i := range dead {
		uid := fmt.Sprintf("dev:dead%d", i)
		w.notehub.AddDevice(sandbox.Device{UID: uid})
		w.notehub.Always("POST /v1/projects/{project}/devices/"+uid+"/notes/{file}", sandbox.Outcome{Status: 200, Delay: time.Hour})
	}
	s := w.start()
	healthy := s.selling(washer)
	for i := range dead {
		link := s.selling(fmt.Sprintf("dev:dead%d", i))
		for range 3 {
			w.pay(link, sandbox.PayOptions{})
		}
	}
	w.until("the dead ones are being called", func() bool { return w.notehub.Count(postNote) >= dead })
	began := time.Now()
	w.pay(healthy, sandbox.PayOptions{})
	w.sent(washer, 1)
	if took := time.Since(began); took >= payment.CallTimeout { // which is how long a call to a dead one takes
		t.Errorf("the healthy machine waited %v for the dead ones", took)
	}
}

func TestWhatIsNotAPaymentOfOurs(t *testing.T) {
	t.Parallel()
	ours := map[string]string{"device_uid": washer, "project": project}
	for name, c := range map[string]struct {
		metadata map[string]string
		options  sandbox.PayOptions
		outcome  string
		machine  string // "" for no payment
		reason   string
	}{
		"without a device":               {map[string]string{"order": "7"}, sandbox.PayOptions{}, "not_ours", "", ""},
		"of another project":             {map[string]string{"device_uid": washer, "project": "app:other"}, sandbox.PayOptions{}, "not_ours", "", ""},
		"triggered by hand":              {map[string]string{"device_uid": washer}, sandbox.PayOptions{}, "payment_recorded", "sent", ""},
		"without a link":                 {ours, sandbox.PayOptions{}, "payment_recorded", "sent", ""},
		"for a device that is not there": {map[string]string{"device_uid": "dev:gone", "project": project}, sandbox.PayOptions{}, "payment_recorded", "failed", "unknown_device"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			s := w.start()
			s.selling(washer)
			session := w.stripe.PaySession(c.metadata, 350, "eur", c.options)
			w.until("the event's outcome", func() bool { return strings.Contains(s.logs.String(), "outcome="+c.outcome) })
			w.until("Stripe is answered", w.stripe.Settled)
			if c.machine == "" {
				if status, _, _ := s.get("/api/payments/"+session.ID, "Authorization", "Bearer operator-token-1234"); status != http.StatusNotFound {
					t.Errorf("there is a payment (%d); want none", status)
				}
				return
			}
			if c.reason == "unknown_device" { // the next listing began after the payment
				s.do(http.MethodPost, "/refresh-devices", "", "Authorization", "Bearer operator-token-1234")
			}
			text := s.payment(session.ID, c.machine, has(`"machine":"`+c.machine+`"`))
			if !strings.Contains(text, `"reason":"`+c.reason+`"`) || strings.Contains(text, `"needs_attention":true`) != (c.machine == "failed") {
				t.Errorf("the payment: %s", text)
			}
		})
	}
}

func TestAnAmountThatIsNotThePlansIsHonouredAndTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.start()
	session := w.pay(s.selling(washer), sandbox.PayOptions{Amount: 300})
	text := s.payment(session.ID, "sent", has(`"machine":"sent"`))
	if !strings.Contains(text, `"needs_attention":true`) || !strings.Contains(text, `"amount":300`) {
		t.Errorf("the payment: %s", text)
	}
}

func TestACreditThatRanOutIsNotSent(t *testing.T) {
	t.Parallel()
	w := newWorld(t).set("CREDIT_LIFETIME", "10s")
	s := w.start()
	link := s.selling(washer)
	w.notehub.Always(postNote, sandbox.Outcome{Status: 429, Header: http.Header{"Retry-After": {"3"}}})
	session := w.pay(link, sandbox.PayOptions{})
	text := s.payment(session.ID, "refunded", has(`"money":"refunded"`))
	if !strings.Contains(text, `"reason":"expired"`) || !strings.Contains(text, `"needs_attention":false`) {
		t.Errorf("the payment: %s", text)
	}
	if back := w.stripe.Refunded(session.ID); back != 350 {
		t.Errorf("%d went back; want all of it", back)
	}
	if n := len(w.notehub.Notes(washer)); n != 0 {
		t.Errorf("%d notes; want none", n)
	}
}

func TestARestartSellsAtOnceAndMintsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.start()
	link := first.selling(washer)
	w.stopped(first)
	// The vendors do not answer at all: what is sold is remembered.
	w.stripe.Always("{any} /v1/{rest...}", sandbox.Outcome{Status: 503})
	w.notehub.Always("{any} /{rest...}", sandbox.Outcome{Status: 503})
	second := w.start()
	if status, header, _ := second.get("/pay?device=" + washer); status != http.StatusTemporaryRedirect || header.Get("Location") != link {
		t.Errorf("after a restart /pay answers %d to %q; want 307 to %q", status, header.Get("Location"), link)
	}
	w.stopped(second)
	w.stripe.Clear("{any} /v1/{rest...}")
	w.notehub.Clear("{any} /{rest...}")
	third := w.start()
	w.until("the refresh", func() bool { return strings.Contains(third.logs.String(), "msg=refreshed") })
	w.stopped(third)
	if n := len(w.stripe.Links()); n != 1 {
		t.Errorf("%d links at Stripe; want the one", n)
	}
}

func (w *world) stopped(s *service) {
	w.Helper()
	if err := s.stop(); err != nil {
		w.Errorf("stop: %v", err)
	}
}

func TestALostDatabaseMintsNothingAndGivesNoSecondCredit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.start()
	link := first.selling(washer)
	session := w.pay(link, sandbox.PayOptions{})
	w.sent(washer, 1)
	w.until("Stripe is answered", w.stripe.Settled)
	w.stopped(first)
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(w.env["DATABASE_URL"] + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	// Stripe counts in seconds: only what was paid in an earlier second was surely paid before the new ledger was born.
	time.Sleep(time.Until(session.PaidAt.Truncate(time.Second).Add(1100 * time.Millisecond)))
	second := w.start()
	if got := second.selling(washer); got != link {
		t.Errorf("the link is %q; want the old %q", got, link)
	}
	w.resend(session.ID, "checkout.session.completed")
	text := second.payment(session.ID, "adopted", has(`"reason":"adopted"`))
	if !strings.Contains(text, `"needs_attention":true`) {
		t.Errorf("the payment: %s", text)
	}
	later := w.pay(link, sandbox.PayOptions{})
	text = second.payment(later.ID, "sent", has(`"machine":"sent"`))
	if !strings.Contains(text, `"plan":"Warm wash"`) {
		t.Errorf("a payment through the adopted link does not know its plan: %s", text)
	}
	w.stopped(second)
	if n := len(w.stripe.Links()); n != 1 {
		t.Errorf("%d links at Stripe; want the one", n)
	}
	if n := len(w.notehub.Notes(washer)); n != 2 {
		t.Errorf("%d notes; want one for each of two payments", n)
	}
}

func TestDevicesComeAndGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.start()
	s.selling(washer)
	refresh := func() string {
		status, _, text := s.do(http.MethodPost, "/refresh-devices", "", "Authorization", "Bearer operator-token-1234")
		if status != http.StatusOK {
			t.Fatalf("refresh answers %d: %s", status, text)
		}
		return strings.TrimSpace(text)
	}
	w.notehub.AddDevice(sandbox.Device{UID: "dev:dryer1"})
	if got, want := refresh(), `{"devices":2,"added":1,"removed":0,"links_created":1}`; got != want {
		t.Errorf("refresh: %s; want %s", got, want)
	}
	s.selling("dev:dryer1")
	w.notehub.RemoveDevice(washer)
	if got, want := refresh(), `{"devices":1,"added":0,"removed":1,"links_created":0}`; got != want {
		t.Errorf("refresh: %s; want %s", got, want)
	}
	if status, _, _ := s.get("/pay?device=" + washer); status != http.StatusNotFound {
		t.Errorf("a removed device answers %d; want 404", status)
	}
	w.activeLinks(map[string]string{"dev:dryer1": warm})
	// A page that fails removes nobody.
	w.notehub.Next("GET /v1/projects/{project}/devices", sandbox.Outcome{Status: 500})
	if status, _, _ := s.do(http.MethodPost, "/refresh-devices", "", "Authorization", "Bearer operator-token-1234"); status != http.StatusBadGateway {
		t.Errorf("a failed refresh answers %d; want 502", status)
	}
	s.selling("dev:dryer1")
	// It comes back: its old link is made active again, no second one is made.
	w.notehub.AddDevice(sandbox.Device{UID: washer, Name: "Washer 3"})
	if got, want := refresh(), `{"devices":2,"added":1,"removed":0,"links_created":0}`; got != want {
		t.Errorf("refresh: %s; want %s", got, want)
	}
	s.selling(washer)
	if n := len(w.stripe.Links()); n != 2 {
		t.Errorf("%d links at Stripe; want 2", n)
	}
}

// activeLinks compares Stripe's active links with what they should be: device to price.
func (w *world) activeLinks(want map[string]string) {
	w.Helper()
	got := map[string]string{}
	for _, l := range w.stripe.Links() {
		if l.Active {
			if _, twice := got[l.DeviceUID]; twice {
				w.Errorf("%s has two active links", l.DeviceUID)
			}
			got[l.DeviceUID] = l.PriceID
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		w.Errorf("active links %v; want %v", got, want)
	}
}

func TestAChangedPriceReplacesTheLinkAndTheOldOneIsHonoured(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.stripe.AddPrice(sandbox.Price{ID: "price_hot", Name: "Hot wash", Currency: "eur", Amount: 450, Active: true, Metadata: map[string]string{"duration": "75m", "delayed_start": "5m"}})
	first := w.start()
	first.selling(washer)
	open, err := w.stripe.Open(w.stripe.Links()[0].ID) // somebody has Stripe's page open while the price changes
	if err != nil {
		t.Fatal(err)
	}
	w.stopped(first)
	w.set("STRIPE_PRICE_ID", "price_hot")
	second := w.start()
	second.selling(washer)
	w.until("the old link is deactivated", func() bool { return !w.stripe.Links()[0].Active })
	w.activeLinks(map[string]string{washer: "price_hot"})
	old := w.pay(open.ID, sandbox.PayOptions{})
	text := second.payment(old.ID, "sent", has(`"machine":"sent"`))
	for _, want := range []string{`"price_id":"` + warm + `"`, `"plan":"Warm wash"`, `"amount":350`, `"needs_attention":false`} {
		if !strings.Contains(text, want) {
			t.Errorf("the payment lacks %s: %s", want, text)
		}
	}
	w.pay(second.selling(washer), sandbox.PayOptions{})
	note := w.sent(washer, 2)[1]
	if note.Body["duration_s"] != float64(75*60) || note.Body["delayed_start_s"] != float64(5*60) {
		t.Errorf("the note's duration is %v, its delay %v; want 4500 and 300", note.Body["duration_s"], note.Body["delayed_start_s"])
	}
}

func TestDuplicateLinksAreDeactivatedAndForeignOnesLeftAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	mine := map[string]string{"app": "notepay", "project": project, "device_uid": washer, "price_id": warm}
	first := w.stripe.AddLink(sandbox.Link{DeviceUID: washer, PriceID: warm, Active: true, Metadata: mine})
	second := w.stripe.AddLink(sandbox.Link{DeviceUID: washer, PriceID: warm, Active: true, Metadata: mine})
	other := w.stripe.AddLink(sandbox.Link{DeviceUID: washer, PriceID: warm, Active: true, Metadata: map[string]string{"app": "notepay", "project": "app:other", "device_uid": washer, "price_id": warm}})
	s := w.start()
	w.until("the duplicate is deactivated", func() bool {
		for _, l := range w.stripe.Links() {
			if l.ID == second.ID {
				return !l.Active
			}
		}
		return false
	})
	if got := s.selling(washer); got != first.URL {
		t.Errorf("sold through %q; want the first, %q", got, first.URL)
	}
	w.until("the return URL is set", func() bool { return strings.Contains(w.stripe.Links()[0].ReturnURL, "{CHECKOUT_SESSION_ID}") })
	w.stopped(s)
	for _, l := range w.stripe.Links() {
		if l.ID == other.ID && !l.Active {
			t.Error("another project's link was deactivated")
		}
	}
	if n := len(w.stripe.Links()); n != 3 {
		t.Errorf("%d links; want the three that were there", n)
	}
}

func TestALinkWhoseReplyWasLostIsNotMadeTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.stripe.Next("POST /v1/payment_links", sandbox.Outcome{Applied: true})
	s := w.start()
	s.selling(washer)
	w.stopped(s)
	if n := len(w.stripe.Links()); n != 1 {
		t.Errorf("%d links; want 1", n)
	}
}

// Work that arrives while the devices are still being listed waits and is not judged.
func TestAPaymentWhileTheFleetIsLoadingWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.notehub.Always("GET /v1/projects/{project}/devices", sandbox.Outcome{Status: 503})
	s := w.start()
	session := w.stripe.PaySession(map[string]string{"device_uid": washer, "project": project, "price_id": warm}, 350, "eur", sandbox.PayOptions{})
	text := s.payment(session.ID, "recorded", has(`"machine":"queued"`))
	if !strings.Contains(text, `"needs_attention":false`) {
		t.Errorf("judged too early: %s", text)
	}
	if status, _, _ := s.get("/pay?device=" + washer); status != http.StatusServiceUnavailable {
		t.Errorf("before the first load /pay answers %d; want 503", status)
	}
	w.notehub.Clear("GET /v1/projects/{project}/devices")
	w.sent(washer, 1)
	s.payment(session.ID, "sent with its plan", func(text string) bool {
		return has(`"machine":"sent"`)(text) && has(`"plan":"Warm wash"`)(text)
	})
}

func TestTwoPlansAreChosenFrom(t *testing.T) {
	t.Parallel()
	w := newWorld(t).set("STRIPE_PRICE_ID", warm+",price_hot")
	w.stripe.AddPrice(sandbox.Price{ID: "price_hot", Name: "Hot wash", Currency: "jpy", Amount: 450, Active: true})
	s := w.start()
	var page string
	w.until("both plans are there", func() bool {
		_, _, page = s.get("/pay?device="+washer, "Accept", "text/html")
		return strings.Contains(page, "Warm wash") && strings.Contains(page, "Hot wash")
	})
	for _, want := range []string{"€3.50", "¥450", "Washer 3"} {
		if !strings.Contains(page, want) {
			t.Errorf("the plan page lacks %q:\n%s", want, page)
		}
	}
}
