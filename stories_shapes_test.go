package main

import (
	"testing"
	"time"

	"notepay/internal/config"
	"notepay/internal/notehub"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// A note that waits and cannot be read may be the credit's: nothing is decided until Notehub says more.
func TestAPendingNoteThatCannotBeReadDecidesNothing(t *testing.T) {
	for name, note := range map[string]string{"null": `null`, "a text": `"x"`, "without a body": `{}`, "an empty body": `{"body":null}`,
		"another body": `{"body":"x"}`, "an odd credit": `{"body":{"credit_id":7}}`, "an odd status": `{"body":{"credit_id":"cr_1","payment_status":7}}`} {
		t.Run(name, func(t *testing.T) {
			story(t, without, threeKeys, func(f *front, m *sandbox.Machine) {
				f.run()
				m.SetOnline(false)
				session := f.buy(sandbox.PayOptions{})
				f.notehub.Always(hubNotes, sandbox.Outcome{Status: 200, Body: `{"total":1,"notes":{"1:1":` + note + `}}`})
				f.get(f.livePage(session)) // which has it looked for early
				f.pass(4 * time.Minute)
				f.stands(session.ID, ending{payment.Paid, payment.Sent, "", ""})
				f.pass(20 * time.Minute)
				f.stands(session.ID, ending{payment.Paid, payment.Sent, "", payment.ReviewOverdue})
				f.notehub.Clear(hubNotes)
				f.pass(2 * time.Minute)
				f.stands(session.ID, ending{payment.Refunded, payment.Failed, payment.ReasonRecalled, ""})
				f.money(session.ID, 350, 0, 350)
				m.SetOnline(true)
				f.pass(time.Minute)
				f.started(m, 0)
			})
		})
	}
	t.Run("beside the credit's own, which is taken back", func(t *testing.T) {
		story(t, without, threeKeys, func(f *front, m *sandbox.Machine) {
			f.run()
			m.SetOnline(false)
			session := f.buy(sandbox.PayOptions{})
			f.pass(5 * time.Second)
			own := f.notehub.Pending(washer, notehub.PaymentFile)
			if len(own) != 1 {
				f.Fatalf("%d notes wait; want the credit's", len(own))
			}
			both := `{"total":2,"notes":{"9:9":{},"` + own[0].ID + `":{"body":{"credit_id":"` + payment.CreditID(session.ID) + `","payment_status":"completed"}}}}`
			f.notehub.Next(hubNotes, sandbox.Outcome{Status: 200, Body: both})
			f.pass(110 * time.Second)
			f.notehub.Always(hubNotes, sandbox.Outcome{Status: 200, Body: `{"total":1,"notes":{"9:9":{}}}`})
			f.pass(2 * time.Minute)
			f.stands(session.ID, ending{payment.Refunded, payment.Failed, payment.ReasonRecalled, ""})
		})
	})
}

// A list beside an error is no list.
func TestAListBesideAnErrorDecidesNothing(t *testing.T) {
	t.Run("of notes", func(t *testing.T) {
		story(t, without, threeKeys, func(f *front, m *sandbox.Machine) {
			f.run()
			m.SetOnline(false)
			session := f.buy(sandbox.PayOptions{})
			f.notehub.Always(hubNotes, sandbox.Outcome{Status: 200, Body: `{"err":"try later","total":0,"notes":{}}`})
			f.pass(4 * time.Minute)
			f.stands(session.ID, ending{payment.Paid, payment.Sent, "", ""})
		})
	})
	t.Run("of devices", func(t *testing.T) {
		story(t, func(s *config.Settings) { without(s); s.RefreshInterval = time.Minute }, threeKeys, func(f *front, m *sandbox.Machine) {
			f.run()
			f.notehub.Always(hubList, sandbox.Outcome{Status: 200, Body: `{"devices":[],"has_more":false,"err":"try later"}`})
			f.pass(3 * time.Minute)
			session := f.buy(sandbox.PayOptions{})
			f.pass(20 * time.Second)
			f.started(m, 1)
			f.money(session.ID, 350, 0, 0)
		})
	})
}
