package stories

import (
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// encrypting encrypts the notes to machines, which confirm.
func encrypting(s *config.Settings) {
	confirming(s)
	s.NoteSignKey = config.Secret(strings.Repeat("0f", 32))
	s.EncryptNotes = "experimental"
}

// decrypts is a machine whose Notecard decrypts notes.
var decrypts = sandbox.MachineConfig{Confirms: true, Decrypts: true}

// secretNotes expects that no note of the washer can be read at Notehub, and returns their number.
func secretNotes(f *apptest.Front) int {
	f.Helper()
	notes := f.Notehub.Notes(fixture.Washer)
	for _, n := range notes {
		if len(n.Body) != 3 || n.Body["alg"] != "secp384r1-aes256cbc" {
			f.Errorf("Notehub has %v; want an encrypted body alone", n.Body)
		}
	}
	return len(notes)
}

func TestEncryptedNotes(t *testing.T) {
	story(t, encrypting, decrypts, func(f *apptest.Front, m *sandbox.Machine) {
		f.Run()
		session := f.Buy(sandbox.PayOptions{})
		f.Pass(10 * time.Second)
		f.Started(m, 1)
		f.Pass(6 * time.Minute)
		f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Started, "", ""))
		if n := secretNotes(f); n != 1 {
			f.Errorf("%d notes; want one", n)
		}
	})
}

// A Notecard that does not decrypt shows its host nothing, so the money goes back.
func TestEncryptedNotesThatAreNotDecrypted(t *testing.T) {
	story(t, encrypting, confirms, func(f *apptest.Front, m *sandbox.Machine) {
		f.Run()
		session := f.Buy(sandbox.PayOptions{})
		f.Pass(10 * time.Minute)
		f.Started(m, 0)
		f.Money(session.ID, 350, 0, 350)
	})
}

func TestPendingEncryptedNoteIsRecognized(t *testing.T) {
	for name, restart := range map[string]bool{"by the same process": false, "after a restart": true} {
		t.Run(name, func(t *testing.T) {
			story(t, encrypting, decrypts, func(f *apptest.Front, m *sandbox.Machine) {
				f.Run()
				m.SetOnline(false)
				f.Notehub.Next(fixture.PostNote, sandbox.Outcome{Applied: true}) // the reply is lost
				session := f.Buy(sandbox.PayOptions{})
				f.Pass(2 * time.Second)
				if restart {
					f.Restarted(nil)
				}
				f.Pass(40 * time.Second) // it looks for the note and finds it
				m.SetOnline(true)
				f.Pass(10 * time.Minute)
				f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Started, "", ""))
				f.Started(m, 1)
				if n := secretNotes(f); n != 1 {
					f.Errorf("%d notes; want the one of the unclear post", n)
				}
			})
		})
	}
}

func TestEncryptedNoteIsRecalled(t *testing.T) {
	story(t, encrypting, decrypts, func(f *apptest.Front, m *sandbox.Machine) {
		f.Run()
		m.SetOnline(false)
		session := f.Buy(sandbox.PayOptions{})
		f.Pass(10 * time.Minute)
		f.Stands(session.ID, apptest.Ends(payment.Refunded, payment.Failed, payment.ReasonRecalled, ""))
		if n := len(f.Notehub.Pending(fixture.Washer, "payment.qi")); n != 0 {
			f.Errorf("%d notes are left", n)
		}
	})
}

// An encrypted note that this ledger has not posted may be the credit's, as far as is known.
func TestUnknownEncryptedNoteIsNoEvidence(t *testing.T) {
	story(t, encrypting, decrypts, func(f *apptest.Front, m *sandbox.Machine) {
		f.Run()
		m.SetOnline(false)
		session := f.Buy(sandbox.PayOptions{})
		f.Pass(10 * time.Second)
		f.Restart(`DELETE FROM encrypted_notes`)
		f.Pass(70 * time.Second) // its lifetime is over
		if p := f.Paid(session.ID); p.Delivery != payment.Sent {
			f.Errorf("the credit counts as %s, although its note may still wait", p.Delivery)
		}
		m.SetOnline(true)
		f.Pass(10 * time.Minute)
		f.Started(m, 0) // the note has expired
	})
}

func TestMachineWithoutPublicKeyIsNotSold(t *testing.T) {
	for name, key := range map[string]string{"no key": "", "a key that is none": "unknown"} {
		t.Run(name, func(t *testing.T) {
			story(t, encrypting, decrypts, func(f *apptest.Front, m *sandbox.Machine) {
				f.Notehub.SetPublicKey(fixture.Washer, key)
				f.Run()
				f.Answers("devices", f.AsOperator("/api/devices"), 200, `"state":"no_key"`)
				f.Answers("devices", f.AsOperator("/api/devices"), 200, "(ENCRYPT_NOTES, experimental)")
				scan := f.Get("/pay?device=" + fixture.Washer)
				f.Answers("a scan", scan, 503, "is not taking payments")
				f.Notehub.ShowPublicKey(fixture.Washer)
				f.Pass(16 * time.Minute) // the next refresh
				session := f.Buy(sandbox.PayOptions{})
				f.Pass(10 * time.Second)
				f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Started, "", ""))
				f.Started(m, 1)
			})
		})
	}
}

// The customer had Stripe's page open when the key became unknown. The money goes back and nothing is
// posted.
func TestPaymentForAMachineWithoutPublicKey(t *testing.T) {
	slow := func(s *config.Settings) { encrypting(s); s.ConfirmWithin = 5 * time.Minute }
	story(t, slow, decrypts, func(f *apptest.Front, m *sandbox.Machine) {
		f.Run()
		f.Notehub.SetPublicKey(fixture.Washer, "")
		f.Pass(16 * time.Minute)
		session := f.Buy(sandbox.PayOptions{})
		f.Pass(90 * time.Second) // the keys are read again before, at most once a minute
		f.Stands(session.ID,
			apptest.Ends(payment.Refunded, payment.Failed, payment.ReasonNotSelling, payment.ReasonNotSelling))
		f.Started(m, 0)
		if n := secretNotes(f); n != 0 {
			f.Errorf("%d notes; want none", n)
		}
	})
}

// A restart without keys sells nothing and sends nothing until they are read, and loses no payment.
func TestPublicKeysThatCannotBeRead(t *testing.T) {
	story(t, encrypting, decrypts, func(f *apptest.Front, m *sandbox.Machine) {
		f.Run()
		const keys = "GET /v1/projects/{p}/devices/public-keys"
		f.Notehub.Always(keys, sandbox.Outcome{Status: 500})
		f.Restarted(nil)
		f.Pass(time.Second)
		session := f.Buy(sandbox.PayOptions{})
		f.Pass(20 * time.Second)
		if n := secretNotes(f); n != 0 {
			f.Errorf("%d notes before the keys were read; want none", n)
		}
		p := f.Fleet.Problems()
		if len(p) != 1 || !strings.Contains(p[0].Text.String(), "ENCRYPT_NOTES (experimental)") {
			f.Errorf("the operator reads %v; want why the keys are not read", p)
		}
		f.Notehub.Clear(keys)
		f.Pass(time.Minute)
		f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Started, "", ""))
		f.Started(m, 1)
		if n := secretNotes(f); n != 1 {
			f.Errorf("%d notes; want one", n)
		}
	})
}

// A free start does not ask whether the machine sells, and is not sent in plain text either.
func TestFreeStartWithoutPublicKey(t *testing.T) {
	story(t, encrypting, decrypts, func(f *apptest.Front, m *sandbox.Machine) {
		f.Notehub.SetPublicKey(fixture.Washer, "")
		f.Run()
		f.Asks("a free start", "/api/devices/"+fixture.Washer+"/start", `{"reason":"test"}`, 200, `"amount":0`)
		f.Pass(20 * time.Minute)
		f.Started(m, 0)
		if n := secretNotes(f); n != 0 {
			f.Errorf("%d notes; want none", n)
		}
	})
}

// A restored ledger does not know the digests of the notes that wait, so one of them may be the
// payment's.
func TestRestoredLedgerAndEncryptedNotes(t *testing.T) {
	story(t, off(encrypting), decrypts, func(f *apptest.Front, m *sandbox.Machine) {
		f.Stripe.SetEndpoint("", "")
		f.Run()
		f.Pass(time.Hour)
		restore := f.Copied()
		m.SetOnline(false)
		session := f.Buy(sandbox.PayOptions{})
		f.Get("/payment/success?session_id=" + session.ID)
		f.Pass(10 * time.Second)
		f.Stop()
		f.Pass(10 * time.Second)
		restore()
		f.Pass(20 * time.Minute)
		f.Stands(session.ID, isAdopted)
		f.Started(m, 0)
		if n := secretNotes(f); n != 1 {
			f.Errorf("%d notes; want the one from before", n)
		}
	})
}
