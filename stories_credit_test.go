package main

import (
	"net/http"
	"testing"
	"time"

	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// AT-12, AT-13.
func TestACreditThatNobodyFetchedIsTakenBackAndTheMoneyReturned(t *testing.T) {
	for name, machine := range map[string]sandbox.MachineConfig{"three keys": threeKeys, "confirming": confirms} {
		t.Run(name, func(t *testing.T) {
			change := without
			if machine.Confirms {
				change = confirming
			}
			story(t, change, machine, func(f *front, m *sandbox.Machine) {
				f.run()
				m.SetOnline(false)
				session := f.buy(sandbox.PayOptions{})
				f.pass(50 * time.Second)
				f.stands(session.ID, ending{payment.Paid, payment.Sent, "", ""})
				f.pass(3 * time.Minute)
				f.stands(session.ID, ending{payment.Refunded, payment.Failed, payment.ReasonRecalled, ""})
				f.money(session.ID, 350, 0, 350)
				if n := len(f.notehub.Pending(washer, "payment.qi")); n != 0 {
					f.Errorf("%d notes still wait for the machine; want none", n)
				}
				f.pass(10 * time.Minute)
				m.SetOnline(true)
				f.pass(time.Minute)
				f.started(m, 0)
			})
		})
	}
}

func TestACreditThatWasFetchedIsTheGoodEndWhereMachinesSayNothing(t *testing.T) {
	story(t, without, threeKeys, func(f *front, m *sandbox.Machine) {
		f.run()
		session := f.buy(sandbox.PayOptions{})
		f.pass(3 * time.Minute)
		f.stands(session.ID, ending{payment.Paid, payment.Fetched, "", ""})
		f.started(m, 1)
		f.money(session.ID, 350, 0, 0)
	})
}

func TestARecallThatCameTooLateMeansFetched(t *testing.T) {
	story(t, without, threeKeys, func(f *front, m *sandbox.Machine) {
		f.run()
		m.SetOnline(false)
		session := f.buy(sandbox.PayOptions{})
		f.notehub.RaceNextDelete(washer, false)
		f.pass(3 * time.Minute)
		m.SetOnline(true)
		f.pass(time.Minute)
		f.stands(session.ID, ending{payment.Paid, payment.Fetched, "", ""})
		f.started(m, 1)
	})
}

func TestARecallThatNobodyCanProveGivesTheMoneyBack(t *testing.T) {
	story(t, without, threeKeys, func(f *front, m *sandbox.Machine) {
		f.run()
		m.SetOnline(false)
		session := f.buy(sandbox.PayOptions{})
		f.notehub.Next(hubDelete, sandbox.Outcome{Applied: true})
		f.pass(4 * time.Minute)
		f.stands(session.ID, ending{payment.Refunded, payment.Failed, payment.ReasonRecallUnclear, payment.ReasonRecallUnclear})
		f.money(session.ID, 350, 0, 350)
	})
}

// AT-16.
func TestAMachineThatRefusesGivesTheMoneyBackWithinSeconds(t *testing.T) {
	for state, reason := range map[string]string{"failed": payment.ReasonFailed, "busy": payment.ReasonBusy} {
		t.Run(state, func(t *testing.T) {
			story(t, routed, confirms, func(f *front, m *sandbox.Machine) {
				f.route().run()
				m.SetBehaviour(sandbox.Behaviour{Refuse: state, Code: "E-DOOR"})
				session := f.buy(sandbox.PayOptions{})
				f.pass(4 * time.Second)
				if p := f.stands(session.ID, ending{payment.Refunded, payment.Failed, reason, ""}); p.MachineCode != "E-DOOR" {
					f.Errorf("code %q; want the machine's own", p.MachineCode)
				}
				f.money(session.ID, 350, 0, 350)
			})
		})
	}
}

// AT-14.
func TestAFetchedCreditWithoutAnAnswerIsGivenBackAndTold(t *testing.T) {
	story(t, confirming, confirms, func(f *front, m *sandbox.Machine) {
		f.run()
		m.SetBehaviour(sandbox.Behaviour{Refuse: "failed", Silent: true})
		session := f.buy(sandbox.PayOptions{})
		f.pass(time.Minute + 28*time.Second)
		f.money(session.ID, 350, 0, 0) // the machine may tell late what it began in time
		f.pass(10 * time.Second)
		f.stands(session.ID, ending{payment.Refunded, payment.Failed, payment.ReasonUnconfirmed, payment.ReasonUnconfirmed})
		f.money(session.ID, 350, 0, 350)
	})
}

func TestSilenceIsNoEvidenceWhileNotehubCannotBeAsked(t *testing.T) {
	story(t, confirming, confirms, func(f *front, m *sandbox.Machine) {
		f.run()
		f.notehub.Always(hubEvents, sandbox.Outcome{Status: 503})
		session := f.buy(sandbox.PayOptions{})
		f.pass(10 * time.Minute)
		f.stands(session.ID, ending{payment.Paid, payment.Fetched, "", ""})
		f.pass(10 * time.Minute)
		f.stands(session.ID, ending{payment.Paid, payment.Fetched, "", payment.ReviewOverdue})
		f.notehub.Clear(hubEvents)
		f.pass(2 * time.Minute)
		f.stands(session.ID, ending{payment.Paid, payment.Started, "", ""})
		f.money(session.ID, 350, 0, 0)
		f.started(m, 1)
	})
}

func TestAMachineThatTellsOfItsStartAfterTheMoneyWentBackIsNotPaidForAgain(t *testing.T) {
	story(t, routed, confirms, func(f *front, m *sandbox.Machine) {
		f.route().run()
		m.SetBehaviour(sandbox.Behaviour{AnswerLate: 5 * time.Minute})
		session := f.buy(sandbox.PayOptions{})
		f.pass(2 * time.Minute)
		f.stands(session.ID, ending{payment.Refunded, payment.Failed, payment.ReasonUnconfirmed, payment.ReasonUnconfirmed})
		f.pass(5 * time.Minute)
		f.stands(session.ID, ending{payment.Refunded, payment.Started, payment.ReasonStartedAfter, payment.ReasonStartedAfter})
		f.money(session.ID, 350, 0, 350)
	})
}

func TestAnswersThatComeTwiceOrLateCountOnce(t *testing.T) {
	story(t, confirming, confirms, func(f *front, m *sandbox.Machine) {
		f.run()
		m.SetBehaviour(sandbox.Behaviour{Twice: true, AnswerLate: 80 * time.Second})
		session := f.buy(sandbox.PayOptions{})
		f.pass(3 * time.Minute)
		f.stands(session.ID, ending{payment.Paid, payment.Started, "", ""})
		f.started(m, 1)
	})
}

func TestAPowerCutAfterTheFetchLosesNoCredit(t *testing.T) { // AT-42
	story(t, confirming, confirms, func(f *front, m *sandbox.Machine) {
		f.run()
		m.SetBehaviour(sandbox.Behaviour{LosePower: true})
		session := f.buy(sandbox.PayOptions{})
		f.pass(20 * time.Second)
		m.SetPower(true)
		f.pass(20 * time.Second)
		f.stands(session.ID, ending{payment.Paid, payment.Started, "", ""})
		f.started(m, 1)
	})
}

// AT-24.
func TestTwoPhonesPayForOneTimedMachine(t *testing.T) {
	for name, machine := range map[string]sandbox.MachineConfig{"three keys": threeKeys, "confirming": confirms} {
		t.Run(name, func(t *testing.T) {
			change := without
			if machine.Confirms {
				change = confirming
			}
			story(t, change, machine, func(f *front, m *sandbox.Machine) {
				f.timed("30m")
				f.run()
				first := f.buy(sandbox.PayOptions{})
				second := f.buy(sandbox.PayOptions{})
				f.pass(20 * time.Second)
				f.stands(second.ID, ending{payment.Refunded, payment.Failed, payment.ReasonBusy, ""})
				f.money(first.ID, 350, 0, 0)
				f.started(m, 1)
				w := f.get("/pay?device=" + washer)
				f.answers("a third phone", w, http.StatusServiceUnavailable, "This machine is in use")
				f.pass(31 * time.Minute)
				f.answers("when it has run", f.get("/pay?device="+washer), http.StatusTemporaryRedirect, "")
				third := f.buy(sandbox.PayOptions{})
				f.pass(20 * time.Second)
				f.started(m, 2)
				f.money(third.ID, 350, 0, 0)
			})
		})
	}
}

// AT-46.
func TestAMachineThatLeavesTwoCreditsAloneIsNotSoldOnUntilItAnswers(t *testing.T) {
	story(t, confirming, confirms, func(f *front, m *sandbox.Machine) {
		f.run()
		m.SetOnline(false)
		open := f.opened()
		for range 2 {
			f.buy(sandbox.PayOptions{})
			f.pass(3 * time.Minute)
		}
		f.answers("a scan", f.get("/pay?device="+washer), http.StatusServiceUnavailable, "This machine is not responding")
		late := f.pay(open)
		f.stands(late.ID, ending{payment.Refunded, payment.Failed, payment.ReasonNotSelling, payment.ReasonNotSelling})
		m.SetOnline(true)
		f.asks("a test start", "/api/devices/"+washer+"/start", `{"reason":"test"}`, 200, `"amount":0`)
		f.pass(10 * time.Second)
		f.started(m, 1)
		f.answers("a scan then", f.get("/pay?device="+washer), http.StatusTemporaryRedirect, "")
	})
}

// AT-08, AT-53: what Notehub does is not waited for.
func TestAWebhookIsAnsweredWhileNotehubHangs(t *testing.T) {
	story(t, without, threeKeys, func(f *front, m *sandbox.Machine) {
		f.run()
		f.notehub.Always(postNote, sandbox.Outcome{Status: 503, Delay: 30 * time.Second})
		began := time.Now()
		session := f.buy(sandbox.PayOptions{})
		f.stripe.Settled()
		if took := time.Since(began); took > 500*time.Millisecond {
			f.Errorf("the webhook was answered after %v", took)
		}
		f.pass(20 * time.Second)
		f.notehub.Clear(postNote)
		f.pass(80 * time.Second)
		f.started(m, 1)
		f.stands(session.ID, ending{payment.Paid, payment.Sent, "", ""})
	})
}
