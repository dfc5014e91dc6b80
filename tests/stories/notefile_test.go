package stories

import (
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// secured sets notefiles that are only transferred over TLS.
func secured(s *config.Settings) { s.NoteFile, s.AckFile = "washers.qis", "washers_ack.qos" }

func TestNoteFileAndAckFile(t *testing.T) {
	for name, byRoute := range map[string]bool{"by polling": false, "by a route": true} {
		t.Run(name, func(t *testing.T) {
			change := func(s *config.Settings) { routed(s); secured(s) }
			machine := sandbox.MachineConfig{Confirms: true, CreditFile: "washers.qis", AnswerFile: "washers_ack.qos"}
			story(t, change, machine, func(f *apptest.Front, m *sandbox.Machine) {
				if byRoute {
					f.Route()
				}
				f.Run()
				session := f.Buy(sandbox.PayOptions{})
				f.Pass(10 * time.Second)
				f.Started(m, 1)
				f.Pass(6 * time.Minute)
				f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Started, "", ""))
				if n := len(f.Notehub.Pending(fixture.Washer, "payment.qi")); n != 0 {
					f.Errorf("%d notes in payment.qi", n)
				}
			})
		})
	}
}

// A machine whose firmware still answers in the plain file is understood.
func TestAckFileIsReadWithEitherTransport(t *testing.T) {
	machine := sandbox.MachineConfig{Confirms: true, CreditFile: "washers.qis", AnswerFile: "washers_ack.qo"}
	change := func(s *config.Settings) { confirming(s); secured(s) }
	story(t, change, machine, func(f *apptest.Front, m *sandbox.Machine) {
		f.Run()
		session := f.Buy(sandbox.PayOptions{})
		f.Pass(10 * time.Second)
		f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Started, "", ""))
	})
}

func TestNoteFileChangesWhileANoteWaits(t *testing.T) {
	change := func(s *config.Settings) { s.NoteFile = "washers.qis" }
	t.Run("the waiting note is recalled from its own file", func(t *testing.T) {
		story(t, without, sandbox.MachineConfig{CreditFile: "washers.qis"}, func(f *apptest.Front, m *sandbox.Machine) {
			f.Run()
			session := f.Buy(sandbox.PayOptions{}) // the machine does not read this file any more
			f.Pass(30 * time.Second)
			f.Restarted(change)
			f.Pass(3 * time.Minute)
			f.Stands(session.ID, apptest.Ends(payment.Refunded, payment.Failed, payment.ReasonRecalled, ""))
			if n := len(f.Notehub.Pending(fixture.Washer, "payment.qi")); n != 0 {
				f.Errorf("%d notes are left in payment.qi", n)
			}
			again := f.Buy(sandbox.PayOptions{})
			f.Pass(3 * time.Minute)
			f.Stands(again.ID, apptest.Ends(payment.Paid, payment.Fetched, "", ""))
			f.Started(m, 1)
		})
	})
	t.Run("the waiting note is fetched", func(t *testing.T) {
		story(t, without, sandbox.MachineConfig{}, func(f *apptest.Front, m *sandbox.Machine) {
			f.Run()
			m.SetOnline(false)
			session := f.Buy(sandbox.PayOptions{})
			f.Pass(30 * time.Second)
			f.Restarted(change)
			m.SetOnline(true)
			f.Pass(3 * time.Minute)
			f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Fetched, "", ""))
			f.Started(m, 1)
		})
	})
	t.Run("the post was unclear", func(t *testing.T) {
		story(t, without, sandbox.MachineConfig{}, func(f *apptest.Front, m *sandbox.Machine) {
			f.Run()
			m.SetOnline(false)
			f.Notehub.Next(fixture.PostNote, sandbox.Outcome{Applied: true}) // the reply is lost
			session := f.Buy(sandbox.PayOptions{})
			f.Pass(5 * time.Second)
			f.Restarted(change)
			f.Pass(40 * time.Second) // it looks for the note in the file of its post
			m.SetOnline(true)
			f.Pass(3 * time.Minute)
			f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Fetched, "", ""))
			f.Started(m, 1)
			if n := len(f.Notehub.Notes(fixture.Washer)); n != 1 {
				f.Errorf("%d notes; want the one of the unclear post", n)
			}
		})
	})
	t.Run("a credit that is sent again after its recall uses the new file", func(t *testing.T) {
		story(t, without, sandbox.MachineConfig{CreditFile: "washers.qis"}, func(f *apptest.Front, m *sandbox.Machine) {
			f.Run()
			session := f.Buy(sandbox.PayOptions{})
			f.Pass(30 * time.Second)
			f.Restarted(change)
			f.Asks("retry", "/api/payments/"+session.ID+"/retry", `{"reason":"the file was wrong"}`, 200, "")
			f.Pass(5 * time.Minute)
			f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Fetched, "", ""))
			f.Started(m, 1)
		})
	})
}
