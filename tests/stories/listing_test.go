package stories

import (
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// Notehub may list a note as pending some seconds after it accepted the note.
func TestNoteListedLate(t *testing.T) {
	const late = 8 * time.Second
	t.Run("an early check for an open page decides nothing", func(t *testing.T) {
		story(t, without, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
			f.Run()
			m.SetOnline(false)
			f.Notehub.SetListedLate(late)
			session := f.Buy(sandbox.PayOptions{})
			page := f.LivePage(session)
			f.Get(page)
			f.Pass(5 * time.Second)
			f.Answers("after the look", f.Get(page), 200, "has probably got your payment")
			f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Sent, "", ""))
			f.Pass(10 * time.Second)
			f.Answers("when it is listed", f.Get(page), 200, "usually starts within seconds")
			f.Pass(3 * time.Minute)
			f.Stands(session.ID, apptest.Ends(payment.Refunded, payment.Failed, payment.ReasonRecalled, ""))
			f.Money(session.ID, 350, 0, 350)
			m.SetOnline(true)
			f.Pass(time.Minute)
			f.Started(m, 0)
		})
	})
	t.Run("a check at the deadline waits until a new note must be listed", func(t *testing.T) {
		story(t, without, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
			f.Run()
			m.SetOnline(false)
			f.Notehub.SetListedLate(late)
			f.Notehub.Always(
				fixture.PostNote,
				sandbox.Outcome{Status: 429, Header: map[string][]string{"Retry-After": {"5"}}},
			)
			session := f.Buy(sandbox.PayOptions{})
			f.Pass(114 * time.Second)
			f.Notehub.Clear(fixture.PostNote)
			f.Pass(time.Minute)
			f.Stands(session.ID, apptest.Ends(payment.Refunded, payment.Failed, payment.ReasonRecalled, ""))
			m.SetOnline(true)
			f.Pass(time.Minute)
			f.Started(m, 0)
		})
	})
	for name, o := range map[string]sandbox.Outcome{
		"cut":   {Applied: true},
		"a 500": {Applied: true, Status: 500},
		"late":  {Applied: true, Status: 200, Delay: time.Minute},
	} {
		t.Run("an unclear post is not repeated while its note is not listed: "+name, func(t *testing.T) {
			story(t, without, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
				f.Run()
				m.SetOnline(false)
				f.Notehub.SetListedLate(late)
				f.Notehub.Next(fixture.PostNote, o)
				session := f.Buy(sandbox.PayOptions{})
				f.Pass(time.Minute)
				f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Sent, "", ""))
				m.SetOnline(true)
				f.Pass(time.Minute)
				f.Started(m, 1)
			})
		})
	}
}
