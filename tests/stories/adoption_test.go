package stories

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stripe/stripe-go/v82"

	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

var isAdopted = apptest.Ends(payment.Paid, payment.Failed, payment.ReasonAdopted, payment.ReasonAdopted)

// A plain copy of the ledger does not refund a payment whose webhook Stripe lists as accepted. It
// makes no difference whether the machine confirms.
func TestPlainCopyDoesNotRefundWhatWasDelivered(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*config.Settings)
		machine sandbox.MachineConfig
		away    time.Duration // between the last payment and the start on the copy
	}{
		"expired, without confirmations": {without, threeKeys, 10 * time.Minute},
		"expired, with confirmations":    {confirming, confirms, 10 * time.Minute},
		"fresh, without confirmations":   {without, threeKeys, 20 * time.Second},
		"money captured at the start":    {holding, confirms, 10 * time.Minute},
		"webhooks off, with answers":     {off(confirming), confirms, 10 * time.Minute},
		"webhooks off, money held":       {off(holding), confirms, 10 * time.Minute},
		"answers by the route":           {routed, confirms, 10 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, c.change, c.machine, func(f *apptest.Front, m *sandbox.Machine) {
				if f.Settings.StripeWebhookSecret == config.WebhooksOff {
					f.Stripe.SetEndpoint("", "")
				}
				f.Run()
				f.Pass(time.Hour)
				restore := f.Copied()
				var sold []sandbox.Session
				for range 3 {
					sold = append(sold, f.Buy(sandbox.PayOptions{}))
					f.Get("/payment/success?session_id=" + sold[len(sold)-1].ID)
					f.Pass(10 * time.Second)
				}
				f.Started(m, 3)
				f.Stop() // the copy has read nothing since
				f.Pass(c.away)
				restore()
				f.Pass(20 * time.Minute)
				for _, s := range sold {
					f.Stands(s.ID, isAdopted)
					f.Money(s.ID, 350, 0, 0)
				}
				f.Started(m, 3)
				next := f.Buy(sandbox.PayOptions{})
				f.Get("/payment/success?session_id=" + next.ID)
				f.Pass(10 * time.Second)
				f.Started(m, 4)
			})
		})
	}
}

// off returns settings without webhooks.
func off(change func(*config.Settings)) func(*config.Settings) {
	return func(s *config.Settings) { change(s); s.StripeWebhookSecret, s.PublicURL = config.WebhooksOff, "" }
}

// A payment whose webhook was lost during a stop is delivered or refunded as usual.
func TestMissedPaymentIsNotTakenForDelivered(t *testing.T) {
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
			story(t, c.change, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
				if f.Settings.StripeWebhookSecret == config.WebhooksOff {
					f.Stripe.SetEndpoint("", "")
				}
				f.Run()
				f.Pass(time.Hour)
				f.Stop()
				f.CloseLedger()
				handler := f.Handler
				f.Handler = http.HandlerFunc(
					func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
				)
				sold := f.Buy(sandbox.PayOptions{})
				f.Pass(c.away)
				f.Handler = handler
				f.Open()
				f.Run()
				f.Pass(20 * time.Minute)
				want := apptest.Ends(payment.Paid, payment.Fetched, "", "")
				if c.starts == 0 {
					want = apptest.Ends(payment.Refunded, payment.Failed, payment.ReasonExpired, "")
				}
				f.Stands(sold.ID, want)
				f.Started(m, c.starts)
			})
		})
	}
}

// The older a copy is, the more it would refund. Stripe lists events of 30 days only, so nothing
// shows what became of older payments.
func TestPlainCopyThatIsOldRefundsNothing(t *testing.T) {
	t.Parallel()
	for name, away := range map[string]time.Duration{
		"two weeks": 14 * 24 * time.Hour,
		"six weeks": 42 * 24 * time.Hour,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			apptest.InFront(t, without, func(f *apptest.Front) {
				m := sandbox.NewMachine(f.Notehub, threeKeysAt(fixture.Washer))
				f.Run()
				f.Pass(time.Hour)
				restore := f.Copied()
				sold := f.Buy(sandbox.PayOptions{})
				m.Step()
				f.Pass(5 * time.Minute)
				f.Stop()
				f.Pass(away)
				restore()
				f.Pass(20 * time.Minute)
				f.Stands(sold.ID, isAdopted)
				f.Money(sold.ID, 350, 0, 0)
				f.Started(m, 1)
			})
		})
	}
}

func threeKeysAt(device string) sandbox.MachineConfig {
	return sandbox.MachineConfig{Device: device, Original: true}
}

// Another endpoint of the account accepts all events. That proves nothing about a payment that was
// made while this service ran.
func TestForeignEndpointProvesNothingWhileTheServiceRuns(t *testing.T) {
	story(
		t,
		func(s *config.Settings) { s.PollInterval = time.Minute },
		threeKeys,
		func(f *apptest.Front, m *sandbox.Machine) {
			f.Run()
			f.Pass(time.Hour)
			f.Stop()
			f.CloseLedger()
			f.Pass(time.Minute)
			f.Open()
			f.HandlerOfOthers()
			f.Run()
			f.Pass(time.Minute)
			sold := f.Buy(sandbox.PayOptions{}) // before our endpoint exists
			if e := f.Stripe.Events()[0]; !e.Acked {
				f.Errorf("%+v; want it accepted by the others", e)
			}
			f.Pass(90 * time.Second)
			f.Stands(sold.ID, apptest.Ends(payment.Paid, payment.Sent, "", ""))
			f.Pass(10 * time.Minute)
			f.Stands(sold.ID, apptest.Ends(payment.Paid, payment.Fetched, "", ""))
			f.Started(m, 1)
		},
	)
}

// A payment during a stop whose event another endpoint accepted may have been handled by a later
// ledger. The operator decides.
func TestForeignEndpointMakesMissedPaymentsUnclear(t *testing.T) {
	story(t, without, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
		f.Run()
		f.Pass(time.Hour)
		f.Stop()
		f.CloseLedger()
		f.HandlerOfOthers()
		sold := f.Buy(sandbox.PayOptions{})
		f.Pass(10 * time.Minute)
		f.Open()
		f.Run()
		f.Pass(10 * time.Minute)
		f.Stands(sold.ID, isAdopted)
		f.Money(sold.ID, 350, 0, 0)
		f.Started(m, 0)
	})
}

// A pending note at Notehub shows that an earlier state of the ledger sent it.
func TestPendingCreditIsNotSentAgain(t *testing.T) {
	story(t, off(without), threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
		f.Stripe.SetEndpoint("", "")
		f.Run()
		f.Pass(time.Hour)
		restore := f.Copied()
		m.SetOnline(false)
		sold := f.Buy(sandbox.PayOptions{})
		f.Get("/payment/success?session_id=" + sold.ID)
		f.Pass(5 * time.Second)
		f.Stop()
		restore()
		f.Pass(time.Minute)
		f.Stands(sold.ID, isAdopted)
		f.Money(sold.ID, 350, 0, 0)
		if notes := f.Notehub.Notes(fixture.Washer); len(notes) != 1 {
			f.Errorf("%d notes; want the one", len(notes))
		}
	})
}

// releasedAway is a hold that is released while the service is away, which then starts on a copy.
type releasedAway struct {
	change  func(*config.Settings)
	unknown sandbox.StripeUnknown
	copy    func(*apptest.Front) func()
	offline bool // the credit is not fetched
	silent  bool // the machine does not answer
	unsent  bool // no ledger knew of it
	repeat  bool // its webhook comes again before Stripe's list is read
	away    time.Duration
}

// An earlier state of the ledger had sent the credit of a hold that was released later. So the machine
// may start without money, and the operator has to know.
func TestReleasedMoneyOfASentCreditIsAdopted(t *testing.T) {
	plain, backup := (*apptest.Front).Copied, (*apptest.Front).BackedUp
	paid := sandbox.StripeUnknown{ManualIsPaid: true}
	const sixWeeks = 42 * 24 * time.Hour
	for name, c := range map[string]releasedAway{
		"its credit waits":                         {change: off(holding), copy: plain, offline: true},
		"its credit waits, a backup":               {change: off(holding), copy: backup, offline: true},
		"its webhook was accepted":                 {change: holding, copy: plain, silent: true},
		"its webhook was accepted, a backup":       {change: holding, copy: backup, silent: true},
		"its webhook was accepted, a hold is paid": {change: holding, copy: plain, silent: true, unknown: paid},
		"its webhook comes again":                  {change: holding, copy: plain, silent: true, repeat: true},
		"its webhook comes again, a backup":        {change: holding, copy: backup, silent: true, repeat: true},
		"its webhook comes again, a backup, a hold is paid": {
			change: holding, copy: backup, silent: true, repeat: true, unknown: paid},
		"the machine answered":                {change: off(holding), copy: plain},
		"the machine answered, a backup":      {change: off(holding), copy: backup},
		"the machine answered, six weeks ago": {change: off(holding), copy: plain, away: sixWeeks},
		"it was never seen":                   {change: holding, copy: plain, unsent: true},
		"it was never seen, a backup":         {change: holding, copy: backup, unsent: true},
		"it was never seen, six weeks ago":    {change: holding, copy: plain, unsent: true, away: sixWeeks},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.away > 0 && apptest.UnderRace {
				t.Skip("six weeks take too long")
			}
			apptest.InFrontOf(t, c.unknown, c.change, c.play)
		})
	}
}

func (c releasedAway) play(f *apptest.Front) {
	const readAnswers = "GET /v1/projects/{project}/events-cursor"
	m := f.Machine(confirms)
	if f.Settings.StripeWebhookSecret == config.WebhooksOff {
		f.Stripe.SetEndpoint("", "")
	}
	var away atomic.Bool // Stripe does not reach the service
	ours := f.Handler
	f.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if away.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		ours.ServeHTTP(w, r)
	})
	f.Run()
	f.Pass(2 * time.Minute)
	restore := c.copy(f)
	m.SetOnline(!c.offline)
	m.SetBehavior(sandbox.Behavior{Silent: c.silent})
	f.Stripe.Always(captureIntent, sandbox.Outcome{Status: http.StatusServiceUnavailable})
	if away.Store(c.unsent); c.unsent {
		f.Stop()
	}
	sold := f.Buy(sandbox.PayOptions{})
	if !c.unsent {
		f.Get("/payment/success?session_id=" + sold.ID)
	}
	f.Pass(5 * time.Second)
	f.Stop()
	f.Stripe.ExpireAuthorization(sold.ID)
	away.Store(false)
	f.Pass(20*time.Second + c.away)
	f.Notehub.Always(readAnswers, sandbox.Outcome{Status: http.StatusServiceUnavailable}) // they are read last
	if c.repeat {
		f.Stripe.Always(listEvents, sandbox.Outcome{Status: http.StatusServiceUnavailable})
	}
	restore()
	if c.repeat {
		status, err := f.Stripe.Send(eventOf(f, sold))
		if err != nil || status != http.StatusServiceUnavailable {
			f.Errorf("%d, %v; want 503 until the list is read, which counts who has accepted it", status, err)
		}
		f.Stripe.Clear(listEvents)
	}
	f.Pass(time.Minute)
	f.Notehub.Clear(readAnswers)
	f.Pass(5 * time.Minute)
	if !c.unsent {
		f.Stands(sold.ID, apptest.Ends(payment.Canceled, payment.Failed, payment.ReasonAdopted, payment.ReasonAdopted))
	} else if _, err := f.Ledger.Payment(f.Context(), sold.ID); !errors.Is(err, ledger.ErrNotFound) {
		f.Errorf("the payment: %v; want none, because nothing was sent", err)
	}
	if notes := f.Notehub.Notes(fixture.Washer); len(notes) > 1 || c.unsent != (len(notes) == 0) {
		f.Errorf("%d notes; want one, unless no ledger knew of it: %v", len(notes), c.unsent)
	}
}

// The reply to the webhook was lost with the later ledger, so Stripe delivers it again. Its note is
// still pending at Notehub.
func TestWebhookDeliveredAgainSendsNoSecondCredit(t *testing.T) {
	again(t, func(f *apptest.Front, m *sandbox.Machine) sandbox.Session {
		m.SetOnline(false)
		ours := f.Handler
		f.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ours.ServeHTTP(httptest.NewRecorder(), r)
			w.WriteHeader(http.StatusBadGateway)
		})
		defer func() { f.Handler = ours }()
		sold := f.Buy(sandbox.PayOptions{})
		f.Pass(5 * time.Second)
		return sold
	})
}

// Stripe repeats a webhook that the later ledger accepted, and the machine has started. After the
// restored ledger has accepted it too, it looks like a first delivery.
func TestWebhookRepeatedSendsNoSecondCredit(t *testing.T) {
	again(t, func(f *apptest.Front, m *sandbox.Machine) sandbox.Session {
		sold := f.Buy(sandbox.PayOptions{})
		f.Pass(10 * time.Second)
		f.Started(m, 1)
		return sold
	})
}

const listEvents = "GET /v1/events"

// eventOf returns the last event of a session.
func eventOf(f *apptest.Front, sold sandbox.Session) (id string) {
	for _, e := range f.Stripe.Events() {
		if e.ObjectID == sold.ID {
			id = e.ID
		}
	}
	return id
}

// again delivers the webhook of a payment to a plain copy of the ledger, before and after notepay
// reads Stripe's list.
func again(t *testing.T, pay func(*apptest.Front, *sandbox.Machine) sandbox.Session) {
	t.Helper()
	story(t, without, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
		f.Run()
		f.Pass(time.Hour)
		restore := f.Copied()
		sold := pay(f, m)
		f.Stop()
		event := eventOf(f, sold)
		f.Stripe.Always(listEvents, sandbox.Outcome{Status: http.StatusServiceUnavailable})
		restore()
		deliver := func(want bool) {
			status, err := f.Stripe.Send(event)
			if accepted := status/100 == 2; err != nil || accepted != want {
				f.Errorf("%d, %v; want it accepted: %v", status, err, want)
			}
			f.Pass(5 * time.Second)
		}
		deliver(false)
		f.Stripe.Clear(listEvents)
		f.Pass(time.Minute)
		deliver(true)
		f.Stands(sold.ID, isAdopted)
		if notes := f.Notehub.Notes(fixture.Washer); len(notes) != 1 {
			f.Errorf("%d notes; want the one", len(notes))
		}
		m.SetOnline(true)
		f.Pass(10 * time.Minute)
		f.Started(m, 1)
		f.Money(sold.ID, 350, 0, 0)
	})
}

// The original ledger sent the credits that are queued in the copy, as the machine confirms.
func TestPlainCopyDoesNotRefundItsQueuedCredits(t *testing.T) {
	story(t, confirming, confirms, func(f *apptest.Front, m *sandbox.Machine) {
		f.Run()
		f.Pass(time.Hour)
		f.Notehub.Always(fixture.PostNote, sandbox.Outcome{Status: 429, Header: http.Header{"Retry-After": {"5"}}})
		sold := f.Buy(sandbox.PayOptions{})
		f.Stop()
		f.CloseLedger()
		f.Open() // the copy holds a credit that was never posted and is not in flight
		restore := f.Copied()
		f.Notehub.Clear(fixture.PostNote)
		f.Run()
		f.Pass(20 * time.Second)
		f.Started(m, 1)
		f.Stop()
		f.Pass(10 * time.Minute)
		restore()
		f.Pass(10 * time.Minute)
		f.Stands(sold.ID, isAdopted)
		f.Money(sold.ID, 350, 0, 0)
		f.Started(m, 1)
	})
}

// Another endpoint of the account always fails. Events that our endpoint accepted stay pending
// there.
func TestForeignEndpointThatFailsHidesNoDelivery(t *testing.T) {
	for name, missed := range map[string]bool{"delivered": false, "missed": true} {
		t.Run(name, func(t *testing.T) {
			story(t, without, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
				ours, away := f.Handler, false
				f.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/broken" || away {
						w.WriteHeader(http.StatusInternalServerError)
						return
					}
					ours.ServeHTTP(w, r)
				})
				broken := stripe.WebhookEndpointCreateParams{
					URL:           stripe.String("http://others.test/broken"),
					EnabledEvents: stripe.StringSlice([]string{"*"}),
				}
				client := apptest.StripeOf(&f.Settings, sandbox.InProcess(f.Stripe)).Library()
				if _, err := client.V1WebhookEndpoints.Create(f.Context(), &broken); err != nil {
					f.Fatal(err)
				}
				f.Run()
				f.Pass(time.Hour)
				f.Buy(sandbox.PayOptions{})
				f.Pass(10 * time.Minute)
				restore := f.Copied()
				away = missed
				sold := f.Buy(sandbox.PayOptions{})
				f.Pass(10 * time.Second)
				f.Stop()
				f.Pass(10 * time.Minute)
				if e := f.Stripe.Events(); e[len(e)-1].Acked {
					f.Errorf("%+v; want it pending at the others", e[len(e)-1])
				}
				restore()
				f.Pass(10 * time.Minute)
				if want := isAdopted; missed {
					f.Stands(sold.ID, apptest.Ends(payment.Refunded, payment.Failed, payment.ReasonExpired, ""))
				} else {
					f.Stands(sold.ID, want)
				}
			})
		})
	}
}

// The copy was made after reading Stripe's list and before the look-up of the payment.
func TestPlainCopyDoesNotRefundItsLookups(t *testing.T) {
	story(t, without, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
		f.Run()
		f.Pass(time.Hour)
		f.Stop()
		ours := f.Handler
		f.Handler = http.HandlerFunc(
			func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
		)
		sold := f.Buy(sandbox.PayOptions{})
		f.Handler = ours
		f.CloseLedger()
		f.Pass(5 * time.Second)
		f.Open()
		f.Notehub.Always(everyNote, sandbox.Outcome{Status: 503})
		f.Run()
		f.Pass(3 * time.Second) // the look-up is due after five
		if _, err := f.Ledger.Payment(f.Context(), sold.ID); !errors.Is(err, ledger.ErrNotFound) {
			f.Fatalf("the payment: %v; want it still to be looked up", err)
		}
		restore := f.Copied()
		f.Notehub.Clear(everyNote)
		for _, e := range f.Stripe.Events() { // Stripe retries
			if status, err := f.Stripe.Send(e.ID); err != nil || status != http.StatusOK {
				f.Errorf("%d, %v; want 200", status, err)
			}
		}
		f.Pass(10 * time.Second)
		f.Started(m, 1)
		f.Stop()
		f.Pass(20 * time.Minute)
		restore()
		f.Pass(10 * time.Minute)
		f.Stands(sold.ID, isAdopted)
		f.Money(sold.ID, 350, 0, 0)
		f.Started(m, 1)
	})
}
