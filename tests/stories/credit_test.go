package stories

import (
	"net/http"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// AT-12, AT-13.
func TestUnfetchedCreditIsRecalledAndRefunded(t *testing.T) {
	for name, machine := range map[string]sandbox.MachineConfig{"three keys": threeKeys, "confirming": confirms} {
		t.Run(name, func(t *testing.T) {
			change := without
			if machine.Confirms {
				change = confirming
			}
			story(t, change, machine, func(f *apptest.Front, m *sandbox.Machine) {
				f.Run()
				m.SetOnline(false)
				session := f.Buy(sandbox.PayOptions{})
				f.Pass(50 * time.Second)
				f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Sent, "", ""))
				f.Pass(3 * time.Minute)
				f.Stands(session.ID, apptest.Ends(payment.Refunded, payment.Failed, payment.ReasonRecalled, ""))
				f.Money(session.ID, 350, 0, 350)
				if n := len(f.Notehub.Pending(fixture.Washer, "payment.qi")); n != 0 {
					f.Errorf("%d notes still wait for the machine; want none", n)
				}
				f.Pass(10 * time.Minute)
				m.SetOnline(true)
				f.Pass(time.Minute)
				f.Started(m, 0)
			})
		})
	}
}

func TestFetchedCreditEndsThePaymentWithoutConfirmations(t *testing.T) {
	story(t, without, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
		f.Run()
		session := f.Buy(sandbox.PayOptions{})
		f.Pass(3 * time.Minute)
		f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Fetched, "", ""))
		f.Started(m, 1)
		f.Money(session.ID, 350, 0, 0)
	})
}

func TestRecallThatIsTooLateMeansFetched(t *testing.T) {
	story(t, without, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
		f.Run()
		m.SetOnline(false)
		session := f.Buy(sandbox.PayOptions{})
		f.Notehub.RaceNextDelete(fixture.Washer, false)
		f.Pass(3 * time.Minute)
		m.SetOnline(true)
		f.Pass(time.Minute)
		f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Fetched, "", ""))
		f.Started(m, 1)
	})
}

func TestRecallWithoutProofRefunds(t *testing.T) {
	story(t, without, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
		f.Run()
		m.SetOnline(false)
		session := f.Buy(sandbox.PayOptions{})
		f.Notehub.Next(fixture.HubDelete, sandbox.Outcome{Applied: true})
		f.Pass(4 * time.Minute)
		f.Stands(
			session.ID,
			apptest.Ends(payment.Refunded, payment.Failed, payment.ReasonRecallUnclear, payment.ReasonRecallUnclear),
		)
		f.Money(session.ID, 350, 0, 350)
	})
}

// AT-16.
func TestRefusalRefundsWithinSeconds(t *testing.T) {
	for state, reason := range map[string]string{"failed": payment.ReasonFailed, "busy": payment.ReasonBusy} {
		t.Run(state, func(t *testing.T) {
			story(t, routed, confirms, func(f *apptest.Front, m *sandbox.Machine) {
				f.Route().Run()
				m.SetBehavior(sandbox.Behavior{Refuse: state, Code: "E-DOOR"})
				session := f.Buy(sandbox.PayOptions{})
				f.Pass(4 * time.Second)
				p := f.Stands(session.ID, apptest.Ends(payment.Refunded, payment.Failed, reason, ""))
				if p.MachineCode != "E-DOOR" {
					f.Errorf("code %q; want the machine's own", p.MachineCode)
				}
				f.Money(session.ID, 350, 0, 350)
			})
		})
	}
}

// AT-14.
func TestFetchedCreditWithoutAnswerIsRefundedAndReported(t *testing.T) {
	story(t, confirming, confirms, func(f *apptest.Front, m *sandbox.Machine) {
		f.Run()
		m.SetBehavior(sandbox.Behavior{Refuse: "failed", Silent: true})
		session := f.Buy(sandbox.PayOptions{})
		f.Pass(time.Minute + 28*time.Second)
		f.Money(session.ID, 350, 0, 0) // the machine may confirm late a start in time
		f.Pass(10 * time.Second)
		f.Stands(
			session.ID,
			apptest.Ends(payment.Refunded, payment.Failed, payment.ReasonUnconfirmed, payment.ReasonUnconfirmed),
		)
		f.Money(session.ID, 350, 0, 350)
	})
}

func TestSilenceIsNoEvidenceWhileNotehubIsDown(t *testing.T) {
	story(t, confirming, confirms, func(f *apptest.Front, m *sandbox.Machine) {
		f.Run()
		f.Notehub.Always(fixture.HubEvents, sandbox.Outcome{Status: 503})
		session := f.Buy(sandbox.PayOptions{})
		f.Pass(10 * time.Minute)
		f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Fetched, "", ""))
		f.Pass(10 * time.Minute)
		f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Fetched, "", payment.ReviewOverdue))
		f.Notehub.Clear(fixture.HubEvents)
		f.Pass(2 * time.Minute)
		f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Started, "", ""))
		f.Money(session.ID, 350, 0, 0)
		f.Started(m, 1)
	})
}

func TestConfirmationAfterTheRefundTakesNoMoney(t *testing.T) {
	story(t, routed, confirms, func(f *apptest.Front, m *sandbox.Machine) {
		f.Route().Run()
		m.SetBehavior(sandbox.Behavior{AnswerLate: 5 * time.Minute})
		session := f.Buy(sandbox.PayOptions{})
		f.Pass(2 * time.Minute)
		f.Stands(
			session.ID,
			apptest.Ends(payment.Refunded, payment.Failed, payment.ReasonUnconfirmed, payment.ReasonUnconfirmed),
		)
		f.Pass(5 * time.Minute)
		f.Stands(
			session.ID,
			apptest.Ends(payment.Refunded, payment.Started, payment.ReasonStartedAfter, payment.ReasonStartedAfter),
		)
		f.Money(session.ID, 350, 0, 350)
	})
}

func TestConfirmationsThatRepeatOrAreLateCountOnce(t *testing.T) {
	story(t, confirming, confirms, func(f *apptest.Front, m *sandbox.Machine) {
		f.Run()
		m.SetBehavior(sandbox.Behavior{Twice: true, AnswerLate: 80 * time.Second})
		session := f.Buy(sandbox.PayOptions{})
		f.Pass(3 * time.Minute)
		f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Started, "", ""))
		f.Started(m, 1)
	})
}

func TestPowerCutAfterTheFetchLosesNoCredit(t *testing.T) { // AT-42
	story(t, confirming, confirms, func(f *apptest.Front, m *sandbox.Machine) {
		f.Run()
		m.SetBehavior(sandbox.Behavior{LosePower: true})
		session := f.Buy(sandbox.PayOptions{})
		f.Pass(20 * time.Second)
		m.SetPower(true)
		f.Pass(20 * time.Second)
		f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Started, "", ""))
		f.Started(m, 1)
	})
}

// AT-24.
func TestTimedMachinePaidForByTwoPhones(t *testing.T) {
	for name, machine := range map[string]sandbox.MachineConfig{"three keys": threeKeys, "confirming": confirms} {
		t.Run(name, func(t *testing.T) {
			change := without
			if machine.Confirms {
				change = confirming
			}
			story(t, change, machine, func(f *apptest.Front, m *sandbox.Machine) {
				f.Timed("30m")
				f.Run()
				first := f.Buy(sandbox.PayOptions{})
				second := f.Buy(sandbox.PayOptions{})
				f.Pass(20 * time.Second)
				f.Stands(second.ID, apptest.Ends(payment.Refunded, payment.Failed, payment.ReasonBusy, ""))
				f.Money(first.ID, 350, 0, 0)
				f.Started(m, 1)
				w := f.Get("/pay?device=" + fixture.Washer)
				f.Answers("a third phone", w, http.StatusServiceUnavailable, "This machine is in use")
				f.Pass(31 * time.Minute)
				f.Answers("when it has run", f.Get("/pay?device="+fixture.Washer), http.StatusTemporaryRedirect, "")
				third := f.Buy(sandbox.PayOptions{})
				f.Pass(20 * time.Second)
				f.Started(m, 2)
				f.Money(third.ID, 350, 0, 0)
			})
		})
	}
}

// AT-46.
func TestAutoPauseAfterTwoUnansweredCredits(t *testing.T) {
	story(t, confirming, confirms, func(f *apptest.Front, m *sandbox.Machine) {
		f.Run()
		m.SetOnline(false)
		open := f.Opened()
		for range 2 {
			f.Buy(sandbox.PayOptions{})
			f.Pass(3 * time.Minute)
		}
		f.Answers(
			"a scan",
			f.Get("/pay?device="+fixture.Washer),
			http.StatusServiceUnavailable,
			"This machine is not responding",
		)
		late := f.Pay(open)
		f.Stands(
			late.ID,
			apptest.Ends(payment.Refunded, payment.Failed, payment.ReasonNotSelling, payment.ReasonNotSelling),
		)
		m.SetOnline(true)
		f.Asks("a test start", "/api/devices/"+fixture.Washer+"/start", `{"reason":"test"}`, 200, `"amount":0`)
		f.Pass(10 * time.Second)
		f.Started(m, 1)
		f.Answers("a scan then", f.Get("/pay?device="+fixture.Washer), http.StatusTemporaryRedirect, "")
	})
}

// AT-08, AT-53: a webhook does not wait for Notehub.
func TestWebhookIsAnsweredWhileNotehubHangs(t *testing.T) {
	story(t, without, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
		f.Run()
		f.Notehub.Always(fixture.PostNote, sandbox.Outcome{Status: 503, Delay: 30 * time.Second})
		began := time.Now()
		session := f.Buy(sandbox.PayOptions{})
		f.Stripe.Settled()
		if took := time.Since(began); took > 500*time.Millisecond {
			f.Errorf("the webhook was answered after %v", took)
		}
		f.Pass(20 * time.Second)
		f.Notehub.Clear(fixture.PostNote)
		f.Pass(80 * time.Second)
		f.Started(m, 1)
		f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Sent, "", ""))
	})
}
