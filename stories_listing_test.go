package main

import (
	"testing"
	"time"

	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// Notehub may list a note as pending some seconds after it took it.
func TestALateListingOfANote(t *testing.T) {
	const late = 8 * time.Second
	t.Run("an early look for an open page settles nothing", func(t *testing.T) {
		story(t, without, threeKeys, func(f *front, m *sandbox.Machine) {
			f.run()
			m.SetOnline(false)
			f.notehub.SetListedLate(late)
			session := f.buy(sandbox.PayOptions{})
			page := f.livePage(session)
			f.get(page)
			f.pass(5 * time.Second)
			f.answers("after the look", f.get(page), 200, "has probably got your payment")
			f.stands(session.ID, ending{payment.Paid, payment.Sent, "", ""})
			f.pass(10 * time.Second)
			f.answers("when it is listed", f.get(page), 200, "usually starts within seconds")
			f.pass(3 * time.Minute)
			f.stands(session.ID, ending{payment.Refunded, payment.Failed, payment.ReasonRecalled, ""})
			f.money(session.ID, 350, 0, 350)
			m.SetOnline(true)
			f.pass(time.Minute)
			f.started(m, 0)
		})
	})
	t.Run("a look at the deadline waits until a new note must be listed", func(t *testing.T) {
		story(t, without, threeKeys, func(f *front, m *sandbox.Machine) {
			f.run()
			m.SetOnline(false)
			f.notehub.SetListedLate(late)
			f.notehub.Always(postNote, sandbox.Outcome{Status: 429, Header: map[string][]string{"Retry-After": {"5"}}})
			session := f.buy(sandbox.PayOptions{})
			f.pass(114 * time.Second)
			f.notehub.Clear(postNote)
			f.pass(time.Minute)
			f.stands(session.ID, ending{payment.Refunded, payment.Failed, payment.ReasonRecalled, ""})
			m.SetOnline(true)
			f.pass(time.Minute)
			f.started(m, 0)
		})
	})
	for name, o := range map[string]sandbox.Outcome{"cut": {Applied: true}, "a 500": {Applied: true, Status: 500}, "late": {Applied: true, Status: 200, Delay: time.Minute}} {
		t.Run("an unclear post is not repeated while its note is not listed: "+name, func(t *testing.T) {
			story(t, without, threeKeys, func(f *front, m *sandbox.Machine) {
				f.run()
				m.SetOnline(false)
				f.notehub.SetListedLate(late)
				f.notehub.Next(postNote, o)
				session := f.buy(sandbox.PayOptions{})
				f.pass(time.Minute)
				f.stands(session.ID, ending{payment.Paid, payment.Sent, "", ""})
				m.SetOnline(true)
				f.pass(time.Minute)
				f.started(m, 1)
			})
		})
	}
}
