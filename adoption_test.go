package main

import (
	"database/sql"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stripe/stripe-go/v82"

	"notepay/internal/config"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// plainCopy copies a ledger in use with anything but `notepay backup`: nothing in the copy says that it is one.
func plainCopy(t *testing.T, from, to string) {
	t.Helper()
	path, err := filepath.Abs(from)
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?mode=rw&_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), `VACUUM INTO $1`, to); err != nil {
		t.Fatal(err)
	}
}

// copied makes a plain copy of the ledger. The function that it returns starts the service on the
// copy, as on a snapshot of the whole machine: nothing beside the copy tells that it is one.
func (f *front) copied() (restore func()) {
	f.Helper()
	copied := filepath.Join(f.TempDir(), "copy.db")
	plainCopy(f.T, f.path, copied)
	return func() {
		f.stop()
		f.closeLedger()
		f.path = copied
		f.open()
		f.run()
	}
}

var isAdopted = ending{payment.Paid, payment.Failed, payment.ReasonAdopted, payment.ReasonAdopted}

// What Stripe says was accepted is not refunded by a ledger that comes back from a plain copy,
// whether its machine confirms or not.
func TestAPlainCopyDoesNotRefundWhatWasDelivered(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*config.Settings)
		machine sandbox.MachineConfig
		away    time.Duration // between the last payment and the copy's start
	}{
		"expired, without confirmations": {without, threeKeys, 10 * time.Minute},
		"expired, with confirmations":    {confirming, confirms, 10 * time.Minute},
		"fresh, without confirmations":   {without, threeKeys, 20 * time.Second},
		"money held until the start":     {holding, confirms, 10 * time.Minute},
		"webhooks off, with answers":     {off(confirming), confirms, 10 * time.Minute},
		"webhooks off, money held":       {off(holding), confirms, 10 * time.Minute},
		"answers by the route":           {routed, confirms, 10 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, c.change, c.machine, func(f *front, m *sandbox.Machine) {
				if f.settings.StripeWebhookSecret == config.WebhooksOff {
					f.stripe.SetEndpoint("", "")
				}
				f.run()
				f.pass(time.Hour)
				restore := f.copied()
				var sold []sandbox.Session
				for range 3 {
					sold = append(sold, f.buy(sandbox.PayOptions{}))
					f.get("/payment/success?session_id=" + sold[len(sold)-1].ID)
					f.pass(10 * time.Second)
				}
				f.started(m, 3)
				f.stop() // nothing is read while the ledger is away
				f.pass(c.away)
				restore()
				f.pass(20 * time.Minute)
				for _, s := range sold {
					f.stands(s.ID, isAdopted)
					f.money(s.ID, 350, 0, 0)
				}
				f.started(m, 3)
				next := f.buy(sandbox.PayOptions{})
				f.get("/payment/success?session_id=" + next.ID)
				f.pass(10 * time.Second)
				f.started(m, 4)
			})
		})
	}
}

// off runs without webhooks.
func off(change func(*config.Settings)) func(*config.Settings) {
	return func(s *config.Settings) { change(s); s.StripeWebhookSecret, s.PublicURL = config.WebhooksOff, "" }
}

// A payment whose webhook was lost while the service was away is delivered or refunded as ever.
func TestAMissedPaymentIsNotTakenForDelivered(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*config.Settings)
		away   time.Duration
		starts int
	}{
		"in time":                    {without, 20 * time.Second, 1},
		"too late":                   {without, 10 * time.Minute, 0},
		"in time, without webhooks":  {off(without), 20 * time.Second, 1},
		"too late, without webhooks": {off(without), 10 * time.Minute, 0},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, c.change, threeKeys, func(f *front, m *sandbox.Machine) {
				if f.settings.StripeWebhookSecret == config.WebhooksOff {
					f.stripe.SetEndpoint("", "")
				}
				f.run()
				f.pass(time.Hour)
				f.stop()
				f.closeLedger()
				handler := f.handler
				f.handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
				sold := f.buy(sandbox.PayOptions{})
				f.pass(c.away)
				f.handler = handler
				f.open()
				f.run()
				f.pass(20 * time.Minute)
				want := ending{payment.Paid, payment.Fetched, "", ""}
				if c.starts == 0 {
					want = ending{payment.Refunded, payment.Failed, payment.ReasonExpired, ""}
				}
				f.stands(sold.ID, want)
				f.started(m, c.starts)
			})
		})
	}
}

// The older a copy is, the more it would refund. Stripe lists events of 30 days; of what is older
// nothing tells any more.
func TestAnOldPlainCopyRefundsNothing(t *testing.T) {
	t.Parallel()
	for name, away := range map[string]time.Duration{"two weeks": 14 * 24 * time.Hour, "six weeks": 42 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inFront(t, without, func(f *front) {
				m := sandbox.NewMachine(f.notehub, threeKeysAt(washer))
				f.run()
				f.pass(time.Hour)
				restore := f.copied()
				sold := f.buy(sandbox.PayOptions{})
				m.Step()
				f.pass(5 * time.Minute)
				f.stop()
				f.pass(away)
				restore()
				f.pass(20 * time.Minute)
				f.stands(sold.ID, isAdopted)
				f.money(sold.ID, 350, 0, 0)
				f.started(m, 1)
			})
		})
	}
}

func threeKeysAt(device string) sandbox.MachineConfig {
	return sandbox.MachineConfig{Device: device, Original: true}
}

// Another endpoint of the account accepts all events. That says nothing of a payment that was made
// while this service ran.
func TestAnEndpointOfOthersProvesNothingWhileTheServiceRuns(t *testing.T) {
	story(t, func(s *config.Settings) { s.PollInterval = time.Minute }, threeKeys, func(f *front, m *sandbox.Machine) {
		f.run()
		f.pass(time.Hour)
		f.stop()
		f.closeLedger()
		f.pass(time.Minute)
		f.open()
		f.handlerOfOthers()
		f.run()
		f.pass(time.Minute)
		sold := f.buy(sandbox.PayOptions{}) // our own endpoint is not there yet
		if e := f.stripe.Events()[0]; !e.Acked {
			f.Errorf("%+v; want it accepted by the others", e)
		}
		f.pass(90 * time.Second)
		f.stands(sold.ID, ending{payment.Paid, payment.Sent, "", ""})
		f.pass(10 * time.Minute)
		f.stands(sold.ID, ending{payment.Paid, payment.Fetched, "", ""})
		f.started(m, 1)
	})
}

// What was made while it was away, and others accepted, may have been handled before the ledger
// came back: a person decides.
func TestAnEndpointOfOthersMakesWhatWasMissedUnclear(t *testing.T) {
	story(t, without, threeKeys, func(f *front, m *sandbox.Machine) {
		f.run()
		f.pass(time.Hour)
		f.stop()
		f.closeLedger()
		f.handlerOfOthers()
		sold := f.buy(sandbox.PayOptions{})
		f.pass(10 * time.Minute)
		f.open()
		f.run()
		f.pass(10 * time.Minute)
		f.stands(sold.ID, isAdopted)
		f.money(sold.ID, 350, 0, 0)
		f.started(m, 0)
	})
}

// handlerOfOthers has Stripe send its events to somebody else, who accepts them all, and not to us.
func (f *front) handlerOfOthers() {
	ours := f.handler
	f.stripe.SetEndpoint("http://others.test/hook", testSecret)
	f.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/hook") {
			ours.ServeHTTP(w, r)
		}
	})
}

// A note that still waits at Notehub was sent by an earlier state of the ledger.
func TestACreditThatWaitsAtNotehubIsNotSentAgain(t *testing.T) {
	story(t, off(without), threeKeys, func(f *front, m *sandbox.Machine) {
		f.stripe.SetEndpoint("", "")
		f.run()
		f.pass(time.Hour)
		restore := f.copied()
		m.SetOnline(false)
		sold := f.buy(sandbox.PayOptions{})
		f.get("/payment/success?session_id=" + sold.ID)
		f.pass(5 * time.Second)
		f.stop()
		restore()
		f.pass(time.Minute)
		f.stands(sold.ID, isAdopted)
		f.money(sold.ID, 350, 0, 0)
		if notes := f.notehub.Notes(washer); len(notes) != 1 {
			f.Errorf("%d notes; want the one", len(notes))
		}
	})
}

// Our answer to the webhook was lost with the later ledger, so Stripe delivers it again. Its note
// still waits at Notehub.
func TestAWebhookThatIsDeliveredAgainSendsNoSecondCredit(t *testing.T) {
	again(t, func(f *front, m *sandbox.Machine) sandbox.Session {
		m.SetOnline(false)
		ours := f.handler
		f.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ours.ServeHTTP(httptest.NewRecorder(), r)
			w.WriteHeader(http.StatusBadGateway)
		})
		defer func() { f.handler = ours }()
		sold := f.buy(sandbox.PayOptions{})
		f.pass(5 * time.Second)
		return sold
	})
}

// Stripe delivers a webhook once more that the later ledger has accepted, and the machine has
// started. After the restored ledger accepts it, too, nothing tells that from a first delivery.
func TestAWebhookThatIsRepeatedSendsNoSecondCredit(t *testing.T) {
	again(t, func(f *front, m *sandbox.Machine) sandbox.Session {
		sold := f.buy(sandbox.PayOptions{})
		f.pass(10 * time.Second)
		f.started(m, 1)
		return sold
	})
}

// again has Stripe deliver the webhook of a payment to a plain copy of the ledger, before Stripe's
// list is read and after.
func again(t *testing.T, pay func(*front, *sandbox.Machine) sandbox.Session) {
	t.Helper()
	story(t, without, threeKeys, func(f *front, m *sandbox.Machine) {
		f.run()
		f.pass(time.Hour)
		restore := f.copied()
		sold := pay(f, m)
		f.stop()
		event := ""
		for _, e := range f.stripe.Events() {
			if e.ObjectID == sold.ID {
				event = e.ID
			}
		}
		const list = "GET /v1/events"
		f.stripe.Always(list, sandbox.Outcome{Status: http.StatusServiceUnavailable})
		restore()
		deliver := func(want bool) {
			status, err := f.stripe.Send(event)
			if accepted := status/100 == 2; err != nil || accepted != want {
				f.Errorf("%d, %v; want it accepted: %v", status, err, want)
			}
			f.pass(5 * time.Second)
		}
		deliver(false)
		f.stripe.Clear(list)
		f.pass(time.Minute)
		deliver(true)
		f.stands(sold.ID, isAdopted)
		if notes := f.notehub.Notes(washer); len(notes) != 1 {
			f.Errorf("%d notes; want the one", len(notes))
		}
		m.SetOnline(true)
		f.pass(10 * time.Minute)
		f.started(m, 1)
		f.money(sold.ID, 350, 0, 0)
	})
}

// What waited in the copy was sent by the ledger that went on, as the machine says.
func TestAPlainCopyDoesNotRefundWhatWaitedInIt(t *testing.T) {
	story(t, confirming, confirms, func(f *front, m *sandbox.Machine) {
		f.run()
		f.pass(time.Hour)
		f.notehub.Always(postNote, sandbox.Outcome{Status: 429, Header: http.Header{"Retry-After": {"5"}}})
		sold := f.buy(sandbox.PayOptions{})
		f.stop()
		f.closeLedger()
		f.open() // what a copy of this moment holds: never posted, and not under way
		restore := f.copied()
		f.notehub.Clear(postNote)
		f.run()
		f.pass(20 * time.Second)
		f.started(m, 1)
		f.stop()
		f.pass(10 * time.Minute)
		restore()
		f.pass(10 * time.Minute)
		f.stands(sold.ID, isAdopted)
		f.money(sold.ID, 350, 0, 0)
		f.started(m, 1)
	})
}

// Another endpoint of the account fails for ever. What ours has accepted is pending there all the same.
func TestAnEndpointOfOthersThatFailsHidesNoDelivery(t *testing.T) {
	for name, missed := range map[string]bool{"delivered": false, "missed": true} {
		t.Run(name, func(t *testing.T) {
			story(t, without, threeKeys, func(f *front, m *sandbox.Machine) {
				ours, away := f.handler, false
				f.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/broken" || away {
						w.WriteHeader(http.StatusInternalServerError)
						return
					}
					ours.ServeHTTP(w, r)
				})
				broken := stripe.WebhookEndpointCreateParams{URL: stripe.String("http://others.test/broken"), EnabledEvents: stripe.StringSlice([]string{"*"})}
				if _, err := stripeOf(&f.settings, sandbox.InProcess(f.stripe)).Client.V1WebhookEndpoints.Create(f.Context(), &broken); err != nil {
					f.Fatal(err)
				}
				f.run()
				f.pass(time.Hour)
				f.buy(sandbox.PayOptions{})
				f.pass(10 * time.Minute)
				restore := f.copied()
				away = missed
				sold := f.buy(sandbox.PayOptions{})
				f.pass(10 * time.Second)
				f.stop()
				f.pass(10 * time.Minute)
				if e := f.stripe.Events(); e[len(e)-1].Acked {
					f.Errorf("%+v; want it pending at the others", e[len(e)-1])
				}
				restore()
				f.pass(10 * time.Minute)
				if want := isAdopted; missed {
					f.stands(sold.ID, ending{payment.Refunded, payment.Failed, payment.ReasonExpired, ""})
				} else {
					f.stands(sold.ID, want)
				}
			})
		})
	}
}

// The copy was made while Stripe's list was known and the payment was still to be looked up.
func TestAPlainCopyDoesNotRefundWhatWasToBeLookedUp(t *testing.T) {
	story(t, without, threeKeys, func(f *front, m *sandbox.Machine) {
		f.run()
		f.pass(time.Hour)
		f.stop()
		ours := f.handler
		f.handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
		sold := f.buy(sandbox.PayOptions{})
		f.handler = ours
		f.closeLedger()
		f.pass(5 * time.Second)
		f.open()
		f.notehub.Always(everyNote, sandbox.Outcome{Status: 503})
		f.run()
		f.pass(3 * time.Second) // the look-up is due after five
		if _, err := f.ledger.Payment(f.Context(), sold.ID); !errors.Is(err, ledger.ErrNotFound) {
			f.Fatalf("the payment: %v; want it still to be looked up", err)
		}
		restore := f.copied()
		f.notehub.Clear(everyNote)
		for _, e := range f.stripe.Events() { // Stripe tries again
			if status, err := f.stripe.Send(e.ID); err != nil || status != http.StatusOK {
				f.Errorf("%d, %v; want 200", status, err)
			}
		}
		f.pass(10 * time.Second)
		f.started(m, 1)
		f.stop()
		f.pass(20 * time.Minute)
		restore()
		f.pass(10 * time.Minute)
		f.stands(sold.ID, isAdopted)
		f.money(sold.ID, 350, 0, 0)
		f.started(m, 1)
	})
}
