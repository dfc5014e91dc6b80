package stories

import (
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/notehub"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// An unreadable pending note may be the credit's. notepay decides nothing until Notehub's list is
// clear.
func TestOddPendingNoteDecidesNothing(t *testing.T) {
	for name, note := range map[string]string{
		"null":           `null`,
		"a text":         `"x"`,
		"without a body": `{}`,
		"an empty body":  `{"body":null}`,
		"another body":   `{"body":"x"}`,
		"an odd credit":  `{"body":{"credit_id":7}}`,
		"an odd status":  `{"body":{"credit_id":"cr_1","payment_status":7}}`,
	} {
		t.Run(name, func(t *testing.T) {
			story(t, without, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
				f.Run()
				m.SetOnline(false)
				session := f.Buy(sandbox.PayOptions{})
				f.Notehub.Always(
					fixture.HubNotes,
					sandbox.Outcome{Status: 200, Body: `{"total":1,"notes":{"1:1":` + note + `}}`},
				)
				f.Get(f.LivePage(session)) // the open page triggers an early check
				f.Pass(4 * time.Minute)
				f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Sent, "", ""))
				f.Pass(20 * time.Minute)
				f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Sent, "", payment.ReviewOverdue))
				f.Notehub.Clear(fixture.HubNotes)
				f.Pass(2 * time.Minute)
				f.Stands(session.ID, apptest.Ends(payment.Refunded, payment.Failed, payment.ReasonRecalled, ""))
				f.Money(session.ID, 350, 0, 350)
				m.SetOnline(true)
				f.Pass(time.Minute)
				f.Started(m, 0)
			})
		})
	}
	t.Run("beside the credit's own, which is recalled", func(t *testing.T) {
		story(t, without, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
			f.Run()
			m.SetOnline(false)
			session := f.Buy(sandbox.PayOptions{})
			f.Pass(5 * time.Second)
			own := f.Notehub.Pending(fixture.Washer, notehub.PaymentFile)
			if len(own) != 1 {
				f.Fatalf("%d notes wait; want the credit's", len(own))
			}
			both := `{"total":2,"notes":{"9:9":{},"` + own[0].ID + `":{"body":{"credit_id":"` + payment.CreditID(
				session.ID,
			) + `","payment_status":"completed"}}}}`
			f.Notehub.Next(fixture.HubNotes, sandbox.Outcome{Status: 200, Body: both})
			f.Pass(110 * time.Second)
			f.Notehub.Always(fixture.HubNotes, sandbox.Outcome{Status: 200, Body: `{"total":1,"notes":{"9:9":{}}}`})
			f.Pass(2 * time.Minute)
			f.Stands(session.ID, apptest.Ends(payment.Refunded, payment.Failed, payment.ReasonRecalled, ""))
		})
	})
}

// A reply with an error and a list counts as an error.
func TestListBesideAnErrorDecidesNothing(t *testing.T) {
	t.Run("of notes", func(t *testing.T) {
		story(t, without, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
			f.Run()
			m.SetOnline(false)
			session := f.Buy(sandbox.PayOptions{})
			f.Notehub.Always(fixture.HubNotes,
				sandbox.Outcome{Status: 200, Body: `{"err":"try later","total":0,"notes":{}}`})
			f.Pass(4 * time.Minute)
			f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Sent, "", ""))
		})
	})
	t.Run("of devices", func(t *testing.T) {
		story(
			t,
			func(s *config.Settings) { without(s); s.RefreshInterval = time.Minute },
			threeKeys,
			func(f *apptest.Front, m *sandbox.Machine) {
				f.Run()
				f.Notehub.Always(
					fixture.HubList,
					sandbox.Outcome{Status: 200, Body: `{"devices":[],"has_more":false,"err":"try later"}`},
				)
				f.Pass(3 * time.Minute)
				session := f.Buy(sandbox.PayOptions{})
				f.Pass(20 * time.Second)
				f.Started(m, 1)
				f.Money(session.ID, 350, 0, 0)
			},
		)
	})
}
